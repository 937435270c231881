//! `[telemetry]`: what is logged, and how.

use serde::Deserialize;

use super::check::Findings;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    pub log: String,
    pub log_format: LogFormat,
}

impl Telemetry {
    pub(super) fn check(&self, findings: &mut Findings) {
        findings.need(
            tracing_subscriber::EnvFilter::try_new(&self.log).is_ok(),
            "`telemetry.log` must be a level or a list of targets with levels",
        );
    }
}
