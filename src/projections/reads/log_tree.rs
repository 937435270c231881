//! The tree over the log as the edge shows it: its signed heads, its tiles, and the events under its leaves.

use std::collections::BTreeSet;

use super::error::ReadError;
use super::events::{Between, Direction, LogFilter};
use super::list::{Parameter, typed};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::Timestamp;
use crate::domain::log_tree::{Kept, TileId, Told};
use crate::eventstore::tree::committed::CommittedEvent;
use crate::eventstore::tree::tiles;

row! {
    /// A head as it was signed.
    SignedHead {
        size: i64 = "h.size",
        root: Vec<u8> = "h.root",
        note: String = "h.note",
        made_at: Timestamp = "h.made_at",
    }
}

row! {
    StoredText {
        position: i64 = "l.position",
        aggregate_type: String = "e.aggregate_type",
        aggregate_id: String = "e.aggregate_id",
        sequence: i64 = "e.sequence",
        event_type: String = "e.event_type",
        event_version: String = "e.event_version",
        payload_text: String = "e.payload::text",
        metadata_text: String = "e.metadata::text",
        recorded_at: Timestamp = "e.recorded_at",
    }
}

impl From<StoredText> for CommittedEvent {
    fn from(stored: StoredText) -> Self {
        Self {
            position: stored.position,
            aggregate_type: stored.aggregate_type,
            aggregate_id: stored.aggregate_id,
            sequence: stored.sequence,
            event_type: stored.event_type,
            event_version: stored.event_version,
            payload_text: stored.payload_text,
            metadata_text: stored.metadata_text,
            recorded_at_us: stored.recorded_at.timestamp_micros(),
        }
    }
}

fn heads() -> String {
    format!("select {} from log_heads h where h.size < $1::bigint order by h.size desc limit $2::bigint", SignedHead::columns())
}

fn head() -> String {
    format!("select {} from log_heads h where h.size = $1::bigint", SignedHead::columns())
}

fn range() -> String {
    format!(
        "select {} from log l join events e on e.seq = l.seq where l.position between $1::bigint and $2::bigint order by l.position",
        StoredText::columns()
    )
}

impl Reads {
    /// The newest heads of fewer events than `before`.
    pub async fn signed_heads(&self, before: i64, limit: i64) -> Result<Vec<SignedHead>, ReadError> {
        self.rows(&heads(), &[&before, &limit]).await
    }

    /// The head of this size, where one was signed.
    pub async fn signed_head(&self, size: i64) -> Result<Option<SignedHead>, ReadError> {
        self.row(&head(), &[&size]).await
    }

    /// Those of these tiles that are there.
    pub async fn log_tiles(&self, ids: &BTreeSet<TileId>) -> Result<Kept, ReadError> {
        let (levels, numbers): (Vec<i32>, Vec<i64>) = ids.iter().filter_map(tiles::as_columns).unzip();
        let rows = self.query(tiles::READ, &[&levels, &numbers]).await?;
        Ok(rows.iter().filter_map(tiles::of_row).collect())
    }

    /// The events at these positions, both included, as far as the tree is about them.
    pub async fn told_events(&self, first: i64, last: i64) -> Result<Vec<Told>, ReadError> {
        let rows: Vec<StoredText> = self.rows(&range(), &[&first, &last]).await?;
        Ok(rows.into_iter().filter_map(|row| CommittedEvent::from(row).told().ok()).collect())
    }

    /// The next events that a search finds, in the order of the log, with the texts that their commitments are made of.
    pub async fn committed_found(&self, filter: &LogFilter, between: Between, limit: i64) -> Result<Vec<CommittedEvent>, ReadError> {
        let (statement, groups) = filter.statement_of(Direction::Forward, &StoredText::columns());
        let mut parameters: Vec<Parameter<'_>> = vec![&between.after, &between.before, &limit];
        parameters.extend(groups.iter().map(|group| group as Parameter<'_>));
        let rows = self.query_pinned(&statement, &typed(&statement, &parameters)).await?;
        rows.iter().map(|row| Ok(StoredText::from_row(row)?.into())).collect()
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    let found = LogFilter::default().statement_of(Direction::Forward, &StoredText::columns()).0;
    vec![
        ("signed heads", heads()),
        ("a signed head", head()),
        ("tiles of the log", tiles::READ.to_owned()),
        ("events as they are stored", range()),
        ("found events as they are stored", found),
    ]
}
