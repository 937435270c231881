//! How much of something is taken from one device in a while: a number at once, and a rate after that.

use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    pub at_once: f64,
    pub per_second: f64,
}

/// What is left of a limit.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    limit: Limit,
    /// Below zero: to be waited for.
    left: f64,
    at: Instant,
}

impl Allowance {
    pub fn new(limit: Limit, now: Instant) -> Self {
        Self { limit, left: limit.at_once, at: now }
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + elapsed * self.limit.per_second).min(self.limit.at_once);
        self.at = now;
    }

    /// Takes what has come already, and answers how long to wait before more is taken.
    pub fn take(&mut self, now: Instant, amount: f64) -> Option<Duration> {
        self.refill(now);
        self.left -= amount;
        (self.left < 0.0).then(|| Duration::from_secs_f64(-self.left / self.limit.per_second))
    }

    /// Whether there is one left.
    pub fn has_one(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left >= 1.0
    }

    /// Takes one, where there is one left.
    pub fn try_take(&mut self, now: Instant) -> bool {
        let allowed = self.has_one(now);
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { at_once: 10.0, per_second: 2.0 };

    #[test]
    fn what_comes_at_once_is_taken_at_once_and_what_goes_on_waits() {
        let start = Instant::now();
        let mut allowance = Allowance::new(LIMIT, start);
        assert!((0..5).all(|_| allowance.take(start, 2.0).is_none()));
        assert_eq!(allowance.take(start, 1.0), Some(Duration::from_millis(500)));
        assert_eq!(allowance.take(start, 2.0), Some(Duration::from_millis(1_500)));
        // Nothing beyond the whole is saved up, and the rate itself never waits.
        let later = start + Duration::from_secs(3_600);
        assert!((0..10).all(|_| allowance.take(later, 1.0).is_none()));
        assert!((1..100).all(|n| allowance.take(later + n * Duration::from_millis(500), 1.0).is_none()));
        assert!(allowance.take(later, 1.0).is_some());
    }

    #[test]
    fn what_is_refused_costs_nothing() {
        let start = Instant::now();
        let mut allowance = Allowance::new(LIMIT, start);
        assert_eq!((0..100).filter(|_| allowance.try_take(start)).count(), 10);
        let later = start + Duration::from_millis(1_100);
        assert_eq!((0..100).filter(|_| allowance.try_take(later)).count(), 2);
    }
}
