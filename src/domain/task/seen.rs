//! What follows for a task from what its recorder was seen doing.

use super::command::TaskCommand;
use super::status::TaskStatus;
use super::witness::Witness;
use crate::domain::Timestamp;
use crate::domain::device::RecorderState;

/// A recorder is seen with the task.
pub fn with_the_task(state: RecorderState, at: Timestamp) -> Option<TaskCommand> {
    let by = Witness::Snapshot;
    match state {
        RecorderState::Idle => None,
        RecorderState::Ready => Some(TaskCommand::Configure { by, at }),
        RecorderState::Recording | RecorderState::Paused => Some(TaskCommand::StartRecording { by, at, reported: None }),
    }
}

/// A recorder that was believed to have the task is seen without it. `dropping`: it was told to drop it, and its
/// answer decides. `begun_unheard`: it was told to begin, and nothing was heard since.
pub fn without_the_task(status: TaskStatus, dropping: bool, begun_unheard: bool, at: Timestamp) -> Option<TaskCommand> {
    let by = Witness::Snapshot;
    match status {
        // Recorded and closed without a word, perhaps; the uploader knows.
        TaskStatus::Ready if begun_unheard && !dropping => Some(TaskCommand::FinishRecording { by, at, report: None }),
        TaskStatus::Ready => Some(TaskCommand::Abandon { by }),
        // The recording is a file now; its finish callback may be lost for ever. Or it was dropped: then the
        // uploader finds none. A device that was told to drop it has none, and says so in its answer.
        TaskStatus::InProgress if !dropping => Some(TaskCommand::FinishRecording { by, at, report: None }),
        _ => None,
    }
}
