//! Who one is, where one works, and what one signs in with.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::routes;

use super::passwords::{Match, Of, PASSWORD_BYTES_MAX};
use super::{Caller, Identity, Role};
use crate::commands::accounts::{AccountChange, ChangeAccount};
use crate::commands::inspectors::{ChangeInspector, InspectorChange};
use crate::commands::registry::{AtStation, Change, DataCollectorChange, FollowCollector};
use crate::domain::account::AccountStatus;
use crate::domain::inspector::InspectorStatus;
use crate::domain::registry::{CollectorStatus, DataCollector};
use crate::domain::{AccountId, ApiKeyId, CollectorId, InspectorId, Scope};
use crate::http::AppState;
use crate::http::extract::Json;
use crate::http::fields::Password;
use crate::http::noted::Noted;
use crate::http::policy::Policy;
use crate::http::problem::{Code, Problem};
use crate::http::routes::Routes;
use crate::http::wire::TextId;
use crate::http::words::{RoleWord, StationStatusWord};

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::OWN, routes!(me))
        .at(Policy::OWN, routes!(change_password))
        .at(Policy::AT_WORK, routes!(take_break))
        .at(Policy::AT_WORK, routes!(end_break))
}

/// What one's workstation is doing now.
#[derive(Debug, Serialize, ToSchema)]
pub struct MyStation {
    /// Names it in other requests.
    workstation_id: TextId,
    /// What it is doing.
    #[schema(value_type = StationStatusWord)]
    status: &'static str,
}

async fn at_my_station(state: &AppState, caller: &Caller, what: AtStation) -> Result<Json<MyStation>, Problem> {
    let Identity::Collector { id, .. } = caller.identity else {
        return Err(Problem::new(Code::Forbidden, "only data collectors have a workstation"));
    };
    let (station, status) = state.commands.execute(&caller.context(), FollowCollector { collector_id: id, what }).await?;
    Ok(Json(MyStation { workstation_id: TextId(station.0), status: status.as_str() }))
}

/// Take a break. Asked again, it goes on.
#[utoipa::path(post, path = "/api/v1/auth/me/station/break", tag = "login", responses(
    (status = 200, body = MyStation),
    (status = 404, description = "You have no workstation"),
    (status = 409, description = "Your workstation is offline"),
))]
pub async fn take_break(State(state): State<AppState>, caller: Caller) -> Result<Json<MyStation>, Problem> {
    at_my_station(&state, &caller, AtStation::Break).await
}

/// Be back at work. Your workstation is active where a batch of it is.
#[utoipa::path(post, path = "/api/v1/auth/me/station/end-break", tag = "login", responses(
    (status = 200, body = MyStation),
    (status = 404, description = "You have no workstation"),
    (status = 409, description = "Your workstation is offline"),
))]
pub async fn end_break(State(state): State<AppState>, caller: Caller) -> Result<Json<MyStation>, Problem> {
    at_my_station(&state, &caller, AtStation::EndBreak).await
}

/// Who is logged in.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    /// Null for others than data collectors.
    #[schema(required)]
    collector_id: Option<i64>,
    /// The login name.
    operator_id: String,
    /// For people.
    name: String,
    /// What the login is for.
    #[schema(value_type = RoleWord)]
    role: &'static str,
    /// Their present workstation; null without one.
    #[schema(required)]
    workstation_id: Option<TextId>,
    /// The robot of that workstation; null without one.
    #[schema(required)]
    robot_id: Option<TextId>,
    /// That robot's type; null without a workstation, missing for the administrator.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = RobotTypeOrNull)]
    robot_type: Option<Option<MyRobotType>>,
    /// Of an account or a key, the factories that it sees; missing: the whole site.
    #[serde(skip_serializing_if = "Option::is_none")]
    factories: Option<Vec<TextId>>,
}

/// The one field of our answers that may be null as well as missing.
struct RobotTypeOrNull;

impl PartialSchema for RobotTypeOrNull {
    fn schema() -> RefOr<Schema> {
        let null = ObjectBuilder::new().schema_type(Type::Null);
        let both = AnyOfBuilder::new().item(Ref::from_schema_name(MyRobotType::name())).item(null);
        RefOr::T(Schema::AnyOf(both.build()))
    }
}

impl ToSchema for RobotTypeOrNull {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((MyRobotType::name().into_owned(), MyRobotType::schema()));
        MyRobotType::schemas(schemas);
    }
}

/// The type of one's robot.
#[derive(Debug, Serialize, ToSchema)]
pub struct MyRobotType {
    /// Names it in other requests.
    id: TextId,
    /// For people.
    name: String,
    /// Its model.
    model: String,
    /// What it can do, as its owners describe it.
    #[schema(required)]
    capabilities: Option<Value>,
}

/// A login without an account behind it.
fn nobody() -> Problem {
    Problem::new(Code::Unauthenticated, "the login belongs to nobody any more")
}

impl Me {
    fn of(caller: &Caller, operator_id: String, name: String) -> Self {
        Self {
            collector_id: None,
            operator_id,
            name,
            role: caller.identity.role().map_or("", Role::as_str),
            workstation_id: None,
            robot_id: None,
            robot_type: None,
            factories: None,
        }
    }

    /// What one sees who is of no organization.
    fn seeing(self, scope: &Scope) -> Self {
        let factories = scope.parts().0.map(|factories| factories.iter().map(|id| TextId(id.0)).collect());
        Self { factories, ..self }
    }

    async fn of_account(state: &AppState, caller: &Caller, id: AccountId) -> Result<Self, Problem> {
        let account = state.reads.account(id).await?.filter(|account| account.own.status == AccountStatus::Active).ok_or_else(nobody)?;
        let me = Self::of(caller, account.own.login_name.unwrap_or_default(), account.own.name.unwrap_or_default());
        Ok(me.seeing(&caller.scope))
    }

    async fn of_key(state: &AppState, caller: &Caller, id: ApiKeyId) -> Result<Self, Problem> {
        let key = state.reads.api_key(id).await?.ok_or_else(nobody)?;
        Ok(Self::of(caller, caller.identity.name(), key.own.name).seeing(&caller.scope))
    }

    async fn of_inspector(state: &AppState, caller: &Caller, id: InspectorId) -> Result<Self, Problem> {
        let inspector = state.reads.inspector(&Scope::Everything, id).await?;
        let inspector = inspector.filter(|inspector| inspector.own.status == InspectorStatus::Active).ok_or_else(nobody)?;
        Ok(Self::of(caller, inspector.own.inspector_id.unwrap_or_default(), inspector.own.name.unwrap_or_default()))
    }

    async fn of_collector(state: &AppState, caller: &Caller, id: CollectorId) -> Result<Self, Problem> {
        let collector = state.reads.data_collector(&Scope::Everything, id).await?;
        let collector = collector.filter(|collector| collector.own.status == CollectorStatus::Active).ok_or_else(nobody)?;
        let station = state.reads.current_station_of(id).await?;
        Ok(Self {
            collector_id: Some(collector.id.0),
            workstation_id: station.as_ref().map(|station| TextId(station.id.0)),
            robot_id: station.as_ref().map(|station| TextId(station.own.robot_id.0)),
            robot_type: Some(station.map(|station| MyRobotType {
                id: TextId(station.robot_type_id.0),
                name: station.robot_type_name,
                model: station.robot_type_model,
                capabilities: Some(station.robot_type_capabilities),
            })),
            ..Self::of(caller, collector.own.operator_id.unwrap_or_default(), collector.own.name.unwrap_or_default())
        })
    }
}

/// Who is logged in, and at which station.
#[utoipa::path(get, path = "/api/v1/auth/me", tag = "login", responses((status = 200, body = Me), (status = 401, description = "No valid login")))]
pub async fn me(State(state): State<AppState>, caller: Caller) -> Result<Json<Me>, Problem> {
    let me = match caller.identity {
        Identity::Admin => Me::of(&caller, "admin".into(), "Administrator".into()),
        Identity::Account { id, .. } => Me::of_account(&state, &caller, id).await?,
        Identity::Collector { id, .. } => Me::of_collector(&state, &caller, id).await?,
        Identity::Inspector { id, .. } => Me::of_inspector(&state, &caller, id).await?,
        Identity::Key { id, .. } => Me::of_key(&state, &caller, id).await?,
        Identity::Display => Me::of(&caller, "display".into(), "Display".into()),
        Identity::Anonymous => return Err(Problem::new(Code::Unauthenticated, "a login is required")),
    };
    Ok(Json(me))
}

type OwnPassword = Password<PASSWORD_BYTES_MAX>;

#[derive(Debug, Deserialize, ToSchema)]
pub struct NewPassword {
    /// What one signs in with so far.
    current_password: OwnPassword,
    /// What one signs in with from now on; counted in bytes.
    new_password: OwnPassword,
}

/// Choose another password. All sessions end, this one too.
#[utoipa::path(put, path = "/api/v1/auth/me/password", tag = "login", request_body = NewPassword, responses(
    (status = 204, description = "It is the password from now on"),
    (status = 401, description = "The current password is another one"),
    (status = 403, description = "This login has no password of its own: the administrator's stands in the settings, and keys and displays have none"),
    (status = 429, description = "Too many failed attempts"),
))]
pub async fn change_password(
    State(state): State<AppState>,
    caller: Caller,
    Json(body): Json<NewPassword>,
) -> Result<(Option<Extension<Noted>>, StatusCode), Problem> {
    let login_name = match &caller.identity {
        Identity::Account { id, .. } => state.reads.account(*id).await?.and_then(|account| account.own.login_name),
        Identity::Collector { id, .. } => {
            state.reads.data_collector(&Scope::Everything, *id).await?.and_then(|collector| collector.own.operator_id)
        }
        Identity::Inspector { id, .. } => {
            state.reads.inspector(&Scope::Everything, *id).await?.and_then(|inspector| inspector.own.inspector_id)
        }
        Identity::Admin => return Err(Problem::new(Code::Forbidden, "the administrator's password stands in the settings of the server")),
        Identity::Key { .. } | Identity::Display | Identity::Anonymous => {
            return Err(Problem::new(Code::Forbidden, "this login has no password"));
        }
    };
    let known = state.reads.person_login(&login_name.ok_or_else(nobody)?).await?;
    let attempt = state.logins.accounts.attempt(&known.comparable, caller.address(), state.commands.now());
    attempt.map_err(|wait_s| Problem::new(Code::LoginThrottled, "too many failed attempts; wait and try again").retry_after(wait_s))?;
    let hash = known.person.filter(|person| Some(person.whose) == caller.identity.holder()).map(|person| person.password.hash);
    if state.logins.matches(body.current_password.0, hash, Of::Person).await? == Match::No {
        return Err(Problem::new(Code::LoginRefused, "the current password is another one"));
    }
    state.logins.accounts.forgive(&known.comparable, caller.address());
    let hash = state.logins.hash(body.new_password.0).await?;
    let context = caller.context();
    let password_hash = Some(hash);
    match caller.identity {
        Identity::Account { id, .. } => {
            let change = AccountChange { password_hash, ..AccountChange::default() };
            state.commands.execute(&context, ChangeAccount { id, change }).await?;
        }
        Identity::Inspector { id, .. } => {
            let change = InspectorChange { password_hash, ..InspectorChange::default() };
            state.commands.execute(&context, ChangeInspector { id, change }).await?;
        }
        Identity::Collector { id, .. } => {
            let change = DataCollectorChange { password_hash, ..DataCollectorChange::default() };
            state.commands.execute(&context, Change::<DataCollector> { id: id.0, change }).await?;
        }
        Identity::Admin | Identity::Key { .. } | Identity::Display | Identity::Anonymous => {}
    }
    let noted = caller.identity.holder().map(|whose| Extension(Noted::password_change(whose.subject())));
    Ok((noted, StatusCode::NO_CONTENT))
}
