//! The bytes of an episode's file on their way out: whole or in ranges, as they were verified.
//!
//! Who may have them is decided before, by [`storage`](super::storage) and [`viewer`](super::viewer).

use std::ops::Range;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, LAST_MODIFIED, RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::auth::tokens::TokenError;
use super::location::{Location, percent_encode};
use super::objects::ObjectFacts;
use super::problem::{Code, Problem};
use crate::blobs::same_etag;
use crate::domain::Timestamp;
use crate::projections::reads::episodes::EpisodeShown;

/// By what right a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Login,
    Link,
    /// A viewer reads in ranges, for hours.
    Viewer,
}

/// How a file is asked for.
pub struct Asking {
    pub method: Method,
    pub headers: HeaderMap,
}

/// Why a link does not open what was asked for.
pub fn link_refused(error: TokenError) -> Problem {
    match error {
        TokenError::Expired => Problem::new(Code::DownloadTokenExpired, "the link has expired"),
        TokenError::Invalid => Problem::new(Code::DownloadTokenInvalid, "the link is not valid for this object"),
    }
}

/// What is known of the object that lies there, which is the one that was verified.
pub async fn verified(state: &AppState, episode: &EpisodeShown, location: &Location) -> Result<ObjectFacts, Problem> {
    let facts = state.objects.head(&location.object).await.map_err(|error| store_failed(&error))?.ok_or_else(object_not_found)?;
    refuse_if_replaced(episode, &location.path(), &facts)?;
    Ok(facts)
}

/// The file of an episode that lies there.
pub async fn serve(state: &AppState, episode: &EpisodeShown, location: &Location, way: Way, asking: Asking) -> Result<Response, Problem> {
    let (key, Asking { method, headers }) = (location.object.as_str(), asking);
    let facts = verified(state, episode, location).await?;
    let mut answer = HeaderMap::new();
    let mut put = |name: HeaderName, text: String| HeaderValue::from_str(&text).map(|value| answer.insert(name, value)).is_ok();
    put(ACCEPT_RANGES, "bytes".to_owned());
    // A kept copy is asked for again before it is shown: what may be read changes.
    put(CACHE_CONTROL, "private, no-cache".to_owned());
    if let Some(etag) = &facts.etag {
        put(ETAG, format!("\"{}\"", etag.trim_matches('"')));
    }
    if let Some(at) = facts.last_modified {
        put(LAST_MODIFIED, http_date(at));
    }
    if unchanged(&headers, &facts) {
        return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
    }
    let wanted = headers.get(RANGE).filter(|_| range_is_of_this(&headers, &facts));
    let (status, range) = match asked(wanted, facts.size_bytes) {
        Asked::Part(range) => {
            put(CONTENT_RANGE, format!("bytes {}-{}/{}", range.start, range.end - 1, facts.size_bytes));
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Asked::Whole => (StatusCode::OK, 0..facts.size_bytes),
        Asked::Several if way == Way::Viewer => (StatusCode::OK, 0..facts.size_bytes),
        Asked::Several | Asked::Unsatisfiable => {
            put(CONTENT_RANGE, format!("bytes */{}", facts.size_bytes));
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, answer).into_response());
        }
    };
    put(CONTENT_TYPE, facts.content_type.clone().unwrap_or_else(|| "application/octet-stream".to_owned()));
    put(CONTENT_LENGTH, (range.end - range.start).to_string());
    put(CONTENT_DISPOSITION, disposition(way, key));
    let body = if range.is_empty() || method == Method::HEAD {
        Body::empty()
    } else {
        Body::from_stream(state.objects.read(key, range, facts.etag.as_deref()).await.map_err(|error| store_failed(&error))?)
    };
    Ok((status, answer, body).into_response())
}

/// The file is named as it is in the store, without its folders: for old programs as far as that goes in ASCII, and whole
/// for all others.
fn disposition(way: Way, key: &str) -> String {
    let kind = if way == Way::Login { "inline" } else { "attachment" };
    let name = key.rsplit('/').next().unwrap_or(key);
    let plain = |c: char| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ' { c } else { '_' };
    format!("{kind}; filename=\"{}\"; filename*=UTF-8''{}", name.chars().map(plain).collect::<String>(), percent_encode(name))
}

/// Whether a range is meant of the file as it is now. One that continues another file is answered whole.
fn range_is_of_this(headers: &HeaderMap, facts: &ObjectFacts) -> bool {
    let Some(condition) = headers.get(IF_RANGE) else { return true };
    let Ok(text) = condition.to_str().map(str::trim) else { return false };
    if text.starts_with('"') {
        return facts.etag.as_deref().is_some_and(|etag| same_etag(etag, text));
    }
    facts.last_modified.is_some_and(|at| http_date(at) == text)
}

/// A recording is served as it was verified, or not at all. A copy that was restored may have another entity tag.
fn refuse_if_replaced(episode: &EpisodeShown, path: &str, facts: &ObjectFacts) -> Result<(), Problem> {
    let has = |verified: &str| facts.etag.as_deref().is_some_and(|etag| same_etag(etag, verified));
    let same_tag = || episode.own.etag.as_deref().is_none_or(has);
    let same_claim = || facts.claimed_sha256.as_deref() == Some(episode.own.checksum.as_str());
    let same_size = episode.own.file_size_bytes.0 == facts.size_bytes;
    if episode.own.mcap_path != path || (same_size && (same_tag() || same_claim())) {
        return Ok(());
    }
    Err(Problem::new(Code::ObjectReplaced, "the object was replaced after it had been verified"))
}

/// Which bytes are asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(Range<u64>),
    Several,
    Unsatisfiable,
}

fn asked(header: Option<&HeaderValue>, size: u64) -> Asked {
    let Some(header) = header else { return Asked::Whole };
    let list = header.to_str().ok().and_then(|text| text.trim().split_once('='));
    let list = list.filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes"));
    let ranges: Option<Vec<_>> = list.and_then(|(_, list)| list.split(',').map(|one| range_of(one.trim(), size)).collect());
    match ranges.as_deref() {
        Some([range]) if range.start < range.end => Asked::Part(range.clone()),
        Some([_, _, ..]) => Asked::Several,
        _ => Asked::Unsatisfiable,
    }
}

/// One range, as it is written; one that holds nothing where there are no such bytes.
fn range_of(text: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = text.split_once('-')?;
    // More digits than a number has name a place beyond every end.
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = |text: &str| digits(text).then(|| text.parse::<u64>().unwrap_or(u64::MAX));
    Some(match (first, last) {
        ("", count) => size.saturating_sub(number(count)?)..size,
        (first, "") => number(first)?..size,
        (first, last) => number(first)?..number(last)?.saturating_add(1).min(size),
    })
}

fn http_date(at: Timestamp) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn unchanged(headers: &HeaderMap, facts: &ObjectFacts) -> bool {
    if let Some(wanted) = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()) {
        let wanted = wanted.trim().trim_start_matches("W/");
        return facts.etag.as_deref().is_some_and(|etag| same_etag(etag, wanted));
    }
    let since = headers.get(IF_MODIFIED_SINCE).and_then(|value| value.to_str().ok());
    let since = since.and_then(|text| chrono::DateTime::parse_from_rfc2822(text).ok());
    since.zip(facts.last_modified).is_some_and(|(since, modified)| modified.timestamp() <= since.timestamp())
}

pub fn object_not_found() -> Problem {
    Problem::new(Code::ObjectNotFound, "object not found")
}

pub fn store_failed(error: &anyhow::Error) -> Problem {
    tracing::error!(error = format!("{error:#}"), "The object store failed: {error:#}");
    Problem::new(Code::ObjectStoreFailed, "the object store failed; try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_served_and_everything_else_is_unsatisfiable() {
        let of = |text: &str, size| asked(Some(&HeaderValue::from_str(text).unwrap()), size);
        assert_eq!(asked(None, 10), Asked::Whole);
        assert_eq!(of("bytes=0-0", 10), Asked::Part(0..1));
        assert_eq!(of("bytes=4-", 10), Asked::Part(4..10));
        assert_eq!(of("bytes=-3", 10), Asked::Part(7..10));
        assert_eq!(of("bytes=-30", 10), Asked::Part(0..10));
        assert_eq!(of("bytes=5-99", 10), Asked::Part(5..10));
        // As many digits as one likes.
        assert_eq!(of("bytes=0-18446744073709551616", 10), Asked::Part(0..10));
        assert_eq!(of("bytes=-99999999999999999999999", 10), Asked::Part(0..10));
        assert_eq!(of("Bytes=4-", 10), Asked::Part(4..10));
        assert_eq!(of("bytes=18446744073709551616-18446744073709551617", 10), Asked::Unsatisfiable);
        for bad in ["bytes=10-", "bytes=5-4", "items=0-1", "bytes=-0", "bytes=a-b", "bytes=-", "bytes=+1-2"] {
            assert_eq!(of(bad, 10), Asked::Unsatisfiable, "{bad}");
        }
        assert_eq!(of("bytes=0-", 0), Asked::Unsatisfiable);
        for list in ["bytes=0-1,3-4", "bytes=0-1, -3", "Bytes=4-,0-1"] {
            assert_eq!(of(list, 10), Asked::Several, "{list}");
        }
        for bad in ["bytes=0-1,", "bytes=,", "bytes=0-1,a-b", "items=0-1,3-4", "bytes=-,-"] {
            assert_eq!(of(bad, 10), Asked::Unsatisfiable, "{bad}");
        }
    }

    #[test]
    fn a_client_that_has_the_object_already_is_told_so() {
        let at = chrono::DateTime::from_timestamp(1_790_000_000, 5).unwrap();
        let facts =
            ObjectFacts { size_bytes: 1, etag: Some("abc".into()), content_type: None, claimed_sha256: None, last_modified: Some(at) };
        let with = |name, value: &str| HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]);
        assert!(unchanged(&with(IF_NONE_MATCH, "\"abc\""), &facts));
        assert!(!unchanged(&with(IF_NONE_MATCH, "\"abd\""), &facts));
        assert!(unchanged(&with(IF_MODIFIED_SINCE, &http_date(at)), &facts));
        assert!(!unchanged(&with(IF_MODIFIED_SINCE, &http_date(at - chrono::TimeDelta::seconds(1))), &facts));
    }

    #[test]
    fn a_range_of_another_file_is_none_of_this_one() {
        let at = chrono::DateTime::from_timestamp(1_790_000_000, 5).unwrap();
        let facts =
            ObjectFacts { size_bytes: 1, etag: Some("abc".into()), content_type: None, claimed_sha256: None, last_modified: Some(at) };
        let of_this = |value: &str| range_is_of_this(&HeaderMap::from_iter([(IF_RANGE, HeaderValue::from_str(value).unwrap())]), &facts);
        assert!(range_is_of_this(&HeaderMap::new(), &facts));
        assert!(of_this("\"abc\"") && of_this(&http_date(at)));
        // A weak tag is good for no range.
        for other in ["\"abd\"", "W/\"abc\"", "abc", &http_date(at - chrono::TimeDelta::seconds(1)), ""] {
            assert!(!of_this(other), "{other:?}");
        }
    }

    #[test]
    fn a_file_has_its_own_name_without_its_folders() {
        assert_eq!(
            disposition(Way::Link, "Factory Shanghai/AB/task_1.mcap"),
            "attachment; filename=\"task_1.mcap\"; filename*=UTF-8''task_1.mcap"
        );
        let odd = disposition(Way::Login, "a/工 \"50%\".mcap");
        assert_eq!(odd, "inline; filename=\"_ _50__.mcap\"; filename*=UTF-8''%E5%B7%A5%20%2250%25%22.mcap");
    }
}
