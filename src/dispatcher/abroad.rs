//! Wakes between processes: one connection that listens, and sends at most one coalesced
//! `NOTIFY` per interval. Never inside a data transaction, where `NOTIFY` takes a lock that
//! everybody shares until the commit.
//!
//! A lost message costs a poll interval, nothing else.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, Connection, Socket};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::outbox::Wakes;

const CHANNEL: &str = "keystone_committed";

/// Commits within this time are told in one message: at most 200 a second.
const COALESCE: Duration = Duration::from_millis(5);

/// Listens and tells until asked to stop or the connection is lost; whoever calls connects again.
pub async fn hear_and_tell<T>(
    client: Client,
    mut connection: Connection<Socket, T>,
    wakes: Wakes,
    stop: CancellationToken,
) -> Result<(), tokio_postgres::Error>
where
    T: tokio_postgres::tls::TlsStream + Unpin + Send + 'static,
{
    let (heard, mut messages) = mpsc::unbounded_channel();
    let driver = tokio::spawn(async move {
        let mut stream = stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(message) = stream.next().await {
            match message {
                Ok(AsyncMessage::Notification(note)) => {
                    if heard.send(note.process_id()).is_err() {
                        return Ok(());
                    }
                }
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    });
    let ours: i32 = client.query_one("select pg_backend_pid()", &[]).await?.get(0);
    client.batch_execute(&format!("listen {CHANNEL}")).await?;
    // What was committed before we listened.
    wakes.heard_from_abroad();
    let bell: Arc<_> = wakes.abroad();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = bell.notified() => {
                client.batch_execute(&format!("notify {CHANNEL}")).await?;
                tokio::time::sleep(COALESCE).await;
            }
            message = messages.recv() => match message {
                Some(process) if process != ours => wakes.heard_from_abroad(),
                Some(_) => {}
                None => {
                    warn!("The connection that listens for other processes is lost; polling goes on");
                    break;
                }
            },
        }
    }
    drop(client);
    driver.await.unwrap_or(Ok(()))
}
