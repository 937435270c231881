//! A recorder, as its present connection shows it.

use std::time::{Duration, Instant};

use crate::domain::device::RecorderState;
use crate::domain::{PublicTaskId, Timestamp};

/// What a recorder was last seen doing, on its present connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecorderView {
    /// None before the first snapshot.
    pub state: Option<RecorderState>,
    pub previous: Option<RecorderState>,
    pub task_id: Option<PublicTaskId>,
    /// False while the state is asked for (again): it may be another one by now.
    pub confirmed: bool,
    /// It said last that it is busy with a task that cannot be one of ours, or that it does not name.
    pub foreign_task: bool,
    /// `state_update`, `get_state`, `rpc_response:<action>`; empty before the first snapshot.
    pub source: String,
    pub updated_at: Option<Timestamp>,
    pub seen_at: Option<Instant>,
    /// Why it is not confirmed.
    pub error: Option<String>,
}

impl RecorderView {
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.seen_at.map(|seen_at| now.saturating_duration_since(seen_at))
    }
}
