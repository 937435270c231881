//! What can be asked of a task.

use serde_json::Value;

use super::state::{Brief, RefusedWrite};
use super::upload::{Rejection, UploadReport, VerifiedUpload};
use super::witness::{FinishReport, Witness};
use crate::domain::operator_word::OperatorWord;
use crate::domain::{CollectorId, EpisodeId, TaskId, Timestamp};

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
    /// The object is what the device said it is, or a person wants it as it is.
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
    /// A person wants the recording although it is damaged.
    WantDamaged {
        reason: String,
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
    /// What the operator says of its recording. `replacement`: the task that is recorded in its place.
    GiveWord {
        word: OperatorWord,
        replacement: Option<TaskId>,
    },
    Delete,
}
