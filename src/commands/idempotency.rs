//! The same request again gives the first answer again.
//!
//! The outcome of a command is kept in the transaction of its events: after a crash between
//! commit and answer, the repeated request finds it, and nothing is done twice. The answer as
//! it was sent is kept afterwards, so that it can be sent again as it was.

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_postgres::Row;

use super::{Command, CommandError, Commands, Refusal, Work};
use crate::domain::{RefusalCode, Timestamp};
use crate::eventstore::StoreError;

/// How long a key is remembered.
pub const REMEMBERED: chrono::TimeDelta = chrono::TimeDelta::hours(24);

/// Keys that one sweep forgets at most.
const SWEEP_MAX: i64 = 1000;

/// What a repeated request is recognised by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Who asks, and for what.
    pub scope: String,
    pub key: String,
    /// SHA-256 over what is asked.
    pub fingerprint: [u8; 32],
}

/// An answer as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    pub status: u16,
    pub content_type: String,
    pub body: Vec<u8>,
}

const SELECT: &str = "select fingerprint, outcome, status, content_type, body from idempotency_keys
                      where scope = $1 and key = $2 and step = $3 and created_at > $4";
/// A key that is used again after its day starts anew.
const FORGET: &str = "delete from idempotency_keys where scope = $1 and key = $2 and step = $3 and created_at <= $4";
const KEEP_OUTCOME: &str =
    "insert into idempotency_keys (scope, key, step, fingerprint, outcome, created_at) values ($1, $2, $3, $4, $5, $6)";
const KEEP_ANSWER: &str = "insert into idempotency_keys (scope, key, step, fingerprint, status, content_type, body, created_at)
                           values ($1, $2, '', $3, $4, $5, $6, $7) on conflict (scope, key, step) do nothing";

fn used_for_something_else(row: &Row, key: &IdempotencyKey) -> Result<(), Refusal> {
    if row.get::<_, &[u8]>(0) == key.fingerprint {
        return Ok(());
    }
    let text = "this Idempotency-Key was used for another request; choose a new one";
    Err(Refusal::new(RefusalCode::IdempotencyKeyReused, text))
}

/// What a command of the same request answered before.
pub(super) async fn outcome_of<C: Command>(work: &mut Work, key: &IdempotencyKey) -> Result<Option<C::Answer>, CommandError> {
    let since = work.now - REMEMBERED;
    let rows = work.tx.query(SELECT, &[&key.scope, &key.key, &C::NAME, &since]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    used_for_something_else(row, key)?;
    let outcome: Value = row.get(1);
    Ok(Some(read(outcome)?))
}

/// Keeps the answer of a command with what it decided.
pub(super) fn keep_outcome<C: Command>(work: &mut Work, key: &IdempotencyKey, answer: &C::Answer) -> Result<(), CommandError> {
    let outcome = serde_json::to_value(answer).map_err(anyhow::Error::new)?;
    work.keep_outcome(key.clone(), C::NAME, outcome);
    Ok(())
}

fn read<T: DeserializeOwned>(outcome: Value) -> Result<T, CommandError> {
    serde_json::from_value(outcome).map_err(|error| anyhow::Error::new(error).context("a kept outcome cannot be read").into())
}

/// An outcome that waits for the commit.
#[derive(Clone, Debug)]
pub(super) struct KeptOutcome {
    pub key: IdempotencyKey,
    pub step: &'static str,
    pub outcome: Value,
    pub forgotten_before: Timestamp,
    pub at: Timestamp,
}

impl KeptOutcome {
    /// The statements that keep it. A twin that committed first makes them fail, and the race is lost.
    pub fn queries<'a>(&'a self, fingerprint: &'a &'a [u8]) -> [crate::eventstore::transaction::Query<'a>; 2] {
        let key = &self.key;
        [
            (FORGET, vec![&key.scope, &key.key, &self.step, &self.forgotten_before]),
            (KEEP_OUTCOME, vec![&key.scope, &key.key, &self.step, fingerprint, &self.outcome, &self.at]),
        ]
    }
}

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
