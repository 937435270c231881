//! Why nothing could be read, from what Postgres says.

use deadpool_postgres::PoolError;

use super::place::NotAPlace;
use crate::pg::{Fault, PgError, fault, said};
use crate::telemetry::chain;

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No connection, or it broke: asking again later may work.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// This session could not, or was closed before it did. Another one was asked, and could not either.
    #[error("the database session cannot read it: {0}")]
    Unfit(String),
    /// A value beyond what a query takes.
    #[error("a value cannot be asked for: {0}")]
    Unstorable(String),
    #[error("a query failed")]
    Failed(#[source] tokio_postgres::Error),
    /// Only the live rows answer it.
    #[error("a query was asked of the past that only the present answers")]
    OfNow,
    /// It is one of another list, or of an older version's order.
    #[error(transparent)]
    NotAPlace(#[from] NotAPlace),
}

impl From<PoolError> for ReadError {
    fn from(error: PoolError) -> Self {
        Self::Unavailable(chain(&PgError::from(error)))
    }
}

impl From<tokio_postgres::Error> for ReadError {
    fn from(error: tokio_postgres::Error) -> Self {
        let text = || said(&error);
        match fault(&error) {
            Fault::Value => Self::Unstorable(text()),
            Fault::Unfit => Self::Unfit(text()),
            // It may have been given up a moment before it was used; what only reads is asked again.
            Fault::Unavailable if error.is_closed() => Self::Unfit(text()),
            // A read that ran into the changes of others may be asked again, too.
            Fault::Unavailable | Fault::Serialization | Fault::Deadlock => Self::Unavailable(text()),
            Fault::Unique { .. } | Fault::ForeignKey { .. } | Fault::Check { .. } | Fault::Other => Self::Failed(error),
        }
    }
}
