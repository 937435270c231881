//! What room a disk has.

use std::path::PathBuf;

use nix::sys::statvfs::statvfs;

/// In blocks of the disk that a folder is on.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// What others than root can still use.
    pub free: u64,
    pub all: u64,
}

/// Looks, beside what has to answer at once: a disk of another machine may not answer.
pub async fn room_of(folder: PathBuf) -> anyhow::Result<Room> {
    let disk = tokio::task::spawn_blocking(move || statvfs(&folder)).await??;
    Ok(Room { free: disk.blocks_available(), all: disk.blocks() })
}
