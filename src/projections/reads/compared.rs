//! Episodes with their facts, a page at a time, for comparing them with each other.

use super::error::ReadError;
use super::list::typed;
use super::queries::{Reads, with};
use super::row::{FromRow, row};
use super::selection::HOME;
use crate::domain::episode::QaStatus;
use crate::domain::{EpisodeId, RobotTypeId, Scope, SopId, StationId, Timestamp};
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

/// Which episodes; one of procedure and station is given, and lists have an index for each. What is not given excludes nothing.
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

const MATCHES: &str = "($1::bigint is null or e.sop_id = $1) and ($2::bigint is null or e.station_id = $2) \
     and ($3::bigint is null or e.station_id = any (array(select s.id from stations s join robots r on r.id = s.robot_id where r.robot_type_id = $3))) \
     and ($4::timestamptz is null or e.created_at >= $4) and ($5::timestamptz is null or e.created_at < $5 + interval '1 second') \
     and (not $6::boolean or e.qa_status in ('approved', 'inspector_approved'))";
const PARAMETERS: usize = 6;

fn page(within: &str, further: usize) -> String {
    let (columns, n) = (Comparable::columns(), PARAMETERS + further);
    format!(
        "select {columns} from episodes e left join episode_facts f on f.id = e.id where {MATCHES}{within} \
         and (${}::timestamptz is null or (e.created_at, e.id) < (${}, ${}::bigint)) order by e.created_at desc, e.id desc limit ${}::bigint",
        n + 1,
        n + 1,
        n + 2,
        n + 3
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
        let statement = page(&within.sql, within.values.len());
        let (at, id) = behind.unzip();
        let mut given = with(&[&f.sop, &f.station, &f.robot_type, &f.from, &f.to, &f.only_approved], &within.values);
        given.push(&at);
        given.push(&id);
        given.push(&limit);
        let rows = self.query_planned(&statement, &typed(&statement, &given)).await?;
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
        let found: Option<At> = self.row_planned(&statement, &given).await?;
        Ok(found.map(|found| found.created_at))
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("episodes to compare", page("", 0)),
        ("episodes to compare, counted", count("")),
        ("first episode to compare", first("")),
        ("last episode to compare", last("")),
    ]
}
