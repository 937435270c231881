//! `/devices`: whether a robot is reachable.

use axum::Json as Answer;
use axum::extract::State;

use super::AppState;
use super::extract::PathDevice;
use super::fleet::Connection;
use super::problem::Problem;

/// Whether both links of a device are up. A device that nobody knows is not connected.
#[utoipa::path(get, path = "/api/v1/devices/{device_id}/connection", tag = "devices", params(("device_id" = String, Path)), responses(
    (status = 200, body = Connection),
))]
pub async fn connection(State(state): State<AppState>, PathDevice(device): PathDevice) -> Result<Answer<Connection>, Problem> {
    let row = state.reads.device(&device).await?;
    Ok(Answer(Connection::of(&device, row.as_ref())))
}
