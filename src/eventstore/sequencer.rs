//! Gapless positions in commit order, and the hash chain over them.
//!
//! Commit order is not the order of `seq`: an event with a lower number may become visible
//! later, so whoever reads `where seq > $last` skips it. One sequencer therefore takes what
//! became visible since its last snapshot and gives it the next positions in `log`, some
//! milliseconds behind the commit and off the write path.
//!
//! One leader at a time, by a session advisory lock; should two ever work at once, the primary
//! key of `ticks` lets one of them through. A leader that dies in the middle of a step leaves
//! nothing: a step is one transaction. State lives in memory and in append-only rows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::StoreError;
use crate::pg::Dedicated;

/// Names the advisory lock of the leader ("keystone sequencer").
const LEADER_LOCK: i64 = 0x6b65_7973_7365_7171;

/// Ticks behind this many newer ones say nothing any more.
const TICKS_KEPT: i64 = 1000;

/// For a step that finds what was committed while nobody led: millions of events.
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

/// A leader, on its own connection.
pub struct Sequencer {
    connection: Dedicated,
    standing: Standing,
}

impl Sequencer {
    /// Becomes the leader, or answers `None` while another one is.
    pub async fn lead(connection: Dedicated) -> Result<Option<Self>, StoreError> {
        let client = &connection.client;
        client.batch_execute("set idle_in_transaction_session_timeout = 0").await?;
        // Up to the first step: there may be much that has no position yet.
        connection.allow(CATCH_UP).await?;
        if !client.query_one("select pg_try_advisory_lock($1)", &[&LEADER_LOCK]).await?.get::<_, bool>(0) {
            return Ok(None);
        }
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
        info!(log.position = standing.position, "Leads the log at position {}", standing.position);
        Ok(Some(Self { connection, standing }))
    }

    pub fn position(&self) -> i64 {
        self.standing.position
    }

    /// Gives positions to what became visible. Answers how many events that were.
    pub async fn step(&mut self) -> Result<i64, StoreError> {
        let at = &self.standing;
        let row = self
            .connection
            .client
            .query_one(
                "select tick_id, seen::text, \"position\", hash from sequence_events($1, $2::text::pg_snapshot, $3, $4, $5, $6)",
                &[&at.tick_id, &at.seen, &at.position, &at.hash, &at.floor_seq, &at.system_identifier],
            )
            .await?;
        let (tick_id, position) = (row.get(0), row.get(2));
        let placed = position - at.position;
        let (seen, hash) = (row.get(1), row.get(3));
        self.standing = Standing { tick_id, seen, position, hash, ..at.clone() };
        if placed > 0 && tick_id % TICKS_KEPT == 0 {
            self.connection.client.execute("delete from ticks where tick_id < $1", &[&(tick_id - TICKS_KEPT)]).await?;
        }
        Ok(placed)
    }

    /// Steps when woken, and every `poll` in any case, until asked to stop or the connection is lost.
    pub async fn run(
        mut self,
        wake: Arc<Notify>,
        poll: Duration,
        head: watch::Sender<i64>,
        stop: CancellationToken,
    ) -> Result<(), StoreError> {
        head.send_replace(self.position());
        let mut caught_up = false;
        loop {
            let placed = self.step().await?;
            if !std::mem::replace(&mut caught_up, true) {
                self.connection.allow_the_usual().await?;
            }
            if placed > 0 {
                debug!(log.position = self.position(), events.placed = placed, "Placed {placed} events");
                metrics::counter!(crate::telemetry::LOG_EVENTS).increment(placed.unsigned_abs());
                metrics::gauge!(crate::telemetry::LOG_POSITION).set(self.position() as f64);
                head.send_replace(self.position());
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = wake.notified() => {}
                () = tokio::time::sleep(poll) => {}
            }
        }
    }
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
