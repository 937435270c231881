//! Events against a tree: which of them are not in it where they stand, what was done to each, and whether the tree is the one that was signed.
//!
//! Of an event that is not what it was, the tree has a hash, and no more. So what was done is told from the others: an event that is in the tree
//! elsewhere was moved, a place whose event is nowhere lost it, and an event that was nowhere came later.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::checkpoint::Checkpoint;
use super::growth::Growth;
use super::hash::Hash;
use super::span::Span;
use super::tiles::{Kept, Tiles};
use super::told::Told;

/// Places that are looked at together. Where more differ, the first ones are named.
const LOOKED_AT_MAX: usize = 512;

/// Events behind the tree that are looked at for what was pushed out of it.
const BEHIND_MAX: usize = 16;

/// An event is recorded before it has its position, by as long as a transaction may be open, and a process may be suspended. One that is
/// older than what stands before it by more than this was not recorded then.
const EARLIER_MAX_US: i64 = 60_000_000;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    Changed(Told),
    /// Its time is another one, and lies before that of events before it.
    BackDated(Told),
    Inserted(Told),
    /// It stood at this other position.
    Reordered(Told, u64),
    Removed {
        position: u64,
    },
    /// What was signed is not the tree of the events up to there.
    Head {
        /// The last one that is.
        sound_to: u64,
        size: u64,
    },
    /// A tree that was signed was longer.
    CutShort {
        size: u64,
        events: u64,
    },
}

impl Fault {
    /// The word for it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Changed(_) => "changed",
            Self::BackDated(_) => "back-dated",
            Self::Inserted(_) => "inserted",
            Self::Reordered(..) => "reordered",
            Self::Removed { .. } => "removed",
            Self::Head { .. } => "head",
            Self::CutShort { .. } => "cut short",
        }
    }

    /// Where it is, if it is about one position.
    pub fn position(&self) -> Option<u64> {
        match self {
            Self::Changed(told) | Self::BackDated(told) | Self::Inserted(told) | Self::Reordered(told, _) => Some(told.position),
            Self::Removed { position } => Some(*position),
            Self::Head { .. } | Self::CutShort { .. } => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::Changed(told) | Self::BackDated(told) | Self::Inserted(told) => {
                write!(f, "position {}: {kind}: {} ({})", told.position, told.event, told.event_type)
            }
            Self::Reordered(told, from) => {
                write!(f, "position {}: {kind}: {} ({}) stood at {from}", told.position, told.event, told.event_type)
            }
            Self::Removed { position } => write!(f, "position {position}: {kind}: the event that stood here"),
            Self::Head { sound_to, size } => write!(
                f,
                "the head of {size} events that was signed is not that of the events here: something between the positions {} and {size} is not what it was",
                sound_to + 1
            ),
            Self::CutShort { size, events } => write!(f, "a head of {size} events was signed, and there are {events}"),
        }
    }
}

/// A place at which there is not what there was.
#[derive(Clone, Debug)]
struct Different {
    was: Option<Hash>,
    found: Option<Told>,
}

/// A comparison under way, tile by tile.
pub struct Comparison {
    /// None where it does not begin at the first event: then heads are compared by [`root_with`].
    growth: Option<Growth>,
    heads: BTreeMap<u64, Hash>,
    sound_to: u64,
    latest_us: i64,
    different: BTreeMap<u64, Different>,
    /// Where the tree ends: what an event that was put in between has pushed out of it.
    behind: Vec<Told>,
    back_dated: BTreeSet<u64>,
    heads_wrong: Vec<Fault>,
    counted: u64,
}

impl Comparison {
    /// Of all events, with heads that were signed.
    pub fn whole(heads: impl IntoIterator<Item = Checkpoint>) -> Self {
        let heads = heads.into_iter().map(|head| (head.size, head.root)).collect();
        Self { growth: Some(Growth::default()), heads, ..Self::part() }
    }

    /// Of a range of them.
    pub fn part() -> Self {
        Self {
            growth: None,
            heads: BTreeMap::new(),
            sound_to: 0,
            latest_us: i64::MIN,
            different: BTreeMap::new(),
            behind: vec![],
            back_dated: BTreeSet::new(),
            heads_wrong: vec![],
            counted: 0,
        }
    }

    /// How many events were looked at.
    pub fn counted(&self) -> u64 {
        self.counted
    }

    /// The next places: what the tree has from `first` on, and the events that stand there, in order. Events behind those places are in no tree yet,
    /// and are not looked at.
    pub fn compare(&mut self, first: u64, tree: &[Hash], found: Vec<Told>) {
        let mut found = found.into_iter().peekable();
        for (was, position) in tree.iter().zip(first..) {
            let told = found.next_if(|told| told.position <= position).filter(|told| told.position == position);
            self.next(position, Some(*was), told);
        }
        self.behind = found.take(BEHIND_MAX).collect();
    }

    /// The same where there is no tree beside the events: then heads alone say whether they are the right ones.
    pub fn follow(&mut self, first: u64, last: u64, found: Vec<Told>) {
        let mut found = found.into_iter().peekable();
        for position in first..=last {
            let told = found.next_if(|told| told.position <= position).filter(|told| told.position == position);
            let was = told.as_ref().map(Told::leaf_hash);
            self.next(position, was, told);
        }
    }

    fn next(&mut self, position: u64, was: Option<Hash>, found: Option<Told>) {
        self.counted += 1;
        let differs = found.as_ref().map(Told::leaf_hash) != was || found.is_none();
        if let Some(found) = &found {
            if found.recorded_at_us < self.latest_us.saturating_sub(EARLIER_MAX_US) {
                self.back_dated.insert(position);
            }
            if !differs {
                self.latest_us = self.latest_us.max(found.recorded_at_us);
            }
        }
        if differs && self.different.len() < LOOKED_AT_MAX {
            self.different.insert(position, Different { was, found });
        }
        let Some(growth) = &mut self.growth else { return };
        let Some(was) = was else {
            // From here on no root can be made.
            self.growth = None;
            return;
        };
        growth.append(was);
        if let Some(head) = self.heads.remove(&growth.size()) {
            if growth.root() == head {
                self.sound_to = growth.size();
            } else {
                self.heads_wrong.push(Fault::Head { sound_to: self.sound_to, size: growth.size() });
            }
        }
    }

    /// Tiles that follow from those that were compared: full ones, and the last of each level as it is now.
    pub fn take_tiles(&mut self) -> Kept {
        self.growth.as_mut().map(Growth::take_tiles).unwrap_or_default()
    }

    /// All that is wrong, when all was seen: where heads are of more events than there are, some are gone.
    pub fn faults(mut self) -> Vec<Fault> {
        let mut faults = self.named();
        // One that follows from another is not said again: heads from the first wrong one on are all wrong.
        faults.extend(self.heads_wrong.drain(..).take(1));
        if let Some((size, _)) = self.heads.pop_last() {
            let events = self.growth.as_ref().map_or(self.counted, Growth::size);
            if size > events {
                faults.push(Fault::CutShort { size, events });
            }
        }
        faults
    }

    fn named(&self) -> Vec<Fault> {
        // Where each event stood that the tree has elsewhere.
        let stood: BTreeMap<u64, u64> =
            self.different.iter().filter_map(|(position, here)| Some((*position, self.place_of(here.found.as_ref()?)?))).collect();
        let elsewhere: BTreeSet<u64> = stood.values().copied().collect();
        let moved_past = |position: u64, from: u64| stood.iter().any(|(other, was)| (*other < position) != (*was < from));
        let mut faults = vec![];
        // Where not all were looked at, what belongs to the later ones may be out of sight.
        let named = if self.different.len() < LOOKED_AT_MAX { LOOKED_AT_MAX } else { LOOKED_AT_MAX / 2 };
        for (position, here) in self.different.iter().take(named) {
            let pushed_out = |was: Hash| self.behind.iter().any(|told| told.leaf_hash_at(*position) == was);
            let lost = here.was.is_some_and(|was| !pushed_out(was)) && !elsewhere.contains(position);
            match (&here.found, stood.get(position)) {
                (Some(found), Some(from)) => {
                    if lost {
                        faults.push(Fault::Removed { position: *position });
                    } else if moved_past(*position, *from) {
                        faults.push(Fault::Reordered(found.clone(), *from));
                    }
                }
                (Some(found), None) if lost && self.back_dated.contains(position) => faults.push(Fault::BackDated(found.clone())),
                (Some(found), None) if lost => faults.push(Fault::Changed(found.clone())),
                (Some(found), None) => faults.push(Fault::Inserted(found.clone())),
                (None, _) if lost || here.was.is_none() => faults.push(Fault::Removed { position: *position }),
                (None, _) => {}
            }
        }
        faults
    }

    /// Where the tree has an event that is not where it was, the nearest place first.
    fn place_of(&self, told: &Told) -> Option<u64> {
        let mut places: Vec<(u64, Hash)> = self.different.iter().filter_map(|(at, here)| Some((*at, here.was?))).collect();
        places.sort_by_key(|(at, _)| at.abs_diff(told.position));
        places.into_iter().find(|(at, was)| told.leaf_hash_at(*at) == *was).map(|(at, _)| at)
    }
}

/// The root of a tree whose leaves from `first` on are these, and whose others are in tiles: what a range of events costs, and no more. None where a
/// tile is not there.
pub fn root_with(tiles: &impl Tiles, size: u64, first: u64, leaves: &[Hash]) -> Option<Hash> {
    hash_with(tiles, Span::whole(size), first, leaves)
}

fn hash_with(tiles: &impl Tiles, span: Span, first: u64, leaves: &[Hash]) -> Option<Hash> {
    let last = first + leaves.len() as u64;
    if span.end <= first || span.start >= last {
        return tiles.hash_of(span);
    }
    match span.halves() {
        Some((left, right)) => Some(Hash::of_children(&hash_with(tiles, left, first, leaves)?, &hash_with(tiles, right, first, leaves)?)),
        None => leaves.get(usize::try_from(span.start - first).ok()?).copied(),
    }
}

/// The subtrees beside a range of leaves, of which [`root_with`] needs the hashes.
pub fn beside(size: u64, range: Span) -> Vec<Span> {
    let (mut open, mut found) = (vec![Span::whole(size)], vec![]);
    while let Some(span) = open.pop() {
        if span.end <= range.start || span.start >= range.end {
            found.push(span);
        } else if let Some((left, right)) = span.halves() {
            // Within the range nothing is looked for.
            if span.start < range.start || span.end > range.end {
                open.extend([left, right]);
            }
        }
    }
    found
}
