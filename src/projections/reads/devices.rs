//! Devices: their links as committed, and the outcomes of commands sent to them.

use serde_json::Value;

use super::{FromRow, ReadError, Reads, row};
use crate::domain::{DeviceId, Timestamp};

row! {
    DeviceRow {
        id: String = "d.id",
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

fn command() -> String {
    format!("select {} from device_commands k where k.id = $1", DeviceCommandRow::COLUMNS)
}

impl Reads {
    pub async fn device(&self, id: &DeviceId) -> Result<Option<DeviceRow>, ReadError> {
        self.row(&get(), &[&id.as_str()]).await
    }

    pub async fn device_command(&self, id: &str) -> Result<Option<DeviceCommandRow>, ReadError> {
        self.row(&command(), &[&id]).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("device", get()), ("command to a device", command())]
}
