//! A document with its signatures: the envelope of DSSE, <https://github.com/secure-systems-lab/dsse>.
//!
//! ```text
//!   signed:  DSSEv1 28 application/vnd.in-toto+json 4711 {"_type":…
//!   written: {"payload":"<base64>","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"…","sig":"<base64>"}]}
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::keys::SigningKey;
use crate::domain::canonical_json::canonical;
use crate::domain::certificate::Statement;

pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// What other programs put beside these fields says nothing to us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The document, in base64.
    pub payload: String,
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    pub signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Which key it is by: a hint, and no more.
    #[serde(default)]
    pub keyid: String,
    /// In base64.
    pub sig: String,
}

/// What is signed: the type is part of it, so no document is taken for one of another kind.
pub(super) fn signed_bytes(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// Both alphabets, as the format asks of those who read it.
pub(super) fn unpacked(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

impl Envelope {
    pub fn signed(payload: &[u8], key: &SigningKey) -> Self {
        let signature = key.sign(&signed_bytes(PAYLOAD_TYPE, payload));
        Self {
            payload: STANDARD.encode(payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![Signature { keyid: key.public().id(), sig: STANDARD.encode(signature) }],
        }
    }

    /// What it says, whether it is signed or not.
    pub fn statement(&self) -> Option<Statement> {
        serde_json::from_slice(&unpacked(&self.payload)?).ok()
    }

    /// The file: the same bytes for the same envelope.
    pub fn bytes(&self) -> Vec<u8> {
        let signatures: Vec<_> = self.signatures.iter().map(|one| json!({ "keyid": one.keyid, "sig": one.sig })).collect();
        let value = json!({ "payload": self.payload, "payloadType": self.payload_type, "signatures": signatures });
        canonical(&value).into_bytes()
    }
}
