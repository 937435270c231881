//! Whatever is told of a chain, in whatever order: who holds it, what is counted, and how it ends.

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

fn queued(clouds: &[CloudName]) -> SyncQueued {
    SyncQueued {
        episode_id: EpisodeId(1),
        episode_public_id: "e".into(),
        factory_id: FactoryId(1),
        organization_id: OrganizationId(1),
        reason: SyncReason::Manual,
        clouds: clouds.to_vec(),
        source_path: "b/k".into(),
        size_bytes: 10,
        sha256: "00".into(),
        priority: Priority::Normal,
        approved_at: None,
        supersedes: None,
        begun: None,
        at: at(0),
    }
}

fn held(cloud: CloudName, session: u8) -> Held {
    Held { cloud, session: session.to_string() }
}

fn failure() -> SyncFailure {
    SyncFailure::new(SyncFault::CloudAway, "away")
}

fn after(clouds: &[CloudName], commands: impl IntoIterator<Item = ChainCommand>) -> SyncChain {
    let mut chain = SyncChain::default();
    for command in std::iter::once(ChainCommand::Queue(Box::new(queued(clouds)))).chain(commands) {
        let events = chain.decide(command).unwrap();
        events.iter().for_each(|event| chain.evolve(event));
    }
    chain
}

fn known(chain: &SyncChain) -> &Chain {
    match chain {
        SyncChain::Known(chain) => chain,
        SyncChain::Absent => panic!("it was queued"),
    }
}

fn claim(cloud: CloudName, session: u8, attempt: u32, now: i64) -> ChainCommand {
    ChainCommand::Claim { held: held(cloud, session), attempt, at: at(now) }
}

fn fail(session: u8, wait_s: u64, limits: Limits, now: i64) -> ChainCommand {
    ChainCommand::Fail { held: held(CloudName::S3, session), failure: failure(), wait_ms: wait_s * 1000, limits, at: at(now) }
}

#[test]
fn what_is_left_behind_is_noted_of_a_chain_that_lost_its_approval_and_once() {
    let object = FinishedObject {
        bucket: "b".into(),
        object_key: "k".into(),
        etag: "\"e\"".into(),
        size_bytes: 10,
        proof: Proof::EtagOfParts,
        checksum: None,
    };
    let left = |cloud| ChainCommand::NoteLeftBehind { cloud, object: object.clone(), at: at(9) };
    let over = |cause| ChainCommand::GiveUp { cause, failure: failure(), at: at(5) };
    for cloud in CloudName::ALL {
        let chain = after(&[*cloud], [claim(*cloud, 1, 1, 1), over(GivenUpCause::NotEligible), left(*cloud), left(*cloud)]);
        assert_eq!(known(&chain).left_behind().get(cloud).map(|pushed| &pushed.object), Some(&object));
        assert_eq!(chain.decide(left(*cloud)).unwrap(), []);
        assert!(known(&chain).lost_its_approval() && known(&chain).is_over_in(*cloud));
        for chain in [after(&[*cloud], [claim(*cloud, 1, 1, 1)]), after(&[*cloud], [over(GivenUpCause::Superseded)])] {
            assert_eq!(chain.decide(left(*cloud)).unwrap(), []);
        }
    }
    // An object that the gateway was not told of is ended with its session.
    let finish = ChainCommand::FinishObject { held: held(CloudName::Gateway, 1), object: object.clone() };
    let chain = after(&[CloudName::Gateway], [claim(CloudName::Gateway, 1, 1, 1), finish, over(GivenUpCause::NotEligible)]);
    assert!(known(&chain).left_behind().is_empty());
}

const NO_LIMITS: Limits = Limits { deadline_ms: None, attempts_max: None };

#[test]
fn an_outage_is_nobodys_attempt_and_takes_no_time_of_the_deadline() {
    let limits = Limits { deadline_ms: Some(60_000), attempts_max: Some(2) };
    let mut commands = vec![];
    // For three days, probe by probe.
    for hour in 0..72 {
        commands.push(claim(CloudName::S3, 1, 1, hour * 3600));
        commands.push(ChainCommand::Hold { held: held(CloudName::S3, 1), failure: failure(), at: at(hour * 3600 + 10) });
    }
    commands.push(claim(CloudName::S3, 2, 1, 72 * 3600));
    commands.push(fail(2, 5, limits, 72 * 3600 + 1));
    let chain = after(&[CloudName::S3], commands);
    let chain = known(&chain);
    assert_eq!((chain.status(), chain.attempts(), chain.spent_ms), (ChainStatus::Failed, 1, 6_000));
    assert_eq!(chain.next_retry_at(), Some(at(72 * 3600 + 6)));
}

#[test]
fn a_chain_is_given_up_when_it_was_tried_for_too_long_or_too_often() {
    let late = after(&[CloudName::S3], [claim(CloudName::S3, 1, 1, 0), fail(1, 50, Limits { deadline_ms: Some(60_000), ..NO_LIMITS }, 10)]);
    assert_eq!(known(&late).end, Some(ChainEnd::GivenUp { cause: GivenUpCause::Deadline, at: at(10) }));
    let often = after(&[CloudName::S3], [claim(CloudName::S3, 1, 5, 0), fail(1, 0, Limits { attempts_max: Some(5), ..NO_LIMITS }, 1)]);
    assert_eq!(known(&often).end, Some(ChainEnd::GivenUp { cause: GivenUpCause::Attempts, at: at(1) }));
    assert_eq!(known(&often).next_retry_at(), None);
}

#[test]
fn it_is_there_when_all_of_its_clouds_have_it() {
    let finish = |cloud, session| ChainCommand::FinishLeg { held: held(cloud, session), at: at(9) };
    let both = [CloudName::S3, CloudName::Gateway];
    let one = after(&both, [claim(CloudName::S3, 1, 1, 0), finish(CloudName::S3, 1)]);
    assert_eq!(known(&one).status(), ChainStatus::Pending);
    let all = after(
        &both,
        [claim(CloudName::S3, 1, 1, 0), claim(CloudName::Gateway, 2, 1, 1), finish(CloudName::S3, 1), finish(CloudName::Gateway, 2)],
    );
    assert_eq!(known(&all).status(), ChainStatus::Completed);
    assert_eq!(all.decide(claim(CloudName::S3, 3, 1, 10)), Err(ChainRefusal::Over));
}

#[test]
fn an_outage_takes_a_try_back_and_not_what_was_begun_before_it() {
    let hold = ChainCommand::Hold { held: held(CloudName::S3, 1), failure: failure(), at: at(1) };
    let chain = after(&[CloudName::S3], [claim(CloudName::S3, 1, 1, 0), hold, claim(CloudName::S3, 2, 1, 2)]);
    let leg = &known(&chain).legs[&CloudName::S3];
    assert_eq!((leg.attempts, leg.claims), (1, 2));
}

#[test]
fn a_leg_that_is_given_up_leaves_the_others_on_their_way() {
    let both = [CloudName::S3, CloudName::Gateway];
    let give_up = |cloud, session| ChainCommand::GiveUpLeg {
        held: held(cloud, session),
        cause: GivenUpCause::Permanent,
        failure: failure(),
        at: at(5),
    };
    let begun = [claim(CloudName::S3, 1, 1, 0), claim(CloudName::Gateway, 2, 1, 1), give_up(CloudName::Gateway, 2)];
    let one = after(&both, begun.clone());
    assert_eq!((known(&one).status(), &known(&one).end), (ChainStatus::InProgress, &None));
    assert_eq!(one.decide(claim(CloudName::Gateway, 3, 1, 6)), Err(ChainRefusal::Over));
    // Done or given up, the last one ends the chain, and it is not there everywhere.
    let finish = ChainCommand::FinishLeg { held: held(CloudName::S3, 1), at: at(9) };
    for last in [finish, give_up(CloudName::S3, 1)] {
        let all = after(&both, begun.iter().cloned().chain([last]));
        assert_eq!(known(&all).end, Some(ChainEnd::GivenUp { cause: GivenUpCause::Permanent, at: known(&all).ended_at.unwrap() }));
        assert_eq!(known(&all).failure, Some(failure()));
    }
}

#[test]
fn a_worker_that_was_taken_for_lost_changes_nothing() {
    let chain = after(&[CloudName::S3], [claim(CloudName::S3, 1, 1, 0), claim(CloudName::S3, 2, 2, 40)]);
    let lost = [
        ChainCommand::FinishLeg { held: held(CloudName::S3, 1), at: at(41) },
        ChainCommand::Tell { held: held(CloudName::S3, 1), at: at(41) },
        ChainCommand::Hold { held: held(CloudName::S3, 1), failure: failure(), at: at(41) },
        ChainCommand::GiveUpLeg { held: held(CloudName::S3, 1), cause: GivenUpCause::Permanent, failure: failure(), at: at(41) },
        fail(1, 1, NO_LIMITS, 41),
    ];
    for command in lost {
        assert_eq!(chain.decide(command), Err(ChainRefusal::ClaimLost));
    }
}

#[test]
fn parts_are_written_down_once_and_only_of_the_upload_that_goes_on() {
    let upload = |id: &str| StartedUpload {
        bucket: "b".into(),
        object_key: "k".into(),
        upload_id: id.into(),
        part_bytes: 5,
        source_etag: "e".into(),
    };
    let part = |number| FinishedPart { number, etag: "t".into(), sha256: "s".into() };
    let parts =
        |id: &str, parts: Vec<FinishedPart>| ChainCommand::FinishParts { held: held(CloudName::S3, 1), upload_id: id.into(), parts };
    let start = |id: &str| ChainCommand::StartUpload { held: held(CloudName::S3, 1), upload: upload(id) };
    let chain = after(&[CloudName::S3], [claim(CloudName::S3, 1, 1, 0), start("u1"), parts("u1", vec![part(1)])]);
    assert_eq!(chain.decide(parts("u1", vec![part(1)])), Ok(vec![]));
    assert_eq!(chain.decide(parts("u0", vec![part(1)])), Err(ChainRefusal::ClaimLost));
    let many: Vec<_> = (1..=250).map(part).collect();
    assert_eq!(chain.decide(parts("u1", many)).unwrap().len(), 3);
    let anew = after(&[CloudName::S3], [claim(CloudName::S3, 1, 1, 0), start("u1"), parts("u1", vec![part(1)]), start("u2")]);
    assert!(known(&anew).legs[&CloudName::S3].parts.is_empty());
}

#[derive(Clone, Debug)]
enum Ask {
    Claim { cloud: bool, session: u8 },
    Hold { cloud: bool, session: u8 },
    Fail { cloud: bool, session: u8, wait_s: u64 },
    Finish { cloud: bool, session: u8 },
    Retry,
    GiveUp,
    GiveUpLeg { cloud: bool, session: u8 },
}

fn ask() -> impl Strategy<Value = Ask> {
    let who = || (any::<bool>(), 0..3_u8);
    prop_oneof![
        3 => who().prop_map(|(cloud, session)| Ask::Claim { cloud, session }),
        1 => who().prop_map(|(cloud, session)| Ask::Hold { cloud, session }),
        2 => (who(), 0..100_u64).prop_map(|((cloud, session), wait_s)| Ask::Fail { cloud, session, wait_s }),
        2 => who().prop_map(|(cloud, session)| Ask::Finish { cloud, session }),
        1 => Just(Ask::Retry),
        1 => Just(Ask::GiveUp),
        1 => who().prop_map(|(cloud, session)| Ask::GiveUpLeg { cloud, session }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_ends_once_and_only_who_holds_a_leg_says_something_of_it(asks in prop::collection::vec(ask(), 0..40)) {
        let cloud = |second: bool| if second { CloudName::Gateway } else { CloudName::S3 };
        let mut chain = after(&[CloudName::S3, CloudName::Gateway], []);
        let limits = Limits { deadline_ms: Some(200_000), attempts_max: None };
        let (mut ends, mut now, mut failed_ms) = (0, 0, 0_u64);
        for ask in asks {
            now += 1;
            let before = known(&chain).clone();
            let command = match ask {
                Ask::Claim { cloud: of, session } => claim(cloud(of), session, 1, now),
                Ask::Hold { cloud: of, session } => ChainCommand::Hold { held: held(cloud(of), session), failure: failure(), at: at(now) },
                Ask::Fail { cloud: of, session, wait_s } => {
                    ChainCommand::Fail { held: held(cloud(of), session), failure: failure(), wait_ms: wait_s * 1000, limits, at: at(now) }
                }
                Ask::Finish { cloud: of, session } => ChainCommand::FinishLeg { held: held(cloud(of), session), at: at(now) },
                Ask::GiveUpLeg { cloud: of, session } => ChainCommand::GiveUpLeg {
                    held: held(cloud(of), session),
                    cause: GivenUpCause::Permanent,
                    failure: failure(),
                    at: at(now),
                },
                Ask::Retry => ChainCommand::Retry { at: at(now) },
                Ask::GiveUp => ChainCommand::GiveUp { cause: GivenUpCause::Permanent, failure: failure(), at: at(now) },
            };
            let Ok(events) = chain.decide(command) else { continue };
            for event in &events {
                match event {
                    ChainEvent::SyncLegFinished { cloud, .. } | ChainEvent::SyncHeld { cloud, .. } | ChainEvent::SyncFailed { cloud, .. } => {
                        let is_claimed = matches!(before.legs[cloud].stage, LegStage::Claimed { .. });
                        prop_assert!(is_claimed, "{event:?} of a leg that nobody holds");
                    }
                    ChainEvent::SyncCompleted { .. } | ChainEvent::SyncGivenUp { .. } => ends += 1,
                    _ => {}
                }
                if let ChainEvent::SyncFailed { spent_ms, .. } = event {
                    failed_ms += spent_ms;
                }
                chain.evolve(event);
            }
            prop_assert!(before.end.is_none() || events.is_empty(), "{events:?} after the end");
            let after = known(&chain);
            prop_assert!(ends <= 1);
            prop_assert_eq!(after.end.is_some(), ends == 1);
            prop_assert_eq!(after.spent_ms, failed_ms);
            prop_assert!(after.spent_ms < 200_000);
            let all_done = after.legs.values().all(|leg| leg.stage == LegStage::Done);
            prop_assert_eq!(after.status() == ChainStatus::Completed, all_done);
            let waits = after.next_retry_at().is_some();
            prop_assert!(!waits || (after.status() == ChainStatus::Failed && after.end.is_none()));
            let is_held = after.legs.values().any(|leg| matches!(leg.stage, LegStage::Claimed { .. }));
            prop_assert_eq!(after.status() == ChainStatus::InProgress, is_held && after.end.is_none());
        }
    }
}
