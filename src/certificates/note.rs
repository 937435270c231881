//! Signed notes, as <https://c2sp.org/signed-note> has them: a text, an empty line, and a line for each signature.
//!
//! ```text
//!   — <name of the key> <base64 of its id, 4 bytes, and of the signature>
//! ```
//!
//! The id says which key to try: the first four bytes of the SHA-256 of its name, a line feed, 0x01 for Ed25519, and the key. Signatures of keys that are
//! not known say nothing; one of a known key that is wrong spoils the note.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::keys::{PublicKey, SigningKey};

const ED25519: u8 = 1;
/// A larger note is another file.
pub const NOTE_BYTES_MAX: u64 = 64 << 10;
const SIGNATURES_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("it is no signed note")]
    NoNote,
    #[error("a signature of a known key does not fit it")]
    Wrong,
    #[error("no known key has signed it")]
    Unsigned,
}

/// A public key with the name that stands in its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    key: PublicKey,
}

impl NoteKey {
    pub fn new(name: &str, key: &PublicKey) -> Self {
        Self { name: name.to_owned(), key: key.clone() }
    }

    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new().chain_update(&self.name).chain_update([b'\n', ED25519]).chain_update(self.key.bytes()).finalize();
        hash.first_chunk().copied().unwrap_or_default()
    }

    /// `name+id+key`, as programs that verify notes are told of it.
    pub fn line(&self) -> String {
        let key = [&[ED25519], self.key.bytes().as_slice()].concat();
        format!("{}+{}+{}", self.name, hex::encode(self.id()), STANDARD.encode(key))
    }

    /// Of such a line. None where it is of another kind, or its id is not that of name and key.
    pub fn parse(line: &str) -> Option<Self> {
        let (name, rest) = line.split_once('+')?;
        let (id, key) = rest.split_once('+')?;
        let key = STANDARD.decode(key).ok()?;
        let (kind, bytes) = key.split_first()?;
        let key = Self { name: name.to_owned(), key: PublicKey::of_bytes(bytes.try_into().ok()?) };
        (*kind == ED25519 && hex::encode(key.id()) == id && is_name(name)).then_some(key)
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// The text with a signature. It ends with a line feed.
pub fn signed(text: &str, name: &str, key: &SigningKey) -> String {
    let of = NoteKey::new(name, key.public());
    let signature = [of.id().as_slice(), &key.sign(text.as_bytes())].concat();
    format!("{text}\n\u{2014} {name} {}\n", STANDARD.encode(signature))
}

/// The text of a note that one of these keys has signed.
pub fn opened<'a>(note: &'a str, keys: &[NoteKey]) -> Result<&'a str, NoteError> {
    let (text, signatures) = parts(note).ok_or(NoteError::NoNote)?;
    let mut signed = false;
    for (name, id, signature) in signatures {
        for key in keys.iter().filter(|key| key.name == name && key.id() == id) {
            if !key.key.verifies(text.as_bytes(), &signature) {
                return Err(NoteError::Wrong);
            }
            signed = true;
        }
    }
    if signed { Ok(text) } else { Err(NoteError::Unsigned) }
}

type Signature<'a> = (&'a str, [u8; 4], Vec<u8>);

/// The text with its last line feed, and what stands in the lines of signatures.
fn parts(note: &str) -> Option<(&str, Vec<Signature<'_>>)> {
    if note.contains(|c: char| c.is_ascii_control() && c != '\n') {
        return None;
    }
    let at = note.rfind("\n\n")?;
    let (text, lines) = (note.get(..=at)?, note.get(at + 2..)?.strip_suffix('\n')?);
    let signatures = lines.split('\n').map(signature).collect::<Option<Vec<_>>>()?;
    (signatures.len() <= SIGNATURES_MAX).then_some((text, signatures))
}

fn signature(line: &str) -> Option<Signature<'_>> {
    let (name, packed) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let bytes = STANDARD.decode(packed).ok()?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    (is_name(name) && !signature.is_empty()).then(|| (name, *id, signature.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::of_pem(&SigningKey::new_pem().expect("a key")).expect("a key")
    }

    /// The example of the specification of Go's `sumdb/note`, which other programs are tested with.
    #[test]
    fn a_note_that_another_program_signed_is_opened() {
        let line = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let note = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let key = NoteKey::parse(line).expect("a key");
        assert_eq!(key.line(), line);
        assert_eq!(opened(note, &[key]).map(|text| text.lines().count()), Ok(2));
    }

    #[test]
    fn a_note_is_opened_by_the_key_that_signed_it_and_by_no_other() {
        let (one, other) = (key(), key());
        let text = "origin\n1\nroot\n";
        let note = signed(text, "origin/a", &one);
        let known = |name: &str, key: &SigningKey| NoteKey::new(name, key.public());
        assert_eq!(opened(&note, &[known("origin/a", &other), known("origin/a", &one)]), Ok(text));
        assert_eq!(opened(&note, &[known("origin/a", &other)]), Err(NoteError::Unsigned));
        assert_eq!(opened(&note, &[known("origin/b", &one)]), Err(NoteError::Unsigned));
        assert_eq!(opened(&note, &[]), Err(NoteError::Unsigned));
        assert_eq!(opened(&note.replace("\n1\n", "\n2\n"), &[known("origin/a", &one)]), Err(NoteError::Wrong));
        // A witness that nobody here knows.
        let more = format!("{note}\u{2014} witness.example AAAAAQE=\n");
        assert_eq!(opened(&more, &[known("origin/a", &one)]), Ok(text));
        let first = note.replace("\n\n", "\n\n\u{2014} witness.example AAAAAQE=\n");
        assert_eq!(opened(&first, &[known("origin/a", &one)]), Ok(text));
        for none in [
            "",
            "text",
            "text\n",
            "text\n\n",
            "text\n\n\u{2014} a b\n",
            &note[..note.len() - 1],
            &note.replace('\u{2014}', "-"),
            &note.replace("origin/a", "or\tin"),
            &format!("{note}\n"),
        ] {
            assert_eq!(opened(none, &[known("origin/a", &one)]), Err(NoteError::NoNote), "{none:?}");
        }
        for none in ["", "a", "a+b", "a+00000000+AQ==", &known("a", &one).line().replace("a+", "b+"), &known("a b", &one).line()] {
            assert_eq!(NoteKey::parse(none), None, "{none:?}");
        }
    }
}
