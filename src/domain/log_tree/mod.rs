//! The Merkle tree over the log, with which anybody checks it who has none of our programs: RFC 6962, section 2.1, over short fixed leaves.
//!
//! ```text
//!   leaf:  position of the event, 8 bytes big-endian, then its commitment (32 bytes, `domain::commitment`)
//!   hash:  SHA-256(0x00 || leaf);  of two subtrees SHA-256(0x01 || left || right)
//!   size:  a tree of n leaves has the positions 1..=n; leaves count from 0, so position p is leaf p - 1
//! ```
//!
//! - [`hash`]: hashes and leaves.
//! - [`span`]: which subtrees a root and a proof are made of.
//! - [`tile`]: the tree as files of 256 hashes, as <https://c2sp.org/tlog-tiles> names them.
//! - [`tiles`]: hashes of subtrees, from these files.
//! - [`growth`]: tiles, as leaves come.
//! - [`proof`]: that a leaf is in a tree, and that one tree is the beginning of another: made from tiles, and verified.
//! - [`checkpoint`]: what is signed, as <https://c2sp.org/tlog-checkpoint> writes it.
//! - [`told`], [`comparison`]: events against a tree, and what is wrong with those that are not in it.
//!
//! What others have to know is in `docs/log-proof.md`.

pub mod checkpoint;
pub mod comparison;
pub mod growth;
pub mod hash;
pub mod proof;
pub mod span;
#[cfg(test)]
mod tests;
pub mod tile;
pub mod tiles;
pub mod told;

pub use checkpoint::Checkpoint;
pub use growth::Growth;
pub use hash::{Hash, LEAF_BYTES, leaf};
pub use span::Span;
pub use tile::{Resource, TileId};
pub use tiles::{Kept, Tiles};
pub use told::Told;
