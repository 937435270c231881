//! Tasks: as list items, in detail, and as what a recorder is configured with.

use super::error::ReadError;
use super::home::Home;
use super::list::{AsNumber, Each, ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::task::TaskStatus;
use crate::domain::{BatchId, DeviceId, EpisodeId, OrderId, PublicTaskId, RobotId, Scope, TaskId};
use crate::projections::rows::production::TaskRow;

row! {
    TaskShown of TaskRow as "t" {
        robot_serial: Option<DeviceId> = "w.robot_serial",
        collector_operator_id: Option<String> = "w.collector_operator_id",
        episode: Option<EpisodeId> = "e.id",
        episode_public_id: Option<String> = "e.episode_id",
        /// As the scene is called now.
        scene: String = "coalesce(sc.name, t.scene_name)",
        subscene: String = "coalesce(ss.name, t.subscene_name)",
    }
}

row! {
    /// What a recorder is configured with, as far as it is known.
    TaskConfigRow {
        task_id: PublicTaskId = "t.task_id",
        status: TaskStatus = "t.status",
        device_id: Option<DeviceId> = "w.robot_serial",
        robot_id: Option<RobotId> = "w.robot_id",
        collector_name: Option<String> = "w.collector_name",
        station_name: Option<String> = "w.name",
        order_name: Option<String> = "o.name",
        factory_name: Option<String> = "f.name",
        scene_name: String = "coalesce(sc.name, t.scene_name)",
        subscene_name: String = "coalesce(ss.name, t.subscene_name)",
        initial_scene_layout: String = "t.initial_scene_layout",
        sop_slug: Option<String> = "p.slug",
        /// In the order of the SOP; skills that are gone are left out.
        skills: Vec<String> = "array(select k.slug from unnest(p.skill_sequence) with ordinality as step (skill_id, place) \
                                join skills k on k.id = step.skill_id order by step.place)",
        topics: Vec<String> = "coalesce(y.ros_topics, '{}')",
    }
}

row! {
    /// What has to be known of a task before something is sent about it.
    TaskToSend {
        task_id: PublicTaskId = "t.task_id",
        status: TaskStatus = "t.status",
        /// A verified recording of it is in the store.
        has_episode: bool = "t.episode_id is not null",
    }
}

fn to_send() -> String {
    format!("select {} from tasks t where t.id = $1", TaskToSend::columns())
}

#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    pub task_id: Option<String>,
    /// Compared as text: one that is no number finds nothing.
    pub station_id: Option<String>,
    /// The same.
    pub order_id: Option<String>,
    /// The same.
    pub batch_id: Option<String>,
    pub status: Option<TaskStatus>,
}

const FROM: &str = "tasks t left join stations w on w.id = t.station_id left join episodes e on e.task_id = t.id \
                    left join scenes sc on sc.id = t.scene_id left join subscenes ss on ss.id = t.subscene_id";

const HOME: Home = Home::Organization { factory: "t.factory_id", organization: "t.organization_id" };

fn list() -> ListQuery {
    ListQuery {
        from: FROM,
        matches: "($1::text is null or comparable(t.task_id) = comparable($1)) and ($2::bigint is null or t.station_id = $2) \
                  and ($3::text is null or t.status = $3) and ($4::bigint is null or t.batch_id = $4) \
                  and ($5::bigint is null or t.batch_id = any (array(select b.id from batches b where b.order_id = $5)))"
            .into(),
        order: vec![Key::down(KeyType::Instant, "t.created_at"), Key::down(KeyType::Number, "t.id")],
        parameters: 5,
        counted: None,
        home: HOME,
    }
}

/// Batch by batch: those of one order may lie far apart among all tasks.
const EACH_BATCH: Each = Each { values: "select b.id from batches b where b.order_id = $5", column: "t.batch_id", id: "t.id" };

/// How many tasks there are, of one status or of all: orders know, so the tasks need not be counted
/// one by one. The few that are under way are, and those that no order counts because another one is recorded in their place.
fn counted_by_orders() -> String {
    "select case when $3::text is null then (select coalesce(sum(task_count), 0)::bigint from orders) \
                 when $3 = 'completed' then (select coalesce(sum(completed_count), 0)::bigint from orders) \
                 when $3 = 'failed' then (select coalesce(sum(failed_count), 0)::bigint from orders) \
                 when $3 = 'cancelled' then (select coalesce(sum(cancelled_count), 0)::bigint from orders) \
                 else (select count(*) from tasks t where t.status = $3) end \
          + case when $3 is null or $3 in ('completed', 'failed', 'cancelled') \
                 then (select count(*) from tasks t where t.replaced_by is not null and ($3::text is null or t.status = $3)) else 0 end \
     where $1::text is null and $2::bigint is null and $4::bigint is null and $5::bigint is null"
        .into()
}

fn of_batch() -> ListQuery {
    ListQuery {
        from: FROM,
        matches: "t.batch_id = $1::bigint".into(),
        order: vec![Key::up(KeyType::Instant, "t.created_at"), Key::up(KeyType::Number, "t.id")],
        parameters: 1,
        counted: None,
        home: HOME,
    }
}

fn get() -> String {
    format!("select {} from {FROM} where t.id = $1", TaskShown::columns())
}

fn config() -> String {
    format!(
        "select {} from tasks t left join stations w on w.id = t.station_id left join robots r on r.id = w.robot_id \
         left join robot_types y on y.id = r.robot_type_id left join orders o on o.id = t.order_id \
         left join factories f on f.id = t.factory_id left join sops p on p.id = t.sop_id \
         left join scenes sc on sc.id = t.scene_id left join subscenes ss on ss.id = t.subscene_id where t.id = $1",
        TaskConfigRow::columns()
    )
}

row! {
    OrderWithTasks {
        order_id: OrderId = "t.order_id",
    }
}

fn orders_with_tasks_of_robot() -> String {
    format!(
        "select distinct {} from stations w join tasks t on t.station_id = w.id \
         where w.robot_id = $1 and t.status in ('pending', 'ready', 'in_progress', 'uploading') order by t.order_id",
        OrderWithTasks::columns()
    )
}

impl Reads {
    /// Orders of which a robot holds tasks that have not ended.
    pub async fn orders_with_tasks_of(&self, robot: RobotId) -> Result<Vec<OrderId>, ReadError> {
        let rows: Vec<OrderWithTasks> = self.rows(&orders_with_tasks_of_robot(), &[&robot]).await?;
        Ok(rows.into_iter().map(|row| row.order_id).collect())
    }

    pub async fn task(&self, scope: &Scope, id: TaskId) -> Result<Option<TaskShown>, ReadError> {
        self.seen(scope, HOME, get(), &[&id]).await
    }

    pub async fn tasks(&self, scope: &Scope, filter: &TaskFilter, page: Page) -> Result<Listed<TaskShown>, ReadError> {
        let ids = [&filter.station_id, &filter.batch_id, &filter.order_id].map(|text| AsNumber::of(text.as_deref()));
        if ids.contains(&AsNumber::None) {
            return Ok(Listed::NOTHING);
        }
        let mut query = list();
        if filter.task_id.is_none() && ids == [AsNumber::NotGiven; 3] {
            query.counted = Some(counted_by_orders());
        }
        let [station, batch, order] = ids.map(AsNumber::number);
        let each = (order.is_some() && batch.is_none()).then_some(EACH_BATCH);
        self.listed_by(scope, query, each, &[&filter.task_id, &station, &filter.status, &batch, &order], page).await
    }

    pub async fn tasks_of_batch(&self, scope: &Scope, id: BatchId, page: Page) -> Result<Listed<TaskShown>, ReadError> {
        self.listed(scope, of_batch(), &[&id], page).await
    }

    /// For a delivery to its device.
    pub async fn task_to_send(&self, id: TaskId) -> Result<Option<TaskToSend>, ReadError> {
        self.row(&to_send(), &[&id]).await
    }

    pub async fn task_config(&self, scope: &Scope, id: TaskId) -> Result<Option<TaskConfigRow>, ReadError> {
        self.seen(scope, HOME, config(), &[&id]).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("task", get()),
        ("tasks", list().select(&TaskShown::columns())),
        ("tasks, by batch", list().select_by(&TaskShown::columns(), Some(&EACH_BATCH))),
        ("tasks, counted", list().count()),
        ("tasks, counted by orders", counted_by_orders()),
        ("tasks of a batch", of_batch().select(&TaskShown::columns())),
        ("tasks of a batch, counted", of_batch().count()),
        ("configuration of a task", config()),
        ("task to send something about", to_send()),
        ("orders with tasks of a robot", orders_with_tasks_of_robot()),
    ]
}
