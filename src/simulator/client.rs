//! The server's REST interface, as a person at a workstation uses it through a browser.
//!
//! A server that restarts is not an error here: a person who waits for a robot reloads the page.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::warn;

/// How long a call is repeated while the server cannot be reached.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(150);
/// What begins to answer within this time may take as long as it likes.
const BEGIN_WITHIN: Duration = Duration::from_secs(40);
/// A server that is there answers within moments.
const FIRST_CONTACT: Duration = Duration::from_secs(10);
/// A restart takes less; after that it is said what is waited for.
const SILENT: Duration = Duration::from_secs(5);

/// One signed-in person. A login that has come to its end is renewed.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    login: Arc<Login>,
    token: Arc<Mutex<String>>,
}

enum Login {
    Account {
        account: String,
        password: String,
    },
    /// From the server that this program is a part of.
    Given(Box<dyn Fn() -> Option<String> + Send + Sync>),
}

/// A status with its body: both are of interest when work is refused.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: StatusCode,
    pub body: Value,
}

impl Reply {
    /// Whether others with the same login ask too much at the moment.
    fn is_too_often(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS && self.body["code"] == "too_many_requests"
    }
}

impl Client {
    /// `base` is the server's address without a path, `http://127.0.0.1:8080`.
    pub async fn sign_in(base: &str, account: &str, password: &str) -> anyhow::Result<Self> {
        let client = Self::with(base, Login::Account { account: account.to_owned(), password: password.to_owned() })?;
        client.renew().await?;
        Ok(client)
    }

    /// Signs in where nobody knows yet whether a server is there: the error says what is wrong, and shows no password, not even one
    /// that was written into the address. `hint` says what names the account.
    pub async fn sign_in_at(server: &str, account: &str, password: &str, hint: &str) -> anyhow::Result<Self> {
        let to_do = "--server names the address of a Keystone server, like http://edge:8080";
        let plain = url::Url::parse(server).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        });
        ensure!(plain, "this is no address; {to_do}, without a user and a password in it");
        let healthy = format!("{}/api/v1/health", server.trim_end_matches('/'));
        let http = reqwest::Client::builder().timeout(FIRST_CONTACT).build()?;
        match http.get(healthy).send().await {
            Err(error) => return Err(anyhow::Error::new(error).context(format!("cannot reach {server}; {to_do}"))),
            Ok(answer) if !answer.status().is_success() => {
                bail!("{server} answers {} where a Keystone server says that it is well; {to_do}", answer.status())
            }
            Ok(_) => {}
        }
        Self::sign_in(server, account, password).await.with_context(|| format!("cannot sign in; {hint}"))
    }

    /// With logins that are made inside this program.
    pub fn signed_in(base: &str, login: impl Fn() -> Option<String> + Send + Sync + 'static) -> anyhow::Result<Self> {
        Self::with(base, Login::Given(Box::new(login)))
    }

    fn with(base: &str, login: Login) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(40)).build()?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), login: Arc::new(login), token: Arc::default() })
    }

    async fn renew(&self) -> anyhow::Result<()> {
        let token = match &*self.login {
            Login::Given(login) => login().context("no login could be made")?,
            Login::Account { account, password } => {
                let login = json!({ "account": account, "password": password });
                let reply = self.until_answered(Method::POST, "/auth/login", Some(&login)).await?;
                if reply.status != StatusCode::OK {
                    bail!("the login of `{account}` was refused: {} {}", reply.status, reply.body);
                }
                reply.body["access_token"].as_str().context("the login has no access_token")?.to_owned()
            }
        };
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
        Ok(())
    }

    /// One call, whatever its status.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Reply> {
        let reply = self.once(method.clone(), path, body).await?;
        if reply.status != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        self.renew().await?;
        self.once(method, path, body).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/api/v1{path}", self.base));
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if token.is_empty() { request } else { request.bearer_auth(&token) }
    }

    /// A GET whose answer may be long, or without an end: the caller reads it. `last_id` is the last event of a stream that was heard.
    pub async fn open(&self, path: &str, last_id: Option<&str>) -> anyhow::Result<reqwest::Response> {
        let ask = async || {
            let mut request = self.request(Method::GET, path).timeout(Duration::MAX);
            if let Some(last_id) = last_id {
                request = request.header("last-event-id", last_id);
            }
            let answer = tokio::time::timeout(BEGIN_WITHIN, request.send()).await;
            anyhow::Ok(answer.with_context(|| format!("no answer within {} s", BEGIN_WITHIN.as_secs()))??)
        };
        let answer = ask().await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        self.renew().await?;
        ask().await
    }

    async fn once(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Reply> {
        let mut request = self.request(method, path);
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
        let reply = self.until_answered(method.clone(), path, body).await?;
        if reply.status != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        self.renew().await?;
        self.until_answered(method, path, body).await
    }

    async fn until_answered(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Reply> {
        let (began, mut told) = (Instant::now(), false);
        loop {
            let outcome = self.once(method.clone(), path, body).await;
            match outcome {
                Ok(reply) if !reply.status.is_server_error() && !reply.is_too_often() => return Ok(reply),
                outcome if began.elapsed() >= PATIENCE => return outcome.with_context(|| format!("{method} {path}")),
                outcome => {
                    if !told && began.elapsed() >= SILENT {
                        told = true;
                        let why = outcome.map_or_else(|error| format!("{error:#}"), |reply| format!("{} {}", reply.status, reply.body));
                        warn!("{method} {path} finds no server that can work ({why}); tries for {} s", PATIENCE.as_secs());
                    }
                    tokio::time::sleep(RETRY).await;
                }
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
