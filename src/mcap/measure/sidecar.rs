//! What the file beside a recording says, as the check of an empty recording reads it: strictly.
//!
//! Verification takes from a sidecar what it can and leaves out the rest; a check says whether it is one.

use serde::Deserialize;
use serde_json::Value;

use crate::domain::measurement::{Listed, NAMES_MAX, SidecarFacts, SidecarSays, SidecarTopic, TOPICS_MAX, kept};

#[derive(Deserialize)]
struct Sidecar {
    #[serde(default)]
    recording: Option<Recording>,
    #[serde(default)]
    topics_summary: Option<Vec<Topic>>,
    #[serde(default)]
    writer_health: Option<Value>,
}

#[derive(Deserialize)]
struct Recording {
    message_count: Option<i64>,
    topics_recorded: Option<Vec<String>>,
    duration_sec: Option<f64>,
    file_size_bytes: Option<u64>,
    checksum_sha256: Option<String>,
}

#[derive(Deserialize)]
struct Topic {
    topic: Option<String>,
    message_count: Option<u64>,
}

pub fn sidecar_facts(bytes: &[u8]) -> SidecarFacts {
    let size_bytes = bytes.len() as u64;
    if bytes.is_empty() {
        return SidecarFacts::Empty;
    }
    // A list would be taken for the fields in their order.
    let object = |value: &Value| value.is_object() && value.get("recording").is_none_or(|recording| !recording.is_array());
    let read = serde_json::from_slice::<Value>(bytes).map_err(|error| error.to_string());
    let read = read.and_then(|value| match object(&value) {
        true => serde_json::from_value::<Sidecar>(value).map_err(|error| error.to_string()),
        false => Err("it is no object of objects".to_owned()),
    });
    let sidecar = match read {
        Ok(sidecar) => sidecar,
        Err(error) => return SidecarFacts::Invalid { size_bytes, error: kept(&error) },
    };
    let recording = sidecar.recording;
    let recorded = recording.as_ref().and_then(|recording| recording.topics_recorded.as_deref()).unwrap_or_default();
    let summary = sidecar.topics_summary.unwrap_or_default();
    let is_name = |name: &str| !name.trim().is_empty();
    let listed: Vec<SidecarTopic> = if summary.is_empty() {
        recorded.iter().map(|topic| SidecarTopic { topic: kept(topic), message_count: None }).collect()
    } else {
        let one = |topic: &Topic| Some(SidecarTopic { topic: kept(topic.topic.as_deref()?), message_count: topic.message_count });
        summary.iter().filter_map(one).collect()
    };
    let (writer_state, writer_trouble) = sidecar.writer_health.map_or((None, vec![]), |health| writer(&health));
    SidecarFacts::Read(SidecarSays {
        size_bytes,
        message_count: recording.as_ref().and_then(|recording| recording.message_count).unwrap_or(0),
        topics_recorded: recorded.len() as u64,
        topics_summary: summary.len() as u64,
        names_topics: recorded.iter().any(|name| is_name(name)) || summary.iter().any(|topic| topic.topic.as_deref().is_some_and(is_name)),
        duration_ms: recording.as_ref().and_then(|recording| recording.duration_sec).map(|seconds| (seconds * 1e3).round() as u64),
        file_size_bytes: recording.as_ref().and_then(|recording| recording.file_size_bytes),
        sha256: recording.and_then(|recording| recording.checksum_sha256).filter(|hash| !hash.is_empty()).map(|hash| kept(&hash)),
        topics: Listed::of(listed, TOPICS_MAX),
        writer_state,
        writer_trouble: Listed::of(writer_trouble, NAMES_MAX),
    })
}

/// The recorder's word on itself: its state, and whatever counts trouble and is not 0.
fn writer(health: &Value) -> (Option<String>, Vec<String>) {
    let Some(health) = health.as_object() else { return (None, vec![]) };
    let state = health.get("state").and_then(Value::as_str).map(kept);
    let is_trouble = |name: &str| ["stall", "fail", "overflow", "drop", "error"].iter().any(|word| name.contains(word));
    let there = |value: &Value| value.as_bool() == Some(true) || value.as_f64().is_some_and(|number| number != 0.0);
    let troubles = health.iter().filter(|(name, value)| is_trouble(name) && there(value));
    (state, troubles.map(|(name, value)| kept(&format!("{name} {value}"))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str) -> SidecarSays {
        match sidecar_facts(text.as_bytes()) {
            SidecarFacts::Read(says) => says,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn topics_exist_where_one_has_a_name() {
        assert!(says(r#"{"recording":{"message_count":3,"topics_recorded":[" ","/a"]}}"#).names_topics);
        assert!(says(r#"{"recording":{"message_count":3},"topics_summary":[{"topic":"/a","message_count":3}]}"#).names_topics);
        assert!(!says(r#"{"recording":{"message_count":3,"topics_recorded":[" "]},"topics_summary":[{"topic":""},{}]}"#).names_topics);
        assert_eq!(says("{}"), SidecarSays { size_bytes: 2, ..SidecarSays::default() });
    }

    #[test]
    fn what_is_no_sidecar_is_said() {
        assert_eq!(sidecar_facts(b""), SidecarFacts::Empty);
        for text in ["{", "[]", "7", r#"{"recording":[3]}"#, r#"{"recording":{"message_count":"3"}}"#, r#"{"topics_summary":{}}"#] {
            assert!(matches!(sidecar_facts(text.as_bytes()), SidecarFacts::Invalid { .. }), "{text}");
        }
    }

    #[test]
    fn a_recorder_that_had_trouble_says_so() {
        let healthy = says(r#"{"writer_health":{"state":"normal","stall_suspected":false,"queue_overflows":0}}"#);
        assert_eq!((healthy.writer_state.as_deref(), healthy.writer_trouble.len()), (Some("normal"), 0));
        let troubled = says(r#"{"writer_health":{"state":"degraded","stall_suspected":true,"queue_overflows":7,"bytes":5}}"#);
        assert_eq!(troubled.writer_trouble.items, ["queue_overflows 7", "stall_suspected true"]);
    }
}
