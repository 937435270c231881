//! One image of a topic, by its time: the ends of the recording, some message indexes and one chunk are read, and nothing else.
//!
//! ```text
//!  look ──► chunks by time ──► their message indexes ──► the chunk of the message ──► its image
//!                              (find: reads)              (found: reads)              (Found::image: works)
//! ```

use bytes::Bytes;

use super::super::read::{RangedRead, ReadSummaryError, exactly};
use super::super::records::{Cursor, opcode};
use super::super::summary::{ChannelFacts, ChunkRegion};
use super::as_jpeg::{png_as_jpeg, raw_as_jpeg};
use super::chunk::{ChunkHead, Unpacking, unpack};
use super::decode::Refused;
use super::fields::Layout;
use super::imagery::{Carrier, RawSize, carried};
use super::indexes::{Entry, INDEX_BYTES_MAX, entries, index_range, message_at};
use super::look::Look;
use super::picture::{Frame, frame};
use super::video::VideoMeasure;

/// A chunk that is larger, packed or unpacked, is not read for one image.
const CHUNK_BYTES_MAX: u64 = 64 << 20;
/// A camera is in nearly every chunk; where it is in none of so many, it has nothing near that time.
const INDEXES_MAX: usize = 64;

/// Why there is none to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoImage {
    #[error("the recording has no topic of this name")]
    NoTopic,
    #[error("the topic carries no images that can be shown: its messages are {0}")]
    NotImages(String),
    #[error("the recording has no index by which one message is found")]
    NotIndexed,
    #[error("the topic has no message near that time")]
    NoMessage,
    #[error("the chunk of the message is larger than the {CHUNK_BYTES_MAX} bytes that are read for one image")]
    ChunkTooLarge,
    #[error("the recording is damaged there: {0}")]
    Damaged(String),
    #[error("the image cannot be shown: {0}")]
    NotShown(String),
}

/// An image as a JPEG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageAt {
    pub log_time: u64,
    pub jpeg: Vec<u8>,
}

/// How the messages of one channel are read.
#[derive(Clone, Copy)]
struct Reading {
    channel: u16,
    carrier: Carrier,
    layout: Layout,
}

impl Reading {
    fn of(channel: &ChannelFacts) -> Option<Self> {
        let carrier = Carrier::of(&channel.message_type)?;
        let layout = Layout::of(&channel.message_encoding, &channel.schema_encoding)?;
        Some(Self { channel: channel.id, carrier, layout })
    }
}

/// A message and the chunk that it is in, as it was read.
pub struct Found {
    entry: Entry,
    reading: Reading,
    chunk: Bytes,
}

/// The last message of the topic until `at_ns`, or the first one behind it where there is none.
pub async fn find<R: RangedRead>(
    reader: &R,
    look: &Look,
    topic: &str,
    at_ns: u64,
) -> Result<Result<Found, NoImage>, ReadSummaryError<R::Error>> {
    let readings = match readings(look, topic) {
        Ok(readings) => readings,
        Err(why) => return Ok(Err(why)),
    };
    let until = nearest(reader, look, &readings, Side::Until(at_ns)).await?;
    let found = match until {
        Err(why) => match nearest(reader, look, &readings, Side::Behind(at_ns)).await? {
            Err(NoImage::NoMessage) => Err(why),
            behind => behind,
        },
        found => found,
    };
    let (entry, reading, region) = match found {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    if region.chunk_bytes > CHUNK_BYTES_MAX || region.uncompressed_bytes > CHUNK_BYTES_MAX {
        return Ok(Err(NoImage::ChunkTooLarge));
    }
    let chunk = exactly(reader, region.start..region.start + region.chunk_bytes).await?;
    Ok(Ok(Found { entry, reading, chunk }))
}

fn readings(look: &Look, topic: &str) -> Result<Vec<Reading>, NoImage> {
    let channels: Vec<&ChannelFacts> = look.channels.iter().filter(|channel| channel.topic == topic).collect();
    let readings: Vec<Reading> = channels.iter().filter_map(|channel| Reading::of(channel)).collect();
    match channels.first() {
        // Without a summary nothing says what there is.
        None if look.channels.is_empty() => Err(NoImage::NotIndexed),
        None => Err(NoImage::NoTopic),
        Some(channel) if readings.is_empty() => Err(NoImage::NotImages(crate::domain::measurement::kept(&channel.message_type))),
        Some(_) if look.chunks.is_empty() => Err(NoImage::NotIndexed),
        Some(_) => Ok(readings),
    }
}

/// One side of a time.
#[derive(Clone, Copy)]
enum Side {
    Until(u64),
    Behind(u64),
}

impl Side {
    /// How far away a message is, if it is on this side.
    fn distance(self, log_time: u64) -> Option<u64> {
        match self {
            Self::Until(at) => at.checked_sub(log_time),
            Self::Behind(at) => log_time.checked_sub(at).filter(|distance| *distance > 0),
        }
    }

    /// Nearer than this no message of a chunk is, if it has any on this side.
    fn bound(self, chunk: &ChunkRegion) -> Option<u64> {
        match self {
            Self::Until(at) => (chunk.start_ns <= at).then(|| at.saturating_sub(chunk.end_ns)),
            Self::Behind(at) => (chunk.end_ns > at).then(|| chunk.start_ns.saturating_sub(at)),
        }
    }
}

/// The nearest message on one side of a time, and the chunk that it is in.
async fn nearest<'l, R: RangedRead>(
    reader: &R,
    look: &'l Look,
    readings: &[Reading],
    side: Side,
) -> Result<Result<(Entry, Reading, &'l ChunkRegion), NoImage>, ReadSummaryError<R::Error>> {
    // A summary that is damaged may put them anywhere.
    let inside = |chunk: &&ChunkRegion| chunk.start.saturating_add(chunk.chunk_bytes).saturating_add(chunk.index_bytes) <= look.size;
    let mut chunks: Vec<_> = look.chunks.iter().filter(inside).filter_map(|chunk| Some((side.bound(chunk)?, chunk))).collect();
    // A chunk may reach over another one.
    chunks.sort_by_key(|(bound, _)| *bound);
    let (mut nearest, mut nearest_distance) = (None, u64::MAX);
    let (mut without, mut bytes_left) = (false, INDEX_BYTES_MAX);
    for (bound, chunk) in chunks.into_iter().take(INDEXES_MAX) {
        if nearest.is_some() && nearest_distance <= bound {
            break;
        }
        if chunk.index_bytes == 0 || chunk.index_bytes > bytes_left {
            without = true;
            continue;
        }
        bytes_left -= chunk.index_bytes;
        let index = exactly(reader, index_range(chunk)).await?;
        for (entry, reading) in of_topic(&index, readings) {
            if let Some(distance) = side.distance(entry.log_time).filter(|distance| nearest.is_none() || *distance < nearest_distance) {
                (nearest, nearest_distance) = (Some((entry, reading, chunk)), distance);
            }
        }
    }
    Ok(nearest.ok_or(if without { NoImage::NotIndexed } else { NoImage::NoMessage }))
}

/// The messages of a topic among the message indexes of a chunk.
fn of_topic(index: &[u8], readings: &[Reading]) -> impl Iterator<Item = (Entry, Reading)> {
    let mut rest = Cursor::new(index);
    let records = std::iter::from_fn(move || rest.record()).filter(|(opcode, _)| *opcode == opcode::MESSAGE_INDEX);
    let ours = records.filter_map(|(_, body)| {
        let (channel, entries) = entries(body)?;
        Some((readings.iter().find(|reading| reading.channel == channel).copied()?, entries))
    });
    ours.flat_map(|(reading, entries)| entries.map(move |entry| (entry, reading)))
}

impl Found {
    /// Unpacks the chunk and makes a JPEG of the image: work for the processor.
    pub fn image(self) -> Result<ImageAt, NoImage> {
        let records = self.records()?;
        let payload =
            message_at(&records, &self.entry).ok_or_else(|| NoImage::Damaged("the message is not where its index puts it".to_owned()))?;
        let Reading { carrier, layout, .. } = self.reading;
        let carried = carried(carrier, layout, payload).ok_or_else(|| NoImage::Damaged("the message cannot be read".to_owned()))?;
        let jpeg = match carried.size {
            Some(RawSize { width, height, step }) => raw_as_jpeg(carried.format, carried.data, width, height, step)?,
            None if carrier == Carrier::Video || VideoMeasure::codec(carried.format).is_some() => {
                return Err(NoImage::NotShown("it is part of a video, and needs the images before it".to_owned()));
            }
            None => match frame(carried.data) {
                Frame::Jpeg { .. } => carried.data.to_vec(),
                Frame::Png { width, height } => png_as_jpeg(carried.data, width, height)?,
                Frame::Broken { .. } => return Err(NoImage::Damaged("the image is not whole".to_owned())),
                Frame::Other => return Err(NoImage::NotShown("it is neither a JPEG nor a PNG".to_owned())),
            },
        };
        Ok(ImageAt { log_time: self.entry.log_time, jpeg })
    }

    fn records(&self) -> Result<Vec<u8>, NoImage> {
        let damaged = |what: &str| NoImage::Damaged(what.to_owned());
        let (opcode, body) = Cursor::new(&self.chunk).record().ok_or_else(|| damaged("there is no chunk where the summary puts one"))?;
        let head = ChunkHead::parse(body)
            .filter(|_| opcode == opcode::CHUNK)
            .ok_or_else(|| damaged("there is no chunk where the summary puts one"))?;
        if head.unpacked_bytes > CHUNK_BYTES_MAX {
            return Err(NoImage::ChunkTooLarge);
        }
        let packed = usize::try_from(head.packed_bytes).ok().and_then(|bytes| body.get(head.packed_at..head.packed_at.checked_add(bytes)?));
        let packed = packed.ok_or_else(|| damaged("a chunk is longer than its record"))?;
        unpack(&head, packed, vec![]).map_err(|why| match why {
            Unpacking::Unknown => NoImage::NotShown(format!("it is packed by {}", crate::domain::measurement::kept(&head.packing))),
            Unpacking::Crc { .. } => damaged("the checksum of the chunk is another one"),
            Unpacking::NotHeld(why) | Unpacking::Broken(why) => NoImage::Damaged(why),
        })
    }
}

impl From<Refused> for NoImage {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Broken => Self::Damaged("the image is not whole".to_owned()),
            Refused::LeftOut(why) => Self::NotShown(why.to_owned()),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use std::convert::Infallible;
    use std::ops::Range;
    use std::sync::Mutex;

    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::super::tests::{CAMERA, JOINTS, Object, START_NS, compressed, jpeg, recording, seen};
    use super::*;

    /// Notes what is read.
    struct Noting<'a>(Object<'a>, Mutex<Vec<Range<u64>>>);

    impl RangedRead for Noting<'_> {
        type Error = Infallible;

        async fn read(&self, range: Range<u64>) -> Result<Bytes, Infallible> {
            self.1.lock().unwrap().push(range.clone());
            self.0.read(range).await
        }
    }

    pub fn image(file: &[u8], topic: &str, at_ns: u64) -> Result<ImageAt, NoImage> {
        find(&Object(file), &seen(file), topic, at_ns).now_or_never().expect("no wait").expect("bytes in memory")?.image()
    }

    fn sound(compression: Option<mcap::Compression>) -> Vec<u8> {
        recording(60, compression, |_, _| None)
    }

    #[test]
    fn the_last_image_until_a_time_is_shown_or_the_first_one_behind_it() {
        for compression in [None, Some(mcap::Compression::Zstd), Some(mcap::Compression::Lz4)] {
            let file = sound(compression);
            for at_ms in (0..700).step_by(7) {
                let shown = image(&file, CAMERA, START_NS + at_ms * 1_000_000).unwrap();
                let step = (at_ms / 30).min(19) * 3;
                assert_eq!((shown.log_time, shown.jpeg == jpeg(step)), (START_NS + step * 10_000_000, true), "{at_ms} ms");
            }
            assert_eq!(image(&file, CAMERA, 0).unwrap().log_time, START_NS, "before all of them, the first");
            assert_eq!(image(&file, CAMERA, u64::MAX).unwrap().log_time, START_NS + 570_000_000);
        }
    }

    #[test]
    fn one_chunk_is_read_and_few_indexes() {
        let file = recording(600, None, |_, _| None);
        let look = seen(&file);
        let largest = look.chunks.iter().map(|chunk| chunk.chunk_bytes).max().unwrap();
        for at_ms in [0, 1_234, 5_990] {
            let reader = Noting(Object(&file), Mutex::default());
            find(&reader, &look, CAMERA, START_NS + at_ms * 1_000_000).now_or_never().unwrap().unwrap().expect("a message");
            let read = reader.1.into_inner().unwrap();
            let (chunk, indexes) = read.split_last().unwrap();
            assert!(look.chunks.len() > 5 && chunk.end - chunk.start <= largest && indexes.len() <= 2, "{read:?}");
            assert!(indexes.iter().all(|range| range.end - range.start < 10_000), "{read:?}");
        }
    }

    #[test]
    fn what_cannot_be_shown_says_why() {
        let file = sound(None);
        assert_eq!(image(&file, "/camera", 0), Err(NoImage::NoTopic));
        assert_eq!(image(&file, JOINTS, 0), Err(NoImage::NotImages("sensor_msgs/msg/JointState".into())));
        let with =
            |payload: &[u8]| image(&recording(60, None, |topic, _| (topic == CAMERA).then(|| compressed(1, payload))), CAMERA, START_NS);
        assert_eq!(with(&jpeg(1)[..500]), Err(NoImage::Damaged("the image is not whole".into())));
        assert_eq!(with(b"pixels"), Err(NoImage::NotShown("it is neither a JPEG nor a PNG".into())));
        let short = recording(60, None, |topic, _| (topic == CAMERA).then(|| vec![0, 1, 0, 0, 9]));
        assert_eq!(image(&short, CAMERA, START_NS), Err(NoImage::Damaged("the message cannot be read".into())));
        // A bit of the first chunk.
        let mut damaged = file.clone();
        let chunk = &seen(&file).chunks[0];
        damaged[(chunk.start + chunk.chunk_bytes - 5) as usize] ^= 1;
        assert_eq!(image(&damaged, CAMERA, START_NS), Err(NoImage::Damaged("the checksum of the chunk is another one".into())));
        // Without chunks there is no index, and without a summary nothing says where they are.
        let options = mcap::WriteOptions::new().use_chunks(false);
        let mut writer = options.create(std::io::Cursor::new(Vec::new())).unwrap();
        let schema = writer.add_schema("sensor_msgs/msg/CompressedImage", "ros2msg", b"x").unwrap();
        let channel = writer.add_channel(schema, CAMERA, "cdr", &Default::default()).unwrap();
        let header = mcap::records::MessageHeader { channel_id: channel, sequence: 0, log_time: START_NS, publish_time: START_NS };
        writer.write_to_known_channel(&header, &compressed(START_NS, &jpeg(1))).unwrap();
        writer.finish().unwrap();
        assert_eq!(image(&writer.into_inner().into_inner(), CAMERA, START_NS), Err(NoImage::NotIndexed));
        assert_eq!(image(&file[..file.len() / 2], CAMERA, START_NS), Err(NoImage::NotIndexed));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        /// Cameras do not write at the beat of the clock, and chunks reach over each other where their messages come late.
        #[test]
        fn the_nearest_one_is_found_wherever_messages_are(times in prop::collection::vec(0..400_u64, 1..60), at in 0..420_u64, chunk in 1..4000_u64) {
            let options = mcap::WriteOptions::new().chunk_size(Some(chunk)).compression(None);
            let mut writer = options.create(std::io::Cursor::new(Vec::new())).unwrap();
            let schema = writer.add_schema("sensor_msgs/msg/CompressedImage", "ros2msg", b"x").unwrap();
            let channel = writer.add_channel(schema, CAMERA, "cdr", &Default::default()).unwrap();
            let image_of = jpeg(1);
            for (n, time) in times.iter().enumerate() {
                let log_time = START_NS + time;
                let header = mcap::records::MessageHeader { channel_id: channel, sequence: n as u32, log_time, publish_time: log_time };
                writer.write_to_known_channel(&header, &compressed(log_time, &image_of)).unwrap();
            }
            writer.finish().unwrap();
            let file = writer.into_inner().into_inner();
            let nearest = times.iter().filter(|time| **time <= at).max().or(times.iter().min()).unwrap();
            prop_assert_eq!(image(&file, CAMERA, START_NS + at).unwrap().log_time, START_NS + nearest);
        }
    }
}
