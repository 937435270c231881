//! An export of the event log as it is written: a page at a time, however long it is.

use axum::body::Bytes;
use csv::Terminator;
use futures_util::{Stream, stream};

use super::exported::{ExportFormat, lines, table};
use super::logged::LoggedEvent;
use crate::projections::reads::events::{Between, Direction, LogEvent, LogFilter};
use crate::projections::reads::{ReadError, Reads};

/// Events that are read at once, and held.
const PAGE: i64 = 500;

/// The columns of a table.
const CSV_COLUMNS: [&str; 16] = [
    "position",
    "event_id",
    "category",
    "stream_id",
    "sequence",
    "type",
    "version",
    "recorded_at",
    "occurred_at",
    "actor",
    "role",
    "correlation_id",
    "causation_id",
    "request_id",
    "source_address",
    "data",
];

/// An export as it is written: what it still has to read, a page at a time.
pub struct Export {
    reads: Reads,
    filter: LogFilter,
    between: Between,
    format: ExportFormat,
    begun: bool,
}

impl Export {
    pub fn new(reads: Reads, filter: LogFilter, between: Between, format: ExportFormat) -> Self {
        Self { reads, filter, between, format, begun: false }
    }

    /// The next piece. `None`: the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        let first = !std::mem::replace(&mut self.begun, true);
        if self.between.after.saturating_add(1) >= self.between.before && !first {
            return Ok(None);
        }
        let events = self.reads.log_events(&self.filter, self.between, Direction::Forward, PAGE).await?;
        let full = i64::try_from(events.len()).is_ok_and(|found| found == PAGE);
        self.between.after = events.last().and_then(|event| event.position).filter(|_| full).unwrap_or(i64::MAX);
        let piece = match self.format {
            ExportFormat::Ndjson => lines(events.into_iter().map(LoggedEvent::from)),
            ExportFormat::Csv => rows(events, first),
        };
        Ok(Some(piece.into()))
    }

    pub fn pieces(self) -> impl Stream<Item = Result<Bytes, ReadError>> {
        stream::try_unfold(self, |mut export| async move { Ok(export.next().await?.map(|piece| (piece, export))) })
    }
}

fn rows(events: Vec<LogEvent>, head: bool) -> Vec<u8> {
    let given = Option::unwrap_or_default;
    let cells = |event: LoggedEvent| {
        [
            event.position.map(|position| position.to_string()).unwrap_or_default(),
            event.event_id,
            event.category,
            event.stream_id,
            event.sequence.to_string(),
            event.event_type,
            event.version,
            event.recorded_at.to_string(),
            given(event.occurred_at),
            given(event.actor),
            given(event.role),
            given(event.correlation_id),
            given(event.causation_id),
            given(event.request_id),
            given(event.source_address),
            event.data.to_string(),
        ]
    };
    table(Terminator::CRLF, head.then_some(CSV_COLUMNS), events.into_iter().map(LoggedEvent::from).map(cells))
}
