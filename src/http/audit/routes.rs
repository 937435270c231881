//! The list of the audit, and its export.

use axum::extract::State;
use axum::response::Response;
use utoipa_axum::routes;

use super::asked::{Filters, filter};
use super::shown::AuditItems;
use super::table::Table;
use crate::http::AppState;
use crate::http::exported::{ExportFormat, file};
use crate::http::extract::{AFTER, Json, PAGE_DEFAULT, Params};
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::words::ExportFormatWord;

pub fn routes() -> Routes {
    Routes::default().at(Policy::AUDIT.of_people(), routes!(list)).at(Policy::AUDIT.export(), routes!(export))
}

const LIMIT_MAX: i64 = 200;

/// Who did what, the newest first: changes, which are events, reads of what is known of people, downloads, refusals of access, of which a few
/// of each caller are recorded, and how logins began and ended.
#[utoipa::path(get, path = "/api/v1/audit", tag = "events", params(
    Filters,
    ("after" = Option<String>, Query, description = "The next_after of a page"),
    ("limit" = Option<i64>, Query, description = "At least 1, default 50; at most 200 are given at once"),
), responses((status = 200, body = AuditItems), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, params: Params) -> Result<Json<AuditItems>, Problem> {
    let limit = params.positive("limit")?.unwrap_or(PAGE_DEFAULT).min(LIMIT_MAX);
    let no_place = || Problem::of_field(AFTER, "must be the next_after of a page");
    let after = params.text(AFTER).map(|text| text.parse().map_err(|_| no_place())).transpose()?;
    let filter = filter(&state.reads, &params).await?;
    Ok(Json(AuditItems::new(state.reads.audit(&filter, after, limit).await?, limit)))
}

/// Everything that matches, the newest first: a line of JSON per entry, or CSV, in which a cell that a spreadsheet would run as a formula begins with
/// an apostrophe.
#[utoipa::path(get, path = "/api/v1/audit/export", tag = "events", params(
    ("format" = inline(Option<ExportFormatWord>), Query, description = "NDJSON where it is not given"),
    Filters,
), responses(
    (status = 200, content((String = "application/x-ndjson"), (String = "text/csv; charset=utf-8")),
     description = "As many entries as there are; an export that ends with an error is not whole, and its connection is cut"),
    (status = 400, description = "A filter that cannot be"),
))]
pub async fn export(State(state): State<AppState>, params: Params) -> Result<Response, Problem> {
    let format = params.word("format")?.unwrap_or(ExportFormat::Ndjson);
    let filter = filter(&state.reads, &params).await?;
    let table = Table::new(state.reads.clone(), filter, format);
    Ok(file("the audit", &format!("attachment; filename=\"audit.{}\"", format.as_str()), format.content_type(), table.pieces()))
}
