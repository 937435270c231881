//! Devices: their links as committed, and the outcomes of commands sent to them.

use serde_json::Value;

use super::{FromRow, ReadError, Reads, row};
use crate::domain::{DeviceId, Timestamp};

row! {
    DeviceRow {
        id: String = "d.id",
        version: i64 = "d.version",
        recorder_epoch: i64 = "d.recorder_epoch",
        recorder_open: bool = "d.recorder_open",
        recorder_since: Option<Timestamp> = "d.recorder_since",
        transfer_epoch: i64 = "d.transfer_epoch",
        transfer_open: bool = "d.transfer_open",
        transfer_since: Option<Timestamp> = "d.transfer_since",
        observed_state: Option<String> = "d.observed_state",
        observed_task: Option<String> = "d.observed_task",
        updated_at: Timestamp = "d.updated_at",
    }
}

row! {
    DeviceCommandRow {
        id: String = "k.id",
        device_id: String = "k.device_id",
        action: String = "k.action",
        task_id: Option<String> = "k.task_id",
        /// `requested`, `succeeded`, `refused` or `unknown`.
        status: String = "k.status",
        message: Option<String> = "k.message",
        data: Option<Value> = "k.data",
    }
}

fn get() -> String {
    format!("select {} from devices d where d.id = $1", DeviceRow::COLUMNS)
}

fn all() -> String {
    format!("select {} from devices d order by d.id", DeviceRow::COLUMNS)
}

fn linked() -> String {
    format!("select {} from devices d where d.recorder_open or d.transfer_open order by d.id", DeviceRow::COLUMNS)
}

fn command() -> String {
    format!("select {} from device_commands k where k.id = $1", DeviceCommandRow::COLUMNS)
}

impl Reads {
    pub async fn device(&self, id: &DeviceId) -> Result<Option<DeviceRow>, ReadError> {
        self.row(&get(), &[&id.as_str()]).await
    }

    /// Every device that ever connected.
    pub async fn devices(&self) -> Result<Vec<DeviceRow>, ReadError> {
        self.rows(&all(), &[]).await
    }

    /// Devices with a link, to whichever process.
    pub async fn linked_devices(&self) -> Result<Vec<DeviceRow>, ReadError> {
        self.rows(&linked(), &[]).await
    }

    pub async fn device_command(&self, id: &str) -> Result<Option<DeviceCommandRow>, ReadError> {
        self.row(&command(), &[&id]).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("device", get()), ("devices", all()), ("devices with a link", linked()), ("command to a device", command())]
}
