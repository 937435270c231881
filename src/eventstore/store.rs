//! The place where events are kept, and what reading and writing them needs.

use std::sync::Arc;

use cqrs_es::persist::EventUpcaster;
use deadpool_postgres::Pool;

use super::{snapshots, upcast};
use crate::outbox::Wakes;

/// Where events are kept. Cheap to clone.
#[derive(Clone)]
pub struct EventStore {
    pub(super) pool: Pool,
    pub(super) wakes: Wakes,
    pub(super) snapshots: Option<snapshots::SnapshotSender>,
    pub(super) upcasters: Arc<Vec<Box<dyn EventUpcaster>>>,
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
}
