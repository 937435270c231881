//! Read models: rows folded from streams in the transaction of their events, and the queries
//! over them.
//!
//! A row is the state of one stream at one version, written as a whole. So it equals the fold
//! of its stream by construction, a rebuild is folding every stream, and an old write can never
//! overwrite a newer one: the row's version says no. Only who people are comes from beside the log (`people`).
//!
//! - [`rows`]: which table a stream is shown in, and how.
//! - [`reads`]: what the edges read.
//! - [`facts`]: what a command has to know of other things before it decides.
//! - [`people`]: who people are, which rows take from beside the log.
//! - [`approved`]: which episodes may be in the cloud, in SQL.
//! - [`folds`]: streams folded in memory, and their rows.
//! - [`past`]: rows as they were, for the same queries.
//! - [`rebuild`]: the same rows folded from the log beside the live ones.
//! - [`statistics`]: what episodes and tasks count for, noted behind the sequencer; `quality_counts`: what else the dashboard of quality counts; `upload_counts`: how long
//!   uploads take; [`packed_days`]: the first by the day, as it is read.
//!
//! Never here: deciding, and changing anything that is not folded from events.

pub mod approved;
pub mod facts;
mod folds;
pub mod homes;
pub mod packed_days;
pub mod packed_facts;
mod past;
pub mod people;
mod quality_counts;
pub mod reads;
pub mod rebuild;
pub mod rows;
mod sql_types;
pub mod statistics;
mod upload_counts;

pub use rows::{ReadModel, RowWrite};
