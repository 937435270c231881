//! `/episodes`: verified recordings.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::at::{Answer, AsOf};
use super::auth::Caller;
use super::extract::{Json, Params, PathId};
use super::fields::{LongText, Text};
use super::location::Location;
use super::operator_word::ShownWord;
use super::policy::Policy;
use super::problem::{Code, Problem};
use super::routes::Routes;
use super::storage::{refuse_if_blocked, signed_link};
use super::sync_log::{SyncLog, newest_logs};
use super::wire::{Paged, WholeSecond};
use super::words::{CopyPlaceWord, DecisionWord, EdgeCopyStatusWord, EpisodeFileWord, QaStatusWord, SyncStatusWord};
use crate::commands::qa::AnnotateEpisode;
use crate::domain::episode::{Annotation, Decision, SyncStatus};
use crate::domain::{EpisodeId, SceneId, Scope, TaskId};
use crate::projections::reads::Reads;
use crate::projections::reads::as_of::{Part, Unit};
use crate::projections::reads::episodes::{EpisodeFilter, EpisodeShown};
use crate::projections::reads::salvages::SalvageShown;
use crate::projections::rows::salvage::SalvageRow;

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ, routes!(list))
        .at(Policy::READ, routes!(get))
        .at(Policy::JUDGE, routes!(annotate))
        .at(Policy::READ.closed().download(), routes!(presign))
}

/// A verified recording.
#[derive(Debug, Serialize, ToSchema)]
pub struct Episode {
    /// Names it in requests.
    id: i64,
    /// Its task's id.
    task_id: i64,
    /// The id that people and the cloud see.
    #[serde(skip_serializing_if = "Option::is_none")]
    episode_id: Option<String>,
    /// The id that devices know the task by.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_public_id: Option<String>,
    /// The slug of its SOP.
    #[schema(required)]
    sop_slug: Option<String>,
    /// The version of its SOP.
    #[schema(required)]
    sop_version: Option<String>,
    /// What was recorded.
    #[schema(required)]
    scene_name: Option<String>,
    /// Which variant of it.
    #[schema(required)]
    subscene_name: Option<String>,
    /// The device id of the robot.
    #[schema(required)]
    robot_device_id: Option<String>,
    /// The login name of the collector.
    #[schema(required)]
    collector_operator_id: Option<String>,
    /// `<bucket>/<key>`.
    mcap_path: String,
    /// `<bucket>/<key>`; empty where there is none.
    sidecar_path: String,
    /// SHA-256 of the file, in hex.
    #[schema(required)]
    checksum: Option<String>,
    /// Size of the file.
    #[schema(required, value_type = Option<i64>)]
    file_size_bytes: Option<u64>,
    /// Messages in the MCAP, from its own summary.
    #[schema(value_type = i64)]
    message_count: u64,
    /// How long it is, in seconds.
    #[schema(required)]
    duration_sec: Option<f64>,
    /// What was found of its quality.
    #[schema(value_type = QaStatusWord)]
    qa_status: &'static str,
    /// Between 0 and 1; null before it was judged.
    #[schema(required)]
    qa_score: Option<f64>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    quality_flag: Option<String>,
    /// Whether no person had to look at it.
    auto_approved: bool,
    /// Who decided about it; null in lists, and where no inspector did.
    #[schema(required)]
    inspector_id: Option<String>,
    /// What they decided; null in lists.
    #[schema(required, value_type = Option<DecisionWord>)]
    inspection_decision: Option<&'static str>,
    /// When; null in lists.
    #[schema(required)]
    inspected_at: Option<WholeSecond>,
    /// Whether the cloud has it.
    cloud_synced: bool,
    /// Whether the cloud has processed it.
    cloud_processed: bool,
    /// Since when the cloud has it.
    #[schema(required)]
    cloud_synced_at: Option<WholeSecond>,
    /// Its key in the cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud_mcap_path: Option<String>,
    /// The copy in the edge storage.
    #[schema(value_type = EdgeCopyStatusWord)]
    edge_copy: &'static str,
    /// Copies that were found damaged; left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<CopyPlaceWord>)]
    damaged_copies: Vec<&'static str>,
    /// When it was approved; left out while it is not, and where it was before that was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    approved_at: Option<WholeSecond>,
    /// How far it is on its way to the cloud.
    #[schema(value_type = SyncStatusWord)]
    sync_status: &'static str,
    /// How often that was tried; left out where it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_attempt_count: Option<i32>,
    /// Why that failed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_error_message: Option<String>,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_next_retry_at: Option<WholeSecond>,
    /// When it was queued, then when it was tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_started_at: Option<WholeSecond>,
    /// When the last try ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_completed_at: Option<WholeSecond>,
    /// When it was verified.
    created_at: WholeSecond,
    /// What was noted about it.
    labels: Vec<String>,
    /// What people say of it; only in the detail.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// What its operator says of it; only in the detail, and left out while they said nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    operator_word: Option<ShownWord>,
    /// What was salvaged of a damaged recording; only in the detail, and left out where nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    salvaged: Option<SalvagedObject>,
    /// Whatever is kept with it; only in the detail.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
}

/// The file with what is good of a damaged recording.
#[derive(Debug, Serialize, ToSchema)]
pub struct SalvagedObject {
    /// Where it lies in the bucket.
    object_key: String,
    /// SHA-256 of the file, in hex.
    sha256: String,
    /// Size of the file.
    #[schema(value_type = i64)]
    size_bytes: u64,
}

impl SalvagedObject {
    fn of(row: SalvageRow) -> Option<Self> {
        let (object_key, sha256, size) = (row.object_key?, row.sha256?, row.size_bytes?);
        Some(Self { object_key, sha256, size_bytes: size.0 })
    }
}

/// A number with so many decimals, as people compare them.
pub fn rounded(number: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (number * scale).round() / scale
}

impl Episode {
    /// With what its newest log says.
    fn synced(self, log: Option<&SyncLog>) -> Self {
        let Some(log) = log else { return self };
        Self {
            sync_status: log.status,
            sync_attempt_count: Some(log.attempt_count),
            sync_error_message: log.error_message.clone(),
            sync_next_retry_at: log.next_retry_at,
            sync_started_at: log.started_at,
            sync_completed_at: log.completed_at,
            ..self
        }
    }

    fn in_detail(row: EpisodeShown, salvage: Option<SalvageShown>) -> Self {
        let salvaged = salvage.and_then(|salvage| SalvagedObject::of(salvage.own));
        let metadata = row.own.metadata.clone().filter(Value::is_object);
        let inspector_id = row.own.inspector_id.map(|id| id.to_string());
        let inspection_decision = row.own.inspection_decision.map(Decision::as_str);
        let inspected_at = row.own.inspected_at.map(WholeSecond);
        let note = row.own.note.clone();
        let operator_word = row.own.operator_word.clone().map(ShownWord::from);
        Self { note, operator_word, salvaged, metadata, inspector_id, inspection_decision, inspected_at, ..Self::from(row) }
    }
}

impl From<EpisodeShown> for Episode {
    fn from(row: EpisodeShown) -> Self {
        let named = |text: String| (!text.is_empty()).then_some(text);
        Self {
            id: row.id.0,
            task_id: row.own.task_id.0,
            episode_id: Some(row.own.episode_id),
            task_public_id: Some(row.own.task_public_id.into()),
            sop_slug: row.sop_slug,
            sop_version: row.sop_version,
            scene_name: named(row.own.scene_name),
            subscene_name: named(row.own.subscene_name),
            robot_device_id: row.robot_device_id.map(String::from),
            collector_operator_id: row.collector_operator_id,
            mcap_path: row.own.mcap_path,
            sidecar_path: row.own.sidecar_path.unwrap_or_default(),
            checksum: Some(row.own.checksum),
            file_size_bytes: Some(row.own.file_size_bytes.0),
            message_count: row.own.message_count.0,
            duration_sec: row.own.duration_sec.map(|seconds| rounded(seconds, 2)),
            qa_status: row.own.qa_status.as_str(),
            qa_score: row.own.qa_score.map(|score| rounded(score, 3)),
            quality_flag: row.own.quality_flag,
            auto_approved: row.own.auto_approved,
            inspector_id: None,
            inspection_decision: None,
            inspected_at: None,
            cloud_synced: row.own.cloud_synced,
            cloud_processed: row.own.cloud_processed,
            cloud_synced_at: row.own.cloud_synced_at.map(WholeSecond),
            cloud_mcap_path: row.own.cloud_mcap_path,
            edge_copy: row.own.edge_copy.as_str(),
            damaged_copies: row.own.damaged_copies.iter().map(|place| place.as_str()).collect(),
            approved_at: row.own.approved_at.map(WholeSecond),
            sync_status: SyncStatus::NotStarted.as_str(),
            sync_attempt_count: None,
            sync_error_message: None,
            sync_next_retry_at: None,
            sync_started_at: None,
            sync_completed_at: None,
            created_at: row.created_at.into(),
            labels: row.own.labels,
            note: None,
            operator_word: None,
            salvaged: None,
            metadata: None,
        }
    }
}

/// Episodes, newest first.
#[utoipa::path(get, path = "/api/v1/episodes", tag = "episodes", params(
    ("limit" = Option<String>, Query, description = "0 to 100, default 50; what is no such number counts as the default"),
    ("offset" = Option<String>, Query, description = "What is no number from 0 on counts as 0"),
    ("task_id" = Option<String>, Query, description = "Database id, or the id that devices know"),
    ("order_id" = Option<String>, Query),
    ("batch_id" = Option<String>, Query),
    ("scene_id" = Option<String>, Query),
    ("qa_status" = Option<String>, Query),
    ("auto_approved" = Option<String>, Query, description = "`true` or `false`, also `1`, `0`, `t`, `f`; what is none of these does not filter"),
    ("cloud_processed" = Option<String>, Query, description = "`true` or `false`, also `1`, `0`, `t`, `f`; what is none of these does not filter"),
    ("cloud_synced" = Option<String>, Query, description = "`true` or `false`, also `1`, `0`, `t`, `f`; what is none of these does not filter"),
    ("cloud_outdated" = Option<String>, Query, description = "`true`: in the cloud, and approved no more"),
    ("edge_copy" = Option<String>, Query, description = "`available`, `deleting`, `deleted`, `delete_failed`, or `restoring`; another one selects nothing"),
    ("damaged_copy" = Option<String>, Query, description = "`true`: a copy of it was found damaged"),
    ("collector_operator_id" = Option<String>, Query),
    ("robot_device_id" = Option<String>, Query),
    ("created_at_from" = Option<String>, Query, description = "RFC 3339, inclusive"),
    ("created_at_to" = Option<String>, Query, description = "RFC 3339, inclusive"),
    ("at" = Option<String>, Query),
), responses((status = 200, body = Paged<Episode>), (status = 400, description = "A time that is none")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Answer<Paged<Episode>>, Problem> {
    let page = params.page_lax()?;
    let task = params.text("task_id");
    let task_id = task.as_ref().and_then(|text| text.parse().ok().map(TaskId));
    let filter = EpisodeFilter {
        task_id,
        task_public_id: task.filter(|_| task_id.is_none()),
        scene_id: params.text("scene_id").and_then(|text| text.parse().ok().map(SceneId)),
        qa_status: params.text("qa_status"),
        auto_approved: params.lenient_bool("auto_approved"),
        cloud_processed: params.lenient_bool("cloud_processed"),
        cloud_synced: params.lenient_bool("cloud_synced"),
        collector_operator_id: params.text("collector_operator_id"),
        robot_device_id: params.text("robot_device_id"),
        created_from: params.instant("created_at_from")?,
        created_to: params.instant("created_at_to")?,
        cloud_outdated: params.lenient_bool("cloud_outdated"),
        edge_copy: params.text("edge_copy"),
        damaged_copy: params.lenient_bool("damaged_copy"),
        order_id: params.text("order_id"),
        batch_id: params.text("batch_id"),
    };
    let as_of = AsOf::of_list(&state, &caller, &params, Part::Episodes).await?;
    let listed = as_of.reads.episodes(&caller.scope, &filter, page).await?;
    let ids: Vec<EpisodeId> = listed.rows.iter().map(|row| row.id).collect();
    let logs = newest_logs(&as_of.reads, &ids).await?;
    let listed = listed.map(|row| {
        let log = logs.get(&row.id);
        Episode::from(row).synced(log)
    });
    Ok(as_of.answer(Paged::new(listed, &page)))
}

/// One episode.
#[utoipa::path(get, path = "/api/v1/episodes/{id}", tag = "episodes", params(("id" = i64, Path), ("at" = Option<String>, Query)), responses(
    (status = 200, body = Episode),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, id: PathId, params: Params) -> Result<Answer<Episode>, Problem> {
    let id = EpisodeId(id.positive()?);
    let as_of = AsOf::of(&state, &caller, &params, Unit::Episode(id), Part::Itself).await?;
    let episode = in_detail(&as_of.reads, &caller.scope, id).await?;
    Ok(as_of.answer(episode))
}

async fn in_detail(reads: &Reads, scope: &Scope, id: EpisodeId) -> Result<Episode, Problem> {
    let episode = reads.episode(scope, id).await?.ok_or_else(|| Problem::not_found("episode"))?;
    let salvage = reads.salvage(scope, id).await?;
    let logs = newest_logs(reads, &[id]).await?;
    let log = logs.get(&episode.id);
    Ok(Episode::in_detail(episode, salvage).synced(log))
}

pub async fn found(state: &AppState, scope: &Scope, id: PathId) -> Result<EpisodeShown, Problem> {
    state.reads.episode(scope, EpisodeId(id.positive()?)).await?.ok_or_else(|| Problem::not_found("episode"))
}

/// The most labels of an episode, and how long each.
const LABELS_MAX: usize = 50;
type Label = Text<100>;

/// What people say of an episode. Everything else about it is not theirs to change.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EpisodeAnnotation {
    /// All that it is to have; those that rules put on stay. At most 50.
    #[schema(max_items = 50)]
    labels: Option<Vec<Label>>,
    /// A note; an empty one takes it away.
    note: Option<LongText>,
}

/// Put labels and a note on an episode.
#[utoipa::path(patch, path = "/api/v1/episodes/{id}", tag = "episodes", params(("id" = i64, Path)), request_body = EpisodeAnnotation, responses(
    (status = 200, body = Episode),
    (status = 400, description = "A field that is not people's to change, or nothing to change"),
    (status = 404, description = "There is none"),
    (status = 409, description = "A label that a rule puts on"),
))]
pub async fn annotate(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    Json(body): Json<EpisodeAnnotation>,
) -> Result<Json<Episode>, Problem> {
    let EpisodeAnnotation { labels, note } = body;
    if labels.is_none() && note.is_none() {
        return Err(Problem::new(Code::NothingToChange, "labels or note is required"));
    }
    if labels.as_ref().is_some_and(|labels| labels.len() > LABELS_MAX) {
        return Err(Problem::of_field("labels", format_args!("has more than {LABELS_MAX} entries")));
    }
    let episode = EpisodeId(id.positive()?);
    let labels = labels.map(|labels| labels.into_iter().map(|label| label.0).collect());
    let annotation = Annotation { labels, note: note.map(|note| LongText::said(Some(note))) };
    state.commands.execute(&caller.context(), AnnotateEpisode { episode, annotation }).await?;
    Ok(Json(in_detail(&state.reads, &caller.scope, episode).await?))
}

/// A link to a file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Link)]
pub struct SignedLink {
    /// A path on this server; works without a login for as long as `s3.presign_ttl_s` says, 15 minutes by default.
    url: String,
}

/// A link to a file of an episode.
#[utoipa::path(get, path = "/api/v1/episodes/{id}/presign", tag = "episodes", params(
    ("id" = i64, Path),
    ("kind" = Option<EpisodeFileWord>, Query, description = "Default `mcap`"),
), responses(
    (status = 200, body = SignedLink),
    (status = 400, description = "Another kind, or a stored path that cannot be used"),
    (status = 404, description = "There is no such episode"),
    (status = 409, description = "The recording failed its checks"),
))]
pub async fn presign(State(state): State<AppState>, caller: Caller, id: PathId, params: Params) -> Result<Json<SignedLink>, Problem> {
    let id = PathId(id.positive()?);
    let kind = params.text("kind").map_or_else(|| "mcap".to_owned(), |kind| kind.to_lowercase());
    if !matches!(kind.as_str(), "mcap" | "sidecar") {
        return Err(Problem::of_field("kind", "must be mcap or sidecar"));
    }
    let episode = found(&state, &caller.scope, id).await?;
    caller.must_see(&episode)?;
    let path = match kind.as_str() {
        "mcap" => {
            refuse_if_blocked(&episode, &episode.own.mcap_path)?;
            episode.own.mcap_path.clone()
        }
        _ => episode.own.sidecar_path.clone().unwrap_or_default(),
    };
    let location = Location::of_path(&path, &state.settings.bucket)?;
    Ok(Json(SignedLink { url: signed_link(&state, location) }))
}
