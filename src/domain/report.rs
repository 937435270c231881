//! What devices tell, as values: one shape from the socket to the command. Nothing of it is believed yet.

use serde::{Deserialize, Serialize};

use super::PublicTaskId;
use super::device::CommandOutcome;
use super::recorder::RecorderState;
use super::task::{UploadReport, Witness};

/// Something a device told that matters. All but outcomes of commands count only while the link on which it was told is current.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The recorder was seen in a state.
    Observed {
        state: RecorderState,
        task: Option<PublicTaskId>,
        /// `state_update`, `get_state`, `rpc_response:<action>`.
        source: String,
    },
    /// The recorder stored a task's configuration.
    ConfigApplied {
        task: PublicTaskId,
    },
    /// The outcome of a command. True whatever became of the link meanwhile.
    Settled {
        command_id: String,
        outcome: CommandOutcome,
    },
    /// An answer that this link did not ask for: perhaps to a command of an earlier one.
    AnsweredLate {
        command_id: String,
        outcome: CommandOutcome,
    },
    /// The uploader queued a task's files.
    UploadStarted {
        task: PublicTaskId,
    },
    /// These files are in the bucket, it says. Heard [apart](Self::apart).
    UploadsCompleted {
        uploads: Vec<(PublicTaskId, UploadReport)>,
        witness: Witness,
    },
    /// One of them.
    UploadCompleted {
        task: PublicTaskId,
        upload: UploadReport,
        witness: Witness,
    },
    /// The uploader gave up.
    UploadFailed {
        task: PublicTaskId,
        reason: String,
    },
    /// The uploader does not find a task's file, has it already, or never had it: its one message has four meanings, so it
    /// is recorded and proves nothing.
    UploadNotFound {
        task: PublicTaskId,
        detail: String,
    },
    /// It waits for the acks of these. Heard [apart](Self::apart).
    AcksWanted {
        tasks: Vec<PublicTaskId>,
    },
    /// One of them.
    AckWanted {
        task: PublicTaskId,
    },
    UploadsListed(UploadList),
    /// Follows from a list: there is no recording of the task, and it cannot be recorded again.
    RecordingLost {
        task: PublicTaskId,
        reason: String,
    },
    /// Follows from a list, after what it made fail: these were given up, and the uploader may still have them.
    UploadsGivenUp {
        tasks: Vec<PublicTaskId>,
    },
    /// The socket is gone. Always the last report of a link. Says nothing about the recording.
    Closed {
        reason: String,
    },
}

/// All uploads that an uploader knows of: what should be among them and is not, was never asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadList {
    /// Tasks in the list, in any state.
    pub tracked: Vec<PublicTaskId>,
    /// Tasks whose files it said it does not find, and why; none of them is in the list.
    pub missing: Vec<(PublicTaskId, String)>,
    /// Tasks in the list that it has given up, and why: the message that says so may have been lost.
    pub failed: Vec<(PublicTaskId, String)>,
    /// Tasks in the list that it is uploading, or will: the message that says so may have been lost, too.
    pub under_way: Vec<PublicTaskId>,
}

impl Report {
    /// For logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Report::Observed { .. } => "observed",
            Report::ConfigApplied { .. } => "config_applied",
            Report::Settled { .. } => "settled",
            Report::AnsweredLate { .. } => "answered_late",
            Report::UploadStarted { .. } => "upload_started",
            Report::UploadsCompleted { .. } | Report::UploadCompleted { .. } => "uploads_completed",
            Report::UploadFailed { .. } => "upload_failed",
            Report::UploadNotFound { .. } => "upload_not_found",
            Report::AcksWanted { .. } | Report::AckWanted { .. } => "acks_wanted",
            Report::UploadsListed(_) => "uploads_listed",
            Report::RecordingLost { .. } => "recording_lost",
            Report::UploadsGivenUp { .. } => "uploads_given_up",
            Report::Closed { .. } => "closed",
        }
    }

    /// The device's message that it was in, as it is recorded where it is refused.
    pub fn message(&self) -> &'static str {
        match self {
            Report::UploadsCompleted { .. } | Report::UploadCompleted { .. } => "upload_complete",
            Report::RecordingLost { .. } => "upload_failed",
            Report::AcksWanted { .. } | Report::AckWanted { .. } => "waiting_ack",
            Report::UploadsListed(_) | Report::UploadsGivenUp { .. } => "status",
            // Their messages bear the same name; or nothing of them is ever refused.
            Report::ConfigApplied { .. }
            | Report::UploadStarted { .. }
            | Report::UploadFailed { .. }
            | Report::UploadNotFound { .. }
            | Report::Observed { .. }
            | Report::Settled { .. }
            | Report::AnsweredLate { .. }
            | Report::Closed { .. } => self.name(),
        }
    }

    pub fn outlives_its_link(&self) -> bool {
        matches!(self, Report::Settled { .. } | Report::AnsweredLate { .. })
    }

    /// One report for each upload that it speaks of: what one of them meets is not the affair of the others.
    pub fn apart(self) -> Vec<Self> {
        match self {
            Report::UploadsCompleted { uploads, witness } => {
                uploads.into_iter().map(|(task, upload)| Report::UploadCompleted { task, upload, witness }).collect()
            }
            Report::AcksWanted { tasks } => tasks.into_iter().map(|task| Report::AckWanted { task }).collect(),
            whole => vec![whole],
        }
    }
}
