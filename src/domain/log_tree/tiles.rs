//! Hashes of subtrees, from tiles.

use std::collections::BTreeMap;

use super::hash::Hash;
use super::span::{Span, tiles_of};
use super::tile::TileId;

/// Where hashes of tiles are found.
pub trait Tiles {
    fn tile(&self, id: TileId) -> Option<&[Hash]>;

    /// The hash of a subtree; None where a tile of it is not there, or is too short.
    fn hash_of(&self, span: Span) -> Option<Hash> {
        let mut hash: Option<Hash> = None;
        for node in span.nodes().into_iter().rev() {
            let (id, at) = node.place();
            let full = root_of_full(self.tile(id)?.get(at)?);
            hash = Some(hash.map_or(full, |right| Hash::of_children(&full, &right)));
        }
        Some(hash.unwrap_or_else(Hash::of_nothing))
    }

    fn root(&self, size: u64) -> Option<Hash> {
        self.hash_of(Span::whole(size))
    }
}

/// Tiles at hand.
pub type Kept = BTreeMap<TileId, Vec<Hash>>;

impl Tiles for Kept {
    fn tile(&self, id: TileId) -> Option<&[Hash]> {
        self.get(&id).map(Vec::as_slice)
    }
}

/// Of a full subtree, from the hashes of a lower level: 1, 2, 4, … of them.
pub fn root_of_full(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => Hash::of_nothing(),
        [one] => *one,
        more => {
            let (left, right) = more.split_at(more.len() / 2);
            Hash::of_children(&root_of_full(left), &root_of_full(right))
        }
    }
}

/// The tiles that a root is made from.
pub fn of_root(size: u64) -> impl Iterator<Item = TileId> {
    tiles_of(&[Span::whole(size)]).into_iter()
}
