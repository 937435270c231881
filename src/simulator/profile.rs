//! What a robot records: topics, rates, and payloads as ROS writes them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use rand::rngs::StdRng;
use rand::{Rng, RngCore};
use serde_json::json;

/// What a robot records.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordingProfile {
    pub topics: Vec<TopicProfile>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TopicProfile {
    pub topic: String,
    pub kind: TopicKind,
    pub rate_hz: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicKind {
    Text,
    /// Incompressible pixels, three bytes each.
    Image {
        width: u32,
        height: u32,
    },
    /// A moving pattern as JPEG.
    Jpeg {
        width: u16,
        height: u16,
    },
    Joints,
    Imu,
    Tf,
    Gps,
    Can,
}

/// Ready-made profiles, by size of what they leave on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// One message a second: a few kilobytes, however long
    Minimal,
    /// Text, a small camera, GPS and CAN, as in the observed devices: about 30 kB a second
    Small,
    /// Three JPEG cameras at 30 Hz, joints, IMU and transforms: some megabytes a second
    Cameras,
    /// Two uncompressed 720p cameras at 30 Hz beside joints, IMU and transforms: a gigabyte in about six seconds
    Raw,
}

impl RecordingProfile {
    /// `image_bytes` counts for [`Profile::Small`].
    pub fn of(profile: Profile, image_bytes: u32) -> Self {
        let topic = |topic: &str, kind, rate_hz| TopicProfile { topic: topic.into(), kind, rate_hz };
        let body = || {
            [topic("/joint_states", TopicKind::Joints, 100.0), topic("/imu/data", TopicKind::Imu, 200.0), topic("/tf", TopicKind::Tf, 50.0)]
        };
        let topics = match profile {
            Profile::Minimal => vec![topic("/chatter", TopicKind::Text, 1.0)],
            Profile::Small => return Self::small(image_bytes),
            Profile::Cameras => ["/camera/front", "/camera/left_wrist", "/camera/right_wrist"]
                .map(|name| topic(&format!("{name}/compressed"), TopicKind::Jpeg { width: 640, height: 480 }, 30.0))
                .into_iter()
                .chain(body())
                .collect(),
            Profile::Raw => ["/camera/left", "/camera/right"]
                .map(|name| topic(&format!("{name}/image_raw"), TopicKind::Image { width: 1280, height: 720 }, 30.0))
                .into_iter()
                .chain(body())
                .collect(),
        };
        Self { topics }
    }

    /// The topics and rates of the device in the traces, with images of about `image_bytes`.
    pub fn small(image_bytes: u32) -> Self {
        let width = ((f64::from(image_bytes) / 3.0 * 4.0 / 3.0).sqrt() as u32).max(1);
        let height = (image_bytes / 3 / width).max(1);
        let topic = |topic: &str, kind, rate_hz| TopicProfile { topic: topic.into(), kind, rate_hz };
        Self {
            topics: vec![
                topic("/chatter", TopicKind::Text, 10.0),
                topic("/camera0/rgb", TopicKind::Image { width, height }, 10.0),
                topic("/udp/gps", TopicKind::Gps, 50.0),
                topic("/udp/can", TopicKind::Can, 20.0),
            ],
        }
    }
}

impl TopicKind {
    pub(super) fn message_type(self) -> &'static str {
        match self {
            Self::Text => "std_msgs/String",
            Self::Image { .. } => "sensor_msgs/Image",
            Self::Jpeg { .. } => "sensor_msgs/CompressedImage",
            Self::Joints => "sensor_msgs/JointState",
            Self::Imu => "sensor_msgs/Imu",
            Self::Tf => "tf2_msgs/TFMessage",
            Self::Gps | Self::Can => "axon_udp/json",
        }
    }

    /// Encoding and text of the schema.
    pub(super) fn schema(self) -> (&'static str, String) {
        let own = match self {
            Self::Gps | Self::Can => return ("jsonschema", r#"{"type":"object"}"#.to_owned()),
            Self::Text => return ("ros2msg", "string data\n".to_owned()),
            Self::Image { .. } => {
                "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\nuint8[] data\n"
            }
            Self::Jpeg { .. } => "std_msgs/Header header\nstring format\nuint8[] data\n",
            Self::Joints => "std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort\n",
            Self::Imu => {
                "std_msgs/Header header\ngeometry_msgs/Quaternion orientation\nfloat64[9] orientation_covariance\n\
                 geometry_msgs/Vector3 angular_velocity\nfloat64[9] angular_velocity_covariance\n\
                 geometry_msgs/Vector3 linear_acceleration\nfloat64[9] linear_acceleration_covariance\n"
            }
            Self::Tf => "geometry_msgs/TransformStamped[] transforms\n",
        };
        let parts: &[(&str, &str)] = match self {
            Self::Imu => &[QUATERNION, VECTOR3, HEADER, TIME],
            Self::Tf => &[TRANSFORM_STAMPED, TRANSFORM, QUATERNION, VECTOR3, HEADER, TIME],
            _ => &[HEADER, TIME],
        };
        let parts = parts.iter().map(|(name, fields)| format!("{}\nMSG: {name}\n{fields}", "=".repeat(80)));
        ("ros2msg", std::iter::once(own.to_owned()).chain(parts).collect())
    }

    pub(super) fn message_encoding(self) -> &'static str {
        match self {
            Self::Gps | Self::Can => "json",
            _ => "cdr",
        }
    }

    pub(super) fn source(self) -> (&'static str, &'static str) {
        match self {
            Self::Gps | Self::Can => ("udp", "UDP"),
            _ => ("ros2", "Mock"),
        }
    }

    pub(super) fn payload(self, sequence: u64, log_time_ns: u64, rng: &mut StdRng) -> Vec<u8> {
        let header = |frame: &str| Cdr::new().time(log_time_ns).string(frame);
        match self {
            Self::Text => Cdr::new().string(&format!("Hello {sequence}")).done(),
            Self::Image { width, height } => {
                let mut pixels = vec![0; width as usize * height as usize * 3];
                rng.fill_bytes(&mut pixels);
                header("camera0").u32(height).u32(width).string("rgb8").u8(0).u32(width * 3).bytes(&pixels).done()
            }
            Self::Jpeg { width, height } => {
                let frames = jpeg_frames(width, height);
                let frame = &frames[(sequence % frames.len() as u64) as usize];
                header("camera").string("jpeg").bytes(frame).done()
            }
            Self::Joints => {
                let swing = |joint: u32| (sequence as f64 / 100.0 + f64::from(joint)).sin();
                let names = (0..JOINTS).fold(header("base").u32(JOINTS), |cdr, joint| cdr.string(&format!("joint_{joint}")));
                let positions = (0..JOINTS).fold(names.u32(JOINTS), |cdr, joint| cdr.f64(swing(joint)));
                let velocities = (0..JOINTS).fold(positions.u32(JOINTS), |cdr, joint| cdr.f64(swing(joint + 1) / 100.0));
                (0..JOINTS).fold(velocities.u32(JOINTS), |cdr, _| cdr.f64(rng.random_range(-1.0..1.0))).done()
            }
            Self::Imu => {
                let covariance = |cdr: Cdr| (0..9).fold(cdr, |cdr, n| cdr.f64(if n % 4 == 0 { 0.01 } else { 0.0 }));
                let orientation = header("imu").f64(0.0).f64(0.0).f64(0.0).f64(1.0);
                let mut noise = |cdr: Cdr, mean: [f64; 3]| mean.iter().fold(cdr, |cdr, mean| cdr.f64(mean + rng.random_range(-0.1..0.1)));
                let angular = noise(covariance(orientation), [0.0; 3]);
                let linear = noise(covariance(angular), [0.0, 0.0, GRAVITY]);
                covariance(linear).done()
            }
            Self::Tf => {
                let angle = sequence as f64 / 500.0;
                let one = Cdr::new().u32(1).time(log_time_ns).string("base").string("gripper");
                one.f64(angle.cos()).f64(angle.sin()).f64(0.5).f64(0.0).f64(0.0).f64(0.0).f64(1.0).done()
            }
            Self::Gps => {
                let (lat, lon) = (rng.random_range(31.1..31.3), rng.random_range(121.4..121.6));
                json!({ "lat": lat, "lon": lon, "seq": sequence }).to_string().into_bytes()
            }
            Self::Can => {
                let data = format!("{:016x}", rng.random::<u64>());
                json!({ "data": data, "id": sequence % 2048 }).to_string().into_bytes()
            }
        }
    }
}

/// In m/s².
const GRAVITY: f64 = 9.81;
/// Two arms of seven.
const JOINTS: u32 = 14;
const JPEG_FRAMES: u32 = 8;
const JPEG_QUALITY: u8 = 80;

type JpegFrames = Arc<Vec<Vec<u8>>>;

/// Images of one size, encoded once: encoding each anew would take the machine that is to be tested.
fn jpeg_frames(width: u16, height: u16) -> JpegFrames {
    static FRAMES: LazyLock<Mutex<HashMap<(u16, u16), JpegFrames>>> = LazyLock::new(Mutex::default);
    let mut known = FRAMES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let encode = || Arc::new((0..JPEG_FRAMES).map(|n| jpeg(width, height, n)).collect());
    known.entry((width, height)).or_insert_with(encode).clone()
}

/// Stripes that move on with `n`, and a coarse grain.
fn jpeg(width: u16, height: u16, n: u32) -> Vec<u8> {
    let pixel = |x: u32, y: u32| {
        let grain = (x / 4).wrapping_mul(31).wrapping_add((y / 4).wrapping_mul(17)) % 23;
        [(x + n * 16 + grain) as u8, (y + n * 8 + grain) as u8, ((x ^ y) + grain) as u8]
    };
    let pixels: Vec<u8> = (0..u32::from(height)).flat_map(|y| (0..u32::from(width)).flat_map(move |x| pixel(x, y))).collect();
    let mut image = Vec::new();
    let encoded = jpeg_encoder::Encoder::new(&mut image, JPEG_QUALITY).encode(&pixels, width, height, jpeg_encoder::ColorType::Rgb);
    encoded.expect("an image of its size, into memory");
    image
}

const TIME: (&str, &str) = ("builtin_interfaces/Time", "int32 sec\nuint32 nanosec\n");
const HEADER: (&str, &str) = ("std_msgs/Header", "builtin_interfaces/Time stamp\nstring frame_id\n");
const VECTOR3: (&str, &str) = ("geometry_msgs/Vector3", "float64 x\nfloat64 y\nfloat64 z\n");
const QUATERNION: (&str, &str) = ("geometry_msgs/Quaternion", "float64 x\nfloat64 y\nfloat64 z\nfloat64 w\n");
const TRANSFORM: (&str, &str) = ("geometry_msgs/Transform", "geometry_msgs/Vector3 translation\ngeometry_msgs/Quaternion rotation\n");
const TRANSFORM_STAMPED: (&str, &str) =
    ("geometry_msgs/TransformStamped", "std_msgs/Header header\nstring child_frame_id\ngeometry_msgs/Transform transform\n");

/// Plain little-endian CDR: every value aligned to its size, counted after the header.
struct Cdr(Vec<u8>);

impl Cdr {
    const HEADER: [u8; 4] = [0, 1, 0, 0];

    fn new() -> Self {
        Self(Self::HEADER.to_vec())
    }

    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    fn u32(mut self, value: u32) -> Self {
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
        self.0.extend(value.to_le_bytes());
        self
    }

    fn f64(mut self, value: f64) -> Self {
        while !(self.0.len() - Self::HEADER.len()).is_multiple_of(8) {
            self.0.push(0);
        }
        self.0.extend(value.to_le_bytes());
        self
    }

    fn time(self, ns: u64) -> Self {
        self.u32((ns / 1_000_000_000) as u32).u32((ns % 1_000_000_000) as u32)
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        let mut cdr = self.u32(bytes.len() as u32);
        cdr.0.extend(bytes);
        cdr
    }

    fn string(self, text: &str) -> Self {
        let mut cdr = self.u32(text.len() as u32 + 1);
        cdr.0.extend(text.as_bytes());
        cdr.u8(0)
    }

    fn done(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn payloads_have_the_length_that_their_types_ask_for() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut length = |kind: TopicKind| kind.payload(3, 1_700_000_000_000_000_001, &mut rng).len();
        // Header of CDR, stamp, "imu" and its end in 4 + 4 bytes, then 37 doubles at a multiple of eight.
        assert_eq!(length(TopicKind::Imu), 4 + 8 + 8 + (4 + 9 + 3 + 9 + 3 + 9) * 8);
        // One transform; stamp; "base" in 4 + 5, "gripper" in 4 + 8 after three bytes to align it; seven doubles.
        assert_eq!(length(TopicKind::Tf), 4 + 4 + 8 + 9 + 3 + 12 + 4 + 7 * 8);
        let image = TopicKind::Jpeg { width: 640, height: 480 }.payload(0, 0, &mut rng);
        let start = image.windows(3).position(|bytes| bytes == [0xff, 0xd8, 0xff]).expect("a JPEG inside");
        assert_eq!(&image[image.len() - 2..], [0xff, 0xd9]);
        assert!((20_000..200_000).contains(&(image.len() - start)), "{} bytes", image.len());
    }

    #[test]
    fn a_schema_names_everything_that_it_uses() {
        for topic in [Profile::Cameras, Profile::Raw].map(|profile| RecordingProfile::of(profile, 0)).iter().flat_map(|p| &p.topics) {
            let (_, schema) = topic.kind.schema();
            let used = schema.lines().filter_map(|line| line.split_once(' ')).filter(|(kind, _)| kind.contains('/'));
            for (kind, _) in used {
                let kind = kind.trim_end_matches("[]");
                assert!(schema.contains(&format!("MSG: {kind}\n")), "{}: {kind} is not explained", topic.topic);
            }
        }
    }
}
