//! What an API key looks like, and when it was shown last.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::identity::{Identity, Login};
use crate::commands::api_keys::SecretHash;
use crate::domain::{AccountRole, ApiKeyId, Timestamp};
use crate::projections::reads::credentials::Proof;

/// Every key of ours begins with it.
pub const KEY_PREFIX: &str = "kak_v1_";
/// 32 bytes of chance.
const SECRET_CHARS: usize = 43;
/// A use is noted so often at most.
const NOTED_EVERY_S: i64 = 60;

/// The text of a key: it says what it is for, so that a person who finds it knows whom to ask.
pub fn text_of(role: AccountRole, id: ApiKeyId, secret: &str) -> String {
    format!("{KEY_PREFIX}{}_{id}_{secret}", role.as_str())
}

pub fn secret_of(bytes: [u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Who a key says it is; whether that is so, the database knows.
pub fn read(text: &str) -> Option<Login> {
    let rest = text.strip_prefix(KEY_PREFIX)?;
    let (head, secret) = rest.split_at_checked(rest.len().checked_sub(SECRET_CHARS)?)?;
    if !secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        return None;
    }
    let (role, id) = head.strip_suffix('_')?.rsplit_once('_')?;
    let identity = Identity::Key { role: role.parse().ok()?, id: ApiKeyId(id.parse().ok().filter(|id| *id > 0)?) };
    Some(Login { identity, proof: Some(Proof::Key { hash: SecretHash::of(secret).0 }) })
}

/// When keys were shown last, in this process.
#[derive(Default)]
pub struct KeyUses(Mutex<HashMap<ApiKeyId, i64>>);

impl KeyUses {
    /// Whether it is time to note that the key, which is known, was shown.
    pub fn due(&self, id: ApiKeyId, now: Timestamp) -> bool {
        let now = now.timestamp();
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = uses.get(&id).is_some_and(|last| now - last < NOTED_EVERY_S);
        if !noted {
            uses.insert(id, now);
        }
        !noted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_who_it_is() {
        let secret = secret_of([0xfb; 32]);
        assert!(secret.contains('_') && secret.len() == SECRET_CHARS);
        for role in AccountRole::ALL {
            let login = read(&text_of(*role, ApiKeyId(12), &secret)).unwrap();
            assert_eq!(login.identity, Identity::Key { role: *role, id: ApiKeyId(12) });
            assert_eq!(login.proof, Some(Proof::Key { hash: SecretHash::of(&secret).0 }));
        }
    }

    #[test]
    fn what_is_no_key_is_none() {
        let secret = secret_of([1; 32]);
        for text in [
            "",
            KEY_PREFIX,
            &format!("kak_v1_admin_{secret}"),
            &format!("kak_v1_admin_x_{secret}"),
            &format!("kak_v1_admin_0_{secret}"),
            &format!("kak_v1_admin_-1_{secret}"),
            &format!("kak_v1_king_1_{secret}"),
            &format!("kak_v1_admin_1{secret}"),
            &format!("kws_v1_admin_1_{secret}"),
            "kak_v1_admin_1_工工工工工工工工工工工工工工x",
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_use_is_noted_once_a_minute() {
        let uses = KeyUses::default();
        let at = |seconds| chrono::DateTime::from_timestamp(seconds, 0).unwrap();
        let due = |id, seconds| uses.due(ApiKeyId(id), at(seconds));
        assert_eq!([due(1, 0), due(1, 59), due(2, 59), due(1, 60), due(1, 61)], [true, false, true, true, false]);
    }
}
