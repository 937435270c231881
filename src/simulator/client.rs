//! The server's REST interface, as a person at a workstation uses it through a browser.
//!
//! A server that restarts is not an error here: a person who waits for a robot reloads the page.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

/// How long a call is repeated while the server cannot be reached.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(150);

/// One signed-in person.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    account: String,
    password: String,
    token: String,
}

/// A status with its body: both are of interest when work is refused.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: StatusCode,
    pub body: Value,
}

impl Client {
    /// `base` is the server's address without a path, `http://127.0.0.1:8080`.
    pub async fn sign_in(base: &str, account: &str, password: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(40)).build()?;
        let mut client = Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            account: account.to_owned(),
            password: password.to_owned(),
            token: String::new(),
        };
        client.renew().await?;
        Ok(client)
    }

    async fn renew(&mut self) -> anyhow::Result<()> {
        let login = json!({ "account": self.account, "password": self.password });
        let reply = self.patiently(Method::POST, "/auth/login", Some(&login)).await?;
        if reply.status != StatusCode::OK {
            bail!("the login of `{}` was refused: {} {}", self.account, reply.status, reply.body);
        }
        self.token = reply.body["access_token"].as_str().context("the login has no access_token")?.to_owned();
        Ok(())
    }

    /// One call, whatever its status.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Reply> {
        let mut request = self.http.request(method, format!("{}/api/v1{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status();
        let bytes = response.bytes().await?;
        Ok(Reply { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }

    /// The same, repeated while the server cannot be reached or says that it cannot work.
    pub async fn patiently(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Reply> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let outcome = self.call(method.clone(), path, body).await;
            match outcome {
                Ok(reply) if !reply.status.is_server_error() => return Ok(reply),
                outcome if Instant::now() >= deadline => return outcome.with_context(|| format!("{method} {path}")),
                _ => tokio::time::sleep(RETRY).await,
            }
        }
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let reply = self.patiently(Method::GET, path, None).await?;
        if !reply.status.is_success() {
            bail!("GET {path} was answered with {}: {}", reply.status, reply.body);
        }
        Ok(reply.body)
    }

    /// Creates something and answers its body.
    pub async fn create(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let reply = self.patiently(Method::POST, path, Some(body)).await?;
        if reply.status != StatusCode::CREATED {
            bail!("POST {path} was answered with {}: {}", reply.status, reply.body);
        }
        Ok(reply.body)
    }
}

/// An id, which the interface writes as a number in some places and as a text in others.
pub fn id_of(value: &Value) -> anyhow::Result<i64> {
    match value {
        Value::Number(number) => number.as_i64().context("an id that is no integer"),
        Value::String(text) => text.parse().with_context(|| format!("an id {text:?} that is no integer")),
        other => bail!("an id was expected, found {other}"),
    }
}
