//! What changed about devices, in the order of the log: the source of the device stream.

use serde_json::Value;

use super::error::ReadError;
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::Timestamp;

/// Positions that one look covers, whatever else stands at them.
pub const WINDOW: i64 = 5_000;

row! {
    /// An event that shows at which position.
    DeviceChange {
        position: i64 = "l.position",
        device_id: String = "e.aggregate_id",
        /// The device's version after it.
        version: i64 = "e.sequence",
        event_type: String = "e.event_type",
        payload: Value = "e.payload",
        at: Timestamp = "coalesce((e.metadata ->> 'occurred_at')::timestamptz, e.recorded_at)",
        /// The sockets as they are by now.
        recorder_open: bool = "coalesce(d.recorder_open, false)",
        transfer_open: bool = "coalesce(d.transfer_open, false)",
        /// The state before, on the same connection.
        previous: Option<String> = "(select p.payload -> 'recorder_state_observed' -> 'seen' ->> 'state' from events p \
             where p.aggregate_type = 'device' and p.aggregate_id = e.aggregate_id and p.sequence < e.sequence \
               and e.event_type = 'recorder_state_observed' and p.event_type in ('recorder_state_observed', 'device_link_opened') \
             order by p.sequence desc limit 1)",
    }
}

/// The events that clients of the stream are told of.
const SHOWN: &str = "'device_link_opened', 'device_link_closed', 'recorder_state_observed', 'device_command_settled', \
    'device_contested', 'device_contest_ended'";

fn between() -> String {
    format!(
        "select {} from log l join events e on e.seq = l.seq left join devices d on d.id = e.aggregate_id \
         where l.position > $1 and l.position <= $2 and e.aggregate_type = 'device' and e.event_type in ({SHOWN}) order by l.position",
        DeviceChange::COLUMNS
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
        self.rows(&between(), &[&after, &upto]).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("changes of devices", between()), ("head of the log", HEAD.to_owned())]
}
