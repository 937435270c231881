//! `[telemetry]`: what is logged, and how.

use serde::Deserialize;

use super::check::Findings;
use super::forms::set_or_none;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// `None`: by where the log goes.
    #[serde(deserialize_with = "set_or_none")]
    pub log: Option<String>,
    pub log_format: LogFormat,
}

impl Telemetry {
    pub(super) fn check(&self, findings: &mut Findings) {
        findings.need(
            self.log.as_ref().is_none_or(|log| tracing_subscriber::EnvFilter::try_new(log).is_ok()),
            "`telemetry.log` must be a level or a list of targets with levels",
        );
    }
}
