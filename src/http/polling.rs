//! `/subscriptions/{id}/poll` and `/ack`: for programs that we cannot reach, because they are behind a router or a firewall.

#![expect(clippy::disallowed_methods, reason = "a program that waits for events is looked after until there are some")]

use std::ops::RangeInclusive;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Caller, Role, secret_of};
use super::extract::{Json, Params, PathId};
use super::fields::Whole;
use super::policy::Policy;
use super::problem::{Code, Problem};
use super::routes::Routes;
use crate::commands::Refusal;
use crate::commands::polling::{Given, NotGiven};
use crate::commands::webhooks::told;
use crate::domain::{RefusalCode, SubscriptionId};

pub fn routes() -> Routes {
    let policy = Policy::ADMINISTER.or_secret().of_own_work().exact();
    Routes::default().at(policy, routes!(poll)).at(policy, routes!(ack))
}

const LIMIT: i64 = 50;
const LIMIT_MAX: i64 = 200;
/// Shorter than what proxies and we ourselves wait for an answer.
const WAIT_S_MAX: i64 = 20;
/// Between looks for events.
const LOOK: Duration = Duration::from_millis(500);

/// What came.
#[derive(Debug, Serialize, ToSchema)]
pub struct PolledEvents {
    /// As a webhook is told of them, in the order of the log.
    #[schema(value_type = Vec<Object>)]
    events: Vec<Value>,
    /// To be acknowledged when all of it is done: up to here there is nothing else that the subscription wants.
    next: i64,
    /// Whether the log goes on behind it: then it is worth asking again at once.
    more: bool,
}

/// Who asks shows a secret of the subscription, or is an administrator.
async fn admitted(state: &AppState, caller: &Caller, headers: &HeaderMap, id: &PathId) -> Result<SubscriptionId, Problem> {
    if caller.identity.role() == Some(Role::Admin) {
        return Ok(SubscriptionId(PathId(id.0).positive()?));
    }
    let refused = || Problem::new(Code::Unauthenticated, "the secret of the subscription is required, as a bearer token");
    let (id, shown) = (SubscriptionId(id.0), secret_of(headers).ok_or_else(refused)?);
    let known = state.commands.secrets_of(id).await?;
    let fits = known.iter().filter(|secret| bool::from(secret.as_bytes().ct_eq(shown.as_bytes()))).count() > 0;
    fits.then_some(id).ok_or_else(refused)
}

fn not_polled() -> Problem {
    Problem::not_found("subscription that is polled")
}

fn number(params: &Params, name: &'static str, fits: RangeInclusive<i64>) -> Result<Option<i64>, Problem> {
    let fine = |text: String| text.parse().ok().filter(|number| fits.contains(number));
    let wrong = || match *fits.end() {
        i64::MAX => Problem::of_field(name, format_args!("must be a number, {} at least", fits.start())),
        most => Problem::of_field(name, format_args!("must be a number from {} to {most}", fits.start())),
    };
    params.text(name).map(|text| fine(text).ok_or_else(wrong)).transpose()
}

/// What comes for a subscription that is polled: what follows the last place that was acknowledged. What was not acknowledged is
/// told again.
#[utoipa::path(get, path = "/api/v1/subscriptions/{id}/poll", tag = "subscriptions", params(
    ("id" = i64, Path),
    ("after_position" = Option<i64>, Query, description = "Behind this place of the log instead, to be told again"),
    ("limit" = Option<i64>, Query, description = "At most so many events; 50, and 200 at most"),
    ("wait_s" = Option<i64>, Query, description = "Where there is none, wait so many seconds for one; 20 at most"),
), responses(
    (status = 200, body = PolledEvents),
    (status = 400, description = "A number that cannot be"),
    (status = 404, description = "There is none that is polled"),
    (status = 409, description = "It is paused"),
))]
pub async fn poll(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    params: Params,
    headers: HeaderMap,
) -> Result<Json<PolledEvents>, Problem> {
    let id = admitted(&state, &caller, &headers, &id).await?;
    let after = number(&params, "after_position", 0..=i64::MAX)?;
    let limit = number(&params, "limit", 1..=i64::MAX)?.unwrap_or(LIMIT).min(LIMIT_MAX);
    let wait = Duration::from_secs(number(&params, "wait_s", 0..=WAIT_S_MAX)?.unwrap_or(0).unsigned_abs());
    let (deadline, mut from) = (Instant::now() + wait, after);
    loop {
        let Given { events, next, more } = match state.commands.poll(id, from, limit).await? {
            Ok(given) => given,
            Err(NotGiven::Unknown) => return Err(not_polled()),
            Err(NotGiven::Beyond(head)) => {
                return Err(Problem::of_field("after_position", format_args!("is beyond the log, whose last place is {head}")));
            }
            Err(NotGiven::Paused) => {
                let text = "the subscription is paused: nothing is given before it is resumed";
                return Err(Refusal::new(RefusalCode::SubscriptionPaused, text).into());
            }
        };
        if !events.is_empty() || more || Instant::now() >= deadline {
            let events = events.iter().map(|(position, event)| told(event, *position)).collect();
            return Ok(Json(PolledEvents { events, next, more }));
        }
        // What was looked at once is not looked at again.
        from = Some(next);
        tokio::select! {
            () = state.live.stop.cancelled() => return Ok(Json(PolledEvents { events: vec![], next, more })),
            () = tokio::time::sleep(LOOK.min(deadline.saturating_duration_since(Instant::now()))) => {}
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Acknowledged {
    /// The `next` of an answer: everything up to there is done.
    position: Whole<0, { i64::MAX }>,
}

/// Up to where a subscription has it.
#[derive(Debug, Serialize, ToSchema)]
pub struct PolledUpTo {
    /// The next question begins behind this place of the log.
    position: i64,
}

/// Say that everything up to a place of the log is done. A place that lies before one that was said changes nothing.
#[utoipa::path(post, path = "/api/v1/subscriptions/{id}/ack", tag = "subscriptions", params(("id" = i64, Path)),
    request_body = Acknowledged, responses(
    (status = 200, body = PolledUpTo),
    (status = 400, description = "A place that the log does not have"),
    (status = 404, description = "There is none that is polled"),
))]
pub async fn ack(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    headers: HeaderMap,
    Json(done): Json<Acknowledged>,
) -> Result<Json<PolledUpTo>, Problem> {
    let id = admitted(&state, &caller, &headers, &id).await?;
    if let Some(position) = state.commands.acknowledge(id, done.position.0).await? {
        return Ok(Json(PolledUpTo { position }));
    }
    match state.commands.poll(id, None, 1).await? {
        Err(NotGiven::Unknown) => Err(not_polled()),
        Ok(_) | Err(NotGiven::Paused | NotGiven::Beyond(_)) => Err(Problem::of_field("position", "is no place in the log")),
    }
}
