//! `/scenes`: scenes of a factory.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{changed, deleted};
use crate::commands::registry::{CreateScene, SceneChange};
use crate::domain::{FactoryId, SceneId, Scope, registry};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::{Json, Params, PathId};
use crate::http::fields::{GivenId, LongText, MayBeEmpty, Name, ShortText};
use crate::http::made::Made;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::wire::{Paged, TextId, WholeSecond};
use crate::projections::reads::registry::{EntryFilter, SceneShown};

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ, routes!(list))
        .at(Policy::MANAGE.keyed(), routes!(create))
        .at(Policy::READ, routes!(get))
        .at(Policy::MANAGE, routes!(change))
        .at(Policy::MANAGE, routes!(delete))
}

/// What is recorded.
#[derive(Debug, Serialize, ToSchema)]
pub struct Scene {
    /// Names it in other requests.
    id: TextId,
    /// The factory that it belongs to.
    factory_id: TextId,
    /// Unique in its factory.
    name: String,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// The layout that new subscenes start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    initial_scene_layout_template: Option<String>,
    /// How many subscenes it has.
    #[serde(rename = "subsceneCount")]
    subscene_count: i64,
    /// When it was registered.
    created_at: WholeSecond,
    /// When it was changed last.
    updated_at: WholeSecond,
}

impl From<SceneShown> for Scene {
    fn from(row: SceneShown) -> Self {
        Self {
            id: TextId(row.id.0),
            factory_id: TextId(row.own.factory_id.0),
            name: row.own.name,
            description: row.own.description,
            initial_scene_layout_template: row.own.initial_scene_layout_template,
            subscene_count: row.subscene_count,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// Scenes, newest first.
#[utoipa::path(get, path = "/api/v1/scenes", tag = "registry", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("scene_id" = Option<String>, Query),
    ("factory_id" = Option<String>, Query),
    ("keyword" = Option<String>, Query, description = "Also `q`, `search`"),
), responses((status = 200, body = Paged<Scene>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<Scene>>, Problem> {
    let page = params.page_to_100()?;
    let filter = EntryFilter {
        ids: params.id_list(&["scene_id", "id"], SceneId)?,
        parent_ids: params.id_list(&["factory_id"], FactoryId)?,
        keyword: params.keyword(),
    };
    let listed = state.reads.scenes(&caller.scope, &filter, page).await?;
    Ok(Json(Paged::new(listed, &page)))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewScene {
    /// The factory that it belongs to.
    factory_id: GivenId,
    /// Unique in its factory.
    name: Name,
    /// Free text.
    description: Option<LongText>,
    /// The layout that new subscenes start from.
    initial_scene_layout_template: Option<LongText>,
}

impl From<NewScene> for CreateScene {
    fn from(new: NewScene) -> Self {
        Self {
            factory_id: FactoryId(new.factory_id.0),
            name: new.name.0,
            description: MayBeEmpty::said(new.description),
            initial_scene_layout_template: MayBeEmpty::said(new.initial_scene_layout_template),
        }
    }
}

/// Register a scene.
#[utoipa::path(post, path = "/api/v1/scenes", tag = "registry", request_body = NewScene, responses(
    (status = 201, body = Scene),
    (status = 400, description = "A field is missing or wrong, a parent is unknown, or a name is taken"),
))]
pub async fn create(State(state): State<AppState>, caller: Caller, Json(new): Json<NewScene>) -> Result<Made<Scene>, Problem> {
    let id = state.commands.execute(&caller.context(), CreateScene::from(new)).await?;
    Ok(Made::created(TextId(id.0), found(&state, &caller.scope, id)).await)
}

/// A scene.
#[utoipa::path(get, path = "/api/v1/scenes/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 200, body = Scene),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<Json<Scene>, Problem> {
    Ok(Json(found(&state, &caller.scope, SceneId(id)).await?))
}

async fn found(state: &AppState, scope: &Scope, id: SceneId) -> Result<Scene, Problem> {
    state.reads.scene(scope, id).await?.map(Scene::from).ok_or_else(|| Problem::not_found("scene"))
}

/// What is to be another one; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ChangedScene {
    /// The factory that it belongs to. One with orders stays where it is.
    factory_id: Option<GivenId>,
    /// Unique; empty, it stays.
    name: Option<ShortText>,
    /// Free text; empty takes it away.
    description: Option<LongText>,
    /// The layout that new subscenes start from; empty takes it away.
    initial_scene_layout_template: Option<LongText>,
}

impl From<ChangedScene> for SceneChange {
    fn from(body: ChangedScene) -> Self {
        Self {
            factory_id: body.factory_id.map(|id| FactoryId(id.0)),
            name: MayBeEmpty::said(body.name),
            description: MayBeEmpty::given(body.description),
            initial_scene_layout_template: MayBeEmpty::given(body.initial_scene_layout_template),
        }
    }
}

/// Change a scene.
#[utoipa::path(put, path = "/api/v1/scenes/{id}", tag = "registry", params(("id" = i64, Path)), request_body = ChangedScene, responses(
    (status = 200, body = Scene),
    (status = 400, description = "A field is wrong, nothing is to be changed, a parent is unknown, or a name is taken"),
    (status = 404, description = "There is none"),
    (status = 409, description = "Orders for it keep it in its factory"),
))]
pub async fn change(
    State(state): State<AppState>,
    caller: Caller,
    PathId(id): PathId,
    Json(body): Json<ChangedScene>,
) -> Result<Made<Scene>, Problem> {
    changed::<registry::Scene>(&state, &caller, id, SceneChange::from(body)).await?;
    Ok(Made::read(StatusCode::OK, json!({ "id": TextId(id) }), found(&state, &caller.scope, SceneId(id))).await)
}

/// Delete a scene that nothing needs.
#[utoipa::path(delete, path = "/api/v1/scenes/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 400, description = "Subscenes or orders belong to it"),
    (status = 404, description = "There is none"),
))]
pub async fn delete(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<StatusCode, Problem> {
    deleted::<registry::Scene>(&state, &caller, id).await
}
