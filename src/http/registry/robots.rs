//! `/robots`: robots.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{changed, deleted};
use crate::commands::Context;
use crate::commands::registry::{CreateRobot, RetireRobot, RobotChange};
use crate::commands::tasks::FailTasksOfRobot;
use crate::domain::{DeviceId, FactoryId, RobotId, RobotTypeId, Scope, registry};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::{Json, Params, PathId, parse_bool};
use crate::http::fields::{GivenId, MayBeEmpty, Name, emptied_by_null, given_or_null};
use crate::http::made::Made;
use crate::http::platform;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::tasks::Ending;
use crate::http::wire::{Paged, TextId, WholeSecond, present};
use crate::http::words::RobotStatusWord;
use crate::projections::reads::registry::{RobotFilter, RobotShown};

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::READ, routes!(list))
        .at(Policy::MANAGE.keyed(), routes!(create))
        .at(Policy::READ, routes!(get))
        .at(Policy::MANAGE, routes!(change))
        .at(Policy::MANAGE, routes!(delete))
        .at(Policy::MANAGE.keyed(), routes!(retire))
}

type AssetId = MayBeEmpty<100>;

/// `connected=true,false` and the like, as a set.
fn connected_filter(params: &Params) -> Result<Option<bool>, Problem> {
    let Some(items) = params.list(&["connected"])? else { return Ok(None) };
    let wanted: Option<Vec<bool>> = items.iter().map(|item| parse_bool(item)).collect();
    let wanted = wanted.ok_or_else(|| Problem::of_field("connected", "must be true or false"))?;
    Ok(if wanted.contains(&true) && wanted.contains(&false) { None } else { wanted.first().copied() })
}

/// A robot.
#[derive(Debug, Serialize, ToSchema)]
pub struct Robot {
    /// Names it in other requests.
    id: TextId,
    /// Its type.
    robot_type_id: TextId,
    /// The name of its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    robot_type_name: Option<String>,
    /// The model of its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    robot_type_model: Option<String>,
    /// Under this its programs connect.
    device_id: String,
    /// The factory that it stands in.
    factory_id: TextId,
    /// The name of that factory.
    #[serde(skip_serializing_if = "Option::is_none")]
    factory_name: Option<String>,
    /// The slug of that factory.
    #[serde(skip_serializing_if = "Option::is_none")]
    factory_slug: Option<String>,
    /// The device that the data platform knows it as; where recordings go to no gateway, what its owners number it as.
    #[serde(skip_serializing_if = "Option::is_none")]
    asset_id: Option<String>,
    /// Whether it is in service.
    #[schema(value_type = RobotStatusWord)]
    status: &'static str,
    /// Whatever is kept with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    /// When it was registered.
    created_at: WholeSecond,
    /// When it was changed last.
    updated_at: WholeSecond,
    /// Both sockets are up, right now.
    connected: bool,
    /// Since when both sockets are up; missing while one is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_at: Option<WholeSecond>,
}

impl Robot {
    pub(super) fn asset_id(&self) -> Option<&str> {
        self.asset_id.as_deref()
    }

    fn of(row: RobotShown) -> Self {
        Self {
            connected: row.connected_at.is_some(),
            connected_at: row.connected_at.map(WholeSecond),
            id: TextId(row.id.0),
            robot_type_id: TextId(row.own.robot_type_id.0),
            robot_type_name: row.robot_type_name,
            robot_type_model: row.robot_type_model,
            device_id: row.own.device_id.into(),
            factory_id: TextId(row.own.factory_id.0),
            factory_name: row.factory_name,
            factory_slug: row.factory_slug,
            asset_id: row.own.asset_id,
            status: row.own.status.as_str(),
            metadata: present(Some(row.own.metadata)),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// Robots, newest first.
#[utoipa::path(get, path = "/api/v1/robots", tag = "registry", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("factory_id" = Option<String>, Query),
    ("robot_type_id" = Option<String>, Query),
    ("status" = Option<String>, Query),
    ("device_id" = Option<String>, Query),
    ("connected" = Option<String>, Query),
    ("keyword" = Option<String>, Query, description = "Also `q`, `search`"),
), responses((status = 200, body = Paged<Robot>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<Robot>>, Problem> {
    let page = params.page_to_100()?;
    let filter = RobotFilter {
        factory_ids: params.id_list(&["factory_id"], FactoryId)?,
        robot_type_ids: params.id_list(&["robot_type_id"], RobotTypeId)?,
        statuses: params.list(&["status"])?,
        device_ids: params.list(&["device_id"])?,
        connected: connected_filter(&params)?,
        keyword: params.keyword(),
    };
    let listed = state.reads.robots(&caller.scope, &filter, page).await?;
    Ok(Json(Paged::new(listed.map(Robot::of), &page)))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewRobot {
    /// Its type.
    robot_type_id: GivenId,
    /// The factory that it stands in.
    factory_id: GivenId,
    /// Unique; under this its programs connect. 1 to 100 of `A-Z a-z 0-9 . _ -`, and no dot at first.
    device_id: Name,
    /// The device that the data platform knows it as: one that is ready, and that no other robot is bound to. Where recordings go to no gateway,
    /// or its configuration is not there yet, any text is taken, as what its owners number it as.
    asset_id: Option<AssetId>,
    /// Any JSON that is kept with it.
    metadata: Option<Value>,
}

fn device(id: &str) -> Result<DeviceId, Problem> {
    DeviceId::parse(id).map_err(|error| Problem::of_field("device_id", error))
}

impl TryFrom<NewRobot> for CreateRobot {
    type Error = Problem;

    fn try_from(new: NewRobot) -> Result<Self, Problem> {
        Ok(Self {
            robot_type_id: RobotTypeId(new.robot_type_id.0),
            factory_id: FactoryId(new.factory_id.0),
            device_id: device(&new.device_id.0)?,
            asset_id: MayBeEmpty::said(new.asset_id),
            binds_asset: false,
            metadata: new.metadata.unwrap_or_else(|| json!({})),
        })
    }
}

/// Register a robot.
#[utoipa::path(post, path = "/api/v1/robots", tag = "registry", request_body = NewRobot, responses(
    (status = 201, body = Robot),
    (status = 400, description = "A field is missing or wrong, a parent is unknown, a name is taken, or the data platform has no such device ready"),
    (status = 409, description = "Another robot is bound to the asset"),
    (status = 503, description = "The configuration of the data platform is wrong"),
))]
pub async fn create(State(state): State<AppState>, caller: Caller, Json(new): Json<NewRobot>) -> Result<Made<Robot>, Problem> {
    let mut command = CreateRobot::try_from(new)?;
    if let Some(asset_id) = &command.asset_id {
        command.binds_asset = platform::has_asset(&state, asset_id).await?;
    }
    let id = state.commands.execute(&caller.context(), command).await?;
    Ok(Made::created(TextId(id.0), found(&state, &caller.scope, id)).await)
}

/// A robot.
#[utoipa::path(get, path = "/api/v1/robots/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 200, body = Robot),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<Json<Robot>, Problem> {
    Ok(Json(found(&state, &caller.scope, RobotId(id)).await?))
}

pub(super) async fn found(state: &AppState, scope: &Scope, id: RobotId) -> Result<Robot, Problem> {
    state.reads.robot(scope, id).await?.map(Robot::of).ok_or_else(|| Problem::not_found("robot"))
}

/// Take a robot out of service. Its tasks that have not ended fail with this reason, a recorder that holds one is told to
/// let go, its workstation is free for another pair, and it is given no more work. What it has recorded it may still upload.
/// Asked again, it ends what has been left.
#[utoipa::path(post, path = "/api/v1/robots/{id}/retire", tag = "registry", params(("id" = i64, Path)), request_body = Ending, responses(
    (status = 200, body = Robot),
    (status = 400, description = "No reason, or one that is too long"),
    (status = 404, description = "There is none"),
))]
pub async fn retire(State(state): State<AppState>, caller: Caller, id: PathId, Json(ending): Json<Ending>) -> Result<Made<Robot>, Problem> {
    let robot_id = RobotId(id.positive()?);
    let reason = ending.reason();
    let robot = found(&state, &caller.scope, robot_id).await?;
    state.commands.execute(&caller.context(), RetireRobot { robot_id, reason: reason.clone() }).await?;
    // Order by order, each by itself. Where this breaks off, there is no answer, and the request comes again.
    let steps = Context { idempotency: None, ..caller.context() };
    let reason = format!("the robot {} was retired: {reason}", robot.device_id);
    loop {
        let orders = state.reads.orders_with_tasks_of(robot_id).await?;
        if orders.is_empty() {
            return Ok(Made::read(StatusCode::OK, json!({ "id": TextId(robot_id.0) }), found(&state, &caller.scope, robot_id)).await);
        }
        for order_id in orders {
            state.commands.execute(&steps, FailTasksOfRobot { robot_id, order_id, reason: reason.clone() }).await?;
        }
    }
}

/// What is to be another one; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ChangedRobot {
    /// Its type.
    robot_type_id: Option<GivenId>,
    /// The factory that it stands in. While it is bound to a workstation it stays there.
    factory_id: Option<GivenId>,
    /// Unique; under this its programs connect. While they are connected it stays.
    device_id: Option<Name>,
    /// Whether it is in service.
    status: Option<RobotStatusWord>,
    /// Any JSON that is kept with it; `null` empties it.
    #[serde(default, deserialize_with = "emptied_by_null")]
    metadata: Option<Value>,
    /// Bound and unbound by itself: a change that names it is refused.
    #[serde(default, deserialize_with = "given_or_null")]
    #[schema(ignore)]
    asset_id: Option<Value>,
}

impl TryFrom<ChangedRobot> for RobotChange {
    type Error = Problem;

    fn try_from(body: ChangedRobot) -> Result<Self, Problem> {
        if body.asset_id.is_some() {
            return Err(Problem::of_field("asset_id", "is changed by PUT and DELETE of /robots/{id}/cloud-asset"));
        }
        Ok(Self {
            robot_type_id: body.robot_type_id.map(|id| RobotTypeId(id.0)),
            factory_id: body.factory_id.map(|id| FactoryId(id.0)),
            device_id: body.device_id.map(|id| device(&id.0)).transpose()?,
            status: body.status.map(|status| status.0),
            metadata: body.metadata,
        })
    }
}

/// Change a robot.
#[utoipa::path(put, path = "/api/v1/robots/{id}", tag = "registry", params(("id" = i64, Path)), request_body = ChangedRobot, responses(
    (status = 200, body = Robot),
    (status = 400, description = "A field is wrong, nothing is to be changed, a parent is unknown, or a name is taken"),
    (status = 404, description = "There is none"),
    (status = 409, description = "It is connected, has tasks that have not ended, or is bound to a workstation, and cannot become this meanwhile; or its asset is bound to another robot"),
))]
pub async fn change(
    State(state): State<AppState>,
    caller: Caller,
    PathId(id): PathId,
    Json(body): Json<ChangedRobot>,
) -> Result<Made<Robot>, Problem> {
    changed::<registry::Robot>(&state, &caller, id, RobotChange::try_from(body)?).await?;
    Ok(Made::read(StatusCode::OK, json!({ "id": TextId(id) }), found(&state, &caller.scope, RobotId(id))).await)
}

/// Delete a robot that nothing needs.
#[utoipa::path(delete, path = "/api/v1/robots/{id}", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is none"),
    (status = 409, description = "It is or was bound to a workstation"),
))]
pub async fn delete(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<StatusCode, Problem> {
    deleted::<registry::Robot>(&state, &caller, id).await
}
