//! What a task is: what it was created with, and how far it has come.

use serde::{Deserialize, Serialize};

use super::status::TaskStatus;
use super::upload::Upload;
use super::witness::Witness;
use crate::domain::operator_word::OperatorWord;
use crate::domain::{
    BatchId, CollectorId, EpisodeId, FactoryId, OrderId, OrganizationId, PublicTaskId, SceneId, SopId, StationId, SubsceneId, TaskId,
    Timestamp,
};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    #[default]
    Absent,
    Dispatched(Box<Dispatched>),
    Deleted,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dispatched {
    pub brief: Brief,
    pub stage: Stage,
    pub ready_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    /// What was reported of its recording, whether it goes on or had ended: in the latter case the recording is kept, marked,
    /// and shown to a person.
    #[serde(default)]
    pub upload: Option<Upload>,
    /// Events so far: the sequence of the last one.
    #[serde(default)]
    pub sequence: i64,
    /// Reports that changed nothing and were recorded all the same.
    #[serde(default)]
    pub noted: u32,
    /// Writes that would have replaced its objects.
    #[serde(default)]
    pub refused_writes: Vec<RefusedWrite>,
    /// The last word of the operator on its recording.
    #[serde(default)]
    pub word: Option<OperatorWord>,
    /// The task that is recorded in its place. This one counts for its order no more.
    #[serde(default)]
    pub replaced_by: Option<TaskId>,
}

/// Other bytes were offered for an object that is being verified, or that an episode names. The store kept what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedWrite {
    pub object_key: String,
    pub offered_bytes: u64,
    pub offered_etag: String,
    /// The public half of the key that signed.
    pub access_key: String,
}

/// What a task was created with. Names are copied: they are what the collector saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Brief {
    pub task_id: PublicTaskId,
    pub batch_id: BatchId,
    pub order_id: OrderId,
    pub station_id: StationId,
    pub sop_id: SopId,
    pub scene_id: SceneId,
    pub scene_name: String,
    pub subscene_id: SubsceneId,
    pub subscene_name: String,
    pub initial_scene_layout: String,
    pub factory_id: FactoryId,
    pub organization_id: OrganizationId,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Pending,
    Ready,
    InProgress,
    Uploading(Awaited),
    /// Its upload was accepted.
    Completed {
        at: Timestamp,
    },
    /// Recorded with other equipment: there is no episode.
    CompletedExternally {
        by: CollectorId,
        at: Timestamp,
    },
    Failed {
        reason: String,
        at: Timestamp,
        /// What the uploader that gave it up still has.
        #[serde(default)]
        kept: Option<KeptFile>,
    },
    Cancelled {
        at: Timestamp,
    },
}

/// What was done to get a recording that is a file and that nobody has reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Awaited {
    /// Who told that the recording is a file.
    pub finished_by: Option<Witness>,
    /// When the uploader was asked for it, the last time.
    pub requested_at: Option<Timestamp>,
    /// How often the uploader neither found the file nor knew of it.
    pub misses: u32,
    /// The last time of these.
    pub missed_at: Option<Timestamp>,
    /// What it said about that.
    pub missing: Option<String>,
}

/// A recording that an uploader gave up. It moved the file to its folder for such, and looks there when it is asked
/// for everything it has, if that folder lies where it looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    pub file: String,
    /// How often the uploader was asked for it since.
    pub requests: u32,
    pub requested_at: Option<Timestamp>,
}

impl Task {
    pub fn dispatched(&self) -> Option<&Dispatched> {
        match self {
            Task::Absent | Task::Deleted => None,
            Task::Dispatched(task) => Some(task),
        }
    }
}

impl Dispatched {
    /// The episode that its recording became.
    pub fn episode_id(&self) -> Option<EpisodeId> {
        self.upload.as_ref()?.episode_id()
    }

    /// Whether the operator can say something of a recording: it goes on, is on its way, or is here.
    pub fn has_recording(&self) -> bool {
        match self.stage {
            Stage::InProgress | Stage::Uploading(_) | Stage::Completed { .. } => true,
            Stage::Pending | Stage::Ready => false,
            Stage::CompletedExternally { .. } | Stage::Failed { .. } | Stage::Cancelled { .. } => self.upload.is_some(),
        }
    }

    /// Whether the operator said just that before.
    pub fn knows_word(&self, word: &OperatorWord) -> bool {
        self.word.as_ref().is_some_and(|last| word.repeats(last))
    }
}

impl Stage {
    /// The task is over, and not by a recording: what is reported of it now comes late, and its stage stays.
    pub fn ended_without_recording(&self) -> bool {
        match self {
            Stage::Pending | Stage::Ready | Stage::InProgress | Stage::Uploading(_) | Stage::Completed { .. } => false,
            Stage::CompletedExternally { .. } | Stage::Failed { .. } | Stage::Cancelled { .. } => true,
        }
    }

    pub fn status(&self) -> TaskStatus {
        match self {
            Stage::Pending => TaskStatus::Pending,
            Stage::Ready => TaskStatus::Ready,
            Stage::InProgress => TaskStatus::InProgress,
            Stage::Uploading(_) => TaskStatus::Uploading,
            Stage::Completed { .. } | Stage::CompletedExternally { .. } => TaskStatus::Completed,
            Stage::Failed { .. } => TaskStatus::Failed,
            Stage::Cancelled { .. } => TaskStatus::Cancelled,
        }
    }
}
