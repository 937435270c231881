//! Rows of devices, and of the commands sent to them.

use serde_json::{Value, json};
use uuid::Uuid;

use super::table::table;
use super::{Head, ReadModel, RowWrite, Shown, Table, TableName};
use crate::domain::device::{CommandOutcome, Contest, Device, DeviceEvent, LinkKind, RecorderAction, RecorderState};
use crate::domain::words::words;
use crate::domain::{DeviceId, PublicTaskId, Timestamp};
use crate::eventstore::StoreError;

table! {
    DeviceRow in "devices" by text DeviceId {
        recorder_epoch: i64,
        recorder_open: bool,
        recorder_since: Option<Timestamp>,
        transfer_epoch: i64,
        transfer_open: bool,
        transfer_since: Option<Timestamp>,
        observed_state: Option<RecorderState>,
        observed_task: Option<PublicTaskId>,
        recorder_process: Option<Uuid>,
        transfer_process: Option<Uuid>,
        recorder_contest: Option<Contest>,
        transfer_contest: Option<Contest>,
    }
    /// What became of a command, for the caller that waits for it.
    DeviceCommandRow in "device_commands" by text String {
        device_id: String,
        action: RecorderAction,
        task_id: Option<PublicTaskId>,
        status: CommandStatus,
        message: Option<String>,
        data: Option<Value>,
    }
}

words! {
    /// Whether a command was answered, and how.
    CommandStatus {
        Requested = "requested",
        Succeeded = "succeeded",
        Refused = "refused",
        Unknown = "unknown",
        NotSent = "not_sent",
    }
}

impl ReadModel for Device {
    type Row = DeviceRow;
    const EVENT_TABLES: &'static [&'static TableName] = &[DeviceCommandRow::NAME];

    fn shown(state: &Self) -> Shown<DeviceRow> {
        let (recorder, transfer) = (state.link(LinkKind::Recorder), state.link(LinkKind::Transfer));
        Shown::Row(DeviceRow {
            recorder_epoch: recorder.epoch,
            recorder_open: recorder.open,
            recorder_since: recorder.since,
            transfer_epoch: transfer.epoch,
            transfer_open: transfer.open,
            transfer_since: transfer.since,
            observed_state: state.observed.as_ref().map(|seen| seen.state),
            observed_task: state.observed.as_ref().and_then(|seen| seen.task_id.clone()),
            recorder_process: recorder.process,
            transfer_process: transfer.process,
            recorder_contest: recorder.contest.clone(),
            transfer_contest: transfer.contest.clone(),
        })
    }

    fn shown_event(_: &Self, id: &str, event: &DeviceEvent, head: Head<'_>) -> Result<Vec<RowWrite>, StoreError> {
        let (command_id, action, task_id, (status, message, data)) = match event {
            DeviceEvent::DeviceCommandRequested { command_id, action, task_id, .. } => {
                (command_id, action, task_id, (CommandStatus::Requested, None, None))
            }
            DeviceEvent::DeviceCommandSettled { command_id, action, task_id, outcome } => (command_id, action, task_id, told(outcome)),
            _ => return Ok(vec![]),
        };
        let row = DeviceCommandRow { device_id: id.to_owned(), action: *action, task_id: task_id.clone(), status, message, data };
        Ok(vec![RowWrite::new(Head { id: command_id, ..head }, &row)?])
    }
}

/// How an outcome is shown.
pub fn told(outcome: &CommandOutcome) -> (CommandStatus, Option<String>, Option<Value>) {
    match outcome {
        CommandOutcome::Succeeded { message, data } => (CommandStatus::Succeeded, message.clone(), data.clone()),
        CommandOutcome::Refused { message, data } => (CommandStatus::Refused, message.clone(), data.clone()),
        CommandOutcome::Unknown { reason, cause } => {
            (CommandStatus::Unknown, Some(reason.clone()), cause.map(|cause| json!({ "cause": cause.as_str() })))
        }
        CommandOutcome::NotSent { reason, cause } => {
            (CommandStatus::NotSent, Some(reason.clone()), cause.map(|cause| json!({ "cause": cause.as_str() })))
        }
    }
}
