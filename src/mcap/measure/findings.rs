//! Where a defect lies, and of which kind it is.

use std::ops::Range;

use super::super::records::FOOTER_BYTES;
use super::super::summary::Unsound;
use crate::domain::measurement::{Finding, FindingKind, kept};

/// What is known of the places that a defect does not name itself.
#[derive(Clone, Debug, Default)]
pub struct Places {
    pub size: u64,
    /// The summary section with the footer's fields.
    pub summary: Range<u64>,
    /// The record with the statistics.
    pub statistics: Option<Range<u64>>,
}

impl Places {
    pub fn finding(&self, defect: &Unsound) -> Finding {
        let (kind, range) = self.look_up(defect);
        finding(kind, range, None, defect.to_string())
    }

    fn look_up(&self, defect: &Unsound) -> (FindingKind, Range<u64>) {
        use FindingKind as Kind;
        let (size, summary) = (self.size, self.summary.clone());
        let statistics = || self.statistics.clone().unwrap_or(summary.clone());
        // Footer and closing magic.
        let end = size.saturating_sub(FOOTER_BYTES as u64 + 8)..size;
        match *defect {
            Unsound::TooShort { .. } => (Kind::TooShort, 0..size),
            Unsound::Magic { at: 0, .. } => (Kind::HeadMagic, 0..8.min(size)),
            Unsound::Magic { at, .. } => (Kind::TailMagic, at..size),
            Unsound::Header { .. } => (Kind::Header, 8..17),
            Unsound::Footer { at, .. } => (Kind::Footer, at..size),
            Unsound::NoSummary | Unsound::SummaryStart { .. } | Unsound::SummaryOffsetStart { .. } | Unsound::SummaryTooLarge { .. } => {
                (Kind::Footer, end)
            }
            Unsound::SummaryCrc { .. } => (Kind::SummaryCrc, summary),
            Unsound::RecordOverruns { at, end } => (Kind::SummaryRecord, at..end),
            // The chain of records is followed by its lengths: the fault may lie in one before.
            Unsound::Malformed { at, .. } | Unsound::Misplaced { at, .. } if summary.contains(&at) => (Kind::SummaryRecord, summary),
            Unsound::NoStatistics | Unsound::NoChannelCounts { .. } | Unsound::NoChunkIndex { .. } => (Kind::Statistics, summary),
            Unsound::ChunkCount { .. }
            | Unsound::MessageCount { .. }
            | Unsound::CountedMessages { .. }
            | Unsound::CountedChunks { .. }
            | Unsound::CountedOnChannel { .. } => (Kind::Statistics, statistics()),
            Unsound::OutsideData { .. } | Unsound::ChunksOverlap { .. } | Unsound::ChunkLength { .. } => (Kind::ChunkRegion, summary),
            Unsound::Cut { at } => (Kind::Cut, at..size),
            Unsound::BehindEnd { at } => (Kind::BehindEnd, at..size),
            Unsound::NoDataEnd { at } | Unsound::Unreadable { at, .. } | Unsound::TooManyNames { at } => (Kind::Record, at..size),
            Unsound::Malformed { at, .. }
            | Unsound::Misplaced { at, .. }
            | Unsound::UnknownChannel { at, .. }
            | Unsound::DescribedOtherwise { at, .. } => (Kind::Record, at..size),
            Unsound::DataCrc { .. } => (Kind::DataCrc, 0..summary.start.max(8)),
            Unsound::AttachmentCrc { at, .. } => (Kind::AttachmentCrc, at..size),
            Unsound::ChunkCrc { start, .. } => (Kind::ChunkCrc, start..size),
            Unsound::Unpack { start, .. } | Unsound::Compression { start, .. } | Unsound::UnpacksTooFar { start } => {
                (Kind::ChunkUnpack, start..size)
            }
            Unsound::InChunk { start, .. } => (Kind::Record, start..size),
        }
    }
}

pub fn finding(kind: FindingKind, range: Range<u64>, chunk: Option<u64>, text: impl AsRef<str>) -> Finding {
    Finding { kind, at: range.start, bytes: range.end.saturating_sub(range.start), chunk, text: kept(text.as_ref()) }
}
