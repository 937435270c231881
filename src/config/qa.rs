//! `[qa]`: how episodes are judged.

use std::time::Duration;

use serde::Deserialize;

use super::check::Findings;
use super::forms::seconds;

const WORKERS_MAX: usize = 64;
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Qa {
    pub enabled: bool,
    pub auto_approve_threshold: f64,
    pub bulk_workers: usize,
    #[serde(rename = "timeout_s", deserialize_with = "seconds")]
    pub timeout: Duration,
}

impl Qa {
    pub(super) fn check(&self, findings: &mut Findings) {
        let share = (0.0..=1.0).contains(&self.auto_approve_threshold);
        findings.need(share, "`qa.auto_approve_threshold` must be from 0 to 1");
        findings.need(self.bulk_workers <= WORKERS_MAX, format!("`qa.bulk_workers` must be at most {WORKERS_MAX}"));
        findings.need_at_most("qa.timeout_s", self.timeout, TIMEOUT_MAX, "an episode is held for as long, and by a run that died, too");
    }
}
