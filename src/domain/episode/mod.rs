//! Episodes: recordings that were verified, one per task; what was measured of them, and how they were judged.

mod copies;
mod inspection;
mod qa;
mod refusal;
#[cfg(test)]
mod run_tests;
mod salvage;
#[cfg(test)]
mod salvage_tests;
mod selection;
mod status;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::copies::{
    Copies, CopyFailure, CopyFault, CopyPlace, EdgeCopyOutcome, EdgeCopyStage, EdgeCopyStatus, Look, LookDepth, RemovalCause,
};
pub use self::inspection::{Decided, Decision, DecisionEffect, Inspection, InspectionCause, Levels, Taken, cause_of, is_open};
use self::qa::Start;
pub use self::qa::{AwaitedJob, EndedRun, Qa, Running, TellingCheck, Waits, check_id};
pub use self::refusal::EpisodeRefusal;
use self::salvage::SalvageEnd;
pub use self::salvage::{
    NewSalvage, Salvage, SalvageAsked, SalvageFailed, SalvageFault, SalvageOutcome, SalvageStage, SalvageState, SalvagedFile,
};
pub use self::selection::{EpisodeSelection, SyncStatus, moved_far};
pub use self::status::{Level, QaStatus, RunMode};
use super::aggregate::events;
use super::judgement::{Judgement, TaskWants};
use super::measurement::Facts;
use super::operator_word::{OperatorWord, WordEffect};
use super::{
    Aggregate, BatchId, FactoryId, InspectorId, OrderId, OrganizationId, PublicTaskId, SceneId, SopId, StationId, SubsceneId, SyncChainId,
    TaskId, Timestamp,
};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Episode {
    #[default]
    Absent,
    Known(Box<Known>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Known {
    pub created: Created,
    /// Words that people and rules put on it, each once, in the order they came.
    pub labels: Vec<String>,
    /// What people say of it.
    pub note: Option<String>,
    /// The newest facts; none of an episode that was stored by a version that did not measure.
    pub measured: Option<Box<Measured>>,
    pub qa: Qa,
    pub inspection: Inspection,
    /// The last word of the operator.
    #[serde(default)]
    pub word: Option<OperatorWord>,
    #[serde(default)]
    pub salvage: Salvage,
    /// When it was approved, as long as it is; none of an approval by a version that did not keep it.
    #[serde(default)]
    pub approved_at: Option<Timestamp>,
    /// What the cloud has of it.
    #[serde(default)]
    pub cloud: Option<InCloud>,
    /// Where it lies, and how it was found there.
    #[serde(default)]
    pub copies: Copies,
}

/// What the cloud has of an episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InCloud {
    /// The chain that pushed it there last.
    pub chain_id: SyncChainId,
    pub object_key: String,
    pub at: Timestamp,
}

/// What people say of an episode; what is not given stays.
#[derive(Clone, Debug, Default)]
pub struct Annotation {
    pub labels: Option<Vec<String>>,
    /// `Some(None)` takes it away.
    pub note: Option<Option<String>>,
}

/// What an inspector decides.
#[derive(Clone, Debug)]
pub struct NewDecision {
    /// Names it among all decisions.
    pub number: i64,
    pub by: InspectorId,
    pub level: Level,
    pub levels: Levels,
    pub decision: Decision,
    pub reason: String,
    pub tags: Vec<String>,
    pub duration_sec: Option<f64>,
    /// Whether this one is of the share that is inspected twice.
    pub second_wanted: bool,
    pub at: Timestamp,
}

impl Known {
    /// Such a run does not change its status: a person has decided, or is about to.
    fn is_protected_from(&self, mode: RunMode, now: Timestamp) -> bool {
        let replaced = self.qa.unjudged_word || (mode == RunMode::Apply && self.qa.is_held_by_a_verdict());
        (self.qa.settled.is_protected() && !replaced) || self.inspection.holder(now).is_some() || self.was_inspected()
    }

    /// Whether the recording can be read in the edge storage.
    pub fn must_be_readable(&self) -> Result<(), EpisodeRefusal> {
        match (self.copies.is_gone(), &self.cloud) {
            (true, cloud) => Err(EpisodeRefusal::EdgeCopyGone { in_cloud: cloud.as_ref().map(|cloud| cloud.object_key.clone()) }),
            (false, _) => Ok(()),
        }
    }

    /// Of the object in the edge storage, as it was verified or brought back.
    pub fn etag(&self) -> Option<&String> {
        self.copies.etag.as_ref().or(self.created.etag.as_ref())
    }

    /// An inspector decided about it, or it was reopened.
    fn was_inspected(&self) -> bool {
        !self.inspection.decisions.is_empty() || self.inspection.rounds > 0
    }

    /// Damage was found in its recording.
    fn is_damaged(&self) -> bool {
        self.measured.as_ref().is_some_and(|measured| !measured.facts.findings.is_empty())
    }

    /// Of a word that says something new.
    fn heard(&self, word: OperatorWord) -> Result<Vec<EpisodeEvent>, EpisodeRefusal> {
        if self.word.as_ref().is_some_and(|last| word.repeats(last)) {
            return Ok(vec![]);
        }
        if self.was_inspected() {
            return Err(EpisodeRefusal::Inspected);
        }
        let (status, by_word) = (self.qa.settled, self.qa.by_word);
        let effect = match (word.discards(), status) {
            _ if self.inspection.holder(word.at).is_some() => WordEffect::Noted,
            (true, QaStatus::PendingQa | QaStatus::Approved) => WordEffect::Held,
            (true, QaStatus::NeedsInspection) if by_word => WordEffect::Held,
            (false, QaStatus::NeedsInspection) if by_word => WordEffect::Freed,
            _ => WordEffect::Noted,
        };
        let lost = (effect == WordEffect::Held && status.is_approved()).then_some(EpisodeEvent::EpisodeApprovalLost { run: None });
        Ok(std::iter::once(EpisodeEvent::OperatorWordHeard { word, effect }).chain(lost).collect())
    }

    /// Whether the copy in the edge storage is needed by nothing. What the clouds have, is asked of them.
    pub fn may_lose_its_edge_copy(&self, now: Timestamp) -> Result<(), EpisodeRefusal> {
        let needed = |why: &'static str| Err(EpisodeRefusal::EdgeCopyNeeded { why });
        if self.cloud.is_none() {
            return needed("the episode has not been synced to a cloud");
        }
        if !self.qa.settled.is_approved() {
            return needed("the episode is not approved");
        }
        if self.labels.iter().any(|label| label == RECALLED_BATCH) {
            return needed("the batch of the episode was recalled");
        }
        if self.copies.damaged().any(|place| place != CopyPlace::Edge) {
            return needed("a copy in a cloud was found damaged");
        }
        if self.qa.running.is_some() || self.qa.waits.is_some() {
            return Err(EpisodeRefusal::QaRunning);
        }
        if self.inspection.holder(now).is_some() {
            return Err(EpisodeRefusal::TakenByAnother);
        }
        if self.salvage.state() == SalvageState::UnderWay { Err(EpisodeRefusal::SalvageUnderWay) } else { Ok(()) }
    }

    fn edge_copy_removed_by(&self, cause: RemovalCause, at: Timestamp) -> Result<Vec<EpisodeEvent>, EpisodeRefusal> {
        match self.copies.edge {
            EdgeCopyStage::Deleting | EdgeCopyStage::Deleted => Ok(vec![]),
            EdgeCopyStage::Restoring { .. } => Err(EpisodeRefusal::EdgeCopyBusy),
            EdgeCopyStage::Available | EdgeCopyStage::DeleteFailed => {
                self.may_lose_its_edge_copy(at)?;
                Ok(vec![EpisodeEvent::EdgeCopyRemovalRequested { request: self.copies.requests + 1, cause, at }])
            }
        }
    }

    fn edge_copy_brought_back(&self, at: Timestamp) -> Result<Vec<EpisodeEvent>, EpisodeRefusal> {
        match self.copies.edge {
            EdgeCopyStage::Deleting => Err(EpisodeRefusal::EdgeCopyBusy),
            EdgeCopyStage::Restoring { .. } => Ok(vec![]),
            _ if !self.copies.is_lost() => {
                Err(EpisodeRefusal::NothingToRestore { why: "the copy in the edge storage is not known to be damaged or gone" })
            }
            _ if self.copies.is_at_rest() && self.qa.running.is_some() => Err(EpisodeRefusal::QaRunning),
            _ => Ok(vec![EpisodeEvent::EdgeCopyRestoreRequested { request: self.copies.requests + 1, at }]),
        }
    }

    fn annotated(&self, annotation: Annotation) -> Result<Vec<EpisodeEvent>, EpisodeRefusal> {
        let of_rules = |label: &&String| [RECALLED_BATCH, LATE_UPLOAD].contains(&label.as_str());
        let given = annotation.labels.unwrap_or_else(|| self.labels.clone());
        if let Some(label) = given.iter().filter(of_rules).find(|label| !self.labels.contains(label)) {
            return Err(EpisodeRefusal::LabelOfRule { label: label.clone() });
        }
        // Those that rules put on it stay, also where people do not repeat them.
        let mut labels: Vec<String> = self.labels.iter().filter(of_rules).filter(|label| !given.contains(label)).cloned().collect();
        labels.extend(given);
        let mut seen = std::collections::BTreeSet::new();
        labels.retain(|label| seen.insert(label.clone()));
        let note = annotation.note.unwrap_or_else(|| self.note.clone());
        let same = labels == self.labels && note == self.note;
        Ok(if same { vec![] } else { vec![EpisodeEvent::EpisodeAnnotated { labels, note }] })
    }

    /// Why a person has to look at it; none where there is nothing to decide.
    pub fn inspection_cause(&self) -> Option<InspectionCause> {
        let judgement = self.qa.last.as_ref().map(|last| &last.judgement);
        let cause = match cause_of(judgement, &self.inspection) {
            InspectionCause::Warnings | InspectionCause::Failures if self.qa.damage.is_some() => InspectionCause::Gates,
            cause => cause,
        };
        is_open(self.qa.settled).then_some(cause)
    }

    fn may_take(&self, by: InspectorId, level: Level, levels: &Levels, now: Timestamp) -> Result<(), EpisodeRefusal> {
        let cause = self.inspection_cause().ok_or(EpisodeRefusal::NothingToInspect { status: self.qa.settled })?;
        let needed = levels.of(cause);
        if self.inspection.holder(now).is_some_and(|taken| taken.by != by) {
            return Err(EpisodeRefusal::TakenByAnother);
        }
        if self.inspection.has_decided(by) {
            return Err(EpisodeRefusal::DecidedBefore);
        }
        if level < needed { Err(EpisodeRefusal::LevelTooLow { needed }) } else { Ok(()) }
    }

    fn decided(&self, new: NewDecision) -> Result<Vec<EpisodeEvent>, EpisodeRefusal> {
        if self.inspection.holder(new.at).is_none_or(|taken| taken.by != new.by) {
            return Err(EpisodeRefusal::NotTaken);
        }
        self.may_take(new.by, new.level, &new.levels, new.at)?;
        let effect = self.inspection.effect_of(new.decision, new.second_wanted);
        let approved = effect == DecisionEffect::Settled && new.decision == Decision::Approved;
        let approval = approved.then_some(EpisodeEvent::EpisodeApproved { run: None, inspector: Some(new.by), at: Some(new.at) });
        let decided = Decided {
            number: new.number,
            by: new.by,
            decision: new.decision,
            effect,
            reason: new.reason,
            tags: new.tags,
            duration_sec: new.duration_sec,
            round: self.inspection.rounds,
            place: i32::try_from(self.inspection.decisions.len()).unwrap_or(i32::MAX),
            at: new.at,
        };
        Ok(std::iter::once(EpisodeEvent::InspectionDecided(decided)).chain(approval).collect())
    }

    /// What is asked of an episode that there is.
    fn decide(&self, command: EpisodeCommand) -> Result<Vec<EpisodeEvent>, EpisodeRefusal> {
        let mut events = self.asked(command)?;
        if self.cloud.is_some() && events.iter().any(|event| matches!(event, EpisodeEvent::EpisodeApprovalLost { .. })) {
            events.push(EpisodeEvent::SyncedEpisodeUnapproved {});
        }
        Ok(events)
    }

    fn asked(&self, command: EpisodeCommand) -> Result<Vec<EpisodeEvent>, EpisodeRefusal> {
        use EpisodeCommand as C;
        let (episode, qa) = (self, &self.qa);
        Ok(match command {
            C::Create(_) => return Err(EpisodeRefusal::AlreadyCreated),
            C::Label { label } if episode.labels.contains(&label) => vec![],
            C::Label { label } => vec![EpisodeEvent::EpisodeLabelled { label }],
            C::Annotate(annotation) => episode.annotated(annotation)?,
            C::Measure(measured) if episode.measured.as_ref() == Some(&measured) => vec![],
            C::Measure(measured) => vec![EpisodeEvent::EpisodeMeasured(measured)],
            C::HearWord { word } => episode.heard(word)?,
            C::StartRun { run, mode, until, now } => {
                episode.must_be_readable()?;
                let Start { abandoned, again } = qa.may_start(&run, mode, now)?;
                let why = || "its time was over".to_owned();
                let abandoned = abandoned.map(|run| EpisodeEvent::QaRunAbandoned { run, why: why() });
                let started = (!again).then_some(EpisodeEvent::QaRunStarted(Running { run, mode, until }));
                abandoned.into_iter().chain(started).collect()
            }
            C::WaitForOutside(waits) if qa.ended_as(&waits.run) => return Err(EpisodeRefusal::RunEnded),
            C::WaitForOutside(waits) if qa.waits.as_ref().is_some_and(|known| known.run == waits.run) => vec![],
            C::WaitForOutside(waits) => {
                qa.may_end(&waits.run, waits.mode)?;
                vec![EpisodeEvent::QaRunWaits(Box::new(waits))]
            }
            C::EndRun { run, .. } if qa.ended_as(&run) => vec![],
            C::EndRun { run, number, mode, judgement, at } => {
                qa.may_end(&run, mode)?;
                let kept = episode.is_protected_from(mode, at);
                let approval = match (qa.settled.is_approved(), qa.status_after(judgement.verdict, episode.word.as_ref()).is_approved()) {
                    (false, true) if !kept => Some(EpisodeEvent::EpisodeApproved { run: Some(run.clone()), inspector: None, at: Some(at) }),
                    (true, false) if !kept => Some(EpisodeEvent::EpisodeApprovalLost { run: Some(run.clone()) }),
                    _ => None,
                };
                let ended = EpisodeEvent::QaRunEnded(Box::new(EndedRun { run, number, mode, at, judgement, kept }));
                std::iter::once(ended).chain(approval).collect()
            }
            C::AbandonRun { .. } if qa.waits.is_some() => vec![],
            C::AbandonRun { run, why } if qa.running.as_ref().is_some_and(|running| running.run == run) => {
                vec![EpisodeEvent::QaRunAbandoned { run, why }]
            }
            C::AbandonRun { .. } => vec![],
            C::Take { by, level, levels, until, now } => {
                episode.may_take(by, level, &levels, now)?;
                vec![EpisodeEvent::InspectionTaken(Taken { by, until })]
            }
            C::Release { by } if episode.inspection.taken.as_ref().is_some_and(|taken| taken.by == by) => {
                vec![EpisodeEvent::InspectionReleased { by }]
            }
            C::Release { .. } => vec![],
            C::Decide(new) => episode.decided(*new)?,
            C::Reopen { reason } => {
                let (status, decided) = (qa.settled, episode.inspection.is_settled());
                if !(decided || status == QaStatus::Approved) {
                    return Err(EpisodeRefusal::NotDecided { status });
                }
                let lost = status.is_approved().then_some(EpisodeEvent::EpisodeApprovalLost { run: None });
                std::iter::once(EpisodeEvent::InspectionReopened { reason }).chain(lost).collect()
            }
            C::AskForSalvage(new) => {
                episode.must_be_readable()?;
                let asked = episode.salvage.asked_for(qa.settled, episode.is_damaged(), new)?;
                asked.map(EpisodeEvent::SalvageRequested).into_iter().collect()
            }
            C::EndSalvage { request, outcome, at } => match episode.salvage.end_of(request, outcome, at) {
                Some(SalvageEnd::Salvaged(file)) => vec![EpisodeEvent::RecordingSalvaged(file)],
                Some(SalvageEnd::Failed(failed)) => vec![EpisodeEvent::SalvageFailed(failed)],
                None => vec![],
            },
            C::RemoveEdgeCopy { cause, at } => episode.edge_copy_removed_by(cause, at)?,
            C::RestoreEdgeCopy { at } => episode.edge_copy_brought_back(at)?,
            C::EndEdgeCopyWork { request, outcome, .. } if !episode.copies.awaits(request, &outcome) => vec![],
            C::EndEdgeCopyWork { request, outcome, at } => vec![match outcome {
                EdgeCopyOutcome::Removed => EpisodeEvent::EdgeCopyRemoved { request, at },
                EdgeCopyOutcome::NotRemoved(failure) => EpisodeEvent::EdgeCopyRemovalFailed { request, failure, at },
                EdgeCopyOutcome::Restored { etag } => EpisodeEvent::EdgeCopyRestored { request, etag, at },
                EdgeCopyOutcome::NotRestored(failure) => EpisodeEvent::EdgeCopyRestoreFailed { request, failure, at },
            }],
            C::AskForLook { place, at } => {
                if place == CopyPlace::Edge {
                    episode.must_be_readable()?;
                }
                vec![EpisodeEvent::CopyLookRequested { place, at }]
            }
            C::NoteLook { place, .. } if !episode.copies.is_looked_at(place) => vec![],
            C::NoteLook { place, look: Look { depth, damage, at } } => vec![match damage {
                None => EpisodeEvent::CopyFoundSound { place, depth, at },
                Some(damage) => EpisodeEvent::CopyFoundDamaged { place, depth, damage, at },
            }],
            C::NoteSynced(cloud) if episode.cloud.as_ref() == Some(&cloud) => vec![],
            C::NoteSynced(cloud) => {
                // It lost its approval while its upload was completed.
                let unapproved = (!qa.settled.is_approved()).then_some(EpisodeEvent::SyncedEpisodeUnapproved {});
                std::iter::once(EpisodeEvent::EpisodeSynced(cloud)).chain(unapproved).collect()
            }
        })
    }
}

/// What is known of the recording, and what was wanted of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    pub facts: Facts,
    pub wants: TaskWants,
}

/// Put on the episodes of a recalled batch.
pub const RECALLED_BATCH: &str = "recalled_batch";
/// Its task had ended before without a recording: cancelled, failed, or completed with other equipment.
pub const LATE_UPLOAD: &str = "late_upload";

/// What an episode is made of. Copied from its task and from its verified object; never rewritten.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// Random UUID: the id people and the cloud see.
    pub episode_id: String,
    pub task_id: TaskId,
    pub public_task_id: PublicTaskId,
    pub batch_id: BatchId,
    pub order_id: OrderId,
    pub station_id: StationId,
    pub sop_id: SopId,
    pub scene_id: SceneId,
    pub scene_name: String,
    pub subscene_id: SubsceneId,
    pub subscene_name: String,
    pub factory_id: FactoryId,
    pub organization_id: OrganizationId,
    /// `<bucket>/<key>`.
    pub mcap_path: String,
    pub sidecar_path: Option<String>,
    /// SHA-256 of the MCAP, recomputed from the object.
    pub checksum: String,
    pub file_size_bytes: u64,
    /// The object's entity tag when it was verified.
    pub etag: Option<String>,
    pub duration_sec: Option<f64>,
    pub message_count: u64,
    pub metadata: Option<Value>,
    /// It is damaged, and a person wants it all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<Damage>,
    /// The file beside the recording, as it was verified; unknown in older events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<SidecarObject>,
}

/// The file beside a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarObject {
    pub size_bytes: u64,
    /// In hex; none of one that is too large to be read.
    pub sha256: Option<String>,
}

/// Why no machine approves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// What is wrong with it, in words.
    pub what: String,
    /// Why a person wants it.
    pub reason: String,
}

impl Damage {
    /// Its flag.
    pub fn flag(&self) -> String {
        format!("accepted although damaged ({}): {}", self.what, self.reason)
    }
}

#[derive(Clone, Debug)]
pub enum EpisodeCommand {
    Create(Created),
    Label {
        label: String,
    },
    /// What people say of it.
    Annotate(Annotation),
    Measure(Box<Measured>),
    /// What its operator says of it.
    HearWord {
        word: OperatorWord,
    },
    /// A run looks at the recording, until then at the longest.
    StartRun {
        run: String,
        mode: RunMode,
        until: Timestamp,
        now: Timestamp,
    },
    /// It cannot end before checkers elsewhere have had their time.
    WaitForOutside(Waits),
    EndRun {
        run: String,
        number: i64,
        mode: RunMode,
        judgement: Judgement,
        at: Timestamp,
    },
    /// A run could not be done, or its time is over.
    AbandonRun {
        run: String,
        why: String,
    },
    /// An inspector of this level looks at it.
    Take {
        by: InspectorId,
        level: Level,
        levels: Levels,
        until: Timestamp,
        now: Timestamp,
    },
    /// They do not decide.
    Release {
        by: InspectorId,
    },
    Decide(Box<NewDecision>),
    /// It is decided once more, by a senior.
    Reopen {
        reason: String,
    },
    /// What is good of a damaged recording is wanted.
    AskForSalvage(NewSalvage),
    EndSalvage {
        request: i32,
        outcome: SalvageOutcome,
        at: Timestamp,
    },
    /// The cloud has all of it.
    NoteSynced(InCloud),
    /// The copy in the edge storage is not needed any more.
    RemoveEdgeCopy {
        cause: RemovalCause,
        at: Timestamp,
    },
    /// What is in the cloud is wanted in the edge storage.
    RestoreEdgeCopy {
        at: Timestamp,
    },
    /// A removal, or a restore, has ended.
    EndEdgeCopyWork {
        request: i32,
        outcome: EdgeCopyOutcome,
        at: Timestamp,
    },
    /// A person wants a copy to be looked at. That there is one in that cloud, is known to who asks.
    AskForLook {
        place: CopyPlace,
        at: Timestamp,
    },
    /// A copy was looked at.
    NoteLook {
        place: CopyPlace,
        look: Look,
    },
}

events! {
    EpisodeEvent {
        EpisodeCreated = "episode_created", "1.2" (Created),
        EpisodeLabelled = "episode_labelled", "1.0" { label: String },
        EpisodeAnnotated = "episode_annotated", "1.0" {
            /// All labels that it has now.
            labels: Vec<String>,
            note: Option<String>,
        },
        EpisodeMeasured = "episode_measured", "1.1" (Box<Measured>),
        OperatorWordHeard = "operator_word_heard", "1.0" {
            word: OperatorWord,
            effect: WordEffect,
        },
        QaRunStarted = "qa_run_started", "1.0" (Running),
        QaRunWaits = "qa_run_waits", "1.1" (Box<Waits>),
        QaRunEnded = "qa_run_ended", "1.2" (Box<EndedRun>),
        QaRunAbandoned = "qa_run_abandoned", "1.0" {
            run: String,
            why: String,
        },
        EpisodeApproved = "episode_approved", "1.1" {
            /// Which run did, or else which inspector.
            run: Option<String>,
            inspector: Option<InspectorId>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            at: Option<Timestamp>,
        },
        EpisodeApprovalLost = "episode_approval_lost", "1.0" {
            /// Which run found what is wrong with it; none where it was reopened.
            run: Option<String>,
        },
        InspectionTaken = "inspection_taken", "1.0" (Taken),
        InspectionReleased = "inspection_released", "1.0" { by: InspectorId },
        InspectionDecided = "inspection_decided", "1.0" (Decided),
        InspectionReopened = "inspection_reopened", "1.0" { reason: String },
        SalvageRequested = "salvage_requested", "1.0" (SalvageAsked),
        RecordingSalvaged = "recording_salvaged", "1.0" (Box<SalvagedFile>),
        SalvageFailed = "salvage_failed", "1.0" (SalvageFailed),
        EpisodeSynced = "episode_synced", "1.0" (InCloud),
        /// The cloud has what is not approved any more.
        SyncedEpisodeUnapproved = "synced_episode_unapproved", "1.0" {},
        EdgeCopyRemovalRequested = "edge_copy_removal_requested", "1.0" { request: i32, cause: RemovalCause, at: Timestamp },
        EdgeCopyRemoved = "edge_copy_removed", "1.0" { request: i32, at: Timestamp },
        EdgeCopyRemovalFailed = "edge_copy_removal_failed", "1.0" { request: i32, failure: CopyFailure, at: Timestamp },
        EdgeCopyRestoreRequested = "edge_copy_restore_requested", "1.0" { request: i32, at: Timestamp },
        EdgeCopyRestored = "edge_copy_restored", "1.0" {
            request: i32,
            /// Of the object that was written.
            etag: String,
            at: Timestamp,
        },
        EdgeCopyRestoreFailed = "edge_copy_restore_failed", "1.0" { request: i32, failure: CopyFailure, at: Timestamp },
        CopyLookRequested = "copy_look_requested", "1.0" { place: CopyPlace, at: Timestamp },
        CopyFoundSound = "copy_found_sound", "1.0" { place: CopyPlace, depth: LookDepth, at: Timestamp },
        CopyFoundDamaged = "copy_found_damaged", "1.0" { place: CopyPlace, depth: LookDepth, damage: String, at: Timestamp },
    }
}

impl Aggregate for Episode {
    const TYPE: &'static str = "episode";
    type Command = EpisodeCommand;
    type Event = EpisodeEvent;
    type Refusal = EpisodeRefusal;

    fn decide(&self, command: EpisodeCommand) -> Result<Vec<EpisodeEvent>, EpisodeRefusal> {
        let episode = match (self, command) {
            (Episode::Known(episode), command) => return episode.decide(command),
            (Episode::Absent, EpisodeCommand::Create(created)) => created,
            (Episode::Absent, _) => return Err(EpisodeRefusal::NoSuchEpisode),
        };
        Ok(vec![EpisodeEvent::EpisodeCreated(episode)])
    }

    fn evolve(&mut self, event: &EpisodeEvent) {
        use EpisodeEvent as E;
        if let E::EpisodeCreated(created) = event {
            let created = created.clone();
            let known = Known {
                labels: vec![],
                note: None,
                measured: None,
                qa: Qa::of(created.damage.as_ref().map(Damage::flag)),
                inspection: Inspection::default(),
                word: None,
                salvage: Salvage::default(),
                approved_at: None,
                cloud: None,
                copies: Copies::default(),
                created,
            };
            *self = Episode::Known(Box::new(known));
        }
        // Nothing precedes `episode_created` in a stream.
        let Episode::Known(episode) = self else { return };
        match event {
            E::EpisodeCreated(_) => {}
            E::EpisodeLabelled { label } => episode.labels.push(label.clone()),
            E::EpisodeAnnotated { labels, note } => (episode.labels, episode.note) = (labels.clone(), note.clone()),
            E::EpisodeMeasured(measured) => episode.measured = Some(measured.clone()),
            E::QaRunStarted(running) => episode.qa.running = Some(running.clone()),
            E::QaRunWaits(waits) => episode.qa.wait((**waits).clone()),
            E::OperatorWordHeard { word, effect } => {
                episode.qa.hear(word, *effect);
                episode.word = Some(word.clone());
            }
            E::QaRunEnded(ended) => episode.qa.end((**ended).clone(), episode.word.as_ref()),
            E::QaRunAbandoned { .. } => episode.qa.running = None,
            // What was said of it is in the events beside them.
            E::EpisodeApproved { at, .. } => episode.approved_at = *at,
            E::EpisodeApprovalLost { .. } => episode.approved_at = None,
            E::EpisodeSynced(cloud) => {
                episode.cloud = Some(cloud.clone());
                episode.copies.pushed_anew();
            }
            E::SyncedEpisodeUnapproved {} | E::CopyLookRequested { .. } => {}
            E::EdgeCopyRemovalRequested { request, at, .. } => episode.copies.ask(*request, EdgeCopyStage::Deleting, *at),
            E::EdgeCopyRemoved { at, .. } => episode.copies.end(EdgeCopyStage::Deleted, None, *at),
            E::EdgeCopyRemovalFailed { failure, at, .. } => {
                episode.copies.end(EdgeCopyStage::DeleteFailed, Some(failure.clone()), *at);
            }
            E::EdgeCopyRestoreRequested { request, at } => {
                let was_deleted = episode.copies.edge == EdgeCopyStage::Deleted;
                episode.copies.ask(*request, EdgeCopyStage::Restoring { was_deleted }, *at);
            }
            E::EdgeCopyRestored { etag, at, .. } => episode.copies.restore(etag, *at),
            E::EdgeCopyRestoreFailed { failure, at, .. } => episode.copies.restore_failed(failure.clone(), *at),
            E::CopyFoundSound { place, depth, at } => {
                episode.copies.looks.insert(*place, Look { depth: *depth, damage: None, at: *at });
            }
            E::CopyFoundDamaged { place, depth, damage, at } => {
                episode.copies.looks.insert(*place, Look { depth: *depth, damage: Some(damage.clone()), at: *at });
            }
            E::InspectionTaken(taken) => episode.inspection.taken = Some(taken.clone()),
            E::InspectionReleased { .. } => episode.inspection.taken = None,
            E::InspectionDecided(decided) => {
                episode.inspection.taken = None;
                episode.inspection.decisions.push(decided.clone());
                if decided.effect == DecisionEffect::Settled {
                    episode.qa.settle(decided.decision.into(), (decided.decision == Decision::Rejected).then(|| decided.reason.clone()));
                }
            }
            E::InspectionReopened { reason } => {
                episode.inspection = Inspection { rounds: episode.inspection.rounds + 1, ..Inspection::default() };
                episode.qa.settle(QaStatus::NeedsInspection, Some(reason.clone()));
            }
            E::SalvageRequested(asked) => episode.salvage.ask(asked),
            E::RecordingSalvaged(file) => episode.salvage.end(file),
            E::SalvageFailed(failed) => episode.salvage.fail(failed),
        }
    }
}
