//! What is kept beside the log for a while goes, little by little: idempotency keys, what recorders were configured with, dead
//! letters that were resolved, attempts of webhooks, and requests.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::commands::Commands;
use crate::config::Config;

/// For how long.
pub struct Kept {
    /// None: for ever.
    letters: Option<Duration>,
    attempts: Duration,
    requests: Duration,
}

impl Kept {
    pub fn of(config: &Config) -> Self {
        let (letters, attempts) = (config.outbox.resolved_letters_kept(), config.webhooks.attempts_kept);
        Self { letters, attempts, requests: config.requests.kept }
    }
}

/// Forgets until the end.
pub async fn forget(commands: Commands, kept: Kept, stop: CancellationToken) {
    const PAUSE: Duration = Duration::from_secs(600);
    loop {
        match commands.forget_old_keys().await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => warn!(error = format!("{error:#}"), "Cannot forget old idempotency keys: {error:#}"),
        }
        if let Err(error) = commands.forget_old_params().await {
            warn!(error = format!("{error:#}"), "Cannot forget what recorders were configured with: {error:#}");
        }
        if let Err(error) = commands.sweep_attempts(kept.attempts, &stop).await {
            warn!(error = format!("{error:#}"), "Cannot sweep the delivery log of webhooks: {error:#}");
        }
        if let Err(error) = commands.sweep_requests(kept.requests, &stop).await {
            warn!(error = format!("{error:#}"), "Cannot sweep requests: {error:#}");
        }
        if let Some(kept) = kept.letters
            && let Err(error) = commands.sweep_letters(kept, &stop).await
        {
            warn!(error = format!("{error:#}"), "Cannot sweep dead letters: {error:#}");
        }
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(PAUSE) => {} }
    }
}
