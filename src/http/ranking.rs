//! `/qa/ranking` and `/qa/drift`: where to look first.

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
use super::wire::{TextId, WholeSecond};
use super::words::{AgainstWord, MeasureWord, QaStatusWord};
use crate::domain::figures::{Against, Figure};
use crate::domain::{RobotTypeId, SopId, StationId};
use crate::qa::compared::{self, Compared, Drift, Looked, Outlier, Ranking, Reason, ToFollow, ToRank, shift_drift};

pub fn routes() -> Routes {
    let policy = Policy::JUDGE.reading_objects().exact();
    Routes::default().at(policy, routes!(ranking)).at(policy, routes!(drift))
}

const RANKED_DEFAULT: i64 = 8;
const RANKED_MAX: i64 = 100;
const SHIFT_HOURS: i64 = 8;
const SHIFT_HOURS_MAX: i64 = 24;

/// A number that is far from what is usual.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnusualFigure {
    /// What is measured: milliseconds (`length`, `lag`), messages in a thousand seconds (`rate`), thousandths (`static_share`, `jerk`),
    /// millionths of a radian (`jump`, `offset`, `end_pose`), or how many (`topics`).
    #[schema(value_type = MeasureWord)]
    measure: &'static str,
    /// Of which topic; left out where it is of the whole recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    /// Of which joint, by its place in the messages, from 0; left out where it is of all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    joint: Option<u32>,
    /// As it is.
    value: i64,
    /// As it mostly is.
    usual: i64,
    /// How far it is from that, in robust deviations; a thousand at most.
    z: f64,
    /// In words.
    text: String,
}

impl From<Reason> for UnusualFigure {
    fn from(reason: Reason) -> Self {
        let text = reason.told();
        let Figure { measure, topic, joint } = reason.figure;
        Self { measure: measure.as_str(), topic, joint, value: reason.value, usual: reason.usual.median, z: reason.z, text }
    }
}

/// An episode to look at.
#[derive(Debug, Serialize, ToSchema)]
pub struct RankedEpisode {
    /// Names it in requests.
    id: i64,
    /// The id that people and the cloud see.
    episode_id: String,
    /// Where it was recorded.
    workstation_id: TextId,
    /// How it stands.
    #[schema(value_type = QaStatusWord)]
    qa_status: &'static str,
    /// When it was verified.
    created_at: WholeSecond,
    /// How far its most unusual number is from what is usual, in robust deviations.
    distance: f64,
    /// What is unusual, the farthest first, five at most; empty where nothing is.
    reasons: Vec<UnusualFigure>,
}

impl From<(Looked, Outlier)> for RankedEpisode {
    fn from((episode, outlier): (Looked, Outlier)) -> Self {
        Self {
            id: episode.id.0,
            episode_id: episode.episode_id,
            workstation_id: TextId(episode.station.0),
            qa_status: episode.qa_status.as_str(),
            created_at: episode.created_at.into(),
            distance: outlier.distance,
            reasons: outlier.reasons.into_iter().map(UnusualFigure::from).collect(),
        }
    }
}

/// Which episodes to look at first.
#[derive(Debug, Serialize, ToSchema)]
pub struct EpisodeRanking {
    /// The farthest from what is usual first.
    episodes: Vec<RankedEpisode>,
    /// How many episodes the filter matches.
    total: u64,
    /// How many of these were compared: of the newest two thousand those that were measured.
    looked_at_count: u64,
    /// Of these two thousand nothing was measured; a run measures them.
    without_facts_count: u64,
    /// With what they were compared; null where they are fewer than eight, and there is no reference.
    #[schema(required, value_type = Option<AgainstWord>)]
    against: Option<&'static str>,
    /// With which reference; null where they were compared with each other.
    #[schema(required)]
    reference_id: Option<i64>,
}

impl From<Ranking> for EpisodeRanking {
    fn from(found: Ranking) -> Self {
        let (against, reference_id) = match found.against {
            None => (None, None),
            Some(Compared::Selection) => (Some(Against::Selection.as_str()), None),
            Some(Compared::Reference(named)) => (Some(Against::Reference.as_str()), Some(named.id.0)),
        };
        Self {
            episodes: found.episodes.into_iter().map(RankedEpisode::from).collect(),
            total: found.total,
            looked_at_count: found.looked_at,
            without_facts_count: found.without_facts,
            against,
            reference_id,
        }
    }
}

/// What changed over a shift of a workstation.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShiftDrift {
    /// The workstation.
    workstation_id: TextId,
    /// Of which procedure; null where the shift has no episode that was measured.
    #[schema(required)]
    sop_id: Option<TextId>,
    /// When the first episode of the shift was verified.
    #[schema(required)]
    begins_at: Option<WholeSecond>,
    /// When its last one was.
    #[schema(required)]
    ends_at: Option<WholeSecond>,
    /// How many episodes were compared, of the newest two thousand of the shift.
    looked_at_count: u64,
    /// Of these nothing was measured.
    without_facts_count: u64,
    /// These are of other procedures, and are not compared.
    other_sops_count: u64,
    /// Whether there are enough: sixteen, four in each quarter.
    enough: bool,
    /// What the last quarter has otherwise than the first, the farthest first; twenty at most.
    changes: Vec<UnusualFigure>,
}

impl ShiftDrift {
    pub fn of(station: StationId, found: Drift) -> Self {
        Self {
            workstation_id: TextId(station.0),
            sop_id: found.sop.map(|id| TextId(id.0)),
            begins_at: found.begins.map(WholeSecond),
            ends_at: found.ends.map(WholeSecond),
            looked_at_count: found.looked_at,
            without_facts_count: found.without_facts,
            other_sops_count: found.others,
            enough: found.changes.is_some(),
            changes: found.changes.into_iter().flatten().map(UnusualFigure::from).collect(),
        }
    }
}

fn required(params: &Params, name: &str) -> Result<i64, Problem> {
    params.positive(name)?.ok_or_else(|| Problem::of_field(name, super::fields::MISSING))
}

fn number(params: &Params, name: &str, default: i64, most: i64) -> Result<i64, Problem> {
    match params.positive(name)? {
        None => Ok(default),
        Some(number) if number <= most => Ok(number),
        Some(_) => Err(Problem::of_field(name, format_args!("must be at most {most}"))),
    }
}

/// Episodes of a procedure by how far their numbers are from what is usual: in the newest reference, or among themselves where there is
/// none. Look at these first. The newest two thousand are compared, from stored facts; nothing is read and nothing is changed.
#[utoipa::path(get, path = "/api/v1/qa/ranking", tag = "qa", params(
    ("sop_id" = i64, Query, description = "Of this procedure"),
    ("workstation_id" = Option<i64>, Query, description = "Recorded there"),
    ("robot_type_id" = Option<i64>, Query, description = "By robots of this type; then its reference counts before that of all"),
    ("from" = Option<String>, Query, description = "RFC 3339: verified then or later"),
    ("to" = Option<String>, Query, description = "RFC 3339: verified then or earlier"),
    ("against" = Option<AgainstWord>, Query, description = "`selection`: compare them with each other, also where there is a reference"),
    ("limit" = Option<i64>, Query, description = "How many to look at: 1 to 100, default 8"),
), responses((status = 200, body = EpisodeRanking), (status = 400, description = "No procedure, or a filter that cannot be")))]
pub async fn ranking(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<EpisodeRanking>, Problem> {
    let of = ToRank {
        sop: SopId(required(&params, "sop_id")?),
        station: params.positive("workstation_id")?.map(StationId),
        robot_type: params.positive("robot_type_id")?.map(RobotTypeId),
        from: params.instant("from")?,
        to: params.instant("to")?,
        among_themselves: params.word::<Against>("against")? == Some(Against::Selection),
        limit: usize::try_from(number(&params, "limit", RANKED_DEFAULT, RANKED_MAX)?).unwrap_or_default(),
    };
    if of.from.zip(of.to).is_some_and(|(from, to)| to < from) {
        return Err(Problem::of_field("to", "must not be before from"));
    }
    Ok(Json(compared::ranking(&state.reads, &caller.scope, of).await?.into()))
}

/// What changed over a shift of a workstation: its last quarter against its first. By default it is the last shift, which began with the
/// first episode behind the last pause of two hours and is eight hours long at most.
#[utoipa::path(get, path = "/api/v1/qa/drift", tag = "qa", params(
    ("workstation_id" = i64, Query, description = "The workstation"),
    ("sop_id" = Option<i64>, Query, description = "Of this procedure; by default that of most episodes of the shift"),
    ("from" = Option<String>, Query, description = "RFC 3339: the shift begins with the first episode from then on"),
    ("hours" = Option<i64>, Query, description = "How long it is: 1 to 24, default 8"),
), responses((status = 200, body = ShiftDrift), (status = 400, description = "No workstation, or a filter that cannot be")))]
pub async fn drift(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<ShiftDrift>, Problem> {
    let station = StationId(required(&params, "workstation_id")?);
    let hours = u32::try_from(number(&params, "hours", SHIFT_HOURS, SHIFT_HOURS_MAX)?).unwrap_or_default();
    let of = ToFollow { station, sop: params.positive("sop_id")?.map(SopId), from: params.instant("from")?, hours };
    Ok(Json(ShiftDrift::of(station, shift_drift(&state.reads, &caller.scope, of).await?)))
}
