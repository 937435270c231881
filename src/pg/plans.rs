//! How statements are planned whose table may grow a thousandfold before anybody has counted its rows, and when they are
//! answered.

use std::future::Future;

use tokio_postgres::Error;

/// When the answer to a statement comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Once it is on disk.
    Durable,
    /// Once others see it: where Postgres itself dies within the next half second, it did not happen. What can be
    /// done again waits for no disk (ADR 21).
    Visible,
}

/// What is selected to hold the plans of a transaction to indexes, read in their order. A generic plan lives as long as its
/// connection, and one made while the tables were empty would scan all of a backlog for every batch, just when there is one; and of
/// rows that nobody has counted yet, as after a restore, all would be read and sorted for the first fifty.
macro_rules! pins {
    () => {
        "set_config('enable_seqscan', 'off', true) as seqscan, set_config('enable_bitmapscan', 'off', true) as bitmapscan,
         set_config('enable_hashjoin', 'off', true) as hashjoin, set_config('enable_mergejoin', 'off', true) as mergejoin"
    };
}
pub(crate) use pins;

/// And to one plan for each connection, for what was prepared.
macro_rules! once {
    () => {
        ", set_config('plan_cache_mode', 'force_generic_plan', true) as plans"
    };
}

/// The same as a statement, for the transaction that it stands in.
pub const PLANS: &str = concat!("select ", pins!());

/// How often a statement is planned that runs with such plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planned {
    /// Once for each connection: it was prepared, and what it is asked with changes nothing about how it is answered. Left to itself, Postgres plans
    /// one with arrays anew each time, as it takes those that come for shorter than those it knows nothing of; of a claim, that is most of its cost.
    Once,
    /// For what it is asked with.
    EachTime,
}

/// Runs a statement, or several that were sent together, with such plans: one transaction, one round trip.
pub async fn pinned<T>(
    client: &deadpool_postgres::Client,
    answered: Answered,
    planned: Planned,
    statement: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let begin = match (answered, planned) {
        (Answered::Durable, Planned::Once) => concat!("begin; select ", pins!(), once!()),
        (Answered::Durable, Planned::EachTime) => concat!("begin; select ", pins!()),
        (Answered::Visible, Planned::Once) => concat!("begin; select ", pins!(), once!(), "; set local synchronous_commit = off"),
        (Answered::Visible, Planned::EachTime) => concat!("begin; select ", pins!(), "; set local synchronous_commit = off"),
    };
    begun_with(client, begin, statement).await
}

/// The same for a page of a list, which only reads. Parts of texts, and labels, are in indexes that are read by bitmaps only: where a list
/// looks for such, the planner may have `bitmaps`.
pub async fn by_indexes<T>(
    client: &deadpool_postgres::Client,
    bitmaps: bool,
    page: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let begin = match bitmaps {
        false => concat!("begin read only; select ", pins!()),
        true => concat!("begin read only; select ", pins!(), "; set local enable_bitmapscan = on"),
    };
    begun_with(client, begin, page).await
}

async fn begun_with<T>(
    client: &deadpool_postgres::Client,
    begin: &str,
    statement: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    // Sent in this order without waiting in between.
    let (begun, answer, committed) = tokio::join!(biased; client.batch_execute(begin), statement, client.batch_execute("commit"));
    begun?;
    let answer = answer?;
    committed?;
    Ok(answer)
}
