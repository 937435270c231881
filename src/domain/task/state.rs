//! What a task is: what it was created with, and how far it has come.

use serde::{Deserialize, Serialize};

use super::status::TaskStatus;
use super::upload::{LateUpload, Upload, UploadReport};
use crate::domain::{
    BatchId, CollectorId, EpisodeId, FactoryId, OrderId, OrganizationId, PublicTaskId, SceneId, SopId, StationId, SubsceneId, Timestamp,
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
    /// A recording that came after the task had ended without one.
    #[serde(default)]
    pub late: Option<LateUpload>,
    /// Events so far: the sequence of the last one.
    #[serde(default)]
    pub sequence: i64,
    /// Reports that changed nothing and were recorded all the same.
    #[serde(default)]
    pub noted: u32,
    /// Writes that would have replaced its objects.
    #[serde(default)]
    pub refused_writes: Vec<RefusedWrite>,
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
    Uploading(Upload),
    Completed {
        episode_id: EpisodeId,
        at: Timestamp,
        upload: UploadReport,
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

impl Stage {
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
