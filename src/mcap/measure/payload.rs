//! What payloads of the known types say: cameras, joints, inertial sensors.

use super::decode::{self, Coding, Decoded};
use super::fields::{Fields, Layout};
use super::joints::{JointsMeasure, Run};
use super::picture::{Frame, frame};
use super::sample::{Camera, Sampling};
use super::spread::Differences;
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
    Compressed(Box<ImagesMeasure>),
    Raw(Box<ImagesMeasure>),
    Imu(Imu),
}

impl Payloads {
    /// Nothing for types that are not looked into.
    pub fn of(message_type: &str, message_encoding: &str, schema_encoding: &str) -> Option<Self> {
        let content = match Kind::of(message_type) {
            Kind::Joints => Content::Joints(Box::default()),
            Kind::Imu => Content::Imu(Imu::default()),
            Kind::Camera if message_type.ends_with("/CompressedImage") => Content::Compressed(Box::default()),
            Kind::Camera if message_type.ends_with("/Image") => Content::Raw(Box::default()),
            Kind::Camera | Kind::Other => return None,
        };
        let layout = Layout::of(message_encoding, schema_encoding)?;
        Some(Self { layout, stamps: Differences::default(), understood: 0, unread: 0, content })
    }

    pub fn message(&mut self, payload: &[u8], log_time: u64, sampling: &mut Sampling) {
        let stamp = Fields::of(payload, self.layout).and_then(|fields| match &mut self.content {
            Content::Joints(joints) => joints.message(fields, log_time),
            Content::Compressed(images) => images.compressed(fields, log_time, sampling),
            Content::Raw(images) => images.raw(fields, log_time, sampling),
            Content::Imu(facts) => imu(facts, fields),
        });
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
            Content::Compressed(images) | Content::Raw(images) => Some(images),
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

    pub fn finish(self, facts: &mut TopicFacts) -> Option<Spread> {
        facts.unread = self.unread;
        if self.understood > 0 {
            match self.content {
                Content::Joints(joints) => facts.joints = joints.finish(),
                Content::Compressed(images) | Content::Raw(images) => {
                    let ImagesMeasure { facts: mut images, camera, .. } = *images;
                    images.samples = camera.finish();
                    // A topic whose payloads are understood has a broken one where one is not.
                    images.bad += std::mem::take(&mut facts.unread);
                    facts.images = Some(images);
                }
                Content::Imu(imu) => facts.imu = Some(imu),
            }
        }
        self.stamps.finish()
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
}

impl ImagesMeasure {
    fn compressed(&mut self, mut fields: Fields<'_>, log_time: u64, sampling: &mut Sampling) -> Option<u64> {
        let stamp = fields.header()?;
        fields.text()?;
        let image = fields.bytes()?;
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
        self.same(image, log_time);
        Some(stamp)
    }

    fn raw(&mut self, mut fields: Fields<'_>, log_time: u64, sampling: &mut Sampling) -> Option<u64> {
        let stamp = fields.header()?;
        let (height, width) = (fields.u32()?, fields.u32()?);
        let layout = decode::Layout::of(fields.text()?);
        let _big_endian = fields.u8()?;
        let step = fields.u32()?;
        let image = fields.bytes()?;
        self.facts.raw += 1;
        if u64::from(step) * u64::from(height) != image.len() as u64 {
            self.bad(log_time);
        }
        if let Some(layout) = layout.filter(|_| self.camera.is_due(log_time, sampling)) {
            self.camera.decoded(decode::raw(layout, image, width, height, step), log_time);
        }
        self.size(width, height);
        self.same(image, log_time);
        Some(stamp)
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
