//! S3 requests made by hand: what ordinary clients never send, and everything that they hide.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use hmac::{Hmac, KeyInit, Mac};
use keystone_edge::embedded::s3::EmbeddedS3;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt as _;

pub struct RawS3 {
    address: SocketAddr,
    access_key: String,
    secret_key: String,
    /// How far its clock is ahead.
    ahead: chrono::Duration,
    client: reqwest::Client,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: bytes::Bytes,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Without quotes.
    pub fn etag(&self) -> &str {
        self.header("etag").trim_matches('"')
    }

    /// The first element called `name`.
    pub fn element(&self, name: &str) -> Option<String> {
        self.elements(name).into_iter().next()
    }

    /// The content of all elements called `name`, as it stands there.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let (open, close, text) = (format!("<{name}>"), format!("</{name}>"), self.text());
        text.split(&open).skip(1).filter_map(|rest| rest.split_once(&close).map(|(content, _)| content.to_owned())).collect()
    }

    pub fn code(&self) -> String {
        self.element("Code").unwrap_or_default()
    }
}

pub fn encode(text: &str, kept: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.as_bytes().contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
        encoded
    })
}

fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

impl RawS3 {
    pub fn of(s3: &EmbeddedS3) -> Self {
        let credentials = s3.credentials();
        Self::new(s3.address(), &credentials.access_key, credentials.secret_key.expose())
    }

    pub fn new(address: SocketAddr, access_key: &str, secret_key: &str) -> Self {
        let (access_key, secret_key) = (access_key.to_owned(), secret_key.to_owned());
        Self { address, access_key, secret_key, ahead: chrono::Duration::zero(), client: reqwest::Client::new() }
    }

    #[must_use]
    pub fn ahead_by(self, ahead: chrono::Duration) -> Self {
        Self { ahead, ..self }
    }

    /// `path` is `/bucket/key`, not encoded.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> Reply {
        let body = body.into();
        let hash = hex::encode(Sha256::digest(&body));
        self.send_hashed(method, path, query, headers, body, &hash).await
    }

    /// With what the signature says about the body, be it true or not.
    pub async fn send_hashed(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: bytes::Bytes,
        body_hash: &str,
    ) -> Reply {
        let (target, signed) = self.signed(method, path, query, headers, body_hash);
        let mut request = self.client.request(method.parse().unwrap(), format!("http://{}{target}", self.address));
        for (name, value) in signed.iter().filter(|(name, _)| *name != "host") {
            request = request.header(name, value);
        }
        let answer = request.body(body).send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Reply { status, headers, body: answer.bytes().await.expect("a body") }
    }

    /// Announces more than it sends, and is gone.
    pub async fn put_cut_off(&self, path: &str, announced: usize, sent: &[u8]) {
        let (target, signed) = self.signed("PUT", path, &[], &[], "UNSIGNED-PAYLOAD");
        let headers: String = signed.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("PUT {target} HTTP/1.1\r\n{headers}content-length: {announced}\r\n\r\n");
        let mut socket = tokio::net::TcpStream::connect(self.address).await.expect("a connection");
        socket.write_all(&[head.as_bytes(), sent].concat()).await.expect("a write");
    }

    /// Path and query as they are sent, and all headers of a request.
    fn signed(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body_hash: &str,
    ) -> (String, BTreeMap<String, String>) {
        let now = Utc::now() + self.ahead;
        let (day, time) = (now.format("%Y%m%d").to_string(), now.format("%Y%m%dT%H%M%SZ").to_string());
        let mut signed: BTreeMap<String, String> =
            headers.iter().map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
        signed.insert("host".into(), self.address.to_string());
        signed.insert("x-amz-date".into(), time.clone());
        signed.insert("x-amz-content-sha256".into(), body_hash.to_owned());
        let path = encode(path, "/");
        let mut query: Vec<_> = query.iter().map(|(name, value)| format!("{}={}", encode(name, ""), encode(value, ""))).collect();
        query.sort();
        let query = query.join("&");
        let names = signed.keys().cloned().collect::<Vec<_>>().join(";");
        let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{body_hash}");
        let scope = format!("{day}/us-east-1/s3/aws4_request");
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let key = [day.as_str(), "us-east-1", "s3", "aws4_request"]
            .iter()
            .fold(format!("AWS4{}", self.secret_key).into_bytes(), |key, part| hmac(&key, part));
        let signature = hex::encode(hmac(&key, &to_sign));
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", self.access_key);
        signed.insert("authorization".into(), authorization);
        (if query.is_empty() { path } else { format!("{path}?{query}") }, signed)
    }

    pub async fn put(&self, path: &str, headers: &[(&str, &str)], body: impl Into<bytes::Bytes>) -> Reply {
        self.send("PUT", path, &[], headers, body).await
    }

    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.send("GET", path, &[], headers, "").await
    }

    pub async fn head(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.send("HEAD", path, &[], headers, "").await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], &[], "").await
    }

    pub async fn create_upload(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let created = self.send("POST", path, &[("uploads", "")], headers, "").await;
        created.element("UploadId").unwrap_or_else(|| panic!("{}", created.text()))
    }

    pub async fn put_part(&self, path: &str, upload: &str, number: u32, body: impl Into<bytes::Bytes>) -> Reply {
        self.send("PUT", path, &[("partNumber", &number.to_string()), ("uploadId", upload)], &[], body).await
    }

    /// Parts as number and tag.
    pub async fn complete(&self, path: &str, upload: &str, parts: &[(u32, &str)]) -> Reply {
        let parts: String =
            parts.iter().map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>")).collect();
        let body = format!("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{parts}</CompleteMultipartUpload>");
        self.send("POST", path, &[("uploadId", upload)], &[], body).await
    }

    /// As today's SDKs send an object by default: in chunks without signatures, with a checksum behind them.
    pub async fn put_with_trailer(&self, path: &str, content: &[u8], crc32: u32) -> Reply {
        let mut body = format!("{:x}\r\n", content.len()).into_bytes();
        body.extend_from_slice(content);
        let sum = STANDARD.encode(crc32.to_be_bytes());
        body.extend_from_slice(format!("\r\n0\r\nx-amz-checksum-crc32:{sum}\r\n\r\n").as_bytes());
        let length = content.len().to_string();
        let headers = [
            ("content-encoding", "aws-chunked"),
            ("x-amz-trailer", "x-amz-checksum-crc32"),
            ("x-amz-sdk-checksum-algorithm", "CRC32"),
            ("x-amz-decoded-content-length", length.as_str()),
        ];
        self.send_hashed("PUT", path, &[], &headers, body.into(), "STREAMING-UNSIGNED-PAYLOAD-TRAILER").await
    }
}
