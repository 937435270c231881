//! `/sessions`: who is signed in, and ending that.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::commands::Refusal;
use crate::domain::api_key::ApiKey;
use crate::domain::{Aggregate as _, RefusalCode, Role, Scope, SessionId};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::{Json, MaybeJson, Params, PathId};
use crate::http::fields::Text;
use crate::http::noted::Noted;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::wire::{Paged, WholeSecond};
use crate::projections::reads::accounts::SessionShown;
use crate::projections::reads::credentials::Subject;

pub fn routes() -> Routes {
    Routes::default().at(Policy::OWN.exact().of_people(), routes!(list)).at(Policy::OWN, routes!(end)).at(Policy::OWN, routes!(end_all))
}

/// A login that has not ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    /// Names it in other requests.
    id: i64,
    /// Who is signed in: `admin`, `account:4`, `collector:17`, `inspector:3`.
    who: String,
    /// Since when.
    started_at: WholeSecond,
    /// Until when, at the longest.
    expires_at: WholeSecond,
    /// Where from.
    #[schema(required)]
    address: Option<String>,
    /// Whether it is the one that asks.
    current: bool,
}

fn subject(who: &str) -> Result<Subject, Problem> {
    // Programs have keys, and no sessions.
    let known = Subject::parse(who).filter(|subject| subject.kind != ApiKey::TYPE);
    known.ok_or_else(|| Problem::of_field("who", "must be admin, account:<id>, collector:<id>, or inspector:<id>"))
}

fn own(caller: &Caller) -> Result<Subject, Problem> {
    let holder = caller.identity.holder();
    holder.map(|holder| holder.subject()).ok_or_else(|| Refusal::new(RefusalCode::SessionNotFound, "this login has no sessions").into())
}

/// Whose sessions the caller may see and end: those who run the site everybody's, others their own. None: everybody's.
fn theirs(caller: &Caller, asked: Option<&str>) -> Result<Option<Subject>, Problem> {
    let own = own(caller)?;
    let runs_the_site = caller.scope == Scope::Everything && caller.identity.role() == Some(Role::Admin);
    match asked.map(subject).transpose()? {
        asked if runs_the_site => Ok(asked),
        Some(asked) if asked != own => {
            Err(Problem::from(Refusal::new(RefusalCode::OutsideScope, "these are the sessions of another person")))
        }
        _ => Ok(Some(own)),
    }
}

/// Logins that have not ended, newest first: administrators of the site see everybody's, others their own.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "people", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("who" = Option<String>, Query, description = "One person: `admin`, `account:4`, `collector:17`, `inspector:3`"),
), responses((status = 200, body = Paged<Session>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, caller: Caller, params: Params) -> Result<Json<Paged<Session>>, Problem> {
    let page = params.page_to_100()?;
    let whose = theirs(&caller, params.text("who").as_deref())?;
    let listed = state.reads.sessions(whose, state.commands.now(), page).await?;
    let of = |row: SessionShown| Session {
        id: row.id.0,
        who: row.who(),
        started_at: row.started_at.into(),
        expires_at: row.expires_at.into(),
        address: row.address,
        current: caller.session() == Some(row.id),
    };
    Ok(Json(Paged::new(listed.map(of), &page)))
}

/// End a session: its token opens nothing any more, and its streams close.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}", tag = "people", params(("id" = i64, Path)), responses(
    (status = 204, description = "It has ended"),
    (status = 404, description = "There is none that you may end"),
))]
pub async fn end(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<(Extension<Noted>, StatusCode), Problem> {
    let whose = theirs(&caller, None)?;
    match state.commands.end_session(SessionId(id), whose).await? {
        Some(ended) => Ok((Extension(Noted::session_end(ended)), StatusCode::NO_CONTENT)),
        None => Err(Refusal::new(RefusalCode::SessionNotFound, "session not found").into()),
    }
}

#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct EndedPerson {
    /// Whose: `admin`, `account:4`, `collector:17`, `inspector:3`. Without it, one's own.
    who: Option<Text<100>>,
}

/// What has ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndedSessions {
    /// How many sessions.
    ended: usize,
}

/// End all sessions of a person, one's own unless it is said.
#[utoipa::path(post, path = "/api/v1/sessions/end", tag = "people", request_body(content = Option<EndedPerson>), responses(
    (status = 200, body = EndedSessions),
    (status = 400, description = "There is no such person"),
    (status = 403, description = "It is another person, and you do not run the site"),
))]
pub async fn end_all(
    State(state): State<AppState>,
    caller: Caller,
    MaybeJson(body): MaybeJson<EndedPerson>,
) -> Result<(Option<Extension<Noted>>, Json<EndedSessions>), Problem> {
    let whose = match theirs(&caller, body.who.as_ref().map(|who| who.0.as_str()))? {
        Some(whose) => whose,
        None => own(&caller)?,
    };
    let ended = state.commands.end_sessions(whose).await?;
    let noted = (ended > 0).then(|| Extension(Noted::session_end(whose)));
    Ok((noted, Json(EndedSessions { ended })))
}
