//! `/data-ops/bulk-runs`: work on many things that one request asked for, and how far it is.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::dead_letters::ReplayOfSelection;
use super::extract::{Json, Params, PathText};
use super::policy::Policy;
use super::problem::Problem;
use super::routes::Routes;
use super::wire::{Paged, WholeSecond};
use super::words::{BulkActionWord, BulkStatusWord, ItemOutcomeWord};
use crate::commands::bulk_runs::{AcceptBulkRun, CancelBulkRun};
use crate::domain::Scope;
use crate::domain::bulk_run::BulkAction;
use crate::projections::reads::bulk_runs::{BulkCause, BulkItem, BulkRunShown};
use crate::projections::reads::{Page, ReadError, Reads};

/// Of all routes about bulk runs: who sees what a run was accepted for sees the run.
pub const POLICY: Policy = Policy::MANAGE.closed();

pub fn routes() -> Routes {
    Routes::default()
        .at(POLICY.keyed().exact().of_the_site(), routes!(replay))
        .at(POLICY.exact(), routes!(list))
        .at(POLICY, routes!(current))
        .at(POLICY, routes!(get))
        .at(POLICY.exact(), routes!(items))
        .at(POLICY.keyed(), routes!(cancel))
}

/// Work on many things.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkRun {
    /// Names it in other requests.
    run_id: String,
    /// What is done.
    #[schema(value_type = BulkActionWord)]
    action: &'static str,
    /// How far it is.
    #[schema(value_type = BulkStatusWord)]
    status: &'static str,
    /// How many things it is about.
    total_count: i64,
    /// How many were worked on: the sum of the four that follow.
    processed_count: i64,
    /// What was done.
    passed_count: i64,
    /// What was looked at, and is not as it should be.
    qa_failed_count: i64,
    /// What could not be done.
    processing_failed_count: i64,
    /// What was not to be done, or is done by another run.
    skipped_count: i64,
    /// When a process began with it.
    #[schema(required)]
    started_at: Option<WholeSecond>,
    /// When it ended.
    #[schema(required)]
    finished_at: Option<WholeSecond>,
    /// When it moved last.
    updated_at: WholeSecond,
    /// Why it failed as a whole; empty where it did not.
    error_message: String,
}

impl BulkRun {
    /// How many things it is about.
    pub fn total(&self) -> i64 {
        self.total_count
    }
}

impl From<BulkRunShown> for BulkRun {
    fn from(row: BulkRunShown) -> Self {
        let (status, tally) = (row.status(), row.tally());
        Self {
            action: row.own.action.as_str(),
            status,
            total_count: row.own.total_count,
            processed_count: tally.processed(),
            passed_count: tally.passed,
            qa_failed_count: tally.qa_failed,
            processing_failed_count: tally.processing_failed,
            skipped_count: tally.skipped,
            started_at: row.own.started_at.or(row.begun).map(WholeSecond),
            finished_at: row.own.ended.map(|_| WholeSecond(row.updated_at)),
            updated_at: row.moved.map_or(row.updated_at, |moved| moved.max(row.updated_at)).into(),
            error_message: row.own.error_message.unwrap_or_default(),
            run_id: row.id,
        }
    }
}

/// How many things ended like this for the same reason.
#[derive(Debug, Serialize, ToSchema)]
pub struct CauseCount {
    /// How they ended.
    #[schema(value_type = ItemOutcomeWord)]
    outcome: &'static str,
    /// Why.
    cause: String,
    /// How many.
    count: i64,
}

impl From<BulkCause> for CauseCount {
    fn from(row: BulkCause) -> Self {
        Self { outcome: row.outcome.as_str(), cause: row.cause, count: row.items }
    }
}

/// Work on many things, with why some of it was not done.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkRunWithCauses {
    #[serde(flatten)]
    run: BulkRun,
    /// The most frequent one first.
    causes: Vec<CauseCount>,
}

/// One of the things.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunItem {
    /// What it is: of a replay, the number of a dead letter.
    item: String,
    /// How it ended; null before its turn.
    #[schema(required, value_type = Option<ItemOutcomeWord>)]
    outcome: Option<&'static str>,
    /// Why it was not done.
    #[schema(required)]
    cause: Option<String>,
    /// When it ended.
    #[schema(required)]
    at: Option<WholeSecond>,
}

impl From<BulkItem> for RunItem {
    fn from(row: BulkItem) -> Self {
        let outcome = row.outcome.map(|outcome| outcome.as_str());
        Self { item: row.item, outcome, cause: row.cause, at: row.at.map(WholeSecond) }
    }
}

impl BulkRunWithCauses {
    /// None where there is no such run.
    pub async fn of(reads: &Reads, scope: &Scope, id: &str) -> Result<Option<Self>, ReadError> {
        let Some(run) = reads.bulk_run(scope, id).await? else { return Ok(None) };
        let causes = reads.bulk_causes(id).await?.into_iter().map(CauseCount::from).collect();
        Ok(Some(Self { run: run.into(), causes }))
    }
}

fn no_run() -> Problem {
    Problem::not_found("bulk run")
}

/// A run, as far as it is.
pub async fn shown(state: &AppState, scope: &Scope, id: &str) -> Result<BulkRunShown, Problem> {
    state.reads.bulk_run(scope, id).await?.ok_or_else(no_run)
}

/// Replay the dead letters of a preview, however many, while the caller does something else.
#[utoipa::path(post, path = "/api/v1/dead-letters/replay/run", tag = "operation", request_body = ReplayOfSelection, responses(
    (status = 202, body = BulkRun, description = "Accepted"),
    (status = 400, description = "Not the selection of a preview"),
))]
pub async fn replay(
    State(state): State<AppState>,
    caller: Caller,
    Json(body): Json<ReplayOfSelection>,
) -> Result<(StatusCode, Json<BulkRun>), Problem> {
    let id = state.commands.execute(&caller.context(), AcceptBulkRun { work: body.as_a_run(), expected: None }).await?;
    Ok((StatusCode::ACCEPTED, Json(shown(&state, &caller.scope, &id).await?.into())))
}

/// Bulk runs, the newest first.
#[utoipa::path(get, path = "/api/v1/data-ops/bulk-runs", tag = "operation", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("action" = Option<BulkActionWord>, Query, description = "Only of this kind"),
    ("active" = Option<bool>, Query, description = "Only those that have not ended (`true`), or have (`false`)"),
), responses((status = 200, body = Paged<BulkRun>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<BulkRun>>, Problem> {
    let page = params.page_to_100()?;
    let listed = state.reads.bulk_runs(&caller.scope, params.word("action")?, params.strict_bool("active")?, page).await?;
    Ok(Json(Paged::new(listed, &page)))
}

/// The newest bulk run of a kind that has not ended; 204 without one.
#[utoipa::path(get, path = "/api/v1/data-ops/bulk-runs/current", tag = "operation", params(
    ("action" = BulkActionWord, Query, description = "The kind"),
), responses((status = 200, body = BulkRun), (status = 204), (status = 400, description = "No such kind")))]
pub async fn current(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Response, Problem> {
    let action = params.word("action").and_then(|action| action.ok_or_else(|| Problem::of_field("action", "is required")));
    let action: BulkAction = action.map_err(|problem| problem.in_short("action must be bulk_qa"))?;
    let one = Page { limit: Some(1), ..Page::ALL };
    let newest = state.reads.bulk_runs(&caller.scope, Some(action), Some(true), one).await?.rows.pop();
    Ok(newest.map_or_else(|| StatusCode::NO_CONTENT.into_response(), |run| Json(BulkRun::from(run)).into_response()))
}

/// A bulk run, and why some of it was not done.
#[utoipa::path(get, path = "/api/v1/data-ops/bulk-runs/{run_id}", tag = "operation", params(
    ("run_id" = String, Path, description = "The id of the run"),
), responses((status = 200, body = BulkRunWithCauses), (status = 404, description = "There is none")))]
pub async fn get(State(state): State<AppState>, caller: Caller, PathText(id): PathText) -> Result<Json<BulkRunWithCauses>, Problem> {
    BulkRunWithCauses::of(&state.reads, &caller.scope, &id).await?.map(Json).ok_or_else(no_run)
}

/// What became of each thing of a bulk run, in their order; for as long as that is kept after its end.
#[utoipa::path(get, path = "/api/v1/data-ops/bulk-runs/{run_id}/items", tag = "operation", params(
    ("run_id" = String, Path, description = "The id of the run"),
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("outcome" = Option<ItemOutcomeWord>, Query, description = "Only those that ended like this"),
), responses((status = 200, body = Paged<RunItem>), (status = 404, description = "There is no such run")))]
pub async fn items(
    State(state): State<AppState>,
    caller: Caller,
    PathText(id): PathText,
    params: Params,
) -> Result<Json<Paged<RunItem>>, Problem> {
    let page = params.page_to_100()?;
    let outcome = params.word("outcome")?;
    shown(&state, &caller.scope, &id).await?;
    Ok(Json(Paged::new(state.reads.bulk_items(&id, outcome, page).await?, &page)))
}

/// Cancel a bulk run: what is being worked on ends, and the rest stays undone.
#[utoipa::path(post, path = "/api/v1/data-ops/bulk-runs/{run_id}/cancel", tag = "operation", params(
    ("run_id" = String, Path, description = "The id of the run"),
), responses(
    (status = 200, body = BulkRun),
    (status = 404, description = "There is none"),
    (status = 409, description = "It has ended"),
))]
pub async fn cancel(State(state): State<AppState>, caller: Caller, PathText(id): PathText) -> Result<Json<BulkRun>, Problem> {
    state.commands.execute(&caller.context(), CancelBulkRun(id.clone())).await?;
    Ok(Json(shown(&state, &caller.scope, &id).await?.into()))
}
