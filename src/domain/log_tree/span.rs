//! Which subtrees a root and a proof are made of.

use std::collections::BTreeSet;

use super::tile::{HEIGHT, TileId};

/// Consecutive leaves whose hash is asked for: a subtree of the tree of RFC 6962, full or the last one of its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u64,
    pub end: u64,
}

/// A full subtree: of 2^height leaves, the index-th of its height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    pub height: u32,
    pub index: u64,
}

impl Node {
    /// The tile with the hashes of which it is made, and which ones.
    pub fn place(self) -> (TileId, std::ops::Range<usize>) {
        let (level, height) = (self.height / HEIGHT, self.height % HEIGHT);
        let first = self.index << height;
        let tile = TileId { level, number: first >> HEIGHT };
        // Below 256.
        let at = (first & 0xff) as usize;
        (tile, at..at + (1 << height))
    }
}

/// The largest power of two below the number of leaves, of two or more: where the tree of RFC 6962 divides.
pub fn divide(leaves: u64) -> u64 {
    1 << (u64::BITS - 1 - (leaves - 1).leading_zeros())
}

impl Span {
    pub fn whole(size: u64) -> Self {
        Self { start: 0, end: size }
    }

    pub fn leaves(self) -> u64 {
        self.end - self.start
    }

    /// Where it divides; None for one leaf.
    pub fn halves(self) -> Option<(Self, Self)> {
        let leaves = self.leaves();
        let at = self.start + (leaves > 1).then(|| divide(leaves))?;
        Some((Self { end: at, ..self }, Self { start: at, ..self }))
    }

    /// The full subtrees it consists of, the largest first.
    pub fn nodes(self) -> Vec<Node> {
        let mut nodes = vec![];
        let mut start = self.start;
        while start < self.end {
            let height = u64::BITS - 1 - (self.end - start).leading_zeros();
            nodes.push(Node { height, index: start >> height });
            start += 1 << height;
        }
        nodes
    }
}

/// The path from a leaf to the root, the nearest first.
pub fn inclusion(index: u64, size: u64) -> Vec<Span> {
    let mut path = vec![];
    let mut within = Span::whole(size);
    while let Some((left, right)) = within.halves() {
        let (inside, beside) = if index < left.end { (left, right) } else { (right, left) };
        path.push(beside);
        within = inside;
    }
    path.reverse();
    path
}

/// What proves that the tree of `old` leaves, one or more, is the beginning of the one of `new`.
pub fn consistency(old: u64, new: u64) -> Vec<Span> {
    let mut path = vec![];
    let mut within = Span::whole(new);
    // Whether it is all of the old tree: who verifies knows its root.
    let mut known = true;
    while within.end != old {
        let Some((left, right)) = within.halves() else { break };
        if old <= left.end {
            path.push(right);
            within = left;
        } else {
            path.push(left);
            within = right;
            known = false;
        }
    }
    if !known {
        path.push(within);
    }
    path.reverse();
    path
}

/// The tiles that the hashes of these subtrees are made from.
pub fn tiles_of<'a>(spans: impl IntoIterator<Item = &'a Span>) -> BTreeSet<TileId> {
    spans.into_iter().flat_map(|span| span.nodes()).map(|node| node.place().0).collect()
}
