//! `[log]`: how the log is proven to others.

use std::time::Duration;

use serde::Deserialize;

use super::check::Findings;
use super::forms::{seconds, set_or_none};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `None`: named after the database.
    #[serde(deserialize_with = "set_or_none")]
    pub origin: Option<String>,
    #[serde(rename = "checkpoint_every_s", deserialize_with = "seconds")]
    pub checkpoint_every: Duration,
    #[serde(rename = "publish_every_s", deserialize_with = "seconds")]
    pub publish_every: Duration,
}

/// What a name has: it stands in a line of its own, names a key, and is a path in an object store.
const NAME_BYTES_MAX: usize = 200;

impl Log {
    pub(super) fn check(&self, findings: &mut Findings) {
        let fine = |origin: &String| {
            let letters = origin.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte));
            letters && origin.len() <= NAME_BYTES_MAX && origin.split('/').all(|part| !matches!(part, "" | "." | ".."))
        };
        findings.need(
            self.origin.as_ref().is_none_or(fine),
            "`log.origin` must be a name as `edge.example.com/log`: letters, digits and -._~:/, without a slash at either end",
        );
    }
}
