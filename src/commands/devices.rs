//! The links of devices, and what is asked of their recorders. What they tell is in `reports`.

use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::production::next_command;
use super::reports::owned;
use super::requests::LateAnswer;
use super::{Command, CommandError, Refusal, Work};
use crate::domain::device::{CommandOutcome, Device, DeviceCommand, DeviceRefusal, LinkKind, OpenCommand, RecorderAction, UnknownCause};
use crate::domain::recorder::{Sight, configuration_sha256, task_fits};
use crate::domain::task::{TaskCommand, Witness, without_the_task};
use crate::domain::{DeviceId, PublicTaskId, RefusalCode};
use crate::projections::facts;
use crate::projections::rows::device::told;

/// A socket was opened; it replaces the one before it.
#[derive(Clone, Debug)]
pub struct OpenLink {
    pub device: DeviceId,
    pub kind: LinkKind,
    pub remote: String,
    /// Which of our processes took it.
    pub process: Option<Uuid>,
}

impl Command for OpenLink {
    /// The epoch of the new connection.
    type Answer = i64;
    const NAME: &'static str = "open_link";

    async fn run(&self, work: &mut Work) -> Result<i64, CommandError> {
        if !facts::robot_exists(&mut work.tx, &self.device).await? {
            return Err(Refusal::new(RefusalCode::DeviceNotFound, format!("no robot has the device_id {}", self.device)).into());
        }
        let mut device = work.load::<Device>(&self.device).await?;
        let command = DeviceCommand::OpenLink { kind: self.kind, remote: self.remote.clone(), process: self.process, at: work.now };
        work.decide(&mut device, command)?;
        Ok(device.state.link(self.kind).epoch)
    }
}

/// The same for a program that waits for its handshake. Where it has left, or was told that it takes too long, nothing
/// is opened: it would take the place of the connection with which it has come back since.
#[derive(Clone, Debug)]
pub struct OpenLinkInTime {
    pub link: OpenLink,
    pub gone: CancellationToken,
}

impl OpenLinkInTime {
    fn still_wanted(&self) -> Result<(), Refusal> {
        if self.gone.is_cancelled() {
            return Err(Refusal::new(
                RefusalCode::HandshakeOver,
                "the program that asked for the connection does not wait for it any more",
            ));
        }
        Ok(())
    }
}

impl Command for OpenLinkInTime {
    type Answer = i64;
    const NAME: &'static str = "open_link";

    async fn run(&self, work: &mut Work) -> Result<i64, CommandError> {
        self.still_wanted()?;
        let epoch = self.link.run(work).await?;
        self.still_wanted()?;
        Ok(epoch)
    }
}

/// No task sees to a link any more, nor to what was asked over it.
#[derive(Clone, Debug)]
pub struct CloseOrphanedLink {
    pub device: DeviceId,
    pub kind: LinkKind,
    pub epoch: i64,
    pub orphan: Orphan,
}

/// Why none does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphan {
    /// The process that held its socket is gone, and the socket with it.
    ProcessEnded,
    /// Its process lives, and has no socket of it: the handshake came to nothing after it was stored, or its end was lost.
    NoSocket,
}

impl Command for CloseOrphanedLink {
    type Answer = ();
    const NAME: &'static str = "close_orphaned_link";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut device = work.load::<Device>(&self.device).await?;
        let (cause, reason) = match self.orphan {
            Orphan::ProcessEnded => (UnknownCause::ProcessEnded, "the process that held it ended"),
            Orphan::NoSocket => (UnknownCause::LinkClosed, "its process has no socket of it"),
        };
        let (kind, epoch, reason) = (self.kind, self.epoch, reason.to_owned());
        work.decide(&mut device, DeviceCommand::CloseLink { kind, epoch, reason, settle: Some(cause) })?;
        Ok(())
    }
}

/// No second program with the device's id has been heard of for a while.
#[derive(Clone, Debug)]
pub struct EndContest {
    pub device: DeviceId,
    pub kind: LinkKind,
}

impl Command for EndContest {
    type Answer = ();
    const NAME: &'static str = "end_contest";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut device = work.load::<Device>(&self.device).await?;
        work.decide(&mut device, DeviceCommand::EndContest { kind: self.kind, at: work.now })?;
        Ok(())
    }
}

/// Asks something of a recorder; it is sent from the outbox through the present connection.
#[derive(Clone, Debug)]
pub struct RequestDeviceCommand {
    /// Names it, also on the wire.
    pub command_id: String,
    pub device: DeviceId,
    pub action: RecorderAction,
    pub task: Option<PublicTaskId>,
    /// What it is configured with, where it is. It names a person, and so it goes beside the log.
    pub config: Option<Value>,
    pub timeout: Duration,
    /// The recorder says at this moment that it holds no task of ours.
    pub holds_none: bool,
    /// What it says at this moment, where a person asks: then recorder and task must be where the action wants them.
    pub sight: Option<Sight>,
    /// The caller may be gone when it is sent: their right is looked at again then.
    pub asynchronous: bool,
    /// The process in which the caller waits.
    pub waited_by: Option<Uuid>,
}

impl RequestDeviceCommand {
    /// Whether the task is where the action wants it.
    async fn task_fits(&self, work: &mut Work) -> Result<Result<(), Refusal>, CommandError> {
        let gated = self.sight.is_some() && matches!(self.action, RecorderAction::Config | RecorderAction::Begin);
        let Some(task) = self.task.as_ref().filter(|_| gated) else { return Ok(Ok(())) };
        let task = owned(work, &self.device, task).await?;
        let status = task.and_then(|(_, task)| task.state.dispatched().map(|task| task.stage.status()));
        Ok(task_fits(self.action, status).map_err(Refusal::from))
    }
}

impl Command for RequestDeviceCommand {
    /// The command's id: where the request came with an `Idempotency-Key`, that of the first one.
    type Answer = String;
    const NAME: &'static str = "request_device_command";

    async fn run(&self, work: &mut Work) -> Result<String, CommandError> {
        if !work.sees_device(&self.device).await? {
            return Err(Refusal::from(DeviceRefusal::RecorderNotConnected).into());
        }
        let mut device = work.load::<Device>(&self.device).await?;
        let command_id = self.command_id.clone();
        let command = DeviceCommand::RequestCommand {
            command_id: command_id.clone(),
            action: self.action,
            task_id: self.task.clone(),
            deadline: work.now + self.timeout,
            holds_none: self.holds_none,
            sight: self.sight.clone(),
            asynchronous: self.asynchronous,
            config_sha256: self.config.as_ref().map(configuration_sha256),
        };
        let task_fits = self.task_fits(work).await?;
        // Of what does not fit in both, the contract names the task first where recording begins, and last before.
        if self.action == RecorderAction::Begin {
            task_fits.clone()?;
        }
        work.decide(&mut device, command)?;
        task_fits?;
        if let Some(config) = &self.config {
            work.keep_params(command_id.clone(), config.clone());
        }
        work.keep_request(command_id.clone(), self.device.clone(), self.waited_by);
        Ok(command_id)
    }
}

/// What came of a command to a recorder.
#[derive(Clone, Debug)]
pub struct SettleDeviceCommand {
    pub device: DeviceId,
    pub command_id: String,
    pub outcome: CommandOutcome,
}

impl Command for SettleDeviceCommand {
    type Answer = ();
    const NAME: &'static str = "settle_device_command";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut device = work.load::<Device>(&self.device).await?;
        let open = device.state.open_commands.get(&self.command_id).cloned();
        let command =
            DeviceCommand::SettleCommand { command_id: self.command_id.clone(), outcome: self.outcome.clone(), next: next_command(work) };
        let decided = work.decide(&mut device, command)?;
        if open.is_none() && decided > 0 {
            let (status, message, data) = told(&self.outcome);
            work.keep_late_answer(LateAnswer { id: self.command_id.clone(), status, message, data, at: work.now });
        }
        let Some(OpenCommand { action, task_id: Some(public_id), .. }) = open else { return Ok(()) };
        let succeeded = matches!(self.outcome, CommandOutcome::Succeeded { .. });
        // It was not dropped, as far as we know, and yet the recorder is seen without it: it ended by itself.
        let ended = !succeeded && drops(action) && device.state.observed.as_ref().is_some_and(|seen| !seen.holds(&public_id));
        if !succeeded && !ended {
            return Ok(());
        }
        let Some((_, mut task)) = owned(work, &self.device, &public_id).await? else { return Ok(()) };
        let (by, at) = (Witness::CommandReply, work.now);
        let command = match action {
            RecorderAction::Config => Some(TaskCommand::Configure { by, at }),
            RecorderAction::Begin => Some(TaskCommand::StartRecording { by, at, reported: None }),
            RecorderAction::Cancel | RecorderAction::Clear if succeeded => Some(TaskCommand::Abandon { by }),
            RecorderAction::Cancel | RecorderAction::Clear => {
                let status = task.state.dispatched().map(|task| task.stage.status());
                status.and_then(|status| without_the_task(status, false, false, at))
            }
            RecorderAction::Finish | RecorderAction::Pause | RecorderAction::Resume | RecorderAction::Quit => None,
        };
        if let Some(command) = command {
            work.decide(&mut task, command)?;
        }
        Ok(())
    }
}

/// Whether a recorder that does it has the task no more, nor a file of it.
pub(super) fn drops(action: RecorderAction) -> bool {
    matches!(action, RecorderAction::Cancel | RecorderAction::Clear)
}
