//! `/subscriptions`: programs that are told of events by webhook, or ask for them ([`super::polling`]), and what was tried.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::extract::{Json, MaybeJson, Params, PathId};
use super::fields::{GivenId, ShortText, Text, Whole, described_as, field};
use super::made::Made;
use super::policy::{Key, Policy};
use super::problem::Problem;
use super::routes::Routes;
use super::wire::{Exact, Paged, TextId, WholeSecond};
use super::words::{AttemptOutcomeWord, BackoffWord, DeliveryOrderWord, EndCauseWord, JitterWord, PauseCauseWord, SubscriptionStateWord};
use crate::commands::subscriptions::{
    ChangeSubscription, CreateSubscription, EndSubscription, OVERLAP_HOURS, OVERLAP_HOURS_MAX, PauseSubscription, Redeliver,
    ReplaySubscription, ResumeSubscription, RotateSecret, SecretMade, TestSubscription,
};
use crate::commands::webhooks::AttemptOutcome;
use crate::domain::subscription::{
    ATTEMPTS_MAX, BACKOFF_MS_MAX, BACKOFF_MS_MIN, CONCURRENCY_MAX, DeliveryChange, DeliveryTerms, EndCause, PATTERN_CHARS_MAX, PauseCause,
    TIMEOUT_MS_MAX, TIMEOUT_MS_MIN, Target, URL_CHARS_MAX,
};
use crate::domain::{FactoryId, OrganizationId, SubscriptionId};
use crate::projections::reads::subscriptions::{AttemptFilter, AttemptShown, SubscriptionShown};

pub fn routes() -> Routes {
    let policy = Policy::ADMINISTER.exact();
    // Answers that tell a secret are not kept.
    let secret = policy.keeping(Key::RefusalOnly);
    Routes::default()
        .at(policy, routes!(list))
        .at(secret, routes!(create))
        .at(policy, routes!(get))
        .at(policy, routes!(change))
        .at(policy, routes!(delete))
        .at(policy.keyed(), routes!(pause))
        .at(policy.keyed(), routes!(resume))
        .at(secret, routes!(rotate_secret))
        .at(policy.keyed(), routes!(replay))
        .at(policy.keyed(), routes!(test))
        .at(policy, routes!(deliveries))
        .at(policy.keyed(), routes!(redeliver))
}

/// How hard we try.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryShown {
    /// Tries before a delivery becomes a dead letter.
    attempts_max: i64,
    /// How waits between tries grow.
    #[schema(value_type = BackoffWord)]
    backoff: &'static str,
    /// The first wait.
    backoff_base_ms: i64,
    /// The longest wait.
    backoff_cap_ms: i64,
    /// Whether a wait is cut by chance.
    #[schema(value_type = JitterWord)]
    jitter: &'static str,
    /// How long the receiver may take to answer.
    timeout_ms: i64,
    /// Requests at the same time.
    concurrency: i64,
    /// Whether an event waits for the earlier ones of its stream.
    #[schema(value_type = DeliveryOrderWord)]
    ordering: &'static str,
}

impl From<DeliveryTerms> for DeliveryShown {
    fn from(terms: DeliveryTerms) -> Self {
        Self {
            attempts_max: terms.attempts_max,
            backoff: terms.backoff.as_str(),
            backoff_base_ms: terms.backoff_base_ms,
            backoff_cap_ms: terms.backoff_cap_ms,
            jitter: terms.jitter.as_str(),
            timeout_ms: terms.timeout_ms,
            concurrency: terms.concurrency,
            ordering: terms.ordering.as_str(),
        }
    }
}

/// What another program is told of.
#[derive(Debug, Serialize, ToSchema)]
pub struct Subscription {
    /// Names it in other requests.
    id: TextId,
    /// What it is for.
    #[schema(required)]
    description: Option<String>,
    /// Where it goes to, without path and query: those are shown nowhere. `polled` where nothing is posted.
    origin: String,
    /// Types of events, or beginnings of types with a star behind.
    event_types: Vec<String>,
    /// Only what belongs to this factory.
    #[schema(required)]
    factory_id: Option<TextId>,
    /// Only what belongs to this organization.
    #[schema(required)]
    organization_id: Option<TextId>,
    /// How it is delivered.
    delivery: DeliveryShown,
    /// Whether anything is delivered.
    #[schema(value_type = SubscriptionStateWord)]
    state: &'static str,
    /// Why it is paused.
    #[schema(required, value_type = Option<PauseCauseWord>)]
    paused_because: Option<&'static str>,
    /// Why it has ended.
    #[schema(required, value_type = Option<EndCauseWord>)]
    ended_because: Option<&'static str>,
    /// Up to which place of the log its deliveries were made.
    #[schema(required)]
    position: Option<i64>,
    /// Deliveries that wait.
    waiting: i64,
    /// Replays that are under way.
    replays: i64,
    /// Since when nothing was delivered and something failed.
    #[schema(required)]
    failing_since: Option<WholeSecond>,
    /// The receiver asked for quiet until then.
    #[schema(required)]
    rests_until: Option<WholeSecond>,
    /// When it was made.
    created_at: WholeSecond,
    /// When it was changed last.
    updated_at: WholeSecond,
}

impl From<SubscriptionShown> for Subscription {
    fn from(row: SubscriptionShown) -> Self {
        Self {
            state: row.state().as_str(),
            id: TextId(row.id.0),
            description: row.own.description,
            origin: row.own.origin,
            event_types: row.own.event_types,
            factory_id: row.own.factory_id.map(|id| TextId(id.0)),
            organization_id: row.own.organization_id.map(|id| TextId(id.0)),
            delivery: row.own.delivery.into(),
            paused_because: row.own.paused.map(PauseCause::as_str),
            ended_because: row.own.ended.map(EndCause::as_str),
            position: row.position,
            waiting: row.waiting,
            replays: row.replays,
            failing_since: row.failing_since.map(WholeSecond),
            rests_until: row.rests_until.map(WholeSecond),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// A subscription, and what its requests are signed with.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriptionWithSecret {
    #[serde(flatten)]
    subscription: Subscription,
    /// `whsec_` and base64. Shown here and never again.
    #[schema(required)]
    secret: Option<String>,
}

/// A URL of a receiver.
#[derive(Debug)]
pub struct GivenUrl(Target);

impl<'de> Deserialize<'de> for GivenUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Target::parse(String::deserialize(deserializer)?.trim()).map(Self).map_err(D::Error::custom)
    }
}

impl PartialSchema for GivenUrl {
    fn schema() -> RefOr<Schema> {
        let uri = SchemaFormat::Custom("uri".to_owned());
        described_as(ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(URL_CHARS_MAX)).format(Some(uri)))
    }
}
field!(GivenUrl);

type Place = Whole<0, { i64::MAX }>;
type Pattern = Text<PATTERN_CHARS_MAX>;
type Wait = Whole<BACKOFF_MS_MIN, BACKOFF_MS_MAX>;
type Attempts = Whole<1, ATTEMPTS_MAX>;
type Timeout = Whole<TIMEOUT_MS_MIN, TIMEOUT_MS_MAX>;
type Concurrency = Whole<1, CONCURRENCY_MAX>;

/// What is not said is as usual, or stays as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenDelivery {
    /// Tries before a delivery becomes a dead letter; 15 unless it is said.
    attempts_max: Option<Attempts>,
    /// How waits between tries grow: each is twice the one before (`exponential`), or all are the base (`fixed`).
    backoff: Option<BackoffWord>,
    /// The first wait; 5,000 unless it is said.
    backoff_base_ms: Option<Wait>,
    /// The longest wait; 3,600,000 unless it is said.
    backoff_cap_ms: Option<Wait>,
    /// Whether a wait is anywhere between nothing and all of it (`full`), or all of it (`none`).
    jitter: Option<JitterWord>,
    /// How long the receiver may take to answer; 15,000 unless it is said.
    timeout_ms: Option<Timeout>,
    /// Requests at the same time; 4 unless it is said.
    concurrency: Option<Concurrency>,
    /// Whether an event waits for the earlier ones of its stream (`per_stream`).
    ordering: Option<DeliveryOrderWord>,
}

impl From<GivenDelivery> for DeliveryChange {
    fn from(given: GivenDelivery) -> Self {
        Self {
            attempts_max: given.attempts_max.map(|of| of.0),
            backoff: given.backoff.map(|of| of.0),
            backoff_base_ms: given.backoff_base_ms.map(|of| of.0),
            backoff_cap_ms: given.backoff_cap_ms.map(|of| of.0),
            jitter: given.jitter.map(|of| of.0),
            timeout_ms: given.timeout_ms.map(|of| of.0),
            concurrency: given.concurrency.map(|of| of.0),
            ordering: given.ordering.map(|of| of.0),
        }
    }
}

fn texts(patterns: Vec<Pattern>) -> Vec<String> {
    patterns.into_iter().map(|pattern| pattern.0).collect()
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSubscription {
    /// Where it is posted to. Path and query may be secret: they are shown nowhere. No user name, no password.
    /// Required unless it is polled.
    url: Option<GivenUrl>,
    /// Nothing is posted, the program asks (`GET /subscriptions/{id}/poll`): for programs that we cannot reach.
    polled: Option<bool>,
    /// What it is for.
    description: Option<ShortText>,
    /// Types of events: `upload_verified`; `upload_*` means all that begin so, `*` all. 50 at most.
    event_types: Vec<Pattern>,
    /// Only what belongs to this factory.
    factory_id: Option<GivenId>,
    /// Only what belongs to this organization, and to its factory as a whole.
    organization_id: Option<GivenId>,
    /// How it is delivered.
    delivery: Option<GivenDelivery>,
    /// Behind which place of the log it begins: 0 is before the first event. Now, unless it is said.
    after_position: Option<Place>,
}

impl TryFrom<NewSubscription> for CreateSubscription {
    type Error = Problem;

    fn try_from(new: NewSubscription) -> Result<Self, Problem> {
        let polled = new.polled.unwrap_or_default();
        match &new.url {
            None if !polled => return Err(Problem::of_field("url", "is required, unless polled is true")),
            Some(_) if polled => return Err(Problem::of_field("url", "must not be given where polled is true: nothing is posted")),
            _ => {}
        }
        Ok(Self {
            target: new.url.map(|url| url.0),
            description: ShortText::said(new.description),
            event_types: texts(new.event_types),
            factory_id: new.factory_id.map(|id| FactoryId(id.0)),
            organization_id: new.organization_id.map(|id| OrganizationId(id.0)),
            delivery: new.delivery.unwrap_or_default().into(),
            after_position: new.after_position.map(|position| position.0),
        })
    }
}

/// What is not said stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionEdit {
    /// Where it is posted to.
    url: Option<GivenUrl>,
    /// What it is for; empty: nothing is said any more.
    description: Option<ShortText>,
    /// Types of events.
    event_types: Option<Vec<Pattern>>,
    /// How it is delivered.
    delivery: Option<GivenDelivery>,
}

fn no_subscription() -> Problem {
    Problem::not_found("subscription")
}

async fn shown(state: &AppState, id: SubscriptionId) -> Result<Subscription, Problem> {
    state.reads.subscription(id).await?.map(Subscription::from).ok_or_else(no_subscription)
}

async fn made(state: &AppState, status: StatusCode, id: SubscriptionId) -> Made<Subscription> {
    Made::read(status, json!({ "id": TextId(id.0) }), shown(state, id)).await
}

/// With its secret, which is read here and nowhere else.
async fn with_secret(state: &AppState, status: StatusCode, made: SecretMade) -> Made<SubscriptionWithSecret> {
    let read = async {
        let secret = state.reads.webhook_secret(made.id, made.generation).await?.map(|row| row.secret);
        Ok(SubscriptionWithSecret { subscription: shown(state, made.id).await?, secret })
    };
    Made::read(status, json!({ "id": TextId(made.id.0) }), read).await
}

/// Subscriptions, the newest first.
#[utoipa::path(get, path = "/api/v1/subscriptions", tag = "subscriptions", params(
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("state" = Option<SubscriptionStateWord>, Query, description = "Only those in this state"),
), responses((status = 200, body = Paged<Subscription>), (status = 400, description = "A filter or a page that cannot be")))]
pub async fn list(State(state): State<AppState>, params: Params) -> Result<Json<Paged<Subscription>>, Problem> {
    let page = params.page_to_100()?;
    Ok(Json(Paged::new(state.reads.subscriptions(params.word("state")?, page).await?, &page)))
}

/// Subscribe a program to events: it is told of each by `POST`, signed as in Standard Webhooks.
#[utoipa::path(post, path = "/api/v1/subscriptions", tag = "subscriptions", request_body = NewSubscription, responses(
    (status = 201, body = SubscriptionWithSecret),
    (status = 400, description = "A field is wrong, or names what is not there"),
    (status = 409, description = "There are too many"),
))]
pub async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(new): Json<NewSubscription>,
) -> Result<Made<SubscriptionWithSecret>, Problem> {
    let made = state.commands.execute(&caller.context(), CreateSubscription::try_from(new)?).await?;
    Ok(with_secret(&state, StatusCode::CREATED, made).await)
}

/// A subscription, and how its receiver does.
#[utoipa::path(get, path = "/api/v1/subscriptions/{id}", tag = "subscriptions", params(("id" = i64, Path)), responses(
    (status = 200, body = Subscription),
    (status = 404, description = "There is none"),
))]
pub async fn get(State(state): State<AppState>, id: PathId) -> Result<Json<Subscription>, Problem> {
    Ok(Json(shown(&state, SubscriptionId(id.positive()?)).await?))
}

/// Change a subscription; what is not said stays as it is.
#[utoipa::path(patch, path = "/api/v1/subscriptions/{id}", tag = "subscriptions", params(("id" = i64, Path)),
    request_body = SubscriptionEdit, responses(
    (status = 200, body = Subscription),
    (status = 400, description = "A field is wrong"),
    (status = 404, description = "There is none"),
    (status = 409, description = "It has ended"),
))]
pub async fn change(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    Json(edit): Json<SubscriptionEdit>,
) -> Result<Made<Subscription>, Problem> {
    let id = SubscriptionId(id.positive()?);
    let change = ChangeSubscription {
        id,
        target: edit.url.map(|url| url.0),
        description: edit.description.map(|text| ShortText::said(Some(text))),
        event_types: edit.event_types.map(texts),
        delivery: edit.delivery.unwrap_or_default().into(),
    };
    state.commands.execute(&caller.context(), change).await?;
    Ok(made(&state, StatusCode::OK, id).await)
}

/// End a subscription. What waited is not delivered; the delivery log names each.
#[utoipa::path(delete, path = "/api/v1/subscriptions/{id}", tag = "subscriptions", params(("id" = i64, Path)), responses(
    (status = 204, description = "It has ended"),
    (status = 404, description = "There is none"),
))]
pub async fn delete(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<StatusCode, Problem> {
    let end = EndSubscription { id: SubscriptionId(id.positive()?), because: EndCause::Deleted };
    state.commands.execute(&caller.context(), end).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Pause a subscription: nothing is delivered, and what is to be delivered waits.
#[utoipa::path(post, path = "/api/v1/subscriptions/{id}/pause", tag = "subscriptions", params(("id" = i64, Path)), responses(
    (status = 200, body = Subscription),
    (status = 404, description = "There is none"),
    (status = 409, description = "It has ended"),
))]
pub async fn pause(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Made<Subscription>, Problem> {
    let id = SubscriptionId(id.positive()?);
    state.commands.execute(&caller.context(), PauseSubscription { id, because: PauseCause::Person }).await?;
    Ok(made(&state, StatusCode::OK, id).await)
}

/// Resume a subscription where it was.
#[utoipa::path(post, path = "/api/v1/subscriptions/{id}/resume", tag = "subscriptions", params(("id" = i64, Path)), responses(
    (status = 200, body = Subscription),
    (status = 404, description = "There is none"),
    (status = 409, description = "It has ended"),
))]
pub async fn resume(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<Made<Subscription>, Problem> {
    let id = SubscriptionId(id.positive()?);
    state.commands.execute(&caller.context(), ResumeSubscription(id)).await?;
    Ok(made(&state, StatusCode::OK, id).await)
}

type Overlap = Whole<0, OVERLAP_HOURS_MAX>;

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// For how long the secrets before sign, too; 24 unless it is said. 0: not at all.
    overlap_hours: Option<Overlap>,
}

/// Give a subscription a new secret. Requests are signed with the ones before, too, for a while.
#[utoipa::path(post, path = "/api/v1/subscriptions/{id}/rotate-secret", tag = "subscriptions", params(("id" = i64, Path)),
    request_body = Option<Rotation>, responses(
    (status = 200, body = SubscriptionWithSecret),
    (status = 404, description = "There is none"),
    (status = 409, description = "It has ended"),
))]
pub async fn rotate_secret(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    MaybeJson(body): MaybeJson<Rotation>,
) -> Result<Made<SubscriptionWithSecret>, Problem> {
    let hours = body.overlap_hours.map_or(OVERLAP_HOURS, |hours| hours.0);
    let overlap = Duration::from_secs(hours.unsigned_abs() * 3_600);
    let rotate = RotateSecret { id: SubscriptionId(id.positive()?), overlap };
    let made = state.commands.execute(&caller.context(), rotate).await?;
    Ok(with_secret(&state, StatusCode::OK, made).await)
}

type Position = Whole<1, { i64::MAX }>;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayBetween {
    /// The first place of the log.
    from_position: Position,
    /// The last one: a replay has an end.
    to_position: Position,
}

/// Deliver again what a subscription wants between two places of the log, both included.
#[utoipa::path(post, path = "/api/v1/subscriptions/{id}/replay", tag = "subscriptions", params(("id" = i64, Path)),
    request_body = ReplayBetween, responses(
    (status = 202, body = Subscription),
    (status = 400, description = "Places that the log does not have, or in the wrong order"),
    (status = 404, description = "There is none"),
    (status = 409, description = "It has ended, or too many replays are under way"),
))]
pub async fn replay(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    Json(between): Json<ReplayBetween>,
) -> Result<Made<Subscription>, Problem> {
    let id = SubscriptionId(id.positive()?);
    let replay = ReplaySubscription { id, from_position: between.from_position.0, to_position: between.to_position.0 };
    state.commands.execute(&caller.context(), replay).await?;
    Ok(made(&state, StatusCode::ACCEPTED, id).await)
}

/// An event that is to be delivered.
#[derive(Debug, Serialize, ToSchema)]
pub struct ToldOf {
    /// Names it in the delivery log.
    event_id: String,
}

/// Tell the receiver something, to see whether it arrives: the delivery log says what came of it.
#[utoipa::path(post, path = "/api/v1/subscriptions/{id}/test", tag = "subscriptions", params(("id" = i64, Path)), responses(
    (status = 202, body = ToldOf),
    (status = 404, description = "There is none"),
    (status = 409, description = "It is paused, or has ended"),
))]
pub async fn test(State(state): State<AppState>, caller: Caller, id: PathId) -> Result<(StatusCode, Json<ToldOf>), Problem> {
    let event_id = state.commands.execute(&caller.context(), TestSubscription(SubscriptionId(id.positive()?))).await?;
    Ok((StatusCode::ACCEPTED, Json(ToldOf { event_id })))
}

/// One attempt to deliver an event.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryAttempt {
    /// Where the event is in the log.
    #[schema(required)]
    position: Option<i64>,
    /// The event.
    event_id: String,
    /// What happened.
    event_type: String,
    /// Which attempt it was, counted from 1; 0: it was not tried.
    attempt: i32,
    /// When it ended.
    at: Exact,
    /// How long the request took.
    took_ms: i64,
    /// What became of it.
    #[schema(value_type = AttemptOutcomeWord)]
    outcome: String,
    /// Of the answer, where there was one.
    #[schema(required)]
    status: Option<i32>,
    /// Why it failed.
    #[schema(required)]
    error: Option<String>,
    /// The beginning of what was answered.
    #[schema(required)]
    answer: Option<String>,
}

impl From<AttemptShown> for DeliveryAttempt {
    fn from(row: AttemptShown) -> Self {
        Self {
            position: row.position,
            event_id: row.event_id,
            event_type: row.event_type,
            attempt: row.attempt,
            at: Exact(row.at),
            took_ms: row.took_ms,
            outcome: row.outcome,
            status: row.status,
            error: row.error,
            answer: row.answer,
        }
    }
}

/// The delivery log of a subscription: every attempt, the newest first.
#[utoipa::path(get, path = "/api/v1/subscriptions/{id}/deliveries", tag = "subscriptions", params(
    ("id" = i64, Path),
    ("limit" = Option<i64>, Query),
    ("offset" = Option<i64>, Query),
    ("position" = Option<i64>, Query, description = "Only of the event at this place of the log"),
    ("event_id" = Option<String>, Query, description = "Only of this event, as task/17/3"),
    ("event_type" = Option<String>, Query, description = "Only of events of this type"),
    ("outcome" = Option<AttemptOutcomeWord>, Query, description = "Only those that ended like this"),
    ("from" = Option<String>, Query, description = "Only those at this time or later, as RFC 3339"),
    ("to" = Option<String>, Query, description = "Only those before this time, as RFC 3339"),
), responses(
    (status = 200, body = Paged<DeliveryAttempt>),
    (status = 400, description = "A filter or a page that cannot be"),
    (status = 404, description = "There is no such subscription"),
))]
pub async fn deliveries(State(state): State<AppState>, id: PathId, params: Params) -> Result<Json<Paged<DeliveryAttempt>>, Problem> {
    let id = SubscriptionId(id.positive()?);
    let page = params.page_to_100()?;
    let position = params.text("position").map(|text| text.parse().map_err(|_| Problem::of_field("position", "must be a number")));
    let filter = AttemptFilter {
        position: position.transpose()?,
        event_id: params.text("event_id"),
        event_type: params.text("event_type"),
        outcome: params.word::<AttemptOutcome>("outcome")?.map(|word| word.as_str().to_owned()),
        from: params.instant("from")?,
        to: params.instant("to")?,
    };
    shown(&state, id).await?;
    Ok(Json(Paged::new(state.reads.attempts(id, &filter, page).await?, &page)))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OneEvent {
    /// Its place in the log.
    position: Position,
}

/// Deliver one event again.
#[utoipa::path(post, path = "/api/v1/subscriptions/{id}/redeliver", tag = "subscriptions", params(("id" = i64, Path)),
    request_body = OneEvent, responses(
    (status = 202, body = Subscription),
    (status = 400, description = "There is nothing at this place that the subscription is told of"),
    (status = 404, description = "There is none"),
    (status = 409, description = "It has ended, or its delivery died: replay its dead letter"),
))]
pub async fn redeliver(
    State(state): State<AppState>,
    caller: Caller,
    id: PathId,
    Json(one): Json<OneEvent>,
) -> Result<Made<Subscription>, Problem> {
    let id = SubscriptionId(id.positive()?);
    state.commands.execute(&caller.context(), Redeliver { id, position: one.position.0 }).await?;
    Ok(made(&state, StatusCode::ACCEPTED, id).await)
}
