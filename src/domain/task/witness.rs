//! Who told that something happened on a device, and what became of that.

use serde::{Deserialize, Serialize};

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
    pub(super) fn saw_the_file(self) -> bool {
        matches!(self, Witness::FinishCallback | Witness::UploadStarted | Witness::TransferStatus)
    }

    /// Callbacks are recorded every time they come; other witnesses only when they tell something new.
    pub(super) fn is_callback(self) -> bool {
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
