//! What recorders tell: which task they have.

use std::collections::BTreeSet;

use super::told::{DeviceReport, owned};
use super::uploads::reopens_in_vain;
use crate::commands::devices::drops;
use crate::commands::production::next_command;
use crate::commands::{CommandError, Work};
use crate::domain::PublicTaskId;
use crate::domain::device::{Device, DeviceCommand, Observed, RecorderState};
use crate::domain::task::{TaskCommand, Witness, with_the_task, without_the_task};
use crate::projections::facts;

pub(super) async fn observe(
    told: &DeviceReport,
    work: &mut Work,
    (state, task): (RecorderState, Option<&PublicTaskId>),
    source: &str,
) -> Result<(), CommandError> {
    let mut device = work.load::<Device>(&told.device).await?;
    let before = device.state.observed.clone();
    let unheard = device.state.begun_unheard.clone();
    let seen = Observed { epoch: told.epoch, state, task_id: task.cloned() };
    // Whether its link is the present one is decided by the device, which is here.
    let news = work.decide(&mut device, DeviceCommand::Observe { seen, source: source.to_owned(), next: next_command(work) })?;
    if news == 0 {
        return Ok(());
    }
    let at = work.now;
    let held = task.filter(|_| state != RecorderState::Idle);
    if let Some(public_id) = held
        && let Some((_, mut task)) = owned(work, &told.device, public_id).await?
        && let Some(command) = with_the_task(state, at)
        && !reopens_in_vain(work, &task, &command).await?
    {
        work.decide(&mut task, command)?;
    }
    // What it had and has no more: after a connection that is new, whatever it is believed to have.
    let gone = match before {
        None => facts::held_tasks(&mut work.tx, &told.device).await?,
        Some(before) => before.task_id.into_iter().chain(task.cloned()).collect(),
    };
    // What is dropped is this task, or another one: a recording that ended by itself meanwhile is a file.
    let is_dropped = |task: &PublicTaskId| {
        let open = device.state.open_commands.values();
        open.filter(|open| drops(open.action)).any(|open| open.task_id.as_ref() == Some(task))
    };
    let gone: BTreeSet<PublicTaskId> = gone.into_iter().filter(|task| Some(task) != held).collect();
    for public_id in gone {
        let Some((_, mut task)) = owned(work, &told.device, &public_id).await? else { continue };
        let status = task.state.dispatched().map(|task| task.stage.status());
        let (dropping, unheard) = (is_dropped(&public_id), unheard.as_ref() == Some(&public_id));
        if let Some(command) = status.and_then(|status| without_the_task(status, dropping, unheard, at)) {
            work.decide(&mut task, command)?;
        }
    }
    Ok(())
}

pub(super) async fn config_applied(told: &DeviceReport, work: &mut Work, task: &PublicTaskId) -> Result<(), CommandError> {
    let Some((_, mut task)) = told.task(work, task).await? else { return Ok(()) };
    let command = TaskCommand::Configure { by: Witness::ConfigApplied, at: work.now };
    work.decide(&mut task, command)?;
    Ok(())
}
