//! One chunk: unpacked to exactly what it promises, compared with its checksum.

use std::io::{self, BufRead, Read, Write};

use super::super::lz4_frames::Frames;
use super::super::records::{Cursor, RECORD_PREFIX_BYTES};
use super::super::through::ZSTD_WINDOW_LOG_MAX;

/// The fields in front of a chunk's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkHead {
    pub start_ns: u64,
    pub end_ns: u64,
    pub unpacked_bytes: u64,
    /// 0: there is none.
    pub crc: u32,
    pub packing: String,
    /// Where the packed records begin in the record's body, and their length.
    pub packed_at: usize,
    pub packed_bytes: u64,
}

/// Of the name of a packing; there are "zstd" and "lz4".
const PACKING_BYTES_MAX: usize = 40;

impl ChunkHead {
    /// From the beginning of a body.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut c = Cursor::new(body);
        let (start_ns, end_ns, unpacked_bytes, crc) = (c.u64()?, c.u64()?, c.u64()?, c.u32()?);
        let packing_bytes = usize::try_from(c.u32()?).ok()?;
        let packing = c.take(packing_bytes).filter(|name| name.len() <= PACKING_BYTES_MAX)?;
        let packing = String::from_utf8_lossy(packing).into_owned();
        let packed_bytes = c.u64()?;
        Some(Self { start_ns, end_ns, unpacked_bytes, crc, packing, packed_at: 28 + 4 + packing_bytes + 8, packed_bytes })
    }

    /// The largest head, with the prefix of its record.
    pub const BYTES_MAX: usize = RECORD_PREFIX_BYTES + 28 + 4 + PACKING_BYTES_MAX + 8;
}

/// How many bytes the records of a chunk have, and their checksum, piece by piece: of one that is too large to be held. Nothing of a
/// packing that is none of ours.
pub fn pass_through(head: &ChunkHead, mut packed: impl BufRead) -> io::Result<Option<(u64, u32)>> {
    // One more byte than promised would be seen.
    let most = head.unpacked_bytes.saturating_add(1);
    let mut summed = Summed::default();
    match head.packing.as_str() {
        "" => io::copy(&mut packed.take(most), &mut summed)?,
        "zstd" => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            io::copy(&mut decoder.take(most), &mut summed)?
        }
        "lz4" => {
            let mut frames_left = head.unpacked_bytes / LZ4_FRAME_BYTES + LZ4_FRAMES;
            io::copy(&mut Frames::new(&mut packed, &mut frames_left).take(most), &mut summed)?
        }
        _ => return Ok(None),
    };
    Ok(Some((summed.bytes, summed.crc.finalize())))
}

/// Bytes that are counted and hashed, and not kept.
#[derive(Default)]
struct Summed {
    bytes: u64,
    crc: crc32fast::Hasher,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        self.crc.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As many lz4 frames as so many bytes need, and some more: an empty one costs time and holds nothing.
const LZ4_FRAME_BYTES: u64 = 1024;
const LZ4_FRAMES: u64 = 1024;

/// Why there are no records.
#[derive(Debug, PartialEq, Eq)]
pub enum Unpacking {
    /// It was not tried.
    NotHeld(String),
    /// Its packing is none of ours.
    Unknown,
    Broken(String),
    Crc {
        found: u32,
    },
}

/// The records of a chunk, in a buffer that is handed in and grows to what the chunk promises, which the caller has bounded.
pub fn unpack(head: &ChunkHead, packed: &[u8], mut into: Vec<u8>) -> Result<Vec<u8>, Unpacking> {
    let promised = usize::try_from(head.unpacked_bytes).unwrap_or(usize::MAX);
    let broken = |error: std::io::Error| Unpacking::Broken(error.to_string());
    into.clear();
    match head.packing.as_str() {
        "" => into.extend_from_slice(packed),
        "zstd" => {
            // What is empty has no frame, and the decoder wants some room.
            into.reserve(promised.max(1));
            if !packed.is_empty() {
                let mut decoder = zstd::bulk::Decompressor::new().map_err(broken)?;
                decoder.decompress_to_buffer(packed, &mut into).map_err(broken)?;
            }
        }
        "lz4" => {
            into.reserve(promised);
            let mut frames_left = head.unpacked_bytes / LZ4_FRAME_BYTES + LZ4_FRAMES;
            let most = head.unpacked_bytes.saturating_add(1);
            Frames::new(&mut &*packed, &mut frames_left).take(most).read_to_end(&mut into).map_err(broken)?;
        }
        _ => return Err(Unpacking::Unknown),
    }
    if into.len() as u64 != head.unpacked_bytes {
        return Err(Unpacking::Broken(format!("it unpacks to {} bytes, and {} are promised", into.len(), head.unpacked_bytes)));
    }
    match head.crc {
        0 => Ok(into),
        crc => match crc32fast::hash(&into) {
            found if found == crc => Ok(into),
            found => Err(Unpacking::Crc { found }),
        },
    }
}
