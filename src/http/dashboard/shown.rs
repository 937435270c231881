//! What both dashboards show, and how the contract's pages call it.

use chrono::TimeDelta;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::episode::QaStatus;
use crate::domain::task::TaskStatus;
use crate::projections::reads::dashboard::{EpisodesOf, Shape};

/// How many tasks are how far.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub struct StatusCounts {
    /// Not configured yet.
    pub pending: i64,
    /// Configured.
    pub ready: i64,
    /// Being recorded.
    pub in_progress: i64,
    /// Being uploaded and verified.
    pub uploading: i64,
    /// Done.
    pub completed: i64,
    /// Failed.
    pub failed: i64,
    /// Cancelled.
    pub cancelled: i64,
}

impl StatusCounts {
    pub fn add(&mut self, status: TaskStatus, tasks: i64) {
        *match status {
            TaskStatus::Pending => &mut self.pending,
            TaskStatus::Ready => &mut self.ready,
            TaskStatus::InProgress => &mut self.in_progress,
            TaskStatus::Uploading => &mut self.uploading,
            TaskStatus::Completed => &mut self.completed,
            TaskStatus::Failed => &mut self.failed,
            TaskStatus::Cancelled => &mut self.cancelled,
        } += tasks;
    }

    pub fn total(&self) -> i64 {
        self.pending + self.ready + self.in_progress + self.uploading + self.completed + self.failed + self.cancelled
    }

    /// In the order of a task's life.
    pub fn each(&self) -> [(TaskStatus, i64); 7] {
        [
            (TaskStatus::Pending, self.pending),
            (TaskStatus::Ready, self.ready),
            (TaskStatus::InProgress, self.in_progress),
            (TaskStatus::Uploading, self.uploading),
            (TaskStatus::Completed, self.completed),
            (TaskStatus::Failed, self.failed),
            (TaskStatus::Cancelled, self.cancelled),
        ]
    }
}

/// One day of a trend.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct TrendDay {
    /// Month and day: `11-28`.
    pub date: String,
    /// How many there are.
    pub total: i64,
    /// Completed tasks.
    pub completed: i64,
    /// Tasks that are being recorded.
    pub in_progress: i64,
    /// Tasks that are being uploaded.
    pub uploading: i64,
    /// Tasks that wait, configured or not.
    pub pending: i64,
    /// Failed tasks.
    pub failed: i64,
}

/// What came of quality assurance.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub struct Quality {
    /// Passed episodes in percent of those that were inspected.
    pub pass_rate: f64,
    /// All but those that wait for the checks.
    pub total_inspected: i64,
    /// Approved by the checks or by an inspector.
    pub passed: i64,
    /// Rejected by an inspector. One that failed its checks waits for an inspector, or for another run: it is inspected, and neither.
    pub failed: i64,
    /// Waiting for an inspector.
    pub inspecting: i64,
    /// Waiting for the checks.
    pub pending_qa: i64,
}

impl Quality {
    pub fn of(episodes: &[EpisodesOf]) -> Self {
        let mut quality = Self::default();
        for row in episodes {
            match row.qa_status {
                QaStatus::PendingQa => quality.pending_qa += row.episodes,
                QaStatus::Approved | QaStatus::InspectorApproved => quality.passed += row.episodes,
                QaStatus::Rejected => quality.failed += row.episodes,
                QaStatus::NeedsInspection => quality.inspecting += row.episodes,
                QaStatus::QaRunning | QaStatus::Failed => {}
            }
            if row.qa_status != QaStatus::PendingQa {
                quality.total_inspected += row.episodes;
            }
        }
        quality.pass_rate = percent(quality.passed, quality.total_inspected);
        quality
    }
}

/// To one decimal; 0 of nothing.
pub fn percent(part: i64, whole: i64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 1000.0).round() / 10.0 }
}

/// Milliseconds as seconds, to two decimals.
pub fn seconds(ms: i64) -> f64 {
    (ms as f64 / 10.0).round() / 100.0
}

/// The days of a trend, the oldest first, with nothing in them.
pub fn days(shape: &Shape) -> Vec<(chrono::NaiveDate, TrendDay)> {
    let ahead = TimeDelta::minutes(shape.minutes_ahead);
    let all = (shape.until - shape.from).num_days();
    let day = |n: i64| {
        let date = (shape.from + ahead + TimeDelta::days(n)).date_naive();
        (date, TrendDay { date: date.format("%m-%d").to_string(), ..TrendDay::default() })
    };
    (0..all).map(day).collect()
}

pub fn status_text(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Pending => "待开始",
        TaskStatus::Ready => "就绪",
        TaskStatus::InProgress => "进行中",
        TaskStatus::Uploading => "上传中",
        TaskStatus::Completed => "已完成",
        TaskStatus::Failed => "失败",
        TaskStatus::Cancelled => "已取消",
    }
}

/// Scene and subscene, as far as there are any.
pub fn place(scene: &str, subscene: &str, between: &str) -> Option<String> {
    match (scene.trim(), subscene.trim()) {
        ("", "") => None,
        (one, "") | ("", one) => Some(one.to_owned()),
        (scene, subscene) => Some(format!("{scene}{between}{subscene}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(qa_status: QaStatus, episodes: i64) -> EpisodesOf {
        EpisodesOf { qa_status, episodes, duration_ms: 0, size_bytes: 0 }
    }

    #[test]
    fn mn_26_what_failed_its_checks_is_inspected_and_neither_passed_nor_failed() {
        let all: Vec<EpisodesOf> = QaStatus::ALL.iter().map(|status| of(*status, 1)).collect();
        let quality = Quality::of(&all);
        assert_eq!((quality.total_inspected, quality.passed, quality.failed, quality.inspecting, quality.pending_qa), (6, 2, 1, 1, 1));
        assert!((quality.pass_rate - 33.3).abs() < 1e-9);
        assert!(Quality::of(&[]).pass_rate.abs() < 1e-9);
    }

    #[test]
    fn a_place_is_named_as_far_as_it_is_known() {
        let named = [place("a", "b", "@"), place("a", " ", "@"), place("", "b", " / "), place("", "", "@")];
        assert_eq!(named, [Some("a@b".into()), Some("a".into()), Some("b".into()), None]);
    }
}
