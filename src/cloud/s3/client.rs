//! What a bucket of an S3 server is asked beside what any store is.
//!
//! The object client of the edge storage cannot list the parts of an upload, and tells no checksums; so these requests are made here.

#![expect(clippy::disallowed_methods, reason = "a signature carries the time of this machine")]

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use http::Method;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::super::Pace;
use super::super::store::{Answer, Body, PAGES_MAX, Request, SHA256, Sender, Store, StoreError};
use crate::blobs::signature::{Signed, Signer, UNSIGNED_PAYLOAD, encoded, query_of};

/// Where the bucket is, and how to get in.
pub struct S3Client {
    sender: Sender,
    signer: Signer,
    endpoint: String,
    host: String,
    bucket: String,
}

/// What the server says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    pub size: u64,
    pub etag: String,
    /// In base64, with the number of parts behind it where it is that of their checksums; none where the server keeps none.
    pub sha256: Option<String>,
}

#[derive(Deserialize)]
struct UploadsPage {
    #[serde(rename = "IsTruncated", default)]
    is_truncated: bool,
    #[serde(rename = "NextKeyMarker")]
    next_key: Option<String>,
    #[serde(rename = "NextUploadIdMarker")]
    next_upload: Option<String>,
    #[serde(rename = "Upload", default)]
    uploads: Vec<UploadAnswer>,
}

#[derive(Deserialize)]
struct UploadAnswer {
    #[serde(rename = "Key")]
    key: String,
    #[serde(rename = "UploadId")]
    upload_id: String,
}

impl S3Client {
    pub fn new(endpoint: &str, bucket: &str, signer: Signer, timeout: Duration, pace: Pace) -> reqwest::Result<Self> {
        let sender = Sender::new(timeout, pace)?;
        let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host).to_owned();
        Ok(Self { sender, signer, endpoint: endpoint.to_owned(), host, bucket: bucket.to_owned() })
    }

    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Whether the bucket is there and lets us in where our objects lie.
    pub async fn probe(&self, prefix: &str) -> Result<(), StoreError> {
        let query = [("list-type", "2"), ("max-keys", "1"), ("prefix", prefix)];
        match self.ask(Request::of_the_bucket(Method::GET).with(&query)).await {
            // That it does not know the question is an answer.
            Ok(_) | Err(StoreError::Refused { .. }) => Ok(()),
            Err(StoreError::NoObject | StoreError::NoUpload) => Err(StoreError::NoBucket),
            Err(error) => Err(error),
        }
    }

    pub async fn head(&self, key: &str) -> Result<ObjectHead, StoreError> {
        let headers = vec![("x-amz-checksum-mode", "ENABLED".to_owned())];
        let answer = match self.ask(Request::of(Method::HEAD, key).saying(headers)).await {
            // An answer to HEAD names no error, and there are stores that do not number theirs: one to GET tells them from a proxy.
            Err(StoreError::NoStore) => return Err(self.why_not(key).await),
            answer => answer?,
        };
        Ok(ObjectHead { size: answer.size()?, etag: answer.tag("a HEAD without an entity tag")?, sha256: answer.sha256() })
    }

    /// Why an object is not found.
    async fn why_not(&self, key: &str) -> StoreError {
        let one_byte = vec![("range", "bytes=0-0".to_owned())];
        match self.ask(Request::of(Method::GET, key).saying(one_byte)).await {
            Ok(_) => StoreError::Strange { what: "an object that HEAD does not find" },
            Err(error) => error,
        }
    }

    /// These bytes of the object with this entity tag.
    pub async fn read(&self, key: &str, etag: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let bytes = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let headers = vec![
            ("if-match", format!("\"{}\"", etag.trim_matches('"'))),
            ("range", format!("bytes={}-{}", range.start, range.end.saturating_sub(1))),
        ];
        // One byte more, so that an answer with too much is no answer without an end.
        let request = Request::of(Method::GET, key).saying(headers).answered_with(bytes.saturating_add(1));
        Ok(self.ask(request).await?.body)
    }

    /// All of an object in one request. Answers its entity tag, and the checksum where the server keeps it.
    pub async fn put(
        &self,
        key: &str,
        content: Bytes,
        sha256: &str,
        metadata: &[(&'static str, String)],
    ) -> Result<(String, Option<String>), StoreError> {
        let mut headers = vec![
            (SHA256, sha256.to_owned()),
            // As the SDKs of the vendor say it: there are servers that keep no checksum without.
            ("x-amz-sdk-checksum-algorithm", "SHA256".to_owned()),
            ("content-type", "application/octet-stream".to_owned()),
        ];
        headers.extend_from_slice(metadata);
        let answer = self.ask(Request::of(Method::PUT, key).saying(headers).sending(Body::Content(content))).await?;
        Ok((answer.tag("a PUT without an entity tag")?, answer.sha256()))
    }

    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.ask(Request::of(Method::DELETE, key)).await {
            Ok(_) | Err(StoreError::NoObject) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The id of an upload whose parts have checksums.
    pub async fn create_checked_upload(&self, key: &str, metadata: &[(&'static str, String)]) -> Result<String, StoreError> {
        let mut headers = vec![
            ("x-amz-checksum-algorithm", "SHA256".to_owned()),
            ("x-amz-checksum-type", "COMPOSITE".to_owned()),
            ("content-type", "application/octet-stream".to_owned()),
        ];
        headers.extend_from_slice(metadata);
        self.create_upload(key, headers).await
    }

    /// Uploads of exactly this key that were begun and not ended.
    pub async fn list_uploads(&self, key: &str) -> Result<Vec<String>, StoreError> {
        let (mut uploads, mut marker) = (vec![], None::<(String, String)>);
        for _ in 0..PAGES_MAX {
            let mut query = vec![("uploads", ""), ("prefix", key)];
            if let Some((key_marker, id_marker)) = &marker {
                query.extend([("key-marker", key_marker.as_str()), ("upload-id-marker", id_marker.as_str())]);
            }
            let page: UploadsPage = self.ask(Request::of_the_bucket(Method::GET).with(&query)).await?.parsed()?;
            uploads.extend(page.uploads.into_iter().filter(|upload| upload.key == key).map(|upload| upload.upload_id));
            match page.next_key.zip(page.next_upload).filter(|next| page.is_truncated && Some(next) != marker.as_ref()) {
                Some(next) => marker = Some(next),
                None => return Ok(uploads),
            }
        }
        Ok(uploads)
    }
}

#[async_trait]
impl Store for S3Client {
    async fn ask(&self, request: Request<'_>) -> Result<Answer, StoreError> {
        let query = query_of(request.query);
        let path = match request.key {
            Some(key) => format!("/{}/{}", self.bucket, encoded(key, true)),
            None => format!("/{}", self.bucket),
        };
        let body_hash = match &request.body {
            Body::None => hex::encode(Sha256::digest(b"")),
            Body::Small(text) => hex::encode(Sha256::digest(text)),
            Body::Content(_) => UNSIGNED_PAYLOAD.to_owned(),
        };
        let signed = Signed {
            method: &request.method,
            host: &self.host,
            path: &path,
            query: &query,
            headers: &request.headers,
            body_hash: &body_hash,
        };
        let url = if query.is_empty() { format!("{}{path}", self.endpoint) } else { format!("{}{path}?{query}", self.endpoint) };
        let headers = self.signer.headers(&signed, Utc::now());
        self.sender.send(url, request.saying(headers)).await
    }

    fn part_headers(&self, sha256: &str) -> Vec<(&'static str, String)> {
        vec![(SHA256, sha256.to_owned())]
    }

    fn namespace(&self) -> &'static str {
        " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""
    }
}
