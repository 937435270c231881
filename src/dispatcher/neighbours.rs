//! Wakes between processes: one connection that listens, and sends at most one coalesced
//! `NOTIFY` per interval. Never inside a data transaction, where `NOTIFY` takes a lock that
//! everybody shares until the commit.
//!
//! A message says what was settled, for those who wait for it ([`Wakes::settled`]); an empty one, that something was committed. A lost
//! message costs a poll interval, nothing else.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::outbox::Wakes;
use crate::pg::Dedicated;

const CHANNEL: &str = "keystone_committed";

/// Commits within this time are told in one message: at most 200 a second.
const COALESCE: Duration = Duration::from_millis(5);

/// A connection that only listens is asked something so often, because one that is never spoken to can be dead
/// for days.
const HEARTBEAT: Duration = Duration::from_secs(3);

/// Listens and tells until asked to stop or the connection is lost; the caller connects again.
pub async fn hear_and_tell(mut connection: Dedicated, wakes: &Wakes, stop: &CancellationToken) -> Result<(), tokio_postgres::Error> {
    let client = &connection.client;
    let ours: i32 = client.query_one("select pg_backend_pid()", &[]).await?.get(0);
    client.batch_execute(&format!("listen {CHANNEL}")).await?;
    let notify = client.prepare("select pg_notify($1, $2)").await?;
    // What was committed before we listened.
    wakes.heard_from_neighbours("");
    let bell = wakes.for_neighbours();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = bell.notified() => {
                client.query(&notify, &[&CHANNEL, &wakes.message()]).await?;
                tokio::time::sleep(COALESCE).await;
            }
            () = tokio::time::sleep(HEARTBEAT) => client.batch_execute("").await?,
            message = connection.notifications.recv() => match message {
                Some(message) if message.process_id() != ours => wakes.heard_from_neighbours(message.payload()),
                Some(_) => {}
                None => return Ok(()),
            },
        }
    }
}
