//! Tiles, as leaves come: what is kept of a tree so that it grows is the last tile of each level, where that is not full.

use std::collections::BTreeMap;

use super::hash::Hash;
use super::span::Span;
use super::tile::{HEIGHT, LEVELS, TileId, WIDTH};
use super::tiles::{Kept, Tiles, root_of_full};

/// A tree at its growing end.
#[derive(Clone, Debug)]
pub struct Growth {
    size: u64,
    /// Of each level, below 256 hashes.
    tails: Vec<Vec<Hash>>,
    /// Tiles that are new or longer since it was asked for.
    changed: Kept,
}

impl Default for Growth {
    fn default() -> Self {
        Self { size: 0, tails: vec![vec![]; LEVELS as usize], changed: Kept::new() }
    }
}

impl Growth {
    /// Of a tree of this size. None where a tile is not what it has to be.
    pub fn of(size: u64, tiles: &impl Tiles) -> Option<Self> {
        let mut growth = Self { size, ..Self::default() };
        for tail in growth.tail_ids() {
            let width = tail.width_in(size);
            if width > 0 {
                *growth.tails.get_mut(tail.level as usize)? = tiles.tile(tail)?.get(..width)?.to_vec();
            }
        }
        Some(growth)
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// The last tile of each level that is not full; it may have no hash yet.
    fn tail_ids(&self) -> Vec<TileId> {
        tails_of(self.size)
    }

    pub fn append(&mut self, leaf: Hash) {
        let (mut hash, mut level) = (leaf, 0);
        self.size += 1;
        while let Some(tail) = self.tails.get_mut(level as usize) {
            tail.push(hash);
            if tail.len() < WIDTH {
                return;
            }
            let full = std::mem::take(tail);
            hash = root_of_full(&full);
            let above = self.size.checked_shr(HEIGHT * (level + 1)).unwrap_or(0);
            self.changed.insert(TileId { level, number: above.saturating_sub(1) }, full);
            level += 1;
        }
    }

    pub fn root(&self) -> Hash {
        let tails: BTreeMap<_, _> = self.tail_ids().into_iter().zip(self.tails.iter().cloned()).collect();
        tails.hash_of(Span::whole(self.size)).unwrap_or_else(Hash::of_nothing)
    }

    /// What became full since it was asked for last, and the last tile of each level as it is now, where one has hashes.
    pub fn take_tiles(&mut self) -> Kept {
        let mut changed = std::mem::take(&mut self.changed);
        let tails = self.tail_ids().into_iter().zip(self.tails.iter().cloned());
        changed.extend(tails.filter(|(_, hashes)| !hashes.is_empty()));
        changed
    }
}

/// The tiles at the growing end of a tree, one a level: those that are not full, if only by having nothing yet.
pub fn tails_of(size: u64) -> Vec<TileId> {
    let at = |level| size.checked_shr(HEIGHT * (level + 1)).unwrap_or(0);
    (0..LEVELS).map(|level| TileId { level, number: at(level) }).collect()
}
