//! Ed25519 keys, as PEM: PKCS#8 for the one that signs, SubjectPublicKeyInfo for those that verify. `openssl` reads and makes both.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    #[error("it has no {0} in PEM")]
    NoBlock(&'static str),
    #[error("a block of PEM in it has no end, or is not base64")]
    Torn,
    #[error("it is no Ed25519 key; `openssl genpkey -algorithm ed25519` makes one")]
    NoEd25519,
    #[error("a key could not be made")]
    NotMade,
}

const PRIVATE: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";

/// What the DER of every Ed25519 public key begins with (RFC 8410).
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The blocks of a kind in a text; what stands between them is for people.
fn blocks(text: &str, kind: &'static str) -> Result<Vec<Vec<u8>>, KeyError> {
    let (begin, end) = (format!("-----BEGIN {kind}-----"), format!("-----END {kind}-----"));
    let mut found = vec![];
    for block in text.split(begin.as_str()).skip(1) {
        let (inside, _) = block.split_once(end.as_str()).ok_or(KeyError::Torn)?;
        let packed: String = inside.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        found.push(STANDARD.decode(packed).map_err(|_| KeyError::Torn)?);
    }
    if found.is_empty() { Err(KeyError::NoBlock(kind)) } else { Ok(found) }
}

fn block(kind: &str, der: &[u8]) -> String {
    let packed = STANDARD.encode(der);
    let lines: Vec<&str> = (0..packed.len()).step_by(64).map(|at| &packed[at..packed.len().min(at + 64)]).collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

/// The key that signs.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public.id())
    }
}

impl SigningKey {
    /// A new one, as PEM: to be kept from others.
    pub fn new_pem() -> Result<String, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::NotMade)?;
        // The first version is the one that `openssl` writes.
        Ok(block(PRIVATE, pair.to_pkcs8v1().map_err(|_| KeyError::NotMade)?.as_ref()))
    }

    pub fn of_pem(text: &str) -> Result<Self, KeyError> {
        let blocks = blocks(text, PRIVATE)?;
        let pair = Ed25519KeyPair::from_pkcs8(blocks.first().ok_or(KeyError::NoBlock(PRIVATE))?).map_err(|_| KeyError::NoEd25519)?;
        let bytes = pair.public_key().as_ref().try_into().map_err(|_| KeyError::NoEd25519)?;
        Ok(Self { pair, public: PublicKey { bytes } })
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

/// A key that verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    bytes: [u8; 32],
}

impl PublicKey {
    /// All that a text has; one at least.
    pub fn all_of_pem(text: &str) -> Result<Vec<Self>, KeyError> {
        let of = |der: Vec<u8>| {
            let bytes = der.strip_prefix(&SPKI_HEAD).and_then(|bytes| bytes.try_into().ok());
            bytes.map(|bytes| Self { bytes }).ok_or(KeyError::NoEd25519)
        };
        blocks(text, PUBLIC)?.into_iter().map(of).collect()
    }

    pub fn pem(&self) -> String {
        block(PUBLIC, &self.der())
    }

    pub(super) fn of_bytes(bytes: [u8; 32]) -> Self {
        Self { bytes }
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    fn der(&self) -> Vec<u8> {
        [&SPKI_HEAD[..], &self.bytes].concat()
    }

    /// SHA-256 of its DER, in hex: `openssl pkey -pubin -outform DER | sha256sum`.
    pub fn id(&self) -> String {
        hex::encode(Sha256::digest(self.der()))
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.bytes).verify(message, signature).is_ok()
    }
}

/// The key that signs, and those that signed before and still verify.
#[derive(Debug)]
pub struct Keyring {
    signing: SigningKey,
    earlier: Vec<PublicKey>,
}

impl Keyring {
    pub fn new(signing: SigningKey, mut earlier: Vec<PublicKey>) -> Self {
        earlier.retain(|key| key != signing.public());
        Self { signing, earlier }
    }

    pub fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// The one that signs first.
    pub fn all(&self) -> impl Iterator<Item = &PublicKey> {
        std::iter::once(self.signing.public()).chain(&self.earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the RFC.
    const OF_RFC_8410: &str =
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    const PUBLIC_OF_RFC_8410: &str =
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn keys_of_the_rfc_are_read_and_written() {
        let key = SigningKey::of_pem(OF_RFC_8410).expect("a key");
        assert_eq!(key.public().pem(), PUBLIC_OF_RFC_8410);
        assert_eq!(PublicKey::all_of_pem(PUBLIC_OF_RFC_8410).expect("keys"), [key.public().clone()]);
        let signature = key.sign(b"what is signed");
        assert!(key.public().verifies(b"what is signed", &signature));
        assert!(!key.public().verifies(b"what is Signed", &signature));
        assert_eq!(signature, key.sign(b"what is signed"), "the same every time");
        assert!(!format!("{key:?}").contains("MC4C"));
    }

    #[test]
    fn a_new_key_is_another_one_and_is_read_back() {
        let (one, other) = (SigningKey::new_pem().expect("a key"), SigningKey::new_pem().expect("a key"));
        let (one, other) = (SigningKey::of_pem(&one).expect("a key"), SigningKey::of_pem(&other).expect("a key"));
        assert_ne!(one.public().id(), other.public().id());
        let both = format!("of May\n{}of June\n{}", one.public().pem(), other.public().pem());
        assert_eq!(PublicKey::all_of_pem(&both).expect("keys"), [one.public().clone(), other.public().clone()]);
        let ring = Keyring::new(one, vec![other.public().clone(), other.public().clone()]);
        assert_eq!(ring.all().count(), 3);
    }

    #[test]
    fn what_is_no_key_is_said() {
        let torn = PUBLIC_OF_RFC_8410.replace("-----END", "-----AND");
        let odd = PUBLIC_OF_RFC_8410.replace("MCowBQYDK2Vw", "MCowBQYDK2Vu");
        for (text, error) in [
            ("", KeyError::NoBlock(PUBLIC)),
            (OF_RFC_8410, KeyError::NoBlock(PUBLIC)),
            (&torn, KeyError::Torn),
            (&odd, KeyError::NoEd25519),
            (&PUBLIC_OF_RFC_8410.replace("Gb9", "Gb%"), KeyError::Torn),
        ] {
            assert_eq!(PublicKey::all_of_pem(text), Err(error));
        }
        assert_eq!(SigningKey::of_pem(PUBLIC_OF_RFC_8410).map(|_| ()), Err(KeyError::NoBlock(PRIVATE)));
        let short = OF_RFC_8410.replace("MC4CAQAwBQYDK2VwBCIEI", "MC4CAQAwBQYDK2VwBCIE");
        assert!(SigningKey::of_pem(&short).is_err());
    }
}
