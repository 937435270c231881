//! What happens around every request: it gets an id, a span, a deadline and a line in the
//! log; it is counted; a panic becomes an answer; a problem becomes a body.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::body::HttpBody as _;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::ORIGIN;
use axum::http::{HeaderValue, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tracing::Instrument;

use super::policy::Policy;
use super::problem::{Code, Problem, render};
use super::request_id::{REQUEST_ID, RequestId};
use super::{AppState, metrics};
use crate::listener::ForeignOrigin;
use crate::telemetry::trace::{Span, SpanKind, TRACE_PARENT, TraceParent};
use crate::telemetry::{brief, without_token};

/// Where a request came from: its connection, or what a proxy that is trusted said of it.
pub fn source_address(extensions: &axum::http::Extensions) -> Option<SocketAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}

/// A route that waits for a device, or for objects to be read, may take as long as that, beyond what every route may.
fn deadline(state: &AppState, policy: &Policy) -> Duration {
    let settings = &state.settings;
    if policy.waits_for_device {
        // Once for a refresh of the state, once for the command itself.
        let command = settings.device_response_timeout.max(settings.device_finish_timeout);
        settings.request_timeout + settings.device_response_timeout + command
    } else if policy.reads_objects {
        settings.request_timeout + settings.qa_timeout
    } else {
        settings.request_timeout
    }
}

pub async fn around(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = RequestId::of(&request);
    let method = request.method().clone();
    let path = without_token(request.uri().path());
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let policy = request.extensions().get::<Policy>().copied().unwrap_or(Policy::READ);
    let source = source_address(request.extensions()).map(|address| address.to_string());
    request.extensions_mut().insert(id.clone());
    let given = request.headers().get(TRACE_PARENT).and_then(|given| given.to_str().ok()).and_then(TraceParent::parse);
    let mut traced = Span::begin(SpanKind::Server, given, || format!("{} {route}", brief(method.as_str())));
    request.extensions_mut().insert(traced.own());

    let headless = method == axum::http::Method::HEAD && !policy.takes_head();
    let trace_id = traced.own().trace_id();
    let span =
        tracing::info_span!("request", request.id = %id.0, trace.id = trace_id, http.method = %brief(method.as_str()), http.route = %route);
    let limit = deadline(&state, &policy) + if request.body().is_end_stream() { Duration::ZERO } else { state.settings.read_timeout };
    let counted = metrics::InFlight::enter();
    let answer = AssertUnwindSafe(tokio::time::timeout(limit, async {
        if request.extensions().get::<ForeignOrigin>().is_some() {
            return foreign_origin(&request);
        }
        if headless { unmatched(method.clone(), request.uri().clone()).await } else { next.run(request).await }
    }))
    .catch_unwind()
    .instrument(span.clone())
    .await;
    drop(counted);

    let _entered = span.enter();
    let response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            let text = format!("no answer within {} s; the outcome is unknown", limit.as_secs());
            Problem::new(Code::RequestTimeout, text).retry_after(2).into_response()
        }
        Err(panic) => {
            let reason = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
            super::problem::failed(&anyhow::anyhow!("panic: {}", reason.as_deref().unwrap_or("without a message"))).into_response()
        }
    };
    let code = response.extensions().get::<Problem>().map(Problem::code);
    let mut response = render(response, policy.error_key, &id.0);
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(REQUEST_ID, value);
    }

    let status = response.status().as_u16();
    let elapsed = started.elapsed();
    metrics::request(&method, &route, status, elapsed);
    let duration_ms = (elapsed.as_secs_f64() * 1e6).round() / 1e3;
    let (method, path) = (brief(method.as_str()), brief(&path));
    // Probes and scrapes come every few seconds and say nothing new.
    if policy.probe && status == 200 {
        traced.forget();
        tracing::debug!(http.status = status, duration_ms, "Answered {method} {path} with {status}");
    } else {
        end(traced, &method.to_string(), &route, status, code, &id);
        tracing::info!(http.status = status, duration_ms, code, source, "Answered {method} {path} with {status}");
    }
    response
}

fn end(mut span: Span, method: &str, route: &str, status: u16, code: Option<&str>, id: &RequestId) {
    span.set("http.request.method", method);
    span.set("http.route", route);
    span.set("http.response.status_code", i64::from(status));
    span.set("keystone.request_id", &*id.0);
    if let Some(code) = code {
        span.set("error.type", code);
    }
    if status >= 500 {
        span.failed(code.unwrap_or("failed"));
    }
}

/// The header that made it so stands in the request, so its sender may read it again.
fn foreign_origin(request: &Request) -> Response {
    let origin = request.headers().get(ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or("(not text)");
    let text = format!("pages of {} may not ask for this; `http.allowed_origins` names those that may", brief(origin));
    Problem::new(Code::OriginRefused, text).into_response()
}

/// No route: plain text, and a trailing slash is sent to where the route may be.
pub async fn unmatched(method: axum::http::Method, uri: Uri) -> Response {
    let path = uri.path();
    let slashless = path.trim_end_matches('/');
    // `//host` would lead away from here.
    if path.ends_with('/') && slashless.len() > 1 && !slashless.starts_with("//") {
        let target = uri.query().map_or_else(|| slashless.to_owned(), |query| format!("{slashless}?{query}"));
        let status = if method == axum::http::Method::GET {
            axum::http::StatusCode::MOVED_PERMANENTLY
        } else {
            axum::http::StatusCode::TEMPORARY_REDIRECT
        };
        if let Ok(location) = HeaderValue::from_str(&target) {
            return (status, [(axum::http::header::LOCATION, location)]).into_response();
        }
    }
    (axum::http::StatusCode::NOT_FOUND, "404 page not found").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_trailing_slash_leads_to_the_path_without_it_and_never_elsewhere() {
        use axum::http::Method;
        let moved = unmatched(Method::GET, "/api/v1/orders/?limit=1".parse().unwrap()).await;
        assert_eq!((moved.status().as_u16(), moved.headers()["location"].to_str().unwrap()), (301, "/api/v1/orders?limit=1"));
        assert_eq!(unmatched(Method::POST, "/api/v1/orders/".parse().unwrap()).await.status(), 307);
        assert_eq!(unmatched(Method::GET, "//evil.example/".parse().unwrap()).await.status(), 404);
        assert_eq!(unmatched(Method::GET, "/nothing".parse().unwrap()).await.status(), 404);
    }
}
