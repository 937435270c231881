//! Signature version 4 of the few requests on a bucket that the object client does not have.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest, Sha256};

use super::access::Access;

pub(super) struct AwsSignature<'a> {
    pub access: &'a Access,
    pub region: &'a str,
}

impl AwsSignature<'_> {
    pub fn headers(
        &self,
        method: &http::Method,
        host: &str,
        path: &str,
        query: &str,
        body: &str,
        now: DateTime<Utc>,
    ) -> [(&'static str, String); 3] {
        let day = now.format("%Y%m%d").to_string();
        let time = now.format("%Y%m%dT%H%M%SZ").to_string();
        let body_hash = hex::encode(Sha256::digest(body));
        let signed = "host;x-amz-content-sha256;x-amz-date";
        let canonical =
            format!("{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{body_hash}\nx-amz-date:{time}\n\n{signed}\n{body_hash}");
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let secret = format!("AWS4{}", self.access.secret_key.expose());
        let key = [day.as_str(), self.region, "s3", "aws4_request"]
            .iter()
            .fold(secret.into_bytes(), |key, part| hmac_sha256(&key, part.as_bytes()).to_vec());
        let signature = hex::encode(hmac_sha256(&key, to_sign.as_bytes()));
        [
            ("x-amz-content-sha256", body_hash),
            ("x-amz-date", time),
            (
                "authorization",
                format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}", self.access.access_key),
            ),
        ]
    }
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
}
