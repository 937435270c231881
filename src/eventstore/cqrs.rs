//! The one adapter to `cqrs-es`: our pure aggregates as its aggregates, our tables as its
//! repository. Event mode only: its snapshot and aggregate stores apply events twice.

use std::collections::HashMap;

use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{PersistedEventRepository, PersistenceError, ReplayStream, SerializedEvent, SerializedSnapshot};
use deadpool_postgres::{GenericClient, Pool};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::StoreError;
use crate::domain::{Aggregate, Event, Kind, routing};

/// One of our aggregates, seen by `cqrs-es`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(bound = "A: Aggregate", transparent)]
pub struct Adapted<A: Aggregate>(pub A);

/// One of our events, seen by `cqrs-es`: the same payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "E: Event", transparent)]
pub struct AdaptedEvent<E: Event>(pub E);

impl<E: Event> cqrs_es::DomainEvent for AdaptedEvent<E> {
    fn event_type(&self) -> String {
        self.0.event_type().to_owned()
    }
    fn event_version(&self) -> String {
        self.0.event_version().to_owned()
    }
}

impl<A: Aggregate> cqrs_es::Aggregate for Adapted<A> {
    const TYPE: &'static str = A::TYPE;
    type Command = A::Command;
    type Event = AdaptedEvent<A::Event>;
    type Error = A::Refusal;
    type Services = ();

    async fn handle(&mut self, command: Self::Command, _services: &(), sink: &EventSink<Self>) -> Result<(), Self::Error> {
        for event in self.0.decide(command)? {
            // The sink applies the event to this very aggregate.
            sink.write(AdaptedEvent(event), self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Self::Event) {
        self.0.evolve(&event.0);
    }
}

/// Our table behind `cqrs-es`, for programs that bring its framework. What is written here has no read models, and only
/// what asks for no delivery can be written: nothing is appended past the outbox.
#[derive(Clone)]
pub struct EventRepository {
    pool: Pool,
}

/// Metadata of an event that came through `cqrs-es` without any.
pub type CqrsMetadata = HashMap<String, String>;

impl EventRepository {
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    async fn select(&self, kind: &str, id: &str, after: i64) -> Result<Vec<SerializedEvent>, StoreError> {
        let client = self.pool.get().await?;
        let statement = client
            .prepare_cached(
                "select sequence, event_type, event_version, payload, metadata from events
                 where aggregate_type = $1 and aggregate_id = $2 and sequence > $3 order by sequence",
            )
            .await?;
        let rows = client.query(&statement, &[&kind, &id, &after]).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let sequence = usize::try_from(row.get::<_, i64>(0)).unwrap_or_default();
                let (payload, metadata): (Value, Value) = (row.get(3), row.get(4));
                SerializedEvent::new(id.to_owned(), sequence, kind.to_owned(), row.get(1), row.get(2), payload, metadata)
            })
            .collect())
    }

    async fn insert(&self, events: &[SerializedEvent]) -> Result<(), StoreError> {
        let client = self.pool.get().await?;
        let statement = client
            .prepare_cached(
                "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                 select * from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::jsonb[], $7::jsonb[])",
            )
            .await?;
        let kinds: Vec<&str> = events.iter().map(|e| e.aggregate_type.as_str()).collect();
        let ids: Vec<&str> = events.iter().map(|e| e.aggregate_id.as_str()).collect();
        let sequences: Vec<i64> = events.iter().map(|e| i64::try_from(e.sequence).unwrap_or(i64::MAX)).collect();
        let types: Vec<&str> = events.iter().map(|e| e.event_type.as_str()).collect();
        let versions: Vec<&str> = events.iter().map(|e| e.event_version.as_str()).collect();
        let payloads: Vec<&Value> = events.iter().map(|e| &e.payload).collect();
        let metadata: Vec<&Value> = events.iter().map(|e| &e.metadata).collect();
        client.execute(&statement, &[&kinds, &ids, &sequences, &types, &versions, &payloads, &metadata]).await?;
        Ok(())
    }
}

fn persistence_error(error: StoreError) -> PersistenceError {
    match error {
        StoreError::Conflict => PersistenceError::OptimisticLockError,
        StoreError::Unavailable(_) | StoreError::Unfit(_) => PersistenceError::ConnectionError(Box::new(error)),
        StoreError::Unreadable(_) => PersistenceError::DeserializationError(Box::new(error)),
        StoreError::Constraint { .. } | StoreError::Unstorable(_) | StoreError::Database(_) => {
            PersistenceError::UnknownError(Box::new(error))
        }
    }
}

impl PersistedEventRepository for EventRepository {
    async fn get_events<A: cqrs_es::Aggregate>(&self, id: &str) -> Result<Vec<SerializedEvent>, PersistenceError> {
        self.select(A::TYPE, id, 0).await.map_err(persistence_error)
    }

    async fn get_last_events<A: cqrs_es::Aggregate>(&self, id: &str, last: usize) -> Result<Vec<SerializedEvent>, PersistenceError> {
        self.select(A::TYPE, id, i64::try_from(last).unwrap_or(i64::MAX)).await.map_err(persistence_error)
    }

    async fn get_snapshot<A: cqrs_es::Aggregate>(&self, _id: &str) -> Result<Option<SerializedSnapshot>, PersistenceError> {
        Ok(None)
    }

    async fn persist<A: cqrs_es::Aggregate>(
        &self,
        events: &[SerializedEvent],
        snapshot: Option<(String, Value, usize)>,
    ) -> Result<(), PersistenceError> {
        if Kind::parse(A::TYPE).is_some_and(routing::asks_for_deliveries) {
            let reason = format!("events of a {} ask for deliveries: they are appended by commands only", A::TYPE);
            return Err(PersistenceError::UnknownError(reason.into()));
        }
        if snapshot.is_some() {
            return Err(PersistenceError::UnknownError("snapshots of cqrs-es are not kept here: use its event mode".into()));
        }
        self.insert(events).await.map_err(persistence_error)
    }

    async fn stream_events<A: cqrs_es::Aggregate>(&self, id: &str) -> Result<ReplayStream, PersistenceError> {
        let events = self.get_events::<A>(id).await?;
        Ok(replay(events))
    }

    async fn stream_all_events<A: cqrs_es::Aggregate>(&self) -> Result<ReplayStream, PersistenceError> {
        let client = self.pool.get().await.map_err(|error| persistence_error(error.into()))?;
        let rows = client
            .query("select distinct aggregate_id from events where aggregate_type = $1 order by 1", &[&A::TYPE])
            .await
            .map_err(|error| persistence_error(error.into()))?;
        let mut events = vec![];
        for row in rows {
            events.extend(self.get_events::<A>(row.get(0)).await?);
        }
        Ok(replay(events))
    }
}

fn replay(events: Vec<SerializedEvent>) -> ReplayStream {
    let (mut feed, stream) = ReplayStream::new(events.len().max(1));
    tokio::spawn(async move {
        for event in events {
            if feed.push(Ok(event)).await.is_err() {
                return;
            }
        }
    });
    stream
}
