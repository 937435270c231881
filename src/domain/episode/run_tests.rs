//! Whatever is asked of an episode, in whatever order: what a run may change, and what it says.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use proptest::prelude::*;

use super::tests::created;
use super::*;
use crate::domain::judgement::Verdict;
use crate::domain::operator_word::WordVerdict;
use crate::domain::{OutsideJobId, QaSuiteId};

#[derive(Clone, Debug)]
enum Ask {
    Start { run: u8, mode: RunMode, seconds: i64 },
    WaitFor { run: u8, mode: RunMode, seconds: i64 },
    End { run: u8, mode: RunMode, verdict: Verdict },
    Abandon { run: u8 },
    Wait { seconds: i64 },
    Say { discards: bool },
}

fn ask() -> impl Strategy<Value = Ask> {
    let mode = || prop_oneof![Just(RunMode::Auto), Just(RunMode::Manual), Just(RunMode::Apply)];
    let verdict = prop_oneof![Just(Verdict::Approved), Just(Verdict::Failed), Just(Verdict::NeedsInspection)];
    prop_oneof![
        (0..6_u8, mode(), 0..5_i64).prop_map(|(run, mode, seconds)| Ask::Start { run, mode, seconds }),
        (0..6_u8, mode(), 0..5_i64).prop_map(|(run, mode, seconds)| Ask::WaitFor { run, mode, seconds }),
        (0..6_u8, mode(), verdict).prop_map(|(run, mode, verdict)| Ask::End { run, mode, verdict }),
        (0..6_u8).prop_map(|run| Ask::Abandon { run }),
        (0..5_i64).prop_map(|seconds| Ask::Wait { seconds }),
        any::<bool>().prop_map(|discards| Ask::Say { discards }),
    ]
}

fn waits(run: &str, mode: RunMode, until: Timestamp) -> EpisodeCommand {
    let jobs = vec![AwaitedJob { job_id: OutsideJobId(1), check: "grasp".into() }];
    EpisodeCommand::WaitForOutside(Waits { run: run.into(), mode, suite_id: QaSuiteId(1), jobs, until })
}

fn word(discards: bool, at: Timestamp) -> OperatorWord {
    let verdict = if discards { WordVerdict::Discard } else { WordVerdict::Keep };
    OperatorWord { verdict, demonstration: None, note: None, by: None, at }
}

fn judgement(run: u8, verdict: Verdict) -> Judgement {
    Judgement {
        reference: None,
        suite: "default".into(),
        suite_version: 1,
        suite_sha256: None,
        measured_by: 1,
        verdict,
        score: f64::from(run) / 10.0,
        approve_at: 0.9,
        parts: BTreeMap::new(),
        flag: (verdict != Verdict::Approved).then(|| format!("flag of {run}")),
        checks: vec![],
    }
}

fn qa(episode: &Episode) -> &Qa {
    match episode {
        Episode::Known(episode) => &episode.qa,
        Episode::Absent => panic!("it was created"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn a_run_ends_once_holds_alone_and_changes_nothing_that_is_protected(
        asks in prop::collection::vec(ask(), 0..40),
        is_damaged in prop::bool::weighted(0.2),
    ) {
        let damage = is_damaged.then(|| Damage { what: "cut".into(), reason: "the only one".into() });
        let mut episode = Episode::default();
        episode.evolve(&EpisodeEvent::EpisodeCreated(Created { damage: damage.clone(), ..created() }));
        let mut now = Timestamp::UNIX_EPOCH;
        let (mut ended, mut approved) = (BTreeMap::<String, usize>::new(), false);
        // What status, score and flag have to be: of the last run that counted, or of a word behind it.
        let mut standing = match &damage {
            Some(damage) => (QaStatus::Failed, None, Some(damage.flag())),
            None => (QaStatus::PendingQa, None, None),
        };
        let mut discarded: Option<String> = None;
        for ask in asks {
            let before = qa(&episode).clone();
            let name = |run: u8| format!("run-{run}");
            let command = match ask {
                Ask::Wait { seconds } => {
                    now += TimeDelta::seconds(seconds);
                    continue;
                }
                Ask::Start { run, mode, seconds } => {
                    EpisodeCommand::StartRun { run: name(run), mode, until: now + TimeDelta::seconds(seconds), now }
                }
                Ask::WaitFor { run, mode, seconds } => waits(&name(run), mode, now + TimeDelta::seconds(seconds)),
                Ask::End { run, mode, verdict } => {
                    EpisodeCommand::EndRun { run: name(run), number: 1, mode, judgement: judgement(run, verdict), at: now }
                }
                Ask::Abandon { run } => EpisodeCommand::AbandonRun { run: name(run), why: String::new() },
                Ask::Say { discards } => EpisodeCommand::HearWord { word: word(discards, now) },
            };
            let Ok(events) = episode.decide(command) else {
                prop_assert_eq!(qa(&episode), &before, "a refusal changes nothing");
                continue;
            };
            for event in &events {
                episode.evolve(event);
                match event {
                    EpisodeEvent::QaRunStarted(running) => {
                        let other = before.running.as_ref().filter(|other| other.run != running.run);
                        prop_assert!(other.is_none_or(|other| other.until <= now), "held by two: {other:?} and {running:?}");
                    }
                    EpisodeEvent::QaRunEnded(run) => {
                        *ended.entry(run.run.clone()).or_default() += 1;
                        // Without people, only a word of the operator holds off a suite that is applied.
                        let replaced = before.unjudged_word || (run.mode == RunMode::Apply && !before.by_word);
                        prop_assert_eq!(run.kept, before.settled.is_protected() && !replaced);
                        if !run.kept {
                            let judged = run.judgement.clone();
                            standing = (QaStatus::from(judged.verdict), Some(judged.score), judged.flag);
                            if let Some(reason) = discarded.clone().filter(|_| judged.verdict != Verdict::Failed) {
                                (standing.0, standing.2) = (QaStatus::NeedsInspection, Some(reason));
                            }
                            if let Some(damage) = &damage {
                                (standing.0, standing.2) = (QaStatus::Failed, Some(damage.flag()));
                            }
                        }
                    }
                    EpisodeEvent::OperatorWordHeard { word, effect } => {
                        discarded = word.discards().then(|| word.reason());
                        standing = match effect {
                            WordEffect::Held => (QaStatus::NeedsInspection, None, Some(word.reason())),
                            WordEffect::Freed => (QaStatus::PendingQa, None, None),
                            WordEffect::Noted => standing,
                        };
                    }
                    EpisodeEvent::EpisodeApproved { .. } => {
                        prop_assert!(!std::mem::replace(&mut approved, true));
                    }
                    EpisodeEvent::EpisodeApprovalLost { .. } => {
                        prop_assert!(std::mem::replace(&mut approved, false));
                    }
                    _ => {}
                }
            }
            let after = qa(&episode);
            // What a run waits for is in its verdict: nothing but its end lets go of it.
            if let Some(waits) = &before.waits {
                let ends = events.iter().any(|event| matches!(event, EpisodeEvent::QaRunEnded(run) if run.run == waits.run));
                prop_assert_eq!(after.waits.is_none(), ends);
            }
            prop_assert_eq!(after.waits.as_ref().map(|waits| &waits.run), after.running.as_ref().map(|running| &running.run).filter(|_| after.waits.is_some()));
            let of_a_run = matches!(events.first(), Some(EpisodeEvent::QaRunEnded(run)) if run.mode != RunMode::Apply);
            if before.settled.is_protected() && !before.unjudged_word && of_a_run {
                prop_assert_eq!((after.settled, after.score, &after.flag), (before.settled, before.score, &before.flag));
            }
            prop_assert_eq!((after.settled, after.score, after.flag.clone()), standing.clone());
            prop_assert_eq!(after.settled.is_approved(), approved);
            prop_assert!(!(approved && discarded.is_some()), "approved although its operator does not want it");
            prop_assert!(!after.auto_approved || after.settled == QaStatus::Approved);
        }
        // A name that came again after another run ended is another run.
        let last = qa(&episode).last.as_ref().map(|last| last.run.clone());
        prop_assert!(last.is_none_or(|last| ended[&last] >= 1));
    }
}

fn with(asks: impl IntoIterator<Item = EpisodeCommand>) -> Episode {
    let mut episode = Episode::default();
    episode.evolve(&EpisodeEvent::EpisodeCreated(created()));
    for ask in asks {
        let events = episode.decide(ask).unwrap();
        events.iter().for_each(|event| episode.evolve(event));
    }
    episode
}

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn start(run: &str, mode: RunMode, seconds: i64) -> EpisodeCommand {
    EpisodeCommand::StartRun { run: run.into(), mode, until: NOW + TimeDelta::seconds(seconds), now: NOW }
}

fn end(run: &str, mode: RunMode, verdict: Verdict) -> EpisodeCommand {
    EpisodeCommand::EndRun { run: run.into(), number: 1, mode, judgement: judgement(9, verdict), at: NOW }
}

#[test]
fn an_automatic_approval_is_lost_with_the_approval_and_does_not_come_back() {
    use RunMode::{Auto, Manual};
    let auto = |commands: Vec<EpisodeCommand>| qa(&with(commands)).auto_approved;
    let manual = |run, verdict| [start(run, Manual, 60), end(run, Manual, verdict)];
    let first = || vec![end("a", Auto, Verdict::Approved)];
    assert!(auto(first()));
    assert!(auto([first(), manual("b", Verdict::Approved).into()].concat()), "it stands");
    let failed: Vec<_> = [first(), manual("b", Verdict::Failed).into()].concat();
    assert!(!auto(failed.clone()));
    assert!(!auto([failed, manual("c", Verdict::Approved).into()].concat()));
}

#[test]
fn a_run_of_the_same_name_goes_on_and_another_one_waits() {
    let held = with([start("a", RunMode::Manual, 60)]);
    assert_eq!(held.decide(start("a", RunMode::Manual, 90)), Ok(vec![]));
    assert_eq!(held.decide(start("b", RunMode::Manual, 90)), Err(EpisodeRefusal::QaRunning));
    assert_eq!(held.decide(end("b", RunMode::Auto, Verdict::Approved)), Err(EpisodeRefusal::QaRunning));
    assert_eq!(qa(&held).status(), QaStatus::QaRunning);
    // One that lost its time cannot say what it found.
    let over = with([start("a", RunMode::Manual, 0), start("b", RunMode::Manual, 60)]);
    assert_eq!(over.decide(end("a", RunMode::Manual, Verdict::Approved)), Err(EpisodeRefusal::QaRunning));
    let idle = with([start("a", RunMode::Manual, 60), EpisodeCommand::AbandonRun { run: "a".into(), why: String::new() }]);
    assert_eq!(idle.decide(end("a", RunMode::Manual, Verdict::Approved)), Err(EpisodeRefusal::RunLost));
    assert_eq!(qa(&idle).status(), QaStatus::PendingQa);
}

#[test]
fn a_run_that_waits_holds_the_episode_until_it_ends() {
    use RunMode::{Auto, Manual};
    let waiting = with([waits("a", Auto, NOW)]);
    assert_eq!(qa(&waiting).status(), QaStatus::QaRunning);
    // Its time is over, and still it says what was not done before another one begins.
    assert_eq!(waiting.decide(start("b", Manual, 60)), Err(EpisodeRefusal::QaRunning));
    assert_eq!(waiting.decide(waits("b", Manual, NOW)), Err(EpisodeRefusal::QaRunning));
    assert_eq!(waiting.decide(waits("a", Auto, NOW)), Ok(vec![]));
    assert_eq!(waiting.decide(EpisodeCommand::AbandonRun { run: "a".into(), why: String::new() }), Ok(vec![]));
    let events = waiting.decide(end("a", Auto, Verdict::NeedsInspection)).unwrap();
    assert!(matches!(&events[..], [EpisodeEvent::QaRunEnded(run)] if !run.kept), "{events:?}");
    let ended = with([waits("a", Auto, NOW), end("a", Auto, Verdict::NeedsInspection)]);
    assert_eq!(qa(&ended).status(), QaStatus::NeedsInspection);
    assert_eq!(ended.decide(waits("a", Auto, NOW)), Err(EpisodeRefusal::RunEnded));
    assert_eq!(ended.decide(waits("b", Auto, NOW)), Err(EpisodeRefusal::NotPending { status: QaStatus::NeedsInspection }));
}

#[test]
fn a_protected_episode_is_held_by_a_run_and_shows_its_status() {
    let waits = with([end("a", RunMode::Auto, Verdict::NeedsInspection), start("b", RunMode::Manual, 60)]);
    assert_eq!(qa(&waits).status(), QaStatus::NeedsInspection);
    assert_eq!(waits.decide(start("c", RunMode::Manual, 60)), Err(EpisodeRefusal::QaRunning));
    let events = waits.decide(end("b", RunMode::Manual, Verdict::Approved)).unwrap();
    assert!(matches!(&events[..], [EpisodeEvent::QaRunEnded(run)] if run.kept), "{events:?}");
}

#[test]
fn a_discard_needs_an_inspection_whenever_it_comes_and_the_last_word_counts() {
    use RunMode::Auto;
    let say = |discards| EpisodeCommand::HearWord { word: word(discards, NOW) };
    let stands = |asks: Vec<EpisodeCommand>| {
        let episode = with(asks);
        let qa = qa(&episode);
        (qa.status(), qa.flag.clone(), qa.auto_approved)
    };
    let reason = Some("the operator discards it".to_owned());
    let held = (QaStatus::NeedsInspection, reason.clone(), false);
    let approve = || end("a", Auto, Verdict::Approved);
    assert_eq!(stands(vec![say(true)]), held);
    assert_eq!(stands(vec![say(true), approve()]), held);
    assert_eq!(stands(vec![approve(), say(true)]), held);
    assert_eq!(stands(vec![say(true), end("a", Auto, Verdict::NeedsInspection)]), held);
    // What it was becomes of it again, by a run.
    assert_eq!(stands(vec![say(true), say(false)]), (QaStatus::PendingQa, None, false));
    assert_eq!(stands(vec![say(true), approve(), say(false), end("b", Auto, Verdict::Approved)]), (QaStatus::Approved, None, true));
    // What failed stays failed, before a word and behind it.
    let failed = (QaStatus::Failed, Some("flag of 9".to_owned()), false);
    assert_eq!(stands(vec![end("a", Auto, Verdict::Failed), say(true)]), failed);
    assert_eq!(stands(vec![say(true), end("a", Auto, Verdict::Failed)]), failed);
    // What a machine sent to inspection stays there.
    let flagged = (QaStatus::NeedsInspection, Some("flag of 9".to_owned()), false);
    let inspect = || end("a", Auto, Verdict::NeedsInspection);
    assert_eq!(stands(vec![inspect(), say(true)]), flagged);
    assert_eq!(stands(vec![inspect(), say(true), say(false)]), flagged);
    // The run that hears it may change it, and no other one.
    let judged = with([say(true), approve()]);
    assert_eq!(judged.decide(end("b", Auto, Verdict::Approved)), Err(EpisodeRefusal::NotPending { status: QaStatus::NeedsInspection }));
    assert_eq!(judged.decide(say(true)), Ok(vec![]));
}

#[test]
fn an_approval_is_lost_by_a_discard_and_what_was_inspected_hears_no_word() {
    let say = |discards, seconds| EpisodeCommand::HearWord { word: word(discards, NOW + TimeDelta::seconds(seconds)) };
    let approved = with([end("a", RunMode::Auto, Verdict::Approved)]);
    let events = approved.decide(say(true, 0)).unwrap();
    assert!(matches!(&events[1], EpisodeEvent::EpisodeApprovalLost { run: None }) && events.len() == 2, "{events:?}");

    let take = EpisodeCommand::Take {
        by: InspectorId(1),
        level: Level::Senior,
        levels: Levels::default(),
        until: NOW + TimeDelta::seconds(60),
        now: NOW,
    };
    let taken = with([say(true, 0), take]);
    let noted = taken.decide(say(false, 1)).unwrap();
    assert!(matches!(&noted[..], [EpisodeEvent::OperatorWordHeard { effect: WordEffect::Noted, .. }]), "{noted:?}");
    let mut decided = taken;
    let decision = NewDecision {
        number: 1,
        by: InspectorId(1),
        level: Level::Senior,
        levels: Levels::default(),
        decision: Decision::Approved,
        reason: "as I see it".into(),
        tags: vec![],
        duration_sec: None,
        second_wanted: false,
        at: NOW,
    };
    let events = decided.decide(EpisodeCommand::Decide(Box::new(decision))).unwrap();
    events.iter().for_each(|event| decided.evolve(event));
    assert_eq!(decided.decide(say(false, 2)), Err(EpisodeRefusal::Inspected));
    // What was said before is a repeat, also now.
    assert_eq!(decided.decide(say(true, 3)), Ok(vec![]));
}
