//! Bulk runs in the database.

#![expect(clippy::disallowed_methods, reason = "a run is looked at again after a while")]

use std::time::Duration;

use anyhow::Context as _;
use deadpool_postgres::Pool;
use serde_json::{Value, json};

use super::runs::{Page, Runs, Tell};
use crate::cli::remote::Listed;
use crate::commands::bulk_runs::CancelBulkRun;
use crate::commands::{Commands, Context};
use crate::domain::bulk_run::{BulkAction, ItemOutcome};
use crate::domain::{Actor, Scope};
use crate::eventstore::EventStore;
use crate::http::bulk_runs::{BulkRun, BulkRunWithCauses, RunItem};
use crate::outbox::Wakes;
use crate::projections::reads::bulk_runs::BulkRunShown;
use crate::projections::reads::{self, Reads};

/// How often `watch` looks.
const LOOK: Duration = Duration::from_millis(500);

pub struct DatabaseRuns {
    reads: Reads,
    commands: Commands,
}

impl DatabaseRuns {
    pub fn new(pool: &Pool) -> Self {
        Self { reads: Reads::new(pool.clone()), commands: Commands::new(EventStore::new(pool.clone(), Wakes::default())) }
    }

    async fn one(&self, id: &str) -> anyhow::Result<BulkRunShown> {
        self.reads.bulk_run(&Scope::Everything, id).await?.with_context(|| format!("there is no bulk run `{id}`"))
    }
}

fn read(page: &Page) -> reads::Page {
    reads::Page { limit: Some(page.limit), offset: 0, after: page.after }
}

fn listed<R, T: From<R> + serde::Serialize>(listed: reads::Listed<R>) -> Listed {
    let items = listed.rows.into_iter().map(|row| json!(T::from(row))).collect();
    Listed { items, total: listed.total, next: listed.next.map(|next| next.to_string()) }
}

impl Runs for DatabaseRuns {
    async fn list(&self, action: Option<BulkAction>, active: Option<bool>, page: &Page) -> anyhow::Result<Listed> {
        Ok(listed::<_, BulkRun>(self.reads.bulk_runs(&Scope::Everything, action, active, read(page)).await?))
    }

    async fn show(&self, id: &str) -> anyhow::Result<Value> {
        let run = BulkRunWithCauses::of(&self.reads, &Scope::Everything, id).await?;
        Ok(json!(run.with_context(|| format!("there is no bulk run `{id}`"))?))
    }

    async fn items(&self, id: &str, outcome: Option<ItemOutcome>, page: &Page) -> anyhow::Result<Listed> {
        self.one(id).await?;
        Ok(listed::<_, RunItem>(self.reads.bulk_items(id, outcome, read(page)).await?))
    }

    async fn cancel(&self, id: &str) -> anyhow::Result<Value> {
        self.commands.execute(&Context::of(Actor::CommandLine), CancelBulkRun(id.to_owned())).await?;
        Ok(json!(BulkRun::from(self.one(id).await?)))
    }

    async fn watch(&self, id: &str, tell: Tell<'_>) -> anyhow::Result<()> {
        loop {
            let run = self.one(id).await?;
            let over = run.own.ended.is_some();
            if !tell(&json!(BulkRun::from(run)))? || over {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
