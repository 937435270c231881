//! When to try again. Pure: randomness comes in.

use std::time::Duration;

/// Exponential backoff with full jitter: a wait anywhere between zero and the exponential
/// bound. Rows that failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub base: Duration,
    pub cap: Duration,
}

impl Backoff {
    /// The longest wait after `attempt` failures (1 = the first).
    pub fn bound(&self, attempt: u32) -> Duration {
        // Beyond 2^20 any base is over any cap.
        let factor = 2_u32.saturating_pow(attempt.saturating_sub(1).min(20));
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// `random` is uniform in 0..1. A destination that says how long to wait is believed,
    /// and never asked sooner than that.
    pub fn delay(&self, attempt: u32, random: f64, retry_after: Option<Duration>) -> Duration {
        let jittered = self.bound(attempt).mul_f64(random.clamp(0.0, 1.0));
        retry_after.map_or(jittered, |told| told + jittered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(30) };

    #[test]
    fn the_bound_doubles_up_to_the_cap() {
        let bounds: Vec<u64> = (1..=8).map(|attempt| BACKOFF.bound(attempt).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(BACKOFF.bound(u32::MAX), BACKOFF.cap);
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
