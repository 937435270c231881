//! Copies in the edge storage that are removed by rule: those that were synced long ago, and the longest synced ones while the disk has little room.
//!
//! What may be removed is decided for each by itself, by the same command as when a person asks. Two processes that look at the same time ask for the
//! same ones, once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use nix::sys::statvfs::statvfs;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::commands::copies::RemoveEdgeCopy;
use crate::commands::{CommandError, Commands, Context};
use crate::config::EdgeCopies;
use crate::domain::Timestamp;
use crate::domain::episode::RemovalCause;

/// Between looks.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Copies that one look asks for. Room is looked at again before more are.
const AT_ONCE: i64 = 20;

/// What is removed, and where room is looked for.
#[derive(Clone)]
pub struct Retention {
    removed_after: Option<TimeDelta>,
    free_percent_min: Option<u64>,
    folder: Option<PathBuf>,
    every: Duration,
}

impl Retention {
    /// None where no rule is on.
    pub fn of(edge_copies: &EdgeCopies, folder: Option<&Path>) -> Option<Self> {
        let removed_after = edge_copies.removed_after().map(|after| TimeDelta::from_std(after).unwrap_or(TimeDelta::MAX));
        let free_percent_min = edge_copies.free_percent_min();
        let retention = Self { removed_after, free_percent_min, folder: folder.map(Path::to_owned), every: LOOK_EVERY };
        (removed_after.is_some() || free_percent_min.is_some()).then_some(retention)
    }

    /// Whether the disk has less room than it should.
    async fn lacks_room(&self) -> anyhow::Result<bool> {
        let (Some(least), Some(folder)) = (self.free_percent_min, self.folder.clone()) else { return Ok(false) };
        let disk = tokio::task::spawn_blocking(move || statvfs(&folder)).await??;
        Ok(is_below(least, disk.blocks_available(), disk.blocks()))
    }
}

fn is_below(percent: u64, free: u64, of: u64) -> bool {
    u128::from(free) * 100 < u128::from(of) * u128::from(percent)
}

/// Looks, and removes, until the end.
pub async fn retain(commands: Commands, retention: Retention, stop: CancellationToken) {
    loop {
        if let Err(error) = look(&commands, &retention, &stop).await {
            warn!(error = format!("{error:#}"), "Cannot look for copies that may be removed; tries again: {error:#}");
        }
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(retention.every) => {} }
    }
}

async fn look(commands: &Commands, retention: &Retention, stop: &CancellationToken) -> anyhow::Result<()> {
    if let Some(before) = retention.removed_after.and_then(|after| commands.now().checked_sub_signed(after)) {
        // As many as there are: each look begins where the last one ended.
        while !stop.is_cancelled() && remove(commands, before, RemovalCause::Age).await? == AT_ONCE {}
    }
    // What is being removed makes room first.
    if commands.removals_under_way().await? == 0 && retention.lacks_room().await? {
        remove(commands, commands.now(), RemovalCause::FreeSpace).await?;
    }
    Ok(())
}

/// Answers how many were asked for.
async fn remove(commands: &Commands, synced_before: Timestamp, cause: RemovalCause) -> anyhow::Result<i64> {
    let mut asked = 0;
    for episode in commands.removable_copies(synced_before, AT_ONCE).await? {
        match commands.execute(&Context::system(), RemoveEdgeCopy { episode, cause }).await {
            Ok(()) => asked += 1,
            // It is needed after all: a run looks at it, or it goes to the cloud once more.
            Err(CommandError::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_a_share_of_the_disk() {
        assert!(is_below(10, 9, 100) && !is_below(10, 10, 100) && !is_below(10, u64::MAX, u64::MAX));
        assert!(is_below(10, 0, u64::MAX) && !is_below(10, 0, 0));
    }
}
