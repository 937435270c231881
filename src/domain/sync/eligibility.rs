//! Whether an episode may be in the cloud: one rule, asked when it is queued, when a worker begins, when parts arrived, before an upload is
//! completed, and when the episode loses its approval or is recalled.

use super::super::episode::{Known, QaStatus, RECALLED_BATCH};
use super::super::refusal::{RefusalCode, Refused};
use super::SyncFault;

/// Why it may not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("only approved episodes are pushed to the cloud, and its qa_status is {}", .status.as_str())]
    NotApproved { status: QaStatus },
    #[error("the batch of the episode was recalled")]
    Recalled,
}

impl Unfit {
    pub fn fault(&self) -> SyncFault {
        match self {
            Self::NotApproved { .. } => SyncFault::NotApproved,
            Self::Recalled => SyncFault::Recalled,
        }
    }
}

impl Refused for Unfit {
    fn code(&self) -> RefusalCode {
        match self {
            Self::NotApproved { .. } => RefusalCode::SyncNotApproved,
            Self::Recalled => RefusalCode::SyncRecalled,
        }
    }
}

pub fn is_fit(episode: &Known) -> Result<(), Unfit> {
    // A run that goes on decides anew; until then the verdict before it stands.
    let status = episode.qa.settled;
    if !status.is_approved() {
        Err(Unfit::NotApproved { status })
    } else if episode.labels.iter().any(|label| label == RECALLED_BATCH) {
        Err(Unfit::Recalled)
    } else {
        Ok(())
    }
}
