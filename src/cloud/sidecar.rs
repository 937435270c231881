//! The file beside a recording, which has to be the one that was verified with it.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::{Push, PushError, PushResult};
use crate::blobs::{BlobError, ObjectKey};
use crate::domain::episode::SidecarObject;
use crate::domain::sync::SyncFault;

/// None where there is none, also of one that was there when it was verified.
pub async fn sidecar<'a>(push: &'a Push<'_>, bytes_max: u64) -> PushResult<Option<(&'a ObjectKey, Bytes)>> {
    let Some(key) = &push.sidecar else { return Ok(None) };
    let verified = push.created.sidecar.as_ref();
    let facts = match push.blobs.head(key).await {
        Err(BlobError::NotFound(_)) => {
            if verified.is_some() {
                warn!(episode.id = push.chain.queued.episode_public_id, object.key = %key, "The sidecar `{key}` is gone");
            }
            return Ok(None);
        }
        facts => facts?,
    };
    if facts.size > bytes_max {
        let text = format!("the sidecar `{key}` has {} bytes, and at most {bytes_max} are read", facts.size);
        return Err(PushError::never(SyncFault::SourceChanged, text));
    }
    let content = push.blobs.read_range(key, 0..facts.size, Some(&facts.etag)).await?;
    if verified.is_some_and(|verified| !is_it(verified, &content)) {
        let text = format!("the sidecar `{key}` is another one than was verified: {} bytes, {}", content.len(), facts.etag);
        return Err(PushError::never(SyncFault::SourceChanged, text));
    }
    Ok(Some((key, content)))
}

/// Of one that was too large to be read then, its size is all that is known.
fn is_it(verified: &SidecarObject, content: &[u8]) -> bool {
    let has_its_hash = |sha256: &String| sha256.eq_ignore_ascii_case(&hex::encode(Sha256::digest(content)));
    verified.size_bytes == content.len() as u64 && verified.sha256.as_ref().is_none_or(has_its_hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_is_known_by_its_size_and_its_hash() {
        let sha256 = hex::encode(Sha256::digest(b"{}")).to_ascii_uppercase();
        let verified = SidecarObject { size_bytes: 2, sha256: Some(sha256) };
        assert!(is_it(&verified, b"{}") && !is_it(&verified, b"[]") && !is_it(&verified, b"{} "));
        let too_large = SidecarObject { size_bytes: 2, sha256: None };
        assert!(is_it(&too_large, b"[]") && !is_it(&too_large, b"[] "));
    }
}
