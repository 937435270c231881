//! What payloads of the known types say: cameras, joints, inertial sensors.

use super::decode::{self, Coding, Decoded};
use super::fields::{Fields, Layout};
use super::imagery::{Carried, Carrier, RawSize, carried};
use super::joints::{JointsMeasure, Run};
use super::pairs::Series;
use super::picture::{Frame, frame};
use super::sample::{Camera, Sampling};
use super::spread::Differences;
use super::video::VideoMeasure;
use crate::domain::measurement::{Images, Imu, Kind, Spread, TopicFacts};

/// Accelerations of a robot that stands on the ground, in m/s².
const ACCELERATION: std::ops::RangeInclusive<f64> = 3.0..=30.0;

/// Reads the payloads of one topic.
pub struct Payloads {
    layout: Layout,
    stamps: Differences,
    understood: u64,
    unread: u64,
    content: Content,
}

enum Content {
    Joints(Box<JointsMeasure>),
    Images(Carrier, Box<ImagesMeasure>),
    Imu(Imu),
}

impl Payloads {
    /// Nothing for types that are not looked into. Positions are kept of a topic that has a `series`.
    pub fn of(message_type: &str, message_encoding: &str, schema_encoding: &str, series: bool) -> Option<Self> {
        let layout = Layout::of(message_encoding, schema_encoding)?;
        let content = match (Kind::of(message_type), layout) {
            (Kind::Joints, Layout::Ros1 | Layout::Cdr { .. }) => Content::Joints(Box::new(JointsMeasure::new(series))),
            (Kind::Imu, Layout::Ros1 | Layout::Cdr { .. }) => Content::Imu(Imu::default()),
            (Kind::Camera, _) => Content::Images(Carrier::of(message_type)?, Box::default()),
            (Kind::Joints | Kind::Imu | Kind::Other, _) => return None,
        };
        Some(Self { layout, stamps: Differences::default(), understood: 0, unread: 0, content })
    }

    pub fn message(&mut self, payload: &[u8], log_time: u64, sampling: &mut Sampling) {
        let fields = || Fields::of(payload, self.layout);
        let stamp = match &mut self.content {
            Content::Joints(joints) => fields().and_then(|fields| joints.message(fields, log_time)),
            Content::Imu(facts) => fields().and_then(|fields| imu(facts, fields)),
            Content::Images(carrier, images) => carried(*carrier, self.layout, payload).map(|carried| {
                images.message(*carrier, carried, log_time, sampling);
                carried.stamp
            }),
        };
        match stamp {
            None => self.unread += 1,
            Some(stamp) => {
                self.understood += 1;
                // A robot that does not stamp writes zeros.
                if stamp != 0 {
                    self.stamps.push(log_time, stamp);
                }
            }
        }
    }

    fn images(&mut self) -> Option<&mut ImagesMeasure> {
        match &mut self.content {
            Content::Images(_, images) => Some(images),
            Content::Joints(_) | Content::Imu(_) => None,
        }
    }

    /// Waits for images that are decoded.
    pub fn settle(&mut self) {
        if let Some(images) = self.images() {
            images.camera.settle();
        }
    }

    /// Why images that were to be decoded were not.
    pub fn left_out(&mut self) -> Option<&'static str> {
        self.images()?.camera.left_out()
    }

    pub fn finish(self, facts: &mut TopicFacts) -> (Option<Spread>, Option<Series>) {
        facts.unread = self.unread;
        let mut series = None;
        if self.understood > 0 {
            match self.content {
                Content::Joints(joints) => (facts.joints, series) = joints.finish(),
                Content::Images(_, images) => {
                    let ImagesMeasure { facts: mut images, camera, video, .. } = *images;
                    (images.samples, images.video) = (camera.finish(), video.finish());
                    // A topic whose payloads are understood has a broken one where one is not.
                    images.bad += std::mem::take(&mut facts.unread);
                    facts.images = Some(images);
                }
                Content::Imu(imu) => facts.imu = Some(imu),
            }
        }
        (self.stamps.finish(), series)
    }
}

fn imu(facts: &mut Imu, mut fields: Fields<'_>) -> Option<u64> {
    let stamp = fields.header()?;
    // Orientation, angular velocity, acceleration; each but the last followed by nine covariances.
    let mut values = [0.0; 37];
    for value in &mut values {
        *value = fields.f64()?;
    }
    if !fields.is_used_up() {
        return None;
    }
    let [x, y, z] = [values[25], values[26], values[27]];
    let acceleration = f64::sqrt(x * x + y * y + z * z);
    if acceleration.is_finite() {
        facts.out_of_range += u64::from(!ACCELERATION.contains(&acceleration));
    } else {
        facts.not_finite += 1;
    }
    Some(stamp)
}

#[derive(Default)]
struct ImagesMeasure {
    facts: Images,
    any: bool,
    last: (usize, u32),
    run: Run,
    camera: Camera,
    video: VideoMeasure,
}

impl ImagesMeasure {
    fn message(&mut self, carrier: Carrier, carried: Carried<'_>, log_time: u64, sampling: &mut Sampling) {
        let Carried { format, data, size, .. } = carried;
        let codec = VideoMeasure::codec(format).filter(|_| carrier != Carrier::Raw && carrier != Carrier::RosRaw);
        match (size, codec) {
            (Some(size), _) => self.raw(format, size, data, log_time, sampling),
            (None, Some(codec)) => {
                self.facts.other += 1;
                self.video.unit(codec, data, log_time);
            }
            (None, None) => self.compressed(data, log_time, sampling),
        }
        self.same(data, log_time);
    }

    fn compressed(&mut self, image: &[u8], log_time: u64, sampling: &mut Sampling) {
        let frame = frame(image);
        if frame != Frame::Other && self.camera.is_due(log_time, sampling) {
            match frame {
                Frame::Jpeg { width, height, .. } => self.camera.encoded(Coding::Jpeg, image, (width, height), log_time, sampling),
                Frame::Png { width, height } => self.camera.encoded(Coding::Png, image, (width, height), log_time, sampling),
                Frame::Broken { .. } | Frame::Other => self.camera.decoded(Decoded::Broken, log_time),
            }
        }
        match frame {
            Frame::Jpeg { width, height, padded } => {
                self.facts.jpeg += 1;
                self.facts.padded += u64::from(padded);
                self.size(width, height);
            }
            Frame::Png { width, height } => {
                self.facts.png += 1;
                self.size(width, height);
            }
            Frame::Broken { jpeg } => {
                if jpeg {
                    self.facts.jpeg += 1
                } else {
                    self.facts.png += 1
                }
                self.bad(log_time);
            }
            Frame::Other => self.facts.other += 1,
        }
    }

    fn raw(&mut self, encoding: &[u8], size: RawSize, image: &[u8], log_time: u64, sampling: &mut Sampling) {
        let RawSize { width, height, step } = size;
        self.facts.raw += 1;
        if u64::from(step) * u64::from(height) != image.len() as u64 {
            self.bad(log_time);
        }
        let layout = decode::Layout::of(encoding);
        if let Some(layout) = layout.filter(|_| self.camera.is_due(log_time, sampling)) {
            self.camera.decoded(decode::raw(layout, image, width, height, step), log_time);
        }
        self.size(width, height);
    }

    fn bad(&mut self, log_time: u64) {
        self.facts.bad += 1;
        self.facts.first_bad_at_ns.get_or_insert(log_time);
    }

    fn size(&mut self, width: u32, height: u32) {
        let (width, height) = (u64::from(width), u64::from(height));
        let facts = &mut self.facts;
        if (facts.width, facts.height) == (0, 0) {
            (facts.width, facts.height) = (width, height);
        } else if (facts.width, facts.height) != (width, height) {
            facts.other_size += 1;
        }
    }

    /// The noise of a sensor never repeats an image.
    fn same(&mut self, image: &[u8], log_time: u64) {
        let this = (image.len(), crc32fast::hash(image));
        if self.any && this == self.last {
            self.run.messages += 1;
            let frozen_ns = log_time.saturating_sub(self.run.from);
            if frozen_ns > self.facts.frozen_ns {
                (self.facts.frozen_ns, self.facts.frozen_from_ns, self.facts.frozen_messages) =
                    (frozen_ns, self.run.from, self.run.messages);
            }
        } else {
            self.run = Run { from: log_time, messages: 1 };
        }
        (self.any, self.last) = (true, this);
    }
}
