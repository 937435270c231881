//! How many episodes there are, how long and how large: of all that match, by time, and by what they have in common.

use tokio_postgres::Row;

use super::counted::{MATCHES, Selection};
use super::counted_records::NAMED;
use super::error::ReadError;
use super::list::typed;
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::Timestamp;
use crate::domain::words::words;

row! {
    /// What is counted of a group of episodes. Those whose duration or size nobody knows are in neither.
    Figures {
        episodes: i64 = "count(*)",
        timed: i64 = "count(f.duration_ms)",
        duration_ms: i64 = "coalesce(sum(f.duration_ms), 0)::bigint",
        longest_ms: i64 = "coalesce(max(f.duration_ms), 0)",
        sized: i64 = "count(f.size_bytes)",
        size_bytes: i64 = "coalesce(sum(f.size_bytes), 0)::bigint",
        largest_bytes: i64 = "coalesce(max(f.size_bytes), 0)",
    }
}

row! {
    Summary {
        episodes: i64 = "coalesce(sum(g.episodes), 0)::bigint",
        timed: i64 = "coalesce(sum(g.episodes) filter (where g.duration_ms is not null), 0)::bigint",
        duration_ms: i64 = "coalesce(sum(g.episodes * g.duration_ms), 0)::bigint",
        longest_ms: i64 = "coalesce(max(g.duration_ms), 0)",
        /// Nearest rank: the shortest duration that at least 95 of 100 do not exceed.
        p95_ms: i64 = "coalesce((select min(o.duration_ms) from o where o.up_to * 100 >= o.timed * 95), 0)",
        sized: i64 = "coalesce(sum(g.sized), 0)::bigint",
        size_bytes: i64 = "coalesce(sum(g.size_bytes), 0)::bigint",
        largest_bytes: i64 = "coalesce(max(g.largest_bytes), 0)",
        approved: i64 = "coalesce(sum(g.approved), 0)::bigint",
        synced: i64 = "coalesce(sum(g.synced), 0)::bigint",
    }
}

/// A stretch of time, and what happened in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    pub begins_at: Timestamp,
    pub figures: Figures,
}

impl FromRow for Bucket {
    fn columns() -> String {
        "b.*".to_owned()
    }

    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self { begins_at: row.try_get("begins_at")?, figures: Figures::from_row(row)? })
    }
}

/// Episodes that have something in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub id: String,
    pub name: String,
    pub figures: Figures,
}

impl FromRow for Group {
    fn columns() -> String {
        "b.*".to_owned()
    }

    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self { id: row.try_get("id")?, name: row.try_get("name")?, figures: Figures::from_row(row)? })
    }
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
    /// What never changes and tells the groups apart; the id and the name that are shown, of any episode of the group.
    fn sql(self) -> (&'static str, &'static str, &'static str) {
        const DEVICE: &str = "coalesce(r.device_id, s.robot_serial, '')";
        const OPERATOR: &str = "coalesce(c.operator_id, s.collector_operator_id, '')";
        match self {
            Self::Source => (
                "s.robot_id",
                "coalesce(r.device_id, s.robot_serial, f.station_id::text)",
                "coalesce(r.device_id, s.robot_serial, 'workstation:' || f.station_id)",
            ),
            Self::RobotDevice => ("s.robot_id", DEVICE, DEVICE),
            Self::RobotType => ("f.robot_type_id", "coalesce(f.robot_type_id::text, '')", "coalesce(y.name, s.robot_name, '')"),
            Self::Collector => ("s.data_collector_id", OPERATOR, OPERATOR),
            Self::Scene => ("f.scene_id", "f.scene_id::text", "coalesce(n.name, e.scene_name, '')"),
            Self::Sop => (
                "f.sop_id",
                "f.sop_id::text",
                "coalesce(p.slug || coalesce(' @ ' || nullif(p.sop_version, ''), ''), 'SOP #' || f.sop_id)",
            ),
            Self::QaStatus => ("f.qa_status", "f.qa_status", "f.qa_status"),
            Self::CloudSynced => ("f.cloud_synced", "f.cloud_synced::text", "f.cloud_synced::text"),
        }
    }
}

/// By duration first: what is left to sort for the 95th of 100 are the different durations.
fn summary(matches: &str) -> String {
    format!(
        "with g as (select f.duration_ms, count(*) as episodes, count(f.size_bytes) as sized, sum(f.size_bytes) as size_bytes, \
                    max(f.size_bytes) as largest_bytes, count(*) filter (where f.qa_status in ('approved', 'inspector_approved')) as approved, \
                    count(*) filter (where f.cloud_synced) as synced from counted_episodes f where {matches} group by f.duration_ms), \
         o as (select g.duration_ms, sum(g.episodes) over (order by g.duration_ms) as up_to, sum(g.episodes) over () as timed \
               from g where g.duration_ms is not null) \
         select {} from g",
        Summary::columns()
    )
}

fn count(matches: &str) -> String {
    format!("select count(*) from counted_episodes f where {matches}")
}

/// The instant at which the bucket begins where clocks are so many minutes ahead of UTC.
fn trend(granularity: Granularity, matches: &str, next: usize) -> String {
    let (unit, ahead) = (granularity.as_str(), format!("make_interval(mins => ${next}::bigint::integer)"));
    format!(
        "select {} from (select (date_trunc('{unit}', f.happened_at at time zone 'UTC' + {ahead}) - {ahead}) at time zone 'UTC' as begins_at, {} \
         from counted_episodes f where {matches} group by 1) b order by b.begins_at",
        Bucket::columns(),
        Figures::columns()
    )
}

fn groups(by: CountedBy, matches: &str) -> String {
    let (key, id, name) = by.sql();
    let of_station = if key.starts_with("s.") { "left join stations s on s.id = f.station_id" } else { "" };
    format!(
        "select {} from (select {id} as id, {name} as name, g.* \
         from (select {}, max(f.episode_id) as one from counted_episodes f {of_station} where {matches} group by {key}) g \
         join counted_episodes f on f.episode_id = g.one {NAMED}) b order by b.episodes desc, b.id collate \"C\"",
        Group::columns(),
        Figures::columns()
    )
}

impl Reads {
    /// Of all that match, and how many matched in the window of equal length before.
    pub async fn counted_summary(&self, selection: &Selection) -> Result<(Summary, i64), ReadError> {
        let (summary, count) = (summary(&selection.matches()), count(&selection.matches()));
        let earlier = async {
            let Some(window) = selection.before() else { return Ok(0) };
            let rows = self.query_planned(&count, &typed(&count, &selection.parameters_in(&window))).await?;
            Ok::<i64, ReadError>(rows.first().map_or(Ok(0), |row| row.try_get(0))?)
        };
        let now = async {
            let row = self.row_planned(&summary, &selection.parameters()).await?;
            Ok::<Summary, ReadError>(row.unwrap_or_else(Summary::nothing))
        };
        tokio::try_join!(now, earlier)
    }

    /// The earliest bucket first; empty ones are not there.
    pub async fn counted_trend(&self, selection: &Selection, by: Granularity, minutes_ahead: i64) -> Result<Vec<Bucket>, ReadError> {
        let sql = trend(by, &selection.matches(), selection.next());
        let mut parameters = selection.parameters();
        parameters.push(&minutes_ahead);
        self.rows_planned(&sql, &parameters).await
    }

    /// Every group, the largest first. There are no more than robots, people or procedures.
    pub async fn counted_groups(&self, selection: &Selection, by: CountedBy) -> Result<Vec<Group>, ReadError> {
        self.rows_planned(&groups(by, &selection.matches()), &selection.parameters()).await
    }
}

impl Summary {
    fn nothing() -> Self {
        Self {
            episodes: 0,
            timed: 0,
            duration_ms: 0,
            longest_ms: 0,
            p95_ms: 0,
            sized: 0,
            size_bytes: 0,
            largest_bytes: 0,
            approved: 0,
            synced: 0,
        }
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    let trends = Granularity::ALL.iter().map(|by| ("trend of episodes", trend(*by, MATCHES, 10)));
    let groups = CountedBy::ALL.iter().map(|by| ("groups of episodes", groups(*by, MATCHES)));
    let all = [("summary of episodes", summary(MATCHES)), ("episodes that match", count(MATCHES))];
    all.into_iter().chain(trends).chain(groups).collect()
}
