//! Behind the sequencer: grows the tree over the log, and has its heads signed.

use std::time::Duration;

use anyhow::Context as _;
use deadpool_postgres::Pool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::certificates::{Certificates, LogSigner};
use crate::eventstore::tree::{self, Grown, heads};
use crate::eventstore::{StoreError, follower};

/// Between steps: nobody waits for the tree but the next checkpoint, and each step writes the last tile anew.
const BETWEEN: Duration = Duration::from_secs(1);

/// What signs heads, under the name that the settings give the log, or else under that of its database.
pub async fn signer(origin: Option<&str>, certificates: &Certificates, pool: &Pool) -> anyhow::Result<LogSigner> {
    let origin = match origin {
        Some(origin) => origin.to_owned(),
        None => heads::name(pool).await.context("the log has no name")?,
    };
    Ok(certificates.log_signer(&origin))
}

/// Keeps up with the log, until the end. `head` makes it quick where this process leads the log.
pub async fn follow(pool: Pool, signer: LogSigner, every: Duration, head: watch::Receiver<i64>, stop: CancellationToken) {
    let step = || async {
        let Some(Grown { more, size }) = tree::grow(&pool).await? else { return Ok::<_, StoreError>(false) };
        if more {
            return Ok(true);
        }
        if let Some(head) = sign(&pool, &signer, every).await? {
            info!(log.size = head.size, "Signed the head of the log at {} events", head.size);
        }
        debug!(log.size = size, "The tree of the log has {size} events");
        Ok(false)
    };
    follower::follow("keep the tree of the log", BETWEEN, head, stop, step).await;
}

/// The tree as it is, where it is time, and there is a key.
async fn sign(pool: &Pool, signer: &LogSigner, every: Duration) -> Result<Option<heads::Head>, StoreError> {
    if !signer.can_sign() {
        return Ok(None);
    }
    heads::sign(pool, signer.origin(), every, |head| signer.sign(head).unwrap_or_default()).await
}
