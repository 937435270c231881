use std::time::{Duration, Instant};

use chrono::TimeDelta;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::session::{BUSY_MAX, RecorderSession};
use crate::devices::session::{Effect, Now, QueryError, Request, Rpc, Session};
use crate::devices::view::RecorderView;
use crate::domain::device::{CommandOutcome, NotSentCause, RecorderAction, RecorderState, UnknownCause};
use crate::domain::report::Report;
use crate::domain::{PublicTaskId, Timestamp};

const A: &str = "9104b636-184e-406d-b5c5-9e9b0726bd1c";
const B: &str = "b8433d86-70c6-4608-b85a-131b22d0b455";
const OLD: &str = "99b9fd6e-fff8-4455-bfd2-444eaf75865d";

/// A session, a clock that the test moves, and what was said.
struct Stage {
    session: RecorderSession,
    opened: Now,
    now: Now,
    view: RecorderView,
    said: Vec<Effect>,
}

impl Stage {
    fn open() -> Self {
        let wall = Timestamp::from_timestamp_millis(1_795_204_640_000).unwrap();
        let now = Now { at: Instant::now(), wall };
        let mut stage = Self { session: RecorderSession::new(now), opened: now, now, view: RecorderView::default(), said: vec![] };
        let effects = stage.session.opened(now);
        stage.heard(effects)
    }

    /// Opened, greeted and asked; idle.
    fn idle() -> Self {
        Self::open().update("idle", "idle", None, 1).answer_state(json!({"state": "idle"})).forget()
    }

    fn heard(mut self, effects: Vec<Effect>) -> Self {
        for effect in &effects {
            if let Effect::ShowRecorder(view) = effect {
                self.view = view.clone();
            }
        }
        self.said.extend(effects);
        self
    }

    fn forget(mut self) -> Self {
        self.said.clear();
        self
    }

    fn after(mut self, wait: Duration) -> Self {
        self.now = Now { at: self.now.at + wait, wall: self.now.wall + TimeDelta::from_std(wait).unwrap() };
        let effects = self.session.tick(self.now);
        self.heard(effects)
    }

    fn message(mut self, message: Value) -> Self {
        let effects = self.session.message(self.now, &serde_json::to_vec(&message).unwrap());
        self.heard(effects)
    }

    /// `ms` after the connection was opened, by the device's clock.
    fn update(self, previous: &str, current: &str, task: Option<&str>, ms: i64) -> Self {
        let timestamp = self.opened.wall.timestamp_millis() + ms;
        let mut data = json!({"previous": previous, "current": current});
        if let Some(task) = task {
            data["task_id"] = task.into();
        }
        self.message(json!({"type": "state_update", "timestamp": timestamp, "data": data}))
    }

    fn response(self, id: &str, success: bool, data: Value) -> Self {
        self.message(json!({"type": "rpc_response", "request_id": id, "success": success, "message": "m", "data": data}))
    }

    fn answer_state(self, data: Value) -> Self {
        let id = self.last_request("get_state").expect("get_state was sent");
        self.response(&id, true, data)
    }

    fn rpc(self, id: &str, action: RecorderAction, task: Option<&str>, timeout: Duration) -> Self {
        self.rpc_if(id, action, task, timeout, false)
    }

    fn rpc_if(mut self, id: &str, action: RecorderAction, task: Option<&str>, timeout: Duration, while_held: bool) -> Self {
        let rpc = Rpc {
            command_id: id.to_owned(),
            action,
            task: task.map(|task| PublicTaskId::parse(task).unwrap()),
            params: json!({"task_id": task}),
            deadline: self.now.wall + TimeDelta::from_std(timeout).unwrap(),
            while_held,
        };
        let effects = self.session.request(self.now, Request::Rpc(rpc));
        self.heard(effects)
    }

    fn close(mut self, reason: &str) -> Self {
        let effects = self.session.closed(self.now, reason);
        self.heard(effects)
    }

    fn requests(&self) -> Vec<(String, String)> {
        let frames = self.said.iter().filter_map(|effect| match effect {
            Effect::Send(text) => Some(serde_json::from_str::<Value>(text).unwrap()),
            _ => None,
        });
        frames.map(|frame| (frame["action"].as_str().unwrap().to_owned(), frame["request_id"].as_str().unwrap().to_owned())).collect()
    }

    fn sent(&self) -> Vec<String> {
        self.requests().into_iter().map(|(action, _)| action).collect()
    }

    fn last_request(&self, action: &str) -> Option<String> {
        self.requests().into_iter().rev().find(|(known, _)| known == action).map(|(_, id)| id)
    }

    fn reports(&self) -> Vec<Report> {
        let reports = self.said.iter().filter_map(|effect| match effect {
            Effect::Report(report) => Some(report.clone()),
            _ => None,
        });
        reports.collect()
    }

    fn notes(&self) -> Vec<&'static str> {
        let notes = self.said.iter().filter_map(|effect| match effect {
            Effect::Note { cause, .. } => Some(*cause),
            _ => None,
        });
        notes.collect()
    }
}

const SOON: Duration = Duration::from_secs(15);

fn observed(state: RecorderState, task: Option<&str>, source: &str) -> Report {
    Report::Observed { state, task: task.map(|task| PublicTaskId::parse(task).unwrap()), source: source.to_owned() }
}

fn settled(id: &str, success: bool, data: Value) -> Report {
    let (message, data) = (Some("m".to_owned()), Some(data));
    let outcome = if success { CommandOutcome::Succeeded { message, data } } else { CommandOutcome::Refused { message, data } };
    Report::Settled { command_id: id.to_owned(), outcome }
}

fn unknown(id: &str, cause: UnknownCause, reason: &str) -> Report {
    Report::Settled { command_id: id.to_owned(), outcome: CommandOutcome::unknown(cause, reason) }
}

fn not_sent(id: &str, cause: NotSentCause, reason: &str) -> Report {
    Report::Settled { command_id: id.to_owned(), outcome: CommandOutcome::not_sent(cause, reason) }
}

#[test]
fn the_state_is_asked_for_at_once_and_confirmed_by_the_greeting() {
    let stage = Stage::open();
    assert_eq!(stage.sent(), ["get_state"]);
    assert!(!stage.view.confirmed);

    let stage = stage.update("recording", "recording", Some("t-off"), 1);
    assert!(stage.view.confirmed);
    assert_eq!(stage.reports(), [observed(RecorderState::Recording, Some("t-off"), "state_update")]);

    // The answer says the same: no second report.
    let stage = stage.forget().answer_first(json!({"state": "recording", "task_config": {"task_id": "t-off"}}));
    assert_eq!(stage.reports(), []);
}

impl Stage {
    /// The refresh of a connection opened just now; its id is known by its form.
    fn answer_first(self, data: Value) -> Self {
        let id = format!("state-{}-1", self.opened.wall.timestamp_millis());
        self.response(&id, true, data)
    }
}

#[test]
fn what_was_queued_while_offline_is_no_news_about_the_present() {
    // As seen after a reset during `finish`: the answer to the old request comes first.
    let stage = Stage::open()
        .update("ready", "recording", Some("t-off"), -4000)
        .update("recording", "recording", Some("t-off"), -3000)
        .message(json!({"type": "config_applied", "data": {"task_id": "t-off"}}))
        .response(OLD, true, json!({"state": "idle", "task_id": "t-off"}));
    assert!(!stage.view.confirmed);
    let Report::Settled { command_id, outcome } = settled(OLD, true, json!({"state": "idle", "task_id": "t-off"})) else { panic!() };
    assert_eq!(stage.reports(), [Report::AnsweredLate { command_id, outcome }]);
    assert_eq!(stage.notes(), ["replayed_state", "replayed_state", "replayed_config"]);

    let stage = stage.forget().update("idle", "idle", Some("t-off"), 1);
    assert_eq!(stage.reports(), [observed(RecorderState::Idle, Some("t-off"), "state_update")]);
    assert_eq!((stage.view.confirmed, stage.view.task_id), (true, None));
}

#[test]
fn a_device_whose_clock_is_wrong_is_believed_when_it_answers() {
    let stage = Stage::open().update("idle", "idle", None, -3_600_000);
    assert!(!stage.view.confirmed);
    let stage = stage.answer_state(json!({"state": "idle"}));
    assert!(stage.view.confirmed);
    // From here its own clock is the measure.
    let stage = stage.forget().update("idle", "ready", Some("t"), -3_599_000);
    assert_eq!(stage.reports(), [observed(RecorderState::Ready, Some("t"), "state_update")]);
    let stage = stage.forget().update("ready", "recording", Some("t"), -3_599_500);
    assert_eq!((stage.notes(), stage.sent()), (vec!["replayed_state"], vec!["get_state".to_owned()]));
}

#[test]
fn a_whole_recording_as_the_traces_show_it() {
    let stage = Stage::idle().rpc(A, RecorderAction::Config, Some("t"), SOON);
    assert_eq!(stage.sent(), ["config"]);
    let stage = stage
        .message(json!({"type": "config_applied", "timestamp": 1, "data": {"task_id": "t", "topics": ["/chatter"]}}))
        .update("idle", "ready", Some("t"), 40)
        .response(A, true, json!({"state": "ready", "task_id": "t"}));
    assert_eq!(
        stage.reports(),
        [
            Report::ConfigApplied { task: PublicTaskId::parse("t").unwrap() },
            observed(RecorderState::Ready, Some("t"), "state_update"),
            settled(A, true, json!({"state": "ready", "task_id": "t"})),
        ]
    );
    let stage = stage
        .forget()
        .rpc(B, RecorderAction::Begin, Some("t"), SOON)
        .update("ready", "recording", Some("t"), 90)
        .response(B, true, json!({"state": "recording", "task_id": "t"}))
        .update("recording", "paused", Some("t"), 95)
        .update("paused", "idle", Some("t"), 99)
        .update("idle", "idle", None, 100);
    assert_eq!(
        stage.reports(),
        [
            observed(RecorderState::Recording, Some("t"), "state_update"),
            settled(B, true, json!({"state": "recording", "task_id": "t"})),
            observed(RecorderState::Paused, Some("t"), "state_update"),
            observed(RecorderState::Idle, Some("t"), "state_update"),
            observed(RecorderState::Idle, None, "state_update"),
        ]
    );
}

#[test]
fn an_idle_recorder_that_is_asked_does_not_forget_its_last_task() {
    let stage = Stage::open().update("idle", "idle", Some("t"), 1).forget().answer_first(json!({"state": "idle"}));
    assert_eq!(stage.reports(), []);
}

#[test]
fn commands_go_one_after_the_other() {
    let stage = Stage::idle().rpc(A, RecorderAction::Config, Some("t"), SOON).rpc(B, RecorderAction::Begin, Some("t"), SOON);
    assert_eq!(stage.sent(), ["config"]);
    let stage = stage.response(A, false, json!({"state": "idle"}));
    assert_eq!(stage.sent(), ["config", "begin"]);
    assert_eq!(stage.reports(), [settled(A, false, json!({"state": "idle"}))]);
}

#[test]
fn a_command_delivered_twice_is_sent_once() {
    let stage = Stage::idle().rpc(A, RecorderAction::Begin, Some("t"), SOON).rpc(A, RecorderAction::Begin, Some("t"), SOON);
    let stage = stage.response(A, true, json!({"state": "recording", "task_id": "t"})).rpc(A, RecorderAction::Begin, Some("t"), SOON);
    assert_eq!((stage.sent(), stage.notes()), (vec!["begin".to_owned()], vec!["command_delivered_again"; 2]));
}

#[test]
fn a_command_out_of_time_is_unknown_and_its_late_answer_is_reported() {
    let stage = Stage::idle().rpc(A, RecorderAction::Finish, Some("t"), SOON).rpc(B, RecorderAction::Clear, None, SOON * 2).after(SOON);
    assert_eq!(stage.reports(), [unknown(A, UnknownCause::TimedOut, "the recorder did not answer in time")]);
    // Its state is asked for; nothing else is put on top of what it may be doing.
    assert_eq!(stage.sent(), ["finish", "get_state"]);
    assert!(!stage.view.confirmed);

    let stage = stage.forget().response(A, true, json!({"state": "idle", "task_id": "t"}));
    assert_eq!(
        stage.reports(),
        [observed(RecorderState::Idle, Some("t"), "rpc_response:finish"), settled(A, true, json!({"state": "idle", "task_id": "t"}))]
    );
    let stage = stage.answer_after(json!({"state": "idle"}));
    assert!(stage.view.confirmed);
    assert_eq!(stage.sent(), ["clear"]);
}

impl Stage {
    fn answer_after(self, data: Value) -> Self {
        let id = format!("state-{}-2", self.opened.wall.timestamp_millis());
        self.response(&id, true, data)
    }
}

#[test]
fn a_command_that_never_got_its_turn_is_settled_at_its_deadline() {
    let stage = Stage::idle().rpc(A, RecorderAction::Finish, Some("t"), SOON * 4).rpc(B, RecorderAction::Pause, None, SOON).after(SOON);
    assert_eq!(stage.reports(), [not_sent(B, NotSentCause::Overloaded, "the recorder was busy until the deadline")]);
    assert_eq!(stage.sent(), ["finish"]);
}

#[test]
fn a_lost_link_leaves_no_command_without_an_outcome() {
    let stage = Stage::idle().rpc(A, RecorderAction::Begin, Some("t"), SOON).rpc(B, RecorderAction::Finish, Some("t"), SOON);
    let stage = stage.close("replaced by a newer connection");
    assert_eq!(
        stage.reports(),
        [
            unknown(A, UnknownCause::LinkClosed, "replaced by a newer connection"),
            not_sent(B, NotSentCause::LinkClosed, "replaced by a newer connection"),
            Report::Closed { reason: "replaced by a newer connection".to_owned() },
        ]
    );
}

#[test]
fn silence_is_excused_while_a_command_is_unanswered_but_not_for_ever() {
    let stage = Stage::idle();
    assert!(!stage.session.busy(stage.now));
    let stage = stage.rpc(A, RecorderAction::Finish, Some("t"), SOON).after(SOON);
    assert!(stage.session.busy(stage.now));
    let stage = stage.after(BUSY_MAX);
    assert!(!stage.session.busy(stage.now));
}

#[test]
fn a_question_alone_excuses_no_silence() {
    let stage = Stage::open();
    assert!(!stage.session.busy(stage.now));
}

#[test]
fn pause_and_resume_keep_the_task_they_do_not_name() {
    let stage = Stage::idle().update("ready", "recording", Some("t"), 9).forget();
    let stage = stage.rpc(A, RecorderAction::Pause, None, SOON).response(A, true, json!({"state": "paused"}));
    assert_eq!(stage.reports()[0], observed(RecorderState::Paused, Some("t"), "rpc_response:pause"));
}

#[test]
fn a_state_that_makes_no_sense_is_not_believed() {
    let table = [
        (json!({"previous": "idle", "current": "recording"}), "state_without_task"),
        (json!({"previous": "idle", "current": "recording", "task_id": "../x"}), "state_without_task"),
        (json!({"previous": "idle", "current": "finished", "task_id": "t"}), "unknown_state"),
    ];
    for (data, cause) in table {
        let stage = Stage::idle().message(json!({"type": "state_update", "data": data}));
        assert_eq!((stage.notes(), stage.reports(), stage.view.confirmed), (vec![cause], vec![], false));
    }
}

#[test]
fn messages_of_no_use_leave_the_conversation_as_it_was() {
    let table = [
        (json!({"type": "news"}), "unknown_type"),
        (json!([1]), "unreadable"),
        (json!({"type": "rpc_response", "success": true}), "unreadable"),
        (json!({"type": "rpc_response", "request_id": "state-1-1", "success": true}), "answer_to_nobody"),
        (json!({"type": "config_applied", "data": {"task_id": "a b"}}), "invalid_task_id"),
    ];
    for (message, cause) in table {
        let stage = Stage::idle().message(message);
        assert_eq!((stage.notes(), stage.reports(), stage.view.confirmed), (vec![cause], vec![], true));
    }
}

#[test]
fn a_question_is_answered_or_times_out() {
    let ask = |mut stage: Stage| {
        let query = Request::Query { ticket: 7, action: "get_stats".to_owned(), params: Value::Null, deadline: stage.now.at + SOON };
        let effects = stage.session.request(stage.now, query);
        stage.heard(effects)
    };
    let stage = ask(Stage::idle());
    let id = stage.last_request("get_stats").unwrap();
    let stage = stage.response(&id, true, json!({"state": "idle"}));
    assert!(matches!(stage.said.last(), Some(Effect::Answer { ticket: 7, answer: Ok(_) })));

    let stage = ask(Stage::idle()).after(SOON);
    assert!(stage.said.contains(&Effect::Answer { ticket: 7, answer: Err(QueryError::TimedOut) }));
    let stage = ask(Stage::idle()).close("gone");
    assert!(stage.said.contains(&Effect::Answer { ticket: 7, answer: Err(QueryError::NotConnected) }));
}

#[derive(Clone, Debug)]
enum Step {
    Command(u8),
    Answer(u8, bool),
    Update(u8, u8),
    Garbled,
    AnswerState,
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_u8).prop_map(Step::Command),
        (0..6_u8, any::<bool>()).prop_map(|(id, success)| Step::Answer(id, success)),
        (0..4_u8, 0..4_u8).prop_map(|(from, to)| Step::Update(from, to)),
        Just(Step::Garbled),
        Just(Step::AnswerState),
        (0..10_u8).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever a recorder says and does not say: each command has exactly one outcome at the
    /// end, or one unknown and a late one after it, and none is sent beside another.
    #[test]
    fn every_command_is_settled_and_none_is_sent_beside_another(steps in prop::collection::vec(step(), 1..60)) {
        let name = |id: u8| format!("00000000-0000-4000-8000-{id:012}");
        let states = ["idle", "ready", "recording", "paused"];
        let mut stage = Stage::open();
        let mut asked = std::collections::BTreeSet::new();
        for step in steps {
            stage = match step {
                Step::Command(id) => {
                    asked.insert(name(id));
                    stage.rpc(&name(id), RecorderAction::Begin, Some("t"), SOON)
                }
                Step::Answer(id, success) if stage.last_request("begin") == Some(name(id)) => {
                    stage.response(&name(id), success, json!({"state": "recording", "task_id": "t"}))
                }
                Step::Answer(..) => stage,
                Step::Update(from, to) => stage.update(states[usize::from(from)], states[usize::from(to)], Some("t"), 50),
                Step::Garbled => {
                    let effects = stage.session.garbled(stage.now, "invalid_utf8");
                    stage.heard(effects)
                }
                Step::AnswerState => match stage.last_request("get_state") {
                    Some(id) => stage.response(&id, true, json!({"state": "idle"})),
                    None => stage,
                },
                Step::Wait(seconds) => stage.after(Duration::from_secs(seconds.into())),
            };
        }
        let stage = stage.close("gone");

        let mut outcomes = std::collections::BTreeMap::<String, Vec<CommandOutcome>>::new();
        let mut open: Option<String> = None;
        for effect in &stage.said {
            match effect {
                Effect::Send(text) => {
                    let frame: Value = serde_json::from_str(text).unwrap();
                    if frame["action"] == "begin" {
                        prop_assert_eq!(open.replace(frame["request_id"].as_str().unwrap().to_owned()), None);
                    }
                }
                Effect::Report(Report::Settled { command_id, outcome }) => {
                    // After a time-out the recorder may still be at it: only its answer, or BUSY_MAX, frees it.
                    let answered = !matches!(outcome, CommandOutcome::Unknown { .. });
                    if answered && open.as_ref() == Some(command_id) {
                        open = None;
                    }
                    outcomes.entry(command_id.clone()).or_default().push(outcome.clone());
                }
                _ => {}
            }
        }
        // At most 60 waits under 10 s: BUSY_MAX, after which a command is let through again, never passes.
        let outcomes_of = |id: &String| outcomes.get(id).cloned().unwrap_or_default();
        for id in &asked {
            let outcomes = outcomes_of(id);
            prop_assert!(!outcomes.is_empty(), "{} has no outcome", id);
            let unknown = |outcome: &CommandOutcome| matches!(outcome, CommandOutcome::Unknown { .. } | CommandOutcome::NotSent { .. });
            prop_assert!(outcomes.iter().filter(|outcome| unknown(outcome)).count() <= 1);
            prop_assert!(outcomes[1..].iter().all(|outcome| !unknown(outcome)));
        }
    }
}

#[test]
fn a_task_is_taken_from_a_recorder_only_while_it_holds_it() {
    let held = |stage: Stage| stage.rpc_if(A, RecorderAction::Clear, Some("t1"), SOON, true);
    // It holds the task: sent.
    let ready = Stage::idle().update("idle", "ready", Some("t1"), 10).forget();
    assert_eq!(held(ready).sent(), ["clear"]);
    // It holds another one, or none: not sent, and settled.
    for stage in [Stage::idle().update("idle", "ready", Some("t2"), 10).forget(), Stage::idle()] {
        let stage = held(stage);
        assert_eq!(stage.sent(), Vec::<String>::new());
        assert!(matches!(&stage.reports()[..], [Report::Settled { outcome: CommandOutcome::Refused { data: None, .. }, .. }]));
    }
    // No task was meant, and it has one by now.
    let unnamed = |stage: Stage| stage.rpc_if(A, RecorderAction::Clear, None, SOON, true);
    let begun = unnamed(Stage::idle().update("idle", "ready", Some("t2"), 10).forget());
    assert_eq!(begun.sent(), Vec::<String>::new());
    assert_eq!(unnamed(Stage::idle()).sent(), ["clear"]);
    // What it holds is not known yet: it is asked first, and then decided.
    let asked = held(Stage::open());
    assert_eq!(asked.sent(), ["get_state"]);
    let told = asked.answer_state(json!({"state": "ready", "task_id": "t1"}));
    assert_eq!(told.sent(), ["get_state", "clear"]);
}
