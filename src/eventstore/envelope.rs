//! What every event carries beside its payload. All values are texts, because that is what
//! `cqrs-es` reads.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use crate::domain::{Actor, Timestamp};
use crate::telemetry::trace::TraceParent;

/// The event that led to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// `task/17/3`.
    pub event_id: String,
    /// Links of the chain so far: an event of a person's or device's own command has depth 0.
    pub depth: i32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    pub actor: Actor,
    /// The same for everything that follows from one request.
    pub correlation_id: Uuid,
    pub cause: Option<Cause>,
    pub request_id: Option<String>,
    pub source_address: Option<String>,
    pub idempotency_key: Option<String>,
    /// The span of the command, for what goes on because of the event.
    pub trace_parent: Option<TraceParent>,
    /// When it was decided, by the clock of the service. `recorded_at` is the database's.
    pub occurred_at: Timestamp,
}

impl Metadata {
    /// How deep in a chain of causes the events of this command are.
    pub fn causation_depth(&self) -> i32 {
        self.cause.as_ref().map_or(0, |cause| cause.depth + 1)
    }

    pub fn to_json(&self) -> Value {
        let mut map = BTreeMap::from([
            ("actor", self.actor.to_string()),
            ("role", self.actor.role().to_owned()),
            ("correlation_id", self.correlation_id.to_string()),
            ("causation_depth", self.causation_depth().to_string()),
            ("occurred_at", self.occurred_at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)),
        ]);
        let optional = [
            ("causation_id", self.cause.as_ref().map(|cause| cause.event_id.clone())),
            ("request_id", self.request_id.clone()),
            ("source_address", self.source_address.clone()),
            ("idempotency_key", self.idempotency_key.clone()),
            ("trace_parent", self.trace_parent.map(|span| span.to_string())),
        ];
        map.extend(optional.into_iter().filter_map(|(key, value)| Some((key, value?))));
        map.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value))).collect()
    }
}
