//! Subscriptions by the routes of a server.

use serde_json::{Value, json};

use super::asked::{ATTEMPTS, New, Subscriptions};
use crate::cli::remote::{Query, Remote};
use crate::commands::webhooks::AttemptOutcome;
use crate::domain::SubscriptionId;
use crate::domain::subscription::{DeliveryOrder, SubscriptionState};

impl Subscriptions for Remote {
    async fn list(&self, state: Option<SubscriptionState>) -> anyhow::Result<Vec<Value>> {
        let query = Query::default().and("state", state.map(|state| state.as_str()));
        Ok(self.list_of("/subscriptions", &query, i64::MAX, None).await?.items)
    }

    async fn show(&self, id: SubscriptionId) -> anyhow::Result<Value> {
        self.get(&format!("/subscriptions/{id}")).await
    }

    async fn create(&self, new: New) -> anyhow::Result<Value> {
        let New { url, event_types, description, factory, organization, after_position, per_stream } = new;
        let body = json!({
            "url": url, "event_types": event_types, "description": description, "factory_id": factory, "organization_id": organization,
            "after_position": after_position,
            "delivery": per_stream.then(|| json!({ "ordering": DeliveryOrder::PerStream })),
        });
        self.post("/subscriptions", Some(&body)).await
    }

    async fn pause(&self, id: SubscriptionId) -> anyhow::Result<()> {
        self.post(&format!("/subscriptions/{id}/pause"), None).await.map(drop)
    }

    async fn resume(&self, id: SubscriptionId) -> anyhow::Result<()> {
        self.post(&format!("/subscriptions/{id}/resume"), None).await.map(drop)
    }

    async fn delete(&self, id: SubscriptionId) -> anyhow::Result<()> {
        self.remove(&format!("/subscriptions/{id}")).await.map(drop)
    }

    async fn rotate_secret(&self, id: SubscriptionId, overlap_hours: u64) -> anyhow::Result<Value> {
        self.post(&format!("/subscriptions/{id}/rotate-secret"), Some(&json!({ "overlap_hours": overlap_hours }))).await
    }

    async fn replay(&self, id: SubscriptionId, from_position: i64, to_position: i64) -> anyhow::Result<()> {
        let between = json!({ "from_position": from_position, "to_position": to_position });
        self.post(&format!("/subscriptions/{id}/replay"), Some(&between)).await.map(drop)
    }

    async fn test(&self, id: SubscriptionId) -> anyhow::Result<Value> {
        self.post(&format!("/subscriptions/{id}/test"), None).await
    }

    async fn deliveries(&self, id: SubscriptionId, outcome: Option<AttemptOutcome>) -> anyhow::Result<Vec<Value>> {
        let query = Query::default().and("outcome", outcome.map(|outcome| outcome.as_str()));
        Ok(self.list_of(&format!("/subscriptions/{id}/deliveries"), &query, ATTEMPTS, None).await?.items)
    }
}
