//! A whole recording, record by record, in one pass: for files without a summary, or with one that does
//! not say everything.
//!
//! The format allows such files, and some recorders write them. What a summary would say is counted, and
//! everything that has a checksum is compared with it: the data section, each chunk, each attachment, the
//! summary. A chunk has to unpack to what it promises. A checksum of 0 means that there is none.
//!
//! Memory is bounded whatever the file claims: bodies are passed over as they come, chunks are unpacked
//! piece by piece, and of names so much is kept and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read};

use super::beginnings::Beginnings;
use super::body::{Attached, Body, Source, Stop};
use super::lz4_frames;
use super::records::{Channel, Schema, Statistics, opcode};
use super::summary::{ChannelFacts, SummaryCrc, SummaryFacts, Unsound, check_magic, describe};

/// Of all names together. Thirty times what 65,535 channels of ordinary names need.
pub(super) const NAMES_BYTES_MAX: usize = 64 << 20;
/// A map of 65,536 channels and room for fields to come.
pub(super) const STATISTICS_BYTES_MAX: u64 = 1 << 20;
/// An lz4 frame costs as much as unpacking so many bytes, whatever it holds.
const LZ4_FRAME_COSTS: u64 = 32 << 10;
/// Windows of 128 MiB, which every zstd reader accepts, and no larger ones.
pub(super) const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const PIECE_BYTES: usize = 64 << 10;
/// Of the name of a packing that we do not know.
const PACKING_CHARS_MAX: usize = 40;

/// What a file of so many bytes may unpack to: zeros compress ten thousand to one, and must not keep a thread for hours.
pub(super) fn unpacked_bytes_max(size: u64) -> u64 {
    const ALWAYS: u64 = 64 << 30;
    const PER_BYTE: u64 = 100;
    ALWAYS.saturating_add(size.saturating_mul(PER_BYTE))
}

/// Reads a recording of `size` bytes from its first byte to its last.
pub fn read_through(bytes: impl BufRead, size: u64) -> Result<SummaryFacts, Unsound> {
    let mut source = Source::new(bytes);
    let mut pass = Pass { unpacked_left: unpacked_bytes_max(size), ..Pass::default() };
    let result = pass.file(&mut source, size);
    let cut = source.ended;
    match result {
        Ok(()) => pass.facts(),
        Err(Stop::Defect(defect)) => Err(defect),
        Err(Stop::Io(_)) if cut => Err(Unsound::Cut { at: source.at }),
        Err(Stop::Io(error)) => Err(Unsound::Unreadable { at: source.at, why: error.to_string() }),
    }
}

/// What was counted so far.
#[derive(Default)]
struct Pass {
    profile: String,
    library: String,
    schemas: BTreeMap<u16, Schema>,
    channels: BTreeMap<u16, Channel>,
    /// Only these may have messages: a channel comes before its messages.
    seen: BTreeSet<u16>,
    counts: BTreeMap<u16, u64>,
    message_count: u64,
    chunk_count: u64,
    indexed_chunks: u64,
    times: Option<(u64, u64)>,
    attachments: Vec<String>,
    metadata: Vec<String>,
    statistics: Option<Statistics>,
    summary_crc: Option<SummaryCrc>,
    summary_bytes: u64,
    names_taken: usize,
    unpacked_left: u64,
}

impl Pass {
    fn file<R: BufRead>(&mut self, source: &mut Source<R>, size: u64) -> Result<(), Stop> {
        check_magic(0, &source.array::<8>()?)?;
        self.header(Body::next(source)?)?;
        self.data(source)?;
        let summary_start = source.at;
        self.summary(source, summary_start)?;
        check_magic(source.at, &source.array::<8>()?)?;
        if source.is_at_end()? && source.at == size { Ok(()) } else { Err(Unsound::BehindEnd { at: source.at }.into()) }
    }

    fn header<R: BufRead>(&mut self, mut body: Body<'_, R>) -> Result<(), Stop> {
        if body.opcode != opcode::HEADER {
            return Err(Unsound::Header { opcode: body.opcode, len: body.left }.into());
        }
        self.profile = self.name(&mut body)?;
        self.library = self.name(&mut body)?;
        body.rest()
    }

    fn name<R: BufRead>(&mut self, body: &mut Body<'_, R>) -> Result<String, Stop> {
        let mut left = NAMES_BYTES_MAX - self.names_taken;
        let name = body.name(&mut left)?;
        self.names_taken = NAMES_BYTES_MAX - left;
        Ok(name)
    }

    /// Up to and with the record that ends the data section.
    fn data<R: BufRead>(&mut self, source: &mut Source<R>) -> Result<(), Stop> {
        loop {
            let before = source.crc.clone();
            let mut body = Body::next(source)?;
            let (at, opcode) = (body.start, body.opcode);
            match opcode {
                opcode::SCHEMA => self.schema(body)?,
                opcode::CHANNEL => self.channel(body, true)?,
                opcode::MESSAGE => self.message(body)?,
                opcode::CHUNK => self.chunk(body)?,
                opcode::ATTACHMENT => self.attachment(body)?,
                opcode::METADATA => {
                    let name = self.name(&mut body)?;
                    self.metadata.push(name);
                    body.rest()?;
                }
                opcode::DATA_END => {
                    let expected = body.u32()?;
                    body.rest()?;
                    let found = before.finalize();
                    if expected != 0 && expected != found {
                        return Err(Unsound::DataCrc { found, expected }.into());
                    }
                    source.crc = crc32fast::Hasher::new();
                    return Ok(());
                }
                opcode::FOOTER => return Err(Unsound::NoDataEnd { at }.into()),
                0
                | opcode::HEADER
                | opcode::CHUNK_INDEX
                | opcode::ATTACHMENT_INDEX
                | opcode::STATISTICS
                | opcode::METADATA_INDEX
                | opcode::SUMMARY_OFFSET => return Err(Unsound::Misplaced { at, opcode }.into()),
                // Message indexes repeat what the chunk says; private records are none of our business.
                _ => body.rest()?,
            }
        }
    }

    fn schema<R: BufRead>(&mut self, mut body: Body<'_, R>) -> Result<(), Stop> {
        let id = body.u16()?;
        if self.schemas.contains_key(&id) {
            return body.rest();
        }
        let name = self.name(&mut body)?;
        let encoding = self.name(&mut body)?;
        let data_bytes = body.u32()?;
        body.pass_over(u64::from(data_bytes))?;
        self.schemas.insert(id, Schema { id, name, encoding, data_bytes: data_bytes as usize });
        body.rest()
    }

    fn channel<R: BufRead>(&mut self, mut body: Body<'_, R>, in_data: bool) -> Result<(), Stop> {
        let id = body.u16()?;
        let schema_id = body.u16()?;
        if in_data {
            self.seen.insert(id);
        }
        if self.channels.contains_key(&id) {
            return body.rest();
        }
        let topic = self.name(&mut body)?;
        let message_encoding = self.name(&mut body)?;
        self.channels.insert(id, Channel { id, schema_id, topic, message_encoding });
        body.rest()
    }

    fn message<R: BufRead>(&mut self, mut body: Body<'_, R>) -> Result<(), Stop> {
        let channel = body.u16()?;
        let _sequence = body.u32()?;
        let log_time = body.u64()?;
        let _publish_time = body.u64()?;
        if !self.seen.contains(&channel) {
            return Err(Unsound::UnknownChannel { at: body.start, channel }.into());
        }
        *self.counts.entry(channel).or_default() += 1;
        self.message_count += 1;
        let (first, last) = self.times.unwrap_or((log_time, log_time));
        self.times = Some((first.min(log_time), last.max(log_time)));
        body.rest()
    }

    fn attachment<R: BufRead>(&mut self, body: Body<'_, R>) -> Result<(), Stop> {
        let at = body.start;
        let mut left = NAMES_BYTES_MAX - self.names_taken;
        let Attached { name, found, expected } = body.attachment(&mut left)?;
        self.names_taken = NAMES_BYTES_MAX - left;
        if expected != 0 && expected != found {
            return Err(Unsound::AttachmentCrc { at, found, expected }.into());
        }
        self.attachments.push(name);
        Ok(())
    }

    fn chunk<R: BufRead>(&mut self, mut body: Body<'_, R>) -> Result<(), Stop> {
        let start = body.start;
        let _times = (body.u64()?, body.u64()?);
        let promised = body.u64()?;
        let expected = body.u32()?;
        let compression = self.name(&mut body)?;
        let packed = body.u64()?;
        body.take(packed)?;
        self.unpacked_left = self.unpacked_left.checked_sub(promised).ok_or(Unsound::UnpacksTooFar { start })?;
        self.chunk_count += 1;

        let mut records = (&mut *body.source).take(packed);
        let unpack = |why: io::Error| Stop::from(Unsound::Unpack { start, why: why.to_string() });
        // One more byte than promised would be seen.
        let most = promised.saturating_add(1);
        let unpacked = match compression.as_str() {
            "" => self.records(&mut records, most, start),
            "zstd" => {
                let mut decoder = zstd::stream::read::Decoder::new(&mut records).map_err(unpack)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(unpack)?;
                self.records(decoder, most, start)
            }
            "lz4" => {
                let before = self.unpacked_left / LZ4_FRAME_COSTS;
                let mut frames_left = before;
                let unpacked = self.records(lz4_frames::Frames::new(&mut records, &mut frames_left), most, start);
                self.unpacked_left -= (before - frames_left) * LZ4_FRAME_COSTS;
                unpacked
            }
            other => return Err(Unsound::Compression { start, name: other.chars().take(PACKING_CHARS_MAX).collect() }.into()),
        };
        let left = records.limit();
        // What the file itself lacks is said with its place in the file.
        if body.source.ended {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let (found_bytes, found) = unpacked?;
        if found_bytes != promised {
            return Err(Unsound::Unpack { start, why: format!("it unpacks to {found_bytes} bytes, and {promised} are promised") }.into());
        }
        if expected != 0 && expected != found {
            return Err(Unsound::ChunkCrc { start, found, expected }.into());
        }
        body.source.skip(left)?;
        body.rest()
    }

    /// The records inside a chunk; answers how many bytes they had, and their checksum.
    fn records(&mut self, unpacked: impl Read, most: u64, chunk: u64) -> Result<(u64, u32), Stop> {
        let mut inner = Source::new(BufReader::with_capacity(PIECE_BYTES, unpacked.take(most)));
        let defect = |stop: Stop| match stop {
            Stop::Io(error) => Unsound::Unpack { start: chunk, why: error.to_string() }.into(),
            // A place inside the chunk says little without the chunk.
            Stop::Defect(defect) => Stop::from(Unsound::InChunk { start: chunk, defect: Box::new(defect) }),
        };
        while !inner.is_at_end().map_err(Stop::from).map_err(defect)? {
            self.record_in_chunk(&mut inner).map_err(defect)?;
        }
        Ok((inner.at, inner.crc.finalize()))
    }

    fn record_in_chunk<R: BufRead>(&mut self, inner: &mut Source<R>) -> Result<(), Stop> {
        let body = Body::next(inner)?;
        match body.opcode {
            opcode::SCHEMA => self.schema(body),
            opcode::CHANNEL => self.channel(body, true),
            opcode::MESSAGE => self.message(body),
            0..=opcode::DATA_END => Err(Unsound::Misplaced { at: body.start, opcode: body.opcode }.into()),
            _ => body.rest(),
        }
    }

    /// From the end of the data section up to and with the footer.
    fn summary<R: BufRead>(&mut self, source: &mut Source<R>, data_end: u64) -> Result<(), Stop> {
        let mut beginnings = Beginnings::at(data_end);
        loop {
            let mut body = Body::next(source)?;
            let (at, opcode) = (body.start, body.opcode);
            match opcode {
                opcode::SCHEMA => self.schema(body)?,
                opcode::CHANNEL => self.channel(body, false)?,
                opcode::STATISTICS => {
                    let statistics = self.parse_statistics(body)?;
                    self.statistics(at, statistics)?;
                }
                opcode::CHUNK_INDEX => {
                    self.indexed_chunks += 1;
                    body.rest()?;
                }
                opcode::FOOTER => {
                    let (claimed, offsets) = (body.u64()?, body.u64()?);
                    let (hashed, end) = (body.source.crc.clone(), body.source.at);
                    let expected = body.u32()?;
                    body.rest()?;
                    // 0: there is no summary, and what follows the data is the footer.
                    let start = if claimed == 0 { at } else { claimed };
                    let found = beginnings.hash_from(start, &hashed, end);
                    let Some(found) = found else {
                        return Err(Unsound::SummaryStart { found: claimed, expected: data_end..at }.into());
                    };
                    if expected != 0 && expected != found {
                        return Err(Unsound::SummaryCrc { found, expected }.into());
                    }
                    self.summary_crc = Some(if expected == 0 { SummaryCrc::Absent } else { SummaryCrc::Matches(found) });
                    self.summary_bytes = at - start;
                    if offsets != 0 && !(start..=at).contains(&offsets) {
                        return Err(Unsound::SummaryOffsetStart { found: offsets, expected: start..at }.into());
                    }
                    return Ok(());
                }
                opcode::ATTACHMENT_INDEX | opcode::METADATA_INDEX | opcode::SUMMARY_OFFSET => body.rest()?,
                0..=opcode::DATA_END => return Err(Unsound::Misplaced { at, opcode }.into()),
                _ => {
                    body.rest()?;
                    beginnings.passed_other(source);
                    continue;
                }
            }
            beginnings.end();
        }
    }

    fn parse_statistics<R: BufRead>(&mut self, mut body: Body<'_, R>) -> Result<Statistics, Stop> {
        let malformed = body.malformed();
        let len = body.left.min(STATISTICS_BYTES_MAX);
        body.take(len)?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        body.source.read_exact(&mut bytes)?;
        body.rest()?;
        Statistics::parse(&bytes).ok_or(malformed)
    }

    fn statistics(&mut self, at: u64, statistics: Statistics) -> Result<(), Stop> {
        if self.statistics.as_ref().is_some_and(|known| !known.agrees_with(&statistics)) {
            return Err(Unsound::Misplaced { at, opcode: opcode::STATISTICS }.into());
        }
        if statistics.message_count != self.message_count {
            let (message_count, counted) = (statistics.message_count, self.message_count);
            return Err(Unsound::CountedMessages { message_count, counted }.into());
        }
        if u64::from(statistics.chunk_count) != self.chunk_count {
            return Err(Unsound::CountedChunks { chunk_count: statistics.chunk_count, counted: self.chunk_count }.into());
        }
        for (channel, count) in &statistics.channel_message_counts {
            let counted = self.counts.get(channel).copied().unwrap_or_default();
            if *count != counted {
                return Err(Unsound::CountedOnChannel { channel: *channel, count: *count, counted }.into());
            }
        }
        self.statistics.get_or_insert(statistics);
        Ok(())
    }

    fn facts(self) -> Result<SummaryFacts, Unsound> {
        if self.indexed_chunks != 0 && self.indexed_chunks != self.chunk_count {
            let chunk_count = u32::try_from(self.chunk_count).unwrap_or(u32::MAX);
            return Err(Unsound::ChunkCount { chunk_count, indexed: self.indexed_chunks });
        }
        let (start_ns, end_ns) = self.times.unwrap_or_default();
        let channels: Vec<ChannelFacts> = describe(self.channels, &self.schemas, &self.counts);
        Ok(SummaryFacts {
            profile: self.profile,
            library: self.library,
            message_count: self.message_count,
            start_ns,
            end_ns,
            channels,
            chunks: vec![],
            attachments: self.attachments,
            metadata: self.metadata,
            summary_crc: self.summary_crc.unwrap_or(SummaryCrc::Absent),
            summary_bytes: self.summary_bytes,
            read_through: None,
        })
    }
}
