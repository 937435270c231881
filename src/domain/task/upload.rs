//! What devices say about an uploaded recording, and what was found when it was verified.

use serde::{Deserialize, Serialize};

use super::witness::Witness;
use crate::domain::{EpisodeId, Timestamp};

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

/// After these a report waits for its verdict, and its objects keep their bytes.
pub const CLAIMING: [&str; 2] = ["upload_reported", "late_upload_reported"];

/// And after these none does. `task_failed_by_person` is not among them: what was reported is verified to the end.
pub const RELEASING: [&str; 6] =
    ["upload_verified", "upload_rejected", "upload_failed", "late_upload_verified", "late_upload_rejected", "task_deleted"];

/// A rejected object may have been replaced by a good one under the same claim.
pub(super) fn retry_worthwhile(upload: &Upload) -> bool {
    upload.rejected.as_ref().is_some_and(may_be_mended)
}

pub(super) fn may_be_mended(rejection: &Rejection) -> bool {
    match rejection {
        Rejection::ObjectMissing { .. }
        | Rejection::ObjectChanged {}
        | Rejection::SizeDiffers { .. }
        | Rejection::ContentDiffers { .. } => true,
        Rejection::Unsound { .. } => false,
    }
}
