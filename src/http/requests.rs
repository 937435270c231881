//! `/requests`: what people asked for through the outbox, and what became of it; `/abandoned-executions`: outcomes that no caller heard.

use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Caller, Role};
use super::extract::{Json, Params, PathText};
use super::policy::Policy;
use super::problem::Problem;
use super::recorder::answer_of;
use super::routes::Routes;
use super::wire::{Paged, WholeSecond};
use super::words::{AbandonedOutcomeWord, RecorderActionWord, RequestKindWord, RequestStatusWord};
use crate::domain::request::RequestStatus;
use crate::projections::reads::Listed;
use crate::projections::reads::requests::{AbandonedShown, OutcomeShown, RequestFilter, RequestShown};
use crate::projections::rows::device::CommandStatus;

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ.exact(), routes!(list))
        .at(Policy::READ.exact(), routes!(get))
        .at(Policy::MANAGE.closed().exact(), routes!(abandoned))
}

const DEVICE_COMMAND: &str = "device_command";

/// With which status a caller that waits hears how a request stands. `docs/requests.md` has the same table.
pub fn status_code(status: RequestStatus) -> u16 {
    match status {
        RequestStatus::Pending => 202,
        RequestStatus::Succeeded | RequestStatus::Refused => 200,
        RequestStatus::RightLost => 403,
        RequestStatus::Overloaded | RequestStatus::NotSent => 503,
        RequestStatus::TimedOut | RequestStatus::Unknown => 504,
    }
}

/// What was answered when nobody waited any more.
#[derive(Debug, Serialize, ToSchema)]
pub struct LateAnswer {
    /// How it ended.
    #[schema(value_type = AbandonedOutcomeWord)]
    outcome: &'static str,
    /// The recorder's own words.
    #[schema(required)]
    message: Option<String>,
    /// What else it told.
    #[schema(required)]
    data: Option<Value>,
    /// When it came.
    at: WholeSecond,
}

/// Something that a person asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct Request {
    /// Names it in other requests.
    id: String,
    /// What kind of thing was asked for.
    #[schema(value_type = RequestKindWord)]
    kind: &'static str,
    /// What is asked of the device.
    #[schema(value_type = RecorderActionWord)]
    action: &'static str,
    /// Of which robot.
    device_id: String,
    /// Which task it is about, by the id that devices know.
    #[schema(required)]
    task_id: Option<String>,
    /// Who asked, as `user:admin` or `user:collector:17`.
    asker: String,
    /// When.
    asked_at: WholeSecond,
    /// How it stands.
    #[schema(value_type = RequestStatusWord)]
    status: &'static str,
    /// The status of the answer that a caller gets who waited; 202 while there is none.
    status_code: u16,
    /// When it was settled.
    #[schema(required)]
    settled_at: Option<WholeSecond>,
    /// When the caller was left without an outcome.
    #[schema(required)]
    given_up_at: Option<WholeSecond>,
    /// The body of that answer.
    #[schema(required)]
    answer: Option<Value>,
    /// What the device answered after that.
    #[schema(required)]
    late_answer: Option<LateAnswer>,
}

impl Request {
    fn of(row: RequestShown, request_id: &str) -> Self {
        let outcome = row.outcome();
        let status = row.status;
        let late = row.late_status.zip(row.late_at);
        Self {
            kind: DEVICE_COMMAND,
            action: row.action.as_str(),
            device_id: row.device_id.to_string(),
            task_id: row.task_id.map(|task| task.to_string()),
            asker: row.asker,
            asked_at: row.asked_at.into(),
            status: status.as_str(),
            status_code: status_code(status),
            settled_at: row.settled_at.map(WholeSecond),
            given_up_at: row.given_up_at.map(WholeSecond),
            answer: status.is_settled().then(|| body_of(outcome, request_id)),
            late_answer: late.map(|(outcome, at)| LateAnswer {
                outcome: outcome.as_str(),
                message: row.late_message,
                data: row.late_data.filter(|data| !data.is_null()),
                at: at.into(),
            }),
            id: row.id,
        }
    }
}

fn body_of(outcome: OutcomeShown, request_id: &str) -> Value {
    match answer_of(outcome) {
        Ok(answer) => json!(answer),
        Err(problem) => problem.body(Policy::OPERATE.error_key, request_id),
    }
}

/// Whose requests the caller sees: who manages or audits everybody's, others their own.
fn theirs(caller: &Caller) -> Option<String> {
    match caller.identity.role() {
        Some(Role::Admin | Role::ProductionManager | Role::Auditor) => None,
        Some(Role::DataCollector | Role::DataInspector | Role::Display) | None => Some(caller.identity.actor().to_string()),
    }
}

fn filter_of<S>(params: &Params, status: Option<S>) -> Result<RequestFilter<S>, Problem> {
    let (device_id, asker) = (params.text("device_id"), params.text("asker"));
    Ok(RequestFilter { status, device_id, asker, since: params.instant("since")? })
}

/// What was asked for through the outbox, the newest first; of everybody for administrators, else the caller's own.
#[utoipa::path(get, path = "/api/v1/requests", tag = "devices", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("status" = Option<RequestStatusWord>, Query, description = "Only those that stand like this"),
    ("device_id" = Option<String>, Query),
    ("asker" = Option<String>, Query, description = "Only what this person asked for, as `user:collector:17`"),
    ("since" = Option<String>, Query, description = "Only what was asked for at this time or later, as RFC 3339"),
), responses((status = 200, body = Paged<Request>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<Request>>, Problem> {
    let page = params.page_to_100()?;
    let filter = filter_of(&params, params.word::<RequestStatus>("status")?)?;
    let filter = match (theirs(&caller), &filter.asker) {
        (None, _) => filter,
        (Some(own), Some(asked)) if own != *asked => return Ok(Json(Paged::new(Listed::NOTHING, &page))),
        (own, _) => RequestFilter { asker: own, ..filter },
    };
    let listed = state.reads.requests(&caller.scope, &filter, page).await?;
    Ok(Json(Paged::new(listed.map(|row| Request::of(row, caller.request_id())), &page)))
}

/// What became of a request.
#[utoipa::path(get, path = "/api/v1/requests/{id}", tag = "devices", params(("id" = String, Path)), responses(
    (status = 200, body = Request),
    (status = 404, description = "There is none, it is kept no more, or another person asked for it"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, PathText(id): PathText) -> Result<Json<Request>, Problem> {
    let row = state.reads.request(&caller.scope, &id, theirs(&caller).as_deref()).await?;
    let row = row.ok_or_else(|| Problem::not_found("request"))?;
    Ok(Json(Request::of(row, caller.request_id())))
}

/// Something that was done, refused or not sent after its caller had given up.
#[derive(Debug, Serialize, ToSchema)]
pub struct AbandonedExecution {
    /// The id of the request.
    id: String,
    /// What kind of thing was asked for.
    #[schema(value_type = RequestKindWord)]
    kind: &'static str,
    /// What was asked of the device.
    #[schema(value_type = RecorderActionWord)]
    action: &'static str,
    /// Of which robot.
    device_id: String,
    /// Which task it is about, by the id that devices know.
    #[schema(required)]
    task_id: Option<String>,
    /// Who asked, as `user:admin` or `user:collector:17`.
    asker: String,
    /// When.
    asked_at: WholeSecond,
    /// When the caller was left without an outcome.
    given_up_at: WholeSecond,
    /// How it ended.
    #[schema(value_type = AbandonedOutcomeWord)]
    outcome: &'static str,
    /// The recorder's own words, or why it was not sent.
    #[schema(required)]
    message: Option<String>,
    /// What else it told.
    #[schema(required)]
    data: Option<Value>,
    /// When that came.
    outcome_at: WholeSecond,
}

impl From<AbandonedShown> for AbandonedExecution {
    fn from(row: AbandonedShown) -> Self {
        Self {
            id: row.id,
            kind: DEVICE_COMMAND,
            action: row.action.as_str(),
            device_id: row.device_id.to_string(),
            task_id: row.task_id.map(|task| task.to_string()),
            asker: row.asker,
            asked_at: row.asked_at.into(),
            given_up_at: row.given_up_at.into(),
            outcome: row.outcome.as_str(),
            message: row.message,
            data: row.data.filter(|data| !data.is_null()),
            outcome_at: row.outcome_at.into(),
        }
    }
}

/// Outcomes that came when their callers had given up; what was asked for last comes first.
#[utoipa::path(get, path = "/api/v1/abandoned-executions", tag = "operation", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("outcome" = Option<AbandonedOutcomeWord>, Query, description = "Only those that ended like this"),
    ("device_id" = Option<String>, Query),
    ("asker" = Option<String>, Query, description = "Only what this person asked for, as `user:collector:17`"),
    ("since" = Option<String>, Query, description = "Only what was asked for at this time or later, as RFC 3339"),
), responses((status = 200, body = Paged<AbandonedExecution>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn abandoned(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<AbandonedExecution>>, Problem> {
    let page = params.page_to_100()?;
    let filter = filter_of(&params, params.word::<CommandStatus>("outcome")?)?;
    Ok(Json(Paged::new(state.reads.abandoned(&caller.scope, &filter, page).await?, &page)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_table_of_statuses() {
        let text = include_str!("../../docs/requests.md");
        let (_, section) = text.split_once("## What became of it").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let row = |line: &str| {
            let mut cells = line.strip_prefix("| `")?.splitn(3, '|').map(str::trim);
            Some((cells.next()?.trim_end_matches('`').to_owned(), cells.next()?.parse::<u16>().ok()?))
        };
        let documented: Vec<_> = section.lines().filter_map(row).collect();
        let known: Vec<_> = RequestStatus::ALL.iter().map(|status| (status.as_str().to_owned(), status_code(*status))).collect();
        assert_eq!(documented, known);
    }
}
