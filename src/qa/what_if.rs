//! What another suite would say of episodes that were judged: from their facts, and without reading a byte of them.
//!
//! Pages of facts are read while the ones before are judged, on as many threads as there are; nothing is kept but counts
//! and the first episodes whose verdict would be another one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::judgement::{OutsideAnswer, OutsideAnswers, Suite, Verdict};
use crate::domain::reference::Reference;
use crate::domain::{EpisodeId, QaReferenceId, RobotTypeId, Scope, SopId};
use crate::projections::reads::history::{HistoryFilter, Judgeable};
use crate::projections::reads::references::LearnedReference;
use crate::projections::reads::{ReadError, Reads};
use crate::quality::{Beside, Twin, judge_with, lacks_answers};

/// Episodes that are read at once.
const PAGE: i64 = 4000;

/// Episodes whose verdict would be another one, as many as are told.
pub const FLIPS_MAX: usize = 1000;

/// Why it cannot be said.
#[derive(Debug, thiserror::Error)]
pub enum CannotSay {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("facts of episode {0} cannot be read")]
    Unreadable(EpisodeId, #[source] std::io::Error),
}

/// An episode whose verdict would be another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Flip {
    pub id: EpisodeId,
    pub episode_id: String,
    pub from: Verdict,
    pub to: Verdict,
    pub score: f64,
    pub flag: Option<String>,
}

/// What was judged of a group, and what of it would have another verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub judged: u64,
    pub changed: u64,
}

/// What would be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WhatIf {
    pub matched: u64,
    pub judged: u64,
    /// Of these nothing was measured, or they were never judged.
    pub without_facts: u64,
    pub without_verdict: u64,
    /// Of these a checker elsewhere has not said what the suite asks; it is left out of what they would be.
    pub without_outside: u64,
    /// From one verdict to another, the same ones included.
    pub verdicts: BTreeMap<(&'static str, &'static str), u64>,
    pub by_order: BTreeMap<i64, Share>,
    pub by_station: BTreeMap<i64, Share>,
    pub by_robot: BTreeMap<String, Share>,
    /// The newest first.
    pub flips: Vec<Flip>,
}

impl WhatIf {
    pub fn changed(&self) -> u64 {
        self.verdicts.iter().filter(|((from, to), _)| from != to).map(|(_, count)| count).sum()
    }

    /// Of pages in their order.
    fn add(&mut self, other: Self) {
        self.matched += other.matched;
        self.judged += other.judged;
        self.without_facts += other.without_facts;
        self.without_verdict += other.without_verdict;
        self.without_outside += other.without_outside;
        other.verdicts.into_iter().for_each(|(key, count)| *self.verdicts.entry(key).or_default() += count);
        add_shares(&mut self.by_order, other.by_order);
        add_shares(&mut self.by_station, other.by_station);
        add_shares(&mut self.by_robot, other.by_robot);
        let room = FLIPS_MAX - self.flips.len();
        self.flips.extend(other.flips.into_iter().take(room));
    }

    fn note(&mut self, episode: Judgeable, by: &By, said: &Said) -> Result<(), CannotSay> {
        let suite = &by.suite;
        self.matched += 1;
        let Some(packed) = &episode.packed else {
            self.without_facts += 1;
            return Ok(());
        };
        let Some(from) = episode.verdict else {
            self.without_verdict += 1;
            return Ok(());
        };
        let measured = packed.unpacked().map_err(|error| CannotSay::Unreadable(episode.id, error))?;
        let none = OutsideAnswers::new();
        let answers = said.outside.get(&episode.id).unwrap_or(&none);
        let reference = by.reference_for(&episode);
        let twin = reference.map_or(Twin::NotLookedFor, |_| Twin::found(said.twins.get(&episode.id).map(String::as_str)));
        let beside = Beside { outside: answers, word: episode.word.as_ref(), reference, twin };
        let judgement = judge_with(&measured.facts, suite, &measured.wants, beside);
        self.without_outside += u64::from(lacks_answers(suite, answers, &judgement));
        let to = judgement.verdict;
        self.judged += 1;
        *self.verdicts.entry((from.as_str(), to.as_str())).or_default() += 1;
        let changed = u64::from(from != to);
        let robot = episode.robot_serial.unwrap_or_default();
        for share in [
            self.by_order.entry(episode.order_id.0).or_default(),
            self.by_station.entry(episode.station_id.0).or_default(),
            self.by_robot.entry(robot).or_default(),
        ] {
            share.judged += 1;
            share.changed += changed;
        }
        if from != to && self.flips.len() < FLIPS_MAX {
            let Judgeable { id, episode_id, .. } = episode;
            self.flips.push(Flip { id, episode_id, from, to, score: judgement.score, flag: judgement.flag });
        }
        Ok(())
    }
}

fn add_shares<K: Ord>(sum: &mut BTreeMap<K, Share>, more: BTreeMap<K, Share>) {
    for (key, share) in more {
        let known = sum.entry(key).or_default();
        known.judged += share.judged;
        known.changed += share.changed;
    }
}

/// By what episodes are judged: the suite that is tried, and references as they are now.
struct By {
    suite: Suite,
    /// The newest of each procedure and type of robot.
    references: BTreeMap<(SopId, Option<RobotTypeId>), (QaReferenceId, Reference)>,
}

impl By {
    /// As a run has it: that of the robot's type before that of all.
    fn reference_for(&self, episode: &Judgeable) -> Option<(QaReferenceId, &Reference)> {
        let of = |robot_type| self.references.get(&(episode.sop_id, robot_type));
        let own = episode.robot_type_id.and_then(|robot_type| of(Some(robot_type)));
        own.or_else(|| of(None)).map(|(id, reference)| (*id, reference))
    }
}

fn judge_all(episodes: Vec<Judgeable>, by: &By, said: &Said) -> Result<WhatIf, CannotSay> {
    let mut found = WhatIf::default();
    episodes.into_iter().try_for_each(|episode| found.note(episode, by, said))?;
    Ok(found)
}

/// What is known of the episodes of a page beside their facts.
#[derive(Default)]
struct Said {
    /// What checkers elsewhere said of each, where the suite asks for it.
    outside: BTreeMap<EpisodeId, OutsideAnswers>,
    /// The earlier ones with the same content, of those that are compared.
    twins: BTreeMap<EpisodeId, String>,
}

async fn said_of(reads: &Reads, episodes: &[Judgeable], by: &By) -> Result<Said, CannotSay> {
    let mut said = Said::default();
    let compared: Vec<EpisodeId> =
        episodes.iter().filter(|episode| by.reference_for(episode).is_some()).map(|episode| episode.id).collect();
    if !compared.is_empty() {
        said.twins.extend(reads.twins(&compared).await?.into_iter().map(|row| (row.id, row.twin)));
    }
    let asked = by.suite.asked_outside();
    if asked.is_empty() {
        return Ok(said);
    }
    let ids: Vec<EpisodeId> = episodes.iter().map(|episode| episode.id).collect();
    for row in reads.said_outside(&ids, &asked).await? {
        said.outside.entry(row.id).or_default().insert(row.check, OutsideAnswer::Said(Box::new(row.said)));
    }
    Ok(said)
}

/// Judges a page on all threads, and keeps its order.
async fn judge_page(reads: &Reads, mut episodes: Vec<Judgeable>, by: &Arc<By>) -> Result<WhatIf, CannotSay> {
    let said = Arc::new(said_of(reads, &episodes, by).await?);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = episodes.len().div_ceil(threads).max(1);
    let mut parts = vec![];
    while !episodes.is_empty() {
        let part: Vec<Judgeable> = episodes.drain(..share.min(episodes.len())).collect();
        let (by, said) = (by.clone(), said.clone());
        parts.push(tokio::task::spawn_blocking(move || judge_all(part, &by, &said)));
    }
    let mut found = WhatIf::default();
    for part in parts {
        match part.await {
            Ok(part) => found.add(part?),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    Ok(found)
}

/// What the suite would say of the episodes of a filter.
pub async fn what_if(reads: &Reads, scope: &Scope, filter: &HistoryFilter, suite: Suite) -> Result<WhatIf, CannotSay> {
    let newest = reads.newest_references(filter.sop).await?;
    let reference = |row: LearnedReference| ((row.learned.sop_id, row.learned.robot_type_id), (row.id, row.learned));
    let by = Arc::new(By { suite, references: newest.into_iter().map(reference).collect() });
    let mut found = WhatIf::default();
    let mut episodes = reads.judgeable(scope, filter, i64::MAX, PAGE).await?;
    while let Some(last) = episodes.last() {
        let before = last.id.0;
        let (page, next) = tokio::join!(judge_page(reads, episodes, &by), reads.judgeable(scope, filter, before, PAGE));
        found.add(page?);
        episodes = next?;
    }
    Ok(found)
}
