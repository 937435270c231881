//! One Postgres transaction over several streams: lock, load, append, commit.
//!
//! Statements that do not need each other's answers are sent together: a command on one stream
//! costs two round trips (begin with load; append with read models and commit), however many
//! events it appends. The primary key of `events` decides who wins a race: exactly one of two
//! appends at the same version. A command that decides on several streams locks their heads
//! first, in one order for everybody, with locks that no other stream shares.

use std::sync::Arc;

use chrono::SubsecRound;
use cqrs_es::persist::EventUpcaster;
use deadpool_postgres::Client;
use futures_util::future::join_all;
use serde_json::Value;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};
use tracing::warn;

use super::envelope::Metadata;
use super::snapshots::Snapshot;
use super::upcast::upcast;
use super::{EventStore, StoredEvent};
use crate::domain::routing::{self, Queued, Subject, SubscriberName};
use crate::domain::{Aggregate, DeviceId, Event, StreamId, Timestamp};
use crate::pg::{Fault, PgError, fault, said};
use crate::telemetry::chain;

/// A statement with its parameters.
pub type Query<'a> = (&'a str, Vec<&'a (dyn ToSql + Sync)>);

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another transaction was first: try again on what is there now.
    #[error("another change came first")]
    Conflict,
    /// A table refused the change; the constraint says which rule it broke.
    #[error("the rule {constraint} is broken")]
    Constraint { constraint: String },
    /// A value that the wire can carry and a table cannot.
    #[error("a value cannot be stored: {0}")]
    Unstorable(String),
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// This session cannot do it, and another one may. Nothing was done.
    #[error("the database session cannot do it: {0}")]
    Unfit(String),
    #[error("a stored event cannot be read: {0}")]
    Unreadable(String),
    #[error(transparent)]
    Database(tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let text = || said(&error);
        match fault(&error) {
            // The twin of a request came first; the next try finds its outcome.
            Fault::Unique { constraint: "one_event_per_version" | "one_outcome_per_idempotency_key" } => Self::Conflict,
            Fault::Serialization | Fault::Deadlock => Self::Conflict,
            Fault::Unique { constraint } | Fault::Check { constraint } | Fault::ForeignKey { constraint } => {
                Self::Constraint { constraint: constraint.to_owned() }
            }
            Fault::Value => Self::Unstorable(text()),
            Fault::Unfit => Self::Unfit(text()),
            Fault::Unavailable => Self::Unavailable(text()),
            Fault::Other => Self::Database(error),
        }
    }
}

/// Without a connection nothing was asked, whatever the reason.
impl From<deadpool_postgres::PoolError> for StoreError {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        Self::Unavailable(chain(&PgError::from(error)))
    }
}

/// A stream as it was when it was loaded, and as it is with what was decided since.
#[derive(Clone, Debug)]
pub struct Loaded<A: Aggregate> {
    pub id: String,
    /// Sequence of the last event; 0 where there is none.
    pub version: i64,
    pub state: A,
    pub created_at: Option<Timestamp>,
    pub updated_at: Option<Timestamp>,
    /// Of a task: the device that records it, which its events do not say.
    pub device: Option<DeviceId>,
}

impl<A: Aggregate> Loaded<A> {
    /// A stream that does not exist yet.
    pub fn absent(id: impl ToString) -> Self {
        Self { id: id.to_string(), version: 0, state: A::default(), created_at: None, updated_at: None, device: None }
    }

    /// What its events are about.
    pub fn subject(&self) -> Subject<'_> {
        Subject { id: &self.id, device: self.device.as_ref() }
    }

    pub fn stream(&self) -> StreamId {
        StreamId::of::<A>(&self.id)
    }
}

/// An event to append, with the deliveries that it asks for: there is no way to make one without them.
#[derive(Clone, Debug)]
pub struct NewEvent {
    stream: StreamId,
    sequence: i64,
    event_type: &'static str,
    event_version: &'static str,
    payload: Value,
    queued: Vec<Queued>,
}

impl NewEvent {
    pub fn new<E: Event>(stream: StreamId, subject: Subject<'_>, sequence: i64, event: &E) -> Result<Self, StoreError> {
        let fault = |reason: &dyn std::fmt::Display| StoreError::Unreadable(format!("{stream}/{sequence}: {reason}"));
        let queued = routing::deliveries(event, subject).map_err(|error| fault(&error))?;
        let payload = serde_json::to_value(event).map_err(|error| fault(&error))?;
        let (event_type, event_version) = (event.event_type(), event.event_version());
        Ok(Self { stream, sequence, event_type, event_version, payload, queued })
    }

    /// The same for a stream that is about no device.
    pub fn of<A: Aggregate>(id: &str, sequence: i64, event: &A::Event) -> Result<Self, StoreError> {
        Self::new(StreamId::of::<A>(id), Subject { id, device: None }, sequence, event)
    }

    /// Asks for more deliveries than the rules name.
    pub fn and_queue(mut self, more: impl IntoIterator<Item = Queued>) -> Self {
        self.queued.extend(more);
        self
    }
}

/// Dropped without a commit, the connection goes with it and Postgres rolls back.
pub struct Transaction {
    client: Option<Client>,
    begun: bool,
    store: EventStore,
    upcasters: Arc<Vec<Box<dyn EventUpcaster>>>,
    /// Who has work because of other statements than those that append events.
    wakes: Vec<SubscriberName>,
    /// What callers may wait for.
    settled: Vec<String>,
}

/// Reads the events of one stream, after its snapshot if there is a readable one. One
/// statement, so snapshot and events are of the same moment.
const LOAD_WITH_SNAPSHOT: &str = "
with s as (select * from stream_snapshots where aggregate_type = $1 and aggregate_id = $2 and snapshot_version = $3)
select s.sequence, null::text, null::text, s.state, s.created_at, s.updated_at from s
union all
select e.sequence, e.event_type, e.event_version, e.payload, coalesce((e.metadata ->> 'occurred_at')::timestamptz, e.recorded_at), null
from events e
where e.aggregate_type = $1 and e.aggregate_id = $2 and e.sequence > coalesce((select s.sequence from s), 0)
order by 1";

const LOAD: &str = "
select e.sequence, e.event_type, e.event_version, e.payload, coalesce((e.metadata ->> 'occurred_at')::timestamptz, e.recorded_at), null::timestamptz
from events e where e.aggregate_type = $1 and e.aggregate_id = $2 and $3::integer is not null
order by e.sequence";

/// The planner keeps the order of a function scan, and each lock is taken before the next row is read.
const LOCK: &str = "select pg_advisory_xact_lock(hashtextextended(key, 0)) from unnest($1::text[]) with ordinality k(key, n) order by n";

fn lock_keys(streams: &[StreamId]) -> Vec<String> {
    let mut keys: Vec<String> = streams.iter().map(StreamId::to_string).collect();
    keys.sort();
    keys.dedup();
    keys
}

/// One insert for all events of all streams.
const APPEND: &str = "
insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
select n.*, $7::jsonb from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::jsonb[]) n";

/// The same with outbox rows, which name their event by its place in the arrays.
const APPEND_AND_QUEUE: &str = "
with appended as (
    insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
    select n.*, $7::jsonb from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::jsonb[]) n
    returning seq, aggregate_type, aggregate_id, sequence)
insert into outbox (subscriber, event_seq, stream_key, destination, causation_depth, expires_at, due_at)
select q.subscriber, a.seq, a.aggregate_type || '/' || a.aggregate_id, q.destination, $8, q.expires_at, coalesce(q.place, clock_timestamp())
from unnest($9::text[], $10::text[], $11::bigint[], $12::text[], $13::text[], $14::timestamptz[], $15::timestamptz[])
     q (aggregate_type, aggregate_id, sequence, subscriber, destination, expires_at, place)
join appended a on a.aggregate_type = q.aggregate_type and a.aggregate_id = q.aggregate_id and a.sequence = q.sequence
order by a.seq";

impl EventStore {
    pub async fn begin(&self) -> Result<Transaction, StoreError> {
        Ok(Transaction {
            client: Some(self.pool.get().await?),
            begun: false,
            store: self.clone(),
            upcasters: self.upcasters.clone(),
            wakes: vec![],
            settled: vec![],
        })
    }
}

impl Transaction {
    fn client(&self) -> Result<&Client, StoreError> {
        self.client.as_ref().ok_or_else(|| StoreError::Unavailable("the transaction is over".into()))
    }

    /// Sends queries together, beginning the transaction with the first of them: one round trip.
    pub async fn query_all(&mut self, queries: &[Query<'_>]) -> Result<Vec<Vec<Row>>, StoreError> {
        let client = self.client()?;
        let mut prepared: Vec<Statement> = Vec::with_capacity(queries.len());
        for (sql, _) in queries {
            prepared.push(client.prepare_cached(sql).await?);
        }
        // Before anything is sent: whether a statement fails or the caller stops waiting, a
        // connection that may be inside a transaction is never taken for a free one.
        let begun_before = std::mem::replace(&mut self.begun, true);
        let client = self.client()?;
        let begin = async { if begun_before { Ok(()) } else { client.batch_execute("begin").await } };
        let answers = join_all(prepared.iter().zip(queries).map(|(statement, (_, params))| client.query(statement, params)));
        let (begun, answers) = tokio::join!(biased; begin, answers);
        begun?;
        Ok(answers.into_iter().collect::<Result<Vec<_>, _>>()?)
    }

    pub async fn query(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StoreError> {
        Ok(self.query_all(&[(sql, params.to_vec())]).await?.pop().unwrap_or_default())
    }

    /// Locks the heads of streams until the end of this transaction, in one order for everybody.
    /// Only streams have these locks.
    pub async fn lock(&mut self, streams: &[StreamId]) -> Result<(), StoreError> {
        self.query(LOCK, &[&lock_keys(streams)]).await?;
        Ok(())
    }

    pub async fn load<A: Aggregate>(&mut self, id: impl ToString) -> Result<Loaded<A>, StoreError> {
        Ok(self.load_many::<A>(&[id.to_string()]).await?.remove(0))
    }

    /// Loads several streams of one kind in one round trip.
    pub async fn load_many<A: Aggregate>(&mut self, ids: &[String]) -> Result<Vec<Loaded<A>>, StoreError> {
        self.lock_and_load(&[], ids).await
    }

    /// Waits for locks, and loads what is there then, in one round trip: each statement sees what was
    /// committed before it began, and it begins when the one before it has ended.
    pub async fn lock_and_load<A: Aggregate>(&mut self, locked: &[StreamId], ids: &[String]) -> Result<Vec<Loaded<A>>, StoreError> {
        let (sql, version) = load_sql::<A>();
        let (kind, keys) = (A::TYPE, lock_keys(locked));
        let loads = ids.iter().map(|id| (sql, vec![&kind as &(dyn ToSql + Sync), id as &(dyn ToSql + Sync), &version as _]));
        let lock: Query<'_> = (LOCK, vec![&keys as _]);
        let queries: Vec<Query<'_>> = (!locked.is_empty()).then_some(lock).into_iter().chain(loads).collect();
        let mut answers = self.query_all(&queries).await?;
        let answers = answers.split_off(queries.len() - ids.len());
        let mut loaded = Vec::with_capacity(ids.len());
        for (id, rows) in ids.iter().zip(answers) {
            loaded.push(self.folded(id, &rows).await?);
        }
        Ok(loaded)
    }

    /// The same with two streams of different kinds.
    pub async fn lock_and_load_both<A: Aggregate, B: Aggregate>(
        &mut self,
        id: String,
        other: String,
    ) -> Result<(Loaded<A>, Loaded<B>), StoreError> {
        let keys = lock_keys(&[StreamId::of::<A>(&id), StreamId::of::<B>(&other)]);
        let ((sql, version), (other_sql, other_version)) = (load_sql::<A>(), load_sql::<B>());
        let queries: [Query<'_>; 3] =
            [(LOCK, vec![&keys]), (sql, vec![&A::TYPE, &id, &version]), (other_sql, vec![&B::TYPE, &other, &other_version])];
        let mut answers = self.query_all(&queries).await?;
        let (others, rows) = (answers.pop().unwrap_or_default(), answers.pop().unwrap_or_default());
        Ok((self.folded(&id, &rows).await?, self.folded(&other, &others).await?))
    }

    /// Without its snapshot, where that cannot be read.
    async fn folded<A: Aggregate>(&mut self, id: &str, rows: &[Row]) -> Result<Loaded<A>, StoreError> {
        match self.fold(id, rows) {
            Err(StoreError::Unreadable(reason)) if starts_with_snapshot(rows) => {
                warn!(stream.kind = A::TYPE, stream.id = %id, reason, "Ignores a snapshot that cannot be read");
                let rows = self.query(LOAD, &[&A::TYPE, &id, &A::SNAPSHOT_VERSION]).await?;
                self.fold(id, &rows)
            }
            folded => folded,
        }
    }

    /// Folds rows of [`load_sql`].
    pub fn fold<A: Aggregate>(&self, id: &str, rows: &[Row]) -> Result<Loaded<A>, StoreError> {
        fold_rows(&self.upcasters, id, rows)
    }

    /// Appends, executes the given statements, and commits: one round trip. Wakes the workers that have work now.
    pub async fn commit(mut self, events: &[NewEvent], metadata: &Metadata, also: &[Query<'_>]) -> Result<(), StoreError> {
        if events.is_empty() && also.is_empty() {
            return self.commit_what_was_sent().await;
        }
        let client = self.client()?;
        let depth = metadata.causation_depth();
        let metadata = metadata.to_json();
        let kinds: Vec<&str> = events.iter().map(|e| e.stream.aggregate_type).collect();
        let ids: Vec<&str> = events.iter().map(|e| e.stream.aggregate_id.as_str()).collect();
        let sequences: Vec<i64> = events.iter().map(|e| e.sequence).collect();
        let types: Vec<&str> = events.iter().map(|e| e.event_type).collect();
        let versions: Vec<&str> = events.iter().map(|e| e.event_version).collect();
        let payloads: Vec<&Value> = events.iter().map(|e| &e.payload).collect();
        let queued: Vec<(&NewEvent, &Queued)> = events.iter().flat_map(|e| e.queued.iter().map(move |q| (e, q))).collect();
        let q_kinds: Vec<&str> = queued.iter().map(|(e, _)| e.stream.aggregate_type).collect();
        let q_ids: Vec<&str> = queued.iter().map(|(e, _)| e.stream.aggregate_id.as_str()).collect();
        let q_sequences: Vec<i64> = queued.iter().map(|(e, _)| e.sequence).collect();
        let q_subscribers: Vec<&str> = queued.iter().map(|(_, q)| q.subscriber.as_str()).collect();
        let q_destinations: Vec<Option<String>> = queued.iter().map(|(_, q)| q.destination.as_ref().map(ToString::to_string)).collect();
        let q_expiries: Vec<Option<Timestamp>> = queued.iter().map(|(_, q)| q.expires_at).collect();
        let q_places: Vec<Option<Timestamp>> = queued.iter().map(|(_, q)| q.place).collect();

        let mut append: Vec<&(dyn ToSql + Sync)> = vec![&kinds, &ids, &sequences, &types, &versions, &payloads, &metadata];
        let sql = if queued.is_empty() {
            APPEND
        } else {
            append.extend_from_slice(&[&depth, &q_kinds, &q_ids, &q_sequences, &q_subscribers, &q_destinations, &q_expiries, &q_places]);
            APPEND_AND_QUEUE
        };
        let append_statement = client.prepare_cached(sql).await?;
        let mut others = Vec::with_capacity(also.len());
        for (sql, _) in also {
            others.push(client.prepare_cached(sql).await?);
        }
        let begun_before = std::mem::replace(&mut self.begun, true);
        let client = self.client()?;
        let begin = async { if begun_before { Ok(()) } else { client.batch_execute("begin").await } };
        let appended = async { if events.is_empty() { Ok(0) } else { client.execute(&append_statement, &append).await } };
        let executed = join_all(others.iter().zip(also).map(|(statement, (_, params))| client.execute(statement, params)));
        // Sent in this order without waiting in between. After a failed statement Postgres refuses
        // the rest, and the commit at the end rolls back.
        let (begun, appended, executed, committed) = tokio::join!(biased; begin, appended, executed, client.batch_execute("commit"));
        // Answered, the commit has ended the transaction one way or the other: a lost race costs
        // no connection.
        self.begun = committed.is_err();
        begun?;
        appended?;
        executed.into_iter().collect::<Result<Vec<_>, _>>()?;
        committed?;
        drop(self.client.take());
        self.store.wakes.settled(std::mem::take(&mut self.settled));
        self.store.wakes.committed(queued.iter().map(|(_, q)| q.subscriber).chain(self.wakes.iter().copied()));
        Ok(())
    }

    /// No event: what statements did is committed all the same.
    async fn commit_what_was_sent(mut self) -> Result<(), StoreError> {
        if self.begun {
            self.client()?.batch_execute("commit").await?;
            self.begun = false;
        }
        drop(self.client.take());
        if !self.wakes.is_empty() {
            self.store.wakes.committed(self.wakes.iter().copied());
        }
        Ok(())
    }

    /// Rows were put into the outbox beside the events: their subscribers are woken after the commit, too.
    pub fn wake(&mut self, subscriber: SubscriberName) {
        self.wakes.push(subscriber);
    }

    /// What a caller may wait for in any process is settled with the commit.
    pub fn tell_settled(&mut self, ids: impl IntoIterator<Item = String>) {
        self.settled.extend(ids);
    }

    /// Ends the transaction without a trace.
    pub async fn roll_back(mut self) -> Result<(), StoreError> {
        if self.begun {
            self.client()?.batch_execute("rollback").await?;
            self.begun = false;
        }
        Ok(())
    }

    /// Hands over the state of a long stream, when it is time for a snapshot. Called after the commit.
    pub fn offer_snapshot<A: Aggregate>(store: &EventStore, before: i64, after: &Loaded<A>) {
        let (Some(every), Some(sender)) = (A::SNAPSHOT_EVERY, &store.snapshots) else { return };
        let (Some(created_at), Some(updated_at)) = (after.created_at, after.updated_at) else { return };
        if before / every == after.version / every {
            return;
        }
        let Ok(state) = serde_json::to_value(&after.state) else { return };
        // A full queue drops it: the next one comes after as many events.
        let _ = sender.try_send(Snapshot {
            aggregate_type: A::TYPE,
            aggregate_id: after.id.clone(),
            snapshot_version: A::SNAPSHOT_VERSION,
            sequence: after.version,
            state,
            created_at,
            updated_at,
        });
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.begun
            && let Some(client) = self.client.take()
        {
            // A connection inside a transaction must not go back to the pool.
            drop(deadpool_postgres::Object::take(client));
        }
    }
}

/// The statement that loads a stream of this kind, and its third parameter.
pub fn load_sql<A: Aggregate>() -> (&'static str, i32) {
    (if A::SNAPSHOT_EVERY.is_some() { LOAD_WITH_SNAPSHOT } else { LOAD }, A::SNAPSHOT_VERSION)
}

fn starts_with_snapshot(rows: &[Row]) -> bool {
    rows.first().is_some_and(|row| row.get::<_, Option<&str>>(1).is_none())
}

/// Folds rows of [`load_sql`] into a state.
pub fn fold_rows<A: Aggregate>(upcasters: &[Box<dyn EventUpcaster>], id: &str, rows: &[Row]) -> Result<Loaded<A>, StoreError> {
    let mut loaded = Loaded::<A>::absent(id);
    for row in rows {
        let sequence: i64 = row.get(0);
        let event_type: Option<&str> = row.get(1);
        let payload: Value = row.get(3);
        let at: Timestamp = row.get(4);
        let unreadable = |error: serde_json::Error| StoreError::Unreadable(format!("{}/{id}/{sequence}: {error}", A::TYPE));
        match event_type {
            None => {
                loaded.state = serde_json::from_value(payload).map_err(unreadable)?;
                loaded.created_at = Some(at);
                loaded.updated_at = row.get(5);
            }
            Some(event_type) => {
                let payload = upcast(upcasters, event_type, row.get(2), payload);
                let event: A::Event = serde_json::from_value(payload).map_err(unreadable)?;
                apply(&mut loaded, &event, at);
            }
        }
        loaded.version = sequence;
    }
    Ok(loaded)
}

/// Folds one event into a loaded stream, with its time.
pub fn apply<A: Aggregate>(loaded: &mut Loaded<A>, event: &A::Event, at: Timestamp) {
    loaded.state.evolve(event);
    loaded.version += 1;
    loaded.created_at.get_or_insert(at);
    if A::touches(event) {
        loaded.updated_at = Some(at);
    }
}

/// Postgres keeps microseconds; what is decided with must be what is stored.
pub fn stored_precision(at: Timestamp) -> Timestamp {
    at.trunc_subsecs(6)
}

/// Reads an event row in the usual column order.
pub fn stored_event(row: &Row, first: usize) -> StoredEvent {
    StoredEvent {
        aggregate_type: row.get(first),
        aggregate_id: row.get(first + 1),
        sequence: row.get(first + 2),
        event_type: row.get(first + 3),
        event_version: row.get(first + 4),
        payload: row.get(first + 5),
        metadata: row.get(first + 6),
        seq: row.get(first + 7),
        recorded_at: row.get(first + 8),
    }
}
