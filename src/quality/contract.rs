//! The two checks that every site knows, under their own names and with their own words.

use super::case::{Case, Outcome};
use crate::domain::measurement::SidecarFacts;

const MAGIC: &str = "89 4d 43 41 50 30 0d 0a";

pub fn mcap_magic(case: &Case) -> Outcome {
    let facts = case.facts;
    let failed = |why: &str| Outcome::fail(format!("MCAP integrity check failed: {why}"));
    if facts.gone {
        return failed("object not found").with("expected_magic", MAGIC).with("found_head_magic", "").with("found_tail_magic", "");
    }
    let outcome = if facts.size_bytes < 16 {
        failed("file is smaller than 16 bytes")
    } else {
        match (facts.head_magic == MAGIC, facts.tail_magic == MAGIC) {
            (true, true) => Outcome::pass("MCAP head and tail magic matched"),
            (true, false) => failed("tail magic mismatch"),
            (false, true) => failed("head magic mismatch"),
            (false, false) => failed("head and tail magic mismatch"),
        }
    };
    let read = facts.size_bytes >= 16;
    outcome
        .with("expected_magic", MAGIC)
        .with("found_head_magic", if read { facts.head_magic.as_str() } else { "" })
        .with("found_tail_magic", if read { facts.tail_magic.as_str() } else { "" })
        .with("file_size_bytes", facts.size_bytes)
}

pub fn recording_not_empty(case: &Case) -> Outcome {
    let failed = |why: &str| Outcome::fail(format!("Recording sidecar check failed: {why}"));
    match &case.facts.sidecar {
        None => Outcome::not_applicable("no sidecar was looked for"),
        Some(SidecarFacts::Missing) => failed("sidecar object not found"),
        Some(SidecarFacts::Empty) => failed("sidecar object is empty"),
        Some(SidecarFacts::TooLarge { size_bytes, max_bytes }) => {
            failed("sidecar object is too large").with("sidecar_size_bytes", *size_bytes).with("max_sidecar_size_bytes", *max_bytes)
        }
        Some(SidecarFacts::Invalid { size_bytes, error }) => {
            failed("invalid sidecar JSON").with("sidecar_size_bytes", *size_bytes).with("parse_error", error.as_str())
        }
        Some(SidecarFacts::Read(says)) => {
            let outcome = match (says.message_count <= 0, says.names_topics) {
                (false, true) => Outcome::pass("Recording sidecar reports messages and topics"),
                (true, true) => failed("message_count is zero"),
                (false, false) => failed("no recorded topics"),
                (true, false) => failed("message_count is zero and no recorded topics"),
            };
            outcome
                .with("sidecar_size_bytes", says.size_bytes)
                .with("sidecar_json_bytes", says.size_bytes)
                .with("message_count", says.message_count)
                .with("topics_recorded_count", says.topics_recorded)
                .with("topics_summary_count", says.topics_summary)
                .with("duration_sec", says.duration_ms.map(|ms| ms as f64 / 1e3))
                .with("file_size_bytes", says.file_size_bytes)
        }
    }
}
