//! So many in a while, of each caller: evenly, and a number of them at once after a pause.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::{Quota, RateLimiter};

use super::recent::Recent;

/// How much of whom was used up, by a clock.
pub struct Rate<K: Clone + Eq + Hash, C: Clock = DefaultClock> {
    limiter: RateLimiter<K, Recent<K>, C, NoOpMiddleware<C::Instant>>,
}

/// So many in a second, and those of so many seconds at once.
pub fn in_a_second(most: NonZeroU32, at_once_s: NonZeroU32) -> Quota {
    Quota::per_second(most).allow_burst(most.saturating_mul(at_once_s))
}

/// So many in a minute, all at once where there were none before.
pub fn in_a_minute(most: NonZeroU32) -> Quota {
    Quota::per_minute(most)
}

impl<K: Clone + Eq + Hash> Rate<K> {
    /// So many in a minute, by the clock of this machine.
    pub fn per_minute(most: NonZeroU32) -> Self {
        Self::per_minute_by(most, DefaultClock::default())
    }
}

impl<K: Clone + Eq + Hash, C: Clock> Rate<K, C> {
    pub fn per_minute_by(most: NonZeroU32, clock: C) -> Self {
        Self::by_clock(in_a_minute(most), clock)
    }

    pub fn by_clock(quota: Quota, clock: C) -> Self {
        Self { limiter: RateLimiter::new(quota, Recent::default(), clock) }
    }

    /// Counts one. Refused: how many seconds to wait.
    pub fn count(&self, key: &K) -> Result<(), u64> {
        self.limiter.check_key(key).map_err(|until| whole_seconds(until.wait_time_from(self.limiter.clock().now())))
    }
}

/// At least one, and never too short.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn number(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    #[test]
    fn who_waits_as_long_as_told_is_let_in_again_and_others_never_wait() {
        let clock = FakeRelativeClock::default();
        let rate = Rate::by_clock(in_a_minute(number(3)), clock.clone());
        for _ in 0..3 {
            assert_eq!(rate.count(&"a"), Ok(()));
        }
        assert_eq!(rate.count(&"a"), Err(20));
        assert_eq!(rate.count(&"b"), Ok(()));
        clock.advance(Duration::from_millis(19_500));
        assert_eq!(rate.count(&"a"), Err(1), "half a second is a whole one");
        clock.advance(Duration::from_secs(1));
        assert_eq!((rate.count(&"a"), rate.count(&"a")), (Ok(()), Err(20)));
    }

    #[test]
    fn what_is_even_is_never_refused_and_a_pause_is_made_good() {
        let clock = FakeRelativeClock::default();
        let rate = Rate::by_clock(in_a_second(number(50), number(10)), clock.clone());
        for _ in 0..100_000 {
            assert_eq!(rate.count(&()), Ok(()));
            clock.advance(Duration::from_millis(20));
        }
        let at_once = (0..2_000).filter(|_| rate.count(&()).is_ok()).count();
        assert_eq!(at_once, 500);
    }
}
