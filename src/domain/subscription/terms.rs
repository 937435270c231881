//! What a subscription asks for, and within which bounds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::pattern;
use crate::domain::words::words;
use crate::domain::{FactoryId, OrganizationId, Scope};

/// Patterns that one subscription names.
pub const PATTERNS_MAX: usize = 50;
pub const PATTERN_CHARS_MAX: usize = 100;

/// What stands in place of an origin where nothing is posted. No URL has it.
pub const POLLED: &str = "polled";

pub const ATTEMPTS_MAX: i64 = 100;
/// A shorter wait is no wait, a longer one is a person's.
pub const BACKOFF_MS_MIN: i64 = 100;
pub const BACKOFF_MS_MAX: i64 = 86_400_000;
/// A request holds a connection and its row for as long.
pub const TIMEOUT_MS_MIN: i64 = 1_000;
pub const TIMEOUT_MS_MAX: i64 = 60_000;
pub const CONCURRENCY_MAX: i64 = 16;

words! {
    /// How waits grow.
    BackoffKind {
        /// Each is twice the one before, up to the cap.
        Exponential = "exponential",
        /// All are the base.
        Fixed = "fixed",
    }

    /// What part of a wait is waited.
    Jitter {
        /// Anywhere between nothing and all of it: what failed together does not come back together.
        Full = "full",
        None = "none",
    }

    /// In which order events go to a receiver.
    DeliveryOrder {
        None = "none",
        /// An event waits for the earlier ones of its stream.
        PerStream = "per_stream",
    }
}

/// How hard we try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryTerms {
    pub attempts_max: i64,
    pub backoff: BackoffKind,
    pub backoff_base_ms: i64,
    pub backoff_cap_ms: i64,
    pub jitter: Jitter,
    pub timeout_ms: i64,
    /// Requests at the same time.
    pub concurrency: i64,
    pub ordering: DeliveryOrder,
}

impl Default for DeliveryTerms {
    fn default() -> Self {
        Self {
            attempts_max: 15,
            backoff: BackoffKind::Exponential,
            backoff_base_ms: 5_000,
            backoff_cap_ms: 3_600_000,
            jitter: Jitter::Full,
            timeout_ms: 15_000,
            concurrency: 4,
            ordering: DeliveryOrder::None,
        }
    }
}

/// What is said of it; the rest stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryChange {
    pub attempts_max: Option<i64>,
    pub backoff: Option<BackoffKind>,
    pub backoff_base_ms: Option<i64>,
    pub backoff_cap_ms: Option<i64>,
    pub jitter: Option<Jitter>,
    pub timeout_ms: Option<i64>,
    pub concurrency: Option<i64>,
    pub ordering: Option<DeliveryOrder>,
}

impl DeliveryTerms {
    pub fn changed(self, change: &DeliveryChange) -> Self {
        Self {
            attempts_max: change.attempts_max.unwrap_or(self.attempts_max),
            backoff: change.backoff.unwrap_or(self.backoff),
            backoff_base_ms: change.backoff_base_ms.unwrap_or(self.backoff_base_ms),
            backoff_cap_ms: change.backoff_cap_ms.unwrap_or(self.backoff_cap_ms),
            jitter: change.jitter.unwrap_or(self.jitter),
            timeout_ms: change.timeout_ms.unwrap_or(self.timeout_ms),
            concurrency: change.concurrency.unwrap_or(self.concurrency),
            ordering: change.ordering.unwrap_or(self.ordering),
        }
    }

    pub fn timeout(&self) -> Duration {
        millis(self.timeout_ms)
    }

    pub fn backoff_base(&self) -> Duration {
        millis(self.backoff_base_ms)
    }

    pub fn backoff_cap(&self) -> Duration {
        millis(self.backoff_cap_ms)
    }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

/// Everything that a person says of a subscription, but for where it goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// What it is for, in words of the one who made it.
    pub description: Option<String>,
    /// Of where it goes to: the rest stands beside the log.
    pub origin: String,
    pub event_types: Vec<String>,
    pub factory_id: Option<FactoryId>,
    pub organization_id: Option<OrganizationId>,
    pub delivery: DeliveryTerms,
}

/// Why terms cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsRefusal {
    #[error("event_types must name 1 to {PATTERNS_MAX} types")]
    PatternCount,
    #[error("event_types: `{0}` names no type of event; docs/events.md lists them, and upload_* means all that begin so")]
    Pattern(String),
    #[error("{field} must be between {least} and {most}")]
    Bound { field: &'static str, least: i64, most: i64 },
    #[error("backoff_cap_ms must not be below backoff_base_ms")]
    CapBelowBase,
}

impl Terms {
    /// Nothing is posted: the program asks.
    pub fn is_polled(&self) -> bool {
        self.origin == POLLED
    }

    pub fn check(&self) -> Result<(), TermsRefusal> {
        if self.event_types.is_empty() || self.event_types.len() > PATTERNS_MAX {
            return Err(TermsRefusal::PatternCount);
        }
        for text in &self.event_types {
            if text.chars().count() > PATTERN_CHARS_MAX || pattern::types_of(text).is_empty() {
                return Err(TermsRefusal::Pattern(text.chars().take(PATTERN_CHARS_MAX).collect()));
            }
        }
        let of = &self.delivery;
        for (field, value, least, most) in [
            ("attempts_max", of.attempts_max, 1, ATTEMPTS_MAX),
            ("backoff_base_ms", of.backoff_base_ms, BACKOFF_MS_MIN, BACKOFF_MS_MAX),
            ("backoff_cap_ms", of.backoff_cap_ms, BACKOFF_MS_MIN, BACKOFF_MS_MAX),
            ("timeout_ms", of.timeout_ms, TIMEOUT_MS_MIN, TIMEOUT_MS_MAX),
            ("concurrency", of.concurrency, 1, CONCURRENCY_MAX),
        ] {
            if !(least..=most).contains(&value) {
                return Err(TermsRefusal::Bound { field, least, most });
            }
        }
        if of.backoff_cap_ms < of.backoff_base_ms { Err(TermsRefusal::CapBelowBase) } else { Ok(()) }
    }
}

/// Which events are told, from a row or from terms.
pub fn wants(event_types: &[String], event_type: &str) -> bool {
    event_types.iter().any(|pattern| pattern::matches(pattern, event_type))
}

/// Whose events are told. An organization stands with its factory.
pub fn scope_of(factory: Option<FactoryId>, organization: Option<OrganizationId>) -> Scope {
    match (factory, organization) {
        (None, _) => Scope::Everything,
        (Some(factory), None) => Scope::Factories([factory].into()),
        (Some(factory), Some(organization)) => Scope::Organization(factory, organization),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        Terms { origin: "https://a".into(), event_types: vec!["upload_*".into()], ..Terms::default() }
    }

    #[test]
    fn the_defaults_are_within_the_bounds() {
        assert_eq!(terms().check(), Ok(()));
    }

    #[test]
    fn what_lies_beyond_a_bound_is_refused_by_name() {
        let with = |change: fn(&mut DeliveryTerms)| {
            let mut terms = terms();
            change(&mut terms.delivery);
            terms.check().map_err(|error| error.to_string())
        };
        assert_eq!(with(|of| of.attempts_max = 0), Err("attempts_max must be between 1 and 100".into()));
        assert_eq!(with(|of| of.timeout_ms = TIMEOUT_MS_MAX + 1), Err("timeout_ms must be between 1000 and 60000".into()));
        assert_eq!(with(|of| of.concurrency = 17), Err("concurrency must be between 1 and 16".into()));
        assert_eq!(with(|of| of.backoff_base_ms = 99), Err("backoff_base_ms must be between 100 and 86400000".into()));
        assert_eq!(with(|of| of.backoff_cap_ms = 200), Err("backoff_cap_ms must not be below backoff_base_ms".into()));
    }

    #[test]
    fn a_pattern_that_means_nothing_is_refused() {
        let with = |types: &[&str]| Terms { event_types: types.iter().map(ToString::to_string).collect(), ..terms() }.check();
        assert_eq!(with(&[]), Err(TermsRefusal::PatternCount));
        assert_eq!(with(&["*", "uplaod_*"]), Err(TermsRefusal::Pattern("uplaod_*".into())));
        assert_eq!(with(&["*"; PATTERNS_MAX + 1]), Err(TermsRefusal::PatternCount));
    }
}
