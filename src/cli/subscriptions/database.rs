//! Subscriptions in the database.

use std::time::Duration;

use deadpool_postgres::Pool;
use serde_json::{Value, json};

use super::asked::{ATTEMPTS, New, Subscriptions};
use crate::commands::subscriptions::{
    CreateSubscription, EndSubscription, PauseSubscription, ReplaySubscription, ResumeSubscription, RotateSecret, SecretMade,
    TestSubscription,
};
use crate::commands::webhooks::AttemptOutcome;
use crate::commands::{Command, Commands, Context};
use crate::domain::subscription::{DeliveryChange, DeliveryOrder, EndCause, PauseCause, SubscriptionState, Target};
use crate::domain::{Actor, FactoryId, OrganizationId, SubscriptionId};
use crate::eventstore::EventStore;
use crate::http::subscriptions::{DeliveryAttempt, Subscription};
use crate::outbox::Wakes;
use crate::projections::reads::subscriptions::AttemptFilter;
use crate::projections::reads::{Page, Reads};

pub struct DatabaseSubscriptions {
    reads: Reads,
    commands: Commands,
}

impl DatabaseSubscriptions {
    pub fn new(pool: &Pool) -> Self {
        Self { reads: Reads::new(pool.clone()), commands: Commands::new(EventStore::new(pool.clone(), Wakes::default())) }
    }

    async fn execute<C: Command>(&self, command: C) -> anyhow::Result<C::Answer> {
        Ok(self.commands.execute(&Context::of(Actor::CommandLine), command).await?)
    }

    async fn secret(&self, made: SecretMade) -> anyhow::Result<Value> {
        let secret = self.reads.webhook_secret(made.id, made.generation).await?.map(|row| row.secret);
        Ok(json!({ "id": made.id.to_string(), "secret": secret }))
    }
}

impl Subscriptions for DatabaseSubscriptions {
    async fn list(&self, state: Option<SubscriptionState>) -> anyhow::Result<Vec<Value>> {
        let rows = self.reads.subscriptions(state, Page::ALL).await?.rows;
        Ok(rows.into_iter().map(|row| json!(Subscription::from(row))).collect())
    }

    async fn show(&self, id: SubscriptionId) -> anyhow::Result<Value> {
        let row = self.reads.subscription(id).await?.ok_or_else(|| anyhow::anyhow!("there is no subscription {id}"))?;
        Ok(json!(Subscription::from(row)))
    }

    async fn create(&self, new: New) -> anyhow::Result<Value> {
        let New { url, event_types, description, factory, organization, after_position, per_stream } = new;
        let target = url.map(|url| Target::parse(&url).map_err(|error| anyhow::anyhow!("the URL {error}"))).transpose()?;
        let ordering = per_stream.then_some(DeliveryOrder::PerStream);
        let command = CreateSubscription {
            target,
            description,
            event_types,
            factory_id: factory.map(FactoryId),
            organization_id: organization.map(OrganizationId),
            delivery: DeliveryChange { ordering, ..DeliveryChange::default() },
            after_position,
        };
        self.secret(self.execute(command).await?).await
    }

    async fn pause(&self, id: SubscriptionId) -> anyhow::Result<()> {
        self.execute(PauseSubscription { id, because: PauseCause::Person }).await.map(drop)
    }

    async fn resume(&self, id: SubscriptionId) -> anyhow::Result<()> {
        self.execute(ResumeSubscription(id)).await.map(drop)
    }

    async fn delete(&self, id: SubscriptionId) -> anyhow::Result<()> {
        self.execute(EndSubscription { id, because: EndCause::Deleted }).await.map(drop)
    }

    async fn rotate_secret(&self, id: SubscriptionId, overlap_hours: u64) -> anyhow::Result<Value> {
        let rotate = RotateSecret { id, overlap: Duration::from_secs(overlap_hours * 3_600) };
        self.secret(self.execute(rotate).await?).await
    }

    async fn replay(&self, id: SubscriptionId, from_position: i64, to_position: i64) -> anyhow::Result<()> {
        self.execute(ReplaySubscription { id, from_position, to_position }).await.map(drop)
    }

    async fn test(&self, id: SubscriptionId) -> anyhow::Result<Value> {
        Ok(json!({ "event_id": self.execute(TestSubscription(id)).await? }))
    }

    async fn deliveries(&self, id: SubscriptionId, outcome: Option<AttemptOutcome>) -> anyhow::Result<Vec<Value>> {
        self.show(id).await?;
        let filter = AttemptFilter { outcome: outcome.map(|outcome| outcome.as_str().to_owned()), ..AttemptFilter::default() };
        let rows = self.reads.attempts(id, &filter, Page { limit: Some(ATTEMPTS), ..Page::ALL }).await?.rows;
        Ok(rows.into_iter().map(|row| json!(DeliveryAttempt::from(row))).collect())
    }
}
