//! Tier 2: message indexes, which lie outside the compressed chunks, by ranged reads; parsed by hand.

use std::ops::Range;

use super::super::read::{RangedRead, ReadSummaryError};
use super::super::records::{Cursor, RECORD_PREFIX_BYTES, opcode};
use super::super::summary::ChunkRegion;
use super::findings::finding;
use super::topics::Topics;
use crate::domain::measurement::{FINDINGS_MAX, Finding, FindingKind, Listed, NotMeasured};

/// Neighbours that are no farther apart are read at once.
const COALESCE_BYTES: u64 = 256 << 10;
/// As much is read at once.
const READ_BYTES_MAX: u64 = 4 << 20;
/// Indexes of one chunk: a million messages. More are left to tier 3.
pub const INDEX_BYTES_MAX: u64 = 16 << 20;

/// One entry: a message, and where it lies in the unpacked chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub channel: u16,
    pub log_time: u64,
    pub offset: u64,
}

/// Reads the entries of one message index record, behind its prefix.
pub fn entries(body: &[u8]) -> Option<(u16, impl ExactSizeIterator<Item = Entry>)> {
    let mut c = Cursor::new(body);
    let channel = c.u16()?;
    let bytes = usize::try_from(c.u32()?).ok()?;
    let (numbers, []) = c.take(bytes)?.as_chunks::<8>() else { return None };
    let (pairs, []) = numbers.as_chunks::<2>() else { return None };
    let entry =
        move |[time, offset]: &[[u8; 8]; 2]| Entry { channel, log_time: u64::from_le_bytes(*time), offset: u64::from_le_bytes(*offset) };
    Some((channel, pairs.iter().map(entry)))
}

/// What the message of an entry carries, where one lies there in the records of its chunk.
pub fn message_at<'r>(records: &'r [u8], entry: &Entry) -> Option<&'r [u8]> {
    let (opcode, body) = Cursor::new(records.get(usize::try_from(entry.offset).ok()?..)?).record()?;
    let mut c = Cursor::new(body);
    let (channel, _sequence, log_time, _publish_time) = (c.u16()?, c.u32()?, c.u64()?, c.u64()?);
    ((opcode, channel, log_time) == (opcode::MESSAGE, entry.channel, entry.log_time)).then(|| c.up_to(u64::MAX))
}

#[derive(Default)]
pub struct Indexed {
    pub findings: Listed<Finding>,
    pub not_measured: Listed<NotMeasured>,
    /// Whether every chunk was followed by indexes.
    pub whole: bool,
    pub read_bytes: u64,
}

/// What the indexes of a file's chunks say; the times go to `topics`.
pub async fn read<R: RangedRead>(reader: &R, chunks: &[ChunkRegion], topics: &mut Topics) -> Result<Indexed, ReadSummaryError<R::Error>> {
    let mut indexed = Indexed { whole: true, ..Indexed::default() };
    let mut next = 0;
    while next < chunks.len() {
        let (range, taken) = together(&chunks[next..]);
        let bytes = if range.is_empty() {
            bytes::Bytes::new()
        } else {
            let bytes = reader.read(range.clone()).await.map_err(ReadSummaryError::Read)?;
            if bytes.len() as u64 != range.end - range.start {
                return Err(ReadSummaryError::ShortRead { asked: range, got: bytes.len() });
            }
            bytes
        };
        indexed.read_bytes += bytes.len() as u64;
        for (number, chunk) in chunks.iter().enumerate().skip(next).take(taken) {
            let Range { start, end } = index_range(chunk);
            if end - start > INDEX_BYTES_MAX {
                indexed.leave_out(chunk, number, "its message indexes are too large to be held");
            } else if start == end {
                indexed.leave_out(chunk, number, "it has no message index");
            } else {
                let its = &bytes[(start - range.start) as usize..(end - range.start) as usize];
                indexed.chunk(chunk, number as u64, its, topics);
            }
        }
        next += taken;
    }
    Ok(indexed)
}

/// In bounds of the file: tier 1 has compared chunks with it.
pub fn index_range(chunk: &ChunkRegion) -> Range<u64> {
    let start = chunk.start.saturating_add(chunk.chunk_bytes);
    start..start.saturating_add(chunk.index_bytes)
}

/// The range to read next, and for how many of the chunks.
fn together(chunks: &[ChunkRegion]) -> (Range<u64>, usize) {
    let readable = |chunk: &ChunkRegion| (1..=INDEX_BYTES_MAX).contains(&chunk.index_bytes);
    let mut range = 0..0;
    for (taken, chunk) in chunks.iter().enumerate() {
        let this = index_range(chunk);
        if !readable(chunk) {
            continue;
        }
        if range.is_empty() {
            range = this;
        } else if this.start - range.end <= COALESCE_BYTES && this.end - range.start <= READ_BYTES_MAX {
            range.end = this.end;
        } else {
            return (range, taken);
        }
    }
    (range, chunks.len())
}

impl Indexed {
    fn leave_out(&mut self, chunk: &ChunkRegion, number: usize, why: &str) {
        self.whole = false;
        self.not_measured.push(NotMeasured { at: Some(chunk.start), chunk: Some(number as u64), why: why.to_owned() }, FINDINGS_MAX);
    }

    fn chunk(&mut self, chunk: &ChunkRegion, number: u64, bytes: &[u8], topics: &mut Topics) {
        let mut all: Vec<Entry> = Vec::with_capacity(bytes.len() / 16);
        let mut at = index_range(chunk).start;
        let mut rest = Cursor::new(bytes);
        let end = index_range(chunk).end;
        let mut found = |range: Range<u64>, text: String| {
            self.findings.push(finding(FindingKind::MessageIndex, range, Some(number), text), FINDINGS_MAX);
        };
        while !rest.is_empty() {
            let Some((opcode, body)) = rest.record() else {
                found(at..end, format!("message index at {at} of the chunk at {} does not end with its indexes", chunk.start));
                break;
            };
            let behind = at + (RECORD_PREFIX_BYTES + body.len()) as u64;
            if opcode != opcode::MESSAGE_INDEX {
                found(at..behind, format!("record at {at} with opcode {opcode:#04x} stands where the chunk index has a message index"));
                break;
            }
            match entries(body) {
                None => found(at..behind, format!("message index at {at} cannot be parsed")),
                Some((channel, entries)) if entries.len() > 0 && !topics.knows(channel) => {
                    found(at..behind, format!("message index at {at} is of channel {channel}, which is not described"));
                }
                Some((_, entries)) => {
                    let before = all.len();
                    all.extend(entries);
                    let wrong = all[before..].iter().position(|entry| !is_within(entry, chunk));
                    if let Some(wrong) = wrong {
                        // Behind the prefix, the channel, and the length of the entries.
                        let place = at + (RECORD_PREFIX_BYTES + 6 + 16 * wrong) as u64;
                        let Entry { log_time, offset, .. } = all[before + wrong];
                        found(
                            place..place + 16,
                            format!(
                                "message index at {at} has a message at time {log_time} and offset {offset}, outside its chunk of {}..={} and {} bytes",
                                chunk.start_ns, chunk.end_ns, chunk.uncompressed_bytes
                            ),
                        );
                    }
                }
            }
            at = behind;
        }
        // In the order of the file, in which a topic of several channels is mixed.
        all.sort_unstable_by_key(|entry| entry.offset);
        all.iter().for_each(|entry| topics.indexed(entry.channel, entry.log_time));
    }
}

fn is_within(entry: &Entry, chunk: &ChunkRegion) -> bool {
    (chunk.start_ns..=chunk.end_ns).contains(&entry.log_time) && entry.offset < chunk.uncompressed_bytes
}
