//! Inspecting: an inspector takes an episode, decides, or gives it back; what was decided is reopened.

use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::qa::episode_in_scope;
use super::{Command, CommandError, Refusal, Work, chance};
use crate::domain::episode::{Decision, DecisionEffect, Episode, EpisodeCommand, Level, Levels, NewDecision, QaStatus};
use crate::domain::inspector::{Inspector, InspectorStatus};
use crate::domain::{Actor, EpisodeId, InspectorId, RefusalCode, Timestamp};
use crate::projections::facts;

/// How inspections are made.
#[derive(Clone, Copy, Debug)]
pub struct InspectionTerms {
    /// For how long an inspector holds an episode.
    pub lease: Duration,
    /// The share of first decisions that another inspector makes once more, from 0 to 1.
    pub second_share: f64,
    pub levels: Levels,
}

/// The caller, as an inspector who is at work.
async fn inspector(work: &mut Work) -> Result<(InspectorId, Level), CommandError> {
    let refused = || Refusal::new(RefusalCode::InspectorNotFound, "only an inspector inspects");
    let Actor::Inspector(id) = work.actor().clone() else { return Err(refused().into()) };
    let loaded = work.load::<Inspector>(id).await?;
    match &loaded.state {
        Inspector::Known(terms) if terms.status == InspectorStatus::Active => Ok((id, terms.certification_level)),
        _ => Err(refused().into()),
    }
}

/// Looks at an episode, which nobody else may do meanwhile. Taken again, it is held for longer.
#[derive(Clone, Debug)]
pub struct TakeEpisode {
    pub episode: EpisodeId,
    pub terms: InspectionTerms,
}

impl Command for TakeEpisode {
    /// Until when.
    type Answer = Timestamp;
    const NAME: &'static str = "take_episode";

    async fn run(&self, work: &mut Work) -> Result<Timestamp, CommandError> {
        let (by, level) = inspector(work).await?;
        let mut episode = episode_in_scope(work, self.episode).await?;
        let now = work.now;
        let until = TimeDelta::from_std(self.terms.lease).ok().and_then(|lease| now.checked_add_signed(lease)).unwrap_or(now);
        work.decide(&mut episode, EpisodeCommand::Take { by, level, levels: self.terms.levels, until, now })?;
        Ok(until)
    }
}

/// Gives it back without a decision.
#[derive(Clone, Debug)]
pub struct ReleaseEpisode(pub EpisodeId);

impl Command for ReleaseEpisode {
    type Answer = ();
    const NAME: &'static str = "release_episode";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let (by, _) = inspector(work).await?;
        let mut episode = episode_in_scope(work, self.0).await?;
        work.decide(&mut episode, EpisodeCommand::Release { by })?;
        Ok(())
    }
}

#[derive(Clone, Debug)]
pub struct DecideEpisode {
    pub episode: EpisodeId,
    pub decision: Decision,
    pub reason: String,
    pub tags: Vec<String>,
    pub duration_sec: Option<f64>,
    pub terms: InspectionTerms,
}

/// What a decision did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionMade {
    pub effect: DecisionEffect,
    pub status: QaStatus,
}

impl Command for DecideEpisode {
    type Answer = DecisionMade;
    const NAME: &'static str = "decide_episode";

    async fn run(&self, work: &mut Work) -> Result<DecisionMade, CommandError> {
        let (by, level) = inspector(work).await?;
        let mut episode = episode_in_scope(work, self.episode).await?;
        let number = facts::new_ids(&mut work.tx, "inspection_decision_ids", 1).await?[0];
        let decision = NewDecision {
            number,
            by,
            level,
            levels: self.terms.levels,
            decision: self.decision,
            reason: self.reason.clone(),
            tags: self.tags.clone(),
            duration_sec: self.duration_sec,
            second_wanted: chance::share() < self.terms.second_share,
            at: work.now,
        };
        work.decide(&mut episode, EpisodeCommand::Decide(Box::new(decision)))?;
        let Episode::Known(known) = &episode.state else { return Err(anyhow::anyhow!("the episode is gone").into()) };
        let effect = known.inspection.decisions.last().map_or(DecisionEffect::Settled, |last| last.effect);
        Ok(DecisionMade { effect, status: known.qa.status() })
    }
}

/// What was decided is decided once more, by a senior.
#[derive(Clone, Debug)]
pub struct ReopenEpisode {
    pub episode: EpisodeId,
    pub reason: String,
}

impl Command for ReopenEpisode {
    type Answer = ();
    const NAME: &'static str = "reopen_episode";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        if let Actor::Inspector(_) = work.actor() {
            let (_, level) = inspector(work).await?;
            if level < Level::Senior {
                return Err(Refusal::new(RefusalCode::InspectorLevel, "this needs an inspector of the level senior").into());
            }
        }
        let mut episode = episode_in_scope(work, self.episode).await?;
        work.decide(&mut episode, EpisodeCommand::Reopen { reason: self.reason.clone() })?;
        Ok(())
    }
}
