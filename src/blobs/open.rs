//! One version of an object, read part by part.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;

use super::error::BlobError;
use super::facts::ObjectFacts;
use super::key::ObjectKey;
use super::local::{LocalObject, in_files};
use super::Blobs;

/// Any part of it may be read, by several at the same time. A file stays what it is, also where the object is replaced meanwhile; elsewhere that is
/// noticed.
#[derive(Clone)]
pub struct OpenObject {
    key: ObjectKey,
    from: From,
}

#[derive(Clone)]
enum From {
    File(Arc<File>),
    Store { blobs: Blobs, etag: String },
}

impl OpenObject {
    pub(super) fn here(key: ObjectKey, found: LocalObject) -> Self {
        Self { key, from: From::File(Arc::new(found.file)) }
    }

    pub(super) fn there(blobs: Blobs, key: ObjectKey, facts: &ObjectFacts) -> Self {
        Self { key, from: From::Store { blobs, etag: facts.etag.clone() } }
    }

    /// All bytes of the range, which lies within the object.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, BlobError> {
        let wanted = range.end - range.start;
        match &self.from {
            From::File(file) => {
                let file = file.clone();
                in_files(&self.key, move || {
                    let mut bytes = vec![0; usize::try_from(wanted).map_err(std::io::Error::other)?];
                    file.read_exact_at(&mut bytes, range.start)?;
                    Ok(Bytes::from(bytes))
                })
                .await
            }
            From::Store { blobs, etag } => {
                let bytes = blobs.read_range(&self.key, range, Some(etag)).await?;
                if bytes.len() as u64 == wanted { Ok(bytes) } else { Err(BlobError::Changed(self.key.clone())) }
            }
        }
    }
}
