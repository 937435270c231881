//! What an event changes.

use super::event::TaskEvent;
use super::state::{Dispatched, KeptFile, Stage, Task};
use super::upload::{LateUpload, Upload};

pub(super) fn evolve(task: &mut Task, event: &TaskEvent) {
    if let TaskEvent::TaskCreated(brief) = event {
        *task = Task::Dispatched(Box::new(Dispatched {
            brief: brief.clone(),
            stage: Stage::Pending,
            ready_at: None,
            started_at: None,
            late: None,
            sequence: 1,
            noted: 0,
            refused_writes: vec![],
        }));
        return;
    }
    if let TaskEvent::TaskDeleted {} = event {
        *task = Task::Deleted;
        return;
    }
    // Nothing precedes `task_created` in a stream, and nothing follows `task_deleted`.
    let Task::Dispatched(task) = task else { return };
    task.sequence += 1;
    match event {
        TaskEvent::TaskCreated(_) | TaskEvent::TaskDeleted {} | TaskEvent::UploadAckRequested { .. } => {}
        TaskEvent::RecordingAbandoned { .. } => {
            task.stage = Stage::Pending;
            task.ready_at = None;
            task.started_at = None;
        }
        TaskEvent::TaskConfigured { at, .. } => {
            task.stage = Stage::Ready;
            task.ready_at.get_or_insert(*at);
        }
        TaskEvent::RecordingStarted { at, .. } => {
            task.stage = Stage::InProgress;
            task.started_at.get_or_insert(*at);
        }
        TaskEvent::RecordingFinished { by, at, .. } => {
            let upload = Upload { finished_by: Some(*by), requested_at: Some(*at), ..Upload::default() };
            task.stage = Stage::Uploading(upload);
        }
        TaskEvent::UploadReported { report, .. } => {
            let reported_in = task.sequence;
            task.stage = Stage::Uploading(Upload { report: Some(report.clone()), reported_in, ..Upload::default() });
        }
        TaskEvent::UploadRequestedAgain { at, .. } => {
            if let Stage::Uploading(upload) = &mut task.stage {
                upload.requested_at = at.or(upload.requested_at);
            }
        }
        TaskEvent::UploadFileMissing { detail, at } => {
            if let Stage::Uploading(upload) = &mut task.stage {
                upload.misses += 1;
                upload.missed_at = Some(*at);
                upload.missing = Some(detail.clone());
            }
        }
        TaskEvent::DeviceReportNoted { report, .. } => {
            task.noted += 1;
            if let Stage::Uploading(upload) = &mut task.stage
                && report.saw_the_file()
            {
                upload.finished_by = Some(*report);
            }
        }
        TaskEvent::ObjectWriteRefused(write) => task.refused_writes.push(write.clone()),
        TaskEvent::UploadVerified { verified, episode_id, at } => {
            task.stage = Stage::Completed { episode_id: *episode_id, at: *at, upload: verified.report.clone() };
        }
        TaskEvent::UploadRejected { rejection, .. } => {
            if let Stage::Uploading(upload) = &mut task.stage {
                upload.rejected = Some(rejection.clone());
            }
        }
        TaskEvent::LateUploadReported { report, .. } => {
            task.late = Some(LateUpload { report: report.clone(), reported_in: task.sequence, rejected: None, episode_id: None });
        }
        TaskEvent::LateUploadVerified { episode_id, .. } => {
            if let Some(late) = &mut task.late {
                (late.rejected, late.episode_id) = (None, Some(*episode_id));
            }
        }
        TaskEvent::LateUploadRejected { rejection, .. } => {
            if let Some(late) = &mut task.late {
                late.rejected = Some(rejection.clone());
            }
        }
        TaskEvent::TaskCancelled { at } => task.stage = Stage::Cancelled { at: *at },
        TaskEvent::TaskCompletedExternally { by, at } => {
            task.stage = Stage::CompletedExternally { by: *by, at: *at };
            task.started_at.get_or_insert(*at);
        }
        TaskEvent::UploadFailed { reason, file, at } => {
            let kept = file.clone().map(|file| KeptFile { file, requests: 0, requested_at: None });
            task.stage = Stage::Failed { reason: reason.clone(), at: *at, kept };
        }
        TaskEvent::FailedUploadRequested { at, .. } => {
            if let Stage::Failed { kept: Some(kept), .. } = &mut task.stage {
                kept.requests += 1;
                kept.requested_at = Some(*at);
            }
        }
        TaskEvent::TaskFailedByPerson { reason, at } => {
            // What was reported by then is verified to the end, and kept as what came late.
            if let Stage::Uploading(Upload { report: Some(report), reported_in, rejected, .. }) = &task.stage {
                let (reported_in, rejected) = (*reported_in, rejected.clone());
                task.late = Some(LateUpload { report: report.clone(), reported_in, rejected, episode_id: None });
            }
            task.stage = Stage::Failed { reason: reason.clone(), at: *at, kept: None };
        }
    }
}
