//! `/transfer`: uploaders that are connected, and what an operator may tell them.
//!
//! Messages go to the socket at once and are worth nothing later, so they are no events. An
//! ack is never sent from here: only a verified upload is acknowledged.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tracing::warn;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::extract::{Json, PathDevice, public_task_id};
use super::fleet::{DeviceWarning, TransferView, Unanswered, transfer_elsewhere};
use super::neighbours::{PASSED_ON, passed_on};
use super::policy::Policy;
use super::problem::{Code, Problem};
use super::routes::Routes;
use super::words::SentWord;
use crate::devices::wire::ToTransfer;
use crate::domain::DeviceId;
use crate::domain::device::LinkKind;
use crate::telemetry::chain;

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ, routes!(devices))
        .at(Policy::OPERATE.over(LinkKind::Transfer), routes!(upload_request))
        .at(Policy::OPERATE.over(LinkKind::Transfer), routes!(upload_all))
        .at(Policy::OPERATE.over(LinkKind::Transfer), routes!(status_query))
        .at(Policy::OPERATE.over(LinkKind::Transfer), routes!(cancel))
}

/// For a list that is worth something without what one of them says.
const LIST_WITHIN: Duration = Duration::from_secs(3);

/// Uploaders that are connected.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Transfers {
    /// All of them.
    pub devices: Vec<TransferListed>,
}

/// An uploader that is connected.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TransferListed {
    /// The uploader.
    #[serde(flatten)]
    pub view: TransferView,
    /// What a person has to look after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<DeviceWarning>,
}

impl From<TransferView> for TransferListed {
    fn from(view: TransferView) -> Self {
        Self { view, warning: None }
    }
}

/// Uploaders that are connected, to whichever process.
#[utoipa::path(get, path = "/api/v1/transfer/devices", tag = "transfer", responses((status = 200, body = Transfers)))]
pub async fn devices(State(state): State<AppState>, caller: Caller, headers: HeaderMap) -> Result<Json<Transfers>, Problem> {
    let mut devices = state.fleet.transfers();
    let seen = state.reads.seen_devices(&caller.scope, devices.iter().map(|view| view.device_id.as_str())).await?;
    devices.retain(|view| seen.contains(&view.device_id));
    if headers.contains_key(&PASSED_ON) {
        return Ok(Json(Transfers { devices: devices.into_iter().map(TransferListed::from).collect() }));
    }
    let linked = state.reads.linked_devices(&caller.scope).await?;
    let mut known: BTreeSet<String> = devices.iter().map(|view| view.device_id.clone()).collect();
    let mut away: Vec<TransferView> = linked.iter().filter_map(transfer_elsewhere).collect();
    away.retain(|view| !known.contains(&view.device_id));
    if !away.is_empty() {
        let ids: Vec<&str> = away.iter().map(|view| view.device_id.as_str()).collect();
        let told = uploaders(&state, &headers, &ids).await?;
        devices.extend(told.into_iter().chain(away).filter(|view| known.insert(view.device_id.clone())));
    }
    // The same list wherever it is asked for.
    devices.sort_by(|one, other| one.device_id.cmp(&other.device_id));
    let warned = |view: TransferView| {
        let row = linked.iter().find(|row| row.id.as_str() == view.device_id);
        let warning = row.and_then(|row| DeviceWarning::two_programs(LinkKind::Transfer, row.own.transfer_contest.as_ref()));
        TransferListed { view, warning }
    };
    Ok(Json(Transfers { devices: devices.into_iter().map(warned).collect() }))
}

/// What the processes that hold these uploaders say of all they hold. A process that does not answer in time is left out.
async fn uploaders(state: &AppState, headers: &HeaderMap, away: &[&str]) -> Result<Vec<TransferView>, Problem> {
    let processes = state.reads.processes_with_uploaders(away).await?;
    let answers = join_all(processes.iter().map(async |process| {
        let question = state.neighbours.get(format!("{}/api/v1/transfer/devices", process.address));
        let answer = passed_on(question, headers).timeout(LIST_WITHIN).send().await?.error_for_status()?;
        let told = answer.json::<Transfers>().await?.devices;
        Ok::<_, reqwest::Error>(told.into_iter().map(|listed| listed.view).collect())
    }))
    .await;
    Ok(answers
        .into_iter()
        .zip(&processes)
        .flat_map(|(answer, process)| {
            answer.unwrap_or_else(|error| {
                warn!(error = chain(&error), "The process at {} did not say what its uploaders do: {error}", process.address);
                vec![]
            })
        })
        .collect())
}

/// A message was sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct Sent {
    /// It left; what the uploader makes of it shows in the list of devices.
    #[schema(value_type = SentWord)]
    status: &'static str,
}

type SentResult = Result<Json<Sent>, Problem>;

#[derive(Debug, Deserialize, ToSchema)]
pub struct UploadWanted {
    /// The id that devices know.
    #[schema(required, nullable = false, min_length = 1)]
    task_id: Option<String>,
    /// Higher goes first; 1 where nothing is said. Without effect where an upload is given up.
    priority: Option<i32>,
}

impl UploadWanted {
    fn task(&self) -> Result<String, Problem> {
        let task = self.task_id.as_deref().filter(|text| !text.is_empty());
        let task = task.ok_or_else(|| Problem::new(Code::TaskIdRequired, "task_id is required").with("field", "task_id"))?;
        Ok(public_task_id(task)?.to_string())
    }
}

fn not_connected() -> Problem {
    Problem::new(Code::DeviceNotConnected, "transfer not connected")
}

async fn tell(state: &AppState, caller: &Caller, device: &DeviceId, message: ToTransfer) -> SentResult {
    if !state.reads.sees_device(&caller.scope, device).await? {
        return Err(not_connected());
    }
    match state.fleet.tell_transfer(device, message).await {
        Ok(()) => Ok(Json(Sent { status: "sent" })),
        Err(Unanswered::TimedOut) => Err(Problem::new(Code::DeviceSendTimeout, "the message did not leave in time")),
        Err(Unanswered::NotConnected) => Err(not_connected()),
        Err(Unanswered::Failed(reason)) => Err(Problem::new(Code::DeviceNotConnected, reason)),
    }
}

/// Ask for the upload of one task's recording.
#[utoipa::path(post, path = "/api/v1/transfer/{device_id}/upload_request", tag = "transfer", params(("device_id" = String, Path)),
    request_body = UploadWanted, responses(
    (status = 200, body = Sent),
    (status = 400, description = "No task_id"),
    (status = 404, description = "The uploader is not connected"),
))]
pub async fn upload_request(
    State(state): State<AppState>,
    caller: Caller,
    PathDevice(device): PathDevice,
    Json(wanted): Json<UploadWanted>,
) -> SentResult {
    let message = ToTransfer::UploadRequest { task_id: wanted.task()?, priority: wanted.priority.unwrap_or(1) };
    tell(&state, &caller, &device, message).await
}

/// Ask for every recording that the device still has.
#[utoipa::path(post, path = "/api/v1/transfer/{device_id}/upload_all", tag = "transfer", params(("device_id" = String, Path)), responses(
    (status = 200, body = Sent),
    (status = 404, description = "The uploader is not connected"),
))]
pub async fn upload_all(State(state): State<AppState>, caller: Caller, PathDevice(device): PathDevice) -> SentResult {
    tell(&state, &caller, &device, ToTransfer::UploadAll {}).await
}

/// Ask how uploads stand. The answer comes in its own time and shows in the list of devices.
#[utoipa::path(post, path = "/api/v1/transfer/{device_id}/status_query", tag = "transfer", params(("device_id" = String, Path)), responses(
    (status = 200, body = Sent),
    (status = 404, description = "The uploader is not connected"),
))]
pub async fn status_query(State(state): State<AppState>, caller: Caller, PathDevice(device): PathDevice) -> SentResult {
    tell(&state, &caller, &device, ToTransfer::StatusQuery {}).await
}

/// Ask to give an upload up. No uploader does so yet.
#[utoipa::path(post, path = "/api/v1/transfer/{device_id}/cancel", tag = "transfer", params(("device_id" = String, Path)),
    request_body = UploadWanted, responses(
    (status = 200, body = Sent),
    (status = 400, description = "No task_id"),
    (status = 404, description = "The uploader is not connected"),
))]
pub async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    PathDevice(device): PathDevice,
    Json(wanted): Json<UploadWanted>,
) -> SentResult {
    let message = ToTransfer::Cancel { task_id: wanted.task()? };
    tell(&state, &caller, &device, message).await
}
