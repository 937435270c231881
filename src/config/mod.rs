//! Typed settings.
//!
//! Three layers: `config/default.toml` (compiled in, and the documentation of every
//! key), an optional file, `KEYSTONE_*` variables. They are read once, checked as a
//! whole, and handed out in sections. Beside them `keystone demo` and `keystone simulate` (how much they log, and the options of
//! the latter), the log (`NO_COLOR`) and the search for the programs of Postgres (`PATH`) read the environment.
//!
//! Every key stands in the default file. So a key that is not there is a mistake,
//! and so is one whose type differs; both are reported with where they stand. The
//! names of variables that deployments of the predecessor carry are all understood;
//! those without a meaning here become [`Config::notices`] instead of errors.
//!
//! A section is a file: its keys, their forms, and what it checks. `tests/it/settings.rs`
//! looks whether every key is read.

mod audit;
mod auth;
mod bandwidth;
mod bulk_runs;
mod certificates;
mod check;
mod copies;
mod database;
mod devices;
mod embedded;
mod environment;
mod error;
mod forms;
mod given;
mod http;
mod inspection;
mod layers;
mod limits;
mod listing;
mod log;
mod outbox;
mod outside_checks;
mod qa;
mod requests;
mod s3;
mod secret;
mod sequencer;
mod sync;
mod telemetry;
#[cfg(test)]
mod tests;
mod webhooks;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::Value;

pub use audit::Audit;
pub use auth::{Auth, AuthMode};
pub use bandwidth::{Bandwidth, ByTime};
pub use bulk_runs::BulkRuns;
pub use certificates::Certificates;
pub use copies::{EdgeCopies, Patrol};
pub use database::{Database, parse_url};
pub use devices::{CallbackProof, DeviceAuth, Devices};
pub use embedded::Embedded;
pub use environment::variable;
pub use error::ConfigError;
pub use given::Given;
pub use http::{Http, host_name, reachable};
pub use inspection::{Inspection, InspectorLevel};
pub use layers::DEFAULTS;
pub use limits::Limits;
pub use listing::{Origin, Setting, settings};
pub use log::Log;
pub use outbox::{Delivery, OnExhausted, Ordering, Outbox};
pub use outside_checks::OutsideChecks;
pub use qa::Qa;
pub use requests::Requests;
pub use s3::{S3, SharedKey};
pub use secret::Secret;
pub use sequencer::Sequencer;
pub use sync::{CloudGateway, CloudReceiver, CloudS3, CloudSync};
pub use telemetry::{LogFormat, Telemetry};
pub use webhooks::Webhooks;

use check::Findings;

/// All settings, checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub factory_id: String,
    pub http: Http,
    pub database: Database,
    pub embedded: Embedded,
    pub s3: S3,
    pub auth: Auth,
    pub audit: Audit,
    pub devices: Devices,
    pub outbox: Outbox,
    pub qa: Qa,
    pub inspection: Inspection,
    pub outside_checks: OutsideChecks,
    pub requests: Requests,
    pub bulk_runs: BulkRuns,
    pub certificates: Certificates,
    pub log: Log,
    pub sequencer: Sequencer,
    pub sync: CloudSync,
    pub edge_copies: EdgeCopies,
    pub patrol: Patrol,
    pub limits: Limits,
    pub telemetry: Telemetry,
    pub webhooks: Webhooks,
    /// What an operator should know about the given settings; logged at start.
    #[serde(skip)]
    pub notices: Vec<String>,
}

/// What the settings are read for: a command asks for what it needs and for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Everything is needed, and checked as a whole.
    Serve,
    /// A database that is there, and nothing else.
    Database,
    /// Where the keys of certificates lie, and nothing else.
    Keys,
    /// A server whose database and store are embedded, whatever the settings name.
    Embedded,
}

impl Config {
    /// The settings of a server, from `file` (or what KEYSTONE_CONFIG names) and the environment.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::of(&Given::read(file)?, Purpose::Serve)
    }

    /// What was given, checked as far as the purpose needs it.
    pub fn of(given: &Given, purpose: Purpose) -> Result<Self, ConfigError> {
        Self::from_layers(purpose, given.file(), &given.environment)
    }

    /// The same from values, for tests and for programs that start a server inside
    /// themselves. `file` is its name and its text.
    pub fn from_parts(file: Option<(&str, &str)>, environment: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        Self::from_layers(Purpose::Serve, file, environment)
    }

    fn from_layers(purpose: Purpose, file: Option<(&str, &str)>, environment: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut settings = layers::parse("config/default.toml", DEFAULTS)?;
        if let Some((name, text)) = file {
            layers::merge(&mut settings, layers::parse(name, text)?, name, "")?;
        }
        let mut findings = Findings::default();
        environment::apply(&mut settings, environment, &mut findings.notices)?;
        layers::complete_subscribers(&mut settings);
        match purpose {
            Purpose::Serve => {}
            // The others are as they are by default, whatever was given.
            Purpose::Database => layers::reset(&mut settings, |key| !["database", "embedded", "certificates", "log"].contains(&key))?,
            Purpose::Keys => layers::reset(&mut settings, |key| !["embedded", "certificates", "log"].contains(&key))?,
            Purpose::Embedded => layers::reset(&mut settings, |key| ["database", "s3"].contains(&key))?,
        }
        findings.need_more_than_none(&settings, "");

        let mut config: Config =
            Value::Table(settings).try_into().map_err(|error: toml::de::Error| ConfigError::Invalid(error.message().to_owned()))?;
        config.check(purpose, &mut findings);
        if !findings.wrong.is_empty() {
            return Err(ConfigError::Refused(findings.wrong));
        }
        config.notices = findings.notices;
        Ok(config)
    }

    /// The settings without a file and without an environment.
    pub fn defaults() -> Self {
        Self::from_parts(None, &BTreeMap::new()).expect("the compiled-in defaults are valid")
    }

    /// Fills what follows from other keys and checks the whole, so that an operator
    /// sees every mistake at once.
    fn check(&mut self, purpose: Purpose, findings: &mut Findings) {
        self.http.check(findings);
        self.database.check(findings);
        self.s3.check(&self.factory_id, findings);
        self.auth.check(findings);
        self.audit.check(findings);
        self.devices.check(findings);
        self.outbox.check(findings);
        self.qa.check(findings);
        self.inspection.check(findings);
        self.outside_checks.check(findings);
        self.sync.check(findings);
        self.log.check(findings);
        self.edge_copies.check(self.s3.is_embedded(), findings);
        self.patrol.check(findings);
        self.telemetry.check(findings);
        findings.need(
            purpose == Purpose::Database || self.database.is_embedded() || self.auth.jwt_secret.is_some(),
            "with `database.url`, `auth.jwt_secret` (KEYSTONE_JWT_SECRET) is required: every process has to sign alike",
        );
    }
}
