//! How an episode stands with the checks: which run holds it, what the last one said, and what follows for its status.
//!
//! ```text
//!                    start                        end
//!   pending_qa ───────────────► qa_running ───────────────► approved | failed | needs_inspection
//!   approved, failed ─────────►     │
//!        ▲                          │ abandoned: it was not done, or its time is over
//!        └──────────────────────────┘ (what it was before)
//!
//!   A run whose suite has outside checks waits for them in `qa_running` (`qa_run_waits`), until the last of their deadlines,
//!   and then it ends like any other. It cannot be abandoned: what was not done by then is in its verdict.
//!
//!   needs_inspection, inspector_approved, rejected: a run says what it finds, and the status stays; but where a suite is
//!   applied to history, a `needs_inspection` that a machine gave and nobody has taken is replaced
//! ```
//!
//! A run that needs nothing but what was measured is one event; one that has to look first holds the episode until an instant,
//! after which anybody may say that it is over. So no episode is held for ever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::refusal::EpisodeRefusal;
use super::status::{QaStatus, RunMode};
use crate::domain::judgement::{Grade, Judgement, Verdict};
use crate::domain::operator_word::{OperatorWord, WordEffect};
use crate::domain::{OutsideJobId, QaSuiteId, Timestamp};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Qa {
    /// Where it stands apart from a run that goes on.
    pub settled: QaStatus,
    /// Of the verdict that the status comes from.
    pub score: Option<f64>,
    pub flag: Option<String>,
    /// Whether the present approval is that of an automatic run.
    pub auto_approved: bool,
    pub running: Option<Running>,
    /// What the run that holds it waits for.
    pub waits: Option<Box<Waits>>,
    pub last: Option<EndedRun>,
    /// It needs an inspection, and the operator does not want it: what they say next counts.
    #[serde(default)]
    pub by_word: bool,
    /// It has its status from a word of the operator that no run has heard: the next run may change it.
    #[serde(default)]
    pub unjudged_word: bool,
    /// Its flag, where it was accepted although damaged: no run makes anything but `failed` of it.
    #[serde(default)]
    pub damage: Option<String>,
}

impl Default for Qa {
    fn default() -> Self {
        Self {
            settled: QaStatus::PendingQa,
            score: None,
            flag: None,
            auto_approved: false,
            running: None,
            waits: None,
            last: None,
            by_word: false,
            unjudged_word: false,
            damage: None,
        }
    }
}

/// A run that holds the episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Names it: what is asked for twice under one name is done once.
    pub run: String,
    pub mode: RunMode,
    /// Afterwards anybody may say that it is over.
    pub until: Timestamp,
}

/// A run holds the episode until checkers elsewhere have said what they find.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waits {
    pub run: String,
    pub mode: RunMode,
    /// By which it judges in the end. It is active or was: it does not change.
    pub suite_id: QaSuiteId,
    pub jobs: Vec<AwaitedJob>,
    /// The last deadline of these.
    pub until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitedJob {
    pub job_id: OutsideJobId,
    pub check: String,
}

/// A run that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndedRun {
    pub run: String,
    pub number: i64,
    pub mode: RunMode,
    pub at: Timestamp,
    pub judgement: Judgement,
    /// Whether the status stayed as it was, because no run changes it.
    pub kept: bool,
}

/// The check that says most about a run, as lists show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TellingCheck {
    pub id: i64,
    pub check_name: String,
    pub passed: bool,
    pub score: f64,
    pub details: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub check_metadata: BTreeMap<String, Value>,
    pub checked_at: Timestamp,
}

/// Checks of one run: the id of a check is made of the run's number and its place.
const CHECKS_MAX: i64 = 1000;

/// The id of a check of a run, by its place in it.
pub fn check_id(run: i64, place: usize) -> i64 {
    run * CHECKS_MAX + i64::try_from(place).unwrap_or(CHECKS_MAX - 1)
}

impl EndedRun {
    /// The check of the flag; where all is well, the last that said something.
    pub fn telling_check(&self) -> Option<TellingCheck> {
        let checks = &self.judgement.checks;
        let flagged = self.judgement.flag.as_ref().and_then(|flag| {
            checks.iter().position(|check| matches!(check.result, Grade::Warn | Grade::Fail | Grade::NotDone) && &check.details == flag)
        });
        let place = flagged.or_else(|| checks.len().checked_sub(1))?;
        let check = checks.get(place)?.clone();
        Some(TellingCheck {
            id: check_id(self.number, place),
            passed: check.passed(),
            score: check.score.unwrap_or_default(),
            check_name: check.name,
            details: check.details,
            check_metadata: check.numbers,
            checked_at: self.at,
        })
    }
}

impl Qa {
    /// Of a new episode; with its flag where it is damaged.
    pub(super) fn of(damage: Option<String>) -> Self {
        let settled = if damage.is_some() { QaStatus::Failed } else { QaStatus::PendingQa };
        Self { settled, flag: damage.clone(), damage, ..Self::default() }
    }

    /// As it is shown.
    pub fn status(&self) -> QaStatus {
        match &self.running {
            Some(_) if !self.settled.is_protected() => QaStatus::QaRunning,
            _ => self.settled,
        }
    }

    /// Whether the last run that ended is this one.
    pub(super) fn ended_as(&self, run: &str) -> bool {
        self.last.as_ref().is_some_and(|last| last.run == run)
    }

    /// Whether a run of this name may begin now, the time of another one that holds the episode included. Answers the
    /// name of one whose time is over.
    pub(super) fn may_start(&self, run: &str, mode: RunMode, now: Timestamp) -> Result<Start, EpisodeRefusal> {
        if self.ended_as(run) {
            return Err(EpisodeRefusal::RunEnded);
        }
        let over = match &self.running {
            Some(running) if running.run == run => return Ok(Start { abandoned: None, again: running.until > now }),
            // One that waits ends by itself.
            Some(running) if running.until > now || self.waits.is_some() => return Err(EpisodeRefusal::QaRunning),
            Some(running) => Some(running.run.clone()),
            None => None,
        };
        if mode == RunMode::Auto && !self.is_pending() {
            return Err(EpisodeRefusal::NotPending { status: self.settled });
        }
        Ok(Start { abandoned: over, again: false })
    }

    /// Whether the run may end: it holds the episode, or it is one that needs no look and nobody holds it.
    pub(super) fn may_end(&self, run: &str, mode: RunMode) -> Result<(), EpisodeRefusal> {
        match (&self.running, mode) {
            (Some(running), _) if running.run == run => Ok(()),
            (Some(_), _) => Err(EpisodeRefusal::QaRunning),
            (None, RunMode::Auto) if self.is_pending() => Ok(()),
            (None, RunMode::Auto) => Err(EpisodeRefusal::NotPending { status: self.settled }),
            (None, RunMode::Manual) => Err(EpisodeRefusal::RunLost),
            // It needs nothing but what was measured.
            (None, RunMode::Apply) => Ok(()),
        }
    }

    /// No run has judged it, or what its operator said: an automatic one may.
    pub fn is_pending(&self) -> bool {
        self.settled == QaStatus::PendingQa || self.unjudged_word || (self.damage.is_some() && self.last.is_none())
    }

    /// A machine sent it to inspection, and not the word of its operator.
    pub(super) fn is_held_by_a_verdict(&self) -> bool {
        self.settled == QaStatus::NeedsInspection && !self.by_word
    }

    /// A person says how it stands.
    pub(super) fn settle(&mut self, status: QaStatus, flag: Option<String>) {
        (self.settled, self.flag, self.auto_approved) = (status, flag, false);
        (self.by_word, self.unjudged_word) = (false, false);
    }

    pub(super) fn wait(&mut self, waits: Waits) {
        self.running = Some(Running { run: waits.run.clone(), mode: waits.mode, until: waits.until });
        self.waits = Some(Box::new(waits));
    }

    pub(super) fn hear(&mut self, word: &OperatorWord, effect: WordEffect) {
        match effect {
            WordEffect::Held => {
                self.settle(QaStatus::NeedsInspection, Some(word.reason()));
                (self.score, self.by_word, self.unjudged_word) = (None, true, true);
            }
            WordEffect::Freed => {
                self.settle(QaStatus::PendingQa, None);
                self.score = None;
            }
            WordEffect::Noted => {}
        }
    }

    /// What becomes of it by a verdict. What its operator does not want is approved by no run, and what is damaged fails in each.
    pub(super) fn status_after(&self, verdict: Verdict, word: Option<&OperatorWord>) -> QaStatus {
        match verdict {
            _ if self.damage.is_some() => QaStatus::Failed,
            Verdict::Approved if word.is_some_and(OperatorWord::discards) => QaStatus::NeedsInspection,
            verdict => verdict.into(),
        }
    }

    pub(super) fn end(&mut self, ended: EndedRun, word: Option<&OperatorWord>) {
        (self.running, self.waits) = (None, None);
        if !ended.kept {
            let status = self.status_after(ended.judgement.verdict, word);
            let discarded = word.filter(|word| word.discards() && status == QaStatus::NeedsInspection);
            (self.by_word, self.unjudged_word) = (discarded.is_some(), false);
            // An approval that stands is still the one that it was.
            self.auto_approved = status.is_approved()
                && match ended.mode {
                    RunMode::Auto => true,
                    RunMode::Manual | RunMode::Apply => self.auto_approved,
                };
            self.settled = status;
            self.score = Some(ended.judgement.score);
            let flag = || discarded.map(OperatorWord::reason).or_else(|| ended.judgement.flag.clone());
            self.flag = self.damage.clone().or_else(flag);
        }
        self.last = Some(ended);
    }
}

/// A run may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// Another one, whose time is over.
    pub abandoned: Option<String>,
    /// It had begun, and still has time.
    pub again: bool,
}
