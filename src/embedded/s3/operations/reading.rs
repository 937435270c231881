//! What a look at an object answers, and which of its bytes are sent.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http::header::{CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use s3s::dto::{ChecksumType, StreamingBlob};
use s3s::{S3Error, S3Result, s3_error};

use crate::embedded::s3::asking::{Asking, failed};
use crate::embedded::s3::multipart::Uploads;
use crate::embedded::s3::objects::Found;
use crate::embedded::s3::record::{About, Checksums};

/// Sent at once; two are in memory for each reader.
const BLOCK_BYTES: u64 = 512 * 1024;

/// What a look at an object answers, with its content and without; beside it the file, and which bytes of it are meant.
macro_rules! seen {
    ($output:ident, $input:expr, $found:expr) => {{
        let (input, found) = ($input, $found);
        let tag = etag(&found.about.etag);
        let conditions = Conditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        };
        conditions.of_read(&tag, found.modified)?;
        let chosen = choose(&found, input.range, input.part_number)?;
        let whole = chosen.content_range.is_none();
        let checksum_type = kind_of(&found.about).filter(|_| whole);
        let Found { file, modified, about: About { attributes, checksums, .. }, .. } = found;
        let checksums = if whole { checksums } else { Checksums::default() };
        let output = $output {
            accept_ranges: Some("bytes".to_owned()),
            content_length: count(chosen.range.end - chosen.range.start),
            content_range: chosen.content_range,
            parts_count: chosen.parts,
            e_tag: Some(tag),
            last_modified: Some(Timestamp::from(modified)),
            metadata: attributes.user_metadata,
            content_type: attributes.content_type,
            content_encoding: attributes.content_encoding,
            content_disposition: attributes.content_disposition,
            content_language: attributes.content_language,
            cache_control: attributes.cache_control,
            expires: attributes.expires.and_then(|at| Timestamp::parse(TimestampFormat::DateTime, &at).ok()),
            website_redirect_location: attributes.website_redirect_location,
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            checksum_type,
            ..$output::default()
        };
        (output, file, chosen.range)
    }};
}
pub(super) use seen;

pub(super) fn count(bytes: u64) -> Option<i64> {
    i64::try_from(bytes).ok()
}

pub(super) fn kind_of(about: &About) -> Option<ChecksumType> {
    let kind = if about.composite { ChecksumType::COMPOSITE } else { ChecksumType::FULL_OBJECT };
    (about.checksums != Checksums::default()).then(|| ChecksumType::from_static(kind))
}

/// Which bytes are asked for, and how that is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub range: Range<u64>,
    pub content_range: Option<String>,
    pub parts: Option<i32>,
}

pub(super) fn choose(found: &Found, range: Option<s3s::dto::Range>, part: Option<i32>) -> S3Result<Chosen> {
    let bytes = found.bytes();
    let (chosen, parts) = match (range, part) {
        (None, None) => return Ok(Chosen { range: 0..bytes, content_range: None, parts: None }),
        (Some(_), Some(_)) => return Err(s3_error!(InvalidRequest, "A range and a part cannot be asked for together")),
        // More than there is, counted from the end, is all of it.
        (Some(range), None) => (range.check(bytes).map_err(|_| unsatisfiable(bytes))?, None),
        (None, Some(number)) => {
            Uploads::allow_number(number)?;
            let parts = &found.about.parts;
            let nth = usize::try_from(number - 1).unwrap_or_default();
            let range = match parts.get(nth) {
                Some(part) => {
                    let start = parts[..nth].iter().sum::<u64>();
                    start..start + part
                }
                None if parts.is_empty() && nth == 0 => 0..bytes,
                None => return Err(s3_error!(InvalidRange, "The object has no such part")),
            };
            (range, i32::try_from(parts.len()).ok().filter(|parts| *parts > 0))
        }
    };
    // Nothing of an empty object has no first byte to name.
    let content_range = (!chosen.is_empty()).then(|| format!("bytes {}-{}/{bytes}", chosen.start, chosen.end - 1));
    Ok(Chosen { range: chosen, content_range, parts })
}

pub(super) fn unsatisfiable(bytes: u64) -> S3Error {
    let mut error = s3_error!(InvalidRange, "The object has no such range");
    if let Ok(size) = HeaderValue::try_from(format!("bytes */{bytes}")) {
        error.set_headers(HeaderMap::from_iter([(CONTENT_RANGE, size), (CONTENT_TYPE, HeaderValue::from_static("application/xml"))]));
    }
    error
}

/// Blocks of a file, each read while the one before is sent.
pub(super) fn blocks(file: File, range: Range<u64>) -> StreamingBlob {
    let (file, asking) = (Arc::new(file), Asking::now());
    let starts = (range.start..range.end).step_by(BLOCK_BYTES as usize);
    let read = stream::iter(starts).map(move |start| {
        let (file, asking, length) = (file.clone(), asking.clone(), (range.end - start).min(BLOCK_BYTES));
        tokio::task::spawn_blocking(move || {
            let mut block = vec![0; length as usize];
            file.read_exact_at(&mut block, start)?;
            Ok(Bytes::from(block))
        })
        .map(move |read| {
            let read = read.map_err(io::Error::other).flatten();
            // The answer is on its way: all that is left is to cut it.
            read.inspect_err(|error| failed(asking.as_deref(), error))
        })
    });
    StreamingBlob::wrap(read.buffered(2))
}
