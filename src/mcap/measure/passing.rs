//! Tier 3 and the hash in one pass over bytes that come from elsewhere: an object is read once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tracing::error;

use super::super::read::Pieces;
use super::look::Look;
use super::scan::Limits;
use super::whole::measure_whole;
use crate::domain::measurement::Facts;
use crate::telemetry::chain;

/// What a pass over all bytes found.
pub struct Passed {
    /// Without where they could not be measured: nothing is lost but facts.
    pub facts: Option<Facts>,
    /// In hex.
    pub sha256: String,
    pub bytes: u64,
}

/// Reads every piece once. While one is hashed, the one before it is measured on a thread of its own.
pub async fn measure_passing<E>(pieces: impl Stream<Item = Result<Bytes, E>>, look: Arc<Look>, limits: Limits) -> Result<Passed, E> {
    let (to_measure, waiting) = mpsc::channel(1);
    let measuring = tokio::task::spawn_blocking(move || {
        // A mistake in our code costs facts, and never an upload that is waited for.
        catch_unwind(AssertUnwindSafe(|| measure_whole(Pieces::new(waiting), &look, limits)))
    });
    let (mut hash, mut bytes, mut wanted) = (Sha256::new(), 0, true);
    let mut pieces = std::pin::pin!(pieces);
    while let Some(piece) = pieces.try_next().await? {
        bytes += piece.len() as u64;
        let hashed = piece.clone();
        // Milliseconds, which is long for a thread that also serves sockets.
        let updated = tokio::task::spawn_blocking(move || {
            hash.update(&hashed);
            hash
        });
        if wanted {
            wanted = to_measure.send(piece).await.is_ok();
        }
        hash = match updated.await {
            Ok(hash) => hash,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
    }
    drop(to_measure);
    let sha256 = hex::encode(hash.finalize());
    let facts = match measuring.await {
        Ok(Ok(Ok(facts))) => Some(Facts { sha256: Some(sha256.clone()), ..facts }),
        Ok(Ok(Err(unread))) => {
            error!(error = chain(&unread), "A recording could not be measured: {unread}");
            None
        }
        Ok(Err(_)) | Err(_) => {
            error!("A recording could not be measured: the measuring code panicked");
            None
        }
    };
    Ok(Passed { facts, sha256, bytes })
}
