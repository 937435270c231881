//! One robot: its two programs, its lives, and its double.

use std::fs;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use http::Uri;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::faults::{self, Faults};
use super::link::{HostHeader, LinkConfig, link};
use super::profile::RecordingProfile;
use super::recorder::{Recorder, RecorderConfig};
use super::recording::{DeviceFacts, Power};
use super::report::{Reporter, RobotReport};
use super::store::{Store, StoreConfig};
use super::transfer::{Transfer, TransferConfig};
use super::uploads::{Destination, Uploads};

#[derive(Debug, Clone)]
pub struct RobotConfig {
    pub device_id: String,
    /// First part of every object key.
    pub factory_id: String,
    /// Complete, as the recorder connects to it.
    pub recorder_url: String,
    /// Without the device id, which the transfer program appends.
    pub transfer_url: String,
    /// Sent by the recorder as a bearer token; the transfer program has no such setting.
    pub recorder_token: Option<String>,
    pub store: StoreConfig,
    /// Holds `recording/` and `transfer/`, and all that survives a restart.
    pub data_dir: PathBuf,
    /// Divides every wait (reconnect, ping, retry) and multiplies the rate of messages.
    /// Times in frames and recordings stay those of the wall.
    pub pace: f64,
    pub profile: RecordingProfile,
    /// Upload attempts in all before a task has failed for ever.
    pub attempts_max: u32,
    pub seed: u64,
    pub faults: Faults,
}

impl RobotConfig {
    /// As many attempts as real devices make.
    pub const ATTEMPTS_MAX: u32 = 5;

    /// Where the MCAP of a task may lie on its disk: as recorded, or aside after its upload was given up.
    pub fn mcap_paths(&self, task_id: &str) -> [PathBuf; 2] {
        let name = format!("{task_id}.mcap");
        [self.data_dir.join("recording").join(&name), self.data_dir.join("transfer").join(FAILED_DIR).join(name)]
    }
}

const FAILED_DIR: &str = "failed_uploads";

/// A running robot. Dropped, it is killed as by [`Robot::crash`].
pub struct Robot {
    report: Reporter,
    power: CurrentPower,
    network_lost: Arc<Notify>,
    stop: CancellationToken,
    programs: AbortOnDropHandle<()>,
}

/// Of the life that the robot is in; each has its own.
#[derive(Clone, Default)]
struct CurrentPower(Arc<Mutex<Power>>);

impl CurrentPower {
    fn cut(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).cut();
    }

    fn switch_on(&self) -> Power {
        let power = Power::default();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = power.clone();
        power
    }
}

/// How long a killed robot is down, at most, and how long a second one with its id stays.
const DOWN_LONGEST: Duration = Duration::from_secs(10);
const DOUBLE_LONGEST: Duration = Duration::from_secs(10);

impl Robot {
    /// Switches it on. Uploads that an earlier robot left in the same folder are taken up.
    pub fn start(config: RobotConfig) -> anyhow::Result<Self> {
        anyhow::ensure!(config.pace > 0.0, "pace must be above 0, not {}", config.pace);
        let report = Reporter::new(&config.device_id);
        let life = Life { config, report, network_lost: Arc::default(), stop: CancellationToken::new() };
        let power = CurrentPower::default();
        let first = life.programs(power.switch_on())?;
        let Life { report, network_lost, stop, .. } = life.clone();
        // Boxed, because a robot may have a double, which is a robot.
        let lives: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(life.again_and_again(power.clone(), first));
        Ok(Self { report, power, network_lost, stop, programs: AbortOnDropHandle::new(tokio::spawn(lives)) })
    }

    /// Both connections just end, if they are up; the programs go on and connect again.
    pub fn lose_connections(&self) {
        self.network_lost.notify_waiters();
    }

    /// What it saw so far, and whatever comes.
    pub fn report(&self) -> watch::Receiver<RobotReport> {
        self.report.subscribe()
    }

    /// As SIGTERM does: a recording is closed on disk, nobody is told, both sockets close with 1000.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let _ = (&mut self.programs).await;
    }

    /// As kill -9 does: files stay as they are, sockets just end.
    pub async fn crash(mut self) {
        self.power.cut();
        self.programs.abort();
        let _ = (&mut self.programs).await;
    }
}

impl Drop for Robot {
    fn drop(&mut self) {
        self.power.cut();
    }
}

/// What a robot's lives have in common.
#[derive(Clone)]
struct Life {
    config: RobotConfig,
    report: Reporter,
    network_lost: Arc<Notify>,
    stop: CancellationToken,
}

impl Life {
    /// Both programs, from their start to their end.
    fn programs(&self, power: Power) -> anyhow::Result<JoinSet<()>> {
        let Self { config, report, network_lost, stop } = self;
        let recording_dir = config.data_dir.join("recording");
        let transfer_dir = config.data_dir.join("transfer");
        for folder in [&recording_dir, &transfer_dir] {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let mut programs = JoinSet::new();
        let recorder_faults = Faults { corrupt_messages: 0.0, repeated_messages: 0.0, ..config.faults };
        let link_config = LinkConfig {
            name: "recorder",
            url: parse_url(&config.recorder_url)?,
            host: HostHeader::WithoutPort,
            bearer: config.recorder_token.clone(),
            pace: config.pace,
            seed: config.seed,
            faults: recorder_faults,
            faults_seed: config.seed,
            network_lost: network_lost.clone(),
        };
        let link_stop = CancellationToken::new();
        let (link_parts, drive) = link(link_config, link_stop.clone());
        programs.spawn(drive);
        let recorder_config = RecorderConfig {
            device: DeviceFacts { device_id: config.device_id.clone(), hostname: "simulated".into() },
            data_dir: recording_dir.clone(),
            profile: config.profile.clone(),
            pace: config.pace,
            seed: config.seed,
            faults: config.faults,
        };
        let recorder = Recorder::new(recorder_config, link_parts.out, report.clone(), power.clone())?;
        programs.spawn(recorder.run(link_parts.heard, stop.clone(), link_stop));

        let url = format!("{}/{}", config.transfer_url.trim_end_matches('/'), config.device_id);
        let link_config = LinkConfig {
            name: "transfer",
            url: parse_url(&url)?,
            host: HostHeader::WithPort,
            bearer: None,
            pace: config.pace,
            // The same in every process, as seen.
            seed: 0,
            faults: config.faults,
            faults_seed: config.seed.wrapping_add(1),
            network_lost: network_lost.clone(),
        };
        let link_stop = CancellationToken::new();
        let (link_parts, drive) = link(link_config, link_stop.clone());
        programs.spawn(drive);
        let uploads = Uploads::open(transfer_dir.join("transfer_state.json"), power.clone())?;
        let store = Store::new(&config.store)?;
        let destination = &config.store;
        let transfer_config = TransferConfig {
            device_id: config.device_id.clone(),
            factory_id: config.factory_id.clone(),
            data_dir: recording_dir,
            failed_dir: transfer_dir.join(FAILED_DIR),
            destination: Destination {
                bucket: destination.bucket.clone(),
                endpoint: destination.endpoint.clone(),
                region: destination.region.clone(),
            },
            attempts_max: config.attempts_max,
            pace: config.pace,
            seed: config.seed,
            faults: config.faults,
        };
        let transfer = Transfer::new(transfer_config, store, uploads, link_parts.out, report.clone(), power);
        programs.spawn(transfer.run(link_parts.heard, stop.clone(), link_stop));
        Ok(programs)
    }

    /// One life after the other, if the faults ask for it; else one.
    async fn again_and_again(self, power: CurrentPower, first: JoinSet<()>) {
        let Self { config, report, stop, .. } = &self;
        // Not that of the programs, whose lives all begin with the same one.
        let mut rng = StdRng::seed_from_u64(config.seed ^ 0x6c69_7665);
        let RobotConfig { faults, pace, .. } = *config;
        let mut programs = first;
        loop {
            let crash = sleep(faults::next(faults.crashes, pace, &mut rng));
            tokio::select! {
                () = async { while programs.join_next().await.is_some() {} } => return,
                () = crash => {}
                () = doubles(config, stop) => {}
            }
            power.cut();
            programs.shutdown().await;
            report.update(RobotReport::killed);
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(faults::a_while(DOWN_LONGEST, pace, &mut rng)) => {}
            }
            programs = match self.programs(power.switch_on()) {
                Ok(programs) => programs,
                Err(error) => {
                    warn!(device.id = %config.device_id, "Cannot start again after a crash: {error:#}");
                    return;
                }
            };
        }
    }
}

/// Now and then another robot with the same id, which takes the connections. What it sees is of no interest:
/// nobody can tell the two apart.
async fn doubles(config: &RobotConfig, stop: &CancellationToken) {
    let mut rng = StdRng::seed_from_u64(rand::random());
    let name = config.data_dir.file_name().unwrap_or_default().to_string_lossy();
    let double =
        RobotConfig { faults: Faults::default(), data_dir: config.data_dir.with_file_name(format!("{name}-double")), ..config.clone() };
    loop {
        sleep(faults::next(config.faults.doubles, config.pace, &mut rng)).await;
        match Robot::start(double.clone()) {
            Ok(robot) => {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = sleep(faults::a_while(DOUBLE_LONGEST, config.pace, &mut rng)) => {}
                }
                robot.stop().await;
            }
            Err(error) => warn!(device.id = %config.device_id, "Cannot start a second one: {error:#}"),
        }
    }
}

fn parse_url(url: &str) -> anyhow::Result<Uri> {
    url.parse().with_context(|| format!("`{url}` is not a URL"))
}
