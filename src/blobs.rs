//! Object storage: facts about an object, ranged reads, checksums, signed links.
//!
//! Every read after the first names the entity tag it expects, so that an object that
//! is replaced while we read it is noticed ([`BlobError::Changed`]) and never mixed.
//! Retries here are short and only bridge a dropped connection; whoever works from
//! the outbox is retried by it.
//!
//! Where the store is a folder of this machine, objects are hashed where they lie ([`LocalObjects`]).
//!
//! What lies there is not necessarily on disk: an operator may have copied it, or an earlier version written it.
//! [`Blobs::make_durable`] has to have returned before anything that a robot takes as permission to delete its copy.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures_util::stream::{self, Stream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::signer::Signer;
use object_store::{
    Attribute, AttributeValue, Attributes, ClientOptions, GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, RetryConfig, WriteMultipart,
};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::task::AbortOnDropHandle;

use crate::config::S3;

/// One ranged read while hashing or streaming. Large enough that the round trip does
/// not count, small enough that a few at a time are nothing.
const RANGE_BYTES: u64 = 4 * 1024 * 1024;

/// Ranges that are under way or waiting while the caller works on one.
const RANGES_AHEAD: usize = 2;

/// Hashed where it lies: so much between two moments at which a verification can be given up, and so much read at
/// once.
const LOCAL_STRETCH_BYTES: u64 = 64 * 1024 * 1024;
const LOCAL_BLOCK_BYTES: usize = 1024 * 1024;

/// One part of a multipart upload; S3 allows ten thousand of at least 5 MiB.
const PART_BYTES: usize = 16 * 1024 * 1024;

/// Parts under way at the same time.
const PARTS_IN_FLIGHT: usize = 3;

/// Repeats of one request, and the time within which they start.
const RETRIES: usize = 2;
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// S3's own limit.
const KEY_BYTES_MAX: usize = 1024;

/// Of an answer about a bucket; a bucket policy has 20 KB at most.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// User metadata in which uploaders may name the hash of what they sent: Axon's, and others'.
const SHA256_METADATA: [&str; 2] = ["checksum-sha256", "sha256"];

/// The name of an object inside our bucket, safe to use as a path below its folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    #[error("an object key must not be empty")]
    Empty,
    #[error("an object key has at most {KEY_BYTES_MAX} bytes")]
    TooLong,
    #[error("an object key must not contain control characters or backslashes")]
    ForbiddenCharacter,
    #[error("an object key must not contain empty, `.` or `..` segments")]
    ForbiddenSegment,
}

impl ObjectKey {
    pub fn new(key: impl Into<String>) -> Result<Self, InvalidKey> {
        let key = key.into();
        if key.is_empty() {
            return Err(InvalidKey::Empty);
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(InvalidKey::TooLong);
        }
        if key.chars().any(|c| c.is_control() || c == '\\') {
            return Err(InvalidKey::ForbiddenCharacter);
        }
        // Empty segments include a slash at either end: `a//b` and `/a` would name the
        // same file as `a/b` and `a`.
        if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(InvalidKey::ForbiddenSegment);
        }
        Ok(Self(key))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn location(&self) -> Result<object_store::path::Path, BlobError> {
        object_store::path::Path::parse(&self.0).map_err(|error| BlobError::Invalid(error.into()))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for ObjectKey {
    type Err = InvalidKey;

    fn from_str(key: &str) -> Result<Self, InvalidKey> {
        Self::new(key)
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = InvalidKey;

    fn try_from(key: String) -> Result<Self, InvalidKey> {
        Self::new(key)
    }
}

/// What the store says about an object without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectFacts {
    pub size: u64,
    pub etag: String,
    pub last_modified: DateTime<Utc>,
    pub content_type: Option<String>,
    /// What the uploader claims, in lower-case hex; nothing we have verified.
    pub claimed_sha256: Option<String>,
}

/// The hash of an object's content and how many bytes it was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentHash {
    /// Lower-case hex.
    pub sha256: String,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("there is no object `{0}`")]
    NotFound(ObjectKey),
    /// It is another object now than the one asked about.
    #[error("the object `{0}` was replaced")]
    Changed(ObjectKey),
    /// Worth another try later: no connection, no answer in time, a server's failure.
    #[error("the object store is not available")]
    Unavailable(#[source] Cause),
    #[error("the object store refused our credentials or rights")]
    Denied(#[source] Cause),
    /// The request itself is wrong; the same one will fail again.
    #[error("the object store refused the request")]
    Invalid(#[source] Cause),
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

impl BlobError {
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    fn from_store(key: &ObjectKey, error: object_store::Error) -> Self {
        use object_store::Error;
        match error {
            Error::NotFound { .. } => Self::NotFound(key.clone()),
            Error::Precondition { .. } | Error::NotModified { .. } => Self::Changed(key.clone()),
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Self::Denied(error.into()),
            Error::InvalidPath { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::AlreadyExists { .. }
            | Error::UnknownConfigurationKey { .. } => Self::Invalid(error.into()),
            // A generic error is a refused request or a lost one. 408 and 429 ask for
            // another try.
            other => match client_status(&other) {
                Some(400..=407 | 409..=428 | 430..=499) => Self::Invalid(other.into()),
                _ => Self::Unavailable(other.into()),
            },
        }
    }
}

/// The status of an answer that ended in a generic error, if there was an answer. The
/// client shows it in its text only; should that change, the error counts as
/// retryable, which costs attempts and loses nothing.
fn client_status(error: &object_store::Error) -> Option<u16> {
    let text = error.to_string();
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// Which object: the one seen with this tag, or whatever is there now.
pub type IfMatch<'a> = Option<&'a str>;

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

/// Where the store is and how to get in.
#[derive(Clone, Debug)]
pub struct Access {
    pub endpoint: String,
    pub public_endpoint: Option<String>,
    pub access_key: String,
    pub secret_key: crate::config::Secret,
    /// Our bucket in the embedded endpoint, if it is that.
    pub local: Option<Arc<dyn LocalObjects>>,
}

/// An object as a file. It stays what it is, also where the object is replaced or deleted meanwhile.
#[derive(Debug)]
pub struct LocalObject {
    pub file: File,
    pub bytes: u64,
    pub etag: String,
}

/// Objects of one bucket that are files of this machine. Its methods block.
pub trait LocalObjects: fmt::Debug + Send + Sync {
    /// Below which all of them lie.
    fn folder(&self) -> &Path;
    /// What is there now, if anything.
    fn open(&self, key: &ObjectKey) -> io::Result<Option<LocalObject>>;
    /// Returns once the object and what belongs to it are on disk.
    fn sync(&self, key: &ObjectKey) -> io::Result<()>;
}

struct BucketAdmin {
    client: reqwest::Client,
    endpoint: String,
    region: String,
    access: Access,
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
            local: access.local.clone(),
            admin: Arc::new(BucketAdmin { client, endpoint: access.endpoint.clone(), region: settings.region.clone(), access }),
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
        let found = self.store.get_opts(&key.location()?, options).await.map_err(|error| BlobError::from_store(key, error))?;
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

    /// Reads the object seen with `etag` completely and hashes it.
    pub async fn sha256(&self, key: &ObjectKey, etag: &str) -> Result<ContentHash, BlobError> {
        match &self.local {
            Some(local) => sha256_of_file(local, key, etag).await,
            None => self.sha256_of_ranges(key, etag).await,
        }
    }

    async fn sha256_of_ranges(&self, key: &ObjectKey, etag: &str) -> Result<ContentHash, BlobError> {
        let facts = self.head(key).await?;
        if !same_etag(&facts.etag, etag) {
            return Err(BlobError::Changed(key.clone()));
        }
        let mut hash = Sha256::new();
        let mut bytes = 0;
        let mut ranges = std::pin::pin!(self.stream(key, &facts));
        while let Some(range) = ranges.try_next().await? {
            bytes += range.len() as u64;
            // Hashing 8 MiB takes milliseconds, which is long for a worker thread that
            // also serves sockets.
            hash = tokio::task::spawn_blocking(move || {
                hash.update(&range);
                hash
            })
            .await
            .map_err(|error| BlobError::Unavailable(error.into()))?;
        }
        // A replacement within the last range would otherwise go unseen by a store
        // that learns the new tag after the new content.
        let after = self.head(key).await?;
        if after.etag != facts.etag || after.size != facts.size {
            return Err(BlobError::Changed(key.clone()));
        }
        Ok(ContentHash { sha256: hex::encode(hash.finalize()), bytes })
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

/// What the store says of a bucket.
#[derive(Clone, Debug)]
pub struct BucketAnswer {
    pub status: u16,
    /// The store's clock, where it tells.
    pub date: Option<DateTime<Utc>>,
    /// At most [`ANSWER_BYTES_MAX`] of it; empty for a question without a query.
    pub body: String,
}

/// What is stored beside the content.
#[derive(Clone, Debug, Default)]
pub struct PutFacts {
    pub content_type: Option<String>,
    /// User metadata, by name without its prefix.
    pub metadata: Vec<(String, String)>,
}

impl PutFacts {
    fn attributes(&self) -> Attributes {
        let mut attributes = Attributes::new();
        if let Some(content_type) = &self.content_type {
            attributes.insert(Attribute::ContentType, AttributeValue::from(content_type.clone()));
        }
        for (name, value) in &self.metadata {
            attributes.insert(Attribute::Metadata(name.clone().into()), AttributeValue::from(value.clone()));
        }
        attributes
    }
}

fn no_etag() -> BlobError {
    BlobError::Invalid("the object store names no entity tag".into())
}

/// Quotes are part of the header, and some callers keep the tag without them.
pub fn same_etag(a: &str, b: &str) -> bool {
    a.trim_matches('"') == b.trim_matches('"')
}

fn quoted(etag: &str) -> String {
    format!("\"{}\"", etag.trim_matches('"'))
}

async fn in_files<T: Send + 'static>(key: &ObjectKey, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, BlobError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| BlobError::Unavailable(error.into()))?;
    done.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => BlobError::NotFound(key.clone()),
        _ => BlobError::Unavailable(error.into()),
    })
}

/// The file that was opened first is read to its end whatever happens; that it was the object all the while is seen
/// afterwards.
async fn sha256_of_file(local: &Arc<dyn LocalObjects>, key: &ObjectKey, etag: &str) -> Result<ContentHash, BlobError> {
    let open = || {
        let (local, opened) = (local.clone(), key.clone());
        in_files(key, move || local.open(&opened))
    };
    let Some(LocalObject { file, bytes, etag: found }) = open().await? else { return Err(BlobError::NotFound(key.clone())) };
    if !same_etag(&found, etag) {
        return Err(BlobError::Changed(key.clone()));
    }
    let (file, mut hash, mut at) = (Arc::new(file), Sha256::new(), 0);
    while at < bytes {
        let (file, end) = (file.clone(), bytes.min(at + LOCAL_STRETCH_BYTES));
        hash = in_files(key, move || {
            let mut block = vec![0; LOCAL_BLOCK_BYTES];
            while at < end {
                let length = LOCAL_BLOCK_BYTES.min(usize::try_from(end - at).unwrap_or(LOCAL_BLOCK_BYTES));
                file.read_exact_at(&mut block[..length], at)?;
                hash.update(&block[..length]);
                at += length as u64;
            }
            Ok(hash)
        })
        .await?;
        at = end;
    }
    match open().await? {
        Some(after) if after.etag == found && after.bytes == bytes => Ok(ContentHash { sha256: hex::encode(hash.finalize()), bytes }),
        _ => Err(BlobError::Changed(key.clone())),
    }
}

impl BucketAdmin {
    async fn ensure_bucket(&self, bucket: &str) -> Result<(), BlobError> {
        // Creating first and reading the refusal needs one right and no second look.
        let authorizer = AwsSignature { access: &self.access, region: &self.region };
        let body = match self.region.as_str() {
            "us-east-1" => String::new(),
            region => format!(
                r#"<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"#
            ),
        };
        let head = self.send(&authorizer, http::Method::HEAD, bucket, "", "").await?;
        if head.status().is_success() {
            return Ok(());
        }
        let created = self.send(&authorizer, http::Method::PUT, bucket, "", &body).await?.status();
        match created.as_u16() {
            // 409: it exists; whether it is ours, the first read tells.
            200..=299 | 409 => Ok(()),
            401 | 403 => Err(BlobError::Denied(format!("creating the bucket `{bucket}` was refused with {created}").into())),
            400..=499 => Err(BlobError::Invalid(format!("creating the bucket `{bucket}` was refused with {created}").into())),
            _ => Err(BlobError::Unavailable(format!("creating the bucket `{bucket}` failed with {created}").into())),
        }
    }

    async fn ask(&self, bucket: &str, query: &str) -> Result<BucketAnswer, BlobError> {
        let authorizer = AwsSignature { access: &self.access, region: &self.region };
        let method = if query.is_empty() { http::Method::HEAD } else { http::Method::GET };
        let mut answer = self.send(&authorizer, method, bucket, query, "").await?;
        let date = answer.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok()).map(|date| date.to_utc());
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| BlobError::Unavailable(error.into()))? {
            body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - body.len())]);
            if body.len() == ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok(BucketAnswer { status: answer.status().as_u16(), date, body: String::from_utf8_lossy(&body).into_owned() })
    }

    async fn send(
        &self,
        signature: &AwsSignature<'_>,
        method: http::Method,
        bucket: &str,
        query: &str,
        body: &str,
    ) -> Result<reqwest::Response, BlobError> {
        let url = if query.is_empty() { format!("{}/{bucket}", self.endpoint) } else { format!("{}/{bucket}?{query}", self.endpoint) };
        let host = self.endpoint.split_once("://").map_or(self.endpoint.as_str(), |(_, host)| host);
        let mut request = self.client.request(method.clone(), &url);
        for (name, value) in signature.headers(&method, host, &format!("/{bucket}"), query, body, Utc::now()) {
            request = request.header(name, value);
        }
        request.body(body.to_owned()).send().await.map_err(|error| BlobError::Unavailable(error.into()))
    }
}

/// Signature version 4 of the few requests on a bucket that the object client does not have.
struct AwsSignature<'a> {
    access: &'a Access,
    region: &'a str,
}

impl AwsSignature<'_> {
    fn headers(
        &self,
        method: &http::Method,
        host: &str,
        path: &str,
        query: &str,
        body: &str,
        now: DateTime<Utc>,
    ) -> [(&'static str, String); 3] {
        let day = now.format("%Y%m%d").to_string();
        let time = now.format("%Y%m%dT%H%M%SZ").to_string();
        let body_hash = hex::encode(Sha256::digest(body));
        let signed = "host;x-amz-content-sha256;x-amz-date";
        let canonical =
            format!("{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{body_hash}\nx-amz-date:{time}\n\n{signed}\n{body_hash}");
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let secret = format!("AWS4{}", self.access.secret_key.expose());
        let key = [day.as_str(), self.region, "s3", "aws4_request"]
            .iter()
            .fold(secret.into_bytes(), |key, part| hmac_sha256(&key, part.as_bytes()).to_vec());
        let signature = hex::encode(hmac_sha256(&key, to_sign.as_bytes()));
        [
            ("x-amz-content-sha256", body_hash),
            ("x-amz-date", time),
            (
                "authorization",
                format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}", self.access.access_key),
            ),
        ]
    }
}

/// RFC 2104 over the hash we have; four lines instead of one more dependency.
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let mut block = [0_u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message);
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner.finalize());
    outer.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_inside_its_bucket() {
        for (key, refusal) in [
            ("", InvalidKey::Empty),
            ("../secret", InvalidKey::ForbiddenSegment),
            ("a/../b", InvalidKey::ForbiddenSegment),
            ("a/./b", InvalidKey::ForbiddenSegment),
            ("/a", InvalidKey::ForbiddenSegment),
            ("a/", InvalidKey::ForbiddenSegment),
            ("a//b", InvalidKey::ForbiddenSegment),
            ("a\\b", InvalidKey::ForbiddenCharacter),
            ("a\0b", InvalidKey::ForbiddenCharacter),
            ("a\nb", InvalidKey::ForbiddenCharacter),
        ] {
            assert_eq!(ObjectKey::new(key), Err(refusal), "{key:?}");
        }
        assert_eq!(ObjectKey::new("a".repeat(KEY_BYTES_MAX + 1)), Err(InvalidKey::TooLong));
        for key in ["a", "a/b.mcap", "ünïcode/..x/x..", "a b/c%2Fd"] {
            assert!(ObjectKey::new(key).is_ok(), "{key:?}");
        }
    }

    #[test]
    fn hmac_matches_the_published_vectors() {
        // RFC 4231, cases 2 and 6.
        let short = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex::encode(short), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let long = hmac_sha256(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex::encode(long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }
}
