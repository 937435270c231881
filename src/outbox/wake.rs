//! Wakes inside this process: they make us quick, polling makes us right.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, broadcast, watch};

use crate::domain::routing::SubscriberName;

/// Ids kept for those who are slow to listen; they look by themselves then.
const SETTLED_KEPT: usize = 256;

/// Ids that one message to other processes holds, of the length of a UUID: a message of Postgres has at most 8000 bytes.
const SETTLED_TOLD: usize = 200;

/// One bell per subscriber, one for the sequencer, one for messages to other processes, and one for all who follow the log. And names of
/// what was settled, for those who wait for it in any process.
#[derive(Clone)]
pub struct Wakes {
    subscribers: Arc<BTreeMap<SubscriberName, Arc<Notify>>>,
    log: Arc<Notify>,
    neighbours: Arc<Notify>,
    commits: watch::Sender<()>,
    settled: broadcast::Sender<Arc<str>>,
    /// What other processes were not told of yet.
    to_tell: Arc<Mutex<VecDeque<Arc<str>>>>,
}

impl Default for Wakes {
    fn default() -> Self {
        let subscribers = SubscriberName::ALL.iter().map(|name| (*name, Arc::default())).collect();
        Self {
            subscribers: Arc::new(subscribers),
            log: Arc::default(),
            neighbours: Arc::default(),
            commits: watch::Sender::new(()),
            settled: broadcast::channel(SETTLED_KEPT).0,
            to_tell: Arc::default(),
        }
    }
}

impl Wakes {
    /// After a commit: events are there, and rows for these subscribers.
    pub fn committed(&self, subscribers: impl IntoIterator<Item = SubscriberName>) {
        self.log.notify_one();
        self.commits.send_replace(());
        for name in subscribers {
            self.wake(name);
        }
        self.neighbours.notify_one();
    }

    /// Something may be there for this subscriber, from any process.
    pub fn wake(&self, name: SubscriberName) {
        if let Some(bell) = self.subscribers.get(&name) {
            bell.notify_one();
        }
    }

    /// Before [`Wakes::committed`]: what was settled with the commit, by id.
    pub fn settled(&self, ids: impl IntoIterator<Item = String>) {
        let mut to_tell = self.to_tell.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids.into_iter().map(Arc::<str>::from) {
            let _ = self.settled.send(id.clone());
            // Without a connection to the others nobody takes them; the others look by themselves.
            if to_tell.len() < SETTLED_KEPT {
                to_tell.push_back(id);
            }
        }
    }

    /// Hears what is settled, in any process.
    pub fn hear_settled(&self) -> broadcast::Receiver<Arc<str>> {
        self.settled.subscribe()
    }

    /// What a message to the other processes says, besides that something was committed; the rest goes with the next one.
    pub fn message(&self) -> String {
        let mut to_tell = self.to_tell.lock().unwrap_or_else(PoisonError::into_inner);
        let some = to_tell.len().min(SETTLED_TOLD);
        let told: Vec<Arc<str>> = to_tell.drain(..some).collect();
        if !to_tell.is_empty() {
            self.neighbours.notify_one();
        }
        told.join(",")
    }

    /// Another process committed something, and this is what it says of it.
    pub fn heard_from_neighbours(&self, message: &str) {
        for id in message.split(',').filter(|id| !id.is_empty()) {
            let _ = self.settled.send(id.into());
        }
        self.log.notify_one();
        self.commits.send_replace(());
        self.subscribers.values().for_each(|bell| bell.notify_one());
    }

    pub fn of(&self, name: SubscriberName) -> Arc<Notify> {
        self.subscribers.get(&name).cloned().unwrap_or_default()
    }

    pub fn log(&self) -> Arc<Notify> {
        self.log.clone()
    }

    /// Rings for each who follows the log, after a commit of any process.
    pub fn commits(&self) -> watch::Receiver<()> {
        self.commits.subscribe()
    }

    pub fn for_neighbours(&self) -> Arc<Notify> {
        self.neighbours.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_processes_are_told_of_all_that_was_settled() {
        let (here, there) = (Wakes::default(), Wakes::default());
        let mut heard = there.hear_settled();
        let ids: Vec<String> = (0..SETTLED_KEPT).map(|n| format!("{n:036}")).collect();
        here.settled(ids.clone());
        let messages: Vec<String> = std::iter::repeat_with(|| here.message()).take_while(|message| !message.is_empty()).collect();
        assert!(messages.len() == 2 && messages.iter().all(|message| message.len() < 8000));
        messages.iter().for_each(|message| there.heard_from_neighbours(message));
        assert_eq!(ids, std::iter::from_fn(|| heard.try_recv().ok()).map(|id| id.to_string()).collect::<Vec<_>>());
        // With nobody to tell them, they do not pile up.
        (0..3).for_each(|_| here.settled(ids.clone()));
        assert_eq!(here.to_tell.lock().unwrap().len(), SETTLED_KEPT);
        there.heard_from_neighbours("");
        assert!(heard.try_recv().is_err());
    }
}
