//! `[sequencer]`: how the log gets its positions.

use std::time::Duration;

use serde::Deserialize;

use super::forms::milliseconds;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequencer {
    #[serde(rename = "poll_interval_ms", deserialize_with = "milliseconds")]
    pub poll_interval: Duration,
}
