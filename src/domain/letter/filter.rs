//! Which letters: by what was given up, why, when, and what became of it.

use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;
use crate::domain::words::words;

words! {
    /// Why a delivery was given up.
    DeadReason {
        AttemptsUsedUp = "attempts_used_up",
        PermanentError = "permanent_error",
        Expired = "expired",
        CausationTooDeep = "causation_too_deep",
    }

    /// What became of a letter.
    Resolution {
        Unresolved = "unresolved",
        /// In the outbox again, or delivered from there. A letter whose delivery dies again is unresolved again.
        Replayed = "replayed",
        /// A person said that it needs no delivery.
        Resolved = "resolved",
    }
}

/// What is not named matches every letter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LetterFilter {
    pub subscriber: Option<String>,
    /// As it is stored: `recorder:<device>`.
    pub destination: Option<String>,
    pub event_type: Option<String>,
    /// `task/17`.
    pub stream: Option<String>,
    /// Died at or after this instant.
    pub from: Option<Timestamp>,
    /// Died before this instant.
    pub to: Option<Timestamp>,
    pub reason: Option<DeadReason>,
    pub resolution: Option<Resolution>,
    /// A subscription that wanted to know of the death could not be told.
    pub notification_failed: Option<bool>,
}
