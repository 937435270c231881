//! What the edge asks of devices that are connected right now. Live facts stand in no event; of a
//! device that another process holds, the tables tell what was committed.

use std::time::{Duration, Instant};

use chrono::SecondsFormat;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::wire::WholeSecond;
use super::words::{DirectionWord, LinkWord};
use crate::devices::hub::LinkInfo;
use crate::devices::wire::ToTransfer;
use crate::devices::{self, Hub, QueryError, SendError, TransferStatus};
use crate::domain::device::{Contest, LinkKind};
use crate::domain::recorder::{RecorderState, Sight};
use crate::domain::{DeviceId, PublicTaskId, Timestamp};
use crate::listener::address_of;
use crate::projections::reads::devices::DeviceShown;

/// A connected recorder and its last known state.
#[derive(Clone, Debug)]
pub struct RecorderView {
    pub device_id: String,
    pub remote_ip: String,
    pub connected_at: Timestamp,
    pub last_seen_at: Timestamp,
    /// `unknown` before the first snapshot.
    pub current_state: String,
    pub previous_state: String,
    pub task_id: Option<String>,
    /// When the snapshot was taken.
    pub updated_at: Option<Timestamp>,
    /// How old the snapshot is.
    pub age: Option<Duration>,
    /// A valid snapshot exists on this connection, and no refresh has failed since.
    pub confirmed: bool,
    /// It said last that it is busy with a task that cannot be one of ours.
    pub foreign_task: bool,
    pub source: String,
    /// Why it is not confirmed.
    pub error: Option<String>,
}

impl RecorderView {
    /// As a decision looks at it.
    pub fn sight(&self) -> Sight {
        let task_id = self.task_id.as_deref().and_then(|task| PublicTaskId::parse(task).ok());
        self.current_state.parse().map_or(Sight::Unknown, |state| Sight::Seen { state, task_id })
    }
}

/// A connected uploader.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TransferView {
    /// The robot's device id.
    pub device_id: String,
    /// Where it connects from; empty where another process holds it.
    pub remote_ip: String,
    /// Since when.
    pub connected_at: WholeSecond,
    /// When it said something last.
    pub last_seen_at: WholeSecond,
    /// As the device last told it. `uploads` are those that have not ended; of those that it gave up `failed_count` is the number, and
    /// `failed_uploads` has the latest ten, each with its `last_error`.
    pub status: Value,
}

/// Something that was said over a link of a device, or about the link.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DeviceMessage {
    /// When.
    pub at: WholeSecond,
    /// Over which of the two links.
    #[schema(value_type = LinkWord)]
    pub link: &'static str,
    /// `heard` from the device, `sent` to it, or `noted` about the link or a message that changed nothing.
    #[schema(value_type = DirectionWord)]
    pub direction: &'static str,
    /// Type of the message, action of a command, or what was noted.
    #[serde(rename = "type")]
    pub kind: String,
    /// The task that it is about, by the id that devices know; else null.
    #[schema(required)]
    pub task_id: Option<String>,
    /// For people.
    pub detail: String,
}

/// Why a device did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    NotConnected,
    TimedOut,
    Failed(String),
}

impl From<QueryError> for Unanswered {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::NotConnected => Self::NotConnected,
            QueryError::TimedOut => Self::TimedOut,
            QueryError::TooMany => Self::Failed(error.to_string()),
        }
    }
}

impl From<SendError> for Unanswered {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NotConnected => Self::NotConnected,
            other => Self::Failed(other.to_string()),
        }
    }
}

/// The devices that are connected to this process.
#[derive(Clone)]
pub struct Fleet(Hub);

impl Fleet {
    pub fn new(hub: Hub) -> Self {
        Self(hub)
    }

    pub fn recorders(&self) -> Vec<RecorderView> {
        let devices = self.0.list();
        devices.iter().filter_map(|(id, here)| here.recorder.as_ref().map(|(link, seen)| recorder_view(id, link, seen))).collect()
    }

    pub fn transfers(&self) -> Vec<TransferView> {
        let devices = self.0.list();
        devices.iter().filter_map(|(id, here)| here.transfer.as_ref().map(|(link, status)| transfer_view(id, link, status))).collect()
    }

    pub fn recorder(&self, device: &DeviceId) -> Option<RecorderView> {
        self.0.snapshot(device).recorder.map(|(link, seen)| recorder_view(device, &link, &seen))
    }

    /// Whether a link of the device is up here.
    pub fn has(&self, device: &DeviceId, kind: LinkKind) -> bool {
        self.0.epoch(device, kind).is_some()
    }

    /// What was lately said over the device's links to this process, newest first.
    pub fn recent(&self, device: &DeviceId, limit: usize) -> Vec<DeviceMessage> {
        let entries = self.0.recent(device, limit).into_iter();
        let shown = entries.map(|entry| DeviceMessage {
            at: WholeSecond(entry.at),
            link: entry.link.as_str(),
            direction: entry.direction.as_str(),
            kind: entry.what,
            task_id: entry.task_id,
            detail: entry.detail,
        });
        shown.collect()
    }

    /// What the recorder does, known to be no older than `age_max`: asks it where necessary.
    pub async fn refresh(&self, device: &DeviceId, age_max: Duration, timeout: Duration) -> Result<RecorderView, Unanswered> {
        self.0.fresh_recorder(device, age_max, timeout).await?;
        self.recorder(device).ok_or(Unanswered::NotConnected)
    }

    /// The recorder's counters, passed on as they are.
    pub async fn stats(&self, device: &DeviceId, timeout: Duration) -> Result<Value, Unanswered> {
        let answer = self.0.query(device, "get_stats", Value::Null, timeout).await?;
        if answer.success {
            Ok(answer.data.unwrap_or_else(|| json!({})))
        } else {
            Err(Unanswered::Failed(answer.message.unwrap_or_else(|| "the recorder refused".to_owned())))
        }
    }

    /// Sends one message to the uploader. It answers in its own time, if at all.
    pub async fn tell_transfer(&self, device: &DeviceId, message: ToTransfer) -> Result<(), Unanswered> {
        Ok(self.0.send_transfer(device, message).await?)
    }
}

fn recorder_view(device: &DeviceId, link: &LinkInfo, seen: &devices::RecorderView) -> RecorderView {
    let word = |state: Option<RecorderState>| state.map_or("unknown", RecorderState::as_str).to_owned();
    RecorderView {
        device_id: device.to_string(),
        remote_ip: ip_of(&link.remote),
        connected_at: link.since,
        last_seen_at: link.last_seen,
        current_state: word(seen.state),
        previous_state: word(seen.previous),
        task_id: seen.task_id.as_ref().map(ToString::to_string),
        updated_at: seen.updated_at,
        confirmed: seen.confirmed,
        foreign_task: seen.foreign_task,
        source: seen.source.clone(),
        age: seen.age(Instant::now()),
        error: seen.error.clone(),
    }
}

fn transfer_view(device: &DeviceId, link: &LinkInfo, status: &TransferStatus) -> TransferView {
    TransferView {
        device_id: device.to_string(),
        remote_ip: ip_of(&link.remote),
        connected_at: WholeSecond(link.since),
        last_seen_at: WholeSecond(link.last_seen),
        status: serde_json::to_value(status).unwrap_or_else(|_| json!({})),
    }
}

/// Without the port, which says nothing about a device.
fn ip_of(remote: &str) -> String {
    address_of(remote).map_or_else(|| remote.to_owned(), |address| address.to_string())
}

/// What a person has to look after. It goes when its cause has gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeviceWarning {
    /// `two_programs`: two programs connect with the device's id.
    pub code: String,
    /// For people.
    pub detail: String,
    /// Since when it is so, where that is known.
    #[schema(required)]
    pub since: Option<String>,
    /// Where they connect from.
    pub remotes: Vec<String>,
}

impl DeviceWarning {
    /// From what the tables say of a contested link.
    pub fn two_programs(kind: LinkKind, contest: Option<&Contest>) -> Option<Self> {
        let Contest { since, remotes } = contest?.clone();
        let what = if kind == LinkKind::Recorder { "recorder" } else { "uploader" };
        let detail = format!(
            "two programs connect as the {what} of this device, from {}; the one that is connected keeps its connection, and the other \
             one is refused until one of them is stopped",
            remotes.join(" and ")
        );
        Some(Self { code: "two_programs".to_owned(), detail, since: Some(since.to_rfc3339_opts(SecondsFormat::AutoSi, true)), remotes })
    }
}

/// Both links of a device.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Connection {
    /// The robot's device id.
    pub device_id: String,
    /// Both links are up.
    pub connected: bool,
    /// When the later of the two was opened; missing while one is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_at: Option<WholeSecond>,
    /// Whether the recorder's link is up.
    pub recorder_connected: bool,
    /// Whether the uploader's link is up.
    pub transfer_connected: bool,
}

impl Connection {
    /// As committed: the same from every process.
    pub fn of(device: &DeviceId, row: Option<&DeviceShown>) -> Self {
        let (recorder, transfer) = (row.is_some_and(|row| row.own.recorder_open), row.is_some_and(|row| row.own.transfer_open));
        let since = row.and_then(|row| row.own.recorder_since.max(row.own.transfer_since));
        Self {
            device_id: device.to_string(),
            connected: recorder && transfer,
            connected_at: since.filter(|_| recorder && transfer).map(WholeSecond),
            recorder_connected: recorder,
            transfer_connected: transfer,
        }
    }
}

/// A recorder that is connected to another process: what it was last seen doing is in the tables.
pub fn recorder_elsewhere(row: &DeviceShown, now: Timestamp) -> Option<RecorderView> {
    let since = row.own.recorder_since.filter(|_| row.own.recorder_open)?;
    let state = row.own.observed_state;
    Some(RecorderView {
        device_id: row.id.to_string(),
        remote_ip: String::new(),
        connected_at: since,
        last_seen_at: row.updated_at,
        confirmed: state.is_some(),
        foreign_task: false,
        current_state: state.map_or("unknown", RecorderState::as_str).to_owned(),
        previous_state: String::new(),
        task_id: row.own.observed_task.clone().map(String::from),
        updated_at: Some(row.updated_at),
        age: (now - row.updated_at).to_std().ok(),
        source: "state_update".to_owned(),
        error: None,
    })
}

/// The same for an uploader whose process does not say its status.
pub fn transfer_elsewhere(row: &DeviceShown) -> Option<TransferView> {
    let since = row.own.transfer_since.filter(|_| row.own.transfer_open)?;
    Some(TransferView {
        device_id: row.id.to_string(),
        remote_ip: String::new(),
        connected_at: since.into(),
        last_seen_at: row.updated_at.into(),
        status: serde_json::json!({}),
    })
}
