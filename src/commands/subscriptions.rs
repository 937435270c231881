//! Subscriptions: made, changed, paused, ended, replayed, tried.
//!
//! Whole URLs and secrets stand beside the log: they are written here in the same transaction, and enter no event and no answer that is kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Command, CommandError, Refusal, Work, chance};
use crate::domain::routing::{Destination, SubscriberName};
use crate::domain::subscription::{
    DeliveryChange, DeliveryTerms, EndCause, POLLED, PauseCause, Subscription, SubscriptionCommand, Target, Terms, wants,
};
use crate::domain::{FactoryId, OrganizationId, RefusalCode, SubscriptionId};
use crate::eventstore::Loaded;
use crate::outbox::subscribed::{DROP, DUE_NOW, UNRESOLVED};
use crate::projections::facts::{self, FactoryTable};

/// Subscriptions that have not ended: each is looked at for every event.
const SUBSCRIPTIONS_MAX: i64 = 200;
/// Replays of one subscription at the same time.
const REPLAYS_MAX: i64 = 20;
/// Secrets that sign at the same time, the newest included.
const SECRETS_MAX: i64 = 3;
/// For how long secrets that were replaced sign unless it is said, and may sign.
pub const OVERLAP_HOURS: i64 = 24;
pub const OVERLAP_HOURS_MAX: i64 = 168;

const HEAD: &str = "select coalesce((select position from log order by position desc limit 1), 0)";
const STANDING: &str = "select count(*) from subscriptions where ended is null";
const KEEP_TARGET: &str = "insert into webhook_targets (subscription_id, url) values ($1, $2)
    on conflict (subscription_id) do update set url = excluded.url, failing_since = null, rests_until = null";
const TARGET: &str = "select url from webhook_targets where subscription_id = $1";
const KEEP_SECRET: &str = "insert into webhook_secrets (subscription_id, generation, secret) values ($1, $2, $3)";
const NEWEST_SECRET: &str = "select coalesce(max(generation), 0) from webhook_secrets where subscription_id = $1";
/// The ones before end: those that would be too many at once, the others when they were going to, at the latest then.
const END_SECRETS: &str = "update webhook_secrets set expires_at = case when generation <= $3 then $4 else least(expires_at, $2) end
    where subscription_id = $1";
const STAND: &str = "insert into subscription_cursors (subscription_id, position, until) values ($1, $2, $3)";
const REPLAYS: &str = "select count(*) from subscription_cursors where subscription_id = $1 and until is not null";
const GO_ON: &str = "update webhook_targets set failing_since = null, rests_until = null where subscription_id = $1";
const EVENT_AT: &str = "select e.event_type from log l join events e on e.seq = l.seq where l.position = $1";

const FORGET_TARGET: &str = "delete from webhook_targets where subscription_id = $1";
const FORGET_SECRETS: &str = "delete from webhook_secrets where subscription_id = $1";
const FORGET_CURSORS: &str = "delete from subscription_cursors where subscription_id = $1";

/// Rows go, each with a record in the delivery log.
fn drop_rows() -> String {
    format!(
        "with gone as ({DROP}),
         told as (insert into webhook_attempts (subscription_id, position, event_id, event_type, attempt, took_ms, outcome, error)
                  select $2, l.position, e.aggregate_type || '/' || e.aggregate_id || '/' || e.sequence, e.event_type, 0, 0, 'dropped',
                         'the subscription ended'
                  from gone g join events e on e.seq = g.event_seq left join log l on l.seq = g.event_seq)
         select count(*) from gone"
    )
}

/// Another program is told of events from now on, or from a place in the log on.
#[derive(Clone, Debug)]
pub struct CreateSubscription {
    /// None: nothing is posted, the program asks.
    pub target: Option<Target>,
    pub description: Option<String>,
    pub event_types: Vec<String>,
    pub factory_id: Option<FactoryId>,
    pub organization_id: Option<OrganizationId>,
    /// What is not as usual.
    pub delivery: DeliveryChange,
    pub after_position: Option<i64>,
}

/// A secret that was made. It is read by its generation: what is kept of an answer has no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretMade {
    pub id: SubscriptionId,
    pub generation: i64,
}

impl Command for CreateSubscription {
    type Answer = SecretMade;
    const NAME: &'static str = "create_subscription";

    async fn run(&self, work: &mut Work) -> Result<SecretMade, CommandError> {
        let (factory_id, organization_id) = home(work, self.factory_id, self.organization_id).await?;
        let head = head(work).await?;
        let after_position = self.after_position.unwrap_or(head);
        in_the_log(after_position, 0, head)?;
        let standing: i64 = work.tx.query(STANDING, &[]).await?.first().map_or(0, |row| row.get(0));
        if standing >= SUBSCRIPTIONS_MAX {
            let text = format!("there are {standing} subscriptions, and {SUBSCRIPTIONS_MAX} are allowed; end those that nobody needs");
            return Err(Refusal::new(RefusalCode::SubscriptionsTooMany, text).into());
        }
        let id = SubscriptionId(facts::new_ids(&mut work.tx, "subscription_ids", 1).await?[0]);
        let terms = Terms {
            description: self.description.clone(),
            origin: self.target.as_ref().map_or_else(|| POLLED.to_owned(), Target::origin),
            event_types: self.event_types.clone(),
            factory_id,
            organization_id,
            delivery: DeliveryTerms::default().changed(&self.delivery),
        };
        work.decide(&mut Loaded::<Subscription>::absent(id), SubscriptionCommand::Create { terms, after_position })?;
        let (url, secret) = (self.target.as_ref().map(|target| target.url().as_str()), chance::webhook_secret());
        let mut beside: Vec<(&str, Vec<&(dyn tokio_postgres::types::ToSql + Sync)>)> =
            vec![(KEEP_SECRET, vec![&id, &1_i64, &secret]), (STAND, vec![&id, &after_position, &None::<i64>])];
        if url.is_some() {
            beside.push((KEEP_TARGET, vec![&id, &url]));
        }
        work.tx.query_all(&beside).await?;
        Ok(SecretMade { id, generation: 1 })
    }
}

/// Where it belongs: an organization brings its factory.
async fn home(
    work: &mut Work,
    factory: Option<FactoryId>,
    organization: Option<OrganizationId>,
) -> Result<(Option<FactoryId>, Option<OrganizationId>), CommandError> {
    if let Some(id) = organization {
        let of = facts::factory_of(&mut work.tx, FactoryTable::Organizations, id.0).await?;
        let of = of.filter(|of| work.scope.contains(*of, Some(id)));
        let of = of.ok_or_else(|| Refusal::invalid(RefusalCode::OrganizationNotFound, format!("there is no organization {id}")))?;
        return match factory {
            Some(factory) if factory != of => {
                let text = format!("organization {id} belongs to factory {of}, not to {factory}");
                Err(Refusal::new(RefusalCode::OrganizationMismatch, text).into())
            }
            _ => Ok((Some(of), organization)),
        };
    }
    if let Some(id) = factory {
        let known = facts::factory_of(&mut work.tx, FactoryTable::Factories, id.0).await?;
        known
            .filter(|known| work.scope.contains(*known, None))
            .ok_or_else(|| Refusal::invalid(RefusalCode::FactoryNotFound, format!("there is no factory {id}")))?;
    }
    Ok((factory, None))
}

async fn head(work: &mut Work) -> Result<i64, CommandError> {
    Ok(work.tx.query(HEAD, &[]).await?.first().map_or(0, |row| row.get(0)))
}

fn in_the_log(position: i64, least: i64, head: i64) -> Result<(), Refusal> {
    if (least..=head).contains(&position) {
        return Ok(());
    }
    let text = format!("{position} is no place in the log, which goes from {least} to {head}");
    Err(Refusal::new(RefusalCode::SubscriptionInvalid, text))
}

/// What is not said stays as it is.
#[derive(Clone, Debug)]
pub struct ChangeSubscription {
    pub id: SubscriptionId,
    pub target: Option<Target>,
    /// `Some(None)`: none any more.
    pub description: Option<Option<String>>,
    pub event_types: Option<Vec<String>>,
    pub delivery: DeliveryChange,
}

impl Command for ChangeSubscription {
    type Answer = ();
    const NAME: &'static str = "change_subscription";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut subscription = work.lock_and_load::<Subscription>(self.id).await?;
        let known = work.tx.query(TARGET, &[&self.id]).await?.first().map(|row| row.get::<_, String>(0));
        let moved = self.target.as_ref().filter(|target| known.as_deref() != Some(target.url().as_str()));
        let mut terms = match &subscription.state {
            Subscription::Standing { terms, .. } => terms.clone(),
            // Refused below.
            Subscription::Absent | Subscription::Ended { .. } => Terms::default(),
        };
        if let Some(target) = moved {
            terms.origin = target.origin();
        }
        if let Some(description) = &self.description {
            terms.description.clone_from(description);
        }
        if let Some(event_types) = &self.event_types {
            terms.event_types.clone_from(event_types);
        }
        terms.delivery = terms.delivery.changed(&self.delivery);
        work.decide(&mut subscription, SubscriptionCommand::Change { terms, moved: moved.is_some() })?;
        if let Some(target) = moved {
            work.tx.query(KEEP_TARGET, &[&self.id, &target.url().as_str()]).await?;
            try_at_once(work, self.id).await?;
        }
        Ok(())
    }
}

/// How long things wait after failures, and for how long quiet was asked for, was about a receiver that is repaired or another one now.
async fn try_at_once(work: &mut Work, id: SubscriptionId) -> Result<(), CommandError> {
    work.tx.query(DUE_NOW, &[&Destination::Webhook(id).to_string()]).await?;
    work.tx.wake(SubscriberName::Webhooks);
    Ok(())
}

/// Nothing is delivered until it is resumed.
#[derive(Clone, Copy, Debug)]
pub struct PauseSubscription {
    pub id: SubscriptionId,
    pub because: PauseCause,
}

impl Command for PauseSubscription {
    type Answer = ();
    const NAME: &'static str = "pause_subscription";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut subscription = work.lock_and_load::<Subscription>(self.id).await?;
        work.decide(&mut subscription, SubscriptionCommand::Pause(self.because))?;
        Ok(())
    }
}

/// It goes on where it was.
#[derive(Clone, Copy, Debug)]
pub struct ResumeSubscription(pub SubscriptionId);

impl Command for ResumeSubscription {
    type Answer = ();
    const NAME: &'static str = "resume_subscription";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut subscription = work.lock_and_load::<Subscription>(self.0).await?;
        if work.decide(&mut subscription, SubscriptionCommand::Resume)? > 0 {
            work.tx.query(GO_ON, &[&self.0]).await?;
            try_at_once(work, self.0).await?;
        }
        Ok(())
    }
}

/// Nobody is told any more. What waited goes, with a record; what is under way at this moment ends by itself.
#[derive(Clone, Copy, Debug)]
pub struct EndSubscription {
    pub id: SubscriptionId,
    pub because: EndCause,
}

impl Command for EndSubscription {
    type Answer = ();
    const NAME: &'static str = "end_subscription";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let mut subscription = work.lock_and_load::<Subscription>(self.id).await?;
        let (destination, drop_rows) = (Destination::Webhook(self.id).to_string(), drop_rows());
        let gone = work
            .tx
            .query_all(&[
                (FORGET_CURSORS, vec![&self.id]),
                (&drop_rows, vec![&destination, &self.id]),
                (FORGET_TARGET, vec![&self.id]),
                (FORGET_SECRETS, vec![&self.id]),
            ])
            .await?;
        let undelivered = gone.get(1).and_then(|rows| rows.first()).map_or(0, |row| row.get(0));
        work.decide(&mut subscription, SubscriptionCommand::End { because: self.because, undelivered })?;
        Ok(())
    }
}

/// Requests are signed with another secret, and with the ones before for a while.
#[derive(Clone, Copy, Debug)]
pub struct RotateSecret {
    pub id: SubscriptionId,
    pub overlap: Duration,
}

impl Command for RotateSecret {
    type Answer = SecretMade;
    const NAME: &'static str = "rotate_webhook_secret";

    async fn run(&self, work: &mut Work) -> Result<SecretMade, CommandError> {
        let mut subscription = work.lock_and_load::<Subscription>(self.id).await?;
        let overlap = chrono::TimeDelta::from_std(self.overlap).unwrap_or_default();
        let (now, old_until) = (work.now, work.now + overlap);
        work.decide(&mut subscription, SubscriptionCommand::RotateSecret { old_until })?;
        let newest: i64 = work.tx.query(NEWEST_SECRET, &[&self.id]).await?.first().map_or(0, |row| row.get(0));
        let (generation, too_many, secret) = (newest + 1, newest + 1 - SECRETS_MAX, chance::webhook_secret());
        let beside: [(&str, Vec<&(dyn tokio_postgres::types::ToSql + Sync)>); 2] =
            [(END_SECRETS, vec![&self.id, &old_until, &too_many, &now]), (KEEP_SECRET, vec![&self.id, &generation, &secret])];
        work.tx.query_all(&beside).await?;
        Ok(SecretMade { id: self.id, generation })
    }
}

/// Tells what it wants of these places of the log again, both included.
#[derive(Clone, Copy, Debug)]
pub struct ReplaySubscription {
    pub id: SubscriptionId,
    pub from_position: i64,
    pub to_position: i64,
}

impl Command for ReplaySubscription {
    type Answer = ();
    const NAME: &'static str = "replay_subscription";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let Self { id, from_position, to_position } = *self;
        let mut subscription = work.lock_and_load::<Subscription>(id).await?;
        let head = head(work).await?;
        in_the_log(from_position, 1, head)?;
        in_the_log(to_position, 1, head)?;
        if from_position > to_position {
            return Err(Refusal::new(RefusalCode::ReplayEmpty, "from_position must not be behind to_position").into());
        }
        let replays: i64 = work.tx.query(REPLAYS, &[&id]).await?.first().map_or(0, |row| row.get(0));
        work.decide(&mut subscription, SubscriptionCommand::Replay { from_position, to_position })?;
        if replays >= REPLAYS_MAX {
            let text = format!("{REPLAYS_MAX} replays of the subscription are under way");
            return Err(Refusal::new(RefusalCode::ReplaysTooMany, text).into());
        }
        work.tx.query(STAND, &[&id, &(from_position - 1), &Some(to_position)]).await?;
        Ok(())
    }
}

/// Tells it of one event again.
#[derive(Clone, Copy, Debug)]
pub struct Redeliver {
    pub id: SubscriptionId,
    pub position: i64,
}

impl Command for Redeliver {
    type Answer = ();
    const NAME: &'static str = "redeliver";

    async fn run(&self, work: &mut Work) -> Result<(), CommandError> {
        let Self { id, position } = *self;
        let destination = Destination::Webhook(id).to_string();
        let found = work.tx.query_all(&[(EVENT_AT, vec![&position]), (UNRESOLVED, vec![&position, &destination])]).await?;
        let event_type = found.first().and_then(|rows| rows.first()).map(|row| row.get::<_, String>(0));
        if let Some(letter) = found.last().and_then(|rows| rows.first()).map(|row| row.get::<_, i64>(0)) {
            let text = format!("its delivery died: replay dead letter {letter}");
            let refusal = Refusal::new(RefusalCode::LetterUnresolved, text);
            return Err(refusal.with(serde_json::json!({ "dead_letter_id": letter.to_string() })).into());
        }
        // Whether it is there at all is said first.
        let subscription = work.load::<Subscription>(id).await?;
        if let Subscription::Standing { terms, .. } = &subscription.state
            && !event_type.is_some_and(|event_type| wants(&terms.event_types, &event_type))
        {
            let text = format!("at {position} of the log is nothing that this subscription is told of");
            return Err(Refusal::new(RefusalCode::ReplayEmpty, text).into());
        }
        ReplaySubscription { id, from_position: position, to_position: position }.run(work).await
    }
}

/// Tells the receiver something, to see whether it arrives.
#[derive(Clone, Copy, Debug)]
pub struct TestSubscription(pub SubscriptionId);

impl Command for TestSubscription {
    /// The event that is told.
    type Answer = String;
    const NAME: &'static str = "test_subscription";

    async fn run(&self, work: &mut Work) -> Result<String, CommandError> {
        let mut subscription = work.load::<Subscription>(self.0).await?;
        work.decide(&mut subscription, SubscriptionCommand::Test)?;
        Ok(format!("{}/{}", subscription.stream(), subscription.version))
    }
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    [
        ("last place of the log", HEAD),
        ("subscriptions that have not ended", STANDING),
        ("target of a webhook, kept", KEEP_TARGET),
        ("target of a webhook", TARGET),
        ("secret of a webhook, kept", KEEP_SECRET),
        ("newest secret of a webhook", NEWEST_SECRET),
        ("secrets of a webhook, ending", END_SECRETS),
        ("cursor of a subscription, made", STAND),
        ("replays of a subscription", REPLAYS),
        ("webhook, resumed", GO_ON),
        ("type of an event", EVENT_AT),
        ("target of a webhook, forgotten", FORGET_TARGET),
        ("secrets of a webhook, forgotten", FORGET_SECRETS),
        ("cursors of a subscription, forgotten", FORGET_CURSORS),
    ]
    .map(|(name, sql)| (name, sql.to_owned()))
    .into_iter()
    .chain([("rows of a subscription, dropped with a record", drop_rows())])
    .collect()
}
