//! One request to a receiver, and what its answer means.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response};
use url::Host;

use super::address::{AddressRefused, Allowed, CheckedNames, Names};
use crate::domain::Timestamp;
use crate::domain::subscription::{Hidden, Target};
use crate::listener::Networks;
use crate::telemetry::chain;
use crate::telemetry::trace::TRACE_PARENT;

/// Bytes of an answer that are read, and that are kept.
const ANSWER_READ_MAX: usize = 16 << 10;
const ANSWER_KEPT_MAX: usize = 1_000;
/// A connection is made within this, or the destination is down.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The longest quiet that is believed.
const REST_MAX: Duration = Duration::from_secs(3_600);

/// What is sent.
pub struct Message {
    pub id: String,
    pub timestamp: i64,
    pub signature: String,
    pub body: String,
    /// The attempt, for traces of the receiver.
    pub trace_parent: Option<String>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    pub verdict: Verdict,
    pub status: Option<u16>,
    pub error: Option<String>,
    pub answer: Option<String>,
    pub took: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Delivered,
    Failed,
    /// It wants nothing for so long.
    Busy(Duration),
    /// There was no connection.
    Down,
    Gone,
}

pub struct Post {
    encrypted: (Client, Allowed),
    plain: (Client, Allowed),
}

impl Post {
    pub fn new(networks: Networks, names: &Arc<dyn Names>) -> anyhow::Result<Self> {
        let networks = Arc::new(networks);
        let client = |allowed: Allowed| {
            let names = CheckedNames { names: names.clone(), allowed: allowed.clone() };
            let client = Client::builder()
                .dns_resolver(names)
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .referer(false)
                .http1_only()
                .connect_timeout(CONNECT_WITHIN)
                .user_agent("keystone-edge")
                .build()?;
            anyhow::Ok((client, allowed))
        };
        Ok(Self { encrypted: client(Allowed::encrypted(networks.clone()))?, plain: client(Allowed::plain(networks))? })
    }

    /// Nothing of the target's path and query, and of the `secrets`, stands in what is said of it. `now` tells what a date in `Retry-After` means.
    pub async fn send(&self, target: &Target, secrets: &[String], message: Message, timeout: Duration, now: Timestamp) -> Sent {
        let started = Instant::now();
        let (verdict, status, error, answer) = self.outcome(target, secrets, message, timeout, now).await;
        Sent { verdict, status, error, answer, took: started.elapsed() }
    }

    async fn outcome(
        &self,
        target: &Target,
        secrets: &[String],
        message: Message,
        timeout: Duration,
        now: Timestamp,
    ) -> (Verdict, Option<u16>, Option<String>, Option<String>) {
        let (client, allowed) = if target.url().scheme() == "https" { &self.encrypted } else { &self.plain };
        // An address in place of a name is resolved by nobody.
        let literal = match target.url().host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => None,
        };
        if let Some(Err(refused)) = literal.map(|address| allowed.check(address)) {
            return (Verdict::Failed, None, Some(refused.to_string()), None);
        }
        let mut request = client
            .post(target.url().clone())
            .timeout(timeout)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", message.id)
            .header("webhook-timestamp", message.timestamp)
            .header("webhook-signature", message.signature)
            .body(message.body);
        if let Some(span) = message.trace_parent {
            request = request.header(TRACE_PARENT, span);
        }
        match request.send().await {
            Ok(response) => {
                let status = response.status();
                let verdict = verdict_of(status, rest_of(&response, now));
                let answer = beginning(response).await;
                // Most say nothing.
                let answer = if answer.is_empty() { String::new() } else { kept(&answer, &Hidden::of(target, secrets)) };
                let error = (verdict != Verdict::Delivered).then(|| format!("the receiver answered {}", status.as_u16()));
                (verdict, Some(status.as_u16()), error, Some(answer))
            }
            Err(error) => {
                let error = error.without_url();
                let (verdict, text) = of_failure(&error, timeout);
                (verdict, None, Some(Hidden::of(target, secrets).taken_out_of(&text)), None)
            }
        }
    }
}

/// What is kept of an answer.
fn kept(answer: &[u8], hidden: &Hidden) -> String {
    let text = String::from_utf8_lossy(answer);
    let text = if answer.len() < ANSWER_READ_MAX { hidden.taken_out_of(&text) } else { hidden.taken_out_of_beginning(&text) };
    text.replace('\0', "\u{fffd}").chars().take(ANSWER_KEPT_MAX).collect()
}

fn verdict_of(status: StatusCode, rest: Option<Duration>) -> Verdict {
    match (status.as_u16(), rest) {
        (200..=299, _) => Verdict::Delivered,
        (410, _) => Verdict::Gone,
        (429 | 503, Some(rest)) => Verdict::Busy(rest.min(REST_MAX)),
        _ => Verdict::Failed,
    }
}

/// What `Retry-After` says, in seconds or as a date.
fn rest_of(response: &Response, now: Timestamp) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    rest_in(text, now)
}

fn rest_in(text: &str, now: Timestamp) -> Option<Duration> {
    let rest = match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true if text.is_empty() => return None,
        // A number that is too large for us is longer than we believe.
        true => text.parse().map_or(Duration::MAX, Duration::from_secs),
        false => chrono::DateTime::parse_from_rfc2822(text).ok().and_then(|at| (at.to_utc() - now).to_std().ok())?,
    };
    // No quiet is asked for: then it is a failure, and the next try waits as after others.
    (rest >= Duration::from_secs(1)).then_some(rest)
}

/// As much of the answer as is read; the rest is left, and its connection with it.
async fn beginning(mut response: Response) -> Vec<u8> {
    let mut read = vec![];
    while read.len() < ANSWER_READ_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => read.extend_from_slice(&chunk[..chunk.len().min(ANSWER_READ_MAX - read.len())]),
            // The status is there, and counts.
            Ok(None) | Err(_) => break,
        }
    }
    read
}

fn of_failure(error: &reqwest::Error, timeout: Duration) -> (Verdict, String) {
    let mut cause = error.source();
    while let Some(one) = cause {
        if let Some(refused) = one.downcast_ref::<AddressRefused>() {
            return (Verdict::Failed, refused.to_string());
        }
        cause = one.source();
    }
    if error.is_connect() {
        return (Verdict::Down, format!("no connection: {}", chain(error)));
    }
    if error.is_timeout() {
        return (Verdict::Failed, format!("no answer within {timeout:?}"));
    }
    (Verdict::Failed, chain(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_means() {
        let hour = Duration::from_secs(3_600);
        for (status, rest, verdict) in [
            (200, None, Verdict::Delivered),
            (204, Some(hour), Verdict::Delivered),
            (301, None, Verdict::Failed),
            (400, None, Verdict::Failed),
            (401, None, Verdict::Failed),
            (404, None, Verdict::Failed),
            (408, None, Verdict::Failed),
            (410, None, Verdict::Gone),
            (429, None, Verdict::Failed),
            (429, Some(hour * 5), Verdict::Busy(hour)),
            (500, Some(hour), Verdict::Failed),
            (503, Some(Duration::from_secs(7)), Verdict::Busy(Duration::from_secs(7))),
        ] {
            assert_eq!(verdict_of(StatusCode::from_u16(status).unwrap(), rest), verdict, "{status} {rest:?}");
        }
    }

    #[test]
    fn a_wait_is_told_in_seconds_or_as_a_date() {
        let now: Timestamp = "2015-10-21T07:27:00Z".parse().unwrap();
        for (text, rest) in [
            ("120", Some(120)),
            ("1", Some(1)),
            ("0", None),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(60)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", None),
            ("soon", None),
            ("-3", None),
            ("+3", None),
            ("", None),
        ] {
            assert_eq!(rest_in(text, now), rest.map(Duration::from_secs), "{text:?}");
        }
        assert_eq!(rest_in("99999999999999999999999999", now), Some(Duration::MAX));
    }
}
