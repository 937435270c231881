//! The S3 endpoint: `s3s` speaks the protocol (signatures, chunked bodies, XML), what a request does is in `operations`.

mod lists;
mod operations;

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use percent_encoding::percent_decode_str;
use s3s::auth::{S3Auth, SecretKey};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Result, s3_error};
use uuid::Uuid;

use super::content::Contents;
use super::faults::Operation;
use super::ledger::{Injected, Ledger, Place};
use super::passage::{Answer, Arriving, Service, has_parameter};
use super::shelf::Shelf;
use super::switch::Switch;
use operations::Operations;

/// The list of ten thousand parts with their checksums has room.
const XML_BYTES_MAX: usize = 4 << 20;

pub struct Endpoint {
    s3: S3Service,
    ledger: Arc<Ledger>,
}

/// The one key that there is.
struct Key {
    access_key: String,
    secret_key: SecretKey,
    switch: Arc<Switch>,
    ledger: Arc<Ledger>,
}

#[async_trait::async_trait]
impl S3Auth for Key {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key != self.access_key {
            return Err(s3_error!(InvalidAccessKeyId, "The access key is not known"));
        }
        if !self.switch.key_is_good() {
            self.ledger.injected(Injected::ExpiredKey);
            return Err(s3_error!(ExpiredToken, "The key has expired, and was not renewed"));
        }
        Ok(self.secret_key.clone())
    }
}

impl Endpoint {
    pub fn new(shelf: Arc<Shelf>, contents: Arc<Contents>, key: (&str, &str), switch: Arc<Switch>, ledger: Arc<Ledger>) -> Self {
        let mut config = S3Config::default();
        config.xml_max_body_size = XML_BYTES_MAX;
        config.post_object_max_file_size = 0;
        let mut builder = S3ServiceBuilder::new(Operations { shelf, contents, ledger: ledger.clone() });
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        let (access_key, secret_key) = (key.0.to_owned(), SecretKey::from(key.1));
        builder.set_auth(Key { access_key, secret_key, switch, ledger: ledger.clone() });
        Self { s3: builder.build(), ledger }
    }
}

#[async_trait::async_trait]
impl Service for Endpoint {
    fn operation(&self, head: &Parts) -> Operation {
        let has = |name| has_parameter(head, name);
        match head.method {
            Method::PUT if has("partNumber") => Operation::Part,
            Method::PUT => Operation::Put,
            Method::POST if has("uploads") => Operation::Create,
            Method::POST if has("uploadId") => Operation::Complete,
            Method::POST | Method::DELETE => Operation::Delete,
            _ => Operation::Read,
        }
    }

    fn place(&self, head: &Parts) -> Option<Place> {
        let path = percent_decode_str(head.uri.path()).decode_utf8().ok()?;
        let (bucket, key) = path.strip_prefix('/')?.split_once('/').filter(|(_, key)| !key.is_empty())?;
        Some((bucket.to_owned(), key.to_owned()))
    }

    async fn serve(&self, request: Request<Arriving>) -> Answer {
        match self.s3.call(request.map(s3s::Body::http_body_unsync)).await {
            Ok(answer) => {
                let status = answer.status();
                if status.is_client_error() || status.is_server_error() {
                    let told = answer.body().bytes();
                    self.ledger.refused("s3", told.as_deref().and_then(code_in).unwrap_or(status.as_str()));
                }
                let mut answer = answer.map(|body| body.boxed_unsync());
                // By this, a client knows that it was the store that answered.
                let number = HeaderValue::try_from(Uuid::new_v4().simple().to_string());
                answer.headers_mut().extend(number.ok().map(|number| (HeaderName::from_static("x-amz-request-id"), number)));
                answer
            }
            Err(error) => {
                tracing::error!("The simulated S3 endpoint failed: {error:?}");
                refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "The simulated cloud failed")
            }
        }
    }

    fn slow_down(&self) -> Answer {
        refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", "Please reduce your request rate")
    }
}

/// What an error that was written as XML has as its code.
fn code_in(xml: &[u8]) -> Option<&str> {
    let (_, rest) = std::str::from_utf8(xml).ok()?.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code)
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Answer {
    let xml = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
    let mut answer = Response::new(Full::new(Bytes::from(xml)).map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}
