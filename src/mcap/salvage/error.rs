//! Why nothing could be salvaged. Neither says anything about the recording.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    #[error("cannot read the recording")]
    Read(#[source] io::Error),
    #[error("cannot write what is salvaged")]
    Write(#[source] io::Error),
}
