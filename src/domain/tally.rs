//! How many tasks there are and how they ended: kept by a batch and by an order.

use serde::{Deserialize, Serialize};

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskOutcome {
    Completed,
    Failed,
    Cancelled,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Tasks in any state.
    pub tasks: i64,
    pub completed: i64,
    pub failed: i64,
    pub cancelled: i64,
}

impl Tally {
    pub fn settled(&self) -> i64 {
        self.completed + self.failed + self.cancelled
    }

    pub fn all_settled(&self) -> bool {
        self.tasks > 0 && self.settled() >= self.tasks
    }

    pub fn settle(&mut self, outcome: TaskOutcome) {
        match outcome {
            TaskOutcome::Completed => self.completed += 1,
            TaskOutcome::Failed => self.failed += 1,
            TaskOutcome::Cancelled => self.cancelled += 1,
        }
    }
}
