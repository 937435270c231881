//! What is asked of the log, wherever it is.

use std::io::Write;

use clap::Args;
use serde_json::Value;

use crate::domain::{Timestamp, storable};
use crate::http::export::EventsFormat;
use crate::projections::reads::log_search::Search;

/// Events that are read at once.
pub const PAGE: i64 = 200;

#[derive(Args, Clone)]
#[group(id = "searched", multiple = true)]
pub struct Searched {
    /// Only of streams of this kind, as task; may be repeated
    #[arg(long, value_delimiter = ',')]
    pub category: Vec<String>,
    /// Only of this stream, as task/17
    #[arg(long)]
    pub stream: Option<String>,
    /// Only about this unit, as task/17: its stream, and events that name it
    #[arg(long)]
    pub about: Option<String>,
    /// Only of this type; `upload_*` means all that begin so; may be repeated
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub types: Vec<String>,
    /// Only what this one did, as user:admin
    #[arg(long)]
    pub actor: Option<String>,
    /// Only what one request led to
    #[arg(long, value_name = "ID")]
    pub correlation_id: Option<String>,
    /// Only with this value in the payload, as task_id:17; may be repeated
    #[arg(long, value_name = "KEY:VALUE")]
    pub content: Vec<String>,
    /// Not before this time, as RFC 3339
    #[arg(long, value_name = "TIME", value_parser = storable::instant)]
    pub since: Option<Timestamp>,
    /// Before this time, as RFC 3339
    #[arg(long, value_name = "TIME", value_parser = storable::instant)]
    pub until: Option<Timestamp>,
    /// Not before this position
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(1..))]
    pub from_position: Option<i64>,
    /// Not behind this position
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(1..))]
    pub to_position: Option<i64>,
}

impl From<Searched> for Search {
    fn from(asked: Searched) -> Self {
        let Searched { category, stream, about, types, actor, correlation_id, content, since, until, from_position, to_position } = asked;
        Self {
            categories: category,
            stream,
            about,
            types,
            actor,
            correlation_id,
            contents: content,
            since,
            until,
            from_position,
            to_position,
        }
    }
}

/// Events that match, the newest first.
pub struct Newest {
    pub events: Vec<Value>,
    /// Up to where the log was looked at.
    pub readable_to: i64,
}

/// Whether anybody still reads what is told.
pub type Tell<'a> = &'a mut (dyn FnMut(&Value) -> anyhow::Result<bool> + Send);

/// Where the log is read.
pub trait Log {
    async fn of_task(&self, task: &str) -> anyhow::Result<Vec<Value>>;
    async fn at(&self, position: i64) -> anyhow::Result<Value>;
    async fn newest(&self, limit: i64) -> anyhow::Result<Newest>;
    async fn export(&self, format: EventsFormat, to: impl Write) -> anyhow::Result<()>;
    /// Tells what matches behind a position, until nobody reads any more.
    async fn follow(&self, after: i64, tell: Tell<'_>) -> anyhow::Result<()>;
    /// What should be said of how far the log was looked at.
    async fn remark(&self, readable_to: i64) -> anyhow::Result<Option<String>>;
}
