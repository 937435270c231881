//! What was learned from device sockets, and what is asked of devices.
//!
//! Every fact from a socket names the epoch of its connection. If that connection was
//! replaced meanwhile, nothing changes, and the device's stream says so.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::callbacks::note_refused;
use super::production::{Production, next_command};
use super::{Command, CommandError, Refusal, Work, chance};
use crate::domain::device::{
    CommandOutcome, Device, DeviceCommand, DeviceRefusal, LinkKind, Observed, OpenCommand, RecorderAction, RecorderState, UnknownCause,
};
use crate::domain::recorder::{Sight, task_fits};
use crate::domain::tally::TaskOutcome;
use crate::domain::task::{Task, TaskCommand, TaskEvent, TaskStatus, UploadReport, Witness, with_the_task, without_the_task};
use crate::domain::{Aggregate as _, DeviceId, PublicTaskId, RefusalCode};
use crate::eventstore::Loaded;
use crate::projections::facts::{self, TaskOwner};

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

/// A socket is gone. Says nothing about the recording.
#[derive(Clone, Debug)]
pub struct CloseLink {
    pub device: DeviceId,
    pub kind: LinkKind,
    pub epoch: i64,
    pub reason: String,
}

impl Command for CloseLink {
    type Answer = ();
    const NAME: &'static str = "close_link";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut device = work.load::<Device>(&self.device).await?;
        let command = DeviceCommand::CloseLink { kind: self.kind, epoch: self.epoch, reason: self.reason.clone(), settle: None };
        work.decide(&mut device, command)?;
        Ok(())
    }
}

/// Nobody sees to a link any more, nor to what was asked over it.
#[derive(Clone, Debug)]
pub struct CloseOrphanedLink {
    pub device: DeviceId,
    pub kind: LinkKind,
    pub epoch: i64,
    pub orphan: Orphan,
}

/// Why nobody does.
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

/// The recorder was seen in a state.
#[derive(Clone, Debug)]
pub struct ObserveRecorder {
    pub device: DeviceId,
    pub epoch: i64,
    pub state: RecorderState,
    pub task: Option<PublicTaskId>,
    /// `state_update`, `get_state`, `rpc_response:<action>`.
    pub source: String,
}

impl Command for ObserveRecorder {
    type Answer = ();
    const NAME: &'static str = "observe_recorder";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut device = work.load::<Device>(&self.device).await?;
        let before = device.state.observed.clone();
        let unheard = device.state.begun_unheard.clone();
        let seen = Observed { epoch: self.epoch, state: self.state, task_id: self.task.clone() };
        let news = work.decide(&mut device, DeviceCommand::Observe { seen, source: self.source.clone(), next: next_command(work) })?;
        if news == 0 {
            return Ok(());
        }
        let at = work.now;
        let held = self.task.as_ref().filter(|_| self.state != RecorderState::Idle);
        if let Some(public_id) = held
            && let Some((_, mut task)) = owned(work, &self.device, public_id).await?
            && let Some(command) = with_the_task(self.state, at)
            && !reopens_in_vain(work, &task, &command).await?
        {
            work.decide(&mut task, command)?;
        }
        // What it had and has no more: after a connection that is new, whatever it is believed to have.
        let gone = match before {
            None => facts::held_tasks(&mut work.tx, &self.device).await?,
            Some(before) => before.task_id.into_iter().chain(self.task.clone()).collect(),
        };
        // What is dropped is this task, or another one: a recording that ended by itself meanwhile is a file.
        let is_dropped = |task: &PublicTaskId| {
            let open = device.state.open_commands.values();
            open.filter(|open| drops(open.action)).any(|open| open.task_id.as_ref() == Some(task))
        };
        let gone: BTreeSet<PublicTaskId> = gone.into_iter().filter(|task| Some(task) != held).collect();
        for public_id in gone {
            let Some((_, mut task)) = owned(work, &self.device, &public_id).await? else { continue };
            let status = task.state.dispatched().map(|task| task.stage.status());
            let (dropping, unheard) = (is_dropped(&public_id), unheard.as_ref() == Some(&public_id));
            if let Some(command) = status.and_then(|status| without_the_task(status, dropping, unheard, at)) {
                work.decide(&mut task, command)?;
            }
        }
        Ok(())
    }
}

/// The recorder says that it stored a task's configuration.
#[derive(Clone, Debug)]
pub struct ConfigApplied {
    pub device: DeviceId,
    pub epoch: i64,
    pub task: PublicTaskId,
}

impl Command for ConfigApplied {
    type Answer = ();
    const NAME: &'static str = "config_applied";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let Some((owner, mut task)) = owned(work, &self.device, &self.task).await? else {
            return note_refused(work, Some(&self.device), "config_applied", &not_owned(&self.task)).await;
        };
        if owner.recorder_epoch != Some(self.epoch) {
            return note_refused(work, Some(&self.device), "config_applied", REPLACED).await;
        }
        let command = TaskCommand::Configure { by: Witness::ConfigApplied, at: work.now };
        work.decide(&mut task, command)?;
        Ok(())
    }
}

/// Asks something of a recorder; it is sent from the outbox through the present connection.
#[derive(Clone, Debug)]
pub struct RequestDeviceCommand {
    pub device: DeviceId,
    pub action: RecorderAction,
    pub task: Option<PublicTaskId>,
    pub params: Value,
    pub timeout: Duration,
    /// The recorder says at this moment that it holds no task of ours.
    pub holds_none: bool,
    /// What it says at this moment, where a person asks: then recorder and task must be where the action wants them.
    pub sight: Option<Sight>,
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
    /// The command's id, which is the request id on the wire.
    type Answer = String;
    const NAME: &'static str = "request_device_command";

    async fn run(&self, work: &mut Work) -> Result<String, CommandError> {
        if !work.sees_device(&self.device).await? {
            return Err(Refusal::from(DeviceRefusal::RecorderNotConnected).into());
        }
        let mut device = work.load::<Device>(&self.device).await?;
        let command_id = chance::id().to_string();
        let command = DeviceCommand::RequestCommand {
            command_id: command_id.clone(),
            action: self.action,
            task_id: self.task.clone(),
            params: self.params.clone(),
            deadline: work.now + self.timeout,
            holds_none: self.holds_none,
            sight: self.sight.clone(),
        };
        let task_fits = self.task_fits(work).await?;
        // Of what does not fit in both, the contract names the task first where recording begins, and last before.
        if self.action == RecorderAction::Begin {
            task_fits.clone()?;
        }
        work.decide(&mut device, command)?;
        task_fits?;
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

    fn tells(&self) -> Option<&str> {
        Some(&self.command_id)
    }

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut device = work.load::<Device>(&self.device).await?;
        let open = device.state.open_commands.get(&self.command_id).cloned();
        let command =
            DeviceCommand::SettleCommand { command_id: self.command_id.clone(), outcome: self.outcome.clone(), next: next_command(work) };
        work.decide(&mut device, command)?;
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
fn drops(action: RecorderAction) -> bool {
    matches!(action, RecorderAction::Cancel | RecorderAction::Clear)
}

/// The transfer program queued a task's files.
#[derive(Clone, Debug)]
pub struct UploadStarted {
    pub device: DeviceId,
    pub epoch: i64,
    pub task: PublicTaskId,
}

impl Command for UploadStarted {
    type Answer = ();
    const NAME: &'static str = "upload_started";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let Some((_, mut task)) = current(work, &self.device, self.epoch, &self.task, "upload_started").await? else {
            return Ok(());
        };
        let command = TaskCommand::FinishRecording { by: Witness::UploadStarted, at: work.now, report: None };
        work.decide(&mut task, command)?;
        Ok(())
    }
}

/// The transfer program says that a task's files are in the bucket.
#[derive(Clone, Debug)]
pub struct UploadCompleted {
    pub device: DeviceId,
    pub epoch: i64,
    pub task: PublicTaskId,
    pub report: UploadReport,
    pub witness: Witness,
}

impl Command for UploadCompleted {
    type Answer = ();
    const NAME: &'static str = "upload_completed";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let Some((_, mut task)) = current(work, &self.device, self.epoch, &self.task, "upload_complete").await? else {
            return Ok(());
        };
        if let Err(reason) = check_object_key(&self.report.object_key, &self.device, &self.task) {
            return note_refused(work, Some(&self.device), "upload_complete", &reason).await;
        }
        let command = TaskCommand::ReportUpload { by: self.witness, report: self.report.clone(), at: work.now };
        work.decide(&mut task, command)?;
        Ok(())
    }
}

/// `<factory>/<device>/<YYYY-MM-DD>/<task>.mcap`: a device may name only objects of its own task.
pub fn check_object_key(key: &str, device: &DeviceId, task: &PublicTaskId) -> Result<(), String> {
    let refuse = || Err(format!("the object key {key:?} is not <factory>/{device}/<YYYY-MM-DD>/{task}.mcap"));
    let segments: Vec<&str> = key.split('/').collect();
    let [factory, folder, date, file] = segments.as_slice() else { return refuse() };
    let harmless =
        !factory.is_empty() && key.len() <= 1024 && !matches!(*factory, "." | "..") && !key.chars().any(|c| c.is_control() || c == '\\');
    let dated = date.len() == 10 && chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d").is_ok();
    if harmless && dated && *folder == device.as_str() && *file == format!("{task}.mcap") { Ok(()) } else { refuse() }
}

/// The transfer program gave up.
#[derive(Clone, Debug)]
pub struct UploadFailed {
    pub device: DeviceId,
    pub epoch: i64,
    pub task: PublicTaskId,
    pub reason: String,
}

impl Command for UploadFailed {
    type Answer = ();
    const NAME: &'static str = "upload_failed";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        // Whatever its uploader did with it, it bears the task's name.
        let file = format!("{}.mcap", self.task);
        fail_upload(work, (&self.device, self.epoch), &self.task, &self.reason, Some(file)).await
    }
}

/// There is no recording of the task, and it cannot be recorded again.
#[derive(Clone, Debug)]
pub struct RecordingLost {
    pub device: DeviceId,
    pub epoch: i64,
    pub task: PublicTaskId,
    pub reason: String,
}

impl Command for RecordingLost {
    type Answer = ();
    const NAME: &'static str = "recording_lost";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        fail_upload(work, (&self.device, self.epoch), &self.task, &self.reason, None).await
    }
}

async fn fail_upload(
    work: &mut Work,
    (device, epoch): (&DeviceId, i64),
    task: &PublicTaskId,
    reason: &str,
    file: Option<String>,
) -> Result<(), CommandError> {
    let Some((owner, mut task)) = current(work, device, epoch, task, "upload_failed").await? else { return Ok(()) };
    let has_failed = |task: &Loaded<Task>| task.state.dispatched().is_some_and(|task| task.stage.status() == TaskStatus::Failed);
    let failed_before = has_failed(&task);
    let command = TaskCommand::FailUpload { reason: reason.to_owned(), file, at: work.now };
    work.decide(&mut task, command)?;
    if has_failed(&task) && !failed_before {
        let brief = task.state.dispatched().map(|task| (task.brief.order_id, task.brief.batch_id));
        let Some((order_id, batch_id)) = brief else { return Ok(()) };
        let mut production = Production::lock(work, order_id).await?;
        production.settle(work, (owner.task_id, batch_id), TaskOutcome::Failed).await?;
        production.finish(work).await?;
    }
    Ok(())
}

/// The transfer program does not find a task's file, has it already, or never had it: its one
/// message has four meanings, so it is recorded and proves nothing.
#[derive(Clone, Debug)]
pub struct UploadNotFound {
    pub device: DeviceId,
    pub epoch: i64,
    pub task: PublicTaskId,
    pub detail: String,
}

impl Command for UploadNotFound {
    type Answer = ();
    const NAME: &'static str = "upload_not_found";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        note_refused(work, Some(&self.device), "upload_not_found", &format!("{}: {}", self.task, self.detail)).await
    }
}

/// The device waits for an ack.
#[derive(Clone, Debug)]
pub struct AckWanted {
    pub device: DeviceId,
    pub epoch: i64,
    pub task: PublicTaskId,
}

impl Command for AckWanted {
    type Answer = ();
    const NAME: &'static str = "ack_wanted";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let Some((_, mut task)) = current(work, &self.device, self.epoch, &self.task, "waiting_ack").await? else {
            return Ok(());
        };
        work.decide(&mut task, TaskCommand::RequestAck { by: Witness::TransferStatus })?;
        Ok(())
    }
}

/// The transfer program told all it knows; what it should upload and does not know is asked for again. Answers
/// what it has given up and nobody here knows of, or has lost for good.
#[derive(Clone, Debug)]
pub struct ReconcileUploads {
    pub device: DeviceId,
    pub epoch: i64,
    /// Tasks in its list of uploads, in any state.
    pub tracked: Vec<PublicTaskId>,
    /// Tasks whose files it said it does not find, and why; none of them is in its list either.
    pub missing: Vec<(PublicTaskId, String)>,
    /// Tasks in its list whose uploads it has given up, and why.
    pub failed: Vec<(PublicTaskId, String)>,
    /// Tasks in its list that it is uploading, or will.
    pub under_way: Vec<PublicTaskId>,
}

/// What is to be failed after a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// The uploader gave it up, and keeps the file.
    pub failed: Vec<(PublicTaskId, String)>,
    /// There is no file, and nothing can be recorded any more.
    pub lost: Vec<(PublicTaskId, String)>,
}

impl Command for ReconcileUploads {
    type Answer = GivenUp;
    const NAME: &'static str = "reconcile_uploads";

    async fn run(&self, work: &mut Work) -> Result<Self::Answer, CommandError> {
        let connected_at = match facts::transfer_link(&mut work.tx, &self.device).await? {
            Some((epoch, since)) if epoch == self.epoch => since,
            _ => {
                note_refused(work, Some(&self.device), "status", REPLACED).await?;
                return Ok(GivenUp::default());
            }
        };
        let at = work.now;
        let mut given_up = GivenUp::default();
        for public_id in facts::uploading_tasks(&mut work.tx, &self.device).await? {
            given_up.failed.extend(self.failed.iter().find(|(task, _)| *task == public_id).cloned());
            if self.tracked.contains(&public_id) {
                continue;
            }
            let Some((_, mut task)) = owned(work, &self.device, &public_id).await? else { continue };
            let missing = self.missing.iter().find(|(task, _)| *task == public_id);
            let command = match missing {
                Some((_, detail)) => {
                    let recorder_is_without = facts::recorder_is_without(&mut work.tx, &self.device, &public_id).await?;
                    TaskCommand::MissFile { detail: detail.clone(), at, recorder_is_without }
                }
                None => TaskCommand::RequestUpload { by: Witness::TransferStatus, at, connected_at },
            };
            if reopens_in_vain(work, &task, &command).await? {
                given_up.lost.extend(missing.cloned());
                continue;
            }
            work.decide(&mut task, command)?;
        }
        // It says so once, when it begins, and that may have been lost. Whoever recorded the task now would write over
        // the file that is being uploaded.
        for public_id in facts::unrecorded_tasks(&mut work.tx, &self.device, &self.under_way).await? {
            let Some((_, mut task)) = owned(work, &self.device, &public_id).await? else { continue };
            let command = TaskCommand::FinishRecording { by: Witness::TransferStatus, at, report: None };
            work.decide(&mut task, command)?;
        }
        Ok(given_up)
    }
}

/// The transfer program told of uploads that it has given up. It is asked for what it still has of them: once given up, it
/// is never tried again by itself, because the state that the program keeps says so for ever. Comes after whatever
/// the same list made fail.
#[derive(Clone, Debug)]
pub struct RequestGivenUp {
    pub device: DeviceId,
    pub epoch: i64,
    pub tasks: Vec<PublicTaskId>,
}

impl Command for RequestGivenUp {
    type Answer = ();
    const NAME: &'static str = "request_given_up";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let connected_at = match facts::transfer_link(&mut work.tx, &self.device).await? {
            Some((epoch, since)) if epoch == self.epoch => since,
            _ => return Ok(()),
        };
        let at = work.now;
        for public_id in facts::failed_tasks(&mut work.tx, &self.device, &self.tasks).await? {
            let Some((_, mut task)) = owned(work, &self.device, &public_id).await? else { continue };
            let command = TaskCommand::RequestGivenUp { by: Witness::TransferStatus, at, connected_at };
            work.decide(&mut task, command)?;
        }
        Ok(())
    }
}

const REPLACED: &str = "it came over a connection that has been replaced";

fn not_owned(task: &PublicTaskId) -> String {
    format!("the task {task} does not exist or belongs to another device")
}

async fn owned(work: &mut Work, device: &DeviceId, task: &PublicTaskId) -> Result<Option<(TaskOwner, Loaded<Task>)>, CommandError> {
    Ok(facts::task_of(&mut work.tx, task).await?.filter(|(owner, _)| owner.device_id == *device))
}

/// Whether a report would turn an upload into work to be done again while its batch, which is over, has no more
/// of that: what is recorded still is kept as the upload it will be, and what has no file is lost.
async fn reopens_in_vain(work: &mut Work, task: &Loaded<Task>, command: &TaskCommand) -> Result<bool, CommandError> {
    let Some(upload) = task.state.dispatched().filter(|task| task.stage.status() == TaskStatus::Uploading) else {
        return Ok(false);
    };
    let reopens = |event: &TaskEvent| matches!(event, TaskEvent::RecordingStarted { .. } | TaskEvent::RecordingAbandoned { .. });
    if !task.state.decide(command.clone()).is_ok_and(|events| events.iter().any(reopens)) {
        return Ok(false);
    }
    let batch_id = upload.brief.batch_id;
    let production = Production::lock_batch(work, batch_id).await?;
    Ok(!production.batch(batch_id)?.status.is_open())
}

/// The task, if it is the device's and the message came over its present transfer connection.
async fn current(
    work: &mut Work,
    device: &DeviceId,
    epoch: i64,
    task: &PublicTaskId,
    report: &str,
) -> Result<Option<(TaskOwner, Loaded<Task>)>, CommandError> {
    match owned(work, device, task).await? {
        None => {
            note_refused(work, Some(device), report, &not_owned(task)).await?;
            Ok(None)
        }
        Some((owner, _)) if owner.transfer_epoch != Some(epoch) => {
            note_refused(work, Some(device), report, REPLACED).await?;
            Ok(None)
        }
        found => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_can_name_only_objects_of_its_own_task() {
        let device = DeviceId::parse("AB-F0001-T0003-000001").unwrap();
        let task = PublicTaskId::parse("task-1").unwrap();
        let ok = |key: &str| check_object_key(key, &device, &task).is_ok();
        assert!(ok("1/AB-F0001-T0003-000001/2026-11-20/task-1.mcap"));
        assert!(ok("工厂 Shanghai/AB-F0001-T0003-000001/2026-11-20/task-1.mcap"));
        for bad in [
            "1/AB-F0001-T0003-000002/2026-11-20/task-1.mcap",
            "1/AB-F0001-T0003-000001/2026-11-20/task-2.mcap",
            "1/AB-F0001-T0003-000001/2026-13-20/task-1.mcap",
            "1/AB-F0001-T0003-000001/2026-11-20/task-1.json",
            "../AB-F0001-T0003-000001/2026-11-20/task-1.mcap",
            "1/x/../AB-F0001-T0003-000001/2026-11-20/task-1.mcap",
            "/AB-F0001-T0003-000001/2026-11-20/task-1.mcap",
            "",
        ] {
            assert!(!ok(bad), "{bad:?}");
        }
    }
}
