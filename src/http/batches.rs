//! `/batches`: dispatching work, changing and ending it, reading it.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::at::{Answer, AsOf};
use super::auth::{Caller, Identity};
use super::extract::{Json, MaybeJson, Params, PathId};
use super::fields::{GivenId, LongText, MayBeEmpty, MaybeReason, Whole};
use super::made::Made;
use super::policy::{COLLECTORS, Policy, needs};
use super::problem::Problem;
use super::routes::Routes;
use super::tasks::TaskItem;
use super::wire::{Paged, TextId, WholeSecond, present};
use super::words::{BatchStatusWord, CancelledWord, EndedWord, TaskStatusWord};
use crate::commands::batches::{AdjustBatch, CancelBatch, CompleteTasks, CreateBatch, CreatedTask, DeleteBatch, EndedBatch, RecallBatch};
use crate::domain::batch::BatchStatus;
use crate::domain::workload::{TASKS_PER_ADJUSTMENT_MAX, TaskGroup};
use crate::domain::{BatchId, OrderId, Scope, SopId, StationId, SubsceneId};
use crate::projections::reads::as_of::{Part, Unit};
use crate::projections::reads::batches::{BatchFilter, BatchShown};
use crate::projections::reads::{Page, Reads};

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ, routes!(list))
        .at(Policy::MANAGE.keyed(), routes!(create))
        .at(Policy::READ, routes!(get))
        .at(Policy::MANAGE, routes!(cancel))
        .at(Policy::MANAGE, routes!(delete))
        .at(Policy::READ, routes!(tasks))
        .at(Policy::MANAGE.keyed(), routes!(adjust))
        .at(Policy::MANAGE.keyed(), routes!(recall))
        .at(Policy::READ.closed().by(COLLECTORS).keyed(), routes!(complete_tasks))
}

/// Tasks of one order that were given to one workstation together.
#[derive(Debug, Serialize, ToSchema)]
pub struct Batch {
    /// Names it in other requests.
    id: TextId,
    /// The id that people see.
    batch_id: String,
    /// The order that it belongs to.
    order_id: TextId,
    /// Who it was given to.
    workstation_id: TextId,
    /// On whose behalf.
    organization_id: TextId,
    /// The name of that organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_name: Option<String>,
    /// Always empty.
    name: String,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<String>,
    /// How far it is.
    #[schema(value_type = BatchStatusWord)]
    status: &'static str,
    /// Tasks in any state.
    task_count: i64,
    /// Tasks that were completed.
    completed_count: i64,
    /// Tasks that were cancelled.
    cancelled_count: i64,
    /// Tasks that failed.
    failed_count: i64,
    /// Episodes of its tasks.
    episode_count: i64,
    /// When the first task was settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<WholeSecond>,
    /// When it ended, however it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<WholeSecond>,
    /// Whatever is kept with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    /// When it was dispatched.
    created_at: WholeSecond,
    /// When it was changed last.
    updated_at: WholeSecond,
}

impl From<BatchShown> for Batch {
    fn from(row: BatchShown) -> Self {
        Self {
            id: TextId(row.id.0),
            batch_id: row.own.batch_id,
            order_id: TextId(row.own.order_id.0),
            workstation_id: TextId(row.own.station_id.0),
            organization_id: TextId(row.own.organization_id.0),
            organization_name: row.organization_name,
            name: String::new(),
            notes: row.own.notes,
            status: row.own.status.as_str(),
            task_count: row.own.task_count,
            completed_count: row.own.completed_count,
            cancelled_count: row.own.cancelled_count,
            failed_count: row.own.failed_count,
            episode_count: row.own.episode_count,
            started_at: row.own.started_at.map(WholeSecond),
            ended_at: row.own.ended_at.map(WholeSecond),
            metadata: present(row.own.metadata),
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
    ("status" = Option<BatchStatusWord>, Query, description = "How far they are"),
    ("at" = Option<String>, Query),
), responses((status = 200, body = Paged<Batch>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Answer<Paged<Batch>>, Problem> {
    let page = params.page_free()?;
    let filter = BatchFilter {
        order_id: params.text("order_id"),
        station_id: params.text("workstation_id"),
        organization_id: params.text("organization_id"),
        scene_id: params.text("scene_id"),
        device_id: params.text("device_id"),
        collector_operator_id: params.text("collector_operator_id"),
        status: params.word("status")?,
    };
    let as_of = AsOf::of_list(&state, &caller, &params, Part::Batches).await?;
    let listed = as_of.reads.batches(&caller.scope, &filter, page).await?;
    Ok(as_of.answer(Paged::new(listed, &page)))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewBatch {
    /// The order that it belongs to.
    order_id: GivenId,
    /// Who it is given to.
    workstation_id: GivenId,
    /// What it consists of: each pair of SOP and subscene once.
    #[serde(default, deserialize_with = "groups")]
    #[schema(required, min_items = 1)]
    task_groups: Vec<NewTaskGroup>,
    /// Free text.
    notes: Option<LongText>,
    /// Any JSON that is kept with it.
    metadata: Option<Value>,
}

/// How many tasks a group may have is the batch's rule.
type GroupCount = Whole<0, TASKS_PER_ADJUSTMENT_MAX>;

/// Tasks of the same kind.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewTaskGroup {
    /// The procedure that is followed.
    sop_id: GivenId,
    /// What is recorded: a subscene of the order's scene.
    subscene_id: GivenId,
    /// How many; none only where an adjustment takes the group out.
    #[schema(value_type = GroupCount)]
    quantity: i64,
}

/// `null` is no group.
fn groups<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NewTaskGroup>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn read_groups(groups: Vec<NewTaskGroup>) -> Vec<TaskGroup> {
    let group = |group: NewTaskGroup| TaskGroup {
        sop_id: SopId(group.sop_id.0),
        subscene_id: SubsceneId(group.subscene_id.0),
        quantity: group.quantity,
    };
    groups.into_iter().map(group).collect()
}

impl From<NewBatch> for CreateBatch {
    fn from(batch: NewBatch) -> Self {
        Self {
            order_id: OrderId(batch.order_id.0),
            station_id: StationId(batch.workstation_id.0),
            groups: read_groups(batch.task_groups),
            notes: MayBeEmpty::said(batch.notes),
            metadata: batch.metadata,
        }
    }
}

/// A batch and its tasks.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedBatchAnswer {
    /// The batch.
    batch: Batch,
    /// In the order of the groups.
    tasks: Vec<CreatedTaskItem>,
}

/// A task that was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedTaskItem {
    /// Names it in requests.
    id: TextId,
    /// The id that devices know.
    task_id: String,
    /// The procedure that is followed.
    sop_id: TextId,
    /// What is recorded.
    subscene_id: TextId,
    /// How far it is.
    #[schema(value_type = TaskStatusWord)]
    status: &'static str,
    /// When it was made.
    created_at: WholeSecond,
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
) -> Result<Made<CreatedBatchAnswer>, Problem> {
    let created = state.commands.execute(&caller.context(), CreateBatch::from(batch)).await?;
    let tasks: Vec<CreatedTaskItem> = created.tasks.into_iter().map(CreatedTaskItem::from).collect();
    let known = json!({ "batch": { "id": TextId(created.batch_id.0) }, "tasks": tasks });
    let whole = async { Ok(CreatedBatchAnswer { batch: found(&state.reads, &caller.scope, created.batch_id).await?, tasks }) };
    Ok(Made::read(StatusCode::CREATED, known, whole).await)
}

/// One batch.
#[utoipa::path(get, path = "/api/v1/batches/{id}", tag = "batches", params(("id" = i64, Path), ("at" = Option<String>, Query)), responses(
    (status = 200, body = Batch),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, PathId(id): PathId, params: Params) -> Result<Answer<Batch>, Problem> {
    let as_of = AsOf::of(&state, &caller, &params, Unit::Batch(BatchId(id)), Part::Itself).await?;
    let batch = found(&as_of.reads, &caller.scope, BatchId(id)).await?;
    Ok(as_of.answer(batch))
}

async fn found(reads: &Reads, scope: &Scope, id: BatchId) -> Result<Batch, Problem> {
    reads.batch(scope, id).await?.map(Batch::from).ok_or_else(|| Problem::not_found("batch"))
}

/// The tasks of a batch, oldest first; all of them unless a page is asked for.
#[utoipa::path(get, path = "/api/v1/batches/{id}/tasks", tag = "batches", params(
    ("id" = i64, Path),
    ("limit" = Option<i64>, Query, description = "How many entries the page has at most; all of them where no page is asked for"),
    ("offset" = Option<i64>, Query),
    ("at" = Option<String>, Query),
), responses((status = 200, body = Paged<TaskItem>), (status = 404, description = "There is no such batch")))]
pub async fn tasks(State(state): State<AppState>, caller: Caller, id: PathId, params: Params) -> Result<Answer<Paged<TaskItem>>, Problem> {
    let id = BatchId(id.positive()?);
    let paged = params.has("limit") || params.has("offset") || params.has("after");
    let page = if paged { params.page_free()? } else { Page::ALL };
    let as_of = AsOf::of(&state, &caller, &params, Unit::Batch(id), Part::Tasks).await?;
    found(&as_of.reads, &caller.scope, id).await?;
    let listed = as_of.reads.tasks_of_batch(&caller.scope, id, page).await?;
    Ok(as_of.answer(Paged::new(listed.map(TaskItem::in_batch), &page)))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct BatchAdjustment {
    /// How many tasks of each pair the batch is to have; pairs not named stay as they are.
    #[serde(default, deserialize_with = "groups")]
    #[schema(required, min_items = 1)]
    task_groups: Vec<NewTaskGroup>,
}

/// What an adjustment changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchAdjusted {
    /// Tasks that were added.
    created_tasks: Vec<CreatedTaskItem>,
    /// Tasks that were taken out.
    deleted_task_ids: Vec<TextId>,
}

/// Say how many tasks of each group the batch is to have. Only pending tasks are taken out, newest first.
#[utoipa::path(post, path = "/api/v1/batches/{id}/tasks", tag = "batches", params(("id" = i64, Path)), request_body = BatchAdjustment,
    responses(
        (status = 200, body = BatchAdjusted),
        (status = 400, description = "A group is wrong, names fewer tasks than are under way, or the order's quota is used up"),
        (status = 404, description = "There is no such batch"),
        (status = 409, description = "The batch is over, or its order takes no new work"),
    ))]
pub async fn adjust(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    Json(adjustment): Json<BatchAdjustment>,
) -> Result<Json<BatchAdjusted>, Problem> {
    let command = AdjustBatch { batch_id: BatchId(id.positive()?), groups: read_groups(adjustment.task_groups) };
    let adjusted = state.commands.execute(&caller.context(), command).await?;
    Ok(Json(BatchAdjusted {
        created_tasks: adjusted.created.into_iter().map(CreatedTaskItem::from).collect(),
        deleted_task_ids: adjusted.deleted.into_iter().map(|id| TextId(id.0)).collect(),
    }))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct BatchEdit {
    /// Nothing else can be asked for.
    #[schema(value_type = CancelledWord)]
    status: Option<String>,
}

/// A batch that ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchEnded {
    /// The batch.
    id: TextId,
    /// How it ended.
    #[schema(value_type = EndedWord)]
    status: &'static str,
    /// When its first task was settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<WholeSecond>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<WholeSecond>,
}

impl From<EndedBatch> for BatchEnded {
    fn from(batch: EndedBatch) -> Self {
        Self {
            id: TextId(batch.batch_id.0),
            status: batch.status.as_str(),
            started_at: batch.started_at.map(WholeSecond),
            updated_at: Some(WholeSecond(batch.updated_at)),
        }
    }
}

/// Cancel a batch: what is not recorded yet is cancelled with it; uploads are left to finish.
#[utoipa::path(patch, path = "/api/v1/batches/{id}", tag = "batches", params(("id" = i64, Path)), request_body = BatchEdit, responses(
    (status = 200, body = BatchEnded),
    (status = 400, description = "Anything but `cancelled` was asked for"),
    (status = 404, description = "There is no such batch"),
    (status = 409, description = "The batch is over already"),
))]
pub async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    Json(edit): Json<BatchEdit>,
) -> Result<Json<BatchEnded>, Problem> {
    let id = BatchId(id.positive()?);
    if edit.status.as_deref() != Some(BatchStatus::Cancelled.as_str()) {
        return Err(Problem::of_field("status", "must be cancelled: nothing else of a batch can be edited"));
    }
    Ok(Json(state.commands.execute(&caller.context(), CancelBatch(id)).await?.into()))
}

/// Why a batch is recalled.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Recall {
    /// For those who ask later. It stands in the batch's history.
    reason: Option<MaybeReason>,
}

/// Recall a batch: its recordings are not wanted. Their episodes are labelled `recalled_batch`.
#[utoipa::path(post, path = "/api/v1/batches/{id}/recall", tag = "batches", params(("id" = i64, Path)), request_body = Option<Recall>, responses(
    (status = 200, body = BatchEnded),
    (status = 400, description = "The reason is no text, or too long"),
    (status = 404, description = "There is no such batch"),
    (status = 409, description = "The batch is neither active nor completed"),
))]
pub async fn recall(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    MaybeJson(body): MaybeJson<Recall>,
) -> Result<Json<BatchEnded>, Problem> {
    let batch_id = BatchId(id.positive()?);
    let reason = MaybeReason::said(body.reason);
    Ok(Json(state.commands.execute(&caller.context(), RecallBatch { batch_id, reason }).await?.into()))
}

/// What is left of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchDeleted {
    /// False where completed tasks were kept, and the batch with them.
    batch_deleted: bool,
    /// Tasks that are gone.
    tasks_removed: i64,
    /// Tasks that were kept.
    completed_tasks: i64,
    /// Of a batch that was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = BatchStatusWord)]
    batch_status: Option<&'static str>,
}

/// Delete what is not completed of a batch, and the batch where nothing is.
#[utoipa::path(delete, path = "/api/v1/batches/{id}", tag = "batches", params(("id" = i64, Path)), responses(
    (status = 200, body = BatchDeleted),
    (status = 404, description = "There is no such batch"),
    (status = 409, description = "The batch is neither pending nor cancelled, or some of its tasks are uploading"),
))]
pub async fn delete(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Json<BatchDeleted>, Problem> {
    let id = BatchId(id.positive()?);
    let deleted = state.commands.execute(&caller.context(), DeleteBatch(id)).await?;
    let kept = deleted.completed_tasks > 0;
    Ok(Json(BatchDeleted {
        batch_deleted: !kept,
        tasks_removed: deleted.tasks_removed,
        completed_tasks: deleted.completed_tasks,
        batch_status: kept.then_some(BatchStatus::Completed.as_str()),
    }))
}

type DoneCount = Whole<1, { i64::MAX }>;

#[derive(Debug, Deserialize, ToSchema)]
pub struct TasksDone {
    /// How many; 1 where nothing is said.
    quantity: Option<DoneCount>,
    /// The procedure that was followed.
    sop_id: GivenId,
    /// What was recorded.
    subscene_id: GivenId,
}

/// Tasks that were done with other equipment.
#[derive(Debug, Serialize, ToSchema)]
pub struct TasksCompleted {
    /// The id that people see.
    batch_id: String,
    /// How many were asked for.
    requested_count: i64,
    /// Of this request.
    completed_count: i64,
    /// Always 0.
    created_count: i64,
    /// What they were.
    group: CompletedGroup,
    /// Tasks that were completed.
    tasks: Vec<CompletedTask>,
    /// As it is with what followed.
    batch: BatchProgress,
}

/// A kind of tasks.
#[derive(Debug, Serialize, ToSchema)]
pub struct CompletedGroup {
    /// The procedure that was followed.
    sop_id: i64,
    /// What was recorded.
    subscene_id: i64,
    /// The name of its scene.
    #[serde(skip_serializing_if = "String::is_empty")]
    scene_name: String,
    /// The name of the subscene.
    #[serde(skip_serializing_if = "String::is_empty")]
    subscene_name: String,
}

/// A task that was completed.
#[derive(Debug, Serialize, ToSchema)]
pub struct CompletedTask {
    /// Names it in requests.
    id: TextId,
    /// The id that devices know.
    task_id: String,
    /// How far it is.
    #[schema(value_type = TaskStatusWord)]
    status: &'static str,
    /// When it was completed.
    completed_at: WholeSecond,
}

/// How far a batch is.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchProgress {
    /// The batch.
    id: TextId,
    /// How far it is.
    #[schema(value_type = BatchStatusWord)]
    status: &'static str,
    /// Tasks that were completed.
    completed_count: i64,
    /// Tasks in any state.
    task_count: i64,
}

/// Complete tasks that were done with other equipment than Axon, oldest first, all or nothing. There is no episode.
#[utoipa::path(post, path = "/api/v1/batches/{id}/complete-tasks", tag = "batches", params(("id" = i64, Path)),
    request_body = TasksDone, responses(
        (status = 200, body = TasksCompleted),
        (status = 400, description = "A field is wrong, or there are fewer pending tasks in the group than asked for"),
        (status = 403, description = "The caller is no data collector, or the batch was given to another workstation"),
        (status = 404, description = "The caller has no workstation, or there is no such batch or group"),
        (status = 409, description = "The batch is over"),
    ))]
pub async fn complete_tasks(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    Json(done): Json<TasksDone>,
) -> Result<Json<TasksCompleted>, Problem> {
    let Identity::Collector { id: collector, .. } = caller.identity else { return Err(needs(COLLECTORS)) };
    let quantity = done.quantity.map_or(1, |count| count.0);
    let command = CompleteTasks {
        batch_id: BatchId(id.positive()?),
        collector,
        sop_id: SopId(done.sop_id.0),
        subscene_id: SubsceneId(done.subscene_id.0),
        quantity,
    };
    let completed = state.commands.execute(&caller.context(), command).await?;
    let task = |(id, public_id): (crate::domain::TaskId, crate::domain::PublicTaskId)| CompletedTask {
        id: TextId(id.0),
        task_id: public_id.to_string(),
        status: "completed",
        completed_at: completed.completed_at.into(),
    };
    let tally = completed.batch_tally;
    Ok(Json(TasksCompleted {
        batch_id: completed.public_batch_id,
        requested_count: quantity,
        completed_count: crate::domain::tally::count(&completed.tasks),
        created_count: 0,
        group: CompletedGroup {
            sop_id: command.sop_id.0,
            subscene_id: command.subscene_id.0,
            scene_name: completed.scene_name,
            subscene_name: completed.subscene_name,
        },
        tasks: completed.tasks.into_iter().map(task).collect(),
        batch: BatchProgress {
            id: TextId(command.batch_id.0),
            status: completed.batch_status.as_str(),
            completed_count: tally.completed,
            task_count: tally.tasks,
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::parse;

    fn read(body: Value) -> Result<CreateBatch, u16> {
        parse::<NewBatch>(body.to_string().as_bytes()).map(CreateBatch::from).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn ids_are_numbers_or_text_and_keys_of_groups_match_in_any_case() {
        let group = json!({"SOP_ID": 3, "subscene_id": "4", "Quantity": 2});
        let batch = read(json!({"order_id": 1, "workstation_id": "2", "task_groups": [group], "notes": " "})).unwrap();
        assert_eq!(batch.groups, [TaskGroup { sop_id: SopId(3), subscene_id: SubsceneId(4), quantity: 2 }]);
        assert_eq!(batch.notes, None);
    }

    #[test]
    fn quoted_counts_and_missing_ids_are_refused() {
        for wrong in [
            json!({"order_id": 1, "workstation_id": 2, "task_groups": [{"sop_id": 1, "subscene_id": 1, "quantity": "1"}]}),
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
