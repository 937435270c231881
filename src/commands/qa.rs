//! Runs of the checks over an episode: begun, ended, abandoned.
//!
//! A run that needs nothing but what was measured is one command, [`JudgeEpisode`]. One that looks at the objects first holds
//! the episode from [`StartQaRun`] on, for a bounded time; looking is not done here. What is asked for twice under one name is
//! done once, so whatever repeats after a crash is harmless.

use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::judging::case_of;
use super::rulings::rule;
use super::{Command, CommandError, Commands, Context, Refusal, Work};
use crate::domain::episode::{Annotation, EndedRun, Episode, EpisodeCommand, Known, Measured, QaStatus, RunMode, Waits};
use crate::domain::judgement::{Suite, TaskWants, WantedTopic};
use crate::domain::measurement::Facts;
use crate::domain::{EpisodeId, RefusalCode, StationId, Timestamp};
use crate::eventstore::Loaded;
use crate::projections::facts;

/// Episodes whose run took too long that one look finds.
const FOUND_MAX: i64 = 100;

const HELD_TOO_LONG: &str = "select id from episodes where qa_until < $1 order by qa_until, id limit $2";

/// What the recording of this station was to have, asked for when it arrives and kept with its facts.
pub(super) async fn wants(work: &mut Work, station: StationId, sha256: &str) -> Result<TaskWants, CommandError> {
    let topics = facts::topics_of_station(&mut work.tx, station).await?;
    Ok(TaskWants {
        topics: topics.into_iter().map(|topic| WantedTopic { topic, rate_hz: None }).collect(),
        duration_s: None,
        received_at_ns: work.now.timestamp_nanos_opt().and_then(|ns| u64::try_from(ns).ok()),
        sha256: Some(sha256.to_owned()),
        metadata: vec![],
    })
}

/// An episode that the caller may see.
pub(super) async fn episode_in_scope(work: &mut Work, id: EpisodeId) -> Result<Loaded<Episode>, CommandError> {
    let loaded = work.load::<Episode>(id).await?;
    let Episode::Known(episode) = &loaded.state else { return Err(no_episode().into()) };
    let (factory, organization) = (episode.created.factory_id, episode.created.organization_id);
    match work.scope.contains(factory, Some(organization)) {
        true => Ok(loaded),
        false => Err(no_episode().into()),
    }
}

fn no_episode() -> Refusal {
    Refusal::new(RefusalCode::EpisodeNotFound, "episode not found")
}

pub(super) fn known(loaded: &Loaded<Episode>) -> Result<&Known, CommandError> {
    match &loaded.state {
        Episode::Known(episode) => Ok(episode),
        Episode::Absent => Err(no_episode().into()),
    }
}

/// What a run has to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToLookAt {
    /// `<bucket>/<key>`.
    pub mcap_path: String,
    pub sidecar_path: Option<String>,
    /// Of the object that was verified.
    pub size_bytes: u64,
    pub etag: Option<String>,
    /// The same, in hex.
    #[serde(default)]
    pub sha256: String,
    /// What was measured before.
    pub facts: Option<Facts>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Begun {
    /// It holds the episode.
    Look(Box<ToLookAt>),
    /// It was made before.
    Ran(Ran),
}

/// A run takes the episode, for as long as it may take.
#[derive(Clone, Debug)]
pub struct StartQaRun {
    pub episode: EpisodeId,
    pub run: String,
    pub mode: RunMode,
    pub within: Duration,
}

impl Command for StartQaRun {
    type Answer = Begun;
    const NAME: &'static str = "start_qa_run";

    async fn run(&self, work: &mut Work) -> Result<Begun, CommandError> {
        let mut episode = episode_in_scope(work, self.episode).await?;
        if let Some(ran) = ran(&episode, &self.run)? {
            return Ok(Begun::Ran(ran));
        }
        let now = work.now;
        let until = TimeDelta::from_std(self.within).ok().and_then(|within| now.checked_add_signed(within)).unwrap_or(Timestamp::MAX_UTC);
        work.decide(&mut episode, EpisodeCommand::StartRun { run: self.run.clone(), mode: self.mode, until, now })?;
        let known = known(&episode)?;
        Ok(Begun::Look(Box::new(ToLookAt {
            mcap_path: known.created.mcap_path.clone(),
            sidecar_path: known.created.sidecar_path.clone(),
            size_bytes: known.created.file_size_bytes,
            etag: known.etag().cloned(),
            sha256: known.created.checksum.clone(),
            facts: known.measured.as_ref().map(|measured| measured.facts.clone()),
        })))
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunAnswer {
    /// As it is now.
    pub status: QaStatus,
    pub ended: EndedRun,
}

/// What a run came to, as far as it is known now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Ran {
    Ended(Box<RunAnswer>),
    /// Checkers elsewhere are asked first.
    Waits(Box<Waits>),
}

/// None: the episode knows nothing of this run.
pub(super) fn ran(episode: &Loaded<Episode>, run: &str) -> Result<Option<Ran>, CommandError> {
    let qa = &known(episode)?.qa;
    let ended = qa.last.as_ref().filter(|last| last.run == run);
    let answer = ended.map(|ended| Ran::Ended(Box::new(RunAnswer { status: qa.status(), ended: ended.clone() })));
    let waits = || qa.waits.clone().filter(|waits| waits.run == run).map(Ran::Waits);
    Ok(answer.or_else(waits))
}

/// The same of one that was judged by now.
pub(super) fn has_run(episode: &Loaded<Episode>, run: &str) -> Result<Ran, CommandError> {
    ran(episode, run)?.ok_or_else(|| anyhow::anyhow!("nothing came of the run {run}").into())
}

/// What came of judging.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Judged {
    /// Nothing was measured: it has to be looked at.
    NotMeasured,
    Ran(Ran),
}

/// Judges an episode by what was measured of it.
#[derive(Clone, Debug)]
pub struct JudgeEpisode {
    pub episode: EpisodeId,
    pub run: String,
    pub mode: RunMode,
    /// What a look found, where the run had one; else what was measured before.
    pub looked: Option<Box<Facts>>,
    /// Where no other suite is for the episode.
    pub default_suite: Suite,
}

impl Command for JudgeEpisode {
    type Answer = Judged;
    const NAME: &'static str = "judge_episode";

    async fn run(&self, work: &mut Work) -> Result<Judged, CommandError> {
        let mut episode = episode_in_scope(work, self.episode).await?;
        if let Some(ran) = ran(&episode, &self.run)? {
            return Ok(Judged::Ran(ran));
        }
        let before = known(&episode)?;
        let station = before.created.station_id;
        let looked = match &self.looked {
            Some(facts) => {
                let wants = match &before.measured {
                    Some(measured) => measured.wants.clone(),
                    None => wants(work, station, &before.created.checksum).await?,
                };
                Some(Measured { facts: (**facts).clone(), wants })
            }
            None => None,
        };
        let Some(measured) = looked.as_ref().or(before.measured.as_deref()) else { return Ok(Judged::NotMeasured) };
        let case = case_of(work, self.episode, before, measured, &self.default_suite).await?;
        if let Some(looked) = looked {
            work.decide(&mut episode, EpisodeCommand::Measure(Box::new(looked)))?;
        }
        rule(work, &mut episode, (&self.run, self.mode), case).await?;
        has_run(&episode, &self.run).map(Judged::Ran)
    }
}

/// What people say of an episode; what is not given stays.
#[derive(Clone, Debug)]
pub struct AnnotateEpisode {
    pub episode: EpisodeId,
    pub annotation: Annotation,
}

impl Command for AnnotateEpisode {
    type Answer = ();
    const NAME: &'static str = "annotate_episode";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut episode = episode_in_scope(work, self.episode).await?;
        work.decide(&mut episode, EpisodeCommand::Annotate(self.annotation.clone()))?;
        Ok(())
    }
}

/// A run could not be done: the episode is as it was.
#[derive(Clone, Debug)]
pub struct AbandonQaRun {
    pub episode: EpisodeId,
    pub run: String,
    pub why: String,
}

impl Command for AbandonQaRun {
    type Answer = ();
    const NAME: &'static str = "abandon_qa_run";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut episode = work.load::<Episode>(self.episode).await?;
        work.decide(&mut episode, EpisodeCommand::AbandonRun { run: self.run.clone(), why: self.why.clone() })?;
        Ok(())
    }
}

/// The run that holds an episode has had its time.
#[derive(Clone, Debug)]
struct EndOverdueRun(EpisodeId);

impl Command for EndOverdueRun {
    type Answer = bool;
    const NAME: &'static str = "end_overdue_qa_run";

    async fn run(&self, work: &mut Work) -> Result<bool, CommandError> {
        let mut episode = work.load::<Episode>(self.0).await?;
        let qa = &known(&episode)?.qa;
        // One that waits ends with its jobs.
        let over = qa.running.clone().filter(|running| running.until < work.now && qa.waits.is_none());
        let Some(running) = over else { return Ok(false) };
        let why = "it took too long, or the process that did it is gone".to_owned();
        Ok(work.decide(&mut episode, EpisodeCommand::AbandonRun { run: running.run, why })? > 0)
    }
}

impl Commands {
    /// Says of runs whose time is over that they are. Answers of how many.
    pub async fn end_overdue_qa_runs(&self, stop: &CancellationToken) -> Result<usize, CommandError> {
        let mut ended = 0;
        for row in self.beside_the_log(HELD_TOO_LONG, &[&self.now(), &FOUND_MAX]).await? {
            if stop.is_cancelled() {
                break;
            }
            ended += usize::from(self.execute(&Context::system(), EndOverdueRun(EpisodeId(row.get(0)))).await?);
        }
        Ok(ended)
    }
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    vec![("episodes held by a run for too long", HELD_TOO_LONG.to_owned())]
}
