//! One object, measured whole in the one pass in which it is hashed.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::blobs::{BlobError, Blobs, ObjectFacts, ObjectKey};
use crate::mcap::measure::{Limits, Look, Passed, look, measure_passing};
use crate::mcap::{RangedRead, ReadSummaryError};

/// One version of one object, read by ranges.
pub struct Objects<'a> {
    pub blobs: &'a Blobs,
    pub key: &'a ObjectKey,
    pub etag: &'a str,
}

impl RangedRead for Objects<'_> {
    type Error = BlobError;

    fn read(&self, range: Range<u64>) -> impl Future<Output = Result<Bytes, BlobError>> + Send {
        self.blobs.read_range(self.key, range, Some(self.etag))
    }
}

/// What both looks at an object found.
pub struct Read {
    pub look: Arc<Look>,
    pub passed: Passed,
}

/// Reads both ends, and then every byte once. Fails with [`BlobError::Changed`] where it was not one object all the while.
pub async fn measure_object(blobs: &Blobs, key: &ObjectKey, head: &ObjectFacts) -> Result<Read, BlobError> {
    let reader = Objects { blobs, key, etag: &head.etag };
    let seen = match look(&reader, head.size).await {
        Ok(seen) => Arc::new(seen),
        Err(ReadSummaryError::Read(error)) => return Err(error),
        // It has less bytes than it had.
        Err(ReadSummaryError::Unsound(_) | ReadSummaryError::ShortRead { .. }) => return Err(BlobError::Changed(key.clone())),
    };
    let mut passed = measure_passing(blobs.pieces(key, head), seen.clone(), Limits::beside_hashing()).await?;
    blobs.is_still(key, head).await?;
    if let Some(facts) = &mut passed.facts {
        facts.etag = Some(head.etag.clone());
    }
    Ok(Read { look: seen, passed })
}
