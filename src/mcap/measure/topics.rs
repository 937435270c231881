//! What is known of each topic while a recording is read, and in the end.

use std::collections::{BTreeMap, HashMap};

use super::super::records::{Channel, Schema, opcode};
use super::super::summary::ChannelFacts;
use super::pairs::{self, SERIES_MAX, Series};
use super::payload::Payloads;
use super::sample::Sampling;
use super::spread::Differences;
use super::timeline::{TIMES_MAX, Timeline, at_share, distances};
use crate::domain::measurement::{
    FINDINGS_MAX, Kind, Listed, NotMeasured, PAIRS_MAX, PairFacts, SYNC_MAX, Sequence, SyncFacts, TOPICS_MAX, TopicFacts, kept,
};

/// One message, as far as it stands in front of its payload.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    pub channel: u16,
    pub sequence: u32,
    pub log_time: u64,
    pub publish_time: u64,
    /// Nothing, where it was too large to be held.
    pub payload: Option<&'a [u8]>,
}

pub struct Topics {
    pub message_count: u64,
    /// The smallest and the largest log time.
    pub times: Option<(u64, u64)>,
    /// By channel, messages that were seen or that an index names.
    counts: Vec<u64>,
    /// By channel: which topic, and nothing where the channel is not known.
    by_channel: Vec<Option<u32>>,
    by_name: HashMap<(String, String), u32>,
    topics: Vec<Topic>,
    schemas: BTreeMap<u16, Schema>,
    /// Of each opcode and id, how its first record describes it, as a checksum.
    described: HashMap<(u8, u16), u32>,
    /// Room for times that are kept.
    room: usize,
    /// Room for names; those that have none are left empty.
    name_room: usize,
    /// Which images are decoded, and by whom.
    pub sampling: Sampling,
    /// Whether payloads are looked into.
    pub payloads: bool,
    /// Topics whose positions are kept.
    series: usize,
}

/// Names of all topics together. A thousand times what a robot has.
const NAME_BYTES_MAX: usize = 16 << 20;

struct Topic {
    facts: TopicFacts,
    timeline: Timeline,
    /// By channel.
    sequences: BTreeMap<u16, SequenceSoFar>,
    latency: Differences,
    payloads: Option<Payloads>,
    /// Whether messages themselves were seen, and not only their times.
    seen: bool,
    claimed: Option<u64>,
}

#[derive(Clone, Copy)]
struct SequenceSoFar {
    last: u32,
    so_far: Sequence,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            message_count: 0,
            times: None,
            counts: vec![0; 1 << 16],
            by_channel: vec![None; 1 << 16],
            by_name: HashMap::new(),
            topics: vec![],
            schemas: BTreeMap::new(),
            described: HashMap::new(),
            room: TIMES_MAX,
            name_room: NAME_BYTES_MAX,
            sampling: Sampling::default(),
            payloads: true,
            series: 0,
        }
    }
}

impl Topics {
    /// Whether a schema is described as it was before, if it was: messages behind a second way would be taken for others.
    pub fn describes_schema_alike(&mut self, schema: &Schema) -> bool {
        let length = schema.data_bytes.to_le_bytes();
        self.describes_alike((opcode::SCHEMA, schema.id), [schema.name.as_bytes(), schema.encoding.as_bytes(), &length])
    }

    /// The same of a channel.
    pub fn describes_channel_alike(&mut self, channel: &Channel) -> bool {
        let schema = channel.schema_id.to_le_bytes();
        self.describes_alike((opcode::CHANNEL, channel.id), [channel.topic.as_bytes(), channel.message_encoding.as_bytes(), &schema])
    }

    fn describes_alike(&mut self, what: (u8, u16), by: [&[u8]; 3]) -> bool {
        let mut hash = crc32fast::Hasher::new();
        for part in by {
            hash.update(&part.len().to_le_bytes());
            hash.update(part);
        }
        let found = hash.finalize();
        *self.described.entry(what).or_insert(found) == found
    }

    /// A schema; the first one of an id counts.
    pub fn schema(&mut self, schema: &Schema) {
        if !self.schemas.contains_key(&schema.id) {
            let (name, encoding) = (self.name(&schema.name), self.name(&schema.encoding));
            self.schemas.insert(schema.id, Schema { id: schema.id, name, encoding, data_bytes: schema.data_bytes });
        }
    }

    pub fn has_schema(&self, id: u16) -> bool {
        self.schemas.contains_key(&id)
    }

    /// A channel whose schema, if it has one, came before it.
    pub fn channel(&mut self, channel: Channel) {
        // 0 stands for no schema.
        let schema = self.schemas.get(&channel.schema_id).filter(|_| channel.schema_id != 0);
        let described = ChannelFacts {
            id: channel.id,
            message_type: schema.map(|schema| schema.name.clone()).unwrap_or_default(),
            schema_encoding: schema.map(|schema| schema.encoding.clone()).unwrap_or_default(),
            schema_bytes: schema.map(|schema| schema.data_bytes).unwrap_or_default(),
            topic: channel.topic,
            message_encoding: channel.message_encoding,
            message_count: 0,
        };
        self.describe(&described);
    }

    fn name(&mut self, name: &str) -> String {
        let name = kept(name);
        match self.name_room.checked_sub(name.len()) {
            Some(left) => {
                self.name_room = left;
                name
            }
            None => String::new(),
        }
    }

    /// A channel with all that is known of it; the first description of an id counts.
    pub fn describe(&mut self, channel: &ChannelFacts) {
        if self.knows(channel.id) {
            return;
        }
        let key = (self.name(&channel.topic), self.name(&channel.message_type));
        let which = match self.by_name.get(&key) {
            Some(which) => *which,
            None => {
                let (message_encoding, schema_encoding) = (self.name(&channel.message_encoding), self.name(&channel.schema_encoding));
                let which = self.topics.len();
                // Of topics that are not told in the end, payloads are not looked at.
                let (told, looked_into) = (which < TOPICS_MAX, self.payloads);
                let series = told && Kind::of(&key.1) == Kind::Joints && self.series < SERIES_MAX;
                self.series += usize::from(series);
                let payloads = || Payloads::of(&key.1, &message_encoding, &schema_encoding, series);
                self.topics.push(Topic {
                    payloads: (told && looked_into).then(payloads).flatten(),
                    facts: TopicFacts {
                        topic: key.0.clone(),
                        message_type: key.1.clone(),
                        message_encoding,
                        schema_encoding,
                        schema_bytes: channel.schema_bytes as u64,
                        ..TopicFacts::default()
                    },
                    timeline: Timeline::default(),
                    sequences: BTreeMap::new(),
                    latency: Differences::of_topic(told),
                    seen: false,
                    claimed: None,
                });
                self.by_name.insert(key, which as u32);
                which as u32
            }
        };
        self.by_channel[usize::from(channel.id)] = Some(which);
    }

    pub fn knows(&self, channel: u16) -> bool {
        self.by_channel[usize::from(channel)].is_some()
    }

    /// Messages of a channel, of those that were counted.
    pub fn counted(&self, channel: u16) -> u64 {
        self.counts[usize::from(channel)]
    }

    fn of(&mut self, channel: u16) -> Option<(&mut Topic, &mut usize, &mut Sampling)> {
        let which = self.by_channel[usize::from(channel)]?;
        Some((self.topics.get_mut(which as usize)?, &mut self.room, &mut self.sampling))
    }

    /// Messages that the statistics count. They are what is told where no message is looked at.
    pub fn claimed(&mut self, channel: u16, count: u64) {
        if let Some((topic, ..)) = self.of(channel) {
            topic.claimed = Some(topic.claimed.unwrap_or_default().saturating_add(count));
        }
    }

    /// A message that an index names.
    pub fn indexed(&mut self, channel: u16, log_time: u64) {
        self.count(channel, log_time);
        if let Some((topic, room, _)) = self.of(channel) {
            topic.facts.count += 1;
            topic.timeline.push(log_time, room);
        }
    }

    fn count(&mut self, channel: u16, log_time: u64) {
        self.counts[usize::from(channel)] += 1;
        self.message_count += 1;
        let (first, last) = self.times.unwrap_or((log_time, log_time));
        self.times = Some((first.min(log_time), last.max(log_time)));
    }

    pub fn message(&mut self, message: Message<'_>) {
        self.count(message.channel, message.log_time);
        let Some((topic, room, sampling)) = self.of(message.channel) else { return };
        topic.seen = true;
        topic.facts.count += 1;
        topic.timeline.push(message.log_time, room);
        topic.sequences.entry(message.channel).and_modify(|known| known.push(message.sequence)).or_insert_with(|| SequenceSoFar {
            last: message.sequence,
            so_far: Sequence { all_zero: message.sequence == 0, missing: 0, resets: 0 },
        });
        topic.latency.push(message.log_time, message.publish_time);
        match message.payload {
            Some([]) => topic.facts.empty += 1,
            Some(payload) => {
                if let Some(payloads) = &mut topic.payloads {
                    payloads.message(payload, message.log_time, sampling);
                }
            }
            None => {}
        }
    }

    /// Waits for all images that are decoded, and lets go of the threads that do it.
    pub fn settle(&mut self) {
        self.topics.iter_mut().filter_map(|topic| topic.payloads.as_mut()).for_each(Payloads::settle);
        self.sampling.end();
    }

    /// Of each topic, and of cameras beside states; and what could not be said.
    pub fn finish(self) -> Finished {
        let mut finished = Finished::default();
        let (mut cameras, mut states, mut series) = (vec![], vec![], vec![]);
        let mut topics = self.topics;
        topics.sort_by(|a, b| (&a.facts.topic, &a.facts.message_type).cmp(&(&b.facts.topic, &b.facts.message_type)));
        for mut topic in topics {
            if topic.timeline.is_cut() {
                let why = format!("intervals of `{}`: there are more messages than times are kept of", topic.facts.topic);
                finished.not_measured.push(NotMeasured { at: None, chunk: None, why }, FINDINGS_MAX);
            }
            if let Some(why) = topic.payloads.as_mut().and_then(Payloads::left_out) {
                let why = format!("images of `{}` are not decoded: {why}", topic.facts.topic);
                finished.not_measured.push(NotMeasured { at: None, chunk: None, why }, FINDINGS_MAX);
            }
            let (facts, times, its_series) = topic.finish();
            if let Some(its_series) = its_series {
                series.push((facts.topic.clone(), its_series));
            }
            match facts.kind() {
                Kind::Camera if !times.is_empty() => cameras.push((facts.topic.clone(), times)),
                Kind::Joints if !times.is_empty() => states.push((facts.topic.clone(), times)),
                _ => {}
            }
            finished.topics.push(facts, TOPICS_MAX);
        }
        for (camera, images) in &cameras {
            for (state, times) in &states {
                if finished.sync.items.len() >= SYNC_MAX {
                    finished.sync.cut += 1;
                    continue;
                }
                let distances = distances(images, times);
                finished.sync.items.push(SyncFacts {
                    camera: camera.clone(),
                    state: state.clone(),
                    images: images.len() as u64,
                    median_ns: at_share(&distances, 50),
                    p95_ns: at_share(&distances, 95),
                    worst_ns: distances.last().copied().unwrap_or_default(),
                });
            }
        }
        for (leader, leads) in &series {
            for (follower, follows) in series.iter().filter(|(follower, _)| pairs::follows(leader, follower)) {
                finished.pairs.push(pairs::compare((leader, follower), leads, follows), PAIRS_MAX);
            }
        }
        finished
    }
}

#[derive(Default)]
pub struct Finished {
    pub topics: Listed<TopicFacts>,
    pub sync: Listed<SyncFacts>,
    pub pairs: Listed<PairFacts>,
    pub not_measured: Listed<NotMeasured>,
}

impl Topic {
    fn finish(self) -> (TopicFacts, Vec<u64>, Option<Series>) {
        let mut series = None;
        let mut facts = self.facts;
        let (timing, times) = self.timeline.finish();
        facts.timing = timing;
        facts.count = self.claimed.unwrap_or(facts.count);
        if self.seen {
            let add = |all: Sequence, one: Sequence| Sequence {
                all_zero: all.all_zero && one.all_zero,
                missing: all.missing.saturating_add(one.missing),
                resets: all.resets + one.resets,
            };
            facts.sequence = self.sequences.into_values().map(|known| known.so_far).reduce(add);
            facts.latency = self.latency.finish();
            if let Some(payloads) = self.payloads {
                (facts.stamp, series) = payloads.finish(&mut facts);
            }
        }
        (facts, times, series)
    }
}

impl SequenceSoFar {
    fn push(&mut self, sequence: u32) {
        let step = sequence.wrapping_sub(self.last);
        if sequence == 0 && self.so_far.all_zero {
            return;
        }
        self.so_far.all_zero = false;
        // Half of all numbers ahead is behind.
        match step {
            1..=0x7fff_ffff => self.so_far.missing += u64::from(step - 1),
            0 => {}
            _ => self.so_far.resets += 1,
        }
        self.last = sequence;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(numbers: &[u32]) -> Sequence {
        let mut topics = Topics::default();
        topics.describe(&ChannelFacts {
            id: 7,
            topic: "/a".into(),
            message_encoding: "json".into(),
            message_type: String::new(),
            schema_encoding: String::new(),
            schema_bytes: 0,
            message_count: 0,
        });
        for number in numbers {
            topics.message(Message { channel: 7, sequence: *number, log_time: 1, publish_time: 1, payload: Some(b"x") });
        }
        topics.finish().topics.items[0].sequence.unwrap()
    }

    #[test]
    fn what_a_sequence_leaves_out_is_missing_and_a_step_back_is_a_reset() {
        assert_eq!(sequence(&[0, 0, 0]), Sequence { all_zero: true, missing: 0, resets: 0 });
        assert_eq!(sequence(&[1, 2, 3]), Sequence { all_zero: false, missing: 0, resets: 0 });
        assert_eq!(sequence(&[0, 1, 5, 6]), Sequence { all_zero: false, missing: 3, resets: 0 });
        assert_eq!(sequence(&[u32::MAX, 1, 0, 1]), Sequence { all_zero: false, missing: 1, resets: 1 });
    }
}
