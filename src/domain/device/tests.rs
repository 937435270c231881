//! Links, commands, what is observed and what is to be let go of.

use super::*;
use crate::domain::Event;

fn given(events: impl IntoIterator<Item = DeviceEvent>) -> Device {
    let mut device = Device::default();
    events.into_iter().for_each(|event| device.evolve(&event));
    device
}

fn opened(epoch: i64) -> DeviceEvent {
    let (kind, remote, at) = (LinkKind::Recorder, "a".to_owned(), Timestamp::UNIX_EPOCH);
    DeviceEvent::DeviceLinkOpened { kind, epoch, remote, process: None, replaces: None, at }
}

fn requested(command_id: &str, epoch: i64) -> DeviceEvent {
    DeviceEvent::DeviceCommandRequested {
        command_id: command_id.into(),
        epoch,
        action: RecorderAction::Begin,
        task_id: None,
        params: Value::Null,
        deadline: Timestamp::UNIX_EPOCH,
        while_held: false,
        callback_token: false,
        params_beside: false,
        asynchronous: false,
        config_sha256: None,
    }
}

fn next(command_id: &str) -> NextCommand {
    NextCommand { command_id: command_id.into(), deadline: Timestamp::UNIX_EPOCH }
}

fn task(name: &str) -> PublicTaskId {
    PublicTaskId::parse(name).unwrap()
}

fn seen(epoch: i64, state: RecorderState, name: Option<&str>) -> Observed {
    Observed { epoch, state, task_id: name.map(task) }
}

fn run(device: &mut Device, command: DeviceCommand) -> Vec<DeviceEvent> {
    let events = device.decide(command).unwrap();
    events.iter().for_each(|event| device.evolve(event));
    events
}

fn observe(device: &mut Device, seen: Observed, id: &str) -> Vec<&'static str> {
    types(&run(device, DeviceCommand::Observe { seen, source: "state_update".into(), next: next(id) }))
}

fn release(device: &mut Device, name: &str, id: &str) -> Vec<DeviceEvent> {
    run(device, DeviceCommand::Release { task_id: task(name), next: next(id) })
}

fn asked(events: &[DeviceEvent]) -> Vec<RecorderAction> {
    let actions = events.iter().filter_map(|event| match event {
        DeviceEvent::DeviceCommandRequested { action, while_held: true, .. } => Some(*action),
        _ => None,
    });
    actions.collect()
}

#[test]
fn a_recorder_that_holds_a_task_is_told_to_let_go_until_it_is_seen_without_it() {
    for (state, action) in [
        (RecorderState::Ready, RecorderAction::Clear),
        (RecorderState::Recording, RecorderAction::Cancel),
        (RecorderState::Paused, RecorderAction::Cancel),
    ] {
        let mut device = given([opened(1)]);
        observe(&mut device, seen(1, state, Some("t")), "a");
        assert_eq!(asked(&release(&mut device, "t", "r1")), [action]);
        // Asked once, however often it is wanted.
        assert_eq!(asked(&release(&mut device, "t", "r2")), []);
        assert_eq!(observe(&mut device, seen(1, RecorderState::Idle, None), "b"), ["recorder_state_observed", "device_released"]);
        assert!(device.releases.is_empty());
    }
}

#[test]
fn a_recorder_that_holds_another_task_or_none_is_left_alone() {
    for state in [seen(1, RecorderState::Ready, Some("other")), seen(1, RecorderState::Idle, Some("t"))] {
        let mut device = given([opened(1)]);
        observe(&mut device, state, "a");
        assert_eq!(release(&mut device, "t", "r1"), []);
    }
}

#[test]
fn a_recorder_that_is_away_is_told_when_it_is_back_with_the_task() {
    let mut device = given([opened(1), DeviceEvent::DeviceLinkClosed { kind: LinkKind::Recorder, epoch: 1, reason: "gone".into() }]);
    assert_eq!(types(&release(&mut device, "t", "r1")), ["device_release_wanted"]);
    run(&mut device, DeviceCommand::OpenLink { kind: LinkKind::Recorder, remote: "a".into(), process: None, at: Timestamp::UNIX_EPOCH });
    let back = observe(&mut device, seen(2, RecorderState::Recording, Some("t")), "a");
    assert_eq!(back, ["recorder_state_observed", "device_command_requested"]);
}

#[test]
fn a_configuration_under_way_may_still_arrive_and_is_cleared_then() {
    let mut device = given([opened(1)]);
    observe(&mut device, seen(1, RecorderState::Idle, None), "a");
    let config = DeviceCommand::RequestCommand {
        command_id: "c".into(),
        action: RecorderAction::Config,
        task_id: Some(task("t")),
        deadline: Timestamp::UNIX_EPOCH,
        holds_none: false,
        sight: None,
        asynchronous: false,
        config_sha256: None,
    };
    run(&mut device, config);
    assert_eq!(types(&release(&mut device, "t", "r1")), ["device_release_wanted"]);
    let ready = observe(&mut device, seen(1, RecorderState::Ready, Some("t")), "b");
    assert_eq!(ready, ["recorder_state_observed", "device_command_requested"]);
}

#[test]
fn a_refused_release_is_asked_for_again_a_bounded_number_of_times_on_one_link() {
    let mut device = given([opened(1)]);
    observe(&mut device, seen(1, RecorderState::Recording, Some("t")), "a");
    let mut asks = asked(&release(&mut device, "t", "r0")).len();
    for n in 0..10 {
        let outcome = CommandOutcome::Refused { message: None, data: None };
        let command = DeviceCommand::SettleCommand { command_id: format!("r{n}"), outcome, next: next(&format!("r{}", n + 1)) };
        asks += asked(&run(&mut device, command)).len();
    }
    assert_eq!(asks, 3);
    // On a new link it may do what it did not do before.
    run(&mut device, DeviceCommand::OpenLink { kind: LinkKind::Recorder, remote: "a".into(), process: None, at: Timestamp::UNIX_EPOCH });
    let back = observe(&mut device, seen(2, RecorderState::Recording, Some("t")), "x");
    assert_eq!(back, ["recorder_state_observed", "device_command_requested"]);
}

fn types(events: &[DeviceEvent]) -> Vec<&'static str> {
    events.iter().map(Event::event_type).collect()
}

#[test]
fn a_new_connection_wins_and_leaves_no_command_without_an_outcome() {
    let device = given([opened(1), requested("c1", 1)]);
    let open = DeviceCommand::OpenLink { kind: LinkKind::Recorder, remote: "b".into(), process: None, at: Timestamp::UNIX_EPOCH };
    let events = device.decide(open).unwrap();
    assert_eq!(types(&events), ["device_command_settled", "device_link_closed", "device_link_opened"]);
    let after = given([opened(1), requested("c1", 1)].into_iter().chain(events));
    assert_eq!((after.recorder.epoch, after.open_commands.len()), (2, 0));
}

fn opens(device: &mut Device, remote: &str, seconds: i64) -> Result<Vec<&'static str>, DeviceRefusal> {
    opens_at(device, remote, 1_000 * seconds)
}

fn closes(device: &mut Device) -> usize {
    let (kind, epoch) = (LinkKind::Recorder, device.recorder.epoch);
    run(device, DeviceCommand::CloseLink { kind, epoch, reason: "gone".into(), settle: None }).len()
}

fn opens_at(device: &mut Device, remote: &str, ms: i64) -> Result<Vec<&'static str>, DeviceRefusal> {
    let at = Timestamp::UNIX_EPOCH + chrono::TimeDelta::milliseconds(ms);
    let open = DeviceCommand::OpenLink { kind: LinkKind::Recorder, remote: remote.into(), process: None, at };
    let events = device.decide(open)?;
    events.iter().for_each(|event| device.evolve(event));
    Ok(types(&events))
}

#[test]
fn two_programs_that_take_the_connection_from_each_other_are_told_apart_from_a_device_that_comes_back() {
    let mut device = Device::default();
    let mut events = 0;
    for second in 0..1_000 {
        events += opens(&mut device, if second % 2 == 0 { "a" } else { "b" }, second).map_or(0, |types| types.len());
    }
    // Ten takeovers, the first connection, and the word about it.
    assert_eq!(events, 22);
    let contest = device.recorder.contest.clone().unwrap();
    assert_eq!(contest.remotes, ["b", "a"]);
    assert_eq!(opens(&mut device, "b", 1_001), Err(DeviceRefusal::Contested { holder: "a".into() }));
    // The other kind is another matter.
    let other = DeviceCommand::OpenLink { kind: LinkKind::Transfer, remote: "b".into(), process: None, at: Timestamp::UNIX_EPOCH };
    assert!(device.decide(other).is_ok());
    // Once the one that has it is gone, the other one gets it.
    let epoch = device.recorder.epoch;
    let close = DeviceCommand::CloseLink { kind: LinkKind::Recorder, epoch, reason: "gone".into(), settle: None };
    run(&mut device, close);
    assert_eq!(opens(&mut device, "b", 1_002), Ok(vec!["device_link_opened"]));
    assert_eq!(device.recorder.epoch, epoch + 1);
    // Over, and as before.
    let end = || DeviceCommand::EndContest { kind: LinkKind::Recorder, at: Timestamp::UNIX_EPOCH };
    assert_eq!(types(&run(&mut device, end())), ["device_contest_ended"]);
    assert_eq!(run(&mut device, end()), []);
    assert_eq!(opens(&mut device, "b", 1_003), Ok(vec!["device_link_closed", "device_link_opened"]));
}

/// Two programs, by turns. Answers how many events they cost.
fn fight(device: &mut Device, cycles: i64, cycle_ms: i64, one: (i64, i64), other: (i64, Option<i64>)) -> usize {
    let (mut holder, mut events) = ("", 0);
    for cycle in 0..cycles {
        let start = cycle * cycle_ms;
        let turns = [(start + one.0, "one", true), (start + one.1, "one", false), (start + other.0, "other", true)];
        let leaves = other.1.map(|at| (start + at, "other", false));
        let mut turns: Vec<_> = turns.into_iter().chain(leaves).collect();
        turns.sort_unstable();
        for (ms, who, comes) in turns {
            match (comes, holder == who) {
                (true, false) => {
                    if let Ok(opened) = opens_at(device, who, ms) {
                        (holder, events) = (who, events + opened.len());
                    }
                }
                (false, true) => (holder, events) = ("", events + closes(device)),
                (true, true) | (false, false) => {}
            }
        }
    }
    events
}

#[test]
fn a_second_program_that_comes_and_goes_is_a_second_program_all_the_same() {
    // One is there for half a second, leaves by itself, and is back two seconds later. The other comes back a second after it was cut.
    let mut device = Device::default();
    let events = fight(&mut device, 400, 2_500, (0, 500), (1_000, None));
    assert!(device.recorder.contest.is_some());
    assert!(events < 60, "{events} events");
    // The one that stays has it.
    assert_eq!(device.recorder.remote.as_deref(), Some("other"));
    // More slowly, and once in a while the link stands empty.
    let mut device = Device::default();
    let events = fight(&mut device, 400, 20_000, (0, 8_000), (9_000, Some(9_500)));
    assert_eq!((device.recorder.contest.is_some(), events), (false, 1_600), "they never meet");
    let mut device = Device::default();
    let events = fight(&mut device, 400, 20_000, (0, 8_000), (7_000, Some(15_000)));
    assert!(device.recorder.contest.is_some(), "{events} events");
}

#[test]
fn takeovers_of_long_ago_count_no_more() {
    let mut device = Device::default();
    for hour in 0..50 {
        // One bad minute in each.
        assert!((0..5).all(|n| opens(&mut device, "a", hour * 3_600 + n * 12).is_ok()));
    }
    assert_eq!(device.recorder.contest, None);
}

#[test]
fn a_bad_network_is_no_second_program() {
    // It comes back every half minute, and its old connection still counts as open.
    let mut device = Device::default();
    assert!((0..100).all(|n| opens(&mut device, "a", n * 31).is_ok()));
    // Or every second, after its old connection was closed.
    for n in 0..100 {
        let (kind, epoch) = (LinkKind::Recorder, device.recorder.epoch);
        run(&mut device, DeviceCommand::CloseLink { kind, epoch, reason: "gone".into(), settle: None });
        assert_eq!(opens(&mut device, "a", 10_000 + n), Ok(vec!["device_link_opened"]));
    }
}

#[test]
fn commands_of_a_process_that_ended_have_an_outcome_at_once() {
    let mut device = given([opened(1), requested("c1", 1)]);
    let close = |settle| DeviceCommand::CloseLink { kind: LinkKind::Recorder, epoch: 1, reason: "it ended".into(), settle };
    assert_eq!(types(&device.clone().decide(close(None)).unwrap()), ["device_link_closed"]);
    let events = run(&mut device, close(Some(UnknownCause::ProcessEnded)));
    assert_eq!(types(&events), ["device_command_settled", "device_link_closed"]);
    let cause = |event: &DeviceEvent| match event {
        DeviceEvent::DeviceCommandSettled { outcome: CommandOutcome::Unknown { cause, .. }, .. } => *cause,
        _ => None,
    };
    assert_eq!(cause(&events[0]), Some(UnknownCause::ProcessEnded));
}

#[test]
fn what_names_no_task_means_the_one_that_the_recorder_holds() {
    use RecorderAction::{Begin, Cancel, Clear, Config, Finish, Pause, Quit, Resume};
    let request = |action| DeviceCommand::RequestCommand {
        command_id: "c".into(),
        action,
        task_id: None,
        deadline: Timestamp::UNIX_EPOCH,
        holds_none: false,
        sight: None,
        asynchronous: false,
        config_sha256: None,
    };
    let asked = |device: &Device, action| match &device.decide(request(action)).unwrap()[..] {
        [DeviceEvent::DeviceCommandRequested { task_id, params, while_held, .. }] => {
            (task_id.as_ref().map(ToString::to_string), params["task_id"].as_str().map(str::to_owned), *while_held)
        }
        other => panic!("{other:?}"),
    };
    let mut device = given([opened(1)]);
    let t = || Some("t".to_owned());
    for action in [Cancel, Clear] {
        let refused = device.decide(request(action)).map_err(|refusal| refusal.to_string());
        assert_eq!(refused, Err("the recorder has not told yet which task it has".to_owned()), "it would drop whatever it holds");
    }
    assert_eq!(asked(&device, Finish), (None, None, false), "that destroys nothing");
    observe(&mut device, seen(1, RecorderState::Paused, Some("t")), "a");
    for (action, expected) in [
        (Finish, (t(), t(), false)),
        (Cancel, (t(), t(), true)),
        (Clear, (t(), None, true)),
        (Pause, (t(), None, false)),
        (Resume, (t(), None, false)),
        (Quit, (t(), None, false)),
        (Config, (None, None, false)),
        (Begin, (None, None, false)),
    ] {
        assert_eq!(asked(&device, action), expected, "{action:?}");
    }
    // An idle recorder names the task of its last recording, and holds nothing.
    observe(&mut device, seen(1, RecorderState::Idle, Some("t")), "b");
    assert_eq!(asked(&device, Cancel), (None, None, true), "sent only while it holds none");
}

#[test]
fn what_a_person_asks_is_decided_on_what_the_recorder_says_and_not_on_what_is_stored() {
    let transfer = DeviceEvent::DeviceLinkOpened {
        kind: LinkKind::Transfer,
        epoch: 1,
        remote: "a".into(),
        process: None,
        replaces: None,
        at: Timestamp::UNIX_EPOCH,
    };
    let mut device = given([opened(1), transfer]);
    observe(&mut device, seen(1, RecorderState::Ready, Some("t")), "a");
    let ask = |action, sight| {
        device.decide(DeviceCommand::RequestCommand {
            command_id: "c".into(),
            action,
            task_id: Some(task("t")),
            deadline: Timestamp::UNIX_EPOCH,
            holds_none: false,
            sight,
            asynchronous: false,
            config_sha256: None,
        })
    };
    let says = |state| Some(Sight::Seen { state, task_id: Some(task("t")) });
    let not_now = |refusal| Err(DeviceRefusal::NotNow(refusal));
    assert!(ask(RecorderAction::Config, says(RecorderState::Idle)).is_ok() && ask(RecorderAction::Config, None).is_ok());
    assert!(ask(RecorderAction::Begin, says(RecorderState::Ready)).is_ok());
    let task_id = Some(task("t"));
    let busy = GateRefusal::Busy { state: RecorderState::Recording, task_id: task_id.clone() };
    assert_eq!(ask(RecorderAction::Config, says(RecorderState::Recording)), not_now(busy));
    let not_ready = GateRefusal::NotReady { state: RecorderState::Idle, task_id };
    assert_eq!(ask(RecorderAction::Begin, says(RecorderState::Idle)), not_now(not_ready));
    assert_eq!(ask(RecorderAction::Begin, Some(Sight::Unknown)), not_now(GateRefusal::StateNotTold));
    assert!(ask(RecorderAction::Cancel, says(RecorderState::Recording)).is_ok(), "the device itself looks at that");
}

#[test]
fn what_was_not_sent_is_over_and_no_answer_to_it_is_waited_for() {
    let mut device = given([opened(1), requested("c1", 1)]);
    let settle = |outcome| DeviceCommand::SettleCommand { command_id: "c1".into(), outcome, next: next("n") };
    run(&mut device, settle(CommandOutcome::not_sent(NotSentCause::Overloaded, "busy")));
    assert!(device.open_commands.is_empty() && device.given_up.is_empty() && device.begun_unheard.is_none());
    assert_eq!(device.decide(settle(CommandOutcome::Succeeded { message: None, data: None })), Ok(vec![]));
}

#[test]
fn what_a_replaced_connection_says_changes_nothing() {
    let device = given([opened(1), opened(2)]);
    let seen = Observed { epoch: 1, state: RecorderState::Recording, task_id: None };
    let observe = DeviceCommand::Observe { seen, source: "state_update".into(), next: next("n") };
    assert_eq!(device.decide(observe), Ok(vec![]));
    let close = DeviceCommand::CloseLink { kind: LinkKind::Recorder, epoch: 1, reason: "late".into(), settle: None };
    assert_eq!(device.decide(close), Ok(vec![]));
}

#[test]
fn an_answer_after_its_command_was_given_up_is_recorded_and_settles_nothing() {
    let settle = |outcome| DeviceCommand::SettleCommand { command_id: "c1".into(), outcome, next: next("n") };
    let unknown = CommandOutcome::unknown(UnknownCause::TimedOut, "no answer in time");
    let device = given([opened(1), requested("c1", 1)]);
    let events = device.decide(settle(unknown.clone())).unwrap();
    assert_eq!(types(&events), ["device_command_settled"]);
    let device = given([opened(1), requested("c1", 1)].into_iter().chain(events));
    assert_eq!(device.decide(settle(unknown)), Ok(vec![]));
    let answer = || settle(CommandOutcome::Succeeded { message: None, data: None });
    let mut device = device;
    assert_eq!(types(&run(&mut device, answer())), ["device_command_answered_late"]);
    // Said twice, or said of what nobody asked: nothing.
    assert_eq!(device.decide(answer()), Ok(vec![]));
    let stray = DeviceCommand::SettleCommand {
        command_id: "c2".into(),
        outcome: CommandOutcome::Succeeded { message: None, data: None },
        next: next("n"),
    };
    assert_eq!(device.decide(stray), Ok(vec![]));
}

#[test]
fn refused_messages_are_recorded_until_it_is_clear_that_they_go_on() {
    let mut device = given([opened(1)]);
    let refuse = |device: &mut Device| run(device, DeviceCommand::RefuseReport { report: "r".into(), reason: "s".into() }).len();
    assert_eq!((0..1_000).map(|_| refuse(&mut device)).sum::<usize>(), REFUSED_MAX as usize);
    device.evolve(&opened(2));
    assert_eq!(refuse(&mut device), 1);
}

#[test]
fn only_the_latest_of_the_commands_without_an_outcome_are_remembered() {
    let mut device = given([opened(1)]);
    for n in 0..GIVEN_UP_MAX + 5 {
        let id = format!("c{n}");
        device.evolve(&requested(&id, 1));
        let outcome = CommandOutcome::unknown(UnknownCause::TimedOut, "");
        run(&mut device, DeviceCommand::SettleCommand { command_id: id, outcome, next: next("n") });
    }
    assert_eq!((device.given_up.len(), device.given_up[0].as_str()), (GIVEN_UP_MAX, "c5"));
}

#[test]
fn strangers_leave_a_device_its_own_refusals() {
    let mut device = given([opened(1)]);
    let refuse = |device: &mut Device, stranger: bool| {
        let (report, reason) = ("finish_callback".to_owned(), "no token".to_owned());
        let command =
            if stranger { DeviceCommand::RefuseStranger { report, reason } } else { DeviceCommand::RefuseReport { report, reason } };
        run(device, command).len()
    };
    assert_eq!((0..200).map(|_| refuse(&mut device, true)).sum::<usize>(), 20);
    assert_eq!((0..200).map(|_| refuse(&mut device, false)).sum::<usize>(), 80);
}

#[test]
fn what_an_older_version_configured_is_known_until_the_next_configuration() {
    let mut device = given([opened(1)]);
    let configure = |command_id: &str, name: &str| DeviceCommand::RequestCommand {
        command_id: command_id.into(),
        action: RecorderAction::Config,
        task_id: Some(task(name)),
        deadline: Timestamp::UNIX_EPOCH,
        holds_none: false,
        sight: None,
        asynchronous: false,
        config_sha256: None,
    };
    let older: DeviceEvent = serde_json::from_value(serde_json::json!({ "device_command_requested": {
        "command_id": "a", "epoch": 1, "action": "config", "task_id": "t-1", "params": {}, "deadline": "2026-11-20T19:53:07Z",
    }}))
    .unwrap();
    device.evolve(&older);
    assert_eq!(device.tokenless, Some(task("t-1")));
    run(
        &mut device,
        DeviceCommand::RequestCommand {
            command_id: "b".into(),
            action: RecorderAction::Begin,
            task_id: Some(task("t-1")),
            deadline: Timestamp::UNIX_EPOCH,
            holds_none: false,
            sight: None,
            asynchronous: false,
            config_sha256: None,
        },
    );
    assert_eq!(device.tokenless, Some(task("t-1")));
    run(&mut device, configure("c", "t-1"));
    assert_eq!(device.tokenless, None);
}
