//! A look at one copy: whether it is what it was.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::super::cloud_sync::Clouds;
use crate::blobs::{BlobError, Blobs, same_etag};
use crate::cloud::Found;
use crate::cloud::content::content;
use crate::commands::Commands;
use crate::commands::copies::CopiesOfEpisode;
use crate::domain::EpisodeId;
use crate::domain::episode::{CopyPlace, Look, LookDepth};
use crate::domain::sync::CloudName;
use crate::mcap::ReadSummaryError;
use crate::mcap::measure::look as look_at_recording;
use crate::qa::{Objects, key_of};
use crate::telemetry::{COPY_LOOK_BYTES, COPY_LOOKS, chain};

/// Looks at copies, reading at most so many bytes in a second; 0: as fast as it goes.
#[derive(Clone)]
pub struct Looker {
    pub commands: Commands,
    pub blobs: Blobs,
    pub clouds: Clouds,
    pub bytes_per_s: u64,
}

/// A copy could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Untold(String);

impl From<BlobError> for Untold {
    fn from(error: BlobError) -> Self {
        Self(chain(&error))
    }
}

/// What was found, and how far it was looked at.
struct Finding {
    depth: LookDepth,
    /// None: it is sound, as far as that.
    damage: Option<String>,
}

impl Finding {
    fn summary(damage: Option<String>) -> Self {
        Self { depth: LookDepth::Summary, damage }
    }
}

impl Looker {
    /// Looks at the copy at this place; `whole`: at all of its bytes, where they can be read.
    pub async fn look(&self, id: EpisodeId, copies: &CopiesOfEpisode, place: CopyPlace, whole: bool) -> Result<Look, Untold> {
        let cloud = copies.clouds.keys().copied().find(|cloud| CopyPlace::from(*cloud) == place);
        let found = match (place, cloud) {
            (CopyPlace::Edge, _) => self.edge(copies, whole).await,
            (_, Some(cloud)) => self.in_cloud(copies, cloud, whole).await,
            (_, None) => Err(Untold("it is not known to lie there".to_owned())),
        };
        let found = found.map(|Finding { depth, damage }| Look::new(depth, damage.as_deref(), self.commands.now()));
        let at = place.as_str();
        let (depth, outcome) = match &found {
            Ok(Look { depth, damage: None, .. }) => (*depth, "sound"),
            Ok(Look { depth, damage: Some(damage), .. }) => {
                warn!(episode.id = %id, copy.place = at, error = damage, "The copy of episode {id} at `{at}` is damaged: {damage}");
                (*depth, "damaged")
            }
            Err(untold) => {
                warn!(episode.id = %id, copy.place = at, error = untold.0, "Cannot look at the copy of episode {id} at `{at}`: {untold}");
                (LookDepth::Summary, "untold")
            }
        };
        metrics::counter!(COPY_LOOKS, "place" => at, "depth" => depth.as_str(), "outcome" => outcome).increment(1);
        found
    }

    async fn edge(&self, copies: &CopiesOfEpisode, whole: bool) -> Result<Finding, Untold> {
        let (known, created) = (&copies.known, &copies.known.created);
        let key = key_of(&created.mcap_path)?;
        let head = match self.blobs.head(&key).await {
            Err(BlobError::NotFound(_)) => return Ok(Finding::summary(Some("the object is not in the store any more".to_owned()))),
            head => head?,
        };
        if head.size != created.file_size_bytes {
            let text = format!("the object has {} bytes, and the recording had {}", head.size, created.file_size_bytes);
            return Ok(Finding::summary(Some(text)));
        }
        // An operator may have put the same bytes there once more.
        let is_other = known.etag().is_some_and(|etag| !same_etag(etag, &head.etag));
        if is_other || whole {
            let sha256 = self.hashed(CopyPlace::Edge, self.blobs.pieces(&key, &head)).await?;
            self.blobs.is_still(&key, &head).await?;
            return Ok(Finding { depth: LookDepth::Content, damage: differs(&sha256, &created.checksum) });
        }
        // Of a recording that was taken although it is damaged, its summary says nothing new.
        if created.damage.is_some() {
            return Ok(Finding::summary(None));
        }
        let reader = Objects { blobs: &self.blobs, key: &key, etag: &head.etag };
        Ok(Finding::summary(match look_at_recording(&reader, head.size).await {
            Ok(look) => look.summary.err().filter(crate::mcap::Unsound::is_damage).map(|unsound| unsound.to_string()),
            Err(ReadSummaryError::Read(error)) => return Err(error.into()),
            Err(error @ (ReadSummaryError::Unsound(_) | ReadSummaryError::ShortRead { .. })) => Some(error.to_string()),
        }))
    }

    async fn in_cloud(&self, copies: &CopiesOfEpisode, name: CloudName, whole: bool) -> Result<Finding, Untold> {
        let (Some(cloud), Some(pushed)) = (self.clouds.get(&name), copies.clouds.get(&name)) else {
            return Err(Untold("the settings do not name the cloud any more".to_owned()));
        };
        let damage = match cloud.look(pushed).await.map_err(|error| Untold(error.to_string()))? {
            Found::Sound => None,
            Found::Damaged(damage) => Some(damage),
            Found::Untold(why) => return Err(Untold(why)),
        };
        if damage.is_some() || !name.gives_back() || !whole {
            return Ok(Finding::summary(damage));
        }
        let pieces = content(cloud.clone(), Arc::new(pushed.clone())).map(|piece| piece.map_err(|error| Untold(error.to_string())));
        let sha256 = self.hashed(name.into(), pieces).await?;
        Ok(Finding { depth: LookDepth::Content, damage: differs(&sha256, &copies.known.created.checksum) })
    }

    async fn hashed<E>(&self, place: CopyPlace, pieces: impl Stream<Item = Result<Bytes, E>>) -> Result<String, Untold>
    where
        Untold: From<E>,
    {
        let (mut pieces, mut hash) = (std::pin::pin!(pieces), Sha256::new());
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            metrics::counter!(COPY_LOOK_BYTES, "place" => place.as_str()).increment(piece.len() as u64);
            let began = tokio::time::Instant::now();
            // Some megabytes: a few milliseconds of the processor.
            hash.update(&piece);
            if self.bytes_per_s > 0 {
                tokio::time::sleep_until(began + Duration::from_secs_f64(piece.len() as f64 / self.bytes_per_s as f64)).await;
            }
        }
        Ok(hex::encode(hash.finalize()))
    }
}

fn differs(sha256: &str, expected: &str) -> Option<String> {
    (!sha256.eq_ignore_ascii_case(expected)).then(|| format!("its bytes have the SHA-256 {sha256}, and the recording had {expected}"))
}
