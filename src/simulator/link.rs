//! One WebSocket of a device: connect, keep alive, reconnect, for ever.
//!
//! The link owns the socket, its owner decides what to say. Frames wait in one
//! queue while there is no connection, so what was queued offline goes out first
//! and the greeting, which the owner sends when it hears [`Heard::Connected`],
//! comes after it. A frame that was being written when the connection died is lost.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, Role, WebSocket, handshake};
use http::Uri;
use http_body_util::Empty;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, Empty as NoInput, Join, Sink, empty, join, sink, split};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use super::faults::{self, Faults};

const PING_INTERVAL: Duration = Duration::from_secs(30);
const PONG_WAIT: Duration = Duration::from_secs(10);
const RECONNECT_FIRST: Duration = Duration::from_secs(1);
const RECONNECT_CAP: Duration = Duration::from_secs(60);
const RECONNECT_FLOOR: Duration = Duration::from_millis(100);
/// Applied after the cap, so that 69 s have been seen.
const RECONNECT_JITTER: f64 = 0.2;
/// Devices cut longer messages into fragments of this size.
const FRAGMENT_BYTES: usize = 4096;
/// How long an orderly stop waits for the answer to its close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
const SILENCE_LONGEST: Duration = Duration::from_secs(60);

pub struct LinkConfig {
    /// For the log: `recorder` or `transfer`.
    pub name: &'static str,
    pub url: Uri,
    pub host: HostHeader,
    pub bearer: Option<String>,
    /// Waiting is divided by it.
    pub pace: f64,
    pub seed: u64,
    pub faults: Faults,
    pub faults_seed: u64,
    /// Told when the network between both ends is gone, for a moment.
    pub network_lost: Arc<Notify>,
}

/// The two programs of a device differ in it.
#[derive(Clone, Copy)]
pub enum HostHeader {
    WithoutPort,
    WithPort,
}

pub enum Heard {
    Connected,
    /// While a message is being handled the socket is neither read nor written, and
    /// pings wait: the device works on requests on its socket's own thread.
    Message {
        text: Bytes,
        handled: oneshot::Sender<()>,
    },
    Disconnected,
}

/// Where an owner puts its frames. They are kept without limit while offline.
#[derive(Clone)]
pub struct Outgoing {
    queue: mpsc::UnboundedSender<String>,
    queued: Arc<AtomicU64>,
    left: Arc<AtomicU64>,
}

/// Stands for a frame in the queue.
#[derive(Clone, Copy)]
pub struct Ticket(u64);

impl Outgoing {
    pub fn send(&self, frame: &Value) -> Ticket {
        // The link ends after its owner, except when both are being torn down.
        let _ = self.queue.send(frame.to_string());
        Ticket(self.queued.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Whether the frame is out of the queue, written or lost.
    pub fn has_left(&self, ticket: Ticket) -> bool {
        self.left.load(Ordering::SeqCst) >= ticket.0
    }
}

pub struct Connection {
    pub heard: mpsc::Receiver<Heard>,
    pub out: Outgoing,
}

/// A connection and the task that drives it until `stop`.
pub fn link(config: LinkConfig, stop: CancellationToken) -> (Connection, impl Future<Output = ()> + Send) {
    let (queue, waiting) = mpsc::unbounded_channel();
    let (heard_tx, heard) = mpsc::channel(1);
    let rng = StdRng::seed_from_u64(config.seed);
    let faults_rng = StdRng::seed_from_u64(config.faults_seed);
    let out = Outgoing { queue, queued: Arc::default(), left: Arc::default() };
    let driver = Driver { config, out: waiting, left: out.left.clone(), heard: heard_tx, stop, rng, faults_rng };
    (Connection { heard, out }, driver.run())
}

struct Driver {
    config: LinkConfig,
    out: mpsc::UnboundedReceiver<String>,
    left: Arc<AtomicU64>,
    heard: mpsc::Sender<Heard>,
    stop: CancellationToken,
    rng: StdRng,
    /// Apart, so that faults change nothing else.
    faults_rng: StdRng,
}

impl Driver {
    async fn run(mut self) {
        let stop = self.stop.clone();
        let mut failures = 0;
        // The path may hold a token.
        let url = &self.config.url;
        let place = format!("{}://{}", url.scheme_str().unwrap_or_default(), url.authority().map_or("", |authority| authority.as_str()));
        while !stop.is_cancelled() {
            let connected = tokio::select! {
                () = stop.cancelled() => return,
                connected = connect(&self.config) => connected,
            };
            let name = self.config.name;
            match connected {
                Ok((reader, writer)) => {
                    failures = 0;
                    info!(link = name, "Connected {name} to `{place}`");
                    let ended = self.session(reader, writer).await;
                    debug!(link = name, "Connection of {name} ended: {ended}");
                    let _ = self.heard.send(Heard::Disconnected).await;
                }
                Err(error) => {
                    failures += 1;
                    // Once per outage for a person, and each time for who looks closely.
                    if failures == 1 {
                        warn!(link = name, "Cannot connect {name} to `{place}`, goes on trying: {error:#}");
                    } else {
                        debug!(link = name, "Cannot connect {name} to `{place}`: {error:#}");
                    }
                }
            }
            let delay = reconnect_delay(failures, self.rng.random()).div_f64(self.config.pace);
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(delay) => {}
            }
        }
    }

    async fn session(&mut self, reader: Reader, mut writer: Writer) -> &'static str {
        let (incoming_tx, mut incoming) = mpsc::channel(1);
        let _reader = AbortOnDropHandle::new(tokio::spawn(read_all(reader, incoming_tx)));
        let (pace, faults) = (self.config.pace, self.config.faults);
        let lost_at = Instant::now() + faults::next(faults.lost_connections, pace, &mut self.faults_rng);
        let mut silent_at = Instant::now() + faults::next(faults.silences, pace, &mut self.faults_rng);
        let mut ping_at = Instant::now() + PING_INTERVAL.div_f64(pace);
        let mut awaiting_pong = false;
        let network_lost = self.config.network_lost.clone();
        // Made here, so that nothing is missed while a message is worked on.
        let mut network_lost = std::pin::pin!(network_lost.notified());

        if self.heard.send(Heard::Connected).await.is_err() {
            return "owner is gone";
        }
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    while let Ok(text) = self.out.try_recv() {
                        if self.say(&mut writer, text).await.is_err() {
                            break;
                        }
                    }
                    if writer.control(Frame::close(1000, b"")).await.is_ok() {
                        let _ = timeout(CLOSE_WAIT, drained(&mut incoming)).await;
                    }
                    return "stopped";
                }
                () = &mut network_lost => return "lost, as was asked for",
                () = sleep_until(lost_at) => return "lost, as was asked for",
                () = sleep_until(silent_at) => {
                    // Neither reads nor writes; what arrives waits in the socket.
                    let silence = faults::a_while(SILENCE_LONGEST, pace, &mut self.faults_rng);
                    tokio::select! {
                        () = self.stop.cancelled() => {}
                        () = sleep(silence) => {}
                    }
                    silent_at = Instant::now() + faults::next(faults.silences, pace, &mut self.faults_rng);
                }
                frame = incoming.recv() => match frame {
                    None => return "lost",
                    Some(Incoming::Ping(payload)) => {
                        let pong = Frame::pong(Payload::Owned(payload.to_vec()));
                        if writer.control(pong).await.is_err() {
                            return "lost";
                        }
                    }
                    Some(Incoming::Pong) => {
                        awaiting_pong = false;
                        ping_at = Instant::now() + PING_INTERVAL.div_f64(pace);
                    }
                    Some(Incoming::Close(payload)) => {
                        let _ = writer.control(Frame::close_raw(Payload::Owned(payload.to_vec()))).await;
                        return "closed by the server";
                    }
                    Some(Incoming::Message(text)) => {
                        let (handled, done) = oneshot::channel();
                        if self.heard.send(Heard::Message { text, handled }).await.is_err() {
                            return "owner is gone";
                        }
                        let _ = done.await;
                    }
                },
                Some(text) = self.out.recv() => {
                    if self.say(&mut writer, text).await.is_err() {
                        return "lost";
                    }
                }
                () = sleep_until(ping_at) => {
                    if awaiting_pong {
                        // The device sends a close frame and then waits for the peer to
                        // end the TCP connection, however long that takes.
                        let _ = writer.control(Frame::close(1000, b"")).await;
                        tokio::select! {
                            () = self.stop.cancelled() => {}
                            () = drained(&mut incoming) => {}
                        }
                        return "no pong";
                    }
                    if writer.control(Frame::new(true, OpCode::Ping, None, Payload::Owned(Vec::new()))).await.is_err() {
                        return "lost";
                    }
                    awaiting_pong = true;
                    ping_at = Instant::now() + PONG_WAIT.div_f64(pace);
                }
            }
        }
    }
}

impl Driver {
    async fn say(&mut self, writer: &mut Writer, text: String) -> anyhow::Result<()> {
        let Faults { corrupt_messages, repeated_messages, .. } = self.config.faults;
        let rng = &mut self.faults_rng;
        let repeat = faults::happens(repeated_messages, rng).then(|| text.clone());
        let corrupt = text.len() > FRAGMENT_BYTES && faults::happens(corrupt_messages, rng);
        let said = writer.text(text, corrupt.then_some(rng)).await;
        // Out of the queue, whether it arrives or not.
        self.left.fetch_add(1, Ordering::SeqCst);
        match (said, repeat) {
            (Ok(()), Some(text)) => writer.text(text, None).await,
            (said, _) => said,
        }
    }
}

/// `failures` in a row since the last successful handshake; `random` in 0..1.
fn reconnect_delay(failures: u32, random: f64) -> Duration {
    let doubled = RECONNECT_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let jitter = 1.0 + RECONNECT_JITTER * (2.0 * random - 1.0);
    doubled.min(RECONNECT_CAP).mul_f64(jitter).max(RECONNECT_FLOOR)
}

enum Incoming {
    Message(Bytes),
    Ping(Bytes),
    Pong,
    Close(Bytes),
}

async fn drained(incoming: &mut mpsc::Receiver<Incoming>) {
    while incoming.recv().await.is_some() {}
}

type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// Reading a frame cannot be interrupted and taken up again, so one task does nothing
/// else. It hears pings and close frames, and leaves the answers to the session.
struct Reader(FragmentCollector<Join<ReadHalf, Sink>>);

struct Writer(WebSocket<Join<NoInput, WriteHalf>>);

async fn read_all(mut reader: Reader, incoming: mpsc::Sender<Incoming>) {
    while let Ok(frame) = reader.0.read_frame().await {
        let payload = Bytes::copy_from_slice(&frame.payload);
        let frame = match frame.opcode {
            OpCode::Text | OpCode::Binary => Incoming::Message(payload),
            OpCode::Ping => Incoming::Ping(payload),
            OpCode::Pong => Incoming::Pong,
            OpCode::Close => Incoming::Close(payload),
            OpCode::Continuation => continue,
        };
        if incoming.send(frame).await.is_err() {
            return;
        }
    }
}

impl Writer {
    async fn text(&mut self, text: String, corrupt: Option<&mut StdRng>) -> anyhow::Result<()> {
        let mut bytes = text.into_bytes();
        if let (Some(rng), Some(rest)) = (corrupt, bytes.get_mut(FRAGMENT_BYTES..)) {
            faults::foreign_bytes(rest, rng);
        }
        let mut opcode = OpCode::Text;
        let mut parts = bytes.chunks(FRAGMENT_BYTES).peekable();
        while let Some(part) = parts.next() {
            let payload = Payload::Owned(part.to_vec());
            let last = parts.peek().is_none();
            self.0.write_frame(Frame::new(last, opcode, None, payload)).await?;
            opcode = OpCode::Continuation;
        }
        self.0.flush().await?;
        Ok(())
    }

    async fn control(&mut self, frame: Frame<'static>) -> anyhow::Result<()> {
        self.0.write_frame(frame).await?;
        self.0.flush().await?;
        Ok(())
    }
}

/// Lets the HTTP connection below the handshake run.
struct Spawn;

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

async fn connect(config: &LinkConfig) -> anyhow::Result<(Reader, Writer)> {
    let host = config.url.host().context("no host in the URL")?;
    // There is no TLS in the device: `wss` changes the default port, nothing else.
    let port = match (config.url.port_u16(), config.url.scheme_str()) {
        (Some(port), _) => port,
        (None, Some("ws")) => 80,
        (None, Some("wss")) => 443,
        (None, scheme) => bail!("scheme `{}` is neither ws nor wss", scheme.unwrap_or_default()),
    };
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    let path = config.url.path_and_query().map_or("/", |path| path.as_str());
    let mut request = http::Request::get(path)
        .header(
            "Host",
            match config.host {
                HostHeader::WithoutPort => host.to_owned(),
                HostHeader::WithPort => format!("{host}:{port}"),
            },
        )
        .header("Upgrade", "websocket")
        .header("Connection", "upgrade")
        .header("Sec-WebSocket-Key", handshake::generate_key())
        .header("Sec-WebSocket-Version", "13");
    if let Some(token) = &config.bearer {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let (socket, _) = handshake::client(&Spawn, request, stream).await?;

    let (read, write) = split(socket.into_inner());
    let read: ReadHalf = Box::new(read);
    let write: WriteHalf = Box::new(write);
    let mut reader = WebSocket::after_handshake(join(read, sink()), Role::Client);
    reader.set_auto_pong(false);
    reader.set_auto_close(false);
    let writer = WebSocket::after_handshake(join(empty(), write), Role::Client);
    Ok((Reader(FragmentCollector::new(reader)), Writer(writer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnects_after_one_second_and_at_most_seventy_two() {
        let seconds = |failures, random| reconnect_delay(failures, random).as_secs_f64();
        assert_eq!(seconds(0, 0.5), 1.0);
        assert_eq!(seconds(1, 0.5), 1.0);
        assert_eq!(seconds(4, 0.5), 8.0);
        assert_eq!(seconds(7, 0.5), 60.0);
        assert_eq!(seconds(u32::MAX, 1.0), 72.0);
        assert_eq!(seconds(0, 0.0), 0.8);
    }
}
