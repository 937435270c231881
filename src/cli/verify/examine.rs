//! Events against the tree, the tree against what was signed.

use std::collections::BTreeSet;

use super::source::Source;
use crate::domain::log_tree::comparison::{Comparison, beside, root_with};
use crate::domain::log_tree::span::{Span, tiles_of};
use crate::domain::log_tree::tile::WIDTH;
use crate::domain::log_tree::{Checkpoint, Hash, Kept, TileId, Tiles as _, Told};

/// Tiles that are looked at together, with their events.
const TOGETHER: u64 = 8;
/// At most so many faults are named; one is enough to know.
const NAMED_MAX: usize = 20;
const WIDE: u64 = WIDTH as u64;

/// What was looked at, and what is wrong.
pub struct Examined {
    pub events: u64,
    pub faults: Vec<String>,
}

impl Examined {
    fn of(comparison: Comparison, mut further: Vec<String>) -> Self {
        let events = comparison.counted();
        let mut faults: Vec<String> = comparison.faults().iter().map(ToString::to_string).collect();
        faults.append(&mut further);
        faults.truncate(NAMED_MAX);
        Self { events, faults }
    }
}

/// Every event that is in the tree, every tile, and every head.
pub async fn whole(source: &mut impl Source, size: u64, heads: Vec<Checkpoint>) -> anyhow::Result<Examined> {
    let mut comparison = Comparison::whole(heads);
    let mut torn = vec![];
    let last = size.div_ceil(WIDE);
    for begin in (0..last).step_by(usize::try_from(TOGETHER)?) {
        let numbers = begin..last.min(begin + TOGETHER);
        let kept = source.tiles(&numbers.clone().map(|number| TileId { level: 0, number }).collect()).await?;
        // Some more, to see what was pushed out of the tree.
        let to = if numbers.end == last { size + WIDE } else { numbers.end * WIDE };
        let mut events = source.events(begin * WIDE + 1, to).await?.into_iter().peekable();
        for number in numbers {
            let id = TileId { level: 0, number };
            let first = number * WIDE + 1;
            let until = if number + 1 == last { u64::MAX } else { first + WIDE };
            let found: Vec<Told> = std::iter::from_fn(|| events.next_if(|told| told.position < until)).collect();
            match kept.tile(id).filter(|hashes| hashes.len() >= id.width_in(size)) {
                Some(hashes) => comparison.compare(first, &hashes[..id.width_in(size)], found),
                None => anyhow::bail!("the tile 0/{number} is not there, or not whole"),
            }
        }
        torn.extend(torn_tiles(source, comparison.take_tiles()).await?);
    }
    Ok(Examined::of(comparison, torn))
}

/// Tiles above the lowest level that are not what follows from those below.
async fn torn_tiles(source: &mut impl Source, grown: Kept) -> anyhow::Result<Vec<String>> {
    let above: Kept = grown.into_iter().filter(|(id, _)| id.level > 0).collect();
    let kept = source.tiles(&above.keys().copied().collect()).await?;
    let differs =
        |(id, hashes): &(&TileId, &Vec<Hash>)| kept.tile(**id).and_then(|kept| kept.get(..hashes.len())) != Some(hashes.as_slice());
    Ok(above.iter().filter(differs).map(|(id, _)| format!("the tile {}/{} is not made of those below it", id.level, id.number)).collect())
}

/// Events alone, from the first on, against heads.
pub async fn events(source: &mut impl Source, last: u64, heads: Vec<Checkpoint>) -> anyhow::Result<Examined> {
    let mut comparison = Comparison::whole(heads);
    for first in (1..=last).step_by(usize::try_from(TOGETHER * WIDE)?) {
        let to = last.min(first + TOGETHER * WIDE - 1);
        comparison.follow(first, to, source.events(first, to).await?);
    }
    Ok(Examined::of(comparison, vec![]))
}

/// A range of the events that are in the tree, and heads: what that costs grows with the range, and with the tree as its logarithm does.
pub async fn range(source: &mut impl Source, size: u64, (from, to): (u64, u64), heads: &[Checkpoint]) -> anyhow::Result<Examined> {
    let (mut comparison, mut leaves) = (Comparison::part(), vec![]);
    for number in (from - 1) / WIDE..=(to - 1) / WIDE {
        let id = TileId { level: 0, number };
        let (first, last) = (from.max(number * WIDE + 1), to.min((number + 1) * WIDE));
        let kept = source.tiles(&BTreeSet::from([id])).await?;
        let place = |position: u64| usize::try_from(position - number * WIDE);
        let hashes = kept.tile(id).and_then(|hashes| hashes.get(place(first).ok()? - 1..place(last).ok()?));
        let Some(hashes) = hashes else { anyhow::bail!("the tile 0/{number} is not there, or not whole") };
        let found = source.events(first, last).await?;
        leaves.extend(found.iter().map(Told::leaf_hash));
        comparison.compare(first, hashes, found);
    }
    let mut wrong = vec![];
    for head in heads {
        if head.size > size {
            wrong.push(format!("a head of {} events was signed, and the tree has {size}", head.size));
            continue;
        }
        let inside = usize::try_from(head.size.min(to).saturating_sub(from - 1))?;
        let of_range = leaves.get(..inside.min(leaves.len())).unwrap_or_default();
        let range = Span { start: from - 1, end: from - 1 + of_range.len() as u64 };
        let kept = source.tiles(&tiles_of(&beside(head.size, range))).await?;
        if root_with(&kept, head.size, range.start, of_range) != Some(head.root) {
            wrong.push(format!("the head of {} events that was signed is not that of the tree with these events", head.size));
        }
    }
    Ok(Examined::of(comparison, wrong))
}
