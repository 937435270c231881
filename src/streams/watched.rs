//! The present state of things that are no events: looked at once for all who watch.

#![expect(clippy::disallowed_methods, reason = "what is watched is looked at again after a while")]

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::projections::reads::ReadError;
use crate::telemetry::chain;

/// As often as a watcher is told at most.
const LOOK: Duration = Duration::from_millis(500);

/// How states are read.
pub trait Looked: Send + Sync + 'static {
    type State: Send + Sync + 'static;

    /// Of those of the keys that there are.
    fn states(&self, keys: &[String]) -> impl Future<Output = Result<Vec<(String, Self::State)>, ReadError>> + Send;

    /// Whether one state comes after another.
    fn follows(state: &Self::State, earlier: &Self::State) -> bool;
}

pub struct Watched<L: Looked> {
    pub looked: L,
    watched: Mutex<BTreeMap<String, watch::Sender<L::State>>>,
    arrived: Notify,
    stop: CancellationToken,
}

impl<L: Looked> Watched<L> {
    pub fn new(looked: L, stop: CancellationToken) -> Self {
        Self { looked, watched: Mutex::default(), arrived: Notify::new(), stop }
    }

    fn watched(&self) -> MutexGuard<'_, BTreeMap<String, watch::Sender<L::State>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest state of a thing, from this one on. Watchers that are slow miss states in between, and never the last one.
    pub fn watch(&self, key: &str, state: L::State) -> watch::Receiver<L::State> {
        let mut watched = self.watched();
        self.arrived.notify_one();
        match watched.get(key) {
            Some(newest) => {
                let watcher = newest.subscribe();
                tell::<L>(newest, state);
                watcher
            }
            None => watched.entry(key.to_owned()).insert_entry(watch::Sender::new(state)).get().subscribe(),
        }
    }

    /// Looks at what is watched, until the end.
    pub async fn follow(&self) {
        loop {
            let keys: Vec<String> = {
                let mut watched = self.watched();
                watched.retain(|_, newest| newest.receiver_count() > 0);
                watched.keys().cloned().collect()
            };
            if keys.is_empty() {
                tokio::select! { () = self.stop.cancelled() => return, () = self.arrived.notified() => continue }
            }
            match self.looked.states(&keys).await {
                Ok(states) => {
                    let watched = self.watched();
                    for (key, state) in states {
                        if let Some(newest) = watched.get(&key) {
                            tell::<L>(newest, state);
                        }
                    }
                }
                Err(error) => warn!(error = chain(&error), "Cannot look at what is watched; tries again"),
            }
            tokio::select! { () = self.stop.cancelled() => return, () = tokio::time::sleep(LOOK) => {} }
        }
    }
}

/// Of two looks at the same moment the later one may be told first.
fn tell<L: Looked>(newest: &watch::Sender<L::State>, state: L::State) {
    newest.send_if_modified(|known| {
        let follows = L::follows(&state, known);
        if follows {
            *known = state;
        }
        follows
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number that only grows.
    struct Number;

    impl Looked for Number {
        type State = i64;

        async fn states(&self, keys: &[String]) -> Result<Vec<(String, i64)>, ReadError> {
            Ok(keys.iter().map(|key| (key.clone(), 7)).collect())
        }

        fn follows(state: &i64, earlier: &i64) -> bool {
            state > earlier
        }
    }

    #[tokio::test]
    async fn a_watcher_never_hears_an_older_state_after_a_newer_one() {
        let stop = CancellationToken::new();
        let numbers = std::sync::Arc::new(Watched::new(Number, stop.clone()));
        let mut first = numbers.watch("a", 3);
        let second = numbers.watch("a", 2);
        assert_eq!((*first.borrow_and_update(), *second.borrow()), (3, 3));
        assert!(!first.has_changed().unwrap());
        let following = tokio::spawn({
            let numbers = numbers.clone();
            async move { numbers.follow().await }
        });
        first.changed().await.unwrap();
        assert_eq!((*first.borrow(), *second.borrow()), (7, 7));
        stop.cancel();
        following.await.unwrap();
    }
}
