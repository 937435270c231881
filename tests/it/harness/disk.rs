//! A disk of a few MiB, to be filled.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk of its own, in memory.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount one.
    pub fn mount(at: &Path, mib: usize) -> Option<Self> {
        let options = format!("size={mib}m,mode=755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        if mounted.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        eprintln!("skipped: a disk cannot be mounted here ({mounted:?}); run as root to have this tested");
        None
    }

    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).expect("a file");
        for size in [1 << 20, 4096, 512] {
            let piece = vec![1; size];
            while file.write_all(&piece).is_ok() {}
        }
    }

    pub fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("the file is gone");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _not_while_it_is_used = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
