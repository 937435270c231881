//! Tasks: one recording each, from dispatch to a verified upload.
//!
//! ```text
//!  pending ──► ready ──► in_progress ──► uploading ──► completed
//!     └──────────┴────────────┴──────────────┘   (verified upload: from any of the four)
//!  pending ──► completed                         (a collector says it was done without Axon)
//!                        in_progress | uploading ──► failed     (device gave up)
//!  pending | ready | in_progress | uploading ──► failed          (a person ends it)
//!               ready | in_progress ──► pending                 (device dropped it, or forgot it)
//!                           uploading ──► pending                 (there is no file, and none was ever seen)
//!                           uploading ──► in_progress             (its recorder is seen recording it after all)
//!     pending | ready | in_progress ──► cancelled               (with its batch, or its order)
//!  all but uploading and completed ──► deleted
//! ```
//!
//! `tests::MOVES` has every command in every state.
//!
//! A callback can be posted by anybody who reaches us: it moves what was configured, and nothing else.
//!
//! Devices repeat themselves, speak late and out of order. A witness of something
//! that is already known changes nothing; one that comes too late for the present
//! stage is noted, with what was concluded from it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::aggregate::events;
use super::device::RecorderState;
use super::refusal::{RefusalCode, Refused};
use super::tally::TaskOutcome;
use super::{
    Aggregate, BatchId, CollectorId, EpisodeId, FactoryId, OrderId, OrganizationId, PublicTaskId, SceneId, SopId, StationId, SubsceneId,
    Timestamp,
};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    #[default]
    Absent,
    Dispatched(Box<Dispatched>),
    Deleted,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dispatched {
    pub brief: Brief,
    pub stage: Stage,
    pub ready_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    /// A recording that came after the task had ended without one.
    #[serde(default)]
    pub late: Option<LateUpload>,
    /// Events so far: the sequence of the last one.
    #[serde(default)]
    pub sequence: i64,
    /// Reports that changed nothing and were recorded all the same.
    #[serde(default)]
    pub noted: u32,
    /// Writes that would have replaced its objects.
    #[serde(default)]
    pub refused_writes: Vec<RefusedWrite>,
}

/// Other bytes were offered for an object that is being verified, or that an episode names. The store kept what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedWrite {
    pub object_key: String,
    pub offered_bytes: u64,
    pub offered_etag: String,
    /// The public half of the key that signed.
    pub access_key: String,
}

/// Different writes that are recorded of one task. A robot repeats the same one; what makes up new ones is not heard.
const REFUSED_WRITES_MAX: usize = 10;

/// Reports that change nothing are recorded so often. A device says a thing once or twice; one that says it more often
/// does not make the stream longer, which is read whenever the task is.
const NOTED_MAX: u32 = 50;

/// The task stays as it ended; the recording is kept, marked, and shown to a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LateUpload {
    pub report: UploadReport,
    /// Of the event that reported it.
    #[serde(default)]
    pub reported_in: i64,
    pub rejected: Option<Rejection>,
    pub episode_id: Option<EpisodeId>,
}

/// What a task was created with. Names are copied: they are what the collector saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Brief {
    pub task_id: PublicTaskId,
    pub batch_id: BatchId,
    pub order_id: OrderId,
    pub station_id: StationId,
    pub sop_id: SopId,
    pub scene_id: SceneId,
    pub scene_name: String,
    pub subscene_id: SubsceneId,
    pub subscene_name: String,
    pub initial_scene_layout: String,
    pub factory_id: FactoryId,
    pub organization_id: OrganizationId,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Pending,
    Ready,
    InProgress,
    Uploading(Upload),
    Completed {
        episode_id: EpisodeId,
        at: Timestamp,
        upload: UploadReport,
    },
    /// Recorded with other equipment: there is no episode.
    CompletedExternally {
        by: CollectorId,
        at: Timestamp,
    },
    Failed {
        reason: String,
        at: Timestamp,
        /// What the uploader that gave it up still has.
        #[serde(default)]
        kept: Option<KeptFile>,
    },
    Cancelled {
        at: Timestamp,
    },
}

/// A recording that an uploader gave up. It moved the file to its folder for such, and looks there when it is asked
/// for everything it has, if that folder lies where it looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    pub file: String,
    /// How often the uploader was asked for it since.
    pub requests: u32,
    pub requested_at: Option<Timestamp>,
}

/// How often an uploader is asked for what it gave up, each time on a later connection: the request may be lost with one,
/// and what is given up a second time is blocked for good.
const GIVEN_UP_REQUESTS_MAX: u32 = 3;

/// What is known of an upload that has not been verified yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Upload {
    pub report: Option<UploadReport>,
    /// Sequence of the event that reported it. A verdict is about that event, not about what it says: the same words said
    /// again are about an object that may have been replaced in between.
    #[serde(default)]
    pub reported_in: i64,
    /// Why the last reported upload was not accepted.
    pub rejected: Option<Rejection>,
    /// Who told that the recording is a file.
    #[serde(default)]
    pub finished_by: Option<Witness>,
    /// When the uploader was asked for it, the last time.
    #[serde(default)]
    pub requested_at: Option<Timestamp>,
    /// How often the uploader neither found the file nor knew of it.
    #[serde(default)]
    pub misses: u32,
    /// The last time of these.
    #[serde(default)]
    pub missed_at: Option<Timestamp>,
    /// What it said about that.
    #[serde(default)]
    pub missing: Option<String>,
}

/// The least time between two requests for the same upload on one connection, and between two misses that count.
const REQUEST_PAUSE: chrono::TimeDelta = chrono::TimeDelta::seconds(30);

/// A file that is not there twice is not there: the first time it may just not have been closed.
const MISSES_MAX: u32 = 2;

/// What the device says about an uploaded recording. Nothing of it is believed before it is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadReport {
    /// Key of the MCAP object in the factory's bucket.
    pub object_key: String,
    pub size_bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
    pub with_sidecar: bool,
}

/// Why an upload was not accepted: no ack is sent, so the device keeps its copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    #[error("the object {key} is not in the bucket")]
    ObjectMissing { key: String },
    #[error("the object has {found} bytes, the device reported {reported}")]
    SizeDiffers { reported: u64, found: u64 },
    #[error("the object's SHA-256 is {found}, the device reported {reported}")]
    ContentDiffers { reported: String, found: String },
    #[error("the MCAP is not sound: {defect}")]
    Unsound { defect: String },
    #[error("the object changed while it was read")]
    ObjectChanged {},
}

/// What was found when an upload was verified: facts about bytes, not claims.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerifiedUpload {
    pub report: UploadReport,
    pub etag: Option<String>,
    pub message_count: u64,
    pub verified_bytes: u64,
    /// What is unusual about it, in words: it had to be read through, a value of the sidecar makes no sense.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// How we know that something happened on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Witness {
    CommandReply,
    ConfigApplied,
    Snapshot,
    StartCallback,
    FinishCallback,
    UploadStarted,
    UploadComplete,
    TransferStatus,
    UploadFailed,
}

impl Witness {
    pub const ALL: [(&'static str, Self); 9] = [
        ("command_reply", Self::CommandReply),
        ("config_applied", Self::ConfigApplied),
        ("snapshot", Self::Snapshot),
        ("start_callback", Self::StartCallback),
        ("finish_callback", Self::FinishCallback),
        ("upload_started", Self::UploadStarted),
        ("upload_complete", Self::UploadComplete),
        ("transfer_status", Self::TransferStatus),
        ("upload_failed", Self::UploadFailed),
    ];

    /// Whether a file with its sidecar was there when it spoke.
    fn saw_the_file(self) -> bool {
        matches!(self, Witness::FinishCallback | Witness::UploadStarted | Witness::TransferStatus)
    }

    /// Callbacks are recorded every time they come; other witnesses only when they tell something new.
    fn is_callback(self) -> bool {
        matches!(self, Witness::StartCallback | Witness::FinishCallback)
    }
}

/// What became of a device's report that changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// It was known already.
    Repeated,
    /// The task was at another stage when it came: it had moved on, had ended, or was never configured.
    Late,
}

/// What a recorder says in its finish callback.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FinishReport {
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    pub duration_sec: Option<f64>,
    pub message_count: Option<u64>,
    pub file_size_bytes: Option<u64>,
    pub error: Option<String>,
}

/// The stage as one word, for wires and tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    Pending,
    Ready,
    InProgress,
    Uploading,
    Completed,
    Failed,
    Cancelled,
}

impl TaskStatus {
    pub const ALL: [(&'static str, Self); 7] = [
        ("pending", Self::Pending),
        ("ready", Self::Ready),
        ("in_progress", Self::InProgress),
        ("uploading", Self::Uploading),
        ("completed", Self::Completed),
        ("failed", Self::Failed),
        ("cancelled", Self::Cancelled),
    ];
    pub fn as_str(self) -> &'static str {
        super::catalog::word(&Self::ALL, self)
    }
}

impl TaskStatus {
    /// How the task ended, if it did.
    pub fn outcome(self) -> Option<TaskOutcome> {
        match self {
            Self::Pending | Self::Ready | Self::InProgress | Self::Uploading => None,
            Self::Completed => Some(TaskOutcome::Completed),
            Self::Failed => Some(TaskOutcome::Failed),
            Self::Cancelled => Some(TaskOutcome::Cancelled),
        }
    }
    /// Whether a recorder may hold the task's configuration or record it.
    pub fn held_by_recorder(self) -> bool {
        matches!(self, Self::Ready | Self::InProgress)
    }
}

impl Stage {
    pub fn status(&self) -> TaskStatus {
        match self {
            Stage::Pending => TaskStatus::Pending,
            Stage::Ready => TaskStatus::Ready,
            Stage::InProgress => TaskStatus::InProgress,
            Stage::Uploading(_) => TaskStatus::Uploading,
            Stage::Completed { .. } | Stage::CompletedExternally { .. } => TaskStatus::Completed,
            Stage::Failed { .. } => TaskStatus::Failed,
            Stage::Cancelled { .. } => TaskStatus::Cancelled,
        }
    }
}

#[derive(Clone, Debug)]
pub enum TaskCommand {
    Create(Brief),
    /// The device holds this task's configuration.
    Configure {
        by: Witness,
        at: Timestamp,
    },
    /// The device records.
    StartRecording {
        by: Witness,
        at: Timestamp,
        reported: Option<Value>,
    },
    /// The recording is a closed file on the device.
    FinishRecording {
        by: Witness,
        at: Timestamp,
        report: Option<FinishReport>,
    },
    /// The device says that its files are in the bucket.
    ReportUpload {
        by: Witness,
        report: UploadReport,
        at: Timestamp,
    },
    /// The object is what the device said it is.
    AcceptUpload {
        /// Sequence of the event whose report was verified.
        reported_in: i64,
        verified: VerifiedUpload,
        episode_id: EpisodeId,
        at: Timestamp,
    },
    /// The object is not what the device said it is.
    RejectUpload {
        /// Sequence of the event whose report was verified.
        reported_in: i64,
        report: UploadReport,
        rejection: Rejection,
    },
    /// The store refused to replace an object of the task.
    NoteRefusedWrite(RefusedWrite),
    /// The device still waits for an ack that it should have had.
    RequestAck {
        by: Witness,
    },
    /// The device gave up uploading.
    FailUpload {
        reason: String,
        /// The name of the file that it keeps, where there is one.
        file: Option<String>,
        at: Timestamp,
    },
    /// The uploader that gave it up is back, and may still have the file.
    RequestGivenUp {
        by: Witness,
        at: Timestamp,
        /// When the uploader connected.
        connected_at: Option<Timestamp>,
    },
    /// A person says that nothing more is to be waited for.
    FailByPerson {
        reason: String,
        at: Timestamp,
    },
    /// The device does not know of the upload that it was asked for.
    RequestUpload {
        by: Witness,
        at: Timestamp,
        /// When the uploader connected: what it was asked before may have been lost with the connection.
        connected_at: Option<Timestamp>,
    },
    /// The uploader finds no such file, and has no record of one.
    MissFile {
        detail: String,
        at: Timestamp,
        /// The recorder is connected and seen without the task. Of one that records it still, there is no file yet.
        recorder_is_without: bool,
    },
    /// The device dropped its configuration or its recording because it was told to.
    Abandon {
        by: Witness,
    },
    /// It must not be recorded any more. What was recorded already is left to finish.
    Cancel {
        at: Timestamp,
    },
    /// A collector says that the work was done without an Axon recorder.
    CompleteExternally {
        by: CollectorId,
        at: Timestamp,
    },
    Delete,
}

events! {
    TaskEvent {
        TaskCreated = "task_created", "1.0" (Brief),
        TaskConfigured = "task_configured", "1.0" {
            by: Witness,
            at: Timestamp,
        },
        RecordingStarted = "recording_started", "1.0" {
            by: Witness,
            at: Timestamp,
            reported: Option<Value>,
        },
        RecordingFinished = "recording_finished", "1.0" {
            by: Witness,
            at: Timestamp,
            report: Option<FinishReport>,
        },
        UploadReported = "upload_reported", "1.0" {
            by: Witness,
            report: UploadReport,
        },
        UploadVerified = "upload_verified", "1.1" {
            verified: VerifiedUpload,
            episode_id: EpisodeId,
            at: Timestamp,
        },
        UploadRejected = "upload_rejected", "1.0" {
            report: UploadReport,
            rejection: Rejection,
        },
        LateUploadReported = "late_upload_reported", "1.0" {
            by: Witness,
            report: UploadReport,
        },
        LateUploadVerified = "late_upload_verified", "1.1" {
            verified: VerifiedUpload,
            episode_id: EpisodeId,
            at: Timestamp,
        },
        LateUploadRejected = "late_upload_rejected", "1.0" {
            report: UploadReport,
            rejection: Rejection,
        },
        UploadFailed = "upload_failed", "1.1" {
            reason: String,
            /// Under which name the recording lies in the uploader's folder for what it gave up; unknown in older events.
            #[serde(default)]
            file: Option<String>,
            at: Timestamp,
        },
        /// The uploader is asked for everything it has, this recording among it.
        FailedUploadRequested = "failed_upload_requested", "1.0" {
            by: Witness,
            at: Timestamp,
        },
        TaskFailedByPerson = "task_failed_by_person", "1.0" {
            reason: String,
            at: Timestamp,
        },
        UploadAckRequested = "upload_ack_requested", "1.0" {
            by: Witness,
        },
        UploadRequestedAgain = "upload_requested_again", "1.1" {
            by: Witness,
            #[serde(default)]
            at: Option<Timestamp>,
        },
        UploadFileMissing = "upload_file_missing", "1.0" {
            detail: String,
            at: Timestamp,
        },
        RecordingAbandoned = "recording_abandoned", "1.0" {
            by: Witness,
        },
        TaskCancelled = "task_cancelled", "1.0" {
            at: Timestamp,
        },
        TaskCompletedExternally = "task_completed_externally", "1.0" {
            by: CollectorId,
            at: Timestamp,
        },
        TaskDeleted = "task_deleted", "1.0" {},
        DeviceReportNoted = "device_report_noted", "1.0" {
            report: Witness,
            disposition: Disposition,
            status: TaskStatus,
        },
        ObjectWriteRefused = "object_write_refused", "1.0" (RefusedWrite),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskRefusal {
    #[error("there is no such task")]
    NoSuchTask,
    #[error("the task exists already")]
    AlreadyCreated,
    #[error("the task is {}; a verified upload cannot complete it any more", .0.as_str())]
    Ended(TaskStatus),
    #[error("the task is {}; only one that has not ended can be ended", .0.as_str())]
    Over(TaskStatus),
    #[error("the upload that was verified is not the one last reported")]
    OtherUpload,
    #[error("no upload of this task waits for verification")]
    NothingToVerify,
    #[error("the task is {}; only a pending one can be completed without a recording", .0.as_str())]
    NotPending(TaskStatus),
    #[error("the task is {}; what is uploading or completed cannot be deleted", .0.as_str())]
    NotDeletable(TaskStatus),
}

impl Refused for TaskRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::NoSuchTask => RefusalCode::TaskNotFound,
            Self::AlreadyCreated => RefusalCode::TaskExists,
            Self::Ended(_) | Self::Over(_) => RefusalCode::TaskEnded,
            Self::OtherUpload => RefusalCode::OtherUpload,
            Self::NothingToVerify => RefusalCode::NothingToVerify,
            Self::NotPending(_) => RefusalCode::TaskNotPending,
            Self::NotDeletable(_) => RefusalCode::TaskNotDeletable,
        }
    }

    fn values(&self) -> Value {
        match self {
            Self::Ended(status) | Self::Over(status) | Self::NotPending(status) | Self::NotDeletable(status) => {
                json!({ "current_status": status })
            }
            Self::NoSuchTask | Self::AlreadyCreated | Self::OtherUpload | Self::NothingToVerify => Value::Null,
        }
    }
}

impl Task {
    pub fn dispatched(&self) -> Option<&Dispatched> {
        match self {
            Task::Absent | Task::Deleted => None,
            Task::Dispatched(task) => Some(task),
        }
    }
}

/// A recorder is seen with the task.
pub fn with_the_task(state: RecorderState, at: Timestamp) -> Option<TaskCommand> {
    let by = Witness::Snapshot;
    match state {
        RecorderState::Idle => None,
        RecorderState::Ready => Some(TaskCommand::Configure { by, at }),
        RecorderState::Recording | RecorderState::Paused => Some(TaskCommand::StartRecording { by, at, reported: None }),
    }
}

/// A recorder that was believed to have the task is seen without it. `dropping`: it was told to drop it, and its
/// answer decides. `begun_unheard`: it was told to begin, and nothing was heard since.
pub fn without_the_task(status: TaskStatus, dropping: bool, begun_unheard: bool, at: Timestamp) -> Option<TaskCommand> {
    let by = Witness::Snapshot;
    match status {
        // Recorded and closed without a word, perhaps; the uploader knows.
        TaskStatus::Ready if begun_unheard && !dropping => Some(TaskCommand::FinishRecording { by, at, report: None }),
        TaskStatus::Ready => Some(TaskCommand::Abandon { by }),
        // The recording is a file now; its finish callback may be lost for ever. Or it was dropped: then the
        // uploader finds none. A device that was told to drop it has none, and says so in its answer.
        TaskStatus::InProgress if !dropping => Some(TaskCommand::FinishRecording { by, at, report: None }),
        _ => None,
    }
}

/// A witness that tells nothing new.
fn noted(by: Witness, disposition: Disposition, stage: &Stage) -> Vec<TaskEvent> {
    if by.is_callback() || disposition == Disposition::Late {
        vec![TaskEvent::DeviceReportNoted { report: by, disposition, status: stage.status() }]
    } else {
        vec![]
    }
}

impl Aggregate for Task {
    const TYPE: &'static str = "task";
    type Command = TaskCommand;
    type Event = TaskEvent;
    type Refusal = TaskRefusal;

    fn decide(&self, command: TaskCommand) -> Result<Vec<TaskEvent>, TaskRefusal> {
        use Disposition::{Late, Repeated};
        use Stage as S;
        use TaskCommand as C;
        let task = match (self, command) {
            (Task::Absent, C::Create(brief)) => return Ok(vec![TaskEvent::TaskCreated(brief)]),
            (Task::Absent, _) | (Task::Deleted, _) => return Err(TaskRefusal::NoSuchTask),
            (Task::Dispatched(_), C::Create(_)) => return Err(TaskRefusal::AlreadyCreated),
            (Task::Dispatched(task), command) => (task, command),
        };
        let (Dispatched { stage, late, noted: times_noted, refused_writes, .. }, command) = (task.0.as_ref(), task.1);
        let events = match (stage, command) {
            (_, C::Create(_)) => return Err(TaskRefusal::AlreadyCreated),

            (S::Pending, C::Configure { by, at }) => vec![TaskEvent::TaskConfigured { by, at }],
            (S::Ready, C::Configure { by, .. }) => noted(by, Repeated, stage),
            (_, C::Configure { by, .. }) => noted(by, Late, stage),

            // Anybody can post one, and no recorder records what nobody configured. The frames of a recorder
            // and of an uploader come over a connection of theirs.
            (S::Pending, C::StartRecording { by, .. } | C::FinishRecording { by, .. }) if by.is_callback() => noted(by, Late, stage),

            (S::Pending | S::Ready, C::StartRecording { by, at, reported }) => vec![TaskEvent::RecordingStarted { by, at, reported }],
            (S::InProgress, C::StartRecording { by, .. }) => noted(by, Repeated, stage),
            // It was taken for finished because a recorder was seen without it; the recorder still has it.
            (S::Uploading(upload), C::StartRecording { by: by @ Witness::Snapshot, at, reported })
                if upload.report.is_none() && upload.finished_by == Some(Witness::Snapshot) =>
            {
                vec![TaskEvent::RecordingStarted { by, at, reported }]
            }
            (_, C::StartRecording { by, .. }) => noted(by, Late, stage),

            (S::Pending | S::Ready | S::InProgress, C::FinishRecording { by, at, report }) => {
                vec![TaskEvent::RecordingFinished { by, at, report }]
            }
            (S::Uploading(_) | S::Completed { .. }, C::FinishRecording { by, .. }) => noted(by, Repeated, stage),
            (S::CompletedExternally { .. } | S::Failed { .. } | S::Cancelled { .. }, C::FinishRecording { by, .. }) => {
                noted(by, Late, stage)
            }

            (S::Pending | S::Ready | S::InProgress, C::ReportUpload { by, report, at }) => {
                vec![TaskEvent::RecordingFinished { by, at, report: None }, TaskEvent::UploadReported { by, report }]
            }
            // The same report while it is being verified, or after it was rejected, is no news.
            (S::Uploading(upload), C::ReportUpload { report, .. })
                if upload.report.as_ref() == Some(&report) && !retry_worthwhile(upload) =>
            {
                vec![]
            }
            (S::Uploading(_), C::ReportUpload { by, report, .. }) => vec![TaskEvent::UploadReported { by, report }],
            // The device asks again because it did not get the ack.
            (S::Completed { upload, .. }, C::ReportUpload { by, report, .. }) if *upload == report => {
                vec![TaskEvent::UploadAckRequested { by }]
            }
            (S::Completed { .. }, C::ReportUpload { by, .. }) => noted(by, Late, stage),
            // The device has a recording, and waits for an ack for ever: it is verified like any other.
            (S::CompletedExternally { .. } | S::Failed { .. } | S::Cancelled { .. }, C::ReportUpload { by, report, .. }) => match late {
                Some(LateUpload { report: known, episode_id: Some(_), .. }) if *known == report => {
                    vec![TaskEvent::UploadAckRequested { by }]
                }
                Some(LateUpload { episode_id: Some(_), .. }) => noted(by, Late, stage),
                Some(known) if known.report == report && !known.rejected.as_ref().is_some_and(may_be_mended) => vec![],
                _ => vec![TaskEvent::LateUploadReported { by, report }],
            },

            (S::Uploading(upload), C::AcceptUpload { reported_in, verified, episode_id, at }) => match &upload.report {
                None => return Err(TaskRefusal::NothingToVerify),
                // Once a verdict was given, the object may be replaced: what was read before says nothing of it.
                Some(report) if *report != verified.report || upload.reported_in != reported_in || upload.rejected.is_some() => {
                    return Err(TaskRefusal::OtherUpload);
                }
                Some(_) => vec![TaskEvent::UploadVerified { verified, episode_id, at }],
            },
            // Verified twice because a worker died between commit and settling: nothing more to do.
            (S::Completed { upload, .. }, C::AcceptUpload { verified, .. }) if *upload == verified.report => vec![],
            (
                S::CompletedExternally { .. } | S::Failed { .. } | S::Cancelled { .. },
                C::AcceptUpload { reported_in, verified, episode_id, at },
            ) => match late {
                Some(known) if known.report == verified.report && known.episode_id.is_some() => vec![],
                Some(known) if known.reported_in == reported_in && known.report == verified.report && known.rejected.is_none() => {
                    vec![TaskEvent::LateUploadVerified { verified, episode_id, at }]
                }
                Some(_) => return Err(TaskRefusal::OtherUpload),
                None => return Err(TaskRefusal::Ended(stage.status())),
            },
            (S::Completed { .. }, C::AcceptUpload { .. }) => return Err(TaskRefusal::Ended(stage.status())),
            (S::Pending | S::Ready | S::InProgress, C::AcceptUpload { .. } | C::RejectUpload { .. }) => {
                return Err(TaskRefusal::NothingToVerify);
            }

            (S::Uploading(upload), C::RejectUpload { reported_in, report, rejection }) => match &upload.report {
                None => return Err(TaskRefusal::NothingToVerify),
                Some(known) if *known != report || upload.reported_in != reported_in => return Err(TaskRefusal::OtherUpload),
                Some(_) if upload.rejected.as_ref() == Some(&rejection) => vec![],
                Some(_) => vec![TaskEvent::UploadRejected { report, rejection }],
            },
            (
                S::CompletedExternally { .. } | S::Failed { .. } | S::Cancelled { .. },
                C::RejectUpload { reported_in, report, rejection },
            ) => match late {
                Some(known) if known.reported_in == reported_in && known.report == report && known.episode_id.is_none() => {
                    let news = known.rejected.as_ref() != Some(&rejection);
                    news.then_some(TaskEvent::LateUploadRejected { report, rejection }).into_iter().collect()
                }
                _ => return Err(TaskRefusal::Ended(stage.status())),
            },
            (S::Completed { .. }, C::RejectUpload { .. }) => return Err(TaskRefusal::Ended(stage.status())),

            (_, C::NoteRefusedWrite(write)) if refused_writes.contains(&write) || refused_writes.len() >= REFUSED_WRITES_MAX => vec![],
            (_, C::NoteRefusedWrite(write)) => vec![TaskEvent::ObjectWriteRefused(write)],

            (S::Completed { .. }, C::RequestAck { by }) => vec![TaskEvent::UploadAckRequested { by }],
            (_, C::RequestAck { by }) if late.as_ref().is_some_and(|late| late.episode_id.is_some()) => {
                vec![TaskEvent::UploadAckRequested { by }]
            }
            (_, C::RequestAck { .. }) => vec![],

            // Without a report there is nothing to wait for but a request that may have been lost.
            (S::Uploading(upload), C::RequestUpload { by, at, connected_at })
                if upload.report.is_none()
                    && upload.requested_at.is_none_or(|last| {
                        // Another connection may be that of another program, which finds more.
                        connected_at.is_some_and(|since| since > last) || (upload.misses < MISSES_MAX && at >= last + REQUEST_PAUSE)
                    }) =>
            {
                vec![TaskEvent::UploadRequestedAgain { by, at: Some(at) }]
            }
            (_, C::RequestUpload { .. }) => vec![],

            // Two programs with one device id may answer in turn, so both are heard for a while.
            (S::Uploading(upload), C::MissFile { at, .. }) if upload.missed_at.is_some_and(|last| at < last + REQUEST_PAUSE) => vec![],
            (S::Uploading(upload), C::MissFile { detail, at, recorder_is_without })
                if upload.report.is_none() && upload.misses < MISSES_MAX =>
            {
                if upload.misses + 1 < MISSES_MAX || upload.finished_by.is_some_and(Witness::saw_the_file) {
                    vec![TaskEvent::UploadFileMissing { detail, at }]
                } else if !recorder_is_without {
                    vec![]
                } else {
                    // No file was ever seen: the recording was dropped, or broke off.
                    vec![TaskEvent::RecordingAbandoned { by: Witness::TransferStatus }]
                }
            }
            (_, C::MissFile { .. }) => vec![],

            (S::Ready | S::InProgress, C::Abandon { by }) => vec![TaskEvent::RecordingAbandoned { by }],
            (_, C::Abandon { .. }) => vec![],

            (S::InProgress | S::Uploading(_), C::FailUpload { reason, file, at }) => vec![TaskEvent::UploadFailed { reason, file, at }],
            (S::Failed { .. }, C::FailUpload { .. }) => noted(Witness::UploadFailed, Repeated, stage),
            (_, C::FailUpload { .. }) => noted(Witness::UploadFailed, Late, stage),

            (S::Failed { kept: Some(kept), .. }, C::RequestGivenUp { by, at, connected_at })
                if late.is_none()
                    && kept.requests < GIVEN_UP_REQUESTS_MAX
                    && kept.requested_at.is_none_or(|last| connected_at.is_some_and(|since| since > last)) =>
            {
                vec![TaskEvent::FailedUploadRequested { by, at }]
            }
            (_, C::RequestGivenUp { .. }) => vec![],

            (S::Pending | S::Ready | S::InProgress | S::Uploading(_), C::FailByPerson { reason, at }) => {
                vec![TaskEvent::TaskFailedByPerson { reason, at }]
            }
            (S::Completed { .. } | S::CompletedExternally { .. } | S::Failed { .. } | S::Cancelled { .. }, C::FailByPerson { .. }) => {
                return Err(TaskRefusal::Over(stage.status()));
            }

            (S::Pending | S::Ready | S::InProgress, C::Cancel { at }) => vec![TaskEvent::TaskCancelled { at }],
            (_, C::Cancel { .. }) => vec![],

            (S::Pending, C::CompleteExternally { by, at }) => vec![TaskEvent::TaskCompletedExternally { by, at }],
            (_, C::CompleteExternally { .. }) => return Err(TaskRefusal::NotPending(stage.status())),

            (S::Uploading(_) | S::Completed { .. } | S::CompletedExternally { .. }, C::Delete) => {
                return Err(TaskRefusal::NotDeletable(stage.status()));
            }
            // Its episode would belong to nothing.
            (_, C::Delete) if late.as_ref().is_some_and(|late| late.episode_id.is_some()) => {
                return Err(TaskRefusal::NotDeletable(stage.status()));
            }
            (S::Pending | S::Ready | S::InProgress | S::Failed { .. } | S::Cancelled { .. }, C::Delete) => vec![TaskEvent::TaskDeleted {}],
        };
        let only_noted = matches!(events[..], [TaskEvent::DeviceReportNoted { .. }]);
        Ok(if only_noted && *times_noted >= NOTED_MAX { vec![] } else { events })
    }

    fn evolve(&mut self, event: &TaskEvent) {
        if let TaskEvent::TaskCreated(brief) = event {
            *self = Task::Dispatched(Box::new(Dispatched {
                brief: brief.clone(),
                stage: Stage::Pending,
                ready_at: None,
                started_at: None,
                late: None,
                sequence: 1,
                noted: 0,
                refused_writes: vec![],
            }));
            return;
        }
        if let TaskEvent::TaskDeleted {} = event {
            *self = Task::Deleted;
            return;
        }
        // Nothing precedes `task_created` in a stream, and nothing follows `task_deleted`.
        let Task::Dispatched(task) = self else { return };
        task.sequence += 1;
        match event {
            TaskEvent::TaskCreated(_) | TaskEvent::TaskDeleted {} | TaskEvent::UploadAckRequested { .. } => {}
            TaskEvent::RecordingAbandoned { .. } => {
                task.stage = Stage::Pending;
                task.ready_at = None;
                task.started_at = None;
            }
            TaskEvent::TaskConfigured { at, .. } => {
                task.stage = Stage::Ready;
                task.ready_at.get_or_insert(*at);
            }
            TaskEvent::RecordingStarted { at, .. } => {
                task.stage = Stage::InProgress;
                task.started_at.get_or_insert(*at);
            }
            TaskEvent::RecordingFinished { by, at, .. } => {
                let upload = Upload { finished_by: Some(*by), requested_at: Some(*at), ..Upload::default() };
                task.stage = Stage::Uploading(upload);
            }
            TaskEvent::UploadReported { report, .. } => {
                let reported_in = task.sequence;
                task.stage = Stage::Uploading(Upload { report: Some(report.clone()), reported_in, ..Upload::default() });
            }
            TaskEvent::UploadRequestedAgain { at, .. } => {
                if let Stage::Uploading(upload) = &mut task.stage {
                    upload.requested_at = at.or(upload.requested_at);
                }
            }
            TaskEvent::UploadFileMissing { detail, at } => {
                if let Stage::Uploading(upload) = &mut task.stage {
                    upload.misses += 1;
                    upload.missed_at = Some(*at);
                    upload.missing = Some(detail.clone());
                }
            }
            TaskEvent::DeviceReportNoted { report, .. } => {
                task.noted += 1;
                if let Stage::Uploading(upload) = &mut task.stage
                    && report.saw_the_file()
                {
                    upload.finished_by = Some(*report);
                }
            }
            TaskEvent::ObjectWriteRefused(write) => task.refused_writes.push(write.clone()),
            TaskEvent::UploadVerified { verified, episode_id, at } => {
                task.stage = Stage::Completed { episode_id: *episode_id, at: *at, upload: verified.report.clone() };
            }
            TaskEvent::UploadRejected { rejection, .. } => {
                if let Stage::Uploading(upload) = &mut task.stage {
                    upload.rejected = Some(rejection.clone());
                }
            }
            TaskEvent::LateUploadReported { report, .. } => {
                task.late = Some(LateUpload { report: report.clone(), reported_in: task.sequence, rejected: None, episode_id: None });
            }
            TaskEvent::LateUploadVerified { episode_id, .. } => {
                if let Some(late) = &mut task.late {
                    (late.rejected, late.episode_id) = (None, Some(*episode_id));
                }
            }
            TaskEvent::LateUploadRejected { rejection, .. } => {
                if let Some(late) = &mut task.late {
                    late.rejected = Some(rejection.clone());
                }
            }
            TaskEvent::TaskCancelled { at } => task.stage = Stage::Cancelled { at: *at },
            TaskEvent::TaskCompletedExternally { by, at } => {
                task.stage = Stage::CompletedExternally { by: *by, at: *at };
                task.started_at.get_or_insert(*at);
            }
            TaskEvent::UploadFailed { reason, file, at } => {
                let kept = file.clone().map(|file| KeptFile { file, requests: 0, requested_at: None });
                task.stage = Stage::Failed { reason: reason.clone(), at: *at, kept };
            }
            TaskEvent::FailedUploadRequested { at, .. } => {
                if let Stage::Failed { kept: Some(kept), .. } = &mut task.stage {
                    kept.requests += 1;
                    kept.requested_at = Some(*at);
                }
            }
            TaskEvent::TaskFailedByPerson { reason, at } => {
                // What was reported by then is verified to the end, and kept as what came late.
                if let Stage::Uploading(Upload { report: Some(report), reported_in, rejected, .. }) = &task.stage {
                    let (reported_in, rejected) = (*reported_in, rejected.clone());
                    task.late = Some(LateUpload { report: report.clone(), reported_in, rejected, episode_id: None });
                }
                task.stage = Stage::Failed { reason: reason.clone(), at: *at, kept: None };
            }
        }
    }
}

/// After these a report waits for its verdict, and its objects keep their bytes.
pub const CLAIMING: [&str; 2] = ["upload_reported", "late_upload_reported"];

/// And after these none does. `task_failed_by_person` is not among them: what was reported is verified to the end.
pub const RELEASING: [&str; 6] =
    ["upload_verified", "upload_rejected", "upload_failed", "late_upload_verified", "late_upload_rejected", "task_deleted"];

/// A rejected object may have been replaced by a good one under the same claim.
fn retry_worthwhile(upload: &Upload) -> bool {
    upload.rejected.as_ref().is_some_and(may_be_mended)
}

fn may_be_mended(rejection: &Rejection) -> bool {
    match rejection {
        Rejection::ObjectMissing { .. }
        | Rejection::ObjectChanged {}
        | Rejection::SizeDiffers { .. }
        | Rejection::ContentDiffers { .. } => true,
        Rejection::Unsound { .. } => false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::Event;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn report() -> UploadReport {
        UploadReport { object_key: "k.mcap".into(), size_bytes: 1, sha256: "aa".into(), with_sidecar: true }
    }

    fn refused_write(offered_bytes: u64) -> RefusedWrite {
        RefusedWrite { object_key: "k.mcap".into(), offered_bytes, offered_etag: "e".into(), access_key: "KR1".into() }
    }

    pub fn brief() -> Brief {
        Brief {
            task_id: PublicTaskId::parse("t").unwrap(),
            batch_id: BatchId(1),
            order_id: OrderId(1),
            station_id: StationId(1),
            sop_id: SopId(1),
            scene_id: SceneId(1),
            scene_name: String::new(),
            subscene_id: SubsceneId(1),
            subscene_name: String::new(),
            initial_scene_layout: String::new(),
            factory_id: FactoryId(1),
            organization_id: OrganizationId(1),
        }
    }

    fn task_in(state: &str) -> Task {
        let brief = brief();
        let stage = match state {
            "pending" => Stage::Pending,
            "ready" => Stage::Ready,
            "in_progress" => Stage::InProgress,
            "uploading" => Stage::Uploading(Upload::default()),
            "reported" => Stage::Uploading(Upload { report: Some(report()), ..Upload::default() }),
            "completed" => Stage::Completed { episode_id: EpisodeId(1), at: NOW, upload: report() },
            "completed externally" => Stage::CompletedExternally { by: CollectorId(1), at: NOW },
            "failed" => Stage::Failed { reason: "disk".into(), at: NOW, kept: None },
            "cancelled" => Stage::Cancelled { at: NOW },
            "deleted" => return Task::Deleted,
            other => panic!("no state is called {other}"),
        };
        Task::Dispatched(Box::new(Dispatched {
            brief,
            stage,
            ready_at: None,
            started_at: None,
            late: None,
            sequence: 0,
            noted: 0,
            refused_writes: vec![],
        }))
    }

    /// The same verdict, of what the task was last told.
    fn about_the_last_report(task: &Task, command: TaskCommand) -> TaskCommand {
        let told = task.dispatched().and_then(|task| task.late.as_ref()).map_or(0, |late| late.reported_in);
        match command {
            TaskCommand::AcceptUpload { verified, episode_id, at, .. } => {
                TaskCommand::AcceptUpload { reported_in: told, verified, episode_id, at }
            }
            TaskCommand::RejectUpload { report, rejection, .. } => TaskCommand::RejectUpload { reported_in: told, report, rejection },
            other => other,
        }
    }

    fn command(name: &str) -> TaskCommand {
        let (by, at) = (Witness::CommandReply, NOW);
        match name {
            "configure" => TaskCommand::Configure { by, at },
            "start" => TaskCommand::StartRecording { by, at, reported: None },
            "finish" => TaskCommand::FinishRecording { by, at, report: None },
            "start callback" => TaskCommand::StartRecording { by: Witness::StartCallback, at, reported: None },
            "finish callback" => TaskCommand::FinishRecording { by: Witness::FinishCallback, at, report: None },
            "report" => TaskCommand::ReportUpload { by, report: report(), at },
            "accept" => {
                let verified = VerifiedUpload { report: report(), etag: None, message_count: 1, verified_bytes: 1, notes: vec![] };
                TaskCommand::AcceptUpload { reported_in: 0, verified, episode_id: EpisodeId(1), at }
            }
            "reject" => TaskCommand::RejectUpload { reported_in: 0, report: report(), rejection: Rejection::ObjectChanged {} },
            "refuse write" => TaskCommand::NoteRefusedWrite(refused_write(1)),
            "want ack" => TaskCommand::RequestAck { by },
            "ask again" => TaskCommand::RequestUpload { by, at, connected_at: None },
            "miss file" => TaskCommand::MissFile { detail: "no file".into(), at, recorder_is_without: true },
            "give up" => TaskCommand::FailUpload { reason: "disk".into(), file: Some("t.mcap".into()), at },
            "ask for given up" => TaskCommand::RequestGivenUp { by, at, connected_at: None },
            "end" => TaskCommand::FailByPerson { reason: "scrapped".into(), at },
            "abandon" => TaskCommand::Abandon { by },
            "cancel" => TaskCommand::Cancel { at },
            "externally" => TaskCommand::CompleteExternally { by: CollectorId(1), at },
            "delete" => TaskCommand::Delete,
            other => panic!("no command is called {other}"),
        }
    }

    const STATES: [&str; 10] =
        ["pending", "ready", "in_progress", "uploading", "reported", "completed", "completed externally", "failed", "cancelled", "deleted"];

    /// Every command in every state, in the order of `STATES`: the status afterwards, `=` where it stays,
    /// `x` where the command is refused, `-` where the task is gone.
    #[rustfmt::skip]
    const MOVES: [(&str, [&str; 10]); 19] = [
        ("configure",  ["ready", "=", "=", "=", "=", "=", "=", "=", "=", "x"]),
        ("start",      ["in_progress", "in_progress", "=", "=", "=", "=", "=", "=", "=", "x"]),
        ("finish",     ["uploading", "uploading", "uploading", "=", "=", "=", "=", "=", "=", "x"]),
        // A callback alone moves nothing that was not configured.
        ("start callback",  ["=", "in_progress", "=", "=", "=", "=", "=", "=", "=", "x"]),
        ("finish callback", ["=", "uploading", "uploading", "=", "=", "=", "=", "=", "=", "x"]),
        ("report",     ["uploading", "uploading", "uploading", "=", "=", "=", "=", "=", "=", "x"]),
        ("accept",     ["x", "x", "x", "x", "completed", "=", "x", "x", "x", "x"]),
        ("reject",     ["x", "x", "x", "x", "=", "x", "x", "x", "x", "x"]),
        ("refuse write", ["=", "=", "=", "=", "=", "=", "=", "=", "=", "x"]),
        ("want ack",   ["=", "=", "=", "=", "=", "=", "=", "=", "=", "x"]),
        ("ask again",  ["=", "=", "=", "=", "=", "=", "=", "=", "=", "x"]),
        ("miss file",  ["=", "=", "=", "=", "=", "=", "=", "=", "=", "x"]),
        ("give up",    ["=", "=", "failed", "failed", "failed", "=", "=", "=", "=", "x"]),
        ("ask for given up", ["=", "=", "=", "=", "=", "=", "=", "=", "=", "x"]),
        ("end",        ["failed", "failed", "failed", "failed", "failed", "x", "x", "x", "x", "x"]),
        ("abandon",    ["=", "pending", "pending", "=", "=", "=", "=", "=", "=", "x"]),
        ("cancel",     ["cancelled", "cancelled", "cancelled", "=", "=", "=", "=", "=", "=", "x"]),
        ("externally", ["completed", "x", "x", "x", "x", "x", "x", "x", "x", "x"]),
        ("delete",     ["-", "-", "-", "x", "x", "x", "x", "-", "-", "x"]),
    ];

    #[test]
    fn every_command_in_every_state() {
        for (name, row) in MOVES {
            for (state, expected) in STATES.into_iter().zip(row) {
                let before = task_in(state);
                let mut task = before.clone();
                let status = |task: &Task| task.dispatched().map(|task| task.stage.status().as_str());
                let found = match task.decide(command(name)) {
                    Err(_) => "x",
                    Ok(events) => {
                        events.iter().for_each(|event| task.evolve(event));
                        match status(&task) {
                            None => "-",
                            same if same == status(&before) => "=",
                            Some(other) => other,
                        }
                    }
                };
                assert_eq!(found, expected, "{name} of a task that is {state}");
            }
        }
    }

    #[test]
    fn what_is_over_stays_over() {
        for state in ["completed", "completed externally", "failed", "cancelled"] {
            for (name, _) in MOVES.iter().filter(|(name, _)| *name != "delete") {
                let mut task = task_in(state);
                let before = task.clone();
                for event in task.decide(command(name)).unwrap_or_default() {
                    task.evolve(&event);
                }
                let (stage, was) = (&task.dispatched().unwrap().stage, &before.dispatched().unwrap().stage);
                assert_eq!(stage, was, "{name} of a task that is {state}");
            }
        }
    }

    #[test]
    fn a_report_that_changes_nothing_is_recorded_fifty_times_and_no_more() {
        let mut task = task_in("uploading");
        let again = || TaskCommand::FinishRecording { by: Witness::FinishCallback, at: NOW, report: None };
        let mut noted = 0;
        for _ in 0..1_000 {
            let events = task.decide(again()).unwrap();
            events.iter().for_each(|event| task.evolve(event));
            noted += events.len();
        }
        assert_eq!(noted, 50);
        // What changes something does so as before.
        assert_eq!(task.decide(command("give up")).unwrap().len(), 1);
    }

    #[test]
    fn a_refused_write_is_recorded_once_and_different_ones_ten_times() {
        let mut task = task_in("completed");
        let mut recorded = 0;
        for n in [1, 1, 1].into_iter().chain(2..1_000) {
            let events = task.decide(TaskCommand::NoteRefusedWrite(refused_write(n))).unwrap();
            events.iter().for_each(|event| task.evolve(event));
            recorded += events.len();
            assert!(n > 1 || recorded == 1);
        }
        assert_eq!(recorded, REFUSED_WRITES_MAX);
    }

    #[test]
    fn an_upload_is_asked_for_again_with_pauses_and_not_for_ever() {
        let at = |seconds| NOW + chrono::TimeDelta::seconds(seconds);
        let ask = |seconds| TaskCommand::RequestUpload { by: Witness::TransferStatus, at: at(seconds), connected_at: Some(at(-1)) };
        let miss_while =
            |recorder_is_without| move |seconds| TaskCommand::MissFile { detail: "no file".into(), at: at(seconds), recorder_is_without };
        let (miss, miss_unseen) = (miss_while(true), miss_while(false));
        let run = |task: &mut Task, command| {
            let events = task.decide(command).unwrap();
            events.iter().for_each(|event| task.evolve(event));
            events.iter().map(Event::event_type).collect::<Vec<_>>()
        };
        for (by, end) in [(Witness::Snapshot, "recording_abandoned"), (Witness::FinishCallback, "upload_file_missing")] {
            let mut task = task_in("in_progress");
            run(&mut task, TaskCommand::FinishRecording { by, at: at(0), report: None });
            for (command, types) in [
                (ask(29), vec![]),
                (ask(30), vec!["upload_requested_again"]),
                (ask(59), vec![]),
                (miss(60), vec!["upload_file_missing"]),
                (ask(61), vec!["upload_requested_again"]),
                (miss(62), vec![]),
                (ask(91), vec!["upload_requested_again"]),
                // The recorder may be recording it still.
                (miss_unseen(92), if by == Witness::Snapshot { vec![] } else { vec![end] }),
                (miss(93), if by == Witness::Snapshot { vec![end] } else { vec![] }),
                (ask(600), vec![]),
                (miss(601), vec![]),
            ] {
                assert_eq!(run(&mut task, command.clone()), types, "{by:?} {command:?}");
            }
            let status = task.dispatched().unwrap().stage.status();
            assert_eq!(status == TaskStatus::Pending, by == Witness::Snapshot, "{by:?}");
        }
        // What was asked before the uploader connected may never have reached it.
        let mut task = task_in("in_progress");
        run(&mut task, TaskCommand::FinishRecording { by: Witness::Snapshot, at: at(0), report: None });
        let anew = |seconds| TaskCommand::RequestUpload { by: Witness::TransferStatus, at: at(seconds), connected_at: Some(at(1)) };
        assert_eq!(run(&mut task, anew(2)), ["upload_requested_again"]);
        assert_eq!(run(&mut task, anew(3)), Vec::<&str>::new());
        // An uploader that connects after it was given up is asked, once.
        let mut task = task_in("in_progress");
        run(&mut task, TaskCommand::FinishRecording { by: Witness::FinishCallback, at: at(0), report: None });
        for (seconds, types) in [(10, vec!["upload_file_missing"]), (40, vec!["upload_file_missing"]), (70, vec![])] {
            assert_eq!(run(&mut task, miss(seconds)), types);
        }
        let later = |seconds| TaskCommand::RequestUpload { by: Witness::TransferStatus, at: at(seconds), connected_at: Some(at(100)) };
        assert_eq!(run(&mut task, later(101)), ["upload_requested_again"]);
        assert_eq!(run(&mut task, later(200)), Vec::<&str>::new());
    }

    #[test]
    fn a_recorder_that_is_seen_recording_again_had_never_finished() {
        let start = |by| TaskCommand::StartRecording { by, at: NOW, reported: None };
        for (finished_by, started_by, status) in [
            (Witness::Snapshot, Witness::Snapshot, TaskStatus::InProgress),
            // A callback may be late; a file that was closed stays closed.
            (Witness::Snapshot, Witness::StartCallback, TaskStatus::Uploading),
            (Witness::FinishCallback, Witness::Snapshot, TaskStatus::Uploading),
        ] {
            let mut task = task_in("in_progress");
            for command in [TaskCommand::FinishRecording { by: finished_by, at: NOW, report: None }, start(started_by)] {
                task.decide(command).unwrap().iter().for_each(|event| task.evolve(event));
            }
            assert_eq!(task.dispatched().unwrap().stage.status(), status, "{finished_by:?} {started_by:?}");
        }
        let mut task = task_in("reported");
        let before = task.clone();
        task.decide(start(Witness::Snapshot)).unwrap().iter().for_each(|event| task.evolve(event));
        assert_eq!(task.dispatched().unwrap().stage, before.dispatched().unwrap().stage, "what was uploaded is finished");
    }

    #[test]
    fn a_late_recording_is_verified_once_and_acked_and_the_task_stays_over() {
        for state in ["completed externally", "failed", "cancelled"] {
            let mut task = task_in(state);
            let before = task.dispatched().unwrap().stage.clone();
            for (name, types) in [
                ("want ack", vec![]),
                ("report", vec!["late_upload_reported"]),
                ("report", vec![]),
                ("reject", vec!["late_upload_rejected"]),
                ("reject", vec![]),
                // The object may have been replaced by a good one.
                ("report", vec!["late_upload_reported"]),
                ("want ack", vec![]),
                ("accept", vec!["late_upload_verified"]),
                ("accept", vec![]),
                ("report", vec!["upload_ack_requested"]),
                ("want ack", vec!["upload_ack_requested"]),
            ] {
                let events = task.decide(about_the_last_report(&task, command(name))).unwrap();
                events.iter().for_each(|event| task.evolve(event));
                assert_eq!(events.iter().map(Event::event_type).collect::<Vec<_>>(), types, "{name} of {state}");
            }
            assert_eq!(task.dispatched().unwrap().stage, before);
            let mut other = report();
            other.sha256 = "bb".into();
            let noted = task.decide(TaskCommand::ReportUpload { by: Witness::UploadComplete, report: other, at: NOW }).unwrap();
            assert_eq!(noted[0].event_type(), "device_report_noted");
            assert!(task.decide(command("delete")).is_err(), "its episode would belong to nothing");
        }
    }

    #[test]
    fn what_was_given_up_is_asked_for_on_later_connections_and_not_for_ever() {
        let at = |seconds| NOW + chrono::TimeDelta::seconds(seconds);
        let mut task = task_in("uploading");
        let mut asked = vec![];
        let run = |task: &mut Task, command| {
            let events = task.decide(command).unwrap();
            events.iter().for_each(|event| task.evolve(event));
            events.len()
        };
        run(&mut task, command("give up"));
        for connected in [10, 10, 20, 30, 40, 50] {
            let ask = TaskCommand::RequestGivenUp { by: Witness::TransferStatus, at: at(connected + 1), connected_at: Some(at(connected)) };
            asked.push(run(&mut task, ask));
        }
        assert_eq!(asked, [1, 0, 1, 1, 0, 0]);
        // It came: nothing more is asked for.
        let mut task = task_in("uploading");
        run(&mut task, command("give up"));
        run(&mut task, command("report"));
        assert_eq!(run(&mut task, command("ask for given up")), 0);
        // What a person ended, or what has no file, is not asked for.
        for end in ["end", "give up"] {
            let mut task = task_in("uploading");
            let ended = match command(end) {
                TaskCommand::FailUpload { reason, at, .. } => TaskCommand::FailUpload { reason, file: None, at },
                other => other,
            };
            run(&mut task, ended);
            assert_eq!(run(&mut task, command("ask for given up")), 0, "{end}");
        }
    }

    #[test]
    fn what_was_being_verified_when_a_person_ended_the_task_is_kept() {
        let mut task = task_in("reported");
        for (name, types) in [
            ("end", vec!["task_failed_by_person"]),
            // It is being verified: no news.
            ("report", vec![]),
            ("accept", vec!["late_upload_verified"]),
            ("want ack", vec!["upload_ack_requested"]),
        ] {
            let events = task.decide(command(name)).unwrap();
            events.iter().for_each(|event| task.evolve(event));
            assert_eq!(events.iter().map(Event::event_type).collect::<Vec<_>>(), types, "{name}");
        }
        assert_eq!(task.dispatched().unwrap().stage.status(), TaskStatus::Failed);
    }

    #[test]
    fn dropping_a_recording_forgets_when_it_started() {
        let Task::Dispatched(mut task) = task_in("in_progress") else { unreachable!() };
        (task.ready_at, task.started_at) = (Some(NOW), Some(NOW));
        let mut task = Task::Dispatched(task);
        for event in task.decide(command("abandon")).unwrap() {
            task.evolve(&event);
        }
        let task = task.dispatched().unwrap();
        assert_eq!((task.ready_at, task.started_at), (None, None));
    }
}
