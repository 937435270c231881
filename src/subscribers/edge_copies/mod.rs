//! Removes copies of recordings from the edge storage, brings them back from the cloud, and looks at them where a person asks.
//!
//! ```text
//!  edge_copy_removal_requested ─► is it wanted still? ─► has each cloud what it had? ─► removed, and seen to be gone ─► edge_copy_removed
//!                                                               └── no, or not told ─► edge_copy_removal_failed
//!  edge_copy_restore_requested ─► is it wanted still? ─► read from the cloud, hashed, written ─► edge_copy_restored
//!                                                               └── another content, or nothing was written ─► edge_copy_restore_failed
//!  copy_look_requested ─► looked at, all of its bytes ─► copy_found_sound, copy_found_damaged
//! ```
//!
//! A repeat finds the request ended, or does it again: what is gone already is removed, and a restore writes the same bytes. Two that work on one
//! request at the same time do the same, and the end that comes first counts.

mod look;
mod restore;

use std::collections::BTreeMap;

use async_trait::async_trait;
use tracing::{info, warn};

pub use self::look::Looker;
use self::restore::NotRestored;
use super::cloud_sync::Clouds;
use super::context::context_of;
use crate::blobs::{BlobError, ObjectKey};
use crate::cloud::Found;
use crate::commands::copies::{CheckEdgeCopyWork, EdgeCopyWork, EndEdgeCopyWork, NoteLooks, ReadCopies};
use crate::commands::{CommandError, Context};
use crate::dispatcher::{Delivery, Outcome, Subscriber};
use crate::domain::EpisodeId;
use crate::domain::episode::{CopyFailure, CopyFault, CopyPlace, EdgeCopyOutcome, EpisodeEvent};
use crate::domain::routing::SubscriberName;
use crate::domain::sync::{CloudName, Pushed};
use crate::qa::key_of;
use crate::telemetry::{EDGE_COPIES, chain};

pub struct EdgeCopies(Looker);

/// Why there is no end yet.
struct NotYet(String);

impl EdgeCopies {
    pub fn new(looker: Looker) -> Self {
        Self(looker)
    }

    async fn work(&self, delivery: &Delivery, id: EpisodeId, request: i32) -> Outcome {
        let context = context_of(self.name(), delivery);
        let request_of = CheckEdgeCopyWork { episode: id, request };
        let work = match self.0.commands.execute(&context, request_of.clone()).await {
            Ok(Some(work)) => work,
            Ok(None) => return Outcome::Delivered,
            Err(CommandError::Refused(refusal)) => return Outcome::Permanent { error: refusal.to_string() },
            Err(error) => return again(&error),
        };
        let key = match key_of(&work.created.mcap_path) {
            Ok(key) => key,
            Err(error) => return Outcome::Permanent { error: chain(&error) },
        };
        let outcome = if work.is_removal {
            match self.remove(&context, request_of, &key, &work).await {
                Ok(Some(outcome)) => outcome,
                Ok(None) => return Outcome::Delivered,
                Err(NotYet(error)) => return Outcome::Retry { error, after: None },
            }
        } else {
            match restore::restore(&self.0.blobs, &self.0.clouds, &key, &work).await {
                Ok(etag) => EdgeCopyOutcome::Restored { etag },
                Err(NotRestored::Failed(failure)) => EdgeCopyOutcome::NotRestored(failure),
                Err(NotRestored::NotSeen(error)) => return Outcome::Retry { error, after: None },
            }
        };
        tell(id, &outcome);
        let done = self.0.commands.execute(&context, EndEdgeCopyWork { episode: id, request, outcome }).await;
        match done {
            Ok(()) => Outcome::Delivered,
            Err(CommandError::Refused(refusal)) => Outcome::Permanent { error: refusal.to_string() },
            Err(error) => again(&error),
        }
    }

    /// None: another worker ended it meanwhile.
    async fn remove(
        &self,
        context: &Context,
        request: CheckEdgeCopyWork,
        key: &ObjectKey,
        work: &EdgeCopyWork,
    ) -> Result<Option<EdgeCopyOutcome>, NotYet> {
        match self.is_there(key).await {
            // An earlier delivery removed it, and nobody heard of it; or it was lost, and there is nothing to keep.
            Ok(false) => return Ok(Some(EdgeCopyOutcome::Removed)),
            Ok(true) => {}
            Err(failure) => return Ok(Some(EdgeCopyOutcome::NotRemoved(failure))),
        }
        if let Some(failure) = not_in_clouds(&self.0.clouds, &work.clouds).await {
            return Ok(Some(EdgeCopyOutcome::NotRemoved(failure)));
        }
        // Clouds may take their time: who was taken for lost meanwhile removes nothing that was brought back since.
        match self.0.commands.execute(context, request).await {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(error) => return Err(NotYet(format!("{error:#}"))),
        }
        let failed = |error: &BlobError| CopyFailure::new(CopyFault::EdgeStorage, format!("the store did not remove it: {}", chain(error)));
        let removed = self.0.blobs.delete(key).await;
        match self.is_there(key).await {
            Ok(false) => Ok(Some(EdgeCopyOutcome::Removed)),
            // What cannot be seen may be gone: it is looked at until it can be.
            Err(failure) => Err(NotYet(failure.text)),
            Ok(true) => Ok(Some(EdgeCopyOutcome::NotRemoved(match &removed {
                Err(error) => failed(error),
                Ok(()) => CopyFailure::new(CopyFault::EdgeStorage, "the store says that it removed it, and still has it"),
            }))),
        }
    }

    /// A look that a person asked for.
    async fn look(&self, delivery: &Delivery, id: EpisodeId, place: CopyPlace) -> Outcome {
        let context = context_of(self.name(), delivery);
        let copies = match self.0.commands.execute(&context, ReadCopies(id)).await {
            Err(CommandError::Refused(refusal)) => return Outcome::Permanent { error: refusal.to_string() },
            Err(error) => return again(&error),
            Ok(copies) => copies,
        };
        // It was removed, or pushed anew to fewer clouds, since it was asked.
        let is_there = match place {
            CopyPlace::Edge => copies.known.must_be_readable().is_ok(),
            place => copies.clouds.keys().any(|cloud| CopyPlace::from(*cloud) == place),
        };
        if !is_there {
            return Outcome::Delivered;
        }
        let look = match self.0.look(id, &copies, place, true).await {
            Ok(look) => look,
            Err(untold) => return Outcome::Retry { error: untold.to_string(), after: None },
        };
        let note = NoteLooks { episode: id, chain: copies.chain, requests: copies.known.copies.requests, looks: vec![(place, look)] };
        match self.0.commands.execute(&context, note).await {
            Ok(()) => Outcome::Delivered,
            Err(error) => again(&error),
        }
    }

    async fn is_there(&self, key: &ObjectKey) -> Result<bool, CopyFailure> {
        match self.0.blobs.head(key).await {
            Ok(_) => Ok(true),
            Err(BlobError::NotFound(_)) => Ok(false),
            Err(error) => {
                Err(CopyFailure::new(CopyFault::EdgeStorage, format!("the store does not say whether it is there: {}", chain(&error))))
            }
        }
    }
}

fn again(error: &CommandError) -> Outcome {
    Outcome::Retry { error: format!("{error:#}"), after: None }
}

fn tell(id: EpisodeId, outcome: &EdgeCopyOutcome) {
    use EdgeCopyOutcome as O;
    let word = match outcome {
        O::Removed => {
            info!(episode.id = %id, "Removed the copy of episode {id} from the edge storage; the cloud has it");
            "removed"
        }
        O::NotRemoved(failure) => {
            warn!(episode.id = %id, error = failure.text, "Kept the copy of episode {id} in the edge storage: {}", failure.text);
            "delete_failed"
        }
        O::Restored { .. } => {
            info!(episode.id = %id, "Brought episode {id} back to the edge storage");
            "restored"
        }
        O::NotRestored(failure) => {
            warn!(episode.id = %id, error = failure.text, "Could not bring episode {id} back from the cloud: {}", failure.text);
            "restore_failed"
        }
    };
    metrics::counter!(EDGE_COPIES, "outcome" => word).increment(1);
}

/// Why it is not known that each of these clouds has what it had; none: they all say so.
async fn not_in_clouds(clouds: &Clouds, pushed: &BTreeMap<CloudName, Pushed>) -> Option<CopyFailure> {
    let failure = |fault, name: CloudName, why: &str| Some(CopyFailure::new(fault, format!("cloud `{}`: {why}", name.as_str())));
    if pushed.is_empty() {
        return Some(CopyFailure::new(CopyFault::NotInCloud, "no cloud is known to have it"));
    }
    for (name, pushed) in pushed {
        let Some(cloud) = clouds.get(name) else {
            return failure(CopyFault::CloudAway, *name, "the settings do not name it any more");
        };
        match cloud.look(pushed).await {
            Ok(Found::Sound) => {}
            Ok(Found::Damaged(why)) => return failure(CopyFault::NotInCloud, *name, &why),
            Ok(Found::Untold(why)) => return failure(CopyFault::CloudAway, *name, &why),
            Err(error) => return failure(CopyFault::CloudAway, *name, &error.to_string()),
        }
    }
    None
}

#[async_trait]
impl Subscriber for EdgeCopies {
    fn name(&self) -> SubscriberName {
        SubscriberName::EdgeCopies
    }

    async fn deliver(&self, delivery: &Delivery) -> Outcome {
        use EpisodeEvent as E;
        let event = &delivery.event;
        match (event.aggregate_id.parse(), serde_json::from_value(event.payload.clone())) {
            (Ok(id), Ok(E::EdgeCopyRemovalRequested { request, .. } | E::EdgeCopyRestoreRequested { request, .. })) => {
                self.work(delivery, EpisodeId(id), request).await
            }
            (Ok(id), Ok(E::CopyLookRequested { place, .. })) => self.look(delivery, EpisodeId(id), place).await,
            (Ok(_), Ok(_)) => Outcome::Permanent { error: "the event asks for nothing of a copy".to_owned() },
            (Ok(_), Err(error)) => Outcome::Permanent { error: format!("the event cannot be read: {error}") },
            (Err(error), _) => Outcome::Permanent { error: format!("the stream is no episode: {error}") },
        }
    }
}
