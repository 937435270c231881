//! How many episodes there are, how long and how large: of all that match, by time, and by what they have in common.

use super::buckets::Granularity;
use super::counted::Selection;
use super::counted_days::{Bucket, Common, Group, NO_KEY, Tally, days, each_row, statements_of};
use super::error::ReadError;
use super::names::{device, operator, or_empty, robot_type, sop, source, source_name};
use super::queries::{Reads, once_more, one_moment};
use crate::domain::words::words;
use crate::projections::packed_days::{PackedEpisode, Unpacked};

/// What is counted of a group of episodes. Those whose duration nobody knows are in none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub episodes: i64,
    pub timed: i64,
    pub duration_ms: i64,
    pub longest_ms: i64,
    pub size_bytes: i64,
    pub largest_bytes: i64,
}

impl Tally for Figures {
    fn add(&mut self, episode: &PackedEpisode<'_>) {
        let ms = episode.duration_ms.unwrap_or(0);
        *self = self.with(&Self {
            episodes: 1,
            timed: i64::from(episode.duration_ms.is_some()),
            duration_ms: ms,
            longest_ms: ms,
            size_bytes: episode.size_bytes,
            largest_bytes: episode.size_bytes,
        });
    }

    fn with(self, others: &Self) -> Self {
        Self {
            episodes: self.episodes + others.episodes,
            timed: self.timed + others.timed,
            duration_ms: self.duration_ms + others.duration_ms,
            longest_ms: self.longest_ms.max(others.longest_ms),
            size_bytes: self.size_bytes + others.size_bytes,
            largest_bytes: self.largest_bytes.max(others.largest_bytes),
        }
    }

    fn episodes(&self) -> i64 {
        self.episodes
    }
}

/// What is counted of all that match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub figures: Figures,
    /// Nearest rank: the shortest duration that at least 95 of 100 do not exceed.
    pub p95_ms: i64,
    pub approved: i64,
    pub synced: i64,
    /// How many matched in the window of equal length before.
    pub earlier: i64,
}

words! {
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
            Self::QaStatus => return Common::Word(|episode| episode.qa_status.as_str()),
            Self::CloudSynced => return Common::Word(|episode| if episode.cloud_synced { "true" } else { "false" }),
        };
        Common::Thing { key, id, name }
    }
}

/// What 95 of 100 do not exceed, by nearest rank; 0 of nothing.
fn p95(mut durations: Vec<i64>) -> i64 {
    let rank = (durations.len() * 95).div_ceil(100);
    match rank.checked_sub(1) {
        Some(place) => *durations.select_nth_unstable(place).1,
        None => 0,
    }
}

impl Reads {
    /// Of all that match, at one moment.
    pub async fn counted_summary(&self, selection: &Selection) -> Result<Summary, ReadError> {
        once_more!(self.counted_summary_once(selection).await)
    }

    async fn counted_summary_once(&self, selection: &Selection) -> Result<Summary, ReadError> {
        let mut client = self.connection().await?;
        let moment = one_moment(&mut client).await?;
        let (window, before) = (selection.window_us(), selection.before());
        let parameters = before.as_ref().map_or_else(|| selection.parameters_kept(), |before| selection.parameters_since(before));
        let earlier = before.map_or(window.start, |before| before.timestamp_micros())..window.start;
        let (mut summary, mut durations) = (Summary::default(), vec![]);
        each_row(&moment, &days(NO_KEY, &selection.matches_days()), &parameters, |row| {
            let episodes: Unpacked<PackedEpisode<'_>> = row.try_get(0)?;
            for episode in episodes.0.iter().filter(|episode| selection.admits(episode)) {
                if window.contains(&episode.happened_us) {
                    summary.figures.add(episode);
                    durations.extend(episode.duration_ms);
                    summary.approved += i64::from(episode.qa_status.is_approved());
                    summary.synced += i64::from(episode.cloud_synced);
                } else if earlier.contains(&episode.happened_us) {
                    summary.earlier += 1;
                }
            }
            Ok(())
        })
        .await?;
        moment.commit().await?;
        summary.p95_ms = p95(durations);
        Ok(summary)
    }

    /// The earliest bucket first; empty ones are not there.
    pub async fn counted_trend(
        &self,
        selection: &Selection,
        by: Granularity,
        minutes_ahead: i64,
    ) -> Result<Vec<Bucket<Figures>>, ReadError> {
        self.trend_of(selection, by, minutes_ahead).await
    }

    /// Every group, the largest first. There are no more than robots, people or procedures.
    pub async fn counted_groups(&self, selection: &Selection, by: CountedBy) -> Result<Vec<Group<Figures>>, ReadError> {
        self.groups_of(selection, &by.common()).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    CountedBy::ALL.iter().flat_map(|by| statements_of(&by.common())).map(|statement| ("groups of episodes", statement)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::episode::QaStatus;

    #[test]
    fn the_rank_is_the_nearest() {
        let durations = |all: i64| (1..=all).rev().collect::<Vec<_>>();
        for (all, found) in [(0, 0), (1, 1), (2, 2), (19, 19), (20, 19), (21, 20), (100, 95), (101, 96)] {
            assert_eq!(p95(durations(all)), found, "{all}");
        }
        assert_eq!(p95(vec![7; 40]), 7);
    }

    #[test]
    fn what_is_not_timed_counts_for_its_size_alone() {
        let episode = PackedEpisode {
            id: 1,
            happened_us: 0,
            duration_ms: Some(5),
            size_bytes: 3,
            cloud_synced: false,
            auto_approved: false,
            qa_status: QaStatus::Failed,
            reason: "",
        };
        let mut figures = Figures::default();
        figures.add(&episode);
        figures.add(&PackedEpisode { duration_ms: None, size_bytes: 9, ..episode });
        assert_eq!(figures, Figures { episodes: 2, timed: 1, duration_ms: 5, longest_ms: 5, size_bytes: 12, largest_bytes: 9 });
    }
}
