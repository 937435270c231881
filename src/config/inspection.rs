//! `[inspection]`: how people decide about episodes.

use std::time::Duration;

use serde::Deserialize;

use super::check::Findings;
use super::forms::seconds;

/// What an inspector has to be for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InspectorLevel {
    #[serde(rename = "level_1")]
    Level1,
    #[serde(rename = "level_2")]
    Level2,
    Senior,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inspection {
    #[serde(rename = "lease_s", deserialize_with = "seconds")]
    pub lease: Duration,
    pub second_share: f64,
    pub level_of_warnings: InspectorLevel,
    pub level_of_failures: InspectorLevel,
    pub level_of_gates: InspectorLevel,
}

impl Inspection {
    pub(super) fn check(&self, findings: &mut Findings) {
        findings.need((0.0..=1.0).contains(&self.second_share), "`inspection.second_share` must be from 0 to 1");
    }
}
