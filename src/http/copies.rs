//! `/episodes/{id}/copies` and `/edge-copy`: where a recording lies, how it was found there, and the copy in the edge storage removed and brought back.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::data_ops::{AcceptedRun, BulkBody, BulkEpisodes, BulkPreview, EpisodesMeant, accept, counted, preview};
use super::extract::{Json, MaybeJson, PathId};
use super::made::Made;
use super::policy::Policy;
use super::problem::Problem;
use super::routes::Routes;
use super::wire::WholeSecond;
use super::words::{CopyFaultWord, CopyPlaceWord, EdgeCopyStatusWord, LookDepthWord};
use crate::commands::copies::{AskForLook, CopiesOfEpisode, ReadCopies, RemoveEdgeCopy, RestoreEdgeCopy};
use crate::domain::EpisodeId;
use crate::domain::bulk_run::{BulkAction, BulkWork};
use crate::domain::episode::{CopyPlace, Look, RemovalCause};
use crate::projections::reads::data_ops::ForCleanup;

pub fn routes() -> Routes {
    let policy = Policy::MANAGE.closed();
    Routes::default()
        .at(Policy::READ.closed(), routes!(copies))
        .at(policy, routes!(remove))
        .at(policy.keyed(), routes!(restore))
        .at(policy.keyed(), routes!(look))
        .at(policy.reading(), routes!(preview_cleanup))
        .at(policy.keyed(), routes!(run_cleanup))
}

/// How a copy was found when it was looked at last.
#[derive(Debug, Serialize, ToSchema)]
pub struct CopyLook {
    /// `summary`: what the store says of it, and in the edge storage the summary of the MCAP. `content`: all of its bytes.
    #[schema(value_type = LookDepthWord)]
    depth: &'static str,
    /// Whether nothing was wrong.
    sound: bool,
    /// What was wrong; left out where nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
    /// When.
    at: WholeSecond,
}

impl From<&Look> for CopyLook {
    fn from(look: &Look) -> Self {
        let Look { depth, damage, at } = look.clone();
        Self { depth: depth.as_str(), sound: damage.is_none(), damage, at: at.into() }
    }
}

/// Why a removal or a restore did not end well.
#[derive(Debug, Serialize, ToSchema)]
pub struct CopyFailure {
    /// By its cause.
    #[schema(value_type = CopyFaultWord)]
    fault: &'static str,
    /// In words.
    text: String,
}

/// The copy in the edge storage.
#[derive(Debug, Serialize, ToSchema)]
pub struct EdgeCopy {
    /// Whether it is there.
    #[schema(value_type = EdgeCopyStatusWord)]
    status: &'static str,
    /// Since when it is so; left out where it never was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_at: Option<WholeSecond>,
    /// Why the last request was not done; left out where it was, and where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<CopyFailure>,
    /// `<bucket>/<key>`.
    path: String,
    /// How it was found; left out where it was not looked at since it was verified or brought back.
    #[serde(skip_serializing_if = "Option::is_none")]
    looked_at: Option<CopyLook>,
    /// Whether it may be removed now, as far as that is known without asking the clouds.
    removable: bool,
    /// Whether it is gone or damaged, and a cloud gives it back.
    restorable: bool,
}

/// A copy in a cloud.
#[derive(Debug, Serialize, ToSchema)]
pub struct CloudCopy {
    /// The cloud.
    #[schema(value_type = CopyPlaceWord)]
    place: &'static str,
    /// The bucket there.
    bucket: String,
    /// The key in the bucket.
    object_key: String,
    /// As the cloud gave it.
    etag: String,
    /// Its size.
    #[schema(value_type = i64)]
    size_bytes: u64,
    /// How it was found; left out where it was not looked at since it was synced.
    #[serde(skip_serializing_if = "Option::is_none")]
    looked_at: Option<CopyLook>,
}

/// Where a recording lies.
#[derive(Debug, Serialize, ToSchema)]
pub struct Copies {
    /// The id of the episode.
    episode_id: i64,
    /// SHA-256 of the recording, in hex.
    checksum: String,
    /// In the edge storage.
    edge: EdgeCopy,
    /// In clouds, also what is left in one of an episode that not every cloud of the site has.
    clouds: Vec<CloudCopy>,
}

impl Copies {
    fn of(id: EpisodeId, copies: &CopiesOfEpisode, removable: bool) -> Self {
        let known = &copies.known;
        let look_at = |place: CopyPlace| known.copies.looks.get(&place).map(CopyLook::from);
        let edge = EdgeCopy {
            status: known.copies.status().as_str(),
            changed_at: known.copies.changed_at.map(WholeSecond),
            failure: known.copies.failure.as_ref().map(|failure| CopyFailure { fault: failure.fault.as_str(), text: failure.text.clone() }),
            path: known.created.mcap_path.clone(),
            looked_at: look_at(CopyPlace::Edge),
            removable,
            restorable: known.copies.is_lost() && copies.is_synced && copies.clouds.keys().any(|cloud| cloud.gives_back()),
        };
        let clouds = copies.clouds.iter().map(|(cloud, pushed)| CloudCopy {
            place: cloud.as_str(),
            bucket: pushed.object.bucket.clone(),
            object_key: pushed.object.object_key.clone(),
            etag: pushed.object.etag.clone(),
            size_bytes: pushed.object.size_bytes,
            looked_at: look_at((*cloud).into()),
        });
        Self { episode_id: id.0, checksum: known.created.checksum.clone(), edge, clouds: clouds.collect() }
    }
}

async fn copies_of(state: &AppState, caller: &Caller, id: EpisodeId) -> Result<Copies, Problem> {
    let copies = state.commands.execute(&caller.context(), ReadCopies(id)).await?;
    let is_there = copies.known.copies.is_at_rest();
    let removable = is_there && copies.is_synced && copies.known.may_lose_its_edge_copy(state.commands.now()).is_ok();
    Ok(Copies::of(id, &copies, removable))
}

/// Where a recording lies, and how each copy was found when it was looked at last.
#[utoipa::path(get, path = "/api/v1/episodes/{id}/copies", tag = "episodes", params(("id" = i64, Path)), responses(
    (status = 200, body = Copies),
    (status = 404, description = "There is no such episode"),
))]
pub async fn copies(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Json<Copies>, Problem> {
    Ok(Json(copies_of(&state, &caller, EpisodeId(id.positive()?)).await?))
}

async fn accepted(state: &AppState, caller: &Caller, id: EpisodeId) -> Result<Response, Problem> {
    Ok((StatusCode::ACCEPTED, Json(copies_of(state, caller, id).await?)).into_response())
}

/// Remove the copy of a synced episode from the edge storage. Each cloud is asked first whether it has the recording; where it is kept, `edge.failure` says why.
#[utoipa::path(delete, path = "/api/v1/episodes/{id}/edge-copy", tag = "episodes", params(("id" = i64, Path)), responses(
    (status = 202, body = Copies, description = "It is being removed, or was before"),
    (status = 404, description = "There is no such episode"),
    (status = 409, description = "It is needed: not synced, not approved, recalled, on its way to a cloud, looked at by a run, a salvage or an inspector, or being restored"),
))]
pub async fn remove(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Response, Problem> {
    let episode = EpisodeId(id.positive()?);
    state.commands.execute(&caller.context(), RemoveEdgeCopy { episode, cause: RemovalCause::Manual }).await?;
    accepted(&state, &caller, episode).await
}

/// Bring a recording back to the edge storage that was removed there, or found damaged or gone. It is compared with the hash of the episode.
#[utoipa::path(post, path = "/api/v1/episodes/{id}/edge-copy/restore", tag = "episodes", params(("id" = i64, Path)), responses(
    (status = 202, body = Copies, description = "It is being brought back"),
    (status = 404, description = "There is no such episode"),
    (status = 409, description = "Nothing is known to be wrong with it, no cloud gives it back, or it is being removed"),
))]
pub async fn restore(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Response, Problem> {
    let episode = EpisodeId(id.positive()?);
    state.commands.execute(&caller.context(), RestoreEdgeCopy(episode)).await?;
    accepted(&state, &caller, episode).await
}

/// Which copy is meant.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyMeant {
    /// Where it lies; by default in the edge storage.
    #[schema(nullable = false)]
    place: Option<CopyPlaceWord>,
}

/// Look at a copy now, at all of its bytes where they can be read. `copies` tells what was found.
#[utoipa::path(post, path = "/api/v1/episodes/{id}/copies/look", tag = "episodes", params(("id" = i64, Path)), request_body(content = Option<CopyMeant>), responses(
    (status = 202, body = Copies, description = "It is being looked at"),
    (status = 400, description = "A place that there is not"),
    (status = 404, description = "There is no such episode, or no copy of it is known to lie there"),
    (status = 410, description = "The copy in the edge storage was removed"),
))]
pub async fn look(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    MaybeJson(body): MaybeJson<CopyMeant>,
) -> Result<Response, Problem> {
    let episode = EpisodeId(id.positive()?);
    let place = body.place.map_or(CopyPlace::Edge, |place| place.0);
    state.commands.execute(&caller.context(), AskForLook { episode, place }).await?;
    accepted(&state, &caller, episode).await
}

impl From<ForCleanup> for BulkPreview {
    fn from(counts: ForCleanup) -> Self {
        let reasons = [
            ("not_synced", counts.not_synced),
            ("qa_not_approved", counts.not_approved),
            ("recalled", counts.recalled),
            ("edge_copy_gone", counts.gone),
            ("damaged_in_cloud", counts.damaged),
            ("sync_active", counts.active),
        ];
        preview(BulkAction::BulkCleanup.as_str(), counts.matched, &reasons)
    }
}

/// Of how many episodes the copies in the edge storage would be removed. Changes nothing, and asks no cloud.
#[utoipa::path(post, path = "/api/v1/data-ops/episodes/bulk-cleanup/preview", tag = "operation", request_body(content = Option<EpisodesMeant>), responses(
    (status = 200, body = BulkPreview),
    (status = 400, description = "A filter that cannot be"),
))]
pub async fn preview_cleanup(
    State(state): State<AppState>,
    caller: Caller,
    BulkBody(body): BulkBody<EpisodesMeant>,
) -> Result<Json<BulkPreview>, Problem> {
    Ok(Json(counted(state.reads.counted_for_cleanup(&caller.scope, &body.selection()?).await?)?.into()))
}

/// What episodes are accepted for.
const WHAT: &str = "bulk cleanup";

/// Remove the copies of many synced episodes from the edge storage, each as if it were asked for by itself. What is needed is skipped, with the reason.
#[utoipa::path(post, path = "/api/v1/data-ops/episodes/bulk-cleanup", tag = "operation", request_body = BulkEpisodes, responses(
    (status = 202, body = AcceptedRun, description = "Accepted, with the episodes that are meant at this moment"),
    (status = 400, description = "A filter that cannot be, or it was not said that it is meant"),
    (status = 409, description = "Such a run goes on already, or there are many more or less episodes than were expected"),
))]
pub async fn run_cleanup(
    State(state): State<AppState>,
    caller: Caller,
    BulkBody(body): BulkBody<BulkEpisodes>,
) -> Result<Made<AcceptedRun>, Problem> {
    let (selection, expected) = body.confirmed()?;
    accept(&state, &caller, (BulkWork::BulkCleanup { selection }, expected), WHAT).await
}
