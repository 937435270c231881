//! Bulk runs: work on many things that one request asked for.
//!
//! ```text
//!  accept                            nothing left
//! ───────► queued ──► running ───────────────────────► completed
//!             │          │ cancel                        ▲
//!             └──────────┴────────► cancel requested ────┤ nothing was left
//!                                          │             │
//!                                          └──► canceled
//!
//! any of these that cannot go on ──► failed
//! ```
//!
//! How far a run is stands beside the log, item by item: `queued` and `running` differ in whether a process has begun.

use serde::{Deserialize, Serialize};

use super::aggregate::events;
use super::episode::EpisodeSelection;
use super::judgement::Verdict;
use super::refusal::{RefusalCode, Refused};
use super::words::words;
use super::{Aggregate, QaSuiteId, Scope, Timestamp};

words! {
    /// A kind of run.
    BulkAction {
        ReplayDeadLetters = "replay_dead_letters",
        /// The checks, over many episodes.
        BulkQa = "bulk_qa",
        /// A suite, over what was judged before.
        ApplySuite = "apply_suite",
        /// Many episodes are queued for the cloud.
        BulkSync = "bulk_sync",
        /// Copies of many synced episodes are removed from the edge storage.
        BulkCleanup = "bulk_cleanup",
    }

    /// How a run ended.
    BulkEnd {
        Completed = "completed",
        Canceled = "canceled",
        /// It could not go on.
        Failed = "failed",
    }

    /// What became of one thing.
    ItemOutcome {
        Passed = "passed",
        /// It was looked at, and is not as it should be.
        QaFailed = "qa_failed",
        /// It could not be done.
        ProcessingFailed = "processing_failed",
        /// There was nothing to do about it, or another run does it.
        Skipped = "skipped",
        /// The run was cancelled before its turn.
        Canceled = "canceled",
    }
}

impl BulkAction {
    /// Of these only one run is active at a time.
    pub fn is_single(self) -> bool {
        match self {
            Self::ReplayDeadLetters => false,
            Self::BulkQa | Self::ApplySuite | Self::BulkSync | Self::BulkCleanup => true,
        }
    }
}

impl ItemOutcome {
    /// Of an episode that was judged, with the verdict as the cause where it is not approved. What a person has to look at did not pass.
    pub fn of(verdict: Verdict) -> (Self, Option<&'static str>) {
        match verdict {
            Verdict::Approved => (Self::Passed, None),
            Verdict::NeedsInspection | Verdict::Failed => (Self::QaFailed, Some(verdict.as_str())),
        }
    }
}

/// One of the things that a run is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its place in the run.
    pub number: i64,
    /// What it is: the id of a letter, or of an episode.
    pub item: String,
}

/// What became of the item of this number, and why where it is not as it should be.
pub type ItemResult = (i64, ItemOutcome, Option<&'static str>);

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action")]
pub enum BulkWork {
    /// `selection` as text.
    #[serde(rename = "replay_dead_letters")]
    ReplayDeadLetters { selection: String, causation_depth_max: Option<i32>, per_second: u32 },
    /// The episodes that were meant; which they were then, its items say.
    #[serde(rename = "bulk_qa")]
    BulkQa { selection: EpisodeSelection },
    /// The same. No suite: the shipped one.
    #[serde(rename = "apply_suite")]
    ApplySuite { suite: Option<QaSuiteId>, selection: EpisodeSelection },
    /// The same. With `force` those that are there already are pushed once more.
    #[serde(rename = "bulk_sync")]
    BulkSync { selection: EpisodeSelection, force: bool },
    /// The same.
    #[serde(rename = "bulk_cleanup")]
    BulkCleanup { selection: EpisodeSelection },
}

impl BulkWork {
    pub fn action(&self) -> BulkAction {
        match self {
            Self::ReplayDeadLetters { .. } => BulkAction::ReplayDeadLetters,
            Self::BulkQa { .. } => BulkAction::BulkQa,
            Self::ApplySuite { .. } => BulkAction::ApplySuite,
            Self::BulkSync { .. } => BulkAction::BulkSync,
            Self::BulkCleanup { .. } => BulkAction::BulkCleanup,
        }
    }
}

/// How many things ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkTally {
    pub passed: i64,
    pub qa_failed: i64,
    pub processing_failed: i64,
    pub skipped: i64,
}

impl BulkTally {
    /// How many things were worked on.
    pub fn processed(&self) -> i64 {
        self.passed + self.qa_failed + self.processing_failed + self.skipped
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkRun {
    #[default]
    Absent,
    Active(Active),
    Ended {
        work: BulkWork,
        scope: Scope,
        total: i64,
        cancel_requested: bool,
        end: BulkEnd,
        tally: BulkTally,
        started_at: Option<Timestamp>,
        error: Option<String>,
    },
}

impl BulkRun {
    /// Whether it is there for who sees so much.
    pub fn is_seen_by(&self, scope: &Scope) -> bool {
        match self {
            Self::Absent => false,
            Self::Active(Active { scope: asked, .. }) | Self::Ended { scope: asked, .. } => scope.includes(asked),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Active {
    pub work: BulkWork,
    /// What who asked for it saw.
    pub scope: Scope,
    pub total: i64,
    pub cancel_requested: bool,
}

#[derive(Clone, Debug)]
pub enum BulkCommand {
    Accept {
        work: BulkWork,
        scope: Scope,
        total: i64,
    },
    Cancel,
    /// Nothing is worked on any more: nothing is left, it was cancelled, or it cannot go on (`error`).
    End {
        left: i64,
        tally: BulkTally,
        started_at: Option<Timestamp>,
        error: Option<String>,
    },
}

events! {
    BulkRunEvent {
        BulkRunAccepted = "bulk_run_accepted", "1.4" {
            work: BulkWork,
            /// What who asked for it saw; who sees as much sees the run.
            #[serde(default)]
            scope: Scope,
            total: i64,
        },
        BulkRunCancelRequested = "bulk_run_cancel_requested", "1.0" {},
        BulkRunEnded = "bulk_run_ended", "1.0" {
            end: BulkEnd,
            tally: BulkTally,
            /// When a process began with it, if one did.
            started_at: Option<Timestamp>,
            /// Why it could not go on.
            error: Option<String>,
        },
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BulkRefusal {
    #[error("a bulk run with this id was accepted before")]
    Exists,
    #[error("bulk run not found")]
    NotFound,
    #[error("bulk run is already finished")]
    Finished,
    #[error("the run has something left to do, and nobody asked to cancel it")]
    NotOver,
}

impl Refused for BulkRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::Exists => RefusalCode::BulkRunExists,
            Self::NotFound => RefusalCode::BulkRunNotFound,
            Self::Finished | Self::NotOver => RefusalCode::BulkRunFinished,
        }
    }
}

impl Aggregate for BulkRun {
    const TYPE: &'static str = "bulk_run";
    type Command = BulkCommand;
    type Event = BulkRunEvent;
    type Refusal = BulkRefusal;

    fn decide(&self, command: BulkCommand) -> Result<Vec<BulkRunEvent>, BulkRefusal> {
        match (self, command) {
            (Self::Absent, BulkCommand::Accept { work, scope, total }) => Ok(vec![BulkRunEvent::BulkRunAccepted { work, scope, total }]),
            (Self::Active(_) | Self::Ended { .. }, BulkCommand::Accept { .. }) => Err(BulkRefusal::Exists),
            (Self::Absent, BulkCommand::Cancel | BulkCommand::End { .. }) => Err(BulkRefusal::NotFound),
            // Asked twice, it is cancelled once.
            (Self::Active(Active { cancel_requested: true, .. }), BulkCommand::Cancel) => Ok(vec![]),
            (Self::Active(_), BulkCommand::Cancel) => Ok(vec![BulkRunEvent::BulkRunCancelRequested {}]),
            (Self::Active(active), BulkCommand::End { left, tally, started_at, error }) => {
                let end = match (&error, left, active.cancel_requested) {
                    (Some(_), ..) => BulkEnd::Failed,
                    (None, 0, _) => BulkEnd::Completed,
                    (None, _, true) => BulkEnd::Canceled,
                    (None, _, false) => return Err(BulkRefusal::NotOver),
                };
                Ok(vec![BulkRunEvent::BulkRunEnded { end, tally, started_at, error }])
            }
            (Self::Ended { .. }, BulkCommand::Cancel | BulkCommand::End { .. }) => Err(BulkRefusal::Finished),
        }
    }

    fn evolve(&mut self, event: &BulkRunEvent) {
        *self = match (std::mem::take(self), event) {
            (Self::Absent, BulkRunEvent::BulkRunAccepted { work, scope, total }) => {
                Self::Active(Active { work: work.clone(), scope: scope.clone(), total: *total, cancel_requested: false })
            }
            (Self::Active(active), BulkRunEvent::BulkRunCancelRequested {}) => Self::Active(Active { cancel_requested: true, ..active }),
            (
                Self::Active(Active { work, scope, total, cancel_requested }),
                BulkRunEvent::BulkRunEnded { end, tally, started_at, error },
            ) => Self::Ended {
                work,
                scope,
                total,
                cancel_requested,
                end: *end,
                tally: *tally,
                started_at: *started_at,
                error: error.clone(),
            },
            (state, _) => state,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept() -> BulkCommand {
        let work = BulkWork::ReplayDeadLetters { selection: "s".into(), causation_depth_max: None, per_second: 100 };
        BulkCommand::Accept { work, scope: Scope::Everything, total: 2 }
    }

    fn after(commands: impl IntoIterator<Item = BulkCommand>) -> BulkRun {
        let mut run = BulkRun::default();
        for command in commands {
            for event in run.decide(command).unwrap() {
                run.evolve(&event);
            }
        }
        run
    }

    fn end(left: i64) -> BulkCommand {
        BulkCommand::End { left, tally: BulkTally { passed: 2 - left, ..BulkTally::default() }, started_at: None, error: None }
    }

    #[test]
    fn a_run_ends_once_nothing_is_left_or_it_was_cancelled() {
        let ended = |run: &BulkRun| if let BulkRun::Ended { end, .. } = run { Some(*end) } else { None };
        assert_eq!(ended(&after([accept(), end(0)])), Some(BulkEnd::Completed));
        assert_eq!(ended(&after([accept(), BulkCommand::Cancel, end(1)])), Some(BulkEnd::Canceled));
        // Cancelled after its last thing was done, it is complete all the same.
        assert_eq!(ended(&after([accept(), BulkCommand::Cancel, end(0)])), Some(BulkEnd::Completed));
        assert_eq!(after([accept()]).decide(end(1)), Err(BulkRefusal::NotOver));
        let broken = BulkCommand::End { left: 1, tally: BulkTally::default(), started_at: None, error: Some("broken".into()) };
        assert_eq!(ended(&after([accept(), broken])), Some(BulkEnd::Failed));
    }

    #[test]
    fn what_is_over_is_not_cancelled_and_nothing_is_done_twice() {
        let over = after([accept(), end(0)]);
        assert_eq!(over.decide(BulkCommand::Cancel), Err(BulkRefusal::Finished));
        assert_eq!(over.decide(end(0)), Err(BulkRefusal::Finished));
        assert_eq!(over.decide(accept()), Err(BulkRefusal::Exists));
        assert_eq!(after([accept(), BulkCommand::Cancel]).decide(BulkCommand::Cancel), Ok(vec![]));
        assert_eq!(BulkRun::default().decide(BulkCommand::Cancel), Err(BulkRefusal::NotFound));
    }
}
