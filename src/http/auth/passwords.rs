//! Passwords: hashing, comparing, and how often they may be tried.
//!
//! New ones are kept by argon2id. What was kept by bcrypt before, or was moved here from another server, opens its account as it did, and is kept
//! anew when it does.

#![expect(clippy::disallowed_methods, reason = "the password of nobody is made up")]

use std::net::IpAddr;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error, PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::keys::NOTED_A_MINUTE;
use crate::domain::ApiKeyId;
use crate::http::limits::{Rate, Throttle};
use crate::http::problem::{Problem, failed};

/// A sentence fits; longer ones are refused instead of being cut.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// bcrypt looks at no more: a hash of it is of no longer password.
const BCRYPT_BYTES_MAX: usize = 72;
/// How all hashes of bcrypt begin.
const BCRYPT: &str = "$2";
/// Work of argon2id, as OWASP recommends it: memory in KiB, passes, lanes.
const WORK: (u32, u32, u32) = (19 * 1024, 2, 1);
/// A refusal is answered no sooner, so that its time tells neither whether there is such an account nor how its password is kept.
pub(super) const REFUSED_AFTER: Duration = Duration::from_millis(300);
/// A person mistypes a few times; a program guesses thousands of times.
const FAILURES_MAX: u32 = 8;
/// Of one address, whatever the accounts: a shift that mistypes behind one router passes, a list of names does not.
const FAILURES_PER_ADDRESS_MAX: u32 = 300;
/// After this the counts start anew.
const WINDOW_S: i64 = 5 * 60;
/// Hashing takes a core for a while: logins at the same time share this many.
const HASHES_AT_ONCE: usize = 4;

/// Why a password could not be hashed or compared.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    #[error("a password cannot be hashed: {0}")]
    Argon2(Error),
    #[error("a password cannot be compared with a hash of bcrypt: {0}")]
    Bcrypt(#[from] bcrypt::BcryptError),
}

/// What a password is to a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    No,
    Yes,
    /// It is, and there is a better way to keep it.
    YesRenew,
}

/// Whose password it is: a hash of bcrypt of the administrator's is one of its digest, as that may be longer than bcrypt looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Person,
    Administrator,
}

fn argon2id() -> Result<Argon2<'static>, HashError> {
    let params = Params::new(WORK.0, WORK.1, WORK.2, None).map_err(|error| HashError::Argon2(error.into()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// How a new password is kept, as text that says how it was made.
pub fn hash_of(password: &str) -> Result<String, HashError> {
    Ok(argon2id()?.hash_password(password.as_bytes()).map_err(HashError::Argon2)?.to_string())
}

pub fn compare(password: &str, hash: &str, of: Of) -> Result<Match, HashError> {
    if hash.starts_with(BCRYPT) {
        let is_it = match of {
            Of::Administrator => bcrypt::verify(hex::encode(Sha256::digest(password.as_bytes())), hash)?,
            Of::Person => bcrypt::verify(password, hash)? && password.len() <= BCRYPT_BYTES_MAX,
        };
        return Ok(if is_it { Match::YesRenew } else { Match::No });
    }
    let hash = PasswordHash::new(hash).map_err(|error| HashError::Argon2(error.into()))?;
    match argon2id()?.verify_password(password.as_bytes(), &hash) {
        Ok(()) => Ok(Match::Yes),
        Err(Error::PasswordInvalid) => Ok(Match::No),
        Err(error) => Err(HashError::Argon2(error)),
    }
}

/// What logging in needs besides the database.
pub struct Logins {
    /// By the account that a name means.
    pub(super) accounts: Throttle,
    pub(super) addresses: Throttle,
    /// When API keys were shown last, and from where.
    pub(super) key_uses: Rate<(ApiKeyId, Option<IpAddr>)>,
    hashing: tokio::sync::Semaphore,
    /// Compared when there is no such account, so that the answer takes as long.
    nobody: String,
}

impl Logins {
    pub fn new() -> Result<Self, HashError> {
        Ok(Self {
            accounts: Throttle::new(FAILURES_MAX, WINDOW_S),
            addresses: Throttle::new(FAILURES_PER_ADDRESS_MAX, WINDOW_S),
            key_uses: Rate::per_minute(NOTED_A_MINUTE),
            hashing: tokio::sync::Semaphore::new(HASHES_AT_ONCE),
            nobody: hash_of(&uuid::Uuid::new_v4().to_string())?,
        })
    }

    /// Hashes a new password, off the threads that serve requests.
    pub async fn hash(&self, password: String) -> Result<String, Problem> {
        self.off_the_threads(move || hash_of(&password)).await
    }

    /// The same for a password that may not be given.
    pub async fn hash_given<const MAX: usize>(
        &self,
        password: Option<crate::http::fields::Password<MAX>>,
    ) -> Result<Option<String>, Problem> {
        match password {
            Some(password) => Ok(Some(self.hash(password.0).await?)),
            None => Ok(None),
        }
    }

    pub(super) async fn matches(&self, password: String, hash: Option<String>, of: Of) -> Result<Match, Problem> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        let found = self.off_the_threads(move || compare(&password, &hash, of)).await?;
        Ok(if known { found } else { Match::No })
    }

    async fn off_the_threads<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T, HashError> + Send + 'static) -> Result<T, Problem> {
        let _permit = self.hashing.acquire().await.map_err(|error| failed(&error.into()))?;
        let done = tokio::task::spawn_blocking(work).await.map_err(anyhow::Error::new);
        done.and_then(|done| done.map_err(anyhow::Error::new)).map_err(|error| failed(&error))
    }
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
    async fn a_hash_fits_its_password_and_no_other() {
        let logins = Logins::new().unwrap();
        let long = "x".repeat(PASSWORD_BYTES_MAX);
        let hash = logins.hash(long.clone()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_eq!(logins.matches(long.clone(), Some(hash.clone()), Of::Person).await.unwrap(), Match::Yes);
        assert_eq!(logins.matches(format!("{long}y"), Some(hash), Of::Person).await.unwrap(), Match::No);
        assert_eq!(logins.matches("anything".into(), None, Of::Person).await.unwrap(), Match::No);
    }

    #[test]
    fn what_bcrypt_kept_still_opens_and_is_kept_anew() {
        let longest = "x".repeat(BCRYPT_BYTES_MAX);
        let hash = bcrypt::hash(&longest, 4).unwrap();
        let of_person = |password: &str| compare(password, &hash, Of::Person).unwrap();
        assert_eq!([of_person(&longest), of_person(&format!("{longest}y")), of_person("x")], [Match::YesRenew, Match::No, Match::No]);
        let digest = bcrypt::hash(hex::encode(Sha256::digest("open sesame")), 4).unwrap();
        assert_eq!(compare("open sesame", &digest, Of::Administrator).unwrap(), Match::YesRenew);
        assert_eq!(compare("open sesame", &digest, Of::Person).unwrap(), Match::No);
        // The form of other servers.
        let other = hash.replacen("$2b$", "$2a$", 1);
        assert_eq!(compare(&longest, &other, Of::Person).unwrap(), Match::YesRenew);
        assert!(compare("x", "no hash", Of::Person).is_err());
    }
}
