//! `/log`: the log as others verify it (`docs/log-proof.md`): signed checkpoints, the tree in tiles, and proofs.

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::extract::{Json, Params, PathText};
use super::fields::MISSING;
use super::policy::Policy;
use super::problem::{Code, Problem, failed};
use super::routes::Routes;
use crate::certificates::NoteKey;
use crate::domain::log_tree::proof::{of_consistency, of_inclusion};
use crate::domain::log_tree::span::{Span, consistency, inclusion, tiles_of};
use crate::domain::log_tree::tile::WIDTH;
use crate::domain::log_tree::{Hash, Kept, Resource, TileId, Tiles as _, leaf};
use crate::projections::reads::log_tree::SignedHead;

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::AUDIT, routes!(checkpoint))
        .at(Policy::AUDIT, routes!(checkpoints))
        .at(Policy::AUDIT, routes!(tile))
        .at(Policy::AUDIT, routes!(inclusion_proof))
        .at(Policy::AUDIT, routes!(consistency_proof))
        .at(Policy::AUDIT, routes!(keys))
}

const LIMIT_DEFAULT: i64 = 50;
const LIMIT_MAX: i64 = 200;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
const AS_IT_IS_NOW: HeaderValue = HeaderValue::from_static("no-store");
const FOR_EVER: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// A head of the tree as it was signed.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogCheckpoint {
    /// How many events it is of: those at the positions up to this one.
    size: i64,
    /// The root of the tree, in base64.
    root: String,
    /// When it was signed.
    made_at: super::wire::WholeSecond,
    /// The checkpoint with its signatures: what an auditor keeps.
    note: String,
}

impl From<SignedHead> for LogCheckpoint {
    fn from(head: SignedHead) -> Self {
        Self { size: head.size, root: STANDARD.encode(head.root), made_at: head.made_at.into(), note: head.note }
    }
}

/// Checkpoints, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogCheckpoints {
    /// The checkpoints of this page.
    items: Vec<LogCheckpoint>,
    /// How many a page has at most.
    limit: i64,
    /// For `before`, where the next page begins; left out on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_before: Option<i64>,
}

/// That an event is in the log at its position.
#[derive(Debug, Serialize, ToSchema)]
pub struct InclusionProof {
    /// The position that was asked for; its leaf is the one before it, counted from 0.
    position: i64,
    /// Of how many events the tree is.
    size: i64,
    /// The event: its stream and its number there.
    event_id: String,
    /// What happened.
    event_type: String,
    /// What the leaf is, as the event is now: the position in 8 bytes and the commitment, in base64.
    leaf: String,
    /// The hashes from the leaf to the root, the nearest first, in base64.
    proof: Vec<String>,
    /// The root of the tree, in base64.
    root: String,
    /// The signed checkpoint of this size, where one was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
}

/// That one tree is the beginning of another.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConsistencyProof {
    /// Of how many events the smaller tree is.
    from: i64,
    /// Of how many events the larger tree is.
    to: i64,
    /// The root of the smaller tree, in base64.
    from_root: String,
    /// The root of the larger tree, in base64.
    to_root: String,
    /// The hashes of the proof, in base64.
    proof: Vec<String>,
}

fn packed(hash: Hash) -> String {
    STANDARD.encode(hash.0)
}

/// The newest head that was signed.
async fn newest(state: &AppState) -> Result<SignedHead, Problem> {
    match state.reads.signed_heads(i64::MAX, 1).await?.pop() {
        Some(head) => Ok(head),
        None if state.log.can_sign() => {
            Err(Problem::new(Code::LogBehind, "the log has no checkpoint yet; a moment after its first event it has").retry_after(1))
        }
        None => {
            Err(Problem::new(Code::CertificatesUnavailable, "this site has no key to sign its log with: `certificates.key_file` names one"))
        }
    }
}

/// A size of the tree, up to that of the newest checkpoint.
fn size(params: &Params, name: &str, newest: &SignedHead) -> Result<u64, Problem> {
    let size = params.positive(name)?.unwrap_or(newest.size);
    if size > newest.size {
        return Err(Problem::of_field(name, format_args!("is beyond the newest checkpoint, which is of {} events", newest.size)));
    }
    u64::try_from(size).map_err(|_| Problem::of_field(name, "must be a positive integer"))
}

/// What a proof and a root are made from.
async fn tiles(state: &AppState, spans: &[Span]) -> Result<Kept, Problem> {
    Ok(state.reads.log_tiles(&tiles_of(spans)).await?)
}

fn lacks_tiles(size: u64) -> Problem {
    failed(&anyhow::anyhow!("tiles of the tree of {size} events are not there; `keystone verify` says more"))
}

/// The newest checkpoint of the log: a signed note of three lines, as tlog-checkpoint has it.
#[utoipa::path(get, path = "/api/v1/log/checkpoint", tag = "events", responses(
    (status = 200, description = "Origin, size and root, and the signature of the site", content_type = "text/plain; charset=utf-8", body = String),
    (status = 503, description = "The site has no key to sign with, or no event yet"),
))]
pub async fn checkpoint(State(state): State<AppState>) -> Result<Response, Problem> {
    let head = newest(&state).await?;
    Ok(([(CONTENT_TYPE, TEXT), (CACHE_CONTROL, AS_IT_IS_NOW)], head.note).into_response())
}

/// Every checkpoint that was signed, the newest first.
#[utoipa::path(get, path = "/api/v1/log/checkpoints", tag = "events", params(
    ("before" = Option<i64>, Query, description = "The next_before of a page: only checkpoints of fewer events"),
    ("limit" = Option<i64>, Query, description = "At least 1, default 50; at most 200 are given at once"),
), responses((status = 200, body = LogCheckpoints), (status = 400, description = "A page that cannot be")))]
pub async fn checkpoints(State(state): State<AppState>, params: Params) -> Result<Json<LogCheckpoints>, Problem> {
    let limit = params.positive("limit")?.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX);
    let before = params.positive("before")?.unwrap_or(i64::MAX);
    // One more tells whether there is a next page.
    let mut heads = state.reads.signed_heads(before, limit + 1).await?;
    let more = i64::try_from(heads.len()).is_ok_and(|found| found > limit);
    heads.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_before = heads.last().filter(|_| more).map(|head| head.size);
    Ok(Json(LogCheckpoints { items: heads.into_iter().map(Into::into).collect(), limit, next_before }))
}

/// The tree in pieces, named as tlog-tiles has it: 256 hashes of a level, or as many leaves; with `.p/` and a width the first ones of a piece that is not full.
#[utoipa::path(get, path = "/api/v1/log/tile/{*path}", tag = "events", params(
    ("path" = String, Path, description = "A level, or entries, and the number: 0/000, 0/x001/234, 1/000.p/17, entries/000"),
), responses(
    (status = 200, description = "Hashes of 32 bytes each; of entries, leaves of 40 bytes, each behind its length in 2 bytes",
     content_type = "application/octet-stream", body = Vec<u8>),
    (status = 404, description = "There is no such piece, or it is not as wide yet"),
))]
pub async fn tile(State(state): State<AppState>, path: PathText) -> Result<Response, Problem> {
    let unknown = || Problem::not_found("tile");
    let resource = Resource::parse(&path.0).ok_or_else(unknown)?;
    let (id, width) = match resource {
        Resource::Hashes { tile, width } => (tile, width),
        Resource::Entries { number, width } => (TileId { level: 0, number }, width),
    };
    let kept = state.reads.log_tiles(&[id].into()).await?;
    let hashes = kept.tile(id).and_then(|hashes| hashes.get(..width)).ok_or_else(unknown)?;
    let bytes = match resource {
        Resource::Hashes { .. } => Hash::bytes_of(hashes),
        Resource::Entries { number, .. } => entries(&state, number, width).await?,
    };
    Ok(([(CONTENT_TYPE, BYTES), (CACHE_CONTROL, FOR_EVER)], bytes).into_response())
}

/// The leaves of a tile of the lowest level, as they follow from the events that are there.
async fn entries(state: &AppState, number: u64, width: usize) -> Result<Vec<u8>, Problem> {
    let unknown = || Problem::not_found("tile");
    let before = number.checked_mul(WIDTH as u64).and_then(|first| i64::try_from(first).ok()).ok_or_else(unknown)?;
    let last = i64::try_from(width).ok().and_then(|width| before.checked_add(width)).ok_or_else(unknown)?;
    let mut leaves = vec![];
    for told in state.reads.told_events(before + 1, last).await? {
        leaves.push(leaf(told.position, &told.commitment));
    }
    if leaves.len() != width {
        return Err(failed(&anyhow::anyhow!(
            "events between the positions {} and {last} are not there; `keystone verify` says more",
            before + 1
        )));
    }
    Ok(crate::domain::log_tree::hash::bundle(&leaves))
}

/// That an event is in the log at its position: hashes from its leaf to the root of a checkpoint.
#[utoipa::path(get, path = "/api/v1/log/proofs/inclusion", tag = "events", params(
    ("position" = i64, Query, description = "The position of the event, from 1 on"),
    ("size" = Option<i64>, Query, description = "Of how many events the tree is; that of the newest checkpoint where it is not given"),
), responses(
    (status = 200, body = InclusionProof),
    (status = 400, description = "A position beyond the tree, or a size beyond the newest checkpoint"),
    (status = 404, description = "The log has no event there any more"),
    (status = 503, description = "There is no checkpoint"),
))]
pub async fn inclusion_proof(State(state): State<AppState>, params: Params) -> Result<Json<InclusionProof>, Problem> {
    let position = params.positive("position")?.ok_or_else(|| Problem::of_field("position", MISSING))?;
    let newest = newest(&state).await?;
    let size = size(&params, "size", &newest)?;
    let index = u64::try_from(position - 1).unwrap_or(u64::MAX);
    if index >= size {
        return Err(Problem::of_field("position", format_args!("is beyond the tree, which is of {size} events")));
    }
    let path = inclusion(index, size);
    let kept = tiles(&state, &[path.as_slice(), &[Span::whole(size)]].concat()).await?;
    let (proof, root) = of_inclusion(&kept, index, size).zip(kept.root(size)).ok_or_else(|| lacks_tiles(size))?;
    let told = state.reads.told_events(position, position).await?.pop().ok_or_else(|| Problem::not_found("event"))?;
    let as_stored = i64::try_from(size).unwrap_or(i64::MAX);
    let checkpoint = state.reads.signed_head(as_stored).await?.map(|head| head.note);
    Ok(Json(InclusionProof {
        position,
        size: as_stored,
        leaf: STANDARD.encode(leaf(told.position, &told.commitment)),
        event_id: told.event,
        event_type: told.event_type,
        proof: proof.into_iter().map(packed).collect(),
        root: packed(root),
        checkpoint,
    }))
}

/// That a tree is the beginning of a later one: nothing that was in it was changed or removed.
#[utoipa::path(get, path = "/api/v1/log/proofs/consistency", tag = "events", params(
    ("from" = i64, Query, description = "Of how many events the smaller tree is, 1 or more"),
    ("to" = Option<i64>, Query, description = "Of how many events the larger tree is; that of the newest checkpoint where it is not given"),
), responses(
    (status = 200, body = ConsistencyProof),
    (status = 400, description = "A size beyond the newest checkpoint, or the first beyond the second"),
    (status = 503, description = "There is no checkpoint"),
))]
pub async fn consistency_proof(State(state): State<AppState>, params: Params) -> Result<Json<ConsistencyProof>, Problem> {
    params.positive("from")?.ok_or_else(|| Problem::of_field("from", MISSING))?;
    let newest = newest(&state).await?;
    let (from, to) = (size(&params, "from", &newest)?, size(&params, "to", &newest)?);
    if from > to {
        return Err(Problem::of_field("from", format_args!("is beyond to, which is {to}")));
    }
    let kept = tiles(&state, &[consistency(from, to).as_slice(), &[Span::whole(from), Span::whole(to)]].concat()).await?;
    let roots = kept.root(from).zip(kept.root(to));
    let (proof, (from_root, to_root)) = of_consistency(&kept, from, to).zip(roots).ok_or_else(|| lacks_tiles(to))?;
    let as_stored = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
    Ok(Json(ConsistencyProof {
        from: as_stored(from),
        to: as_stored(to),
        from_root: packed(from_root),
        to_root: packed(to_root),
        proof: proof.into_iter().map(packed).collect(),
    }))
}

/// The keys that verify checkpoints, a line each as signed-note has it: the one that signs, and those that did before. Empty where the site has none.
#[utoipa::path(get, path = "/api/v1/log/keys", tag = "events", responses(
    (status = 200, description = "Name, id and key", content_type = "text/plain; charset=utf-8", body = String),
))]
pub async fn keys(State(state): State<AppState>) -> Response {
    let lines: String = state.log.keys().iter().map(NoteKey::line).map(|line| line + "\n").collect();
    ([(CONTENT_TYPE, TEXT), (CACHE_CONTROL, AS_IT_IS_NOW)], lines).into_response()
}
