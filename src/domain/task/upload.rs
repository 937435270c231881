//! The upload of a task: what a device reports of it, and what was found when it was verified.
//!
//! ```text
//!  report ──► waiting ──┬──► accepted     (the same report again: its ack is wanted)
//!               ▲       └──► rejected ─┐
//!               └──────────────────────┘  another report, or the same where that may help; or a person wants it although damaged
//! ```
//!
//! It is the same for a task that goes on and for one that had ended without a recording. What that one is called in
//! events, and that its stage stays, stands in `decide` and `evolve`.

use serde::{Deserialize, Serialize};

use crate::domain::EpisodeId;

/// What was reported last, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upload {
    pub report: UploadReport,
    /// Sequence of the event that reported it. A verdict is about that event, not about what it says: the same words said
    /// again are about an object that may have been replaced in between.
    pub reported_in: i64,
    /// None while it is being verified.
    pub verdict: Option<Verdict>,
    /// A person wants it although it is damaged, and why.
    #[serde(default)]
    pub wanted: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Accepted(EpisodeId),
    Rejected(Rejection),
}

/// What a report is to the upload that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is to be verified.
    News,
    /// It is being verified, or was rejected for good.
    Known,
    /// The device did not get the ack.
    AckWanted,
    /// Another recording was accepted.
    TooLate,
}

/// What it is to an upload that a person wants it although damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It is to be verified once more.
    News,
    /// That is under way.
    Known,
    /// It was accepted, or nobody knows yet.
    NotRejected,
}

/// What a verdict is to the upload that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    News,
    Known,
    /// It is about another report, or comes after another verdict.
    Other,
}

impl Upload {
    pub fn waiting(report: UploadReport, reported_in: i64) -> Self {
        Self { report, reported_in, verdict: None, wanted: None }
    }

    /// Whether it can be wanted although damaged, and whether it is by now.
    pub(super) fn want(&self) -> Wanted {
        match (&self.verdict, &self.wanted) {
            (Some(Verdict::Rejected(_)), _) => Wanted::News,
            (None, Some(_)) => Wanted::Known,
            (Some(Verdict::Accepted(_)), _) | (None, None) => Wanted::NotRejected,
        }
    }

    pub fn episode_id(&self) -> Option<EpisodeId> {
        match self.verdict {
            Some(Verdict::Accepted(episode_id)) => Some(episode_id),
            Some(Verdict::Rejected(_)) | None => None,
        }
    }

    pub fn rejection(&self) -> Option<&Rejection> {
        match &self.verdict {
            Some(Verdict::Rejected(rejection)) => Some(rejection),
            Some(Verdict::Accepted(_)) | None => None,
        }
    }

    pub(super) fn hear(&self, report: &UploadReport) -> Heard {
        match (&self.verdict, self.report == *report) {
            (Some(Verdict::Accepted(_)), true) => Heard::AckWanted,
            (Some(Verdict::Accepted(_)), false) => Heard::TooLate,
            (Some(Verdict::Rejected(rejection)), true) if may_be_mended(rejection) => Heard::News,
            (Some(Verdict::Rejected(_)) | None, true) => Heard::Known,
            (Some(Verdict::Rejected(_)) | None, false) => Heard::News,
        }
    }

    pub(super) fn judge(&self, reported_in: i64, report: &UploadReport, verdict: &Verdict) -> Judged {
        let same = self.report == *report;
        let told_there = same && self.reported_in == reported_in;
        match (&self.verdict, verdict) {
            (None, _) if told_there => Judged::News,
            // Verified twice because a worker died between commit and settling: nothing more to do.
            (Some(Verdict::Accepted(_)), Verdict::Accepted(_)) if same => Judged::Known,
            (Some(Verdict::Rejected(known)), Verdict::Rejected(found)) if told_there => {
                if known == found {
                    Judged::Known
                } else {
                    Judged::News
                }
            }
            // Once a verdict was given, the object may be replaced: what was read before says nothing of it.
            _ => Judged::Other,
        }
    }
}

/// A rejected object may have been replaced by a good one under the same report.
fn may_be_mended(rejection: &Rejection) -> bool {
    match rejection {
        Rejection::ObjectMissing { .. }
        | Rejection::ObjectChanged {}
        | Rejection::SizeDiffers { .. }
        | Rejection::ContentDiffers { .. } => true,
        Rejection::Unsound { .. } => false,
    }
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
    /// What is wrong with it, where a person wants it all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<Damage>,
}

/// Why it would have been rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    pub rejection: Rejection,
    /// Of the object as it is.
    pub sha256: String,
}

/// After these a report waits for its verdict, and its objects keep their bytes.
pub const CLAIMING: [&str; 3] = ["upload_reported", "late_upload_reported", DAMAGED_UPLOAD_WANTED];
/// This one waits for an object that may be damaged.
pub const DAMAGED_UPLOAD_WANTED: &str = "damaged_upload_wanted";

/// And after these none does. `task_failed_by_person` is not among them: what was reported is verified to the end.
pub const RELEASING: [&str; 6] =
    ["upload_verified", "upload_rejected", "upload_failed", "late_upload_verified", "late_upload_rejected", "task_deleted"];
