//! Why a command was not done.

use super::refusal::{self, Refusal};
use crate::domain::RefusalCode;
use crate::eventstore::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A rule said no. Nothing was changed.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Others changed the same things all the time. Nothing was changed; asking again may work.
    #[error("other changes kept coming first; try again")]
    Conflict,
    /// The database cannot be reached. Whether the change was made is not known.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The session could not do it, and nothing was changed. [`Commands::execute`](super::Commands::execute) takes another one, and says
    /// `Unavailable` where that cannot do it either.
    #[error("the database session cannot do it: {0}")]
    Unfit(String),
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::Conflict,
            StoreError::Constraint { constraint } => match refusal::of_constraint(&constraint) {
                Some(refusal) => Self::Refused(refusal),
                None => Self::Failed(anyhow::anyhow!("the constraint {constraint} is broken")),
            },
            StoreError::Unstorable(reason) => {
                tracing::warn!(reason, "A value was refused by its table only: {reason}");
                Self::Refused(Refusal::new(RefusalCode::NotStorable, "a value is beyond what can be stored"))
            }
            StoreError::Unavailable(reason) => Self::Unavailable(reason),
            StoreError::Unfit(reason) => Self::Unfit(reason),
            other @ (StoreError::Unreadable(_) | StoreError::Database(_)) => Self::Failed(anyhow::Error::new(other)),
        }
    }
}
