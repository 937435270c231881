//! `/inspection`: what a person has to decide about, and who decided what.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Caller, Identity};
use super::episodes::found;
use super::extract::{Json, MaybeJson, Params, PathId};
use super::fields::{Reason, Text};
use super::policy::{Policy, Role, Roles};
use super::problem::{Code, Problem};
use super::qa::QaCheck;
use super::routes::Routes;
use super::wire::{Paged, TextId, WholeSecond};
use super::words::{DecisionEffectWord, DecisionWord, InspectionCauseWord, InspectorStatusWord, LevelWord, QaStatusWord, QueueOrderWord};
use crate::commands::CommandError;
use crate::commands::inspection::{DecideEpisode, ReleaseEpisode, ReopenEpisode, TakeEpisode};
use crate::domain::agreement::Pairs;
use crate::domain::episode::{InspectionCause, Level};
use crate::domain::{EpisodeId, InspectorId, RefusalCode, SopId, StationId, Timestamp};
use crate::projections::reads::inspection::{DecisionShown, InspectorWork, QueueFilter, QueueOrder, SameEpisode, WaitingEpisode};
use crate::projections::reads::{Listed, Page};

const INSPECTORS: Roles = Roles::of(&[Role::DataInspector]);

pub fn routes() -> Routes {
    let (watched, inspected) = (Policy::JUDGE.exact(), Policy::READ.closed().by(INSPECTORS).of_own_work().exact());
    Routes::default()
        .at(watched, routes!(queue))
        .at(inspected, routes!(next))
        .at(inspected, routes!(take))
        .at(inspected, routes!(release))
        .at(inspected.keyed(), routes!(decide))
        .at(watched.keyed(), routes!(reopen))
        .at(watched, routes!(decisions))
        .at(Policy::MANAGE.closed().exact().of_people(), routes!(work))
}

/// An episode that waits for a decision.
#[derive(Debug, Serialize, ToSchema)]
pub struct InspectionItem {
    /// Names it in requests.
    id: i64,
    /// The id that people and the cloud see.
    episode_id: String,
    /// Its task's id.
    task_id: i64,
    /// Where it was recorded.
    station_id: i64,
    /// The slug of its SOP.
    #[schema(required)]
    sop_slug: Option<String>,
    /// What was recorded.
    scene_name: String,
    /// The kind of robot; empty where that is not known any more.
    robot_type: String,
    /// How it stands.
    #[schema(value_type = QaStatusWord)]
    qa_status: &'static str,
    /// Between 0 and 1.
    #[schema(required)]
    qa_score: Option<f64>,
    /// What is wrong with it.
    #[schema(required)]
    quality_flag: Option<String>,
    /// Why a person has to look. That it was decided once is not told.
    #[schema(value_type = InspectionCauseWord)]
    cause: &'static str,
    /// Which level decides about it.
    #[schema(value_type = LevelWord)]
    level: &'static str,
    /// Until when an inspector looks at it; null where nobody does.
    #[schema(required)]
    taken_until: Option<WholeSecond>,
    /// Whether that is the caller.
    taken_by_you: bool,
    /// The check that says most.
    #[serde(skip_serializing_if = "Option::is_none")]
    latest_qa_check: Option<QaCheck>,
    /// How long it is, in seconds.
    #[schema(required)]
    duration_sec: Option<f64>,
    /// When it was verified.
    created_at: WholeSecond,
}

fn inspector_of(caller: &Caller) -> Option<InspectorId> {
    match caller.identity {
        Identity::Inspector { id, .. } => Some(id),
        Identity::Admin
        | Identity::Account { .. }
        | Identity::Collector { .. }
        | Identity::Key { .. }
        | Identity::Display
        | Identity::Anonymous => None,
    }
}

fn item(state: &AppState, caller: &Caller, row: WaitingEpisode) -> InspectionItem {
    let now = state.commands.now();
    let cause = row.own.inspection_cause.unwrap_or(InspectionCause::Warnings);
    let held = row.own.inspection_until.filter(|until| *until > now);
    InspectionItem {
        id: row.id.0,
        episode_id: row.own.episode_id,
        task_id: row.own.task_id.0,
        station_id: row.own.station_id.0,
        sop_slug: row.sop_slug,
        scene_name: row.own.scene_name,
        robot_type: row.robot_type.unwrap_or_default(),
        qa_status: row.own.qa_status.as_str(),
        qa_score: row.own.qa_score,
        quality_flag: row.own.quality_flag,
        cause: cause.as_str(),
        level: state.settings.inspection.levels.of(cause).as_str(),
        taken_by_you: held.is_some() && row.own.inspection_taken_by.is_some() && row.own.inspection_taken_by == inspector_of(caller),
        taken_until: held.map(WholeSecond),
        latest_qa_check: row.own.latest_check.map(|check| QaCheck::telling(check, row.id.0)),
        duration_sec: row.own.duration_sec,
        created_at: row.created_at.into(),
    }
}

/// What the caller may take, or where they are no inspector everything that waits.
async fn filter(state: &AppState, caller: &Caller, params: &Params) -> Result<(QueueOrder, QueueFilter), Problem> {
    let levels = &state.settings.inspection.levels;
    let given: Option<Level> = params.word("level")?;
    let inspector = inspector_of(caller);
    let own = match inspector {
        Some(id) => state.reads.inspector(&caller.scope, id).await?.map(|row| row.own.certification_level),
        None => None,
    };
    let level = match (given, own) {
        (Some(given), Some(own)) => Some(given.min(own)),
        (given, own) => given.or(own),
    };
    let order = params.word("order")?.unwrap_or(QueueOrder::Oldest);
    let number = |name: &str| params.id_list(&[name], |id| id).map(|ids| ids.and_then(|ids| ids.first().copied()));
    let queue = QueueFilter {
        causes: level.map(|level| levels.open_to(level)),
        inspector,
        station: number("station_id")?.map(StationId),
        sop: number("sop_id")?.map(SopId),
        failed_too: params.strict_bool("failed")?.unwrap_or(false),
    };
    Ok((order, queue))
}

/// Episodes that wait for a decision. An inspector sees what they may take: nothing that another holds, that they decided, or that is above their level.
#[utoipa::path(get, path = "/api/v1/inspection/queue", tag = "qa", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("order" = inline(Option<QueueOrderWord>), Query, description = "`oldest`, the default, or `least_certain`: the score nearest to what would approve it"),
    ("level" = inline(Option<LevelWord>), Query, description = "What this level may decide"),
    ("station_id" = Option<i64>, Query),
    ("sop_id" = Option<i64>, Query),
    ("failed" = Option<bool>, Query, description = "Also what failed"),
), responses((status = 200, body = Paged<InspectionItem>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn queue(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<InspectionItem>>, Problem> {
    let page = params.page_to_100()?;
    let (order, filter) = filter(&state, &caller, &params).await?;
    let listed = state.reads.inspection_queue(&caller.scope, order, &filter, page).await?;
    Ok(Json(Paged::new(listed.map(|row| item(&state, &caller, row)), &page)))
}

/// An episode that the caller holds.
#[derive(Debug, Serialize, ToSchema)]
pub struct TakenEpisode {
    /// Its id.
    episode_id: i64,
    /// Until when nobody else may take it.
    taken_until: WholeSecond,
}

async fn taken(state: &AppState, caller: &Caller, episode: EpisodeId) -> Result<TakenEpisode, CommandError> {
    let until: Timestamp = state.commands.execute(&caller.context(), TakeEpisode { episode, terms: state.settings.inspection }).await?;
    Ok(TakenEpisode { episode_id: episode.0, taken_until: until.into() })
}

/// Candidates that are tried: others take them at the same time.
const CANDIDATES: i64 = 20;

/// Take the next episode that waits; 204 where nothing does.
#[utoipa::path(post, path = "/api/v1/inspection/next", tag = "qa", params(
    ("order" = inline(Option<QueueOrderWord>), Query, description = "As in the queue"),
    ("level" = inline(Option<LevelWord>), Query, description = "What this level may decide"),
    ("station_id" = Option<i64>, Query),
    ("sop_id" = Option<i64>, Query),
    ("failed" = Option<bool>, Query, description = "Also what failed"),
), responses((status = 200, body = TakenEpisode), (status = 204), (status = 400, description = "A filter that cannot be")))]
pub async fn next(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Response, Problem> {
    let (order, filter) = filter(&state, &caller, &params).await?;
    let page = Page { limit: Some(CANDIDATES), ..Page::ALL };
    let Listed { rows, .. } = state.reads.inspection_queue(&caller.scope, order, &filter, page).await?;
    for row in rows {
        match taken(&state, &caller, row.id).await {
            Ok(taken) => return Ok(Json(taken).into_response()),
            // Another one was quicker.
            Err(CommandError::Conflict) => {}
            Err(CommandError::Refused(refusal))
                if matches!(
                    refusal.code,
                    RefusalCode::InspectionTaken
                        | RefusalCode::NothingToInspect
                        | RefusalCode::InspectionDecidedBefore
                        | RefusalCode::InspectorLevel
                ) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Take an episode, so that nobody else looks at it meanwhile. Taken again, it is held for longer.
#[utoipa::path(post, path = "/api/v1/inspection/episodes/{id}/take", tag = "qa", params(("id" = i64, Path)), responses(
    (status = 200, body = TakenEpisode),
    (status = 403, description = "It is above the level of the caller"),
    (status = 404, description = "There is no such episode"),
    (status = 409, description = "Another inspector holds it, the caller decided about it, or there is nothing to decide"),
))]
pub async fn take(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Json<TakenEpisode>, Problem> {
    Ok(Json(taken(&state, &caller, EpisodeId(id.positive()?)).await?))
}

/// Give an episode back without a decision.
#[utoipa::path(post, path = "/api/v1/inspection/episodes/{id}/release", tag = "qa", params(("id" = i64, Path)), responses(
    (status = 204, description = "It is not the caller's, now"),
    (status = 404, description = "There is no such episode"),
))]
pub async fn release(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<StatusCode, Problem> {
    state.commands.execute(&caller.context(), ReleaseEpisode(EpisodeId(id.positive()?))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How many words, and how long each.
const TAGS_MAX: usize = 20;
type Tag = Text<100>;

/// The longest that anybody looks at an episode: a working day.
const DURATION_SEC_MAX: f64 = 86_400.0;

/// A decision.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenDecision {
    /// What becomes of the episode.
    decision: DecisionWord,
    /// Why.
    reason: Reason,
    /// What is wrong with it, in words of the site; at most 20.
    #[schema(max_items = 20)]
    tags: Option<Vec<Tag>>,
    /// How long the inspector looked.
    #[schema(minimum = 0, maximum = 86400)]
    duration_sec: Option<f64>,
}

/// What a decision did.
#[derive(Debug, Serialize, ToSchema)]
pub struct DecidedEpisode {
    /// Its id.
    episode_id: i64,
    /// `settled`: the status follows. `second_wanted`: another inspector looks first. `disputed`: two disagree, and a senior settles it.
    #[schema(value_type = DecisionEffectWord)]
    effect: &'static str,
    /// As it is now.
    #[schema(value_type = QaStatusWord)]
    qa_status: &'static str,
}

/// Decide about an episode that the caller holds.
#[utoipa::path(post, path = "/api/v1/inspection/episodes/{id}/decide", tag = "qa", params(("id" = i64, Path)), request_body = GivenDecision, responses(
    (status = 200, body = DecidedEpisode),
    (status = 400, description = "No decision, or no reason"),
    (status = 403, description = "It is above the level of the caller"),
    (status = 404, description = "There is no such episode"),
    (status = 409, description = "The caller does not hold it, or not any more"),
))]
pub async fn decide(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    Json(body): Json<GivenDecision>,
) -> Result<Json<DecidedEpisode>, Problem> {
    let tags: Vec<String> = body.tags.unwrap_or_default().into_iter().map(|tag| tag.0).collect();
    if tags.len() > TAGS_MAX {
        return Err(Problem::of_field("tags", format_args!("has more than {TAGS_MAX} entries")));
    }
    if body.duration_sec.is_some_and(|seconds| !(0.0..=DURATION_SEC_MAX).contains(&seconds)) {
        return Err(Problem::of_field("duration_sec", format_args!("must be from 0 to {DURATION_SEC_MAX}")));
    }
    let episode = EpisodeId(id.positive()?);
    let decide = DecideEpisode {
        episode,
        decision: body.decision.0,
        reason: body.reason.0,
        tags,
        duration_sec: body.duration_sec,
        terms: state.settings.inspection,
    };
    let made = state.commands.execute(&caller.context(), decide).await?;
    Ok(Json(DecidedEpisode { episode_id: episode.0, effect: made.effect.as_str(), qa_status: made.status.as_str() }))
}

/// Why something is decided once more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReopenReason {
    /// It stands with the episode until it is decided.
    reason: Reason,
}

/// Have an episode that was decided, or approved, decided once more, by a senior.
#[utoipa::path(post, path = "/api/v1/inspection/episodes/{id}/reopen", tag = "qa", params(("id" = i64, Path)), request_body = ReopenReason, responses(
    (status = 204, description = "It waits for a senior"),
    (status = 400, description = "No reason"),
    (status = 403, description = "The caller is no senior"),
    (status = 404, description = "There is no such episode"),
    (status = 409, description = "It was not decided"),
))]
pub async fn reopen(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    MaybeJson(body): MaybeJson<ReopenReason>,
) -> Result<StatusCode, Problem> {
    let reopen = ReopenEpisode { episode: EpisodeId(id.positive()?), reason: body.reason.0 };
    state.commands.execute(&caller.context(), reopen).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What an inspector decided.
#[derive(Debug, Serialize, ToSchema)]
pub struct InspectionDecision {
    /// Names it.
    id: i64,
    /// Who.
    inspector_id: TextId,
    /// For people.
    #[schema(required)]
    inspector_name: Option<String>,
    /// What.
    #[schema(value_type = DecisionWord)]
    decision: &'static str,
    /// What it did.
    #[schema(value_type = DecisionEffectWord)]
    effect: &'static str,
    /// Why.
    reason: String,
    /// What is wrong with it.
    tags: Vec<String>,
    /// How long they looked, in seconds.
    #[schema(required)]
    duration_sec: Option<f64>,
    /// When.
    decided_at: WholeSecond,
}

impl From<DecisionShown> for InspectionDecision {
    fn from(row: DecisionShown) -> Self {
        Self {
            id: row.id,
            inspector_id: TextId(row.inspector_id.0),
            inspector_name: row.inspector_name,
            decision: row.decision.as_str(),
            effect: row.effect.as_str(),
            reason: row.reason,
            tags: row.tags,
            duration_sec: row.duration_sec,
            decided_at: row.created_at.into(),
        }
    }
}

/// All decisions about an episode.
#[derive(Debug, Serialize, ToSchema)]
pub struct InspectionDecisions {
    /// The oldest first.
    items: Vec<InspectionDecision>,
}

/// Decisions about an episode, the oldest first. Who may be the second to look is not shown the first one.
#[utoipa::path(get, path = "/api/v1/inspection/episodes/{id}/decisions", tag = "qa", params(("id" = i64, Path)), responses(
    (status = 200, body = InspectionDecisions),
    (status = 404, description = "There is no such episode"),
))]
pub async fn decisions(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Json<InspectionDecisions>, Problem> {
    let episode = found(&state, &caller.scope, id).await?;
    let mut rows = state.reads.inspection_decisions(episode.id).await?;
    if let Some(inspector) = inspector_of(&caller)
        && episode.own.inspection_blind
    {
        rows.retain(|row| row.inspector_id == inspector);
    }
    Ok(Json(InspectionDecisions { items: rows.into_iter().map(InspectionDecision::from).collect() }))
}

/// What an inspector did.
#[derive(Debug, Serialize, ToSchema)]
pub struct InspectorFigures {
    /// Names them in other requests.
    inspector_id: TextId,
    /// For people.
    name: String,
    /// What they may decide.
    #[schema(value_type = LevelWord)]
    certification_level: &'static str,
    /// Whether they are at work.
    #[schema(value_type = InspectorStatusWord)]
    status: &'static str,
    /// How many decisions they made.
    decisions: i64,
    /// How many of these approved.
    approved: i64,
    /// How long they looked at one, in the mean of those of which they said it.
    #[schema(required)]
    mean_duration_sec: Option<f64>,
    /// Episodes that another inspector decided about, too, neither knowing of the other.
    inspected_twice: i64,
    /// The share of these on which both agreed.
    #[schema(required)]
    agreement: Option<f64>,
    /// The same beyond chance: Cohen's kappa; null where chance alone gives all of it.
    #[schema(required)]
    kappa: Option<f64>,
}

/// All inspectors.
#[derive(Debug, Serialize, ToSchema)]
pub struct InspectorsFigures {
    /// In the order in which they came.
    items: Vec<InspectorFigures>,
}

fn figures(row: InspectorWork, pairs: &BTreeMap<InspectorId, Pairs>) -> InspectorFigures {
    let pairs = pairs.get(&row.id).copied().unwrap_or_default();
    InspectorFigures {
        inspector_id: TextId(row.id.0),
        name: row.name.unwrap_or_default(),
        certification_level: row.certification_level.as_str(),
        status: row.status.as_str(),
        decisions: row.decisions,
        approved: row.approved,
        mean_duration_sec: row.seconds,
        inspected_twice: pairs.count(),
        agreement: pairs.share(),
        kappa: pairs.kappa(),
    }
}

/// The decisions of each inspector beside those of others.
pub fn pairs_of(found: &[SameEpisode]) -> BTreeMap<InspectorId, Pairs> {
    let mut each = BTreeMap::<InspectorId, Pairs>::new();
    for row in found {
        each.entry(row.inspector_id).or_default().add(row.own, row.others, row.episodes);
    }
    each
}

/// What each inspector did, and how far they agree with others.
#[utoipa::path(get, path = "/api/v1/inspection/inspectors", tag = "qa", params(
    ("from" = Option<String>, Query, description = "RFC 3339, inclusive"),
    ("to" = Option<String>, Query, description = "RFC 3339, exclusive"),
), responses((status = 200, body = InspectorsFigures), (status = 400, description = "A time that is none")))]
pub async fn work(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<InspectorsFigures>, Problem> {
    let (from, to) = (params.instant("from")?, params.instant("to")?);
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(Problem::new(Code::InvalidRequest, "from must not be after to"));
    }
    let pairs = pairs_of(&state.reads.inspected_twice(&caller.scope, from, to).await?);
    let items = state.reads.inspectors_work(&caller.scope, from, to).await?.into_iter().map(|row| figures(row, &pairs)).collect();
    Ok(Json(InspectorsFigures { items }))
}
