//! How the statements of this folder are planned, and when they are answered.

use std::future::Future;

use tokio_postgres::Error;

/// When the answer to a statement comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// Once it is on disk.
    Durable,
    /// Once others see it: where Postgres itself dies within the next half second, it did not happen. What can be
    /// done again waits for no disk (ADR 21).
    Visible,
}

// A generic plan lives as long as its connection, and one made while the tables were empty would scan all of a backlog for every
// batch, just when there is one.
macro_rules! pin_plans {
    () => {
        "begin; set local enable_seqscan = off; set local enable_hashjoin = off; set local enable_mergejoin = off"
    };
}

/// Runs a statement, or several that were sent together, under the planner settings of this module: one transaction, one round trip.
pub(super) async fn pinned<T>(
    client: &deadpool_postgres::Client,
    answered: Answered,
    statement: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let begin = match answered {
        Answered::Durable => pin_plans!(),
        Answered::Visible => concat!(pin_plans!(), "; set local synchronous_commit = off"),
    };
    // Sent in this order without waiting in between.
    let (begun, answer, committed) = tokio::join!(biased; client.batch_execute(begin), statement, client.batch_execute("commit"));
    begun?;
    let answer = answer?;
    committed?;
    Ok(answer)
}
