//! Copies in the edge storage that are removed by rule: those that were synced long ago, and the longest synced ones while the disk has little room.
//!
//! What may be removed is decided for each by itself, by the same command as when a person asks. Two processes that look at the same time ask for the
//! same ones, once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::app::room::room_of;
use crate::commands::copies::RemoveEdgeCopy;
use crate::commands::{CommandError, Commands, Context};
use crate::config::EdgeCopies;
use crate::domain::episode::RemovalCause;
use crate::domain::{EpisodeId, Timestamp};

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
}

impl Retention {
    /// None where no rule is on.
    pub fn of(edge_copies: &EdgeCopies, folder: Option<&Path>) -> Option<Self> {
        let removed_after = edge_copies.removed_after().map(|after| TimeDelta::from_std(after).unwrap_or(TimeDelta::MAX));
        let free_percent_min = edge_copies.free_percent_min();
        let retention = Self { removed_after, free_percent_min, folder: folder.map(Path::to_owned) };
        (removed_after.is_some() || free_percent_min.is_some()).then_some(retention)
    }

    /// Whether the disk has less room than it should.
    async fn lacks_room(&self) -> anyhow::Result<bool> {
        let (Some(least), Some(folder)) = (self.free_percent_min, self.folder.clone()) else { return Ok(false) };
        let room = room_of(folder).await?;
        Ok(is_below(least, room.free, room.all))
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
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(LOOK_EVERY) => {} }
    }
}

async fn look(commands: &Commands, retention: &Retention, stop: &CancellationToken) -> anyhow::Result<()> {
    let mut kept = vec![];
    if let Some(before) = retention.removed_after.and_then(|after| commands.now().checked_sub_signed(after)) {
        while !stop.is_cancelled() && remove(commands, before, RemovalCause::Age, &mut kept).await?.found > 0 {}
    }
    // What is being removed makes room first.
    if commands.removals_under_way().await? == 0 && retention.lacks_room().await? {
        // Past those that are needed after all.
        while !stop.is_cancelled() {
            let removed = remove(commands, commands.now(), RemovalCause::FreeSpace, &mut kept).await?;
            if removed.found == 0 || removed.asked > 0 {
                break;
            }
        }
    }
    Ok(())
}

/// How many could be removed, and how many are asked for.
struct Removed {
    found: usize,
    asked: usize,
}

/// Asks for some. Those that are needed after all, because a run looks at them or they go to the cloud once more, are in nobody's way: they are `kept`.
async fn remove(commands: &Commands, synced_before: Timestamp, cause: RemovalCause, kept: &mut Vec<EpisodeId>) -> anyhow::Result<Removed> {
    let mut asked = 0;
    let episodes = commands.removable_copies(synced_before, kept, AT_ONCE).await?;
    for episode in &episodes {
        match commands.execute(&Context::system(), RemoveEdgeCopy { episode: *episode, cause }).await {
            Ok(()) => asked += 1,
            Err(CommandError::Refused(_)) => kept.push(*episode),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Removed { found: episodes.len(), asked })
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
