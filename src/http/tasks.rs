//! `/tasks`: creating, reading, ending and deleting tasks, and what a recorder is configured with.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::at::{Answer, AsOf};
use super::auth::Caller;
use super::extract::{Json, Params, PathId};
use super::fields::{GivenId, MaybeReason, Reason, Whole};
use super::made::Made;
use super::operator_word::ShownWord;
use super::policy::Policy;
use super::problem::{Code, Problem};
use super::routes::Routes;
use super::wire::{Paged, TextId, WholeSecond};
use super::words::{DemonstrationWord, OperatorVerdictWord, TaskStatusWord};
use crate::commands::Refusal;
use crate::commands::damaged_uploads::WantDamagedUpload;
use crate::commands::dispatch::CreatedTask;
use crate::commands::operator_word::GiveWord;
use crate::commands::tasks::{CreateTasks, DeleteTask, FailTask};
use crate::domain::task::TaskStatus;
use crate::domain::workload::TASKS_PER_BATCH_MAX;
use crate::domain::{OrderId, RefusalCode, SopId, StationId, SubsceneId, TaskId};
use crate::projections::reads::Reads;
use crate::projections::reads::as_of::{Part, Unit};
use crate::projections::reads::tasks::{TaskConfigRow, TaskFilter, TaskShown};

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ, routes!(list))
        .at(Policy::MANAGE.keyed().saying("error_msg"), routes!(create))
        .at(Policy::READ.saying("error_msg"), routes!(get))
        .at(Policy::MANAGE.saying("error_msg"), routes!(delete))
        .at(Policy::READ.saying("error_msg"), routes!(config))
        .at(Policy::MANAGE.keyed(), routes!(fail))
        .at(Policy::MANAGE.closed().keyed(), routes!(accept_damaged))
        .at(Policy::SAY.keyed(), routes!(verdict))
}

/// One recording that is to be made.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskItem {
    /// Names it in requests.
    id: i64,
    /// The id that devices know.
    task_id: String,
    /// The batch that it belongs to.
    batch_id: TextId,
    /// The order that it belongs to.
    order_id: TextId,
    /// The procedure that is followed.
    sop_id: TextId,
    /// Who it was given to.
    #[schema(required)]
    workstation_id: Option<TextId>,
    /// The device id of its robot; null in the list of a batch.
    #[schema(required)]
    robot_device_id: Option<String>,
    /// The login name of its collector; null in the list of a batch.
    #[schema(required)]
    collector_operator_id: Option<String>,
    /// What is recorded.
    scene_id: TextId,
    /// The name of that scene.
    scene_name: String,
    /// Which variant of the scene.
    subscene_id: TextId,
    /// The name of that subscene.
    subscene_name: String,
    /// How far it is.
    #[schema(value_type = TaskStatusWord)]
    status: &'static str,
    /// Why it failed; else null.
    #[schema(required)]
    error_message: Option<String>,
    /// When it was given to the workstation.
    #[schema(required)]
    assigned_at: Option<WholeSecond>,
}

impl From<TaskShown> for TaskItem {
    fn from(row: TaskShown) -> Self {
        let said = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        Self {
            id: row.id.0,
            task_id: row.own.task_id.into(),
            batch_id: TextId(row.own.batch_id.0),
            order_id: TextId(row.own.order_id.0),
            sop_id: TextId(row.own.sop_id.0),
            workstation_id: Some(TextId(row.own.station_id.0)),
            robot_device_id: row.robot_serial.map(String::from),
            collector_operator_id: said(row.collector_operator_id),
            scene_id: TextId(row.own.scene_id.0),
            scene_name: row.scene,
            subscene_id: TextId(row.own.subscene_id.0),
            subscene_name: row.subscene,
            status: row.own.status.as_str(),
            error_message: row.own.error_message,
            assigned_at: Some(row.created_at.into()),
        }
    }
}

impl TaskItem {
    /// In the list of a batch three fields are always null: the page that reads it knows the station.
    pub fn in_batch(row: TaskShown) -> Self {
        Self { robot_device_id: None, collector_operator_id: None, error_message: None, ..Self::from(row) }
    }
}

/// One recording that is to be made.
#[derive(Debug, Serialize, ToSchema)]
pub struct Task {
    /// Names it in requests.
    id: i64,
    /// The id that devices know.
    task_id: String,
    /// The batch that it belongs to.
    batch_id: TextId,
    /// Always empty.
    batch_name: String,
    /// The order that it belongs to.
    order_id: TextId,
    /// The procedure that is followed.
    sop_id: TextId,
    /// Who it was given to.
    #[schema(required)]
    workstation_id: Option<TextId>,
    /// What is recorded.
    scene_id: TextId,
    /// The name of that scene.
    scene_name: String,
    /// Which variant of the scene.
    subscene_id: TextId,
    /// The name of that subscene.
    subscene_name: String,
    /// The factory that it is recorded in.
    #[schema(required)]
    factory_id: Option<TextId>,
    /// On whose behalf.
    #[schema(required)]
    organization_id: Option<i64>,
    /// How far it is.
    #[schema(value_type = TaskStatusWord)]
    status: &'static str,
    /// Why it failed; else null.
    #[schema(required)]
    error_message: Option<String>,
    /// When it was made.
    #[schema(required)]
    created_at: Option<WholeSecond>,
    /// When it was given to the workstation.
    #[schema(required)]
    assigned_at: Option<WholeSecond>,
    /// When the recording started.
    #[schema(required)]
    started_at: Option<WholeSecond>,
    /// When it was completed or failed; null where it was cancelled.
    #[schema(required)]
    completed_at: Option<WholeSecond>,
    /// When it reached its end, whichever it was.
    #[schema(required)]
    ended_at: Option<WholeSecond>,
    /// What came of it; null while nothing did.
    #[schema(required)]
    episode: Option<TaskEpisode>,
    /// What the operator says of the recording; left out while they said nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    operator_word: Option<ShownWord>,
    /// The task that is recorded in its place, and counts for the order; left out where none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<TextId>,
}

/// The episode of a task.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskEpisode {
    /// Names it in requests.
    id: i64,
    /// The id that people and the cloud see.
    #[serde(skip_serializing_if = "Option::is_none")]
    episode_id: Option<String>,
}

impl From<TaskShown> for Task {
    fn from(row: TaskShown) -> Self {
        Self {
            id: row.id.0,
            task_id: row.own.task_id.into(),
            batch_id: TextId(row.own.batch_id.0),
            batch_name: String::new(),
            order_id: TextId(row.own.order_id.0),
            sop_id: TextId(row.own.sop_id.0),
            workstation_id: Some(TextId(row.own.station_id.0)),
            scene_id: TextId(row.own.scene_id.0),
            scene_name: row.scene,
            subscene_id: TextId(row.own.subscene_id.0),
            subscene_name: row.subscene,
            factory_id: Some(TextId(row.own.factory_id.0)),
            organization_id: Some(row.own.organization_id.0),
            status: row.own.status.as_str(),
            error_message: row.own.error_message,
            created_at: Some(row.created_at.into()),
            assigned_at: Some(row.created_at.into()),
            started_at: row.own.started_at.map(WholeSecond),
            completed_at: row.own.completed_at.map(WholeSecond),
            ended_at: row.own.ended_at.map(WholeSecond),
            episode: row.episode.map(|id| TaskEpisode { id: id.0, episode_id: row.episode_public_id }),
            operator_word: row.own.operator_word.map(ShownWord::from),
            replaced_by: row.own.replaced_by.map(|id| TextId(id.0)),
        }
    }
}

/// Tasks, newest first.
#[utoipa::path(get, path = "/api/v1/tasks", tag = "tasks", params(
    ("limit" = Option<i64>, Query, description = "At least 1, default 50; at most 1000 are given at once"),
    ("offset" = Option<i64>, Query),
    ("task_id" = Option<String>, Query, description = "The id that devices know"),
    ("workstation_id" = Option<String>, Query),
    ("order_id" = Option<String>, Query),
    ("batch_id" = Option<String>, Query),
    ("status" = Option<TaskStatusWord>, Query, description = "How far they are"),
    ("at" = Option<String>, Query),
), responses((status = 200, body = Paged<TaskItem>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Answer<Paged<TaskItem>>, Problem> {
    let page = params.page_free()?;
    let filter = TaskFilter {
        task_id: params.text("task_id"),
        station_id: params.text("workstation_id"),
        order_id: params.text("order_id"),
        batch_id: params.text("batch_id"),
        status: params.word("status")?,
    };
    let as_of = AsOf::of_list(&state, &caller, &params, Part::Tasks).await?;
    let listed = as_of.reads.tasks(&caller.scope, &filter, page).await?;
    Ok(as_of.answer(Paged::new(listed, &page)))
}

/// One task.
#[utoipa::path(get, path = "/api/v1/tasks/{id}", tag = "tasks", params(("id" = i64, Path), ("at" = Option<String>, Query)), responses(
    (status = 200, body = Task),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, id: PathId, params: Params) -> Result<Answer<Task>, Problem> {
    let id = TaskId(id.positive()?);
    let as_of = AsOf::of(&state, &caller, &params, Unit::Task(id), Part::Itself).await?;
    let task = found(&as_of.reads, &caller, id).await?;
    Ok(as_of.answer(task))
}

/// What a recorder is configured with. The names of the fields do not mean ids: most are names.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct TaskConfig {
    /// The id that devices know.
    task_id: String,
    /// The device id of the robot.
    device_id: String,
    /// The collector's name.
    data_collector_id: String,
    /// The order's name.
    order_id: String,
    /// The factory's name.
    factory: String,
    /// The scene's name.
    scene: String,
    /// The subscene's name.
    subscene: String,
    /// The workstation's name.
    workstation_id: String,
    /// The layout to start from.
    initial_scene_layout: String,
    /// Slugs of the skills, in order.
    skills: Vec<String>,
    /// The SOP's slug.
    sop_id: String,
    /// Topics to record.
    topics: Vec<String>,
    /// Where the recorder posts when it starts.
    start_callback_url: String,
    /// Where the recorder posts when its file is closed.
    finish_callback_url: String,
    /// Always empty.
    user_token: String,
}

/// Where recorders tell that a recording started and finished.
pub fn callback_urls(base: &str) -> (String, String) {
    (format!("{base}/api/v1/callbacks/start"), format!("{base}/api/v1/callbacks/finish"))
}

impl TaskConfig {
    fn of(row: TaskConfigRow, callback_base: &str) -> Result<Self, Problem> {
        let status = row.status.as_str();
        if row.status != TaskStatus::Pending {
            let detail = format!("the task is {status}; only a pending one can be configured");
            return Err(Problem::from(Refusal::new(RefusalCode::TaskNotConfigurable, detail)).with("current_status", status));
        }
        let there = |what: &str, text: Option<String>| {
            text.filter(|text| !text.trim().is_empty())
                .ok_or_else(|| Problem::new(Code::TaskIncomplete, format!("the task has no {what}, so there is nothing to configure")))
        };
        let (start_callback_url, finish_callback_url) = callback_urls(callback_base);
        row.robot_id.ok_or_else(|| Problem::new(Code::TaskIncomplete, "the task has no workstation with a robot"))?;
        Ok(Self {
            task_id: row.task_id.into(),
            device_id: there("device", row.device_id.map(String::from))?,
            data_collector_id: there("data collector", row.collector_name)?,
            order_id: there("order", row.order_name)?,
            factory: there("factory", row.factory_name)?,
            scene: row.scene_name,
            subscene: row.subscene_name,
            workstation_id: there("workstation name", row.station_name)?,
            initial_scene_layout: row.initial_scene_layout,
            skills: row.skills,
            sop_id: there("SOP", row.sop_slug)?,
            topics: row.topics,
            start_callback_url,
            finish_callback_url,
            user_token: String::new(),
        })
    }
}

/// What a recorder is to be configured with for this task. Reading it changes nothing.
#[utoipa::path(get, path = "/api/v1/tasks/{id}/config", tag = "tasks", params(("id" = i64, Path)), responses(
    (status = 200, body = TaskConfig),
    (status = 404, description = "There is no such task"),
    (status = 409, description = "The task is not pending, or lacks something"),
))]
pub async fn config(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Json<TaskConfig>, Problem> {
    let row = state.reads.task_config(&caller.scope, TaskId(id.positive()?)).await?.ok_or_else(|| Problem::not_found("task"))?;
    TaskConfig::of(row, &state.settings.callback_base_url).map(Json)
}

/// How many there may be is the command's rule.
type TaskCount = Whole<1, TASKS_PER_BATCH_MAX>;

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewTasks {
    /// The order that they belong to.
    order_id: GivenId,
    /// The procedure that is followed.
    sop_id: GivenId,
    /// What is recorded: a subscene of the order's scene.
    subscene_id: GivenId,
    /// Who they are given to.
    workstation_id: GivenId,
    /// How many; 1 where nothing is said.
    #[schema(value_type = Option<TaskCount>)]
    quantity: Option<i64>,
}

/// Tasks that were made.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedTasks {
    /// Of the first task.
    id: TextId,
    /// Of the first task.
    task_id: String,
    /// Of the first task.
    #[schema(value_type = TaskStatusWord)]
    status: &'static str,
    /// When they were made.
    created_at: WholeSecond,
    /// All of them.
    tasks: Vec<CreatedTaskEntry>,
}

/// A task that was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedTaskEntry {
    /// Names it in requests.
    id: TextId,
    /// The id that devices know.
    task_id: String,
    /// How far it is.
    #[schema(value_type = TaskStatusWord)]
    status: &'static str,
    /// When it was made.
    created_at: WholeSecond,
    /// Always null.
    #[schema(required, value_type = Option<Object>)]
    tasks: Option<()>,
}

impl From<CreatedTask> for CreatedTaskEntry {
    fn from(task: CreatedTask) -> Self {
        Self {
            id: TextId(task.id.0),
            task_id: task.public_id.to_string(),
            status: TaskStatus::Pending.as_str(),
            created_at: task.created_at.into(),
            tasks: None,
        }
    }
}

/// Create tasks in the newest open batch of an order at a workstation, or in a new one. Kept for older
/// clients: `POST /batches` creates several groups at once.
#[utoipa::path(post, path = "/api/v1/tasks", tag = "tasks", request_body = NewTasks, responses(
    (status = 201, body = CreatedTasks),
    (status = 400, description = "A field is wrong, something named is unknown, or the order takes no more work"),
))]
pub async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(tasks): Json<NewTasks>,
) -> Result<(StatusCode, Json<CreatedTasks>), Problem> {
    let command = CreateTasks {
        order_id: OrderId(tasks.order_id.0),
        sop_id: SopId(tasks.sop_id.0),
        subscene_id: SubsceneId(tasks.subscene_id.0),
        station_id: StationId(tasks.workstation_id.0),
        quantity: tasks.quantity.unwrap_or(1),
    };
    let created = state.commands.execute(&caller.context(), command).await?;
    let first = created.first().ok_or_else(|| super::problem::failed(&anyhow::anyhow!("no task was created")))?;
    let answer = CreatedTasks {
        id: TextId(first.id.0),
        task_id: first.public_id.to_string(),
        status: TaskStatus::Pending.as_str(),
        created_at: first.created_at.into(),
        tasks: created.into_iter().map(CreatedTaskEntry::from).collect(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Delete a task. A recorder that holds it is told to let go.
#[utoipa::path(delete, path = "/api/v1/tasks/{id}", tag = "tasks", params(("id" = i64, Path)), responses(
    (status = 204, description = "It is gone, and its place in the order's quota is free"),
    (status = 404, description = "There is none"),
    (status = 409, description = "It is uploading or completed"),
))]
pub async fn delete(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<StatusCode, Problem> {
    let id = TaskId(id.positive()?);
    state.commands.execute(&caller.context(), DeleteTask(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ending {
    /// For those who ask later.
    reason: Reason,
}

impl Ending {
    pub fn reason(self) -> String {
        self.reason.0
    }
}

async fn found(reads: &Reads, caller: &Caller, id: TaskId) -> Result<Task, Problem> {
    reads.task(&caller.scope, id).await?.map(Task::from).ok_or_else(|| Problem::not_found("task"))
}

/// End a task that waits for what will not come: its recording is lost, damaged, or on a robot that is gone. It counts as failed,
/// a recorder that holds it is told to let go, and a recording that comes all the same is kept as an episode with the label
/// `late_upload`.
#[utoipa::path(post, path = "/api/v1/tasks/{id}/fail", tag = "tasks", params(("id" = i64, Path)), request_body = Ending, responses(
    (status = 200, body = Task),
    (status = 400, description = "No reason, or one that is too long"),
    (status = 404, description = "There is none"),
    (status = 409, description = "It has ended"),
))]
pub async fn fail(State(state): State<AppState>, caller: Caller, id: PathId, Json(ending): Json<Ending>) -> Result<Made<Task>, Problem> {
    let task_id = TaskId(id.positive()?);
    state.commands.execute(&caller.context(), FailTask { task_id, reason: ending.reason() }).await?;
    Ok(Made::read(StatusCode::OK, json!({ "id": task_id.0, "status": TaskStatus::Failed.as_str() }), found(&state.reads, &caller, task_id))
        .await)
}

/// Accept a recording that was rejected, as damaged as it is: it is read once more, and becomes an episode that has `failed`, with its damage and the reason as its flag.
/// Then the robot may delete its copy. No run makes more of it; a senior inspector may. What is sound by now is accepted like any other, and what is not there is rejected again.
#[utoipa::path(post, path = "/api/v1/tasks/{id}/accept-damaged", tag = "tasks", params(("id" = i64, Path)), request_body = Ending, responses(
    (status = 202, body = Task, description = "It is being read; the task has its episode, or its error, when that is done"),
    (status = 400, description = "No reason, or one that is too long"),
    (status = 404, description = "There is none"),
    (status = 409, description = "No upload of it was rejected"),
))]
pub async fn accept_damaged(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    Json(why): Json<Ending>,
) -> Result<Made<Task>, Problem> {
    let task_id = TaskId(id.positive()?);
    state.commands.execute(&caller.context(), WantDamagedUpload { task_id, reason: why.reason() }).await?;
    Ok(Made::read(StatusCode::ACCEPTED, json!({ "id": task_id.0 }), found(&state.reads, &caller, task_id)).await)
}

/// What the operator says of a recording.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenWord {
    /// `keep`, `discard`: a person looks at it before anything is done with it, or `redo`: the same, and it is recorded once more.
    verdict: OperatorVerdictWord,
    /// Whether the robot did what was to be shown.
    demonstration: Option<DemonstrationWord>,
    /// In the operator's words.
    note: Option<MaybeReason>,
}

/// Say at the workstation what a recording is worth, from the moment it goes on until it was inspected. The last word counts; the
/// same one again changes nothing. `redo` gives the workstation one more task, which counts for the order in place of this one.
#[utoipa::path(post, path = "/api/v1/tasks/{id}/verdict", tag = "tasks", params(("id" = i64, Path)), request_body = GivenWord, responses(
    (status = 200, body = Task),
    (status = 400, description = "No such word, or a note that is too long"),
    (status = 403, description = "The task was given to another workstation than the caller's"),
    (status = 404, description = "There is none"),
    (status = 409, description = "Nothing was recorded, the episode was inspected, or there is no other try: order or batch are over, or the task was replaced"),
))]
pub async fn verdict(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    Json(said): Json<GivenWord>,
) -> Result<Made<Task>, Problem> {
    let task_id = TaskId(id.positive()?);
    let word = GiveWord {
        task_id,
        verdict: said.verdict.0,
        demonstration: said.demonstration.map(|word| word.0),
        note: MaybeReason::said(said.note),
        default_suite: state.runs.default_suite().clone(),
    };
    state.commands.execute(&caller.context(), word).await?;
    Ok(Made::read(StatusCode::OK, json!({ "id": task_id.0 }), found(&state.reads, &caller, task_id)).await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{DeviceId, PublicTaskId, RobotId};

    fn row() -> TaskConfigRow {
        TaskConfigRow {
            task_id: PublicTaskId::parse("task_1").unwrap(),
            status: TaskStatus::Pending,
            device_id: Some(DeviceId::parse("AB-1").unwrap()),
            robot_id: Some(RobotId(1)),
            collector_name: Some("Li".into()),
            station_name: Some("ws-1".into()),
            order_name: Some("Order".into()),
            factory_name: Some("F".into()),
            scene_name: "scene".into(),
            subscene_name: "subscene".into(),
            initial_scene_layout: String::new(),
            sop_slug: Some("fold".into()),
            skills: vec!["pick".into()],
            topics: vec![],
        }
    }

    #[test]
    fn a_configuration_names_people_and_things_and_where_to_call_back() {
        let config = TaskConfig::of(row(), "http://edge:8080").unwrap();
        assert_eq!((config.order_id.as_str(), config.data_collector_id.as_str(), config.sop_id.as_str()), ("Order", "Li", "fold"));
        assert_eq!(config.finish_callback_url, "http://edge:8080/api/v1/callbacks/finish");
    }

    #[test]
    fn only_a_pending_task_that_lacks_nothing_can_be_configured() {
        let refused = |row| TaskConfig::of(row, "").map(|_| ()).map_err(|problem| (problem.status().as_u16(), problem.code()));
        assert_eq!(refused(TaskConfigRow { status: TaskStatus::Ready, ..row() }), Err((409, "task_not_configurable")));
        assert_eq!(refused(TaskConfigRow { sop_slug: None, ..row() }), Err((409, "task_incomplete")));
        assert_eq!(refused(TaskConfigRow { collector_name: Some(" ".into()), ..row() }), Err((409, "task_incomplete")));
    }
}
