//! `/robots/cloud-asset-options`, `/robots/{id}/cloud-asset`: which device of the data platform a robot is.
//!
//! For administrators, like all of `/sync`: what a recording is pushed as, it stays. The configuration of the platform is read for each request.

use axum::extract::State;
use axum::http::StatusCode;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::routes;

use super::robots::{Robot, found};
use crate::cloud::platform::DEVICE_ID_CHARS_MAX;
use crate::commands::registry::{BindAsset, UnbindAsset};
use crate::domain::RobotId;
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::{Json, Params, PathId};
use crate::http::fields::{Text, field};
use crate::http::made::Made;
use crate::http::platform;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::wire::TextId;

pub fn routes() -> Routes {
    let policy = Policy::MANAGE.closed();
    Routes::default().at(policy, routes!(options)).at(policy.keyed(), routes!(bind)).at(policy.keyed(), routes!(unbind))
}

/// A device of the data platform.
#[derive(Debug, Serialize, ToSchema)]
pub struct CloudAssetOption {
    /// What a robot is bound to as `asset_id`.
    device_id: String,
}

/// Assets that a robot can be bound to.
#[derive(Debug, Serialize, ToSchema)]
pub struct CloudAssetOptions {
    /// All of them, ascending.
    items: Vec<CloudAssetOption>,
}

/// Devices of the data platform that a robot can be bound to: those that something can be uploaded for, without those that live robots are bound to.
#[utoipa::path(get, path = "/api/v1/robots/cloud-asset-options", tag = "registry", params(
    ("robot_id" = Option<i64>, Query, description = "The robot that is to be bound: without the asset that it has"),
    ("q" = Option<String>, Query, description = "A part of the device's id, in any case"),
), responses(
    (status = 200, body = CloudAssetOptions),
    (status = 400, description = "A robot_id that is none"),
    (status = 404, description = "There is no such robot"),
    (status = 503, description = "Recordings go to no gateway, or the configuration of the data platform is missing or wrong"),
))]
pub async fn options(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<CloudAssetOptions>, Problem> {
    let mut bound = state.reads.bound_assets().await?;
    if let Some(id) = params.positive("robot_id")? {
        // A retired one is bound as well.
        bound.extend(found(&state, &caller.scope, RobotId(id)).await?.asset_id().map(str::to_owned));
    }
    let part = params.text("q").unwrap_or_default().to_lowercase();
    let platform = platform::known(&state).await?;
    let free = platform.ready().filter(|id| !bound.contains(*id) && id.to_lowercase().contains(&part));
    Ok(Json(CloudAssetOptions { items: free.map(|id| CloudAssetOption { device_id: id.to_owned() }).collect() }))
}

/// As the data platform takes it.
#[derive(Clone, Debug)]
pub struct AssetId(String);

type AssetText = Text<DEVICE_ID_CHARS_MAX>;

impl<'de> Deserialize<'de> for AssetId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(id) = AssetText::deserialize(deserializer)?;
        if id.chars().any(char::is_control) { Err(D::Error::custom("has a control character")) } else { Ok(Self(id)) }
    }
}

impl PartialSchema for AssetId {
    fn schema() -> RefOr<Schema> {
        AssetText::schema()
    }
}
field!(AssetId);

/// What a robot is to be bound to.
#[derive(Debug, Deserialize, ToSchema)]
pub struct CloudAsset {
    /// One of the options.
    asset_id: AssetId,
}

/// Bind a robot to a device of the data platform, in place of the one before. Episodes made from now on have it in their metadata; what is pushed to the
/// platform is pushed as the asset that the robot has then. Without any check where the robot has it already.
#[utoipa::path(put, path = "/api/v1/robots/{id}/cloud-asset", tag = "registry", params(("id" = i64, Path)), request_body = CloudAsset, responses(
    (status = 200, body = Robot),
    (status = 400, description = "No asset_id, or one that the data platform does not have ready"),
    (status = 404, description = "There is no such robot"),
    (status = 409, description = "Another robot is bound to it, or this one is retired"),
    (status = 503, description = "Recordings go to no gateway, or the configuration of the data platform is missing or wrong"),
))]
pub async fn bind(State(state): State<AppState>, caller: Caller, id: PathId, Json(body): Json<CloudAsset>) -> Result<Made<Robot>, Problem> {
    let (robot_id, AssetId(asset_id)) = (RobotId(id.positive()?), body.asset_id);
    let robot = found(&state, &caller.scope, robot_id).await?;
    if robot.asset_id() == Some(&*asset_id) {
        return Ok(Made::Whole(StatusCode::OK, robot));
    }
    platform::must_be_ready(&platform::known(&state).await?, &asset_id)?;
    state.commands.execute(&caller.context(), BindAsset { robot_id, asset_id }).await?;
    Ok(changed(&state, &caller, robot_id).await)
}

/// Unbind a robot from its asset, which is free for another one. Without one, nothing changes.
#[utoipa::path(delete, path = "/api/v1/robots/{id}/cloud-asset", tag = "registry", params(("id" = i64, Path)), responses(
    (status = 200, body = Robot),
    (status = 404, description = "There is no such robot"),
))]
pub async fn unbind(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Made<Robot>, Problem> {
    let robot_id = RobotId(id.positive()?);
    state.commands.execute(&caller.context(), UnbindAsset(robot_id)).await?;
    Ok(changed(&state, &caller, robot_id).await)
}

async fn changed(state: &AppState, caller: &Caller, robot_id: RobotId) -> Made<Robot> {
    Made::read(StatusCode::OK, json!({ "id": TextId(robot_id.0) }), found(state, &caller.scope, robot_id)).await
}
