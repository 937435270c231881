//! `/sessions`: who is signed in, and ending that.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::commands::Refusal;
use crate::commands::sessions::Subject;
use crate::domain::{RefusalCode, Role, Scope, SessionId};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::{Json, MaybeJson, Params, PathId};
use crate::http::fields::Text;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::wire::{Paged, WholeSecond};
use crate::projections::reads::accounts::SessionShown;

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

/// The word of a request for whose account a session is of, and the one of `credentials`.
const KINDS: [(&str, &str); 3] = [("account", "account"), ("collector", "data_collector"), ("inspector", "inspector")];
const ADMINISTRATOR: (&str, Subject) = ("admin", Subject { kind: "administrator", id: 0 });

fn who(subject: &str, id: i64) -> String {
    let known = KINDS.iter().find(|(_, kind)| *kind == subject);
    known.map_or_else(|| ADMINISTRATOR.0.to_owned(), |(word, _)| format!("{word}:{id}"))
}

fn subject(who: &str) -> Result<Subject, Problem> {
    if who == ADMINISTRATOR.0 {
        return Ok(ADMINISTRATOR.1);
    }
    let read = || {
        let (word, id) = who.split_once(':')?;
        let (_, kind) = KINDS.iter().find(|(known, _)| *known == word)?;
        Some(Subject { kind, id: id.parse().ok().filter(|id| *id > 0)? })
    };
    read().ok_or_else(|| Problem::of_field("who", "must be admin, account:<id>, collector:<id>, or inspector:<id>"))
}

/// Whose sessions the caller may see and end: those who run the site everybody's, others their own. None: everybody's.
fn theirs(caller: &Caller, asked: Option<&str>) -> Result<Option<Subject>, Problem> {
    let own = caller.identity.holder().map(|holder| holder.subject()).map(|(kind, id)| Subject { kind, id });
    let own = own.ok_or_else(|| Problem::from(Refusal::new(RefusalCode::SessionNotFound, "this login has no sessions")))?;
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
    let whose = whose.as_ref().map(|whose| (whose.kind, whose.id));
    let listed = state.reads.sessions(whose, state.commands.now(), page).await?;
    let of = |row: SessionShown| Session {
        id: row.id.0,
        who: who(&row.subject, row.subject_id),
        started_at: row.started_at.into(),
        expires_at: row.expires_at.into(),
        address: row.address,
        current: caller.session == Some(row.id),
    };
    Ok(Json(Paged::new(listed.map(of), &page)))
}

/// End a session: its token opens nothing any more, and its streams close.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}", tag = "people", params(("id" = i64, Path)), responses(
    (status = 204, description = "It has ended"),
    (status = 404, description = "There is none that you may end"),
))]
pub async fn end(State(state): State<AppState>, caller: Caller, PathId(id): PathId) -> Result<StatusCode, Problem> {
    let whose = theirs(&caller, None)?;
    match state.commands.end_session(SessionId(id), whose).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Refusal::new(RefusalCode::SessionNotFound, "session not found").into()),
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
#[utoipa::path(post, path = "/api/v1/sessions/end", tag = "people", request_body = EndedPerson, responses(
    (status = 200, body = EndedSessions),
    (status = 400, description = "There is no such person"),
    (status = 403, description = "It is another person, and you do not run the site"),
))]
pub async fn end_all(
    State(state): State<AppState>,
    caller: Caller,
    MaybeJson(body): MaybeJson<EndedPerson>,
) -> Result<Json<EndedSessions>, Problem> {
    let own = caller.identity.holder().map(|holder| holder.subject()).map(|(kind, id)| Subject { kind, id });
    let whose = theirs(&caller, body.who.as_ref().map(|who| who.0.as_str()))?.or(own);
    let ended = match whose {
        Some(whose) => state.commands.end_sessions(whose).await?,
        None => 0,
    };
    Ok(Json(EndedSessions { ended }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AccountId, AccountRole, Actor, CollectorId, InspectorId};
    use crate::projections::reads::credentials::Holder;

    #[test]
    fn a_person_is_called_as_they_are_asked_for() {
        for holder in [
            Holder::Administrator,
            Holder::Account(AccountRole::Auditor, AccountId(4)),
            Holder::Collector(CollectorId(17)),
            Holder::Inspector(InspectorId(3)),
        ] {
            let (kind, id) = holder.subject();
            assert_eq!(subject(&who(kind, id)).unwrap(), Subject { kind, id });
        }
        assert_eq!(Holder::of(&Actor::System), None);
        for text in ["", "account", "account:", "account:0", "account:-1", "account:x", "king:1", "administrator:0"] {
            assert!(subject(text).is_err(), "{text}");
        }
    }
}
