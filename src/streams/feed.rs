//! A follower of the log that reads what is new once, for all readers of this process.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::recent::{Next, Recent, Window};
use crate::projections::reads::ReadError;
use crate::telemetry::chain;

/// How often the log is looked at where no signal came.
const POLL: Duration = Duration::from_millis(200);
/// After a commit in a process that does not lead the log: by then it may have its position. The next look is twice as
/// late, up to [`POLL`].
const SOON: Duration = Duration::from_millis(5);
/// With a database that does not answer.
const RETRY: Duration = Duration::from_secs(1);
/// Kept for all readers of a feed: some thousand events, which are minutes of a busy site.
const BYTES_KEPT: usize = 8 << 20;
/// Readers that read the log themselves at the same time: a fraction of the database connections (`database.pool_max`).
const TURNS: usize = 4;

/// What a feed reads.
pub trait Source: Send + Sync + 'static {
    type Item: Send + Sync + 'static;

    /// What an item takes in memory.
    fn bytes(item: &Self::Item) -> usize;

    /// The last position there is.
    fn head(&self) -> impl Future<Output = Result<i64, ReadError>> + Send;

    /// What comes behind a position, as much as one look reads.
    fn read(&self, after: i64) -> impl Future<Output = Result<Look<Self::Item>, ReadError>> + Send;
}

/// What one look found; nothing new where its window ends where it begins.
pub struct Look<T> {
    pub window: Window<T>,
    /// There may be more behind it.
    pub more: bool,
}

/// What makes a feed quick. Without any of it, it looks every [`POLL`].
#[derive(Clone)]
pub struct Signals {
    /// The last position, in the process that leads the log.
    pub head: watch::Receiver<i64>,
    /// Something was committed, in any process.
    pub commits: watch::Receiver<()>,
}

pub struct Feed<S: Source> {
    pub source: S,
    /// None while nobody reads.
    recent: Mutex<Option<Recent<S::Item>>>,
    /// Rings when there is another window.
    moved: watch::Sender<()>,
    /// Rings when a reader comes.
    arrived: Notify,
    turns: Semaphore,
    stop: CancellationToken,
}

impl<S: Source> Feed<S> {
    pub fn new(source: S, stop: CancellationToken) -> Self {
        Self { source, recent: Mutex::new(None), moved: watch::Sender::new(()), arrived: Notify::new(), turns: Semaphore::new(TURNS), stop }
    }

    /// Reads the log for everybody, until the end. Without readers it does nothing.
    pub async fn follow(&self, mut signals: Signals) {
        let (mut pause, mut at, mut failing) = (POLL, Instant::now(), false);
        loop {
            if self.is_alone() {
                tokio::select! { () = self.stop.cancelled() => return, () = self.arrived.notified() => at = Instant::now() }
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = rung(&mut signals.head) => pause = POLL,
                () = rung(&mut signals.commits) => {
                    (pause, at) = (SOON, at.min(Instant::now() + SOON));
                    continue;
                }
                () = self.arrived.notified() => {}
                () = sleep_until(at) => {}
            }
            let looked = tokio::select! { () = self.stop.cancelled() => return, looked = self.look() => looked };
            if let Err(error) = &looked
                && !failing
            {
                warn!(error = chain(error), "Live streams wait: the log cannot be read");
            }
            if looked.is_ok() && failing {
                info!("Live streams go on");
            }
            failing = looked.is_err();
            at = Instant::now() + if failing { RETRY } else { pause };
            pause = (pause * 2).min(POLL);
        }
    }

    /// Whether nobody reads. Then nothing is kept.
    fn is_alone(&self) -> bool {
        let mut recent = self.recent();
        let alone = self.moved.receiver_count() == 0;
        if alone {
            *recent = None;
        }
        alone
    }

    async fn look(&self) -> Result<(), ReadError> {
        let upto = self.recent().as_ref().map(Recent::upto);
        let Some(mut after) = upto else {
            let head = self.source.head().await?;
            *self.recent() = Some(Recent::at(head, BYTES_KEPT));
            self.moved.send_replace(());
            return Ok(());
        };
        loop {
            let Look { window, more } = self.source.read(after).await?;
            after = window.upto;
            let bytes = window.items.iter().map(S::bytes).sum();
            if self.recent().as_mut().is_some_and(|recent| recent.push(window, bytes)) {
                self.moved.send_replace(());
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn recent(&self) -> MutexGuard<'_, Option<Recent<S::Item>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For one more reader: rings when there is another window.
    pub(super) fn bell(&self) -> watch::Receiver<()> {
        let bell = self.moved.subscribe();
        // The follower sees this reader before it forgets, or it has forgotten and waits for one.
        if self.recent().is_none() {
            self.arrived.notify_one();
        }
        bell
    }

    pub(super) fn next(&self, position: i64) -> Next<S::Item> {
        self.recent().as_ref().map_or(Next::Nothing, |recent| recent.next(position))
    }

    /// Waits until a reader may read the log itself.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }
}

/// A bell whose other end is gone does not ring.
async fn rung<T>(bell: &mut watch::Receiver<T>) {
    if bell.changed().await.is_err() {
        std::future::pending().await
    }
}
