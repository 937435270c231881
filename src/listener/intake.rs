//! The body of a request on its way in.
//!
//! It has a time to arrive within. Where a request is answered before its body was read, the rest of it stands in front
//! of the next request on the connection: a little is read away, and for more the connection is closed, slowly enough that
//! the answer still arrives.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// Of a body that is not wanted, so much is read to keep the connection.
const LEFT_BYTES_MAX: u64 = 256 << 10;
const LEFT_TIME: Duration = Duration::from_secs(1);

/// Of a connection that is closed on a body, so much is read and thrown away: what the system finds unread makes it
/// cut the connection, with the answer in it.
const LINGER_BYTES_MAX: usize = 16 << 20;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// The body did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the request took longer than {} s to arrive", .0.as_secs())]
pub struct TooSlow(pub Duration);

/// What became of a body.
#[derive(Default)]
struct Fate {
    /// It was asked for, so its client was told to send it.
    asked: AtomicBool,
    late: AtomicBool,
    left: Mutex<Option<Incoming>>,
}

impl Fate {
    fn left(&self) -> MutexGuard<'_, Option<Incoming>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body that has to arrive within a time. What is not read of it goes back.
pub struct Intake {
    body: Option<Incoming>,
    within: Duration,
    end: Option<Pin<Box<Sleep>>>,
    fate: Arc<Fate>,
}

/// What is left of a body once its request was answered.
pub struct Left(Arc<Fate>);

impl Intake {
    pub fn new(body: Incoming, within: Duration) -> (Self, Left) {
        let fate = Arc::new(Fate::default());
        let end = (!body.is_end_stream()).then(|| Box::pin(sleep(within)));
        (Self { body: Some(body), within, end, fate: fate.clone() }, Left(fate))
    }
}

impl Body for Intake {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        this.fate.asked.store(true, Ordering::Relaxed);
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
            Poll::Pending => match &mut this.end {
                Some(end) => {
                    ready!(end.as_mut().poll(cx));
                    this.fate.late.store(true, Ordering::Relaxed);
                    Poll::Ready(Some(Err(Box::new(TooSlow(this.within)))))
                }
                None => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.fate.left() = Some(body);
        }
    }
}

impl Left {
    /// Reads it away where it is little. Whether the connection may take another request after that. `asks_first`: the
    /// client sends its body when it is told to go on, and was not told.
    pub async fn read_away(self, asks_first: bool) -> bool {
        let Some(mut body) = self.0.left().take() else { return true };
        let waits = asks_first && !self.0.asked.load(Ordering::Relaxed);
        if waits || self.0.late.load(Ordering::Relaxed) || body.size_hint().lower() > LEFT_BYTES_MAX {
            return false;
        }
        let mut read = 0;
        let away = async {
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                read += frame.data_ref().map_or(0, |data| data.len() as u64);
                if read > LEFT_BYTES_MAX {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(LEFT_TIME, away).await.unwrap_or(false)
    }
}

/// A connection that may be closed while its client still sends.
pub struct Lingering {
    stream: TcpStream,
    unread: Arc<AtomicBool>,
    until: Option<Pin<Box<Sleep>>>,
    thrown_away: usize,
}

impl Lingering {
    /// `unread`: set where a body is left in it.
    pub fn new(stream: TcpStream, unread: Arc<AtomicBool>) -> Self {
        Self { stream, unread, until: None, thrown_away: 0 }
    }
}

impl AsyncRead for Lingering {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.until.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.unread.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let until = this.until.get_or_insert_with(|| Box::pin(sleep(LINGER_TIME)));
        let mut space = [0; 16 << 10];
        while this.thrown_away <= LINGER_BYTES_MAX && until.as_mut().poll(cx).is_pending() {
            let mut piece = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut piece)) {
                Ok(()) if !piece.filled().is_empty() => this.thrown_away += piece.filled().len(),
                // The client has left, too.
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
