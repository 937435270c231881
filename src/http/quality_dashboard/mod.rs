//! `/dashboard/quality`: how good recordings are, where they are not, and what waits for a person.
//!
//! - [`asked`]: which episodes, from the query.
//! - [`shown`]: what is answered.

mod asked;
mod shown;

use axum::extract::State;
use utoipa_axum::routes;

use self::asked::{How, Which, selected};
use self::shown::{Inspectors, QualityBreakdown, QualityGroup, QualitySummary, TopicWithGaps, TopicsWithGaps};
use super::AppState;
use super::auth::Caller;
use super::extract::{Json, Params};
use super::policy::Policy;
use super::problem::Problem;
use super::production_statistics::minutes_ahead;
use super::routes::Routes;
use super::wire::Paged;
use super::words::{GranularityWord, JudgedByWord};
use crate::projections::reads::quality_dashboard::JudgedBy;
use crate::projections::reads::{Listed, Page};

pub fn routes() -> Routes {
    let policy = Policy::JUDGE.exact().by_offset_only();
    Routes::default()
        .at(policy, routes!(summary))
        .at(policy, routes!(breakdown))
        .at(policy, routes!(topics))
        .at(policy, routes!(inspectors))
}

/// How episodes of a window were judged, all together and by time, the earliest first; and what waits for an inspector now, whatever the window.
/// Times without an episode are left out.
#[utoipa::path(get, path = "/api/v1/dashboard/quality/summary", tag = "statistics", params(
    Which,
    How,
    ("granularity" = inline(Option<GranularityWord>), Query, description = "How long a bucket is; default `day`"),
    ("timezone_offset" = Option<String>, Query, description = "Where buckets begin: `+08:00`, up to 14 hours; default `+00:00`"),
), responses((status = 200, body = QualitySummary), (status = 400, description = "A window or a filter that cannot be")))]
async fn summary(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<QualitySummary>, Problem> {
    let (by, ahead) = (params.word("granularity")?.unwrap_or_default(), minutes_ahead(&params)?);
    let selection = selected(&state, &caller, &params).await?;
    // Asked first: what is counted meanwhile makes the answer newer than it says, and never older.
    let as_of = state.reads.counted_as_of().await?;
    let trend = state.reads.judged_trend(&selection, by, ahead).await?;
    let waiting = state.reads.waiting(&selection).await?;
    Ok(Json(QualitySummary::of(by, trend, waiting, as_of)))
}

/// The same by what episodes have in common, the largest group first.
#[utoipa::path(get, path = "/api/v1/dashboard/quality/breakdown", tag = "statistics", params(
    Which,
    How,
    ("dimension" = inline(Option<JudgedByWord>), Query, description = "What that is; default `reason`"),
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
), responses((status = 200, body = QualityBreakdown), (status = 400, description = "A window, a filter or a page that cannot be")))]
async fn breakdown(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<QualityBreakdown>, Problem> {
    let (by, page): (JudgedBy, Page) = (params.word("dimension")?.unwrap_or_default(), params.page_to_100()?);
    let selection = selected(&state, &caller, &params).await?;
    let as_of = state.reads.counted_as_of().await?;
    let groups = state.reads.judged_groups(&selection, by).await?;
    let page: Paged<QualityGroup> = Paged::new(Listed::part(groups, &page), &page);
    Ok(Json(QualityBreakdown { dimension: by.as_str(), page, as_of: as_of.into() }))
}

/// Topics on which messages are missing in recordings of the window, the one with most missing time first, with a guess of why: the gap ledger,
/// put together.
#[utoipa::path(get, path = "/api/v1/dashboard/quality/topics", tag = "statistics", params(
    Which,
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
), responses((status = 200, body = TopicsWithGaps), (status = 400, description = "A window, a filter or a page that cannot be")))]
async fn topics(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<TopicsWithGaps>, Problem> {
    let page = params.page_to_100()?;
    let selection = selected(&state, &caller, &params).await?;
    let as_of = state.reads.counted_as_of().await?;
    let topics = state.reads.topics_with_gaps(&selection).await?;
    let page: Paged<TopicWithGaps> = Paged::new(Listed::part(topics, &page), &page);
    Ok(Json(TopicsWithGaps { page, as_of: as_of.into() }))
}

/// How far inspectors agree who decided about the same episode, neither knowing of the other: by what they decided in the window.
#[utoipa::path(get, path = "/api/v1/dashboard/quality/inspectors", tag = "statistics", params(Which),
    responses((status = 200, body = Inspectors), (status = 400, description = "A window or a filter that cannot be")))]
async fn inspectors(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Inspectors>, Problem> {
    let selection = selected(&state, &caller, &params).await?;
    let as_of = state.reads.counted_as_of().await?;
    let (pairs, names) = state.reads.agreed(&selection).await?;
    Ok(Json(Inspectors::of(&pairs, names, as_of)))
}
