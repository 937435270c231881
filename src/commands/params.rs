//! What recorders are configured with, beside the log: it names the person at the robot, and events name people by number
//! only ([ADR 16](../../docs/adr/0016-people-beside-the-log.md)).
//!
//! Kept in the transaction that asks for the command, read by the subscriber that sends it, and gone with the transaction
//! that settles it ([`Work`](super::Work)). What is never settled, or was by a program that did not know of this, goes within a day.

use serde_json::Value;

use super::error::CommandError;
use super::execute::Commands;
use super::idempotency::REMEMBERED;
use crate::eventstore::StoreError;

const SELECT: &str = "select params from command_params where command_id = $1";
const FORGET: &str = "delete from command_params where created_at <= $1";

impl Commands {
    /// What a command is sent with; none: it is settled, or was asked for too long ago.
    pub async fn params_of(&self, command_id: &str) -> Result<Option<Value>, CommandError> {
        let client = self.store.pool().get().await.map_err(StoreError::from)?;
        let statement = client.prepare_cached(SELECT).await.map_err(StoreError::from)?;
        let row = client.query_opt(&statement, &[&command_id]).await.map_err(StoreError::from)?;
        Ok(row.map(|row| row.get(0)))
    }

    /// Forgets what was not needed for a day.
    pub async fn forget_old_params(&self) -> Result<(), CommandError> {
        let before = self.now() - REMEMBERED;
        let client = self.store.pool().get().await.map_err(StoreError::from)?;
        client.execute(FORGET, &[&before]).await.map_err(StoreError::from)?;
        Ok(())
    }
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    [("params of a command", SELECT), ("params that are old", FORGET)].map(|(name, sql)| (name, sql.to_owned())).into()
}
