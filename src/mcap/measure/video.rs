//! H.264 and H.265 as they come, one access unit in a message: what the first one brings, and how often a picture stands alone.

use crate::domain::measurement::{Video, VideoCodec};

#[derive(Default)]
pub struct VideoMeasure {
    facts: Option<Video>,
    /// The last picture that stands alone, or else the first unit.
    key_at: u64,
}

/// What one access unit holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Unit {
    /// It has start codes.
    any: bool,
    video: bool,
    sequence: bool,
    picture: bool,
    key: bool,
}

impl VideoMeasure {
    /// The codec that a format names.
    pub fn codec(format: &[u8]) -> Option<VideoCodec> {
        match format {
            b"h264" | b"H264" | b"avc" => Some(VideoCodec::H264),
            b"h265" | b"H265" | b"hevc" => Some(VideoCodec::H265),
            _ => None,
        }
    }

    pub fn unit(&mut self, codec: VideoCodec, data: &[u8], at: u64) {
        let unit = unit(codec, data);
        let first = self.facts.is_none();
        let facts = self.facts.get_or_insert_with(|| Video {
            codec,
            units: 0,
            without_start_codes: 0,
            begins_complete: unit.key && unit.sequence && unit.picture && (unit.video || codec == VideoCodec::H264),
            key_units: 0,
            longest_without_key_ns: 0,
        });
        if first {
            self.key_at = at;
        }
        facts.units += 1;
        facts.without_start_codes += u64::from(!unit.any);
        facts.longest_without_key_ns = facts.longest_without_key_ns.max(at.saturating_sub(self.key_at));
        if unit.key {
            facts.key_units += 1;
            self.key_at = at;
        }
    }

    pub fn finish(self) -> Option<Video> {
        self.facts
    }
}

fn unit(codec: VideoCodec, data: &[u8]) -> Unit {
    let mut unit = Unit::default();
    let mut rest = data;
    while let Some(at) = rest.windows(3).position(|bytes| bytes == [0, 0, 1]) {
        rest = &rest[at + 3..];
        unit.any = true;
        let Some(head) = rest.first() else { break };
        match (codec, head & 0x1f, head >> 1 & 0x3f) {
            (VideoCodec::H264, 7, _) | (VideoCodec::H265, _, 33) => unit.sequence = true,
            (VideoCodec::H264, 8, _) | (VideoCodec::H265, _, 34) => unit.picture = true,
            (VideoCodec::H265, _, 32) => unit.video = true,
            (VideoCodec::H264, 5, _) | (VideoCodec::H265, _, 16..=21) => {
                unit.key = true;
                // What follows is the picture itself.
                break;
            }
            (VideoCodec::H264, 1, _) | (VideoCodec::H265, _, 0..=9) => break,
            _ => {}
        }
    }
    unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(heads: &[u8]) -> Vec<u8> {
        heads.iter().flat_map(|head| [0, 0, 0, 1, *head, 0x88, 0x84]).collect()
    }

    fn measured(codec: VideoCodec, all: &[(u64, Vec<u8>)]) -> Video {
        let mut measure = VideoMeasure::default();
        all.iter().for_each(|(at, data)| measure.unit(codec, data, *at));
        measure.finish().expect("units")
    }

    #[test]
    fn the_first_unit_has_all_that_a_decoder_wants() {
        let h264 =
            measured(VideoCodec::H264, &[(0, units(&[0x67, 0x68, 0x65])), (1, units(&[0x41])), (5, units(&[0x65])), (7, units(&[0x41]))]);
        assert_eq!((h264.begins_complete, h264.units, h264.key_units, h264.longest_without_key_ns), (true, 4, 2, 5));
        assert!(!measured(VideoCodec::H264, &[(0, units(&[0x65]))]).begins_complete);
        assert!(!measured(VideoCodec::H264, &[(0, units(&[0x67, 0x68, 0x41]))]).begins_complete);
        let h265 = |heads: &[u8]| measured(VideoCodec::H265, &[(0, units(heads))]).begins_complete;
        assert!(h265(&[32 << 1, 33 << 1, 34 << 1, 19 << 1]) && !h265(&[33 << 1, 34 << 1, 19 << 1]));
        let packed = measured(VideoCodec::H264, &[(0, vec![0, 0, 9, 0x65, 1, 2])]);
        assert_eq!((packed.without_start_codes, packed.begins_complete), (1, false));
    }
}
