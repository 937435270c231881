//! `/episodes/{id}/salvage`: what is good of a damaged recording, as a file that is no episode.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::download::store_failed;
use super::episodes::found;
use super::extract::{Json, PathId};
use super::location::Location;
use super::made::Made;
use super::policy::Policy;
use super::problem::Problem;
use super::routes::Routes;
use super::storage::signed_link;
use super::tasks::Ending;
use super::wire::WholeSecond;
use super::words::{FindingKindWord, SalvageFaultWord, SalvageStateWord};
use crate::commands::salvages::AskForSalvage;
use crate::domain::EpisodeId;
use crate::domain::episode::SalvageState;
use crate::domain::measurement::{Finding, NotMeasured};
use crate::domain::salvage::{GoodRange, Salvaged};
use crate::projections::reads::salvages::SalvageShown;

pub fn routes() -> Routes {
    Routes::default().at(Policy::READ.closed().download(), routes!(get)).at(Policy::MANAGE.closed().keyed(), routes!(ask))
}

/// How far the salvage of an episode is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Salvage {
    /// The id of the episode.
    episode_id: i64,
    /// `not_asked`, `under_way`, `salvaged`, or `failed`.
    #[schema(value_type = SalvageStateWord)]
    state: &'static str,
    /// How often it was asked for; 0 is never.
    request: i32,
    /// Who asked last, as the log names them; null where nobody did.
    #[schema(required)]
    asked_by: Option<String>,
    /// Why.
    #[schema(required)]
    reason: Option<String>,
    /// When.
    #[schema(required)]
    asked_at: Option<WholeSecond>,
    /// Since when it is not under way any more.
    #[schema(required)]
    ended_at: Option<WholeSecond>,
    /// Why there is nothing that was salvaged: `nothing_kept`, `object_gone`, or `other_object`. Null where it did not fail.
    #[schema(required, value_type = Option<SalvageFaultWord>)]
    fault: Option<&'static str>,
    /// The same in words.
    #[schema(required)]
    fault_text: Option<String>,
    /// The newest that was made, also while another one is; null where there is none.
    #[schema(required)]
    file: Option<SalvageFile>,
}

/// The file with what is good of a damaged recording.
#[derive(Debug, Serialize, ToSchema)]
pub struct SalvageFile {
    /// Where it lies in the bucket.
    object_key: String,
    /// SHA-256 of the file, in hex.
    sha256: String,
    /// Size of the file.
    #[schema(value_type = i64)]
    size_bytes: u64,
    /// A link to it, for administrators and inspectors; left out for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// SHA-256 of the damaged recording, in hex.
    parent_sha256: String,
    /// Size of the damaged recording.
    #[schema(value_type = i64)]
    parent_size_bytes: u64,
    /// The version of the code that made it.
    made_by: u32,
    /// Messages in it.
    #[schema(value_type = i64)]
    messages_kept: u64,
    /// Chunks of the damaged recording of which everything is kept.
    #[schema(value_type = i64)]
    chunks_kept: u64,
    /// Those of which some records are.
    #[schema(value_type = i64)]
    chunks_in_part: u64,
    /// Those of which nothing is.
    #[schema(value_type = i64)]
    chunks_lost: u64,
    /// Attachments in it.
    #[schema(value_type = i64)]
    attachments_kept: u64,
    /// Metadata records in it, beside the one that tells what is missing.
    #[schema(value_type = i64)]
    metadata_kept: u64,
    /// Bytes of the damaged recording within which lies what damage cost.
    #[schema(value_type = i64)]
    missing_bytes: u64,
    /// What damage cost, the first 50 places.
    missing: Vec<SalvageMissing>,
    /// How many more places there are.
    #[schema(value_type = i64)]
    more_missing: u64,
    /// What is not kept though nothing says that it is damaged, the first 50 places.
    left_out: Vec<SalvageLeftOut>,
    /// How many more places there are.
    #[schema(value_type = i64)]
    more_left_out: u64,
    /// What lies between what is missing, the first 50 ranges.
    ranges: Vec<SalvageRange>,
    /// How many more ranges there are.
    #[schema(value_type = i64)]
    more_ranges: u64,
}

/// What damage cost.
#[derive(Debug, Serialize, ToSchema)]
pub struct SalvageMissing {
    /// Which kind of damage it is.
    #[schema(value_type = FindingKindWord)]
    kind: &'static str,
    /// Where it begins in the damaged recording.
    #[schema(value_type = i64)]
    at: u64,
    /// How many bytes from there on.
    #[schema(value_type = i64)]
    bytes: u64,
    /// The number of the chunk, from 0; null outside of chunks.
    #[schema(required, value_type = Option<i64>)]
    chunk: Option<u64>,
    /// In words.
    text: String,
}

/// What is not kept, and no damage.
#[derive(Debug, Serialize, ToSchema)]
pub struct SalvageLeftOut {
    /// Where it begins in the damaged recording; null where it has no place.
    #[schema(required, value_type = Option<i64>)]
    at: Option<u64>,
    /// In words.
    why: String,
}

/// Messages without damage between them.
#[derive(Debug, Serialize, ToSchema)]
pub struct SalvageRange {
    /// Where they begin in the damaged recording.
    #[schema(value_type = i64)]
    at: u64,
    /// How many bytes from there on.
    #[schema(value_type = i64)]
    bytes: u64,
    /// How many messages.
    #[schema(value_type = i64)]
    messages: u64,
    /// From the earliest to the latest, in seconds.
    duration_sec: f64,
}

impl From<Finding> for SalvageMissing {
    fn from(one: Finding) -> Self {
        Self { kind: one.kind.as_str(), at: one.at, bytes: one.bytes, chunk: one.chunk, text: one.text }
    }
}

impl From<NotMeasured> for SalvageLeftOut {
    fn from(one: NotMeasured) -> Self {
        Self { at: one.at, why: one.why }
    }
}

impl From<GoodRange> for SalvageRange {
    fn from(one: GoodRange) -> Self {
        let duration_sec = one.to_ns.saturating_sub(one.from_ns) as f64 / 1e9;
        Self { at: one.at, bytes: one.bytes, messages: one.messages, duration_sec }
    }
}

fn all<T, S: From<T>>(items: Vec<T>) -> Vec<S> {
    items.into_iter().map(S::from).collect()
}

impl SalvageFile {
    fn of(object_key: String, salvaged: Salvaged, url: Option<String>) -> Self {
        Self {
            object_key,
            url,
            sha256: salvaged.sha256,
            size_bytes: salvaged.size_bytes,
            parent_sha256: salvaged.parent_sha256,
            parent_size_bytes: salvaged.parent_size_bytes,
            made_by: salvaged.made_by,
            messages_kept: salvaged.messages_kept,
            chunks_kept: salvaged.chunks_kept,
            chunks_in_part: salvaged.chunks_in_part,
            chunks_lost: salvaged.chunks_lost,
            attachments_kept: salvaged.attachments_kept,
            metadata_kept: salvaged.metadata_kept,
            missing_bytes: salvaged.missing_bytes,
            missing: all(salvaged.missing.items),
            more_missing: salvaged.missing.cut,
            left_out: all(salvaged.left_out.items),
            more_left_out: salvaged.left_out.cut,
            ranges: all(salvaged.ranges.items),
            more_ranges: salvaged.ranges.cut,
        }
    }
}

impl Salvage {
    fn not_asked(episode: EpisodeId) -> Self {
        Self {
            episode_id: episode.0,
            state: SalvageState::NotAsked.as_str(),
            request: 0,
            asked_by: None,
            reason: None,
            asked_at: None,
            ended_at: None,
            fault: None,
            fault_text: None,
            file: None,
        }
    }

    fn of(shown: SalvageShown, link: impl FnOnce(&str) -> Result<Option<String>, Problem>) -> Result<Self, Problem> {
        let own = shown.own;
        let file = match own.object_key.zip(own.salvaged) {
            Some((key, salvaged)) => {
                let url = link(&key)?;
                Some(SalvageFile::of(key, salvaged, url))
            }
            None => None,
        };
        Ok(Self {
            episode_id: shown.id.0,
            state: own.state.as_str(),
            request: own.request,
            asked_by: Some(own.asked_by),
            reason: Some(own.reason),
            asked_at: Some(own.asked_at.into()),
            ended_at: own.ended_at.map(WholeSecond),
            fault: own.fault.map(|fault| fault.as_str()),
            fault_text: own.fault_text,
            file,
        })
    }
}

async fn shown(state: &AppState, caller: &Caller, id: EpisodeId) -> Result<Salvage, Problem> {
    let link = |key: &str| match caller.judges() {
        true => Location::of_path(key, &state.settings.bucket).map(|location| Some(signed_link(state, location))),
        false => Ok(None),
    };
    match state.reads.salvage(&caller.scope, id).await? {
        Some(shown) => Salvage::of(shown, link),
        None => Ok(Salvage::not_asked(id)),
    }
}

/// What became of salvaging a damaged recording: who wanted it and why, what was kept, and what is missing.
#[utoipa::path(get, path = "/api/v1/episodes/{id}/salvage", tag = "episodes", params(("id" = i64, Path)), responses(
    (status = 200, body = Salvage),
    (status = 404, description = "There is no such episode"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Json<Salvage>, Problem> {
    let episode = found(&state, &caller.scope, id).await?;
    Ok(Json(shown(&state, &caller, episode.id).await?))
}

/// Have what is good of a damaged recording that failed written to a file of its own. The file is no episode and counts nowhere, and the episode stays what it is.
/// Where it was made before from the same bytes by the same code, the answer is what there is.
#[utoipa::path(post, path = "/api/v1/episodes/{id}/salvage", tag = "episodes", params(("id" = i64, Path)), request_body = Ending, responses(
    (status = 200, body = Salvage, description = "It was made before, and is there"),
    (status = 202, body = Salvage, description = "It is being made"),
    (status = 400, description = "No reason, or one that is too long"),
    (status = 404, description = "There is no such episode"),
    (status = 409, description = "It did not fail, no damage was found in it, or it is being salvaged"),
    (status = 502, description = "The object store failed"),
))]
pub async fn ask(State(state): State<AppState>, caller: Caller, id: PathId, Json(why): Json<Ending>) -> Result<Made<Salvage>, Problem> {
    let episode = EpisodeId(id.positive()?);
    // What is not seen is refused by the command.
    let before = state.reads.salvage(&caller.scope, episode).await?.filter(|before| before.own.state == SalvageState::Salvaged);
    let file_gone = match before.and_then(|before| before.own.object_key) {
        Some(key) => state.objects.head(&key).await.map_err(|error| store_failed(&error))?.is_none(),
        None => false,
    };
    let command = AskForSalvage { episode, reason: why.reason(), file_gone };
    let answer = state.commands.execute(&caller.context(), command).await?;
    let status = if answer.state == SalvageState::UnderWay { StatusCode::ACCEPTED } else { StatusCode::OK };
    let known = json!({ "episode_id": episode.0, "state": answer.state.as_str(), "request": answer.request });
    Ok(Made::read(status, known, shown(&state, &caller, episode)).await)
}
