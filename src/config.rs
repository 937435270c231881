//! Typed settings.
//!
//! Three layers: `config/default.toml` (compiled in, and the documentation of every
//! key), an optional file, `KEYSTONE_*` variables. They are read once, checked as a
//! whole, and handed out in sections. Nothing else in the program reads the
//! environment.
//!
//! Every key stands in the default file. So a key that is not there is a mistake,
//! and so is one whose type differs; both are reported with where they stand. The
//! names of variables that deployments of the predecessor carry are all understood;
//! those without a meaning here become [`Config::notices`] instead of errors.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use crate::listener::{Origins, Proxies};

/// The documentation of every key, and its default.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

/// Below this a login secret can be guessed offline; somewhat shorter ones are accepted,
/// because deployed sites have them, and complained about.
const JWT_SECRET_BYTES_RECOMMENDED: usize = 32;

/// What is shorter is no secret. Tokens can be tried offline, passwords a few times a minute.
const JWT_SECRET_BYTES_MIN: usize = 16;
const PASSWORD_BYTES_MIN: usize = 8;
/// A login that carries more is not looked at.
const PASSWORD_BYTES_MAX: usize = 1024;
/// `aaaaaaaa` has the length.
const DIFFERENT_CHARS_MIN: usize = 4;
const HOW_TO_MAKE_ONE: &str = "`openssl rand -hex 32` makes a good one";

/// A value that must not reach a log, an error or a debugger's output.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The one way to the value, so that a search finds every use.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

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
    pub devices: Devices,
    pub outbox: Outbox,
    pub sequencer: Sequencer,
    pub limits: Limits,
    pub telemetry: Telemetry,
    /// What an operator should know about the given settings; logged at start.
    #[serde(skip)]
    pub notices: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    #[serde(deserialize_with = "bind_address")]
    pub bind: SocketAddr,
    /// Without a trailing slash. Where it is not set, see [`Http::callback_base_url`].
    #[serde(deserialize_with = "set_or_none")]
    pub callback_public_base_url: Option<String>,
    #[serde(deserialize_with = "set_or_none")]
    internal_url: Option<String>,
    #[serde(deserialize_with = "listed")]
    pub trusted_proxies: Proxies,
    #[serde(deserialize_with = "listed")]
    pub allowed_origins: Origins,
    read_timeout_s: u64,
    write_timeout_s: u64,
    shutdown_timeout_s: u64,
}

impl Http {
    pub fn read_timeout(&self) -> Duration {
        Duration::from_secs(self.read_timeout_s)
    }

    pub fn write_timeout(&self) -> Duration {
        Duration::from_secs(self.write_timeout_s)
    }

    pub fn shutdown_timeout(&self) -> Duration {
        Duration::from_secs(self.shutdown_timeout_s)
    }

    /// Where the other processes of the site reach this one.
    pub fn internal_url(&self, listening: SocketAddr) -> String {
        match (&self.internal_url, host_name()) {
            (Some(url), _) => url.clone(),
            (None, Some(host)) if listening.ip().is_unspecified() => format!("http://{host}:{}", listening.port()),
            (None, _) => format!("http://{}", reachable(listening)),
        }
    }

    /// What callback links start with. `listening` is the address really bound, which
    /// differs from the configured one when that asks for a free port.
    pub fn callback_base_url(&self, listening: SocketAddr) -> String {
        match &self.callback_public_base_url {
            Some(url) => url.clone(),
            None => format!("http://{}", reachable(listening)),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `None`: a private cluster is started.
    #[serde(deserialize_with = "set_or_none")]
    pub url: Option<Secret>,
    pub pool_max: usize,
    connect_timeout_s: u64,
    pool_wait_timeout_s: u64,
    statement_timeout_s: u64,
    idle_in_transaction_timeout_s: u64,
    tcp_user_timeout_s: u64,
    start_timeout_s: u64,
}

impl Database {
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_s)
    }

    pub fn pool_wait_timeout(&self) -> Duration {
        Duration::from_secs(self.pool_wait_timeout_s)
    }

    pub fn statement_timeout(&self) -> Duration {
        Duration::from_secs(self.statement_timeout_s)
    }

    pub fn idle_in_transaction_timeout(&self) -> Duration {
        Duration::from_secs(self.idle_in_transaction_timeout_s)
    }

    pub fn tcp_user_timeout(&self) -> Duration {
        Duration::from_secs(self.tcp_user_timeout_s)
    }

    pub fn start_timeout(&self) -> Duration {
        Duration::from_secs(self.start_timeout_s)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedded {
    pub data_dir: PathBuf,
    #[serde(deserialize_with = "set_or_none")]
    pub pg_bin: Option<PathBuf>,
    #[serde(deserialize_with = "bind_address")]
    pub s3_bind: SocketAddr,
    s3_upload_expiry_h: u64,
}

impl Embedded {
    pub fn s3_upload_expiry(&self) -> Duration {
        Duration::from_secs(self.s3_upload_expiry_h.saturating_mul(3600))
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    /// With a scheme, without a trailing slash. `None`: the endpoint in this process.
    #[serde(deserialize_with = "set_or_none")]
    pub endpoint: Option<String>,
    #[serde(deserialize_with = "set_or_none")]
    pub public_endpoint: Option<String>,
    #[serde(deserialize_with = "set_or_none")]
    pub access_key: Option<String>,
    #[serde(deserialize_with = "set_or_none")]
    pub secret_key: Option<Secret>,
    pub shared_key: SharedKey,
    pub region: String,
    /// Never empty once loaded.
    pub bucket: String,
    request_timeout_s: u64,
    presign_ttl_s: u64,
}

/// Whether the key that robots shared before each had its own still opens the embedded store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedKey {
    /// Where there is one: it was given, or an older version made it.
    Auto,
    Allowed,
    Refused,
}

impl S3 {
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_s)
    }

    pub fn presign_ttl(&self) -> Duration {
        Duration::from_secs(self.presign_ttl_s)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    Strict,
    Compat,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub mode: AuthMode,
    /// `None` only with an embedded database, which remembers a generated one.
    #[serde(deserialize_with = "set_or_none")]
    pub jwt_secret: Option<Secret>,
    pub jwt_issuer: String,
    jwt_expiry_hours: u64,
    pub admin_username: String,
    #[serde(deserialize_with = "set_or_none")]
    pub admin_password: Option<Secret>,
}

impl Auth {
    pub fn jwt_expiry(&self) -> Duration {
        Duration::from_secs(self.jwt_expiry_hours * 3600)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceAuth {
    Auto,
    Required,
    Optional,
}

/// What a callback has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackProof {
    /// The token in the link that the recorder was configured with.
    Token,
    /// That, or that it comes from where the recorder of its robot connects from.
    KnownDevice,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Devices {
    #[serde(deserialize_with = "bind_address")]
    pub recorder_bind: SocketAddr,
    #[serde(deserialize_with = "bind_address")]
    pub transfer_bind: SocketAddr,
    pub auth: DeviceAuth,
    pub callbacks: CallbackProof,
    /// What robots are told to connect to, without a path; none: where they registered.
    #[serde(deserialize_with = "set_or_none")]
    pub recorder_public_url: Option<String>,
    #[serde(deserialize_with = "set_or_none")]
    pub transfer_public_url: Option<String>,
    recorder_ping_interval_s: u64,
    recorder_ping_timeout_s: u64,
    transfer_ping_interval_s: u64,
    transfer_ping_timeout_s: u64,
    response_timeout_s: u64,
    finish_timeout_s: u64,
    process_lease_ms: u64,
    transfer_write_timeout_s: u64,
    pub frame_bytes_max: usize,
    pub links_max: usize,
}

impl Devices {
    /// Whether a device that connects to the listener at `bind` has to show a token.
    /// Asked per listener, because the sockets are also served under the main port.
    pub fn token_required_on(&self, bind: SocketAddr) -> bool {
        match self.auth {
            DeviceAuth::Required => true,
            DeviceAuth::Optional => false,
            DeviceAuth::Auto => !bind.ip().is_loopback(),
        }
    }

    pub fn recorder_ping_interval(&self) -> Duration {
        Duration::from_secs(self.recorder_ping_interval_s)
    }

    pub fn recorder_ping_timeout(&self) -> Duration {
        Duration::from_secs(self.recorder_ping_timeout_s)
    }

    pub fn transfer_ping_interval(&self) -> Duration {
        Duration::from_secs(self.transfer_ping_interval_s)
    }

    pub fn transfer_ping_timeout(&self) -> Duration {
        Duration::from_secs(self.transfer_ping_timeout_s)
    }

    pub fn response_timeout(&self) -> Duration {
        Duration::from_secs(self.response_timeout_s)
    }

    /// What a recorder does before it answers may take longer there, and never less.
    pub fn finish_timeout(&self) -> Duration {
        Duration::from_secs(self.finish_timeout_s.max(self.response_timeout_s))
    }

    pub fn process_lease(&self) -> Duration {
        Duration::from_millis(self.process_lease_ms)
    }

    pub fn transfer_write_timeout(&self) -> Duration {
        Duration::from_secs(self.transfer_write_timeout_s)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outbox {
    poll_interval_ms: u64,
    pub defaults: Delivery,
    /// Complete: what a table leaves out has been taken from `defaults`.
    pub subscribers: BTreeMap<String, Delivery>,
}

impl Outbox {
    pub fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.poll_interval_ms)
    }

    /// How deliveries to `subscriber` are made; one without a table gets the defaults.
    pub fn delivery(&self, subscriber: &str) -> &Delivery {
        self.subscribers.get(subscriber).unwrap_or(&self.defaults)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ordering {
    None,
    PerStream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExhausted {
    Skip,
    Block,
}

/// How deliveries to one subscriber are made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    pub concurrency: usize,
    attempts_max: u32,
    deadline_s: u64,
    backoff_base_ms: u64,
    backoff_cap_ms: u64,
    lease_ms: u64,
    timeout_ms: u64,
    pub batch_size: usize,
    pub ordering: Ordering,
    pub on_exhausted: OnExhausted,
}

impl Delivery {
    pub fn attempts_max(&self) -> Option<u32> {
        (self.attempts_max > 0).then_some(self.attempts_max)
    }

    pub fn deadline(&self) -> Option<Duration> {
        (self.deadline_s > 0).then(|| Duration::from_secs(self.deadline_s))
    }

    pub fn backoff_base(&self) -> Duration {
        Duration::from_millis(self.backoff_base_ms)
    }

    pub fn backoff_cap(&self) -> Duration {
        Duration::from_millis(self.backoff_cap_ms)
    }

    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequencer {
    poll_interval_ms: u64,
}

impl Sequencer {
    pub fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.poll_interval_ms)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub body_bytes_max: usize,
    pub sidecar_bytes_max: u64,
    pub registrations_per_minute: u32,
    connections_max: usize,
    connections_per_address_max: usize,
}

impl Limits {
    /// On each port.
    pub fn connections(&self) -> crate::listener::Limits {
        crate::listener::Limits { connections: self.connections_max, per_address: self.connections_per_address_max }
    }
}

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

/// Why the settings cannot be used. Every message names the key or variable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the settings file {path}: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{origin} is not valid TOML: {message}")]
    Syntax { origin: String, message: String },
    #[error("{origin}: there is no setting `{key}`{}", suggestion(.nearest))]
    UnknownKey { origin: String, key: String, nearest: Option<String> },
    #[error("{origin}: `{key}` must be {expected}, not {found}")]
    WrongType { origin: String, key: String, expected: &'static str, found: &'static str },
    #[error("there is no variable {name}{}", suggestion(.nearest))]
    UnknownVariable { name: String, nearest: Option<String> },
    #[error("{name} must be {expected}")]
    Unparsable { name: String, expected: &'static str },
    #[error("{0}")]
    Invalid(String),
    #[error("the settings cannot be used:\n  {}", .0.join("\n  "))]
    Refused(Vec<String>),
}

fn suggestion(nearest: &Option<String>) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None => String::new(),
    }
}

/// What a variable of the environment does to the settings.
#[derive(Clone, Copy)]
enum Effect {
    /// Sets the key, as the type that its default has.
    Set(&'static str),
    /// Changes the port of an address and leaves the host.
    Port(&'static str),
    /// `true` and `false` for whether device tokens are required.
    DeviceAuth,
    /// Scheme of an S3 endpoint that came without one.
    S3Tls,
    /// Only `edge` exists.
    Mode,
    /// Known to deployments of the predecessor; here without a meaning, and why.
    Ignored(&'static str),
    /// Read by somebody else in this program.
    Elsewhere,
}

const LATER: &str = "cloud sync is configured per destination";
const POSTGRES: &str = "set KEYSTONE_DATABASE_URL";
const NO_EFFECT: &str = "it never had an effect";

/// Every variable we know. Where two set the same key, the later one wins, so the
/// older name of a setting stands first.
const VARIABLES: &[(&str, Effect)] = &[
    ("KEYSTONE_CONFIG", Effect::Elsewhere),
    ("KEYSTONE_SHARED_DATA", Effect::Elsewhere),
    ("KEYSTONE_MODE", Effect::Mode),
    ("KEYSTONE_FACTORY_ID", Effect::Set("factory_id")),
    ("KEYSTONE_BIND_ADDR", Effect::Set("http.bind")),
    ("KEYSTONE_CALLBACK_PUBLIC_BASE_URL", Effect::Set("http.callback_public_base_url")),
    ("KEYSTONE_INTERNAL_URL", Effect::Set("http.internal_url")),
    ("KEYSTONE_RECORDER_PUBLIC_URL", Effect::Set("devices.recorder_public_url")),
    ("KEYSTONE_TRANSFER_PUBLIC_URL", Effect::Set("devices.transfer_public_url")),
    ("KEYSTONE_TRUSTED_PROXIES", Effect::Set("http.trusted_proxies")),
    ("KEYSTONE_ALLOWED_ORIGINS", Effect::Set("http.allowed_origins")),
    ("KEYSTONE_READ_TIMEOUT", Effect::Set("http.read_timeout_s")),
    ("KEYSTONE_WRITE_TIMEOUT", Effect::Set("http.write_timeout_s")),
    ("KEYSTONE_SHUTDOWN_TIMEOUT", Effect::Set("http.shutdown_timeout_s")),
    ("KEYSTONE_DATABASE_URL", Effect::Set("database.url")),
    ("KEYSTONE_DB_MAX_OPEN_CONNS", Effect::Set("database.pool_max")),
    ("KEYSTONE_DATA_DIR", Effect::Set("embedded.data_dir")),
    ("KEYSTONE_PG_BIN", Effect::Set("embedded.pg_bin")),
    ("KEYSTONE_EMBEDDED_S3_BIND", Effect::Set("embedded.s3_bind")),
    ("KEYSTONE_MINIO_ENDPOINT", Effect::Set("s3.endpoint")),
    ("KEYSTONE_S3_ENDPOINT", Effect::Set("s3.endpoint")),
    ("KEYSTONE_S3_PUBLIC_ENDPOINT", Effect::Set("s3.public_endpoint")),
    ("KEYSTONE_MINIO_ACCESS_KEY", Effect::Set("s3.access_key")),
    ("KEYSTONE_S3_ACCESS_KEY", Effect::Set("s3.access_key")),
    ("KEYSTONE_MINIO_SECRET_KEY", Effect::Set("s3.secret_key")),
    ("KEYSTONE_S3_SECRET_KEY", Effect::Set("s3.secret_key")),
    ("KEYSTONE_S3_SHARED_KEY", Effect::Set("s3.shared_key")),
    ("KEYSTONE_S3_REGION", Effect::Set("s3.region")),
    ("KEYSTONE_MINIO_BUCKET", Effect::Set("s3.bucket")),
    ("KEYSTONE_S3_BUCKET", Effect::Set("s3.bucket")),
    ("KEYSTONE_MINIO_USE_SSL", Effect::S3Tls),
    ("KEYSTONE_AUTH_MODE", Effect::Set("auth.mode")),
    ("KEYSTONE_JWT_SECRET", Effect::Set("auth.jwt_secret")),
    ("KEYSTONE_JWT_ISSUER", Effect::Set("auth.jwt_issuer")),
    ("KEYSTONE_JWT_EXPIRY_HOURS", Effect::Set("auth.jwt_expiry_hours")),
    ("KEYSTONE_ADMIN_USERNAME", Effect::Set("auth.admin_username")),
    ("KEYSTONE_ADMIN_PASSWORD", Effect::Set("auth.admin_password")),
    ("KEYSTONE_RECORDER_BIND", Effect::Set("devices.recorder_bind")),
    ("KEYSTONE_AXON_RECORDER_WS_PORT", Effect::Port("devices.recorder_bind")),
    ("KEYSTONE_TRANSFER_BIND", Effect::Set("devices.transfer_bind")),
    ("KEYSTONE_AXON_TRANSFER_WS_PORT", Effect::Port("devices.transfer_bind")),
    ("KEYSTONE_AXON_RECORDER_AUTH_ENABLED", Effect::DeviceAuth),
    ("KEYSTONE_DEVICE_AUTH", Effect::Set("devices.auth")),
    ("KEYSTONE_DEVICE_CALLBACKS", Effect::Set("devices.callbacks")),
    ("KEYSTONE_AXON_RECORDER_PING_INTERVAL", Effect::Set("devices.recorder_ping_interval_s")),
    ("KEYSTONE_AXON_RECORDER_PING_TIMEOUT", Effect::Set("devices.recorder_ping_timeout_s")),
    ("KEYSTONE_AXON_RECORDER_RESPONSE_TIMEOUT", Effect::Set("devices.response_timeout_s")),
    ("KEYSTONE_AXON_TRANSFER_PING_INTERVAL", Effect::Set("devices.transfer_ping_interval_s")),
    ("KEYSTONE_AXON_TRANSFER_PING_TIMEOUT", Effect::Set("devices.transfer_ping_timeout_s")),
    ("KEYSTONE_AXON_TRANSFER_WRITE_TIMEOUT", Effect::Set("devices.transfer_write_timeout_s")),
    ("KEYSTONE_LOG_LEVEL", Effect::Set("telemetry.log")),
    ("KEYSTONE_LOG", Effect::Set("telemetry.log")),
    ("KEYSTONE_LOG_FORMAT", Effect::Set("telemetry.log_format")),
    ("KEYSTONE_MYSQL_HOST", Effect::Ignored(POSTGRES)),
    ("KEYSTONE_MYSQL_PORT", Effect::Ignored(POSTGRES)),
    ("KEYSTONE_MYSQL_USER", Effect::Ignored(POSTGRES)),
    ("KEYSTONE_MYSQL_PASSWORD", Effect::Ignored(POSTGRES)),
    ("KEYSTONE_MYSQL_DATABASE", Effect::Ignored(POSTGRES)),
    ("KEYSTONE_DB_MAX_IDLE_CONNS", Effect::Ignored("connections stay open")),
    ("KEYSTONE_DB_CONN_MAX_LIFETIME", Effect::Ignored("connections stay open")),
    ("KEYSTONE_DASHBOARD_DISPLAY_TOKEN", Effect::Ignored("displays log in with a role of their own")),
    ("KEYSTONE_AXON_TRANSFER_MAX_EVENTS", Effect::Ignored("events of a connection are kept in the database")),
    ("KEYSTONE_AXON_TRANSFER_READ_TIMEOUT", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_AXON_TRANSFER_STALE_THRESHOLD", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_AXON_RECORDER_STALE_THRESHOLD", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_SYNC_ENABLED", Effect::Ignored(LATER)),
    ("KEYSTONE_SYNC_DP_CONFIG", Effect::Ignored(LATER)),
    ("KEYSTONE_SYNC_BATCH_SIZE", Effect::Ignored(LATER)),
    ("KEYSTONE_SYNC_MAX_RETRIES", Effect::Ignored(LATER)),
    ("KEYSTONE_SYNC_MAX_CONCURRENT", Effect::Ignored(LATER)),
    ("KEYSTONE_SYNC_WORKER_INTERVAL", Effect::Ignored(LATER)),
    ("KEYSTONE_SYNC_REQUEST_TIMEOUT", Effect::Ignored(LATER)),
    ("KEYSTONE_SYNC_OSS_TIMEOUT", Effect::Ignored(LATER)),
    ("KEYSTONE_SYNC_RETRY_BASE_SEC", Effect::Ignored(LATER)),
    ("KEYSTONE_SYNC_RETRY_MAX_SEC", Effect::Ignored(LATER)),
    ("KEYSTONE_SYNC_RETRY_JITTER_SEC", Effect::Ignored(LATER)),
    ("KEYSTONE_SYNC_MAX_RESTART_COUNT", Effect::Ignored(LATER)),
    ("KEYSTONE_SYNC_AUTO_SCAN_ENABLED", Effect::Ignored(LATER)),
    ("KEYSTONE_SYNC_PERSIST_ROOT_DIR", Effect::Ignored(LATER)),
    ("KEYSTONE_QA_ENABLED", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_QA_AUTO_APPROVE_THRESHOLD", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_QA_MAX_WORKERS", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_QA_TIMEOUT", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_QA_CHECKS", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_WORKER_COUNT", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_METRICS_ENABLED", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_METRICS_PORT", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_HEALTH_CHECK_INTERVAL", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_LOG_OUTPUT", Effect::Ignored("logs go to the standard error output")),
    ("KEYSTONE_MAX_MEMORY_MB", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_MAX_CPU_PERCENT", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_DISK_WATERMARK_LOW", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_DISK_WATERMARK_HIGH", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_CLOUD_AUTH_ENDPOINT", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_CLOUD_GATEWAY_ENDPOINT", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_CLOUD_USE_TLS", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_CLOUD_TLS_CA_FILE", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_CLOUD_TLS_SERVER_NAME", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_CLOUD_API_KEY", Effect::Ignored(NO_EFFECT)),
];

impl Config {
    /// Reads the defaults, then `file` (or what KEYSTONE_CONFIG names), then the
    /// environment. A `.env` file in the working directory stands behind the real
    /// environment and never overrides it.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut environment = match std::fs::read_to_string(".env") {
            Ok(text) => dot_env(&text),
            Err(_) => BTreeMap::new(),
        };
        for (name, value) in std::env::vars_os() {
            if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string())
                && name.starts_with("KEYSTONE_")
            {
                environment.insert(name, value);
            }
        }
        let named = environment.get("KEYSTONE_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        match file.map(Path::to_path_buf).or(named) {
            None => Self::from_parts(None, &environment),
            Some(path) => {
                let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
                Self::from_parts(Some((&path.display().to_string(), &text)), &environment)
            }
        }
    }

    /// The same from values, for tests and for programs that start a server inside
    /// themselves. `file` is its name and its text.
    pub fn from_parts(file: Option<(&str, &str)>, environment: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut settings = parse("config/default.toml", DEFAULTS)?;
        if let Some((name, text)) = file {
            let given = parse(name, text)?;
            merge(&mut settings, given, name, "")?;
        }
        let mut notices = Vec::new();
        apply_environment(&mut settings, environment, &mut notices)?;
        complete_subscribers(&mut settings);

        let mut config: Config =
            Value::Table(settings).try_into().map_err(|error: toml::de::Error| ConfigError::Invalid(error.message().to_owned()))?;
        config.notices = notices;
        config.finish()?;
        Ok(config)
    }

    /// The settings without a file and without an environment.
    pub fn defaults() -> Self {
        Self::from_parts(None, &BTreeMap::new()).expect("the compiled-in defaults are valid")
    }

    /// Whether we start a Postgres of our own.
    pub fn database_is_embedded(&self) -> bool {
        self.database.url.is_none()
    }

    /// Whether we serve the objects ourselves.
    pub fn s3_is_embedded(&self) -> bool {
        self.s3.endpoint.is_none()
    }

    /// Fills what follows from other keys and checks the whole, so that an operator
    /// sees every mistake at once.
    fn finish(&mut self) -> Result<(), ConfigError> {
        let mut wrong = Vec::new();
        let mut need = |fine: bool, sentence: &str| {
            if !fine {
                wrong.push(sentence.to_owned());
            }
        };

        if self.s3.bucket.is_empty() {
            self.s3.bucket = format!("edge-{}", self.factory_id);
        }
        need(
            is_bucket_name(&self.s3.bucket),
            "the bucket (`s3.bucket`, or `edge-` and `factory_id`) must be 3 to 63 lower-case letters, digits, dots and hyphens, with a letter or digit at both ends",
        );
        for (key, url) in [
            ("s3.endpoint", &mut self.s3.endpoint),
            ("s3.public_endpoint", &mut self.s3.public_endpoint),
            ("http.callback_public_base_url", &mut self.http.callback_public_base_url),
            ("http.internal_url", &mut self.http.internal_url),
        ] {
            if let Some(text) = url {
                *text = text.trim_end_matches('/').to_owned();
                need(is_base_url(text), &format!("`{key}` must be http:// or https:// and a host, without a path"));
            }
        }
        for (key, url) in [
            ("devices.recorder_public_url", &mut self.devices.recorder_public_url),
            ("devices.transfer_public_url", &mut self.devices.transfer_public_url),
        ] {
            if let Some(text) = url {
                *text = text.trim_end_matches('/').to_owned();
                need(is_socket_url(text), &format!("`{key}` must be ws:// and a host, without a path"));
            }
        }
        need(
            self.s3.endpoint.is_none() || (self.s3.access_key.is_some() && self.s3.secret_key.is_some()),
            "with `s3.endpoint`, `s3.access_key` and `s3.secret_key` are required",
        );
        need(
            self.s3.access_key.is_some() == self.s3.secret_key.is_some(),
            "`s3.access_key` and `s3.secret_key` are given together or not at all",
        );
        need(
            self.database.url.is_none() || self.auth.jwt_secret.is_some(),
            "with `database.url`, `auth.jwt_secret` (KEYSTONE_JWT_SECRET) is required: every process has to sign alike",
        );
        need(
            self.database.url.as_ref().is_none_or(|url| crate::pg::parse_url(url.expose()).is_ok()),
            "`database.url` must be postgres://user:password@host:port/database",
        );
        need(self.database.pool_max >= 4, "`database.pool_max` must be 4 or more");
        if let Some(secret) = &self.auth.jwt_secret {
            need(
                is_secret(secret, JWT_SECRET_BYTES_MIN),
                &format!(
                    "`auth.jwt_secret` must have {JWT_SECRET_BYTES_MIN} bytes or more, and not always the same few; {HOW_TO_MAKE_ONE}"
                ),
            );
            if secret.expose().len() < JWT_SECRET_BYTES_RECOMMENDED {
                self.notices.push(format!(
                    "`auth.jwt_secret` is shorter than {JWT_SECRET_BYTES_RECOMMENDED} bytes and can be guessed from a token"
                ));
            }
        }
        if let Some(password) = &self.auth.admin_password {
            need(
                is_secret(password, PASSWORD_BYTES_MIN) && password.expose().len() <= PASSWORD_BYTES_MAX,
                &format!(
                    "`auth.admin_password` must have {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes, and not always the same few; {HOW_TO_MAKE_ONE}"
                ),
            );
        }
        // An S3 server that is not ours has its own rules.
        if let Some(secret) = self.s3.secret_key.as_ref().filter(|_| self.s3.endpoint.is_none()) {
            need(
                is_secret(secret, PASSWORD_BYTES_MIN),
                &format!("`s3.secret_key` must have {PASSWORD_BYTES_MIN} bytes or more, and not always the same few; {HOW_TO_MAKE_ONE}"),
            );
        }
        need(!self.auth.admin_username.trim().is_empty(), "`auth.admin_username` must not be blank");
        for (key, value) in [
            ("http.read_timeout_s", self.http.read_timeout_s),
            ("http.write_timeout_s", self.http.write_timeout_s),
            ("http.shutdown_timeout_s", self.http.shutdown_timeout_s),
            ("database.connect_timeout_s", self.database.connect_timeout_s),
            ("database.pool_wait_timeout_s", self.database.pool_wait_timeout_s),
            ("database.statement_timeout_s", self.database.statement_timeout_s),
            ("database.idle_in_transaction_timeout_s", self.database.idle_in_transaction_timeout_s),
            ("database.tcp_user_timeout_s", self.database.tcp_user_timeout_s),
            ("database.start_timeout_s", self.database.start_timeout_s),
            ("embedded.s3_upload_expiry_h", self.embedded.s3_upload_expiry_h),
            ("s3.request_timeout_s", self.s3.request_timeout_s),
            ("s3.presign_ttl_s", self.s3.presign_ttl_s),
            ("auth.jwt_expiry_hours", self.auth.jwt_expiry_hours),
            ("devices.recorder_ping_interval_s", self.devices.recorder_ping_interval_s),
            ("devices.recorder_ping_timeout_s", self.devices.recorder_ping_timeout_s),
            ("devices.transfer_ping_interval_s", self.devices.transfer_ping_interval_s),
            ("devices.transfer_ping_timeout_s", self.devices.transfer_ping_timeout_s),
            ("devices.response_timeout_s", self.devices.response_timeout_s),
            ("devices.finish_timeout_s", self.devices.finish_timeout_s),
            ("devices.process_lease_ms", self.devices.process_lease_ms),
            ("devices.transfer_write_timeout_s", self.devices.transfer_write_timeout_s),
            ("devices.frame_bytes_max", self.devices.frame_bytes_max as u64),
            ("devices.links_max", self.devices.links_max as u64),
            ("outbox.poll_interval_ms", self.outbox.poll_interval_ms),
            ("sequencer.poll_interval_ms", self.sequencer.poll_interval_ms),
            ("limits.body_bytes_max", self.limits.body_bytes_max as u64),
            ("limits.sidecar_bytes_max", self.limits.sidecar_bytes_max),
            ("limits.registrations_per_minute", self.limits.registrations_per_minute.into()),
            ("limits.connections_max", self.limits.connections_max as u64),
            ("limits.connections_per_address_max", self.limits.connections_per_address_max as u64),
        ] {
            need(value > 0, &format!("`{key}` must be greater than 0"));
        }
        need(self.s3.presign_ttl_s <= 7 * 24 * 3600, "`s3.presign_ttl_s` must be at most 604800: S3 servers refuse longer links");
        let tables = self.outbox.subscribers.iter();
        for (name, delivery) in tables
            .map(|(name, delivery)| (format!("outbox.subscribers.{name}"), delivery))
            .chain([("outbox.defaults".to_owned(), &self.outbox.defaults)])
        {
            need(
                delivery.attempts_max > 0 || delivery.deadline_s > 0,
                &format!("`{name}` needs `attempts_max` or `deadline_s`: a delivery has to end"),
            );
            for (key, value) in [
                ("concurrency", delivery.concurrency as u64),
                ("backoff_base_ms", delivery.backoff_base_ms),
                ("lease_ms", delivery.lease_ms),
                ("timeout_ms", delivery.timeout_ms),
                ("batch_size", delivery.batch_size as u64),
            ] {
                need(value > 0, &format!("`{name}.{key}` must be greater than 0"));
            }
            need(
                delivery.backoff_cap_ms >= delivery.backoff_base_ms,
                &format!("`{name}.backoff_cap_ms` must not be below `backoff_base_ms`"),
            );
        }
        need(
            tracing_subscriber::EnvFilter::try_new(&self.telemetry.log).is_ok(),
            "`telemetry.log` must be a level or a list of targets with levels",
        );
        if !wrong.is_empty() {
            return Err(ConfigError::Refused(wrong));
        }

        if self.auth.mode == AuthMode::Compat {
            self.notices.push("`auth.mode` is `compat`: routes are open without a login, as in older deployments".to_owned());
        }
        if self.devices.auth == DeviceAuth::Optional
            && [self.devices.recorder_bind, self.devices.transfer_bind].iter().any(|bind| !bind.ip().is_loopback())
        {
            self.notices.push("devices connect from other machines without a token (`devices.auth` is `optional`)".to_owned());
        }
        Ok(())
    }
}

fn parse(origin: &str, text: &str) -> Result<Table, ConfigError> {
    text.parse::<Table>().map_err(|error| ConfigError::Syntax { origin: origin.to_owned(), message: error.to_string() })
}

/// Lays `given` over `base`. What `base` does not have is a mistake, except that a
/// subscriber's table may name any key of `outbox.defaults`.
fn merge(base: &mut Table, given: Table, origin: &str, path: &str) -> Result<(), ConfigError> {
    let delivery_keys = base.get("defaults").filter(|_| path == "outbox").and_then(Value::as_table).cloned();
    for (key, value) in given {
        let full = join(path, &key);
        let Some(slot) = base.get_mut(&key) else {
            let keys = base.keys().map(|known| join(path, known));
            return Err(ConfigError::UnknownKey { origin: origin.to_owned(), nearest: nearest(&full, keys), key: full });
        };
        if full == "outbox.subscribers"
            && let (Some(defaults), Some(tables)) = (&delivery_keys, slot.as_table_mut())
        {
            for (_, table) in tables.iter_mut() {
                complete(table, defaults);
            }
        }
        match (slot, value) {
            (Value::Table(slot), Value::Table(value)) => merge(slot, value, origin, &full)?,
            (slot, value) if slot.same_type(&value) => *slot = value,
            (slot, value) => {
                return Err(ConfigError::WrongType { origin: origin.to_owned(), key: full, expected: kind(slot), found: kind(&value) });
            }
        }
    }
    Ok(())
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// A subscriber's table inherits what it does not say.
fn complete_subscribers(settings: &mut Table) {
    let Some(outbox) = settings.get_mut("outbox").and_then(Value::as_table_mut) else {
        return;
    };
    let Some(defaults) = outbox.get("defaults").and_then(Value::as_table).cloned() else {
        return;
    };
    if let Some(tables) = outbox.get_mut("subscribers").and_then(Value::as_table_mut) {
        for (_, table) in tables.iter_mut() {
            complete(table, &defaults);
        }
    }
}

fn complete(table: &mut Value, defaults: &Table) {
    if let Some(table) = table.as_table_mut() {
        for (key, value) in defaults {
            table.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
}

fn apply_environment(settings: &mut Table, environment: &BTreeMap<String, String>, notices: &mut Vec<String>) -> Result<(), ConfigError> {
    for name in environment.keys() {
        if name.starts_with("KEYSTONE_") && !VARIABLES.iter().any(|(known, _)| known == name) {
            return Err(ConfigError::UnknownVariable {
                name: name.clone(),
                nearest: nearest(name, VARIABLES.iter().map(|(known, _)| known.to_string())),
            });
        }
    }
    let mut s3_tls = false;
    for (name, effect) in VARIABLES {
        let Some(value) = environment.get(*name).map(|value| value.trim()) else {
            continue;
        };
        if value.is_empty() {
            continue;
        }
        let unparsable = |expected| ConfigError::Unparsable { name: (*name).to_owned(), expected };
        match *effect {
            Effect::Elsewhere => {}
            Effect::Ignored(why) => notices.push(format!("{name} is ignored: {why}")),
            Effect::Mode if value == "edge" => {}
            Effect::Mode => return Err(unparsable("`edge`")),
            Effect::S3Tls => {
                s3_tls = boolean(value).ok_or_else(|| unparsable("true or false"))?;
            }
            Effect::DeviceAuth => {
                let required = boolean(value).ok_or_else(|| unparsable("true or false"))?;
                let word = if required { "required" } else { "optional" };
                *slot(settings, "devices.auth") = Value::String(word.to_owned());
            }
            Effect::Port(key) => {
                let port: u16 = value.parse().map_err(|_| unparsable("a port, 0 to 65535"))?;
                let slot = slot(settings, key);
                let mut bind =
                    slot.as_str().and_then(parse_bind).ok_or_else(|| ConfigError::Invalid(format!("`{key}` must be host:port")))?;
                bind.set_port(port);
                *slot = Value::String(bind.to_string());
            }
            Effect::Set(key) => {
                let slot = slot(settings, key);
                *slot = match slot {
                    Value::Integer(_) => Value::Integer(value.parse().map_err(|_| unparsable("a whole number"))?),
                    Value::Boolean(_) => Value::Boolean(boolean(value).ok_or_else(|| unparsable("true or false"))?),
                    _ => Value::String(value.to_owned()),
                };
                if let Some((fine, expected)) = form(key)
                    && !fine(value)
                {
                    return Err(unparsable(expected));
                }
            }
        }
    }
    let endpoint = slot(settings, "s3.endpoint");
    if let Some(text) = endpoint.as_str()
        && !text.is_empty()
        && !text.contains("://")
    {
        let scheme = if s3_tls { "https" } else { "http" };
        *endpoint = Value::String(format!("{scheme}://{text}"));
    }
    Ok(())
}

type Form = (fn(&str) -> bool, &'static str);

/// The form of keys whose type alone does not tell it, so that a wrong variable is
/// named by its own name and not by the key behind it.
fn form(key: &str) -> Option<Form> {
    Some(match key {
        "http.bind" | "devices.recorder_bind" | "devices.transfer_bind" | "embedded.s3_bind" => {
            (|value| parse_bind(value).is_some(), "an address and a port, like 0.0.0.0:8080 or :8080")
        }
        "http.callback_public_base_url" | "http.internal_url" | "s3.public_endpoint" => {
            (|value| is_base_url(value.trim_end_matches('/')), "http:// or https:// and a host, without a path")
        }
        "devices.recorder_public_url" | "devices.transfer_public_url" => {
            (|value| is_socket_url(value.trim_end_matches('/')), "ws:// and a host, without a path")
        }
        "http.trusted_proxies" => (|value| value.parse::<Proxies>().is_ok(), "addresses or networks like 10.0.0.0/24, separated by commas"),
        "http.allowed_origins" => (|value| value.parse::<Origins>().is_ok(), "origins like https://ui.factory, separated by commas"),
        "auth.mode" => (|value| matches!(value, "strict" | "compat"), "`strict` or `compat`"),
        "devices.auth" => (|value| matches!(value, "auto" | "required" | "optional"), "`auto`, `required` or `optional`"),
        "devices.callbacks" => (|value| matches!(value, "token" | "known_device"), "`token` or `known_device`"),
        "telemetry.log_format" => (|value| matches!(value, "text" | "json"), "`text` or `json`"),
        "database.url" => (|value| crate::pg::parse_url(value).is_ok(), "postgres://user:password@host:port/database"),
        _ => return None,
    })
}

/// The place of a key that the table above names; every one exists in the defaults.
fn slot<'a>(settings: &'a mut Table, key: &str) -> &'a mut Value {
    let mut segments = key.split('.');
    let first = segments.next().unwrap_or_default();
    segments.fold(&mut settings[first], |value, segment| &mut value[segment])
}

fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "t" | "yes" | "on" => Some(true),
        "false" | "0" | "f" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// `host:port`, where an empty host means every address and `localhost` loopback.
fn parse_bind(text: &str) -> Option<SocketAddr> {
    if let Some(port) = text.strip_prefix(':') {
        return Some(SocketAddr::from(([0, 0, 0, 0], port.parse().ok()?)));
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?)));
    }
    text.parse().ok()
}

/// What this machine calls itself.
pub fn host_name() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok()
}

/// An address that another program on this machine can connect to.
pub fn reachable(listening: SocketAddr) -> SocketAddr {
    if listening.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], listening.port())) } else { listening }
}

/// Devices speak no TLS.
fn is_socket_url(text: &str) -> bool {
    text.strip_prefix("ws://").is_some_and(|rest| is_base_url(&format!("http://{rest}")))
}

fn is_base_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else {
        return false;
    };
    matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.host().is_some_and(|host| !host.is_empty())
        && matches!(uri.path(), "" | "/")
        && uri.query().is_none()
        && !text.contains(['#', '@'])
}

/// Whether it cannot be guessed at the first glance.
fn is_secret(secret: &Secret, bytes_min: usize) -> bool {
    let different: std::collections::BTreeSet<char> = secret.expose().trim().chars().collect();
    secret.expose().trim().len() >= bytes_min && different.len() >= DIFFERENT_CHARS_MIN
}

fn is_bucket_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.chars().all(|c| allowed(c) || c == '-' || c == '.')
        && name.starts_with(allowed)
        && name.ends_with(allowed)
        && !name.contains("..")
}

/// The known name with the fewest edits, if it is near enough to be meant.
fn nearest(given: &str, known: impl Iterator<Item = String>) -> Option<String> {
    known.map(|name| (edits(given, &name), name)).min().filter(|(distance, _)| *distance <= 2 + given.len() / 8).map(|(_, name)| name)
}

fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// `NAME=value` lines; comments, `export` and one pair of quotes are understood.
fn dot_env(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let line = line.strip_prefix("export ").unwrap_or(line);
            let (name, value) = line.split_once('=')?;
            let value = value.trim();
            let value = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(value);
            Some((name.trim().to_owned(), value.to_owned()))
        })
        .filter(|(name, _)| name.starts_with("KEYSTONE_"))
        .collect()
}

fn bind_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_bind(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` must be an address and a port, like 0.0.0.0:8080 or :8080")))
}

/// A list in one text; an empty text is an empty list.
fn listed<'de, D: Deserializer<'de>, T: std::str::FromStr>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| serde::de::Error::custom(format!("`{text}` is no list of these, separated by commas")))
}

fn set_or_none<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let inner = serde::de::value::StringDeserializer::<D::Error>::new(text);
    T::deserialize(inner).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn with_environment(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_parts(None, &environment(pairs))
    }

    fn with_file(text: &str) -> Result<Config, ConfigError> {
        Config::from_parts(Some(("site.toml", text)), &BTreeMap::new())
    }

    #[test]
    fn the_defaults_are_complete_and_embedded() {
        let config = Config::defaults();
        assert!(config.database_is_embedded() && config.s3_is_embedded());
        assert_eq!(config.s3.bucket, "edge-factory-default");
        assert_eq!(config.http.bind, "0.0.0.0:8080".parse().unwrap());
        assert_eq!(config.auth.admin_username, "admin");
        assert_eq!(config.notices, Vec::<String>::new());
    }

    #[test]
    fn a_subscriber_inherits_what_its_table_leaves_out() {
        let config = with_file("[outbox.defaults]\nlease_ms = 5000\n").unwrap();
        let commands = config.outbox.delivery("device_commands");
        assert_eq!(commands.lease(), Duration::from_secs(5));
        assert_eq!(commands.ordering, Ordering::PerStream);
        let verification = config.outbox.delivery("upload_verification");
        assert_eq!(verification.attempts_max(), None);
        assert_eq!(verification.deadline(), Some(Duration::from_secs(86400)));
    }

    #[test]
    fn a_file_may_set_any_delivery_key_of_a_known_subscriber_only() {
        let config = with_file("[outbox.subscribers.device_commands]\nbackoff_cap_ms = 9000\n").unwrap();
        let cap = config.outbox.delivery("device_commands").backoff_cap();
        assert_eq!(cap, Duration::from_secs(9));

        let error = with_file("[outbox.subscribers.device_comands]\nlease_ms = 1\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "site.toml: there is no setting `outbox.subscribers.device_comands`; did you mean `outbox.subscribers.device_commands`?"
        );
    }

    #[test]
    fn an_unknown_key_is_named_with_its_file_and_the_nearest_one() {
        let error = with_file("[http]\nbnid = \":80\"\n").unwrap_err();
        assert_eq!(error.to_string(), "site.toml: there is no setting `http.bnid`; did you mean `http.bind`?");
        let error = with_file("[http]\nread_timeout_s = \"30\"\n").unwrap_err();
        assert_eq!(error.to_string(), "site.toml: `http.read_timeout_s` must be an integer, not a string");
    }

    #[test]
    fn the_environment_wins_over_the_file_and_empty_means_unset() {
        let config = Config::from_parts(
            Some(("site.toml", "[http]\nbind = \":1000\"\nread_timeout_s = 5\n")),
            &environment(&[("KEYSTONE_BIND_ADDR", ":2000"), ("KEYSTONE_READ_TIMEOUT", "")]),
        )
        .unwrap();
        assert_eq!(config.http.bind, "0.0.0.0:2000".parse().unwrap());
        assert_eq!(config.http.read_timeout(), Duration::from_secs(5));
    }

    #[test]
    fn an_unknown_variable_stops_the_start_and_is_named() {
        let error = with_environment(&[("KEYSTONE_DATABSE_URL", "x")]).unwrap_err();
        assert_eq!(error.to_string(), "there is no variable KEYSTONE_DATABSE_URL; did you mean `KEYSTONE_DATABASE_URL`?");
    }

    #[test]
    fn an_unparsable_variable_is_named_with_the_form_it_needs() {
        for (name, value, message) in [
            ("KEYSTONE_READ_TIMEOUT", "soon", "KEYSTONE_READ_TIMEOUT must be a whole number"),
            ("KEYSTONE_AXON_RECORDER_WS_PORT", "70000", "KEYSTONE_AXON_RECORDER_WS_PORT must be a port, 0 to 65535"),
            ("KEYSTONE_AXON_RECORDER_AUTH_ENABLED", "maybe", "KEYSTONE_AXON_RECORDER_AUTH_ENABLED must be true or false"),
            (
                "KEYSTONE_CALLBACK_PUBLIC_BASE_URL",
                "http://edge/path",
                "KEYSTONE_CALLBACK_PUBLIC_BASE_URL must be http:// or https:// and a host, without a path",
            ),
            ("KEYSTONE_MODE", "cloud", "KEYSTONE_MODE must be `edge`"),
        ] {
            let error = with_environment(&[(name, value)]).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn the_predecessors_names_for_the_object_store_work() {
        let config = with_environment(&[
            ("KEYSTONE_FACTORY_ID", "munich"),
            ("KEYSTONE_MINIO_ENDPOINT", "minio:9000"),
            ("KEYSTONE_MINIO_USE_SSL", "true"),
            ("KEYSTONE_MINIO_ACCESS_KEY", "key"),
            ("KEYSTONE_MINIO_SECRET_KEY", "secret"),
        ])
        .unwrap();
        assert_eq!(config.s3.endpoint.as_deref(), Some("https://minio:9000"));
        assert_eq!(config.s3.bucket, "edge-munich");
    }

    #[test]
    fn a_port_variable_keeps_the_host() {
        let config = with_environment(&[
            ("KEYSTONE_AXON_RECORDER_WS_PORT", "18091"),
            ("KEYSTONE_TRANSFER_BIND", ":9999"),
            ("KEYSTONE_AXON_TRANSFER_WS_PORT", "18090"),
        ])
        .unwrap();
        let devices = &config.devices;
        assert_eq!(devices.recorder_bind, "127.0.0.1:18091".parse().unwrap());
        assert_eq!(devices.transfer_bind, "0.0.0.0:18090".parse().unwrap());
        assert!(!devices.token_required_on(devices.recorder_bind));
        assert!(devices.token_required_on(devices.transfer_bind));
    }

    #[test]
    fn a_variable_without_meaning_is_noticed_and_does_not_stop_the_start() {
        let config = with_environment(&[("KEYSTONE_MYSQL_HOST", "db")]).unwrap();
        assert_eq!(config.notices, ["KEYSTONE_MYSQL_HOST is ignored: set KEYSTONE_DATABASE_URL"]);
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let error =
            with_file("[database]\nurl = \"postgres://u@h/d\"\n[s3]\nendpoint = \"http://s3:9000\"\n[outbox.defaults]\nattempts_max = 0\n")
                .unwrap_err()
                .to_string();
        for part in ["KEYSTONE_JWT_SECRET", "s3.secret_key", "a delivery has to end"] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        let config = with_environment(&[
            ("KEYSTONE_DATABASE_URL", "postgres://u:hunter2@db/k"),
            ("KEYSTONE_JWT_SECRET", "hunter2hunter2hunter2hunter2hunter2"),
            ("KEYSTONE_ADMIN_PASSWORD", "hunter2 and more"),
            ("KEYSTONE_S3_ACCESS_KEY", "key"),
            ("KEYSTONE_S3_SECRET_KEY", "hunter2 and more"),
        ])
        .unwrap();
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("***"));
    }

    #[test]
    fn a_secret_that_anybody_guesses_is_refused_with_the_way_to_make_one() {
        let own_s3 = [("KEYSTONE_S3_ENDPOINT", "http://s3:9000"), ("KEYSTONE_S3_ACCESS_KEY", "k"), ("KEYSTONE_S3_SECRET_KEY", "x")];
        let embedded_s3 = [("KEYSTONE_S3_ACCESS_KEY", "k"), ("KEYSTONE_S3_SECRET_KEY", "x")];
        for (given, key) in [
            (vec![("KEYSTONE_JWT_SECRET", "x")], "auth.jwt_secret"),
            (vec![("KEYSTONE_JWT_SECRET", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")], "auth.jwt_secret"),
            (vec![("KEYSTONE_ADMIN_PASSWORD", "x")], "auth.admin_password"),
            (vec![("KEYSTONE_ADMIN_PASSWORD", "aaaaaaaa")], "auth.admin_password"),
            (vec![("KEYSTONE_ADMIN_PASSWORD", &*"long".repeat(1000))], "auth.admin_password"),
            (embedded_s3.to_vec(), "s3.secret_key"),
        ] {
            let error = with_environment(&given).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("`openssl rand -hex 32` makes a good one"), "{given:?}: {error}");
            assert!(!error.contains("aaaa"), "{error}");
        }
        with_environment(&own_s3).unwrap();
        let made = with_environment(&[("KEYSTONE_JWT_SECRET", "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0")]);
        assert_eq!(made.unwrap().notices, Vec::<String>::new());
    }

    #[test]
    fn proxies_and_origins_are_lists_of_these() {
        let given = [("KEYSTONE_TRUSTED_PROXIES", "10.0.0.7, fd00::/8"), ("KEYSTONE_ALLOWED_ORIGINS", "https://ui.factory")];
        let http = with_environment(&given).unwrap().http;
        assert!(http.trusted_proxies.trusts("10.0.0.7".parse().unwrap()) && !http.trusted_proxies.trusts("10.0.0.8".parse().unwrap()));
        let error = with_environment(&[("KEYSTONE_TRUSTED_PROXIES", "nginx")]).unwrap_err().to_string();
        assert_eq!(error, "KEYSTONE_TRUSTED_PROXIES must be addresses or networks like 10.0.0.0/24, separated by commas");
        assert!(with_file("[http]\nallowed_origins = \"ui.factory\"\n").is_err());
    }

    #[test]
    fn callback_links_name_an_address_that_can_be_reached() {
        let http = Config::defaults().http;
        let url = http.callback_base_url("0.0.0.0:4321".parse().unwrap());
        assert_eq!(url, "http://127.0.0.1:4321");
    }

    #[test]
    fn a_dot_env_file_may_quote_comment_and_export() {
        let read = dot_env("# no\nexport KEYSTONE_LOG='debug'\nOTHER=1\nKEYSTONE_DATA_DIR = /data\n");
        assert_eq!(read, environment(&[("KEYSTONE_LOG", "debug"), ("KEYSTONE_DATA_DIR", "/data")]));
    }

    #[test]
    fn every_variable_that_sets_something_is_documented_beside_its_key() {
        for (name, effect) in VARIABLES {
            if !matches!(effect, Effect::Ignored(_) | Effect::Elsewhere | Effect::Mode) {
                assert!(DEFAULTS.contains(name), "{name} is not in default.toml");
            }
        }
    }
}
