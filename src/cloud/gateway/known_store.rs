//! Where the platform's object store was said to be last, so that it can be asked whether it answers. Pure: time comes in.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One that gives no answer for so long may be elsewhere by now: only another session says so.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct KnownStore(Mutex<Option<Known>>);

struct Known {
    endpoint: String,
    silent_since: Option<Instant>,
}

impl KnownStore {
    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn endpoint(&self) -> Option<String> {
        self.known().as_ref().map(|known| known.endpoint.clone())
    }

    /// By a session that was opened or renewed.
    pub fn told(&self, endpoint: &str) {
        let mut known = self.known();
        if known.as_ref().is_none_or(|known| known.endpoint != endpoint) {
            *known = Some(Known { endpoint: endpoint.to_owned(), silent_since: None });
        }
    }

    /// Whether this one answered.
    pub fn knocked(&self, endpoint: &str, answered: bool, now: Instant) {
        let mut known = self.known();
        let Some(of) = known.as_mut().filter(|known| known.endpoint == endpoint) else { return };
        match (answered, of.silent_since) {
            (true, _) => of.silent_since = None,
            (false, None) => of.silent_since = Some(now),
            (false, Some(since)) if now - since >= FORGOTTEN_AFTER => *known = None,
            (false, Some(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_silent_for_long_is_forgotten_and_one_that_answers_is_not() {
        let (store, start) = (KnownStore::default(), Instant::now());
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        store.told("a");
        // Three questions in a row, as where it is found out whether a cloud is down, are one silence.
        for _ in 0..3 {
            store.knocked("a", false, after(1));
            assert_eq!(store.endpoint().as_deref(), Some("a"));
        }
        store.knocked("a", true, after(50));
        store.knocked("a", false, after(61));
        store.knocked("a", false, after(120));
        assert_eq!(store.endpoint().as_deref(), Some("a"));
        store.knocked("a", false, after(121));
        assert_eq!(store.endpoint(), None);
        // What another session says counts, and a late answer about the one before does not.
        store.told("b");
        store.knocked("a", false, after(200));
        assert_eq!(store.endpoint().as_deref(), Some("b"));
    }
}
