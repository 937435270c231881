//! `/production/dashboard/snapshot`.

use chrono::TimeDelta;
use serde::Serialize;
use utoipa::ToSchema;

use super::asked::WatchedScope;
use super::shown::{Quality, StatusCounts, TrendDay, days, place, seconds};
use crate::domain::Timestamp;
use crate::domain::station::StationStatus;
use crate::domain::task::TaskStatus;
use crate::http::production_statistics::AsOf;
use crate::http::wire::{TextId, WholeSecond};
use crate::http::words::StationStatusWord;
use crate::projections::reads::counted;
use crate::projections::reads::dashboard::{Shape, Share, Snapshot, WatchedBatch, WatchedStation, WatchedTask};

/// The state of production.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProductionSnapshot {
    /// When it was so.
    generated_at: WholeSecond,
    /// Whom it is shown, and of what.
    scope: WatchedScope,
    /// Tasks of all time, by how far they are now.
    tasks: TaskCounts,
    /// Tasks by the day on which they were assigned, today last; those that were cancelled are left out.
    trend: Vec<TrendDay>,
    /// What tasks are about.
    distributions: Distributions,
    /// What came of episodes.
    quality: Quality,
    /// The site as a whole.
    system: SystemNumbers,
    /// Workstations of now.
    stations: Vec<StationCard>,
    /// Batches that are worked on, the one that began last first.
    active_batches: Vec<BatchCard>,
    /// Tasks that are being recorded, the one that began last first.
    active_tasks: Vec<TaskCard>,
    /// How far what is counted is.
    as_of: AsOf,
}

/// How many tasks there are.
#[derive(Debug, Serialize, ToSchema)]
struct TaskCounts {
    /// All of them.
    total: i64,
    /// By how far they are.
    #[serde(flatten)]
    of: StatusCounts,
}

/// How many tasks there are of what.
#[derive(Debug, Serialize, ToSchema)]
struct Distributions {
    /// By scene, the most first.
    scene: Vec<DistributionItem>,
    /// By SOP, the most first.
    sop: Vec<DistributionItem>,
}

/// Tasks of one scene or SOP.
#[derive(Debug, Serialize, ToSchema)]
struct DistributionItem {
    /// The scene or SOP.
    id: TextId,
    /// What it is called.
    name: String,
    /// How many tasks there are of it.
    value: i64,
}

impl From<Share> for DistributionItem {
    fn from(row: Share) -> Self {
        Self { id: TextId(row.id), name: row.name, value: row.tasks }
    }
}

/// The site as a whole.
#[derive(Debug, Serialize, ToSchema)]
struct SystemNumbers {
    /// Days since the first task was assigned, that day with them; 0 without any.
    operating_days: i64,
    /// How long all episodes are together.
    total_data_duration_sec: f64,
    /// Workstations that are at work.
    online_stations: i64,
}

/// One workstation.
#[derive(Debug, Serialize, ToSchema)]
struct StationCard {
    /// The workstation.
    id: TextId,
    /// What it is called.
    name: String,
    /// What happens there.
    #[schema(value_type = StationStatusWord)]
    status: &'static str,
    /// The same, for people.
    status_text: &'static str,
    /// Who works there.
    collector_operator_id: String,
    /// Their name.
    collector_name: String,
    /// The robot.
    device_id: String,
    /// The robot's type.
    device_model: String,
    /// The same.
    robot_name: String,
}

impl From<WatchedStation> for StationCard {
    fn from(row: WatchedStation) -> Self {
        Self {
            id: TextId(row.id.0),
            name: row.name,
            status: row.status.as_str(),
            status_text: station_text(row.status),
            collector_operator_id: row.operator_id,
            collector_name: row.collector_name,
            device_id: row.device,
            device_model: row.robot_name.clone(),
            robot_name: row.robot_name,
        }
    }
}

fn station_text(status: StationStatus) -> &'static str {
    match status {
        StationStatus::Active => "在线",
        StationStatus::Inactive => "待命中",
        StationStatus::Break => "休息中",
        StationStatus::Offline => "离线",
    }
}

/// One batch.
#[derive(Debug, Serialize, ToSchema)]
struct BatchCard {
    /// The batch.
    id: TextId,
    /// As people know it.
    batch_id: String,
    /// Its order.
    order_id: TextId,
    /// The order's name.
    order_name: String,
    /// Where it is recorded.
    scene_name: String,
    /// At which workstation.
    workstation_id: TextId,
    /// By which robot.
    device_id: String,
    /// By whom.
    collector_operator_id: String,
    /// Their name.
    collector_name: String,
    /// Its tasks.
    task_count: i64,
    /// Those that are completed.
    completed_count: i64,
    /// Those that failed.
    failed_count: i64,
    /// Those that were cancelled.
    cancelled_count: i64,
}

impl From<WatchedBatch> for BatchCard {
    fn from(row: WatchedBatch) -> Self {
        Self {
            id: TextId(row.id.0),
            batch_id: row.batch_id,
            order_id: TextId(row.order.0),
            order_name: row.order_name,
            scene_name: row.scene_name,
            workstation_id: TextId(row.station.0),
            device_id: row.device,
            collector_operator_id: row.operator_id,
            collector_name: row.collector_name,
            task_count: row.tasks,
            completed_count: row.completed,
            failed_count: row.failed,
            cancelled_count: row.cancelled,
        }
    }
}

/// One task that is being recorded.
#[derive(Debug, Serialize, ToSchema)]
struct TaskCard {
    /// As devices know it.
    id: String,
    /// By which procedure.
    sop_id: TextId,
    /// Its slug and version.
    sop_label: String,
    /// Where: scene and subscene.
    scene_full: String,
    /// By which robot.
    device_id: String,
    /// By whom.
    collector_operator_id: String,
    /// Their name.
    collector_name: String,
}

impl From<WatchedTask> for TaskCard {
    fn from(row: WatchedTask) -> Self {
        Self {
            id: row.public_id,
            sop_id: TextId(row.sop.0),
            sop_label: row.sop_label,
            scene_full: place(&row.scene_name, &row.subscene_name, "@").unwrap_or_else(|| "-".to_owned()),
            device_id: row.device,
            collector_operator_id: row.operator_id,
            collector_name: row.collector_name,
        }
    }
}

impl ProductionSnapshot {
    /// None found: there is nothing to see.
    pub fn of(found: Option<Snapshot>, shape: &Shape, scope: WatchedScope, now: Timestamp, as_of: counted::AsOf) -> Self {
        let mut days = if found.is_some() { days(shape) } else { vec![] };
        let found = found.unwrap_or_default();
        for row in &found.days {
            let Some((_, day)) = days.iter_mut().find(|(date, _)| *date == row.day) else { continue };
            day.total += row.tasks;
            match row.status {
                TaskStatus::Completed => day.completed += row.tasks,
                TaskStatus::InProgress => day.in_progress += row.tasks,
                TaskStatus::Uploading => day.uploading += row.tasks,
                TaskStatus::Pending | TaskStatus::Ready => day.pending += row.tasks,
                TaskStatus::Failed => day.failed += row.tasks,
                TaskStatus::Cancelled => {}
            }
        }
        let mut of = StatusCounts::default();
        for row in &found.tasks {
            of.add(row.status, row.tasks);
        }
        let online = found.stations.iter().filter(|station| station.status == StationStatus::Active).count();
        let duration_ms = found.episodes.iter().map(|row| row.duration_ms).sum();
        Self {
            generated_at: now.into(),
            scope,
            tasks: TaskCounts { total: of.total(), of },
            trend: days.into_iter().map(|(_, day)| day).collect(),
            distributions: Distributions { scene: shown(found.scenes), sop: shown(found.sops) },
            quality: Quality::of(&found.episodes),
            system: SystemNumbers {
                operating_days: operating_days(found.first_task_us, now),
                total_data_duration_sec: seconds(duration_ms),
                online_stations: i64::try_from(online).unwrap_or(i64::MAX),
            },
            stations: shown(found.stations),
            active_batches: shown(found.batches),
            active_tasks: shown(found.active_tasks),
            as_of: as_of.into(),
        }
    }
}

fn shown<R, T: From<R>>(rows: Vec<R>) -> Vec<T> {
    rows.into_iter().map(T::from).collect()
}

/// Whole days since the first task, and one; 0 without any.
fn operating_days(first_us: i64, now: Timestamp) -> i64 {
    let since = |first: Timestamp| (now - first).max(TimeDelta::zero()).num_days() + 1;
    if first_us == 0 { 0 } else { Timestamp::from_timestamp_micros(first_us).map_or(0, since) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_day_is_one_and_each_whole_day_one_more() {
        let first: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let days = |later: i64| operating_days(first.timestamp_micros(), first + TimeDelta::seconds(later));
        assert_eq!([days(0), days(86_399), days(86_400), days(-5), operating_days(0, first)], [1, 1, 2, 1, 0]);
    }
}
