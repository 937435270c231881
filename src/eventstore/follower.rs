//! How what stands behind the sequencer keeps up with the log: step by step, quick by a signal and right by looking again.

#![expect(clippy::disallowed_methods, reason = "the log is looked at again after a while")]

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::telemetry::chain;

/// Between steps that find less than they could, for what readers wait for: what comes meanwhile is looked at together.
pub const PAUSE: Duration = Duration::from_millis(20);
/// How often the log is looked at where no signal came, as in a process that does not lead it.
const POLL: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(5);

/// Does one step after the other, until the end; a step answers whether there may be more, and where not, the next one comes `between` later or with what
/// comes then. `head` makes it quick where this process
/// leads the log. `task` says what fails: *make rows of subscriptions*.
pub async fn follow<S, E>(
    task: &str,
    between: Duration,
    mut head: watch::Receiver<i64>,
    stop: CancellationToken,
    mut step: impl FnMut() -> S,
) where
    S: Future<Output = Result<bool, E>>,
    E: Error + 'static,
{
    loop {
        let pause = match step().await {
            Ok(true) => Duration::ZERO,
            Ok(false) => between,
            Err(error) => {
                warn!(error = chain(&error), "Cannot {task}; tries again");
                RETRY
            }
        };
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(pause) => {} }
        if pause == between {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = head.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }
}
