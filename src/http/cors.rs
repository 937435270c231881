//! What pages of other origins may read: files that a link opens by itself.
//!
//! The link is all the right there is, so it does not matter whose page shows it, and no cookie or login goes with it.
//! Of every other route a browser keeps the answer from such pages.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::routes::Policies;

const ANY_ORIGIN: (HeaderName, HeaderValue) = (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));

/// What a page sees of an answer, also of a refusal.
const SEEN: (HeaderName, HeaderValue) = (
    ACCESS_CONTROL_EXPOSE_HEADERS,
    HeaderValue::from_static(
        "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Last-Modified, Retry-After, X-Request-Id",
    ),
);

/// Outside of everything else that answers: what is said of a refusal has to be readable as well.
pub async fn readable(State(policies): State<Arc<Policies>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    if !path.is_some_and(|path| policies.of(&Method::GET, path.as_str()).opened_by_link(request.uri())) {
        return next.run(request).await;
    }
    if request.method() == Method::OPTIONS {
        let allowed = [
            ANY_ORIGIN,
            (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD")),
            (ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Range, If-Range, If-None-Match, If-Modified-Since")),
            (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600")),
            SEEN,
        ];
        return (StatusCode::NO_CONTENT, allowed).into_response();
    }
    let mut response = next.run(request).await;
    response.headers_mut().extend([ANY_ORIGIN, SEEN]);
    response
}
