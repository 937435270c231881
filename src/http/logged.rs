//! An event of the log, as its readers get it.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::wire::Exact;
use crate::projections::reads::events::LogEvent;

/// Something that happened.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoggedEvent {
    /// Its place in the log; without one where it was committed a moment ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
    /// Kind and id of its stream and its number in that: names it for ever.
    pub event_id: String,
    /// The kind of its stream.
    pub category: String,
    /// The id of its stream: numeric, and for devices the device id.
    pub stream_id: String,
    /// Its number in its stream, from 1.
    pub sequence: i64,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The version of its payload's shape that was stored.
    pub version: String,
    /// When the database stored it.
    pub recorded_at: Exact,
    /// When it was decided, by the clock of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
    /// Who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// As what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The same for everything that one request led to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The event that led to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// How many events led to it, one because of the other.
    pub causation_depth: i64,
    /// The request that it came with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Where that came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_address: Option<String>,
    /// What was said about it, by its type.
    pub data: Value,
}

impl From<LogEvent> for LoggedEvent {
    fn from(event: LogEvent) -> Self {
        let said = |key: &str| event.said(key).map(str::to_owned);
        Self {
            position: event.position,
            event_id: event.event_id(),
            occurred_at: said("occurred_at"),
            actor: said("actor"),
            role: said("role"),
            correlation_id: said("correlation_id"),
            causation_id: said("causation_id"),
            causation_depth: event.said("causation_depth").and_then(|depth| depth.parse().ok()).unwrap_or(0),
            request_id: said("request_id"),
            source_address: said("source_address"),
            category: event.category,
            stream_id: event.stream_id,
            sequence: event.sequence,
            event_type: event.event_type,
            version: event.event_version,
            recorded_at: Exact(event.recorded_at),
            data: event.content,
        }
    }
}
