//! Object storage: facts about an object, ranged reads, the whole content piece by piece, signed links.
//!
//! Every read after the first names the entity tag it expects, so that an object that
//! is replaced while we read it is noticed ([`BlobError::Changed`]) and never mixed.
//! Retries here are short and only bridge a dropped connection; a subscriber is
//! retried by the outbox.
//!
//! Where the store is a folder of this machine, whole objects are read where they lie ([`LocalObjects`]).
//!
//! What lies there is not necessarily on disk: an operator may have copied it, or an earlier version written it.
//! [`Blobs::make_durable`] has to have returned before anything that a robot takes as permission to delete its copy.

mod access;
mod bucket;
mod error;
mod facts;
mod key;
mod local;
pub mod signature;

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, Stream};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::signer::Signer;
use object_store::{
    Attribute, ClientOptions, GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, RetryConfig, UpdateVersion, WriteMultipart,
};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::task::AbortOnDropHandle;

pub use access::Access;
pub use bucket::BucketAnswer;
pub use error::BlobError;
pub use facts::{IfMatch, ObjectFacts, PutFacts, same_etag};
pub use key::{InvalidKey, ObjectKey, is_of_log, is_salvaged};
pub use local::{LocalObject, LocalObjects};

use self::bucket::BucketAdmin;
use self::error::no_etag;
use self::facts::quoted;
use self::local::{in_files, pieces_of_file};
use crate::config::S3;

/// One ranged read of a whole object. Large enough that the round trip does
/// not count, small enough that a few at a time are nothing.
const RANGE_BYTES: u64 = 4 * 1024 * 1024;

/// Ranges that are under way or waiting while the caller works on one.
const RANGES_AHEAD: usize = 2;

/// One part of a multipart upload; S3 allows ten thousand of at least 5 MiB.
const PART_BYTES: usize = 16 * 1024 * 1024;

/// Parts under way at the same time.
const PARTS_IN_FLIGHT: usize = 3;

/// Repeats of one request, and the time within which they start.
const RETRIES: usize = 2;
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// User metadata in which uploaders may name the hash of what they sent: Axon's, and others'.
const SHA256_METADATA: [&str; 2] = ["checksum-sha256", "sha256"];

/// Our bucket.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<AmazonS3>,
    /// Signs links with the address under which others reach the store.
    public: Arc<AmazonS3>,
    admin: Arc<BucketAdmin>,
    /// Our bucket, where its objects are files of this machine.
    local: Option<Arc<dyn LocalObjects>>,
    bucket: Arc<str>,
}

impl Blobs {
    pub fn new(access: Access, settings: &S3) -> Result<Self, BlobError> {
        let build = |endpoint: &str| {
            AmazonS3Builder::new()
                .with_endpoint(endpoint)
                .with_region(&settings.region)
                .with_bucket_name(&settings.bucket)
                .with_access_key_id(&access.access_key)
                .with_secret_access_key(access.secret_key.expose())
                .with_virtual_hosted_style_request(false)
                .with_client_options(
                    ClientOptions::new().with_allow_http(true).with_connect_timeout(CONNECT_TIMEOUT).with_timeout(settings.request_timeout),
                )
                .with_retry(RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() })
                .build()
                .map(Arc::new)
                .map_err(|error| BlobError::Invalid(error.into()))
        };
        let store = build(&access.endpoint)?;
        let Access { access_key, secret_key, .. } = access.clone();
        let signer = signature::Signer { access_key, secret_key, region: settings.region.clone() };
        let public = match &access.public_endpoint {
            Some(endpoint) => build(endpoint)?,
            None => store.clone(),
        };
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(settings.request_timeout)
            .build()
            .map_err(|error| BlobError::Invalid(error.into()))?;
        Ok(Self {
            store,
            public,
            local: access.local,
            admin: Arc::new(BucketAdmin { client, endpoint: access.endpoint, signer }),
            bucket: settings.bucket.as_str().into(),
        })
    }

    /// Of the endpoint inside this process: where its buckets lie.
    pub fn folder(&self) -> Option<&Path> {
        self.local.as_deref().map(LocalObjects::folder)
    }

    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    pub async fn head(&self, key: &ObjectKey) -> Result<ObjectFacts, BlobError> {
        let options = GetOptions::new().with_head(true);
        let found = match self.store.get_opts(&key.location()?, options).await.map_err(|error| BlobError::from_store(key, error)) {
            // A store that lacks the bucket lacks every object, and says so in the same way.
            Err(BlobError::NotFound(missing)) => {
                self.bucket_is_there().await?;
                return Err(BlobError::NotFound(missing));
            }
            found => found?,
        };
        let attribute = |name: Attribute| found.attributes.get(&name).map(|value| value.as_ref().to_owned());
        Ok(ObjectFacts {
            size: found.meta.size,
            etag: found.meta.e_tag.clone().ok_or_else(no_etag)?,
            last_modified: found.meta.last_modified,
            content_type: attribute(Attribute::ContentType),
            claimed_sha256: SHA256_METADATA
                .into_iter()
                .find_map(|name| attribute(Attribute::Metadata(name.into())))
                .map(|claimed| claimed.to_ascii_lowercase()),
        })
    }

    /// The bytes of `range`; less where the object ends before it.
    pub async fn read_range(&self, key: &ObjectKey, range: Range<u64>, if_match: IfMatch<'_>) -> Result<Bytes, BlobError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        self.get(key, GetRange::Bounded(range), if_match).await?.bytes().await.map_err(|error| BlobError::from_store(key, error))
    }

    /// The last `bytes` of the object that `facts` are about, or all of a shorter one.
    /// Counted from its known size: servers differ over a suffix longer than the object.
    pub async fn tail(&self, key: &ObjectKey, bytes: u64, facts: &ObjectFacts) -> Result<Bytes, BlobError> {
        let range = facts.size.saturating_sub(bytes)..facts.size;
        self.read_range(key, range, Some(&facts.etag)).await
    }

    /// The whole content, range by range, so that neither memory nor one request's
    /// timeout depends on the size. Ranges are read ahead by tasks of their own: the
    /// network works on the next ones while the caller works on one. They end with the stream.
    pub fn stream(&self, key: &ObjectKey, facts: &ObjectFacts) -> impl Stream<Item = Result<Bytes, BlobError>> + Send + use<> {
        let this = self.clone();
        let key = key.clone();
        let etag = facts.etag.clone();
        let size = facts.size;
        let starts = (0..size).step_by(RANGE_BYTES as usize);
        stream::iter(starts)
            .map(move |start| {
                let (this, key, etag) = (this.clone(), key.clone(), etag.clone());
                let read = async move {
                    let range = start..size.min(start + RANGE_BYTES);
                    let expected = range.end - range.start;
                    let bytes = this.read_range(&key, range, Some(&etag)).await?;
                    if bytes.len() as u64 != expected {
                        return Err(BlobError::Changed(key));
                    }
                    Ok(bytes)
                };
                let read = AbortOnDropHandle::new(tokio::spawn(read));
                async move { read.await.map_err(|error| BlobError::Unavailable(error.into()))? }
            })
            .buffered(1 + RANGES_AHEAD)
            .boxed()
    }

    /// The whole content, from where it is read fastest: the file, where the store is a folder of this machine. Afterwards
    /// [`Blobs::is_still`] says whether it was one object all the while.
    pub fn pieces(&self, key: &ObjectKey, facts: &ObjectFacts) -> BoxStream<'static, Result<Bytes, BlobError>> {
        match &self.local {
            Some(local) => pieces_of_file(local.clone(), key.clone(), facts.clone()).boxed(),
            None => self.stream(key, facts).boxed(),
        }
    }

    /// The object of these facts, to read any part of it in any order.
    pub async fn open(&self, key: &ObjectKey, facts: &ObjectFacts) -> Result<OpenObject, BlobError> {
        let Some(local) = self.local.clone() else {
            let source = Source::Store { blobs: self.clone(), etag: facts.etag.clone() };
            return Ok(OpenObject { key: key.clone(), source });
        };
        let named = key.clone();
        match in_files(key, move || local.open(&named)).await? {
            Some(found) if same_etag(&found.etag, &facts.etag) && found.bytes == facts.size => {
                Ok(OpenObject { key: key.clone(), source: Source::File(Arc::new(found.file)) })
            }
            Some(_) => Err(BlobError::Changed(key.clone())),
            None => Err(BlobError::NotFound(key.clone())),
        }
    }

    /// Fails where the object is not the one any more that these facts are about.
    pub async fn is_still(&self, key: &ObjectKey, facts: &ObjectFacts) -> Result<(), BlobError> {
        let now = self.head(key).await?;
        match same_etag(&now.etag, &facts.etag) && now.size == facts.size {
            true => Ok(()),
            false => Err(BlobError::Changed(key.clone())),
        }
    }

    /// Writes a small object in one request. A repeat with the same content is the
    /// same object.
    pub async fn put(&self, key: &ObjectKey, content: Bytes, about: &PutFacts) -> Result<String, BlobError> {
        let options = PutOptions { attributes: about.attributes(), ..PutOptions::default() };
        let put = self
            .store
            .put_opts(&key.location()?, PutPayload::from_bytes(content), options)
            .await
            .map_err(|error| BlobError::from_store(key, error))?;
        put.e_tag.ok_or_else(no_etag)
    }

    /// Writes a small object that is never written again: where one lies there already, it has to be the same.
    pub async fn put_once(&self, key: &ObjectKey, content: Bytes, about: &PutFacts) -> Result<(), BlobError> {
        match self.put_if(key, content.clone(), about, PutMode::Create).await {
            Err(BlobError::Changed(_)) => {}
            written => return written,
        }
        let facts = self.head(key).await?;
        let there = self.read_range(key, 0..facts.size, Some(&facts.etag)).await?;
        if there == content { Ok(()) } else { Err(BlobError::Changed(key.clone())) }
    }

    /// Writes a small object in place of the one of this entity tag, or where there is none. Another one in its place is [`BlobError::Changed`].
    pub async fn put_in_place(&self, key: &ObjectKey, content: Bytes, about: &PutFacts, of: IfMatch<'_>) -> Result<(), BlobError> {
        let mode = match of {
            Some(etag) => PutMode::Update(UpdateVersion { e_tag: Some(quoted(etag)), version: None }),
            None => PutMode::Create,
        };
        self.put_if(key, content, about, mode).await
    }

    async fn put_if(&self, key: &ObjectKey, content: Bytes, about: &PutFacts, mode: PutMode) -> Result<(), BlobError> {
        let options = PutOptions { attributes: about.attributes(), mode, ..PutOptions::default() };
        match self.store.put_opts(&key.location()?, PutPayload::from_bytes(content), options).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => Err(BlobError::Changed(key.clone())),
            Err(error) => Err(BlobError::from_store(key, error)),
        }
    }

    /// Writes everything that `reader` gives, in parts, and returns how many bytes that
    /// were. On a failure the parts are given up.
    pub async fn put_from(&self, key: &ObjectKey, mut reader: impl AsyncRead + Unpin + Send, about: &PutFacts) -> Result<u64, BlobError> {
        let options = PutMultipartOptions { attributes: about.attributes(), ..PutMultipartOptions::default() };
        let failed = |error| BlobError::from_store(key, error);
        let upload = self.store.put_multipart_opts(&key.location()?, options).await.map_err(failed)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut bytes = 0;
        let copied = async {
            loop {
                let mut buffer = BytesMut::with_capacity(64 * 1024);
                let read = reader.read_buf(&mut buffer).await.map_err(|error| BlobError::Unavailable(error.into()))?;
                if read == 0 {
                    return Ok(());
                }
                bytes += read as u64;
                upload.wait_for_capacity(PARTS_IN_FLIGHT).await.map_err(failed)?;
                upload.put(buffer.freeze());
            }
        }
        .await;
        match copied {
            Ok(()) => {
                upload.finish().await.map_err(failed)?;
                Ok(bytes)
            }
            Err(error) => {
                // The first failure is the one worth telling.
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }

    /// A link with which anybody can read the object for `ttl`.
    pub async fn presign_get(&self, key: &ObjectKey, ttl: Duration) -> Result<String, BlobError> {
        let url =
            self.public.signed_url(http::Method::GET, &key.location()?, ttl).await.map_err(|error| BlobError::from_store(key, error))?;
        Ok(url.to_string())
    }

    /// Deletes; an object that is not there is deleted already.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), BlobError> {
        match self.store.delete(&key.location()?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(BlobError::from_store(key, error)),
        }
    }

    async fn bucket_is_there(&self) -> Result<(), BlobError> {
        match self.ask_bucket("").await?.status {
            404 => Err(BlobError::Unavailable(format!("the bucket `{}` is not there", self.bucket).into())),
            _ => Ok(()),
        }
    }

    /// Creates the bucket if it is missing.
    pub async fn ensure_bucket(&self) -> Result<(), BlobError> {
        self.admin.ensure_bucket(&self.bucket).await
    }

    /// Asks about the bucket itself: `versioning=`, `lifecycle=`, or nothing for whether it is there. Changes nothing.
    /// `query` is sorted and percent-encoded, as the signature wants it.
    pub async fn ask_bucket(&self, query: &str) -> Result<BucketAnswer, BlobError> {
        self.admin.ask(&self.bucket, query).await
    }

    /// Returns once the object is on disk. Any other S3 server has done that before it
    /// answered the upload.
    pub async fn make_durable(&self, key: &ObjectKey) -> Result<(), BlobError> {
        let Some(local) = self.local.clone() else {
            return Ok(());
        };
        let synced = key.clone();
        in_files(key, move || local.sync(&synced)).await
    }

    async fn get(&self, key: &ObjectKey, range: GetRange, if_match: IfMatch<'_>) -> Result<GetResult, BlobError> {
        let options = GetOptions::new().with_range(Some(range)).with_if_match(if_match.map(quoted));
        let found = self.store.get_opts(&key.location()?, options).await.map_err(|error| BlobError::from_store(key, error))?;
        // Not every server heeds the condition on a read.
        match (if_match, &found.meta.e_tag) {
            (Some(expected), Some(found)) if !same_etag(expected, found) => Err(BlobError::Changed(key.clone())),
            (Some(_), None) => Err(no_etag()),
            _ => Ok(found),
        }
    }
}

/// One version of an object. Any part of it may be read, by several at the same time. A file stays what it is, also where the object is replaced meanwhile; elsewhere that is
/// noticed.
#[derive(Clone)]
pub struct OpenObject {
    key: ObjectKey,
    source: Source,
}

#[derive(Clone)]
enum Source {
    File(Arc<File>),
    Store { blobs: Blobs, etag: String },
}

impl OpenObject {
    /// All bytes of the range, which lies within the object. A file is read into `buffer`, whatever is in it.
    pub async fn read(&self, range: Range<u64>, mut buffer: Vec<u8>) -> Result<Vec<u8>, BlobError> {
        let wanted = range.end - range.start;
        match &self.source {
            Source::File(file) => {
                let file = file.clone();
                in_files(&self.key, move || {
                    let wanted = usize::try_from(wanted).map_err(std::io::Error::other)?;
                    buffer.truncate(wanted);
                    buffer.reserve_exact(wanted - buffer.len());
                    buffer.resize(wanted, 0);
                    file.read_exact_at(&mut buffer, range.start)?;
                    Ok(buffer)
                })
                .await
            }
            Source::Store { blobs, etag } => {
                let bytes = blobs.read_range(&self.key, range, Some(etag)).await?;
                if bytes.len() as u64 == wanted { Ok(bytes.into()) } else { Err(BlobError::Changed(self.key.clone())) }
            }
        }
    }
}
