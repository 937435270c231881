//! `[webhooks]`: where they may go, and for how long a receiver may fail.

use std::time::Duration;

use serde::Deserialize;

use super::forms::{hours, listed};
use crate::listener::Networks;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    #[serde(deserialize_with = "listed")]
    pub allow_private: Networks,
    #[serde(rename = "paused_after_hours", deserialize_with = "hours")]
    pub paused_after: Duration,
    #[serde(rename = "attempts_kept_hours", deserialize_with = "hours")]
    pub attempts_kept: Duration,
}
