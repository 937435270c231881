//! How far each caller is with a rate, of the callers that were seen last.
//!
//! Callers can be invented: addresses of IPv6 as many as one likes. So what is remembered has a bound, and who was not seen for longest is
//! forgotten first, in two halves: when the newer one is full, it becomes the older one, and that one goes. A caller that is forgotten begins
//! anew; to be forgotten it takes thousands of others, each of which may ask as much.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;

/// Callers of one half; one takes some 100 bytes.
const HALF: usize = 8_192;

pub struct Recent<K> {
    seen: Mutex<Halves<K>>,
}

struct Halves<K> {
    newer: HashMap<K, Nanos>,
    older: HashMap<K, Nanos>,
}

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self { seen: Mutex::new(Halves { newer: HashMap::new(), older: HashMap::new() }) }
    }
}

impl<K: Clone + Eq + Hash> Halves<K> {
    fn of(&self, key: &K) -> Option<Nanos> {
        self.newer.get(key).or_else(|| self.older.get(key)).copied()
    }

    fn keep(&mut self, key: &K, far: Nanos) {
        if let Some(known) = self.newer.get_mut(key) {
            *known = far;
            return;
        }
        if self.newer.len() >= HALF {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(key.clone(), far);
    }
}

impl<K: Clone + Eq + Hash> StateStore for Recent<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.of(key);
        match decide(before) {
            Ok((allowed, far)) => {
                seen.keep(key, far);
                Ok(allowed)
            }
            Err(refused) => {
                // Who goes on asking is not forgotten.
                before.into_iter().for_each(|far| seen.keep(key, far));
                Err(refused)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(recent: &Recent<usize>, key: usize) -> Option<u64> {
        recent.seen.lock().unwrap().of(&key).map(Nanos::as_u64)
    }

    fn see(recent: &Recent<usize>, key: usize, far: u64) {
        recent.measure_and_replace(&key, |_| Ok::<_, ()>(((), Nanos::new(far)))).unwrap();
    }

    #[test]
    fn invented_callers_do_not_fill_memory_and_who_goes_on_asking_is_remembered() {
        let recent = Recent::default();
        see(&recent, 0, 7);
        for key in 1..=10 * HALF {
            see(&recent, key, 1);
            // Refused, like one who asks too often.
            let refused: Result<(), ()> = recent.measure_and_replace(&0, |_| Err(()));
            assert!(refused.is_err());
        }
        let seen = recent.seen.lock().unwrap();
        assert!(seen.newer.len() + seen.older.len() <= 2 * HALF, "{} and {}", seen.newer.len(), seen.older.len());
        drop(seen);
        assert_eq!((told(&recent, 0), told(&recent, 1), told(&recent, 10 * HALF)), (Some(7), None, Some(1)));
    }
}
