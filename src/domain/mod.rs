//! The rules of the factory: what may happen, and what follows from what happened.
//!
//! One folder or file per aggregate. `decide` looks at the state and a command and
//! answers with events or with a refusal; `evolve` folds an event into the state and
//! decides nothing. Nothing here waits, stores, logs, or knows what time it is: times,
//! ids and random parts come in with the command.

pub mod batch;
pub mod catalog;
#[cfg(test)]
mod convergence;
pub mod device;
pub mod episode;
pub mod ids;
pub mod literal_secrets;
pub mod order;
pub mod registry;
pub mod routing;
pub mod station;
pub mod storable;
pub mod tally;
pub mod task;
pub mod template;
pub mod token;
#[cfg(test)]
mod verdicts;

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use ids::*;

/// An instant, always UTC. Read models show whole seconds; events keep microseconds.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// Something that happened, as it is stored for ever.
pub trait Event: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + Sync + 'static {
    /// Every type this enum can be, with the version written today.
    fn types() -> Vec<(&'static str, &'static str)>;
    /// The stored name of this event: past tense, unique over all aggregates.
    fn event_type(&self) -> &'static str;
    /// The version of the payload's shape; older ones are upcast when read.
    fn event_version(&self) -> &'static str {
        let name = self.event_type();
        Self::types().into_iter().find_map(|(known, version)| (known == name).then_some(version)).unwrap_or("1.0")
    }
}

/// A consistency boundary: one stream of events, and the rules over it.
pub trait Aggregate: Default + Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The stored name of the kind of stream.
    const TYPE: &'static str;
    /// Changes when stored snapshots of this state can no longer be read.
    const SNAPSHOT_VERSION: i32 = 1;
    /// Events between two snapshots of a stream that grows for ever; none where streams stay short.
    const SNAPSHOT_EVERY: Option<i64> = None;
    type Command: Send;
    type Event: Event;
    type Refusal: std::error::Error + Send + Sync + 'static;

    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Refusal>;
    fn evolve(&mut self, event: &Self::Event);
    /// Whether the event counts as a change of the thing itself (`updated_at`).
    fn touches(_event: &Self::Event) -> bool {
        true
    }
    /// The event as `routing` sees it.
    fn routed(_event: &Self::Event) -> routing::Routed<'_> {
        routing::Routed::Other
    }
}

/// Names one stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub aggregate_type: &'static str,
    pub aggregate_id: String,
}

impl StreamId {
    pub fn of<A: Aggregate>(id: impl ToString) -> Self {
        Self { aggregate_type: A::TYPE, aggregate_id: id.to_string() }
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.aggregate_type, self.aggregate_id)
    }
}

/// Who asked for a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    Admin,
    Collector(CollectorId),
    Device(DeviceId),
    Subscriber(String),
    System,
}

impl Actor {
    pub fn role(&self) -> &'static str {
        match self {
            Actor::Admin => "admin",
            Actor::Collector(_) => "data_collector",
            Actor::Device(_) => "device",
            Actor::Subscriber(_) => "subscriber",
            Actor::System => "system",
        }
    }
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Actor::Admin => f.write_str("user:admin"),
            Actor::Collector(id) => write!(f, "user:collector:{id}"),
            Actor::Device(id) => write!(f, "device:{id}"),
            Actor::Subscriber(name) => write!(f, "subscriber:{name}"),
            Actor::System => f.write_str("system"),
        }
    }
}
