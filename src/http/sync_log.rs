//! What is told of one time that an episode was to be in the cloud: by the routes about it, and beside episodes.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::problem::Problem;
use super::wire::WholeSecond;
use super::words::{GivenUpCauseWord, SyncFaultWord, SyncReasonWord, SyncStatusWord};
use crate::domain::EpisodeId;
use crate::domain::episode::SyncStatus;
use crate::projections::reads::Reads;
use crate::projections::reads::episodes::EpisodeShown;
use crate::projections::reads::sync::SyncChainShown;

/// One time that an episode was to be in the cloud: a first try, and those that followed it by themselves.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SyncLog {
    /// Names it. Of an episode the highest decides; 0 where there is none.
    id: i64,
    /// The episode.
    episode_id: i64,
    /// The id that people and the cloud see.
    #[serde(skip_serializing_if = "Option::is_none")]
    episode_public_id: Option<String>,
    /// Where the recording lies in the edge storage, with its bucket; once it was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_path: Option<String>,
    /// Its key in the cloud, once it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_path: Option<String>,
    /// How far it is.
    #[schema(value_type = SyncStatusWord)]
    pub status: &'static str,
    /// Its size, once it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    bytes_transferred: Option<u64>,
    /// How long the last try took.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_sec: Option<i64>,
    /// Why it failed last; left out while it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// The same for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<SyncFaultWord>)]
    error_class: Option<&'static str>,
    /// Why it is not tried any more; left out where it is, or was well.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<GivenUpCauseWord>)]
    given_up: Option<&'static str>,
    /// How often it was tried.
    pub attempt_count: i32,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_retry_at: Option<WholeSecond>,
    /// When it was queued, then when it was tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<WholeSecond>,
    /// When the last try ended, well or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<WholeSecond>,
    /// Why it was queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<SyncReasonWord>)]
    reason: Option<&'static str>,
    /// How far it is with each cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    destinations: Option<Value>,
}

impl From<SyncChainShown> for SyncLog {
    fn from(row: SyncChainShown) -> Self {
        let own = row.own;
        Self {
            id: row.id.0,
            episode_id: own.episode_id.0,
            episode_public_id: Some(own.episode_public_id),
            source_path: own.source_path,
            destination_path: own.destination_path,
            status: own.status.as_str(),
            bytes_transferred: own.bytes_transferred.map(|bytes| bytes.0),
            duration_sec: own.duration_sec,
            error_message: own.error_message,
            error_class: own.fault.map(|fault| fault.as_str()),
            given_up: own.given_up.map(|cause| cause.as_str()),
            attempt_count: own.attempt_count,
            next_retry_at: own.next_retry_at.map(WholeSecond),
            started_at: Some(own.started_at.into()),
            completed_at: own.completed_at.map(WholeSecond),
            reason: Some(own.reason.as_str()),
            destinations: Some(own.legs),
        }
    }
}

impl SyncLog {
    pub fn none_of(episode: &EpisodeShown) -> Self {
        Self {
            id: 0,
            episode_id: episode.id.0,
            episode_public_id: Some(episode.own.episode_id.clone()),
            source_path: None,
            destination_path: None,
            status: SyncStatus::NotStarted.as_str(),
            bytes_transferred: None,
            duration_sec: None,
            error_message: None,
            error_class: None,
            given_up: None,
            attempt_count: 0,
            next_retry_at: None,
            started_at: None,
            completed_at: None,
            reason: None,
            destinations: None,
        }
    }
}

/// What the newest log of an episode says, for lists of episodes.
pub async fn newest_logs(reads: &Reads, episodes: &[EpisodeId]) -> Result<BTreeMap<EpisodeId, SyncLog>, Problem> {
    if episodes.is_empty() {
        return Ok(BTreeMap::new());
    }
    let chains = reads.newest_sync_chains(episodes).await?;
    Ok(chains.into_iter().map(|chain| (chain.own.episode_id, SyncLog::from(chain))).collect())
}
