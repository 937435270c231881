//! `/`: where a person who typed the address finds the way, and what a balancer asks that knows no other path.

use axum::http::header::{ACCEPT, CACHE_CONTROL, LOCATION, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// Relative: a proxy may have put a path before ours.
const DESCRIPTION: HeaderValue = HeaderValue::from_static("api/v1/docs/");

/// Leads browsers to the description of the interface; says `ok` to all others.
pub async fn door(headers: HeaderMap) -> Response {
    let page = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"));
    // It will lead to something else one day.
    let kept = [(CACHE_CONTROL, HeaderValue::from_static("no-store")), (VARY, HeaderValue::from_static("accept"))];
    if page { (StatusCode::FOUND, kept, [(LOCATION, DESCRIPTION)]).into_response() } else { (kept, "ok\n").into_response() }
}
