//! When to try again. Pure: randomness comes in.

use std::time::Duration;

/// How waits grow, and how much of one is waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub base: Duration,
    /// Waits double up to here; none: all are the base.
    pub cap: Option<Duration>,
    /// A wait is anywhere between zero and its bound: rows that failed together do not come back together.
    pub jitter: bool,
}

impl Backoff {
    /// Exponential backoff with full jitter.
    pub fn exponential(base: Duration, cap: Duration) -> Self {
        Self { base, cap: Some(cap), jitter: true }
    }

    /// The longest wait after `attempt` failures (1 = the first).
    pub fn bound(&self, attempt: u32) -> Duration {
        // Beyond 2^20 any base is over any cap.
        let factor = 2_u32.saturating_pow(attempt.saturating_sub(1).min(20));
        self.cap.map_or(self.base, |cap| self.base.saturating_mul(factor).min(cap))
    }

    /// `random` is uniform in 0..1. A destination that says how long to wait is believed,
    /// and never asked sooner than that.
    pub fn delay(&self, attempt: u32, random: f64, retry_after: Option<Duration>) -> Duration {
        let part = if self.jitter { random.clamp(0.0, 1.0) } else { 1.0 };
        let wait = self.bound(attempt).mul_f64(part);
        retry_after.map_or(wait, |told| told + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: Duration = Duration::from_secs(1);
    const CAP: Duration = Duration::from_secs(30);
    const BACKOFF: Backoff = Backoff { base: BASE, cap: Some(CAP), jitter: true };

    #[test]
    fn the_bound_doubles_up_to_the_cap() {
        let bounds: Vec<u64> = (1..=8).map(|attempt| BACKOFF.bound(attempt).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(BACKOFF.bound(u32::MAX), CAP);
    }

    #[test]
    fn without_a_cap_all_waits_are_the_base_and_without_jitter_all_of_it_is_waited() {
        let fixed = Backoff { cap: None, ..BACKOFF };
        assert_eq!((fixed.bound(1), fixed.bound(50)), (BASE, BASE));
        let whole = Backoff { jitter: false, ..BACKOFF };
        assert_eq!((whole.delay(3, 0.1, None), BACKOFF.delay(3, 0.5, None)), (4 * BASE, 2 * BASE));
    }

    #[test]
    fn a_destination_that_names_a_wait_is_never_asked_sooner() {
        let told = Duration::from_secs(90);
        assert!(BACKOFF.delay(1, 0.0, Some(told)) >= told);
    }

    proptest! {
        #[test]
        fn the_wait_is_anywhere_between_zero_and_the_bound(attempt in 1_u32..100, random in 0.0..1.0_f64) {
            prop_assert!(BACKOFF.delay(attempt, random, None) <= BACKOFF.bound(attempt));
        }
    }
}
