//! Reports of one link, in order, on their way into storage.
//!
//! The socket is read while storage is slow or away; what was read waits here. A report is
//! tried until it is stored, refused by a rule, or no longer current: nothing that was told
//! on a replaced connection is begun after the replacement. Outcomes of commands are stored
//! even then, for they are true whatever became of the socket.
//!
//! The queue is bounded. Where it is full the link is ended instead of a report: a device
//! tells what matters again on its next connection.

#![expect(clippy::disallowed_methods, reason = "a report is tried again after a while, spread by chance")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::effects::{EffectError, Effects, LinkId};
use crate::domain::report::Report;

/// The wait before a second try is between zero and this; it doubles up to the cap. Many
/// devices wait for the same database.
const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(5);

/// Tries of a report that fails in a way that waiting does not mend. Then the next ones get their turn.
const FAILURES_MAX: u32 = 5;

#[derive(Clone)]
pub struct ReportQueue {
    reports: mpsc::UnboundedSender<Report>,
    waiting: Arc<AtomicUsize>,
    waiting_max: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub struct QueueFull;

impl ReportQueue {
    pub fn push(&self, report: Report) -> Result<(), QueueFull> {
        if self.waiting.load(Ordering::Relaxed) >= self.waiting_max {
            return Err(QueueFull);
        }
        self.push_last(report);
        Ok(())
    }

    /// For what follows from the end of a link: few reports, which must not be lost for want of room.
    pub fn push_last(&self, report: Report) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.reports.send(report).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Stores the reports of one link.
pub struct Worker {
    link: LinkId,
    reports: mpsc::UnboundedReceiver<Report>,
    waiting: Arc<AtomicUsize>,
    effects: Arc<dyn Effects>,
    /// The link is not the current one any more.
    replaced: CancellationToken,
    /// Stop, whatever is left.
    halt: CancellationToken,
}

pub fn report_queue(
    link: LinkId,
    waiting_max: usize,
    effects: Arc<dyn Effects>,
    replaced: CancellationToken,
    halt: CancellationToken,
) -> (ReportQueue, Worker) {
    let (sender, reports) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let worker = Worker { link, reports, waiting: waiting.clone(), effects, replaced, halt };
    (ReportQueue { reports: sender, waiting, waiting_max }, worker)
}

impl Worker {
    pub async fn run(mut self) {
        while self.step().await {}
        let left = self.waiting.load(Ordering::Relaxed);
        if left > 0 {
            let (device, kind) = (&self.link.device, self.link.kind.as_str());
            warn!(device.id = %device, link.kind = kind, left, "Stopped with {left} reports of `{device}` not stored");
        }
    }

    /// Settles the next report. False when there will be none, or when there is no time for more.
    pub async fn step(&mut self) -> bool {
        let report = tokio::select! {
            biased;
            () = self.halt.cancelled() => return false,
            report = self.reports.recv() => report,
        };
        let Some(report) = report else { return false };
        let stored = self.settle(&report).await;
        if stored {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        stored
    }

    /// False when it was interrupted by the end of everything.
    async fn settle(&self, report: &Report) -> bool {
        let (device, kind, name) = (&self.link.device, self.link.kind.as_str(), report.name());
        let mut tries = 0;
        loop {
            if self.replaced.is_cancelled() && !report.outlives_its_link() {
                // `closed` is no loss: the replacement closed this link.
                if !matches!(report, Report::Closed { .. }) {
                    metrics::counter!(crate::telemetry::DEVICE_REPORTS, "report" => name, "outcome" => "replaced").increment(1);
                    info!(device.id = %device, link.kind = kind, link.epoch = self.link.epoch, report = name,
                        "Left out `{name}` of `{device}`: its connection was replaced");
                }
                return true;
            }
            tries += 1;
            let told = tokio::select! {
                told = self.effects.report(&self.link, report) => told,
                // Storage may hang. Whether the report was stored is not known then; told again, it changes nothing.
                () = self.halt.cancelled() => return false,
            };
            let outcome = match told {
                Ok(()) => "stored",
                Err(EffectError::Refused(reason) | EffectError::NotFound(reason) | EffectError::Contested(reason)) => {
                    info!(device.id = %device, link.kind = kind, report = name, reason, "Refused `{name}` of `{device}`: {reason}");
                    "refused"
                }
                Err(EffectError::Failed(reason)) if tries >= FAILURES_MAX => {
                    error!(device.id = %device, link.kind = kind, report = name, reason, tries,
                        "Gave up on `{name}` of `{device}` after {tries} tries: {reason}");
                    "failed"
                }
                Err(EffectError::Unavailable(reason) | EffectError::Failed(reason)) => {
                    debug!(device.id = %device, report = name, reason, tries, "Tries `{name}` of `{device}` again: {reason}");
                    let bound = (RETRY_BASE * 2_u32.pow(tries.min(10) - 1)).min(RETRY_CAP);
                    let wait = bound.mul_f64(rand::random::<f64>());
                    let outlives = report.outlives_its_link();
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.replaced.cancelled(), if !outlives => {}
                        () = self.halt.cancelled() => return false,
                    }
                    continue;
                }
            };
            metrics::counter!(crate::telemetry::DEVICE_REPORTS, "report" => name, "outcome" => outcome).increment(1);
            return true;
        }
    }
}
