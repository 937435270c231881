//! The other processes of the site, and how they are asked: with the caller's own login, and a mark.

use std::time::Duration;

use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::request_id::REQUEST_ID;

/// On a request that was passed on: it is answered where it arrives, even where another process holds the socket by then.
pub const PASSED_ON: HeaderName = HeaderName::from_static("x-keystone-passed-on");

/// The processes of a site are close to each other.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

pub fn client() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().connect_timeout(CONNECT_WITHIN).redirect(reqwest::redirect::Policy::none()).no_proxy().build()?)
}

/// With the caller's own login, and marked.
pub fn passed_on(request: reqwest::RequestBuilder, headers: &HeaderMap) -> reqwest::RequestBuilder {
    let kept =
        [AUTHORIZATION, CONTENT_TYPE, ACCEPT, REQUEST_ID].into_iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone())));
    request.headers(kept.chain([(PASSED_ON, HeaderValue::from_static("1"))]).collect())
}
