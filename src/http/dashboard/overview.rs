//! `/production/dashboard/overview`.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::asked::WatchedScope;
use super::shown::{Quality, StatusCounts, TrendDay, days, percent, place, seconds, status_text};
use crate::domain::Timestamp;
use crate::domain::episode::QaStatus;
use crate::http::auth::Role;
use crate::http::production_statistics::AsOf;
use crate::http::wire::{TextId, WholeSecond};
use crate::http::words::TaskStatusWord;
use crate::projections::reads::counted;
use crate::projections::reads::dashboard::{Overview, Preview, Shape, UploadsOf, WatchedTask};

/// Production in numbers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProductionOverview {
    /// When it was so.
    generated_at: WholeSecond,
    /// Whom it is shown, and of what.
    scope: WatchedScope,
    /// The numbers.
    summary: OverviewNumbers,
    /// Episodes by the day on which they happened, today last; only `total` is filled.
    trend: Vec<TrendDay>,
    /// Tasks by how far they are; where there are none is left out.
    task_status_distribution: Vec<StatusShare>,
    /// What came of episodes.
    quality: OverviewQuality,
    /// Robots.
    devices: Devices,
    /// Workstations.
    stations: Stations,
    /// How long recordings took to arrive, of the last hour.
    uploads: Uploads,
    /// The tasks that changed last.
    recent_tasks: Vec<RecentTask>,
    /// The newest episodes whose recording can be had.
    previews: Vec<EpisodePreview>,
    /// How far what is counted is.
    as_of: AsOf,
}

/// The numbers of an overview.
#[derive(Debug, Serialize, ToSchema)]
struct OverviewNumbers {
    /// Tasks of all time.
    total_tasks: i64,
    /// Episodes of all time.
    total_episodes: i64,
    /// Tasks that were assigned today.
    today_tasks: i64,
    /// Episodes of today.
    today_episodes: i64,
    /// Tasks that were completed today.
    completed_tasks: i64,
    /// Tasks that failed today.
    failed_tasks: i64,
    /// Tasks that are being recorded now.
    in_progress_tasks: i64,
    /// Tasks that are being uploaded now.
    uploading_tasks: i64,
    /// Tasks that are not configured yet.
    pending_tasks: i64,
    /// Tasks that were ever cancelled.
    cancelled_tasks: i64,
    /// Batches that are worked on: all of them, however many are shown elsewhere.
    active_batches: i64,
    /// Workstations that are at work.
    active_stations: i64,
    /// Workstations.
    total_stations: i64,
    /// Robots that are connected, in percent.
    robot_online_rate: f64,
    /// Episodes that passed, in percent of those that were inspected.
    quality_pass_rate: f64,
    /// How long all episodes are together.
    total_data_duration_sec: f64,
    /// How large.
    total_data_size_bytes: i64,
    /// How long those of today are.
    today_data_duration_sec: f64,
    /// How large.
    today_data_size_bytes: i64,
}

/// Tasks of one status.
#[derive(Debug, Serialize, ToSchema)]
struct StatusShare {
    /// How far they are.
    #[schema(value_type = TaskStatusWord)]
    status: &'static str,
    /// The same, for people.
    label: &'static str,
    /// How many there are.
    value: i64,
}

/// What came of episodes.
#[derive(Debug, Serialize, ToSchema)]
struct OverviewQuality {
    /// In numbers.
    #[serde(flatten)]
    of: Quality,
    /// Nothing.
    #[schema(value_type = Vec<Object>)]
    recent_failures: Vec<Value>,
}

/// Robots.
#[derive(Debug, Serialize, ToSchema)]
struct Devices {
    /// In numbers.
    summary: DeviceNumbers,
}

/// Robots in numbers.
#[derive(Debug, Default, Serialize, ToSchema)]
struct DeviceNumbers {
    /// All of them, whatever their status.
    total: i64,
    /// Connected with recorder and uploader.
    online: i64,
    /// The others.
    offline: i64,
    /// The share of those that are connected, in percent.
    online_rate: f64,
}

/// Workstations.
#[derive(Debug, Serialize, ToSchema)]
struct Stations {
    /// In numbers.
    summary: StationNumbers,
}

/// Workstations in numbers.
#[derive(Debug, Default, Serialize, ToSchema)]
struct StationNumbers {
    /// All that there are now.
    total: i64,
    /// Those that are not offline.
    online: i64,
    /// At work.
    active: i64,
    /// Without work.
    inactive: i64,
    /// On a break.
    #[serde(rename = "break")]
    on_break: i64,
    /// With nobody there.
    offline: i64,
    /// The share of those that are not offline, in percent.
    online_rate: f64,
}

/// How long recordings took from their end until they were verified; of a recording whose end nobody reported it is not known.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Uploads {
    /// How many were verified in the last hour.
    verified: i64,
    /// Half of them took no longer, in seconds.
    p50_s: f64,
    /// 95 of 100 took no longer.
    p95_s: f64,
    /// The longest.
    longest_s: f64,
}

impl From<UploadsOf> for Uploads {
    fn from(row: UploadsOf) -> Self {
        Self { verified: row.verified, p50_s: seconds(row.p50_ms), p95_s: seconds(row.p95_ms), longest_s: seconds(row.longest_ms) }
    }
}

/// A task that changed lately.
#[derive(Debug, Serialize, ToSchema)]
struct RecentTask {
    /// The task.
    id: TextId,
    /// As devices know it.
    task_id: String,
    /// Scene and subscene, or else the SOP.
    task_name: String,
    /// How far it is.
    #[schema(value_type = TaskStatusWord)]
    status: &'static str,
    /// The same, for people.
    status_text: &'static str,
    /// The robot's type.
    robot_name: String,
    /// At which workstation.
    station_name: String,
    /// Its batch, as people know it.
    batch_id: String,
    /// Where.
    scene_name: String,
    /// By which procedure.
    sop_label: String,
    /// Its episode; empty without one.
    episode_id: String,
    /// When it was assigned.
    created_at: WholeSecond,
    /// When it changed.
    updated_at: WholeSecond,
}

impl From<WatchedTask> for RecentTask {
    fn from(row: WatchedTask) -> Self {
        Self {
            id: TextId(row.id.0),
            task_id: row.public_id,
            task_name: place(&row.scene_name, &row.subscene_name, " / ").unwrap_or_else(|| row.sop_label.clone()),
            status: row.status.as_str(),
            status_text: status_text(row.status),
            robot_name: row.robot_name,
            station_name: row.station_name,
            batch_id: row.batch_id,
            scene_name: row.scene_name,
            sop_label: row.sop_label,
            episode_id: row.episode.map(|id| id.to_string()).unwrap_or_default(),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// An episode whose recording can be had.
#[derive(Debug, Serialize, ToSchema)]
struct EpisodePreview {
    /// The episode.
    id: TextId,
    /// Where it was recorded.
    scene_name: String,
    /// By which procedure.
    sop_label: String,
    /// The robot's type.
    device_type: String,
    /// The robot.
    device_id: String,
    /// At which workstation.
    station_name: String,
    /// How far its task is.
    status: &'static str,
    /// Empty.
    video_url: &'static str,
    /// Where a link to the recording is asked for; empty for a display, and where the caller would be refused.
    preview_url: String,
    /// Empty.
    poster_url: &'static str,
    /// How long it is.
    duration_seconds: f64,
    /// When it was made.
    created_at: WholeSecond,
    /// As people and the cloud know it.
    episode_id: String,
    /// Its task.
    task_id: TextId,
}

impl EpisodePreview {
    fn of(row: Preview, role: Option<Role>) -> Self {
        let sees = match role {
            Some(Role::Display) => false,
            Some(Role::DataCollector) => row.qa_status != QaStatus::Rejected,
            Some(Role::Admin | Role::ProductionManager | Role::DataInspector | Role::Auditor) | None => true,
        };
        Self {
            id: TextId(row.id.0),
            scene_name: row.scene_name,
            sop_label: row.sop_label,
            device_type: row.device_type,
            device_id: row.device,
            station_name: row.station_name,
            status: row.status.map_or(row.qa_status.as_str(), |status| status.as_str()),
            video_url: "",
            preview_url: if sees { format!("/api/v1/episodes/{}/presign?kind=mcap", row.id) } else { String::new() },
            poster_url: "",
            duration_seconds: seconds(row.duration_ms.unwrap_or_default()),
            created_at: row.created_at.into(),
            episode_id: row.public_id,
            task_id: TextId(row.task.0),
        }
    }
}

impl ProductionOverview {
    /// None found: there is nothing to see.
    pub fn of(
        found: Option<Overview>,
        shape: &Shape,
        scope: WatchedScope,
        now: Timestamp,
        as_of: counted::AsOf,
        role: Option<Role>,
    ) -> Self {
        let mut trend = if found.is_some() { days(shape) } else { vec![] };
        let found = found.unwrap_or_default();
        for row in &found.days {
            if let Some((_, day)) = trend.iter_mut().find(|(date, _)| *date == row.day) {
                day.total += row.episodes;
            }
        }
        let today = trend.last().and_then(|(date, _)| found.days.iter().find(|row| row.day == *date));
        let mut tasks = StatusCounts::default();
        for row in &found.tasks {
            tasks.add(row.status, row.tasks);
        }
        let quality = Quality::of(&found.episodes);
        let devices = found.robots.as_ref().map(|seen| DeviceNumbers {
            total: seen.robots,
            online: seen.online,
            offline: seen.robots - seen.online,
            online_rate: percent(seen.online, seen.robots),
        });
        let stations = found.stations.as_ref().map(|counted| {
            let online = counted.active + counted.inactive + counted.on_break;
            StationNumbers {
                total: counted.stations,
                online,
                active: counted.active,
                inactive: counted.inactive,
                on_break: counted.on_break,
                offline: counted.offline,
                online_rate: percent(online, counted.stations),
            }
        });
        let (devices, stations) = (devices.unwrap_or_default(), stations.unwrap_or_default());
        let summary = OverviewNumbers {
            total_tasks: tasks.total(),
            total_episodes: found.episodes.iter().map(|row| row.episodes).sum(),
            today_tasks: found.assigned_today,
            today_episodes: today.map_or(0, |row| row.episodes),
            completed_tasks: found.ended_today.as_ref().map_or(0, |ended| ended.completed),
            failed_tasks: found.ended_today.as_ref().map_or(0, |ended| ended.failed),
            in_progress_tasks: tasks.in_progress,
            uploading_tasks: tasks.uploading,
            pending_tasks: tasks.pending,
            cancelled_tasks: tasks.cancelled,
            active_batches: found.active_batches,
            active_stations: stations.active,
            total_stations: stations.total,
            robot_online_rate: devices.online_rate,
            quality_pass_rate: quality.pass_rate,
            total_data_duration_sec: seconds(found.episodes.iter().map(|row| row.duration_ms).sum()),
            total_data_size_bytes: found.episodes.iter().map(|row| row.size_bytes).sum(),
            today_data_duration_sec: seconds(today.map_or(0, |row| row.duration_ms)),
            today_data_size_bytes: today.map_or(0, |row| row.size_bytes),
        };
        let shares = tasks.each().into_iter().filter(|(_, value)| *value > 0);
        let share = |(status, value): (crate::domain::task::TaskStatus, i64)| StatusShare {
            status: status.as_str(),
            label: status_text(status),
            value,
        };
        Self {
            generated_at: now.into(),
            scope,
            summary,
            trend: trend.into_iter().map(|(_, day)| day).collect(),
            task_status_distribution: shares.map(share).collect(),
            quality: OverviewQuality { of: quality, recent_failures: vec![] },
            devices: Devices { summary: devices },
            stations: Stations { summary: stations },
            uploads: found.uploads.map(Uploads::from).unwrap_or_default(),
            recent_tasks: found.recent_tasks.into_iter().map(RecentTask::from).collect(),
            previews: found.previews.into_iter().map(|row| EpisodePreview::of(row, role)).collect(),
            as_of: as_of.into(),
        }
    }
}
