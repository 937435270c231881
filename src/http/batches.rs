//! `/batches`: dispatching work, and reading it.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::AppState;
use super::auth::Caller;
use super::extract::{Json, LONG_TEXT, Params, PathId, fold_keys, number_id, optional};
use super::problem::Problem;
use super::tasks::TaskItem;
use super::wire::{Instant, Paged, TextId, present};
use crate::commands::batches::{CreateBatch, CreatedTask, TaskGroup};
use crate::domain::batch::BatchStatus;
use crate::domain::{BatchId, OrderId, SopId, StationId, SubsceneId};
use crate::projections::reads::Page;
use crate::projections::reads::batches::{BatchFilter, BatchRow};

#[derive(Debug, Serialize, ToSchema)]
pub struct Batch {
    id: TextId,
    /// The id that people see.
    batch_id: String,
    order_id: TextId,
    workstation_id: TextId,
    organization_id: TextId,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_name: Option<String>,
    /// Always empty.
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<String>,
    status: String,
    task_count: i64,
    completed_count: i64,
    cancelled_count: i64,
    failed_count: i64,
    episode_count: i64,
    /// When the first task was settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    created_at: Instant,
    updated_at: Instant,
}

impl From<BatchRow> for Batch {
    fn from(row: BatchRow) -> Self {
        Self {
            id: TextId(row.id),
            batch_id: row.batch_id,
            order_id: TextId(row.order_id),
            workstation_id: TextId(row.station_id),
            organization_id: TextId(row.organization_id),
            organization_name: row.organization_name,
            name: String::new(),
            notes: row.notes,
            status: row.status,
            task_count: row.task_count,
            completed_count: row.completed_count,
            cancelled_count: row.cancelled_count,
            failed_count: row.failed_count,
            episode_count: row.episode_count,
            started_at: row.started_at.map(Instant),
            ended_at: row.ended_at.map(Instant),
            metadata: present(row.metadata),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// Batches, newest first.
#[utoipa::path(get, path = "/api/v1/batches", tag = "batches", params(
    ("limit" = Option<i64>, Query, description = "At least 1, default 50; at most 1000 are given at once"),
    ("offset" = Option<i64>, Query),
    ("order_id" = Option<String>, Query),
    ("workstation_id" = Option<String>, Query),
    ("organization_id" = Option<String>, Query),
    ("scene_id" = Option<String>, Query),
    ("device_id" = Option<String>, Query),
    ("collector_operator_id" = Option<String>, Query),
    ("status" = Option<String>, Query),
), responses((status = 200, body = Paged<Batch>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, params: Params) -> Result<Answer<Paged<Batch>>, Problem> {
    let page = params.page_free()?;
    let filter = BatchFilter {
        order_id: params.text("order_id"),
        station_id: params.text("workstation_id"),
        organization_id: params.text("organization_id"),
        scene_id: params.text("scene_id"),
        device_id: params.text("device_id"),
        collector_operator_id: params.text("collector_operator_id"),
        status: params.word("status", &BatchStatus::ALL)?,
    };
    let listed = state.reads.batches(&filter, page).await?;
    Ok(Answer(Paged::new(listed, page.limit.unwrap_or_default(), page.offset)))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct NewBatch {
    order_id: Option<i64>,
    workstation_id: Option<i64>,
    #[serde(deserialize_with = "groups")]
    task_groups: Vec<NewTaskGroup>,
    notes: Option<String>,
    metadata: Option<Value>,
}

#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct NewTaskGroup {
    sop_id: Option<i64>,
    subscene_id: Option<i64>,
    quantity: Option<i64>,
}

fn groups<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NewTaskGroup>, D::Error> {
    let groups = Option::<Vec<Value>>::deserialize(deserializer)?.unwrap_or_default();
    groups
        .into_iter()
        .map(|mut group| {
            if !group.is_object() {
                return Err(serde::de::Error::custom("each of task_groups must be an object"));
            }
            fold_keys(&mut group);
            serde_json::from_value(group).map_err(serde::de::Error::custom)
        })
        .collect()
}

impl TryFrom<NewBatch> for CreateBatch {
    type Error = Problem;

    fn try_from(batch: NewBatch) -> Result<Self, Problem> {
        let group = |(index, group): (usize, NewTaskGroup)| {
            Ok(TaskGroup {
                sop_id: SopId(number_id(&format!("task_groups[{index}].sop_id"), group.sop_id)?),
                subscene_id: SubsceneId(number_id(&format!("task_groups[{index}].subscene_id"), group.subscene_id)?),
                quantity: number_id(&format!("task_groups[{index}].quantity"), group.quantity)?,
            })
        };
        Ok(Self {
            order_id: OrderId(number_id("order_id", batch.order_id)?),
            station_id: StationId(number_id("workstation_id", batch.workstation_id)?),
            groups: batch.task_groups.into_iter().enumerate().map(group).collect::<Result<_, Problem>>()?,
            notes: optional("notes", batch.notes, LONG_TEXT)?,
            metadata: batch.metadata,
        })
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedBatchAnswer {
    batch: Batch,
    /// In the order of the groups.
    tasks: Vec<CreatedTaskItem>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedTaskItem {
    id: TextId,
    task_id: String,
    sop_id: TextId,
    subscene_id: TextId,
    status: &'static str,
    created_at: Instant,
}

impl From<CreatedTask> for CreatedTaskItem {
    fn from(task: CreatedTask) -> Self {
        Self {
            id: TextId(task.id.0),
            task_id: task.public_id.to_string(),
            sop_id: TextId(task.sop_id.0),
            subscene_id: TextId(task.subscene_id.0),
            status: "pending",
            created_at: task.created_at.into(),
        }
    }
}

/// Dispatch work of an order to a workstation: a batch and its tasks, all or nothing.
#[utoipa::path(post, path = "/api/v1/batches", tag = "batches", request_body = NewBatch, responses(
    (status = 201, body = CreatedBatchAnswer),
    (status = 400, description = "A field is missing or wrong, something named is unknown, or the order's quota is used up"),
    (status = 409, description = "The order is completed, paused or cancelled, or the workstation was rebound"),
))]
pub async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(batch): Json<NewBatch>,
) -> Result<(StatusCode, Answer<CreatedBatchAnswer>), Problem> {
    caller.must_manage()?;
    let created = state.commands.execute(&caller.context(), CreateBatch::try_from(batch)?).await?;
    let batch = found(&state, created.batch_id).await?;
    let tasks = created.tasks.into_iter().map(CreatedTaskItem::from).collect();
    Ok((StatusCode::CREATED, Answer(CreatedBatchAnswer { batch, tasks })))
}

/// One batch.
#[utoipa::path(get, path = "/api/v1/batches/{id}", tag = "batches", params(("id" = i64, Path)), responses(
    (status = 200, body = Batch),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, PathId(id): PathId) -> Result<Answer<Batch>, Problem> {
    Ok(Answer(found(&state, BatchId(id)).await?))
}

async fn found(state: &AppState, id: BatchId) -> Result<Batch, Problem> {
    state.reads.batch(id).await?.map(Batch::from).ok_or_else(|| Problem::not_found("batch"))
}

/// The tasks of a batch, oldest first; all of them unless a page is asked for.
#[utoipa::path(get, path = "/api/v1/batches/{id}/tasks", tag = "batches", params(
    ("id" = i64, Path),
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
), responses((status = 200, body = Paged<TaskItem>), (status = 404, description = "There is no such batch")))]
pub async fn tasks(State(state): State<AppState>, id: PathId, params: Params) -> Result<Answer<Paged<TaskItem>>, Problem> {
    let id = BatchId(id.positive()?);
    let paged = params.has("limit") || params.has("offset");
    let page = if paged { params.page_free()? } else { Page::ALL };
    found(&state, id).await?;
    let (rows, total) = state.reads.tasks_of_batch(id, page).await?;
    let limit = page.limit.unwrap_or(total);
    let rows: Vec<TaskItem> = rows.into_iter().map(TaskItem::in_batch).collect();
    Ok(Answer(Paged::new((rows, total), limit, page.offset)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::extract::parse;

    fn read(body: Value) -> Result<CreateBatch, u16> {
        let batch = parse::<NewBatch>(body.to_string().as_bytes()).map_err(|problem| problem.status().as_u16())?;
        CreateBatch::try_from(batch).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn ids_are_numbers_and_keys_of_groups_match_in_any_case() {
        let group = json!({"SOP_ID": 3, "subscene_id": 4, "Quantity": 2});
        let batch = read(json!({"order_id": 1, "workstation_id": 2, "task_groups": [group], "notes": " "})).unwrap();
        assert_eq!(batch.groups, [TaskGroup { sop_id: SopId(3), subscene_id: SubsceneId(4), quantity: 2 }]);
        assert_eq!(batch.notes, None);
    }

    #[test]
    fn quoted_numbers_and_missing_ids_are_refused() {
        for wrong in [
            json!({"order_id": "1", "workstation_id": 2, "task_groups": []}),
            json!({"workstation_id": 2, "task_groups": []}),
            json!({"order_id": 1, "workstation_id": 0, "task_groups": []}),
            json!({"order_id": 1, "workstation_id": 2, "task_groups": [{"sop_id": 1, "subscene_id": 1}]}),
            json!({"order_id": 1, "workstation_id": 2, "task_groups": {"sop_id": 1}}),
            json!({"order_id": 1, "workstation_id": 2, "task_groups": [[1, 1, 1]]}),
        ] {
            assert_eq!(read(wrong.clone()).unwrap_err(), 400, "{wrong}");
        }
    }
}
