//! What a robot saw, for those who watch it: tests, the demo, the progress line.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::wire::RecorderState;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct RobotReport {
    pub device_id: String,
    pub state: RecorderState,
    pub recorder_connected: bool,
    pub transfer_connected: bool,
    /// Handshakes that succeeded since the robot was started.
    pub recorder_connections: u32,
    pub transfer_connections: u32,
    pub recordings: Vec<RecordingReport>,
    pub callbacks: Vec<CallbackReport>,
    pub uploads: Vec<UploadReport>,
    /// Uploads given up after their last attempt.
    pub failures: Vec<UploadFailure>,
    /// Tasks whose objects were damaged on their way, on purpose: they may never be acked.
    pub damaged: BTreeSet<String>,
    pub acks: Vec<AckReport>,
    /// Acks for what had been acked before; harmless, and to be expected of a
    /// server that delivers at least once.
    pub repeated_acks: u32,
    /// Kills, as was asked for.
    pub crashes: u32,
    pub violations: Vec<Violation>,
}

impl RobotReport {
    pub(super) fn killed(&mut self) {
        self.crashes += 1;
        self.state = RecorderState::default();
        self.recorder_connected = false;
        self.transfer_connected = false;
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct RecordingReport {
    pub task_id: String,
    pub sha256: String,
    pub size: u64,
    pub message_count: u64,
    pub finished_at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CallbackReport {
    pub task_id: String,
    pub kind: CallbackKind,
    /// Status of the answer, or why there was none.
    pub outcome: Result<u16, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallbackKind {
    Start,
    Finish,
}

#[derive(Debug, Clone, PartialEq)]
pub struct UploadReport {
    pub task_id: String,
    pub s3_key: String,
    pub sha256: String,
    pub size: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct UploadFailure {
    pub task_id: String,
    pub reason: String,
}

/// The server promised that it has this content; the robot's copy is gone.
#[derive(Debug, Clone, PartialEq)]
pub struct AckReport {
    pub task_id: String,
    pub at: DateTime<Utc>,
    pub sha256: String,
    pub size: u64,
}

/// What a server that keeps its promises never does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("`{task_id}` was acked, but never uploaded by this robot")]
    AckForUnknownTask { task_id: String },
    #[error("`{task_id}` was acked while its upload was `{status}`")]
    AckBeforeUpload { task_id: String, status: &'static str },
    #[error("files of `{task_id}` changed between upload and ack")]
    FilesChanged { task_id: String },
    #[error("`{task_id}` was acked, though its object is not what was recorded")]
    AckOfDamagedObject { task_id: String },
    #[error("`{task_id}` was begun again, over a finished recording that was not acked")]
    RecordingOverwritten { task_id: String },
    #[error("asked for the status of uploads before the last answer had left")]
    StatusQueriesAtOnce,
    #[error("some frames have a timestamp and others have none")]
    TimestampsMixed,
}

impl Violation {
    /// The task it is about, if it is about one.
    pub fn task_id(&self) -> Option<&str> {
        match self {
            Self::AckForUnknownTask { task_id }
            | Self::AckBeforeUpload { task_id, .. }
            | Self::FilesChanged { task_id }
            | Self::AckOfDamagedObject { task_id }
            | Self::RecordingOverwritten { task_id } => Some(task_id),
            Self::StatusQueriesAtOnce | Self::TimestampsMixed => None,
        }
    }
}

#[derive(Clone)]
pub(super) struct Reporter(Arc<watch::Sender<RobotReport>>);

impl Reporter {
    pub fn new(device_id: &str) -> Self {
        let report = RobotReport { device_id: device_id.into(), ..RobotReport::default() };
        Self(Arc::new(watch::Sender::new(report)))
    }

    pub fn update(&self, change: impl FnOnce(&mut RobotReport)) {
        self.0.send_modify(change);
    }

    pub fn subscribe(&self) -> watch::Receiver<RobotReport> {
        self.0.subscribe()
    }
}
