//! What dashboards of production show: a part of the site at one moment.
//!
//! What is there now is read from the rows of tasks, batches and stations; how much there was, from what is counted behind the log.

use std::collections::BTreeMap;
use std::ops::Range;

use chrono::{NaiveDate, TimeDelta};
use deadpool_postgres::Transaction;

use super::buckets::{Buckets, Granularity};
use super::counted_days::{ByTime, each_row};
use super::counted_groups::Figures;
use super::error::ReadError;
use super::home::Home;
use super::list::Parameter;
use super::names::{device, operator, or_empty, robot_type, sop};
use super::queries::{Reads, number_in, once_more, one_moment, rows_in, with};
use super::row::{FromRow, row};
use crate::domain::episode::QaStatus;
use crate::domain::station::StationStatus;
use crate::domain::task::TaskStatus;
use crate::domain::{BatchId, CollectorId, EpisodeId, FactoryId, OrderId, OrganizationId, Scope, SopId, StationId, TaskId, Timestamp};
use crate::projections::packed_days::{PackedEpisode, PackedTask, Unpacked};

/// Which part of the site. What is not given excludes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Part {
    pub station: Option<StationId>,
    pub factory: Option<FactoryId>,
    pub organization: Option<OrganizationId>,
    /// Every station that this person was ever bound to.
    pub collector: Option<CollectorId>,
}

/// How much is shown, and by which clocks.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The window of trends: whole days where clocks are `minutes_ahead` of UTC, the last of them today.
    pub from: Timestamp,
    pub today: Timestamp,
    pub until: Timestamp,
    /// Uploads that were verified since then.
    pub uploads_from: Timestamp,
    pub minutes_ahead: i64,
    pub distribution_limit: i64,
    pub active_limit: i64,
    pub recent_limit: i64,
    pub preview_limit: i64,
}

impl Shape {
    fn window_us(&self) -> Range<i64> {
        self.from.timestamp_micros()..self.until.timestamp_micros()
    }

    fn days(&self) -> Buckets {
        Buckets { by: Granularity::Day, minutes_ahead: self.minutes_ahead }
    }
}

row! {
    TasksOf {
        status: TaskStatus = "t.status",
        tasks: i64 = "sum(t.tasks)::bigint",
    }
}

/// Tasks of one status that were assigned on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayOf {
    pub day: NaiveDate,
    pub status: TaskStatus,
    pub tasks: i64,
}

/// Episodes of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpisodeDay {
    pub day: NaiveDate,
    pub episodes: i64,
    pub duration_ms: i64,
    pub size_bytes: i64,
}

row! {
    /// How many tasks there are of one thing.
    Share {
        id: i64 = "d.id",
        name: String = "d.name",
        tasks: i64 = "d.tasks",
    }
}

row! {
    EpisodesOf {
        qa_status: QaStatus = "t.qa_status",
        episodes: i64 = "sum(t.episodes)::bigint",
        duration_ms: i64 = "sum(t.duration_ms)::bigint",
        size_bytes: i64 = "sum(t.size_bytes)::bigint",
    }
}

row! {
    WatchedStation {
        id: StationId = "s.id",
        name: String = "s.name",
        status: StationStatus = "s.status",
        operator_id: String = or_empty!(operator!()),
        collector_name: String = "coalesce(c.name, s.collector_name, '')",
        device: String = device!(),
        robot_name: String = robot_type!(),
    }
}

row! {
    WatchedBatch {
        id: BatchId = "b.id",
        batch_id: String = "b.batch_id",
        order: OrderId = "b.order_id",
        order_name: String = "coalesce(o.name, '')",
        scene_name: String = "coalesce(n.name, '')",
        station: StationId = "b.station_id",
        device: String = or_empty!(device!()),
        operator_id: String = or_empty!(operator!()),
        collector_name: String = "coalesce(c.name, s.collector_name, '')",
        tasks: i64 = "b.task_count",
        completed: i64 = "b.completed_count",
        failed: i64 = "b.failed_count",
        cancelled: i64 = "b.cancelled_count",
    }
}

row! {
    WatchedTask {
        id: TaskId = "t.id",
        public_id: String = "t.task_id",
        status: TaskStatus = "t.status",
        sop: SopId = "t.sop_id",
        sop_label: String = sop!("t.sop_id", "@"),
        scene_name: String = "t.scene_name",
        subscene_name: String = "t.subscene_name",
        station_name: String = "coalesce(s.name, '')",
        robot_name: String = or_empty!(robot_type!()),
        device: String = or_empty!(device!()),
        operator_id: String = or_empty!(operator!()),
        collector_name: String = "coalesce(c.name, s.collector_name, '')",
        batch_id: String = "coalesce(b.batch_id, '')",
        episode: Option<EpisodeId> = "t.episode_id",
        created_at: Timestamp = "t.created_at",
        updated_at: Timestamp = "t.updated_at",
    }
}

row! {
    /// An episode whose recording can be looked at.
    Preview {
        id: EpisodeId = "e.id",
        public_id: String = "e.episode_id",
        task: TaskId = "e.task_id",
        status: Option<TaskStatus> = "t.status",
        qa_status: QaStatus = "e.qa_status",
        scene_name: String = "coalesce(n.name, e.scene_name)",
        sop_label: String = sop!("e.sop_id", "@"),
        device_type: String = or_empty!(robot_type!()),
        device: String = or_empty!(device!()),
        station_name: String = "coalesce(s.name, '')",
        duration_ms: Option<i64> = "f.duration_ms",
        created_at: Timestamp = "e.created_at",
    }
}

row! {
    Counted {
        stations: i64 = "count(*)",
        active: i64 = "count(*) filter (where s.status = 'active')",
        inactive: i64 = "count(*) filter (where s.status = 'inactive')",
        on_break: i64 = "count(*) filter (where s.status = 'break')",
        offline: i64 = "count(*) filter (where s.status = 'offline')",
    }
}

row! {
    RobotsSeen {
        robots: i64 = "count(*)",
        online: i64 = "count(*) filter (where d.recorder_open and d.transfer_open)",
    }
}

row! {
    Ended {
        completed: i64 = "count(*) filter (where t.status = 'completed')",
        failed: i64 = "count(*) filter (where t.status = 'failed')",
    }
}

row! {
    /// How long recordings took from their end until they were verified, by nearest rank.
    UploadsOf {
        verified: i64 = "count(*)",
        p50_ms: i64 = "coalesce(percentile_disc(0.5) within group (order by u.waited_ms), 0)",
        p95_ms: i64 = "coalesce(percentile_disc(0.95) within group (order by u.waited_ms), 0)",
        longest_ms: i64 = "coalesce(max(u.waited_ms), 0)",
    }
}

row! {
    /// Tasks of a batch that have procedure and place in common.
    BatchGroup {
        sop: SopId = "t.sop_id",
        sop_label: String = "coalesce(max(p.slug || coalesce('@' || nullif(p.sop_version, ''), '')), 'SOP #' || t.sop_id)",
        scene_name: String = "t.scene_name",
        subscene_name: String = "t.subscene_name",
        status: TaskStatus = "t.status",
        tasks: i64 = "count(*)",
    }
}

const HOME: Home = Home::Organization { factory: "s.factory_id", organization: "s.organization_id" };
const ROBOT_HOME: Home = Home::Factory("r.factory_id");

fn stations_of(within: &str) -> String {
    format!(
        "select s.id from stations s where ($1::bigint is null or s.id = $1) and ($2::bigint is null or s.factory_id = $2) \
         and ($3::bigint is null or s.organization_id = $3) and ($4::bigint is null or s.data_collector_id = $4){within}"
    )
}

/// Of all stations where `$1` is null.
fn here(column: &str) -> String {
    format!("($1::bigint[] is null or {column} = any($1))")
}

const NAMES: &str = "left join robots r on r.id = s.robot_id left join robot_types y on y.id = r.robot_type_id \
     left join data_collectors c on c.id = s.data_collector_id";

fn task_totals() -> String {
    format!("select {} from task_totals t where {} group by t.status", TasksOf::columns(), here("t.station_id"))
}

/// The packed days of a window.
fn packed(column: &str, table: &str) -> String {
    format!(
        "select f.{column} from {table} f where {} and f.day >= ($2::timestamptz at time zone 'UTC')::date \
         and f.day <= ($3::timestamptz at time zone 'UTC')::date",
        here("f.station_id")
    )
}

fn packed_tasks() -> String {
    packed("tasks", "packed_tasks")
}

fn packed_episodes() -> String {
    packed("episodes", "packed_episodes")
}

/// The date that clocks show which are so many minutes ahead of UTC.
fn local_date(at: Timestamp, minutes_ahead: i64) -> NaiveDate {
    (at + TimeDelta::minutes(minutes_ahead)).date_naive()
}

/// Tasks of a window by day; those that were cancelled are in none.
async fn task_days(moment: &Transaction<'_>, stations: Parameter<'_>, shape: &Shape) -> Result<Vec<DayOf>, ReadError> {
    let (window, buckets) = (shape.window_us(), shape.days());
    let mut found = BTreeMap::<(i64, TaskStatus), i64>::new();
    each_row(moment, &packed_tasks(), &[stations, &shape.from, &shape.until], |row| {
        let tasks: Unpacked<PackedTask> = row.try_get(0)?;
        let mut day = 0..0;
        for task in tasks.0.iter().filter(|task| task.status != TaskStatus::Cancelled && window.contains(&task.assigned_us)) {
            if !day.contains(&task.assigned_us) {
                day = buckets.of(task.assigned_us);
            }
            *found.entry((day.start, task.status)).or_default() += 1;
        }
        Ok(())
    })
    .await?;
    let day_of = |((begins_us, status), tasks)| {
        Some(DayOf { day: local_date(Timestamp::from_timestamp_micros(begins_us)?, shape.minutes_ahead), status, tasks })
    };
    Ok(found.into_iter().filter_map(day_of).collect())
}

/// Episodes of a window by day.
async fn episode_days(moment: &Transaction<'_>, stations: Parameter<'_>, shape: &Shape) -> Result<Vec<EpisodeDay>, ReadError> {
    let (window, mut found) = (shape.window_us(), ByTime::<Figures>::default());
    each_row(moment, &packed_episodes(), &[stations, &shape.from, &shape.until], |row| {
        let episodes: Unpacked<PackedEpisode<'_>> = row.try_get(0)?;
        found.add(shape.days(), episodes.0.iter().filter(|episode| window.contains(&episode.happened_us)));
        Ok(())
    })
    .await?;
    let day_of = |(begins_at, sum): (Timestamp, Figures)| EpisodeDay {
        day: local_date(begins_at, shape.minutes_ahead),
        episodes: sum.episodes,
        duration_ms: sum.duration_ms,
        size_bytes: sum.size_bytes,
    };
    Ok(found.into_sums().map(day_of).collect())
}

fn uploads() -> String {
    format!("select {} from counted_uploads u where {} and u.verified_at >= $2::timestamptz", UploadsOf::columns(), here("u.station_id"))
}

fn shares(of_scenes: bool) -> String {
    let (key, name, from) = match of_scenes {
        true => (
            "scene_id",
            "coalesce(n.name, nullif((select k.scene_name from tasks k where k.scene_id = g.id limit 1), ''), '未分类')",
            "left join scenes n on n.id = g.id",
        ),
        false => ("sop_id", sop!("g.id", "@"), "left join sops p on p.id = g.id"),
    };
    format!(
        "select {} from (select g.id, {name} as name, g.tasks from (select t.{key} as id, sum(t.tasks)::bigint as tasks from task_totals t \
         where {} group by t.{key} having sum(t.tasks) > 0) g {from}) d order by d.tasks desc, d.name, d.id limit $2::bigint",
        Share::columns(),
        here("t.station_id")
    )
}

fn episode_totals() -> String {
    format!("select {} from episode_totals t where {} group by t.qa_status", EpisodesOf::columns(), here("t.station_id"))
}

/// In microseconds since 1970.
const FIRST_TASK: &str = "select (extract(epoch from case when $1::bigint[] is null then (select min(t.assigned_at) from counted_tasks t) \
     else (select min(m.at) from unnest($1) s (id) cross join lateral (select min(t.assigned_at) as at from counted_tasks t where t.station_id = s.id) m) \
     end) * 1000000)::bigint";

fn current_stations() -> String {
    format!(
        "select {} from stations s {NAMES} where s.is_current and {} \
         order by array_position(array['active', 'inactive', 'break', 'offline'], s.status), s.id",
        WatchedStation::columns(),
        here("s.id")
    )
}

fn station_counts() -> String {
    format!("select {} from stations s where s.is_current and {}", Counted::columns(), here("s.id"))
}

fn active_batches() -> String {
    format!(
        "select {} from batches b left join orders o on o.id = b.order_id left join scenes n on n.id = o.scene_id \
         left join stations s on s.id = b.station_id {NAMES} where b.status = 'active' and {} \
         order by coalesce(b.started_at, b.created_at) desc, b.id desc limit $2::bigint",
        WatchedBatch::columns(),
        here("b.station_id")
    )
}

fn active_batch_count() -> String {
    format!("select count(*) from batches b where b.status = 'active' and {}", here("b.station_id"))
}

const OF_TASK: &str =
    "left join sops p on p.id = t.sop_id left join batches b on b.id = t.batch_id left join stations s on s.id = t.station_id";

fn active_tasks() -> String {
    format!(
        "select {} from tasks t {OF_TASK} {NAMES} where t.status = 'in_progress' and {} \
         order by coalesce(t.started_at, t.created_at) desc, t.id desc limit $2::bigint",
        WatchedTask::columns(),
        here("t.station_id")
    )
}

/// The newest of each station first, where not all are meant: so many are read, and no more.
fn newest(columns: &str, table: &str, alias: &str, key: &str, at: &str, joined: &str) -> String {
    let order = |of: &str| format!("{of}.{at} desc, {of}.{key} desc");
    let all = format!("select k.{key} as one from {table} k where $1::bigint[] is null order by {} limit $2::bigint", order("k"));
    let some = format!(
        "select m.one from unnest($1) w (id) cross join lateral (select k.{key} as one, k.{at} as at from {table} k where k.station_id = w.id \
         order by {} limit $2) m order by m.at desc, m.one desc limit $2",
        order("k")
    );
    format!("select {columns} from (({all}) union all ({some})) found join {table} {alias} on {alias}.{key} = found.one {joined}")
}

fn recent_tasks() -> String {
    let joined = format!("join tasks t on t.id = k.task_id {OF_TASK} {NAMES} order by k.changed_at desc, k.task_id desc");
    newest(&WatchedTask::columns(), "counted_tasks", "k", "task_id", "changed_at", &joined)
}

/// Those whose link would not be refused; more than are shown are looked at, for some are left out.
fn previews() -> String {
    let joined = format!(
        "join episodes e on e.id = f.episode_id left join tasks t on t.id = e.task_id left join scenes n on n.id = e.scene_id \
         left join sops p on p.id = e.sop_id left join stations s on s.id = e.station_id {NAMES} \
         where e.qa_status <> 'failed' and not e.edge_copy_gone order by f.happened_at desc, f.episode_id desc limit $3::bigint"
    );
    newest(&Preview::columns(), "counted_episodes", "f", "episode_id", "happened_at", &joined)
}

fn ended_today() -> String {
    format!(
        "select {} from counted_tasks t where t.ended_at >= $2::timestamptz and t.ended_at < $3::timestamptz and {}",
        Ended::columns(),
        here("t.station_id")
    )
}

/// All robots of the site where `$1` is null, and otherwise those that stand at one of the stations.
fn robots(within: &str) -> String {
    format!(
        "select {} from robots r left join devices d on d.id = r.device_id where ($1::bigint[] is null or r.id in (select s.robot_id from stations s \
         where s.is_current and s.id = any($1))) and ($2::bigint is null or r.factory_id = $2){within}",
        RobotsSeen::columns()
    )
}

const BATCH: &str = "select b.station_id from batches b where b.id = $1::bigint";

fn batch_groups() -> String {
    format!(
        "select {} from tasks t left join sops p on p.id = t.sop_id where t.batch_id = $1::bigint \
         group by t.sop_id, t.scene_name, t.subscene_name, t.status",
        BatchGroup::columns()
    )
}

/// How many episodes are looked at for each that is shown: those that cannot be shown are few.
const LOOKED_AT: i64 = 20;

/// What `/snapshot` shows.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub tasks: Vec<TasksOf>,
    pub days: Vec<DayOf>,
    pub scenes: Vec<Share>,
    pub sops: Vec<Share>,
    pub episodes: Vec<EpisodesOf>,
    pub first_task_us: i64,
    pub stations: Vec<WatchedStation>,
    pub batches: Vec<WatchedBatch>,
    pub active_tasks: Vec<WatchedTask>,
}

/// What `/overview` shows.
#[derive(Debug, Default)]
pub struct Overview {
    pub tasks: Vec<TasksOf>,
    pub assigned_today: i64,
    pub ended_today: Option<Ended>,
    pub episodes: Vec<EpisodesOf>,
    pub days: Vec<EpisodeDay>,
    pub active_batches: i64,
    pub stations: Option<Counted>,
    pub robots: Option<RobotsSeen>,
    pub uploads: Option<UploadsOf>,
    pub recent_tasks: Vec<WatchedTask>,
    pub previews: Vec<Preview>,
}

/// The stations that are meant; none: all of them.
type Stations = Option<Vec<i64>>;

async fn stations_in(moment: &Transaction<'_>, scope: &Scope, part: &Part) -> Result<Stations, ReadError> {
    let all = part.station.is_none() && part.factory.is_none() && part.organization.is_none() && part.collector.is_none();
    if all && *scope == Scope::Everything {
        return Ok(None);
    }
    let within = HOME.within(scope, 4);
    let parameters = with(&[&part.station, &part.factory, &part.organization, &part.collector], &within.values);
    let sql = stations_of(&within.sql);
    let rows = moment.query_typed(&sql, &super::list::typed(&sql, &parameters)).await?;
    Ok(Some(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?))
}

impl Reads {
    pub async fn dashboard_snapshot(&self, scope: &Scope, part: &Part, shape: &Shape) -> Result<Snapshot, ReadError> {
        once_more!(self.snapshot_once(scope, part, shape).await)
    }

    async fn snapshot_once(&self, scope: &Scope, part: &Part, shape: &Shape) -> Result<Snapshot, ReadError> {
        let mut client = self.connection().await?;
        let moment = one_moment(&mut client).await?;
        let stations = stations_in(&moment, scope, part).await?;
        let s: Parameter<'_> = &stations;
        // One after the other on one connection, without waiting in between.
        let (tasks, days, scenes, sops, episodes, first_task_us, current, batches, active_tasks) = tokio::try_join!(
            async { rows_in(&moment, &task_totals(), &[s]).await },
            async { task_days(&moment, s, shape).await },
            async { rows_in(&moment, &shares(true), &[s, &shape.distribution_limit]).await },
            async { rows_in(&moment, &shares(false), &[s, &shape.distribution_limit]).await },
            async { rows_in(&moment, &episode_totals(), &[s]).await },
            async { number_in(&moment, FIRST_TASK, &[s]).await },
            async { rows_in(&moment, &current_stations(), &[s]).await },
            async { rows_in(&moment, &active_batches(), &[s, &shape.active_limit]).await },
            async { rows_in(&moment, &active_tasks(), &[s, &shape.active_limit]).await },
        )?;
        moment.commit().await?;
        Ok(Snapshot { tasks, days, scenes, sops, episodes, first_task_us, stations: current, batches, active_tasks })
    }

    pub async fn dashboard_overview(&self, scope: &Scope, part: &Part, shape: &Shape) -> Result<Overview, ReadError> {
        once_more!(self.overview_once(scope, part, shape).await)
    }

    async fn overview_once(&self, scope: &Scope, part: &Part, shape: &Shape) -> Result<Overview, ReadError> {
        let mut client = self.connection().await?;
        let moment = one_moment(&mut client).await?;
        let stations = stations_in(&moment, scope, part).await?;
        let s: Parameter<'_> = &stations;
        // A robot without a station belongs to its factory all the same.
        let of_factory = part.station.is_none() && part.organization.is_none() && part.collector.is_none();
        let at: Stations = if of_factory { None } else { stations.clone() };
        let within = ROBOT_HOME.within(scope, 2);
        let of_robots = with(&[&at, &part.factory], &within.values);
        let looked_at = shape.preview_limit * LOOKED_AT;
        let (tasks, today, mut ended, episodes, days, active_batches, mut counted, mut seen, mut uploads, recent_tasks, previews) = tokio::try_join!(
            async { rows_in(&moment, &task_totals(), &[s]).await },
            async { number_in(&moment, &assigned_today(), &[s, &shape.today, &shape.until]).await },
            async { rows_in(&moment, &ended_today(), &[s, &shape.today, &shape.until]).await },
            async { rows_in(&moment, &episode_totals(), &[s]).await },
            async { episode_days(&moment, s, shape).await },
            async { number_in(&moment, &active_batch_count(), &[s]).await },
            async { rows_in(&moment, &station_counts(), &[s]).await },
            async { rows_in(&moment, &robots(&within.sql), &of_robots).await },
            async { rows_in(&moment, &uploads(), &[s, &shape.uploads_from]).await },
            async { rows_in(&moment, &recent_tasks(), &[s, &shape.recent_limit]).await },
            async { rows_in(&moment, &previews(), &[s, &looked_at, &shape.preview_limit]).await },
        )?;
        moment.commit().await?;
        Ok(Overview {
            tasks,
            assigned_today: today,
            ended_today: ended.pop(),
            episodes,
            days,
            active_batches,
            stations: counted.pop(),
            robots: seen.pop(),
            uploads: uploads.pop(),
            recent_tasks,
            previews,
        })
    }

    /// None where the part has no such batch.
    pub async fn dashboard_batch(&self, scope: &Scope, part: &Part, batch: BatchId) -> Result<Option<Vec<BatchGroup>>, ReadError> {
        once_more!(self.batch_once(scope, part, batch).await)
    }

    async fn batch_once(&self, scope: &Scope, part: &Part, batch: BatchId) -> Result<Option<Vec<BatchGroup>>, ReadError> {
        let mut client = self.connection().await?;
        let moment = one_moment(&mut client).await?;
        let stations = stations_in(&moment, scope, part).await?;
        let station = number_in(&moment, BATCH, &[&batch]).await?;
        if station == 0 || stations.is_some_and(|stations| !stations.contains(&station)) {
            return Ok(None);
        }
        let groups = rows_in(&moment, &batch_groups(), &[&batch]).await?;
        moment.commit().await?;
        Ok(Some(groups))
    }
}

fn assigned_today() -> String {
    format!(
        "select count(*) from counted_tasks t where {} and t.assigned_at >= $2::timestamptz and t.assigned_at < $3::timestamptz",
        here("t.station_id")
    )
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("stations of a part of the site", stations_of("")),
        ("tasks by status", task_totals()),
        ("tasks, packed by day", packed_tasks()),
        ("episodes, packed by day", packed_episodes()),
        ("uploads of a part of the site", uploads()),
        ("tasks by scene, of a part", shares(true)),
        ("tasks by SOP, of a part", shares(false)),
        ("episodes by status", episode_totals()),
        ("first task", FIRST_TASK.to_owned()),
        ("current stations", current_stations()),
        ("current stations, counted", station_counts()),
        ("active batches", active_batches()),
        ("active batches, counted", active_batch_count()),
        ("active tasks", active_tasks()),
        ("recent tasks", recent_tasks()),
        ("previews", previews()),
        ("tasks that ended in a window", ended_today()),
        ("tasks assigned in a window", assigned_today()),
        ("robots of a part of the site", robots("")),
        ("station of a batch", BATCH.to_owned()),
        ("tasks of a batch by procedure and place", batch_groups()),
    ]
}
