//! A bucket of an S3 server, for recordings, their sidecars and certificates; and the service that is told of what arrived there.
//!
//! ```text
//!  is it there? ─► one request, or: go on with the upload, or begin one ─► parts, several at once ─► may it be there? ─► complete
//!                                                                                                              │
//!  the service has heard of it ◄─ it is what was sent: size and checksums; sidecar and certificate meanwhile ◄─┘
//! ```
//!
//! Where an answer was lost, the store is asked what is there, and nothing is sent again. Of an upload that was begun before, the store's own
//! list of parts counts; parts that it has and nobody wrote down are compared with the recording. Names of objects follow from the recording, so
//! that uploads of it that nobody knows any more are found and given up.

mod client;
mod receiver;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tracing::warn;

use self::client::{ObjectHead, S3Client};
use self::receiver::Receiver;
use super::parts::{self, Plan, Recording, base64_of_hex, base64_sha256, composite, is_what_arrived, same_tag, tag_of, tag_shown};
use super::sidecar::sidecar;
use super::store::{Store as _, StoreError};
use super::{Cloud, Found, Journal, LeftBehind, Pace, Push, PushError, PushResult, Room};
use crate::blobs::ObjectKey;
use crate::blobs::signature::Signer;
use crate::config::Secret;
use crate::domain::sync::{CloudName, FinishedObject, FinishedPart, Leg, Proof, Pushed, SyncFault};
use crate::telemetry::chain;

/// How the bucket is reached, and how recordings are sent.
pub struct S3Settings {
    pub endpoint: String,
    pub bucket: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: Secret,
    /// Before every key; with a slash at its end.
    pub prefix: String,
    pub request_timeout: Duration,
    pub part_bytes: u64,
    pub parts_at_once: usize,
    pub sidecar_bytes_max: u64,
    /// The service that is told, and the token that it wants.
    pub receiver: Option<(String, Option<Secret>)>,
}

pub struct S3Cloud {
    client: Arc<S3Client>,
    receiver: Option<Receiver>,
    settings: S3Settings,
    room: Room,
}

impl S3Cloud {
    pub fn new(settings: S3Settings, pace: Pace, room: Room) -> anyhow::Result<Self> {
        let signer =
            Signer { access_key: settings.access_key.clone(), secret_key: settings.secret_key.clone(), region: settings.region.clone() };
        let client = S3Client::new(&settings.endpoint, &settings.bucket, signer, settings.request_timeout, pace)?;
        let receiver =
            settings.receiver.as_ref().map(|(url, token)| Receiver::new(url, token.clone(), settings.request_timeout)).transpose()?;
        Ok(Self { client: Arc::new(client), receiver, settings, room })
    }

    fn key_of(&self, key: &ObjectKey) -> String {
        format!("{}{key}", self.settings.prefix)
    }

    /// Brings the recording there, or finds it there.
    async fn bring(&self, push: &Push<'_>, leg: &Leg, journal: &dyn Journal) -> PushResult<Brought> {
        let recording = self.recording(push).await?;
        let plan = Plan::of(recording.size, self.settings.part_bytes);
        // An outage takes a try back, and not what was sent before it.
        let begun = leg.upload.is_some() || leg.claims > 1 || push.chain.queued.supersedes.is_some();
        // One that is to be there once more is sent once more, but for what this chain itself has sent.
        if begun
            && (push.before.is_none() || leg.upload.is_some())
            && let Some(object) = self.found(&recording, &plan, leg).await?
        {
            // It was completed, or lies there from before: what else was begun of it is nobody's.
            if let Some(upload) = &leg.upload {
                self.client.abort(&upload.object_key, &upload.upload_id).await?;
            }
            return Ok(Brought::There(object));
        }
        if plan.count == 1 { self.put_whole(recording, plan, journal).await } else { self.send_parts(leg, recording, plan, journal).await }
    }

    async fn recording(&self, push: &Push<'_>) -> PushResult<Recording> {
        Ok(Recording::open(push, &self.room).await?.at(self.key_of(&push.source)))
    }

    /// The object, where it is there and is the recording.
    async fn found(&self, recording: &Recording, plan: &Plan, leg: &Leg) -> PushResult<Option<FinishedObject>> {
        let head = match self.client.head(&recording.key).await {
            Err(StoreError::NoObject) => return Ok(None),
            head => head?,
        };
        if head.size != recording.size {
            return Ok(None);
        }
        let recorded: Vec<_> = leg.parts.values().cloned().collect();
        let expected = match recorded.len() as u64 == plan.count && plan.count > 1 {
            true => recorded,
            // Reading it here costs less than sending it again.
            false => recording.all_parts(plan).await?,
        };
        Ok(self.proven(&recording.key, plan, &head, &expected))
    }

    /// What lies there of a recording that may not be there. It is compared with what is known of it, and with the recording only where that does not do.
    async fn left_behind(&self, push: &Push<'_>, leg: &Leg) -> PushResult<Option<LeftBehind>> {
        let (key, queued) = (self.key_of(&push.source), &push.chain.queued);
        let head = match self.client.head(&key).await {
            Err(StoreError::NoObject) => return Ok(None),
            head => head?,
        };
        if head.size != queued.size_bytes {
            return Ok(None);
        }
        let plan = Plan::of(queued.size_bytes, self.settings.part_bytes);
        let noted: Vec<_> = leg.parts.values().cloned().collect();
        let expected = if noted.len() as u64 == plan.count {
            Some(noted)
        } else if plan.count == 1 && head.sha256.is_some() {
            base64_of_hex(&queued.sha256).map(|sha256| vec![FinishedPart { number: 1, etag: String::new(), sha256 }])
        } else {
            let read = async { self.recording(push).await?.all_parts(&plan).await };
            match read.await {
                Ok(parts) => Some(parts),
                Err(PushError::Never(_)) => None,
                Err(error) => return Err(error),
            }
        };
        let proven = expected.and_then(|expected| self.proven(&key, &plan, &head, &expected));
        Ok(Some(proven.map_or(LeftBehind::Unproven { object_key: key }, LeftBehind::Object)))
    }

    /// The object, where what is there is what was sent. `parts` are those of the plan.
    fn proven(&self, key: &str, plan: &Plan, head: &ObjectHead, parts: &[FinishedPart]) -> Option<FinishedObject> {
        let (proof, expected) = match (&head.sha256, plan.count) {
            (Some(_), 1) => (Proof::Sha256, parts.first().map(|part| part.sha256.clone())),
            (Some(_), _) => (Proof::Sha256OfParts, composite(parts)),
            (None, _) => (Proof::EtagOfParts, parts::composite_tag(parts)),
        };
        let is_it = match &head.sha256 {
            Some(told) => expected.as_ref().is_some_and(|expected| is_checksum(told, expected)),
            None => expected.as_ref().is_some_and(|expected| same_tag(expected, &head.etag)),
        };
        (is_it && head.size == plan.size).then(|| FinishedObject {
            bucket: self.client.bucket().to_owned(),
            object_key: key.to_owned(),
            etag: head.etag.clone(),
            size_bytes: head.size,
            proof,
            checksum: head.sha256.clone(),
        })
    }

    /// A recording of one part.
    async fn put_whole(&self, recording: Recording, plan: Plan, journal: &dyn Journal) -> PushResult<Brought> {
        let (content, part) = recording.whole().await?;
        journal.may_complete().await?;
        let put = self.client.put(&recording.key, content.clone(), &part.sha256, &metadata_of(&recording)).await;
        let sent = Sent::Whole(content, part);
        match put {
            Ok(_) => Ok(Brought::Sent { recording, plan, sent }),
            // The answer may be what was lost.
            Err(error @ (StoreError::Away { .. } | StoreError::NoStore)) => {
                self.look_again(&recording, &plan, &sent, error).await.map(Brought::There)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// After a failure behind which the object may be there all the same.
    async fn look_again(&self, recording: &Recording, plan: &Plan, sent: &Sent, failure: StoreError) -> PushResult<FinishedObject> {
        match self.client.head(&recording.key).await {
            Ok(head) => self.proven(&recording.key, plan, &head, &sent.parts(&head).await?).ok_or_else(|| failure.into()),
            Err(_) => Err(failure.into()),
        }
    }

    /// Looks at what was just made. What is not what was sent is taken away.
    async fn seen(&self, brought: Brought) -> PushResult<FinishedObject> {
        let (recording, plan, sent) = match &brought {
            Brought::There(object) => return Ok(object.clone()),
            Brought::Sent { recording, plan, sent } => (recording, plan, sent),
        };
        let head = self.client.head(&recording.key).await?;
        if let Some(object) = self.proven(&recording.key, plan, &head, &sent.parts(&head).await?) {
            return Ok(object);
        }
        let text = format!(
            "the object in the cloud is not what was sent: it has {} bytes and the entity tag {}",
            head.size,
            tag_shown(&head.etag)
        );
        if let Err(error) = self.client.delete(&recording.key).await {
            warn!(error = chain(&error), "Could not take away what arrived damaged: {error}");
        }
        // Sent once more, it could not be seen either.
        if head.sha256.is_none() && head.size == plan.size && plan.count > 1 && !is_tag_of_parts(&head.etag) {
            let text = "the cloud's store tells neither a SHA-256 of an object made of parts nor an entity tag of its parts: what arrived cannot be proven";
            return Err(PushError::never(SyncFault::CloudRefused, text));
        }
        Err(PushError::again(SyncFault::Damaged, text))
    }

    /// The upload to go on with, and what it has: the one that was begun, or a new one.
    async fn upload(&self, leg: &Leg, recording: &Recording, plan: &Plan, journal: &dyn Journal) -> PushResult<parts::Upload> {
        if let Some(begun) = parts::begun(&*self.client, self.client.bucket(), leg, recording, plan).await? {
            return Ok(begun);
        }
        self.give_up_strays(&recording.key).await?;
        let id = self.client.create_checked_upload(&recording.key, &metadata_of(recording)).await?;
        parts::noted(&*self.client, self.client.bucket(), id, recording, plan, journal).await
    }

    /// Uploads of this key that were begun, and that nobody wrote down.
    async fn give_up_strays(&self, key: &str) -> PushResult<()> {
        match self.client.list_uploads(key).await {
            Ok(strays) => {
                for stray in strays {
                    self.client.abort(key, &stray).await?;
                }
                Ok(())
            }
            // A server that cannot list them sweeps them by itself, or keeps them.
            Err(StoreError::Refused { .. } | StoreError::Strange { .. } | StoreError::NoObject) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn send_parts(&self, leg: &Leg, recording: Recording, plan: Plan, journal: &dyn Journal) -> PushResult<Brought> {
        let mut upload = self.upload(leg, &recording, &plan, journal).await?;
        parts::send(&*self.client, &recording, &plan, &mut upload, self.settings.parts_at_once, journal).await?;
        let parts: Vec<_> = upload.have.values().cloned().collect();
        journal.may_complete().await?;
        let completed = match self.client.complete(&recording.key, &upload.id, &parts, true).await {
            // A server without checksums may not know the element.
            Err(StoreError::Refused { status: 400, ref code }) if code == "MalformedXML" => {
                self.client.complete(&recording.key, &upload.id, &parts, false).await
            }
            completed => completed,
        };
        let sent = Sent::Parts(parts);
        match completed {
            Ok(_) => Ok(Brought::Sent { recording, plan, sent }),
            // The answer may be what was lost, now or before.
            Err(error @ (StoreError::Away { .. } | StoreError::NoStore | StoreError::NoUpload | StoreError::NoObject)) => {
                self.look_again(&recording, &plan, &sent, error).await.map(Brought::There)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Answers its key, where there is one.
    async fn bring_sidecar(&self, sidecar: Option<(&ObjectKey, Bytes)>) -> PushResult<Option<String>> {
        let Some((sidecar, content)) = sidecar else { return Ok(None) };
        let key = self.key_of(sidecar);
        self.put_beside(&key, content).await?;
        Ok(Some(key))
    }

    /// Answers its key, where there is one.
    async fn bring_certificate(&self, push: &Push<'_>) -> PushResult<Option<String>> {
        let Some(certificate) = &push.certificate else { return Ok(None) };
        let recording = self.key_of(&push.source);
        let key = format!("{}.certificate.json", recording.strip_suffix(".mcap").unwrap_or(&recording));
        self.put_beside(&key, certificate.clone()).await?;
        Ok(Some(key))
    }

    /// A small object, which is looked at afterwards where the answer does not tell what arrived.
    async fn put_beside(&self, key: &str, content: Bytes) -> PushResult<()> {
        let sha256 = base64_sha256(&content);
        let (_, told) = self.client.put(key, content.clone(), &sha256, &[]).await?;
        let is_it = match told {
            Some(told) => told == sha256,
            None => {
                let head = self.client.head(key).await?;
                head.size == content.len() as u64 && is_what_arrived(&content, &sha256, head.sha256.as_deref(), &head.etag).await?
            }
        };
        if is_it {
            Ok(())
        } else {
            Err(PushError::again(SyncFault::Damaged, "what lies beside the recording in the cloud is not what was sent"))
        }
    }
}

/// Whether a server tells this checksum. Some tell that of several parts without the number of parts behind it.
fn is_checksum(told: &str, expected: &str) -> bool {
    told == expected || expected.rsplit_once('-').is_some_and(|(of_parts, _)| told == of_parts)
}

/// Whether an entity tag is one of several parts, which has their number behind it. There are servers that give objects of parts that of all bytes.
fn is_tag_of_parts(etag: &str) -> bool {
    etag.trim_matches('"').rsplit_once('-').is_some_and(|(_, count)| count.parse::<u32>().is_ok())
}

/// A recording that the server said it has.
enum Brought {
    /// It was looked at.
    There(FinishedObject),
    Sent {
        recording: Recording,
        plan: Plan,
        sent: Sent,
    },
}

/// What an object was made of.
enum Sent {
    Parts(Vec<FinishedPart>),
    /// In one request. Its entity tag costs more than all else that is computed, and is only where nothing else proves it.
    Whole(Bytes, FinishedPart),
}

impl Sent {
    async fn parts(&self, head: &ObjectHead) -> PushResult<Cow<'_, [FinishedPart]>> {
        match self {
            Self::Parts(parts) => Ok(Cow::Borrowed(parts)),
            Self::Whole(_, part) if head.sha256.is_some() => Ok(Cow::Borrowed(std::slice::from_ref(part))),
            Self::Whole(content, part) => Ok(Cow::Owned(vec![FinishedPart { etag: tag_of(content).await?, ..part.clone() }])),
        }
    }
}

/// What is stored beside the object.
fn metadata_of(recording: &Recording) -> Vec<(&'static str, String)> {
    vec![("x-amz-meta-sha256", recording.sha256.clone()), ("x-amz-meta-episode-id", recording.episode.clone())]
}

#[async_trait]
impl Cloud for S3Cloud {
    fn name(&self) -> CloudName {
        CloudName::S3
    }

    async fn probe(&self) -> PushResult<()> {
        match self.client.probe(&self.settings.prefix).await {
            Ok(()) => {}
            Err(error @ StoreError::Denied { .. }) => return Err(PushError::down(SyncFault::CloudDenied, error.to_string())),
            Err(error @ (StoreError::Away { .. } | StoreError::NoStore)) => {
                return Err(PushError::down(SyncFault::CloudAway, error.to_string()));
            }
            Err(error) => return Err(PushError::down(SyncFault::CloudRefused, error.to_string())),
        }
        match &self.receiver {
            Some(receiver) => receiver.probe().await,
            None => Ok(()),
        }
    }

    async fn push(&self, push: &Push<'_>, journal: &dyn Journal) -> PushResult<Option<FinishedObject>> {
        let leg = push.chain.legs.get(&CloudName::S3).cloned().unwrap_or_default();
        // Where it is another one, nothing arrives. Where it is gone, the recording is what counts.
        let sidecar = sidecar(push, self.settings.sidecar_bytes_max).await?;
        let brought = match &leg.object {
            Some(object) => Brought::There(object.clone()),
            None => self.bring(push, &leg, journal).await?,
        };
        // One round trip of the line for all three: of a small recording, they are most of the time.
        let (object, sidecar, certificate) = tokio::join!(self.seen(brought), self.bring_sidecar(sidecar), self.bring_certificate(push));
        let object = object?;
        journal.progress(object.size_bytes).await;
        let receiver = self.receiver.as_ref().filter(|_| leg.told_at.is_none());
        // Where nothing is left to do, it is noted together with the end.
        let is_last = sidecar.is_ok() && certificate.is_ok() && receiver.is_none();
        if leg.object.is_none() && !is_last {
            journal.object_finished(&object).await?;
        }
        let (sidecar, certificate) = (sidecar?, certificate?);
        let Some(receiver) = receiver else { return Ok(leg.object.is_none().then_some(object)) };
        receiver.tell(push, &object, sidecar.as_deref(), certificate.as_deref()).await?;
        journal.service_told().await?;
        Ok(None)
    }

    async fn take_back(&self, push: &Push<'_>) -> PushResult<Option<LeftBehind>> {
        let leg = push.chain.legs.get(&CloudName::S3).cloned().unwrap_or_default();
        if let Some(upload) = &leg.upload {
            self.client.abort(&upload.object_key, &upload.upload_id).await?;
        }
        if push.before.is_some() {
            return Ok(None);
        }
        match leg.object {
            Some(object) => Ok(Some(LeftBehind::Object(object))),
            None => self.left_behind(push, &leg).await,
        }
    }

    async fn look(&self, pushed: &Pushed) -> PushResult<Found> {
        let object = &pushed.object;
        if object.bucket != self.client.bucket() {
            return Ok(Found::Untold(format!("it was pushed to the bucket `{}`, which the settings do not name any more", object.bucket)));
        }
        let head = match self.client.head(&object.object_key).await {
            Err(StoreError::NoObject) => return Ok(Found::Damaged("the object is not in the bucket any more".to_owned())),
            head => head?,
        };
        let shown = tag_shown(&head.etag);
        let is_same = match (&object.checksum, &head.sha256) {
            (Some(was), Some(is)) => was == is,
            _ => same_tag(&object.etag, &head.etag),
        };
        Ok(match (head.size == object.size_bytes, is_same) {
            (true, true) => Found::Sound,
            (false, _) => Found::Damaged(format!("the object has {} bytes, and had {}", head.size, object.size_bytes)),
            (true, false) => {
                Found::Damaged(format!("the object is another one: its entity tag is {shown}, and its checksum or tag differs"))
            }
        })
    }

    async fn read(&self, pushed: &Pushed, range: Range<u64>) -> PushResult<Bytes> {
        Ok(self.client.read(&pushed.object.object_key, &pushed.object.etag, range).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_of_parts_is_told_from_one_of_all_bytes() {
        assert!(is_tag_of_parts("\"49ebe67318017a7d9715d3d9f6a47cb2-2\"") && is_tag_of_parts("49ebe67318017a7d9715d3d9f6a47cb2-10000"));
        assert!(!is_tag_of_parts("\"4dc7dd09bd6fdc097716f3103c154ed4\"") && !is_tag_of_parts("a-b") && !is_tag_of_parts(""));
    }

    #[test]
    fn a_checksum_of_parts_is_told_with_their_number_or_without() {
        let (one, many) = ("a8YKxbfTsgnWnHno0UzY9ip8M85dEN8CbIDbvfIYpqY=", "a8YKxbfTsgnWnHno0UzY9ip8M85dEN8CbIDbvfIYpqY=-3");
        assert!(is_checksum(one, one) && is_checksum(many, many) && is_checksum(one, many));
        // Another number, another checksum, or a number where there is one part, is another object.
        let other = "emn51y7iVK+0p0QjXJ8SSSG2FfMJ3e7iZXvrdpNgzsY=";
        for (told, expected) in [(&*many.replace("-3", "-4"), many), (other, many), (many, one), (other, one), ("", many)] {
            assert!(!is_checksum(told, expected), "{told} {expected}");
        }
    }
}
