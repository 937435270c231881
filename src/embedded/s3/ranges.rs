//! Ranges that `s3s` refuses to read.
//!
//! To S3 a `Range` that is none is no `Range`, and one that asks for more than there is ends at the end, however many
//! digits it has. `s3s` answers both with 400, after it has judged signature and access. Such a request is then asked
//! once more inside this process, with the range as it is meant; it cannot be changed before, because it may be signed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{AUTHORIZATION, RANGE};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use s3s::Body;
use s3s::dto::Range;

/// Set on a request when its signer may do what it asks for.
#[derive(Clone, Debug, Default)]
pub struct Allowed(Arc<AtomicBool>);

impl Allowed {
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A look at an object with a range that has to be read otherwise.
pub struct Unread {
    allowed: Allowed,
    meant: Request<Body>,
}

impl Unread {
    pub fn of<B>(request: &mut Request<B>) -> Option<Self> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        let text = request.headers().get(RANGE)?.to_str().unwrap_or_default();
        let meant = meant(text);
        if meant.is_some() && Range::parse(text).ok() == meant {
            return None;
        }
        let meant = meant.map(|range| range.to_header_string()).and_then(|text| HeaderValue::try_from(text).ok());
        let mut again = Request::new(Body::empty());
        *again.method_mut() = request.method().clone();
        *again.uri_mut() = unsigned(request.uri());
        again.headers_mut().extend(request.headers().iter().map(|(name, value)| (name.clone(), value.clone())));
        for name in [AUTHORIZATION, RANGE] {
            again.headers_mut().remove(name);
        }
        again.headers_mut().extend(meant.map(|range| (RANGE, range)));
        let allowed = Allowed::default();
        request.extensions_mut().insert(allowed.clone());
        Some(Self { allowed, meant: again })
    }

    /// What to ask instead, where it was refused for its range alone.
    pub fn instead(self, refused: StatusCode) -> Option<Request<Body>> {
        // `bytes=-` is to `s3s` a range of nothing.
        let refused = matches!(refused, StatusCode::BAD_REQUEST | StatusCode::RANGE_NOT_SATISFIABLE);
        (refused && self.allowed.0.load(Ordering::Acquire)).then_some(self.meant)
    }
}

/// Without what signs a link.
fn unsigned(uri: &Uri) -> Uri {
    let kept: Vec<&str> = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.starts_with("X-Amz-")).collect();
    format!("{}?{}", uri.path(), kept.join("&")).parse().unwrap_or_else(|_| uri.clone())
}

/// One range of bytes; numbers as large as are told apart. Nothing where it is none.
fn meant(text: &str) -> Option<Range> {
    let (unit, range) = text.split_once('=')?;
    let (first, last) = range.split_once('-').filter(|_| unit.eq_ignore_ascii_case("bytes"))?;
    match (first, last) {
        ("", length) => Some(Range::Suffix { length: number(length)? }),
        (first, "") => Some(Range::Int { first: number(first)?, last: None }),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Range::Int { first, last: Some(last) })
        }
    }
}

fn number(text: &str) -> Option<u64> {
    // No object is larger, and `s3s` knows no larger numbers.
    const MAX: u64 = i64::MAX as u64;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(MAX).min(MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_it_is_meant() {
        let max = i64::MAX;
        for (text, expected) in [
            ("bytes=0-18446744073709551616", Some(format!("bytes=0-{max}"))),
            ("bytes=18446744073709551616-", Some(format!("bytes={max}-"))),
            ("bytes=-18446744073709551616", Some(format!("bytes=-{max}"))),
            ("Bytes=0-1", Some("bytes=0-1".to_owned())),
            ("bytes=2-1", None),
            ("bytes=0-1,3-4", None),
            ("items=0-1", None),
            ("bytes=-", None),
            ("bytes=+1-2", None),
            ("", None),
        ] {
            assert_eq!(meant(text).map(|range| range.to_header_string()), expected, "{text}");
        }
        let signed: Uri = "/b/k?partNumber=1&X-Amz-Signature=00&versionId=null&X-Amz-Date=x".parse().unwrap();
        assert_eq!(unsigned(&signed), "/b/k?partNumber=1&versionId=null");
    }
}
