//! `[outbox]`: how deliveries are made.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::check::Findings;
use super::forms::{hours, milliseconds, seconds};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outbox {
    #[serde(rename = "poll_interval_ms", deserialize_with = "milliseconds")]
    pub poll_interval: Duration,
    #[serde(rename = "resolved_letters_kept_hours", deserialize_with = "hours")]
    resolved_letters_kept: Duration,
    pub defaults: Delivery,
    /// Complete: what a table leaves out has been taken from `defaults`.
    pub subscribers: BTreeMap<String, Delivery>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ordering {
    None,
    PerStream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExhausted {
    Skip,
    Block,
}

/// How deliveries to one subscriber are made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    pub concurrency: usize,
    pub concurrency_total: usize,
    attempts_max: u32,
    #[serde(rename = "deadline_s", deserialize_with = "seconds")]
    deadline: Duration,
    #[serde(rename = "backoff_base_ms", deserialize_with = "milliseconds")]
    pub backoff_base: Duration,
    #[serde(rename = "backoff_cap_ms", deserialize_with = "milliseconds")]
    pub backoff_cap: Duration,
    #[serde(rename = "lease_ms", deserialize_with = "milliseconds")]
    pub lease: Duration,
    #[serde(rename = "timeout_ms", deserialize_with = "milliseconds")]
    pub timeout: Duration,
    pub ordering: Ordering,
    pub on_exhausted: OnExhausted,
}

impl Outbox {
    /// How deliveries to `subscriber` are made; one without a table gets the defaults.
    pub fn delivery(&self, subscriber: &str) -> &Delivery {
        self.subscribers.get(subscriber).unwrap_or(&self.defaults)
    }

    /// None: for ever.
    pub fn resolved_letters_kept(&self) -> Option<Duration> {
        (!self.resolved_letters_kept.is_zero()).then_some(self.resolved_letters_kept)
    }

    pub(super) fn check(&self, findings: &mut Findings) {
        self.defaults.check("outbox.defaults", findings);
        for (name, delivery) in &self.subscribers {
            delivery.check(&format!("outbox.subscribers.{name}"), findings);
        }
    }
}

impl Delivery {
    pub fn attempts_max(&self) -> Option<u32> {
        (self.attempts_max > 0).then_some(self.attempts_max)
    }

    pub fn deadline(&self) -> Option<Duration> {
        (!self.deadline.is_zero()).then_some(self.deadline)
    }

    fn check(&self, name: &str, findings: &mut Findings) {
        findings.need(
            self.attempts_max().is_some() || self.deadline().is_some(),
            format!("`{name}` needs `attempts_max` or `deadline_s`: a delivery has to end"),
        );
        findings.need(
            self.concurrency_total >= self.concurrency,
            format!("`{name}.concurrency_total` must not be below `concurrency`: one destination would have no room"),
        );
        findings.need(self.backoff_cap >= self.backoff_base, format!("`{name}.backoff_cap_ms` must not be below `backoff_base_ms`"));
    }
}
