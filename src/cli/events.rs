//! `keystone events`: what happened to one task, or whatever a search of the log finds, and what comes.

#![expect(clippy::disallowed_methods, reason = "the log is looked at again after a while")]

use std::time::Duration;

use clap::Args;
use deadpool_postgres::Pool;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::output::is_heard;
use super::story;
use crate::domain::{Timestamp, storable};
use crate::http::logged::LoggedEvent;
use crate::projections::reads::Reads;
use crate::projections::reads::events::{Between, Direction, LogEvent, LogFilter};
use crate::projections::reads::log_search::Search;

/// Events that are read at once.
const PAGE: i64 = 200;
/// How often `--follow` looks.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Args)]
pub struct Options {
    /// Everything that happened to a task, across its streams: its number or public id
    #[arg(long, value_name = "ID", conflicts_with_all = ["searched", "limit", "follow"])]
    task: Option<String>,
    #[command(flatten)]
    searched: Searched,
    /// At most so many, the newest ones
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
    /// Go on with what comes, until Ctrl-C
    #[arg(long)]
    follow: bool,
    /// One JSON object per event instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[group(id = "searched", multiple = true)]
struct Searched {
    /// Only of streams of this kind, as task; may be repeated
    #[arg(long)]
    category: Vec<String>,
    /// Only of this stream, as task/17
    #[arg(long)]
    stream: Option<String>,
    /// Only about this unit, as task/17: its stream, and events that name it
    #[arg(long)]
    about: Option<String>,
    /// Only of this type; `upload_*` means all that begin so; may be repeated
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only what this one did, as user:admin
    #[arg(long)]
    actor: Option<String>,
    /// Only what one request led to
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// Only with this value in the payload, as task_id:17; may be repeated
    #[arg(long, value_name = "KEY:VALUE")]
    content: Vec<String>,
    /// Not before this time, as RFC 3339
    #[arg(long, value_name = "TIME", value_parser = storable::instant)]
    since: Option<Timestamp>,
    /// Before this time, as RFC 3339
    #[arg(long, value_name = "TIME", value_parser = storable::instant)]
    until: Option<Timestamp>,
}

impl From<Searched> for Search {
    fn from(asked: Searched) -> Self {
        let Searched { category, stream, about, types, actor, correlation_id, content, since, until } = asked;
        Self { categories: category, stream, about, types, actor, correlation_id, contents: content, since, until, ..Self::default() }
    }
}

pub async fn run(pool: &Pool, options: Options) -> anyhow::Result<()> {
    let Options { task, searched, limit, follow, json } = options;
    if let Some(task) = task {
        return story::of_task(pool, &task, json).await;
    }
    // Heard from here on, also while there is much to tell.
    let stop = follow.then(|| signal(SignalKind::interrupt())).transpose()?;
    let reads = Reads::new(pool.clone());
    let filter = Search::from(searched).filter(&reads).await?;
    let noted_to = reads.log_noted_to().await?;
    let head = reads.log_head().await?;
    if head > noted_to && !follow {
        eprintln!("The log goes to position {head}; a server that runs notes what events are found by, so far up to {noted_to}.");
    }
    let mut between = reads.log_bounds(&filter, noted_to).await?;
    let mut newest = vec![];
    while let Some(wanted) = i64::try_from(newest.len()).ok().map(|found| (limit - found).min(PAGE)).filter(|wanted| *wanted > 0) {
        let events = reads.log_events(&filter, between, Direction::Backward, wanted).await?;
        let Some(last) = events.last().and_then(|event| event.position) else { break };
        between = Between { before: last, ..between };
        newest.extend(events);
    }
    for event in newest.into_iter().rev() {
        if !tell(event, json)? {
            return Ok(());
        }
    }
    match stop {
        Some(stop) => tell_what_comes(&reads, &filter, noted_to, json, stop).await,
        None => Ok(()),
    }
}

/// Until Ctrl-C, or until nobody reads any more.
async fn tell_what_comes(reads: &Reads, filter: &LogFilter, mut told: i64, json: bool, mut stop: Signal) -> anyhow::Result<()> {
    loop {
        let noted_to = reads.log_noted_to().await?;
        let bounds = reads.log_bounds(filter, noted_to).await?;
        let mut between = Between { after: bounds.after.max(told), ..bounds };
        while between.after + 1 < between.before {
            let events = reads.log_events(filter, between, Direction::Forward, PAGE).await?;
            let Some(last) = events.last().and_then(|event| event.position) else { break };
            between.after = last;
            for event in events {
                if !tell(event, json)? {
                    return Ok(());
                }
            }
        }
        told = told.max(noted_to);
        tokio::select! { _ = stop.recv() => return Ok(()), () = tokio::time::sleep(LOOK) => {} }
    }
}

/// Answers whether its reader is still there.
fn tell(event: LogEvent, as_json: bool) -> anyhow::Result<bool> {
    if as_json {
        return is_heard(&json!(LoggedEvent::from(event)).to_string());
    }
    let said = |key: &str| event.metadata.get(key).and_then(Value::as_str);
    is_heard(&story::text(&story::Parts {
        position: event.position,
        event_id: &event.event_id(),
        event_type: &event.event_type,
        content: &event.content,
        occurred_at: said("occurred_at"),
        actor: said("actor"),
        because_of: said("causation_id"),
        request: said("request_id"),
    }))
}
