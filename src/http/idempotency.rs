//! `Idempotency-Key`, on `POST` and where else a policy takes it: the same request again gets the first answer again, for a day.
//!
//! Kept are answers that say what was done, or that a rule said no. What may be otherwise in
//! a moment is not kept: failures, lost races, a login that is missing, the state of a device.
//! Of a caller without a login nothing is kept that was refused, so that only what they may do fills
//! the table; their keys count per address, and are theirs on that address only.
//! Logging in and callbacks take no key: the one answers with a secret, the others are
//! recognised by what they say.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::AppState;
use super::auth::Identity;
use super::intake::whole;
use super::made::Incomplete;
use super::policy::{Key, Policy};
use super::problem::{Code, Problem, render};
use super::request::source_address;
use super::request_id::RequestId;
use crate::commands::idempotency::{IdempotencyKey, KeptAnswer};
use crate::listener::one_caller;

pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Characters of a key.
const KEY_MAX: usize = 255;
/// A longer path is kept as its hash.
const PATH_BYTES_MAX: usize = 512;
/// Longer answers are not kept; the outcome of the command is.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// For keeping an answer, which must not keep the caller waiting for it.
const KEEP_TIMEOUT: Duration = Duration::from_secs(3);

fn worth_keeping(status: StatusCode, code: Option<&str>, key: Key, known: bool) -> bool {
    let decided = matches!(status.as_u16(), 400 | 404 | 409) && code.is_some_and(|code| code != Code::LostRace.as_str());
    match key {
        Key::NotTaken => false,
        Key::Answer => status.is_success() || (known && decided),
        // What was only accepted is no success yet; the command's outcome keeps which request it is.
        Key::SuccessOnly => status.is_success() && status != StatusCode::ACCEPTED,
        Key::RefusalOnly => known && decided,
    }
}

/// Who asks, and for what; of a caller without a login, from where.
fn scope_of(who: &Identity, parts: &Parts) -> String {
    let from = match (who, source_address(&parts.extensions)) {
        (Identity::Anonymous, Some(address)) => format!("@{}", one_caller(address.ip())),
        _ => String::new(),
    };
    let path = match parts.uri.path() {
        path if path.len() <= PATH_BYTES_MAX => path.to_owned(),
        path => format!("sha256:{}", hex::encode(Sha256::digest(path))),
    };
    format!("{}{from} {} {path}", who.name(), parts.method)
}

pub async fn idempotent(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let policy = request.extensions().get::<Policy>().copied().filter(Policy::takes_key);
    let Some((policy, given)) = policy.zip(request.headers().get(&IDEMPOTENCY_KEY).cloned()) else {
        return next.run(request).await;
    };
    match with_key(&state, &given, &policy, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn with_key(state: &AppState, given: &HeaderValue, policy: &Policy, request: Request, next: Next) -> Result<Response, Problem> {
    let key = given.to_str().ok().filter(|key| (1..=KEY_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()));
    let key = key.ok_or_else(|| {
        Problem::new(Code::IdempotencyKeyInvalid, format!("an Idempotency-Key is 1 to {KEY_MAX} visible ASCII characters"))
    })?;
    let (mut parts, body) = request.into_parts();
    let who = parts.extensions.get::<Identity>().cloned().unwrap_or(Identity::Anonymous);
    let known = who != Identity::Anonymous;
    if !known {
        let address = source_address(&parts.extensions).map(|address| address.ip());
        state.anonymous_keys.attempt("", address, state.commands.now()).map_err(|wait_s| {
            Problem::new(Code::IdempotencyThrottled, "too many Idempotency-Keys from this address without a login").retry_after(wait_s)
        })?;
    }
    let body = whole(body).await?;
    let mut asked = Sha256::new();
    for part in [parts.uri.query().unwrap_or_default().as_bytes(), b"\n", &body] {
        asked.update(part);
    }
    let key = IdempotencyKey { scope: scope_of(&who, &parts), key: key.to_owned(), fingerprint: asked.finalize().into() };
    if let Some(kept) = state.commands.kept_answer(&key).await? {
        metrics::counter!(crate::telemetry::IDEMPOTENT_REPLAYS).increment(1);
        return Ok(sent_again(kept));
    }
    let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_else(|| "".into());
    parts.extensions.insert(key.clone());
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;

    let code = response.extensions().get::<Problem>().map(Problem::code);
    if !worth_keeping(response.status(), code, policy.key, known) || response.extensions().get::<Incomplete>().is_some() {
        return Ok(response);
    }
    // Written here already, with the id of this request: that is what is sent again.
    let (parts, body) = render(response, policy.error_key, &request_id).into_parts();
    let body = to_bytes(body, usize::MAX).await.map_err(|error| super::problem::failed(&anyhow::Error::new(error)))?;
    if body.len() <= ANSWER_BYTES_MAX {
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let answer = KeptAnswer { status: parts.status.as_u16(), content_type, body: body.to_vec() };
        // What was done is kept with its events; only the text of the answer is not.
        match tokio::time::timeout(KEEP_TIMEOUT, state.commands.keep_answer(&key, &answer)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("Cannot keep the answer to a request with an Idempotency-Key: {error:#}"),
            Err(_) => tracing::warn!("Could not keep the answer to a request with an Idempotency-Key in time"),
        }
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn sent_again(kept: KeptAnswer) -> Response {
    let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, kept.body).into_response();
    let headers = response.headers_mut();
    headers.remove(CONTENT_TYPE);
    if let Ok(content_type) = HeaderValue::from_str(&kept.content_type)
        && !kept.content_type.is_empty()
    {
        headers.insert(CONTENT_TYPE, content_type);
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use axum::extract::ConnectInfo;
    use axum::http::Method;

    use super::*;
    use crate::http::router::policies;

    #[test]
    fn only_decisions_are_kept() {
        let key_of = |route| policies().of(&Method::POST, route).key;
        let keep = |status, code, route| worth_keeping(StatusCode::from_u16(status).unwrap(), code, key_of(route), true);
        let orders = "/api/v1/orders";
        for (status, code, kept) in [
            (201, None, true),
            (400, Some("name_taken"), true),
            (409, Some("order_not_open"), true),
            (404, Some("batch_not_found"), true),
            (409, Some("lost_race"), false),
            (404, None, false),
            (401, Some("unauthenticated"), false),
            (403, Some("forbidden"), false),
            (422, Some("idempotency_key_reused"), false),
            (500, Some("internal"), false),
            (503, Some("unavailable"), false),
        ] {
            assert_eq!(keep(status, code, orders), kept, "{status} {code:?}");
        }
        assert!(!keep(409, Some("recorder_busy"), "/api/v1/recorder/{device_id}/begin"));
        assert!(keep(200, None, "/api/v1/recorder/{device_id}/begin"));
        assert!(!keep(202, None, "/api/v1/recorder/{device_id}/begin"));
        assert!(!keep(201, None, "/api/v1/devices/register"));
        let stranger = |status, code| worth_keeping(StatusCode::from_u16(status).unwrap(), code, key_of(orders), false);
        assert!(stranger(201, None) && !stranger(404, Some("factory_not_found")) && !stranger(400, Some("invalid_request")));
    }

    #[test]
    fn a_key_belongs_to_a_caller_and_a_path_and_takes_little_room() {
        let scope = |who: &Identity, from: [u8; 4], path: &str| {
            let mut request = Request::builder().method("POST").uri(path).body(Body::empty()).unwrap();
            request.extensions_mut().insert(ConnectInfo(std::net::SocketAddr::from((from, 1))));
            scope_of(who, &request.into_parts().0)
        };
        let (here, there) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        assert_eq!(scope(&Identity::Admin, here, "/a"), scope(&Identity::Admin, there, "/a"), "a person may move");
        assert_ne!(scope(&Identity::Anonymous, here, "/a"), scope(&Identity::Anonymous, there, "/a"));
        let long = |end: &str| scope(&Identity::Admin, here, &format!("/{}{end}", "x".repeat(10_000)));
        assert!(long("a").len() < 100 && long("a") != long("b"));
    }

    #[test]
    fn secrets_and_devices_callbacks_take_no_key() {
        let takes_key = |method: &Method, route| policies().of(method, route).takes_key();
        assert!(takes_key(&Method::POST, "/api/v1/orders"));
        for (method, route) in
            [(Method::PUT, "/api/v1/orders/{id}"), (Method::POST, "/api/v1/auth/login"), (Method::POST, "/api/v1/callbacks/start")]
        {
            assert!(!takes_key(&method, route), "{method} {route}");
        }
    }
}
