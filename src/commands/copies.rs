//! Copies of recordings: the one in the edge storage removed and brought back, and all of them looked at again. The work between is not done here.
//!
//! A removal is decided with the episode locked first and then its newest chain, as what queues it for a cloud does: no copy is removed that is about to
//! be pushed, and none is pushed that is being removed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use super::qa::{episode_in_scope, known};
use super::sync::{locked_in_scope, newest, state_of};
use super::{Command, CommandError, Commands, Refusal, Work};
use crate::domain::bulk_run::{Item, ItemOutcome, ItemResult};
use crate::domain::episode::{
    CopyFailure, CopyFault, CopyPlace, Created, EdgeCopyOutcome, Episode, EpisodeCommand, EpisodeRefusal, Known, Look, LookDepth,
    RemovalCause,
};
use crate::domain::sync::{Chain, ChainStatus, CloudName, Pushed, SyncChain};
use crate::domain::{EpisodeId, RefusalCode, SyncChainId, Timestamp};
use crate::eventstore::Loaded;
use crate::projections::approved::{is_approved, is_recalled};

/// A removal that a rule asked for and that failed is asked for again after so long.
const RULE_AGAIN_S: f64 = 3600.0;

const LOOKED: &str = "delete from copy_looks where episode_id = $1 and place = $2";

/// Synced and needed by nothing, the longest synced first.
const REMOVABLE: &str = concat!(
    "select e.id from episodes e where e.cloud_synced and e.cloud_synced_at < $1 and e.id <> all ($4::bigint[]) and ",
    is_approved!(),
    " and not ",
    is_recalled!(),
    " and not e.damaged_copies && array['s3', 'gateway']
      and (e.edge_copy = 'available' or (e.edge_copy = 'delete_failed' and e.edge_copy_at < clock_timestamp() - make_interval(secs => $3)))
    order by e.cloud_synced_at, e.id limit $2"
);
const DELETING: &str = "select count(*) from episodes where edge_copy = 'deleting'";

/// The episode, and all legs that it was synced by; none while not every cloud has it.
fn pushed_by(chain: Option<&Chain>) -> Option<BTreeMap<CloudName, Pushed>> {
    let chain = chain.filter(|chain| chain.status() == ChainStatus::Completed)?;
    chain.legs.iter().map(|(cloud, leg)| leg.pushed().map(|pushed| (*cloud, pushed))).collect()
}

async fn pushed(work: &mut Work, known: &Known) -> Result<Option<BTreeMap<CloudName, Pushed>>, CommandError> {
    let Some(cloud) = &known.cloud else { return Ok(None) };
    let chain = work.load::<SyncChain>(cloud.chain_id).await?;
    Ok(pushed_by(state_of(&chain)))
}

/// What is known of it in clouds, and whether each of them has it.
async fn in_clouds(work: &mut Work, known: &Known) -> Result<(BTreeMap<CloudName, Pushed>, bool), CommandError> {
    let Some(cloud) = &known.cloud else { return Ok((BTreeMap::new(), false)) };
    let chain = work.load::<SyncChain>(cloud.chain_id).await?;
    Ok(match (pushed_by(state_of(&chain)), state_of(&chain)) {
        (Some(clouds), _) => (clouds, true),
        (None, Some(chain)) => (chain.left_behind(), false),
        (None, None) => (BTreeMap::new(), false),
    })
}

/// Refuses where the episode is on its way to a cloud, or waits for its next try.
async fn refuse_if_under_way(work: &mut Work, episode: EpisodeId) -> Result<(), CommandError> {
    match newest(work, episode).await? {
        Some((_, chain)) if state_of(&chain).is_some_and(|chain| chain.end.is_none()) => {
            Err(Refusal::new(RefusalCode::SyncActive, "the episode is on its way to the cloud").about(&chain.stream()).into())
        }
        _ => Ok(()),
    }
}

fn needed(why: &'static str) -> CommandError {
    Refusal::from(EpisodeRefusal::EdgeCopyNeeded { why }).into()
}

/// The copy in the edge storage is not needed any more.
#[derive(Clone, Debug)]
pub struct RemoveEdgeCopy {
    pub episode: EpisodeId,
    pub cause: RemovalCause,
}

impl Command for RemoveEdgeCopy {
    type Answer = ();
    const NAME: &'static str = "remove_edge_copy";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        remove(work, self.episode, self.cause).await
    }
}

/// What is refused leaves nothing decided.
async fn remove(work: &mut Work, id: EpisodeId, cause: RemovalCause) -> Result<(), CommandError> {
    let mut episode = locked_in_scope(work, id).await?;
    let state = known(&episode)?.clone();
    if state.cloud.is_some() {
        refuse_if_under_way(work, id).await?;
        if pushed(work, &state).await?.is_none() {
            return Err(needed("not every cloud of the site has the episode"));
        }
    }
    let at = work.now;
    work.decide(&mut episode, EpisodeCommand::RemoveEdgeCopy { cause, at })?;
    Ok(())
}

/// What is in the cloud is wanted in the edge storage.
#[derive(Clone, Debug)]
pub struct RestoreEdgeCopy(pub EpisodeId);

impl Command for RestoreEdgeCopy {
    type Answer = ();
    const NAME: &'static str = "restore_edge_copy";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut episode = locked_in_scope(work, self.0).await?;
        let state = known(&episode)?.clone();
        if !pushed(work, &state).await?.is_some_and(|clouds| clouds.keys().any(|cloud| cloud.gives_back())) {
            let why = "no cloud that gives recordings back has it";
            return Err(Refusal::from(EpisodeRefusal::NothingToRestore { why }).into());
        }
        let at = work.now;
        work.decide(&mut episode, EpisodeCommand::RestoreEdgeCopy { at })?;
        Ok(())
    }
}

/// What has to be done about a copy in the edge storage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EdgeCopyWork {
    /// With the entity tag that the object has now.
    pub created: Created,
    /// What each cloud has.
    pub clouds: BTreeMap<CloudName, Pushed>,
    pub is_removal: bool,
}

/// Before a worker touches anything: what is wanted. A removal that is wanted no more ends with this.
#[derive(Clone, Debug)]
pub struct CheckEdgeCopyWork {
    pub episode: EpisodeId,
    pub request: i32,
}

impl Command for CheckEdgeCopyWork {
    type Answer = Option<Box<EdgeCopyWork>>;
    const NAME: &'static str = "check_edge_copy_work";

    async fn run(&self, work: &mut Work) -> Result<Self::Answer, CommandError> {
        let mut episode = work.lock_and_load::<Episode>(self.episode).await?;
        let state = known(&episode)?.clone();
        let is_removal = state.copies.is_removal(self.request);
        if !is_removal && !state.copies.is_restore(self.request) {
            return Ok(None);
        }
        let clouds = pushed(work, &state).await?.unwrap_or_default();
        let now = work.now;
        if let Err(refusal) = state.may_lose_its_edge_copy(now)
            && is_removal
        {
            let outcome = EdgeCopyOutcome::NotRemoved(CopyFailure::new(CopyFault::Needed, refusal.to_string()));
            work.decide(&mut episode, EpisodeCommand::EndEdgeCopyWork { request: self.request, outcome, at: now })?;
            return Ok(None);
        }
        let created = Created { etag: state.etag().cloned(), ..state.created };
        Ok(Some(Box::new(EdgeCopyWork { created, clouds, is_removal })))
    }
}

/// How a removal or a restore ended. One that is over already stays as it is.
#[derive(Clone, Debug)]
pub struct EndEdgeCopyWork {
    pub episode: EpisodeId,
    pub request: i32,
    pub outcome: EdgeCopyOutcome,
}

impl Command for EndEdgeCopyWork {
    type Answer = ();
    const NAME: &'static str = "end_edge_copy_work";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut episode = work.lock_and_load::<Episode>(self.episode).await?;
        let (request, outcome, at) = (self.request, self.outcome.clone(), work.now);
        let ended = work.decide(&mut episode, EpisodeCommand::EndEdgeCopyWork { request, outcome, at })?;
        // All of it was read where it was to be brought back from: that is a look, too, and says more than one without the bytes.
        if let (1.., EdgeCopyOutcome::NotRestored(failure)) = (ended, &self.outcome)
            && failure.fault == CopyFault::Damaged
            && let Some(place) = CloudName::ALL.iter().copied().find(|cloud| cloud.gives_back())
        {
            let look = Look::new(LookDepth::Content, Some(&failure.text), at);
            work.decide(&mut episode, EpisodeCommand::NoteLook { place: place.into(), look })?;
        }
        Ok(())
    }
}

/// What there is of an episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CopiesOfEpisode {
    pub known: Box<Known>,
    /// The chain that the clouds have it by.
    pub chain: Option<SyncChainId>,
    /// What each cloud has; also what is left in one by a chain that came to no good end.
    pub clouds: BTreeMap<CloudName, Pushed>,
    /// Each cloud of the site has it: its edge copy may be removed, and brought back.
    pub is_synced: bool,
}

/// What there is of an episode, as it is known. Changes nothing.
#[derive(Clone, Debug)]
pub struct ReadCopies(pub EpisodeId);

impl Command for ReadCopies {
    type Answer = CopiesOfEpisode;
    const NAME: &'static str = "read_copies";

    async fn run(&self, work: &mut Work) -> Result<CopiesOfEpisode, CommandError> {
        let episode: Loaded<Episode> = episode_in_scope(work, self.0).await?;
        let known = known(&episode)?.clone();
        let (clouds, is_synced) = in_clouds(work, &known).await?;
        Ok(CopiesOfEpisode { chain: known.cloud.as_ref().map(|cloud| cloud.chain_id), known: Box::new(known), clouds, is_synced })
    }
}

/// A person wants the copy at this place to be looked at.
#[derive(Clone, Debug)]
pub struct AskForLook {
    pub episode: EpisodeId,
    pub place: CopyPlace,
}

impl Command for AskForLook {
    type Answer = ();
    const NAME: &'static str = "ask_for_look";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut episode = episode_in_scope(work, self.episode).await?;
        let state = known(&episode)?.clone();
        let is_known =
            self.place == CopyPlace::Edge || in_clouds(work, &state).await?.0.keys().any(|cloud| CopyPlace::from(*cloud) == self.place);
        if !is_known {
            let text = format!("no copy of the episode is known to lie at `{}`", self.place.as_str());
            return Err(Refusal::new(RefusalCode::CopyUnknown, text).into());
        }
        let (place, at) = (self.place, work.now);
        work.decide(&mut episode, EpisodeCommand::AskForLook { place, at })?;
        Ok(())
    }
}

/// Copies were looked at. What was looked at must be what is there now: of a recording that was pushed anew, or removed or brought back
/// meanwhile, nothing is said.
#[derive(Clone, Debug)]
pub struct NoteLooks {
    pub episode: EpisodeId,
    pub chain: Option<SyncChainId>,
    /// Removals and restores that had been asked for.
    pub requests: i32,
    pub looks: Vec<(CopyPlace, Look)>,
}

impl Command for NoteLooks {
    type Answer = ();
    const NAME: &'static str = "note_looks";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut episode = work.lock_and_load::<Episode>(self.episode).await?;
        let now = known(&episode)?;
        let is_same = now.cloud.as_ref().map(|cloud| cloud.chain_id) == self.chain && now.copies.requests == self.requests;
        for (place, look) in self.looks.iter().filter(|_| is_same) {
            work.decide(&mut episode, EpisodeCommand::NoteLook { place: *place, look: look.clone() })?;
        }
        Ok(())
    }
}

/// Removes the edge copies of a piece of a bulk run. Those that are needed are skipped, with the reason.
pub(super) async fn remove_items(work: &mut Work, items: &[Item]) -> Result<Vec<ItemResult>, CommandError> {
    let mut results = vec![];
    for item in items {
        let removed = match item.item.parse() {
            Ok(id) => remove(work, EpisodeId(id), RemovalCause::BulkRun).await,
            Err(_) => Err(Refusal::new(RefusalCode::EpisodeNotFound, "episode not found").into()),
        };
        let (outcome, cause) = match removed {
            Ok(()) => (ItemOutcome::Passed, None),
            Err(CommandError::Refused(refusal)) => (ItemOutcome::Skipped, Some(refusal.code.as_str())),
            Err(error) => return Err(error),
        };
        results.push((item.number, outcome, cause));
    }
    Ok(results)
}

/// Which copies are meant to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Edge,
    /// Those in clouds, all of an episode together.
    Cloud,
}

impl Due {
    /// Episodes whose copies were not looked at since an instant, the longest time ago first. Each is one process's for a while. The conditions are those of
    /// the indexes.
    fn statement(self) -> String {
        let place = self.word();
        let (have, looked_at) = match self {
            Self::Edge => ("e.edge_copy in ('available', 'delete_failed')", "coalesce(e.edge_looked_at, e.created_at)"),
            Self::Cloud => ("e.cloud_synced", "coalesce(e.cloud_looked_at, e.cloud_synced_at)"),
        };
        format!(
            "insert into copy_looks (episode_id, place, until)
            select e.id, '{place}', clock_timestamp() + make_interval(secs => $3) from episodes e
            where {have} and {looked_at} < $1
              and not exists (select from copy_looks l where l.episode_id = e.id and l.place = '{place}' and l.until > clock_timestamp())
            order by {looked_at}, e.id limit $2
            on conflict (episode_id, place) do update set until = excluded.until where copy_looks.until < clock_timestamp()
            returning episode_id"
        )
    }

    fn word(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Cloud => "cloud",
        }
    }
}

fn ids(rows: &[Row]) -> Vec<EpisodeId> {
    rows.iter().map(|row| row.get(0)).collect()
}

impl Commands {
    /// Episodes whose copies were not looked at since this instant. No other process gets them while the lease lasts, and nobody before it ends where
    /// nothing was said ([`Commands::looked`]).
    pub async fn copies_due(&self, due: Due, since: Timestamp, most: i64, lease: Duration) -> Result<Vec<EpisodeId>, CommandError> {
        Ok(ids(&self.beside_the_log(&due.statement(), &[&since, &most, &lease.as_secs_f64()]).await?))
    }

    /// They were, and it was said.
    pub async fn looked(&self, due: Due, episode: EpisodeId) -> Result<(), CommandError> {
        self.beside_the_log(LOOKED, &[&episode, &due.word()]).await?;
        Ok(())
    }

    /// Episodes that were synced before this instant, and whose copies in the edge storage nothing needs, but for these.
    pub async fn removable_copies(&self, synced_before: Timestamp, but: &[EpisodeId], most: i64) -> Result<Vec<EpisodeId>, CommandError> {
        Ok(ids(&self.beside_the_log(REMOVABLE, &[&synced_before, &most, &RULE_AGAIN_S, &but]).await?))
    }

    /// Copies that are being removed.
    pub async fn removals_under_way(&self) -> Result<i64, CommandError> {
        Ok(self.beside_the_log(DELETING, &[]).await?.first().map_or(0, |row| row.get(0)))
    }
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("edge copies that are due", Due::Edge.statement()),
        ("copies in clouds that are due", Due::Cloud.statement()),
        ("copies that were looked at", LOOKED.to_owned()),
        ("edge copies that may be removed", REMOVABLE.to_owned()),
        ("edge copies that are being removed", DELETING.to_owned()),
    ]
}
