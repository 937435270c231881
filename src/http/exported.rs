//! Exports as they are written: tables, whose cells spreadsheets open, and lines of JSON; and the answer that such a file is.

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use csv::Terminator;
use futures_util::{Stream, TryStreamExt as _};
use serde::Serialize;

use crate::domain::words::words;
use crate::projections::reads::ReadError;
use crate::telemetry::chain;

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
}

/// Rows of a table, and its head where it begins. No cell runs.
pub fn table<const N: usize>(end: Terminator, head: Option<[&str; N]>, rows: impl Iterator<Item = [String; N]>) -> Vec<u8> {
    let mut table = csv::WriterBuilder::new().terminator(end).from_writer(vec![]);
    if let Some(head) = head {
        table.write_record(head).expect("memory takes every row");
    }
    for cells in rows {
        table.write_record(cells.map(harmless)).expect("memory takes every row");
    }
    table.into_inner().expect("memory takes every row")
}

/// A line of JSON for each.
pub fn lines<T: Serialize>(items: impl Iterator<Item = T>) -> Vec<u8> {
    let mut text = vec![];
    for item in items {
        serde_json::to_writer(&mut text, &item).expect("an item is JSON, and memory takes it");
        text.push(b'\n');
    }
    text
}

/// An export as a file, of what and how it is called. One that ends before its end is cut, so that it is not taken for whole, and our log says so.
pub fn file(
    of: &'static str,
    disposition: &str,
    content_type: &'static str,
    pieces: impl Stream<Item = Result<Bytes, ReadError>> + Send + 'static,
) -> Response {
    let told = move |error: &ReadError| {
        tracing::warn!(error = chain(error), "An export of {of} ends before its end: the database does not answer");
    };
    let disposition = HeaderValue::from_str(disposition).unwrap_or(HeaderValue::from_static("attachment"));
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(content_type)), (CONTENT_DISPOSITION, disposition)];
    (headers, Body::from_stream(pieces.inspect_err(told))).into_response()
}

/// A spreadsheet runs what begins so, and shows what begins with an apostrophe as it stands behind it.
fn harmless(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mn_22_a_cell_that_a_spreadsheet_would_run_begins_with_an_apostrophe() {
        for cell in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert_eq!(harmless(cell.into()), format!("'{cell}"));
        }
        for cell in ["", "a=1", " =1", "张三", "'=1", "1-1"] {
            assert_eq!(harmless(cell.into()), cell);
        }
    }
}
