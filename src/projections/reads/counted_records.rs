//! Single episodes as statistics count them: a page in some order, and all of them, the newest first.

use super::counted::{MATCHES, NEXT, Selection};
use super::error::ReadError;
use super::list::{Listed, Page, typed};
use super::names::{device, operator, or_empty, robot_type, sop, source, source_name};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::episode::QaStatus;
use crate::domain::words::words;
use crate::domain::{EpisodeId, RobotTypeId, SceneId, SopId, Timestamp};

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

/// What a row `f` is called by.
pub(super) const NAMED: &str = "left join episodes e on e.id = f.episode_id left join stations s on s.id = f.station_id \
     left join robots r on r.id = s.robot_id left join robot_types y on y.id = f.robot_type_id \
     left join data_collectors c on c.id = s.data_collector_id left join scenes n on n.id = f.scene_id left join sops p on p.id = f.sop_id";

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

/// What is not known is less than anything.
fn order(by: SortedBy, order: SortOrder) -> String {
    let direction = order.as_str();
    match by {
        SortedBy::Time => format!("f.happened_at {direction}, f.episode_id {direction}"),
        SortedBy::DurationMs => format!("coalesce(f.duration_ms, -1) {direction}, f.episode_id {direction}"),
        SortedBy::SizeBytes => format!("f.size_bytes {direction}, f.episode_id {direction}"),
        SortedBy::Count | SortedBy::Status => format!("f.episode_id {direction}"),
    }
}

fn page(order: &str, matches: &str, next: usize) -> String {
    format!(
        "select {} from (select f.* from counted_episodes f where {matches} order by {order} limit ${next}::bigint offset ${}::bigint) f \
         {NAMED} order by {order}",
        CountedEpisode::columns(),
        next + 1
    )
}

fn count(matches: &str) -> String {
    format!("select count(*) from counted_episodes f where {matches}")
}

/// The newest behind a place.
fn behind(matches: &str, next: usize) -> String {
    let order = order(SortedBy::Time, SortOrder::Descending);
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
        let matches = selection.matches();
        let (page, count) = (page(&order(by, direction), &matches, selection.next()), count(&matches));
        let mut parameters = selection.parameters();
        let of_count = typed(&count, &parameters);
        parameters.push(&at.limit);
        parameters.push(&at.offset);
        let (rows, total) = tokio::try_join!(self.rows_planned(&page, &parameters), self.query_planned(&count, &of_count))?;
        let total = total.first().map_or(Ok(0), |row| row.try_get(0))?;
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
    let orders = SortedBy::ALL.iter().flat_map(|by| SortOrder::ALL.iter().map(|direction| order(*by, *direction)));
    let pages = orders.map(|order| ("episodes as they are counted", page(&order, MATCHES, NEXT)));
    pages.chain([("episodes as they are counted, in all", count(MATCHES)), ("episodes to export", behind(MATCHES, NEXT))]).collect()
}
