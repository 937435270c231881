//! Who is asking, and whether they may.
//!
//! [`guard`] stands in front of every route there is, and a route is closed unless its policy
//! opens it. Several kinds of token are signed with one secret; each says which kind it is, and
//! none works as another.
//!
//! - [`identity`]: who there is.
//! - [`right`]: the same question again, while a stream lasts.
//! - [`tokens`], [`keys`]: signing and checking.
//! - [`login`], [`me`]: `/auth/login`, `/auth/me`, `/auth/logout`.
//! - [`passwords`]: hashing and comparing them.

#![expect(clippy::disallowed_methods, reason = "a request that names no correlation gets one")]

pub mod access;
mod identity;
pub mod keys;
pub mod login;
pub mod me;
pub mod passwords;
mod right;
pub mod tokens;

use identity::Login;
pub use identity::{Identity, Role};
pub use right::Right;

use std::net::IpAddr;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::extract::PathDevice;
use super::noted::Noted;
use super::policy::{Access, Policy, Reach};
use super::problem::{Code, Problem};
use super::request::source_address;
use super::request_id::RequestId;
use super::{AppState, AuthMode};
use crate::commands::{Context, IdempotencyKey};
use crate::domain::episode::QaStatus;
use crate::domain::{Actor, Scope, SessionId};
use crate::listener::ProxyItself;
use crate::projections::reads::ReadError;
use crate::projections::reads::credentials::{Holder, Proof, Subject};
use crate::projections::reads::episodes::EpisodeShown;
use crate::telemetry::trace::TraceParent;

/// The stream that browsers follow. Their `EventSource` can send no header of its choice, but it sends
/// cookies: a login sets one that is good for this route and no other.
pub const STREAM_ROUTE: &str = "/api/v1/device-state/stream";
pub const STREAM_COOKIE: &str = "keystone_stream";

/// What secrets of subscriptions begin with, and no login.
const WEBHOOK_SECRET: &str = "whsec_";

/// The value of the stream's cookie.
fn stream_cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).into_iter().filter_map(|cookies| cookies.to_str().ok());
    let pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find_map(|(name, value)| (name == STREAM_COOKIE).then_some(value))
}

/// Who asks, and whether the route is for them.
pub async fn guard(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    // What matches no route is answered with 404 behind us, and there is nothing else there.
    let Some(policy) = request.extensions().get::<Policy>().copied() else { return next.run(request).await };
    let address = source_address(request.extensions()).map(|address| address.ip());
    let (login, scope) = match let_in(&state, &policy, request.headers(), request.uri()).await {
        Ok(who) => who,
        Err(problem) => return problem.into_response(),
    };
    let new_place = note_use(&state, &policy, &login, address).await;
    let mut response = match policy.lies_within(&scope) {
        Err(problem) => problem.of(&login.identity).into_response(),
        Ok(()) => {
            let extensions = request.extensions_mut();
            extensions.insert(Proven(login.proof));
            extensions.insert(login.identity);
            extensions.insert(scope);
            next.run(request).await
        }
    };
    if let Some(whose) = new_place {
        response.extensions_mut().insert(Noted::key(whose));
    }
    response
}

/// What proves a request's login.
#[derive(Clone)]
struct Proven(Option<Proof>);

async fn let_in(state: &AppState, policy: &Policy, headers: &HeaderMap, uri: &Uri) -> Result<(Login, Scope), Problem> {
    let login = admitted(state, policy, headers, uri)?;
    if !needs_a_login(policy) {
        return Ok((login, Scope::Everything));
    }
    let ended = || match login.identity {
        Identity::Key { .. } => Problem::new(Code::Unauthenticated, "the API key is not valid any more: it was revoked, or has expired"),
        _ => Problem::new(
            Code::Unauthenticated,
            "the login has ended: by a person, or its account is not active, or has another password or role",
        ),
    };
    let scope = standing(state, &login.identity, login.proof.as_ref()).await?.ok_or_else(ended)?;
    Ok((login, scope))
}

/// Elsewhere a login is neither needed nor enough, and what is answered does not depend on it.
fn needs_a_login(policy: &Policy) -> bool {
    !matches!(policy.access, Access::Open | Access::Link)
}

/// What the caller sees and changes, where the login is still good for it.
async fn standing(state: &AppState, identity: &Identity, proof: Option<&Proof>) -> Result<Option<Scope>, ReadError> {
    match (identity.holder(), proof) {
        // What a process signed for itself is asked of nobody.
        (Some(Holder::Administrator), Some(Proof::Token { session: None, .. })) => Ok(Some(Scope::Everything)),
        (Some(holder), Some(proof)) => state.reads.standing(&holder, proof, state.commands.now()).await,
        // Displays of the settings, and who is let in without a login.
        (None, _) => Ok(Some(Scope::Everything)),
        (Some(_), None) => Ok(None),
    }
}

/// When a key was used last is worth knowing, and not worth a refusal. Answers whose key it is, where it was shown from an address for the first time.
async fn note_use(state: &AppState, policy: &Policy, login: &Login, address: Option<IpAddr>) -> Option<Subject> {
    let Identity::Key { id, .. } = login.identity else { return None };
    if !needs_a_login(policy) || state.logins.key_uses.count(&(id, address)).is_err() {
        return None;
    }
    let whose = login.identity.holder()?.subject();
    match state.commands.note_api_key_use(id, whose, address).await {
        Ok(new_place) => new_place.then_some(whose),
        Err(error) => {
            tracing::warn!(key.id = %id, error = format!("{error:#}"), "Cannot note that the API key {id} was used: {error:#}");
            None
        }
    }
}

/// Who asks, where the route is for them.
fn admitted(state: &AppState, policy: &Policy, headers: &HeaderMap, uri: &Uri) -> Result<Login, Problem> {
    let login = identify(state, policy, headers, uri)?;
    policy.admits(&login.identity)?;
    Ok(login)
}

fn identify(state: &AppState, policy: &Policy, headers: &HeaderMap, uri: &Uri) -> Result<Login, Problem> {
    let now = state.commands.now();
    let cookie = stream_cookie(headers).filter(|_| policy.takes_cookie && !headers.contains_key(AUTHORIZATION));
    let shown = display_token(headers).filter(|_| policy.is_for_screens());
    let login = match (cookie, shown) {
        (Some(cookie), _) => state.tokens.identify_stream(cookie, now),
        (None, Some(shown)) => display(state, shown),
        (None, None) => state.tokens.identify(headers.get(AUTHORIZATION), now),
    };
    let compat = state.settings.auth_mode == AuthMode::Compat;
    login.or_else(|problem| match policy.access {
        Access::Open => Ok(Login::NONE),
        Access::LoginUnlessCompat if compat => Ok(Login::NONE),
        Access::LoginOrLink | Access::Link if policy.opened_by_link(uri) => Ok(Login::NONE),
        Access::LoginOrSecret if secret_of(headers).is_some() => Ok(Login::NONE),
        Access::LoginUnlessCompat | Access::LoginOrLink | Access::LoginOrSecret | Access::Link | Access::Login => Err(problem),
    })
}

/// What a display shows: `Authorization: Display <token>`.
fn display_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("display").then_some(token.trim())
}

fn display(state: &AppState, shown: &str) -> Result<Login, Problem> {
    if let Some(login) = keys::read(shown) {
        return Ok(login);
    }
    let known = state.settings.display_token.as_deref();
    if known.is_some_and(|known| passwords::same(shown, known)) {
        return Ok(Login { identity: Identity::Display, proof: None });
    }
    Err(Problem::new(Code::Unauthenticated, "the token of the display is not the one of this site, or displays are switched off here"))
}

/// The secret of a subscription, where the request shows one.
pub fn secret_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ").filter(|token| token.starts_with(WEBHOOK_SECRET))
}

/// A data collector operates the robot of their own station, and no other.
pub async fn own_robot(State(state): State<AppState>, request: Request, next: Next) -> Response {
    if request.extensions().get::<Policy>().is_none_or(|policy| policy.reach != Reach::OwnRobot) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    match must_be_own(&state, &mut parts).await {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(problem) => problem.into_response(),
    }
}

async fn must_be_own(state: &AppState, parts: &mut Parts) -> Result<(), Problem> {
    let Some(Identity::Collector { id, .. }) = parts.extensions.get::<Identity>() else { return Ok(()) };
    let id = *id;
    let PathDevice(device) = PathDevice::from_request_parts(parts, state).await?;
    let station = state.reads.current_station_of(id).await?;
    if station.is_some_and(|station| station.own.robot_serial == device) {
        return Ok(());
    }
    Err(Problem::new(Code::NotYourDevice, format!("the robot {device} does not belong to your station")))
}

/// A rejected recording is shown to those who judge recordings, and to nobody else. The one place
/// that says who may see the files of an episode.
pub fn must_see(role: Option<Role>, episode: &EpisodeShown) -> Result<(), Problem> {
    match role {
        Some(Role::DataCollector) if episode.own.qa_status == QaStatus::Rejected => {
            Err(Problem::new(Code::Forbidden, "the episode was rejected; its files are for administrators and inspectors"))
        }
        Some(Role::Display) => Err(Problem::new(Code::Forbidden, "a display shows no recordings")),
        Some(Role::Admin | Role::ProductionManager | Role::DataCollector | Role::DataInspector | Role::Auditor) | None => Ok(()),
    }
}

/// The request's author and circumstances, for handlers and for the metadata of events.
#[derive(Clone, Debug)]
pub struct Caller {
    pub identity: Identity,
    pub scope: Scope,
    /// What proves the login.
    proof: Option<Proof>,
    request_id: String,
    source_address: Option<String>,
    /// Whether that is the caller's own, and not that of a proxy of ours.
    established: bool,
    idempotency: Option<IdempotencyKey>,
    trace_parent: Option<TraceParent>,
}

impl Caller {
    pub fn context(&self) -> Context {
        Context { scope: self.scope.clone(), ..self.context_as(self.identity.actor()) }
    }

    /// The session of the login.
    pub fn session(&self) -> Option<SessionId> {
        self.proof.as_ref().and_then(Proof::session)
    }

    /// Whether the login is good now: where a route is open to all, nobody has asked. Where the database does not answer, nothing is changed either.
    async fn stands(&self, state: &AppState) -> bool {
        standing(state, &self.identity, self.proof.as_ref()).await.is_ok_and(|scope| scope.is_some())
    }

    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    pub fn idempotency(&self) -> Option<&IdempotencyKey> {
        self.idempotency.as_ref()
    }

    pub fn address(&self) -> Option<IpAddr> {
        self.source_address.as_deref().and_then(|address| address.parse().ok())
    }

    /// The address, where it proves something.
    pub fn established_address(&self) -> Option<IpAddr> {
        self.address().filter(|_| self.established)
    }

    /// The same where a device speaks through the caller.
    pub fn context_as(&self, actor: Actor) -> Context {
        Context {
            actor,
            scope: Scope::Everything,
            correlation_id: Uuid::new_v4(),
            cause: None,
            request_id: Some(self.request_id.clone()),
            source_address: self.source_address.clone(),
            idempotency: self.idempotency.clone(),
            trace_parent: self.trace_parent,
        }
    }

    pub fn must_see(&self, episode: &EpisodeShown) -> Result<(), Problem> {
        must_see(self.identity.role(), episode)
    }

    /// Whether they judge recordings: what was salvaged of one that failed is for them, and for nobody else.
    pub fn judges(&self) -> bool {
        match self.identity.role() {
            Some(Role::Admin | Role::ProductionManager | Role::DataInspector | Role::Auditor) => true,
            Some(Role::DataCollector | Role::Display) | None => false,
        }
    }

    pub fn must_judge(&self) -> Result<(), Problem> {
        match self.judges() {
            true => Ok(()),
            false => Err(Problem::new(Code::Forbidden, "what was salvaged is for administrators and inspectors")),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Both are put there before any handler runs; without them no caller is let through.
        let identity = parts.extensions.get::<Identity>().cloned();
        let scope = parts.extensions.get::<Scope>().cloned();
        let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.to_string());
        let (Some(identity), Some(scope), Some(request_id)) = (identity, scope, request_id) else {
            return Err(Problem::new(Code::Unauthenticated, "a login is required"));
        };
        Ok(Self {
            scope,
            identity,
            proof: parts.extensions.get::<Proven>().and_then(|Proven(proof)| proof.clone()),
            request_id,
            source_address: source_address(&parts.extensions).map(|address| address.ip().to_string()),
            established: parts.extensions.get::<ProxyItself>().is_none(),
            idempotency: parts.extensions.get::<IdempotencyKey>().cloned(),
            trace_parent: parts.extensions.get::<TraceParent>().copied(),
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;
    use crate::http::router::policies;

    #[test]
    fn a_route_that_nobody_thought_of_is_closed() {
        for (method, route) in [
            (Method::GET, "/api/v1/orders"),
            (Method::POST, "/api/v1/health"),
            (Method::GET, "/api/v1/callbacks/start"),
            (Method::GET, "/api/v1/docsomething"),
            (Method::DELETE, "/api/v1/anything"),
        ] {
            assert_eq!(policies().of(&method, route).access, Access::LoginUnlessCompat, "{method} {route}");
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
            assert_eq!(policies().of(&Method::GET, route).access, Access::Login);
        }
    }
}
