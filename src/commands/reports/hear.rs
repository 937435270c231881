//! Every kind of report, and what is done about it.

use std::collections::VecDeque;

use super::told::DeviceReport;
use super::{recorder, uploads};
use crate::commands::devices::SettleDeviceCommand;
use crate::commands::{Command, CommandError, Commands, Context, Work};
use crate::domain::device::{Device, DeviceCommand};
use crate::domain::report::Report;

impl Command for DeviceReport {
    /// What follows from it, each to be heard by itself.
    type Answer = Vec<Report>;
    const NAME: &'static str = "device_report";

    fn name(&self) -> &'static str {
        self.report.name()
    }

    async fn run(&self, work: &mut Work) -> Result<Vec<Report>, CommandError> {
        match &self.report {
            Report::Observed { state, task, source } => recorder::observe(self, work, (*state, task.as_ref()), source).await?,
            Report::ConfigApplied { task } => recorder::config_applied(self, work, task).await?,
            Report::Settled { command_id, outcome } | Report::AnsweredLate { command_id, outcome } => {
                let (device, command_id, outcome) = (self.device.clone(), command_id.clone(), outcome.clone());
                SettleDeviceCommand { device, command_id, outcome }.run(work).await?;
            }
            Report::UploadStarted { task } => uploads::started(self, work, task).await?,
            // Nothing is done about them together.
            Report::UploadsCompleted { .. } | Report::AcksWanted { .. } => return Ok(self.report.clone().apart()),
            Report::UploadCompleted { task, upload, witness } => uploads::completed(self, work, task, upload, *witness).await?,
            // Whatever its uploader did with it, it bears the task's name.
            Report::UploadFailed { task, reason } => uploads::fail(self, work, task, reason, Some(format!("{task}.mcap"))).await?,
            Report::RecordingLost { task, reason } => uploads::fail(self, work, task, reason, None).await?,
            Report::UploadNotFound { task, detail } => self.refuse(work, &format!("{task}: {detail}")).await?,
            Report::AckWanted { task } => uploads::ack_wanted(self, work, task).await?,
            Report::UploadsListed(list) => return uploads::reconcile(self, work, list).await,
            Report::UploadsGivenUp { tasks } => uploads::request_given_up(self, work, tasks).await?,
            Report::Closed { reason } => {
                let mut device = work.load::<Device>(&self.device).await?;
                let (kind, epoch, reason) = (self.link, self.epoch, reason.clone());
                work.decide(&mut device, DeviceCommand::CloseLink { kind, epoch, reason, settle: None })?;
            }
        }
        Ok(vec![])
    }
}

impl Commands {
    /// Takes what a device told, and what follows from it, one upload after the other. What one of them meets is not the
    /// affair of the others; but all of them come again where the database was away: those that were done change
    /// nothing then.
    pub async fn hear(&self, context: &Context, told: DeviceReport) -> Result<(), CommandError> {
        let DeviceReport { device, link, epoch, report } = told;
        let mut waiting = VecDeque::from(report.apart());
        let mut outcome = Ok(());
        while let Some(report) = waiting.pop_front() {
            match self.execute(context, DeviceReport { device: device.clone(), link, epoch, report }).await {
                Ok(following) => waiting.extend(following),
                Err(away @ (CommandError::Conflict | CommandError::Unavailable(_) | CommandError::Unfit(_))) => return Err(away),
                Err(error @ (CommandError::Refused(_) | CommandError::Failed(_))) => outcome = Err(error),
            }
        }
        outcome
    }
}
