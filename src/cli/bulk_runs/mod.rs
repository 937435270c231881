//! `keystone bulk-runs`: work on many things that one request asked for, and how far it is.
//!
//! - [`runs`]: what is asked.
//! - [`database`] and [`server`]: where that is asked. Both answer with the JSON of the routes, so what is told is the same.

mod database;
mod runs;
mod server;

use std::io::IsTerminal as _;

use anyhow::bail;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::output::{is_heard, number, say, say_json, text};
use super::place::Place;
use super::remote::Listed;
use crate::domain::bulk_run::{BulkAction, ItemOutcome};
use database::DatabaseRuns;
use runs::{Page, Runs};

#[derive(Subcommand)]
pub enum Command {
    /// Bulk runs, the newest first
    List {
        /// Only of this kind: replay_dead_letters, bulk_qa, apply_suite
        #[arg(long)]
        action: Option<BulkAction>,
        /// Only those that have not ended
        #[arg(long)]
        active: bool,
        #[command(flatten)]
        page: Page,
    },
    /// One bulk run, and why some of it was not done
    Show { id: String },
    /// What became of each thing, in their order
    Items {
        id: String,
        /// Only those that ended like this: passed, qa_failed, processing_failed, skipped, canceled
        #[arg(long)]
        outcome: Option<ItemOutcome>,
        #[command(flatten)]
        page: Page,
    },
    /// What is being worked on ends, and the rest stays undone
    Cancel { id: String },
    /// How far it is, until it has ended
    Watch { id: String },
}

pub async fn run(place: &Place, command: Command) -> anyhow::Result<()> {
    match place {
        Place::Database(database) => done(&DatabaseRuns::new(&database.pool), command).await,
        Place::Server(server) => done(server, command).await,
    }
}

async fn done(runs: &impl Runs, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List { action, active, page } => {
            tell_list(runs.list(action, active.then_some(true), &page).await?, &page, "bulk runs", |run| {
                format!("{}  {}", text(&run["updated_at"]), line(run))
            })
        }
        Command::Show { id } => say_json(&runs.show(&id).await?),
        Command::Items { id, outcome, page } => tell_list(runs.items(&id, outcome, &page).await?, &page, "items", |item| {
            let (outcome, cause) = (item["outcome"].as_str().unwrap_or("waits"), text(&item["cause"]));
            format!("{:>10}  {outcome:<17}  {}  {cause}", text(&item["item"]), item["at"].as_str().unwrap_or("-")).trim_end().to_owned()
        }),
        Command::Cancel { id } => say(&line(&runs.cancel(&id).await?)),
        Command::Watch { id } => watch(runs, &id).await,
    }
}

fn tell_list(listed: Listed, page: &Page, of: &str, line: impl Fn(&Value) -> String) -> anyhow::Result<()> {
    let Listed { items, total, next } = listed;
    for one in &items {
        say(&if page.json { one.to_string() } else { line(one) })?;
    }
    if page.json {
        return Ok(());
    }
    say(&format!("{} of {total} {of}", items.len()))?;
    next.map_or(Ok(()), |next| say(&format!("More: --after {next}")))
}

/// A run, how it stands, and how far it is.
fn line(run: &Value) -> String {
    let of = |key: &str| number(&run[key]);
    let parts =
        [("passed_count", "passed"), ("qa_failed_count", "not right"), ("processing_failed_count", "failed"), ("skipped_count", "skipped")];
    let parts: Vec<String> = parts.iter().filter(|(key, _)| of(key) > 0).map(|(key, word)| format!("{} {word}", of(key))).collect();
    let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    format!("{}  {}  {} of {}{parts}", text(&run["run_id"]), text(&run["status"]), of("processed_count"), of("total_count"))
}

/// A bar where a person looks at a terminal, lines where the output goes elsewhere.
async fn watch(runs: &impl Runs, id: &str) -> anyhow::Result<()> {
    let bar = (std::io::stdout().is_terminal() && std::io::stderr().is_terminal()).then(|| {
        let style =
            ProgressStyle::with_template("{msg}  [{bar:40}]  {pos} of {len}  {eta}").unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(0).with_style(style).with_message(id.to_owned())
    });
    let mut last = Value::Null;
    runs.watch(id, &mut |run| {
        let heard = match &bar {
            Some(bar) => {
                bar.set_length(number(&run["total_count"]).unsigned_abs());
                bar.set_position(number(&run["processed_count"]).unsigned_abs());
                true
            }
            // The end is told by two events of a stream.
            None => line(run) == line(&last) || is_heard(&line(run))?,
        };
        last = run.clone();
        Ok(heard)
    })
    .await?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
        say(&line(&last))?;
    }
    match (text(&last["status"]), text(&last["error_message"])) {
        ("canceled", _) => bail!("the bulk run was cancelled"),
        ("failed", why) => bail!("the bulk run failed: {why}"),
        _ => Ok(()),
    }
}
