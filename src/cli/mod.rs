//! Arguments of the program `keystone`, and what each command does with them.

mod broken;
mod bulk_runs;
mod certificate;
mod cloud;
mod cloud_beside;
mod database;
mod dead_letters;
mod demo;
mod demo_judging;
mod doctor;
mod events;
mod greeting;
mod help;
mod local_file;
mod output;
mod place;
mod qa;
mod ranking;
mod references;
mod remote;
mod robots_at_work;
mod salvage;
mod settings;
mod shift;
mod story;
mod subscriptions;
mod suites;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::app::{App, qa_runs};
use crate::config::{Config, Given, LogFormat, Purpose, Telemetry, variable};
use crate::lifecycle::Lifecycle;
use crate::listener;
use crate::projections::rebuild::Rebuilt;
use crate::simulator::{SimulateOptions, simulate};
use crate::telemetry::{self, Metrics};
use broken::Broken;
use greeting::Greeting;
use output::say;
use place::At;
use robots_at_work::{ROBOTS_MAX, RobotsAtWork};

/// The server of a robot-data factory: orders, batches, tasks, episodes.
#[derive(Parser)]
#[command(name = "keystone", version, about, long_about = None, after_help = help::ALL)]
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
    #[command(after_help = help::SERVE)]
    Serve {
        /// Also seed a factory, once, and keep simulated robots at work in it
        #[arg(long, value_name = "ROBOTS", num_args = 0..=1, default_missing_value = "1", value_parser = clap::value_parser!(u16).range(1..=i64::from(ROBOTS_MAX)))]
        with_robot: Option<u16>,
        /// Also keep a simulated cloud beside it, and push there what is approved; where the settings name a cloud, that one is used
        #[arg(long)]
        with_cloud: bool,
    },
    /// A whole shift in a temporary folder: 4 robots, 24 tasks, things go wrong, and every promise is checked
    #[command(after_help = help::DEMO)]
    Demo(demo::Options),
    /// Simulated robots against any server
    #[command(after_help = help::SIMULATE)]
    Simulate(SimulateOptions),
    /// A cloud to try cloud sync with: an S3 endpoint and a receiver, with faults, and a report of what they received
    #[command(after_help = help::SIMULATE_CLOUD)]
    SimulateCloud(cloud::Options),
    /// What happened: to one task, or whatever a search of the log finds
    #[command(after_help = help::EVENTS)]
    Events(events::Options),
    /// Deliveries that were given up: list, show, count, replay, resolve
    #[command(after_help = help::DEAD_LETTERS)]
    DeadLetters {
        #[command(subcommand)]
        command: dead_letters::Command,
        #[command(flatten)]
        at: At,
    },
    /// Work on many things that one request asked for: list, show, items, cancel, watch
    #[command(after_help = help::BULK_RUNS)]
    BulkRuns {
        #[command(subcommand)]
        command: bulk_runs::Command,
        #[command(flatten)]
        at: At,
    },
    /// Programs that are told of events by webhook: list, show, create, pause, resume, delete, replay, test
    #[command(after_help = help::SUBSCRIPTIONS)]
    Subscriptions {
        #[command(subcommand)]
        command: subscriptions::Command,
        #[command(flatten)]
        at: At,
    },
    /// Rules that episodes are judged by: list, show, draft, change, what-if, activate, retire
    #[command(after_help = help::SUITES)]
    Suites {
        #[command(subcommand)]
        command: suites::Command,
        #[command(flatten)]
        at: At,
    },
    /// What is usual in good recordings of a SOP: list, show, make
    #[command(after_help = help::REFERENCES)]
    References {
        #[command(subcommand)]
        command: references::Command,
        #[command(flatten)]
        at: At,
    },
    /// Which episodes of a SOP to look at first: those that are farthest from what is usual
    #[command(after_help = help::RANKING)]
    Ranking {
        #[command(flatten)]
        options: ranking::RankingOptions,
        #[command(flatten)]
        at: At,
    },
    /// What changed over a shift of a workstation: its last quarter against its first
    #[command(after_help = help::RANKING)]
    Drift {
        #[command(flatten)]
        options: ranking::DriftOptions,
        #[command(flatten)]
        at: At,
    },
    /// How an episode came to be, signed: show, verify, keys, rotate
    #[command(after_help = help::CERTIFICATE)]
    Certificate {
        #[command(subcommand)]
        command: certificate::Command,
        #[command(flatten)]
        at: At,
    },
    /// Check the log: every event placed once, in order, the hash chain unbroken, and the tree what was signed
    #[command(after_help = help::VERIFY)]
    Verify(verify::Options),
    /// Fold all read models from the log beside the live ones, and compare them
    #[command(after_help = help::JUDGES)]
    Rebuild,
    /// Bring the schema up to date, and end
    #[command(after_help = help::MIGRATE)]
    Migrate,
    /// List every setting with its value and where that comes from
    #[command(after_help = help::CONFIG)]
    Config(settings::Options),
    /// Whether this site is set up so that it works and loses nothing, and what to do where it is not
    Doctor(doctor::Options),
    /// Measure recordings and judge them, without a server
    #[command(after_help = help::QA)]
    Qa(qa::Options),
    /// Write what is good of a damaged recording to another file: of one of this machine, or of an episode at a server
    #[command(after_help = help::SALVAGE)]
    Salvage(salvage::Options),
    /// Print the description of the REST interface
    Openapi,
}

/// What `verify`, `rebuild` and `certificate verify` end with, as `diff` does: 0 where all is sound, 1 where something is broken, 2 where
/// that could not be found out. Other commands end with 1 upon any error.
const BROKEN: u8 = 1;
const NOT_FOUND_OUT: u8 = 2;

/// Runs the program; the error is for a person.
pub async fn run() -> ExitCode {
    let arguments = arguments();
    let judges = match &arguments.command {
        Command::Verify(_) | Command::Rebuild => true,
        Command::Certificate { command, .. } => command.judges(),
        _ => false,
    };
    match act(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Causes that an error names itself are not said twice.
            eprintln!("keystone: {}", telemetry::chain(error.as_ref()));
            if judges && !error.is::<Broken>() { ExitCode::from(NOT_FOUND_OUT) } else { ExitCode::from(BROKEN) }
        }
    }
}

/// What was given on the command line. An option of `simulate` that may be a variable may stand in a `.env` file, too, as settings may.
fn arguments() -> Arguments {
    let command = Arguments::command().mut_subcommand("simulate", |simulate| simulate.mut_args(or_dot_env));
    Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

fn or_dot_env(option: Arg) -> Arg {
    let given = option.get_env().and_then(|name| variable(name.to_str()?)).filter(|value| !value.is_empty());
    match given {
        // It comes behind the command line and the environment, and lives as long as the program does.
        Some(value) => option.default_value(&*value.leak()).hide_default_value(true),
        None => option,
    }
}

async fn act(arguments: Arguments) -> anyhow::Result<()> {
    let file = arguments.config.as_deref();
    let load = |purpose| anyhow::Ok(Config::of(&Given::read(file)?, purpose)?);
    match arguments.command {
        Command::Serve { with_robot, with_cloud } => serve(load(Purpose::Serve)?, with_robot, with_cloud).await,
        Command::Demo(options) => demo::run(load(Purpose::Embedded)?, options).await,
        Command::Simulate(options) => run_simulate(&options).await,
        Command::SimulateCloud(options) => cloud::run(options).await,
        Command::Events(options) => {
            let at = options.at.clone();
            at.with(|| load(Purpose::Database), async |place| events::run(place, options).await).await
        }
        Command::DeadLetters { command, at } => {
            at.with(|| load(Purpose::Database), async |place| dead_letters::run(place, command).await).await
        }
        Command::BulkRuns { command, at } => at.with(|| load(Purpose::Database), async |place| bulk_runs::run(place, command).await).await,
        Command::Subscriptions { command, at } => {
            at.with(|| load(Purpose::Database), async |place| subscriptions::run(place, command).await).await
        }
        Command::Suites { command, at } => {
            let shipped = || Ok(qa_runs::settings(&load(Purpose::Database)?).default_suite);
            at.with(|| load(Purpose::Database), async |place| suites::run(place, command, shipped).await).await
        }
        Command::References { command, at } => {
            at.with(|| load(Purpose::Database), async |place| references::run(place, command).await).await
        }
        Command::Ranking { options, at } => at.with(|| load(Purpose::Database), async |place| ranking::rank(place, options).await).await,
        Command::Drift { options, at } => at.with(|| load(Purpose::Database), async |place| ranking::drift(place, options).await).await,
        Command::Certificate { command, at } => certificate::run(command, at, || load(Purpose::Keys)).await,
        Command::Verify(options) => verify::run(&options, || load(Purpose::Database)).await,
        Command::Rebuild => rebuild(&load(Purpose::Database)?).await,
        Command::Migrate => {
            database::migrate(&load(Purpose::Database)?).await?;
            println!("The schema is up to date.");
            Ok(())
        }
        Command::Config(options) => settings::run(file, &options),
        Command::Doctor(options) => doctor::run(file, &options).await,
        Command::Qa(options) => qa::run(&options).await,
        Command::Salvage(options) => salvage::run(options, || load(Purpose::Database)).await,
        Command::Openapi => say(&serde_json::to_string_pretty(&crate::http::openapi())?),
    }
}

async fn serve(mut config: Config, with_robot: Option<u16>, with_cloud: bool) -> anyhow::Result<()> {
    telemetry::init_logs(&config.telemetry)?;
    match listener::raise_open_files() {
        Ok(files) => tracing::info!(files, "May open {files} files and connections"),
        Err(error) => tracing::warn!(%error, "Could not raise the number of files and connections that may be open: {error}"),
    }
    let lifecycle = Lifecycle::new();
    lifecycle.listen_for_signals()?;
    let timeout = config.http.shutdown_timeout;
    let watched = telemetry::is_watched(&config.telemetry);
    if watched {
        say("Keystone Edge starts …")?;
    }
    let folder = config.embedded.data_dir.clone();
    let cloud = if with_cloud { cloud_beside::start(&mut config, &folder, with_robot.map_or(0, |_| ROBOTS_MAX)).await? } else { None };
    let mut app = App::start(&config, Metrics::install()?, lifecycle.clone()).await?;
    let robots = match with_robot {
        Some(robots) => tokio::select! {
            prepared = RobotsAtWork::prepare(&app, &config, robots, cloud.is_some()) => prepared.inspect_err(robots_stopped).ok(),
            () = lifecycle.stop_requested() => None,
        },
        None => None,
    };
    say(&Greeting { app: &app, config: &config, robots: robots.as_ref(), cloud: cloud.as_ref(), watched }.to_string())?;
    if let Some(robots) = robots {
        let stop = lifecycle.soft_stop().clone();
        lifecycle.spawn("robots at work", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                outcome = robots.run() => {
                    if let Err(error) = outcome {
                        robots_stopped(&error);
                    }
                    stop.cancelled().await;
                }
            }
        });
    }
    let reason = app.until_stopped().await;
    crate::lifecycle::end_within(timeout + App::STOP_GRACE);
    let ended = app.stop(timeout).await?;
    if let Some(cloud) = cloud {
        cloud.stop().await?;
    }
    reason?;
    if ended { Ok(()) } else { anyhow::bail!("not everything stopped in time; see the log") }
}

fn robots_stopped(error: &anyhow::Error) {
    tracing::error!(error = format!("{error:#}"), "The simulated robots stopped: {error:#}");
}

async fn run_simulate(options: &SimulateOptions) -> anyhow::Result<()> {
    let log = variable("KEYSTONE_LOG").filter(|log| !log.is_empty()).unwrap_or_else(|| "info".to_owned());
    telemetry::init_logs(&Telemetry { log: Some(log), log_format: LogFormat::Text, otlp_endpoint: None })?;
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

async fn rebuild(config: &Config) -> anyhow::Result<()> {
    let database = database::look(config).await?;
    let rebuilt = crate::projections::rebuild::rebuild(&database.pool).await;
    database.close().await?;
    let Rebuilt { position, unplaced, differences } = rebuilt?;
    println!("Folded {position} events in order and {unplaced} not placed yet");
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
