//! Links with which a viewer in a browser opens a recording: Foxglove, Lichtblick.
//!
//! A viewer has no login, reads in ranges for as long as a person looks, and wants the address to end in `.mcap`. So
//! the token stands in the path. It names one episode, and whether that may be read is asked at every request.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::tokens::{TokenError, ViewerClaims};
use super::auth::{Caller, Role, must_see};
use super::download::{Asking, Way, link_refused, object_not_found, serve};
use super::episodes::found;
use super::extract::{Json, PathId};
use super::host::asked_host;
use super::location::{Location, percent_encode};
use super::policy::Policy;
use super::problem::{Code, Problem};
use super::routes::Routes;
use super::storage::refuse_if_blocked;
use super::wire::WholeSecond;
use crate::domain::{EpisodeId, Scope};
use crate::projections::reads::episodes::EpisodeShown;

pub fn routes() -> Routes {
    Routes::default().at(Policy::READ.closed().download(), routes!(viewer_link)).at(Policy::READ.by_link().download(), routes!(recording))
}

const FOXGLOVE: &str = "https://app.foxglove.dev/~/view";

#[derive(Debug, Serialize, ToSchema)]
pub struct ViewerLink {
    /// Of the recording; works without a login, ends in `.mcap`, and may be read by pages of any origin.
    url: String,
    /// The link works until then, and for no longer than the episode may be read.
    expires_at: WholeSecond,
    /// Opens the recording in Foxglove. A page that came over https may not read over http, so this needs https here as well.
    foxglove_url: String,
    /// Opens it in the Lichtblick of the site, where `http.lichtblick_url` names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    lichtblick_url: Option<String>,
}

/// A link with which a viewer in a browser opens the recording.
#[utoipa::path(get, path = "/api/v1/episodes/{id}/viewer-link", tag = "episodes", params(("id" = i64, Path)), responses(
    (status = 200, body = ViewerLink),
    (status = 404, description = "There is no such episode"),
    (status = 409, description = "The recording failed its checks"),
))]
pub async fn viewer_link(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    headers: HeaderMap,
) -> Result<Json<ViewerLink>, Problem> {
    let episode = found(&state, &caller.scope, id).await?;
    caller.must_see(&episode)?;
    refuse_if_blocked(&episode, &episode.own.mcap_path)?;
    let role = caller.identity.role().ok_or_else(|| Problem::new(Code::Unauthenticated, "a login is required"))?;
    let (now, lifetime) = (state.commands.now(), state.settings.viewer_lifetime);
    let claims = ViewerClaims { episode_id: episode.id.0, role: role.as_str().to_owned() };
    let token = state.tokens.viewer(claims, now, lifetime);
    let url = format!("{}/api/v1/episodes/{}/recording/{token}/{}", base(&state, &headers), episode.id, file_name(&episode));
    let query = format!("ds=remote-file&ds.url={}", percent_encode(&url));
    Ok(Json(ViewerLink {
        foxglove_url: format!("{FOXGLOVE}?{query}"),
        lichtblick_url: state.settings.lichtblick_url.as_ref().map(|lichtblick| format!("{lichtblick}/?{query}")),
        url,
        expires_at: WholeSecond(now + lifetime),
    }))
}

fn file_name(episode: &EpisodeShown) -> String {
    format!("{}.mcap", episode.own.episode_id)
}

/// What this server is called by who asks it: the answer is for nobody else.
fn base(state: &AppState, headers: &HeaderMap) -> String {
    let scheme = match headers.get("x-forwarded-proto").and_then(|scheme| scheme.to_str().ok()) {
        Some("https") => "https",
        _ => "http",
    };
    asked_host(headers).map_or_else(|| state.settings.callback_base_url.clone(), |host| format!("{scheme}://{host}"))
}

/// The recording of an episode, for viewers: whole, or one range of it.
#[utoipa::path(get, path = "/api/v1/episodes/{id}/recording/{token}/{filename}", tag = "episodes", params(
    ("id" = i64, Path),
    ("token" = String, Path, description = "From a link for viewers"),
    ("filename" = String, Path, description = "`<episode_id>.mcap`"),
), responses(
    (status = 200, description = "The whole recording; also where several ranges were asked for", content_type = "application/octet-stream"),
    (status = 206, description = "The range that was asked for"),
    (status = 304, description = "Not changed"),
    (status = 401, description = "The link expired, or is for another episode"),
    (status = 403, description = "The episode was rejected, and the link was made by a data collector"),
    (status = 404, description = "There is no such episode, or its file has another name"),
    (status = 409, description = "The episode failed its checks, or the object is not the one that was verified"),
    (status = 416, description = "No such range"),
    (status = 502, description = "The object store failed"),
))]
pub async fn recording(
    State(state): State<AppState>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Ok(Path((id, token, name))) = path else { return Err(object_not_found()) };
    // Who may not ask hears nothing else.
    let claims = state.tokens.check_viewer(&token, state.commands.now()).map_err(link_refused)?;
    let role: Role = claims.role.parse().map_err(|_| link_refused(TokenError::Invalid))?;
    if id != claims.episode_id.to_string() {
        return Err(link_refused(TokenError::Invalid));
    }
    // Who made the link saw the episode; what became of it since is asked here.
    let episode = state.reads.episode(&Scope::Everything, EpisodeId(claims.episode_id)).await?.ok_or_else(object_not_found)?;
    if name != file_name(&episode) {
        return Err(object_not_found());
    }
    must_see(Some(role), &episode)?;
    refuse_if_blocked(&episode, &episode.own.mcap_path)?;
    let location = Location::of_path(&episode.own.mcap_path, &state.settings.bucket)?;
    serve(&state, &episode, &location, Way::Viewer, Asking { method, headers }).await
}
