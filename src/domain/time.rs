//! Time as a value.

/// An instant, always UTC. Read models show whole seconds; events keep microseconds.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
