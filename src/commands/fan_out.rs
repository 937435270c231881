//! From the log to the outbox: behind the sequencer, makes the rows of subscriptions that people store. Those that are polled have none.
//!
//! A step takes the lowest cursor, reads what follows in the log, makes a row for each event that a subscription wants, and moves
//! the cursors, in one transaction. Any process may do it, one at a time. So each place of the log is looked at once for each
//! cursor, and what a crash takes back is done again as a whole.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;

use super::{CommandError, Commands, Context};
use crate::domain::routing::{Destination, SubscriberName};
use crate::domain::subscription::{POLLED, SubscriptionEvent, scope_of, wants};
use crate::domain::{Event as _, FactoryId, OrganizationId, Scope, SubscriptionId};
use crate::eventstore::Transaction;
use crate::outbox::subscribed::{AGAIN, ENOUGH_WAITS, QUEUE};
use crate::pg::plans::pins;
use crate::projections::homes::{StreamHome, homes_of};

/// Names the lock of the transaction that fans out ("keystone fanout").
const LOCK: i64 = 0x6b65_7973_666e_6f75;
/// Events of one step.
const STEP: i64 = 500;
/// Rows that wait for one subscription before its cursor stands still: minutes of work for a receiver that works, and a table that
/// stays small for one that does not.
pub const WAITING_MAX: i64 = 1_000;

/// Takes the lock, and how the statements are planned: as those of the outbox. What a crash takes back is done again.
const BEGIN: &str =
    concat!("select pg_try_advisory_xact_lock($1) as ours, set_config('synchronous_commit', 'off', true) as synchronous, ", pins!());

fn cursors() -> String {
    format!(
        "select c.cursor_id, c.subscription_id, c.position, c.until, s.event_types, s.factory_id, s.organization_id
         from subscription_cursors c join subscriptions s on s.id = c.subscription_id
         where (select pg_try_advisory_xact_lock($1)) and s.paused is null and s.ended is null and s.origin <> '{POLLED}' and not (c.enough_waits and {ENOUGH_WAITS})
         order by c.position, c.cursor_id"
    )
}

/// What follows the lowest of the same cursors.
fn window() -> String {
    format!(
        "select l.position, l.seq, e.aggregate_type, e.aggregate_id, e.event_type, coalesce((e.metadata ->> 'causation_depth')::integer, 0)
         from log l join events e on e.seq = l.seq
         where l.position > (select min(c.position) from subscription_cursors c join subscriptions s on s.id = c.subscription_id
                             where (select pg_try_advisory_xact_lock($1)) and s.paused is null and s.ended is null and s.origin <> '{POLLED}' and not (c.enough_waits and {ENOUGH_WAITS}))
         order by l.position limit $3::bigint"
    )
}

/// Of a cursor for which rows were made it is looked whether enough wait now.
fn moved() -> String {
    format!(
        "update subscription_cursors c set position = m.position, enough_waits = m.made and {ENOUGH_WAITS}
         from unnest($1::bigint[], $3::bigint[], $4::boolean[]) m (cursor_id, position, made)
         where c.cursor_id = m.cursor_id and (c.until is null or m.position < c.until)"
    )
}
const OVER: &str = "delete from subscription_cursors c using unnest($1::bigint[], $2::bigint[]) m (cursor_id, position)
    where c.cursor_id = m.cursor_id and c.until <= m.position";

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FannedOut {
    pub looked_at: usize,
    pub queued: usize,
    /// There may be more to look at.
    pub more: bool,
}

struct Cursor {
    id: i64,
    destination: String,
    position: i64,
    until: Option<i64>,
    event_types: Vec<String>,
    scope: Scope,
}

impl Cursor {
    fn of(row: &Row) -> Self {
        let (factory, organization): (Option<FactoryId>, Option<OrganizationId>) = (row.get(5), row.get(6));
        Self {
            id: row.get(0),
            destination: Destination::Webhook(SubscriptionId(row.get(1))).to_string(),
            position: row.get(2),
            until: row.get(3),
            event_types: row.get(4),
            scope: scope_of(factory, organization),
        }
    }

    /// Whether it is told of an event, whosever that is.
    fn takes(&self, event: &Logged) -> bool {
        let ahead = event.position > self.position && self.until.is_none_or(|until| event.position <= until);
        // A test has its row since it was asked for.
        let test = SubscriptionEvent::SubscriptionTestRequested {}.event_type();
        ahead && event.event_type != test && wants(&self.event_types, &event.event_type)
    }

    fn contains(&self, home: &StreamHome) -> bool {
        match (&self.scope, home) {
            (Scope::Everything, _) => true,
            (scope, Some((factory, organization))) => scope.contains(*factory, *organization),
            (_, None) => false,
        }
    }
}

/// What has to be known of an event to tell whom it is for.
struct Logged {
    position: i64,
    seq: i64,
    kind: String,
    id: String,
    event_type: String,
    causation_depth: i32,
}

impl Logged {
    fn of(row: &Row) -> Self {
        Self {
            position: row.get(0),
            seq: row.get(1),
            kind: row.get(2),
            id: row.get(3),
            event_type: row.get(4),
            causation_depth: row.get(5),
        }
    }
}

impl Commands {
    /// One step. `None` where another process does it. Two round trips, one more where a subscription has a scope.
    pub async fn fan_out(&self) -> Result<Option<FannedOut>, CommandError> {
        let mut tx = self.store.begin().await?;
        let (cursors, window) = (cursors(), window());
        let mut answers = tx
            .query_all(&[(BEGIN, vec![&LOCK]), (&cursors, vec![&LOCK, &WAITING_MAX]), (&window, vec![&LOCK, &WAITING_MAX, &STEP])])
            .await?
            .into_iter();
        let ours = answers.next().is_some_and(|rows| rows.first().is_some_and(|row| row.get(0)));
        let mut cursors: Vec<Cursor> = answers.next().unwrap_or_default().iter().map(Cursor::of).collect();
        let window: Vec<Logged> = answers.next().unwrap_or_default().iter().map(Logged::of).collect();
        let ends = window.first().zip(window.last()).map(|(first, last)| (first.position, last.position));
        let Some((first, last)) = ends.filter(|_| ours) else {
            tx.roll_back().await?;
            return Ok(ours.then(FannedOut::default));
        };
        // One that was paused between the two statements does not skip what lies before the window.
        cursors.retain(|cursor| cursor.position >= first - 1);
        let homes = homes(&mut tx, &cursors, &window).await?;
        let (mut seqs, mut streams, mut destinations, mut depths) = (vec![], vec![], vec![], vec![]);
        let (mut seqs_again, mut destinations_again) = (vec![], vec![]);
        for event in &window {
            let home = homes.get(&(event.kind.as_str(), event.id.as_str())).copied().flatten();
            for cursor in cursors.iter().filter(|cursor| cursor.takes(event) && cursor.contains(&home)) {
                seqs.push(event.seq);
                streams.push(format!("{}/{}", event.kind, event.id));
                destinations.push(cursor.destination.as_str());
                depths.push(event.causation_depth);
                if cursor.until.is_some() {
                    seqs_again.push(event.seq);
                    destinations_again.push(cursor.destination.as_str());
                }
            }
        }
        let told: BTreeSet<&str> = destinations.iter().copied().collect();
        let (mut ids, mut positions, mut made) = (vec![], vec![], vec![]);
        for cursor in cursors.iter().filter(|cursor| cursor.position < last) {
            ids.push(cursor.id);
            positions.push(cursor.until.map_or(last, |until| until.min(last)));
            made.push(told.contains(cursor.destination.as_str()));
        }
        let moved = moved();
        let mut also: Vec<crate::eventstore::transaction::Query<'_>> = vec![];
        if !seqs_again.is_empty() {
            also.push((AGAIN, vec![&seqs_again, &destinations_again]));
        }
        if !seqs.is_empty() {
            also.push((QUEUE, vec![&seqs, &streams, &destinations, &depths]));
            tx.wake(SubscriberName::Webhooks);
        }
        also.push((&moved, vec![&ids, &WAITING_MAX, &positions, &made]));
        also.push((OVER, vec![&ids, &positions]));
        let metadata = Context::system().metadata(self.now());
        tx.commit(&[], &metadata, &also).await?;
        let more = i64::try_from(window.len()).unwrap_or(STEP) >= STEP;
        Ok(Some(FannedOut { looked_at: window.len(), queued: seqs.len(), more }))
    }
}

/// Where the streams belong that a subscription with a scope may be told of.
async fn homes<'a>(
    tx: &mut Transaction,
    cursors: &[Cursor],
    window: &'a [Logged],
) -> Result<BTreeMap<(&'a str, &'a str), StreamHome>, CommandError> {
    let narrow: Vec<&Cursor> = cursors.iter().filter(|cursor| cursor.scope != Scope::Everything).collect();
    let asked = window.iter().filter(|event| narrow.iter().any(|cursor| cursor.takes(event)));
    let streams: BTreeMap<(&str, &str), ()> = asked.map(|event| ((event.kind.as_str(), event.id.as_str()), ())).collect();
    if streams.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (kinds, ids): (Vec<&str>, Vec<&str>) = streams.keys().copied().unzip();
    let homes = homes_of(tx, &kinds, &ids).await?;
    Ok(streams.into_keys().zip(homes).collect())
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("fan out, begun", BEGIN.to_owned()),
        ("cursors of subscriptions", cursors()),
        ("what follows the lowest cursor", window()),
        ("cursors of subscriptions, moved", moved()),
        ("replays of subscriptions, over", OVER.to_owned()),
    ]
}
