//! Asking for something whose outcome is delivered through the outbox, from any process: wait for it, or go and look later
//! (`Prefer`, RFC 7240). Knows nothing of what is asked for.

#![expect(clippy::disallowed_methods, reason = "an outcome is looked at again after a while, and a request gets an id")]

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use axum::extract::FromRequestParts;
use axum::http::header::{HeaderName, HeaderValue, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::broadcast;
use utoipa::ToSchema;
use uuid::Uuid;

use super::AppState;
use super::extract::Json;
use super::words::RequestStatusWord;
use crate::commands::Commands;
use crate::commands::waits::{WaitEnded, Waits};
use crate::domain::request::RequestStatus;
use crate::projections::reads::ReadError;
use crate::telemetry::chain;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Told where the outcome was settled; should that get lost, the table is looked at: often first, then less so.
const LOOK_FIRST: Duration = Duration::from_millis(25);
const LOOK_LATER: Duration = Duration::from_millis(250);

/// How a caller wants to be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefer {
    respond_async: bool,
    wait: Option<Duration>,
}

impl Prefer {
    /// Of a preference that stands twice the first one counts; what is not known, or makes no sense, is as if it were not there.
    fn of(headers: &HeaderMap) -> Self {
        let mut prefer = Self::default();
        let values = headers.get_all(&PREFER).into_iter().filter_map(|value| value.to_str().ok());
        for preference in values.flat_map(|value| value.split(',')) {
            // Parameters stand behind a semicolon, and none is known of these two.
            let said = preference.split(';').next().unwrap_or_default();
            let (name, value) = said.split_once('=').map_or((said, ""), |(name, value)| (name, value));
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"'));
            match name.as_str() {
                "respond-async" if value.is_empty() => prefer.respond_async = true,
                "wait" => prefer.wait = prefer.wait.or_else(|| value.parse::<u32>().ok().map(|s| Duration::from_secs(s.into()))),
                _ => {}
            }
        }
        prefer
    }

    /// After which time the caller wants to hear where to look. None: only the outcome will do.
    fn patience(self) -> Option<Duration> {
        self.wait.or_else(|| self.respond_async.then_some(Duration::ZERO))
    }

    /// Whether the caller may be gone when it is done.
    pub fn asynchronous(self) -> bool {
        self.patience().is_some()
    }

    /// Whether it waits at all.
    pub fn waits(self) -> bool {
        self.patience() != Some(Duration::ZERO)
    }

    fn applied(self) -> String {
        let words = [self.respond_async.then(|| "respond-async".to_owned()), self.wait.map(|wait| format!("wait={}", wait.as_secs()))];
        words.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Prefer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

/// A request that is accepted, and where to look what becomes of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Accepted {
    /// Names it in other requests.
    id: String,
    /// How it stands.
    #[schema(value_type = RequestStatusWord)]
    status: &'static str,
    /// Where to look; the same as the header `Location`.
    location: String,
    #[serde(skip)]
    applied: String,
}

impl Accepted {
    fn new(id: &str, prefer: Prefer) -> Self {
        let location = format!("/api/v1/requests/{id}");
        Self { id: id.to_owned(), status: RequestStatus::Pending.as_str(), location, applied: prefer.applied() }
    }
}

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        let headers = [(LOCATION, &self.location), (PREFERENCE_APPLIED, &self.applied)];
        let headers = headers.map(|(name, text)| (name, HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))));
        (StatusCode::ACCEPTED, headers, Json(self)).into_response()
    }
}

/// What is read of a request of some kind.
pub trait Outcome {
    fn status(&self) -> RequestStatus;
}

/// What a caller hears of a request.
pub enum Answer<T> {
    /// It is settled, as one with a known outcome or not.
    Settled(T),
    /// Where to look, because the caller does not want to wait longer.
    Later(Accepted),
    /// Nothing came within the limit.
    Nothing,
}

/// A caller that asks. It listens before it does, because it may be answered at once, and names the request, so that one that leaves
/// while it is stored has given up, too.
pub struct Asking {
    told: broadcast::Receiver<Arc<str>>,
    prefer: Prefer,
    give_up: Moment,
    wait: Wait,
}

impl Asking {
    /// `limit`: how long the outcome may take.
    pub fn begin(state: &AppState, prefer: Prefer, limit: Duration) -> Self {
        let end = if prefer.waits() { End::GivenUp } else { End::None };
        let wait = Wait { commands: state.commands.clone(), waits: state.waits.clone(), id: Uuid::new_v4().to_string(), end };
        Self { told: state.commands.listen(), prefer, give_up: Moment::now() + limit, wait }
    }

    /// What the request is to be called.
    pub fn id(&self) -> String {
        self.wait.id.clone()
    }

    /// It was refused at once.
    pub fn refused(mut self) {
        self.wait.end = End::None;
    }

    /// What the caller of request `id` hears. `look` reads how it stands.
    pub async fn answer<T: Outcome, F>(mut self, id: &str, look: impl Fn() -> F) -> Answer<T>
    where
        F: Future<Output = Result<Option<T>, ReadError>> + Send,
    {
        let prefer = self.prefer;
        let later = || Answer::Later(Accepted::new(id, prefer));
        if !prefer.waits() {
            return later();
        }
        // The same request as before, where it came with an `Idempotency-Key`.
        id.clone_into(&mut self.wait.id);
        // One that would wait longer than there is an answer hears what it would hear without a word.
        let enough = prefer.patience().map(|patience| Moment::now() + patience).filter(|enough| *enough < self.give_up);
        let until = enough.unwrap_or(self.give_up);
        let mut pause = LOOK_FIRST;
        loop {
            if Moment::now() >= until {
                if enough.is_none() && !prefer.respond_async {
                    return Answer::Nothing;
                }
                self.wait.end = End::Told;
                return later();
            }
            // Told where it is settled; else the table is looked at from time to time.
            let told = async {
                loop {
                    match self.told.recv().await {
                        Ok(told) if *told == *id => return,
                        Ok(_) => {}
                        // It may be among those that were missed.
                        Err(broadcast::error::RecvError::Lagged(_)) => return,
                        Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                    }
                }
            };
            let left = until.saturating_duration_since(Moment::now());
            tokio::select! { () = told => {}, () = tokio::time::sleep(pause.min(left)) => {} }
            pause = (pause * 2).min(LOOK_LATER);
            // It is on its way, whether or not it can be looked at just now.
            match look().await {
                Ok(Some(outcome)) if outcome.status().is_settled() => {
                    if outcome.status().is_known() {
                        self.wait.end = End::Told;
                    }
                    return Answer::Settled(outcome);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(request.asked = id, error = chain(&error), "Cannot look at what became of a request; looks again");
                }
            }
        }
    }
}

/// How a caller stops waiting.
enum End {
    /// There is nothing to wait for.
    None,
    /// The outcome, or where to look.
    Told,
    /// It is answered without an outcome, or not there any more.
    GivenUp,
}

/// A caller that waits, until it is dropped.
struct Wait {
    commands: Commands,
    waits: Waits,
    id: String,
    end: End,
}

impl Drop for Wait {
    fn drop(&mut self) {
        let given_up_at = match self.end {
            End::None => return,
            End::Told => None,
            End::GivenUp => Some(self.commands.now()),
        };
        self.waits.ended(WaitEnded { id: std::mem::take(&mut self.id), given_up_at });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefer(values: &[&'static str]) -> Prefer {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, HeaderValue::from_static(value));
        }
        Prefer::of(&headers)
    }

    #[test]
    fn a_caller_says_how_it_wants_to_be_answered() {
        let wait = |s: u64| Some(Duration::from_secs(s));
        for (values, patience, applied) in [
            (&[][..], None, ""),
            (&["respond-async"], wait(0), "respond-async"),
            (&["Respond-Async; x=y"], wait(0), "respond-async"),
            (&["wait=5"], wait(5), "wait=5"),
            (&["wait = \"5\""], wait(5), "wait=5"),
            (&["respond-async, wait=10"], wait(10), "respond-async, wait=10"),
            (&["wait=10", "respond-async"], wait(10), "respond-async, wait=10"),
            (&["wait=2, wait=9"], wait(2), "wait=2"),
            (&["return=minimal, handling=lenient"], None, ""),
            (&["wait=-1"], None, ""),
            (&["wait=soon, wait"], None, ""),
            (&["wait=99999999999"], None, ""),
            (&["respond-async=no"], None, ""),
        ] {
            let prefer = prefer(values);
            assert_eq!((prefer.patience(), prefer.applied().as_str()), (patience, applied), "{values:?}");
            assert_eq!(prefer.asynchronous(), patience.is_some());
        }
    }
}
