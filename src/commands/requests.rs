//! Who asked for what through the outbox, and what was answered too late: rows beside the log, because they are of use for some days.
//! What becomes of those who wait is in [`waits`](super::waits).

use serde_json::Value;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::domain::{DeviceId, Timestamp};
use crate::projections::rows::device::CommandStatus;

pub(super) const KEEP: &str = "insert into requests (id, asker, device_id, asked_at, waited_by) values ($1, $2, $3, $4, $5)";

pub(super) const ANSWERED_LATE: &str =
    "update requests set late_status = $2, late_message = $3, late_data = $4, late_at = $5 where id = $1";

/// What a person asks for.
#[derive(Clone, Debug)]
pub(super) struct NewRequest {
    pub id: String,
    pub asker: String,
    pub device: DeviceId,
    pub at: Timestamp,
    pub waited_by: Option<Uuid>,
}

impl NewRequest {
    pub fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        vec![&self.id, &self.asker, &self.device, &self.at, &self.waited_by]
    }
}

/// What came of a request after its outcome was settled as unknown.
#[derive(Clone, Debug)]
pub(super) struct LateAnswer {
    pub id: String,
    pub status: CommandStatus,
    pub message: Option<String>,
    pub data: Option<Value>,
    pub at: Timestamp,
}

impl LateAnswer {
    pub fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        vec![&self.id, &self.status, &self.message, &self.data, &self.at]
    }
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    [("request, asked for", KEEP), ("request, answered late", ANSWERED_LATE)].map(|(name, sql)| (name, sql.to_owned())).into()
}
