//! Looks at copies again, a few at a time: those that were not looked at for the longest time first.
//!
//! What is found is said of the episode. A store that cannot be asked is no finding: its copies are looked at when their lease is over.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::blobs::{BlobError, Blobs, same_etag};
use crate::cloud::{Cloud, Found, content};
use crate::commands::copies::{CopiesOfEpisode, Due, NoteLooks, ReadCopies};
use crate::commands::{CommandError, Commands, Context};
use crate::config;
use crate::domain::EpisodeId;
use crate::domain::episode::{CopyPlace, Look, LookDepth};
use crate::domain::sync::{CloudName, Pushed};
use crate::mcap::ReadSummaryError;
use crate::mcap::measure::look as look_at_recording;
use crate::qa::{Objects, key_of};
use crate::subscribers::cloud_sync::Clouds;
use crate::telemetry::{COPY_LOOK_BYTES, COPY_LOOKS, chain};

/// Between looks for what is due.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Copies that are this process's at once, and for how long: also the wait before one that could not be looked at has its turn again.
const AT_ONCE: i64 = 20;
const LEASE: Duration = Duration::from_secs(3600);
const DAMAGE_CHARS_MAX: usize = 500;

/// How much is looked at, and how often.
#[derive(Clone, Copy, Debug)]
pub struct PatrolTerms {
    every: TimeDelta,
    between_looks: Duration,
    bytes_per_s: u64,
    edge_content_percent: u32,
    cloud_content_percent: u32,
}

impl PatrolTerms {
    /// None where it is switched off.
    pub fn of(settings: &config::Patrol) -> Option<Self> {
        Some(Self {
            every: TimeDelta::from_std(settings.every()?).unwrap_or(TimeDelta::MAX),
            between_looks: Duration::from_secs(1) / settings.looks_per_s.max(1),
            bytes_per_s: settings.bytes_per_s.max(1),
            edge_content_percent: settings.edge_content_percent,
            cloud_content_percent: settings.cloud_content_percent,
        })
    }
}

#[derive(Clone)]
pub struct Patrol {
    pub commands: Commands,
    pub blobs: Blobs,
    pub clouds: Clouds,
    pub terms: PatrolTerms,
}

/// A copy could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Untold(String);

impl From<BlobError> for Untold {
    fn from(error: BlobError) -> Self {
        Self(chain(&error))
    }
}

/// What was found, and how far it was looked at.
struct Finding {
    depth: LookDepth,
    damage: Option<String>,
}

/// Looks at what is due, until the end.
pub async fn patrol(patrol: Patrol, stop: CancellationToken) {
    loop {
        for due in [Due::Edge, Due::Cloud] {
            // A look may take long, and loses nothing where it is ended.
            let done = tokio::select! { () = stop.cancelled() => return, done = patrol.look_at(due) => done };
            if let Err(error) = done {
                warn!(error = format!("{error:#}"), "Cannot look at stored copies; tries again: {error:#}");
            }
        }
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(LOOK_EVERY) => {} }
    }
}

impl Patrol {
    /// At all that is due now.
    pub async fn look_at_all(&self) -> Result<(), CommandError> {
        self.look_at(Due::Edge).await?;
        self.look_at(Due::Cloud).await
    }

    /// All that is due.
    async fn look_at(&self, due: Due) -> Result<(), CommandError> {
        if due == Due::Cloud && self.clouds.is_empty() {
            return Ok(());
        }
        loop {
            let Some(since) = self.commands.now().checked_sub_signed(self.terms.every) else { return Ok(()) };
            let episodes = self.commands.copies_due(due, since, AT_ONCE, LEASE).await?;
            for episode in &episodes {
                self.look_at_one(due, *episode).await?;
                tokio::time::sleep(self.terms.between_looks).await;
            }
            if episodes.is_empty() {
                return Ok(());
            }
        }
    }

    async fn look_at_one(&self, due: Due, episode: EpisodeId) -> Result<(), CommandError> {
        let context = Context::system();
        let copies = match self.commands.execute(&context, ReadCopies(episode)).await {
            Err(CommandError::Refused(_)) => return Ok(()),
            copies => copies?,
        };
        let found = match due {
            Due::Edge => vec![(CopyPlace::Edge, self.edge(&copies).await)],
            Due::Cloud => self.in_clouds(&copies).await,
        };
        let is_told = found.iter().all(|(_, found)| found.is_ok());
        let mut looks = vec![];
        for (place, found) in found {
            let (depth, outcome) = match &found {
                Ok(Finding { depth, damage: None }) => (*depth, "sound"),
                Ok(Finding { depth, damage: Some(damage) }) => {
                    warn!(episode.id = %episode, copy.place = place.as_str(), error = damage, "A copy of episode {episode} is damaged ({}): {damage}", place.as_str());
                    (*depth, "damaged")
                }
                Err(untold) => {
                    warn!(episode.id = %episode, copy.place = place.as_str(), error = untold.0, "Cannot look at a copy of episode {episode} ({}): {untold}", place.as_str());
                    (LookDepth::Summary, "untold")
                }
            };
            metrics::counter!(COPY_LOOKS, "place" => place.as_str(), "depth" => depth.as_str(), "outcome" => outcome).increment(1);
            if let Ok(Finding { depth, damage }) = found {
                let damage = damage.map(|damage| damage.chars().take(DAMAGE_CHARS_MAX).collect());
                looks.push((place, Look { depth, damage, at: self.commands.now() }));
            }
        }
        // Where one is not told of, the others are looked at again with it, so only what is wrong is said now.
        looks.retain(|(_, look)| is_told || look.damage.is_some());
        if !looks.is_empty() {
            let note = NoteLooks { episode, chain: copies.chain, requests: copies.known.copies.requests, looks };
            self.commands.execute(&context, note).await?;
        }
        if is_told {
            self.commands.looked(due, episode).await?;
        }
        Ok(())
    }

    async fn edge(&self, copies: &CopiesOfEpisode) -> Result<Finding, Untold> {
        let (known, created) = (&copies.known, &copies.known.created);
        let key = key_of(&created.mcap_path)?;
        let damaged = |depth, damage: String| Ok(Finding { depth, damage: Some(damage) });
        let head = match self.blobs.head(&key).await {
            Err(BlobError::NotFound(_)) => return damaged(LookDepth::Summary, "the object is not in the store any more".to_owned()),
            head => head?,
        };
        if head.size != created.file_size_bytes {
            let text = format!("the object has {} bytes, and the recording had {}", head.size, created.file_size_bytes);
            return damaged(LookDepth::Summary, text);
        }
        // An operator may have put the same bytes there once more.
        let is_other = known.etag().is_some_and(|etag| !same_etag(etag, &head.etag));
        if is_other || chosen(self.terms.edge_content_percent) {
            let sha256 = self.hashed(CopyPlace::Edge, self.blobs.pieces(&key, &head)).await?;
            self.blobs.is_still(&key, &head).await?;
            let damage = differs(&sha256, &created.checksum);
            return Ok(Finding { depth: LookDepth::Content, damage });
        }
        // Of a recording that was taken although it is damaged, its summary says nothing new.
        if created.damage.is_some() {
            return Ok(Finding { depth: LookDepth::Summary, damage: None });
        }
        let reader = Objects { blobs: &self.blobs, key: &key, etag: &head.etag };
        let damage = match look_at_recording(&reader, head.size).await {
            Ok(look) => look.summary.err().filter(crate::mcap::Unsound::is_damage).map(|unsound| unsound.to_string()),
            Err(ReadSummaryError::Read(error)) => return Err(error.into()),
            Err(error @ (ReadSummaryError::Unsound(_) | ReadSummaryError::ShortRead { .. })) => Some(error.to_string()),
        };
        Ok(Finding { depth: LookDepth::Summary, damage })
    }

    async fn in_clouds(&self, copies: &CopiesOfEpisode) -> Vec<(CopyPlace, Result<Finding, Untold>)> {
        if copies.clouds.is_empty() {
            return vec![];
        }
        let mut found = vec![];
        for (name, pushed) in &copies.clouds {
            let finding = match self.clouds.get(name) {
                Some(cloud) => self.in_cloud(*name, cloud, pushed, &copies.known.created.checksum).await,
                None => Err(Untold("the settings do not name the cloud any more".to_owned())),
            };
            found.push((CopyPlace::from(*name), finding));
        }
        found
    }

    async fn in_cloud(&self, name: CloudName, cloud: &Arc<dyn Cloud>, pushed: &Pushed, checksum: &str) -> Result<Finding, Untold> {
        let damage = match cloud.look(pushed).await.map_err(|error| Untold(error.to_string()))? {
            Found::Sound => None,
            Found::Damaged(damage) => Some(damage),
            Found::Untold(why) => return Err(Untold(why)),
        };
        if damage.is_some() || !name.gives_back() || !chosen(self.terms.cloud_content_percent) {
            return Ok(Finding { depth: LookDepth::Summary, damage });
        }
        let pieces = content(cloud.clone(), Arc::new(pushed.clone()));
        let sha256 = self.hashed(name.into(), pieces).await?;
        Ok(Finding { depth: LookDepth::Content, damage: differs(&sha256, checksum) })
    }

    /// At the pace of the patrol.
    async fn hashed<E: std::fmt::Display>(&self, place: CopyPlace, pieces: impl Stream<Item = Result<Bytes, E>>) -> Result<String, Untold> {
        let (mut pieces, mut hash) = (std::pin::pin!(pieces), Sha256::new());
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| Untold(format!("{error:#}")))?;
            metrics::counter!(COPY_LOOK_BYTES, "place" => place.as_str()).increment(piece.len() as u64);
            let began = tokio::time::Instant::now();
            // Some megabytes: a few milliseconds of the processor.
            hash.update(&piece);
            let due = Duration::from_secs_f64(piece.len() as f64 / self.terms.bytes_per_s as f64);
            tokio::time::sleep_until(began + due).await;
        }
        Ok(hex::encode(hash.finalize()))
    }
}

fn differs(sha256: &str, expected: &str) -> Option<String> {
    (!sha256.eq_ignore_ascii_case(expected)).then(|| format!("its bytes have the SHA-256 {sha256}, and the recording had {expected}"))
}

#[expect(clippy::disallowed_methods, reason = "a sample is drawn by chance")]
fn chosen(percent: u32) -> bool {
    rand::random_range(0..100) < percent
}
