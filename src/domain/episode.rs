//! Episodes: recordings that were verified, one per task.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Aggregate, BatchId, Event, FactoryId, OrderId, OrganizationId, PublicTaskId, SceneId, SopId, StationId, SubsceneId, TaskId};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Episode {
    #[default]
    Absent,
    Created(Box<Created>),
}

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
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EpisodeEvent {
    EpisodeCreated(Created),
}

impl Event for EpisodeEvent {
    fn types() -> Vec<(&'static str, &'static str)> {
        vec![("episode_created", "1.0")]
    }
    fn event_type(&self) -> &'static str {
        match self {
            Self::EpisodeCreated(_) => "episode_created",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EpisodeRefusal {
    #[error("the episode exists already")]
    AlreadyCreated,
}

impl Aggregate for Episode {
    const TYPE: &'static str = "episode";
    type Command = EpisodeCommand;
    type Event = EpisodeEvent;
    type Refusal = EpisodeRefusal;

    fn decide(&self, command: EpisodeCommand) -> Result<Vec<EpisodeEvent>, EpisodeRefusal> {
        match (self, command) {
            (Episode::Absent, EpisodeCommand::Create(created)) => Ok(vec![EpisodeEvent::EpisodeCreated(created)]),
            (Episode::Created(_), EpisodeCommand::Create(_)) => Err(EpisodeRefusal::AlreadyCreated),
        }
    }

    fn evolve(&mut self, event: &EpisodeEvent) {
        match event {
            EpisodeEvent::EpisodeCreated(created) => *self = Episode::Created(Box::new(created.clone())),
        }
    }
}
