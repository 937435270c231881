//! `[requests]`: what people ask for through the outbox.

use std::time::Duration;

use serde::Deserialize;

use super::forms::hours;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    #[serde(rename = "kept_hours", deserialize_with = "hours")]
    pub kept: Duration,
}
