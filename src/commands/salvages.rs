//! What is good of a damaged recording is wanted as a file of its own: asked for, and how it ended. The work between is not done here.

use serde::{Deserialize, Serialize};

use super::qa::{episode_in_scope, known};
use super::{Command, CommandError, Work};
use crate::domain::EpisodeId;
use crate::domain::episode::{EpisodeCommand, NewSalvage, SalvageOutcome, SalvageState};

/// A person asks. Where there is a file of the code of today, nothing is done again.
#[derive(Clone, Debug)]
pub struct AskForSalvage {
    pub episode: EpisodeId,
    pub reason: String,
    /// What was salvaged before is not in the store any more.
    pub file_gone: bool,
}

/// How far it is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalvageAnswer {
    pub state: SalvageState,
    pub request: i32,
}

impl Command for AskForSalvage {
    type Answer = SalvageAnswer;
    const NAME: &'static str = "ask_for_salvage";

    async fn run(&self, work: &mut Work) -> Result<SalvageAnswer, CommandError> {
        let mut episode = episode_in_scope(work, self.episode).await?;
        let (by, at) = (work.actor().clone(), work.now);
        let new = NewSalvage { reason: self.reason.clone(), by, at, file_gone: self.file_gone };
        work.decide(&mut episode, EpisodeCommand::AskForSalvage(new))?;
        let salvage = &known(&episode)?.salvage;
        Ok(SalvageAnswer { state: salvage.state(), request: salvage.asked().map_or(0, |asked| asked.request) })
    }
}

/// What came of a request. One that is over already stays as it is.
#[derive(Clone, Debug)]
pub struct EndSalvage {
    pub episode: EpisodeId,
    pub request: i32,
    pub outcome: SalvageOutcome,
}

impl Command for EndSalvage {
    type Answer = ();
    const NAME: &'static str = "end_salvage";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut episode = episode_in_scope(work, self.episode).await?;
        let at = work.now;
        work.decide(&mut episode, EpisodeCommand::EndSalvage { request: self.request, outcome: self.outcome.clone(), at })?;
        Ok(())
    }
}
