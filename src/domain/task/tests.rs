//! Every command in every state.

use super::decide::REFUSED_WRITES_MAX;
use super::*;
use crate::domain::operator_word::{OperatorWord, WordVerdict};
use crate::domain::{
    BatchId, CollectorId, EpisodeId, Event, FactoryId, OrderId, OrganizationId, PublicTaskId, SceneId, SopId, StationId, SubsceneId,
    TaskId, Timestamp,
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn report() -> UploadReport {
    UploadReport { object_key: "k.mcap".into(), size_bytes: 1, sha256: "aa".into(), with_sidecar: true }
}

fn refused_write(offered_bytes: u64) -> RefusedWrite {
    RefusedWrite { object_key: "k.mcap".into(), offered_bytes, offered_etag: "e".into(), access_key: "KR1".into() }
}

pub fn brief() -> Brief {
    Brief {
        task_id: PublicTaskId::parse("t").unwrap(),
        batch_id: BatchId(1),
        order_id: OrderId(1),
        station_id: StationId(1),
        sop_id: SopId(1),
        scene_id: SceneId(1),
        scene_name: String::new(),
        subscene_id: SubsceneId(1),
        subscene_name: String::new(),
        initial_scene_layout: String::new(),
        factory_id: FactoryId(1),
        organization_id: OrganizationId(1),
    }
}

fn word(verdict: WordVerdict) -> OperatorWord {
    OperatorWord { verdict, demonstration: None, note: None, by: Some(CollectorId(1)), at: NOW }
}

fn task_in(state: &str) -> Task {
    let brief = brief();
    let waiting = Upload::waiting(report(), 0);
    let accepted = Upload { verdict: Some(Verdict::Accepted(EpisodeId(1))), ..waiting.clone() };
    let upload = match state {
        "reported" => Some(waiting),
        "completed" => Some(accepted),
        _ => None,
    };
    let stage = match state {
        "pending" => Stage::Pending,
        "ready" => Stage::Ready,
        "in_progress" => Stage::InProgress,
        "uploading" | "reported" => Stage::Uploading(Awaited::default()),
        "completed" => Stage::Completed { at: NOW },
        "completed externally" => Stage::CompletedExternally { by: CollectorId(1), at: NOW },
        "failed" => Stage::Failed { reason: "disk".into(), at: NOW, kept: None },
        "cancelled" => Stage::Cancelled { at: NOW },
        "deleted" => return Task::Deleted,
        other => panic!("no state is called {other}"),
    };
    Task::Dispatched(Box::new(Dispatched {
        brief,
        stage,
        ready_at: None,
        started_at: None,
        upload,
        sequence: 0,
        noted: 0,
        refused_writes: vec![],
        word: None,
        replaced_by: None,
    }))
}

/// The same verdict, of what the task was last told.
fn about_the_last_report(task: &Task, command: TaskCommand) -> TaskCommand {
    let told = task.dispatched().and_then(|task| task.upload.as_ref()).map_or(0, |upload| upload.reported_in);
    match command {
        TaskCommand::AcceptUpload { verified, episode_id, at, .. } => {
            TaskCommand::AcceptUpload { reported_in: told, verified, episode_id, at }
        }
        TaskCommand::RejectUpload { report, rejection, .. } => TaskCommand::RejectUpload { reported_in: told, report, rejection },
        other => other,
    }
}

fn command(name: &str) -> TaskCommand {
    let (by, at) = (Witness::CommandReply, NOW);
    match name {
        "configure" => TaskCommand::Configure { by, at },
        "start" => TaskCommand::StartRecording { by, at, reported: None },
        "finish" => TaskCommand::FinishRecording { by, at, report: None },
        "start callback" => TaskCommand::StartRecording { by: Witness::StartCallback, at, reported: None },
        "finish callback" => TaskCommand::FinishRecording { by: Witness::FinishCallback, at, report: None },
        "report" => TaskCommand::ReportUpload { by, report: report(), at },
        "accept" => {
            let verified =
                VerifiedUpload { report: report(), etag: None, message_count: 1, verified_bytes: 1, notes: vec![], damage: None };
            TaskCommand::AcceptUpload { reported_in: 0, verified, episode_id: EpisodeId(1), at }
        }
        "reject" => TaskCommand::RejectUpload { reported_in: 0, report: report(), rejection: Rejection::ObjectChanged {} },
        "want damaged" => TaskCommand::WantDamaged { reason: "the only one".into() },
        "refuse write" => TaskCommand::NoteRefusedWrite(refused_write(1)),
        "want ack" => TaskCommand::RequestAck { by },
        "ask again" => TaskCommand::RequestUpload { by, at, connected_at: None },
        "miss file" => TaskCommand::MissFile { detail: "no file".into(), at, recorder_is_without: true },
        "give up" => TaskCommand::FailUpload { reason: "disk".into(), file: Some("t.mcap".into()), at },
        "ask for given up" => TaskCommand::RequestGivenUp { by, at, connected_at: None },
        "end" => TaskCommand::FailByPerson { reason: "scrapped".into(), at },
        "abandon" => TaskCommand::Abandon { by },
        "cancel" => TaskCommand::Cancel { at },
        "externally" => TaskCommand::CompleteExternally { by: CollectorId(1), at },
        "word" => TaskCommand::GiveWord { word: word(WordVerdict::Redo), replacement: Some(TaskId(2)) },
        "delete" => TaskCommand::Delete,
        other => panic!("no command is called {other}"),
    }
}

const STATES: [&str; 10] =
    ["pending", "ready", "in_progress", "uploading", "reported", "completed", "completed externally", "failed", "cancelled", "deleted"];

/// Every command in every state, in the order of `STATES`: the status afterwards, `=` where it stays,
/// `x` where the command is refused, `-` where the task is gone.
#[rustfmt::skip]
const MOVES: [(&str, [&str; 10]); 21] = [
    ("configure",  ["ready", "=", "=", "=", "=", "=", "=", "=", "=", "x"]),
    ("start",      ["in_progress", "in_progress", "=", "=", "=", "=", "=", "=", "=", "x"]),
    ("finish",     ["uploading", "uploading", "uploading", "=", "=", "=", "=", "=", "=", "x"]),
    // A callback alone moves nothing that was not configured.
    ("start callback",  ["=", "in_progress", "=", "=", "=", "=", "=", "=", "=", "x"]),
    ("finish callback", ["=", "uploading", "uploading", "=", "=", "=", "=", "=", "=", "x"]),
    ("report",     ["uploading", "uploading", "uploading", "=", "=", "=", "=", "=", "=", "x"]),
    ("accept",     ["x", "x", "x", "x", "completed", "=", "x", "x", "x", "x"]),
    ("reject",     ["x", "x", "x", "x", "=", "x", "x", "x", "x", "x"]),
    // Nothing was rejected in these.
    ("want damaged", ["x", "x", "x", "x", "x", "x", "x", "x", "x", "x"]),
    ("refuse write", ["=", "=", "=", "=", "=", "=", "=", "=", "=", "x"]),
    ("want ack",   ["=", "=", "=", "=", "=", "=", "=", "=", "=", "x"]),
    ("ask again",  ["=", "=", "=", "=", "=", "=", "=", "=", "=", "x"]),
    ("miss file",  ["=", "=", "=", "=", "=", "=", "=", "=", "=", "x"]),
    ("give up",    ["=", "=", "failed", "failed", "failed", "=", "=", "=", "=", "x"]),
    ("ask for given up", ["=", "=", "=", "=", "=", "=", "=", "=", "=", "x"]),
    ("end",        ["failed", "failed", "failed", "failed", "failed", "x", "x", "x", "x", "x"]),
    ("abandon",    ["=", "pending", "pending", "=", "=", "=", "=", "=", "=", "x"]),
    ("cancel",     ["cancelled", "cancelled", "cancelled", "=", "=", "=", "=", "=", "=", "x"]),
    ("externally", ["completed", "x", "x", "x", "x", "x", "x", "x", "x", "x"]),
    ("word",       ["x", "x", "=", "=", "=", "=", "x", "x", "x", "x"]),
    ("delete",     ["-", "-", "-", "x", "x", "x", "x", "-", "-", "x"]),
];

#[test]
fn every_command_in_every_state() {
    for (name, row) in MOVES {
        for (state, expected) in STATES.into_iter().zip(row) {
            let before = task_in(state);
            let mut task = before.clone();
            let status = |task: &Task| task.dispatched().map(|task| task.stage.status().as_str());
            let found = match task.decide(command(name)) {
                Err(_) => "x",
                Ok(events) => {
                    events.iter().for_each(|event| task.evolve(event));
                    match status(&task) {
                        None => "-",
                        same if same == status(&before) => "=",
                        Some(other) => other,
                    }
                }
            };
            assert_eq!(found, expected, "{name} of a task that is {state}");
        }
    }
}

#[test]
fn every_word_is_an_event_a_repeat_is_none_and_one_task_replaces_another() {
    let mut task = task_in("uploading");
    let mut say = |verdict, replacement| {
        let said = task.decide(TaskCommand::GiveWord { word: word(verdict), replacement });
        said.iter().flatten().for_each(|event| task.evolve(event));
        (said.map(|events| events.len()), task.dispatched().unwrap().replaced_by)
    };
    use WordVerdict::{Discard, Keep, Redo};
    assert_eq!(say(Keep, None), (Ok(1), None));
    assert_eq!(say(Keep, None), (Ok(0), None));
    assert_eq!(say(Redo, Some(TaskId(8))), (Ok(1), Some(TaskId(8))));
    assert_eq!(say(Redo, Some(TaskId(9))), (Ok(0), Some(TaskId(8))));
    // The replacement stays whatever is said afterwards, and is the only one.
    for verdict in [Discard, Keep] {
        assert_eq!(say(verdict, None), (Ok(1), Some(TaskId(8))));
        assert_eq!(say(Redo, Some(TaskId(9))), (Err(TaskRefusal::Replaced(TaskId(8))), Some(TaskId(8))));
    }
}

#[test]
fn a_word_is_about_one_recording_and_goes_with_it() {
    let mut task = task_in("in_progress");
    for command in [TaskCommand::GiveWord { word: word(WordVerdict::Discard), replacement: None }, command("abandon")] {
        task.decide(command).unwrap().iter().for_each(|event| task.evolve(event));
    }
    assert_eq!(task.dispatched().unwrap().word, None);
}

#[test]
fn what_is_over_stays_over() {
    for state in ["completed", "completed externally", "failed", "cancelled"] {
        for (name, _) in MOVES.iter().filter(|(name, _)| *name != "delete") {
            let mut task = task_in(state);
            let before = task.clone();
            for event in task.decide(command(name)).unwrap_or_default() {
                task.evolve(&event);
            }
            let (stage, was) = (&task.dispatched().unwrap().stage, &before.dispatched().unwrap().stage);
            assert_eq!(stage, was, "{name} of a task that is {state}");
        }
    }
}

#[test]
fn a_report_that_changes_nothing_is_recorded_fifty_times_and_no_more() {
    let mut task = task_in("uploading");
    let again = || TaskCommand::FinishRecording { by: Witness::FinishCallback, at: NOW, report: None };
    let mut noted = 0;
    for _ in 0..1_000 {
        let events = task.decide(again()).unwrap();
        events.iter().for_each(|event| task.evolve(event));
        noted += events.len();
    }
    assert_eq!(noted, 50);
    // What changes something does so as before.
    assert_eq!(task.decide(command("give up")).unwrap().len(), 1);
}

#[test]
fn a_refused_write_is_recorded_once_and_different_ones_ten_times() {
    let mut task = task_in("completed");
    let mut recorded = 0;
    for n in [1, 1, 1].into_iter().chain(2..1_000) {
        let events = task.decide(TaskCommand::NoteRefusedWrite(refused_write(n))).unwrap();
        events.iter().for_each(|event| task.evolve(event));
        recorded += events.len();
        assert!(n > 1 || recorded == 1);
    }
    assert_eq!(recorded, REFUSED_WRITES_MAX);
}

#[test]
fn an_upload_is_asked_for_again_with_pauses_and_not_for_ever() {
    let at = |seconds| NOW + chrono::TimeDelta::seconds(seconds);
    let ask = |seconds| TaskCommand::RequestUpload { by: Witness::TransferStatus, at: at(seconds), connected_at: Some(at(-1)) };
    let miss_while =
        |recorder_is_without| move |seconds| TaskCommand::MissFile { detail: "no file".into(), at: at(seconds), recorder_is_without };
    let (miss, miss_unseen) = (miss_while(true), miss_while(false));
    let run = |task: &mut Task, command| {
        let events = task.decide(command).unwrap();
        events.iter().for_each(|event| task.evolve(event));
        events.iter().map(Event::event_type).collect::<Vec<_>>()
    };
    for (by, end) in [(Witness::Snapshot, "recording_abandoned"), (Witness::FinishCallback, "upload_file_missing")] {
        let mut task = task_in("in_progress");
        run(&mut task, TaskCommand::FinishRecording { by, at: at(0), report: None });
        for (command, types) in [
            (ask(29), vec![]),
            (ask(30), vec!["upload_requested_again"]),
            (ask(59), vec![]),
            (miss(60), vec!["upload_file_missing"]),
            (ask(61), vec!["upload_requested_again"]),
            (miss(62), vec![]),
            (ask(91), vec!["upload_requested_again"]),
            // The recorder may be recording it still.
            (miss_unseen(92), if by == Witness::Snapshot { vec![] } else { vec![end] }),
            (miss(93), if by == Witness::Snapshot { vec![end] } else { vec![] }),
            (ask(600), vec![]),
            (miss(601), vec![]),
        ] {
            assert_eq!(run(&mut task, command.clone()), types, "{by:?} {command:?}");
        }
        let status = task.dispatched().unwrap().stage.status();
        assert_eq!(status == TaskStatus::Pending, by == Witness::Snapshot, "{by:?}");
    }
    // What was asked before the uploader connected may never have reached it.
    let mut task = task_in("in_progress");
    run(&mut task, TaskCommand::FinishRecording { by: Witness::Snapshot, at: at(0), report: None });
    let anew = |seconds| TaskCommand::RequestUpload { by: Witness::TransferStatus, at: at(seconds), connected_at: Some(at(1)) };
    assert_eq!(run(&mut task, anew(2)), ["upload_requested_again"]);
    assert_eq!(run(&mut task, anew(3)), Vec::<&str>::new());
    // An uploader that connects after it was given up is asked, once.
    let mut task = task_in("in_progress");
    run(&mut task, TaskCommand::FinishRecording { by: Witness::FinishCallback, at: at(0), report: None });
    for (seconds, types) in [(10, vec!["upload_file_missing"]), (40, vec!["upload_file_missing"]), (70, vec![])] {
        assert_eq!(run(&mut task, miss(seconds)), types);
    }
    let later = |seconds| TaskCommand::RequestUpload { by: Witness::TransferStatus, at: at(seconds), connected_at: Some(at(100)) };
    assert_eq!(run(&mut task, later(101)), ["upload_requested_again"]);
    assert_eq!(run(&mut task, later(200)), Vec::<&str>::new());
}

#[test]
fn a_recorder_that_is_seen_recording_again_had_never_finished() {
    let start = |by| TaskCommand::StartRecording { by, at: NOW, reported: None };
    for (finished_by, started_by, status) in [
        (Witness::Snapshot, Witness::Snapshot, TaskStatus::InProgress),
        // A callback may be late; a file that was closed stays closed.
        (Witness::Snapshot, Witness::StartCallback, TaskStatus::Uploading),
        (Witness::FinishCallback, Witness::Snapshot, TaskStatus::Uploading),
    ] {
        let mut task = task_in("in_progress");
        for command in [TaskCommand::FinishRecording { by: finished_by, at: NOW, report: None }, start(started_by)] {
            task.decide(command).unwrap().iter().for_each(|event| task.evolve(event));
        }
        assert_eq!(task.dispatched().unwrap().stage.status(), status, "{finished_by:?} {started_by:?}");
    }
    let mut task = task_in("reported");
    let before = task.clone();
    task.decide(start(Witness::Snapshot)).unwrap().iter().for_each(|event| task.evolve(event));
    assert_eq!(task.dispatched().unwrap().stage, before.dispatched().unwrap().stage, "what was uploaded is finished");
}

#[test]
fn an_upload_is_one_machine() {
    use super::upload::{Heard, Judged, Wanted};
    let accepted = Verdict::Accepted(EpisodeId(1));
    let changed = Verdict::Rejected(Rejection::ObjectChanged {});
    let unsound = Verdict::Rejected(Rejection::Unsound { defect: "no footer".into() });
    let other = UploadReport { sha256: "bb".into(), ..report() };
    // What it is, what the same and another report are to it, what three verdicts are: accepted, rejected, rejected for good; and whether a
    // person may want it although damaged.
    for (verdict, heard, judged, wanted) in [
        (None, [Heard::Known, Heard::News], [Judged::News, Judged::News, Judged::News], Wanted::NotRejected),
        (Some(&accepted), [Heard::AckWanted, Heard::TooLate], [Judged::Known, Judged::Other, Judged::Other], Wanted::NotRejected),
        (Some(&changed), [Heard::News, Heard::News], [Judged::Other, Judged::Known, Judged::News], Wanted::News),
        (Some(&unsound), [Heard::Known, Heard::News], [Judged::Other, Judged::News, Judged::Known], Wanted::News),
    ] {
        let upload = Upload { verdict: verdict.cloned(), ..Upload::waiting(report(), 3) };
        assert_eq!(upload.want(), wanted, "{verdict:?}");
        assert_eq!([upload.hear(&report()), upload.hear(&other)], heard, "{verdict:?}");
        assert_eq!([&accepted, &changed, &unsound].map(|found| upload.judge(3, &report(), found)), judged, "{verdict:?}");
        // A verdict about another report, or about the same words said earlier.
        for found in [&accepted, &changed, &unsound] {
            assert_eq!(upload.judge(3, &other, found), Judged::Other, "{verdict:?} {found:?}");
            let known = verdict == Some(&accepted) && *found == accepted;
            assert_eq!(upload.judge(2, &report(), found), if known { Judged::Known } else { Judged::Other }, "{verdict:?} {found:?}");
        }
    }
}

#[test]
fn a_late_recording_is_verified_once_and_acked_and_the_task_stays_over() {
    for state in ["completed externally", "failed", "cancelled"] {
        let mut task = task_in(state);
        let before = task.dispatched().unwrap().stage.clone();
        for (name, types) in [
            ("want ack", vec![]),
            ("report", vec!["late_upload_reported"]),
            ("report", vec![]),
            ("reject", vec!["late_upload_rejected"]),
            ("reject", vec![]),
            // The object may have been replaced by a good one.
            ("report", vec!["late_upload_reported"]),
            ("want ack", vec![]),
            ("accept", vec!["late_upload_verified"]),
            ("accept", vec![]),
            ("report", vec!["upload_ack_requested"]),
            ("want ack", vec!["upload_ack_requested"]),
        ] {
            let events = task.decide(about_the_last_report(&task, command(name))).unwrap();
            events.iter().for_each(|event| task.evolve(event));
            assert_eq!(events.iter().map(Event::event_type).collect::<Vec<_>>(), types, "{name} of {state}");
        }
        assert_eq!(task.dispatched().unwrap().stage, before);
        let mut other = report();
        other.sha256 = "bb".into();
        let noted = task.decide(TaskCommand::ReportUpload { by: Witness::UploadComplete, report: other, at: NOW }).unwrap();
        assert_eq!(noted[0].event_type(), "device_report_noted");
        assert!(task.decide(command("delete")).is_err(), "its episode would belong to nothing");
    }
}

#[test]
fn what_was_given_up_is_asked_for_on_later_connections_and_not_for_ever() {
    let at = |seconds| NOW + chrono::TimeDelta::seconds(seconds);
    let mut task = task_in("uploading");
    let mut asked = vec![];
    let run = |task: &mut Task, command| {
        let events = task.decide(command).unwrap();
        events.iter().for_each(|event| task.evolve(event));
        events.len()
    };
    run(&mut task, command("give up"));
    for connected in [10, 10, 20, 30, 40, 50] {
        let ask = TaskCommand::RequestGivenUp { by: Witness::TransferStatus, at: at(connected + 1), connected_at: Some(at(connected)) };
        asked.push(run(&mut task, ask));
    }
    assert_eq!(asked, [1, 0, 1, 1, 0, 0]);
    // It came: nothing more is asked for.
    let mut task = task_in("uploading");
    run(&mut task, command("give up"));
    run(&mut task, command("report"));
    assert_eq!(run(&mut task, command("ask for given up")), 0);
    // What a person ended, or what has no file, is not asked for.
    for end in ["end", "give up"] {
        let mut task = task_in("uploading");
        let ended = match command(end) {
            TaskCommand::FailUpload { reason, at, .. } => TaskCommand::FailUpload { reason, file: None, at },
            other => other,
        };
        run(&mut task, ended);
        assert_eq!(run(&mut task, command("ask for given up")), 0, "{end}");
    }
}

#[test]
fn what_was_being_verified_when_a_person_ended_the_task_is_kept() {
    let mut task = task_in("reported");
    for (name, types) in [
        ("end", vec!["task_failed_by_person"]),
        // It is being verified: no news.
        ("report", vec![]),
        ("accept", vec!["late_upload_verified"]),
        ("want ack", vec!["upload_ack_requested"]),
    ] {
        let events = task.decide(command(name)).unwrap();
        events.iter().for_each(|event| task.evolve(event));
        assert_eq!(events.iter().map(Event::event_type).collect::<Vec<_>>(), types, "{name}");
    }
    assert_eq!(task.dispatched().unwrap().stage.status(), TaskStatus::Failed);
}

#[test]
fn dropping_a_recording_forgets_when_it_started() {
    let Task::Dispatched(mut task) = task_in("in_progress") else { unreachable!() };
    (task.ready_at, task.started_at) = (Some(NOW), Some(NOW));
    let mut task = Task::Dispatched(task);
    for event in task.decide(command("abandon")).unwrap() {
        task.evolve(&event);
    }
    let task = task.dispatched().unwrap();
    assert_eq!((task.ready_at, task.started_at), (None, None));
}
