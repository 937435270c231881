//! A private Postgres cluster and S3 endpoint for one-command use.
//!
//! Both live under one data folder that belongs to one process at a time. Nothing
//! here knows what they are used for; `app` decides whether they are started.
//!
//! Generated secrets are remembered beside the data, readable by the owner only: a
//! restart must find the same keys, and there is nobody to type them.

pub mod keys;
pub mod postgres;
pub mod s3;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::config::Secret;

#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("{path} is in use by another Keystone process; stop that one, or set KEYSTONE_DATA_DIR", path = .0.display())]
    InUse(PathBuf),
    #[error("cannot use {path} as data folder", path = path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The data folder, held by this process until dropped. The lock is the kernel's, so
/// it cannot outlive the process.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl DataDir {
    /// Creates the folder if it is missing and takes it.
    pub fn lock(path: &Path) -> Result<Self, DataDirError> {
        let failed = |source| DataDirError::Io { path: path.to_path_buf(), source };
        // Others may pass through, since Postgres runs as another user when we are
        // root; what is secret has a mode of its own.
        DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path.join("lock")).map_err(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(DataDirError::InUse(path)),
            Err((_, errno)) => Err(failed(errno.into())),
        }
    }

    /// Absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a secret called `name` already.
    pub fn has_secret(&self, name: &str) -> bool {
        self.path.join("secrets").join(name).exists()
    }

    /// Writes a secret of our own for other programs of the same owner.
    pub fn remember(&self, name: &str, secret: &Secret) -> io::Result<()> {
        let dir = self.path.join("secrets");
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        write_private(&dir.join(name), secret.expose().as_bytes())
    }

    /// The secret called `name`, generated at the first call.
    pub fn secret(&self, name: &str) -> io::Result<Secret> {
        remembered_secret(&self.path.join("secrets"), name)
    }
}

/// The secret stored as `dir/name`, generated at the first call: 256 bits, in hex.
pub fn remembered_secret(dir: &Path, name: &str) -> io::Result<Secret> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let path = dir.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(Secret::new(text.trim())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let secret = hex::encode(rand::random::<[u8; 32]>());
    write_private(&path, secret.as_bytes())?;
    Ok(Secret::new(secret))
}

/// Writes a file that is either complete and on disk or not there at all, for the
/// owner only.
fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&part)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_process_at_a_time_uses_a_data_folder() {
        let temp = tempfile::tempdir().unwrap();
        let first = DataDir::lock(temp.path()).unwrap();
        let refused = DataDir::lock(temp.path()).unwrap_err();
        assert!(matches!(refused, DataDirError::InUse(_)));
        drop(first);
        DataDir::lock(temp.path()).unwrap();
    }

    #[test]
    fn a_secret_is_remembered_and_readable_by_its_owner_only() {
        let temp = tempfile::tempdir().unwrap();
        let data = DataDir::lock(&temp.path().join("data")).unwrap();
        let secret = data.secret("jwt").unwrap();
        assert_eq!(secret, data.secret("jwt").unwrap());
        assert_ne!(secret, data.secret("s3").unwrap());
        let file = data.path().join("secrets/jwt");
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
