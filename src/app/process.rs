//! This process among those that share the database.
//!
//! Each renews its lease. A process that finds the lease of another over says so, and closes its sockets in the
//! streams of their devices: a device of a dead process is shown as away within its lease and not for ever. Links of its
//! own that no task of it sees to are closed as well. A
//! process that comes back from a long silence and finds itself declared dead cuts its sockets, and
//! its devices connect anew: nothing that was learned over them counts any more. With each renewal it learns the
//! time of the site.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use deadpool_postgres::Pool;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::commands::devices::{CloseOrphanedLink, Orphan};
use crate::commands::{Commands, Context, clock};
use crate::config::host_name;
use crate::devices::Hub;
use crate::domain::device::LinkKind;
use crate::domain::{DeviceId, catalog};

/// Links that are closed in one sweep.
const SWEEP_MAX: i64 = 500;

/// A second program with a device's id comes back within a minute and a quarter. One that has not for so many leases, three
/// minutes unless the lease is set, is gone.
const QUIET_LEASES: u32 = 12;

/// Host and process id: what this process is called beside others.
pub fn name() -> String {
    format!("{} {}", host_name().unwrap_or_default(), std::process::id())
}

pub struct Membership {
    pub id: Uuid,
    name: String,
    pool: Pool,
    lease: Duration,
    /// Where others reach this one.
    address: String,
    /// Which data folder it holds, where it holds one: no other process can.
    folder: Option<String>,
}

impl Membership {
    /// Enters this process, before it takes any socket.
    pub async fn join(pool: Pool, lease: Duration, address: String, folder: Option<String>) -> anyhow::Result<Self> {
        let membership = Self { id: Uuid::new_v4(), name: name(), pool, lease, address, folder };
        membership.enter().await?;
        Ok(membership)
    }

    async fn enter(&self) -> anyhow::Result<()> {
        let sql =
            "insert into processes (id, name, lease_until, address, folder) values ($1, $2, clock_timestamp() + make_interval(secs => $3), $4, $5)
                   on conflict (id) do update set lease_until = excluded.lease_until, ended_at = null, address = excluded.address
                   returning clock_timestamp()";
        let client = self.pool.get().await?;
        let asked = Instant::now();
        let row = client.query_one(sql, &[&self.id, &self.name, &self.lease.as_secs_f64(), &self.address, &self.folder]).await?;
        clock::learn(asked, row.get(0), Instant::now());
        Ok(())
    }

    /// The process that held this one's data folder before is dead, whatever its lease says: its links are closed before
    /// anything is asked over them.
    pub async fn succeed(&self, commands: &Commands) -> anyhow::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let sql = "update processes set ended_at = clock_timestamp() where folder = $1 and id <> $2 and ended_at is null";
        let ended = self.pool.get().await?.execute(sql, &[folder, &self.id]).await?;
        if ended > 0 {
            info!("The process that had this data folder before ended without a word; its devices are away until they connect anew");
        }
        while self.close_orphans(commands).await? {}
        Ok(())
    }

    /// False where others found the lease over.
    async fn renew(&self) -> anyhow::Result<bool> {
        let sql = "update processes set lease_until = clock_timestamp() + make_interval(secs => $2) where id = $1 and ended_at is null
                   returning clock_timestamp()";
        let client = self.pool.get().await?;
        let asked = Instant::now();
        let renewed = client.query_opt(sql, &[&self.id, &self.lease.as_secs_f64()]).await?;
        if let Some(row) = &renewed {
            clock::learn(asked, row.get(0), Instant::now());
        }
        Ok(renewed.is_some())
    }

    pub async fn run(&self, commands: Commands, hub: Hub, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.lease / 3);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // After a silence of the database everybody's lease is over, and everybody gets the time to renew it.
        let mut steady_since: Option<Instant> = None;
        loop {
            tokio::select! { () = stop.cancelled() => return, _ = ticks.tick() => {} }
            let step = async {
                if !self.renew().await? {
                    warn!(process.id = %self.id, "This process was taken for dead; its devices connect anew");
                    hub.cut_all();
                    self.enter().await?;
                }
                self.follow(&hub).await?;
                self.close_forgotten(&commands, &hub).await?;
                let since = *steady_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= self.lease {
                    self.sweep(&commands).await?;
                }
                commands.end_quiet_contests(self.lease * QUIET_LEASES).await?;
                anyhow::Ok(())
            };
            if let Err(error) = step.await {
                steady_since = None;
                warn!(error = format!("{error:#}"), "Cannot renew the lease of this process: {error:#}");
            }
        }
    }

    /// Cuts sockets here whose devices have connected to another process since.
    async fn follow(&self, hub: &Hub) -> anyhow::Result<()> {
        let links = hub.links();
        if links.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = links.iter().map(|(device, ..)| device.as_str()).collect();
        let sql = "select id, recorder_epoch, transfer_epoch from devices where id = any ($1)";
        let rows = self.pool.get().await?.query(sql, &[&ids]).await?;
        let newest: BTreeMap<String, (i64, i64)> = rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
        for (device, kind, epoch) in links {
            let Some((recorder, transfer)) = newest.get(device.as_str()) else { continue };
            let now = if kind == LinkKind::Recorder { *recorder } else { *transfer };
            if now > epoch {
                info!(device.id = %device, link.kind = kind.as_str(), "Cut a socket of `{device}`: it has connected to another process");
                hub.supersede(&device, kind, now);
            }
        }
        Ok(())
    }

    /// Closes links that the table gives to this process and no task here sees to: their opening was stored although it
    /// was answered with an error, or their end could not be stored.
    async fn close_forgotten(&self, commands: &Commands, hub: &Hub) -> anyhow::Result<()> {
        let mine = format!("{LINKS} where k.open and k.process = $1");
        let mine = self.pool.get().await?.query(&mine, &[&self.id]).await?;
        // Looked at after the table: whatever was stored by then is in hand from before that.
        for row in &mine {
            let (device, kind) = link_of(row)?;
            if hub.has_in_hand(&device, kind) {
                continue;
            }
            let epoch: i64 = row.get(2);
            warn!(device.id = %device, link.kind = kind.as_str(), link.epoch = epoch, "Closes a link of `{device}` that has no socket");
            let orphan = Orphan::NoSocket;
            let close = CloseOrphanedLink { device: device.clone(), kind, epoch, orphan };
            // It is found again at the next look, and the others do not wait for it.
            if let Err(error) = commands.execute(&Context::system(), close).await {
                warn!(device.id = %device, error = format!("{error:#}"), "Cannot close a link of `{device}`: {error:#}");
            }
        }
        Ok(())
    }

    /// Closes what ended processes left open.
    async fn sweep(&self, commands: &Commands) -> anyhow::Result<()> {
        let client = self.pool.get().await?;
        let ended = "update processes set ended_at = clock_timestamp() where ended_at is null and lease_until < clock_timestamp()
                     returning id, name";
        for row in client.query(ended, &[]).await? {
            let (id, name): (Uuid, String) = (row.get(0), row.get(1));
            warn!(process.id = %id, "The process `{name}` ended without a word; its devices are away until they connect anew");
        }
        let gone = "delete from processes p where p.ended_at < clock_timestamp() - interval '1 day'
                    and not exists (select from devices d where p.id in (d.recorder_process, d.transfer_process))";
        client.execute(gone, &[]).await?;
        drop(client);
        self.close_orphans(commands).await.map(|_more| ())
    }

    /// Closes links of processes that ended. Answers whether there may be more.
    async fn close_orphans(&self, commands: &Commands) -> anyhow::Result<bool> {
        let left = format!("{LINKS} join processes p on p.id = k.process where k.open and p.ended_at is not null order by d.id limit $1");
        let left = self.pool.get().await?.query(&left, &[&SWEEP_MAX]).await?;
        for row in &left {
            let (device, kind) = link_of(row)?;
            let orphan = Orphan::ProcessEnded;
            commands.execute(&Context::system(), CloseOrphanedLink { device, kind, epoch: row.get(2), orphan }).await?;
        }
        if !left.is_empty() {
            info!(links = left.len(), "Closed {} links of processes that ended", left.len());
        }
        Ok(i64::try_from(left.len()).unwrap_or(0) >= SWEEP_MAX)
    }

    /// The orderly end, after the sockets are closed.
    pub async fn leave(&self) {
        let left = async {
            let sql = "update processes set ended_at = clock_timestamp() where id = $1";
            anyhow::Ok(self.pool.get().await?.execute(sql, &[&self.id]).await?)
        };
        if let Err(error) = left.await {
            warn!(error = format!("{error:#}"), "Could not sign off; the lease of this process runs out: {error:#}");
        }
    }
}

/// The two links of each device: device, kind and epoch.
const LINKS: &str = "
select d.id, k.kind, k.epoch from devices d
cross join lateral (values ('recorder', d.recorder_epoch, d.recorder_open, d.recorder_process),
                           ('transfer', d.transfer_epoch, d.transfer_open, d.transfer_process)) k (kind, epoch, open, process)";

/// Device and kind of a row of [`LINKS`].
fn link_of(row: &tokio_postgres::Row) -> anyhow::Result<(DeviceId, LinkKind)> {
    let device = DeviceId::parse(row.get(0)).context("a device id")?;
    let kinds = [("recorder", LinkKind::Recorder), ("transfer", LinkKind::Transfer)];
    Ok((device, catalog::parse(&kinds, row.get(1)).unwrap_or(LinkKind::Recorder)))
}
