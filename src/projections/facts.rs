//! What a command has to know of other things before it decides. Read inside the command's
//! transaction, so that what was locked stays true until the commit.
//!
//! Who refers to an entry of the registry holds its row with `for key share`, as a foreign key would: nobody deletes or changes the
//! entry before the commit, and many may refer to it at once. Who deletes or changes it takes the row alone ([`hold_row`]).

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;

use crate::domain::judgement::{AskedOutside, OutsideReport, Suite};
use crate::domain::qa_suite::SuiteScope;
use crate::domain::reference::Reference;
use crate::domain::registry::{CollectorStatus, RobotStatus};
use crate::domain::task::{Task, TaskStatus};
use crate::domain::{
    BatchId, CollectorId, DeviceId, EpisodeId, FactoryId, OrderId, OrganizationId, OutsideJobId, PublicTaskId, QaReferenceId, QaSuiteId,
    RobotId, RobotTypeId, SceneId, SkillId, SopId, StationId, SubsceneId, TaskId, Timestamp,
};
use crate::eventstore::{Loaded, StoreError, Transaction};
use crate::projections::people::Person;
use crate::projections::reads::outside_jobs::{SaidOutside, columns_of, said};
use crate::projections::reads::row::FromRow as _;
use crate::projections::reads::suites::present;

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
    /// The device that the data platform knows the robot as.
    pub asset_id: Option<String>,
    /// As they are called now.
    pub scene_name: String,
    pub subscene_name: String,
}

macro_rules! owner_where {
    ($condition:literal) => {
        concat!(
            "select t.id, t.task_id, r.device_id, d.recorder_epoch, d.transfer_epoch, coalesce(d.transfer_open, false), r.asset_id,
                    coalesce(sc.name, t.scene_name), coalesce(ss.name, t.subscene_name)
             from tasks t join stations s on s.id = t.station_id join robots r on r.id = s.robot_id
             left join devices d on d.id = r.device_id
             left join scenes sc on sc.id = t.scene_id left join subscenes ss on ss.id = t.subscene_id where ",
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
    found_task(tx.query_all(&[(owner_where!("t.id = $1"), vec![&id]), (events, vec![&id])]).await?, tx)
}

fn found_task(answers: Vec<Vec<Row>>, tx: &Transaction) -> Result<Option<(TaskOwner, Loaded<Task>)>, StoreError> {
    let [owner, events] = answers.as_slice() else { return Ok(None) };
    let Some(row) = owner.first() else { return Ok(None) };
    let owner = task_owner(row)?;
    let mut task = tx.fold::<Task>(&owner.task_id.to_string(), events)?;
    task.device = Some(owner.device_id.clone());
    Ok(Some((owner, task)))
}

fn task_owner(row: &Row) -> Result<TaskOwner, StoreError> {
    Ok(TaskOwner {
        task_id: row.get(0),
        public_id: row.try_get(1)?,
        device_id: row.try_get(2)?,
        recorder_epoch: row.get(3),
        transfer_epoch: row.get(4),
        transfer_open: row.get(5),
        asset_id: row.get(6),
        scene_name: row.get(7),
        subscene_name: row.get(8),
    })
}

/// The epoch of a device's last transfer link, and since when it is open.
pub async fn transfer_link(tx: &mut Transaction, device: &DeviceId) -> Result<Option<(i64, Option<Timestamp>)>, StoreError> {
    let rows = tx.query("select transfer_epoch, transfer_since from devices where id = $1", &[&device]).await?;
    Ok(rows.first().map(|row| (row.get(0), row.get(1))))
}

/// Whether the device's recorder is connected and seen without this task.
pub async fn recorder_is_without(tx: &mut Transaction, device: &DeviceId, task: &PublicTaskId) -> Result<bool, StoreError> {
    let sql = "select 1 from devices where id = $1 and recorder_open and observed_state is not null
               and (observed_state = 'idle' or observed_task is distinct from $2)";
    Ok(!tx.query(sql, &[&device, &task]).await?.is_empty())
}

macro_rules! tasks_of_device_where {
    ($condition:literal) => {
        concat!(
            "select t.task_id from tasks t join stations s on s.id = t.station_id join robots r on r.id = s.robot_id
             where r.device_id = $1 and ",
            $condition,
            " order by t.id limit 1000"
        )
    };
}

fn public_ids(rows: &[Row]) -> Result<Vec<PublicTaskId>, StoreError> {
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Tasks of a device that were recorded and are not verified yet.
pub async fn uploading_tasks(tx: &mut Transaction, device: &DeviceId) -> Result<Vec<PublicTaskId>, StoreError> {
    public_ids(&tx.query(tasks_of_device_where!("t.status = 'uploading'"), &[&device]).await?)
}

/// Those of these tasks of a device that are not recorded, as far as we know.
pub async fn unrecorded_tasks(tx: &mut Transaction, device: &DeviceId, among: &[PublicTaskId]) -> Result<Vec<PublicTaskId>, StoreError> {
    if among.is_empty() {
        return Ok(vec![]);
    }
    let sql = tasks_of_device_where!("t.status in ('pending', 'ready') and t.task_id = any($2)");
    public_ids(&tx.query(sql, &[&device, &among]).await?)
}

/// Those of these tasks of a device that failed, and of which there is no recording here.
pub async fn failed_tasks(tx: &mut Transaction, device: &DeviceId, among: &[PublicTaskId]) -> Result<Vec<PublicTaskId>, StoreError> {
    if among.is_empty() {
        return Ok(vec![]);
    }
    let sql = tasks_of_device_where!("t.status = 'failed' and t.episode_id is null and t.task_id = any($2)");
    public_ids(&tx.query(sql, &[&device, &among]).await?)
}

/// Tasks that a device's recorder is believed to have: configured or being recorded.
pub async fn held_tasks(tx: &mut Transaction, device: &DeviceId) -> Result<Vec<PublicTaskId>, StoreError> {
    public_ids(&tx.query(tasks_of_device_where!("t.status in ('ready', 'in_progress')"), &[&device]).await?)
}

/// Whether a robot with this device id exists.
pub async fn robot_exists(tx: &mut Transaction, device: &DeviceId) -> Result<bool, StoreError> {
    Ok(!tx.query("select 1 from robots where device_id = $1", &[&device]).await?.is_empty())
}

/// The factory of a robot, by the id of its device.
pub async fn factory_of_device(tx: &mut Transaction, device: &DeviceId) -> Result<Option<FactoryId>, StoreError> {
    let rows = tx.query("select factory_id from robots where device_id = $1", &[&device]).await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// The factory of a row that names one, by table. `None` where there is no such row.
pub async fn factory_of(tx: &mut Transaction, table: FactoryTable, id: i64) -> Result<Option<FactoryId>, StoreError> {
    let sql = match table {
        FactoryTable::Organizations => "select factory_id from organizations where id = $1 for key share",
        FactoryTable::Scenes => "select factory_id from scenes where id = $1 for key share",
        FactoryTable::Factories => "select id from factories where id = $1 for key share",
    };
    Ok(tx.query(sql, &[&id]).await?.first().map(|row| row.get(0)))
}

#[derive(Clone, Copy, Debug)]
pub enum FactoryTable {
    Factories,
    Organizations,
    Scenes,
}

/// What needs an entry of the registry, so that it is not deleted.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Counts it, by the id of the entry.
    pub counted: &'static str,
    /// What it is.
    pub what: &'static str,
    /// What a person can do about it.
    pub advice: &'static str,
    /// Whether the refusal is a conflict; else the request is wrong, as the older system had it.
    pub is_conflict: bool,
}

/// Waits for who refers to an entry and has not committed yet, keeps others from doing so until the commit, and counts what needs
/// it then. One round trip.
pub async fn hold_row(tx: &mut Transaction, table: &str, id: i64, needs: &[Need]) -> Result<Vec<i64>, StoreError> {
    let hold = format!("select 1 from {table} where id = $1 for update");
    let mut queries: Vec<(&str, Vec<&(dyn tokio_postgres::types::ToSql + Sync)>)> = vec![(&hold, vec![&id])];
    queries.extend(needs.iter().map(|need| (need.counted, vec![&id as _])));
    let answers = tx.query_all(&queries).await?;
    Ok(answers.iter().skip(1).map(|rows| rows.first().map_or(0, |row| row.get(0))).collect())
}

/// A scene's factory, and the template that a new subscene starts from.
pub async fn scene_template(tx: &mut Transaction, scene: SceneId) -> Result<Option<(FactoryId, Option<String>)>, StoreError> {
    let rows = tx.query("select factory_id, initial_scene_layout_template from scenes where id = $1 for key share", &[&scene]).await?;
    Ok(rows.first().map(|row| (row.get(0), row.get(1))))
}

/// The name of a robot type.
pub async fn robot_type_name(tx: &mut Transaction, id: RobotTypeId) -> Result<Option<String>, StoreError> {
    let rows = tx.query("select name from robot_types where id = $1 for key share", &[&id]).await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// Those of these skills that exist.
pub async fn skills(tx: &mut Transaction, ids: &[SkillId]) -> Result<BTreeSet<SkillId>, StoreError> {
    if ids.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows = tx.query("select id from skills where id = any ($1) order by id for key share", &[&ids]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Waits for who makes or renames versions of these slugs.
pub async fn hold_slugs(tx: &mut Transaction, table: &str, slugs: &[&str]) -> Result<(), StoreError> {
    let sql = "select pg_advisory_xact_lock(hashtextextended(key, 0))
               from (select distinct 'slug/' || $1 || '/' || comparable(slug) as key from unnest($2::text[]) slug order by 1) k";
    tx.query(sql, &[&table, &slugs]).await?;
    Ok(())
}

/// How many entries have this slug, but those that have the other one.
pub async fn versions_of_slug(tx: &mut Transaction, table: &str, slug: &str, but: &str) -> Result<i64, StoreError> {
    let sql = format!("select count(*) from {table} where comparable(slug) = comparable($1) and comparable(slug) <> comparable($2)");
    Ok(tx.query(&sql, &[&slug, &but]).await?.first().map_or(0, |row| row.get(0)))
}

/// The other versions of a slug.
pub async fn other_versions(tx: &mut Transaction, table: &str, slug: &str, than: i64) -> Result<Vec<i64>, StoreError> {
    let sql = format!("select id from {table} where comparable(slug) = comparable($1) and id <> $2 order by id");
    Ok(tx.query(&sql, &[&slug, &than]).await?.iter().map(|row| row.get(0)).collect())
}

pub async fn robot_type_exists(tx: &mut Transaction, id: i64) -> Result<bool, StoreError> {
    Ok(!tx.query("select 1 from robot_types where id = $1 for key share", &[&id]).await?.is_empty())
}

pub async fn sop_exists(tx: &mut Transaction, id: SopId) -> Result<bool, StoreError> {
    Ok(!tx.query("select 1 from sops where id = $1", &[&id]).await?.is_empty())
}

/// Factory and robot type by the names a device gives for them; each may not exist.
pub async fn named_for_registration(
    tx: &mut Transaction,
    factory: &str,
    model: &str,
) -> Result<(Option<FactoryId>, Option<RobotTypeId>), StoreError> {
    let answers = tx
        .query_all(&[
            ("select id from factories where name = $1 for key share", vec![&factory]),
            ("select id from robot_types where model = $1 for key share", vec![&model]),
        ])
        .await?;
    let first = |n: usize| answers.get(n).and_then(|rows: &Vec<Row>| rows.first());
    Ok((first(0).map(|row| row.get(0)), first(1).map(|row| row.get(0))))
}

/// The next number of a device of a factory and a robot type, which no other device gets unless this is rolled back.
pub async fn next_device_number(tx: &mut Transaction, factory: FactoryId, robot_type: RobotTypeId) -> Result<i64, StoreError> {
    let sql = "insert into device_sequences as s (factory_id, robot_type_id, last) values ($1, $2, 1)
               on conflict (factory_id, robot_type_id) do update set last = s.last + 1 returning last";
    let rows = tx.query(sql, &[&factory, &robot_type]).await?;
    rows.first().map(|row| row.get(0)).ok_or_else(|| StoreError::Unreadable("a sequence without a number".into()))
}

/// What a binding copies and checks of a robot.
#[derive(Clone, Debug)]
pub struct RobotFacts {
    pub device_id: DeviceId,
    pub factory_id: FactoryId,
    pub type_name: String,
    pub status: RobotStatus,
}

pub async fn robot(tx: &mut Transaction, id: RobotId) -> Result<Option<RobotFacts>, StoreError> {
    let sql = "select r.device_id, r.factory_id, t.name, r.status from robots r join robot_types t on t.id = r.robot_type_id where r.id = $1 for key share";
    let rows = tx.query(sql, &[&id]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(RobotFacts { device_id: row.try_get(0)?, factory_id: row.get(1), type_name: row.get(2), status: row.try_get(3)? }))
}

/// What would break if a robot became another one.
#[derive(Clone, Copy, Debug)]
pub struct RobotAtWork {
    /// The workstation that it is bound to.
    pub station: Option<StationId>,
    /// Its tasks that have not ended.
    pub open_tasks: i64,
    /// Whether one of its sockets is open.
    pub is_connected: bool,
}

pub async fn robot_at_work(tx: &mut Transaction, id: RobotId, device: &DeviceId) -> Result<RobotAtWork, StoreError> {
    let sql = "select (select id from stations where robot_id = $1 and is_current),
                      (select count(*) from stations s join tasks t on t.station_id = s.id
                       where s.robot_id = $1 and t.status in ('pending', 'ready', 'in_progress', 'uploading')),
                      exists (select from devices where id = $2 and (recorder_open or transfer_open))";
    let rows = tx.query(sql, &[&id, &device]).await?;
    let row = rows.first().ok_or_else(|| StoreError::Unreadable("a question without an answer".into()))?;
    Ok(RobotAtWork { station: row.get(0), open_tasks: row.get(1), is_connected: row.get(2) })
}

/// A live robot that is bound to this asset, other than the one that is to be. Commands that want the same asset wait for each other here, so
/// that what is answered stays true until the commit.
///
/// No index of the table keeps this rule: robots may share what they are numbered as, from before there was a gateway, and no unique index
/// could be made over them. This lock is the last one that its command takes.
pub async fn holder_of_asset(tx: &mut Transaction, asset: &str, other_than: Option<RobotId>) -> Result<Option<AssetHolder>, StoreError> {
    let lock = "select pg_advisory_xact_lock(hashtextextended('asset/' || $1, 0))";
    let holder =
        "select id, factory_id from robots where asset_id = $1 and status <> 'retired' and id is distinct from $2 order by id limit 1";
    let answers = tx.query_all(&[(lock, vec![&asset]), (holder, vec![&asset, &other_than])]).await?;
    Ok(answers.last().and_then(|rows| rows.first()).map(|row| AssetHolder { robot_id: row.get(0), factory_id: row.get(1) }))
}

#[derive(Clone, Copy, Debug)]
pub struct AssetHolder {
    pub robot_id: RobotId,
    pub factory_id: FactoryId,
}

/// What a binding copies and checks of a data collector.
#[derive(Clone, Debug)]
pub struct CollectorFacts {
    pub organization_id: OrganizationId,
    pub organization_factory: FactoryId,
    pub status: CollectorStatus,
}

pub async fn collector(tx: &mut Transaction, id: CollectorId) -> Result<Option<CollectorFacts>, StoreError> {
    let sql = "select c.organization_id, o.factory_id, c.status
               from data_collectors c join organizations o on o.id = c.organization_id where c.id = $1 for key share";
    let rows = tx.query(sql, &[&id]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(CollectorFacts { organization_id: row.get(0), organization_factory: row.get(1), status: row.try_get(2)? }))
}

/// Who a person is, as it is known now.
pub async fn person(tx: &mut Transaction, subject: &'static str, id: i64) -> Result<Person, StoreError> {
    let rows = tx.query("select name, operator_id, email from people where subject = $1 and subject_id = $2", &[&subject, &id]).await?;
    Ok(match rows.first() {
        Some(row) => Person { subject, id, name: row.get(0), operator_id: row.get(1), email: row.get(2) },
        // As rows say of whom we forgot.
        None => Person { subject, id, name: format!("forgotten person {id}"), operator_id: Some(format!("forgotten-{id}")), email: None },
    })
}

/// A binding, current or not.
#[derive(Clone, Copy, Debug)]
pub struct BindingAt {
    pub id: StationId,
    pub robot_id: RobotId,
    pub collector_id: CollectorId,
    pub factory_id: FactoryId,
    pub organization_id: OrganizationId,
    pub is_current: bool,
}

fn binding_at(row: &Row) -> BindingAt {
    BindingAt {
        id: row.get(0),
        robot_id: row.get(1),
        collector_id: row.get(2),
        factory_id: row.get(3),
        organization_id: row.get(4),
        is_current: row.get(5),
    }
}

pub async fn station(tx: &mut Transaction, id: StationId) -> Result<Option<BindingAt>, StoreError> {
    let sql = "select id, robot_id, data_collector_id, factory_id, organization_id, is_current from stations where id = $1";
    Ok(tx.query(sql, &[&id]).await?.first().map(binding_at))
}

/// Bindings of these two to each other, and the current ones of each; that of the robot first, the newest first.
pub async fn stations_of_pair(tx: &mut Transaction, robot: RobotId, collector: CollectorId) -> Result<Vec<BindingAt>, StoreError> {
    let sql = "select id, robot_id, data_collector_id, factory_id, organization_id, is_current from stations
               where (robot_id = $1 and data_collector_id = $2) or (is_current and (robot_id = $1 or data_collector_id = $2))
               order by robot_id = $1 desc, updated_at desc, id desc";
    Ok(tx.query(sql, &[&robot, &collector]).await?.iter().map(binding_at).collect())
}

/// Current workstations of robots of a type.
pub async fn stations_of_type(tx: &mut Transaction, id: RobotTypeId) -> Result<Vec<StationId>, StoreError> {
    let sql = "select s.id from stations s join robots r on r.id = s.robot_id where r.robot_type_id = $1 and s.is_current order by s.id";
    Ok(tx.query(sql, &[&id]).await?.iter().map(|row| row.get(0)).collect())
}

/// Who gives work to a workstation shares this until the commit; who unbinds it waits for them.
const SHARE_WORK: &str = "select pg_advisory_xact_lock_shared(hashtextextended('work of station/' || $1::bigint, 0))";
const HOLD_WORK: &str = "select pg_advisory_xact_lock(hashtextextended('work of station/' || $1::bigint, 0))";

/// Waits for who gives work to a workstation, and keeps others from it until the commit.
pub async fn hold_work_of_station(tx: &mut Transaction, id: StationId) -> Result<(), StoreError> {
    tx.query(HOLD_WORK, &[&id]).await?;
    Ok(())
}

/// How many batches of a workstation still have work.
pub async fn open_batches_of_station(tx: &mut Transaction, id: StationId) -> Result<i64, StoreError> {
    let sql = "select count(*) from batches where station_id = $1 and status in ('pending', 'active')";
    Ok(tx.query(sql, &[&id]).await?.first().map_or(0, |row| row.get(0)))
}

/// What a workstation is doing.
#[derive(Clone, Copy, Debug)]
pub struct StationAtWork {
    pub has_active_batch: bool,
    pub is_recording: bool,
}

pub async fn station_at_work(tx: &mut Transaction, id: StationId) -> Result<StationAtWork, StoreError> {
    let sql = "select exists (select from batches where station_id = $1 and status = 'active'),
                      exists (select from tasks where station_id = $1 and status = 'in_progress')";
    let rows = tx.query(sql, &[&id]).await?;
    let said = |n: usize| rows.first().is_some_and(|row| row.get(n));
    Ok(StationAtWork { has_active_batch: said(0), is_recording: said(1) })
}

/// What a batch has to know of the station it is given to.
#[derive(Clone, Debug)]
pub struct StationFacts {
    pub organization_id: OrganizationId,
    pub factory_id: FactoryId,
    pub is_current: bool,
}

/// A subscene with its scene.
#[derive(Clone, Debug)]
pub struct SubsceneFacts {
    pub name: String,
    pub layout: Option<String>,
    pub scene_id: SceneId,
    pub scene_name: String,
}

/// All that dispatching work has to know, and ids for what it creates.
#[derive(Clone, Debug)]
pub struct DispatchFacts {
    pub station: Option<StationFacts>,
    /// Those of the SOPs asked for that exist.
    pub sops: BTreeSet<SopId>,
    /// Those of the subscenes asked for that exist.
    pub subscenes: BTreeMap<SubsceneId, SubsceneFacts>,
    pub task_ids: Vec<TaskId>,
}

/// Looks everything up in one round trip.
pub async fn dispatch(
    tx: &mut Transaction,
    station: StationId,
    sops: &[SopId],
    subscenes: &[SubsceneId],
    tasks: usize,
) -> Result<DispatchFacts, StoreError> {
    let tasks = i64::try_from(tasks).unwrap_or(i64::MAX);
    let answers = tx
        .query_all(&[
            (SHARE_WORK, vec![&station]),
            ("select organization_id, factory_id, is_current from stations where id = $1", vec![&station]),
            ("select id from sops where id = any ($1) for key share", vec![&sops]),
            (
                "select u.id, u.name, u.initial_scene_layout, s.id, s.name
                 from subscenes u join scenes s on s.id = u.scene_id where u.id = any ($1) for key share",
                vec![&subscenes],
            ),
            ("select nextval('task_ids') from generate_series(1, $1::bigint)", vec![&tasks]),
        ])
        .await?;
    let rows = |n: usize| answers.get(n).map_or(&[][..], Vec::as_slice);
    let subscene = |row: &Row| {
        let facts = SubsceneFacts { name: row.get(1), layout: row.get(2), scene_id: row.get(3), scene_name: row.get(4) };
        (row.get(0), facts)
    };
    Ok(DispatchFacts {
        station: rows(1).first().map(|row| StationFacts { organization_id: row.get(0), factory_id: row.get(1), is_current: row.get(2) }),
        sops: rows(2).iter().map(|row| row.get(0)).collect(),
        subscenes: rows(3).iter().map(subscene).collect(),
        task_ids: rows(4).iter().map(|row| row.get(0)).collect(),
    })
}

/// The order a batch belongs to; that never changes.
pub async fn order_of_batch(tx: &mut Transaction, batch: BatchId) -> Result<Option<OrderId>, StoreError> {
    let rows = tx.query("select order_id from batches where id = $1", &[&batch]).await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// Batches of an order that still have work.
pub async fn open_batches(tx: &mut Transaction, order: OrderId) -> Result<Vec<BatchId>, StoreError> {
    let sql = "select id from batches where order_id = $1 and status in ('pending', 'active') order by id";
    Ok(tx.query(sql, &[&order]).await?.iter().map(|row| row.get(0)).collect())
}

/// The newest batch of an order at a station that still has work.
pub async fn newest_open_batch(tx: &mut Transaction, order: OrderId, station: StationId) -> Result<Option<BatchId>, StoreError> {
    let sql = "select id from batches where order_id = $1 and station_id = $2 and status in ('pending', 'active') order by id desc limit 1";
    Ok(tx.query(sql, &[&order, &station]).await?.first().map(|row| row.get(0)))
}

pub async fn has_batches(tx: &mut Transaction, order: OrderId) -> Result<bool, StoreError> {
    let sql = "select exists (select from batches where order_id = $1)";
    Ok(tx.query(sql, &[&order]).await?.first().is_some_and(|row| row.get(0)))
}

/// Stations with the batches that make them active.
pub async fn active_batches(tx: &mut Transaction, stations: &[StationId]) -> Result<Vec<(StationId, BatchId)>, StoreError> {
    let rows = tx.query("select station_id, id from batches where station_id = any ($1) and status = 'active'", &[&stations]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// A task as its batch has to know it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskFacts {
    pub task_id: TaskId,
    pub public_id: PublicTaskId,
    pub batch_id: BatchId,
    pub sop_id: SopId,
    pub subscene_id: SubsceneId,
    pub scene_name: String,
    pub subscene_name: String,
    pub status: TaskStatus,
    pub device_id: Option<DeviceId>,
    /// A command that puts it on a recorder is under way.
    pub being_given: bool,
    /// Another task counts in its place.
    pub replaced: bool,
}

macro_rules! task_facts_from {
    () => {
        "select t.id, t.task_id, t.batch_id, t.sop_id, t.subscene_id, coalesce(sc.name, t.scene_name), coalesce(ss.name, t.subscene_name), t.status, r.device_id,
             exists (select from device_commands k where k.task_id = t.task_id and k.status = 'requested' and k.action in ('config', 'begin')),
             t.replaced_by is not null
         from tasks t left join stations s on s.id = t.station_id left join robots r on r.id = s.robot_id
         left join scenes sc on sc.id = t.scene_id left join subscenes ss on ss.id = t.subscene_id"
    };
}

/// Tasks of batches that are in one of these states, oldest first.
pub async fn tasks_of(tx: &mut Transaction, batches: &[BatchId], statuses: &[TaskStatus]) -> Result<Vec<TaskFacts>, StoreError> {
    let sql = concat!(task_facts_from!(), " where t.batch_id = any ($1) and t.status = any ($2) order by t.created_at, t.id");
    tx.query(sql, &[&batches, &statuses]).await?.iter().map(task_facts).collect()
}

/// The order a task belongs to; that never changes.
pub async fn order_of_task(tx: &mut Transaction, task: TaskId) -> Result<Option<OrderId>, StoreError> {
    let rows = tx.query("select order_id from tasks where id = $1", &[&task]).await?;
    Ok(rows.first().map(|row| row.get(0)))
}

pub async fn task_facts_of(tx: &mut Transaction, task: TaskId) -> Result<Option<TaskFacts>, StoreError> {
    let rows = tx.query(concat!(task_facts_from!(), " where t.id = $1"), &[&task]).await?;
    rows.first().map(task_facts).transpose()
}

/// Tasks of an order that a robot has not ended, oldest first; at most five hundred.
pub async fn open_tasks_of_robot(tx: &mut Transaction, robot: RobotId, order: OrderId) -> Result<Vec<TaskFacts>, StoreError> {
    let sql = concat!(
        task_facts_from!(),
        " where s.robot_id = $1 and t.order_id = $2 and t.status in ('pending', 'ready', 'in_progress', 'uploading') order by t.id limit 500"
    );
    tx.query(sql, &[&robot, &order]).await?.iter().map(task_facts).collect()
}

/// The station a robot works at now.
pub async fn station_of_robot(tx: &mut Transaction, robot: RobotId) -> Result<Option<StationId>, StoreError> {
    let rows = tx.query("select id from stations where robot_id = $1 and is_current", &[&robot]).await?;
    Ok(rows.first().map(|row| row.get(0)))
}

fn task_facts(row: &Row) -> Result<TaskFacts, StoreError> {
    Ok(TaskFacts {
        task_id: row.get(0),
        public_id: row.try_get(1)?,
        batch_id: row.get(2),
        sop_id: row.get(3),
        subscene_id: row.get(4),
        scene_name: row.get(5),
        subscene_name: row.get(6),
        status: row.try_get(7)?,
        device_id: row.try_get(8)?,
        being_given: row.get(9),
        replaced: row.get(10),
    })
}

/// Episodes of the completed tasks of a batch.
pub async fn episodes_of_batch(tx: &mut Transaction, batch: BatchId) -> Result<Vec<EpisodeId>, StoreError> {
    let rows = tx.query("select id from episodes where batch_id = $1 order by id", &[&batch]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The station a data collector works at now.
pub async fn station_of_collector(tx: &mut Transaction, collector: CollectorId) -> Result<Option<StationId>, StoreError> {
    let rows = tx.query("select id from stations where data_collector_id = $1 and is_current", &[&collector]).await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// The newest version of a suite of this name; 0 where there is none.
pub async fn newest_suite_version(tx: &mut Transaction, name: &str) -> Result<u32, StoreError> {
    let rows = tx.query("select coalesce(max(suite_version), 0) from qa_suites where name = $1", &[&name]).await?;
    Ok(rows.first().map_or(0, |row| u32::try_from(row.get::<_, i32>(0)).unwrap_or_default()))
}

pub async fn active_suite_of_scope(tx: &mut Transaction, scope: SuiteScope) -> Result<Option<QaSuiteId>, StoreError> {
    let sql = "select id from qa_suites where state = 'active' and scope_kind = $1 and scope_id is not distinct from $2";
    let rows = tx.query(sql, &[&scope.kind(), &scope.id()]).await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// The newest version of a reference of this procedure and type of robot; 0 where there is none.
pub async fn newest_reference_version(tx: &mut Transaction, sop: SopId, robot_type: Option<RobotTypeId>) -> Result<u32, StoreError> {
    let sql = "select coalesce(max(reference_version), 0) from qa_references where sop_id = $1 and robot_type_id is not distinct from $2";
    let rows = tx.query(sql, &[&sop, &robot_type]).await?;
    Ok(rows.first().map_or(0, |row| u32::try_from(row.get::<_, i32>(0)).unwrap_or_default()))
}

/// By what an episode is judged: a suite of the site, and what is usual in good recordings.
#[derive(Debug)]
pub struct Rules {
    /// None where the shipped one judges.
    pub suite: Option<(QaSuiteId, Suite)>,
    pub reference: Option<(QaReferenceId, Reference)>,
}

/// The newest reference for a recording of this station and procedure: that of the robot's type before that of all.
const REFERENCE_FOR: &str = "select id, learned from qa_references where sop_id = $2 and (robot_type_id is null \
     or robot_type_id = (select r.robot_type_id from stations s join robots r on r.id = s.robot_id where s.id = $1)) \
     order by robot_type_id is null, id desc limit 1";

pub async fn reference_for(tx: &mut Transaction, station: StationId, sop: SopId) -> Result<Option<(QaReferenceId, Reference)>, StoreError> {
    found_reference(&tx.query(REFERENCE_FOR, &[&station, &sop]).await?)
}

fn found_reference(rows: &[Row]) -> Result<Option<(QaReferenceId, Reference)>, StoreError> {
    rows.first().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}

/// The active suite that is for a recording of this station and procedure, and the newest reference. One round trip.
pub async fn rules_for(tx: &mut Transaction, station: StationId, sop: SopId) -> Result<Rules, StoreError> {
    let suite = present("v.id, v.rules", "$1", "$2");
    let answers = tx.query_all(&[(suite.as_str(), vec![&station, &sop]), (REFERENCE_FOR, vec![&station, &sop])]).await?;
    let rows = |n: usize| answers.get(n).map_or(&[][..], Vec::as_slice);
    let suite = rows(0).first().map(|row| Ok::<_, StoreError>((row.try_get(0)?, row.try_get(1)?))).transpose()?;
    Ok(Rules { suite, reference: found_reference(rows(1))? })
}

/// The first of the earlier episodes that have the same content.
pub async fn twin_of(tx: &mut Transaction, id: EpisodeId, checksum: &str) -> Result<Option<String>, StoreError> {
    let sql = "select episode_id from episodes where checksum = $1 and id < $2 order by id limit 1";
    Ok(tx.query(sql, &[&checksum, &id]).await?.first().map(|row| row.get(0)))
}

/// What checkers elsewhere said last of an episode when they were asked with these limits, by the names of the checks.
pub async fn outside_reports(
    tx: &mut Transaction,
    episode: EpisodeId,
    asked: &[AskedOutside],
) -> Result<BTreeMap<String, OutsideReport>, StoreError> {
    let (names, limits) = columns_of(asked);
    let rows = tx.query(&said(), &[&[episode].as_slice(), &names, &limits]).await?;
    rows.iter().map(|row| SaidOutside::from_row(row).map(|row| (row.check, row.said)).map_err(StoreError::from)).collect()
}

/// Waits for who changes a job. Claims lock its row before they append; so does everything else, or two could wait for each other.
pub async fn lock_outside_job(tx: &mut Transaction, id: OutsideJobId) -> Result<(), StoreError> {
    tx.query("select 1 from outside_jobs where id = $1 for update", &[&id]).await?;
    Ok(())
}

const HOLD_LOGIN: &str = "select pg_advisory_xact_lock(hashtextextended('login name/' || comparable($1), 0))";
/// Within one kind the index keeps names apart, and says whose it is.
const LOGIN_HOLDERS: &str =
    "select 'a data collector' from data_collectors where comparable(operator_id) = comparable($1) and $2 <> 'data_collector'
    union all select 'an inspector' from inspectors where comparable(inspector_id) = comparable($1) and $2 <> 'inspector'
    union all select 'an account' from accounts where comparable(login_name) = comparable($1) and $2 <> 'account'";

/// Who of another kind signs in with this name; nobody else takes it until the commit.
pub async fn login_holder(tx: &mut Transaction, name: &str, kind: &str) -> Result<Option<String>, StoreError> {
    tx.query(HOLD_LOGIN, &[&name]).await?;
    let rows = tx.query(LOGIN_HOLDERS, &[&name, &kind]).await?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
}

const KNOWN_FACTORIES: &str = "select id from factories where id = any ($1::bigint[]) order by id for key share";

/// Those of the factories that there are; they stay until the commit.
pub async fn known_factories(tx: &mut Transaction, ids: &[FactoryId]) -> Result<Vec<FactoryId>, StoreError> {
    let rows = tx.query(KNOWN_FACTORIES, &[&ids]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// The topics that the robot of a station has to have.
pub async fn topics_of_station(tx: &mut Transaction, station: StationId) -> Result<Vec<String>, StoreError> {
    let sql = "select y.ros_topics from stations s join robots r on r.id = s.robot_id join robot_types y on y.id = r.robot_type_id where s.id = $1";
    let rows = tx.query(sql, &[&station]).await?;
    Ok(rows.first().map(|row| row.try_get::<_, Option<Vec<String>>>(0)).transpose()?.flatten().unwrap_or_default())
}

/// New ids from a sequence, in one round trip.
pub async fn new_ids(tx: &mut Transaction, sequence: &'static str, count: usize) -> Result<Vec<i64>, StoreError> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let rows = tx.query("select nextval($1::text::regclass) from generate_series(1, $2::bigint)", &[&sequence, &count]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
