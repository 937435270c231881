//! OSS requests made and signed by hand, by the manual of the vendor and not by what the simulated cloud is made of.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use s3s::crypto::{Checksum as _, Md5};
use sha1::Sha1;

use super::s3::{Reply, encode};

/// Of a client whose endpoint is an address: the bucket is in the path.
#[derive(Clone)]
pub struct RawOss {
    pub address: SocketAddr,
    pub bucket: String,
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
    /// How far its clock is ahead.
    pub ahead: TimeDelta,
    pub client: reqwest::Client,
}

/// What a request asks for.
#[derive(Clone, Default)]
pub struct Ask<'a> {
    pub method: &'a str,
    /// Not encoded.
    pub key: &'a str,
    /// Parameters that are signed, in order.
    pub signed: &'a [(&'a str, &'a str)],
    /// Those that are not.
    pub other: &'a [(&'a str, &'a str)],
    pub headers: &'a [(&'a str, &'a str)],
    pub body: Bytes,
    /// Written another way than it should be.
    pub path: Option<String>,
}

fn joined(parameters: &[(&str, &str)], written: impl Fn(&str) -> String) -> Vec<String> {
    let one = |(name, value): &(&str, &str)| if value.is_empty() { written(name) } else { format!("{}={}", written(name), written(value)) };
    parameters.iter().map(one).collect()
}

impl RawOss {
    pub async fn ask(&self, ask: Ask<'_>) -> Reply {
        let date = (Utc::now() + self.ahead).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let mut headers: Vec<(&str, &str)> = ask.headers.to_vec();
        headers.extend(self.token.as_deref().map(|token| ("x-oss-security-token", token)));
        headers.sort_unstable();
        let value = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).unwrap_or_default();
        let vendor: String =
            headers.iter().filter(|(name, _)| name.starts_with("x-oss-")).map(|(name, value)| format!("{name}:{value}\n")).collect();
        let signed = joined(ask.signed, str::to_owned).join("&");
        let mark = if signed.is_empty() { "" } else { "?" };
        let text = format!(
            "{}\n{}\n{}\n{date}\n{vendor}/{}/{}{mark}{signed}",
            ask.method,
            value("content-md5"),
            value("content-type"),
            self.bucket,
            ask.key
        );
        let mut mac = Hmac::<Sha1>::new_from_slice(self.secret.as_bytes()).expect("a key");
        mac.update(text.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());

        let path = ask.path.unwrap_or_else(|| encode(ask.key, "/"));
        let query = [joined(ask.signed, |text| encode(text, "")), joined(ask.other, |text| encode(text, ""))].concat().join("&");
        let url = format!("http://{}/{}/{path}?{query}", self.address, self.bucket);
        let mut request = self.client.request(ask.method.parse().expect("a method"), url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let authorization = format!("OSS {}:{signature}", self.id);
        let answer = request.header("date", date).header("authorization", authorization).body(ask.body).send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Reply { status, headers, body: answer.bytes().await.expect("a body") }
    }

    pub async fn put(&self, key: &str, body: impl Into<Bytes>) -> Reply {
        self.ask(Ask { method: "PUT", key, body: body.into(), ..Ask::default() }).await
    }

    pub async fn get(&self, key: &str) -> Reply {
        self.ask(Ask { method: "GET", key, ..Ask::default() }).await
    }

    pub async fn head(&self, key: &str) -> Reply {
        self.ask(Ask { method: "HEAD", key, ..Ask::default() }).await
    }

    pub async fn initiate(&self, key: &str) -> String {
        let begun = self.ask(Ask { method: "POST", key, signed: &[("uploads", "")], ..Ask::default() }).await;
        begun.element("UploadId").unwrap_or_else(|| panic!("{}", begun.text()))
    }

    pub async fn part(&self, key: &str, upload: &str, number: usize, body: impl Into<Bytes>) -> Reply {
        let number = number.to_string();
        let signed = [("partNumber", &*number), ("uploadId", upload)];
        let headers = [("content-type", "application/octet-stream")];
        self.ask(Ask { method: "PUT", key, signed: &signed, headers: &headers, body: body.into(), ..Ask::default() }).await
    }

    pub async fn complete(&self, key: &str, upload: &str, parts: &[(usize, &str)]) -> Reply {
        let one = |(number, etag): &(usize, &str)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        let parts: String = parts.iter().map(one).collect();
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let (signed, headers) = ([("uploadId", upload)], [("content-type", "application/xml")]);
        self.ask(Ask { method: "POST", key, signed: &signed, headers: &headers, body: body.into(), ..Ask::default() }).await
    }

    pub async fn abort(&self, key: &str, upload: &str) -> Reply {
        self.ask(Ask { method: "DELETE", key, signed: &[("uploadId", upload)], ..Ask::default() }).await
    }
}

/// As OSS writes the tag of an object, with its quotes.
pub fn tag(body: &[u8]) -> String {
    format!("\"{}\"", hex::encode_upper(Md5::checksum(body)))
}

/// As OSS writes the tag of an object that came in parts.
pub fn tag_of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let tags: Vec<String> = parts.into_iter().map(|part| tag(part).trim_matches('"').to_owned()).collect();
    format!("\"{}-{}\"", hex::encode_upper(Md5::checksum(tags.concat().as_bytes())), tags.len())
}
