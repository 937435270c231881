//! `/recorder`: what recorders do, and telling them what to do.
//!
//! A command is an event first and reaches the device through the outbox; the caller waits
//! for its outcome as long as a device may take, and hears that nobody knows after that. What
//! is known of a recorder is checked before, where doing the wrong thing would lose a task.

use std::collections::BTreeSet;
use std::time::{Duration, Instant as Moment};

use axum::Json as Answer;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::auth::Caller;
use super::extract::{MaybeObject, Params, PathDevice, parse_bool, public_task_id};
use super::fleet::{DeviceWarning, RecorderView, Unanswered, recorder_elsewhere};
use super::policy::Policy;
use super::problem::{Code, Problem};
use super::routes::Routes;
use super::tasks::callback_urls;
use super::wire::Instant;
use super::{AppState, Settings};
use crate::commands::CommandError;
use crate::commands::devices::RequestDeviceCommand;
use crate::domain::device::{LinkKind, RecorderAction, RecorderState, UnknownCause};
use crate::domain::task::TaskStatus;
use crate::domain::{DeviceId, PublicTaskId, RefusalCode, Timestamp};
use crate::projections::reads::devices::DeviceCommandRow;
use crate::projections::reads::tasks::TaskStanding;
use crate::projections::rows::device::CommandStatus;

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ.waiting(), routes!(devices))
        .at(Policy::READ.waiting(), routes!(state))
        .at(Policy::READ.waiting().over(LinkKind::Recorder), routes!(stats))
        .at(Policy::OPERATE.waiting(), routes!(config))
        .at(Policy::OPERATE.waiting(), routes!(begin))
        .at(Policy::OPERATE.waiting(), routes!(finish))
        .at(Policy::OPERATE.waiting(), routes!(pause))
        .at(Policy::OPERATE.waiting(), routes!(resume))
        .at(Policy::OPERATE.waiting(), routes!(cancel))
        .at(Policy::OPERATE.waiting(), routes!(clear))
        .at(Policy::OPERATE.waiting(), routes!(quit))
}

/// A command is decided on a state that is at most this old.
const FRESH: Duration = Duration::from_secs(1);
/// A device answers in a few milliseconds or takes its time: look often first, then less so.
const LOOK_FIRST: Duration = Duration::from_millis(25);
const LOOK_LATER: Duration = Duration::from_millis(250);
/// An outcome is written a moment after the device's own deadline.
const OUTCOME_GRACE: Duration = Duration::from_secs(1);

/// What a recorder was last seen doing, and how sure we are.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RecorderStateAnswer {
    connected: bool,
    /// `idle`, `ready`, `recording`, `paused`; `unknown` before the first snapshot.
    current_state: String,
    previous_state: String,
    task_id: String,
    updated_at: Instant,
    state_synced: bool,
    syncing: bool,
    fresh: bool,
    age_ms: u64,
    source: String,
    /// Counts up with the state's changes, per device.
    state_version: i64,
}

impl RecorderStateAnswer {
    fn of(view: Option<&RecorderView>, now: Timestamp, fresh_within: Duration) -> Self {
        let Some(view) = view else {
            return Self {
                connected: false,
                current_state: "unknown".into(),
                previous_state: String::new(),
                task_id: String::new(),
                updated_at: Instant(now),
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
            updated_at: Instant(view.updated_at.unwrap_or(view.connected_at)),
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

    fn object(&self) -> Map<String, Value> {
        match json!(self) {
            Value::Object(object) => object,
            _ => Map::new(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Recorders {
    devices: Vec<RecorderListed>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RecorderListed {
    device_id: String,
    remote_ip: String,
    connected_at: Instant,
    last_seen_at: Instant,
    state: RecorderListedState,
    state_synced: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<DeviceWarning>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RecorderListedState {
    current_state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
    updated_at: Option<Instant>,
    #[serde(skip_serializing_if = "String::is_empty")]
    source: String,
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
                updated_at: view.updated_at.map(Instant),
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
pub async fn devices(State(state): State<AppState>) -> Result<Answer<Recorders>, Problem> {
    let (mut views, now) = (state.fleet.recorders(), state.commands.now());
    let here: BTreeSet<String> = views.iter().map(|view| view.device_id.clone()).collect();
    let linked = state.reads.linked_devices().await?;
    views.extend(linked.iter().filter(|row| !here.contains(&row.id)).filter_map(|row| recorder_elsewhere(row, now)));
    let warned = |view: RecorderView| {
        let row = linked.iter().find(|row| row.id == view.device_id);
        let warning = row.and_then(|row| DeviceWarning::two_programs(LinkKind::Recorder, row.recorder_contest.as_ref()));
        RecorderListed { warning, ..RecorderListed::from(view) }
    };
    Ok(Answer(Recorders { devices: views.into_iter().map(warned).collect() }))
}

/// What is known of a recorder: by this process where it is connected here, else by what was committed.
async fn view_of(state: &AppState, device: &DeviceId) -> Result<Option<RecorderView>, Problem> {
    if let Some(view) = state.fleet.recorder(device) {
        return Ok(Some(view));
    }
    Ok(state.reads.device(device).await?.and_then(|row| recorder_elsewhere(&row, state.commands.now())))
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
    PathDevice(device): PathDevice,
    params: Params,
) -> Result<Answer<RecorderStateAnswer>, Problem> {
    let refresh = params.text("refresh").is_some_and(|text| matches!(text.as_str(), "1" | "true" | "yes"));
    let age_max = params.text("max_age_ms").and_then(|text| text.parse().ok()).map_or(FRESH, Duration::from_millis);
    let view = match view_of(&state, &device).await? {
        Some(_) if refresh => Some(fresh(&state, &device, age_max).await?),
        view => view,
    };
    let version = state.reads.device(&device).await?.map_or(0, |row| row.version);
    Ok(Answer(RecorderStateAnswer::of(view.as_ref(), state.commands.now(), age_max).at_version(version)))
}

/// What the recorder does, no older than asked; or the state body that says why not.
async fn fresh(state: &AppState, device: &DeviceId, age_max: Duration) -> Result<RecorderView, Problem> {
    let known = || RecorderStateAnswer::of(state.fleet.recorder(device).as_ref(), state.commands.now(), age_max).object();
    match state.fleet.refresh(device, age_max, state.settings.device_response_timeout).await {
        Ok(view) => Ok(view),
        // The process that holds it commits every change of its state; the device itself checks the rest.
        Err(Unanswered::NotConnected) => view_of(state, device).await?.ok_or_else(not_connected),
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

#[derive(Debug, Serialize, ToSchema)]
pub struct Stats {
    connected: bool,
    /// As the device tells it.
    data: Value,
}

/// A recorder's counters.
#[utoipa::path(get, path = "/api/v1/recorder/{device_id}/stats", tag = "recorder", params(("device_id" = String, Path)), responses(
    (status = 200, body = Stats),
    (status = 504, description = "The device did not answer"),
))]
pub async fn stats(State(state): State<AppState>, PathDevice(device): PathDevice) -> Result<Answer<Stats>, Problem> {
    match state.fleet.stats(&device, state.settings.device_response_timeout).await {
        Ok(data) => Ok(Answer(Stats { connected: true, data })),
        Err(Unanswered::NotConnected) => Ok(Answer(Stats { connected: false, data: json!({}) })),
        Err(Unanswered::TimedOut) => Err(rpc_timeout("get_stats")),
        Err(Unanswered::Failed(reason)) => Err(super::problem::failed(&anyhow::anyhow!("statistics of {device}: {reason}"))),
    }
}

fn rpc_timeout(action: &str) -> Problem {
    Problem::new(Code::RecorderRpcTimeout, "recorder rpc timeout").with("action", action).with("result_unknown", true)
}

/// What a recorder answered. `success` may be false: then it refused.
#[derive(Debug, Serialize, ToSchema)]
pub struct RpcAnswer {
    r#type: &'static str,
    request_id: String,
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

type RpcResult = Result<Answer<RpcAnswer>, Problem>;

/// The recorder, connected and in a state that is sure and fresh.
async fn confirmed(state: &AppState, device: &DeviceId) -> Result<RecorderView, Problem> {
    let view = view_of(state, device).await?.ok_or_else(not_connected)?;
    if !view.confirmed {
        let known = RecorderStateAnswer::of(Some(&view), state.commands.now(), FRESH).object();
        return Err(Problem::new(Code::RecorderStateSyncing, "the recorder's state is not confirmed yet; try again").with_all(known));
    }
    fresh(state, device, FRESH).await
}

/// The task, where it is this device's.
async fn owned(state: &AppState, device: &DeviceId, task: &PublicTaskId) -> Result<Option<TaskStanding>, Problem> {
    Ok(state.reads.task_standing(task).await?.filter(|task| task.device_id.as_deref() == Some(device.as_str())))
}

/// A task id in a body: text, or missing.
fn task_in(object: &Map<String, Value>) -> Result<Option<PublicTaskId>, Problem> {
    match object.get("task_id") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => public_task_id(text).map(Some),
        Some(_) => Err(Problem::invalid("task_id must be a string")),
    }
}

/// What a command is about.
#[derive(Default)]
struct Meant {
    task: Option<PublicTaskId>,
    /// The recorder says at this moment that it holds no task of ours.
    holds_none: bool,
}

impl From<Option<PublicTaskId>> for Meant {
    fn from(task: Option<PublicTaskId>) -> Self {
        Self { task, holds_none: false }
    }
}

/// The task that is named, else the one that the recorder says it has at this moment, which may be none of ours. What it
/// says may be on its way into storage still.
async fn task_meant(state: &AppState, device: &DeviceId, object: &Map<String, Value>) -> Result<Meant, Problem> {
    if let Some(named) = task_in(object)? {
        return Ok(Some(named).into());
    }
    let Some(view) = view_of(state, device).await? else { return Ok(Meant::default()) };
    let idle = view.current_state == RecorderState::Idle.as_str();
    let task = view.task_id.filter(|_| view.confirmed && !idle).and_then(|task| PublicTaskId::parse(&task).ok());
    Ok(Meant { task, holds_none: view.foreign_task || (view.confirmed && idle) })
}

fn task_required() -> Problem {
    Problem::new(Code::TaskIdRequired, "task_id is required")
}

/// Whether a recorder may be configured, by what is known of it.
fn check_idle(view: &RecorderView) -> Result<(), Problem> {
    if view.current_state == RecorderState::Idle.as_str() {
        return Ok(());
    }
    Err(Problem::new(Code::RecorderBusy, format!("the recorder is {}", view.current_state))
        .with("current_state", view.current_state.clone())
        .with("task_id", view.task_id.clone().unwrap_or_default()))
}

/// Whether a recorder is ready for exactly this task.
fn check_ready(view: &RecorderView, task: &PublicTaskId) -> Result<(), Problem> {
    if view.current_state == RecorderState::Ready.as_str() && view.task_id.as_deref() == Some(task.as_str()) {
        return Ok(());
    }
    Err(Problem::new(Code::TaskNotBeginable, format!("the recorder is {} and not ready for this task", view.current_state))
        .with("recorder_state", view.current_state.clone())
        .with("recorder_task_id", view.task_id.clone().unwrap_or_default()))
}

/// Whether a task stands where a command wants it.
fn check_standing(code: Code, task: Option<&TaskStanding>, wanted: &[TaskStatus]) -> Result<(), Problem> {
    let status = task.map(|task| task.status.as_str());
    if wanted.iter().any(|wanted| status == Some(wanted.as_str())) {
        return Ok(());
    }
    let status = status.unwrap_or("not_found");
    Err(Problem::new(code, format!("the task is {status}")).with("current_status", status))
}

/// Tell a recorder which task comes next. It must be idle, and the task pending.
#[utoipa::path(post, path = "/api/v1/recorder/{device_id}/config", tag = "recorder", params(("device_id" = String, Path)),
    request_body(content = Value, description = "`{\"task_config\": {\"task_id\": …}}`, as `/tasks/{id}/config` gives it"), responses(
    (status = 200, body = RpcAnswer),
    (status = 404, description = "The recorder is not connected"),
    (status = 409, description = "The uploader is not connected, the recorder is not idle or not sure, or the task is not pending"),
    (status = 503, description = "It did not reach the recorder, which is busy or was lost in this moment; nothing was done"),
    (status = 504, description = "The device did not answer, or was lost before it did; the outcome is unknown"),
))]
pub async fn config(
    State(state): State<AppState>,
    caller: Caller,
    PathDevice(device): PathDevice,
    MaybeObject(body): MaybeObject,
) -> RpcResult {
    if !state.reads.device(&device).await?.is_some_and(|row| row.transfer_open) {
        return Err(Problem::new(Code::TransferNotConnected, "the uploader is not connected, so a recording could not be uploaded"));
    }
    check_idle(&confirmed(&state, &device).await?)?;
    let mut task_config = match body.get("task_config") {
        Some(Value::Object(config)) => config.clone(),
        None | Some(Value::Null) => return Err(task_required()),
        Some(_) => return Err(Problem::invalid("task_config must be an object")),
    };
    let task = task_in(&task_config)?.ok_or_else(task_required)?;
    check_standing(Code::TaskNotConfigurable, owned(&state, &device, &task).await?.as_ref(), &[TaskStatus::Pending])?;
    // A configuration from elsewhere must not send callbacks elsewhere.
    let (start, finish) = callback_urls(&state.settings.callback_base_url);
    task_config.insert("start_callback_url".into(), start.into());
    task_config.insert("finish_callback_url".into(), finish.into());
    command(&state, &caller, device, RecorderAction::Config, Some(task), json!({ "task_config": task_config })).await
}

/// Start recording. The recorder must be ready for this task.
#[utoipa::path(post, path = "/api/v1/recorder/{device_id}/begin", tag = "recorder", params(("device_id" = String, Path)),
    request_body(content = Value, description = "`{\"task_id\": …}`"), responses(
    (status = 200, body = RpcAnswer),
    (status = 400, description = "No task_id"),
    (status = 404, description = "The recorder is not connected"),
    (status = 409, description = "The recorder is not ready for this task, or the task is over"),
    (status = 503, description = "It did not reach the recorder, which is busy or was lost in this moment; nothing was done"),
    (status = 504, description = "The device did not answer, or was lost before it did; the outcome is unknown"),
))]
pub async fn begin(
    State(state): State<AppState>,
    caller: Caller,
    PathDevice(device): PathDevice,
    MaybeObject(body): MaybeObject,
) -> RpcResult {
    let task = task_in(&body)?.ok_or_else(task_required)?;
    let standing = owned(&state, &device, &task).await?;
    check_standing(Code::TaskNotBeginable, standing.as_ref(), &[TaskStatus::Pending, TaskStatus::Ready])?;
    check_ready(&confirmed(&state, &device).await?, &task)?;
    let params = json!({ "task_id": task });
    command(&state, &caller, device, RecorderAction::Begin, Some(task), params).await
}

/// Finish the recording: its file is closed and then uploaded.
#[utoipa::path(post, path = "/api/v1/recorder/{device_id}/finish", tag = "recorder", params(("device_id" = String, Path)),
    request_body(content = Value, description = "`{\"task_id\": …}`; without, the task that the recorder has"), responses(
    (status = 200, body = RpcAnswer),
    (status = 404, description = "The recorder is not connected"),
    (status = 503, description = "It did not reach the recorder, which is busy or was lost in this moment; nothing was done"),
    (status = 504, description = "The device did not answer, or was lost before it did; the outcome is unknown"),
))]
pub async fn finish(
    State(state): State<AppState>,
    caller: Caller,
    PathDevice(device): PathDevice,
    MaybeObject(body): MaybeObject,
) -> RpcResult {
    command(&state, &caller, device, RecorderAction::Finish, task_in(&body)?, Value::Null).await
}

macro_rules! plain_command {
    ($(#[$doc:meta])* $name:ident = $path:literal, $action:ident) => {
        $(#[$doc])*
        #[utoipa::path(post, path = $path, tag = "recorder", params(("device_id" = String, Path)), responses(
            (status = 200, body = RpcAnswer),
            (status = 404, description = "The recorder is not connected"),
            (status = 503, description = "It did not reach the recorder, which is busy or was lost in this moment; nothing was done"),
    (status = 504, description = "The device did not answer, or was lost before it did; the outcome is unknown"),
        ))]
        pub async fn $name(State(state): State<AppState>, caller: Caller, PathDevice(device): PathDevice) -> RpcResult {
            command(&state, &caller, device, RecorderAction::$action, None, Value::Null).await
        }
    };
}

plain_command! {
    /// Pause the recording.
    pause = "/api/v1/recorder/{device_id}/pause", Pause
}
plain_command! {
    /// Go on with a paused recording.
    resume = "/api/v1/recorder/{device_id}/resume", Resume
}
plain_command! {
    /// End the recorder's process.
    quit = "/api/v1/recorder/{device_id}/quit", Quit
}

/// Throw the recording away: of the task that is named, else of the one that the recorder has told it has. It is sent only
/// while the recorder has that task, which can be recorded again then.
#[utoipa::path(post, path = "/api/v1/recorder/{device_id}/cancel", tag = "recorder", params(("device_id" = String, Path)),
    request_body(content = Value, description = "`{\"task_id\": …}`, optional"), responses(
    (status = 200, body = RpcAnswer),
    (status = 404, description = "The recorder is not connected"),
    (status = 409, description = "No task is named, and on its present connection the recorder has not told yet which one it has"),
    (status = 503, description = "It did not reach the recorder, which is busy or was lost in this moment; nothing was done"),
    (status = 504, description = "The device did not answer, or was lost before it did; the outcome is unknown"),
))]
pub async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    PathDevice(device): PathDevice,
    MaybeObject(body): MaybeObject,
) -> RpcResult {
    let task = task_meant(&state, &device, &body).await?;
    command(&state, &caller, device, RecorderAction::Cancel, task, Value::Null).await
}

/// Take the configuration back: of the task that is named, else of the one that the recorder has told it has. It is sent
/// only while the recorder has that task, which can be configured again then.
#[utoipa::path(post, path = "/api/v1/recorder/{device_id}/clear", tag = "recorder", params(("device_id" = String, Path)),
    request_body(content = Value, description = "`{\"task_id\": …}`, optional"), responses(
    (status = 200, body = RpcAnswer),
    (status = 404, description = "The recorder is not connected"),
    (status = 409, description = "No task is named, and on its present connection the recorder has not told yet which one it has"),
    (status = 503, description = "It did not reach the recorder, which is busy or was lost in this moment; nothing was done"),
    (status = 504, description = "The device did not answer, or was lost before it did; the outcome is unknown"),
))]
pub async fn clear(
    State(state): State<AppState>,
    caller: Caller,
    PathDevice(device): PathDevice,
    MaybeObject(body): MaybeObject,
) -> RpcResult {
    let task = task_meant(&state, &device, &body).await?;
    command(&state, &caller, device, RecorderAction::Clear, task, Value::Null).await
}

/// How long a recorder may take. It closes and hashes a file before it answers to `finish`, and may do so before `cancel`.
fn limit_of(action: RecorderAction, settings: &Settings) -> Duration {
    match action {
        RecorderAction::Finish | RecorderAction::Cancel => settings.device_finish_timeout,
        _ => settings.device_response_timeout,
    }
}

/// An outcome that nobody knows, and why nobody does.
fn unknown(action: RecorderAction, row: Option<DeviceCommandRow>) -> Problem {
    let (reason, data) = row.map(|row| (row.message, row.data)).unwrap_or_default();
    let cause = data.as_ref().and_then(|data| data["cause"].as_str()).unwrap_or(UnknownCause::TimedOut.as_str()).to_owned();
    let problem = if cause == UnknownCause::TimedOut.as_str() {
        rpc_timeout(action.as_str())
    } else {
        let detail = format!("nobody knows whether the recorder did it: {}", reason.unwrap_or_default());
        Problem::new(Code::RecorderOutcomeUnknown, detail).with("action", action.as_str()).with("result_unknown", true)
    };
    problem.with("cause", cause)
}

/// Asks for a command and waits for its outcome.
async fn command(
    state: &AppState,
    caller: &Caller,
    device: DeviceId,
    action: RecorderAction,
    meant: impl Into<Meant>,
    params: Value,
) -> RpcResult {
    let Meant { task, holds_none } = meant.into();
    let timeout = limit_of(action, &state.settings);
    let give_up = Moment::now() + timeout + OUTCOME_GRACE;
    // Before it is asked for: it may be answered at once.
    let mut settled = state.commands.listen();
    let request = RequestDeviceCommand { device: device.clone(), action, task, params, timeout, holds_none };
    let id = match state.commands.execute(&caller.context(), request).await {
        Ok(id) => id,
        Err(CommandError::Refused(refusal)) if refusal.code == RefusalCode::RecorderStateSyncing => {
            let known = RecorderStateAnswer::of(view_of(state, &device).await?.as_ref(), state.commands.now(), FRESH).object();
            return Err(Problem::from(CommandError::Refused(refusal)).with_all(known));
        }
        Err(error) => return Err(error.into()),
    };
    let mut pause = LOOK_FIRST;
    loop {
        // Told where the device is connected here; else the table is looked at from time to time.
        let told = async { while settled.recv().await.is_ok_and(|told| *told != *id) {} };
        tokio::select! { () = told => {}, () = tokio::time::sleep(pause) => {} }
        pause = (pause * 2).min(LOOK_LATER);
        // The command is on its way, whether or not it can be looked at just now.
        let row = state.reads.device_command(&id).await.unwrap_or_else(|error| {
            tracing::warn!(device.command = %id, "Cannot look at what became of a command; looks again: {error}");
            None
        });
        match row.as_ref().map(|row| row.status) {
            Some(status @ (CommandStatus::Succeeded | CommandStatus::Refused)) => {
                let success = status == CommandStatus::Succeeded;
                let (message, data) = row.map(|row| (row.message, row.data)).unwrap_or_default();
                let data = data.filter(|data| !data.is_null());
                return Ok(Answer(RpcAnswer { r#type: "rpc_response", request_id: id, success, message, data }));
            }
            Some(CommandStatus::Unknown) => return Err(unknown(action, row)),
            Some(CommandStatus::NotSent) => {
                let reason = row.and_then(|row| row.message).unwrap_or_default();
                let problem = Problem::new(Code::CommandNotSent, format!("the command did not reach the recorder: {reason}"));
                return Err(problem.with("action", action.as_str()).with("result_unknown", false).retry_after(1));
            }
            _ if Moment::now() >= give_up => return Err(rpc_timeout(action.as_str())),
            _ => {}
        }
    }
}

/// `connected=true,false` and the like, as a set.
pub fn connected_filter(params: &Params) -> Result<Option<bool>, Problem> {
    let Some(items) = params.list(&["connected"])? else { return Ok(None) };
    let wanted: Option<Vec<bool>> = items.iter().map(|item| parse_bool(item)).collect();
    let wanted = wanted.ok_or_else(|| Problem::invalid("connected must be true or false"))?;
    Ok(if wanted.contains(&true) && wanted.contains(&false) { None } else { wanted.first().copied() })
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

    fn outcome(result: Result<(), Problem>) -> Result<(), (u16, &'static str)> {
        result.map_err(|problem| (problem.status().as_u16(), problem.code()))
    }

    #[test]
    fn only_an_idle_recorder_is_configured() {
        assert_eq!(outcome(check_idle(&view("idle", Some("old")))), Ok(()));
        for state in ["ready", "recording", "paused", "unknown"] {
            assert_eq!(outcome(check_idle(&view(state, None))), Err((409, "recorder_busy")), "{state}");
        }
    }

    #[test]
    fn only_a_recorder_that_is_ready_for_the_task_begins_it() {
        let task = PublicTaskId::parse("task_1").unwrap();
        assert_eq!(outcome(check_ready(&view("ready", Some("task_1")), &task)), Ok(()));
        for view in [view("ready", Some("task_2")), view("ready", None), view("idle", Some("task_1"))] {
            assert_eq!(outcome(check_ready(&view, &task)), Err((409, "task_not_beginable")));
        }
    }

    #[test]
    fn a_task_of_another_device_reads_as_not_found() {
        let problem = check_standing(Code::TaskNotConfigurable, None, &[TaskStatus::Pending]);
        assert_eq!(outcome(problem), Err((409, "task_not_configurable")));
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
