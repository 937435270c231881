//! The composition root: everything is made here, handed what it needs, and stopped in order.
//!
//! Start: data folder → ports → embedded services → schema → core tasks → subscribers → listeners.
//! Stop: listeners and devices first, so that nothing new comes in; then the dispatcher, which
//! gives back what it does not finish; then the sequencer, when nothing is appended any more and all that was appended
//! gets its position; Postgres and objects last. All of it ends within a stated time, whatever hangs.

mod adapters;
mod administrator;
mod bulk_runs;
pub mod certificates;
mod clouds;
pub mod copies;
mod forgetting;
pub mod log_publishing;
pub mod log_tree;
mod ports;
mod process;
pub mod qa_runs;
mod room;
mod samples;
mod store_guard;
mod subscriptions;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use deadpool_postgres::Pool;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::blobs::{Access, Blobs};
use crate::commands::Commands;
use crate::commands::access_records::access_records;
use crate::commands::callbacks::CallbackTokens;
use crate::commands::waits;
use crate::config::{self, AuthMode, CallbackProof, Config, OnExhausted, Ordering, Secret, host_name};
use crate::devices::Devices;
use crate::devices::effects::CommandEffects;
use crate::dispatcher::{self, DeliverySettings, Worker};
use crate::domain::alert::Alerts;
use crate::domain::bulk_run::BulkAction;
use crate::domain::routing::SubscriberName;
use crate::domain::sync::CloudName;
use crate::embedded::DataDir;
use crate::embedded::keys::{Keys, RobotKeys, Robots, SharedKey};
use crate::embedded::postgres::{EmbeddedPostgres, Options};
use crate::embedded::s3::{self, Credentials, EmbeddedS3};
use crate::eventstore::{EventStore, Holder, Left, Sequencer, search, snapshots};
use crate::http::auth::Identity;
use crate::http::auth::tokens::Tokens;
use crate::http::endpoints::{Endpoint, Endpoints, SecretOf, Store};
use crate::http::fleet::Fleet;
use crate::http::{self, AppState, Live, Means, RequestLimits, StreamLimits};
use crate::lifecycle::Lifecycle;
use crate::listener::{self, Front, Room};
use crate::outbox::{Backoff, Wakes};
use crate::pg::Connector;
use crate::projections::reads::Reads;
use crate::projections::statistics;
use crate::qa::Runs;
use crate::streams::Signals;
use crate::subscribers::cloud_queue::CloudQueue;
use crate::subscribers::edge_copies::Looker;
use crate::subscribers::webhooks::WebhookSettings;
use crate::subscribers::{self, Parts};
use crate::telemetry::Metrics;
use crate::telemetry::activity::Activity;
use crate::telemetry::chain;
use crate::telemetry::otlp::Exporter;
pub use administrator::{ADMIN_PASSWORD, AdminPassword};
use copies::{Patrol, PatrolTerms, Retention};
use forgetting::Kept;
use ports::{Port, Ports};
use process::Membership;
use store_guard::{RefusedWrites, StoreGuard};

/// The wait before a lost connection of a core task is replaced.
const RECONNECT: Duration = Duration::from_millis(500);

/// Between the questions of a process that waits to lead the log.
const STAND_BY: Duration = Duration::from_millis(500);

/// For signing off, which is one statement.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// For the last positions: a step or two, and handing the lead over. With a database that does not answer they are left to
/// the next leader.
const LAST_STEP_TIMEOUT: Duration = Duration::from_secs(3);

/// A chain of event → command → event longer than this is a circle.
const CAUSATION_DEPTH_MAX: i32 = 8;

/// This server's own key to the embedded store.
const SERVER_KEY: &str = "keystone-server";

/// The key that older versions made for robots and themselves, and the name under which its secret is remembered.
const OLD_KEY: &str = "keystone";
pub const OLD_SECRET: &str = "s3";

/// The data folder's file that remembers the secret that signs logins.
pub const JWT_SECRET: &str = "jwt";

/// A shorter secret may stand in a template by chance.
const SECRET_BYTES_MIN: usize = 8;

/// The data folder's file that names the running cluster, for tools beside the server.
pub const DATABASE_URL_FILE: &str = "database_url";

/// A running server.
pub struct App {
    pub http: SocketAddr,
    pub recorder: SocketAddr,
    pub transfer: SocketAddr,
    pub s3_endpoint: String,
    pub bucket: String,
    pub admin_username: String,
    pub admin_password: AdminPassword,
    tokens: Tokens,
    pub pool: Pool,
    pub commands: Commands,
    /// The last position of the log.
    pub log_head: watch::Receiver<i64>,
    lifecycle: Lifecycle,
    /// The sequencer: it goes on until all others have said their last word.
    log_lifecycle: Lifecycle,
    devices: Devices,
    membership: Arc<Membership>,
    postgres: Option<EmbeddedPostgres>,
    s3: Option<EmbeddedS3>,
    /// Held for as long as we write there.
    _data: Option<DataDir>,
}

impl App {
    /// What [`App::stop`] may take beyond the time it is given: the hard end of tasks (2 s), [`LEAVE_TIMEOUT`],
    /// [`LAST_STEP_TIMEOUT`], and the private Postgres with its checkpoint (40 s).
    pub const STOP_GRACE: Duration = Duration::from_secs(50);

    /// Starts everything the settings ask for. What cannot be started is an error that says what to do.
    pub async fn start(config: &Config, metrics: Metrics, lifecycle: Lifecycle) -> anyhow::Result<Self> {
        for notice in &config.notices {
            warn!("{notice}");
        }
        let embedded = config.database.is_embedded() || config.s3.is_embedded();
        let data = embedded.then(|| DataDir::lock(&config.embedded.data_dir)).transpose()?;
        let ports = Ports::take(config)?;
        let (http, recorder, transfer) = (ports.http.address, ports.recorder.address, ports.transfer.address);
        let (postgres, url) = start_database(config, data.as_ref()).await?;
        let connector = Connector::new(&url, &config.database)?;
        connector.migrate().await.context(unusable(&config.database))?;
        let pool = connector.pool()?;

        let reads = Reads::new(pool.clone());
        let Objects { s3, access, secrets, secret_of, refused_writes } = start_objects(config, data.as_ref(), ports.s3, &reads).await?;
        let s3_endpoint = access.endpoint.clone();
        let blobs = Blobs::new(access, &config.s3)?;
        if let Err(error) = blobs.ensure_bucket().await {
            warn!(
                error = chain(&error),
                "The bucket `{}` could not be checked; uploads wait until it can; see KEYSTONE_S3_ENDPOINT and its keys", config.s3.bucket
            );
        }

        let exporter = config.telemetry.otlp_endpoint.as_deref().map(Exporter::install).transpose()?;
        let wakes = Wakes::default();
        let (snapshot_sender, waiting) = snapshots::channel();
        let store = EventStore::new(pool.clone(), wakes.clone()).with_snapshots(snapshot_sender);
        let commands = Commands::new(store).releasing_within(config.devices.finish_timeout());
        let stop = lifecycle.soft_stop().clone();
        // A start that fails from here on asks its tasks to end before it takes away what they need.
        let starting = stop.clone().drop_guard();
        {
            let (pool, stop) = (pool.clone(), stop.clone());
            lifecycle.spawn("snapshots", async move {
                tokio::select! { () = stop.cancelled() => {}, () = snapshots::write_snapshots(pool, waiting) => {} }
            });
        }
        if let Some(refused_writes) = refused_writes {
            lifecycle.spawn("refused writes", refused_writes.record(commands.clone(), stop.clone()));
        }
        let (head, log_head) = watch::channel(0);
        let log_lifecycle = lifecycle.later();
        let log_stop = log_lifecycle.soft_stop().clone();
        log_lifecycle.spawn("sequencer", sequence(connector.clone(), wakes.clone(), config.sequencer.poll_interval, head, log_stop));
        if let Some(exporter) = exporter {
            // Spans of what ends last are sent last.
            log_lifecycle.spawn("traces", exporter.run(log_lifecycle.soft_stop().clone()));
        }
        lifecycle.spawn("terms of the log", search::follow(pool.clone(), log_head.clone(), stop.clone()));
        lifecycle.spawn("statistics", statistics::follow(pool.clone(), log_head.clone(), stop.clone()));
        lifecycle.spawn("wakes", wake_neighbours(connector.clone(), wakes.clone(), stop.clone()));

        let folder = data.as_ref().map(|data| folder_name(&config.database, data)).transpose()?;
        let lease = config.devices.process_lease;
        let membership = Arc::new(Membership::join(commands.clone(), reads.clone(), lease, config.http.internal_url(http), folder).await?);
        membership.succeed().await?;
        let effects = Arc::new(CommandEffects { commands: commands.clone(), reads: reads.clone(), process: membership.id });
        let devices = Devices::new(effects, adapters::link_settings(&config.devices));
        {
            let (membership, hub, stop) = (membership.clone(), devices.hub().clone(), stop.clone());
            lifecycle.spawn("membership", async move { membership.run(hub, stop).await });
        }
        {
            let wakes = wakes.clone();
            devices.hub().on_open(move || wakes.wake(SubscriberName::DeviceCommands));
        }
        let jwt_secret = jwt_secret(&config.auth, data.as_ref())?;
        let certificates = certificates::of(&config.certificates, data.as_ref(), &reads)?;
        let log_signer = log_tree::signer(config.log.origin.as_deref(), &certificates, &pool).await?;
        let every = config.log.checkpoint_every;
        lifecycle.spawn("tree of the log", log_tree::follow(pool.clone(), log_signer.clone(), every, log_head.clone(), stop.clone()));
        let publishing = log_publishing::Publishing { pool: pool.clone(), blobs: blobs.clone(), origin: log_signer.origin().to_owned() };
        lifecycle.spawn("tree of the log in the store", publishing.follow(config.log.publish_every, log_head.clone(), stop.clone()));
        let runs = Runs::new(commands.clone(), blobs.clone(), qa_runs::settings(config));
        let clouds = clouds::clouds(config)?;
        let cloud_names: Vec<CloudName> = clouds.keys().copied().collect();
        let looker = Looker {
            commands: commands.clone(),
            blobs: blobs.clone(),
            clouds: clouds.clone(),
            bytes_per_s: config.patrol.bytes_per_second_max,
        };
        let parts = Parts {
            hub: devices.hub().clone(),
            commands: commands.clone(),
            reads: reads.clone(),
            callbacks: CallbackTokens::new(jwt_secret.expose().as_bytes()),
            blobs: blobs.clone(),
            sidecar_bytes_max: config.limits.sidecar_bytes_max,
            runs: runs.clone(),
            judges_new: config.qa.enabled,
            webhooks: WebhookSettings { allow_private: config.webhooks.allow_private.clone(), paused_after: config.webhooks.paused_after },
            without_login: config.auth.mode == AuthMode::Compat,
            certificates: certificates.clone(),
            clouds,
            looker: looker.clone(),
            sync: clouds::terms(config),
            auto_scan: config.sync.auto_scan,
        };
        let activity = Arc::<Activity>::default();
        for &name in SubscriberName::ALL {
            let worker = Worker {
                pool: pool.clone(),
                subscriber: subscribers::make(name, &parts)?,
                settings: delivery_settings(&config.outbox, name.as_str()),
                wake: wakes.of(name),
                activity: activity.clone(),
                name: worker_name(),
            };
            let hard = lifecycle.hard_stop().clone();
            lifecycle.spawn(format!("deliveries to {}", name.as_str()), dispatcher::run(worker, stop.clone(), hard));
        }

        let alerts = Arc::<Mutex<Alerts>>::default();
        let folder = data.as_ref().map(|data| data.path().to_owned());
        lifecycle.spawn("samples", samples::follow(pool.clone(), folder.clone(), alerts.clone(), activity.clone(), stop.clone()));
        lifecycle.spawn("rows of subscriptions", subscriptions::fan_out(commands.clone(), log_head.clone(), stop.clone()));
        lifecycle.spawn("deaths of deliveries", subscriptions::tell_deaths(commands.clone(), stop.clone()));
        let bulk = bulk_runs::Worker {
            commands: commands.clone(),
            runs: runs.clone(),
            name: worker_name(),
            at_once: config.qa.bulk_workers.max(1),
            clouds: cloud_names.clone(),
        };
        // Checks over many episodes take hours; what else is asked for does not wait for them.
        lifecycle.spawn("bulk runs", bulk_runs::work(bulk.clone(), None, stop.clone()));
        lifecycle.spawn("bulk runs of the checks", bulk_runs::work(bulk.clone(), Some(BulkAction::BulkQa), stop.clone()));
        lifecycle.spawn("bulk runs of cloud sync", bulk_runs::work(bulk.clone(), Some(BulkAction::BulkSync), stop.clone()));
        lifecycle.spawn("bulk runs of cleanup", bulk_runs::work(bulk.clone(), Some(BulkAction::BulkCleanup), stop.clone()));
        lifecycle.spawn("suites that are applied", bulk_runs::work(bulk, Some(BulkAction::ApplySuite), stop.clone()));
        let queue = CloudQueue::new(commands.clone(), reads.clone(), cloud_names.clone(), config.sync.auto_scan);
        lifecycle.spawn("approved episodes for the cloud", clouds::scan(queue, stop.clone()));
        if let Some(retention) = Retention::of(&config.edge_copies, blobs.folder()) {
            lifecycle.spawn("copies that are removed by rule", copies::retain(commands.clone(), retention, stop.clone()));
        }
        if let Some(terms) = PatrolTerms::of(&config.patrol) {
            let patrol = Patrol { looker, terms };
            lifecycle.spawn("patrol of stored copies", copies::patrol(patrol, stop.clone()));
        }
        lifecycle.spawn("runs that took too long", qa_runs::end_overdue(commands.clone(), qa_runs::outside(config), stop.clone()));
        lifecycle.spawn("what is kept for a while", forgetting::forget(commands.clone(), Kept::of(config), stop.clone()));
        // Until the last request is answered.
        let (noting, ended_waits) = waits::waits();
        let (recording, records) = access_records();
        lifecycle.spawn("records of access", records.write(commands.clone(), lifecycle.hard_stop().clone()));
        lifecycle.spawn("callers that wait no more", ended_waits.note(commands.clone(), lifecycle.hard_stop().clone()));

        let admin_password = administrator::settle(&config.auth, data.as_ref(), &commands, &reads).await?;
        let settings = http::EdgeSettings {
            auth_mode: match config.auth.mode {
                AuthMode::Strict => http::AuthMode::Strict,
                AuthMode::Compat => http::AuthMode::Compat,
            },
            jwt_secret: jwt_secret.expose().as_bytes().to_vec(),
            jwt_issuer: config.auth.jwt_issuer.clone(),
            jwt_lifetime: config.auth.jwt_expiry,
            link_lifetime: config.s3.presign_ttl,
            viewer_lifetime: config.s3.viewer_ttl,
            lichtblick_url: config.http.lichtblick_url.clone(),
            admin_username: config.auth.admin_username.clone(),
            display_token: config.auth.display_token.as_ref().map(|token| token.expose().to_owned()),
            callbacks_of_known_devices: config.devices.callbacks == CallbackProof::KnownDevice,
            callback_base_url: config.http.callback_base_url(http),
            bucket: config.s3.bucket.clone(),
            body_bytes_max: config.limits.body_bytes_max,
            request_timeout: config.http.write_timeout,
            read_timeout: config.http.read_timeout,
            qa_timeout: config.qa.timeout,
            inspection: qa_runs::inspection(config),
            outside: qa_runs::outside(config),
            device_response_timeout: config.devices.response_timeout,
            device_finish_timeout: config.devices.finish_timeout(),
            endpoints: Endpoints {
                recorder: Endpoint {
                    public_url: config.devices.recorder_public_url.clone(),
                    port: recorder.port(),
                    token_required: config.devices.token_required_on(recorder),
                },
                transfer: Endpoint {
                    public_url: config.devices.transfer_public_url.clone(),
                    port: transfer.port(),
                    token_required: config.devices.token_required_on(transfer),
                },
            },
            store: Store {
                // Under another name than ours only where it is told so; a store of our own is on the host robots reach.
                public_url: config.s3.public_endpoint.clone().or_else(|| config.s3.endpoint.clone()),
                port: s3.as_ref().map_or(0, |s3| s3.address().port()),
                region: config.s3.region.clone(),
                secret_of,
            },
            secrets: {
                let ours = secrets
                    .iter()
                    .chain([&jwt_secret])
                    .chain(admin_password.known())
                    .chain(config.auth.display_token.as_ref())
                    .map(|secret| secret.expose().to_owned());
                ours.filter(|secret| secret.len() >= SECRET_BYTES_MIN).collect()
            },
            registrations_per_minute: config.limits.registrations_per_minute,
            requests: RequestLimits::new(
                config.limits.requests_per_second_per_login,
                config.limits.requests_per_second_per_address,
                config.limits.exports_per_minute_per_login,
            ),
            refusals_per_minute_max: config.audit.refusals_per_minute_max,
            sync: http::SyncSettings {
                clouds: cloud_names,
                platform: config.sync.platform(),
                auto_scan: config.sync.auto_scan,
                max_retries: config.sync.max_retries(),
                deadline: config.sync.deadline(),
                at_once: config.outbox.delivery(SubscriberName::CloudSync.as_str()).concurrency,
                looked_at_every: config.outbox.poll_interval,
            },
            streams: StreamLimits::new(config.limits.streams_max, config.limits.streams_per_user_max),
        };
        let live = Live::new(&reads, &commands, settings.device_response_timeout, settings.streams, stop.clone());
        lifecycle.spawn("live streams", live.clone().follow(Signals { head: log_head.clone(), commits: wakes.commits() }));
        let state = AppState::new(
            commands.clone(),
            reads,
            Means {
                fleet: Fleet::new(devices.hub().clone()),
                objects: http::objects::Objects::new(blobs),
                runs,
                certificates,
                log: log_signer,
            },
            live,
            settings,
            Arc::new(move || metrics.render()),
        )?
        .probing(membership.id, folder)
        .showing(alerts, activity)
        .noting(noting)
        .recording(recording);
        let tokens = state.tokens.clone();
        let main_routes = http::router(state).merge(devices.routes(config.devices.token_required_on(http)));
        let front = Front {
            room: room(&config.limits, &config.http),
            read_timeout: config.http.read_timeout,
            origins: config.http.allowed_origins.clone(),
        };
        let (recorder_routes, transfer_routes) = (
            devices.recorder_routes(config.devices.token_required_on(recorder)),
            devices.transfer_routes(config.devices.token_required_on(transfer)),
        );
        serve(&lifecycle, "http", ports.http.listen()?, front.clone(), main_routes);
        serve(&lifecycle, "recorder sockets", ports.recorder.listen()?, front.clone(), recorder_routes);
        serve(&lifecycle, "transfer sockets", ports.transfer.listen()?, front, transfer_routes);
        starting.disarm();

        info!(http.address = %http, recorder.address = %recorder, transfer.address = %transfer, "Serves on http://{http}");
        Ok(Self {
            http,
            recorder,
            transfer,
            s3_endpoint,
            bucket: config.s3.bucket.clone(),
            admin_username: config.auth.admin_username.clone(),
            admin_password,
            tokens,
            pool,
            commands,
            log_head,
            lifecycle,
            log_lifecycle,
            devices,
            membership,
            postgres,
            s3,
            _data: data,
        })
    }

    /// A login of the administrator, for programs inside this one.
    pub fn admin_login(&self) -> impl Fn() -> Option<String> + Send + Sync + use<> {
        let (tokens, commands) = (self.tokens.clone(), self.commands.clone());
        move || tokens.login(&Identity::Admin, commands.now())
    }

    /// Waits for a reason to stop: a signal, or the end of something that should not end. Meanwhile a private Postgres
    /// that ends is started again; where that fails, so does this.
    pub async fn until_stopped(&mut self) -> anyhow::Result<()> {
        let lifecycle = self.lifecycle.clone();
        let Some(postgres) = &mut self.postgres else {
            lifecycle.stop_requested().await;
            return Ok(());
        };
        tokio::select! {
            () = lifecycle.stop_requested() => Ok(()),
            error = postgres.keep_running() => Err(error).context("the private Postgres does not stay up"),
        }
    }

    /// Stops everything in order, within `timeout` and [`App::STOP_GRACE`]. Answers whether all of it ended in time and
    /// by itself.
    pub async fn stop(mut self, timeout: Duration) -> anyhow::Result<bool> {
        let mut postgres = self.postgres.take();
        let clean = {
            // A signal to all processes of a group ends Postgres, too; what is under way needs it until its end.
            let kept = async {
                if let Some(postgres) = &mut postgres {
                    let error = postgres.keep_running().await;
                    warn!(error = chain(&error), "The private Postgres does not stay up while this process stops: {error}");
                }
                std::future::pending().await
            };
            tokio::select! { clean = self.stop_in_order(timeout) => clean, () = kept => false }
        };
        if let Some(postgres) = postgres {
            postgres.stop().await.context("Postgres did not stop in order")?;
        }
        Ok(clean)
    }

    /// All but the database.
    async fn stop_in_order(self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        self.lifecycle.request_stop();
        let devices = tokio::time::timeout_at(deadline, self.devices.shutdown(timeout / 2)).await;
        let ended = self.lifecycle.shutdown(deadline.saturating_duration_since(Instant::now())).await;
        if tokio::time::timeout(LEAVE_TIMEOUT, self.membership.leave()).await.is_err() {
            warn!("Could not sign off in time; the lease of this process runs out");
        }
        let log_ended = self.log_lifecycle.shutdown(LAST_STEP_TIMEOUT + Duration::from_secs(1)).await;
        self.pool.close();
        if let Some(s3) = self.s3 {
            s3.stop().await;
        }
        devices.is_ok() && ended.is_clean() && log_ended.is_clean()
    }
}

/// What is said of a database that cannot be looked at, or be brought up to date.
pub fn unusable(database: &config::Database) -> &'static str {
    match database.is_embedded() {
        true => "the database in the data folder cannot be used",
        false => "the database that KEYSTONE_DATABASE_URL (or `database.url`) names cannot be used",
    }
}

/// Names the data folder among the processes that share the database. Where the database itself lies in it, nobody else can
/// have had it; elsewhere a copy of the folder on another machine is another one.
fn folder_name(database: &config::Database, data: &DataDir) -> anyhow::Result<String> {
    let id = data.secret("folder")?.expose().to_owned();
    if database.is_embedded() {
        return Ok(id);
    }
    Ok(format!("{id} {} {}", host_name().unwrap_or_default(), data.path().display()))
}

fn worker_name() -> String {
    format!("process {}", std::process::id())
}

/// The same on each port.
fn room(limits: &config::Limits, http: &config::Http) -> Room {
    let limits = listener::Limits { connections: limits.connections_max, per_address: limits.connections_per_address_max };
    Room { limits, proxies: http.trusted_proxies.clone() }
}

fn serve(lifecycle: &Lifecycle, name: &'static str, listener: TcpListener, front: Front, routes: axum::Router) {
    let stop = lifecycle.soft_stop().clone();
    lifecycle.spawn(name, listener::serve_routes(listener, stop, front, routes));
}

async fn start_database(config: &Config, data: Option<&DataDir>) -> anyhow::Result<(Option<EmbeddedPostgres>, Secret)> {
    if let Some(url) = &config.database.url {
        return Ok((None, url.clone()));
    }
    let data = data.context("an embedded database needs a data folder")?;
    let options = Options { pg_bin: config.embedded.pg_bin.clone(), ..Options::default() };
    let postgres = EmbeddedPostgres::start(&data.path().join("postgres"), &options).await?;
    let url = postgres.url().clone();
    data.remember(DATABASE_URL_FILE, &url)?;
    Ok((Some(postgres), url))
}

/// The object store, and what may be told about it.
struct Objects {
    /// Where it is in this process.
    s3: Option<EmbeddedS3>,
    access: Access,
    /// What must not be seen outside.
    secrets: Vec<Secret>,
    /// The secret half of a robot's key, where keys are ours to give.
    secret_of: Option<SecretOf>,
    /// What its guard refused, to be recorded.
    refused_writes: Option<RefusedWrites>,
}

async fn start_objects(config: &Config, data: Option<&DataDir>, port: Option<Port>, reads: &Reads) -> anyhow::Result<Objects> {
    let given =
        |value: &Option<String>, name: &str| value.clone().with_context(|| format!("{name} is needed with an S3 server of your own"));
    if let Some(endpoint) = &config.s3.endpoint {
        let secret = config.s3.secret_key.clone().context("KEYSTONE_S3_SECRET_KEY is needed with an S3 server of your own")?;
        let access = Access {
            endpoint: endpoint.clone(),
            public_endpoint: config.s3.public_endpoint.clone(),
            access_key: given(&config.s3.access_key, "KEYSTONE_S3_ACCESS_KEY")?,
            secret_key: secret.clone(),
            local: None,
        };
        return Ok(Objects { s3: None, access, secrets: vec![secret], secret_of: None, refused_writes: None });
    }
    let data = data.context("embedded objects need a data folder")?;
    let listener = port.context("embedded objects need a port")?.listen()?;
    // Three secrets that have nothing to do with each other: who holds the shared key must not find out the others.
    let own = Credentials { access_key: SERVER_KEY.to_owned(), secret_key: data.secret("s3_server")? };
    let robot_keys = RobotKeys::new(data.secret("s3_robots")?);
    let shared = shared_key(&config.s3, data)?;
    let robots = Robots { keys: robot_keys.clone(), holders: Arc::new(adapters::StoreKeys(reads.clone())) };
    let keys = Keys::new(own, shared, Some(robots), &config.s3.bucket);
    let secrets = keys.secrets();
    let (guard, refused_writes) = StoreGuard::new(reads.clone(), &config.s3.bucket, SERVER_KEY);
    let options = s3::Options::new(keys, &config.s3.bucket, config.embedded.s3_upload_expiry)
        .guarded_by(guard)
        .with_room(room(&config.limits, &config.http));
    let endpoint = EmbeddedS3::serve(&data.folder("objects")?, listener, options)?;
    let access = Access {
        endpoint: endpoint.endpoint(),
        public_endpoint: config.s3.public_endpoint.clone(),
        access_key: endpoint.credentials().access_key.clone(),
        secret_key: endpoint.credentials().secret_key.clone(),
        local: Some(endpoint.local()),
    };
    let secret_of = Arc::new(move |access_key: &str| robot_keys.secret_of(access_key).expose().to_owned());
    Ok(Objects { s3: Some(endpoint), access, secrets, secret_of: Some(secret_of), refused_writes: Some(refused_writes) })
}

/// The key that robots shared before each had its own: given, or made by an older version. A new installation has none.
fn shared_key(s3: &config::S3, data: &DataDir) -> anyhow::Result<Option<SharedKey>> {
    let allowed = s3.shared_key != config::SharedKey::Refused;
    let credentials = match (&s3.access_key, &s3.secret_key) {
        (Some(access_key), Some(secret_key)) => Credentials { access_key: access_key.clone(), secret_key: secret_key.clone() },
        _ if data.has_secret(OLD_SECRET) || s3.shared_key == config::SharedKey::Allowed => {
            Credentials { access_key: OLD_KEY.to_owned(), secret_key: data.secret(OLD_SECRET)? }
        }
        _ => return Ok(None),
    };
    Ok(Some(SharedKey { credentials, allowed }))
}

fn jwt_secret(auth: &config::Auth, data: Option<&DataDir>) -> anyhow::Result<Secret> {
    match (&auth.jwt_secret, data) {
        (Some(secret), _) => Ok(secret.clone()),
        (None, Some(data)) => Ok(data.secret(JWT_SECRET)?),
        (None, None) => anyhow::bail!("KEYSTONE_JWT_SECRET is needed where nothing is embedded, because all processes share it"),
    }
}

/// How the rows of a subscriber are worked on.
pub fn delivery_settings(outbox: &config::Outbox, subscriber: &str) -> DeliverySettings {
    let delivery = outbox.delivery(subscriber);
    DeliverySettings {
        concurrency: delivery.concurrency,
        concurrency_total: delivery.concurrency_total,
        attempts_max: delivery.attempts_max(),
        deadline: delivery.deadline(),
        backoff: Backoff::exponential(delivery.backoff_base, delivery.backoff_cap),
        lease: delivery.lease,
        timeout: delivery.timeout,
        per_stream: delivery.ordering == Ordering::PerStream,
        block_on_dead: delivery.on_exhausted == OnExhausted::Block,
        poll: outbox.poll_interval,
        causation_depth_max: CAUSATION_DEPTH_MAX,
    }
}

/// Keeps a sequencer running, or one that waits to lead, over losses of its connection.
async fn sequence(connector: Connector, wakes: Wakes, poll: Duration, head: watch::Sender<i64>, stop: CancellationToken) {
    let holder = Holder::new(process::name());
    loop {
        // One more try after the stop: what was appended last has its position before we go, even where another process led until then.
        let stopping = stop.is_cancelled();
        let run = async {
            let connection = Arc::new(connector.connect().await?);
            loop {
                if let Some(leader) = Sequencer::lead(&connection, &holder).await? {
                    return anyhow::Ok(leader.run(wakes.log(), poll, head.clone(), stop.clone()).await?);
                }
                if stop.is_cancelled() {
                    return Ok(Left::Stopped);
                }
                tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(STAND_BY) => {} }
            }
        };
        let given_up = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_STEP_TIMEOUT).await;
        };
        tokio::select! {
            run = run => match run {
                Ok(Left::Stopped) => return,
                Ok(Left::Lost) => info!("Another process leads the log"),
                Err(error) => warn!(error = format!("{error:#}"), "The sequencer lost its place; starts again"),
            },
            () = given_up => {
                warn!("The last events may have no position; the next leader gives it to them");
                return;
            }
        }
        if stopping {
            return;
        }
        tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(RECONNECT) => {} }
    }
}

async fn wake_neighbours(connector: Connector, wakes: Wakes, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let run = async {
            dispatcher::hear_and_tell(connector.connect().await?, &wakes, &stop).await?;
            anyhow::Ok(())
        };
        if let Err(error) = run.await {
            warn!(error = format!("{error:#}"), "The connection between processes is lost; polling goes on");
        }
        tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(RECONNECT) => {} }
    }
}
