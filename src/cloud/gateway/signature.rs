//! Signature version 1 of OSS. Pure.
//!
//! Signed is what a request means: the key and the parameters as they are before they are encoded for the way. Of the parameters only those are
//! signed that name a part of an object or an upload; others, such as `max-parts`, are not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::Method;
use sha1::Sha1;

/// Of those that are sent here.
const SUB_RESOURCES: [&str; 3] = ["partNumber", "uploadId", "uploads"];

pub struct Signed<'a> {
    pub method: &'a Method,
    pub content_type: &'a str,
    pub date: &'a str,
    /// `x-oss-…`, in lower case.
    pub headers: &'a [(&'static str, String)],
    pub bucket: &'a str,
    pub key: &'a str,
    pub query: &'a [(&'a str, &'a str)],
}

impl Signed<'_> {
    fn text(&self) -> String {
        let mut headers: Vec<_> = self.headers.iter().filter(|(name, _)| name.starts_with("x-oss-")).collect();
        headers.sort_unstable();
        let headers: String = headers.into_iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let mut query: Vec<_> = self.query.iter().filter(|(name, _)| SUB_RESOURCES.contains(name)).collect();
        query.sort_unstable();
        let query: Vec<_> =
            query.into_iter().map(|(name, value)| if value.is_empty() { (*name).to_owned() } else { format!("{name}={value}") }).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let Self { method, content_type, date, bucket, key, .. } = self;
        format!("{method}\n\n{content_type}\n{date}\n{headers}/{bucket}/{key}{query}")
    }

    /// What the header `authorization` says.
    pub fn authorization(&self, access_key_id: &str, secret: &str) -> String {
        let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("a key of any length");
        mac.update(self.text().as_bytes());
        format!("OSS {access_key_id}:{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// A time as the header `date` has it.
pub fn http_date(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(method: &Method, key: &str, query: &[(&str, &str)], content_type: &str) -> String {
        let headers = [("x-oss-security-token", "CAIS/token+=".to_owned()), ("content-type", content_type.to_owned())];
        let date = http_date(DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        assert_eq!(date, "Fri, 15 Jan 2027 08:00:00 GMT");
        Signed { method, content_type, date: &date, headers: &headers, bucket: "keystone-oss", key, query }
            .authorization("STS.id", "secret")
    }

    /// Made with the vendor's SDK for Python, version 2.19, from the same requests.
    #[test]
    fn requests_are_signed_as_the_vendors_sdk_signs_them() {
        let key = "工厂 1/a+b %2F/ep~1.mcap";
        for (method, query, content_type, authorization) in [
            (Method::POST, &[("uploads", "")][..], "application/octet-stream", "OSS STS.id:b2B+Vo0kGKgwsBLMeykGj/zyzFM="),
            (
                Method::PUT,
                &[("partNumber", "7"), ("uploadId", "u 1/+=工")][..],
                "application/octet-stream",
                "OSS STS.id:VeFZfkT/DmyN0ut5LAdZoWgIgZA=",
            ),
            (Method::GET, &[("uploadId", "u 1/+=工"), ("max-parts", "1")][..], "", "OSS STS.id:CTbZEOaOecO5msLcR8ZENL8fDUs="),
            (Method::POST, &[("uploadId", "u 1/+=工")][..], "application/xml", "OSS STS.id:o5yRuC5NP5hXLsspoKmNEaSHYAA="),
            (Method::DELETE, &[("uploadId", "u 1/+=工")][..], "", "OSS STS.id:isIs+D4vQTkyK67eW/0Bp7MqBVo="),
            (Method::HEAD, &[][..], "", "OSS STS.id:+qoEy9OG2k9uHc+leDpE+vnrjlk="),
        ] {
            assert_eq!(signed(&method, key, query, content_type), authorization, "{method} {query:?}");
        }
    }
}
