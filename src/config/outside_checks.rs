//! `[outside_checks]`: how checkers that are programs elsewhere work.

use std::time::Duration;

use serde::Deserialize;

use super::check::Findings;
use super::forms::seconds;

const LEASE_MAX: Duration = Duration::from_secs(3600);
const ATTEMPTS_MAX: u32 = 20;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutsideChecks {
    #[serde(rename = "lease_s", deserialize_with = "seconds")]
    pub lease: Duration,
    pub claims_max: u32,
}

impl OutsideChecks {
    pub(super) fn check(&self, findings: &mut Findings) {
        findings.need_at_most("outside_checks.lease_s", self.lease, LEASE_MAX, "a job waits for so long for a checker that died");
        findings.need(self.claims_max <= ATTEMPTS_MAX, format!("`outside_checks.claims_max` must be at most {ATTEMPTS_MAX}"));
    }
}
