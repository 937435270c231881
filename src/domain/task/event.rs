//! What can have happened to a task.

use serde_json::Value;

use super::state::{Brief, RefusedWrite};
use super::status::TaskStatus;
use super::upload::{Rejection, UploadReport, VerifiedUpload};
use super::witness::{Disposition, FinishReport, Witness};
use crate::domain::aggregate::events;
use crate::domain::operator_word::OperatorWord;
use crate::domain::{CollectorId, EpisodeId, TaskId, Timestamp};

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
        UploadVerified = "upload_verified", "1.2" {
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
        LateUploadVerified = "late_upload_verified", "1.2" {
            verified: VerifiedUpload,
            episode_id: EpisodeId,
            at: Timestamp,
        },
        LateUploadRejected = "late_upload_rejected", "1.0" {
            report: UploadReport,
            rejection: Rejection,
        },
        /// A person wants what was rejected: it is verified once more, and accepted as it is.
        DamagedUploadWanted = "damaged_upload_wanted", "1.0" {
            report: UploadReport,
            reason: String,
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
        OperatorWordGiven = "operator_word_given", "1.0" {
            word: OperatorWord,
            /// The task that is recorded in its place.
            replacement: Option<TaskId>,
        },
        ObjectWriteRefused = "object_write_refused", "1.0" (RefusedWrite),
    }
}
