//! A job for a checker that is a program of its own, somewhere else: looked for by name, claimed for a while, reported once.
//!
//! ```text
//!            claim                 report
//!   waiting ───────► claimed ───────────────► done
//!      │              │   │ ▲
//!      │              │   └─┘ the lease is over, and another one claims it; a heartbeat makes it longer
//!      └──────────────┴─────► not done: its deadline has passed, or it was claimed as often as it may be and lost each time
//! ```
//!
//! Who claims it draws a token, and shows it with all that follows; another claim makes it void. So what a checker says that
//! was taken for lost changes nothing. What was not done is no verdict: the run that waits for it says so ([`super::episode`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::aggregate::events;
use super::judgement::OutsideReport;
use super::refusal::{RefusalCode, Refused};
use super::words::words;
use super::{Aggregate, EpisodeId, FactoryId, OrganizationId, Timestamp};

words! {
    JobState {
        Waiting = "waiting",
        /// A checker works on it, or did and was lost.
        Claimed = "claimed",
        Done = "done",
        NotDone = "not_done",
    }

    /// Why a job was not done.
    NotDoneCause {
        Deadline = "deadline",
        /// It was claimed as often as it may be, and lost each time.
        Attempts = "attempts",
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutsideJob {
    #[default]
    Absent,
    Made(Box<Made>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Made {
    pub task: OutsideTask,
    /// How often it was claimed.
    pub attempts: u32,
    /// The newest claim.
    pub claim: Option<Claim>,
    pub end: Option<JobEnd>,
}

/// What is to be done. It never changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutsideTask {
    pub episode_id: EpisodeId,
    /// The run that waits for it.
    pub run: String,
    pub check: String,
    /// The numbers that the suite has for it.
    pub limits: BTreeMap<String, f64>,
    pub suite: String,
    pub suite_version: u32,
    /// Afterwards nobody waits for it.
    pub deadline: Timestamp,
    pub factory_id: FactoryId,
    pub organization_id: OrganizationId,
}

/// A checker has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// What it calls itself.
    pub checker: String,
    /// SHA-256 of the token of this claim, in hex. The token itself is kept nowhere.
    pub token_sha256: String,
    /// Afterwards another one may claim it.
    pub until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobEnd {
    Reported { report: Box<OutsideReport>, at: Timestamp },
    NotDone { cause: NotDoneCause, at: Timestamp },
}

#[derive(Clone, Debug)]
pub enum JobCommand {
    Make(OutsideTask),
    Claim {
        claim: Claim,
        /// As often as it may be claimed.
        attempts_max: u32,
        now: Timestamp,
    },
    /// The checker is at work still.
    Prolong {
        token_sha256: String,
        until: Timestamp,
        now: Timestamp,
    },
    Report {
        token_sha256: String,
        report: Box<OutsideReport>,
        now: Timestamp,
    },
    /// Nobody does it any more, where that is so.
    GiveUp {
        attempts_max: u32,
        now: Timestamp,
    },
}

events! {
    JobEvent {
        OutsideJobMade = "outside_job_made", "1.0" (OutsideTask),
        OutsideJobClaimed = "outside_job_claimed", "1.0" (Claim),
        OutsideJobProlonged = "outside_job_prolonged", "1.0" { until: Timestamp },
        OutsideJobReported = "outside_job_reported", "1.0" { report: Box<OutsideReport>, at: Timestamp },
        OutsideJobNotDone = "outside_job_not_done", "1.0" { cause: NotDoneCause, at: Timestamp },
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobRefusal {
    #[error("there is a job of this id already")]
    Exists,
    #[error("there is no such job of an outside check")]
    NotFound,
    #[error("the claim is void: the job was claimed again, or this token was never one of it")]
    ClaimLost,
    #[error("another checker has the job")]
    Claimed,
    #[error("the job is over: nobody waits for it any more")]
    Over,
    #[error("the job was reported with another result, which stands")]
    ReportedDifferently,
}

impl Refused for JobRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::Exists => RefusalCode::OutsideJobExists,
            Self::NotFound => RefusalCode::OutsideJobNotFound,
            Self::ClaimLost | Self::Claimed => RefusalCode::OutsideClaimLost,
            Self::Over => RefusalCode::OutsideJobOver,
            Self::ReportedDifferently => RefusalCode::OutsideResultDiffers,
        }
    }
}

impl Made {
    pub fn state(&self) -> JobState {
        match (&self.end, &self.claim) {
            (Some(JobEnd::Reported { .. }), _) => JobState::Done,
            (Some(JobEnd::NotDone { .. }), _) => JobState::NotDone,
            (None, Some(_)) => JobState::Claimed,
            (None, None) => JobState::Waiting,
        }
    }

    /// Why nobody does it any more; none where it may still be done.
    fn given_up(&self, attempts_max: u32, now: Timestamp) -> Option<NotDoneCause> {
        let lost = self.claim.as_ref().is_some_and(|claim| claim.until <= now);
        if self.task.deadline <= now {
            Some(NotDoneCause::Deadline)
        } else if lost && self.attempts >= attempts_max {
            Some(NotDoneCause::Attempts)
        } else {
            None
        }
    }

    /// Whether the token is that of the newest claim, and the job is not over.
    fn held_by(&self, token_sha256: &str, now: Timestamp) -> Result<&Claim, JobRefusal> {
        let claim = self.claim.as_ref().filter(|claim| claim.token_sha256 == token_sha256).ok_or(JobRefusal::ClaimLost)?;
        if self.end.is_some() || self.task.deadline <= now { Err(JobRefusal::Over) } else { Ok(claim) }
    }
}

/// A heartbeat that would add less than this share of what it asks for adds nothing, and is no event: a checker that tells
/// every second leaves four events for each lease, and not sixty.
const PROLONGED_SHARE: i32 = 4;

impl Aggregate for OutsideJob {
    const TYPE: &'static str = "outside_job";
    type Command = JobCommand;
    type Event = JobEvent;
    type Refusal = JobRefusal;

    fn decide(&self, command: JobCommand) -> Result<Vec<JobEvent>, JobRefusal> {
        use JobCommand as C;
        let job = match (self, &command) {
            (Self::Absent, C::Make(task)) => return Ok(vec![JobEvent::OutsideJobMade(task.clone())]),
            (Self::Absent, _) => return Err(JobRefusal::NotFound),
            (Self::Made(job), _) => job,
        };
        match command {
            C::Make(_) => Err(JobRefusal::Exists),
            C::Claim { claim, attempts_max, now } => {
                if job.end.is_some() || job.given_up(attempts_max, now).is_some() {
                    return Err(JobRefusal::Over);
                }
                if job.claim.as_ref().is_some_and(|held| held.until > now) {
                    return Err(JobRefusal::Claimed);
                }
                Ok(vec![JobEvent::OutsideJobClaimed(Claim { until: claim.until.min(job.task.deadline), ..claim })])
            }
            C::Prolong { token_sha256, until, now } => {
                let until = until.min(job.task.deadline);
                let held = job.held_by(&token_sha256, now)?;
                let enough = (until - held.until) * PROLONGED_SHARE >= until - now;
                Ok(if enough && until > held.until { vec![JobEvent::OutsideJobProlonged { until }] } else { vec![] })
            }
            C::Report { token_sha256, report, now } => {
                let same_claim = job.claim.as_ref().is_some_and(|claim| claim.token_sha256 == token_sha256);
                match &job.end {
                    // A checker that lost our reply reports again; the same report changes nothing.
                    Some(JobEnd::Reported { report: known, .. }) if same_claim && *known == report => Ok(vec![]),
                    Some(JobEnd::Reported { .. }) if same_claim => Err(JobRefusal::ReportedDifferently),
                    _ => {
                        job.held_by(&token_sha256, now)?;
                        Ok(vec![JobEvent::OutsideJobReported { report, at: now }])
                    }
                }
            }
            C::GiveUp { attempts_max, now } => {
                let cause = job.given_up(attempts_max, now).filter(|_| job.end.is_none());
                Ok(cause.map(|cause| JobEvent::OutsideJobNotDone { cause, at: now }).into_iter().collect())
            }
        }
    }

    fn evolve(&mut self, event: &JobEvent) {
        if let JobEvent::OutsideJobMade(task) = event {
            *self = Self::Made(Box::new(Made { task: task.clone(), attempts: 0, claim: None, end: None }));
        }
        // Nothing precedes `outside_job_made` in a stream.
        let Self::Made(job) = self else { return };
        match event {
            JobEvent::OutsideJobMade(_) => {}
            JobEvent::OutsideJobClaimed(claim) => {
                job.attempts += 1;
                job.claim = Some(claim.clone());
            }
            JobEvent::OutsideJobProlonged { until } => job.claim.iter_mut().for_each(|claim| claim.until = *until),
            JobEvent::OutsideJobReported { report, at } => job.end = Some(JobEnd::Reported { report: report.clone(), at: *at }),
            JobEvent::OutsideJobNotDone { cause, at } => job.end = Some(JobEnd::NotDone { cause: *cause, at: *at }),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::judgement::Grade;

    const ATTEMPTS: u32 = 3;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn task() -> OutsideTask {
        OutsideTask {
            episode_id: EpisodeId(1),
            run: "auto/1".into(),
            check: "grasp".into(),
            limits: BTreeMap::new(),
            suite: "site".into(),
            suite_version: 1,
            deadline: at(100),
            factory_id: FactoryId(1),
            organization_id: OrganizationId(1),
        }
    }

    fn report(details: &str) -> Box<OutsideReport> {
        Box::new(OutsideReport { result: Grade::Pass, score: 1.0, details: details.into(), numbers: BTreeMap::new(), findings: vec![] })
    }

    fn claim(token: &str, now: i64) -> JobCommand {
        let claim = Claim { checker: "c".into(), token_sha256: token.into(), until: at(now + 10) };
        JobCommand::Claim { claim, attempts_max: ATTEMPTS, now: at(now) }
    }

    fn said(token: &str, details: &str, now: i64) -> JobCommand {
        JobCommand::Report { token_sha256: token.into(), report: report(details), now: at(now) }
    }

    fn beat(token: &str, now: i64) -> JobCommand {
        JobCommand::Prolong { token_sha256: token.into(), until: at(now + 10), now: at(now) }
    }

    fn after(commands: impl IntoIterator<Item = JobCommand>) -> OutsideJob {
        let mut job = OutsideJob::default();
        for command in std::iter::once(JobCommand::Make(task())).chain(commands) {
            let events = job.decide(command).unwrap();
            events.iter().for_each(|event| job.evolve(event));
        }
        job
    }

    #[test]
    fn a_lost_checkers_job_is_claimed_again_and_what_the_lost_one_says_is_refused() {
        let held = after([claim("a", 0)]);
        assert_eq!(held.decide(claim("b", 9)), Err(JobRefusal::Claimed));
        let again = after([claim("a", 0), claim("b", 10)]);
        assert_eq!(again.decide(said("a", "late", 11)), Err(JobRefusal::ClaimLost));
        assert_eq!(again.decide(beat("a", 11)), Err(JobRefusal::ClaimLost));
        assert_eq!(again.decide(said("b", "in time", 11)).unwrap().len(), 1);
        // Late, but nobody else has claimed it: what it found is not thrown away.
        assert_eq!(held.decide(said("a", "late", 50)).unwrap().len(), 1);
        assert_eq!(held.decide(said("a", "late", 100)), Err(JobRefusal::Over));
        assert_eq!(OutsideJob::Absent.decide(said("a", "x", 0)), Err(JobRefusal::NotFound));
        assert_eq!(held.decide(JobCommand::Make(task())), Err(JobRefusal::Exists));
    }

    #[test]
    fn the_same_report_twice_changes_nothing_and_another_one_is_refused() {
        let done = after([claim("a", 0), said("a", "fine", 1)]);
        assert_eq!(done.decide(said("a", "fine", 200)), Ok(vec![]));
        assert_eq!(done.decide(said("a", "broken", 2)), Err(JobRefusal::ReportedDifferently));
        assert_eq!(done.decide(said("b", "fine", 2)), Err(JobRefusal::ClaimLost));
        assert_eq!(done.decide(beat("a", 2)), Err(JobRefusal::Over));
        assert_eq!(done.decide(claim("b", 50)), Err(JobRefusal::Over));
    }

    #[test]
    fn a_heartbeat_holds_the_job_and_few_of_them_are_events() {
        let held = after([claim("a", 0)]);
        assert_eq!(held.decide(beat("a", 1)), Ok(vec![]), "a tenth");
        assert_eq!(held.decide(beat("a", 5)), Ok(vec![JobEvent::OutsideJobProlonged { until: at(15) }]));
        let kept = after([claim("a", 0), beat("a", 5)]);
        assert_eq!(kept.decide(claim("b", 12)), Err(JobRefusal::Claimed));
        let late = after([claim("a", 85)]);
        assert_eq!(late.decide(beat("a", 94)), Ok(vec![JobEvent::OutsideJobProlonged { until: at(100) }]), "not beyond the deadline");
    }

    #[test]
    fn a_job_is_given_up_at_its_deadline_or_when_it_was_lost_too_often() {
        let give_up = |job: &OutsideJob, now| job.decide(JobCommand::GiveUp { attempts_max: ATTEMPTS, now: at(now) }).unwrap();
        let not_done = |cause, now| vec![JobEvent::OutsideJobNotDone { cause, at: at(now) }];
        assert_eq!(give_up(&after([]), 99), []);
        assert_eq!(give_up(&after([]), 100), not_done(NotDoneCause::Deadline, 100));
        let lost = after([claim("a", 0), claim("b", 10), claim("c", 20)]);
        assert_eq!(give_up(&lost, 29), []);
        assert_eq!(give_up(&lost, 30), not_done(NotDoneCause::Attempts, 30));
        assert_eq!(lost.decide(claim("d", 30)), Err(JobRefusal::Over));
        assert_eq!(give_up(&after([claim("a", 0), said("a", "fine", 1)]), 200), []);
    }

    #[derive(Clone, Debug)]
    enum Ask {
        Claim,
        Report { token: usize, details: u8 },
        Beat { token: usize },
        GiveUp,
        Wait(i64),
    }

    fn ask() -> impl Strategy<Value = Ask> {
        prop_oneof![
            3 => Just(Ask::Claim),
            3 => (0..5_usize, 0..2_u8).prop_map(|(token, details)| Ask::Report { token, details }),
            2 => (0..5_usize).prop_map(|token| Ask::Beat { token }),
            1 => Just(Ask::GiveUp),
            3 => (0..15_i64).prop_map(Ask::Wait),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

        #[test]
        fn a_job_ends_once_by_who_holds_it_and_no_two_hold_it(asks in prop::collection::vec(ask(), 0..40)) {
            let (mut job, mut now, mut tokens, mut ends) = (after([]), 0, 0_usize, 0);
            for ask in asks {
                let before = match &job { OutsideJob::Made(job) => job.clone(), OutsideJob::Absent => panic!("it was made") };
                let command = match ask {
                    Ask::Wait(seconds) => { now += seconds; continue; }
                    Ask::Claim => { tokens += 1; claim(&tokens.to_string(), now) }
                    Ask::Report { token, details } => said(&token.to_string(), &details.to_string(), now),
                    Ask::Beat { token } => beat(&token.to_string(), now),
                    Ask::GiveUp => JobCommand::GiveUp { attempts_max: ATTEMPTS, now: at(now) },
                };
                let Ok(events) = job.decide(command) else { continue };
                for event in &events {
                    job.evolve(event);
                    match event {
                        JobEvent::OutsideJobClaimed(_) => {
                            prop_assert!(before.claim.as_ref().is_none_or(|held| held.until <= at(now)), "two hold it");
                            prop_assert!(before.attempts < ATTEMPTS && before.end.is_none());
                        }
                        JobEvent::OutsideJobReported { .. } => {
                            ends += 1;
                            prop_assert!(at(now) < before.task.deadline);
                        }
                        JobEvent::OutsideJobNotDone { .. } => ends += 1,
                        JobEvent::OutsideJobMade(_) | JobEvent::OutsideJobProlonged { .. } => {}
                    }
                }
                prop_assert!(ends <= 1);
                let OutsideJob::Made(after) = &job else { panic!("it was made") };
                prop_assert!(after.claim.as_ref().is_none_or(|claim| claim.until <= after.task.deadline));
                prop_assert_eq!(after.end.is_some(), ends == 1);
            }
        }
    }
}
