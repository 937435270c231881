//! The id of a request.

#![expect(clippy::disallowed_methods, reason = "a request without an id gets one")]

use std::sync::Arc;

use axum::extract::Request;
use axum::http::HeaderName;
use uuid::Uuid;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Names one request in answers, logs and events. The caller's, if it is presentable.
#[derive(Clone, Debug)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    pub fn of(request: &Request) -> Self {
        let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(|id| presentable(id));
        Self(match given {
            Some(id) => id.into(),
            None => Uuid::new_v4().to_string().into(),
        })
    }
}

/// A request id ends up in log lines: a short word, or it is replaced.
fn presentable(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/'))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_request_id_that_could_forge_a_log_line_is_replaced() {
        for (id, kept) in [("abc-1", true), ("a b", false), ("a\tb", false), ("", false), ("{\"x\"", false)] {
            let mut request = Request::new(axum::body::Body::empty());
            request.headers_mut().insert(REQUEST_ID, HeaderValue::from_str(id).unwrap());
            assert_eq!(&*RequestId::of(&request).0 == id, kept, "{id:?}");
        }
    }
}
