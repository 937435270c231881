//! What an event changes.

use super::event::TaskEvent;
use super::state::{Awaited, Dispatched, KeptFile, Stage, Task};
use super::upload::{Upload, Verdict};

pub(super) fn evolve(task: &mut Task, event: &TaskEvent) {
    if let TaskEvent::TaskCreated(brief) = event {
        *task = Task::Dispatched(Box::new(Dispatched {
            brief: brief.clone(),
            stage: Stage::Pending,
            ready_at: None,
            started_at: None,
            upload: None,
            sequence: 1,
            noted: 0,
            refused_writes: vec![],
            word: None,
            replaced_by: None,
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
            task.enter(Stage::Pending);
            // It was about a recording that is none.
            task.word = None;
            task.ready_at = None;
            task.started_at = None;
        }
        TaskEvent::TaskConfigured { at, .. } => {
            task.enter(Stage::Ready);
            task.ready_at.get_or_insert(*at);
        }
        TaskEvent::RecordingStarted { at, .. } => {
            task.enter(Stage::InProgress);
            task.started_at.get_or_insert(*at);
        }
        TaskEvent::RecordingFinished { by, at, .. } => {
            task.enter(Stage::Uploading(Awaited { finished_by: Some(*by), requested_at: Some(*at), ..Awaited::default() }));
        }
        TaskEvent::UploadReported { report, .. } => {
            task.stage = Stage::Uploading(Awaited::default());
            task.upload = Some(Upload::waiting(report.clone(), task.sequence));
        }
        TaskEvent::UploadRequestedAgain { at, .. } => {
            if let Stage::Uploading(awaited) = &mut task.stage {
                awaited.requested_at = at.or(awaited.requested_at);
            }
        }
        TaskEvent::UploadFileMissing { detail, at } => {
            if let Stage::Uploading(awaited) = &mut task.stage {
                awaited.misses += 1;
                awaited.missed_at = Some(*at);
                awaited.missing = Some(detail.clone());
            }
        }
        TaskEvent::DeviceReportNoted { report, .. } => {
            task.noted += 1;
            if let Stage::Uploading(awaited) = &mut task.stage
                && report.saw_the_file()
            {
                awaited.finished_by = Some(*report);
            }
        }
        TaskEvent::OperatorWordGiven { word, replacement } => {
            task.word = Some(word.clone());
            task.replaced_by = replacement.or(task.replaced_by);
        }
        TaskEvent::ObjectWriteRefused(write) => task.refused_writes.push(write.clone()),
        TaskEvent::LateUploadReported { report, .. } => task.upload = Some(Upload::waiting(report.clone(), task.sequence)),
        TaskEvent::DamagedUploadWanted { report, reason } => {
            task.upload = Some(Upload { wanted: Some(reason.clone()), ..Upload::waiting(report.clone(), task.sequence) });
        }
        TaskEvent::UploadVerified { episode_id, at, .. } => {
            task.stage = Stage::Completed { at: *at };
            task.conclude(Verdict::Accepted(*episode_id));
        }
        TaskEvent::LateUploadVerified { episode_id, .. } => task.conclude(Verdict::Accepted(*episode_id)),
        TaskEvent::UploadRejected { rejection, .. } | TaskEvent::LateUploadRejected { rejection, .. } => {
            task.conclude(Verdict::Rejected(rejection.clone()));
        }
        TaskEvent::TaskCancelled { at } => task.enter(Stage::Cancelled { at: *at }),
        TaskEvent::TaskCompletedExternally { by, at } => {
            task.enter(Stage::CompletedExternally { by: *by, at: *at });
            task.started_at.get_or_insert(*at);
        }
        TaskEvent::UploadFailed { reason, file, at } => {
            let kept = file.clone().map(|file| KeptFile { file, requests: 0, requested_at: None });
            task.enter(Stage::Failed { reason: reason.clone(), at: *at, kept });
        }
        TaskEvent::FailedUploadRequested { at, .. } => {
            if let Stage::Failed { kept: Some(kept), .. } = &mut task.stage {
                kept.requests += 1;
                kept.requested_at = Some(*at);
            }
        }
        TaskEvent::TaskFailedByPerson { reason, at } => {
            // What was reported by then is verified to the end, and kept as what came late.
            task.stage = Stage::Failed { reason: reason.clone(), at: *at, kept: None };
        }
    }
}

impl Dispatched {
    /// Goes on, or back, or ends, without an upload: one that was given up is none any more.
    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.upload = None;
    }

    fn conclude(&mut self, verdict: Verdict) {
        if let Some(upload) = &mut self.upload {
            upload.verdict = Some(verdict);
        }
    }
}
