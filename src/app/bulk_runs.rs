//! Works on bulk runs, one at a time in each process.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::commands::bulk_runs::{ClaimedRun, Piece, WorkOnBulkRun};
use crate::commands::{CommandError, Commands, Context};

/// How long another process waits for one that says nothing; pieces take a fraction of a second.
const LEASE: Duration = Duration::from_secs(30);

/// Between looks for a run. A person has just asked for it, and watches.
const POLL: Duration = Duration::from_millis(500);

pub async fn work(commands: Commands, worker: String, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let worked = match commands.claim_bulk_run(&worker, LEASE).await {
            Ok(Some(run)) => work_on(&commands, run, &stop).await.map(|()| true),
            Ok(None) => Ok(false),
            Err(error) => Err(error),
        };
        match worked {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => warn!(error = format!("{error:#}"), "Cannot work on bulk runs; tries again: {error:#}"),
        }
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(POLL) => {} }
    }
}

async fn work_on(commands: &Commands, run: ClaimedRun, stop: &CancellationToken) -> Result<(), CommandError> {
    let id = &run.run_id;
    info!(bulk_run.id = id, "Works on the bulk run `{id}`");
    loop {
        let pause = match piece(commands, &run).await? {
            Piece::Done { pause_ms } => Duration::from_millis(pause_ms),
            Piece::Over => {
                info!(bulk_run.id = id, "The bulk run `{id}` is over");
                return Ok(());
            }
            Piece::Lost => {
                warn!(bulk_run.id = id, "Another process works on the bulk run `{id}`");
                return Ok(());
            }
        };
        tokio::select! { () = stop.cancelled() => return commands.release_bulk_run(&run).await, () = tokio::time::sleep(pause) => {} }
    }
}

/// A piece that cannot be done by anybody ends its run.
async fn piece(commands: &Commands, run: &ClaimedRun) -> Result<Piece, CommandError> {
    let work = WorkOnBulkRun { run: run.clone(), lease: LEASE, given_up: None };
    match commands.execute(&Context::system(), work.clone()).await {
        Err(CommandError::Failed(error)) => {
            let id = &run.run_id;
            error!(bulk_run.id = id, error = format!("{error:#}"), "Gives up the bulk run `{id}`: {error:#}");
            let given_up = Some("a piece of the run cannot be done; see the log of the server".to_owned());
            commands.execute(&Context::system(), WorkOnBulkRun { given_up, ..work }).await
        }
        done => done,
    }
}
