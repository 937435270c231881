//! A question that anybody may cause us to ask, asked once for all of them.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;
use uuid::Uuid;

use crate::projections::reads::log::LogStanding;

/// An answer is good for this long.
const REMEMBERED: Duration = Duration::from_secs(1);
/// A question that is not answered by then has failed, as far as the caller is concerned; it goes on, and no other
/// is asked until it ends.
const WAIT: Duration = Duration::from_secs(2);

pub struct Probe<T> {
    found: Arc<watch::Sender<Option<Found<T>>>>,
    running: Mutex<Option<AbortOnDropHandle<()>>>,
}

#[derive(Clone)]
struct Found<T> {
    at: Instant,
    outcome: Result<T, String>,
}

impl<T> Default for Probe<T> {
    fn default() -> Self {
        Self { found: Arc::new(watch::Sender::new(None)), running: Mutex::default() }
    }
}

impl<T: Clone + Send + Sync + 'static> Probe<T> {
    /// What was found at most a second ago, or is found now. `Err` is what is wrong, which is logged once.
    pub async fn ask<Q>(&self, component: &'static str, question: impl FnOnce() -> Q) -> Result<T, String>
    where
        Q: Future<Output = Result<T, String>> + Send + 'static,
    {
        let mut news = self.found.subscribe();
        {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            let under_way = running.as_ref().is_some_and(|task| !task.is_finished());
            let known = news.borrow_and_update().as_ref().filter(|found| found.at.elapsed() < REMEMBERED).cloned();
            match known {
                Some(found) => return found.outcome,
                None if under_way => {}
                None => {
                    let (found, question) = (self.found.clone(), question());
                    *running = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                        let outcome = question.await;
                        if let Err(reason) = &outcome {
                            warn!(component, reason, "Not well: {component}: {reason}");
                        }
                        found.send_replace(Some(Found { at: Instant::now(), outcome }));
                    })));
                }
            }
        }
        match tokio::time::timeout(WAIT, news.changed()).await {
            Ok(Ok(())) => news.borrow().as_ref().map_or(Err("it was not asked".to_owned()), |found| found.outcome.clone()),
            _ => Err("no answer in time".to_owned()),
        }
    }
}

/// Each is what it names, tried: a write in the database, the object store as we use it, a write on the disk.
#[derive(Default)]
pub struct Probes {
    pub(super) process: Uuid,
    pub(super) disk_folder: Option<PathBuf>,
    pub(super) write: Probe<()>,
    pub(super) log: Probe<LogStanding>,
    pub(super) storage: Probe<()>,
    pub(super) disk: Probe<()>,
}

impl Probes {
    pub fn of(process: Uuid, disk_folder: Option<PathBuf>) -> Self {
        Self { process, disk_folder, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn a_hundred_callers_cause_one_question() {
        let (probe, asked) = (Probe::default(), AtomicUsize::new(0));
        let answers = join_all((0..100).map(|_| {
            probe.ask("a thing", || {
                asked.fetch_add(1, Ordering::SeqCst);
                async { Ok(7) }
            })
        }))
        .await;
        assert_eq!(answers, vec![Ok(7); 100]);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_question_that_hangs_is_not_asked_again() {
        let (probe, asked) = (Probe::<()>::default(), AtomicUsize::new(0));
        let ask = || {
            probe.ask("a thing", || {
                asked.fetch_add(1, Ordering::SeqCst);
                std::future::pending()
            })
        };
        // A caller who does not wait for the end changes nothing.
        let _impatient = tokio::time::timeout(Duration::from_millis(10), ask()).await;
        let (first, second) = tokio::join!(ask(), ask());
        assert_eq!((first, second), (Err("no answer in time".into()), Err("no answer in time".into())));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}
