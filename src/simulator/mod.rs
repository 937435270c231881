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
//! What goes wrong can be asked for: [`Faults`].

pub mod client;
mod clock;
pub mod collector;
pub mod factory;
mod faults;
mod link;
mod options;
mod profile;
mod recorder;
mod recording;
mod report;
mod robot;
mod store;
mod transfer;
mod uploads;
mod wire;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use faults::Faults;
pub use options::SimulateOptions;
pub use profile::{Profile, RecordingProfile, TopicKind, TopicProfile};
pub use recording::sha256_of as file_sha256;
pub use report::{AckReport, CallbackKind, CallbackReport, RecordingReport, RobotReport, UploadFailure, UploadReport, Violation};
pub use robot::{Robot, RobotConfig};
pub use store::StoreConfig;
pub use wire::RecorderState;

/// Runs as many robots as `options` ask for, until `stop`.
pub async fn simulate(options: &SimulateOptions, stop: CancellationToken) -> anyhow::Result<Vec<RobotReport>> {
    let robots = options.equipped_robots().await?.into_iter().map(Robot::start).collect::<anyhow::Result<Vec<_>>>()?;
    stop.cancelled().await;
    let reports: Vec<_> = robots.iter().map(Robot::report).collect();
    let mut stopping: JoinSet<()> = robots.into_iter().map(Robot::stop).collect();
    while stopping.join_next().await.is_some() {}
    Ok(reports.iter().map(|report| report.borrow().clone()).collect())
}

#[cfg(test)]
mod tests;
