//! Events: appended to several streams in one transaction, loaded, put in order, never changed.
//!
//! - [`transaction`]: one Postgres transaction; lock, load, append, commit, in few round trips.
//! - [`envelope`]: what every event carries beside its payload.
//! - [`upcast`]: old versions become new ones when they are read.
//! - [`snapshots`]: states of long streams, written after the commit, disposable.
//! - [`sequencer`]: gapless positions in commit order, and the hash chain over them.
//! - [`log`]: reading by position, and verifying the chain.
//! - [`terms`], [`search`]: what an event is found by, noted behind the sequencer.
//! - [`tree`]: the Merkle tree over the log, and its signed heads.
//! - [`story`]: what happened to one task.
//! - [`cqrs`]: the one adapter to `cqrs-es`.
//!
//! Only this module writes events. It knows no rule and no read model.

pub mod cqrs;
pub mod envelope;
pub mod follower;
pub mod log;
pub mod search;
pub mod sequencer;
pub mod snapshots;
mod store;
pub mod story;
pub mod terms;
pub mod transaction;
pub mod tree;
pub mod upcast;

pub use crate::outbox::StoredEvent;
pub use envelope::{Cause, Metadata};
pub use sequencer::{Holder, Left, Sequencer};
pub use store::EventStore;
pub use transaction::{Loaded, NewEvent, StoreError, Transaction};
