//! How long is waited between two tries. Pure: randomness comes in.

use std::time::Duration;

use crate::dispatcher::Backoff;

/// A cloud that says more is asked again all the same.
const TOLD_MAX: Duration = Duration::from_secs(3600);

/// As the settings have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryTerms {
    pub backoff: Backoff,
    /// Whole seconds that are added at most, by chance. None: the wait is as `backoff` has it, a random part of what it would be.
    pub jitter: Option<Duration>,
}

impl RetryTerms {
    /// After `attempt` failures (1 = the first). `random` is uniform in 0..1. A cloud that says how long to wait is believed, up to an
    /// hour, and never asked sooner.
    pub fn wait(&self, attempt: u32, random: f64, told: Option<Duration>) -> Duration {
        let wait = match self.jitter {
            None => self.backoff.delay(attempt, random, None),
            Some(jitter) => {
                let seconds = (random.clamp(0.0, 1.0) * (jitter.as_secs() as f64 + 1.0)) as u64;
                let wait = self.backoff.bound(attempt) + Duration::from_secs(seconds.min(jitter.as_secs()));
                self.backoff.cap.map_or(wait, |cap| wait.min(cap))
            }
        };
        told.map_or(wait, |told| told.min(TOLD_MAX).max(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_those_of_the_contract_where_its_settings_are() {
        let seconds = Duration::from_secs;
        let terms = RetryTerms { backoff: Backoff::exponential(seconds(30), seconds(1800)), jitter: Some(seconds(30)) };
        for (attempt, least, most) in [(1, 30, 60), (2, 60, 90), (3, 120, 150), (4, 240, 270), (9, 1800, 1800)] {
            assert_eq!(terms.wait(attempt, 0.0, None), seconds(least), "{attempt}");
            assert_eq!(terms.wait(attempt, 1.0, None), seconds(most), "{attempt}");
        }
    }

    #[test]
    fn without_them_a_wait_is_any_part_of_at_most_half_a_minute() {
        let terms = RetryTerms { backoff: Backoff::exponential(Duration::from_secs(1), Duration::from_secs(30)), jitter: None };
        assert_eq!(terms.wait(1, 0.0, None), Duration::ZERO);
        assert_eq!(terms.wait(3, 0.5, None), Duration::from_secs(2));
        assert_eq!(terms.wait(u32::MAX, 1.0, None), Duration::from_secs(30));
        assert_eq!(terms.wait(1, 0.5, Some(Duration::from_secs(90))), Duration::from_secs(90));
        assert_eq!(terms.wait(1, 0.5, Some(Duration::MAX)), TOLD_MAX);
    }
}
