//! Where a stream of devices begins.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use utoipa_axum::routes;

use super::told::{frames, snapshot_of};
use super::wanted::WantedDevices;
use crate::domain::DeviceId;
use crate::http::AppState;
use crate::http::extract::Params;
use crate::http::opening::{Opening, resumed};
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::projections::reads::ReadError;
use crate::streams::{Kind, Reader, frame};

pub fn routes() -> Routes {
    Routes::default().at(Policy::READ.or_cookie(), routes!(stream))
}

const DEVICES_MAX: usize = 1_000;

/// The present state of the devices that are wanted, and the position from which on changes of it are told.
async fn snapshot(state: &AppState, wanted: &WantedDevices) -> Result<(i64, Vec<Bytes>), ReadError> {
    // Read before the rows: what is committed in between is told twice, and not left out.
    let head = state.reads.log_head().await?;
    let now = state.commands.now();
    let rows = state.reads.devices(&wanted.scope).await?;
    let told: Vec<_> = rows.iter().filter(|row| wanted.has(row.id.as_str())).flat_map(|row| snapshot_of(row, now)).collect();
    Ok((head, frames(told, head).collect()))
}

/// The devices that are asked for; none named: all.
fn wanted(params: &Params) -> Result<Option<BTreeSet<String>>, Problem> {
    let repeated = params.all("device_id").into_iter().map(str::to_owned);
    let listed = params.list(&["device_ids"])?.unwrap_or_default();
    let ids: BTreeSet<String> = repeated.chain(listed).filter(|id| !id.is_empty()).collect();
    if ids.len() > DEVICES_MAX {
        return Err(Problem::invalid(format!("at most {DEVICES_MAX} devices can be asked for; none named means all")));
    }
    if let Some(id) = ids.iter().find(|id| DeviceId::parse(id).is_err()) {
        return Err(Problem::invalid(format!("{id:?} is no device id")));
    }
    Ok((!ids.is_empty()).then_some(ids))
}

/// One event of the stream, as its readers find it.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "a description; events are written as text")]
struct StreamEvent {
    /// `device_connection`, `recorder_state`, `recorder_syncing`, `recorder_operation_unknown` or `device_warning`.
    event: String,
    /// JSON.
    data: String,
    /// A position of the log. Events of a snapshot have none but the last.
    id: Option<String>,
}

/// What changes about devices, as server-sent events. First the present state, or with `Last-Event-ID` what was missed.
#[utoipa::path(get, path = "/api/v1/device-state/stream", tag = "devices", params(
    ("device_id" = Option<String>, Query, description = "One device; may be repeated"),
    ("device_ids" = Option<String>, Query, description = "Devices, with commas between"),
    ("Last-Event-ID" = Option<String>, Header, description = "The last id that was received"),
), responses(
    (status = 200, content_type = "text/event-stream", body = StreamEvent,
     description = "Events without an end, and a comment every 15 seconds"),
    (status = 400, description = "A device id that cannot be one"),
    (status = 429, description = "The caller follows too many streams"),
    (status = 503, description = "Too many streams"),
))]
pub async fn stream(State(state): State<AppState>, opening: Opening, params: Params, headers: HeaderMap) -> Result<Response, Problem> {
    let ids = wanted(&params)?;
    let seat = opening.seat(Kind::Devices)?;
    let feed = state.live.devices.clone();
    let wanted = WantedDevices { source: feed.source.clone(), scope: opening.caller.scope.clone(), ids };
    let head = state.reads.log_head().await?;
    let (position, first) = match resumed(&headers, head) {
        Some(last) => (last, vec![]),
        None => snapshot(&state, &wanted).await?,
    };
    Ok(opening.answer(seat, Reader::new(feed, wanted, position, first).frames(), frame::comment))
}
