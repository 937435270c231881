//! `/episodes/{id}/frames`: one image of a camera, for a person who looks at an episode.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::download::{store_failed, verified};
use super::episodes::found;
use super::extract::{Params, PathId};
use super::location::Location;
use super::policy::Policy;
use super::problem::{Code, Problem};
use super::routes::Routes;
use super::storage::refuse_if_blocked;
use super::timeline::measured;
use crate::qa::frame::{NoFrame, Recording};

pub fn routes() -> Routes {
    Routes::default().at(Policy::READ.closed().exact().reading_objects(), routes!(frame))
}

/// Names of topics are shorter.
const TOPIC_BYTES_MAX: usize = 1000;
/// Recordings are shorter: eleven days.
const AT_S_MAX: f64 = 1e6;

/// When the image was recorded, in seconds from the beginning of the recording.
const AT: &str = "x-frame-at";

impl From<NoFrame> for Problem {
    fn from(no_frame: NoFrame) -> Self {
        match no_frame {
            NoFrame::NoImage(why) => Problem::new(Code::NoFrame, why.to_string()),
            NoFrame::Storage(error) => store_failed(&error.into()),
        }
    }
}

/// The image of a topic at a time: the last one until then, or the first one behind it. Reads one chunk of the recording.
#[utoipa::path(get, path = "/api/v1/episodes/{id}/frames", tag = "episodes", params(
    ("id" = i64, Path),
    ("topic" = String, Query, description = "A topic of a camera, as the timeline has it"),
    ("at" = Option<f64>, Query, description = "Seconds from the beginning of the recording, 0 where it is not given"),
), responses(
    (status = 200, description = "The image; `x-frame-at` has its time in seconds from the beginning of the recording", content_type = "image/jpeg"),
    (status = 400, description = "No topic, or no time"),
    (status = 404, description = "There is no such episode, or no such image"),
    (status = 409, description = "The recording failed its checks, or is not the one that was verified"),
    (status = 502, description = "The object store failed"),
))]
pub async fn frame(State(state): State<AppState>, caller: Caller, id: PathId, params: Params) -> Result<Response, Problem> {
    let topic = params.exact("topic");
    if topic.is_empty() || topic.len() > TOPIC_BYTES_MAX {
        return Err(Problem::of_field("topic", format_args!("is required, with at most {TOPIC_BYTES_MAX} bytes")));
    }
    let at_s = match params.text("at") {
        None => 0.0,
        Some(text) => text
            .parse::<f64>()
            .ok()
            .filter(|seconds| (0.0..=AT_S_MAX).contains(seconds))
            .ok_or_else(|| Problem::of_field("at", format_args!("must be seconds from 0 to {AT_S_MAX}")))?,
    };
    let episode = found(&state, &caller.scope, id).await?;
    caller.must_see(&episode)?;
    let path = &episode.own.mcap_path;
    refuse_if_blocked(&episode, path)?;
    let start_ns = measured(&state, episode.id).await?.start_ns;
    let location = Location::of_path(path, &state.settings.bucket)?;
    let facts = verified(&state, &episode, &location).await?;
    let etag = facts.etag.as_deref().unwrap_or_default();
    let recording = Recording { key: &location.object, size_bytes: facts.size_bytes, etag };
    let image = state.runs.frame(recording, topic, start_ns.saturating_add((at_s * 1e9) as u64)).await?;
    let at = format!("{:.6}", image.log_time.saturating_sub(start_ns) as f64 / 1e9);
    // What may be read changes.
    Ok(([(CONTENT_TYPE.as_str(), "image/jpeg"), (CACHE_CONTROL.as_str(), "private, no-cache"), (AT, &at)], image.jpeg).into_response())
}
