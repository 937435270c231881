//! A look at the objects of an episode that was measured before: whether they are there, whether they are the same, and whether they have both ends.

use super::object::{Objects, measure_object};
use crate::blobs::{BlobError, Blobs, ObjectFacts, ObjectKey};
use crate::commands::qa::ToLookAt;
use crate::domain::measurement::{self, Facts, SidecarFacts, spaced_hex};
use crate::mcap::RangedRead;
use crate::mcap::measure::sidecar_facts;

/// The magic at each end.
const MAGIC_BYTES: u64 = 8;

/// What is known now. An object that is the one which was measured is not read again, but for its ends.
pub async fn look_again(blobs: &Blobs, episode: &ToLookAt, sidecar_bytes_max: u64) -> Result<Facts, BlobError> {
    let sidecar = match &episode.sidecar_path {
        Some(path) => Some(sidecar(blobs, &key_of(path)?, sidecar_bytes_max).await?),
        None => None,
    };
    let key = key_of(&episode.mcap_path)?;
    let head = match blobs.head(&key).await {
        Err(BlobError::NotFound(_)) => return Ok(Facts { sidecar, ..gone(episode) }),
        head => head?,
    };
    let facts = match &episode.facts {
        Some(facts) if is_measured(episode, facts, &head) => with_ends(blobs, &key, &head, facts).await,
        _ => measured_anew(blobs, &key, &head).await,
    };
    match facts {
        // It went while it was looked at.
        Err(BlobError::NotFound(_)) => Ok(Facts { sidecar, ..gone(episode) }),
        facts => Ok(Facts { sidecar, ..facts? }),
    }
}

async fn measured_anew(blobs: &Blobs, key: &ObjectKey, head: &ObjectFacts) -> Result<Facts, BlobError> {
    let read = measure_object(blobs, key, head).await?;
    read.passed.facts.ok_or_else(|| BlobError::Invalid(anyhow::anyhow!("`{key}` could not be measured").into()))
}

/// `<bucket>/<key>`: the bucket is ours.
pub fn key_of(path: &str) -> Result<ObjectKey, BlobError> {
    let key = path.split_once('/').map_or(path, |(_, key)| key);
    ObjectKey::new(key).map_err(|error| BlobError::Invalid(error.into()))
}

fn gone(episode: &ToLookAt) -> Facts {
    let known = episode.facts.clone().unwrap_or_else(|| Facts::none(episode.size_bytes));
    Facts { gone: true, head_magic: String::new(), tail_magic: String::new(), ..known }
}

/// Whether these facts are of this very object, and of the code of today.
fn is_measured(episode: &ToLookAt, facts: &Facts, head: &ObjectFacts) -> bool {
    // Facts of an earlier version do not say which object they are of: those with its hash are of the one that was verified.
    let of_verified = || facts.sha256.as_deref().is_some_and(|sha256| sha256.eq_ignore_ascii_case(&episode.sha256));
    let measured = facts.etag.as_deref().or_else(|| episode.etag.as_deref().filter(|_| of_verified()));
    measured.is_some_and(|etag| crate::blobs::same_etag(etag, &head.etag))
        && head.size == facts.size_bytes
        && facts.measured_by == measurement::VERSION
        && !facts.gone
}

async fn with_ends(blobs: &Blobs, key: &ObjectKey, head: &ObjectFacts, facts: &Facts) -> Result<Facts, BlobError> {
    let reader = Objects { blobs, key, etag: &head.etag };
    let (size, end) = (head.size, MAGIC_BYTES.min(head.size));
    let (first, last) = (reader.read(0..end).await?, reader.read(size - end..size).await?);
    Ok(Facts { head_magic: spaced_hex(&first), tail_magic: spaced_hex(&last), ..facts.clone() })
}

async fn sidecar(blobs: &Blobs, key: &ObjectKey, max_bytes: u64) -> Result<SidecarFacts, BlobError> {
    let head = match blobs.head(key).await {
        Err(BlobError::NotFound(_)) => return Ok(SidecarFacts::Missing),
        head => head?,
    };
    match head.size {
        0 => Ok(SidecarFacts::Empty),
        size if size > max_bytes => Ok(SidecarFacts::TooLarge { size_bytes: size, max_bytes }),
        size => match blobs.read_range(key, 0..size, Some(&head.etag)).await {
            Err(BlobError::NotFound(_)) => Ok(SidecarFacts::Missing),
            bytes => Ok(sidecar_facts(&bytes?)),
        },
    }
}
