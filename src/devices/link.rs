//! One connection: the loop between a socket, its session, and everyone else.
//!
//! ```text
//!  socket ──► Reader ──► ┌───────────┐ ──► FrameQueue ──► writer ──► socket
//!                        │  Session  │ ──► ReportQueue ──► ReportWriter ──► commands
//!  hub (asks), clock ──► └───────────┘ ──► hub (views)
//! ```
//!
//! Nothing in the middle waits for anything on the right.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use super::frames::{self, EndCause, FrameQueue, Heard, Outgoing, Reader};
use super::hub::{Ask, Hub, Lane};
use super::queue::ReportQueue;
use super::recent::Direction;
use super::session::{Effect, Now, QueryError, Request, Session};
use super::wire::RpcResponse;
use super::{Keepalive, LinkSettings};
use crate::domain::report::Report;

/// Messages read and not yet looked at. Looking takes microseconds.
const HEARD_MAX: usize = 16;

/// How long a peer gets to read our close frame before the connection is closed under it.
/// Recorders that sent one themselves do nothing else until then.
const LINGER: Duration = Duration::from_secs(1);

/// How a link ended, and why.
pub struct End {
    pub cause: EndCause,
    pub reason: String,
    /// What we close with; none: at once, without a word.
    code: Option<u16>,
}

impl End {
    fn cut(cause: EndCause, reason: impl Into<String>) -> Self {
        Self { cause, reason: reason.into(), code: None }
    }

    fn close(code: u16, cause: EndCause, reason: impl Into<String>) -> Self {
        Self { cause, reason: reason.into(), code: Some(code) }
    }
}

/// The loop of one connection, and what it holds.
pub struct LinkLoop<S> {
    pub session: S,
    pub lane: Arc<Lane>,
    pub hub: Hub,
    pub asks: mpsc::Receiver<Ask>,
    pub reports: ReportQueue,
    pub keepalive: Keepalive,
    pub settings: Arc<LinkSettings>,
    pub stop: CancellationToken,
}

type Tickets = BTreeMap<u64, oneshot::Sender<Result<RpcResponse, QueryError>>>;

impl<S: Session> LinkLoop<S> {
    /// Talks until the link ends, and answers why it did.
    pub async fn run<IO: AsyncRead + AsyncWrite + Send + 'static>(mut self, io: IO) -> End {
        let (read, write) = tokio::io::split(io);
        let (frame_queue, write) = frames::writer(write, self.settings.outgoing_max, self.settings.write_timeout);
        let (heard_here, mut heard) = mpsc::channel(HEARD_MAX);
        let reader = Reader::new(read, self.lane.pulse.clone(), self.settings.frame_bytes_max, frame_queue.clone());
        let reader = AbortOnDropHandle::new(tokio::spawn(reader.run(heard_here)));
        let mut writer = AbortOnDropHandle::new(tokio::spawn(write));
        self.lane.pulse.beat();
        let epoch = self.lane.id.epoch;
        self.note("opened", &format!("connection {epoch} from {}", self.lane.id.remote));
        self.hub.go_live(&self.lane);

        let mut tickets = Tickets::new();
        let mut next_ticket = 0;
        let opened = self.session.opened(Now::read());
        let mut end = self.apply(opened, &frame_queue, &mut tickets);

        let mut tick = interval(self.settings.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_ping = Now::read().at;
        let end = loop {
            if let Some(end) = end.take() {
                break end;
            }
            let effects = tokio::select! {
                biased;
                () = self.lane.replaced.cancelled() => break End::cut(EndCause::Replaced, "replaced by a newer connection"),
                () = self.stop.cancelled() => break End::close(frames::CLOSE_GOING_AWAY, EndCause::ServerStopped, "the server stopped"),
                outcome = &mut writer => {
                    break match outcome {
                        Ok(Err((cause, reason))) => End::cut(cause, reason),
                        _ => End::cut(EndCause::Lost, "the writer ended"),
                    };
                }
                heard = heard.recv() => match heard {
                    Some(Heard::Message(message)) => {
                        let now = Now::read();
                        self.lane.recent.message(now.wall, self.lane.id.kind, Direction::Heard, &message);
                        self.session.message(now, &message)
                    }
                    Some(Heard::Garbled(why)) => self.session.garbled(Now::read(), why),
                    Some(Heard::Slowed) => {
                        let (device, kind) = (&self.lane.id.device, self.lane.id.kind.as_str());
                        warn!(device.id = %device, link.kind = kind, "Reads {kind} of `{device}` more slowly: it sends too much");
                        self.note("slowed", "it sends too much; what it sends is read more slowly");
                        continue;
                    }
                    Some(Heard::Close { answer, cause, reason }) => break End::close(answer, cause, reason),
                    Some(Heard::Gone(reason)) => break End::cut(EndCause::Lost, reason),
                    None => break End::cut(EndCause::Lost, "the reader ended"),
                },
                // What is asked while the device takes nothing waits, here and then with those who ask.
                Some(ask) = async { frame_queue.room().await; self.asks.recv().await } => match ask {
                    Ask::Rpc(rpc) => self.session.request(Now::read(), Request::Rpc(rpc)),
                    Ask::Query { action, params, deadline, answer } => {
                        next_ticket += 1;
                        tickets.insert(next_ticket, answer);
                        self.session.request(Now::read(), Request::Query { ticket: next_ticket, action, params, deadline })
                    }
                    Ask::Frame { frame, written } => {
                        let effects = self.session.request(Now::read(), Request::Frame(frame));
                        end = self.apply_with(effects, &frame_queue, &mut tickets, Some(written));
                        continue;
                    }
                },
                _ = tick.tick() => {
                    let now = Now::read();
                    if let Some(every) = self.keepalive.ping_interval {
                        if self.lane.pulse.silence(now.at) > every + self.keepalive.pong_timeout && !self.session.busy(now) {
                            break End::cut(EndCause::Silent, "silent: neither a message nor a pong");
                        }
                        if now.at.saturating_duration_since(last_ping) >= every {
                            last_ping = now.at;
                            frame_queue.ping();
                        }
                    }
                    self.session.tick(now)
                }
            };
            end = self.apply(effects, &frame_queue, &mut tickets);
        };

        self.note("closed", &end.reason);
        self.hub.leave(&self.lane);
        // Commands that came too late for the loop are settled like the ones before.
        self.asks.close();
        while let Ok(ask) = self.asks.try_recv() {
            if let Ask::Rpc(rpc) = ask {
                let effects = self.session.request(Now::read(), Request::Rpc(rpc));
                self.settle(effects, &mut tickets);
            }
        }
        let closed = self.session.closed(Now::read(), &end.reason);
        self.settle(closed, &mut tickets);

        if let Some(code) = end.code {
            frame_queue.close(code);
            drop(heard);
            let _ = tokio::time::timeout(LINGER, async {
                (&mut writer).await.ok();
                reader.await.ok()
            })
            .await;
        }
        end
    }

    fn apply(&self, effects: Vec<Effect>, frame_queue: &FrameQueue, tickets: &mut Tickets) -> Option<End> {
        self.apply_with(effects, frame_queue, tickets, None)
    }

    /// Answers with the end of the link where an effect has no room. The rest is done all the same.
    fn apply_with(
        &self,
        effects: Vec<Effect>,
        frame_queue: &FrameQueue,
        tickets: &mut Tickets,
        mut written: Option<oneshot::Sender<()>>,
    ) -> Option<End> {
        let mut end = None;
        for effect in effects {
            match effect {
                Effect::Send(text) => {
                    self.lane.recent.message(Now::read().wall, self.lane.id.kind, Direction::Sent, text.as_bytes());
                    if frame_queue.message(Outgoing { text, written: written.take() }).is_err() {
                        end = Some(End::cut(EndCause::Stuck, "the device takes nothing: too many messages wait"));
                    }
                }
                Effect::Report(report) if end.is_some() => self.reports.push_last(report),
                Effect::Report(report) => {
                    let settled = matches!(report, Report::Settled { .. });
                    if settled {
                        self.reports.push_last(report);
                    } else if self.reports.push(report).is_err() {
                        end = Some(End::cut(EndCause::StorageBehind, "too many reports wait for storage"));
                    }
                }
                other => self.show(other, tickets),
            }
        }
        if let Some(written) = written {
            // Nothing had to be sent; that is as good as sent.
            let _ = written.send(());
        }
        end
    }

    /// After the end: nothing is sent, everything is settled.
    fn settle(&self, effects: Vec<Effect>, tickets: &mut Tickets) {
        for effect in effects {
            match effect {
                Effect::Send(_) => {}
                Effect::Report(report) => self.reports.push_last(report),
                other => self.show(other, tickets),
            }
        }
    }

    fn note(&self, what: &str, detail: &str) {
        self.lane.recent.note(Now::read().wall, self.lane.id.kind, what, detail);
    }

    fn show(&self, effect: Effect, tickets: &mut Tickets) {
        match effect {
            Effect::ShowRecorder(view) => self.hub.show_recorder(&self.lane, view),
            Effect::ShowTransfer(status) => self.hub.show_transfer(&self.lane, *status),
            Effect::Answer { ticket, answer } => {
                if let Some(asker) = tickets.remove(&ticket) {
                    let _ = asker.send(answer);
                }
            }
            Effect::Note { cause, detail } => {
                self.note(cause, &detail);
                let (device, kind) = (&self.lane.id.device, self.lane.id.kind.as_str());
                metrics::counter!(crate::telemetry::DEVICE_MESSAGES_DROPPED, "cause" => cause).increment(1);
                debug!(device.id = %device, link.kind = kind, cause, detail, "A message of `{device}` changed nothing: {cause}");
            }
            Effect::Send(_) | Effect::Report(_) => {}
        }
    }
}
