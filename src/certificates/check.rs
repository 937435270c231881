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

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use serde_json::json;

    use super::super::envelope::Signature;
    use super::super::keys::SigningKey;
    use super::*;
    use crate::domain::canonical_json::canonical;
    use crate::domain::certificate::tests::sample;

    fn key() -> SigningKey {
        SigningKey::of_pem(&SigningKey::new_pem().expect("a key")).expect("a key")
    }

    fn signed(key: &SigningKey) -> Envelope {
        Envelope::signed(sample().bytes().expect("bytes").as_bytes(), key)
    }

    fn faults_of(envelope: &Envelope, keys: &[&SigningKey]) -> Vec<String> {
        let keys: Vec<PublicKey> = keys.iter().map(|key| key.public().clone()).collect();
        check(&envelope.bytes(), &keys).expect("an envelope").faults.iter().map(ToString::to_string).collect()
    }

    /// Every leaf of a value, by where it is.
    fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, member)| leaves(member, &format!("{at}/{name}"), found)),
            Value::Array(items) => items.iter().enumerate().for_each(|(place, item)| leaves(item, &format!("{at}/{place}"), found)),
            _ => found.push(at.to_owned()),
        }
    }

    fn another(value: &Value) -> Value {
        match value {
            Value::String(text) => format!("{text}0").into(),
            Value::Number(number) => json!(number.as_i64().unwrap_or_default() + 1),
            Value::Bool(flag) => json!(!flag),
            _ => json!("something"),
        }
    }

    #[test]
    fn a_sound_one_is_sound_by_itself_and_inside_the_answer_of_the_route() {
        let key = key();
        let envelope = signed(&key);
        assert_eq!(faults_of(&envelope, &[&key]), Vec::<String>::new());
        let answer = json!({ "certificate": serde_json::from_slice::<Value>(&envelope.bytes()).expect("JSON"), "receipts": [] });
        let checked = check(answer.to_string().as_bytes(), &[key.public().clone()]).expect("an envelope");
        assert!(checked.faults.is_empty() && checked.statement == Some(sample()) && checked.signed_by == [key.public().id()]);
    }

    #[test]
    fn what_was_changed_after_signing_is_named() {
        let key = key();
        let envelope = signed(&key);
        let value = serde_json::to_value(sample()).expect("JSON");
        let mut places = vec![];
        leaves(&value, "", &mut places);
        assert!(places.len() > 100, "{}", places.len());
        for place in places {
            let mut changed = value.clone();
            let leaf = changed.pointer_mut(&place).expect("a leaf");
            *leaf = another(leaf);
            let tampered = Envelope { payload: STANDARD.encode(canonical(&changed)), ..envelope.clone() };
            let faults = faults_of(&tampered, &[&key]);
            assert!(faults.iter().any(|fault| fault.starts_with("signatures[0]: names the key")), "{place}: {faults:?}");
        }
        let named = |tampered: Envelope, fault: &str| {
            let faults = faults_of(&tampered, &[&key]);
            assert!(faults.iter().any(|found| found.starts_with(fault)), "{fault}: {faults:?}");
        };
        let with = |signature: Signature| Envelope { signatures: vec![signature], ..envelope.clone() };
        let signature = envelope.signatures[0].clone();
        named(Envelope { payload_type: "text/plain".into(), ..envelope.clone() }, "payloadType: is `text/plain`");
        named(Envelope { payload_type: "text/plain".into(), ..envelope.clone() }, "signatures[0]: names the key");
        named(Envelope { payload: "%".into(), ..envelope.clone() }, "payload: is not base64");
        named(Envelope { signatures: vec![], ..envelope.clone() }, "signatures: there is none");
        named(with(Signature { sig: "%".into(), ..signature.clone() }), "signatures[0].sig: is not base64");
        named(with(Signature { sig: STANDARD.encode([7; 64]), ..signature.clone() }), "signatures[0]: names the key");
        named(with(Signature { sig: STANDARD.encode([7; 3]), ..signature.clone() }), "signatures[0]: names the key");
        named(with(Signature { keyid: "mine".into(), ..signature }), "signatures[0].keyid: names `mine`, and the signature is by");
    }

    /// Who holds the key can sign anything: what says two things is no certificate all the same.
    #[test]
    fn what_contradicts_itself_is_named_also_where_it_is_signed() {
        let key = key();
        let value = serde_json::to_value(sample()).expect("JSON");
        for (place, fault) in [
            ("/_type", "payload, _type:"),
            ("/predicateType", "payload, predicateType:"),
            ("/subject/0/name", "payload, subject:"),
            ("/subject/0/digest/sha256", "payload, subject:"),
            ("/subject/1/digest/sha256", "payload, subject:"),
            ("/predicate/recording/object", "payload, subject:"),
            ("/predicate/recording/sha256", "payload, recording.sha256:"),
            ("/predicate/sidecar/sha256", "payload, sidecar.sha256:"),
            ("/predicate/recorder/configuration_sha256", "payload, recorder.configuration_sha256:"),
            ("/predicate/verdict/suite_sha256", "payload, verdict.suite_sha256:"),
            ("/predicate/issued_at", "payload, issued_at:"),
            ("/predicate/log/position", "payload, log.position:"),
            ("/predicate/log/left_out", "payload: is no certificate:"),
            ("/predicate/log/events/0/position", "payload, log.events:"),
            ("/predicate/log/events/0/event_id", "payload, log.events:"),
            ("/predicate/log/events/0/commitment", "payload, log.events:"),
            ("/predicate/order_id", "payload, log.events: lack order/13/1"),
            ("/predicate/batch/id", "payload, log.events: lack batch/32/1"),
            ("/predicate/task/id", "payload, log.events: lack task/413/1"),
            ("/predicate/episode/id", "payload, log.events: do not end with the episode"),
            ("/predicate/sop/event_id", "payload, log.events: lack sop/9/10"),
            ("/predicate/approval/event_id", "payload, log.events: lack episode/4/40"),
            ("/predicate/recalled", "payload: is no certificate:"),
        ] {
            let mut changed = value.clone();
            let leaf = changed.pointer_mut(place).unwrap_or_else(|| panic!("no {place}"));
            *leaf = if place == "/predicate/recalled" { json!("perhaps") } else { another(leaf) };
            let faults = faults_of(&Envelope::signed(canonical(&changed).as_bytes(), &key), &[&key]);
            assert!(faults.iter().any(|found| found.starts_with(fault)), "{place}: {faults:?}");
        }
        let spaced = serde_json::to_string_pretty(&value).expect("JSON");
        assert_eq!(faults_of(&Envelope::signed(spaced.as_bytes(), &key), &[&key]), [Fault::NotCanonical.to_string()]);
        let mut more = value;
        more["predicate"]["more"] = json!(1);
        let faults = faults_of(&Envelope::signed(canonical(&more).as_bytes(), &key), &[&key]);
        assert!(faults.len() == 1 && faults[0].starts_with("payload: is no certificate: unknown field `more`"), "{faults:?}");
    }

    #[test]
    fn one_good_signature_is_enough_and_a_strange_key_says_nothing() {
        let (one, other, strange) = (key(), key(), key());
        let mut envelope = signed(&one);
        assert_eq!(faults_of(&envelope, &[&other]), [format!("signatures: are by keys that were not given: {}", one.public().id())]);
        assert_eq!(faults_of(&envelope, &[]), [format!("signatures: are by keys that were not given: {}", one.public().id())]);
        envelope.signatures.insert(0, signed(&strange).signatures.remove(0));
        assert_eq!(faults_of(&envelope, &[&other, &one]), Vec::<String>::new());
        // In the other alphabet of base64.
        envelope.payload = URL_SAFE.encode(STANDARD.decode(&envelope.payload).expect("base64"));
        assert_eq!(faults_of(&envelope, &[&one]), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_envelope_is_not_read() {
        let key = key().public().clone();
        for text in ["", "{}", "[]", "null", "17", "{\"certificate\":{}}", "{\"payload\":1,\"payloadType\":\"x\",\"signatures\":[]}"] {
            assert!(matches!(check(text.as_bytes(), std::slice::from_ref(&key)), Err(NotRead::NoEnvelope(_))), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(check(deep.as_bytes(), std::slice::from_ref(&key)), Err(NotRead::NoEnvelope(_))));
        let large = vec![b' '; usize::try_from(FILE_BYTES_MAX).expect("a number") + 1];
        assert!(matches!(check(&large, std::slice::from_ref(&key)), Err(NotRead::TooLarge)));
        let signature = Signature { keyid: String::new(), sig: String::new() };
        let many = Envelope { payload: String::new(), payload_type: String::new(), signatures: vec![signature; SIGNATURES_MAX + 1] };
        assert!(matches!(check(&many.bytes(), std::slice::from_ref(&key)), Err(NotRead::SignaturesTooMany(_))));
        assert!(matches!(check(b"{}", &vec![key; KEYS_MAX + 1]), Err(NotRead::KeysTooMany(_))));
    }
}
