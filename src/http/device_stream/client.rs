//! One reader of the stream: what it wants, and how far it is.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderName};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::Value;
use tokio::sync::broadcast;
use utoipa_axum::routes;

use super::feed::{Seat, Window};
use super::told::{snapshot_of, told_as};
use crate::domain::{DeviceId, Scope};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::Params;
use crate::http::policy::Policy;
use crate::http::problem::{Code, Problem};
use crate::http::routes::Routes;
use crate::projections::reads::ReadError;
use crate::projections::reads::device_changes::{DeviceChange, WINDOW};

pub fn routes() -> Routes {
    Routes::default().at(Policy::READ.or_cookie(), routes!(stream))
}

const HEARTBEAT: Duration = Duration::from_secs(15);
/// A client that missed more positions than these gets the present state instead.
const CATCH_UP_MAX: i64 = 100_000;
const DEVICES_MAX: usize = 1_000;

/// One client: what it wants, and how far it is.
struct Client {
    state: AppState,
    scope: Scope,
    wanted: Option<BTreeSet<String>>,
    windows: broadcast::Receiver<Arc<Window>>,
    /// Everything up to here was told, or does not concern it.
    position: i64,
    /// Where it still has to read by itself.
    behind: Option<i64>,
    ready: VecDeque<Event>,
    _seat: Seat,
}

/// The id stands on the last event of a position only: a reader that lost one of them gets them all again.
fn events(told: Vec<(&'static str, Value)>, position: i64) -> impl Iterator<Item = Event> {
    let last = told.len().saturating_sub(1);
    told.into_iter().enumerate().map(move |(n, (name, data))| {
        let event = Event::default().event(name).data(data.to_string());
        if n == last { event.id(position.to_string()) } else { event }
    })
}

impl Client {
    fn wants(&self, device: &str) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted.contains(device))
    }

    /// Tells what is new to it.
    async fn take(&mut self, changes: &[DeviceChange], upto: i64) -> Result<(), ReadError> {
        let devices: BTreeSet<&str> = changes.iter().map(|change| change.device_id.as_str()).filter(|device| self.wants(device)).collect();
        let seen = self.state.reads.seen_devices(&self.scope, devices).await?;
        let (now, timeout) = (self.state.commands.now(), self.state.settings.device_response_timeout);
        let news = changes.iter().filter(|change| change.position > self.position && seen.contains(&change.device_id));
        let told: Vec<Event> = news.flat_map(|change| events(told_as(change, now, timeout), change.position)).collect();
        self.ready.extend(told);
        self.position = self.position.max(upto);
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<(), ReadError> {
        // Read before the rows: what is committed in between is told twice, and not left out.
        let head = self.state.reads.log_head().await?;
        let now = self.state.commands.now();
        let rows = self.state.reads.devices(&self.scope).await?;
        let told: Vec<_> = rows.iter().filter(|row| self.wants(row.id.as_str())).flat_map(|row| snapshot_of(row, now)).collect();
        self.ready.extend(events(told, head));
        self.position = head;
        Ok(())
    }

    /// Reads the log by itself, a window at a time.
    async fn catch_up(&mut self, target: i64) -> Result<(), ReadError> {
        let upto = target.min(self.position + WINDOW);
        let changes = self.state.reads.device_changes(self.position, upto).await?;
        self.take(&changes, upto).await?;
        if self.position >= target {
            self.behind = None;
        }
        Ok(())
    }

    /// The next event, when there is one. `None`: the end.
    async fn next(&mut self) -> Option<Event> {
        let stop = self.state.device_stream.stop.clone();
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if let Some(target) = self.behind {
                if self.catch_up(target).await.is_err() {
                    // The client comes back with the last id that it has.
                    return None;
                }
                continue;
            }
            let window = tokio::select! { () = stop.cancelled() => return None, window = self.windows.recv() => window };
            match window {
                Ok(window) if window.upto <= self.position => {}
                Ok(window) if window.after > self.position => self.behind = Some(window.upto),
                Ok(window) => self.take(&window.changes, window.upto).await.ok()?,
                Err(broadcast::error::RecvError::Lagged(_)) => self.behind = Some(self.state.reads.log_head().await.ok()?),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
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
     description = "Events without an end, and a comment where there was none for a while"),
    (status = 400, description = "A device id that cannot be one"),
    (status = 503, description = "Too many clients"),
))]
pub async fn stream(State(state): State<AppState>, caller: Caller, params: Params, headers: HeaderMap) -> Result<Response, Problem> {
    let wanted = wanted(&params)?;
    let feed = state.device_stream.clone();
    let full = || Problem::new(Code::Unavailable, "too many clients follow devices here; try again later").retry_after(5);
    let seat = feed.seat().ok_or_else(full)?;
    // Before anything is read: whatever is committed after that is heard.
    let windows = feed.windows.subscribe();
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.trim().parse::<i64>().ok());
    let mut client = Client { scope: caller.scope, wanted, windows, position: 0, behind: None, ready: VecDeque::new(), _seat: seat, state };
    let head = client.state.reads.log_head().await?;
    match last.filter(|last| (head - CATCH_UP_MAX..=head).contains(last) && *last > 0) {
        Some(last) => {
            client.position = last;
            client.behind = Some(head).filter(|head| *head > last);
        }
        None => client.snapshot().await?,
    }
    let events = stream::unfold(client, |mut client| async move {
        let event = client.next().await?;
        Some((Ok::<_, Infallible>(event), client))
    });
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("keepalive"));
    let headers = [(CACHE_CONTROL, "no-cache"), (HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((headers, sse).into_response())
}
