//! Signature version 4 of requests that the object client does not make.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest, Sha256};

use crate::config::Secret;

/// For a body that is not hashed before it is sent: its parts have checksums of their own.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// Who signs.
#[derive(Clone, Debug)]
pub struct Signer {
    pub access_key: String,
    pub secret_key: Secret,
    pub region: String,
}

/// What is signed is what is sent: path and query are encoded once, by [`encoded`] and [`query_of`].
pub struct Signed<'a> {
    pub method: &'a http::Method,
    pub host: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    /// In lower case.
    pub headers: &'a [(&'static str, String)],
    /// SHA-256 in hex, or [`UNSIGNED_PAYLOAD`].
    pub body_hash: &'a str,
}

impl Signer {
    /// All headers to send, those that were handed in among them.
    pub fn headers(&self, request: &Signed<'_>, now: DateTime<Utc>) -> Vec<(&'static str, String)> {
        let day = now.format("%Y%m%d").to_string();
        let time = now.format("%Y%m%dT%H%M%SZ").to_string();
        let mut headers = request.headers.to_vec();
        headers.extend([("x-amz-content-sha256", request.body_hash.to_owned()), ("x-amz-date", time.clone())]);
        let mut named: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.trim())).collect();
        named.push(("host", request.host));
        named.sort_unstable();
        let signed: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
        let signed = signed.join(";");
        let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path, request.query);
        for (name, value) in &named {
            // Writing to a string does not fail.
            let _ = writeln!(canonical, "{name}:{value}");
        }
        let _ = write!(canonical, "\n{signed}\n{}", request.body_hash);
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let secret = format!("AWS4{}", self.secret_key.expose());
        let key = [day.as_str(), self.region.as_str(), "s3", "aws4_request"]
            .iter()
            .fold(secret.into_bytes(), |key, part| hmac_sha256(&key, part.as_bytes()).to_vec());
        let signature = hex::encode(hmac_sha256(&key, to_sign.as_bytes()));
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}", self.access_key);
        headers.push(("authorization", authorization));
        headers
    }
}

/// A part of a path or a query, as S3 signs it: all but letters, digits and `-._~` as `%XX`; slashes stay in a path.
pub fn encoded(text: &str, keep_slashes: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            b'/' if keep_slashes => encoded.push('/'),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// A query, sorted as it is signed.
pub fn query_of(parameters: &[(&str, &str)]) -> String {
    let mut parameters: Vec<(String, String)> =
        parameters.iter().map(|(name, value)| (encoded(name, false), encoded(value, false))).collect();
    parameters.sort_unstable();
    parameters.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_matches_the_published_vectors() {
        // RFC 4231, cases 2 and 6.
        let short = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex::encode(short), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let long = hmac_sha256(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex::encode(long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn keys_are_encoded_once() {
        assert_eq!(encoded("edge-1/a b+c/工~.mcap", true), "edge-1/a%20b%2Bc/%E5%B7%A5~.mcap");
        assert_eq!(query_of(&[("uploadId", "a/b=="), ("partNumber", "3")]), "partNumber=3&uploadId=a%2Fb%3D%3D");
    }

    #[test]
    fn a_request_is_signed_as_the_published_example() {
        // "Example: GET Object" of the S3 documentation of signature version 4.
        let signer = Signer {
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            region: "us-east-1".into(),
        };
        let nothing = hex::encode(Sha256::digest(b""));
        let request = Signed {
            method: &http::Method::GET,
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            query: "",
            headers: &[("range", "bytes=0-9".into())],
            body_hash: &nothing,
        };
        let now = DateTime::parse_from_rfc3339("2013-05-24T00:00:00Z").unwrap().to_utc();
        let headers = signer.headers(&request, now);
        let (_, authorization) = headers.last().unwrap();
        assert!(authorization.ends_with("Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"), "{authorization}");
    }
}
