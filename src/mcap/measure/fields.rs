//! Values off the front of a payload, as ROS 1 and ROS 2 (CDR) write them.
//!
//! Reading is total: what does not fit is nothing. A payload in another layout is not understood, which is no fault.

/// A list of more numbers is none of joints.
const NUMBERS_MAX: usize = 1024;

/// How a payload is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Ros1,
    /// `ros1_header`: as some converters write it, with the sequence number that ROS 1 has in a header.
    Cdr {
        ros1_header: bool,
    },
    /// Only messages of Foxglove.
    Protobuf,
}

impl Layout {
    pub fn of(message_encoding: &str, schema_encoding: &str) -> Option<Self> {
        match message_encoding {
            "ros1" => Some(Self::Ros1),
            "protobuf" => Some(Self::Protobuf),
            "cdr" => Some(Self::Cdr { ros1_header: schema_encoding == "ros1msg" }),
            _ => None,
        }
    }
}

#[derive(Clone, Copy)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// No value is aligned to more.
    align_max: usize,
    big_endian: bool,
    header_has_seq: bool,
}

impl<'a> Fields<'a> {
    pub fn of(payload: &'a [u8], layout: Layout) -> Option<Self> {
        let (bytes, align_max, big_endian, header_has_seq) = match layout {
            Layout::Ros1 => (payload, 1, false, true),
            Layout::Protobuf => return None,
            Layout::Cdr { ros1_header } => {
                let (head, body) = payload.split_first_chunk::<4>()?;
                // The first version of CDR, and the second, which aligns to four bytes.
                let (align_max, big_endian) = match head[..2] {
                    [0, 0] => (8, true),
                    [0, 1] => (8, false),
                    [0, 6] => (4, true),
                    [0, 7] => (4, false),
                    _ => return None,
                };
                (body, align_max, big_endian, ros1_header)
            }
        };
        Some(Self { bytes, at: 0, align_max, big_endian, header_has_seq })
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.at = self.at.next_multiple_of(N.min(self.align_max));
        let mut bytes: [u8; N] = self.take(N)?.try_into().ok()?;
        if self.big_endian {
            bytes.reverse();
        }
        Some(bytes)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.number().map(u8::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.number().map(u32::from_le_bytes)
    }

    pub fn f64(&mut self) -> Option<f64> {
        self.number().map(f64::from_le_bytes)
    }

    /// Bytes behind their number.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(usize::try_from(len).ok()?)
    }

    /// A text, without the zero that CDR ends it with.
    pub fn text(&mut self) -> Option<&'a [u8]> {
        let bytes = self.bytes()?;
        Some(bytes.strip_suffix(&[0]).unwrap_or(bytes))
    }

    /// How many elements follow, each of at least so many bytes.
    fn len(&mut self, each: usize) -> Option<usize> {
        let len = usize::try_from(self.u32()?).ok()?;
        (len.checked_mul(each)? <= self.bytes.len() - self.at).then_some(len)
    }

    /// A list of texts: how many, and a checksum of them without what is between them, which is not always the same.
    pub fn texts(&mut self) -> Option<(usize, u32)> {
        let len = self.len(4)?;
        let mut hash = crc32fast::Hasher::new();
        for _ in 0..len {
            hash.update(self.text()?);
            hash.update(&[0]);
        }
        Some((len, hash.finalize()))
    }

    pub fn f64s(&mut self, into: &mut Vec<f64>) -> Option<()> {
        into.clear();
        let len = self.len(8).filter(|len| *len <= NUMBERS_MAX)?;
        for _ in 0..len {
            into.push(self.f64()?);
        }
        Some(())
    }

    /// A time in nanoseconds.
    pub fn stamp(&mut self) -> Option<u64> {
        let (seconds, nanoseconds) = (self.u32()?, self.u32()?);
        Some(u64::from(seconds) * 1_000_000_000 + u64::from(nanoseconds))
    }

    /// `std_msgs/Header`: its stamp in nanoseconds.
    pub fn header(&mut self) -> Option<u64> {
        if self.header_has_seq {
            self.u32()?;
        }
        let stamp = self.stamp()?;
        self.text()?;
        Some(stamp)
    }

    /// Whether nothing of note is left. Writers reserve for alignment more than they need, and leave it behind the end.
    pub fn is_used_up(&self) -> bool {
        self.bytes.len().saturating_sub(self.at) < 64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CDR: Layout = Layout::Cdr { ros1_header: false };

    #[test]
    fn values_are_aligned_as_their_layout_has_it() {
        let cdr = [0, 1, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0, b'a', 0, 0, 0];
        let cdr = [&cdr[..], &1.5f64.to_le_bytes()].concat();
        let mut fields = Fields::of(&cdr, CDR).unwrap();
        assert_eq!((fields.header(), fields.f64()), (Some(7_000_000_009), Some(1.5)));
        assert!(fields.is_used_up());
        let ros1 = [&[3, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, b'a'][..], &1.5f64.to_le_bytes()].concat();
        let mut fields = Fields::of(&ros1, Layout::Ros1).unwrap();
        assert_eq!((fields.header(), fields.f64()), (Some(7_000_000_009), Some(1.5)));
        let big = [0, 0, 0, 0, 0, 0, 0, 1, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0];
        let mut fields = Fields::of(&big, CDR).unwrap();
        assert_eq!((fields.u32(), fields.f64()), (Some(1), None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..80), ros1 in any::<bool>()) {
            let layout = if ros1 { Layout::Ros1 } else { CDR };
            let payload = [&[0, 1, 0, 0][..], &bytes].concat();
            if let Some(mut fields) = Fields::of(&payload, layout) {
                let _ = fields.header();
                let _ = fields.texts();
                let _ = fields.f64s(&mut vec![]);
                let _ = fields.bytes();
            }
        }
    }
}
