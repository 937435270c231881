//! An event as far as the tree is about it.

use super::hash::{Hash, leaf};

/// An event at a position, from wherever it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub position: u64,
    /// Names it for ever: `task/17/3`.
    pub event: String,
    pub event_type: String,
    /// Microseconds since 1970.
    pub recorded_at_us: i64,
    pub commitment: Hash,
}

impl Told {
    /// The hash of its leaf, where it stands.
    pub fn leaf_hash(&self) -> Hash {
        self.leaf_hash_at(self.position)
    }

    /// What it would be elsewhere.
    pub fn leaf_hash_at(&self, position: u64) -> Hash {
        Hash::of_leaf(&leaf(position, &self.commitment))
    }
}
