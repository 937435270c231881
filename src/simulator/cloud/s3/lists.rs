//! Pages of keys, as S3 writes them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{
    CommonPrefix, ETag, EncodingType, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListObjectsInput, ListObjectsOutput,
    ListObjectsV2Input, ListObjectsV2Output, ListPartsInput, ListPartsOutput, MultipartUpload, Object, ObjectStorageClass, Part, Timestamp,
};
use s3s::{S3Result, s3_error};

use crate::simulator::cloud::shelf::{self, Listed, Shelf, Upload};

/// S3's own limit.
const PAGE_MAX: usize = 1000;

/// Stands as it is in a key that is encoded.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

fn page_size(asked: Option<i32>) -> S3Result<usize> {
    let asked = asked.map_or(Ok(PAGE_MAX), usize::try_from);
    let asked = asked.map_err(|_| s3_error!(InvalidArgument, "The number of results must not be negative"))?;
    Ok(asked.min(PAGE_MAX))
}

fn count(number: usize) -> Option<i32> {
    i32::try_from(number).ok()
}

/// What XML cannot carry goes as in links, where the client asks for it.
struct Encoding(Option<EncodingType>);

impl Encoding {
    fn text(&self, text: &str) -> String {
        if self.0.is_some() { utf8_percent_encode(text, PLAIN).to_string() } else { text.to_owned() }
    }

    fn shown(&self, page: &Listed) -> (Vec<Object>, Vec<CommonPrefix>) {
        let contents = page.objects.iter().map(|(key, object)| Object {
            key: Some(self.text(key)),
            size: i64::try_from(object.bytes()).ok(),
            e_tag: Some(object.tag()),
            last_modified: Some(Timestamp::from(object.modified)),
            storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
            ..Object::default()
        });
        let prefixes = page.prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(self.text(prefix)) });
        (contents.collect(), prefixes.collect())
    }
}

/// As older clients ask for it.
pub fn objects_before_v2(shelf: &Shelf, input: ListObjectsInput) -> S3Result<ListObjectsOutput> {
    let max = page_size(input.max_keys)?;
    let (prefix, after) = (input.prefix.clone().unwrap_or_default(), input.marker.clone().unwrap_or_default());
    let page = shelf.list(&input.bucket, &prefix, input.delimiter.as_deref(), &after, max)?;
    let encoding = Encoding(input.encoding_type);
    let (contents, prefixes) = encoding.shown(&page);
    Ok(ListObjectsOutput {
        name: Some(input.bucket),
        is_truncated: Some(page.next.is_some()),
        // Clients that do not get it go on with the last key.
        next_marker: page.next.map(|next| encoding.text(&next)),
        marker: Some(encoding.text(&after)),
        prefix: Some(encoding.text(&prefix)),
        delimiter: input.delimiter.map(|delimiter| encoding.text(&delimiter)),
        max_keys: count(max),
        contents: (!contents.is_empty()).then_some(contents),
        common_prefixes: (!prefixes.is_empty()).then_some(prefixes),
        encoding_type: encoding.0,
        ..ListObjectsOutput::default()
    })
}

pub fn objects(shelf: &Shelf, input: ListObjectsV2Input) -> S3Result<ListObjectsV2Output> {
    let max = page_size(input.max_keys)?;
    // A token is the key after which it goes on, in letters that go everywhere.
    let token = input.continuation_token.as_ref().map(|token| {
        let key = URL_SAFE_NO_PAD.decode(token).ok().and_then(|key| String::from_utf8(key).ok());
        key.ok_or_else(|| s3_error!(InvalidArgument, "The continuation token is not one of ours"))
    });
    let after = token.transpose()?.or_else(|| input.start_after.clone()).unwrap_or_default();
    let prefix = input.prefix.clone().unwrap_or_default();
    let page = shelf.list(&input.bucket, &prefix, input.delimiter.as_deref(), &after, max)?;
    let encoding = Encoding(input.encoding_type);
    let (contents, prefixes) = encoding.shown(&page);
    Ok(ListObjectsV2Output {
        name: Some(input.bucket),
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.map(|next| URL_SAFE_NO_PAD.encode(next)),
        continuation_token: input.continuation_token,
        start_after: input.start_after.map(|after| encoding.text(&after)),
        prefix: Some(encoding.text(&prefix)),
        delimiter: input.delimiter.map(|delimiter| encoding.text(&delimiter)),
        max_keys: count(max),
        key_count: count(contents.len() + prefixes.len()),
        contents: (!contents.is_empty()).then_some(contents),
        common_prefixes: (!prefixes.is_empty()).then_some(prefixes),
        encoding_type: encoding.0,
        ..ListObjectsV2Output::default()
    })
}

pub fn parts(upload: &Upload, input: ListPartsInput) -> S3Result<ListPartsOutput> {
    let max = page_size(input.max_parts)?;
    let after = input.part_number_marker.unwrap_or_default();
    let mut parts: Vec<_> = upload.parts.iter().filter(|(number, _)| **number > after).collect();
    let truncated = parts.len() > max;
    parts.truncate(max);
    let next = parts.last().map(|(number, _)| **number).filter(|_| truncated);
    let listed = |(number, part): (&i32, &shelf::Part)| {
        let sums = part.received.sums.clone();
        Part {
            part_number: Some(*number),
            e_tag: Some(ETag::Strong(part.etag.clone())),
            size: i64::try_from(part.received.piece.bytes).ok(),
            last_modified: Some(Timestamp::from(part.at)),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
        }
    };
    Ok(ListPartsOutput {
        parts: Some(parts.into_iter().map(listed).collect()),
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        part_number_marker: input.part_number_marker,
        next_part_number_marker: next,
        max_parts: count(max),
        is_truncated: Some(truncated),
        checksum_algorithm: upload.algorithm.clone().map(Into::into),
        ..ListPartsOutput::default()
    })
}

/// Those that are under way, on one page.
pub fn uploads(all: Vec<(String, Upload)>, input: ListMultipartUploadsInput) -> S3Result<ListMultipartUploadsOutput> {
    if input.delimiter.is_some() || input.key_marker.is_some() || input.max_uploads.is_some_and(|max| max < 1) {
        return Err(s3_error!(NotImplemented, "Uploads under way are listed on one page, by prefix"));
    }
    let prefix = input.prefix.clone().unwrap_or_default();
    let matching: Vec<_> = all.into_iter().filter(|(_, upload)| upload.place.1.starts_with(&prefix)).collect();
    if matching.len() > page_size(input.max_uploads)? {
        return Err(s3_error!(NotImplemented, "More uploads are under way than fit on a page; a prefix chooses among them"));
    }
    let encoding = Encoding(input.encoding_type);
    let uploads = matching.into_iter().map(|(id, upload)| MultipartUpload {
        key: Some(encoding.text(&upload.place.1)),
        upload_id: Some(id),
        initiated: Some(Timestamp::from(upload.begun)),
        checksum_algorithm: upload.algorithm.map(Into::into),
        ..MultipartUpload::default()
    });
    Ok(ListMultipartUploadsOutput {
        uploads: Some(uploads.collect()),
        bucket: Some(input.bucket),
        prefix: Some(encoding.text(&prefix)),
        is_truncated: Some(false),
        max_uploads: input.max_uploads,
        encoding_type: encoding.0,
        ..ListMultipartUploadsOutput::default()
    })
}
