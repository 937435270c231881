//! `[bulk_runs]`: for how long their items are kept.

use std::time::Duration;

use serde::Deserialize;

use super::forms::hours;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BulkRuns {
    #[serde(rename = "items_kept_hours", deserialize_with = "hours")]
    items_kept: Duration,
}

impl BulkRuns {
    /// None: for ever.
    pub fn items_kept(&self) -> Option<Duration> {
        (!self.items_kept.is_zero()).then_some(self.items_kept)
    }
}
