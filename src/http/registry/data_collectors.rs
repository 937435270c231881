//! `/data_collectors`: data collectors: people who operate robots.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{changed, deleted, not_the_administrators};
use crate::commands::registry::{CreateDataCollector, DataCollectorChange};
use crate::domain::{CollectorId, OrganizationId, Scope, registry};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::auth::passwords::PASSWORD_BYTES_MAX;
use crate::http::extract::{Json, Params, PathId};
use crate::http::fields::{GivenId, MayBeEmpty, Name, Password, ShortText, Text, emptied_by_null};
use crate::http::made::Made;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::wire::{Paged, TextId, WholeSecond, present};
use crate::http::words::CollectorStatusWord;
use crate::projections::reads::registry::{CollectorFilter, DataCollectorShown};

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ.of_people(), routes!(list))
        .at(Policy::MANAGE.keyed(), routes!(create))
        .at(Policy::READ.of_people(), routes!(get))
        .at(Policy::MANAGE, routes!(change))
        .at(Policy::MANAGE, routes!(delete))
}

type OperatorId = Text<100>;
type Certification = MayBeEmpty<100>;
type CollectorPassword = Password<PASSWORD_BYTES_MAX>;

/// A person who operates robots.
#[derive(Debug, Serialize, ToSchema)]
pub struct DataCollector {
    /// Names them in other requests.
    id: TextId,
    /// The organization that they work for.
    organization_id: TextId,
    /// The name of that organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_name: Option<String>,
    /// For people.
    name: String,
    /// The login name.
    operator_id: String,
    /// Where to reach them.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// What they may operate.
    #[serde(skip_serializing_if = "Option::is_none")]
    certification: Option<String>,
    /// Only who is active can log in.
    #[schema(value_type = CollectorStatusWord)]
    status: &'static str,
    /// Whatever is kept with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    /// When it was registered.
    created_at: WholeSecond,
    /// When it was changed last.
    updated_at: WholeSecond,
}

impl From<DataCollectorShown> for DataCollector {
    fn from(row: DataCollectorShown) -> Self {
        Self {
            id: TextId(row.id.0),
            organization_id: TextId(row.own.organization_id.0),
            organization_name: row.organization_name,
            name: row.own.name.unwrap_or_default(),
            operator_id: row.own.operator_id.unwrap_or_default(),
            email: row.own.email,
            certification: row.own.certification,
            status: row.own.status.as_str(),
            metadata: present(Some(row.own.metadata)),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// Data collectors, newest first.
#[utoipa::path(get, path = "/api/v1/data_collectors", tag = "registry", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("organization_id" = Option<String>, Query),
    ("status" = Option<String>, Query),
    ("collector_operator_id" = Option<String>, Query),
    ("collector_name" = Option<String>, Query),
    ("keyword" = Option<String>, Query, description = "Also `q`, `search`"),
), responses((status = 200, body = Paged<DataCollector>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<DataCollector>>, Problem> {
    let page = params.page_to_100()?;
    let filter = CollectorFilter {
        organization_ids: params.id_list(&["organization_id"], OrganizationId)?,
        statuses: params.list(&["status"])?,
        operator_ids: params.list(&["collector_operator_id"])?,
        names: params.list(&["collector_name", "name"])?,
        keyword: params.first(&["keyword", "q", "search", "operator_id"]),
    };
    let listed = state.reads.data_collectors(&caller.scope, &filter, page).await?;
    Ok(Json(Paged::new(listed, &page)))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewDataCollector {
    /// The organization that they work for.
    organization_id: GivenId,
    /// For people.
    name: Name,
    /// Unique: the login name.
    operator_id: OperatorId,
    /// Where to reach them.
    email: Option<ShortText>,
    /// What they may operate.
    certification: Option<Certification>,
    /// What they log in with; counted in bytes. There is no default: an account that everybody can guess is worse than none.
    password: CollectorPassword,
    /// Any JSON that is kept with them.
    metadata: Option<Value>,
}

impl NewDataCollector {
    /// Checked before the password is hashed, which takes a while.
    fn check(self, admin: &str) -> Result<(CreateDataCollector, String), Problem> {
        let operator_id = not_the_administrators("operator_id", self.operator_id.0, admin)?;
        let create = CreateDataCollector {
            organization_id: OrganizationId(self.organization_id.0),
            name: self.name.0,
            operator_id,
            email: MayBeEmpty::said(self.email),
            certification: MayBeEmpty::said(self.certification),
            metadata: self.metadata.unwrap_or_else(|| json!({})),
            password_hash: String::new(),
        };
        Ok((create, self.password.0))
    }
}

/// Register a data collector.
#[utoipa::path(post, path = "/api/v1/data_collectors", tag = "registry", request_body = NewDataCollector, responses(
    (status = 201, body = DataCollector),
    (status = 400, description = "A field is missing or wrong, a parent is unknown, or a name is taken"),
))]
pub async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewDataCollector>,
) -> Result<Made<DataCollector>, Problem> {
    let (create, password) = new.check(&state.settings.admin_username)?;
    let create = CreateDataCollector { password_hash: state.logins.hash(password).await?, ..create };
    let id = state.commands.execute(&caller.context(), create).await?;
    Ok(Made::created(TextId(id.0), found(&state, &caller.scope, id)).await)
}

/// A data collector.
#[utoipa::path(get, path = "/api/v1/data_collectors/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 200, body = DataCollector),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<Json<DataCollector>, Problem> {
    Ok(Json(found(&state, &caller.scope, CollectorId(id)).await?))
}

async fn found(state: &AppState, scope: &Scope, id: CollectorId) -> Result<DataCollector, Problem> {
    state.reads.data_collector(scope, id).await?.map(DataCollector::from).ok_or_else(|| Problem::not_found("data collector"))
}

/// What is to be another one; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ChangedDataCollector {
    /// For people; empty, it stays.
    name: Option<ShortText>,
    /// Unique among all accounts: the login name.
    operator_id: Option<OperatorId>,
    /// Where to reach them; empty takes it away.
    email: Option<ShortText>,
    /// What they may operate; empty takes it away.
    certification: Option<Certification>,
    /// Who is not `active` cannot log in, and is logged out.
    status: Option<CollectorStatusWord>,
    /// What they log in with from now on, and not with what they have; counted in bytes.
    password: Option<CollectorPassword>,
    /// Any JSON that is kept with them; `null` empties it.
    #[serde(default, deserialize_with = "emptied_by_null")]
    metadata: Option<Value>,
}

/// Change a data collector. Their workstations show who they are now.
#[utoipa::path(put, path = "/api/v1/data_collectors/{id}", tag = "registry", params(("id" = i64, Path)), request_body = ChangedDataCollector, responses(
    (status = 200, body = DataCollector),
    (status = 400, description = "A field is wrong, nothing is to be changed, or the operator id is taken"),
    (status = 404, description = "There is none"),
))]
pub async fn change(
    State(state): State<AppState>,
    caller: Caller,
    PathId(id): PathId,
    Json(body): Json<ChangedDataCollector>,
) -> Result<Made<DataCollector>, Problem> {
    let own = |name: OperatorId| not_the_administrators("operator_id", name.0, &state.settings.admin_username);
    let operator_id = body.operator_id.map(own).transpose()?;
    let change = DataCollectorChange {
        name: MayBeEmpty::said(body.name),
        operator_id,
        email: MayBeEmpty::given(body.email),
        certification: MayBeEmpty::given(body.certification),
        status: body.status.map(|status| status.0),
        metadata: body.metadata,
        password_hash: state.logins.hash_given(body.password).await?,
    };
    changed::<registry::DataCollector>(&state, &caller, id, change).await?;
    Ok(Made::read(StatusCode::OK, json!({ "id": TextId(id) }), found(&state, &caller.scope, CollectorId(id))).await)
}

/// Delete a data collector who was never bound to a workstation. Their login ends.
#[utoipa::path(delete, path = "/api/v1/data_collectors/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is none"),
    (status = 409, description = "They are or were bound to a workstation"),
))]
pub async fn delete(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<StatusCode, Problem> {
    deleted::<registry::DataCollector>(&state, &caller, id).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::parse;

    fn checked(operator_id: &str, password: &str) -> Result<String, u16> {
        let new = json!({ "organization_id": "1", "name": "Li", "operator_id": operator_id, "password": password });
        let new: NewDataCollector = parse(new.to_string().as_bytes()).map_err(|problem| problem.status().as_u16())?;
        new.check("admin").map(|(_, password)| password).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn a_password_is_taken_as_typed_and_never_made_up() {
        assert_eq!(checked("op", " a b "), Ok(" a b ".into()));
        assert_eq!(checked("op", ""), Err(400));
        assert_eq!(checked("op", &"x".repeat(PASSWORD_BYTES_MAX + 1)), Err(400));
    }

    #[test]
    fn nobody_takes_the_administrators_name() {
        assert_eq!(checked(" Admin ", "secret"), Err(400));
    }
}
