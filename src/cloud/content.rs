//! A recording read back from a cloud, piece by piece.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};

use super::parts::PART_WAITS;
use super::{Cloud, PushError, PushResult};
use crate::domain::sync::{Pushed, SyncFault};

/// What one request asks for.
pub(super) const PIECE_BYTES: u64 = 8 << 20;
/// Pieces on their way at the same time.
const AT_ONCE: usize = 2;

/// All bytes of what was pushed, in their order.
pub fn content(cloud: Arc<dyn Cloud>, pushed: Arc<Pushed>) -> impl Stream<Item = PushResult<Bytes>> + Send {
    let size = pushed.object.size_bytes;
    stream::iter((0..size).step_by(PIECE_BYTES as usize))
        .map(move |start| piece(cloud.clone(), pushed.clone(), start, size.min(start + PIECE_BYTES)))
        .buffered(AT_ONCE)
}

#[expect(clippy::disallowed_methods, reason = "a piece is asked for again after a while")]
async fn piece(cloud: Arc<dyn Cloud>, pushed: Arc<Pushed>, start: u64, end: u64) -> PushResult<Bytes> {
    let mut waits = PART_WAITS.iter();
    loop {
        let failure = match cloud.read(&pushed, start..end).await {
            Ok(bytes) if bytes.len() as u64 == end - start => return Ok(bytes),
            Ok(bytes) => {
                let text = format!("the cloud gave {} bytes for {}", bytes.len(), end - start);
                PushError::again(SyncFault::CloudRefused, text)
            }
            Err(failure @ PushError::Again { .. }) => failure,
            Err(failure) => return Err(failure),
        };
        let Some(wait) = waits.next() else { return Err(failure) };
        tokio::time::sleep(*wait).await;
    }
}
