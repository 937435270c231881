//! Behind the sequencer: makes the rows of subscriptions, and tells of deliveries that died.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::commands::Commands;

/// Between steps that find less than they could: what comes meanwhile is looked at together.
const PAUSE: Duration = Duration::from_millis(20);
/// How often the log is looked at where no signal came, as in a process that does not lead it.
const POLL: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(5);

/// Makes rows of whatever comes, until the end. `head` makes it quick where this process leads the log.
pub async fn fan_out(commands: Commands, mut head: watch::Receiver<i64>, stop: CancellationToken) {
    loop {
        let pause = match commands.fan_out().await {
            Ok(Some(step)) if step.more => Duration::ZERO,
            Ok(step) => {
                debug!("Made rows of subscriptions: {step:?}");
                PAUSE
            }
            Err(error) => {
                warn!(error = format!("{error:#}"), "Cannot make rows of subscriptions; tries again");
                RETRY
            }
        };
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(pause) => {} }
        if pause == PAUSE {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = head.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }
}

/// Deaths are rare, and told of within a moment.
const DEATHS_POLL: Duration = Duration::from_millis(500);

/// Tells of deliveries that died, until the end.
pub async fn tell_deaths(commands: Commands, stop: CancellationToken) {
    loop {
        let pause = match commands.tell_deaths().await {
            Ok(0) => DEATHS_POLL,
            Ok(_) => Duration::ZERO,
            Err(error) => {
                warn!(error = format!("{error:#}"), "Cannot tell of deliveries that died; tries again");
                RETRY
            }
        };
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(pause) => {} }
    }
}
