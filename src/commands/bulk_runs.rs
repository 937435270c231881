//! Bulk runs: accepted with everything they are about, worked off piece by piece under a lease, cancelled on request.
//!
//! A run is claimed by one process at a time ([`Commands::claim_bulk_run`]). Each piece is one transaction: what is done about its
//! items, what became of them, and the lease. So a crash loses no count, and what was not done is done by the process that claims
//! the run when the lease is over. A kind whose work takes long gets the items of a piece ([`Piece::ToDo`]), does its work outside, and says
//! what came of it ([`SettleBulkItems`]); after a crash it is done again, under the same names.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_postgres::Row;
use tokio_util::sync::CancellationToken;

use super::bulk_items::list_of;
use super::sweep::SWEPT_AT_ONCE;
use super::{Command, CommandError, Commands, Context, Refusal, Work, applying, bulk_qa, chance, copies, letters, sync};
use crate::domain::bulk_run::{Active, BulkAction, BulkCommand, BulkRefusal, BulkRun, BulkTally, BulkWork, Item, ItemResult};
use crate::domain::episode::moved_far;
use crate::domain::sync::CloudName;
use crate::domain::{Actor, Kind, RefusalCode};
use crate::eventstore::{Cause, Loaded};

/// Items of one piece.
const PIECE_MAX: u32 = 200;

/// Episodes that are queued for the cloud, or whose copies are removed, in one transaction; each is locked until its end.
pub const QUEUED_AT_ONCE: u32 = 20;

/// The things that were handed over, as [`list_of`] wants them.
const MEANT: &str = "select item, n from unnest($3::text[]) with ordinality i (item, n)";
/// Waits for a run of the same single kind that is being accepted, and answers nothing where that is then active.
const BEGIN: &str = "insert into bulk_run_progress (run_id, single) values ($1, $2) on conflict (single) do nothing returning 1";
const SKIP: &str = "update bulk_run_progress set skipped = $2 where run_id = $1";
const ACTIVE: &str =
    "select run_id, case when started_at is null then 'queued' else 'running' end from bulk_run_progress where single = $1";

const CLAIM: &str = "update bulk_run_progress p set
        leased_until = clock_timestamp() + make_interval(secs => $1), leased_by = $2, epoch = p.epoch + 1,
        started_at = coalesce(p.started_at, clock_timestamp()), updated_at = clock_timestamp()
    where p.run_id = (select q.run_id from bulk_run_progress q where (q.leased_until is null or q.leased_until < clock_timestamp())
                          and q.single is not distinct from $3::text
                      order by q.accepted_at, q.run_id limit 1 for update skip locked)
    returning p.run_id, p.epoch,
        (select e.metadata from events e where e.aggregate_type = 'bulk_run' and e.aggregate_id = p.run_id and e.sequence = 1)";
const RENEW: &str = "update bulk_run_progress set leased_until = clock_timestamp() + make_interval(secs => $3)
    where run_id = $1 and epoch = $2 returning 1";
const RELEASE: &str = "update bulk_run_progress set leased_until = null where run_id = $1 and epoch = $2";

const HOLD: &str = "select passed, qa_failed, processing_failed, skipped, started_at from bulk_run_progress
    where run_id = $1 and epoch = $2 for update";
const NEXT: &str = "select item_no, item from bulk_run_items where run_id = $1 and outcome is null order by item_no limit $2::bigint";
/// What became of items that had no outcome yet, and the counts of just these.
const SETTLE: &str = "with settled as (
        update bulk_run_items i set outcome = s.outcome, cause = s.cause, at = clock_timestamp()
        from unnest($2::bigint[], $3::text[], $4::text[]) s (item_no, outcome, cause)
        where i.run_id = $1 and i.item_no = s.item_no and i.outcome is null returning i.outcome),
    counted as (
        select count(*) filter (where outcome = 'passed') as passed, count(*) filter (where outcome = 'qa_failed') as qa_failed,
            count(*) filter (where outcome = 'processing_failed') as processing_failed, count(*) filter (where outcome = 'skipped') as skipped
        from settled)
    update bulk_run_progress p set passed = p.passed + c.passed, qa_failed = p.qa_failed + c.qa_failed,
        processing_failed = p.processing_failed + c.processing_failed, skipped = p.skipped + c.skipped,
        updated_at = clock_timestamp(), leased_until = clock_timestamp() + make_interval(secs => $5)
    from counted c where p.run_id = $1";
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
pub struct AcceptBulkRun {
    pub work: BulkWork,
    /// How many things a preview counted. Where they are others by now, nothing is done.
    pub expected: Option<i64>,
}

impl Command for AcceptBulkRun {
    /// The id of the run.
    type Answer = String;
    const NAME: &'static str = "accept_bulk_run";

    async fn run(&self, work: &mut Work) -> Result<String, CommandError> {
        let action = self.work.action();
        let run_id = format!("{}_{}_{:06x}", action.as_str(), work.now.format("%Y%m%d_%H%M%S"), chance::part() & 0x00ff_ffff);
        let single = action.is_single().then_some(action.as_str());
        if work.tx.query(BEGIN, &[&run_id, &single]).await?.is_empty() {
            return Err(active(work, action).await?);
        }
        let (total, listed) = match &self.work {
            BulkWork::ReplayDeadLetters { selection, .. } => {
                let items = letters::items_of(work, selection).await?;
                let counts = work.tx.query(&list_of(MEANT, 1, 2), &[&run_id, &action.as_str(), &items]).await?;
                counts.first().map_or((0, 0), |row| (row.get(0), row.get(1)))
            }
            BulkWork::BulkQa { selection } | BulkWork::BulkSync { selection, .. } | BulkWork::BulkCleanup { selection } => {
                bulk_qa::list_items(work, &run_id, action, selection).await?
            }
            BulkWork::ApplySuite { suite, selection } => {
                let meant = applying::meant(work, *suite, selection).await?;
                bulk_qa::list_items(work, &run_id, action, &meant).await?
            }
        };
        if let Some(expected) = self.expected.filter(|expected| moved_far(*expected, total)) {
            let text = format!("{total} are meant, and {expected} were expected; look again");
            let both = serde_json::json!({ "expected_count": expected, "matched_count": total });
            return Err(Refusal::new(RefusalCode::BulkCountMoved, text).with(both).into());
        }
        let mut run = Loaded::<BulkRun>::absent(&run_id);
        work.decide(&mut run, BulkCommand::Accept { work: self.work.clone(), scope: work.scope.clone(), total })?;
        let skipped = total - listed;
        if listed == 0 {
            let tally = BulkTally { skipped, ..BulkTally::default() };
            work.decide(&mut run, BulkCommand::End { left: 0, tally, started_at: Some(work.now), error: None })?;
            work.tx.query(END, &[&run_id]).await?;
        } else if skipped > 0 {
            work.tx.query(SKIP, &[&run_id, &skipped]).await?;
        }
        Ok(run_id)
    }
}

/// The refusal because of the run of this kind that is active; which one, only those are told who see it.
async fn active(work: &mut Work, action: BulkAction) -> Result<CommandError, CommandError> {
    let rows = work.tx.query(ACTIVE, &[&action.as_str()]).await?;
    // It may have ended at this moment.
    let Some(row) = rows.first() else { return Ok(CommandError::Conflict) };
    let (run_id, status): (&str, &str) = (row.get(0), row.get(1));
    let text = format!("{} already running", action.as_str().replace('_', " "));
    let refusal = Refusal::new(RefusalCode::BulkRunActive, text);
    let is_seen = work.load::<BulkRun>(run_id).await?.state.is_seen_by(&work.scope);
    Ok(if is_seen { refusal.with(serde_json::json!({ "run_id": run_id, "status": status })) } else { refusal }.into())
}

/// What was not worked on yet stays undone.
#[derive(Clone, Debug)]
pub struct CancelBulkRun(pub String);

impl Command for CancelBulkRun {
    type Answer = ();
    const NAME: &'static str = "cancel_bulk_run";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut run = work.lock_and_load::<BulkRun>(&self.0).await?;
        if !run.state.is_seen_by(&work.scope) {
            return Err(Refusal::from(BulkRefusal::NotFound).into());
        }
        work.decide(&mut run, BulkCommand::Cancel)?;
        Ok(())
    }
}

/// A run that this process works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedRun {
    pub run_id: String,
    epoch: i64,
    /// Metadata of the event that accepted it.
    accepted: Value,
}

impl ClaimedRun {
    fn of(row: &Row) -> Self {
        Self { run_id: row.get(0), epoch: row.get(1), accepted: row.get::<_, Option<Value>>(2).unwrap_or_default() }
    }

    /// What a run does is done for who asked for it, and because it was accepted.
    pub fn context(&self) -> Context {
        let cause = Cause { event_id: format!("{}/{}/1", Kind::BulkRun.as_str(), self.run_id), depth: 0 };
        let actor = self.accepted.get("actor").and_then(Value::as_str).and_then(Actor::parse);
        Context::caused(actor.unwrap_or(Actor::System), cause, &self.accepted)
    }
}

impl Commands {
    /// Takes the oldest run that nobody works on: of a single kind, or of those of which several may be active.
    pub async fn claim_bulk_run(
        &self,
        worker: &str,
        lease: Duration,
        single: Option<BulkAction>,
    ) -> Result<Option<ClaimedRun>, CommandError> {
        let rows = self.beside_the_log(CLAIM, &[&lease.as_secs_f64(), &worker, &single.map(BulkAction::as_str)]).await?;
        Ok(rows.first().map(ClaimedRun::of))
    }

    /// The process goes on with a piece that takes long. False: it has lost the run.
    pub async fn renew_bulk_run(&self, run: &ClaimedRun, lease: Duration) -> Result<bool, CommandError> {
        Ok(!self.beside_the_log(RENEW, &[&run.run_id, &run.epoch, &lease.as_secs_f64()]).await?.is_empty())
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
    /// Items of a piece that is done outside of the command.
    pub items_max: usize,
    /// Where the site has its recordings.
    pub clouds: Vec<CloudName>,
    /// Why it cannot go on: it ends.
    pub given_up: Option<String>,
}

/// What came of a piece.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Piece {
    /// There may be more, after this pause.
    Done { pause_ms: u64 },
    /// These are next, and take long.
    ToDo { work: Box<BulkWork>, items: Vec<Item> },
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
        let tally = BulkTally { passed: held.get(0), qa_failed: held.get(1), processing_failed: held.get(2), skipped: held.get(3) };
        let started_at = held.get(4);
        let mut run = work.lock_and_load::<BulkRun>(id).await?;
        let BulkRun::Active(Active { work: asked, cancel_requested, .. }) = run.state.clone() else { return Ok(Piece::Lost) };
        let most = match &asked {
            BulkWork::ReplayDeadLetters { per_second, .. } => i64::from((*per_second).clamp(1, PIECE_MAX)),
            BulkWork::BulkQa { .. } | BulkWork::ApplySuite { .. } => i64::try_from(self.items_max).unwrap_or(i64::MAX),
            BulkWork::BulkSync { .. } | BulkWork::BulkCleanup { .. } => i64::from(QUEUED_AT_ONCE),
        };
        let items: Vec<Item> = match cancel_requested || self.given_up.is_some() {
            true => vec![],
            false => {
                let rows = work.tx.query(NEXT, &[id, &most]).await?;
                rows.iter().map(|row| Item { number: row.get(0), item: row.get(1) }).collect()
            }
        };
        if items.is_empty() {
            let rest = work.tx.query_all(&[(CANCEL_REST, vec![id]), (END, vec![id])]).await?;
            let left = rest.iter().flatten().next().map_or(0, |row| row.get(0));
            work.decide(&mut run, BulkCommand::End { left, tally, started_at, error: self.given_up.clone() })?;
            return Ok(Piece::Over);
        }
        match asked {
            BulkWork::ReplayDeadLetters { selection, causation_depth_max, per_second } => {
                let results = letters::replay_items(work, &selection, &items, causation_depth_max).await?;
                settle(work, id, &results, self.lease).await?;
                Ok(Piece::Done { pause_ms: items.len() as u64 * 1000 / u64::from(per_second.max(1)) })
            }
            BulkWork::BulkSync { force, .. } => {
                let results = sync::queue_items(work, &items, force, &self.clouds).await?;
                settle(work, id, &results, self.lease).await?;
                Ok(Piece::Done { pause_ms: 0 })
            }
            BulkWork::BulkCleanup { .. } => {
                let results = copies::remove_items(work, &items).await?;
                settle(work, id, &results, self.lease).await?;
                Ok(Piece::Done { pause_ms: 0 })
            }
            BulkWork::BulkQa { .. } | BulkWork::ApplySuite { .. } => {
                // What a process did that died before it could say so, is not done again.
                let before = bulk_qa::done_before(work, id, &items).await?;
                settle(work, id, &before, self.lease).await?;
                let is_done = |item: &Item| before.iter().any(|(number, ..)| *number == item.number);
                Ok(Piece::ToDo { work: Box::new(asked), items: items.into_iter().filter(|item| !is_done(item)).collect() })
            }
        }
    }
}

/// Says what came of items that were worked on outside of a transaction.
#[derive(Clone, Debug)]
pub struct SettleBulkItems {
    pub run: ClaimedRun,
    pub lease: Duration,
    pub results: Vec<ItemResult>,
}

impl Command for SettleBulkItems {
    /// False: the process has lost the run, and nothing is counted.
    type Answer = bool;
    const NAME: &'static str = "settle_bulk_items";

    async fn run(&self, work: &mut Work) -> Result<bool, CommandError> {
        if work.tx.query(HOLD, &[&self.run.run_id, &self.run.epoch]).await?.is_empty() {
            return Ok(false);
        }
        settle(work, &self.run.run_id, &self.results, self.lease).await?;
        Ok(true)
    }
}

async fn settle(work: &mut Work, run_id: &str, results: &[ItemResult], lease: Duration) -> Result<(), CommandError> {
    let numbers: Vec<i64> = results.iter().map(|(number, ..)| *number).collect();
    let outcomes: Vec<&str> = results.iter().map(|(_, outcome, _)| outcome.as_str()).collect();
    let causes: Vec<Option<&str>> = results.iter().map(|(.., cause)| *cause).collect();
    work.tx.query(SETTLE, &[&run_id, &numbers, &outcomes, &causes, &lease.as_secs_f64()]).await?;
    Ok(())
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    [
        ("bulk run, begun", BEGIN),
        ("bulk run, claimed", CLAIM),
        ("bulk run, released", RELEASE),
        ("bulk run, held", HOLD),
        ("items of a bulk run that wait", NEXT),
        ("items of a bulk run, settled", SETTLE),
        ("bulk run, begun with something skipped", SKIP),
        ("bulk run of a single kind, active", ACTIVE),
        ("bulk run, held for longer", RENEW),
        ("items of a bulk run, cancelled", CANCEL_REST),
        ("bulk run, over", END),
        ("bulk runs with items that are old", WITH_OLD_ITEMS),
        ("items of a bulk run, swept", SWEEP_ITEMS),
    ]
    .map(|(name, sql)| (name, sql.to_owned()))
    .into_iter()
    .chain([("items of a bulk run, listed", list_of(MEANT, 1, 2))])
    .collect()
}
