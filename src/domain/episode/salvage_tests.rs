//! What is decided about salvage: who gets it, once, and what ends it.

use chrono::TimeDelta;

use super::tests::created;
use super::*;
use crate::domain::Actor;
use crate::domain::judgement::TaskWants;
use crate::domain::measurement::{Finding, FindingKind, Listed};
use crate::domain::salvage::{self, Salvaged};

fn at(hours: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + TimeDelta::hours(hours)
}

fn episode(events: impl IntoIterator<Item = EpisodeEvent>) -> Episode {
    let mut episode = Episode::default();
    events.into_iter().for_each(|event| episode.evolve(&event));
    episode
}

/// Accepted although damaged, and measured.
fn damaged() -> Episode {
    let damage = Some(Damage { what: "cut".into(), reason: "wanted".into() });
    let cut = Finding { kind: FindingKind::Cut, at: 9, bytes: 1, chunk: None, text: "it ends".into() };
    let facts = Facts { findings: Listed::of([cut], 1), ..Facts::none(10) };
    episode([
        EpisodeEvent::EpisodeCreated(Created { damage, ..created() }),
        EpisodeEvent::EpisodeMeasured(Box::new(Measured { facts, wants: TaskWants::default() })),
    ])
}

fn ask(hour: i64, file_gone: bool) -> EpisodeCommand {
    EpisodeCommand::AskForSalvage(NewSalvage { reason: "why".into(), by: Actor::Admin, at: at(hour), file_gone })
}

fn end(request: i32, made_by: u32) -> EpisodeCommand {
    let salvaged = Box::new(Salvaged { made_by, messages_kept: 3, ..Salvaged::default() });
    EpisodeCommand::EndSalvage { request, outcome: SalvageOutcome::Salvaged { object_key: "salvaged/a.mcap".into(), salvaged }, at: at(1) }
}

fn fail(request: i32) -> EpisodeCommand {
    let outcome = SalvageOutcome::Failed { fault: SalvageFault::ObjectGone, text: "x".repeat(1000) };
    EpisodeCommand::EndSalvage { request, outcome, at: at(1) }
}

/// The names of what happens, which then has happened.
fn done(episode: &mut Episode, command: EpisodeCommand) -> Vec<&'static str> {
    let events = episode.decide(command).expect("it is not refused");
    events.iter().for_each(|event| episode.evolve(event));
    events.iter().map(crate::domain::Event::event_type).collect()
}

fn salvage_of(episode: &Episode) -> &Salvage {
    let Episode::Known(known) = episode else { panic!("{episode:?}") };
    &known.salvage
}

#[test]
fn only_what_failed_and_is_damaged_is_salvaged() {
    assert_eq!(Episode::Absent.decide(ask(0, false)), Err(EpisodeRefusal::NoSuchEpisode));
    let fresh = episode([EpisodeEvent::EpisodeCreated(created())]);
    assert_eq!(fresh.decide(ask(0, false)), Err(EpisodeRefusal::NotFailed { status: QaStatus::PendingQa }));
    let damage = Some(Damage { what: "another hash".into(), reason: "wanted".into() });
    let mut sound = episode([EpisodeEvent::EpisodeCreated(Created { damage, ..created() })]);
    assert_eq!(sound.decide(ask(0, false)), Err(EpisodeRefusal::NothingToSalvage), "it was not measured");
    sound.evolve(&EpisodeEvent::EpisodeMeasured(Box::new(Measured { facts: Facts::none(10), wants: TaskWants::default() })));
    assert_eq!(sound.decide(ask(0, false)), Err(EpisodeRefusal::NothingToSalvage), "nothing was found");
}

#[test]
fn one_request_goes_on_at_a_time_and_ends_once() {
    let mut episode = damaged();
    let before = episode.clone();
    assert_eq!(done(&mut episode, end(1, salvage::VERSION)), [""; 0], "nobody asked");
    assert_eq!(done(&mut episode, ask(0, false)), ["salvage_requested"]);
    assert_eq!(episode.decide(ask(47, false)), Err(EpisodeRefusal::SalvageUnderWay));
    assert_eq!(done(&mut episode, end(2, salvage::VERSION)), [""; 0], "another request");
    assert_eq!(done(&mut episode, end(1, salvage::VERSION)), ["recording_salvaged"]);
    for again in [end(1, salvage::VERSION), fail(1)] {
        assert_eq!(done(&mut episode, again), [""; 0], "it has ended");
    }
    assert_eq!(salvage_of(&episode).state(), SalvageState::Salvaged);
    let (Episode::Known(before), Episode::Known(after)) = (before, episode) else { panic!("no episode") };
    assert_eq!((&before.qa, &before.created), (&after.qa, &after.created), "it stays what it is");
}

#[test]
fn what_is_there_is_not_made_again_unless_it_went_or_newer_code_would_make_it() {
    for (made_by, gone, asked) in [
        (salvage::VERSION, false, vec![]),
        (salvage::VERSION, true, vec!["salvage_requested"]),
        (salvage::VERSION - 1, false, vec!["salvage_requested"]),
    ] {
        let mut episode = damaged();
        done(&mut episode, ask(0, false));
        done(&mut episode, end(1, made_by));
        assert_eq!(done(&mut episode, ask(2, gone)), asked, "{made_by} {gone}");
        assert!(salvage_of(&episode).file.is_some(), "the one before is there meanwhile");
    }
}

#[test]
fn after_a_failure_and_after_two_days_without_an_end_it_is_asked_for_anew() {
    let mut episode = damaged();
    done(&mut episode, ask(0, false));
    assert_eq!(done(&mut episode, fail(1)), ["salvage_failed"]);
    let text = salvage_of(&episode).failed().map_or(0, |failed| failed.text.len());
    assert_eq!((text, salvage_of(&episode).state()), (240, SalvageState::Failed), "the text is bounded");
    assert_eq!(done(&mut episode, ask(2, false)), ["salvage_requested"]);
    assert_eq!(done(&mut episode, ask(2 + 48, false)), ["salvage_requested"], "nobody works on it any more");
    assert_eq!(done(&mut episode, end(2, salvage::VERSION)), [""; 0], "the end of one that was given up");
    assert_eq!(done(&mut episode, end(3, salvage::VERSION)), ["recording_salvaged"]);
}
