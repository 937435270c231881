//! A recording read from the cloud and written to the edge storage. It becomes an object there when its hash is that of the episode.
//!
//! What lies there already and is the recording is not read from the cloud once more: an earlier delivery wrote it, and did not come to its end.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio_util::io::StreamReader;

use super::super::cloud_sync::Clouds;
use crate::blobs::{BlobError, Blobs, ObjectKey, PutFacts};
use crate::cloud::PushResult;
use crate::cloud::content::content;
use crate::commands::copies::EdgeCopyWork;
use crate::domain::episode::{CopyFailure, CopyFault};
use crate::telemetry::chain;

/// Why the bytes that came are not written.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("{0}")]
    Cloud(String),
    #[error("what the cloud gave has the SHA-256 {found}, and the recording had {expected}")]
    Another { found: String, expected: String },
}

/// Why there is no entity tag.
pub enum NotRestored {
    Failed(CopyFailure),
    /// It was written, and the edge storage does not say what lies there now: it is looked at until it does.
    NotSeen(String),
}

impl From<CopyFailure> for NotRestored {
    fn from(failure: CopyFailure) -> Self {
        Self::Failed(failure)
    }
}

impl From<BlobError> for NotRestored {
    fn from(error: BlobError) -> Self {
        Self::NotSeen(format!("the edge storage does not say what was written: {}", chain(&error)))
    }
}

/// Answers the entity tag of what lies there.
pub async fn restore(blobs: &Blobs, clouds: &Clouds, key: &ObjectKey, work: &EdgeCopyWork) -> Result<String, NotRestored> {
    if let Some(etag) = already(blobs, key, work).await {
        blobs.make_durable(key).await?;
        return Ok(etag);
    }
    write(blobs, clouds, key, work).await?;
    blobs.make_durable(key).await?;
    let head = blobs.head(key).await?;
    if head.size != work.created.file_size_bytes {
        let text = format!("the recording had {} bytes, and the object has {}", work.created.file_size_bytes, head.size);
        return Err(CopyFailure::new(CopyFault::EdgeStorage, text).into());
    }
    Ok(head.etag)
}

/// The entity tag of what lies there, where that is the recording. What cannot be read is written anew.
async fn already(blobs: &Blobs, key: &ObjectKey, work: &EdgeCopyWork) -> Option<String> {
    let head = blobs.head(key).await.ok().filter(|head| head.size == work.created.file_size_bytes)?;
    let (mut pieces, mut hash) = (blobs.pieces(key, &head), Sha256::new());
    while let Some(piece) = pieces.next().await {
        // Some megabytes: a few milliseconds of the processor.
        hash.update(&piece.ok()?);
    }
    let is_it = hex::encode(hash.finalize()).eq_ignore_ascii_case(&work.created.checksum);
    (is_it && blobs.is_still(key, &head).await.is_ok()).then_some(head.etag)
}

async fn write(blobs: &Blobs, clouds: &Clouds, key: &ObjectKey, work: &EdgeCopyWork) -> Result<(), CopyFailure> {
    let giving = work.clouds.iter().filter(|(name, _)| name.gives_back()).find_map(|(name, pushed)| Some((clouds.get(name)?, pushed)));
    let Some((cloud, pushed)) = giving else {
        return Err(CopyFailure::new(CopyFault::CloudAway, "the settings name no cloud that has it and gives recordings back"));
    };
    let bytes = hashed(content(cloud.clone(), Arc::new(pushed.clone())), work.created.checksum.to_lowercase());
    let about = PutFacts {
        content_type: Some("application/octet-stream".to_owned()),
        metadata: vec![("checksum-sha256".to_owned(), work.created.checksum.to_lowercase())],
    };
    blobs.put_from(key, StreamReader::new(Box::pin(bytes)), &about).await.map_err(|error| failure_of(&error))?;
    Ok(())
}

/// These bytes; behind them an error where they are not those of this hash, so that what was written of them is given up.
fn hashed(bytes: impl Stream<Item = PushResult<Bytes>> + Send, expected: String) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let hash = Arc::new(std::sync::Mutex::new(Sha256::new()));
    let end = {
        let hash = hash.clone();
        stream::once(async move {
            let found = hex::encode(lock(&hash).clone().finalize());
            if found == expected { Ok(Bytes::new()) } else { Err(io::Error::other(Stopped::Another { found, expected })) }
        })
        // No more bytes, and no end of its own.
        .filter(|end| std::future::ready(end.is_err()))
    };
    bytes
        .map(move |piece| match piece {
            Ok(piece) => {
                lock(&hash).update(&piece);
                Ok(piece)
            }
            Err(error) => Err(io::Error::other(Stopped::Cloud(error.to_string()))),
        })
        .chain(end)
}

fn lock(hash: &std::sync::Mutex<Sha256>) -> std::sync::MutexGuard<'_, Sha256> {
    hash.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Of an upload that was given up: whose fault it was.
fn failure_of(error: &BlobError) -> CopyFailure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(now) = cause {
        let stopped = now.downcast_ref::<Stopped>();
        let stopped = stopped.or_else(|| now.downcast_ref::<io::Error>().and_then(|error| error.get_ref()?.downcast_ref::<Stopped>()));
        match stopped {
            Some(stopped @ Stopped::Cloud(_)) => return CopyFailure::new(CopyFault::CloudAway, stopped.to_string()),
            Some(stopped @ Stopped::Another { .. }) => return CopyFailure::new(CopyFault::Damaged, stopped.to_string()),
            None => cause = now.source(),
        }
    }
    CopyFailure::new(CopyFault::EdgeStorage, chain(error))
}
