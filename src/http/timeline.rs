//! `/episodes/{id}/timeline`: what is in a recording, topic by topic, and what is missing, from what was measured.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::episodes::found;
use super::extract::{Json, PathId};
use super::policy::Policy;
use super::problem::{Problem, failed};
use super::routes::Routes;
use crate::domain::EpisodeId;
use crate::domain::measurement::{Facts, Gap, TopicFacts};

pub fn routes() -> Routes {
    Routes::default().at(Policy::READ.closed().exact(), routes!(timeline))
}

/// Nothing came for so long, in seconds from the beginning of the recording.
#[derive(Debug, Serialize, ToSchema)]
pub struct TimelineGap {
    /// The last message before it.
    from_sec: f64,
    /// The first one after it.
    to_sec: f64,
}

/// One topic over the time of the recording.
#[derive(Debug, Serialize, ToSchema)]
pub struct TimelineTopic {
    /// Its name.
    topic: String,
    /// Of its messages.
    message_type: String,
    /// How many there are.
    count: u64,
    /// Messages a second between the first and the last one.
    #[schema(required)]
    rate_hz: Option<f64>,
    /// The first message, in seconds from the beginning; null where times were not measured.
    #[schema(required)]
    first_sec: Option<f64>,
    /// The last one.
    #[schema(required)]
    last_sec: Option<f64>,
    /// The middle one of all intervals, in milliseconds.
    #[schema(required)]
    median_ms: Option<f64>,
    /// The longest intervals, of those longer than one and a half times the median; the longest first.
    gaps: Vec<TimelineGap>,
    /// How many more there are.
    more_gaps: u64,
}

/// A recording over its time.
#[derive(Debug, Serialize, ToSchema)]
pub struct Timeline {
    /// The id of the episode.
    episode_id: i64,
    /// From its first message to its last.
    duration_sec: f64,
    /// How many messages it has.
    message_count: u64,
    /// How much of it was looked at: `summary`, `indexes` or `whole`.
    tier: &'static str,
    /// Those that the recording lists, in its order.
    topics: Vec<TimelineTopic>,
    /// How many more topics there are.
    more_topics: u64,
}

fn seconds(ns: u64, from: u64) -> f64 {
    ns.saturating_sub(from) as f64 / 1e9
}

fn of_topic(topic: &TopicFacts, start: u64) -> TimelineTopic {
    let timing = topic.timing.as_ref().filter(|_| topic.count > 0);
    let intervals = timing.and_then(|timing| timing.intervals.as_ref());
    let gap = |gap: &Gap| TimelineGap { from_sec: seconds(gap.from_ns, start), to_sec: seconds(gap.to_ns, start) };
    TimelineTopic {
        topic: topic.topic.clone(),
        message_type: topic.message_type.clone(),
        count: topic.count,
        rate_hz: topic.rate_hz(),
        first_sec: timing.map(|timing| seconds(timing.first_ns, start)),
        last_sec: timing.map(|timing| seconds(timing.last_ns, start)),
        median_ms: intervals.map(|intervals| intervals.median_ns as f64 / 1e6),
        gaps: intervals.map(|intervals| intervals.gaps.items.iter().map(gap).collect()).unwrap_or_default(),
        more_gaps: intervals.map_or(0, |intervals| intervals.gaps.cut),
    }
}

fn of_facts(episode_id: i64, facts: &Facts) -> Timeline {
    Timeline {
        episode_id,
        duration_sec: facts.duration_ns() as f64 / 1e9,
        message_count: facts.message_count,
        tier: facts.tier.as_str(),
        topics: facts.topics.items.iter().map(|topic| of_topic(topic, facts.start_ns)).collect(),
        more_topics: facts.topics.cut,
    }
}

/// What was measured of an episode.
pub async fn measured(state: &AppState, episode: EpisodeId) -> Result<Facts, Problem> {
    let packed = state.reads.facts_of(episode).await?.ok_or_else(|| Problem::not_found("what was measured of the episode"))?;
    Ok(packed.unpacked().map_err(|error| failed(&error.into()))?.facts)
}

/// A recording over its time: rates and gaps of each topic, as they were measured. Reads nothing of the recording.
#[utoipa::path(get, path = "/api/v1/episodes/{id}/timeline", tag = "episodes", params(("id" = i64, Path)), responses(
    (status = 200, body = Timeline),
    (status = 404, description = "There is no such episode, or it was not measured yet"),
))]
pub async fn timeline(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Json<Timeline>, Problem> {
    let episode = found(&state, &caller.scope, id).await?;
    caller.must_see(&episode)?;
    Ok(Json(of_facts(episode.id.0, &measured(&state, episode.id).await?)))
}
