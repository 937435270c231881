//! What was looked at is not what it should be.

/// Ends the program with another code than not having looked at all.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);
