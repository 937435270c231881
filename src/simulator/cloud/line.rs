//! A connection that carries no more than it may, and that can be cut.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::rate::{Rate, step};
use super::switch::Switch;

pub struct Line {
    stream: TcpStream,
    switch: Arc<Switch>,
    inwards: Lane,
    outwards: Lane,
    /// Set before it is dropped: the peer hears that the connection was reset, and not that it ended.
    cut: CancellationToken,
}

/// One direction of this connection.
#[derive(Default)]
struct Lane {
    own: Rate,
    /// Until what passed last has passed.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Lane {
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }

    fn passed(&mut self, bytes: usize, limits: Limits, all: &Rate) {
        let now = Instant::now();
        let shared = limits.all.map(|bytes_s| all.pass(bytes, bytes_s, now));
        let own = limits.own.map(|bytes_s| self.own.pass(bytes, bytes_s, now));
        let until = shared.max(own).filter(|until| *until > now);
        self.pause = until.map(|until| Box::pin(sleep_until(until)));
    }
}

/// Bytes a second.
#[derive(Clone, Copy)]
struct Limits {
    all: Option<u64>,
    own: Option<u64>,
}

impl Limits {
    fn now(switch: &Switch) -> Self {
        let faults = switch.faults();
        Self { all: faults.bandwidth, own: faults.connection_bandwidth }
    }

    /// How much goes at once, where there is a limit.
    fn step(self) -> Option<usize> {
        self.all.into_iter().chain(self.own).min().map(step)
    }
}

impl Line {
    pub fn new(stream: TcpStream, switch: Arc<Switch>, cut: CancellationToken) -> Self {
        Self { stream, switch, inwards: Lane::default(), outwards: Lane::default(), cut }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.cut.is_cancelled() {
            // Where it fails, the peer sees an end in place of a reset.
            if let Err(error) = self.stream.set_zero_linger() {
                tracing::debug!("A connection could not be reset: {error}");
            }
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.inwards.poll_pause(cx));
        let limits = Limits::now(&this.switch);
        let Some(step) = limits.step() else { return Pin::new(&mut this.stream).poll_read(cx, buffer) };
        let mut some = ReadBuf::new(buffer.initialize_unfilled_to(step.min(buffer.remaining())));
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut some))?;
        let bytes = some.filled().len();
        buffer.advance(bytes);
        this.inwards.passed(bytes, limits, &this.switch.inwards);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.outwards.poll_pause(cx));
        let limits = Limits::now(&this.switch);
        let Some(step) = limits.step() else { return Pin::new(&mut this.stream).poll_write(cx, bytes) };
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, &bytes[..bytes.len().min(step)]))?;
        this.outwards.passed(written, limits, &this.switch.outwards);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if Limits::now(&self.switch).step().is_none() {
            let this = self.get_mut();
            ready!(this.outwards.poll_pause(cx));
            return Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        }
        let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
        self.poll_write(cx, first)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
