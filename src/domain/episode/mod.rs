//! Episodes: recordings that were verified, one per task; what was measured of them, and how they were judged.

mod qa;
#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::qa::{ApprovalChange, Start};
pub use self::qa::{EndedRun, Qa, QaStatus, RunMode, Running, TellingCheck, check_id};
use super::aggregate::events;
use super::judgement::{Judgement, TaskWants};
use super::measurement::Facts;
use super::refusal::{RefusalCode, Refused};
use super::{
    Aggregate, BatchId, FactoryId, OrderId, OrganizationId, PublicTaskId, SceneId, SopId, StationId, SubsceneId, TaskId, Timestamp,
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
    /// The newest facts; none of an episode that was stored by a version that did not measure.
    pub measured: Option<Box<Measured>>,
    pub qa: Qa,
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
}

#[derive(Clone, Debug)]
pub enum EpisodeCommand {
    Create(Created),
    Label {
        label: String,
    },
    Measure(Box<Measured>),
    /// A run looks at the recording, until then at the longest.
    StartRun {
        run: String,
        mode: RunMode,
        until: Timestamp,
        now: Timestamp,
    },
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
}

events! {
    EpisodeEvent {
        EpisodeCreated = "episode_created", "1.0" (Created),
        EpisodeLabelled = "episode_labelled", "1.0" { label: String },
        EpisodeMeasured = "episode_measured", "1.0" (Box<Measured>),
        QaRunStarted = "qa_run_started", "1.0" (Running),
        QaRunEnded = "qa_run_ended", "1.0" (Box<EndedRun>),
        QaRunAbandoned = "qa_run_abandoned", "1.0" {
            run: String,
            why: String,
        },
        EpisodeApproved = "episode_approved", "1.0" {
            /// Which run did.
            run: String,
        },
        EpisodeApprovalLost = "episode_approval_lost", "1.0" {
            /// Which run found what is wrong with it.
            run: String,
        },
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EpisodeRefusal {
    #[error("the episode exists already")]
    AlreadyCreated,
    #[error("there is no such episode")]
    NoSuchEpisode,
    #[error("qa already running")]
    QaRunning,
    #[error("an automatic run judges an episode that is pending_qa, and this one is {}", .status.as_str())]
    NotPending { status: QaStatus },
    #[error("the run took too long, and another one may have begun: its result was not kept")]
    RunLost,
    #[error("this run has ended")]
    RunEnded,
}

impl Refused for EpisodeRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::AlreadyCreated => RefusalCode::EpisodeExists,
            Self::NoSuchEpisode => RefusalCode::EpisodeNotFound,
            Self::QaRunning => RefusalCode::QaRunning,
            Self::NotPending { .. } => RefusalCode::NotPendingQa,
            Self::RunLost | Self::RunEnded => RefusalCode::QaRunLost,
        }
    }
}

impl Aggregate for Episode {
    const TYPE: &'static str = "episode";
    type Command = EpisodeCommand;
    type Event = EpisodeEvent;
    type Refusal = EpisodeRefusal;

    fn decide(&self, command: EpisodeCommand) -> Result<Vec<EpisodeEvent>, EpisodeRefusal> {
        use EpisodeCommand as C;
        let episode = match (self, &command) {
            (Episode::Known(episode), _) => episode,
            (Episode::Absent, C::Create(created)) => return Ok(vec![EpisodeEvent::EpisodeCreated(created.clone())]),
            (Episode::Absent, _) => return Err(EpisodeRefusal::NoSuchEpisode),
        };
        let qa = &episode.qa;
        Ok(match command {
            C::Create(_) => return Err(EpisodeRefusal::AlreadyCreated),
            C::Label { label } if episode.labels.contains(&label) => vec![],
            C::Label { label } => vec![EpisodeEvent::EpisodeLabelled { label }],
            C::Measure(measured) if episode.measured.as_ref() == Some(&measured) => vec![],
            C::Measure(measured) => vec![EpisodeEvent::EpisodeMeasured(measured)],
            C::StartRun { run, mode, until, now } => {
                let Start { abandoned, again } = qa.may_start(&run, mode, now)?;
                let why = || "its time was over".to_owned();
                let abandoned = abandoned.map(|run| EpisodeEvent::QaRunAbandoned { run, why: why() });
                let started = (!again).then(|| EpisodeEvent::QaRunStarted(Running { run, mode, until }));
                abandoned.into_iter().chain(started).collect()
            }
            C::EndRun { run, .. } if qa.is_repeat(&run) => vec![],
            C::EndRun { run, number, mode, judgement, at } => {
                qa.may_end(&run, mode)?;
                let approval = match qa.approval_after(judgement.verdict) {
                    ApprovalChange::Same => None,
                    ApprovalChange::Given => Some(EpisodeEvent::EpisodeApproved { run: run.clone() }),
                    ApprovalChange::Lost => Some(EpisodeEvent::EpisodeApprovalLost { run: run.clone() }),
                };
                let kept = qa.settled.is_protected();
                let ended = EpisodeEvent::QaRunEnded(Box::new(EndedRun { run, number, mode, at, judgement, kept }));
                std::iter::once(ended).chain(approval).collect()
            }
            C::AbandonRun { run, why } if qa.running.as_ref().is_some_and(|running| running.run == run) => {
                vec![EpisodeEvent::QaRunAbandoned { run, why }]
            }
            C::AbandonRun { .. } => vec![],
        })
    }

    fn evolve(&mut self, event: &EpisodeEvent) {
        use EpisodeEvent as E;
        if let E::EpisodeCreated(created) = event {
            let (created, qa) = (created.clone(), Qa::default());
            *self = Episode::Known(Box::new(Known { created, labels: vec![], measured: None, qa }));
        }
        // Nothing precedes `episode_created` in a stream.
        let Episode::Known(episode) = self else { return };
        match event {
            E::EpisodeCreated(_) => {}
            E::EpisodeLabelled { label } => episode.labels.push(label.clone()),
            E::EpisodeMeasured(measured) => episode.measured = Some(measured.clone()),
            E::QaRunStarted(running) => episode.qa.running = Some(running.clone()),
            E::QaRunEnded(ended) => episode.qa.end((**ended).clone()),
            E::QaRunAbandoned { .. } => episode.qa.running = None,
            // What the run said is in the event of its end.
            E::EpisodeApproved { .. } | E::EpisodeApprovalLost { .. } => {}
        }
    }
}
