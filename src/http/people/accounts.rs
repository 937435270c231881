//! `/accounts`: administrators, production managers, auditors, and screens on walls.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{factories_said, shown};
use crate::commands::accounts::{AccountChange, ChangeAccount, CreateAccount, DeleteAccount};
use crate::domain::AccountId;
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::auth::passwords::PASSWORD_BYTES_MAX;
use crate::http::extract::{Json, Params, PathId};
use crate::http::fields::{GivenId, MayBeEmpty, Name, Password, ShortText, Text};
use crate::http::made::Made;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::registry::{asked, not_the_administrators};
use crate::http::routes::Routes;
use crate::http::wire::{Paged, TextId, WholeSecond};
use crate::http::words::{AccountRoleWord, AccountStatusWord};
use crate::projections::reads::accounts::{AccountFilter, AccountShown};

pub fn routes() -> Routes {
    let policy = Policy::ADMINISTER.of_people();
    Routes::default()
        .at(policy.exact(), routes!(list))
        .at(policy.keyed(), routes!(create))
        .at(policy, routes!(get))
        .at(policy, routes!(change))
        .at(policy, routes!(delete))
}

type LoginName = Text<100>;
type AccountPassword = Password<PASSWORD_BYTES_MAX>;

/// A person or a screen that may sign in, and belongs to no organization.
#[derive(Debug, Serialize, ToSchema)]
pub struct Account {
    /// Names it in other requests.
    id: TextId,
    /// What one signs in with.
    login_name: String,
    /// For people.
    name: String,
    /// Where to reach them.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// What it is for.
    #[schema(value_type = AccountRoleWord)]
    role: &'static str,
    /// Those that it sees; null: the whole site.
    #[schema(required)]
    factories: Option<Vec<TextId>>,
    /// Only who is active can sign in.
    #[schema(value_type = AccountStatusWord)]
    status: &'static str,
    /// When it was made.
    created_at: WholeSecond,
    /// When it was changed last.
    updated_at: WholeSecond,
}

impl From<AccountShown> for Account {
    fn from(row: AccountShown) -> Self {
        Self {
            id: TextId(row.id.0),
            login_name: row.own.login_name.unwrap_or_default(),
            name: row.own.name.unwrap_or_default(),
            email: row.own.email,
            role: row.own.role.as_str(),
            factories: shown(row.own.factories),
            status: row.own.status.as_str(),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// Accounts, newest first. The administrator of the settings is none of them.
#[utoipa::path(get, path = "/api/v1/accounts", tag = "people", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("role" = Option<AccountRoleWord>, Query, description = "What they are for"),
    ("status" = Option<AccountStatusWord>, Query, description = "Whether they open anything"),
    ("login_name" = Option<String>, Query, description = "Exactly, but for the case of letters"),
), responses((status = 200, body = Paged<Account>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, params: Params) -> Result<Json<Paged<Account>>, Problem> {
    let page = params.page_to_100()?;
    let filter = AccountFilter { role: params.word("role")?, status: params.word("status")?, login_name: params.text("login_name") };
    Ok(Json(Paged::new(state.reads.accounts(&filter, page).await?, &page)))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewAccount {
    /// Unique among all who sign in.
    login_name: LoginName,
    /// For people.
    name: Name,
    /// Where to reach them.
    email: Option<ShortText>,
    /// What it is for.
    role: AccountRoleWord,
    /// Those that it sees; without any, the whole site.
    factories: Option<Vec<GivenId>>,
    /// Says that it is for the whole site.
    whole_site: Option<bool>,
    /// What one signs in with; counted in bytes.
    password: AccountPassword,
}

/// Make an account.
#[utoipa::path(post, path = "/api/v1/accounts", tag = "people", request_body = NewAccount, responses(
    (status = 201, body = Account),
    (status = 400, description = "A field is missing or wrong, a factory is unknown, or the name is taken"),
))]
pub async fn create(State(state): State<AppState>, caller: Caller, Json(new): Json<NewAccount>) -> Result<Made<Account>, Problem> {
    let create = CreateAccount {
        login_name: not_the_administrators("login_name", new.login_name.0, &state.settings.admin_username)?,
        name: new.name.0,
        email: MayBeEmpty::said(new.email),
        role: new.role.0,
        factories: factories_said(new.factories, new.whole_site)?.flatten(),
        password_hash: state.logins.hash(new.password.0).await?,
    };
    let id = state.commands.execute(&caller.context(), create).await?;
    Ok(Made::created(TextId(id.0), found(&state, id)).await)
}

/// An account.
#[utoipa::path(get, path = "/api/v1/accounts/{id}", tag = "people", params(("id" = i64, Path)), responses(
    (status = 200, body = Account),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, PathId(id): PathId) -> Result<Json<Account>, Problem> {
    Ok(Json(found(&state, AccountId(id)).await?))
}

async fn found(state: &AppState, id: AccountId) -> Result<Account, Problem> {
    state.reads.account(id).await?.map(Account::from).ok_or_else(|| Problem::not_found("account"))
}

/// What is to be another one; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ChangedAccount {
    /// Unique among all who sign in.
    login_name: Option<LoginName>,
    /// For people; empty, it stays.
    name: Option<ShortText>,
    /// Where to reach them; empty takes it away.
    email: Option<ShortText>,
    /// What it is for from now on. Who is signed in has to sign in again.
    role: Option<AccountRoleWord>,
    /// Those that it sees from now on.
    factories: Option<Vec<GivenId>>,
    /// True: it sees the whole site from now on.
    whole_site: Option<bool>,
    /// `disabled`: nobody signs in with it, and who is signed in is so no more.
    status: Option<AccountStatusWord>,
    /// What one signs in with from now on; counted in bytes. Who is signed in has to sign in again.
    password: Option<AccountPassword>,
}

/// Change an account, give it another password, or disable it.
#[utoipa::path(put, path = "/api/v1/accounts/{id}", tag = "people", params(("id" = i64, Path)), request_body = ChangedAccount, responses(
    (status = 200, body = Account),
    (status = 400, description = "A field is wrong, or nothing is given"),
    (status = 404, description = "There is none"),
))]
pub async fn change(
    State(state): State<AppState>,
    caller: Caller,
    PathId(id): PathId,
    Json(body): Json<ChangedAccount>,
) -> Result<Made<Account>, Problem> {
    let own = |name: LoginName| not_the_administrators("login_name", name.0, &state.settings.admin_username);
    let change = asked(AccountChange {
        login_name: body.login_name.map(own).transpose()?,
        name: MayBeEmpty::said(body.name),
        email: MayBeEmpty::given(body.email),
        role: body.role.map(|role| role.0),
        factories: factories_said(body.factories, body.whole_site)?,
        status: body.status.map(|status| status.0),
        password_hash: state.logins.hash_given(body.password).await?,
    })?;
    let id = AccountId(id);
    state.commands.execute(&caller.context(), ChangeAccount { id, change }).await?;
    Ok(Made::read(StatusCode::OK, json!({ "id": TextId(id.0) }), found(&state, id)).await)
}

/// Delete an account. Its sessions end; what was done with it stays.
#[utoipa::path(delete, path = "/api/v1/accounts/{id}", tag = "people", params(("id" = i64, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is none"),
))]
pub async fn delete(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<StatusCode, Problem> {
    state.commands.execute(&caller.context(), DeleteAccount(AccountId(id))).await?;
    Ok(StatusCode::NO_CONTENT)
}
