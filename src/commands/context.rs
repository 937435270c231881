//! Who asks for a change, and on whose behalf.

use serde_json::Value;
use uuid::Uuid;

use super::chance;
use super::idempotency::IdempotencyKey;
use crate::domain::{Actor, DeviceId, Scope, Timestamp};
use crate::eventstore::{Cause, Metadata};
use crate::telemetry::trace::TraceParent;

#[derive(Clone, Debug)]
pub struct Context {
    pub actor: Actor,
    /// What the command may speak of. Devices, subscribers and the system change what they are told to.
    pub scope: Scope,
    pub correlation_id: Uuid,
    pub cause: Option<Cause>,
    pub request_id: Option<String>,
    pub source_address: Option<String>,
    pub idempotency: Option<IdempotencyKey>,
    /// The span that it belongs to. None: a trace begins.
    pub trace_parent: Option<TraceParent>,
}

impl Context {
    pub fn of(actor: Actor) -> Self {
        Self {
            actor,
            scope: Scope::Everything,
            correlation_id: chance::id(),
            cause: None,
            request_id: None,
            source_address: None,
            idempotency: None,
            trace_parent: None,
        }
    }

    pub fn system() -> Self {
        Self::of(Actor::System)
    }

    pub fn device(device: &DeviceId, source_address: Option<String>) -> Self {
        Self { source_address, ..Self::of(Actor::Device(device.clone())) }
    }

    /// Because of an event with this metadata: what follows from it belongs to the same request.
    pub fn caused(actor: Actor, cause: Cause, metadata: &Value) -> Self {
        let context = Self::of(actor);
        let correlation_id = metadata.get("correlation_id").and_then(Value::as_str).and_then(|id| Uuid::parse_str(id).ok());
        Self { correlation_id: correlation_id.unwrap_or(context.correlation_id), cause: Some(cause), ..context }
    }

    pub(super) fn metadata(&self, occurred_at: Timestamp) -> Metadata {
        Metadata {
            actor: self.actor.clone(),
            correlation_id: self.correlation_id,
            cause: self.cause.clone(),
            request_id: self.request_id.clone(),
            source_address: self.source_address.clone(),
            idempotency_key: self.idempotency.as_ref().map(|key| key.key.clone()),
            trace_parent: self.trace_parent,
            occurred_at,
        }
    }
}
