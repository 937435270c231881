//! What S3 clients ask for. An operation that is not here is answered as not implemented, and so is a write with an option that
//! would be ignored: a client learns what there is.

use std::ops::Range;
use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};

use super::lists;
use crate::simulator::cloud::content::{Contents, Said, read};
use crate::simulator::cloud::ledger::{Ledger, Tally};
use crate::simulator::cloud::shelf::{Attributes, Conditions, Object, SaidOfWhole, Shelf};

pub struct Operations {
    pub shelf: Arc<Shelf>,
    pub contents: Arc<Contents>,
    pub ledger: Arc<Ledger>,
}

type S3Answer<T> = S3Result<S3Response<T>>;

fn answer<T>(output: T) -> S3Answer<T> {
    Ok(S3Response::new(output))
}

fn unknown(what: &str) -> S3Error {
    s3_error!(NotImplemented, "The simulated cloud does not know {what}")
}

macro_rules! place {
    ($input:expr) => {
        ($input.bucket.clone(), $input.key.clone())
    };
}

macro_rules! sums {
    ($input:expr) => {
        Checksum {
            checksum_crc32: $input.checksum_crc32.take(),
            checksum_crc32c: $input.checksum_crc32c.take(),
            checksum_crc64nvme: $input.checksum_crc64nvme.take(),
            checksum_sha1: $input.checksum_sha1.take(),
            checksum_sha256: $input.checksum_sha256.take(),
            checksum_type: None,
        }
    };
}

/// What a request says about its body.
macro_rules! said {
    ($request:expr) => {
        Said {
            bytes: $request.input.content_length,
            content_md5: $request.input.content_md5.take(),
            sums: sums!($request.input),
            algorithm: $request.input.checksum_algorithm.take(),
            trailers: $request.trailing_headers.take(),
            trailer_promised: $request.headers.contains_key("x-amz-trailer"),
            for_oss: false,
        }
    };
}

macro_rules! attributes {
    ($input:expr) => {{
        let private = |acl: &ObjectCannedACL| acl.as_str() == ObjectCannedACL::PRIVATE;
        let standard = |class: &StorageClass| class.as_str() == StorageClass::STANDARD;
        if $input.tagging.is_some()
            || $input.object_lock_mode.is_some()
            || $input.object_lock_legal_hold_status.is_some()
            || $input.sse_customer_key.is_some()
            || $input.server_side_encryption.is_some()
            || $input.expires.is_some()
            || $input.website_redirect_location.is_some()
            || !$input.acl.as_ref().is_none_or(private)
            || !$input.storage_class.as_ref().is_none_or(standard)
        {
            return Err(unknown("tags, locks, encryption, expiry, redirection, access lists and classes of storage"));
        }
        Attributes {
            metadata: $input.metadata.take(),
            content_type: $input.content_type.take(),
            content_encoding: $input.content_encoding.take().and_then(|sent| stored_encoding(&sent)),
            content_disposition: $input.content_disposition.take(),
            content_language: $input.content_language.take(),
            cache_control: $input.cache_control.take(),
        }
    }};
}

macro_rules! conditions {
    ($input:expr) => {
        Conditions { if_match: $input.if_match.take(), if_none_match: $input.if_none_match.take() }
    };
}

/// The checksums of an output, of what they are those of.
macro_rules! with_sums {
    ($output:ident { $($field:ident: $value:expr),* $(,)? }, $sums:expr) => {{
        let sums: &Checksum = $sums;
        $output {
            $($field: $value,)*
            checksum_crc32: sums.checksum_crc32.clone(),
            checksum_crc32c: sums.checksum_crc32c.clone(),
            checksum_crc64nvme: sums.checksum_crc64nvme.clone(),
            checksum_sha1: sums.checksum_sha1.clone(),
            checksum_sha256: sums.checksum_sha256.clone(),
            ..$output::default()
        }
    }};
}

/// What a look at an object answers, with its content and without; and which of its bytes are meant.
macro_rules! seen {
    ($output:ident, $input:expr, $found:expr) => {{
        let (input, found): (_, &Object) = ($input, $found);
        let timed = input.if_modified_since.is_some() || input.if_unmodified_since.is_some();
        if timed || input.part_number.is_some() || input.version_id.as_ref().is_some_and(|id| id != "null") {
            return Err(unknown("conditions on times, single parts of an object, and versions"));
        }
        let is = |wanted: &ETagCondition| wanted.as_etag().is_none_or(|wanted| wanted.weak_cmp(&found.tag()));
        if input.if_match.as_ref().is_some_and(|wanted| !is(wanted)) {
            return Err(s3_error!(PreconditionFailed, "The object is another one"));
        }
        if input.if_none_match.as_ref().is_some_and(is) {
            return Err(s3_error!(NotModified));
        }
        let bytes = found.bytes();
        let range = match &input.range {
            Some(range) => range.check(bytes).map_err(|_| s3_error!(InvalidRange, "The object has no such range"))?,
            None => 0..bytes,
        };
        let asked = input.checksum_mode.as_ref().is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED) && input.range.is_none();
        let sums = if asked { found.sums.clone() } else { Checksum::default() };
        let kind = if found.came_in_parts() { ChecksumType::COMPOSITE } else { ChecksumType::FULL_OBJECT };
        let attributes = found.attributes.clone();
        let output = with_sums!(
            $output {
                accept_ranges: Some("bytes".to_owned()),
                checksum_type: (sums != Checksum::default()).then(|| ChecksumType::from_static(kind)),
                content_length: count(range.end - range.start),
                content_range: input.range.filter(|_| !range.is_empty()).map(|_| told(&range, bytes)),
                e_tag: Some(found.tag()),
                last_modified: Some(Timestamp::from(found.modified)),
                metadata: attributes.metadata,
                content_type: attributes.content_type,
                content_encoding: attributes.content_encoding,
                content_disposition: attributes.content_disposition,
                content_language: attributes.content_language,
                cache_control: attributes.cache_control,
            },
            &sums
        );
        (output, range)
    }};
}

fn count(bytes: u64) -> Option<i64> {
    i64::try_from(bytes).ok()
}

fn told(range: &Range<u64>, bytes: u64) -> String {
    format!("bytes {}-{}/{bytes}", range.start, range.end - 1)
}

/// `aws-chunked` is about the request, not about the object.
fn stored_encoding(sent: &str) -> Option<String> {
    let kept: Vec<_> = sent.split(',').map(str::trim).filter(|encoding| !matches!(*encoding, "" | "aws-chunked")).collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

fn no_such_key() -> S3Error {
    s3_error!(NoSuchKey, "There is no such object")
}

#[async_trait::async_trait]
impl S3 for Operations {
    /// Clients make sure of their bucket before they begin.
    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Answer<CreateBucketOutput> {
        match self.shelf.must_have_bucket(&request.input.bucket) {
            Ok(()) => Err(s3_error!(BucketAlreadyOwnedByYou, "The bucket is there")),
            Err(_) => Err(unknown("how to make a bucket while it runs; --bucket makes one at the start")),
        }
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Answer<HeadBucketOutput> {
        self.shelf.must_have_bucket(&request.input.bucket)?;
        answer(HeadBucketOutput::default())
    }

    async fn get_bucket_location(&self, request: S3Request<GetBucketLocationInput>) -> S3Answer<GetBucketLocationOutput> {
        self.shelf.must_have_bucket(&request.input.bucket)?;
        answer(GetBucketLocationOutput::default())
    }

    async fn list_buckets(&self, _request: S3Request<ListBucketsInput>) -> S3Answer<ListBucketsOutput> {
        let buckets = self.shelf.buckets().into_iter().map(|name| Bucket { name: Some(name), ..Bucket::default() });
        answer(ListBucketsOutput { buckets: Some(buckets.collect()), ..ListBucketsOutput::default() })
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Answer<HeadObjectOutput> {
        let found = self.shelf.find(&place!(request.input))?.ok_or_else(no_such_key)?;
        let (output, _) = seen!(HeadObjectOutput, request.input, &found);
        answer(output)
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Answer<GetObjectOutput> {
        let found = self.shelf.find(&place!(request.input))?.ok_or_else(no_such_key)?;
        let (output, range) = seen!(GetObjectOutput, request.input, &found);
        let body = read(&found.pieces, &range).ok_or_else(|| unknown("what it discarded: it runs with --discard"))?;
        answer(GetObjectOutput { body: Some(StreamingBlob::wrap(body)), ..output })
    }

    async fn put_object(&self, mut request: S3Request<PutObjectInput>) -> S3Answer<PutObjectOutput> {
        let place = place!(request.input);
        let (attributes, conditions) = (attributes!(request.input), conditions!(request.input));
        if request.input.write_offset_bytes.is_some() {
            return Err(unknown("writes in the middle of an object"));
        }
        // Asked once more when it takes its place; here it saves sending it for nothing.
        self.shelf.allow(&place, &conditions)?;
        let said = said!(request);
        let body = request.input.body.take().ok_or_else(|| s3_error!(IncompleteBody, "There is no body"))?;
        let received = self.contents.receive(body, said, Tally::new(&self.ledger, place.clone())).await?;
        let placed = self.shelf.place(&place, received, attributes, &conditions)?;
        self.ledger.completed(&place, placed.bytes());
        answer(with_sums!(PutObjectOutput { e_tag: Some(placed.tag()) }, &placed.sums))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Answer<DeleteObjectOutput> {
        let input = request.input;
        if input.if_match.is_some() || input.version_id.as_ref().is_some_and(|id| id != "null") {
            return Err(unknown("conditions on a deletion, and versions"));
        }
        self.shelf.remove(&place!(input))?;
        answer(DeleteObjectOutput::default())
    }

    async fn list_objects(&self, request: S3Request<ListObjectsInput>) -> S3Answer<ListObjectsOutput> {
        answer(lists::objects_before_v2(&self.shelf, request.input)?)
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> S3Answer<ListObjectsV2Output> {
        answer(lists::objects(&self.shelf, request.input)?)
    }

    async fn create_multipart_upload(&self, mut request: S3Request<CreateMultipartUploadInput>) -> S3Answer<CreateMultipartUploadOutput> {
        let input = &mut request.input;
        let (place, attributes) = (place!(input), attributes!(input));
        let algorithm = input.checksum_algorithm.as_ref().map(|algorithm| algorithm.as_str().to_owned());
        let full = input.checksum_type.as_ref().is_some_and(|kind| kind.as_str() == ChecksumType::FULL_OBJECT);
        if full || algorithm.as_deref() == Some(ChecksumAlgorithm::CRC64NVME) {
            return Err(unknown("checksums of a whole object that comes in parts, only those of their checksums"));
        }
        let id = self.shelf.begin(place, attributes, algorithm)?;
        answer(CreateMultipartUploadOutput {
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            upload_id: Some(id),
            checksum_type: input.checksum_algorithm.as_ref().map(|_| ChecksumType::from_static(ChecksumType::COMPOSITE)),
            checksum_algorithm: input.checksum_algorithm.take(),
            ..CreateMultipartUploadOutput::default()
        })
    }

    async fn upload_part(&self, mut request: S3Request<UploadPartInput>) -> S3Answer<UploadPartOutput> {
        let place = place!(request.input);
        let said = said!(request);
        let (id, number) = (request.input.upload_id, request.input.part_number);
        let asked = said.algorithm.as_ref().map(ChecksumAlgorithm::as_str);
        self.shelf.allow_part(&place, &id, number, &said.sums, asked)?;
        let body = request.input.body.take().ok_or_else(|| s3_error!(IncompleteBody, "There is no body"))?;
        let received = self.contents.receive(body, said, Tally::new(&self.ledger, place.clone())).await?;
        let part = self.shelf.keep_part(&place, &id, number, received)?;
        answer(with_sums!(UploadPartOutput { e_tag: Some(ETag::Strong(part.etag)) }, &part.received.sums))
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Answer<ListPartsOutput> {
        let upload = self.shelf.upload(&place!(request.input), &request.input.upload_id)?;
        answer(lists::parts(&upload, request.input)?)
    }

    async fn list_multipart_uploads(&self, request: S3Request<ListMultipartUploadsInput>) -> S3Answer<ListMultipartUploadsOutput> {
        let all = self.shelf.uploads_of(&request.input.bucket)?;
        answer(lists::uploads(all, request.input)?)
    }

    async fn complete_multipart_upload(
        &self,
        mut request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Answer<CompleteMultipartUploadOutput> {
        let input = &mut request.input;
        let place = place!(input);
        let parts = input.multipart_upload.take().and_then(|named| named.parts).unwrap_or_default();
        let said = SaidOfWhole { bytes: input.mpu_object_size, sums: sums!(input) };
        let conditions = conditions!(input);
        let placed = self.shelf.complete(&place, &input.upload_id, &parts, &said, &conditions)?;
        self.ledger.completed(&place, placed.bytes());
        let sums = &placed.sums;
        let (bucket, key) = place;
        answer(with_sums!(
            CompleteMultipartUploadOutput {
                location: Some(format!("/{bucket}/{key}")),
                bucket: Some(bucket),
                key: Some(key),
                e_tag: Some(placed.tag()),
                checksum_type: (*sums != Checksum::default()).then(|| ChecksumType::from_static(ChecksumType::COMPOSITE)),
            },
            sums
        ))
    }

    async fn abort_multipart_upload(&self, request: S3Request<AbortMultipartUploadInput>) -> S3Answer<AbortMultipartUploadOutput> {
        self.shelf.abort(&place!(request.input), &request.input.upload_id)?;
        answer(AbortMultipartUploadOutput::default())
    }
}
