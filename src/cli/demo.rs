//! `keystone demo`: everything embedded in a temporary folder, and a shift of four workstations in which things
//! go wrong; then a check of every promise against what the robots made and saw.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::shift::{Incident, Outcome, PLAN, TASKS, Workstation};
use super::story::{logged, text};
use super::{cloud_beside, demo_judging};
use crate::app::App;
use crate::config::Config;
use crate::embedded::private_folder;
use crate::eventstore::{log, story};
use crate::lifecycle::Lifecycle;
use crate::simulator::client::Client;
use crate::simulator::cloud::Cloud;
use crate::simulator::factory::{self, Equipment, Workplace};
use crate::simulator::{Faults, Profile, RecordingProfile, RobotConfig};
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
    /// What the robots record
    #[arg(long, value_enum, default_value_t = Profile::Small)]
    profile: Profile,
}

/// How long the log may take to place the last events.
const LOG_PATIENCE: Duration = Duration::from_secs(5);
/// Robots come back sooner than real ones, so that the shift is short.
const PACE: f64 = 5.0;

pub async fn run(mut config: Config, options: Options) -> anyhow::Result<()> {
    let temporary = std::env::temp_dir().join(format!("keystone-demo-{}-{:08x}", std::process::id(), rand::random::<u32>()));
    let folder = options.data_dir.clone().unwrap_or_else(|| temporary.clone());
    config.embedded.data_dir = folder.clone();
    let any = ([127, 0, 0, 1], 0).into();
    config.http.bind = any;
    config.devices.recorder_bind = any;
    config.devices.transfer_bind = any;
    config.embedded.s3_bind = any;
    // One inspector is at work: nobody is there for a second look.
    config.inspection.second_share = 0.0;
    config.telemetry.log = Some(std::env::var("KEYSTONE_LOG").unwrap_or_else(|_| "error".to_owned()));
    telemetry::init_logs(&config.telemetry)?;

    let started = Instant::now();
    println!("Starting Postgres, object store and server in {}", folder.display());
    let lifecycle = Lifecycle::new();
    lifecycle.listen_for_signals()?;
    let cloud = cloud_beside::start(&mut config, &folder, 0).await?;
    let app = match App::start(&config, Metrics::install()?, lifecycle.clone()).await {
        Ok(app) => app,
        Err(error) => {
            // Nothing is in it that anybody could want.
            if options.data_dir.is_none() {
                remove(&temporary).await?;
            }
            return Err(error);
        }
    };
    let timeout = config.http.shutdown_timeout;
    let outcome = tokio::select! {
        outcome = shift(&app, cloud.as_ref(), &folder, &options) => Some(outcome),
        () = lifecycle.stop_requested() => None,
    };
    let stopped = app.stop(timeout).await;
    if let Some(cloud) = cloud {
        cloud.stop().await?;
    }
    // What went wrong can be looked at.
    let wrong = outcome.as_ref().is_some_and(Result::is_err);
    if options.keep || options.data_dir.is_some() || wrong {
        println!("Kept {}", folder.display());
    } else {
        remove(&temporary).await?;
    }
    outcome.context("stopped before the end")??;
    ensure!(stopped?, "not everything stopped in time");
    println!("\nEvery promise was kept. {:.1} s in all.", started.elapsed().as_secs_f64());
    Ok(())
}

/// How long a Postgres that was told to stop may still write in its folder.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(5);

async fn remove(folder: &Path) -> anyhow::Result<()> {
    // Where the user of Postgres cannot reach the folder, the cluster lies elsewhere.
    let cluster = std::fs::read_link(folder.join("postgres")).ok();
    for folder in [Some(folder), cluster.as_deref()].into_iter().flatten() {
        let deadline = Instant::now() + REMOVAL_PATIENCE;
        while folder.exists() {
            match std::fs::remove_dir_all(folder) {
                Err(error) if Instant::now() > deadline => {
                    return Err(anyhow::Error::new(error).context(format!("could not remove {}", folder.display())));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                Ok(()) => {}
            }
        }
    }
    Ok(())
}

async fn shift(app: &App, cloud: Option<&Cloud>, folder: &Path, options: &Options) -> anyhow::Result<()> {
    private_folder(&folder.join("robots"))?;
    let base = format!("http://{}", app.http);
    let client = Client::signed_in(&base, app.admin_login())?;
    let made = factory::seed(&client, "Demo", PLAN.len()).await?;
    let order = factory::place_order(&client, &made, "Shelves in aisle A", TASKS).await?;
    println!("Seeded a factory with {} workstations; placed order {order} for {TASKS} recordings", PLAN.len());

    let bars = MultiProgress::new();
    let mut work = tokio::task::JoinSet::new();
    for (n, (place, plan)) in made.stations.iter().zip(PLAN).enumerate() {
        let bar = bars.add(ProgressBar::new(0));
        bar.set_style(ProgressStyle::with_template("  {prefix}  [{bar:24}] {msg}")?.progress_chars("=> "));
        bar.set_prefix(place.device_id.clone());
        let equipment = Equipment::renewed(&client, place.robot_id).await?;
        let robot = robot_config(equipment, folder, &made.factory_id.to_string(), place, options.profile, n as u64);
        let station = Workstation::open(client.clone(), &made, order, place, robot, Duration::from_secs_f64(options.seconds), bar);
        let station = station.await.with_context(|| format!("workstation of {}", place.device_id))?;
        work.spawn(station.work(plan));
    }
    let (mut outcomes, mut broken) = (vec![], vec![]);
    while let Some(ended) = work.join_next().await {
        let station = ended.context("a collector panicked")??;
        broken.extend(station.broken_promises());
        outcomes.extend(station.outcomes);
    }
    outcomes.sort_by_key(|outcome| outcome.task.id);

    wait_for_log(app).await?;
    let told = outcomes.iter().find(|outcome| outcome.incident == Incident::ConnectionLost).context("the plan has a lost connection")?;
    println!("\nHistory of {}, whose robot lost its connections while it recorded:\n", told.task.public_id);
    for told in story::of_task(&app.pool, &told.task.public_id).await? {
        println!("{}", text(&logged(told)));
    }
    print_summary(&outcomes);
    for outcome in &outcomes {
        broken.extend(outcome.check());
        broken.extend(acked_too_early(app, outcome).await?);
    }
    broken.extend(check_order(&client, app, order, &outcomes).await?);
    demo_judging::show(&client, &base, &made).await?;
    if let Some(cloud) = cloud {
        broken.extend(cloud_beside::broken_promises(&client, cloud).await?);
    }
    for promise in &broken {
        println!("BROKEN: {promise}");
    }
    ensure!(broken.is_empty(), "{} promises were broken", broken.len());
    Ok(())
}

async fn wait_for_log(app: &App) -> anyhow::Result<()> {
    let deadline = Instant::now() + LOG_PATIENCE;
    while log::head(&app.pool).await?.unplaced > 0 {
        ensure!(Instant::now() < deadline, "the log does not place its last events");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn print_summary(outcomes: &[Outcome]) {
    println!(
        "\n{:<22} {:<38} {:<10} {:>7} {:>9} {:>8}  {:<17} what went wrong",
        "robot", "task", "status", "episode", "bytes", "messages", "SHA-256"
    );
    for outcome in outcomes {
        let text = |value: &serde_json::Value| if value.is_null() { "-".to_owned() } else { value.to_string() };
        let episode = &outcome.episode;
        let checksum = episode["checksum"].as_str().map_or("-".to_owned(), |sum| format!("{}…", &sum[..sum.len().min(16)]));
        println!(
            "{:<22} {:<38} {:<10} {:>7} {:>9} {:>8}  {checksum:<17} {}",
            outcome.device_id,
            outcome.task.public_id,
            outcome.status,
            text(&episode["id"]),
            text(&episode["file_size_bytes"]),
            text(&episode["message_count"]),
            outcome.incident.told(),
        );
    }
}

/// The ack may arrive after the event that it stands on, and not before.
async fn acked_too_early(app: &App, outcome: &Outcome) -> anyhow::Result<Option<String>> {
    let Some(ack) = &outcome.ack else { return Ok(None) };
    let story = story::of_task(&app.pool, &outcome.task.public_id).await?;
    let durable = story.iter().find(|told| told.event.event_type == "upload_verified").map(|told| told.event.recorded_at);
    Ok(durable.is_none_or(|at| at > ack.at).then(|| format!("{} was acked before it was durable", outcome.task.public_id)))
}

async fn check_order(client: &Client, app: &App, order: i64, outcomes: &[Outcome]) -> anyhow::Result<Vec<String>> {
    let mut broken = vec![];
    if outcomes.len() != TASKS {
        broken.push(format!("{} tasks were worked on instead of {TASKS}", outcomes.len()));
    }
    let completed = outcomes.iter().filter(|outcome| outcome.status == "completed").count();
    let placed = client.get(&format!("/orders/{order}")).await?;
    if placed["completed_count"].as_u64() != Some(completed as u64) {
        broken.push(format!("the order counts {} completed tasks instead of {completed}", placed["completed_count"]));
    }
    broken.extend(log::verify(&app.pool).await?.iter().map(|breach| format!("the log: {breach}")));
    println!(
        "\n{completed} of {TASKS} recordings are episodes, byte for byte. {} events in the log, their hash chain is unbroken.",
        log::head(&app.pool).await?.position
    );
    Ok(broken)
}

fn robot_config(equipment: Equipment, folder: &Path, factory_id: &str, place: &Workplace, profile: Profile, seed: u64) -> RobotConfig {
    RobotConfig {
        device_id: place.device_id.clone(),
        factory_id: factory_id.to_owned(),
        recorder_url: equipment.recorder_url,
        transfer_url: equipment.transfer_url,
        recorder_token: Some(equipment.token),
        store: equipment.store,
        data_dir: folder.join("robots").join(&place.device_id),
        pace: PACE,
        profile: RecordingProfile::of(profile, 2304),
        attempts_max: 2,
        seed,
        faults: Faults::default(),
    }
}
