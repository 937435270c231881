//! `/api-keys`: what programs show in place of a login.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{factories_said, shown};
use crate::commands::api_keys::{IssueApiKey, RevokeApiKey};
use crate::commands::registration::TokenHash;
use crate::domain::ApiKeyId;
use crate::domain::api_key::Terms;
use crate::http::AppState;
use crate::http::auth::{Caller, keys};
use crate::http::extract::{Json, Params, PathId};
use crate::http::fields::{GivenId, GivenInstant, Name};
use crate::http::policy::{Key, Policy};
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::shown_once::secret_for;
use crate::http::wire::{Paged, TextId, WholeSecond};
use crate::http::words::AccountRoleWord;
use crate::projections::reads::accounts::{ApiKeyFilter, ApiKeyShown};

pub fn routes() -> Routes {
    let policy = Policy::ADMINISTER;
    Routes::default()
        .at(policy.exact(), routes!(list))
        .at(policy.keeping(Key::RefusalOnly), routes!(issue))
        .at(policy, routes!(get))
        .at(policy, routes!(revoke))
}

/// What a program shows, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKey {
    /// Names it in other requests, and in events.
    id: TextId,
    /// Of the program that has it.
    name: String,
    /// What it is for.
    #[schema(value_type = AccountRoleWord)]
    role: &'static str,
    /// Those that it sees; null: the whole site.
    #[schema(required)]
    factories: Option<Vec<TextId>>,
    /// From then on it opens nothing; null: it does until it is revoked.
    #[schema(required)]
    expires_at: Option<WholeSecond>,
    /// Since then it opens nothing; null: it was not revoked.
    #[schema(required)]
    revoked_at: Option<WholeSecond>,
    /// To the minute; null: never.
    #[schema(required)]
    last_used_at: Option<WholeSecond>,
    /// The address of that.
    #[schema(required)]
    last_used_from: Option<String>,
    /// When it was issued.
    created_at: WholeSecond,
}

impl From<ApiKeyShown> for ApiKey {
    fn from(row: ApiKeyShown) -> Self {
        Self {
            id: TextId(row.id.0),
            name: row.own.name,
            role: row.own.role.as_str(),
            factories: shown(row.own.factories),
            expires_at: row.own.expires_at.map(WholeSecond),
            revoked_at: row.own.revoked_at.map(WholeSecond),
            last_used_at: row.last_used_at.map(WholeSecond),
            last_used_from: row.last_used_from,
            created_at: row.created_at.into(),
        }
    }
}

/// API keys, newest first.
#[utoipa::path(get, path = "/api/v1/api-keys", tag = "people", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("role" = Option<AccountRoleWord>, Query, description = "What they are for"),
    ("ended" = Option<bool>, Query, description = "True: also those that were revoked or have expired"),
), responses((status = 200, body = Paged<ApiKey>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, params: Params) -> Result<Json<Paged<ApiKey>>, Problem> {
    let page = params.page_to_100()?;
    let filter = ApiKeyFilter { role: params.word("role")?, ended_too: params.strict_bool("ended")?.unwrap_or(false) };
    Ok(Json(Paged::new(state.reads.api_keys(&filter, state.commands.now(), page).await?, &page)))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewApiKey {
    /// Of the program that is to have it.
    name: Name,
    /// What it is for.
    role: AccountRoleWord,
    /// Those that it sees; without any, the whole site.
    factories: Option<Vec<GivenId>>,
    /// Says that it is for the whole site.
    whole_site: Option<bool>,
    /// From then on it opens nothing; without it, it does until it is revoked.
    expires_at: Option<GivenInstant>,
}

/// A key that was just issued.
#[derive(Debug, Serialize, ToSchema)]
pub struct IssuedApiKey {
    /// Goes into the header `Authorization: Bearer <key>`. Shown here and never again.
    api_key: String,
    /// What is kept of it.
    #[serde(flatten)]
    kept: ApiKey,
}

/// Issue an API key. Sent again with its `Idempotency-Key`, the same one is answered.
#[utoipa::path(post, path = "/api/v1/api-keys", tag = "people", request_body = NewApiKey, responses(
    (status = 201, body = IssuedApiKey),
    (status = 400, description = "A field is missing or wrong, a factory is unknown, or it would have expired before it was issued"),
))]
pub async fn issue(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewApiKey>,
) -> Result<(StatusCode, Json<IssuedApiKey>), Problem> {
    let expires_at = new.expires_at.map(|GivenInstant(at)| at);
    if expires_at.is_some_and(|at| at <= state.commands.now()) {
        return Err(Problem::of_field("expires_at", "lies in the past"));
    }
    let factories = factories_said(new.factories, new.whole_site)?.flatten();
    let terms = Terms { name: new.name.0, role: new.role.0, factories, expires_at };
    let (role, secret) = (terms.role, keys::secret_of(secret_for(&state, &caller, "API key")));
    let id = state.commands.execute(&caller.context(), IssueApiKey { terms, secret: TokenHash::of(&secret) }).await?;
    let kept = found(&state, id).await?;
    Ok((StatusCode::CREATED, Json(IssuedApiKey { api_key: keys::text_of(role, id, &secret), kept })))
}

/// An API key, without its secret.
#[utoipa::path(get, path = "/api/v1/api-keys/{id}", tag = "people", params(("id" = i64, Path)), responses(
    (status = 200, body = ApiKey),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, PathId(id): PathId) -> Result<Json<ApiKey>, Problem> {
    Ok(Json(found(&state, ApiKeyId(id)).await?))
}

async fn found(state: &AppState, id: ApiKeyId) -> Result<ApiKey, Problem> {
    state.reads.api_key(id).await?.map(ApiKey::from).ok_or_else(|| Problem::not_found("API key"))
}

/// Revoke an API key: it opens nothing any more, from the next request on. It stays in the list of those that ended.
#[utoipa::path(delete, path = "/api/v1/api-keys/{id}", tag = "people", params(("id" = i64, Path)), responses(
    (status = 204, description = "It opens nothing any more"),
    (status = 404, description = "There is none"),
))]
pub async fn revoke(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<StatusCode, Problem> {
    state.commands.execute(&caller.context(), RevokeApiKey(ApiKeyId(id))).await?;
    Ok(StatusCode::NO_CONTENT)
}
