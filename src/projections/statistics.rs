//! Behind the sequencer: notes what each episode and each task counts for, and keeps totals of them.
//!
//! A step takes the next events of the log, notes anew what they changed as its row shows it, and moves the cursor, in one transaction.
//! Any process may do it, one at a time. The tables are disposable: emptied with their cursor, they are filled again from the first event.
//! What a step adds to a total is the difference between the new rows and those it replaces, so a total is always the sum of its rows; a day of which
//! something changed is packed anew ([`packed_days`]), so it always is what its rows are.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::{Pool, Transaction};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{packed_days, quality_counts, upload_counts};
use crate::domain::episode::Episode;
use crate::domain::registry::{Live as _, Registered, Robot};
use crate::domain::task::Task;
use crate::domain::{Aggregate, RobotTypeId};
use crate::eventstore::upcast::{upcast, upcasters};
use crate::eventstore::{StoreError, follower, log};

/// Names the lock of the transaction that counts ("keystone counts").
const LOCK: i64 = 0x6b65_7973_636f_756e;
/// Events of one step.
const STEP: i64 = 2_000;

/// Takes the lock, and does without waiting for the disk: what a crash takes back is counted again.
const BEGIN: &str = "select set_config('synchronous_commit', 'off', true) as synchronous, pg_try_advisory_xact_lock($1) as ours";
const CURSOR: &str = "select position from statistics_cursor";
/// Where it was emptied.
const FIRST: &str = "insert into statistics_cursor (position, packed_to) values (0, 0)";
/// Of which streams the next events are.
const WINDOW: &str = "select l.position, e.aggregate_type, e.aggregate_id, e.sequence from log l join events e on e.seq = l.seq
    where l.position > $1 order by l.position limit $2";
const MOVE: &str = "update statistics_cursor set position = $1, packed_to = $1";
const ROBOTS: &str = "select e.id, s.robot_id from episodes e join stations s on s.id = e.station_id where e.id = any ($1::bigint[])";

/// The episodes `$1`; of those that are new, what kind their robot was. A duration that nobody measured is that of the task where the task
/// came to its end by this recording: of what ended in another way, begin and end are of different attempts. The reason is why a machine alone
/// did not approve it: the check that says most, or what else there was.
const EPISODES: &str = "
with shown as (
    select e.id as episode_id, coalesce(t.completed_at, e.created_at) as happened_at, e.station_id, k.robot_type_id, e.scene_id, e.sop_id,
           e.factory_id, e.organization_id,
           case when e.duration_sec is not null then round(e.duration_sec * 1000)::bigint
                when t.status = 'completed' and t.completed_at > t.started_at
                then round(extract(epoch from t.completed_at - t.started_at) * 1000)::bigint end as duration_ms,
           e.file_size_bytes as size_bytes, e.qa_status, e.cloud_synced,
           e.auto_approved and e.qa_status = 'approved' as auto_approved,
           case when e.qa_status in ('pending_qa', 'qa_running', 'approved') then null
                when e.verdict <> 'approved' and e.latest_check is not null then e.latest_check ->> 'check_name'
                when e.qa_status = 'failed' then 'damaged'
                when e.operator_word ->> 'verdict' in ('discard', 'redo') then 'operator_word'
                else 'person' end as reason
    from episodes e left join tasks t on t.id = e.task_id
    left join unnest($2::bigint[], $3::bigint[]) k (episode_id, robot_type_id) on k.episode_id = e.id
    where e.id = any ($1::bigint[])),
known as (select c.* from counted_episodes c where c.episode_id = any ($1)),
gone as (delete from counted_episodes c where c.episode_id = any ($1) and c.episode_id not in (select s.episode_id from shown s)),
noted as (
    insert into counted_episodes as c (episode_id, happened_at, station_id, robot_type_id, scene_id, sop_id, factory_id, organization_id,
                                       duration_ms, size_bytes, qa_status, cloud_synced, auto_approved, reason)
    select s.* from shown s
    on conflict (episode_id) do update set (happened_at, station_id, scene_id, sop_id, factory_id, organization_id, duration_ms, size_bytes,
                                            qa_status, cloud_synced, auto_approved, reason)
        = (excluded.happened_at, excluded.station_id, excluded.scene_id, excluded.sop_id, excluded.factory_id, excluded.organization_id,
           excluded.duration_ms, excluded.size_bytes, excluded.qa_status, excluded.cloud_synced, excluded.auto_approved, excluded.reason)
    where (c.happened_at, c.station_id, c.scene_id, c.sop_id, c.factory_id, c.organization_id, c.duration_ms, c.size_bytes, c.qa_status,
           c.cloud_synced, c.auto_approved, c.reason)
        is distinct from (excluded.happened_at, excluded.station_id, excluded.scene_id, excluded.sop_id, excluded.factory_id,
                          excluded.organization_id, excluded.duration_ms, excluded.size_bytes, excluded.qa_status, excluded.cloud_synced,
                          excluded.auto_approved, excluded.reason)),
changes as (
    select v.station_id, v.qa_status, sum(v.n) as episodes, sum(v.n * coalesce(v.duration_ms, 0)) as duration_ms,
           sum(v.n * v.size_bytes) as size_bytes
    from (select station_id, qa_status, duration_ms, size_bytes, 1 as n from shown
          union all select station_id, qa_status, duration_ms, size_bytes, -1 from known) v
    group by v.station_id, v.qa_status having sum(v.n) <> 0 or sum(v.n * coalesce(v.duration_ms, 0)) <> 0 or sum(v.n * v.size_bytes) <> 0)
insert into episode_totals as t (station_id, qa_status, episodes, duration_ms, size_bytes) select c.* from changes c
on conflict (station_id, qa_status) do update set (episodes, duration_ms, size_bytes)
    = (t.episodes + excluded.episodes, t.duration_ms + excluded.duration_ms, t.size_bytes + excluded.size_bytes)";

const TASKS: &str = "
with shown as (
    select t.id as task_id, t.created_at as assigned_at, t.updated_at as changed_at, t.station_id, t.scene_id, t.sop_id, t.ended_at, t.status
    from tasks t where t.id = any ($1::bigint[])),
known as (select c.* from counted_tasks c where c.task_id = any ($1)),
gone as (delete from counted_tasks c where c.task_id = any ($1) and c.task_id not in (select s.task_id from shown s)),
noted as (
    insert into counted_tasks as c (task_id, assigned_at, changed_at, station_id, scene_id, sop_id, ended_at, status) select s.* from shown s
    on conflict (task_id) do update set (assigned_at, changed_at, station_id, scene_id, sop_id, ended_at, status)
        = (excluded.assigned_at, excluded.changed_at, excluded.station_id, excluded.scene_id, excluded.sop_id, excluded.ended_at, excluded.status)
    where (c.assigned_at, c.changed_at, c.station_id, c.scene_id, c.sop_id, c.ended_at, c.status)
        is distinct from (excluded.assigned_at, excluded.changed_at, excluded.station_id, excluded.scene_id, excluded.sop_id, excluded.ended_at,
                          excluded.status)),
changes as (
    select v.station_id, v.scene_id, v.sop_id, v.status, sum(v.n) as tasks
    from (select station_id, scene_id, sop_id, status, 1 as n from shown
          union all select station_id, scene_id, sop_id, status, -1 from known) v
    group by v.station_id, v.scene_id, v.sop_id, v.status having sum(v.n) <> 0)
insert into task_totals as t (station_id, scene_id, sop_id, status, tasks) select c.* from changes c
on conflict (station_id, scene_id, sop_id, status) do update set tasks = t.tasks + excluded.tasks";

/// Counts the next events of the log. Answers how many; `None` where another process does it.
pub async fn count(pool: &Pool) -> Result<Option<usize>, StoreError> {
    let mut client = pool.get().await?;
    let step = client.transaction().await?;
    if !step.query_one(BEGIN, &[&LOCK]).await?.get::<_, bool>(1) {
        return Ok(None);
    }
    let cursor: i64 = match step.query_opt(CURSOR, &[]).await? {
        Some(row) => row.get(0),
        None => {
            step.execute(FIRST, &[]).await?;
            0
        }
    };
    let window = step.query(&step.prepare_cached(WINDOW).await?, &[&cursor, &STEP]).await?;
    let Some(last) = window.last().map(|row| row.get::<_, i64>(0)) else {
        step.rollback().await?;
        return Ok(Some(0));
    };
    let (mut episodes, mut tasks, mut new) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    for row in &window {
        let (position, kind, id, sequence): (i64, &str, &str, i64) = (row.get(0), row.get(1), row.get(2), row.get(3));
        let number = || id.parse().map_err(|_| StoreError::Unreadable(format!("{kind}/{id} has no number")));
        if kind == Episode::TYPE {
            let id: i64 = number()?;
            episodes.insert(id);
            if sequence == 1 {
                new.insert(id, position);
            }
        } else if kind == Task::TYPE {
            tasks.insert(number()?);
        }
    }
    let (mut days, mut days_of_tasks) = (BTreeSet::new(), BTreeSet::new());
    if !episodes.is_empty() {
        let (ids, kinds): (Vec<i64>, Vec<Option<RobotTypeId>>) = robot_types(&step, &new).await?.into_iter().unzip();
        let episodes: Vec<i64> = episodes.into_iter().collect();
        days.extend(packed_days::of_episodes(&step, &episodes).await?);
        step.execute(&step.prepare_cached(EPISODES).await?, &[&episodes, &ids, &kinds]).await?;
        days.extend(packed_days::of_episodes(&step, &episodes).await?);
        quality_counts::note(&step, &episodes).await?;
        upload_counts::note(&step, &episodes).await?;
    }
    if !tasks.is_empty() {
        let tasks: Vec<i64> = tasks.into_iter().collect();
        days_of_tasks.extend(packed_days::of_tasks(&step, &tasks).await?);
        step.execute(&step.prepare_cached(TASKS).await?, &[&tasks]).await?;
        days_of_tasks.extend(packed_days::of_tasks(&step, &tasks).await?);
    }
    packed_days::pack(&step, days, days_of_tasks).await?;
    step.execute(MOVE, &[&last]).await?;
    step.commit().await?;
    Ok(Some(window.len()))
}

/// What kind the robot of each new episode was at the episode's place in the log.
async fn robot_types(step: &Transaction<'_>, new: &BTreeMap<i64, i64>) -> Result<Vec<(i64, Option<RobotTypeId>)>, StoreError> {
    let ids: Vec<i64> = new.keys().copied().collect();
    let robot_of: Vec<(i64, i64)> = step.query(ROBOTS, &[&ids]).await?.iter().map(|row| (row.get(0), row.get(1))).collect();
    let robots: BTreeSet<i64> = robot_of.iter().map(|(_, robot)| *robot).collect();
    let streams: Vec<String> = robots.iter().map(ToString::to_string).collect();
    let upcasters = upcasters();
    let (mut states, mut kinds) = (BTreeMap::<String, Registered<Robot>>::new(), BTreeMap::<String, Vec<(i64, RobotTypeId)>>::new());
    for placed in log::of_streams_in(step, Registered::<Robot>::TYPE, &streams).await? {
        let (position, event) = (placed.position, placed.event);
        let payload = upcast(&upcasters, &event.event_type, &event.event_version, event.payload.clone());
        let typed: <Registered<Robot> as Aggregate>::Event =
            serde_json::from_value(payload).map_err(|error| StoreError::Unreadable(format!("{}: {error}", event.event_id())))?;
        let state = states.entry(event.aggregate_id.clone()).or_default();
        state.evolve(&typed);
        if let Some(robot) = state.live() {
            kinds.entry(event.aggregate_id).or_default().push((position, robot.robot_type_id));
        }
    }
    let at = |robot: i64, position: i64| {
        let known = kinds.get(&robot.to_string())?;
        known.iter().rev().find(|(since, _)| *since < position).map(|(_, kind)| *kind)
    };
    Ok(robot_of.into_iter().map(|(id, robot)| (id, new.get(&id).and_then(|position| at(robot, *position)))).collect())
}

/// Counts whatever comes, until the end. `head` makes it quick where this process leads the log.
pub async fn follow(pool: Pool, head: watch::Receiver<i64>, stop: CancellationToken) {
    let step = || async {
        let counted = count(&pool).await?;
        debug!("Counted {counted:?} events");
        Ok::<_, StoreError>(counted == usize::try_from(STEP).ok())
    };
    follower::follow("count for statistics", follower::PAUSE, head, stop, step).await;
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    [
        ("counting, begun", BEGIN),
        ("cursor of statistics", CURSOR),
        ("cursor of statistics, anew", FIRST),
        ("events to count", WINDOW),
        ("cursor of statistics, moved", MOVE),
        ("robots of new episodes", ROBOTS),
        ("episodes, counted", EPISODES),
        ("tasks, counted", TASKS),
    ]
    .into_iter()
    .chain(quality_counts::STATEMENTS)
    .chain(upload_counts::STATEMENTS)
    .chain(packed_days::STATEMENTS)
    .map(|(name, sql)| (name, sql.to_owned()))
    .collect()
}
