//! Claims outbox rows, has them delivered, settles them.
//!
//! One worker per subscriber and process; any number of processes. Circuits, concurrency and order are
//! per destination: one that is down never stops another. A worker is quick by wakes
//! and right by polling. It claims a batch under a lease, delivers outside any transaction with
//! bounded concurrency, extends the leases of what takes long, and settles in batches. A
//! worker that dies leaves rows whose lease ends; an orderly stop gives its rows back at once,
//! without counting the attempt.
//!
//! Delivery is at least once. What makes a repeat harmless stands in each subscriber's module.
//!
//! Never here: a concrete subscriber, and anything about what an event means.

mod circuit;
mod delivering;
mod neighbours;
mod pace;
mod targets;
mod traced;
mod worker;

use std::time::Duration;

use async_trait::async_trait;

pub use neighbours::hear_and_tell;
pub use worker::{Worker, run};

use crate::domain::Timestamp;
use crate::domain::routing::{Destination, SubscriberName};
pub use crate::eventstore::StoredEvent;
pub use crate::outbox::Backoff;
use crate::telemetry::trace::TraceParent;

/// One event for one subscriber.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub event: StoredEvent,
    /// 1 = the first.
    pub attempt: i32,
    pub destination: Option<Destination>,
    pub deadline: Option<Timestamp>,
    pub causation_depth: i32,
    /// The span of this attempt, where the event is of a trace.
    pub trace_parent: Option<TraceParent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    /// Try again later; not sooner than `after`, if the destination named a wait.
    Retry {
        error: String,
        after: Option<Duration>,
    },
    /// Trying again cannot help.
    Permanent {
        error: String,
    },
    /// Whom it is for has gone from this process since the row was claimed, or takes nothing at the moment. No attempt
    /// is counted; it is claimed again where the destination can be reached.
    NotHere {
        error: String,
    },
    /// Nothing can be delivered to the destination at the moment. No attempt is counted, and one delivery at a
    /// time probes until it works again.
    DestinationDown {
        error: String,
    },
    /// The destination is there, and wants nothing for a while. Until when is the subscriber's to keep, and to say by
    /// [`Subscriber::reaches`] in every process. No attempt is counted.
    Busy {
        error: String,
    },
    /// Whom it was for wants it no more: the row goes, and nobody has to know.
    Unwanted {
        why: String,
    },
}

#[async_trait]
pub trait Subscriber: Send + Sync + 'static {
    fn name(&self) -> SubscriberName;

    async fn deliver(&self, delivery: &Delivery) -> Outcome;

    /// Whether a row that has expired is delivered too, because something has to be said of it.
    /// Otherwise it becomes a dead letter.
    fn wants_expired(&self) -> bool {
        false
    }

    /// Called before rows are claimed: where something waits. Whatever [`Self::reaches`] and [`Self::settings_of`] have to know of
    /// these destinations is looked up here.
    async fn look_up(&self, _waiting: &[Destination]) -> anyhow::Result<()> {
        Ok(())
    }

    /// Whether this process can deliver there; rows for other destinations are left to others.
    fn reaches(&self, _destination: &Destination) -> bool {
        true
    }

    /// How deliveries there are made, where it is not as all of this subscriber.
    fn settings_of(&self, _destination: &Destination, all: DeliverySettings) -> DeliverySettings {
        all
    }
}

/// How a subscriber's rows are worked on. All values come from the configuration, or from what a destination asks for.
#[derive(Clone, Copy, Debug)]
pub struct DeliverySettings {
    /// Deliveries at the same time to one destination.
    pub concurrency: usize,
    /// Deliveries at the same time to all destinations together; that of the subscriber counts.
    pub concurrency_total: usize,
    pub attempts_max: Option<u32>,
    /// Age at which a row is given up.
    pub deadline: Option<Duration>,
    pub backoff: Backoff,
    pub lease: Duration,
    pub timeout: Duration,
    /// What goes to one destination goes in the order of its stream.
    pub per_stream: bool,
    pub block_on_dead: bool,
    pub poll: Duration,
    /// Longest chain of event → command → event that is still believed to be meant.
    pub causation_depth_max: i32,
}
