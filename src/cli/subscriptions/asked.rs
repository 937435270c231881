//! What is asked about subscriptions, wherever they are.

use serde_json::Value;

use crate::commands::webhooks::AttemptOutcome;
use crate::domain::SubscriptionId;
use crate::domain::subscription::SubscriptionState;

/// Attempts that are shown.
pub const ATTEMPTS: i64 = 50;

/// What a new subscription is to be.
pub struct New {
    /// Where it is posted to, as it was given.
    pub url: String,
    pub event_types: Vec<String>,
    pub description: Option<String>,
    pub factory: Option<i64>,
    pub organization: Option<i64>,
    pub after_position: Option<i64>,
    pub per_stream: bool,
}

/// Where it is done.
pub trait Subscriptions {
    async fn list(&self, state: Option<SubscriptionState>) -> anyhow::Result<Vec<Value>>;
    async fn show(&self, id: SubscriptionId) -> anyhow::Result<Value>;
    /// With its secret.
    async fn create(&self, new: New) -> anyhow::Result<Value>;
    async fn pause(&self, id: SubscriptionId) -> anyhow::Result<()>;
    async fn resume(&self, id: SubscriptionId) -> anyhow::Result<()>;
    async fn delete(&self, id: SubscriptionId) -> anyhow::Result<()>;
    /// With its new secret.
    async fn rotate_secret(&self, id: SubscriptionId, overlap_hours: u64) -> anyhow::Result<Value>;
    async fn replay(&self, id: SubscriptionId, from_position: i64, to_position: i64) -> anyhow::Result<()>;
    async fn test(&self, id: SubscriptionId) -> anyhow::Result<Value>;
    async fn deliveries(&self, id: SubscriptionId, outcome: Option<AttemptOutcome>) -> anyhow::Result<Vec<Value>>;
}
