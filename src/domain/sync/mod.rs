//! How a recording gets to the cloud: one chain for each time that an episode is to be there.
//!
//! ```text
//!  queue            claim                       all legs are done
//! ───────► pending ───────► in_progress ───────────────────────────► completed
//!             ▲  ▲               │  │
//!             │  └── hold ───────┘  │ fail, and another try follows      failed, with the time of the next try
//!             └───── claim, retry ──┴──────────────────────────────────► │
//!                                                                        │ give up
//!                                   any of these ────────────────────────┴──► failed, for good
//! ```
//!
//! A chain has a leg for each cloud that has to have the recording; legs are worked on by themselves, one that is given up leaves the others on
//! their way, and what is said of the chain is said of all of them together. Who works on a leg draws a session and shows it with all that follows:
//! another claim makes it void, so what a worker says that was taken for lost changes nothing. Whether an episode may be there at all is decided in
//! [`eligibility`], for every step alike.

mod control;
mod eligibility;
mod failure;
mod leg;
mod tags;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::control::{ControlCommand, ControlEvent, ControlRefusal, PausedCloud, Standing, SyncControl};
pub use self::eligibility::{Unfit, is_fit};
pub use self::failure::{ERROR_CHARS_MAX, GivenUpCause, SyncFailure, SyncFault};
pub use self::leg::{Begun, FinishedObject, FinishedPart, Leg, LegStage, OpenedSession, Proof, Pushed, StartedUpload};
pub use self::tags::{TagError, TagSource, TagSources, tags};
use super::aggregate::events;
use super::episode::CopyPlace;
use super::order::Priority;
use super::refusal::{RefusalCode, Refused};
use super::words::words;
use super::{Aggregate, EpisodeId, FactoryId, OrganizationId, SyncChainId, Timestamp};

words! {
    /// A cloud that recordings are pushed to.
    CloudName {
        /// A bucket of an S3 server, and the service that is told of what arrived there.
        S3 = "s3",
        /// The gateway of the data platform.
        Gateway = "gateway",
    }

    ChainStatus {
        Pending = "pending",
        InProgress = "in_progress",
        Completed = "completed",
        /// Where a time is given, it is tried again.
        Failed = "failed",
    }

    /// Why an episode was queued.
    SyncReason {
        /// A person asked.
        Manual = "manual",
        /// The same, for one that is there already.
        Resync = "resync",
        /// It was approved, and what is approved is pushed by itself.
        AutoScan = "auto_scan",
        /// It was one of many.
        BulkRun = "bulk_run",
    }
}

impl CloudName {
    /// Whether a recording can be read there.
    pub fn gives_back(self) -> bool {
        match self {
            Self::S3 => true,
            // It lets its devices write, and nobody read.
            Self::Gateway => false,
        }
    }
}

impl From<CloudName> for CopyPlace {
    fn from(cloud: CloudName) -> Self {
        match cloud {
            CloudName::S3 => Self::S3,
            CloudName::Gateway => Self::Gateway,
        }
    }
}

/// Parts that one event tells of.
pub const PARTS_OF_AN_EVENT_MAX: usize = 100;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncChain {
    #[default]
    Absent,
    Known(Box<Chain>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    pub queued: SyncQueued,
    pub legs: BTreeMap<CloudName, Leg>,
    /// When it was queued, then when it was claimed last.
    pub started_at: Timestamp,
    /// When its last attempt ended, well or not.
    pub ended_at: Option<Timestamp>,
    /// How long that took.
    pub duration_ms: Option<u64>,
    /// The last failure; none once it is tried again.
    pub failure: Option<SyncFailure>,
    /// What attempts and the waits between them have taken so far. What a cloud that is away takes is not among it.
    pub spent_ms: u64,
    pub end: Option<ChainEnd>,
}

/// What is to be there. It never changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncQueued {
    pub episode_id: EpisodeId,
    /// The id that people and the cloud see.
    pub episode_public_id: String,
    pub factory_id: FactoryId,
    pub organization_id: OrganizationId,
    pub reason: SyncReason,
    pub clouds: Vec<CloudName>,
    /// `<bucket>/<key>` in the edge storage.
    pub source_path: String,
    pub size_bytes: u64,
    pub sha256: String,
    pub priority: Priority,
    /// None of an approval by a version that did not keep it.
    pub approved_at: Option<Timestamp>,
    /// The chain that is given up for this one.
    pub supersedes: Option<SyncChainId>,
    /// What that one had begun, and this one goes on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<BTreeMap<CloudName, Begun>>,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainEnd {
    Completed { at: Timestamp },
    GivenUp { cause: GivenUpCause, at: Timestamp },
}

/// A leg, and the session that works on it.
#[derive(Clone, Debug)]
pub struct Held {
    pub cloud: CloudName,
    pub session: String,
}

#[derive(Clone, Debug)]
pub enum ChainCommand {
    Queue(Box<SyncQueued>),
    /// A person asks for what waits for its next try.
    Retry {
        at: Timestamp,
    },
    /// A worker begins, or goes on.
    Claim {
        held: Held,
        /// As the outbox counts: what ended because the cloud was away, or in order, is not counted.
        attempt: u32,
        at: Timestamp,
    },
    /// What was uploaded in another session is none of this one.
    OpenSession {
        held: Held,
        session: OpenedSession,
    },
    /// Its parts begin from the first one.
    StartUpload {
        held: Held,
        upload: StartedUpload,
    },
    FinishParts {
        held: Held,
        upload_id: String,
        parts: Vec<FinishedPart>,
    },
    FinishObject {
        held: Held,
        object: FinishedObject,
    },
    /// The service has heard of it, or the gateway has completed it.
    Tell {
        held: Held,
        at: Timestamp,
    },
    FinishLeg {
        held: Held,
        at: Timestamp,
    },
    /// The cloud is away. It is nobody's attempt.
    Hold {
        held: Held,
        failure: SyncFailure,
        at: Timestamp,
    },
    /// The attempt did not end well. Where the chain may still be tried, it is after this wait.
    Fail {
        held: Held,
        failure: SyncFailure,
        wait_ms: u64,
        limits: Limits,
        at: Timestamp,
    },
    /// Another try of this leg cannot help. When no other one is on its way any more, the chain is given up.
    GiveUpLeg {
        held: Held,
        cause: GivenUpCause,
        failure: SyncFailure,
        at: Timestamp,
    },
    /// The chain is over because its episode may not be there, and it is there all the same.
    NoteLeftBehind {
        cloud: CloudName,
        object: FinishedObject,
        at: Timestamp,
    },
    /// No leg is wanted any more.
    GiveUp {
        cause: GivenUpCause,
        failure: SyncFailure,
        at: Timestamp,
    },
}

/// How long, and how often, a chain may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub deadline_ms: Option<u64>,
    pub attempts_max: Option<u32>,
}

events! {
    ChainEvent {
        SyncQueued = "sync_queued", "1.0" (Box<SyncQueued>),
        SyncRetried = "sync_retried", "1.0" { at: Timestamp },
        SyncClaimed = "sync_claimed", "1.0" { cloud: CloudName, session: String, attempt: u32, at: Timestamp },
        SyncSessionOpened = "sync_session_opened", "1.0" { cloud: CloudName, session: OpenedSession },
        SyncUploadStarted = "sync_upload_started", "1.0" { cloud: CloudName, upload: StartedUpload },
        SyncPartsFinished = "sync_parts_finished", "1.0" { cloud: CloudName, upload_id: String, parts: Vec<FinishedPart> },
        SyncObjectFinished = "sync_object_finished", "1.0" { cloud: CloudName, object: FinishedObject },
        SyncReceiverTold = "sync_receiver_told", "1.0" { cloud: CloudName, at: Timestamp },
        SyncGatewayCompleted = "sync_gateway_completed", "1.0" { cloud: CloudName, at: Timestamp },
        SyncLegFinished = "sync_leg_finished", "1.0" { cloud: CloudName, at: Timestamp },
        SyncHeld = "sync_held", "1.0" { cloud: CloudName, failure: SyncFailure, at: Timestamp },
        SyncFailed = "sync_failed", "1.0" {
            cloud: CloudName,
            failure: SyncFailure,
            next_retry_at: Timestamp,
            /// What the attempt and the wait behind it take.
            spent_ms: u64,
            at: Timestamp,
        },
        SyncLegGivenUp = "sync_leg_given_up", "1.0" { cloud: CloudName, cause: GivenUpCause, failure: SyncFailure, at: Timestamp },
        SyncGivenUp = "sync_given_up", "1.0" { cause: GivenUpCause, failure: SyncFailure, at: Timestamp },
        SyncCompleted = "sync_completed", "1.0" { at: Timestamp },
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainRefusal {
    #[error("there is a chain of this id already")]
    Exists,
    #[error("there is no such chain")]
    NotFound,
    #[error("the chain is over")]
    Over,
    #[error("the leg was claimed by another worker")]
    ClaimLost,
    #[error("the chain has no leg to this cloud")]
    NoSuchLeg,
    #[error("the episode is on its way to the cloud")]
    Active,
}

impl Refused for ChainRefusal {
    fn code(&self) -> RefusalCode {
        match self {
            Self::Exists => RefusalCode::SyncChainExists,
            Self::NotFound | Self::NoSuchLeg => RefusalCode::SyncChainNotFound,
            Self::Over => RefusalCode::SyncChainOver,
            Self::ClaimLost => RefusalCode::SyncClaimLost,
            Self::Active => RefusalCode::SyncActive,
        }
    }
}

impl Chain {
    /// What a chain goes on with that supersedes this one.
    pub fn begun(&self) -> BTreeMap<CloudName, Begun> {
        self.legs.iter().map(|(cloud, leg)| (*cloud, leg.begun())).filter(|(_, begun)| !begun.is_nothing()).collect()
    }

    pub fn status(&self) -> ChainStatus {
        match &self.end {
            Some(ChainEnd::Completed { .. }) => return ChainStatus::Completed,
            Some(ChainEnd::GivenUp { .. }) => return ChainStatus::Failed,
            None => {}
        }
        let any = |is: fn(&LegStage) -> bool| self.legs.values().any(|leg| is(&leg.stage));
        if any(|stage| matches!(stage, LegStage::Claimed { .. })) {
            ChainStatus::InProgress
        } else if any(|stage| matches!(stage, LegStage::Failed { .. })) {
            ChainStatus::Failed
        } else {
            ChainStatus::Pending
        }
    }

    /// When it is tried again; none where it is not, or is under way.
    pub fn next_retry_at(&self) -> Option<Timestamp> {
        if self.status() != ChainStatus::Failed || self.end.is_some() {
            return None;
        }
        self.legs
            .values()
            .filter_map(|leg| if let LegStage::Failed { next_retry_at } = leg.stage { Some(next_retry_at) } else { None })
            .min()
    }

    pub fn attempts(&self) -> u32 {
        self.legs.values().map(|leg| leg.attempts).max().unwrap_or(0)
    }

    /// What is there, of the first cloud that it was to go to.
    pub fn object(&self) -> Option<&FinishedObject> {
        self.queued.clouds.iter().find_map(|cloud| self.legs.get(cloud).and_then(|leg| leg.object.as_ref()))
    }

    /// What is there of one that came to no good end: an object of which the gateway was not told is none of its.
    pub fn left_behind(&self) -> BTreeMap<CloudName, Pushed> {
        let is_there = |(cloud, leg): &(&CloudName, &Leg)| **cloud != CloudName::Gateway || leg.told_at.is_some();
        self.legs.iter().filter(is_there).filter_map(|(cloud, leg)| Some((*cloud, leg.has()?))).collect()
    }

    /// Whether it was given up because the episode might not be there.
    pub fn lost_its_approval(&self) -> bool {
        matches!(self.end, Some(ChainEnd::GivenUp { cause: GivenUpCause::NotEligible, .. }))
    }

    /// Whether nobody works for this cloud any more.
    pub fn is_over_in(&self, cloud: CloudName) -> bool {
        self.end.is_some() || self.legs.get(&cloud).is_none_or(|leg| leg.stage.is_over())
    }

    /// Whether this session may go on with its leg.
    pub fn is_held(&self, held: &Held) -> bool {
        self.held(held).is_ok()
    }

    fn leg(&self, cloud: CloudName) -> Result<&Leg, ChainRefusal> {
        self.legs.get(&cloud).ok_or(ChainRefusal::NoSuchLeg)
    }

    /// The leg of a session that may go on.
    fn held(&self, held: &Held) -> Result<(&Leg, Timestamp), ChainRefusal> {
        if self.end.is_some() {
            return Err(ChainRefusal::Over);
        }
        let leg = self.leg(held.cloud)?;
        match &leg.stage {
            LegStage::Claimed { session, at } if *session == held.session => Ok((leg, *at)),
            _ => Err(ChainRefusal::ClaimLost),
        }
    }

    fn failed(
        &self,
        held: &Held,
        failure: SyncFailure,
        wait_ms: u64,
        limits: Limits,
        at: Timestamp,
    ) -> Result<Vec<ChainEvent>, ChainRefusal> {
        let (leg, since) = self.held(held)?;
        let spent_ms = wait_ms.saturating_add(u64::try_from((at - since).num_milliseconds()).unwrap_or(0));
        let late = limits.deadline_ms.is_some_and(|most| self.spent_ms.saturating_add(spent_ms) >= most);
        let often = limits.attempts_max.is_some_and(|most| leg.attempts >= most);
        if late || often {
            let cause = if often { GivenUpCause::Attempts } else { GivenUpCause::Deadline };
            return Ok(self.leg_given_up(held.cloud, cause, failure, at));
        }
        let wait = chrono::TimeDelta::milliseconds(i64::try_from(wait_ms).unwrap_or(i64::MAX / 2));
        let next_retry_at = at.checked_add_signed(wait).unwrap_or(at);
        Ok(vec![ChainEvent::SyncFailed { cloud: held.cloud, failure, next_retry_at, spent_ms, at }])
    }

    fn others_of(&self, cloud: CloudName) -> impl Iterator<Item = &LegStage> {
        self.legs.iter().filter(move |(other, _)| **other != cloud).map(|(_, leg)| &leg.stage)
    }

    /// A leg, and with the last one the chain.
    fn leg_given_up(&self, cloud: CloudName, cause: GivenUpCause, failure: SyncFailure, at: Timestamp) -> Vec<ChainEvent> {
        let end = self.others_of(cloud).all(LegStage::is_over).then(|| ChainEvent::SyncGivenUp { cause, failure: failure.clone(), at });
        std::iter::once(ChainEvent::SyncLegGivenUp { cloud, cause, failure, at }).chain(end).collect()
    }

    /// A leg that is done. The chain is over with the last one: completed, where none was given up.
    fn leg_finished(&self, cloud: CloudName, at: Timestamp) -> Vec<ChainEvent> {
        let given_up = self.others_of(cloud).find_map(|stage| match stage {
            LegStage::GivenUp { cause, failure } => Some(ChainEvent::SyncGivenUp { cause: *cause, failure: failure.clone(), at }),
            _ => None,
        });
        let end = self.others_of(cloud).all(LegStage::is_over).then(|| given_up.unwrap_or(ChainEvent::SyncCompleted { at }));
        std::iter::once(ChainEvent::SyncLegFinished { cloud, at }).chain(end).collect()
    }
}

impl Aggregate for SyncChain {
    const TYPE: &'static str = "sync_chain";
    type Command = ChainCommand;
    type Event = ChainEvent;
    type Refusal = ChainRefusal;

    fn decide(&self, command: ChainCommand) -> Result<Vec<ChainEvent>, ChainRefusal> {
        use ChainCommand as C;
        let chain = match (self, &command) {
            (Self::Absent, C::Queue(queued)) => return Ok(vec![ChainEvent::SyncQueued(queued.clone())]),
            (Self::Absent, _) => return Err(ChainRefusal::NotFound),
            (Self::Known(chain), _) => chain,
        };
        Ok(match command {
            C::Queue(_) => return Err(ChainRefusal::Exists),
            C::Retry { .. } if chain.end.is_some() => return Err(ChainRefusal::Over),
            C::Retry { at } => match chain.status() {
                ChainStatus::Failed => vec![ChainEvent::SyncRetried { at }],
                _ => return Err(ChainRefusal::Active),
            },
            C::Claim { .. } if chain.end.is_some() => return Err(ChainRefusal::Over),
            C::Claim { held, attempt, at } => match &chain.leg(held.cloud)?.stage {
                stage if stage.is_over() => return Err(ChainRefusal::Over),
                _ => vec![ChainEvent::SyncClaimed { cloud: held.cloud, session: held.session, attempt, at }],
            },
            C::OpenSession { held, session } => {
                chain.held(&held)?;
                vec![ChainEvent::SyncSessionOpened { cloud: held.cloud, session }]
            }
            C::StartUpload { held, upload } => {
                chain.held(&held)?;
                vec![ChainEvent::SyncUploadStarted { cloud: held.cloud, upload }]
            }
            C::FinishParts { held, upload_id, parts } => {
                let (leg, _) = chain.held(&held)?;
                if leg.upload.as_ref().is_none_or(|upload| upload.upload_id != upload_id) {
                    return Err(ChainRefusal::ClaimLost);
                }
                let new: Vec<_> = parts.into_iter().filter(|part| leg.parts.get(&part.number) != Some(part)).collect();
                new.chunks(PARTS_OF_AN_EVENT_MAX)
                    .map(|parts| ChainEvent::SyncPartsFinished { cloud: held.cloud, upload_id: upload_id.clone(), parts: parts.to_vec() })
                    .collect()
            }
            C::FinishObject { held, object } => {
                let (leg, _) = chain.held(&held)?;
                let known = leg.object.as_ref() == Some(&object);
                (!known).then_some(ChainEvent::SyncObjectFinished { cloud: held.cloud, object }).into_iter().collect()
            }
            C::Tell { held, at } => {
                let (leg, _) = chain.held(&held)?;
                let cloud = held.cloud;
                let told = match cloud {
                    CloudName::S3 => ChainEvent::SyncReceiverTold { cloud, at },
                    CloudName::Gateway => ChainEvent::SyncGatewayCompleted { cloud, at },
                };
                leg.told_at.is_none().then_some(told).into_iter().collect()
            }
            C::FinishLeg { held, at } => {
                chain.held(&held)?;
                chain.leg_finished(held.cloud, at)
            }
            C::Hold { held, failure, at } => {
                chain.held(&held)?;
                vec![ChainEvent::SyncHeld { cloud: held.cloud, failure, at }]
            }
            C::Fail { held, failure, wait_ms, limits, at } => chain.failed(&held, failure, wait_ms, limits, at)?,
            C::GiveUpLeg { held, cause, failure, at } => {
                chain.held(&held)?;
                chain.leg_given_up(held.cloud, cause, failure, at)
            }
            C::NoteLeftBehind { .. } if !chain.lost_its_approval() => vec![],
            C::NoteLeftBehind { cloud, object, at } => {
                let leg = chain.leg(cloud)?;
                let noted = leg.object.is_none().then_some(ChainEvent::SyncObjectFinished { cloud, object });
                let is_news = cloud == CloudName::Gateway && leg.told_at.is_none();
                noted.into_iter().chain(is_news.then_some(ChainEvent::SyncGatewayCompleted { cloud, at })).collect()
            }
            C::GiveUp { .. } if chain.end.is_some() => vec![],
            C::GiveUp { cause, failure, at } => vec![ChainEvent::SyncGivenUp { cause, failure, at }],
        })
    }

    fn evolve(&mut self, event: &ChainEvent) {
        use ChainEvent as E;
        if let E::SyncQueued(queued) = event {
            *self = Self::Known(Box::new(Chain {
                legs: queued
                    .clouds
                    .iter()
                    .map(|cloud| (*cloud, Leg::going_on(queued.begun.as_ref().and_then(|begun| begun.get(cloud)))))
                    .collect(),
                started_at: queued.at,
                ended_at: None,
                duration_ms: None,
                failure: None,
                spent_ms: 0,
                end: None,
                queued: (**queued).clone(),
            }));
        }
        // Nothing precedes `sync_queued` in a stream.
        let Self::Known(chain) = self else { return };
        let chain = &mut **chain;
        match event {
            E::SyncQueued(_) => {}
            E::SyncRetried { at } => {
                chain.started_at = *at;
                chain.wait_again();
                chain
                    .legs
                    .values_mut()
                    .filter(|leg| matches!(leg.stage, LegStage::Failed { .. }))
                    .for_each(|leg| leg.stage = LegStage::Waiting);
            }
            E::SyncClaimed { cloud, session, attempt, at } => {
                chain.started_at = *at;
                chain.wait_again();
                if let Some(leg) = chain.legs.get_mut(cloud) {
                    leg.attempts = *attempt;
                    leg.claims += 1;
                    leg.stage = LegStage::Claimed { session: session.clone(), at: *at };
                }
            }
            E::SyncSessionOpened { cloud, session } => {
                if let Some(leg) = chain.legs.get_mut(cloud) {
                    let (stage, attempts, claims) = (leg.stage.clone(), leg.attempts, leg.claims);
                    *leg = Leg { stage, attempts, claims, session: Some(session.clone()), ..Leg::default() };
                }
            }
            E::SyncUploadStarted { cloud, upload } => {
                if let Some(leg) = chain.legs.get_mut(cloud) {
                    (leg.upload, leg.parts) = (Some(upload.clone()), BTreeMap::new());
                }
            }
            E::SyncPartsFinished { cloud, upload_id: _, parts } => {
                if let Some(leg) = chain.legs.get_mut(cloud) {
                    leg.parts.extend(parts.iter().map(|part| (part.number, part.clone())));
                }
            }
            E::SyncObjectFinished { cloud, object } => {
                if let Some(leg) = chain.legs.get_mut(cloud) {
                    leg.object = Some(object.clone());
                }
            }
            E::SyncReceiverTold { cloud, at } | E::SyncGatewayCompleted { cloud, at } => {
                if let Some(leg) = chain.legs.get_mut(cloud) {
                    leg.told_at = Some(*at);
                }
            }
            E::SyncLegFinished { cloud, at } => {
                chain.end_attempt(*cloud, *at, LegStage::Done);
                if let Some(leg) = chain.legs.get_mut(cloud) {
                    // What was sent piece by piece is one object now.
                    leg.parts = BTreeMap::new();
                }
            }
            E::SyncHeld { cloud, failure, at } => {
                if let Some(leg) = chain.legs.get_mut(cloud) {
                    leg.attempts = leg.attempts.saturating_sub(1);
                }
                chain.end_attempt(*cloud, *at, LegStage::Waiting);
                chain.failure = Some(failure.clone());
            }
            E::SyncFailed { cloud, failure, next_retry_at, spent_ms, at } => {
                chain.end_attempt(*cloud, *at, LegStage::Failed { next_retry_at: *next_retry_at });
                chain.failure = Some(failure.clone());
                chain.spent_ms = chain.spent_ms.saturating_add(*spent_ms);
            }
            E::SyncLegGivenUp { cloud, cause, failure, at } => {
                chain.end_attempt(*cloud, *at, LegStage::GivenUp { cause: *cause, failure: failure.clone() });
                chain.failure = Some(failure.clone());
            }
            E::SyncGivenUp { cause, failure, at } => {
                let claimed: Vec<CloudName> =
                    chain.legs.iter().filter(|(_, leg)| matches!(leg.stage, LegStage::Claimed { .. })).map(|(cloud, _)| *cloud).collect();
                claimed.into_iter().for_each(|cloud| chain.end_attempt(cloud, *at, LegStage::Waiting));
                chain.ended_at = Some(*at);
                chain.failure = Some(failure.clone());
                chain.end = Some(ChainEnd::GivenUp { cause: *cause, at: *at });
            }
            E::SyncCompleted { at } => {
                chain.ended_at = Some(*at);
                chain.end = Some(ChainEnd::Completed { at: *at });
            }
        }
    }
}

impl Chain {
    fn wait_again(&mut self) {
        (self.failure, self.ended_at, self.duration_ms) = (None, None, None);
    }

    fn end_attempt(&mut self, cloud: CloudName, at: Timestamp, stage: LegStage) {
        let Some(leg) = self.legs.get_mut(&cloud) else { return };
        if let LegStage::Claimed { at: since, .. } = &leg.stage {
            self.duration_ms = u64::try_from((at - *since).num_milliseconds()).ok();
        }
        leg.stage = stage;
        self.ended_at = Some(at);
    }
}
