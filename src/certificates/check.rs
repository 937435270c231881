//! What is wrong with a file that is said to be a certificate. Needs nothing but the file and public keys.

use serde_json::Value;

use super::envelope::{Envelope, PAYLOAD_TYPE, signed_bytes, unpacked};
use super::keys::PublicKey;
use crate::domain::certificate::{Contradiction, Statement};

/// Far above what one can have: 512 events of some 250 bytes, packed.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// Each is verified with each key.
const SIGNATURES_MAX: usize = 16;
pub const KEYS_MAX: usize = 100;

/// Why a file could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum NotRead {
    #[error("the file has more than {FILE_BYTES_MAX} bytes: it is no certificate")]
    TooLarge,
    #[error("the file is no envelope with a certificate")]
    NoEnvelope(#[source] serde_json::Error),
    #[error("the envelope has {0} signatures; {SIGNATURES_MAX} are looked at")]
    SignaturesTooMany(usize),
    #[error("there are {0} keys; {KEYS_MAX} are tried")]
    KeysTooMany(usize),
}

/// One thing that is wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Fault {
    #[error("payloadType: is `{0}`, and not {PAYLOAD_TYPE}")]
    PayloadType(String),
    #[error("payload: is not base64")]
    Payload,
    #[error("signatures: there is none")]
    NoSignature,
    #[error("signatures[{0}].sig: is not base64")]
    Signature(usize),
    #[error("signatures[{place}]: names the key {keyid}, and is not its signature of this payload and payloadType")]
    NotSigned { place: usize, keyid: String },
    #[error("signatures[{place}].keyid: names `{keyid}`, and the signature is by {by}")]
    OtherKey { place: usize, keyid: String, by: String },
    #[error("signatures: are by keys that were not given: {}", .0.join(", "))]
    UnknownKeys(Vec<String>),
    #[error("payload: is no certificate: {0}")]
    NoCertificate(String),
    #[error("payload: is not in canonical form (RFC 8785)")]
    NotCanonical,
    #[error("payload, {0}")]
    Contradiction(Contradiction),
}

/// What was found.
#[derive(Debug)]
pub struct Checked {
    /// None where the payload is none.
    pub statement: Option<Statement>,
    /// Ids of the keys that signed it, of those that were given.
    pub signed_by: Vec<String>,
    /// Empty: it is sound.
    pub faults: Vec<Fault>,
}

/// Looks at a certificate: its envelope, or what the route answers with it inside.
pub fn check(file: &[u8], keys: &[PublicKey]) -> Result<Checked, NotRead> {
    if u64::try_from(file.len()).is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
        return Err(NotRead::TooLarge);
    }
    if keys.len() > KEYS_MAX {
        return Err(NotRead::KeysTooMany(keys.len()));
    }
    let mut value: Value = serde_json::from_slice(file).map_err(NotRead::NoEnvelope)?;
    if let Some(inside) = value.get_mut("certificate") {
        value = inside.take();
    }
    let envelope: Envelope = serde_json::from_value(value).map_err(NotRead::NoEnvelope)?;
    if envelope.signatures.len() > SIGNATURES_MAX {
        return Err(NotRead::SignaturesTooMany(envelope.signatures.len()));
    }
    let mut faults = vec![];
    if envelope.payload_type != PAYLOAD_TYPE {
        faults.push(Fault::PayloadType(envelope.payload_type.clone()));
    }
    let Some(payload) = unpacked(&envelope.payload) else {
        faults.push(Fault::Payload);
        return Ok(Checked { statement: None, signed_by: vec![], faults });
    };
    let signed_by = signed_by(&envelope, &payload, keys, &mut faults);
    let statement = statement(&payload, &mut faults);
    Ok(Checked { statement, signed_by, faults })
}

/// A signature by a key that was not given says nothing, where another one is good.
fn signed_by(envelope: &Envelope, payload: &[u8], keys: &[PublicKey], faults: &mut Vec<Fault>) -> Vec<String> {
    let message = signed_bytes(&envelope.payload_type, payload);
    let (mut signed_by, mut unknown) = (vec![], vec![]);
    for (place, signature) in envelope.signatures.iter().enumerate() {
        let Some(bytes) = unpacked(&signature.sig) else {
            faults.push(Fault::Signature(place));
            continue;
        };
        let keyid = signature.keyid.clone();
        match keys.iter().find(|key| key.verifies(&message, &bytes)).map(PublicKey::id) {
            Some(by) if by == keyid => signed_by.push(by),
            Some(by) => {
                faults.push(Fault::OtherKey { place, keyid, by: by.clone() });
                signed_by.push(by);
            }
            None if keys.iter().any(|key| key.id() == keyid) => faults.push(Fault::NotSigned { place, keyid }),
            None => unknown.push(keyid),
        }
    }
    if envelope.signatures.is_empty() {
        faults.push(Fault::NoSignature);
    } else if signed_by.is_empty() && !unknown.is_empty() {
        faults.push(Fault::UnknownKeys(unknown));
    }
    signed_by
}

fn statement(payload: &[u8], faults: &mut Vec<Fault>) -> Option<Statement> {
    let statement: Statement = match serde_json::from_slice(payload) {
        Ok(statement) => statement,
        Err(error) => {
            faults.push(Fault::NoCertificate(error.to_string()));
            return None;
        }
    };
    if statement.bytes().is_ok_and(|bytes| bytes.as_bytes() != payload) {
        faults.push(Fault::NotCanonical);
    }
    faults.extend(statement.contradictions().into_iter().map(Fault::Contradiction));
    Some(statement)
}
