//! Logging in, and who one is.

use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{Extensions, HeaderName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::routes;

use super::passwords::{admin_digest, same};
use super::{Caller, Identity, Role, STREAM_COOKIE, STREAM_ROUTE};
use crate::commands::CommandError;
use crate::commands::registry::{AtStation, FollowCollector};
use crate::domain::inspector::InspectorStatus;
use crate::domain::registry::CollectorStatus;
use crate::domain::{InspectorId, Scope};
use crate::http::AppState;
use crate::http::extract::{Json, JsonOrForm};
use crate::http::fields::{MISSING, MayBeEmpty, Password, ShortText};
use crate::http::intake::NAMES_BYTES_MAX;
use crate::http::policy::Policy;
use crate::http::problem::{Code, Problem};
use crate::http::request::source_address;
use crate::http::routes::Routes;
use crate::http::wire::TextId;
use crate::http::words::{RoleWord, StationStatusWord, TokenTypeWord};
use crate::telemetry::brief;

pub fn routes() -> Routes {
    Routes::default()
        .at(Policy::OPEN.at_most(NAMES_BYTES_MAX), routes!(login))
        .at(Policy::OPEN.at_most(NAMES_BYTES_MAX), routes!(logout))
        .at(Policy::READ.closed().of_the_site(), routes!(me))
        .at(Policy::AT_WORK, routes!(take_break))
        .at(Policy::AT_WORK, routes!(end_break))
}

/// The administrator's may be a sentence.
const ANY_PASSWORD_BYTES_MAX: usize = 1024;
/// Counted as no collector's account can be.
const ADMIN: &str = "\0admin";

type AnyPassword = Password<ANY_PASSWORD_BYTES_MAX>;

#[derive(Debug, Deserialize, ToSchema)]
pub struct LoginRequest {
    /// The administrator's account, a data collector's operator id, or an inspector's id. One of this and the older names has to be there.
    account: Option<ShortText>,
    /// An older name of `account`.
    operator_id: Option<ShortText>,
    /// The name that OAuth 2 has for `account`.
    username: Option<ShortText>,
    /// As it was typed; counted in bytes.
    password: AnyPassword,
}

/// A login.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoginAnswer {
    /// Goes into the header `Authorization: Bearer <token>` of other requests.
    access_token: String,
    /// How the token is shown.
    #[schema(value_type = TokenTypeWord)]
    token_type: &'static str,
    /// How long the token is valid, in seconds.
    expires_in: u64,
    /// What the login is for.
    #[schema(value_type = RoleWord)]
    role: &'static str,
    /// Which data collector it is; null for others.
    #[schema(required)]
    collector: Option<LoginCollector>,
    /// Which inspector it is; missing for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    inspector: Option<LoginInspector>,
}

/// An inspector who is logged in.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoginInspector {
    /// Names them in other requests.
    id: TextId,
    /// Their login name.
    inspector_id: String,
    /// For people.
    name: String,
}

/// A data collector who is logged in.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoginCollector {
    /// Names them in other requests.
    id: TextId,
    /// Their login name.
    operator_id: String,
    /// For people.
    name: String,
}

/// Log in as administrator, as data collector, or as inspector. A browser also gets a cookie, which opens the stream of devices and nothing else.
/// As a form it is the password grant of OAuth 2.
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "login", request_body(content(
    (LoginRequest = "application/json"),
    (LoginRequest = "application/x-www-form-urlencoded"),
)), security(()), responses(
    (status = 200, body = LoginAnswer),
    (status = 400, description = "No account or no password, or one that is too long to be one"),
    (status = 401, description = "Wrong account or password"),
    (status = 429, description = "Too many failed attempts"),
))]
pub async fn login(
    State(state): State<AppState>,
    extensions: Extensions,
    caller: Caller,
    JsonOrForm(request): JsonOrForm<LoginRequest>,
) -> Result<([(HeaderName, String); 1], Json<LoginAnswer>), Problem> {
    let account = [request.account, request.operator_id, request.username].into_iter().find_map(MayBeEmpty::said);
    let account = account.ok_or_else(|| Problem::of_field("account", MISSING))?;
    let Password(password) = request.password;

    let (now, logins) = (state.commands.now(), &state.logins);
    let address = source_address(&extensions).map(|address| address.ip());
    let throttled = |wait_s| {
        tracing::warn!(account = %brief(&account), ?address, "Refused a login as `{}`: too many failed attempts", brief(&account));
        Problem::new(Code::LoginThrottled, "too many failed attempts; wait and try again").retry_after(wait_s)
    };
    logins.addresses.attempt("", address, now).map_err(throttled)?;
    // Who is meant is looked up first: what is counted is the account, however its name was spelled.
    let admin = same(&account, &state.settings.admin_username);
    let meant = if admin { None } else { Some(state.reads.person_login(&account).await?) };
    let counted = meant.as_ref().map_or(ADMIN, |meant| &meant.comparable);
    logins.accounts.attempt(counted, address, now).map_err(throttled)?;

    let refused = || {
        tracing::info!(account = %brief(&account), ?address, "Refused a login as `{}`", brief(&account));
        Problem::new(Code::LoginRefused, "wrong account or password")
    };
    let inspecting = meant.as_ref().and_then(|meant| meant.inspector.as_ref());
    let (identity, collector) = if admin {
        if !logins.matches(admin_digest(&password), state.reads.admin_password_hash().await?).await? {
            return Err(refused());
        }
        (Identity::Admin, None)
    } else if let Some(inspector) = inspecting {
        let proven = logins.matches(password, Some(inspector.password_hash.clone())).await?;
        if !proven || inspector.status != InspectorStatus::Active {
            return Err(refused());
        }
        (Identity::Inspector { id: inspector.id, inspector_id: inspector.inspector_id.clone() }, None)
    } else {
        let found = meant.as_ref().and_then(|meant| meant.collector.as_ref());
        let proven = logins.matches(password, found.map(|row| row.password_hash.clone())).await?;
        // A collector who is inactive or on leave does not get in, and is not told why.
        let Some(row) = found.filter(|row| proven && row.status == CollectorStatus::Active) else {
            return Err(refused());
        };
        let identity = Identity::Collector { id: row.collector_id, operator_id: row.operator_id.clone() };
        (identity, Some(LoginCollector { id: TextId(row.collector_id.0), operator_id: row.operator_id.clone(), name: row.name.clone() }))
    };
    logins.accounts.forgive(counted, address);
    logins.addresses.take_back("", address);
    let tokens = state.tokens.login(&identity, now).zip(state.tokens.stream(&identity, now));
    let (access_token, stream) = tokens.ok_or_else(|| Problem::new(Code::LoginRefused, "wrong account or password"))?;
    tracing::info!(account = %brief(&account), ?address, "Logged in `{}`", brief(&account));
    workstation_follows(&state, &caller, &identity, AtStation::LogIn).await;
    let expires_in = state.tokens.login_lifetime().as_secs();
    let answer = LoginAnswer {
        access_token,
        token_type: "Bearer",
        expires_in,
        role: identity.role().map_or("", Role::as_str),
        collector,
        inspector: inspecting.map(|row| LoginInspector {
            id: TextId(row.id.0),
            inspector_id: row.inspector_id.clone(),
            name: row.name.clone(),
        }),
    };
    Ok(([set_stream_cookie(&stream, expires_in)], Json(answer)))
}

/// Neither scripts nor other sites get at it.
fn set_stream_cookie(value: &str, lifetime_s: u64) -> (HeaderName, String) {
    (SET_COOKIE, format!("{STREAM_COOKIE}={value}; Path={STREAM_ROUTE}; Max-Age={lifetime_s}; HttpOnly; SameSite=Strict"))
}

/// Nothing is left to be done.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoggedOut {
    /// Always true.
    ok: bool,
}

/// The collector's workstation shows that they are there, or gone. Where that cannot be done, they log in and out all the same.
async fn workstation_follows(state: &AppState, caller: &Caller, identity: &Identity, what: AtStation) {
    let Identity::Collector { id, .. } = identity else { return };
    let follow = FollowCollector { collector_id: *id, what };
    match state.commands.execute(&caller.context_as(identity.actor()), follow).await {
        Ok(_) => {}
        // They have none.
        Err(CommandError::Refused(_)) => {}
        Err(error) => {
            tracing::warn!(collector.id = %id, error = format!("{error:#}"), "The workstation of {id} does not follow: {error:#}")
        }
    }
}

/// Log out. Tokens stay valid until they expire; clients forget theirs, and browsers the cookie. A data collector's workstation
/// goes offline, unless it is recording.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "login", security(()), responses((status = 200, body = LoggedOut, description = "Always")))]
pub async fn logout(State(state): State<AppState>, caller: Caller) -> ([(HeaderName, String); 1], Json<LoggedOut>) {
    workstation_follows(&state, &caller, &caller.identity, AtStation::LogOut).await;
    ([set_stream_cookie("", 0)], Json(LoggedOut { ok: true }))
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

async fn inspector_me(state: &AppState, id: InspectorId) -> Result<Json<Me>, Problem> {
    let inspector = state.reads.inspector(&Scope::Everything, id).await?;
    let inspector = inspector.filter(|inspector| inspector.own.status == InspectorStatus::Active);
    let inspector = inspector.ok_or_else(|| Problem::new(Code::Unauthenticated, "the login belongs to nobody any more"))?;
    Ok(Json(Me {
        collector_id: None,
        operator_id: inspector.own.inspector_id.unwrap_or_default(),
        name: inspector.own.name.unwrap_or_default(),
        role: Role::DataInspector.as_str(),
        workstation_id: None,
        robot_id: None,
        robot_type: None,
    }))
}

/// Who is logged in, and at which station.
#[utoipa::path(get, path = "/api/v1/auth/me", tag = "login", responses((status = 200, body = Me), (status = 401, description = "No valid login")))]
pub async fn me(State(state): State<AppState>, caller: Caller) -> Result<Json<Me>, Problem> {
    let id = match caller.identity {
        Identity::Collector { id, .. } => id,
        Identity::Admin => {
            return Ok(Json(Me {
                collector_id: None,
                operator_id: "admin".into(),
                name: "Administrator".into(),
                role: Role::Admin.as_str(),
                workstation_id: None,
                robot_id: None,
                robot_type: None,
            }));
        }
        Identity::Inspector { id, .. } => return inspector_me(&state, id).await,
        Identity::Display | Identity::Anonymous => return Err(Problem::new(Code::Unauthenticated, "a login is required")),
    };
    let collector = state.reads.data_collector(&Scope::Everything, id).await?;
    let collector = collector.filter(|collector| collector.own.status == CollectorStatus::Active);
    let collector = collector.ok_or_else(|| Problem::new(Code::Unauthenticated, "the login belongs to nobody any more"))?;
    let station = state.reads.current_station_of(id).await?;
    Ok(Json(Me {
        collector_id: Some(collector.id.0),
        operator_id: collector.own.operator_id.unwrap_or_default(),
        name: collector.own.name.unwrap_or_default(),
        role: Role::DataCollector.as_str(),
        workstation_id: station.as_ref().map(|station| TextId(station.id.0)),
        robot_id: station.as_ref().map(|station| TextId(station.own.robot_id.0)),
        robot_type: Some(station.map(|station| MyRobotType {
            id: TextId(station.robot_type_id.0),
            name: station.robot_type_name,
            model: station.robot_type_model,
            capabilities: Some(station.robot_type_capabilities),
        })),
    }))
}
