//! What S3 clients ask for, in terms of the modules beside this one. An operation that is not here is answered as not
//! implemented.

mod asked;
mod pages;
mod reading;

use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::dto::*;
use s3s::path::check_bucket_name;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use self::asked::{
    attributes, checksums, copied_range, copy_conditions, copyable, not_encrypted, only_version, said, signer, source, stored_encoding,
    whole, written,
};
use self::pages::{Encoding, UploadsPage, begins_keys, contents, page_size};
use self::reading::{blocks, choose, count, kind_of, seen};
use super::answers::{Conditions, etag};
use super::incoming::{Said, receive};
use super::layout::{Name, NewFile};
use super::listing::{self, Asked, PAGE_MAX};
use super::multipart::{SaidOfWhole, Uploads};
use super::objects::Found;
use super::record::{About, Attributes, Checksums};
use super::store::{Complete, Store, blocking};

pub struct Operations {
    pub store: Arc<Store>,
    pub uploads: Arc<Uploads>,
}

type S3Answer<T> = S3Result<S3Response<T>>;

fn answer<T>(output: T) -> S3Answer<T> {
    Ok(S3Response::new(output))
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

#[async_trait::async_trait]
impl S3 for Operations {
    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Answer<CreateBucketOutput> {
        self.store.create_bucket(&request.input.bucket).await?;
        answer(CreateBucketOutput { location: Some(format!("/{}", request.input.bucket)) })
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Answer<HeadBucketOutput> {
        self.store.must_have_bucket(&request.input.bucket)?;
        answer(HeadBucketOutput::default())
    }

    async fn get_bucket_location(&self, request: S3Request<GetBucketLocationInput>) -> S3Answer<GetBucketLocationOutput> {
        self.store.must_have_bucket(&request.input.bucket)?;
        answer(GetBucketLocationOutput::default())
    }

    async fn delete_bucket(&self, request: S3Request<DeleteBucketInput>) -> S3Answer<DeleteBucketOutput> {
        self.store.must_have_bucket(&request.input.bucket)?;
        if !self.uploads.list(&request.input.bucket).await?.is_empty() {
            return Err(s3_error!(BucketNotEmpty, "There are uploads under way in the bucket"));
        }
        self.store.delete_bucket(&request.input.bucket).await?;
        answer(DeleteBucketOutput {})
    }

    async fn list_buckets(&self, _request: S3Request<ListBucketsInput>) -> S3Answer<ListBucketsOutput> {
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

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Answer<HeadObjectOutput> {
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

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Answer<GetObjectOutput> {
        let input = request.input;
        only_version(input.version_id.as_deref())?;
        not_encrypted(input.sse_customer_key.as_ref())?;
        let found = self.store.find(&Name::new(&input.bucket, &input.key)?).await?;
        let (output, file, range) = seen!(GetObjectOutput, input, found);
        answer(GetObjectOutput { body: Some(blocks(file, range)), ..output })
    }

    async fn put_object(&self, mut request: S3Request<PutObjectInput>) -> S3Answer<PutObjectOutput> {
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
    async fn post_object(&self, _request: S3Request<PostObjectInput>) -> S3Answer<PostObjectOutput> {
        Err(s3_error!(NotImplemented, "Objects are not taken from forms"))
    }

    async fn copy_object(&self, mut request: S3Request<CopyObjectInput>) -> S3Answer<CopyObjectOutput> {
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

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Answer<DeleteObjectOutput> {
        let input = request.input;
        if input.if_match.is_some() || input.if_match_size.is_some() || input.if_match_last_modified_time.is_some() {
            return Err(s3_error!(NotImplemented, "Deleting has no conditions here"));
        }
        only_version(input.version_id.as_deref())?;
        self.store.must_have_bucket(&input.bucket)?;
        self.store.delete(signer(request.credentials.as_ref()), Name::new(&input.bucket, &input.key)?).await?;
        answer(DeleteObjectOutput::default())
    }

    async fn delete_objects(&self, request: S3Request<DeleteObjectsInput>) -> S3Answer<DeleteObjectsOutput> {
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

    async fn list_objects(&self, request: S3Request<ListObjectsInput>) -> S3Answer<ListObjectsOutput> {
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

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> S3Answer<ListObjectsV2Output> {
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

    async fn create_multipart_upload(&self, mut request: S3Request<CreateMultipartUploadInput>) -> S3Answer<CreateMultipartUploadOutput> {
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

    async fn upload_part(&self, mut request: S3Request<UploadPartInput>) -> S3Answer<UploadPartOutput> {
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

    async fn upload_part_copy(&self, mut request: S3Request<UploadPartCopyInput>) -> S3Answer<UploadPartCopyOutput> {
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
    ) -> S3Answer<CompleteMultipartUploadOutput> {
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

    async fn abort_multipart_upload(&self, request: S3Request<AbortMultipartUploadInput>) -> S3Answer<AbortMultipartUploadOutput> {
        let input = request.input;
        self.uploads.abort(&Name::new(&input.bucket, &input.key)?, &input.upload_id).await?;
        answer(AbortMultipartUploadOutput::default())
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Answer<ListPartsOutput> {
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

    async fn list_multipart_uploads(&self, request: S3Request<ListMultipartUploadsInput>) -> S3Answer<ListMultipartUploadsOutput> {
        let input = request.input;
        self.store.must_have_bucket(&input.bucket)?;
        let max = page_size(input.max_uploads)?;
        let all = self.uploads.list(&input.bucket).await?;
        let asked = Asked {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after: input.key_marker.clone().unwrap_or_default(),
            max,
        };
        let UploadsPage { uploads, prefixes, next } = UploadsPage::of(&all, &asked, input.upload_id_marker.as_deref());
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
        let truncated = next.is_some();
        let (next_key, next_id) = next.unzip();
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
            prefix: Some(encoding.text(&input.prefix.unwrap_or_default())),
            delimiter: encoding.optional(input.delimiter),
            encoding_type: encoding.0,
            ..ListMultipartUploadsOutput::default()
        })
    }
}
