//! Where joints are at the end: of each the median of its positions over the last half second.
//!
//! At most 34 looks at 64 joints are kept, so that it costs 17 kB of a topic however long the recording is.

use std::collections::VecDeque;

use crate::domain::measurement::{JOINTS_TOLD_MAX, Listed};

const WINDOW_NS: u64 = 500_000_000;
/// Nearer to the one before, a message is passed over.
const LOOK_NS: u64 = 15_000_000;

#[derive(Default)]
pub struct EndPose {
    /// Times and positions, the newest last.
    looks: VecDeque<(u64, Vec<f64>)>,
    /// More joints than are told.
    cut: u64,
}

impl EndPose {
    /// Messages of one shape. Those with a position that is no number are as if they were not there.
    pub fn message(&mut self, positions: &[f64], at: u64) {
        let told = &positions[..positions.len().min(JOINTS_TOLD_MAX)];
        if told.is_empty() || !told.iter().all(|position| position.is_finite()) {
            return;
        }
        self.cut = (positions.len() - told.len()) as u64;
        match self.looks.back() {
            // The clock was set back: the end is what comes last.
            Some((last, _)) if last.saturating_sub(at) > WINDOW_NS => self.looks.clear(),
            Some((last, _)) if at < last.saturating_add(LOOK_NS) => return,
            _ => {}
        }
        let mut spare = vec![];
        while self.looks.front().is_some_and(|(first, _)| at - first > WINDOW_NS) {
            spare = self.looks.pop_front().map(|(_, positions)| positions).unwrap_or_default();
        }
        spare.clear();
        spare.extend_from_slice(told);
        self.looks.push_back((at, spare));
    }

    /// In millionths; none of what has no positions.
    pub fn finish(self) -> Listed<i64> {
        let joints = self.looks.front().map_or(0, |(_, positions)| positions.len());
        let median = |joint: usize| {
            let mut all: Vec<f64> = self.looks.iter().filter_map(|(_, positions)| positions.get(joint).copied()).collect();
            all.sort_unstable_by(f64::total_cmp);
            // A value that is there; what no joint can be ends at the largest number.
            all.get(all.len() / 2).map(|median| (median * 1e6).round() as i64)
        };
        Listed { items: (0..joints).filter_map(median).collect(), cut: self.cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn end_of(messages: impl IntoIterator<Item = (u64, Vec<f64>)>) -> Vec<i64> {
        let mut pose = EndPose::default();
        messages.into_iter().for_each(|(at_ms, positions)| pose.message(&positions, 7 + at_ms * MS));
        assert!(pose.looks.len() <= 34, "{}", pose.looks.len());
        pose.finish().items
    }

    #[test]
    fn it_is_the_median_of_the_last_half_second_whatever_the_rate() {
        // It moves for ten seconds, and rests for one; one message of the rest is odd.
        let at = |ms: u64| if ms < 10_000 { ms as f64 / 1e4 } else { 1.0 };
        for every_ms in [1, 2, 10, 20, 33] {
            let arm = (0..11_000).step_by(every_ms).map(|ms| (ms as u64, vec![at(ms as u64), -0.25]));
            assert_eq!(end_of(arm.chain([(11_000, vec![3.0, -0.25])])), [1_000_000, -250_000], "{every_ms}");
        }
        // One message is enough, and none says nothing.
        assert_eq!(end_of([(0, vec![0.5])]), [500_000]);
        assert_eq!(end_of([]), Vec::<i64>::new());
        assert_eq!(end_of([(0, vec![])]), Vec::<i64>::new());
    }

    #[test]
    fn what_cannot_be_is_passed_over() {
        let still = |from: u64, value: f64| (0..100).map(move |n| (from + n * 10, vec![value]));
        assert_eq!(end_of(still(0, 0.5).chain([(1_001, vec![f64::NAN]), (1_002, vec![f64::INFINITY])])), [500_000]);
        // A stray time far ahead, and a clock that was set back: the end is what comes last.
        assert_eq!(end_of(still(0, 0.5).chain([(9_000_000, vec![2.0])]).chain(still(1_000, 0.7))), [700_000]);
        // A little late is passed over.
        assert_eq!(end_of(still(0, 0.5).chain([(900, vec![9.0])])), [500_000]);
        assert_eq!(end_of([(0, vec![f64::MAX]), (20, vec![f64::MAX])]), [i64::MAX]);
    }

    #[test]
    fn more_joints_than_are_told_are_counted() {
        let mut pose = EndPose::default();
        pose.message(&vec![0.1; JOINTS_TOLD_MAX + 3], 1);
        let told = pose.finish();
        assert_eq!((told.items.len(), told.cut), (JOINTS_TOLD_MAX, 3));
    }
}
