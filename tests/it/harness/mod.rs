//! What a test needs around it: a database of its own, an S3 endpoint of its own.
//!
//! Everything listens on free ports and lies in temporary folders, and everything is
//! gone afterwards, also when a test or the whole run is killed.

#![allow(dead_code, reason = "each feature uses its part of the harness")]

pub mod balancer;
pub mod bench;
mod cluster;
pub mod counted;
pub mod device;
pub mod disk;
pub mod edge;
pub mod oss;
pub mod relay;
pub mod s3;
pub mod server;
pub mod sse;

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use keystone_edge::blobs::{Access, BlobError, Blobs, ObjectFacts, ObjectKey};
use keystone_edge::config::{Config, Database, Secret};
use keystone_edge::embedded::postgres::{EmbeddedPostgres, Options};
use keystone_edge::embedded::s3::{Credentials, EmbeddedS3, Options as S3Options};
use keystone_edge::pg::Connector;
use keystone_edge::simulator::cloud::{Cloud, CloudOptions};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// A database of one test: fresh, migrated, on the cluster that the run shares.
/// Dropped with the cluster when the run ends.
pub struct TestDatabase {
    pub url: Secret,
    pub connector: Connector,
    pub pool: deadpool_postgres::Pool,
    /// For what the service's own role may not do.
    pub superuser_url: Secret,
}

impl TestDatabase {
    pub async fn new() -> Self {
        log_to_tests();
        let (url, superuser_url) = cluster::fresh_database(true).await;
        Self::of(url, superuser_url)
    }

    /// Not migrated.
    pub async fn empty() -> Self {
        log_to_tests();
        let (url, superuser_url) = cluster::fresh_database(false).await;
        Self::of(url, superuser_url)
    }

    /// One that is there already.
    pub fn of(url: Secret, superuser_url: Secret) -> Self {
        Self::with(url, superuser_url, &Config::defaults().database)
    }

    fn with(url: Secret, superuser_url: Secret, settings: &Database) -> Self {
        let connector = Connector::new(&url, settings).expect("a valid url");
        let pool = connector.pool().expect("a pool");
        Self { url, connector, pool, superuser_url }
    }

    /// The same database, where a statement may take an hour: filling it with millions of rows does.
    pub fn patient(&self) -> Self {
        let settings = Database { statement_timeout: Duration::from_secs(3_600), ..Config::defaults().database };
        Self::with(self.url.clone(), self.superuser_url.clone(), &settings)
    }

    /// The same database by way of a relay.
    pub fn behind(&self, relay: &relay::Relay) -> Self {
        Self::of(through(relay, &self.url), self.superuser_url.clone())
    }

    /// Does what only a superuser may.
    pub async fn as_superuser(&self, sql: &str) {
        let (client, connection) = tokio_postgres::connect(self.superuser_url.expose(), tokio_postgres::NoTls).await.expect("a superuser");
        tokio::spawn(connection);
        // Also where it is the default for everybody that nothing is written.
        client.batch_execute("set default_transaction_read_only = off").await.expect("a setting");
        client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Whether new sessions of this database may write; those that are open end.
    pub async fn read_only(&self, on: bool) {
        let (_, name) = self.url.expose().rsplit_once('/').expect("a url with a database");
        let ended = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}' and pid <> pg_backend_pid()");
        self.as_superuser(&format!("alter database {name} set default_transaction_read_only = {on}")).await;
        if on {
            self.as_superuser(&ended).await;
        }
    }
}

/// A Postgres for a test that kills or restarts it.
pub struct PrivatePostgres {
    pub postgres: Option<EmbeddedPostgres>,
    pub folder: TempDir,
    pub options: Options,
}

/// A cluster of the programs that this run is told to use, as the server's own would be.
pub fn postgres_options() -> Options {
    Options { pg_bin: std::env::var_os("KEYSTONE_PG_BIN").map(Into::into), ..Options::default() }
}

impl PrivatePostgres {
    /// Synced to disk as in production; add `.volatile()` where the test kills nothing.
    pub async fn start() -> Self {
        Self::start_with(postgres_options()).await
    }

    pub async fn start_with(options: Options) -> Self {
        log_to_tests();
        let folder = temp_folder();
        let postgres = EmbeddedPostgres::start(&folder.path().join("postgres"), &options).await.expect("a private cluster");
        Self { postgres: Some(postgres), folder, options }
    }

    pub fn url(&self) -> &Secret {
        self.running().url()
    }

    pub fn running(&self) -> &EmbeddedPostgres {
        self.postgres.as_ref().expect("the cluster is running")
    }

    pub fn connector(&self) -> Connector {
        Connector::new(self.url(), &Config::defaults().database).expect("a valid url")
    }

    /// kill -9, as a crash or the kernel does it.
    pub async fn kill(&mut self) {
        let mut postgres = self.postgres.take().expect("the cluster is running");
        signal(postgres.pid(), nix::sys::signal::Signal::SIGKILL);
        postgres.ended().await.expect("an end");
    }

    /// An orderly stop.
    pub async fn stop(&mut self) {
        let postgres = self.postgres.take().expect("the cluster is running");
        postgres.stop().await.expect("a stop");
    }

    /// On the same data, usually on the same port.
    pub async fn start_again(&mut self) {
        let dir = self.folder.path().join("postgres");
        let started = EmbeddedPostgres::start(&dir, &self.options).await;
        self.postgres = Some(started.expect("the same cluster again"));
    }
}

/// An S3 endpoint and our bucket in it.
pub struct TestObjects {
    pub s3: EmbeddedS3,
    pub blobs: Blobs,
    pub settings: keystone_edge::config::S3,
    pub folder: TempDir,
}

impl TestObjects {
    pub async fn new() -> Self {
        Self::on(Ipv4Addr::LOCALHOST).await
    }

    /// On a free port of another address than loopback's.
    pub async fn on(host: Ipv4Addr) -> Self {
        let folder = temp_folder();
        let settings = Config::defaults().s3;
        let credentials = Credentials { access_key: "test".to_owned(), secret_key: Secret::new("test-secret") };
        let options = S3Options::new(credentials, &settings.bucket, Config::defaults().embedded.s3_upload_expiry);
        let s3 = EmbeddedS3::start(&folder.path().join("objects"), (host, 0).into(), options).await.expect("an S3 endpoint");
        let blobs = Blobs::new(access(&s3), &settings).expect("a client");
        Self { s3, blobs, settings, folder }
    }
}

pub fn access(s3: &EmbeddedS3) -> Access {
    Access {
        endpoint: s3.endpoint(),
        public_endpoint: None,
        access_key: s3.credentials().access_key.clone(),
        secret_key: s3.credentials().secret_key.clone(),
        local: Some(s3.local()),
    }
}

/// SHA-256 in lower-case hex of all that is read of an object, and how many bytes that is, as the server reads whole objects.
pub async fn sha256_of(blobs: &Blobs, key: &ObjectKey, facts: &ObjectFacts) -> Result<(String, u64), BlobError> {
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut pieces = blobs.pieces(key, facts);
    while let Some(piece) = pieces.try_next().await? {
        hash.update(&piece);
        bytes += piece.len() as u64;
    }
    blobs.is_still(key, facts).await?;
    Ok((hex::encode(hash.finalize()), bytes))
}

/// Ports of this machine that nothing listens on, each another one: a port that was let go may be given again at once.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let held: [_; N] = std::array::from_fn(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"));
    held.map(|listener| listener.local_addr().expect("its address").port())
}

/// A folder that is gone afterwards, which a Postgres run as another user can enter.
pub fn temp_folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("keystone-test-").permissions(std::fs::Permissions::from_mode(0o755)).tempdir();
    folder.expect("a temporary folder")
}

/// A simulated cloud on free ports, and the folder that it keeps its objects in.
pub async fn simulated_cloud(change: impl FnOnce(&mut CloudOptions)) -> (Cloud, TempDir) {
    let folder = temp_folder();
    let mut options = CloudOptions::on_free_ports(folder.path().join("cloud"));
    change(&mut options);
    (Cloud::start(options).await.expect("a cloud"), folder)
}

/// Where a database listens.
pub fn address_of(url: &Secret) -> std::net::SocketAddr {
    let (_, place) = url.expose().rsplit_once('@').expect("a url with a place");
    place.split('/').next().and_then(|address| address.parse().ok()).expect("its address")
}

/// The same database, by way of a relay.
pub fn through(relay: &relay::Relay, url: &Secret) -> Secret {
    Secret::new(url.expose().replace(&address_of(url).to_string(), &relay.address.to_string()))
}

/// Recordings and traces of real devices, where they are at hand.
pub fn shared_data() -> Option<PathBuf> {
    let folder = match std::env::var_os("KEYSTONE_SHARED_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
    };
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: there is no folder {}; KEYSTONE_SHARED_DATA names another", folder.display());
    None
}

/// The steps of a trace of a real device, where the folder is.
pub fn trace_steps(trace: &str) -> Option<Vec<serde_json::Value>> {
    let text = std::fs::read_to_string(shared_data()?.join(format!("axon/traces/{trace}.jsonl"))).expect("a trace");
    Some(text.lines().map(|line| serde_json::from_str(line).expect("a step")).collect())
}

pub fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("a signal");
}

/// Waits for a state, not for a moment; gives up loudly.
pub async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !reached().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Shows logs of a failing test; `KEYSTONE_LOG` chooses which.
pub fn log_to_tests() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter = std::env::var("KEYSTONE_LOG").unwrap_or_else(|_| "info".to_owned());
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    });
}
