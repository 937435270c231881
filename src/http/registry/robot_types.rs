//! `/robot_types`: robot types. Their ids are numbers.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::name;
use crate::commands::registry::CreateRobotType;
use crate::domain::{RobotTypeId, Scope};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::{Json, NAME, Params, PathId, optional, required};
use crate::http::made::Made;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::wire::{Paged, WholeSecond, present};
use crate::projections::reads::registry::{EntryFilter, RobotTypeShown};

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ.of_the_site(), routes!(list))
        .at(Policy::MANAGE.keyed().of_the_site(), routes!(create))
        .at(Policy::READ.of_the_site(), routes!(get))
}

const END_EFFECTOR: usize = 100;

#[derive(Debug, Serialize, ToSchema)]
pub struct RobotType {
    id: i64,
    name: String,
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    manufacturer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_effector: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sensor_suite: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<Value>,
    ros_topics: Vec<String>,
    created_at: WholeSecond,
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
    ("limit" = Option<i64>, Query, description = "1 to 100, default 50"),
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

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct NewRobotType {
    name: Option<String>,
    model: Option<String>,
    manufacturer: Option<String>,
    end_effector: Option<String>,
    sensor_suite: Option<Value>,
    capabilities: Option<Value>,
    ros_topics: Option<Vec<String>>,
}

impl TryFrom<NewRobotType> for CreateRobotType {
    type Error = Problem;

    fn try_from(new: NewRobotType) -> Result<Self, Problem> {
        Ok(Self {
            name: name(new.name)?,
            model: required("model", new.model, NAME)?,
            manufacturer: optional("manufacturer", new.manufacturer, NAME)?,
            end_effector: optional("end_effector", new.end_effector, END_EFFECTOR)?,
            sensor_suite: new.sensor_suite.unwrap_or_else(|| json!({})),
            capabilities: new.capabilities.unwrap_or_else(|| json!({})),
            ros_topics: new.ros_topics.unwrap_or_default(),
        })
    }
}

/// Register a robot type.
#[utoipa::path(post, path = "/api/v1/robot_types", tag = "registry", request_body = NewRobotType, responses(
    (status = 201, body = RobotType),
    (status = 400, description = "A field is missing or wrong, a parent is unknown, or a name is taken"),
))]
pub async fn create(State(state): State<AppState>, caller: Caller, Json(new): Json<NewRobotType>) -> Result<Made<RobotType>, Problem> {
    let id = state.commands.execute(&caller.context(), CreateRobotType::try_from(new)?).await?;
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
