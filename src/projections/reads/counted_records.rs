//! Single episodes as statistics count them: a page in some order, and all of them, the newest first.

use std::collections::HashMap;

use super::counted::{MATCHES, NEXT, Selection};
use super::counted_days::each_episode;
use super::error::ReadError;
use super::list::{Listed, Page};
use super::names::{NAMED, device, operator, or_empty, robot_type, sop, source, source_name};
use super::queries::{Reads, once_more, one_moment, rows_in};
use super::row::{FromRow, row};
use crate::domain::episode::QaStatus;
use crate::domain::words::words;
use crate::domain::{EpisodeId, RobotTypeId, SceneId, SopId, Timestamp};
use crate::projections::packed_days::PackedEpisode;

row! {
    /// Whose it is was decided when it was made; names are those of now, and those of then where the thing is gone.
    CountedEpisode {
        id: EpisodeId = "f.episode_id",
        public_id: String = "coalesce(e.episode_id, '')",
        happened_at: Timestamp = "f.happened_at",
        source_id: String = source!(),
        source_name: String = source_name!(),
        scene: SceneId = "f.scene_id",
        scene_name: String = "coalesce(n.name, e.scene_name, '')",
        device: String = or_empty!(device!()),
        robot_type: Option<RobotTypeId> = "f.robot_type_id",
        robot_type_name: String = or_empty!(robot_type!()),
        operator_id: String = or_empty!(operator!()),
        collector_name: String = "coalesce(c.name, s.collector_name, '')",
        task_id: String = "coalesce(e.task_public_id, e.task_id::text, '')",
        sop: SopId = "f.sop_id",
        sop_label: String = sop!("f.sop_id", " @ "),
        qa_status: QaStatus = "f.qa_status",
        cloud_synced: bool = "f.cloud_synced",
        duration_ms: Option<i64> = "f.duration_ms",
        size_bytes: i64 = "f.size_bytes",
    }
}

words! {
    /// What records are sorted by; those that are equal in it, by their id.
    #[derive(Default)]
    SortedBy {
        #[default]
        Time = "time",
        /// The same for all.
        Count = "count",
        DurationMs = "duration_ms",
        SizeBytes = "size_bytes",
        /// The same for all.
        Status = "status",
    }
    #[derive(Default)]
    SortOrder {
        Ascending = "asc",
        #[default]
        Descending = "desc",
    }
}

/// What an episode is sorted by. What is not known is less than anything.
fn sort_key(by: SortedBy, episode: &PackedEpisode<'_>) -> i64 {
    match by {
        SortedBy::Time => episode.happened_us,
        SortedBy::DurationMs => episode.duration_ms.unwrap_or(-1),
        SortedBy::SizeBytes => episode.size_bytes,
        SortedBy::Count | SortedBy::Status => 0,
    }
}

/// One page of what is sorted by key and id.
fn page_of(mut found: Vec<(i64, i64)>, direction: SortOrder, at: &Page) -> Vec<i64> {
    let number = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
    let compare = |one: &(i64, i64), other: &(i64, i64)| match direction {
        SortOrder::Ascending => one.cmp(other),
        SortOrder::Descending => other.cmp(one),
    };
    let (first, limit) = (number(at.offset).min(found.len()), at.limit.map_or(usize::MAX, number));
    let end = first.saturating_add(limit).min(found.len());
    // What comes behind the page need not be sorted.
    if end < found.len() {
        found.select_nth_unstable_by(end, compare);
        found.truncate(end);
    }
    found.sort_unstable_by(compare);
    found.drain(first..).map(|(_, id)| id).collect()
}

fn by_id() -> String {
    format!("select {} from counted_episodes f {NAMED} where f.episode_id = any ($1::bigint[])", CountedEpisode::columns())
}

/// The newest behind a place.
fn behind(matches: &str, next: usize) -> String {
    let order = "f.happened_at desc, f.episode_id desc";
    let (at, id, limit) = (next, next + 1, next + 2);
    format!(
        "select {} from (select f.* from counted_episodes f where {matches} \
         and (${at}::timestamptz is null or (f.happened_at, f.episode_id) < (${at}, ${id}::bigint)) order by {order} limit ${limit}::bigint) f \
         {NAMED} order by {order}",
        CountedEpisode::columns()
    )
}

impl Reads {
    pub async fn counted_records(
        &self,
        selection: &Selection,
        by: SortedBy,
        direction: SortOrder,
        at: Page,
    ) -> Result<Listed<CountedEpisode>, ReadError> {
        once_more!(self.counted_records_once(selection, by, direction, &at).await)
    }

    async fn counted_records_once(
        &self,
        selection: &Selection,
        by: SortedBy,
        direction: SortOrder,
        at: &Page,
    ) -> Result<Listed<CountedEpisode>, ReadError> {
        let mut client = self.connection().await?;
        let moment = one_moment(&mut client).await?;
        let mut found = vec![];
        each_episode(&moment, selection, |episode| found.push((sort_key(by, episode), episode.id))).await?;
        let total = i64::try_from(found.len()).unwrap_or(i64::MAX);
        let ids = page_of(found, direction, at);
        let mut rows: Vec<CountedEpisode> = rows_in(&moment, &by_id(), &[&ids]).await?;
        moment.commit().await?;
        let places: HashMap<i64, usize> = ids.iter().enumerate().map(|(place, id)| (*id, place)).collect();
        rows.sort_by_key(|row| places.get(&row.id.0));
        Ok(Listed { rows, total, next: None })
    }

    /// The newest first, behind the place of one.
    pub async fn counted_behind(
        &self,
        selection: &Selection,
        place: Option<(Timestamp, EpisodeId)>,
        limit: i64,
    ) -> Result<Vec<CountedEpisode>, ReadError> {
        let sql = behind(&selection.matches(), selection.next());
        let (at, id) = (place.map(|place| place.0), place.map(|place| place.1));
        let mut parameters = selection.parameters();
        parameters.push(&at);
        parameters.push(&id);
        parameters.push(&limit);
        self.rows_planned(&sql, &parameters).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("episodes as they are counted", by_id()), ("episodes to export", behind(MATCHES, NEXT))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_what_is_equal_go_by_id() {
        let found = vec![(5, 1), (7, 2), (5, 3), (7, 4), (0, 5)];
        let page = |direction, offset, limit| page_of(found.clone(), direction, &Page { limit, offset, after: None });
        assert_eq!(page(SortOrder::Descending, 0, Some(3)), [4, 2, 3]);
        assert_eq!(page(SortOrder::Descending, 3, Some(3)), [1, 5]);
        assert_eq!(page(SortOrder::Ascending, 1, Some(2)), [1, 3]);
        assert_eq!(page(SortOrder::Ascending, 0, None), [5, 1, 3, 2, 4]);
        assert_eq!(page(SortOrder::Ascending, 9, Some(2)), [0; 0]);
    }
}
