//! A server as the command line uses it: its routes, with the login of a person.

#![expect(clippy::disallowed_methods, reason = "a server that is away is asked again after a while")]

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use url::form_urlencoded::{Serializer, byte_serialize};

use crate::simulator::client::{Client, Reply};

/// What lists give at once.
const PAGE: i64 = 100;

/// Streams tell something every 15 seconds, even where nothing happens.
const SILENCE_MAX: Duration = Duration::from_secs(45);

pub struct Remote(Client);

/// Some of a list.
pub struct Listed {
    pub items: Vec<Value>,
    pub total: i64,
    /// Behind which place the rest is.
    pub next: Option<String>,
}

/// A path with an id at its end.
pub fn path_of(path: &str, id: &str) -> String {
    let id: String = byte_serialize(id.as_bytes()).collect();
    format!("{path}/{id}")
}

/// Names and values, as they stand behind a path.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(&'static str, String)>);

impl Query {
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.0.push((name, value.to_string()));
        self
    }

    pub fn and(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.0.extend(value.map(|value| (name, value.to_string())));
        self
    }

    pub fn after(&self, path: &str) -> String {
        let mut text = Serializer::new(String::new());
        for (name, value) in &self.0 {
            text.append_pair(name, value);
        }
        let text = text.finish();
        if text.is_empty() { path.to_owned() } else { format!("{path}?{text}") }
    }
}

impl Remote {
    pub async fn sign_in(server: &str, user: &str, password: &str) -> anyhow::Result<Self> {
        let hint = "--user, and KEYSTONE_PASSWORD or --password-file, say who does";
        Ok(Self(Client::sign_in_at(server, user, password, hint).await?))
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        self.ask(Method::POST, path, body).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask(Method::PUT, path, Some(body)).await
    }

    pub async fn remove(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::DELETE, path, None).await
    }

    /// Asked once: what was asked for may have been done, also where no answer came.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let Reply { status, body } = self.0.call(method, path, body).await.context("the server does not answer")?;
        match status.is_success() {
            true => Ok(body),
            false => Err(refused(status, &body)),
        }
    }

    /// So many of a list, whatever a page of it has.
    pub async fn list_of(&self, path: &str, query: &Query, limit: i64, after: Option<String>) -> anyhow::Result<Listed> {
        let mut listed = Listed { items: vec![], total: 0, next: after };
        loop {
            let wanted = limit.saturating_sub(i64::try_from(listed.items.len()).unwrap_or(i64::MAX)).min(PAGE);
            let page = query.clone().with("limit", wanted).and("after", listed.next.take());
            let mut page = self.get(&page.after(path)).await?;
            listed.total = page["total"].as_i64().unwrap_or_default();
            listed.next = page["next_after"].as_str().map(str::to_owned);
            match page["items"].take() {
                Value::Array(items) => listed.items.extend(items),
                _ => bail!("the server answers with something else than a list"),
            }
            if listed.next.is_none() || i64::try_from(listed.items.len()).is_ok_and(|found| found >= limit) {
                return Ok(listed);
            }
        }
    }

    /// Something long, or without an end. `last_id` is the last one that was heard.
    pub async fn open(&self, path: &str, last_id: Option<&str>) -> anyhow::Result<Long> {
        let answer = match self.0.open(path, last_id).await {
            Ok(answer) => answer,
            // A login that is refused stays refused.
            Err(error) if is_of_the_way(&error) => return Err(Away(error.context("the server does not answer")).into()),
            Err(error) => return Err(error),
        };
        let status = answer.status();
        if status.is_success() {
            return Ok(Long(answer));
        }
        let body = answer.json().await.unwrap_or_default();
        let refused = refused(status, &body);
        // It may be able to work again in a moment.
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS { Err(Away(refused).into()) } else { Err(refused) }
    }
}

/// Between tries to reach a server that was there.
const RETRY: Duration = Duration::from_secs(1);

impl Remote {
    /// Hears a stream until `hear` has enough of it. A server that goes away meanwhile is waited for, and told the last id that was
    /// heard; `last_id` is where it begins.
    pub async fn follow(&self, path: &str, mut last_id: Option<String>, hear: Hear<'_>) -> anyhow::Result<()> {
        let (mut was_there, mut told) = (false, false);
        loop {
            let end = self.hear(path, &mut last_id, &mut was_there, hear).await;
            match end {
                Ok(false) => return Ok(()),
                Ok(true) => told = false,
                Err(error) => {
                    if was_there {
                        told = false;
                    }
                    let away = error.downcast::<Away>()?;
                    if !std::mem::replace(&mut told, true) {
                        eprintln!("keystone: {away}; waits for the server");
                    }
                }
            }
            was_there = false;
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Asks once a second until `heard` has what it waits for. A server that goes away meanwhile is waited for.
    pub async fn until(&self, path: &str, mut heard: impl FnMut(&Value) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let mut told = false;
        loop {
            match self.read(path).await {
                Ok(answer) if heard(&answer)? => return Ok(()),
                Ok(_) => told = false,
                Err(error) => {
                    let away = error.downcast::<Away>()?;
                    if !std::mem::replace(&mut told, true) {
                        eprintln!("keystone: {away}; waits for the server");
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn read(&self, path: &str) -> anyhow::Result<Value> {
        let (mut long, mut answer) = (self.open(path, None).await?, vec![]);
        while let Some(piece) = long.next().await? {
            answer.extend_from_slice(&piece);
        }
        Ok(serde_json::from_slice(&answer)?)
    }

    /// One connection. Answers whether more is wanted.
    async fn hear(&self, path: &str, last_id: &mut Option<String>, there: &mut bool, hear: Hear<'_>) -> anyhow::Result<bool> {
        let mut stream = self.open(path, last_id.as_deref()).await?.told();
        *there = true;
        while let Some(frame) = stream.next().await? {
            if !hear(&frame)? {
                return Ok(false);
            }
            if frame.id.is_some() {
                *last_id = frame.id;
            }
        }
        Ok(true)
    }
}

/// Whether more is wanted.
pub type Hear<'a> = &'a mut (dyn FnMut(&Frame) -> anyhow::Result<bool> + Send);

/// A server that cannot answer now, and may be able to later.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct Away(anyhow::Error);

fn is_of_the_way(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<reqwest::Error>() || cause.is::<tokio::time::error::Elapsed>())
}

fn refused(status: StatusCode, body: &Value) -> anyhow::Error {
    match body["detail"].as_str() {
        Some(detail) => anyhow::anyhow!("{detail}"),
        None => anyhow::anyhow!("the server answers {}", status.as_u16()),
    }
}

/// An answer that is read piece by piece.
pub struct Long(Response);

impl Long {
    /// `None`: its end.
    pub async fn next(&mut self) -> anyhow::Result<Option<bytes::Bytes>> {
        let piece = tokio::time::timeout(SILENCE_MAX, self.0.chunk()).await;
        let piece = piece.map_err(|_| Away(anyhow::anyhow!("nothing came from the server for {} s", SILENCE_MAX.as_secs())))?;
        Ok(piece.map_err(|error| Away(anyhow::Error::new(error.without_url()).context("the connection to the server broke")))?)
    }

    pub fn told(self) -> Told {
        Told { from: self, unread: vec![] }
    }
}

/// Server-sent events, one by one.
pub struct Told {
    from: Long,
    unread: Vec<u8>,
}

/// One of them.
#[derive(Debug, Default, PartialEq)]
pub struct Frame {
    pub name: Option<String>,
    pub id: Option<String>,
    pub data: String,
}

impl Told {
    /// `None`: its end.
    pub async fn next(&mut self) -> anyhow::Result<Option<Frame>> {
        loop {
            while let Some(end) = self.unread.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.unread.drain(..end + 2).collect();
                if let Some(frame) = frame(&String::from_utf8_lossy(&block)) {
                    return Ok(Some(frame));
                }
            }
            match self.from.next().await? {
                Some(piece) => self.unread.extend_from_slice(&piece),
                None => return Ok(None),
            }
        }
    }
}

/// None: a comment.
fn frame(block: &str) -> Option<Frame> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    Some(Frame { name: field("event:"), id: field("id:"), data: field("data:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_streams_write_them() {
        let told = |name: Option<&str>, id: Option<&str>, data: &str| {
            Some(Frame { name: name.map(str::to_owned), id: id.map(str::to_owned), data: data.to_owned() })
        };
        assert_eq!(frame("id: 7\ndata: {\"a\": 1}\n\n"), told(None, Some("7"), "{\"a\": 1}"));
        assert_eq!(frame("event: ping\ndata: {}\n\n"), told(Some("ping"), None, "{}"));
        assert_eq!(frame(": keepalive\n\n"), None);
    }

    #[test]
    fn a_query_says_what_was_given() {
        let query = Query::default().with("type", "upload_*").and("actor", Some("user:a&b")).and("about", None::<String>);
        assert_eq!(query.after("/events"), "/events?type=upload_*&actor=user%3Aa%26b");
        assert_eq!(Query::default().after("/events"), "/events");
    }
}
