//! `[edge_copies]` and `[patrol]`: copies of recordings, removed by rule and looked at again.

use std::time::Duration;

use serde::Deserialize;

use super::check::Findings;
use super::forms::seconds;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeCopies {
    #[serde(rename = "removed_after_s", deserialize_with = "seconds")]
    removed_after: Duration,
    free_percent_min: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patrol {
    #[serde(rename = "every_s", deserialize_with = "seconds")]
    every: Duration,
    pub looks_per_second_max: u32,
    pub bytes_per_second_max: u64,
    pub edge_content_percent: u32,
    pub cloud_content_percent: u32,
}

impl EdgeCopies {
    pub fn removed_after(&self) -> Option<Duration> {
        (!self.removed_after.is_zero()).then_some(self.removed_after)
    }

    pub fn free_percent_min(&self) -> Option<u64> {
        (self.free_percent_min > 0).then_some(self.free_percent_min)
    }

    pub(super) fn check(&self, store_is_embedded: bool, findings: &mut Findings) {
        findings.need(self.free_percent_min < 100, "`edge_copies.free_percent_min` must be below 100");
        findings.need(
            self.free_percent_min == 0 || store_is_embedded,
            "`edge_copies.free_percent_min` is a rule for the embedded store: with `s3.endpoint` the room of the disk is not known; use \
             `edge_copies.removed_after_s`",
        );
    }
}

impl Patrol {
    pub fn every(&self) -> Option<Duration> {
        (!self.every.is_zero()).then_some(self.every)
    }

    pub(super) fn check(&self, findings: &mut Findings) {
        let percents = [self.edge_content_percent, self.cloud_content_percent];
        findings.need(
            percents.iter().all(|percent| *percent <= 100),
            "`patrol.edge_content_percent` and `patrol.cloud_content_percent` must not be above 100",
        );
    }
}
