//! What an API key looks like.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::identity::{Identity, Login};
use crate::commands::registration::TokenHash;
use crate::domain::{AccountRole, ApiKeyId};
use crate::projections::reads::credentials::Proof;

/// Every key of ours begins with it.
pub const KEY_PREFIX: &str = "kak_v1_";
/// 32 bytes of chance.
const SECRET_CHARS: usize = 43;
/// How often a use is noted at most, in a minute.
pub const NOTED_A_MINUTE: NonZeroU32 = NonZeroU32::MIN;

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
    Some(Login { identity, proof: Some(Proof::Key { hash: TokenHash::of(secret).0 }) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;
    use crate::http::limits::Rate;

    #[test]
    fn a_key_says_who_it_is() {
        let secret = secret_of([0xfb; 32]);
        assert!(secret.contains('_') && secret.len() == SECRET_CHARS);
        for role in AccountRole::ALL {
            let login = read(&text_of(*role, ApiKeyId(12), &secret)).unwrap();
            assert_eq!(login.identity, Identity::Key { role: *role, id: ApiKeyId(12) });
            assert_eq!(login.proof, Some(Proof::Key { hash: TokenHash::of(&secret).0 }));
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
        let clock = FakeRelativeClock::default();
        let uses = Rate::per_minute_by(NOTED_A_MINUTE, clock.clone());
        let due = |id, after_s| {
            clock.advance(Duration::from_secs(after_s));
            uses.count(&ApiKeyId(id)).is_ok()
        };
        assert_eq!([due(1, 0), due(1, 59), due(2, 0), due(1, 1), due(1, 1)], [true, false, true, true, false]);
    }
}
