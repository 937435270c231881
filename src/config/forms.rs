//! The forms of values: addresses, links, lists, durations, and what is not set.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// `host:port`, where an empty host means every address and `localhost` loopback.
pub(super) fn parse_bind(text: &str) -> Option<SocketAddr> {
    if let Some(port) = text.strip_prefix(':') {
        return Some(SocketAddr::from(([0, 0, 0, 0], port.parse().ok()?)));
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?)));
    }
    text.parse().ok()
}

/// Devices speak no TLS.
pub(super) fn is_socket_url(text: &str) -> bool {
    text.strip_prefix("ws://").is_some_and(|rest| is_base_url(&format!("http://{rest}")))
}

pub(super) fn is_base_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else {
        return false;
    };
    matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.host().is_some_and(|host| !host.is_empty())
        && matches!(uri.path(), "" | "/")
        && uri.query().is_none()
        && !text.contains(['#', '@'])
}

/// What others add a path to, and that may have one.
pub(super) fn is_endpoint(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty()) && uri.query().is_none()
    }) && !text.contains(['#', '@'])
}

pub(super) fn bind_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_bind(&text).ok_or_else(|| D::Error::custom(format!("`{text}` must be an address and a port, like 0.0.0.0:8080 or :8080")))
}

/// A list in one text; an empty text is an empty list.
pub(super) fn listed<'de, D: Deserializer<'de>, T: FromStr>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| D::Error::custom(format!("`{text}` is no list of these, separated by commas")))
}

pub(super) fn set_or_none<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let inner = serde::de::value::StringDeserializer::<D::Error>::new(text);
    T::deserialize(inner).map(Some)
}

/// The unit stands in the name of a key; inside the program a duration is one.
pub(super) fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

pub(super) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

pub(super) fn hours<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(|hours| Duration::from_secs(hours.saturating_mul(3600)))
}
