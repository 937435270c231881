//! Why the store did not do what it was asked.

use super::key::ObjectKey;

#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("there is no object `{0}`")]
    NotFound(ObjectKey),
    /// It is another object now than the one asked about.
    #[error("the object `{0}` was replaced")]
    Changed(ObjectKey),
    /// Worth another try later: no connection, no answer in time, a server's failure.
    #[error("the object store is not available")]
    Unavailable(#[source] Cause),
    #[error("the object store refused our credentials or rights")]
    Denied(#[source] Cause),
    /// The request itself is wrong; the same one will fail again.
    #[error("the object store refused the request")]
    Invalid(#[source] Cause),
}

pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

impl BlobError {
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    pub(super) fn from_store(key: &ObjectKey, error: object_store::Error) -> Self {
        use object_store::Error;
        match error {
            Error::NotFound { .. } => Self::NotFound(key.clone()),
            Error::Precondition { .. } | Error::NotModified { .. } => Self::Changed(key.clone()),
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Self::Denied(error.into()),
            Error::InvalidPath { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::AlreadyExists { .. }
            | Error::UnknownConfigurationKey { .. } => Self::Invalid(error.into()),
            // A generic error is a refused request or a lost one. 408 and 429 ask for
            // another try.
            other => match client_status(&other) {
                Some(400..=407 | 409..=428 | 430..=499) => Self::Invalid(other.into()),
                _ => Self::Unavailable(other.into()),
            },
        }
    }
}

/// The status of an answer that ended in a generic error, if there was an answer. The
/// client shows it in its text only; should that change, the error counts as
/// retryable, which costs attempts and loses nothing.
fn client_status(error: &object_store::Error) -> Option<u16> {
    let text = error.to_string();
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

pub(super) fn no_etag() -> BlobError {
    BlobError::Invalid("the object store names no entity tag".into())
}

impl From<object_store::path::Error> for BlobError {
    fn from(error: object_store::path::Error) -> Self {
        Self::Invalid(error.into())
    }
}
