//! Refusals of `s3s` itself that waiting can mend.
//!
//! A clock is set right and a secret is put right, and until then a robot has to keep its file: it gives up for ever
//! what is answered with 403. So these two are answered with 503, as ours are (see `keys`).

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, StatusCode, Uri};
use s3s::{HttpResponse, S3Error, S3ErrorCode};

use crate::embedded::keys::Keys;

/// What a request says of its signature, by header or in its link.
pub struct Signed {
    authorization: Option<HeaderValue>,
    date: Option<HeaderValue>,
    uri: Uri,
}

impl Signed {
    pub fn of<B>(request: &Request<B>) -> Self {
        let header = |name: &str| request.headers().get(name).cloned();
        Self { authorization: header(AUTHORIZATION.as_str()), date: header("x-amz-date"), uri: request.uri().clone() }
    }

    /// The answer as it was, or the one that makes a robot wait.
    pub fn answer(&self, given: HttpResponse, keys: &Keys) -> HttpResponse {
        if given.status() != StatusCode::FORBIDDEN {
            return given;
        }
        let why = match given.body().bytes().as_deref().and_then(|xml| element_of(xml, "Code")) {
            Some("RequestTimeTooSkewed") => self.clocks(),
            Some("SignatureDoesNotMatch") if self.access_key().is_some_and(|key| keys.robots_hold(key)) => {
                "the request is not signed with the secret of this key, or was damaged on its way".to_owned()
            }
            _ => return given,
        };
        S3Error::with_message(S3ErrorCode::ServiceUnavailable, why).to_http_response().unwrap_or(given)
    }

    fn clocks(&self) -> String {
        let ours = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
        let theirs = self.date().map_or_else(|| "another time".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
        format!("clocks are too far apart: the request is of {theirs} and it is {ours} here; set the one that is wrong")
    }

    fn date(&self) -> Option<DateTime<Utc>> {
        let text = self.date.as_ref().map_or_else(|| self.parameter("X-Amz-Date"), |value| value.to_str().ok())?;
        NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%SZ").ok().map(|at| at.and_utc())
    }

    /// The key that it names, whether it has its secret or not.
    pub fn access_key(&self) -> Option<&str> {
        let credential = match &self.authorization {
            Some(value) => value.to_str().ok()?.split_once("Credential=")?.1,
            None => self.parameter("X-Amz-Credential")?,
        };
        // In a link the slash is encoded.
        credential.split(['/', '%']).next()
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.uri.query()?.split('&').filter_map(|pair| pair.split_once('=')).find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

/// What an error that was written as XML has in one of its elements.
pub fn element_of<'a>(xml: &'a [u8], name: &str) -> Option<&'a str> {
    let (_, rest) = std::str::from_utf8(xml).ok()?.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(content, _)| content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_read_from_headers_and_from_links() {
        let signed = |uri: &str, headers: &[(&'static str, &str)]| {
            let mut request = Request::builder().uri(uri);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let signed = Signed::of(&request.body(()).unwrap());
            (signed.access_key().map(str::to_owned), signed.date().map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true)))
        };
        let expected = (Some("KR7".to_owned()), Some("2026-11-21T09:01:43Z".to_owned()));
        let authorization = "AWS4-HMAC-SHA256 Credential=KR7/20261121/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00";
        assert_eq!(signed("/b/k", &[("authorization", authorization), ("x-amz-date", "20261121T090143Z")]), expected);
        let link = "/b/k?X-Amz-Credential=KR7%2F20261121%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20261121T090143Z&X-Amz-Signature=00";
        assert_eq!(signed(link, &[]), expected);
        assert_eq!(signed("/b/k", &[("authorization", "Basic x"), ("x-amz-date", "yesterday")]), (None, None));
    }
}
