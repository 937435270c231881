//! Episodes with their facts, a page at a time, for judging them by other rules.

use super::error::ReadError;
use super::queries::{Reads, with};
use super::row::{FromRow, row};
use super::selection::HOME;
use crate::domain::judgement::Verdict;
use crate::domain::operator_word::OperatorWord;
use crate::domain::{EpisodeId, OrderId, RobotTypeId, Scope, SopId, StationId, Timestamp};
use crate::projections::packed_facts::PackedFacts;

row! {
    /// An episode that can be judged again.
    Judgeable {
        id: EpisodeId = "e.id",
        episode_id: String = "e.episode_id",
        order_id: OrderId = "e.order_id",
        station_id: StationId = "e.station_id",
        sop_id: SopId = "e.sop_id",
        robot_type_id: Option<RobotTypeId> = "r.robot_type_id",
        robot_serial: Option<String> = "w.robot_serial",
        verdict: Option<Verdict> = "e.verdict",
        word: Option<OperatorWord> = "e.operator_word",
        packed: Option<PackedFacts> = "f.packed",
    }
}

row! {
    /// An episode, and the first of the earlier ones that have the same content.
    Twins {
        id: EpisodeId = "e.id",
        twin: String = "d.episode_id",
    }
}

fn twins() -> String {
    format!(
        "select {} from episodes e cross join lateral (select t.episode_id from episodes t where t.checksum = e.checksum and t.id < e.id \
         order by t.id limit 1) d where e.id = any ($1)",
        Twins::columns()
    )
}

row! {
    FactsOfEpisode {
        packed: PackedFacts = "f.packed",
    }
}

fn facts() -> String {
    format!("select {} from episode_facts f where f.id = $1", FactsOfEpisode::columns())
}

/// Which episodes. What is not given excludes nothing.
#[derive(Clone, Debug, Default)]
pub struct HistoryFilter {
    pub order: Option<OrderId>,
    pub station: Option<StationId>,
    pub sop: Option<SopId>,
    pub robot_type: Option<RobotTypeId>,
    pub robot: Option<String>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

const FROM: &str = "episodes e left join episode_facts f on f.id = e.id left join stations w on w.id = e.station_id \
                    left join robots r on r.id = w.robot_id";

const MATCHES: &str = "($1::bigint is null or e.order_id = $1) and ($2::bigint is null or e.station_id = $2) and ($3::bigint is null or e.sop_id = $3) \
     and ($4::bigint is null or e.station_id = any (array(select s.id from stations s join robots r on r.id = s.robot_id where r.robot_type_id = $4))) \
     and ($5::text is null or e.station_id = any (array(select s.id from stations s where comparable(s.robot_serial) = comparable($5)))) \
     and ($6::timestamptz is null or e.created_at >= $6) and ($7::timestamptz is null or e.created_at < $7 + interval '1 second')";

fn page(within: &str) -> String {
    let columns = Judgeable::columns();
    format!("select {columns} from {FROM} where {MATCHES} and e.id < $8::bigint{within} order by e.id desc limit $9::bigint")
}

impl Reads {
    /// The newest; none where nothing was measured.
    pub async fn facts_of(&self, episode: EpisodeId) -> Result<Option<PackedFacts>, ReadError> {
        let row: Option<FactsOfEpisode> = self.row(&facts(), &[&episode]).await?;
        Ok(row.map(|row| row.packed))
    }

    /// Those of these episodes whose content an earlier one has.
    pub async fn twins(&self, ids: &[EpisodeId]) -> Result<Vec<Twins>, ReadError> {
        self.rows(&twins(), &[&ids]).await
    }

    /// The newest first, before this one.
    pub async fn judgeable(&self, scope: &Scope, filter: &HistoryFilter, before: i64, limit: i64) -> Result<Vec<Judgeable>, ReadError> {
        let f = filter;
        let within = HOME.within(scope, 9);
        let given = with(&[&f.order, &f.station, &f.sop, &f.robot_type, &f.robot, &f.from, &f.to, &before, &limit], &within.values);
        self.rows(&page(&within.sql), &given).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("episodes to judge again", page("")), ("facts of an episode", facts()), ("episodes with the content of others", twins())]
}
