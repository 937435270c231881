//! That a leaf is in a tree, and that one tree is the beginning of another: made from tiles, and verified with nothing but hashes (RFC 9162, section 2.1).

use super::hash::Hash;
use super::span::{consistency, inclusion};
use super::tiles::Tiles;

/// The hashes from a leaf to the root, the nearest first. None where a tile is not there.
pub fn of_inclusion(tiles: &impl Tiles, index: u64, size: u64) -> Option<Vec<Hash>> {
    inclusion(index, size).into_iter().map(|span| tiles.hash_of(span)).collect()
}

/// What proves that the tree of `old` leaves, one or more, is the beginning of the one of `new`.
pub fn of_consistency(tiles: &impl Tiles, old: u64, new: u64) -> Option<Vec<Hash>> {
    consistency(old, new).into_iter().map(|span| tiles.hash_of(span)).collect()
}

/// Whether the leaf with this hash is the index-th of the tree with this root.
pub fn is_included(leaf: Hash, index: u64, size: u64, root: &Hash, proof: &[Hash]) -> bool {
    if index >= size {
        return false;
    }
    // Of the subtree that `hash` is of, and of the last one of its height.
    let (mut here, mut last, mut hash) = (index, size - 1, leaf);
    for beside in proof {
        if last == 0 {
            return false;
        }
        if here % 2 == 1 || here == last {
            hash = Hash::of_children(beside, &hash);
            // Subtrees on the right edge that have no neighbour go up as they are.
            while here.is_multiple_of(2) && here != 0 {
                (here, last) = (here / 2, last / 2);
            }
        } else {
            hash = Hash::of_children(&hash, beside);
        }
        (here, last) = (here / 2, last / 2);
    }
    last == 0 && hash == *root
}

/// Whether the tree with the old root is the beginning of the one with the new root.
pub fn is_consistent(old: u64, new: u64, old_root: &Hash, new_root: &Hash, proof: &[Hash]) -> bool {
    if old == 0 || old > new {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    let known;
    let mut path = proof;
    // All of the old tree is one full subtree: its root is known, and not among the hashes.
    let first = if old.is_power_of_two() {
        *old_root
    } else {
        let Some((first, rest)) = proof.split_first() else { return false };
        known = *first;
        path = rest;
        known
    };
    let (mut here, mut last) = (old - 1, new - 1);
    while here % 2 == 1 {
        (here, last) = (here / 2, last / 2);
    }
    let (mut of_old, mut of_new) = (first, first);
    for beside in path {
        if last == 0 {
            return false;
        }
        if here % 2 == 1 || here == last {
            of_old = Hash::of_children(beside, &of_old);
            of_new = Hash::of_children(beside, &of_new);
            while here.is_multiple_of(2) && here != 0 {
                (here, last) = (here / 2, last / 2);
            }
        } else {
            of_new = Hash::of_children(&of_new, beside);
        }
        (here, last) = (here / 2, last / 2);
    }
    last == 0 && of_old == *old_root && of_new == *new_root
}
