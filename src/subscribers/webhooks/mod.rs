//! Posts events to the programs that subscribed to them, in the form of Standard Webhooks (`docs/webhooks.md`).
//!
//! A repeat is harmless because it has the same `webhook-id`, and receivers are told so.
//!
//! What a subscription asks for is looked up before rows are claimed for it, so that a pause or a change counts at once in every
//! process. Every attempt is noted in the delivery log.

mod address;
mod post;
mod sign;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tracing::warn;

pub use address::{Names, SystemNames};

use super::context::context_of;
use crate::commands::subscriptions::{EndSubscription, PauseSubscription};
use crate::commands::webhooks::{Attempt, AttemptOutcome, told};
use crate::commands::{Command, Commands};
use crate::dispatcher::{Backoff, Delivery, DeliverySettings, Outcome, Subscriber};
use crate::domain::SubscriptionId;
use crate::domain::routing::{Destination, SubscriberName};
use crate::domain::subscription::{BackoffKind, DeliveryOrder, DeliveryTerms, EndCause, Jitter, PauseCause, Target};
use crate::listener::Networks;
use crate::projections::reads::Reads;
use crate::telemetry::chain;
use post::{Message, Post, Sent, Verdict};

/// For looking up what a request needs, and for noting what came of it.
const AROUND_A_REQUEST: Duration = Duration::from_secs(5);

/// What the settings say.
#[derive(Clone)]
pub struct WebhookSettings {
    /// Networks that are not public, and that requests may go to.
    pub allow_private: Networks,
    /// For how long a receiver may fail before it is paused.
    pub paused_after: Duration,
}

pub struct Webhooks {
    commands: Commands,
    reads: Reads,
    post: Post,
    paused_after: Duration,
    /// Where something waits, as it was when that was looked up.
    standing: Mutex<HashMap<SubscriptionId, Standing>>,
}

struct Standing {
    delivery: DeliveryTerms,
    open: bool,
}

impl Webhooks {
    pub fn new(commands: Commands, reads: Reads, settings: WebhookSettings, names: Arc<dyn Names>) -> anyhow::Result<Self> {
        let post = Post::new(settings.allow_private, &names)?;
        Ok(Self { commands, reads, post, paused_after: settings.paused_after, standing: Mutex::default() })
    }

    fn standing<R>(&self, of: &Destination, read: impl FnOnce(&Standing) -> R) -> Option<R> {
        let Destination::Webhook(id) = of else { return None };
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).get(id).map(read)
    }

    /// Sends it, and notes what came of it.
    async fn send(&self, id: SubscriptionId, delivery: &Delivery) -> anyhow::Result<Outcome> {
        let event = &delivery.event;
        let Some(row) = self.reads.webhook_to_send(id, event.seq).await? else {
            return Ok(Outcome::Permanent { error: format!("there is no subscription {id}") });
        };
        if row.ended {
            let (position, why) = (row.position, "the subscription ended".to_owned());
            let dropped =
                Attempt { position, outcome: AttemptOutcome::Dropped, attempt: 0, error: Some(why.clone()), ..attempt_of(id, delivery) };
            self.commands.note_attempt(&dropped, &row.url).await?;
            return Ok(Outcome::Unwanted { why });
        }
        if !row.open {
            // Since the row was claimed.
            return Ok(Outcome::NotHere { error: "the subscription was paused, or its receiver asked for quiet".to_owned() });
        }
        let Some(position) = row.position else {
            return Ok(Outcome::NotHere { error: "the event has no place in the log yet".to_owned() });
        };
        let now = self.commands.now();
        let message = message_of(delivery, position, now.timestamp(), &row.secrets);
        let (Ok(target), Some(message)) = (Target::parse(&row.url), message) else {
            return Ok(Outcome::Permanent { error: "what is kept beside the log of this subscription cannot be used".to_owned() });
        };
        let sent = self.post.send(&target, &row.secrets, message, row.delivery.timeout(), now).await;
        let Sent { verdict, status, error, answer, took } = sent;
        let (outcome, rest) = match verdict {
            Verdict::Delivered => (AttemptOutcome::Delivered, None),
            Verdict::Failed => (AttemptOutcome::Failed, None),
            Verdict::Busy(rest) => (AttemptOutcome::Busy, Some(rest)),
            Verdict::Down => (AttemptOutcome::Down, None),
            Verdict::Gone => (AttemptOutcome::Gone, None),
        };
        metrics::counter!(crate::telemetry::WEBHOOK_ATTEMPTS, "outcome" => outcome.as_str()).increment(1);
        let position = Some(position);
        let noted = Attempt { position, took, outcome, status, error: error.clone(), answer, rest, ..attempt_of(id, delivery) };
        let failing_for = match self.commands.note_attempt(&noted, &row.url).await {
            Ok(None) if verdict != Verdict::Delivered => {
                return Ok(Outcome::NotHere { error: "it failed at a URL that is not the subscription's any more".to_owned() });
            }
            Ok(failing_for) => failing_for.unwrap_or_default(),
            Err(error) => {
                warn!(subscription.id = %id, error = chain(&error), "Cannot note an attempt for subscription {id}: {error}");
                if let Verdict::Busy(_) = verdict {
                    // No process would know of the quiet: one request at a time asks whether it is over.
                    return Ok(Outcome::DestinationDown { error: "the receiver asked for quiet, which could not be noted".to_owned() });
                }
                // What was delivered is delivered.
                Duration::ZERO
            }
        };
        if verdict != Verdict::Delivered && verdict != Verdict::Gone && failing_for >= self.paused_after {
            self.change(delivery, PauseSubscription { id, because: PauseCause::Failing }).await;
        }
        let error = error.unwrap_or_default();
        Ok(match verdict {
            Verdict::Delivered => Outcome::Delivered,
            Verdict::Failed => Outcome::Retry { error, after: None },
            Verdict::Busy(_) => Outcome::Busy { error },
            Verdict::Down => Outcome::DestinationDown { error },
            Verdict::Gone => {
                self.change(delivery, EndSubscription { id, because: EndCause::Gone }).await;
                Outcome::Unwanted { why: "the receiver is gone for good".to_owned() }
            }
        })
    }

    /// What cannot be changed now is asked for again by the next attempt.
    async fn change<C: Command>(&self, delivery: &Delivery, command: C) {
        if let Err(error) = self.commands.execute(&context_of(self.name(), delivery), command).await {
            warn!(error = chain(&error), "A subscription stays as it is: {error}");
        }
    }
}

fn attempt_of(id: SubscriptionId, delivery: &Delivery) -> Attempt {
    Attempt {
        subscription: id,
        position: None,
        event_id: delivery.event.event_id(),
        event_type: delivery.event.event_type.clone(),
        attempt: delivery.attempt,
        took: Duration::ZERO,
        outcome: AttemptOutcome::Failed,
        status: None,
        error: None,
        answer: None,
        rest: None,
    }
}

/// The same for every attempt, but for its time.
fn message_of(delivery: &Delivery, position: i64, timestamp: i64, secrets: &[String]) -> Option<Message> {
    let body = told(&delivery.event, position);
    let (id, body) = (format!("evt_{position}"), body.to_string());
    let signature = sign::signatures(secrets, &id, timestamp, &body)?;
    let trace_parent = delivery.trace_parent.map(|span| span.to_string());
    Some(Message { id, timestamp, signature, body, trace_parent })
}

#[async_trait]
impl Subscriber for Webhooks {
    fn name(&self) -> SubscriberName {
        SubscriberName::Webhooks
    }

    async fn deliver(&self, delivery: &Delivery) -> Outcome {
        let Some(Destination::Webhook(id)) = &delivery.destination else {
            return Outcome::Permanent { error: "the row names no subscription".to_owned() };
        };
        self.send(*id, delivery).await.unwrap_or_else(|error| Outcome::Retry { error: format!("{error:#}"), after: None })
    }

    async fn look_up(&self, waiting: &[Destination]) -> anyhow::Result<()> {
        let id = |to: &Destination| if let Destination::Webhook(id) = to { Some(*id) } else { None };
        let ids: Vec<SubscriptionId> = waiting.iter().filter_map(id).collect();
        let rows = self.reads.standing_webhooks(&ids).await?;
        let found = rows.into_iter().map(|row| (row.id, Standing { delivery: row.delivery, open: row.open }));
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = found.collect();
        Ok(())
    }

    fn reaches(&self, destination: &Destination) -> bool {
        self.standing(destination, |standing| standing.open).unwrap_or_default()
    }

    fn settings_of(&self, destination: &Destination, all: DeliverySettings) -> DeliverySettings {
        self.standing(destination, |standing| settings_for(&standing.delivery, all)).unwrap_or(all)
    }
}

fn settings_for(terms: &DeliveryTerms, all: DeliverySettings) -> DeliverySettings {
    let cap = match terms.backoff {
        BackoffKind::Exponential => Some(terms.backoff_cap()),
        BackoffKind::Fixed => None,
    };
    DeliverySettings {
        concurrency: usize::try_from(terms.concurrency).unwrap_or(1),
        attempts_max: u32::try_from(terms.attempts_max).ok(),
        backoff: Backoff { base: terms.backoff_base(), cap, jitter: terms.jitter == Jitter::Full },
        timeout: terms.timeout() + AROUND_A_REQUEST,
        per_stream: terms.ordering == DeliveryOrder::PerStream,
        ..all
    }
}
