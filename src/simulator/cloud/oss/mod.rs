//! The OSS endpoint: what the gateway's credentials open. `asked` says who asks for what, with the signatures of `signature`;
//! what is done is in `operations`.

mod asked;
mod operations;
mod signature;
mod xml;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode};
use uuid::Uuid;

use super::content::Contents;
use super::faults::Operation;
use super::ledger::{Injected, Ledger, Place, Tally};
use super::passage::{Answer, Arriving, Service, drain, has_parameter};
use super::shelf::Shelf;
use super::sts::Sts;
use super::switch::Switch;
use asked::{Asked, Refusal};
use operations::{Operations, as_xml};

pub struct Endpoint {
    operations: Operations,
    access_key: String,
    secret_key: String,
    sts: Arc<Sts>,
    switch: Arc<Switch>,
    ledger: Arc<Ledger>,
}

impl Endpoint {
    pub fn new(
        (shelf, contents): (Arc<Shelf>, Arc<Contents>),
        (access_key, secret_key): (String, String),
        sts: Arc<Sts>,
        switch: Arc<Switch>,
        ledger: Arc<Ledger>,
    ) -> Self {
        let operations = Operations { shelf, contents, ledger: ledger.clone() };
        Self { operations, access_key, secret_key, sts, switch, ledger }
    }

    fn is_allowed(&self, asked: &Asked) -> Result<(), Refusal> {
        let (id, _) = asked.signer()?;
        if id == self.access_key && !self.switch.key_is_good() {
            self.ledger.injected(Injected::ExpiredKey);
            return Err(Refusal::new(StatusCode::FORBIDDEN, "InvalidAccessKeyId", "The key has expired, and was not renewed"));
        }
        let own = (&*self.access_key, &*self.secret_key);
        asked.is_allowed(own, self.sts.find(id).as_ref(), Utc::now())
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
            Method::POST => Operation::Complete,
            Method::DELETE => Operation::Delete,
            _ => Operation::Read,
        }
    }

    fn place(&self, head: &Parts) -> Option<Place> {
        Asked::parse(head).ok().map(|asked| asked.place()).filter(|(_, key)| !key.is_empty())
    }

    async fn serve(&self, request: Request<Arriving>) -> Answer {
        let (head, body) = request.into_parts();
        let mut body = Some(body);
        let outcome = match Asked::parse(&head) {
            Ok(asked) => match self.is_allowed(&asked) {
                Ok(()) => self.operations.carry_out(&asked, &mut body).await,
                Err(refusal) => Err(refusal),
            },
            Err(refusal) => Err(refusal),
        };
        if let Some(rest) = body {
            drain(rest, self.place(&head).map(|place| Tally::new(&self.ledger, place))).await;
        }
        let id = Uuid::new_v4().simple().to_string().to_uppercase();
        let mut answer = outcome.unwrap_or_else(|refusal| {
            self.ledger.refused("oss", &refusal.code);
            refused(refusal, &id, head.method == Method::HEAD)
        });
        let headers = answer.headers_mut();
        headers.extend(HeaderValue::try_from(id).ok().map(|id| (http::HeaderName::from_static("x-oss-request-id"), id)));
        headers.insert(http::header::SERVER, HeaderValue::from_static("AliyunOSS"));
        answer
    }

    fn slow_down(&self) -> Answer {
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "Please reduce your request rate.");
        refused(refusal, "", false)
    }
}

/// An answer to HEAD has no body: OSS puts it into a header.
fn refused(refusal: Refusal, request_id: &str, head: bool) -> Answer {
    let Refusal { status, code, message, signed_text } = refusal;
    let mut facts = vec![("Code", code), ("Message", message), ("RequestId", request_id.to_owned())];
    facts.extend(signed_text.map(|text| ("StringToSign", text)));
    let mut answer = as_xml(status, "Error", &facts);
    if head {
        let facts: Vec<_> = facts.iter().map(|(name, text)| (*name, &**text)).collect();
        let told = STANDARD.encode(xml::element("Error", &facts));
        answer.headers_mut().extend(HeaderValue::try_from(told).ok().map(|told| (http::HeaderName::from_static("x-oss-err"), told)));
    }
    answer
}
