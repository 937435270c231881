//! Jobs for checkers elsewhere: made when an episode is judged, claimed, prolonged, reported, given up; and the verdict when
//! nothing is waited for any more.
//!
//! A claim and a heartbeat are about one job. What ends a job locks its episode first: of two that end the last two jobs of a
//! run, the later one sees that nothing is left, and gives the verdict, in the same transaction.

use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::judging::{answers_before, end_judged, id_of};
use super::{Command, CommandError, Commands, Context, Refusal, Work};
use crate::domain::episode::{AwaitedJob, Created, Episode, EpisodeCommand, Measured, RunMode, Waits};
use crate::domain::judgement::{OutsideAnswer, OutsideAnswers, OutsideReport, Suite};
use crate::domain::outside_job::{Claim, JobCommand, JobEnd, NotDoneCause, OutsideJob, OutsideTask};
use crate::domain::qa_suite::QaSuite;
use crate::domain::{EpisodeId, OutsideJobId, QaSuiteId, RefusalCode, Timestamp};
use crate::eventstore::Loaded;
use crate::projections::facts;
use crate::projections::reads::outside_jobs::Claimable;
use crate::telemetry::OUTSIDE_JOBS_NOT_DONE;

/// Episodes with jobs whose time is over that one look finds.
const FOUND_MAX: i64 = 100;

const OVERDUE: &str = "select distinct episode_id from (
        (select episode_id from outside_jobs where state in ('waiting', 'claimed') and deadline <= $1 order by deadline limit $3)
        union all
        (select episode_id from outside_jobs where state = 'claimed' and lease_until <= $1 and attempts >= $2 order by lease_until limit $3)
    ) j order by episode_id";
const OPEN_OF_EPISODE: &str = "select id from outside_jobs where episode_id = $1 and state in ('waiting', 'claimed') order by id";
const EPISODE_OF: &str = "select episode_id from outside_jobs where id = $1";

/// How checkers elsewhere work.
#[derive(Clone, Copy, Debug)]
pub struct OutsideLease {
    /// For how long a claim holds without a heartbeat.
    pub lease: Duration,
    /// As often as a job may be claimed.
    pub attempts_max: u32,
}

impl OutsideLease {
    fn until(&self, now: Timestamp) -> Timestamp {
        TimeDelta::from_std(self.lease).ok().and_then(|lease| now.checked_add_signed(lease)).unwrap_or(now)
    }
}

/// Makes the jobs of a run, and lets it wait for them. What was said before of the same check with the same numbers is not asked again.
pub(super) async fn wait(
    work: &mut Work,
    episode: &mut Loaded<Episode>,
    created: &Created,
    (run, mode): (&str, RunMode),
    (suite_id, suite): (QaSuiteId, &Suite),
    known: &OutsideAnswers,
) -> Result<(), CommandError> {
    let id: EpisodeId = id_of(episode)?;
    let asked: Vec<_> = suite.outside().filter(|(check, _)| !known.contains_key(&check.name)).collect();
    let ids = facts::new_ids(&mut work.tx, "outside_job_ids", asked.len()).await?;
    let (mut jobs, mut until) = (vec![], work.now);
    for (number, (check, terms)) in ids.into_iter().zip(asked) {
        let deadline = work.now + TimeDelta::seconds(i64::from(terms.deadline_s));
        until = until.max(deadline);
        jobs.push(AwaitedJob { job_id: OutsideJobId(number), check: check.name.clone() });
        let task = OutsideTask {
            episode_id: id,
            run: run.to_owned(),
            check: check.name.clone(),
            limits: check.limits.clone(),
            suite: suite.name.clone(),
            suite_version: suite.version,
            deadline,
            factory_id: created.factory_id,
            organization_id: created.organization_id,
        };
        work.decide(&mut Loaded::<OutsideJob>::absent(number), JobCommand::Make(task))?;
    }
    let waits = Waits { run: run.to_owned(), mode, suite_id, jobs, until };
    work.decide(episode, EpisodeCommand::WaitForOutside(waits))?;
    Ok(())
}

fn why(cause: NotDoneCause, check: &str) -> String {
    match cause {
        NotDoneCause::Deadline => format!("the outside check {check} was not done within its time"),
        NotDoneCause::Attempts => format!("the outside check {check} was not done: its checkers were lost"),
    }
}

/// Gives the verdict of the run that an episode waits with, where nothing is open any more. `changed` are jobs that this
/// command has decided about: their rows do not say so yet.
async fn conclude(work: &mut Work, episode: &mut Loaded<Episode>, changed: &[Loaded<OutsideJob>]) -> Result<bool, CommandError> {
    let Episode::Known(known) = &episode.state else { return Ok(false) };
    let Some(waits) = known.qa.waits.clone() else { return Ok(false) };
    let Some(measured) = known.measured.clone() else { return Ok(false) };
    let others: Vec<String> =
        waits.jobs.iter().map(|awaited| awaited.job_id.to_string()).filter(|id| !changed.iter().any(|job| job.id == *id)).collect();
    let others = work.load_many::<OutsideJob>(&others).await?;
    let mut answers = OutsideAnswers::new();
    for job in others.iter().chain(changed) {
        let OutsideJob::Made(made) = &job.state else { continue };
        if !waits.jobs.iter().any(|awaited| awaited.job_id.to_string() == job.id) {
            continue;
        }
        let answer = match &made.end {
            None => return Ok(false),
            Some(JobEnd::Reported { report, .. }) => OutsideAnswer::Said(report.clone()),
            Some(JobEnd::NotDone { cause, .. }) => OutsideAnswer::NotDone(why(*cause, &made.task.check)),
        };
        answers.insert(made.task.check.clone(), answer);
    }
    let QaSuite::Version(version) = work.load::<QaSuite>(waits.suite_id).await?.state else {
        return Err(anyhow::anyhow!("the suite {} by which a run of {} judges is gone", waits.suite_id, episode.stream()).into());
    };
    // What was not asked for was known when the others were.
    for (check, answer) in answers_before(work, id_of(episode)?, &version.suite).await? {
        answers.entry(check).or_insert(answer);
    }
    end_judged(work, episode, (&waits.run, waits.mode), &measured, &version.suite, &answers).await?;
    Ok(true)
}

/// The next job of a check, for this checker.
#[derive(Clone, Debug)]
pub struct ClaimOutsideJob {
    pub check: String,
    /// What it calls itself.
    pub checker: String,
    /// Of the token that it will show.
    pub token_sha256: String,
    pub terms: OutsideLease,
}

/// What a checker needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClaimedJob {
    pub job: OutsideJobId,
    pub lease_until: Timestamp,
    pub attempt: u32,
    pub task: OutsideTask,
    pub created: Created,
    pub measured: Measured,
}

impl Command for ClaimOutsideJob {
    /// None where nothing waits.
    type Answer = Option<Box<ClaimedJob>>;
    const NAME: &'static str = "claim_outside_job";

    async fn run(&self, work: &mut Work) -> Result<Self::Answer, CommandError> {
        let (claimable, now) = (Claimable::of(&work.scope), work.now);
        let attempts_max = i32::try_from(self.terms.attempts_max).unwrap_or(i32::MAX);
        let check = self.check.as_str();
        let rows = work.tx.query(&claimable.statement(), &claimable.parameters(&check, &now, &attempts_max)).await?;
        let Some(id) = rows.first().map(|row| row.get::<_, OutsideJobId>(0)) else { return Ok(None) };
        let mut job = work.load::<OutsideJob>(id).await?;
        let claim = Claim { checker: self.checker.clone(), token_sha256: self.token_sha256.clone(), until: self.terms.until(now) };
        match work.decide(&mut job, JobCommand::Claim { claim, attempts_max: self.terms.attempts_max, now }) {
            // Its row was of a moment before: the next try finds another one.
            Err(CommandError::Refused(refusal)) if [RefusalCode::OutsideClaimLost, RefusalCode::OutsideJobOver].contains(&refusal.code) => {
                return Err(CommandError::Conflict);
            }
            decided => decided?,
        };
        let OutsideJob::Made(made) = job.state else { return Ok(None) };
        let Episode::Known(episode) = work.load::<Episode>(made.task.episode_id).await?.state else { return Ok(None) };
        let (Some(measured), Some(claim)) = (episode.measured, made.claim) else { return Ok(None) };
        Ok(Some(Box::new(ClaimedJob {
            job: id,
            lease_until: claim.until,
            attempt: made.attempts,
            task: made.task,
            created: episode.created,
            measured: *measured,
        })))
    }
}

/// A job that the caller may see, and that nobody else changes meanwhile.
async fn locked(work: &mut Work, id: OutsideJobId) -> Result<Loaded<OutsideJob>, CommandError> {
    facts::lock_outside_job(&mut work.tx, id).await?;
    let job = work.load::<OutsideJob>(id).await?;
    match &job.state {
        OutsideJob::Made(made) if work.scope.contains(made.task.factory_id, Some(made.task.organization_id)) => Ok(job),
        OutsideJob::Made(_) | OutsideJob::Absent => Err(no_job().into()),
    }
}

fn no_job() -> Refusal {
    Refusal::new(RefusalCode::OutsideJobNotFound, "there is no such job of an outside check")
}

/// The checker is at work still.
#[derive(Clone, Debug)]
pub struct ProlongOutsideJob {
    pub job: OutsideJobId,
    pub token_sha256: String,
    pub terms: OutsideLease,
}

impl Command for ProlongOutsideJob {
    /// Until when it holds now.
    type Answer = Timestamp;
    const NAME: &'static str = "prolong_outside_job";

    async fn run(&self, work: &mut Work) -> Result<Timestamp, CommandError> {
        let mut job = locked(work, self.job).await?;
        let (until, now) = (self.terms.until(work.now), work.now);
        work.decide(&mut job, JobCommand::Prolong { token_sha256: self.token_sha256.clone(), until, now })?;
        match &job.state {
            OutsideJob::Made(made) => Ok(made.claim.as_ref().map_or(now, |claim| claim.until)),
            OutsideJob::Absent => Err(no_job().into()),
        }
    }
}

/// What the checker found.
#[derive(Clone, Debug)]
pub struct ReportOutsideJob {
    pub job: OutsideJobId,
    pub token_sha256: String,
    pub report: OutsideReport,
}

impl Command for ReportOutsideJob {
    /// Whether the run that waited for it has its verdict with it.
    type Answer = bool;
    const NAME: &'static str = "report_outside_job";

    async fn run(&self, work: &mut Work) -> Result<bool, CommandError> {
        let rows = work.tx.query(EPISODE_OF, &[&self.job]).await?;
        let id = rows.first().map(|row| row.get::<_, EpisodeId>(0)).ok_or_else(no_job)?;
        let mut episode = work.lock_and_load::<Episode>(id).await?;
        let mut job = locked(work, self.job).await?;
        let (report, now) = (Box::new(self.report.clone()), work.now);
        if work.decide(&mut job, JobCommand::Report { token_sha256: self.token_sha256.clone(), report, now })? == 0 {
            return Ok(matches!(&episode.state, Episode::Known(known) if known.qa.waits.is_none()));
        }
        conclude(work, &mut episode, &[job]).await
    }
}

/// Jobs of an episode whose time is over are not done, and the run that waits for them may end.
#[derive(Clone, Debug)]
struct GiveUpOutsideJobs {
    episode: EpisodeId,
    attempts_max: u32,
}

impl Command for GiveUpOutsideJobs {
    /// Why each of them was not done.
    type Answer = Vec<NotDoneCause>;
    const NAME: &'static str = "give_up_outside_jobs";

    async fn run(&self, work: &mut Work) -> Result<Vec<NotDoneCause>, CommandError> {
        let mut episode = work.lock_and_load::<Episode>(self.episode).await?;
        let ids = work.tx.query(OPEN_OF_EPISODE, &[&self.episode]).await?;
        let (mut jobs, mut causes) = (vec![], vec![]);
        for row in &ids {
            let mut job = locked(work, row.get(0)).await?;
            work.decide(&mut job, JobCommand::GiveUp { attempts_max: self.attempts_max, now: work.now })?;
            if let OutsideJob::Made(made) = &job.state
                && let Some(JobEnd::NotDone { cause, .. }) = &made.end
            {
                causes.push(*cause);
            }
            jobs.push(job);
        }
        if !causes.is_empty() {
            conclude(work, &mut episode, &jobs).await?;
        }
        Ok(causes)
    }
}

impl Commands {
    /// Gives up what nobody does any more. Answers how many jobs that were.
    pub async fn give_up_outside_jobs(&self, terms: OutsideLease, stop: &CancellationToken) -> Result<usize, CommandError> {
        let attempts_max = i32::try_from(terms.attempts_max).unwrap_or(i32::MAX);
        let mut given_up = 0;
        for row in self.beside_the_log(OVERDUE, &[&self.now(), &attempts_max, &FOUND_MAX]).await? {
            if stop.is_cancelled() {
                break;
            }
            let give_up = GiveUpOutsideJobs { episode: row.get(0), attempts_max: terms.attempts_max };
            for cause in self.execute(&Context::system(), give_up).await? {
                metrics::counter!(OUTSIDE_JOBS_NOT_DONE, "cause" => cause.as_str()).increment(1);
                given_up += 1;
            }
        }
        Ok(given_up)
    }
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    [
        ("episodes with outside jobs whose time is over", OVERDUE),
        ("open outside jobs of an episode", OPEN_OF_EPISODE),
        ("episode of an outside job", EPISODE_OF),
    ]
    .map(|(name, sql)| (name, sql.to_owned()))
    .into()
}
