//! A private Postgres cluster and S3 endpoint for one-command use.
//!
//! Both live under one data folder that belongs to one process at a time. Nothing
//! here knows what they are used for; `app` decides whether they are started.
//!
//! Generated secrets are remembered beside the data: a restart must find the same keys,
//! and there is nobody to type them.
//!
//! Modes are ours and not the umask's: every folder below the data folder, with recordings,
//! database and secrets, is its owner's alone.

pub mod keys;
pub mod place;
pub mod postgres;
pub mod s3;

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;

use crate::config::Secret;

#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("{path} is in use by another Keystone process; stop that one, or set KEYSTONE_DATA_DIR", path = .0.display())]
    InUse(PathBuf),
    #[error("cannot use {path} as data folder; KEYSTONE_DATA_DIR names another one, which this user may write", path = path.display())]
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
        if !path.exists() {
            make_folders(path).map_err(failed)?;
            // When we are root, Postgres runs as another user, which passes through to its own folder. A folder that
            // was there has the mode that its owner gave it.
            let mode = if Uid::effective().is_root() { 0o711 } else { 0o700 };
            std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
        }
        let path = path.canonicalize().map_err(failed)?;
        let file = open_private(&path.join("lock"), OpenOptions::new().truncate(false)).map_err(failed)?;
        // One that another user left and that we may write keeps its mode.
        let _ours_or_not = file.set_permissions(Permissions::from_mode(0o600));
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

    /// The folder called `name`, which nobody else reads.
    pub fn folder(&self, name: &str) -> Result<PathBuf, DataDirError> {
        let path = self.path.join(name);
        match private_folder(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(DataDirError::Io { path, source }),
        }
    }

    /// Whether there is a secret called `name` already.
    pub fn has_secret(&self, name: &str) -> bool {
        secret_file(&self.path, name).exists()
    }

    /// Writes a secret of our own for other programs of the same owner.
    pub fn remember(&self, name: &str, secret: &Secret) -> io::Result<()> {
        let dir = self.path.join(SECRETS);
        private_folder(&dir)?;
        write_private(&dir.join(name), secret.expose().as_bytes())
    }

    /// Removes the secret called `name`.
    pub fn forget(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(secret_file(&self.path, name))
    }

    /// The secret called `name`, generated at the first call.
    pub fn secret(&self, name: &str) -> io::Result<Secret> {
        remembered_secret(&self.path.join(SECRETS), name)
    }
}

const SECRETS: &str = "secrets";

/// Where a data folder keeps its secret called `name`.
pub fn secret_file(data_dir: &Path, name: &str) -> PathBuf {
    data_dir.join(SECRETS).join(name)
}

/// The secret stored as `dir/name`, generated at the first call: 256 bits, in hex.
pub fn remembered_secret(dir: &Path, name: &str) -> io::Result<Secret> {
    private_folder(dir)?;
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

/// A folder that only its owner reads, also where it was there before, and whatever the umask is. One that another
/// user gave us keeps the mode it has.
pub fn private_folder(path: &Path) -> io::Result<()> {
    make_folders(path)?;
    match std::fs::set_permissions(path, Permissions::from_mode(0o700)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!("{} belongs to another user; who may read it is up to that one", path.display());
            Ok(())
        }
        outcome => outcome,
    }
}

/// Creates a folder and those above it that are missing, each of them usable before the next is made in it. Answers
/// which were missing, the uppermost first.
pub fn make_folders(folder: &Path) -> io::Result<Vec<&Path>> {
    let mut missing = vec![];
    let mut above = folder;
    while !above.is_dir() {
        missing.push(above);
        match above.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => above = parent,
            _ => break,
        }
    }
    missing.reverse();
    for folder in &missing {
        match DirBuilder::new().mode(0o700).create(folder) {
            // The umask may have taken rights away.
            Ok(()) => std::fs::set_permissions(folder, Permissions::from_mode(0o700))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(missing)
}

/// An empty file for the owner only, whatever the umask is.
pub fn create_private(path: &Path) -> io::Result<File> {
    let file = open_private(path, OpenOptions::new().truncate(true))?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Opens a file of ours, made if it is missing. One that is there without rights was left by a process that ended before
/// it could give them.
fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.create(true).write(true).mode(0o600);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|_| error)?;
            options.open(path)
        }
        opened => opened,
    }
}

/// Writes a file that is either complete and on disk or not there at all, for the
/// owner only.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = create_private(&part)?;
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
    fn a_folder_that_others_could_read_is_closed() {
        let temp = tempfile::tempdir().unwrap();
        let data = DataDir::lock(&temp.path().join("data")).unwrap();
        std::fs::create_dir(data.path().join("objects")).unwrap();
        std::fs::set_permissions(data.path().join("objects"), Permissions::from_mode(0o755)).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&data.folder("objects").unwrap()), 0o700);
        assert_eq!(mode(data.path()) & 0o066, 0);
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
