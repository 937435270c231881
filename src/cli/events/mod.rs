//! `keystone events`: what happened to one task, or whatever a search of the log finds, and what comes.
//!
//! - [`log`]: what is asked of it.
//! - [`database`] and [`server`]: where the log is read. Both give events as the routes do, so what is told is the same.

mod database;
mod log;
mod server;

use clap::{ArgGroup, Args};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::output::{is_heard, say};
use super::place::{At, Place};
use super::story::text;
use crate::http::export::EventsFormat;
use database::DatabaseLog;
use log::{Log, Newest, Searched, Tell};
use server::ServerLog;

#[derive(Args)]
#[command(group(ArgGroup::new("whole").args(["task", "position", "export"])))]
pub struct Options {
    /// Everything that happened to a task, across its streams: its number or public id
    #[arg(long, value_name = "ID", conflicts_with_all = ["searched", "limit", "follow"])]
    task: Option<String>,
    /// One event, with what led to it and what followed from it, as JSON
    #[arg(long, conflicts_with_all = ["searched", "limit", "follow", "json"])]
    position: Option<i64>,
    /// All that match, in the order of the log, however many: ndjson, csv, or stored, which `keystone verify` takes
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["limit", "follow", "json"])]
    export: Option<EventsFormat>,
    #[command(flatten)]
    searched: Searched,
    /// At most so many, the newest ones
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
    /// Go on with what comes, until Ctrl-C
    #[arg(long, conflicts_with_all = ["until", "to_position"])]
    follow: bool,
    /// One JSON object per event instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub at: At,
}

pub async fn run(place: &Place, options: Options) -> anyhow::Result<()> {
    match place {
        Place::Database(database) => {
            let log = DatabaseLog::new(&database.pool, options.searched.clone().into());
            tell_of(&log, options).await
        }
        Place::Server(server) => tell_of(&ServerLog::new(server, &options.searched), options).await,
    }
}

async fn tell_of(log: &impl Log, options: Options) -> anyhow::Result<()> {
    let Options { task, position, export, limit, follow, json, .. } = options;
    if let Some(position) = position {
        return say(&serde_json::to_string_pretty(&log.at(position).await?)?);
    }
    if let Some(format) = export {
        return log.export(format, std::io::stdout()).await;
    }
    let mut tell = |event: &Value| is_heard(&if json { event.to_string() } else { text(event) });
    if let Some(task) = task {
        let story = log.of_task(&task).await?;
        anyhow::ensure!(!story.is_empty(), "there is no task `{task}`, and there was none; give its number or its public id");
        return tell_all(story.iter(), &mut tell).map(drop);
    }
    // Heard from here on, also while there is much to tell.
    let mut stop = follow.then(|| signal(SignalKind::interrupt())).transpose()?;
    let Newest { events, readable_to } = log.newest(limit).await?;
    if !follow && let Some(remark) = log.remark(readable_to).await? {
        eprintln!("{remark}");
    }
    if !tell_all(events.iter().rev(), &mut tell)? {
        return Ok(());
    }
    match &mut stop {
        Some(stop) => tokio::select! { _ = stop.recv() => Ok(()), told = log.follow(readable_to, &mut tell) => told },
        None => Ok(()),
    }
}

fn tell_all<'a>(events: impl Iterator<Item = &'a Value>, tell: Tell<'_>) -> anyhow::Result<bool> {
    for event in events {
        if !tell(event)? {
            return Ok(false);
        }
    }
    Ok(true)
}
