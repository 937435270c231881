//! Sessions: each login is one, and ends when its token expires, or before. They stand beside the log: a login changes nothing.

use std::net::IpAddr;
use std::time::Duration;

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use super::{CommandError, Commands};
use crate::domain::{SessionId, Timestamp};
use crate::eventstore::StoreError;
use crate::projections::people::END_SESSIONS;
use crate::projections::reads::credentials::Subject;

/// Where another password is being kept, this waits for it.
const BEGIN: &str = "with compared as (
        select from credentials where subject = $1 and subject_id = $2 and changed_at = $6 for share)
    insert into sessions (subject, subject_id, started_at, expires_at, address) select $1, $2, $3, $4, $5 from compared returning id";
const END: &str = "update sessions set ended_at = $2 where id = $1 and ended_at is null and expires_at > $2 and
    ($3::text is null or (subject, subject_id) = ($3, $4)) returning subject, subject_id";
const SWEEP: &str = "delete from sessions where id = any (array(
    select id from sessions where expires_at < clock_timestamp() - make_interval(secs => $1) order by expires_at, id limit $2::bigint))";
const RENEW_HASH: &str = "update credentials set password_hash = $4 where subject = $1 and subject_id = $2 and password_hash = $3";

impl Commands {
    /// A person has signed in with the password that is theirs since then; none where they have another one by now.
    pub async fn begin_session(
        &self,
        whose: Subject,
        since: Timestamp,
        lifetime: Duration,
        address: Option<IpAddr>,
    ) -> Result<Option<SessionId>, CommandError> {
        let now = self.now();
        let ends: Timestamp = now + TimeDelta::from_std(lifetime).unwrap_or(TimeDelta::MAX);
        let address = address.map(|address| address.to_string());
        let rows = self.beside_the_log(BEGIN, &[&whose.kind, &whose.id, &now, &ends, &address, &since]).await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose().map_err(StoreError::from)?)
    }

    /// Ends a session; of this person, where one is given. Answers whose it was; none where there is none that stands.
    pub async fn end_session(&self, id: SessionId, whose: Option<Subject>) -> Result<Option<Subject>, CommandError> {
        let (kind, number) = (whose.map(|whose| whose.kind), whose.map(|whose| whose.id));
        let rows = self.beside_the_log(END, &[&id, &self.now(), &kind, &number]).await?;
        Ok(rows.first().and_then(|row| Subject::stored(row.get(0), row.get(1))))
    }

    /// Ends all sessions of a person: how many there were.
    pub async fn end_sessions(&self, whose: Subject) -> Result<usize, CommandError> {
        Ok(self.beside_the_log(END_SESSIONS, &[&whose.kind, &whose.id, &self.now()]).await?.len())
    }

    /// Forgets sessions whose tokens open nothing any more.
    pub async fn sweep_sessions(&self, stop: &CancellationToken) -> Result<(), CommandError> {
        self.sweep(SWEEP, Duration::ZERO, stop).await
    }

    /// Keeps a better hash of the same password, unless there is another one meanwhile. Sessions stay.
    pub async fn renew_password_hash(&self, whose: Subject, before: &str, now: &str) -> Result<(), CommandError> {
        self.beside_the_log(RENEW_HASH, &[&whose.kind, &whose.id, &before, &now]).await?;
        Ok(())
    }
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    let all = [
        ("session, begun", BEGIN),
        ("session, ended", END),
        ("sessions of a person, ended", END_SESSIONS),
        ("sessions that are over", SWEEP),
        ("hash of a password, renewed", RENEW_HASH),
    ];
    all.map(|(name, sql)| (name, sql.to_owned())).into()
}
