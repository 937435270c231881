//! Passwords: hashing, comparing, and how often they may be tried.

#![expect(clippy::disallowed_methods, reason = "the password of nobody is made up")]

use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::http::limits::Throttle;
use crate::http::problem::{Problem, failed};

/// Work factor of stored passwords; the contract's, so that hashes can be moved over.
pub const HASH_COST: u32 = 10;
/// bcrypt looks at no more; longer passwords are refused instead of being cut.
pub const PASSWORD_BYTES_MAX: usize = 72;
/// A person mistypes a few times; a program guesses thousands of times.
const FAILURES_MAX: u32 = 8;
/// Of one address, whatever the accounts: a shift that mistypes behind one router passes, a list of names does not.
const FAILURES_PER_ADDRESS_MAX: u32 = 300;
/// After this the counts start anew.
const WINDOW_S: i64 = 5 * 60;
/// Hashing takes a core for a while: logins at the same time share this many.
const HASHES_AT_ONCE: usize = 4;

/// What logging in needs besides the database.
pub struct Logins {
    /// By the account that a name means.
    pub(super) accounts: Throttle,
    pub(super) addresses: Throttle,
    hashing: tokio::sync::Semaphore,
    /// Verified when there is no such account, so that the answer takes as long.
    nobody: String,
}

impl Logins {
    pub fn new() -> Result<Self, bcrypt::BcryptError> {
        Ok(Self {
            accounts: Throttle::new(FAILURES_MAX, WINDOW_S),
            addresses: Throttle::new(FAILURES_PER_ADDRESS_MAX, WINDOW_S),
            hashing: tokio::sync::Semaphore::new(HASHES_AT_ONCE),
            nobody: bcrypt::hash(uuid::Uuid::new_v4().to_string(), HASH_COST)?,
        })
    }

    /// Hashes a new password, off the threads that serve requests.
    pub async fn hash(self: &Arc<Self>, password: String) -> Result<String, Problem> {
        let logins = Arc::clone(self);
        let _permit = logins.hashing.acquire().await.map_err(|error| failed(&error.into()))?;
        let hashed = tokio::task::spawn_blocking(move || bcrypt::hash(password, HASH_COST)).await;
        hashed.map_err(anyhow::Error::new).and_then(|hash| hash.map_err(anyhow::Error::new)).map_err(|error| failed(&error))
    }

    pub(super) async fn matches(self: &Arc<Self>, password: String, hash: Option<String>) -> Result<bool, Problem> {
        let logins = Arc::clone(self);
        let _permit = logins.hashing.acquire().await.map_err(|error| failed(&error.into()))?;
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        let fits = password.len() <= PASSWORD_BYTES_MAX;
        let verified = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash)).await;
        let verified =
            verified.map_err(anyhow::Error::new).and_then(|same| same.map_err(anyhow::Error::new)).map_err(|error| failed(&error))?;
        Ok(verified && known && fits)
    }
}

/// Hashes a new password of the administrator. It may be longer than bcrypt looks at, so its digest is hashed.
pub fn admin_hash(password: &str) -> Result<String, bcrypt::BcryptError> {
    bcrypt::hash(admin_digest(password), HASH_COST)
}

pub fn is_admin_password(password: &str, hash: &str) -> bool {
    bcrypt::verify(admin_digest(password), hash).unwrap_or(false)
}

pub(super) fn admin_digest(password: &str) -> String {
    hex::encode(Sha256::digest(password.as_bytes()))
}

/// Takes as long for a near miss as for a far one, whatever the lengths.
pub(super) fn same(given: &str, known: &str) -> bool {
    Sha256::digest(given.as_bytes()).as_slice().ct_eq(Sha256::digest(known.as_bytes()).as_slice()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparing_secrets_is_exact() {
        assert!(same("a b ", "a b "));
        assert!(!same("a b", "a b "));
        assert!(!same("", "x"));
    }

    #[tokio::test]
    async fn a_hash_fits_its_password_and_nothing_longer_is_cut_to_fit() {
        let logins = Arc::new(Logins::new().unwrap());
        let long = "x".repeat(PASSWORD_BYTES_MAX);
        let hash = logins.hash(long.clone()).await.unwrap();
        assert!(logins.matches(long.clone(), Some(hash.clone())).await.unwrap());
        assert!(!logins.matches(format!("{long}y"), Some(hash)).await.unwrap());
        assert!(!logins.matches("anything".into(), None).await.unwrap());
    }
}
