//! Arguments of the program `keystone`, and what each command does with them.

mod database;
mod demo;
mod doctor;
mod shift;
mod story;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::{Config, reachable};
use crate::embedded::{private_folder, write_private};
use crate::eventstore::log::Inspection;
use crate::lifecycle::Lifecycle;
use crate::listener;
use crate::projections::rebuild::{REBUILT_SCHEMA, Rebuilt};
use crate::simulator::client::Client;
use crate::simulator::collector::Collector;
use crate::simulator::factory::Equipment;
use crate::simulator::{Faults, Robot, RobotConfig, SimulateOptions, StoreConfig, factory, simulate};
use crate::telemetry::{self, Metrics};

/// The server of a robot-data factory: orders, batches, tasks, episodes.
#[derive(Parser)]
#[command(name = "keystone", version, about, long_about = None)]
pub struct Arguments {
    /// Settings file; what it leaves out keeps its default, and KEYSTONE_* variables come last
    #[arg(long, global = true, env = "KEYSTONE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve; without settings with a private Postgres and object store in ./keystone-data
    Serve {
        /// Also seed a factory, once, and keep simulated robots at work in it
        #[arg(long, value_name = "ROBOTS", num_args = 0..=1, default_missing_value = "1", value_parser = clap::value_parser!(u16).range(1..=50))]
        with_robot: Option<u16>,
    },
    /// A whole shift in a temporary folder: 4 robots, 24 tasks, things go wrong, and every promise is checked
    Demo(demo::Options),
    /// Simulated robots against any server
    Simulate(SimulateOptions),
    /// What happened to a task, across its streams
    Events {
        /// Number or public id of the task
        #[arg(long, value_name = "ID")]
        task: String,
        /// One JSON object per event instead of text
        #[arg(long)]
        json: bool,
    },
    /// Check the log: every event placed once, in order, and the hash chain unbroken
    Verify,
    /// Fold all read models from the log beside the live ones, and compare them
    Rebuild,
    /// Bring the schema up to date, and end
    Migrate,
    /// Whether this site is set up so that it works and loses nothing, and what to do where it is not
    Doctor(doctor::Options),
    /// Print the description of the REST interface
    Openapi,
}

/// What `verify` and `rebuild` end with, as `diff` does: 0 where all is sound, 1 where something is broken, 2 where
/// that could not be found out. Other commands end with 1 upon any error.
const BROKEN: u8 = 1;
const NOT_FOUND_OUT: u8 = 2;

/// Runs the program; the error is for a person.
pub async fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let judges = matches!(arguments.command, Command::Verify | Command::Rebuild);
    match act(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keystone: {error:#}");
            if judges && !error.is::<Broken>() { ExitCode::from(NOT_FOUND_OUT) } else { ExitCode::from(BROKEN) }
        }
    }
}

/// What was looked at is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Broken(String);

async fn act(arguments: Arguments) -> anyhow::Result<()> {
    if let Command::Openapi = arguments.command {
        return say(&serde_json::to_string_pretty(&crate::http::openapi())?);
    }
    if let Command::Simulate(options) = &arguments.command {
        return run_simulate(options).await;
    }
    if let Command::Doctor(options) = &arguments.command {
        doctor::run(arguments.config.as_deref(), options).await;
    }
    let config = Config::load(arguments.config.as_deref())?;
    match arguments.command {
        Command::Serve { with_robot } => serve(config, with_robot).await,
        Command::Demo(options) => demo::run(config, options).await,
        Command::Events { task, json } => {
            let database = database::look(&config).await?;
            let told = story::of_task(&database.pool, &task, json).await;
            database.close().await?;
            told
        }
        Command::Verify => verify(&config).await,
        Command::Rebuild => rebuild(&config).await,
        Command::Migrate => {
            database::migrate(&config).await?;
            println!("The schema is up to date.");
            Ok(())
        }
        Command::Simulate(_) | Command::Openapi | Command::Doctor(_) => Ok(()),
    }
}

async fn serve(config: Config, with_robot: Option<u16>) -> anyhow::Result<()> {
    telemetry::init_logs(&config.telemetry)?;
    match listener::raise_open_files() {
        Ok(files) => tracing::info!(files, "May open {files} files and connections"),
        Err(error) => tracing::warn!(%error, "Could not raise the number of files and connections that may be open: {error}"),
    }
    let lifecycle = Lifecycle::new();
    lifecycle.listen_for_signals()?;
    let timeout = config.http.shutdown_timeout;
    let mut app = App::start(&config, Metrics::install()?, lifecycle.clone()).await?;
    println!("{}", greeting(&app));
    if let Some(robots) = with_robot {
        let work = RobotsAtWork::of(&app, &config, robots);
        let stop = lifecycle.soft_stop().clone();
        lifecycle.spawn("robots at work", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                outcome = work.run() => if let Err(error) = outcome {
                    tracing::error!(error = %format!("{error:#}"), "The simulated robots stopped");
                },
            }
        });
    }
    let reason = app.until_stopped().await;
    crate::lifecycle::end_within(timeout + App::STOP_GRACE);
    let ended = app.stop(timeout).await?;
    reason?;
    if ended { Ok(()) } else { anyhow::bail!("not everything stopped in time; see the log") }
}

/// Prints a line; whoever reads it may have seen enough (`| head`).
fn say(line: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// Addresses and logins.
fn greeting(app: &App) -> String {
    let password = if app.admin_password_is_new {
        format!("{}   (made at this first start and not shown again)", app.admin_password.expose())
    } else {
        "as set before".to_owned()
    };
    let (http, recorder, transfer) = (reachable(app.http), reachable(app.recorder), reachable(app.transfer));
    format!(
        "\nKeystone Edge\n  \
         REST       http://{http}/api/v1\n  \
         Browse     http://{http}/api/v1/docs\n  \
         Metrics    http://{http}/metrics\n  \
         Recorders  ws://{recorder}/recorder/<device_id>\n  \
         Uploaders  ws://{transfer}/transfer/<device_id>\n  \
         Objects    {}  bucket {}\n  \
         Login      {}\n  \
         Password   {password}\n",
        app.s3_endpoint, app.bucket, app.admin_username,
    )
}

async fn run_simulate(options: &SimulateOptions) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let stop = CancellationToken::new();
    let on_signal = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            on_signal.cancel();
        }
    });
    let reports = simulate(options, stop).await?;
    let broken: usize = reports.iter().map(|report| report.violations.len()).sum();
    for report in &reports {
        println!(
            "{}: {} connections, {} kills, {} recordings, {} uploads, {} given up, {} acks, {} broken promises",
            report.device_id,
            report.recorder_connections + report.transfer_connections,
            report.crashes,
            report.recordings.len(),
            report.uploads.len(),
            report.failures.len(),
            report.acks.len(),
            report.violations.len()
        );
        for violation in &report.violations {
            println!("    {violation}");
        }
    }
    if broken == 0 { Ok(()) } else { anyhow::bail!("the server broke {broken} promises") }
}

async fn verify(config: &Config) -> anyhow::Result<()> {
    let database = database::look(config).await?;
    let inspected = crate::eventstore::log::inspect(&database.pool).await;
    database.close().await?;
    let Inspection { head, breaches } = inspected?;
    println!("{} events in order, {} not placed yet", head.position, head.unplaced);
    if head.waiting > LONG_WAIT {
        println!("The oldest has been waiting for {} s: no process gives positions", head.waiting.as_secs());
    }
    for breach in &breaches {
        println!("BROKEN: {breach}");
    }
    if breaches.is_empty() { Ok(()) } else { Err(Broken(format!("the log breaks {} of its promises", breaches.len())).into()) }
}

/// Positions follow commits by milliseconds.
const LONG_WAIT: Duration = Duration::from_secs(60);

async fn rebuild(config: &Config) -> anyhow::Result<()> {
    let database = database::look(config).await?;
    let rebuilt = crate::projections::rebuild::rebuild(&database.pool).await;
    database.close().await?;
    let Rebuilt { position, unplaced, differences } = rebuilt?;
    println!("Folded {position} events in order and {unplaced} not placed yet into the schema `{REBUILT_SCHEMA}`");
    for (table, side, row) in &differences {
        println!("only {side}, in {table}: {row}");
    }
    if differences.is_empty() {
        println!("The live read models equal their events, row by row.");
        Ok(())
    } else {
        Err(Broken(format!("{} rows differ: the live ones are wrong", differences.len())).into())
    }
}

/// Robots that keep working for as long as the server runs.
pub(crate) struct RobotsAtWork {
    base: String,
    account: String,
    password: String,
    /// Where the store is not our own: the key that all robots have.
    given_key: Option<(String, String)>,
    folder: PathBuf,
    robots: u16,
}

/// How long each recording of a robot at work runs, and how long it rests between two.
const RECORDING: Duration = Duration::from_secs(3);
const REST: Duration = Duration::from_secs(2);
/// One task may take this long before it is given up and the next one is tried.
const PATIENCE: Duration = Duration::from_secs(120);
/// Tasks dispatched at once to each robot at work.
const BATCH: usize = 5;

impl RobotsAtWork {
    fn of(app: &App, config: &Config, robots: u16) -> Self {
        Self {
            base: format!("http://{}", reachable(app.http)),
            account: app.admin_username.clone(),
            password: app.admin_password.expose().to_owned(),
            given_key: given_key(config),
            folder: config.embedded.data_dir.join("robots"),
            robots,
        }
    }

    async fn run(self) -> anyhow::Result<()> {
        let client = Client::sign_in(&self.base, &self.account, &self.password).await?;
        let made = self.factory(&client).await?;
        println!("{} workstation(s) at work; their collectors log in as:", made.stations.len());
        for place in &made.stations {
            println!("  {}  {}   (robot {})", place.operator_id, place.password, place.device_id);
        }
        let mut workers = tokio::task::JoinSet::new();
        for (n, place) in made.stations.iter().cloned().enumerate() {
            // As robots do that are registered anew: with a token and a key of its own.
            let Equipment { token, recorder_url, transfer_url, store } = Equipment::renewed(&client, place.robot_id).await?;
            let config = RobotConfig {
                device_id: place.device_id.clone(),
                factory_id: made.factory_id.to_string(),
                recorder_url,
                transfer_url,
                recorder_token: Some(token),
                store: with_key(store, self.given_key.as_ref()),
                data_dir: self.folder.join(&place.device_id),
                pace: 1.0,
                profile: crate::simulator::RecordingProfile::small(2304),
                attempts_max: RobotConfig::ATTEMPTS_MAX,
                seed: n as u64,
                faults: Faults::default(),
            };
            let (client, made) = (client.clone(), made.clone());
            workers.spawn(async move {
                let _robot = Robot::start(config)?;
                work_forever(client, made, n).await
            });
        }
        while let Some(ended) = workers.join_next().await {
            ended.context("a robot at work panicked")??;
        }
        Ok(())
    }
}

impl RobotsAtWork {
    /// The factory of an earlier start, or a new one that later starts find again.
    async fn factory(&self, client: &Client) -> anyhow::Result<factory::Factory> {
        let file = self.folder.join("factory.json");
        if let Ok(text) = std::fs::read(&file) {
            let made: factory::Factory = serde_json::from_slice(&text).with_context(|| format!("{} cannot be read", file.display()))?;
            let known = client.call(reqwest::Method::GET, &format!("/factories/{}", made.factory_id), None).await?;
            if known.status.is_success() && made.stations.len() == usize::from(self.robots) {
                return Ok(made);
            }
        }
        let name = format!("Demo {}", chrono::Utc::now().format("%Y%m%d-%H%M%S"));
        let made = factory::seed(client, &name, usize::from(self.robots)).await?;
        private_folder(&self.folder)?;
        // Holds the passwords of simulated collectors, which open nothing but this factory.
        write_private(&file, &serde_json::to_vec_pretty(&made)?).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(made)
    }
}

/// Tasks that nobody has begun, an earlier start's among them.
async fn waiting_tasks(client: &Client, place: &factory::Workplace) -> anyhow::Result<Vec<factory::DispatchedTask>> {
    let found = client.get(&format!("/tasks?status=pending&workstation_id={}", place.station_id)).await?;
    let items = found["items"].as_array().cloned().unwrap_or_default();
    items
        .iter()
        .map(|task| {
            let public_id = task["task_id"].as_str().unwrap_or_default().to_owned();
            Ok(factory::DispatchedTask { id: crate::simulator::client::id_of(&task["id"])?, public_id })
        })
        .collect()
}

/// Records what waits, then one order of [`BATCH`] tasks after the other.
async fn work_forever(client: Client, made: factory::Factory, n: usize) -> anyhow::Result<()> {
    let place = made.stations[n].clone();
    let collector = Collector {
        client: client.clone(),
        device_id: place.device_id.clone(),
        recording: RECORDING,
        patience: PATIENCE,
        // As often as a page of a person, whose log stays readable.
        look_again: Duration::from_secs(1),
    };
    loop {
        let mut tasks = waiting_tasks(&client, &place).await?;
        if tasks.is_empty() {
            let name = format!("Shelves, robot {}, {}", n + 1, chrono::Utc::now().format("%Y-%m-%d %H:%M:%S"));
            let order = factory::place_order(&client, &made, &name, BATCH).await?;
            tasks = factory::dispatch(&client, &made, order, &place, BATCH).await?;
        }
        for task in tasks {
            match collector.record(&task, |_| {}).await {
                Ok(episode) => println!("{}: {} became episode {episode}", place.device_id, task.public_id),
                Err(error) => {
                    tracing::warn!(device.id = %place.device_id, error = %format!("{error:#}"), "A simulated recording did not come to its end")
                }
            }
            tokio::time::sleep(REST).await;
        }
    }
}

/// The key of an S3 server that is not our own.
pub(crate) fn given_key(config: &Config) -> Option<(String, String)> {
    config.s3.endpoint.as_ref()?;
    Some((config.s3.access_key.clone()?, config.s3.secret_key.as_ref()?.expose().to_owned()))
}

/// The store with a key, which it has already where it is our own.
pub(crate) fn with_key(store: StoreConfig, given: Option<&(String, String)>) -> StoreConfig {
    match given {
        Some((access_key, secret_key)) => StoreConfig { access_key: access_key.clone(), secret_key: secret_key.clone(), ..store },
        None => store,
    }
}
