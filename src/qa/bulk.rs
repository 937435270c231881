//! One episode of a bulk run: what became of it.

use super::{NotRun, Ran, Runs};
use crate::commands::applying::{Applied, ApplySuite};
use crate::commands::bulk_qa::run_name;
use crate::commands::{CommandError, Context};
use crate::domain::bulk_run::{BulkWork, Item, ItemOutcome, ItemResult};
use crate::domain::episode::RunMode;
use crate::domain::{EpisodeId, QaSuiteId, RefusalCode};
use crate::telemetry::chain;

impl Runs {
    async fn apply(&self, context: &Context, episode: EpisodeId, run: String, suite: Option<QaSuiteId>) -> Result<Applied, NotRun> {
        let apply = ApplySuite { episode, run, suite, default_suite: self.default_suite().clone() };
        Ok(self.commands.execute(context, apply).await?)
    }

    /// Judges one item of a bulk run. What could not be done is a result, too: the run goes on.
    pub async fn run_item(&self, context: &Context, run_id: &str, work: &BulkWork, item: &Item) -> ItemResult {
        let (outcome, cause) = match item.item.parse() {
            Ok(id) => {
                let (episode, name) = (EpisodeId(id), run_name(run_id, item.number));
                let done = match work {
                    BulkWork::ApplySuite { suite, .. } => self.apply(context, episode, name, *suite).await,
                    BulkWork::BulkQa { .. }
                    | BulkWork::BulkSync { .. }
                    | BulkWork::BulkCleanup { .. }
                    | BulkWork::ReplayDeadLetters { .. } => self.run(context, episode, &name, RunMode::Manual).await.map(Applied::Ran),
                };
                if let Err(error) = &done {
                    tracing::warn!(bulk_run.id = run_id, episode.id = id, error = chain(error), "Episode {id} was not judged: {error}");
                }
                outcome_of(&done)
            }
            Err(_) => (ItemOutcome::Skipped, Some(RefusalCode::EpisodeNotFound.as_str())),
        };
        (item.number, outcome, cause)
    }
}

/// Why an episode has no verdict yet: the bulk run does not wait for it.
const WAITS: &str = "waits_for_outside_checks";
/// Why a suite is not applied to it.
pub const OTHER_SUITE: &str = "other_suite";
pub const NOT_MEASURED: &str = "not_measured";

fn outcome_of(done: &Result<Applied, NotRun>) -> (ItemOutcome, Option<&'static str>) {
    let error = match done {
        Ok(Applied::Ran(Ran::Waits(_))) => return (ItemOutcome::Skipped, Some(WAITS)),
        Ok(Applied::Ran(Ran::Ended(answer))) => return ItemOutcome::of(answer.ended.judgement.verdict),
        Ok(Applied::OtherSuite) => return (ItemOutcome::Skipped, Some(OTHER_SUITE)),
        Ok(Applied::NotMeasured) => return (ItemOutcome::Skipped, Some(NOT_MEASURED)),
        Err(error) => error,
    };
    match error {
        NotRun::Command(CommandError::Refused(refusal)) => match refusal.code {
            RefusalCode::QaRunning | RefusalCode::EpisodeNotFound | RefusalCode::NotPendingQa | RefusalCode::EdgeCopyGone => {
                (ItemOutcome::Skipped, Some(refusal.code.as_str()))
            }
            code => (ItemOutcome::ProcessingFailed, Some(code.as_str())),
        },
        NotRun::Command(CommandError::Conflict) => (ItemOutcome::ProcessingFailed, Some("lost_race")),
        NotRun::Command(CommandError::Unavailable(_) | CommandError::Unfit(_)) => (ItemOutcome::ProcessingFailed, Some("database")),
        NotRun::Command(CommandError::Failed(_)) => (ItemOutcome::ProcessingFailed, Some("internal")),
        NotRun::Storage(_) => (ItemOutcome::ProcessingFailed, Some("storage")),
        NotRun::TimedOut(_) => (ItemOutcome::ProcessingFailed, Some("timed_out")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::blobs::{BlobError, ObjectKey};
    use crate::commands::Refusal;

    #[test]
    fn what_could_not_be_done_says_why_in_a_word() {
        use ItemOutcome::{ProcessingFailed, Skipped};
        let refused = |code| NotRun::Command(Refusal::new(code, "no").into());
        let gone = BlobError::NotFound(ObjectKey::new("a").unwrap());
        for (error, outcome, cause) in [
            (refused(RefusalCode::QaRunning), Skipped, "qa_running"),
            (refused(RefusalCode::EpisodeNotFound), Skipped, "episode_not_found"),
            (refused(RefusalCode::NotPendingQa), Skipped, "not_pending_qa"),
            (refused(RefusalCode::QaRunLost), ProcessingFailed, "qa_run_lost"),
            (NotRun::Command(CommandError::Conflict), ProcessingFailed, "lost_race"),
            (NotRun::Command(CommandError::Unavailable("away".into())), ProcessingFailed, "database"),
            (NotRun::Command(anyhow::anyhow!("odd").into()), ProcessingFailed, "internal"),
            (NotRun::Storage(gone), ProcessingFailed, "storage"),
            (NotRun::TimedOut(Duration::from_secs(1)), ProcessingFailed, "timed_out"),
        ] {
            assert_eq!(outcome_of(&Err(error)), (outcome, Some(cause)), "{cause}");
        }
    }
}
