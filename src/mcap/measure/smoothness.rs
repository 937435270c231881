//! How smoothly joints move: log dimensionless jerk of their positions.
//!
//! ```text
//!  LDJ = ln( T³ / v² · ∫ |d³q/dt³|² dt )      T: for how long they move    v: their largest speed meanwhile
//! ```
//!
//! The measure of Hogan and Sternad (2009) in the form of Balasubramanian, Melendez-Calderon, Roby-Brami and Burdet (2015), who normalise it by the
//! largest speed, and put a minus in front of it. It has no unit: neither how far nor how fast an arm moves changes it, and what is less smooth has more. A sway of n periods has
//! 4·ln(2πn) − ln 2. Joints are one vector, as if all of them were radians.
//!
//! Third differences depend on the rate that they are taken at, so positions are brought to twenty cells a second first, whatever the recorder's
//! rate: the mean, over each cell, of the straight line from message to message. Hands move below 10 Hz, which twenty cells still show; what
//! messages add between two cells is averaged away. A topic with less than a message for each cell cannot be brought there, and is not measured.
//!
//! It is a stream: four rows of positions and a few sums, however long the recording is.

use crate::domain::measurement::JOINTS_TOLD_MAX;

const CELL_NS: u64 = 1_000_000_000 / 20;
const CELL_S: f64 = CELL_NS as f64 / 1e9;
/// Longer without a message, nobody knows how joints moved: what is behind it is looked at anew.
const GAP_NS: u64 = 4 * CELL_NS;
/// Slower than this all joints stand still, in rad/s; for half a second, and they rest. Rests do not count.
const IDLE_RAD_S: f64 = 0.01;
const REST_CELLS: u64 = 10;
/// A second of movement; less says nothing.
const CELLS_MIN: u64 = 20;

/// Of cells in which joints move, or may do so.
#[derive(Clone, Copy, Default)]
struct Sums {
    cells: u64,
    messages: u64,
    jerk: f64,
    speed: f64,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.cells += other.cells;
        self.messages += other.messages;
        self.jerk += other.jerk;
        self.speed = self.speed.max(other.speed);
    }
}

#[derive(Default)]
pub struct Smoothness {
    /// The message before; no time before the first one.
    at: Option<u64>,
    positions: Vec<f64>,
    /// The present cell: its end, the mean so far, and its messages.
    cell_end: u64,
    mean: Vec<f64>,
    messages: u64,
    /// Means of the last cells that follow each other, the newest first, and how many of them there are.
    means: [Vec<f64>; 3],
    known: usize,
    moving: Sums,
    /// Cells of a stand that may be a rest.
    still: Sums,
}

impl Smoothness {
    /// Messages with a position that is no number are as if they were not there.
    pub fn message(&mut self, positions: &[f64], at: u64) {
        let positions = &positions[..positions.len().min(JOINTS_TOLD_MAX)];
        if positions.is_empty() || !positions.iter().all(|position| position.is_finite()) {
            return;
        }
        match self.at {
            Some(before) if before < at && at - before <= GAP_NS => self.advance(before, positions, at),
            // A little late: it is between others.
            Some(before) if at <= before && before - at <= GAP_NS => return,
            _ => self.begin(positions, at),
        }
        self.at = Some(at);
        self.positions.clear();
        self.positions.extend_from_slice(positions);
    }

    fn begin(&mut self, positions: &[f64], at: u64) {
        self.cell_end = at.saturating_add(CELL_NS);
        self.mean = vec![0.0; positions.len()];
        (self.messages, self.known, self.still) = (1, 0, Sums::default());
    }

    fn advance(&mut self, before: u64, positions: &[f64], at: u64) {
        let mut from = before;
        // Not at the end of all times, where no cell ends.
        while self.cell_end <= at && from < self.cell_end {
            self.pass(before, positions, at, (from, self.cell_end));
            self.cell();
            (from, self.cell_end) = (self.cell_end, self.cell_end.saturating_add(CELL_NS));
        }
        self.pass(before, positions, at, (from, at));
        self.messages += 1;
    }

    /// A part of the present cell, on the line from the message before to this one.
    fn pass(&mut self, before: u64, positions: &[f64], at: u64, (from, to): (u64, u64)) {
        let span = (at - before) as f64;
        let middle = ((from - before) as f64 + (to - before) as f64) / 2.0 / span;
        let share = (to - from) as f64 / CELL_NS as f64;
        for ((mean, first), last) in self.mean.iter_mut().zip(&self.positions).zip(positions) {
            *mean += (first + (last - first) * middle) * share;
        }
    }

    /// The present cell is complete.
    fn cell(&mut self) {
        if self.known == self.means.len() {
            self.step();
        }
        self.known = (self.known + 1).min(self.means.len());
        self.means.rotate_right(1);
        std::mem::swap(&mut self.means[0], &mut self.mean);
        self.mean.clear();
        self.mean.resize(self.means[0].len(), 0.0);
        self.messages = 0;
    }

    fn step(&mut self) {
        let [one, two, three] = &self.means;
        let (mut speed, mut jerk) = (0.0, 0.0);
        for (((now, one), two), three) in self.mean.iter().zip(one).zip(two).zip(three) {
            speed += ((now - one) / CELL_S).powi(2);
            jerk += ((now - 3.0 * one + 3.0 * two - three) / CELL_S.powi(3)).powi(2);
        }
        let cell = Sums { cells: 1, messages: self.messages, jerk: jerk * CELL_S, speed: f64::sqrt(speed) };
        if cell.speed < IDLE_RAD_S {
            self.still.add(cell);
            return;
        }
        let still = std::mem::take(&mut self.still);
        if still.cells < REST_CELLS && self.moving.cells > 0 {
            self.moving.add(still);
        }
        self.moving.add(cell);
    }

    /// In thousandths; nothing where joints hardly move, or messages come too seldom.
    pub fn finish(self) -> Option<u64> {
        let Sums { cells, messages, jerk, speed } = self.moving;
        // A clock that is a little slow is no reason.
        if cells < CELLS_MIN || messages < cells - cells / 20 {
            return None;
        }
        let seconds = cells as f64 * CELL_S;
        let ldj = (seconds.powi(3) / speed.powi(2) * jerk).ln();
        (ldj < f64::INFINITY).then(|| (ldj.max(0.0) * 1e3).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: f64 = 1e9;

    fn of(hz: f64, seconds: f64, position: impl Fn(f64) -> Vec<f64>) -> Option<u64> {
        let mut smoothness = Smoothness::default();
        for n in 0..(seconds * hz) as u64 {
            let t = n as f64 / hz;
            smoothness.message(&position(t), 1_795_204_387_000_000_000 + (t * S) as u64);
        }
        smoothness.finish()
    }

    fn near(one: Option<u64>, other: Option<u64>, within: u64) {
        let (Some(a), Some(b)) = (one, other) else { panic!("{one:?} and {other:?}") };
        assert!(a.abs_diff(b) <= within, "{a} and {b}, not within {within}");
    }

    /// Two joints that sway in their own ways, as a hand leads them.
    fn sways(t: f64) -> Vec<f64> {
        vec![0.6 * (t * 2.1).sin() + 0.2 * (t * 4.7).cos(), 0.4 * (t * 1.3).cos() - 0.1 * (t * 6.1).sin()]
    }

    /// From −1 to 1, the same each time.
    fn noise(t: f64, seed: u64) -> f64 {
        let mut x = ((t * 1e6) as u64).wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    #[test]
    fn a_sway_has_what_the_formula_says() {
        for (periods, seconds) in [(10.0, 20.0), (20.0, 20.0), (5.0, 40.0)] {
            let turn = std::f64::consts::TAU * periods;
            let expected = (4.0 * f64::ln(turn) - f64::ln(2.0)) * 1e3;
            near(of(200.0, seconds, |t| vec![0.5 * (turn * t / seconds).sin()]), Some(expected as u64), 100);
        }
    }

    #[test]
    fn the_rate_of_the_recorder_does_not_change_it() {
        let at = |hz| of(hz, 20.0, sways);
        for hz in [48.24, 50.0, 100.0, 500.0, 1000.0] {
            near(at(hz), at(250.0), 10);
        }
        near(at(25.0), at(250.0), 10);
        assert_eq!(at(15.0), None, "fewer messages than cells");
    }

    #[test]
    fn noise_makes_it_worse_and_the_more_the_worse() {
        let noisy =
            |hz: f64, size: f64| of(hz, 20.0, move |t| sways(t).iter().zip(1..).map(|(q, seed)| q + size * noise(t, seed)).collect());
        for hz in [50.0, 100.0, 500.0] {
            let all: Vec<u64> = [0.0, 0.005, 0.01, 0.02, 0.04].iter().map(|size| noisy(hz, *size).unwrap()).collect();
            assert!(all.windows(2).all(|pair| pair[0] + 100 < pair[1]), "{hz}: {all:?}");
        }
    }

    #[test]
    fn rests_do_not_count_and_what_never_moves_has_none() {
        let rests = |rest: f64| move |t: f64| if t < 8.0 { sways(t) } else { sways((t - rest).max(8.0)) };
        let (short, long) = (of(100.0, 19.0, rests(3.0)), of(100.0, 46.0, rests(30.0)));
        near(short, long, 5);
        // A stop from one moment to the next is a jerk itself.
        assert!(of(100.0, 16.0, rests(0.0)) < short);
        assert_eq!(of(100.0, 20.0, |_| vec![0.3, 0.1]), None);
        assert_eq!(of(100.0, 0.9, sways), None, "too short");
        assert_eq!(of(100.0, 20.0, |_| vec![]), None);
        assert_eq!(of(100.0, 0.0, sways), None);
    }

    #[test]
    fn what_cannot_be_is_passed_over() {
        let whole = of(100.0, 20.0, sways);
        let mut odd = Smoothness::default();
        for n in 0..2000u64 {
            let (t, at) = (n as f64 / 100.0, 5_000_000_000 + n * 10_000_000);
            odd.message(&sways(t), at);
            // Not a number, and a message that comes late.
            odd.message(&[f64::NAN, 0.0], at + 1);
            odd.message(&[0.0, f64::INFINITY], at + 2);
            odd.message(&[9.0, 9.0], at - 1_000_000);
        }
        near(odd.finish(), whole, 10);
        // A stray time, a jump of the clock, another shape: what is around them is looked at by itself.
        let mut jumps = Smoothness::default();
        for n in 0..2000u64 {
            let clock = if n < 1000 { 5_000_000_000 } else { 1_795_204_387_000_000_000 };
            jumps.message(&sways(n as f64 / 100.0), clock + n * 10_000_000);
            if n == 500 {
                jumps.message(&sways(5.0), u64::MAX);
                jumps.message(&sways(5.0), 0);
                jumps.message(&sways(5.0), u64::MAX - 1);
                jumps.message(&sways(5.1), u64::MAX);
            }
        }
        near(jumps.finish(), whole, 200);
        let mut huge = Smoothness::default();
        (0..500u64).for_each(|n| huge.message(&[f64::MAX * if n % 2 == 0 { 1.0 } else { -1.0 }], n * 10_000_000));
        assert_eq!(huge.finish(), None);
    }

    proptest! {
        #[test]
        fn neither_how_far_nor_how_fast_changes_it(size in 0.3..3.0f64, slower in 0.7..3.0f64) {
            let plain = of(100.0, 20.0, sways).unwrap();
            let scaled = of(100.0, 20.0 * slower, |t| sways(t / slower).iter().map(|q| q * size).collect()).unwrap();
            prop_assert!(plain.abs_diff(scaled) <= 150, "{} and {}", plain, scaled);
        }

        #[test]
        fn any_messages_end_in_a_number_or_in_nothing(messages in prop::collection::vec((prop::collection::vec(any::<f64>(), 0..3), prop_oneof![any::<u64>(), 0..10_000_000_000u64]), 0..200)) {
            let mut smoothness = Smoothness::default();
            let mut dof = None;
            for (positions, at) in messages {
                if *dof.get_or_insert(positions.len()) == positions.len() {
                    smoothness.message(&positions, at);
                }
            }
            prop_assert!(smoothness.finish().is_none_or(|milli| milli < 5_000_000));
        }
    }
}
