//! Buckets, their objects, and uploads in parts: what S3 and OSS know, in memory. Only the bytes are elsewhere, in `content`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::OnceLock;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use s3s::crypto::{Crc32, Crc32c, Sha1, Sha256};
use s3s::dto::{Checksum, CompletedPart, ETag, ETagCondition, Metadata};
use s3s::{S3Result, s3_error};
use uuid::Uuid;

use super::content::{Piece, Received, joined_crc64};
use super::dialect::Dialect;
use super::ledger::Place;

/// The limit of S3 and of OSS.
const PARTS_MAX: i32 = 10_000;

/// What a client says of an object beside its bytes, and gets back.
#[derive(Debug, Clone, Default)]
pub struct Attributes {
    pub metadata: Option<Metadata>,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub content_disposition: Option<String>,
    pub content_language: Option<String>,
    pub cache_control: Option<String>,
}

#[derive(Debug)]
pub struct Object {
    pub pieces: Vec<Piece>,
    pub etag: String,
    pub sums: Checksum,
    /// Of an object that came in parts, where these were hashed: the checksum of their checksums.
    pub composite_sha256: Option<String>,
    /// Of all bytes, once it is known.
    pub sha256: OnceLock<String>,
    /// Where it was taken: see `Said::for_oss`.
    pub crc64: Option<u64>,
    pub attributes: Attributes,
    pub modified: SystemTime,
}

impl Object {
    pub fn whole(received: Received, attributes: Attributes, dialect: Dialect) -> Self {
        Self {
            etag: dialect.tag(received.tag),
            sums: received.sums,
            composite_sha256: None,
            sha256: received.sha256.map(|sum| OnceLock::from(hex::encode(sum))).unwrap_or_default(),
            crc64: received.crc64,
            pieces: vec![received.piece],
            attributes,
            modified: SystemTime::now(),
        }
    }

    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.bytes).sum()
    }

    /// As its tag tells clients, too.
    pub fn came_in_parts(&self) -> bool {
        self.etag.contains('-')
    }

    pub fn tag(&self) -> ETag {
        ETag::Strong(self.etag.clone())
    }
}

#[derive(Debug, Clone)]
pub struct Part {
    pub received: Received,
    pub etag: String,
    pub at: SystemTime,
}

#[derive(Debug, Clone)]
pub struct Upload {
    pub place: Place,
    pub attributes: Attributes,
    /// Which checksum each part has to come with.
    pub algorithm: Option<String>,
    pub begun: SystemTime,
    pub parts: BTreeMap<i32, Part>,
}

/// What a client says of the object when it completes an upload.
#[derive(Debug, Default)]
pub struct SaidOfWhole {
    pub bytes: Option<i64>,
    pub sums: Checksum,
}

/// What has to hold of the object that is there, or is not, before a write.
#[derive(Debug, Default)]
pub struct Conditions {
    pub if_match: Option<ETagCondition>,
    pub if_none_match: Option<ETagCondition>,
}

impl Conditions {
    fn check(&self, found: Option<&Object>) -> S3Result<()> {
        let is = |wanted: &ETagCondition, found: &Object| wanted.as_etag().is_none_or(|wanted| wanted.weak_cmp(&found.tag()));
        match (found, &self.if_match, &self.if_none_match) {
            (None, Some(_), _) => Err(s3_error!(NoSuchKey, "There is no object that could match")),
            (Some(found), Some(wanted), _) if !is(wanted, found) => Err(s3_error!(PreconditionFailed, "There is another object")),
            (Some(found), _, Some(unwanted)) if is(unwanted, found) => Err(s3_error!(PreconditionFailed, "The object is there")),
            _ => Ok(()),
        }
    }
}

/// What is there, and what is under way.
pub struct Everything {
    pub objects: BTreeMap<Place, Arc<Object>>,
    pub uploads: Vec<(String, Upload)>,
}

pub struct Listed {
    pub objects: Vec<(String, Arc<Object>)>,
    pub prefixes: Vec<String>,
    /// Where the next page goes on, if there is one.
    pub next: Option<String>,
}

struct Shelves {
    buckets: BTreeMap<String, BTreeMap<String, Arc<Object>>>,
    uploads: BTreeMap<String, Upload>,
}

pub struct Shelf {
    dialect: Dialect,
    shelves: Mutex<Shelves>,
}

impl Shelf {
    pub fn new(buckets: &[String], dialect: Dialect) -> Self {
        let buckets = buckets.iter().map(|name| (name.clone(), BTreeMap::new())).collect();
        Self { dialect, shelves: Mutex::new(Shelves { buckets, uploads: BTreeMap::new() }) }
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn buckets(&self) -> Vec<String> {
        self.shelves().buckets.keys().cloned().collect()
    }

    pub fn must_have_bucket(&self, name: &str) -> S3Result<()> {
        self.shelves().bucket(name).map(drop)
    }

    pub fn find(&self, place: &Place) -> S3Result<Option<Arc<Object>>> {
        Ok(self.shelves().bucket(&place.0)?.get(&place.1).cloned())
    }

    pub fn everything(&self) -> Everything {
        let shelves = self.shelves();
        let mut objects = BTreeMap::new();
        for (bucket, of) in &shelves.buckets {
            objects.extend(of.iter().map(|(key, object)| ((bucket.clone(), key.clone()), object.clone())));
        }
        Everything { objects, uploads: shelves.uploads.iter().map(|(id, upload)| (id.clone(), upload.clone())).collect() }
    }

    /// Whether an object may be written, before its bytes are received.
    pub fn allow(&self, place: &Place, conditions: &Conditions) -> S3Result<()> {
        conditions.check(self.find(place)?.as_deref())
    }

    /// An object that came in one body.
    pub fn place(&self, place: &Place, received: Received, attributes: Attributes, conditions: &Conditions) -> S3Result<Arc<Object>> {
        self.shelves().place(place, Object::whole(received, attributes, self.dialect), conditions)
    }

    pub fn remove(&self, place: &Place) -> S3Result<()> {
        self.shelves().bucket(&place.0)?.remove(&place.1);
        Ok(())
    }

    pub fn list(&self, bucket: &str, prefix: &str, delimiter: Option<&str>, after: &str, max: usize) -> S3Result<Listed> {
        let mut shelves = self.shelves();
        let objects = shelves.bucket(bucket)?;
        let mut page = Listed { objects: vec![], prefixes: vec![], next: None };
        let mut last = String::new();
        let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty());
        for (key, object) in objects.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)) {
            let Some(rest) = key.strip_prefix(prefix) else { break };
            let folded = delimiter.and_then(|delimiter| rest.find(delimiter).map(|at| &key[..prefix.len() + at + delimiter.len()]));
            let shown = folded.unwrap_or(key);
            if shown <= after || page.prefixes.last().is_some_and(|last| last == shown) {
                continue;
            }
            if page.objects.len() + page.prefixes.len() >= max {
                page.next = (max > 0).then_some(last);
                break;
            }
            shown.clone_into(&mut last);
            match folded {
                Some(folded) => page.prefixes.push(folded.to_owned()),
                None => page.objects.push((key.clone(), object.clone())),
            }
        }
        Ok(page)
    }

    pub fn begin(&self, place: Place, attributes: Attributes, algorithm: Option<String>) -> S3Result<String> {
        let mut shelves = self.shelves();
        shelves.bucket(&place.0)?;
        let id = Uuid::new_v4().simple().to_string();
        shelves.uploads.insert(id.clone(), Upload { place, attributes, algorithm, begun: SystemTime::now(), parts: BTreeMap::new() });
        Ok(id)
    }

    /// Whether this part may come, before its bytes are received.
    pub fn allow_part(&self, place: &Place, id: &str, number: i32, sums: &Checksum, asked: Option<&str>) -> S3Result<()> {
        if !(1..=PARTS_MAX).contains(&number) {
            return Err(s3_error!(InvalidArgument, "Part number must be an integer between 1 and {PARTS_MAX}, inclusive"));
        }
        let mut shelves = self.shelves();
        let upload = shelves.upload(place, id)?;
        match &upload.algorithm {
            Some(algorithm) if of(sums, algorithm).is_none() && asked != Some(algorithm) => {
                Err(s3_error!(InvalidRequest, "The upload was begun with {algorithm}: each part has to come with that checksum"))
            }
            _ => Ok(()),
        }
    }

    pub fn keep_part(&self, place: &Place, id: &str, number: i32, received: Received) -> S3Result<Part> {
        let part = Part { etag: self.dialect.tag(received.tag), received, at: SystemTime::now() };
        self.shelves().upload(place, id)?.parts.insert(number, part.clone());
        Ok(part)
    }

    pub fn upload(&self, place: &Place, id: &str) -> S3Result<Upload> {
        self.shelves().upload(place, id).cloned()
    }

    pub fn uploads_of(&self, bucket: &str) -> S3Result<Vec<(String, Upload)>> {
        self.must_have_bucket(bucket)?;
        let mut uploads = self.everything().uploads;
        uploads.retain(|(_, upload)| upload.place.0 == bucket);
        uploads.sort_by(|(_, a), (_, b)| (&a.place.1, a.begun).cmp(&(&b.place.1, b.begun)));
        Ok(uploads)
    }

    pub fn complete(
        &self,
        place: &Place,
        id: &str,
        wanted: &[CompletedPart],
        said: &SaidOfWhole,
        conditions: &Conditions,
    ) -> S3Result<Arc<Object>> {
        let mut shelves = self.shelves();
        let object = put_together(shelves.upload(place, id)?, wanted, said, self.dialect)?;
        let placed = shelves.place(place, object, conditions)?;
        shelves.uploads.remove(id);
        Ok(placed)
    }

    pub fn abort(&self, place: &Place, id: &str) -> S3Result<()> {
        let mut shelves = self.shelves();
        shelves.upload(place, id)?;
        shelves.uploads.remove(id);
        Ok(())
    }
}

impl Shelves {
    fn bucket(&mut self, name: &str) -> S3Result<&mut BTreeMap<String, Arc<Object>>> {
        self.buckets.get_mut(name).ok_or_else(|| s3_error!(NoSuchBucket, "There is no bucket {name}; --bucket makes one"))
    }

    fn upload(&mut self, place: &Place, id: &str) -> S3Result<&mut Upload> {
        let upload = self.uploads.get_mut(id).filter(|upload| upload.place == *place);
        upload.ok_or_else(|| s3_error!(NoSuchUpload, "There is no such upload: it may have been completed or aborted"))
    }

    fn place(&mut self, place: &Place, object: Object, conditions: &Conditions) -> S3Result<Arc<Object>> {
        let objects = self.bucket(&place.0)?;
        conditions.check(objects.get(&place.1).map(Arc::as_ref))?;
        let object = Arc::new(object);
        objects.insert(place.1.clone(), object.clone());
        Ok(object)
    }
}

/// One of the checksums, by the name of its algorithm.
fn of<'a>(sums: &'a Checksum, algorithm: &str) -> Option<&'a String> {
    match algorithm {
        "CRC32" => sums.checksum_crc32.as_ref(),
        "CRC32C" => sums.checksum_crc32c.as_ref(),
        "SHA1" => sums.checksum_sha1.as_ref(),
        "SHA256" => sums.checksum_sha256.as_ref(),
        "CRC64NVME" => sums.checksum_crc64nvme.as_ref(),
        _ => None,
    }
}

const ALGORITHMS: [&str; 5] = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"];

fn sums_of(named: &CompletedPart) -> Checksum {
    Checksum {
        checksum_crc32: named.checksum_crc32.clone(),
        checksum_crc32c: named.checksum_crc32c.clone(),
        checksum_crc64nvme: named.checksum_crc64nvme.clone(),
        checksum_sha1: named.checksum_sha1.clone(),
        checksum_sha256: named.checksum_sha256.clone(),
        checksum_type: None,
    }
}

fn put_together(upload: &Upload, wanted: &[CompletedPart], said: &SaidOfWhole, dialect: Dialect) -> S3Result<Object> {
    if wanted.is_empty() {
        return Err(s3_error!(MalformedXML, "An object is made of one part at least"));
    }
    let (mut parts, mut before) = (vec![], 0);
    for named in wanted {
        let number = named.part_number.unwrap_or_default();
        if number <= before {
            return Err(s3_error!(InvalidPartOrder, "Parts have to be named in ascending order"));
        }
        before = number;
        let sums = sums_of(named);
        let is_it = |part: &&Part| {
            let same = |algorithm: &&str| of(&sums, algorithm).is_none_or(|named| of(&part.received.sums, algorithm) == Some(named));
            named.e_tag.as_ref().is_some_and(|tag| tag.value() == part.etag) && ALGORITHMS.iter().all(same)
        };
        let Some(part) = upload.parts.get(&number).filter(is_it) else {
            return Err(s3_error!(InvalidPart, "Part {number} was not received, or has another tag or checksum"));
        };
        if let Some(algorithm) = &upload.algorithm
            && of(&sums, algorithm).is_none()
        {
            return Err(s3_error!(InvalidRequest, "The upload was begun with {algorithm}: the checksum of part {number} has to be named"));
        }
        parts.push(&part.received);
    }
    let least = dialect.part_bytes_min();
    if parts.iter().rev().skip(1).any(|part| part.piece.bytes < least) {
        return Err(s3_error!(EntityTooSmall, "Every part but the last has at least {least} bytes"));
    }
    let sums = match &upload.algorithm {
        Some(algorithm) => composite(&parts, algorithm),
        None => Checksum::default(),
    };
    let hashed: Option<Vec<[u8; 32]>> = parts.iter().map(|part| part.sha256).collect();
    let object = Object {
        pieces: parts.iter().map(|part| part.piece.clone()).collect(),
        etag: dialect.tag_of_parts(&parts.iter().map(|part| part.tag).collect::<Vec<_>>()),
        sums,
        composite_sha256: hashed.map(|sums| composite_of::<Sha256>(&sums.concat(), parts.len())),
        sha256: OnceLock::new(),
        crc64: joined_crc64(&parts),
        attributes: upload.attributes.clone(),
        modified: SystemTime::now(),
    };
    if said.bytes.is_some_and(|said| said.unsigned_abs() != object.bytes()) {
        return Err(s3_error!(InvalidRequest, "The object has another size than the request says"));
    }
    for algorithm in ALGORITHMS {
        let Some(said) = of(&said.sums, algorithm) else { continue };
        // Clients write it with the number of parts behind it, and without.
        let found = of(&object.sums, algorithm);
        if found.is_none_or(|found| found != said && found.split('-').next() != Some(said)) {
            return Err(s3_error!(BadDigest, "The {algorithm} does not match the object"));
        }
    }
    Ok(object)
}

/// The checksum of the parts' checksums.
fn composite(parts: &[&Received], algorithm: &str) -> Checksum {
    let decoded = |part: &&Received| of(&part.sums, algorithm).and_then(|sum| STANDARD.decode(sum).ok()).unwrap_or_default();
    let joined: Vec<u8> = parts.iter().flat_map(decoded).collect();
    let count = parts.len();
    match algorithm {
        "CRC32" => Checksum { checksum_crc32: Some(composite_of::<Crc32>(&joined, count)), ..Checksum::default() },
        "CRC32C" => Checksum { checksum_crc32c: Some(composite_of::<Crc32c>(&joined, count)), ..Checksum::default() },
        "SHA1" => Checksum { checksum_sha1: Some(composite_of::<Sha1>(&joined, count)), ..Checksum::default() },
        _ => Checksum { checksum_sha256: Some(composite_of::<Sha256>(&joined, count)), ..Checksum::default() },
    }
}

fn composite_of<C: s3s::crypto::Checksum>(joined: &[u8], parts: usize) -> String {
    format!("{}-{parts}", STANDARD.encode(C::checksum(joined)))
}

#[cfg(test)]
mod tests {
    use s3s::S3ErrorCode;
    use s3s::crypto::{Checksum as _, Md5};

    use super::*;

    const PART_BYTES_MIN: u64 = 5 << 20;

    fn shelf() -> Shelf {
        Shelf::new(&["cloud".to_owned()], Dialect::S3)
    }

    fn place(key: &str) -> Place {
        ("cloud".to_owned(), key.to_owned())
    }

    /// Of bytes that are nowhere, all of them zero.
    fn received(bytes: u64, tag: u8) -> Received {
        let sums = Checksum { checksum_sha256: Some(STANDARD.encode([tag; 32])), ..Checksum::default() };
        Received { piece: Piece::nowhere(bytes), tag: [tag; 16], sha256: Some([tag; 32]), crc64: None, sums }
    }

    fn named(number: i32, tag: u8, sha256: bool) -> CompletedPart {
        CompletedPart {
            part_number: Some(number),
            e_tag: Some(ETag::Strong(hex::encode([tag; 16]))),
            checksum_sha256: sha256.then(|| STANDARD.encode([tag; 32])),
            ..CompletedPart::default()
        }
    }

    fn begun(shelf: &Shelf, algorithm: Option<&str>) -> String {
        let id = shelf.begin(place("a"), Attributes::default(), algorithm.map(str::to_owned)).unwrap();
        for (number, bytes) in [(1, PART_BYTES_MIN), (2, PART_BYTES_MIN), (7, 3)] {
            shelf.keep_part(&place("a"), &id, number, received(bytes, number as u8)).unwrap();
        }
        id
    }

    fn completed(shelf: &Shelf, id: &str, wanted: &[CompletedPart], sha256: Option<&str>) -> Result<Arc<Object>, S3ErrorCode> {
        let said = SaidOfWhole { bytes: None, sums: Checksum { checksum_sha256: sha256.map(str::to_owned), ..Checksum::default() } };
        shelf.complete(&place("a"), id, wanted, &said, &Conditions::default()).map_err(|error| error.code().clone())
    }

    #[test]
    fn an_upload_is_completed_as_it_was_received_or_not_at_all() {
        let shelf = shelf();
        let id = begun(&shelf, Some("SHA256"));
        let all = [named(1, 1, true), named(2, 2, true), named(7, 7, true)];
        assert_eq!(completed(&shelf, &id, &[], None).unwrap_err(), S3ErrorCode::MalformedXML);
        assert_eq!(completed(&shelf, &id, &[named(2, 2, true), named(1, 1, true)], None).unwrap_err(), S3ErrorCode::InvalidPartOrder);
        assert_eq!(completed(&shelf, &id, &[named(1, 2, true)], None).unwrap_err(), S3ErrorCode::InvalidPart);
        assert_eq!(completed(&shelf, &id, &[named(3, 3, true)], None).unwrap_err(), S3ErrorCode::InvalidPart);
        assert_eq!(completed(&shelf, &id, &[named(1, 1, false)], None).unwrap_err(), S3ErrorCode::InvalidRequest);
        let other = CompletedPart { checksum_sha256: Some(STANDARD.encode([9; 32])), ..named(1, 1, true) };
        assert_eq!(completed(&shelf, &id, &[other], None).unwrap_err(), S3ErrorCode::InvalidPart);
        let wrong = format!("{}-3", STANDARD.encode([9; 32]));
        assert_eq!(completed(&shelf, &id, &all, Some(&wrong)).unwrap_err(), S3ErrorCode::BadDigest);
        assert!(shelf.find(&place("a")).unwrap().is_none());

        let joined = [[1; 32], [2; 32], [7; 32]].concat();
        let composite = format!("{}-3", STANDARD.encode(Sha256::checksum(&joined)));
        let object = completed(&shelf, &id, &all, Some(&composite)).unwrap();
        assert_eq!((object.bytes(), object.sums.checksum_sha256.as_deref()), (2 * PART_BYTES_MIN + 3, Some(&*composite)));
        assert_eq!(object.etag, format!("{}-3", hex::encode(Md5::checksum(&[[1; 16], [2; 16], [7; 16]].concat()))));
        assert_eq!(completed(&shelf, &id, &all, None).unwrap_err(), S3ErrorCode::NoSuchUpload);
    }

    #[test]
    fn small_parts_are_allowed_at_the_end_only() {
        let shelf = shelf();
        let id = begun(&shelf, None);
        shelf.keep_part(&place("a"), &id, 8, received(3, 8)).unwrap();
        let wanted = [named(7, 7, false), named(8, 8, false)];
        assert_eq!(completed(&shelf, &id, &wanted, None).unwrap_err(), S3ErrorCode::EntityTooSmall);
        assert!(completed(&shelf, &id, &[named(1, 1, false), named(8, 8, false)], None).is_ok());
    }

    #[test]
    fn a_write_that_wants_nothing_there_finds_nothing_there() {
        let shelf = shelf();
        let absent = || Conditions { if_none_match: Some(ETagCondition::Any), ..Conditions::default() };
        let put = |place: Place, conditions| shelf.place(&place, received(3, 1), Attributes::default(), &conditions);
        let code = |outcome: S3Result<Arc<Object>>| outcome.map(|_| ()).map_err(|error| error.code().clone());
        assert_eq!(code(put(place("a"), absent())), Ok(()));
        assert_eq!(code(put(place("a"), absent())), Err(S3ErrorCode::PreconditionFailed));
        let id = begun(&shelf, None);
        let complete = |conditions| shelf.complete(&place("a"), &id, &[named(1, 1, false)], &SaidOfWhole::default(), &conditions);
        assert_eq!(code(complete(absent())), Err(S3ErrorCode::PreconditionFailed));
        let tag = |text: String| Conditions { if_match: Some(ETagCondition::ETag(ETag::Strong(text))), ..Conditions::default() };
        assert_eq!(code(complete(tag(hex::encode([2; 16])))), Err(S3ErrorCode::PreconditionFailed));
        assert_eq!(code(complete(tag(hex::encode([1; 16])))), Ok(()));
        assert_eq!(code(put(place("b"), tag(String::new()))), Err(S3ErrorCode::NoSuchKey));
    }

    #[test]
    fn pages_together_are_all_keys() {
        let shelf = shelf();
        for key in ["a", "a/1", "a/2", "b/1", "b/2", "c"] {
            shelf.place(&place(key), received(1, 1), Attributes::default(), &Conditions::default()).unwrap();
        }
        let pages = |prefix: &str, delimiter: Option<&str>, max| {
            let (mut shown, mut after) = (vec![], String::new());
            loop {
                let page = shelf.list("cloud", prefix, delimiter, &after, max).unwrap();
                let mut of_page: Vec<_> = page.objects.into_iter().map(|(key, _)| key).chain(page.prefixes).collect();
                of_page.sort_unstable();
                shown.append(&mut of_page);
                match page.next {
                    Some(next) => after = next,
                    None => return shown,
                }
            }
        };
        for max in 1..8 {
            assert_eq!(pages("", None, max), ["a", "a/1", "a/2", "b/1", "b/2", "c"], "{max}");
            assert_eq!(pages("", Some("/"), max), ["a", "a/", "b/", "c"], "{max}");
            assert_eq!(pages("a/", Some("/"), max), ["a/1", "a/2"], "{max}");
        }
        assert!(shelf.list("other", "", None, "", 1).is_err());
    }
}
