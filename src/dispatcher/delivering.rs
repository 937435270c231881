//! One claimed row: whether it is delivered at all, and what its outcome means for it.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use super::traced::Traced;
use super::{Delivery, DeliverySettings, Outcome, Subscriber};
use crate::domain::routing::{Destination, SubscriberName};
use crate::eventstore::upcast::{upcast, upcasters};
use crate::outbox::{Claimed, DeadReason, Settlement};
use crate::telemetry::{DELIVERY_ATTEMPTS, DELIVERY_LATENCY_SECONDS, chain};

/// How long a row rests whose destination has just gone.
const NOT_HERE_REST: Duration = Duration::from_millis(250);

/// A row under lease that is being delivered.
pub struct Held {
    pub outbox_id: i64,
    pub epoch: i64,
    attempt: u32,
    age: Duration,
    event: String,
    /// As it is stored.
    place: Option<String>,
    /// What its circuit and its room go by: where rows need no destination, they share one.
    pub target: Option<Destination>,
    settings: DeliverySettings,
    since: Instant,
    traced: Option<Traced>,
}

type Delivering = Pin<Box<dyn Future<Output = Outcome> + Send>>;

pub enum Started {
    Refused(i64, i64, Settlement),
    /// It was over at once, as where nothing has to be waited for.
    Ended(Held, Outcome),
    Goes(Held, Delivering),
}

/// Begins to deliver a row, or says why not.
pub fn start(subscriber: &Arc<dyn Subscriber>, name: SubscriberName, settings: DeliverySettings, row: Claimed) -> Started {
    let event_id = row.event.event_id();
    let traced = Traced::begin((&row.event, &event_id), name.as_str(), row.destination.as_deref(), row.attempt, row.age);
    let refuse = |traced: Option<Traced>, reason, error: &str| {
        if let Some(traced) = traced {
            traced.refuse(error);
        }
        Started::Refused(
            row.outbox_id,
            row.epoch,
            Settlement::NotAttempted { reason, error: error.to_owned(), blocks_stream: settings.block_on_dead },
        )
    };
    if row.expired && !subscriber.wants_expired() {
        return refuse(traced, DeadReason::Expired, "it expired before it could be delivered");
    }
    let depth_max = row.causation_depth_max.unwrap_or(settings.causation_depth_max);
    if row.causation_depth > depth_max {
        let error = format!("its chain of causes is {} links long; {depth_max} are allowed", row.causation_depth);
        return refuse(traced, DeadReason::CausationTooDeep, &error);
    }
    let attempt = row.attempt.unsigned_abs();
    if settings.attempts_max.is_some_and(|max| attempt > max) {
        // The worker that delivered it last ended before it settled it.
        return refuse(traced, DeadReason::AttemptsUsedUp, "its attempts were used up by workers that did not settle them");
    }
    let destination = row.destination.as_deref().map(Destination::parse);
    if destination == Some(None) {
        let error = format!("this version does not know the destination {:?}", row.destination.as_deref().unwrap_or_default());
        return refuse(traced, DeadReason::PermanentError, &error);
    }
    let destination = destination.flatten();
    let trace_parent = traced.as_ref().map(Traced::own);
    let held = Held {
        outbox_id: row.outbox_id,
        epoch: row.epoch,
        attempt,
        age: row.age,
        event: event_id,
        place: row.destination,
        target: destination.clone().filter(|_| name.has_destinations()),
        settings,
        since: Instant::now(),
        traced,
    };
    let mut event = row.event;
    // Rows may have been queued by an older program.
    event.payload = upcast(&upcasters(), &event.event_type, &event.event_version, event.payload);
    let Claimed { attempt, expires_at: deadline, causation_depth, .. } = row;
    let delivery = Delivery { event, attempt, destination, deadline, causation_depth, trace_parent };
    let subscriber = subscriber.clone();
    let mut delivering: Delivering = Box::pin(async move {
        let started = Instant::now();
        let delivered = tokio::time::timeout(settings.timeout, subscriber.deliver(&delivery)).await;
        metrics::histogram!(crate::telemetry::DELIVERY_SECONDS, "subscriber" => name.as_str()).record(started.elapsed());
        match delivered {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Retry { error: format!("no outcome within {:?}", settings.timeout), after: None },
        }
    });
    // A task of its own polls it next, and is told.
    let mut nobody = Context::from_waker(Waker::noop());
    match catch_unwind(AssertUnwindSafe(|| delivering.as_mut().poll(&mut nobody))) {
        Ok(Poll::Ready(outcome)) => Started::Ended(held, outcome),
        Ok(Poll::Pending) => Started::Goes(held, delivering),
        Err(panic) => Started::Ended(held, panicked(name, &text_of(&*panic))),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Panicked(String);

fn text_of(panic: &(dyn Any + Send)) -> Panicked {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    Panicked(text.unwrap_or_else(|| "no text".to_owned()))
}

/// What is made of a delivery that panicked.
pub fn panicked(name: SubscriberName, failure: &(dyn std::error::Error + 'static)) -> Outcome {
    error!(outbox.subscriber = name.as_str(), error = chain(failure), "A delivery to `{}` panicked", name.as_str());
    Outcome::Retry { error: format!("the delivery panicked: {failure}"), after: None }
}

/// What an outcome means for a row and its destination.
pub enum Verdict {
    /// The destination answered, with whatever result.
    Reached(Settlement),
    Down {
        error: String,
    },
}

impl Held {
    /// `random` is uniform in 0..1.
    pub fn judge(&mut self, subscriber: SubscriberName, outcome: Outcome, random: f64) -> Verdict {
        if let Some(traced) = self.traced.take() {
            let is_over = match outcome {
                Outcome::Delivered | Outcome::Unwanted { .. } | Outcome::Permanent { .. } => true,
                Outcome::Retry { .. } => self.used_up(),
                Outcome::NotHere { .. } | Outcome::DestinationDown { .. } | Outcome::Busy { .. } => false,
            };
            traced.end(&outcome, is_over);
        }
        let (name, event, attempt) = (subscriber.as_str(), &self.event, self.attempt);
        let settlement = match outcome {
            Outcome::Delivered => {
                let labels = [("subscriber", name), ("destination", self.target.as_ref().map_or("none", Destination::kind))];
                metrics::histogram!(DELIVERY_LATENCY_SECONDS, &labels).record(self.age + self.since.elapsed());
                metrics::histogram!(DELIVERY_ATTEMPTS, "subscriber" => name).record(attempt);
                debug!(outbox.subscriber = name, event.id = %event, attempt, "Delivered `{event}` to `{name}`");
                Settlement::Delivered
            }
            Outcome::Unwanted { why } => {
                info!(outbox.subscriber = name, event.id = %event, why, "`{event}` is not wanted any more: {why}");
                count(name, "dropped");
                return Verdict::Reached(Settlement::Delivered);
            }
            Outcome::Busy { error } => {
                let place = self.place.as_deref().unwrap_or("the destination");
                info!(outbox.subscriber = name, event.id = %event, error, "For `{name}`, {place} wants nothing for a while");
                Settlement::Release { after: NOT_HERE_REST }
            }
            Outcome::NotHere { error } => {
                debug!(outbox.subscriber = name, event.id = %event, error, "`{event}` cannot be delivered from here now");
                Settlement::Release { after: NOT_HERE_REST }
            }
            Outcome::DestinationDown { error } => {
                count(name, "released");
                return Verdict::Down { error };
            }
            Outcome::Retry { error, after } if !self.used_up() => {
                let delay = self.settings.backoff.delay(attempt, random, after);
                info!(outbox.subscriber = name, event.id = %event, attempt, error, "Could not deliver `{event}` to `{name}`; tries again in {delay:?}");
                Settlement::Retry { error, after: delay }
            }
            Outcome::Retry { error, .. } => self.bury(name, DeadReason::AttemptsUsedUp, error),
            Outcome::Permanent { error } => self.bury(name, DeadReason::PermanentError, error),
        };
        let word = match &settlement {
            Settlement::Delivered => "delivered",
            Settlement::Retry { .. } => "retried",
            Settlement::Release { .. } => "released",
            Settlement::Dead { .. } | Settlement::NotAttempted { .. } => "dead",
        };
        count(name, word);
        Verdict::Reached(settlement)
    }

    pub fn tell_down(&self, subscriber: SubscriberName, error: &str, rest: Duration) {
        let (name, event, place) = (subscriber.as_str(), &self.event, self.place.as_deref().unwrap_or("the destination"));
        warn!(outbox.subscriber = name, event.id = %event, error, "For `{name}`, {place} is down; probes again in {rest:?}");
    }

    fn used_up(&self) -> bool {
        let tried = self.settings.attempts_max.is_some_and(|max| self.attempt >= max);
        let late = self.settings.deadline.is_some_and(|deadline| self.age >= deadline);
        tried || late
    }

    fn bury(&self, name: &'static str, reason: DeadReason, error: String) -> Settlement {
        let event = &self.event;
        metrics::histogram!(DELIVERY_ATTEMPTS, "subscriber" => name).record(self.attempt);
        error!(outbox.subscriber = name, event.id = %event, reason = reason.as_str(), error, "Gave up delivering `{event}` to `{name}`");
        Settlement::Dead { reason, error, blocks_stream: self.settings.block_on_dead }
    }
}

fn count(name: &'static str, outcome: &'static str) {
    metrics::counter!(crate::telemetry::OUTBOX_SETTLED, "subscriber" => name, "outcome" => outcome).increment(1);
}
