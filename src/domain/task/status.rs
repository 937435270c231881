//! The stage of a task as one word.

use crate::domain::tally::TaskOutcome;
use crate::domain::words::words;

words! {
    /// The stage as one word, for wires and tables.
    TaskStatus {
        Pending = "pending",
        Ready = "ready",
        InProgress = "in_progress",
        Uploading = "uploading",
        Completed = "completed",
        Failed = "failed",
        Cancelled = "cancelled",
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
