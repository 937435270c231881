//! Differences of two times: the extremes exactly, the share by a histogram of bounded size.

use std::collections::BTreeMap;

use crate::domain::measurement::Spread;

#[derive(Default)]
pub struct Differences {
    spread: Option<Spread>,
    /// Of the absolute value, 32 steps for each power of two.
    histogram: BTreeMap<u16, u64>,
    count: u64,
    /// Only the extremes are kept.
    extremes_only: bool,
}

const STEP_BITS: u32 = 5;

fn step_of(value: u64) -> u16 {
    let bits = 64 - value.leading_zeros();
    let shift = bits.saturating_sub(STEP_BITS + 1);
    ((shift << STEP_BITS) as u64 + (value >> shift)) as u16
}

/// The largest value of a step.
fn end_of(step: u16) -> u64 {
    let shift = u32::from(step >> STEP_BITS).saturating_sub(1);
    let head = u64::from(step) - u64::from(shift << STEP_BITS);
    ((head + 1) << shift).wrapping_sub(1)
}

impl Differences {
    /// Of some topics the share is told; of others the largest value stands for it.
    pub fn of_topic(told: bool) -> Self {
        Self { extremes_only: !told, ..Self::default() }
    }

    /// `later` less `earlier`.
    pub fn push(&mut self, later: u64, earlier: u64) {
        let difference =
            i64::try_from(i128::from(later) - i128::from(earlier)).unwrap_or(if later > earlier { i64::MAX } else { i64::MIN });
        let spread = self.spread.get_or_insert(Spread { min_ns: difference, max_ns: difference, p99_ns: 0, negative: 0 });
        spread.min_ns = spread.min_ns.min(difference);
        spread.max_ns = spread.max_ns.max(difference);
        spread.negative += u64::from(difference < 0);
        if !self.extremes_only {
            *self.histogram.entry(step_of(difference.unsigned_abs())).or_default() += 1;
        }
        self.count += 1;
    }

    pub fn finish(self) -> Option<Spread> {
        let mut spread = self.spread?;
        let rank = (self.count * 99).div_ceil(100);
        let mut passed = 0;
        let step = self.histogram.iter().find(|(_, count)| {
            passed += **count;
            passed >= rank
        });
        let largest = spread.min_ns.unsigned_abs().max(spread.max_ns.unsigned_abs());
        spread.p99_ns = step.map_or(largest, |(step, _)| end_of(*step)).min(largest);
        Some(spread)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn extremes_are_exact() {
        let mut differences = Differences::default();
        for (later, earlier) in [(10, 3), (3, 10), (0, u64::MAX), (u64::MAX, 0)] {
            differences.push(later, earlier);
        }
        let spread = differences.finish().unwrap();
        assert_eq!((spread.min_ns, spread.max_ns, spread.negative), (i64::MIN, i64::MAX, 2));
    }

    proptest! {
        #[test]
        fn the_share_is_at_most_three_percent_too_large(mut values in prop::collection::vec((0..40u32, any::<u64>()).prop_map(|(bits, value)| value & ((1 << bits) - 1)), 1..200)) {
            let mut differences = Differences::default();
            values.iter().for_each(|value| differences.push(*value, 0));
            values.sort_unstable();
            let (exact, found) = (values[(values.len() * 99).div_ceil(100) - 1], differences.finish().unwrap().p99_ns);
            prop_assert!(found >= exact && found - exact <= exact / 32, "{} for {}", found, exact);
        }
    }
}
