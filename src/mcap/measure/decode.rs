//! Decodes one image to a thumb, within bounds, whatever the image claims.
//!
//! The size in its header is compared before a byte is allocated. What is too large, or of a kind that no decoder here knows, is left out,
//! which is no fault of the image; a decoder that panics is our mistake, and no fault of the image either.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use png::{BitDepth, ColorType, DecodingError, Transformations};
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::thumb::{Shrinking, Thumb, luma_of};

/// What became of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    Thumb(Thumb),
    /// It is not what its frame promises.
    Broken,
    LeftOut(&'static str),
}

/// Why an image has no pixels for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is not what its frame promises.
    Broken,
    LeftOut(&'static str),
}

impl From<Refused> for Decoded {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Broken => Self::Broken,
            Refused::LeftOut(why) => Self::LeftOut(why),
        }
    }
}

/// An image, by its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Jpeg,
    Png,
}

/// A little more than 4096 × 2160.
const PIXELS_MAX: u64 = 9_000_000;
/// An encoded image of so many pixels is smaller.
pub const IMAGE_BYTES_MAX: usize = 8 << 20;
/// Of images with more pixels one is decoded at a time: some take six bytes for each pixel meanwhile.
const LARGE_PIXELS: u64 = 2_100_000;
static LARGE: Mutex<()> = Mutex::new(());
/// Scans of a progressive JPEG, each of which goes over all pixels. Cameras and programs write ten.
const SCANS_MAX: usize = 32;
/// More than a decoder reads ahead.
const READ_AHEAD_BYTES: usize = 16;
/// Beside the rows themselves.
const PNG_BYTES_MAX: usize = 16 << 20;

pub const TOO_LARGE: &str = "it is larger than is decoded";

/// Whether an image that claims this size is decoded at all.
pub fn is_decoded(width: u32, height: u32) -> bool {
    (1..=PIXELS_MAX).contains(&(u64::from(width) * u64::from(height)))
}

pub fn decode(coding: Coding, image: &[u8], width: u32, height: u32) -> Decoded {
    if !is_decoded(width, height) || image.len() > IMAGE_BYTES_MAX {
        return Decoded::LeftOut(TOO_LARGE);
    }
    let large = u64::from(width) * u64::from(height) > LARGE_PIXELS;
    let _alone = large.then(|| LARGE.lock().unwrap_or_else(PoisonError::into_inner));
    let size = (width as usize, height as usize);
    let decoding = AssertUnwindSafe(|| match coding {
        Coding::Jpeg => jpeg(image, size),
        Coding::Png => png(image, size),
    });
    catch_unwind(decoding).unwrap_or(Decoded::LeftOut("the decoder failed"))
}

fn jpeg(image: &[u8], size: (usize, usize)) -> Decoded {
    // Each begins with this marker, and where there are so many it stands for nothing else.
    if image.windows(2).filter(|pair| pair == b"\xff\xda").count() > SCANS_MAX {
        return Decoded::LeftOut("it has more scans than are decoded");
    }
    let mut decoder = match headers(image, size) {
        Ok(decoder) => decoder,
        Err(decoded) => return decoded,
    };
    // A decoder takes an end that comes too early for one, and fills up. Without an end it says that something is missing.
    let sealed: Vec<u8>;
    if decoder.info().is_some_and(|info| info.sof.is_sequential_dct()) {
        sealed = [&image[..end_of(image)], &[0; READ_AHEAD_BYTES]].concat();
        decoder = match headers(&sealed, size) {
            Ok(decoder) => decoder,
            Err(decoded) => return decoded,
        };
    }
    let mut luma = vec![0; size.0 * size.1];
    if let Err(error) = decoder.decode_into(&mut luma) {
        return refused(&error);
    }
    let mut shrinking = Shrinking::of(size.0, size.1);
    luma.chunks_exact(size.0).for_each(|row| shrinking.row(row));
    shrinking.finish().map_or(Decoded::Broken, Decoded::Thumb)
}

type Jpeg<'a> = JpegDecoder<ZCursor<&'a [u8]>>;

/// A decoder that has read what stands before the first scan.
fn headers(image: &[u8], size: (usize, usize)) -> Result<Jpeg<'_>, Decoded> {
    let side_max = usize::from(u16::MAX);
    // Strictly: else what is missing is filled with grey.
    let options = DecoderOptions::default().set_strict_mode(true).set_max_width(side_max).set_max_height(side_max);
    let options = options.jpeg_set_max_scans(SCANS_MAX).jpeg_set_out_colorspace(ColorSpace::Luma);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(image), options);
    decoder.decode_headers().map_err(|error| refused(&error))?;
    if !matches!(decoder.input_colorspace(), Some(ColorSpace::YCbCr | ColorSpace::Luma)) {
        return Err(Decoded::LeftOut("its colours are stored in a way that is not decoded"));
    }
    if decoder.info().map(|info| (usize::from(info.width), usize::from(info.height))) != Some(size) {
        return Err(Decoded::Broken);
    }
    Ok(decoder)
}

fn refused(error: &DecodeErrors) -> Decoded {
    match error {
        DecodeErrors::Unsupported(_) => Decoded::LeftOut("it is a JPEG of a kind that is not decoded"),
        _ => Decoded::Broken,
    }
}

/// Where the end marker stands, behind which cameras put zeros.
fn end_of(image: &[u8]) -> usize {
    let end = image.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if image[..end].ends_with(b"\xff\xd9") { end - 2 } else { end }
}

fn png(image: &[u8], size: (usize, usize)) -> Decoded {
    let mut shrinking = Shrinking::of(size.0, size.1);
    let mut luma = vec![];
    let rows = png_rows(image, size, |row, layout| {
        luma.clear();
        brightness(&mut luma, row, layout);
        shrinking.row(&luma);
    });
    match rows {
        Ok(()) => shrinking.finish().map_or(Decoded::Broken, Decoded::Thumb),
        Err(refused) => refused.into(),
    }
}

/// Hands out the rows of a PNG, one after the other.
pub fn png_rows(image: &[u8], size: (usize, usize), mut each: impl FnMut(&[u8], Layout)) -> Result<(), Refused> {
    let refused = |error: DecodingError| match error {
        DecodingError::LimitsExceeded => Refused::LeftOut(TOO_LARGE),
        _ => Refused::Broken,
    };
    let mut decoder = png::Decoder::new_with_limits(std::io::Cursor::new(image), png::Limits { bytes: PNG_BYTES_MAX });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(refused)?;
    let info = reader.info();
    if (info.width as usize, info.height as usize) != size {
        return Err(Refused::Broken);
    }
    // Depth, mostly: millimetres that would all look black.
    if info.bit_depth == BitDepth::Sixteen {
        return Err(Refused::LeftOut("it has sixteen bits for a value"));
    }
    if info.interlaced {
        return Err(Refused::LeftOut("it is interlaced"));
    }
    let (colours, _) = reader.output_color_type();
    while let Some(row) = reader.next_row().map_err(refused)? {
        each(row.data(), layout_of(colours));
    }
    Ok(())
}

fn layout_of(colours: ColorType) -> Layout {
    match colours {
        ColorType::Grayscale | ColorType::Indexed => Layout::Mono,
        ColorType::GrayscaleAlpha => Layout::MonoAlpha,
        ColorType::Rgb => Layout::Rgb,
        ColorType::Rgba => Layout::Rgba,
    }
}

/// The order of values of eight bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Mono,
    MonoAlpha,
    Rgb,
    Rgba,
    Bgr,
    Bgra,
}

impl Layout {
    /// Of an encoding of raw images; nothing for those that are not looked into.
    pub fn of(encoding: &[u8]) -> Option<Self> {
        match encoding {
            b"mono8" | b"8UC1" => Some(Self::Mono),
            b"rgb8" => Some(Self::Rgb),
            b"rgba8" => Some(Self::Rgba),
            b"bgr8" | b"8UC3" => Some(Self::Bgr),
            b"bgra8" | b"8UC4" => Some(Self::Bgra),
            _ => None,
        }
    }

    pub fn bytes(self) -> usize {
        match self {
            Self::Mono => 1,
            Self::MonoAlpha => 2,
            Self::Rgb | Self::Bgr => 3,
            Self::Rgba | Self::Bgra => 4,
        }
    }
}

fn brightness(luma: &mut Vec<u8>, row: &[u8], layout: Layout) {
    let pixels = row.chunks_exact(layout.bytes());
    match layout {
        Layout::Mono | Layout::MonoAlpha => luma.extend(pixels.map(|pixel| pixel[0])),
        Layout::Rgb | Layout::Rgba => luma.extend(pixels.map(|pixel| luma_of(pixel[0], pixel[1], pixel[2]))),
        Layout::Bgr | Layout::Bgra => luma.extend(pixels.map(|pixel| luma_of(pixel[2], pixel[1], pixel[0]))),
    }
}

/// A raw image whose rows have `step` bytes.
pub fn raw(layout: Layout, image: &[u8], width: u32, height: u32, step: u32) -> Decoded {
    if !is_decoded(width, height) {
        return Decoded::LeftOut(TOO_LARGE);
    }
    let (width, step) = (width as usize, step as usize);
    if step < width * layout.bytes() {
        return Decoded::Broken;
    }
    let mut shrinking = Shrinking::of(width, height as usize);
    let mut luma = vec![];
    for row in image.chunks_exact(step) {
        luma.clear();
        brightness(&mut luma, &row[..width * layout.bytes()], layout);
        shrinking.row(&luma);
    }
    shrinking.finish().map_or(Decoded::Broken, Decoded::Thumb)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::super::picture::{Frame, frame};
    use super::super::thumb::Pixels;
    use super::*;

    fn encoded(progressive: bool, of: impl Fn(usize, usize) -> [u8; 3]) -> Vec<u8> {
        let mut image = vec![];
        let pixels: Vec<u8> = (0..320 * 240).flat_map(|n| of(n % 320, n / 320)).collect();
        let mut encoder = jpeg_encoder::Encoder::new(&mut image, 90);
        encoder.set_progressive(progressive);
        encoder.encode(&pixels, 320, 240, jpeg_encoder::ColorType::Rgb).unwrap();
        image
    }

    fn scene(x: usize, y: usize) -> [u8; 3] {
        [(x / 2) as u8, (y / 2) as u8 + 40, ((x / 16 + y / 16) % 2 * 120) as u8]
    }

    fn pixels(decoded: Decoded) -> Pixels {
        match decoded {
            Decoded::Thumb(thumb) => thumb.pixels(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_same_scene_looks_the_same_in_every_coding() {
        let rgb: Vec<u8> = (0..320 * 240).flat_map(|n| scene(n % 320, n / 320)).collect();
        let expected = pixels(raw(Layout::Rgb, &rgb, 320, 240, 960));
        assert!((80..100).contains(&expected.luma) && expected.spread > 20 && expected.blur > 0, "{expected:?}");
        let bgra: Vec<u8> = rgb.chunks(3).flat_map(|pixel| [pixel[2], pixel[1], pixel[0], 255]).collect();
        assert_eq!(pixels(raw(Layout::Bgra, &bgra, 320, 240, 1280)), expected);
        let mut image = vec![];
        let mut encoder = png::Encoder::new(&mut image, 320, 240);
        encoder.set_color(ColorType::Rgb);
        encoder.write_header().unwrap().write_image_data(&rgb).unwrap();
        assert_eq!(pixels(decode(Coding::Png, &image, 320, 240)), expected);
        for progressive in [false, true] {
            let image = encoded(progressive, scene);
            for image in [image.clone(), [&image[..], &[0; 700]].concat()] {
                let found = pixels(decode(Coding::Jpeg, &image, 320, 240));
                assert!(found.luma.abs_diff(expected.luma) <= 1 && found.spread.abs_diff(expected.spread) <= 2, "{found:?} {expected:?}");
            }
        }
    }

    #[test]
    fn what_claims_a_huge_size_is_left_out_and_takes_no_memory() {
        let mut image = encoded(false, scene);
        let at = image.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        image[at + 5..at + 9].fill(0xff);
        let Frame::Jpeg { width, height, .. } = frame(&image) else { panic!() };
        assert_eq!((width, height), (65_535, 65_535));
        assert_eq!(decode(Coding::Jpeg, &image, width, height), Decoded::LeftOut(TOO_LARGE));
        assert_eq!(decode(Coding::Png, &image, u32::MAX, u32::MAX), Decoded::LeftOut(TOO_LARGE));
        assert_eq!(raw(Layout::Rgb, &[], u32::MAX, u32::MAX, u32::MAX), Decoded::LeftOut(TOO_LARGE));
    }

    #[test]
    fn an_even_image_has_short_rows_and_is_whole() {
        for value in [0, 90, 255] {
            let image = encoded(false, |_, _| [value; 3]);
            assert!(matches!(decode(Coding::Jpeg, &image, 320, 240), Decoded::Thumb(_)), "{value}");
        }
    }

    #[test]
    fn what_breaks_off_is_broken() {
        for progressive in [false, true] {
            let image = encoded(progressive, scene);
            // One that ends too early, as of a camera whose packets were lost; in a progressive one that looks like an earlier scan.
            let cut = [&image[..image.len() * 2 / 3], b"\xff\xd9"].concat();
            assert_eq!(decode(Coding::Jpeg, &cut, 320, 240) == Decoded::Broken, !progressive);
            let mut zeroed = image.clone();
            let middle = image.len() / 2;
            zeroed[middle..middle + 2000.min(image.len() / 3)].fill(0xff);
            assert!(decode(Coding::Jpeg, &zeroed, 320, 240) == Decoded::Broken, "{progressive}");
        }
        assert_eq!(raw(Layout::Rgb, &[0; 100], 10, 10, 10), Decoded::Broken);
        assert_eq!(raw(Layout::Mono, &[0; 99], 10, 10, 10), Decoded::Broken);
    }

    #[test]
    fn depth_in_sixteen_bits_is_not_judged_as_a_picture() {
        let mut image = vec![];
        let mut encoder = png::Encoder::new(&mut image, 4, 4);
        encoder.set_color(ColorType::Grayscale);
        encoder.set_depth(BitDepth::Sixteen);
        encoder.write_header().unwrap().write_image_data(&[3; 32]).unwrap();
        assert!(matches!(decode(Coding::Png, &image, 4, 4), Decoded::LeftOut(_)));
    }

    #[test]
    fn more_scans_than_any_program_writes_are_left_out() {
        let image = encoded(true, scene);
        let many = [&image[..], &b"\xff\xda".repeat(SCANS_MAX)].concat();
        assert_eq!(decode(Coding::Jpeg, &many, 320, 240), Decoded::LeftOut("it has more scans than are decoded"));
    }

    /// A PNG, a JPEG, and a progressive one.
    static IMAGES: LazyLock<[Vec<u8>; 3]> =
        LazyLock::new(|| [super::super::picture::tests::png_of(31, 7), encoded(false, scene), encoded(true, scene)]);

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

        /// Whatever is damaged in an image, decoding ends, and says something of it.
        #[test]
        fn any_damage_is_decoded_to_an_end(which in 0..3usize, changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6)) {
            let mut image = IMAGES[which].clone();
            for (at, byte) in changes {
                let at = at % image.len();
                image[at] = byte;
            }
            let (coding, width, height) = if which == 0 { (Coding::Png, 31, 7) } else { (Coding::Jpeg, 320, 240) };
            prop_assert_ne!(decode(coding, &image, width, height), Decoded::LeftOut("the decoder failed"));
        }
    }
}
