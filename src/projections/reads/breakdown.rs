//! How many tasks there are of each scene, or of each SOP.

use super::error::ReadError;
use super::home::{Home, Within};
use super::list::{Listed, Page};
use super::queries::{Reads, with};
use super::row::{FromRow, row};
use crate::domain::task::TaskStatus;
use crate::domain::{CollectorId, Scope, StationId, Timestamp};

row! {
    BreakdownRow {
        id: i64 = "g.id",
        name: String = "g.name",
        count: i64 = "g.count",
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dimension {
    #[default]
    Scene,
    Sop,
}

#[derive(Clone, Debug, Default)]
pub struct BreakdownFilter {
    pub dimension: Dimension,
    pub status: Option<TaskStatus>,
    /// Created at this instant or later.
    pub from: Option<Timestamp>,
    /// Created before this instant.
    pub until: Option<Timestamp>,
    /// `Some(None)`: asked for by something that is no number, so there is nothing.
    pub station: Option<Option<StationId>>,
    /// Only what was given to workstations this collector was ever bound to.
    pub collector: Option<CollectorId>,
}

const HOME: Home = Home::Organization { factory: "t.factory_id", organization: "t.organization_id" };
/// Of the groups, without their scope.
const PARAMETERS: usize = 5;

/// Names are those that scenes and SOPs have now; where there is none, the number stands for it.
fn groups(dimension: Dimension, within: &str) -> String {
    let (key, name, from) = match dimension {
        Dimension::Scene => (
            "t.scene_id",
            "coalesce(nullif(max(coalesce(sc.name, t.scene_name)), ''), '场景 #' || t.scene_id, '未分类')",
            "tasks t left join scenes sc on sc.id = t.scene_id",
        ),
        Dimension::Sop => (
            "t.sop_id",
            "coalesce(max(p.slug || coalesce(' @ ' || nullif(p.sop_version, ''), '')), 'SOP #' || t.sop_id, '未分类')",
            "tasks t left join sops p on p.id = t.sop_id",
        ),
    };
    format!(
        "select {key} as id, {name} as name, count(*) as count from {from} \
         where ($1::text is null or t.status = $1) and ($2::timestamptz is null or t.created_at >= $2) \
           and ($3::timestamptz is null or t.created_at < $3) and ($4::bigint is null or t.station_id = $4) \
           and ($5::bigint is null or t.station_id in (select s.id from stations s where s.data_collector_id = $5)){within} group by {key}"
    )
}

fn page(dimension: Dimension, within: &Within) -> String {
    let (columns, limit) = (BreakdownRow::columns(), PARAMETERS + within.values.len() + 1);
    format!(
        "select {columns} from ({}) g order by g.count desc, g.name, g.id limit ${limit}::bigint offset ${}::bigint",
        groups(dimension, &within.sql),
        limit + 1
    )
}

fn count(dimension: Dimension, within: &Within) -> String {
    format!("select count(*) as count from ({}) g", groups(dimension, &within.sql))
}

impl Reads {
    pub async fn breakdown(&self, scope: &Scope, filter: &BreakdownFilter, at: Page) -> Result<Listed<BreakdownRow>, ReadError> {
        let station = match filter.station {
            Some(None) => return Ok(Listed::NOTHING),
            Some(Some(id)) => Some(id),
            None => None,
        };
        let f = filter;
        let within = HOME.within(scope, PARAMETERS);
        let parameters = with(&[&f.status, &f.from, &f.until, &station, &f.collector], &within.values);
        let rows = self.rows(&page(f.dimension, &within), &[&parameters[..], &[&at.limit, &at.offset]].concat()).await?;
        let total = self.number(&count(f.dimension, &within), &parameters).await?;
        Ok(Listed { rows, total, next: None })
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    let all = Within::default();
    vec![
        ("tasks by scene", page(Dimension::Scene, &all)),
        ("tasks by scene, counted", count(Dimension::Scene, &all)),
        ("tasks by SOP", page(Dimension::Sop, &all)),
        ("tasks by SOP, counted", count(Dimension::Sop, &all)),
    ]
}
