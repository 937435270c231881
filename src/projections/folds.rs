//! Streams folded from their events in memory, and the rows that they are shown in.

use std::collections::BTreeMap;

use cqrs_es::persist::EventUpcaster;
use serde_json::Value;

use super::rows::{Head, ReadModel, RowWrite, Shown, TableName, row_of};
use crate::domain::Kind;
use crate::domain::kinds::aggregates;
use crate::eventstore::transaction::apply;
use crate::eventstore::upcast::{upcast, upcasters};
use crate::eventstore::{Loaded, StoreError, StoredEvent};

/// Names a stream.
pub(super) type Stream = (Kind, String);

/// Streams, each with the events that it was given, in their order.
pub(super) struct Folds {
    streams: BTreeMap<Stream, Box<dyn Fold>>,
    /// Rows that show single events; none where only states are wanted.
    event_rows: Option<BTreeMap<(&'static TableName, String), Value>>,
    upcasters: Vec<Box<dyn EventUpcaster>>,
}

/// The rows of a stream that show an event of it.
type EventRows = Result<Vec<RowWrite>, StoreError>;

trait Fold: Send + Sync {
    /// Makes the rows of the event where they are wanted.
    fn apply(&mut self, event: &StoredEvent, upcasters: &[Box<dyn EventUpcaster>], rows: bool) -> EventRows;
    fn row(&self) -> Result<Shown<RowWrite>, StoreError>;
    fn version(&self) -> i64;
}

impl<A: ReadModel> Fold for Loaded<A> {
    fn apply(&mut self, event: &StoredEvent, upcasters: &[Box<dyn EventUpcaster>], rows: bool) -> EventRows {
        let payload = upcast(upcasters, &event.event_type, &event.event_version, event.payload.clone());
        let typed: A::Event =
            serde_json::from_value(payload).map_err(|error| StoreError::Unreadable(format!("{}: {error}", event.event_id())))?;
        let occurred = event.metadata.get("occurred_at").and_then(Value::as_str).and_then(|text| text.parse().ok());
        let at = occurred.unwrap_or(event.recorded_at);
        apply(self, &typed, at);
        if !rows {
            return Ok(vec![]);
        }
        A::shown_event(&self.state, &self.id, &typed, Head { id: &self.id, version: event.sequence, created_at: at, updated_at: at })
    }

    fn row(&self) -> Result<Shown<RowWrite>, StoreError> {
        let (Some(created_at), Some(updated_at)) = (self.created_at, self.updated_at) else { return Ok(Shown::Gone) };
        row_of(&self.id, self.version, &self.state, created_at, updated_at)
    }

    fn version(&self) -> i64 {
        self.version
    }
}

macro_rules! folds {
    ($($kind:ident: $aggregate:ty;)+) => {
        fn new_fold(kind: Kind, id: &str) -> Box<dyn Fold> {
            match kind { $(Kind::$kind => Box::new(Loaded::<$aggregate>::absent(id))),+ }
        }
    };
}
aggregates!(folds);

impl Folds {
    /// With rows that show states, and those that show events.
    pub fn of_all() -> Self {
        Self { streams: BTreeMap::new(), event_rows: Some(BTreeMap::new()), upcasters: upcasters() }
    }

    /// Only with rows that show states.
    pub fn of_states() -> Self {
        Self { event_rows: None, ..Self::of_all() }
    }

    pub fn apply(&mut self, event: &StoredEvent) -> Result<(), StoreError> {
        // One that another version wrote would be missing in every row it belongs to.
        let unknown =
            || StoreError::Unreadable(format!("{}: this version knows no stream of the kind {}", event.event_id(), event.aggregate_type));
        let kind = Kind::parse(&event.aggregate_type).ok_or_else(unknown)?;
        let fold = self.streams.entry((kind, event.aggregate_id.clone())).or_insert_with(|| new_fold(kind, &event.aggregate_id));
        let written = fold.apply(event, &self.upcasters, self.event_rows.is_some())?;
        for write in written {
            if let Some(rows) = &mut self.event_rows {
                merge_event_row(rows, (write.table, write.key()), write.row);
            }
        }
        Ok(())
    }

    /// The last event of a stream that was given; 0 where none was.
    pub fn version(&self, stream: &Stream) -> i64 {
        self.streams.get(stream).map_or(0, |fold| fold.version())
    }

    /// The row of one stream.
    pub fn row(&self, stream: &Stream) -> Result<Shown<RowWrite>, StoreError> {
        self.streams.get(stream).map_or(Ok(Shown::Gone), |fold| fold.row())
    }

    /// All rows there are, by their tables.
    pub fn into_rows(self) -> Result<BTreeMap<&'static TableName, Vec<Value>>, StoreError> {
        let mut rows: BTreeMap<&'static TableName, Vec<Value>> = BTreeMap::new();
        for fold in self.streams.values() {
            if let Shown::Row(write) = fold.row()? {
                rows.entry(write.table).or_default().push(write.row);
            }
        }
        for ((table, _), row) in self.event_rows.into_iter().flatten() {
            rows.entry(table).or_default().push(row);
        }
        Ok(rows)
    }
}

/// A later row of the same id replaces the earlier one and keeps its creation, as the live upsert does.
fn merge_event_row(rows: &mut BTreeMap<(&'static TableName, String), Value>, key: (&'static TableName, String), mut row: Value) {
    if let (Some(created_at), Some(map)) = (rows.get(&key).and_then(|earlier| earlier.get("created_at").cloned()), row.as_object_mut()) {
        map.insert("created_at".into(), created_at);
    }
    rows.insert(key, row);
}
