//! What a request says, in our words: attributes, checksums, conditions, sources.

use std::ops::Range;

use http::Uri;
use s3s::auth::Credentials;
use s3s::dto::{CopySource, Timestamp, TimestampFormat};
use s3s::{S3Error, S3Result, s3_error};

use crate::embedded::s3::answers::{Conditions, etag};
use crate::embedded::s3::layout::Name;
use crate::embedded::s3::objects::Found;

pub(super) fn signer(credentials: Option<&Credentials>) -> String {
    credentials.map(|credentials| credentials.access_key.clone()).unwrap_or_default()
}

/// Objects have one version, called `null`.
pub(super) fn only_version(id: Option<&str>) -> S3Result<()> {
    match id {
        None | Some("" | "null") => Ok(()),
        Some(_) => Err(s3_error!(NotImplemented, "Versions are not kept")),
    }
}

pub(super) fn not_encrypted(customer_key: Option<&String>) -> S3Result<()> {
    match customer_key {
        None => Ok(()),
        Some(_) => Err(s3_error!(NotImplemented, "Keys of customers are not supported")),
    }
}

/// The attributes of any input that has them.
macro_rules! attributes {
    ($input:expr) => {
        Attributes {
            user_metadata: $input.metadata.take(),
            content_type: $input.content_type.take(),
            content_encoding: $input.content_encoding.take().and_then(|encoding| stored_encoding(&encoding)),
            content_disposition: $input.content_disposition.take(),
            content_language: $input.content_language.take(),
            cache_control: $input.cache_control.take(),
            expires: $input.expires.take().and_then(|at| written(&at)),
            website_redirect_location: $input.website_redirect_location.take(),
        }
    };
}
pub(super) use attributes;

macro_rules! checksums {
    ($input:expr) => {
        Checksums {
            crc32: $input.checksum_crc32.take(),
            crc32c: $input.checksum_crc32c.take(),
            crc64nvme: $input.checksum_crc64nvme.take(),
            sha1: $input.checksum_sha1.take(),
            sha256: $input.checksum_sha256.take(),
        }
    };
}
pub(super) use checksums;

macro_rules! said {
    ($request:expr) => {
        Said {
            bytes: $request.input.content_length,
            content_md5: $request.input.content_md5.take(),
            checksums: checksums!($request.input),
            algorithm: $request.input.checksum_algorithm.take(),
            trailers: $request.trailing_headers.take(),
            trailer_promised: $request.headers.contains_key("x-amz-trailer"),
        }
    };
}
pub(super) use said;

/// What has to hold of the source of a copy.
macro_rules! copy_conditions {
    ($input:expr) => {
        Conditions {
            if_match: $input.copy_source_if_match.take(),
            if_none_match: $input.copy_source_if_none_match.take(),
            if_modified_since: $input.copy_source_if_modified_since.take(),
            if_unmodified_since: $input.copy_source_if_unmodified_since.take(),
        }
    };
}
pub(super) use copy_conditions;

/// `aws-chunked` is about the request, not about the object.
pub(super) fn stored_encoding(sent: &str) -> Option<String> {
    let kept: Vec<_> = sent.split(',').map(str::trim).filter(|encoding| !matches!(*encoding, "" | "aws-chunked")).collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

pub(super) fn written(at: &Timestamp) -> Option<String> {
    let mut text = vec![];
    at.format(TimestampFormat::DateTime, &mut text).ok()?;
    String::from_utf8(text).ok()
}

/// One half of what names a part is a mistake, and its body is not the object.
pub(super) fn whole(uri: &Uri) -> S3Result<()> {
    let names = |pair: &str| matches!(pair.split('=').next(), Some("partNumber" | "uploadId"));
    if uri.query().unwrap_or_default().split('&').any(names) {
        return Err(s3_error!(InvalidArgument, "A part is named by partNumber and uploadId, both of them"));
    }
    Ok(())
}

pub(super) fn source(copied: &CopySource) -> S3Result<Name> {
    match copied {
        CopySource::Bucket { bucket, key, version_id } => {
            only_version(version_id.as_deref())?;
            Name::new(bucket, key)
        }
        CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => Err(s3_error!(NotImplemented, "Only a bucket can be a source")),
    }
}

/// `bytes=first-last`, both of which are there.
pub(super) fn copied_range(text: &str, bytes: u64) -> S3Result<Range<u64>> {
    let invalid = || s3_error!(InvalidArgument, "The range of a copy is `bytes=first-last`");
    let (first, last) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or_else(invalid)?;
    let (first, last): (u64, u64) = (first.parse().map_err(|_| invalid())?, last.parse().map_err(|_| invalid())?);
    if first > last || last >= bytes {
        return Err(s3_error!(InvalidRange, "The source has no such range"));
    }
    Ok(first..last + 1)
}

/// Other than a read, a copy that the client has already is refused, too.
pub(super) fn copyable(found: &Found, conditions: Conditions) -> S3Result<()> {
    let refused = |_: S3Error| s3_error!(PreconditionFailed, "The source is not as the request wants it");
    conditions.of_read(&etag(&found.about.etag), found.modified).map_err(refused)
}
