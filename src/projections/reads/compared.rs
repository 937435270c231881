//! Episodes with their facts, a page at a time, for comparing them with each other.

use super::error::ReadError;
use super::list::typed;
use super::queries::{Reads, with};
use super::row::{FromRow, row};
use super::selection::HOME;
use crate::domain::episode::QaStatus;
use crate::domain::{EpisodeId, RobotTypeId, Scope, SopId, StationId, Timestamp};
use crate::projections::approved::is_approved;
use crate::projections::packed_facts::PackedFacts;

row! {
    Comparable {
        id: EpisodeId = "e.id",
        episode_id: String = "e.episode_id",
        sop_id: SopId = "e.sop_id",
        station_id: StationId = "e.station_id",
        qa_status: QaStatus = "e.qa_status",
        created_at: Timestamp = "e.created_at",
        packed: Option<PackedFacts> = "f.packed",
    }
}

row! {
    At {
        created_at: Timestamp = "e.created_at",
    }
}

/// Which episodes; one of procedure and station is given; there is an index for each, and one for both. What is not given excludes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct ComparedFilter {
    pub sop: Option<SopId>,
    pub station: Option<StationId>,
    pub robot_type: Option<RobotTypeId>,
    pub from: Option<Timestamp>,
    /// A whole second is meant to its end, because times are shown in whole seconds.
    pub to: Option<Timestamp>,
    pub only_approved: bool,
}

const MATCHES: &str = concat!(
    "($1::bigint is null or e.sop_id = $1) and ($2::bigint is null or e.station_id = $2) \
     and ($3::bigint is null or e.station_id = any (array(select s.id from stations s join robots r on r.id = s.robot_id where r.robot_type_id = $3))) \
     and ($4::timestamptz is null or e.created_at >= $4) and ($5::timestamptz is null or e.created_at < $5 + interval '1 second') \
     and (not $6::boolean or ",
    is_approved!(),
    ")"
);
const PARAMETERS: usize = 6;

/// Stations whose robots are of the type that is meant.
const OF_TYPE: &str = "select s.id from stations s join robots r on r.id = s.robot_id where r.robot_type_id = $3";

/// With a type of robot, and no station, station by station: its episodes may lie far apart among those of the procedure.
fn page(within: &str, further: usize, by_station: bool) -> String {
    let (columns, n) = (Comparable::columns(), PARAMETERS + further);
    let (at, id, limit) = (n + 1, n + 2, n + 3);
    let matches = format!("{MATCHES}{within} and (${at}::timestamptz is null or (e.created_at, e.id) < (${at}, ${id}::bigint))");
    let newest = "order by e.created_at desc, e.id desc";
    let from = format!("select {columns} from episodes e left join episode_facts f on f.id = e.id");
    if !by_station {
        return format!("{from} where {matches} {newest} limit ${limit}::bigint");
    }
    format!(
        "{from} where e.id = any (array(select found_id from ({OF_TYPE}) wanted (station_id) \
         cross join lateral (select e.id as found_id, e.created_at as found_at from episodes e where e.station_id = wanted.station_id and {matches} \
         {newest} limit ${limit}::bigint) found order by found_at desc, found_id desc limit ${limit})) {newest}"
    )
}

fn count(within: &str) -> String {
    format!("select count(*) from episodes e where {MATCHES}{within}")
}

fn first(within: &str) -> String {
    format!("select {} from episodes e where {MATCHES}{within} order by e.created_at, e.id limit 1", At::columns())
}

fn last(within: &str) -> String {
    format!("select {} from episodes e where {MATCHES}{within} order by e.created_at desc, e.id desc limit 1", At::columns())
}

impl Reads {
    /// The newest first, behind this one.
    pub async fn comparable(
        &self,
        scope: &Scope,
        filter: &ComparedFilter,
        behind: Option<(Timestamp, EpisodeId)>,
        limit: i64,
    ) -> Result<Vec<Comparable>, ReadError> {
        let f = filter;
        let within = HOME.within(scope, PARAMETERS);
        let by_station = f.robot_type.is_some() && f.station.is_none();
        let statement = page(&within.sql, within.values.len(), by_station);
        let (at, id) = behind.unzip();
        let mut given = with(&[&f.sop, &f.station, &f.robot_type, &f.from, &f.to, &f.only_approved], &within.values);
        given.push(&at);
        given.push(&id);
        given.push(&limit);
        let rows = self.query_pinned(&statement, &typed(&statement, &given)).await?;
        Ok(rows.iter().map(Comparable::from_row).collect::<Result<_, _>>()?)
    }

    pub async fn comparable_count(&self, scope: &Scope, filter: &ComparedFilter) -> Result<u64, ReadError> {
        let f = filter;
        let within = HOME.within(scope, PARAMETERS);
        let statement = count(&within.sql);
        let given = with(&[&f.sop, &f.station, &f.robot_type, &f.from, &f.to, &f.only_approved], &within.values);
        let rows = self.query_planned(&statement, &typed(&statement, &given)).await?;
        let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
        Ok(count.unsigned_abs())
    }

    /// When the first or the last of them was verified.
    pub async fn end_of_comparable(&self, scope: &Scope, filter: &ComparedFilter, newest: bool) -> Result<Option<Timestamp>, ReadError> {
        let f = filter;
        let within = HOME.within(scope, PARAMETERS);
        let statement = if newest { last(&within.sql) } else { first(&within.sql) };
        let given = with(&[&f.sop, &f.station, &f.robot_type, &f.from, &f.to, &f.only_approved], &within.values);
        let rows = self.query_pinned(&statement, &typed(&statement, &given)).await?;
        let found = rows.first().map(At::from_row).transpose()?;
        Ok(found.map(|found| found.created_at))
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("episodes to compare", page("", 0, false)),
        ("episodes to compare, by station", page("", 0, true)),
        ("episodes to compare, counted", count("")),
        ("first episode to compare", first("")),
        ("last episode to compare", last("")),
    ]
}
