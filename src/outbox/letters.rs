//! Dead letters: how they are found, and what brings them back.
//!
//! Lists are read by `projections::reads`, acts are committed by `commands`; the statements over the table are here.
//!
//! A replayed row comes back where it was: with its old number, so that it goes before the later ones of its stream, and with the
//! next epoch, so that a worker that once claimed it settles nothing.

use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::domain::Timestamp;
use crate::domain::letter::{DeadReason, Given, LetterFilter, Resolution, Standing};
use crate::pg::plans::PLANS;

/// Letters `d`, with their events `e`.
pub const FROM: &str = "dead_letters d left join events e on e.seq = d.event_seq left join dead_letter_acts a on a.id = d.dead_letter_id";

/// The parameters that [`MATCHES`] takes.
pub const PARAMETERS: usize = 9;

/// What holds of the letters of a filter, whose values [`Values`] hands in as the first parameters.
macro_rules! matching {
    () => {
        "($1::text is null or d.subscriber = $1) and ($2::text is null or d.destination = $2) \
         and ($3::text is null or e.event_type = $3) and ($4::text is null or d.stream_key = $4) \
         and ($5::timestamptz is null or d.died_at >= $5) and ($6::timestamptz is null or d.died_at < $6) \
         and ($7::text is null or d.reason = $7) \
         and ($8::text is null or ($8 = 'unresolved' and d.resolved_at is null) or ($8 = 'replayed' and d.resolution = 'replayed') \
              or ($8 = 'resolved' and d.resolved_at is not null and d.resolution is distinct from 'replayed')) \
         and ($9::boolean is null or d.notification_failed = $9)"
    };
}

pub const MATCHES: &str = matching!();

/// The values of a filter.
pub struct Values<'a> {
    filter: &'a LetterFilter,
    reason: Option<&'static str>,
    resolution: Option<&'static str>,
}

impl<'a> Values<'a> {
    pub fn of(filter: &'a LetterFilter) -> Self {
        let (reason, resolution) = (filter.reason.map(DeadReason::as_str), filter.resolution.map(Resolution::as_str));
        Self { filter, reason, resolution }
    }

    pub fn parameters(&self) -> [&(dyn ToSql + Sync); PARAMETERS] {
        let f = self.filter;
        [&f.subscriber, &f.destination, &f.event_type, &f.stream, &f.from, &f.to, &self.reason, &self.resolution, &f.notification_failed]
    }
}

/// Whether the delivery of a letter is in the outbox. Here and below rows are found by their event; *is not distinct from* keeps the
/// planner from the index of a subscriber, under which all its rows are, while it knows nothing of a table that was empty a moment ago.
macro_rules! in_flight {
    () => {
        "exists (select from outbox o where o.event_seq = d.event_seq and o.subscriber is not distinct from d.subscriber \
                 and o.destination is not distinct from d.destination)"
    };
}

/// What a command has to know of a letter.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    pub id: i64,
    pub given: Given,
    pub standing: Standing,
    pub causation_depth: i32,
    pub too_deep: bool,
    pub resolved_at: Option<Timestamp>,
    pub died_at: Timestamp,
}

macro_rules! letter {
    () => {
        concat!(
            "select d.dead_letter_id, d.subscriber, coalesce(e.aggregate_type || '/' || e.aggregate_id || '/' || e.sequence, d.stream_key) as event_id,
       d.destination, d.causation_depth, d.reason = 'causation_too_deep' as too_deep, d.resolved_at, d.died_at,
       case when d.resolved_at is null then 'unresolved' when d.resolution is distinct from 'replayed' then 'resolved'
            when ",
            in_flight!(),
            " then 'in_flight' else 'delivered' end as standing "
        )
    };
}

impl Letter {
    /// From a row of [`ONE`], [`SELECTED`] or [`OLD`].
    pub fn of(row: &Row) -> Self {
        let standing = match row.get(8) {
            "unresolved" => Standing::Unresolved,
            "in_flight" => Standing::InFlight,
            "delivered" => Standing::Delivered,
            _ => Standing::Resolved,
        };
        Self {
            id: row.get(0),
            given: Given { subscriber: row.get(1), event_id: row.get(2), destination: row.get(3) },
            standing,
            causation_depth: row.get(4),
            too_deep: row.get(5),
            resolved_at: row.get(6),
            died_at: row.get(7),
        }
    }
}

/// Keeps a letter as it is until the commit. Its own statement: the next one sees what was committed before the lock was got.
pub const LOCK_ONE: &str = "select from dead_letters where dead_letter_id = $1 for update";
pub const ONE: &str = concat!(letter!(), "from dead_letters d left join events e on e.seq = d.event_seq where d.dead_letter_id = $1");

/// Waits for deliveries that are dying, and keeps others from it: what is read then is all that died until then.
pub const LOCK_ALL: &str = "lock table dead_letters in share mode";
pub const CLOCK: &str = "select clock_timestamp()";

/// What a selection holds now, by subscriber; behind the filter its instant, and the limit for chains of causes that were too
/// long: how many, how many of them can be replayed, and the longest chain that was too long.
pub const SELECTED_COUNTS: &str = concat!(
    "select d.subscriber, count(*) as letters,
            count(*) filter (where d.reason <> 'causation_too_deep' or d.causation_depth <= $11::integer) as replayable,
            max(d.causation_depth) filter (where d.reason = 'causation_too_deep') as deepest
     from dead_letters d left join events e on e.seq = d.event_seq where ",
    matching!(),
    " and d.resolved_at is null and d.died_at <= $10::timestamptz group by 1 order by 1"
);

/// The oldest letters of a selection that can be replayed, locked; behind the same parameters how many at most.
pub const SELECTED: &str = concat!(
    letter!(),
    "from dead_letters d left join events e on e.seq = d.event_seq where ",
    matching!(),
    " and d.resolved_at is null and d.died_at <= $10::timestamptz and (d.reason <> 'causation_too_deep' or d.causation_depth <= $11::integer)
     order by d.dead_letter_id limit $12::bigint for update of d"
);

/// Every letter of a selection; the parameters are the filter and its instant.
pub const SELECTED_IDS: &str = concat!(
    "select d.dead_letter_id from dead_letters d left join events e on e.seq = d.event_seq where ",
    matching!(),
    " and d.resolved_at is null and d.died_at <= $10::timestamptz order by d.dead_letter_id"
);

/// Some letters, locked.
pub const SOME: &str = concat!(
    letter!(),
    "from dead_letters d left join events e on e.seq = d.event_seq where d.dead_letter_id = any ($1) order by d.dead_letter_id for update of d"
);

/// Puts letters into the outbox again, each after its delay. What a person put there by hand stays as it is.
pub const REPLAY: &str = "
with chosen as (
    update dead_letters d set resolved_at = clock_timestamp(), resolution = 'replayed'
    from unnest($1::bigint[], $2::float8[]) c (id, delay_s)
    where d.dead_letter_id = c.id and d.resolved_at is null
    returning d.*, c.delay_s)
insert into outbox
    (outbox_id, epoch, subscriber, event_seq, stream_key, destination, causation_depth, causation_depth_max, due_at)
overriding system value
select coalesce(outbox_id, nextval(pg_get_serial_sequence('outbox', 'outbox_id'))), coalesce(epoch, 0) + 1,
       subscriber, event_seq, stream_key, destination, causation_depth, $3::integer,
       clock_timestamp() + make_interval(secs => delay_s)
from chosen order by dead_letter_id
on conflict do nothing";

pub const RESOLVE: &str =
    "update dead_letters set resolved_at = clock_timestamp(), resolution = 'resolved' where dead_letter_id = $1 and resolved_at is null";

/// Letters that were resolved before an instant, the oldest first.
pub const OLD: &str = concat!(
    letter!(),
    "from dead_letters d left join events e on e.seq = d.event_seq
     where d.resolved_at < $1 and not ",
    in_flight!(),
    " order by d.resolved_at limit $2::bigint for update of d skip locked"
);
pub const SWEEP: &str = "delete from dead_letters where dead_letter_id = any ($1)";

/// Later events of a letter's stream that do not wait for the same subscriber and destination, and did not die on their way. Whether
/// they ever asked for it, the rules know.
pub const LATER: &str = "
select d.dead_letter_id, d.subscriber, d.destination,
       e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload,
       (select l.position from log l where l.seq = e.seq) as position
from unnest($1::bigint[]) c (id) join dead_letters d on d.dead_letter_id = c.id join events x on x.seq = d.event_seq
cross join lateral (
    select l.* from events l
    where l.aggregate_type = x.aggregate_type and l.aggregate_id = x.aggregate_id and l.sequence > x.sequence
    order by l.sequence limit $2::bigint) e
where not exists (select from outbox o where o.event_seq = e.seq and o.subscriber is not distinct from d.subscriber
                    and o.destination is not distinct from d.destination)
  and not exists (select from dead_letters w where w.event_seq = e.seq and w.subscriber is not distinct from d.subscriber
                    and w.destination is not distinct from d.destination and w.resolution is distinct from 'replayed')
order by d.dead_letter_id, e.sequence";

/// From a row of [`LATER`].
#[derive(Clone, Debug, PartialEq)]
pub struct Later {
    pub letter_id: i64,
    pub subscriber: String,
    pub destination: Option<String>,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    pub payload: Value,
    pub position: Option<i64>,
}

impl Later {
    pub fn of(row: &Row) -> Self {
        Self {
            letter_id: row.get(0),
            subscriber: row.get(1),
            destination: row.get(2),
            aggregate_type: row.get(3),
            aggregate_id: row.get(4),
            sequence: row.get(5),
            event_type: row.get(6),
            event_version: row.get(7),
            payload: row.get(8),
            position: row.get(9),
        }
    }
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    [
        ("plans for letters", PLANS),
        ("letter, locked", LOCK_ONE),
        ("letter", ONE),
        ("letters, held", LOCK_ALL),
        ("letters of a selection, counted", SELECTED_COUNTS),
        ("letters of a selection", SELECTED),
        ("letters of a selection, by number", SELECTED_IDS),
        ("some letters", SOME),
        ("letters, replayed", REPLAY),
        ("letter, resolved", RESOLVE),
        ("letters that are old", OLD),
        ("letters, swept", SWEEP),
        ("letters and what was delivered later", LATER),
    ]
    .map(|(name, sql)| (name, sql.to_owned()))
    .into()
}
