//! Workstations: binding versions of one robot and one data collector.

use serde_json::Value;

use super::error::ReadError;
use super::home::Home;
use super::keyword::{Keyword, ranked};
use super::list::{ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::station::StationStatus;
use crate::domain::{CollectorId, FactoryId, OrganizationId, RobotTypeId, Scope, StationId};
use crate::projections::rows::registry::StationRow;

row! {
    StationShown of StationRow as "w" {
        robot_type_id: RobotTypeId = "y.id",
        robot_type_name: String = "y.name",
        robot_type_model: String = "y.model",
        robot_type_capabilities: Value = "y.capabilities",
        factory_name: String = "f.name",
        organization_name: String = "g.name",
    }
}

#[derive(Clone, Debug, Default)]
pub struct StationFilter {
    pub factory_ids: Option<Vec<FactoryId>>,
    pub organization_ids: Option<Vec<OrganizationId>>,
    pub robot_type_ids: Option<Vec<RobotTypeId>>,
    pub device_ids: Option<Vec<String>>,
    pub collector_names: Option<Vec<String>>,
    pub collector_operator_ids: Option<Vec<String>>,
    pub statuses: Option<Vec<StationStatus>>,
    pub keyword: Option<String>,
}

/// A station is invisible while one of these is gone.
const FROM: &str = "stations w join robots r on r.id = w.robot_id join robot_types y on y.id = r.robot_type_id \
                    join factories f on f.id = w.factory_id join organizations g on g.id = w.organization_id";

const HOME: Home = Home::Organization { factory: "w.factory_id", organization: "w.organization_id" };

fn list() -> ListQuery {
    let keyword = Keyword::over(8, &["w.name", "w.robot_serial", "w.collector_operator_id", "w.robot_name", "w.collector_name"]);
    ListQuery {
        from: FROM,
        matches: format!(
            "w.is_current and ($1::bigint[] is null or w.factory_id = any($1)) \
             and ($2::bigint[] is null or w.organization_id = any($2)) and ($3::bigint[] is null or y.id = any($3)) \
             and ($4::text[] is null or comparable(w.robot_serial) = any(comparable_all($4))) and ($5::text[] is null or comparable(w.collector_name) = any(comparable_all($5))) \
             and ($6::text[] is null or comparable(w.collector_operator_id) = any(comparable_all($6))) and ($7::text[] is null or w.status = any($7)) and {}",
            keyword.matches
        ),
        order: ranked(&keyword, [Key::down(KeyType::Number, "w.id")]),
        parameters: 8,
        counted: None,
        home: HOME,
    }
}

fn get() -> String {
    format!("select {} from {FROM} where w.id = $1", StationShown::columns())
}

fn by_id() -> ListQuery {
    ListQuery {
        from: FROM,
        matches: "w.id = any ($1::bigint[])".into(),
        order: vec![Key::up(KeyType::Number, "w.id")],
        parameters: 1,
        counted: None,
        home: HOME,
    }
}

fn current_of_collector() -> String {
    format!("select {} from {FROM} where w.data_collector_id = $1 and w.is_current", StationShown::columns())
}

impl Reads {
    pub async fn station(&self, scope: &Scope, id: StationId) -> Result<Option<StationShown>, ReadError> {
        self.seen(scope, HOME, get(), &[&id]).await
    }

    /// Those of these that there are, current or not.
    pub async fn stations_by_id(&self, scope: &Scope, ids: &[StationId]) -> Result<Vec<StationShown>, ReadError> {
        Ok(self.listed(scope, by_id(), &[&ids], Page::ALL).await?.rows)
    }

    pub async fn current_station_of(&self, collector: CollectorId) -> Result<Option<StationShown>, ReadError> {
        self.row(&current_of_collector(), &[&collector]).await
    }

    pub async fn stations(&self, scope: &Scope, filter: &StationFilter, page: Page) -> Result<Listed<StationShown>, ReadError> {
        let f = filter;
        self.listed(
            scope,
            list(),
            &[
                &f.factory_ids,
                &f.organization_ids,
                &f.robot_type_ids,
                &f.device_ids,
                &f.collector_names,
                &f.collector_operator_ids,
                &f.statuses,
                &f.keyword,
            ],
            page,
        )
        .await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("station", get()),
        ("current station of a collector", current_of_collector()),
        ("stations", list().select(&StationShown::columns())),
        ("stations, counted", list().count()),
        ("stations by their ids", by_id().select(&StationShown::columns())),
        ("stations by their ids, counted", by_id().count()),
    ]
}
