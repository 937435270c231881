//! One way to change anything: a command is decided on what is there now, and its events,
//! read models and outbox rows are committed together.
//!
//! A command is a value that implements [`Command`]; [`Commands::execute`] runs it in a
//! transaction and tries again, a bounded number of times, when another change came first.
//! Running it twice is therefore normal: it decides from what it loads, and nothing leaves
//! the transaction before the commit.
//!
//! Neighbours: edges and subscribers call in here; rules are in `domain`, rows in
//! `projections`, events in `eventstore`.

pub mod access_records;
pub mod accounts;
mod administrator;
mod answers;
pub mod api_keys;
pub mod applying;
pub mod batches;
mod bulk_items;
pub mod bulk_qa;
pub mod bulk_runs;
pub mod callbacks;
mod chance;
pub mod clock;
mod command;
mod context;
pub mod copies;
pub mod damaged_uploads;
pub mod deaths;
pub mod devices;
pub mod dispatch;
mod error;
mod execute;
pub mod fan_out;
pub mod idempotency;
pub mod inspection;
pub mod inspectors;
mod judging;
pub mod letters;
pub mod operator_word;
pub mod orders;
pub mod outside_jobs;
pub mod params;
mod people;
pub mod polling;
mod probe;
pub mod processes;
mod production;
pub mod qa;
pub mod references;
mod refusal;
pub mod registration;
pub mod registry;
pub mod reports;
pub mod requests;
pub mod rivals;
mod rulings;
pub mod salvages;
pub mod sessions;
pub mod subscriptions;
pub mod suites;
mod sweep;
pub mod sync;
pub mod tasks;
pub mod uploads;
pub mod waits;
pub mod webhooks;
mod work;

pub use command::Command;
pub use context::Context;
pub use error::CommandError;
pub use execute::{Clock, Commands};
pub use idempotency::IdempotencyKey;
pub use refusal::Refusal;
pub use work::Work;

pub use crate::eventstore::Cause;
