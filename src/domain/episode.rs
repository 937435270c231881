//! Episodes: recordings that were verified, one per task.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::aggregate::events;
use super::refusal::{RefusalCode, Refused};
use super::words::words;
use super::{Aggregate, BatchId, FactoryId, OrderId, OrganizationId, PublicTaskId, SceneId, SopId, StationId, SubsceneId, TaskId};

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
}

words! {
    /// How the episode stands with quality checks.
    QaStatus {
        /// Not checked yet.
        PendingQa = "pending_qa",
        QaRunning = "qa_running",
        Approved = "approved",
        /// A person has to look at it.
        NeedsInspection = "needs_inspection",
        InspectorApproved = "inspector_approved",
        Rejected = "rejected",
        Failed = "failed",
    }
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
    Label { label: String },
}

events! {
    EpisodeEvent {
        EpisodeCreated = "episode_created", "1.0" (Created),
        EpisodeLabelled = "episode_labelled", "1.0" { label: String },
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EpisodeRefusal {
    #[error("the episode exists already")]
    AlreadyCreated,
    #[error("there is no such episode")]
    NoSuchEpisode,
}

impl Refused for EpisodeRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::AlreadyCreated => RefusalCode::EpisodeExists,
            Self::NoSuchEpisode => RefusalCode::EpisodeNotFound,
        }
    }
}

impl Aggregate for Episode {
    const TYPE: &'static str = "episode";
    type Command = EpisodeCommand;
    type Event = EpisodeEvent;
    type Refusal = EpisodeRefusal;

    fn decide(&self, command: EpisodeCommand) -> Result<Vec<EpisodeEvent>, EpisodeRefusal> {
        match (self, command) {
            (Episode::Absent, EpisodeCommand::Create(created)) => Ok(vec![EpisodeEvent::EpisodeCreated(created)]),
            (Episode::Known(_), EpisodeCommand::Create(_)) => Err(EpisodeRefusal::AlreadyCreated),
            (Episode::Absent, EpisodeCommand::Label { .. }) => Err(EpisodeRefusal::NoSuchEpisode),
            (Episode::Known(episode), EpisodeCommand::Label { label }) if episode.labels.contains(&label) => Ok(vec![]),
            (Episode::Known(_), EpisodeCommand::Label { label }) => Ok(vec![EpisodeEvent::EpisodeLabelled { label }]),
        }
    }

    fn evolve(&mut self, event: &EpisodeEvent) {
        match (&mut *self, event) {
            (_, EpisodeEvent::EpisodeCreated(created)) => {
                *self = Episode::Known(Box::new(Known { created: created.clone(), labels: vec![] }));
            }
            (Episode::Known(episode), EpisodeEvent::EpisodeLabelled { label }) => episode.labels.push(label.clone()),
            // Nothing precedes `episode_created` in a stream.
            (Episode::Absent, EpisodeEvent::EpisodeLabelled { .. }) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created() -> Created {
        Created {
            episode_id: "e".into(),
            task_id: TaskId(1),
            public_task_id: PublicTaskId::parse("t").unwrap(),
            batch_id: BatchId(1),
            order_id: OrderId(1),
            station_id: StationId(1),
            sop_id: SopId(1),
            scene_id: SceneId(1),
            scene_name: String::new(),
            subscene_id: SubsceneId(1),
            subscene_name: String::new(),
            factory_id: FactoryId(1),
            organization_id: OrganizationId(1),
            mcap_path: "b/t.mcap".into(),
            sidecar_path: None,
            checksum: String::new(),
            file_size_bytes: 0,
            etag: None,
            duration_sec: None,
            message_count: 0,
            metadata: None,
        }
    }

    #[test]
    fn a_label_is_put_on_once() {
        let label = || EpisodeCommand::Label { label: RECALLED_BATCH.to_owned() };
        let mut episode = Episode::default();
        episode.evolve(&EpisodeEvent::EpisodeCreated(created()));
        let events = episode.decide(label()).unwrap();
        assert_eq!(events.len(), 1);
        events.iter().for_each(|event| episode.evolve(event));
        assert_eq!(episode.decide(label()), Ok(vec![]));
        assert_eq!(Episode::Absent.decide(label()), Err(EpisodeRefusal::NoSuchEpisode));
    }
}
