//! What follows from a command: every stage with every command.

use super::command::TaskCommand;
use super::event::TaskEvent;
use super::refusal::TaskRefusal;
use super::state::{Dispatched, Stage, Task};
use super::upload::{LateUpload, may_be_mended, retry_worthwhile};
use super::witness::{Disposition, Witness};

/// Different writes that are recorded of one task. A robot repeats the same one; what makes up new ones is not heard.
pub(super) const REFUSED_WRITES_MAX: usize = 10;

/// Reports that change nothing are recorded so often. A device says a thing once or twice; whoever says it more often
/// does not make the stream longer, which is read whenever the task is.
const NOTED_MAX: u32 = 50;

/// How often an uploader is asked for what it gave up, each time on a later connection: the request may be lost with one,
/// and what is given up a second time is blocked for good.
const GIVEN_UP_REQUESTS_MAX: u32 = 3;

/// The least time between two requests for the same upload on one connection, and between two misses that count.
const REQUEST_PAUSE: chrono::TimeDelta = chrono::TimeDelta::seconds(30);

/// A file that is not there twice is not there: the first time it may just not have been closed.
const MISSES_MAX: u32 = 2;

pub(super) fn decide(task: &Task, command: TaskCommand) -> Result<Vec<TaskEvent>, TaskRefusal> {
    use Disposition::{Late, Repeated};
    use Stage as S;
    use TaskCommand as C;
    let (task, command) = match (task, command) {
        (Task::Absent, C::Create(brief)) => return Ok(vec![TaskEvent::TaskCreated(brief)]),
        (Task::Absent, _) | (Task::Deleted, _) => return Err(TaskRefusal::NoSuchTask),
        (Task::Dispatched(_), C::Create(_)) => return Err(TaskRefusal::AlreadyCreated),
        (Task::Dispatched(task), command) => (task, command),
    };
    let Dispatched { stage, late, noted: times_noted, refused_writes, .. } = task.as_ref();
    let events = match (stage, command) {
        (_, C::Create(_)) => return Err(TaskRefusal::AlreadyCreated),

        (S::Pending, C::Configure { by, at }) => vec![TaskEvent::TaskConfigured { by, at }],
        (S::Ready, C::Configure { by, .. }) => noted(by, Repeated, stage),
        (_, C::Configure { by, .. }) => noted(by, Late, stage),

        // Anybody can post one, and no recorder records what nobody configured. The frames of a recorder
        // and of an uploader come over a connection of theirs.
        (S::Pending, C::StartRecording { by, .. } | C::FinishRecording { by, .. }) if by.is_callback() => noted(by, Late, stage),

        (S::Pending | S::Ready, C::StartRecording { by, at, reported }) => vec![TaskEvent::RecordingStarted { by, at, reported }],
        (S::InProgress, C::StartRecording { by, .. }) => noted(by, Repeated, stage),
        // It was taken for finished because a recorder was seen without it; the recorder still has it.
        (S::Uploading(upload), C::StartRecording { by: by @ Witness::Snapshot, at, reported })
            if upload.report.is_none() && upload.finished_by == Some(Witness::Snapshot) =>
        {
            vec![TaskEvent::RecordingStarted { by, at, reported }]
        }
        (_, C::StartRecording { by, .. }) => noted(by, Late, stage),

        (S::Pending | S::Ready | S::InProgress, C::FinishRecording { by, at, report }) => {
            vec![TaskEvent::RecordingFinished { by, at, report }]
        }
        (S::Uploading(_) | S::Completed { .. }, C::FinishRecording { by, .. }) => noted(by, Repeated, stage),
        (S::CompletedExternally { .. } | S::Failed { .. } | S::Cancelled { .. }, C::FinishRecording { by, .. }) => noted(by, Late, stage),

        (S::Pending | S::Ready | S::InProgress, C::ReportUpload { by, report, at }) => {
            vec![TaskEvent::RecordingFinished { by, at, report: None }, TaskEvent::UploadReported { by, report }]
        }
        // The same report while it is being verified, or after it was rejected, is no news.
        (S::Uploading(upload), C::ReportUpload { report, .. }) if upload.report.as_ref() == Some(&report) && !retry_worthwhile(upload) => {
            vec![]
        }
        (S::Uploading(_), C::ReportUpload { by, report, .. }) => vec![TaskEvent::UploadReported { by, report }],
        // The device asks again because it did not get the ack.
        (S::Completed { upload, .. }, C::ReportUpload { by, report, .. }) if *upload == report => {
            vec![TaskEvent::UploadAckRequested { by }]
        }
        (S::Completed { .. }, C::ReportUpload { by, .. }) => noted(by, Late, stage),
        // The device has a recording, and waits for an ack for ever: it is verified like any other.
        (S::CompletedExternally { .. } | S::Failed { .. } | S::Cancelled { .. }, C::ReportUpload { by, report, .. }) => match late {
            Some(LateUpload { report: known, episode_id: Some(_), .. }) if *known == report => {
                vec![TaskEvent::UploadAckRequested { by }]
            }
            Some(LateUpload { episode_id: Some(_), .. }) => noted(by, Late, stage),
            Some(known) if known.report == report && !known.rejected.as_ref().is_some_and(may_be_mended) => vec![],
            _ => vec![TaskEvent::LateUploadReported { by, report }],
        },

        (S::Uploading(upload), C::AcceptUpload { reported_in, verified, episode_id, at }) => match &upload.report {
            None => return Err(TaskRefusal::NothingToVerify),
            // Once a verdict was given, the object may be replaced: what was read before says nothing of it.
            Some(report) if *report != verified.report || upload.reported_in != reported_in || upload.rejected.is_some() => {
                return Err(TaskRefusal::OtherUpload);
            }
            Some(_) => vec![TaskEvent::UploadVerified { verified, episode_id, at }],
        },
        // Verified twice because a worker died between commit and settling: nothing more to do.
        (S::Completed { upload, .. }, C::AcceptUpload { verified, .. }) if *upload == verified.report => vec![],
        (
            S::CompletedExternally { .. } | S::Failed { .. } | S::Cancelled { .. },
            C::AcceptUpload { reported_in, verified, episode_id, at },
        ) => match late {
            Some(known) if known.report == verified.report && known.episode_id.is_some() => vec![],
            Some(known) if known.reported_in == reported_in && known.report == verified.report && known.rejected.is_none() => {
                vec![TaskEvent::LateUploadVerified { verified, episode_id, at }]
            }
            Some(_) => return Err(TaskRefusal::OtherUpload),
            None => return Err(TaskRefusal::Ended(stage.status())),
        },
        (S::Completed { .. }, C::AcceptUpload { .. }) => return Err(TaskRefusal::Ended(stage.status())),
        (S::Pending | S::Ready | S::InProgress, C::AcceptUpload { .. } | C::RejectUpload { .. }) => {
            return Err(TaskRefusal::NothingToVerify);
        }

        (S::Uploading(upload), C::RejectUpload { reported_in, report, rejection }) => match &upload.report {
            None => return Err(TaskRefusal::NothingToVerify),
            Some(known) if *known != report || upload.reported_in != reported_in => return Err(TaskRefusal::OtherUpload),
            Some(_) if upload.rejected.as_ref() == Some(&rejection) => vec![],
            Some(_) => vec![TaskEvent::UploadRejected { report, rejection }],
        },
        (S::CompletedExternally { .. } | S::Failed { .. } | S::Cancelled { .. }, C::RejectUpload { reported_in, report, rejection }) => {
            match late {
                Some(known) if known.reported_in == reported_in && known.report == report && known.episode_id.is_none() => {
                    let news = known.rejected.as_ref() != Some(&rejection);
                    news.then_some(TaskEvent::LateUploadRejected { report, rejection }).into_iter().collect()
                }
                _ => return Err(TaskRefusal::Ended(stage.status())),
            }
        }
        (S::Completed { .. }, C::RejectUpload { .. }) => return Err(TaskRefusal::Ended(stage.status())),

        (_, C::NoteRefusedWrite(write)) if refused_writes.contains(&write) || refused_writes.len() >= REFUSED_WRITES_MAX => vec![],
        (_, C::NoteRefusedWrite(write)) => vec![TaskEvent::ObjectWriteRefused(write)],

        (S::Completed { .. }, C::RequestAck { by }) => vec![TaskEvent::UploadAckRequested { by }],
        (_, C::RequestAck { by }) if late.as_ref().is_some_and(|late| late.episode_id.is_some()) => {
            vec![TaskEvent::UploadAckRequested { by }]
        }
        (_, C::RequestAck { .. }) => vec![],

        // Without a report there is nothing to wait for but a request that may have been lost.
        (S::Uploading(upload), C::RequestUpload { by, at, connected_at })
            if upload.report.is_none()
                && upload.requested_at.is_none_or(|last| {
                    // Another connection may be that of another program, which finds more.
                    connected_at.is_some_and(|since| since > last) || (upload.misses < MISSES_MAX && at >= last + REQUEST_PAUSE)
                }) =>
        {
            vec![TaskEvent::UploadRequestedAgain { by, at: Some(at) }]
        }
        (_, C::RequestUpload { .. }) => vec![],

        // Two programs with one device id may answer in turn, so both are heard for a while.
        (S::Uploading(upload), C::MissFile { at, .. }) if upload.missed_at.is_some_and(|last| at < last + REQUEST_PAUSE) => vec![],
        (S::Uploading(upload), C::MissFile { detail, at, recorder_is_without })
            if upload.report.is_none() && upload.misses < MISSES_MAX =>
        {
            if upload.misses + 1 < MISSES_MAX || upload.finished_by.is_some_and(Witness::saw_the_file) {
                vec![TaskEvent::UploadFileMissing { detail, at }]
            } else if !recorder_is_without {
                vec![]
            } else {
                // Nobody ever saw a file: the recording was dropped, or broke off.
                vec![TaskEvent::RecordingAbandoned { by: Witness::TransferStatus }]
            }
        }
        (_, C::MissFile { .. }) => vec![],

        (S::Ready | S::InProgress, C::Abandon { by }) => vec![TaskEvent::RecordingAbandoned { by }],
        (_, C::Abandon { .. }) => vec![],

        (S::InProgress | S::Uploading(_), C::FailUpload { reason, file, at }) => vec![TaskEvent::UploadFailed { reason, file, at }],
        (S::Failed { .. }, C::FailUpload { .. }) => noted(Witness::UploadFailed, Repeated, stage),
        (_, C::FailUpload { .. }) => noted(Witness::UploadFailed, Late, stage),

        (S::Failed { kept: Some(kept), .. }, C::RequestGivenUp { by, at, connected_at })
            if late.is_none()
                && kept.requests < GIVEN_UP_REQUESTS_MAX
                && kept.requested_at.is_none_or(|last| connected_at.is_some_and(|since| since > last)) =>
        {
            vec![TaskEvent::FailedUploadRequested { by, at }]
        }
        (_, C::RequestGivenUp { .. }) => vec![],

        (S::Pending | S::Ready | S::InProgress | S::Uploading(_), C::FailByPerson { reason, at }) => {
            vec![TaskEvent::TaskFailedByPerson { reason, at }]
        }
        (S::Completed { .. } | S::CompletedExternally { .. } | S::Failed { .. } | S::Cancelled { .. }, C::FailByPerson { .. }) => {
            return Err(TaskRefusal::Over(stage.status()));
        }

        (S::Pending | S::Ready | S::InProgress, C::Cancel { at }) => vec![TaskEvent::TaskCancelled { at }],
        (_, C::Cancel { .. }) => vec![],

        (S::Pending, C::CompleteExternally { by, at }) => vec![TaskEvent::TaskCompletedExternally { by, at }],
        (_, C::CompleteExternally { .. }) => return Err(TaskRefusal::NotPending(stage.status())),

        (S::Uploading(_) | S::Completed { .. } | S::CompletedExternally { .. }, C::Delete) => {
            return Err(TaskRefusal::NotDeletable(stage.status()));
        }
        // Its episode would belong to nothing.
        (_, C::Delete) if late.as_ref().is_some_and(|late| late.episode_id.is_some()) => {
            return Err(TaskRefusal::NotDeletable(stage.status()));
        }
        (S::Pending | S::Ready | S::InProgress | S::Failed { .. } | S::Cancelled { .. }, C::Delete) => vec![TaskEvent::TaskDeleted {}],
    };
    let only_noted = matches!(events[..], [TaskEvent::DeviceReportNoted { .. }]);
    Ok(if only_noted && *times_noted >= NOTED_MAX { vec![] } else { events })
}

/// A witness that tells nothing new.
fn noted(by: Witness, disposition: Disposition, stage: &Stage) -> Vec<TaskEvent> {
    if by.is_callback() || disposition == Disposition::Late {
        vec![TaskEvent::DeviceReportNoted { report: by, disposition, status: stage.status() }]
    } else {
        vec![]
    }
}
