//! Who told that something happened on a device, and what became of that.

use serde::{Deserialize, Serialize};

use crate::domain::words::words;

words! {
    /// How we know that something happened on the device.
    Witness {
        CommandReply = "command_reply",
        ConfigApplied = "config_applied",
        Snapshot = "snapshot",
        StartCallback = "start_callback",
        FinishCallback = "finish_callback",
        UploadStarted = "upload_started",
        UploadComplete = "upload_complete",
        TransferStatus = "transfer_status",
        UploadFailed = "upload_failed",
    }
}

impl Witness {
    /// Whether a file with its sidecar was there when it spoke.
    pub(super) fn saw_the_file(self) -> bool {
        matches!(self, Witness::FinishCallback | Witness::UploadStarted | Witness::TransferStatus)
    }

    /// Callbacks are recorded every time they come; other witnesses only when they tell something new.
    pub(super) fn is_callback(self) -> bool {
        matches!(self, Witness::StartCallback | Witness::FinishCallback)
    }
}

words! {
    /// What became of a device's report that changed nothing.
    Disposition {
        /// It was known already.
        Repeated = "repeated",
        /// The task was at another stage when it came: it had moved on, had ended, or was never configured.
        Late = "late",
    }
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
