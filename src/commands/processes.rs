//! The processes that share the database: each has a row with a lease. No events: a process is no part of the factory.
//! What follows for devices whose sockets were in one that ended is ([`CloseOrphanedLink`](super::devices::CloseOrphanedLink)).

use std::time::{Duration, Instant};

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::clock;
use super::error::CommandError;
use super::execute::Commands;
use crate::eventstore::StoreError;

/// One process, as others see it.
#[derive(Clone, Debug)]
pub struct Process {
    pub id: Uuid,
    pub name: String,
    pub lease: Duration,
    /// Where others reach it.
    pub address: String,
    /// Which data folder it holds, where it holds one: no other process can.
    pub folder: Option<String>,
}

const ENTER: &str =
    "insert into processes (id, name, lease_until, address, folder) values ($1, $2, clock_timestamp() + make_interval(secs => $3), $4, $5)
     on conflict (id) do update set lease_until = excluded.lease_until, ended_at = null, address = excluded.address
     returning clock_timestamp()";

const RENEW: &str = "update processes set lease_until = clock_timestamp() + make_interval(secs => $2) where id = $1 and ended_at is null
                     returning clock_timestamp()";

/// Processes end as a condition says, and the callers that waited there give up with them.
macro_rules! end {
    ($which:literal) => {
        concat!(
            "with ended as (update processes set ended_at = clock_timestamp() where ",
            $which,
            " returning id, name), given_up as (
                 update requests r set waited_by = null, given_up_at = clock_timestamp() from ended where r.waited_by = ended.id)
             select id, name from ended"
        )
    };
}

const END: &str = end!("id = $1");
const END_PREDECESSORS: &str = end!("folder = $1 and id <> $2 and ended_at is null");
const END_SILENT: &str = end!("ended_at is null and lease_until < clock_timestamp()");

const FORGET: &str = "delete from processes p where p.ended_at < clock_timestamp() - interval '1 day'
                      and not exists (select from devices d where p.id in (d.recorder_process, d.transfer_process)) returning p.id";

impl Commands {
    /// Runs a statement on what stands beside the log and has no events.
    pub(super) async fn beside_the_log(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, CommandError> {
        let client = self.store.pool().get().await.map_err(StoreError::from)?;
        Ok(client.query(sql, parameters).await.map_err(StoreError::from)?)
    }

    /// Enters a process, or enters it anew.
    pub async fn enter_process(&self, process: &Process) -> Result<(), CommandError> {
        let Process { id, name, lease, address, folder } = process;
        let asked = Instant::now();
        let rows = self.beside_the_log(ENTER, &[id, name, &lease.as_secs_f64(), address, folder]).await?;
        learn_the_time(asked, &rows);
        Ok(())
    }

    /// False where others found its lease over.
    pub async fn renew_process(&self, process: &Process) -> Result<bool, CommandError> {
        let asked = Instant::now();
        let rows = self.beside_the_log(RENEW, &[&process.id, &process.lease.as_secs_f64()]).await?;
        learn_the_time(asked, &rows);
        Ok(!rows.is_empty())
    }

    /// Others that held the same data folder are dead, whatever their leases say. Answers how many were not known to be.
    pub async fn end_predecessors(&self, process: Uuid, folder: &str) -> Result<usize, CommandError> {
        Ok(self.beside_the_log(END_PREDECESSORS, &[&folder, &process]).await?.len())
    }

    /// Ends processes whose lease is over. Answers which.
    pub async fn end_silent_processes(&self) -> Result<Vec<(Uuid, String)>, CommandError> {
        let ended = self.beside_the_log(END_SILENT, &[]).await?;
        Ok(ended.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Forgets those that ended long ago.
    pub async fn forget_processes(&self) -> Result<(), CommandError> {
        self.beside_the_log(FORGET, &[]).await?;
        Ok(())
    }

    /// An orderly end.
    pub async fn end_process(&self, process: Uuid) -> Result<(), CommandError> {
        self.beside_the_log(END, &[&process]).await?;
        Ok(())
    }
}

/// The time of the site, which an answer brings along.
fn learn_the_time(asked: Instant, rows: &[Row]) {
    if let Some(row) = rows.first() {
        clock::learn(asked, row.get(0), Instant::now());
    }
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    [
        ("process, entered", ENTER),
        ("process, renewed", RENEW),
        ("process, ended", END),
        ("predecessors of a process, ended", END_PREDECESSORS),
        ("silent processes, ended", END_SILENT),
        ("processes, forgotten", FORGET),
    ]
    .map(|(name, sql)| (name, sql.to_owned()))
    .into()
}
