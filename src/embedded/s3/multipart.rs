//! Uploads in parts: each is a folder, which ends with its completion, its abortion, or a time without a new part.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use s3s::dto::{CompletedPart, StreamingBlob};
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::info;
use uuid::Uuid;

use super::answers::Conditions;
use super::incoming::{Received, Said, receive};
use super::layout::{Name, NewFile, is_absent, make_folders, remove_if_there, write_small};
use super::locks::Locks;
use super::objects::etag_of_parts;
use super::record::{About, Attributes, Checksums};
use super::store::{Complete, Placed, Store, blocking, detached};
use crate::telemetry::chain;

/// S3's own limits.
const PARTS_MAX: i32 = 10_000;
const PART_BYTES_MIN: u64 = 5 << 20;

/// Read at once where an object is hashed while it is put together.
const BLOCK: usize = 1 << 20;

const UPLOAD_FILE: &str = "upload.json";
const DONE_FILE: &str = "done.json";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Upload {
    pub bucket: String,
    pub key: String,
    pub attributes: Attributes,
    pub algorithm: Option<String>,
    /// Checksums are those of the whole object, not of the parts' checksums.
    pub full_object: bool,
    pub initiated: SystemTime,
}

/// A completed upload: a client whose answer was lost asks again.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    bucket: String,
    key: String,
    etag: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    file: String,
    pub bytes: u64,
    md5: [u8; 16],
    pub checksums: Checksums,
    pub received: SystemTime,
}

impl Part {
    pub fn etag(&self) -> String {
        hex::encode(self.md5)
    }
}

/// What a client says of the object when it completes an upload.
#[derive(Debug, Default)]
pub struct SaidOfWhole {
    pub bytes: Option<i64>,
    pub checksums: Checksums,
}

pub struct Uploads {
    store: Arc<Store>,
    locks: Locks<Uuid>,
}

fn no_such_upload() -> s3s::S3Error {
    s3_error!(NoSuchUpload, "The upload does not exist: it was completed or aborted, or nobody continued it in time")
}

fn id_of(text: &str) -> S3Result<Uuid> {
    Uuid::parse_str(text).map_err(|_| no_such_upload())
}

fn part_file(number: i32) -> String {
    format!("{number:05}.json")
}

fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Uploads {
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, locks: Locks::default() }
    }

    pub async fn create(&self, name: &Name, attributes: Attributes, algorithm: Option<String>, full_object: bool) -> S3Result<Uuid> {
        self.store.must_have_bucket(name.bucket())?;
        let id = Uuid::new_v4();
        let upload = Upload {
            bucket: name.bucket().to_owned(),
            key: name.key().to_owned(),
            attributes,
            algorithm,
            full_object,
            initiated: SystemTime::now(),
        };
        let layout = self.store.layout.clone();
        blocking(move || {
            make_folders(&layout.upload(id))?;
            write_small(&layout.incoming(), &layout.upload(id).join(UPLOAD_FILE), &serde_json::to_vec(&upload)?)
        })
        .await?;
        Ok(id)
    }

    /// The upload of that object, and of no other.
    pub async fn get(&self, name: &Name, id: &str) -> S3Result<(Uuid, Upload)> {
        let id = id_of(id)?;
        let path = self.store.layout.upload(id).join(UPLOAD_FILE);
        let upload = blocking(move || read_json::<Upload>(&path)).await?;
        match upload.filter(|upload| upload.bucket == name.bucket() && upload.key == name.key()) {
            Some(upload) => Ok((id, upload)),
            None => Err(no_such_upload()),
        }
    }

    pub fn allow_number(number: i32) -> S3Result<()> {
        if (1..=PARTS_MAX).contains(&number) {
            return Ok(());
        }
        Err(s3_error!(InvalidArgument, "Part number must be an integer between 1 and {PARTS_MAX}, inclusive"))
    }

    pub async fn put_part(&self, name: &Name, id: &str, number: i32, body: StreamingBlob, said: Said) -> S3Result<Part> {
        Self::allow_number(number)?;
        let (id, _) = self.get(name, id).await?;
        let received = receive(&self.store.layout.upload(id), body, said).await?;
        self.keep_part(name, id, number, received).await
    }

    /// A part from a stretch of another object.
    pub async fn copy_part(&self, name: &Name, id: &str, number: i32, from: File, range: std::ops::Range<u64>) -> S3Result<Part> {
        Self::allow_number(number)?;
        let (id, _) = self.get(name, id).await?;
        let folder = self.store.layout.upload(id);
        let received = blocking(move || {
            let (new, mut file) = NewFile::create(&folder)?;
            let mut md5 = s3s::crypto::Md5::new();
            each_block(&from, range.clone(), |block| {
                md5.update(block);
                file.write_all(block)
            })?;
            Ok(Received { new, file, bytes: range.end - range.start, md5: md5.finalize(), checksums: Checksums::default() })
        })
        .await?;
        self.keep_part(name, id, number, received).await
    }

    async fn keep_part(&self, name: &Name, id: Uuid, number: i32, received: Received) -> S3Result<Part> {
        let held = self.locks.hold(id).await;
        self.get(name, &id.to_string()).await?;
        let layout = self.store.layout.clone();
        detached(async move {
            let _held = held;
            blocking(move || {
                let folder = layout.upload(id);
                let Received { mut new, bytes, md5, checksums, .. } = received;
                let file = format!("{number:05}-{}", Uuid::new_v4().simple());
                let part = Part { file, bytes, md5, checksums, received: SystemTime::now() };
                let before = read_json::<Part>(&folder.join(part_file(number)))?;
                new.place(&folder.join(&part.file))?;
                // Not synced: a part that is lost with the power is missed when the upload is completed.
                let (mut record, mut file) = NewFile::create(&layout.incoming())?;
                file.write_all(&serde_json::to_vec(&part)?)?;
                record.place(&folder.join(part_file(number)))?;
                if let Some(before) = before {
                    remove_if_there(&folder.join(before.file))?;
                }
                Ok(part)
            })
            .await
        })
        .await
    }

    /// By number.
    pub async fn parts(&self, id: Uuid) -> S3Result<Vec<(i32, Part)>> {
        let folder = self.store.layout.upload(id);
        blocking(move || {
            let mut parts = vec![];
            for entry in fs::read_dir(&folder)? {
                let file = entry?.file_name();
                let number = file.to_str().and_then(|name| name.strip_suffix(".json")).and_then(|number| number.parse().ok());
                if let Some(number) = number
                    && let Some(part) = read_json(&folder.join(&file))?
                {
                    parts.push((number, part));
                }
            }
            parts.sort_by_key(|(number, _)| *number);
            Ok(parts)
        })
        .await
    }

    pub async fn complete(
        self: &Arc<Self>,
        access_key: String,
        name: Name,
        id: &str,
        wanted: Vec<CompletedPart>,
        said: SaidOfWhole,
        conditions: Conditions,
    ) -> S3Result<Placed> {
        let (this, id) = (self.clone(), id_of(id)?);
        // The client may give up waiting for a large object, and finds it there when it asks again.
        detached(async move {
            let _held = this.locks.hold(id).await;
            let upload = match this.get(&name, &id.to_string()).await {
                Ok((_, upload)) => upload,
                Err(missing) => return this.completed(&name, id).await?.ok_or(missing),
            };
            let known: HashMap<i32, Part> = this.parts(id).await?.into_iter().collect();
            let parts = chosen(&wanted, &known)?;
            let bytes: u64 = parts.iter().map(|part| part.bytes).sum();
            if said.bytes.is_some_and(|said| said.unsigned_abs() != bytes) {
                return Err(s3_error!(InvalidRequest, "The object has another size than the request says"));
            }
            let layout = this.store.layout.clone();
            let hasher = whole_hasher(&upload, &said.checksums);
            let (object, full) = blocking(move || {
                let (new, mut file) = NewFile::create(&layout.incoming())?;
                let full = put_together(&layout.upload(id), &parts, &mut file, hasher)?;
                let (checksums, composite) = match full {
                    Some(full) => (full, false),
                    None => (composite(&parts), true),
                };
                let hashes: Vec<_> = parts.iter().map(|part| part.md5).collect();
                let about = About {
                    etag: etag_of_parts(&hashes),
                    parts: parts.iter().map(|part| part.bytes).collect(),
                    attributes: upload.attributes,
                    checksums: checksums.clone(),
                    composite,
                };
                Ok((Complete { new, file, bytes, about }, checksums))
            })
            .await?;
            for (said, found) in [
                (said.checksums.crc32, full.crc32),
                (said.checksums.crc32c, full.crc32c),
                (said.checksums.crc64nvme, full.crc64nvme),
                (said.checksums.sha1, full.sha1),
                (said.checksums.sha256, full.sha256),
            ] {
                if said.is_some() && said != found {
                    return Err(s3_error!(BadDigest, "The checksum does not match the object"));
                }
            }
            let placed = this.store.replace(access_key, name.clone(), object, conditions).await?;
            this.end(id, Some(Done { bucket: name.bucket().to_owned(), key: name.key().to_owned(), etag: placed.about.etag.clone() }))
                .await?;
            Ok(placed)
        })
        .await
    }

    /// The object that this upload has become, if it is still that.
    async fn completed(&self, name: &Name, id: Uuid) -> S3Result<Option<Placed>> {
        let path = self.store.layout.upload(id).join(DONE_FILE);
        let done = blocking(move || read_json::<Done>(&path)).await?;
        let Some(done) = done.filter(|done| done.bucket == name.bucket() && done.key == name.key()) else { return Ok(None) };
        let found = self.store.look(name).await?.filter(|found| found.about.etag == done.etag);
        Ok(found.map(|found| Placed { about: found.about, modified: found.modified }))
    }

    pub async fn abort(self: &Arc<Self>, name: &Name, id: &str) -> S3Result<()> {
        let (this, name, id) = (self.clone(), name.clone(), id_of(id)?);
        detached(async move {
            let _held = this.locks.hold(id).await;
            this.get(&name, &id.to_string()).await?;
            this.end(id, None).await
        })
        .await
    }

    /// Removes the upload and its parts, and leaves a note of what has become of it.
    async fn end(&self, id: Uuid, done: Option<Done>) -> S3Result<()> {
        let layout = self.store.layout.clone();
        blocking(move || {
            let folder = layout.upload(id);
            let Some(done) = done else { return fs::remove_dir_all(&folder) };
            write_small(&layout.incoming(), &folder.join(DONE_FILE), &serde_json::to_vec(&done)?)?;
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_name() != DONE_FILE {
                    remove_if_there(&entry.path())?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Uploads of a bucket that are under way, by key and start.
    pub async fn list(&self, bucket: &str) -> S3Result<Vec<(Uuid, Upload)>> {
        let (layout, bucket) = (self.store.layout.clone(), bucket.to_owned());
        blocking(move || {
            let mut uploads = vec![];
            for entry in fs::read_dir(layout.uploads())? {
                let Some(id) = entry?.file_name().to_str().and_then(|id| Uuid::parse_str(id).ok()) else { continue };
                let upload = read_json::<Upload>(&layout.upload(id).join(UPLOAD_FILE))?;
                uploads.extend(upload.filter(|upload| upload.bucket == bucket).map(|upload| (id, upload)));
            }
            uploads.sort_by(|(a_id, a), (b_id, b)| (&a.key, a.initiated, a_id).cmp(&(&b.key, b.initiated, b_id)));
            Ok(uploads)
        })
        .await
    }

    /// Ends what nobody has continued for `expiry`: uploads of this layer, and what an earlier version left.
    pub async fn sweep(self: &Arc<Self>, expiry: Duration) -> S3Result<()> {
        let layout = self.store.layout.clone();
        let old = move |path: &Path| {
            // A folder changes with each part that is begun or done.
            let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
            changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|idle| idle >= expiry))
        };
        let uploads = layout.uploads();
        let candidates = blocking(move || {
            let ids = fs::read_dir(uploads)?.map(|entry| Ok(entry?.file_name().to_str().and_then(|id| Uuid::parse_str(id).ok())));
            ids.filter_map(Result::transpose).collect::<io::Result<Vec<Uuid>>>()
        })
        .await?;
        for id in candidates {
            let folder = layout.upload(id);
            if !old(&folder) {
                continue;
            }
            let held = self.locks.hold(id).await;
            detached(async move {
                let _held = held;
                blocking(move || {
                    if !old(&folder) {
                        return Ok(());
                    }
                    if folder.join(UPLOAD_FILE).exists() {
                        info!(upload.id = %id, "Ended the upload {id}, which nobody continued");
                    }
                    fs::remove_dir_all(&folder)
                })
                .await
            })
            .await?;
        }
        let root = layout.root().to_owned();
        blocking(move || {
            for entry in fs::read_dir(root)? {
                let entry = entry?;
                if entry.file_name().to_str().is_some_and(of_an_earlier_upload) && old(&entry.path()) {
                    remove_if_there(&entry.path())?;
                }
            }
            Ok(())
        })
        .await
    }
}

/// Files of uploads in parts, and unfinished ones, as version 0.1 left them beside the buckets.
fn of_an_earlier_upload(file: &str) -> bool {
    file.starts_with(".upload-")
        || file.starts_with(".upload_id-")
        || (file.starts_with(".tmp.") && file.ends_with(".internal.part"))
        || (file.starts_with(".bucket-") && file.contains(".upload-") && file.ends_with(".metadata.json"))
}

/// The parts that the client names, if each is what it says.
fn chosen(wanted: &[CompletedPart], known: &HashMap<i32, Part>) -> S3Result<Vec<Part>> {
    if wanted.is_empty() {
        return Err(s3_error!(MalformedXML, "At least one part must be named"));
    }
    let mut parts: Vec<Part> = vec![];
    let mut last = 0;
    for wanted in wanted {
        let number = wanted.part_number.ok_or_else(|| s3_error!(MalformedXML, "A part has no number"))?;
        if number <= last {
            return Err(s3_error!(InvalidPartOrder, "Parts must be named in ascending order"));
        }
        last = number;
        let invalid = |what: &str| s3_error!(InvalidPart, "Part {number} {what}");
        let part = known.get(&number).ok_or_else(|| invalid("was not uploaded"))?;
        if wanted.e_tag.as_ref().is_none_or(|said| said.value() != part.etag()) {
            return Err(invalid("has another entity tag"));
        }
        let sums = &part.checksums;
        for (said, found) in [
            (&wanted.checksum_crc32, &sums.crc32),
            (&wanted.checksum_crc32c, &sums.crc32c),
            (&wanted.checksum_crc64nvme, &sums.crc64nvme),
            (&wanted.checksum_sha1, &sums.sha1),
            (&wanted.checksum_sha256, &sums.sha256),
        ] {
            if said.is_some() && said != found {
                return Err(invalid("has another checksum"));
            }
        }
        if parts.last().is_some_and(|before| before.bytes < PART_BYTES_MIN) {
            return Err(s3_error!(EntityTooSmall, "Every part but the last has at least {PART_BYTES_MIN} bytes"));
        }
        parts.push(part.clone());
    }
    Ok(parts)
}

/// Hashes for checksums of the whole object, where some are wanted.
fn whole_hasher(upload: &Upload, said: &Checksums) -> Option<ChecksumHasher> {
    let whole = |said: &Option<String>| said.as_ref().is_some_and(|said| !said.contains('-'));
    // S3 knows this one of whole objects only.
    let of_whole = upload.full_object || upload.algorithm.as_deref() == Some("CRC64NVME");
    let wanted = |algorithm: &str, said: &Option<String>| (of_whole && upload.algorithm.as_deref() == Some(algorithm)) || whole(said);
    let hasher = ChecksumHasher {
        crc32: wanted("CRC32", &said.crc32).then(Default::default),
        crc32c: wanted("CRC32C", &said.crc32c).then(Default::default),
        crc64nvme: wanted("CRC64NVME", &said.crc64nvme).then(Default::default),
        sha1: wanted("SHA1", &said.sha1).then(Default::default),
        sha256: wanted("SHA256", &said.sha256).then(Default::default),
    };
    let some =
        hasher.crc32.is_some() || hasher.crc32c.is_some() || hasher.crc64nvme.is_some() || hasher.sha1.is_some() || hasher.sha256.is_some();
    some.then_some(hasher)
}

/// Writes the parts one after the other. Inside the kernel, unless they have to be seen.
fn put_together(folder: &Path, parts: &[Part], whole: &mut File, hasher: Option<ChecksumHasher>) -> io::Result<Option<Checksums>> {
    let mut hasher = hasher;
    for part in parts {
        let mut file = File::open(folder.join(&part.file))?;
        let copied = match &mut hasher {
            None => io::copy(&mut file, whole)?,
            Some(hasher) => each_block(&file, 0..part.bytes, |block| {
                hasher.update(block);
                whole.write_all(block)
            })
            .map(|()| part.bytes)?,
        };
        if copied != part.bytes {
            return Err(io::Error::other("a part was cut short"));
        }
    }
    Ok(hasher.map(|hasher| hasher.finalize().into()))
}

fn each_block(file: &File, range: std::ops::Range<u64>, mut with: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    let mut at = range.start;
    while at < range.end {
        let length = BLOCK.min(usize::try_from(range.end - at).unwrap_or(BLOCK));
        file.read_exact_at(&mut block[..length], at)?;
        with(&block[..length])?;
        at += length as u64;
    }
    Ok(())
}

/// The checksum of the parts' checksums, of every kind that all parts have.
fn composite(parts: &[Part]) -> Checksums {
    fn of<C: Checksum>(parts: &[Part], sum: impl Fn(&Checksums) -> &Option<String>) -> Option<String> {
        let sums: Option<Vec<Vec<u8>>> = parts.iter().map(|part| STANDARD.decode(sum(&part.checksums).as_ref()?).ok()).collect();
        Some(format!("{}-{}", STANDARD.encode(C::checksum(&sums?.concat())), parts.len()))
    }
    Checksums {
        crc32: of::<Crc32>(parts, |sums| &sums.crc32),
        crc32c: of::<Crc32c>(parts, |sums| &sums.crc32c),
        crc64nvme: of::<Crc64Nvme>(parts, |sums| &sums.crc64nvme),
        sha1: of::<Sha1>(parts, |sums| &sums.sha1),
        sha256: of::<Sha256>(parts, |sums| &sums.sha256),
    }
}

impl Uploads {
    /// Sweeps now and then until it is dropped.
    pub async fn sweep_for_ever(self: Arc<Self>, expiry: Duration) {
        let pause = (expiry / 4).clamp(Duration::from_secs(1), Duration::from_secs(3600));
        loop {
            if let Err(error) = self.sweep(expiry).await {
                tracing::warn!(error = chain(&error), "Cannot end abandoned uploads; tries again later");
            }
            tokio::time::sleep(pause).await;
        }
    }
}
