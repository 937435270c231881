//! Where a stream of the log begins.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use utoipa_axum::routes;

use super::searched::Searched;
use super::source::LogSource;
use crate::http::AppState;
use crate::http::events::{Filters, Since, search};
use crate::http::extract::Params;
use crate::http::opening::Opening;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::projections::reads::Reads;
use crate::projections::reads::events::LogFilter;
use crate::streams::{Kind, Reader, frame};

pub fn routes() -> Routes {
    Routes::default().at(Policy::AUDIT, routes!(stream))
}

/// The header with the last id that a client received.
const LAST: &str = "Last-Event-ID";

/// One event of the stream, as its readers find it.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "a description; events are written as text")]
struct LogStreamEvent {
    /// JSON, as an item of `GET /events`.
    data: String,
    /// Its position.
    id: String,
}

/// Where a stream begins.
#[derive(Debug, PartialEq, Eq)]
struct Start {
    /// Behind this position its events are looked at,
    at: i64,
    /// behind this one they are told,
    told: i64,
    /// and not before the first event of its time was seen.
    since_waits: bool,
}

impl Start {
    async fn of(reads: &Reads, filter: &LogFilter, last: Option<i64>) -> Result<Self, Problem> {
        let head = reads.log_head().await?;
        if last.is_some_and(|last| last > head) {
            return Err(Problem::of_field(LAST, format_args!("is behind the end of the log, {head}: it is an id of another log")));
        }
        let told = last.max(filter.from_position.map(|from| from.saturating_sub(1)));
        if filter.since.is_none() {
            let told = told.unwrap_or(head);
            return Ok(Self { at: told.min(head), told, since_waits: false });
        }
        let noted_to = reads.log_noted_to().await?;
        let of_time = LogFilter { since: filter.since, ..LogFilter::default() };
        let before_first = reads.log_bounds(&of_time, noted_to).await?.after;
        let told = told.unwrap_or(0);
        Ok(match before_first <= noted_to {
            true => Self { at: before_first.max(told).min(head), told: before_first.max(told), since_waits: false },
            // Its first event is not noted yet, or has not happened.
            false => Self { at: noted_to, told: noted_to.max(told), since_waits: true },
        })
    }
}

/// The last id that a client has; none where it has none.
fn last_id(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(last) = headers.get(LAST).filter(|last| !last.is_empty()) else { return Ok(None) };
    let position = last.to_str().ok().and_then(|last| last.trim().parse().ok()).filter(|last| *last >= 0);
    position.map(Some).ok_or_else(|| Problem::of_field(LAST, "must be an id of this stream, which is a position"))
}

/// Events of the log that match, as they happen; with `Last-Event-ID`, `from_position` or `since` first what was before.
#[utoipa::path(get, path = "/api/v1/events/stream", tag = "events", params(
    Filters,
    Since,
    ("Last-Event-ID" = Option<String>, Header, description = "The last id that was received"),
), responses(
    (status = 200, content_type = "text/event-stream", body = LogStreamEvent,
     description = "Events without an end, and a comment every 15 seconds"),
    (status = 400, description = "A filter that cannot be, or says where a stream ends"),
    (status = 429, description = "The caller follows too many streams"),
    (status = 503, description = "Too many streams"),
))]
pub async fn stream(State(state): State<AppState>, opening: Opening, params: Params, headers: HeaderMap) -> Result<Response, Problem> {
    let search = search(&params)?;
    let last = last_id(&headers)?;
    let seat = opening.seat(Kind::Log)?;
    let filter = search.filter(&state.reads).await?;
    if filter.groups.iter().any(Vec::is_empty) {
        return Err(Problem::of_field("about", "names nothing that the log knows"));
    }
    let start = Start::of(&state.reads, &filter, last).await?;
    let since = filter.since.filter(|_| start.since_waits);
    let searched = Searched { log: LogSource(state.reads.clone()), filter, told: start.told, since };
    let reader = Reader::new(state.live.log.clone(), searched, start.at, vec![]);
    Ok(opening.answer(seat, reader.frames(), frame::comment))
}
