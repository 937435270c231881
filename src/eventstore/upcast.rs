//! Old versions of events become new ones when they are read. Only the newest is written.

use cqrs_es::persist::{EventUpcaster, SemanticVersionEventUpcaster, SerializedEvent};
use serde_json::Value;

/// Every upcaster there is, oldest version first. `docs/events.md` says what each changed; the
/// golden files in `tests/golden` show that what was once stored can still be read.
pub fn upcasters() -> Vec<Box<dyn EventUpcaster>> {
    vec![
        added("device_command_requested", "1.1", &[], "while_held", || Value::Bool(false)),
        added("device_link_opened", "1.1", &[], "process", || Value::Null),
        added("upload_requested_again", "1.1", &[], "at", || Value::Null),
        added("upload_verified", "1.1", &["verified"], "notes", || Value::Array(vec![])),
        added("late_upload_verified", "1.1", &["verified"], "notes", || Value::Array(vec![])),
        added("recorder_token_issued", "1.1", &[], "store_key", || Value::Null),
        added("recorder_token_rotated", "1.1", &[], "store_key", || Value::Null),
        added("device_link_opened", "1.2", &[], "replaces", || Value::Null),
        added("upload_failed", "1.1", &[], "file", || Value::Null),
        added("device_command_settled", "1.1", &["outcome", "unknown"], "cause", || Value::Null),
    ]
}

/// In `version` the event got a field, in the object that `within` its content leads to. What was stored before has the
/// value that `before` says.
fn added(
    event: &'static str,
    version: &'static str,
    within: &'static [&'static str],
    field: &'static str,
    before: fn() -> Value,
) -> Box<dyn EventUpcaster> {
    let upcast = move |mut payload: Value| {
        let content = within.iter().try_fold(payload.get_mut(event), |found, name| Some(found?.get_mut(*name))).flatten();
        if let Some(content) = content.and_then(Value::as_object_mut) {
            content.entry(field).or_insert_with(before);
        }
        payload
    };
    Box::new(SemanticVersionEventUpcaster::new(event, version, Box::new(upcast)))
}

/// Brings one stored payload to the version of today.
pub fn upcast(upcasters: &[Box<dyn EventUpcaster>], event_type: &str, event_version: &str, payload: Value) -> Value {
    if upcasters.is_empty() {
        return payload;
    }
    let event =
        SerializedEvent::new(String::new(), 0, String::new(), event_type.to_owned(), event_version.to_owned(), payload, Value::Null);
    let event = upcasters.iter().fold(event, |event, upcaster| {
        if upcaster.can_upcast(&event.event_type, &event.event_version) { upcaster.upcast(event) } else { event }
    });
    event.payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rename() -> Vec<Box<dyn EventUpcaster>> {
        let step = |from: &'static str, to: &'static str| {
            move |mut payload: Value| {
                if let Some(body) = payload.get_mut("thing_done").and_then(Value::as_object_mut)
                    && let Some(value) = body.remove(from)
                {
                    body.insert(to.into(), value);
                }
                payload
            }
        };
        vec![
            Box::new(SemanticVersionEventUpcaster::new("thing_done", "1.1", Box::new(step("a", "b")))),
            Box::new(SemanticVersionEventUpcaster::new("thing_done", "2.0", Box::new(step("b", "c")))),
        ]
    }

    #[test]
    fn an_old_event_passes_through_every_later_version() {
        let read = |version: &str, body: Value| upcast(&rename(), "thing_done", version, json!({"thing_done": body}));
        assert_eq!(read("1.0", json!({"a": 1})), json!({"thing_done": {"c": 1}}));
        assert_eq!(read("1.1", json!({"b": 1})), json!({"thing_done": {"c": 1}}));
        assert_eq!(read("2.0", json!({"c": 1})), json!({"thing_done": {"c": 1}}));
    }

    #[test]
    fn other_events_are_left_alone() {
        assert_eq!(upcast(&rename(), "other", "1.0", json!({"a": 1})), json!({"a": 1}));
    }
}
