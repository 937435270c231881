//! Secrets that are shown once and kept nowhere.
//!
//! Where the same request comes again with its `Idempotency-Key`, it has to get the same secret: so it is derived from the key, by a secret
//! that only we have.

#![expect(clippy::disallowed_methods, reason = "without a key the secret is made up")]

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::AppState;
use super::auth::Caller;

/// A new secret of this kind.
pub fn secret_for(state: &AppState, caller: &Caller, kind: &str) -> [u8; 32] {
    let Some(key) = caller.idempotency() else { return rand::random() };
    let mut mac = Hmac::<Sha256>::new_from_slice(&state.settings.jwt_secret).expect("a key of any length");
    for part in [kind, &key.scope, &key.key] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac.update(&key.fingerprint);
    mac.finalize().into_bytes().into()
}
