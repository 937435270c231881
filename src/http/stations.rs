//! `/stations`: workstations, each one binding of a robot and a data collector.

use axum::extract::State;
use axum::http::StatusCode;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::extract::{Json, Params, PathId, word};
use super::fields::{GivenId, emptied_by_null};
use super::made::Made;
use super::policy::Policy;
use super::problem::Problem;
use super::registry::asked;
use super::routes::Routes;
use super::wire::{Paged, TextId, WholeSecond};
use super::words::StationStatusWord;
use crate::commands::registry::{BindStation, ChangeStation, UnbindStation};
use crate::domain::station::StationStatus;
use crate::domain::{CollectorId, FactoryId, OrganizationId, RobotId, RobotTypeId, Scope, StationId};
use crate::projections::reads::stations::{StationFilter, StationShown};

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ, routes!(list))
        .at(Policy::MANAGE.keyed(), routes!(bind))
        .at(Policy::READ.reading(), routes!(look_up))
        .at(Policy::READ, routes!(get))
        .at(Policy::MANAGE, routes!(change))
        .at(Policy::MANAGE, routes!(unbind))
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

/// What is to be another one; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ChangedStation {
    /// The robot that is bound from now on. Also as `robot_<id>`.
    #[serde(default, deserialize_with = "maybe_robot")]
    #[schema(value_type = Option<GivenId>)]
    robot_id: Option<i64>,
    /// The data collector who is bound from now on. Also as `dc_<id>`.
    #[serde(default, deserialize_with = "maybe_collector")]
    #[schema(value_type = Option<GivenId>)]
    data_collector_id: Option<i64>,
    /// What it is doing: `active`, `inactive`, `break` or `offline`.
    #[schema(value_type = Option<StationStatusWord>)]
    status: Option<String>,
    /// Any JSON that is kept with it; `null` empties it.
    #[serde(default, deserialize_with = "emptied_by_null")]
    metadata: Option<Value>,
}

fn maybe<'de, D: Deserializer<'de>>(deserializer: D, prefix: &str) -> Result<Option<i64>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        given => unprefixed(given, prefix).map(Some).map_err(D::Error::custom),
    }
}

fn maybe_robot<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    maybe(deserializer, "robot_")
}

fn maybe_collector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    maybe(deserializer, "dc_")
}

fn status(given: &str) -> Result<StationStatus, Problem> {
    let known: Vec<&str> = StationStatus::ALL.iter().map(|status| status.as_str()).collect();
    word("status", given.trim()).map_err(|problem: Problem| problem.with("valid", known).with("actual", given))
}

/// Say what a workstation is doing, or bind it to another robot or data collector: then the answer is the binding that is current now.
#[utoipa::path(put, path = "/api/v1/stations/{id}", tag = "registry", params(("id" = i64, Path)), request_body = ChangedStation, responses(
    (status = 200, body = Station),
    (status = 400, description = "A field is wrong, nothing is to be changed, or robot or collector is unknown, not active, or of another factory"),
    (status = 404, description = "There is none, or it is not current"),
    (status = 409, description = "Robot or collector is bound elsewhere: `error` is ROBOT_ALREADY_ASSIGNED or DATA_COLLECTOR_ALREADY_ASSIGNED"),
))]
pub async fn change(
    State(state): State<AppState>,
    caller: Caller,
    PathId(id): PathId,
    Json(body): Json<ChangedStation>,
) -> Result<Made<Station>, Problem> {
    let change = ChangeStation {
        id: StationId::default(),
        robot_id: body.robot_id.map(RobotId),
        data_collector_id: body.data_collector_id.map(CollectorId),
        status: body.status.as_deref().map(status).transpose()?,
        metadata: body.metadata,
    };
    let change = ChangeStation { id: StationId(id), ..asked(change)? };
    let id = state.commands.execute(&caller.context(), change).await?;
    Ok(Made::read(StatusCode::OK, json!({ "id": TextId(id.0) }), found(&state, &caller.scope, id)).await)
}

/// Unbind a workstation that has no work left. What was made under it keeps pointing at it.
#[utoipa::path(delete, path = "/api/v1/stations/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 204, description = "It is history"),
    (status = 404, description = "There is none, or it is not current"),
    (status = 409, description = "Batches of it are pending or active"),
))]
pub async fn unbind(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<StatusCode, Problem> {
    state.commands.execute(&caller.context(), UnbindStation(StationId(id))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Workstations that a person looks for.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Wanted {
    /// Ids as numbers or texts, also as `ws_<id>`. What is none is left out, and so is what comes after the first 500.
    #[serde(default)]
    workstation_ids: Option<Vec<Value>>,
}

const LOOKED_UP_MAX: usize = 500;

impl Wanted {
    fn ids(&self) -> Vec<StationId> {
        let mut ids: Vec<StationId> = vec![];
        for item in self.workstation_ids.iter().flatten() {
            let id = match item {
                Value::String(text) => {
                    let text = text.trim();
                    text.strip_prefix("ws_").or_else(|| text.strip_prefix("WS_")).unwrap_or(text).parse().ok()
                }
                other => other.as_i64(),
            };
            let id = id.filter(|id| *id > 0).map(StationId);
            if let Some(id) = id.filter(|id| !ids.contains(id)) {
                ids.push(id);
            }
            if ids.len() == LOOKED_UP_MAX {
                break;
            }
        }
        ids
    }
}

/// A workstation as it is named elsewhere.
#[derive(Debug, Serialize, ToSchema)]
pub struct NamedStation {
    /// Names it in other requests.
    id: TextId,
    /// Its robot.
    robot_id: TextId,
    /// Who operates the robot.
    data_collector_id: TextId,
    /// The factory that it stands in.
    factory_id: TextId,
    /// For people.
    name: String,
    /// What it is doing.
    #[schema(value_type = StationStatusWord)]
    status: &'static str,
    /// The name of the robot's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    robot_name: Option<String>,
    /// The robot's device id.
    #[serde(skip_serializing_if = "Option::is_none")]
    robot_serial: Option<String>,
    /// The collector's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    collector_name: Option<String>,
    /// Their login name.
    #[serde(skip_serializing_if = "Option::is_none")]
    collector_operator_id: Option<String>,
    /// Never: what was unbound is history, and stays.
    deleted: bool,
}

impl From<Station> for NamedStation {
    fn from(station: Station) -> Self {
        Self {
            id: station.id,
            robot_id: station.robot_id,
            data_collector_id: station.data_collector_id,
            factory_id: station.factory_id,
            name: station.name,
            status: station.status,
            robot_name: station.robot_name,
            robot_serial: station.robot_serial,
            collector_name: station.collector_name,
            collector_operator_id: station.collector_operator_id,
            deleted: false,
        }
    }
}

/// Workstations that were found.
#[derive(Debug, Serialize, ToSchema)]
pub struct FoundStations {
    /// Current ones and others, in no order. What is unknown is not among them.
    stations: Vec<NamedStation>,
}

/// Names for ids of workstations, current or not.
#[utoipa::path(post, path = "/api/v1/stations/lookup", tag = "registry", request_body = Wanted, responses(
    (status = 200, body = FoundStations),
    (status = 400, description = "The body is no list of ids"),
))]
pub async fn look_up(State(state): State<AppState>, caller: Caller, Json(wanted): Json<Wanted>) -> Result<Json<FoundStations>, Problem> {
    let found = state.reads.stations_by_id(&caller.scope, &wanted.ids()).await?;
    Ok(Json(FoundStations { stations: found.into_iter().map(|row| Station::from(row).into()).collect() }))
}

async fn found(state: &AppState, scope: &Scope, id: StationId) -> Result<Station, Problem> {
    state.reads.station(scope, id).await?.map(Station::from).ok_or_else(|| Problem::not_found("station"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_id_of_a_workstation_is_left_out() {
        let ids = |items: Value| Wanted { workstation_ids: items.as_array().cloned() }.ids();
        let three = [1, 2, 3].map(StationId).to_vec();
        assert_eq!(ids(json!(["ws_1", 2, " WS_3 ", "2", 0, -4, "x", null, 1.5, {}])), three);
        assert_eq!(ids(json!((1..=600).collect::<Vec<i64>>())).len(), LOOKED_UP_MAX);
        assert_eq!(ids(Value::Null), vec![]);
    }

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
