//! What a bucket in the cloud is asked. Each request is made once; what is made of its failure, the caller knows.
//!
//! The object client of the edge storage cannot list the parts of an upload, and tells no checksums; so these requests are made here. Of what a
//! server answers with an error only its code is kept, never its text.

#![expect(clippy::disallowed_methods, reason = "a signature carries the time of this machine")]

use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::super::Pace;
use super::super::answers::{body_of, http_client};
use crate::blobs::signature::{Signed, Signer, UNSIGNED_PAYLOAD, encoded, query_of};
use crate::domain::sync::FinishedPart;

/// A page of parts has a thousand of them, of some 300 bytes each.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const CODE_CHARS_MAX: usize = 60;
/// Pages of parts or of uploads: S3 has ten thousand parts at most.
const PAGES_MAX: usize = 20;

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum S3Error {
    /// No connection, no answer in time, or a server that cannot at the moment.
    #[error("the cloud's store does not answer: {text}")]
    Away { text: String, after: Option<Duration> },
    #[error("the cloud's store does not let us in: {code}")]
    Denied { code: String },
    #[error("the cloud's store has no such bucket")]
    NoBucket,
    #[error("the cloud's store has no such upload")]
    NoUpload,
    #[error("the cloud's store has no such object")]
    NoObject,
    #[error("the cloud's store got other bytes than were sent: {code}")]
    Damaged { code: String },
    #[error("the cloud's store refused the request: {status} {code}")]
    Refused { status: u16, code: String },
    #[error("the cloud's store answered what S3 does not answer: {what}")]
    Strange { what: &'static str },
}

/// Where the bucket is, and how to get in.
pub struct S3Client {
    http: reqwest::Client,
    signer: Signer,
    endpoint: String,
    host: String,
    bucket: String,
    pace: Pace,
}

/// A part as the server lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPart {
    pub number: u32,
    pub size: u64,
    pub etag: String,
    /// In base64, where the server keeps it.
    pub sha256: Option<String>,
}

/// What the server says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    pub size: u64,
    pub etag: String,
    /// In base64, with the number of parts behind it where it is that of their checksums; none where the server keeps none.
    pub sha256: Option<String>,
}

/// What is stored.
struct Request<'a> {
    method: Method,
    /// None: the bucket itself.
    key: Option<&'a str>,
    query: &'a [(&'a str, &'a str)],
    headers: Vec<(&'static str, String)>,
    body: Body,
}

enum Body {
    None,
    Small(String),
    Content(Bytes),
}

struct Answer {
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    #[serde(rename = "Code", default)]
    code: String,
}

#[derive(Deserialize)]
struct Initiated {
    #[serde(rename = "UploadId")]
    upload_id: String,
}

#[derive(Deserialize)]
struct PartsPage {
    #[serde(rename = "IsTruncated", default)]
    is_truncated: bool,
    #[serde(rename = "NextPartNumberMarker")]
    next: Option<String>,
    #[serde(rename = "Part", default)]
    parts: Vec<PartAnswer>,
}

#[derive(Deserialize)]
struct PartAnswer {
    #[serde(rename = "PartNumber")]
    number: u32,
    #[serde(rename = "Size")]
    size: u64,
    #[serde(rename = "ETag")]
    etag: String,
    #[serde(rename = "ChecksumSHA256")]
    sha256: Option<String>,
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

#[derive(Deserialize)]
struct Completed {
    #[serde(rename = "ETag")]
    etag: String,
}

impl S3Client {
    pub fn new(endpoint: &str, bucket: &str, signer: Signer, timeout: Duration, pace: Pace) -> reqwest::Result<Self> {
        let http = http_client(timeout)?;
        let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host).to_owned();
        Ok(Self { http, signer, endpoint: endpoint.to_owned(), host, bucket: bucket.to_owned(), pace })
    }

    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Whether the bucket is there and lets us in where our objects lie.
    pub async fn probe(&self, prefix: &str) -> Result<(), S3Error> {
        let query = [("list-type", "2"), ("max-keys", "1"), ("prefix", prefix)];
        match self.ask(Request { method: Method::GET, key: None, query: &query, headers: vec![], body: Body::None }).await {
            // That it does not know the question is an answer.
            Ok(_) | Err(S3Error::Refused { .. }) => Ok(()),
            Err(S3Error::NoObject | S3Error::NoUpload) => Err(S3Error::NoBucket),
            Err(error) => Err(error),
        }
    }

    pub async fn head(&self, key: &str) -> Result<ObjectHead, S3Error> {
        let headers = vec![("x-amz-checksum-mode", "ENABLED".to_owned())];
        let answer = self.ask(Request { method: Method::HEAD, key: Some(key), query: &[], headers, body: Body::None }).await?;
        let size = header(&answer.headers, "content-length").and_then(|size| size.parse().ok()).ok_or(strange("a HEAD without a size"))?;
        let etag = header(&answer.headers, "etag").ok_or(strange("a HEAD without an entity tag"))?;
        Ok(ObjectHead { size, etag, sha256: header(&answer.headers, SHA256) })
    }

    /// All of an object in one request. Answers its entity tag.
    pub async fn put(&self, key: &str, content: Bytes, sha256: &str, metadata: &[(&'static str, String)]) -> Result<String, S3Error> {
        let mut headers = vec![(SHA256, sha256.to_owned()), ("content-type", "application/octet-stream".to_owned())];
        headers.extend_from_slice(metadata);
        let answer = self.ask(Request { method: Method::PUT, key: Some(key), query: &[], headers, body: Body::Content(content) }).await?;
        header(&answer.headers, "etag").ok_or(strange("a PUT without an entity tag"))
    }

    pub async fn delete(&self, key: &str) -> Result<(), S3Error> {
        match self.ask(Request { method: Method::DELETE, key: Some(key), query: &[], headers: vec![], body: Body::None }).await {
            Ok(_) | Err(S3Error::NoObject) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The id of an upload whose parts have checksums.
    pub async fn create_upload(&self, key: &str, metadata: &[(&'static str, String)]) -> Result<String, S3Error> {
        let mut headers = vec![
            ("x-amz-checksum-algorithm", "SHA256".to_owned()),
            ("x-amz-checksum-type", "COMPOSITE".to_owned()),
            ("content-type", "application/octet-stream".to_owned()),
        ];
        headers.extend_from_slice(metadata);
        let answer =
            self.ask(Request { method: Method::POST, key: Some(key), query: &[("uploads", "")], headers, body: Body::None }).await?;
        Ok(parsed::<Initiated>(&answer.body)?.upload_id)
    }

    /// Answers the entity tag, and the checksum where the server keeps it.
    pub async fn upload_part(
        &self,
        key: &str,
        upload_id: &str,
        number: u32,
        content: Bytes,
        sha256: &str,
    ) -> Result<(String, Option<String>), S3Error> {
        let number = number.to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", upload_id)];
        let headers = vec![(SHA256, sha256.to_owned())];
        let answer =
            self.ask(Request { method: Method::PUT, key: Some(key), query: &query, headers, body: Body::Content(content) }).await?;
        let etag = header(&answer.headers, "etag").ok_or(strange("a part without an entity tag"))?;
        Ok((etag, header(&answer.headers, SHA256)))
    }

    pub async fn list_parts(&self, key: &str, upload_id: &str) -> Result<Vec<ListedPart>, S3Error> {
        let (mut parts, mut marker) = (vec![], None::<String>);
        for _ in 0..PAGES_MAX {
            let mut query = vec![("uploadId", upload_id)];
            query.extend(marker.as_deref().map(|marker| ("part-number-marker", marker)));
            let answer =
                self.ask(Request { method: Method::GET, key: Some(key), query: &query, headers: vec![], body: Body::None }).await?;
            let page: PartsPage = parsed(&answer.body)?;
            let listed = |part: PartAnswer| ListedPart { number: part.number, size: part.size, etag: part.etag, sha256: part.sha256 };
            parts.extend(page.parts.into_iter().map(listed));
            match page.next.filter(|next| page.is_truncated && Some(next) != marker.as_ref()) {
                Some(next) => marker = Some(next),
                None => return Ok(parts),
            }
        }
        Err(strange("more parts than an upload has"))
    }

    /// Uploads of exactly this key that were begun and not ended.
    pub async fn list_uploads(&self, key: &str) -> Result<Vec<String>, S3Error> {
        let (mut uploads, mut marker) = (vec![], None::<(String, String)>);
        for _ in 0..PAGES_MAX {
            let mut query = vec![("uploads", ""), ("prefix", key)];
            if let Some((key_marker, id_marker)) = &marker {
                query.extend([("key-marker", key_marker.as_str()), ("upload-id-marker", id_marker.as_str())]);
            }
            let answer = self.ask(Request { method: Method::GET, key: None, query: &query, headers: vec![], body: Body::None }).await?;
            let page: UploadsPage = parsed(&answer.body)?;
            uploads.extend(page.uploads.into_iter().filter(|upload| upload.key == key).map(|upload| upload.upload_id));
            match page.next_key.zip(page.next_upload).filter(|next| page.is_truncated && Some(next) != marker.as_ref()) {
                Some(next) => marker = Some(next),
                None => return Ok(uploads),
            }
        }
        Ok(uploads)
    }

    /// Makes the parts an object. Answers its entity tag.
    pub async fn complete(&self, key: &str, upload_id: &str, parts: &[FinishedPart], with_checksums: bool) -> Result<String, S3Error> {
        let mut body = String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
        for FinishedPart { number, etag, sha256 } in parts {
            let etag = quick_xml::escape::escape(etag.as_str());
            let checksum = if with_checksums { format!("<ChecksumSHA256>{sha256}</ChecksumSHA256>") } else { String::new() };
            body += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{checksum}</Part>");
        }
        body += "</CompleteMultipartUpload>";
        let headers = vec![("content-type", "application/xml".to_owned())];
        let query = [("uploadId", upload_id)];
        let answer = self.ask(Request { method: Method::POST, key: Some(key), query: &query, headers, body: Body::Small(body) }).await?;
        match parsed::<Completed>(&answer.body) {
            Ok(completed) => Ok(completed.etag),
            // An answer that had begun well may end in an error.
            Err(_) => Err(failure(StatusCode::INTERNAL_SERVER_ERROR, &answer.headers, &answer.body, Some(key))),
        }
    }

    pub async fn abort(&self, key: &str, upload_id: &str) -> Result<(), S3Error> {
        let query = [("uploadId", upload_id)];
        match self.ask(Request { method: Method::DELETE, key: Some(key), query: &query, headers: vec![], body: Body::None }).await {
            Ok(_) | Err(S3Error::NoUpload | S3Error::NoObject) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn ask(&self, request: Request<'_>) -> Result<Answer, S3Error> {
        let Request { method, key, query, headers, body } = request;
        let query = query_of(query);
        let path = match key {
            Some(key) => format!("/{}/{}", self.bucket, encoded(key, true)),
            None => format!("/{}", self.bucket),
        };
        let body_hash = match &body {
            Body::None => hex::encode(Sha256::digest(b"")),
            Body::Small(text) => hex::encode(Sha256::digest(text)),
            Body::Content(_) => UNSIGNED_PAYLOAD.to_owned(),
        };
        let signed = Signed { method: &method, host: &self.host, path: &path, query: &query, headers: &headers, body_hash: &body_hash };
        let url = if query.is_empty() { format!("{}{path}", self.endpoint) } else { format!("{}{path}?{query}", self.endpoint) };
        let mut sent = self.http.request(method.clone(), url);
        for (name, value) in self.signer.headers(&signed, Utc::now()) {
            sent = sent.header(name, value);
        }
        let sent = match body {
            Body::None => sent,
            Body::Small(text) => sent.body(text),
            Body::Content(content) if self.pace.is_limited() => {
                let length = content.len();
                sent.header("content-length", length).body(reqwest::Body::wrap_stream(self.pace.pieces(content)))
            }
            Body::Content(content) => sent.body(content),
        };
        let answer = sent.send().await.map_err(|error| away(&error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = body_of(answer, ANSWER_BYTES_MAX).await.map_err(|error| away(&error))?;
        let body = body.ok_or(strange("an answer without an end"))?;
        if status.is_success() { Ok(Answer { headers, body }) } else { Err(failure(status, &headers, &body, key)) }
    }
}

const SHA256: &str = "x-amz-checksum-sha256";

fn strange(what: &'static str) -> S3Error {
    S3Error::Strange { what }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Without the address, whose query names the upload.
fn away(error: &reqwest::Error) -> S3Error {
    let text = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection was cut"
    };
    S3Error::Away { text: text.to_owned(), after: None }
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, S3Error> {
    let text = std::str::from_utf8(body).map_err(|_| strange("an answer that is no text"))?;
    quick_xml::de::from_str(text).map_err(|_| strange("an answer that cannot be read"))
}

/// A word of a foreign server, harmless whatever it is.
fn code_of(body: &[u8]) -> String {
    let code = parsed::<ErrorAnswer>(body).map(|answer| answer.code).unwrap_or_default();
    code.chars().filter(char::is_ascii_alphanumeric).take(CODE_CHARS_MAX).collect()
}

fn failure(status: StatusCode, headers: &HeaderMap, body: &[u8], key: Option<&str>) -> S3Error {
    let code = code_of(body);
    match (status.as_u16(), code.as_str()) {
        (_, "NoSuchBucket") => S3Error::NoBucket,
        (_, "NoSuchUpload") => S3Error::NoUpload,
        (_, "NoSuchKey") => S3Error::NoObject,
        (404, _) if key.is_some() => S3Error::NoObject,
        (404, _) => S3Error::NoBucket,
        (_, "BadDigest" | "InvalidDigest" | "XAmzContentChecksumMismatch" | "IncompleteBody") => S3Error::Damaged { code },
        (
            _,
            "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "AccessDenied"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "RequestTimeTooSkewed",
        ) => S3Error::Denied { code },
        (401 | 403, _) => S3Error::Denied { code: if code.is_empty() { status.as_u16().to_string() } else { code } },
        // It never will.
        (501, _) | (_, "NotImplemented") => S3Error::Refused { status: status.as_u16(), code },
        (_, "RequestTimeout") | (408 | 429 | 500..=599, _) => {
            let after = header(headers, "retry-after").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
            S3Error::Away { text: format!("{} {code}", status.as_u16()).trim_end().to_owned(), after }
        }
        (status, _) => S3Error::Refused { status, code },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, code: &str) -> S3Error {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>a secret of theirs</Message></Error>");
        failure(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes(), Some("k"))
    }

    #[test]
    fn failures_are_told_apart_by_their_cause() {
        assert_eq!(error(404, "NoSuchUpload"), S3Error::NoUpload);
        assert_eq!(error(404, "NoSuchBucket"), S3Error::NoBucket);
        assert_eq!(error(400, "BadDigest"), S3Error::Damaged { code: "BadDigest".into() });
        assert_eq!(error(400, "ExpiredToken"), S3Error::Denied { code: "ExpiredToken".into() });
        assert_eq!(error(400, "EntityTooSmall"), S3Error::Refused { status: 400, code: "EntityTooSmall".into() });
        assert!(matches!(error(503, "SlowDown"), S3Error::Away { .. }));
        assert!(matches!(error(501, "NotImplemented"), S3Error::Refused { .. }));
    }

    #[test]
    fn of_a_foreign_body_only_a_harmless_code_is_told() {
        let told = error(400, &"x\u{202e}<b>\n".repeat(100)).to_string();
        assert!(told.len() < 200 && !told.contains("secret") && told.chars().all(|c| !c.is_control()), "{told:?}");
        let nothing = failure(StatusCode::BAD_REQUEST, &HeaderMap::new(), b"\xff<html>", None).to_string();
        assert_eq!(nothing, "the cloud's store refused the request: 400 ");
    }

    #[test]
    fn parts_are_read_as_servers_list_them() {
        let page: PartsPage = parsed(
            b"<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListPartsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>b</Bucket>\
            <IsTruncated>true</IsTruncated><NextPartNumberMarker>2</NextPartNumberMarker><Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag>\
            <Size>5</Size></Part><Part><ChecksumSHA256>q</ChecksumSHA256><PartNumber>2</PartNumber><ETag>\"b\"</ETag><Size>6</Size></Part></ListPartsResult>",
        )
        .unwrap();
        assert!(page.is_truncated && page.next.as_deref() == Some("2"));
        let parts: Vec<_> = page.parts.iter().map(|part| (part.number, part.size, part.etag.as_str(), part.sha256.as_deref())).collect();
        assert_eq!(parts, [(1, 5, "\"a\"", None), (2, 6, "\"b\"", Some("q"))]);
        assert!(parsed::<PartsPage>(b"<ListPartsResult/>").unwrap().parts.is_empty());
    }
}
