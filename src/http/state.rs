//! What every handler can reach.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use uuid::Uuid;

use super::audit::Recorder;
use super::auth::passwords::Logins;
use super::auth::tokens::Tokens;
use super::fleet::Fleet;
use super::limits::{Limits, Throttle};
use super::live::Live;
use super::neighbours;
use super::objects::Objects;
use super::probe::Probes;
use super::settings::{AuthMode, EdgeSettings};
use crate::certificates::{Certificates, LogSigner};
use crate::commands::Commands;
use crate::commands::access_records::AccessRecords;
use crate::commands::callbacks::CallbackTokens;
use crate::commands::waits::Waits;
use crate::domain::alert::Alerts;
use crate::projections::reads::Reads;
use crate::qa::Runs;
use crate::telemetry::activity::Activity;

/// `Idempotency-Key`s of callers without a login, from one address. In strict mode only registrations take one.
const ANONYMOUS_KEYS_PER_MINUTE: u32 = 300;

/// What the edge does things through, beside commands: robots, the store, runs of the checks, and what signs certificates and heads of the log.
pub struct Means {
    pub fleet: Fleet,
    pub objects: Objects,
    pub runs: Runs,
    pub certificates: Certificates,
    pub log: LogSigner,
}

#[derive(Clone)]
pub struct AppState {
    pub commands: Commands,
    pub reads: Reads,
    pub fleet: Fleet,
    pub objects: Objects,
    pub runs: Runs,
    pub certificates: Certificates,
    pub log: LogSigner,
    pub settings: Arc<EdgeSettings>,
    pub tokens: Tokens,
    pub logins: Arc<Logins>,
    pub callback_tokens: CallbackTokens,
    pub registrations: Arc<Throttle>,
    pub anonymous_keys: Arc<Throttle>,
    pub limits: Arc<Limits>,
    /// Records who read, took away or was refused what.
    pub audit: Arc<Recorder>,
    pub live: Arc<Live>,
    /// For the other processes of the site.
    pub neighbours: reqwest::Client,
    pub probes: Arc<Probes>,
    /// This process, where it has a row among those that share the database.
    pub process: Option<Uuid>,
    /// Hears which callers wait no more.
    pub waits: Waits,
    /// Renders the measurements for Prometheus.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// What a person has to look at.
    pub alerts: Arc<Mutex<Alerts>>,
    /// How deliveries go.
    pub activity: Arc<Activity>,
}

impl AppState {
    /// What readiness asks: the row of this process, and the folder it keeps its data in, if it keeps any.
    pub fn probing(self, process: Uuid, disk: Option<PathBuf>) -> Self {
        Self { probes: Arc::new(Probes::of(process, disk)), process: Some(process), ..self }
    }

    /// Where it is noted that callers wait no more.
    pub fn noting(self, waits: Waits) -> Self {
        Self { waits, ..self }
    }

    /// Where it is recorded who read, took away or was refused what.
    pub fn recording(self, records: AccessRecords) -> Self {
        let audit = Arc::new(Recorder::new(records, self.settings.refusals_per_minute_max));
        Self { audit, ..self }
    }

    /// What is told of the figures that are looked up, and of deliveries.
    pub fn showing(self, alerts: Arc<Mutex<Alerts>>, activity: Arc<Activity>) -> Self {
        Self { alerts, activity, ..self }
    }

    pub fn new(
        commands: Commands,
        reads: Reads,
        Means { fleet, objects, runs, certificates, log }: Means,
        live: Arc<Live>,
        settings: EdgeSettings,
        metrics: Arc<dyn Fn() -> String + Send + Sync>,
    ) -> anyhow::Result<Self> {
        if settings.auth_mode == AuthMode::Compat {
            tracing::warn!(
                "auth.mode is `compat`: ANYBODY who reaches this server can read and change orders, batches, tasks and the registry"
            );
        }
        let tokens = Tokens::new(&settings.jwt_secret, &settings.jwt_issuer, settings.jwt_lifetime, settings.link_lifetime);
        let registrations = Arc::new(Throttle::new(settings.registrations_per_minute, 60));
        Ok(Self {
            callback_tokens: CallbackTokens::new(&settings.jwt_secret),
            registrations,
            audit: Arc::new(Recorder::new(AccessRecords::default(), settings.refusals_per_minute_max)),
            limits: Arc::new(Limits::new(settings.requests)),
            anonymous_keys: Arc::new(Throttle::new(ANONYMOUS_KEYS_PER_MINUTE, 60)),
            live,
            neighbours: neighbours::client()?,
            commands,
            reads,
            fleet,
            objects,
            runs,
            certificates,
            log,
            settings: Arc::new(settings),
            tokens,
            logins: Arc::new(Logins::new()?),
            probes: Arc::new(Probes::default()),
            process: None,
            waits: Waits::default(),
            metrics,
            alerts: Arc::default(),
            activity: Arc::default(),
        })
    }
}
