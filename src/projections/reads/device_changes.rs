//! What changed about devices, in the order of the log: the source of the device stream.

use cqrs_es::persist::EventUpcaster;
use serde_json::Value;
use tracing::warn;

use super::error::ReadError;
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::Timestamp;
use crate::domain::device::{DeviceEvent, RecorderState};
use crate::eventstore::upcast::{upcast, upcasters};
use crate::telemetry::chain;

/// Positions that one look covers, whatever else stands at them. A reader that catches up holds what was found until it is sent.
pub const WINDOW: i64 = 500;

row! {
    /// An event that shows at which position, as it is stored.
    StoredChange {
        position: i64 = "l.position",
        device_id: String = "e.aggregate_id",
        version: i64 = "e.sequence",
        event_type: String = "e.event_type",
        event_version: String = "e.event_version",
        payload: Value = "e.payload",
        at: Timestamp = "coalesce((e.metadata ->> 'occurred_at')::timestamptz, e.recorded_at)",
        recorder_open: bool = "coalesce(d.recorder_open, false)",
        transfer_open: bool = "coalesce(d.transfer_open, false)",
        previous_type: Option<String> = "p.event_type",
        previous_version: Option<String> = "p.event_version",
        previous: Option<Value> = "p.payload",
    }
}

/// What changed about a device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceChange {
    pub position: i64,
    pub device_id: String,
    /// The device's version after it.
    pub version: i64,
    pub event: DeviceEvent,
    pub at: Timestamp,
    /// The sockets as they are by now.
    pub recorder_open: bool,
    pub transfer_open: bool,
    /// The state before, on the same connection.
    pub previous: Option<RecorderState>,
}

impl StoredChange {
    fn read(self, upcasters: &[Box<dyn EventUpcaster>]) -> Result<DeviceChange, serde_json::Error> {
        let read = |event_type: &str, version: &str, payload| serde_json::from_value(upcast(upcasters, event_type, version, payload));
        let event = read(&self.event_type, &self.event_version, self.payload)?;
        let previous = match (self.previous_type, self.previous_version, self.previous) {
            (Some(event_type), Some(version), Some(payload)) => Some(read(&event_type, &version, payload)?),
            _ => None,
        };
        let previous = match previous {
            Some(DeviceEvent::RecorderStateObserved { seen, .. }) => Some(seen.state),
            _ => None,
        };
        let Self { position, device_id, version, at, recorder_open, transfer_open, .. } = self;
        Ok(DeviceChange { position, device_id, version, event, at, recorder_open, transfer_open, previous })
    }
}

/// The events that clients of the stream are told of.
const SHOWN: &str = "'device_link_opened', 'device_link_closed', 'recorder_state_observed', 'device_command_settled', \
    'device_contested', 'device_contest_ended'";

fn between() -> String {
    format!(
        "select {} from log l join events e on e.seq = l.seq left join devices d on d.id = e.aggregate_id \
         left join lateral (select b.event_type, b.event_version, b.payload from events b \
             where b.aggregate_type = 'device' and b.aggregate_id = e.aggregate_id and b.sequence < e.sequence \
               and e.event_type = 'recorder_state_observed' and b.event_type in ('recorder_state_observed', 'device_link_opened') \
             order by b.sequence desc limit 1) p on true \
         where l.position > $1 and l.position <= $2 and e.aggregate_type = 'device' and e.event_type in ({SHOWN}) order by l.position",
        StoredChange::columns()
    )
}

const HEAD: &str = "select coalesce(max(position), 0) from log";

impl Reads {
    /// The last position of the log.
    pub async fn log_head(&self) -> Result<i64, ReadError> {
        self.number(HEAD, &[]).await
    }

    /// Changes after one position and up to another, at most [`WINDOW`] later.
    pub async fn device_changes(&self, after: i64, upto: i64) -> Result<Vec<DeviceChange>, ReadError> {
        let stored: Vec<StoredChange> = self.rows(&between(), &[&after, &upto]).await?;
        let upcasters = upcasters();
        let mut changes = Vec::with_capacity(stored.len());
        for change in stored {
            let (position, device) = (change.position, change.device_id.clone());
            match change.read(&upcasters) {
                Ok(change) => changes.push(change),
                // As a newer program wrote it: its own clients are told.
                Err(error) => {
                    warn!(
                        error = chain(&error),
                        device.id = device,
                        position,
                        "Cannot read a change of `{device}`, and tells nobody of it"
                    );
                }
            }
        }
        Ok(changes)
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("changes of devices", between()), ("head of the log", HEAD.to_owned())]
}
