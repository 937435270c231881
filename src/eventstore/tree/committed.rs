//! Events with the texts that their commitments are made of, by position.

use deadpool_postgres::GenericClient;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use crate::domain::Timestamp;
use crate::domain::commitment::Committed;
use crate::domain::log_tree::{Hash, Told};
use crate::eventstore::StoreError;

/// An event at its place, as Postgres writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedEvent {
    pub position: i64,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    pub payload_text: String,
    pub metadata_text: String,
    pub recorded_at_us: i64,
}

impl CommittedEvent {
    /// What it says, as far as the tree is about it.
    pub fn told(&self) -> Result<Told, StoreError> {
        let committed = Committed {
            aggregate_type: &self.aggregate_type,
            aggregate_id: &self.aggregate_id,
            sequence: self.sequence,
            event_type: &self.event_type,
            event_version: &self.event_version,
            payload_text: &self.payload_text,
            metadata_text: &self.metadata_text,
            recorded_at_us: self.recorded_at_us,
        };
        Ok(Told {
            position: u64::try_from(self.position).map_err(|_| StoreError::Unreadable(format!("position {} is none", self.position)))?,
            event: format!("{}/{}/{}", self.aggregate_type, self.aggregate_id, self.sequence),
            event_type: self.event_type.clone(),
            recorded_at_us: self.recorded_at_us,
            commitment: Hash(committed.digest()),
        })
    }
}

/// What [`of_row`] reads, of `log l` and `events e`.
pub const COLUMNS: &str = "l.position, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload::text, \
                           e.metadata::text, e.recorded_at";

/// The next events behind a position, up to another, and how many of them.
pub fn read() -> String {
    format!(
        "select {COLUMNS} from log l join events e on e.seq = l.seq where l.position > $1::bigint and l.position <= $2::bigint \
         order by l.position limit $3::bigint"
    )
}

pub async fn read_in(client: &impl GenericClient, after: i64, to: i64, limit: i64) -> Result<Vec<CommittedEvent>, StoreError> {
    let statement = client.prepare_cached(&read()).await?;
    Ok(client.query(&statement, &[&after, &to, &limit]).await?.iter().map(of_row).collect())
}

pub async fn last_position_in(client: &impl GenericClient) -> Result<i64, StoreError> {
    Ok(client.query_one("select coalesce(max(position), 0) from log", &[]).await?.get(0))
}

pub fn of_row(row: &Row) -> CommittedEvent {
    CommittedEvent {
        position: row.get(0),
        aggregate_type: row.get(1),
        aggregate_id: row.get(2),
        sequence: row.get(3),
        event_type: row.get(4),
        event_version: row.get(5),
        payload_text: row.get(6),
        metadata_text: row.get(7),
        recorded_at_us: row.get::<_, Timestamp>(8).timestamp_micros(),
    }
}
