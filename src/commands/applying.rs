//! A suite, applied to what was judged before: by stored facts, without a look at any object.
//!
//! Only an active suite is applied, and only to episodes that it is for now: a verdict names rules that do not change, and the next
//! ordinary run goes by the same ones.

use serde::{Deserialize, Serialize};

use super::judging::case_of;
use super::qa::{Ran, episode_in_scope, has_run, known, ran};
use super::rulings::rule;
use super::{Command, CommandError, Refusal, Work};
use crate::domain::episode::{EpisodeSelection, RunMode};
use crate::domain::judgement::Suite;
use crate::domain::qa_suite::{QaSuite, SuiteState};
use crate::domain::{EpisodeId, QaSuiteId, RefusalCode};

/// What a selection is about where this suite is applied to it. None: the shipped one.
pub(super) async fn meant(
    work: &mut Work,
    suite: Option<QaSuiteId>,
    selection: &EpisodeSelection,
) -> Result<EpisodeSelection, CommandError> {
    let Some(id) = suite else { return Ok(selection.clone()) };
    match work.load::<QaSuite>(id).await?.state {
        QaSuite::Absent => Err(Refusal::new(RefusalCode::SuiteNotFound, "suite not found").into()),
        QaSuite::Version(version) => {
            may_be_applied(version.state)?;
            Ok(version.scope.narrow(selection.clone()))
        }
    }
}

/// Only an active suite.
pub fn may_be_applied(state: SuiteState) -> Result<(), Refusal> {
    match state {
        SuiteState::Active => Ok(()),
        SuiteState::Draft | SuiteState::Retired => {
            let text = format!("the suite is {}: only an active one is applied", state.as_str());
            Err(Refusal::new(RefusalCode::SuiteNotActive, text))
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Applied {
    /// By now another suite is for the episode.
    OtherSuite,
    /// Nothing was measured: a run of the checks has to look first.
    NotMeasured,
    Ran(Ran),
}

/// Judges an episode by what was measured of it, where this suite is for it.
#[derive(Clone, Debug)]
pub struct ApplySuite {
    pub episode: EpisodeId,
    pub run: String,
    /// None: the shipped one.
    pub suite: Option<QaSuiteId>,
    /// The shipped one, as this server has it.
    pub default_suite: Suite,
}

impl Command for ApplySuite {
    type Answer = Applied;
    const NAME: &'static str = "apply_suite";

    async fn run(&self, work: &mut Work) -> Result<Applied, CommandError> {
        let mut episode = episode_in_scope(work, self.episode).await?;
        if let Some(ran) = ran(&episode, &self.run)? {
            return Ok(Applied::Ran(ran));
        }
        let before = known(&episode)?;
        let Some(measured) = before.measured.as_deref() else { return Ok(Applied::NotMeasured) };
        let case = case_of(work, self.episode, before, measured, &self.default_suite).await?;
        if case.suite.as_ref().map(|(id, _)| *id) != self.suite {
            return Ok(Applied::OtherSuite);
        }
        rule(work, &mut episode, (&self.run, RunMode::Apply), case).await?;
        has_run(&episode, &self.run).map(Applied::Ran)
    }
}
