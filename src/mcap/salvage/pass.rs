//! The pass over all records: what can be believed is written, what cannot is named.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Write};
use std::ops::Range;

use mcap::Attachment;
use mcap::records::{MessageHeader, Metadata};

use super::super::body::{Body, Source, Stop};
use super::super::hashed::Hashed;
use super::super::measure::chunk::{ChunkHead, Unpacking, unpack};
use super::super::measure::findings::finding;
use super::super::records::{Cursor, FOOTER_BYTES, Header, RECORD_PREFIX_BYTES, opcode};
use super::super::summary::Unsound;
use super::super::through::unpacked_bytes_max;
use super::described::{Budget, Channel, Schema, map};
use super::error::SalvageError;
use super::known::{Known, Place};
use super::output::{METADATA_NAME, Output, library};
use crate::domain::measurement::{FINDINGS_MAX, FindingKind, NotMeasured, kept};
use crate::domain::salvage::{GoodRange, RANGES_MAX, Salvaged, VERSION};

const PREFIX: u64 = RECORD_PREFIX_BYTES as u64;
/// Of a header, whose names are short.
const HEADER_BYTES_MAX: u64 = 64 << 10;

pub struct Pass<'a, W: Write> {
    known: &'a Known,
    /// Whether the places of the summary are believed.
    listed: bool,
    chunk_bytes_max: u64,
    unpacked_left: u64,
    out: Output<W>,
    done: Salvaged,
    chunks: u64,
    range: Option<GoodRange>,
    /// Up to here what is lost was counted.
    counted_to: u64,
    schemas: BTreeMap<u16, Schema>,
    channels: BTreeMap<u16, Channel>,
    /// Described in two ways: what is said of them is not known.
    disputed_schemas: BTreeSet<u16>,
    disputed_channels: BTreeSet<u16>,
    budget: Budget,
    /// Messages of channels that nothing describes: how many, and where.
    nameless: BTreeMap<u16, (u64, Range<u64>)>,
    /// Messages behind those whose indexes fit into a summary.
    too_many: Option<(u64, u64)>,
    record: Vec<u8>,
    unpacked: Vec<u8>,
}

/// Why a record is not written.
enum Lost {
    /// It cannot be read, or does not belong where it stands.
    Unreadable(String),
    /// It is told elsewhere.
    Told,
    Failed(SalvageError),
}

impl From<SalvageError> for Lost {
    fn from(error: SalvageError) -> Self {
        Self::Failed(error)
    }
}

impl<'a, W: Write> Pass<'a, W> {
    pub fn new(known: &'a Known, chunk_bytes_max: u64, into: W) -> Self {
        Self {
            known,
            listed: !known.places.is_empty(),
            chunk_bytes_max,
            unpacked_left: unpacked_bytes_max(known.size),
            out: Output::new(into),
            done: Salvaged { made_by: VERSION, parent_size_bytes: known.size, ..Salvaged::default() },
            chunks: 0,
            range: None,
            counted_to: 0,
            schemas: BTreeMap::new(),
            channels: BTreeMap::new(),
            disputed_schemas: BTreeSet::new(),
            disputed_channels: BTreeSet::new(),
            budget: Budget::full(),
            nameless: BTreeMap::new(),
            too_many: None,
            record: vec![],
            unpacked: vec![],
        }
    }

    pub fn run(mut self, bytes: Hashed<impl BufRead>) -> Result<Salvaged, SalvageError> {
        let mut source = Source::new(bytes);
        let unread = |error| SalvageError::Read(error);
        source.skip(self.known.size.min(8)).map_err(unread)?;
        self.records(&mut source)?;
        source.skip(self.known.size - source.at).map_err(unread)?;
        if !source.is_at_end().map_err(unread)? {
            return Err(unread(std::io::Error::other("it grew while it was read")));
        }
        self.done.parent_sha256 = source.into_inner().finish().map_err(unread)?.unwrap_or_default();
        self.conclude()
    }

    /// Up to the end of the data section, or to where nothing can be told apart any more.
    fn records<R: BufRead>(&mut self, source: &mut Source<R>) -> Result<(), SalvageError> {
        while let Some((range, opcode)) = self.next(source)? {
            let place = self.place(range.start);
            match (place, opcode) {
                (Some(Place::Chunk { .. }), _) => self.chunk(source, range.clone(), opcode)?,
                (_, opcode::CHUNK) => self.chunk(source, range.clone(), opcode)?,
                (_, opcode::DATA_END) if !self.chunks_follow(range.end) => return Ok(()),
                // Not everybody ends the data section.
                (_, opcode::FOOTER) if range.end + 8 == self.known.size && range.end - range.start == FOOTER_BYTES as u64 => return Ok(()),
                (_, opcode::HEADER) if range.start == 8 => self.header(source, &range)?,
                (_, opcode::SCHEMA | opcode::CHANNEL | opcode::MESSAGE | opcode::ATTACHMENT | opcode::METADATA) => {
                    self.outside(source, &range, opcode)?;
                }
                // Those that are written are made anew.
                (_, opcode::MESSAGE_INDEX) => {}
                (_, 0..=opcode::DATA_END) => {
                    let text = format!("{}: what follows cannot be told apart", Unsound::Misplaced { at: range.start, opcode });
                    if !self.go_on(source, range.start, None, text)? {
                        return Ok(());
                    }
                    continue;
                }
                // Records of others.
                (_, _) => self.leave_out(
                    range.start,
                    None,
                    format!("a record of {} bytes that the format does not know", range.end - range.start),
                ),
            }
            source.skip(range.end - source.at).map_err(SalvageError::Read)?;
        }
        Ok(())
    }

    fn place(&self, at: u64) -> Option<Place> {
        self.known.places.get(&at).copied().filter(|_| self.listed)
    }

    /// The next place behind `at` where something is known to begin, or the end of the file.
    fn bound(&self, at: u64) -> u64 {
        let next = || self.known.places.range(at.saturating_add(1)..).next();
        self.listed.then(next).flatten().map_or(self.known.size, |(place, _)| *place)
    }

    fn chunks_follow(&self, at: u64) -> bool {
        self.listed && self.known.places.range(at..).any(|(_, place)| matches!(place, Place::Chunk { .. }))
    }

    /// The next record that may be one; nothing behind the last.
    fn next<R: BufRead>(&mut self, source: &mut Source<R>) -> Result<Option<(Range<u64>, u8)>, SalvageError> {
        loop {
            let at = source.at;
            let place = self.place(at);
            if place == Some(Place::Summary) {
                return Ok(None);
            }
            let bound = self.bound(at);
            let mut chunk = None;
            let text = if bound == at {
                "its end is missing".to_owned()
            } else if bound - at < PREFIX {
                format!("{} bytes at {at} are no record", bound - at)
            } else {
                let body = read(Body::next(source))?;
                let (opcode, len) = (body.opcode, body.left);
                match (place, source.at.checked_add(len)) {
                    // Whatever it says of itself: its checksum will tell.
                    (Some(Place::Chunk { end }), _) => return Ok(Some((at..end, opcode))),
                    (_, Some(end)) if end <= bound => return Ok(Some((at..end, opcode))),
                    _ => {
                        chunk = (opcode == opcode::CHUNK).then_some(self.chunks);
                        format!("record at {at} with opcode {opcode:#04x} has {len} bytes, and {} are left for it", bound - source.at)
                    }
                }
            };
            if chunk.is_some() {
                self.chunks += 1;
                self.done.chunks_lost += 1;
            }
            if !self.go_on(source, at, chunk, text)? {
                return Ok(None);
            }
        }
    }

    /// What begins at `at` is no record: goes on where the next one is known to begin, if there is such a place.
    fn go_on<R: BufRead>(&mut self, source: &mut Source<R>, at: u64, chunk: Option<u64>, text: String) -> Result<bool, SalvageError> {
        let bound = self.bound(at);
        let ends = bound == self.known.size;
        let segment = self.known.places.range(..=at).next_back().filter(|_| self.listed);
        // An index that cannot be read costs nothing: others are made.
        if !segment.is_some_and(|(_, place)| *place == Place::Indexes) {
            if ends && !self.known.finished {
                self.lose(FindingKind::Cut, at..bound, chunk, format!("the file ends at {bound}: {text}"));
            } else {
                self.lose(FindingKind::Record, at..bound, chunk, text);
            }
        }
        source.skip(bound - source.at).map_err(SalvageError::Read)?;
        Ok(!ends)
    }

    fn lose(&mut self, kind: FindingKind, range: Range<u64>, chunk: Option<u64>, text: impl AsRef<str>) {
        self.done.missing_bytes += range.end.saturating_sub(range.start.max(self.counted_to));
        self.counted_to = self.counted_to.max(range.end);
        self.done.missing.push(finding(kind, range, chunk, text), FINDINGS_MAX);
        self.end_range();
    }

    fn end_range(&mut self) {
        if let Some(range) = self.range.take() {
            self.done.ranges.push(range, RANGES_MAX);
        }
    }

    fn leave_out(&mut self, at: u64, chunk: Option<u64>, why: impl AsRef<str>) {
        self.done.left_out.push(NotMeasured { at: Some(at), chunk, why: kept(why.as_ref()) }, FINDINGS_MAX);
    }

    fn header<R: BufRead>(&mut self, source: &mut Source<R>, range: &Range<u64>) -> Result<(), SalvageError> {
        let len = range.end - source.at;
        source.fill(len.min(HEADER_BYTES_MAX), &mut self.record).map_err(SalvageError::Read)?;
        match Header::parse_beginning(&self.record, len) {
            Some(header) => self.out.profile(header.profile),
            None => self.lose(FindingKind::Header, range.clone(), None, format!("the header at {} cannot be read", range.start)),
        }
        Ok(())
    }

    /// A record outside of chunks.
    fn outside<R: BufRead>(&mut self, source: &mut Source<R>, range: &Range<u64>, opcode: u8) -> Result<(), SalvageError> {
        let len = range.end - source.at;
        if len > self.chunk_bytes_max {
            self.leave_out(range.start, None, format!("a record with {len} bytes, more than are held"));
            return Ok(());
        }
        let mut body = std::mem::take(&mut self.record);
        source.fill(len, &mut body).map_err(SalvageError::Read)?;
        let written = self.write(opcode, &body, range, range.start);
        self.record = body;
        match written {
            Ok(()) | Err(Lost::Told) => Ok(()),
            Err(Lost::Failed(error)) => Err(error),
            Err(Lost::Unreadable(why)) => {
                let kind = if opcode == opcode::ATTACHMENT { FindingKind::AttachmentCrc } else { FindingKind::Record };
                self.lose(kind, range.clone(), None, why);
                Ok(())
            }
        }
    }

    fn chunk<R: BufRead>(&mut self, source: &mut Source<R>, range: Range<u64>, opcode: u8) -> Result<(), SalvageError> {
        let number = self.chunks;
        self.chunks += 1;
        let len = range.end - source.at;
        let held = len <= self.chunk_bytes_max.saturating_add(ChunkHead::BYTES_MAX as u64);
        let mut record = std::mem::take(&mut self.record);
        source.fill(if held { len } else { len.min(ChunkHead::BYTES_MAX as u64) }, &mut record).map_err(SalvageError::Read)?;
        let whole = self.packed(&record, held, &range, number, opcode)?;
        self.record = record;
        match whole {
            Some(true) => self.done.chunks_kept += 1,
            Some(false) => self.done.chunks_in_part += 1,
            None => {
                self.done.chunks_lost += 1;
                self.end_range();
            }
        }
        Ok(())
    }

    /// Whether all of a chunk is kept; nothing where none of it is.
    fn packed(&mut self, record: &[u8], held: bool, range: &Range<u64>, number: u64, opcode: u8) -> Result<Option<bool>, SalvageError> {
        let at = range.start;
        let room = range.end - at - PREFIX;
        let head = ChunkHead::parse(record).filter(|head| head.packed_bytes <= room.saturating_sub(head.packed_at as u64));
        let Some(head) = head else {
            self.lose(FindingKind::Record, range.clone(), Some(number), Unsound::Malformed { at, opcode: opcode::CHUNK }.to_string());
            return Ok(None);
        };
        let left_out = if !held || head.unpacked_bytes > self.chunk_bytes_max {
            Some(format!("chunk {number} has {} bytes, {} unpacked, more than are held", head.packed_bytes, head.unpacked_bytes))
        } else if head.unpacked_bytes > self.unpacked_left {
            Some(format!("chunk {number} and those before it unpack to more than is read"))
        } else {
            None
        };
        if let Some(why) = left_out {
            self.leave_out(at, Some(number), why);
            return Ok(None);
        }
        self.unpacked_left -= head.unpacked_bytes;
        let end = head.packed_at.saturating_add(usize::try_from(head.packed_bytes).unwrap_or(usize::MAX));
        let packed = record.get(head.packed_at..end).unwrap_or_default();
        let records = match unpack(&head, packed, std::mem::take(&mut self.unpacked)) {
            Ok(records) => records,
            Err(why) => {
                self.not_unpacked(&head, why, range, number);
                return Ok(None);
            }
        };
        let is_checked = head.crc != 0;
        if self.listed && self.place(at).is_none() && is_checked {
            // It is one, and the summary does not know it: its places are not those of this file.
            self.listed = false;
        }
        let written = if opcode == opcode::CHUNK || is_checked {
            self.out.packed_as(&head.packing);
            self.inside(&records, is_checked, range, number).map(Some)
        } else {
            let text = format!("chunk {number} at {at} does not begin as one, and has no checksum");
            self.lose(FindingKind::Record, range.clone(), Some(number), text);
            Ok(None)
        };
        self.unpacked = records;
        written
    }

    fn not_unpacked(&mut self, head: &ChunkHead, why: Unpacking, range: &Range<u64>, number: u64) {
        let start = range.start;
        let (kind, text) = match why {
            Unpacking::NotHeld(why) => return self.leave_out(start, Some(number), why),
            Unpacking::Unknown => {
                let defect = Unsound::Compression { start, name: kept(&head.packing) };
                return self.leave_out(start, Some(number), defect.to_string());
            }
            Unpacking::Broken(why) => (FindingKind::ChunkUnpack, Unsound::Unpack { start, why }),
            Unpacking::Crc { found } => (FindingKind::ChunkCrc, Unsound::ChunkCrc { start, found, expected: head.crc }),
        };
        self.lose(kind, range.clone(), Some(number), format!("chunk {number}: {text}"));
    }

    /// The records of a chunk; whether all of them are kept.
    fn inside(&mut self, records: &[u8], is_checked: bool, range: &Range<u64>, number: u64) -> Result<bool, SalvageError> {
        let (mut rest, mut at, mut whole) = (Cursor::new(records), 0, true);
        let mut first: Option<String> = None;
        while !rest.is_empty() {
            let Some((opcode, body)) = rest.record() else {
                first.get_or_insert(Unsound::RecordOverruns { at, end: records.len() as u64 }.to_string());
                break;
            };
            let written = match opcode {
                opcode::SCHEMA | opcode::CHANNEL | opcode::MESSAGE => self.write(opcode, body, range, at),
                0..=opcode::DATA_END => Err(Lost::Unreadable(Unsound::Misplaced { at, opcode }.to_string())),
                // Records of others.
                _ => Ok(()),
            };
            match written {
                Ok(()) => {}
                Err(Lost::Told) => whole = false,
                Err(Lost::Failed(error)) => return Err(error),
                Err(Lost::Unreadable(why)) => {
                    first.get_or_insert(why);
                    // A checksum says that the lengths are as they were written.
                    if !is_checked {
                        break;
                    }
                }
            }
            at += PREFIX + body.len() as u64;
        }
        if let Some(why) = &first {
            self.lose(FindingKind::Record, range.clone(), Some(number), format!("in chunk {number} at {}: {why}", range.start));
        }
        Ok(whole && first.is_none())
    }

    /// A record that lies within `range` of the file; `at` is its place in the file or in its chunk.
    fn write(&mut self, opcode: u8, body: &[u8], range: &Range<u64>, at: u64) -> Result<(), Lost> {
        let malformed = || Lost::Unreadable(Unsound::Malformed { at, opcode }.to_string());
        match opcode {
            opcode::SCHEMA => {
                let (id, schema) = Schema::parse(body).filter(|(id, _)| *id != 0).ok_or_else(malformed)?;
                self.schema(id, schema, body.len(), range)
            }
            opcode::CHANNEL => {
                let (id, channel) = Channel::parse(body).ok_or_else(malformed)?;
                self.channel(id, channel, body.len(), range)
            }
            opcode::MESSAGE => {
                let mut c = Cursor::new(body);
                let header =
                    (|| Some(MessageHeader { channel_id: c.u16()?, sequence: c.u32()?, log_time: c.u64()?, publish_time: c.u64()? }))();
                self.message(&header.ok_or_else(malformed)?, c.up_to(u64::MAX), range)
            }
            opcode::ATTACHMENT => self.attachment(body, range),
            _ => {
                let mut c = Cursor::new(body);
                let name = c.string().ok_or_else(malformed)?;
                // One without keys is unusual and sound.
                let metadata = if c.is_empty() { BTreeMap::new() } else { c.blob().and_then(map).ok_or_else(malformed)? };
                if !self.budget.take(body.len()) {
                    self.leave_out(range.start, None, "names up to here have more bytes than are kept");
                    return Err(Lost::Told);
                }
                self.done.metadata_kept += 1;
                Ok(self.out.metadata(&Metadata { name, metadata })?)
            }
        }
    }

    fn schema(&mut self, id: u16, schema: Schema, bytes: usize, range: &Range<u64>) -> Result<(), Lost> {
        match self.schemas.get(&id) {
            Some(known) if *known == schema => Ok(()),
            Some(_) => {
                self.disputed_schemas.insert(id);
                Err(Lost::Unreadable(format!("schema {id} is described in two ways")))
            }
            None if self.budget.take(bytes) => {
                self.out.schema(id, &schema)?;
                self.schemas.insert(id, schema);
                Ok(())
            }
            None => Err(self.too_much_described(range)),
        }
    }

    fn too_much_described(&mut self, range: &Range<u64>) -> Lost {
        self.leave_out(range.start, None, "schemas and channels up to here have more bytes than are kept");
        Lost::Told
    }

    fn channel(&mut self, id: u16, channel: Channel, bytes: usize, range: &Range<u64>) -> Result<(), Lost> {
        match self.channels.get(&id) {
            Some(known) if *known == channel => return Ok(()),
            Some(_) => {
                self.disputed_channels.insert(id);
                return Err(Lost::Unreadable(format!("channel {id} is described in two ways")));
            }
            None => {}
        }
        let schema = channel.schema_id;
        if self.disputed_schemas.contains(&schema) {
            self.disputed_channels.insert(id);
            return Err(Lost::Unreadable(format!("channel {id} has schema {schema}, which is described in two ways")));
        }
        if !self.budget.take(bytes) {
            return Err(self.too_much_described(range));
        }
        if schema != 0 && !self.schemas.contains_key(&schema) {
            match self.known.schemas.get(&schema).filter(|_| schema != 0) {
                Some(described) => self.schema(schema, described.clone(), described.data.len(), range)?,
                None => {
                    let why = format!("schema {schema} of `{}` is lost: its messages are kept without one", channel.topic);
                    self.leave_out(range.start, None, why);
                    self.out.channel(id, &Channel { schema_id: 0, ..channel.clone() })?;
                    self.channels.insert(id, channel);
                    return Ok(());
                }
            }
        }
        self.out.channel(id, &channel)?;
        self.channels.insert(id, channel);
        Ok(())
    }

    fn message(&mut self, header: &MessageHeader, payload: &[u8], range: &Range<u64>) -> Result<(), Lost> {
        let id = header.channel_id;
        if !self.channels.contains_key(&id)
            && let Some(channel) = self.known.channels.get(&id)
        {
            let bytes = channel.topic.len() + channel.message_encoding.len();
            self.channel(id, channel.clone(), bytes, range)?;
        }
        if !self.channels.contains_key(&id) || self.disputed_channels.contains(&id) {
            let (count, place) = self.nameless.entry(id).or_insert_with(|| (0, range.clone()));
            (*count, place.end) = (*count + 1, range.end);
            return Err(Lost::Told);
        }
        if !self.out.message(header, payload)? {
            self.too_many.get_or_insert((range.start, 0)).1 += 1;
            return Err(Lost::Told);
        }
        self.done.messages_kept += 1;
        let (at, time) = (range.start, header.log_time);
        let good = self.range.get_or_insert(GoodRange { at, bytes: 0, from_ns: time, to_ns: time, messages: 0 });
        good.bytes = range.end - good.at;
        (good.from_ns, good.to_ns) = (good.from_ns.min(time), good.to_ns.max(time));
        good.messages += 1;
        Ok(())
    }

    fn attachment(&mut self, body: &[u8], range: &Range<u64>) -> Result<(), Lost> {
        let at = range.start;
        let mut c = Cursor::new(body);
        let fields = (|| {
            let (log_time, create_time, name, media_type) = (c.u64()?, c.u64()?, c.string()?, c.string()?);
            let len = usize::try_from(c.u64()?).ok()?;
            Some((log_time, create_time, name, media_type, c.take(len)?, c.up_to(u64::MAX).len(), c.u32()?))
        })();
        let Some((log_time, create_time, name, media_type, data, behind, expected)) = fields else {
            return Err(Lost::Unreadable(Unsound::Malformed { at, opcode: opcode::ATTACHMENT }.to_string()));
        };
        let found = crc32fast::hash(&body[..body.len() - behind]);
        if expected != 0 && expected != found {
            return Err(Lost::Unreadable(Unsound::AttachmentCrc { at, found, expected }.to_string()));
        }
        if !self.budget.take(name.len() + media_type.len()) {
            self.leave_out(at, None, "names up to here have more bytes than are kept");
            return Err(Lost::Told);
        }
        self.done.attachments_kept += 1;
        Ok(self.out.attachment(&Attachment { log_time, create_time, name, media_type, data: data.into() })?)
    }

    /// Says what is missing, in the file as well, and finishes it.
    fn conclude(mut self) -> Result<Salvaged, SalvageError> {
        self.end_range();
        for (channel, (count, range)) in std::mem::take(&mut self.nameless) {
            let why = if self.disputed_channels.contains(&channel) {
                "which is described in two ways"
            } else {
                "which nothing that is left describes"
            };
            let text = format!("{count} messages of channel {channel}, {why}");
            self.done.missing.push(finding(FindingKind::Record, range, None, text), FINDINGS_MAX);
        }
        if let Some((at, count)) = self.too_many.take() {
            self.leave_out(at, None, format!("{count} messages whose indexes a summary has no room for"));
        }
        let Self { mut out, mut done, .. } = self;
        out.metadata(&Metadata { name: METADATA_NAME.to_owned(), metadata: told(&done) })?;
        (done.sha256, done.size_bytes) = out.finish()?;
        Ok(done)
    }
}

/// What the file says of itself.
fn told(done: &Salvaged) -> BTreeMap<String, String> {
    let missing =
        done.missing.items.iter().map(|one| serde_json::json!({ "kind": one.kind, "at": one.at, "bytes": one.bytes, "text": one.text }));
    let left_out = done.left_out.items.iter().map(|one| serde_json::json!({ "at": one.at, "why": one.why }));
    let list = |items: Vec<serde_json::Value>| serde_json::Value::Array(items).to_string();
    let all = [
        ("parent_sha256", done.parent_sha256.clone()),
        ("parent_size_bytes", done.parent_size_bytes.to_string()),
        ("made_by", format!("{}, salvage {}", library(), done.made_by)),
        ("messages_kept", done.messages_kept.to_string()),
        ("chunks_kept", done.chunks_kept.to_string()),
        ("chunks_in_part", done.chunks_in_part.to_string()),
        ("chunks_lost", done.chunks_lost.to_string()),
        ("missing", list(missing.collect())),
        ("missing_more", done.missing.cut.to_string()),
        ("left_out", list(left_out.collect())),
        ("left_out_more", done.left_out.cut.to_string()),
    ];
    all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Nothing but reading can stop here: bodies are read within their ends.
fn read<T>(result: Result<T, Stop>) -> Result<T, SalvageError> {
    result.map_err(|stop| {
        SalvageError::Read(match stop {
            Stop::Io(error) => error,
            Stop::Defect(defect) => std::io::Error::other(defect),
        })
    })
}
