//! Wakes inside this process: they make us quick, polling makes us right.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::domain::routing::SubscriberName;

/// One bell per subscriber, one for the sequencer, one for messages to other processes, and one for all who follow the log.
#[derive(Clone)]
pub struct Wakes {
    subscribers: Arc<BTreeMap<SubscriberName, Arc<Notify>>>,
    log: Arc<Notify>,
    neighbours: Arc<Notify>,
    commits: watch::Sender<()>,
}

impl Default for Wakes {
    fn default() -> Self {
        let subscribers = SubscriberName::ALL.iter().map(|name| (*name, Arc::default())).collect();
        Self { subscribers: Arc::new(subscribers), log: Arc::default(), neighbours: Arc::default(), commits: watch::Sender::new(()) }
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

    /// Another process committed something.
    pub fn heard_from_neighbours(&self) {
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
