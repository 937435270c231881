//! A request to OSS, taken apart: what it is about and who signed it.

use chrono::{DateTime, TimeDelta, Utc};
use http::request::Parts;
use http::{Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use s3s::S3Error;
use url::form_urlencoded;

use super::signature::Signed;
use crate::simulator::cloud::ledger::Place;
use crate::simulator::cloud::sts::Given;

/// Further from the time of the cloud a request must not be signed.
const SKEW_MAX: TimeDelta = TimeDelta::minutes(15);

/// Why a request is not carried out.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub code: String,
    pub message: String,
    /// What the cloud would have signed, for who has to find out why another was signed.
    pub signed_text: Option<String>,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), signed_text: None }
    }

    pub fn unknown(what: &str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", format!("The simulated cloud does not know {what}"))
    }

    pub fn argument(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidArgument", why)
    }
}

/// What the shelves say has the same names in OSS.
impl From<S3Error> for Refusal {
    fn from(error: S3Error) -> Self {
        let status = error.status_code().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, error.code().as_str(), error.message().unwrap_or_default())
    }
}

pub struct Asked {
    pub method: Method,
    pub bucket: String,
    pub key: String,
    pub query: Vec<(String, String)>,
    /// Names in small letters.
    headers: Vec<(String, String)>,
}

impl Asked {
    /// Decodes once: what is signed is what was meant.
    pub fn parse(head: &Parts) -> Result<Self, Refusal> {
        let path = percent_decode_str(head.uri.path()).decode_utf8();
        let path = path.map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "InvalidObjectName", "The key is not UTF-8"))?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let query = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).trim().to_owned();
        Ok(Self {
            method: head.method.clone(),
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            query: query.into_owned().collect(),
            headers: head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
        })
    }

    pub fn place(&self) -> Place {
        (self.bucket.clone(), self.key.clone())
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Headers with this beginning, without it.
    pub fn headers_with(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, &**value)))
    }

    /// Refuses parameters that would be ignored.
    pub fn takes_only(&self, names: &[&str]) -> Result<(), Refusal> {
        match self.query.iter().find(|(name, _)| !names.contains(&&**name)) {
            Some((name, _)) => Err(Refusal::unknown(&format!("the parameter {name} of this request"))),
            None => Ok(()),
        }
    }

    fn signed(&self) -> Signed<'_> {
        let text = |name: &str| self.header(name).unwrap_or_default();
        Signed {
            method: self.method.as_str(),
            content_md5: text("content-md5"),
            content_type: text("content-type"),
            date: self.header("x-oss-date").unwrap_or_else(|| text("date")),
            headers: &self.headers,
            bucket: &self.bucket,
            key: &self.key,
            query: &self.query,
        }
    }

    /// Who signed it, as far as the request says: access key and signature.
    pub fn signer(&self) -> Result<(&str, &str), Refusal> {
        let Some(shown) = self.header(header::AUTHORIZATION.as_str()) else {
            return Err(denied("AccessDenied", "You have no right to access this object because of bucket acl."));
        };
        let signer = shown.strip_prefix("OSS ").and_then(|of| of.split_once(':'));
        signer.ok_or_else(|| Refusal::argument("The authorization is none of signature version 1, `OSS <id>:<signature>`"))
    }

    /// Whether a key that is good has signed it. `own` is the one that needs no token, `given` what is known of the signer as of one
    /// that needs its own.
    pub fn is_allowed(&self, own: (&str, &str), given: Option<&Given>, now: DateTime<Utc>) -> Result<(), Refusal> {
        let (id, signature) = self.signer()?;
        let token = self.header("x-oss-security-token");
        let unknown = || denied("InvalidAccessKeyId", "The OSS Access Key Id you provided does not exist in our records.");
        let secret = match (token, given) {
            (None, None) if id == own.0 => own.1,
            (Some(token), Some(Given { credentials, .. })) => {
                if token != credentials.security_token {
                    return Err(denied("InvalidSecurityToken", "The security token you provided is invalid."));
                }
                if now >= credentials.expires_at {
                    return Err(denied("SecurityTokenExpired", "The security token you provided has expired."));
                }
                &credentials.access_key_secret
            }
            _ => return Err(unknown()),
        };
        let signed = self.signed();
        let date =
            DateTime::parse_from_rfc2822(signed.date).map_err(|_| denied("AccessDenied", "OSS authentication requires a valid Date."))?;
        if (now - date.to_utc()).abs() > SKEW_MAX {
            return Err(denied("RequestTimeTooSkewed", "The difference between the request time and the current time is too large."));
        }
        if !signed.is_signed(secret, signature) {
            let why = "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
            return Err(Refusal { signed_text: Some(signed.text()), ..denied("SignatureDoesNotMatch", why) });
        }
        match given {
            Some(given) if !given.reach.has(&self.place()) => Err(denied("AccessDenied", "The token is good for another object.")),
            _ => Ok(()),
        }
    }
}

fn denied(code: &str, message: &str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, code, message)
}
