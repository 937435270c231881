//! Tier 1 over ranged reads: one for the tail, one for the head, one more when
//! the summary is larger than the tail. And the way to the reader of whole recordings
//! for bytes that come from elsewhere.

use std::future::Future;
use std::io::{self, BufRead, Read};
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt};
use tokio::sync::mpsc;

use super::read_through;
use super::summary::{self, HEAD_BYTES, Plan, SummaryFacts, TRAILER_BYTES, Unsound};

/// Holds the whole summary of nearly every recording seen; larger ones cost one more read.
const TAIL_BYTES: u64 = 250_000;

/// Something that answers for any range of one stored object.
pub trait RangedRead {
    type Error;

    fn read(&self, range: Range<u64>) -> impl Future<Output = Result<Bytes, Self::Error>> + Send;
}

/// Only [`ReadSummaryError::Unsound`] says something about the recording.
#[derive(Debug, thiserror::Error)]
pub enum ReadSummaryError<E> {
    #[error(transparent)]
    Unsound(#[from] Unsound),
    #[error("cannot read the recording")]
    Read(#[source] E),
    #[error("asked for bytes {}..{} and got {got}", .asked.start, .asked.end)]
    ShortRead { asked: Range<u64>, got: usize },
}

/// The bytes at both ends of an object.
pub(super) struct Ends {
    pub head: Bytes,
    pub tail: Bytes,
    pub plan: Result<Plan, Unsound>,
    /// Empty without a plan.
    pub section: Bytes,
    pub read_bytes: u64,
}

/// Reads the tail, the head, and what the footer asks for beside them.
pub(super) async fn read_ends<R: RangedRead>(reader: &R, size: u64) -> Result<Ends, ReadSummaryError<R::Error>> {
    let tail_start = size.saturating_sub(TAIL_BYTES);
    let tail = exactly(reader, tail_start..size).await?;
    let plan = summary::plan(size, &tail[tail.len().saturating_sub(TRAILER_BYTES as usize)..]);

    let head = match tail_start {
        0 => tail.slice(..tail.len().min(HEAD_BYTES as usize)),
        _ => exactly(reader, 0..HEAD_BYTES.min(size)).await?,
    };
    let Range { start, end } = plan.as_ref().map_or(size..size, |plan| plan.range.clone());
    let mut read_bytes = size - tail_start + if tail_start == 0 { 0 } else { head.len() as u64 };
    let section = if start < tail_start {
        let missing = exactly(reader, start..tail_start.min(end)).await?;
        read_bytes += missing.len() as u64;
        let mut section = BytesMut::with_capacity((end - start) as usize);
        section.extend_from_slice(&missing);
        section.extend_from_slice(&tail[..end.saturating_sub(tail_start) as usize]);
        section.freeze()
    } else {
        tail.slice((start - tail_start) as usize..(end - tail_start) as usize)
    };
    Ok(Ends { head, tail, plan, section, read_bytes })
}

/// Reads a whole recording of `size` bytes as it comes, on a thread of its own: unpacking is work for the processor.
pub async fn read_pieces<E>(pieces: impl Stream<Item = Result<Bytes, E>>, size: u64) -> Result<SummaryFacts, ReadSummaryError<E>> {
    // One piece is read while the next one is fetched.
    let (to_reader, waiting) = mpsc::channel(1);
    let reader = tokio::task::spawn_blocking(move || read_through(Pieces::new(waiting), size));
    let mut pieces = std::pin::pin!(pieces);
    while let Some(piece) = pieces.try_next().await.map_err(ReadSummaryError::Read)? {
        if to_reader.send(piece).await.is_err() {
            // It has its verdict already.
            break;
        }
    }
    drop(to_reader);
    match reader.await {
        Ok(facts) => Ok(facts?),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Pieces of a recording, as a reader that blocks.
pub(super) struct Pieces {
    waiting: mpsc::Receiver<Bytes>,
    now: Bytes,
}

impl Pieces {
    pub fn new(waiting: mpsc::Receiver<Bytes>) -> Self {
        Self { waiting, now: Bytes::new() }
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.now.is_empty() {
            match self.waiting.blocking_recv() {
                Some(piece) => self.now = piece,
                None => break,
            }
        }
        Ok(&self.now)
    }

    fn consume(&mut self, len: usize) {
        self.now.advance(len);
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, into)
    }
}

/// Reads from what lies ready.
pub(super) fn read_buffered(from: &mut impl BufRead, into: &mut [u8]) -> io::Result<usize> {
    let piece = from.fill_buf()?;
    let len = piece.len().min(into.len());
    into[..len].copy_from_slice(&piece[..len]);
    from.consume(len);
    Ok(len)
}

pub(super) async fn exactly<R: RangedRead>(reader: &R, range: Range<u64>) -> Result<Bytes, ReadSummaryError<R::Error>> {
    let bytes = reader.read(range.clone()).await.map_err(ReadSummaryError::Read)?;
    if bytes.len() as u64 != range.end - range.start {
        return Err(ReadSummaryError::ShortRead { asked: range, got: bytes.len() });
    }
    Ok(bytes)
}
