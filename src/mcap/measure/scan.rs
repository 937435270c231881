//! Tier 3: every record from the first byte to the last, in the order of the file, in one pass.
//!
//! Chunks are unpacked by other threads; what is in them is looked at here, one after the other, because runs and steps
//! go on from chunk to chunk. A damaged chunk is named and passed over: the records behind it are found by its length.
//! Only where a length itself cannot be believed the pass ends.
//!
//! Memory is bounded: so many chunks at once, none larger than the limit. One that is larger, or that is packed in a way
//! of its own, is not measured, and its message indexes stand for it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;

use super::super::beginnings::Beginnings;
use super::super::body::{Body, READ_AT_ONCE, Source, Stop};
use super::super::records::{Channel, Cursor, Footer, MAGIC, RECORD_PREFIX_BYTES, Schema, Statistics, opcode};
use super::super::summary::{ChunkRegion, SummaryCrc, Unsound};
use super::super::through::{NAMES_BYTES_MAX, STATISTICS_BYTES_MAX, unpacked_bytes_max};
use super::chunk::{ChunkHead, pass_through};
use super::findings::finding;
use super::indexes::INDEX_BYTES_MAX;
use super::inside::{Inside, look_inside};
use super::look::Look;
use super::pool::{Job, Pool, Unpacked};
use super::sample::Sampling;
use super::topics::{Message, Topics};
use crate::domain::measurement::{
    Checksums, FINDINGS_MAX, Finding, FindingKind, Listed, METADATA_KEYS_MAX, NAMES_MAX, NotMeasured, SAMPLES_MAX, kept,
};

/// What a measuring may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A chunk that is larger, packed or unpacked, is not measured.
    pub chunk_bytes_max: u64,
    /// Threads that unpack, beside the one that reads; none: that one does it.
    pub unpackers: usize,
    /// Images of each camera that are decoded; never more than sixty.
    pub samples_max: u64,
    /// Whether payloads are looked into at all.
    pub payloads: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { chunk_bytes_max: 64 << 20, unpackers: 1, samples_max: SAMPLES_MAX, payloads: true }
    }
}

/// More than that do not get more bytes from a store or a disk.
const UNPACKERS_MAX: usize = 8;

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Limits {
    /// Where nothing else is done meanwhile: all processors but the one that reads unpack, and one at least.
    pub fn alone() -> Self {
        Self { unpackers: (processors() - 1).clamp(1, UNPACKERS_MAX), ..Self::default() }
    }

    /// Where the same bytes are hashed on a thread of its own, which takes longer than all the rest: processors that neither hash nor
    /// measure unpack. With two there is none, and handing chunks to and fro would cost half as much again.
    pub fn beside_hashing() -> Self {
        Self { unpackers: processors().saturating_sub(2).min(UNPACKERS_MAX), ..Self::default() }
    }
}

/// Of one metadata record.
const METADATA_BYTES_MAX: u64 = 256 << 10;

/// What the pass found.
#[derive(Default)]
pub struct Scanned {
    pub topics: Topics,
    pub profile: String,
    pub library: String,
    pub checksums: Checksums,
    pub chunk_count: u64,
    pub attachments: Listed<String>,
    pub metadata: Listed<String>,
    pub metadata_keys: Listed<String>,
    pub findings: Listed<Finding>,
    pub not_measured: Listed<NotMeasured>,
    /// Whether all messages were counted, so that the count can be compared.
    pub counted_all: bool,
    /// Whether the pass came to the end of the file.
    pub ended: bool,
}

/// Reads a recording; an error says that it could not be read, and nothing about it.
pub fn scan(bytes: impl BufRead, look: &Look, limits: Limits) -> io::Result<Scanned> {
    std::thread::scope(|scope| {
        let mut scan = Scan::new(look, limits, Pool::start(scope, limits.unpackers, limits.chunk_bytes_max));
        let mut source = Source::new(bytes);
        let passed = scan.file(&mut source);
        scan.settle_all();
        scan.done.topics.settle();
        match passed {
            Ok(()) => {}
            Err(Stop::Defect(defect)) => scan.found(look.places.finding(&defect)),
            Err(Stop::Io(_)) if source.ended => {
                let text = Unsound::Cut { at: source.at }.to_string();
                scan.found(finding(FindingKind::Cut, source.at..look.size, None, text));
            }
            Err(Stop::Io(error)) => return Err(error),
        }
        scan.compare();
        Ok(scan.done)
    })
}

/// How long the recording is, as its summary says.
fn duration_ns(look: &Look) -> Option<u64> {
    let of_chunks = || {
        let start = look.chunks.iter().map(|chunk| chunk.start_ns).min()?;
        Some((start, look.chunks.iter().map(|chunk| chunk.end_ns).max()?))
    };
    let said = look.summary.as_ref().ok().map(|summary| (summary.start_ns, summary.end_ns));
    said.or_else(of_chunks).map(|(start, end)| end.saturating_sub(start))
}

struct Scan<'a> {
    look: &'a Look,
    limits: Limits,
    pool: Pool,
    done: Scanned,
    /// The chunk whose message indexes may follow.
    open: Option<Job>,
    /// Chunks that the summary lists, and whether they were met.
    indexed: BTreeMap<u64, (&'a ChunkRegion, bool)>,
    /// Statistics in a summary that tier 1 could not use.
    statistics: Option<(Range<u64>, Statistics)>,
    unpacked_left: u64,
    names_left: usize,
    /// The records of the data section were followed to their end.
    data_whole: bool,
    buffer: Vec<u8>,
}

impl<'a> Scan<'a> {
    fn new(look: &'a Look, limits: Limits, pool: Pool) -> Self {
        let mut done = Scanned { counted_all: true, ..Scanned::default() };
        done.checksums.summary = look.summary.as_ref().is_ok_and(|facts| matches!(facts.summary_crc, SummaryCrc::Matches(_)));
        done.topics.payloads = limits.payloads;
        done.topics.sampling = Sampling::new(duration_ns(look), limits.samples_max, pool.work());
        // Those that were only counted are described by their own records.
        look.channels.iter().filter(|channel| !channel.topic.is_empty()).for_each(|channel| done.topics.describe(channel));
        Self {
            look,
            limits,
            pool,
            done,
            open: None,
            indexed: look.chunks.iter().map(|chunk| (chunk.start, (chunk, false))).collect(),
            statistics: None,
            unpacked_left: unpacked_bytes_max(look.size),
            names_left: NAMES_BYTES_MAX,
            data_whole: false,
            buffer: vec![],
        }
    }

    /// What is wrong with chunks before it is told before it, whenever they are unpacked.
    fn found(&mut self, finding: Finding) {
        self.settle_all();
        self.done.findings.push(finding, FINDINGS_MAX);
    }

    fn leave_out(&mut self, at: u64, chunk: Option<u64>, why: impl Into<String>) {
        self.settle_all();
        self.done.not_measured.push(NotMeasured { at: Some(at), chunk, why: why.into() }, FINDINGS_MAX);
    }

    fn file<R: BufRead>(&mut self, source: &mut Source<R>) -> Result<(), Stop> {
        // What it should be, tier 1 has said.
        let magic = source.array::<8>()?;
        if magic != MAGIC && self.look.head[..] == MAGIC {
            return Err(io::Error::other("the recording changed while it was read").into());
        }
        self.header(source)?;
        let Some(data_end) = self.data(source)? else { return Ok(()) };
        self.data_whole = true;
        self.settle_all();
        self.summary(source, data_end)
    }

    fn header<R: BufRead>(&mut self, source: &mut Source<R>) -> Result<(), Stop> {
        let mut body = Body::next(source)?;
        let (at, end) = (body.start, body.source.at.saturating_add(body.left));
        if body.opcode != opcode::HEADER || end > self.look.size {
            return Err(Unsound::Header { opcode: body.opcode, len: body.left }.into());
        }
        let read = body.name(&mut self.names_left).and_then(|profile| Ok((profile, body.name(&mut self.names_left)?)));
        match read {
            Ok((profile, library)) => (self.done.profile, self.done.library) = (kept(&profile), kept(&library)),
            Err(Stop::Defect(defect)) => self.found(finding(FindingKind::Header, at..end, None, defect.to_string())),
            Err(stop) => return Err(stop),
        }
        Ok(source.skip(end - source.at)?)
    }

    /// Up to and with the record that ends the data section, whose end is the answer; nothing, where the pass ends before.
    fn data<R: BufRead>(&mut self, source: &mut Source<R>) -> Result<Option<u64>, Stop> {
        loop {
            let before = source.crc.clone();
            let Some((at, opcode, end)) = self.next(source)? else { return Ok(None) };
            let len = end - source.at;
            if opcode != opcode::MESSAGE_INDEX {
                self.submit();
            }
            let body = Body { start: at, opcode, left: len, source: &mut *source };
            let read = match opcode {
                opcode::SCHEMA => self.schema(body),
                opcode::CHANNEL => self.channel(body),
                opcode::MESSAGE => self.message(body),
                opcode::CHUNK => self.chunk(body, end),
                opcode::MESSAGE_INDEX => self.message_index(body),
                opcode::ATTACHMENT => self.attachment(body, end),
                opcode::METADATA => self.metadata(body),
                opcode::DATA_END => {
                    let expected = Body { start: at, opcode, left: len, source: &mut *source }.u32()?;
                    let found = before.finalize();
                    self.done.checksums.data_section = expected != 0;
                    if expected != 0 && expected != found {
                        let text = Unsound::DataCrc { found, expected }.to_string();
                        self.found(finding(FindingKind::DataCrc, 0..at, None, text));
                    }
                    source.skip(end - source.at)?;
                    source.crc = crc32fast::Hasher::new();
                    return Ok(Some(end));
                }
                opcode::FOOTER => {
                    self.found(finding(FindingKind::Record, at..end, None, Unsound::NoDataEnd { at }.to_string()));
                    return Ok(None);
                }
                0..=opcode::SUMMARY_OFFSET => {
                    self.found(finding(FindingKind::Record, at..end, None, Unsound::Misplaced { at, opcode }.to_string()));
                    self.stopped(end);
                    return Ok(None);
                }
                // Records of others.
                _ => Ok(()),
            };
            match read {
                Ok(()) => {}
                Err(Stop::Defect(Unsound::TooManyNames { at })) => {
                    self.done.counted_all = false;
                    self.leave_out(at, None, "names up to here have more bytes than are kept");
                }
                Err(Stop::Defect(defect)) => {
                    self.done.counted_all = false;
                    self.found(finding(FindingKind::Record, at..end, None, defect.to_string()));
                }
                Err(stop) => return Err(stop),
            }
            source.skip(end - source.at)?;
        }
    }

    /// The next record: where it begins, its opcode, and where it ends; nothing, where the file ends before it does.
    fn next<R: BufRead>(&mut self, source: &mut Source<R>) -> Result<Option<(u64, u8, u64)>, Stop> {
        let (at, size) = (source.at, self.look.size);
        let cut = |scan: &mut Self, text: String| {
            // A file with its end in place was not cut: the length is wrong.
            let kind = if scan.look.tail[..] == MAGIC { FindingKind::Record } else { FindingKind::Cut };
            let chunk = (kind == FindingKind::Cut && scan.open.is_none()).then_some(scan.done.chunk_count);
            scan.submit();
            scan.found(finding(kind, at..size, chunk.filter(|_| at < size), text));
            scan.stopped(at);
        };
        if source.is_at_end()? || size.saturating_sub(at) < RECORD_PREFIX_BYTES as u64 {
            cut(self, format!("the file ends at {size}, before its end record and magic"));
            return Ok(None);
        }
        let body = Body::next(source)?;
        let (opcode, len) = (body.opcode, body.left);
        match source.at.checked_add(len).filter(|end| *end <= size) {
            Some(end) => Ok(Some((at, opcode, end))),
            None => {
                let there = size.saturating_sub(source.at);
                cut(self, format!("record at {at} with opcode {opcode:#04x} has {len} bytes, and the file has {there} more"));
                Ok(None)
            }
        }
    }

    fn stopped(&mut self, at: u64) {
        self.done.counted_all = false;
        self.leave_out(at, None, "what follows cannot be told apart");
    }

    fn schema<R: BufRead>(&mut self, mut body: Body<'_, R>) -> Result<(), Stop> {
        // The first description counts, and it may stand in a chunk before.
        self.settle_all();
        let (at, opcode, id) = (body.start, body.opcode, body.u16()?);
        // What comes again takes no room.
        let mut again = NAMES_BYTES_MAX;
        let left = if self.done.topics.has_schema(id) { &mut again } else { &mut self.names_left };
        let (name, encoding) = (body.name(left)?, body.name(left)?);
        let data_bytes = body.u32()? as usize;
        let schema = Schema { id, name, encoding, data_bytes };
        self.done.topics.schema(&schema);
        match self.done.topics.describes_schema_alike(&schema) {
            true => Ok(()),
            false => Err(Unsound::DescribedOtherwise { at, opcode, id }.into()),
        }
    }

    fn channel<R: BufRead>(&mut self, mut body: Body<'_, R>) -> Result<(), Stop> {
        self.settle_all();
        let (at, opcode, id, schema_id) = (body.start, body.opcode, body.u16()?, body.u16()?);
        let known = self.done.topics.knows(id);
        let mut again = NAMES_BYTES_MAX;
        let left = if known { &mut again } else { &mut self.names_left };
        let channel = Channel { id, schema_id, topic: body.name(left)?, message_encoding: body.name(left)? };
        let alike = self.done.topics.describes_channel_alike(&channel);
        if !known {
            self.done.topics.channel(channel);
        }
        if alike { Ok(()) } else { Err(Unsound::DescribedOtherwise { at, opcode, id }.into()) }
    }

    fn message<R: BufRead>(&mut self, mut body: Body<'_, R>) -> Result<(), Stop> {
        // Those in chunks before it come first.
        self.settle_all();
        let (channel, sequence, log_time, publish_time) = (body.u16()?, body.u32()?, body.u64()?, body.u64()?);
        if !self.done.topics.knows(channel) {
            return Err(Unsound::UnknownChannel { at: body.start, channel }.into());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let held = body.left <= self.limits.chunk_bytes_max;
        if held {
            body.source.fill(body.left, &mut buffer)?;
        }
        let payload = held.then_some(&buffer[..]);
        self.done.topics.message(Message { channel, sequence, log_time, publish_time, payload });
        self.buffer = buffer;
        Ok(())
    }

    fn attachment<R: BufRead>(&mut self, body: Body<'_, R>, end: u64) -> Result<(), Stop> {
        let at = body.start;
        let attached = body.attachment(&mut self.names_left)?;
        if attached.expected != 0 && attached.expected != attached.found {
            let text = Unsound::AttachmentCrc { at, found: attached.found, expected: attached.expected }.to_string();
            self.found(finding(FindingKind::AttachmentCrc, at..end, None, text));
        }
        self.done.attachments.push(kept(&attached.name), NAMES_MAX);
        Ok(())
    }

    fn metadata<R: BufRead>(&mut self, mut body: Body<'_, R>) -> Result<(), Stop> {
        let name = body.name(&mut self.names_left)?;
        self.done.metadata.push(kept(&name), NAMES_MAX);
        // One without is unusual and sound.
        if body.left < 4 {
            return Ok(());
        }
        let mut map = vec![];
        let len = u64::from(body.u32()?).min(body.left).min(METADATA_BYTES_MAX);
        body.take(len)?;
        body.source.fill(len, &mut map)?;
        let mut rest = Cursor::new(&map);
        while let Some((key, _value)) = rest.blob().zip(rest.blob()) {
            let key = format!("{name}.{}", String::from_utf8_lossy(key));
            self.done.metadata_keys.push(kept(&key), METADATA_KEYS_MAX);
        }
        Ok(())
    }

    fn chunk<R: BufRead>(&mut self, body: Body<'_, R>, end: u64) -> Result<(), Stop> {
        let at = body.start;
        let number = self.done.chunk_count;
        self.done.chunk_count += 1;
        let held = body.left <= self.limits.chunk_bytes_max.saturating_add(ChunkHead::BYTES_MAX as u64);
        let mut record = self.pool.spare();
        let wanted = if held { body.left } else { body.left.min(ChunkHead::BYTES_MAX as u64) };
        let source = body.source;
        source.fill(wanted, &mut record)?;
        let head = ChunkHead::parse(&record).filter(|head| {
            let room = end - at - (RECORD_PREFIX_BYTES + head.packed_at) as u64;
            head.packed_bytes <= room
        });
        let Some(head) = head else {
            self.done.counted_all = false;
            let text = Unsound::Malformed { at, opcode: opcode::CHUNK }.to_string();
            self.found(finding(FindingKind::Record, at..end, Some(number), text));
            return Ok(());
        };
        self.compare_with_index(at, end, number, &head);
        let why_not = if head.unpacked_bytes > self.unpacked_left {
            Some("it and those before it unpack to more than is read".to_owned())
        } else {
            self.unpacked_left -= head.unpacked_bytes;
            let too_large = !held || head.unpacked_bytes > self.limits.chunk_bytes_max;
            if too_large {
                self.pass_through(source, at..end, number, &head, &record)?;
            }
            too_large.then(|| {
                format!(
                    "the chunk has {} bytes, {} unpacked, more than are held: its messages were not looked at",
                    head.packed_bytes, head.unpacked_bytes
                )
            })
        };
        self.open = Some(Job { number, range: at..end, head, record, why_not, indexes: vec![], index_bytes: 0 });
        Ok(())
    }

    /// Compares a chunk that is not held with its checksum. `record` is the beginning of its body, which was read.
    fn pass_through<R: BufRead>(
        &mut self,
        source: &mut Source<R>,
        range: Range<u64>,
        number: u64,
        head: &ChunkHead,
        record: &[u8],
    ) -> Result<(), Stop> {
        let packed_end = head.packed_at as u64 + head.packed_bytes;
        let here = record.get(head.packed_at..record.len().min(usize::try_from(packed_end).unwrap_or(usize::MAX))).unwrap_or_default();
        let behind = head.packed_bytes - here.len() as u64;
        let passed = {
            let behind = BufReader::with_capacity(READ_AT_ONCE, Read::by_ref(source).take(behind));
            pass_through(head, here.chain(behind))
        };
        // What the file itself lacks is said with its place in the file.
        if source.ended {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let (kind, defect) = match passed {
            Ok(None) => return Ok(()),
            Ok(Some((bytes, _))) if bytes != head.unpacked_bytes => {
                let why = format!("it unpacks to {bytes} bytes, and {} are promised", head.unpacked_bytes);
                (FindingKind::ChunkUnpack, Unsound::Unpack { start: range.start, why })
            }
            Ok(Some((_, found))) if head.crc != 0 && head.crc != found => {
                (FindingKind::ChunkCrc, Unsound::ChunkCrc { start: range.start, found, expected: head.crc })
            }
            Ok(Some(_)) => {
                match head.crc {
                    0 => self.done.checksums.chunks_without += 1,
                    _ => self.done.checksums.chunks_compared += 1,
                }
                return Ok(());
            }
            Err(error) => (FindingKind::ChunkUnpack, Unsound::Unpack { start: range.start, why: error.to_string() }),
        };
        self.found(finding(kind, range, Some(number), format!("chunk {number}: {defect}")));
        Ok(())
    }

    fn compare_with_index(&mut self, at: u64, end: u64, number: u64, head: &ChunkHead) {
        // A file without chunk indexes is unusual; one that lacks some is damaged.
        if self.indexed.is_empty() {
            return;
        }
        let text = match self.indexed.get_mut(&at) {
            None => {
                let text = format!("chunk {number} at {at} is not in the summary, which has {} others", self.indexed.len());
                return self.found(finding(FindingKind::ChunkNotIndexed, at..end, Some(number), text));
            }
            Some((index, met)) => {
                *met = true;
                let says = (index.chunk_bytes, index.compressed_bytes, index.uncompressed_bytes, index.compression.as_str());
                let is = (end - at, head.packed_bytes, head.unpacked_bytes, head.packing.as_str());
                // Of a chunk without messages writers say all kinds of times.
                let are_times = |(start, end): (u64, u64)| start <= end && (start, end) != (0, 0);
                let (its_times, said_times) = ((head.start_ns, head.end_ns), (index.start_ns, index.end_ns));
                if says != is {
                    format!("chunk {number} at {at} says {is:?} of itself (bytes, packed, unpacked, packing), its index {says:?}")
                } else if its_times != said_times && are_times(its_times) && are_times(said_times) {
                    format!("chunk {number} at {at} says that its times are {its_times:?}, its index {said_times:?}")
                } else {
                    return;
                }
            }
        };
        self.found(finding(FindingKind::ChunkIndex, at..end, Some(number), text));
    }

    fn message_index<R: BufRead>(&mut self, body: Body<'_, R>) -> Result<(), Stop> {
        let Some(job) = &mut self.open else { return Ok(()) };
        // Each costs something, also where it is empty.
        job.index_bytes += body.left + 64;
        if job.index_bytes <= INDEX_BYTES_MAX {
            let mut index = vec![];
            body.source.fill(body.left, &mut index)?;
            job.indexes.push((body.start, index));
        }
        Ok(())
    }

    /// The chunk and its indexes are complete.
    fn submit(&mut self) {
        if let Some(job) = self.open.take() {
            self.pool.submit(job);
            while let Some(unpacked) = self.pool.next(false) {
                self.settle(unpacked);
            }
        }
    }

    fn settle_all(&mut self) {
        self.submit();
        while let Some(unpacked) = self.pool.next(true) {
            self.settle(unpacked);
        }
    }

    /// What is in a chunk.
    fn settle(&mut self, unpacked: Unpacked) {
        let inside = look_inside(&unpacked, &mut self.done.topics);
        let Inside { findings, not_measured, counted_all, checked } = inside;
        findings.into_iter().for_each(|finding| self.done.findings.push(finding, FINDINGS_MAX));
        if let Some(why) = not_measured {
            let (at, chunk) = (Some(unpacked.job.range.start), Some(unpacked.job.number));
            self.done.not_measured.push(NotMeasured { at, chunk, why }, FINDINGS_MAX);
        }
        self.done.counted_all &= counted_all;
        match checked {
            Some(true) => self.done.checksums.chunks_compared += 1,
            Some(false) => self.done.checksums.chunks_without += 1,
            None => {}
        }
        self.pool.give_back(unpacked);
    }

    /// From the end of the data section up to the end of the file.
    fn summary<R: BufRead>(&mut self, source: &mut Source<R>, data_end: u64) -> Result<(), Stop> {
        let size = self.look.size;
        let mut beginnings = Beginnings::at(data_end);
        loop {
            let Some((at, opcode, end)) = self.next(source)? else { return Ok(()) };
            let body = Body { start: at, opcode, left: end - source.at, source: &mut *source };
            let read = match opcode {
                opcode::SCHEMA => self.schema(body),
                opcode::CHANNEL => self.channel(body),
                opcode::STATISTICS => self.parse_statistics(body, at..end),
                opcode::FOOTER => {
                    self.footer(body, &beginnings, data_end)?;
                    break;
                }
                opcode::CHUNK_INDEX | opcode::ATTACHMENT_INDEX | opcode::METADATA_INDEX | opcode::SUMMARY_OFFSET => Ok(()),
                0..=opcode::DATA_END => Err(Unsound::Misplaced { at, opcode }.into()),
                _ => {
                    source.skip(end - source.at)?;
                    beginnings.passed_other(source);
                    continue;
                }
            };
            match read {
                Ok(()) => {}
                Err(Stop::Defect(defect)) => {
                    self.found(finding(FindingKind::SummaryRecord, data_end..size, None, defect.to_string()));
                    return Ok(());
                }
                Err(stop) => return Err(stop),
            }
            beginnings.end();
            source.skip(end - source.at)?;
        }
        let at = source.at;
        let mut magic = vec![];
        let ending = source.fill(8.min(size - at), &mut magic);
        if ending.is_err() || magic.len() < 8 {
            self.found(finding(FindingKind::Cut, at..size, None, Unsound::Cut { at: size }.to_string()));
            return Ok(());
        }
        if magic != MAGIC {
            let text = format!("bytes at {at} should be the MCAP magic, found {}", hex::encode(&magic));
            self.found(finding(FindingKind::TailMagic, at..at + 8, None, text));
            return Ok(());
        }
        let at = source.at;
        if !source.is_at_end()? || at != size {
            self.found(finding(FindingKind::BehindEnd, at..size, None, Unsound::BehindEnd { at }.to_string()));
            return Ok(source.skip(size - at)?);
        }
        self.done.ended = true;
        Ok(())
    }

    fn footer<R: BufRead>(&mut self, mut body: Body<'_, R>, beginnings: &Beginnings, data_end: u64) -> Result<(), Stop> {
        let (at, end) = (body.start, body.source.at + body.left);
        let (summary_start, summary_offset_start) = (body.u64()?, body.u64()?);
        let (hashed, hashed_end) = (body.source.crc.clone(), body.source.at);
        let footer = Footer { summary_start, summary_offset_start, summary_crc: body.u32()? };
        body.rest()?;
        let start = if summary_start == 0 { at } else { summary_start };
        match beginnings.hash_from(start, &hashed, hashed_end) {
            None => {
                let text =
                    format!("{}: that is where no record begins", Unsound::SummaryStart { found: summary_start, expected: data_end..at });
                self.found(finding(FindingKind::Footer, at..end, None, text));
            }
            Some(found) if footer.summary_crc != 0 && footer.summary_crc != found => {
                let text = Unsound::SummaryCrc { found, expected: footer.summary_crc }.to_string();
                self.found(finding(FindingKind::SummaryCrc, start..end, None, text));
            }
            Some(_) => self.done.checksums.summary = footer.summary_crc != 0,
        }
        if summary_offset_start != 0 && !(start..=at).contains(&summary_offset_start) {
            let text = Unsound::SummaryOffsetStart { found: summary_offset_start, expected: start..at }.to_string();
            self.found(finding(FindingKind::Footer, at..end, None, text));
        }
        Ok(())
    }

    fn parse_statistics<R: BufRead>(&mut self, mut body: Body<'_, R>, range: Range<u64>) -> Result<(), Stop> {
        let malformed = body.malformed();
        let len = body.left.min(STATISTICS_BYTES_MAX);
        body.take(len)?;
        let mut bytes = vec![];
        body.source.fill(len, &mut bytes)?;
        let statistics = Statistics::parse(&bytes).ok_or(malformed)?;
        self.statistics.get_or_insert((range, statistics));
        Ok(())
    }

    /// What was counted beside what the summary says.
    fn compare(&mut self) {
        if !self.data_whole {
            return;
        }
        for (chunk, _) in std::mem::take(&mut self.indexed).into_values().filter(|(_, met)| !met) {
            let text = format!("the summary has a chunk at {}, where none begins", chunk.start);
            self.found(finding(FindingKind::ChunkIndex, self.look.places.summary.clone(), None, text));
        }
        let Some((range, statistics)) = self.statistics.take().filter(|_| self.done.counted_all) else { return };
        let counted = self.done.topics.message_count;
        if statistics.message_count != counted {
            let defect = Unsound::CountedMessages { message_count: statistics.message_count, counted };
            return self.found(finding(FindingKind::Statistics, range, None, defect.to_string()));
        }
        if u64::from(statistics.chunk_count) != self.done.chunk_count {
            let defect = Unsound::CountedChunks { chunk_count: statistics.chunk_count, counted: self.done.chunk_count };
            return self.found(finding(FindingKind::Statistics, range, None, defect.to_string()));
        }
        for (channel, count) in statistics.channel_message_counts {
            let counted = self.done.topics.counted(channel);
            if count != counted {
                let defect = Unsound::CountedOnChannel { channel, count, counted };
                return self.found(finding(FindingKind::Statistics, range, None, defect.to_string()));
            }
        }
    }
}
