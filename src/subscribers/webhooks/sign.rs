//! Signatures as in Standard Webhooks: base64 of HMAC-SHA256 over `id.timestamp.body`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

const PREFIX: &str = "whsec_";

/// One signature for each secret, with spaces between; `None` where a secret is none.
pub fn signatures(secrets: &[String], id: &str, timestamp: i64, body: &str) -> Option<String> {
    let signed = secrets.iter().map(|secret| {
        let key = STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    });
    let signed: Option<Vec<String>> = signed.collect();
    signed.filter(|signed| !signed.is_empty()).map(|signed| signed.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned();
        let body = r#"{"test": 2432232314}"#;
        let signed = signatures(std::slice::from_ref(&secret), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
        let both = signatures(&[secret.clone(), secret], "a", 1, body).unwrap();
        assert_eq!(both.split(' ').count(), 2);
    }

    #[test]
    fn what_is_no_secret_signs_nothing() {
        assert_eq!(signatures(&[], "a", 1, ""), None);
        assert_eq!(signatures(&["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()], "a", 1, ""), None);
    }
}
