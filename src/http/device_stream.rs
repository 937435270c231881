//! `GET /device-state/stream`: what changes about devices, as it changes, from any process.
//!
//! The source is the log, so an id is a position: a client that comes back with `Last-Event-ID` gets
//! everything since, and one that comes without gets the present state of its devices first.
//! One follower per process reads the log for all clients and hands each window on; a
//! client that is too slow for the buffer reads the log itself from where it is. Nothing is left out.

#![expect(clippy::disallowed_methods, reason = "the log is looked at again after a while")]

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderName};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use chrono::SecondsFormat;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use utoipa_axum::routes;

use super::AppState;
use super::extract::Params;
use super::fleet::DeviceWarning;
use super::policy::Policy;
use super::problem::{Code, Problem};
use super::routes::Routes;
use crate::domain::device::LinkKind;
use crate::domain::{DeviceId, Timestamp};
use crate::projections::reads::device_changes::{DeviceChange, WINDOW};
use crate::projections::reads::devices::DeviceRow;
use crate::projections::reads::{ReadError, Reads};

pub fn routes() -> Routes {
    Routes::default().at(Policy::READ.or_cookie(), routes!(stream))
}

/// How often the log is looked at where no signal came.
const POLL: Duration = Duration::from_millis(200);
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Windows kept for slow clients, for all of them together.
const WINDOWS_KEPT: usize = 256;
/// A client that missed more positions than these gets the present state instead.
const CATCH_UP_MAX: i64 = 100_000;
const CLIENTS_MAX: usize = 1_000;
const DEVICES_MAX: usize = 1_000;

/// What happened between two positions.
struct Window {
    after: i64,
    upto: i64,
    changes: Vec<DeviceChange>,
}

/// The follower of the log, and those who listen to it.
pub struct DeviceStream {
    windows: broadcast::Sender<Arc<Window>>,
    clients: AtomicUsize,
    stop: CancellationToken,
}

impl DeviceStream {
    pub fn new(stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self { windows: broadcast::channel(WINDOWS_KEPT).0, clients: AtomicUsize::new(0), stop })
    }

    /// Reads the log for everybody, until the end. `head` makes it quick where this process leads the log.
    pub async fn follow(self: Arc<Self>, reads: Reads, mut head: watch::Receiver<i64>) {
        let mut told: Option<i64> = None;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = head.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
            if self.windows.receiver_count() == 0 {
                told = None;
                continue;
            }
            if let Err(error) = self.step(&reads, &mut told).await {
                tracing::warn!(error = format!("{:#}", anyhow::Error::new(error)), "The device stream cannot read the log; tries again");
            }
        }
    }

    async fn step(&self, reads: &Reads, told: &mut Option<i64>) -> Result<(), ReadError> {
        let head = reads.log_head().await?;
        let mut after = match *told {
            Some(told) => told,
            // Whoever came since the last look may be behind this, and hears of it.
            None => {
                let _ = self.windows.send(Arc::new(Window { after: head, upto: head, changes: vec![] }));
                head
            }
        };
        // Windows without changes are not told: the next one begins where the last one that was told ended.
        let mut looked = after;
        while looked < head {
            let upto = head.min(looked + WINDOW);
            let changes = reads.device_changes(looked, upto).await?;
            looked = upto;
            if !changes.is_empty() {
                let _ = self.windows.send(Arc::new(Window { after, upto, changes }));
                after = upto;
            }
        }
        *told = Some(after);
        Ok(())
    }
}

/// Leaves the count when the client is gone.
struct Seat(Arc<DeviceStream>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One client: what it wants, and how far it is.
struct Client {
    state: AppState,
    wanted: Option<BTreeSet<String>>,
    windows: broadcast::Receiver<Arc<Window>>,
    /// Everything up to here was told, or does not concern it.
    position: i64,
    /// Where it still has to read by itself.
    behind: Option<i64>,
    ready: VecDeque<Event>,
    _seat: Seat,
}

fn instant(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

fn base(kind: &str, device: &str, version: i64, at: Timestamp) -> Value {
    json!({ "type": kind, "device_id": device, "state_version": version, "updated_at": instant(at) })
}

fn with(mut data: Value, more: Value) -> Value {
    if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
        data.extend(more);
    }
    data
}

fn connection(data: Value, recorder: bool, transfer: bool, source: String) -> Value {
    let both = recorder && transfer;
    with(data, json!({ "recorder_connected": recorder, "transfer_connected": transfer, "connected": both, "source": source }))
}

/// Nothing is known yet of a recorder that has just connected.
fn syncing(data: Value, now: Timestamp, at: Timestamp) -> Value {
    let state = json!({ "current_state": "unknown", "previous_state": "", "task_id": "", "state_synced": false, "syncing": true,
                        "fresh": false, "age_ms": age(now, at), "source": "" });
    with(data, state)
}

fn age(now: Timestamp, at: Timestamp) -> i64 {
    (now - at).num_milliseconds().max(0)
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// What a change is told as: event name and data.
fn told_as(change: &DeviceChange, now: Timestamp, rpc_timeout: Duration) -> Vec<(&'static str, Value)> {
    let body = &change.payload[&change.event_type];
    let data = |kind| base(kind, &change.device_id, change.version, change.at);
    match change.event_type.as_str() {
        "device_link_opened" | "device_link_closed" => {
            let (kind, open) = (text(body, "/kind"), change.event_type == "device_link_opened");
            let (recorder, transfer) = match kind {
                "recorder" => (open, change.transfer_open),
                _ => (change.recorder_open, open),
            };
            let source = format!("{kind}_{}", if open { "connected" } else { "disconnected" });
            let mut told = vec![("device_connection", connection(data("device_connection"), recorder, transfer, source))];
            if kind == "recorder" && open {
                told.push(("recorder_syncing", syncing(data("recorder_syncing"), now, change.at)));
            }
            told
        }
        "recorder_state_observed" => {
            let state = json!({
                "current_state": text(body, "/seen/state"), "previous_state": change.previous.clone().unwrap_or_default(),
                "task_id": text(body, "/seen/task_id"), "state_synced": true, "syncing": false, "fresh": true,
                "age_ms": age(now, change.at), "source": text(body, "/source"),
            });
            vec![("recorder_state", with(data("recorder_state"), state))]
        }
        "device_contested" | "device_contest_ended" => {
            let kind = if text(body, "/kind") == "recorder" { LinkKind::Recorder } else { LinkKind::Transfer };
            let contest = json!({ "since": body["at"], "remotes": body["remotes"] });
            let warning = Some(contest).filter(|_| change.event_type == "device_contested");
            vec![("device_warning", warned(data("device_warning"), kind, warning.as_ref()))]
        }
        "device_command_settled" if body.pointer("/outcome/unknown").is_some() => {
            let action = text(body, "/action");
            let operation = json!({
                "action": action, "task_id": text(body, "/task_id"), "result_unknown": true, "source": format!("rpc_timeout:{action}"),
                "error": text(body, "/outcome/unknown/reason"), "cause": body.pointer("/outcome/unknown/cause"), "timeout": format!("{}s", rpc_timeout.as_secs()),
                "timeout_ms": u64::try_from(rpc_timeout.as_millis()).unwrap_or(u64::MAX),
            });
            vec![("recorder_operation_unknown", with(data("recorder_operation_unknown"), operation))]
        }
        _ => vec![],
    }
}

/// What a person has to look after, or that it is over.
fn warned(data: Value, kind: LinkKind, contest: Option<&Value>) -> Value {
    let warning = DeviceWarning::two_programs(kind, contest);
    let (active, detail) = (warning.is_some(), warning.as_ref().map(|warning| warning.detail.clone()).unwrap_or_default());
    let remotes = warning.map(|warning| warning.remotes).unwrap_or_default();
    with(data, json!({ "code": "two_programs", "link": kind.as_str(), "active": active, "detail": detail, "remotes": remotes }))
}

/// The present state of a device, as if it had just changed.
fn snapshot_of(row: &DeviceRow, now: Timestamp) -> Vec<(&'static str, Value)> {
    let data = |kind| base(kind, &row.id, row.version, row.updated_at);
    let links = connection(data("device_connection"), row.recorder_open, row.transfer_open, "snapshot".to_owned());
    let mut told = vec![("device_connection", links)];
    for (kind, contest) in [(LinkKind::Recorder, &row.recorder_contest), (LinkKind::Transfer, &row.transfer_contest)] {
        if let Some(contest) = contest.as_ref().filter(|contest| !contest.is_null()) {
            told.push(("device_warning", warned(data("device_warning"), kind, Some(contest))));
        }
    }
    match &row.observed_state {
        Some(state) => {
            let state = json!({
                "current_state": state, "previous_state": "", "task_id": row.observed_task.clone().unwrap_or_default(), "state_synced": true,
                "syncing": false, "fresh": true, "age_ms": age(now, row.updated_at), "source": "snapshot",
            });
            told.push(("recorder_state", with(data("recorder_state"), state)));
        }
        None if row.recorder_open => told.push(("recorder_syncing", syncing(data("recorder_syncing"), now, row.updated_at))),
        None => {}
    }
    told
}

/// The id stands on the last event of a position only: whoever lost one of them gets them all again.
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
    fn take(&mut self, changes: &[DeviceChange], upto: i64) {
        let (now, timeout) = (self.state.commands.now(), self.state.settings.device_response_timeout);
        let news = changes.iter().filter(|change| change.position > self.position && self.wants(&change.device_id));
        let told: Vec<Event> = news.flat_map(|change| events(told_as(change, now, timeout), change.position)).collect();
        self.ready.extend(told);
        self.position = self.position.max(upto);
    }

    async fn snapshot(&mut self) -> Result<(), ReadError> {
        // Read before the rows: what is committed in between is told twice, and not left out.
        let head = self.state.reads.log_head().await?;
        let now = self.state.commands.now();
        let rows = self.state.reads.devices().await?;
        let told: Vec<_> = rows.iter().filter(|row| self.wants(&row.id)).flat_map(|row| snapshot_of(row, now)).collect();
        self.ready.extend(events(told, head));
        self.position = head;
        Ok(())
    }

    /// Reads the log by itself, a window at a time.
    async fn catch_up(&mut self, target: i64) -> Result<(), ReadError> {
        let upto = target.min(self.position + WINDOW);
        let changes = self.state.reads.device_changes(self.position, upto).await?;
        self.take(&changes, upto);
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
                Ok(window) => self.take(&window.changes, window.upto),
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
pub async fn stream(State(state): State<AppState>, params: Params, headers: HeaderMap) -> Result<Response, Problem> {
    let wanted = wanted(&params)?;
    let feed = state.device_stream.clone();
    let seat = Seat(feed.clone());
    if feed.clients.fetch_add(1, Ordering::Relaxed) >= CLIENTS_MAX || feed.stop.is_cancelled() {
        return Err(Problem::new(Code::Unavailable, "too many clients follow devices here; try again later").retry_after(5));
    }
    // Before anything is read: whatever is committed after that is heard.
    let windows = feed.windows.subscribe();
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.trim().parse::<i64>().ok());
    let mut client = Client { wanted, windows, position: 0, behind: None, ready: VecDeque::new(), _seat: seat, state };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn change(event_type: &str, body: Value) -> DeviceChange {
        DeviceChange {
            position: 7,
            device_id: "AB-1".into(),
            version: 3,
            event_type: event_type.into(),
            payload: json!({ event_type: body }),
            at: Timestamp::UNIX_EPOCH,
            recorder_open: false,
            transfer_open: true,
            previous: Some("ready".into()),
        }
    }

    fn told(change: &DeviceChange) -> Vec<(&'static str, Value)> {
        told_as(change, Timestamp::UNIX_EPOCH + chrono::TimeDelta::milliseconds(40), Duration::from_secs(15))
    }

    #[test]
    fn each_change_is_told_as_clients_know_it() {
        let opened = told(&change("device_link_opened", json!({ "kind": "recorder", "epoch": 2 })));
        assert_eq!(opened.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["device_connection", "recorder_syncing"]);
        assert_eq!(
            opened[0].1,
            json!({ "type": "device_connection", "device_id": "AB-1", "state_version": 3, "updated_at": "1970-01-01T00:00:00.000000000Z",
                    "recorder_connected": true, "transfer_connected": true, "connected": true, "source": "recorder_connected" })
        );
        let closed = told(&change("device_link_closed", json!({ "kind": "transfer", "epoch": 2, "reason": "gone" })));
        assert_eq!((&closed[0].1["source"], &closed[0].1["connected"]), (&json!("transfer_disconnected"), &json!(false)));

        let seen = json!({ "seen": { "epoch": 2, "state": "recording", "task_id": "t" }, "source": "state_update" });
        assert_eq!(
            told(&change("recorder_state_observed", seen)),
            [(
                "recorder_state",
                json!({ "type": "recorder_state", "device_id": "AB-1", "state_version": 3,
                "updated_at": "1970-01-01T00:00:00.000000000Z", "current_state": "recording", "previous_state": "ready", "task_id": "t",
                "state_synced": true, "syncing": false, "fresh": true, "age_ms": 40, "source": "state_update" })
            )]
        );
        let unknown = json!({ "command_id": "c", "action": "begin", "task_id": "t", "outcome": { "unknown": { "reason": "silence" } } });
        let unknown = told(&change("device_command_settled", unknown));
        assert_eq!(
            (unknown[0].0, &unknown[0].1["source"], &unknown[0].1["timeout_ms"]),
            ("recorder_operation_unknown", &json!("rpc_timeout:begin"), &json!(15000))
        );
        let known = json!({ "command_id": "c", "action": "begin", "task_id": "t", "outcome": { "succeeded": {} } });
        assert_eq!(told(&change("device_command_settled", known)), []);
    }
}
