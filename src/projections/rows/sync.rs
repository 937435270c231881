//! Rows of cloud sync: chains, and what people switch.

use serde_json::{Value, json};

use super::table::table;
use super::{ReadModel, Shown};
use crate::domain::order::Priority;
use crate::domain::sync::{Chain, ChainEnd, ChainStatus, GivenUpCause, Leg, LegStage, SyncChain, SyncControl, SyncFault, SyncReason};
use crate::domain::{EpisodeId, FactoryId, OrganizationId, SyncChainId, Timestamp};
use crate::projections::sql_types::Count;

table! {
    SyncChainRow in "sync_chains" by number SyncChainId {
        episode_id: EpisodeId,
        episode_public_id: String,
        factory_id: FactoryId,
        organization_id: OrganizationId,
        reason: SyncReason,
        status: ChainStatus,
        priority: Priority,
        /// Once it was claimed.
        source_path: Option<String>,
        /// Once it is there.
        destination_path: Option<String>,
        bytes_transferred: Option<Count>,
        size_bytes: Count,
        sha256: String,
        /// Of the last attempt, in whole seconds.
        duration_sec: Option<i64>,
        fault: Option<SyncFault>,
        error_message: Option<String>,
        /// Why nobody tries any more.
        given_up: Option<GivenUpCause>,
        attempt_count: i32,
        next_retry_at: Option<Timestamp>,
        /// When it was queued, then when it was claimed last.
        started_at: Timestamp,
        /// When its last attempt ended, well or not.
        completed_at: Option<Timestamp>,
        approved_at: Option<Timestamp>,
        /// How far it is with each cloud.
        legs: Value,
    }
    SyncControlRow in "sync_control" by text String {
        /// None: as the settings have it.
        auto_scan: Option<bool>,
        paused: Value,
        revision: i64,
    }
}

fn leg_shown(chain: &Chain, leg: &Leg) -> Value {
    let state = match &leg.stage {
        LegStage::Done => "completed",
        _ if matches!(chain.end, Some(ChainEnd::GivenUp { .. })) => "failed",
        LegStage::Waiting => "pending",
        LegStage::Claimed { .. } => "in_progress",
        LegStage::Failed { .. } | LegStage::GivenUp { .. } => "failed",
    };
    let next_retry_at = match &leg.stage {
        LegStage::Failed { next_retry_at } if chain.end.is_none() => Some(next_retry_at),
        _ => None,
    };
    json!({
        "status": state,
        "attempt_count": leg.attempts,
        "next_retry_at": next_retry_at,
        "object": leg.object,
        "told_at": leg.told_at,
    })
}

impl ReadModel for SyncChain {
    type Row = SyncChainRow;

    fn shown(state: &Self) -> Shown<SyncChainRow> {
        let Self::Known(chain) = state else { return Shown::Gone };
        let (queued, status) = (&chain.queued, chain.status());
        let object = chain.object().filter(|_| status == ChainStatus::Completed);
        let legs: serde_json::Map<String, Value> =
            chain.legs.iter().map(|(cloud, leg)| (cloud.as_str().to_owned(), leg_shown(chain, leg))).collect();
        Shown::Row(SyncChainRow {
            episode_id: queued.episode_id,
            episode_public_id: queued.episode_public_id.clone(),
            factory_id: queued.factory_id,
            organization_id: queued.organization_id,
            reason: queued.reason,
            status,
            priority: queued.priority,
            source_path: (chain.attempts() > 0).then(|| queued.source_path.clone()),
            destination_path: object.map(|object| object.object_key.clone()),
            bytes_transferred: object.map(|object| Count(object.size_bytes)),
            size_bytes: Count(queued.size_bytes),
            sha256: queued.sha256.clone(),
            duration_sec: chain.duration_ms.and_then(|ms| i64::try_from(ms / 1000).ok()),
            fault: chain.failure.as_ref().map(|failure| failure.fault),
            error_message: chain.failure.as_ref().map(|failure| failure.text.clone()),
            given_up: if let Some(ChainEnd::GivenUp { cause, .. }) = chain.end { Some(cause) } else { None },
            attempt_count: i32::try_from(chain.attempts()).unwrap_or(i32::MAX),
            next_retry_at: chain.next_retry_at(),
            started_at: chain.started_at,
            completed_at: chain.ended_at,
            approved_at: queued.approved_at,
            legs: Value::Object(legs),
        })
    }
}

impl ReadModel for SyncControl {
    type Row = SyncControlRow;

    fn shown(state: &Self) -> Shown<SyncControlRow> {
        let Self::Touched(standing) = state else { return Shown::Gone };
        let paused: serde_json::Map<String, Value> =
            standing.paused.iter().map(|(cloud, paused)| (cloud.as_str().to_owned(), json!(paused))).collect();
        Shown::Row(SyncControlRow { auto_scan: standing.auto_scan, paused: Value::Object(paused), revision: standing.revision })
    }
}
