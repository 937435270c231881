//! What recorders post when a recording starts and when its file is closed.
//!
//! A callback is posted once and never repeated, whatever we answer, and may come before or
//! after the frames that tell the same. So it is a witness like others, recorded each time
//! it comes, and never decisive alone.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Command, CommandError, Work};
use crate::domain::device::{Device, DeviceCommand};
use crate::domain::task::{FinishReport, Stage, TaskCommand, TaskStatus, Witness};
use crate::domain::{DeviceId, PublicTaskId};
use crate::projections::facts;

#[derive(Clone, Debug)]
pub struct StartCallback {
    pub task_id: PublicTaskId,
    pub device_id: Option<DeviceId>,
    pub reported: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartAnswer {
    /// Whether this callback moved the task to `in_progress`.
    pub moved: bool,
}

impl Command for StartCallback {
    type Answer = StartAnswer;
    const NAME: &'static str = "start_callback";

    async fn run(&self, work: &mut Work) -> Result<StartAnswer, CommandError> {
        let Some((owner, mut task)) = facts::task_of(&mut work.tx, &self.task_id).await? else {
            note_refused(work, self.device_id.as_ref(), "start_callback", &format!("there is no task {}", self.task_id)).await?;
            return Ok(StartAnswer { moved: false });
        };
        if self.device_id.as_ref().is_some_and(|device| *device != owner.device_id) {
            let reason = format!("the task {} belongs to {}", self.task_id, owner.device_id);
            note_refused(work, self.device_id.as_ref(), "start_callback", &reason).await?;
            return Ok(StartAnswer { moved: false });
        }
        let before = status(&task.state);
        let command = TaskCommand::StartRecording { by: Witness::StartCallback, at: work.now, reported: Some(self.reported.clone()) };
        work.decide_for(&mut task, command, Some(&owner.device_id))?;
        Ok(StartAnswer { moved: before != status(&task.state) })
    }
}

#[derive(Clone, Debug)]
pub struct FinishCallback {
    pub task_id: PublicTaskId,
    pub device_id: DeviceId,
    pub report: FinishReport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FinishAnswer {
    /// The upload will be asked for; `transfer_open` says whether the device can hear it now.
    Moved { transfer_open: bool },
    /// It was known already.
    Repeated(TaskStatus),
    /// The task failed or was cancelled before.
    Ended(TaskStatus),
    /// There is no such task, or it belongs to another device.
    NotOwned,
}

impl Command for FinishCallback {
    type Answer = FinishAnswer;
    const NAME: &'static str = "finish_callback";

    async fn run(&self, work: &mut Work) -> Result<FinishAnswer, CommandError> {
        let found = facts::task_of(&mut work.tx, &self.task_id).await?;
        let Some((owner, mut task)) = found.filter(|(owner, _)| owner.device_id == self.device_id) else {
            let reason = format!("the task {} does not exist or belongs to another device", self.task_id);
            note_refused(work, Some(&self.device_id), "finish_callback", &reason).await?;
            return Ok(FinishAnswer::NotOwned);
        };
        let before = status(&task.state);
        let command = TaskCommand::FinishRecording { by: Witness::FinishCallback, at: work.now, report: Some(self.report.clone()) };
        work.decide_for(&mut task, command, Some(&owner.device_id))?;
        let after = status(&task.state).unwrap_or(TaskStatus::Pending);
        Ok(match after {
            _ if before != Some(after) => FinishAnswer::Moved { transfer_open: owner.transfer_open },
            TaskStatus::Failed | TaskStatus::Cancelled => FinishAnswer::Ended(after),
            _ => FinishAnswer::Repeated(after),
        })
    }
}

fn status(task: &crate::domain::task::Task) -> Option<TaskStatus> {
    task.dispatched().map(|task| Stage::status(&task.stage))
}

/// Records on the device's own stream that something it said was not accepted. Devices that
/// nobody registered leave no trace here: anybody could invent them.
pub(super) async fn note_refused(work: &mut Work, device: Option<&DeviceId>, report: &str, reason: &str) -> Result<(), CommandError> {
    let Some(device) = device else { return Ok(()) };
    if !facts::robot_exists(&mut work.tx, device).await? {
        return Ok(());
    }
    let mut stream = work.load::<Device>(device).await?;
    let command = DeviceCommand::RefuseReport { report: report.to_owned(), reason: reason.to_owned() };
    work.decide(&mut stream, command)?;
    Ok(())
}
