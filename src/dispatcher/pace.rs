//! How many rows are claimed beyond what can be started at once. It follows the work: deliveries that end at once are
//! fed by large claims, and rows that would wait here while another process has nothing to do are left in the table.
//! Pure: the time comes in.

use std::time::{Duration, Instant};

/// Rows are claimed ahead for so long a time at the pace of the last claim.
const AHEAD: Duration = Duration::from_millis(100);
/// What a claim is large enough with: its price per row falls no more.
const AHEAD_MAX: usize = 1_000;
/// A pace is not told from less time.
const SAMPLE_MIN: Duration = Duration::from_micros(200);

pub struct Pace {
    since: Instant,
    finished: u32,
    ahead: usize,
}

impl Pace {
    pub fn new(now: Instant) -> Self {
        Self { since: now, finished: 0, ahead: 0 }
    }

    /// A delivery ended.
    pub fn finished(&mut self) {
        self.finished = self.finished.saturating_add(1);
    }

    /// A claim begins. Answers how many rows may wait here besides those that are delivered.
    pub fn ahead(&mut self, now: Instant) -> usize {
        let took = now.saturating_duration_since(self.since);
        if took >= SAMPLE_MIN {
            let ahead = f64::from(self.finished) * AHEAD.as_secs_f64() / took.as_secs_f64();
            self.ahead = (ahead as usize).min(AHEAD_MAX);
            self.since = now;
            self.finished = 0;
        }
        self.ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(finished: u32, took: Duration) -> usize {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        (0..finished).for_each(|_| pace.finished());
        pace.ahead(start + took)
    }

    #[test]
    fn quick_work_is_claimed_ahead_and_slow_work_is_left_to_others() {
        assert_eq!(after(8, Duration::from_millis(4)), 200);
        assert_eq!(after(500, Duration::from_millis(10)), AHEAD_MAX);
        assert_eq!(after(4, Duration::from_secs(1)), 0);
        assert_eq!(after(20, Duration::from_secs(1)), 2);
    }

    #[test]
    fn after_a_pause_it_begins_small_again() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        (0..500).for_each(|_| pace.finished());
        assert_eq!(pace.ahead(start + Duration::from_millis(10)), AHEAD_MAX);
        assert_eq!(pace.ahead(start + Duration::from_secs(60)), 0);
    }

    #[test]
    fn two_looks_at_the_same_moment_answer_the_same() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        (0..8).for_each(|_| pace.finished());
        let now = start + Duration::from_millis(4);
        assert_eq!((pace.ahead(now), pace.ahead(now)), (200, 200));
    }
}
