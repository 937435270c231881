//! Dead letters in the database.

use deadpool_postgres::Pool;
use serde_json::{Value, json};

use super::letters::{Abandoned, Again, Letters};
use crate::cli::remote::Listed;
use crate::commands::bulk_runs::AcceptBulkRun;
use crate::commands::letters::{ReplayLetter, ReplayLetters, ResolveLetter, SelectLetters};
use crate::commands::{Commands, Context};
use crate::domain::bulk_run::BulkWork;
use crate::domain::letter::LetterFilter;
use crate::domain::{Actor, LetterId, Scope};
use crate::eventstore::EventStore;
use crate::http::dead_letters::{DeadLetter, DeadLetterContent, LetterCounts, ReplayCounts, ReplayOutcome, ReplayPreview};
use crate::http::requests::AbandonedExecution;
use crate::outbox::Wakes;
use crate::projections::reads::requests::RequestFilter;
use crate::projections::reads::{Page, Place as ListPlace, Reads};

pub struct DatabaseLetters {
    reads: Reads,
    commands: Commands,
    context: Context,
}

impl DatabaseLetters {
    pub fn new(pool: &Pool) -> Self {
        let commands = Commands::new(EventStore::new(pool.clone(), Wakes::default()));
        Self { reads: Reads::new(pool.clone()), commands, context: Context::of(Actor::CommandLine) }
    }
}

impl Letters for DatabaseLetters {
    async fn list(&self, filter: LetterFilter, limit: i64, after: Option<ListPlace>) -> anyhow::Result<Listed> {
        let listed = self.reads.letters(&filter, Page { limit: Some(limit), offset: 0, after }).await?;
        let items = listed.rows.into_iter().map(|letter| json!(DeadLetter::from(letter))).collect();
        Ok(Listed { items, total: listed.total, next: listed.next.map(|next| next.to_string()) })
    }

    async fn show(&self, id: LetterId) -> anyhow::Result<Value> {
        let letter = self.reads.whole_letter(id).await?.ok_or_else(|| anyhow::anyhow!("there is no dead letter {id}"))?;
        Ok(json!(DeadLetterContent::from(letter)))
    }

    async fn counts(&self) -> anyhow::Result<Value> {
        Ok(json!(LetterCounts::from(self.reads.letter_counts().await?)))
    }

    async fn replay(&self, id: LetterId, causation_depth_max: Option<i32>) -> anyhow::Result<Value> {
        let replayed = self.commands.execute(&self.context, ReplayLetter { id, causation_depth_max }).await?;
        Ok(json!(ReplayOutcome::of(id, replayed)))
    }

    async fn select(&self, filter: LetterFilter, everything: bool) -> anyhow::Result<Value> {
        let selected = self.commands.execute(&self.context, SelectLetters { filter, everything }).await?;
        Ok(json!(ReplayPreview::from(selected)))
    }

    async fn replay_selection(&self, again: &Again) -> anyhow::Result<Value> {
        let Again { selection, causation_depth_max, per_second } = again;
        let (causation_depth_max, per_second) = (*causation_depth_max, *per_second);
        let command = ReplayLetters { selection: selection.clone(), causation_depth_max, per_second };
        Ok(json!(ReplayCounts::from(self.commands.execute(&self.context, command).await?)))
    }

    async fn accept_run(&self, again: &Again) -> anyhow::Result<Value> {
        let Again { selection, causation_depth_max, per_second } = again;
        let (causation_depth_max, per_second) = (*causation_depth_max, *per_second);
        let work = BulkWork::ReplayDeadLetters { selection: selection.clone(), causation_depth_max, per_second };
        Ok(json!({ "run_id": self.commands.execute(&self.context, AcceptBulkRun { work, expected: None }).await? }))
    }

    async fn abandoned(&self, of: Abandoned, limit: i64, after: Option<ListPlace>) -> anyhow::Result<Listed> {
        let filter = RequestFilter { status: None, device_id: of.device, asker: of.asker, since: None };
        let listed = self.reads.abandoned(&Scope::Everything, &filter, Page { limit: Some(limit), offset: 0, after }).await?;
        let items = listed.rows.into_iter().map(|one| json!(AbandonedExecution::from(one))).collect();
        Ok(Listed { items, total: listed.total, next: listed.next.map(|next| next.to_string()) })
    }

    async fn resolve(&self, id: LetterId, reason: &str) -> anyhow::Result<()> {
        Ok(self.commands.execute(&self.context, ResolveLetter { id, reason: reason.to_owned() }).await?)
    }
}
