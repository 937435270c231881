//! `/admin/statistics/data-production` and `/operator/statistics/data-production`: how much was made, of what and by whom.
//!
//! An administrator sees everybody's; a data collector their own, by who they are and not by what they were called.
//!
//! - [`asked`]: what is asked, from the query.
//! - [`shown`]: what is answered.
//! - [`table`]: the export, as a table that spreadsheets open.

mod asked;
mod shown;
mod table;

pub use asked::{Whose, filter, minutes_ahead};

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use utoipa_axum::routes;

use self::asked::Filters;
pub use self::shown::AsOf;
use self::shown::{Details, ProductionBreakdown, ProductionBreakdownItem, ProductionSummary, Trend, TrendItem};
use self::table::Table;
use super::AppState;
use super::auth::Caller;
use super::exported::{ExportFormat, file};
use super::extract::{AFTER, Json, Params};
use super::policy::{COLLECTORS, Policy};
use super::problem::Problem;
use super::routes::Routes;
use super::wire::Paged;
use super::words::{CountedByWord, GranularityWord, SortOrderWord, SortedByWord};
use crate::projections::reads::buckets::Granularity;
use crate::projections::reads::counted::Selection;
use crate::projections::reads::counted_groups::CountedBy;
use crate::projections::reads::counted_records::{SortOrder, SortedBy};
use crate::projections::reads::{Listed, Page};

pub fn routes() -> Routes {
    let (managers, collectors) =
        (Policy::MANAGE.closed().by_offset_only(), Policy::READ.by(COLLECTORS).of_own_work().closed().by_offset_only());
    Routes::default()
        .at(managers, routes!(summary))
        .at(managers, routes!(trend))
        .at(managers, routes!(breakdown))
        .at(managers, routes!(details))
        .at(managers.export(), routes!(export))
        .at(collectors, routes!(own_summary))
        .at(collectors, routes!(own_trend))
        .at(collectors, routes!(own_breakdown))
}

async fn selected(state: &AppState, caller: &Caller, params: &Params, whose: Whose) -> Result<Selection, Problem> {
    Ok(state.reads.counted_selection(&caller.scope, filter(params, whose)?).await?)
}

async fn summary_of(state: &AppState, caller: &Caller, params: &Params, whose: Whose) -> Result<Json<ProductionSummary>, Problem> {
    let selection = selected(state, caller, params, whose).await?;
    // Asked first: what is counted meanwhile makes the answer newer than it says, and never older.
    let as_of = state.reads.counted_as_of().await?;
    Ok(Json(ProductionSummary::of(&state.reads.counted_summary(&selection).await?, as_of)))
}

async fn trend_of(state: &AppState, caller: &Caller, params: &Params, whose: Whose) -> Result<Json<Trend>, Problem> {
    let (by, ahead) = (params.word("granularity")?.unwrap_or_default(), minutes_ahead(params)?);
    let selection = selected(state, caller, params, whose).await?;
    let as_of = state.reads.counted_as_of().await?;
    let buckets = state.reads.counted_trend(&selection, by, ahead).await?;
    let items = buckets.into_iter().map(TrendItem::from).collect();
    Ok(Json(Trend { granularity: Granularity::as_str(by), items, as_of: as_of.into() }))
}

async fn breakdown_of(state: &AppState, caller: &Caller, params: &Params, whose: Whose) -> Result<Json<ProductionBreakdown>, Problem> {
    let (by, page): (CountedBy, Page) = (params.word("dimension")?.unwrap_or_default(), page(params)?);
    let selection = selected(state, caller, params, whose).await?;
    let as_of = state.reads.counted_as_of().await?;
    let groups = state.reads.counted_groups(&selection, by).await?;
    let groups = Listed::part(groups, &page).map(|group| ProductionBreakdownItem::of(group, by));
    let page = Paged::new(groups, &page);
    Ok(Json(ProductionBreakdown { dimension: by.as_str(), page, as_of: as_of.into() }))
}

fn page(params: &Params) -> Result<Page, Problem> {
    if params.has(AFTER) {
        return Err(Problem::invalid("pages of this list are asked for by offset"));
    }
    params.page_to_100()
}

/// How many episodes there are, how long and how large, how many were approved and synced, and how many there were in the window of equal
/// length before.
#[utoipa::path(get, path = "/api/v1/admin/statistics/data-production/summary", tag = "statistics", params(Filters),
    responses((status = 200, body = ProductionSummary), (status = 400, description = "A window or a filter that cannot be")))]
async fn summary(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<ProductionSummary>, Problem> {
    summary_of(&state, &caller, &params, Whose::Everybody).await
}

/// The same by time, the earliest first; times without an episode are left out.
#[utoipa::path(get, path = "/api/v1/admin/statistics/data-production/trend", tag = "statistics", params(
    Filters,
    ("granularity" = inline(Option<GranularityWord>), Query, description = "How long a bucket is; default `day`"),
    ("timezone_offset" = Option<String>, Query, description = "Where buckets begin: `+08:00`, up to 14 hours; default `+00:00`"),
), responses((status = 200, body = Trend), (status = 400, description = "A window or a filter that cannot be")))]
async fn trend(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Trend>, Problem> {
    trend_of(&state, &caller, &params, Whose::Everybody).await
}

/// The same by what episodes have in common, the largest group first.
#[utoipa::path(get, path = "/api/v1/admin/statistics/data-production/breakdown", tag = "statistics", params(
    Filters,
    ("dimension" = inline(Option<CountedByWord>), Query, description = "What that is; default `source`"),
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
), responses((status = 200, body = ProductionBreakdown), (status = 400, description = "A window, a filter or a page that cannot be")))]
async fn breakdown(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<ProductionBreakdown>, Problem> {
    breakdown_of(&state, &caller, &params, Whose::Everybody).await
}

/// Of one's own recordings: how many there are, how long and how large, how many were approved and synced.
#[utoipa::path(get, path = "/api/v1/operator/statistics/data-production/summary", tag = "statistics", params(Filters),
    responses((status = 200, body = ProductionSummary), (status = 400, description = "A window or a filter that cannot be")))]
async fn own_summary(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<ProductionSummary>, Problem> {
    summary_of(&state, &caller, &params, Whose::own(&caller)?).await
}

/// Of one's own recordings: the same by time, the earliest first; times without an episode are left out.
#[utoipa::path(get, path = "/api/v1/operator/statistics/data-production/trend", tag = "statistics", params(
    Filters,
    ("granularity" = inline(Option<GranularityWord>), Query, description = "How long a bucket is; default `day`"),
    ("timezone_offset" = Option<String>, Query, description = "Where buckets begin: `+08:00`, up to 14 hours; default `+00:00`"),
), responses((status = 200, body = Trend), (status = 400, description = "A window or a filter that cannot be")))]
async fn own_trend(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Trend>, Problem> {
    trend_of(&state, &caller, &params, Whose::own(&caller)?).await
}

/// Of one's own recordings: the same by what they have in common, the largest group first.
#[utoipa::path(get, path = "/api/v1/operator/statistics/data-production/breakdown", tag = "statistics", params(
    Filters,
    ("dimension" = inline(Option<CountedByWord>), Query, description = "What that is; default `source`"),
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
), responses((status = 200, body = ProductionBreakdown), (status = 400, description = "A window, a filter or a page that cannot be")))]
async fn own_breakdown(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<ProductionBreakdown>, Problem> {
    breakdown_of(&state, &caller, &params, Whose::own(&caller)?).await
}

/// Single episodes. Those that are equal in what they are sorted by are sorted by their id, so no page repeats or misses one.
#[utoipa::path(get, path = "/api/v1/admin/statistics/data-production/details", tag = "statistics", params(
    Filters,
    ("sort_by" = inline(Option<SortedByWord>), Query, description = "Default `time`"),
    ("sort_order" = inline(Option<SortOrderWord>), Query, description = "Default `desc`"),
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
), responses((status = 200, body = Details), (status = 400, description = "A window, a filter, an order or a page that cannot be")))]
async fn details(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Details>, Problem> {
    let page = page(&params)?;
    let (by, order): (Option<SortedBy>, Option<SortOrder>) = (params.word("sort_by")?, params.word("sort_order")?);
    let selection = selected(&state, &caller, &params, Whose::Everybody).await?;
    let as_of = state.reads.counted_as_of().await?;
    let listed = state.reads.counted_records(&selection, by.unwrap_or_default(), order.unwrap_or_default(), page).await?;
    Ok(Json(Details { page: Paged::new(listed, &page), as_of: as_of.into() }))
}

/// How far statistics are, where a table has no place for it.
const AS_OF_POSITION: HeaderName = HeaderName::from_static("x-as-of-position");
const BEHIND_SECONDS: HeaderName = HeaderName::from_static("x-behind-seconds");

/// Every episode that matches, the newest first, as a table: however many there are, nothing is cut. A cell that a spreadsheet would run as a
/// formula begins with an apostrophe. `x-as-of-position` and `x-behind-seconds` say how far statistics are.
#[utoipa::path(get, path = "/api/v1/admin/statistics/data-production/export", tag = "statistics", params(
    Filters,
    ("timezone_offset" = Option<String>, Query, description = "Of the times in it: `+08:00`, up to 14 hours; default `+00:00`"),
), responses(
    (status = 200, content_type = "text/csv; charset=utf-8", body = String,
     description = "An export that ends with an error is not whole, and its connection is cut"),
    (status = 400, description = "A window or a filter that cannot be"),
))]
async fn export(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Response, Problem> {
    let ahead = minutes_ahead(&params)?;
    let selection = selected(&state, &caller, &params, Whose::Everybody).await?;
    let as_of = AsOf::from(state.reads.counted_as_of().await?);
    let table = Table::new(state.reads.clone(), selection, ahead);
    let number = |text: String| HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
    let headers = [(AS_OF_POSITION, number(as_of.position.to_string())), (BEHIND_SECONDS, number(as_of.behind_s.to_string()))];
    let file = file("statistics", "attachment; filename=data-production-statistics.csv", ExportFormat::Csv.content_type(), table.pieces());
    Ok((headers, file).into_response())
}
