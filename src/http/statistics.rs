//! `/tasks/statistics`: how the work is spread.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Caller, Identity};
use super::extract::{Json, Params};
use super::policy::Policy;
use super::problem::Problem;
use super::routes::Routes;
use super::wire::{Paged, TextId};
use super::words::{DimensionWord, TaskStatusWord};
use crate::domain::StationId;
use crate::projections::reads::breakdown::{BreakdownFilter, BreakdownRow, Dimension};

pub fn routes() -> Routes {
    Routes::default().at(Policy::READ.closed().by_offset_only(), routes!(breakdown))
}

/// How the work is spread.
#[derive(Debug, Serialize, ToSchema)]
pub struct Breakdown {
    /// What is counted.
    #[schema(value_type = DimensionWord)]
    dimension: &'static str,
    /// One page of it.
    #[serde(flatten)]
    page: Paged<BreakdownItem>,
}

/// How many tasks there are of one thing.
#[derive(Debug, Serialize, ToSchema)]
pub struct BreakdownItem {
    /// The scene or SOP.
    id: TextId,
    /// Its name or slug.
    name: String,
    /// How many tasks there are of it.
    count: i64,
}

impl From<BreakdownRow> for BreakdownItem {
    fn from(row: BreakdownRow) -> Self {
        Self { id: TextId(row.id), name: row.name, count: row.count }
    }
}

/// How many tasks there are of each scene or SOP, the most first. A data collector sees those of every
/// workstation they were ever bound to.
#[utoipa::path(get, path = "/api/v1/tasks/statistics/breakdown", tag = "tasks", params(
    ("dimension" = Option<DimensionWord>, Query, description = "Default `scene`"),
    ("status" = Option<TaskStatusWord>, Query, description = "How far the tasks are"),
    ("start_time" = Option<String>, Query, description = "Created then or later; RFC 3339"),
    ("end_time" = Option<String>, Query, description = "Created before then; RFC 3339, after `start_time`"),
    ("workstation_id" = Option<String>, Query, description = "Of administrators only; without effect for others"),
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
), responses((status = 200, body = Breakdown), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn breakdown(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Breakdown>, Problem> {
    if params.has("after") {
        // Groups are counted anew for every page, so a place in the list would save nothing.
        return Err(Problem::invalid("pages of this list are asked for by offset"));
    }
    let page = params.page_to_100()?;
    let (dimension, name) = match params.text("dimension").as_deref() {
        None | Some("scene") => (Dimension::Scene, "scene"),
        Some("sop") => (Dimension::Sop, "sop"),
        Some(_) => return Err(Problem::of_field("dimension", "must be scene or sop")),
    };
    let (from, until) = (params.instant("start_time")?, params.instant("end_time")?);
    if from.zip(until).is_some_and(|(from, until)| until <= from) {
        return Err(Problem::of_field("end_time", "must be after start_time"));
    }
    let station = || params.text("workstation_id").map(|text| text.parse().ok().map(StationId));
    let (station, collector) = match caller.identity {
        Identity::Collector { id, .. } => (None, Some(id)),
        Identity::Admin
        | Identity::Account { .. }
        | Identity::Inspector { .. }
        | Identity::Key { .. }
        | Identity::Display
        | Identity::Anonymous => (station(), None),
    };
    let status = params.word("status")?;
    let filter = BreakdownFilter { dimension, status, from, until, station, collector };
    let listed = state.reads.breakdown(&caller.scope, &filter, page).await?;
    Ok(Json(Breakdown { dimension: name, page: Paged::new(listed, &page) }))
}
