//! Questions and messages for a device whose socket another process holds: the request goes there as it is, with
//! the caller's own login, and its answer comes back. Commands need none of this; they go through the outbox.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::warn;

use super::AppState;
use super::intake::whole;
use super::neighbours::{PASSED_ON, passed_on};
use super::policy::Policy;
use super::problem::{Code, Problem};
use crate::domain::DeviceId;
use crate::telemetry::chain;
use crate::telemetry::trace::{TRACE_PARENT, TraceParent};

pub async fn pass_on(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let Some(kind) = request.extensions().get::<Policy>().and_then(|policy| policy.passed_on) else {
        return next.run(request).await;
    };
    let Some(device) = request.uri().path().split('/').nth(4).and_then(|id| DeviceId::parse(id).ok()) else {
        return next.run(request).await;
    };
    if state.fleet.has(&device, kind) || request.headers().contains_key(&PASSED_ON) {
        return next.run(request).await;
    }
    match state.reads.process_with(&device, kind).await {
        Ok(Some(process)) => ask(&state, &process.address, request).await.unwrap_or_else(IntoResponse::into_response),
        Ok(None) => next.run(request).await,
        Err(error) => Problem::from(error).into_response(),
    }
}

async fn ask(state: &AppState, address: &str, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let body = whole(body).await?;
    let mut passed = passed_on(state.neighbours.request(parts.method, format!("{address}{target}")), &parts.headers).body(body);
    if let Some(span) = parts.extensions.get::<TraceParent>() {
        passed = passed.header(TRACE_PARENT, span.to_string());
    }
    let failed = |error: reqwest::Error| {
        warn!(error = chain(&error), "The process at {address}, which holds a device's socket, did not answer: {error}");
        Problem::new(Code::Unavailable, "the process that holds the device's socket does not answer; try again")
    };
    let answer = passed.send().await.map_err(failed)?;
    let mut response = Response::builder().status(answer.status());
    if let Some(value) = answer.headers().get(CONTENT_TYPE) {
        response = response.header(CONTENT_TYPE, value);
    }
    let bytes = answer.bytes().await.map_err(failed)?;
    response.body(Body::from(bytes)).map_err(|error| super::problem::failed(&error.into()))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use crate::domain::device::LinkKind;
    use crate::http::router::policies;

    #[test]
    fn only_what_needs_the_socket_itself_is_passed_on() {
        let socket_of = |method, route| policies().of(&method, route).passed_on;
        assert_eq!(socket_of(Method::GET, "/api/v1/recorder/{device_id}/stats"), Some(LinkKind::Recorder));
        assert_eq!(socket_of(Method::POST, "/api/v1/transfer/{device_id}/upload_all"), Some(LinkKind::Transfer));
        assert_eq!(socket_of(Method::POST, "/api/v1/recorder/{device_id}/begin"), None);
        for route in ["/api/v1/transfer/devices", "/metrics", ""] {
            assert_eq!(socket_of(Method::GET, route), None, "{route}");
        }
    }
}
