//! The export of the audit as it is written: a page at a time, however long it is.

use axum::body::Bytes;
use csv::Terminator;
use futures_util::{Stream, stream};

use super::shown::AuditItem;
use crate::http::exported::{ExportFormat, lines, table};
use crate::projections::reads::audit::AuditFilter;
use crate::projections::reads::{Place, ReadError, Reads};

/// Entries that are read at once, and held.
const PAGE: i64 = 500;

const COLUMNS: [&str; 12] = [
    "occurred_at",
    "kind",
    "actor",
    "login",
    "role",
    "action",
    "entity",
    "status",
    "source_address",
    "request_id",
    "position",
    "login_method",
];

/// What of an export still has to be read.
pub struct Table {
    reads: Reads,
    filter: AuditFilter,
    format: ExportFormat,
    next: Next,
}

enum Next {
    Head,
    Behind(Place),
    Nothing,
}

impl Table {
    pub fn new(reads: Reads, filter: AuditFilter, format: ExportFormat) -> Self {
        Self { reads, filter, format, next: Next::Head }
    }

    /// The next piece. `None`: the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        let (head, after) = match self.next {
            Next::Head => (true, None),
            Next::Behind(place) => (false, Some(place)),
            Next::Nothing => return Ok(None),
        };
        let page = self.reads.audit(&self.filter, after, PAGE).await?;
        self.next = page.next.map_or(Next::Nothing, Next::Behind);
        let items = page.entries.into_iter().map(AuditItem::from);
        let piece = match self.format {
            ExportFormat::Ndjson => lines(items),
            ExportFormat::Csv => rows(items, head),
        };
        Ok(Some(piece.into()))
    }

    pub fn pieces(self) -> impl Stream<Item = Result<Bytes, ReadError>> {
        stream::try_unfold(self, |mut table| async move { Ok(table.next().await?.map(|piece| (piece, table))) })
    }
}

fn rows(items: impl Iterator<Item = AuditItem>, head: bool) -> Vec<u8> {
    let given = Option::unwrap_or_default;
    let cells = |item: AuditItem| {
        [
            item.occurred_at.to_string(),
            item.kind.to_owned(),
            given(item.actor),
            given(item.login),
            given(item.role),
            item.action,
            given(item.entity),
            item.status.map(|status| status.to_string()).unwrap_or_default(),
            given(item.source_address),
            given(item.request_id),
            item.position.map(|position| position.to_string()).unwrap_or_default(),
            item.login_method.unwrap_or_default().to_owned(),
        ]
    };
    table(Terminator::CRLF, head.then_some(COLUMNS), items.map(cells))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::Exact;

    #[test]
    fn a_cell_that_a_spreadsheet_would_run_is_text() {
        let item = AuditItem {
            occurred_at: Exact(chrono::DateTime::UNIX_EPOCH),
            kind: "download",
            actor: Some("user:admin".into()),
            login: Some("admin".into()),
            role: None,
            action: "GET /api/v1/storage/object".into(),
            entity: Some("=cmd|' /C calc'!A0".into()),
            status: Some(200),
            source_address: None,
            request_id: Some("-1+2".into()),
            position: None,
            login_method: None,
        };
        let text = String::from_utf8(rows(std::iter::once(item), true)).unwrap();
        let row = "1970-01-01T00:00:00.000000Z,download,user:admin,admin,,GET /api/v1/storage/object,'=cmd|' /C calc'!A0,200,,'-1+2,,\r\n";
        assert_eq!(text, format!("{}\r\n{row}", COLUMNS.join(",")));
    }
}
