//! Pushes what is queued to a cloud.
//!
//! ```text
//!  sync_queued, once for each cloud ─► claim the leg: may it be there? ─► push, writing down each step ─► finish the leg
//!                                            │                               │
//!                                            │                               ├── the cloud is away ─► nobody's attempt; its circuit opens
//!                                            │                               ├── it failed ─────────► tried again when its wait is over
//!                                            └── no ─► given up              └── it cannot be ──────► given up
//! ```
//!
//! A repeat goes on where the leg stands: what was acknowledged is not sent again, and what is over stays as it is. Two that work on one leg at the
//! same time, as where a lease came to its end, are told apart by their sessions: the earlier one is refused at its next step. The row of a leg lives
//! until the leg is done or given up, and, where the episode may not be there any more, until what was begun is given up; any process takes it when
//! nobody holds it: no chain is without an owner.

mod journal;
mod waits;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tracing::{info, warn};
use uuid::Uuid;

use self::journal::Notes;
pub use self::waits::RetryTerms;
use super::context::context_of;
use crate::blobs::Blobs;
use crate::certificates::{CertificateError, Certificates};
use crate::cloud::{Asset, Cloud, LeftBehind, NotNoted, Push, PushError, Registered};
use crate::commands::sync::{CheckSync, Checked, ClaimSync, FinishSyncLeg, HeldLeg, MayGoOn, NoteLeftBehind, NoteSync, ReadSync, ToPush};
use crate::commands::{CommandError, Commands, Context};
use crate::dispatcher::{Backoff, Delivery, DeliverySettings, Outcome, Subscriber};
use crate::domain::routing::{Destination, SubscriberName};
use crate::domain::sync::{ChainCommand, ChainEvent, CloudName, FinishedObject, GivenUpCause, Held, Limits, SyncFailure, SyncFault};
use crate::domain::{SyncChainId, Timestamp};
use crate::projections::reads::Reads;
use crate::qa::key_of;
use crate::telemetry::{CLOUD_SYNC_ENDED, CLOUD_SYNC_SECONDS, CLOUD_SYNCED_BYTES, chain};

/// Before what the database did not take is tried again.
const DATABASE_WAIT: Duration = Duration::from_secs(1);
/// Tries of giving up what was begun, where the cloud answers and does not do it: some hours of them.
const TAKEN_BACK_TRIES: u32 = 1000;

/// The clouds of a site.
pub type Clouds = BTreeMap<CloudName, Arc<dyn Cloud>>;

/// How often something is tried, and until when.
#[derive(Clone, Copy, Debug)]
pub struct SyncTerms {
    pub retry: RetryTerms,
    pub limits: Limits,
}

/// One delivery of a leg that is worked on.
struct Turn<'a> {
    context: Context,
    cloud: &'a dyn Cloud,
    of: HeldLeg,
    attempt: u32,
}

pub struct CloudSync {
    commands: Commands,
    reads: Reads,
    blobs: Blobs,
    certificates: Certificates,
    clouds: Clouds,
    terms: SyncTerms,
    /// As it was when rows were looked for last.
    paused: Mutex<BTreeSet<CloudName>>,
    /// Whether a cloud took something the last time that this process tried; none: it has not tried yet.
    up: Mutex<BTreeMap<CloudName, bool>>,
}

impl CloudSync {
    pub fn new(commands: Commands, reads: Reads, blobs: Blobs, certificates: Certificates, clouds: Clouds, terms: SyncTerms) -> Self {
        Self { commands, reads, blobs, certificates, clouds, terms, paused: Mutex::default(), up: Mutex::default() }
    }

    fn was_up(&self, cloud: CloudName) -> Option<bool> {
        self.up.lock().unwrap_or_else(PoisonError::into_inner).get(&cloud).copied()
    }

    /// Notes whether the cloud takes anything, for people too, where that is news.
    async fn tell(&self, cloud: CloudName, failure: Option<&SyncFailure>) {
        let before = self.up.lock().unwrap_or_else(PoisonError::into_inner).insert(cloud, failure.is_none());
        if failure.is_none() && before == Some(true) {
            return;
        }
        if let Err(error) = self.commands.tell_cloud_trouble(cloud, failure.map(|failure| failure.text.as_str())).await {
            warn!(error = format!("{error:#}"), "Cannot note how the cloud `{}` is: {error:#}", cloud.as_str());
        }
    }

    async fn down(&self, cloud: CloudName, failure: &SyncFailure) -> Outcome {
        self.tell(cloud, Some(failure)).await;
        Outcome::DestinationDown { error: failure.text.clone() }
    }

    async fn work(&self, turn: Turn<'_>) -> Outcome {
        let Turn { cloud, of, attempt, .. } = &turn;
        // While it is down, one question is enough, and leaves no event.
        if self.was_up(of.held.cloud) == Some(false) {
            match is_down(*cloud).await {
                Some(failure) => return self.down(of.held.cloud, &failure).await,
                None => self.tell(of.held.cloud, None).await,
            }
        }
        let to_push = match self.commands.execute(&turn.context, ClaimSync { of: of.clone(), attempt: *attempt }).await {
            Ok(MayGoOn::Yes(to_push)) => to_push,
            Ok(MayGoOn::Unfit) => return self.take_back(&turn).await,
            Ok(MayGoOn::No) => return Outcome::Delivered,
            Err(error) => return trouble(error),
        };
        match self.push(&turn, &to_push).await {
            Ok(object) => self.finish(&turn, &to_push, object).await,
            Err(PushError::Stopped(NotNoted::Unfit)) => self.take_back(&turn).await,
            Err(PushError::Stopped(NotNoted::Lost)) => self.over(&turn).await,
            Err(PushError::Stopped(NotNoted::Paused)) => {
                let failure = SyncFailure::new(SyncFault::CloudAway, "the cloud was paused");
                self.note(&turn, |held, at| ChainCommand::Hold { held, failure, at }).await;
                Outcome::NotHere { error: "the cloud was paused".to_owned() }
            }
            Err(PushError::Stopped(NotNoted::Database(error))) => Outcome::Retry { error, after: Some(DATABASE_WAIT) },
            Err(PushError::Never(failure)) => {
                warn!(episode.id = %of.episode, error = failure.text, "Gave up pushing episode {} to the cloud: {}", of.episode, failure.text);
                self.give_up(&turn, failure).await
            }
            Err(PushError::Down(failure)) => self.hold(&turn, failure).await,
            Err(PushError::Again { failure, after }) => match is_down(*cloud).await {
                // It was not this recording.
                Some(down) => self.hold(&turn, down).await,
                None => self.fail(&turn, failure, after).await,
            },
        }
    }

    /// Another worker has the leg, or the chain is over. Where it ended because its episode may not be there, each leg gives up what it has begun.
    async fn over(&self, turn: &Turn<'_>) -> Outcome {
        match self.commands.execute(&turn.context, CheckSync(turn.of.clone())).await {
            Ok(Checked::Unfit) => self.take_back(turn).await,
            Ok(Checked::Fit | Checked::Over) => Outcome::Delivered,
            Err(error) => trouble(error),
        }
    }

    async fn push(&self, turn: &Turn<'_>, to_push: &ToPush) -> Result<Option<FinishedObject>, PushError> {
        let of = &turn.of;
        let push = Push { certificate: self.certificate(of).await?, registered: self.registered(of, to_push).await?, ..self.of(to_push)? };
        let notes = Notes::new(&self.commands, &self.reads, &turn.context, of, to_push.chain.queued.size_bytes);
        turn.cloud.push(&push, &notes).await
    }

    fn of<'a>(&'a self, to_push: &'a ToPush) -> Result<Push<'a>, PushError> {
        Ok(Push {
            chain: &to_push.chain,
            created: &to_push.created,
            before: to_push.cloud.as_ref(),
            blobs: &self.blobs,
            source: key_of(&to_push.chain.queued.source_path)?,
            sidecar: to_push.created.sidecar_path.as_deref().map(key_of).transpose()?,
            certificate: None,
            registered: None,
        })
    }

    /// Only a bucket carries it.
    async fn certificate(&self, of: &HeldLeg) -> Result<Option<Bytes>, PushError> {
        if of.held.cloud != CloudName::S3 {
            return Ok(None);
        }
        match self.certificates.of_approved(of.episode).await {
            Ok(certificate) => Ok(Some(certificate.bytes().into())),
            Err(CertificateError::NoKey) => Ok(None),
            Err(error) => {
                warn!(episode.id = %of.episode, error = chain(&error), "Episode {} has no certificate: {error}", of.episode);
                Err(PushError::again(SyncFault::Internal, format!("its certificate cannot be made: {error}")))
            }
        }
    }

    /// Only the gateway is told. The asset is that of the robot as it is now; what the episode kept of it counts where no robot is known any more.
    async fn registered(&self, of: &HeldLeg, to_push: &ToPush) -> Result<Option<Registered>, PushError> {
        if of.held.cloud != CloudName::Gateway {
            return Ok(None);
        }
        let facts = self.reads.platform_facts(of.episode).await.map_err(|error| NotNoted::Database(error.to_string()))?;
        let Some(facts) = facts else { return Ok(None) };
        let kept = to_push.created.metadata.as_ref().and_then(|metadata| metadata["asset_id"].as_str());
        let asset = match (&facts.asset_id, facts.has_robot, kept) {
            (Some(asset_id), _, _) => Asset::Bound(asset_id.clone()),
            (None, true, _) => Asset::Unbound,
            (None, false, Some(kept)) => Asset::Bound(kept.to_owned()),
            (None, false, None) => Asset::Unknown,
        };
        Ok(Some(Registered { asset, tags: facts.tags() }))
    }

    async fn finish(&self, turn: &Turn<'_>, to_push: &ToPush, object: Option<FinishedObject>) -> Outcome {
        let of = &turn.of;
        let completed = match self.commands.execute(&turn.context, FinishSyncLeg { of: of.clone(), object }).await {
            Ok(completed) => completed,
            Err(CommandError::Refused(_)) => return self.over(turn).await,
            Err(error) => return trouble(error),
        };
        self.tell(of.held.cloud, None).await;
        let cloud = of.held.cloud.as_str();
        metrics::counter!(CLOUD_SYNCED_BYTES, "cloud" => cloud).increment(to_push.chain.queued.size_bytes);
        info!(episode.id = %of.episode, "Episode {} is in the cloud `{cloud}`", of.episode);
        if completed {
            metrics::counter!(CLOUD_SYNC_ENDED, "outcome" => "completed").increment(1);
            if let Some(approved_at) = to_push.chain.queued.approved_at {
                let took = (self.commands.now() - approved_at).to_std().unwrap_or_default();
                metrics::histogram!(CLOUD_SYNC_SECONDS).record(took);
            }
        }
        Outcome::Delivered
    }

    /// The chain is over because its episode may not be there. What was begun is given up, however long the cloud is away; what is there all the
    /// same, is told.
    async fn take_back(&self, turn: &Turn<'_>) -> Outcome {
        let Turn { context, cloud, of, attempt } = turn;
        metrics::counter!(CLOUD_SYNC_ENDED, "outcome" => "not_eligible").increment(1);
        info!(episode.id = %of.episode, "Episode {} may not be in the cloud any more", of.episode);
        // What was begun since it was claimed, too.
        let to_push = match self.commands.execute(context, ReadSync { episode: of.episode, chain: of.chain }).await {
            Ok(Some(to_push)) => to_push,
            Ok(None) => return Outcome::Delivered,
            Err(error) => return trouble(error),
        };
        let nothing_begun = to_push.chain.legs.get(&of.held.cloud).is_none_or(|leg| leg.claims == 0 && leg.begun().is_nothing());
        if nothing_begun {
            return Outcome::Delivered;
        }
        let found = match self.of(&to_push) {
            Ok(push) => cloud.take_back(&push).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(None) => Outcome::Delivered,
            Ok(Some(found)) => {
                let (object_key, object) = match found {
                    LeftBehind::Object(object) => (object.object_key.clone(), Some(object)),
                    LeftBehind::Unproven { object_key } => (object_key, None),
                };
                match self.commands.execute(context, NoteLeftBehind { of: of.clone(), object_key, object }).await {
                    Ok(()) => Outcome::Delivered,
                    Err(error) => trouble(error),
                }
            }
            Err(error) => {
                warn!(episode.id = %of.episode, error = chain(&error), "Could not take back what was begun of episode {}: {error}", of.episode);
                match error {
                    PushError::Down(failure) => self.down(of.held.cloud, &failure).await,
                    PushError::Again { failure, after } => match is_down(*cloud).await {
                        Some(down) => self.down(of.held.cloud, &down).await,
                        None if *attempt >= TAKEN_BACK_TRIES => Outcome::Delivered,
                        None => Outcome::Retry { error: failure.text, after: Some(self.terms.retry.wait(*attempt, 0.5, after)) },
                    },
                    PushError::Stopped(_) => Outcome::Retry { error: error.to_string(), after: Some(DATABASE_WAIT) },
                    // Neither does another try.
                    PushError::Never(_) => Outcome::Delivered,
                }
            }
        }
    }

    /// Writes down how an attempt ended; answers whether the leg is over with it. What cannot be written down is found by the next claim.
    async fn note(&self, turn: &Turn<'_>, step: impl FnOnce(Held, Timestamp) -> ChainCommand) -> Option<bool> {
        let Turn { context, of, .. } = turn;
        let step = step(of.held.clone(), self.commands.now());
        match self.commands.execute(context, NoteSync { chain: of.chain, cloud: of.held.cloud, step }).await {
            Ok(is_over) => Some(is_over),
            // Another worker has it.
            Err(CommandError::Refused(_)) => None,
            Err(error) => {
                warn!(error = format!("{error:#}"), "Cannot write down how pushing episode {} ended: {error:#}", of.episode);
                Some(false)
            }
        }
    }

    async fn hold(&self, turn: &Turn<'_>, failure: SyncFailure) -> Outcome {
        let down = failure.clone();
        self.note(turn, |held, at| ChainCommand::Hold { held, failure, at }).await;
        self.down(turn.of.held.cloud, &down).await
    }

    async fn give_up(&self, turn: &Turn<'_>, failure: SyncFailure) -> Outcome {
        metrics::counter!(CLOUD_SYNC_ENDED, "outcome" => "failed").increment(1);
        match self.note(turn, |held, at| ChainCommand::GiveUpLeg { held, cause: GivenUpCause::Permanent, failure, at }).await {
            Some(false) => Outcome::Retry { error: "the end could not be written down".to_owned(), after: Some(DATABASE_WAIT) },
            Some(true) => Outcome::Delivered,
            None => self.over(turn).await,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "waits are spread by chance")]
    async fn fail(&self, turn: &Turn<'_>, failure: SyncFailure, told: Option<Duration>) -> Outcome {
        let episode = turn.of.episode;
        let wait = self.terms.retry.wait(turn.attempt, rand::random(), told);
        let (text, limits) = (failure.text.clone(), self.terms.limits);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        match self.note(turn, |held, at| ChainCommand::Fail { held, failure, wait_ms, limits, at }).await {
            Some(false) => Outcome::Retry { error: text, after: Some(wait) },
            Some(true) => {
                metrics::counter!(CLOUD_SYNC_ENDED, "outcome" => "failed").increment(1);
                warn!(episode.id = %episode, error = text, "Gave up pushing episode {episode} to the cloud: {text}");
                Outcome::Delivered
            }
            None => self.over(turn).await,
        }
    }
}

/// Between the questions to a cloud that did not answer one: a line that loses some of them is not down.
const PROBE_WAITS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// Why a cloud takes nothing at the moment; none where it answers.
#[expect(clippy::disallowed_methods, reason = "a question is asked again after a while")]
async fn is_down(cloud: &dyn Cloud) -> Option<SyncFailure> {
    let mut waits = PROBE_WAITS.iter();
    loop {
        let failure = match cloud.probe().await {
            Ok(()) | Err(PushError::Stopped(_)) => return None,
            Err(PushError::Down(failure) | PushError::Again { failure, .. } | PushError::Never(failure)) => failure,
        };
        let Some(wait) = waits.next() else { return Some(failure) };
        tokio::time::sleep(*wait).await;
    }
}

fn trouble(error: CommandError) -> Outcome {
    match error {
        // The chain is over, or another worker has the leg.
        CommandError::Refused(_) => Outcome::Delivered,
        error => Outcome::Retry { error: format!("{error:#}"), after: Some(DATABASE_WAIT) },
    }
}

#[async_trait]
impl Subscriber for CloudSync {
    fn name(&self) -> SubscriberName {
        SubscriberName::CloudSync
    }

    #[expect(clippy::disallowed_methods, reason = "who works on a leg draws a session")]
    async fn deliver(&self, delivery: &Delivery) -> Outcome {
        let Some(Destination::Cloud(name)) = delivery.destination else {
            return Outcome::Permanent { error: "the row names no cloud".to_owned() };
        };
        let Some(cloud) = self.clouds.get(&name) else {
            return Outcome::NotHere { error: format!("the settings name no cloud `{}`", name.as_str()) };
        };
        let event = &delivery.event;
        match (event.aggregate_id.parse(), serde_json::from_value(event.payload.clone())) {
            (Ok(chain), Ok(ChainEvent::SyncQueued(queued))) => {
                let held = Held { cloud: name, session: Uuid::new_v4().to_string() };
                let of = HeldLeg { episode: queued.episode_id, chain: SyncChainId(chain), held };
                let attempt = delivery.attempt.unsigned_abs();
                self.work(Turn { context: context_of(self.name(), delivery), cloud: &**cloud, of, attempt }).await
            }
            (Ok(_), Ok(_)) => Outcome::Permanent { error: "the event queues nothing".to_owned() },
            (Ok(_), Err(error)) => Outcome::Permanent { error: format!("the event cannot be read: {error}") },
            (Err(error), _) => Outcome::Permanent { error: format!("the stream is no chain: {error}") },
        }
    }

    async fn look_up(&self, _waiting: &[Destination]) -> anyhow::Result<()> {
        let control = self.reads.sync_control().await?;
        let is_paused = |cloud: &&CloudName| control.as_ref().is_some_and(|control| control.is_paused(**cloud));
        *self.paused.lock().unwrap_or_else(PoisonError::into_inner) = CloudName::ALL.iter().filter(is_paused).copied().collect();
        Ok(())
    }

    fn reaches(&self, destination: &Destination) -> bool {
        match destination {
            Destination::Cloud(cloud) => {
                self.clouds.contains_key(cloud) && !self.paused.lock().unwrap_or_else(PoisonError::into_inner).contains(cloud)
            }
            Destination::Recorder(_) | Destination::Transfer(_) | Destination::Webhook(_) => false,
        }
    }

    fn settings_of(&self, _destination: &Destination, all: DeliverySettings) -> DeliverySettings {
        // The wait is told by the delivery itself, so that what is said of it is exact; and a chain says when it is over.
        DeliverySettings { backoff: Backoff { base: Duration::ZERO, cap: None, jitter: false }, attempts_max: None, deadline: None, ..all }
    }
}
