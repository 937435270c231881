//! How often something may be tried before it has to wait: per name and address, so that one
//! person's attempts do not lock out another's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use crate::domain::Timestamp;

/// A person mistypes a few times; a program guesses thousands of times.
pub const FAILURES_MAX: u32 = 8;
/// After this the count starts anew.
pub const WINDOW_S: i64 = 5 * 60;
/// What is remembered at most, so that invented accounts cannot fill memory.
const ENTRIES_MAX: usize = 10_000;

pub struct Throttle {
    most: u32,
    window_s: i64,
    failures: Mutex<HashMap<(String, Option<IpAddr>), Failures>>,
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    since: i64,
}

impl Throttle {
    /// So many tries in a window of so many seconds.
    pub fn new(most: u32, window_s: i64) -> Self {
        Self { most, window_s, failures: Mutex::default() }
    }

    /// Failed logins.
    pub fn of_logins() -> Self {
        Self::new(FAILURES_MAX, WINDOW_S)
    }

    /// Counts an attempt as failed until [`Throttle::succeeded`] takes it back, so that
    /// attempts at the same time count as well. Refused: how long to wait, in seconds.
    pub fn attempt(&self, account: &str, address: Option<IpAddr>, now: Timestamp) -> Result<(), u64> {
        let now = now.timestamp();
        let mut failures = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if failures.len() >= ENTRIES_MAX {
            failures.retain(|_, entry| now - entry.since < self.window_s);
        }
        if failures.len() >= ENTRIES_MAX {
            let oldest = failures.iter().min_by_key(|(_, entry)| entry.since).map(|(key, _)| key.clone());
            oldest.map(|key| failures.remove(&key));
        }
        let entry = failures.entry((account.to_lowercase(), address)).or_insert(Failures { count: 0, since: now });
        if now - entry.since >= self.window_s {
            *entry = Failures { count: 0, since: now };
        }
        if entry.count >= self.most {
            return Err(u64::try_from(self.window_s - (now - entry.since)).unwrap_or(1).max(1));
        }
        entry.count += 1;
        Ok(())
    }

    pub fn succeeded(&self, account: &str, address: Option<IpAddr>) {
        self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&(account.to_lowercase(), address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn the_ninth_attempt_waits_for_the_window_to_end() {
        let throttle = Throttle::of_logins();
        let from = |last| Some(IpAddr::from([10, 0, 0, last]));
        for _ in 0..FAILURES_MAX {
            assert_eq!(throttle.attempt("Op", from(1), at(0)), Ok(()));
        }
        assert_eq!(throttle.attempt("op", from(1), at(100)), Err(200));
        assert_eq!(throttle.attempt("op", from(2), at(100)), Ok(()), "another address");
        assert_eq!(throttle.attempt("other", from(1), at(100)), Ok(()), "another account");
        assert_eq!(throttle.attempt("op", from(1), at(WINDOW_S)), Ok(()));
    }

    #[test]
    fn a_success_forgets_the_failures_before() {
        let throttle = Throttle::of_logins();
        for _ in 0..3 * FAILURES_MAX {
            assert_eq!(throttle.attempt("op", None, at(0)), Ok(()));
            throttle.succeeded("op", None);
        }
    }

    #[test]
    fn invented_accounts_do_not_fill_memory() {
        let throttle = Throttle::of_logins();
        for n in 0..ENTRIES_MAX + 50 {
            let _ = throttle.attempt(&format!("a{n}"), None, at(0));
        }
        assert!(throttle.failures.lock().unwrap().len() <= ENTRIES_MAX);
    }
}
