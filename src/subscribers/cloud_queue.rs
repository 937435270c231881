//! Puts approved episodes into the queue of the cloud, where that is wanted, and takes out what may not be there any more.
//!
//! ```text
//!  episode_approved ─────── pushed by itself? ─► queued
//!  episode_approval_lost, episode_labelled ────► what waits is given up; what is on its way, its worker gives up
//!  auto_scan_switched ─────────────────────────► all that was approved before is queued
//! ```
//!
//! A repeat finds the episode queued, or nothing to end. What happened is not what is true now: each looks at the episode as it is.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::context::context_of;
use crate::commands::sync::{EndUnwantedSync, QueueSync};
use crate::commands::{CommandError, Commands, Context};
use crate::dispatcher::{Delivery, Outcome, Subscriber};
use crate::domain::EpisodeId;
use crate::domain::routing::SubscriberName;
use crate::domain::sync::{CloudName, SyncReason};
use crate::projections::reads::Reads;

pub struct CloudQueue {
    commands: Commands,
    reads: Reads,
    clouds: Vec<CloudName>,
    /// Where nobody has switched it.
    auto_scan: bool,
}

impl CloudQueue {
    pub fn new(commands: Commands, reads: Reads, clouds: Vec<CloudName>, auto_scan: bool) -> Self {
        Self { commands, reads, clouds, auto_scan }
    }

    async fn pushes_by_itself(&self) -> anyhow::Result<bool> {
        Ok(!self.clouds.is_empty() && self.reads.auto_scan(self.auto_scan).await?)
    }

    async fn approved(&self, context: &Context, episode: EpisodeId) -> anyhow::Result<()> {
        if !self.pushes_by_itself().await? {
            return Ok(());
        }
        let queue = QueueSync { episode, reason: SyncReason::AutoScan, clouds: self.clouds.clone() };
        match self.commands.execute(context, queue).await {
            // It is there, on its way, or not approved any more.
            Ok(_) | Err(CommandError::Refused(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn unwanted(&self, context: &Context, episode: EpisodeId) -> anyhow::Result<()> {
        if self.commands.execute(context, EndUnwantedSync(episode)).await? {
            info!(episode.id = %episode, "Episode {episode} is not pushed to the cloud any more");
        }
        Ok(())
    }

    /// Queues what was approved and is not queued yet, where that is wanted.
    pub async fn approved_before(&self, context: &Context, stop: &CancellationToken) -> anyhow::Result<()> {
        if !self.pushes_by_itself().await? {
            return Ok(());
        }
        let queued = self.commands.queue_approved(context, &self.clouds, stop).await?;
        if queued > 0 {
            info!("Queued {queued} episodes for the cloud that were approved before");
        }
        Ok(())
    }
}

#[async_trait]
impl Subscriber for CloudQueue {
    fn name(&self) -> SubscriberName {
        SubscriberName::CloudQueue
    }

    async fn deliver(&self, delivery: &Delivery) -> Outcome {
        let (event, context) = (&delivery.event, context_of(self.name(), delivery));
        let episode = || event.aggregate_id.parse().map(EpisodeId).map_err(anyhow::Error::from);
        let done = match (event.event_type.as_str(), episode()) {
            ("auto_scan_switched", _) => self.approved_before(&context, &CancellationToken::new()).await,
            ("episode_approved", Ok(episode)) => self.approved(&context, episode).await,
            ("episode_approval_lost" | "episode_labelled", Ok(episode)) => self.unwanted(&context, episode).await,
            (other, _) => return Outcome::Permanent { error: format!("`{other}` of {} is nothing for the queue", event.aggregate_id) },
        };
        match done {
            Ok(()) => Outcome::Delivered,
            Err(error) => Outcome::Retry { error: format!("{error:#}"), after: None },
        }
    }
}
