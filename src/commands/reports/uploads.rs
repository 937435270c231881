//! What uploaders tell: what became of the files of tasks.

use super::told::{DeviceReport, owned};
use crate::commands::production::{EndedTask, Production};
use crate::commands::{CommandError, Work};
use crate::domain::report::{Report, UploadList};
use crate::domain::tally::TaskOutcome;
use crate::domain::task::{Task, TaskCommand, TaskEvent, TaskStatus, UploadReport, Witness};
use crate::domain::{Aggregate as _, DeviceId, PublicTaskId};
use crate::eventstore::Loaded;
use crate::projections::facts;

pub(super) async fn started(told: &DeviceReport, work: &mut Work, task: &PublicTaskId) -> Result<(), CommandError> {
    let Some((_, mut task)) = told.task(work, task).await? else { return Ok(()) };
    let command = TaskCommand::FinishRecording { by: Witness::UploadStarted, at: work.now, report: None };
    work.decide(&mut task, command)?;
    Ok(())
}

pub(super) async fn completed(
    told: &DeviceReport,
    work: &mut Work,
    task_id: &PublicTaskId,
    upload: &UploadReport,
    by: Witness,
) -> Result<(), CommandError> {
    let Some((_, mut task)) = told.task(work, task_id).await? else { return Ok(()) };
    if let Err(reason) = check_object_key(&upload.object_key, &told.device, task_id) {
        return told.refuse(work, &reason).await;
    }
    work.decide(&mut task, TaskCommand::ReportUpload { by, report: upload.clone(), at: work.now })?;
    Ok(())
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

/// The task will get no upload. `file`: what the uploader keeps of it.
pub(super) async fn fail(
    told: &DeviceReport,
    work: &mut Work,
    task: &PublicTaskId,
    reason: &str,
    file: Option<String>,
) -> Result<(), CommandError> {
    let Some((owner, mut task)) = told.task(work, task).await? else { return Ok(()) };
    let has_failed = |task: &Loaded<Task>| task.state.dispatched().is_some_and(|task| task.stage.status() == TaskStatus::Failed);
    let failed_before = has_failed(&task);
    let command = TaskCommand::FailUpload { reason: reason.to_owned(), file, at: work.now };
    work.decide(&mut task, command)?;
    if has_failed(&task) && !failed_before {
        let Some(failed) = task.state.dispatched() else { return Ok(()) };
        let order_id = failed.brief.order_id;
        let ended = EndedTask { task_id: owner.task_id, batch_id: failed.brief.batch_id, replaced: failed.replaced_by.is_some() };
        let mut production = Production::lock(work, order_id).await?;
        production.settle(work, ended, TaskOutcome::Failed).await?;
        production.finish(work).await?;
    }
    Ok(())
}

pub(super) async fn ack_wanted(told: &DeviceReport, work: &mut Work, task: &PublicTaskId) -> Result<(), CommandError> {
    let Some((_, mut task)) = told.task(work, task).await? else { return Ok(()) };
    work.decide(&mut task, TaskCommand::RequestAck { by: Witness::TransferStatus })?;
    Ok(())
}

/// The uploader told all it knows; what it should upload and does not know is asked for again. Answers what it has
/// given up and the server does not know of, what is lost for good, and what it is to be asked for after that.
pub(super) async fn reconcile(told: &DeviceReport, work: &mut Work, list: &UploadList) -> Result<Vec<Report>, CommandError> {
    let Some(connected_at) = told.uploader_since(work).await? else { return Ok(vec![]) };
    let at = work.now;
    let (mut failed, mut lost) = (vec![], vec![]);
    for public_id in facts::uploading_tasks(&mut work.tx, &told.device).await? {
        failed.extend(list.failed.iter().find(|(task, _)| *task == public_id).cloned());
        if list.tracked.contains(&public_id) {
            continue;
        }
        let Some((_, mut task)) = owned(work, &told.device, &public_id).await? else { continue };
        let missing =
            list.missing.iter().find(|(task, _)| *task == public_id).map(|(task, detail)| (task.clone(), missing_file(task, detail)));
        let command = match &missing {
            Some((_, detail)) => {
                let recorder_is_without = facts::recorder_is_without(&mut work.tx, &told.device, &public_id).await?;
                TaskCommand::MissFile { detail: detail.clone(), at, recorder_is_without }
            }
            None => TaskCommand::RequestUpload { by: Witness::TransferStatus, at, connected_at },
        };
        if reopens_in_vain(work, &task, &command).await? {
            lost.extend(missing);
            continue;
        }
        work.decide(&mut task, command)?;
    }
    // It says so once, when it begins, and that may have been lost. A robot that recorded the task now would write over
    // the file that is being uploaded.
    for public_id in facts::unrecorded_tasks(&mut work.tx, &told.device, &list.under_way).await? {
        let Some((_, mut task)) = owned(work, &told.device, &public_id).await? else { continue };
        let command = TaskCommand::FinishRecording { by: Witness::TransferStatus, at, report: None };
        work.decide(&mut task, command)?;
    }
    // What it found again has a second record, and is on its way.
    let kept: Vec<PublicTaskId> = list.failed.iter().map(|(task, _)| task).filter(|task| !list.under_way.contains(task)).cloned().collect();
    let failed = failed.into_iter().map(|(task, reason)| Report::UploadFailed { task, reason });
    let lost = lost.into_iter().map(|(task, reason)| Report::RecordingLost { task, reason });
    let kept = (!kept.is_empty()).then_some(Report::UploadsGivenUp { tasks: kept });
    Ok(failed.chain(lost).chain(kept).collect())
}

/// An uploader says the same where the recording is missing and where only its sidecar is: both have to be there.
fn missing_file(task: &PublicTaskId, detail: &str) -> String {
    if detail.starts_with("No MCAP file matching") {
        format!("{detail}: there is no {task}.mcap, or its sidecar {task}.json is missing or older than it")
    } else {
        detail.to_owned()
    }
}

/// The uploader is asked for what it still has of what it has given up: once given up, it is never tried again by itself,
/// because the state that the program keeps says so for ever.
pub(super) async fn request_given_up(told: &DeviceReport, work: &mut Work, tasks: &[PublicTaskId]) -> Result<(), CommandError> {
    let Some(connected_at) = told.uploader_since(work).await? else { return Ok(()) };
    let at = work.now;
    for public_id in facts::failed_tasks(&mut work.tx, &told.device, tasks).await? {
        let Some((_, mut task)) = owned(work, &told.device, &public_id).await? else { continue };
        let command = TaskCommand::RequestGivenUp { by: Witness::TransferStatus, at, connected_at };
        work.decide(&mut task, command)?;
    }
    Ok(())
}

/// Whether a report would turn an upload into work to be done again while its batch, which is over, has no more
/// of that: what is recorded still is kept as the upload it will be, and what has no file is lost.
pub(super) async fn reopens_in_vain(work: &mut Work, task: &Loaded<Task>, command: &TaskCommand) -> Result<bool, CommandError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_found_may_be_the_sidecar() {
        let task = PublicTaskId::parse("task-1").unwrap();
        let said = missing_file(&task, "No MCAP file matching task-1 in /data");
        assert!(said.starts_with("No MCAP file matching task-1 in /data: ") && said.contains("sidecar task-1.json"), "{said}");
        assert_eq!(missing_file(&task, "ACK for unknown task_id"), "ACK for unknown task_id");
    }

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
