//! Production units as they were at a position of the log (`docs/time-travel.md`).
//!
//! The streams that a question is about are folded up to the position: the unit, for a list those within it, and what their rows name. What was
//! committed together is folded together. Only what is never changed is read, so it needs no transaction and writes nothing.

#![expect(clippy::disallowed_methods, reason = "what is noted of the log follows it by milliseconds, and is looked for again")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::Semaphore;

use super::certificates::Extent;
use super::error::ReadError;
use super::list::typed;
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::{BatchId, EpisodeId, Kind, OrderId, Scope, TaskId, Timestamp};
use crate::eventstore::terms::Term;
use crate::eventstore::{StoreError, StoredEvent};
use crate::projections::folds::{Folds, Stream};
use crate::projections::past::Past;
use crate::projections::rows::{RowWrite, Shown};

/// Streams that one question may be about, with all that they name: an order of some thousand recordings.
pub const STREAMS_MAX: usize = 20_000;
/// Events that are folded for one question.
pub const EVENTS_MAX: usize = 50_000;
/// Streams read at once.
const CHUNK: usize = 500;
/// So many events are folded in a few milliseconds; then others have a turn.
const YIELDS_EVERY: usize = 200;

/// Each holds what it folds.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// For the sequencer and for what is noted behind it: milliseconds, and seconds where another process takes the lead.
const NOTED_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A place in the log, as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// With the event that stands there.
    Position(i64),
    /// With everything that was logged by then.
    Time(Timestamp),
}

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Order(OrderId),
    Batch(BatchId),
    Task(TaskId),
    Episode(EpisodeId),
}

/// What of it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Itself,
    Batches,
    Tasks,
    Episodes,
}

/// Why it cannot be said how something was.
#[derive(Debug, thiserror::Error)]
pub enum AsOfError {
    #[error("the log does not go as far: its last position is {head}")]
    Ahead { head: i64 },
    #[error("the log is not noted as far as it goes; in a moment it is")]
    LogBehind,
    #[error("there is too much to fold: it is about more than {max} {limit}")]
    TooMuch { limit: &'static str, max: usize },
    #[error(transparent)]
    Unreadable(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What rows name that is read with them: of which kind, and how much of it.
const NAMED: &[(&str, &str, Kind, Extent)] = &[
    ("orders", "organization_id", Kind::Organization, Extent::Whole),
    ("orders", "scene_id", Kind::Scene, Extent::Whole),
    ("batches", "organization_id", Kind::Organization, Extent::Whole),
    // For its scene, which does not change.
    ("batches", "order_id", Kind::Order, Extent::First),
    ("batches", "station_id", Kind::Station, Extent::Whole),
    ("tasks", "station_id", Kind::Station, Extent::Whole),
    ("tasks", "scene_id", Kind::Scene, Extent::Whole),
    ("tasks", "subscene_id", Kind::Subscene, Extent::Whole),
    // For its ids, which do not change.
    ("tasks", "episode_id", Kind::Episode, Extent::First),
    ("episodes", "sop_id", Kind::Sop, Extent::Whole),
    ("episodes", "station_id", Kind::Station, Extent::Whole),
    ("stations", "robot_id", Kind::Robot, Extent::Whole),
    ("stations", "data_collector_id", Kind::DataCollector, Extent::Whole),
];

row! {
    StreamEvent {
        aggregate_type: String = "e.aggregate_type",
        aggregate_id: String = "e.aggregate_id",
        sequence: i64 = "e.sequence",
        event_type: String = "e.event_type",
        event_version: String = "e.event_version",
        payload: Value = "e.payload",
        metadata: Value = "e.metadata",
        recorded_at: Timestamp = "e.recorded_at",
    }
}

impl From<StreamEvent> for StoredEvent {
    fn from(event: StreamEvent) -> Self {
        let StreamEvent { aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at } = event;
        Self { aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, seq: 0, recorded_at }
    }
}

row! {
    FoundStream {
        aggregate_type: String = "e.aggregate_type",
        aggregate_id: String = "e.aggregate_id",
    }
}

row! {
    /// What was committed together.
    Committed {
        txid: String = "n.txid::text",
        correlation: String = "n.correlation",
    }
}

row! {
    LogHead {
        position: i64 = "coalesce((select l.position from log l order by l.position desc limit 1), 0)",
        now: Timestamp = "clock_timestamp()",
    }
}

fn head() -> String {
    format!("select {}", LogHead::columns())
}

const LAST_UNTIL: &str = "select position from log_index where logged_at <= $1 order by logged_at desc, position desc limit 1";

/// Events of streams that stand at a position or before it.
fn events() -> String {
    format!(
        "select {} from unnest($1::text[], $2::text[], $3::bigint[]) w(kind, id, last)
         join events e on e.aggregate_type = w.kind and e.aggregate_id = w.id and e.sequence <= w.last
         join log l on l.seq = e.seq where l.position <= $4
         order by e.aggregate_type, e.aggregate_id, e.sequence limit $5",
        StreamEvent::columns()
    )
}

/// Of commits that these events belong to, those that began at a position or before it. A commit is told by its transaction and by its
/// correlation: another cluster, from which the data came, counted its transactions for itself.
fn begun() -> String {
    format!(
        "select {} from (
             select distinct e.txid, e.metadata ->> 'correlation_id' as correlation from unnest($1::text[], $2::text[], $3::bigint[]) w(kind, id, next)
             join events e on e.aggregate_type = w.kind and e.aggregate_id = w.id and e.sequence = w.next) n
         where exists (select from events f join log l on l.seq = f.seq where f.txid = n.txid and l.position <= $4
                       and f.metadata ->> 'correlation_id' = n.correlation)",
        Committed::columns()
    )
}

/// Further events of streams, of these commits.
fn rest() -> String {
    format!(
        "select {} from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) w(kind, id, next, last)
         join events e on e.aggregate_type = w.kind and e.aggregate_id = w.id and e.sequence between w.next and w.last
         join unnest($5::text[], $6::text[]) c(txid, correlation) on e.txid = c.txid::xid8 and e.metadata ->> 'correlation_id' = c.correlation
         order by e.aggregate_type, e.aggregate_id, e.sequence",
        StreamEvent::columns()
    )
}

/// Streams of a kind whose first event names one of these; also those that are gone. `offset 0` keeps it a look into the index.
fn found() -> String {
    format!(
        "select distinct {} from log_terms t join log l on l.position = t.position join events e on e.seq = l.seq
         where t.term = any ($1::bigint[])
             and exists (select from log_terms o where o.term = $2::bigint and o.position = t.position offset 0) and e.sequence = 1
         order by aggregate_type, aggregate_id limit $3::bigint",
        FoundStream::columns()
    )
}

impl Reads {
    /// The position that a moment means. It waits until what is noted of the log goes as far as the log does now.
    pub async fn position_of(&self, moment: Moment) -> Result<i64, AsOfError> {
        let Some(head) = self.row::<LogHead>(&head(), &[]).await? else { return Err(AsOfError::LogBehind) };
        let ahead = match moment {
            Moment::Position(position) => position > head.position,
            Moment::Time(time) => time > head.now,
        };
        if ahead {
            return Err(AsOfError::Ahead { head: head.position });
        }
        let began = Instant::now();
        while self.log_noted_to().await? < head.position {
            if began.elapsed() > NOTED_WITHIN {
                return Err(AsOfError::LogBehind);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        match moment {
            Moment::Position(position) => Ok(position),
            Moment::Time(time) => Ok(self.number(LAST_UNTIL, &[&time]).await?.min(head.position)),
        }
    }

    /// The same queries about a unit, as they were answered at a position. Of what the scope did not contain, nothing is there.
    pub async fn as_of(&self, scope: &Scope, unit: Unit, part: Part, position: i64) -> Result<Self, AsOfError> {
        // Never closed.
        let _turn = AT_ONCE.acquire().await;
        // First whether it is theirs: of another one's not even the size is told.
        let seed = Gathering::of(self, position, Folds::of_states()).with(unit.stream(), Extent::First).await?;
        if !seed.sees(scope, unit).await? {
            return Ok(self.of_past(Past::default()));
        }
        let folds = if part == Part::Itself { Folds::of_all() } else { Folds::of_states() };
        let mut whole = Gathering::of(self, position, folds).with(unit.stream(), Extent::Whole).await?;
        match part {
            Part::Itself => {}
            Part::Batches => whole.take_within(unit, Kind::Batch, Extent::Whole).await?,
            Part::Tasks | Part::Episodes => {
                // Lists of an order go by its batches.
                whole.take_within(unit, Kind::Batch, Extent::First).await?;
                let kind = if part == Part::Tasks { Kind::Task } else { Kind::Episode };
                whole.take_within(unit, kind, Extent::Whole).await?;
            }
        }
        if part == Part::Episodes || matches!(unit, Unit::Episode(_)) {
            whole.take_chains().await?;
        }
        Ok(self.of_past(Past::of(whole.folds)?))
    }
}

impl Unit {
    fn stream(self) -> Stream {
        match self {
            Self::Order(id) => (Kind::Order, id.to_string()),
            Self::Batch(id) => (Kind::Batch, id.to_string()),
            Self::Task(id) => (Kind::Task, id.to_string()),
            Self::Episode(id) => (Kind::Episode, id.to_string()),
        }
    }
}

/// Streams on their way to being rows.
struct Gathering<'a> {
    reads: &'a Reads,
    position: i64,
    folds: Folds,
    known: BTreeSet<Stream>,
    events_left: usize,
}

impl<'a> Gathering<'a> {
    fn of(reads: &'a Reads, position: i64, folds: Folds) -> Self {
        Self { reads, position, folds, known: BTreeSet::new(), events_left: EVENTS_MAX }
    }

    async fn with(mut self, stream: Stream, extent: Extent) -> Result<Self, AsOfError> {
        self.take(vec![(stream, extent)]).await?;
        Ok(self)
    }

    /// Whether the scope contains the unit.
    async fn sees(self, scope: &Scope, unit: Unit) -> Result<bool, AsOfError> {
        let then = self.reads.of_past(Past::of(self.folds)?);
        Ok(match unit {
            Unit::Order(id) => then.order(scope, id).await?.is_some(),
            Unit::Batch(id) => then.batch(scope, id).await?.is_some(),
            Unit::Task(id) => then.task(scope, id).await?.is_some(),
            Unit::Episode(id) => then.episode(scope, id).await?.is_some(),
        })
    }

    /// Folds streams, and what their rows name.
    async fn take(&mut self, streams: Vec<(Stream, Extent)>) -> Result<(), AsOfError> {
        let mut next = streams;
        while !next.is_empty() {
            next.retain(|(stream, _)| self.known.insert(stream.clone()));
            if self.known.len() > STREAMS_MAX {
                return Err(AsOfError::TooMuch { limit: "streams", max: STREAMS_MAX });
            }
            let mut named = BTreeSet::new();
            for chunk in next.chunks(CHUNK) {
                self.fold(chunk).await?;
                for (stream, _) in chunk {
                    if let Shown::Row(row) = self.folds.row(stream)? {
                        named.extend(named_by(&row));
                    }
                }
            }
            next = named.into_iter().collect();
        }
        Ok(())
    }

    /// All units of a kind that there ever were within another one.
    async fn take_within(&mut self, unit: Unit, kind: Kind, extent: Extent) -> Result<(), AsOfError> {
        let (of, id) = unit.stream();
        let streams = self.found(&[Term::content(&format!("{}_id", of.as_str()), &id)], kind).await?;
        self.take(streams.into_iter().map(|stream| (stream, extent)).collect()).await
    }

    /// The ways to the cloud of all episodes that were taken.
    async fn take_chains(&mut self) -> Result<(), AsOfError> {
        let episodes = self.known.iter().filter(|(kind, _)| *kind == Kind::Episode);
        let terms: Vec<Term> = episodes.map(|(_, id)| Term::content("episode_id", id)).collect();
        let streams = self.found(&terms, Kind::SyncChain).await?;
        self.take(streams.into_iter().map(|stream| (stream, Extent::Whole)).collect()).await
    }

    async fn found(&self, terms: &[Term], kind: Kind) -> Result<Vec<Stream>, AsOfError> {
        if terms.is_empty() {
            return Ok(vec![]);
        }
        let terms: Vec<i64> = terms.iter().map(|term| term.0).collect();
        let most = i64::try_from(STREAMS_MAX + 1).unwrap_or(i64::MAX);
        let sql = found();
        let category = Term::category(kind.as_str()).0;
        let rows = self.reads.query_pinned(&sql, &typed(&sql, &[&terms, &category, &most])).await?;
        let streams: Vec<FoundStream> = rows.iter().map(FoundStream::from_row).collect::<Result<_, _>>().map_err(ReadError::from)?;
        // Another kind has the same term by chance only.
        Ok(streams.into_iter().filter(|found| found.aggregate_type == kind.as_str()).map(|found| (kind, found.aggregate_id)).collect())
    }

    async fn fold(&mut self, streams: &[(Stream, Extent)]) -> Result<(), AsOfError> {
        let kinds: Vec<&str> = streams.iter().map(|((kind, _), _)| kind.as_str()).collect();
        let ids: Vec<&str> = streams.iter().map(|((_, id), _)| id.as_str()).collect();
        let lasts: Vec<i64> = streams.iter().map(|(_, extent)| extent.last()).collect();
        let most = i64::try_from(self.events_left).unwrap_or(i64::MAX).saturating_add(1);
        let placed: Vec<StreamEvent> = self.reads.rows_planned_once(&events(), &[&kinds, &ids, &lasts, &self.position, &most]).await?;
        self.apply(placed).await?;
        // A commit of which a part stands at the position or before it is there as a whole, as nobody ever saw it otherwise.
        let nexts: Vec<i64> = streams.iter().map(|(stream, _)| self.folds.version(stream) + 1).collect();
        let begun: Vec<Committed> = self.reads.rows_planned_once(&begun(), &[&kinds, &ids, &nexts, &self.position]).await?;
        if begun.is_empty() {
            return Ok(());
        }
        let txids: Vec<&str> = begun.iter().map(|commit| commit.txid.as_str()).collect();
        let correlations: Vec<&str> = begun.iter().map(|commit| commit.correlation.as_str()).collect();
        let further: Vec<StreamEvent> =
            self.reads.rows_planned_once(&rest(), &[&kinds, &ids, &nexts, &lasts, &txids, &correlations]).await?;
        self.apply(further).await
    }

    async fn apply(&mut self, events: Vec<StreamEvent>) -> Result<(), AsOfError> {
        let left = self.events_left.checked_sub(events.len());
        self.events_left = left.ok_or(AsOfError::TooMuch { limit: "events", max: EVENTS_MAX })?;
        for (n, event) in events.into_iter().enumerate() {
            if n % YIELDS_EVERY == 0 {
                tokio::task::yield_now().await;
            }
            self.folds.apply(&event.into())?;
        }
        Ok(())
    }
}

/// The streams that a row names, and how much of them is wanted.
fn named_by(row: &RowWrite) -> impl Iterator<Item = (Stream, Extent)> {
    let of_table = NAMED.iter().filter(|(table, ..)| *table == row.table.name);
    of_table.filter_map(|(_, column, kind, extent)| {
        let id = row.row[*column].as_i64()?;
        Some(((*kind, id.to_string()), *extent))
    })
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("head of the log, and the time", head()),
        ("last event until", LAST_UNTIL.to_owned()),
        ("events of streams up to a position", events()),
        ("commits that began before a position", begun()),
        ("further events of commits", rest()),
        ("streams that began with a unit", found()),
    ]
}
