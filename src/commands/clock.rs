//! The time of the site: that of the database, as this process knows it.
//!
//! What one process stores, another compares: deadlines, keys that are forgotten after a day, logins. So all of them
//! go by one clock, and it is the one that the leases in SQL go by. A process learns it when it renews its own lease,
//! and counts on from there by its steady clock: a wall clock that is wrong, or jumps, changes nothing.

#![expect(clippy::disallowed_methods, reason = "commands take their time from here")]

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::domain::Timestamp;

/// An answer that was on its way for longer says too little.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(1);

/// From here on an operator should know that a machine's clock is wrong.
const SKEW_TOLD: Duration = Duration::from_secs(2);

static SITE: Mutex<SiteClock> = Mutex::new(SiteClock { known: None });

/// The time of the site; before anything was learned, that of this machine.
pub fn now() -> Timestamp {
    let site = *SITE.lock().unwrap_or_else(PoisonError::into_inner);
    site.at(Instant::now()).unwrap_or_else(chrono::Utc::now)
}

/// What the database said its time is, between these two moments.
pub fn learn(asked: Instant, told: Timestamp, answered: Instant) {
    let learned = SITE.lock().unwrap_or_else(PoisonError::into_inner).learn(asked, told, answered);
    let skew = (told - chrono::Utc::now()).abs().to_std().unwrap_or_default();
    if learned && skew >= SKEW_TOLD {
        warn!(
            skew_s = skew.as_secs(),
            "The clock of this machine and that of the database differ by {} s; goes by the database's",
            skew.as_secs()
        );
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct SiteClock {
    known: Option<(Instant, Timestamp)>,
}

impl SiteClock {
    fn at(&self, moment: Instant) -> Option<Timestamp> {
        let (then, time) = self.known?;
        let passed = chrono::TimeDelta::from_std(moment.saturating_duration_since(then)).ok()?;
        time.checked_add_signed(passed)
    }

    /// Corrects itself where it is outside of what the answer leaves open. Answers whether it did.
    fn learn(&mut self, asked: Instant, told: Timestamp, answered: Instant) -> bool {
        let round_trip = answered.saturating_duration_since(asked);
        let expected = self.at(answered);
        let late = chrono::TimeDelta::from_std(round_trip).unwrap_or_default();
        if expected.is_some_and(|expected| (told..=told + late).contains(&expected)) {
            return false;
        }
        if expected.is_some() && round_trip > ROUND_TRIP_MAX {
            return false;
        }
        self.known = Some((answered, told + late / 2));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(ms: i64) -> Timestamp {
        chrono::DateTime::from_timestamp_millis(1_790_000_000_000 + ms).unwrap()
    }

    #[test]
    fn it_goes_on_from_what_the_database_said() {
        let (mut clock, start) = (SiteClock::default(), Instant::now());
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(clock.at(start), None);
        assert!(clock.learn(start, time(0), after(20)));
        assert_eq!(clock.at(after(20)), Some(time(10)));
        assert_eq!(clock.at(after(5_020)), Some(time(5_010)));
    }

    #[test]
    fn an_answer_that_fits_changes_nothing_and_a_slow_one_proves_nothing() {
        let (mut clock, start) = (SiteClock::default(), Instant::now());
        let after = |ms| start + Duration::from_millis(ms);
        clock.learn(start, time(0), after(20));
        assert!(!clock.learn(after(1_000), time(995), after(1_010)), "within what the answer leaves open");
        assert!(!clock.learn(after(2_000), time(9_000), after(4_000)), "two seconds on its way");
        assert!(clock.learn(after(5_000), time(86_400_000), after(5_000)), "the database's clock was set");
        assert_eq!(clock.at(after(6_000)), Some(time(86_401_000)));
    }
}
