//! The Postgres pool, migrations and errors.
//!
//! Everything that talks to Postgres gets its connection here: pooled for commands
//! and reads, dedicated for those who listen or hold a session lock. The role we
//! connect as owns the database and needs nothing beyond that.
//!
//! No wait for an answer is without an end, for a query as for a commit: [`watch`]. A failure is
//! classified once, by [`fault`]; callers decide what it means to them, by the constraint's name
//! where it is a broken promise of the schema.

mod fault;
pub mod plans;
mod watch;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Connect, Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode, SslNegotiation, TargetSessionAttrs};
use tokio_postgres::{AsyncMessage, Client, NoTls, Notification};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::either::Either;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

pub use fault::{Fault, NoSession, fault, no_session, said};

use crate::config::{Database, Secret, parse_url};
use crate::telemetry::chain;
use watch::{GivenUp, InTheClear, Patience, Pulse, Watch, Watched};

/// The lowest version that has what the schema uses.
pub const POSTGRES_MAJOR_MIN: u32 = 15;

/// Shown in `pg_stat_activity`, so that an operator sees whose connection it is.
const APPLICATION_NAME: &str = "keystone-edge";

/// Processes that start at once take turns by this key: "keystone" as a number.
const MIGRATION_LOCK: i64 = 0x6b65_7973_746f_6e65;

/// Before the first probe on a silent connection. With the three probes that follow
/// at ten seconds each, a vanished server is noticed within a minute.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// The same from the other end: for Postgres, too, a client that vanished is gone within seconds and not within its
/// default of two hours, with its locks, also where one of its statements waits for something. A client that is only
/// suspended goes on to answer these; its open transactions end by `idle_in_transaction_session_timeout`.
const SERVER_KEEPALIVES: &str = "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=3 -c tcp_keepalives_count=3 \
                                 -c tcp_user_timeout=10000 -c client_connection_check_interval=5000";

/// Between attempts to reach a database at start, and to get the migration lock.
const START_RETRY: Duration = Duration::from_millis(250);

/// The end of work over all data: building an index, reading the whole log. A way to the database that was lost
/// meanwhile is noticed by then.
const LONG_RUN: Duration = Duration::from_secs(3600);

mod embedded {
    refinery::embed_migrations!("schema");
}

/// Why there is no connection, or what Postgres said.
#[derive(Debug, thiserror::Error)]
pub enum PgError {
    #[error("all database connections are in use")]
    Busy,
    #[error("the database cannot be reached")]
    Unreachable(#[source] tokio_postgres::Error),
    #[error("the database did not answer in time")]
    Timeout,
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
    #[error("the pool is closed")]
    Closed,
    #[error("the database URL is not valid")]
    Url(#[source] tokio_postgres::Error),
    #[error("the database URL asks for TLS and this system has no certificates: {0}")]
    NoCertificates(String),
    #[error("Postgres {found} is too old; {POSTGRES_MAJOR_MIN} or newer is needed")]
    TooOld { found: String },
    #[error(
        "the database {name:?} has the encoding {found}, and texts need UTF8: make one with `create database … encoding 'UTF8' template template0`"
    )]
    Encoding { name: String, found: String },
    #[error("the schema cannot be migrated")]
    Migration(#[from] refinery::Error),
}

impl PgError {
    /// What Postgres said, if it was Postgres that spoke.
    pub fn fault(&self) -> Fault<'_> {
        match self {
            Self::Postgres(error) => fault(error),
            Self::Busy | Self::Unreachable(_) | Self::Timeout => Fault::Unavailable,
            _ => Fault::Other,
        }
    }
}

impl From<PoolError> for PgError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => Self::Busy,
            PoolError::Timeout(_) => Self::Timeout,
            PoolError::Backend(error) => Self::Unreachable(error),
            PoolError::PostCreateHook(_) | PoolError::Closed | PoolError::NoRuntimeSpecified => Self::Closed,
        }
    }
}

/// Where to connect and how. Made once; pool, migrations and dedicated connections
/// come from it.
#[derive(Clone)]
pub struct Connector {
    config: tokio_postgres::Config,
    /// `None`: in the clear. Only an URL that asks for TLS gets it, since `prefer`
    /// would encrypt without knowing to whom.
    tls: Option<MakeRustlsConnect>,
    settings: Database,
    /// What its connections learn from each other.
    pulse: Arc<Pulse>,
    statement_timeout: Duration,
}

/// How long a connection may owe an answer: a third longer than any statement may take.
fn answer_timeout(statement_timeout: Duration) -> Duration {
    statement_timeout * 4 / 3
}

impl Connector {
    /// `url` is the configured one or that of the embedded cluster.
    pub fn new(url: &Secret, settings: &Database) -> Result<Self, PgError> {
        let mut config = parse_url(url.expose()).map_err(PgError::Url)?;
        let tls = match config.get_ssl_mode() {
            SslMode::Require => Some(tls()?),
            _ => None,
        };
        if let (None, Some(password)) = (config.get_password(), &settings.password) {
            config.password(password.expose());
        }
        // Ours first: what the URL says comes later and wins.
        let options = format!(
            "-c statement_timeout={} -c idle_in_transaction_session_timeout={} {SERVER_KEEPALIVES} {}",
            settings.statement_timeout.as_millis(),
            settings.idle_in_transaction_timeout.as_millis(),
            config.get_options().unwrap_or_default(),
        );
        config
            .options(options.trim())
            .connect_timeout(settings.connect_timeout)
            .tcp_user_timeout(settings.tcp_user_timeout)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES);
        if config.get_application_name().is_none() {
            config.application_name(APPLICATION_NAME);
        }
        if config.get_hosts().is_empty() {
            for address in config.get_hostaddrs().to_vec() {
                config.host(address.to_string());
            }
        }
        // Several servers are one that can be written to and others that follow it, in an order that changes.
        if config.get_hosts().len() > 1 && config.get_target_session_attrs() == TargetSessionAttrs::Any {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let statement_timeout = settings.statement_timeout;
        Ok(Self { config, tls, settings: settings.clone(), pulse: Arc::default(), statement_timeout })
    }

    /// For commands beside the server, whose statements may read everything there is.
    pub fn unhurried(mut self) -> Self {
        self.statement_timeout = LONG_RUN;
        // The last of several counts.
        let options = format!("{} -c statement_timeout={}", self.config.get_options().unwrap_or_default(), LONG_RUN.as_millis());
        self.config.options(options);
        self
    }

    /// The same server with another database.
    pub fn with_database(&self, name: &str) -> Self {
        let mut other = self.clone();
        other.config.dbname(name);
        other
    }

    /// A pool that opens connections as they are needed.
    pub fn pool(&self) -> Result<Pool, PgError> {
        let manager_config = ManagerConfig {
            // A connection found closed is replaced; one that breaks in use fails its
            // caller either way, so asking it first would only cost a round trip.
            recycling_method: RecyclingMethod::Fast,
        };
        let opener = PoolOpener { connector: self.clone(), patience: Patience::of(answer_timeout(self.statement_timeout)) };
        let manager = Manager::from_connect(self.config.clone(), opener, manager_config);
        let pulse = self.pulse.clone();
        Pool::builder(manager)
            .max_size(self.settings.pool_max)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(self.settings.pool_wait_timeout))
            .create_timeout(Some(self.settings.connect_timeout))
            .post_create(Hook::sync_fn(|_, _| {
                metrics::counter!(crate::telemetry::POOL_OPENED).increment(1);
                Ok(())
            }))
            .pre_recycle(Hook::sync_fn(move |_, metrics| {
                if pulse.trusts(metrics.created) { Ok(()) } else { Err(HookError::message("others of its age failed")) }
            }))
            .build()
            .map_err(|_| PgError::Closed)
    }

    /// One connection outside the pool, for LISTEN and for session locks.
    pub async fn connect(&self) -> Result<Dedicated, PgError> {
        let limit = self.settings.connect_timeout;
        match tokio::time::timeout(limit, self.connect_unbounded()).await {
            Ok(connected) => connected,
            Err(_) => Err(PgError::Timeout),
        }
    }

    async fn connect_unbounded(&self) -> Result<Dedicated, PgError> {
        let patience = Patience::of(answer_timeout(self.statement_timeout));
        let (client, messages) = self.open(patience.clone()).await.map_err(PgError::Unreachable)?;
        Ok(Dedicated::drive(client, messages, self.statement_timeout, patience))
    }

    /// Opens a watched connection; there is no other way to open one.
    async fn open(&self, patience: Patience) -> Result<(Client, Messages), tokio_postgres::Error> {
        let (mut config, pulse) = (self.config.clone(), self.pulse.clone());
        if let Some(tls) = &self.tls {
            let (client, connection) = config.connect(Watch { tls: tls.clone(), pulse, patience }).await?;
            return Ok((client, messages(connection)));
        }
        if let Some(socket) = local_socket(&config) {
            let stream = match UnixStream::connect(&socket).await {
                Ok(stream) => Either::Left(stream),
                Err(error) => {
                    warn!(error = chain(&error), "Cannot open {}", socket.display());
                    // Errors of the driver are made by the driver only; this says that the connection is closed.
                    Either::Right(tokio::io::empty())
                }
            };
            config.ssl_mode(SslMode::Disable);
            let (client, connection) = config.connect_raw(Watched::new(stream, pulse, patience), NoTls).await?;
            return Ok((client, messages(connection)));
        }
        // What stands in the place of the encryption begins at once, without asking the server for one.
        config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
        let (client, connection) = config.connect(Watch { tls: InTheClear, pulse, patience }).await?;
        Ok((client, messages(connection)))
    }

    /// Waits for a database that is still starting, up to the configured time.
    pub async fn connect_patiently(&self) -> Result<Dedicated, PgError> {
        let deadline = tokio::time::Instant::now() + self.settings.start_timeout;
        let mut told = false;
        loop {
            match self.connect().await {
                Ok(connected) => return Ok(connected),
                Err(error @ (PgError::Unreachable(_) | PgError::Timeout)) if tokio::time::Instant::now() < deadline && may_pass(&error) => {
                    if !std::mem::replace(&mut told, true) {
                        warn!(error = chain(&error), "Waiting for the database");
                    }
                    tokio::time::sleep(START_RETRY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Brings the schema up to this program's version. Several processes may do this at
    /// the same time; a schema that is newer than the program is left as it is, because
    /// migrations only add.
    pub async fn migrate(&self) -> Result<(), PgError> {
        let mut dedicated = self.connect_patiently().await?;
        let client = &mut dedicated.client;
        require_fit(client).await?;
        // A process that is suspended between two migrations has no transaction that could end; its session does, and
        // the lock with it.
        let idle = self.settings.idle_in_transaction_timeout.as_millis();
        client.batch_execute(&format!("set idle_session_timeout = {idle}")).await?;

        let mut told = false;
        // Asked again and again instead of waited for: a waiting statement is a
        // snapshot that `create index concurrently` of the other process waits for.
        while !client.query_one("select pg_try_advisory_lock($1)", &[&MIGRATION_LOCK]).await?.get::<_, bool>(0) {
            if !std::mem::replace(&mut told, true) {
                info!("Waiting for another process to migrate the schema");
            }
            tokio::time::sleep(START_RETRY).await;
        }
        // Building an index may take longer than any request of ours should.
        dedicated.allow(LONG_RUN).await?;
        let client = &mut dedicated.client;
        let report = embedded::migrations::runner().set_abort_missing(false).run_async(client).await?;
        for migration in report.applied_migrations() {
            info!(migration = %migration, "Applied migration `{migration}`");
        }
        // The lock ends with the connection.
        Ok(())
    }
}

/// A migration that this program knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    pub version: i64,
    pub name: String,
    pub checksum: String,
}

/// The migrations of this program, oldest first: what [`Connector::migrate`] brings a schema to.
pub fn migrations() -> Vec<Migration> {
    let runner = embedded::migrations::runner();
    let mut known: Vec<Migration> = runner
        .get_migrations()
        .iter()
        .map(|known| Migration {
            version: i64::from(known.version()),
            name: known.name().to_owned(),
            checksum: known.checksum().to_string(),
        })
        .collect();
    known.sort_by_key(|migration| migration.version);
    known
}

/// What of `known` is not among the applied ones.
pub fn missing<'a>(known: &'a [Migration], applied: &[Migration]) -> Vec<&'a Migration> {
    known.iter().filter(|ours| !applied.iter().any(|theirs| theirs.version == ours.version)).collect()
}

/// What a database was brought to, oldest first; nothing: never by us.
pub async fn applied_migrations(client: &tokio_postgres::Client) -> Result<Vec<Migration>, tokio_postgres::Error> {
    let there: bool = client.query_one("select to_regclass('refinery_schema_history') is not null", &[]).await?.get(0);
    if !there {
        return Ok(vec![]);
    }
    let rows = client.query("select version::bigint, name::text, checksum::text from refinery_schema_history order by 1", &[]).await?;
    Ok(rows.iter().map(|row| Migration { version: row.get(0), name: row.get(1), checksum: row.get(2) }).collect())
}

/// Where a server on this machine listens, if the URL names one; no other server is tried then.
fn local_socket(config: &tokio_postgres::Config) -> Option<PathBuf> {
    match config.get_hosts() {
        [Host::Unix(folder), ..] => Some(folder.join(format!(".s.PGSQL.{}", config.get_ports().first().unwrap_or(&5432)))),
        _ => None,
    }
}

/// A wrong password or a missing database will not get better by waiting.
fn may_pass(error: &PgError) -> bool {
    match error {
        PgError::Unreachable(error) => match error.as_db_error() {
            Some(db) => fault::unavailable(db.code().code()),
            None => true,
        },
        _ => true,
    }
}

/// What no migration could mend.
async fn require_fit(client: &Client) -> Result<(), PgError> {
    let asked = "select current_setting('server_version_num')::int / 10000, current_setting('server_version'),
                        current_database()::text, current_setting('server_encoding')";
    let row = client.query_one(asked, &[]).await?;
    if row.get::<_, i32>(0) < POSTGRES_MAJOR_MIN as i32 {
        return Err(PgError::TooOld { found: row.get(1) });
    }
    let (name, found): (String, String) = (row.get(2), row.get(3));
    if found != "UTF8" {
        return Err(PgError::Encoding { name, found });
    }
    Ok(())
}

fn tls() -> Result<MakeRustlsConnect, PgError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(PgError::NoCertificates(reasons.join("; ")));
    }
    // Named, because more than one provider is linked and the default would be a guess.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| PgError::NoCertificates(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// A connection of one's own. It ends when this is dropped.
pub struct Dedicated {
    pub client: Client,
    /// What LISTEN brings; closed when the connection is lost.
    pub notifications: mpsc::UnboundedReceiver<Notification>,
    statement_timeout: Duration,
    patience: Patience,
    _driver: AbortOnDropHandle<()>,
}

/// What comes on a connection; it is driven by asking for them.
type Messages = BoxStream<'static, Result<AsyncMessage, tokio_postgres::Error>>;

fn messages<S, T>(mut connection: tokio_postgres::Connection<S, T>) -> Messages
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    stream::poll_fn(move |cx| connection.poll_message(cx)).boxed()
}

impl Dedicated {
    fn drive(client: Client, mut messages: Messages, statement_timeout: Duration, patience: Patience) -> Self {
        // Unbounded because a full channel would stop the connection itself; senders
        // coalesce, and a receiver drains whatever there is before it looks.
        let (sender, notifications) = mpsc::unbounded_channel();
        let driver = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                match message {
                    Ok(AsyncMessage::Notification(notification)) => {
                        // The receiver is gone: fine, the client may still be used.
                        let _ = sender.send(notification);
                    }
                    Ok(_) => {}
                    Err(error) if GivenUp::is_reason_of(&error) => return,
                    Err(error) => {
                        warn!(error = chain(&error), "Lost a dedicated database connection");
                        return;
                    }
                }
            }
        });
        Self { client, notifications, statement_timeout, patience, _driver: AbortOnDropHandle::new(driver) }
    }

    /// From here on a statement may take so long, and an answer a third longer.
    pub async fn allow(&self, statement_timeout: Duration) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(&format!("set statement_timeout = {}", statement_timeout.as_millis())).await?;
        self.patience.set(answer_timeout(statement_timeout));
        Ok(())
    }

    /// From here on the limits are those of every connection again.
    pub async fn allow_the_usual(&self) -> Result<(), tokio_postgres::Error> {
        self.allow(self.statement_timeout).await
    }
}

/// Opens the connections of a pool.
struct PoolOpener {
    connector: Connector,
    patience: Patience,
}

impl Connect for PoolOpener {
    fn connect(&self, _: &tokio_postgres::Config) -> Pin<Box<dyn Future<Output = Result<Opened, tokio_postgres::Error>> + Send + '_>> {
        Box::pin(async {
            let (client, mut messages) = self.connector.open(self.patience.clone()).await?;
            let driver = tokio::spawn(async move {
                while let Some(message) = messages.next().await {
                    match message {
                        Ok(_) => {}
                        Err(error) if GivenUp::is_reason_of(&error) => return,
                        Err(error) => {
                            warn!(error = chain(&error), "Lost a database connection of the pool");
                            return;
                        }
                    }
                }
            });
            Ok((client, driver))
        })
    }
}

type Opened = (Client, JoinHandle<()>);

/// A pooled connection, or why there is none.
pub async fn get(pool: &Pool) -> Result<Object, PgError> {
    Ok(pool.get().await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn our_session_settings_stand_before_those_of_the_url() {
        let url = Secret::new("postgres://u:p@db/k?options=-c%20statement_timeout%3D1");
        let connector = Connector::new(&url, &Config::defaults().database).unwrap();
        assert_eq!(
            connector.config.get_options(),
            Some(
                format!(
                    "-c statement_timeout=15000 -c idle_in_transaction_session_timeout=10000 {SERVER_KEEPALIVES} -c statement_timeout=1"
                )
                .as_str()
            )
        );
    }

    #[tokio::test]
    async fn a_database_that_is_not_there_is_unavailable() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let url = Secret::new(format!("postgres://u:p@127.0.0.1:{port}/k"));
        let connector = Connector::new(&url, &Config::defaults().database).unwrap();
        let error = get(&connector.pool().unwrap()).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Unavailable, "{error:?}");
        assert!(chain(&error).contains("Connection refused"), "{}", chain(&error));
    }
}
