//! A stream as it is sent: its frames, a heartbeat between them, and an end when its right or its process ends.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::seats::Seat;

/// Below the minute after which proxies cut a silent connection. The right of a reader is looked at as often.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// What a stream has for as long as it lasts.
pub struct Lasting {
    pub seat: Seat,
    pub heartbeat: Duration,
    /// What is sent with each heartbeat.
    pub beat: Box<dyn Fn() -> Bytes + Send>,
    /// Whether its reader may still read it.
    pub right: Box<dyn Fn() -> BoxFuture<'static, bool> + Send>,
    pub stop: CancellationToken,
}

struct Open {
    frames: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    ticks: Interval,
    lasting: Lasting,
}

impl Open {
    async fn next(&mut self) -> Option<Bytes> {
        // In this order: a stream that always has something to say has an end and a heartbeat, too.
        tokio::select! {
            biased;
            () = self.lasting.stop.cancelled() => None,
            _ = self.ticks.tick() => (self.lasting.right)().await.then(|| (self.lasting.beat)()),
            frame = self.frames.next() => frame,
        }
    }
}

/// Frames that wait for something keep waiting over heartbeats: they are polled on, and not begun anew.
pub fn open(frames: impl Stream<Item = Bytes> + Send + 'static, lasting: Lasting) -> impl Stream<Item = Bytes> + Send {
    let mut ticks = interval_at(Instant::now() + lasting.heartbeat, lasting.heartbeat);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold(Open { frames: Box::pin(frames), ticks, lasting }, |mut open| async move {
        let frame = open.next().await?;
        Some((frame, open))
    })
}
