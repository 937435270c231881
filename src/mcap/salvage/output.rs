//! The file that is written: chunks, message indexes, summary, each with its checksum.
//!
//! It is begun with the first record that goes into it, and packed as the first chunk that was read. Nothing in it tells the time: the same
//! bytes are salvaged to the same bytes.

use std::collections::BTreeSet;
use std::io::{self, Write};

use mcap::records::{MessageHeader, Metadata};
use mcap::write::NoSeek;
use mcap::{Attachment, Compression, McapError, WriteOptions, Writer};
use sha2::{Digest as _, Sha256};

use super::described::{Channel, Schema};
use super::error::SalvageError;

/// A chunk is closed when it has so many bytes.
const CHUNK_BYTES: u64 = 1 << 20;
/// Of a message, beside its payload.
const MESSAGE_COSTS: u64 = 31;
/// Where in each chunk each channel's index lies is kept until the summary is written.
const INDEX_ENTRIES_MAX: u64 = 2_000_000;

pub struct Output<W: Write> {
    state: State<W>,
    profile: String,
    packing: Option<Compression>,
    chunk_bytes: u64,
    chunk_channels: BTreeSet<u16>,
    entries_left: u64,
}

enum State<W: Write> {
    Waiting(Counted<W>),
    Writing(Box<Writer<NoSeek<Counted<W>>>>),
    Over,
}

/// A metadata record that the file ends with.
pub const METADATA_NAME: &str = "salvage";

pub fn library() -> String {
    format!("keystone-edge {}", env!("CARGO_PKG_VERSION"))
}

impl<W: Write> Output<W> {
    pub fn new(into: W) -> Self {
        Self {
            state: State::Waiting(Counted { inner: into, hash: Sha256::new(), bytes: 0 }),
            profile: String::new(),
            packing: Some(Compression::Zstd),
            chunk_bytes: 0,
            chunk_channels: BTreeSet::new(),
            entries_left: INDEX_ENTRIES_MAX,
        }
    }

    /// What the parent's header says, where it is read before anything is written.
    pub fn profile(&mut self, profile: String) {
        self.profile = profile;
    }

    /// How chunks are packed; the first word counts, and zstd where there is none.
    pub fn packed_as(&mut self, packing: &str) {
        if matches!(self.state, State::Waiting(_)) {
            self.packing = match packing {
                "" => None,
                "lz4" => Some(Compression::Lz4),
                _ => Some(Compression::Zstd),
            };
        }
    }

    fn writer(&mut self) -> Result<&mut Writer<NoSeek<Counted<W>>>, SalvageError> {
        if let State::Waiting(_) = &self.state
            && let State::Waiting(into) = std::mem::replace(&mut self.state, State::Over)
        {
            // Chunks are closed here, where their indexes are counted.
            let options = WriteOptions::new()
                .profile(&self.profile)
                .library(library())
                .compression(self.packing)
                .compression_threads(0)
                .chunk_size(None)
                .disable_seeking(true);
            self.state = State::Writing(Box::new(options.create(NoSeek::new(into)).map_err(unwritten)?));
        }
        match &mut self.state {
            State::Writing(writer) => Ok(writer),
            State::Waiting(_) | State::Over => Err(SalvageError::Write(io::Error::other("it could not be begun"))),
        }
    }

    pub fn schema(&mut self, id: u16, schema: &Schema) -> Result<(), SalvageError> {
        let Schema { name, encoding, data } = schema;
        self.writer()?.add_schema_with_id(id, name, encoding, data).map_err(unwritten)?;
        Ok(())
    }

    pub fn channel(&mut self, id: u16, channel: &Channel) -> Result<(), SalvageError> {
        let Channel { schema_id, topic, message_encoding, metadata } = channel;
        self.writer()?.add_channel_with_id(id, *schema_id, topic, message_encoding, metadata).map_err(unwritten)?;
        Ok(())
    }

    /// A message of a channel that was described; `false` where no more fit into the summary.
    pub fn message(&mut self, header: &MessageHeader, payload: &[u8]) -> Result<bool, SalvageError> {
        if self.entries_left == 0 {
            return Ok(false);
        }
        self.writer()?.write_to_known_channel(header, payload).map_err(unwritten)?;
        if self.chunk_channels.insert(header.channel_id) {
            self.entries_left -= 1;
        }
        self.chunk_bytes += MESSAGE_COSTS + payload.len() as u64;
        if self.chunk_bytes >= CHUNK_BYTES {
            self.close_chunk()?;
        }
        Ok(true)
    }

    fn close_chunk(&mut self) -> Result<(), SalvageError> {
        (self.chunk_bytes, self.chunk_channels) = (0, BTreeSet::new());
        self.writer()?.flush().map_err(unwritten)
    }

    pub fn attachment(&mut self, attachment: &Attachment<'_>) -> Result<(), SalvageError> {
        self.close_chunk()?;
        self.writer()?.attach(attachment).map_err(unwritten)
    }

    pub fn metadata(&mut self, metadata: &Metadata) -> Result<(), SalvageError> {
        self.close_chunk()?;
        self.writer()?.write_metadata(metadata).map_err(unwritten)
    }

    /// The SHA-256 of the finished file in hex, and its size.
    pub fn finish(mut self) -> Result<(String, u64), SalvageError> {
        self.writer()?.finish().map_err(unwritten)?;
        let State::Writing(writer) = std::mem::replace(&mut self.state, State::Over) else {
            return Err(SalvageError::Write(io::Error::other("it was not begun")));
        };
        let mut counted = writer.into_inner().into_inner();
        counted.flush().map_err(SalvageError::Write)?;
        Ok((hex::encode(counted.hash.finalize()), counted.bytes))
    }
}

impl<W: Write> Drop for Output<W> {
    /// What was given up is not finished: the writer would do that by itself.
    fn drop(&mut self) {
        if let State::Writing(writer) = std::mem::replace(&mut self.state, State::Over) {
            drop(writer.into_inner());
        }
    }
}

fn unwritten(error: McapError) -> SalvageError {
    SalvageError::Write(match error {
        McapError::Io(error) => error,
        other => io::Error::other(other),
    })
}

/// Bytes that are counted and hashed as they are written.
struct Counted<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
