//! One writer per name at a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// Locks by name, which exist as long as one is held or waited for.
#[derive(Debug)]
pub struct Locks<K>(Arc<Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>>);

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K> Clone for Locks<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

pub struct Held<K: Eq + Hash> {
    locks: Locks<K>,
    key: K,
    held: Option<OwnedMutexGuard<()>>,
}

impl<K: Eq + Hash + Clone> Locks<K> {
    pub async fn hold(&self, key: K) -> Held<K> {
        let lock = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone();
        // Made before the wait, so that a wait that is given up leaves nothing behind either.
        let mut held = Held { locks: self.clone(), key, held: None };
        held.held = Some(lock.lock_owned().await);
        held
    }
}

impl<K: Eq + Hash> Drop for Held<K> {
    fn drop(&mut self) {
        let mut locks = self.locks.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.held = None;
        if locks.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn one_holds_a_name_and_others_wait_and_nothing_is_left() {
        let locks = Locks::default();
        let first = locks.hold("a").await;
        let other = locks.hold("b").await;
        let waiting = tokio::time::timeout(Duration::from_millis(20), locks.hold("a")).await;
        assert!(waiting.is_err());
        drop(first);
        let second = locks.hold("a").await;
        drop((second, other));
        assert!(locks.0.lock().unwrap().is_empty());
    }
}
