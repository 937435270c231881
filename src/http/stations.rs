//! `/stations`: workstations, each one binding of a robot and a data collector.

use axum::extract::State;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::extract::{Json, Params, PathId, word};
use super::fields::GivenId;
use super::made::Made;
use super::policy::Policy;
use super::problem::Problem;
use super::routes::Routes;
use super::wire::{Paged, TextId, WholeSecond};
use super::words::StationStatusWord;
use crate::commands::registry::BindStation;
use crate::domain::{CollectorId, FactoryId, OrganizationId, RobotId, RobotTypeId, Scope, StationId};
use crate::projections::reads::stations::{StationFilter, StationShown};

pub fn routes() -> Routes {
    Routes::default().at(Policy::READ, routes!(list)).at(Policy::MANAGE.keyed(), routes!(bind)).at(Policy::READ, routes!(get))
}

/// One robot and one data collector, bound to each other.
#[derive(Debug, Serialize, ToSchema)]
pub struct Station {
    /// Names it in other requests.
    id: TextId,
    /// Its robot.
    robot_id: TextId,
    /// The name of the robot's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    robot_name: Option<String>,
    /// The robot's device id.
    #[serde(skip_serializing_if = "Option::is_none")]
    robot_serial: Option<String>,
    /// The robot's type.
    robot_type_id: TextId,
    /// The model of that type.
    robot_type_model: String,
    /// Who operates the robot.
    data_collector_id: TextId,
    /// Their name.
    #[serde(skip_serializing_if = "Option::is_none")]
    collector_name: Option<String>,
    /// Their login name.
    #[serde(skip_serializing_if = "Option::is_none")]
    collector_operator_id: Option<String>,
    /// The factory that it stands in.
    factory_id: TextId,
    /// The name of that factory.
    factory_name: String,
    /// The collector's organization.
    organization_id: TextId,
    /// The name of that organization.
    organization_name: String,
    /// What it is doing.
    #[schema(value_type = StationStatusWord)]
    status: &'static str,
    /// For people.
    name: String,
    /// False where the robot or the collector was bound anew.
    is_current: bool,
    /// The binding that came after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded_by: Option<TextId>,
    /// Whatever is kept with it.
    #[serde(skip_serializing_if = "Value::is_null")]
    metadata: Value,
    /// When the two were bound.
    created_at: WholeSecond,
    /// When it was changed last.
    updated_at: WholeSecond,
}

impl From<StationShown> for Station {
    fn from(row: StationShown) -> Self {
        let said = |text: String| (!text.is_empty()).then_some(text);
        Self {
            id: TextId(row.id.0),
            robot_id: TextId(row.own.robot_id.0),
            robot_name: said(row.own.robot_name),
            robot_serial: Some(row.own.robot_serial.into()),
            robot_type_id: TextId(row.robot_type_id.0),
            robot_type_model: row.robot_type_model,
            data_collector_id: TextId(row.own.data_collector_id.0),
            collector_name: row.own.collector_name.and_then(said),
            collector_operator_id: row.own.collector_operator_id.and_then(said),
            factory_id: TextId(row.own.factory_id.0),
            factory_name: row.factory_name,
            organization_id: TextId(row.own.organization_id.0),
            organization_name: row.organization_name,
            status: row.own.status.as_str(),
            name: row.own.name,
            is_current: row.own.is_current,
            superseded_by: row.own.superseded_by.map(|id| TextId(id.0)),
            metadata: row.own.metadata,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// Current workstations, newest first.
#[utoipa::path(get, path = "/api/v1/stations", tag = "registry", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("factory_id" = Option<String>, Query, description = "One or several, separated by commas; so are all filters here"),
    ("organization_id" = Option<String>, Query),
    ("robot_type_id" = Option<String>, Query),
    ("device_id" = Option<String>, Query, description = "Also `robot_serial`"),
    ("collector_name" = Option<String>, Query),
    ("collector_operator_id" = Option<String>, Query),
    ("status" = Option<String>, Query),
    ("keyword" = Option<String>, Query),
), responses((status = 200, body = Paged<Station>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<Station>>, Problem> {
    let page = params.page_to_100()?;
    let statuses = params.list(&["status"])?.map(|items| items.iter().map(|item| word("status", &item.to_lowercase())).collect());
    let filter = StationFilter {
        factory_ids: params.id_list(&["factory_id"], FactoryId)?,
        organization_ids: params.id_list(&["organization_id"], OrganizationId)?,
        robot_type_ids: params.id_list(&["robot_type_id"], RobotTypeId)?,
        device_ids: params.list(&["device_id", "robot_serial"])?,
        collector_names: params.list(&["collector_name"])?,
        collector_operator_ids: params.list(&["collector_operator_id"])?,
        statuses: statuses.transpose()?,
        keyword: params.keyword(),
    };
    let listed = state.reads.stations(&caller.scope, &filter, page).await?;
    Ok(Json(Paged::new(listed, &page)))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewStation {
    /// The robot, which no other station has. Also as `robot_<id>`.
    #[serde(deserialize_with = "robot")]
    #[schema(value_type = GivenId)]
    robot_id: i64,
    /// The data collector, whom no other station has. Also as `dc_<id>`.
    #[serde(deserialize_with = "collector")]
    #[schema(value_type = GivenId)]
    data_collector_id: i64,
    /// Any JSON that is kept with it.
    metadata: Option<Value>,
}

/// Some clients write `robot_7` for 7.
fn unprefixed<'de, D: Deserializer<'de>>(deserializer: D, prefix: &str) -> Result<i64, D::Error> {
    let id = match Value::deserialize(deserializer)? {
        Value::String(text) => Value::String(text.trim().strip_prefix(prefix).map(str::to_owned).unwrap_or(text)),
        other => other,
    };
    GivenId::deserialize(id).map(|id| id.0).map_err(D::Error::custom)
}

fn robot<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    unprefixed(deserializer, "robot_")
}

fn collector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    unprefixed(deserializer, "dc_")
}

impl From<NewStation> for BindStation {
    fn from(station: NewStation) -> Self {
        Self {
            robot_id: RobotId(station.robot_id),
            data_collector_id: CollectorId(station.data_collector_id),
            metadata: station.metadata.unwrap_or_else(|| json!({})),
        }
    }
}

/// Bind a robot and a data collector to a workstation.
#[utoipa::path(post, path = "/api/v1/stations", tag = "registry", request_body = NewStation, responses(
    (status = 201, body = Station),
    (status = 400, description = "Robot or collector is unknown, not active, or of another factory"),
    (status = 409, description = "Robot or collector is bound elsewhere: `error` is ROBOT_ALREADY_ASSIGNED or DATA_COLLECTOR_ALREADY_ASSIGNED"),
))]
pub async fn bind(State(state): State<AppState>, caller: Caller, Json(station): Json<NewStation>) -> Result<Made<Station>, Problem> {
    let id = state.commands.execute(&caller.context(), BindStation::from(station)).await?;
    Ok(Made::created(TextId(id.0), found(&state, &caller.scope, id)).await)
}

/// One workstation, current or not.
#[utoipa::path(get, path = "/api/v1/stations/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 200, body = Station),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<Json<Station>, Problem> {
    Ok(Json(found(&state, &caller.scope, StationId(id)).await?))
}

async fn found(state: &AppState, scope: &Scope, id: StationId) -> Result<Station, Problem> {
    state.reads.station(scope, id).await?.map(Station::from).ok_or_else(|| Problem::not_found("station"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixed_ids_are_understood() {
        let read = |body: Value| crate::http::extract::parse::<NewStation>(body.to_string().as_bytes()).map(BindStation::from);
        let bind = read(json!({ "robot_id": "robot_7", "data_collector_id": " dc_8 " })).unwrap();
        assert_eq!((bind.robot_id, bind.data_collector_id, bind.metadata), (RobotId(7), CollectorId(8), json!({})));
        let refused = read(json!({ "robot_id": 7, "data_collector_id": "dc_x" })).unwrap_err();
        assert_eq!(refused.detail(), "data_collector_id must be a positive integer, as number or as text");
        assert_eq!(read(json!({ "data_collector_id": 8 })).unwrap_err().detail(), "robot_id is required");
    }
}
