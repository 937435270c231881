//! Which table a stream is shown in, and how its state becomes a row.
//!
//! - [`table`]: what a table is: its columns, the statements that write a row, and what reads it.
//! - [`production`], [`account`], [`gap`], [`registry`], [`device`], [`letter`], [`bulk_run`], [`subscription`], [`outside_job`], [`reference`], [`salvage`], [`sync`]: the rows.

pub mod account;
pub mod bulk_run;
pub mod device;
pub mod gap;
pub mod inspector;
pub mod letter;
pub mod outside_job;
pub mod production;
pub mod qa_suite;
pub mod reference;
pub mod registry;
pub mod salvage;
pub mod subscription;
pub mod sync;
pub mod table;

use crate::domain::kinds::aggregates;
use crate::domain::{Listed, Timestamp};
use crate::eventstore::StoreError;
pub use table::{Head, RowWrite, Table, TableName};

/// What is shown of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown<R> {
    Row(R),
    /// There is nothing to show: it was deleted, or nothing has happened yet.
    Gone,
}

impl<R> From<Option<R>> for Shown<R> {
    fn from(row: Option<R>) -> Self {
        row.map_or(Self::Gone, Self::Row)
    }
}

/// A stream that is shown as one row.
pub trait ReadModel: Listed {
    type Row: Table;
    /// Tables of rows that show single events of the stream.
    const EVENT_TABLES: &'static [&'static TableName] = &[];

    fn shown(state: &Self) -> Shown<Self::Row>;

    /// The rows that show this event, beside the row of the stream's state, which is that after the event.
    fn shown_event(_state: &Self, _id: &str, _event: &Self::Event, _head: Head<'_>) -> Result<Vec<RowWrite>, StoreError> {
        Ok(vec![])
    }
}

/// The whole row of a stream.
pub fn row_of<A: ReadModel>(
    id: &str,
    version: i64,
    state: &A,
    created_at: Timestamp,
    updated_at: Timestamp,
) -> Result<Shown<RowWrite>, StoreError> {
    Ok(match A::shown(state) {
        Shown::Row(row) => Shown::Row(RowWrite::new(Head { id, version, created_at, updated_at }, &row)?),
        Shown::Gone => Shown::Gone,
    })
}

macro_rules! tables {
    ($($kind:ident: $aggregate:ty;)+) => {
        /// Every read model's table.
        pub fn tables() -> Vec<&'static TableName> {
            [$((<<$aggregate as ReadModel>::Row as Table>::NAME, <$aggregate as ReadModel>::EVENT_TABLES)),+]
                .into_iter()
                .flat_map(|(table, of_events)| std::iter::once(table).chain(of_events.iter().copied()))
                .collect()
        }
    };
}
aggregates!(tables);
