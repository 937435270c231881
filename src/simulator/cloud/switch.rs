//! The faults as they are now, and what follows from them at each moment: whether nobody answers, whether the key is good.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::faults::{CloudFaults, Fate, Operation, OutageKind};
use super::ledger::{Injected, Ledger};
use super::rate::Rate;

pub struct Switch {
    faults: RwLock<Arc<CloudFaults>>,
    started: Instant,
    key_renewed: Mutex<Instant>,
    chance: Mutex<StdRng>,
    outage: watch::Sender<Option<OutageKind>>,
    changed: Notify,
    ledger: Arc<Ledger>,
    /// Of all connections together.
    pub inwards: Rate,
    pub outwards: Rate,
}

impl Switch {
    pub fn new(faults: CloudFaults, seed: u64, ledger: Arc<Ledger>) -> Self {
        let now = Instant::now();
        let switch = Self {
            faults: RwLock::new(Arc::new(faults)),
            started: now,
            key_renewed: Mutex::new(now),
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            outage: watch::Sender::new(None),
            changed: Notify::new(),
            ledger,
            inwards: Rate::default(),
            outwards: Rate::default(),
        };
        switch.look();
        switch
    }

    pub fn faults(&self) -> Arc<CloudFaults> {
        self.faults.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set(&self, faults: CloudFaults) {
        *self.faults.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(faults);
        self.look();
        self.changed.notify_one();
    }

    pub fn fate(&self, operation: Operation) -> Fate {
        self.faults().fate(operation, &mut self.chance.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether nobody answers, now and whenever that changes.
    pub fn outage(&self) -> watch::Receiver<Option<OutageKind>> {
        self.outage.subscribe()
    }

    pub fn key_is_good(&self) -> bool {
        let renewed = *self.key_renewed.lock().unwrap_or_else(PoisonError::into_inner);
        self.faults().key_lifetime.is_none_or(|lifetime| renewed.elapsed() < lifetime)
    }

    pub fn renew_key(&self) {
        *self.key_renewed.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Begins and ends outages at their times, for ever.
    pub async fn follow_outages(&self) {
        loop {
            let changed = self.changed.notified();
            match self.look() {
                Some(rest) => {
                    let _over_or_changed = tokio::time::timeout(rest, changed).await;
                }
                None => changed.await,
            }
        }
    }

    /// Sets what is so now, and answers how long it stays so.
    fn look(&self) -> Option<Duration> {
        let since_start = self.started.elapsed();
        let (now, next) = self.faults().outage(since_start);
        self.outage.send_if_modified(|known| {
            let changed = *known != now;
            if changed && known.is_none() {
                self.ledger.injected(Injected::Outage);
            }
            *known = now;
            changed
        });
        next.map(|next| next.saturating_sub(since_start))
    }
}
