//! Where the recording of an episode lies, how each copy was found, and the removal of the one in the edge storage.
//!
//! ```text
//!  available ──ask──► deleting ──► deleted ──ask──► restoring ──► available
//!      ▲                 └──► delete_failed             └──► what it was before
//!      └── may be asked for again
//! ```
//!
//! Each request has a number, and its end names it: an end that comes twice changes nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;
use crate::domain::words::words;

words! {
    /// Where a copy lies: in the edge storage, or in a cloud.
    CopyPlace {
        Edge = "edge",
        S3 = "s3",
        Gateway = "gateway",
    }

    /// The copy in the edge storage.
    EdgeCopyStatus {
        Available = "available",
        Deleting = "deleting",
        Deleted = "deleted",
        DeleteFailed = "delete_failed",
        Restoring = "restoring",
    }

    /// Why the copy in the edge storage is removed.
    RemovalCause {
        /// A person asked.
        Manual = "manual",
        /// It was one of many.
        BulkRun = "bulk_run",
        /// It was synced long ago.
        Age = "age",
        /// The disk has little room.
        FreeSpace = "free_space",
    }

    /// How far a copy was looked at.
    LookDepth {
        /// What the store says of it, and in the edge storage the summary of the MCAP.
        Summary = "summary",
        /// All of its bytes.
        Content = "content",
    }

    /// Why a copy was not removed, or not brought back.
    CopyFault {
        /// It lost its approval meanwhile.
        Needed = "needed",
        /// A cloud does not have what it had.
        NotInCloud = "not_in_cloud",
        /// A cloud cannot be asked at the moment.
        CloudAway = "cloud_away",
        /// The edge storage did not do it.
        EdgeStorage = "edge_storage",
        /// What the cloud gave is not what was recorded.
        Damaged = "damaged",
    }
}

/// Of what is wrong with a copy, or why nothing was done about one: as much is kept of it.
const TEXT_CHARS_MAX: usize = 500;

fn kept(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyFailure {
    pub fault: CopyFault,
    /// In words, as much as is kept of them.
    pub text: String,
}

impl CopyFailure {
    pub fn new(fault: CopyFault, text: impl AsRef<str>) -> Self {
        Self { fault, text: kept(text.as_ref()) }
    }
}

/// How a copy was found when it was looked at last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    pub depth: LookDepth,
    /// None: it is sound, as far as it was looked at.
    pub damage: Option<String>,
    pub at: Timestamp,
}

impl Look {
    pub fn new(depth: LookDepth, damage: Option<&str>, at: Timestamp) -> Self {
        Self { depth, damage: damage.map(kept), at }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeCopyStage {
    #[default]
    Available,
    Deleting,
    Deleted,
    DeleteFailed,
    Restoring {
        was_deleted: bool,
    },
}

/// What is known of all copies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copies {
    pub edge: EdgeCopyStage,
    /// How often a removal or a restore was asked for; the last one counts.
    pub requests: i32,
    /// When the stage was entered.
    pub changed_at: Option<Timestamp>,
    /// Of the last request, where it did not end well.
    pub failure: Option<CopyFailure>,
    /// Of the object that was brought back.
    pub etag: Option<String>,
    pub looks: BTreeMap<CopyPlace, Look>,
}

/// How a removal or a restore ended.
#[derive(Clone, Debug)]
pub enum EdgeCopyOutcome {
    Removed,
    NotRemoved(CopyFailure),
    /// With the entity tag of what was written.
    Restored {
        etag: String,
    },
    NotRestored(CopyFailure),
}

impl Copies {
    pub fn status(&self) -> EdgeCopyStatus {
        match self.edge {
            EdgeCopyStage::Available => EdgeCopyStatus::Available,
            EdgeCopyStage::Deleting => EdgeCopyStatus::Deleting,
            EdgeCopyStage::Deleted => EdgeCopyStatus::Deleted,
            EdgeCopyStage::DeleteFailed => EdgeCopyStatus::DeleteFailed,
            EdgeCopyStage::Restoring { .. } => EdgeCopyStatus::Restoring,
        }
    }

    /// What is wrong with a copy, as far as that is known.
    pub fn damage(&self, place: CopyPlace) -> Option<&str> {
        self.looks.get(&place).and_then(|look| look.damage.as_deref())
    }

    pub fn damaged(&self) -> impl Iterator<Item = CopyPlace> {
        self.looks.iter().filter(|(_, look)| look.damage.is_some()).map(|(place, _)| *place)
    }

    /// Whether the recording is not in the edge storage, or is being taken away.
    pub fn is_gone(&self) -> bool {
        matches!(self.edge, EdgeCopyStage::Deleting | EdgeCopyStage::Deleted | EdgeCopyStage::Restoring { was_deleted: true })
    }

    /// Whether this removal waits for its end.
    pub fn is_removal(&self, request: i32) -> bool {
        self.edge == EdgeCopyStage::Deleting && self.requests == request
    }

    /// Whether this restore waits for its end.
    pub fn is_restore(&self, request: i32) -> bool {
        matches!(self.edge, EdgeCopyStage::Restoring { .. }) && self.requests == request
    }

    /// Whether this is how the request may end that waits for its end.
    pub(super) fn awaits(&self, request: i32, outcome: &EdgeCopyOutcome) -> bool {
        match outcome {
            EdgeCopyOutcome::Removed | EdgeCopyOutcome::NotRemoved(_) => self.is_removal(request),
            EdgeCopyOutcome::Restored { .. } | EdgeCopyOutcome::NotRestored(_) => self.is_restore(request),
        }
    }

    /// Whether the copy in the edge storage is there, and nobody is about to change that.
    pub fn is_at_rest(&self) -> bool {
        matches!(self.edge, EdgeCopyStage::Available | EdgeCopyStage::DeleteFailed)
    }

    /// Whether the copy in the edge storage was removed, or found damaged or gone.
    pub fn is_lost(&self) -> bool {
        self.edge == EdgeCopyStage::Deleted || (self.is_at_rest() && self.damage(CopyPlace::Edge).is_some())
    }

    /// Whether a look at this copy says anything: one that is being changed is looked at afterwards.
    pub(super) fn is_looked_at(&self, place: CopyPlace) -> bool {
        place != CopyPlace::Edge || self.is_at_rest()
    }

    pub(super) fn ask(&mut self, request: i32, edge: EdgeCopyStage, at: Timestamp) {
        (self.edge, self.requests, self.changed_at, self.failure) = (edge, request, Some(at), None);
    }

    pub(super) fn end(&mut self, edge: EdgeCopyStage, failure: Option<CopyFailure>, at: Timestamp) {
        (self.edge, self.changed_at, self.failure) = (edge, Some(at), failure);
    }

    pub(super) fn restore(&mut self, etag: &str, at: Timestamp) {
        self.end(EdgeCopyStage::Available, None, at);
        self.etag = Some(etag.to_owned());
        self.looks.remove(&CopyPlace::Edge);
    }

    pub(super) fn restore_failed(&mut self, failure: CopyFailure, at: Timestamp) {
        let was_deleted = matches!(self.edge, EdgeCopyStage::Restoring { was_deleted: true });
        let before = if was_deleted { EdgeCopyStage::Deleted } else { EdgeCopyStage::Available };
        self.end(before, Some(failure), at);
    }

    /// Of a recording that is pushed anew, what was found of the copies before says nothing.
    pub(super) fn pushed_anew(&mut self) {
        self.looks.retain(|place, _| *place == CopyPlace::Edge);
    }
}
