//! This process among those that share the database.
//!
//! Each renews its lease. A process that finds the lease of another over says so, and closes its sockets in the
//! streams of their devices: a device of a dead process is shown as away within its lease and not for ever. Links of its
//! own that no task of it sees to are closed as well. A
//! process that comes back from a long silence and finds itself declared dead cuts its sockets, and
//! its devices connect anew: nothing that was learned over them counts any more. With each renewal it learns the
//! time of the site.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::commands::devices::{CloseOrphanedLink, Orphan};
use crate::commands::processes::Process;
use crate::commands::{Commands, Context};
use crate::config::host_name;
use crate::devices::Hub;
use crate::projections::reads::Reads;
use crate::projections::reads::links::LinkRow;
use crate::telemetry::chain;

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
    process: Process,
    commands: Commands,
    reads: Reads,
}

impl Membership {
    /// Enters this process, before it takes any socket.
    pub async fn join(commands: Commands, reads: Reads, lease: Duration, address: String, folder: Option<String>) -> anyhow::Result<Self> {
        let process = Process { id: Uuid::new_v4(), name: name(), lease, address, folder };
        commands.enter_process(&process).await?;
        Ok(Self { id: process.id, process, commands, reads })
    }

    /// The process that held this one's data folder before is dead, whatever its lease says: its links are closed before
    /// anything is asked over them.
    pub async fn succeed(&self) -> anyhow::Result<()> {
        let Some(folder) = &self.process.folder else { return Ok(()) };
        if self.commands.end_predecessors(self.id, folder).await? > 0 {
            info!("The process that had this data folder before ended without a word; its devices are away until they connect anew");
        }
        while self.close_orphans().await? {}
        Ok(())
    }

    pub async fn run(&self, hub: Hub, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.process.lease / 3);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // After a silence of the database everybody's lease is over, and everybody gets the time to renew it.
        let mut steady_since: Option<Instant> = None;
        loop {
            tokio::select! { () = stop.cancelled() => return, _ = ticks.tick() => {} }
            let step = async {
                if !self.commands.renew_process(&self.process).await? {
                    warn!(process.id = %self.id, "This process was taken for dead; its devices connect anew");
                    hub.cut_all();
                    self.commands.enter_process(&self.process).await?;
                }
                self.follow(&hub).await?;
                self.close_forgotten(&hub).await?;
                let since = *steady_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= self.process.lease {
                    self.sweep().await?;
                }
                self.commands.end_quiet_contests(self.process.lease * QUIET_LEASES).await?;
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
        let newest = self.reads.newest_links(&ids).await?;
        for (device, kind, epoch) in links {
            let Some(now) = newest.iter().find(|link| link.device_id == device && link.kind == kind) else { continue };
            if now.epoch > epoch {
                info!(device.id = %device, link.kind = kind.as_str(), "Cut a socket of `{device}`: it has connected to another process");
                hub.supersede(&device, kind, now.epoch);
            }
        }
        Ok(())
    }

    /// Closes links that the table gives to this process and no task here sees to: their opening was stored although it
    /// was answered with an error, or their end could not be stored.
    async fn close_forgotten(&self, hub: &Hub) -> anyhow::Result<()> {
        let mine = self.reads.links_of_process(self.id).await?;
        // Looked at after the table: whatever was stored by then is in hand from before that.
        for LinkRow { device_id: device, kind, epoch } in mine {
            if hub.has_in_hand(&device, kind) {
                continue;
            }
            warn!(device.id = %device, link.kind = kind.as_str(), link.epoch = epoch, "Closes a link of `{device}` that has no socket");
            let orphan = Orphan::NoSocket;
            let close = CloseOrphanedLink { device: device.clone(), kind, epoch, orphan };
            // It is found again at the next look, and the others do not wait for it.
            if let Err(error) = self.commands.execute(&Context::system(), close).await {
                warn!(device.id = %device, error = chain(&error), "Cannot close a link of `{device}`: {error}");
            }
        }
        Ok(())
    }

    /// Closes what ended processes left open.
    async fn sweep(&self) -> anyhow::Result<()> {
        for (id, name) in self.commands.end_silent_processes().await? {
            warn!(process.id = %id, "The process `{name}` ended without a word; its devices are away until they connect anew");
        }
        self.commands.forget_processes().await?;
        self.close_orphans().await.map(|_more| ())
    }

    /// Closes links of processes that ended. Answers whether there may be more.
    async fn close_orphans(&self) -> anyhow::Result<bool> {
        let left = self.reads.orphaned_links(SWEEP_MAX).await?;
        for LinkRow { device_id, kind, epoch } in &left {
            let close = CloseOrphanedLink { device: device_id.clone(), kind: *kind, epoch: *epoch, orphan: Orphan::ProcessEnded };
            self.commands.execute(&Context::system(), close).await?;
        }
        if !left.is_empty() {
            info!(links = left.len(), "Closed {} links of processes that ended", left.len());
        }
        Ok(i64::try_from(left.len()).unwrap_or(0) >= SWEEP_MAX)
    }

    /// The orderly end, after the sockets are closed.
    pub async fn leave(&self) {
        if let Err(error) = self.commands.end_process(self.id).await {
            warn!(error = chain(&error), "Could not sign off; the lease of this process runs out: {error}");
        }
    }
}
