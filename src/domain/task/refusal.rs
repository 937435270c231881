//! Why a task says no.

use serde_json::{Value, json};

use super::status::TaskStatus;
use crate::domain::TaskId;
use crate::domain::refusal::{RefusalCode, Refused};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskRefusal {
    #[error("there is no such task")]
    NoSuchTask,
    #[error("the task exists already")]
    AlreadyCreated,
    #[error("the task is {}; a verified upload cannot complete it any more", .0.as_str())]
    Ended(TaskStatus),
    #[error("the task is {}; only one that has not ended can be ended", .0.as_str())]
    Over(TaskStatus),
    #[error("the upload that was verified is not the one last reported")]
    OtherUpload,
    #[error("no upload of this task waits for verification")]
    NothingToVerify,
    #[error("the task is {}; only a pending one can be completed without a recording", .0.as_str())]
    NotPending(TaskStatus),
    #[error("the task is {}; there is no recording of it to say something about", .0.as_str())]
    NothingRecorded(TaskStatus),
    #[error("the task is {}; no upload of it was rejected", .0.as_str())]
    NothingRejected(TaskStatus),
    #[error("the task was replaced by task {0} already")]
    Replaced(TaskId),
    #[error("the task is {}; what is uploading or completed cannot be deleted", .0.as_str())]
    NotDeletable(TaskStatus),
}

impl Refused for TaskRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::NoSuchTask => RefusalCode::TaskNotFound,
            Self::AlreadyCreated => RefusalCode::TaskExists,
            Self::Ended(_) | Self::Over(_) => RefusalCode::TaskEnded,
            Self::OtherUpload => RefusalCode::OtherUpload,
            Self::NothingToVerify => RefusalCode::NothingToVerify,
            Self::NotPending(_) => RefusalCode::TaskNotPending,
            Self::NotDeletable(_) => RefusalCode::TaskNotDeletable,
            Self::NothingRecorded(_) => RefusalCode::TaskNotRecorded,
            Self::NothingRejected(_) => RefusalCode::UploadNotRejected,
            Self::Replaced(_) => RefusalCode::TaskReplaced,
        }
    }

    fn values(&self) -> Value {
        match self {
            Self::Ended(status)
            | Self::Over(status)
            | Self::NotPending(status)
            | Self::NotDeletable(status)
            | Self::NothingRejected(status)
            | Self::NothingRecorded(status) => {
                json!({ "current_status": status })
            }
            Self::Replaced(task) => json!({ "replaced_by": task }),
            Self::NoSuchTask | Self::AlreadyCreated | Self::OtherUpload | Self::NothingToVerify => Value::Null,
        }
    }
}
