//! What any store of objects in the cloud is asked in the same way, whatever is signed: requests, each made once, and what their failures mean.
//!
//! Of what a server answers with an error only its code is kept, never its text.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answers::{body_of, http_client};
use super::{Pace, PushError};
use crate::domain::sync::{FinishedPart, SyncFailure, SyncFault};

/// A page of parts has a thousand of them, of some 300 bytes each.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const CODE_CHARS_MAX: usize = 60;
/// Of a name that is kept: of an upload, a bucket, an object.
const NAME_BYTES_MAX: usize = 1024;
/// Of an entity tag or a checksum.
const TAG_BYTES_MAX: usize = 200;
/// Pages of parts or of uploads: there are ten thousand parts at most.
pub const PAGES_MAX: usize = 20;

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// No connection, no answer in time, or a server that cannot at the moment.
    #[error("the cloud's store does not answer: {text}")]
    Away { text: String, after: Option<Duration> },
    /// A 404 that names no error of a store: what answers in its place, as a proxy does, knows nothing of objects.
    #[error("what answers in place of the cloud's store says 404, and is no store")]
    NoStore,
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
    #[error("the cloud's store answered what such a store does not answer: {what}")]
    Strange { what: &'static str },
    /// Nothing was asked: what lets us in could not be had.
    #[error(transparent)]
    NoCredentials(PushError),
}

impl From<StoreError> for PushError {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Away { after, .. } => Self::Again { failure: SyncFailure::new(SyncFault::CloudAway, text), after },
            StoreError::NoStore => Self::again(SyncFault::CloudAway, text),
            StoreError::Denied { .. } => Self::again(SyncFault::CloudDenied, text),
            StoreError::NoBucket => Self::down(SyncFault::CloudRefused, text),
            StoreError::Damaged { .. } => Self::again(SyncFault::Damaged, text),
            StoreError::NoUpload | StoreError::NoObject | StoreError::Refused { .. } | StoreError::Strange { .. } => {
                Self::again(SyncFault::CloudRefused, text)
            }
            StoreError::NoCredentials(error) => error,
        }
    }
}

/// What is asked.
#[derive(Clone)]
pub struct Request<'a> {
    pub method: Method,
    /// None: the bucket itself.
    pub key: Option<&'a str>,
    pub query: &'a [(&'a str, &'a str)],
    /// Names in lower case.
    pub headers: Vec<(&'static str, String)>,
    pub body: Body,
    /// Of an answer.
    pub answer_bytes_max: usize,
}

impl<'a> Request<'a> {
    pub fn of(method: Method, key: &'a str) -> Self {
        Self { key: Some(key), ..Self::of_the_bucket(method) }
    }

    pub fn of_the_bucket(method: Method) -> Self {
        Self { method, key: None, query: &[], headers: vec![], body: Body::None, answer_bytes_max: ANSWER_BYTES_MAX }
    }

    pub fn with(self, query: &'a [(&'a str, &'a str)]) -> Self {
        Self { query, ..self }
    }

    pub fn saying(self, headers: Vec<(&'static str, String)>) -> Self {
        Self { headers, ..self }
    }

    pub fn sending(self, body: Body) -> Self {
        Self { body, ..self }
    }

    pub fn answered_with(self, answer_bytes_max: usize) -> Self {
        Self { answer_bytes_max, ..self }
    }
}

#[derive(Clone)]
pub enum Body {
    None,
    Small(String),
    /// Sent at the pace of all.
    Content(Bytes),
}

pub struct Answer {
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The checksum that the server told; what is too long is none.
    pub fn sha256(&self) -> Option<String> {
        header(&self.headers, SHA256).filter(|told| told.len() <= TAG_BYTES_MAX)
    }

    pub fn parsed<T: DeserializeOwned>(&self) -> Result<T, StoreError> {
        parsed(&self.body)
    }

    /// Of the object that it is about.
    pub fn size(&self) -> Result<u64, StoreError> {
        header(&self.headers, "content-length")
            .and_then(|size| size.parse().ok())
            .ok_or(StoreError::Strange { what: "a HEAD without a size" })
    }

    /// The entity tag, which an answer to `what` has to have.
    pub fn tag(&self, what: &'static str) -> Result<String, StoreError> {
        header(&self.headers, "etag").filter(|tag| tag.len() <= TAG_BYTES_MAX).ok_or(StoreError::Strange { what })
    }
}

/// Sends requests that are signed.
pub struct Sender {
    http: reqwest::Client,
    pace: Pace,
}

impl Sender {
    pub fn new(timeout: Duration, pace: Pace) -> reqwest::Result<Self> {
        Ok(Self { http: http_client(timeout)?, pace })
    }

    /// Whether a server answers at all, and is well.
    pub async fn knock(&self, url: &str) -> Result<(), StoreError> {
        let answer = self.http.get(url).send().await.map_err(|error| away(&error))?;
        match answer.status() {
            status if status.is_server_error() => Err(StoreError::Away { text: status.as_u16().to_string(), after: None }),
            StatusCode::NOT_FOUND if !NUMBERS.iter().any(|number| answer.headers().contains_key(*number)) => Err(StoreError::NoStore),
            _ => Ok(()),
        }
    }

    pub async fn send(&self, url: String, request: Request<'_>) -> Result<Answer, StoreError> {
        let mut sent = self.http.request(request.method, url);
        for (name, value) in request.headers {
            sent = sent.header(name, value);
        }
        let sent = match request.body {
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
        let body = body_of(answer, request.answer_bytes_max).await.map_err(|error| away(&error))?;
        let body = body.ok_or(StoreError::Strange { what: "an answer without an end" })?;
        if status.is_success() { Ok(Answer { headers, body }) } else { Err(failure(status, &headers, &body, request.key)) }
    }
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
struct Completed {
    #[serde(rename = "ETag")]
    etag: String,
}

/// A store that takes objects in parts. What a store is asked differs in what is signed, and in the headers.
#[async_trait]
pub trait Store: Send + Sync {
    /// Signs, and sends once.
    async fn ask(&self, request: Request<'_>) -> Result<Answer, StoreError>;

    /// Headers that a part is sent with.
    fn part_headers(&self, sha256: &str) -> Vec<(&'static str, String)>;

    /// An attribute of the documents that it is sent, with a blank before it.
    fn namespace(&self) -> &'static str;

    /// Begins an upload with these headers. Answers its id.
    async fn create_upload(&self, key: &str, headers: Vec<(&'static str, String)>) -> Result<String, StoreError> {
        let answer = self.ask(Request::of(Method::POST, key).with(&[("uploads", "")]).saying(headers)).await?;
        let Initiated { upload_id } = answer.parsed()?;
        if is_name(&upload_id) {
            Ok(upload_id)
        } else {
            Err(StoreError::Strange { what: "an upload without a name, or with a very long one" })
        }
    }

    /// Answers the entity tag, and the checksum where the server keeps it.
    async fn upload_part(
        &self,
        key: &str,
        upload_id: &str,
        number: u32,
        content: Bytes,
        sha256: &str,
    ) -> Result<(String, Option<String>), StoreError> {
        let number = number.to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", upload_id)];
        let request = Request::of(Method::PUT, key).with(&query).saying(self.part_headers(sha256)).sending(Body::Content(content));
        let answer = self.ask(request).await?;
        Ok((answer.tag("a part without an entity tag")?, answer.sha256()))
    }

    async fn list_parts(&self, key: &str, upload_id: &str) -> Result<Vec<ListedPart>, StoreError> {
        let (mut parts, mut marker) = (vec![], None::<String>);
        for _ in 0..PAGES_MAX {
            let mut query = vec![("uploadId", upload_id)];
            query.extend(marker.as_deref().map(|marker| ("part-number-marker", marker)));
            let page: PartsPage = self.ask(Request::of(Method::GET, key).with(&query)).await?.parsed()?;
            let listed = |part: PartAnswer| ListedPart { number: part.number, size: part.size, etag: part.etag, sha256: part.sha256 };
            parts.extend(page.parts.into_iter().filter(|part| part.etag.len() <= TAG_BYTES_MAX).map(listed));
            match page.next.filter(|next| page.is_truncated && Some(next) != marker.as_ref()) {
                Some(next) => marker = Some(next),
                None => return Ok(parts),
            }
        }
        Err(StoreError::Strange { what: "more parts than an upload has" })
    }

    /// Makes the parts an object. Answers its entity tag.
    async fn complete(&self, key: &str, upload_id: &str, parts: &[FinishedPart], with_checksums: bool) -> Result<String, StoreError> {
        let mut body = format!("<CompleteMultipartUpload{}>", self.namespace());
        for FinishedPart { number, etag, sha256 } in parts {
            let etag = quick_xml::escape::escape(etag.as_str());
            let checksum = if with_checksums { format!("<ChecksumSHA256>{sha256}</ChecksumSHA256>") } else { String::new() };
            body += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{checksum}</Part>");
        }
        body += "</CompleteMultipartUpload>";
        let query = [("uploadId", upload_id)];
        let headers = vec![("content-type", "application/xml".to_owned())];
        let answer = self.ask(Request::of(Method::POST, key).with(&query).saying(headers).sending(Body::Small(body))).await?;
        match answer.parsed::<Completed>() {
            Ok(completed) => Ok(completed.etag),
            // An answer that had begun well may end in an error.
            Err(_) => Err(failure(StatusCode::INTERNAL_SERVER_ERROR, &answer.headers, &answer.body, Some(key))),
        }
    }

    async fn abort(&self, key: &str, upload_id: &str) -> Result<(), StoreError> {
        let query = [("uploadId", upload_id)];
        match self.ask(Request::of(Method::DELETE, key).with(&query)).await {
            Ok(_) | Err(StoreError::NoUpload | StoreError::NoObject) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Whether it is kept as the name of something.
pub fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
}

/// The header of a checksum, in base64.
pub const SHA256: &str = "x-amz-checksum-sha256";

/// Where stores write the number of an answer.
const NUMBERS: [&str; 2] = ["x-amz-request-id", "x-oss-request-id"];

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Without the address, whose query names the upload.
fn away(error: &reqwest::Error) -> StoreError {
    let text = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection was cut"
    };
    StoreError::Away { text: text.to_owned(), after: None }
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, StoreError> {
    let text = std::str::from_utf8(body).map_err(|_| StoreError::Strange { what: "an answer that is no text" })?;
    quick_xml::de::from_str(text).map_err(|_| StoreError::Strange { what: "an answer that cannot be read" })
}

/// A word of a foreign server, harmless whatever it is.
fn code_of(body: &[u8]) -> String {
    let code = parsed::<ErrorAnswer>(body).map(|answer| answer.code).unwrap_or_default();
    code.chars().filter(char::is_ascii_alphanumeric).take(CODE_CHARS_MAX).collect()
}

/// Whether an answer without a code is a store's all the same: that to HEAD has no body, and a store numbers its answers.
fn is_numbered(headers: &HeaderMap, body: &[u8]) -> bool {
    body.is_empty() && NUMBERS.iter().any(|number| headers.contains_key(*number))
}

fn failure(status: StatusCode, headers: &HeaderMap, body: &[u8], key: Option<&str>) -> StoreError {
    let code = code_of(body);
    match (status.as_u16(), code.as_str()) {
        (_, "NoSuchBucket") => StoreError::NoBucket,
        (_, "NoSuchUpload") => StoreError::NoUpload,
        (_, "NoSuchKey") => StoreError::NoObject,
        (404, "") if !is_numbered(headers, body) => StoreError::NoStore,
        (404, _) if key.is_some() => StoreError::NoObject,
        (404, _) => StoreError::NoBucket,
        (_, "BadDigest" | "InvalidDigest" | "XAmzContentChecksumMismatch" | "IncompleteBody") => StoreError::Damaged { code },
        (
            _,
            "ExpiredToken"
            | "SecurityTokenExpired"
            | "InvalidSecurityToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "AccessDenied"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "RequestTimeTooSkewed",
        ) => StoreError::Denied { code },
        (401 | 403, _) => StoreError::Denied { code: if code.is_empty() { status.as_u16().to_string() } else { code } },
        // It never will.
        (501, _) | (_, "NotImplemented") => StoreError::Refused { status: status.as_u16(), code },
        (_, "RequestTimeout") | (408 | 429 | 500..=599, _) => {
            let after = header(headers, "retry-after").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
            StoreError::Away { text: format!("{} {code}", status.as_u16()).trim_end().to_owned(), after }
        }
        (status, _) => StoreError::Refused { status, code },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, code: &str) -> StoreError {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>a secret of theirs</Message></Error>");
        failure(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes(), Some("k"))
    }

    #[test]
    fn failures_are_told_apart_by_their_cause() {
        assert_eq!(error(404, "NoSuchUpload"), StoreError::NoUpload);
        assert_eq!(error(404, "NoSuchBucket"), StoreError::NoBucket);
        assert_eq!(error(400, "BadDigest"), StoreError::Damaged { code: "BadDigest".into() });
        assert_eq!(error(400, "ExpiredToken"), StoreError::Denied { code: "ExpiredToken".into() });
        assert_eq!(error(400, "EntityTooSmall"), StoreError::Refused { status: 400, code: "EntityTooSmall".into() });
        assert!(matches!(error(503, "SlowDown"), StoreError::Away { .. }));
        assert!(matches!(error(501, "NotImplemented"), StoreError::Refused { .. }));
    }

    #[test]
    fn what_a_proxy_does_not_find_is_no_missing_object() {
        let told = |number: Option<&'static str>, body: &[u8], key| {
            let headers = number.map(|number| (http::HeaderName::from_static(number), http::HeaderValue::from_static("1")));
            failure(StatusCode::NOT_FOUND, &HeaderMap::from_iter(headers), body, key)
        };
        for body in ["", "<html><body>404 Not Found</body></html>", "{\"error\": \"no route\"}", "<Error><Message>none</Message></Error>"] {
            assert_eq!(told(None, body.as_bytes(), Some("k")), StoreError::NoStore, "{body}");
            assert_eq!(told(None, body.as_bytes(), None), StoreError::NoStore, "{body}");
        }
        assert_eq!(told(Some("x-amz-request-id"), b"<html></html>", Some("k")), StoreError::NoStore);
        assert_eq!(told(Some("x-amz-request-id"), b"", Some("k")), StoreError::NoObject);
        assert_eq!(told(Some("x-oss-request-id"), b"", Some("k")), StoreError::NoObject);
        assert_eq!(told(Some("x-amz-request-id"), b"", None), StoreError::NoBucket);
        assert_eq!(told(None, b"<Error><Code>NoSuchKey</Code></Error>", Some("k")), StoreError::NoObject);
        let pushed = PushError::from(StoreError::NoStore);
        assert!(matches!(pushed, PushError::Again { failure, .. } if failure.fault == SyncFault::CloudAway));
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
