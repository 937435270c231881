//! `/sync`: episodes on their way to the cloud, asked for, watched, and switched.
//!
//! For administrators: what leaves the factory leaves it for good.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::episode_filters::{Given, selection};
use super::episodes::found;
use super::extract::{Json, MaybeJson, Params, PathId, PathText};
use super::platform;
use super::policy::Policy;
use super::problem::{Code, Problem};
use super::routes::Routes;
use super::sync_log::SyncLog;
use super::tasks::Ending;
use super::wire::{Paged, WholeSecond};
use super::words::CloudNameWord;
use crate::cloud::platform::PlatformError;
use crate::commands::bulk_runs::{AcceptBulkRun, QUEUED_AT_ONCE};
use crate::commands::sync::{PauseCloud, QueueSync, ResumeCloud, SwitchAutoScan};
use crate::domain::bulk_run::BulkWork;
use crate::domain::episode::{EpisodeSelection, QaStatus, SyncStatus};
use crate::domain::sync::{ChainStatus, CloudName, SyncReason};
use crate::domain::{EpisodeId, SyncChainId};
use crate::projections::reads::episodes::EpisodeShown;
use crate::projections::reads::sync::{SyncChainShown, SyncProgress, SyncSummary};

/// Episodes that one request may ask about.
const IDS_MAX: usize = 50;
/// While it is not completed: a person waits for `completed`, and not for a number.
const PERCENT_MAX: i64 = 99;

pub fn routes() -> Routes {
    let policy = Policy::MANAGE.closed();
    let (site, administered) = (policy.of_the_site(), Policy::ADMINISTER);
    Routes::default()
        .at(policy.keyed(), routes!(queue_all))
        .at(policy, routes!(list))
        .at(policy, routes!(summary))
        .at(policy, routes!(statuses))
        .at(policy.keyed(), routes!(queue))
        .at(policy.keyed(), routes!(queue_again))
        .at(policy, routes!(logs))
        .at(policy, routes!(status))
        .at(site, routes!(config))
        .at(administered, routes!(switch))
        .at(administered.keyed(), routes!(pause))
        .at(administered.keyed(), routes!(resume))
}

/// The newest log of an episode, with what all of them took.
#[derive(Debug, Serialize, ToSchema)]
pub struct SyncSummaryShown {
    #[serde(flatten)]
    log: SyncLog,
    /// How often it was tried in all.
    total_attempt_count: i64,
    /// How often the newest was.
    latest_attempt_count: i32,
    /// How many logs there are.
    sync_log_count: i64,
}

impl From<SyncSummary> for SyncSummaryShown {
    fn from(row: SyncSummary) -> Self {
        let SyncSummary { id, own, created_at, updated_at, total_attempt_count, sync_log_count } = row;
        let latest_attempt_count = own.attempt_count;
        Self { log: SyncChainShown { id, own, created_at, updated_at }.into(), total_attempt_count, latest_attempt_count, sync_log_count }
    }
}

/// How much of a recording is there.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UploadProgress {
    /// Over all clouds.
    uploaded_bytes: i64,
    /// The same when all of it is there.
    total_bytes: i64,
    /// Whole ones, and at most 99.
    percent: i64,
    /// When that was.
    updated_at: WholeSecond,
}

/// How far an episode is on its way to the cloud.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EpisodeSyncStatus {
    #[serde(flatten)]
    log: SyncLog,
    /// Whether the cloud has it.
    cloud_synced: bool,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud_synced_at: Option<WholeSecond>,
    /// Whether the cloud has processed it.
    cloud_processed: bool,
    /// Whether it is in the cloud, and approved no more; left out where it is not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cloud_outdated: bool,
    /// While it is on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<UploadProgress>,
}

fn progress_of(chain: &SyncChainShown, told: &BTreeMap<SyncChainId, SyncProgress>) -> Option<UploadProgress> {
    let clouds = chain.own.legs.as_object().map_or(1, serde_json::Map::len).max(1);
    let total_bytes = i64::try_from(chain.own.size_bytes.0).unwrap_or(i64::MAX).saturating_mul(i64::try_from(clouds).unwrap_or(1));
    if chain.own.status != ChainStatus::InProgress || total_bytes == 0 {
        return None;
    }
    let (uploaded, updated_at) = match told.get(&chain.id) {
        Some(told) => (told.done_bytes.clamp(0, total_bytes), told.updated_at),
        None => (0, chain.own.started_at),
    };
    let percent = (i128::from(uploaded) * 100 / i128::from(total_bytes)).try_into().unwrap_or(PERCENT_MAX).min(PERCENT_MAX);
    Some(UploadProgress { uploaded_bytes: uploaded, total_bytes, percent, updated_at: updated_at.into() })
}

/// Of episodes that the caller may see, in their order.
async fn statuses_of(state: &AppState, episodes: Vec<EpisodeShown>) -> Result<Vec<EpisodeSyncStatus>, Problem> {
    let ids: Vec<EpisodeId> = episodes.iter().map(|episode| episode.id).collect();
    let mut chains: BTreeMap<EpisodeId, SyncChainShown> =
        state.reads.newest_sync_chains(&ids).await?.into_iter().map(|chain| (chain.own.episode_id, chain)).collect();
    let under_way: Vec<SyncChainId> =
        chains.values().filter(|chain| chain.own.status == ChainStatus::InProgress).map(|chain| chain.id).collect();
    let told: BTreeMap<SyncChainId, SyncProgress> = match under_way.is_empty() {
        true => BTreeMap::new(),
        false => state.reads.sync_progress(&under_way).await?.into_iter().map(|progress| (progress.chain, progress)).collect(),
    };
    let status = |episode: EpisodeShown| {
        let chain = chains.remove(&episode.id);
        let progress = chain.as_ref().and_then(|chain| progress_of(chain, &told));
        EpisodeSyncStatus {
            log: chain.map_or_else(|| SyncLog::none_of(&episode), SyncLog::from),
            cloud_synced: episode.own.cloud_synced,
            cloud_synced_at: episode.own.cloud_synced_at.map(WholeSecond),
            cloud_processed: episode.own.cloud_processed,
            cloud_outdated: episode.own.cloud_synced && !episode.own.qa_status.is_approved(),
            progress,
        }
    };
    Ok(episodes.into_iter().map(status).collect())
}

/// The clouds that an episode is to go to. While the data platform alone is misconfigured, what goes there waits, and the others go on.
pub async fn clouds(state: &AppState) -> Result<Vec<CloudName>, Problem> {
    let clouds = &state.settings.sync.clouds;
    let unable = |why: String| Problem::new(Code::SyncNotConfigured, format!("sync worker is not configured{why}"));
    match (clouds.as_slice(), platform::trouble(state).await) {
        ([], _) => Err(unable(String::new())),
        ([CloudName::Gateway], Some(error)) => Err(unable(format!(": {error}"))),
        _ => Ok(clouds.clone()),
    }
}

/// Which episodes are meant, beside being approved.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EpisodesToSync {
    /// True: those that are in the cloud already are pushed once more.
    force: Option<bool>,
    /// A list of statuses, separated by commas; by default those that were never tried.
    status: Option<String>,
    /// Made at this time or later, as RFC 3339.
    created_at_from: Option<String>,
    /// Made at this time or earlier, as RFC 3339.
    created_at_to: Option<String>,
}

impl Given for EpisodesToSync {
    const BOUNDED: bool = false;

    fn texts(&self, name: &str) -> Vec<&str> {
        let field = match name {
            "sync_status" => &self.status,
            "created_at_from" => &self.created_at_from,
            "created_at_to" => &self.created_at_to,
            _ => return vec![],
        };
        field.iter().map(String::as_str).collect()
    }
}

impl EpisodesToSync {
    fn selection(&self) -> Result<EpisodeSelection, Problem> {
        let given = selection(self)?;
        let default = match self.force {
            Some(true) => vec![SyncStatus::NotStarted, SyncStatus::Completed],
            _ => vec![SyncStatus::NotStarted],
        };
        Ok(EpisodeSelection {
            qa_statuses: Some(vec![QaStatus::Approved, QaStatus::InspectorApproved]),
            sync_statuses: Some(given.sync_statuses.clone().unwrap_or(default)),
            ..given
        })
    }
}

/// What was queued.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SyncAccepted {
    /// `accepted`.
    status: String,
    /// How many episodes are being queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    enqueued_count: Option<i64>,
    /// The bulk run that queues them.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<String>,
    /// The episode, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    episode_id: Option<i64>,
    /// Its log.
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_log_id: Option<i64>,
    /// The same in words.
    message: String,
}

/// Queue all approved episodes that were never tried, or those that are asked for. They are queued by a bulk run, one by one; what cannot be is
/// skipped, with the reason.
#[utoipa::path(post, path = "/api/v1/sync/episodes", tag = "sync", request_body(content = Option<EpisodesToSync>), responses(
    (status = 202, body = SyncAccepted, description = "All that match at this moment are being queued"),
    (status = 400, description = "A filter that cannot be"),
    (status = 409, description = "Such a run goes on already"),
    (status = 503, description = "Episodes are not pushed to a cloud"),
))]
pub async fn queue_all(
    State(state): State<AppState>,
    caller: Caller,
    MaybeJson(body): MaybeJson<EpisodesToSync>,
) -> Result<Response, Problem> {
    clouds(&state).await?;
    let work = BulkWork::BulkSync { selection: body.selection()?, force: body.force.unwrap_or(false) };
    let run_id = state.commands.execute(&caller.context(), AcceptBulkRun { work, expected: None }).await?;
    let total = state.reads.bulk_run(&caller.scope, &run_id).await?.map_or(0, |run| run.own.total_count);
    let accepted = SyncAccepted {
        status: "accepted".into(),
        enqueued_count: Some(total),
        run_id: Some(run_id),
        episode_id: None,
        sync_log_id: None,
        message: format!("{total} episodes enqueued for cloud sync"),
    };
    Ok((StatusCode::ACCEPTED, Json(accepted)).into_response())
}

async fn queue_one(state: &AppState, caller: &Caller, id: PathId, reason: SyncReason) -> Result<Response, Problem> {
    let clouds = clouds(state).await?;
    let Some(id) = Some(id.0).filter(|id| *id > 0) else { return Err(Problem::invalid("invalid episode id")) };
    let chain = state.commands.execute(&caller.context(), QueueSync { episode: EpisodeId(id), reason, clouds }).await?;
    let accepted = SyncAccepted {
        status: "accepted".into(),
        enqueued_count: None,
        run_id: None,
        episode_id: Some(id),
        sync_log_id: Some(chain.0),
        message: "episode enqueued for cloud sync".into(),
    };
    Ok((StatusCode::ACCEPTED, Json(accepted)).into_response())
}

/// Queue an approved episode for the cloud. One that failed is tried anew, from where it stands.
#[utoipa::path(post, path = "/api/v1/sync/episodes/{id}", tag = "sync", params(("id" = i64, Path)), responses(
    (status = 202, body = SyncAccepted),
    (status = 400, description = "It is not approved"),
    (status = 404, description = "There is none"),
    (status = 409, description = "The cloud has it, it is on its way, or its batch was recalled"),
    (status = 503, description = "Episodes are not pushed to a cloud"),
))]
pub async fn queue(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Response, Problem> {
    queue_one(&state, &caller, id, SyncReason::Manual).await
}

/// Push an episode once more that the cloud has already.
#[utoipa::path(post, path = "/api/v1/sync/episodes/{id}/resync", tag = "sync", params(("id" = i64, Path)), responses(
    (status = 202, body = SyncAccepted),
    (status = 400, description = "The cloud never had it, or it is not approved any more"),
    (status = 404, description = "There is none"),
    (status = 409, description = "It is on its way, or its batch was recalled"),
    (status = 503, description = "Episodes are not pushed to a cloud"),
))]
pub async fn queue_again(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Response, Problem> {
    queue_one(&state, &caller, id, SyncReason::Resync).await
}

/// Logs, those that started last first.
#[utoipa::path(get, path = "/api/v1/sync/episodes", tag = "sync", params(
    ("status" = Option<String>, Query, description = "One of `pending`, `in_progress`, `completed`, `failed`; another one selects nothing"),
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
), responses((status = 200, body = Paged<SyncLog>), (status = 400, description = "A page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<SyncLog>>, Problem> {
    let page = params.page_to_100()?;
    let listed = state.reads.sync_chains(&caller.scope, params.text("status").as_deref(), page).await?;
    Ok(Json(Paged::new(listed, &page)))
}

/// The newest log of each episode that has one, those that started last first.
#[utoipa::path(get, path = "/api/v1/sync/episodes/summary", tag = "sync", params(
    ("status" = Option<String>, Query, description = "Of the newest log; one that there is not selects nothing"),
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
), responses((status = 200, body = Paged<SyncSummaryShown>), (status = 400, description = "A page that cannot be")))]
pub async fn summary(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<SyncSummaryShown>>, Problem> {
    let page = params.page_to_100()?;
    let listed = state.reads.sync_summaries(&caller.scope, params.text("status").as_deref(), page).await?;
    Ok(Json(Paged::new(listed, &page)))
}

/// All logs of an episode, the newest first. Of one that there is not, none.
#[utoipa::path(get, path = "/api/v1/sync/episodes/{id}/logs", tag = "sync", params(
    ("id" = i64, Path),
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
), responses((status = 200, body = Paged<SyncLog>), (status = 400, description = "An id or a page that cannot be")))]
pub async fn logs(State(state): State<AppState>, caller: Caller, id: PathId, params: Params) -> Result<Json<Paged<SyncLog>>, Problem> {
    let page = params.page_to_100()?;
    let listed = state.reads.sync_chains_of(&caller.scope, EpisodeId(id.positive()?), page).await?;
    Ok(Json(Paged::new(listed, &page)))
}

/// How far an episode is on its way to the cloud.
#[utoipa::path(get, path = "/api/v1/sync/episodes/{id}/status", tag = "sync", params(("id" = i64, Path)), responses(
    (status = 200, body = EpisodeSyncStatus),
    (status = 404, description = "There is none"),
))]
pub async fn status(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Json<EpisodeSyncStatus>, Problem> {
    let episode = found(&state, &caller.scope, id).await?;
    let mut statuses = statuses_of(&state, vec![episode]).await?;
    statuses.pop().map(Json).ok_or_else(|| Problem::not_found("episode"))
}

/// An episode that is not answered, and why.
#[derive(Debug, Serialize, ToSchema)]
pub struct NoSyncStatus {
    /// As it was asked for.
    episode_id: i64,
    /// Why.
    error: &'static str,
}

/// How far several episodes are.
#[derive(Debug, Serialize, ToSchema)]
pub struct SyncStatuses {
    /// In the order in which they were asked for, each once.
    items: Vec<EpisodeSyncStatus>,
    /// Those that there are not; left out where all are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<NoSyncStatus>,
}

/// How far several episodes are on their way to the cloud.
#[utoipa::path(get, path = "/api/v1/sync/episode-statuses", tag = "sync", params(
    ("ids" = String, Query, description = "Ids, separated by commas; at most 50"),
), responses((status = 200, body = SyncStatuses), (status = 400, description = "No ids, too many, or what is none")))]
pub async fn statuses(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<SyncStatuses>, Problem> {
    let Some(text) = params.text("ids") else { return Err(Problem::invalid("ids is required")) };
    let number = |text: &str| text.trim().parse::<i64>().ok().filter(|id| *id > 0);
    let ids: Option<Vec<i64>> = text.split(',').map(number).collect();
    let Some(ids) = ids else { return Err(Problem::invalid("ids must be comma-separated positive integers")) };
    let mut seen = BTreeSet::new();
    let ids: Vec<i64> = ids.into_iter().filter(|id| seen.insert(*id)).collect();
    if ids.len() > IDS_MAX {
        return Err(Problem::invalid(format!("ids must contain at most {IDS_MAX} values")));
    }
    let wanted: Vec<EpisodeId> = ids.iter().copied().map(EpisodeId).collect();
    let mut known: BTreeMap<i64, EpisodeShown> =
        state.reads.episodes_by_id(&caller.scope, &wanted).await?.into_iter().map(|episode| (episode.id.0, episode)).collect();
    let errors = ids.iter().filter(|id| !known.contains_key(id));
    let errors = errors.map(|id| NoSyncStatus { episode_id: *id, error: "episode not found" }).collect();
    let asked: Vec<EpisodeShown> = ids.iter().filter_map(|id| known.remove(id)).collect();
    Ok(Json(SyncStatuses { items: statuses_of(&state, asked).await?, errors }))
}

/// A cloud that recordings are pushed to.
#[derive(Debug, Serialize, ToSchema)]
pub struct CloudShown {
    /// Which one.
    #[schema(value_type = CloudNameWord)]
    name: &'static str,
    /// Whether a person paused it.
    paused: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_reason: Option<String>,
    /// Why it gets nothing at the moment, as the process saw it that tried last; left out where it takes what comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_since: Option<WholeSecond>,
}

/// How episodes get to the cloud.
#[derive(Debug, Serialize, ToSchema)]
pub struct SyncConfig {
    /// Whether they do at all.
    worker_running: bool,
    /// Whether what is approved is pushed by itself.
    auto_scan_enabled: bool,
    /// Tries before one is given up; 0: there is no such number, and `deadline_s` counts.
    max_retries: u32,
    /// What tries and the waits between them may take together, in seconds; 0: no limit. A cloud that is away or paused takes none of it.
    deadline_s: u64,
    /// Episodes of a bulk run that are queued together.
    batch_size: u32,
    /// Recordings on their way to one cloud at the same time, in one process.
    max_concurrent: usize,
    /// After so many seconds at the latest what is queued is looked at, rounded up.
    worker_interval_sec: u64,
    /// Grows with everything that is switched.
    revision_id: i64,
    /// The clouds that the settings name.
    destinations: Vec<CloudShown>,
}

async fn config_of(state: &AppState) -> Result<SyncConfig, Problem> {
    let settings = &state.settings.sync;
    let control = state.reads.sync_control().await?;
    let troubles = state.reads.cloud_troubles().await?;
    let misconfigured = platform::trouble(state).await;
    let shown = |cloud: &CloudName| {
        let wrong = misconfigured.as_ref().filter(|_| *cloud == CloudName::Gateway).map(PlatformError::to_string);
        let trouble = troubles.iter().find(|trouble| trouble.cloud == cloud.as_str());
        let paused = control.as_ref().and_then(|control| control.own.paused.get(cloud.as_str()));
        CloudShown {
            name: cloud.as_str(),
            paused: paused.is_some(),
            paused_reason: paused.and_then(|paused| paused["reason"].as_str()).map(str::to_owned),
            error: wrong.or_else(|| trouble.map(|trouble| trouble.error.clone())),
            error_since: trouble.map(|trouble| trouble.since.into()),
        }
    };
    let running = settings.clouds.iter().any(|cloud| *cloud != CloudName::Gateway || misconfigured.is_none());
    let auto_scan = control.as_ref().and_then(|control| control.own.auto_scan).unwrap_or(settings.auto_scan);
    Ok(SyncConfig {
        worker_running: running,
        auto_scan_enabled: running && auto_scan,
        max_retries: settings.max_retries.filter(|_| running).unwrap_or(0),
        deadline_s: settings.deadline.map_or(0, |deadline| deadline.as_secs()),
        batch_size: QUEUED_AT_ONCE,
        max_concurrent: settings.at_once,
        worker_interval_sec: settings.looked_at_every.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX),
        revision_id: control.as_ref().map_or(0, |control| control.own.revision),
        destinations: settings.clouds.iter().map(shown).collect(),
    })
}

/// How episodes get to the cloud, and why they do not.
#[utoipa::path(get, path = "/api/v1/sync/config", tag = "sync", responses((status = 200, body = SyncConfig)))]
pub async fn config(State(state): State<AppState>) -> Result<Json<SyncConfig>, Problem> {
    Ok(Json(config_of(&state).await?))
}

/// What is switched.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncSwitch {
    /// Whether what is approved is pushed by itself. Switched on, what was approved before is pushed, too.
    auto_scan_enabled: bool,
    /// The `revision_id` that was seen. Where it is another one by now, nothing is switched.
    expected_revision_id: Option<i64>,
}

/// Switch whether what is approved is pushed by itself.
#[utoipa::path(put, path = "/api/v1/sync/config", tag = "sync", request_body = SyncSwitch, responses(
    (status = 200, body = SyncConfig),
    (status = 409, description = "It was switched meanwhile"),
    (status = 503, description = "Episodes are not pushed to a cloud"),
))]
pub async fn switch(State(state): State<AppState>, caller: Caller, Json(body): Json<SyncSwitch>) -> Result<Json<SyncConfig>, Problem> {
    clouds(&state).await?;
    let SyncSwitch { auto_scan_enabled: on, expected_revision_id: expected } = body;
    let by_default = state.settings.sync.auto_scan;
    state.commands.execute(&caller.context(), SwitchAutoScan { on, by_default, expected }).await?;
    Ok(Json(config_of(&state).await?))
}

fn named(state: &AppState, name: &str) -> Result<CloudName, Problem> {
    let cloud = name.parse().ok().filter(|cloud| state.settings.sync.clouds.contains(cloud));
    cloud.ok_or_else(|| Problem::not_found("destination"))
}

/// A cloud gets nothing until it is resumed. What is on its way stops at its next part, and goes on from there later.
#[utoipa::path(post, path = "/api/v1/sync/destinations/{name}/pause", tag = "sync", params(("name" = String, Path, description = "`s3`, or another name that `/sync/config` lists")), request_body = Ending, responses(
    (status = 200, body = SyncConfig),
    (status = 400, description = "No reason, or one that is too long"),
    (status = 404, description = "The settings name no such cloud"),
))]
pub async fn pause(
    State(state): State<AppState>,
    caller: Caller,
    PathText(name): PathText,
    Json(why): Json<Ending>,
) -> Result<Json<SyncConfig>, Problem> {
    let cloud = named(&state, &name)?;
    state.commands.execute(&caller.context(), PauseCloud { cloud, reason: why.reason() }).await?;
    Ok(Json(config_of(&state).await?))
}

/// A cloud gets what waits for it.
#[utoipa::path(post, path = "/api/v1/sync/destinations/{name}/resume", tag = "sync", params(("name" = String, Path, description = "`s3`, or another name that `/sync/config` lists")), responses(
    (status = 200, body = SyncConfig),
    (status = 404, description = "The settings name no such cloud"),
))]
pub async fn resume(State(state): State<AppState>, caller: Caller, PathText(name): PathText) -> Result<Json<SyncConfig>, Problem> {
    let cloud = named(&state, &name)?;
    state.commands.execute(&caller.context(), ResumeCloud(cloud)).await?;
    Ok(Json(config_of(&state).await?))
}
