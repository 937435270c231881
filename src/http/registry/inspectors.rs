//! `/inspectors`: people who decide about what a machine could not.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{asked, not_the_administrators};
use crate::commands::inspectors::{ChangeInspector, CreateInspector, DeleteInspector, InspectorChange};
use crate::domain::episode::Level;
use crate::domain::{InspectorId, OrganizationId, Scope};
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
use crate::http::words::{InspectorStatusWord, LevelWord};
use crate::projections::reads::inspection::{InspectorFilter, InspectorShown};

pub fn routes() -> Routes {
    let policy = Policy::MANAGE.closed();
    Routes::default()
        .at(policy.of_people(), routes!(list))
        .at(policy.keyed(), routes!(create))
        .at(policy.of_people(), routes!(get))
        .at(policy, routes!(change))
        .at(policy, routes!(delete))
}

type InspectorName = Text<100>;
type InspectorPassword = Password<PASSWORD_BYTES_MAX>;

/// A person who decides about episodes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Inspector {
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
    inspector_id: String,
    /// Where to reach them.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// What they may decide.
    #[schema(value_type = LevelWord)]
    certification_level: &'static str,
    /// Only who is active can sign in.
    #[schema(value_type = InspectorStatusWord)]
    status: &'static str,
    /// Whatever is kept with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    /// When they were registered.
    created_at: WholeSecond,
    /// When they were changed last.
    updated_at: WholeSecond,
}

impl From<InspectorShown> for Inspector {
    fn from(row: InspectorShown) -> Self {
        Self {
            id: TextId(row.id.0),
            organization_id: TextId(row.own.organization_id.0),
            organization_name: row.organization_name,
            name: row.own.name.unwrap_or_default(),
            inspector_id: row.own.inspector_id.unwrap_or_default(),
            email: row.own.email,
            certification_level: row.own.certification_level.as_str(),
            status: row.own.status.as_str(),
            metadata: present(Some(row.own.metadata)),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// Inspectors, newest first.
#[utoipa::path(get, path = "/api/v1/inspectors", tag = "registry", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("organization_id" = Option<String>, Query),
    ("certification_level" = Option<String>, Query),
    ("status" = Option<String>, Query),
    ("inspector_id" = Option<String>, Query),
    ("inspector_name" = Option<String>, Query, description = "Also `name`"),
), responses((status = 200, body = Paged<Inspector>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<Inspector>>, Problem> {
    let page = params.page_to_100()?;
    let level = |item: &String| item.to_lowercase().parse().map_err(|unknown| Problem::of_field("certification_level", unknown));
    let filter = InspectorFilter {
        organization_ids: params.id_list(&["organization_id"], OrganizationId)?,
        levels: params.list(&["certification_level"])?.map(|items| items.iter().map(level).collect()).transpose()?,
        statuses: params.list(&["status"])?,
        inspector_ids: params.list(&["inspector_id"])?,
        names: params.list(&["inspector_name", "name"])?,
    };
    let listed = state.reads.inspectors(&caller.scope, &filter, page).await?;
    Ok(Json(Paged::new(listed, &page)))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewInspector {
    /// The organization that they work for.
    organization_id: GivenId,
    /// For people.
    name: Name,
    /// Unique among all accounts: the login name.
    inspector_id: InspectorName,
    /// Where to reach them.
    email: Option<ShortText>,
    /// What they may decide; default `level_1`.
    certification_level: Option<LevelWord>,
    /// What they sign in with; counted in bytes. Without one they cannot.
    password: Option<InspectorPassword>,
    /// Any JSON that is kept with them.
    metadata: Option<Value>,
}

/// Register an inspector.
#[utoipa::path(post, path = "/api/v1/inspectors", tag = "registry", request_body = NewInspector, responses(
    (status = 201, body = Inspector),
    (status = 400, description = "A field is missing or wrong, the organization is unknown, or the name is taken"),
))]
pub async fn create(State(state): State<AppState>, caller: Caller, Json(new): Json<NewInspector>) -> Result<Made<Inspector>, Problem> {
    let inspector_id = not_the_administrators("inspector_id", new.inspector_id.0, &state.settings.admin_username)?;
    let create = CreateInspector {
        organization_id: OrganizationId(new.organization_id.0),
        name: new.name.0,
        inspector_id,
        email: MayBeEmpty::said(new.email),
        certification_level: new.certification_level.map_or(Level::Level1, |level| level.0),
        metadata: new.metadata.unwrap_or_else(|| json!({})),
        password_hash: state.logins.hash_given(new.password).await?,
    };
    let id = state.commands.execute(&caller.context(), create).await?;
    Ok(Made::created(TextId(id.0), found(&state, &caller.scope, id)).await)
}

/// An inspector.
#[utoipa::path(get, path = "/api/v1/inspectors/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 200, body = Inspector),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<Json<Inspector>, Problem> {
    Ok(Json(found(&state, &caller.scope, InspectorId(id)).await?))
}

async fn found(state: &AppState, scope: &Scope, id: InspectorId) -> Result<Inspector, Problem> {
    state.reads.inspector(scope, id).await?.map(Inspector::from).ok_or_else(|| Problem::not_found("inspector"))
}

/// What is to be another one; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ChangedInspector {
    /// For people; empty, it stays.
    name: Option<ShortText>,
    /// Unique among all accounts: the login name.
    inspector_id: Option<InspectorName>,
    /// Where to reach them; empty takes it away.
    email: Option<ShortText>,
    /// What they may decide.
    certification_level: Option<LevelWord>,
    /// `inactive`: they cannot sign in, and decide nothing any more.
    status: Option<InspectorStatusWord>,
    /// What they sign in with from now on; counted in bytes.
    password: Option<InspectorPassword>,
    /// Any JSON that is kept with them; `null` empties it.
    #[serde(default, deserialize_with = "emptied_by_null")]
    metadata: Option<Value>,
}

/// Change an inspector, or have them sign in no more.
#[utoipa::path(put, path = "/api/v1/inspectors/{id}", tag = "registry", params(("id" = i64, Path)), request_body = ChangedInspector, responses(
    (status = 200, body = Inspector),
    (status = 400, description = "A field is wrong, or nothing is given"),
    (status = 404, description = "There is none"),
))]
pub async fn change(
    State(state): State<AppState>,
    caller: Caller,
    PathId(id): PathId,
    Json(body): Json<ChangedInspector>,
) -> Result<Made<Inspector>, Problem> {
    let own = |name: InspectorName| not_the_administrators("inspector_id", name.0, &state.settings.admin_username);
    let change = asked(InspectorChange {
        name: MayBeEmpty::said(body.name),
        inspector_id: body.inspector_id.map(own).transpose()?,
        email: MayBeEmpty::given(body.email),
        certification_level: body.certification_level.map(|level| level.0),
        status: body.status.map(|status| status.0),
        metadata: body.metadata,
        password_hash: state.logins.hash_given(body.password).await?,
    })?;
    let id = InspectorId(id);
    state.commands.execute(&caller.context(), ChangeInspector { id, change }).await?;
    Ok(Made::read(StatusCode::OK, json!({ "id": TextId(id.0) }), found(&state, &caller.scope, id)).await)
}

/// Delete an inspector. Their login ends; what they decided stays.
#[utoipa::path(delete, path = "/api/v1/inspectors/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is none"),
))]
pub async fn delete(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<StatusCode, Problem> {
    state.commands.execute(&caller.context(), DeleteInspector(InspectorId(id))).await?;
    Ok(StatusCode::NO_CONTENT)
}
