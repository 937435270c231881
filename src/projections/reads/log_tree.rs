//! The tree over the log as the edge shows it: its signed heads, its tiles, and the events under its leaves.

use std::collections::BTreeSet;

use super::error::ReadError;
use super::events::{Between, Direction, LogFilter};
use super::list::{Parameter, typed};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::Timestamp;
use crate::domain::log_tree::{Kept, TileId, Told};
use crate::eventstore::tree::committed::{self, CommittedEvent};
use crate::eventstore::tree::tiles;

row! {
    /// A head as it was signed.
    SignedHead {
        size: i64 = "h.size",
        root: Vec<u8> = "h.root",
        note: String = "h.note",
        made_at: Timestamp = "h.made_at",
    }
}

fn heads() -> String {
    format!("select {} from log_heads h where h.size < $1::bigint order by h.size desc limit $2::bigint", SignedHead::columns())
}

fn head() -> String {
    format!("select {} from log_heads h where h.size = $1::bigint", SignedHead::columns())
}

impl Reads {
    /// The newest heads of fewer events than `before`.
    pub async fn signed_heads(&self, before: i64, limit: i64) -> Result<Vec<SignedHead>, ReadError> {
        self.rows(&heads(), &[&before, &limit]).await
    }

    /// The head of this size, where one was signed.
    pub async fn signed_head(&self, size: i64) -> Result<Option<SignedHead>, ReadError> {
        self.row(&head(), &[&size]).await
    }

    /// Those of these tiles that are there.
    pub async fn log_tiles(&self, ids: &BTreeSet<TileId>) -> Result<Kept, ReadError> {
        let (levels, numbers): (Vec<i32>, Vec<i64>) = ids.iter().filter_map(tiles::as_columns).unzip();
        let rows = self.query(tiles::READ, &[&levels, &numbers]).await?;
        Ok(rows.iter().filter_map(tiles::of_row).collect())
    }

    /// The events at these positions, both included, as far as the tree is about them.
    pub async fn told_events(&self, first: i64, last: i64) -> Result<Vec<Told>, ReadError> {
        let before = first - 1;
        let rows = self.query(&committed::read(), &[&before, &last, &(last - before)]).await?;
        Ok(rows.iter().filter_map(|row| committed::of_row(row).told().ok()).collect())
    }

    /// The next events that a search finds, in the order of the log, with the texts that their commitments are made of.
    pub async fn committed_found(&self, filter: &LogFilter, between: Between, limit: i64) -> Result<Vec<CommittedEvent>, ReadError> {
        let (statement, groups) = filter.statement_of(Direction::Forward, committed::COLUMNS);
        let mut parameters: Vec<Parameter<'_>> = vec![&between.after, &between.before, &limit];
        parameters.extend(groups.iter().map(|group| group as Parameter<'_>));
        let rows = self.query_pinned(&statement, &typed(&statement, &parameters)).await?;
        Ok(rows.iter().map(committed::of_row).collect())
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    let found = LogFilter::default().statement_of(Direction::Forward, committed::COLUMNS).0;
    vec![
        ("signed heads", heads()),
        ("a signed head", head()),
        ("tiles of the log", tiles::READ.to_owned()),
        ("events as they are stored", committed::read()),
        ("found events as they are stored", found),
    ]
}
