//! When joints move: ranges of a recording that are worth keeping, and what stands still between them.
//!
//! Joints are looked at fifteen times a second. Seven looks in a row without a change of a thousandth are an idle stretch; what is between two of
//! them is kept where it has sixteen looks, without its last ten, in which an arm comes to rest.

use std::collections::VecDeque;

use crate::domain::measurement::{KEEP_MAX, Listed, Stretch};

const LOOK_NS: u64 = 1_000_000_000 / 15;
/// Of a position or, where there are none, of a velocity.
const CHANGE: f64 = 1e-3;
const IDLE_LOOKS: u64 = 7;
const MOVING_LOOKS: u64 = 16;
const LAST_LOOKS: u64 = 10;

#[derive(Default)]
pub struct Keep {
    due_at: u64,
    looks: u64,
    values: Vec<f64>,
    /// Looks in a row, up to the present one, that changed nothing.
    still: u64,
    /// The first look of the present stretch of movement, with its number from 1; nothing while all is idle.
    moving_since: Option<(u64, u64)>,
    /// Times of the last looks.
    times: VecDeque<u64>,
    ranges: Listed<Stretch>,
}

impl Keep {
    /// Positions or velocities of a message; those between two looks are passed over.
    pub fn message(&mut self, values: &[f64], at: u64) {
        if self.looks > 0 && at < self.due_at {
            return;
        }
        let passed = if self.looks == 0 { 0 } else { (at - self.due_at) / LOOK_NS };
        let due = if self.looks == 0 { at } else { self.due_at };
        self.due_at = due.saturating_add(LOOK_NS.saturating_mul(passed + 1));
        self.looks += 1;
        if self.times.len() as u64 > IDLE_LOOKS + LAST_LOOKS {
            self.times.pop_front();
        }
        self.times.push_back(at);
        let same = self.values.len() == values.len() && self.values.iter().zip(values).all(|(before, now)| (now - before).abs() < CHANGE);
        self.values.clear();
        self.values.extend_from_slice(values);
        if self.looks == 1 {
            self.moving_since = Some((1, at));
            return;
        }
        if same {
            self.still += 1;
            if self.still == IDLE_LOOKS {
                self.end(IDLE_LOOKS);
            }
        } else {
            self.still = 0;
            self.moving_since.get_or_insert((self.looks, at));
        }
    }

    /// The movement ended so many looks before the present one.
    fn end(&mut self, before: u64) {
        let Some((first, from_ns)) = self.moving_since.take() else { return };
        let looks = (self.looks - before + 1).saturating_sub(first);
        if looks < MOVING_LOOKS {
            return;
        }
        let last = self.times.len().checked_sub((before + LAST_LOOKS + 1) as usize);
        if let Some(to_ns) = last.and_then(|last| self.times.get(last)) {
            self.ranges.push(Stretch { from_ns, to_ns: *to_ns }, KEEP_MAX);
        }
    }

    pub fn finish(mut self) -> Listed<Stretch> {
        if self.looks > 0 {
            self.end(0);
        }
        self.ranges
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    /// At 60 messages a second; `position` has seconds.
    fn kept(seconds: u64, position: impl Fn(f64) -> f64) -> Vec<(u64, u64)> {
        let mut keep = Keep::default();
        for n in 0..seconds * 60 {
            let at = n * 1_000 * MS / 60;
            keep.message(&[position(at as f64 / 1e9), 0.5], at);
        }
        keep.finish().items.iter().map(|range| (range.from_ns / MS, range.to_ns / MS)).collect()
    }

    /// Sways from the first of these seconds to the second, and stands still otherwise.
    fn sways(between: &'static [(f64, f64)]) -> impl Fn(f64) -> f64 {
        move |t| between.iter().find(|(from, to)| (*from..*to).contains(&t)).map_or(0.0, |(from, _)| ((t - from) * 3.0).sin())
    }

    fn near(found: &[(u64, u64)], expected: &[(u64, u64)]) {
        let close = |(one, other): (&(u64, u64), &(u64, u64))| one.0.abs_diff(other.0) <= 140 && one.1.abs_diff(other.1) <= 140;
        assert!(found.len() == expected.len() && found.iter().zip(expected).all(close), "{found:?}, not {expected:?}");
    }

    #[test]
    fn what_moves_is_kept_without_its_last_ten_looks() {
        near(&kept(10, sways(&[(0.0, 10.0)])), &[(0, 10_000 - 667)]);
        near(&kept(10, sways(&[(2.0, 5.0), (7.0, 9.0)])), &[(2_000, 5_000 - 667), (7_000, 9_000 - 667)]);
        // A short rest is part of the movement, and a short twitch is none.
        near(&kept(10, sways(&[(2.0, 4.0), (4.3, 6.0), (8.0, 8.5)])), &[(2_000, 6_000 - 667)]);
        assert_eq!(kept(10, |_| 0.3), []);
        assert_eq!(kept(0, |_| 0.3), []);
    }

    #[test]
    fn more_ranges_than_are_told_are_counted() {
        let mut keep = Keep::default();
        for n in 0..400_000u64 {
            // Two seconds of movement, two of rest.
            let moving = n / 30 % 2 == 0;
            keep.message(&[if moving { n as f64 } else { 0.0 }], n * LOOK_NS);
        }
        let ranges = keep.finish();
        assert_eq!(ranges.items.len(), KEEP_MAX);
        assert!(ranges.len() > 6_000, "{}", ranges.len());
    }

    proptest! {
        #[test]
        fn ranges_follow_each_other_within_the_recording(values in prop::collection::vec(prop_oneof![Just(0.0), Just(1.0), any::<f64>()], 0..300), step in 1..200u64) {
            let mut keep = Keep::default();
            for (n, value) in values.iter().enumerate() {
                keep.message(&[*value], n as u64 * step * MS);
            }
            let (mut last, end) = (0, values.len() as u64 * step * MS);
            for range in keep.finish().items {
                prop_assert!(last <= range.from_ns && range.from_ns < range.to_ns && range.to_ns < end);
                last = range.to_ns;
            }
        }
    }
}
