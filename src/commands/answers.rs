//! Answers that are kept as they were sent, for the same request that comes again.

use super::error::CommandError;
use super::execute::Commands;
use super::idempotency::{FORGET, IdempotencyKey, KEEP_ANSWER, KeptAnswer, REMEMBERED, SELECT, used_for_something_else};
use crate::eventstore::StoreError;

/// Keys that one sweep forgets at most.
const SWEEP_MAX: i64 = 1000;

impl Commands {
    /// The answer that was sent to the same request before.
    pub async fn kept_answer(&self, key: &IdempotencyKey) -> Result<Option<KeptAnswer>, CommandError> {
        let mut tx = self.store.begin().await?;
        let since = self.now() - REMEMBERED;
        let rows = tx.query(SELECT, &[&key.scope, &key.key, &"", &since]).await?;
        tx.roll_back().await?;
        let Some(row) = rows.first() else { return Ok(None) };
        used_for_something_else(row, key)?;
        let status: i16 = row.get(2);
        Ok(Some(KeptAnswer { status: u16::try_from(status).unwrap_or(500), content_type: row.get(3), body: row.get(4) }))
    }

    /// Keeps the answer that is about to be sent. The first one kept stays.
    pub async fn keep_answer(&self, key: &IdempotencyKey, answer: &KeptAnswer) -> Result<(), CommandError> {
        let status = i16::try_from(answer.status).unwrap_or(500);
        let (fingerprint, now) = (&key.fingerprint[..], self.now());
        let before = now - REMEMBERED;
        let client = self.store.pool().get().await.map_err(StoreError::from)?;
        let run = async {
            client.execute(FORGET, &[&key.scope, &key.key, &"", &before]).await?;
            client.execute(KEEP_ANSWER, &[&key.scope, &key.key, &fingerprint, &status, &answer.content_type, &answer.body, &now]).await
        };
        run.await.map_err(StoreError::from)?;
        Ok(())
    }

    /// Forgets keys whose day is over. Answers whether there may be more.
    pub async fn forget_old_keys(&self) -> Result<bool, CommandError> {
        let before = self.now() - REMEMBERED;
        let client = self.store.pool().get().await.map_err(StoreError::from)?;
        let sql = "delete from idempotency_keys where ctid = any (array(
                       select ctid from idempotency_keys where created_at <= $1 order by created_at limit $2))";
        let gone = client.execute(sql, &[&before, &SWEEP_MAX]).await.map_err(StoreError::from)?;
        Ok(i64::try_from(gone).unwrap_or(0) >= SWEEP_MAX)
    }
}
