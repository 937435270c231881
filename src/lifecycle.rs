//! Signals, and tasks that are owned and awaited.
//!
//! Every background task is spawned here, under a name. Stopping has two stages: a
//! soft stop asks everybody to take nothing new and finish what they do; a hard stop
//! tells them to leave now. A task that panics or ends without being asked would
//! leave a server that looks alive and does half its work, so that, too, starts a
//! soft stop, and the process ends with an error.
//!
//! ```text
//! running ──SIGTERM, SIGINT, a lost task──► soft stop ──second signal, timeout──► hard stop
//! ```
//!
//! What others rely on to their last word is a [later stage](Lifecycle::later), stopped after them. And whatever
//! hangs, [`end_within`] ends the process.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::telemetry::chain;
use futures_util::FutureExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

/// After the hard stop, how long a task may take to notice: it only has to reach its
/// next wait.
const HARD_STOP_GRACE: Duration = Duration::from_secs(1);

/// The owner of all tasks of a process. Clones are the same owner.
#[derive(Clone)]
pub struct Lifecycle {
    tracker: TaskTracker,
    soft: CancellationToken,
    hard: CancellationToken,
    /// Cancelled when a task is lost: the soft stop of the first stage.
    alarm: CancellationToken,
    tasks: Arc<Tasks>,
}

#[derive(Default)]
struct Tasks {
    next_id: AtomicU64,
    running: Mutex<BTreeMap<u64, Running>>,
    lost: Mutex<Vec<String>>,
}

struct Running {
    name: String,
    abort: Option<tokio::task::AbortHandle>,
}

/// How everything ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Tasks that panicked, or ended without being asked to.
    pub lost: Vec<String>,
    /// Tasks that did not end in time and were cut off.
    pub unfinished: Vec<String>,
}

impl Ended {
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.unfinished.is_empty()
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    pub fn new() -> Self {
        let soft = CancellationToken::new();
        Self { tracker: TaskTracker::new(), alarm: soft.clone(), soft, hard: CancellationToken::new(), tasks: Arc::default() }
    }

    /// Tasks that go on while those of this stage stop, and are stopped after them. The loss of one of them stops this
    /// stage.
    pub fn later(&self) -> Self {
        Self { alarm: self.alarm.clone(), ..Self::new() }
    }

    /// Starts listening for SIGTERM and SIGINT: the first asks, the second insists.
    pub fn listen_for_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let this = self.clone();
        // Not a tracked task: it outlives the soft stop to hear the second signal,
        // and there is nothing to wait for in it.
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if this.soft.is_cancelled() {
                    warn!(signal = name, "Stopping at once upon a second {name}");
                    this.hard.cancel();
                    return;
                }
                info!(signal = name, "Stopping upon {name}");
                this.soft.cancel();
            }
        });
        Ok(())
    }

    /// Cancelled when tasks should take nothing new and finish what they do.
    pub fn soft_stop(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when tasks should leave what they do.
    pub fn hard_stop(&self) -> &CancellationToken {
        &self.hard
    }

    pub fn request_stop(&self) {
        self.soft.cancel();
    }

    /// Runs `task` until it ends by itself after a soft stop. Before one, its end is a
    /// failure of the process.
    pub fn spawn<F>(&self, name: impl Into<String>, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.start(name.into(), true, task);
    }

    /// Runs `task`, which may end whenever it is done: a connection, a single pass.
    /// A panic is still a failure of the process.
    pub fn spawn_finite<F>(&self, name: impl Into<String>, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.start(name.into(), false, task);
    }

    fn start<F>(&self, name: String, endless: bool, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let id = self.tasks.next_id.fetch_add(1, Ordering::Relaxed);
        // Listed before it runs, so that a task that ends at once finds its entry.
        self.tasks.running().insert(id, Running { name: name.clone(), abort: None });
        let (soft, alarm) = (self.soft.clone(), self.alarm.clone());
        let tasks = self.tasks.clone();
        let handle = self.tracker.spawn(async move {
            let end = AssertUnwindSafe(task).catch_unwind().await;
            let problem = match end {
                Err(panic) => Some(format!("panicked: {}", panic_message(&*panic))),
                Ok(()) if endless && !soft.is_cancelled() => Some("ended unasked".to_owned()),
                Ok(()) => None,
            };
            if let Some(problem) = problem {
                error!(task = name, "Task `{name}` {problem}; stopping");
                tasks.lost().push(name);
                alarm.cancel();
            }
            tasks.running().remove(&id);
        });
        if let Some(running) = self.tasks.running().get_mut(&id) {
            running.abort = Some(handle.abort_handle());
        }
    }

    /// Waits until a stop is asked for.
    pub async fn stop_requested(&self) {
        self.soft.cancelled().await;
    }

    /// Asks all tasks to end, waits up to `timeout`, then makes them.
    pub async fn shutdown(&self, timeout: Duration) -> Ended {
        self.soft.cancel();
        self.tracker.close();
        tokio::select! {
            () = self.tracker.wait() => {}
            () = self.hard.cancelled() => {}
            () = tokio::time::sleep(timeout) => {}
        }
        self.hard.cancel();
        let _ = tokio::time::timeout(HARD_STOP_GRACE, self.tracker.wait()).await;

        let mut ended = Ended { lost: std::mem::take(&mut *self.tasks.lost()), unfinished: Vec::new() };
        for (_, running) in std::mem::take(&mut *self.tasks.running()) {
            warn!(task = running.name, "Task `{}` did not end in time", running.name);
            if let Some(abort) = running.abort {
                abort.abort();
            }
            ended.unfinished.push(running.name);
        }
        ended
    }
}

/// The hard end: whatever hangs by then, a frozen disk under a blocking call for one, the process ends with an error.
/// A thread of its own, because what hangs may be the runtime.
pub fn end_within(limit: Duration) {
    let watch = std::thread::Builder::new().name("hard-end".to_owned());
    let watched = watch.spawn(move || {
        std::thread::sleep(limit);
        error!("Did not stop within {} s; ends at once", limit.as_secs());
        std::process::exit(1);
    });
    if let Err(error) = watched {
        warn!(error = chain(&error), "Cannot watch over the end of this process");
    }
}

impl Tasks {
    // A panic while one of these is held cannot leave it half changed.
    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_task_finishes_what_it_does_before_the_process_ends() {
        let lifecycle = Lifecycle::new();
        let soft = lifecycle.soft_stop().clone();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        lifecycle.spawn("worker", async move {
            soft.cancelled().await;
            tokio::time::sleep(SOON).await;
            sender.send("finished").unwrap();
        });
        let ended = lifecycle.shutdown(Duration::from_secs(10)).await;
        assert!(ended.is_clean(), "{ended:?}");
        assert_eq!(receiver.await, Ok("finished"));
    }

    #[tokio::test]
    async fn a_task_that_does_not_end_is_named_and_cut_off() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("polite", {
            let hard = lifecycle.hard_stop().clone();
            async move { hard.cancelled().await }
        });
        lifecycle.spawn("deaf", std::future::pending());
        let ended = lifecycle.shutdown(SOON).await;
        assert_eq!(ended.unfinished, ["deaf"]);
        lifecycle.tracker.wait().await;
    }

    #[tokio::test]
    async fn a_panic_stops_the_others() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("careless", async { panic!("no such row") });
        lifecycle.stop_requested().await;
        let ended = lifecycle.shutdown(SOON).await;
        assert_eq!(ended.lost, ["careless"]);
    }

    #[tokio::test]
    async fn a_task_that_ends_unasked_stops_the_others() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("short", async {});
        lifecycle.stop_requested().await;
        assert_eq!(lifecycle.shutdown(SOON).await.lost, ["short"]);
    }

    #[tokio::test]
    async fn a_later_stage_goes_on_until_it_is_stopped_itself() {
        let first = Lifecycle::new();
        let later = first.later();
        let stop = later.soft_stop().clone();
        later.spawn("log", async move { stop.cancelled().await });
        assert!(first.shutdown(SOON).await.is_clean());
        assert_eq!(later.tasks.running().len(), 1);
        assert!(later.shutdown(SOON).await.is_clean());
    }

    #[tokio::test]
    async fn the_loss_of_a_later_task_stops_the_first_stage() {
        let first = Lifecycle::new();
        let later = first.later();
        later.spawn("careless", async {});
        first.stop_requested().await;
        assert_eq!(later.shutdown(SOON).await.lost, ["careless"]);
    }

    #[tokio::test]
    async fn a_finite_task_may_end() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn_finite("connection", async {});
        tokio::time::sleep(SOON).await;
        assert!(!lifecycle.soft_stop().is_cancelled());
        assert!(lifecycle.shutdown(SOON).await.is_clean());
    }
}
