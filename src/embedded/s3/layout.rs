//! Which file holds what, below one folder.
//!
//! ```text
//!  <bucket>/<key>                                an object, as a plain file under its key
//!  .keystone/keys/<bucket>/<hh>/<hash of key>    an object whose key no file can have (see [`Name::plain`])
//!  .keystone/records/<bucket>/<hh>/<hash>.json   what is known of an object beside its bytes
//!  .keystone/uploads/<id>/                       an upload in parts that is under way
//!  .keystone/incoming/                           what is being written; emptied at every start
//! ```
//!
//! Names of buckets do not start with a dot, so nothing of ours can meet a bucket. Files and folders are for their
//! owner only, whatever the umask says.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use s3s::path::check_bucket_name;
use s3s::{S3Result, s3_error};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::blobs::ObjectKey;
use crate::embedded;

const RESERVED: &str = ".keystone";

/// What file systems allow for one name in a folder.
const SEGMENT_BYTES_MAX: usize = 255;

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// An object's bucket and key, either of which cannot lead anywhere else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    bucket: String,
    key: String,
}

impl Name {
    pub fn new(bucket: &str, key: &str) -> S3Result<Self> {
        allow_bucket(bucket)?;
        allow_key(key)?;
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }

    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    /// The key as a path, where a file can have it. A long segment and a folder marker (`a/`) cannot; nor can a key
    /// below another object (`a` and `a/b`), which only a look at the folder tells.
    pub fn plain(&self) -> Option<&Path> {
        let fits = self.key.split('/').all(|segment| (1..=SEGMENT_BYTES_MAX).contains(&segment.len()));
        fits.then(|| Path::new(&self.key))
    }

    fn hash(&self) -> String {
        hex::encode(Sha256::digest(&self.key))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket, self.key)
    }
}

pub fn allow_bucket(bucket: &str) -> S3Result<()> {
    if check_bucket_name(bucket) { Ok(()) } else { Err(s3_error!(InvalidBucketName, "The bucket name is not valid")) }
}

/// S3 allows keys that end in a slash, which `blobs` has no use for; otherwise both allow the same.
pub fn allow_key(key: &str) -> S3Result<()> {
    match ObjectKey::new(key.strip_suffix('/').unwrap_or(key)) {
        Ok(_) => Ok(()),
        Err(error) => Err(s3_error!(InvalidArgument, "{error}")),
    }
}

#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Makes the folder ours. What an earlier run was writing is gone with it.
    pub fn open(root: &Path) -> io::Result<Self> {
        make_folders(root)?;
        let root = root.canonicalize()?;
        fs::set_permissions(&root, Permissions::from_mode(FOLDER_MODE))?;
        let layout = Self { root };
        match fs::remove_dir_all(layout.incoming()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        make_folders(&layout.incoming())?;
        make_folders(&layout.uploads())?;
        Ok(layout)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn bucket(&self, bucket: &str) -> PathBuf {
        self.root.join(bucket)
    }

    pub fn has_bucket(&self, bucket: &str) -> bool {
        self.bucket(bucket).is_dir()
    }

    pub fn plain(&self, name: &Name) -> Option<PathBuf> {
        name.plain().map(|path| self.bucket(&name.bucket).join(path))
    }

    pub fn hashed(&self, name: &Name) -> PathBuf {
        let hash = name.hash();
        self.all_hashed(&name.bucket).join(&hash[..2]).join(hash)
    }

    /// The folder of all objects of a bucket that lie under the hash of their key.
    pub fn all_hashed(&self, bucket: &str) -> PathBuf {
        self.root.join(RESERVED).join("keys").join(bucket)
    }

    pub fn record(&self, name: &Name) -> PathBuf {
        self.record_of_hash(&name.bucket, &name.hash())
    }

    /// Of an object that [`Layout::all_hashed`] showed.
    pub fn record_of_hash(&self, bucket: &str, hash: &str) -> PathBuf {
        let shard = hash.get(..2).unwrap_or(hash);
        self.all_records(bucket).join(shard).join(format!("{hash}.json"))
    }

    pub fn all_records(&self, bucket: &str) -> PathBuf {
        self.root.join(RESERVED).join("records").join(bucket)
    }

    pub fn uploads(&self) -> PathBuf {
        self.root.join(RESERVED).join("uploads")
    }

    pub fn upload(&self, id: Uuid) -> PathBuf {
        self.uploads().join(id.to_string())
    }

    pub fn incoming(&self) -> PathBuf {
        self.root.join(RESERVED).join("incoming")
    }
}

/// A file that is removed again unless it is given its place.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    placed: bool,
}

impl NewFile {
    pub fn create(folder: &Path) -> io::Result<(Self, File)> {
        let path = folder.join(format!("new-{}", Uuid::new_v4().simple()));
        let file = OpenOptions::new().create_new(true).read(true).write(true).mode(FILE_MODE).open(&path)?;
        let new = Self { path, placed: false };
        // The umask may have taken rights away.
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        Ok((new, file))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces what is at `place`.
    pub fn place(&mut self, place: &Path) -> io::Result<()> {
        fs::rename(&self.path, place)?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.placed {
            // What stays is removed at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Creates a folder and those above it that are missing. The uppermost folder that was there already is synced, too,
/// so that none of them is lost with the power.
pub fn make_folders(folder: &Path) -> io::Result<()> {
    for made in embedded::make_folders(folder)? {
        if let Some(parent) = made.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent)?;
        }
    }
    Ok(())
}

pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Writes a small file that is whole and on disk, or not there at all.
pub fn write_small(incoming: &Path, place: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let (mut new, mut file) = NewFile::create(incoming)?;
    file.write_all(content)?;
    file.sync_all()?;
    if let Some(folder) = place.parent() {
        make_folders(folder)?;
        new.place(place)?;
        sync_folder(folder)?;
    }
    Ok(())
}

/// Nothing is there, or nothing can be there under such a name.
pub fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename)
}

pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if !is_absent(&error) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_path_where_a_file_can_have_it() {
        let plain = |key: &str| Name::new("edge-f", key).unwrap().plain().is_some();
        for key in ["a", "a/b.mcap", "工厂 Shanghai/x%41?#+.mcap", &"x".repeat(255), &["y".repeat(200), "z".repeat(200)].join("/")] {
            assert!(plain(key), "{key}");
        }
        for key in ["a/", "a/b/", &"x".repeat(256), &"工".repeat(86)] {
            assert!(!plain(key), "{key}");
        }
    }

    #[test]
    fn no_name_leads_out_of_its_bucket() {
        for (bucket, key) in [
            ("edge-f", ""),
            ("edge-f", "/"),
            ("edge-f", "../x"),
            ("edge-f", "a/../b"),
            ("edge-f", "a//"),
            ("edge-f", "a\\b"),
            ("edge-f", "a\nb"),
            (".keystone", "a"),
            ("..", "a"),
            ("a/b", "a"),
        ] {
            assert!(Name::new(bucket, key).is_err(), "{bucket:?} {key:?}");
        }
    }
}
