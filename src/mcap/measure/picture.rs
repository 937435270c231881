//! Whether an image is whole, by its frame: what it begins and ends with. Pixels are not looked at.

/// What the frame of an image says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    Jpeg {
        width: u32,
        height: u32,
        padded: bool,
    },
    Png {
        width: u32,
        height: u32,
    },
    /// It begins as one of these and is not whole.
    Broken {
        jpeg: bool,
    },
    /// It begins as neither.
    Other,
}

const JPEG: [u8; 2] = [0xff, 0xd8];
const JPEG_END: [u8; 2] = [0xff, 0xd9];
const PNG: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

pub fn frame(image: &[u8]) -> Frame {
    if image.starts_with(&JPEG) {
        return jpeg(image).unwrap_or(Frame::Broken { jpeg: true });
    }
    if image.starts_with(&PNG) {
        return png(image).unwrap_or(Frame::Broken { jpeg: false });
    }
    Frame::Other
}

fn jpeg(image: &[u8]) -> Option<Frame> {
    // Cameras pad their images: four of ten real ones have zeros behind their end.
    let end = image.iter().rposition(|byte| *byte != 0)? + 1;
    let whole = image[..end].strip_suffix(&JPEG_END)?;
    let mut rest = whole.strip_prefix(&JPEG)?;
    loop {
        let (marker, after) = rest.split_first_chunk::<2>()?;
        let [0xff, kind] = *marker else { return None };
        match kind {
            // Bytes to fill with; markers without a length.
            0xff => rest = &rest[1..],
            0x01 | 0xd0..=0xd7 => rest = after,
            // The first scan comes without a frame before it.
            0xda => return None,
            _ => {
                let len = usize::from(u16::from_be_bytes(*after.first_chunk()?));
                let (segment, behind) = after.split_at_checked(len.max(2))?;
                if matches!(kind, 0xc0..=0xcf) && !matches!(kind, 0xc4 | 0xc8 | 0xcc) {
                    let size = segment.get(3..7)?;
                    let (height, width) = (u16::from_be_bytes([size[0], size[1]]), u16::from_be_bytes([size[2], size[3]]));
                    return Some(Frame::Jpeg { width: width.into(), height: height.into(), padded: end < image.len() });
                }
                rest = behind;
            }
        }
    }
}

fn png(image: &[u8]) -> Option<Frame> {
    let mut rest = image.strip_prefix(&PNG)?;
    let mut size = None;
    loop {
        let (len, after) = rest.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        let (hashed, behind) = after.split_at_checked(len.checked_add(4)?)?;
        let (crc, behind) = behind.split_first_chunk::<4>()?;
        if crc32fast::hash(hashed) != u32::from_be_bytes(*crc) {
            return None;
        }
        let (kind, data) = hashed.split_first_chunk::<4>()?;
        match (kind, size) {
            (b"IHDR", None) => {
                let (width, data) = data.split_first_chunk()?;
                size = Some((u32::from_be_bytes(*width), u32::from_be_bytes(*data.first_chunk()?)));
            }
            // The header comes first.
            (_, None) => return None,
            (b"IEND", Some((width, height))) => return Some(Frame::Png { width, height }),
            _ => {}
        }
        rest = behind;
    }
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(width: u16, height: u16) -> Vec<u8> {
        let mut image = vec![];
        let pixels = vec![90; usize::from(width) * usize::from(height) * 3];
        jpeg_encoder::Encoder::new(&mut image, 80).encode(&pixels, width, height, jpeg_encoder::ColorType::Rgb).unwrap();
        image
    }

    pub fn png_of(width: u32, height: u32) -> Vec<u8> {
        let chunk = |kind: &[u8], data: &[u8]| {
            let hashed = [kind, data].concat();
            [&(data.len() as u32).to_be_bytes()[..], &hashed, &crc32fast::hash(&hashed).to_be_bytes()].concat()
        };
        let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
        [&PNG[..], &chunk(b"IHDR", &header), &chunk(b"IDAT", &[1, 2, 3]), &chunk(b"IEND", &[])].concat()
    }

    #[test]
    fn a_jpeg_is_whole_with_zeros_behind_its_end_and_not_without_its_end() {
        let image = encoded(64, 48);
        assert_eq!(frame(&image), Frame::Jpeg { width: 64, height: 48, padded: false });
        let padded = [&image[..], &[0; 900]].concat();
        assert_eq!(frame(&padded), Frame::Jpeg { width: 64, height: 48, padded: true });
        assert_eq!(frame(&image[..image.len() - 1]), Frame::Broken { jpeg: true });
        assert_eq!(frame(&image[..image.len() / 2]), Frame::Broken { jpeg: true });
        assert_eq!(frame(b"\xff\xd8\xff\xd9"), Frame::Broken { jpeg: true });
    }

    #[test]
    fn a_png_is_whole_with_every_checksum() {
        let image = png_of(31, 7);
        assert_eq!(frame(&image), Frame::Png { width: 31, height: 7 });
        for at in 8..image.len() {
            let mut damaged = image.clone();
            damaged[at] ^= 0x40;
            assert_eq!(frame(&damaged), Frame::Broken { jpeg: false }, "byte {at}");
        }
        assert_eq!(frame(b"h264"), Frame::Other);
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200), jpeg in any::<bool>()) {
            let start: &[u8] = if jpeg { &JPEG } else { &PNG };
            let _ = frame(&[start, &bytes].concat());
            let _ = frame(&[start, &bytes, &JPEG_END].concat());
        }
    }
}
