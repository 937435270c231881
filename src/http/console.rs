//! `/`: the console for a person who typed the address, and `ok` for a balancer that knows no other path.
//!
//! The page and its parts were built from `src/console` and are compiled in. Their names carry what is in them, so that browsers
//! keep them for good; the page itself is asked for each time. Each is packed once, when it is first asked for packed.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{LazyLock, OnceLock};

use axum::extract::Path;
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "src/console/dist"]
struct Built;

const PAGE: &str = "index.html";

/// Nothing from elsewhere, nothing that stands in the page itself, and no page around ours. Pictures that were fetched with the
/// login are shown as `blob:`.
const CONTENT_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// One file, as it is sent.
struct Part {
    content_type: HeaderValue,
    etag: HeaderValue,
    plain: Bytes,
    packed: OnceLock<Option<Bytes>>,
}

impl Part {
    /// Where packing saves anything.
    fn packed(&self) -> Option<&Bytes> {
        self.packed.get_or_init(|| gzip(&self.plain).filter(|packed| packed.len() < self.plain.len())).as_ref()
    }
}

static PARTS: LazyLock<HashMap<String, Part>> = LazyLock::new(|| {
    let part = |name: &str| {
        let file = Built::get(name)?;
        let plain = match file.data {
            std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            std::borrow::Cow::Owned(bytes) => bytes.into(),
        };
        let etag = format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..16]));
        let content_type = HeaderValue::from_str(file.metadata.mimetype()).ok()?;
        Some((name.to_owned(), Part { content_type, etag: HeaderValue::from_str(&etag).ok()?, plain, packed: OnceLock::new() }))
    };
    Built::iter().filter_map(|name| part(&name)).collect()
});

fn gzip(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// Whether the list of a header has the word, and does not refuse it with `q=0`.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        parts.next().is_some_and(|first| first.eq_ignore_ascii_case(word))
            && !parts.any(|part| part.strip_prefix("q=").is_some_and(|weight| weight.trim().parse().is_ok_and(|weight: f32| weight <= 0.0)))
    })
}

/// The console for browsers, `ok` for all others.
pub async fn door(method: Method, headers: HeaderMap) -> Response {
    if method == Method::GET && lists(&headers, &ACCEPT, "text/html") {
        return answer(PAGE, &headers);
    }
    ([(CACHE_CONTROL, HeaderValue::from_static("no-store")), (VARY, HeaderValue::from_static("accept"))], "ok\n").into_response()
}

/// A part of the page.
pub async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    answer(&format!("assets/{name}"), &headers)
}

pub async fn icon(headers: HeaderMap) -> Response {
    answer("icon.svg", &headers)
}

fn answer(name: &str, headers: &HeaderMap) -> Response {
    let Some(part) = PARTS.get(name) else {
        // Of another version of the program: the page has to be loaded again.
        return (StatusCode::NOT_FOUND, [(CACHE_CONTROL, HeaderValue::from_static("no-store"))], "404 page not found").into_response();
    };
    let kept = if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let said = [
        (CACHE_CONTROL, HeaderValue::from_static(kept)),
        (VARY, HeaderValue::from_static("accept, accept-encoding")),
        (ETAG, part.etag.clone()),
        (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    ];
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|tags| tags.to_str().ok());
    let known = known.flat_map(|tags| tags.split(',')).any(|tag| tag.trim().trim_start_matches("W/").as_bytes() == part.etag.as_bytes());
    if known {
        return (StatusCode::NOT_MODIFIED, said).into_response();
    }
    let content_type = [(CONTENT_TYPE, part.content_type.clone())];
    let packed = if lists(headers, &ACCEPT_ENCODING, "gzip") { part.packed().cloned() } else { None };
    match packed {
        Some(packed) => (said, content_type, [(CONTENT_ENCODING, HeaderValue::from_static("gzip"))], packed).into_response(),
        None => (said, content_type, part.plain.clone()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    fn asked(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    async fn text(response: Response) -> String {
        String::from_utf8(to_bytes(response.into_body(), 1 << 22).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_browser_gets_the_page_and_a_balancer_ok() {
        let browser = asked(&[(ACCEPT, "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")]);
        let page = door(Method::GET, browser.clone()).await;
        assert_eq!(page.headers()[CONTENT_TYPE], "text/html");
        assert!(text(page).await.contains("<title>Keystone Edge</title>"));
        for probe in [asked(&[]), asked(&[(ACCEPT, "*/*")]), asked(&[(ACCEPT, "application/json")]), asked(&[(ACCEPT, "text/html;q=0")])] {
            assert_eq!(text(door(Method::GET, probe).await).await, "ok\n");
        }
        assert_eq!(text(door(Method::HEAD, browser).await).await, "ok\n");
    }

    #[tokio::test]
    async fn parts_are_kept_for_good_and_the_page_is_asked_for_each_time() {
        let page = text(door(Method::GET, asked(&[(ACCEPT, "text/html")])).await).await;
        let script = page.split("src=\"./").nth(1).and_then(|rest| rest.split('"').next()).expect("a script, relative to the page");
        let name = script.strip_prefix("assets/").unwrap();
        let part = asset(Path(name.into()), asked(&[(ACCEPT_ENCODING, "br, gzip")])).await;
        assert_eq!(part.headers()[CONTENT_ENCODING], "gzip");
        assert_eq!(part.headers()[CACHE_CONTROL], "public, max-age=31536000, immutable");
        let etag = part.headers()[ETAG].clone();
        let mut again = asked(&[]);
        again.insert(IF_NONE_MATCH, etag);
        assert_eq!(asset(Path(name.into()), again).await.status(), StatusCode::NOT_MODIFIED);
        let page = door(Method::GET, asked(&[(ACCEPT, "text/html")])).await;
        assert_eq!(page.headers()[CACHE_CONTROL], "no-cache");
        for elsewhere in ["../index.html", "..%2findex.html", "nothing.js", ""] {
            assert_eq!(asset(Path(elsewhere.into()), asked(&[])).await.status(), StatusCode::NOT_FOUND, "{elsewhere}");
        }
    }

    #[tokio::test]
    async fn nothing_unsafe_is_allowed_to_the_page() {
        let page = door(Method::GET, asked(&[(ACCEPT, "text/html")])).await;
        let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(page.headers()[X_FRAME_OPTIONS], "DENY");
        let page = text(page).await;
        assert!(!page.contains("<style") && !page.contains("style=") && !page.contains("://"), "{page}");
    }

    #[test]
    fn the_first_load_is_small() {
        let first = PARTS.iter().filter(|(name, _)| *name == PAGE || name.starts_with("assets/index-"));
        let bytes: usize = first.map(|(_, part)| part.packed().map_or(part.plain.len(), Bytes::len)).sum();
        assert!((1..150_000).contains(&bytes), "{bytes} bytes");
    }
}
