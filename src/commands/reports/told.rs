//! A report with the link it came over, whether it counts, and what is written where it does not.

use crate::commands::{CommandError, Work};
use crate::domain::device::{Device, DeviceCommand, LinkKind};
use crate::domain::report::Report;
use crate::domain::task::Task;
use crate::domain::{DeviceId, PublicTaskId, Timestamp};
use crate::eventstore::Loaded;
use crate::projections::facts::{self, TaskOwner};

/// Something a device told over one of its links.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceReport {
    pub device: DeviceId,
    pub link: LinkKind,
    pub epoch: i64,
    pub report: Report,
}

const REPLACED: &str = "it came over a connection that has been replaced";

impl DeviceReport {
    /// The task that it speaks of, if it is the device's and the link is the present one. Refused where not.
    pub(super) async fn task(&self, work: &mut Work, task: &PublicTaskId) -> Result<Option<(TaskOwner, Loaded<Task>)>, CommandError> {
        let Some((owner, task)) = owned(work, &self.device, task).await? else {
            self.refuse(work, &not_owned(task)).await?;
            return Ok(None);
        };
        let present = match self.link {
            LinkKind::Recorder => owner.recorder_epoch,
            LinkKind::Transfer => owner.transfer_epoch,
        };
        if present != Some(self.epoch) {
            self.refuse(work, REPLACED).await?;
            return Ok(None);
        }
        Ok(Some((owner, task)))
    }

    /// When the uploader connected, if its link is the present one. Refused where not.
    pub(super) async fn uploader_since(&self, work: &mut Work) -> Result<Option<Option<Timestamp>>, CommandError> {
        match facts::transfer_link(&mut work.tx, &self.device).await? {
            Some((epoch, since)) if epoch == self.epoch => Ok(Some(since)),
            _ => {
                self.refuse(work, REPLACED).await?;
                Ok(None)
            }
        }
    }

    pub(super) async fn refuse(&self, work: &mut Work, reason: &str) -> Result<(), CommandError> {
        note_refused(work, Some(&self.device), self.report.message(), reason).await
    }
}

pub(in crate::commands) fn not_owned(task: &PublicTaskId) -> String {
    format!("the task {task} does not exist or belongs to another device")
}

pub(in crate::commands) async fn owned(
    work: &mut Work,
    device: &DeviceId,
    task: &PublicTaskId,
) -> Result<Option<(TaskOwner, Loaded<Task>)>, CommandError> {
    Ok(facts::task_of(&mut work.tx, task).await?.filter(|(owner, _)| owner.device_id == *device))
}

/// Records on the device's own stream that something it said was not accepted. Devices that
/// were never registered leave no trace here: any caller could invent them.
pub(in crate::commands) async fn note_refused(
    work: &mut Work,
    device: Option<&DeviceId>,
    report: &str,
    reason: &str,
) -> Result<(), CommandError> {
    let Some(device) = device else { return Ok(()) };
    if !facts::robot_exists(&mut work.tx, device).await? {
        return Ok(());
    }
    let mut stream = work.load::<Device>(device).await?;
    let command = DeviceCommand::RefuseReport { report: report.to_owned(), reason: reason.to_owned() };
    work.decide(&mut stream, command)?;
    Ok(())
}
