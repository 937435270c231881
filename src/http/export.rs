//! An export of the event log as it is written: a page at a time, however long it is.

use axum::body::Bytes;
use futures_util::{Stream, stream};

use super::cells::harmless;
use super::logged::LoggedEvent;
use crate::domain::words::words;
use crate::projections::reads::events::{Between, Direction, LogEvent, LogFilter};
use crate::projections::reads::{ReadError, Reads};

/// Events that are read at once, and held.
const PAGE: i64 = 500;

words! {
    /// How an export is written.
    ExportFormat {
        Ndjson = "ndjson",
        Csv = "csv",
    }
}

impl ExportFormat {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
        }
    }

    pub fn file_name(self) -> &'static str {
        match self {
            Self::Ndjson => "events.ndjson",
            Self::Csv => "events.csv",
        }
    }
}

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
            ExportFormat::Ndjson => lines(events),
            ExportFormat::Csv => rows(events, first),
        };
        Ok(Some(piece.into()))
    }

    pub fn pieces(self) -> impl Stream<Item = Result<Bytes, ReadError>> {
        stream::try_unfold(self, |mut export| async move { Ok(export.next().await?.map(|piece| (piece, export))) })
    }
}

fn lines(events: Vec<LogEvent>) -> Vec<u8> {
    let mut text = vec![];
    for event in events {
        serde_json::to_writer(&mut text, &LoggedEvent::from(event)).expect("an event is JSON, and memory takes it");
        text.push(b'\n');
    }
    text
}

fn rows(events: Vec<LogEvent>, head: bool) -> Vec<u8> {
    let mut table = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(vec![]);
    if head {
        table.write_record(CSV_COLUMNS).expect("memory takes every row");
    }
    for event in events.into_iter().map(LoggedEvent::from) {
        let given = Option::unwrap_or_default;
        let cells = [
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
        ];
        table.write_record(cells.map(harmless)).expect("memory takes every row");
    }
    table.into_inner().expect("memory takes every row")
}
