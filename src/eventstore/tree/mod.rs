//! Behind the sequencer: the tree over the log (`domain::log_tree`), in tiles, and its heads as they were signed.
//!
//! - [`committed`]: events with the texts that their commitments are made of.
//! - [`tiles`]: what is kept of the tree.
//! - [`heads`]: its heads.
//! - [`published`]: how much of it is in the object store.
//!
//! Any process may grow the tree, one at a time, and nothing that is appended waits for it. A log that is older than its tree is caught up from its
//! first event. A tile is what it was for ever, so an event that is not what it was shows.

pub mod committed;
pub mod heads;
pub mod published;
pub mod tiles;

use deadpool_postgres::{Pool, Transaction};

use super::StoreError;
use crate::domain::log_tree::Growth;
use crate::telemetry;

/// Names the lock of the transaction in which the tree grows or its head is signed ("keystone tree").
const LOCK: i64 = 0x6b65_7973_7472_6565;
/// Events of one step.
const STEP: i64 = 2_000;

/// Where the tree stands after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grown {
    pub size: u64,
    /// Whether there may be more.
    pub more: bool,
}

/// Takes the next events of the log into the tree. `None` where another process does it.
pub async fn grow(pool: &Pool) -> Result<Option<Grown>, StoreError> {
    let mut client = pool.get().await?;
    let step = client.transaction().await?;
    if !is_ours(&step).await? {
        return Ok(None);
    }
    // What a crash takes back grows again, and what was signed is on the disk with all that was before.
    step.batch_execute("set local synchronous_commit = off").await?;
    let size = tiles::size_in(&step).await?;
    let last = committed::last_position_in(&step).await?;
    if last <= position(size)? {
        metrics::gauge!(telemetry::LOG_TREE_BEHIND).set(0);
        return Ok(Some(Grown { size, more: false }));
    }
    let mut growth = growth_at(&step, size).await?;
    let mut taken = 0;
    for event in committed::read_in(&step, position(size)?, i64::MAX, STEP).await? {
        let told = event.told()?;
        if told.position != growth.size() + 1 {
            return Err(gap(growth.size() + 1));
        }
        growth.append(told.leaf_hash());
        taken += 1;
    }
    // An event that is gone is no end of the log.
    if taken == 0 {
        return Err(gap(size + 1));
    }
    tiles::write_in(&step, &growth.take_tiles()).await?;
    step.commit().await?;
    metrics::gauge!(telemetry::LOG_TREE_BEHIND).set((last - position(growth.size())?).max(0) as f64);
    Ok(Some(Grown { size: growth.size(), more: taken == STEP }))
}

async fn is_ours(step: &Transaction<'_>) -> Result<bool, StoreError> {
    Ok(step.query_one("select pg_try_advisory_xact_lock($1)", &[&LOCK]).await?.get(0))
}

/// The growing end of a tree of this size.
async fn growth_at(step: &Transaction<'_>, size: u64) -> Result<Growth, StoreError> {
    let tails = tiles::read_in(step, &crate::domain::log_tree::growth::tails_of(size)).await?;
    Growth::of(size, &tails).ok_or_else(|| StoreError::Unreadable(format!("the tiles of a tree of {size} events are not all there")))
}

fn gap(position: u64) -> StoreError {
    StoreError::Unreadable(format!("the log has no event at position {position}, and goes on behind it: `keystone verify` says more"))
}

/// As the tables count.
fn position(size: u64) -> Result<i64, StoreError> {
    i64::try_from(size).map_err(|_| StoreError::Unreadable(format!("{size} is beyond any log")))
}
