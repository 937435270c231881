//! What is not done about an episode, and why.

use serde_json::{Value, json};

use super::status::{Level, QaStatus};
use crate::domain::refusal::{RefusalCode, Refused};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EpisodeRefusal {
    #[error("the episode exists already")]
    AlreadyCreated,
    #[error("there is no such episode")]
    NoSuchEpisode,
    #[error("the label {label} is put on by a rule, and people neither put it on nor take it off")]
    LabelOfRule { label: String },
    #[error("qa already running")]
    QaRunning,
    #[error("an automatic run judges an episode that is pending_qa, and this one is {}", .status.as_str())]
    NotPending { status: QaStatus },
    #[error("the run took too long, and another one may have begun: its result was not kept")]
    RunLost,
    #[error("this run has ended")]
    RunEnded,
    #[error("there is nothing to inspect: the episode is {}", .status.as_str())]
    NothingToInspect { status: QaStatus },
    #[error("another inspector looks at the episode")]
    TakenByAnother,
    #[error("take the episode first: it is not yours, or not any more")]
    NotTaken,
    #[error("a second inspection is made by another person than the first")]
    DecidedBefore,
    #[error("this needs an inspector of the level {}", .needed.as_str())]
    LevelTooLow { needed: Level },
    #[error("the episode was inspected: what its operator says counts no more")]
    Inspected,
    #[error("only what was decided is reopened, and the episode is {}", .status.as_str())]
    NotDecided { status: QaStatus },
    #[error("only a recording that failed is salvaged, and the episode is {}", .status.as_str())]
    NotFailed { status: QaStatus },
    #[error("no damage was found in the recording: there is nothing to salvage")]
    NothingToSalvage,
    #[error("the recording is being salvaged")]
    SalvageUnderWay,
    #[error("the recording was removed from the edge storage: it is in the cloud as {}; an administrator can bring it back with POST /api/v1/episodes/{{id}}/edge-copy/restore", .in_cloud.as_deref().unwrap_or("an object"))]
    EdgeCopyGone {
        /// Its key there.
        in_cloud: Option<String>,
    },
    #[error("the copy in the edge storage is being removed or restored")]
    EdgeCopyBusy,
    #[error(
        "the copy in the edge storage is damaged: an administrator can bring the recording back from the cloud with POST /api/v1/episodes/{{id}}/edge-copy/restore"
    )]
    EdgeCopyDamaged,
    #[error("the copy in the edge storage is not removed: {why}")]
    EdgeCopyNeeded { why: &'static str },
    #[error("there is nothing to restore: {why}")]
    NothingToRestore { why: &'static str },
}

impl Refused for EpisodeRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::AlreadyCreated => RefusalCode::EpisodeExists,
            Self::NoSuchEpisode => RefusalCode::EpisodeNotFound,
            Self::LabelOfRule { .. } => RefusalCode::LabelOfRule,
            Self::QaRunning => RefusalCode::QaRunning,
            Self::NotPending { .. } => RefusalCode::NotPendingQa,
            Self::RunLost | Self::RunEnded => RefusalCode::QaRunLost,
            Self::NothingToInspect { .. } => RefusalCode::NothingToInspect,
            Self::TakenByAnother => RefusalCode::InspectionTaken,
            Self::NotTaken => RefusalCode::InspectionNotTaken,
            Self::DecidedBefore => RefusalCode::InspectionDecidedBefore,
            Self::LevelTooLow { .. } => RefusalCode::InspectorLevel,
            Self::Inspected => RefusalCode::EpisodeInspected,
            Self::NotDecided { .. } => RefusalCode::NothingToReopen,
            Self::NotFailed { .. } => RefusalCode::EpisodeNotFailed,
            Self::NothingToSalvage => RefusalCode::NothingToSalvage,
            Self::SalvageUnderWay => RefusalCode::SalvageUnderWay,
            Self::EdgeCopyGone { .. } => RefusalCode::EdgeCopyGone,
            Self::EdgeCopyBusy => RefusalCode::EdgeCopyBusy,
            Self::EdgeCopyDamaged => RefusalCode::EdgeCopyDamaged,
            Self::EdgeCopyNeeded { .. } => RefusalCode::EdgeCopyNeeded,
            Self::NothingToRestore { .. } => RefusalCode::NothingToRestore,
        }
    }

    fn values(&self) -> Value {
        match self {
            Self::EdgeCopyGone { in_cloud } => json!({ "cloud_mcap_path": in_cloud }),
            _ => Value::Null,
        }
    }
}
