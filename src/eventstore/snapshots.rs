//! States of long streams, so that loading one does not read its whole history.
//!
//! Written after the commit, by one task, and never waited for: a snapshot that is missing or
//! old costs a few more events to read, nothing else. A snapshot of another
//! `SNAPSHOT_VERSION` is ignored and overwritten in time.

use deadpool_postgres::{GenericClient, Pool};
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::warn;

use crate::domain::Timestamp;

/// Snapshots that wait to be written; more than this are dropped, which loses nothing.
const WAITING_MAX: usize = 256;

#[derive(Debug)]
pub struct Snapshot {
    pub aggregate_type: &'static str,
    pub aggregate_id: String,
    pub snapshot_version: i32,
    pub sequence: i64,
    pub state: Value,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

pub type SnapshotSender = mpsc::Sender<Snapshot>;

pub fn channel() -> (SnapshotSender, mpsc::Receiver<Snapshot>) {
    mpsc::channel(WAITING_MAX)
}

/// Writes snapshots until every sender is gone.
pub async fn write_snapshots(pool: Pool, mut waiting: mpsc::Receiver<Snapshot>) {
    while let Some(snapshot) = waiting.recv().await {
        if let Err(error) = write(&pool, &snapshot).await {
            warn!(stream.kind = snapshot.aggregate_type, stream.id = %snapshot.aggregate_id, error = format!("{error:#}"), "Could not write a snapshot; the stream is read from its events");
        }
    }
}

pub async fn write(pool: &Pool, snapshot: &Snapshot) -> anyhow::Result<()> {
    let client = pool.get().await?;
    let statement = client
        .prepare_cached(
            "insert into stream_snapshots as s (aggregate_type, aggregate_id, snapshot_version, sequence, state, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7)
             on conflict (aggregate_type, aggregate_id) do update
             set snapshot_version = excluded.snapshot_version, sequence = excluded.sequence, state = excluded.state,
                 created_at = excluded.created_at, updated_at = excluded.updated_at
             where s.sequence < excluded.sequence or s.snapshot_version <> excluded.snapshot_version",
        )
        .await?;
    client
        .execute(
            &statement,
            &[
                &snapshot.aggregate_type,
                &snapshot.aggregate_id,
                &snapshot.snapshot_version,
                &snapshot.sequence,
                &snapshot.state,
                &snapshot.created_at,
                &snapshot.updated_at,
            ],
        )
        .await?;
    Ok(())
}
