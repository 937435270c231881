//! How often something may be tried before it has to wait: per name and address, so that one
//! person's attempts do not lock out another's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::domain::Timestamp;
use crate::listener::one_caller;

/// What is remembered at most, so that invented names cannot fill memory: some 70 bytes each, however long the name.
const ENTRIES_MAX: usize = 10_000;

pub struct Throttle {
    most: u32,
    window_s: i64,
    tries: Mutex<HashMap<Key, Tries>>,
}

/// A name, by its hash, and where it was tried from.
type Key = ([u8; 16], Option<IpAddr>);

#[derive(Clone, Copy)]
struct Tries {
    count: u32,
    since: i64,
}

fn key(name: &str, address: Option<IpAddr>) -> Key {
    let hash: [u8; 32] = Sha256::digest(name.as_bytes()).into();
    (std::array::from_fn(|at| hash[at]), address.map(one_caller))
}

impl Throttle {
    /// So many tries in a window of so many seconds.
    pub fn new(most: u32, window_s: i64) -> Self {
        Self { most, window_s, tries: Mutex::default() }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Key, Tries>> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an attempt until it is forgiven, so that attempts at the same time count as well. `name` is what was
    /// found, not how the caller spelled it. Refused: how long to wait, in seconds.
    pub fn attempt(&self, name: &str, address: Option<IpAddr>, now: Timestamp) -> Result<(), u64> {
        let now = now.timestamp();
        let mut tries = self.locked();
        if tries.len() >= ENTRIES_MAX {
            tries.retain(|_, entry| now - entry.since < self.window_s);
        }
        if tries.len() >= ENTRIES_MAX {
            let oldest = tries.iter().min_by_key(|(_, entry)| entry.since).map(|(key, _)| *key);
            oldest.map(|key| tries.remove(&key));
        }
        let entry = tries.entry(key(name, address)).or_insert(Tries { count: 0, since: now });
        if now - entry.since >= self.window_s {
            *entry = Tries { count: 0, since: now };
        }
        if entry.count >= self.most {
            return Err(u64::try_from(self.window_s - (now - entry.since)).unwrap_or(1).max(1));
        }
        entry.count += 1;
        Ok(())
    }

    /// Forgets all attempts.
    pub fn forgive(&self, name: &str, address: Option<IpAddr>) {
        self.locked().remove(&key(name, address));
    }

    /// Takes back one attempt; those before it stay counted.
    pub fn take_back(&self, name: &str, address: Option<IpAddr>) {
        if let Some(entry) = self.locked().get_mut(&key(name, address)) {
            entry.count = entry.count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u32 = 8;
    const WINDOW_S: i64 = 300;

    fn at(seconds: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn the_ninth_attempt_waits_for_the_window_to_end() {
        let throttle = Throttle::new(MOST, WINDOW_S);
        let from = |last| Some(IpAddr::from([10, 0, 0, last]));
        for _ in 0..MOST {
            assert_eq!(throttle.attempt("op", from(1), at(0)), Ok(()));
        }
        assert_eq!(throttle.attempt("op", from(1), at(100)), Err(200));
        assert_eq!(throttle.attempt("op", from(2), at(100)), Ok(()), "another address");
        assert_eq!(throttle.attempt("other", from(1), at(100)), Ok(()), "another name");
        assert_eq!(throttle.attempt("op", from(1), at(WINDOW_S)), Ok(()));
    }

    #[test]
    fn what_is_forgiven_is_not_counted() {
        let throttle = Throttle::new(MOST, WINDOW_S);
        for _ in 0..3 * MOST {
            assert_eq!(throttle.attempt("op", None, at(0)), Ok(()));
            throttle.forgive("op", None);
        }
        for _ in 0..MOST - 1 {
            assert_eq!(throttle.attempt("op", None, at(0)), Ok(()));
        }
        for _ in 0..3 * MOST {
            assert_eq!(throttle.attempt("op", None, at(0)), Ok(()));
            throttle.take_back("op", None);
        }
        assert_eq!(throttle.attempt("op", None, at(0)), Ok(()));
        assert!(throttle.attempt("op", None, at(0)).is_err(), "what was not taken back is");
    }

    #[test]
    fn a_machine_with_many_addresses_is_one_caller() {
        let throttle = Throttle::new(MOST, WINDOW_S);
        let tried = |address: String| throttle.attempt("op", address.parse().ok(), at(0));
        assert_eq!((0..100).filter(|n| tried(format!("2001:db8::{n:x}")).is_ok()).count(), 8);
        assert_eq!(tried("2001:db8:0:1::1".into()), Ok(()), "another network");
        assert_eq!((0..100).filter(|n| tried(if n % 2 == 0 { "10.0.0.1".into() } else { "::ffff:10.0.0.1".into() }).is_ok()).count(), 8);
    }

    #[test]
    fn invented_names_do_not_fill_memory() {
        let throttle = Throttle::new(MOST, WINDOW_S);
        for n in 0..ENTRIES_MAX + 50 {
            let _ = throttle.attempt(&format!("a{n}"), None, at(0));
        }
        assert!(throttle.locked().len() <= ENTRIES_MAX);
        assert!(size_of::<(Key, Tries)>() <= 64);
    }
}
