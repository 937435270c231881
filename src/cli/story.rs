//! Events for people: what happened, with who did it, why, and when.

use serde_json::{Value, json};

use crate::eventstore::story::Told;
use crate::http::logged::LoggedEvent;
use crate::projections::reads::events::LogEvent;

/// A payload longer than this is cut in the text form.
const CONTENT_CHARS_MAX: usize = 160;

/// An event as the routes give it.
pub fn logged(told: Told) -> Value {
    let Told { position, event } = told;
    let content = event.content().clone();
    json!(LoggedEvent::from(LogEvent {
        position,
        category: event.aggregate_type,
        stream_id: event.aggregate_id,
        sequence: event.sequence,
        event_type: event.event_type,
        event_version: event.event_version,
        content,
        metadata: event.metadata,
        recorded_at: event.recorded_at,
    }))
}

/// An event as the routes give it, for people: position, time, stream, what, who, and the event or request behind it.
pub fn text(event: &Value) -> String {
    let said = |key: &str| event[key].as_str();
    let position = event["position"].as_i64().map_or_else(|| "-".to_owned(), |position| position.to_string());
    let cause = match (said("causation_id"), said("request_id")) {
        (Some(event), _) => format!("  because of {event}"),
        (None, Some(request)) => format!("  request {request}"),
        (None, None) => String::new(),
    };
    let mut content = event["data"].to_string();
    if content.chars().count() > CONTENT_CHARS_MAX {
        content = content.chars().take(CONTENT_CHARS_MAX).chain(['…']).collect();
    }
    format!(
        "{position:>6}  {}  {:<28} {:<24} by {}{cause}\n        {content}",
        said("occurred_at").unwrap_or("-"),
        said("event_id").unwrap_or("-"),
        said("type").unwrap_or("-"),
        said("actor").unwrap_or("-"),
    )
}
