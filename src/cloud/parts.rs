//! A recording in parts: how it is cut, what each part is, and several of them on their way at once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use md5::Md5;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tracing::warn;

use super::background;
use super::store::{ListedPart, Store, StoreError};
use super::{Journal, Push, PushError, PushResult, Room};
use crate::blobs::{Blobs, ObjectFacts, ObjectKey, OpenObject, same_etag};
use crate::domain::sync::{FinishedPart, Leg, PARTS_OF_AN_EVENT_MAX, StartedUpload, SyncFault};
use crate::telemetry::chain;

/// S3 takes ten thousand; some room is left.
const PARTS_MAX: u64 = 9_000;
const MIB: u64 = 1 << 20;

/// Between the tries of one part, before the attempt has failed; and of a piece that is read back.
pub const PART_WAITS: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];

/// Parts are written down when there are so many, or it was so long ago.
const NOTED_EVERY: Duration = Duration::from_secs(5);

/// How a recording is cut: the same each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub size: u64,
    pub part_bytes: u64,
    pub count: u64,
}

impl Plan {
    pub fn of(size: u64, part_bytes: u64) -> Self {
        let least = size.div_ceil(PARTS_MAX);
        let part_bytes = if part_bytes >= least { part_bytes.max(1) } else { least.div_ceil(MIB) * MIB };
        Self { size, part_bytes, count: size.div_ceil(part_bytes).max(1) }
    }

    /// Of the part of this number, from 1.
    pub fn range(&self, number: u32) -> Range<u64> {
        let start = u64::from(number.saturating_sub(1)).saturating_mul(self.part_bytes).min(self.size);
        start..start.saturating_add(self.part_bytes).min(self.size)
    }

    fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        1..=u32::try_from(self.count).unwrap_or(u32::MAX)
    }
}

/// One version of a recording in the edge storage.
#[derive(Clone)]
pub struct Recording {
    pub object: OpenObject,
    pub size: u64,
    pub etag: String,
    /// In hex.
    pub sha256: String,
    /// In the cloud.
    pub key: String,
    /// The id that people and the cloud see.
    pub episode: String,
    /// Where it is read into.
    pub room: Room,
}

/// An upload, and what it has.
pub struct Upload {
    pub id: String,
    pub have: BTreeMap<u32, FinishedPart>,
}

pub fn base64_sha256(content: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(content))
}

/// The same of a hash that is given in hex.
pub fn base64_of_hex(sha256: &str) -> Option<String> {
    hex::decode(sha256).ok().map(|digest| STANDARD.encode(digest))
}

pub fn md5_hex(content: &[u8]) -> String {
    hex::encode(Md5::digest(content))
}

/// Quotes are part of the header, and some servers write hex in upper case.
pub fn same_tag(a: &str, b: &str) -> bool {
    a.trim_matches('"').eq_ignore_ascii_case(b.trim_matches('"'))
}

/// An entity tag of a foreign server, harmless whatever it is.
pub fn tag_shown(etag: &str) -> String {
    etag.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(80).collect()
}

/// Whether this is what a store says that it has: by its checksum, or else by the entity tag.
pub async fn is_what_arrived(content: &Bytes, sha256: &str, told: Option<&str>, etag: &str) -> PushResult<bool> {
    match told {
        Some(told) => Ok(told == sha256),
        None => Ok(same_tag(&tag_of(content).await?, etag)),
    }
}

/// As a server without checksums gives it: of a part, or of an object that was sent as a whole.
pub async fn tag_of(content: &Bytes) -> PushResult<String> {
    let content = content.clone();
    computed(move || md5_hex(&content)).await
}

/// Behind what has to answer at once.
async fn computed<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> PushResult<T> {
    background::computed(work).await.ok_or_else(|| PushError::again(SyncFault::Internal, "a computation panicked"))
}

/// The checksum of an object made of these parts: that of their checksums, and their number.
pub fn composite(parts: &[FinishedPart]) -> Option<String> {
    let mut all = Sha256::new();
    for part in parts {
        all.update(STANDARD.decode(&part.sha256).ok()?);
    }
    Some(format!("{}-{}", STANDARD.encode(all.finalize()), parts.len()))
}

/// The same by MD5, as entity tags are made: of one part, that of the part.
pub fn composite_tag(parts: &[FinishedPart]) -> Option<String> {
    if let [only] = parts {
        return Some(only.etag.clone());
    }
    let mut all = Md5::new();
    for part in parts {
        all.update(hex::decode(part.etag.trim_matches('"')).ok()?);
    }
    Some(format!("{}-{}", hex::encode(all.finalize()), parts.len()))
}

impl Recording {
    /// The recording of an episode, where it still is the one that was verified: by its entity tag, or, where that is another one because the same bytes
    /// were written once more, by these. In the cloud it has the same key, as long as no other one is said.
    pub async fn open(push: &Push<'_>, room: &Room) -> PushResult<Self> {
        let queued = &push.chain.queued;
        let facts = push.blobs.head(&push.source).await?;
        let is_other = push.created.etag.as_ref().is_some_and(|etag| !same_etag(etag, &facts.etag));
        if facts.size != queued.size_bytes
            || (is_other && sha256_of(push.blobs, &push.source, &facts).await? != queued.sha256.to_lowercase())
        {
            let text = format!("the object `{}` is another one than was verified: {} bytes, {}", push.source, facts.size, facts.etag);
            return Err(PushError::never(SyncFault::SourceChanged, text));
        }
        Ok(Self {
            object: push.blobs.open(&push.source, &facts).await?,
            size: facts.size,
            etag: facts.etag,
            sha256: queued.sha256.clone(),
            key: push.source.to_string(),
            episode: queued.episode_public_id.clone(),
            room: room.clone(),
        })
    }

    pub fn at(self, key: String) -> Self {
        Self { key, ..self }
    }

    /// All of it, which has to be what was verified, as one part without an entity tag.
    pub async fn whole(&self) -> PushResult<(Bytes, FinishedPart)> {
        let content = self.read(0..self.size).await?;
        let hashed = content.clone();
        let digest = computed(move || Sha256::digest(hashed)).await?;
        if !hex::encode(digest).eq_ignore_ascii_case(&self.sha256) {
            return Err(is_another());
        }
        Ok((content, FinishedPart { number: 1, etag: String::new(), sha256: STANDARD.encode(digest) }))
    }

    async fn read(&self, range: Range<u64>) -> PushResult<Bytes> {
        let mut place = self.room.take(range.end - range.start).await;
        place.buffer = self.object.read(range, std::mem::take(&mut place.buffer)).await?;
        Ok(place.filled())
    }

    async fn part(&self, plan: &Plan, number: u32) -> PushResult<(Bytes, String)> {
        let content = self.read(plan.range(number)).await?;
        let hashed = content.clone();
        Ok((content, computed(move || base64_sha256(&hashed)).await?))
    }

    /// A part that comes behind those before it, which are hashed together with it.
    async fn part_of(&self, plan: &Plan, number: u32, whole: Arc<Mutex<Sha256>>) -> PushResult<(Bytes, String)> {
        let content = self.read(plan.range(number)).await?;
        let (hashed, all) = (content.clone(), content.clone());
        let ((), sha256) = tokio::try_join!(
            computed(move || whole.lock().unwrap_or_else(PoisonError::into_inner).update(&all)),
            computed(move || base64_sha256(&hashed))
        )?;
        Ok((content, sha256))
    }

    /// What each part of it is, with the entity tags that a server without checksums gives them.
    pub async fn all_parts(&self, plan: &Plan) -> PushResult<Vec<FinishedPart>> {
        let mut parts = vec![];
        for number in plan.numbers() {
            let (content, sha256) = self.part(plan, number).await?;
            let etag = computed(move || md5_hex(&content)).await?;
            parts.push(FinishedPart { number, etag, sha256 });
        }
        Ok(parts)
    }

    /// Of the parts that the store has, those that are parts of this recording. Those that were written down are known; others are compared.
    pub async fn compared(
        &self,
        plan: &Plan,
        listed: Vec<ListedPart>,
        noted: &BTreeMap<u32, FinishedPart>,
    ) -> PushResult<BTreeMap<u32, FinishedPart>> {
        let mut have = BTreeMap::new();
        for part in listed {
            let range = plan.range(part.number);
            if part.number == 0 || u64::from(part.number) > plan.count || part.size != range.end - range.start {
                continue;
            }
            if let Some(known) = noted.get(&part.number).filter(|known| same_tag(&known.etag, &part.etag)) {
                have.insert(part.number, known.clone());
                continue;
            }
            let (content, sha256) = self.part(plan, part.number).await?;
            if is_what_arrived(&content, &sha256, part.sha256.as_deref(), &part.etag).await? {
                have.insert(part.number, FinishedPart { number: part.number, etag: part.etag, sha256 });
            }
        }
        Ok(have)
    }
}

/// The upload that a leg began, with what the store has of it, where it is still of this recording and cut in the same way. None: it begins anew.
pub async fn begun(store: &dyn Store, bucket: &str, leg: &Leg, recording: &Recording, plan: &Plan) -> PushResult<Option<Upload>> {
    let is_of_it = |begun: &&StartedUpload| {
        begun.bucket == bucket
            && begun.object_key == recording.key
            && begun.part_bytes == plan.part_bytes
            && same_etag(&begun.source_etag, &recording.etag)
    };
    let Some(begun) = leg.upload.as_ref().filter(is_of_it) else { return Ok(None) };
    let have = match store.list_parts(&recording.key, &begun.upload_id).await {
        Ok(listed) => recording.compared(plan, listed, &leg.parts).await?,
        // It cannot be asked; what was written down is what was acknowledged.
        Err(StoreError::Refused { .. } | StoreError::Strange { .. }) => leg.parts.clone(),
        Err(StoreError::NoUpload | StoreError::NoObject) => {
            // Where it was completed, the object is there, and was found before.
            warn!(episode.id = recording.episode, "The cloud has forgotten an upload that was begun; it begins anew");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Some(Upload { id: begun.upload_id.clone(), have }))
}

/// An upload that was just begun, written down before anything is sent.
pub async fn noted(
    store: &dyn Store,
    bucket: &str,
    id: String,
    recording: &Recording,
    plan: &Plan,
    journal: &dyn Journal,
) -> PushResult<Upload> {
    let upload = StartedUpload {
        bucket: bucket.to_owned(),
        object_key: recording.key.clone(),
        upload_id: id.clone(),
        part_bytes: plan.part_bytes,
        source_etag: recording.etag.clone(),
    };
    if let Err(error) = journal.upload_started(&upload).await {
        // Nobody would know of it.
        let _ = store.abort(&recording.key, &id).await;
        return Err(error.into());
    }
    Ok(Upload { id, have: BTreeMap::new() })
}

/// Sends what the upload does not have. What arrived is written down, also where something else failed. All of the recording is read, also what was sent
/// before, and has to be what was verified: checksums of parts only say that what was read arrived.
pub async fn send(
    store: &dyn Store,
    recording: &Recording,
    plan: &Plan,
    upload: &mut Upload,
    at_once: usize,
    journal: &dyn Journal,
) -> PushResult<()> {
    let bytes_of = |number: u32| {
        let range = plan.range(number);
        range.end - range.start
    };
    let (id, had) = (upload.id.clone(), upload.have.clone());
    let mut done: u64 = had.keys().map(|number| bytes_of(*number)).sum();
    journal.progress(done).await;
    let whole = Arc::new(Mutex::new(Sha256::new()));
    // One after the other, in their order, and no further ahead than there is to send.
    let read = stream::iter(plan.numbers()).then(|number| {
        let whole = whole.clone();
        async move { Ok::<_, PushError>((number, recording.part_of(plan, number, whole).await?)) }
    });
    let mut sending = read
        .map(async |part| {
            let (number, (content, sha256)) = part?;
            match had.get(&number) {
                Some(part) if part.sha256 == sha256 => Ok(None),
                _ => send_part(store, recording, &id, number, content, sha256).await.map(Some),
            }
        })
        .buffer_unordered(at_once.max(1))
        .boxed();
    let (mut arrived, mut noted_at, mut failed) = (vec![], Instant::now(), None);
    while let Some(sent) = sending.next().await {
        match sent {
            Ok(None) => {}
            Ok(Some(part)) => {
                done += if had.contains_key(&part.number) { 0 } else { bytes_of(part.number) };
                journal.progress(done).await;
                upload.have.insert(part.number, part.clone());
                arrived.push(part);
            }
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
        if arrived.len() >= PARTS_OF_AN_EVENT_MAX || noted_at.elapsed() >= NOTED_EVERY {
            journal.parts_finished(&id, std::mem::take(&mut arrived)).await?;
            noted_at = Instant::now();
        }
    }
    drop(sending);
    if !arrived.is_empty() {
        journal.parts_finished(&id, arrived).await?;
    }
    if let Some(failed) = failed {
        return Err(failed);
    }
    let whole = whole.lock().unwrap_or_else(PoisonError::into_inner).clone().finalize();
    if hex::encode(whole).eq_ignore_ascii_case(&recording.sha256) {
        return Ok(());
    }
    // Nobody may make an object of it.
    if let Err(error) = store.abort(&recording.key, &id).await {
        warn!(episode.id = recording.episode, error = chain(&error), "Could not give up an upload of a damaged recording: {error}");
    }
    Err(is_another())
}

/// Of all of it, in hex. What is replaced meanwhile is noticed when it is opened.
async fn sha256_of(blobs: &Blobs, key: &ObjectKey, facts: &ObjectFacts) -> PushResult<String> {
    let (mut pieces, mut hash) = (blobs.pieces(key, facts), Sha256::new());
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        hash = computed(move || hash.chain_update(&piece)).await?;
    }
    Ok(hex::encode(hash.finalize()))
}

fn is_another() -> PushError {
    PushError::never(SyncFault::SourceChanged, "the recording in the edge storage has another SHA-256 than was verified")
}

async fn send_part(
    store: &dyn Store,
    recording: &Recording,
    id: &str,
    number: u32,
    content: Bytes,
    sha256: String,
) -> PushResult<FinishedPart> {
    let mut waits = PART_WAITS.iter();
    loop {
        let failure = match store.upload_part(&recording.key, id, number, content.clone(), &sha256).await {
            Ok((etag, told)) => {
                if is_what_arrived(&content, &sha256, told.as_deref(), &etag).await? {
                    return Ok(FinishedPart { number, etag, sha256 });
                }
                StoreError::Damaged { code: "a part has another checksum".into() }
            }
            Err(failure) => failure,
        };
        let wait = waits.next().filter(|_| matches!(failure, StoreError::Away { .. } | StoreError::NoStore | StoreError::Damaged { .. }));
        let Some(wait) = wait else { return Err(failure.into()) };
        let told = if let StoreError::Away { after: Some(after), .. } = &failure { *after } else { Duration::ZERO };
        tokio::time::sleep((*wait).max(told)).await;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_recording_is_cut_in_as_many_parts_as_s3_takes() {
        let plan = Plan::of(20 * MIB + 1, 8 * MIB);
        assert_eq!((plan.count, plan.range(3)), (3, 16 * MIB..20 * MIB + 1));
        assert_eq!(Plan::of(0, 8 * MIB).count, 1);
        // What is wanted, where that is enough.
        assert_eq!(Plan::of(300_000, 102_400).part_bytes, 102_400);
        let large = Plan::of(5 << 40, 8 * MIB);
        assert!(large.count <= PARTS_MAX && large.part_bytes.is_multiple_of(MIB), "{large:?}");
    }

    proptest! {
        #[test]
        fn parts_are_all_of_it_once(size in 1_u64..100_000_000, part in 1_u64..30_000_000) {
            let plan = Plan::of(size, part);
            let mut at = 0;
            for number in plan.numbers() {
                let range = plan.range(number);
                prop_assert_eq!(range.start, at);
                prop_assert!(range.end > range.start);
                at = range.end;
            }
            prop_assert_eq!(at, size);
        }
    }

    #[test]
    fn checksums_of_parts_are_made_as_s3_makes_them() {
        let part =
            |number, content: &[u8]| FinishedPart { number, etag: format!("\"{}\"", md5_hex(content)), sha256: base64_sha256(content) };
        let parts = [part(1, b"one"), part(2, b"two")];
        let tag = composite_tag(&parts).unwrap();
        let joined: Vec<u8> = [Md5::digest(b"one").to_vec(), Md5::digest(b"two").to_vec()].concat();
        assert_eq!(tag, format!("{}-2", hex::encode(Md5::digest(&joined))));
        assert_eq!(composite_tag(&parts[..1]).unwrap(), parts[0].etag);
        let joined: Vec<u8> = [Sha256::digest(b"one").to_vec(), Sha256::digest(b"two").to_vec()].concat();
        assert_eq!(composite(&parts).unwrap(), format!("{}-2", STANDARD.encode(Sha256::digest(&joined))));
    }
}
