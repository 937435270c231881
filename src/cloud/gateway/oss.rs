//! The object store of the data platform, with the credentials of a session: they are good for a while, and had anew before they end.

#![expect(clippy::disallowed_methods, reason = "a signature carries the time of this machine, and credentials end by it")]

use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use http::Method;
use tokio::sync::Mutex;

use super::super::parts::md5_hex;
use super::super::store::{Answer, Request, Sender, Store, StoreError, is_name};
use super::calls::{CallError, Caller, Calls};
use super::signature::{Signed, http_date};
use crate::blobs::signature::{encoded, query_of};
use crate::config::Secret;
use crate::domain::sync::{FinishedPart, OpenedSession};
use crate::gateway_api::data_gateway::{UploadCredentials, UploadSession};

/// Beside the time that one request may take.
const LEFT_MORE_S: u64 = 30;
const EXPIRED: &str = "SecurityTokenExpired";

/// What lets the bytes of one session in.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub endpoint: String,
    access_key_id: String,
    secret: Secret,
    token: Secret,
    expires_at: i64,
    given_at: i64,
}

impl Credentials {
    fn of(given: UploadCredentials) -> Self {
        Self {
            endpoint: given.endpoint,
            access_key_id: given.sts_access_key_id,
            secret: Secret::new(given.sts_access_key_secret),
            token: Secret::new(given.sts_security_token),
            expires_at: given.sts_expire_at_unix,
            given_at: Utc::now().timestamp(),
        }
    }

    /// Whether they last for a request of this length; those that are given for less, for half of their time.
    fn last(&self, now: i64, request: Duration) -> bool {
        let needed = i64::try_from(request.as_secs() + LEFT_MORE_S).unwrap_or(i64::MAX);
        self.expires_at - now > needed.min((self.expires_at - self.given_at) / 2)
    }
}

/// What the gateway says of a session: what is kept of it, and what is not.
pub fn opened(answer: UploadSession, asset_id: &str, restarts: u32) -> Result<(OpenedSession, Credentials), CallError> {
    let given = answer.credentials.ok_or(CallError::Strange("a session without credentials"))?;
    if ![&answer.upload_id, &answer.logical_upload_id, &given.bucket, &given.object_key].into_iter().all(|name| is_name(name)) {
        return Err(CallError::Strange("a session without a name or a place, or with very long ones"));
    }
    let session = OpenedSession {
        asset_id: asset_id.to_owned(),
        logical_upload_id: answer.logical_upload_id,
        session_id: answer.upload_id,
        bucket: given.bucket.clone(),
        object_key: given.object_key.clone(),
        part_bytes: u64::try_from(given.part_size_bytes).unwrap_or(0),
        restarts,
    };
    Ok((session, Credentials::of(given)))
}

/// The place that a session is for.
pub struct SessionStore<'a> {
    pub calls: &'a Calls,
    pub caller: &'a Caller,
    pub sender: &'a Sender,
    pub request_timeout: Duration,
    pub session: OpenedSession,
    credentials: Mutex<Credentials>,
}

impl<'a> SessionStore<'a> {
    pub fn new(
        calls: &'a Calls,
        caller: &'a Caller,
        sender: &'a Sender,
        request_timeout: Duration,
        session: OpenedSession,
        credentials: Credentials,
    ) -> Self {
        Self { calls, caller, sender, request_timeout, session, credentials: Mutex::new(credentials) }
    }

    /// Those of the moment; new ones where they end soon, or where these were said to have ended.
    async fn credentials(&self, ended: Option<&Credentials>) -> Result<Credentials, StoreError> {
        let mut credentials = self.credentials.lock().await;
        let is_ended = ended.is_some_and(|ended| ended.token == credentials.token);
        if is_ended || !credentials.last(Utc::now().timestamp(), self.request_timeout) {
            let answer = self.calls.reissue(self.caller, &self.session.session_id).await;
            let renewed = answer.and_then(|answer| opened(answer, &self.session.asset_id, self.session.restarts));
            let (session, renewed) = renewed.map_err(|error| StoreError::NoCredentials(error.into()))?;
            if (&session.bucket, &session.object_key) != (&self.session.bucket, &self.session.object_key) {
                return Err(StoreError::Strange { what: "credentials for another place" });
            }
            *credentials = renewed;
        }
        Ok(credentials.clone())
    }

    async fn send(&self, credentials: &Credentials, request: Request<'_>) -> Result<Answer, StoreError> {
        let bucket = &self.session.bucket;
        let key = request.key.unwrap_or_default();
        let (url, query) = (object_url(&credentials.endpoint, bucket, key)?, query_of(request.query));
        let url = if query.is_empty() { url } else { format!("{url}?{query}") };
        let mut headers = request.headers.clone();
        let date = http_date(Utc::now());
        headers.push(("date", date.clone()));
        if !credentials.token.expose().is_empty() {
            headers.push(("x-oss-security-token", credentials.token.expose().to_owned()));
        }
        let content_type = headers.iter().find(|(name, _)| *name == "content-type").map(|(_, value)| value.clone());
        let signed = Signed {
            method: &request.method,
            content_type: content_type.as_deref().unwrap_or_default(),
            date: &date,
            headers: &headers,
            bucket,
            key,
            query: request.query,
        };
        let authorization = signed.authorization(&credentials.access_key_id, credentials.secret.expose());
        headers.push(("authorization", authorization));
        self.sender.send(url, request.saying(headers)).await
    }

    /// Size and entity tag of what lies there.
    pub async fn head(&self) -> Result<(u64, String), StoreError> {
        let answer = self.ask(Request::of(Method::HEAD, &self.session.object_key)).await?;
        Ok((answer.size()?, answer.tag("a HEAD without an entity tag")?))
    }

    pub async fn begin(&self) -> Result<String, StoreError> {
        self.create_upload(&self.session.object_key, vec![("content-type", "application/octet-stream".to_owned())]).await
    }
}

#[async_trait]
impl Store for SessionStore<'_> {
    async fn ask(&self, request: Request<'_>) -> Result<Answer, StoreError> {
        let credentials = self.credentials(None).await?;
        match self.send(&credentials, request.clone()).await {
            Err(StoreError::Denied { code }) if code == EXPIRED => {
                let credentials = self.credentials(Some(&credentials)).await?;
                self.send(&credentials, request).await
            }
            answered => answered,
        }
    }

    fn part_headers(&self, _sha256: &str) -> Vec<(&'static str, String)> {
        vec![("content-type", "application/octet-stream".to_owned())]
    }

    fn namespace(&self) -> &'static str {
        ""
    }
}

pub fn with_scheme(endpoint: &str) -> String {
    if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") }
}

/// Buckets are hosts, but for a store on this machine.
fn object_url(endpoint: &str, bucket: &str, key: &str) -> Result<String, StoreError> {
    let wrong = StoreError::Strange { what: "an endpoint that is no address" };
    let endpoint = with_scheme(endpoint);
    let (scheme, host) = endpoint.split_once("://").unwrap_or_default();
    let host = host.trim_end_matches('/');
    let is_host = !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ', '\\']);
    if !is_host || !["http", "https"].contains(&scheme) {
        return Err(wrong);
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let key = encoded(key, true);
    Ok(match name {
        "localhost" | "127.0.0.1" => format!("{scheme}://{host}/{bucket}/{key}"),
        _ => format!("{scheme}://{bucket}.{host}/{key}"),
    })
}

/// The entity tag of an object made of parts: of the tags in upper case, as text, and with their number.
pub fn object_tag<'a>(parts: impl IntoIterator<Item = &'a FinishedPart>) -> String {
    let (mut joined, mut count) = (String::new(), 0);
    for part in parts {
        joined += &part.etag.trim_matches('"').to_ascii_uppercase();
        count += 1;
    }
    format!("\"{}-{count}\"", md5_hex(joined.as_bytes()).to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::super::super::parts::same_tag;
    use super::*;

    #[test]
    fn a_bucket_is_a_host_but_on_this_machine() {
        let url = |endpoint: &str| object_url(endpoint, "b", "工/a b+.mcap").ok();
        for (endpoint, expected) in [
            ("oss-cn.example", "https://b.oss-cn.example/%E5%B7%A5/a%20b%2B.mcap"),
            ("http://oss.example:8080", "http://b.oss.example:8080/%E5%B7%A5/a%20b%2B.mcap"),
            ("http://127.0.0.1:9000/", "http://127.0.0.1:9000/b/%E5%B7%A5/a%20b%2B.mcap"),
            ("localhost:9000", "https://localhost:9000/b/%E5%B7%A5/a%20b%2B.mcap"),
        ] {
            assert_eq!(url(endpoint).as_deref(), Some(expected));
        }
        for wrong in ["", "ftp://a", "a/b", "u@a", "a?b", "http://"] {
            assert_eq!(url(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_tag_of_an_object_is_of_the_tags_as_text() {
        let part = |number, etag: &str| FinishedPart { number, etag: etag.to_owned(), sha256: String::new() };
        let parts = [part(1, "\"F97C5D29941BFB1B2FDAB0874906AB82\""), part(2, "b8a9f715dbb64fd5c56e7783c6820a61")];
        let joined = "F97C5D29941BFB1B2FDAB0874906AB82B8A9F715DBB64FD5C56E7783C6820A61";
        let tag = format!("\"{}-2\"", md5_hex(joined.as_bytes()).to_ascii_uppercase());
        assert_eq!(object_tag(&parts), tag);
        assert!(same_tag(&tag.to_ascii_lowercase(), &object_tag(&parts)) && !same_tag("\"\"", &object_tag(&[])));
    }

    #[test]
    fn credentials_are_had_anew_before_they_end() {
        let credentials = |lasts: i64| Credentials {
            endpoint: String::new(),
            access_key_id: String::new(),
            secret: Secret::new("hush"),
            token: Secret::new("hush"),
            expires_at: 1000 + lasts,
            given_at: 1000,
        };
        let request = Duration::from_secs(300);
        let hour = credentials(3600);
        assert!(hour.last(1000, request) && hour.last(1000 + 3269, request) && !hour.last(1000 + 3270, request));
        // Short ones are used for half of their time, and not renewed before each request.
        let short = credentials(20);
        assert!(short.last(1000, request) && short.last(1009, request) && !short.last(1010, request));
        assert!(!format!("{short:?}").contains("hush"));
    }
}
