//! The S3 side of a device: HEAD, PUT, multipart PUT; each one attempt.

use std::path::Path;

use anyhow::Context;
use bytes::BytesMut;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{Attribute, Attributes, Error, GetOptions, ObjectStore, PutMultipartOptions, PutOptions, RetryConfig};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

const CHECKSUM_KEY: &str = "checksum-sha256";

#[derive(Debug, Clone)]
pub struct StoreConfig {
    pub endpoint: String,
    pub bucket: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: String,
    /// Larger files are sent in parts of this size.
    pub part_bytes: usize,
}

impl StoreConfig {
    pub const PART_BYTES: usize = 64 << 20;
}

/// Nowhere yet.
impl Default for StoreConfig {
    fn default() -> Self {
        let empty = String::new;
        Self { endpoint: empty(), bucket: empty(), region: empty(), access_key: empty(), secret_key: empty(), part_bytes: Self::PART_BYTES }
    }
}

pub(super) struct Store {
    s3: AmazonS3,
    part_bytes: usize,
}

#[derive(Debug)]
pub(super) enum StoreError {
    /// Refused for good: no access, no such bucket.
    Refused(String),
    Retryable(String),
}

/// What HEAD says of an object.
pub(super) enum Stored {
    Absent,
    /// The checksum in its metadata, if there is one.
    Present {
        checksum: Option<String>,
    },
    /// Refused or unreachable.
    Unknown,
}

impl Store {
    pub fn new(config: &StoreConfig) -> anyhow::Result<Self> {
        let s3 = AmazonS3Builder::new()
            .with_endpoint(&config.endpoint)
            .with_bucket_name(&config.bucket)
            .with_region(&config.region)
            .with_access_key_id(&config.access_key)
            .with_secret_access_key(&config.secret_key)
            .with_allow_http(true)
            // The device counts attempts itself.
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .build()
            .context("cannot set up the S3 client")?;
        Ok(Self { s3, part_bytes: config.part_bytes.max(1) })
    }

    pub async fn head(&self, key: &str) -> Stored {
        let options = GetOptions { head: true, ..GetOptions::default() };
        match self.s3.get_opts(&key.into(), options).await {
            Ok(object) => {
                let checksum = object.attributes.get(&Attribute::Metadata(CHECKSUM_KEY.into()));
                Stored::Present { checksum: checksum.map(|value| value.to_string()) }
            }
            Err(Error::NotFound { .. }) => Stored::Absent,
            Err(_) => Stored::Unknown,
        }
    }

    /// `damaged`: one bit is not what it was, under the checksum of the sound file.
    pub async fn put(
        &self,
        key: &str,
        path: &Path,
        content_type: &'static str,
        checksum: Option<&str>,
        damaged: bool,
    ) -> Result<(), StoreError> {
        let mut attributes = Attributes::from_iter([(Attribute::ContentType, content_type)]);
        if let Some(checksum) = checksum {
            attributes.insert(Attribute::Metadata(CHECKSUM_KEY.into()), checksum.to_owned().into());
        }
        let io = |error: std::io::Error| StoreError::Retryable(error.to_string());
        let mut file = File::open(path).await.map_err(io)?;
        let size = file.metadata().await.map_err(io)?.len();
        let key = key.into();
        let mut damaged = damaged;
        let mut on_its_way = |part: BytesMut| {
            let mut part = part;
            let middle = part.len() / 2;
            if let Some(byte) = part.get_mut(middle).filter(|_| std::mem::take(&mut damaged)) {
                *byte ^= 1;
            }
            part.freeze()
        };
        if size <= self.part_bytes as u64 {
            let body = on_its_way(read_part(&mut file, self.part_bytes).await.map_err(io)?);
            let options = PutOptions { attributes, ..PutOptions::default() };
            self.s3.put_opts(&key, body.into(), options).await?;
            return Ok(());
        }
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let mut upload = self.s3.put_multipart_opts(&key, options).await?;
        loop {
            let part = read_part(&mut file, self.part_bytes).await.map_err(io)?;
            if part.is_empty() {
                upload.complete().await?;
                return Ok(());
            }
            upload.put_part(on_its_way(part).into()).await?;
        }
    }
}

async fn read_part(file: &mut File, part_bytes: usize) -> std::io::Result<BytesMut> {
    let mut part = BytesMut::new();
    let mut rest = file.take(part_bytes as u64);
    while rest.read_buf(&mut part).await? > 0 {}
    Ok(part)
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let reason = error.to_string();
        match error {
            Error::NotFound { .. } | Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Self::Refused(reason),
            _ => Self::Retryable(reason),
        }
    }
}
