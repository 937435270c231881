//! `[audit]`: what is recorded of who reads what.

use std::time::Duration;

use serde::Deserialize;

use super::check::Findings;
use super::forms::hours;

/// The table refuses to lose what is younger.
const KEPT_MIN: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    #[serde(rename = "access_records_kept_hours", deserialize_with = "hours")]
    pub access_records_kept: Duration,
    pub refusals_per_minute_max: u32,
}

impl Audit {
    pub(super) fn check(&self, findings: &mut Findings) {
        findings.need(self.access_records_kept >= KEPT_MIN, "`audit.access_records_kept_hours` must be at least 24");
    }
}
