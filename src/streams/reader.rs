//! One reader at its position.

#![expect(clippy::disallowed_methods, reason = "a database that does not answer is asked again after a while")]

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tracing::warn;

use super::feed::{Feed, Source};
use super::recent::{Next, Window};
use crate::projections::reads::ReadError;
use crate::telemetry::chain;

/// With a database that does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// What one reader wants of a feed, and how it is told.
pub trait Wanted<S: Source>: Send + 'static {
    /// What stands in a window behind a position.
    fn of_window(&mut self, window: &Window<S::Item>, after: i64) -> impl Future<Output = Result<Vec<Bytes>, ReadError>> + Send;

    /// The next page of the log, read for this reader alone: up to which position, and what is told of it. `target` is the
    /// position from which on there are windows.
    fn of_log(&mut self, after: i64, target: i64) -> impl Future<Output = Result<(i64, Vec<Bytes>), ReadError>> + Send;
}

pub struct Reader<S: Source, W> {
    feed: Arc<Feed<S>>,
    bell: watch::Receiver<()>,
    wanted: W,
    /// Everything up to here was told, or is not wanted.
    position: i64,
    ready: VecDeque<Bytes>,
}

impl<S: Source, W: Wanted<S>> Reader<S, W> {
    /// Tells what stands behind a position, after some frames that are there already.
    pub fn new(feed: Arc<Feed<S>>, wanted: W, position: i64, first: Vec<Bytes>) -> Self {
        Self { bell: feed.bell(), feed, wanted, position, ready: first.into() }
    }

    /// The next frame, when there is one. `None`: it cannot go on.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            // Before the look, so that what comes in between rings.
            self.bell.mark_unchanged();
            let told = match self.feed.next(self.position) {
                Next::Nothing => {
                    self.bell.changed().await.ok()?;
                    continue;
                }
                Next::Window(window) => self.wanted.of_window(&window, self.position).await.map(|frames| (window.upto, frames)),
                Next::Earlier(target) => {
                    let _turn = self.feed.turn().await;
                    // Seldom, and large: those who are up to date keep no room for it.
                    Box::pin(self.wanted.of_log(self.position, target)).await
                }
            };
            match told {
                Ok((upto, frames)) if upto > self.position => {
                    self.position = upto;
                    self.ready = frames.into();
                }
                // Its client would come back to the same.
                Ok(_) | Err(ReadError::Unavailable(_) | ReadError::Unfit(_)) => tokio::time::sleep(RETRY).await,
                Err(error) => {
                    warn!(error = chain(&error), "A live stream ends: it cannot be read on");
                    return None;
                }
            }
        }
    }

    pub fn frames(self) -> impl Stream<Item = Bytes> + Send {
        stream::unfold(self, |mut reader| async move {
            let frame = reader.next().await?;
            Some((frame, reader))
        })
    }
}
