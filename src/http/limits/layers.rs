//! Where the limits are asked: behind the guard, which knows who asks, and around it, for those it does not let in.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::names::LimitName;
use crate::http::AppState;
use crate::http::asked_by::AskedBy;
use crate::http::auth::Identity;
use crate::http::policy::{Limit, Policy};
use crate::http::problem::Problem;
use crate::http::request::source_address;
use crate::telemetry::REQUESTS_LIMITED;

/// Behind the guard: who asks too often is answered at once.
pub async fn of_callers(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let (Some(policy), Some(who)) = (extensions.get::<Policy>(), extensions.get::<Identity>().cloned()) else {
        return next.run(request).await;
    };
    let address = source_address(extensions).map(|address| address.ip());
    // What a link opens was counted when the link was made, and viewers read in hundreds of ranges.
    let linked = who == Identity::Anonymous && policy.opened_by_link(request.uri());
    let limit = if linked { Limit::None } else { policy.limit };
    let mut response = match state.limits.request(limit, &who, address) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    response.extensions_mut().insert(AskedBy(who));
    response
}

/// Around the guard: who shows no login that is good is a stranger, whatever else they showed. Every refusal for asking too often is counted here, and
/// names its limit.
pub async fn of_strangers(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let counts = request.extensions().get::<Policy>().is_some_and(|policy| policy.limit != Limit::None);
    let address = source_address(request.extensions()).map(|address| address.ip());
    let response = next.run(request).await;
    let strange = response.status() == StatusCode::UNAUTHORIZED && response.extensions().get::<AskedBy>().is_none();
    told(match counts && strange {
        true => state.limits.stranger(address).map_or_else(Problem::into_response, |()| response),
        false => response,
    })
}

fn told(mut response: Response) -> Response {
    let Some(problem) = response.extensions_mut().get_mut::<Problem>().filter(|problem| problem.status() == StatusCode::TOO_MANY_REQUESTS)
    else {
        return response;
    };
    let Some(limit) = LimitName::of(problem) else { return response };
    *problem = problem.clone().with("limit", limit.as_str());
    metrics::counter!(REQUESTS_LIMITED, "limit" => limit.as_str()).increment(1);
    response
}
