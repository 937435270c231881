//! Works on bulk runs, one of a kind at a time in each process: of the checks, of suites that are applied, and of all other kinds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::commands::bulk_runs::{ClaimedRun, Piece, SettleBulkItems, WorkOnBulkRun};
use crate::commands::{CommandError, Commands};
use crate::domain::bulk_run::{BulkAction, BulkWork, Item, ItemOutcome, ItemResult};
use crate::domain::sync::CloudName;
use crate::qa::Runs;

/// How long another process waits for one that says nothing. Pieces take a fraction of a second, or renew it.
const LEASE: Duration = Duration::from_secs(30);

/// Between looks for a run. A person has just asked for it, and watches.
const POLL: Duration = Duration::from_millis(500);

/// How often it is said what came of items of a long piece: those who watch are told no more often.
const TOLD_EVERY: Duration = Duration::from_millis(500);

/// Items of a long piece, for each that is worked on at the same time: a request to cancel is looked for between pieces.
const ITEMS_EACH: usize = 4;

#[derive(Clone)]
pub struct Worker {
    pub commands: Commands,
    pub runs: Runs,
    /// What it is called beside others.
    pub name: String,
    /// How many items of a long piece are worked on at the same time.
    pub at_once: usize,
    /// Where the site has its recordings.
    pub clouds: Vec<CloudName>,
}

/// Works on runs of a single kind, or of those of which several may be active.
pub async fn work(worker: Worker, single: Option<BulkAction>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let worked = match worker.commands.claim_bulk_run(&worker.name, LEASE, single).await {
            Ok(Some(run)) => worker.work_on(run, &stop).await.map(|()| true),
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

/// What came of a piece that takes long.
enum Judged {
    Done,
    Lost,
    /// The process stops; what was not done is left to the next one.
    Stopped,
}

impl Worker {
    async fn work_on(&self, run: ClaimedRun, stop: &CancellationToken) -> Result<(), CommandError> {
        let id = &run.run_id;
        info!(bulk_run.id = id, "Works on the bulk run `{id}`");
        loop {
            let pause = match self.piece(&run).await? {
                Piece::Done { pause_ms } => Duration::from_millis(pause_ms),
                Piece::ToDo { work, items } => match self.judge(&run, work.into(), items, stop).await {
                    Ok(Judged::Done) => Duration::ZERO,
                    Ok(Judged::Lost) => {
                        lost(id);
                        return Ok(());
                    }
                    Ok(Judged::Stopped) => return self.commands.release_bulk_run(&run).await,
                    Err(CommandError::Failed(error)) => {
                        self.give_up(&run, &error).await?;
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                },
                Piece::Over => {
                    info!(bulk_run.id = id, "The bulk run `{id}` is over");
                    return Ok(());
                }
                Piece::Lost => {
                    lost(id);
                    return Ok(());
                }
            };
            tokio::select! { () = stop.cancelled() => return self.commands.release_bulk_run(&run).await, () = tokio::time::sleep(pause) => {} }
        }
    }

    fn next_piece(&self, run: &ClaimedRun) -> WorkOnBulkRun {
        WorkOnBulkRun { run: run.clone(), lease: LEASE, items_max: self.at_once * ITEMS_EACH, clouds: self.clouds.clone(), given_up: None }
    }

    /// A piece that cannot be done by anybody ends its run.
    async fn piece(&self, run: &ClaimedRun) -> Result<Piece, CommandError> {
        match self.commands.execute(&run.context(), self.next_piece(run)).await {
            Err(CommandError::Failed(error)) => self.give_up(run, &error).await,
            done => done,
        }
    }

    async fn give_up(&self, run: &ClaimedRun, error: &anyhow::Error) -> Result<Piece, CommandError> {
        let id = &run.run_id;
        error!(bulk_run.id = id, error = format!("{error:#}"), "Gives up the bulk run `{id}`: {error:#}");
        let given_up = Some("a piece of the run cannot be done; see the log of the server".to_owned());
        self.commands.execute(&run.context(), WorkOnBulkRun { given_up, ..self.next_piece(run) }).await
    }

    /// Runs the checks over the episodes of a piece, some at the same time, and says what came of them as it goes on. What runs when the
    /// run is lost, or the process stops, is let go of: under its name it is done again.
    async fn judge(
        &self,
        run: &ClaimedRun,
        work: Arc<BulkWork>,
        items: Vec<Item>,
        stop: &CancellationToken,
    ) -> Result<Judged, CommandError> {
        let mut unsaid: Vec<i64> = items.iter().map(|item| item.number).collect();
        let (mut waiting, mut busy, mut found) = (VecDeque::from(items), JoinSet::new(), vec![]);
        let mut held = Instant::now();
        let mut ticks = tokio::time::interval(TOLD_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            while busy.len() < self.at_once
                && let Some(item) = waiting.pop_front()
            {
                let (runs, run, work) = (self.runs.clone(), run.clone(), work.clone());
                busy.spawn(async move { runs.run_item(&run.context(), &run.run_id, &work, &item).await });
            }
            if busy.is_empty() {
                break;
            }
            tokio::select! {
                () = stop.cancelled() => {
                    return Ok(if self.settle(run, found).await? { Judged::Stopped } else { Judged::Lost });
                }
                ended = busy.join_next() => if let Some(Ok(result)) = ended {
                    unsaid.retain(|number| *number != result.0);
                    found.push(result);
                },
                _ = ticks.tick() => match self.go_on(run, &found, held).await {
                    Ok(true) if found.is_empty() && held.elapsed() < LEASE / 3 => {}
                    Ok(true) => (held, found) = (Instant::now(), vec![]),
                    Ok(false) => return Ok(Judged::Lost),
                    Err(error @ CommandError::Failed(_)) => return Err(error),
                    Err(error) if held.elapsed() < LEASE => warn!(error = format!("{error:#}"), "Cannot say how far a bulk run is: {error:#}"),
                    Err(error) => return Err(error),
                },
            }
        }
        // A task that ended without a result has panicked, and the log has it.
        found.extend(unsaid.into_iter().map(|number| (number, ItemOutcome::ProcessingFailed, Some("internal"))));
        Ok(if self.settle(run, found).await? { Judged::Done } else { Judged::Lost })
    }

    /// Says what was found so far; where that is nothing, renews the lease in time. False: the run is lost.
    async fn go_on(&self, run: &ClaimedRun, found: &[ItemResult], held: Instant) -> Result<bool, CommandError> {
        if !found.is_empty() {
            self.settle(run, found.to_vec()).await
        } else if held.elapsed() >= LEASE / 3 {
            self.commands.renew_bulk_run(run, LEASE).await
        } else {
            Ok(true)
        }
    }

    async fn settle(&self, run: &ClaimedRun, results: Vec<ItemResult>) -> Result<bool, CommandError> {
        self.commands.execute(&run.context(), SettleBulkItems { run: run.clone(), lease: LEASE, results }).await
    }
}

fn lost(id: &str) {
    warn!(bulk_run.id = id, "Another process works on the bulk run `{id}`");
}
