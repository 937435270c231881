//! One frame of a recording: the image of a topic at a time, for a person who looks.

use tokio::sync::Semaphore;

use super::Runs;
use super::object::Objects;
use crate::blobs::{BlobError, ObjectKey};
use crate::mcap::ReadSummaryError;
pub use crate::mcap::measure::{ImageAt, NoImage};
use crate::mcap::measure::{find_image, look};

/// Each holds a chunk, packed and unpacked, of 64 MiB at most.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// The object that holds the recording, as it is now.
pub struct Recording<'a> {
    /// In the bucket.
    pub key: &'a str,
    pub size_bytes: u64,
    pub etag: &'a str,
}

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub enum NoFrame {
    #[error(transparent)]
    NoImage(#[from] NoImage),
    #[error("the recording cannot be read")]
    Storage(#[source] BlobError),
}

impl Runs {
    /// The last image of a topic until a time, or the first one behind it: reads what the ends of the recording, some of its message
    /// indexes and one chunk take.
    pub async fn frame(&self, recording: Recording<'_>, topic: &str, at_ns: u64) -> Result<ImageAt, NoFrame> {
        // Never closed.
        let _turn = AT_ONCE.acquire().await;
        let Recording { key, size_bytes, etag } = recording;
        let key = ObjectKey::new(key).map_err(|error| NoFrame::Storage(BlobError::Invalid(error.into())))?;
        let changed = |error| match error {
            ReadSummaryError::Read(error) => NoFrame::Storage(error),
            // It has less bytes than it had.
            ReadSummaryError::Unsound(_) | ReadSummaryError::ShortRead { .. } => NoFrame::Storage(BlobError::Changed(key.clone())),
        };
        let reader = Objects { blobs: &self.blobs, key: &key, etag };
        let look = look(&reader, size_bytes).await.map_err(changed)?;
        let found = find_image(&reader, &look, topic, at_ns).await.map_err(changed)??;
        match tokio::task::spawn_blocking(move || found.image()).await {
            Ok(image) => Ok(image?),
            Err(failed) => Err(NoImage::NotShown(format!("reading it failed ({failed})")).into()),
        }
    }
}
