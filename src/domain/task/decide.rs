//! What follows from a command: every stage with every command.

use super::command::TaskCommand;
use super::event::TaskEvent;
use super::refusal::TaskRefusal;
use super::state::{Dispatched, Stage, Task};
use super::upload::{Heard, Judged, Verdict, Wanted};
use super::witness::{Disposition, Witness};
use crate::domain::operator_word::WordVerdict;

/// Different writes that are recorded of one task. A robot repeats the same one; what makes up new ones is not heard.
pub(super) const REFUSED_WRITES_MAX: usize = 10;

/// Reports that change nothing are recorded so often. A device says a thing once or twice; one that says it more often
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
    let Dispatched { stage, upload, noted: times_noted, refused_writes, .. } = task.as_ref();
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
        (S::Uploading(awaited), C::StartRecording { by: by @ Witness::Snapshot, at, reported })
            if upload.is_none() && awaited.finished_by == Some(Witness::Snapshot) =>
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
        // The device may have a recording of a task that had ended, and waits for an ack for ever: it is verified like any other.
        (_, C::ReportUpload { by, report, .. }) => match upload.as_ref().map_or(Heard::News, |upload| upload.hear(&report)) {
            Heard::News if stage.ended_without_recording() => vec![TaskEvent::LateUploadReported { by, report }],
            Heard::News => vec![TaskEvent::UploadReported { by, report }],
            Heard::Known => vec![],
            Heard::AckWanted => vec![TaskEvent::UploadAckRequested { by }],
            Heard::TooLate => noted(by, Late, stage),
        },

        (_, C::AcceptUpload { reported_in, verified, episode_id, at }) => {
            let Some(upload) = upload else { return Err(nothing_to_verify(stage)) };
            if verified.damage.is_some() && upload.wanted.is_none() {
                return Err(TaskRefusal::OtherUpload);
            }
            match upload.judge(reported_in, &verified.report, &Verdict::Accepted(episode_id)) {
                Judged::News if stage.ended_without_recording() => vec![TaskEvent::LateUploadVerified { verified, episode_id, at }],
                Judged::News => vec![TaskEvent::UploadVerified { verified, episode_id, at }],
                Judged::Known => vec![],
                Judged::Other if matches!(stage, S::Completed { .. }) => return Err(TaskRefusal::Ended(stage.status())),
                Judged::Other => return Err(TaskRefusal::OtherUpload),
            }
        }
        (_, C::RejectUpload { reported_in, report, rejection }) => {
            let Some(upload) = upload else { return Err(nothing_to_verify(stage)) };
            match upload.judge(reported_in, &report, &Verdict::Rejected(rejection.clone())) {
                Judged::News if stage.ended_without_recording() => vec![TaskEvent::LateUploadRejected { report, rejection }],
                Judged::News => vec![TaskEvent::UploadRejected { report, rejection }],
                Judged::Known => vec![],
                Judged::Other if matches!(stage, S::Uploading(_)) => return Err(TaskRefusal::OtherUpload),
                Judged::Other => return Err(TaskRefusal::Ended(stage.status())),
            }
        }

        (_, C::WantDamaged { reason }) => match upload.as_ref().map(|upload| (upload.want(), upload)) {
            Some((Wanted::News, upload)) => vec![TaskEvent::DamagedUploadWanted { report: upload.report.clone(), reason }],
            Some((Wanted::Known, _)) => vec![],
            Some((Wanted::NotRejected, _)) | None => return Err(TaskRefusal::NothingRejected(stage.status())),
        },

        (_, C::NoteRefusedWrite(write)) if refused_writes.contains(&write) || refused_writes.len() >= REFUSED_WRITES_MAX => vec![],
        (_, C::NoteRefusedWrite(write)) => vec![TaskEvent::ObjectWriteRefused(write)],

        (_, C::RequestAck { by }) if task.episode_id().is_some() => vec![TaskEvent::UploadAckRequested { by }],
        (_, C::RequestAck { .. }) => vec![],

        // Without a report there is nothing to wait for but a request that may have been lost.
        (S::Uploading(awaited), C::RequestUpload { by, at, connected_at })
            if upload.is_none()
                && awaited.requested_at.is_none_or(|last| {
                    // Another connection may be that of another program, which finds more.
                    connected_at.is_some_and(|since| since > last) || (awaited.misses < MISSES_MAX && at >= last + REQUEST_PAUSE)
                }) =>
        {
            vec![TaskEvent::UploadRequestedAgain { by, at: Some(at) }]
        }
        (_, C::RequestUpload { .. }) => vec![],

        // Two programs with one device id may answer in turn, so both are heard for a while.
        (S::Uploading(awaited), C::MissFile { at, .. }) if awaited.missed_at.is_some_and(|last| at < last + REQUEST_PAUSE) => vec![],
        (S::Uploading(awaited), C::MissFile { detail, at, recorder_is_without }) if upload.is_none() && awaited.misses < MISSES_MAX => {
            if awaited.misses + 1 < MISSES_MAX || awaited.finished_by.is_some_and(Witness::saw_the_file) {
                vec![TaskEvent::UploadFileMissing { detail, at }]
            } else if !recorder_is_without {
                vec![]
            } else {
                // No file was ever seen: the recording was dropped, or broke off.
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
            if upload.is_none()
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

        (_, C::GiveWord { word, .. }) if task.knows_word(&word) => vec![],
        (_, C::GiveWord { .. }) if !task.has_recording() => return Err(TaskRefusal::NothingRecorded(stage.status())),
        (_, C::GiveWord { word, replacement }) => match (word.verdict, task.replaced_by) {
            (WordVerdict::Redo, Some(by)) => return Err(TaskRefusal::Replaced(by)),
            _ => vec![TaskEvent::OperatorWordGiven { word, replacement }],
        },

        (S::Uploading(_) | S::Completed { .. } | S::CompletedExternally { .. }, C::Delete) => {
            return Err(TaskRefusal::NotDeletable(stage.status()));
        }
        // Its episode would belong to nothing.
        (_, C::Delete) if task.episode_id().is_some() => {
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

/// Nothing was reported: not yet, or it will not be any more.
fn nothing_to_verify(stage: &Stage) -> TaskRefusal {
    if stage.ended_without_recording() { TaskRefusal::Ended(stage.status()) } else { TaskRefusal::NothingToVerify }
}
