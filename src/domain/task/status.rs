//! The stage of a task as one word.

use serde::{Deserialize, Serialize};

use crate::domain::catalog;
use crate::domain::tally::TaskOutcome;

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
        catalog::word(&Self::ALL, self)
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
