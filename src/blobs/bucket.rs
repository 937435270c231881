//! Questions and orders about the bucket itself.

#![expect(clippy::disallowed_methods, reason = "a signature carries the time of this machine")]

use bytes::BytesMut;
use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use super::error::BlobError;
use super::signature::{Signed, Signer};

/// Of an answer about a bucket; a bucket policy has 20 KB at most.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What the store says of a bucket.
#[derive(Clone, Debug)]
pub struct BucketAnswer {
    pub status: u16,
    /// The store's clock, where it tells.
    pub date: Option<DateTime<Utc>>,
    /// At most [`ANSWER_BYTES_MAX`] of it; empty for a question without a query.
    pub body: String,
}

pub(super) struct BucketAdmin {
    pub client: reqwest::Client,
    pub endpoint: String,
    pub signer: Signer,
}

impl BucketAdmin {
    pub async fn ensure_bucket(&self, bucket: &str) -> Result<(), BlobError> {
        // Creating first and reading the refusal needs one right and no second look.
        let body = match self.signer.region.as_str() {
            "us-east-1" => String::new(),
            region => format!(
                r#"<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"#
            ),
        };
        let head = self.send(http::Method::HEAD, bucket, "", "").await?;
        if head.status().is_success() {
            return Ok(());
        }
        let created = self.send(http::Method::PUT, bucket, "", &body).await?.status();
        match created.as_u16() {
            // 409: it exists; whether it is ours, the first read tells.
            200..=299 | 409 => Ok(()),
            401 | 403 => Err(BlobError::Denied(format!("creating the bucket `{bucket}` was refused with {created}").into())),
            400..=499 => Err(BlobError::Invalid(format!("creating the bucket `{bucket}` was refused with {created}").into())),
            _ => Err(BlobError::Unavailable(format!("creating the bucket `{bucket}` failed with {created}").into())),
        }
    }

    pub async fn ask(&self, bucket: &str, query: &str) -> Result<BucketAnswer, BlobError> {
        let method = if query.is_empty() { http::Method::HEAD } else { http::Method::GET };
        let mut answer = self.send(method, bucket, query, "").await?;
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

    async fn send(&self, method: http::Method, bucket: &str, query: &str, body: &str) -> Result<reqwest::Response, BlobError> {
        let url = if query.is_empty() { format!("{}/{bucket}", self.endpoint) } else { format!("{}/{bucket}?{query}", self.endpoint) };
        let host = self.endpoint.split_once("://").map_or(self.endpoint.as_str(), |(_, host)| host);
        let mut request = self.client.request(method.clone(), &url);
        let (path, body_hash) = (format!("/{bucket}"), hex::encode(Sha256::digest(body)));
        let signed = Signed { method: &method, host, path: &path, query, headers: &[], body_hash: &body_hash };
        for (name, value) in self.signer.headers(&signed, Utc::now()) {
            request = request.header(name, value);
        }
        request.body(body.to_owned()).send().await.map_err(|error| BlobError::Unavailable(error.into()))
    }
}
