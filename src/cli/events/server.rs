//! The log by the routes of a server.

use std::io::{ErrorKind, Write};

use anyhow::Context as _;
use serde_json::Value;

use super::log::{Log, Newest, PAGE, Searched, Tell};
use crate::cli::remote::{Frame, Query, Remote};
use crate::domain::Timestamp;
use crate::http::export::EventsFormat;

pub struct ServerLog<'a> {
    server: &'a Remote,
    query: Query,
}

impl<'a> ServerLog<'a> {
    pub fn new(server: &'a Remote, asked: &Searched) -> Self {
        let Searched { category, stream, about, types, actor, correlation_id, content, since, until, from_position, to_position } = asked;
        let list = |of: &[String]| (!of.is_empty()).then(|| of.join(","));
        let instant = |at: &Option<Timestamp>| at.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true));
        let query = Query::default().and("category", list(category)).and("stream", stream.as_ref()).and("about", about.as_ref());
        let query = query.and("type", list(types)).and("actor", actor.as_ref()).and("correlation_id", correlation_id.as_ref());
        let query = content.iter().fold(query, |query, content| query.with("content", content));
        let query = query.and("since", instant(since)).and("until", instant(until));
        Self { server, query: query.and("from_position", from_position.as_ref()).and("to_position", to_position.as_ref()) }
    }

    /// What a search finds, page by page.
    async fn pages(&self, query: &Query, limit: i64) -> anyhow::Result<Newest> {
        let (mut found, mut after) = (Newest { events: vec![], readable_to: 0 }, None::<i64>);
        loop {
            let wanted = limit.saturating_sub(i64::try_from(found.events.len()).unwrap_or(i64::MAX)).min(PAGE);
            let mut page = self.server.get(&query.clone().with("limit", wanted).and("after", after).after("/events")).await?;
            if after.is_none() {
                found.readable_to = page["readable_to"].as_i64().context("the server does not say how far its log goes")?;
            }
            if let Value::Array(events) = page["items"].take() {
                found.events.extend(events);
            }
            after = page["next_after"].as_i64();
            if after.is_none() || i64::try_from(found.events.len()).is_ok_and(|found| found >= limit) {
                return Ok(found);
            }
        }
    }
}

impl Log for ServerLog<'_> {
    async fn of_task(&self, task: &str) -> anyhow::Result<Vec<Value>> {
        let query = Query::default().with("about", format!("task/{task}")).with("order", "asc");
        Ok(self.pages(&query, i64::MAX).await?.events)
    }

    async fn at(&self, position: i64) -> anyhow::Result<Value> {
        self.server.get(&format!("/events/{position}")).await
    }

    async fn newest(&self, limit: i64) -> anyhow::Result<Newest> {
        self.pages(&self.query, limit).await
    }

    async fn export(&self, format: EventsFormat, mut to: impl Write) -> anyhow::Result<()> {
        let path = self.query.clone().with("format", format.as_str()).after("/events/export");
        let mut answer = self.server.open(&path, None).await?;
        while let Some(piece) = answer.next().await.context("the export is not whole")? {
            match to.write_all(&piece) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
                written => written?,
            }
        }
        Ok(to.flush()?)
    }

    /// A server that restarts meanwhile is waited for: what comes is told from where it was left.
    async fn follow(&self, after: i64, tell: Tell<'_>) -> anyhow::Result<()> {
        let path = self.query.after("/events/stream");
        let tell_frame =
            &mut |frame: &Frame| tell(&serde_json::from_str(&frame.data).context("the server tells something else than events")?);
        self.server.follow(&path, Some(after.to_string()), tell_frame).await
    }

    async fn remark(&self, _readable_to: i64) -> anyhow::Result<Option<String>> {
        Ok(None)
    }
}
