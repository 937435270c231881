//! Where events and tiles are read.

use std::collections::BTreeSet;

use crate::domain::log_tree::{Kept, TileId, Told};

pub trait Source {
    /// Those of these tiles that are there.
    async fn tiles(&mut self, ids: &BTreeSet<TileId>) -> anyhow::Result<Kept>;
    /// The events at these positions, both included, in order. Asked for from the first to the last.
    async fn events(&mut self, first: u64, last: u64) -> anyhow::Result<Vec<Told>>;
}
