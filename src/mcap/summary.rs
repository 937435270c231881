//! Tier 1, the pure part: head, footer and summary bytes to facts or to a defect.
//!
//! A3 magics, A4 footer, A5 summary CRC, A6 statistics agree, A7 regions are
//! disjoint and lie in the data section. The letters are those of the
//! catalogue of checks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::records::{
    self, Channel, ChunkIndex, Cursor, FOOTER_BYTES, Footer, Header, MAGIC, NamedRecord, RECORD_PREFIX_BYTES, Schema, Statistics, opcode,
};

/// Magic, an empty header, data end, footer, magic.
pub const FILE_BYTES_MIN: u64 = 8 + 17 + 13 + FOOTER_BYTES as u64 + 8;
/// Summaries of hour-long recordings are a few hundred kilobytes; a larger one than
/// this is not read into memory because a device says so.
pub const SUMMARY_BYTES_MAX: u64 = 64 << 20;
/// Magic and header, or the beginning of one; real headers are under 100 bytes.
pub const HEAD_BYTES: u64 = 4 << 10;
/// Footer and closing magic.
pub const TRAILER_BYTES: u64 = FOOTER_BYTES as u64 + 8;

/// What the summary of a sound recording says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryFacts {
    pub profile: String,
    pub library: String,
    pub message_count: u64,
    /// First and last log time, nanoseconds since the epoch; both 0 in a recording without messages.
    pub start_ns: u64,
    pub end_ns: u64,
    /// In the order of channel ids. A channel that was counted but not described
    /// in the summary has empty names.
    pub channels: Vec<ChannelFacts>,
    /// In the order of the file.
    pub chunks: Vec<ChunkRegion>,
    /// Names of attachments and metadata records, in the order of their indexes.
    pub attachments: Vec<String>,
    pub metadata: Vec<String>,
    pub summary_crc: SummaryCrc,
    pub summary_bytes: u64,
    /// Where the summary did not say everything: what it lacked. Then the whole file was read, and
    /// `chunks` is empty, for there may be any number of them.
    pub read_through: Option<Unsound>,
}

impl SummaryFacts {
    /// Messages per topic; several channels may share one.
    pub fn topics(&self) -> BTreeMap<&str, u64> {
        let mut topics = BTreeMap::new();
        for channel in &self.channels {
            let count: &mut u64 = topics.entry(channel.topic.as_str()).or_default();
            *count = count.saturating_add(channel.message_count);
        }
        topics
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelFacts {
    pub id: u16,
    pub topic: String,
    pub message_encoding: String,
    /// Name of the schema, `sensor_msgs/Image`; empty without a schema.
    pub message_type: String,
    pub schema_encoding: String,
    pub schema_bytes: usize,
    pub message_count: u64,
}

/// Where a chunk and its message indexes lie: what tiers 2 and 3 read next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRegion {
    pub start: u64,
    pub chunk_bytes: u64,
    /// Message indexes follow their chunk directly.
    pub index_bytes: u64,
    pub start_ns: u64,
    pub end_ns: u64,
    pub compression: String,
    pub compressed_bytes: u64,
    pub uncompressed_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SummaryCrc {
    Matches(u32),
    /// The writer left it out, which the format allows.
    Absent,
}

/// Why a recording's summary cannot be relied on. Offsets count from the start of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    #[error("{size} bytes are too few for an MCAP file, which has at least {FILE_BYTES_MIN}")]
    TooShort { size: u64 },
    #[error("bytes at {at} should be the MCAP magic, found {}", hex::encode(.found))]
    Magic { at: u64, found: [u8; 8] },
    #[error("record at 8 should be a header, found opcode {opcode:#04x} with {len} bytes")]
    Header { opcode: u8, len: u64 },
    #[error("record at {at} should be a footer (0x02) of 20 bytes, found opcode {opcode:#04x} with {len} bytes")]
    Footer { at: u64, opcode: u8, len: u64 },
    #[error("footer says that there is no summary section")]
    NoSummary,
    #[error("footer puts the start of the summary at {found}, outside {}..={}", .expected.start, .expected.end)]
    SummaryStart { found: u64, expected: Range<u64> },
    #[error("footer puts the summary offsets at {found}, outside {}..={}", .expected.start, .expected.end)]
    SummaryOffsetStart { found: u64, expected: Range<u64> },
    #[error("summary has {bytes} bytes, more than the {SUMMARY_BYTES_MAX} we read")]
    SummaryTooLarge { bytes: u64 },
    #[error("summary CRC is {found:08x}, footer says {expected:08x}")]
    SummaryCrc { found: u32, expected: u32 },
    #[error("summary record at {at} does not fit into the section that ends at {end}")]
    RecordOverruns { at: u64, end: u64 },
    #[error("record at {at} with opcode {opcode:#04x} cannot be parsed")]
    Malformed { at: u64, opcode: u8 },
    #[error("record at {at} with opcode {opcode:#04x} does not belong into its section, or says something else than the one before")]
    Misplaced { at: u64, opcode: u8 },
    #[error("record at {at} with opcode {opcode:#04x} describes {id} in another way than the one before")]
    DescribedOtherwise { at: u64, opcode: u8, id: u16 },
    #[error("summary has no statistics")]
    NoStatistics,
    #[error("statistics count {message_count} messages and not those of each channel")]
    NoChannelCounts { message_count: u64 },
    #[error("statistics count {chunk_count} chunks, but there is no chunk index")]
    NoChunkIndex { chunk_count: u32 },
    #[error("statistics count {chunk_count} chunks, {indexed} are indexed")]
    ChunkCount { chunk_count: u32, indexed: u64 },
    #[error("statistics count {message_count} messages, their channels {in_channels}")]
    MessageCount { message_count: u64, in_channels: u128 },
    #[error("{what} at {start} with {bytes} bytes lies outside the data section 8..{data_end}")]
    OutsideData { what: &'static str, start: u64, bytes: u64, data_end: u64 },
    #[error("chunk at {start} begins before the one at {previous_start} ends at {previous_end}")]
    ChunksOverlap { start: u64, previous_start: u64, previous_end: u64 },
    #[error("chunk at {start} has {compressed_bytes} compressed bytes in a record of {chunk_bytes}")]
    ChunkLength { start: u64, compressed_bytes: u64, chunk_bytes: u64 },

    // What only reading through can find.
    #[error("the file ends at {at}, in the middle of a record")]
    Cut { at: u64 },
    #[error("something stands behind the closing magic, which ends at {at}")]
    BehindEnd { at: u64 },
    #[error("cannot be read at {at}: {why}")]
    Unreadable { at: u64, why: String },
    #[error("the footer at {at} comes without an end of the data section before it")]
    NoDataEnd { at: u64 },
    #[error("data section CRC is {found:08x}, its end says {expected:08x}")]
    DataCrc { found: u32, expected: u32 },
    #[error("CRC of the attachment at {at} is {found:08x}, it says {expected:08x}")]
    AttachmentCrc { at: u64, found: u32, expected: u32 },
    #[error("CRC of the chunk at {start} is {found:08x}, it says {expected:08x}")]
    ChunkCrc { start: u64, found: u32, expected: u32 },
    #[error("chunk at {start} cannot be unpacked: {why}")]
    Unpack { start: u64, why: String },
    #[error("chunk at {start} is packed with {name:?}; zstd, lz4 and none can be read")]
    Compression { start: u64, name: String },
    #[error("chunk at {start} and those before it unpack to more than is read")]
    UnpacksTooFar { start: u64 },
    #[error("in the chunk at {start}: {defect}")]
    InChunk { start: u64, defect: Box<Unsound> },
    #[error("message at {at} is of channel {channel}, which was not described before")]
    UnknownChannel { at: u64, channel: u16 },
    #[error("names up to the record at {at} have more bytes than are kept")]
    TooManyNames { at: u64 },
    #[error("statistics count {message_count} messages, there are {counted}")]
    CountedMessages { message_count: u64, counted: u64 },
    #[error("statistics count {chunk_count} chunks, there are {counted}")]
    CountedChunks { chunk_count: u32, counted: u64 },
    #[error("statistics count {count} messages of channel {channel}, there are {counted}")]
    CountedOnChannel { channel: u16, count: u64, counted: u64 },
}

impl Unsound {
    /// False for files that are merely written without what tier 1 reads, or with more of it. They may be
    /// whole; only reading all of them can tell.
    pub fn is_damage(&self) -> bool {
        !matches!(
            self,
            Self::NoSummary
                | Self::NoStatistics
                | Self::NoChannelCounts { .. }
                | Self::NoChunkIndex { .. }
                | Self::SummaryTooLarge { .. }
                // A footer may have fields behind the known ones, and then begins earlier.
                | Self::Footer { .. }
        )
    }
}

/// Tier 1 of a recording that is in memory as a whole.
pub fn summary_of(file: &[u8]) -> Result<SummaryFacts, Unsound> {
    let size = file.len() as u64;
    if size < FILE_BYTES_MIN {
        return Err(Unsound::TooShort { size });
    }
    let head = &file[..file.len().min(HEAD_BYTES as usize)];
    let trailer = &file[file.len() - TRAILER_BYTES as usize..];
    let plan = plan(size, trailer)?;
    // In bounds: `plan` has compared the range with the size.
    let section = &file[plan.range.start as usize..plan.range.end as usize];
    facts(head, &plan, section)
}

/// What the footer tells to read.
pub(super) struct Plan {
    footer: Footer,
    /// The summary section together with the part of the footer that its CRC covers.
    pub range: Range<u64>,
    pub summary: Range<u64>,
}

impl Plan {
    /// Whether the section has its checksum, or none.
    pub fn is_as_written(&self, section: &[u8]) -> bool {
        check_crc(self.footer.summary_crc, section).is_ok()
    }
}

/// Checks magic and footer. `trailer` holds the last [`TRAILER_BYTES`] of a file of `size` bytes.
pub(super) fn plan(size: u64, trailer: &[u8]) -> Result<Plan, Unsound> {
    if size < FILE_BYTES_MIN || trailer.len() as u64 != TRAILER_BYTES {
        return Err(Unsound::TooShort { size });
    }
    let (footer_bytes, magic) = trailer.split_at(FOOTER_BYTES);
    check_magic(size - 8, magic)?;

    let footer_start = size - TRAILER_BYTES;
    let mut c = Cursor::new(footer_bytes);
    let (opcode, len) = (c.u8().unwrap_or(0), c.u64().unwrap_or(0));
    let body_bytes = FOOTER_BYTES - RECORD_PREFIX_BYTES;
    let footer = Some(())
        .filter(|()| opcode == records::opcode::FOOTER && len == body_bytes as u64)
        .and_then(|()| Footer::parse(c.take(body_bytes)?))
        .ok_or(Unsound::Footer { at: footer_start, opcode, len })?;

    let Footer { summary_start, summary_offset_start, .. } = footer;
    if summary_start == 0 {
        return Err(Unsound::NoSummary);
    }
    let expected = 8..footer_start;
    if !(expected.start..=expected.end).contains(&summary_start) {
        return Err(Unsound::SummaryStart { found: summary_start, expected });
    }
    let expected = summary_start..footer_start;
    if summary_offset_start != 0 && !(expected.start..=expected.end).contains(&summary_offset_start) {
        return Err(Unsound::SummaryOffsetStart { found: summary_offset_start, expected });
    }
    let summary = summary_start..footer_start;
    if summary.end - summary.start > SUMMARY_BYTES_MAX {
        return Err(Unsound::SummaryTooLarge { bytes: summary.end - summary.start });
    }
    // The CRC itself is the last field of the footer.
    let range = summary_start..footer_start + FOOTER_BYTES as u64 - 4;
    Ok(Plan { footer, range, summary })
}

/// `head` holds the first bytes of the file, at most [`HEAD_BYTES`]; `section` those of `plan.range`.
pub(super) fn facts(head: &[u8], plan: &Plan, section: &[u8]) -> Result<SummaryFacts, Unsound> {
    let header = header(head, plan.summary.start)?;
    let summary_crc = check_crc(plan.footer.summary_crc, section)?;
    let summary_bytes = plan.summary.end - plan.summary.start;
    let section = section.get(..summary_bytes as usize).unwrap_or(section);
    let Records { schemas, channels, statistics, chunks, attachments, metadata } = parse(section, &plan.summary)?;

    let statistics = statistics.ok_or(Unsound::NoStatistics)?;
    check_counts(&statistics, chunks.len())?;
    let data_end = plan.summary.start;
    let chunks = check_chunks(chunks, data_end)?;
    check_named("attachment", &attachments, data_end)?;
    check_named("metadata record", &metadata, data_end)?;

    Ok(SummaryFacts {
        profile: header.profile,
        library: header.library,
        message_count: statistics.message_count,
        start_ns: statistics.start_ns,
        end_ns: statistics.end_ns,
        channels: describe(channels, &schemas, &counts_of(&statistics)),
        chunks,
        attachments: attachments.into_iter().map(|a| a.name).collect(),
        metadata: metadata.into_iter().map(|m| m.name).collect(),
        summary_crc,
        summary_bytes,
        read_through: None,
    })
}

pub(super) fn check_magic(at: u64, bytes: &[u8]) -> Result<(), Unsound> {
    if bytes == MAGIC {
        return Ok(());
    }
    let mut found = [0; 8];
    for (to, from) in found.iter_mut().zip(bytes) {
        *to = *from;
    }
    Err(Unsound::Magic { at, found })
}

/// The header may be longer than `head`; then its names are as far as they are known.
fn header(head: &[u8], data_end: u64) -> Result<Header, Unsound> {
    let mut c = Cursor::new(head);
    check_magic(0, c.take(MAGIC.len()).unwrap_or(head))?;
    let (opcode, len) = (c.u8().unwrap_or(0), c.u64().unwrap_or(0));
    let ends_in_data = len.checked_add((MAGIC.len() + RECORD_PREFIX_BYTES) as u64).is_some_and(|end| end <= data_end);
    if opcode != opcode::HEADER || !ends_in_data {
        return Err(Unsound::Header { opcode, len });
    }
    Header::parse_beginning(c.up_to(len), len).ok_or(Unsound::Header { opcode, len })
}

fn check_crc(expected: u32, section: &[u8]) -> Result<SummaryCrc, Unsound> {
    if expected == 0 {
        return Ok(SummaryCrc::Absent);
    }
    match crc32fast::hash(section) {
        found if found == expected => Ok(SummaryCrc::Matches(found)),
        found => Err(Unsound::SummaryCrc { found, expected }),
    }
}

#[derive(Default)]
struct Records {
    schemas: BTreeMap<u16, Schema>,
    channels: BTreeMap<u16, Channel>,
    statistics: Option<Statistics>,
    chunks: Vec<ChunkIndex>,
    attachments: Vec<NamedRecord>,
    metadata: Vec<NamedRecord>,
}

fn parse(section: &[u8], span: &Range<u64>) -> Result<Records, Unsound> {
    let mut records = Records::default();
    let mut rest = Cursor::new(section);
    let mut at = span.start;
    // Every turn takes a record's prefix at least, so the section is used up.
    while !rest.is_empty() {
        let overruns = Unsound::RecordOverruns { at, end: span.end };
        let (opcode, body) = rest.record().ok_or(overruns)?;
        let malformed = || Unsound::Malformed { at, opcode };
        match opcode {
            opcode::SCHEMA => {
                let schema = Schema::parse(body).ok_or_else(malformed)?;
                records.schemas.insert(schema.id, schema);
            }
            opcode::CHANNEL => {
                let channel = Channel::parse(body).ok_or_else(malformed)?;
                records.channels.insert(channel.id, channel);
            }
            opcode::STATISTICS => {
                let statistics = Statistics::parse(body).ok_or_else(malformed)?;
                match &records.statistics {
                    Some(known) if !known.agrees_with(&statistics) => return Err(Unsound::Misplaced { at, opcode }),
                    Some(_) => {}
                    None => records.statistics = Some(statistics),
                }
            }
            opcode::CHUNK_INDEX => {
                records.chunks.push(ChunkIndex::parse(body).ok_or_else(malformed)?);
            }
            opcode::ATTACHMENT_INDEX => {
                let index = NamedRecord::parse_attachment_index(body).ok_or_else(malformed)?;
                records.attachments.push(index);
            }
            opcode::METADATA_INDEX => {
                let index = NamedRecord::parse_metadata_index(body).ok_or_else(malformed)?;
                records.metadata.push(index);
            }
            0
            | opcode::HEADER
            | opcode::FOOTER
            | opcode::MESSAGE
            | opcode::CHUNK
            | opcode::MESSAGE_INDEX
            | opcode::ATTACHMENT
            | opcode::METADATA
            | opcode::DATA_END => return Err(Unsound::Misplaced { at, opcode }),
            // Summary offsets only repeat what we have just read; later versions of
            // the format and private records may add others.
            _ => {}
        }
        at += (RECORD_PREFIX_BYTES + body.len()) as u64;
    }
    Ok(records)
}

/// Channels and chunks of a section whose other claims may not be true.
pub(super) fn listed(section: &[u8], span: &Range<u64>) -> Result<(Vec<ChannelFacts>, Vec<ChunkRegion>), Unsound> {
    let Records { schemas, channels, statistics, mut chunks, .. } = parse(section, span)?;
    chunks.sort_by_key(|chunk| chunk.chunk_start);
    let counts = statistics.as_ref().map(counts_of).unwrap_or_default();
    Ok((describe(channels, &schemas, &counts), chunks.into_iter().map(ChunkRegion::from).collect()))
}

fn check_counts(statistics: &Statistics, indexed: usize) -> Result<(), Unsound> {
    let &Statistics { message_count, chunk_count, .. } = statistics;
    // An empty map says that this is not known.
    if statistics.channel_message_counts.is_empty() && message_count > 0 {
        return Err(Unsound::NoChannelCounts { message_count });
    }
    let in_channels = statistics.channel_message_counts.iter().map(|(_, count)| u128::from(*count)).sum();
    if u128::from(message_count) != in_channels {
        return Err(Unsound::MessageCount { message_count, in_channels });
    }
    match indexed as u64 {
        indexed if indexed == u64::from(chunk_count) => Ok(()),
        0 => Err(Unsound::NoChunkIndex { chunk_count }),
        indexed => Err(Unsound::ChunkCount { chunk_count, indexed }),
    }
}

fn check_chunks(mut chunks: Vec<ChunkIndex>, data_end: u64) -> Result<Vec<ChunkRegion>, Unsound> {
    chunks.sort_by_key(|chunk| chunk.chunk_start);
    let mut previous: Option<Range<u64>> = None;
    for chunk in &chunks {
        let &ChunkIndex { chunk_start: start, chunk_bytes, compressed_bytes, .. } = chunk;
        if compressed_bytes >= chunk_bytes {
            return Err(Unsound::ChunkLength { start, compressed_bytes, chunk_bytes });
        }
        let bytes = chunk_bytes.saturating_add(chunk.index_bytes);
        let end = inside_data("chunk", start, bytes, data_end)?;
        if let Some(previous) = previous.filter(|previous| start < previous.end) {
            return Err(Unsound::ChunksOverlap { start, previous_start: previous.start, previous_end: previous.end });
        }
        previous = Some(start..end);
    }
    Ok(chunks.into_iter().map(ChunkRegion::from).collect())
}

fn check_named(what: &'static str, named: &[NamedRecord], data_end: u64) -> Result<(), Unsound> {
    named.iter().try_for_each(|record| inside_data(what, record.start, record.bytes, data_end).map(|_| ()))
}

fn inside_data(what: &'static str, start: u64, bytes: u64, data_end: u64) -> Result<u64, Unsound> {
    start.checked_add(bytes).filter(|end| start >= MAGIC.len() as u64 && *end <= data_end).ok_or(Unsound::OutsideData {
        what,
        start,
        bytes,
        data_end,
    })
}

fn counts_of(statistics: &Statistics) -> BTreeMap<u16, u64> {
    let mut counts = BTreeMap::new();
    for (id, count) in &statistics.channel_message_counts {
        let known: &mut u64 = counts.entry(*id).or_default();
        *known = known.saturating_add(*count);
    }
    counts
}

/// Every channel that is described or counted.
pub(super) fn describe(
    mut channels: BTreeMap<u16, Channel>,
    schemas: &BTreeMap<u16, Schema>,
    counts: &BTreeMap<u16, u64>,
) -> Vec<ChannelFacts> {
    let ids: BTreeSet<u16> = channels.keys().chain(counts.keys()).copied().collect();
    ids.into_iter()
        .map(|id| {
            let channel = channels.remove(&id);
            // 0 stands for no schema.
            let schema = channel.as_ref().filter(|channel| channel.schema_id != 0).and_then(|channel| schemas.get(&channel.schema_id));
            ChannelFacts {
                id,
                message_type: schema.map(|s| s.name.clone()).unwrap_or_default(),
                schema_encoding: schema.map(|s| s.encoding.clone()).unwrap_or_default(),
                schema_bytes: schema.map(|s| s.data_bytes).unwrap_or_default(),
                message_count: counts.get(&id).copied().unwrap_or_default(),
                topic: channel.as_ref().map(|c| c.topic.clone()).unwrap_or_default(),
                message_encoding: channel.map(|c| c.message_encoding).unwrap_or_default(),
            }
        })
        .collect()
}

impl From<ChunkIndex> for ChunkRegion {
    fn from(index: ChunkIndex) -> Self {
        Self {
            start: index.chunk_start,
            chunk_bytes: index.chunk_bytes,
            index_bytes: index.index_bytes,
            start_ns: index.start_ns,
            end_ns: index.end_ns,
            compression: index.compression,
            compressed_bytes: index.compressed_bytes,
            uncompressed_bytes: index.uncompressed_bytes,
        }
    }
}
