use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Mutex;

use bytes::Bytes;
use mcap::records::MessageHeader;

use super::summary::TRAILER_BYTES;
use super::*;

/// A recording as a device writes it: two topics, several chunks, one metadata record.
fn recording(messages: u32, chunk_bytes: u64) -> Vec<u8> {
    let options =
        mcap::WriteOptions::new().profile("ros2").library("test").chunk_size(Some(chunk_bytes)).compression(Some(mcap::Compression::Zstd));
    let mut writer = options.create(std::io::Cursor::new(Vec::new())).unwrap();
    let schema = writer.add_schema("std_msgs/String", "ros2msg", b"string data").unwrap();
    let channels = ["/chatter", "/camera0/rgb"].map(|topic| writer.add_channel(schema, topic, "cdr", &BTreeMap::new()).unwrap());
    for sequence in 0..messages {
        let log_time = 1_795_204_387_000_000_000 + u64::from(sequence) * 1_000_000;
        let header = MessageHeader { channel_id: channels[sequence as usize % 2], sequence, log_time, publish_time: log_time };
        let payload: Vec<u8> = (0..64).map(|i: u32| (sequence * 7 + i * 13) as u8).collect();
        writer.write_to_known_channel(&header, &payload).unwrap();
    }
    writer
        .write_metadata(&mcap::records::Metadata { name: "axon.task".into(), metadata: BTreeMap::from([("task_id".into(), "t".into())]) })
        .unwrap();
    writer.finish().unwrap();
    writer.into_inner().into_inner()
}

fn footer_at(file: &[u8]) -> usize {
    file.len() - TRAILER_BYTES as usize
}

fn summary_start(file: &[u8]) -> usize {
    let at = footer_at(file) + 9;
    u64::from_le_bytes(file[at..at + 8].try_into().unwrap()) as usize
}

/// Changes a file's summary section and footer and makes the CRC fit again, as a writer with a bug would.
fn rewritten(mut file: Vec<u8>, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let start = summary_start(&file);
    let crc_at = footer_at(&file) + 25;
    change(&mut file[start..crc_at]);
    let crc = crc32fast::hash(&file[start..crc_at]);
    file[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    file
}

/// Offset and body length of the first record with `opcode`, in a section that `rewritten` hands out.
fn find(section: &[u8], opcode: u8) -> Range<usize> {
    let mut at = 0;
    loop {
        let len = u64::from_le_bytes(section[at + 1..at + 9].try_into().unwrap()) as usize;
        if section[at] == opcode {
            return at + 9..at + 9 + len;
        }
        at += 9 + len;
    }
}

#[test]
fn a_sound_recording_tells_what_it_holds() {
    let facts = summary_of(&recording(101, 1024)).unwrap();
    assert_eq!((facts.profile.as_str(), facts.library.as_str()), ("ros2", "test"));
    assert_eq!(facts.message_count, 101);
    assert_eq!(facts.topics(), BTreeMap::from([("/chatter", 51), ("/camera0/rgb", 50)]));
    assert_eq!(facts.end_ns - facts.start_ns, 100_000_000);
    assert!(facts.chunks.len() > 3, "{} chunks", facts.chunks.len());
    assert!(facts.chunks.iter().all(|chunk| chunk.compression == "zstd"));
    assert_eq!(facts.metadata, ["axon.task"]);
    assert!(matches!(facts.summary_crc, SummaryCrc::Matches(_)));
    let chatter = &facts.channels[0];
    assert_eq!(chatter.message_type, "std_msgs/String");
    assert_eq!(chatter.schema_encoding, "ros2msg");
    assert_eq!(chatter.message_encoding, "cdr");
    assert_eq!(chatter.schema_bytes, 11);
}

#[test]
fn a_recording_without_messages_is_sound() {
    let facts = summary_of(&recording(0, 1024)).unwrap();
    assert_eq!((facts.message_count, facts.end_ns), (0, 0));
    assert_eq!(facts.topics(), BTreeMap::from([("/chatter", 0), ("/camera0/rgb", 0)]));
}

#[test]
fn no_truncation_is_sound() {
    let file = recording(20, 256);
    for len in 0..file.len() {
        assert!(summary_of(&file[..len]).is_err(), "cut to {len} of {} bytes", file.len());
    }
}

#[test]
fn no_flipped_byte_in_magic_summary_or_footer_is_sound() {
    let file = recording(20, 256);
    let regions = [0..8, summary_start(&file)..file.len()];
    for at in regions.into_iter().flatten() {
        for bit in [0x01, 0x80, 0xFF] {
            let mut damaged = file.clone();
            damaged[at] ^= bit;
            assert!(summary_of(&damaged).is_err(), "byte {at} ^ {bit:#x} of {}", file.len());
        }
    }
}

/// Without a CRC nothing but the structure protects the summary, and reading must still end.
#[test]
fn arbitrary_summaries_without_crc_are_read_to_an_end() {
    let file = recording(20, 256);
    let crc_at = footer_at(&file) + 25;
    for at in summary_start(&file)..crc_at {
        for byte in [0x00, 0x01, 0x7F, 0xFF] {
            let mut damaged = file.clone();
            damaged[at] = byte;
            damaged[crc_at..crc_at + 4].fill(0);
            let _ = summary_of(&damaged);
        }
    }
}

#[test]
fn each_defect_is_named() {
    let file = recording(20, 256);
    let size = file.len() as u64;
    let (footer, start) = (footer_at(&file), summary_start(&file));
    let with = |at: usize, bytes: &[u8]| {
        let mut damaged = file.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        summary_of(&damaged).unwrap_err()
    };
    let rewrite = |change: &dyn Fn(&mut [u8])| summary_of(&rewritten(file.clone(), |section| change(section))).unwrap_err();

    assert_eq!(summary_of(&[]).unwrap_err(), Unsound::TooShort { size: 0 });
    assert_eq!(with(0, b"\x00"), Unsound::Magic { at: 0, found: *b"\x00MCAP0\r\n" });
    assert_eq!(with(footer + 30, b"X"), Unsound::Magic { at: size - 8, found: *b"\x89XCAP0\r\n" });
    assert!(matches!(with(8, &[2]), Unsound::Header { opcode: 2, .. }));
    assert!(matches!(with(9, &u64::MAX.to_le_bytes()), Unsound::Header { len: u64::MAX, .. }));
    assert_eq!(with(footer, &[3]), Unsound::Footer { at: footer as u64, opcode: 3, len: 20 });
    assert_eq!(with(footer + 9, &[0; 8]), Unsound::NoSummary);
    assert_eq!(
        with(footer + 9, &(footer as u64 + 1).to_le_bytes()),
        Unsound::SummaryStart { found: footer as u64 + 1, expected: 8..footer as u64 }
    );
    assert_eq!(with(footer + 17, &7u64.to_le_bytes()), Unsound::SummaryOffsetStart { found: 7, expected: start as u64..footer as u64 });
    assert!(matches!(with(footer + 25, &[1, 2, 3, 4]), Unsound::SummaryCrc { .. }));

    // A record that claims to be larger than everything.
    assert_eq!(
        rewrite(&|section| section[1..9].copy_from_slice(&u64::MAX.to_le_bytes())),
        Unsound::RecordOverruns { at: start as u64, end: footer as u64 }
    );
    assert_eq!(rewrite(&|section| section[0] = 0x06), Unsound::Misplaced { at: start as u64, opcode: 6 });
    // A name that claims to be longer than its record.
    assert_eq!(
        rewrite(&|section| section[11..15].copy_from_slice(&u32::MAX.to_le_bytes())),
        Unsound::Malformed { at: start as u64, opcode: 3 }
    );
    let statistics = |change: &dyn Fn(&mut [u8])| {
        rewrite(&|section| {
            let body = find(section, 0x0B);
            change(&mut section[body]);
        })
    };
    assert_eq!(
        statistics(&|body| body[..8].copy_from_slice(&21u64.to_le_bytes())),
        Unsound::MessageCount { message_count: 21, in_channels: 20 }
    );
    assert!(matches!(statistics(&|body| body[22..26].copy_from_slice(&99u32.to_le_bytes())), Unsound::ChunkCount { chunk_count: 99, .. }));
    assert_eq!(
        rewrite(&|section| {
            let body = find(section, 0x0B);
            section[body.start - 9] = 0x7F;
        }),
        Unsound::NoStatistics
    );
    let chunk = |change: &dyn Fn(&mut [u8])| {
        rewrite(&|section| {
            let body = find(section, 0x08);
            change(&mut section[body]);
        })
    };
    assert!(matches!(
        chunk(&|body| body[16..24].copy_from_slice(&u64::MAX.to_le_bytes())),
        Unsound::OutsideData { what: "chunk", start: u64::MAX, .. }
    ));
    let long = (start as u64 - 200).to_le_bytes();
    assert!(matches!(chunk(&|body| body[24..32].copy_from_slice(&long)), Unsound::ChunksOverlap { .. }));
    assert!(matches!(chunk(&|body| body[24..32].copy_from_slice(&1u64.to_le_bytes())), Unsound::ChunkLength { chunk_bytes: 1, .. }));
    assert!(matches!(
        rewrite(&|section| {
            let body = find(section, 0x0D);
            section[body.start..body.start + 8].fill(0);
        }),
        Unsound::OutsideData { what: "metadata record", start: 0, .. }
    ));
}

/// An object in memory that remembers what was asked of it.
struct Object {
    bytes: Bytes,
    asked: Mutex<Vec<Range<u64>>>,
}

impl Object {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), asked: Mutex::default() }
    }
}

impl RangedRead for Object {
    type Error = Infallible;

    async fn read(&self, range: Range<u64>) -> Result<Bytes, Infallible> {
        self.asked.lock().unwrap().push(range.clone());
        let end = range.end.min(self.bytes.len() as u64);
        Ok(self.bytes.slice(range.start as usize..end as usize))
    }
}

#[tokio::test]
async fn a_small_recording_is_read_at_once() {
    let file = recording(20, 256);
    let expected = summary_of(&file).unwrap();
    let object = Object::new(file);
    let size = object.bytes.len() as u64;
    assert_eq!(read_summary(&object, size).await.unwrap(), expected);
    assert_eq!(object.asked.lock().unwrap().as_slice(), std::slice::from_ref(&(0..size)));
}

#[tokio::test]
async fn a_large_recording_costs_its_tail_and_its_head() {
    let file = recording(200_000, 1 << 20);
    let expected = summary_of(&file).unwrap();
    let object = Object::new(file);
    let size = object.bytes.len() as u64;
    assert!(size > 1_000_000, "{size}");
    assert_eq!(read_summary(&object, size).await.unwrap(), expected);
    let asked = object.asked.lock().unwrap().clone();
    assert_eq!(asked, [size - 250_000..size, 0..4096]);
}

#[tokio::test]
async fn a_summary_larger_than_the_tail_costs_one_more_read() {
    let file = recording(8_000, 1);
    let expected = summary_of(&file).unwrap();
    assert!(expected.summary_bytes > 300_000, "{}", expected.summary_bytes);
    let object = Object::new(file);
    let size = object.bytes.len() as u64;
    assert_eq!(read_summary(&object, size).await.unwrap(), expected);
    assert_eq!(object.asked.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn an_object_shorter_than_announced_is_no_verdict() {
    let object = Object::new(recording(20, 256));
    let size = object.bytes.len() as u64 + 1;
    let error = read_summary(&object, size).await.unwrap_err();
    assert!(matches!(error, ReadSummaryError::ShortRead { .. }), "{error}");
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let mut file = b"\x89MCAP0\r\n".to_vec();
        file.extend(bytes);
        file.extend(b"\x89MCAP0\r\n");
        assert!(summary_of(&file).is_err());
    }
}

/// Real recordings lie beside the project; without them there is nothing to say.
fn shared(folder: &str) -> Vec<(String, Vec<u8>)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(folder);
    let Ok(entries) = std::fs::read_dir(&root) else {
        eprintln!("skipped: no recordings in {}", root.display());
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "mcap"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect()
}

#[test]
fn recordings_of_real_devices_are_sound_except_the_truncated_one() {
    for (name, file) in shared("axon/recordings") {
        match (name.as_str(), summary_of(&file)) {
            ("truncated-by-sigkill.mcap", Err(Unsound::Magic { at, .. })) => {
                assert_eq!(at, file.len() as u64 - 8);
            }
            ("truncated-by-sigkill.mcap", other) => panic!("{name}: {other:?}"),
            (_, Err(error)) => panic!("{name}: {error}"),
            ("empty.mcap", Ok(facts)) => assert_eq!(facts.message_count, 0),
            ("multi-topic.mcap", Ok(facts)) => {
                assert_eq!((facts.message_count, facts.profile.as_str()), (221, "ros2"));
                let counts = [("/camera0/rgb", 31), ("/chatter", 31), ("/udp/can", 45), ("/udp/gps", 114)];
                assert_eq!(facts.topics(), BTreeMap::from(counts));
                assert_eq!(facts.metadata.len(), 5);
            }
            ("with-attachments.mcap", Ok(facts)) => assert!(!facts.attachments.is_empty()),
            (_, Ok(_)) => {}
        }
    }
}

/// Files of other writers: what is merely not indexed is never called damaged.
#[test]
fn recordings_of_other_writers_are_sound_or_not_indexed() {
    for (name, file) in shared("mcap") {
        match summary_of(&file) {
            Ok(facts) => assert!(facts.chunks.len() as u64 <= facts.message_count, "{name}"),
            Err(unsound) => assert!(!unsound.is_damage(), "{name}: {unsound}"),
        }
    }
}

#[test]
fn recordings_of_real_devices_do_not_survive_a_cut_or_a_flip() {
    for (name, file) in shared("axon/recordings") {
        if file.len() > 20_000 {
            continue;
        }
        for len in 0..file.len() {
            assert!(summary_of(&file[..len]).is_err(), "{name} cut to {len}");
        }
        for at in (0..8).chain(summary_start(&file)..file.len()) {
            let mut damaged = file.clone();
            damaged[at] ^= 0x10;
            assert!(summary_of(&damaged).is_err(), "{name} flipped at {at}");
        }
    }
}
