//! Whether a folder can be written to, tried and not guessed.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use nix::sys::statvfs::statvfs;

/// With less than this Postgres is about to stop, and no recording has room.
const FREE_BYTES_MIN: u64 = 16 << 20;

/// What is written and removed again.
const PROBE: &str = ".keystone-probe";
const PROBE_BYTES: usize = 64 << 10;

/// Blocks for as long as the disk does.
pub fn can_be_written(folder: &Path) -> io::Result<()> {
    let file = folder.join(PROBE);
    let written = File::create(&file).and_then(|mut file| file.write_all(&[b'k'; PROBE_BYTES]));
    let removed = fs::remove_file(&file);
    written.and(removed)?;
    let disk = statvfs(folder)?;
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    if free < FREE_BYTES_MIN {
        return Err(io::Error::new(io::ErrorKind::StorageFull, format!("only {free} bytes are free")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stays_of_a_probe_and_a_folder_that_is_gone_is_told() {
        let folder = tempfile::tempdir().unwrap();
        can_be_written(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(can_be_written(&folder.path().join("gone")).is_err());
    }
}
