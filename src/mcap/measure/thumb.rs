//! A small picture of an image, brightness only, and what is measured of it.

/// The longest side; blur of images of different sizes can be compared only at one size.
const SIDE_MAX: usize = 128;

/// Values at or below and at or above these are as dark and as bright as can be.
const BLACK: u8 = 4;
const WHITE: u8 = 254;

/// Brightness of an image at its small size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumb {
    width: usize,
    luma: Vec<u8>,
}

/// What is measured of one thumb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Mean and standard deviation of brightness, 0 to 255.
    pub luma: u8,
    pub spread: u8,
    /// Pixels that are black or white, of a thousand.
    pub extreme_permille: u64,
    /// Variance of the Laplacian: small where nothing has an edge.
    pub blur: u64,
}

/// Makes a thumb of an image that comes row by row: each of its pixels is the mean of those it stands for.
pub struct Shrinking {
    from: (usize, usize),
    to: (usize, usize),
    sums: Vec<u32>,
    rows: usize,
}

/// Where the pixels of one cell begin.
fn start_of(cell: usize, from: usize, to: usize) -> usize {
    (cell * from).div_ceil(to)
}

impl Shrinking {
    /// Of an image with at least one pixel, and not more than a sum has room for.
    pub fn of(width: usize, height: usize) -> Self {
        let longest = width.max(height).max(SIDE_MAX);
        let side = |side: usize| (side * SIDE_MAX / longest).max(1);
        let to = (side(width), side(height));
        Self { from: (width, height), to, sums: vec![0; to.0 * to.1], rows: 0 }
    }

    /// The next row; those beyond the height are left out.
    pub fn row(&mut self, luma: &[u8]) {
        let ((width, height), (columns, rows)) = (self.from, self.to);
        if self.rows >= height || luma.len() < width {
            return;
        }
        let at = self.rows * rows / height;
        self.rows += 1;
        for (column, sum) in self.sums[at * columns..(at + 1) * columns].iter_mut().enumerate() {
            let (start, end) = (start_of(column, width, columns), start_of(column + 1, width, columns));
            *sum += luma[start..end].iter().map(|value| u32::from(*value)).sum::<u32>();
        }
    }

    /// Nothing, where rows are missing.
    pub fn finish(self) -> Option<Thumb> {
        let ((width, height), (columns, rows)) = (self.from, self.to);
        if self.rows < height {
            return None;
        }
        let cells = |cell: usize, from, to| start_of(cell + 1, from, to) - start_of(cell, from, to);
        let mean = |(n, sum): (usize, &u32)| {
            let count = (cells(n % columns, width, columns) * cells(n / columns, height, rows)) as u32;
            ((sum + count / 2) / count) as u8
        };
        Some(Thumb { width: columns, luma: self.sums.iter().enumerate().map(mean).collect() })
    }
}

impl Thumb {
    pub fn pixels(&self) -> Pixels {
        let count = self.luma.len().max(1) as f64;
        let sum = |of: fn(f64) -> f64| self.luma.iter().map(|value| of(f64::from(*value))).sum::<f64>() / count;
        let mean = sum(|value| value);
        let variance = (sum(|value| value * value) - mean * mean).max(0.0);
        let extreme = self.luma.iter().filter(|value| **value <= BLACK || **value >= WHITE).count();
        Pixels {
            luma: mean.round() as u8,
            spread: variance.sqrt().round() as u8,
            extreme_permille: (extreme * 1000 / self.luma.len().max(1)) as u64,
            blur: self.laplacian_variance(),
        }
    }

    fn laplacian_variance(&self) -> u64 {
        let width = self.width;
        let (mut count, mut sum, mut squares) = (0i64, 0i64, 0i64);
        for rows in self.luma.chunks_exact(width).collect::<Vec<_>>().windows(3) {
            let [above, row, below] = rows else { continue };
            for x in 1..width.saturating_sub(1) {
                let [centre, around @ ..] = [row[x], row[x - 1], row[x + 1], above[x], below[x]].map(i64::from);
                let value = around.iter().sum::<i64>() - 4 * centre;
                (count, sum, squares) = (count + 1, sum + value, squares + value * value);
            }
        }
        if count == 0 {
            return 0;
        }
        ((squares * count - sum * sum) / (count * count)).unsigned_abs()
    }

    /// The mean absolute difference, in thousandths of a step of brightness; nothing of images of different sizes.
    pub fn difference_milli(&self, other: &Self) -> Option<u64> {
        if self.width != other.width || self.luma.len() != other.luma.len() {
            return None;
        }
        let sum: u64 = self.luma.iter().zip(&other.luma).map(|(one, other)| u64::from(one.abs_diff(*other))).sum();
        Some(sum * 1000 / self.luma.len().max(1) as u64)
    }
}

/// Brightness as television has it since its first day in colour.
pub fn luma_of(red: u8, green: u8, blue: u8) -> u8 {
    ((u32::from(red) * 77 + u32::from(green) * 150 + u32::from(blue) * 29) >> 8) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn thumb(width: usize, height: usize, of: impl Fn(usize, usize) -> u8) -> Thumb {
        let mut shrinking = Shrinking::of(width, height);
        (0..height).for_each(|y| shrinking.row(&(0..width).map(|x| of(x, y)).collect::<Vec<_>>()));
        shrinking.finish().expect("every row")
    }

    #[test]
    fn the_longest_side_is_shrunk_and_a_small_image_is_kept() {
        let size = |thumb: Thumb| (thumb.width, thumb.luma.len() / thumb.width);
        assert_eq!(size(thumb(640, 480, |_, _| 9)), (128, 96));
        assert_eq!(size(thumb(480, 640, |_, _| 9)), (96, 128));
        assert_eq!(size(thumb(50, 20, |_, _| 9)), (50, 20));
        assert_eq!(size(thumb(4000, 1, |_, _| 9)), (128, 1));
        assert_eq!(Shrinking::of(4, 4).finish(), None);
    }

    #[test]
    fn black_white_and_grey_are_told_apart() {
        let pixels = thumb(300, 200, |_, _| 3).pixels();
        assert_eq!(pixels, Pixels { luma: 3, spread: 0, extreme_permille: 1000, blur: 0 });
        // Half black and half white: one edge.
        let pixels = thumb(256, 256, |x, _| if x < 128 { 0 } else { 255 }).pixels();
        assert_eq!((pixels.luma, pixels.spread, pixels.extreme_permille), (128, 128, 1000));
        assert!((1000..4000).contains(&pixels.blur), "{}", pixels.blur);
        // A soft slope has no edge, a pattern has many.
        let pixels = thumb(256, 256, |x, _| (x / 2) as u8 + 60).pixels();
        assert_eq!((pixels.extreme_permille, pixels.blur), (0, 0));
        assert!(thumb(128, 128, |x, y| if (x + y) % 2 == 0 { 90 } else { 150 }).pixels().blur > 10_000);
    }

    #[test]
    fn differences_are_told_to_a_thousandth() {
        let (one, other) = (thumb(100, 100, |_, _| 90), thumb(100, 100, |x, y| if (x, y) == (3, 3) { 100 } else { 90 }));
        assert_eq!((one.difference_milli(&one), one.difference_milli(&other)), (Some(0), Some(1)));
        assert_eq!(one.difference_milli(&thumb(90, 100, |_, _| 90)), None);
    }

    proptest! {
        #[test]
        fn an_even_image_of_any_size_stays_even(width in 1..700usize, height in 1..300usize, value in any::<u8>()) {
            let thumb = thumb(width, height, |_, _| value);
            prop_assert!(thumb.luma.iter().all(|found| *found == value));
        }
    }
}
