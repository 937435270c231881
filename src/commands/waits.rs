//! Whether those who asked for something through the outbox still wait.
//!
//! A caller that waits is told, or gives up. That is noted a moment later, many in one statement ([`Waits`]); for a process that dies
//! before, those do it that find its lease over ([`processes`](super::processes)).

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{CommandError, Commands};
use crate::domain::Timestamp;

/// Waits for no disk, which the next request needs: a note that a crash of the database takes back counts as one that was never made.
const ENDED: &str = "update requests r set waited_by = null, given_up_at = e.given_up_at
    from unnest($1::text[], $2::timestamptz[]) e (id, given_up_at), (select set_config('synchronous_commit', 'off', true)) s
    where r.id = e.id";

const SWEEP: &str = "delete from requests where request_no = any (array(
    select request_no from requests where greatest(asked_at, given_up_at, late_at) < clock_timestamp() - make_interval(secs => $1)
    order by request_no limit $2::bigint))";

/// A caller waits no more.
#[derive(Clone, Debug)]
pub struct WaitEnded {
    pub id: String,
    /// Without an outcome. None: it was told, or where to look.
    pub given_up_at: Option<Timestamp>,
}

/// Notes which callers wait no more, and why: nobody is kept waiting for that.
#[derive(Clone, Default)]
pub struct Waits(Option<mpsc::UnboundedSender<WaitEnded>>);

/// What [`Waits`] were told, on its way into the table.
pub struct EndedWaits(mpsc::UnboundedReceiver<WaitEnded>);

pub fn waits() -> (Waits, EndedWaits) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Waits(Some(sender)), EndedWaits(receiver))
}

impl Waits {
    pub fn ended(&self, ended: WaitEnded) {
        if let Some(sender) = &self.0 {
            let _ = sender.send(ended);
        }
    }
}

/// Notes of one statement.
const NOTED_AT_ONCE: usize = 500;
const RETRY: Duration = Duration::from_secs(1);

impl EndedWaits {
    /// Until nobody is left who could wait, or there is no time for more.
    pub async fn note(mut self, commands: Commands, hard_stop: CancellationToken) {
        let mut ended = Vec::with_capacity(NOTED_AT_ONCE);
        loop {
            let more = tokio::select! {
                () = hard_stop.cancelled() => return,
                more = self.0.recv_many(&mut ended, NOTED_AT_ONCE) => more,
            };
            if more == 0 {
                return;
            }
            while !ended.is_empty() {
                match commands.note_ended_waits(&ended).await {
                    Ok(()) => ended.clear(),
                    Err(error) => {
                        tracing::warn!(error = crate::telemetry::chain(&error), "Cannot note that callers wait no more; tries again");
                        #[expect(clippy::disallowed_methods, reason = "a database that is away is asked again after a while")]
                        let pause = tokio::time::sleep(RETRY);
                        tokio::select! { () = hard_stop.cancelled() => return, () = pause => {} }
                    }
                }
            }
        }
    }
}

impl Commands {
    /// Of one request that is named twice the last note counts.
    pub async fn note_ended_waits(&self, ended: &[WaitEnded]) -> Result<(), CommandError> {
        let last = |n: usize, id: &str| !ended[n + 1..].iter().any(|later| later.id == id);
        let ended = ended.iter().enumerate().filter(|(n, one)| last(*n, &one.id)).map(|(_, one)| one);
        let (ids, given_up): (Vec<&str>, Vec<Option<Timestamp>>) = ended.map(|one| (one.id.as_str(), one.given_up_at)).unzip();
        self.beside_the_log(ENDED, &[&ids, &given_up]).await?;
        Ok(())
    }

    /// Sweeps what was asked for, given up or answered longer ago than this.
    pub async fn sweep_requests(&self, kept: Duration, stop: &CancellationToken) -> Result<(), CommandError> {
        self.sweep(SWEEP, kept, stop).await
    }
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    [("waits that ended", ENDED), ("requests that are old", SWEEP)].map(|(name, sql)| (name, sql.to_owned())).into()
}
