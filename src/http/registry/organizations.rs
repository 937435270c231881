//! `/organizations`: organizations of a factory.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{changed, deleted};
use crate::commands::registry::{CreateOrganization, OrganizationChange};
use crate::domain::{FactoryId, OrganizationId, Scope, registry};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::{Json, Params, PathId};
use crate::http::fields::{GivenId, LongText, MayBeEmpty, Name, ShortText, emptied_by_null};
use crate::http::made::Made;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::wire::{Paged, TextId, WholeSecond, present};
use crate::projections::reads::registry::{EntryFilter, OrganizationShown};

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ, routes!(list))
        .at(Policy::MANAGE.keyed(), routes!(create))
        .at(Policy::READ, routes!(get))
        .at(Policy::MANAGE, routes!(change))
        .at(Policy::MANAGE, routes!(delete))
}

/// On whose behalf is recorded.
#[derive(Debug, Serialize, ToSchema)]
pub struct Organization {
    /// Names it in other requests.
    id: TextId,
    /// The factory that it belongs to.
    factory_id: TextId,
    /// Unique in its factory.
    name: String,
    /// The name as a word for addresses.
    slug: String,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Whatever is kept with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<Value>,
    /// When it was registered.
    created_at: WholeSecond,
    /// When it was changed last.
    updated_at: WholeSecond,
}

impl From<OrganizationShown> for Organization {
    fn from(row: OrganizationShown) -> Self {
        Self {
            id: TextId(row.id.0),
            factory_id: TextId(row.own.factory_id.0),
            name: row.own.name,
            slug: row.own.slug,
            description: row.own.description,
            settings: present(row.own.settings),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// Organizations, newest first.
#[utoipa::path(get, path = "/api/v1/organizations", tag = "registry", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("organization_id" = Option<String>, Query),
    ("factory_id" = Option<String>, Query),
    ("keyword" = Option<String>, Query, description = "Also `q`, `search`"),
), responses((status = 200, body = Paged<Organization>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<Organization>>, Problem> {
    let page = params.page_to_100()?;
    let filter = EntryFilter {
        ids: params.id_list(&["organization_id", "id"], OrganizationId)?,
        parent_ids: params.id_list(&["factory_id"], FactoryId)?,
        keyword: params.keyword(),
    };
    let listed = state.reads.organizations(&caller.scope, &filter, page).await?;
    Ok(Json(Paged::new(listed, &page)))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewOrganization {
    /// The factory that it belongs to.
    factory_id: GivenId,
    /// Unique in its factory.
    name: Name,
    /// Free text.
    description: Option<LongText>,
    /// Any JSON that is kept with it.
    settings: Option<Value>,
}

impl From<NewOrganization> for CreateOrganization {
    fn from(new: NewOrganization) -> Self {
        Self {
            factory_id: FactoryId(new.factory_id.0),
            name: new.name.0,
            description: MayBeEmpty::said(new.description),
            settings: new.settings,
        }
    }
}

/// Register an organization.
#[utoipa::path(post, path = "/api/v1/organizations", tag = "registry", request_body = NewOrganization, responses(
    (status = 201, body = Organization),
    (status = 400, description = "A field is missing or wrong, a parent is unknown, or a name is taken"),
))]
pub async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewOrganization>,
) -> Result<Made<Organization>, Problem> {
    let id = state.commands.execute(&caller.context(), CreateOrganization::from(new)).await?;
    Ok(Made::created(TextId(id.0), found(&state, &caller.scope, id)).await)
}

/// An organization.
#[utoipa::path(get, path = "/api/v1/organizations/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 200, body = Organization),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<Json<Organization>, Problem> {
    Ok(Json(found(&state, &caller.scope, OrganizationId(id)).await?))
}

async fn found(state: &AppState, scope: &Scope, id: OrganizationId) -> Result<Organization, Problem> {
    state.reads.organization(scope, id).await?.map(Organization::from).ok_or_else(|| Problem::not_found("organization"))
}

/// What is to be another one; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ChangedOrganization {
    /// Unique; empty, it stays.
    name: Option<ShortText>,
    /// Free text; empty takes it away.
    description: Option<LongText>,
    /// Any JSON that is kept with it; `null` empties it.
    #[serde(default, deserialize_with = "emptied_by_null")]
    settings: Option<Value>,
}

impl From<ChangedOrganization> for OrganizationChange {
    fn from(body: ChangedOrganization) -> Self {
        Self { name: MayBeEmpty::said(body.name), description: MayBeEmpty::given(body.description), settings: body.settings }
    }
}

/// Change an organization.
#[utoipa::path(put, path = "/api/v1/organizations/{id}", tag = "registry", params(("id" = i64, Path)), request_body = ChangedOrganization, responses(
    (status = 200, body = Organization),
    (status = 400, description = "A field is wrong, nothing is to be changed, a parent is unknown, or a name is taken"),
    (status = 404, description = "There is none"),
))]
pub async fn change(
    State(state): State<AppState>,
    caller: Caller,
    PathId(id): PathId,
    Json(body): Json<ChangedOrganization>,
) -> Result<Made<Organization>, Problem> {
    changed::<registry::Organization>(&state, &caller, id, OrganizationChange::from(body)).await?;
    Ok(Made::read(StatusCode::OK, json!({ "id": TextId(id) }), found(&state, &caller.scope, OrganizationId(id))).await)
}

/// Delete an organization that nothing needs.
#[utoipa::path(delete, path = "/api/v1/organizations/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 400, description = "Data collectors, inspectors or orders belong to it"),
    (status = 404, description = "There is none"),
))]
pub async fn delete(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<StatusCode, Problem> {
    deleted::<registry::Organization>(&state, &caller, id).await
}
