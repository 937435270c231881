//! The delivery log of webhooks, beside the log of events: what was tried, and how each receiver does. And how an event is told to other programs.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{CommandError, Commands};
use crate::domain::SubscriptionId;
use crate::domain::words::words;
use crate::eventstore::StoredEvent;

words! {
    /// What became of one attempt.
    AttemptOutcome {
        Delivered = "delivered",
        Failed = "failed",
        /// The receiver asked for quiet.
        Busy = "busy",
        /// There was no connection.
        Down = "down",
        /// The receiver is gone for good.
        Gone = "gone",
        /// It was not tried: the subscription had ended.
        Dropped = "dropped",
    }
}

// What is answered while quiet is kept was sent before it was asked for, and ends nothing.
const NOTE: &str = "with noted as (
        insert into webhook_attempts (subscription_id, position, event_id, event_type, attempt, took_ms, outcome, status, error, answer)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10))
    update webhook_targets set
        failing_since = case when $7 = 'delivered' then null else coalesce(failing_since, clock_timestamp()) end,
        rests_until = greatest(case when rests_until > clock_timestamp() then rests_until end,
                               clock_timestamp() + make_interval(secs => $11::float8))
    where subscription_id = $1 and url = $12 and ($7 <> 'delivered' or failing_since is not null or rests_until is not null)
    returning extract(epoch from clock_timestamp() - failing_since)::float8";

/// Of these subscriptions and places of the log, those that were delivered.
pub(super) const DELIVERED: &str = "select distinct s.id, s.position from unnest($1::bigint[], $2::bigint[]) s (id, position)
    join webhook_attempts a on a.subscription_id = s.id and a.position = s.position where a.outcome = 'delivered'";

const SWEEP: &str = "delete from webhook_attempts where attempt_id in (
    select attempt_id from webhook_attempts where at < clock_timestamp() - make_interval(secs => $1) order by at limit $2::bigint)";

/// One attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub subscription: SubscriptionId,
    pub position: Option<i64>,
    pub event_id: String,
    pub event_type: String,
    pub attempt: i32,
    pub took: Duration,
    pub outcome: AttemptOutcome,
    pub status: Option<u16>,
    pub error: Option<String>,
    /// The beginning of what was answered.
    pub answer: Option<String>,
    /// The receiver asked for quiet for so long.
    pub rest: Option<Duration>,
}

/// An event as other programs are told of it.
pub fn told(event: &StoredEvent, position: i64) -> Value {
    let occurred_at = event.metadata.get("occurred_at").and_then(Value::as_str).map(str::to_owned);
    json!({
        "type": event.event_type,
        "timestamp": occurred_at.unwrap_or_else(|| event.recorded_at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)),
        "version": event.event_version,
        "position": position,
        "stream": format!("{}/{}", event.aggregate_type, event.aggregate_id),
        "id": event.event_id(),
        "data": event.content(),
    })
}

impl Commands {
    /// Notes an attempt at a URL. Answers for how long the receiver has been failing; none where it has delivered all the time, or where
    /// the URL is another one by now, of which nothing is known yet.
    pub async fn note_attempt(&self, attempt: &Attempt, url: &str) -> Result<Option<Duration>, CommandError> {
        let took = i64::try_from(attempt.took.as_millis()).unwrap_or(i64::MAX);
        let status = attempt.status.map(i32::from);
        let rest = attempt.rest.map(|rest| rest.as_secs_f64());
        let rows = self
            .beside_the_log(
                NOTE,
                &[
                    &attempt.subscription,
                    &attempt.position,
                    &attempt.event_id,
                    &attempt.event_type,
                    &attempt.attempt,
                    &took,
                    &attempt.outcome.as_str(),
                    &status,
                    &attempt.error,
                    &attempt.answer,
                    &rest,
                    &url,
                ],
            )
            .await?;
        let failing: Option<f64> = rows.first().and_then(|row| row.get(0));
        Ok(failing.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default()))
    }

    /// Sweeps attempts that are older than this.
    pub async fn sweep_attempts(&self, kept: Duration, stop: &CancellationToken) -> Result<(), CommandError> {
        self.sweep(SWEEP, kept, stop).await
    }
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    [("attempt of a webhook", NOTE), ("webhooks that were delivered", DELIVERED), ("attempts that are old", SWEEP)]
        .map(|(name, sql)| (name, sql.to_owned()))
        .into()
}
