//! `[telemetry]`: what is logged, and how.

use serde::Deserialize;

use super::check::Findings;
use super::forms::{is_endpoint, set_or_none};

const ENDPOINT: &str = "`telemetry.otlp_endpoint` must be http:// or https:// and a host, without a user, a password or a query";

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
    /// Without a slash at its end.
    #[serde(deserialize_with = "set_or_none")]
    pub otlp_endpoint: Option<String>,
}

impl Telemetry {
    pub(super) fn check(&mut self, findings: &mut Findings) {
        if let Some(url) = &mut self.otlp_endpoint {
            *url = url.trim_end_matches('/').to_owned();
            findings.need(is_endpoint(url), ENDPOINT);
        }
        findings.need(
            self.log.as_ref().is_none_or(|log| tracing_subscriber::EnvFilter::try_new(log).is_ok()),
            "`telemetry.log` must be a level or a list of targets with levels",
        );
    }
}
