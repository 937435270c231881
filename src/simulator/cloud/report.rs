//! What a cloud received, refused, and did on purpose.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CloudReport {
    /// Every key that bytes came for, also where there is no object now.
    pub objects: Vec<ObjectReport>,
    /// Uploads in parts that were neither completed nor aborted.
    pub unfinished: Vec<UnfinishedReport>,
    /// Episodes that the receiver was told of.
    pub episodes: Vec<EpisodeReport>,
    /// Uploads that were begun at the gateway.
    #[serde(default)]
    pub logical_uploads: Vec<LogicalUploadReport>,
    /// Episodes that more than one object of the gateway is there for: a fault of the client, or sent again on purpose.
    #[serde(default)]
    pub repeated_episodes: Vec<RepeatedEpisodeReport>,
    /// Requests by kind, also those that came to nothing.
    pub requests: BTreeMap<String, u64>,
    /// Refusals by service and code.
    pub refusals: BTreeMap<String, u64>,
    /// Faults that were done on purpose.
    pub faults: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectReport {
    pub bucket: String,
    pub key: String,
    /// Of the object that is there now.
    pub bytes: Option<u64>,
    /// Of its bytes, in hexadecimal digits; missing where they came in parts and were discarded, or were not hashed.
    pub sha256: Option<String>,
    /// Where it came in parts: the checksum of their checksums, as S3 writes it.
    pub composite_sha256: Option<String>,
    pub parts: usize,
    /// How often an object was completed under this key: more than once is a fault of the client.
    pub completed: u32,
    /// Bytes of bodies that came for this key, also of requests that were cut or refused.
    pub received_bytes: u64,
    /// Those beyond what one copy takes.
    pub resent_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnfinishedReport {
    pub bucket: String,
    pub key: String,
    pub upload_id: String,
    pub parts: usize,
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpisodeReport {
    pub episode_id: String,
    /// How often.
    pub told: u32,
    pub synced_at: DateTime<Utc>,
    /// What was told the first time.
    pub first: Value,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogicalUploadReport {
    pub logical_upload_id: String,
    pub upload_id: String,
    pub device_id: String,
    /// `active`, `expired`, `completing` (its object is there), `completed`, `aborted`, `restarted`.
    pub status: String,
    pub terminal_reason: String,
    pub episode_id: Option<String>,
    pub client_hints: BTreeMap<String, String>,
    /// Of the completion.
    pub tags: BTreeMap<String, String>,
    pub bucket: String,
    pub object_key: String,
    pub object_is_there: bool,
    /// How often it was completed, each time alike.
    pub completed: u32,
    pub credential_refreshes: i32,
    /// The upload that it took the place of.
    pub restarted_from: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RepeatedEpisodeReport {
    pub episode_id: String,
    pub object_keys: Vec<String>,
}
