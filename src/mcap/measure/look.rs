//! Tier 1: head, tail and summary by ranged reads. Says what they say, and the first thing that is wrong with them.

use std::ops::Range;

use bytes::Bytes;

use super::super::read::{Ends, RangedRead, ReadSummaryError, read_ends};
use super::super::records::{Cursor, RECORD_PREFIX_BYTES, opcode};
use super::super::summary::{self, ChannelFacts, ChunkRegion, SummaryFacts, Unsound};
use super::findings::Places;

/// What the ends of a recording say.
pub struct Look {
    pub size: u64,
    pub read_bytes: u64,
    /// The first and the last eight bytes, as far as they are there.
    pub head: Bytes,
    pub tail: Bytes,
    pub summary: Result<SummaryFacts, Unsound>,
    /// What the summary lists, also where it is not sound as a whole.
    pub channels: Vec<ChannelFacts>,
    pub chunks: Vec<ChunkRegion>,
    /// Where the footer puts the summary.
    pub summary_start: Option<u64>,
    pub places: Places,
}

pub async fn look<R: RangedRead>(reader: &R, size: u64) -> Result<Look, ReadSummaryError<R::Error>> {
    let ends = read_ends(reader, size).await?;
    Ok(Look::at(&ends, size))
}

impl Look {
    pub(in super::super) fn at(ends: &Ends, size: u64) -> Self {
        let (head, tail) = (&ends.head, &ends.tail);
        let mut look = Self {
            size,
            read_bytes: ends.read_bytes,
            head: head.slice(..head.len().min(8)),
            tail: tail.slice(tail.len().saturating_sub(8)..),
            summary: Err(Unsound::TooShort { size }),
            channels: vec![],
            chunks: vec![],
            summary_start: None,
            places: Places { size, ..Places::default() },
        };
        let plan = match &ends.plan {
            Ok(plan) => plan,
            Err(defect) => {
                look.summary = Err(defect.clone());
                return look;
            }
        };
        look.summary_start = Some(plan.range.start);
        // With the checksum itself.
        look.places.summary = plan.range.start..(plan.range.end + 4).min(size);
        look.summary = summary::facts(head, plan, &ends.section);
        let records = &ends.section[..ends.section.len().min((plan.summary.end - plan.summary.start) as usize)];
        look.places.statistics = find(records, plan.summary.start, opcode::STATISTICS);
        match &look.summary {
            Ok(facts) => {
                look.channels.clone_from(&facts.channels);
                look.chunks.clone_from(&facts.chunks);
            }
            // Records whose counts or regions disagree are records all the same; those of a damaged section are not.
            Err(_) => {
                if let (true, Ok(listed)) = (plan.is_as_written(&ends.section), summary::listed(records, &plan.summary)) {
                    (look.channels, look.chunks) = listed;
                }
            }
        }
        look
    }

    /// Of damage; a summary that merely does not say enough is none.
    pub fn damage(&self) -> Option<&Unsound> {
        self.summary.as_ref().err().filter(|defect| defect.is_damage())
    }

    /// What the summary lacks, so that only reading everything tells.
    pub fn lacks(&self) -> Option<&Unsound> {
        self.summary.as_ref().err().filter(|defect| !defect.is_damage())
    }
}

/// The first record of a kind.
fn find(section: &[u8], start: u64, opcode: u8) -> Option<Range<u64>> {
    let mut rest = Cursor::new(section);
    let mut at = start;
    while let Some((found, body)) = rest.record() {
        let end = at + (RECORD_PREFIX_BYTES + body.len()) as u64;
        if found == opcode {
            return Some(at..end);
        }
        at = end;
    }
    None
}
