//! `[auth]`: who may sign in, and with what logins are signed.

use std::time::Duration;

use serde::Deserialize;

use super::check::Findings;
use super::forms::{hours, set_or_none};
use super::secret::{HOW_TO_MAKE_ONE, Secret, is_secret};

/// Below this a login secret can be guessed offline; somewhat shorter ones are accepted,
/// because deployed sites have them, and complained about.
const JWT_SECRET_BYTES_RECOMMENDED: usize = 32;

/// What is shorter is no secret. Tokens can be tried offline, passwords a few times a minute.
const JWT_SECRET_BYTES_MIN: usize = 16;
const PASSWORD_BYTES_MIN: usize = 8;
/// A login that carries more is not looked at.
const PASSWORD_BYTES_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    Strict,
    Compat,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub mode: AuthMode,
    /// `None` only with an embedded database, which remembers a generated one.
    #[serde(deserialize_with = "set_or_none")]
    pub jwt_secret: Option<Secret>,
    pub jwt_issuer: String,
    #[serde(rename = "jwt_expiry_hours", deserialize_with = "hours")]
    pub jwt_expiry: Duration,
    pub admin_username: String,
    #[serde(deserialize_with = "set_or_none")]
    pub admin_password: Option<Secret>,
    #[serde(deserialize_with = "set_or_none")]
    pub display_token: Option<Secret>,
}

impl Auth {
    pub(super) fn check(&self, findings: &mut Findings) {
        if let Some(secret) = &self.jwt_secret {
            findings.need(
                is_secret(secret, JWT_SECRET_BYTES_MIN),
                format!("`auth.jwt_secret` must have {JWT_SECRET_BYTES_MIN} bytes or more, and not always the same few; {HOW_TO_MAKE_ONE}"),
            );
            if secret.expose().len() < JWT_SECRET_BYTES_RECOMMENDED {
                findings.notices.push(format!(
                    "`auth.jwt_secret` is shorter than {JWT_SECRET_BYTES_RECOMMENDED} bytes and can be guessed from a token"
                ));
            }
        }
        if let Some(password) = &self.admin_password {
            findings.need(
                is_secret(password, PASSWORD_BYTES_MIN) && password.expose().len() <= PASSWORD_BYTES_MAX,
                format!(
                    "`auth.admin_password` must have {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes, and not always the same few; {HOW_TO_MAKE_ONE}"
                ),
            );
        }
        if let Some(token) = &self.display_token {
            let spaced = token.expose().chars().any(|c| !c.is_ascii_graphic());
            findings.need(
                is_secret(token, JWT_SECRET_BYTES_MIN) && !spaced,
                format!(
                    "`auth.display_token` must have {JWT_SECRET_BYTES_MIN} bytes or more, without spaces, and not always the same few; {HOW_TO_MAKE_ONE}"
                ),
            );
        }
        findings.need(!self.admin_username.trim().is_empty(), "`auth.admin_username` must not be blank");
        if self.mode == AuthMode::Compat {
            findings.notices.push("`auth.mode` is `compat`: routes are open without a login, as in older deployments".to_owned());
        }
    }
}
