//! `[s3]`: where recordings lie.

use std::time::Duration;

use serde::Deserialize;

use super::check::Findings;
use super::forms::{seconds, set_or_none};
use super::secret::{HOW_TO_MAKE_ONE, Secret, is_secret};

/// A shorter one is no secret.
const SECRET_BYTES_MIN: usize = 8;

const PRESIGN_TTL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Of a link that anybody can use who has it.
const VIEWER_TTL_MAX: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    /// With a scheme, without a trailing slash. `None`: the endpoint in this process.
    #[serde(deserialize_with = "set_or_none")]
    pub endpoint: Option<String>,
    #[serde(deserialize_with = "set_or_none")]
    pub public_endpoint: Option<String>,
    #[serde(deserialize_with = "set_or_none")]
    pub access_key: Option<String>,
    #[serde(deserialize_with = "set_or_none")]
    pub secret_key: Option<Secret>,
    pub shared_key: SharedKey,
    pub region: String,
    /// Never empty once loaded.
    pub bucket: String,
    #[serde(rename = "request_timeout_s", deserialize_with = "seconds")]
    pub request_timeout: Duration,
    #[serde(rename = "presign_ttl_s", deserialize_with = "seconds")]
    pub presign_ttl: Duration,
    #[serde(rename = "viewer_ttl_s", deserialize_with = "seconds")]
    pub viewer_ttl: Duration,
}

/// Whether the key that robots shared before each had its own still opens the embedded store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedKey {
    /// Where there is one: it was given, or an older version made it.
    Auto,
    Allowed,
    Refused,
}

impl S3 {
    /// Whether we serve the objects ourselves.
    pub fn is_embedded(&self) -> bool {
        self.endpoint.is_none()
    }

    pub(super) fn check(&mut self, factory_id: &str, findings: &mut Findings) {
        if self.bucket.is_empty() {
            self.bucket = format!("edge-{factory_id}");
        }
        findings.need(
            is_bucket_name(&self.bucket),
            "the bucket (`s3.bucket`, or `edge-` and `factory_id`) must be 3 to 63 lower-case letters, digits, dots and hyphens, with a letter or digit at both ends",
        );
        findings.need_base_url("s3.endpoint", &mut self.endpoint);
        findings.need_base_url("s3.public_endpoint", &mut self.public_endpoint);
        findings.need(
            self.endpoint.is_none() || (self.access_key.is_some() && self.secret_key.is_some()),
            "with `s3.endpoint`, `s3.access_key` and `s3.secret_key` are required",
        );
        findings.need(
            self.access_key.is_some() == self.secret_key.is_some(),
            "`s3.access_key` and `s3.secret_key` are given together or not at all",
        );
        // An S3 server that is not ours has its own rules.
        if let Some(secret) = self.secret_key.as_ref().filter(|_| self.endpoint.is_none()) {
            findings.need(
                is_secret(secret, SECRET_BYTES_MIN),
                format!("`s3.secret_key` must have {SECRET_BYTES_MIN} bytes or more, and not always the same few; {HOW_TO_MAKE_ONE}"),
            );
        }
        findings.need_at_most("s3.viewer_ttl_s", self.viewer_ttl, VIEWER_TTL_MAX, "a link for viewers is for a day at most");
        findings.need_at_most("s3.presign_ttl_s", self.presign_ttl, PRESIGN_TTL_MAX, "S3 servers refuse longer links");
    }
}

fn is_bucket_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.chars().all(|c| allowed(c) || c == '-' || c == '.')
        && name.starts_with(allowed)
        && name.ends_with(allowed)
        && !name.contains("..")
}
