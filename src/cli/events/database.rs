//! The log in the database.

#![expect(clippy::disallowed_methods, reason = "the log is looked at again after a while")]

use std::io::{ErrorKind, Write};
use std::pin::pin;
use std::time::Duration;

use deadpool_postgres::Pool;
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

use super::log::{Log, Newest, PAGE, Tell};
use crate::cli::story::logged;
use crate::eventstore::story;
use crate::http::events::EventStory;
use crate::http::export::{EventsFormat, Export};
use crate::http::logged::LoggedEvent;
use crate::projections::reads::Reads;
use crate::projections::reads::events::{Between, Direction};
use crate::projections::reads::log_search::Search;

/// How often `--follow` looks.
const LOOK: Duration = Duration::from_millis(500);

pub struct DatabaseLog {
    pool: Pool,
    reads: Reads,
    search: Search,
}

impl DatabaseLog {
    pub fn new(pool: &Pool, search: Search) -> Self {
        Self { pool: pool.clone(), reads: Reads::new(pool.clone()), search }
    }
}

impl Log for DatabaseLog {
    async fn of_task(&self, task: &str) -> anyhow::Result<Vec<Value>> {
        Ok(story::of_task(&self.pool, task).await?.into_iter().map(logged).collect())
    }

    async fn at(&self, position: i64) -> anyhow::Result<Value> {
        let story = EventStory::at(&self.reads, position).await?;
        Ok(json!(story.ok_or_else(|| anyhow::anyhow!("the log has no position {position}"))?))
    }

    async fn newest(&self, limit: i64) -> anyhow::Result<Newest> {
        let filter = self.search.filter(&self.reads).await?;
        let readable_to = self.reads.log_noted_to().await?;
        let mut between = self.reads.log_bounds(&filter, readable_to).await?;
        let mut events = vec![];
        while let Some(wanted) = i64::try_from(events.len()).ok().map(|found| (limit - found).min(PAGE)).filter(|wanted| *wanted > 0) {
            let page = self.reads.log_events(&filter, between, Direction::Backward, wanted).await?;
            let Some(last) = page.last().and_then(|event| event.position) else { break };
            between = Between { before: last, ..between };
            events.extend(page.into_iter().map(|event| json!(LoggedEvent::from(event))));
        }
        Ok(Newest { events, readable_to })
    }

    async fn export(&self, format: EventsFormat, mut to: impl Write) -> anyhow::Result<()> {
        let filter = self.search.filter(&self.reads).await?;
        let between = self.reads.log_bounds(&filter, self.reads.log_noted_to().await?).await?;
        let mut pieces = pin!(Export::new(self.reads.clone(), filter, between, format).pieces());
        while let Some(piece) = pieces.try_next().await? {
            match to.write_all(&piece) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
                written => written?,
            }
        }
        Ok(to.flush()?)
    }

    async fn follow(&self, mut told: i64, tell: Tell<'_>) -> anyhow::Result<()> {
        let filter = self.search.filter(&self.reads).await?;
        loop {
            let noted_to = self.reads.log_noted_to().await?;
            let bounds = self.reads.log_bounds(&filter, noted_to).await?;
            let mut between = Between { after: bounds.after.max(told), ..bounds };
            while between.after + 1 < between.before {
                let events = self.reads.log_events(&filter, between, Direction::Forward, PAGE).await?;
                let Some(last) = events.last().and_then(|event| event.position) else { break };
                between.after = last;
                for event in events {
                    if !tell(&json!(LoggedEvent::from(event)))? {
                        return Ok(());
                    }
                }
            }
            told = told.max(noted_to);
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn remark(&self, readable_to: i64) -> anyhow::Result<Option<String>> {
        let head = self.reads.log_head().await?;
        Ok((head > readable_to).then(|| {
            format!("The log goes to position {head}; a server that runs notes what events are found by, so far up to {readable_to}.")
        }))
    }
}
