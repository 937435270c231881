//! `/storage/object`: bytes of an episode's files, whole or in ranges.
//!
//! What may be read: objects of episodes, in the factory's own bucket; not the recording of
//! an episode that failed its checks. What was salvaged of one is for those who judge recordings. A signed link names exactly one object.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::tokens::{ObjectClaims, TokenError};
use super::auth::{Caller, Identity};
use super::download::{Asking, Way, link_refused, object_not_found, serve, store_failed};
use super::extract::{Json, Params};
use super::location::{Location, percent_encode};
use super::policy::Policy;
use super::problem::{Code, Problem};
use super::routes::Routes;
use crate::blobs::is_salvaged;
use crate::commands::Refusal;
use crate::domain::Scope;
use crate::domain::episode::{EpisodeRefusal, QaStatus};
use crate::projections::reads::episodes::EpisodeShown;

pub fn routes() -> Routes {
    Routes::default().at(Policy::READ.closed().download(), routes!(presign)).at(Policy::READ.or_link().download(), routes!(object))
}

/// A path on this server that works without a login, for one object and a quarter of an hour.
pub fn signed_link(state: &AppState, location: Location) -> String {
    let (bucket, object) = (percent_encode(&location.bucket), percent_encode(&location.object));
    let claims = ObjectClaims { bucket: location.bucket, object: location.object };
    let token = state.tokens.link(claims, state.commands.now());
    format!("/api/v1/storage/object?bucket={bucket}&dl_token={token}&object={object}")
}

/// An object of an episode.
struct Found {
    location: Location,
    episode: EpisodeShown,
    /// It is none of its files, but what was salvaged of its recording.
    salvaged: bool,
}

impl Found {
    fn must_be_for(&self, caller: &Caller) -> Result<(), Problem> {
        if self.salvaged { caller.must_judge() } else { caller.must_see(&self.episode) }
    }
}

/// The first of these that is an episode's.
async fn found(state: &AppState, scope: &Scope, readings: Vec<Location>) -> Result<Found, Problem> {
    for location in readings.into_iter().filter(|reading| reading.bucket == state.settings.bucket) {
        if let Some(episode) = state.reads.episode_of_object(scope, &location.path()).await? {
            return Ok(Found { location, episode, salvaged: false });
        }
        if is_salvaged(&location.object)
            && let Some(episode) = state.reads.episode_of_salvaged(scope, &location.object).await?
        {
            return Ok(Found { location, episode, salvaged: true });
        }
    }
    Err(object_not_found())
}

/// A recording that failed its checks stays where it is; one that was removed is elsewhere.
pub fn refuse_if_blocked(episode: &EpisodeShown, path: &str) -> Result<(), Problem> {
    if episode.own.edge_copy_gone && episode.own.mcap_path == path {
        let in_cloud = episode.own.cloud_mcap_path.clone();
        return Err(Refusal::from(EpisodeRefusal::EdgeCopyGone { in_cloud }).into());
    }
    if episode.own.qa_status != QaStatus::Failed || episode.own.mcap_path != path {
        return Ok(());
    }
    let problem = Problem::new(Code::EpisodeBlocked, "the recording failed its checks and cannot be downloaded");
    Err(match &episode.own.quality_flag {
        Some(flag) => problem.with("quality_flag", flag.clone()),
        None => problem,
    })
}

#[derive(Debug, Serialize, ToSchema)]
pub struct StoreLink {
    /// `/s3/<bucket>/<object>?<signature>`: the proxy in front of the pages leads `/s3/` to the object store.
    url: String,
}

/// Seconds for which a link to the object store can be asked.
const LIFETIME_MAX_S: u64 = 3600;
const LIFETIME_DEFAULT_S: u64 = 600;

/// A link to an object at the object store itself, for callers that reach it through a proxy.
#[utoipa::path(get, path = "/api/v1/storage/presign", tag = "storage", params(
    ("bucket" = String, Query),
    ("object" = String, Query),
    ("expires_seconds" = Option<u64>, Query, description = "1 to 3600, default 600"),
), responses(
    (status = 200, body = StoreLink),
    (status = 400, description = "Not a bucket, not an object, or not a lifetime"),
    (status = 404, description = "No episode has this object"),
    (status = 409, description = "The episode failed its checks"),
))]
pub async fn presign(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<StoreLink>, Problem> {
    let readings = Location::readings(params.exact("bucket"), params.exact("object"))?;
    let lifetime = match params.text("expires_seconds") {
        None => LIFETIME_DEFAULT_S,
        Some(text) => text
            .parse()
            .ok()
            .filter(|seconds| (1..=LIFETIME_MAX_S).contains(seconds))
            .ok_or_else(|| Problem::invalid(format!("expires_seconds must be between 1 and {LIFETIME_MAX_S}")))?,
    };
    let found = found(&state, &caller.scope, readings).await?;
    refuse_if_blocked(&found.episode, &found.location.path())?;
    found.must_be_for(&caller)?;
    let signed =
        state.objects.presign(&found.location.object, Duration::from_secs(lifetime)).await.map_err(|error| store_failed(&error))?;
    let url = at_proxy(&signed).ok_or_else(|| store_failed(&anyhow::anyhow!("the store's link has no path")))?;
    Ok(Json(StoreLink { url }))
}

/// The path and query of a link to the store, where the proxy takes them.
fn at_proxy(signed: &str) -> Option<String> {
    let (_, rest) = signed.split_once("://")?;
    rest.find('/').map(|slash| format!("/s3{}", &rest[slash..]))
}

/// Bytes of an object: whole, or one range of it.
#[utoipa::path(get, path = "/api/v1/storage/object", tag = "storage", params(
    ("bucket" = String, Query),
    ("object" = String, Query),
    ("dl_token" = Option<String>, Query, description = "From a signed link; then no login is needed"),
), responses(
    (status = 200, description = "The whole object", content_type = "application/octet-stream"),
    (status = 206, description = "The range that was asked for"),
    (status = 304, description = "Not changed"),
    (status = 400, description = "Not a bucket, or not an object"),
    (status = 401, description = "No login, or a link that expired or names another object"),
    (status = 404, description = "There is no such object"),
    (status = 409, description = "The episode failed its checks, or the object is not the one that was verified"),
    (status = 416, description = "No such range"),
    (status = 502, description = "The object store failed"),
))]
pub async fn object(
    State(state): State<AppState>,
    caller: Caller,
    params: Params,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let token = params.text("dl_token");
    // Who may not ask hears nothing else.
    let linked = match (&token, &caller.identity) {
        // A link decides alone, for any caller.
        (Some(token), _) => Some(state.tokens.check_link(token, state.commands.now()).map_err(link_refused)?),
        // What may be seen is asked when a link is made, too; without one it is asked here.
        (None, Identity::Anonymous) => return Err(Problem::new(Code::Unauthenticated, "a login is required")),
        (None, _) => None,
    };
    let mut readings = Location::readings(params.exact("bucket"), params.exact("object"))?;
    if let Some(claims) = linked {
        readings.retain(|reading| reading.bucket == claims.bucket && reading.object == claims.object);
        if readings.is_empty() {
            return Err(link_refused(TokenError::Invalid));
        }
    }
    // Who made the link saw the episode.
    let scope = if token.is_some() { &Scope::Everything } else { &caller.scope };
    let found = found(&state, scope, readings).await?;
    refuse_if_blocked(&found.episode, &found.location.path())?;
    if token.is_none() {
        found.must_be_for(&caller)?;
    }
    let Found { location, episode, .. } = found;

    let way = if token.is_some() { Way::Link } else { Way::Login };
    serve(&state, &episode, &location, way, Asking { method, headers }).await
}
