//! Errors and conditions as S3 clients know them.

use std::io;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{ETAG, LAST_MODIFIED};
use s3s::dto::{ETag, ETagCondition, Timestamp, TimestampFormat};
use s3s::{S3Error, S3Result, s3_error};

use super::asking::{self, Asking};

/// What the file system would not do, which is logged here. The client hears little, and may try again where that helps.
pub fn failed(error: io::Error) -> S3Error {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    asking::failed(Asking::now().as_deref(), &error);
    match error.kind() {
        StorageFull | QuotaExceeded => s3_error!(ServiceUnavailable, "There is no space left"),
        ReadOnlyFilesystem => s3_error!(ServiceUnavailable, "Nothing can be written"),
        _ => s3_error!(InternalError, "The object store failed"),
    }
}

pub fn etag(value: &str) -> ETag {
    ETag::Strong(value.to_owned())
}

/// What a request asks to hold before it has an effect.
#[derive(Default)]
pub struct Conditions {
    pub if_match: Option<ETagCondition>,
    pub if_none_match: Option<ETagCondition>,
    pub if_modified_since: Option<Timestamp>,
    pub if_unmodified_since: Option<Timestamp>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Held {
    Yes,
    /// Precondition failed.
    No,
    /// The client has it already.
    NotModified,
}

impl Conditions {
    /// In the order of RFC 9110, 13.2.2: a condition on a tag makes the one on a time void.
    pub fn of_object(&self, found: &ETag, modified: SystemTime) -> Held {
        let modified = whole_seconds(modified);
        let is = |wanted: &ETagCondition| wanted.as_etag().is_none_or(|wanted| wanted.weak_cmp(found));
        let kept = match (&self.if_match, &self.if_unmodified_since) {
            (Some(wanted), _) => is(wanted),
            (None, Some(since)) => modified <= *since,
            (None, None) => true,
        };
        let known = match (&self.if_none_match, &self.if_modified_since) {
            (Some(wanted), _) => is(wanted),
            (None, Some(since)) => modified <= *since,
            (None, None) => false,
        };
        match (kept, known) {
            (false, _) => Held::No,
            (true, true) => Held::NotModified,
            (true, false) => Held::Yes,
        }
    }

    pub fn of_read(&self, found: &ETag, modified: SystemTime) -> S3Result<()> {
        match self.of_object(found, modified) {
            Held::Yes => Ok(()),
            Held::No => Err(s3_error!(PreconditionFailed, "The object is not as the request wants it")),
            Held::NotModified => {
                let mut unchanged = s3_error!(NotModified);
                let mut headers = HeaderMap::new();
                headers.extend(found.to_http_header().ok().map(|value| (ETAG, value)));
                let mut date = vec![];
                if Timestamp::from(modified).format(TimestampFormat::HttpDate, &mut date).is_ok() {
                    headers.extend(date.try_into().ok().map(|value| (LAST_MODIFIED, value)));
                }
                unchanged.set_headers(headers);
                Err(unchanged)
            }
        }
    }

    /// Before something takes the place of what was found, or of nothing.
    pub fn of_write(&self, found: Option<(&ETag, SystemTime)>) -> S3Result<()> {
        match found {
            None if self.if_match.is_some() => Err(s3_error!(NoSuchKey, "There is no object that could match")),
            None => Ok(()),
            Some((found, modified)) if self.of_object(found, modified) == Held::Yes => Ok(()),
            Some(_) => Err(s3_error!(PreconditionFailed, "There is another object than the request wants")),
        }
    }
}

/// As they are sent: a client that repeats what it was told must not seem to be late.
fn whole_seconds(at: SystemTime) -> Timestamp {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &str) -> Option<ETagCondition> {
        Some(ETagCondition::ETag(etag(text)))
    }

    #[test]
    fn conditions_on_tags_go_before_those_on_times() {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_600);
        let at = |seconds: u64| Some(Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)));
        let (same, earlier) = (at(1_790_000_000), at(1_789_999_999));
        let held = |conditions: Conditions| conditions.of_object(&etag("a"), modified);
        let none = Conditions::default;
        assert_eq!(held(none()), Held::Yes);
        assert_eq!(held(Conditions { if_match: tag("b"), ..none() }), Held::No);
        assert_eq!(held(Conditions { if_match: Some(ETagCondition::Any), ..none() }), Held::Yes);
        assert_eq!(held(Conditions { if_match: tag("a"), if_unmodified_since: earlier.clone(), ..none() }), Held::Yes);
        assert_eq!(held(Conditions { if_unmodified_since: earlier.clone(), ..none() }), Held::No);
        assert_eq!(held(Conditions { if_unmodified_since: same.clone(), ..none() }), Held::Yes);
        assert_eq!(held(Conditions { if_none_match: tag("a"), ..none() }), Held::NotModified);
        assert_eq!(held(Conditions { if_none_match: tag("b"), if_modified_since: same.clone(), ..none() }), Held::Yes);
        assert_eq!(held(Conditions { if_modified_since: same, ..none() }), Held::NotModified);
        assert_eq!(held(Conditions { if_modified_since: earlier, ..none() }), Held::Yes);
    }
}
