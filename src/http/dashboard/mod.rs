//! `/production/dashboard`: production at a glance, for people and for screens on walls.
//!
//! - [`asked`]: which part of the site, and how much of it, from the query.
//! - [`snapshot`], [`overview`]: what the two pages show.
//! - [`shown`]: what both show, and how the contract's pages call it.

mod asked;
mod overview;
mod shown;
mod snapshot;

use std::collections::BTreeMap;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use self::asked::{Asked, Sizes, Where, asked};
use self::overview::ProductionOverview;
use self::shown::StatusCounts;
use self::snapshot::ProductionSnapshot;
use super::AppState;
use super::auth::Caller;
use super::extract::{Json, Params, PathId};
use super::policy::Policy;
use super::problem::Problem;
use super::routes::Routes;
use super::wire::TextId;
use crate::domain::BatchId;
use crate::projections::reads::dashboard::BatchGroup;

pub fn routes() -> Routes {
    Routes::default().at(Policy::WATCH, routes!(snapshot)).at(Policy::WATCH, routes!(overview)).at(Policy::WATCH, routes!(batch))
}

/// The state of production: tasks, quality, workstations, and what is under way.
#[utoipa::path(get, path = "/api/v1/production/dashboard/snapshot", tag = "statistics", params(Where, Sizes),
    responses((status = 200, body = ProductionSnapshot), (status = 400, description = "A part, a number or an offset that cannot be")))]
async fn snapshot(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<ProductionSnapshot>, Problem> {
    let Asked { part, shape, scope, now } = asked(&state, &caller, &params).await?;
    // Asked first: what is counted meanwhile makes the answer newer than it says, and never older.
    let as_of = state.reads.counted_as_of().await?;
    let found = match part {
        Some(part) => Some(state.reads.dashboard_snapshot(&caller.scope, &part, &shape).await?),
        None => None,
    };
    Ok(Json(ProductionSnapshot::of(found, &shape, scope, now, as_of)))
}

/// Production in numbers: of all time and of today, with the newest tasks and episodes.
#[utoipa::path(get, path = "/api/v1/production/dashboard/overview", tag = "statistics", params(Where, Sizes),
    responses((status = 200, body = ProductionOverview), (status = 400, description = "A part, a number or an offset that cannot be")))]
async fn overview(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<ProductionOverview>, Problem> {
    let Asked { part, shape, scope, now } = asked(&state, &caller, &params).await?;
    let as_of = state.reads.counted_as_of().await?;
    let found = match part {
        Some(part) => Some(state.reads.dashboard_overview(&caller.scope, &part, &shape).await?),
        None => None,
    };
    Ok(Json(ProductionOverview::of(found, &shape, scope, now, as_of, caller.identity.role())))
}

/// How far a batch is, by procedure and place.
#[derive(Debug, Serialize, ToSchema)]
struct BatchTaskSummary {
    /// The batch.
    batch_id: TextId,
    /// Ordered by SOP, scene and subscene.
    items: Vec<BatchTaskGroup>,
}

/// Tasks of a batch that have procedure and place in common.
#[derive(Debug, Serialize, ToSchema)]
struct BatchTaskGroup {
    /// The SOP.
    sop_id: TextId,
    /// Its slug and version.
    sop_label: String,
    /// The scene, as the tasks name it.
    scene_name: String,
    /// The subscene, as the tasks name it.
    subscene_name: String,
    /// How many tasks there are.
    total: i64,
    /// How many are how far.
    statuses: StatusCounts,
}

fn grouped(found: Vec<BatchGroup>) -> Vec<BatchTaskGroup> {
    let mut groups = BTreeMap::new();
    for row in found {
        let key = (row.sop_label, row.scene_name, row.subscene_name, row.sop);
        let statuses: &mut StatusCounts = groups.entry(key).or_default();
        statuses.add(row.status, row.tasks);
    }
    let group =
        |((sop_label, scene_name, subscene_name, sop), statuses): ((String, String, String, crate::domain::SopId), StatusCounts)| {
            BatchTaskGroup { sop_id: TextId(sop.0), sop_label, scene_name, subscene_name, total: statuses.total(), statuses }
        };
    groups.into_iter().map(group).collect()
}

/// How many tasks of a batch are how far, by procedure and place.
#[utoipa::path(get, path = "/api/v1/production/dashboard/batches/{id}/task-summary", tag = "statistics",
    params(("id" = i64, Path, description = "The batch")),
    responses((status = 200, body = BatchTaskSummary), (status = 400, description = "An id that is none"),
              (status = 404, description = "There is no such batch for the caller")))]
async fn batch(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Json<BatchTaskSummary>, Problem> {
    let id = BatchId(id.positive()?);
    let Asked { part, .. } = asked(&state, &caller, &Params::default()).await?;
    // Without a workstation there is nothing to see.
    let Some(part) = part else { return Ok(Json(BatchTaskSummary { batch_id: TextId(id.0), items: vec![] })) };
    let found = state.reads.dashboard_batch(&caller.scope, &part, id).await?;
    let found = found.ok_or_else(|| Problem::not_found("batch"))?;
    Ok(Json(BatchTaskSummary { batch_id: TextId(id.0), items: grouped(found) }))
}
