//! Who asks, where a subscriber sends a command because of an event.

use crate::commands::{Cause, Context};
use crate::dispatcher::Delivery;
use crate::domain::Actor;
use crate::domain::routing::SubscriberName;

pub(super) fn context_of(name: SubscriberName, delivery: &Delivery) -> Context {
    let event = &delivery.event;
    let cause = Cause { event_id: event.event_id(), depth: delivery.causation_depth };
    let actor = Actor::Subscriber(name.as_str().to_owned());
    Context { trace_parent: delivery.trace_parent, ..Context::caused(actor, cause, &event.metadata) }
}
