//! Frames in and out of a socket.
//!
//! We read raw frames and put messages together ourselves, because uploaders damage
//! continuation frames at times: a message with invalid UTF-8 is dropped and the link
//! stays, where an ordinary stack would close it and meet the same message again on the
//! next connection.
//!
//! Reading never waits for anything but the socket, so pings are answered at once. Two
//! queues lead out: a small one for control frames, which goes first, and a bounded one for
//! messages. A device that does not take what it is sent for [`super::LinkSettings::write_timeout`]
//! is gone.
//!
//! A device that sends more than `FRAMES` allows is read more slowly, and has to wait with the
//! rest: nothing is dropped, and it costs the others nothing.

#![expect(clippy::disallowed_methods, reason = "a device that sends too much is read more slowly")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket, WebSocketError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Join, ReadBuf, Sink};
use tokio::sync::{mpsc, oneshot};

use super::allowance::{Allowance, Limit};
use super::clock::clock;

pub const CLOSE_NORMAL: u16 = 1000;
pub const CLOSE_GOING_AWAY: u16 = 1001;
pub const CLOSE_PROTOCOL_ERROR: u16 = 1002;
pub const CLOSE_TOO_BIG: u16 = 1009;

/// Longest payload of a control frame, by the protocol.
const CONTROL_BYTES_MAX: usize = 125;

/// Frames of one device: at once, two greetings of the largest size in fragments of 4 kB; on and on, fifty times what a
/// busy one sends.
const FRAMES: Limit = Limit { at_once: 12_000.0, per_second: 500.0 };

/// A frame with so many bytes counts twice, one with twice as many three times, and so on.
const BYTES_PER_FRAME: f64 = 16.0 * 1024.0;

/// When the last byte came. Any byte is a sign of life: a large message in the middle of its way, too.
#[derive(Debug)]
pub struct Pulse {
    base: Instant,
    last_ms: AtomicU64,
}

impl Pulse {
    pub fn new() -> Self {
        Self { base: clock(), last_ms: AtomicU64::new(0) }
    }

    pub fn beat(&self) {
        let elapsed = clock().saturating_duration_since(self.base);
        self.last_ms.store(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.base + Duration::from_millis(self.last_ms.load(Ordering::Relaxed)))
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

struct Counted<R> {
    inner: R,
    pulse: Arc<Pulse>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pulse.beat();
        }
        outcome
    }
}

/// Why a link ended, in a word that can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    Replaced,
    ServerStopped,
    ClosedByDevice,
    Lost,
    Silent,
    /// It does not take what it is sent.
    Stuck,
    /// It tells more than can be stored.
    StorageBehind,
    MessageTooBig,
    ProtocolError,
}

impl EndCause {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::ServerStopped => "server_stopped",
            Self::ClosedByDevice => "closed_by_device",
            Self::Lost => "lost",
            Self::Silent => "silent",
            Self::Stuck => "stuck",
            Self::StorageBehind => "storage_behind",
            Self::MessageTooBig => "message_too_big",
            Self::ProtocolError => "protocol_error",
        }
    }
}

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Message(Vec<u8>),
    /// A message that was damaged on its way, and dropped.
    Garbled(&'static str),
    /// So much came at once that the rest has to wait. Told once.
    Slowed,
    /// The peer wants to close, or spoke in a way that ends the link.
    Close {
        answer: u16,
        cause: EndCause,
        reason: String,
    },
    /// The connection is gone.
    Gone(String),
}

/// Frames wait here for the writer.
#[derive(Clone)]
pub struct FrameQueue {
    messages: mpsc::Sender<Outgoing>,
    control: mpsc::Sender<Control>,
    /// Places for messages of the session itself.
    kept: usize,
}

pub struct Outgoing {
    pub text: String,
    /// Told when the message was handed to the network.
    pub written: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
enum Control {
    Ping,
    Pong(Vec<u8>),
    Close(u16),
}

#[derive(Debug, PartialEq, Eq)]
pub struct FrameQueueFull;

impl FrameQueue {
    pub fn message(&self, message: Outgoing) -> Result<(), FrameQueueFull> {
        self.messages.try_send(message).map_err(|_| FrameQueueFull)
    }

    /// Waits until there is room for what others ask, beside what a session has to say by itself.
    pub async fn room(&self) {
        // Without a writer there will be none; the link hears of that elsewhere.
        if self.messages.reserve_many(self.kept + 1).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    // A control frame that finds no room is not missed: the writer is stuck, and its timeout ends the link.
    pub fn ping(&self) {
        let _ = self.control.try_send(Control::Ping);
    }

    fn pong(&self, payload: &[u8]) {
        let _ = self.control.try_send(Control::Pong(payload.to_vec()));
    }

    pub fn close(&self, code: u16) {
        let _ = self.control.try_send(Control::Close(code));
    }
}

/// Takes whole messages off a socket.
pub struct Reader<R> {
    socket: WebSocket<Join<Counted<R>, Sink>>,
    /// The fragments so far of a message that is not complete.
    partial: Option<Vec<u8>>,
    message_bytes_max: usize,
    frame_queue: FrameQueue,
    allowance: Allowance,
    /// The last frame came too soon; the next one is read after this.
    wait: Option<Duration>,
    slowed: bool,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub fn new(read: R, pulse: Arc<Pulse>, message_bytes_max: usize, frame_queue: FrameQueue) -> Self {
        let stream = tokio::io::join(Counted { inner: read, pulse }, tokio::io::sink());
        let mut socket = WebSocket::after_handshake(stream, Role::Server);
        // Answers go through the writer.
        socket.set_auto_pong(false);
        socket.set_auto_close(false);
        // The library refuses what is as large as this, we what is larger.
        socket.set_max_message_size(message_bytes_max + 1);
        Self {
            socket,
            partial: None,
            message_bytes_max,
            frame_queue,
            allowance: Allowance::new(FRAMES, clock()),
            wait: None,
            slowed: false,
        }
    }

    /// Hands over what comes until the link ends, which is the last thing it hands over.
    pub async fn run(mut self, heard: mpsc::Sender<Heard>) {
        loop {
            let next = self.next().await;
            let last = matches!(next, Heard::Close { .. } | Heard::Gone(_));
            if heard.send(next).await.is_err() || last {
                break;
            }
        }
        // Closing with unread bytes would reset the connection, and our close frame might not be read.
        let mut stream = self.socket.into_inner();
        let mut scrap = [0; 4096];
        while matches!(stream.read(&mut scrap).await, Ok(read) if read > 0) {}
    }

    async fn next(&mut self) -> Heard {
        loop {
            if let Some(wait) = self.wait {
                if !std::mem::replace(&mut self.slowed, true) {
                    return Heard::Slowed;
                }
                self.wait = None;
                metrics::counter!(crate::telemetry::DEVICE_FRAMES_DELAYED).increment(1);
                tokio::time::sleep(wait).await;
            }
            let frame = match self.socket.read_frame().await {
                Ok(frame) => frame,
                // The frame is off the wire, so the next one begins where it should.
                Err(WebSocketError::InvalidUTF8) => return Heard::Garbled("invalid_utf8"),
                Err(WebSocketError::FrameTooLarge) => return self.too_big(),
                Err(WebSocketError::UnexpectedEOF) => return Heard::Gone("the device closed the connection".to_owned()),
                Err(WebSocketError::IoError(error)) => return Heard::Gone(format!("the connection broke: {error}")),
                Err(error) => {
                    let reason = format!("protocol error: {error}");
                    return Heard::Close { answer: CLOSE_PROTOCOL_ERROR, cause: EndCause::ProtocolError, reason };
                }
            };
            self.wait = self.allowance.take(clock(), 1.0 + frame.payload.len() as f64 / BYTES_PER_FRAME);
            match frame.opcode {
                OpCode::Ping => self.frame_queue.pong(&frame.payload),
                OpCode::Pong => {}
                OpCode::Close => return closed_by_peer(&frame.payload),
                OpCode::Text | OpCode::Binary => {
                    let torn = self.partial.take().is_some();
                    if frame.fin {
                        // A message that follows a torn one is as good as any.
                        if torn {
                            metrics::counter!(crate::telemetry::DEVICE_MESSAGES_DROPPED, "cause" => "torn_message").increment(1);
                        }
                        return whole(frame.payload.into());
                    }
                    self.partial = Some(frame.payload.into());
                    if torn {
                        return Heard::Garbled("torn_message");
                    }
                }
                OpCode::Continuation => {
                    let Some(mut message) = self.partial.take() else { return Heard::Garbled("stray_fragment") };
                    if message.len() + frame.payload.len() > self.message_bytes_max {
                        return self.too_big();
                    }
                    message.extend_from_slice(&frame.payload);
                    if frame.fin {
                        return whole(message);
                    }
                    self.partial = Some(message);
                }
            }
        }
    }

    fn too_big(&self) -> Heard {
        let reason = format!("a message of more than {} bytes (devices.frame_bytes_max)", self.message_bytes_max);
        Heard::Close { answer: CLOSE_TOO_BIG, cause: EndCause::MessageTooBig, reason }
    }
}

fn whole(message: Vec<u8>) -> Heard {
    match std::str::from_utf8(&message) {
        Ok(_) => Heard::Message(message),
        Err(_) => Heard::Garbled("invalid_utf8"),
    }
}

fn closed_by_peer(payload: &[u8]) -> Heard {
    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
    // Codes that must not be sent are answered with the ordinary one.
    let answer = code.filter(|code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)).unwrap_or(CLOSE_NORMAL);
    let reason = match code {
        Some(code) => format!("the device closed with {code}"),
        None => "the device closed".to_owned(),
    };
    Heard::Close { answer, cause: EndCause::ClosedByDevice, reason }
}

/// The way out of a link: a queue of frames, and the future that writes what is put there.
pub fn writer<W: AsyncWrite + Unpin>(
    write: W,
    waiting_max: usize,
    timeout: Duration,
) -> (FrameQueue, impl Future<Output = Result<(), (EndCause, String)>>) {
    let (messages, mut message_queue) = mpsc::channel::<Outgoing>(waiting_max);
    let (control, mut control_queue) = mpsc::channel::<Control>(8);
    let run = async move {
        let mut write = write;
        let mut buffer = Vec::new();
        loop {
            let (mut frame, written, last) = tokio::select! {
                biased;
                control = control_queue.recv() => match control {
                    None => return Ok(()),
                    Some(Control::Ping) => (Frame::new(true, OpCode::Ping, None, Payload::Borrowed(b"")), None, false),
                    Some(Control::Pong(payload)) => {
                        debug_assert!(payload.len() <= CONTROL_BYTES_MAX);
                        (Frame::pong(payload.into()), None, false)
                    }
                    Some(Control::Close(code)) => (Frame::close(code, b""), None, true),
                },
                message = message_queue.recv() => match message {
                    None => return Ok(()),
                    Some(Outgoing { text, written }) => (Frame::text(text.into_bytes().into()), written, false),
                },
            };
            let write_frame = async {
                write.write_all(frame.write(&mut buffer)).await?;
                write.flush().await
            };
            match tokio::time::timeout(timeout, write_frame).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err((EndCause::Lost, format!("could not write: {error}"))),
                Err(_) => return Err((EndCause::Stuck, "the device took nothing for too long".to_owned())),
            }
            if let Some(written) = written {
                // The caller may have stopped waiting.
                let _ = written.send(());
            }
            if last {
                let _ = tokio::time::timeout(timeout, write.shutdown()).await;
                return Ok(());
            }
        }
    };
    (FrameQueue { messages, control, kept: waiting_max / 8 }, run)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text, as a client writes it.
    fn text() -> Vec<u8> {
        let mut frame = Frame::text(Payload::Borrowed(b"{}"));
        frame.mask();
        let mut bytes = vec![];
        frame.write(&mut bytes).to_vec()
    }

    #[tokio::test]
    async fn a_flood_is_read_to_its_end_and_takes_its_time() {
        const MORE: usize = 250;
        let whole = FRAMES.at_once as usize + MORE;
        let (mut device, socket) = tokio::io::duplex(1 << 16);
        let (frame_queue, _write) = writer(tokio::io::sink(), 1, Duration::from_secs(1));
        let (heard_here, mut heard) = mpsc::channel(16);
        tokio::spawn(Reader::new(socket, Arc::default(), 1 << 20, frame_queue).run(heard_here));
        let started = tokio::time::Instant::now();
        tokio::spawn(async move {
            for _ in 0..whole {
                device.write_all(&text()).await.unwrap();
            }
        });
        let (mut messages, mut slowed) = (0, 0);
        loop {
            match heard.recv().await.expect("an end that is told") {
                Heard::Message(message) => {
                    assert_eq!(message, b"{}");
                    messages += 1;
                }
                Heard::Slowed => slowed += 1,
                Heard::Gone(_) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((messages, slowed), (whole, 1));
        let (took, needed) = (started.elapsed(), Duration::from_secs_f64((MORE - 1) as f64 / FRAMES.per_second));
        assert!(took >= needed, "{took:?} for what needs {needed:?}");
    }
}
