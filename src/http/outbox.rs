//! `/outbox`: what waits to be delivered, and how it goes, as this process sees it.

use std::sync::PoisonError;
use std::time::Instant;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppState;
use super::extract::Json;
use super::policy::Policy;
use super::routes::Routes;
use super::wire::WholeSecond;
use crate::telemetry::activity::{SubscriberActivity, WAITING_COUNTED_MAX};

pub fn routes() -> Routes {
    Routes::default().at(Policy::ADMINISTER.exact(), routes!(subscribers))
}

/// How deliveries go.
#[derive(Debug, Serialize, ToSchema)]
pub struct OutboxShown {
    /// Each subscriber, by name.
    items: Vec<SubscriberShown>,
    /// When it was looked up what waits, every ten seconds; null before the first time.
    #[schema(required)]
    looked_at: Option<WholeSecond>,
}

/// Deliveries to one subscriber.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriberShown {
    /// Who gets them.
    subscriber: &'static str,
    /// Deliveries that are queued, at all processes together; null before the first look.
    #[schema(required)]
    waiting: Option<i64>,
    /// Whether there are more than `waiting` says: no more than 10,000 are counted.
    waiting_exceeded: bool,
    /// For how long the first of them has been due, in seconds.
    #[schema(required)]
    oldest_s: Option<f64>,
    /// Deliveries by this process in the last minute.
    delivered_last_minute: u64,
    /// Destinations at which nothing could be delivered: one delivery at a time tries whether they are there again.
    resting: Vec<RestingDestination>,
}

/// A destination whose circuit is open in this process.
#[derive(Debug, Serialize, ToSchema)]
pub struct RestingDestination {
    /// As `webhook:3`; null where all deliveries of the subscriber go one way.
    #[schema(required)]
    destination: Option<String>,
    /// When it is tried again, in seconds from now.
    probe_in_s: f64,
}

impl From<SubscriberActivity> for SubscriberShown {
    fn from(seen: SubscriberActivity) -> Self {
        let SubscriberActivity { subscriber, queue, delivered_last_minute, resting } = seen;
        let resting = resting.into_iter().map(|(destination, rest)| RestingDestination { destination, probe_in_s: rest.as_secs_f64() });
        Self {
            subscriber,
            waiting: queue.map(|queue| queue.waiting.min(WAITING_COUNTED_MAX)),
            waiting_exceeded: queue.is_some_and(|queue| queue.waiting > WAITING_COUNTED_MAX),
            oldest_s: queue.map(|queue| queue.oldest_s),
            delivered_last_minute,
            resting: resting.collect(),
        }
    }
}

/// What waits for each subscriber, how much of it this process delivers, and which destinations are down.
#[utoipa::path(get, path = "/api/v1/outbox/subscribers", tag = "operation", responses((status = 200, body = OutboxShown)))]
async fn subscribers(State(state): State<AppState>) -> Json<OutboxShown> {
    let items = state.activity.seen(Instant::now()).into_iter().map(SubscriberShown::from).collect();
    let looked_at = state.alerts.lock().unwrap_or_else(PoisonError::into_inner).looked_at().map(WholeSecond::from);
    Json(OutboxShown { items, looked_at })
}
