//! The records inside one chunk, and its message indexes beside them.

use std::ops::Range;

use super::super::records::{Channel, Cursor, RECORD_PREFIX_BYTES, Schema, opcode};
use super::super::summary::Unsound;
use super::chunk::Unpacking;
use super::findings::finding;
use super::indexes::{Entry, INDEX_BYTES_MAX, entries, message_at};
use super::pool::{Job, Unpacked};
use super::topics::{Message, Topics};
use crate::domain::measurement::{Finding, FindingKind, kept};

/// What looking into a chunk found, beside its messages.
#[derive(Default)]
pub struct Inside {
    pub findings: Vec<Finding>,
    pub not_measured: Option<String>,
    /// Whether all of its messages were counted.
    pub counted_all: bool,
    /// Whether it had a checksum to compare; nothing, where it was not unpacked.
    pub checked: Option<bool>,
}

pub fn look_inside(unpacked: &Unpacked, topics: &mut Topics) -> Inside {
    let job = &unpacked.job;
    let (number, start) = (job.number, job.range.start);
    let damaged = |kind, text: String| Inside { findings: vec![finding(kind, job.range.clone(), Some(number), text)], ..Inside::default() };
    let inside = match &unpacked.records {
        Ok(records) => return Walk { job, records, topics }.walk(),
        Err(Unpacking::NotHeld(why)) => Inside { not_measured: Some(why.clone()), ..Inside::default() },
        Err(Unpacking::Unknown) => {
            let why = Unsound::Compression { start, name: kept(&job.head.packing) }.to_string();
            Inside { not_measured: Some(why), ..Inside::default() }
        }
        Err(Unpacking::Broken(why)) => {
            damaged(FindingKind::ChunkUnpack, format!("chunk {number}: {}", Unsound::Unpack { start, why: why.clone() }))
        }
        Err(Unpacking::Crc { found }) => {
            let defect = Unsound::ChunkCrc { start, found: *found, expected: job.head.crc };
            damaged(FindingKind::ChunkCrc, format!("chunk {number}: {defect}"))
        }
    };
    by_indexes(job, topics);
    inside
}

/// Where the records cannot be looked at, the message indexes tell the times.
fn by_indexes(job: &Job, topics: &mut Topics) {
    let mut all: Vec<Entry> = job.indexes.iter().filter_map(|(_, body)| entries(body)).flat_map(|(_, entries)| entries).collect();
    all.sort_unstable_by_key(|entry| entry.offset);
    all.iter().for_each(|entry| topics.indexed(entry.channel, entry.log_time));
}

struct Walk<'a> {
    job: &'a Job,
    records: &'a [u8],
    topics: &'a mut Topics,
}

impl Walk<'_> {
    fn walk(mut self) -> Inside {
        let job = self.job;
        let mut inside = Inside { counted_all: true, checked: Some(job.head.crc != 0), ..Inside::default() };
        let (mut rest, mut at) = (Cursor::new(self.records), 0);
        let (mut messages, mut times) = (0, None::<(u64, u64)>);
        while !rest.is_empty() {
            let record = rest.record().ok_or(Unsound::RecordOverruns { at, end: self.records.len() as u64 });
            let looked = record.and_then(|(opcode, body)| Ok((body, self.record(at, opcode, body)?)));
            match looked {
                Ok((body, log_time)) => {
                    if let Some(log_time) = log_time {
                        messages += 1;
                        let (first, last) = times.unwrap_or((log_time, log_time));
                        times = Some((first.min(log_time), last.max(log_time)));
                    }
                    at += (RECORD_PREFIX_BYTES + body.len()) as u64;
                }
                Err(defect) => {
                    inside.counted_all = false;
                    let text = Unsound::InChunk { start: job.range.start, defect: Box::new(defect) }.to_string();
                    inside.findings.push(finding(FindingKind::Record, job.range.clone(), Some(job.number), text));
                    return inside;
                }
            }
        }
        if let Some((first, last)) = times.filter(|(first, last)| *first < job.head.start_ns || *last > job.head.end_ns) {
            let text = format!(
                "chunk {} at {} says that its times are {}..={}, and they are {first}..={last}",
                job.number, job.range.start, job.head.start_ns, job.head.end_ns
            );
            inside.findings.push(finding(FindingKind::ChunkIndex, job.range.clone(), Some(job.number), text));
        }
        if job.index_bytes <= INDEX_BYTES_MAX {
            inside.findings.extend(self.compare_indexes(messages));
        }
        inside
    }

    /// The time of a message.
    fn record(&mut self, at: u64, opcode: u8, body: &[u8]) -> Result<Option<u64>, Unsound> {
        let malformed = || Unsound::Malformed { at, opcode };
        match opcode {
            opcode::MESSAGE => {
                let mut c = Cursor::new(body);
                let message = (|| Some((c.u16()?, c.u32()?, c.u64()?, c.u64()?)))();
                let (channel, sequence, log_time, publish_time) = message.ok_or_else(malformed)?;
                if !self.topics.knows(channel) {
                    return Err(Unsound::UnknownChannel { at, channel });
                }
                let payload = Some(c.up_to(u64::MAX));
                self.topics.message(Message { channel, sequence, log_time, publish_time, payload });
                Ok(Some(log_time))
            }
            opcode::SCHEMA => {
                let schema = Schema::parse(body).ok_or_else(malformed)?;
                let id = schema.id;
                self.topics.schema(&schema);
                if self.topics.describes_schema_alike(&schema) { Ok(None) } else { Err(Unsound::DescribedOtherwise { at, opcode, id }) }
            }
            opcode::CHANNEL => {
                let channel = Channel::parse(body).ok_or_else(malformed)?;
                let id = channel.id;
                let alike = self.topics.describes_channel_alike(&channel);
                if !self.topics.knows(id) {
                    self.topics.channel(channel);
                }
                if alike { Ok(None) } else { Err(Unsound::DescribedOtherwise { at, opcode, id }) }
            }
            0..=opcode::DATA_END => Err(Unsound::Misplaced { at, opcode }),
            _ => Ok(None),
        }
    }

    /// Each entry has to be where its message is. A chunk without indexes is unusual and sound.
    fn compare_indexes(&self, messages: u64) -> Option<Finding> {
        let job = self.job;
        let (first, last) = (job.indexes.first()?, job.indexes.last()?);
        let all = first.0..last.0 + (RECORD_PREFIX_BYTES + last.1.len()) as u64;
        let found = |range: Range<u64>, text: String| Some(finding(FindingKind::MessageIndex, range, Some(job.number), text));
        let mut counted = 0;
        for (at, body) in &job.indexes {
            let Some((_, entries)) = entries(body) else {
                let end = at + (RECORD_PREFIX_BYTES + body.len()) as u64;
                return found(*at..end, format!("message index at {at} cannot be parsed"));
            };
            for (n, entry) in entries.enumerate() {
                if message_at(self.records, &entry).is_none() {
                    // Behind the prefix, the channel, and the length of the entries.
                    let place = at + (RECORD_PREFIX_BYTES + 6 + 16 * n) as u64;
                    let Entry { channel, log_time, offset } = entry;
                    let text = format!(
                        "message index at {at} has a message of channel {channel} at time {log_time} and offset {offset} of chunk {}, where there is none",
                        job.number
                    );
                    return found(place..place + 16, text);
                }
                counted += 1;
            }
        }
        if counted == messages {
            return None;
        }
        found(all, format!("message indexes of chunk {} have {counted} messages, the chunk has {messages}", job.number))
    }
}
