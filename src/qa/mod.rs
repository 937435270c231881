//! Runs of the checks: looks at the objects of an episode as far as what is known of them does not do, and has it judged.
//!
//! ```text
//!  new episode ──────────────► judge (what was measured while it was verified) ──► one event
//!  a suite that is applied ──► judge (the same) ─────────────────────────────► one event
//!  a person, a bulk run ─► start ─► look at the objects ─► judge ──────────────► two events
//!                                     └─ cannot be read, or takes too long ─► abandon: the episode is as it was
//! ```
//!
//! Where the suite has checks that are made elsewhere, judging makes jobs for them, and the run waits ([`crate::commands::outside_jobs`]).
//!
//! What is found is a result, and stored; what cannot be looked at is none, and changes nothing. Beside the runs, [`frame`] shows one image
//! of a recording to a person, and [`compared`] says where to look first.

pub mod bulk;
pub mod compared;
pub mod frame;
mod look;
mod object;
pub mod what_if;

use std::time::Duration;

use tracing::warn;

pub use self::look::key_of;
pub use self::object::{Objects, Read, measure_object};
use crate::blobs::{BlobError, Blobs};
pub use crate::commands::qa::Ran;
use crate::commands::qa::{AbandonQaRun, Begun, JudgeEpisode, Judged, StartQaRun};
use crate::commands::{CommandError, Commands, Context};
use crate::domain::EpisodeId;
use crate::domain::episode::RunMode;
use crate::domain::judgement::Suite;
use crate::telemetry::chain;

/// Beyond what a look may take: to write down what it found.
const TO_SETTLE: Duration = Duration::from_secs(30);

/// How runs are made.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// How long a look may take.
    pub timeout: Duration,
    /// Where no other suite is for an episode.
    pub default_suite: Suite,
    /// A larger sidecar is not read.
    pub sidecar_bytes_max: u64,
}

/// Makes runs. Cheap to clone.
#[derive(Clone)]
pub struct Runs {
    commands: Commands,
    blobs: Blobs,
    settings: std::sync::Arc<RunSettings>,
}

/// Why a run has no result.
#[derive(Debug, thiserror::Error)]
pub enum NotRun {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("the objects of the episode cannot be read")]
    Storage(#[source] BlobError),
    #[error("it took longer than qa.timeout_s ({} s)", .0.as_secs())]
    TimedOut(Duration),
}

impl Runs {
    pub fn new(commands: Commands, blobs: Blobs, settings: RunSettings) -> Self {
        Self { commands, blobs, settings: std::sync::Arc::new(settings) }
    }

    /// What judges where no suite of the site does.
    pub fn default_suite(&self) -> &Suite {
        &self.settings.default_suite
    }

    fn judge(&self, episode: EpisodeId, run: &str, mode: RunMode) -> JudgeEpisode {
        JudgeEpisode { episode, run: run.to_owned(), mode, looked: None, default_suite: self.settings.default_suite.clone() }
    }

    /// Judges a new episode by what was measured of it. One that was not is looked at.
    pub async fn judge_new(&self, context: &Context, episode: EpisodeId, run: &str) -> Result<Ran, NotRun> {
        match self.commands.execute(context, self.judge(episode, run, RunMode::Auto)).await? {
            Judged::Ran(ran) => Ok(ran),
            Judged::NotMeasured => self.run(context, episode, run, RunMode::Auto).await,
        }
    }

    /// Looks at the objects, and judges. What was done under this name is not done again.
    pub async fn run(&self, context: &Context, episode: EpisodeId, run: &str, mode: RunMode) -> Result<Ran, NotRun> {
        let timeout = self.settings.timeout;
        let start = StartQaRun { episode, run: run.to_owned(), mode, within: timeout + TO_SETTLE };
        let to_look_at = match self.commands.execute(context, start).await? {
            Begun::Ran(ran) => return Ok(ran),
            Begun::Look(to_look_at) => to_look_at,
        };
        let looked = tokio::time::timeout(timeout, look::look_again(&self.blobs, &to_look_at, self.settings.sidecar_bytes_max)).await;
        let not_run = match looked {
            Ok(Ok(facts)) => {
                let judge = JudgeEpisode { looked: Some(Box::new(facts)), ..self.judge(episode, run, mode) };
                match self.commands.execute(context, judge).await {
                    Ok(Judged::Ran(ran)) => return Ok(ran),
                    Ok(Judged::NotMeasured) => {
                        NotRun::Command(anyhow::anyhow!("what was found of episode {episode} is not known any more").into())
                    }
                    Err(error) => NotRun::Command(error),
                }
            }
            Ok(Err(error)) => NotRun::Storage(error),
            Err(_) => NotRun::TimedOut(timeout),
        };
        let why = chain(&not_run);
        let abandon = AbandonQaRun { episode, run: run.to_owned(), why: why.chars().take(WHY_CHARS_MAX).collect() };
        if let Err(error) = self.commands.execute(context, abandon).await {
            // Its time ends it.
            warn!(episode.id = %episode, error = format!("{error:#}"), "Cannot say that a run of episode {episode} was abandoned: {error:#}");
        }
        Err(not_run)
    }
}

/// As much as is kept of why a run was abandoned.
const WHY_CHARS_MAX: usize = 500;
