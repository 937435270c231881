//! What OSS clients ask for, once it is known who asks. What is not here is answered as not implemented.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::response::Builder;
use http::{Method, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::Frame;
use s3s::S3ErrorCode;
use s3s::dto::{Checksum, ETagCondition, Range, StreamingBlob};

use super::asked::{Asked, Refusal};
use super::xml;
use crate::simulator::cloud::content::{Contents, Received, Said, read};
use crate::simulator::cloud::ledger::{Ledger, Tally};
use crate::simulator::cloud::passage::{Answer, Arriving};
use crate::simulator::cloud::shelf::{Attributes, Conditions, Object, SaidOfWhole, Shelf};

/// The list of ten thousand parts has room.
const XML_BYTES_MAX: usize = 4 << 20;

/// What a page of parts holds at most.
const PAGE: usize = 1000;

/// Of an answer to a look at an object: how a client wants its headers.
const OVERRIDES: [(&str, header::HeaderName); 6] = [
    ("response-cache-control", header::CACHE_CONTROL),
    ("response-content-disposition", header::CONTENT_DISPOSITION),
    ("response-content-encoding", header::CONTENT_ENCODING),
    ("response-content-language", header::CONTENT_LANGUAGE),
    ("response-content-type", header::CONTENT_TYPE),
    ("response-expires", header::EXPIRES),
];

/// Kinds of requests that would need what is not here.
const UNKNOWN_HEADERS: [&str; 9] = [
    "x-oss-copy-source",
    "x-oss-tagging",
    "x-oss-callback",
    "x-oss-server-side-encryption",
    "x-oss-server-side-data-encryption",
    "x-oss-object-acl",
    "x-oss-storage-class",
    "x-oss-complete-all",
    "if-modified-since",
];

pub struct Operations {
    pub shelf: Arc<Shelf>,
    pub contents: Arc<Contents>,
    pub ledger: Arc<Ledger>,
}

/// The body of a request, while nobody has taken it.
pub type Coming = Option<Arriving>;

impl Operations {
    pub async fn carry_out(&self, asked: &Asked, body: &mut Coming) -> Result<Answer, Refusal> {
        self.shelf.must_have_bucket(&asked.bucket)?;
        if asked.key.is_empty() {
            return Err(Refusal::unknown("requests about a bucket, only those about its objects"));
        }
        if let Some(name) = UNKNOWN_HEADERS.into_iter().find(|name| asked.header(name).is_some()) {
            return Err(Refusal::unknown(&format!("the header {name}")));
        }
        match (&asked.method, asked.parameter("uploadId")) {
            (&Method::GET, None) => self.get(asked),
            (&Method::GET, Some(id)) => self.list_parts(asked, id),
            (&Method::HEAD, None) => self.head(asked),
            (&Method::PUT, None) => self.put(asked, body).await,
            (&Method::PUT, Some(id)) => self.put_part(asked, id, body).await,
            (&Method::POST, None) if asked.parameter("uploads").is_some() => self.initiate(asked),
            (&Method::POST, Some(id)) => self.complete(asked, id, body).await,
            (&Method::DELETE, None) => self.delete(asked),
            (&Method::DELETE, Some(id)) => self.abort(asked, id),
            _ => Err(Refusal::unknown("this request")),
        }
    }

    fn found(&self, asked: &Asked) -> Result<Arc<Object>, Refusal> {
        let missing = || Refusal::new(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.");
        self.shelf.find(&asked.place())?.ok_or_else(missing)
    }

    fn head(&self, asked: &Asked) -> Result<Answer, Refusal> {
        asked.takes_only(&["objectMeta"])?;
        let found = self.found(asked)?;
        let answer = described(&found).header(header::CONTENT_LENGTH, found.bytes());
        Ok(with(answer, Bytes::new()))
    }

    fn get(&self, asked: &Asked) -> Result<Answer, Refusal> {
        let known: Vec<_> = OVERRIDES.iter().map(|(name, _)| *name).chain(["objectMeta"]).collect();
        asked.takes_only(&known)?;
        let found = self.found(asked)?;
        let mut answer = described(&found);
        if asked.parameter("objectMeta").is_some() {
            return Ok(with(answer, Bytes::new()));
        }
        let bytes = found.bytes();
        // A range that is not there is no error here: all of it is sent.
        let range = asked.header("range").and_then(|range| Range::parse(range).ok()?.check(bytes).ok());
        let sent = range.clone().unwrap_or(0..bytes);
        if let Some(range) = range {
            let told = format!("bytes {}-{}/{bytes}", range.start, range.end.saturating_sub(1));
            answer = answer.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, told);
        }
        let body = read(&found.pieces, &sent).ok_or_else(|| Refusal::unknown("what it discarded: it runs with --discard"))?;
        let body = StreamBody::new(futures_util::TryStreamExt::map_ok(body, Frame::data)).map_err(Into::into).boxed_unsync();
        let mut answer = complete(answer.header(header::CONTENT_LENGTH, sent.end - sent.start).body(body))?;
        for (name, header) in OVERRIDES {
            if let Some(value) = asked.parameter(name) {
                let value = value.parse().map_err(|_| Refusal::argument(format!("{name} is no value of a header")))?;
                answer.headers_mut().insert(header, value);
            }
        }
        Ok(answer)
    }

    async fn put(&self, asked: &Asked, body: &mut Coming) -> Result<Answer, Refusal> {
        asked.takes_only(&[])?;
        let (place, conditions) = (asked.place(), conditions(asked));
        self.shelf.allow(&place, &conditions).map_err(exists)?;
        let received = self.receive(asked, body).await?;
        let placed = self.shelf.place(&place, received, attributes(asked), &conditions).map_err(exists)?;
        self.ledger.completed(&place, placed.bytes());
        Ok(with(tagged(&placed.etag, placed.crc64), Bytes::new()))
    }

    async fn put_part(&self, asked: &Asked, id: &str, body: &mut Coming) -> Result<Answer, Refusal> {
        asked.takes_only(&["partNumber", "uploadId"])?;
        let number = asked.parameter("partNumber").and_then(|number| number.parse().ok());
        let number: i32 = number.ok_or_else(|| Refusal::argument("partNumber must be an integer"))?;
        self.shelf.allow_part(&asked.place(), id, number, &Checksum::default(), None)?;
        let received = self.receive(asked, body).await?;
        let part = self.shelf.keep_part(&asked.place(), id, number, received)?;
        Ok(with(tagged(&part.etag, part.received.crc64), Bytes::new()))
    }

    async fn receive(&self, asked: &Asked, body: &mut Coming) -> Result<Received, Refusal> {
        let body = body.take().ok_or_else(|| Refusal::argument("There is no body"))?;
        let said = Said {
            bytes: asked.header("content-length").and_then(|bytes| bytes.parse().ok()),
            content_md5: asked.header("content-md5").map(str::to_owned),
            for_oss: true,
            ..Said::default()
        };
        let body = StreamingBlob::from(s3s::Body::http_body_unsync(body));
        let received = self.contents.receive(body, said, Tally::new(&self.ledger, asked.place())).await;
        received.map_err(|error| match error.code() {
            S3ErrorCode::BadDigest => {
                Refusal::new(StatusCode::BAD_REQUEST, "InvalidDigest", "The Content-MD5 you specified did not match.")
            }
            _ => error.into(),
        })
    }

    fn initiate(&self, asked: &Asked) -> Result<Answer, Refusal> {
        asked.takes_only(&["uploads", "sequential", "encoding-type"])?;
        let id = self.shelf.begin(asked.place(), attributes(asked), None)?;
        let mut facts = vec![("Bucket", asked.bucket.clone())];
        facts.extend(xml::key_of(asked));
        facts.push(("UploadId", id));
        Ok(as_xml(StatusCode::OK, "InitiateMultipartUploadResult", &facts))
    }

    fn list_parts(&self, asked: &Asked, id: &str) -> Result<Answer, Refusal> {
        asked.takes_only(&["uploadId", "max-parts", "part-number-marker", "encoding-type"])?;
        let upload = self.shelf.upload(&asked.place(), id)?;
        // The vendor's client sends an empty marker for the first page.
        let number = |name: &str| {
            let given = asked.parameter(name).filter(|text| !text.is_empty()).map(str::parse::<i32>).transpose();
            given.map_err(|_| Refusal::argument(format!("{name} must be an integer")))
        };
        let max = number("max-parts")?.map_or(Some(PAGE), |max| usize::try_from(max).ok().filter(|max| (1..=PAGE).contains(max)));
        let max = max.ok_or_else(|| Refusal::argument(format!("max-parts must be between 1 and {PAGE}")))?;
        let after = number("part-number-marker")?.unwrap_or_default();
        let mut page: Vec<_> = upload.parts.iter().filter(|(number, _)| **number > after).map(|(number, part)| (*number, part)).collect();
        let truncated = page.len() > max;
        page.truncate(max);
        let next = page.last().map(|(number, _)| *number).filter(|_| truncated);
        let listed = xml::parts(asked, id, &page, after, max, next);
        Ok(with(Response::builder().header(header::CONTENT_TYPE, "application/xml"), listed.into()))
    }

    async fn complete(&self, asked: &Asked, id: &str, body: &mut Coming) -> Result<Answer, Refusal> {
        asked.takes_only(&["uploadId", "encoding-type"])?;
        let body = body.take().ok_or_else(|| Refusal::argument("There is no body"))?;
        let listed = Limited::new(body, XML_BYTES_MAX).collect().await;
        let listed = listed.map_err(|error| Refusal::argument(format!("The list of parts did not arrive: {error}")))?.to_bytes();
        let (place, wanted) = (asked.place(), xml::wanted_parts(&listed)?);
        let placed = self.shelf.complete(&place, id, &wanted, &SaidOfWhole::default(), &conditions(asked)).map_err(exists)?;
        self.ledger.completed(&place, placed.bytes());
        let mut facts = vec![("Location", format!("/{}/{}", asked.bucket, asked.key)), ("Bucket", asked.bucket.clone())];
        facts.extend(xml::key_of(asked));
        facts.push(("ETag", quoted(&placed.etag)));
        let mut answer = as_xml(StatusCode::OK, "CompleteMultipartUploadResult", &facts);
        answer.headers_mut().extend(with(tagged(&placed.etag, placed.crc64), Bytes::new()).headers().clone());
        Ok(answer)
    }

    fn delete(&self, asked: &Asked) -> Result<Answer, Refusal> {
        asked.takes_only(&[])?;
        self.shelf.remove(&asked.place())?;
        Ok(with(Response::builder().status(StatusCode::NO_CONTENT), Bytes::new()))
    }

    fn abort(&self, asked: &Asked, id: &str) -> Result<Answer, Refusal> {
        asked.takes_only(&["uploadId"])?;
        self.shelf.abort(&asked.place(), id)?;
        Ok(with(Response::builder().status(StatusCode::NO_CONTENT), Bytes::new()))
    }
}

/// OSS has one condition for writes: that nothing is there.
fn conditions(asked: &Asked) -> Conditions {
    let absent = asked.header("x-oss-forbid-overwrite").is_some_and(|forbids| forbids == "true");
    Conditions { if_match: None, if_none_match: absent.then_some(ETagCondition::Any) }
}

fn exists(error: s3s::S3Error) -> Refusal {
    match error.code() {
        S3ErrorCode::PreconditionFailed => {
            Refusal::new(StatusCode::CONFLICT, "FileAlreadyExists", "The object you specified already exists and can not be overwritten.")
        }
        _ => error.into(),
    }
}

fn attributes(asked: &Asked) -> Attributes {
    let text = |name: &str| asked.header(name).map(str::to_owned);
    let metadata = asked.headers_with("x-oss-meta-").map(|(name, value)| (name.to_owned(), value.to_owned()));
    Attributes {
        metadata: Some(metadata.collect()),
        content_type: text("content-type"),
        content_encoding: text("content-encoding"),
        content_disposition: text("content-disposition"),
        content_language: text("content-language"),
        cache_control: text("cache-control"),
    }
}

fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

fn tagged(etag: &str, crc64: Option<u64>) -> Builder {
    let answer = Response::builder().header(header::ETAG, quoted(etag));
    match crc64 {
        Some(crc64) => answer.header("x-oss-hash-crc64ecma", crc64),
        None => answer,
    }
}

/// What is known of an object.
fn described(found: &Object) -> Builder {
    let kind = if found.came_in_parts() { "Multipart" } else { "Normal" };
    let modified = DateTime::<Utc>::from(found.modified).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let attributes = &found.attributes;
    let mut answer = tagged(&found.etag, found.crc64)
        .header(header::LAST_MODIFIED, modified)
        .header(header::ACCEPT_RANGES, "bytes")
        .header("x-oss-object-type", kind)
        .header("x-oss-storage-class", "Standard")
        .header(header::CONTENT_TYPE, attributes.content_type.as_deref().unwrap_or("application/octet-stream"));
    for (name, value) in [
        (header::CONTENT_ENCODING, &attributes.content_encoding),
        (header::CONTENT_DISPOSITION, &attributes.content_disposition),
        (header::CONTENT_LANGUAGE, &attributes.content_language),
        (header::CACHE_CONTROL, &attributes.cache_control),
    ] {
        if let Some(value) = value {
            answer = answer.header(name, value);
        }
    }
    for (name, value) in attributes.metadata.iter().flatten() {
        answer = answer.header(format!("x-oss-meta-{name}"), value);
    }
    answer
}

/// Values came as headers, and go as headers.
fn complete<B>(answer: Result<Response<B>, http::Error>) -> Result<Response<B>, Refusal> {
    answer.map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", format!("No answer can be made: {error}")))
}

fn with(answer: Builder, body: Bytes) -> Answer {
    let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
    answer.body(body).unwrap_or_else(|error| {
        tracing::error!("The simulated OSS cannot make an answer: {error}");
        let mut failed = Response::new(Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync());
        *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        failed
    })
}

pub fn as_xml(status: StatusCode, name: &str, facts: &[(&str, String)]) -> Answer {
    let facts: Vec<_> = facts.iter().map(|(name, text)| (*name, &**text)).collect();
    let answer = Response::builder().status(status).header(header::CONTENT_TYPE, "application/xml");
    with(answer, xml::element(name, &facts).into())
}
