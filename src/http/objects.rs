//! What is asked of the object store.

use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};

use super::disk::can_be_written;
use crate::blobs::{BlobError, Blobs, ObjectKey};
use crate::domain::Timestamp;

/// What is known of an object without reading it.
#[derive(Clone, Debug)]
pub struct ObjectFacts {
    pub size_bytes: u64,
    /// With or without quotes.
    pub etag: Option<String>,
    pub content_type: Option<String>,
    /// What the uploader claims of it, in lower-case hex.
    pub claimed_sha256: Option<String>,
    pub last_modified: Option<Timestamp>,
}

pub type ObjectStream = BoxStream<'static, std::io::Result<Bytes>>;

/// Bytes asked for at once while an object is streamed to a client.
const STREAM_PIECE: u64 = 4 << 20;

/// Objects of the factory's bucket, by key.
#[derive(Clone)]
pub struct Objects(Blobs);

impl Objects {
    pub fn new(blobs: Blobs) -> Self {
        Self(blobs)
    }

    pub async fn head(&self, key: &str) -> anyhow::Result<Option<ObjectFacts>> {
        match self.0.head(&ObjectKey::new(key)?).await {
            Ok(facts) => Ok(Some(ObjectFacts {
                size_bytes: facts.size,
                etag: Some(facts.etag.trim_matches('"').to_owned()),
                content_type: facts.content_type,
                claimed_sha256: facts.claimed_sha256,
                last_modified: Some(facts.last_modified),
            })),
            Err(BlobError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// An address at the object store with which anybody can read the object for `lifetime`.
    pub async fn presign(&self, key: &str, lifetime: Duration) -> anyhow::Result<String> {
        Ok(self.0.presign_get(&ObjectKey::new(key)?, lifetime).await?)
    }

    /// Of the version with this entity tag, and of no other, where one is named.
    pub async fn read(&self, key: &str, range: Range<u64>, etag: Option<&str>) -> anyhow::Result<ObjectStream> {
        let key = ObjectKey::new(key)?;
        // One version from the first byte to the last, even where the object is replaced meanwhile.
        let etag = match etag {
            Some(etag) => etag.to_owned(),
            None => self.0.head(&key).await?.etag,
        };
        let pieces: Vec<Range<u64>> =
            (range.start..range.end).step_by(STREAM_PIECE as usize).map(|start| start..(start + STREAM_PIECE).min(range.end)).collect();
        let blobs = self.0.clone();
        let read = move |piece: Range<u64>| {
            let (blobs, key, etag) = (blobs.clone(), key.clone(), etag.clone());
            async move { blobs.read_range(&key, piece, Some(&etag)).await.map_err(std::io::Error::other) }
        };
        Ok(futures_util::stream::iter(pieces).then(read).into_stream().boxed())
    }

    /// Whether the store answers at all.
    pub async fn probe(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        // Uploads to the endpoint inside this process are writes to its folder. To another server they are the
        // robots', with keys of their own; all we need of it is that we can read.
        if let Some(folder) = self.0.folder() {
            let folder = folder.to_path_buf();
            tokio::task::spawn_blocking(move || can_be_written(&folder)).await??;
        }
        match self.0.head(&ObjectKey::new("keystone-probe")?).await {
            Ok(_) | Err(BlobError::NotFound(_)) => {
                metrics::histogram!(crate::telemetry::STORE_PROBE_SECONDS).record(started.elapsed().as_secs_f64());
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}
