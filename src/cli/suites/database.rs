//! Suites in the database.

use anyhow::Context as _;
use deadpool_postgres::Pool;
use serde_json::{Value, json};

use super::asked::Suites;
use crate::commands::bulk_runs::AcceptBulkRun;
use crate::commands::suites::{ActivateSuite, RetireSuite};
use crate::commands::{Command, Commands, Context};
use crate::domain::judgement::Suite;
use crate::domain::qa_suite::SuiteState;
use crate::domain::{Actor, QaSuiteId, Scope};
use crate::eventstore::EventStore;
use crate::http::apply_suite::{applied, previewed};
use crate::http::data_ops::{BulkEpisodes, EpisodesMeant};
use crate::http::extract::parse;
use crate::http::problem::Problem;
use crate::http::suites::{GivenSuite, SuiteOfSite};
use crate::http::what_if::{WhatIfFilter, tried};
use crate::outbox::Wakes;
use crate::projections::reads::{Page, Reads};

pub struct DatabaseSuites {
    reads: Reads,
    commands: Commands,
    /// What judges where no other suite does.
    shipped: Suite,
}

impl DatabaseSuites {
    pub fn new(pool: &Pool, shipped: Suite) -> Self {
        Self { reads: Reads::new(pool.clone()), commands: Commands::new(EventStore::new(pool.clone(), Wakes::default())), shipped }
    }

    async fn execute<C: Command>(&self, command: C) -> anyhow::Result<C::Answer> {
        Ok(self.commands.execute(&Context::of(Actor::CommandLine), command).await?)
    }

    async fn shown(&self, id: QaSuiteId) -> anyhow::Result<Value> {
        self.show(&id.to_string()).await
    }
}

fn said(problem: &Problem) -> anyhow::Error {
    anyhow::anyhow!("{}", problem.detail())
}

/// As the routes read it.
fn read<T: serde::de::DeserializeOwned>(given: &Value) -> anyhow::Result<T> {
    parse(given.to_string().as_bytes()).map_err(|problem| said(&problem))
}

impl Suites for DatabaseSuites {
    async fn list(&self, state: Option<SuiteState>, name: Option<&str>) -> anyhow::Result<Vec<Value>> {
        let rows = self.reads.suites(state, name, Page::ALL).await?.rows;
        Ok(rows.into_iter().map(|row| json!(SuiteOfSite::from(row))).collect())
    }

    async fn show(&self, id: &str) -> anyhow::Result<Value> {
        let suite = SuiteOfSite::named(&self.reads, &self.shipped, id).await?;
        Ok(json!(suite.with_context(|| format!("there is no suite `{id}`"))?))
    }

    async fn draft(&self, new: &Value) -> anyhow::Result<Value> {
        let draft = read::<GivenSuite>(new)?.drafted().map_err(|problem| said(&problem))?;
        self.shown(self.execute(draft).await?).await
    }

    async fn change(&self, id: QaSuiteId, changed: &Value) -> anyhow::Result<Value> {
        let before = self.reads.suite(id).await?.with_context(|| format!("there is no suite `{id}`"))?;
        let change = read::<GivenSuite>(changed)?.of(id, before.own.name).map_err(|problem| said(&problem))?;
        self.execute(change).await?;
        self.shown(id).await
    }

    async fn activate(&self, id: QaSuiteId) -> anyhow::Result<Value> {
        self.execute(ActivateSuite(id)).await?;
        self.shown(id).await
    }

    async fn retire(&self, id: QaSuiteId) -> anyhow::Result<Value> {
        self.execute(RetireSuite(id)).await?;
        self.shown(id).await
    }

    async fn what_if(&self, id: &str, filter: &Value) -> anyhow::Result<Value> {
        let filter = read::<WhatIfFilter>(filter)?.into();
        let answer = tried(&self.reads, &self.shipped, &Scope::Everything, id, filter).await;
        Ok(json!(answer.map_err(|problem| said(&problem))?))
    }

    async fn preview_of_apply(&self, id: &str, meant: &Value) -> anyhow::Result<Value> {
        let selection = read::<EpisodesMeant>(meant)?.selection().map_err(|problem| said(&problem))?;
        let preview = previewed(&self.reads, &Scope::Everything, id, selection).await;
        Ok(json!(preview.map_err(|problem| said(&problem))?))
    }

    async fn apply(&self, id: &str, meant: &Value) -> anyhow::Result<Value> {
        let (work, expected) = applied(id, read::<BulkEpisodes>(meant)?).map_err(|problem| said(&problem))?;
        Ok(json!({ "run": { "run_id": self.execute(AcceptBulkRun { work, expected }).await? } }))
    }
}
