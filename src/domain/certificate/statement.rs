//! The document. It has the form of an in-toto statement, so that programs which check attestations know what it is about: the recording, by its SHA-256.
//!
//! Every number is a whole one that a double holds, every time a text, so no program writes it in two ways. A field is never left out: what is not known is null.

use serde::{Deserialize, Serialize};

use crate::domain::canonical_json::canonical;

pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
pub const PREDICATE_TYPE: &str = "urn:keystone-edge:episode-certificate:1";

/// So many events a certificate lists at most: the first half of them and the last.
pub const EVENTS_MAX: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    #[serde(rename = "_type")]
    pub statement_type: String,
    pub subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    pub predicate: Certificate,
}

/// A file that it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    pub name: String,
    pub digest: Digest,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digest {
    pub sha256: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// When the last event that it covers was recorded.
    pub issued_at: String,
    pub factory_id: i64,
    pub organization_id: i64,
    pub order_id: i64,
    pub batch: Named,
    pub task: Named,
    pub episode: Named,
    pub sop: Procedure,
    pub scene: Entry,
    pub subscene: Entry,
    pub people: People,
    pub approval: Approval,
    pub robot: Robot,
    pub recorder: Recorder,
    pub recording: Recording,
    pub sidecar: Option<Sidecar>,
    pub facts: Option<ShortFacts>,
    pub verdict: Option<CertifiedVerdict>,
    /// Its batch was recalled: it is not wanted, whatever it is worth.
    pub recalled: bool,
    /// Its task had ended before without a recording.
    pub late: bool,
    /// What is wrong with it, where a person wants it all the same.
    pub damage: Option<String>,
    pub log: Log,
}

/// By its number, and the id that people and devices see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    pub id: i64,
    pub public_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Procedure {
    pub id: i64,
    pub slug: Option<String>,
    pub version: Option<String>,
    /// The event that it is known by.
    pub event_id: Option<String>,
}

/// An entry of the registry: its version is the event that made it what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub id: i64,
    pub event_id: Option<String>,
}

/// As they stand in events: `user:collector:3`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct People {
    pub ordered_by: Option<String>,
    pub dispatched_by: Option<String>,
    pub recorded_by: Option<String>,
    /// Decisions of inspectors since it was reopened last, or ever.
    pub inspected_by: Vec<Inspected>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inspected {
    pub inspector: String,
    pub decision: String,
    pub effect: String,
    pub round: i32,
    pub at: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    pub status: String,
    pub event_id: Option<String>,
    pub by: Option<String>,
    pub at: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Robot {
    pub station_id: i64,
    pub robot_id: Option<i64>,
    pub robot_type_id: Option<i64>,
    pub device_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorder {
    /// As the file beside the recording says.
    pub version: Option<String>,
    /// Of what it was configured with, but for what names a person, is a secret or a link.
    pub configuration_sha256: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// `<bucket>/<key>`.
    pub object: String,
    pub sha256: String,
    pub size_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sidecar {
    pub object: String,
    pub sha256: Option<String>,
    pub size_bytes: Option<u64>,
}

/// What was measured of it, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShortFacts {
    /// Which code measured, and how much it looked at.
    pub measured_by: u32,
    pub tier: String,
    pub messages: u64,
    pub topics: u64,
    pub chunks: u64,
    /// Log times of the first and the last message.
    pub first_at: String,
    pub last_at: String,
    pub duration_ms: u64,
    pub findings: u64,
    pub not_measured: u64,
}

/// The last verdict of the checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertifiedVerdict {
    pub verdict: String,
    /// In thousandths.
    pub score_milli: u64,
    pub approve_at_milli: u64,
    pub suite: String,
    pub suite_version: u32,
    pub suite_sha256: Option<String>,
    pub reference_id: Option<i64>,
    pub reference_version: Option<u32>,
    pub measured_by: u32,
    pub mode: String,
    pub at: String,
    /// The status was not changed by it.
    pub kept: bool,
}

/// The events behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Up to which it covers them.
    pub position: i64,
    /// In the order of the log; of more than [`EVENTS_MAX`] the first half of these and the last.
    pub events: Vec<CoveredEvent>,
    pub left_out: Option<LeftOut>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoveredEvent {
    pub position: i64,
    pub event_id: String,
    #[serde(rename = "type")]
    pub event_type: String,
    pub recorded_at: String,
    pub commitment: String,
}

/// Events that are too many to be listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    pub count: u64,
    /// Of a line for each: its position, a blank, its commitment, a line feed.
    pub sha256: String,
}

impl Statement {
    /// The bytes that are signed.
    pub fn bytes(&self) -> Result<String, serde_json::Error> {
        Ok(canonical(&serde_json::to_value(self)?))
    }
}
