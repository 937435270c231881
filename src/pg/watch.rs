//! No wait for Postgres is without an end, and a session that cannot do its work is not used again.
//!
//! Every connection, pooled or dedicated, in the clear or encrypted, speaks through a [`Watched`] stream. It reads
//! along: what was asked and is not answered yet, and what errors say. One that owes an answer and says nothing for
//! longer than its limit is closed, as is one whose server said that this session is of no use any more
//! ([`fault::condemns`]). Each caller that waits on it hears that the connection is closed; the pool replaces it.
//!
//! Connections of one [`Connector`](super::Connector) learn from each other by a [`Pulse`]: the first that is found
//! silent makes all that are as old suspect, so that an outage is not found out once per connection.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tracing::warn;

use super::fault;

/// How often a connection that waits for an answer looks at what others have learned.
const LOOK: Duration = Duration::from_millis(500);

/// A suspect has this part of the limit to prove that it lives.
const SUSPECT_PART: u32 = 4;

/// A session that is younger and only reads tells how the server is, and nothing about those that were opened before
/// it: while the server only reads, sessions that read are not replaced for each write that is tried.
const YOUNG: Duration = Duration::from_millis(100);

/// Why we closed a connection. Said in the log where it is decided.
#[derive(Debug, thiserror::Error)]
pub enum GivenUp {
    #[error("the database did not answer in time")]
    Silent,
    #[error("the session could no longer do its work (SQLSTATE {0})")]
    Unfit(String),
}

impl GivenUp {
    /// Whether a connection was lost because we gave it up.
    pub fn is_reason_of(error: &tokio_postgres::Error) -> bool {
        let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        cause.and_then(io::Error::get_ref).is_some_and(|reason| reason.is::<Self>())
    }
}

/// What the connections of one connector know together.
#[derive(Debug, Default)]
pub struct Pulse(Mutex<Known>);

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// When something was asked that was never answered.
    silent_since: Option<Instant>,
    /// Connections that were opened before are not used again.
    fresh_since: Option<Instant>,
}

impl Pulse {
    fn known(&self) -> Known {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fell_silent(&self, since: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.silent_since = known.silent_since.max(Some(since));
        known.fresh_since = known.fresh_since.max(Some(since));
    }

    fn stale_until(&self, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.fresh_since = known.fresh_since.max(Some(now));
    }

    /// Whether a connection of the pool that was opened then may be used.
    pub fn trusts(&self, opened: Instant) -> bool {
        self.known().fresh_since.is_none_or(|fresh| opened > fresh)
    }
}

/// How long a connection may owe an answer. Can be changed while it is open.
#[derive(Clone, Debug)]
pub struct Patience(Arc<AtomicU64>);

impl Patience {
    pub fn of(limit: Duration) -> Self {
        let patience = Self(Arc::default());
        patience.set(limit);
        patience
    }

    pub fn set(&self, limit: Duration) {
        self.0.store(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Makes a stream a watched one; encrypts it before, where the connector does.
///
/// It takes the place of the encryption in `tokio-postgres`, the one place where a stream can be wrapped that it opened itself.
#[derive(Clone)]
pub struct Watch<T> {
    pub tls: T,
    pub pulse: Arc<Pulse>,
    pub patience: Patience,
}

/// In place of an encryption: none.
#[derive(Clone, Copy)]
pub struct InTheClear;

impl<S, T> MakeTlsConnect<S> for Watch<T>
where
    T: MakeTlsConnect<S>,
    T::TlsConnect: Send + 'static,
    <T::TlsConnect as TlsConnect<S>>::Future: Send,
    S: Send + 'static,
{
    type Stream = Watched<T::Stream>;
    type TlsConnect = Watch<T::TlsConnect>;
    type Error = T::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Self::TlsConnect, Self::Error> {
        Ok(Watch { tls: self.tls.make_tls_connect(domain)?, pulse: self.pulse.clone(), patience: self.patience.clone() })
    }
}

impl<S, T> TlsConnect<S> for Watch<T>
where
    T: TlsConnect<S> + Send + 'static,
    T::Future: Send,
    S: Send + 'static,
{
    type Stream = Watched<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let Self { tls, pulse, patience } = self;
        Box::pin(async move { Ok(Watched::new(tls.connect(stream).await?, pulse, patience)) })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> MakeTlsConnect<S> for InTheClear {
    type Stream = Clear<S>;
    type TlsConnect = Self;
    type Error = io::Error;

    fn make_tls_connect(&mut self, _: &str) -> io::Result<Self> {
        Ok(*self)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsConnect<S> for InTheClear {
    type Stream = Clear<S>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Clear<S>>>;

    fn connect(self, stream: S) -> Self::Future {
        std::future::ready(Ok(Clear(stream)))
    }
}

/// A stream that is not encrypted.
pub struct Clear<S>(pub S);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Clear<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Clear<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Clear<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A stream to Postgres whose answers are waited for with patience, and not for ever.
pub struct Watched<S> {
    inner: S,
    pulse: Arc<Pulse>,
    patience: Patience,
    opened: Instant,
    conversation: Conversation,
    /// Since when nothing has come although something is owed, or nothing could be sent.
    waiting_since: Option<Instant>,
    /// The last time that something came.
    heard_at: Instant,
    blocked: bool,
    look: Pin<Box<Sleep>>,
}

impl<S> Watched<S> {
    pub fn new(inner: S, pulse: Arc<Pulse>, patience: Patience) -> Self {
        let now = Instant::now();
        Self {
            inner,
            pulse,
            patience,
            opened: now,
            conversation: Conversation::new(),
            waiting_since: None,
            heard_at: now,
            blocked: false,
            look: Box::pin(sleep(LOOK)),
        }
    }

    /// The session is of no use any more, and everything that was asked of it is answered.
    fn is_over(&self) -> Option<io::Error> {
        let code = self.conversation.condemned_by.as_ref().filter(|_| self.conversation.unanswered <= 0)?;
        Some(io::Error::other(GivenUp::Unfit(code.clone())))
    }

    /// Fails when the wait has been too long; otherwise sees to it that the task looks again.
    fn wait(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        loop {
            let (waited, limit) = (since.elapsed(), self.patience.limit());
            let suspect = self.pulse.known().silent_since.is_some_and(|silent| self.opened < silent && self.heard_at < silent);
            if waited >= limit || (suspect && waited >= limit / SUSPECT_PART) {
                self.pulse.fell_silent(since);
                metrics::counter!(crate::telemetry::CONNECTIONS_GIVEN_UP, "reason" => "silent").increment(1);
                warn!("The database did not answer within {waited:.1?}; this connection is closed, and those of its age are replaced");
                return Err(io::Error::new(io::ErrorKind::TimedOut, GivenUp::Silent));
            }
            if self.look.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            let next = limit.saturating_sub(waited).min(LOOK);
            self.look.as_mut().reset(tokio::time::Instant::now() + next);
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.waiting_since = None;
        self.heard_at = Instant::now();
        let condemned_before = self.conversation.condemned_by.is_some();
        self.conversation.server_says(bytes);
        if let Some(code) = self.conversation.condemned_by.as_ref().filter(|_| !condemned_before) {
            metrics::counter!(crate::telemetry::CONNECTIONS_GIVEN_UP, "reason" => "unfit").increment(1);
            // Others that are as old have the same plans, and were opened on the same server.
            if self.opened.elapsed() > YOUNG || !fault::is_of_the_server(code) {
                warn!(db.code = code, "A database session says SQLSTATE {code}; it is closed, and those before it are replaced");
                self.pulse.stale_until(self.heard_at);
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(error) = this.is_over() {
            return Poll::Ready(Err(error));
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buffer) {
            Poll::Ready(read) => {
                read?;
                this.hear(&buffer.filled()[before..]);
                Poll::Ready(Ok(()))
            }
            Poll::Pending if this.conversation.is_owed() || this.blocked => match this.wait(cx) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
            Poll::Pending => {
                this.waiting_since = None;
                Poll::Pending
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.inner).poll_write(cx, bytes) {
            Poll::Ready(written) => {
                let written = written?;
                // What is asked behind a question that waits does not make the wait for that one longer.
                let moves = std::mem::take(&mut this.blocked) || this.conversation.unanswered <= 0;
                this.conversation.client_says(&bytes[..written]);
                if moves {
                    this.waiting_since = this.conversation.is_owed().then(Instant::now);
                }
                if this.conversation.is_owed() {
                    this.wait(cx)?;
                }
                Poll::Ready(Ok(written))
            }
            Poll::Pending => {
                this.blocked = true;
                match this.wait(cx) {
                    Ok(()) => Poll::Pending,
                    Err(error) => Poll::Ready(Err(error)),
                }
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Watched<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

/// What is asked and not answered yet, read from what both sides say.
struct Conversation {
    client: Messages,
    server: Messages,
    /// A request ends with Sync or is a simple query, and its answer ends with ReadyForQuery.
    unanswered: i64,
    /// A request has begun and not ended.
    asking: bool,
    condemned_by: Option<String>,
}

impl Conversation {
    /// What a client says first has no type. It is a request like others: its answer ends with ReadyForQuery too.
    fn new() -> Self {
        let client = Messages { head: vec![0], ..Messages::default() };
        Self { client, server: Messages::default(), unanswered: 1, asking: false, condemned_by: None }
    }

    fn is_owed(&self) -> bool {
        self.unanswered > 0 || self.asking
    }

    fn client_says(&mut self, bytes: &[u8]) {
        let (mut unanswered, mut asking) = (self.unanswered, self.asking);
        self.client.read(bytes, |kind, _| {
            unanswered += i64::from(matches!(kind, b'S' | b'Q'));
            // The pieces of a copy come as the client makes them. A goodbye asks nothing.
            asking = !matches!(kind, b'S' | b'Q' | b'd' | b'X');
        });
        self.unanswered = unanswered;
        self.asking = asking || self.client.is_open();
    }

    fn server_says(&mut self, bytes: &[u8]) {
        let (unanswered, condemned_by) = (&mut self.unanswered, &mut self.condemned_by);
        self.server.read(bytes, |kind, body| match kind {
            b'Z' => *unanswered -= 1,
            // Ready for a copy: the server overlooks the Sync that came before it.
            b'G' => *unanswered -= 1,
            b'E' => {
                let code = body.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"C")).map(String::from_utf8_lossy);
                if let Some(code) = code.filter(|code| fault::condemns(code)) {
                    condemned_by.get_or_insert_with(|| code.into_owned());
                }
            }
            _ => {}
        });
    }
}

/// The beginning of an error that is looked at: its code is among the first of its fields.
const BODY_KEPT: usize = 128;

/// Finds the messages in what one side says: a type, a length that counts itself, and that much.
#[derive(Default)]
struct Messages {
    /// Of a message that has begun, up to its length.
    head: Vec<u8>,
    body: Vec<u8>,
    body_left: usize,
}

impl Messages {
    fn is_open(&self) -> bool {
        !self.head.is_empty()
    }

    /// Calls for each message that ends in these bytes, with its type and, of an error, the beginning of its body.
    fn read(&mut self, mut bytes: &[u8], mut ended: impl FnMut(u8, &[u8])) {
        while !bytes.is_empty() {
            if self.head.len() < 5 {
                let taken = bytes.len().min(5 - self.head.len());
                self.head.extend_from_slice(&bytes[..taken]);
                bytes = &bytes[taken..];
                let [_, a, b, c, d] = *self.head.as_slice() else { return };
                self.body_left = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(4);
            }
            let taken = bytes.len().min(self.body_left);
            if self.head[0] == b'E' {
                let kept = taken.min(BODY_KEPT.saturating_sub(self.body.len()));
                self.body.extend_from_slice(&bytes[..kept]);
            }
            self.body_left -= taken;
            bytes = &bytes[taken..];
            if self.body_left == 0 {
                ended(self.head[0], &self.body);
                self.head.clear();
                self.body.clear();
            }
        }
    }
}
