//! Bodies on their way in: how large they may be, and what is said of one that does not arrive.
//!
//! A route without a login takes little: no caller is known who could answer for the rest. [`limited`] stands in front of
//! everything that reads a body, so no handler has to think of it.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};

use super::AppState;
use super::policy::Policy;
use super::problem::{Code, Problem};
use crate::listener::TooSlow;

/// An account and a password, or two names, however they are escaped.
pub const NAMES_BYTES_MAX: usize = 16 << 10;
/// What a recorder tells of a recording: a few hundred topics.
pub const CALLBACK_BYTES_MAX: usize = 256 << 10;

/// How much a route takes.
fn bytes_max(policy: Option<&Policy>, setting: usize) -> usize {
    policy.and_then(|policy| policy.body_bytes_max).map_or(setting, |most| most.min(setting))
}

#[derive(Debug, thiserror::Error)]
#[error("the request body is larger than {0} bytes")]
struct TooLarge(usize);

/// A body that ends with an error where it is too large.
struct Limited {
    body: Body,
    left: usize,
    most: usize,
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
        };
        match self.left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Some(Err(Box::new(TooLarge(self.most))))),
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pub async fn limited(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let most = bytes_max(request.extensions().get(), state.settings.body_bytes_max);
    if request.body().size_hint().lower() > most as u64 {
        return too_large(most).into_response();
    }
    next.run(request.map(|body| Body::new(Limited { body, left: most, most }))).await
}

fn too_large(most: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, TooLarge(most).to_string()).with("bytes_max", most)
}

/// A whole body, or why there is none.
pub async fn whole(body: Body) -> Result<Bytes, Problem> {
    let error = match body.collect().await {
        Ok(collected) => return Ok(collected.to_bytes()),
        Err(error) => error,
    };
    let mut causes = std::iter::successors(Some(&error as &(dyn Error + 'static)), |error| (*error).source());
    let problem = causes.find_map(|cause| {
        let large = cause.downcast_ref::<TooLarge>().map(|TooLarge(most)| too_large(*most));
        large.or_else(|| cause.downcast_ref::<TooSlow>().map(|slow| Problem::new(Code::BodyTooSlow, slow.to_string())))
    });
    Err(problem.unwrap_or_else(|| Problem::invalid("the request body could not be read")))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;
    use crate::http::router::policies;

    #[tokio::test]
    async fn a_body_is_taken_up_to_its_limit() {
        for (bytes, status) in [(0, None), (10, None), (11, Some(413))] {
            let body = Body::new(Limited { body: Body::from(vec![b'x'; bytes]), left: 10, most: 10 });
            let answered = whole(body).await.map(|bytes| bytes.len()).map_err(|problem| problem.status().as_u16());
            assert_eq!(answered.err(), status, "{bytes}");
        }
        let of = |path, setting| bytes_max(Some(&policies().of(&Method::POST, path)), setting);
        assert_eq!(of("/api/v1/auth/login", 1 << 20), NAMES_BYTES_MAX);
        assert_eq!(of("/api/v1/auth/login", 100), 100);
        assert_eq!(of("/api/v1/orders", 1 << 20), 1 << 20);
    }
}
