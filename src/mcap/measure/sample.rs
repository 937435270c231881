//! Which images of a camera are decoded: the first of each second, but not more than sixty over the whole recording.
//!
//! They are decoded by the threads that unpack chunks. What comes back is put together in the order of the images, so it does not depend on
//! the threads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use super::decode::{Coding, Decoded, IMAGE_BYTES_MAX, TOO_LARGE, decode};
use super::pool::Work;
use super::thumb::Thumb;
use crate::domain::measurement::{Pixels, SAMPLED_CAMERAS_MAX, SAMPLES_MAX, Samples};

const SECOND_NS: u64 = 1_000_000_000;

/// Images of one camera that wait to be decoded, and bytes of all cameras together; beyond, the reading thread helps.
const WAITING_MAX: usize = 4;
const WAITING_BYTES_MAX: usize = 8 << 20;

/// Has images decoded, and says when the next is due.
#[derive(Default)]
pub struct Sampling {
    /// Between two samples, where it is known how long the recording is.
    spacing_ns: Option<u64>,
    samples_max: u64,
    cameras: usize,
    work: Option<mpsc::Sender<Work>>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Sampling {
    pub fn new(duration_ns: Option<u64>, samples_max: u64, work: Option<mpsc::Sender<Work>>) -> Self {
        let samples_max = samples_max.min(SAMPLES_MAX);
        let spacing_ns = duration_ns.map(|duration| (duration / samples_max.max(1)).max(SECOND_NS));
        Self { spacing_ns, samples_max, work, ..Self::default() }
    }

    /// Lets go of the threads, which end once nobody has work for them.
    pub fn end(&mut self) {
        self.work = None;
    }

    /// Where the length is not known, each second for half of the samples; then ever more seldom.
    fn after(&self, taken: u64) -> u64 {
        let doubled = || SECOND_NS << (taken.saturating_sub(self.samples_max / 2) / 10).min(16);
        self.spacing_ns.unwrap_or_else(doubled)
    }

    fn decode(&self, coding: Coding, image: &[u8], width: u32, height: u32) -> Waiting {
        let bytes = image.len();
        if bytes > IMAGE_BYTES_MAX {
            return Waiting::Done(Decoded::LeftOut(TOO_LARGE));
        }
        let fits = self.waiting_bytes.load(Ordering::Relaxed) + bytes <= WAITING_BYTES_MAX;
        let Some(work) = self.work.as_ref().filter(|_| fits) else { return Waiting::Done(decode(coding, image, width, height)) };
        let (done, decoded) = mpsc::sync_channel(1);
        let (image, waiting_bytes) = (image.to_vec(), self.waiting_bytes.clone());
        waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let task = move || {
            let decoded = decode(coding, &image, width, height);
            waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            // Nobody waits for it any more where reading failed.
            let _ = done.send(decoded);
        };
        match work.send(Box::new(task)) {
            Ok(()) => Waiting::Begun(decoded),
            // Its threads are gone, and so nobody reads on.
            Err(_) => Waiting::Done(Decoded::LeftOut("nobody decodes any more")),
        }
    }
}

enum Waiting {
    Done(Decoded),
    Begun(mpsc::Receiver<Decoded>),
}

/// Samples of one camera.
#[derive(Default)]
pub struct Camera {
    seat: Option<bool>,
    due_at: u64,
    taken: u64,
    first_at: u64,
    waiting: VecDeque<(u64, Waiting)>,
    last: Option<Thumb>,
    samples: Samples,
    why: Option<&'static str>,
}

impl Camera {
    /// Whether the image of this time is a sample; what is asked for is handed in.
    pub fn is_due(&mut self, log_time: u64, sampling: &mut Sampling) -> bool {
        if sampling.samples_max == 0 || self.taken >= sampling.samples_max || log_time < self.due_at {
            return false;
        }
        let cameras = &mut sampling.cameras;
        let has_seat = *self.seat.get_or_insert_with(|| {
            *cameras += 1;
            *cameras <= SAMPLED_CAMERAS_MAX
        });
        if !has_seat {
            self.why = Some("there are more cameras than are looked at");
            return false;
        }
        if self.taken == 0 {
            (self.first_at, self.due_at) = (log_time, log_time);
        }
        self.taken += 1;
        let spacing = sampling.after(self.taken);
        let passed = (log_time - self.due_at) / spacing;
        self.due_at = self.due_at.saturating_add(spacing.saturating_mul(passed + 1));
        true
    }

    pub fn encoded(&mut self, coding: Coding, image: &[u8], (width, height): (u32, u32), log_time: u64, sampling: &Sampling) {
        while self.waiting.len() >= WAITING_MAX {
            self.settle_one();
        }
        self.waiting.push_back((log_time, sampling.decode(coding, image, width, height)));
    }

    pub fn decoded(&mut self, decoded: Decoded, log_time: u64) {
        self.waiting.push_back((log_time, Waiting::Done(decoded)));
        self.settle();
    }

    pub fn settle(&mut self) {
        while !self.waiting.is_empty() {
            self.settle_one();
        }
    }

    fn settle_one(&mut self) {
        let Some((log_time, waiting)) = self.waiting.pop_front() else { return };
        let decoded = match waiting {
            Waiting::Done(decoded) => decoded,
            Waiting::Begun(decoded) => decoded.recv().unwrap_or(Decoded::LeftOut("nobody decodes any more")),
        };
        let samples = &mut self.samples;
        match decoded {
            Decoded::LeftOut(why) => {
                samples.left_out += 1;
                self.why.get_or_insert(why);
            }
            Decoded::Broken => {
                samples.sampled += 1;
                samples.undecodable += 1;
                samples.first_undecodable_at_ns.get_or_insert(log_time);
            }
            Decoded::Thumb(thumb) => {
                samples.sampled += 1;
                let pixels = thumb.pixels();
                let Pixels { at_ms, luma, spread, extreme_permille, blur, difference_milli } = &mut samples.pixels;
                at_ms.push((log_time - self.first_at) / 1_000_000);
                luma.push(pixels.luma);
                spread.push(pixels.spread);
                extreme_permille.push(pixels.extreme_permille);
                blur.push(pixels.blur);
                difference_milli.push(self.last.as_ref().and_then(|last| thumb.difference_milli(last)));
                self.last = Some(thumb);
            }
        }
    }

    /// Why images that were to be decoded were not.
    pub fn left_out(&self) -> Option<&'static str> {
        self.why
    }

    /// The samples, where there are any, once all are settled.
    pub fn finish(mut self) -> Option<Samples> {
        self.settle();
        (self.taken > 0).then_some(self.samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(sampling: &mut Sampling, times: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut camera = Camera::default();
        times.into_iter().filter(|at| camera.is_due(*at, sampling)).collect()
    }

    const FRAME: u64 = 33_333_333;

    #[test]
    fn the_first_image_of_each_second_is_a_sample() {
        let mut sampling = Sampling::new(Some(10 * SECOND_NS), 60, None);
        let taken = taken(&mut sampling, (0..300).map(|n| 5 + n * FRAME));
        assert_eq!(taken.len(), 10);
        assert!(taken.iter().enumerate().all(|(n, at)| (0..2 * FRAME).contains(&(at - n as u64 * SECOND_NS))), "{taken:?}");
    }

    #[test]
    fn an_hour_has_sixty_samples_from_its_beginning_to_its_end() {
        for (known, last_minute) in [(Some(3600 * SECOND_NS), 59), (None, 0)] {
            let mut sampling = Sampling::new(known, 60, None);
            let taken = taken(&mut sampling, (0..3600 * 30).map(|n| n * FRAME));
            assert!((50..=60).contains(&taken.len()), "{}", taken.len());
            assert!(taken.last().unwrap() / (60 * SECOND_NS) >= last_minute, "{taken:?}");
        }
    }

    #[test]
    fn times_that_leap_take_no_more_samples_than_others() {
        let mut sampling = Sampling::new(None, 60, None);
        assert!(taken(&mut sampling, (0..1000).map(|n| n << 50)).len() <= 60);
        assert_eq!(taken(&mut sampling, [u64::MAX, 0, u64::MAX, 5]).len(), 2, "at the end of time an image is always due");
        assert_eq!(taken(&mut Sampling::new(None, 0, None), [1, 2]).len(), 0);
    }

    #[test]
    fn only_so_many_cameras_are_looked_at() {
        let mut sampling = Sampling::new(None, 60, None);
        let seats = (0..40).filter(|_| Camera::default().is_due(7, &mut sampling)).count();
        assert_eq!(seats, SAMPLED_CAMERAS_MAX);
    }
}
