//! What has to be sent: rows committed with the events that ask for it.
//!
//! Rows are inserted by the event store in the statement that appends their event, claimed with `SKIP LOCKED` under a lease,
//! and settled by the worker that claimed them last: every statement of a settlement is fenced by the
//! row's epoch, which grows with each claim. Only the database's clock is used. A delivered
//! row leaves the table at once; one that is given up moves to `dead_letters` with the time
//! and error of every attempt.
//!
//! Left to others: delivering (`dispatcher`), and what an event means (`domain::routing`).

pub mod claim;
pub mod schedule;
pub mod settle;
pub mod standing;
pub mod wake;

pub use claim::{Claim, Claimed, Share, StoredEvent, Wanted, claim, waiting_destinations};
pub use schedule::Backoff;
pub use settle::{DeadReason, Settlement, extend, settle};
pub use wake::Wakes;

use std::future::Future;

use tokio_postgres::Error;

/// Planner settings for the statements of this module. A generic plan lives as long as its
/// connection, and one made while the tables were empty would scan all of a backlog for every
/// batch, just when there is one.
const PIN_PLANS: &str = "begin; set local enable_seqscan = off; set local enable_hashjoin = off; set local enable_mergejoin = off";

/// Runs a statement, or several that were sent together, under [`PIN_PLANS`]: one transaction, one round trip.
async fn pinned<T>(client: &deadpool_postgres::Client, statement: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    // Sent in this order without waiting in between.
    let (begun, answer, committed) = tokio::join!(biased; client.batch_execute(PIN_PLANS), statement, client.batch_execute("commit"));
    begun?;
    let answer = answer?;
    committed?;
    Ok(answer)
}
