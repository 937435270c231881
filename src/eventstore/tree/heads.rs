//! Heads of the tree: each signed once, kept for ever.

use std::time::Duration;

use deadpool_postgres::{GenericClient, Pool};
use tokio_postgres::Row;

use super::{growth_at, is_ours, position, tiles};
use crate::domain::Timestamp;
use crate::domain::log_tree::tiles::of_root;
use crate::domain::log_tree::{Checkpoint, Hash, Tiles as _};
use crate::eventstore::StoreError;

/// A head as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub size: u64,
    pub root: Hash,
    pub note: String,
    pub made_at: Timestamp,
}

const NEWEST: &str = "select size, root, note, made_at from log_heads order by size desc limit 1";
const ALL: &str = "select size, root, note, made_at from log_heads where size > $1 order by size limit $2";
/// Database clock, as for every time that processes compare.
const IS_DUE: &str =
    "select coalesce((select made_at <= clock_timestamp() - make_interval(secs => $1) from log_heads order by size desc limit 1), true)";

/// Has the tree signed as it is now, where it grew and the newest head is as old as `every`. Answers with the new head. What was signed
/// before must be the beginning of it: a tree of which that is not so is signed by nobody.
pub async fn sign(
    pool: &Pool,
    origin: &str,
    every: Duration,
    sign: impl FnOnce(&Checkpoint) -> String,
) -> Result<Option<Head>, StoreError> {
    let mut client = pool.get().await?;
    let step = client.transaction().await?;
    if !is_ours(&step).await? || !step.query_one(IS_DUE, &[&every.as_secs_f64()]).await?.get::<_, bool>(0) {
        return Ok(None);
    }
    let size = tiles::size_in(&step).await?;
    let newest = newest_in(&step).await?;
    if size <= newest.as_ref().map_or(0, |head| head.size) {
        return Ok(None);
    }
    if let Some(before) = newest {
        let kept = tiles::read_in(&step, of_root(before.size).collect::<Vec<_>>().iter()).await?;
        if kept.root(before.size) != Some(before.root) {
            return Err(StoreError::Unreadable(format!("the tree is not the one that was signed at {} events", before.size)));
        }
    }
    let root = growth_at(&step, size).await?.root();
    let note = sign(&Checkpoint { origin: origin.to_owned(), size, root });
    let insert = "insert into log_heads (size, root, note) values ($1, $2, $3) returning made_at";
    let made_at = step.query_one(insert, &[&position(size)?, &root.0.as_slice(), &note]).await?.get(0);
    step.commit().await?;
    Ok(Some(Head { size, root, note, made_at }))
}

pub async fn newest_in(client: &impl GenericClient) -> Result<Option<Head>, StoreError> {
    client.query_opt(NEWEST, &[]).await?.as_ref().map(head).transpose()
}

/// The next heads of more events than `after`.
pub async fn read_in(client: &impl GenericClient, after: u64, limit: i64) -> Result<Vec<Head>, StoreError> {
    client.query(ALL, &[&position(after)?, &limit]).await?.iter().map(head).collect()
}

/// The name of the log where no setting gives it one.
pub async fn name(pool: &Pool) -> Result<String, StoreError> {
    let id: uuid::Uuid = pool.get().await?.query_one("select id from log_name", &[]).await?.get(0);
    Ok(format!("keystone-edge/{id}"))
}

fn head(row: &Row) -> Result<Head, StoreError> {
    let torn = || StoreError::Unreadable("a head of the log is torn".to_owned());
    Ok(Head {
        size: u64::try_from(row.get::<_, i64>(0)).map_err(|_| torn())?,
        root: Hash(row.get::<_, &[u8]>(1).try_into().map_err(|_| torn())?),
        note: row.get(2),
        made_at: row.get(3),
    })
}
