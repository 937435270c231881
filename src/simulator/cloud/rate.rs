//! How fast bytes pass: their time is reserved ahead, so that all who share a line get their turn.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time that was not used may be made up for as much as this: timers are late by a millisecond or more, and the rate is
/// kept all the same.
const CREDIT: Duration = Duration::from_millis(10);

/// At once goes what takes about as long as this, so that a slow line moves steadily.
const STEP: Duration = Duration::from_millis(5);
const STEP_BYTES: std::ops::Range<usize> = 512..64 * 1024;

#[derive(Debug, Default)]
pub struct Rate(Mutex<Option<Instant>>);

impl Rate {
    /// Reserves the time of these bytes, and says when they have passed.
    pub fn pass(&self, bytes: usize, bytes_s: u64, now: Instant) -> Instant {
        let mut free_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(CREDIT).unwrap_or(now);
        let begins = free_at.map_or(earliest, |free_at| free_at.max(earliest));
        let ends = begins + Duration::from_secs_f64(bytes as f64 / bytes_s.max(1) as f64);
        *free_at = Some(ends);
        ends
    }
}

/// How many bytes go at once.
pub fn step(bytes_s: u64) -> usize {
    let bytes = bytes_s as f64 * STEP.as_secs_f64();
    (bytes as usize).clamp(STEP_BYTES.start, STEP_BYTES.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_share_a_rate_keep_it_together() {
        let (rate, start) = (Rate::default(), Instant::now());
        // Two take turns and wait as they are told.
        let mut ends = [start; 2];
        for turn in 0..200 {
            let now = ends[turn % 2];
            ends[turn % 2] = rate.pass(10_000, 1_000_000, now).max(now);
        }
        let took = ends[0].max(ends[1]) - start;
        assert!((Duration::from_millis(1985)..Duration::from_millis(2005)).contains(&took), "{took:?}");
    }

    #[test]
    fn a_pause_is_made_up_for_only_a_little() {
        let (rate, start) = (Rate::default(), Instant::now());
        rate.pass(1000, 1_000_000, start);
        let later = start + Duration::from_secs(60);
        assert_eq!(rate.pass(20_000, 1_000_000, later), later + Duration::from_millis(10));
        assert_eq!((step(1), step(12_500_000), step(u64::MAX)), (512, 62_500, 64 * 1024));
    }
}
