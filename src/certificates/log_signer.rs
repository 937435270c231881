//! What signs heads of the log: the key of the site, under the name of the log.

use std::sync::Arc;

use super::keys::{Keyring, PublicKey};
use super::note::{NoteKey, signed};
use crate::domain::log_tree::Checkpoint;

/// The name of a log, and the keys that heads of it are signed with.
#[derive(Clone)]
pub struct LogSigner {
    origin: Arc<str>,
    keys: Option<Arc<Keyring>>,
}

impl LogSigner {
    pub(super) fn new(origin: &str, keys: Option<Arc<Keyring>>) -> Self {
        Self { origin: origin.into(), keys }
    }

    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub fn can_sign(&self) -> bool {
        self.keys.is_some()
    }

    /// The signed note. None where the site has no key.
    pub fn sign(&self, head: &Checkpoint) -> Option<String> {
        let keys = self.keys.as_ref()?;
        Some(signed(&head.text(), &self.origin, keys.signing()))
    }

    /// The key that signs, and those that did before.
    pub fn keys(&self) -> Vec<NoteKey> {
        let named = |key: &PublicKey| NoteKey::new(&self.origin, key);
        self.keys.as_ref().map(|keys| keys.all().map(named).collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::{SigningKey, opened};
    use crate::domain::log_tree::Hash;

    #[test]
    fn after_another_key_signs_the_earlier_one_still_verifies() {
        let (before, now) = (SigningKey::new_pem().expect("a key"), SigningKey::new_pem().expect("a key"));
        let key = |pem: &str| SigningKey::of_pem(pem).expect("a key");
        let head = Checkpoint { origin: "edge.example/log".into(), size: 3, root: Hash::of_nothing() };
        let early = LogSigner::new("edge.example/log", Some(Keyring::new(key(&before), vec![]).into()));
        let late = LogSigner::new("edge.example/log", Some(Keyring::new(key(&now), vec![key(&before).public().clone()]).into()));
        let (first, second) = (early.sign(&head).expect("a note"), late.sign(&head).expect("a note"));
        assert_ne!(first, second);
        for note in [&first, &second] {
            assert_eq!(opened(note, &late.keys()).ok().and_then(Checkpoint::parse), Some(head.clone()));
        }
        assert!(opened(&second, &early.keys()).is_err());
        let without = LogSigner::new("edge.example/log", None);
        assert_eq!((without.sign(&head), without.keys(), without.can_sign()), (None, vec![], false));
    }
}
