//! Subscriptions that are polled: the program asks for what comes, and says up to where it has it.
//!
//! Nothing waits for it in the outbox: its cursor stands in the log, and moves when the program says so. What was not acknowledged is
//! told again, so a program that dies loses nothing.

use super::{CommandError, Commands};
use crate::domain::pattern;
use crate::domain::subscription::{SubscriptionEvent, scope_of};
use crate::domain::{Event as _, Scope, SubscriptionId};
use crate::eventstore::StoredEvent;
use crate::eventstore::log::of_types;
use crate::eventstore::transaction::stored_event;
use crate::eventstore::upcast::{upcast, upcasters};
use crate::pg::plans::PLANS;
use crate::projections::homes::homes_of;

/// Places of the log that one look goes over, and how many looks there are for one question.
const WINDOW: i64 = 2_000;
const WINDOWS: usize = 5;

const ASKED: &str = "select s.event_types, s.factory_id, s.organization_id, s.paused is not null, c.position,
        coalesce((select l.position from log l order by l.position desc limit 1), 0)
    from subscriptions s join subscription_cursors c on c.subscription_id = s.id and c.until is null
    where s.id = $1 and s.ended is null and s.origin = 'polled'";
const ACKNOWLEDGED: &str = "update subscription_cursors c set position = greatest(c.position, $2) from subscriptions s
    where s.id = c.subscription_id and c.until is null and s.id = $1 and s.origin = 'polled'
      and $2 <= coalesce((select l.position from log l order by l.position desc limit 1), 0)
    returning c.position";
const SECRETS: &str =
    "select secret from webhook_secrets where subscription_id = $1 and (expires_at is null or expires_at > clock_timestamp())";

/// What a program is given.
#[derive(Clone, Debug)]
pub struct Given {
    /// With their positions, in the order of the log.
    pub events: Vec<(i64, StoredEvent)>,
    /// Up to here everything was looked at: to be acknowledged.
    pub next: i64,
    /// The log goes on behind it.
    pub more: bool,
}

/// Why nothing is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotGiven {
    /// There is no subscription of this id that is polled.
    Unknown,
    Paused,
    /// It was asked for what follows a place that the log does not have: its last one is this.
    Beyond(i64),
}

impl Commands {
    /// What follows its cursor, or another place of the log.
    pub async fn poll(&self, id: SubscriptionId, after: Option<i64>, limit: i64) -> Result<Result<Given, NotGiven>, CommandError> {
        let mut tx = self.store.begin().await?;
        // However long the log is, its next places are found by their index.
        let rows = tx.query_all(&[(PLANS, vec![]), (ASKED, vec![&id])]).await?.pop().unwrap_or_default();
        let Some(row) = rows.first() else {
            tx.roll_back().await?;
            return Ok(Err(NotGiven::Unknown));
        };
        let (patterns, scope): (Vec<String>, Scope) = (row.get(0), scope_of(row.get(1), row.get(2)));
        let (paused, cursor, head): (bool, i64, i64) = (row.get(3), row.get(4), row.get(5));
        if paused {
            tx.roll_back().await?;
            return Ok(Err(NotGiven::Paused));
        }
        if after.is_some_and(|after| after > head) {
            tx.roll_back().await?;
            return Ok(Err(NotGiven::Beyond(head)));
        }
        // Of a test only its own receiver is told.
        let test = SubscriptionEvent::SubscriptionTestRequested {}.event_type();
        let types: Vec<&str> = patterns.iter().flat_map(|of| pattern::types_of(of)).filter(|of| *of != test).collect();
        let (mut events, mut next) = (vec![], after.unwrap_or(cursor).min(head));
        let of_types = of_types();
        for _ in 0..WINDOWS {
            if next >= head {
                break;
            }
            let upto = next.saturating_add(WINDOW).min(head);
            let left = limit.saturating_sub(i64::try_from(events.len()).unwrap_or(limit));
            let rows = tx.query(&of_types, &[&next, &upto, &types, &left]).await?;
            let full = i64::try_from(rows.len()).is_ok_and(|found| found >= left);
            next = rows.last().filter(|_| full).map_or(upto, |row| row.get(0));
            let found: Vec<(i64, StoredEvent)> = rows.iter().map(|row| (row.get(0), stored_event(row, 1))).collect();
            if scope == Scope::Everything {
                events.extend(found);
            } else {
                let (kinds, ids): (Vec<&str>, Vec<&str>) =
                    found.iter().map(|(_, event)| (event.aggregate_type.as_str(), event.aggregate_id.as_str())).unzip();
                let homes = homes_of(&mut tx, &kinds, &ids).await?;
                let own = homes.into_iter().map(|home| home.is_some_and(|(factory, organization)| scope.contains(factory, organization)));
                let own: Vec<bool> = own.collect();
                events.extend(found.into_iter().zip(own).filter(|(_, own)| *own).map(|(event, _)| event));
            }
            if i64::try_from(events.len()).is_ok_and(|found| found >= limit) {
                break;
            }
        }
        tx.roll_back().await?;
        let upcasters = upcasters();
        for (_, event) in &mut events {
            event.payload = upcast(&upcasters, &event.event_type, &event.event_version, event.payload.take());
        }
        Ok(Ok(Given { events, next, more: next < head }))
    }

    /// The program has everything up to a position. Answers up to where it has: nothing goes back. None where there is no such
    /// subscription, or no such position.
    pub async fn acknowledge(&self, id: SubscriptionId, position: i64) -> Result<Option<i64>, CommandError> {
        let rows = self.beside_the_log(ACKNOWLEDGED, &[&id, &position]).await?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    /// What a program shows that asks for a subscription.
    pub async fn secrets_of(&self, id: SubscriptionId) -> Result<Vec<String>, CommandError> {
        let rows = self.beside_the_log(SECRETS, &[&id]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    [("subscription that is polled", ASKED), ("subscription, acknowledged", ACKNOWLEDGED), ("secrets of a subscription", SECRETS)]
        .map(|(name, sql)| (name, sql.to_owned()))
        .into_iter()
        .chain([("events of some types", of_types())])
        .collect()
}
