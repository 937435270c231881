//! `keystone demo`: everything embedded in a temporary folder, two robots, six episodes, and a
//! check of each against the file that the robot made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{store_of, story};
use crate::app::App;
use crate::config::Config;
use crate::eventstore::log;
use crate::lifecycle::Lifecycle;
use crate::simulator::client::Client;
use crate::simulator::collector::{Collector, Progress};
use crate::simulator::factory::{self, DispatchedTask, Workplace};
use crate::simulator::{Faults, RecordingProfile, RecordingReport, Robot, RobotConfig, RobotReport};
use crate::telemetry::{self, Metrics};

#[derive(clap::Args)]
pub struct Options {
    /// Keep the folder and say where it is
    #[arg(long)]
    keep: bool,
    /// Where to work instead of a temporary folder; kept
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Seconds of each recording
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

const ROBOTS: usize = 2;
const TASKS_PER_ROBOT: usize = 3;
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the log may take to place the last events.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// One episode, and the recording it was made of.
struct Made {
    task: DispatchedTask,
    device_id: String,
    episode: Value,
    recording: RecordingReport,
}

pub async fn run(mut config: Config, options: Options) -> anyhow::Result<()> {
    let temporary = tempfile_in_tmp()?;
    let folder = options.data_dir.clone().unwrap_or_else(|| temporary.clone());
    config.embedded.data_dir = folder.clone();
    config.database.url = None;
    config.s3.endpoint = None;
    let any = ([127, 0, 0, 1], 0).into();
    config.http.bind = any;
    config.devices.recorder_bind = any;
    config.devices.transfer_bind = any;
    config.embedded.s3_bind = any;
    config.telemetry.log = std::env::var("KEYSTONE_LOG").unwrap_or_else(|_| "error".to_owned());
    telemetry::init_logs(&config.telemetry)?;

    let started = Instant::now();
    println!("Starting Postgres, object store and server in {}", folder.display());
    let lifecycle = Lifecycle::new();
    lifecycle.listen_for_signals()?;
    let app = App::start(&config, Metrics::install()?, lifecycle.clone()).await?;
    let timeout = config.http.shutdown_timeout();
    let outcome = tokio::select! {
        outcome = shift(&app, &folder, options.seconds) => outcome,
        () = lifecycle.stop_requested() => Err(anyhow::anyhow!("stopped before the end")),
    };
    let stopped = app.stop(timeout).await;
    let keep = options.keep || options.data_dir.is_some();
    if !keep {
        std::fs::remove_dir_all(&temporary).with_context(|| format!("could not remove {}", temporary.display()))?;
    } else if options.data_dir.is_none() {
        println!("Kept {}", folder.display());
    }
    outcome?;
    ensure!(stopped?, "not everything stopped in time");
    println!(
        "\nAll {} episodes are what their robots recorded. {:.1} s in all.",
        ROBOTS * TASKS_PER_ROBOT,
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

fn tempfile_in_tmp() -> anyhow::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("keystone-demo-{}-{:08x}", std::process::id(), rand::random::<u32>()));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

async fn shift(app: &App, folder: &std::path::Path, seconds: f64) -> anyhow::Result<()> {
    let base = format!("http://{}", app.http);
    let client = Client::sign_in(&base, &app.admin_username, app.admin_password.expose()).await?;
    let made = factory::seed(&client, "Demo", ROBOTS).await?;
    let order = factory::place_order(&client, &made, "Shelves in aisle A", ROBOTS * TASKS_PER_ROBOT).await?;
    println!("Seeded a factory with {ROBOTS} workstations; placed order {order} for {} recordings", ROBOTS * TASKS_PER_ROBOT);

    let bars = MultiProgress::new();
    let mut robots = BTreeMap::new();
    let mut work = tokio::task::JoinSet::new();
    for (n, place) in made.stations.iter().enumerate() {
        let robot = Robot::start(robot_config(app, folder, &made.factory_id.to_string(), place, n as u64))?;
        robots.insert(place.device_id.clone(), robot);
        let tasks = factory::dispatch(&client, &made, order, place, TASKS_PER_ROBOT).await?;
        let bar = bars.add(ProgressBar::new((tasks.len() * STEPS) as u64));
        bar.set_style(ProgressStyle::with_template("  {prefix}  [{bar:24}] {msg}")?.progress_chars("=> "));
        bar.set_prefix(place.device_id.clone());
        let collector = Collector {
            client: client.clone(),
            device_id: place.device_id.clone(),
            recording: Duration::from_secs_f64(seconds),
            patience: PATIENCE,
            look_again: Collector::LOOK_AGAIN,
        };
        work.spawn(async move { record_all(collector, tasks, bar).await });
    }
    let mut done = vec![];
    while let Some(ended) = work.join_next().await {
        done.extend(ended.context("a collector panicked")??);
    }
    done.sort_by_key(|(_, task, _)| task.id);

    let mut all = vec![];
    for (device_id, task, episode_id) in done {
        let episode = client.get(&format!("/episodes/{episode_id}")).await?;
        let report = acked(&robots[&device_id], &task.public_id).await?;
        let recording = report.recordings.iter().find(|recording| recording.task_id == task.public_id).cloned();
        let recording = recording.with_context(|| format!("{device_id} knows no recording of {}", task.public_id))?;
        all.push(Made { task, device_id, episode, recording });
    }
    println!("\nHistory of {}:\n", all[0].task.public_id);
    wait_for_log(app).await?;
    for told in log::story_of_task(&app.pool, &all[0].task.public_id).await? {
        println!("{}", story::line(&told));
    }
    print_summary(&all);
    for robot in robots.values() {
        let report = robot.report().borrow().clone();
        ensure!(report.violations.is_empty(), "{} saw broken promises: {:?}", report.device_id, report.violations);
    }
    for (_, robot) in robots {
        robot.stop().await;
    }
    check(&client, app, order, &all).await
}

/// Statuses a task passes on its way.
const STEPS: usize = 5;

async fn record_all(
    collector: Collector,
    tasks: Vec<DispatchedTask>,
    bar: ProgressBar,
) -> anyhow::Result<Vec<(String, DispatchedTask, i64)>> {
    let mut done = vec![];
    for (n, task) in tasks.into_iter().enumerate() {
        let total = bar.length().unwrap_or_default() as usize / STEPS;
        let step = |progress: Progress| {
            let (step, text) = match progress {
                Progress::Status(status) => {
                    (["pending", "ready", "in_progress", "uploading"].iter().position(|s| *s == status).unwrap_or(4), status)
                }
                Progress::Done(episode) => (STEPS, format!("episode {episode}")),
            };
            bar.set_position((n * STEPS + step) as u64);
            bar.set_message(format!("task {} of {total}: {text}", n + 1));
            if bar.is_hidden() && step == STEPS {
                println!("  {}: task {} of {total}: {text}", collector.device_id, n + 1);
            }
        };
        let episode = collector.record(&task, step).await?;
        done.push((collector.device_id.clone(), task, episode));
    }
    bar.finish_with_message("done");
    Ok(done)
}

/// Waits for the robot to have had its ack.
async fn acked(robot: &Robot, task: &str) -> anyhow::Result<RobotReport> {
    let mut reports = robot.report();
    let had = reports.wait_for(|report| report.acks.iter().any(|ack| ack.task_id == task));
    let report = tokio::time::timeout(PATIENCE, had).await.with_context(|| format!("no ack for {task}"))??;
    Ok(report.clone())
}

async fn wait_for_log(app: &App) -> anyhow::Result<()> {
    let deadline = Instant::now() + LOG_PATIENCE;
    while log::head(&app.pool).await?.unplaced > 0 {
        ensure!(Instant::now() < deadline, "the log does not place its last events");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn print_summary(all: &[Made]) {
    println!("\n{:>7}  {:<24} {:<38} {:>9} {:>8}  SHA-256", "episode", "robot", "task", "bytes", "messages");
    for made in all {
        let episode = &made.episode;
        let checksum = episode["checksum"].as_str().unwrap_or_default();
        println!(
            "{:>7}  {:<24} {:<38} {:>9} {:>8}  {}…",
            episode["id"].to_string(),
            made.device_id,
            made.task.public_id,
            episode["file_size_bytes"].to_string(),
            episode["message_count"].to_string(),
            checksum.get(..16).unwrap_or(checksum)
        );
    }
}

/// Everything the demo promises; anything missing is an error.
async fn check(client: &Client, app: &App, order: i64, all: &[Made]) -> anyhow::Result<()> {
    ensure!(all.len() == ROBOTS * TASKS_PER_ROBOT, "{} episodes instead of {}", all.len(), ROBOTS * TASKS_PER_ROBOT);
    for made in all {
        let (episode, recording) = (&made.episode, &made.recording);
        ensure!(
            episode["file_size_bytes"].as_u64() == Some(recording.size),
            "{}: the size differs: {episode} {recording:?}",
            made.task.public_id
        );
        ensure!(episode["checksum"].as_str() == Some(recording.sha256.as_str()), "{}: the hash differs", made.task.public_id);
        ensure!(episode["message_count"].as_u64() == Some(recording.message_count), "{}: the message count differs", made.task.public_id);
    }
    let placed = client.get(&format!("/orders/{order}")).await?;
    if placed["status"] != "completed" {
        bail!("the order is {} and not completed", placed["status"]);
    }
    let breaches = log::verify(&app.pool).await?;
    ensure!(breaches.is_empty(), "the log breaks its promises: {breaches:?}");
    println!("\nOrder {order} is completed; {} events in the log, their hash chain is unbroken.", log::head(&app.pool).await?.position);
    Ok(())
}

fn robot_config(app: &App, folder: &std::path::Path, factory_id: &str, place: &Workplace, seed: u64) -> RobotConfig {
    RobotConfig {
        device_id: place.device_id.clone(),
        factory_id: factory_id.to_owned(),
        recorder_url: format!("ws://{}/recorder/{}", app.recorder, place.device_id),
        transfer_url: format!("ws://{}/transfer", app.transfer),
        recorder_token: None,
        store: store_of(app),
        data_dir: folder.join("robots").join(&place.device_id),
        pace: 1.0,
        profile: RecordingProfile::small(2304),
        attempts_max: RobotConfig::ATTEMPTS_MAX,
        seed,
        faults: Faults::default(),
    }
}
