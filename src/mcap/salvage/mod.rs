//! Salvage: the good ranges of a damaged recording, written to a sound file of their own.
//!
//! ```text
//!  known         both ends: descriptions in the summary, and where it says that chunks begin
//!  pass          every record, in one pass: what can be believed goes on, what cannot is named
//!  output        a finished recording: chunks, indexes, summary, and a metadata record on what is missing
//!  passing       the same over bytes that come from elsewhere
//! ```
//!
//! What is believed: a chunk that unpacks to what it promises and has its checksum, or none; the records in it as far as they can be
//! read; records outside of chunks whose lengths lead from one to the next; attachments with their checksum, or none. Of a
//! chunk with another checksum nothing is, though much of it may be right: nobody can say which bytes. Where a length leads nowhere, the pass
//! goes on where the summary has the next chunk; without a summary it ends there.
//!
//! Memory is bounded as that of measuring: one chunk packed and unpacked and the one that is written, 16 MB of descriptions, and two million
//! entries of indexes.

mod described;
mod error;
mod known;
mod output;
mod pass;
mod passing;

use std::io::{BufRead, Write};

pub use error::SalvageError;
pub use known::{Known, known};
pub use passing::salvage_passing;

use super::hashed::Hashed;
use crate::domain::salvage::Salvaged;

/// A larger chunk, packed or unpacked, is left out, and so is a larger record outside of chunks.
pub const CHUNK_BYTES_MAX: u64 = 64 << 20;

/// Reads the recording whose ends are `known` from its first byte to its last, and writes what is good of it.
pub fn salvage(bytes: impl BufRead, known: &Known, chunk_bytes_max: u64, into: impl Write) -> Result<Salvaged, SalvageError> {
    pass::Pass::new(known, chunk_bytes_max, into).run(Hashed::new(bytes, true))
}

#[cfg(test)]
pub mod tests;
