//! Who is asking, and whether they may.
//!
//! [`guard`] stands in front of every route there is, and a route is closed unless [`access`]
//! names it. Two kinds of token are signed with one secret; each says which kind it is, and
//! neither works as the other.
//!
//! - [`tokens`]: signing and checking.
//! - [`login`]: `/auth/login`, `/auth/me`, `/auth/logout`.
//! - [`throttle`]: how often a login may be tried.

#![expect(clippy::disallowed_methods, reason = "a request that names no correlation gets one")]

pub mod login;
pub mod throttle;
pub mod tokens;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::problem::{Code, Problem};
use super::request::{RequestId, source_address};
use super::{AppState, AuthMode};
use crate::commands::{Context, IdempotencyKey};
use crate::domain::episode::QaStatus;
use crate::domain::{Actor, CollectorId, DeviceId};
use crate::listener::ProxyItself;
use crate::projections::reads::episodes::EpisodeRow;

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    Admin,
    Collector {
        id: CollectorId,
        operator_id: String,
    },
    /// Nobody in particular: a route without login.
    Anonymous,
}

impl Identity {
    /// One word for each who can ask.
    pub fn name(&self) -> String {
        match self {
            Identity::Admin => "admin".to_owned(),
            Identity::Collector { id, .. } => format!("collector:{id}"),
            Identity::Anonymous => "anonymous".to_owned(),
        }
    }
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Open,
    /// Whoever is logged in; anybody in `compat` mode, as in older deployments.
    LoginUnlessCompat,
    /// Whoever is logged in.
    Login,
    /// A signed link, or a login. The route looks at the link itself.
    LoginOrLink,
}

/// The stream that browsers follow. Their `EventSource` can send no header of its choice, but it sends
/// cookies: a login sets one that is good for this route and no other.
pub const STREAM_ROUTE: &str = "/api/v1/device-state/stream";
pub const STREAM_COOKIE: &str = "keystone_stream";

/// The value of the stream's cookie.
fn stream_cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).into_iter().filter_map(|cookies| cookies.to_str().ok());
    let pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find_map(|(name, value)| (name == STREAM_COOKIE).then_some(value))
}

/// The one list of routes that differ from "closed".
pub fn access(method: &Method, route: &str) -> Access {
    let read = method == Method::GET || method == Method::HEAD;
    match route {
        "/metrics" | "/api/v1/health" | "/api/v1/ready" | "/api/v1/openapi.json" if read => Access::Open,
        "/api/v1/auth/login" | "/api/v1/auth/logout" if method == Method::POST => Access::Open,
        "/api/v1/callbacks/start" | "/api/v1/callbacks/finish" if method == Method::POST => Access::Open,
        "/api/v1/devices/register" if method == Method::POST => Access::Open,
        "/api/v1/robot_types/{id}/configs/{filename}" if read => Access::Open,
        docs if read && (docs == "/api/v1/docs" || docs.starts_with("/api/v1/docs/")) => Access::Open,
        "/api/v1/storage/object" if read => Access::LoginOrLink,
        // Closed in older deployments too.
        "/api/v1/auth/me"
        | "/api/v1/episodes/{id}/presign"
        | "/api/v1/storage/presign"
        | "/api/v1/batches/{id}/complete-tasks"
        | "/api/v1/tasks/statistics/breakdown"
        | "/api/v1/robots/{id}/ws-client-auth-token/rotate"
        | "/api/v1/robot_types/{id}/config_templates"
        | "/api/v1/robot_types/{id}/config_templates/{filename}" => Access::Login,
        _ => Access::LoginUnlessCompat,
    }
}

pub async fn guard(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    // What matches no route is answered with 404 behind us, and there is nothing else there.
    let Some(route) = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned()) else {
        return next.run(request).await;
    };
    let (headers, now) = (request.headers(), state.commands.now());
    let cookie = stream_cookie(headers).filter(|_| route == STREAM_ROUTE && !headers.contains_key(AUTHORIZATION));
    let identity = match cookie {
        Some(cookie) => state.tokens.identify_stream(cookie, now),
        None => state.tokens.identify(headers.get(AUTHORIZATION), now),
    };
    let compat = state.settings.auth_mode == AuthMode::Compat;
    let linked = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("dl_token=")));
    let identity = match (access(request.method(), &route), identity) {
        (_, Ok(identity)) => identity,
        (Access::Open, Err(_)) => Identity::Anonymous,
        (Access::LoginUnlessCompat, Err(_)) if compat => Identity::Anonymous,
        (Access::LoginOrLink, Err(_)) if linked => Identity::Anonymous,
        (_, Err(problem)) => return problem.into_response(),
    };
    request.extensions_mut().insert(identity);
    next.run(request).await
}

/// The request's author and circumstances, for handlers and for the metadata of events.
#[derive(Clone, Debug)]
pub struct Caller {
    pub identity: Identity,
    request_id: String,
    source_address: Option<String>,
    /// Whether that is the caller's own, and not that of a proxy of ours.
    established: bool,
    idempotency: Option<IdempotencyKey>,
    trace_parent: Option<String>,
}

impl Caller {
    pub fn context(&self) -> Context {
        self.context_as(match &self.identity {
            Identity::Admin => Actor::Admin,
            Identity::Collector { id, .. } => Actor::Collector(*id),
            // Only in `compat` mode; the source address is all that is known.
            Identity::Anonymous => Actor::System,
        })
    }

    pub fn idempotency(&self) -> Option<&IdempotencyKey> {
        self.idempotency.as_ref()
    }

    pub fn address(&self) -> Option<std::net::IpAddr> {
        self.source_address.as_deref().and_then(|address| address.parse().ok())
    }

    /// The address, where it proves something.
    pub fn established_address(&self) -> Option<std::net::IpAddr> {
        self.address().filter(|_| self.established)
    }

    pub fn context_as(&self, actor: Actor) -> Context {
        Context {
            actor,
            correlation_id: Uuid::new_v4(),
            cause: None,
            request_id: Some(self.request_id.clone()),
            source_address: self.source_address.clone(),
            idempotency: self.idempotency.clone(),
            trace_parent: self.trace_parent.clone(),
        }
    }

    /// A rejected recording is shown to those who judge recordings, and to nobody else. The one place
    /// that says who may see the files of an episode.
    pub fn must_see(&self, episode: &EpisodeRow) -> Result<(), Problem> {
        match &self.identity {
            Identity::Collector { .. } if episode.qa_status == QaStatus::Rejected => {
                Err(Problem::new(Code::Forbidden, "the episode was rejected; its files are for administrators and inspectors"))
            }
            Identity::Admin | Identity::Collector { .. } | Identity::Anonymous => Ok(()),
        }
    }

    /// Master data, orders and batches are made by administrators.
    pub fn must_manage(&self) -> Result<(), Problem> {
        match &self.identity {
            Identity::Admin | Identity::Anonymous => Ok(()),
            Identity::Collector { .. } => Err(Problem::new(Code::Forbidden, "this needs the role admin")),
        }
    }

    /// A data collector operates the robot of their own station, and no other.
    pub async fn must_operate(&self, state: &AppState, device: &DeviceId) -> Result<(), Problem> {
        let Identity::Collector { id, .. } = &self.identity else { return Ok(()) };
        let station = state.reads.current_station_of(*id).await?;
        if station.is_some_and(|station| station.robot_serial == device.as_str()) {
            return Ok(());
        }
        Err(Problem::new(Code::NotYourDevice, format!("the robot {device} does not belong to your station")))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let header = |name: &str, most: usize| {
            parts.headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| (1..=most).contains(&text.len())).map(str::to_owned)
        };
        // Both are put there before any handler runs; without them nobody is let through.
        let identity = parts.extensions.get::<Identity>().cloned();
        let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.to_string());
        let (Some(identity), Some(request_id)) = (identity, request_id) else {
            return Err(Problem::new(Code::Unauthenticated, "a login is required"));
        };
        Ok(Self {
            identity,
            request_id,
            source_address: source_address(&parts.extensions).map(|address| address.ip().to_string()),
            established: parts.extensions.get::<ProxyItself>().is_none(),
            idempotency: parts.extensions.get::<IdempotencyKey>().cloned(),
            trace_parent: header("traceparent", 64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_nobody_thought_of_is_closed() {
        for (method, route) in [
            (Method::GET, "/api/v1/orders"),
            (Method::POST, "/api/v1/health"),
            (Method::GET, "/api/v1/callbacks/start"),
            (Method::GET, "/api/v1/docsomething"),
            (Method::DELETE, "/api/v1/anything"),
        ] {
            assert_eq!(access(&method, route), Access::LoginUnlessCompat, "{method} {route}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(stream_cookie(&headers), None);
        headers.append(COOKIE, "theme=dark; not_keystone_stream=x".parse().unwrap());
        assert_eq!(stream_cookie(&headers), None);
        headers.append(COOKIE, "a=b;keystone_stream=e.y.J; c".parse().unwrap());
        assert_eq!(stream_cookie(&headers), Some("e.y.J"));
    }

    #[test]
    fn compat_opens_nothing_that_was_closed_before() {
        for route in ["/api/v1/auth/me", "/api/v1/episodes/{id}/presign", "/api/v1/storage/presign"] {
            assert_eq!(access(&Method::GET, route), Access::Login);
        }
    }
}
