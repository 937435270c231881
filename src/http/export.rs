//! An export of the event log as it is written: a page at a time, however long it is.

use axum::body::Bytes;
use csv::Terminator;
use futures_util::{Stream, stream};

use super::exported::{ExportFormat, lines, table};
use super::logged::LoggedEvent;
use crate::domain::words::words;
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

words! {
    /// How events are exported.
    EventsFormat {
        Ndjson = "ndjson",
        Csv = "csv",
        /// As they are stored, with the texts that commitments are made of: what the log is verified with elsewhere.
        Stored = "stored",
    }
}

impl EventsFormat {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson | Self::Stored => ExportFormat::Ndjson.content_type(),
            Self::Csv => ExportFormat::Csv.content_type(),
        }
    }

    /// How files are called.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Ndjson | Self::Stored => ExportFormat::Ndjson.as_str(),
            Self::Csv => ExportFormat::Csv.as_str(),
        }
    }
}

/// An export as it is written: what it still has to read, a page at a time.
pub struct Export {
    reads: Reads,
    filter: LogFilter,
    between: Between,
    format: EventsFormat,
    begun: bool,
}

impl Export {
    pub fn new(reads: Reads, filter: LogFilter, between: Between, format: EventsFormat) -> Self {
        Self { reads, filter, between, format, begun: false }
    }

    /// The next piece. `None`: the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        let first = !std::mem::replace(&mut self.begun, true);
        if self.between.after.saturating_add(1) >= self.between.before && !first {
            return Ok(None);
        }
        let (piece, found, last) = match self.format {
            EventsFormat::Stored => {
                let events = self.reads.committed_found(&self.filter, self.between, PAGE).await?;
                let (found, last) = (events.len(), events.last().map(|event| event.position));
                (lines(events.into_iter()), found, last)
            }
            EventsFormat::Ndjson | EventsFormat::Csv => {
                let events = self.reads.log_events(&self.filter, self.between, Direction::Forward, PAGE).await?;
                let (found, last) = (events.len(), events.last().and_then(|event| event.position));
                let as_table = self.format == EventsFormat::Csv;
                (if as_table { rows(events, first) } else { lines(events.into_iter().map(LoggedEvent::from)) }, found, last)
            }
        };
        let full = i64::try_from(found).is_ok_and(|found| found == PAGE);
        self.between.after = last.filter(|_| full).unwrap_or(i64::MAX);
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
