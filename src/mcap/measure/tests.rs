use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;

use bytes::Bytes;
use futures_util::FutureExt as _;
use mcap::records::MessageHeader;
use proptest::prelude::*;

use super::super::read::RangedRead;
use super::super::summary_of;
use super::super::tests::{Choices, find, footer_at, shared, summary_start};
use super::*;
use crate::domain::measurement::{Facts, Finding, FindingKind, Kind, Tier, TopicFacts};

pub struct Object<'a>(pub &'a [u8]);

impl RangedRead for Object<'_> {
    type Error = Infallible;

    async fn read(&self, range: Range<u64>) -> Result<Bytes, Infallible> {
        Ok(Bytes::copy_from_slice(&self.0[range.start as usize..range.end as usize]))
    }
}

pub fn seen(file: &[u8]) -> Look {
    look(&Object(file), file.len() as u64).now_or_never().expect("no wait").expect("bytes in memory")
}

pub fn ends(file: &[u8]) -> Facts {
    measure_ends(&Object(file), &seen(file)).now_or_never().expect("no wait").expect("bytes in memory")
}

pub fn whole_within(file: &[u8], limits: Limits) -> Facts {
    measure_whole(file, &seen(file), limits).expect("bytes in memory")
}

pub fn whole(file: &[u8]) -> Facts {
    whole_within(file, Limits { unpackers: 0, ..Limits::default() })
}

fn topic<'a>(facts: &'a Facts, name: &str) -> &'a TopicFacts {
    facts.topics.items.iter().find(|topic| topic.topic == name).unwrap_or_else(|| panic!("no {name}"))
}

pub const START_NS: u64 = 1_795_204_387_000_000_000;

/// CDR: a header with its stamp, and what follows it at a multiple of four.
fn header(at: u64) -> Vec<u8> {
    let (seconds, nanoseconds) = ((at / 1_000_000_000) as u32, (at % 1_000_000_000) as u32);
    [&[0, 1, 0, 0][..], &seconds.to_le_bytes(), &nanoseconds.to_le_bytes(), &4u32.to_le_bytes(), b"arm\0"].concat()
}

fn joints(at: u64, positions: &[f64]) -> Vec<u8> {
    let mut payload = header(at);
    payload.extend((positions.len() as u32).to_le_bytes());
    for joint in 0..positions.len() {
        payload.extend(4u32.to_le_bytes());
        payload.extend(format!("j{joint:02}").as_bytes());
        payload.push(0);
    }
    payload.extend((positions.len() as u32).to_le_bytes());
    while !(payload.len() - 4).is_multiple_of(8) {
        payload.push(0);
    }
    positions.iter().for_each(|position| payload.extend(position.to_le_bytes()));
    payload.extend([0; 8]);
    payload
}

pub fn compressed(at: u64, image: &[u8]) -> Vec<u8> {
    [&header(at)[..], &5u32.to_le_bytes(), b"jpeg\0\0\0\0", &(image.len() as u32).to_le_bytes(), image].concat()
}

pub fn jpeg(n: u64) -> Vec<u8> {
    let mut image = vec![];
    let pixels: Vec<u8> = (0..64 * 48 * 3).map(|i: u64| (i * 7 + n * 13) as u8).collect();
    jpeg_encoder::Encoder::new(&mut image, 80).encode(&pixels, 64, 48, jpeg_encoder::ColorType::Rgb).unwrap();
    image
}

/// Noise, which does not become smaller.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(len)
    .collect()
}

pub const JOINTS: &str = "/joint_states";
pub const CAMERA: &str = "/camera/compressed";

/// A camera, an arm and a depth camera, for so many steps of 10 ms.
pub fn recording(steps: u64, compression: Option<mcap::Compression>, change: impl Fn(&str, u64) -> Option<Vec<u8>>) -> Vec<u8> {
    let options = mcap::WriteOptions::new().profile("ros2").library("test").chunk_size(Some(256 << 10)).compression(compression);
    let mut writer = options.create(std::io::Cursor::new(Vec::new())).unwrap();
    let types = ["sensor_msgs/msg/JointState", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/PointCloud2"];
    let channels: Vec<u16> = [JOINTS, CAMERA, "/points"]
        .iter()
        .zip(types)
        .map(|(topic, name)| {
            let schema = writer.add_schema(name, "ros2msg", b"std_msgs/Header header").unwrap();
            writer.add_channel(schema, topic, "cdr", &BTreeMap::new()).unwrap()
        })
        .collect();
    for step in 0..steps {
        let log_time = START_NS + step * 10_000_000;
        let payloads = [
            Some((JOINTS, joints(log_time - 1_000_000, &[step as f64 / 100.0, 0.5 - step as f64 / 200.0]))),
            (step % 3 == 0).then(|| (CAMERA, compressed(log_time - 1_000_000, &jpeg(step)))),
            (step % 2 == 0).then(|| ("/points", noise(4000, step))),
        ];
        for (n, (topic, payload)) in payloads.into_iter().enumerate().filter_map(|(n, payload)| Some((n, payload?))) {
            let payload = change(topic, step).unwrap_or(payload);
            let header = MessageHeader { channel_id: channels[n], sequence: step as u32, log_time, publish_time: log_time };
            writer.write_to_known_channel(&header, &payload).unwrap();
        }
    }
    writer.finish().unwrap();
    writer.into_inner().into_inner()
}

pub fn sound(compression: Option<mcap::Compression>) -> Vec<u8> {
    recording(600, compression, |_, _| None)
}

#[test]
fn a_sound_recording_is_measured_by_all_tiers_alike() {
    for compression in [None, Some(mcap::Compression::Zstd), Some(mcap::Compression::Lz4)] {
        let file = sound(compression);
        let (ends, whole) = (ends(&file), whole(&file));
        assert!(ends.findings.is_empty() && whole.findings.is_empty(), "{:?} {:?}", ends.findings, whole.findings);
        assert!(ends.not_measured.is_empty() && whole.not_measured.is_empty(), "{:?}", whole.not_measured);
        assert_eq!((ends.tier, whole.tier, ends.message_count, whole.message_count), (Tier::Indexes, Tier::Whole, 1100, 1100));
        assert_eq!((ends.start_ns, ends.end_ns, ends.chunk_count), (whole.start_ns, whole.end_ns, whole.chunk_count));
        assert!(whole.chunk_count > 3 && whole.checksums.chunks_compared == whole.chunk_count, "{:?}", whole.checksums);
        assert_eq!(ends.sync, whole.sync);
        for (one, other) in ends.topics.items.iter().zip(&whole.topics.items) {
            assert_eq!((&one.topic, one.count, &one.timing), (&other.topic, other.count, &other.timing));
        }
        let arm = topic(&whole, JOINTS);
        assert_eq!((arm.count, arm.kind(), arm.rate_hz(), arm.completeness(100.0)), (600, Kind::Joints, Some(100.0), Some(1.0)));
        let joints = arm.joints.as_ref().unwrap();
        assert_eq!((joints.dof, joints.other_shape, joints.not_finite, joints.jump_urad, joints.stuck_ns), (2, 0, 0, 10_000, 0));
        let kept: Vec<(u64, u64)> = joints.keep.items.iter().map(|range| (range.from_ns - START_NS, range.to_ns - START_NS)).collect();
        assert_eq!(kept, [(0, 5_270_000_000)], "it moves all the time");
        assert_eq!((joints.jerk_milli, joints.end_urad.items.len(), joints.end_urad.cut), (Some(0), 2, 0), "at one pace");
        assert_eq!(arm.stamp.unwrap().min_ns, 1_000_000);
        let images = topic(&whole, CAMERA).images.as_ref().unwrap();
        assert_eq!((images.jpeg, images.bad, images.width, images.height, images.frozen_ns), (200, 0, 64, 48, 0));
        let samples = images.samples.as_ref().unwrap();
        assert_eq!((samples.sampled, samples.undecodable, samples.left_out), (6, 0, 0));
        assert_eq!((samples.pixels.at_ms.as_slice(), samples.pixels.luma.len()), ([0, 1020, 2010, 3000, 4020, 5010].as_slice(), 6));
        assert!(samples.pixels.difference_milli[1..].iter().all(|difference| difference.is_some_and(|milli| milli > 1000)));
        assert_eq!((whole.sync.items[0].images, whole.sync.items[0].worst_ns), (200, 0));
    }
}

#[test]
fn who_unpacks_and_in_which_pieces_does_not_matter() {
    let file = sound(Some(mcap::Compression::Zstd));
    let expected = whole(&file);
    for unpackers in [1, 3] {
        assert_eq!(whole_within(&file, Limits { unpackers, ..Limits::default() }), expected);
    }
    for piece in [1, 777, 1 << 20] {
        let bytes = std::io::BufReader::with_capacity(piece, &file[..]);
        assert_eq!(measure_whole(bytes, &seen(&file), Limits::default()).unwrap(), expected, "{piece}");
    }
}

#[test]
fn a_chunk_above_the_limit_is_not_measured_and_no_fault() {
    let file = sound(Some(mcap::Compression::Zstd));
    let facts = whole_within(&file, Limits { chunk_bytes_max: 1000, unpackers: 1, ..Limits::default() });
    assert!(facts.findings.is_empty(), "{:?}", facts.findings);
    assert_eq!(facts.not_measured.len(), facts.chunk_count);
    // Piece by piece each is compared with its checksum all the same.
    assert_eq!((facts.checksums.chunks_compared, facts.checksums.chunks_without), (facts.chunk_count, 0));
    // Their message indexes tell the times.
    assert_eq!((facts.message_count, topic(&facts, JOINTS).count, &topic(&facts, JOINTS).joints), (1100, 600, &None));
    assert_eq!(topic(&facts, JOINTS).timing, topic(&whole(&file), JOINTS).timing);
}

/// Above the limit, too: where its checksum differs, or where it does not unpack, that is found with its place.
#[test]
fn damage_in_a_chunk_above_the_limit_is_found() {
    for compression in [None, Some(mcap::Compression::Zstd), Some(mcap::Compression::Lz4)] {
        let file = sound(compression);
        for unpackers in [0, 1] {
            let limits = Limits { chunk_bytes_max: 1000, unpackers, ..Limits::default() };
            for damage in damages(&file).iter().filter(|damage| [6, 7, 8].contains(&damage.number)) {
                let facts = whole_within(&damage.file, limits);
                assert!(facts.findings.items.iter().any(|finding| names(finding, damage.place)), "{}: {:?}", damage.number, facts.findings);
                assert_eq!(facts.checksums.chunks_compared + 1, facts.chunk_count, "{}", damage.number);
            }
        }
    }
}

/// Messages behind a second description would be taken for those of the first; the same once more is sound.
#[test]
fn a_channel_or_schema_that_is_described_in_two_ways_is_damage() {
    let described = |second: (&str, &str, &str), chunked: bool| {
        let record = |opcode: u8, body: Vec<u8>| [&[opcode][..], &(body.len() as u64).to_le_bytes(), &body].concat();
        let text = |text: &str| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
        let schema = |name: &str| record(3, [&1u16.to_le_bytes()[..], &text(name), &text("ros2msg"), &text("float64 x")].concat());
        let channel = |topic: &str, encoding: &str| {
            record(4, [&1u16.to_le_bytes()[..], &1u16.to_le_bytes(), &text(topic), &text(encoding), &0u32.to_le_bytes()].concat())
        };
        let message = |n: u64| {
            let time = (START_NS + n * 1_000_000).to_le_bytes();
            record(5, [&1u16.to_le_bytes()[..], &0u32.to_le_bytes(), &time, &time, &[7; 20]].concat())
        };
        let (name, topic, encoding) = second;
        let inner = [schema("pkg/msg/A"), channel("/a", "cdr"), message(0), schema(name), channel(topic, encoding), message(1)].concat();
        let data = if chunked {
            let times = [START_NS.to_le_bytes(), (START_NS + 1_000_000).to_le_bytes()].concat();
            let (bytes, crc) = ((inner.len() as u64).to_le_bytes(), crc32fast::hash(&inner).to_le_bytes());
            record(6, [&times[..], &bytes, &crc, &text(""), &bytes, &inner].concat())
        } else {
            inner
        };
        let magic = b"\x89MCAP0\r\n".to_vec();
        let header = record(1, [text("ros2"), text("test")].concat());
        [magic.clone(), header, data, record(15, vec![0; 4]), record(2, vec![0; 20]), magic].concat()
    };
    for chunked in [true, false] {
        let alike = whole(&described(("pkg/msg/A", "/a", "cdr"), chunked));
        assert!(alike.findings.is_empty() && alike.message_count == 2, "{:?}", alike.findings);
        for second in [("pkg/msg/B", "/a", "cdr"), ("pkg/msg/A", "/b", "cdr"), ("pkg/msg/A", "/a", "json")] {
            let facts = whole(&described(second, chunked));
            let found = facts.findings.items.first().unwrap_or_else(|| panic!("{second:?} {chunked}"));
            assert!(found.kind == FindingKind::Record && found.text.contains("describes 1 in another way"), "{found:?}");
        }
    }
}

/// A damage, and where it is.
pub struct Damage {
    pub number: u8,
    /// Whether tiers 1 and 2 see it.
    at_the_ends: bool,
    pub file: Vec<u8>,
    pub place: u64,
    kind: FindingKind,
}

/// The fourteen kinds of the catalogue, each at some places of a sound file with chunks and a summary.
pub fn damages(file: &[u8]) -> Vec<Damage> {
    let facts = summary_of(file).expect("a sound file");
    let (size, footer, summary) = (file.len(), footer_at(file), summary_start(file));
    let mut all = vec![];
    let mut add = |number, kind, place: usize, damaged: Vec<u8>| {
        // The lowest bit of a time may stay within its chunk's times.
        let lowest_bit = number == 11 && damaged[place] ^ file[place] == 1;
        let at_the_ends = !lowest_bit && !matches!(number, 6..=8);
        all.push(Damage { number, at_the_ends, file: damaged, place: place as u64, kind });
    };
    let with = |at: usize, bytes: &[u8]| {
        let mut damaged = file.to_vec();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        damaged
    };
    let flipped = |at: usize, bit: u8| with(at, &[file[at] ^ bit]);
    let without_crc = |mut damaged: Vec<u8>| {
        damaged[footer + 25..footer + 29].fill(0);
        damaged
    };
    add(1, FindingKind::Cut, size - 1, file[..size - 1].to_vec());
    add(2, FindingKind::Cut, size - 8, file[..size - 8].to_vec());
    add(3, FindingKind::Cut, size / 2, file[..size / 2].to_vec());
    add(4, FindingKind::Cut, summary, file[..summary].to_vec());
    add(4, FindingKind::Cut, summary - 13, file[..summary - 13].to_vec());
    add(5, FindingKind::BehindEnd, size, [file, &[0; 16]].concat());
    for chunk in [&facts.chunks[0], &facts.chunks[facts.chunks.len() / 2]] {
        let start = chunk.start as usize;
        let middle = start + chunk.chunk_bytes as usize / 2;
        let kind = if chunk.compression.is_empty() { FindingKind::ChunkCrc } else { FindingKind::ChunkUnpack };
        add(6, kind, middle, flipped(middle, 0x10));
        add(7, kind, middle - (32 << 10), with(middle - (32 << 10), &[0; 64 << 10]));
        add(8, FindingKind::ChunkCrc, start + 9 + 24, flipped(start + 9 + 24, 0xff));
        // The first time of the first index behind the chunk: the lowest bit, which stays within the chunk's times, and a high one.
        let time = start + chunk.chunk_bytes as usize + 9 + 6;
        add(11, FindingKind::MessageIndex, time + 16, flipped(time + 16, 1));
        add(11, FindingKind::MessageIndex, time + 7, flipped(time + 7, 0x40));
    }
    for at in [summary, summary + 5, (summary + footer) / 2, footer - 1] {
        add(9, FindingKind::SummaryCrc, at, flipped(at, 0x01));
    }
    let moved = (summary as u64 + 8).to_le_bytes();
    add(10, FindingKind::Footer, footer + 9, with(footer + 9, &moved));
    let moved = (summary as u64 - 8).to_le_bytes();
    add(10, FindingKind::Footer, footer + 9, with(footer + 9, &moved));
    add(12, FindingKind::HeadMagic, 0, with(0, &[0; 8]));
    let statistics = summary + find(&file[summary..footer], 0x0b).start;
    add(13, FindingKind::Statistics, statistics, without_crc(flipped(statistics, 0x04)));
    let index = summary + find(&file[summary..footer], 0x08).start - 9;
    let hidden = u64::from_le_bytes(file[index + 25..index + 33].try_into().unwrap()) as usize;
    add(14, FindingKind::ChunkNotIndexed, hidden, without_crc(with(index, &[0x7f])));
    all
}

fn names(finding: &Finding, place: u64) -> bool {
    (finding.at..=finding.at + finding.bytes).contains(&place)
}

#[test]
fn fourteen_of_fourteen_kinds_of_damage_are_found_with_their_place() {
    for compression in [None, Some(mcap::Compression::Zstd), Some(mcap::Compression::Lz4)] {
        let file = sound(compression);
        let mut found = std::collections::BTreeSet::new();
        for damage in damages(&file) {
            let facts = whole(&damage.file);
            let at = format!("damage {} at {}, {compression:?}: {:#?}", damage.number, damage.place, facts.findings);
            // A bit inside packed data comes out as another length, another record or another checksum.
            let as_good = |kind| match damage.kind {
                FindingKind::ChunkUnpack => matches!(kind, FindingKind::ChunkUnpack | FindingKind::ChunkCrc),
                FindingKind::SummaryCrc => matches!(kind, FindingKind::SummaryCrc | FindingKind::SummaryRecord),
                other => kind == other,
            };
            let right = facts.findings.items.iter().filter(|finding| as_good(finding.kind) && names(finding, damage.place));
            assert_eq!(right.count(), 1, "{at}");
            // And nothing beside it but what is true as well: counts and checksums over it.
            let beside = facts.findings.items.iter().filter(|finding| !as_good(finding.kind));
            let also = [FindingKind::DataCrc, FindingKind::Statistics];
            assert!(beside.clone().all(|finding| also.contains(&finding.kind)), "{at}");
            found.insert(damage.number);
        }
        assert_eq!(found.into_iter().collect::<Vec<_>>(), (1..=14).collect::<Vec<_>>());
    }
}

#[test]
fn the_ends_alone_find_what_lies_outside_chunks() {
    let file = sound(Some(mcap::Compression::Zstd));
    for damage in damages(&file) {
        let facts = ends(&damage.file);
        assert_eq!(!facts.findings.is_empty(), damage.at_the_ends, "damage {} at {}: {:?}", damage.number, damage.place, facts.findings);
    }
}

#[test]
fn damage_in_a_chunk_leaves_the_rest_measured() {
    let file = sound(Some(mcap::Compression::Zstd));
    let one = damages(&file).into_iter().find(|damage| damage.number == 7).expect("zeros in a chunk");
    let facts = whole(&one.file);
    assert_eq!(facts.findings.items[0].chunk, Some(0));
    // The indexes of the damaged chunk tell its times, so nothing seems to be missing.
    assert_eq!((facts.message_count, topic(&facts, JOINTS).count), (1100, 600));
    assert!(topic(&facts, JOINTS).joints.as_ref().is_some_and(|joints| joints.steps < 599));
}

#[test]
fn payloads_that_are_not_whole_are_counted() {
    let file = recording(600, Some(mcap::Compression::Lz4), |topic, step| {
        let at = START_NS + step * 10_000_000;
        match (topic, step) {
            (CAMERA, 300) => Some(compressed(at, &jpeg(1)[..400])),
            (CAMERA, 303) => Some(compressed(at, &[jpeg(1), vec![0; 900]].concat())),
            // Frozen for 300 ms.
            (CAMERA, 402..=432) => Some(compressed(at, &jpeg(402))),
            (JOINTS, 10) => Some(joints(at, &[f64::NAN, 0.0])),
            (JOINTS, 20) => Some(joints(at, &[0.0, 0.0, 0.0])),
            (JOINTS, 100..=350) => Some(joints(at, &[9.0, 9.0])),
            _ => None,
        }
    });
    let facts = whole(&file);
    assert!(facts.findings.is_empty(), "{:?}", facts.findings);
    let images = topic(&facts, CAMERA).images.as_ref().unwrap();
    assert_eq!((images.bad, images.padded, images.first_bad_at_ns), (1, 1, Some(START_NS + 3_000_000_000)));
    assert_eq!((images.frozen_ns, images.frozen_from_ns, images.frozen_messages), (300_000_000, START_NS + 4_020_000_000, 11));
    let joints = topic(&facts, JOINTS).joints.as_ref().unwrap();
    assert_eq!((joints.not_finite, joints.other_shape), (1, 2), "the message with another shape, and the way back");
    assert_eq!((joints.stuck_ns, joints.stuck_messages, joints.stuck_from_ns), (2_500_000_000, 251, START_NS + 1_000_000_000));
}

#[test]
fn samples_of_a_camera_are_decoded_and_what_cannot_be_is_said() {
    let still = jpeg(7);
    let huge = {
        let mut image = jpeg(8);
        let size = image.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap() + 5;
        image[size..size + 4].fill(0xff);
        image
    };
    let hollow = {
        let image = jpeg(9);
        let scan = image.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        [&image[..scan + 20], b"\xff\xd9"].concat()
    };
    let file = recording(800, Some(mcap::Compression::Zstd), |topic, step| {
        let image = match step {
            200..=210 => &huge,
            400..=410 => &hollow,
            500..=800 => &still,
            _ => return None,
        };
        (topic == CAMERA).then(|| compressed(START_NS + step * 10_000_000, image))
    });
    let facts = whole(&file);
    let images = topic(&facts, CAMERA).images.as_ref().unwrap();
    assert_eq!(images.bad, 0, "by their frames all are whole");
    let samples = images.samples.as_ref().unwrap();
    assert_eq!((samples.sampled, samples.undecodable, samples.left_out), (7, 1, 1));
    assert_eq!(samples.first_undecodable_at_ns, Some(START_NS + 4_020_000_000));
    assert_eq!(samples.pixels.at_ms, [0, 1020, 3000, 5010, 6000, 7020]);
    assert_eq!(samples.pixels.difference_milli[4..], [Some(0), Some(0)], "a picture that stands still");
    let why: Vec<&str> = facts.not_measured.items.iter().map(|left| left.why.as_str()).collect();
    assert_eq!(why, ["images of `/camera/compressed` are not decoded: it is larger than is decoded"]);
    assert!(facts.findings.is_empty(), "{:?}", facts.findings);
    for unpackers in [1, 3] {
        assert_eq!(whole_within(&file, Limits { unpackers, ..Limits::default() }), facts);
    }
    let none = whole_within(&file, Limits { samples_max: 0, ..Limits::default() });
    assert_eq!(topic(&none, CAMERA).images.as_ref().unwrap().samples, None);
}

/// Real recordings, and the numbers that others measured of them.
#[test]
fn golden_measurements() {
    let all = shared("mcap");
    let file = |start: &str| all.iter().find(|(name, _)| name.starts_with(start)).map(|(_, file)| whole(file));
    if let Some(facts) = file("wanxinsg") {
        assert_eq!((facts.message_count, facts.not_measured.len(), facts.findings.len()), (41_503, 0, 0));
        assert_eq!(format!("{:.2}", facts.duration_ns() as f64 / 1e9), "215.03");
        let arms: Vec<&TopicFacts> = facts.topics.items.iter().filter(|topic| topic.kind() == Kind::Joints).collect();
        assert_eq!(arms.len(), 4);
        let moves: Vec<_> =
            arms.iter().map(|arm| arm.joints.as_ref().map(|joints| (joints.jerk_milli, joints.end_urad.items.as_slice()))).collect();
        let expected: [(Option<u64>, &[i64]); 4] = [
            (Some(27_898), &[117_685, -36_049, 31_853, -51_308, -402_266, 6676, 668]),
            (Some(28_201), &[117_215, -36_342, 31_719, -51_145, -402_257, 6807, -2149]),
            (Some(27_984), &[222_210, -1717, 17_357, -658_618, -1717, 660_906, 1852]),
            (Some(28_096), &[223_140, -575, 16_886, -658_317, -1627, 660_999, 674]),
        ];
        assert_eq!(moves, expected.map(Some), "leaders and followers end in one place");
        let (mut stuck, mut jump, mut latency) = (0, 0, (i64::MAX, i64::MIN));
        for arm in arms {
            let intervals = arm.timing.as_ref().unwrap().intervals.as_ref().unwrap();
            assert_eq!(arm.count, 10_375);
            let rate = arm.rate_hz().unwrap();
            assert!((48.235..48.255).contains(&rate), "{rate}");
            assert_eq!(format!("{:.3}", arm.completeness(50.0).unwrap()), "0.965");
            assert_eq!(format!("{:.1} {:.1}", intervals.longest_ns as f64 / 1e6, intervals.p99_ns as f64 / 1e6), "93.6 41.0");
            assert!(arm.sequence.unwrap().all_zero);
            let joints = arm.joints.as_ref().unwrap();
            assert_eq!((joints.dof, joints.other_shape, joints.not_finite, arm.unread), (7, 0, 0, 0));
            assert!(!joints.keep.is_empty() && joints.typical_urad.is_some_and(|urad| urad < 3_200_000), "{joints:?}");
            (stuck, jump) = (stuck.max(joints.stuck_ns), jump.max(joints.jump_urad));
            let spread = arm.latency.unwrap();
            latency = (latency.0.min(spread.min_ns), latency.1.max(spread.max_ns));
        }
        // Two arms, each led by another.
        assert_eq!(facts.pairs.len(), 2);
        for pair in &facts.pairs.items {
            assert!(pair.compared > 5_000 && (100..=250).contains(&pair.lag_ms) && pair.p95_urad < 100_000, "{pair:?}");
            assert!(pair.quiet > 100 && pair.offset_urad.is_some_and(|urad| urad < 10_000), "{pair:?}");
        }
        assert_eq!(format!("{:.1} {:.1}", latency.0 as f64 / 1e6, latency.1 as f64 / 1e6), "3.8 37.4");
        assert_eq!(format!("{:.3}", jump as f64 / 1e6), "0.153");
        assert!(stuck < 800_000_000, "{stuck}");
    }
    if let Some(facts) = file("leggedrobotics_kleinkram") {
        let imu = topic(&facts, "/sensors/imu");
        let (sequence, intervals) = (imu.sequence.unwrap(), imu.timing.as_ref().unwrap().intervals.as_ref().unwrap());
        assert_eq!((imu.count, sequence.all_zero, sequence.missing, sequence.resets), (17_029, false, 0, 0));
        assert_eq!(format!("{:.1} {:.1}", imu.rate_hz().unwrap(), intervals.longest_ns as f64 / 1e6), "400.0 5.3");
        assert!(imu.imu.is_some() && imu.unread == 0);
    }
}

#[test]
fn recordings_of_others_raise_no_false_alarm() {
    for (name, file) in shared("mcap").into_iter().chain(shared("mcap-odd")).chain(shared("axon/recordings")) {
        let damaged = ["m10", "m17", "truncated"].iter().any(|start| name.starts_with(start));
        let facts = whole(&file);
        assert_eq!(!facts.findings.is_empty(), damaged, "{name}: {:?}", facts.findings);
        if !damaged {
            assert!(ends(&file).findings.is_empty(), "{name}: {:?}", ends(&file).findings);
            assert!(facts.not_measured.is_empty(), "{name}: {:?}", facts.not_measured);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_writer_chooses_is_measured_without_findings(choices in Choices::every(), messages in 0..40u32) {
        let file = choices.write(messages);
        let (ends, whole) = (ends(&file), whole(&file));
        prop_assert!(whole.findings.is_empty(), "{:?}: {:?}", choices, whole.findings);
        prop_assert!(ends.findings.is_empty(), "{:?}: {:?}", choices, ends.findings);
        prop_assert_eq!(whole.message_count, u64::from(messages));
        prop_assert!(whole.not_measured.is_empty(), "{:?}", whole.not_measured);
    }

    /// With every checksum there is no byte that is not covered, and the first finding is not far from it.
    #[test]
    fn no_flip_is_without_a_finding_where_there_are_checksums(choices in Choices::every(), at in any::<usize>(), flip in 1..=255u8) {
        let mut file = Choices { bits: choices.bits | 0b111_1000, ..choices }.write(12);
        let at = at % file.len();
        file[at] ^= flip;
        let facts = whole(&file);
        prop_assert!(!facts.findings.is_empty(), "byte {} ^ {:#x}", at, flip);
    }

    #[test]
    fn no_cut_is_without_a_finding(choices in Choices::every(), cut in any::<usize>()) {
        let file = choices.write(12);
        let cut = &file[..cut % file.len()];
        prop_assert!(!whole(cut).findings.is_empty());
        prop_assert!(!ends(cut).findings.is_empty() || seen(cut).lacks().is_some());
    }

    #[test]
    fn any_change_is_measured_to_an_end(choices in Choices::every(), changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6)) {
        let mut file = Choices { bits: choices.bits & !0b111_1000, ..choices }.write(12);
        for (at, byte) in changes {
            let at = at % file.len();
            file[at] = byte;
        }
        let facts = whole(&file);
        let text = serde_json::to_string(&facts).unwrap();
        prop_assert_eq!(serde_json::from_str::<Facts>(&text).unwrap(), facts);
        let _ = ends(&file);
    }

    #[test]
    fn any_bytes_are_measured_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..400), framed in any::<bool>()) {
        let magic: &[u8] = b"\x89MCAP0\r\n";
        let file = if framed { [magic, &bytes, magic].concat() } else { bytes };
        prop_assert!(!whole(&file).findings.is_empty());
        let _ = ends(&file);
    }
}
