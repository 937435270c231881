//! `/devices`: whether a robot is reachable, and what it lately said.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::extract::{Json, Params, PathDevice};
use super::fleet::{Connection, DeviceMessage};
use super::policy::Policy;
use super::problem::Problem;
use super::routes::Routes;
use crate::domain::device::LinkKind;

pub fn routes() -> Routes {
    Routes::default().at(Policy::READ, routes!(connection)).at(Policy::READ.over(LinkKind::Transfer), routes!(messages))
}

/// Whether both links of a device are up. A device that is not known is not connected.
#[utoipa::path(get, path = "/api/v1/devices/{device_id}/connection", tag = "devices", params(("device_id" = String, Path)), responses(
    (status = 200, body = Connection),
))]
pub async fn connection(
    State(state): State<AppState>,
    caller: Caller,
    PathDevice(device): PathDevice,
) -> Result<Json<Connection>, Problem> {
    let row = state.reads.device(&caller.scope, &device).await?;
    Ok(Json(Connection::of(&device, row.as_ref())))
}

/// What was lately said.
#[derive(Debug, Serialize, ToSchema)]
pub struct Messages {
    /// The robot's device id.
    device_id: String,
    /// The newest first.
    items: Vec<DeviceMessage>,
}

/// What was lately said over the links of a device, also where it changed nothing: up to a hundred messages,
/// in a few words each, and 50 where nothing is asked for. The process that holds the links knows them, until it ends, and is asked by the others. What was
/// concluded from them is in the log.
#[utoipa::path(get, path = "/api/v1/devices/{device_id}/messages", tag = "devices", params(
    ("device_id" = String, Path), ("limit" = Option<i64>, Query, minimum = 1, description = "At most 100"),
), responses(
    (status = 200, body = Messages),
    (status = 400, description = "A limit that cannot be"),
))]
pub async fn messages(
    State(state): State<AppState>,
    caller: Caller,
    PathDevice(device): PathDevice,
    params: Params,
) -> Result<Json<Messages>, Problem> {
    let limit = params.page_to_100()?.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or_default();
    let seen = state.reads.sees_device(&caller.scope, &device).await?;
    let items = if seen { state.fleet.recent(&device, limit) } else { vec![] };
    Ok(Json(Messages { device_id: device.to_string(), items }))
}
