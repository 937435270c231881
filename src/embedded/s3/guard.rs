//! Who may replace or delete what is there: asked under the key's lock, just before it would happen.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use s3s::{S3Error, S3ErrorCode};

/// An object that is there.
#[derive(Clone, Debug)]
pub struct Stored {
    pub path: PathBuf,
    pub bytes: u64,
    /// Without quotes.
    pub etag: String,
    /// User metadata, by name without its prefix.
    pub metadata: HashMap<String, String>,
}

/// A write that is complete and not yet visible.
#[derive(Debug)]
pub struct Replacing<'a> {
    /// Of whom signed the request.
    pub access_key: &'a str,
    pub bucket: &'a str,
    pub key: &'a str,
    /// What is there now, if anything.
    pub old: Option<&'a Stored>,
    pub new: &'a Stored,
}

impl Replacing<'_> {
    /// Whether both have the same bytes. Reads both, unless their sizes differ already.
    pub async fn same_bytes(&self) -> io::Result<bool> {
        let Some(old) = self.old.filter(|old| old.bytes == self.new.bytes) else { return Ok(false) };
        let (old, new) = (old.path.clone(), self.new.path.clone());
        tokio::task::spawn_blocking(move || same_bytes(&old, &new)).await.map_err(io::Error::other)?
    }
}

#[derive(Debug)]
pub struct Deleting<'a> {
    pub access_key: &'a str,
    pub bucket: &'a str,
    pub key: &'a str,
    pub old: &'a Stored,
}

/// What becomes of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replace {
    Allow,
    /// The answer is that of a success, and nothing changes.
    KeepOld,
    Refuse(Refusal),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delete {
    Allow,
    Refuse(Refusal),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub kind: RefusalKind,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// 403 `AccessDenied`.
    Denied,
    /// 412 `PreconditionFailed`.
    Conflict,
    /// 503 `ServiceUnavailable`: worth another try.
    Unavailable,
}

impl From<Refusal> for S3Error {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.kind {
            RefusalKind::Denied => S3ErrorCode::AccessDenied,
            RefusalKind::Conflict => S3ErrorCode::PreconditionFailed,
            RefusalKind::Unavailable => S3ErrorCode::ServiceUnavailable,
        };
        Self::with_message(code, refusal.reason)
    }
}

/// Asked under the lock of the key: two writes of one key are never decided at the same time. A trait, because nothing in
/// `embedded` knows tasks and episodes: the server's is `app::store_guard`.
#[async_trait]
pub trait Guard: Send + Sync {
    async fn replace(&self, write: Replacing<'_>) -> Replace;
    /// Only where there is something to delete.
    async fn delete(&self, deletion: Deleting<'_>) -> Delete;
}

/// Allows everything.
pub struct Unguarded;

#[async_trait]
impl Guard for Unguarded {
    async fn replace(&self, _write: Replacing<'_>) -> Replace {
        Replace::Allow
    }

    async fn delete(&self, _deletion: Deleting<'_>) -> Delete {
        Delete::Allow
    }
}

fn same_bytes(a: &Path, b: &Path) -> io::Result<bool> {
    const BLOCK: usize = 1 << 20;
    let (a, b) = (File::open(a)?, File::open(b)?);
    let bytes = a.metadata()?.len();
    if b.metadata()?.len() != bytes {
        return Ok(false);
    }
    let (mut of_a, mut of_b) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut at = 0;
    while at < bytes {
        let length = BLOCK.min(usize::try_from(bytes - at).unwrap_or(BLOCK));
        a.read_exact_at(&mut of_a[..length], at)?;
        b.read_exact_at(&mut of_b[..length], at)?;
        if of_a[..length] != of_b[..length] {
            return Ok(false);
        }
        at += length as u64;
    }
    Ok(true)
}
