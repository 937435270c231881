//! An event behind a certificate.

use serde_json::Value;

use crate::domain::Timestamp;
use crate::domain::commitment::Committed;

/// An event at its place, as it is stored and as it is read today.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// None where it was committed a moment ago.
    pub position: Option<i64>,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    /// As Postgres writes them.
    pub payload_text: String,
    pub metadata_text: String,
    pub recorded_at: Timestamp,
    /// The payload in the shape of today.
    pub payload: Value,
    pub metadata: Value,
}

impl Evidence {
    /// `task/17/3`.
    pub fn event_id(&self) -> String {
        format!("{}/{}/{}", self.aggregate_type, self.aggregate_id, self.sequence)
    }

    pub fn is_of(&self, aggregate_type: &str, id: impl ToString) -> bool {
        self.aggregate_type == aggregate_type && self.aggregate_id == id.to_string()
    }

    /// Who did it, by number.
    pub fn actor(&self) -> Option<String> {
        Some(self.metadata.get("actor")?.as_str()?.to_owned())
    }

    /// What it says: the one thing that its payload holds.
    pub fn content(&self) -> &Value {
        let inside = self.payload.as_object().filter(|payload| payload.len() == 1).and_then(|payload| payload.values().next());
        inside.unwrap_or(&self.payload)
    }

    pub fn said<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_value(self.content().get(key)?.clone()).ok()
    }

    pub fn commitment(&self) -> String {
        let committed = Committed {
            aggregate_type: &self.aggregate_type,
            aggregate_id: &self.aggregate_id,
            sequence: self.sequence,
            event_type: &self.event_type,
            event_version: &self.event_version,
            payload_text: &self.payload_text,
            metadata_text: &self.metadata_text,
            recorded_at_us: self.recorded_at.timestamp_micros(),
        };
        committed.commitment()
    }
}
