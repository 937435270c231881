//! What a message of a camera carries, in CDR, as ROS 1 writes it, and in the protobuf of Foxglove.

use super::fields::{Fields, Layout};
use super::protobuf::{Value, fields};

/// The kinds of messages of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// `sensor_msgs/CompressedImage` and `sensor_msgs/Image`.
    RosCompressed,
    RosRaw,
    /// `foxglove.CompressedImage`, `foxglove.RawImage` and `foxglove.CompressedVideo`.
    Compressed,
    Raw,
    Video,
}

impl Carrier {
    pub fn of(message_type: &str) -> Option<Self> {
        match message_type.replacen("/msg/", "/", 1).as_str() {
            "sensor_msgs/CompressedImage" => Some(Self::RosCompressed),
            "sensor_msgs/Image" => Some(Self::RosRaw),
            "foxglove.CompressedImage" | "foxglove_msgs/CompressedImage" => Some(Self::Compressed),
            "foxglove.RawImage" | "foxglove_msgs/RawImage" => Some(Self::Raw),
            "foxglove.CompressedVideo" | "foxglove_msgs/CompressedVideo" => Some(Self::Video),
            _ => None,
        }
    }
}

/// One message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried<'a> {
    /// In nanoseconds; 0 where the robot does not stamp.
    pub stamp: u64,
    pub format: &'a [u8],
    pub data: &'a [u8],
    /// Of raw images.
    pub size: Option<RawSize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawSize {
    pub width: u32,
    pub height: u32,
    pub step: u32,
}

/// Nothing, where the payload is not understood.
pub fn carried(carrier: Carrier, layout: Layout, payload: &[u8]) -> Option<Carried<'_>> {
    match layout {
        Layout::Protobuf => protobuf(carrier, payload),
        Layout::Ros1 | Layout::Cdr { .. } => ros(carrier, Fields::of(payload, layout)?),
    }
}

fn ros(carrier: Carrier, mut fields: Fields<'_>) -> Option<Carried<'_>> {
    let stamp = match carrier {
        Carrier::RosCompressed | Carrier::RosRaw => fields.header()?,
        Carrier::Compressed | Carrier::Raw | Carrier::Video => {
            let stamp = fields.stamp()?;
            fields.text()?;
            stamp
        }
    };
    Some(match carrier {
        Carrier::RosCompressed => Carried { stamp, format: fields.text()?, data: fields.bytes()?, size: None },
        Carrier::Compressed | Carrier::Video => {
            let data = fields.bytes()?;
            Carried { stamp, format: fields.text()?, data, size: None }
        }
        Carrier::RosRaw => {
            let (height, width) = (fields.u32()?, fields.u32()?);
            let format = fields.text()?;
            let _big_endian = fields.u8()?;
            let step = fields.u32()?;
            Carried { stamp, format, data: fields.bytes()?, size: Some(RawSize { width, height, step }) }
        }
        Carrier::Raw => {
            let (width, height) = (fields.u32()?, fields.u32()?);
            let format = fields.text()?;
            let step = fields.u32()?;
            Carried { stamp, format, data: fields.bytes()?, size: Some(RawSize { width, height, step }) }
        }
    })
}

/// Fields come in any order, and what is 0 or empty does not come.
fn protobuf(carrier: Carrier, payload: &[u8]) -> Option<Carried<'_>> {
    let (data, format) = match carrier {
        Carrier::Compressed => (2, 3),
        Carrier::Raw => (6, 4),
        Carrier::Video => (3, 4),
        Carrier::RosCompressed | Carrier::RosRaw => return None,
    };
    let mut carried = Carried::default();
    let mut size = RawSize::default();
    for field in fields(payload) {
        match field? {
            (1, Value::Bytes(stamp)) => carried.stamp = timestamp(stamp)?,
            (number, Value::Bytes(bytes)) if number == data => carried.data = bytes,
            (number, Value::Bytes(bytes)) if number == format => carried.format = bytes,
            (2, Value::Fixed32(width)) => size.width = width,
            (3, Value::Fixed32(height)) => size.height = height,
            (5, Value::Fixed32(step)) => size.step = step,
            _ => {}
        }
    }
    carried.size = (carrier == Carrier::Raw).then_some(size);
    Some(carried)
}

fn timestamp(bytes: &[u8]) -> Option<u64> {
    let (mut seconds, mut nanoseconds) = (0u64, 0u64);
    for field in fields(bytes) {
        match field? {
            (1, Value::Varint(value)) => seconds = value,
            (2, Value::Varint(value)) => nanoseconds = value,
            _ => {}
        }
    }
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As protobuf writes it.
    fn bytes(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut all = vec![number << 3 | 2];
        let mut len = bytes.len();
        while len > 127 {
            all.push(len as u8 | 0x80);
            len >>= 7;
        }
        all.push(len as u8);
        all.extend(bytes);
        all
    }

    fn fixed32(number: u8, value: u32) -> Vec<u8> {
        [&[number << 3 | 5][..], &value.to_le_bytes()].concat()
    }

    #[test]
    fn messages_of_foxglove_are_read_in_both_layouts() {
        let stamp = bytes(1, &[1 << 3, 7, 2 << 3, 9]);
        let image = [&stamp[..], &bytes(2, &[5; 300]), &bytes(3, b"jpeg"), &bytes(4, b"front")].concat();
        let found = carried(Carrier::Compressed, Layout::Protobuf, &image).unwrap();
        assert_eq!((found.stamp, found.format, found.data.len(), found.size), (7_000_000_009, &b"jpeg"[..], 300, None));
        let raw = [&stamp[..], &fixed32(2, 4), &fixed32(3, 2), &bytes(4, b"rgb8"), &fixed32(5, 12), &bytes(6, &[1; 24])].concat();
        let found = carried(Carrier::Raw, Layout::Protobuf, &raw).unwrap();
        assert_eq!((found.format, found.data.len(), found.size), (&b"rgb8"[..], 24, Some(RawSize { width: 4, height: 2, step: 12 })));
        let cdr =
            [&[0, 1, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0, b'a', 0, 0, 0, 3, 0, 0, 0, 1, 2, 3, 0, 5, 0, 0, 0][..], b"h264\0"].concat();
        let found = carried(Carrier::Video, Layout::Cdr { ros1_header: false }, &cdr).unwrap();
        assert_eq!((found.stamp, found.format, found.data), (7_000_000_009, &b"h264"[..], &[1, 2, 3][..]));
        assert_eq!(carried(Carrier::Compressed, Layout::Protobuf, &image[..50]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            for carrier in [Carrier::RosCompressed, Carrier::RosRaw, Carrier::Compressed, Carrier::Raw, Carrier::Video] {
                for layout in [Layout::Protobuf, Layout::Ros1, Layout::Cdr { ros1_header: true }] {
                    let data = carried(carrier, layout, &bytes).map_or(0, |carried| carried.data.len());
                    prop_assert!(data <= bytes.len());
                }
            }
        }
    }
}
