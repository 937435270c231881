//! The REST edge: routes, one file per resource; what is refused and how it is said; who may ask.
//!
//! A handler turns text into typed values, sends one command or asks one query, and shapes
//! the answer. Rules live in `domain`, rows in `projections`; a status code appears nowhere
//! but here.
//!
//! - [`routes`], [`policy`]: lists of routes, each with who may ask and how it is treated.
//! - [`router`]: all of them, and what surrounds them; [`openapi`] describes the same lists.
//! - [`auth`]: who asks, and the guard in front of all routes.
//! - [`problem`], [`extract`], [`intake`], [`wire`], [`request`]: errors, input, output, the request itself.
//! - [`fleet`], [`storage`]: what is asked of live devices and of the object store.

pub mod auth;
pub mod batches;
pub mod callbacks;
mod describe;
pub mod device_stream;
pub mod devices;
pub mod disk;
mod elsewhere;
pub mod episodes;
pub mod extract;
pub mod fleet;
pub mod health;
pub mod idempotency;
mod intake;
mod made;
#[cfg(test)]
mod matrix;
pub mod metrics;
pub mod orders;
pub mod policy;
mod probe;
pub mod problem;
pub mod recorder;
mod recorder_state;
pub mod registration;
pub mod registry;
pub mod request;
mod router;
mod routes;
pub mod stations;
pub mod statistics;
pub mod storage;
pub mod tasks;
pub mod transfer;
pub mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

pub use router::{openapi, router};

use crate::commands::Commands;
use crate::commands::callbacks::CallbackTokens;
use crate::projections::reads::Reads;
use auth::login::Logins;
use auth::throttle::Throttle;
use auth::tokens::Tokens;
use device_stream::DeviceStream;
use fleet::Fleet;
use health::Probes;
use storage::Objects;

/// Whether routes that older deployments left open ask for a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    Strict,
    Compat,
}

/// `Idempotency-Key`s of callers without a login, from one address. In strict mode only registrations take one.
const ANONYMOUS_KEYS_PER_MINUTE: u32 = 300;

/// What the edge has to be told.
pub struct Settings {
    pub auth_mode: AuthMode,
    pub jwt_secret: Vec<u8>,
    pub jwt_issuer: String,
    pub jwt_lifetime: Duration,
    /// Of links that work without a login.
    pub link_lifetime: Duration,
    pub admin_username: String,
    pub admin_password: String,
    /// Whether a callback without its token is believed from where the recorder of its robot connects from.
    pub callbacks_of_known_devices: bool,
    /// Start of the links that recorders post to; no slash at the end.
    pub callback_base_url: String,
    /// The one bucket whose objects are served.
    pub bucket: String,
    pub body_bytes_max: usize,
    pub request_timeout: Duration,
    /// What a body may take to arrive, before that.
    pub read_timeout: Duration,
    pub device_response_timeout: Duration,
    /// The same where the recorder closes a file first.
    pub device_finish_timeout: Duration,
    pub endpoints: registration::Endpoints,
    pub store: registration::Store,
    /// Secrets of this server that no template may hold, for templates are served to anybody.
    pub secrets: Vec<String>,
    /// From one address.
    pub registrations_per_minute: u32,
}

/// What every handler can reach.
#[derive(Clone)]
pub struct AppState {
    pub commands: Commands,
    pub reads: Reads,
    pub fleet: Arc<dyn Fleet>,
    pub objects: Arc<dyn Objects>,
    pub settings: Arc<Settings>,
    pub tokens: Tokens,
    pub logins: Arc<Logins>,
    pub callback_tokens: CallbackTokens,
    pub registrations: Arc<Throttle>,
    pub anonymous_keys: Arc<Throttle>,
    pub device_stream: Arc<DeviceStream>,
    /// For the other processes of the site.
    pub neighbours: reqwest::Client,
    pub probes: Arc<Probes>,
    /// Renders the measurements for Prometheus.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl AppState {
    /// What readiness asks: the row of this process, and the folder it keeps its data in, if it keeps any.
    pub fn probing(self, process: Uuid, disk: Option<PathBuf>) -> Self {
        Self { probes: Arc::new(Probes::of(process, disk)), ..self }
    }

    pub fn new(
        commands: Commands,
        reads: Reads,
        fleet: Arc<dyn Fleet>,
        objects: Arc<dyn Objects>,
        device_stream: Arc<DeviceStream>,
        settings: Settings,
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
            anonymous_keys: Arc::new(Throttle::new(ANONYMOUS_KEYS_PER_MINUTE, 60)),
            device_stream,
            neighbours: elsewhere::client()?,
            commands,
            reads,
            fleet,
            objects,
            settings: Arc::new(settings),
            tokens,
            logins: Arc::new(Logins::new()?),
            probes: Arc::new(Probes::default()),
            metrics,
        })
    }
}
