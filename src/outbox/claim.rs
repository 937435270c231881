//! Taking rows to work on.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tokio_postgres::types::ToSql;

use crate::domain::Timestamp;
use crate::domain::routing::{Destination, SubscriberName};
use crate::pg::plans::{Answered, Planned, pinned};

/// What to claim.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    pub subscriber: SubscriberName,
    /// Who claims: shown to operators, never compared.
    pub worker: &'a str,
    pub lease: Duration,
    pub wanted: Wanted,
    /// One row per stream at a time, in the order of the stream, where whatever is due is wanted.
    pub per_stream: bool,
}

/// Which rows, and how many.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Whatever is due, wherever it goes.
    Any { limit: i64 },
    /// So many for each of these destinations.
    For(Vec<Share>),
}

impl Wanted {
    /// Whether as many came as were asked for, of one destination at least: then there may be more.
    pub fn is_used_up(&self, rows: &[Claimed]) -> bool {
        match self {
            Self::Any { limit } => i64::try_from(rows.len()).unwrap_or(i64::MAX) >= *limit,
            Self::For(shares) => {
                let mut came: HashMap<&str, i64> = HashMap::new();
                rows.iter().filter_map(|row| row.destination.as_deref()).for_each(|to| *came.entry(to).or_default() += 1);
                let of = |to: &Destination| came.get(to.to_string().as_str()).copied().unwrap_or_default();
                shares.iter().any(|share| of(&share.destination) >= share.limit)
            }
        }
    }
}

/// How much is wanted for one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub destination: Destination,
    pub limit: i64,
    /// One row per stream at a time, in the order of the stream.
    pub per_stream: bool,
    /// It cannot be delivered to from here or now. What has expired is for any process all the same: none may ever
    /// reach it again.
    pub only_expired: bool,
}

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    pub payload: Value,
    pub metadata: Value,
    pub seq: i64,
    pub recorded_at: Timestamp,
}

impl StoredEvent {
    /// `task/17/3`: names one event for ever.
    pub fn event_id(&self) -> String {
        format!("{}/{}/{}", self.aggregate_type, self.aggregate_id, self.sequence)
    }

    /// The payload of the one variant it holds: `{"recording_finished": {…}}` → `{…}`.
    pub fn content(&self) -> &Value {
        match &self.payload {
            Value::Object(map) if map.len() == 1 => map.values().next().unwrap_or(&Value::Null),
            other => other,
        }
    }
}

/// A row under lease, with its event.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    pub outbox_id: i64,
    pub epoch: i64,
    pub attempt: i32,
    /// As it is stored.
    pub destination: Option<String>,
    pub causation_depth: i32,
    /// How deep it may be, where a replay said so.
    pub causation_depth_max: Option<i32>,
    pub expires_at: Option<Timestamp>,
    pub expired: bool,
    /// Since it was queued, by the database's clock.
    pub age: Duration,
    pub event: StoredEvent,
}

// The lease's end is part of the claim itself, so no sweeper stands between a dead worker and
// the next claim.
macro_rules! due {
    () => {
        "o.due_at <= clock_timestamp() and (o.leased_until is null or o.leased_until < clock_timestamp())"
    };
}

macro_rules! in_order {
    ($asked_for:literal) => {
        concat!(
            "(not ",
            $asked_for,
            " or (
            not exists (select from outbox p where p.subscriber = o.subscriber and p.stream_key = o.stream_key
                         and coalesce(p.destination, '') = coalesce(o.destination, '') and p.outbox_id < o.outbox_id)
        and not exists (select from dead_letters d where d.subscriber = o.subscriber and d.stream_key = o.stream_key
                         and coalesce(d.destination, '') = coalesce(o.destination, '')
                         and d.resolved_at is null and d.blocks_stream)))"
        )
    };
}

// Follows a CTE `due`, which is materialized: a nested loop over a subquery could lock more rows than the limit
// says. A claim of a row whose lease has run out notes what became of the last one. An epoch is a time where that is later than the last
// one: a claim that Postgres forgot when it died has another epoch than the one after it.
macro_rules! take_due {
    () => {
        ", taken as (
    update outbox o set
        attempt = o.attempt + 1, epoch = greatest(o.epoch + 1, (extract(epoch from clock_timestamp()) * 1000000)::bigint),
        leased_until = clock_timestamp() + make_interval(secs => $2), leased_by = $3,
        failures = case when o.leased_until is null then o.failures else o.failures || jsonb_build_array(jsonb_build_object(
            'attempt', o.attempt, 'at', clock_timestamp(), 'error', 'the lease ended before the worker ' || coalesce(o.leased_by, '?') || ' settled it')) end
    from due where o.outbox_id = due.outbox_id
    returning o.outbox_id, o.epoch, o.attempt, o.destination, o.causation_depth, o.expires_at, o.event_seq, o.created_at, o.causation_depth_max
)
select t.outbox_id, t.epoch, t.attempt, t.destination, t.causation_depth, t.expires_at,
       coalesce(t.expires_at < clock_timestamp(), false) as expired,
       extract(epoch from clock_timestamp() - t.created_at)::float8 as age_s,
       e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload, e.metadata, e.seq, e.recorded_at,
       t.causation_depth_max
from taken t join events e on e.seq = t.event_seq
order by t.outbox_id"
    };
}

const CLAIM_ANY: &str = concat!(
    "
with due as materialized (
    select o.outbox_id from outbox o
    where o.subscriber = $1 and ",
    due!(),
    " and ",
    in_order!("$4"),
    "
    order by o.due_at, o.outbox_id
    limit $5
    for update of o skip locked
)",
    take_due!()
);

const CLAIM_FOR: &str = concat!(
    "
with due as materialized (
    select r.outbox_id from unnest($4::text[], $5::bigint[], $6::bool[], $7::bool[]) s (destination, most, only_expired, per_stream)
    cross join lateral (
        select o.outbox_id from outbox o
        where o.subscriber = $1 and o.destination = s.destination and ",
    due!(),
    "
          and (not s.only_expired or o.expires_at < clock_timestamp()) and ",
    in_order!("s.per_stream"),
    "
        order by o.due_at, o.outbox_id
        limit s.most
        for update of o skip locked) r
)",
    take_due!()
);

// Steps from one destination to the next, past all rows in between: what waits for one that is away costs the others nothing.
const WAITING: &str = concat!(
    "
with recursive known as (
    (select o.destination from outbox o where o.subscriber = $1 and o.destination is not null order by o.destination limit 1)
    union all
    select (select o.destination from outbox o where o.subscriber = $1 and o.destination > k.destination order by o.destination limit 1)
    from known k where k.destination is not null)
select k.destination from known k
where exists (select from outbox o where o.subscriber = $1 and o.destination = k.destination and ",
    due!(),
    ")"
);

/// Where rows wait that are due. One round trip. Destinations that another version of this program made are left to it.
pub async fn waiting_destinations(
    client: &deadpool_postgres::Client,
    subscriber: SubscriberName,
) -> Result<Vec<Destination>, tokio_postgres::Error> {
    let statement = client.prepare_cached(WAITING).await?;
    let rows = pinned(client, Answered::Visible, Planned::Once, client.query(&statement, &[&subscriber.as_str()])).await?;
    Ok(rows.iter().filter_map(|row| Destination::parse(row.get(0))).collect())
}

/// Takes rows that are due, and leases them. One round trip, which waits for no disk: a claim that is forgotten is made again.
pub async fn claim(client: &deadpool_postgres::Client, claim: &Claim<'_>) -> Result<Vec<Claimed>, tokio_postgres::Error> {
    let subscriber = claim.subscriber.as_str();
    let lease = claim.lease.as_secs_f64();
    let shares = if let Wanted::For(shares) = &claim.wanted { shares.as_slice() } else { &[] };
    let destinations: Vec<String> = shares.iter().map(|share| share.destination.to_string()).collect();
    let limits: Vec<i64> = shares.iter().map(|share| share.limit).collect();
    let only_expired: Vec<bool> = shares.iter().map(|share| share.only_expired).collect();
    let per_stream: Vec<bool> = shares.iter().map(|share| share.per_stream).collect();
    let mut params: Vec<&(dyn ToSql + Sync)> = vec![&subscriber, &lease, &claim.worker];
    let sql = match &claim.wanted {
        Wanted::Any { limit } => {
            params.extend_from_slice(&[&claim.per_stream, limit]);
            CLAIM_ANY
        }
        Wanted::For(_) => {
            params.extend_from_slice(&[&destinations, &limits, &only_expired, &per_stream]);
            CLAIM_FOR
        }
    };
    let statement = client.prepare_cached(sql).await?;
    let rows = pinned(client, Answered::Visible, Planned::Once, client.query(&statement, &params)).await?;
    Ok(rows
        .iter()
        .map(|row| Claimed {
            outbox_id: row.get(0),
            epoch: row.get(1),
            attempt: row.get(2),
            destination: row.get(3),
            causation_depth: row.get(4),
            causation_depth_max: row.get(17),
            expires_at: row.get(5),
            expired: row.get(6),
            age: Duration::try_from_secs_f64(row.get(7)).unwrap_or_default(),
            event: StoredEvent {
                aggregate_type: row.get(8),
                aggregate_id: row.get(9),
                sequence: row.get(10),
                event_type: row.get(11),
                event_version: row.get(12),
                payload: row.get(13),
                metadata: row.get(14),
                seq: row.get(15),
                recorded_at: row.get(16),
            },
        })
        .collect())
}
