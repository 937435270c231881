//! Behind the sequencer: makes the rows of subscriptions, and tells of deliveries that died.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::commands::{CommandError, Commands};
use crate::eventstore::follower;
use crate::telemetry::chain;

/// Makes rows of whatever comes, until the end. `head` makes it quick where this process leads the log.
pub async fn fan_out(commands: Commands, head: watch::Receiver<i64>, stop: CancellationToken) {
    let step = || async {
        let step = commands.fan_out().await?;
        debug!("Made rows of subscriptions: {step:?}");
        Ok::<_, CommandError>(step.is_some_and(|step| step.more))
    };
    follower::follow("make rows of subscriptions", follower::PAUSE, head, stop, step).await;
}

/// Deaths are rare, and told of within a moment.
const DEATHS_POLL: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_secs(5);

/// Tells of deliveries that died, until the end.
pub async fn tell_deaths(commands: Commands, stop: CancellationToken) {
    loop {
        let pause = match commands.tell_deaths().await {
            Ok(0) => DEATHS_POLL,
            Ok(_) => Duration::ZERO,
            Err(error) => {
                warn!(error = chain(&error), "Cannot tell of deliveries that died; tries again");
                RETRY
            }
        };
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(pause) => {} }
    }
}
