//! `/recorder`: what recorders do: as they say themselves, or as was committed where another process holds their sockets.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::extract::{Json, Params, PathDevice};
use super::fleet::{DeviceWarning, RecorderView, Unanswered, recorder_elsewhere};
use super::policy::Policy;
use super::problem::{Code, Problem};
use super::routes::Routes;
use super::wire::WholeSecond;
use super::words::SeenStateWord;
use crate::commands::Refusal;
use crate::domain::device::LinkKind;
use crate::domain::{DeviceId, RefusalCode, Scope, Timestamp};

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ.waiting(), routes!(devices))
        .at(Policy::READ.waiting(), routes!(state))
        .at(Policy::READ.waiting().over(LinkKind::Recorder), routes!(stats))
}

/// A command is decided on a state that is at most this old.
pub const FRESH: Duration = Duration::from_secs(1);

/// What a recorder was last seen doing, and how sure we are.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RecorderStateAnswer {
    /// Whether it is connected, to whichever process.
    connected: bool,
    /// `unknown` before the first snapshot.
    #[schema(value_type = SeenStateWord)]
    current_state: String,
    /// The one before, where it is known; else empty.
    previous_state: String,
    /// The task that it has, by the id that devices know; else empty.
    task_id: String,
    /// When it told its state.
    updated_at: WholeSecond,
    /// Whether the state is sure.
    state_synced: bool,
    /// Whether it is being asked for.
    syncing: bool,
    /// Whether it is no older than asked.
    fresh: bool,
    /// How old it is, in milliseconds.
    age_ms: u64,
    /// How we know it.
    source: String,
    /// Counts up with the state's changes, per device.
    state_version: i64,
}

impl RecorderStateAnswer {
    pub fn of(view: Option<&RecorderView>, now: Timestamp, fresh_within: Duration) -> Self {
        let Some(view) = view else {
            return Self {
                connected: false,
                current_state: "unknown".into(),
                previous_state: String::new(),
                task_id: String::new(),
                updated_at: WholeSecond(now),
                state_synced: false,
                syncing: false,
                fresh: false,
                age_ms: 0,
                source: "disconnected".into(),
                state_version: 0,
            };
        };
        Self {
            connected: true,
            current_state: view.current_state.clone(),
            previous_state: view.previous_state.clone(),
            task_id: view.task_id.clone().unwrap_or_default(),
            updated_at: WholeSecond(view.updated_at.unwrap_or(view.connected_at)),
            state_synced: view.confirmed,
            syncing: !view.confirmed,
            fresh: view.confirmed && view.age.is_some_and(|age| age <= fresh_within),
            age_ms: view.age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            source: view.source.clone(),
            state_version: 0,
        }
    }

    fn at_version(self, state_version: i64) -> Self {
        Self { state_version, ..self }
    }

    pub fn object(&self) -> Map<String, Value> {
        match json!(self) {
            Value::Object(object) => object,
            _ => Map::new(),
        }
    }
}

/// Recorders that are connected.
#[derive(Debug, Serialize, ToSchema)]
pub struct Recorders {
    /// All of them.
    devices: Vec<RecorderListed>,
}

/// A recorder that is connected.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecorderListed {
    /// The robot's device id.
    device_id: String,
    /// Where it connects from; empty where another process holds it.
    remote_ip: String,
    /// Since when.
    connected_at: WholeSecond,
    /// When it said something last.
    last_seen_at: WholeSecond,
    /// What it does.
    state: RecorderListedState,
    /// Whether that is sure.
    state_synced: bool,
    /// What a person has to look after.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<DeviceWarning>,
}

/// What a recorder does.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecorderListedState {
    /// `unknown` before the first snapshot.
    #[schema(value_type = SeenStateWord)]
    current_state: String,
    /// The task that it has, by the id that devices know.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
    /// When it told that; null before it did.
    #[schema(required)]
    updated_at: Option<WholeSecond>,
    /// How we know it.
    #[serde(skip_serializing_if = "String::is_empty")]
    source: String,
    /// Why it is not sure.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_sync_error: Option<String>,
}

impl From<RecorderView> for RecorderListed {
    fn from(view: RecorderView) -> Self {
        Self {
            device_id: view.device_id,
            remote_ip: view.remote_ip,
            connected_at: view.connected_at.into(),
            last_seen_at: view.last_seen_at.into(),
            state: RecorderListedState {
                current_state: view.current_state,
                task_id: view.task_id,
                updated_at: view.updated_at.map(WholeSecond),
                source: view.source,
                last_sync_error: view.error,
            },
            state_synced: view.confirmed,
            warning: None,
        }
    }
}

/// Recorders that are connected.
#[utoipa::path(get, path = "/api/v1/recorder/devices", tag = "recorder", responses((status = 200, body = Recorders)))]
pub async fn devices(State(state): State<AppState>, caller: Caller) -> Result<Json<Recorders>, Problem> {
    let (mut views, now) = (state.fleet.recorders(), state.commands.now());
    let here: BTreeSet<String> = views.iter().map(|view| view.device_id.clone()).collect();
    let seen = state.reads.seen_devices(&caller.scope, here.iter().map(String::as_str)).await?;
    views.retain(|view| seen.contains(&view.device_id));
    let linked = state.reads.linked_devices(&caller.scope).await?;
    views.extend(linked.iter().filter(|row| !here.contains(row.id.as_str())).filter_map(|row| recorder_elsewhere(row, now)));
    let warned = |view: RecorderView| {
        let row = linked.iter().find(|row| row.id.as_str() == view.device_id);
        let warning = row.and_then(|row| DeviceWarning::two_programs(LinkKind::Recorder, row.own.recorder_contest.as_ref()));
        RecorderListed { warning, ..RecorderListed::from(view) }
    };
    Ok(Json(Recorders { devices: views.into_iter().map(warned).collect() }))
}

/// What is known of a recorder: by this process where it is connected here, else by what was committed.
pub async fn view_of(state: &AppState, scope: &Scope, device: &DeviceId) -> Result<Option<RecorderView>, Problem> {
    if let Some(view) = state.fleet.recorder(device) {
        return Ok(state.reads.sees_device(scope, device).await?.then_some(view));
    }
    Ok(state.reads.device(scope, device).await?.and_then(|row| recorder_elsewhere(&row, state.commands.now())))
}

/// What a recorder does.
#[utoipa::path(get, path = "/api/v1/recorder/{device_id}/state", tag = "recorder", params(
    ("device_id" = String, Path),
    ("refresh" = Option<String>, Query, description = "`1`, `true` or `yes`: ask the device where the state is older than `max_age_ms`"),
    ("max_age_ms" = Option<String>, Query, description = "Default 1000; so is what is no number"),
), responses(
    (status = 200, body = RecorderStateAnswer),
    (status = 409, description = "The refresh failed"),
    (status = 504, description = "The device did not answer"),
))]
pub async fn state(
    State(state): State<AppState>,
    caller: Caller,
    PathDevice(device): PathDevice,
    params: Params,
) -> Result<Json<RecorderStateAnswer>, Problem> {
    let refresh = params.text("refresh").is_some_and(|text| matches!(text.as_str(), "1" | "true" | "yes"));
    let age_max = params.text("max_age_ms").and_then(|text| text.parse().ok()).map_or(FRESH, Duration::from_millis);
    let view = match view_of(&state, &caller.scope, &device).await? {
        Some(_) if refresh => Some(fresh(&state, &caller.scope, &device, age_max).await?),
        view => view,
    };
    let version = state.reads.device(&caller.scope, &device).await?.map_or(0, |row| row.version);
    Ok(Json(RecorderStateAnswer::of(view.as_ref(), state.commands.now(), age_max).at_version(version)))
}

/// What a recorder that the caller sees does, no older than asked; or the state body that says why not.
async fn fresh(state: &AppState, scope: &Scope, device: &DeviceId, age_max: Duration) -> Result<RecorderView, Problem> {
    let known = || RecorderStateAnswer::of(state.fleet.recorder(device).as_ref(), state.commands.now(), age_max).object();
    match state.fleet.refresh(device, age_max, state.settings.device_response_timeout).await {
        Ok(view) => Ok(view),
        // The process that holds it commits every change of its state; the device itself checks the rest.
        Err(Unanswered::NotConnected) => view_of(state, scope, device).await?.ok_or_else(not_connected),
        Err(Unanswered::TimedOut) => {
            let problem = Problem::new(Code::RecorderStateRefreshTimeout, "the recorder did not tell its state in time");
            Err(problem.with_all(known()).with("result_unknown", true))
        }
        Err(Unanswered::Failed(reason)) => {
            Err(Problem::new(Code::RecorderStateRefreshFailed, format!("the recorder's state is not known: {reason}")).with_all(known()))
        }
    }
}

fn not_connected() -> Problem {
    Problem::new(Code::DeviceNotConnected, "recorder not connected")
}

/// A recorder's counters.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stats {
    /// Whether it is connected.
    connected: bool,
    /// As the device tells it.
    data: Value,
}

/// A recorder's counters.
#[utoipa::path(get, path = "/api/v1/recorder/{device_id}/stats", tag = "recorder", params(("device_id" = String, Path)), responses(
    (status = 200, body = Stats),
    (status = 504, description = "The device did not answer"),
))]
pub async fn stats(State(state): State<AppState>, caller: Caller, PathDevice(device): PathDevice) -> Result<Json<Stats>, Problem> {
    if !state.reads.sees_device(&caller.scope, &device).await? {
        return Ok(Json(Stats { connected: false, data: json!({}) }));
    }
    match state.fleet.stats(&device, state.settings.device_response_timeout).await {
        Ok(data) => Ok(Json(Stats { connected: true, data })),
        Err(Unanswered::NotConnected) => Ok(Json(Stats { connected: false, data: json!({}) })),
        Err(Unanswered::TimedOut) => Err(rpc_timeout("get_stats")),
        Err(Unanswered::Failed(reason)) => Err(super::problem::failed(&anyhow::anyhow!("statistics of {device}: {reason}"))),
    }
}

pub fn rpc_timeout(action: &str) -> Problem {
    Problem::new(Code::RecorderRpcTimeout, "recorder rpc timeout").with("action", action).with("result_unknown", true)
}

/// The recorder, connected and in a state that is sure and fresh.
pub async fn confirmed(state: &AppState, scope: &Scope, device: &DeviceId) -> Result<RecorderView, Problem> {
    let view = view_of(state, scope, device).await?.ok_or_else(not_connected)?;
    if !view.confirmed {
        let known = RecorderStateAnswer::of(Some(&view), state.commands.now(), FRESH).object();
        return Err(Problem::from(Refusal::new(RefusalCode::RecorderStateSyncing, "the recorder's state is not confirmed yet; try again"))
            .with_all(known));
    }
    fresh(state, scope, device, FRESH).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(state: &str, task: Option<&str>) -> RecorderView {
        let at = chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        RecorderView {
            device_id: "AB-1".into(),
            remote_ip: "10.0.0.1".into(),
            connected_at: at,
            last_seen_at: at,
            current_state: state.into(),
            previous_state: "idle".into(),
            task_id: task.map(str::to_owned),
            updated_at: Some(at),
            age: Some(Duration::from_millis(400)),
            confirmed: true,
            foreign_task: false,
            source: "state_update".into(),
            error: None,
        }
    }

    #[test]
    fn a_recorder_that_is_gone_is_unknown_and_nothing_is_fresh() {
        let now = chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let gone = json!(RecorderStateAnswer::of(None, now, FRESH));
        assert_eq!(
            (&gone["connected"], &gone["current_state"], &gone["source"]),
            (&json!(false), &json!("unknown"), &json!("disconnected"))
        );
        let here = RecorderStateAnswer::of(Some(&view("ready", None)), now, Duration::from_millis(100));
        assert!(here.connected && here.state_synced && !here.fresh && !here.syncing);
    }
}
