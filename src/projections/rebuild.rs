//! The read models folded from the log, in a schema of their own beside the live ones, which is gone when they are compared.

use std::collections::BTreeMap;

use deadpool_postgres::{GenericClient, Pool};
use serde_json::Value;
use tokio_postgres::IsolationLevel;

use super::rows::{Head, ReadModel, RowWrite, Shown, TableName, row_of, tables};
use crate::domain::Kind;
use crate::domain::kinds::aggregates;
use crate::eventstore::log;
use crate::eventstore::transaction::apply;
use crate::eventstore::upcast::{upcast, upcasters};
use crate::eventstore::{Loaded, StoreError, StoredEvent};

/// The schema in which the other copy is made, inside one transaction.
const REBUILT_SCHEMA: &str = "rebuilt";

const DROP_SCHEMA: &str = "drop schema if exists rebuilt cascade";

/// Events read at once.
const PAGE: i64 = 1000;

/// Every stream folded from the log, in memory, in the log's order.
#[derive(Default)]
struct Folds {
    streams: BTreeMap<(Kind, String), Box<dyn Fold>>,
    event_rows: BTreeMap<(&'static TableName, String), Value>,
}

trait Fold: Send {
    fn apply(&mut self, event: &StoredEvent) -> Result<Vec<RowWrite>, StoreError>;
    fn row(&self) -> Result<Shown<RowWrite>, StoreError>;
}

impl<A: ReadModel> Fold for Loaded<A> {
    fn apply(&mut self, event: &StoredEvent) -> Result<Vec<RowWrite>, StoreError> {
        let payload = upcast(&upcasters(), &event.event_type, &event.event_version, event.payload.clone());
        let typed: A::Event =
            serde_json::from_value(payload).map_err(|error| StoreError::Unreadable(format!("{}: {error}", event.event_id())))?;
        let occurred = event.metadata.get("occurred_at").and_then(Value::as_str).and_then(|text| text.parse().ok());
        let at = occurred.unwrap_or(event.recorded_at);
        apply(self, &typed, at);
        A::shown_event(&self.state, &self.id, &typed, Head { id: &self.id, version: event.sequence, created_at: at, updated_at: at })
    }

    fn row(&self) -> Result<Shown<RowWrite>, StoreError> {
        let (Some(created_at), Some(updated_at)) = (self.created_at, self.updated_at) else { return Ok(Shown::Gone) };
        row_of(&self.id, self.version, &self.state, created_at, updated_at)
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

/// What a rebuild found.
#[derive(Clone, Debug, PartialEq)]
pub struct Rebuilt {
    /// The last position that was folded.
    pub position: i64,
    /// Events that were folded although they wait for their position.
    pub unplaced: usize,
    /// Rows that differ between the live read models and the rebuilt ones: table, which side, the row.
    pub differences: Vec<(String, String, Value)>,
}

/// Takes turns with another rebuild, which makes the same schema ("keystone rebuild").
const REBUILD_LOCK: i64 = 0x6b65_7973_7265_6275;

/// Folds all events into tables of a schema of their own, and compares them with the live ones. Events, live
/// rows and their comparison are of one moment, so that it may be asked beside a busy server. Nobody else sees that
/// schema, and no end leaves it behind.
pub async fn rebuild(pool: &Pool) -> Result<Rebuilt, StoreError> {
    let mut client = pool.get().await?;
    let moment = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?;
    // All of the log is read, however long it is, and folded into rows in memory.
    moment.batch_execute("set local statement_timeout = 0; set local idle_in_transaction_session_timeout = '10min'").await?;
    if !moment.query_one("select pg_try_advisory_xact_lock($1)", &[&REBUILD_LOCK]).await?.get::<_, bool>(0) {
        return Err(StoreError::Unavailable("another rebuild is under way".into()));
    }
    let mut folds = Folds::default();
    let mut position = 0;
    loop {
        let page = log::read_after_in(&moment, position, PAGE).await?;
        let Some(last) = page.last() else { break };
        position = last.position;
        for placed in &page {
            folds.apply(&placed.event)?;
        }
    }
    // Their rows are there already.
    let waiting = log::waiting_in(&moment).await?;
    for event in &waiting {
        folds.apply(event)?;
    }
    folds.write(&moment).await?;
    let differences = differences(&moment).await?;
    // Also one that a version left behind which kept it.
    moment.batch_execute(DROP_SCHEMA).await?;
    moment.commit().await?;
    Ok(Rebuilt { position, unplaced: waiting.len(), differences })
}

impl Folds {
    fn apply(&mut self, event: &StoredEvent) -> Result<(), StoreError> {
        // One that another version wrote would be missing in every row it belongs to.
        let unknown =
            || StoreError::Unreadable(format!("{}: this version knows no stream of the kind {}", event.event_id(), event.aggregate_type));
        let kind = Kind::parse(&event.aggregate_type).ok_or_else(unknown)?;
        let fold = self.streams.entry((kind, event.aggregate_id.clone())).or_insert_with(|| new_fold(kind, &event.aggregate_id));
        for write in fold.apply(event)? {
            merge_event_row(&mut self.event_rows, (write.table, write.key()), write.row);
        }
        Ok(())
    }

    async fn write(self, client: &impl GenericClient) -> Result<(), StoreError> {
        let mut rows: BTreeMap<&'static TableName, Vec<Value>> = BTreeMap::new();
        for fold in self.streams.values() {
            if let Shown::Row(write) = fold.row()? {
                rows.entry(write.table).or_default().push(write.row);
            }
        }
        for ((table, _), row) in self.event_rows {
            rows.entry(table).or_default().push(row);
        }
        client.batch_execute(&format!("{DROP_SCHEMA}; create schema {REBUILT_SCHEMA}")).await?;
        for TableName { name: table, .. } in tables() {
            client.batch_execute(&format!("create table {REBUILT_SCHEMA}.{table} (like public.{table} including all)")).await?;
        }
        for (TableName { name: table, upsert, .. }, rows) in rows {
            let sql = upsert.replacen(&format!("insert into {table} "), &format!("insert into {REBUILT_SCHEMA}.{table} "), 1);
            for chunk in rows.chunks(1000) {
                client.execute(&sql, &[&Value::Array(chunk.to_vec())]).await?;
            }
        }
        Ok(())
    }
}

/// A later row of the same id replaces the earlier one and keeps its creation, as the live upsert does.
fn merge_event_row(rows: &mut BTreeMap<(&'static TableName, String), Value>, key: (&'static TableName, String), mut row: Value) {
    if let (Some(created_at), Some(map)) = (rows.get(&key).and_then(|earlier| earlier.get("created_at").cloned()), row.as_object_mut()) {
        map.insert("created_at".into(), created_at);
    }
    rows.insert(key, row);
}

async fn differences(client: &impl GenericClient) -> Result<Vec<(String, String, Value)>, StoreError> {
    let mut found = vec![];
    for TableName { name: table, .. } in tables() {
        let sql = format!(
            "(select 'live' as side, to_jsonb(l) as row from (select * from public.{table} except select * from {REBUILT_SCHEMA}.{table}) l)
             union all
             (select 'rebuilt', to_jsonb(r) from (select * from {REBUILT_SCHEMA}.{table} except select * from public.{table}) r)
             limit 20"
        );
        for row in client.query(&sql, &[]).await? {
            found.push(((*table).to_owned(), row.get(0), row.get(1)));
        }
    }
    Ok(found)
}
