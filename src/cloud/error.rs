//! What did not go well, by its cause and not by the step in which it was seen.

use std::time::Duration;

use crate::blobs::BlobError;
use crate::domain::sync::{SyncFailure, SyncFault};
use crate::telemetry::chain;

pub type PushResult<T> = Result<T, PushError>;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PushError {
    /// Nothing can be pushed to this cloud at the moment, whatever it is: it is away, or does not let us in, or the edge storage is away.
    #[error("{}", .0.text)]
    Down(SyncFailure),
    /// Another try may end well; not sooner than the cloud says.
    #[error("{}", .failure.text)]
    Again { failure: SyncFailure, after: Option<Duration> },
    /// Another try ends in the same way.
    #[error("{}", .0.text)]
    Never(SyncFailure),
    #[error(transparent)]
    Stopped(#[from] NotNoted),
}

/// Why a step was not written down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNoted {
    /// Another worker has the leg, or the chain is over: what was begun is not ours.
    #[error("another worker has the leg, or the chain is over")]
    Lost,
    /// The episode may not be there, and the chain ended because of it: what was begun is given up.
    #[error("the episode may not be in the cloud any more")]
    Unfit,
    /// A person paused the cloud.
    #[error("the cloud was paused")]
    Paused,
    #[error("the database: {0}")]
    Database(String),
}

impl PushError {
    pub fn again(fault: SyncFault, text: impl AsRef<str>) -> Self {
        Self::Again { failure: SyncFailure::new(fault, text), after: None }
    }

    pub fn never(fault: SyncFault, text: impl AsRef<str>) -> Self {
        Self::Never(SyncFailure::new(fault, text))
    }

    pub fn down(fault: SyncFault, text: impl AsRef<str>) -> Self {
        Self::Down(SyncFailure::new(fault, text))
    }
}

impl From<BlobError> for PushError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::NotFound(_) => Self::never(SyncFault::SourceGone, error.to_string()),
            BlobError::Changed(_) => Self::never(SyncFault::SourceChanged, error.to_string()),
            // Whichever recording is next, it cannot be read either. What the store said is in the log, and no foreign body is told.
            BlobError::Unavailable(_) | BlobError::Denied(_) => {
                tracing::warn!(error = chain(&error), "The edge storage cannot be read for cloud sync: {}", chain(&error));
                Self::down(SyncFault::EdgeStorage, format!("the edge storage: {error}"))
            }
            BlobError::Invalid(_) => {
                tracing::warn!(error = chain(&error), "The edge storage refused a read for cloud sync: {}", chain(&error));
                Self::again(SyncFault::EdgeStorage, format!("the edge storage: {error}"))
            }
        }
    }
}
