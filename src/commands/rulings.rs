//! How a run goes on once everything that can be known here is known.

use super::judging::{Case, end};
use super::{CommandError, Work, outside_jobs};
use crate::domain::episode::{Episode, RunMode};
use crate::eventstore::Loaded;

/// It waits for checkers elsewhere where they have to be asked, and ends otherwise.
pub(super) async fn rule(work: &mut Work, episode: &mut Loaded<Episode>, run: (&str, RunMode), case: Case) -> Result<(), CommandError> {
    if case.lacks_answers()
        && let (Some((id, suite)), Episode::Known(known)) = (&case.suite, &episode.state)
    {
        let created = known.created.clone();
        return outside_jobs::wait(work, episode, &created, run, (*id, suite), &case.answers).await;
    }
    end(work, episode, run, case.judgement).await
}
