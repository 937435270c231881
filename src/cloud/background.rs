//! Work for a processor that may wait: the hashing of recordings that go to a cloud.
//!
//! It has threads of its own, with a lower priority than those that answer requests: where the processors are all at work, a
//! request does not wait behind a checksum. Where they are not, it is as fast as on any thread.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// Of 19, which is the least that a thread can have: a fifth of what others get, where all want the processor.
const NICENESS: i32 = 7;

static THREADS: LazyLock<Sender<Work>> = LazyLock::new(|| {
    let (sender, receiver) = channel();
    let receiver = Arc::new(Mutex::new(receiver));
    let number = thread::available_parallelism().map_or(2, usize::from);
    for _ in 0..number {
        let receiver = receiver.clone();
        let started = thread::Builder::new().name("background".into()).spawn(move || work(&receiver));
        if let Err(error) = started {
            tracing::error!(%error, "Could not start a thread for work in the background: {error}");
        }
    }
    sender
});

fn work(receiver: &Mutex<Receiver<Work>>) {
    // A system that gives no other priority computes with the same one as all.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
    loop {
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = next else { return };
        // Who waits for it hears of the panic, as nothing is told; the thread goes on.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    }
}

/// What came out, or nothing where the work panicked.
pub async fn computed<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = oneshot::channel();
    let work = move || drop(tell.send(work()));
    THREADS.send(Box::new(work)).ok()?;
    told.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_beside_and_a_panic_ends_no_thread() {
        for _ in 0..64 {
            assert_eq!(computed(|| -> i32 { panic!("in the background") }).await, None);
        }
        assert_eq!(computed(|| 6 * 7).await, Some(42));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn it_comes_behind_what_answers_requests() {
        let niceness = computed(|| rustix::process::getpriority_process(Some(rustix::thread::gettid()))).await;
        assert_eq!(niceness, Some(Ok(NICENESS)));
        let own = rustix::process::getpriority_process(Some(rustix::thread::gettid()));
        assert_ne!(own, Ok(NICENESS));
    }
}
