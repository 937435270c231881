//! Hashes and leaves.

use std::fmt;

use sha2::{Digest as _, Sha256};

pub const HASH_BYTES: usize = 32;
pub const LEAF_BYTES: usize = 40;

/// SHA-256 of a leaf or of two subtrees.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; HASH_BYTES]);

impl Hash {
    pub fn of_leaf(leaf: &[u8]) -> Self {
        Self(Sha256::new().chain_update([0]).chain_update(leaf).finalize().into())
    }

    pub fn of_children(left: &Self, right: &Self) -> Self {
        Self(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
    }

    /// The root of a tree without leaves.
    pub fn of_nothing() -> Self {
        Self(Sha256::digest([]).into())
    }

    /// Of hashes that stand one behind the other. None where the last one is torn.
    pub fn all_of(bytes: &[u8]) -> Option<Vec<Self>> {
        let (whole, rest) = bytes.as_chunks::<HASH_BYTES>();
        rest.is_empty().then(|| whole.iter().map(|bytes| Self(*bytes)).collect())
    }

    /// One behind the other.
    pub fn bytes_of(hashes: &[Self]) -> Vec<u8> {
        hashes.iter().flat_map(|hash| hash.0).collect()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The leaf of the event at a position.
pub fn leaf(position: u64, commitment: &Hash) -> [u8; LEAF_BYTES] {
    let mut leaf = [0; LEAF_BYTES];
    let (place, rest) = leaf.split_at_mut(8);
    place.copy_from_slice(&position.to_be_bytes());
    rest.copy_from_slice(&commitment.0);
    leaf
}

/// A leaf behind its length.
const ENTRY_BYTES: usize = 2 + LEAF_BYTES;

/// Leaves as others are given them: each behind its length, in 2 bytes big-endian.
pub fn bundle(leaves: &[[u8; LEAF_BYTES]]) -> Vec<u8> {
    let length = [0, LEAF_BYTES as u8];
    leaves.iter().flat_map(|leaf| length.into_iter().chain(*leaf)).collect()
}

/// The whole leaves of a bundle.
pub fn unbundled(bytes: &[u8]) -> Vec<[u8; LEAF_BYTES]> {
    bytes.as_chunks::<ENTRY_BYTES>().0.iter().filter_map(|entry| entry.last_chunk().copied()).collect()
}
