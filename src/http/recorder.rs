//! `/recorder`: telling recorders what to do.
//!
//! A command is an event first and reaches the device through the outbox; the caller waits
//! for its outcome as long as a device may take, and hears that it is not known after that ([`super::asked`]), or looks later. Whether it fits
//! what the recorder does is the device's decision (`domain::recorder`); what it does at this moment is asked here.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::asked::{Accepted, Answer, Asking, Outcome, Prefer};
use super::auth::Caller;
use super::extract::{Json, MaybeJson, PathDevice, public_task_id};
use super::fleet::RecorderView;
use super::policy::Policy;
use super::problem::{Code, Problem};
use super::recorder_state::{FRESH, RecorderStateAnswer, confirmed, rpc_timeout, view_of};
use super::routes::Routes;
use super::tasks::callback_urls;
use super::words::AnswerWord;
use super::{AppState, EdgeSettings};
use crate::commands::CommandError;
use crate::commands::devices::RequestDeviceCommand;
use crate::domain::device::UnknownCause;
use crate::domain::recorder::{RecorderAction, RecorderState, Sight};
use crate::domain::request::RequestStatus;
use crate::domain::{DeviceId, PublicTaskId, RefusalCode, Scope};
use crate::projections::reads::requests::OutcomeShown;

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::OPERATE.waiting(), routes!(config))
        .at(Policy::OPERATE.waiting(), routes!(begin))
        .at(Policy::OPERATE.waiting(), routes!(finish))
        .at(Policy::OPERATE.waiting(), routes!(pause))
        .at(Policy::OPERATE.waiting(), routes!(resume))
        .at(Policy::OPERATE.waiting(), routes!(cancel))
        .at(Policy::OPERATE.waiting(), routes!(clear))
        .at(Policy::OPERATE.waiting(), routes!(quit))
}

/// An outcome is written a moment after the device's own deadline.
const OUTCOME_GRACE: Duration = Duration::from_secs(1);

/// What a recorder answered. `success` may be false: then it refused.
#[derive(Debug, Serialize, ToSchema)]
pub struct RpcAnswer {
    /// What this is.
    #[schema(value_type = AnswerWord)]
    r#type: &'static str,
    /// The id of the command.
    request_id: String,
    /// Whether the recorder did it.
    success: bool,
    /// The recorder's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// What else it told.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

/// The answer, or where to look for it.
pub enum RpcReply {
    Answer(RpcAnswer),
    Later(Accepted),
}

impl IntoResponse for RpcReply {
    fn into_response(self) -> Response {
        match self {
            Self::Answer(answer) => Json(answer).into_response(),
            Self::Later(accepted) => accepted.into_response(),
        }
    }
}

type RpcResult = Result<RpcReply, Problem>;

/// A task's id in a body; empty is missing.
fn task_of(text: Option<String>) -> Result<Option<PublicTaskId>, Problem> {
    text.filter(|text| !text.is_empty()).map(|text| public_task_id(&text)).transpose()
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct TaskMeant {
    /// The id that devices know. Without, the task that the recorder has.
    task_id: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct TaskToBegin {
    /// The id that devices know.
    #[schema(required, nullable = false, min_length = 1)]
    task_id: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct RecorderConfig {
    /// As `GET /api/v1/tasks/{id}/config` answers. All of it is passed on to the recorder, but for the links, which are ours.
    #[schema(required, value_type = RecorderTaskConfig)]
    task_config: Option<Map<String, Value>>,
}

/// What a recorder is configured with.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a description; what is passed on is not looked into")]
struct RecorderTaskConfig {
    /// The id that devices know.
    #[schema(min_length = 1)]
    task_id: String,
}

/// What a command is about.
#[derive(Default)]
struct Meant {
    task: Option<PublicTaskId>,
    /// The recorder says at this moment that it holds no task of ours.
    holds_none: bool,
    sight: Option<Sight>,
}

impl From<Option<PublicTaskId>> for Meant {
    fn from(task: Option<PublicTaskId>) -> Self {
        Self { task, ..Self::default() }
    }
}

/// The task that is named, else the one that the recorder says it has at this moment, which may be none of ours. What it
/// says may be on its way into storage still.
async fn task_meant(state: &AppState, scope: &Scope, device: &DeviceId, named: TaskMeant) -> Result<Meant, Problem> {
    if let Some(named) = task_of(named.task_id)? {
        return Ok(Some(named).into());
    }
    let Some(view) = view_of(state, scope, device).await? else { return Ok(Meant::default()) };
    let idle = view.current_state == RecorderState::Idle.as_str();
    let task = view.task_id.filter(|_| view.confirmed && !idle).and_then(|task| PublicTaskId::parse(&task).ok());
    Ok(Meant { task, holds_none: view.foreign_task || (view.confirmed && idle), sight: None })
}

fn task_required(field: &str) -> Problem {
    Problem::new(Code::TaskIdRequired, format!("{field} is required")).with("field", field)
}

const IN_CONFIG: &str = "task_config.task_id";

/// Tell a recorder which task comes next. It must be idle, and the task pending.
#[utoipa::path(post, path = "/api/v1/recorder/{device_id}/config", tag = "recorder", params(("device_id" = String, Path)),
    request_body = RecorderConfig, responses(
    (status = 200, body = RpcAnswer),
    (status = 404, description = "The recorder is not connected"),
    (status = 409, description = "The uploader is not connected, the recorder is not idle or not sure, or the task is not pending"),
    (status = 503, description = "It did not reach the recorder, which is busy or was lost in this moment; nothing was done"),
    (status = 504, description = "The device did not answer, or was lost before it did; the outcome is unknown"),
))]
pub async fn config(
    State(state): State<AppState>,
    caller: Caller,
    prefer: Prefer,
    PathDevice(device): PathDevice,
    MaybeJson(body): MaybeJson<RecorderConfig>,
) -> RpcResult {
    let mut task_config = body.task_config.ok_or_else(|| task_required(IN_CONFIG))?;
    let named = match task_config.get("task_id") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => return Err(Problem::of_field(IN_CONFIG, "must be a string")),
    };
    let task = task_of(named)?.ok_or_else(|| task_required(IN_CONFIG))?;
    // A configuration from elsewhere must not send callbacks elsewhere.
    let (start, finish) = callback_urls(&state.settings.callback_base_url);
    task_config.insert("start_callback_url".into(), start.into());
    task_config.insert("finish_callback_url".into(), finish.into());
    gated(&state, (&caller, prefer), device, RecorderAction::Config, task, Some(json!({ "task_config": task_config }))).await
}

/// Start recording. The recorder must be ready for this task.
#[utoipa::path(post, path = "/api/v1/recorder/{device_id}/begin", tag = "recorder", params(("device_id" = String, Path)),
    request_body = TaskToBegin, responses(
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
    prefer: Prefer,
    PathDevice(device): PathDevice,
    MaybeJson(body): MaybeJson<TaskToBegin>,
) -> RpcResult {
    let task = task_of(body.task_id)?.ok_or_else(|| task_required("task_id"))?;
    gated(&state, (&caller, prefer), device, RecorderAction::Begin, task, None).await
}

/// Finish the recording: its file is closed and then uploaded.
#[utoipa::path(post, path = "/api/v1/recorder/{device_id}/finish", tag = "recorder", params(("device_id" = String, Path)),
    request_body = Option<TaskMeant>, responses(
    (status = 200, body = RpcAnswer),
    (status = 404, description = "The recorder is not connected"),
    (status = 503, description = "It did not reach the recorder, which is busy or was lost in this moment; nothing was done"),
    (status = 504, description = "The device did not answer, or was lost before it did; the outcome is unknown"),
))]
pub async fn finish(
    State(state): State<AppState>,
    caller: Caller,
    prefer: Prefer,
    PathDevice(device): PathDevice,
    MaybeJson(body): MaybeJson<TaskMeant>,
) -> RpcResult {
    command(&state, (&caller, prefer), device, RecorderAction::Finish, task_of(body.task_id)?, None).await
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
        pub async fn $name(State(state): State<AppState>, caller: Caller, prefer: Prefer, PathDevice(device): PathDevice) -> RpcResult {
            command(&state, (&caller, prefer), device, RecorderAction::$action, None, None).await
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
    request_body = Option<TaskMeant>, responses(
    (status = 200, body = RpcAnswer),
    (status = 404, description = "The recorder is not connected"),
    (status = 409, description = "No task is named, and on its present connection the recorder has not told yet which one it has"),
    (status = 503, description = "It did not reach the recorder, which is busy or was lost in this moment; nothing was done"),
    (status = 504, description = "The device did not answer, or was lost before it did; the outcome is unknown"),
))]
pub async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    prefer: Prefer,
    PathDevice(device): PathDevice,
    MaybeJson(body): MaybeJson<TaskMeant>,
) -> RpcResult {
    let task = task_meant(&state, &caller.scope, &device, body).await?;
    command(&state, (&caller, prefer), device, RecorderAction::Cancel, task, None).await
}

/// Take the configuration back: of the task that is named, else of the one that the recorder has told it has. It is sent
/// only while the recorder has that task, which can be configured again then.
#[utoipa::path(post, path = "/api/v1/recorder/{device_id}/clear", tag = "recorder", params(("device_id" = String, Path)),
    request_body = Option<TaskMeant>, responses(
    (status = 200, body = RpcAnswer),
    (status = 404, description = "The recorder is not connected"),
    (status = 409, description = "No task is named, and on its present connection the recorder has not told yet which one it has"),
    (status = 503, description = "It did not reach the recorder, which is busy or was lost in this moment; nothing was done"),
    (status = 504, description = "The device did not answer, or was lost before it did; the outcome is unknown"),
))]
pub async fn clear(
    State(state): State<AppState>,
    caller: Caller,
    prefer: Prefer,
    PathDevice(device): PathDevice,
    MaybeJson(body): MaybeJson<TaskMeant>,
) -> RpcResult {
    let task = task_meant(&state, &caller.scope, &device, body).await?;
    command(&state, (&caller, prefer), device, RecorderAction::Clear, task, None).await
}

/// How long a recorder may take. It closes and hashes a file before it answers to `finish`, and may do so before `cancel`.
fn limit_of(action: RecorderAction, settings: &EdgeSettings) -> Duration {
    match action {
        RecorderAction::Finish | RecorderAction::Cancel => settings.device_finish_timeout,
        _ => settings.device_response_timeout,
    }
}

impl Outcome for OutcomeShown {
    fn status(&self) -> RequestStatus {
        self.status
    }
}

/// What a caller is answered that waited for this.
pub fn answer_of(outcome: OutcomeShown) -> Result<RpcAnswer, Problem> {
    let OutcomeShown { id, action, status, message, data } = outcome;
    let action = action.as_str();
    let answer = |success, message, data: Option<Value>| {
        let data = data.filter(|data| !data.is_null());
        Ok(RpcAnswer { r#type: "rpc_response", request_id: id, success, message, data })
    };
    let why = |message: Option<String>| message.unwrap_or_default();
    match status {
        RequestStatus::Succeeded => answer(true, message, data),
        RequestStatus::Refused => answer(false, message, data),
        RequestStatus::RightLost => {
            let detail = format!("the command was not sent to the recorder: {}", why(message));
            Err(Problem::new(Code::RightLost, detail).with("action", action).with("result_unknown", false))
        }
        RequestStatus::Overloaded | RequestStatus::NotSent => {
            let detail = format!("the command did not reach the recorder: {}", why(message));
            Err(Problem::new(Code::CommandNotSent, detail).with("action", action).with("result_unknown", false).retry_after(1))
        }
        RequestStatus::TimedOut | RequestStatus::Pending => Err(rpc_timeout(action).with("cause", UnknownCause::TimedOut.as_str())),
        RequestStatus::Unknown => {
            let cause = data.as_ref().and_then(|data| data["cause"].as_str()).unwrap_or_default().to_owned();
            let detail = format!("nobody knows whether the recorder did it: {}", why(message));
            let problem = Problem::new(Code::RecorderOutcomeUnknown, detail).with("action", action).with("result_unknown", true);
            Err(problem.with("cause", cause))
        }
    }
}

/// A command that fits only some states of the recorder: it is asked what it does, and the device's decision looks at that. Where it
/// cannot be asked and nothing else stands in the way, the caller hears why.
async fn gated(
    state: &AppState,
    (caller, prefer): (&Caller, Prefer),
    device: DeviceId,
    action: RecorderAction,
    task: PublicTaskId,
    config: Option<Value>,
) -> RpcResult {
    let view = confirmed(state, &caller.scope, &device).await;
    let sight = view.as_ref().map_or(Sight::Unknown, RecorderView::sight);
    let meant = Meant { task: Some(task), holds_none: false, sight: Some(sight) };
    match (command(state, (caller, prefer), device, action, meant, config).await, view) {
        (Err(refused), Err(unknown)) if refused.code() == RefusalCode::RecorderStateSyncing.as_str() => Err(unknown),
        (answer, _) => answer,
    }
}

/// Asks for a command, and waits for its outcome as long as the caller does.
async fn command(
    state: &AppState,
    (caller, prefer): (&Caller, Prefer),
    device: DeviceId,
    action: RecorderAction,
    meant: impl Into<Meant>,
    config: Option<Value>,
) -> RpcResult {
    let Meant { task, holds_none, sight } = meant.into();
    let timeout = limit_of(action, &state.settings);
    let asking = Asking::begin(state, prefer, timeout + OUTCOME_GRACE);
    let (asynchronous, waited_by) = (prefer.asynchronous(), state.process.filter(|_| prefer.waits()));
    let request = RequestDeviceCommand {
        command_id: asking.id(),
        device: device.clone(),
        action,
        task,
        config,
        timeout,
        holds_none,
        sight,
        asynchronous,
        waited_by,
    };
    let id = match state.commands.execute(&caller.context(), request).await {
        Ok(id) => id,
        Err(CommandError::Refused(refusal)) => {
            asking.refused();
            if refusal.code != RefusalCode::RecorderStateSyncing {
                return Err(refusal.into());
            }
            let known =
                RecorderStateAnswer::of(view_of(state, &caller.scope, &device).await?.as_ref(), state.commands.now(), FRESH).object();
            return Err(Problem::from(refusal).with_all(known));
        }
        Err(error) => return Err(error.into()),
    };
    match asking.answer(&id, || state.reads.outcome(&id)).await {
        Answer::Settled(outcome) => answer_of(outcome).map(RpcReply::Answer),
        Answer::Later(accepted) => Ok(RpcReply::Later(accepted)),
        Answer::Nothing => Err(rpc_timeout(action.as_str())),
    }
}
