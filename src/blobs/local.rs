//! Objects that are files of this machine.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};

use super::error::BlobError;
use super::facts::{ObjectFacts, same_etag};
use super::key::ObjectKey;

/// What is handed on at once, and how many of these are read before they are wanted.
const PIECE_BYTES: u64 = 4 * 1024 * 1024;
const PIECES_AHEAD: usize = 1;

/// An object as a file. It stays what it is, also where the object is replaced or deleted meanwhile.
#[derive(Debug)]
pub struct LocalObject {
    pub file: File,
    pub bytes: u64,
    pub etag: String,
}

/// Objects of one bucket that are files of this machine. Its methods block. A trait, because `embedded`, whose files they are,
/// is built on this module.
pub trait LocalObjects: fmt::Debug + Send + Sync {
    /// Below which all of them lie.
    fn folder(&self) -> &Path;
    /// What is there now, if anything.
    fn open(&self, key: &ObjectKey) -> io::Result<Option<LocalObject>>;
    /// Returns once the object and what belongs to it are on disk.
    fn sync(&self, key: &ObjectKey) -> io::Result<()>;
}

pub(super) async fn in_files<T: Send + 'static>(
    key: &ObjectKey,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, BlobError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| BlobError::Unavailable(error.into()))?;
    done.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => BlobError::NotFound(key.clone()),
        _ => BlobError::Unavailable(error.into()),
    })
}

/// Content of the file that was opened first, piece by piece.
pub(super) fn pieces_of_file(
    local: Arc<dyn LocalObjects>,
    key: ObjectKey,
    facts: ObjectFacts,
) -> impl Stream<Item = Result<Bytes, BlobError>> + Send {
    let open = {
        let (local, opened) = (local, key.clone());
        async move { in_files(&opened.clone(), move || local.open(&opened)).await }
    };
    stream::once(open).flat_map(move |found| {
        let key = key.clone();
        let opened = match found {
            Ok(Some(found)) if same_etag(&found.etag, &facts.etag) && found.bytes == facts.size => Ok(Arc::new(found.file)),
            Ok(Some(_)) => Err(BlobError::Changed(key.clone())),
            Ok(None) => Err(BlobError::NotFound(key.clone())),
            Err(error) => Err(error),
        };
        match opened {
            Err(error) => stream::once(async { Err(error) }).boxed(),
            Ok(file) => {
                let spare = Spare::default();
                stream::iter((0..facts.size).step_by(PIECE_BYTES as usize))
                    .map(move |start| read_piece(file.clone(), key.clone(), spare.clone(), start, facts.size.min(start + PIECE_BYTES)))
                    .buffered(1 + PIECES_AHEAD)
                    .boxed()
            }
        }
    })
}

/// Pieces that nobody holds any more, for the next ones: the kernel clears each page of a new one, which costs a tenth of what hashing does.
type Spare = Arc<Mutex<Vec<Vec<u8>>>>;

/// So many are held where each is read, hashed and measured once.
const SPARE_MAX: usize = 4;

struct Lent {
    bytes: Vec<u8>,
    spare: Spare,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_MAX {
            spare.push(std::mem::take(&mut self.bytes));
        }
    }
}

async fn read_piece(file: Arc<File>, key: ObjectKey, spare: Spare, start: u64, end: u64) -> Result<Bytes, BlobError> {
    in_files(&key, move || {
        let mut bytes = spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        bytes.resize(usize::try_from(end - start).map_err(io::Error::other)?, 0);
        file.read_exact_at(&mut bytes, start)?;
        Ok(Bytes::from_owner(Lent { bytes, spare }))
    })
    .await
}
