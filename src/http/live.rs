//! The live streams of this process: what they read from, and how many there may be.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::bulk_run_stream::RunSource;
use super::device_stream::DeviceSource;
use super::event_stream::LogSource;
use super::station_stream::VerdictSource;
use crate::commands::Commands;
use crate::projections::reads::Reads;
use crate::streams::{Feed, HEARTBEAT, Seats, Signals, Watched};

/// How many streams a process has.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    pub max: usize,
    pub per_user_max: usize,
    pub heartbeat: Duration,
}

impl StreamLimits {
    pub fn new(max: usize, per_user_max: usize) -> Self {
        Self { max, per_user_max, heartbeat: HEARTBEAT }
    }
}

pub struct Live {
    pub devices: Arc<Feed<DeviceSource>>,
    pub log: Arc<Feed<LogSource>>,
    pub verdicts: Arc<Feed<VerdictSource>>,
    pub runs: Watched<RunSource>,
    pub seats: Arc<Seats>,
    pub heartbeat: Duration,
    /// Ends them all.
    pub stop: CancellationToken,
}

impl Live {
    /// `response_timeout`: after which the outcome of a device command is unknown, as readers are told.
    pub fn new(reads: &Reads, commands: &Commands, response_timeout: Duration, limits: StreamLimits, stop: CancellationToken) -> Arc<Self> {
        let devices = DeviceSource { reads: reads.clone(), commands: commands.clone(), response_timeout };
        Arc::new(Self {
            devices: Arc::new(Feed::new(devices, stop.clone())),
            log: Arc::new(Feed::new(LogSource(reads.clone()), stop.clone())),
            verdicts: Arc::new(Feed::new(VerdictSource(reads.clone()), stop.clone())),
            runs: Watched::new(RunSource(reads.clone()), stop.clone()),
            seats: Seats::new(limits.max, limits.per_user_max),
            heartbeat: limits.heartbeat,
            stop,
        })
    }

    /// Reads for all of them, until the end.
    pub async fn follow(self: Arc<Self>, signals: Signals) {
        let verdicts = self.verdicts.follow(signals.clone());
        tokio::join!(self.devices.follow(signals.clone()), self.log.follow(signals), verdicts, self.runs.follow());
    }
}
