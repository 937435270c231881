//! `[sync]`: clouds that recordings are pushed to, and how.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::bandwidth::ByTime;
use super::check::Findings;
use super::forms::{listed, seconds, set_or_none};
use super::secret::Secret;

/// S3 takes no smaller part, but for the last one, and no larger one.
const PART_MIB_MIN: u64 = 5;
const PART_MIB_MAX: u64 = 1024;
const PARTS_AT_ONCE_MAX: usize = 64;

const PLATFORM_CONFIG: &str = "~/.archebase/config.json";
const RESTARTS_MAX: u32 = 3;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudSync {
    pub enabled: bool,
    pub auto_scan: bool,
    max_retries: u32,
    #[serde(rename = "deadline_s", deserialize_with = "seconds")]
    deadline: Duration,
    #[serde(rename = "retry_base_s", deserialize_with = "seconds")]
    pub retry_base: Duration,
    #[serde(rename = "retry_max_s", deserialize_with = "seconds")]
    pub retry_max: Duration,
    #[serde(rename = "retry_jitter_s", deserialize_with = "seconds")]
    retry_jitter: Duration,
    #[serde(rename = "request_timeout_s", deserialize_with = "seconds")]
    pub request_timeout: Duration,
    pub parts_at_once: usize,
    part_mib: u64,
    memory_mib: u64,
    bytes_per_second_max: u64,
    #[serde(deserialize_with = "listed")]
    bytes_per_second_by_time: ByTime,
    pub s3: CloudS3,
    pub receiver: CloudReceiver,
    pub gateway: CloudGateway,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudS3 {
    #[serde(deserialize_with = "set_or_none")]
    pub bucket: Option<String>,
    /// With a scheme, without a trailing slash.
    #[serde(deserialize_with = "set_or_none")]
    pub endpoint: Option<String>,
    pub region: String,
    #[serde(deserialize_with = "set_or_none")]
    pub access_key: Option<String>,
    #[serde(deserialize_with = "set_or_none")]
    pub secret_key: Option<Secret>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudReceiver {
    /// With a scheme, without a trailing slash.
    #[serde(deserialize_with = "set_or_none")]
    pub url: Option<String>,
    #[serde(deserialize_with = "set_or_none")]
    pub token: Option<Secret>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudGateway {
    #[serde(deserialize_with = "set_or_none")]
    pub config: Option<PathBuf>,
    #[serde(rename = "call_timeout_s", deserialize_with = "seconds")]
    pub call_timeout: Duration,
    restarts_max: u32,
}

impl CloudGateway {
    /// Sessions that may take the place of one; none given: as many as the predecessor had.
    pub fn restarts_max(&self) -> u32 {
        if self.restarts_max > 0 { self.restarts_max } else { RESTARTS_MAX }
    }
}

impl CloudSync {
    /// The configuration of the data platform, where recordings go to its gateway: the one that is named, or, where no bucket is, the one that lies
    /// where the platform's own programs have it.
    pub fn platform(&self) -> Option<PathBuf> {
        if !self.enabled {
            return None;
        }
        let default = self.s3.bucket.is_none().then(|| PathBuf::from(PLATFORM_CONFIG));
        self.gateway.config.clone().or(default)
    }

    pub fn max_retries(&self) -> Option<u32> {
        (self.max_retries > 0).then_some(self.max_retries)
    }

    pub fn deadline(&self) -> Option<Duration> {
        (!self.deadline.is_zero()).then_some(self.deadline)
    }

    pub fn retry_jitter(&self) -> Option<Duration> {
        (!self.retry_jitter.is_zero()).then_some(self.retry_jitter)
    }

    pub fn part_mib(&self) -> u64 {
        self.part_mib
    }

    pub fn memory_mib(&self) -> u64 {
        self.memory_mib
    }

    /// 0: no limit.
    pub fn bytes_per_second_max(&self) -> u64 {
        self.bytes_per_second_max
    }

    pub fn bytes_per_second_by_time(&self) -> ByTime {
        self.bytes_per_second_by_time.clone()
    }

    pub(super) fn check(&mut self, findings: &mut Findings) {
        findings.need_base_url("sync.s3.endpoint", &mut self.s3.endpoint);
        findings.need_base_url("sync.receiver.url", &mut self.receiver.url);
        let s3 = &self.s3;
        findings.need(
            s3.bucket.is_none() || (s3.endpoint.is_some() && s3.access_key.is_some() && s3.secret_key.is_some()),
            "with `sync.s3.bucket`, `sync.s3.endpoint`, `sync.s3.access_key` and `sync.s3.secret_key` are required",
        );
        findings.need(
            self.receiver.url.is_none() || s3.bucket.is_some(),
            "`sync.receiver.url` is told of what arrives in `sync.s3.bucket`: both are given, or neither",
        );
        findings.need(self.retry_max >= self.retry_base, "`sync.retry_max_s` must not be below `retry_base_s`");
        findings.need(
            self.max_retries > 0 || !self.deadline.is_zero(),
            "`sync` needs `max_retries` or `deadline_s`: a recording that cannot be pushed has to be told of",
        );
        findings.need(
            (PART_MIB_MIN..=PART_MIB_MAX).contains(&self.part_mib),
            format!("`sync.part_mib` must be {PART_MIB_MIN} to {PART_MIB_MAX}"),
        );
        findings.need(self.parts_at_once <= PARTS_AT_ONCE_MAX, format!("`sync.parts_at_once` must be at most {PARTS_AT_ONCE_MAX}"));
    }
}
