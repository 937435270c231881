//! Episodes on their way to the cloud: queued, worked on, ended; and what people switch of it.
//!
//! What queues an episode, begins with it, or completes it locks the episode first and then its chain. So what is decided about whether it
//! may be in the cloud is true until the commit, and of two that queue it the later one sees the first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::qa::known;
use super::{Command, CommandError, Commands, Context, Refusal, Work};
use crate::domain::bulk_run::{Item, ItemOutcome, ItemResult};
use crate::domain::episode::{CopyPlace, Created, Episode, EpisodeCommand, EpisodeRefusal, InCloud, Known};
use crate::domain::order::Priority;
use crate::domain::sync::{
    Begun, Chain, ChainCommand, ChainStatus, CloudName, ControlCommand, FinishedObject, GivenUpCause, Held, SyncChain, SyncControl,
    SyncFailure, SyncFault, SyncQueued, SyncReason, is_fit,
};
use crate::domain::{EpisodeId, OrderId, RefusalCode, SyncChainId, Timestamp};
use crate::eventstore::Loaded;
use crate::projections::approved::{is_approved, is_recalled};
use crate::projections::facts;

/// The stream of what people switch.
const CONTROL: &str = "site";

/// Episodes that one look finds.
const FOUND_MAX: i64 = 200;

const NEWEST: &str = "select id from sync_chains where episode_id = $1 order by id desc limit 1";
const PRIORITY: &str = "select priority from orders where id = $1";
const FORGET_PROGRESS: &str = "delete from sync_progress where chain_id = $1";
/// Approved, not there, and never tried. Behind an id, in their order: which is first in the queue, its rows say.
const TO_QUEUE: &str = concat!(
    "select e.id from episodes e where ",
    is_approved!(),
    " and not ",
    is_recalled!(),
    " and not e.cloud_synced and e.id > $1
    and not exists (select from sync_chains c where c.episode_id = e.id and c.given_up is distinct from 'not_eligible') order by e.id limit $2"
);
const TELL_PROGRESS: &str = "insert into sync_progress as p (chain_id, cloud, done_bytes, total_bytes) values ($1, $2, $3, $4)
    on conflict (chain_id, cloud) do update set (done_bytes, total_bytes, updated_at) = (excluded.done_bytes, excluded.total_bytes, clock_timestamp())";
const TELL_TROUBLE: &str = "insert into cloud_troubles as t (cloud, error) values ($1, $2)
    on conflict (cloud) do update set (error, seen_at) = (excluded.error, clock_timestamp())";
const FORGET_TROUBLE: &str = "delete from cloud_troubles where cloud = $1";

/// What is wanted of an episode.
#[derive(Clone, Debug)]
pub struct QueueSync {
    pub episode: EpisodeId,
    pub reason: SyncReason,
    /// Where the site has its recordings.
    pub clouds: Vec<CloudName>,
}

impl Command for QueueSync {
    /// The chain that waits now.
    type Answer = SyncChainId;
    const NAME: &'static str = "queue_sync";

    async fn run(&self, work: &mut Work) -> Result<SyncChainId, CommandError> {
        queue(work, self.episode, self.reason, &self.clouds).await
    }
}

fn no_episode() -> Refusal {
    Refusal::new(RefusalCode::EpisodeNotFound, "episode not found")
}

pub(super) async fn locked_in_scope(work: &mut Work, id: EpisodeId) -> Result<Loaded<Episode>, CommandError> {
    let loaded = work.lock_and_load::<Episode>(id).await?;
    let seen = match &loaded.state {
        Episode::Known(episode) => work.scope.contains(episode.created.factory_id, Some(episode.created.organization_id)),
        Episode::Absent => false,
    };
    if seen { Ok(loaded) } else { Err(no_episode().into()) }
}

/// The newest chain of an episode that is locked.
pub(super) async fn newest(work: &mut Work, episode: EpisodeId) -> Result<Option<(SyncChainId, Loaded<SyncChain>)>, CommandError> {
    let rows = work.tx.query(NEWEST, &[&episode]).await?;
    let Some(id) = rows.first().map(|row| row.get::<_, SyncChainId>(0)) else { return Ok(None) };
    Ok(Some((id, work.lock_and_load::<SyncChain>(id).await?)))
}

pub(super) fn state_of(chain: &Loaded<SyncChain>) -> Option<&Chain> {
    match &chain.state {
        SyncChain::Known(chain) => Some(chain),
        SyncChain::Absent => None,
    }
}

fn already_queued(episode: EpisodeId) -> Refusal {
    let status = serde_json::json!({ "episode_id": episode.0, "status": "already_queued" });
    Refusal::new(RefusalCode::SyncActive, "episode sync is already in progress").with(status)
}

/// Whether it may be asked for at all, whatever became of it before.
fn may_be_asked(episode: &Known, reason: SyncReason) -> Result<(), Refusal> {
    match (reason, &episode.cloud) {
        (SyncReason::Resync, None) => {
            return Err(Refusal::new(RefusalCode::SyncNeverDone, "episode has not been synced to cloud yet, use normal sync instead"));
        }
        (SyncReason::Manual | SyncReason::AutoScan | SyncReason::BulkRun, Some(_)) => {
            return Err(Refusal::new(RefusalCode::SyncedAlready, "episode already synced to cloud"));
        }
        (SyncReason::Resync, Some(_)) | (SyncReason::Manual | SyncReason::AutoScan | SyncReason::BulkRun, None) => {}
    }
    episode.must_be_readable().map_err(Refusal::from)?;
    // What is damaged would take the place of what is not.
    if episode.copies.damage(CopyPlace::Edge).is_some() {
        return Err(EpisodeRefusal::EdgeCopyDamaged.into());
    }
    is_fit(episode).map_err(Refusal::from)
}

pub(super) async fn queue(work: &mut Work, id: EpisodeId, reason: SyncReason, clouds: &[CloudName]) -> Result<SyncChainId, CommandError> {
    let episode = locked_in_scope(work, id).await?;
    let known = known(&episode)?.clone();
    may_be_asked(&known, reason).map_err(|refusal| refusal.about(&episode.stream()))?;
    let (now, mut superseded) = (work.now, None);
    if let Some((chain_id, mut chain)) = newest(work, id).await? {
        let state = state_of(&chain);
        let (status, next) = (state.map(Chain::status), state.and_then(Chain::next_retry_at));
        match (status, next) {
            (Some(ChainStatus::Pending | ChainStatus::InProgress), _) => return Err(already_queued(id).about(&chain.stream()).into()),
            // It has its turn again by itself, or never; but what was given up for an approval that it has again begins anew.
            (Some(ChainStatus::Failed), _) if reason == SyncReason::AutoScan && !state.is_some_and(Chain::lost_its_approval) => {
                return Ok(chain_id);
            }
            (Some(ChainStatus::Failed), Some(next)) if next <= now && reason != SyncReason::Resync => {
                work.decide(&mut chain, ChainCommand::Retry { at: now })?;
                return Ok(chain_id);
            }
            (Some(ChainStatus::Failed), Some(_)) => {
                let failure = state.and_then(|state| state.failure.clone());
                let failure = failure.unwrap_or_else(|| SyncFailure::new(SyncFault::Internal, "it was tried before"));
                step(work, chain_id, &mut chain, ChainCommand::GiveUp { cause: GivenUpCause::Superseded, failure, at: now }).await?;
                superseded = state_of(&chain).map(|state| (chain_id, state.begun()));
            }
            (Some(ChainStatus::Failed), None) => superseded = state.map(|state| (chain_id, state.begun())),
            (Some(ChainStatus::Completed) | None, _) => {}
        }
    }
    let ids = facts::new_ids(&mut work.tx, "sync_chain_ids", 1).await?;
    let chain_id = SyncChainId(ids.first().copied().unwrap_or_default());
    let queued = queued(&known, id, reason, clouds, priority_of(work, known.created.order_id).await?, superseded, now);
    work.decide(&mut Loaded::<SyncChain>::absent(chain_id), ChainCommand::Queue(Box::new(queued)))?;
    Ok(chain_id)
}

async fn priority_of(work: &mut Work, order: OrderId) -> Result<Priority, CommandError> {
    let rows = work.tx.query(PRIORITY, &[&order]).await?;
    Ok(rows.first().map(|row| row.get(0)).unwrap_or_default())
}

fn queued(
    known: &Known,
    episode_id: EpisodeId,
    reason: SyncReason,
    clouds: &[CloudName],
    priority: Priority,
    superseded: Option<(SyncChainId, BTreeMap<CloudName, Begun>)>,
    at: Timestamp,
) -> SyncQueued {
    let created = &known.created;
    let (supersedes, begun) = superseded.unzip();
    SyncQueued {
        episode_id,
        episode_public_id: created.episode_id.clone(),
        factory_id: created.factory_id,
        organization_id: created.organization_id,
        reason,
        clouds: clouds.to_vec(),
        source_path: created.mcap_path.clone(),
        size_bytes: created.file_size_bytes,
        sha256: created.checksum.clone(),
        priority,
        approved_at: known.approved_at,
        supersedes,
        begun: begun.filter(|begun| !begun.is_empty()),
        at,
    }
}

/// A leg that a worker holds, of a chain of an episode.
#[derive(Clone, Debug)]
pub struct HeldLeg {
    pub episode: EpisodeId,
    pub chain: SyncChainId,
    pub held: Held,
}

/// Whether a worker goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MayGoOn {
    Yes(Box<ToPush>),
    /// It may not be in the cloud any more, and the chain ended with this.
    Unfit,
    /// There is nothing to do.
    No,
}

/// What a worker has to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToPush {
    pub chain: Chain,
    pub created: Created,
    /// What was there before this chain.
    pub cloud: Option<InCloud>,
}

/// Decides about a chain. Of one that is over, nobody asks any more how far it is. Answers whether it is over.
async fn step(work: &mut Work, id: SyncChainId, chain: &mut Loaded<SyncChain>, command: ChainCommand) -> Result<bool, CommandError> {
    work.decide(chain, command)?;
    let is_over = state_of(chain).is_none_or(|chain| chain.end.is_some());
    if is_over {
        work.tx.query(FORGET_PROGRESS, &[&id]).await?;
    }
    Ok(is_over)
}

/// Ends a chain whose episode may not be in the cloud.
async fn end_unfit(
    work: &mut Work,
    episode: &mut Loaded<Episode>,
    id: SyncChainId,
    chain: &mut Loaded<SyncChain>,
) -> Result<bool, CommandError> {
    let Err(unfit) = is_fit(known(episode)?) else { return Ok(false) };
    let failure = SyncFailure::new(unfit.fault(), unfit.to_string());
    let at = work.now;
    let is_over = step(work, id, chain, ChainCommand::GiveUp { cause: GivenUpCause::NotEligible, failure, at }).await?;
    note_what_is_there(work, episode, id, chain)?;
    Ok(is_over)
}

/// An episode that may not be in the cloud, and whose chain did not come to a good end, may be in one of its clouds all the same: then that is told.
fn note_what_is_there(
    work: &mut Work,
    episode: &mut Loaded<Episode>,
    chain_id: SyncChainId,
    chain: &Loaded<SyncChain>,
) -> Result<(), CommandError> {
    let object = state_of(chain).and_then(|chain| chain.legs.values().find_map(|leg| leg.object.clone()));
    let Some(object) = object.filter(|_| known(episode).is_ok_and(|known| known.cloud.is_none())) else { return Ok(()) };
    let at = work.now;
    work.decide(episode, EpisodeCommand::NoteSynced(InCloud { chain_id, object_key: object.object_key, at }))?;
    Ok(())
}

/// Whether there is something to go on with.
enum Standing {
    Going(Loaded<Episode>, Loaded<SyncChain>),
    /// The chain has ended because its episode may not be in the cloud: what each leg has begun is still to be given up.
    Unfit,
    Over,
}

async fn standing(work: &mut Work, of: &HeldLeg) -> Result<Standing, CommandError> {
    let (episode, chain) = work.lock_and_load_both::<Episode, SyncChain>(of.episode, of.chain).await?;
    let is_over = state_of(&chain).is_none_or(|chain| chain.end.is_some() || chain.queued.episode_id != of.episode);
    Ok(match is_over || episode.state == Episode::Absent {
        false => Standing::Going(episode, chain),
        true if state_of(&chain).is_some_and(Chain::lost_its_approval) => Standing::Unfit,
        true => Standing::Over,
    })
}

/// A worker begins with a leg, or goes on with it.
#[derive(Clone, Debug)]
pub struct ClaimSync {
    pub of: HeldLeg,
    pub attempt: u32,
}

impl Command for ClaimSync {
    type Answer = MayGoOn;
    const NAME: &'static str = "claim_sync";

    async fn run(&self, work: &mut Work) -> Result<MayGoOn, CommandError> {
        let (mut episode, mut chain) = match standing(work, &self.of).await? {
            Standing::Going(episode, chain) => (episode, chain),
            // The row of a leg lives until what was begun is given up.
            Standing::Unfit => return Ok(MayGoOn::Unfit),
            Standing::Over => return Ok(MayGoOn::No),
        };
        if end_unfit(work, &mut episode, self.of.chain, &mut chain).await? {
            return Ok(MayGoOn::Unfit);
        }
        let known = known(&episode)?.clone();
        let claim = ChainCommand::Claim { held: self.of.held.clone(), attempt: self.attempt, at: work.now };
        match work.decide(&mut chain, claim) {
            Err(CommandError::Refused(refusal)) if refusal.code == RefusalCode::SyncChainOver => return Ok(MayGoOn::No),
            decided => decided?,
        };
        Ok(to_push(chain, known).map_or(MayGoOn::No, MayGoOn::Yes))
    }
}

/// How far it is by now.
#[derive(Clone, Debug)]
pub struct ReadSync {
    pub episode: EpisodeId,
    pub chain: SyncChainId,
}

impl Command for ReadSync {
    type Answer = Option<Box<ToPush>>;
    const NAME: &'static str = "read_sync";

    async fn run(&self, work: &mut Work) -> Result<Self::Answer, CommandError> {
        let chain = work.load::<SyncChain>(self.chain).await?;
        let episode = work.load::<Episode>(self.episode).await?;
        Ok(to_push(chain, known(&episode)?.clone()))
    }
}

fn to_push(chain: Loaded<SyncChain>, known: Known) -> Option<Box<ToPush>> {
    match chain.state {
        SyncChain::Known(chain) => {
            let created = Created { etag: known.etag().cloned(), ..known.created };
            Some(Box::new(ToPush { chain: *chain, created, cloud: known.cloud }))
        }
        SyncChain::Absent => None,
    }
}

/// Before something becomes an object in the cloud: whether it still may.
#[derive(Clone, Debug)]
pub struct CheckSync(pub HeldLeg);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Checked {
    Fit,
    /// The chain ended with this, or had ended so.
    Unfit,
    /// It was over before in another way, or another worker has the leg.
    Over,
}

impl Command for CheckSync {
    type Answer = Checked;
    const NAME: &'static str = "check_sync";

    async fn run(&self, work: &mut Work) -> Result<Checked, CommandError> {
        let (mut episode, mut chain) = match standing(work, &self.0).await? {
            Standing::Going(episode, chain) => (episode, chain),
            // Another leg's worker ended it.
            Standing::Unfit => return Ok(Checked::Unfit),
            Standing::Over => return Ok(Checked::Over),
        };
        let HeldLeg { held, .. } = &self.0;
        if !state_of(&chain).is_some_and(|chain| chain.is_held(held)) {
            return Ok(Checked::Over);
        }
        if end_unfit(work, &mut episode, self.0.chain, &mut chain).await? {
            return Ok(Checked::Unfit);
        }
        Ok(Checked::Fit)
    }
}

/// An episode may not be in the cloud, and is there all the same: it lost its approval at the moment at which its upload was completed.
#[derive(Clone, Debug)]
pub struct NoteLeftBehind {
    pub of: HeldLeg,
    pub object_key: String,
    /// Where it is known to be the recording.
    pub object: Option<FinishedObject>,
}

impl Command for NoteLeftBehind {
    type Answer = ();
    const NAME: &'static str = "note_left_behind";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let (chain_id, object_key, at) = (self.of.chain, self.object_key.clone(), work.now);
        let (mut episode, mut chain) = work.lock_and_load_both::<Episode, SyncChain>(self.of.episode, chain_id).await?;
        if let Some(object) = self.object.clone() {
            work.decide(&mut chain, ChainCommand::NoteLeftBehind { cloud: self.of.held.cloud, object, at })?;
        }
        if known(&episode)?.cloud.is_none() {
            work.decide(&mut episode, EpisodeCommand::NoteSynced(InCloud { chain_id, object_key, at }))?;
        }
        Ok(())
    }
}

/// How far a worker came. Refused where another one has the leg, or the chain is over.
#[derive(Clone, Debug)]
pub struct NoteSync {
    pub chain: SyncChainId,
    pub cloud: CloudName,
    pub step: ChainCommand,
}

impl Command for NoteSync {
    /// Whether the leg is over with it.
    type Answer = bool;
    const NAME: &'static str = "note_sync";

    async fn run(&self, work: &mut Work) -> Result<bool, CommandError> {
        let mut chain = work.lock_and_load::<SyncChain>(self.chain).await?;
        let is_over = step(work, self.chain, &mut chain, self.step.clone()).await?;
        Ok(is_over || state_of(&chain).is_some_and(|chain| chain.is_over_in(self.cloud)))
    }
}

/// A cloud has all that it has to have.
#[derive(Clone, Debug)]
pub struct FinishSyncLeg {
    pub of: HeldLeg,
    /// What arrived there, where that was not noted before.
    pub object: Option<FinishedObject>,
}

impl Command for FinishSyncLeg {
    /// Whether all clouds have it.
    type Answer = bool;
    const NAME: &'static str = "finish_sync_leg";

    async fn run(&self, work: &mut Work) -> Result<bool, CommandError> {
        let (leg, at) = (&self.of, work.now);
        let (mut episode, mut chain) = work.lock_and_load_both::<Episode, SyncChain>(leg.episode, leg.chain).await?;
        if let Some(object) = &self.object {
            work.decide(&mut chain, ChainCommand::FinishObject { held: leg.held.clone(), object: object.clone() })?;
        }
        step(work, leg.chain, &mut chain, ChainCommand::FinishLeg { held: leg.held.clone(), at }).await?;
        if state_of(&chain).is_none_or(|chain| chain.status() != ChainStatus::Completed) {
            return Ok(false);
        }
        let object_key = state_of(&chain).and_then(Chain::object).map(|object| object.object_key.clone()).unwrap_or_default();
        work.decide(&mut episode, EpisodeCommand::NoteSynced(InCloud { chain_id: leg.chain, object_key, at }))?;
        Ok(true)
    }
}

/// An episode lost its approval, or was recalled: what is queued of it is pushed no more.
#[derive(Clone, Debug)]
pub struct EndUnwantedSync(pub EpisodeId);

impl Command for EndUnwantedSync {
    /// Whether something was queued.
    type Answer = bool;
    const NAME: &'static str = "end_unwanted_sync";

    async fn run(&self, work: &mut Work) -> Result<bool, CommandError> {
        let mut episode = work.lock_and_load::<Episode>(self.0).await?;
        let Some((id, mut chain)) = newest(work, self.0).await? else { return Ok(false) };
        if is_fit(known(&episode)?).is_err() {
            note_what_is_there(work, &mut episode, id, &chain)?;
        }
        // Who works on one asks before each of its steps, and gives up what was begun; so does who takes it next.
        let is_at_work = |chain: &Chain| chain.end.is_some() || chain.status() == ChainStatus::InProgress || !chain.begun().is_empty();
        if state_of(&chain).is_none_or(is_at_work) {
            return Ok(false);
        }
        end_unfit(work, &mut episode, id, &mut chain).await
    }
}

/// Switches whether approved episodes are pushed by themselves.
#[derive(Clone, Debug)]
pub struct SwitchAutoScan {
    pub on: bool,
    /// As the settings have it.
    pub by_default: bool,
    /// The revision that the caller saw.
    pub expected: Option<i64>,
}

impl Command for SwitchAutoScan {
    /// The revision afterwards.
    type Answer = i64;
    const NAME: &'static str = "switch_auto_scan";

    async fn run(&self, work: &mut Work) -> Result<i64, CommandError> {
        let Self { on, by_default, expected } = *self;
        control(work, ControlCommand::SwitchAutoScan { on, by_default, expected }).await
    }
}

/// A cloud gets nothing for a while.
#[derive(Clone, Debug)]
pub struct PauseCloud {
    pub cloud: CloudName,
    pub reason: String,
}

impl Command for PauseCloud {
    type Answer = i64;
    const NAME: &'static str = "pause_cloud";

    async fn run(&self, work: &mut Work) -> Result<i64, CommandError> {
        let at = work.now;
        control(work, ControlCommand::Pause { cloud: self.cloud, reason: self.reason.clone(), at }).await
    }
}

/// It gets what waits.
#[derive(Clone, Debug)]
pub struct ResumeCloud(pub CloudName);

impl Command for ResumeCloud {
    type Answer = i64;
    const NAME: &'static str = "resume_cloud";

    async fn run(&self, work: &mut Work) -> Result<i64, CommandError> {
        control(work, ControlCommand::Resume { cloud: self.0 }).await
    }
}

async fn control(work: &mut Work, command: ControlCommand) -> Result<i64, CommandError> {
    let mut control = work.lock_and_load::<SyncControl>(CONTROL).await?;
    work.decide(&mut control, command)?;
    Ok(control.state.standing().revision)
}

/// Queues the episodes of a piece of a bulk run. Those that cannot be are skipped, with the reason; with `force` those that are there already
/// are pushed once more.
pub(super) async fn queue_items(
    work: &mut Work,
    items: &[Item],
    force: bool,
    clouds: &[CloudName],
) -> Result<Vec<ItemResult>, CommandError> {
    let mut results = vec![];
    for item in items {
        let result = match item.item.parse() {
            Ok(id) => queue_one(work, EpisodeId(id), force, clouds).await?,
            Err(_) => (ItemOutcome::Skipped, Some("episode_not_found")),
        };
        results.push((item.number, result.0, result.1));
    }
    Ok(results)
}

async fn queue_one(
    work: &mut Work,
    id: EpisodeId,
    force: bool,
    clouds: &[CloudName],
) -> Result<(ItemOutcome, Option<&'static str>), CommandError> {
    let first = queue(work, id, SyncReason::BulkRun, clouds).await;
    let queued = match first {
        Err(CommandError::Refused(refusal)) if force && refusal.code == RefusalCode::SyncedAlready => {
            queue(work, id, SyncReason::Resync, clouds).await
        }
        first => first,
    };
    match queued {
        Ok(_) => Ok((ItemOutcome::Passed, None)),
        Err(CommandError::Refused(refusal)) => Ok((ItemOutcome::Skipped, Some(skipped_because(refusal.code)))),
        Err(error) => Err(error),
    }
}

/// In the words of a preview.
fn skipped_because(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::SyncNotApproved => "qa_not_approved",
        RefusalCode::SyncRecalled => "recalled",
        RefusalCode::SyncedAlready => "already_synced",
        RefusalCode::SyncActive => "sync_active",
        other => other.as_str(),
    }
}

impl Commands {
    /// Queues what was approved and never tried. Answers how many episodes that were.
    pub async fn queue_approved(&self, context: &Context, clouds: &[CloudName], stop: &CancellationToken) -> Result<usize, CommandError> {
        let (mut last, mut queued) = (EpisodeId(0), 0);
        loop {
            let rows = self.beside_the_log(TO_QUEUE, &[&last, &FOUND_MAX]).await?;
            for row in &rows {
                last = row.get(0);
                if stop.is_cancelled() {
                    return Ok(queued);
                }
                match self.execute(context, QueueSync { episode: last, reason: SyncReason::AutoScan, clouds: clouds.to_vec() }).await {
                    Ok(_) => queued += 1,
                    // It was queued, or lost its approval, at this moment.
                    Err(CommandError::Refused(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            if rows.is_empty() {
                return Ok(queued);
            }
        }
    }

    /// How many bytes a cloud has of a chain so far.
    pub async fn tell_sync_progress(&self, chain: SyncChainId, cloud: CloudName, done: u64, total: u64) -> Result<(), CommandError> {
        let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.beside_the_log(TELL_PROGRESS, &[&chain, &cloud.as_str(), &number(done), &number(total)]).await?;
        Ok(())
    }

    /// Why a cloud gets nothing at the moment; none: it takes what comes.
    pub async fn tell_cloud_trouble(&self, cloud: CloudName, error: Option<&str>) -> Result<(), CommandError> {
        match error {
            Some(error) => self.beside_the_log(TELL_TROUBLE, &[&cloud.as_str(), &error]).await?,
            None => self.beside_the_log(FORGET_TROUBLE, &[&cloud.as_str()]).await?,
        };
        Ok(())
    }
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    [
        ("newest sync chain of an episode", NEWEST),
        ("priority of an order", PRIORITY),
        ("progress of a sync chain, forgotten", FORGET_PROGRESS),
        ("approved episodes that were never queued", TO_QUEUE),
        ("progress of a sync chain, told", TELL_PROGRESS),
        ("trouble of a cloud, told", TELL_TROUBLE),
        ("trouble of a cloud, forgotten", FORGET_TROUBLE),
    ]
    .map(|(name, sql)| (name, sql.to_owned()))
    .into()
}
