//! A recording on a disk of this machine.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;

use crate::mcap::RangedRead;

/// Pieces in which a file is read.
pub const PIECE_BYTES: usize = 4 << 20;

/// One file, read by ranges.
pub struct LocalFile {
    pub file: File,
    pub size: u64,
}

impl LocalFile {
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot read {}", path.display());
        // Looked at before it is opened: a pipe would wait for its other end.
        anyhow::ensure!(std::fs::metadata(path).with_context(cannot)?.is_file(), "{} is no file", path.display());
        let file = File::open(path).with_context(cannot)?;
        let size = file.metadata().with_context(cannot)?.len();
        Ok(Self { file, size })
    }
}

impl RangedRead for LocalFile {
    type Error = io::Error;

    async fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes.into())
    }
}
