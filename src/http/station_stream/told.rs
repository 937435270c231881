//! A verdict as its readers get it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::http::wire::WholeSecond;
use crate::http::words::{QaStatusWord, RunModeWord, VerdictWord};
use crate::projections::reads::verdicts::VerdictGiven;

/// What a run of the checks said of a recording.
#[derive(Debug, Serialize, ToSchema)]
pub struct StationVerdict {
    /// Its episode.
    episode_id: i64,
    /// The id that people and the cloud see.
    episode_public_id: String,
    /// Its task.
    task_id: i64,
    /// The id that devices know.
    task_public_id: String,
    /// What was found.
    #[schema(value_type = VerdictWord)]
    verdict: &'static str,
    /// Between 0 and 1.
    score: f64,
    /// What is wrong with it.
    #[schema(required)]
    flag: Option<String>,
    /// The status stayed as it was, because no run changes it.
    kept: bool,
    /// How the episode stands by now.
    #[schema(value_type = QaStatusWord)]
    qa_status: &'static str,
    /// Whether it ran by itself.
    #[schema(value_type = RunModeWord)]
    mode: &'static str,
    /// The rules.
    suite: String,
    /// Their version.
    suite_version: i32,
    /// When.
    at: WholeSecond,
}

impl From<VerdictGiven> for StationVerdict {
    fn from(row: VerdictGiven) -> Self {
        Self {
            episode_id: row.episode.0,
            episode_public_id: row.episode_id,
            task_id: row.task.0,
            task_public_id: row.task_id.into(),
            verdict: row.verdict.as_str(),
            score: row.score,
            flag: row.flag,
            kept: row.kept,
            qa_status: row.qa_status.as_str(),
            mode: row.mode.as_str(),
            suite: row.suite,
            suite_version: row.suite_version,
            at: row.at.into(),
        }
    }
}

/// What was said last of the newest recordings of a station.
#[derive(Debug, Serialize, ToSchema)]
pub struct StationSnapshot {
    /// Oldest first; at most twenty.
    pub verdicts: Vec<StationVerdict>,
}
