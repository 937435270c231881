//! `/qa/references`: what is usual in good recordings of a procedure.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::extract::{Json, Params, PathId};
use super::fields::{GivenId, GivenInstant, MaybeReason};
use super::made::Made;
use super::policy::Policy;
use super::problem::Problem;
use super::routes::Routes;
use super::wire::{Exact, Paged, WholeSecond};
use super::words::MeasureWord;
use crate::commands::references::MakeReference;
use crate::domain::reference::{LearnedFigure, LearnedTopic, MadeFrom, Reference};
use crate::domain::{QaReferenceId, RobotTypeId, SopId};
use crate::projections::reads::references::{LearnedReference, ReferenceShown};
use crate::projections::reads::{ReadError, Reads};
use crate::qa::compared::{ToLearn, learn};

pub fn routes() -> Routes {
    let (read, make) = (Policy::JUDGE.of_the_site().exact(), Policy::MANAGE.of_the_site().closed().exact().reading_objects());
    Routes::default().at(read, routes!(list)).at(read, routes!(get)).at(make.keyed(), routes!(make_reference))
}

/// A version of a reference, without what was learned.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReferenceBrief {
    /// Names it in requests and verdicts.
    id: i64,
    /// Of which procedure.
    sop_id: i64,
    /// Of robots of this type alone; null: of all that record by the procedure.
    #[schema(required)]
    robot_type_id: Option<i64>,
    /// Counted for each procedure and type.
    version: i32,
    /// From how many approved episodes it was made.
    episodes: i64,
    /// What a person said of it.
    #[schema(required)]
    note: Option<String>,
    /// When it was made.
    created_at: WholeSecond,
}

impl From<ReferenceShown> for ReferenceBrief {
    fn from(row: ReferenceShown) -> Self {
        Self {
            id: row.id.0,
            sop_id: row.own.sop_id.0,
            robot_type_id: row.own.robot_type_id.map(|id| id.0),
            version: row.own.reference_version,
            episodes: row.own.episodes,
            note: row.own.note,
            created_at: row.created_at.into(),
        }
    }
}

/// The episodes that it was made from: the newest approved ones that were measured, a thousand at most.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReferenceSource {
    /// How many.
    episodes: u64,
    /// The smallest id among them.
    first_episode: i64,
    /// The largest.
    last_episode: i64,
    /// Only those that were verified from then on.
    #[schema(required)]
    from: Option<Exact>,
    /// Only those that were verified until then.
    #[schema(required)]
    to: Option<Exact>,
}

/// A topic that most of them have.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsualTopic {
    /// Its name.
    topic: String,
    /// The type that it mostly has.
    message_type: String,
    /// How many of the episodes have messages of it.
    episodes: u64,
}

/// A number that most of them have.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsualFigure {
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
    /// How many of the episodes have it.
    episodes: u64,
    /// A quarter of them have less.
    q1: i64,
    /// The value in the middle.
    median: i64,
    /// A quarter of them have more.
    q3: i64,
    /// The median distance from the median.
    mad: u64,
}

/// The beginning of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsualTopics {
    /// By name.
    items: Vec<UsualTopic>,
    /// How many were left out; not there where none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<u64>,
}

/// The beginning of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsualFigures {
    /// By what is measured, and by topic.
    items: Vec<UsualFigure>,
    /// How many were left out; not there where none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<u64>,
}

/// A version of a reference, complete: `keystone qa --reference` takes it from a file as it is answered.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReferenceOfSite {
    /// Names it in requests and verdicts.
    id: i64,
    /// Of which procedure.
    sop_id: i64,
    /// Of robots of this type alone; null: of all that record by the procedure.
    #[schema(required)]
    robot_type_id: Option<i64>,
    /// Counted for each procedure and type.
    version: u32,
    /// What a person said of it.
    #[schema(required)]
    note: Option<String>,
    /// When it was made.
    created_at: WholeSecond,
    /// From which episodes.
    made_from: ReferenceSource,
    /// Topics of good recordings.
    topics: UsualTopics,
    /// Numbers of good recordings.
    figures: UsualFigures,
}

fn cut(cut: u64) -> Option<u64> {
    (cut > 0).then_some(cut)
}

impl From<MadeFrom> for ReferenceSource {
    fn from(source: MadeFrom) -> Self {
        Self {
            episodes: source.episodes,
            first_episode: source.first_episode.0,
            last_episode: source.last_episode.0,
            from: source.from.map(Exact),
            to: source.to.map(Exact),
        }
    }
}

impl From<LearnedTopic> for UsualTopic {
    fn from(learned: LearnedTopic) -> Self {
        Self { topic: learned.topic, message_type: learned.message_type, episodes: learned.episodes }
    }
}

impl From<LearnedFigure> for UsualFigure {
    fn from(LearnedFigure { figure, usual }: LearnedFigure) -> Self {
        Self {
            measure: figure.measure.as_str(),
            topic: figure.topic,
            joint: figure.joint,
            episodes: usual.episodes,
            q1: usual.q1,
            median: usual.median,
            q3: usual.q3,
            mad: usual.mad,
        }
    }
}

impl From<LearnedReference> for ReferenceOfSite {
    fn from(row: LearnedReference) -> Self {
        let Reference { sop_id, robot_type_id, version, note, made_from, topics, figures } = row.learned;
        Self {
            id: row.id.0,
            sop_id: sop_id.0,
            robot_type_id: robot_type_id.map(|id| id.0),
            version,
            note,
            created_at: row.created_at.into(),
            made_from: made_from.into(),
            topics: UsualTopics { cut: cut(topics.cut), items: topics.items.into_iter().map(UsualTopic::from).collect() },
            figures: UsualFigures { cut: cut(figures.cut), items: figures.items.into_iter().map(UsualFigure::from).collect() },
        }
    }
}

impl ReferenceOfSite {
    pub async fn of(reads: &Reads, id: QaReferenceId) -> Result<Option<Self>, ReadError> {
        Ok(reads.reference(id).await?.map(Self::from))
    }
}

fn no_reference() -> Problem {
    Problem::not_found("reference")
}

/// References, newest first, without what was learned. The newest of a procedure and type of robot is what new verdicts go by.
#[utoipa::path(get, path = "/api/v1/qa/references", tag = "qa", params(
    ("limit" = Option<i64>, Query, description = "At least 1, default 50; at most 100 are given at once"),
    ("offset" = Option<i64>, Query),
    ("sop_id" = Option<i64>, Query, description = "Only of this procedure"),
    ("robot_type_id" = Option<i64>, Query, description = "Only of robots of this type"),
), responses((status = 200, body = Paged<ReferenceBrief>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, params: Params) -> Result<Json<Paged<ReferenceBrief>>, Problem> {
    let page = params.page_to_100()?;
    let (sop, robot_type) = (params.positive("sop_id")?.map(SopId), params.positive("robot_type_id")?.map(RobotTypeId));
    let listed = state.reads.references(sop, robot_type, page).await?;
    Ok(Json(Paged::new(listed, &page)))
}

/// One version of a reference, complete.
#[utoipa::path(get, path = "/api/v1/qa/references/{id}", tag = "qa", params(("id" = i64, Path)), responses(
    (status = 200, body = ReferenceOfSite),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, id: PathId) -> Result<Json<ReferenceOfSite>, Problem> {
    ReferenceOfSite::of(&state.reads, QaReferenceId(id.positive()?)).await?.map(Json).ok_or_else(no_reference)
}

/// A reference to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewReference {
    /// Of which procedure.
    sop_id: GivenId,
    /// Of robots of this type alone; by default of all that record by the procedure.
    robot_type_id: Option<GivenId>,
    /// From episodes that were verified from then on.
    created_at_from: Option<GivenInstant>,
    /// From episodes that were verified until then.
    created_at_to: Option<GivenInstant>,
    /// Why it is made.
    note: Option<MaybeReason>,
}

impl NewReference {
    /// What it is learned from, and what is said of it.
    pub fn to_learn(self) -> Result<(ToLearn, Option<String>), Problem> {
        let (from, to) = (self.created_at_from.map(|at| at.0), self.created_at_to.map(|at| at.0));
        if from.zip(to).is_some_and(|(from, to)| to < from) {
            return Err(Problem::of_field("created_at_to", "must not be before created_at_from"));
        }
        let robot_type = self.robot_type_id.map(|id| RobotTypeId(id.0));
        Ok((ToLearn { sop: SopId(self.sop_id.0), robot_type, from, to }, MaybeReason::said(self.note)))
    }
}

/// Make a reference of the newest approved episodes of a procedure that were measured: of twenty at least, and a thousand at most. From
/// then on its episodes are compared with it; verdicts that were given stay.
#[utoipa::path(post, path = "/api/v1/qa/references", tag = "qa", request_body = NewReference, responses(
    (status = 201, body = ReferenceOfSite),
    (status = 400, description = "There is no such procedure, or a filter that cannot be"),
    (status = 404, description = "There is no such type of robot"),
    (status = 409, description = "Fewer than twenty approved episodes; `approved_count` says how many"),
))]
pub async fn make_reference(
    State(state): State<AppState>,
    caller: Caller,
    Json(body): Json<NewReference>,
) -> Result<Made<ReferenceOfSite>, Problem> {
    let (of, note) = body.to_learn()?;
    let learned = Reference { note, ..learn(&state.reads, &caller.scope, of).await? };
    let id = state.commands.execute(&caller.context(), MakeReference { learned }).await?;
    let shown = async { ReferenceOfSite::of(&state.reads, id).await?.ok_or_else(no_reference) };
    Ok(Made::created(id, shown).await)
}
