//! Runs of the checks: how they are made here, and the end of those that took too long or wait for nothing any more.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::commands::Commands;
use crate::commands::inspection::InspectionTerms;
use crate::commands::outside_jobs::OutsideLease;
use crate::config::{Config, InspectorLevel};
use crate::domain::episode::{Level, Levels};
use crate::domain::judgement::Suite;
use crate::qa::RunSettings;

/// Between looks for runs whose time is over.
const PAUSE: Duration = Duration::from_secs(5);

pub fn settings(config: &Config) -> RunSettings {
    RunSettings {
        timeout: config.qa.timeout,
        default_suite: Suite { approve_at: config.qa.auto_approve_threshold, ..Suite::default() },
        sidecar_bytes_max: config.limits.sidecar_bytes_max,
    }
}

/// How people decide.
pub fn inspection(config: &Config) -> InspectionTerms {
    let level = |level: InspectorLevel| match level {
        InspectorLevel::Level1 => Level::Level1,
        InspectorLevel::Level2 => Level::Level2,
        InspectorLevel::Senior => Level::Senior,
    };
    let levels = Levels {
        warnings: level(config.inspection.level_of_warnings),
        failures: level(config.inspection.level_of_failures),
        gates: level(config.inspection.level_of_gates),
    };
    InspectionTerms { lease: config.inspection.lease, second_share: config.inspection.second_share, levels }
}

/// How checkers elsewhere work.
pub fn outside(config: &Config) -> OutsideLease {
    OutsideLease { lease: config.outside_checks.lease, attempts_max: config.outside_checks.claims_max }
}

pub async fn end_overdue(commands: Commands, outside: OutsideLease, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match commands.end_overdue_qa_runs(&stop).await {
            Ok(0) => {}
            Ok(ended) => info!("{ended} runs of the checks took too long, and hold their episodes no more"),
            Err(error) => warn!(error = format!("{error:#}"), "Cannot look for runs that took too long: {error:#}"),
        }
        match commands.give_up_outside_jobs(outside, &stop).await {
            Ok(0) => {}
            Ok(given_up) => info!("{given_up} jobs of outside checks were not done: their episodes wait for them no more"),
            Err(error) => warn!(error = format!("{error:#}"), "Cannot look for outside jobs whose time is over: {error:#}"),
        }
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(PAUSE) => {} }
    }
}
