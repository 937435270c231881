//! Logging in and out.

use axum::Extension;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{Extensions, HeaderName};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::passwords::{Match, Of, PASSWORD_BYTES_MAX, REFUSED_AFTER, same};
use super::tokens::Granted;
use super::{Caller, Identity, Role, STREAM_COOKIE, STREAM_ROUTE};
use crate::commands::CommandError;
use crate::commands::registry::{AtStation, FollowCollector};
use crate::http::AppState;
use crate::http::extract::{Json, JsonOrForm};
use crate::http::fields::{MISSING, MayBeEmpty, Password, ShortText};
use crate::http::intake::NAMES_BYTES_MAX;
use crate::http::noted::Noted;
use crate::http::policy::Policy;
use crate::http::problem::{Code, Problem};
use crate::http::request::source_address;
use crate::http::routes::Routes;
use crate::http::wire::TextId;
use crate::http::words::{RoleWord, TokenTypeWord};
use crate::projections::reads::credentials::{Holder, PersonLogin};
use crate::telemetry::brief;

pub fn routes() -> Routes {
    Routes::default().at(Policy::OPEN.at_most(NAMES_BYTES_MAX), routes!(login)).at(Policy::OPEN.at_most(NAMES_BYTES_MAX), routes!(logout))
}

type AnyPassword = Password<PASSWORD_BYTES_MAX>;

/// Counted as no collector's account can be.
const ADMIN: &str = "\0admin";

#[derive(Debug, Deserialize, ToSchema)]
pub struct LoginRequest {
    /// The name of an account, a data collector's operator id, or an inspector's id. One of this and the older names has to be there.
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
    /// Which account it is; missing for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<LoginAccount>,
}

/// An administrator, a production manager, an auditor or a screen that is logged in.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoginAccount {
    /// Names it in other requests.
    id: TextId,
    /// What one signs in with.
    login_name: String,
    /// For people.
    name: String,
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

fn refused() -> Problem {
    Problem::new(Code::LoginRefused, "wrong account or password")
}

impl LoginAnswer {
    /// What a person hears who is signed in: who they are, without a token so far.
    fn of(identity: &Identity, person: Option<PersonLogin>) -> Self {
        let mut answer = Self {
            access_token: String::new(),
            token_type: "Bearer",
            expires_in: 0,
            role: identity.role().map_or("", Role::as_str),
            collector: None,
            inspector: None,
            account: None,
        };
        let Some(PersonLogin { whose, login_name, name, .. }) = person else { return answer };
        match whose {
            Holder::Collector(id) => answer.collector = Some(LoginCollector { id: TextId(id.0), operator_id: login_name, name }),
            Holder::Inspector(id) => answer.inspector = Some(LoginInspector { id: TextId(id.0), inspector_id: login_name, name }),
            Holder::Account(_, id) => answer.account = Some(LoginAccount { id: TextId(id.0), login_name, name }),
            Holder::Administrator | Holder::Key(..) => {}
        }
        answer
    }
}

fn identity_of(person: &PersonLogin) -> Identity {
    let login_name = person.login_name.clone();
    match person.whose {
        Holder::Collector(id) => Identity::Collector { id, operator_id: login_name },
        Holder::Inspector(id) => Identity::Inspector { id, inspector_id: login_name },
        Holder::Account(role, id) => Identity::Account { role, id },
        // A login name is none of theirs.
        Holder::Administrator => Identity::Admin,
        Holder::Key(role, id) => Identity::Key { role, id },
    }
}

/// Log in, as anybody who has a password here. A browser also gets a cookie, which opens the stream of devices and nothing else.
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
) -> Result<(Extension<Noted>, [(HeaderName, String); 1], Json<LoginAnswer>), Problem> {
    let account = [request.account, request.operator_id, request.username].into_iter().find_map(MayBeEmpty::said);
    let account = account.ok_or_else(|| Problem::of_field("account", MISSING))?;
    let Password(password) = request.password;

    let (now, logins, began) = (state.commands.now(), &state.logins, Instant::now());
    let address = source_address(&extensions).map(|address| address.ip());
    let throttled = |wait_s| {
        tracing::warn!(account = %brief(&account), ?address, "Refused a login as `{}`: too many failed attempts", brief(&account));
        Problem::new(Code::LoginThrottled, "too many failed attempts; wait and try again").retry_after(wait_s)
    };
    logins.addresses.attempt("", address, now).map_err(throttled)?;
    // Who is meant is looked up first: what is counted is the account, however its name was spelled.
    let admin = same(&account, &state.settings.admin_username);
    let meant = if admin { None } else { Some(state.reads.person_login(&account).await?) };
    let counted = meant.as_ref().map_or_else(|| ADMIN.to_owned(), |meant| meant.comparable.clone());
    logins.accounts.attempt(&counted, address, now).map_err(throttled)?;

    let person = meant.and_then(|meant| meant.person);
    let (identity, kept, of) = match &person {
        _ if admin => (Identity::Admin, state.reads.admin_password().await?, Of::Administrator),
        Some(person) => (identity_of(person), Some(person.password.clone()), Of::Person),
        None => (Identity::Anonymous, None, Of::Person),
    };
    let found = logins.matches(password.clone(), kept.as_ref().map(|kept| kept.hash.clone()), of).await?;
    // Who may not sign in does not get in, and is not told why.
    let holder = identity.holder().filter(|_| found != Match::No && person.as_ref().is_none_or(|person| person.active));
    let refuse = async || {
        tracing::info!(account = %brief(&account), ?address, "Refused a login as `{}`", brief(&account));
        tokio::time::sleep_until(began + REFUSED_AFTER).await;
        refused().about(identity.holder().map(|meant| meant.subject()))
    };
    let Some((holder, kept)) = holder.zip(kept) else { return Err(refuse().await) };
    let (whose, lifetime) = (holder.subject(), state.tokens.login_lifetime());
    // None: while it was compared, the password became another one.
    let Some(session) = state.commands.begin_session(whose, kept.since, lifetime, address).await? else { return Err(refuse().await) };
    if found == Match::YesRenew {
        state.commands.renew_password_hash(whose, &kept.hash, &logins.hash(password).await?).await?;
    }
    logins.accounts.forgive(&counted, address);
    logins.addresses.take_back("", address);
    let granted = Granted { session: Some(session), factories: person.as_ref().and_then(|person| person.factories.clone()) };
    let tokens = state.tokens.granted(&identity, &granted, now).zip(state.tokens.stream(&identity, &granted, now));
    let (access_token, stream) = tokens.ok_or_else(refused)?;
    tracing::info!(account = %brief(&account), ?address, "Logged in `{}`", brief(&account));
    workstation_follows(&state, &caller, &identity, AtStation::LogIn).await;
    let answer = LoginAnswer { access_token, expires_in: lifetime.as_secs(), ..LoginAnswer::of(&identity, person) };
    let noted = Extension(Noted::login(identity, whose));
    Ok((noted, [set_stream_cookie(&stream, lifetime.as_secs())], Json(answer)))
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

/// Log out: browsers lose the cookie, and a data collector's workstation goes offline, unless it is recording. The session of an account or an inspector
/// ends; the token of a data collector and of the administrator of the settings stays valid, as clients expect, and `/sessions/end` ends their sessions.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "login", security(()), responses((status = 200, body = LoggedOut, description = "Always")))]
pub async fn logout(
    State(state): State<AppState>,
    caller: Caller,
) -> (Option<Extension<Noted>>, [(HeaderName, String); 1], Json<LoggedOut>) {
    // A token that has ended before takes nobody offline.
    let identity = if caller.stands(&state).await { caller.identity.clone() } else { Identity::Anonymous };
    workstation_follows(&state, &caller, &identity, AtStation::LogOut).await;
    let mut noted = None;
    if let Some(session) = caller.session().filter(|_| matches!(identity, Identity::Account { .. } | Identity::Inspector { .. })) {
        match state.commands.end_session(session, None).await {
            Ok(ended) => noted = ended.map(|whose| Extension(Noted::session_end(whose))),
            Err(error) => {
                tracing::warn!(session.id = %session, error = format!("{error:#}"), "The session {session} does not end: {error:#}");
            }
        }
    }
    (noted, [set_stream_cookie("", 0)], Json(LoggedOut { ok: true }))
}
