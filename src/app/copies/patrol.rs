//! Looks at copies again, a few at a time: those that were not looked at for the longest time first.
//!
//! What is found is said of the episode. A store that cannot be asked is no finding, and neither is a copy that nothing is known of:
//! these have their turn when their lease is over. Edge copies and those in clouds take turns.

use std::time::Duration;

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::commands::copies::{Due, NoteLooks, ReadCopies};
use crate::commands::{CommandError, Context};
use crate::config;
use crate::domain::EpisodeId;
use crate::domain::episode::CopyPlace;
use crate::subscribers::edge_copies::Looker;

/// Between looks for what is due.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Copies that are this process's at once, and for how long: also the wait before one that could not be looked at has its turn again.
const AT_ONCE: i64 = 20;
const LEASE: Duration = Duration::from_secs(3600);

/// Then the other kind of copies has its turn.
const ROUNDS_MAX: usize = 50;

/// How much is looked at, and how often.
#[derive(Clone, Copy, Debug)]
pub struct PatrolTerms {
    every: TimeDelta,
    between_looks: Duration,
    edge_content_percent: u32,
    cloud_content_percent: u32,
}

impl PatrolTerms {
    /// None where it is switched off.
    pub fn of(patrol: &config::Patrol) -> Option<Self> {
        Some(Self {
            every: TimeDelta::from_std(patrol.every()?).unwrap_or(TimeDelta::MAX),
            between_looks: Duration::from_secs(1) / patrol.looks_per_second_max.max(1),
            edge_content_percent: patrol.edge_content_percent,
            cloud_content_percent: patrol.cloud_content_percent,
        })
    }
}

#[derive(Clone)]
pub struct Patrol {
    pub looker: Looker,
    pub terms: PatrolTerms,
}

/// Looks at what is due, until the end.
pub async fn patrol(patrol: Patrol, stop: CancellationToken) {
    loop {
        // A look may take long, and loses nothing where it is ended.
        let done = tokio::select! { () = stop.cancelled() => return, done = patrol.look_at_all() => done };
        if let Err(error) = done {
            warn!(error = format!("{error:#}"), "Cannot look at stored copies; tries again: {error:#}");
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
        if due == Due::Cloud && self.looker.clouds.is_empty() {
            return Ok(());
        }
        for _ in 0..ROUNDS_MAX {
            let Some(since) = self.looker.commands.now().checked_sub_signed(self.terms.every) else { return Ok(()) };
            let episodes = self.looker.commands.copies_due(due, since, AT_ONCE, LEASE).await?;
            let mut told = 0;
            for episode in &episodes {
                told += usize::from(self.look_at_one(due, *episode).await?);
                tokio::time::sleep(self.terms.between_looks).await;
            }
            // None of them: the store or the cloud is away, and the others would have to wait for nothing.
            if told == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Answers whether all of its copies could be looked at.
    async fn look_at_one(&self, due: Due, episode: EpisodeId) -> Result<bool, CommandError> {
        let context = Context::system();
        let copies = match self.looker.commands.execute(&context, ReadCopies(episode)).await {
            Err(CommandError::Refused(_)) => return Ok(true),
            copies => copies?,
        };
        let (places, percent): (Vec<CopyPlace>, u32) = match due {
            Due::Edge => (vec![CopyPlace::Edge], self.terms.edge_content_percent),
            Due::Cloud => (copies.clouds.keys().map(|cloud| (*cloud).into()).collect(), self.terms.cloud_content_percent),
        };
        // It was found there when it was too late to compare it (docs/cloud-sync.md). Its turn comes when its lease is over.
        if places.is_empty() {
            return Ok(false);
        }
        let (mut looks, mut is_told) = (vec![], true);
        for place in places {
            match self.looker.look(episode, &copies, place, chosen(percent)).await {
                Ok(look) => looks.push((place, look)),
                Err(_) => is_told = false,
            }
        }
        // Where one is not told of, the others are looked at again with it, so only what is wrong is said now.
        looks.retain(|(_, look)| is_told || look.damage.is_some());
        if !looks.is_empty() {
            let note = NoteLooks { episode, chain: copies.chain, requests: copies.known.copies.requests, looks };
            self.looker.commands.execute(&context, note).await?;
        }
        if is_told {
            self.looker.commands.looked(due, episode).await?;
        }
        Ok(is_told)
    }
}

#[expect(clippy::disallowed_methods, reason = "a sample is drawn by chance")]
fn chosen(percent: u32) -> bool {
    rand::random_range(0..100) < percent
}
