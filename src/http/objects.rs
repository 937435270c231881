//! What is asked of the object store.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

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

/// Objects of the factory's bucket, by key.
#[async_trait]
pub trait Objects: Send + Sync {
    async fn head(&self, key: &str) -> anyhow::Result<Option<ObjectFacts>>;
    /// Of the version with this entity tag, and of no other, where one is named.
    async fn read(&self, key: &str, range: Range<u64>, etag: Option<&str>) -> anyhow::Result<ObjectStream>;
    /// An address at the object store with which anybody can read the object for `lifetime`.
    async fn presign(&self, key: &str, lifetime: Duration) -> anyhow::Result<String>;
    /// Whether the store answers at all.
    async fn probe(&self) -> anyhow::Result<()>;
}
