//! The same request again gives the first answer again.
//!
//! The outcome of a command is kept in the transaction of its events: after a crash between
//! commit and answer, the repeated request finds it, and nothing is done twice. The answer as
//! it was sent is kept afterwards, so that it can be sent again as it was.

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_postgres::Row;

use super::error::CommandError;
use super::refusal::Refusal;
use crate::domain::{RefusalCode, Timestamp};

/// How long a key is remembered.
pub const REMEMBERED: chrono::TimeDelta = chrono::TimeDelta::hours(24);

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

pub(super) const SELECT: &str = "select fingerprint, outcome, status, content_type, body from idempotency_keys
                      where scope = $1 and key = $2 and step = $3 and created_at > $4";
/// A key that is used again after its day starts anew.
pub(super) const FORGET: &str = "delete from idempotency_keys where scope = $1 and key = $2 and step = $3 and created_at <= $4";
const KEEP_OUTCOME: &str =
    "insert into idempotency_keys (scope, key, step, fingerprint, outcome, created_at) values ($1, $2, $3, $4, $5, $6)";
/// A refusal is not the answer to a request that was done when it was sent twice at once.
pub(super) const KEEP_ANSWER: &str = "insert into idempotency_keys (scope, key, step, fingerprint, status, content_type, body, created_at)
    select $1, $2, '', $3, $4::smallint, $5, $6, $7
    where $4::smallint < 400 or not exists (select from idempotency_keys where scope = $1 and key = $2 and step <> '' and outcome is not null)
    on conflict (scope, key, step) do nothing";

pub(super) fn used_for_something_else(row: &Row, key: &IdempotencyKey) -> Result<(), Refusal> {
    if row.get::<_, &[u8]>(0) == key.fingerprint {
        return Ok(());
    }
    let text = "this Idempotency-Key was used for another request; choose a new one";
    Err(Refusal::new(RefusalCode::IdempotencyKeyReused, text))
}

pub(super) fn read<T: DeserializeOwned>(outcome: Value) -> Result<T, CommandError> {
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
