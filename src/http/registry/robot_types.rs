//! `/robot_types`: robot types. Their ids are numbers.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{changed, deleted};
use crate::commands::registry::{CreateRobotType, RobotTypeChange};
use crate::domain::{RobotTypeId, Scope, registry};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::{Json, Params, PathId};
use crate::http::fields::{MayBeEmpty, Name, ShortText};
use crate::http::made::Made;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::wire::{Paged, WholeSecond, present};
use crate::projections::reads::registry::{EntryFilter, RobotTypeShown};

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ.shared(), routes!(list))
        .at(Policy::MANAGE.keyed().shared(), routes!(create))
        .at(Policy::READ.shared(), routes!(get))
        .at(Policy::MANAGE.shared(), routes!(change))
        .at(Policy::MANAGE.shared(), routes!(delete))
}

type EndEffector = MayBeEmpty<100>;

/// A model of robots.
#[derive(Debug, Serialize, ToSchema)]
pub struct RobotType {
    /// Names it in other requests.
    id: i64,
    /// For people.
    name: String,
    /// Unique; robots that register name it.
    model: String,
    /// Who makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    manufacturer: Option<String>,
    /// What it grips with.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_effector: Option<String>,
    /// Its sensors, as its owners describe them.
    #[serde(skip_serializing_if = "Option::is_none")]
    sensor_suite: Option<Value>,
    /// What it can do, as its owners describe it.
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<Value>,
    /// Topics that its recorders record.
    ros_topics: Vec<String>,
    /// When it was registered.
    created_at: WholeSecond,
    /// When it was changed last.
    updated_at: WholeSecond,
}

impl From<RobotTypeShown> for RobotType {
    fn from(row: RobotTypeShown) -> Self {
        Self {
            id: row.id.0,
            name: row.own.name,
            model: row.own.model,
            manufacturer: row.own.manufacturer,
            end_effector: row.own.end_effector,
            sensor_suite: present(Some(row.own.sensor_suite)),
            capabilities: present(Some(row.own.capabilities)),
            ros_topics: row.own.ros_topics,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// Robot types, newest first.
#[utoipa::path(get, path = "/api/v1/robot_types", tag = "registry", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("robot_type_id" = Option<String>, Query),
    ("keyword" = Option<String>, Query, description = "Also `q`, `search`"),
), responses((status = 200, body = Paged<RobotType>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<RobotType>>, Problem> {
    let page = params.page_to_100()?;
    let filter = EntryFilter { ids: params.id_list(&["robot_type_id", "id"], RobotTypeId)?, parent_ids: None, keyword: params.keyword() };
    let listed = state.reads.robot_types(&caller.scope, &filter, page).await?;
    Ok(Json(Paged::new(listed, &page)))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewRobotType {
    /// For people.
    name: Name,
    /// Unique; robots that register name it.
    model: Name,
    /// Who makes it.
    manufacturer: Option<ShortText>,
    /// What it grips with.
    end_effector: Option<EndEffector>,
    /// Its sensors: any JSON.
    sensor_suite: Option<Value>,
    /// What it can do: any JSON.
    capabilities: Option<Value>,
    /// Topics that its recorders record.
    ros_topics: Option<Vec<String>>,
}

impl From<NewRobotType> for CreateRobotType {
    fn from(new: NewRobotType) -> Self {
        Self {
            name: new.name.0,
            model: new.model.0,
            manufacturer: MayBeEmpty::said(new.manufacturer),
            end_effector: MayBeEmpty::said(new.end_effector),
            sensor_suite: new.sensor_suite.unwrap_or_else(|| json!({})),
            capabilities: new.capabilities.unwrap_or_else(|| json!({})),
            ros_topics: new.ros_topics.unwrap_or_default(),
        }
    }
}

/// Register a robot type.
#[utoipa::path(post, path = "/api/v1/robot_types", tag = "registry", request_body = NewRobotType, responses(
    (status = 201, body = RobotType),
    (status = 400, description = "A field is missing or wrong, a parent is unknown, or a name is taken"),
))]
pub async fn create(State(state): State<AppState>, caller: Caller, Json(new): Json<NewRobotType>) -> Result<Made<RobotType>, Problem> {
    let id = state.commands.execute(&caller.context(), CreateRobotType::from(new)).await?;
    Ok(Made::created(id.0, found(&state, &caller.scope, id)).await)
}

/// A robot type.
#[utoipa::path(get, path = "/api/v1/robot_types/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 200, body = RobotType),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<Json<RobotType>, Problem> {
    Ok(Json(found(&state, &caller.scope, RobotTypeId(id)).await?))
}

async fn found(state: &AppState, scope: &Scope, id: RobotTypeId) -> Result<RobotType, Problem> {
    state.reads.robot_type(scope, id).await?.map(RobotType::from).ok_or_else(|| Problem::not_found("robot type"))
}

/// What is to be another one; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ChangedRobotType {
    /// For people; empty, it stays.
    name: Option<ShortText>,
    /// Unique; robots that register name it. Empty, it stays.
    model: Option<ShortText>,
    /// Who makes it; empty takes it away.
    manufacturer: Option<ShortText>,
    /// What it grips with; empty takes it away.
    end_effector: Option<EndEffector>,
    /// Its sensors: any JSON.
    sensor_suite: Option<Value>,
    /// What it can do: any JSON.
    capabilities: Option<Value>,
    /// Topics that its recorders record.
    ros_topics: Option<Vec<String>>,
}

impl From<ChangedRobotType> for RobotTypeChange {
    fn from(body: ChangedRobotType) -> Self {
        Self {
            name: MayBeEmpty::said(body.name),
            model: MayBeEmpty::said(body.model),
            manufacturer: MayBeEmpty::given(body.manufacturer),
            end_effector: MayBeEmpty::given(body.end_effector),
            sensor_suite: body.sensor_suite,
            capabilities: body.capabilities,
            ros_topics: body.ros_topics,
        }
    }
}

/// Change a robot type.
#[utoipa::path(put, path = "/api/v1/robot_types/{id}", tag = "registry", params(("id" = i64, Path)), request_body = ChangedRobotType, responses(
    (status = 200, body = RobotType),
    (status = 400, description = "A field is wrong, nothing is to be changed, a parent is unknown, or a name is taken"),
    (status = 404, description = "There is none"),
))]
pub async fn change(
    State(state): State<AppState>,
    caller: Caller,
    PathId(id): PathId,
    Json(body): Json<ChangedRobotType>,
) -> Result<Made<RobotType>, Problem> {
    changed::<registry::RobotType>(&state, &caller, id, RobotTypeChange::from(body)).await?;
    Ok(Made::read(StatusCode::OK, json!({ "id": id }), found(&state, &caller.scope, RobotTypeId(id))).await)
}

/// Delete a robot type that nothing needs.
#[utoipa::path(delete, path = "/api/v1/robot_types/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is none"),
    (status = 409, description = "Robots are of it"),
))]
pub async fn delete(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<StatusCode, Problem> {
    deleted::<registry::RobotType>(&state, &caller, id).await
}
