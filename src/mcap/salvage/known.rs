//! What both ends of a recording say before it is read: where records begin, and descriptions of schemas and channels.
//!
//! Writers describe a channel once, in the chunk of its first message, and again in the summary. Where that chunk is lost, the summary
//! still tells what the messages behind it are.

use std::collections::BTreeMap;

use super::super::measure::Look;
use super::super::read::{Ends, RangedRead, ReadSummaryError, read_ends};
use super::super::records::{Cursor, MAGIC, RECORD_PREFIX_BYTES, opcode};
use super::super::summary::ChunkRegion;
use super::described::{Budget, Channel, Schema};

/// What begins at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Chunk {
        end: u64,
    },
    /// Message indexes of the chunk before.
    Indexes,
    /// Whatever follows them.
    Other,
    Summary,
}

/// What is known of a recording beside its records.
pub struct Known {
    pub size: u64,
    /// Whether it ends as a finished recording does.
    pub finished: bool,
    /// Empty where the summary does not tell.
    pub places: BTreeMap<u64, Place>,
    pub schemas: BTreeMap<u16, Schema>,
    pub channels: BTreeMap<u16, Channel>,
}

/// Reads both ends of a recording of `size` bytes.
pub async fn known<R: RangedRead>(reader: &R, size: u64) -> Result<Known, ReadSummaryError<R::Error>> {
    let ends = read_ends(reader, size).await?;
    let look = Look::at(&ends, size);
    let mut known =
        Known { size, finished: look.tail[..] == MAGIC, places: BTreeMap::new(), schemas: BTreeMap::new(), channels: BTreeMap::new() };
    // Also where counts in it are wrong, or the beginning of the file is.
    if let (false, Some(summary_start)) = (look.chunks.is_empty(), look.summary_start) {
        known.places = places(look.chunks, summary_start);
    }
    known.describe(&ends);
    Ok(known)
}

/// Of chunks that lie one behind the other.
fn places(mut chunks: Vec<ChunkRegion>, summary_start: u64) -> BTreeMap<u64, Place> {
    let mut all = BTreeMap::from([(summary_start, Place::Summary)]);
    chunks.sort_by_key(|chunk| chunk.start);
    let mut behind = MAGIC.len() as u64;
    for chunk in chunks.iter().filter(|chunk| chunk.chunk_bytes >= RECORD_PREFIX_BYTES as u64) {
        let ends = chunk.start.checked_add(chunk.chunk_bytes).and_then(|end| Some((end, end.checked_add(chunk.index_bytes)?)));
        let Some((end, indexes_end)) = ends.filter(|(_, end)| *end <= summary_start && chunk.start >= behind) else { continue };
        all.insert(chunk.start, Place::Chunk { end });
        if indexes_end > end {
            all.entry(end).or_insert(Place::Indexes);
        }
        all.entry(indexes_end).or_insert(Place::Other);
        behind = indexes_end;
    }
    all
}

impl Known {
    /// The records of a damaged section are not what they were.
    fn describe(&mut self, ends: &Ends) {
        let Some(plan) = ends.plan.as_ref().ok().filter(|plan| plan.is_as_written(&ends.section)) else { return };
        let records = &ends.section[..ends.section.len().min((plan.summary.end - plan.summary.start) as usize)];
        let (mut rest, mut budget) = (Cursor::new(records), Budget::full());
        while let Some((opcode, body)) = rest.record() {
            if !matches!(opcode, opcode::SCHEMA | opcode::CHANNEL) {
                continue;
            }
            if !budget.take(body.len()) {
                return;
            }
            // What cannot be read describes nothing; the messages that lack it are told.
            match opcode {
                opcode::SCHEMA => self.schemas.extend(Schema::parse(body)),
                _ => self.channels.extend(Channel::parse(body)),
            }
        }
    }
}
