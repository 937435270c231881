//! How many tasks there are and how they ended: kept by a batch and by an order.

use serde::{Deserialize, Serialize};

use super::words::words;

words! {
    /// How a task ended.
    TaskOutcome {
        Completed = "completed",
        Failed = "failed",
        Cancelled = "cancelled",
    }
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
        self.settle_many(outcome, 1);
    }

    pub fn settle_many(&mut self, outcome: TaskOutcome, count: i64) {
        match outcome {
            TaskOutcome::Completed => self.completed += count,
            TaskOutcome::Failed => self.failed += count,
            TaskOutcome::Cancelled => self.cancelled += count,
        }
    }

    /// Takes tasks out that were deleted, with how they had ended.
    pub fn remove(&mut self, removed: &Tally) {
        self.tasks -= removed.tasks;
        self.completed -= removed.completed;
        self.failed -= removed.failed;
        self.cancelled -= removed.cancelled;
    }

    /// Counts one task, and how it ended if it did.
    pub fn count(&mut self, outcome: Option<TaskOutcome>) {
        self.tasks += 1;
        if let Some(outcome) = outcome {
            self.settle(outcome);
        }
    }
}

/// How many there are, as tallies count.
pub fn count<T>(items: &[T]) -> i64 {
    i64::try_from(items.len()).unwrap_or(i64::MAX)
}
