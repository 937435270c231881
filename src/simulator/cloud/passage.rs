//! A request on its way to a service and back, and what befalls it there.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio_util::sync::CancellationToken;

use super::faults::{Fate, Operation};
use super::ledger::{Injected, Ledger, Place, Tally};
use super::switch::Switch;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;
pub type Answer = Response<UnsyncBoxBody<Bytes, Failure>>;

/// What answers requests behind a door.
#[async_trait::async_trait]
pub trait Service: Send + Sync + 'static {
    /// What a request is for, as far as its head says.
    fn operation(&self, head: &http::request::Parts) -> Operation;

    /// The key that the bytes of a request are for.
    fn place(&self, head: &http::request::Parts) -> Option<Place>;

    async fn serve(&self, request: Request<Arriving>) -> Answer;

    /// Refuses a request that comes too soon.
    fn slow_down(&self) -> Answer;

    /// Whether an answer says that its request was carried out.
    fn carried_out(&self, answer: &Answer) -> bool {
        answer.status().is_success()
    }

    fn protocol(&self) -> Protocol {
        Protocol::Http1
    }
}

/// Whether a request has a parameter, with a value or without.
pub fn has_parameter(head: &http::request::Parts, name: &str) -> bool {
    let query = head.uri.query().unwrap_or_default();
    query.split('&').any(|pair| pair.split('=').next() == Some(name))
}

/// What is spoken at a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    /// Without being asked, as gRPC is spoken where nothing is encrypted.
    Http2,
}

pub struct Passage {
    pub switch: Arc<Switch>,
    pub ledger: Arc<Ledger>,
    pub service: Box<dyn Service>,
}

impl Passage {
    /// Does not come back where `cut` ends the connection.
    pub async fn pass(&self, request: Request<Incoming>, cut: CancellationToken) -> Answer {
        let scissors = Scissors { cut, ledger: self.ledger.clone() };
        let (head, body) = request.into_parts();
        let operation = self.service.operation(&head);
        self.ledger.asked(operation);
        let serve = |body, left| {
            let body = Arriving { body, left, scissors: scissors.clone() };
            self.service.serve(Request::from_parts(head.clone(), body))
        };
        let answer = match self.switch.fate(operation) {
            Fate::Served => serve(body, None).await,
            Fate::SlowDown { retry_after } => {
                drain(body, self.service.place(&head).map(|place| Tally::new(&self.ledger, place))).await;
                self.slowed_down(retry_after)
            }
            Fate::Cut { after } => {
                let coming = body.size_hint().exact().unwrap_or_default();
                if coming > 0 {
                    serve(body, Some(part_of(coming, after))).await;
                    // It was answered before all that has to pass had passed.
                    return scissors.cut(Injected::CutConnection).await;
                }
                if operation != Operation::Read || head.method == Method::HEAD {
                    return scissors.cut(Injected::CutConnection).await;
                }
                let answer = serve(body, None).await;
                let going = answer.body().size_hint().exact().unwrap_or_default();
                answer.map(|body| Leaving { body, left: part_of(going, after), scissors }.boxed_unsync())
            }
            Fate::AnswerLost => {
                let answer = serve(body, None).await;
                if self.service.carried_out(&answer) {
                    return scissors.cut(Injected::LostAnswer(operation)).await;
                }
                answer
            }
        };
        let latency = self.switch.faults().latency;
        if latency > Duration::ZERO {
            tokio::time::sleep(latency).await;
        }
        answer
    }

    fn slowed_down(&self, retry_after: Option<Duration>) -> Answer {
        let mut answer = self.service.slow_down();
        match retry_after {
            None => self.ledger.injected(Injected::SlowDown),
            Some(time) => {
                self.ledger.injected(Injected::SlowDownWithRetryAfter);
                // Whole seconds, as the header has them.
                let seconds = time.as_millis().div_ceil(1000);
                answer.headers_mut().extend(HeaderValue::try_from(seconds.to_string()).ok().map(|value| (header::RETRY_AFTER, value)));
            }
        }
        answer
    }
}

/// Fewer than there are.
fn part_of(bytes: u64, share: f64) -> u64 {
    (bytes as f64 * share) as u64
}

/// Reads what comes: a peer that is still sending would not hear the answer.
pub async fn drain(body: impl Body<Data = Bytes> + Unpin, mut tally: Option<Tally>) {
    let mut body = body;
    while let Some(Ok(frame)) = body.frame().await {
        if let (Some(tally), Some(data)) = (&mut tally, frame.data_ref()) {
            tally.add(data.len());
        }
    }
}

/// Cuts a connection, once.
#[derive(Clone)]
struct Scissors {
    cut: CancellationToken,
    ledger: Arc<Ledger>,
}

impl Scissors {
    fn snip(&self, why: Injected) {
        if !self.cut.is_cancelled() {
            self.ledger.injected(why);
            self.cut.cancel();
        }
    }

    /// The connection ends while this waits.
    async fn cut(&self, why: Injected) -> Answer {
        self.snip(why);
        std::future::pending().await
    }
}

/// At most so many bytes of a frame, and what is left for those after it.
fn shortened(frame: Frame<Bytes>, left: &mut u64) -> Frame<Bytes> {
    match frame.into_data() {
        Ok(mut data) => {
            data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= data.len() as u64;
            Frame::data(data)
        }
        Err(trailers) => trailers,
    }
}

/// The body of a request. It may end in a cut.
pub struct Arriving {
    body: Incoming,
    /// How many bytes pass before the connection is cut.
    left: Option<u64>,
    scissors: Scissors,
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        if this.left == Some(0) {
            this.scissors.snip(Injected::CutConnection);
            return Poll::Pending;
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        Poll::Ready(match &mut this.left {
            Some(left) => frame.map(|frame| frame.map(|frame| shortened(frame, left))),
            None => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left != Some(0) && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer that ends in a cut.
struct Leaving {
    body: UnsyncBoxBody<Bytes, Failure>,
    left: u64,
    scissors: Scissors,
}

impl Body for Leaving {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = self.get_mut();
        if this.left == 0 {
            this.scissors.snip(Injected::CutConnection);
            return Poll::Pending;
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| shortened(frame, &mut this.left))))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
