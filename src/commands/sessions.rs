//! Sessions: each login is one, and ends when its token expires, or before. They stand beside the log: a login changes nothing.

use std::net::IpAddr;
use std::time::Duration;

use chrono::TimeDelta;

use super::{CommandError, Commands};
use crate::domain::{SessionId, Timestamp};
use crate::eventstore::StoreError;

const BEGIN: &str = "insert into sessions (subject, subject_id, started_at, expires_at, address) values ($1, $2, $3, $4, $5) returning id";
const END: &str = "update sessions set ended_at = $2 where id = $1 and ended_at is null and expires_at > $2 and
    ($3::text is null or (subject, subject_id) = ($3, $4)) returning id";
const END_ALL: &str =
    "update sessions set ended_at = $3 where subject = $1 and subject_id = $2 and ended_at is null and expires_at > $3 returning id";
const SWEEP: &str = "delete from sessions where id in (select id from sessions where expires_at < $1 limit 1000) returning id";
const RENEW_HASH: &str = "update credentials set password_hash = $4 where subject = $1 and subject_id = $2 and password_hash = $3";

/// Sessions that one sweep takes away at a time.
const SWEPT_AT_ONCE: usize = 1000;

/// Whose login it is: as in `credentials`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    pub kind: &'static str,
    pub id: i64,
}

impl Commands {
    /// A person has signed in.
    pub async fn begin_session(&self, whose: Subject, lifetime: Duration, address: Option<IpAddr>) -> Result<SessionId, CommandError> {
        let now = self.now();
        let ends: Timestamp = now + TimeDelta::from_std(lifetime).unwrap_or(TimeDelta::MAX);
        let address = address.map(|address| address.to_string());
        let rows = self.beside_the_log(BEGIN, &[&whose.kind, &whose.id, &now, &ends, &address]).await?;
        Ok(rows[0].try_get(0).map_err(StoreError::from)?)
    }

    /// Ends a session; of this person, where one is given. False where there is none that stands.
    pub async fn end_session(&self, id: SessionId, whose: Option<Subject>) -> Result<bool, CommandError> {
        let (kind, number) = (whose.map(|whose| whose.kind), whose.map(|whose| whose.id));
        Ok(!self.beside_the_log(END, &[&id, &self.now(), &kind, &number]).await?.is_empty())
    }

    /// Ends all sessions of a person: how many there were.
    pub async fn end_sessions(&self, whose: Subject) -> Result<usize, CommandError> {
        Ok(self.beside_the_log(END_ALL, &[&whose.kind, &whose.id, &self.now()]).await?.len())
    }

    /// Forgets sessions whose tokens open nothing any more.
    pub async fn sweep_sessions(&self) -> Result<(), CommandError> {
        while self.beside_the_log(SWEEP, &[&self.now()]).await?.len() == SWEPT_AT_ONCE {}
        Ok(())
    }

    /// Keeps a better hash of the same password, unless there is another password meanwhile. Sessions stay.
    pub async fn renew_password_hash(&self, whose: Subject, before: &str, now: &str) -> Result<(), CommandError> {
        self.beside_the_log(RENEW_HASH, &[&whose.kind, &whose.id, &before, &now]).await?;
        Ok(())
    }
}
