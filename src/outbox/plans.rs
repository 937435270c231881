//! How the statements of this folder are planned.

use std::future::Future;

use tokio_postgres::Error;

/// Planner settings for the statements of this module. A generic plan lives as long as its
/// connection, and one made while the tables were empty would scan all of a backlog for every
/// batch, just when there is one.
const PIN_PLANS: &str = "begin; set local enable_seqscan = off; set local enable_hashjoin = off; set local enable_mergejoin = off";

/// Runs a statement, or several that were sent together, under [`PIN_PLANS`]: one transaction, one round trip.
pub(super) async fn pinned<T>(client: &deadpool_postgres::Client, statement: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    // Sent in this order without waiting in between.
    let (begun, answer, committed) = tokio::join!(biased; client.batch_execute(PIN_PLANS), statement, client.batch_execute("commit"));
    begun?;
    let answer = answer?;
    committed?;
    Ok(answer)
}
