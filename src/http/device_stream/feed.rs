//! The follower of the log, and those who listen to it.

#![expect(clippy::disallowed_methods, reason = "the log is looked at again after a while")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::projections::reads::device_changes::{DeviceChange, WINDOW};
use crate::projections::reads::{ReadError, Reads};

/// How often the log is looked at where no signal came.
const POLL: Duration = Duration::from_millis(200);
/// Windows kept for slow clients, for all of them together.
const WINDOWS_KEPT: usize = 256;
const CLIENTS_MAX: usize = 1_000;

/// What happened between two positions.
pub(super) struct Window {
    pub after: i64,
    pub upto: i64,
    pub changes: Vec<DeviceChange>,
}

/// The follower of the log, and those who listen to it.
pub struct DeviceStream {
    pub(super) windows: broadcast::Sender<Arc<Window>>,
    clients: AtomicUsize,
    pub(super) stop: CancellationToken,
}

impl DeviceStream {
    pub fn new(stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self { windows: broadcast::channel(WINDOWS_KEPT).0, clients: AtomicUsize::new(0), stop })
    }

    /// A place for one more client. None where there are too many, and at the end.
    pub(super) fn seat(self: &Arc<Self>) -> Option<Seat> {
        let seat = Seat(self.clone());
        let taken = self.clients.fetch_add(1, Ordering::Relaxed);
        (taken < CLIENTS_MAX && !self.stop.is_cancelled()).then_some(seat)
    }

    /// Reads the log for everybody, until the end. `head` makes it quick where this process leads the log.
    pub async fn follow(self: Arc<Self>, reads: Reads, mut head: watch::Receiver<i64>) {
        let mut told: Option<i64> = None;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = head.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
            if self.windows.receiver_count() == 0 {
                told = None;
                continue;
            }
            if let Err(error) = self.step(&reads, &mut told).await {
                tracing::warn!(error = format!("{:#}", anyhow::Error::new(error)), "The device stream cannot read the log; tries again");
            }
        }
    }

    async fn step(&self, reads: &Reads, told: &mut Option<i64>) -> Result<(), ReadError> {
        let head = reads.log_head().await?;
        let mut after = match *told {
            Some(told) => told,
            // A reader that came since the last look may be behind this, and hears of it.
            None => {
                let _ = self.windows.send(Arc::new(Window { after: head, upto: head, changes: vec![] }));
                head
            }
        };
        // Windows without changes are not told: the next one begins where the last one that was told ended.
        let mut looked = after;
        while looked < head {
            let upto = head.min(looked + WINDOW);
            let changes = reads.device_changes(looked, upto).await?;
            looked = upto;
            if !changes.is_empty() {
                let _ = self.windows.send(Arc::new(Window { after, upto, changes }));
                after = upto;
            }
        }
        *told = Some(after);
        Ok(())
    }
}

/// Leaves the count when the client is gone.
pub(super) struct Seat(Arc<DeviceStream>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}
