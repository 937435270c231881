//! What is counted: bytes and completions of each key, what was asked for and refused, faults, episodes that were told of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::faults::Operation;
use super::report::EpisodeReport;

/// A bucket and a key in it.
pub type Place = (String, String);

/// A fault that was done on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injected {
    CutConnection,
    SlowDown,
    SlowDownWithRetryAfter,
    LostAnswer(Operation),
    Outage,
    /// A connection that an outage ended, or that stood still in it.
    ConnectionInOutage,
    ExpiredKey,
}

impl Injected {
    fn name(self) -> String {
        match self {
            Self::CutConnection => "cut_connections".to_owned(),
            Self::SlowDown => "slow_downs".to_owned(),
            Self::SlowDownWithRetryAfter => "slow_downs_with_retry_after".to_owned(),
            Self::LostAnswer(operation) => format!("lost_{}_answers", operation.as_str()),
            Self::Outage => "outages".to_owned(),
            Self::ConnectionInOutage => "connections_in_outages".to_owned(),
            Self::ExpiredKey => "expired_keys".to_owned(),
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub struct OfKey {
    pub received_bytes: u64,
    /// How often an object was completed here.
    pub completed: u32,
    /// The largest of these.
    pub largest_bytes: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Books {
    pub keys: BTreeMap<Place, OfKey>,
    pub requests: BTreeMap<String, u64>,
    pub refusals: BTreeMap<String, u64>,
    pub faults: BTreeMap<String, u64>,
    pub episodes: BTreeMap<String, EpisodeReport>,
}

#[derive(Debug, Default)]
pub struct Ledger(Mutex<Books>);

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn copy(&self) -> Books {
        self.books().clone()
    }

    pub fn asked(&self, operation: Operation) {
        *self.books().requests.entry(operation.as_str().to_owned()).or_default() += 1;
    }

    pub fn refused(&self, service: &str, code: &str) {
        *self.books().refusals.entry(format!("{service} {code}")).or_default() += 1;
    }

    pub fn injected(&self, fault: Injected) {
        *self.books().faults.entry(fault.name()).or_default() += 1;
    }

    pub fn completed(&self, place: &Place, bytes: u64) {
        let mut books = self.books();
        let of = books.keys.entry(place.clone()).or_default();
        of.completed += 1;
        of.largest_bytes = of.largest_bytes.max(bytes);
    }

    /// When this episode was told of first, if this is not the first time.
    pub fn told(&self, episode_id: &str, told: Value, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut books = self.books();
        if let Some(known) = books.episodes.get_mut(episode_id) {
            known.told += 1;
            return Some(known.synced_at);
        }
        let episode = EpisodeReport { episode_id: episode_id.to_owned(), told: 1, synced_at: at, first: told };
        books.episodes.insert(episode_id.to_owned(), episode);
        None
    }
}

/// Bytes of a request as they come in: entered when it ends, however that is.
pub struct Tally {
    ledger: Arc<Ledger>,
    place: Place,
    bytes: u64,
}

impl Tally {
    pub fn new(ledger: &Arc<Ledger>, place: Place) -> Self {
        Self { ledger: ledger.clone(), place, bytes: 0 }
    }

    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.ledger.books().keys.entry(self.place.clone()).or_default().received_bytes += self.bytes;
        }
    }
}
