//! The events behind an episode's certificate, with their texts as Postgres writes them.
//!
//! Streams of the episode and its task are read whole, and those of the registry from their first event. Of order, batch and device, whose streams
//! are long, the events are found by what is noted of them (`eventstore::terms`), so it has to be noted as far as the certificate goes.

use super::error::ReadError;
use super::events::{Between, Direction, LogFilter};
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

fn of_stream() -> String {
    let columns = StoredEvidence::columns();
    format!(
        "select {columns} from events e left join log l on l.seq = e.seq where e.aggregate_type = $1 and e.aggregate_id = $2 order by e.sequence"
    )
}

fn firsts() -> String {
    let columns = StoredEvidence::columns();
    format!(
        "select {columns} from unnest($1::text[], $2::text[]) w(kind, id) join events e on e.aggregate_type = w.kind and e.aggregate_id = w.id \
         and e.sequence = 1 left join log l on l.seq = e.seq"
    )
}

fn at_positions() -> String {
    format!("select {} from log l join events e on e.seq = l.seq where l.position = any ($1::bigint[])", StoredEvidence::columns())
}

impl Reads {
    /// All events of a stream, in their order.
    pub async fn evidence_of(&self, aggregate_type: &str, id: impl ToString) -> Result<Vec<Evidence>, ReadError> {
        let rows: Vec<StoredEvidence> = self.rows(&of_stream(), &[&aggregate_type, &id.to_string()]).await?;
        Ok(rows.into_iter().map(StoredEvidence::read).collect())
    }

    /// The first events of these streams.
    pub async fn first_evidence_of(&self, streams: &[(&str, i64)]) -> Result<Vec<Evidence>, ReadError> {
        let (kinds, ids): (Vec<&str>, Vec<String>) = streams.iter().map(|(kind, id)| (*kind, id.to_string())).unzip();
        let rows: Vec<StoredEvidence> = self.rows(&firsts(), &[&kinds, &ids]).await?;
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
        let between = Between { after: 0, before: to.saturating_add(1) };
        let (order, batch) = (created.order_id.to_string(), created.batch_id.to_string());
        let mut searches = vec![];
        if let Some(correlation) = task_created.metadata.get("correlation_id").and_then(serde_json::Value::as_str) {
            searches.push(vec![vec![Term::correlation(correlation)], vec![Term::stream("order", &order), Term::stream("batch", &batch)]]);
        }
        if let Some(device) = device {
            let task = Term::content("task_id", created.public_task_id.as_str());
            searches.push(vec![vec![task], vec![Term::stream("device", device.as_str())], vec![Term::event_type(CONFIGURED)]]);
        }
        let mut positions = vec![];
        for groups in searches {
            let filter = LogFilter { groups, ..LogFilter::default() };
            let found = self.log_events(&filter, between, Direction::Forward, FOUND_MAX).await?;
            positions.extend(found.into_iter().filter_map(|event| event.position));
        }
        let rows: Vec<StoredEvidence> = self.rows(&at_positions(), &[&positions]).await?;
        Ok(Some(rows.into_iter().map(StoredEvidence::read).collect()))
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("evidence of a stream", of_stream()), ("first evidence of streams", firsts()), ("evidence at positions", at_positions())]
}
