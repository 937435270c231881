//! How a live stream is opened: a seat, a right that is looked at again, and headers that no proxy mistakes.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

use super::AppState;
use super::auth::{Caller, Identity, Right};
use super::problem::{Code, Problem};
use crate::streams::{Full, Kind, Lasting, Seat, open};

/// A client that missed more positions than these gets the present state instead.
const CATCH_UP_MAX: i64 = 100_000;

/// Where a client goes on that has heard up to there, if the log that ends at `head` can tell it what it missed.
pub fn resumed(headers: &HeaderMap, head: i64) -> Option<i64> {
    let last = headers.get("last-event-id")?.to_str().ok()?.trim().parse().ok()?;
    ((head - CATCH_UP_MAX).max(1)..=head).contains(&last).then_some(last)
}

/// After so many seconds a seat may be free.
const RETRY_AFTER_S: u64 = 5;

/// The buffers of nginx would hold events back.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A request for a stream.
pub struct Opening {
    pub caller: Caller,
    state: AppState,
    right: Right,
}

impl FromRequestParts<AppState> for Opening {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        Ok(Self { caller, state: state.clone(), right: Right::from_request_parts(parts, state).await? })
    }
}

impl Opening {
    /// Taken before anything is read.
    pub fn seat(&self, kind: Kind) -> Result<Seat, Problem> {
        let user = match (&self.caller.identity, self.caller.address()) {
            (Identity::Anonymous, Some(address)) => address.to_string(),
            (identity, _) => identity.name(),
        };
        self.state
            .live
            .seats
            .take(kind, &user)
            .map_err(|full| match full {
                Full::User => Problem::new(Code::TooManyStreams, "too many live streams are open for this caller; close one"),
                Full::Process => Problem::new(Code::Unavailable, "too many live streams are open here; try again later"),
            })
            .map_err(|problem| problem.retry_after(RETRY_AFTER_S))
    }

    /// `beat` is what is sent with each heartbeat.
    pub fn answer(
        self,
        seat: Seat,
        frames: impl Stream<Item = Bytes> + Send + 'static,
        beat: impl Fn() -> Bytes + Send + 'static,
    ) -> Response {
        let (live, right) = (&self.state.live, Arc::new(self.right));
        let lasting = Lasting {
            seat,
            heartbeat: live.heartbeat,
            beat: Box::new(beat),
            right: Box::new(move || {
                let right = right.clone();
                Box::pin(async move { right.holds().await })
            }),
            stop: live.stop.clone(),
        };
        let body = Body::from_stream(open(frames, lasting).map(Ok::<_, Infallible>));
        let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache"), (CONNECTION, "keep-alive"), (UNBUFFERED, "no")];
        (headers, body).into_response()
    }
}
