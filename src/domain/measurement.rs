//! What measuring a recording found: facts, and nothing that says whether they are good enough.
//!
//! Facts are stored with the episode, so they are bounded: a list that was cut says by how much, and names are cut. They
//! hold whole numbers only, so what is read back equals what was written. Times are nanoseconds, as recordings have them.

use serde::{Deserialize, Serialize};

use super::words::words;

/// Which code measured. It moves when the same bytes give other facts.
pub const VERSION: u32 = 2;

pub const TOPICS_MAX: usize = 256;
pub const GAPS_MAX: usize = 10;
pub const SYNC_MAX: usize = 64;
pub const PAIRS_MAX: usize = 16;
pub const METADATA_KEYS_MAX: usize = 64;
pub const FINDINGS_MAX: usize = 50;
pub const NAMES_MAX: usize = 32;
/// Ranges of one topic in which its joints move.
pub const KEEP_MAX: usize = 64;
/// Joints of one topic of which the position at the end is told.
pub const JOINTS_TOLD_MAX: usize = 64;
/// Images of one camera that are decoded, and cameras of which they are.
pub const SAMPLES_MAX: u64 = 60;
pub const SAMPLED_CAMERAS_MAX: usize = 32;
pub const TEXT_CHARS_MAX: usize = 240;

/// The beginning of a list, and how many are not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed<T> {
    pub items: Vec<T>,
    /// How many were left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { items: vec![], cut: 0 }
    }
}

impl<T> Listed<T> {
    pub fn of(items: impl IntoIterator<Item = T>, max: usize) -> Self {
        let mut list = Self::default();
        items.into_iter().for_each(|item| list.push(item, max));
        list
    }

    pub fn push(&mut self, item: T, max: usize) {
        if self.items.len() < max { self.items.push(item) } else { self.cut += 1 }
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn len(&self) -> u64 {
        self.items.len() as u64 + self.cut
    }
}

/// Hex bytes with a space between two.
pub fn spaced_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// A text of a device, as much as is kept of it.
pub fn kept(text: &str) -> String {
    let tame = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().take(TEXT_CHARS_MAX).map(tame).collect()
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// [`VERSION`] of the code that measured.
    pub measured_by: u32,
    pub tier: Tier,
    /// There was no object any more when it was looked at again; everything else is what was measured before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    pub size_bytes: u64,
    /// The entity tag of the object that was measured, where it lies in a store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// How much of it was read.
    pub read_bytes: u64,
    /// Of the whole file, where it was hashed in the same pass.
    pub sha256: Option<String>,
    /// The first and the last eight bytes, in hex; empty where there are none.
    pub head_magic: String,
    pub tail_magic: String,
    pub profile: String,
    pub library: String,
    /// Why the file was read from its first byte to its last: its summary does not say enough.
    pub read_through: Option<String>,
    pub checksums: Checksums,
    pub chunk_count: u64,
    pub message_count: u64,
    /// First and last log time; both 0 without messages.
    pub start_ns: u64,
    pub end_ns: u64,
    pub attachments: Listed<String>,
    pub metadata: Listed<String>,
    /// Keys of metadata, each behind the name of its record and a dot; from tier 3 on.
    #[serde(default, skip_serializing_if = "Listed::is_empty")]
    pub metadata_keys: Listed<String>,
    pub topics: Listed<TopicFacts>,
    /// Cameras beside states.
    pub sync: Listed<SyncFacts>,
    /// Leaders and followers; from tier 3 on.
    #[serde(default, skip_serializing_if = "Listed::is_empty")]
    pub pairs: Listed<PairFacts>,
    /// What is damaged, and where.
    pub findings: Listed<Finding>,
    /// What could not be looked at, and why. It is no fault of the recording.
    pub not_measured: Listed<NotMeasured>,
    /// What the file beside the recording says; nothing, where none was looked for.
    pub sidecar: Option<SidecarFacts>,
}

impl Facts {
    /// Of an object of this size, of which nothing was read.
    pub fn none(size_bytes: u64) -> Self {
        Self {
            measured_by: VERSION,
            tier: Tier::Summary,
            gone: false,
            size_bytes,
            etag: None,
            read_bytes: 0,
            sha256: None,
            head_magic: String::new(),
            tail_magic: String::new(),
            profile: String::new(),
            library: String::new(),
            read_through: None,
            checksums: Checksums::default(),
            chunk_count: 0,
            message_count: 0,
            start_ns: 0,
            end_ns: 0,
            attachments: Listed::default(),
            metadata: Listed::default(),
            metadata_keys: Listed::default(),
            topics: Listed::default(),
            sync: Listed::default(),
            pairs: Listed::default(),
            findings: Listed::default(),
            not_measured: Listed::default(),
            sidecar: None,
        }
    }

    pub fn duration_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }

    pub fn found(&self, kinds: &[FindingKind]) -> impl Iterator<Item = &Finding> {
        self.findings.items.iter().filter(move |finding| kinds.contains(&finding.kind))
    }
}

words! {
    /// How much of a recording was looked at.
    Tier {
        /// Footer and summary.
        Summary = "summary",
        /// And message indexes.
        Indexes = "indexes",
        /// Every record.
        Whole = "whole",
    }
}

/// Which checksums there are. Those that do not match are findings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksums {
    pub summary: bool,
    pub data_section: bool,
    /// Chunks whose checksum was compared, and those that have none.
    pub chunks_compared: u64,
    pub chunks_without: u64,
}

#[derive(Default, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicFacts {
    pub topic: String,
    pub message_type: String,
    pub message_encoding: String,
    pub schema_encoding: String,
    pub schema_bytes: u64,
    pub count: u64,
    /// Messages without a payload.
    pub empty: u64,
    /// From tier 2 on.
    pub timing: Option<Timing>,
    /// From tier 3 on, like all that follows.
    pub sequence: Option<Sequence>,
    /// Log time less publish time.
    pub latency: Option<Spread>,
    /// Log time less the stamp in the payload's header.
    pub stamp: Option<Spread>,
    pub joints: Option<Joints>,
    pub images: Option<Images>,
    pub imu: Option<Imu>,
    /// Messages of a known type whose payload was not understood.
    pub unread: u64,
}

/// What a topic is good for, by its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Camera,
    Joints,
    Imu,
    Other,
}

impl Kind {
    /// ROS 2 writes `sensor_msgs/msg/Image` where ROS 1 and Axon write `sensor_msgs/Image`.
    pub fn of(message_type: &str) -> Self {
        match message_type.replacen("/msg/", "/", 1).as_str() {
            "sensor_msgs/Image"
            | "sensor_msgs/CompressedImage"
            | "foxglove.CompressedImage"
            | "foxglove.RawImage"
            | "foxglove.CompressedVideo" => Self::Camera,
            "foxglove_msgs/CompressedImage" | "foxglove_msgs/RawImage" | "foxglove_msgs/CompressedVideo" => Self::Camera,
            "sensor_msgs/JointState" => Self::Joints,
            "sensor_msgs/Imu" => Self::Imu,
            _ => Self::Other,
        }
    }
}

impl TopicFacts {
    pub fn kind(&self) -> Kind {
        Kind::of(&self.message_type)
    }

    /// Messages a second between the first and the last one.
    pub fn rate_hz(&self) -> Option<f64> {
        let span_ns = self.timing.as_ref().map(Timing::span_ns).filter(|span| *span > 0)?;
        (self.count > 1).then(|| (self.count - 1) as f64 / (span_ns as f64 / 1e9))
    }

    /// Which share of the messages that a rate asks for is there. By the span and not by each gap: rounding each
    /// would count one late message as a missing one.
    pub fn completeness(&self, nominal_hz: f64) -> Option<f64> {
        let span_s = self.timing.as_ref()?.span_ns() as f64 / 1e9;
        (self.count > 1 && nominal_hz > 0.0).then(|| self.count as f64 / (1.0 + (span_s * nominal_hz).round()))
    }
}

/// Log times of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// The smallest and the largest.
    pub first_ns: u64,
    pub last_ns: u64,
    /// Messages with time 0.
    pub zero: u64,
    /// Against the order of the file: earlier than the one before, and at the same time.
    pub backward: u64,
    pub equal: u64,
    /// Between messages in the order of time; nothing where there are too few, or too many to be kept.
    pub intervals: Option<Intervals>,
}

impl Timing {
    pub fn span_ns(&self) -> u64 {
        self.last_ns.saturating_sub(self.first_ns)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intervals {
    pub median_ns: u64,
    pub p99_ns: u64,
    pub longest_ns: u64,
    /// Longer than one and a half times the median.
    pub late: u64,
    /// By how much these are longer than the median, all together.
    pub late_ns: u64,
    /// The longest of these, longest first.
    pub gaps: Listed<Gap>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub from_ns: u64,
    pub to_ns: u64,
}

impl Gap {
    pub fn length_ns(&self) -> u64 {
        self.to_ns.saturating_sub(self.from_ns)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    pub from_ns: u64,
    pub to_ns: u64,
}

/// Numbers that the recorder gave to messages. All zero: it gives none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    pub all_zero: bool,
    pub missing: u64,
    /// Times that it went back.
    pub resets: u64,
}

/// A difference of two times, over all messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    pub min_ns: i64,
    pub max_ns: i64,
    /// Of the absolute values, at most three percent too large.
    pub p99_ns: u64,
    pub negative: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joints {
    /// Positions in the first message.
    pub dof: u64,
    /// Messages with another number, other names, or another order of them.
    pub other_shape: u64,
    /// Messages with a position that is no number.
    pub not_finite: u64,
    /// The same of velocities and efforts.
    pub not_finite_other: u64,
    /// The longest run of positions that are equal bit by bit.
    pub stuck_ns: u64,
    pub stuck_from_ns: u64,
    pub stuck_messages: u64,
    /// Joints that never moved.
    pub unmoved: u64,
    /// The largest step of one joint between two messages, in millionths of a radian, and when.
    pub jump_urad: u64,
    pub jump_at_ns: u64,
    /// Steps, and those in which the arm moved slower than 0.01 rad/s.
    pub steps: u64,
    pub idle_steps: u64,
    pub idle_at_start_ns: u64,
    pub idle_at_end_ns: u64,
    /// Ranges in which they move, and which are worth keeping: data for training, and no verdict.
    #[serde(default, skip_serializing_if = "Listed::is_empty")]
    pub keep: Listed<Stretch>,
    /// Of each joint the median of its positions without their sign: the largest of these, in millionths of a radian.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typical_urad: Option<u64>,
    /// Log dimensionless jerk while they move, in thousandths: more is less smooth. Nothing where they hardly move, come too seldom, or were
    /// measured before version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jerk_milli: Option<u64>,
    /// Of each joint the median of its positions over the last half second, in millionths of a radian. Empty before version 2.
    #[serde(default, skip_serializing_if = "Listed::is_empty")]
    pub end_urad: Listed<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    pub jpeg: u64,
    pub png: u64,
    pub raw: u64,
    /// In a format that is not looked into.
    pub other: u64,
    /// Not whole: its header, its end, or its length.
    pub bad: u64,
    pub first_bad_at_ns: Option<u64>,
    /// JPEG with zeros behind its end, which is sound.
    pub padded: u64,
    /// Of the first image.
    pub width: u64,
    pub height: u64,
    pub other_size: u64,
    /// The longest run of equal images.
    pub frozen_ns: u64,
    pub frozen_from_ns: u64,
    pub frozen_messages: u64,
    /// Those that were decoded; nothing, where none was to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<Samples>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<Video>,
}

words! {
    VideoCodec {
        H264 = "h264",
        H265 = "h265",
    }
}

/// Access units of a camera that sends a video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Video {
    pub codec: VideoCodec,
    pub units: u64,
    /// Units that are not in the form of Annex B.
    pub without_start_codes: u64,
    /// The first unit has every parameter set and a picture that stands alone.
    pub begins_complete: bool,
    /// Units whose picture stands alone, and the longest time without one.
    pub key_units: u64,
    pub longest_without_key_ns: u64,
}

/// Images that were decoded, about one a second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    pub sampled: u64,
    /// Of these, those that are not what their frame promises.
    pub undecodable: u64,
    pub first_undecodable_at_ns: Option<u64>,
    /// Chosen and not decoded: too large, or of a kind that no decoder here knows.
    pub left_out: u64,
    pub pixels: Pixels,
}

/// What was measured of each image that could be decoded, at a longest side of 128 pixels: lists of the same length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pixels {
    /// Since the first sample.
    pub at_ms: Vec<u64>,
    /// Mean and standard deviation of brightness, 0 to 255.
    pub luma: Vec<u8>,
    pub spread: Vec<u8>,
    /// Pixels as dark or as bright as can be, of a thousand.
    pub extreme_permille: Vec<u64>,
    /// Variance of the Laplacian: small where nothing has an edge.
    pub blur: Vec<u64>,
    /// The mean absolute difference to the sample before, in thousandths of a step of brightness.
    pub difference_milli: Vec<Option<u64>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imu {
    /// Accelerations outside 3 to 30 m/s².
    pub out_of_range: u64,
    pub not_finite: u64,
}

/// For each image of a camera, how far the nearest state is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncFacts {
    pub camera: String,
    pub state: String,
    pub images: u64,
    pub median_ns: u64,
    pub p95_ns: u64,
    pub worst_ns: u64,
}

/// A topic of joints that leads, and one that follows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairFacts {
    pub leader: String,
    pub follower: String,
    /// Looks at both; none where they have another number of joints.
    pub compared: u64,
    /// By how much the follower is later, where the difference is smallest.
    pub lag_ms: u64,
    /// The largest difference of a joint then, in millionths of a radian, but for one look of twenty.
    pub p95_urad: u64,
    /// Looks at which both stand still, and the median difference there, of the joint where it is largest.
    pub quiet: u64,
    pub offset_urad: Option<u64>,
}

/// One damage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub kind: FindingKind,
    /// It lies within these bytes of the file; a cut lies at their end.
    pub at: u64,
    pub bytes: u64,
    /// The number of the chunk, from 0.
    pub chunk: Option<u64>,
    pub text: String,
}

words! {
    FindingKind {
        TooShort = "too_short",
        HeadMagic = "head_magic",
        TailMagic = "tail_magic",
        /// The file ends in the middle of something.
        Cut = "cut",
        /// Something follows the end.
        BehindEnd = "behind_end",
        Header = "header",
        Footer = "footer",
        SummaryCrc = "summary_crc",
        SummaryRecord = "summary_record",
        Statistics = "statistics",
        ChunkRegion = "chunk_region",
        ChunkNotIndexed = "chunk_not_indexed",
        /// An index says something else than its chunk.
        ChunkIndex = "chunk_index",
        MessageIndex = "message_index",
        ChunkCrc = "chunk_crc",
        ChunkUnpack = "chunk_unpack",
        /// A record that cannot be read, or does not belong where it stands.
        Record = "record",
        DataCrc = "data_crc",
        AttachmentCrc = "attachment_crc",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotMeasured {
    pub at: Option<u64>,
    pub chunk: Option<u64>,
    pub why: String,
}

/// What the file beside the recording says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SidecarFacts {
    Missing,
    TooLarge { size_bytes: u64, max_bytes: u64 },
    Empty,
    Invalid { size_bytes: u64, error: String },
    Read(SidecarSays),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarSays {
    pub size_bytes: u64,
    pub message_count: i64,
    pub topics_recorded: u64,
    pub topics_summary: u64,
    /// Whether a topic has a name.
    pub names_topics: bool,
    pub duration_ms: Option<u64>,
    pub file_size_bytes: Option<u64>,
    pub sha256: Option<String>,
    /// Messages of each topic that it lists.
    pub topics: Listed<SidecarTopic>,
    /// The recorder's own word on its writing: its state, and counters that should be 0 and are not.
    pub writer_state: Option<String>,
    pub writer_trouble: Listed<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarTopic {
    pub topic: String,
    pub message_count: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_by_how_much_it_was_cut() {
        let list = Listed::of(0..5, 3);
        assert_eq!((list.items.as_slice(), list.cut, list.len()), ([0, 1, 2].as_slice(), 2, 5));
        let text = serde_json::to_string(&list).unwrap();
        assert_eq!(serde_json::from_str::<Listed<i32>>(&text).unwrap(), list);
        assert_eq!(serde_json::to_string(&Listed::of([1], 3)).unwrap(), r#"{"items":[1]}"#);
    }

    #[test]
    fn a_type_is_known_in_both_spellings() {
        assert_eq!(Kind::of("sensor_msgs/msg/JointState"), Kind::Joints);
        assert_eq!(Kind::of("sensor_msgs/JointState"), Kind::Joints);
        assert_eq!(Kind::of("sensor_msgs/msg/JointStates"), Kind::Other);
    }

    #[test]
    fn names_of_devices_are_cut_and_tamed() {
        assert_eq!(kept("a\0\nb"), "a\u{fffd}\u{fffd}b");
        assert_eq!(kept(&"ä".repeat(1000)).chars().count(), TEXT_CHARS_MAX);
    }
}
