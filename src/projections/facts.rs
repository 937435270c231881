//! What a command has to know of other things before it decides. Read inside the command's
//! transaction, so that what was locked stays true until the commit.

use tokio_postgres::Row;

use crate::domain::task::Task;
use crate::domain::{CollectorId, DeviceId, FactoryId, OrganizationId, PublicTaskId, RobotId, SceneId, StationId, SubsceneId, TaskId};
use crate::eventstore::{Loaded, StoreError, Transaction};

/// A task and the device that owns it: task → station → robot.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskOwner {
    pub task_id: TaskId,
    pub public_id: PublicTaskId,
    pub device_id: DeviceId,
    /// The epoch of the device's links, as far as any was ever open.
    pub recorder_epoch: Option<i64>,
    pub transfer_epoch: Option<i64>,
    pub transfer_open: bool,
}

macro_rules! owner_where {
    ($condition:literal) => {
        concat!(
            "select t.id, t.task_id, r.device_id, d.recorder_epoch, d.transfer_epoch, coalesce(d.transfer_open, false)
             from tasks t join stations s on s.id = t.station_id join robots r on r.id = s.robot_id
             left join devices d on d.id = r.device_id where ",
            $condition
        )
    };
}

/// A task with its owner, by the id that devices use. One round trip.
pub async fn task_of(tx: &mut Transaction, public_id: &PublicTaskId) -> Result<Option<(TaskOwner, Loaded<Task>)>, StoreError> {
    let events = "
        select e.sequence, e.event_type, e.event_version, e.payload, coalesce((e.metadata ->> 'occurred_at')::timestamptz, e.recorded_at), null::timestamptz
        from events e where e.aggregate_type = 'task' and e.aggregate_id = (select t.id::text from tasks t where t.task_id = $1)
        order by e.sequence";
    let text = public_id.as_str();
    found_task(tx.query_all(&[(owner_where!("t.task_id = $1"), vec![&text]), (events, vec![&text])]).await?, tx)
}

/// A task with its owner, by its number. One round trip.
pub async fn task_by_id(tx: &mut Transaction, id: TaskId) -> Result<Option<(TaskOwner, Loaded<Task>)>, StoreError> {
    let events = "
        select e.sequence, e.event_type, e.event_version, e.payload, coalesce((e.metadata ->> 'occurred_at')::timestamptz, e.recorded_at), null::timestamptz
        from events e where e.aggregate_type = 'task' and e.aggregate_id = $1::bigint::text
        order by e.sequence";
    found_task(tx.query_all(&[(owner_where!("t.id = $1"), vec![&id.0]), (events, vec![&id.0])]).await?, tx)
}

fn found_task(answers: Vec<Vec<Row>>, tx: &Transaction) -> Result<Option<(TaskOwner, Loaded<Task>)>, StoreError> {
    let [owner, events] = answers.as_slice() else { return Ok(None) };
    let Some(row) = owner.first() else { return Ok(None) };
    let owner = task_owner(row)?;
    let task = tx.fold(&owner.task_id.to_string(), events)?;
    Ok(Some((owner, task)))
}

fn task_owner(row: &Row) -> Result<TaskOwner, StoreError> {
    Ok(TaskOwner {
        task_id: TaskId(row.get(0)),
        public_id: name(row.get(1), PublicTaskId::parse)?,
        device_id: name(row.get(2), DeviceId::parse)?,
        recorder_epoch: row.get(3),
        transfer_epoch: row.get(4),
        transfer_open: row.get(5),
    })
}

/// The epoch of a device's last transfer link.
pub async fn transfer_epoch(tx: &mut Transaction, device: &DeviceId) -> Result<Option<i64>, StoreError> {
    let rows = tx.query("select transfer_epoch from devices where id = $1", &[&device.as_str()]).await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// Tasks of a device that were recorded and are not verified yet.
pub async fn uploading_tasks(tx: &mut Transaction, device: &DeviceId) -> Result<Vec<PublicTaskId>, StoreError> {
    let sql = "select t.task_id from tasks t join stations s on s.id = t.station_id join robots r on r.id = s.robot_id
               where r.device_id = $1 and t.status = 'uploading' order by t.id limit 1000";
    let rows = tx.query(sql, &[&device.as_str()]).await?;
    rows.iter().map(|row| name(row.get(0), PublicTaskId::parse)).collect()
}

fn name<T>(text: &str, parse: impl Fn(&str) -> Result<T, crate::domain::InvalidName>) -> Result<T, StoreError> {
    parse(text).map_err(|error| StoreError::Unreadable(format!("the id {text:?} in a table: {error}")))
}

/// Whether a robot with this device id exists.
pub async fn robot_exists(tx: &mut Transaction, device: &DeviceId) -> Result<bool, StoreError> {
    Ok(!tx.query("select 1 from robots where device_id = $1", &[&device.as_str()]).await?.is_empty())
}

/// The factory of a row that names one, by table. `None` where there is no such row.
pub async fn factory_of(tx: &mut Transaction, table: FactoryTable, id: i64) -> Result<Option<FactoryId>, StoreError> {
    let sql = match table {
        FactoryTable::Organizations => "select factory_id from organizations where id = $1",
        FactoryTable::Scenes => "select factory_id from scenes where id = $1",
        FactoryTable::Factories => "select id from factories where id = $1",
    };
    Ok(tx.query(sql, &[&id]).await?.first().map(|row| FactoryId(row.get(0))))
}

#[derive(Clone, Copy, Debug)]
pub enum FactoryTable {
    Factories,
    Organizations,
    Scenes,
}

/// The template a new subscene starts from; the outer `None` means that there is no such scene.
pub async fn scene_template(tx: &mut Transaction, scene: SceneId) -> Result<Option<Option<String>>, StoreError> {
    let rows = tx.query("select initial_scene_layout_template from scenes where id = $1", &[&scene.0]).await?;
    Ok(rows.first().map(|row| row.get(0)))
}

pub async fn robot_type_exists(tx: &mut Transaction, id: i64) -> Result<bool, StoreError> {
    Ok(!tx.query("select 1 from robot_types where id = $1", &[&id]).await?.is_empty())
}

/// What a binding copies and checks of a robot.
#[derive(Clone, Debug)]
pub struct RobotFacts {
    pub device_id: DeviceId,
    pub factory_id: FactoryId,
    pub type_name: String,
    pub status: String,
}

pub async fn robot(tx: &mut Transaction, id: RobotId) -> Result<Option<RobotFacts>, StoreError> {
    let sql =
        "select r.device_id, r.factory_id, t.name, r.status from robots r join robot_types t on t.id = r.robot_type_id where r.id = $1";
    let rows = tx.query(sql, &[&id.0]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(RobotFacts {
        device_id: name(row.get(0), DeviceId::parse)?,
        factory_id: FactoryId(row.get(1)),
        type_name: row.get(2),
        status: row.get(3),
    }))
}

/// What a binding copies and checks of a data collector.
#[derive(Clone, Debug)]
pub struct CollectorFacts {
    pub name: String,
    pub operator_id: String,
    pub organization_id: OrganizationId,
    pub organization_factory: FactoryId,
    pub status: String,
}

pub async fn collector(tx: &mut Transaction, id: CollectorId) -> Result<Option<CollectorFacts>, StoreError> {
    let sql = "select c.name, c.operator_id, c.organization_id, o.factory_id, c.status
               from data_collectors c join organizations o on o.id = c.organization_id where c.id = $1";
    Ok(tx.query(sql, &[&id.0]).await?.first().map(|row| CollectorFacts {
        name: row.get(0),
        operator_id: row.get(1),
        organization_id: OrganizationId(row.get(2)),
        organization_factory: FactoryId(row.get(3)),
        status: row.get(4),
    }))
}

/// What a batch has to know of the station it is given to.
#[derive(Clone, Debug)]
pub struct StationFacts {
    pub organization_id: OrganizationId,
    pub factory_id: FactoryId,
    pub is_current: bool,
}

pub async fn station(tx: &mut Transaction, id: StationId) -> Result<Option<StationFacts>, StoreError> {
    let sql = "select organization_id, factory_id, is_current from stations where id = $1";
    Ok(tx.query(sql, &[&id.0]).await?.first().map(|row| StationFacts {
        organization_id: OrganizationId(row.get(0)),
        factory_id: FactoryId(row.get(1)),
        is_current: row.get(2),
    }))
}

/// Which of these SOPs exist.
pub async fn known_sops(tx: &mut Transaction, ids: &[i64]) -> Result<Vec<i64>, StoreError> {
    Ok(tx.query("select id from sops where id = any ($1)", &[&ids]).await?.iter().map(|row| row.get(0)).collect())
}

/// A subscene with its scene.
#[derive(Clone, Debug)]
pub struct SubsceneFacts {
    pub subscene_id: SubsceneId,
    pub name: String,
    pub layout: Option<String>,
    pub scene_id: SceneId,
    pub scene_name: String,
}

pub async fn subscenes(tx: &mut Transaction, ids: &[i64]) -> Result<Vec<SubsceneFacts>, StoreError> {
    let sql = "select u.id, u.name, u.initial_scene_layout, s.id, s.name from subscenes u join scenes s on s.id = u.scene_id where u.id = any ($1)";
    let rows = tx.query(sql, &[&ids]).await?;
    Ok(rows
        .iter()
        .map(|row| SubsceneFacts {
            subscene_id: SubsceneId(row.get(0)),
            name: row.get(1),
            layout: row.get(2),
            scene_id: SceneId(row.get(3)),
            scene_name: row.get(4),
        })
        .collect())
}

/// Whether a station has an active batch, leaving one batch out of the count.
pub async fn has_other_active_batch(tx: &mut Transaction, station: StationId, but: i64) -> Result<bool, StoreError> {
    let sql = "select exists (select from batches where station_id = $1 and status = 'active' and id <> $2)";
    Ok(tx.query(sql, &[&station.0, &but]).await?.first().is_some_and(|row| row.get(0)))
}

/// New ids from a sequence, in one round trip.
pub async fn new_ids(tx: &mut Transaction, sequence: &'static str, count: usize) -> Result<Vec<i64>, StoreError> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let rows = tx.query("select nextval($1::text::regclass) from generate_series(1, $2::bigint)", &[&sequence, &count]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
