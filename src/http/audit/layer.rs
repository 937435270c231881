//! Where it is seen who read, took away or was refused what: around the guard, which refuses some.

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use super::entity::entity;
use super::recorder::kind_of;
use crate::commands::access_records::AccessRecord;
use crate::domain::access::{AccessKind, LoginMethod};
use crate::http::AppState;
use crate::http::asked_by::AskedBy;
use crate::http::auth::Identity;
use crate::http::noted::Noted;
use crate::http::policy::Policy;
use crate::http::problem::Problem;
use crate::http::request::source_address;
use crate::http::request_id::RequestId;
use crate::telemetry::ACCESS_REFUSED;

pub async fn recorded(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    // What matches no route is answered with 404, and tells nothing.
    let (Some(policy), Some(route)) = (extensions.get::<Policy>().copied(), extensions.get::<MatchedPath>().cloned()) else {
        return next.run(request).await;
    };
    let (address, id) = (source_address(extensions), extensions.get::<RequestId>().cloned());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = next.run(request).await;

    let status = response.status().as_u16();
    let record = |kind: AccessKind, who: &Identity, entity: Option<String>, login_method: Option<LoginMethod>| AccessRecord {
        occurred_at: state.commands.now(),
        kind,
        actor: who.actor().to_string(),
        login: who.name(),
        role: who.actor().role(),
        action: format!("{} {}", name_of(&method), route.as_str()),
        entity,
        status,
        source_address: address.map(|address| address.ip().to_string()),
        request_id: id.as_ref().map(|id| id.0.to_string()).unwrap_or_default(),
        login_method,
    };
    // What began or ended a login, beside what it was used for.
    if let Some(Noted { kind, about, method, who: signed_in }) = response.extensions().get::<Noted>() {
        let who = signed_in.clone().unwrap_or_else(|| who(&response));
        state.audit.record(&policy, record(*kind, &who, Some(about.entity()), *method));
    }
    let Some(kind) = kind_of(&policy, status) else { return response };
    let who = who(&response);
    if kind == AccessKind::Refusal {
        let role = who.role().map_or("none", |role| role.as_str());
        metrics::counter!(ACCESS_REFUSED, "status" => status.to_string(), "role" => role).increment(1);
    }
    let whose = response.extensions().get::<Problem>().and_then(Problem::whose);
    let about = whose.map(|whose| whose.entity()).or_else(|| entity(route.as_str(), &uri));
    state.audit.record(&policy, record(kind, &who, about, None));
    response
}

/// Whom the guard let in, or whom the policy refused; a stranger else.
fn who(response: &Response) -> Identity {
    let extensions = response.extensions();
    let let_in = extensions.get::<AskedBy>().map(|AskedBy(who)| who);
    let_in.or_else(|| extensions.get::<Problem>()?.who()).cloned().unwrap_or(Identity::Anonymous)
}

/// A caller may make one up.
fn name_of(method: &Method) -> &'static str {
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let names = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    known.iter().zip(names).find(|(known, _)| *known == method).map_or("other", |(_, name)| name)
}
