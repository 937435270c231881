//! What stands for an event outside of the database: a hash that any language computes.
//!
//! ```text
//!   SHA-256 of {"aggregate_id":"17","aggregate_type":"task","commitment":"keystone-event-1","event_type":"task_created",
//!               "event_version":"1.0","metadata_sha256":"…","payload_sha256":"…","recorded_at_us":1795765987123456,"sequence":1}
//! ```
//!
//! in the canonical form of RFC 8785, which for such texts and whole numbers is: no blanks, names in order. Payload and metadata are in it as the hashes of
//! their stored texts (`payload::text` in Postgres): a number of nanoseconds is more than a double holds, and so two payloads that differ in it alone would be
//! one to a canonical form of them. And who shows what was committed to shows nothing of what the event says.
//!
//! The chain of the log (`eventstore`) hashes other bytes: it is a notary inside of the database, and stays as it is. `docs/certificates.md` has this form,
//! and `tests/fixtures/commitments.json` examples of it.

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::canonical_json::canonical;

/// Names the form. Another form has another name.
const FORM: &str = "keystone-event-1";

/// What an event is made of, but for its place in the log, which is given later.
#[derive(Clone, Copy, Debug)]
pub struct Committed<'a> {
    pub aggregate_type: &'a str,
    pub aggregate_id: &'a str,
    pub sequence: i64,
    pub event_type: &'a str,
    pub event_version: &'a str,
    /// As Postgres writes the stored payload.
    pub payload_text: &'a str,
    /// As Postgres writes the stored metadata.
    pub metadata_text: &'a str,
    /// Microseconds since 1970, in UTC.
    pub recorded_at_us: i64,
}

impl Committed<'_> {
    /// The bytes that are hashed.
    pub fn preimage(&self) -> String {
        canonical(&json!({
            "commitment": FORM,
            "aggregate_type": self.aggregate_type,
            "aggregate_id": self.aggregate_id,
            "sequence": self.sequence,
            "event_type": self.event_type,
            "event_version": self.event_version,
            "payload_sha256": sha256(self.payload_text),
            "metadata_sha256": sha256(self.metadata_text),
            "recorded_at_us": self.recorded_at_us,
        }))
    }

    /// In hex.
    pub fn commitment(&self) -> String {
        hex::encode(self.digest())
    }

    /// The same in bytes.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.preimage()).into()
    }
}

/// SHA-256 of a text, in hex.
pub fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Written by another program; stored for ever, so they stay what they are.
    const EXAMPLES: &str = include_str!("../../tests/fixtures/commitments.json");

    fn committed(event: &Value) -> Committed<'_> {
        let text = |key: &str| event[key].as_str().expect("a text");
        let number = |key: &str| event[key].as_i64().expect("a number");
        Committed {
            aggregate_type: text("aggregate_type"),
            aggregate_id: text("aggregate_id"),
            sequence: number("sequence"),
            event_type: text("event_type"),
            event_version: text("event_version"),
            payload_text: text("payload_text"),
            metadata_text: text("metadata_text"),
            recorded_at_us: number("recorded_at_us"),
        }
    }

    #[test]
    fn commitments_are_those_that_another_program_computed() {
        let examples: Vec<Value> = serde_json::from_str(EXAMPLES).expect("examples");
        assert!(examples.len() >= 4);
        for example in &examples {
            let event = committed(&example["event"]);
            assert_eq!(event.preimage(), example["preimage"].as_str().expect("a text"));
            assert_eq!(event.commitment(), example["commitment"].as_str().expect("a text"));
        }
    }

    #[test]
    fn each_part_of_an_event_is_in_its_commitment() {
        let event = Committed {
            aggregate_type: "task",
            aggregate_id: "17",
            sequence: 3,
            event_type: "recording_started",
            event_version: "1.0",
            payload_text: r#"{"recording_started": {"at_ns": 1795765987123456789}}"#,
            metadata_text: r#"{"actor": "user:admin"}"#,
            recorded_at_us: 1_795_765_987_123_456,
        };
        let others = [
            Committed { aggregate_type: "episode", ..event },
            Committed { aggregate_id: "18", ..event },
            Committed { sequence: 4, ..event },
            Committed { event_type: "recording_finished", ..event },
            Committed { event_version: "1.1", ..event },
            // The same number to a double.
            Committed { payload_text: r#"{"recording_started": {"at_ns": 1795765987123456790}}"#, ..event },
            Committed { metadata_text: r#"{"actor": "user:admin2"}"#, ..event },
            Committed { recorded_at_us: 1_795_765_987_123_457, ..event },
        ];
        let all: std::collections::BTreeSet<String> = others.iter().chain([&event]).map(Committed::commitment).collect();
        assert_eq!(all.len(), others.len() + 1);
    }
}
