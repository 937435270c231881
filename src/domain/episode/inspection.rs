//! A person looks at what a machine could not decide.
//!
//! ```text
//!   waits ──take──► taken ──decide──► settled: inspector_approved | rejected
//!     ▲               │  ├──► a second one is wanted ──take, decide──► equal: settled
//!     │  release, or  │  │                                       └──► disputed ──► a senior settles it
//!     └── its time is over                    settled ──reopen──► waits, for a senior
//! ```
//!
//! An inspector holds an episode for a while, so that no two look at it at the same time. A second inspection is blind: who
//! makes it is another person, and is not shown the first.

use serde::{Deserialize, Serialize};

use super::status::{Level, QaStatus};
use crate::domain::judgement::{Grade, Judgement, Role};
use crate::domain::words::words;
use crate::domain::{InspectorId, Timestamp};

words! {
    /// Why a person has to look.
    InspectionCause {
        /// Nothing failed, and something has to be looked at, or the score is too low.
        Warnings = "warnings",
        Failures = "failures",
        Gates = "gates",
        Reopened = "reopened",
        Disputed = "disputed",
    }

    /// What an inspector decides.
    Decision {
        Approved = "approved",
        Rejected = "rejected",
    }

    /// What a decision did.
    DecisionEffect {
        /// The episode is approved or rejected by it.
        Settled = "settled",
        /// Another inspector has to look first.
        SecondWanted = "second_wanted",
        /// It is another one than the first: a senior settles it.
        Disputed = "disputed",
    }
}

/// Which level an inspector needs for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    pub warnings: Level,
    pub failures: Level,
    pub gates: Level,
}

impl Default for Levels {
    fn default() -> Self {
        Self { warnings: Level::Level1, failures: Level::Level2, gates: Level::Senior }
    }
}

impl Levels {
    pub fn of(&self, cause: InspectionCause) -> Level {
        match cause {
            InspectionCause::Warnings => self.warnings,
            InspectionCause::Failures => self.failures,
            InspectionCause::Gates => self.gates,
            InspectionCause::Reopened | InspectionCause::Disputed => Level::Senior,
        }
    }

    /// What an inspector of this level may decide.
    pub fn open_to(&self, level: Level) -> Vec<InspectionCause> {
        InspectionCause::ALL.iter().copied().filter(|cause| self.of(*cause) <= level).collect()
    }
}

/// An inspector who looks at it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    pub by: InspectorId,
    /// Afterwards another one may take it.
    pub until: Timestamp,
}

/// What an inspector decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// Names it among all decisions.
    pub number: i64,
    pub by: InspectorId,
    pub decision: Decision,
    pub effect: DecisionEffect,
    pub reason: String,
    /// What is wrong with it, as words of the site.
    pub tags: Vec<String>,
    /// How long the inspector looked, in seconds, as they say.
    pub duration_sec: Option<f64>,
    /// How often it had been reopened, and which decision since it is, from 0.
    pub round: i32,
    pub place: i32,
    pub at: Timestamp,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    pub taken: Option<Taken>,
    /// Since it was reopened, or ever: at most three.
    pub decisions: Vec<Decided>,
    /// How often it was reopened.
    pub rounds: i32,
}

impl Inspection {
    pub fn is_settled(&self) -> bool {
        self.decisions.last().is_some_and(|last| last.effect == DecisionEffect::Settled)
    }

    /// A first decision waits for a second one.
    pub fn wants_second(&self) -> bool {
        self.decisions.last().is_some_and(|last| last.effect == DecisionEffect::SecondWanted)
    }

    pub fn is_disputed(&self) -> bool {
        self.decisions.last().is_some_and(|last| last.effect == DecisionEffect::Disputed)
    }

    pub fn holder(&self, now: Timestamp) -> Option<&Taken> {
        self.taken.as_ref().filter(|taken| taken.until > now)
    }

    pub fn has_decided(&self, inspector: InspectorId) -> bool {
        self.decisions.iter().any(|decided| decided.by == inspector)
    }

    /// What a decision does, where a second inspection is wanted of this share.
    pub fn effect_of(&self, decision: Decision, second_wanted: bool) -> DecisionEffect {
        match self.decisions.as_slice() {
            [] if second_wanted => DecisionEffect::SecondWanted,
            [first] if first.effect == DecisionEffect::SecondWanted && first.decision != decision => DecisionEffect::Disputed,
            _ => DecisionEffect::Settled,
        }
    }
}

/// Why a person has to look: what the last run found, or what people did since.
pub fn cause_of(judgement: Option<&Judgement>, inspection: &Inspection) -> InspectionCause {
    let failed = |wanted: fn(Role) -> bool| {
        judgement.is_some_and(|judged| judged.checks.iter().any(|check| check.result == Grade::Fail && wanted(check.role)))
    };
    if inspection.is_disputed() {
        InspectionCause::Disputed
    } else if inspection.rounds > 0 {
        InspectionCause::Reopened
    } else if failed(|role| role == Role::Gate) {
        InspectionCause::Gates
    } else if failed(|_| true) {
        InspectionCause::Failures
    } else {
        InspectionCause::Warnings
    }
}

/// Whether a person has something to decide about an episode of this status.
pub fn is_open(status: QaStatus) -> bool {
    matches!(status, QaStatus::NeedsInspection | QaStatus::Failed)
}

impl From<Decision> for QaStatus {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Approved => Self::InspectorApproved,
            Decision::Rejected => Self::Rejected,
        }
    }
}
