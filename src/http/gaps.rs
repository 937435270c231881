//! `/qa/gaps`: what is missing in recordings, and a guess of why.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::extract::{Json, Params};
use super::policy::Policy;
use super::problem::Problem;
use super::routes::Routes;
use super::wire::{Exact, Paged, TextId};
use super::words::GapCauseWord;
use crate::domain::{EpisodeId, StationId};
use crate::projections::reads::gaps::{GapFilter, GapShown};

pub fn routes() -> Routes {
    Routes::default().at(Policy::JUDGE.exact(), routes!(list))
}

/// An interval of a recording in which messages of a topic are missing.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordingGap {
    /// The episode.
    episode_id: i64,
    /// The id that people and the cloud see.
    episode_public_id: String,
    /// Its task.
    task_id: i64,
    /// The id that devices know.
    task_public_id: String,
    /// Where it was recorded.
    workstation_id: TextId,
    /// The device id of the robot.
    #[schema(required)]
    robot_device_id: Option<String>,
    /// What is silent.
    topic: String,
    /// The last message before it, or the beginning of the recording, by the robot's clock.
    from: Exact,
    /// The first one behind it, or the end.
    to: Exact,
    /// How long it is, in whole milliseconds.
    length_ms: i64,
    /// About how many messages would have come.
    missing_messages: i64,
    /// `disk`: all topics are silent at once. `sensor`: this one alone. `queue`: the recorder counted as many dropped. `unknown`:
    /// none of these.
    #[schema(value_type = GapCauseWord)]
    cause: &'static str,
}

impl From<GapShown> for RecordingGap {
    fn from(row: GapShown) -> Self {
        Self {
            episode_id: row.own.episode_id.0,
            episode_public_id: row.episode_public_id,
            task_id: row.task.0,
            task_public_id: row.task_public_id.into(),
            workstation_id: TextId(row.own.station_id.0),
            robot_device_id: row.robot_device_id.map(String::from),
            topic: row.own.topic,
            from: Exact(row.own.from_at),
            to: Exact(row.own.to_at),
            length_ms: row.own.length_ms,
            missing_messages: row.own.missing_messages,
            cause: row.own.cause.as_str(),
        }
    }
}

/// Intervals in which messages are missing, newest first, with a guess of why.
#[utoipa::path(get, path = "/api/v1/qa/gaps", tag = "qa", params(
    ("limit" = Option<i64>, Query, description = "At least 1, default 50; at most 100 are given at once"),
    ("offset" = Option<i64>, Query),
    ("robot_device_id" = Option<String>, Query, description = "The robot's device id"),
    ("workstation_id" = Option<i64>, Query, description = "Where it was recorded"),
    ("topic" = Option<String>, Query, description = "The whole name"),
    ("episode_id" = Option<i64>, Query, description = "Of one episode"),
    ("cause" = Option<GapCauseWord>, Query, description = "The guess"),
    ("from" = Option<String>, Query, description = "RFC 3339: they begin then or later"),
    ("to" = Option<String>, Query, description = "RFC 3339: they begin then or earlier"),
), responses((status = 200, body = Paged<RecordingGap>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<RecordingGap>>, Problem> {
    let page = params.page_to_100()?;
    let filter = GapFilter {
        robot: params.text("robot_device_id"),
        station: params.positive("workstation_id")?.map(StationId),
        topic: params.text("topic"),
        episode: params.positive("episode_id")?.map(EpisodeId),
        cause: params.word("cause")?,
        from: params.instant("from")?,
        to: params.instant("to")?,
    };
    if let (Some(from), Some(to)) = (filter.from, filter.to)
        && to < from
    {
        return Err(Problem::of_field("to", "must not be before from"));
    }
    let listed = state.reads.gaps(&caller.scope, &filter, page).await?;
    Ok(Json(Paged::new(listed, &page)))
}
