//! The audit: changes, which are events, and what is recorded beside the log, in one list, the newest first.
//!
//! Both are read in their own order, and the later of their next entries comes first. A place in the list is a place in each. Nothing is
//! counted: it would be millions.

use std::iter::Peekable;

use super::error::ReadError;
use super::events::{Between, Direction, LogEvent, LogFilter};
use super::list::{Parameter, typed};
use super::place::{NotAPlace, Place};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::access::{AccessKind, LoginMethod};
use crate::domain::{Timestamp, storable};

/// Events that one page looks at where each has to be looked at, because the log is not searched by what is asked for.
const LOOKED_AT_MAX: i64 = 5_000;
/// Of these, at once.
const LOOKED_AT_ONCE: i64 = 500;

row! {
    /// What one request did, beside what it changed.
    AccessShown {
        access_id: i64 = "r.access_id",
        occurred_at: Timestamp = "r.occurred_at",
        kind: AccessKind = "r.kind",
        actor: String = "r.actor",
        login: String = "r.login",
        role: String = "r.role",
        action: String = "r.action",
        entity: Option<String> = "r.entity",
        status: i16 = "r.status",
        source_address: Option<String> = "r.source_address",
        request_id: String = "r.request_id",
        login_method: Option<LoginMethod> = "r.login_method",
    }
}

/// Which records. What is not given excludes none.
#[derive(Clone, Debug, Default)]
pub struct AccessFilter {
    pub kinds: Option<Vec<&'static str>>,
    pub actor: Option<String>,
    pub actions: Option<Vec<String>>,
    pub entity: Option<String>,
    pub address: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// Which entries; `None` where none of that sort are.
#[derive(Clone, Debug)]
pub struct AuditFilter {
    pub events: Option<LogFilter>,
    pub records: Option<AccessFilter>,
    /// Where what was done came from.
    pub address: Option<String>,
}

#[derive(Clone, Debug)]
pub enum AuditEntry {
    Event(LogEvent),
    Record(AccessShown),
}

/// Entries, and where the next page begins, if there may be one.
#[derive(Clone, Debug)]
pub struct AuditPage {
    pub entries: Vec<AuditEntry>,
    pub next: Option<Place>,
}

/// Where a page begins: behind this in the log, and behind this in the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Start {
    before_position: i64,
    before_record: Option<(Timestamp, i64)>,
}

impl Start {
    const NEWEST: Self = Self { before_position: i64::MAX, before_record: None };

    fn mark() -> u32 {
        crc32fast::hash(b"audit, newest first")
    }

    fn place(self) -> Place {
        let (at, id) = self.before_record.map_or((i64::MAX, i64::MAX), |(at, id)| (at.timestamp_micros(), id));
        Place { list: Self::mark(), values: [self.before_position, at, id] }
    }

    fn of(place: Place) -> Result<Self, NotAPlace> {
        let [before_position, at, id] = place.values;
        if place.list != Self::mark() {
            return Err(NotAPlace);
        }
        let instant = |micros| Timestamp::from_timestamp_micros(micros).filter(|at| storable::can_be_stored(*at));
        let before_record = if at == i64::MAX { None } else { Some((instant(at).ok_or(NotAPlace)?, id)) };
        Ok(Self { before_position, before_record })
    }
}

fn records() -> String {
    format!(
        "select {} from access_records r where ($1::text[] is null or r.kind = any ($1)) and ($2::text is null or r.actor = $2)
           and ($3::text[] is null or r.action = any ($3)) and ($4::text is null or r.entity = $4)
           and ($5::text is null or r.source_address = $5)
           and ($6::timestamptz is null or r.occurred_at >= $6) and ($7::timestamptz is null or r.occurred_at < $7)
           and ($8::timestamptz is null or (r.occurred_at, r.access_id) < ($8::timestamptz, $9::bigint))
         order by r.occurred_at desc, r.access_id desc limit $10::bigint",
        AccessShown::columns()
    )
}

/// Events of a page, and the last one that was looked at, where more may follow that nobody has looked at.
struct Looked {
    events: Vec<LogEvent>,
    to: Option<(i64, Timestamp)>,
}

impl Reads {
    /// The next entries behind a place; with fewer than the limit there may be more all the same.
    pub async fn audit(&self, filter: &AuditFilter, after: Option<Place>, limit: i64) -> Result<AuditPage, ReadError> {
        let from = after.map_or(Ok(Start::NEWEST), Start::of)?;
        // One more of each tells whether there is a next page.
        let looked = match &filter.events {
            Some(events) => self.audited_events(events, filter.address.as_deref(), from.before_position, limit + 1).await?,
            None => Looked { events: vec![], to: None },
        };
        let records = match &filter.records {
            Some(records) => self.access_records(records, from.before_record, limit + 1).await?,
            None => vec![],
        };
        Ok(merged(looked, records, from, usize::try_from(limit).unwrap_or(usize::MAX)))
    }

    async fn access_records(
        &self,
        filter: &AccessFilter,
        before: Option<(Timestamp, i64)>,
        limit: i64,
    ) -> Result<Vec<AccessShown>, ReadError> {
        let AccessFilter { kinds, actor, actions, entity, address, since, until } = filter;
        let (at, id) = before.unzip();
        let parameters: [Parameter<'_>; 10] = [kinds, actor, actions, entity, address, since, until, &at, &id, &limit];
        let statement = records();
        let rows = self.query_pinned(&statement, &typed(&statement, &parameters)).await?;
        Ok(rows.iter().map(AccessShown::from_row).collect::<Result<_, _>>()?)
    }

    async fn audited_events(&self, filter: &LogFilter, address: Option<&str>, before: i64, limit: i64) -> Result<Looked, ReadError> {
        let noted_to = self.log_noted_to().await?;
        let mut between = self.log_bounds(filter, noted_to).await?;
        between.before = between.before.min(before);
        let Some(address) = address else {
            return Ok(Looked { events: self.log_events(filter, between, Direction::Backward, limit).await?, to: None });
        };
        self.events_from(filter, address, between, limit).await
    }

    /// Terms of the log do not have addresses: events are looked at one by one, so many at most.
    async fn events_from(&self, filter: &LogFilter, address: &str, mut between: Between, limit: i64) -> Result<Looked, ReadError> {
        let (mut found, mut looked_at) = (vec![], 0);
        loop {
            let events = self.log_events(filter, between, Direction::Backward, LOOKED_AT_ONCE).await?;
            let many = i64::try_from(events.len()).unwrap_or(i64::MAX);
            let last = events.last().and_then(|event| Some((event.position?, event.recorded_at))).filter(|_| many == LOOKED_AT_ONCE);
            found.extend(events.into_iter().filter(|event| event.said("source_address") == Some(address)));
            looked_at += many;
            let Some(last) = last else { return Ok(Looked { events: found, to: None }) };
            if i64::try_from(found.len()).is_ok_and(|found| found >= limit) || looked_at >= LOOKED_AT_MAX {
                return Ok(Looked { events: found, to: Some(last) });
            }
            between.before = last.0;
        }
    }
}

fn merged(looked: Looked, records: Vec<AccessShown>, mut from: Start, limit: usize) -> AuditPage {
    let (mut events, mut records) = (looked.events.into_iter().peekable(), records.into_iter().peekable());
    let mut entries = vec![];
    let more = loop {
        let Some(is_event) = next_is_event(&mut events, &mut records, looked.to) else {
            // What is behind the last event that was looked at, nobody knows.
            from.before_position = looked.to.map_or(from.before_position, |(position, _)| position);
            break looked.to.is_some();
        };
        if entries.len() == limit {
            break true;
        }
        if is_event {
            let Some(event) = events.next() else { break false };
            from.before_position = event.position.unwrap_or(from.before_position);
            entries.push(AuditEntry::Event(event));
        } else {
            let Some(record) = records.next() else { break false };
            from.before_record = Some((record.occurred_at, record.access_id));
            entries.push(AuditEntry::Record(record));
        }
    };
    AuditPage { entries, next: more.then(|| from.place()) }
}

/// Whether the next entry is an event; none where there is no next one, or it is not known which.
fn next_is_event(
    events: &mut Peekable<impl Iterator<Item = LogEvent>>,
    records: &mut Peekable<impl Iterator<Item = AccessShown>>,
    looked_to: Option<(i64, Timestamp)>,
) -> Option<bool> {
    match (events.peek(), records.peek()) {
        (Some(event), Some(record)) => Some(event.recorded_at >= record.occurred_at),
        (Some(_), None) => Some(true),
        (None, Some(record)) => looked_to.is_none_or(|(_, at)| record.occurred_at >= at).then_some(false),
        (None, None) => None,
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("access records", records())]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_timestamp(1_790_000_000 + second, 0).unwrap()
    }

    fn event(position: i64, second: i64) -> LogEvent {
        LogEvent {
            position: Some(position),
            category: "task".into(),
            stream_id: "1".into(),
            sequence: position,
            event_type: "task_created".into(),
            event_version: "1.0".into(),
            content: json!({}),
            metadata: json!({}),
            recorded_at: at(second),
        }
    }

    fn record(access_id: i64, second: i64) -> AccessShown {
        AccessShown {
            access_id,
            occurred_at: at(second),
            kind: AccessKind::Read,
            actor: "user:admin".into(),
            login: "admin".into(),
            role: "admin".into(),
            action: "GET /api/v1/inspectors".into(),
            entity: None,
            status: 200,
            source_address: None,
            request_id: "r".into(),
            login_method: None,
        }
    }

    fn told(page: &AuditPage) -> Vec<String> {
        page.entries
            .iter()
            .map(|entry| match entry {
                AuditEntry::Event(event) => format!("e{}", event.position.unwrap()),
                AuditEntry::Record(record) => format!("r{}", record.access_id),
            })
            .collect()
    }

    #[test]
    fn pages_put_together_are_the_whole_list_whatever_their_size() {
        let events: Vec<LogEvent> = [(9, 90), (8, 80), (7, 80), (3, 20), (2, 10)].map(|(position, second)| event(position, second)).into();
        let records: Vec<AccessShown> = [(6, 95), (5, 80), (4, 80), (2, 15), (1, 5)].map(|(id, second)| record(id, second)).into();
        let whole = ["r6", "e9", "e8", "e7", "r5", "r4", "e3", "r2", "e2", "r1"];
        for limit in 1..=11 {
            let (mut told_all, mut from) = (vec![], Start::NEWEST);
            loop {
                let ahead = |position: i64| position < from.before_position;
                let behind = |record: &AccessShown| from.before_record.is_none_or(|before| (record.occurred_at, record.access_id) < before);
                let events = events.iter().filter(|event| ahead(event.position.unwrap())).take(limit + 1).cloned().collect();
                let records = records.iter().filter(|record| behind(record)).take(limit + 1).cloned().collect();
                let page = merged(Looked { events, to: None }, records, from, limit);
                told_all.extend(told(&page));
                let Some(next) = page.next else { break };
                assert_eq!(page.entries.len(), limit);
                from = Start::of(next.to_string().parse().unwrap()).unwrap();
            }
            assert_eq!(told_all, whole, "{limit} a page");
        }
    }

    #[test]
    fn what_was_not_looked_at_yet_keeps_older_records_for_the_next_page() {
        let looked = || Looked { events: vec![event(9, 90)], to: Some((5, at(50))) };
        let page = merged(looked(), vec![record(3, 95), record(2, 60), record(1, 40)], Start::NEWEST, 10);
        assert_eq!(told(&page), ["r3", "e9", "r2"]);
        let next = Start::of(page.next.unwrap()).unwrap();
        assert_eq!(next, Start { before_position: 5, before_record: Some((at(60), 2)) });
        // Nothing found, and still a way on.
        let page = merged(Looked { events: vec![], to: Some((5, at(50))) }, vec![record(1, 40)], Start::NEWEST, 10);
        assert_eq!((told(&page), page.next.is_some()), (vec![], true));
    }

    #[test]
    fn a_place_of_another_list_is_none_here() {
        assert_eq!(Start::of(Start::NEWEST.place()), Ok(Start::NEWEST));
        assert_eq!(Start::of(Place { list: 7, values: [1, 2, 3] }), Err(NotAPlace));
        assert_eq!(Start::of(Place { list: Start::mark(), values: [1, i64::MIN, 3] }), Err(NotAPlace));
    }
}
