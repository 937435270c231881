//! Who may listen to a station, and where its stream begins.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::json;
use utoipa_axum::routes;

use super::told::{StationSnapshot, StationVerdict};
use super::wanted::OfStation;
use crate::commands::Refusal;
use crate::domain::{RefusalCode, StationId};
use crate::http::AppState;
use crate::http::auth::Identity;
use crate::http::extract::PathId;
use crate::http::opening::{Opening, resumed};
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::streams::{Kind, Reader, frame};

pub fn routes() -> Routes {
    Routes::default().at(Policy::READ.closed().exact(), routes!(stream))
}

/// Episodes in the present state.
const NEWEST_MAX: i64 = 20;

/// One event of the stream, as its readers find it.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "a description; events are written as text")]
struct StationStreamEvent {
    /// `snapshot`, the first one where no `Last-Event-ID` is sent, or `verdict`.
    event: String,
    /// JSON: a `StationSnapshot` or a `StationVerdict`.
    data: String,
    /// A position of the log.
    id: String,
}

/// What is said of the recordings of a workstation, as server-sent events: first what was said last, or with `Last-Event-ID` what was
/// missed. For the data collector who works there, inspectors and administrators.
#[utoipa::path(get, path = "/api/v1/stations/{id}/stream", tag = "qa", params(
    ("id" = i64, Path),
    ("Last-Event-ID" = Option<String>, Header, description = "The last id that was received"),
), responses(
    (status = 200, content_type = "text/event-stream", body = StationStreamEvent,
     description = "Events without an end, and a comment every 15 seconds"),
    (status = 403, description = "The caller works at another workstation"),
    (status = 404, description = "There is none"),
    (status = 429, description = "The caller follows too many streams"),
    (status = 503, description = "Too many streams"),
))]
pub async fn stream(State(state): State<AppState>, opening: Opening, id: PathId, headers: HeaderMap) -> Result<Response, Problem> {
    let station = StationId(id.positive()?);
    let seat = opening.seat(Kind::Station)?;
    let found = state.reads.station(&opening.caller.scope, station).await?.ok_or_else(|| Problem::not_found("workstation"))?;
    if let Identity::Collector { id, .. } = &opening.caller.identity
        && (found.own.data_collector_id != *id || !found.own.is_current)
    {
        let text = format!("workstation {station} is not yours");
        return Err(Refusal::new(RefusalCode::NotYourWorkstation, text).into());
    }
    let feed = state.live.verdicts.clone();
    let wanted = OfStation { source: feed.source.clone(), station };
    // Read before the rows: what is committed in between is told twice, and not left out.
    let head = state.reads.log_head().await?;
    let (position, first) = match resumed(&headers, head) {
        Some(last) => (last, vec![]),
        None => {
            let verdicts = state.reads.newest_verdicts(station, NEWEST_MAX).await?;
            let snapshot = StationSnapshot { verdicts: verdicts.into_iter().map(StationVerdict::from).collect() };
            (head, vec![frame::event("snapshot", &json!(snapshot).to_string(), Some(head))])
        }
    };
    Ok(opening.answer(seat, Reader::new(feed, wanted, position, first).frames(), frame::comment))
}
