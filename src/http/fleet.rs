//! What the edge asks of devices that are connected right now. Live facts: they stand in no
//! event, and another process may hold the connection.

use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::wire::Instant;
use crate::domain::{DeviceId, Timestamp};

/// A connected recorder and its last known state.
#[derive(Clone, Debug)]
pub struct RecorderView {
    pub device_id: String,
    pub remote_ip: String,
    pub connected_at: Timestamp,
    pub last_seen_at: Timestamp,
    /// `unknown` before the first snapshot.
    pub current_state: String,
    pub previous_state: String,
    pub task_id: Option<String>,
    /// When the snapshot was taken.
    pub updated_at: Option<Timestamp>,
    /// How old the snapshot is.
    pub age: Option<Duration>,
    /// A valid snapshot exists on this connection, and no refresh has failed since.
    pub confirmed: bool,
    pub source: String,
    /// Why it is not confirmed.
    pub error: Option<String>,
}

/// One message to an uploader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferOrder {
    UploadRequest {
        task_id: String,
        priority: i32,
    },
    UploadAll,
    StatusQuery,
    /// Understood by no uploader yet.
    Cancel {
        task_id: String,
    },
}

/// A connected uploader.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TransferView {
    pub device_id: String,
    pub remote_ip: String,
    pub connected_at: Instant,
    pub last_seen_at: Instant,
    /// As the device last told it.
    pub status: Value,
}

/// Why a device did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    NotConnected,
    TimedOut,
    Failed(String),
}

#[async_trait]
pub trait Fleet: Send + Sync {
    fn recorders(&self) -> Vec<RecorderView>;
    fn transfers(&self) -> Vec<TransferView>;
    fn recorder(&self, device: &DeviceId) -> Option<RecorderView>;
    fn transfer(&self, device: &DeviceId) -> Option<TransferView>;
    /// What the recorder does, known to be no older than `age_max`: asks it where necessary.
    async fn refresh(&self, device: &DeviceId, age_max: Duration, timeout: Duration) -> Result<RecorderView, Unanswered>;
    /// The recorder's counters, passed on as they are.
    async fn stats(&self, device: &DeviceId, timeout: Duration) -> Result<Value, Unanswered>;
    /// Sends one message to the uploader. It answers in its own time, if at all.
    async fn tell_transfer(&self, device: &DeviceId, order: TransferOrder) -> Result<(), Unanswered>;
}

/// Both links of a device.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Connection {
    pub device_id: String,
    /// Both links are up.
    pub connected: bool,
    /// The later of the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_at: Option<Instant>,
    pub recorder_connected: bool,
    pub transfer_connected: bool,
}

impl Connection {
    pub fn of(fleet: &dyn Fleet, device: &DeviceId) -> Self {
        let recorder = fleet.recorder(device).map(|view| view.connected_at);
        let transfer = fleet.transfer(device).map(|view| view.connected_at.0);
        let both = recorder.zip(transfer);
        Self {
            device_id: device.to_string(),
            connected: both.is_some(),
            connected_at: both.map(|(recorder, transfer)| Instant(recorder.max(transfer))),
            recorder_connected: recorder.is_some(),
            transfer_connected: transfer.is_some(),
        }
    }
}

/// Devices with both links up.
pub fn connected(fleet: &dyn Fleet) -> Vec<String> {
    let recorders: std::collections::BTreeSet<String> = fleet.recorders().into_iter().map(|view| view.device_id).collect();
    fleet.transfers().into_iter().map(|view| view.device_id).filter(|id| recorders.contains(id)).collect()
}

#[cfg(test)]
pub mod fake {
    //! A fleet that a test arranges by hand.

    use super::*;

    #[derive(Default)]
    pub struct FakeFleet {
        pub recorders: Vec<RecorderView>,
        pub transfers: Vec<TransferView>,
        pub refreshed: Option<Result<RecorderView, Unanswered>>,
    }

    #[async_trait]
    impl Fleet for FakeFleet {
        fn recorders(&self) -> Vec<RecorderView> {
            self.recorders.clone()
        }
        fn transfers(&self) -> Vec<TransferView> {
            self.transfers.clone()
        }
        fn recorder(&self, device: &DeviceId) -> Option<RecorderView> {
            self.recorders.iter().find(|view| view.device_id == device.as_str()).cloned()
        }
        fn transfer(&self, device: &DeviceId) -> Option<TransferView> {
            self.transfers.iter().find(|view| view.device_id == device.as_str()).cloned()
        }
        async fn refresh(&self, _: &DeviceId, _: Duration, _: Duration) -> Result<RecorderView, Unanswered> {
            self.refreshed.clone().unwrap_or(Err(Unanswered::NotConnected))
        }
        async fn stats(&self, _: &DeviceId, _: Duration) -> Result<Value, Unanswered> {
            Err(Unanswered::NotConnected)
        }
        async fn tell_transfer(&self, device: &DeviceId, _: TransferOrder) -> Result<(), Unanswered> {
            self.transfer(device).map(|_| ()).ok_or(Unanswered::NotConnected)
        }
    }
}
