//! Bulk runs: accepted with everything they are about, worked off piece by piece under a lease, cancelled on request.
//!
//! A run is claimed by one process at a time ([`Commands::claim_bulk_run`]). Each piece is one transaction: what is done about its
//! items, what became of them, and the lease. So a crash loses no count, and what was not done is done by the process that claims
//! the run when the lease is over. A kind whose work takes long does it before that transaction, and repeats it after a crash.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::sweep::SWEPT_AT_ONCE;
use super::{Command, CommandError, Commands, Work, chance, letters};
use crate::domain::bulk_run::{Active, BulkCommand, BulkRun, BulkTally, BulkWork, ItemOutcome};
use crate::eventstore::Loaded;

/// Items of one piece.
const PIECE_MAX: u32 = 200;

const LIST: &str = "insert into bulk_run_items (run_id, item_no, action, item)
    select $1, n, $2, item from unnest($3::text[]) with ordinality i (item, n) order by n on conflict do nothing";
const LISTED: &str = "select count(*) from bulk_run_items where run_id = $1";
const BEGIN: &str = "insert into bulk_run_progress (run_id, skipped, single) values ($1, $2, $3)";

const CLAIM: &str = "update bulk_run_progress p set
        leased_until = clock_timestamp() + make_interval(secs => $1), leased_by = $2, epoch = p.epoch + 1,
        started_at = coalesce(p.started_at, clock_timestamp()), updated_at = clock_timestamp()
    where p.run_id = (select q.run_id from bulk_run_progress q where q.leased_until is null or q.leased_until < clock_timestamp()
                      order by q.accepted_at, q.run_id limit 1 for update skip locked)
    returning p.run_id, p.epoch";
const RELEASE: &str = "update bulk_run_progress set leased_until = null where run_id = $1 and epoch = $2";

const HOLD: &str = "select passed, qa_failed, processing_failed, skipped, started_at from bulk_run_progress
    where run_id = $1 and epoch = $2 for update";
const NEXT: &str = "select item_no, item from bulk_run_items where run_id = $1 and outcome is null order by item_no limit $2::bigint";
const SETTLE: &str = "update bulk_run_items i set outcome = s.outcome, cause = s.cause, at = clock_timestamp()
    from unnest($2::bigint[], $3::text[], $4::text[]) s (item_no, outcome, cause) where i.run_id = $1 and i.item_no = s.item_no";
const GO_ON: &str = "update bulk_run_progress set passed = $2, qa_failed = $3, processing_failed = $4, skipped = $5,
        updated_at = clock_timestamp(), leased_until = clock_timestamp() + make_interval(secs => $6)
    where run_id = $1";
const CANCEL_REST: &str = "with rest as (
        update bulk_run_items set outcome = 'canceled', at = clock_timestamp() where run_id = $1 and outcome is null returning 1)
    select count(*) from rest";
const END: &str = "delete from bulk_run_progress where run_id = $1";

/// Runs that ended before an instant and have items: of each run in the table one row is looked at, however many it has.
const WITH_OLD_ITEMS: &str = "with recursive listed (run_id) as (
        (select run_id from bulk_run_items order by run_id limit 1)
        union all
        select (select i.run_id from bulk_run_items i where i.run_id > l.run_id order by i.run_id limit 1) from listed l where l.run_id is not null)
    select b.id from listed l join bulk_runs b on b.id = l.run_id where b.ended is not null and b.updated_at < $1";
const SWEEP_ITEMS: &str = "with gone as (
        delete from bulk_run_items i using (select item_no from bulk_run_items where run_id = $1 order by item_no limit $2) s
        where i.run_id = $1 and i.item_no = s.item_no returning 1)
    select count(*) from gone";

/// A run of this work.
#[derive(Clone, Debug)]
pub struct AcceptBulkRun(pub BulkWork);

impl Command for AcceptBulkRun {
    /// The id of the run.
    type Answer = String;
    const NAME: &'static str = "accept_bulk_run";

    async fn run(&self, work: &mut Work) -> Result<String, CommandError> {
        let action = self.0.action();
        let items = match &self.0 {
            BulkWork::ReplayDeadLetters { selection, .. } => letters::items_of(work, selection).await?,
        };
        let run_id = format!("{}_{}_{:06x}", action.as_str(), work.now.format("%Y%m%d_%H%M%S"), chance::part() & 0x00ff_ffff);
        let total = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let mut run = Loaded::<BulkRun>::absent(&run_id);
        work.decide(&mut run, BulkCommand::Accept { work: self.0.clone(), total })?;
        let answers = work.tx.query_all(&[(LIST, vec![&run_id, &action.as_str(), &items]), (LISTED, vec![&run_id])]).await?;
        let listed: i64 = answers.iter().flatten().next().map_or(0, |row| row.get(0));
        let skipped = total - listed;
        if listed == 0 {
            let tally = BulkTally { skipped, ..BulkTally::default() };
            work.decide(&mut run, BulkCommand::End { left: 0, tally, started_at: None, error: None })?;
        } else {
            let single = action.is_single().then_some(action.as_str());
            work.tx.query(BEGIN, &[&run_id, &skipped, &single]).await?;
        }
        Ok(run_id)
    }
}

/// What was not worked on yet stays undone.
#[derive(Clone, Debug)]
pub struct CancelBulkRun(pub String);

impl Command for CancelBulkRun {
    type Answer = ();
    const NAME: &'static str = "cancel_bulk_run";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut run = work.lock_and_load::<BulkRun>(&self.0).await?;
        work.decide(&mut run, BulkCommand::Cancel)?;
        Ok(())
    }
}

/// A run that this process works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedRun {
    pub run_id: String,
    epoch: i64,
}

impl Commands {
    /// Takes the oldest run that nobody works on.
    pub async fn claim_bulk_run(&self, worker: &str, lease: Duration) -> Result<Option<ClaimedRun>, CommandError> {
        let rows = self.beside_the_log(CLAIM, &[&lease.as_secs_f64(), &worker]).await?;
        Ok(rows.first().map(|row| ClaimedRun { run_id: row.get(0), epoch: row.get(1) }))
    }

    /// An orderly stop: another process may go on at once.
    pub async fn release_bulk_run(&self, run: &ClaimedRun) -> Result<(), CommandError> {
        self.beside_the_log(RELEASE, &[&run.run_id, &run.epoch]).await?;
        Ok(())
    }

    /// Sweeps the items of runs that ended longer ago than this. The runs stay.
    pub async fn sweep_bulk_items(&self, kept: Duration, stop: &CancellationToken) -> Result<(), CommandError> {
        let kept = chrono::TimeDelta::from_std(kept).unwrap_or(chrono::TimeDelta::MAX);
        let Some(ended_before) = self.now().checked_sub_signed(kept) else { return Ok(()) };
        for run in self.beside_the_log(WITH_OLD_ITEMS, &[&ended_before]).await? {
            let run_id: &str = run.get(0);
            while !stop.is_cancelled() {
                let swept = self.beside_the_log(SWEEP_ITEMS, &[&run_id, &SWEPT_AT_ONCE]).await?;
                if swept.first().is_none_or(|row| row.get::<_, i64>(0) < SWEPT_AT_ONCE) {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Works on the next items of a claimed run.
#[derive(Clone, Debug)]
pub struct WorkOnBulkRun {
    pub run: ClaimedRun,
    pub lease: Duration,
    /// Why it cannot go on: it ends.
    pub given_up: Option<String>,
}

/// What came of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    /// There may be more, after this pause.
    Done { pause_ms: u64 },
    /// The run has ended.
    Over,
    /// Another process works on it.
    Lost,
}

impl Command for WorkOnBulkRun {
    type Answer = Piece;
    const NAME: &'static str = "work_on_bulk_run";

    async fn run(&self, work: &mut Work) -> Result<Piece, CommandError> {
        let id = &self.run.run_id;
        let held = work.tx.query(HOLD, &[id, &self.run.epoch]).await?;
        let Some(held) = held.first() else { return Ok(Piece::Lost) };
        let mut tally = BulkTally { passed: held.get(0), qa_failed: held.get(1), processing_failed: held.get(2), skipped: held.get(3) };
        let started_at = held.get(4);
        let mut run = work.lock_and_load::<BulkRun>(id).await?;
        let BulkRun::Active(Active { work: asked, cancel_requested, .. }) = run.state.clone() else { return Ok(Piece::Lost) };
        let BulkWork::ReplayDeadLetters { selection, causation_depth_max, per_second } = asked;
        let most = i64::from(per_second.clamp(1, PIECE_MAX));
        let items: Vec<(i64, String)> = match cancel_requested || self.given_up.is_some() {
            true => vec![],
            false => work.tx.query(NEXT, &[id, &most]).await?.iter().map(|row| (row.get(0), row.get(1))).collect(),
        };
        if items.is_empty() {
            let rest = work.tx.query_all(&[(CANCEL_REST, vec![id]), (END, vec![id])]).await?;
            let left = rest.iter().flatten().next().map_or(0, |row| row.get(0));
            work.decide(&mut run, BulkCommand::End { left, tally, started_at, error: self.given_up.clone() })?;
            return Ok(Piece::Over);
        }
        let results = letters::replay_items(work, &selection, &items, causation_depth_max).await?;
        for (outcome, _) in &results {
            match outcome {
                ItemOutcome::Passed => tally.passed += 1,
                ItemOutcome::QaFailed => tally.qa_failed += 1,
                ItemOutcome::ProcessingFailed => tally.processing_failed += 1,
                ItemOutcome::Skipped | ItemOutcome::Canceled => tally.skipped += 1,
            }
        }
        let numbers: Vec<i64> = items.iter().map(|(number, _)| *number).collect();
        let outcomes: Vec<&str> = results.iter().map(|(outcome, _)| outcome.as_str()).collect();
        let causes: Vec<Option<&str>> = results.iter().map(|(_, cause)| *cause).collect();
        let lease = self.lease.as_secs_f64();
        let counts =
            vec![id as _, &tally.passed as _, &tally.qa_failed as _, &tally.processing_failed as _, &tally.skipped as _, &lease as _];
        work.tx.query_all(&[(SETTLE, vec![id, &numbers, &outcomes, &causes]), (GO_ON, counts)]).await?;
        Ok(Piece::Done { pause_ms: items.len() as u64 * 1000 / u64::from(per_second.max(1)) })
    }
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    [
        ("items of a bulk run, listed", LIST),
        ("items of a bulk run, counted", LISTED),
        ("bulk run, begun", BEGIN),
        ("bulk run, claimed", CLAIM),
        ("bulk run, released", RELEASE),
        ("bulk run, held", HOLD),
        ("items of a bulk run that wait", NEXT),
        ("items of a bulk run, settled", SETTLE),
        ("bulk run, going on", GO_ON),
        ("items of a bulk run, cancelled", CANCEL_REST),
        ("bulk run, over", END),
        ("bulk runs with items that are old", WITH_OLD_ITEMS),
        ("items of a bulk run, swept", SWEEP_ITEMS),
    ]
    .map(|(name, sql)| (name, sql.to_owned()))
    .into()
}
