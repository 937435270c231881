//! Reading the log by position, and verifying what it promises.

use std::time::Duration;

use deadpool_postgres::{GenericClient, Pool};
use tokio_postgres::{IsolationLevel, Row};

use super::transaction::stored_event;
use super::{StoreError, StoredEvent};
use crate::domain::StreamId;

/// An event at its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    pub position: i64,
    pub event: StoredEvent,
}

/// Events of some types in a range of positions, the first ones: position and event.
pub fn of_types() -> String {
    format!(
        "select l.position, {EVENT_COLUMNS} from log l join events e on e.seq = l.seq
         where l.position > $1 and l.position <= $2 and e.event_type = any ($3::text[]) order by l.position limit $4::bigint"
    )
}

pub(super) const EVENT_COLUMNS: &str =
    "e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload, e.metadata, e.seq, e.recorded_at";

/// The next events after a position, in order, without a gap.
pub async fn read_after(pool: &Pool, position: i64, limit: i64) -> Result<Vec<Placed>, StoreError> {
    read_after_in(&pool.get().await?, position, limit).await
}

/// The last event of a stream, of these types; none named: of any.
pub async fn last_of(pool: &Pool, stream: &StreamId, types: &[&str]) -> Result<Option<StoredEvent>, StoreError> {
    let client = pool.get().await?;
    let sql = format!(
        "select {EVENT_COLUMNS} from events e where e.aggregate_type = $1 and e.aggregate_id = $2
         and (cardinality($3::text[]) = 0 or e.event_type = any ($3)) order by e.sequence desc limit 1"
    );
    let statement = client.prepare_cached(&sql).await?;
    let rows = client.query(&statement, &[&stream.aggregate_type, &stream.aggregate_id, &types]).await?;
    Ok(rows.first().map(|row| stored_event(row, 0)))
}

/// The same inside a transaction that looks at one moment, for a reader that has to see all there is at that moment.
pub async fn read_after_in(client: &impl GenericClient, position: i64, limit: i64) -> Result<Vec<Placed>, StoreError> {
    let statement = client.prepare_cached(&after_sql()).await?;
    let rows = client.query(&statement, &[&position, &limit]).await?;
    Ok(rows.iter().map(placed).collect())
}

/// All events of some streams that have their position, in the log's order.
pub async fn of_streams_in(client: &impl GenericClient, aggregate_type: &str, ids: &[String]) -> Result<Vec<Placed>, StoreError> {
    let sql = format!(
        "select l.position, {EVENT_COLUMNS} from events e join log l on l.seq = e.seq
         where e.aggregate_type = $1 and e.aggregate_id = any ($2::text[]) order by l.position"
    );
    let statement = client.prepare_cached(&sql).await?;
    let rows = client.query(&statement, &[&aggregate_type, &ids]).await?;
    Ok(rows.iter().map(placed).collect())
}

/// What was committed and waits for its position. Each event stands behind the earlier ones of its stream, as it will
/// in the log.
pub async fn waiting_in(client: &impl GenericClient) -> Result<Vec<StoredEvent>, StoreError> {
    let sql = format!("{WAITING} select {EVENT_COLUMNS} from events e join unplaced u on u.seq = e.seq where u.waits order by e.seq");
    let rows = client.query(&sql, &[]).await?;
    Ok(rows.iter().map(|row| stored_event(row, 0)).collect())
}

fn after_sql() -> String {
    format!(
        "select l.position, {EVENT_COLUMNS} from log l join events e on e.seq = l.seq where l.position > $1 order by l.position limit $2"
    )
}

fn placed(row: &Row) -> Placed {
    Placed { position: row.get(0), event: stored_event(row, 1) }
}

/// The last position, and the events that have none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub position: i64,
    pub unplaced: i64,
    /// How long the oldest of them has been waiting.
    pub waiting: Duration,
}

/// The newest tick, and the events that became visible after it: the next step gives them their positions. A tick of
/// another cluster, or of a later time of this one, says nothing about transaction ids: there whatever has no position
/// waits for the step that begins anew ([`super::Sequencer::lead`]).
const WAITING: &str = "
with tick as materialized (
    select floor_seq, pg_snapshot_xmax(seen) as next, array(select pg_snapshot_xip(seen)) as running,
           system_identifier <> cluster_identifier() or pg_snapshot_xmax(seen) > pg_snapshot_xmax(pg_current_snapshot()) as moved
    from ticks order by tick_id desc limit 1),
unplaced as materialized (
    select e.seq, e.recorded_at, coalesce(t.moved or (e.seq > t.floor_seq and (e.txid >= t.next or e.txid = any (t.running))), false) as waits
    from events e left join tick t on true where not exists (select from log l where l.seq = e.seq))";

pub async fn head(pool: &Pool) -> Result<Head, StoreError> {
    head_in(&**pool.get().await?).await
}

async fn head_in(client: &tokio_postgres::Client) -> Result<Head, StoreError> {
    let sql = format!(
        "{WAITING} select coalesce((select max(position) from log), 0), count(*),
                          coalesce(extract(epoch from clock_timestamp() - min(recorded_at)), 0)::float8
                   from unplaced where waits"
    );
    let row = client.query_one(&sql, &[]).await?;
    Ok(Head { position: row.get(0), unplaced: row.get(1), waiting: Duration::try_from_secs_f64(row.get(2)).unwrap_or_default() })
}

/// One broken promise of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Breach {
    /// An event without a position that the sequencer has passed over.
    Missing {
        seq: i64,
    },
    /// A position without an event.
    Dangling {
        position: i64,
    },
    Gap {
        after: i64,
        next: i64,
    },
    /// A later event of a stream stands before an earlier one.
    Inversion {
        stream: String,
        sequence: i64,
    },
    /// A hole in the numbers of a stream.
    StreamGap {
        stream: String,
        sequence: i64,
    },
    /// The stored hash is not the hash of the one before and this event.
    BrokenChain {
        position: i64,
    },
    /// The sequencer once stood at a position that the log does not have, or has with another hash.
    CutShort {
        position: i64,
    },
    /// The log goes on behind the last position at which the sequencer stood.
    Beyond {
        position: i64,
    },
}

impl std::fmt::Display for Breach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { seq } => write!(f, "event {seq} has no position"),
            Self::Dangling { position } => write!(f, "position {position} has no event"),
            Self::Gap { after, next } => write!(f, "position {next} follows {after}"),
            Self::Inversion { stream, sequence } => write!(f, "{stream}/{sequence} stands behind a later event of its stream"),
            Self::StreamGap { stream, sequence } => write!(f, "{stream}/{sequence} does not follow its predecessor"),
            Self::BrokenChain { position } => {
                write!(f, "the hash at position {position} does not follow from the one before and the event")
            }
            Self::CutShort { position } => write!(f, "the log does not have the position {position} that the sequencer wrote"),
            Self::Beyond { position } => write!(f, "the sequencer did not write the position {position}"),
        }
    }
}

/// At most this many breaches of a kind are named; one is enough to know.
const NAMED_MAX: i64 = 20;

/// The log at one moment: how far it goes, and which of its promises are broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub head: Head,
    pub breaches: Vec<Breach>,
}

/// The breaches of [`inspect`].
pub async fn verify(pool: &Pool) -> Result<Vec<Breach>, StoreError> {
    Ok(inspect(pool).await?.breaches)
}

/// Checks everything the log promises, in the database, as of one moment. An event that waits for its position is
/// counted, and is no breach.
pub async fn inspect(pool: &Pool) -> Result<Inspection, StoreError> {
    let mut client = pool.get().await?;
    let moment = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await?;
    // All of the log is read, however long it is.
    moment.batch_execute("set local statement_timeout = 0").await?;
    let inspection = Inspection { head: head_in(moment.client()).await?, breaches: breaches_in(moment.client()).await? };
    moment.rollback().await?;
    Ok(inspection)
}

async fn breaches_in(client: &tokio_postgres::Client) -> Result<Vec<Breach>, StoreError> {
    let mut breaches = vec![];
    let missing = format!("{WAITING} select seq from unplaced where not waits order by seq limit $1");
    breaches.extend(client.query(&missing, &[&NAMED_MAX]).await?.iter().map(|row| Breach::Missing { seq: row.get(0) }));
    let dangling = "select l.position from log l where not exists (select from events e where e.seq = l.seq) order by 1 limit $1";
    breaches.extend(client.query(dangling, &[&NAMED_MAX]).await?.iter().map(|row| Breach::Dangling { position: row.get(0) }));
    let gaps = "select coalesce(before, 0), position from (select position, lag(position) over (order by position) as before from log) p
                where position <> coalesce(before, 0) + 1 order by position limit $1";
    breaches.extend(client.query(gaps, &[&NAMED_MAX]).await?.iter().map(|row| Breach::Gap { after: row.get(0), next: row.get(1) }));
    let inversions = "select stream, sequence from (
            select e.aggregate_type || '/' || e.aggregate_id as stream, e.sequence, l.position,
                   lag(l.position) over (partition by e.aggregate_type, e.aggregate_id order by e.sequence) as before
            from events e join log l on l.seq = e.seq) p
        where before > position order by position limit $1";
    let rows = client.query(inversions, &[&NAMED_MAX]).await?;
    breaches.extend(rows.iter().map(|row| Breach::Inversion { stream: row.get(0), sequence: row.get(1) }));
    let holes = "select stream, sequence from (
            select aggregate_type || '/' || aggregate_id as stream, sequence,
                   coalesce(lag(sequence) over (partition by aggregate_type, aggregate_id order by sequence), 0) as before
            from events) p
        where sequence <> before + 1 limit $1";
    let rows = client.query(holes, &[&NAMED_MAX]).await?;
    breaches.extend(rows.iter().map(|row| Breach::StreamGap { stream: row.get(0), sequence: row.get(1) }));
    let chain = "select position from (
            select l.position, l.hash, chain_hash(coalesce(lag(l.hash) over (order by l.position), sha256('keystone edge')), event_digest(e)) as expected
            from log l join events e on e.seq = l.seq) c
        where hash <> expected order by position limit $1";
    breaches.extend(client.query(chain, &[&NAMED_MAX]).await?.iter().map(|row| Breach::BrokenChain { position: row.get(0) }));
    let cut = "select t.position from ticks t where t.position > 0
               and not exists (select from log l where l.position = t.position and l.hash = t.hash) order by 1 limit $1";
    breaches.extend(client.query(cut, &[&NAMED_MAX]).await?.iter().map(|row| Breach::CutShort { position: row.get(0) }));
    let beyond = "select l.position from log l where l.position > (select coalesce(max(t.position), 0) from ticks t) order by 1 limit $1";
    breaches.extend(client.query(beyond, &[&NAMED_MAX]).await?.iter().map(|row| Breach::Beyond { position: row.get(0) }));
    Ok(breaches)
}
