//! The spans of a delivery: one from the event to its end, and one for each attempt. The first is shared by all processes that try,
//! and the one that ends the delivery tells of it.

use std::time::Duration;

use super::Outcome;
use crate::eventstore::StoredEvent;
use crate::telemetry::trace::{Span, SpanKind, TraceParent};

pub struct Traced {
    /// None once it has ended.
    delivery: Option<Span>,
    attempt: Span,
}

impl Traced {
    /// None where the event is of no trace. It was stored so long `ago`.
    pub fn begin(
        (event, event_id): (&StoredEvent, &str),
        subscriber: &'static str,
        place: Option<&str>,
        attempt: i32,
        ago: Duration,
    ) -> Option<Self> {
        let behind = TraceParent::behind(&event.metadata)?;
        let parts = [event_id, subscriber, place.unwrap_or_default()];
        let mut delivery = Span::shared(SpanKind::Consumer, behind, &parts, || format!("deliver {subscriber}"), ago);
        let mut tried = Span::begin(SpanKind::Client, Some(delivery.own()), || format!("attempt {subscriber}"));
        tried.set("keystone.attempt", i64::from(attempt));
        for span in [&mut delivery, &mut tried] {
            span.set("keystone.subscriber", subscriber);
            span.set("keystone.event_id", event_id);
            span.set("keystone.event_type", event.event_type.as_str());
            if let Some(place) = place {
                span.set("keystone.destination", place);
            }
        }
        Some(Self { delivery: Some(delivery), attempt: tried })
    }

    /// The attempt, for what it leads to.
    pub fn own(&self) -> TraceParent {
        self.attempt.own()
    }

    /// The attempt is over; the delivery, where it ends with it.
    pub fn end(mut self, outcome: &Outcome, is_over: bool) {
        let (word, error) = match outcome {
            Outcome::Delivered => ("delivered", None),
            Outcome::Unwanted { .. } => ("unwanted", None),
            Outcome::Retry { error, .. } => ("failed", Some(error)),
            Outcome::Permanent { error } => ("failed_for_good", Some(error)),
            Outcome::NotHere { error } => ("not_here", Some(error)),
            Outcome::DestinationDown { error } => ("destination_down", Some(error)),
            Outcome::Busy { error } => ("busy", Some(error)),
        };
        self.attempt.set("keystone.outcome", word);
        if let Some(error) = error {
            self.attempt.failed(error);
        }
        if let Some(mut delivery) = self.delivery.take_if(|_| is_over) {
            delivery.set("keystone.outcome", if error.is_some() { "dead" } else { word });
            if let Some(error) = error {
                delivery.failed(error);
            }
        }
    }

    /// It ends without an attempt.
    pub fn refuse(mut self, why: &str) {
        self.attempt.forget();
        if let Some(mut delivery) = self.delivery.take() {
            delivery.set("keystone.outcome", "dead");
            delivery.failed(why);
        }
    }
}

impl Drop for Traced {
    /// What goes on later is told of when it ends.
    fn drop(&mut self) {
        if let Some(delivery) = &mut self.delivery {
            delivery.forget();
        }
    }
}
