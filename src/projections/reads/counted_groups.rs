//! How many episodes there are, how long and how large: of all that match, by time, and by what they have in common.

use tokio_postgres::Row;

use super::counted::{MATCHES, NEXT, Selection};
use super::counted_records::NAMED;
use super::error::ReadError;
use super::names::{device, operator, or_empty, robot_type, sop, source, source_name};
use super::queries::{Reads, number_in, once_more, one_moment, rows_in};
use super::row::{FromRow, row};
use crate::domain::Timestamp;
use crate::domain::words::words;

row! {
    /// What is counted of a group of episodes. Those whose duration nobody knows are in none.
    Figures {
        episodes: i64 = "count(*)",
        timed: i64 = "count(f.duration_ms)",
        duration_ms: i64 = "coalesce(sum(f.duration_ms), 0)::bigint",
        longest_ms: i64 = "coalesce(max(f.duration_ms), 0)",
        size_bytes: i64 = "coalesce(sum(f.size_bytes), 0)::bigint",
        largest_bytes: i64 = "coalesce(max(f.size_bytes), 0)",
    }
}

row! {
    /// Episodes of about the same length.
    Band {
        /// In whole seconds; none of those whose duration nobody knows.
        seconds: Option<i64> = "f.duration_ms / 1000",
        episodes: i64 = "count(*)",
        duration_ms: i64 = "coalesce(sum(f.duration_ms), 0)::bigint",
        longest_ms: i64 = "coalesce(max(f.duration_ms), 0)",
        size_bytes: i64 = "coalesce(sum(f.size_bytes), 0)::bigint",
        largest_bytes: i64 = "coalesce(max(f.size_bytes), 0)",
        approved: i64 = "count(*) filter (where f.qa_status in ('approved', 'inspector_approved'))",
        synced: i64 = "count(*) filter (where f.cloud_synced)",
    }
}

/// What is counted of all that match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub episodes: i64,
    pub timed: i64,
    pub duration_ms: i64,
    pub longest_ms: i64,
    /// Nearest rank: the shortest duration that at least 95 of 100 do not exceed.
    pub p95_ms: i64,
    pub size_bytes: i64,
    pub largest_bytes: i64,
    pub approved: i64,
    pub synced: i64,
    /// How many matched in the window of equal length before.
    pub earlier: i64,
}

/// A stretch of time, and what happened in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket<F = Figures> {
    pub begins_at: Timestamp,
    pub figures: F,
}

impl<F: FromRow> FromRow for Bucket<F> {
    fn columns() -> String {
        "b.*".to_owned()
    }

    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self { begins_at: row.try_get("begins_at")?, figures: F::from_row(row)? })
    }
}

/// Episodes that have something in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Group<F = Figures> {
    pub id: String,
    pub name: String,
    pub figures: F,
}

impl<F: FromRow> FromRow for Group<F> {
    fn columns() -> String {
        "b.*".to_owned()
    }

    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self { id: row.try_get("id")?, name: row.try_get("name")?, figures: F::from_row(row)? })
    }
}

/// What is the same for all of a group: what never changes and tells the groups apart; the id and the name that are shown, of any episode of it.
pub(super) struct Common {
    pub key: &'static str,
    pub id: &'static str,
    pub name: &'static str,
}

words! {
    /// How long a bucket of a trend is.
    #[derive(Default)]
    Granularity {
        Hour = "hour",
        #[default]
        Day = "day",
        /// Begins on a Monday.
        Week = "week",
        Month = "month",
    }
    /// What episodes of a group have in common.
    #[derive(Default)]
    CountedBy {
        #[default]
        Source = "source",
        RobotDevice = "robot_device",
        RobotType = "robot_type",
        Collector = "collector",
        Scene = "scene",
        Sop = "sop",
        QaStatus = "qa_status",
        CloudSynced = "cloud_synced",
    }
}

impl CountedBy {
    fn common(self) -> Common {
        const DEVICE: &str = or_empty!(device!());
        const OPERATOR: &str = or_empty!(operator!());
        let (key, id, name) = match self {
            Self::Source => ("s.robot_id", source!(), source_name!()),
            Self::RobotDevice => ("s.robot_id", DEVICE, DEVICE),
            Self::RobotType => ("f.robot_type_id", "coalesce(f.robot_type_id::text, '')", or_empty!(robot_type!())),
            Self::Collector => ("s.data_collector_id", OPERATOR, OPERATOR),
            Self::Scene => ("f.scene_id", "f.scene_id::text", "coalesce(n.name, e.scene_name, '')"),
            Self::Sop => ("f.sop_id", "f.sop_id::text", sop!("f.sop_id", " @ ")),
            Self::QaStatus => ("f.qa_status", "f.qa_status", "f.qa_status"),
            Self::CloudSynced => ("f.cloud_synced", "f.cloud_synced::text", "f.cloud_synced::text"),
        };
        Common { key, id, name }
    }
}

/// Two processes group by seconds at once; by milliseconds there would be too many groups to put together.
fn bands(matches: &str) -> String {
    format!("select {} from counted_episodes f where {matches} group by 1", Band::columns())
}

/// The duration at a place among those of one band, the shortest first.
fn within_band(matches: &str, next: usize) -> String {
    let (seconds, place) = (next, next + 1);
    format!(
        "select f.duration_ms from counted_episodes f where {matches} and f.duration_ms >= ${seconds}::bigint * 1000 \
         and f.duration_ms < (${seconds} + 1) * 1000 order by f.duration_ms, f.episode_id limit 1 offset ${place}::bigint"
    )
}

fn count(matches: &str) -> String {
    format!("select count(*) from counted_episodes f where {matches}")
}

/// The earliest bucket first. Each begins at an instant at which clocks that are so many minutes ahead of UTC show a whole one.
pub(super) fn trend<F: FromRow>(granularity: Granularity, matches: &str, next: usize) -> String {
    let (unit, ahead) = (granularity.as_str(), format!("make_interval(mins => ${next}::bigint::integer)"));
    format!(
        "select {} from (select (date_trunc('{unit}', f.happened_at at time zone 'UTC' + {ahead}) - {ahead}) at time zone 'UTC' as begins_at, {} \
         from counted_episodes f where {matches} group by 1) b order by b.begins_at",
        Bucket::<F>::columns(),
        F::columns()
    )
}

/// The largest group first.
pub(super) fn groups<F: FromRow>(by: &Common, matches: &str) -> String {
    let Common { key, id, name } = by;
    let of_station = if key.starts_with("s.") { "left join stations s on s.id = f.station_id" } else { "" };
    format!(
        "select {} from (select {id} as id, {name} as name, g.* \
         from (select {}, max(f.episode_id) as one from counted_episodes f {of_station} where {matches} group by {key}) g \
         join counted_episodes f on f.episode_id = g.one {NAMED}) b order by b.episodes desc, b.id collate \"C\"",
        Group::<F>::columns(),
        F::columns()
    )
}

impl Reads {
    /// Of all that match, at one moment.
    pub async fn counted_summary(&self, selection: &Selection) -> Result<Summary, ReadError> {
        once_more!(self.counted_summary_once(selection).await)
    }

    async fn counted_summary_once(&self, selection: &Selection) -> Result<Summary, ReadError> {
        let mut client = self.connection().await?;
        let moment = one_moment(&mut client).await?;
        let matches = selection.matches();
        let found: Vec<Band> = rows_in(&moment, &bands(&matches), &selection.parameters()).await?;
        let mut summary = Summary::of(&found);
        if let Some((seconds, place)) = rank(&found) {
            let mut parameters = selection.parameters();
            parameters.push(&seconds);
            parameters.push(&place);
            summary.p95_ms = number_in(&moment, &within_band(&matches, selection.next()), &parameters).await?;
        }
        if let Some(window) = selection.before() {
            summary.earlier = number_in(&moment, &count(&matches), &selection.parameters_in(&window)).await?;
        }
        moment.commit().await?;
        Ok(summary)
    }

    /// The earliest bucket first; empty ones are not there.
    pub async fn counted_trend(&self, selection: &Selection, by: Granularity, minutes_ahead: i64) -> Result<Vec<Bucket>, ReadError> {
        let sql = trend::<Figures>(by, &selection.matches(), selection.next());
        let mut parameters = selection.parameters();
        parameters.push(&minutes_ahead);
        self.rows_planned(&sql, &parameters).await
    }

    /// Every group, the largest first. There are no more than robots, people or procedures.
    pub async fn counted_groups(&self, selection: &Selection, by: CountedBy) -> Result<Vec<Group>, ReadError> {
        self.rows_planned(&groups::<Figures>(&by.common(), &selection.matches()), &selection.parameters()).await
    }
}

impl Summary {
    fn of(bands: &[Band]) -> Self {
        let mut all = Self::default();
        for band in bands {
            all.episodes += band.episodes;
            all.timed += if band.seconds.is_some() { band.episodes } else { 0 };
            all.duration_ms += band.duration_ms;
            all.longest_ms = all.longest_ms.max(band.longest_ms);
            all.size_bytes += band.size_bytes;
            all.largest_bytes = all.largest_bytes.max(band.largest_bytes);
            all.approved += band.approved;
            all.synced += band.synced;
        }
        all
    }
}

/// In which band the 95th of 100 is, and how many of that band are shorter.
fn rank(bands: &[Band]) -> Option<(i64, i64)> {
    let mut timed: Vec<(i64, i64)> = bands.iter().filter_map(|band| Some((band.seconds?, band.episodes))).collect();
    timed.sort_unstable();
    let all: i64 = timed.iter().map(|(_, episodes)| episodes).sum();
    let mut before = all.saturating_mul(95).saturating_add(99) / 100 - 1;
    timed.into_iter().find_map(|(seconds, episodes)| {
        let here = before < episodes;
        if !here {
            before -= episodes;
        }
        here.then_some((seconds, before))
    })
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    let trends = Granularity::ALL.iter().map(|by| ("trend of episodes", trend::<Figures>(*by, MATCHES, NEXT)));
    let groups = CountedBy::ALL.iter().map(|by| ("groups of episodes", groups::<Figures>(&by.common(), MATCHES)));
    let all = [
        ("episodes by how long they are", bands(MATCHES)),
        ("a duration by its place", within_band(MATCHES, NEXT)),
        ("episodes that match", count(MATCHES)),
    ];
    all.into_iter().chain(trends).chain(groups).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn band(seconds: Option<i64>, episodes: i64) -> Band {
        Band { seconds, episodes, duration_ms: 0, longest_ms: 0, size_bytes: 0, largest_bytes: 0, approved: 0, synced: 0 }
    }

    #[test]
    fn the_rank_is_the_nearest_and_counts_what_is_timed() {
        for (bands, found) in [
            (vec![], None),
            (vec![band(None, 9)], None),
            (vec![band(Some(3), 1)], Some((3, 0))),
            (vec![band(Some(1), 94), band(Some(2), 6)], Some((2, 0))),
            (vec![band(Some(2), 5), band(None, 50), band(Some(1), 95)], Some((1, 94))),
            (vec![band(Some(1), 10), band(Some(2), 10)], Some((2, 8))),
        ] {
            assert_eq!(rank(&bands), found, "{bands:?}");
        }
    }
}
