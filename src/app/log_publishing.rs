//! Puts the tree over the log into the object store, where others read it without the database: full pieces once and for ever, and the checkpoint last,
//! so that whatever it is over is there. A store that is away is waited for; nothing else waits with it.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use deadpool_postgres::Pool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::blobs::{BlobError, Blobs, InvalidKey, ObjectFacts, ObjectKey, PutFacts};
use crate::domain::log_tree::hash::bundle;
use crate::domain::log_tree::tile::{HEIGHT, LEVELS, WIDTH};
use crate::domain::log_tree::tiles::of_root;
use crate::domain::log_tree::{Checkpoint, Hash, Kept, Resource, TileId, Tiles as _, leaf};
use crate::eventstore::tree::heads::{self, Head};
use crate::eventstore::tree::{committed, published, tiles};
use crate::eventstore::{StoreError, follower};
use crate::telemetry::{self, chain};

/// Pieces of the lowest level that are written before it is noted how far it has come.
const TOGETHER: u64 = 64;
const WIDE: u64 = WIDTH as u64;
/// A larger checkpoint is something else.
const CHECKPOINT_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Key(#[from] InvalidKey),
    #[error("the tile {}/{} of the log is not there", .0.level, .0.number)]
    NoTile(TileId),
    #[error("the event at position {0} is not the one in the tree; `keystone verify` says more")]
    AnotherEvent(u64),
    #[error(
        "the object store has a checkpoint of {published} events that is not of this log, which has {ours} in its newest one: was the database restored from \
         a backup? docs/log-proof.md says what then"
    )]
    AnotherLog { published: u64, ours: u64 },
    #[error("what lies there as `{0}` is no checkpoint")]
    NoCheckpoint(ObjectKey),
}

impl From<deadpool_postgres::PoolError> for PublishError {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        Self::Store(error.into())
    }
}

/// What publishes the log of a name.
#[derive(Clone)]
pub struct Publishing {
    pub pool: Pool,
    pub blobs: Blobs,
    pub origin: String,
}

impl Publishing {
    /// Publishes what was signed, until the end.
    pub async fn follow(self, every: Duration, head: watch::Receiver<i64>, stop: CancellationToken) {
        let step = || async {
            match self.publish().await {
                Ok(Some(size)) => info!(log.size = size, "The tree of the log is in the object store up to {size} events"),
                Ok(None) => {}
                // Nobody is in a hurry: it is tried as often as there is something to publish.
                Err(error) => warn!(error = chain(&error), "Cannot publish the tree of the log; tries again in {} s", every.as_secs()),
            }
            Ok::<_, PublishError>(false)
        };
        follower::follow("publish the tree of the log", every, head, stop, step).await;
    }

    /// Brings the store up to the newest head. Answers with its size where it was not there.
    pub async fn publish(&self) -> Result<Option<u64>, PublishError> {
        let Some((head, before)) = self.standing().await? else { return Ok(None) };
        metrics::gauge!(telemetry::LOG_UNPUBLISHED).set(head.size.saturating_sub(before) as f64);
        // Under another name it was signed before the setting changed: the next one is of this log.
        let ours = Checkpoint { origin: self.origin.clone(), size: head.size, root: head.root };
        if before >= head.size || Checkpoint::parse(&head.note) != Some(ours) {
            return Ok(None);
        }
        let key = ObjectKey::of_log(&self.origin, "checkpoint")?;
        let there = self.checkpoint_there(&key).await?;
        if let Some((checkpoint, _)) = &there {
            self.must_be_the_beginning(checkpoint, head.size).await?;
        }
        let mut done = before;
        while done < head.size {
            let next = head.size.min((done / WIDE + TOGETHER) * WIDE);
            self.put_pieces(done, next, next == head.size).await?;
            done = next;
            if done < head.size {
                self.reached(done).await?;
            }
        }
        let about = PutFacts { content_type: Some("text/plain; charset=utf-8".to_owned()), ..PutFacts::default() };
        let newer = there.as_ref().is_some_and(|(checkpoint, _)| checkpoint.size >= head.size);
        if !newer {
            let etag = there.as_ref().map(|(_, facts)| facts.etag.as_str());
            self.blobs.put_in_place(&key, Bytes::from(head.note), &about, etag).await?;
        }
        self.reached(head.size).await?;
        metrics::gauge!(telemetry::LOG_UNPUBLISHED).set(0);
        Ok(Some(head.size))
    }

    /// The newest head, and the size of what is published. No connection is held while the store is waited for.
    async fn standing(&self) -> Result<Option<(Head, u64)>, PublishError> {
        let client = self.pool.get().await?;
        let Some(head) = heads::newest_in(&client).await? else { return Ok(None) };
        Ok(Some((head, published::size_in(&client, &self.origin).await?)))
    }

    async fn reached(&self, size: u64) -> Result<(), PublishError> {
        Ok(published::reached_in(&self.pool.get().await?, &self.origin, size).await?)
    }

    async fn checkpoint_there(&self, key: &ObjectKey) -> Result<Option<(Checkpoint, ObjectFacts)>, PublishError> {
        let facts = match self.blobs.head(key).await {
            Err(BlobError::NotFound(_)) => return Ok(None),
            facts => facts?,
        };
        let bytes = self.blobs.read_range(key, 0..facts.size.min(CHECKPOINT_BYTES_MAX), Some(&facts.etag)).await?;
        let checkpoint = std::str::from_utf8(&bytes).ok().and_then(Checkpoint::parse);
        Ok(Some((checkpoint.ok_or_else(|| PublishError::NoCheckpoint(key.clone()))?, facts)))
    }

    /// What others have seen stays true: no other tree is published under the same name.
    async fn must_be_the_beginning(&self, there: &Checkpoint, ours: u64) -> Result<(), PublishError> {
        let another = PublishError::AnotherLog { published: there.size, ours };
        let client = self.pool.get().await?;
        let known = tiles::size_in(&client).await?;
        if there.size > known {
            return Err(another);
        }
        let kept = tiles::read_in(&client, &of_root(there.size).collect::<Vec<_>>()).await?;
        if kept.root(there.size) == Some(there.root) { Ok(()) } else { Err(another) }
    }

    /// What a tree of `size` has and one of `before` had not: full pieces, and with `ends` the last ones as wide as they are.
    async fn put_pieces(&self, before: u64, size: u64, ends: bool) -> Result<(), PublishError> {
        let new: Vec<(TileId, usize)> = new_tiles(before, size).filter(|(_, width)| ends || *width == WIDTH).collect();
        let ids: BTreeSet<TileId> = new.iter().map(|(id, _)| *id).collect();
        let kept: Kept = tiles::read_in(&self.pool.get().await?, &ids).await?;
        for (id, width) in new {
            let hashes = kept.tile(id).and_then(|hashes| hashes.get(..width)).ok_or(PublishError::NoTile(id))?;
            if id.level == 0 {
                let entries = self.entries(id.number, hashes).await?;
                self.put(&Resource::Entries { number: id.number, width }, entries).await?;
            }
            self.put(&Resource::Hashes { tile: id, width }, Hash::bytes_of(hashes)).await?;
        }
        Ok(())
    }

    /// The leaves under these hashes.
    async fn entries(&self, number: u64, hashes: &[Hash]) -> Result<Vec<u8>, PublishError> {
        let first = number * WIDE + 1;
        let as_stored = |position: u64| i64::try_from(position).unwrap_or(i64::MAX);
        let (after, to) = (as_stored(first - 1), as_stored(first - 1 + hashes.len() as u64));
        let mut events = committed::read_in(&self.pool.get().await?, after, to, to - after).await?.into_iter();
        let mut leaves = vec![];
        for (position, hash) in (first..).zip(hashes) {
            let told = events.next().map(|event| event.told()).transpose()?;
            let told =
                told.filter(|told| told.position == position && told.leaf_hash() == *hash).ok_or(PublishError::AnotherEvent(position))?;
            leaves.push(leaf(position, &told.commitment));
        }
        Ok(bundle(&leaves))
    }

    async fn put(&self, resource: &Resource, content: Vec<u8>) -> Result<(), PublishError> {
        let key = ObjectKey::of_log(&self.origin, &format!("tile/{resource}"))?;
        let about = PutFacts { content_type: Some("application/octet-stream".to_owned()), ..PutFacts::default() };
        Ok(self.blobs.put_once(&key, content.into(), &about).await?)
    }
}

/// Tiles that a tree of `before` has not full, with their width in one of `size`.
fn new_tiles(before: u64, size: u64) -> impl Iterator<Item = (TileId, usize)> {
    (0..LEVELS).flat_map(move |level| {
        let (had, has) = (before >> (HEIGHT * level), size >> (HEIGHT * level));
        (had / WIDE..has.div_ceil(WIDE)).map(move |number| TileId { level, number }).map(move |id| (id, id.width_in(size)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_step_by_step_is_all_of_the_tree() {
        for (first, second) in [(0, 70_000), (1, 70_000), (255, 70_000), (256, 70_000), (65_536, 70_000), (69_999, 70_000)] {
            let full = |tiles: Vec<(TileId, usize)>| tiles.into_iter().filter(|(_, width)| *width == WIDTH).map(|(id, _)| id);
            let mut all: BTreeSet<TileId> = full(new_tiles(0, first).collect()).collect();
            all.extend(new_tiles(first, second).map(|(id, _)| id));
            assert_eq!(all, TileId::all_in(second).collect(), "{first} and then {second}");
        }
        assert_eq!(new_tiles(65_536, 65_536).count(), 1);
    }
}
