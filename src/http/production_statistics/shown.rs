//! What statistics answer.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::episode::QaStatus;
use crate::http::wire::{Paged, WholeSecond};
use crate::http::words::{CountedByWord, EpisodeWord, GranularityWord, QaStatusWord, SuccessWord};
use crate::projections::reads::counted;
use crate::projections::reads::counted_days::{Bucket, Group};
use crate::projections::reads::counted_groups::{CountedBy, Figures, Summary};
use crate::projections::reads::counted_records::CountedEpisode;

/// How far statistics are.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct AsOf {
    /// Every event up to this position of the log is counted.
    pub position: i64,
    /// For how long the oldest event that is not counted has been waiting, in seconds; 0 where all are.
    pub behind_s: f64,
}

impl From<counted::AsOf> for AsOf {
    fn from(as_of: counted::AsOf) -> Self {
        Self { position: as_of.position, behind_s: (as_of.behind_s.max(0.0) * 1000.0).round() / 1000.0 }
    }
}

/// How many there are.
#[derive(Debug, Serialize, ToSchema)]
pub struct Counts {
    /// Episodes.
    total: i64,
    /// All of them: only a recording that was verified is an episode.
    success: i64,
    /// None.
    failed: i64,
    /// None.
    processing: i64,
    /// 1; 0 where there are none.
    success_rate: f64,
}

/// How long they are. One whose duration is not known is in none of these.
#[derive(Debug, Serialize, ToSchema)]
pub struct Durations {
    /// All together; left out where it is 0.
    #[serde(skip_serializing_if = "is_zero")]
    total_ms: i64,
    /// On average.
    avg_ms: i64,
    /// What 95 of 100 do not exceed, by nearest rank; 0 in a trend and a breakdown.
    p95_ms: i64,
    /// The longest.
    max_ms: i64,
}

/// How large their recordings are.
#[derive(Debug, Serialize, ToSchema)]
pub struct Sizes {
    /// All together; left out where it is 0.
    #[serde(skip_serializing_if = "is_zero")]
    total_bytes: i64,
    /// The same.
    #[serde(skip_serializing_if = "is_zero")]
    success_bytes: i64,
    /// On average.
    avg_bytes: i64,
    /// The largest.
    max_bytes: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// To whole numbers, a half up.
fn average(sum: i64, of: i64) -> i64 {
    if of == 0 { 0 } else { i64::try_from((2 * i128::from(sum) + i128::from(of)) / (2 * i128::from(of))).unwrap_or(i64::MAX) }
}

fn share(part: i64, whole: i64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Counts {
    fn of(total: i64) -> Self {
        Self { total, success: total, failed: 0, processing: 0, success_rate: share(total, total) }
    }
}

impl Durations {
    fn of(total_ms: i64, timed: i64, p95_ms: i64, max_ms: i64) -> Self {
        Self { total_ms, avg_ms: average(total_ms, timed), p95_ms, max_ms }
    }
}

impl Sizes {
    fn of(total_bytes: i64, episodes: i64, max_bytes: i64) -> Self {
        Self { total_bytes, success_bytes: total_bytes, avg_bytes: average(total_bytes, episodes), max_bytes }
    }
}

fn groups_of(figures: &Figures) -> (Counts, Durations, Sizes) {
    let f = figures;
    let duration = Durations::of(f.duration_ms, f.timed, 0, f.longest_ms);
    (Counts::of(f.episodes), duration, Sizes::of(f.size_bytes, f.episodes, f.largest_bytes))
}

/// What came of quality assurance.
#[derive(Debug, Serialize, ToSchema)]
pub struct QaCounts {
    /// Approved by the checks or by an inspector.
    approved: i64,
    /// Their share of all, 0 to 1.
    pass_rate: f64,
}

/// How many are in the cloud.
#[derive(Debug, Serialize, ToSchema)]
pub struct CloudCounts {
    /// In the cloud.
    synced: i64,
    /// Not there.
    unsynced: i64,
    /// The share of those that are, 0 to 1.
    sync_rate: f64,
}

/// Beside the window of equal length before.
#[derive(Debug, Serialize, ToSchema)]
pub struct Comparison {
    /// How many there were in it.
    previous_total_count: i64,
    /// By what share there are more now. Where there were none: 1, or 0 where there are none now either.
    count_change_rate: f64,
}

/// Statistics of a window.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProductionSummary {
    /// How many.
    count: Counts,
    /// How long.
    duration: Durations,
    /// How large.
    size: Sizes,
    /// How good.
    qa: QaCounts,
    /// Where they are.
    cloud_sync: CloudCounts,
    /// More, or fewer, than before.
    compare: Comparison,
    /// How far statistics are.
    as_of: AsOf,
}

impl ProductionSummary {
    pub fn of(summary: &Summary, as_of: counted::AsOf) -> Self {
        let (s, f) = (summary, &summary.figures);
        let change = match s.earlier {
            0 => f64::from(u8::from(f.episodes > 0)),
            _ => (f.episodes - s.earlier) as f64 / s.earlier as f64,
        };
        Self {
            count: Counts::of(f.episodes),
            duration: Durations::of(f.duration_ms, f.timed, s.p95_ms, f.longest_ms),
            size: Sizes::of(f.size_bytes, f.episodes, f.largest_bytes),
            qa: QaCounts { approved: s.approved, pass_rate: share(s.approved, f.episodes) },
            cloud_sync: CloudCounts { synced: s.synced, unsynced: f.episodes - s.synced, sync_rate: share(s.synced, f.episodes) },
            compare: Comparison { previous_total_count: s.earlier, count_change_rate: change },
            as_of: as_of.into(),
        }
    }
}

/// Statistics by time.
#[derive(Debug, Serialize, ToSchema)]
pub struct Trend {
    /// How long a bucket is.
    #[schema(value_type = GranularityWord)]
    pub granularity: &'static str,
    /// Those with episodes, the earliest first.
    pub items: Vec<TrendItem>,
    /// How far statistics are.
    pub as_of: AsOf,
}

/// One stretch of time.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrendItem {
    /// When it begins.
    time: WholeSecond,
    /// How many.
    count: Counts,
    /// How long.
    duration: Durations,
    /// How large.
    size: Sizes,
}

impl From<Bucket<Figures>> for TrendItem {
    fn from(bucket: Bucket<Figures>) -> Self {
        let (count, duration, size) = groups_of(&bucket.figures);
        Self { time: bucket.begins_at.into(), count, duration, size }
    }
}

/// Statistics by what episodes have in common.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProductionBreakdown {
    /// What that is.
    #[schema(value_type = CountedByWord)]
    pub dimension: &'static str,
    /// One page of the groups.
    #[serde(flatten)]
    pub page: Paged<ProductionBreakdownItem>,
    /// How far statistics are.
    pub as_of: AsOf,
}

/// One group.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProductionBreakdownItem {
    /// What is the same for all of it, as filters take it.
    id: String,
    /// How people call that.
    name: String,
    /// How many.
    count: Counts,
    /// How long.
    duration: Durations,
    /// How large.
    size: Sizes,
}

impl ProductionBreakdownItem {
    pub fn of(group: Group<Figures>, by: CountedBy) -> Self {
        let (count, duration, size) = groups_of(&group.figures);
        let name = match by {
            CountedBy::QaStatus => group.id.parse().map_or(group.name, |status| qa_text(status).to_owned()),
            CountedBy::CloudSynced => if group.id == "true" { "已同步" } else { "未同步" }.to_owned(),
            CountedBy::Source
            | CountedBy::RobotDevice
            | CountedBy::RobotType
            | CountedBy::Collector
            | CountedBy::Scene
            | CountedBy::Sop => group.name,
        };
        Self { id: group.id, name, count, duration, size }
    }
}

/// How the contract's pages call it.
fn qa_text(status: QaStatus) -> &'static str {
    match status {
        QaStatus::PendingQa => "待质检",
        QaStatus::QaRunning => "质检中",
        QaStatus::Approved => "已通过",
        QaStatus::NeedsInspection => "需人工复核",
        QaStatus::InspectorApproved => "人工通过",
        QaStatus::Rejected => "已驳回",
        QaStatus::Failed => "质检失败",
    }
}

/// Single episodes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Details {
    /// One page of them.
    #[serde(flatten)]
    pub page: Paged<Record>,
    /// How far statistics are.
    pub as_of: AsOf,
}

/// One episode, as it is counted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Record {
    /// `episode:` and its number.
    id: String,
    /// When its task ended, or else when it was made.
    time: WholeSecond,
    /// The robot's device id.
    source_id: String,
    /// What the robot is called.
    source_name: String,
    /// The scene.
    scene_id: String,
    /// Its name.
    scene_name: String,
    /// The robot's device id.
    robot_device_id: String,
    /// What the robot was when it recorded it; empty where that is not known.
    robot_type_id: String,
    /// Its name.
    robot_type_name: String,
    /// Who recorded it, by the operator id that they have now.
    collector_operator_id: String,
    /// Their name.
    collector_name: String,
    /// The task, by the id that devices know.
    task_id: String,
    /// The same.
    task_name: String,
    /// The SOP.
    sop_id: String,
    /// Its slug and version.
    sop: String,
    /// There is one kind.
    #[schema(value_type = EpisodeWord)]
    data_type: &'static str,
    /// Only a recording that was verified is an episode.
    #[schema(value_type = SuccessWord)]
    status: &'static str,
    /// How far quality assurance is.
    #[schema(value_type = QaStatusWord)]
    qa_status: &'static str,
    /// Whether it is in the cloud.
    cloud_synced: bool,
    /// 1.
    count: i64,
    /// How long it is; null where that is not known.
    #[schema(required)]
    duration_ms: Option<i64>,
    /// How large it is.
    size_bytes: i64,
    /// Empty.
    error_code: &'static str,
    /// Empty.
    error_message: &'static str,
}

impl From<CountedEpisode> for Record {
    fn from(row: CountedEpisode) -> Self {
        Self {
            id: format!("episode:{}", row.id),
            time: row.happened_at.into(),
            source_id: row.source_id,
            source_name: row.source_name,
            scene_id: row.scene.to_string(),
            scene_name: row.scene_name,
            robot_device_id: row.device,
            robot_type_id: row.robot_type.map(|id| id.to_string()).unwrap_or_default(),
            robot_type_name: row.robot_type_name,
            collector_operator_id: row.operator_id,
            collector_name: row.collector_name,
            task_id: row.task_id.clone(),
            task_name: row.task_id,
            sop_id: row.sop.to_string(),
            sop: row.sop_label,
            data_type: "episode",
            status: "success",
            qa_status: row.qa_status.as_str(),
            cloud_synced: row.cloud_synced,
            count: 1,
            duration_ms: row.duration_ms,
            size_bytes: row.size_bytes,
            error_code: "",
            error_message: "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_rounded_and_nothing_is_0() {
        assert_eq!([average(5, 2), average(4, 3), average(0, 0), average(i64::MAX, 1)], [3, 1, 0, i64::MAX]);
        assert_eq!([share(0, 0), share(1, 4)], [0.0, 0.25]);
    }
}
