//! The times of one topic: their order as they come, their intervals once all are there.

use crate::domain::measurement::{GAPS_MAX, Gap, Intervals, Listed, Timing};

/// Times that are kept, of all topics together: 24 MB. A robot writes so many messages in an hour.
pub const TIMES_MAX: usize = 3_000_000;

#[derive(Default)]
pub struct Timeline {
    /// In the order of the file.
    times: Vec<u64>,
    timing: Timing,
    any: bool,
    last: u64,
    /// Some times had no room any more.
    cut: bool,
}

impl Timeline {
    pub fn push(&mut self, at: u64, room: &mut usize) {
        if self.any {
            self.timing.backward += u64::from(at < self.last);
            self.timing.equal += u64::from(at == self.last);
            self.timing.first_ns = self.timing.first_ns.min(at);
            self.timing.last_ns = self.timing.last_ns.max(at);
        } else {
            (self.any, self.timing.first_ns, self.timing.last_ns) = (true, at, at);
        }
        self.timing.zero += u64::from(at == 0);
        self.last = at;
        if *room > 0 {
            *room -= 1;
            self.times.push(at);
        } else {
            self.cut = true;
        }
    }

    /// Whether times are missing, so that nothing is said of intervals.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// What it measured, and the times in their order.
    pub fn finish(mut self) -> (Option<Timing>, Vec<u64>) {
        if !self.any {
            return (None, vec![]);
        }
        if self.cut {
            return (Some(self.timing), vec![]);
        }
        self.times.sort_unstable();
        self.timing.intervals = intervals(&self.times);
        (Some(self.timing), self.times)
    }
}

fn intervals(times: &[u64]) -> Option<Intervals> {
    let each = || times.windows(2).map(|pair| Gap { from_ns: pair[0], to_ns: pair[1] });
    let mut lengths: Vec<u64> = each().map(|gap| gap.length_ns()).collect();
    lengths.sort_unstable();
    let longest_ns = *lengths.last()?;
    let median_ns = at_share(&lengths, 50);
    let is_late = |length: u64| length > median_ns.saturating_add(median_ns / 2);
    let mut late: Vec<Gap> = each().filter(|gap| is_late(gap.length_ns())).collect();
    late.sort_by_key(|gap| (std::cmp::Reverse(gap.length_ns()), gap.from_ns));
    Some(Intervals {
        median_ns,
        p99_ns: at_share(&lengths, 99),
        longest_ns,
        late: late.len() as u64,
        late_ns: late.iter().map(|gap| gap.length_ns() - median_ns).fold(0, u64::saturating_add),
        gaps: Listed::of(late, GAPS_MAX),
    })
}

/// The smallest of ascending numbers that so many percent of them do not exceed; 0 of none.
pub fn at_share(ascending: &[u64], percent: usize) -> u64 {
    let rank = (ascending.len() * percent).div_ceil(100).max(1);
    ascending.get(rank - 1).copied().unwrap_or_default()
}

/// For each of `images` the distance to the nearest of `states`, in one walk over both, in ascending order.
pub fn distances(images: &[u64], states: &[u64]) -> Vec<u64> {
    let mut nearest = 0;
    let mut found: Vec<u64> = vec![];
    if states.is_empty() {
        return found;
    }
    for image in images {
        while states.get(nearest + 1).is_some_and(|next| next.abs_diff(*image) <= states[nearest].abs_diff(*image)) {
            nearest += 1;
        }
        found.push(states[nearest].abs_diff(*image));
    }
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timing(times: &[u64]) -> Timing {
        let mut timeline = Timeline::default();
        times.iter().for_each(|at| timeline.push(*at, &mut 1000));
        timeline.finish().0.expect("times")
    }

    #[test]
    fn a_gap_is_named_with_its_ends_and_order_does_not_matter_to_it() {
        let in_order = timing(&[0, 10, 20, 30, 100, 110, 125, 135]);
        let intervals = in_order.intervals.clone().unwrap();
        assert_eq!((intervals.median_ns, intervals.longest_ns, intervals.late, intervals.late_ns), (10, 70, 1, 60));
        assert_eq!(intervals.gaps.items, [Gap { from_ns: 30, to_ns: 100 }]);
        assert_eq!((in_order.backward, in_order.zero), (0, 1));
        let mixed = timing(&[20, 0, 10, 30, 135, 100, 110, 125]);
        assert_eq!((mixed.intervals.unwrap(), mixed.backward), (intervals, 2));
    }

    #[test]
    fn without_room_there_are_no_intervals() {
        let mut timeline = Timeline::default();
        let mut room = 2;
        [5, 7, 9].iter().for_each(|at| timeline.push(*at, &mut room));
        assert!(timeline.is_cut());
        let (timing, times) = timeline.finish();
        let timing = timing.unwrap();
        assert_eq!((timing.first_ns, timing.last_ns, timing.intervals, times.len()), (5, 9, None, 0));
    }

    proptest! {
        #[test]
        fn the_nearest_is_the_nearest(mut images in prop::collection::vec(0..1000u64, 0..40), mut states in prop::collection::vec(0..1000u64, 1..40)) {
            images.sort_unstable();
            states.sort_unstable();
            let mut expected: Vec<u64> =
                images.iter().map(|image| states.iter().map(|state| state.abs_diff(*image)).min().unwrap()).collect();
            expected.sort_unstable();
            prop_assert_eq!(distances(&images, &states), expected);
        }

        #[test]
        fn times_of_any_size_are_measured(times in prop::collection::vec(prop_oneof![any::<u64>(), Just(0), Just(u64::MAX)], 1..20)) {
            let measured = timing(&times);
            prop_assert!(measured.span_ns() >= measured.intervals.map_or(0, |intervals| intervals.longest_ns));
        }
    }
}
