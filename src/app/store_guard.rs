//! What was verified stays: asked by the embedded store before it replaces or deletes an object.
//!
//! An object that an episode names, or whose upload is being verified, keeps its bytes. Uploaders send a file again
//! after a crash; the same bytes are answered as if they had been written, and change nothing. Other bytes are
//! answered with 503. Real uploaders were seen to survive nothing else: 403 makes them give the file up
//! at once and for ever, and a success would end in an ack for a file that is not the verified one. They try again,
//! keep their file, and the task's history tells a person why.
//!
//! An upload counts as being verified from the transaction that reports it to the verdict about that very report, whatever
//! becomes of the task meanwhile. The store decides under a lock per key,
//! through which the first look of a verification passes: a write that was let through before is seen by it, and one
//! that comes after finds the report.
//!
//! A recording whose copy is removed or brought back ([`EdgeCopyStatus`]) is deleted or replaced by this server alone, and only meanwhile.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::adapters::looked_up;
use crate::commands::uploads::NoteRefusedWrite;
use crate::commands::{CommandError, Commands, Context};
use crate::domain::TaskId;
use crate::domain::episode::EdgeCopyStatus;
use crate::domain::task::RefusedWrite;
use crate::embedded::s3::guard::{Delete, Deleting, Guard, Refusal, RefusalKind, Replace, Replacing};
use crate::projections::reads::Reads;
use crate::telemetry::chain;

/// Refused writes that wait to be recorded. A robot repeats its own, so one that finds no room is not lost.
const WAITING_MAX: usize = 64;

/// The guard, and what has to be recorded of its refusals.
pub struct StoreGuard {
    reads: Reads,
    bucket: String,
    /// This server's own key to the store.
    own_key: &'static str,
    refused: mpsc::Sender<NoteRefusedWrite>,
}

/// Refused writes, for the task that records them.
pub struct RefusedWrites(mpsc::Receiver<NoteRefusedWrite>);

impl StoreGuard {
    pub fn new(reads: Reads, bucket: &str, own_key: &'static str) -> (Arc<Self>, RefusedWrites) {
        let (refused, waiting) = mpsc::channel(WAITING_MAX);
        (Arc::new(Self { reads, bucket: bucket.to_owned(), own_key, refused }), RefusedWrites(waiting))
    }

    fn note(&self, task: TaskId, write: &Replacing<'_>) {
        let refused = RefusedWrite {
            object_key: write.key.to_owned(),
            offered_bytes: write.new.bytes,
            offered_etag: write.new.etag.clone(),
            access_key: write.access_key.to_owned(),
        };
        warn!(task.id = %task, object.key = write.key, "Kept the object `{}` of task {task}; other bytes were offered for it", write.key);
        // No room is no harm, see above.
        let _ = self.refused.try_send(NoteRefusedWrite { task, write: refused });
    }
}

fn later(reason: &str) -> Refusal {
    Refusal { kind: RefusalKind::Unavailable, reason: reason.to_owned() }
}

#[async_trait]
impl Guard for StoreGuard {
    async fn replace(&self, write: Replacing<'_>) -> Replace {
        // Where there is nothing, nothing can be lost, and the database need not be asked.
        if write.old.is_none() || write.bucket != self.bucket {
            return Replace::Allow;
        }
        let claim = looked_up("who has a claim to an object", self.reads.claim_to_object(write.bucket, write.key)).await;
        if let Ok(None) = claim {
            return Replace::Allow;
        }
        // What is brought back from the cloud was compared with the episode.
        if matches!(&claim, Ok(Some(claim)) if claim.edge_copy == Some(EdgeCopyStatus::Restoring)) && write.access_key == self.own_key {
            return Replace::Allow;
        }
        match (write.same_bytes().await, claim) {
            (Ok(true), _) => Replace::KeepOld,
            (Ok(false), Ok(Some(claim))) => {
                self.note(claim.task_id, &write);
                Replace::Refuse(later(if claim.verified {
                    "an episode names this object, and it keeps its bytes"
                } else {
                    "this object is being verified, and keeps its bytes meanwhile"
                }))
            }
            (Ok(false), _) => Replace::Refuse(later("whether this object may be replaced cannot be looked up now")),
            (Err(error), _) => {
                warn!(error = chain(&error), object.key = write.key, "Cannot compare two objects: {error}");
                Replace::Refuse(later("the object that is there cannot be read now"))
            }
        }
    }

    async fn delete(&self, deletion: Deleting<'_>) -> Delete {
        if deletion.bucket != self.bucket {
            return Delete::Allow;
        }
        match looked_up("who has a claim to an object", self.reads.claim_to_object(deletion.bucket, deletion.key)).await {
            Ok(None) => Delete::Allow,
            // It is in the cloud.
            Ok(Some(claim)) if claim.edge_copy == Some(EdgeCopyStatus::Deleting) && deletion.access_key == self.own_key => Delete::Allow,
            Ok(Some(_)) => Delete::Refuse(Refusal {
                kind: RefusalKind::Denied,
                reason: "an episode names this object, or it is being verified; it stays".to_owned(),
            }),
            Err(_) => Delete::Refuse(later("whether this object may be deleted cannot be looked up now")),
        }
    }
}

impl RefusedWrites {
    /// Records them, one after the other, until `stop`.
    pub async fn record(mut self, commands: Commands, stop: CancellationToken) {
        loop {
            let refused = tokio::select! {
                () = stop.cancelled() => return,
                refused = self.0.recv() => refused,
            };
            let Some(refused) = refused else { return };
            match commands.execute(&Context::system(), refused).await {
                // The task was deleted meanwhile.
                Ok(()) | Err(CommandError::Refused(_)) => {}
                Err(error) => warn!(error = format!("{error:#}"), "Cannot record that an object was kept: {error:#}"),
            }
        }
    }
}
