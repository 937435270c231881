//! `[database]`: which Postgres, and how long to wait for it.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use super::check::Findings;
use super::forms::{seconds, set_or_none};
use super::secret::Secret;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `None`: a private cluster is started.
    #[serde(deserialize_with = "set_or_none")]
    pub url: Option<Secret>,
    /// Of the role in `url`, as it is.
    #[serde(deserialize_with = "set_or_none")]
    pub password: Option<Secret>,
    pub pool_max: usize,
    #[serde(rename = "connect_timeout_s", deserialize_with = "seconds")]
    pub connect_timeout: Duration,
    #[serde(rename = "pool_wait_timeout_s", deserialize_with = "seconds")]
    pub pool_wait_timeout: Duration,
    #[serde(rename = "statement_timeout_s", deserialize_with = "seconds")]
    pub statement_timeout: Duration,
    #[serde(rename = "idle_in_transaction_timeout_s", deserialize_with = "seconds")]
    pub idle_in_transaction_timeout: Duration,
    #[serde(rename = "tcp_user_timeout_s", deserialize_with = "seconds")]
    pub tcp_user_timeout: Duration,
    #[serde(rename = "start_timeout_s", deserialize_with = "seconds")]
    pub start_timeout: Duration,
}

impl Database {
    /// Whether we start a Postgres of our own.
    pub fn is_embedded(&self) -> bool {
        self.url.is_none()
    }

    pub(super) fn check(&self, findings: &mut Findings) {
        findings.need(
            self.url.as_ref().is_none_or(|url| parse_url(url.expose()).is_ok()),
            "`database.url` must be postgres://user:password@host:port/database",
        );
        let in_url = self.url.as_ref().is_some_and(|url| parse_url(url.expose()).is_ok_and(|config| config.get_password().is_some()));
        findings.need(
            self.password.is_none() || (self.url.is_some() && !in_url),
            "`database.password` is for a `database.url` without a password",
        );
        findings.need(self.pool_max >= 4, "`database.pool_max` must be 4 or more");
    }
}

/// Reads a URL. `sslmode=verify-ca` and `verify-full` are taken as `require`, because
/// we always verify the server.
pub fn parse_url(url: &str) -> Result<tokio_postgres::Config, tokio_postgres::Error> {
    let url = url.replace("sslmode=verify-full", "sslmode=require").replace("sslmode=verify-ca", "sslmode=require");
    tokio_postgres::Config::from_str(&url)
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::SslMode;

    use super::*;

    #[test]
    fn a_url_that_wants_more_verification_gets_what_we_always_do() {
        let url = "postgres://u:p@db.example/keystone?sslmode=verify-full";
        assert_eq!(parse_url(url).unwrap().get_ssl_mode(), SslMode::Require);
    }
}
