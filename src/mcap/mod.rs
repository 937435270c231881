//! MCAP bytes to facts, by tier, to one image for a person who looks, and to what is good of them; decides nothing.
//!
//! [`measure`] yields all that checks want to know of a recording, and each damage with its place: from both ends of the file
//! (tier 1, at most three ranges), by message indexes (tier 2), or from every record (tier 3). Whether a fact is good enough
//! is for others to say: the verified ack wants a sound summary ([`SummaryFacts`], or the first thing that is wrong,
//! [`Unsound`]), the checks of an episode want more.
//!
//! What the format leaves to the writer is not damage: where the summary is missing or
//! says too little ([`Unsound::is_damage`]), the pass over every record counts itself. Where that fails by a mistake of ours,
//! [`read_through`], a reader of its own, tells in bounded memory whether the recording is whole.
//!
//! [`salvage`] writes what is good of a damaged recording to another one.
//!
//! The bytes come from devices and are not trusted. Everything here is bounded by
//! the bytes at hand: no length found in a file is allocated, followed without
//! a check, or waited for.

mod beginnings;
mod body;
mod hashed;
mod lz4_frames;
pub mod measure;
mod read;
mod records;
pub mod salvage;
mod summary;
mod through;

pub use body::READ_AT_ONCE;
pub use hashed::Hashed;
pub use read::{RangedRead, ReadSummaryError, read_pieces};
pub use summary::{ChannelFacts, ChunkRegion, SUMMARY_BYTES_MAX, SummaryCrc, SummaryFacts, Unsound, summary_of};
pub use through::read_through;

#[cfg(test)]
mod tests;
