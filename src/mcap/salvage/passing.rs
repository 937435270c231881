//! Salvage of bytes that come from elsewhere, on a thread of its own: unpacking and packing is work for the processor.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use tokio::sync::mpsc;

use super::super::read::Pieces;
use super::{CHUNK_BYTES_MAX, Known, SalvageError, salvage};
use crate::domain::salvage::Salvaged;

/// Reads every piece once, one ahead of what is salvaged. The outer error is that of the pieces; `into` is given up then, unfinished.
pub async fn salvage_passing<E>(
    pieces: impl Stream<Item = Result<Bytes, E>>,
    known: Arc<Known>,
    into: impl Write + Send + 'static,
) -> Result<Result<Salvaged, SalvageError>, E> {
    let (to_salvage, waiting) = mpsc::channel(1);
    let salvaging = tokio::task::spawn_blocking(move || salvage(Pieces::new(waiting), &known, CHUNK_BYTES_MAX, into));
    let mut pieces = std::pin::pin!(pieces);
    while let Some(piece) = pieces.try_next().await? {
        if to_salvage.send(piece).await.is_err() {
            // It failed, and says why.
            break;
        }
    }
    drop(to_salvage);
    match salvaging.await {
        Ok(salvaged) => Ok(salvaged),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Ok(Err(SalvageError::Read(io::Error::other(error)))),
    }
}
