//! Rows of salvages: how far the newest request of an episode is, and the file that was made of it.

use super::table::table;
use super::{Head, RowWrite};
use crate::domain::episode::{Salvage, SalvageFault, SalvageState};
use crate::domain::salvage::Salvaged;
use crate::domain::{EpisodeId, Timestamp};
use crate::eventstore::StoreError;
use crate::projections::sql_types::Count;

table! {
    SalvageRow in "salvages" by number EpisodeId {
        state: SalvageState,
        request: i32,
        reason: String,
        /// As it stands in the metadata of events.
        asked_by: String,
        asked_at: Timestamp,
        ended_at: Option<Timestamp>,
        fault: Option<SalvageFault>,
        fault_text: Option<String>,
        /// Of the newest file that was made.
        object_key: Option<String>,
        sha256: Option<String>,
        size_bytes: Option<Count>,
        salvaged: Option<Salvaged>,
    }
}

/// The row of an episode that was asked for.
pub fn salvage_row(salvage: &Salvage, head: Head<'_>) -> Result<Vec<RowWrite>, StoreError> {
    let Some(asked) = salvage.asked() else { return Ok(vec![]) };
    let (file, failed) = (salvage.file.as_deref(), salvage.failed());
    let row = SalvageRow {
        state: salvage.state(),
        request: asked.request,
        reason: asked.reason.clone(),
        asked_by: asked.by.to_string(),
        asked_at: asked.at,
        ended_at: salvage.ended_at(),
        fault: failed.map(|failed| failed.fault),
        fault_text: failed.map(|failed| failed.text.clone()),
        object_key: file.map(|file| file.object_key.clone()),
        sha256: file.map(|file| file.salvaged.sha256.clone()),
        size_bytes: file.map(|file| Count(file.salvaged.size_bytes)),
        salvaged: file.map(|file| file.salvaged.clone()),
    };
    Ok(vec![RowWrite::new(head, &row)?])
}
