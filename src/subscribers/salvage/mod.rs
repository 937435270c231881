//! Writes what is good of a damaged recording to a file of its own, and says how that ended.
//!
//! ```text
//!  salvage_requested ─► read once: what would the file be? ─► read again, and write it ─► recording_salvaged
//!                              │
//!                              └── gone, another recording, nothing to keep ─► salvage_failed
//! ```
//!
//! The first time the file is only hashed: its name is its content. So no object has a name for a while, nothing is renamed or left behind, and
//! where nothing can be kept nothing is written.
//!
//! A repeat finds the request ended, and reads nothing. Two that work on one request at the same time, as where a lease came to its end, write the same
//! bytes under the same name: an object is there when all of it is, and one takes the place of another without a reader seeing parts of both. Of
//! their ends the first one counts. A store that is away opens the circuit and costs no attempts; it never ends a request.

mod file;

use async_trait::async_trait;
use tracing::{info, warn};

use self::file::{Made, Stopped};
use super::context::context_of;
use super::upload_verification::storage_trouble;
use crate::blobs::Blobs;
use crate::commands::salvages::EndSalvage;
use crate::commands::{CommandError, Commands};
use crate::dispatcher::{Delivery, Outcome, Subscriber};
use crate::domain::episode::{EpisodeEvent, SalvageOutcome, SalvageState};
use crate::domain::routing::SubscriberName;
use crate::domain::{EpisodeId, RefusalCode, Scope};
use crate::projections::reads::Reads;
use crate::telemetry::chain;

pub struct Salvage {
    commands: Commands,
    reads: Reads,
    blobs: Blobs,
}

impl Salvage {
    pub fn new(commands: Commands, reads: Reads, blobs: Blobs) -> Self {
        Self { commands, reads, blobs }
    }

    /// Whether this request waits for its end.
    async fn is_wanted(&self, episode: EpisodeId, request: i32) -> anyhow::Result<bool> {
        let salvage = self.reads.salvage(&Scope::Everything, episode).await?;
        Ok(salvage.is_some_and(|salvage| salvage.own.request == request && salvage.own.state == SalvageState::UnderWay))
    }

    async fn work(&self, delivery: &Delivery, id: EpisodeId, request: i32) -> Outcome {
        let again = |error: String| Outcome::Retry { error, after: None };
        match self.is_wanted(id, request).await {
            Ok(true) => {}
            Ok(false) => return Outcome::Delivered,
            Err(error) => return again(format!("{error:#}")),
        }
        let episode = match self.reads.episode(&Scope::Everything, id).await {
            Ok(Some(episode)) => episode,
            Ok(None) => return Outcome::Permanent { error: format!("there is no episode {id}") },
            Err(error) => return again(chain(&error)),
        };
        let outcome = match file::make(&self.blobs, &episode.own).await {
            Ok(Made::File { key, salvaged }) => SalvageOutcome::Salvaged { object_key: key.to_string(), salvaged },
            Ok(Made::Nothing { fault, text }) => SalvageOutcome::Failed { fault, text },
            Err(Stopped::Storage(error)) => return storage_trouble(&error),
            Err(Stopped::Again(error)) => return again(error),
        };
        let word = match &outcome {
            SalvageOutcome::Salvaged { object_key, salvaged } => {
                let kept = salvaged.messages_kept;
                info!(episode.id = %id, object.key = object_key, "Salvaged {kept} messages of episode {id}");
                SalvageState::Salvaged
            }
            SalvageOutcome::Failed { fault, text } => {
                warn!(episode.id = %id, fault = fault.as_str(), error = text, "Could not salvage episode {id}: {text}");
                SalvageState::Failed
            }
        };
        let end = EndSalvage { episode: id, request, outcome };
        match self.commands.execute(&context_of(self.name(), delivery), end).await {
            Ok(()) => {
                metrics::counter!(crate::telemetry::SALVAGES, "outcome" => word.as_str()).increment(1);
                Outcome::Delivered
            }
            Err(CommandError::Refused(refusal)) if refusal.code == RefusalCode::EpisodeNotFound => {
                Outcome::Permanent { error: refusal.to_string() }
            }
            Err(CommandError::Unavailable(error) | CommandError::Unfit(error)) => again(error),
            Err(error) => again(format!("{error:#}")),
        }
    }
}

#[async_trait]
impl Subscriber for Salvage {
    fn name(&self) -> SubscriberName {
        SubscriberName::Salvage
    }

    async fn deliver(&self, delivery: &Delivery) -> Outcome {
        let event = &delivery.event;
        match (event.aggregate_id.parse(), serde_json::from_value(event.payload.clone())) {
            (Ok(id), Ok(EpisodeEvent::SalvageRequested(asked))) => self.work(delivery, EpisodeId(id), asked.request).await,
            (Ok(_), Ok(_)) => Outcome::Permanent { error: "the event asks for no salvage".to_owned() },
            (Ok(_), Err(error)) => Outcome::Permanent { error: format!("the event cannot be read: {error}") },
            (Err(error), _) => Outcome::Permanent { error: format!("the stream is no episode: {error}") },
        }
    }
}
