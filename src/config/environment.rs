//! The variables of the environment: which there are, and what each sets.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::database::parse_url;
use super::error::{ConfigError, nearest};
use super::forms::{is_base_url, is_socket_url, parse_bind};
use crate::listener::{Networks, Origins, Proxies};

/// What a variable of the environment does to the settings.
#[derive(Clone, Copy)]
pub(super) enum Effect {
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
    /// Read elsewhere in this program.
    Elsewhere,
}

const POSTGRES: &str = "set KEYSTONE_DATABASE_URL";
const NO_EFFECT: &str = "it never had an effect";

/// The one name that is not ours: programs of a site that send traces all read it.
const OTEL_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

fn is_read(name: &str) -> bool {
    name.starts_with("KEYSTONE_") || name == OTEL_ENDPOINT
}

/// Every variable we know. Where two set the same key, the later one wins, so the
/// older name of a setting stands first.
pub(super) const VARIABLES: &[(&str, Effect)] = &[
    ("KEYSTONE_CONFIG", Effect::Elsewhere),
    ("KEYSTONE_USER", Effect::Elsewhere),
    ("KEYSTONE_PASSWORD", Effect::Elsewhere),
    ("KEYSTONE_SHARED_DATA", Effect::Elsewhere),
    ("KEYSTONE_SIMULATE_ACCOUNT", Effect::Elsewhere),
    ("KEYSTONE_SIMULATE_PASSWORD", Effect::Elsewhere),
    ("KEYSTONE_SIMULATE_TOKEN", Effect::Elsewhere),
    ("KEYSTONE_MODE", Effect::Mode),
    ("KEYSTONE_FACTORY_ID", Effect::Set("factory_id")),
    ("KEYSTONE_BIND_ADDR", Effect::Set("http.bind")),
    ("KEYSTONE_CALLBACK_PUBLIC_BASE_URL", Effect::Set("http.callback_public_base_url")),
    ("KEYSTONE_INTERNAL_URL", Effect::Set("http.internal_url")),
    ("KEYSTONE_LICHTBLICK_URL", Effect::Set("http.lichtblick_url")),
    ("KEYSTONE_LOG_ORIGIN", Effect::Set("log.origin")),
    ("KEYSTONE_RECORDER_PUBLIC_URL", Effect::Set("devices.recorder_public_url")),
    ("KEYSTONE_TRANSFER_PUBLIC_URL", Effect::Set("devices.transfer_public_url")),
    ("KEYSTONE_TRUSTED_PROXIES", Effect::Set("http.trusted_proxies")),
    ("KEYSTONE_WEBHOOKS_ALLOW_PRIVATE", Effect::Set("webhooks.allow_private")),
    ("KEYSTONE_ALLOWED_ORIGINS", Effect::Set("http.allowed_origins")),
    ("KEYSTONE_READ_TIMEOUT", Effect::Set("http.read_timeout_s")),
    ("KEYSTONE_WRITE_TIMEOUT", Effect::Set("http.write_timeout_s")),
    ("KEYSTONE_SHUTDOWN_TIMEOUT", Effect::Set("http.shutdown_timeout_s")),
    ("KEYSTONE_DATABASE_URL", Effect::Set("database.url")),
    ("KEYSTONE_DATABASE_PASSWORD", Effect::Set("database.password")),
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
    ("KEYSTONE_CERTIFICATE_KEY_FILE", Effect::Set("certificates.key_file")),
    ("KEYSTONE_EARLIER_CERTIFICATE_KEYS_FILE", Effect::Set("certificates.earlier_keys_file")),
    ("KEYSTONE_AUTH_MODE", Effect::Set("auth.mode")),
    ("KEYSTONE_JWT_SECRET", Effect::Set("auth.jwt_secret")),
    ("KEYSTONE_JWT_ISSUER", Effect::Set("auth.jwt_issuer")),
    ("KEYSTONE_JWT_EXPIRY_HOURS", Effect::Set("auth.jwt_expiry_hours")),
    ("KEYSTONE_ADMIN_USERNAME", Effect::Set("auth.admin_username")),
    ("KEYSTONE_ADMIN_PASSWORD", Effect::Set("auth.admin_password")),
    ("KEYSTONE_DASHBOARD_DISPLAY_TOKEN", Effect::Set("auth.display_token")),
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
    (OTEL_ENDPOINT, Effect::Set("telemetry.otlp_endpoint")),
    ("KEYSTONE_OTLP_ENDPOINT", Effect::Set("telemetry.otlp_endpoint")),
    ("KEYSTONE_MYSQL_HOST", Effect::Ignored(POSTGRES)),
    ("KEYSTONE_MYSQL_PORT", Effect::Ignored(POSTGRES)),
    ("KEYSTONE_MYSQL_USER", Effect::Ignored(POSTGRES)),
    ("KEYSTONE_MYSQL_PASSWORD", Effect::Ignored(POSTGRES)),
    ("KEYSTONE_MYSQL_DATABASE", Effect::Ignored(POSTGRES)),
    ("KEYSTONE_DB_MAX_IDLE_CONNS", Effect::Ignored("connections stay open")),
    ("KEYSTONE_DB_CONN_MAX_LIFETIME", Effect::Ignored("connections stay open")),
    ("KEYSTONE_AXON_TRANSFER_MAX_EVENTS", Effect::Ignored("events of a connection are kept in the database")),
    ("KEYSTONE_AXON_TRANSFER_READ_TIMEOUT", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_AXON_TRANSFER_STALE_THRESHOLD", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_AXON_RECORDER_STALE_THRESHOLD", Effect::Ignored(NO_EFFECT)),
    ("KEYSTONE_SYNC_ENABLED", Effect::Set("sync.enabled")),
    ("KEYSTONE_SYNC_DP_CONFIG", Effect::Set("sync.gateway.config")),
    ("KEYSTONE_SYNC_BATCH_SIZE", Effect::Ignored("all that matches is queued")),
    ("KEYSTONE_SYNC_MAX_RETRIES", Effect::Set("sync.max_retries")),
    ("KEYSTONE_SYNC_MAX_CONCURRENT", Effect::Set("outbox.subscribers.cloud_sync.concurrency")),
    ("KEYSTONE_SYNC_WORKER_INTERVAL", Effect::Ignored("work begins when it is queued")),
    ("KEYSTONE_SYNC_REQUEST_TIMEOUT", Effect::Set("sync.gateway.call_timeout_s")),
    ("KEYSTONE_SYNC_OSS_TIMEOUT", Effect::Set("sync.request_timeout_s")),
    ("KEYSTONE_SYNC_RETRY_BASE_SEC", Effect::Set("sync.retry_base_s")),
    ("KEYSTONE_SYNC_RETRY_MAX_SEC", Effect::Set("sync.retry_max_s")),
    ("KEYSTONE_SYNC_RETRY_JITTER_SEC", Effect::Set("sync.retry_jitter_s")),
    ("KEYSTONE_SYNC_MAX_RESTART_COUNT", Effect::Set("sync.gateway.restarts_max")),
    ("KEYSTONE_SYNC_AUTO_SCAN_ENABLED", Effect::Set("sync.auto_scan")),
    ("KEYSTONE_SYNC_PERSIST_ROOT_DIR", Effect::Ignored("how far an upload is stands in the database")),
    ("KEYSTONE_CLOUD_S3_BUCKET", Effect::Set("sync.s3.bucket")),
    ("KEYSTONE_CLOUD_S3_ENDPOINT", Effect::Set("sync.s3.endpoint")),
    ("KEYSTONE_CLOUD_S3_REGION", Effect::Set("sync.s3.region")),
    ("KEYSTONE_CLOUD_S3_ACCESS_KEY", Effect::Set("sync.s3.access_key")),
    ("KEYSTONE_CLOUD_S3_SECRET_KEY", Effect::Set("sync.s3.secret_key")),
    ("KEYSTONE_CLOUD_RECEIVER_URL", Effect::Set("sync.receiver.url")),
    ("KEYSTONE_CLOUD_RECEIVER_TOKEN", Effect::Set("sync.receiver.token")),
    ("KEYSTONE_QA_ENABLED", Effect::Set("qa.enabled")),
    ("KEYSTONE_QA_AUTO_APPROVE_THRESHOLD", Effect::Set("qa.auto_approve_threshold")),
    ("KEYSTONE_QA_MAX_WORKERS", Effect::Set("qa.bulk_workers")),
    ("KEYSTONE_QA_TIMEOUT", Effect::Set("qa.timeout_s")),
    ("KEYSTONE_INSPECTION_SECOND_SHARE", Effect::Set("inspection.second_share")),
    ("KEYSTONE_QA_CHECKS", Effect::Ignored("checks are those of a suite")),
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

pub(super) fn apply(settings: &mut Table, environment: &BTreeMap<String, String>, notices: &mut Vec<String>) -> Result<(), ConfigError> {
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
                    Value::Float(_) => Value::Float(value.parse().map_err(|_| unparsable("a number"))?),
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
        "webhooks.allow_private" => {
            (|value| value.parse::<Networks>().is_ok(), "addresses or networks like 10.0.0.0/24, separated by commas")
        }
        "http.trusted_proxies" => (|value| value.parse::<Proxies>().is_ok(), "addresses or networks like 10.0.0.0/24, separated by commas"),
        "http.allowed_origins" => (|value| value.parse::<Origins>().is_ok(), "origins like https://ui.factory, separated by commas"),
        "auth.mode" => (|value| matches!(value, "strict" | "compat"), "`strict` or `compat`"),
        "devices.auth" => (|value| matches!(value, "auto" | "required" | "optional"), "`auto`, `required` or `optional`"),
        "devices.callbacks" => (|value| matches!(value, "token" | "known_device"), "`token` or `known_device`"),
        "telemetry.log_format" => (|value| matches!(value, "text" | "json"), "`text` or `json`"),
        "database.url" => (|value| parse_url(value).is_ok(), "postgres://user:password@host:port/database"),
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

/// The variables of this process that are read, and behind them those of a `.env` file; and which these are.
pub(super) fn given() -> (BTreeMap<String, String>, BTreeSet<String>) {
    let mut environment = match std::fs::read_to_string(".env") {
        Ok(text) => dot_env(&text),
        Err(_) => BTreeMap::new(),
    };
    let mut behind: BTreeSet<String> = environment.keys().cloned().collect();
    for (name, value) in std::env::vars_os() {
        if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string())
            && is_read(&name)
        {
            behind.remove(&name);
            environment.insert(name, value);
        }
    }
    (environment, behind)
}

/// What the variable is in the environment, or else in a `.env` file.
pub fn variable(name: &str) -> Option<String> {
    given().0.remove(name)
}

/// `NAME=value` lines; comments, `export` and one pair of quotes are understood.
pub(super) fn dot_env(text: &str) -> BTreeMap<String, String> {
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
        .filter(|(name, _)| is_read(name))
        .collect()
}
