//! Simulated robots that speak the real protocol.
//!
//! A [`Robot`] is what stands on the factory floor: a recorder program and a
//! transfer program that share a folder. Both behave as real devices were seen to
//! behave, including what is awkward: callbacks are posted once, a lost frame is
//! lost, a silent server freezes the socket, uploads wait for their ack over
//! restarts. What the robot saw can be watched ([`Robot::report`]), above all
//! whether the server kept its promises.
//!
//! It knows nothing of the server but its wire.
//!
//! Not simulated: frames corrupted in fragments, batch actions, log levels, plugins.

pub mod client;
pub mod collector;
pub mod factory;
mod link;
mod options;
mod recorder;
mod recording;
mod report;
mod store;
mod transfer;
mod uploads;
mod wire;

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use http::Uri;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use options::SimulateOptions;
pub use recording::{RecordingProfile, TopicKind, TopicProfile};
pub use report::{AckReport, CallbackKind, CallbackReport, RecordingReport, RobotReport, UploadFailure, UploadReport, Violation};
pub use store::StoreConfig;
pub use wire::RecorderState;

use link::{HostHeader, LinkConfig, link};
use recorder::{Recorder, RecorderConfig};
use recording::{DeviceFacts, Power};
use report::Reporter;
use store::Store;
use transfer::{Transfer, TransferConfig};
use uploads::{Destination, Uploads};

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
}

impl RobotConfig {
    /// As many attempts as real devices make.
    pub const ATTEMPTS_MAX: u32 = 5;
}

/// A running robot. Dropped, it is killed as by [`Robot::crash`].
pub struct Robot {
    report: Reporter,
    power: Power,
    stop: CancellationToken,
    programs: AbortOnDropHandle<()>,
}

impl Robot {
    /// Switches it on. Uploads that an earlier robot left in the same folder are taken up.
    pub fn start(config: RobotConfig) -> anyhow::Result<Self> {
        anyhow::ensure!(config.pace > 0.0, "pace must be above 0, not {}", config.pace);
        let recording_dir = config.data_dir.join("recording");
        let transfer_dir = config.data_dir.join("transfer");
        for folder in [&recording_dir, &transfer_dir] {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let report = Reporter::new(&config.device_id);
        let power = Power::default();
        let stop = CancellationToken::new();
        let mut programs = JoinSet::new();

        let link_config = LinkConfig {
            name: "recorder",
            url: parse_url(&config.recorder_url)?,
            host: HostHeader::WithoutPort,
            bearer: config.recorder_token,
            pace: config.pace,
            seed: config.seed,
        };
        let link_stop = CancellationToken::new();
        let (link_parts, drive) = link(link_config, link_stop.clone());
        programs.spawn(drive);
        let recorder_config = RecorderConfig {
            device: DeviceFacts { device_id: config.device_id.clone(), hostname: "simulated".into() },
            data_dir: recording_dir.clone(),
            profile: config.profile,
            pace: config.pace,
            seed: config.seed,
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
        };
        let link_stop = CancellationToken::new();
        let (link_parts, drive) = link(link_config, link_stop.clone());
        programs.spawn(drive);
        let uploads = Uploads::open(transfer_dir.join("transfer_state.json"), power.clone())?;
        let store = Store::new(&config.store)?;
        let transfer_config = TransferConfig {
            device_id: config.device_id,
            factory_id: config.factory_id,
            data_dir: recording_dir,
            failed_dir: transfer_dir.join("failed_uploads"),
            destination: Destination { bucket: config.store.bucket, endpoint: config.store.endpoint, region: config.store.region },
            attempts_max: config.attempts_max,
            pace: config.pace,
            seed: config.seed,
        };
        let transfer = Transfer::new(transfer_config, store, uploads, link_parts.out, report.clone(), power.clone());
        programs.spawn(transfer.run(link_parts.heard, stop.clone(), link_stop));

        let programs = tokio::spawn(async move { while programs.join_next().await.is_some() {} });
        Ok(Self { report, power, stop, programs: AbortOnDropHandle::new(programs) })
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

fn parse_url(url: &str) -> anyhow::Result<Uri> {
    url.parse().with_context(|| format!("`{url}` is not a URL"))
}

/// Runs as many robots as `options` ask for, until `stop`.
pub async fn simulate(options: &SimulateOptions, stop: CancellationToken) -> anyhow::Result<Vec<RobotReport>> {
    let robots = options.robots()?.into_iter().map(Robot::start).collect::<anyhow::Result<Vec<_>>>()?;
    stop.cancelled().await;
    let reports: Vec<_> = robots.iter().map(Robot::report).collect();
    let mut stopping: JoinSet<()> = robots.into_iter().map(Robot::stop).collect();
    while stopping.join_next().await.is_some() {}
    Ok(reports.iter().map(|report| report.borrow().clone()).collect())
}

#[cfg(test)]
mod tests;
