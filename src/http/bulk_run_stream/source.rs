//! The runs that are watched, looked at for all who watch.

use crate::projections::reads::bulk_runs::BulkRunShown;
use crate::projections::reads::{ReadError, Reads};
use crate::streams::Looked;

pub struct RunSource(pub Reads);

/// Neither goes back while a run goes on.
fn progress(run: &BulkRunShown) -> (u8, i64) {
    let stage = match (run.own.ended.is_some(), run.own.cancel_requested, run.begun.is_some()) {
        (true, ..) => 3,
        (false, true, _) => 2,
        (false, false, true) => 1,
        (false, false, false) => 0,
    };
    (stage, run.tally().processed())
}

impl Looked for RunSource {
    type State = BulkRunShown;

    async fn states(&self, keys: &[String]) -> Result<Vec<(String, BulkRunShown)>, ReadError> {
        let runs = self.0.bulk_runs_named(keys).await?;
        Ok(runs.into_iter().map(|run| (run.id.clone(), run)).collect())
    }

    fn follows(state: &BulkRunShown, earlier: &BulkRunShown) -> bool {
        progress(state) > progress(earlier)
    }
}
