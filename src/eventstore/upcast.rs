//! Old shapes of events become new ones when they are read. Only the newest is written.
//!
//! A field that was added needs nothing here: it has a default where the event is declared (`domain::aggregate`).

use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use serde_json::Value;

/// Every upcaster there is, oldest version first: so far no event has changed its shape otherwise than by additions.
pub fn upcasters() -> Vec<Box<dyn EventUpcaster>> {
    vec![]
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

/// What an event says, in the shape of today: the one thing that its payload holds.
pub fn content(upcasters: &[Box<dyn EventUpcaster>], event_type: &str, event_version: &str, payload: Value) -> Value {
    match upcast(upcasters, event_type, event_version, payload) {
        Value::Object(payload) if payload.len() == 1 => payload.into_iter().next().map(|(_, content)| content).unwrap_or_default(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::persist::SemanticVersionEventUpcaster;
    use serde_json::json;

    use super::*;

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
