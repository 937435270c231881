//! Who read, took away or was refused what, and who signed in: rows beside the log, because that changes nothing.
//!
//! They are written a moment later, many in one statement ([`Recording`]), so that nobody waits for them. The queue has a bound: what finds it full,
//! because the database is away for long, is lost and counted. So is what a process that is killed had not written yet; an orderly stop writes
//! all of it. A record that is written twice, because the answer to the first attempt was lost, stands there twice.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_postgres::types::ToSql;
use tokio_util::sync::CancellationToken;

use super::{CommandError, Commands};
use crate::domain::Timestamp;
use crate::domain::access::{AccessKind, LoginMethod};
use crate::telemetry::{ACCESS_RECORDS, chain};

const KEEP: &str =
    "insert into access_records (occurred_at, kind, actor, login, role, action, entity, status, source_address, request_id, login_method)
    select r.* from (select set_config('synchronous_commit', 'off', true)) s, unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[],
        $5::text[], $6::text[], $7::text[], $8::smallint[], $9::text[], $10::text[], $11::text[]) r";

const SWEEP: &str = "delete from access_records where access_id = any (array(
    select access_id from access_records where occurred_at < clock_timestamp() - make_interval(secs => $1)
    order by occurred_at, access_id limit $2::bigint))";

/// What one request did, beside what it changed.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessRecord {
    pub occurred_at: Timestamp,
    pub kind: AccessKind,
    /// As events name who did it.
    pub actor: String,
    /// As who they were logged in.
    pub login: String,
    pub role: &'static str,
    /// Method and pattern of the route.
    pub action: String,
    /// A kind and an id.
    pub entity: Option<String>,
    pub status: u16,
    pub source_address: Option<String>,
    pub request_id: String,
    /// Of a login.
    pub login_method: Option<LoginMethod>,
}

/// Records that wait at most: some seconds' worth of a flood, at 500 bytes.
const WAITING_MAX: usize = 10_000;
/// Records of one statement.
const KEPT_AT_ONCE: usize = 500;
const RETRY: Duration = Duration::from_secs(1);

/// Takes records; nobody waits for that.
#[derive(Clone, Default)]
pub struct AccessRecords(Option<mpsc::Sender<AccessRecord>>);

/// Records on their way into the table.
pub struct Recording(mpsc::Receiver<AccessRecord>);

pub fn access_records() -> (AccessRecords, Recording) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (AccessRecords(Some(sender)), Recording(receiver))
}

fn count(outcome: &'static str, records: usize) {
    metrics::counter!(ACCESS_RECORDS, "outcome" => outcome).increment(records as u64);
}

impl AccessRecords {
    pub fn keep(&self, record: AccessRecord) {
        if self.0.as_ref().is_some_and(|sender| sender.try_send(record).is_err()) {
            count("lost", 1);
        }
    }
}

impl Recording {
    /// How many wait.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.0.len()
    }

    /// Until nobody is left who could record something, or there is no time for more.
    pub async fn write(mut self, commands: Commands, hard_stop: CancellationToken) {
        let mut records = Vec::with_capacity(KEPT_AT_ONCE);
        loop {
            let more = tokio::select! {
                () = hard_stop.cancelled() => 0,
                more = self.0.recv_many(&mut records, KEPT_AT_ONCE) => more,
            };
            if more == 0 {
                break;
            }
            while !records.is_empty() && !hard_stop.is_cancelled() {
                match commands.keep_access_records(&records).await {
                    Ok(()) => {
                        count("kept", records.len());
                        records.clear();
                    }
                    // What the table does not take now, it never takes.
                    Err(error @ (CommandError::Refused(_) | CommandError::Failed(_))) => {
                        tracing::error!(error = chain(&error), "{} records of who did what are lost", records.len());
                        count("lost", records.len());
                        records.clear();
                    }
                    Err(error) => {
                        tracing::warn!(error = chain(&error), "Cannot record who did what; tries again");
                        #[expect(clippy::disallowed_methods, reason = "a database that is away is asked again after a while")]
                        let pause = tokio::time::sleep(RETRY);
                        tokio::select! { () = hard_stop.cancelled() => {}, () = pause => {} }
                    }
                }
            }
        }
        let lost = records.len() + self.0.len();
        if lost > 0 {
            tracing::warn!("{lost} records of who did what are lost: there was no time to write them");
            count("lost", lost);
        }
    }
}

impl Commands {
    pub async fn keep_access_records(&self, records: &[AccessRecord]) -> Result<(), CommandError> {
        fn column<'a, T>(records: &'a [AccessRecord], of: impl Fn(&'a AccessRecord) -> T) -> Vec<T> {
            records.iter().map(of).collect()
        }
        let times = column(records, |record| record.occurred_at);
        let kinds = column(records, |record| record.kind.as_str());
        let actors = column(records, |record| record.actor.as_str());
        let logins = column(records, |record| record.login.as_str());
        let roles = column(records, |record| record.role);
        let actions = column(records, |record| record.action.as_str());
        let entities = column(records, |record| record.entity.as_deref());
        let statuses = column(records, |record| i16::try_from(record.status).unwrap_or(i16::MAX));
        let addresses = column(records, |record| record.source_address.as_deref());
        let requests = column(records, |record| record.request_id.as_str());
        let methods = column(records, |record| record.login_method.map(LoginMethod::as_str));
        let columns: [&(dyn ToSql + Sync); 11] =
            [&times, &kinds, &actors, &logins, &roles, &actions, &entities, &statuses, &addresses, &requests, &methods];
        self.beside_the_log(KEEP, &columns).await?;
        Ok(())
    }

    /// Sweeps records that are older than this.
    pub async fn sweep_access_records(&self, kept: Duration, stop: &CancellationToken) -> Result<(), CommandError> {
        self.sweep(SWEEP, kept, stop).await
    }
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    [("access records, kept", KEEP), ("access records that are old", SWEEP)].map(|(name, sql)| (name, sql.to_owned())).into()
}
