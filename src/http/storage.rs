//! `/storage/object`: bytes of an episode's files, whole or in ranges.
//!
//! What may be read: objects of episodes, in the factory's own bucket; not the recording of
//! an episode that failed its checks. A signed link names exactly one object.

use std::ops::Range;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
    RANGE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::tokens::{ObjectClaims, TokenError};
use super::auth::{Caller, Identity};
use super::extract::{Json, Params};
use super::objects::ObjectFacts;
use super::policy::Policy;
use super::problem::{Code, Problem};
use super::routes::Routes;
use crate::blobs::same_etag;
use crate::domain::episode::QaStatus;
use crate::domain::{Scope, Timestamp};
use crate::projections::reads::episodes::EpisodeShown;

pub fn routes() -> Routes {
    Routes::default().at(Policy::READ.closed(), routes!(presign)).at(Policy::READ.or_link(), routes!(object))
}

/// Where an object lies: a bucket and a key that cannot lead out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub bucket: String,
    pub object: String,
}

impl Location {
    fn new(bucket: &str, object: &str) -> Option<Self> {
        let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = bucket.as_bytes();
        let fits = (3..=63).contains(&bytes.len()) && bytes.iter().all(|b| alphanumeric(*b) || matches!(b, b'.' | b'-'));
        let ends = bytes.first().is_some_and(|b| alphanumeric(*b)) && bytes.last().is_some_and(|b| alphanumeric(*b));
        if !fits || !ends || bucket.contains("..") {
            return None;
        }
        Some(Self { bucket: bucket.to_owned(), object: clean_key(object)? })
    }

    /// What a request can mean, the more literal first: some clients encode the name of an object twice, and some
    /// names look as if they were.
    pub fn readings(bucket: &str, object: &str) -> Result<Vec<Self>, Problem> {
        let decoded = object.contains('%').then(|| percent_decode(object)).flatten();
        let readings: Vec<_> =
            [Some(object.to_owned()), decoded].into_iter().flatten().filter_map(|object| Self::new(bucket, &object)).collect();
        if readings.is_empty() {
            return Err(Problem::new(Code::InvalidLocation, "the bucket or the object is not one that there can be"));
        }
        Ok(readings)
    }

    /// From a stored path: `<bucket>/<key>`, or a key of `ours`.
    pub fn of_path(path: &str, ours: &str) -> Result<Self, Problem> {
        let path = path.trim_start_matches('/');
        let path = path.strip_prefix("s3/").unwrap_or(path);
        let key = path.strip_prefix(ours).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path);
        Self::new(ours, key).ok_or_else(|| Problem::new(Code::InvalidLocation, "the stored path is not one that an object can have"))
    }

    pub fn path(&self) -> String {
        format!("{}/{}", self.bucket, self.object)
    }
}

/// A key without dot segments, or nothing where it would leave its bucket or confuse a store.
fn clean_key(key: &str) -> Option<String> {
    if key.starts_with('/') || key.len() > 1024 || key.chars().any(|c| c.is_control() || c == '\\') {
        return None;
    }
    let mut segments: Vec<&str> = vec![];
    for segment in key.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop()?;
            }
            // Names of factories are free text, so more has to pass than the letters of links.
            _ => segments.push(segment),
        }
    }
    (!segments.is_empty()).then(|| segments.join("/"))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |b: &u8| char::from(*b).to_digit(16);
                bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
                rest = tail;
            }
            (b'%', _) => return None,
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

pub fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
        encoded
    })
}

/// A path on this server that works without a login, for one object and a quarter of an hour.
pub fn signed_link(state: &AppState, location: Location) -> String {
    let (bucket, object) = (percent_encode(&location.bucket), percent_encode(&location.object));
    let claims = ObjectClaims { bucket: location.bucket, object: location.object };
    let token = state.tokens.link(claims, state.commands.now());
    format!("/api/v1/storage/object?bucket={bucket}&dl_token={token}&object={object}")
}

fn object_not_found() -> Problem {
    Problem::new(Code::ObjectNotFound, "object not found")
}

/// The first of these that is an episode's.
async fn found(state: &AppState, scope: &Scope, readings: Vec<Location>) -> Result<(Location, EpisodeShown), Problem> {
    for location in readings.into_iter().filter(|reading| reading.bucket == state.settings.bucket) {
        if let Some(episode) = state.reads.episode_of_object(scope, &location.path()).await? {
            return Ok((location, episode));
        }
    }
    Err(object_not_found())
}

/// A recording that failed its checks stays where it is.
pub fn refuse_if_blocked(episode: &EpisodeShown, path: &str) -> Result<(), Problem> {
    if episode.own.qa_status != QaStatus::Failed || episode.own.mcap_path != path {
        return Ok(());
    }
    let problem = Problem::new(Code::EpisodeBlocked, "the recording failed its checks and cannot be downloaded");
    Err(match &episode.own.quality_flag {
        Some(flag) => problem.with("quality_flag", flag.clone()),
        None => problem,
    })
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
    Unsatisfiable,
}

fn asked(header: Option<&HeaderValue>, size: u64) -> Asked {
    let Some(header) = header else { return Asked::Whole };
    let part = header.to_str().ok().and_then(|text| text.trim().split_once('=')).and_then(|(unit, spec)| {
        let (first, last) = spec.trim().split_once('-').filter(|_| unit.eq_ignore_ascii_case("bytes"))?;
        // More digits than a number has name a place beyond every end.
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = |text: &str| digits(text).then(|| text.parse::<u64>().unwrap_or(u64::MAX));
        match (first, last) {
            ("", last) => number(last).filter(|count| *count > 0).map(|count| size.saturating_sub(count)..size),
            (first, "") => number(first).map(|first| first..size),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then(|| first..last.saturating_add(1).min(size))
            }
        }
    });
    match part {
        Some(range) if range.start < range.end => Asked::Part(range),
        _ => Asked::Unsatisfiable,
    }
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

#[derive(Debug, Serialize, ToSchema)]
pub struct StoreLink {
    /// `/s3/<bucket>/<object>?<signature>`: the proxy in front of the pages leads `/s3/` to the object store.
    url: String,
}

/// Seconds for which a link to the object store can be asked.
const LIFETIME_MAX_S: u64 = 3600;
const LIFETIME_DEFAULT_S: u64 = 600;

/// A link to an object at the object store itself, for callers that reach it through a proxy.
#[utoipa::path(get, path = "/api/v1/storage/presign", tag = "storage", params(
    ("bucket" = String, Query),
    ("object" = String, Query),
    ("expires_seconds" = Option<u64>, Query, description = "1 to 3600, default 600"),
), responses(
    (status = 200, body = StoreLink),
    (status = 400, description = "Not a bucket, not an object, or not a lifetime"),
    (status = 404, description = "No episode has this object"),
    (status = 409, description = "The episode failed its checks"),
))]
pub async fn presign(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<StoreLink>, Problem> {
    let readings = Location::readings(params.exact("bucket"), params.exact("object"))?;
    let lifetime = match params.text("expires_seconds") {
        None => LIFETIME_DEFAULT_S,
        Some(text) => text
            .parse()
            .ok()
            .filter(|seconds| (1..=LIFETIME_MAX_S).contains(seconds))
            .ok_or_else(|| Problem::invalid(format!("expires_seconds must be between 1 and {LIFETIME_MAX_S}")))?,
    };
    let (location, episode) = found(&state, &caller.scope, readings).await?;
    refuse_if_blocked(&episode, &location.path())?;
    caller.must_see(&episode)?;
    let signed = state.objects.presign(&location.object, Duration::from_secs(lifetime)).await.map_err(|error| store_failed(&error))?;
    let url = at_proxy(&signed).ok_or_else(|| store_failed(&anyhow::anyhow!("the store's link has no path")))?;
    Ok(Json(StoreLink { url }))
}

/// The path and query of a link to the store, where the proxy takes them.
fn at_proxy(signed: &str) -> Option<String> {
    let (_, rest) = signed.split_once("://")?;
    rest.find('/').map(|slash| format!("/s3{}", &rest[slash..]))
}

/// Bytes of an object: whole, or one range of it.
#[utoipa::path(get, path = "/api/v1/storage/object", tag = "storage", params(
    ("bucket" = String, Query),
    ("object" = String, Query),
    ("dl_token" = Option<String>, Query, description = "From a signed link; then no login is needed"),
), responses(
    (status = 200, description = "The whole object", content_type = "application/octet-stream"),
    (status = 206, description = "The range that was asked for"),
    (status = 304, description = "Not changed"),
    (status = 400, description = "Not a bucket, or not an object"),
    (status = 401, description = "No login, or a link that expired or names another object"),
    (status = 404, description = "There is no such object"),
    (status = 409, description = "The episode failed its checks, or the object is not the one that was verified"),
    (status = 416, description = "No such range"),
    (status = 502, description = "The object store failed"),
))]
pub async fn object(State(state): State<AppState>, caller: Caller, params: Params, headers: HeaderMap) -> Result<Response, Problem> {
    let token = params.text("dl_token");
    let invalid = || Problem::new(Code::DownloadTokenInvalid, "the link is not valid for this object");
    // Who may not ask hears nothing else.
    let linked = match (&token, &caller.identity) {
        // A link decides alone, for any caller.
        (Some(token), _) => match state.tokens.check_link(token, state.commands.now()) {
            Ok(claims) => Some(claims),
            Err(TokenError::Expired) => return Err(Problem::new(Code::DownloadTokenExpired, "the link has expired")),
            Err(TokenError::Invalid) => return Err(invalid()),
        },
        // What may be seen is asked when a link is made, too; without one it is asked here.
        (None, Identity::Anonymous) => return Err(Problem::new(Code::Unauthenticated, "a login is required")),
        (None, _) => None,
    };
    let mut readings = Location::readings(params.exact("bucket"), params.exact("object"))?;
    if let Some(claims) = linked {
        readings.retain(|reading| reading.bucket == claims.bucket && reading.object == claims.object);
        if readings.is_empty() {
            return Err(invalid());
        }
    }
    // Who made the link saw the episode.
    let scope = if token.is_some() { &Scope::Everything } else { &caller.scope };
    let (location, episode) = found(&state, scope, readings).await?;
    let path = location.path();
    refuse_if_blocked(&episode, &path)?;
    if token.is_none() {
        caller.must_see(&episode)?;
    }

    let facts = state.objects.head(&location.object).await.map_err(|error| store_failed(&error))?.ok_or_else(object_not_found)?;
    refuse_if_replaced(&episode, &path, &facts)?;
    let mut answer = HeaderMap::new();
    answer.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let put = |answer: &mut HeaderMap, name, text: String| {
        if let Ok(value) = HeaderValue::from_str(&text) {
            answer.insert(name, value);
        }
    };
    if let Some(etag) = &facts.etag {
        put(&mut answer, ETAG, format!("\"{}\"", etag.trim_matches('"')));
    }
    if let Some(at) = facts.last_modified {
        put(&mut answer, LAST_MODIFIED, http_date(at));
    }
    if unchanged(&headers, &facts) {
        return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
    }
    let (status, range) = match asked(headers.get(RANGE), facts.size_bytes) {
        Asked::Whole => (StatusCode::OK, 0..facts.size_bytes),
        Asked::Part(range) => {
            put(&mut answer, CONTENT_RANGE, format!("bytes {}-{}/{}", range.start, range.end - 1, facts.size_bytes));
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Asked::Unsatisfiable => {
            put(&mut answer, CONTENT_RANGE, format!("bytes */{}", facts.size_bytes));
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, answer).into_response());
        }
    };
    put(&mut answer, CONTENT_TYPE, facts.content_type.clone().unwrap_or_else(|| "application/octet-stream".to_owned()));
    put(&mut answer, CONTENT_LENGTH, (range.end - range.start).to_string());
    let disposition = if token.is_some() { "attachment" } else { "inline" };
    put(&mut answer, CONTENT_DISPOSITION, format!("{disposition}; filename*=UTF-8''{}", percent_encode(&location.object)));
    let body = if range.is_empty() {
        Body::empty()
    } else {
        Body::from_stream(state.objects.read(&location.object, range, facts.etag.as_deref()).await.map_err(|error| store_failed(&error))?)
    };
    Ok((status, answer, body).into_response())
}

fn store_failed(error: &anyhow::Error) -> Problem {
    tracing::error!(error = format!("{error:#}"), "The object store failed: {error:#}");
    Problem::new(Code::ObjectStoreFailed, "the object store failed; try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(object: &str) -> Vec<String> {
        Location::readings("edge-f", object).map_or(vec![], |readings| readings.into_iter().map(|location| location.object).collect())
    }

    #[test]
    fn a_key_never_leaves_its_bucket() {
        assert_eq!(keys("a/./b//c.mcap"), ["a/b/c.mcap"]);
        assert_eq!(keys("a/../b"), ["b"]);
        for bad in ["../x", "a/../../x", "/a", "", ".", "a\\b", "a\0b"] {
            assert_eq!(keys(bad), [""; 0], "{bad:?}");
        }
    }

    #[test]
    fn a_name_that_looks_encoded_is_read_as_it_is_first() {
        assert_eq!(keys("Factory%20Shanghai/x.mcap"), ["Factory%20Shanghai/x.mcap", "Factory Shanghai/x.mcap"]);
        // What would be harmful when it is decoded is only what it says.
        for literal in ["%2e%2e/x", "%", "%zz", "a%00b", "%ff", "a/.hidden"] {
            assert_eq!(keys(literal), [literal]);
        }
    }

    #[test]
    fn buckets_follow_the_rules_of_object_stores() {
        for (bucket, fits) in
            [("edge-f", true), ("a.b", true), ("ab", false), ("Edge", false), ("-ab", false), ("a..b", false), ("a/b", false)]
        {
            assert_eq!(Location::readings(bucket, "x").is_ok(), fits, "{bucket}");
        }
    }

    #[test]
    fn stored_paths_name_our_bucket_or_a_key_in_it() {
        for path in ["edge-f/a/b.mcap", "/edge-f/a/b.mcap", "s3/edge-f/a/b.mcap", "a/b.mcap"] {
            assert_eq!(Location::of_path(path, "edge-f").unwrap().path(), "edge-f/a/b.mcap");
        }
        assert_eq!(Location::of_path("edge-f/100%41/b.mcap", "edge-f").unwrap().object, "100%41/b.mcap");
    }

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
        for bad in ["bytes=10-", "bytes=5-4", "bytes=0-1,3-4", "items=0-1", "bytes=-0", "bytes=a-b", "bytes=-", "bytes=+1-2"] {
            assert_eq!(of(bad, 10), Asked::Unsatisfiable, "{bad}");
        }
        assert_eq!(of("bytes=0-", 0), Asked::Unsatisfiable);
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
}
