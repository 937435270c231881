//! `/robots`: robots.

use axum::Json as Answer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::commands::registry::CreateRobot;
use crate::domain::{DeviceId, FactoryId, RobotId, RobotTypeId};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::{Json, NAME, Params, PathId, optional, required, text_id};
use crate::http::made::Made;
use crate::http::problem::Problem;
use crate::http::recorder::connected_filter;
use crate::http::wire::{Instant, Paged, TextId, present};
use crate::projections::reads::registry::{RobotFilter, RobotRow};

const ASSET_ID: usize = 100;

fn device_id(text: Option<String>) -> Result<DeviceId, Problem> {
    let text = required("device_id", text, NAME)?;
    DeviceId::parse(&text).map_err(|error| Problem::invalid(format!("device_id {error}")))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Robot {
    id: TextId,
    robot_type_id: TextId,
    #[serde(skip_serializing_if = "Option::is_none")]
    robot_type_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    robot_type_model: Option<String>,
    /// Under this its programs connect.
    device_id: String,
    factory_id: TextId,
    #[serde(skip_serializing_if = "Option::is_none")]
    factory_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    factory_slug: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asset_id: Option<String>,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    created_at: Instant,
    updated_at: Instant,
    /// Both sockets are up, right now.
    connected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_at: Option<Instant>,
}

impl Robot {
    fn of(row: RobotRow) -> Self {
        Self {
            connected: row.connected_at.is_some(),
            connected_at: row.connected_at.map(Instant),
            id: TextId(row.id),
            robot_type_id: TextId(row.robot_type_id),
            robot_type_name: row.robot_type_name,
            robot_type_model: row.robot_type_model,
            device_id: row.device_id,
            factory_id: TextId(row.factory_id),
            factory_name: row.factory_name,
            factory_slug: row.factory_slug,
            asset_id: row.asset_id,
            status: row.status,
            metadata: present(Some(row.metadata)),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// Robots, newest first.
#[utoipa::path(get, path = "/api/v1/robots", tag = "registry", params(
    ("limit" = Option<i64>, Query, description = "1 to 100, default 50"),
    ("offset" = Option<i64>, Query),
    ("factory_id" = Option<String>, Query),
    ("robot_type_id" = Option<String>, Query),
    ("status" = Option<String>, Query),
    ("device_id" = Option<String>, Query),
    ("connected" = Option<String>, Query),
    ("keyword" = Option<String>, Query, description = "Also `q`, `search`"),
), responses((status = 200, body = Paged<Robot>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, params: Params) -> Result<Answer<Paged<Robot>>, Problem> {
    let page = params.page_to_100()?;
    let filter = RobotFilter {
        factory_ids: params.id_list(&["factory_id"])?,
        robot_type_ids: params.id_list(&["robot_type_id"])?,
        statuses: params.list(&["status"])?,
        device_ids: params.list(&["device_id"])?,
        connected: connected_filter(&params)?,
        keyword: params.keyword(),
    };
    let listed = state.reads.robots(&filter, page).await?;
    Ok(Answer(Paged::new(listed.map(Robot::of), &page)))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct NewRobot {
    robot_type_id: Option<String>,
    factory_id: Option<String>,
    device_id: Option<String>,
    asset_id: Option<String>,
    metadata: Option<Value>,
}

impl TryFrom<NewRobot> for CreateRobot {
    type Error = Problem;

    fn try_from(new: NewRobot) -> Result<Self, Problem> {
        Ok(Self {
            robot_type_id: RobotTypeId(text_id("robot_type_id", new.robot_type_id)?),
            factory_id: FactoryId(text_id("factory_id", new.factory_id)?),
            device_id: device_id(new.device_id)?,
            asset_id: optional("asset_id", new.asset_id, ASSET_ID)?,
            metadata: new.metadata.unwrap_or_else(|| json!({})),
        })
    }
}

/// Register a robot.
#[utoipa::path(post, path = "/api/v1/robots", tag = "registry", request_body = NewRobot, responses(
    (status = 201, body = Robot),
    (status = 400, description = "A field is missing or wrong, a parent is unknown, or a name is taken"),
))]
pub async fn create(State(state): State<AppState>, caller: Caller, Json(new): Json<NewRobot>) -> Result<Made<Robot>, Problem> {
    caller.must_manage()?;
    let id = state.commands.execute(&caller.context(), CreateRobot::try_from(new)?).await?;
    Ok(Made::created(TextId(id.0), found(&state, id)).await)
}

/// A robot.
#[utoipa::path(get, path = "/api/v1/robots/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 200, body = Robot),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, PathId(id): PathId) -> Result<Answer<Robot>, Problem> {
    Ok(Answer(found(&state, RobotId(id)).await?))
}

async fn found(state: &AppState, id: RobotId) -> Result<Robot, Problem> {
    state.reads.robot(id).await?.map(Robot::of).ok_or_else(|| Problem::not_found("robot"))
}
