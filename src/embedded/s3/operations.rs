//! What S3 clients ask for, in terms of the modules beside this one. An operation that is not here is answered as not
//! implemented.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::{StreamExt, TryFutureExt, stream};
use http::header::{CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Uri};
use s3s::auth::Credentials;
use s3s::dto::*;
use s3s::path::check_bucket_name;
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};

use super::answers::{Conditions, etag};
use super::incoming::{Said, receive};
use super::layout::{Name, NewFile, allow_key};
use super::listing::{self, Asked, PAGE_MAX};
use super::multipart::{SaidOfWhole, Uploads};
use super::objects::Found;
use super::record::{About, Attributes, Checksums};
use super::store::{Complete, Store, blocking};

/// Sent at once; two are in memory for each reader.
const BLOCK_BYTES: u64 = 512 * 1024;

pub struct Operations {
    pub store: Arc<Store>,
    pub uploads: Arc<Uploads>,
}

type Answer<T> = S3Result<S3Response<T>>;

fn answer<T>(output: T) -> Answer<T> {
    Ok(S3Response::new(output))
}

fn signer(credentials: Option<&Credentials>) -> String {
    credentials.map(|credentials| credentials.access_key.clone()).unwrap_or_default()
}

fn count(bytes: u64) -> Option<i64> {
    i64::try_from(bytes).ok()
}

/// Objects have one version, called `null`.
fn only_version(id: Option<&str>) -> S3Result<()> {
    match id {
        None | Some("" | "null") => Ok(()),
        Some(_) => Err(s3_error!(NotImplemented, "Versions are not kept")),
    }
}

fn not_encrypted(customer_key: Option<&String>) -> S3Result<()> {
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

/// `aws-chunked` is about the request, not about the object.
fn stored_encoding(sent: &str) -> Option<String> {
    let kept: Vec<_> = sent.split(',').map(str::trim).filter(|encoding| !matches!(*encoding, "" | "aws-chunked")).collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

fn written(at: &Timestamp) -> Option<String> {
    let mut text = vec![];
    at.format(TimestampFormat::DateTime, &mut text).ok()?;
    String::from_utf8(text).ok()
}

fn kind_of(about: &About) -> Option<ChecksumType> {
    let kind = if about.composite { ChecksumType::COMPOSITE } else { ChecksumType::FULL_OBJECT };
    (about.checksums != Checksums::default()).then(|| ChecksumType::from_static(kind))
}

/// Which bytes are asked for, and how that is told.
#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    range: Range<u64>,
    content_range: Option<String>,
    parts: Option<i32>,
}

fn choose(found: &Found, range: Option<s3s::dto::Range>, part: Option<i32>) -> S3Result<Chosen> {
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

fn unsatisfiable(bytes: u64) -> S3Error {
    let mut error = s3_error!(InvalidRange, "The object has no such range");
    if let Ok(size) = HeaderValue::try_from(format!("bytes */{bytes}")) {
        error.set_headers(HeaderMap::from_iter([(CONTENT_RANGE, size), (CONTENT_TYPE, HeaderValue::from_static("application/xml"))]));
    }
    error
}

/// Blocks of a file, each read while the one before is sent.
fn blocks(file: File, range: Range<u64>) -> StreamingBlob {
    let file = Arc::new(file);
    let starts = (range.start..range.end).step_by(BLOCK_BYTES as usize);
    let read = stream::iter(starts).map(move |start| {
        let (file, length) = (file.clone(), (range.end - start).min(BLOCK_BYTES));
        tokio::task::spawn_blocking(move || {
            let mut block = vec![0; length as usize];
            file.read_exact_at(&mut block, start)?;
            Ok(Bytes::from(block))
        })
        .unwrap_or_else(|error| Err(io::Error::other(error)))
    });
    StreamingBlob::wrap(read.buffered(2))
}

fn source(copied: &CopySource) -> S3Result<Name> {
    match copied {
        CopySource::Bucket { bucket, key, version_id } => {
            only_version(version_id.as_deref())?;
            Name::new(bucket, key)
        }
        CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => Err(s3_error!(NotImplemented, "Only a bucket can be a source")),
    }
}

/// `bytes=first-last`, both of which are there.
fn copied_range(text: &str, bytes: u64) -> S3Result<Range<u64>> {
    let invalid = || s3_error!(InvalidArgument, "The range of a copy is `bytes=first-last`");
    let (first, last) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or_else(invalid)?;
    let (first, last): (u64, u64) = (first.parse().map_err(|_| invalid())?, last.parse().map_err(|_| invalid())?);
    if first > last || last >= bytes {
        return Err(s3_error!(InvalidRange, "The source has no such range"));
    }
    Ok(first..last + 1)
}

fn page_size(asked: Option<i32>) -> S3Result<usize> {
    let asked = asked.unwrap_or(PAGE_MAX as i32);
    let asked = usize::try_from(asked).map_err(|_| s3_error!(InvalidArgument, "The number of results must not be negative"))?;
    Ok(asked.min(PAGE_MAX))
}

/// What XML cannot carry goes as in links, where the client asks for it.
struct Encoding(Option<EncodingType>);

impl Encoding {
    fn text(&self, text: &str) -> String {
        if self.0.is_none() {
            return text.to_owned();
        }
        let mut encoded = String::with_capacity(text.len());
        for byte in text.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => encoded.push(char::from(byte)),
                _ => encoded += &format!("%{byte:02X}"),
            }
        }
        encoded
    }

    fn optional(&self, text: Option<String>) -> Option<String> {
        text.map(|text| self.text(&text))
    }
}

/// Whether any key can begin with it: `..` begins `...`, and `a//` begins none.
fn begins_keys(prefix: &str) -> bool {
    prefix.is_empty() || allow_key(prefix).is_ok() || allow_key(&format!("{prefix}x")).is_ok()
}

/// One half of what names a part is a mistake, and its body is not the object.
fn whole(uri: &Uri) -> S3Result<()> {
    let names = |pair: &str| matches!(pair.split('=').next(), Some("partNumber" | "uploadId"));
    if uri.query().unwrap_or_default().split('&').any(names) {
        return Err(s3_error!(InvalidArgument, "A part is named by partNumber and uploadId, both of them"));
    }
    Ok(())
}

impl Operations {
    async fn page(&self, bucket: &str, asked: Asked) -> S3Result<listing::Page> {
        self.store.must_have_bucket(bucket)?;
        if !begins_keys(&asked.prefix) {
            return Ok(listing::Page::default());
        }
        let (layout, bucket) = (self.store.layout.clone(), bucket.to_owned());
        blocking(move || listing::list(&layout, &bucket, &asked)).await
    }
}

fn contents(page: &mut listing::Page, encoding: &Encoding) -> (Option<ObjectList>, Option<CommonPrefixList>) {
    let objects: ObjectList = page
        .objects
        .drain(..)
        .map(|listed| Object {
            key: Some(encoding.text(&listed.key)),
            size: count(listed.bytes),
            e_tag: listed.etag.as_deref().map(etag),
            last_modified: Some(Timestamp::from(listed.modified)),
            storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
            ..Object::default()
        })
        .collect();
    let prefixes: CommonPrefixList = page.prefixes.drain(..).map(|prefix| CommonPrefix { prefix: Some(encoding.text(&prefix)) }).collect();
    ((!objects.is_empty()).then_some(objects), (!prefixes.is_empty()).then_some(prefixes))
}

#[async_trait::async_trait]
impl S3 for Operations {
    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> Answer<CreateBucketOutput> {
        self.store.create_bucket(&request.input.bucket).await?;
        answer(CreateBucketOutput { location: Some(format!("/{}", request.input.bucket)) })
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
        self.store.must_have_bucket(&request.input.bucket)?;
        answer(HeadBucketOutput::default())
    }

    async fn get_bucket_location(&self, request: S3Request<GetBucketLocationInput>) -> Answer<GetBucketLocationOutput> {
        self.store.must_have_bucket(&request.input.bucket)?;
        answer(GetBucketLocationOutput::default())
    }

    async fn delete_bucket(&self, request: S3Request<DeleteBucketInput>) -> Answer<DeleteBucketOutput> {
        self.store.must_have_bucket(&request.input.bucket)?;
        if !self.uploads.list(&request.input.bucket).await?.is_empty() {
            return Err(s3_error!(BucketNotEmpty, "There are uploads under way in the bucket"));
        }
        self.store.delete_bucket(&request.input.bucket).await?;
        answer(DeleteBucketOutput {})
    }

    async fn list_buckets(&self, _request: S3Request<ListBucketsInput>) -> Answer<ListBucketsOutput> {
        let root = self.store.layout.root().to_owned();
        let buckets = blocking(move || {
            let mut buckets = vec![];
            for entry in std::fs::read_dir(root)? {
                let entry = entry?;
                let Some(name) = entry.file_name().to_str().filter(|name| check_bucket_name(name)).map(str::to_owned) else { continue };
                let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
                if !metadata.is_dir() {
                    continue;
                }
                // Not every file system knows when a folder was made.
                let created = metadata.created().or_else(|_| metadata.modified()).ok().map(Timestamp::from);
                buckets.push(Bucket { name: Some(name), creation_date: created, ..Bucket::default() });
            }
            buckets.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(buckets)
        });
        answer(ListBucketsOutput { buckets: Some(buckets.await?), ..ListBucketsOutput::default() })
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        let input = request.input;
        only_version(input.version_id.as_deref())?;
        not_encrypted(input.sse_customer_key.as_ref())?;
        let name = Name::new(&input.bucket, &input.key)?;
        // A verification begins with this look: what it finds is what stays.
        self.store.settled(&name).await;
        let found = self.store.find(&name).await?;
        let (output, ..) = seen!(HeadObjectOutput, input, found);
        answer(output)
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        let input = request.input;
        only_version(input.version_id.as_deref())?;
        not_encrypted(input.sse_customer_key.as_ref())?;
        let found = self.store.find(&Name::new(&input.bucket, &input.key)?).await?;
        let (output, file, range) = seen!(GetObjectOutput, input, found);
        answer(GetObjectOutput { body: Some(blocks(file, range)), ..output })
    }

    async fn put_object(&self, mut request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        let name = Name::new(&request.input.bucket, &request.input.key)?;
        whole(&request.uri)?;
        self.store.must_have_bucket(name.bucket())?;
        not_encrypted(request.input.sse_customer_key.as_ref())?;
        if request.input.write_offset_bytes.is_some() {
            return Err(s3_error!(NotImplemented, "Objects are written as a whole"));
        }
        let conditions = Conditions {
            if_match: request.input.if_match.take(),
            if_none_match: request.input.if_none_match.take(),
            ..Conditions::default()
        };
        if conditions.if_match.is_some() || conditions.if_none_match.is_some() {
            // Asked once more when it takes its place; here it saves sending it for nothing.
            let old = self.store.look(&name).await?.map(|old| (etag(&old.about.etag), old.modified));
            conditions.of_write(old.as_ref().map(|(etag, modified)| (etag, *modified)))?;
        }
        let body = request.input.body.take().ok_or_else(|| s3_error!(IncompleteBody, "There is no body"))?;
        let said = said!(request);
        let attributes = attributes!(request.input);
        let received = receive(&self.store.layout.incoming(), body, said).await?;
        let about = About { etag: hex::encode(received.md5), attributes, checksums: received.checksums, ..About::default() };
        let object = Complete { new: received.new, file: received.file, bytes: received.bytes, about };
        let placed = self.store.replace(signer(request.credentials.as_ref()), name, object, conditions).await?;
        let checksum_type = kind_of(&placed.about);
        let checksums = placed.about.checksums;
        answer(PutObjectOutput {
            e_tag: Some(etag(&placed.about.etag)),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            checksum_type,
            ..PutObjectOutput::default()
        })
    }

    /// Its body would have to be kept in memory.
    async fn post_object(&self, _request: S3Request<PostObjectInput>) -> Answer<PostObjectOutput> {
        Err(s3_error!(NotImplemented, "Objects are not taken from forms"))
    }

    async fn copy_object(&self, mut request: S3Request<CopyObjectInput>) -> Answer<CopyObjectOutput> {
        whole(&request.uri)?;
        let input = &mut request.input;
        let (from, to) = (source(&input.copy_source)?, Name::new(&input.bucket, &input.key)?);
        self.store.must_have_bucket(to.bucket())?;
        not_encrypted(input.sse_customer_key.as_ref())?;
        let found = self.store.find(&from).await?;
        copyable(&found, copy_conditions!(input))?;
        let replaced = input.metadata_directive.as_ref().is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE);
        if from == to && !replaced {
            return Err(s3_error!(InvalidRequest, "An object cannot be copied onto itself without a change of its metadata"));
        }
        let mut about = found.about.clone();
        if replaced {
            about.attributes = attributes!(input);
        }
        let (layout, mut file, bytes) = (self.store.layout.clone(), found.file, found.stamp.bytes);
        let object = blocking(move || {
            let (new, mut copy) = NewFile::create(&layout.incoming())?;
            if io::copy(&mut file, &mut copy)? != bytes {
                return Err(io::Error::other("the source was cut short"));
            }
            Ok(Complete { new, file: copy, bytes, about })
        })
        .await?;
        let placed = self.store.replace(signer(request.credentials.as_ref()), to, object, Conditions::default()).await?;
        let checksum_type = kind_of(&placed.about);
        let checksums = placed.about.checksums;
        let result = CopyObjectResult {
            e_tag: Some(etag(&placed.about.etag)),
            last_modified: Some(Timestamp::from(placed.modified)),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            checksum_type,
        };
        answer(CopyObjectOutput { copy_object_result: Some(result), ..CopyObjectOutput::default() })
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
        let input = request.input;
        if input.if_match.is_some() || input.if_match_size.is_some() || input.if_match_last_modified_time.is_some() {
            return Err(s3_error!(NotImplemented, "Deleting has no conditions here"));
        }
        only_version(input.version_id.as_deref())?;
        self.store.must_have_bucket(&input.bucket)?;
        self.store.delete(signer(request.credentials.as_ref()), Name::new(&input.bucket, &input.key)?).await?;
        answer(DeleteObjectOutput::default())
    }

    async fn delete_objects(&self, request: S3Request<DeleteObjectsInput>) -> Answer<DeleteObjectsOutput> {
        let input = request.input;
        self.store.must_have_bucket(&input.bucket)?;
        if input.delete.objects.len() > PAGE_MAX {
            return Err(s3_error!(MalformedXML, "At most {PAGE_MAX} objects are deleted at once"));
        }
        let quiet = input.delete.quiet.unwrap_or_default();
        let (mut deleted, mut errors) = (vec![], vec![]);
        for object in input.delete.objects {
            let one = async {
                only_version(object.version_id.as_deref())?;
                if object.e_tag.is_some() || object.size.is_some() || object.last_modified_time.is_some() {
                    return Err(s3_error!(NotImplemented, "Deleting has no conditions here"));
                }
                let name = Name::new(&input.bucket, &object.key)?;
                self.store.delete(signer(request.credentials.as_ref()), name).await
            };
            match one.await {
                Ok(()) if quiet => {}
                Ok(()) => deleted.push(DeletedObject { key: Some(object.key), version_id: object.version_id, ..DeletedObject::default() }),
                Err(error) => errors.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    message: error.message().map(str::to_owned),
                    key: Some(object.key),
                    version_id: object.version_id,
                }),
            }
        }
        answer(DeleteObjectsOutput {
            deleted: (!deleted.is_empty()).then_some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            ..DeleteObjectsOutput::default()
        })
    }

    async fn list_objects(&self, request: S3Request<ListObjectsInput>) -> Answer<ListObjectsOutput> {
        let input = request.input;
        let max = page_size(input.max_keys)?;
        let asked = Asked {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after: input.marker.clone().unwrap_or_default(),
            max,
        };
        let mut page = self.page(&input.bucket, asked).await?;
        let encoding = Encoding(input.encoding_type);
        let (contents, common_prefixes) = contents(&mut page, &encoding);
        answer(ListObjectsOutput {
            name: Some(input.bucket),
            is_truncated: Some(page.next.is_some()),
            // Clients that do not get it go on with the last key.
            next_marker: encoding.optional(page.next),
            marker: Some(encoding.text(&input.marker.unwrap_or_default())),
            prefix: Some(encoding.text(&input.prefix.unwrap_or_default())),
            delimiter: encoding.optional(input.delimiter),
            max_keys: i32::try_from(max).ok(),
            contents,
            common_prefixes,
            encoding_type: encoding.0,
            ..ListObjectsOutput::default()
        })
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> Answer<ListObjectsV2Output> {
        let input = request.input;
        let max = page_size(input.max_keys)?;
        // A token is the key after which it goes on, in letters that go everywhere.
        let token = input.continuation_token.as_ref().map(|token| {
            let key = URL_SAFE_NO_PAD.decode(token).ok().and_then(|key| String::from_utf8(key).ok());
            key.ok_or_else(|| s3_error!(InvalidArgument, "The continuation token is not one of ours"))
        });
        let asked = Asked {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after: token.transpose()?.or_else(|| input.start_after.clone()).unwrap_or_default(),
            max,
        };
        let mut page = self.page(&input.bucket, asked).await?;
        let encoding = Encoding(input.encoding_type);
        let (contents, common_prefixes) = contents(&mut page, &encoding);
        let counted = contents.as_ref().map_or(0, Vec::len) + common_prefixes.as_ref().map_or(0, Vec::len);
        answer(ListObjectsV2Output {
            name: Some(input.bucket),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.map(|next| URL_SAFE_NO_PAD.encode(next)),
            continuation_token: input.continuation_token,
            start_after: encoding.optional(input.start_after),
            prefix: Some(encoding.text(&input.prefix.unwrap_or_default())),
            delimiter: encoding.optional(input.delimiter),
            max_keys: i32::try_from(max).ok(),
            key_count: i32::try_from(counted).ok(),
            contents,
            common_prefixes,
            encoding_type: encoding.0,
            ..ListObjectsV2Output::default()
        })
    }

    async fn create_multipart_upload(&self, mut request: S3Request<CreateMultipartUploadInput>) -> Answer<CreateMultipartUploadOutput> {
        let input = &mut request.input;
        let name = Name::new(&input.bucket, &input.key)?;
        not_encrypted(input.sse_customer_key.as_ref())?;
        let attributes = attributes!(input);
        let algorithm = input.checksum_algorithm.as_ref().map(|algorithm| algorithm.as_str().to_owned());
        let full_object = input.checksum_type.as_ref().is_some_and(|kind| kind.as_str() == ChecksumType::FULL_OBJECT);
        let id = self.uploads.create(&name, attributes, algorithm, full_object).await?;
        answer(CreateMultipartUploadOutput {
            bucket: Some(name.bucket().to_owned()),
            key: Some(name.key().to_owned()),
            upload_id: Some(id.to_string()),
            checksum_algorithm: input.checksum_algorithm.take(),
            checksum_type: input.checksum_type.take(),
            ..CreateMultipartUploadOutput::default()
        })
    }

    async fn upload_part(&self, mut request: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        let name = Name::new(&request.input.bucket, &request.input.key)?;
        not_encrypted(request.input.sse_customer_key.as_ref())?;
        let body = request.input.body.take().ok_or_else(|| s3_error!(IncompleteBody, "There is no body"))?;
        let said = said!(request);
        let part = self.uploads.put_part(&name, &request.input.upload_id, request.input.part_number, body, said).await?;
        answer(UploadPartOutput {
            e_tag: Some(etag(&part.etag())),
            checksum_crc32: part.checksums.crc32,
            checksum_crc32c: part.checksums.crc32c,
            checksum_crc64nvme: part.checksums.crc64nvme,
            checksum_sha1: part.checksums.sha1,
            checksum_sha256: part.checksums.sha256,
            ..UploadPartOutput::default()
        })
    }

    async fn upload_part_copy(&self, mut request: S3Request<UploadPartCopyInput>) -> Answer<UploadPartCopyOutput> {
        let input = &mut request.input;
        let (from, to) = (source(&input.copy_source)?, Name::new(&input.bucket, &input.key)?);
        not_encrypted(input.sse_customer_key.as_ref())?;
        let found = self.store.find(&from).await?;
        copyable(&found, copy_conditions!(input))?;
        let range = match &input.copy_source_range {
            None => 0..found.bytes(),
            Some(range) => copied_range(range, found.bytes())?,
        };
        let part = self.uploads.copy_part(&to, &input.upload_id, input.part_number, found.file, range).await?;
        let result = CopyPartResult {
            e_tag: Some(etag(&part.etag())),
            last_modified: Some(Timestamp::from(part.received)),
            ..CopyPartResult::default()
        };
        answer(UploadPartCopyOutput { copy_part_result: Some(result), ..UploadPartCopyOutput::default() })
    }

    async fn complete_multipart_upload(
        &self,
        mut request: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        let input = &mut request.input;
        let name = Name::new(&input.bucket, &input.key)?;
        self.store.must_have_bucket(name.bucket())?;
        let parts = input.multipart_upload.take().and_then(|named| named.parts).unwrap_or_default();
        let said = SaidOfWhole { bytes: input.mpu_object_size, checksums: checksums!(input) };
        let conditions = Conditions { if_match: input.if_match.take(), if_none_match: input.if_none_match.take(), ..Conditions::default() };
        let signer = signer(request.credentials.as_ref());
        let placed = self.uploads.complete(signer, name.clone(), &input.upload_id, parts, said, conditions).await?;
        let checksum_type = kind_of(&placed.about);
        let checksums = placed.about.checksums;
        answer(CompleteMultipartUploadOutput {
            location: Some(format!("/{name}")),
            bucket: Some(name.bucket().to_owned()),
            key: Some(name.key().to_owned()),
            e_tag: Some(etag(&placed.about.etag)),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            checksum_type,
            ..CompleteMultipartUploadOutput::default()
        })
    }

    async fn abort_multipart_upload(&self, request: S3Request<AbortMultipartUploadInput>) -> Answer<AbortMultipartUploadOutput> {
        let input = request.input;
        self.uploads.abort(&Name::new(&input.bucket, &input.key)?, &input.upload_id).await?;
        answer(AbortMultipartUploadOutput::default())
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> Answer<ListPartsOutput> {
        let input = request.input;
        let (id, upload) = self.uploads.get(&Name::new(&input.bucket, &input.key)?, &input.upload_id).await?;
        let max = page_size(input.max_parts)?;
        let after = input.part_number_marker.unwrap_or_default();
        let mut parts: Vec<_> = self.uploads.parts(id).await?.into_iter().filter(|(number, _)| *number > after).collect();
        let truncated = parts.len() > max;
        parts.truncate(max);
        let next = parts.last().map(|(number, _)| *number);
        let parts = parts.into_iter().map(|(number, part)| Part {
            part_number: Some(number),
            e_tag: Some(etag(&part.etag())),
            size: count(part.bytes),
            last_modified: Some(Timestamp::from(part.received)),
            checksum_crc32: part.checksums.crc32,
            checksum_crc32c: part.checksums.crc32c,
            checksum_crc64nvme: part.checksums.crc64nvme,
            checksum_sha1: part.checksums.sha1,
            checksum_sha256: part.checksums.sha256,
        });
        answer(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            parts: Some(parts.collect()),
            is_truncated: Some(truncated),
            part_number_marker: input.part_number_marker,
            next_part_number_marker: next.filter(|_| truncated),
            max_parts: i32::try_from(max).ok(),
            checksum_algorithm: upload.algorithm.map(ChecksumAlgorithm::from),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            ..ListPartsOutput::default()
        })
    }

    async fn list_multipart_uploads(&self, request: S3Request<ListMultipartUploadsInput>) -> Answer<ListMultipartUploadsOutput> {
        let input = request.input;
        self.store.must_have_bucket(&input.bucket)?;
        let max = page_size(input.max_uploads)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let all = self.uploads.list(&input.bucket).await?;
        // After an upload of a key, or after all of them.
        let key_marker = input.key_marker.clone().unwrap_or_default();
        let marked = input.upload_id_marker.as_ref().and_then(|marker| all.iter().position(|(id, _)| id.to_string() == *marker));
        let delimiter = input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
        let (mut uploads, mut prefixes, mut last, mut truncated) = (vec![], vec![], None, false);
        for (nth, (id, upload)) in all.iter().enumerate() {
            let Some(rest) = upload.key.strip_prefix(&prefix) else { continue };
            let passed = match marked {
                Some(marked) => nth <= marked,
                None => upload.key <= key_marker,
            };
            if passed {
                continue;
            }
            let folded =
                delimiter.and_then(|delimiter| rest.find(delimiter).map(|at| format!("{prefix}{}", &rest[..at + delimiter.len()])));
            if folded.as_ref().is_some_and(|folded| *folded <= key_marker || prefixes.last() == Some(folded)) {
                continue;
            }
            if uploads.len() + prefixes.len() == max {
                truncated = max > 0;
                break;
            }
            match folded {
                Some(folded) => {
                    last = Some((folded.clone(), String::new()));
                    prefixes.push(folded);
                }
                None => {
                    last = Some((upload.key.clone(), id.to_string()));
                    uploads.push((id, upload));
                }
            }
        }
        let encoding = Encoding(input.encoding_type);
        let uploads: Vec<_> = uploads
            .into_iter()
            .map(|(id, upload)| MultipartUpload {
                key: Some(encoding.text(&upload.key)),
                upload_id: Some(id.to_string()),
                initiated: Some(Timestamp::from(upload.initiated)),
                storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
                ..MultipartUpload::default()
            })
            .collect();
        let prefixes: Vec<_> = prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(encoding.text(prefix)) }).collect();
        let (next_key, next_id) = last.filter(|_| truncated).unzip();
        answer(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            uploads: (!uploads.is_empty()).then_some(uploads),
            common_prefixes: (!prefixes.is_empty()).then_some(prefixes),
            is_truncated: Some(truncated),
            key_marker: encoding.optional(input.key_marker),
            upload_id_marker: input.upload_id_marker,
            next_key_marker: encoding.optional(next_key),
            next_upload_id_marker: next_id.filter(|id: &String| !id.is_empty()),
            max_uploads: i32::try_from(max).ok(),
            prefix: Some(encoding.text(&prefix)),
            delimiter: encoding.optional(input.delimiter),
            encoding_type: encoding.0,
            ..ListMultipartUploadsOutput::default()
        })
    }
}

/// Other than a read, a copy that the client has already is refused, too.
fn copyable(found: &Found, conditions: Conditions) -> S3Result<()> {
    let refused = |_: S3Error| s3_error!(PreconditionFailed, "The source is not as the request wants it");
    conditions.of_read(&etag(&found.about.etag), found.modified).map_err(refused)
}
