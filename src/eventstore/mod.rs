//! Events: appended to several streams in one transaction, loaded, put in order, never changed.
//!
//! - [`transaction`]: one Postgres transaction; lock, load, append, commit, in few round trips.
//! - [`envelope`]: what every event carries beside its payload.
//! - [`upcast`]: old versions become new ones when they are read.
//! - [`snapshots`]: states of long streams, written after the commit, disposable.
//! - [`sequencer`]: gapless positions in commit order, and the hash chain over them.
//! - [`log`]: reading by position, and verifying the chain.
//! - [`cqrs`]: the one adapter to `cqrs-es`.
//!
//! Only this module writes events. It knows no rule and no read model.

pub mod cqrs;
pub mod envelope;
pub mod log;
pub mod sequencer;
pub mod snapshots;
pub mod transaction;
pub mod upcast;

pub use crate::outbox::StoredEvent;
pub use envelope::{Cause, Metadata};
pub use sequencer::{Holder, Left, Sequencer};
pub use transaction::{Loaded, NewEvent, StoreError, Transaction};

use std::sync::Arc;

use cqrs_es::persist::EventUpcaster;
use deadpool_postgres::Pool;

use crate::outbox::Wakes;

/// Where events are kept. Cheap to clone.
#[derive(Clone)]
pub struct EventStore {
    pub(crate) pool: Pool,
    pub(crate) wakes: Wakes,
    pub(crate) snapshots: Option<snapshots::SnapshotSender>,
    pub(crate) upcasters: Arc<Vec<Box<dyn EventUpcaster>>>,
}

impl EventStore {
    pub fn new(pool: Pool, wakes: Wakes) -> Self {
        Self { pool, wakes, snapshots: None, upcasters: Arc::new(upcast::upcasters()) }
    }

    /// States of long streams are handed to this writer after their commit.
    pub fn with_snapshots(mut self, sender: snapshots::SnapshotSender) -> Self {
        self.snapshots = Some(sender);
        self
    }

    /// Reads old events with other upcasters than ours.
    pub fn with_upcasters(mut self, upcasters: Vec<Box<dyn EventUpcaster>>) -> Self {
        self.upcasters = Arc::new(upcasters);
        self
    }

    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    pub fn wakes(&self) -> &Wakes {
        &self.wakes
    }

    pub async fn begin(&self) -> Result<Transaction, StoreError> {
        Transaction::begin(self).await
    }
}
