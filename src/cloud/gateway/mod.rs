//! The gateway of the data platform: it opens a session for each recording, says where its bytes go, and is told when all of it is there.
//!
//! ```text
//!  what became of the session before? ─► asset, tags ─► go on with it, or open one ─► parts, several at once ─► may it be there? ─► an object
//!     │                                                   ▲                                                                          │
//!     └── completed: done                                 └── ended: one in its place      completed, with its tags ◄── it is what was sent
//! ```
//!
//! The gateway is asked before anything is sent again. What it has completed is done, whatever else it says of it; an object that lies there is
//! completed without a byte; an upload that was begun goes on from its parts. What it knows nothing of begins anew.

mod calls;
mod known_store;
mod oss;
mod signature;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use tracing::warn;

use self::calls::{CallError, Caller, Calls};
use self::known_store::KnownStore;
use self::oss::{Credentials, SessionStore, object_tag, opened};
use super::parts::{self, Plan, Recording, same_tag, tag_shown};
use super::platform::{Platform, PlatformError};
use super::sidecar::sidecar;
use super::store::{Sender, Store as _, StoreError};
use super::{Asset, Cloud, Found, Journal, LeftBehind, Pace, Push, PushError, PushResult, Room};
use crate::domain::sync::{CloudName, FinishedObject, FinishedPart, Leg, OpenedSession, Proof, Pushed, SyncFault, TagSources, tags};
use crate::gateway_api::data_gateway::{CompleteUploadRequest, LogicalUploadStatus, UploadRecovery, UploadRecoveryAction};
use crate::telemetry::chain;

/// Where the gateway says nothing.
const PART_BYTES_DEFAULT: u64 = 8 << 20;
/// Each of several that are in memory at once.
const PART_BYTES_MAX: u64 = 128 << 20;

/// Devices whose keys are tried before the platform is taken to let nobody in.
const PROBED_MAX: usize = 5;

pub struct GatewaySettings {
    /// The configuration of the platform; read for each recording.
    pub config: PathBuf,
    pub call_timeout: Duration,
    pub request_timeout: Duration,
    pub parts_at_once: usize,
    pub sidecar_bytes_max: u64,
    pub restarts_max: u32,
}

pub struct GatewayCloud {
    settings: GatewaySettings,
    calls: Calls,
    sender: Sender,
    known_store: KnownStore,
    room: Room,
}

impl From<PlatformError> for PushError {
    fn from(error: PlatformError) -> Self {
        Self::down(SyncFault::CloudUnconfigured, error.to_string())
    }
}

/// All that a push needs beside its session.
struct Prepared<'a> {
    caller: Caller,
    asset_id: &'a str,
    tags: BTreeMap<String, String>,
    recording: Recording,
}

/// What became of the session of an earlier try.
enum Recovered<'a> {
    /// The gateway has completed one.
    Completed(UploadRecovery),
    Left(Left<'a>),
}

/// What is left of one that is not completed.
enum Left<'a> {
    /// It may be gone on with. `is_there`: the gateway says that the object is.
    Open { store: SessionStore<'a>, is_there: bool },
    /// One in its place is wanted.
    Ended,
    /// Nothing is left of it.
    Gone,
}

/// What lies where a session wants the recording.
enum Lying {
    Nothing,
    Recording(FinishedObject),
    Another,
}

fn plan_of(session: &OpenedSession, size_bytes: u64) -> Plan {
    let part_bytes = if session.part_bytes > 0 { session.part_bytes } else { PART_BYTES_DEFAULT };
    Plan::of(size_bytes, part_bytes.min(PART_BYTES_MAX))
}

fn object_of(session: &OpenedSession, size_bytes: u64, etag: String) -> FinishedObject {
    FinishedObject {
        bucket: session.bucket.clone(),
        object_key: session.object_key.clone(),
        etag,
        size_bytes,
        proof: Proof::EtagOfParts,
        checksum: None,
    }
}

/// Whether the gateway has completed an upload as this object. One that tells no tag, is believed.
fn is_completed_as(found: &UploadRecovery, tag: &str) -> bool {
    let told = &found.oss_object_etag;
    found.logical_upload_status() == LogicalUploadStatus::Completed && (told.is_empty() || same_tag(told, tag))
}

/// The tag that the object of this leg has when it is the recording: as it was seen, or of the parts that were written down.
fn noted_tag(leg: &Leg, plan: &Plan) -> Option<String> {
    let of_parts = || (leg.parts.len() as u64 == plan.count).then(|| object_tag(leg.parts.values()));
    leg.object.as_ref().map(|object| object.etag.clone()).or_else(of_parts)
}

/// The same; where it was not noted, of the parts that it would have.
async fn tag_of(leg: &Leg, recording: &Recording, plan: &Plan) -> PushResult<String> {
    match noted_tag(leg, plan) {
        Some(tag) => Ok(tag),
        // Reading it here costs less than sending it again.
        None => Ok(object_tag(&recording.all_parts(plan).await?)),
    }
}

/// Who opened the session of a leg; none where there is none, or its device is not known any more and nothing is lost with it.
fn opener(platform: &Platform, leg: &Leg) -> PushResult<Option<(OpenedSession, Caller)>> {
    let Some(session) = &leg.session else { return Ok(None) };
    let Some(device) = platform.device(&session.asset_id) else {
        let text =
            format!("the configuration of the data platform knows `{}` no more, and the recording was begun as its", session.asset_id);
        warn!("An upload cannot be gone on with: {text}");
        // All of it was there, and may be completed by now: sent again, it could be there twice.
        return if leg.object.is_some() { Err(PushError::again(SyncFault::NoAsset, text)) } else { Ok(None) };
    };
    Ok(Some((session.clone(), Caller::of(platform, device))))
}

impl GatewayCloud {
    pub fn new(settings: GatewaySettings, pace: Pace, room: Room) -> anyhow::Result<Self> {
        let (calls, sender) = (Calls::new(settings.call_timeout), Sender::new(settings.request_timeout, pace)?);
        Ok(Self { settings, calls, sender, known_store: KnownStore::default(), room })
    }

    /// With a device at least that something can be uploaded for.
    async fn platform(&self) -> PushResult<Platform> {
        let platform = Platform::read(self.settings.config.clone()).await?;
        if platform.ready().next().is_none() {
            let text = "the configuration of the data platform has no device with a key and tags";
            return Err(PushError::down(SyncFault::CloudUnconfigured, text));
        }
        Ok(platform)
    }

    /// The device that the recording is of, and what is told of it.
    async fn prepared<'a>(&self, platform: &Platform, push: &'a Push<'_>, recording: Recording) -> PushResult<Prepared<'a>> {
        let no_asset = |text: &str| PushError::never(SyncFault::NoAsset, text);
        let registered =
            push.registered.as_ref().ok_or_else(|| PushError::again(SyncFault::Internal, "nothing is known of the episode"))?;
        let asset_id = match &registered.asset {
            Asset::Bound(asset_id) => asset_id,
            Asset::Unbound => {
                return Err(no_asset(
                    "the robot of the episode is bound to no asset: bind it with PUT /api/v1/robots/{id}/cloud-asset, and sync again",
                ));
            }
            Asset::Unknown => return Err(no_asset("neither a robot nor an asset is known of the episode")),
        };
        let device = platform.device(asset_id).ok_or_else(|| {
            no_asset(&format!(
                "the configuration of the data platform has no device `{asset_id}` with a key and tags: add it, and sync again"
            ))
        })?;
        let refused = |text: &str| PushError::never(SyncFault::TagsRefused, text);
        let sidecar = sidecar(push, self.settings.sidecar_bytes_max).await?.map(|(_, content)| content);
        // What it says could not be told later.
        if sidecar.is_none() && push.sidecar.is_some() {
            return Err(PushError::never(SyncFault::SourceGone, "the sidecar is not in the edge storage any more"));
        }
        let sidecar = sidecar.as_deref().map(std::str::from_utf8).transpose().map_err(|_| refused("the sidecar is no text"))?;
        let sources = TagSources {
            device: &device.tags,
            asset_id,
            object_key: push.source.as_str(),
            sidecar,
            episode_id: &push.chain.queued.episode_public_id,
            registry: &registered.tags,
        };
        let tags = tags(sources).map_err(|error| refused(&error.to_string()))?;
        Ok(Prepared { caller: Caller::of(platform, device), asset_id, tags, recording })
    }

    fn store<'a>(&'a self, caller: &'a Caller, session: OpenedSession, credentials: Credentials) -> SessionStore<'a> {
        self.known_store.told(&credentials.endpoint);
        SessionStore::new(&self.calls, caller, &self.sender, self.settings.request_timeout, session, credentials)
    }

    /// What became of a session, as the gateway says.
    async fn recovered<'a>(&'a self, (session, caller): &'a (OpenedSession, Caller)) -> PushResult<Recovered<'a>> {
        let found = match self.calls.recovery(caller, &session.logical_upload_id).await {
            Err(CallError::NotFound) => return Ok(Recovered::Left(Left::Gone)),
            found => found?,
        };
        match (found.logical_upload_status(), found.next_action()) {
            // Whatever it wants to be done next: what it was told has arrived.
            (LogicalUploadStatus::Completed, _) => Ok(Recovered::Completed(found)),
            (_, UploadRecoveryAction::Continue | UploadRecoveryAction::CompleteOnly) => {
                let is_there = found.next_action() == UploadRecoveryAction::CompleteOnly;
                let (now, credentials) =
                    opened(self.calls.reissue(caller, &session.session_id).await?, &session.asset_id, session.restarts)?;
                if (&now.bucket, &now.object_key) != (&session.bucket, &session.object_key) {
                    return Ok(Recovered::Left(Left::Gone));
                }
                // Parts are cut as they were when it was opened.
                Ok(Recovered::Left(Left::Open { store: self.store(caller, session.clone(), credentials), is_there }))
            }
            (_, UploadRecoveryAction::Restart) => Ok(Recovered::Left(Left::Ended)),
            (LogicalUploadStatus::Completing, _) => {
                Err(PushError::again(SyncFault::CloudRefused, "the data platform is still completing an earlier try"))
            }
            (_, UploadRecoveryAction::Abort | UploadRecoveryAction::Unspecified) => {
                self.abort(caller, session, "it cannot be gone on with").await;
                Ok(Recovered::Left(Left::Gone))
            }
        }
    }

    /// Parts of a session that is given up; what cannot be reached, its store ends by itself.
    async fn abort_upload(&self, store: &SessionStore<'_>, leg: &Leg) {
        let Some(upload) = &leg.upload else { return };
        if let Err(error) = store.abort(&upload.object_key, &upload.upload_id).await {
            warn!(error = chain(&error), "Could not give up an upload in the data platform's store: {error}");
        }
    }

    async fn abort(&self, caller: &Caller, session: &OpenedSession, reason: &str) {
        if let Err(error) = self.calls.abort(caller, &session.logical_upload_id, reason).await {
            warn!(error = chain(&error), "Could not give up a session of the data platform: {error}");
        }
    }

    /// A new session, written down before anything is sent.
    async fn open<'a>(
        &'a self,
        prepared: &'a Prepared<'_>,
        in_place_of: Option<&OpenedSession>,
        journal: &dyn Journal,
    ) -> PushResult<SessionStore<'a>> {
        let Prepared { caller, asset_id, recording, .. } = prepared;
        let restarts = in_place_of.map_or(0, |session| session.restarts + 1);
        if let Some(session) = in_place_of.filter(|_| restarts > self.settings.restarts_max) {
            self.abort(caller, session, "it was restarted too often").await;
            return Err(PushError::again(SyncFault::CloudRefused, format!("the data platform ended {restarts} sessions in a row")));
        }
        let in_place_of = in_place_of.map(|session| session.session_id.as_str());
        let answer = self.calls.create(caller, &recording.episode, in_place_of).await?;
        let (session, credentials) = opened(answer, asset_id, restarts)?;
        if let Err(error) = journal.session_opened(&session).await {
            // Nobody would know of it.
            self.abort(caller, &session, "it was not written down").await;
            return Err(error.into());
        }
        Ok(self.store(caller, session, credentials))
    }

    async fn lying(&self, store: &SessionStore<'_>, leg: &Leg, recording: &Recording) -> PushResult<Lying> {
        let (size, etag) = match store.head().await {
            Err(StoreError::NoObject) => return Ok(Lying::Nothing),
            head => head?,
        };
        if size != recording.size {
            return Ok(Lying::Another);
        }
        let tag = tag_of(leg, recording, &plan_of(&store.session, recording.size)).await?;
        Ok(if same_tag(&etag, &tag) { Lying::Recording(object_of(&store.session, recording.size, tag)) } else { Lying::Another })
    }

    /// The object in its session: sent, or found.
    async fn bring<'a>(
        &'a self,
        before: Left<'a>,
        leg: &Leg,
        prepared: &'a Prepared<'_>,
        journal: &dyn Journal,
    ) -> PushResult<(SessionStore<'a>, FinishedObject)> {
        let recording = &prepared.recording;
        let is_ours = |session: &OpenedSession| session.asset_id == prepared.asset_id;
        let store = match before {
            Left::Open { store, is_there } if is_ours(&store.session) => {
                let is_begun = is_there || leg.upload.is_some() || leg.object.is_some();
                let lying = if is_begun { self.lying(&store, leg, recording).await? } else { Lying::Nothing };
                match lying {
                    Lying::Recording(object) => return Ok((store, object)),
                    Lying::Nothing if !is_there => {
                        let object = self.send(&store, leg, recording, journal).await?;
                        return Ok((store, object));
                    }
                    Lying::Nothing | Lying::Another => {
                        self.abort_upload(&store, leg).await;
                        self.open(prepared, Some(&store.session), journal).await?
                    }
                }
            }
            // The robot is another device now.
            Left::Open { store, .. } => {
                self.abort_upload(&store, leg).await;
                self.abort(store.caller, &store.session, "the recording is of another device").await;
                self.open(prepared, None, journal).await?
            }
            Left::Ended => self.open(prepared, leg.session.as_ref().filter(|session| is_ours(session)), journal).await?,
            Left::Gone => self.open(prepared, None, journal).await?,
        };
        let object = self.send(&store, &Leg::default(), recording, journal).await?;
        Ok((store, object))
    }

    /// Sends what is not there, and makes it an object.
    async fn send(&self, store: &SessionStore<'_>, leg: &Leg, recording: &Recording, journal: &dyn Journal) -> PushResult<FinishedObject> {
        let (plan, session) = (plan_of(&store.session, recording.size), &store.session);
        let recording = &recording.clone().at(session.object_key.clone());
        let mut upload = match parts::begun(store, &session.bucket, leg, recording, &plan).await? {
            Some(begun) => begun,
            None => parts::noted(store, &session.bucket, store.begin().await?, recording, &plan, journal).await?,
        };
        parts::send(store, recording, &plan, &mut upload, self.settings.parts_at_once, journal).await?;
        let parts: Vec<FinishedPart> = upload.have.values().cloned().collect();
        journal.may_complete().await?;
        let lost = match store.complete(&recording.key, &upload.id, &parts, false).await {
            Ok(_) => None,
            // The answer may be what was lost, now or before.
            Err(error @ (StoreError::Away { .. } | StoreError::NoStore | StoreError::NoUpload | StoreError::NoObject)) => Some(error),
            Err(error) => return Err(error.into()),
        };
        let (size, etag) = store.head().await.map_err(|error| lost.unwrap_or(error))?;
        let tag = object_tag(&parts);
        if size == recording.size && same_tag(&etag, &tag) {
            return Ok(object_of(session, recording.size, tag));
        }
        let text = format!("the object in the cloud is not what was sent: it has {size} bytes and the entity tag {}", tag_shown(&etag));
        Err(PushError::again(SyncFault::Damaged, text))
    }

    /// Tells the gateway that all of it is there. Where the answer is lost, or it was told before with other tags, it is asked.
    async fn complete(&self, prepared: &Prepared<'_>, session: &OpenedSession, object: &FinishedObject) -> PushResult<()> {
        let plan = plan_of(session, prepared.recording.size);
        let question = CompleteUploadRequest {
            upload_id: session.session_id.clone(),
            file_size: i64::try_from(object.size_bytes).unwrap_or(i64::MAX),
            raw_tags: prepared.tags.clone().into_iter().collect(),
            completed_part_count: i32::try_from(plan.count).unwrap_or(i32::MAX),
            oss_object_etag: object.etag.clone(),
            part_size_bytes: i64::try_from(plan.part_bytes).unwrap_or(i64::MAX),
        };
        let Err(failure) = self.calls.complete(&prepared.caller, question).await else { return Ok(()) };
        match self.calls.recovery(&prepared.caller, &session.logical_upload_id).await {
            Ok(found) if is_completed_as(&found, &object.etag) => Ok(()),
            _ => Err(failure.into()),
        }
    }
}

#[async_trait]
impl Cloud for GatewayCloud {
    fn name(&self) -> CloudName {
        CloudName::Gateway
    }

    async fn probe(&self) -> PushResult<()> {
        let down = |error: PushError| match error {
            PushError::Again { failure, .. } => PushError::Down(failure),
            error => error,
        };
        let platform = self.platform().await?;
        let mut denied = None;
        for device in platform.ready().filter_map(|id| platform.device(id)).take(PROBED_MAX) {
            match self.calls.probe(&Caller::of(&platform, device)).await {
                Ok(()) => {
                    denied = None;
                    break;
                }
                Err(error @ CallError::Denied(_)) => denied = Some(error),
                Err(error) => return Err(down(error.into())),
            }
        }
        if let Some(error) = denied {
            return Err(down(error.into()));
        }
        // Its store may be away alone.
        let Some(endpoint) = self.known_store.endpoint() else { return Ok(()) };
        let answered = self.sender.knock(&oss::with_scheme(&endpoint)).await;
        self.known_store.knocked(&endpoint, answered.is_ok(), Instant::now());
        answered.map_err(|error| down(error.into()))
    }

    async fn push(&self, push: &Push<'_>, journal: &dyn Journal) -> PushResult<Option<FinishedObject>> {
        let leg = push.chain.legs.get(&CloudName::Gateway).cloned().unwrap_or_default();
        if leg.told_at.is_some() {
            return Ok(None);
        }
        let recording = Recording::open(push, &self.room).await?;
        if recording.size == 0 {
            return Err(PushError::never(SyncFault::SourceChanged, "the recording has no bytes"));
        }
        // First of all: what the platform has already, it has, whatever is wrong with the rest by now.
        let platform = self.platform().await?;
        let before = opener(&platform, &leg)?;
        let recovered = match &before {
            Some(before) => self.recovered(before).await?,
            None => Recovered::Left(Left::Gone),
        };
        let completed = match (&recovered, &before) {
            (Recovered::Completed(found), Some((session, _))) => {
                let tag = tag_of(&leg, &recording, &plan_of(session, recording.size)).await?;
                is_completed_as(found, &tag).then(|| object_of(session, recording.size, tag))
            }
            _ => None,
        };
        let object = match completed {
            Some(object) => {
                journal.object_finished(&object).await?;
                object
            }
            None => {
                let left = match recovered {
                    Recovered::Left(left) => left,
                    Recovered::Completed(_) => {
                        warn!(
                            episode.id = recording.episode,
                            "The data platform has completed another object than ours; it is uploaded anew"
                        );
                        Left::Gone
                    }
                };
                let prepared = self.prepared(&platform, push, recording).await?;
                let (store, object) = self.bring(left, &leg, &prepared, journal).await?;
                journal.object_finished(&object).await?;
                journal.may_complete().await?;
                self.complete(&prepared, &store.session, &object).await?;
                object
            }
        };
        journal.progress(object.size_bytes).await;
        journal.service_told().await?;
        Ok(None)
    }

    async fn take_back(&self, push: &Push<'_>) -> PushResult<Option<LeftBehind>> {
        let leg = push.chain.legs.get(&CloudName::Gateway).cloned().unwrap_or_default();
        let Some(before) = opener(&self.platform().await?, &leg)? else { return Ok(None) };
        let (session, caller) = &before;
        match self.recovered(&before).await? {
            Recovered::Completed(_) if push.before.is_some() => Ok(None),
            Recovered::Completed(found) => {
                let size = push.chain.queued.size_bytes;
                let tag = noted_tag(&leg, &plan_of(session, size)).filter(|tag| is_completed_as(&found, tag));
                let unproven = LeftBehind::Unproven { object_key: session.object_key.clone() };
                Ok(Some(tag.map_or(unproven, |tag| LeftBehind::Object(object_of(session, size, tag)))))
            }
            Recovered::Left(Left::Gone) => Ok(None),
            Recovered::Left(left) => {
                if let Left::Open { store, .. } = &left {
                    self.abort_upload(store, &leg).await;
                }
                self.abort(caller, session, "the episode may not be in the cloud any more").await;
                Ok(None)
            }
        }
    }

    /// The word of the gateway: its store lets nobody look at what is completed.
    async fn look(&self, pushed: &Pushed) -> PushResult<Found> {
        let Some(session) = &pushed.session else {
            return Ok(Found::Untold("nothing is known of its session with the data platform".to_owned()));
        };
        let platform = self.platform().await?;
        let Some(device) = platform.device(&session.asset_id) else {
            return Ok(Found::Untold(format!("the configuration of the data platform knows `{}` no more", session.asset_id)));
        };
        match self.calls.recovery(&Caller::of(&platform, device), &session.logical_upload_id).await {
            Ok(found) if is_completed_as(&found, &pushed.object.etag) => Ok(Found::Sound),
            Ok(found) if found.logical_upload_status() == LogicalUploadStatus::Completed => {
                Ok(Found::Damaged(format!("the data platform has another object: its entity tag is {}", tag_shown(&found.oss_object_etag))))
            }
            Ok(_) | Err(CallError::NotFound) => Ok(Found::Untold("the data platform does not know the upload as completed".to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    async fn read(&self, _: &Pushed, _: Range<u64>) -> PushResult<Bytes> {
        Err(PushError::never(SyncFault::CloudRefused, "the data platform gives no recording back"))
    }
}
