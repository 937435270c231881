//! What is counted of episodes, read from packed days: each record of a window goes by once, and is held no longer.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::pin::pin;

use deadpool_postgres::Transaction;
use futures_util::TryStreamExt as _;
use tokio_postgres::Row;

use super::buckets::{Buckets, Granularity};
use super::counted::{DAYS, Selection};
use super::error::ReadError;
use super::list::{Parameter, typed};
use super::names::NAMED;
use super::queries::{Reads, once_more, one_moment};
use crate::domain::Timestamp;
use crate::projections::packed_days::{PackedEpisode, Unpacked};

/// What is counted of episodes.
pub(super) trait Tally: Copy + Default {
    fn add(&mut self, episode: &PackedEpisode<'_>);
    /// That of these, and of others.
    fn with(self, others: &Self) -> Self;
    fn episodes(&self) -> i64;
}

/// A stretch of time, and what happened in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket<F> {
    pub begins_at: Timestamp,
    pub figures: F,
}

/// Episodes that have something in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Group<F> {
    pub id: String,
    pub name: String,
    pub figures: F,
}

/// What is the same for all of a group.
pub(super) enum Common {
    /// What never changes and tells the groups apart, a column of `f`, the day, or of `s`, the station; the id and the name that are shown, of any
    /// episode of it.
    Thing { key: &'static str, id: &'static str, name: &'static str },
    /// A word that each episode has.
    Word(for<'a> fn(&PackedEpisode<'a>) -> &'a str),
}

/// Packed days, and what tells groups of them apart.
pub(super) fn days(key: &str, matches: &str) -> String {
    let of_station = if key.starts_with("s.") { "left join stations s on s.id = f.station_id" } else { "" };
    format!("select f.episodes, {key} as key from packed_episodes f {of_station} where {matches}")
}

/// For where nothing does.
pub(super) const NO_KEY: &str = "null::bigint";

/// What the groups are called that episodes are of.
fn called(id: &str, name: &str) -> String {
    format!("select f.episode_id, {id} as id, {name} as name from counted_episodes f {NAMED} where f.episode_id = any ($1::bigint[])")
}

/// Rows one by one, planned for these parameters.
pub(super) async fn each_row(
    moment: &Transaction<'_>,
    statement: &str,
    parameters: &[Parameter<'_>],
    mut meet: impl FnMut(&Row) -> Result<(), tokio_postgres::Error>,
) -> Result<(), ReadError> {
    let mut rows = pin!(moment.query_typed_raw(statement, typed(statement, parameters)).await?);
    while let Some(row) = rows.try_next().await? {
        meet(&row)?;
    }
    Ok(())
}

/// The episodes of each day that match, and its key.
async fn each_day(
    moment: &Transaction<'_>,
    selection: &Selection,
    key: &str,
    mut meet: impl FnMut(Option<i64>, &mut dyn Iterator<Item = &PackedEpisode<'_>>),
) -> Result<(), ReadError> {
    let (statement, window) = (days(key, &selection.matches_days()), selection.window_us());
    each_row(moment, &statement, &selection.parameters_kept(), |row| {
        let episodes: Unpacked<PackedEpisode<'_>> = row.try_get(0)?;
        let mut meant = episodes.0.iter().filter(|episode| window.contains(&episode.happened_us) && selection.admits(episode));
        meet(row.try_get(1)?, &mut meant);
        Ok(())
    })
    .await
}

/// Every episode that matches.
pub(super) async fn each_episode(
    moment: &Transaction<'_>,
    selection: &Selection,
    mut meet: impl FnMut(&PackedEpisode<'_>),
) -> Result<(), ReadError> {
    each_day(moment, selection, NO_KEY, |_, episodes| episodes.for_each(&mut meet)).await
}

/// Of what goes by in the order of time: what belongs together is summed up before it is looked up.
#[derive(Default)]
pub(super) struct ByTime<F> {
    sums: BTreeMap<i64, F>,
}

impl<F: Tally> ByTime<F> {
    pub fn add<'e, 'a: 'e>(&mut self, buckets: Buckets, episodes: impl Iterator<Item = &'e PackedEpisode<'a>>) {
        let mut open: Option<(Range<i64>, F)> = None;
        for episode in episodes {
            match &mut open {
                Some((bucket, sum)) if bucket.contains(&episode.happened_us) => sum.add(episode),
                _ => {
                    self.close(open.take());
                    let mut sum = F::default();
                    sum.add(episode);
                    open = Some((buckets.of(episode.happened_us), sum));
                }
            }
        }
        self.close(open);
    }

    fn close(&mut self, open: Option<(Range<i64>, F)>) {
        if let Some((bucket, sum)) = open {
            let all = self.sums.entry(bucket.start).or_default();
            *all = all.with(&sum);
        }
    }

    /// The earliest first, by when they begin.
    pub fn into_sums(self) -> impl Iterator<Item = (Timestamp, F)> {
        self.sums.into_iter().filter_map(|(begins_us, sum)| Some((Timestamp::from_timestamp_micros(begins_us)?, sum)))
    }
}

/// The earliest bucket first; empty ones are not there.
async fn trend<F: Tally>(moment: &Transaction<'_>, selection: &Selection, buckets: Buckets) -> Result<Vec<Bucket<F>>, ReadError> {
    let mut sums = ByTime::default();
    each_day(moment, selection, NO_KEY, |_, episodes| sums.add(buckets, episodes)).await?;
    Ok(sums.into_sums().map(|(begins_at, figures)| Bucket { begins_at, figures }).collect())
}

/// Every group, the largest first.
async fn groups<F: Tally>(moment: &Transaction<'_>, selection: &Selection, by: &Common) -> Result<Vec<Group<F>>, ReadError> {
    let mut found: Vec<Group<F>> = match by {
        Common::Word(word) => by_word(moment, selection, *word).await?,
        Common::Thing { key, id, name } => by_thing(moment, selection, key, &called(id, name)).await?,
    };
    found.sort_by(|one, other| other.figures.episodes().cmp(&one.figures.episodes()).then_with(|| one.id.cmp(&other.id)));
    Ok(found)
}

async fn by_word<F: Tally>(
    moment: &Transaction<'_>,
    selection: &Selection,
    word: for<'a> fn(&PackedEpisode<'a>) -> &'a str,
) -> Result<Vec<Group<F>>, ReadError> {
    let mut sums = HashMap::<String, F>::new();
    each_episode(moment, selection, |episode| match sums.get_mut(word(episode)) {
        Some(sum) => sum.add(episode),
        None => sums.entry(word(episode).to_owned()).or_default().add(episode),
    })
    .await?;
    Ok(sums.into_iter().map(|(word, figures)| Group { id: word.clone(), name: word, figures }).collect())
}

async fn by_thing<F: Tally>(moment: &Transaction<'_>, selection: &Selection, key: &str, called: &str) -> Result<Vec<Group<F>>, ReadError> {
    let mut sums = HashMap::<Option<i64>, (F, i64)>::new();
    each_day(moment, selection, key, |key, episodes| {
        let (mut sum, mut newest) = (F::default(), None);
        for episode in episodes {
            sum.add(episode);
            newest = newest.max(Some(episode.id));
        }
        let Some(newest) = newest else { return };
        let (all, one) = sums.entry(key).or_insert((F::default(), newest));
        *all = all.with(&sum);
        *one = newest.max(*one);
    })
    .await?;
    let ones: Vec<i64> = sums.values().map(|(_, one)| *one).collect();
    let mut sums: HashMap<i64, F> = sums.into_values().map(|(sum, one)| (one, sum)).collect();
    let mut groups = vec![];
    each_row(moment, called, &[&ones], |row| {
        if let Some(figures) = sums.remove(&row.try_get(0)?) {
            groups.push(Group { id: row.try_get(1)?, name: row.try_get(2)?, figures });
        }
        Ok(())
    })
    .await?;
    Ok(groups)
}

impl Reads {
    /// The earliest bucket first; empty ones are not there.
    pub(super) async fn trend_of<F: Tally>(
        &self,
        selection: &Selection,
        by: Granularity,
        minutes_ahead: i64,
    ) -> Result<Vec<Bucket<F>>, ReadError> {
        let once = async || {
            let mut client = self.connection().await?;
            let moment = one_moment(&mut client).await?;
            let trend = trend(&moment, selection, Buckets { by, minutes_ahead }).await?;
            moment.commit().await?;
            Ok(trend)
        };
        once_more!(once().await)
    }

    /// Every group, the largest first.
    pub(super) async fn groups_of<F: Tally>(&self, selection: &Selection, by: &Common) -> Result<Vec<Group<F>>, ReadError> {
        let once = async || {
            let mut client = self.connection().await?;
            let moment = one_moment(&mut client).await?;
            let groups = groups(&moment, selection, by).await?;
            moment.commit().await?;
            Ok(groups)
        };
        once_more!(once().await)
    }
}

/// The statements of groups.
pub(super) fn statements_of(by: &Common) -> Vec<String> {
    match by {
        Common::Thing { key, id, name } => vec![days(key, DAYS), called(id, name)],
        Common::Word(_) => vec![],
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("packed days", days(NO_KEY, DAYS))]
}
