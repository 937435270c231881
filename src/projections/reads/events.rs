//! The event log: pages of it by what is searched for, one event with what led to it and what followed.
//!
//! What an event is found by stands in `log_terms` (`eventstore::terms`); an event that was not noted there yet is found
//! a moment later.

use std::collections::BTreeSet;

use cqrs_es::persist::EventUpcaster;
use serde_json::Value;
use tokio_postgres::types::ToSql;

use super::error::ReadError;
use super::list::{Parameter, typed};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::Timestamp;
use crate::domain::words::words;
use crate::eventstore::StoredEvent;
use crate::eventstore::terms::{Term, terms_of};
use crate::eventstore::upcast::{content, upcasters};

/// More causes than any chain has.
const CAUSES_MAX: usize = 64;
/// Effects that are shown of one event.
pub const EFFECTS_MAX: usize = 500;
/// Groups of terms that one search takes.
pub const GROUPS_MAX: usize = 10;

row! {
    /// As it is stored.
    StoredLogEvent {
        position: Option<i64> = "l.position",
        category: String = "e.aggregate_type",
        stream_id: String = "e.aggregate_id",
        sequence: i64 = "e.sequence",
        event_type: String = "e.event_type",
        event_version: String = "e.event_version",
        payload: Value = "e.payload",
        metadata: Value = "e.metadata",
        recorded_at: Timestamp = "e.recorded_at",
    }
}

/// An event, brought to the version of today.
#[derive(Clone, Debug, PartialEq)]
pub struct LogEvent {
    /// None where it was committed a moment ago.
    pub position: Option<i64>,
    pub category: String,
    pub stream_id: String,
    pub sequence: i64,
    pub event_type: String,
    /// That it was stored in.
    pub event_version: String,
    pub content: Value,
    pub metadata: Value,
    pub recorded_at: Timestamp,
}

impl LogEvent {
    /// `task/17/3`: names one event for ever.
    pub fn event_id(&self) -> String {
        format!("{}/{}/{}", self.category, self.stream_id, self.sequence)
    }

    pub fn said(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).and_then(Value::as_str)
    }

    fn read(stored: StoredLogEvent, upcasters: &[Box<dyn EventUpcaster>]) -> Self {
        let StoredLogEvent { position, category, stream_id, sequence, event_type, event_version, payload, metadata, recorded_at } = stored;
        let content = content(upcasters, &event_type, &event_version, payload);
        Self { position, category, stream_id, sequence, event_type, event_version, content, metadata, recorded_at }
    }
}

/// Everything that an event is found by, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms(Vec<Term>);

impl Terms {
    /// What they take in memory.
    pub fn bytes(&self) -> usize {
        size_of_val(self.0.as_slice())
    }
}

/// An event at its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    pub position: i64,
    pub event: LogEvent,
    pub terms: Terms,
}

impl Followed {
    fn read(stored: StoredLogEvent, upcasters: &[Box<dyn EventUpcaster>]) -> Self {
        // As it is stored: so it is noted, too.
        let as_stored = StoredEvent {
            aggregate_type: stored.category.clone(),
            aggregate_id: stored.stream_id.clone(),
            sequence: stored.sequence,
            event_type: stored.event_type.clone(),
            event_version: stored.event_version.clone(),
            payload: stored.payload.clone(),
            metadata: stored.metadata.clone(),
            seq: 0,
            recorded_at: stored.recorded_at,
        };
        let terms = Terms(terms_of(&as_stored));
        Self { position: stored.position.unwrap_or_default(), event: LogEvent::read(stored, upcasters), terms }
    }
}

fn read_all(stored: Vec<StoredLogEvent>) -> Vec<LogEvent> {
    let upcasters = upcasters();
    stored.into_iter().map(|stored| LogEvent::read(stored, &upcasters)).collect()
}

/// What is searched for. Of each group one term must be there.
#[derive(Clone, Debug, Default)]
pub struct LogFilter {
    /// The first one is read, so it is best the narrowest.
    pub groups: Vec<Vec<Term>>,
    pub from_position: Option<i64>,
    pub to_position: Option<i64>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl LogFilter {
    fn of(groups: Vec<Vec<Term>>) -> Self {
        Self { groups, ..Self::default() }
    }

    /// Whether an event has a term of each group. Positions and times are not looked at.
    pub fn has_terms(&self, terms: &Terms) -> bool {
        self.groups.iter().all(|group| group.iter().any(|term| terms.0.binary_search(term).is_ok()))
    }

    /// What a page is asked for with: first and last position, without them, and how many; then each group of terms.
    pub fn statement(&self, direction: Direction) -> (String, Vec<Vec<i64>>) {
        self.statement_of(direction, &StoredLogEvent::columns())
    }

    /// The same of other columns of `log l` and `events e`.
    pub(super) fn statement_of(&self, direction: Direction, columns: &str) -> (String, Vec<Vec<i64>>) {
        let groups = self.groups.iter().map(|group| group.iter().map(|term| term.0).collect()).collect();
        (page(self.groups.len(), direction, columns), groups)
    }
}

/// Positions, without the ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Between {
    pub after: i64,
    pub before: i64,
}

words! {
    /// Along the log: from older events to newer ones, or back.
    Direction {
        Forward = "asc",
        Backward = "desc",
    }
}

const NOTED_TO: &str = "select coalesce((select position from log_index order by position desc limit 1), 0)";
const FIRST_SINCE: &str = "select position from log_index where logged_at >= $1 order by logged_at, position limit 1";
const LAST_BEFORE: &str = "select position from log_index where logged_at < $1 order by logged_at desc, position desc limit 1";

fn page(groups: usize, direction: Direction, columns: &str) -> String {
    let order = match direction {
        Direction::Forward => "",
        Direction::Backward => "desc",
    };
    let bounds = |table: &str| format!("{table}.position > $1::bigint and {table}.position < $2::bigint");
    // `offset 0` keeps each a look into the index: made into a join, all rows of the other term would be read first.
    let further: String = (5..groups + 4)
        .map(|n| format!(" and exists (select from log_terms o where o.term = any (${n}::bigint[]) and o.position = t.position offset 0)"))
        .collect();
    let positions = match groups {
        0 => format!("select i.position from log_index i where {}", bounds("i")),
        _ => format!(
            "select distinct f.position from unnest($4::bigint[]) w(term) cross join lateral (
                 select t.position from log_terms t where t.term = w.term and {}{further}
                 order by t.position {order} limit $3::bigint) f",
            bounds("t")
        ),
    };
    format!(
        "select {columns} from ({positions} order by position {order} limit $3::bigint) p
         join log l on l.position = p.position join events e on e.seq = l.seq order by l.position {order}"
    )
}

fn follow() -> String {
    format!(
        "select {} from log l join events e on e.seq = l.seq where l.position > $1 order by l.position limit $2",
        StoredLogEvent::columns()
    )
}

fn one() -> String {
    format!("select {} from log l join events e on e.seq = l.seq where l.position = $1", StoredLogEvent::columns())
}

fn of_stream() -> String {
    format!(
        "select {} from events e left join log l on l.seq = e.seq
         where e.aggregate_type = $1 and e.aggregate_id = $2 and e.sequence = $3",
        StoredLogEvent::columns()
    )
}

impl Reads {
    /// Up to which position events are found.
    pub async fn log_noted_to(&self) -> Result<i64, ReadError> {
        self.number(NOTED_TO, &[]).await
    }

    /// The positions that a search looks at, up to the last one that is noted.
    pub async fn log_bounds(&self, filter: &LogFilter, noted_to: i64) -> Result<Between, ReadError> {
        let mut between = Between { after: 0, before: noted_to.saturating_add(1) };
        if let Some(since) = filter.since {
            let first = self.query(FIRST_SINCE, &[&since]).await?;
            between.after = first.first().map_or(Ok(i64::MAX), |row| row.try_get(0))?.saturating_sub(1);
        }
        if let Some(until) = filter.until {
            let last = self.query(LAST_BEFORE, &[&until]).await?;
            between.before = between.before.min(last.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0))?.saturating_add(1));
        }
        between.after = between.after.max(filter.from_position.unwrap_or(1).saturating_sub(1));
        between.before = between.before.min(filter.to_position.unwrap_or(i64::MAX).saturating_add(1));
        Ok(between)
    }

    /// The next events of a search, in the range of positions that is left of it.
    pub async fn log_events(
        &self,
        filter: &LogFilter,
        between: Between,
        direction: Direction,
        limit: i64,
    ) -> Result<Vec<LogEvent>, ReadError> {
        let (statement, groups) = filter.statement(direction);
        let mut parameters: Vec<Parameter<'_>> = vec![&between.after, &between.before, &limit];
        parameters.extend(groups.iter().map(|group| group as &(dyn ToSql + Sync)));
        // Planned each time, for the terms that are asked for: how many events have them differs by a factor of millions.
        let rows = self.query_pinned(&statement, &typed(&statement, &parameters)).await?;
        Ok(read_all(rows.iter().map(StoredLogEvent::from_row).collect::<Result<_, _>>()?))
    }

    /// The next events behind a position, whatever they are; also those that no search finds yet.
    pub async fn log_after(&self, position: i64, limit: i64) -> Result<Vec<Followed>, ReadError> {
        let stored: Vec<StoredLogEvent> = self.rows(&follow(), &[&position, &limit]).await?;
        let upcasters = upcasters();
        Ok(stored.into_iter().map(|stored| Followed::read(stored, &upcasters)).collect())
    }

    pub async fn log_event(&self, position: i64) -> Result<Option<LogEvent>, ReadError> {
        Ok(read_all(self.rows(&one(), &[&position]).await?).pop())
    }

    /// The event that an id like `task/17/3` names.
    pub async fn log_event_named(&self, event_id: &str) -> Result<Option<LogEvent>, ReadError> {
        let parts = event_id.rsplit_once('/').and_then(|(stream, n)| Some((stream.split_once('/')?, n.parse::<i64>().ok()?)));
        let Some(((category, stream_id), sequence)) = parts else { return Ok(None) };
        Ok(read_all(self.rows(&of_stream(), &[&category, &stream_id, &sequence]).await?).pop())
    }

    /// What led to an event, the first cause first.
    pub async fn log_causes(&self, event: &LogEvent) -> Result<Vec<LogEvent>, ReadError> {
        let mut causes: Vec<LogEvent> = vec![];
        while causes.len() < CAUSES_MAX {
            let Some(id) = causes.last().unwrap_or(event).said("causation_id") else { break };
            let Some(cause) = self.log_event_named(id).await? else { break };
            causes.push(cause);
        }
        causes.reverse();
        Ok(causes)
    }

    /// What followed from an event, in the order of the log, and whether there is more than is shown.
    pub async fn log_effects(&self, event: &LogEvent) -> Result<(Vec<LogEvent>, bool), ReadError> {
        let between = Between { after: 0, before: i64::MAX };
        let limit = i64::try_from(EFFECTS_MAX).unwrap_or(i64::MAX).saturating_add(1);
        let mut effects: Vec<LogEvent> = vec![];
        let mut known = BTreeSet::from([event.event_id()]);
        let mut causes = vec![Term::cause(&event.event_id())];
        while !causes.is_empty() && effects.len() <= EFFECTS_MAX {
            let mut found = self.log_events(&LogFilter::of(vec![causes]), between, Direction::Forward, limit).await?;
            found.retain(|effect| known.insert(effect.event_id()));
            causes = found.iter().map(|effect| Term::cause(&effect.event_id())).collect();
            effects.append(&mut found);
        }
        effects.sort_by_key(|effect| effect.position);
        let more = effects.len() > EFFECTS_MAX;
        effects.truncate(EFFECTS_MAX);
        Ok((effects, more))
    }

    /// The terms of everything that happened to one unit: the events of its stream, and those that name it. `None` where
    /// the log knows no such unit.
    pub async fn log_terms_of(&self, category: &str, id: &str) -> Result<Option<Vec<Term>>, ReadError> {
        let key = format!("{category}_id");
        let first = match self.log_event_named(&format!("{category}/{id}/1")).await? {
            Some(first) => Some(first),
            // By the id that people see.
            None => {
                let filter = LogFilter::of(vec![vec![Term::content(&key, id)], vec![Term::category(category)]]);
                let between = Between { after: 0, before: i64::MAX };
                self.log_events(&filter, between, Direction::Forward, 1).await?.pop()
            }
        };
        let Some(first) = first.filter(|first| first.sequence == 1) else { return Ok(None) };
        let mut names = BTreeSet::from([first.stream_id.clone()]);
        names.extend(first.content.get(&key).and_then(Value::as_str).map(str::to_owned));
        let stream = Term::stream(category, &first.stream_id);
        Ok(Some(names.iter().map(|name| Term::content(&key, name)).chain([stream]).collect()))
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    let pages = (0..=GROUPS_MAX).flat_map(|groups| {
        [Direction::Forward, Direction::Backward]
            .map(|direction| ("events of the log", page(groups, direction, &StoredLogEvent::columns())))
    });
    let others = [
        ("how far the log is noted", NOTED_TO.to_owned()),
        ("first event since", FIRST_SINCE.to_owned()),
        ("last event before", LAST_BEFORE.to_owned()),
        ("next events of the log", follow()),
        ("event at a position", one()),
        ("event of a stream", of_stream()),
    ];
    pages.chain(others).collect()
}
