//! What an aggregate is, and how its events are declared.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::refusal::Refused;

/// Something that happened, as it is stored for ever.
pub trait Event: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + Sync + 'static {
    /// Every type this enum can be, with the version written today.
    fn types() -> Vec<(&'static str, &'static str)>;
    /// The stored name of this event: past tense, unique over all aggregates.
    fn event_type(&self) -> &'static str;
    /// The version of the payload's shape.
    fn event_version(&self) -> &'static str;
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
    type Refusal: Refused;

    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Refusal>;
    fn evolve(&mut self, event: &Self::Event);
    /// The command to a device that is over with this event: what was kept beside the log to send it is not needed any more.
    fn settles(_event: &Self::Event) -> Option<&str> {
        None
    }
    /// Whether the event counts as a change of the thing itself (`updated_at`).
    fn touches(_event: &Self::Event) -> bool {
        true
    }
}

/// Declares the events of an aggregate, each once: `Variant = "stored_name", "version written today" content`.
///
/// A field that is added later carries `#[serde(default)]`, the event a new minor version and a golden file of it:
/// that is all it takes to read what was stored before. Any other change of shape needs an upcaster in
/// `eventstore::upcast`.
macro_rules! events {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $stored:literal, $version:literal $content:tt),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$about])* #[serde(rename = $stored)] $variant $content),+ }

        impl $crate::domain::Event for $name {
            fn types() -> Vec<(&'static str, &'static str)> {
                vec![$(($stored, $version)),+]
            }
            fn event_type(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $stored),+ }
            }
            fn event_version(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $version),+ }
            }
        }
    };
}
pub(super) use events;
