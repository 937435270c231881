//! What must not show, and what is no secret because anybody guesses it.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;

/// `aaaaaaaa` has the length.
const DIFFERENT_CHARS_MIN: usize = 4;

pub(super) const HOW_TO_MAKE_ONE: &str = "`openssl rand -hex 32` makes a good one";

/// A value that must not reach a log, an error or a debugger's output.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The one way to the value, so that a search finds every use.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Whether it cannot be guessed at the first glance.
pub(super) fn is_secret(secret: &Secret, bytes_min: usize) -> bool {
    let different: BTreeSet<char> = secret.expose().trim().chars().collect();
    secret.expose().trim().len() >= bytes_min && different.len() >= DIFFERENT_CHARS_MIN
}
