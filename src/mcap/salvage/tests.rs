use std::io::{self, BufReader, Read, Write};

use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::super::measure::tests::{Object, damages, seen, sound, whole};
use super::super::summary_of;
use super::super::tests::{Choices, find, footer_at, summary_start};
use super::*;
use crate::domain::measurement::FindingKind;

/// A message with everything that belongs to it.
#[derive(Clone, Debug, PartialEq)]
struct Whole {
    channel: u16,
    topic: String,
    message_encoding: String,
    schema: Option<(u16, String, String, Vec<u8>)>,
    sequence: u32,
    times: (u64, u64),
    payload: Vec<u8>,
}

impl Whole {
    fn of(message: mcap::Message<'_>) -> Self {
        let channel = &message.channel;
        let schema = channel.schema.as_ref();
        Self {
            channel: channel.id,
            topic: channel.topic.clone(),
            message_encoding: channel.message_encoding.clone(),
            schema: schema.map(|schema| (schema.id, schema.name.clone(), schema.encoding.clone(), schema.data.to_vec())),
            sequence: message.sequence,
            times: (message.log_time, message.publish_time),
            payload: message.data.to_vec(),
        }
    }
}

/// All messages, by another reader, which checks what has a checksum.
fn messages(file: &[u8]) -> Vec<Whole> {
    mcap::MessageStream::new(file).expect("a recording").map(|message| Whole::of(message.expect("a message"))).collect()
}

/// Those of each chunk, with where it ends.
fn by_chunk(file: &[u8]) -> Vec<(std::ops::Range<u64>, Vec<Whole>)> {
    let summary = mcap::Summary::read(file).expect("a sound file").expect("a summary");
    let of = |index: &mcap::records::ChunkIndex| {
        let range = index.chunk_start_offset..index.chunk_start_offset + index.chunk_length;
        let messages = summary.stream_chunk(file, index).expect("a chunk").map(|message| Whole::of(message.expect("a message")));
        (range, messages.collect())
    };
    let mut all: Vec<_> = summary.chunk_indexes.iter().map(of).collect();
    all.sort_by_key(|(range, _)| range.start);
    all
}

fn salvage_within(file: &[u8], chunk_bytes_max: u64) -> (Salvaged, Vec<u8>) {
    let known = known(&Object(file), file.len() as u64).now_or_never().expect("no wait").expect("bytes in memory");
    let mut written = vec![];
    let salvaged = salvage(file, &known, chunk_bytes_max, &mut written).expect("bytes in memory");
    (salvaged, written)
}

/// What comes of a file, after it was looked at: it is sound, and is what is said of it.
pub fn salvaged(file: &[u8], chunk_bytes_max: u64) -> (Salvaged, Vec<u8>) {
    let (salvaged, written) = salvage_within(file, chunk_bytes_max);
    let facts = whole(&written);
    assert!(facts.findings.is_empty() && seen(&written).lacks().is_none(), "{:?}", facts.findings);
    assert_eq!(facts.message_count, salvaged.messages_kept);
    assert_eq!(messages(&written).len() as u64, salvaged.messages_kept);
    let sha256 = |bytes: &[u8]| hex::encode(<sha2::Sha256 as sha2::Digest>::digest(bytes));
    assert_eq!((&salvaged.sha256, salvaged.size_bytes), (&sha256(&written), written.len() as u64));
    assert_eq!((&salvaged.parent_sha256, salvaged.parent_size_bytes), (&sha256(file), file.len() as u64));
    let size = file.len() as u64;
    assert!(salvaged.missing.items.iter().all(|missing| missing.at.checked_add(missing.bytes).is_some_and(|end| end <= size)));
    assert!(salvaged.missing_bytes <= size && (salvaged.missing_bytes == 0 || !salvaged.missing.is_empty()), "{salvaged:?}");
    if salvaged.ranges.cut == 0 {
        assert_eq!(salvaged.ranges.items.iter().map(|range| range.messages).sum::<u64>(), salvaged.messages_kept);
    }
    (salvaged, written)
}

fn good(file: &[u8]) -> (Salvaged, Vec<u8>) {
    salvaged(file, CHUNK_BYTES_MAX)
}

const PACKED: [Option<mcap::Compression>; 3] = [None, Some(mcap::Compression::Zstd), Some(mcap::Compression::Lz4)];

#[test]
fn of_each_damage_everything_outside_of_it_is_kept() {
    for compression in PACKED {
        let file = sound(compression);
        let chunks = by_chunk(&file);
        let size = file.len() as u64;
        for damage in damages(&file) {
            let at = format!("damage {} at {}, {compression:?}", damage.number, damage.place);
            let (salvaged, written) = good(&damage.file);
            let is_kept = |range: &std::ops::Range<u64>| match damage.number {
                3 => range.end <= damage.place,
                6..=8 => !range.contains(&damage.place),
                _ => true,
            };
            let kept = || chunks.iter().filter(|(range, _)| is_kept(range));
            let expected: Vec<Whole> = kept().flat_map(|(_, messages)| messages.clone()).collect();
            assert!(messages(&written) == expected, "{at}: {salvaged:?}");
            assert_eq!(salvaged.chunks_kept, kept().count() as u64, "{at}");
            let costs = matches!(damage.number, 3 | 6..=8);
            assert_eq!((salvaged.chunks_lost, salvaged.chunks_in_part, salvaged.left_out.len()), (u64::from(costs), 0, 0), "{at}");
            // A cut behind the data section cuts what was behind it, where its end record is cut, too.
            let missing = &salvaged.missing.items;
            if costs {
                assert!(
                    missing.len() == 1 && (missing[0].at..=missing[0].at + missing[0].bytes).contains(&damage.place),
                    "{at}: {missing:?}"
                );
            } else {
                assert!(
                    missing.iter().all(|one| one.kind == FindingKind::Cut && damage.number == 4 && one.bytes == 0),
                    "{at}: {missing:?}"
                );
            }
            assert!(salvaged.ranges.items.iter().all(|range| range.at + range.bytes <= size && range.from_ns <= range.to_ns), "{at}");
            // What is told, the file tells, too.
            let summary = mcap::Summary::read(&written).unwrap().unwrap();
            let index = summary.metadata_indexes.iter().find(|index| index.name == "salvage").expect("its record");
            let told = mcap::read::metadata(&written, index).expect("metadata").metadata;
            assert_eq!(
                (told["parent_sha256"].as_str(), told["messages_kept"].as_str()),
                (salvaged.parent_sha256.as_str(), &*expected.len().to_string())
            );
            let said: serde_json::Value = serde_json::from_str(&told["missing"]).unwrap();
            assert_eq!(said.as_array().map(Vec::len), Some(missing.len()), "{at}");
        }
    }
}

#[test]
fn the_same_bytes_are_salvaged_to_the_same_bytes_in_whatever_pieces() {
    let file = damages(&sound(Some(mcap::Compression::Zstd))).into_iter().find(|damage| damage.number == 7).unwrap().file;
    let (expected, written) = good(&file);
    let known = known(&Object(&file), file.len() as u64).now_or_never().unwrap().unwrap();
    for piece in [1, 777, 1 << 20] {
        let mut again = vec![];
        let salvaged = salvage(BufReader::with_capacity(piece, &file[..]), &known, CHUNK_BYTES_MAX, &mut again).unwrap();
        assert!(salvaged == expected && again == written, "{piece}");
    }
    let (first, second) = (&expected.ranges.items[0], expected.ranges.items.last().unwrap());
    assert_eq!(expected.missing.items[0].chunk, Some(0));
    assert_eq!(expected.missing_bytes, expected.missing.items[0].bytes);
    assert_eq!((expected.ranges.len(), first), (1, second), "the first chunk is lost, and what follows is one range");
}

/// What lies across chunks: where the summary says that the next one begins, it goes on.
#[test]
fn a_length_that_leads_nowhere_costs_no_more_than_its_chunk() {
    let file = sound(Some(mcap::Compression::Zstd));
    let chunks = by_chunk(&file);
    let all = chunks.iter().map(|(_, messages)| messages.len()).sum::<usize>();
    let (lost, next) = (&chunks[1], &chunks[2]);
    // Indexes of the second chunk, and the beginning of the third one.
    let mut zeros = file.clone();
    zeros[lost.0.end as usize + 3..next.0.start as usize + 40].fill(0);
    let (salvaged, written) = good(&zeros);
    assert!(messages(&written).len() == all - next.1.len() && salvaged.chunks_lost == 1, "{salvaged:?}");
    assert_eq!(salvaged.missing.items[0].at, next.0.start);
    assert_eq!((salvaged.ranges.len(), salvaged.missing.len()), (2, 1), "{salvaged:?}");

    // Only the length of a chunk is wrong, whose checksum tells that it is whole.
    for (at, byte) in [(1, 0xff), (3, 0xff), (8, 0xff), (0, 0x05)] {
        let mut length = file.clone();
        length[lost.0.start as usize + at] ^= byte;
        let (salvaged, written) = good(&length);
        assert!(messages(&written) == messages(&file), "byte {at}: {salvaged:?}");
        assert!(salvaged.missing.is_empty(), "byte {at}: {salvaged:?}");
    }

    // Without a summary nobody knows where the next one begins.
    let mut cut = zeros[..summary_start(&file)].to_vec();
    let (salvaged, written) = good(&cut);
    assert_eq!(messages(&written).len(), chunks[0].1.len() + lost.1.len());
    let missing = &salvaged.missing.items[0];
    assert_eq!(missing.at + missing.bytes, cut.len() as u64, "{missing:?}");
    // A header that is gone takes only the profile with it.
    cut = file.clone();
    cut[..chunks[0].0.start as usize].fill(0);
    let (salvaged, written) = good(&cut);
    assert!(messages(&written) == messages(&file), "{salvaged:?}");
}

#[test]
fn messages_that_nothing_describes_are_counted_and_not_kept() {
    let file = sound(Some(mcap::Compression::Zstd));
    let chunks = by_chunk(&file);
    // The first chunk describes all channels; the summary that does it again is cut.
    let mut cut = file[..summary_start(&file)].to_vec();
    cut[chunks[0].0.start as usize + 33] ^= 1;
    let (salvaged, written) = good(&cut);
    assert_eq!((messages(&written).len(), salvaged.chunks_in_part), (0, chunks.len() as u64 - 1));
    let nameless: Vec<&str> =
        salvaged.missing.items.iter().filter(|one| one.text.contains("nothing that is left")).map(|one| &*one.text).collect();
    let behind: usize = chunks[1..].iter().map(|(_, messages)| messages.len()).sum();
    let counted: usize = nameless.iter().map(|text| text.split(' ').next().unwrap().parse::<usize>().unwrap()).sum();
    assert_eq!((nameless.len(), counted), (3, behind), "{nameless:?}");
}

#[test]
fn what_is_larger_than_is_held_is_left_out_and_said() {
    let file = sound(Some(mcap::Compression::Zstd));
    let chunks = by_chunk(&file);
    let (salvaged, written) = salvaged(&file, 1000);
    assert_eq!((messages(&written).len(), salvaged.chunks_lost, salvaged.left_out.len()), (0, chunks.len() as u64, chunks.len() as u64));
    assert!(salvaged.missing.is_empty() && salvaged.left_out.items[0].why.contains("more than are held"), "{:?}", salvaged.left_out);
}

#[test]
fn of_a_chunk_without_a_checksum_records_are_kept_up_to_the_first_that_cannot_be() {
    let choices = Choices { bits: 0x3fff & !(1 << 3 | 1 << 4), compression: None, chunk_bytes: 1 << 20 };
    let file = choices.write(30);
    let chunk = &summary_of(&file).unwrap().chunks[0];
    // Behind the fields of a chunk without a packing; descriptions come first.
    let records = chunk.start as usize + 9 + 28 + 4 + 8;
    let mut at = records;
    let mut seen = 0;
    while seen < 10 {
        seen += usize::from(file[at] == 0x05);
        at += 9 + u64::from_le_bytes(file[at + 1..at + 9].try_into().unwrap()) as usize;
    }
    let mut damaged = file.clone();
    assert_eq!(damaged[at], 0x05);
    damaged[at] = 0x02;
    let (salvaged, written) = good(&damaged);
    assert!(messages(&written) == messages(&file)[..10], "{salvaged:?}");
    assert_eq!((salvaged.chunks_in_part, salvaged.missing.len(), salvaged.missing.items[0].chunk), (1, 1, Some(0)));
}

#[test]
fn a_recording_without_chunks_is_kept_up_to_its_last_whole_record() {
    let choices = Choices { bits: 0b100_0000_0000_0000 | 0x70, compression: None, chunk_bytes: 1 };
    let file = choices.write(30);
    let all = messages(&file);
    let ends = |n: usize| {
        let mut at = 8;
        let mut seen = 0;
        while seen < n {
            seen += usize::from(file[at] == 0x05);
            at += 9 + u64::from_le_bytes(file[at + 1..at + 9].try_into().unwrap()) as usize;
        }
        at
    };
    for (cut, kept) in [(ends(20), 20), (ends(20) - 1, 19), (ends(20) + 8, 20), (ends(20) + 12, 20)] {
        let (salvaged, written) = good(&file[..cut]);
        assert!(messages(&written) == all[..kept], "cut at {cut}: {salvaged:?}");
        assert_eq!((salvaged.missing.len(), salvaged.missing.items[0].kind), (1, FindingKind::Cut));
        assert_eq!(salvaged.attachments_kept, 1);
    }
    // An attachment whose checksum does not match is not kept.
    let mut damaged = file.clone();
    let place = file.windows(11).position(|bytes| bytes == b"calibration").unwrap();
    damaged[place] ^= 1;
    let (salvaged, written) = good(&damaged);
    assert!(messages(&written) == all && salvaged.attachments_kept == 0, "{salvaged:?}");
    assert_eq!(salvaged.missing.items[0].kind, FindingKind::AttachmentCrc);
}

#[test]
fn what_is_described_in_two_ways_is_not_believed() {
    let choices = Choices { bits: 0x3fff & !1, compression: None, chunk_bytes: 1 };
    let file = choices.write(30);
    let all = messages(&file);
    // The channel of every other message again, with another topic, behind the tenth message.
    let data = &file[8..summary_start(&file)];
    let channel = find(data, 0x04);
    let mut again = data[channel.start - 9..channel.end].to_vec();
    let topic = again.windows(8).position(|bytes| bytes == b"/chatter").unwrap();
    again[topic + 1] = b'C';
    let (mut at, mut seen) = (8, 0);
    while seen < 10 {
        seen += usize::from(file[at] == 0x05);
        at += 9 + u64::from_le_bytes(file[at + 1..at + 9].try_into().unwrap()) as usize;
    }
    let damaged = [&file[..at], &again, &file[at..]].concat();
    let (salvaged, written) = good(&damaged);
    let expected: Vec<Whole> =
        all.iter().enumerate().filter(|(n, one)| *n < 10 || one.topic != "/chatter").map(|(_, one)| one.clone()).collect();
    assert!(messages(&written) == expected, "{salvaged:?}");
    assert!(
        salvaged.missing.items.iter().any(|one| one.text == "10 messages of channel 1, which is described in two ways"),
        "{salvaged:?}"
    );
}

#[test]
fn what_is_no_recording_has_nothing_that_is_good() {
    for file in [&b""[..], b"\x89MCAP0\r\n", &[0; 40], &[0x55; 4000]] {
        let (salvaged, _) = good(file);
        assert_eq!((salvaged.messages_kept, salvaged.ranges.len(), salvaged.missing.len()), (0, 0, 1), "{salvaged:?}");
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("no disk"))
    }
}

/// Takes so many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or_else(|| io::Error::other("no room"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_cannot_be_read_or_written_is_an_error_and_says_which() {
    let file = sound(Some(mcap::Compression::Lz4));
    let known = known(&Object(&file), file.len() as u64).now_or_never().unwrap().unwrap();
    let unread = salvage(BufReader::new((&file[..file.len() / 2]).chain(Broken)), &known, CHUNK_BYTES_MAX, io::sink());
    assert!(matches!(unread, Err(SalvageError::Read(_))), "{unread:?}");
    for (shorter, text) in [(&file[..file.len() - 1], "ended"), (&[&file[..], b"x"].concat(), "grew")] {
        let changed = salvage(shorter, &known, CHUNK_BYTES_MAX, io::sink());
        assert!(matches!(changed, Err(SalvageError::Read(_))), "{text}: {changed:?}");
    }
    for room in [0, 100, 1 << 20] {
        let unwritten = salvage(&file[..], &known, CHUNK_BYTES_MAX, Full(room));
        assert!(matches!(unwritten, Err(SalvageError::Write(_))), "{room}: {unwritten:?}");
    }
    assert!(footer_at(&file) > 1 << 20, "the last one fails while the summary is not yet written");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_sound_file_is_salvaged_to_the_same_messages_and_so_is_what_comes_of_it(choices in Choices::every(), count in 0..40u32) {
        let file = choices.write(count);
        let (salvaged, written) = good(&file);
        let all = messages(&file);
        prop_assert!(messages(&written) == all, "{:?}", salvaged);
        prop_assert!(salvaged.missing.is_empty() && salvaged.left_out.is_empty(), "{:?}", salvaged);
        prop_assert_eq!((salvaged.metadata_kept, salvaged.attachments_kept), (2, u64::from(choices.has(14) && count > 3)));
        prop_assert_eq!(salvaged.ranges.len(), u64::from(count > 0));
        let facts = whole(&written);
        prop_assert_eq!(&facts.profile, "ros2");
        prop_assert_eq!(facts.metadata.items.iter().map(String::as_str).collect::<Vec<_>>(), ["axon.task", "axon.device", "salvage"]);
        let (again, twice) = good(&written);
        prop_assert!(messages(&twice) == all, "{:?}", again);
        prop_assert_eq!((again.parent_sha256, again.metadata_kept), (salvaged.sha256, 3));
    }

    /// Where everything has a checksum, nothing that was not there before is kept; a schema may be lost, and that is said.
    #[test]
    fn what_is_kept_was_there(choices in Choices::every(), at in any::<usize>(), flip in 1..=255u8, cut in any::<Option<usize>>()) {
        let file = Choices { bits: choices.bits | 0b111_1001, ..choices }.write(12);
        let all = messages(&file);
        let mut damaged = file.clone();
        let at = at % file.len();
        damaged[at] ^= flip;
        damaged.truncate(cut.map_or(file.len(), |cut| cut % file.len()));
        let (salvaged, written) = good(&damaged);
        let mut rest = all.iter();
        let without_schema = salvaged.left_out.items.iter().any(|one| one.why.starts_with("schema 1 of"));
        for kept in messages(&written) {
            let is = |one: &Whole| *one == kept || (without_schema && Whole { schema: None, ..one.clone() } == kept);
            prop_assert!(rest.any(is), "byte {} ^ {:#x}: {:?} in {:?}", at, flip, kept, salvaged);
        }
    }
}
