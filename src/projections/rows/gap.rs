//! Rows of the gap ledger: what is missing in a recording, one row for each interval.
//!
//! Rows of facts that were measured anew have a newer version than those before: a list goes by the version of the newest facts.

use chrono::DateTime;

use super::table::table;
use super::{Head, RowWrite};
use crate::domain::episode::{Known, Measured};
use crate::domain::gaps::{GapCause, MISSING_MAX, missing_intervals};
use crate::domain::{EpisodeId, FactoryId, OrganizationId, StationId, Timestamp};
use crate::eventstore::StoreError;

table! {
    RecordingGapRow in "recording_gaps" by number i64 {
        episode_id: EpisodeId,
        station_id: StationId,
        factory_id: FactoryId,
        organization_id: OrganizationId,
        topic: String,
        from_at: Timestamp,
        to_at: Timestamp,
        length_ms: i64,
        /// About how many.
        missing_messages: i64,
        cause: GapCause,
    }
}

/// The id of a row is made of the episode's, and its place among the longest.
const PLACES: i64 = MISSING_MAX as i64;

fn instant(ns: u64) -> Timestamp {
    DateTime::from_timestamp_nanos(i64::try_from(ns).unwrap_or(i64::MAX))
}

/// One for each interval in which messages are missing.
pub fn gap_rows(id: EpisodeId, episode: &Known, measured: &Measured, head: Head<'_>) -> Result<Vec<RowWrite>, StoreError> {
    let created = &episode.created;
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let (missing, _) = missing_intervals(&measured.facts, &measured.wants);
    let rows = (0..PLACES).zip(missing).map(|(place, missing)| {
        let row = RecordingGapRow {
            episode_id: id,
            station_id: created.station_id,
            factory_id: created.factory_id,
            organization_id: created.organization_id,
            topic: missing.topic,
            from_at: instant(missing.from_ns),
            to_at: instant(missing.to_ns),
            length_ms: number((missing.to_ns - missing.from_ns) / 1_000_000),
            missing_messages: number(missing.messages),
            cause: missing.cause,
        };
        RowWrite::new(Head { id: &(id.0 * PLACES + place).to_string(), ..head }, &row)
    });
    rows.collect()
}
