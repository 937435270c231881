//! What an event is found by: a short list of texts, each kept as a number.
//!
//! `docs/event-log.md` says which. A term is stored as the first 8 bytes of its SHA-256, so that the one index of
//! `log_terms` is narrow, and so that any program can compute it.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::StoredEvent;

/// Values longer than this are not found.
pub const VALUE_CHARS_MAX: usize = 200;
/// Deeper than this nothing is found.
const DEPTH_MAX: usize = 3;
/// More terms an event does not have: one that names thousands of things is not found by the last of them.
const TERMS_MAX: usize = 1_000;

/// Keys in payloads whose values are found, beside ids.
const KEYS: &[&str] = &["object_key", "sha256", "mcap_path", "action", "outcome", "status", "label", "code", "kind"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub i64);

impl Term {
    fn of(kind: &str, value: &str) -> Self {
        let digest = Sha256::digest(format!("{kind}:{value}"));
        let first = digest.first_chunk().copied().unwrap_or_default();
        Self(i64::from_be_bytes(first))
    }

    pub fn category(category: &str) -> Self {
        Self::of("category", category)
    }

    pub fn stream(category: &str, id: &str) -> Self {
        Self::of("stream", &format!("{category}/{id}"))
    }

    pub fn event_type(event_type: &str) -> Self {
        Self::of("type", event_type)
    }

    pub fn actor(actor: &str) -> Self {
        Self::of("actor", actor)
    }

    pub fn correlation(id: &str) -> Self {
        Self::of("correlation", id)
    }

    /// What followed from an event.
    pub fn cause(event_id: &str) -> Self {
        Self::of("cause", event_id)
    }

    /// A value under a key of the payload.
    pub fn content(key: &str, value: &str) -> Self {
        Self::of("content", &format!("{key}:{value}"))
    }
}

/// Every term of an event, each once.
pub fn terms_of(event: &StoredEvent) -> Vec<Term> {
    let metadata = |key: &str| event.metadata.get(key).and_then(Value::as_str).filter(|value| !value.is_empty());
    let mut terms = vec![
        Term::category(&event.aggregate_type),
        Term::stream(&event.aggregate_type, &event.aggregate_id),
        Term::event_type(&event.event_type),
    ];
    terms.extend(metadata("actor").map(Term::actor));
    terms.extend(metadata("correlation_id").map(Term::correlation));
    terms.extend(metadata("causation_id").map(Term::cause));
    of_content(event.content(), DEPTH_MAX, &mut terms);
    terms.sort_unstable();
    terms.dedup();
    terms
}

fn of_content(content: &Value, depth: usize, terms: &mut Vec<Term>) {
    let (Value::Object(fields), 1..) = (content, depth) else { return };
    for (key, value) in fields {
        let values = match value {
            Value::Array(items) => &items[..items.len().min(TERMS_MAX)],
            one => std::slice::from_ref(one),
        };
        for value in values {
            terms.extend(named(key).zip(text_of(value)).map(|(key, value)| Term::content(key, &value)));
            of_content(value, depth - 1, terms);
        }
        if terms.len() >= TERMS_MAX {
            return;
        }
    }
}

/// The name under which values of a key are found; `task_ids` are several `task_id`, and so is what batches name theirs by.
fn named(key: &str) -> Option<&str> {
    if ["added", "removed", "cancelled_tasks"].contains(&key) {
        return Some("task_id");
    }
    let one = key.strip_suffix('s').filter(|one| one.ends_with("_id"));
    one.or_else(|| (key == "id" || key.ends_with("_id") || KEYS.contains(&key)).then_some(key))
}

/// Whether values of this key are found.
pub fn is_found_by(key: &str) -> bool {
    named(key) == Some(key)
}

fn text_of(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty() && text.chars().count() <= VALUE_CHARS_MAX).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    fn event(payload: Value, metadata: Value) -> StoredEvent {
        StoredEvent {
            aggregate_type: "batch".into(),
            aggregate_id: "4".into(),
            sequence: 2,
            event_type: "batch_tasks_settled".into(),
            event_version: "1.0".into(),
            payload,
            metadata,
            seq: 9,
            recorded_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn an_event_is_found_by_its_stream_its_author_and_what_it_names() {
        let payload = json!({ "batch_tasks_settled": {
            "task_ids": [17, "18", null, { "id": 19 }], "removed": [20, { "task_id": 21 }], "outcome": "completed", "name": "nobody's business", "count": 2,
            "report": { "object_key": "a/b.mcap", "size_bytes": 3, "seen": { "task_id": "task_1", "deeper": { "task_id": "too deep" } } },
            "object_key": "x".repeat(VALUE_CHARS_MAX + 1), "sop_id": "",
        }});
        let metadata = json!({ "actor": "user:admin", "correlation_id": "c", "causation_id": "order/2/3", "request_id": "r" });
        let expected = BTreeSet::from([
            Term::category("batch"),
            Term::stream("batch", "4"),
            Term::event_type("batch_tasks_settled"),
            Term::actor("user:admin"),
            Term::correlation("c"),
            Term::cause("order/2/3"),
            Term::content("task_id", "17"),
            Term::content("task_id", "18"),
            Term::content("id", "19"),
            Term::content("task_id", "20"),
            Term::content("task_id", "21"),
            Term::content("outcome", "completed"),
            Term::content("object_key", "a/b.mcap"),
            Term::content("task_id", "task_1"),
        ]);
        let found = terms_of(&event(payload, metadata));
        assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), expected);
        assert_eq!(found.len(), expected.len(), "each once");
    }

    /// Stored for ever: another number would find nothing that was noted before.
    #[test]
    fn a_term_has_the_number_it_always_had() {
        assert_eq!(
            Term::event_type("task_created"),
            Term(i64::from_be_bytes(Sha256::digest("type:task_created")[..8].try_into().unwrap()))
        );
        assert_eq!(Term::stream("task", "17").0, TASK_17);
    }

    /// `printf stream:task/17 | sha256sum`
    const TASK_17: i64 = 6_535_929_939_565_550_161;

    #[test]
    fn odd_payloads_have_the_terms_of_their_envelope() {
        let many: Vec<usize> = (0..10 * TERMS_MAX).collect();
        for payload in [json!(null), json!([1]), json!({}), json!({ "a": 1, "b": 2 }), json!({ "batch_tasks_settled": 1 })] {
            assert_eq!(terms_of(&event(payload, json!({}))).len(), 3);
        }
        assert!(terms_of(&event(json!({ "b": { "task_ids": many } }), json!({}))).len() <= TERMS_MAX + 3);
    }
}
