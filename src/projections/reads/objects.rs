//! What the store has to know of an object before it lets it be replaced or deleted.

use super::error::ReadError;
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::TaskId;
use crate::domain::episode::EdgeCopyStatus;
use crate::domain::task::{CLAIMING, RELEASING};

row! {
    /// The task whose episode names an object, or whose upload of it is being verified.
    ClaimRow {
        task_id: TaskId = "c.task_id",
        /// An episode names it, and always will.
        verified: bool = "c.verified",
        /// Of a recording that an episode names: what becomes of it in the store.
        edge_copy: Option<EdgeCopyStatus> = "c.edge_copy",
    }
}

/// The episode is found by the MCAP, of which the sidecar's name is made. An upload under verification is in no read
/// model; of the events that begin and end one ([`CLAIMING`], [`RELEASING`]), the last one says whether a report waits for
/// its verdict.
fn claim() -> String {
    format!(
        "select {} from ( \
             select e.task_id, true as verified, case when $2 = e.mcap_path then e.edge_copy end as edge_copy from episodes e where e.mcap_path = $1 and $2 in (e.mcap_path, e.sidecar_path) \
             union all \
             select t.id, false, null from tasks t cross join lateral ( \
                 select x.event_type, x.payload from events x where x.aggregate_type = 'task' and x.aggregate_id = t.id::text \
                     and x.event_type = any ($5::text[] || $6::text[]) \
                 order by x.sequence desc limit 1) last \
             where t.task_id = $3 and last.payload -> last.event_type -> 'report' ->> 'object_key' = $4 \
                 and last.event_type = any ($5::text[]) \
         ) c order by c.verified desc, c.task_id limit 1",
        ClaimRow::columns()
    )
}

impl Reads {
    /// Who has a claim to the object `key` of the bucket, if anybody has.
    pub async fn claim_to_object(&self, bucket: &str, key: &str) -> Result<Option<ClaimRow>, ReadError> {
        let mcap = key.strip_suffix(".json").map_or_else(|| key.to_owned(), |stem| format!("{stem}.mcap"));
        let file = mcap.rsplit('/').next().unwrap_or(&mcap);
        let task = file.strip_suffix(".mcap").unwrap_or(file);
        let (mcap_path, path) = (format!("{bucket}/{mcap}"), format!("{bucket}/{key}"));
        self.row(&claim(), &[&mcap_path, &path, &task, &mcap, &&CLAIMING[..], &&RELEASING[..]]).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("claim to an object", claim())]
}
