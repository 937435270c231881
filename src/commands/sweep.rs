//! Rows beside the log that are old go, little by little.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{CommandError, Commands};
use crate::eventstore::StoreError;

/// Rows that one statement sweeps.
pub(super) const SWEPT_AT_ONCE: i64 = 5_000;

impl Commands {
    /// Runs a statement until it finds fewer than it may sweep: it deletes what is older than `$1` seconds, `$2` rows at most.
    pub(super) async fn sweep(&self, sql: &str, kept: Duration, stop: &CancellationToken) -> Result<(), CommandError> {
        while !stop.is_cancelled() {
            let client = self.store.pool().get().await.map_err(StoreError::from)?;
            let swept = client.execute(sql, &[&kept.as_secs_f64(), &SWEPT_AT_ONCE]).await.map_err(StoreError::from)?;
            if swept < SWEPT_AT_ONCE.unsigned_abs() {
                return Ok(());
            }
        }
        Ok(())
    }
}
