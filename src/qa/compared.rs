//! Episodes beside each other, by their stored facts: what is usual in the approved ones of a procedure, which to look at first, and what
//! changed over a shift of a workstation. No recording is read.
//!
//! Of each episode only its numbers are kept, and at most [`LOOKED_MAX`] are looked at, the newest: an answer says how many there were.

use chrono::TimeDelta;

use super::what_if::CannotSay;
use crate::domain::episode::{Measured, QaStatus};
use crate::domain::figures::figures;
use crate::domain::reference::{EPISODES_MAX, Learner, NamedReference, Reference};
use crate::domain::{EpisodeId, RobotTypeId, Scope, SopId, StationId, Timestamp};
use crate::projections::reads::Reads;
use crate::projections::reads::compared::{Comparable, ComparedFilter};
use crate::quality::ranking::{Figures, RECORDINGS_MIN, beginning_of_shift, drift, rank, usual_among, usual_in};
pub use crate::quality::ranking::{Outlier, Reason};

/// Episodes that are looked at for one answer.
pub const LOOKED_MAX: usize = 2000;

/// Episodes that are read at once.
const PAGE: usize = 250;

/// Hands the newest episodes of a filter to a function, page by page, beside the threads that answer others.
async fn each<T: Send + 'static>(
    reads: &Reads,
    scope: &Scope,
    filter: &ComparedFilter,
    most: usize,
    mut seen: T,
    hear: fn(&mut T, Comparable, Option<Measured>),
) -> Result<T, CannotSay> {
    let (mut behind, mut left) = (None, most);
    while left > 0 {
        let page = reads.comparable(scope, filter, behind, i64::try_from(left.min(PAGE)).unwrap_or(i64::MAX)).await?;
        let Some(last) = page.last() else { break };
        behind = Some((last.created_at, last.id));
        left -= page.len().min(left);
        let heard = tokio::task::spawn_blocking(move || {
            for mut episode in page {
                let measured = episode.packed.take().map(|packed| packed.unpacked()).transpose();
                hear(&mut seen, episode.clone(), measured.map_err(|error| CannotSay::Unreadable(episode.id, error))?);
            }
            Ok::<_, CannotSay>(seen)
        });
        seen = match heard.await {
            Ok(heard) => heard?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
    }
    Ok(seen)
}

/// Of which approved episodes a reference is made.
#[derive(Clone, Copy, Debug)]
pub struct ToLearn {
    pub sop: SopId,
    pub robot_type: Option<RobotTypeId>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

/// What is usual in the newest approved episodes; whether they are enough, others know.
pub async fn learn(reads: &Reads, scope: &Scope, of: ToLearn) -> Result<Reference, CannotSay> {
    let ToLearn { sop, robot_type, from, to } = of;
    let filter = ComparedFilter { sop: Some(sop), robot_type, from, to, only_approved: true, station: None };
    let hear = |learner: &mut Learner, episode: Comparable, measured: Option<Measured>| {
        if let Some(measured) = measured {
            learner.hear(episode.id, &measured.facts);
        }
    };
    let learner = each(reads, scope, &filter, EPISODES_MAX, Learner::default(), hear).await?;
    Ok(learner.learned((sop, robot_type), (from, to)))
}

/// An episode that was measured, with its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Looked {
    pub id: EpisodeId,
    pub episode_id: String,
    pub sop: SopId,
    pub station: StationId,
    pub qa_status: QaStatus,
    pub created_at: Timestamp,
    /// By the robot's clock.
    pub start_ns: u64,
}

#[derive(Debug, Default)]
struct Numbers {
    looked: Vec<Looked>,
    /// In the same order.
    figures: Vec<Figures>,
    without_facts: u64,
}

impl Numbers {
    fn hear(&mut self, episode: Comparable, measured: Option<Measured>) {
        let Some(measured) = measured else {
            self.without_facts += 1;
            return;
        };
        self.looked.push(Looked {
            id: episode.id,
            episode_id: episode.episode_id,
            sop: episode.sop_id,
            station: episode.station_id,
            qa_status: episode.qa_status,
            created_at: episode.created_at,
            start_ns: measured.facts.start_ns,
        });
        self.figures.push(figures(&measured.facts));
    }
}

/// With what episodes are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    Reference(NamedReference),
    /// With each other.
    Selection,
}

/// Which episodes to look at first.
#[derive(Debug, PartialEq)]
pub struct Ranking {
    /// How many the filter matches.
    pub total: u64,
    /// How many of these were compared: the newest that were measured.
    pub looked_at: u64,
    pub without_facts: u64,
    /// None where there are too few to compare them with each other.
    pub against: Option<Compared>,
    /// The farthest from what is usual first.
    pub episodes: Vec<(Looked, Outlier)>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct ToRank {
    pub sop: SopId,
    pub station: Option<StationId>,
    pub robot_type: Option<RobotTypeId>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    /// Compare them with each other also where there is a reference.
    pub among_themselves: bool,
    pub limit: usize,
}

/// Episodes by how far they are from what is usual: in the newest reference, or among themselves where there is none.
pub async fn ranking(reads: &Reads, scope: &Scope, of: ToRank) -> Result<Ranking, CannotSay> {
    let ToRank { sop, station, robot_type, from, to, .. } = of;
    let filter = ComparedFilter { sop: Some(sop), station, robot_type, from, to, only_approved: false };
    let total = reads.comparable_count(scope, &filter).await?;
    let numbers = each(reads, scope, &filter, LOOKED_MAX, Numbers::default(), Numbers::hear).await?;
    let reference = if of.among_themselves { None } else { present_reference(reads, sop, robot_type).await? };
    let (against, usual) = match &reference {
        Some((named, reference)) => (Some(Compared::Reference(*named)), usual_in(reference)),
        None => ((numbers.figures.len() >= RECORDINGS_MIN).then_some(Compared::Selection), usual_among(&numbers.figures)),
    };
    let ranked = rank(&numbers.figures, &usual, of.limit);
    Ok(Ranking {
        total,
        looked_at: numbers.looked.len() as u64,
        without_facts: numbers.without_facts,
        against,
        episodes: ranked.into_iter().map(|outlier| (numbers.looked[outlier.place].clone(), outlier)).collect(),
    })
}

/// The newest one of this type of robot, or else that of all.
async fn present_reference(
    reads: &Reads,
    sop: SopId,
    robot_type: Option<RobotTypeId>,
) -> Result<Option<(NamedReference, Reference)>, CannotSay> {
    let mut newest = reads.newest_references(Some(sop)).await?;
    newest.retain(|row| row.learned.robot_type_id.is_none() || row.learned.robot_type_id == robot_type);
    let best = newest.into_iter().max_by_key(|row| row.learned.robot_type_id.is_some());
    Ok(best.map(|row| (NamedReference { id: row.id, version: row.learned.version }, row.learned)))
}

/// Of which shift.
#[derive(Clone, Copy, Debug)]
pub struct ToFollow {
    pub station: StationId,
    /// None: of the procedure that most episodes of the shift are of.
    pub sop: Option<SopId>,
    /// The shift begins with the first episode from then on; none: it ends with the newest one, and began behind the last long pause.
    pub from: Option<Timestamp>,
    /// How long a shift is.
    pub hours: u32,
}

/// What changed over a shift of a workstation.
#[derive(Debug, PartialEq)]
pub struct Drift {
    /// Of the first episode and the last one; none where there is no shift.
    pub begins: Option<Timestamp>,
    pub ends: Option<Timestamp>,
    pub sop: Option<SopId>,
    /// Episodes that were compared, in the order in which they were recorded.
    pub looked_at: u64,
    pub without_facts: u64,
    /// Of the shift, by other procedures.
    pub others: u64,
    /// None where there are too few; else what changed, the farthest first.
    pub changes: Option<Vec<Reason>>,
}

/// The last quarter of a shift against its first.
pub async fn shift_drift(reads: &Reads, scope: &Scope, of: ToFollow) -> Result<Drift, CannotSay> {
    let all = ComparedFilter { station: Some(of.station), from: of.from, ..ComparedFilter::default() };
    let mut drift_of = Drift { begins: None, ends: None, sop: of.sop, looked_at: 0, without_facts: 0, others: 0, changes: None };
    let Some(end) = reads.end_of_comparable(scope, &all, of.from.is_none()).await? else { return Ok(drift_of) };
    let length = TimeDelta::hours(i64::from(of.hours));
    let (from, to) = if of.from.is_some() { (end, end + length) } else { (end - length, end) };
    let within = ComparedFilter { from: Some(from), to: Some(to), ..all };
    let Numbers { looked, figures, without_facts } = each(reads, scope, &within, LOOKED_MAX, Numbers::default(), Numbers::hear).await?;
    let mut shift: Vec<(Looked, Figures)> = looked.into_iter().zip(figures).rev().collect();
    let times: Vec<Timestamp> = shift.iter().map(|(episode, _)| episode.created_at).collect();
    let begins = if of.from.is_some() { times.first().copied() } else { beginning_of_shift(&times) };
    shift.retain(|(episode, _)| begins.is_some_and(|begins| episode.created_at >= begins));
    (drift_of.begins, drift_of.ends, drift_of.without_facts) = (begins, times.last().copied(), without_facts);
    drift_of.sop = of.sop.or_else(|| most_frequent(shift.iter().map(|(episode, _)| episode.sop)));
    let before = shift.len();
    shift.retain(|(episode, _)| Some(episode.sop) == drift_of.sop);
    drift_of.others = (before - shift.len()) as u64;
    drift_of.looked_at = shift.len() as u64;
    // One that was uploaded late belongs where it was recorded.
    shift.sort_by_key(|(episode, _)| (episode.start_ns, episode.id));
    let figures: Vec<Figures> = shift.into_iter().map(|(_, figures)| figures).collect();
    drift_of.changes = drift(&figures);
    Ok(drift_of)
}

fn most_frequent(sops: impl Iterator<Item = SopId>) -> Option<SopId> {
    let mut counts = std::collections::BTreeMap::<SopId, u64>::new();
    sops.for_each(|sop| *counts.entry(sop).or_default() += 1);
    counts.into_iter().max_by_key(|(sop, count)| (*count, std::cmp::Reverse(*sop))).map(|(sop, _)| sop)
}
