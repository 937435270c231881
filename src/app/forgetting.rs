//! What is kept beside the log for a while goes, little by little: idempotency keys, what recorders were configured with, dead
//! letters that were resolved, attempts of webhooks, items of bulk runs, requests, sessions, and records of access.

use std::fmt;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::commands::Commands;
use crate::config::Config;

/// Between two sweeps.
const PAUSE: Duration = Duration::from_secs(600);

/// For how long. None: for ever.
pub struct Kept {
    letters: Option<Duration>,
    attempts: Duration,
    bulk_items: Option<Duration>,
    requests: Duration,
    access_records: Duration,
}

impl Kept {
    pub fn of(config: &Config) -> Self {
        Self {
            letters: config.outbox.resolved_letters_kept(),
            attempts: config.webhooks.attempts_kept,
            bulk_items: config.bulk_runs.items_kept(),
            requests: config.requests.kept,
            access_records: config.audit.access_records_kept,
        }
    }
}

pub async fn forget(commands: Commands, kept: Kept, stop: CancellationToken) {
    loop {
        match commands.forget_old_keys().await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => cannot("forget old idempotency keys", &error),
        }
        if let Err(error) = commands.forget_old_params().await {
            cannot("forget what recorders were configured with", &error);
        }
        if let Err(error) = commands.sweep_attempts(kept.attempts, &stop).await {
            cannot("sweep the delivery log of webhooks", &error);
        }
        if let Err(error) = commands.sweep_requests(kept.requests, &stop).await {
            cannot("sweep requests", &error);
        }
        if let Err(error) = commands.sweep_sessions(&stop).await {
            cannot("sweep sessions", &error);
        }
        if let Err(error) = commands.sweep_access_records(kept.access_records, &stop).await {
            cannot("sweep records of access", &error);
        }
        if let Some(kept) = kept.letters
            && let Err(error) = commands.sweep_letters(kept, &stop).await
        {
            cannot("sweep dead letters", &error);
        }
        if let Some(kept) = kept.bulk_items
            && let Err(error) = commands.sweep_bulk_items(kept, &stop).await
        {
            cannot("sweep items of bulk runs", &error);
        }
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(PAUSE) => {} }
    }
}

fn cannot(what: &str, error: &impl fmt::Display) {
    warn!(error = format!("{error:#}"), "Cannot {what}: {error:#}");
}
