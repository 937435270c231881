use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Mutex;

use bytes::Bytes;
use mcap::records::MessageHeader;

use super::records::opcode;
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

pub fn footer_at(file: &[u8]) -> usize {
    file.len() - TRAILER_BYTES as usize
}

pub fn summary_start(file: &[u8]) -> usize {
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
pub fn find(section: &[u8], opcode: u8) -> Range<usize> {
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
    assert_eq!(measure::look(&object, size).await.unwrap().summary.unwrap(), expected);
    assert_eq!(object.asked.lock().unwrap().as_slice(), std::slice::from_ref(&(0..size)));
}

#[tokio::test]
async fn a_large_recording_costs_its_tail_and_its_head() {
    let file = recording(200_000, 1 << 20);
    let expected = summary_of(&file).unwrap();
    let object = Object::new(file);
    let size = object.bytes.len() as u64;
    assert!(size > 1_000_000, "{size}");
    assert_eq!(measure::look(&object, size).await.unwrap().summary.unwrap(), expected);
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
    assert_eq!(measure::look(&object, size).await.unwrap().summary.unwrap(), expected);
    assert_eq!(object.asked.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn an_object_shorter_than_announced_is_no_verdict() {
    let object = Object::new(recording(20, 256));
    let size = object.bytes.len() as u64 + 1;
    let error = measure::look(&object, size).await.err().unwrap();
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
pub fn shared(folder: &str) -> Vec<(String, Vec<u8>)> {
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

/// What verification does: the summary, and all of it where the summary does not do.
fn verdict(file: &[u8]) -> Result<SummaryFacts, Unsound> {
    match summary_of(file) {
        Err(lacking) if !lacking.is_damage() => read_through(file, file.len() as u64),
        verdict => verdict,
    }
}

/// Files of other writers: all of them are sound, and both ways of reading find the same.
#[test]
fn recordings_of_other_writers_are_sound() {
    for (name, file) in shared("mcap") {
        let read = read_through(&file[..], file.len() as u64).unwrap_or_else(|unsound| panic!("{name}: {unsound}"));
        match summary_of(&file) {
            Ok(facts) => {
                assert_eq!((facts.message_count, facts.start_ns, facts.end_ns), (read.message_count, read.start_ns, read.end_ns), "{name}");
                let counts =
                    |facts: &SummaryFacts| facts.channels.iter().map(|c| (c.id, c.message_count)).filter(|c| c.1 > 0).collect::<Vec<_>>();
                assert_eq!(counts(&facts), counts(&read), "{name}");
            }
            Err(unsound) => assert!(!unsound.is_damage(), "{name}: {unsound}"),
        }
    }
}

/// Each shows one thing that a public reader got wrong; the table in its folder says what is right.
#[test]
fn odd_recordings_are_called_what_they_are() {
    for (name, file) in shared("mcap-odd") {
        let size = file.len() as u64;
        let (summary, read) = (summary_of(&file), read_through(&file[..], size));
        let counts = (summary.as_ref().map(|facts| facts.message_count).ok(), read.as_ref().map(|facts| facts.message_count).ok());
        let expected = match name.split('_').next().unwrap() {
            "m02" | "m05" | "m09" | "m12" | "m16" | "m19" => (Some(5), Some(5)),
            "m03" | "m06" => (Some(3), Some(3)),
            "m10" => {
                assert!(matches!(read, Err(Unsound::InChunk { start: 33, .. })), "{name}: {read:?}");
                (Some(200), None)
            }
            "m14" | "m14b" => {
                assert!(!summary.unwrap_err().is_damage(), "{name}");
                (None, Some(3))
            }
            "m17" => (None, None),
            other => panic!("{other} is new"),
        };
        assert_eq!(counts, expected, "{name}: {read:?}");
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

/// What a writer may choose.
#[derive(Clone, Copy, Debug)]
pub struct Choices {
    pub bits: u32,
    pub compression: Option<mcap::Compression>,
    pub chunk_bytes: u64,
}

impl Choices {
    pub fn has(self, bit: u32) -> bool {
        self.bits & (1 << bit) != 0
    }

    pub fn every() -> impl proptest::strategy::Strategy<Value = Self> {
        use proptest::prelude::*;
        let compression = prop_oneof![Just(None), Just(Some(mcap::Compression::Zstd)), Just(Some(mcap::Compression::Lz4))];
        (0..1u32 << 15, compression, prop_oneof![Just(1u64), Just(200), Just(1 << 20)]).prop_map(|(bits, compression, chunk_bytes)| Self {
            bits,
            compression,
            chunk_bytes,
        })
    }

    /// Three topics, one of them without a schema and one without messages, an attachment and two metadata records.
    pub fn write(self, messages: u32) -> Vec<u8> {
        let options = mcap::WriteOptions::new()
            .profile("ros2")
            .library("choices")
            .use_chunks(self.has(0))
            .compression(self.compression)
            .chunk_size(Some(self.chunk_bytes))
            .emit_summary_records(self.has(1))
            .emit_summary_offsets(self.has(2))
            .calculate_chunk_crcs(self.has(3))
            // Without CRCs of chunks the writer leaves them out of that of the section, too, and it is wrong.
            .calculate_data_section_crc(self.has(4) && (self.has(3) || !self.has(0)))
            .calculate_summary_section_crc(self.has(5))
            .calculate_attachment_crcs(self.has(6))
            .emit_message_indexes(self.has(7));
        // Each alone, over what the switch for all of them says.
        let options = if self.has(1) {
            options
                .emit_statistics(self.has(8))
                .emit_chunk_indexes(self.has(9))
                .emit_attachment_indexes(self.has(10))
                .emit_metadata_indexes(self.has(11))
                .repeat_channels(self.has(12))
                .repeat_schemas(self.has(13))
        } else {
            options
        };
        let mut writer = options.create(std::io::Cursor::new(Vec::new())).unwrap();
        let schema = writer.add_schema("std_msgs/String", "ros2msg", b"string data").unwrap();
        let channels = [(schema, "/chatter"), (0, "/raw"), (schema, "/silent")]
            .map(|(schema, topic)| writer.add_channel(schema, topic, "cdr", &BTreeMap::new()).unwrap());
        for sequence in 0..messages {
            let log_time = 1_795_204_387_000_000_000 + u64::from(sequence) * 1_000_000;
            let header = MessageHeader { channel_id: channels[sequence as usize % 2], sequence, log_time, publish_time: log_time };
            writer.write_to_known_channel(&header, &vec![sequence as u8; sequence as usize % 90]).unwrap();
            if sequence == 3 && self.has(14) {
                let data = std::borrow::Cow::Borrowed(&b"calibration"[..]);
                let (name, media_type) = ("arm.yaml".to_owned(), "text/yaml".to_owned());
                writer.attach(&mcap::Attachment { log_time, create_time: 0, name, media_type, data }).unwrap();
            }
        }
        for name in ["axon.task", "axon.device"] {
            writer.write_metadata(&mcap::records::Metadata { name: name.into(), metadata: BTreeMap::new() }).unwrap();
        }
        writer.finish().unwrap();
        writer.into_inner().into_inner()
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 400, ..Default::default() })]

    #[test]
    fn whatever_a_writer_chooses_is_sound_and_counted(choices in Choices::every(), messages in 0..40u32) {
        let file = choices.write(messages);
        let expected = BTreeMap::from([("/chatter", u64::from(messages.div_ceil(2))), ("/raw", u64::from(messages / 2)), ("/silent", 0)]);
        let read = read_through(&file[..], file.len() as u64).unwrap_or_else(|unsound| panic!("{choices:?}: {unsound}"));
        proptest::prop_assert_eq!(read.topics(), expected);
        proptest::prop_assert_eq!(&read.metadata, &["axon.task", "axon.device"]);
        proptest::prop_assert_eq!(read.attachments.len(), usize::from(choices.has(14) && messages > 3));
        let facts = verdict(&file).unwrap_or_else(|unsound| panic!("{choices:?}: {unsound}"));
        proptest::prop_assert_eq!(facts.message_count, u64::from(messages));
        if messages > 0 {
            proptest::prop_assert_eq!((facts.start_ns, facts.end_ns), (read.start_ns, read.end_ns));
        }
    }

    #[test]
    fn no_cut_is_sound_whatever_a_writer_chooses(choices in Choices::every(), cut in proptest::num::usize::ANY) {
        let file = choices.write(12);
        let file = &file[..cut % file.len()];
        proptest::prop_assert!(verdict(file).is_err());
        proptest::prop_assert!(read_through(file, file.len() as u64).is_err());
        proptest::prop_assert!(read_through(&[file, &[0; 16]].concat()[..], file.len() as u64 + 16).is_err());
    }

    /// With every checksum there is no byte that is not covered.
    #[test]
    fn no_flip_is_sound_where_there_are_checksums(choices in Choices::every(), at in proptest::num::usize::ANY, flip in 1..=255u8) {
        let mut file = Choices { bits: choices.bits | 0b111_1000, ..choices }.write(12);
        let at = at % file.len();
        file[at] ^= flip;
        let read = read_through(&file[..], file.len() as u64);
        proptest::prop_assert!(read.is_err(), "byte {} ^ {:#x}", at, flip);
    }

    /// Without them reading has to end, with whatever verdict.
    #[test]
    fn arbitrary_changes_are_read_to_an_end(choices in Choices::every(), changes in proptest::collection::vec((proptest::num::usize::ANY, proptest::num::u8::ANY), 1..6)) {
        let mut file = Choices { bits: choices.bits & !0b111_1000, ..choices }.write(12);
        for (at, byte) in changes {
            let at = at % file.len();
            file[at] = byte;
        }
        let _ = verdict(&file);
        let _ = read_through(&file[..], file.len() as u64);
    }
}

/// The summary written anew, record by record, as another writer would have written it.
fn with_summary(file: &[u8], change: impl Fn(u8, Vec<u8>) -> Vec<(u8, Vec<u8>)>) -> Vec<u8> {
    let (start, end) = (summary_start(file), footer_at(file));
    let mut out = file[..start].to_vec();
    let mut at = start;
    let push = |out: &mut Vec<u8>, opcode: u8, body: &[u8]| {
        out.push(opcode);
        out.extend((body.len() as u64).to_le_bytes());
        out.extend(body);
    };
    while at < end {
        let len = u64::from_le_bytes(file[at + 1..at + 9].try_into().unwrap()) as usize;
        for (opcode, body) in change(file[at], file[at + 9..at + 9 + len].to_vec()) {
            push(&mut out, opcode, &body);
        }
        at += 9 + len;
    }
    out.push(opcode::FOOTER);
    out.extend(20u64.to_le_bytes());
    out.extend((start as u64).to_le_bytes());
    out.extend(0u64.to_le_bytes());
    let crc = crc32fast::hash(&out[start..]);
    out.extend(crc.to_le_bytes());
    out.extend(b"\x89MCAP0\r\n");
    out
}

#[test]
fn what_the_format_leaves_open_is_no_damage() {
    let file = recording(20, 256);
    let same = |opcode, body| vec![(opcode, body)];
    assert_eq!(summary_of(&with_summary(&file, same)).unwrap().message_count, 20);

    // An empty map: the counts of channels are not known.
    let uncounted = with_summary(&file, |opcode, mut body| {
        if opcode == opcode::STATISTICS {
            body.truncate(42);
            body.extend(0u32.to_le_bytes());
        }
        vec![(opcode, body)]
    });
    assert_eq!(summary_of(&uncounted).unwrap_err(), Unsound::NoChannelCounts { message_count: 20 });
    let facts = verdict(&uncounted).unwrap();
    assert_eq!(facts.topics(), BTreeMap::from([("/chatter", 10), ("/camera0/rgb", 10)]));

    // Fields behind the known ones, in every record.
    let longer = with_summary(&file, |opcode, body| vec![(opcode, [body, vec![7; 9]].concat())]);
    assert_eq!(summary_of(&longer).unwrap().topics(), facts.topics());
    assert_eq!(read_through(&longer[..], longer.len() as u64).unwrap().topics(), facts.topics());

    // In the footer, too, which then does not begin where it usually does.
    let mut footer = longer.clone();
    let at = footer_at(&footer);
    footer.splice(at + 1..at + 9, 25u64.to_le_bytes());
    footer.splice(at + 29..at + 29, [0; 5]);
    let crc = crc32fast::hash(&footer[summary_start(&longer)..at + 25]);
    footer.splice(at + 25..at + 29, crc.to_le_bytes());
    assert!(matches!(summary_of(&footer), Err(Unsound::Footer { .. })));
    assert_eq!(verdict(&footer).unwrap().message_count, 20);

    // Records that only others know, and everything once more.
    let private = with_summary(&file, |opcode, body| vec![(opcode, body.clone()), (0x80, vec![1; 100]), (0x7f, vec![])]);
    assert_eq!(summary_of(&private).unwrap().message_count, 20);
    let twice = with_summary(&file, |opcode, body| {
        let again = matches!(opcode, opcode::SCHEMA | opcode::CHANNEL | opcode::STATISTICS);
        vec![(opcode, body); 1 + usize::from(again)]
    });
    assert_eq!(verdict(&twice).unwrap().topics(), facts.topics());
}

#[test]
fn a_header_of_any_length_is_read() {
    for (profile, library) in [(5_000, 5), (5, 5_000), (5_000, 100_000)] {
        let options = mcap::WriteOptions::new().profile("p".repeat(profile)).library("l".repeat(library));
        let mut writer = options.create(std::io::Cursor::new(Vec::new())).unwrap();
        writer.finish().unwrap();
        let file = writer.into_inner().into_inner();
        assert_eq!(summary_of(&file).unwrap().message_count, 0, "{profile} {library}");
        let read = read_through(&file[..], file.len() as u64).unwrap();
        assert_eq!((read.profile.len(), read.library.len()), (profile.min(4096), library.min(4096)));
    }
}

#[test]
fn as_many_channels_as_there_can_be_are_counted() {
    let options = mcap::WriteOptions::new().emit_summary_records(false);
    let mut writer = options.create(std::io::Cursor::new(Vec::new())).unwrap();
    for channel in 0..65_534u32 {
        let id = writer.add_channel(0, &format!("/arm/joint/{channel}"), "cdr", &BTreeMap::new()).unwrap();
        writer.write_to_known_channel(&MessageHeader { channel_id: id, sequence: 0, log_time: 1, publish_time: 1 }, b"x").unwrap();
    }
    writer.finish().unwrap();
    let file = writer.into_inner().into_inner();
    let facts = verdict(&file).unwrap();
    assert_eq!((facts.message_count, facts.channels.len()), (65_534, 65_534));
}

/// The kinds of damage that a file without a summary can have, each with its place.
#[test]
fn damage_is_found_without_a_summary() {
    let choices = Choices { bits: 0b1_1000 | 1, compression: None, chunk_bytes: 300 };
    let file = choices.write(40);
    let sound = read_through(&file[..], file.len() as u64).unwrap();
    assert_eq!(sound.message_count, 40);
    let size = file.len();
    let damaged = |file: Vec<u8>| verdict(&file).unwrap_err();
    for cut in [1, 8, size / 2, 30] {
        assert!(matches!(damaged(file[..size - cut].to_vec()), Unsound::Magic { .. }), "{cut} bytes less");
    }
    assert!(matches!(damaged([&file[..], &[0; 16]].concat()), Unsound::Magic { .. }));
    let with = |at: usize, bytes: &[u8]| {
        let mut file = file.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        damaged(file)
    };
    assert!(matches!(with(0, &[0; 8]), Unsound::Magic { at: 0, .. }));
    // The first chunk stands behind the header: its own header has 40 bytes, and its checksum lies at 24.
    let chunk = 8 + 9 + 4 + 4 + 4 + 7;
    assert_eq!(file[chunk], opcode::CHUNK);
    assert!(matches!(with(chunk + 9 + 24, &[1, 2, 3, 4]), Unsound::ChunkCrc { start, .. } if start == chunk as u64));
    assert!(matches!(with(chunk + 9 + 16, &[1, 0]), Unsound::Unpack { .. } | Unsound::InChunk { .. }));
    assert!(matches!(with(chunk + 9 + 40, &[0; 60]), Unsound::InChunk { .. }));
    assert!(matches!(with(chunk + 1, &u64::MAX.to_le_bytes()), Unsound::Cut { .. } | Unsound::Malformed { .. }));
    let data_end = size - 8 - 29 - 13;
    assert_eq!(file[data_end], opcode::DATA_END);
    assert!(matches!(with(data_end + 9, &[1, 2, 3, 4]), Unsound::DataCrc { .. }));
    assert!(matches!(with(data_end, &[0x80]), Unsound::NoDataEnd { .. }));
    assert!(matches!(with(data_end + 13 + 9, &[8]), Unsound::Header { .. }));

    // A count that is not true, and a chunk whose index is hidden.
    let file = recording(20, 256);
    let lying = with_summary(&file, |opcode, mut body| {
        if opcode == opcode::STATISTICS {
            body.truncate(42);
            body[0] += 1;
            body.extend(0u32.to_le_bytes());
        }
        vec![(opcode, body)]
    });
    assert_eq!(verdict(&lying).unwrap_err(), Unsound::CountedMessages { message_count: 21, counted: 20 });
    let once = std::cell::Cell::new(true);
    let hidden = with_summary(&file, |opcode, body| {
        let hide = opcode == opcode::CHUNK_INDEX && once.replace(false);
        vec![(if hide { 0x7f } else { opcode }, body)]
    });
    assert!(matches!(verdict(&hidden).unwrap_err(), Unsound::ChunkCount { .. }));
}

/// A record as it stands in a file.
fn record(opcode: u8, body: &[u8]) -> Vec<u8> {
    [&[opcode][..], &(body.len() as u64).to_le_bytes(), body].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

/// A recording without a summary: its header, `data`, and its end. `crc` says whether the summary has a checksum.
fn bare(data: &[u8], between: &[u8], summary: &[u8], summary_start: Option<usize>, crc: bool) -> Vec<u8> {
    let mut file = [&b"\x89MCAP0\r\n"[..], &record(opcode::HEADER, &[text(""), text("bare")].concat()), data].concat();
    file.extend(record(opcode::DATA_END, &[0; 4]));
    let behind = file.len();
    file.extend(between);
    let start = file.len();
    file.extend(summary);
    let claimed = summary_start.map_or(0, |at| behind + at);
    let hashed = if claimed == 0 { start } else { claimed };
    let footer = record(opcode::FOOTER, &[&(claimed as u64).to_le_bytes()[..], &[0; 12]].concat());
    file.extend(&footer[..25]);
    let found = if crc { crc32fast::hash(&file[hashed..]) } else { 0 };
    [&file[..], &found.to_le_bytes(), b"\x89MCAP0\r\n"].concat()
}

fn one_channel() -> Vec<u8> {
    record(opcode::CHANNEL, &[&1u16.to_le_bytes()[..], &0u16.to_le_bytes(), &text("/a"), &text("cdr"), &0u32.to_le_bytes()].concat())
}

fn one_message() -> Vec<u8> {
    record(opcode::MESSAGE, &[&1u16.to_le_bytes()[..], &[0; 4], &7u64.to_le_bytes(), &7u64.to_le_bytes(), &[5; 90]].concat())
}

/// A chunk of `records` that are packed as `packed`.
fn chunk(packing: &str, records: &[u8], packed: &[u8]) -> Vec<u8> {
    let (bytes, crc) = ((records.len() as u64).to_le_bytes(), crc32fast::hash(records).to_le_bytes());
    let body = [&[0; 16][..], &bytes, &crc, &text(packing), &(packed.len() as u64).to_le_bytes(), packed].concat();
    record(opcode::CHUNK, &body)
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = lz4::EncoderBuilder::new().build(vec![]).unwrap();
    encoder.write_all(bytes).unwrap();
    let (packed, ended) = encoder.finish();
    ended.unwrap();
    packed
}

/// What a compressor may write one after the other: frames, empty ones, and frames to be skipped.
#[test]
fn a_chunk_may_be_packed_in_several_frames() {
    let (channel, message) = (one_channel(), one_message());
    let records = [channel.clone(), message.clone()].concat();
    let skipped = |bytes: &[u8]| [&0x184D_2A53u32.to_le_bytes()[..], &(bytes.len() as u32).to_le_bytes(), bytes].concat();
    for packed in [
        lz4(&records),
        [lz4(&channel), lz4(&message)].concat(),
        [lz4(&records[..5]), lz4(&[]), lz4(&[]), lz4(&records[5..])].concat(),
        [skipped(b""), lz4(&records)].concat(),
        [skipped(b"x"), skipped(&[0; 70_000]), lz4(&channel), skipped(b"12345"), lz4(&message), skipped(b"")].concat(),
        // As before: what is no frame is none of the chunk's.
        [&lz4(&records)[..], &[0; 20]].concat(),
        [&lz4(&records)[..], &[4]].concat(),
    ] {
        let file = bare(&chunk("lz4", &records, &packed), &[], &[], None, false);
        let read = verdict(&file).unwrap_or_else(|unsound| panic!("{unsound}: {packed:?}"));
        assert_eq!((read.message_count, read.topics()), (1, BTreeMap::from([("/a", 1)])));
    }
    let whole = lz4(&records);
    for damaged in [
        [&lz4(&channel)[..], &lz4(&message)[..20]].concat(),
        [&lz4(&channel)[..], &[9; 8], &lz4(&message)[..]].concat(),
        [&skipped(&[1; 50])[..40], &whole[..]].concat(),
        [&skipped(&[1; 50])[..6]].concat(),
        whole[..whole.len() - 12].to_vec(),
        [&lz4(&records)[..], &lz4(&message)].concat(),
    ] {
        let refused = verdict(&bare(&chunk("lz4", &records, &damaged), &[], &[], None, false)).unwrap_err();
        assert!(matches!(refused, Unsound::Unpack { .. } | Unsound::InChunk { .. }), "{refused}: {damaged:?}");
    }
}

/// Of frames that hold nothing a gigabyte has ninety million.
#[test]
fn frames_without_end_are_not_unpacked_without_end() {
    use std::io::Read;
    let packed = lz4(&[]).repeat(100);
    let mut frames_left = 99;
    let refused = super::lz4_frames::Frames::new(&mut &packed[..], &mut frames_left).read_to_end(&mut vec![]).unwrap_err();
    assert_eq!((refused.to_string().as_str(), frames_left), ("it has too many frames", 0));
    let mut frames_left = 200;
    super::lz4_frames::Frames::new(&mut &packed[..], &mut frames_left).read_to_end(&mut vec![]).unwrap();
    assert_eq!(frames_left, 100);
}

#[test]
fn records_that_only_others_know_may_stand_before_the_summary() {
    let data = [one_channel(), one_message()].concat();
    let others = [record(0x80, b"x"), record(0xff, &[1; 90]), record(0x7f, b"")];
    let private = others.concat();
    for crc in [false, true] {
        let counted = |file: Vec<u8>| verdict(&file).map(|read| read.message_count);
        assert_eq!(counted(bare(&data, &private, &[], None, crc)), Ok(1));
        // Wherever among them the summary begins.
        for at in [0, others[0].len(), private.len() - others[2].len(), private.len()] {
            assert_eq!(counted(bare(&data, &private, &one_channel(), Some(at), crc)), Ok(1), "{at} {crc}");
            assert_eq!(counted(bare(&data, &private, &[], Some(at), crc)), Ok(1), "{at} {crc}");
        }
        for at in [1, private.len() - 1, private.len() + 1] {
            let file = bare(&data, &private, &one_channel(), Some(at), crc);
            let refused = read_through(&file[..], file.len() as u64).unwrap_err();
            assert!(matches!(refused, Unsound::SummaryStart { .. }), "{at}: {refused}");
        }
        // A record of the summary belongs to it.
        let within = bare(&data, &[private.clone(), one_channel()].concat(), &private, Some(private.len() + one_channel().len()), false);
        assert!(matches!(verdict(&within), Err(Unsound::SummaryStart { .. })));
    }
    let mut file = bare(&data, &private, &one_channel(), Some(private.len()), true);
    let at = file.len() - 8 - 29 - 3;
    file[at] ^= 1;
    assert!(matches!(verdict(&file), Err(Unsound::SummaryCrc { .. } | Unsound::Malformed { .. })));
}

/// One after the other without an end: what they cost is bounded.
#[test]
fn private_records_before_the_summary_take_no_memory_each() {
    let private = record(0x80, b"").repeat(100_000);
    let file = bare(&one_channel(), &private, &[], None, true);
    assert_eq!(verdict(&file).unwrap().message_count, 0);
    let file = bare(&one_channel(), &private, &one_channel(), Some(private.len()), true);
    assert_eq!(verdict(&file).unwrap().message_count, 0);
}

#[test]
fn a_packing_that_is_not_ours_is_named() {
    let mut file = Choices { bits: 1, compression: Some(mcap::Compression::Lz4), chunk_bytes: 1 << 20 }.write(5);
    let at = file.windows(3).position(|bytes| bytes == b"lz4").unwrap();
    file[at..at + 3].copy_from_slice(b"lzo");
    let refused = verdict(&file).unwrap_err();
    assert!(matches!(&refused, Unsound::Compression { name, .. } if name == "lzo"), "{refused}");
    // What a device calls it is said without what a table cannot hold and a log must not.
    file[at..at + 3].copy_from_slice(b"\0\n\x1b");
    let text = verdict(&file).unwrap_err().to_string();
    assert!(text.chars().all(|c| !c.is_control()), "{text:?}");
}

#[tokio::test]
async fn a_recording_in_pieces_is_the_same_recording() {
    let file = Bytes::from(Choices { bits: 0b1_1111_1001, compression: Some(mcap::Compression::Zstd), chunk_bytes: 200 }.write(40));
    let size = file.len() as u64;
    let expected = read_through(&file[..], size).unwrap();
    for len in [1, 7, 1000] {
        let pieces: Vec<_> = file.chunks(len).map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece))).collect();
        assert_eq!(read_pieces(futures_util::stream::iter(pieces), size).await.unwrap(), expected, "{len}");
    }
    // A source that fails is no verdict on the recording.
    let pieces = [Ok(file.slice(..100)), Err("gone")];
    let failed = read_pieces(futures_util::stream::iter(pieces), size).await.unwrap_err();
    assert!(matches!(failed, ReadSummaryError::Read("gone")), "{failed:?}");
}
