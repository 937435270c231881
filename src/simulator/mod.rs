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
//! What goes wrong can be asked for: [`Faults`]. On the other side of the server, [`cloud`] is where its episodes go.

pub mod client;
mod clock;
pub mod cloud;
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
mod simulate;
mod store;
mod transfer;
mod uploads;
mod wire;
pub mod work;

pub use faults::Faults;
pub use options::SimulateOptions;
pub use profile::{Profile, RecordingProfile, TopicKind, TopicProfile};
pub use recording::sha256_of as file_sha256;
pub use report::{AckReport, CallbackKind, CallbackReport, RecordingReport, RobotReport, UploadFailure, UploadReport, Violation};
pub use robot::{Robot, RobotConfig};
pub use simulate::simulate;
pub use store::StoreConfig;
pub use wire::RecorderState;

#[cfg(test)]
mod tests;
