//! Who asks, where a subscriber sends a command because of an event.

use serde_json::Value;
use uuid::Uuid;

use crate::commands::{Cause, Context};
use crate::dispatcher::Delivery;
use crate::domain::routing::SubscriberName;

pub(super) fn context_of(name: SubscriberName, delivery: &Delivery) -> Context {
    let event = &delivery.event;
    let cause = Cause { event_id: event.event_id(), depth: delivery.causation_depth };
    let correlation = event.metadata.get("correlation_id").and_then(Value::as_str).and_then(|id| Uuid::parse_str(id).ok());
    Context { trace_parent: delivery.trace_parent, ..Context::subscriber(name.as_str(), correlation, cause) }
}
