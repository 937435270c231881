//! The events behind an episode's certificate, with their texts as Postgres writes them.
//!
//! Streams of the episode and its task are read whole, and those of the registry from their first event. Of order, batch and device, whose streams
//! are long, the events are found by what is noted of them (`eventstore::terms`), so it has to be noted as far as the certificate goes.

use super::error::ReadError;
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::certificate::{CONFIGURED, Evidence};
use crate::domain::episode::Created;
use crate::domain::{DeviceId, Timestamp};
use crate::eventstore::terms::Term;
use crate::eventstore::upcast::{upcast, upcasters};

/// Of one batch, of one recorder and one task: far more than any has.
const FOUND_MAX: i64 = 500;

row! {
    StoredEvidence {
        position: Option<i64> = "l.position",
        aggregate_type: String = "e.aggregate_type",
        aggregate_id: String = "e.aggregate_id",
        sequence: i64 = "e.sequence",
        event_type: String = "e.event_type",
        event_version: String = "e.event_version",
        payload_text: String = "e.payload::text",
        metadata_text: String = "e.metadata::text",
        recorded_at: Timestamp = "e.recorded_at",
    }
}

impl StoredEvidence {
    /// What is no JSON reads as null: Postgres keeps nothing else.
    fn read(self) -> Evidence {
        let payload = serde_json::from_str(&self.payload_text).unwrap_or_default();
        Evidence {
            payload: upcast(&upcasters(), &self.event_type, &self.event_version, payload),
            metadata: serde_json::from_str(&self.metadata_text).unwrap_or_default(),
            position: self.position,
            aggregate_type: self.aggregate_type,
            aggregate_id: self.aggregate_id,
            sequence: self.sequence,
            event_type: self.event_type,
            event_version: self.event_version,
            payload_text: self.payload_text,
            metadata_text: self.metadata_text,
            recorded_at: self.recorded_at,
        }
    }
}

/// How much of a stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    Whole,
    /// Its first event, which has what does not change.
    First,
}

impl Extent {
    /// The last event of it.
    pub(super) fn last(self) -> i64 {
        match self {
            Self::Whole => i64::MAX,
            Self::First => 1,
        }
    }
}

fn of_streams() -> String {
    let columns = StoredEvidence::columns();
    format!(
        "select {columns} from unnest($1::text[], $2::text[], $3::bigint[]) w(kind, id, last)
         join events e on e.aggregate_type = w.kind and e.aggregate_id = w.id and e.sequence <= w.last
         left join log l on l.seq = e.seq order by e.aggregate_type, e.aggregate_id, e.sequence"
    )
}

/// Two searches, each from its narrowest term on. `offset 0` keeps each a look into the index.
fn beside() -> String {
    let columns = StoredEvidence::columns();
    let also = |term: &str| format!("exists (select from log_terms o where o.term = {term} and o.position = t.position offset 0)");
    let (of_work, of_device, configured) = (also("any ($2::bigint[])"), also("$4::bigint"), also("$5::bigint"));
    format!(
        "select {columns} from (
             (select t.position from log_terms t where t.term = $1::bigint and t.position <= $6::bigint and {of_work}
              order by t.position limit {FOUND_MAX})
             union
             (select t.position from log_terms t where t.term = $3::bigint and t.position <= $6::bigint and {of_device} and {configured}
              order by t.position limit {FOUND_MAX})) p
         join log l on l.position = p.position join events e on e.seq = l.seq order by l.position"
    )
}

impl Reads {
    /// What these streams tell, each in its order.
    pub async fn evidence_of(&self, streams: &[(&str, String, Extent)]) -> Result<Vec<Evidence>, ReadError> {
        let kinds: Vec<&str> = streams.iter().map(|(kind, _, _)| *kind).collect();
        let ids: Vec<&str> = streams.iter().map(|(_, id, _)| id.as_str()).collect();
        let lasts: Vec<i64> = streams.iter().map(|(_, _, extent)| extent.last()).collect();
        let rows: Vec<StoredEvidence> = self.rows_planned_once(&of_streams(), &[&kinds, &ids, &lasts]).await?;
        Ok(rows.into_iter().map(StoredEvidence::read).collect())
    }

    /// What was decided about order and batch together with the task, and how its recorder was configured, up to a position. None where it is not noted so far:
    /// a moment later it is.
    pub async fn evidence_beside(
        &self,
        created: &Created,
        task_created: &Evidence,
        device: Option<&DeviceId>,
        to: i64,
    ) -> Result<Option<Vec<Evidence>>, ReadError> {
        if self.log_noted_to().await? < to {
            return Ok(None);
        }
        let (order, batch) = (created.order_id.to_string(), created.batch_id.to_string());
        let correlation = task_created.metadata.get("correlation_id").and_then(serde_json::Value::as_str);
        let correlation = correlation.map(|correlation| Term::correlation(correlation).0);
        let of_work = [Term::stream("order", &order).0, Term::stream("batch", &batch).0];
        let task = Term::content("task_id", created.public_task_id.as_str()).0;
        let device = device.map(|device| Term::stream("device", device.as_str()).0);
        let configured = Term::event_type(CONFIGURED).0;
        let rows: Vec<StoredEvidence> =
            self.rows_planned_once(&beside(), &[&correlation, &of_work.as_slice(), &task, &device, &configured, &to]).await?;
        Ok(Some(rows.into_iter().map(StoredEvidence::read).collect()))
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("evidence of streams", of_streams()), ("evidence beside them", beside())]
}
