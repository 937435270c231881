//! `/callbacks`: what recorders post when a recording starts and when its file is closed.
//!
//! Recorders post once, without a login, and read nothing of the answer. The links they were given carry the
//! token of their task, or a site knows them by their address. What they say is a witness among others; whether the task is theirs is decided with it.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::auth::Caller;
use super::extract::{Json, Params};
use super::fields::MISSING;
use super::intake::CALLBACK_BYTES_MAX;
use super::policy::Policy;
use super::problem::{Code, Problem};
use super::routes::Routes;
use super::wire::WholeSecond;
use super::words::{AcknowledgedWord, MovedWord, TaskStatusWord};
use super::{AppState, AuthMode};
use crate::commands::Refusal;
use crate::commands::callbacks::{FinishAnswer, FinishCallback, Proof, StartAnswer, StartCallback};
use crate::devices::wire::whole_float;
use crate::domain::task::{FinishReport, TaskStatus};
use crate::domain::{Actor, DeviceId, PublicTaskId, RefusalCode};

pub fn routes() -> Routes {
    // A recorder never repeats a callback that was refused.
    let policy = Policy::OPEN.not_limited().saying("error_msg").at_most(CALLBACK_BYTES_MAX);
    Routes::default().at(policy, routes!(start)).at(policy, routes!(finish))
}

/// Topics kept with the event; a robot has a few dozen.
const TOPICS_MAX: usize = 256;
/// What is longer is cut: a recorder reads no answer that says so.
const WORD_CHARS_MAX: usize = 256;
const TEXT_CHARS_MAX: usize = 1000;

fn cut(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => text[..at].to_owned(),
        None => text,
    }
}

/// What this callback has to show, and shows.
fn proof(state: &AppState, caller: &Caller, params: &Params) -> Proof {
    match (state.settings.auth_mode, params.text("token")) {
        (AuthMode::Compat, _) => Proof::NotAsked,
        (AuthMode::Strict, Some(token)) => Proof::Token { token, tokens: state.callback_tokens.clone() },
        (AuthMode::Strict, None) => {
            Proof::None { from: caller.established_address().filter(|_| state.settings.callbacks_of_known_devices) }
        }
    }
}

fn unproven() -> Problem {
    Problem::new(
        Code::CallbackTokenInvalid,
        "the callback does not show the token of its task: recorders post to the links they were given",
    )
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct Started {
    /// The id that devices know.
    #[schema(required, nullable = false, min_length = 1)]
    task_id: Option<String>,
    /// The robot's device id.
    device_id: Option<String>,
    /// What the recorder calls its state; what is long is cut.
    status: Option<String>,
    /// When, by the robot's clock; kept as it is, what is long is cut.
    started_at: Option<String>,
    /// Topics that are recorded; the first hundreds are kept.
    topics: Option<Vec<String>>,
}

/// What was made of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct StartedAnswer {
    /// It was heard.
    #[schema(value_type = AcknowledgedWord)]
    status: &'static str,
    /// `in_progress` when this call moved the task, else `unknown`.
    #[schema(value_type = MovedWord)]
    task_status: &'static str,
    /// When it was heard.
    acknowledged_at: WholeSecond,
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn given_word(text: Option<String>) -> Option<String> {
    given(text).map(|text| cut(text, WORD_CHARS_MAX))
}

/// A recording started. Recorders post to the link that they were configured with, which carries the token.
#[utoipa::path(post, path = "/api/v1/callbacks/start", tag = "callbacks", request_body = Started, security(()),
    params(("token" = Option<String>, Query, description = "The token of the task, as its link has it")), responses(
    (status = 200, body = StartedAnswer, description = "Also where it changes nothing"),
    (status = 400, description = "Not JSON, or no task_id"),
    (status = 401, description = "Not the token of this task"),
))]
pub async fn start(
    State(state): State<AppState>,
    caller: Caller,
    params: Params,
    Json(report): Json<Started>,
) -> Result<Json<StartedAnswer>, Problem> {
    let task_id = given(report.task_id).ok_or_else(|| Problem::of_field("task_id", MISSING))?;
    let device_id = given(report.device_id);
    let answer = |moved| {
        let task_status = if moved { "in_progress" } else { "unknown" };
        Ok(Json(StartedAnswer { status: "acknowledged", task_status, acknowledged_at: WholeSecond(state.commands.now()) }))
    };
    let proof = proof(&state, &caller, &params);
    // An id that no task can have, or that no robot can have, belongs to none of ours.
    let (Ok(task_id), Ok(device_id)) = (PublicTaskId::parse(&task_id), device_id.map(|text| DeviceId::parse(&text)).transpose()) else {
        return if matches!(proof, Proof::NotAsked) { answer(false) } else { Err(unproven()) };
    };
    let topics = report.topics.unwrap_or_default().into_iter().take(TOPICS_MAX).map(|topic| cut(topic, WORD_CHARS_MAX));
    let reported = json!({
        "status": report.status.map(|text| cut(text, WORD_CHARS_MAX)),
        "started_at": report.started_at.map(|text| cut(text, WORD_CHARS_MAX)),
        "topics": topics.collect::<Vec<_>>(),
    });
    let context = device_id.clone().map_or_else(|| caller.context(), |device| caller.context_as(Actor::Device(device)));
    match state.commands.execute(&context, StartCallback { task_id, device_id, reported, proof }).await? {
        StartAnswer::Moved => answer(true),
        StartAnswer::Unmoved => answer(false),
        StartAnswer::Unproven => Err(unproven()),
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "what is not kept has to be of its type all the same")]
pub struct Finished {
    /// The id that devices know.
    #[schema(required, nullable = false, min_length = 1)]
    task_id: Option<String>,
    /// The robot's device id.
    #[schema(required, nullable = false, min_length = 1)]
    device_id: Option<String>,
    /// Where the file lies on the robot.
    #[schema(required, nullable = false, min_length = 1)]
    output_path: Option<String>,
    /// What the recorder calls its state; not kept.
    status: Option<String>,
    /// When it started, by the robot's clock; kept as it is, what is long is cut.
    started_at: Option<String>,
    /// When its file was closed, by the robot's clock; kept as it is, what is long is cut.
    finished_at: Option<String>,
    /// Seconds.
    duration_sec: Option<f64>,
    /// Messages that were recorded. What is no count is left out.
    message_count: Option<f64>,
    /// Bytes. What is no count is left out.
    file_size_bytes: Option<f64>,
    /// Where the sidecar lies on the robot; not kept.
    sidecar_path: Option<String>,
    /// Topics that were recorded; not kept.
    topics: Option<Vec<String>>,
    /// What the recorder was configured with; not kept.
    metadata: Option<Value>,
    /// Why the recording failed, if it did; what is long is cut.
    error: Option<String>,
}

/// A count, as devices write it; one that is none is left out.
fn count(number: Option<f64>) -> Option<u64> {
    number.and_then(whole_float)
}

/// What was made of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct FinishedAnswer {
    /// Always true.
    success: bool,
    /// For people.
    message: &'static str,
    /// How far the task is.
    #[schema(value_type = TaskStatusWord)]
    task_status: &'static str,
    /// The upload was asked for because of this call, and the device is there to hear it.
    upload_request_sent: bool,
}

/// A recording is a file now. Recorders post to the link that they were configured with, which carries the token.
#[utoipa::path(post, path = "/api/v1/callbacks/finish", tag = "callbacks", request_body = Finished, security(()),
    params(("token" = Option<String>, Query, description = "The token of the task, as its link has it")), responses(
    (status = 200, body = FinishedAnswer),
    (status = 400, description = "Not JSON, or no task_id, device_id or output_path"),
    (status = 401, description = "Not the token of this task"),
    (status = 409, description = "The task was not configured, failed, was cancelled, or belongs to another device"),
))]
pub async fn finish(
    State(state): State<AppState>,
    caller: Caller,
    params: Params,
    Json(report): Json<Finished>,
) -> Result<Json<FinishedAnswer>, Problem> {
    let required = |field: &str, text: Option<String>| given(text).ok_or_else(|| Problem::of_field(field, MISSING));
    let task_id = required("task_id", report.task_id)?;
    let device_id = required("device_id", report.device_id)?;
    required("output_path", report.output_path)?;
    let proof = proof(&state, &caller, &params);
    let (Ok(task_id), Ok(device_id)) = (PublicTaskId::parse(&task_id), DeviceId::parse(&device_id)) else {
        return Err(if matches!(proof, Proof::NotAsked) { not_owned() } else { unproven() });
    };
    let report = FinishReport {
        started_at: given_word(report.started_at),
        finished_at: given_word(report.finished_at),
        duration_sec: report.duration_sec.filter(|seconds| seconds.is_finite()),
        message_count: count(report.message_count),
        file_size_bytes: count(report.file_size_bytes),
        error: given(report.error).map(|text| cut(text, TEXT_CHARS_MAX)),
    };
    let context = caller.context_as(Actor::Device(device_id.clone()));
    let finished = state.commands.execute(&context, FinishCallback { task_id, device_id, report, proof }).await?;
    let (message, task_status, upload_request_sent) = match finished {
        FinishAnswer::Moved { transfer_open: true } => ("the upload is being asked for", TaskStatus::Uploading, true),
        FinishAnswer::Moved { transfer_open: false } => {
            ("the upload will be asked for when the uploader is connected", TaskStatus::Uploading, false)
        }
        FinishAnswer::Repeated(status) => ("known already", status, false),
        FinishAnswer::Ended(status) => {
            let detail = format!("the task is {}", status.as_str());
            let refusal = Refusal::new(RefusalCode::TaskEnded, detail).with(json!({ "current_status": status.as_str() }));
            return Err(refusal.into());
        }
        FinishAnswer::NotConfigured => {
            let refusal = Refusal::new(RefusalCode::TaskNotConfigured, "no recorder was configured with the task");
            return Err(refusal.with(json!({ "current_status": TaskStatus::Pending.as_str() })).into());
        }
        FinishAnswer::NotOwned => return Err(not_owned()),
        FinishAnswer::Unproven => return Err(unproven()),
    };
    Ok(Json(FinishedAnswer { success: true, message, task_status: task_status.as_str(), upload_request_sent }))
}

fn not_owned() -> Problem {
    Refusal::new(RefusalCode::TaskNotOwned, "there is no such task, or it belongs to another device").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::parse;

    #[test]
    fn what_recorders_really_post_can_be_read() {
        let start = br#"{"task_id":"task-happy-0001","device_id":"AB-F0001-T0003-000001","status":"recording","started_at":"2026-11-20T19:52:39Z","topics":["/chatter"]}"#;
        assert_eq!(parse::<Started>(start).unwrap().topics.unwrap(), ["/chatter"]);
        let finish = br#"{"task_id":"t","device_id":"d","status":"finished","started_at":"","finished_at":"2026-11-20T19:53:11Z","duration_sec":3.162,"message_count":221,"file_size_bytes":10677,"output_path":"/data/t.mcap","sidecar_path":null,"sidecar_enabled":false,"sidecar_generated":false,"topics":[],"metadata":{"scene":"s","skills":[]},"error":null}"#;
        let finish: Finished = parse(finish).unwrap();
        assert_eq!((count(finish.message_count), finish.duration_sec), (Some(221), Some(3.162)));
        assert_eq!(given(finish.started_at), None);
    }

    #[test]
    fn a_count_that_is_none_is_left_out() {
        assert_eq!(count(Some(-1.0)), None);
        assert_eq!(count(Some(1.5)), None);
        assert_eq!(count(Some(f64::NAN)), None);
        assert_eq!(count(Some(10_677.0)), Some(10_677));
    }
}
