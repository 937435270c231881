//! A recording that failed because it is damaged is salvaged: what is good of it becomes a file of its own.
//!
//! ```text
//!  not_asked ──ask──► under_way ──► salvaged
//!                       ▲   └─────► failed
//!                       └── ask again: after a failure, where the file went, by newer code, or when the work was given up
//! ```
//!
//! The file is no episode: nothing of it counts, and the status of its parent stays what it is.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::refusal::EpisodeRefusal;
use super::status::QaStatus;
use crate::domain::measurement::kept;
use crate::domain::salvage::{self, Salvaged};
use crate::domain::words::words;
use crate::domain::{Actor, Timestamp};

/// Beyond the day for which its delivery is tried: afterwards it may be asked for anew.
const GIVEN_UP_AFTER: TimeDelta = TimeDelta::hours(48);

words! {
    /// How far the salvage of an episode is.
    SalvageState {
        NotAsked = "not_asked",
        UnderWay = "under_way",
        Salvaged = "salvaged",
        Failed = "failed",
    }

    /// Why there is nothing that was salvaged.
    SalvageFault {
        /// Not one message can be kept.
        NothingKept = "nothing_kept",
        /// The recording is not in the store any more.
        ObjectGone = "object_gone",
        /// What is in the store is another recording than the one that was measured.
        OtherObject = "other_object",
    }
}

/// A person asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalvageAsked {
    /// Counts the times it was asked for, from 1: an end names its request.
    pub request: i32,
    pub reason: String,
    pub by: Actor,
    pub at: Timestamp,
}

/// What is good of it lies in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalvagedFile {
    pub request: i32,
    pub object_key: String,
    pub salvaged: Salvaged,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalvageFailed {
    pub request: i32,
    pub fault: SalvageFault,
    /// In words, as much as is kept of them.
    pub text: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SalvageStage {
    #[default]
    NotAsked,
    UnderWay(SalvageAsked),
    Salvaged {
        asked: SalvageAsked,
        at: Timestamp,
    },
    Failed {
        asked: SalvageAsked,
        failed: SalvageFailed,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Salvage {
    pub stage: SalvageStage,
    /// The newest that was made, also while another one is.
    pub file: Option<Box<SalvagedFile>>,
}

impl Salvage {
    pub fn asked(&self) -> Option<&SalvageAsked> {
        match &self.stage {
            SalvageStage::NotAsked => None,
            SalvageStage::UnderWay(asked) | SalvageStage::Salvaged { asked, .. } | SalvageStage::Failed { asked, .. } => Some(asked),
        }
    }

    pub fn failed(&self) -> Option<&SalvageFailed> {
        match &self.stage {
            SalvageStage::Failed { failed, .. } => Some(failed),
            SalvageStage::NotAsked | SalvageStage::UnderWay(_) | SalvageStage::Salvaged { .. } => None,
        }
    }

    pub fn state(&self) -> SalvageState {
        match &self.stage {
            SalvageStage::NotAsked => SalvageState::NotAsked,
            SalvageStage::UnderWay(_) => SalvageState::UnderWay,
            SalvageStage::Salvaged { .. } => SalvageState::Salvaged,
            SalvageStage::Failed { .. } => SalvageState::Failed,
        }
    }

    /// When it ended, as far as it did.
    pub fn ended_at(&self) -> Option<Timestamp> {
        match &self.stage {
            SalvageStage::NotAsked | SalvageStage::UnderWay(_) => None,
            SalvageStage::Salvaged { at, .. } => Some(*at),
            SalvageStage::Failed { failed, .. } => Some(failed.at),
        }
    }

    /// The request that goes on.
    fn is_under_way(&self, request: i32) -> bool {
        matches!(&self.stage, SalvageStage::UnderWay(asked) if asked.request == request)
    }

    pub(super) fn ask(&mut self, asked: &SalvageAsked) {
        self.stage = SalvageStage::UnderWay(asked.clone());
    }

    pub(super) fn end(&mut self, file: &SalvagedFile) {
        if let Some(asked) = self.asked().cloned() {
            self.stage = SalvageStage::Salvaged { asked, at: file.at };
        }
        self.file = Some(Box::new(file.clone()));
    }

    pub(super) fn fail(&mut self, failed: &SalvageFailed) {
        if let Some(asked) = self.asked().cloned() {
            self.stage = SalvageStage::Failed { asked, failed: failed.clone() };
        }
    }
}

/// A request for it.
#[derive(Clone, Debug)]
pub struct NewSalvage {
    pub reason: String,
    pub by: Actor,
    pub at: Timestamp,
    /// What was salvaged before is not in the store any more.
    pub file_gone: bool,
}

/// What came of the work.
#[derive(Clone, Debug)]
pub enum SalvageOutcome {
    Salvaged { object_key: String, salvaged: Box<Salvaged> },
    Failed { fault: SalvageFault, text: String },
}

/// How a request ends.
pub(super) enum SalvageEnd {
    Salvaged(Box<SalvagedFile>),
    Failed(SalvageFailed),
}

impl Salvage {
    /// Of an episode that stands so, in whose recording damage was found or was not. None: what is wanted is there.
    pub(super) fn asked_for(&self, settled: QaStatus, is_damaged: bool, new: NewSalvage) -> Result<Option<SalvageAsked>, EpisodeRefusal> {
        let NewSalvage { reason, by, at, file_gone } = new;
        if settled != QaStatus::Failed {
            return Err(EpisodeRefusal::NotFailed { status: settled });
        }
        if !is_damaged {
            return Err(EpisodeRefusal::NothingToSalvage);
        }
        match &self.stage {
            SalvageStage::UnderWay(asked) if at < asked.at + GIVEN_UP_AFTER => return Err(EpisodeRefusal::SalvageUnderWay),
            // The same bytes and the same code give the same file.
            SalvageStage::Salvaged { .. } if !file_gone && self.is_of_today() => return Ok(None),
            _ => {}
        }
        let request = self.asked().map_or(0, |asked| asked.request).saturating_add(1);
        Ok(Some(SalvageAsked { request, reason, by, at }))
    }

    /// None of a request that is over already.
    pub(super) fn end_of(&self, request: i32, outcome: SalvageOutcome, at: Timestamp) -> Option<SalvageEnd> {
        self.is_under_way(request).then(|| match outcome {
            SalvageOutcome::Salvaged { object_key, salvaged } => {
                SalvageEnd::Salvaged(Box::new(SalvagedFile { request, object_key, salvaged: *salvaged, at }))
            }
            SalvageOutcome::Failed { fault, text } => SalvageEnd::Failed(SalvageFailed { request, fault, text: kept(&text), at }),
        })
    }

    /// Made by the code of today.
    fn is_of_today(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.salvaged.made_by == salvage::VERSION)
    }
}
