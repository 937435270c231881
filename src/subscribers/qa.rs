//! Judges new episodes.
//!
//! A repeat finds the run ended: it has the name of the event, and nothing is done twice under one name. So does one that
//! comes when a person has judged the episode already.

use async_trait::async_trait;

use super::context::context_of;
use super::upload_verification::storage_trouble;
use crate::commands::CommandError;
use crate::dispatcher::{Delivery, Outcome, Subscriber};
use crate::domain::routing::SubscriberName;
use crate::domain::{EpisodeId, RefusalCode};
use crate::qa::{NotRun, Runs};
use crate::telemetry::chain;

pub struct Qa {
    runs: Runs,
    /// Off, new episodes wait until a person asks.
    enabled: bool,
}

impl Qa {
    pub fn new(runs: Runs, enabled: bool) -> Self {
        Self { runs, enabled }
    }
}

#[async_trait]
impl Subscriber for Qa {
    fn name(&self) -> SubscriberName {
        SubscriberName::Qa
    }

    async fn deliver(&self, delivery: &Delivery) -> Outcome {
        if !self.enabled {
            return Outcome::Delivered;
        }
        let episode = match delivery.event.aggregate_id.parse() {
            Ok(id) => EpisodeId(id),
            Err(error) => return Outcome::Permanent { error: format!("the stream is no episode: {error}") },
        };
        let run = format!("auto/{}", delivery.event.event_id());
        match self.runs.judge_new(&context_of(self.name(), delivery), episode, &run).await {
            Ok(_) => Outcome::Delivered,
            Err(NotRun::Storage(error)) => storage_trouble(&error),
            Err(NotRun::Command(CommandError::Refused(refusal))) => match refusal.code {
                // A person was quicker, or a run of theirs goes on.
                RefusalCode::NotPendingQa | RefusalCode::EpisodeNotFound => Outcome::Delivered,
                _ => Outcome::Retry { error: refusal.to_string(), after: None },
            },
            Err(error @ (NotRun::TimedOut(_) | NotRun::Command(_))) => Outcome::Retry { error: chain(&error), after: None },
        }
    }
}
