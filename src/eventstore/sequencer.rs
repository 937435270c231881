//! Gapless positions in commit order, and the hash chain over them.
//!
//! Commit order is not the order of `seq`: an event with a lower number may become visible
//! later, so a reader of `where seq > $last` skips it. One sequencer therefore takes what
//! became visible since its last snapshot and gives it the next positions in `log`, some
//! milliseconds behind the commit and off the write path.
//!
//! One leader at a time, by a lease that it renews with its steps; a leader that is suspended or cut off loses it to
//! whichever process asks next. Should two ever work at once, the primary keys of `ticks` and `log` let one of them
//! through. A leader that dies in the middle of a step leaves nothing: a step is one transaction. State lives in memory
//! and in append-only rows.

#![expect(clippy::disallowed_methods, reason = "a holder of the lead is told apart by a random id, and looks again after a while")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::StoreError;
use crate::pg::Dedicated;
use crate::telemetry;

/// How long a leader may be silent. A step takes milliseconds, and idle ones come with every poll; a host that pauses
/// for a moment keeps the lead, and readers of the log wait for a few seconds where it does not come back.
pub const LEASE: Duration = Duration::from_secs(5);

/// Names the session locks of terms ("kseq").
const TERM_LOCKS: i32 = 0x6b73_6571;

/// The session lock by which versions before the lease lead ("keystone sequencer"). One that holds it and works is
/// left to it, so that processes can be replaced one after the other; remove this one release later.
const EARLIER_LOCK: i64 = 0x6b65_7973_7365_7171;

/// Ticks behind this many newer ones say nothing any more.
const TICKS_KEPT: i64 = 1000;

/// For a step that finds what was committed while no process led: millions of events.
const CATCH_UP: Duration = Duration::from_secs(300);

/// Where the sequencer stands.
#[derive(Clone, Debug)]
pub struct Standing {
    tick_id: i64,
    /// Text of a `pg_snapshot`: opaque to us.
    seen: String,
    pub position: i64,
    hash: Vec<u8>,
    floor_seq: i64,
    system_identifier: Option<i64>,
}

/// What takes the lead: one sequencer of one process.
#[derive(Clone, Debug)]
pub struct Holder {
    id: Uuid,
    /// Host and process id, for people.
    name: String,
}

impl Holder {
    pub fn new(name: impl Into<String>) -> Self {
        Self { id: Uuid::new_v4(), name: name.into() }
    }
}

/// Why a leader leads no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It was asked to stop, has given positions to all there was, and has handed the lead over.
    Stopped,
    /// Another one leads.
    Lost,
}

/// A leader, on a connection that nothing else uses.
pub struct Sequencer {
    connection: Arc<Dedicated>,
    term: i64,
    standing: Standing,
    /// The session of an earlier version that holds its lock and does not work.
    passed_over: Option<i32>,
}

impl Sequencer {
    /// Becomes the leader, or answers `None` while another one is.
    pub async fn lead(connection: &Arc<Dedicated>, holder: &Holder) -> Result<Option<Self>, StoreError> {
        let client = &connection.client;
        let passed_over = earlier_leader(client).await?;
        if passed_over.is_some() && !is_overdue(client).await? {
            return Ok(None);
        }
        let take = "select take_lead($1, $2, $3, make_interval(secs => $4))";
        let lease = LEASE.as_secs_f64();
        let Some(term) = client.query_one(take, &[&TERM_LOCKS, &holder.id, &holder.name, &lease]).await?.get(0) else {
            return Ok(None);
        };
        // Up to the first step: there may be much that has no position yet.
        connection.allow(CATCH_UP).await?;
        let mut standing = read_standing(client).await?;
        let here: Option<i64> = client.query_one("select cluster_identifier()", &[]).await?.get(0);
        let moved = matches!((standing.system_identifier, here), (Some(then), Some(now)) if then != now);
        let rewound: bool = client
            .query_one("select pg_snapshot_xmax($1::text::pg_snapshot) > pg_snapshot_xmax(pg_current_snapshot())", &[&standing.seen])
            .await?
            .get(0);
        if moved || rewound {
            client.batch_execute("begin isolation level repeatable read").await?;
            let placed: i64 = client.query_one("select placed from rebase_sequencer()", &[]).await?.get(0);
            client.batch_execute("commit").await?;
            warn!(
                events.placed = placed,
                "The data came from another Postgres cluster: gave positions to {placed} events that had none, and counts from here on"
            );
            standing = read_standing(client).await?;
        }
        info!(log.position = standing.position, log.term = term, "Leads the log at position {}", standing.position);
        Ok(Some(Self { connection: connection.clone(), term, standing, passed_over }))
    }

    pub fn position(&self) -> i64 {
        self.standing.position
    }

    /// Gives positions to what became visible. Answers how many events that were; a conflict where another one leads.
    pub async fn step(&mut self) -> Result<i64, StoreError> {
        let at = &self.standing;
        let row = self
            .connection
            .client
            .query_one(
                "select tick_id, seen::text, \"position\", hash
                 from lead_step($1, make_interval(secs => $2), $3, $4::text::pg_snapshot, $5, $6, $7, $8)",
                &[&self.term, &LEASE.as_secs_f64(), &at.tick_id, &at.seen, &at.position, &at.hash, &at.floor_seq, &at.system_identifier],
            )
            .await?;
        let Some(tick_id) = row.get(0) else { return Err(StoreError::Conflict) };
        let position: i64 = row.get(2);
        let placed = position - at.position;
        let (seen, hash) = (row.get(1), row.get(3));
        self.standing = Standing { tick_id, seen, position, hash, ..at.clone() };
        if placed > 0 && tick_id % TICKS_KEPT == 0 {
            self.connection.client.execute("delete from ticks where tick_id < $1", &[&(tick_id - TICKS_KEPT)]).await?;
        }
        Ok(placed)
    }

    /// Steps when woken, and every `poll` in any case, until asked to stop, the lead goes to another one, or the
    /// connection is lost. Asked to stop, it first gives positions to all there is.
    pub async fn run(
        mut self,
        wake: Arc<Notify>,
        poll: Duration,
        head: watch::Sender<i64>,
        stop: CancellationToken,
    ) -> Result<Left, StoreError> {
        let _leads = Leads::now();
        head.send_replace(self.position());
        let mut looked = Instant::now();
        let mut caught_up = false;
        loop {
            // Before the step, so that what was committed before the stop is placed.
            let stopping = stop.is_cancelled();
            let placed = match self.step().await {
                Err(StoreError::Conflict) => return Ok(Left::Lost),
                placed => placed?,
            };
            if !std::mem::replace(&mut caught_up, true) {
                self.connection.allow_the_usual().await?;
            }
            if placed > 0 {
                debug!(log.position = self.position(), events.placed = placed, "Placed {placed} events");
                metrics::counter!(telemetry::LOG_EVENTS).increment(placed.unsigned_abs());
                metrics::gauge!(telemetry::LOG_POSITION).set(self.position() as f64);
                head.send_replace(self.position());
            } else if stopping {
                self.resign().await?;
                return Ok(Left::Stopped);
            }
            if looked.elapsed() > LEASE / 3 {
                looked = Instant::now();
                // Started on an earlier version, as after a step back: it would meet us at every tick.
                let earlier = earlier_leader(&self.connection.client).await?;
                if earlier.is_some() && earlier != self.passed_over {
                    self.resign().await?;
                    return Ok(Left::Lost);
                }
            }
            if placed > 0 || stopping {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = wake.notified() => {}
                () = tokio::time::sleep(poll.min(LEASE / 3)) => {}
            }
        }
    }

    /// Gives the lead to whichever asks next.
    async fn resign(&self) -> Result<(), StoreError> {
        self.connection.client.execute("update leadership set lease_until = '-infinity' where term = $1", &[&self.term]).await?;
        Ok(())
    }
}

/// Shown in the metrics for as long as it lives.
struct Leads;

impl Leads {
    fn now() -> Self {
        metrics::gauge!(telemetry::LOG_LEADS).set(1);
        Self
    }
}

impl Drop for Leads {
    fn drop(&mut self) {
        metrics::gauge!(telemetry::LOG_LEADS).set(0);
    }
}

/// The session that leads by the lock of earlier versions.
async fn earlier_leader(client: &tokio_postgres::Client) -> Result<Option<i32>, StoreError> {
    let sql = "select pid from pg_locks
               where locktype = 'advisory' and objsubid = 1 and granted and classid::bigint << 32 | objid::bigint = $1
                 and database = (select oid from pg_database where datname = current_database())";
    Ok(client.query_opt(sql, &[&EARLIER_LOCK]).await?.map(|row| row.get(0)))
}

/// Whether an event has been waiting for its position for longer than a leader that works lets it.
async fn is_overdue(client: &tokio_postgres::Client) -> Result<bool, StoreError> {
    let sql = "select exists (
                   select from (select seen, floor_seq from ticks order by tick_id desc limit 1) t
                   join events e on e.seq > t.floor_seq
                                and (e.txid >= pg_snapshot_xmax(t.seen) or e.txid = any (array(select pg_snapshot_xip(t.seen))))
                   where e.recorded_at < clock_timestamp() - make_interval(secs => $1))";
    Ok(client.query_one(sql, &[&LEASE.as_secs_f64()]).await?.get(0))
}

async fn read_standing(client: &tokio_postgres::Client) -> Result<Standing, StoreError> {
    let row = client
        .query_one("select tick_id, seen::text, position, hash, floor_seq, system_identifier from ticks order by tick_id desc limit 1", &[])
        .await?;
    Ok(Standing {
        tick_id: row.get(0),
        seen: row.get(1),
        position: row.get(2),
        hash: row.get(3),
        floor_seq: row.get(4),
        system_identifier: row.get(5),
    })
}
