//! Pixels as a JPEG, for people to look at.

use std::panic::{AssertUnwindSafe, catch_unwind};

use jpeg_encoder::{ColorType, Encoder};

use super::decode::{IMAGE_BYTES_MAX, Layout, Refused, TOO_LARGE, is_decoded, png_rows};

/// One sees no difference, and it has a tenth of the bytes.
const QUALITY: u8 = 85;

/// A raw image whose rows have `step` bytes.
pub fn raw_as_jpeg(encoding: &[u8], image: &[u8], width: u32, height: u32, step: u32) -> Result<Vec<u8>, Refused> {
    let layout = Layout::of(encoding).ok_or(Refused::LeftOut("its pixels are stored in a way that is not shown"))?;
    if !is_decoded(width, height) {
        return Err(Refused::LeftOut(TOO_LARGE));
    }
    let row_bytes = width as usize * layout.bytes();
    if (step as usize) < row_bytes || image.len() as u64 != u64::from(step) * u64::from(height) {
        return Err(Refused::Broken);
    }
    let mut canvas = Canvas::default();
    image.chunks_exact(step as usize).for_each(|row| canvas.row(&row[..row_bytes], layout));
    canvas.encoded(width, height)
}

pub fn png_as_jpeg(image: &[u8], width: u32, height: u32) -> Result<Vec<u8>, Refused> {
    if !is_decoded(width, height) || image.len() > IMAGE_BYTES_MAX {
        return Err(Refused::LeftOut(TOO_LARGE));
    }
    let mut canvas = Canvas::default();
    let decoding = AssertUnwindSafe(|| png_rows(image, (width as usize, height as usize), |row, layout| canvas.row(row, layout)));
    catch_unwind(decoding).unwrap_or(Err(Refused::LeftOut("the decoder failed")))?;
    canvas.encoded(width, height)
}

/// Red, green and blue of each pixel.
#[derive(Default)]
struct Canvas(Vec<u8>);

impl Canvas {
    fn row(&mut self, row: &[u8], layout: Layout) {
        let pixels = row.chunks_exact(layout.bytes());
        match layout {
            Layout::Mono | Layout::MonoAlpha => self.0.extend(pixels.flat_map(|pixel| [pixel[0]; 3])),
            Layout::Rgb | Layout::Rgba => self.0.extend(pixels.flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])),
            Layout::Bgr | Layout::Bgra => self.0.extend(pixels.flat_map(|pixel| [pixel[2], pixel[1], pixel[0]])),
        }
    }

    fn encoded(self, width: u32, height: u32) -> Result<Vec<u8>, Refused> {
        let (Ok(columns), Ok(rows)) = (u16::try_from(width), u16::try_from(height)) else { return Err(Refused::LeftOut(TOO_LARGE)) };
        let mut jpeg = vec![];
        // It has as many pixels as it says, or the encoder refuses it.
        Encoder::new(&mut jpeg, QUALITY).encode(&self.0, columns, rows, ColorType::Rgb).map_err(|_| Refused::Broken)?;
        Ok(jpeg)
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::{Coding, Decoded, decode};
    use super::super::picture::{Frame, frame};
    use super::*;

    /// What a JPEG of this size shows, as brightness.
    fn luma(jpeg: &[u8], width: u32, height: u32) -> u8 {
        assert_eq!(frame(jpeg), Frame::Jpeg { width, height, padded: false });
        match decode(Coding::Jpeg, jpeg, width, height) {
            Decoded::Thumb(thumb) => thumb.pixels().luma,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pixels_of_every_order_look_the_same() {
        let padded = |pixel: &[u8]| [pixel.repeat(40), vec![9; 5]].concat().repeat(30);
        for (encoding, pixel) in [
            ("rgb8", &[200, 100, 0][..]),
            ("bgr8", &[0, 100, 200]),
            ("rgba8", &[200, 100, 0, 7]),
            ("bgra8", &[0, 100, 200, 7]),
            ("mono8", &[118]),
        ] {
            let step = pixel.len() as u32 * 40 + 5;
            let jpeg = raw_as_jpeg(encoding.as_bytes(), &padded(pixel), 40, 30, step).expect(encoding);
            assert!(luma(&jpeg, 40, 30).abs_diff(118) <= 2, "{encoding}: {}", luma(&jpeg, 40, 30));
        }
        let mut png = vec![];
        let mut encoder = png::Encoder::new(&mut png, 40, 30);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header().unwrap().write_image_data(&[200, 100, 0].repeat(1200)).unwrap();
        assert!(luma(&png_as_jpeg(&png, 40, 30).unwrap(), 40, 30).abs_diff(118) <= 2);
    }

    #[test]
    fn what_is_not_an_image_of_its_size_is_none() {
        let raw = |encoding: &str, bytes, width, height, step| raw_as_jpeg(encoding.as_bytes(), &vec![0; bytes], width, height, step);
        assert_eq!(raw("rgb8", 100, 10, 10, 30), Err(Refused::Broken));
        assert_eq!(raw("rgb8", 200, 10, 10, 20), Err(Refused::Broken));
        assert!(matches!(raw("16UC1", 200, 10, 10, 20), Err(Refused::LeftOut(_))));
        assert_eq!(raw("mono8", 0, u32::MAX, u32::MAX, 0), Err(Refused::LeftOut(TOO_LARGE)));
        assert_eq!(raw("mono8", 0, 0, 0, 0), Err(Refused::LeftOut(TOO_LARGE)));
        // More columns than a JPEG has.
        assert_eq!(raw("mono8", 70_000, 70_000, 1, 70_000), Err(Refused::LeftOut(TOO_LARGE)));
        assert_eq!(png_as_jpeg(b"\x89PNG\r\n\x1a\n", 10, 10), Err(Refused::Broken));
    }
}
