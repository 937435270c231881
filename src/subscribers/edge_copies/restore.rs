//! A recording read from the cloud and written to the edge storage. It becomes an object there when its hash is that of the episode.

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

/// Answers the entity tag of what was written.
pub async fn restore(blobs: &Blobs, clouds: &Clouds, key: &ObjectKey, work: &EdgeCopyWork) -> Result<String, CopyFailure> {
    let giving = work.clouds.iter().filter(|(name, _)| name.gives_back()).find_map(|(name, pushed)| Some((clouds.get(name)?, pushed)));
    let Some((cloud, pushed)) = giving else {
        return Err(CopyFailure::new(CopyFault::CloudAway, "the settings name no cloud that has it and gives recordings back"));
    };
    let bytes = hashed(content(cloud.clone(), Arc::new(pushed.clone())), work.created.checksum.to_lowercase());
    let about = PutFacts {
        content_type: Some("application/octet-stream".to_owned()),
        metadata: vec![("checksum-sha256".to_owned(), work.created.checksum.to_lowercase())],
    };
    let written = blobs.put_from(key, StreamReader::new(Box::pin(bytes)), &about).await.map_err(|error| failure_of(&error))?;
    let in_edge = |error: BlobError| CopyFailure::new(CopyFault::EdgeStorage, chain(&error));
    blobs.make_durable(key).await.map_err(in_edge)?;
    let head = blobs.head(key).await.map_err(in_edge)?;
    if head.size != written || head.size != work.created.file_size_bytes {
        let text =
            format!("{written} bytes were written, the recording had {}, and the object has {}", work.created.file_size_bytes, head.size);
        return Err(CopyFailure::new(CopyFault::EdgeStorage, text));
    }
    Ok(head.etag)
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
