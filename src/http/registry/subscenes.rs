//! `/subscenes`: subscenes of a scene.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::deleted;
use crate::commands::registry::{Change, CreateSubscene, SubsceneChange};
use crate::domain::{SceneId, Scope, SubsceneId, registry};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::{Json, Params, PathId};
use crate::http::fields::{GivenId, LongText, MayBeEmpty, Name, OrEmpty, ShortText};
use crate::http::made::Made;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::wire::{Paged, TextId, WholeSecond};
use crate::projections::reads::registry::{EntryFilter, SubsceneShown};

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ, routes!(list))
        .at(Policy::MANAGE.keyed(), routes!(create))
        .at(Policy::READ, routes!(get))
        .at(Policy::MANAGE, routes!(change))
        .at(Policy::MANAGE, routes!(delete))
}

type GivenScene = OrEmpty<GivenId>;

/// A variant of a scene.
#[derive(Debug, Serialize, ToSchema)]
pub struct Subscene {
    /// Names it in other requests.
    id: TextId,
    /// The scene that it is a variant of.
    scene_id: TextId,
    /// Unique in its scene.
    name: String,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// The layout that recordings start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    initial_scene_layout: Option<String>,
    /// When it was registered.
    created_at: WholeSecond,
    /// When it was changed last.
    updated_at: WholeSecond,
}

impl From<SubsceneShown> for Subscene {
    fn from(row: SubsceneShown) -> Self {
        Self {
            id: TextId(row.id.0),
            scene_id: TextId(row.own.scene_id.0),
            name: row.own.name,
            description: row.own.description,
            initial_scene_layout: row.own.initial_scene_layout,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// Subscenes, newest first.
#[utoipa::path(get, path = "/api/v1/subscenes", tag = "registry", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("subscene_id" = Option<String>, Query),
    ("scene_id" = Option<String>, Query),
    ("keyword" = Option<String>, Query, description = "Also `q`, `search`"),
), responses((status = 200, body = Paged<Subscene>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<Subscene>>, Problem> {
    let page = params.page_to_100()?;
    let filter = EntryFilter {
        ids: params.id_list(&["subscene_id", "id"], SubsceneId)?,
        parent_ids: params.id_list(&["scene_id"], SceneId)?,
        keyword: params.keyword(),
    };
    let listed = state.reads.subscenes(&caller.scope, &filter, page).await?;
    Ok(Json(Paged::new(listed, &page)))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewSubscene {
    /// The scene that it is a variant of.
    scene_id: GivenId,
    /// Unique in its scene.
    name: Name,
    /// Free text.
    description: Option<LongText>,
    /// The layout that recordings start from. Empty: a copy of the scene's template.
    initial_scene_layout: Option<LongText>,
}

impl From<NewSubscene> for CreateSubscene {
    fn from(new: NewSubscene) -> Self {
        Self {
            scene_id: SceneId(new.scene_id.0),
            name: new.name.0,
            description: MayBeEmpty::said(new.description),
            initial_scene_layout: MayBeEmpty::said(new.initial_scene_layout),
        }
    }
}

/// Register a subscene.
#[utoipa::path(post, path = "/api/v1/subscenes", tag = "registry", request_body = NewSubscene, responses(
    (status = 201, body = Subscene),
    (status = 400, description = "A field is missing or wrong, a parent is unknown, or a name is taken"),
))]
pub async fn create(State(state): State<AppState>, caller: Caller, Json(new): Json<NewSubscene>) -> Result<Made<Subscene>, Problem> {
    let id = state.commands.execute(&caller.context(), CreateSubscene::from(new)).await?;
    Ok(Made::created(TextId(id.0), found(&state, &caller.scope, id)).await)
}

/// A subscene.
#[utoipa::path(get, path = "/api/v1/subscenes/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 200, body = Subscene),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<Json<Subscene>, Problem> {
    Ok(Json(found(&state, &caller.scope, SubsceneId(id)).await?))
}

async fn found(state: &AppState, scope: &Scope, id: SubsceneId) -> Result<Subscene, Problem> {
    state.reads.subscene(scope, id).await?.map(Subscene::from).ok_or_else(|| Problem::not_found("subscene"))
}

/// What is to be another one; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ChangedSubscene {
    /// The scene that it is part of; empty, it stays. One that was worked in stays where it is.
    scene_id: Option<GivenScene>,
    /// Unique in its scene; empty, it stays.
    name: Option<ShortText>,
    /// Free text; empty takes it away.
    description: Option<LongText>,
    /// How the scene is laid out at first; empty: as its scene's template says.
    initial_scene_layout: Option<LongText>,
}

impl From<ChangedSubscene> for SubsceneChange {
    fn from(body: ChangedSubscene) -> Self {
        Self {
            scene_id: body.scene_id.and_then(|id| id.0).map(|id| SceneId(id.0)),
            name: MayBeEmpty::said(body.name),
            description: MayBeEmpty::given(body.description),
            initial_scene_layout: MayBeEmpty::given(body.initial_scene_layout),
        }
    }
}

/// Change a subscene.
#[utoipa::path(put, path = "/api/v1/subscenes/{id}", tag = "registry", params(("id" = i64, Path)), request_body = ChangedSubscene, responses(
    (status = 200, body = Subscene),
    (status = 400, description = "A field is wrong, a parent is unknown, or a name is taken"),
    (status = 404, description = "There is none"),
    (status = 409, description = "Tasks of it keep it in its scene"),
))]
pub async fn change(
    State(state): State<AppState>,
    caller: Caller,
    PathId(id): PathId,
    Json(body): Json<ChangedSubscene>,
) -> Result<Made<Subscene>, Problem> {
    let change = SubsceneChange::from(body);
    state.commands.execute(&caller.context(), Change::<registry::Subscene> { id, change }).await?;
    Ok(Made::read(StatusCode::OK, json!({ "id": TextId(id) }), found(&state, &caller.scope, SubsceneId(id))).await)
}

/// Delete a subscene that nothing needs.
#[utoipa::path(delete, path = "/api/v1/subscenes/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is none"),
    (status = 409, description = "Tasks of it were given out"),
))]
pub async fn delete(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<StatusCode, Problem> {
    deleted::<registry::Subscene>(&state, &caller, id).await
}
