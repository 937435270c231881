//! `[http]`: where the server listens and how long a caller may take.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::check::Findings;
use super::forms::{bind_address, listed, seconds, set_or_none};
use crate::listener::{Origins, Proxies};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    #[serde(deserialize_with = "bind_address")]
    pub bind: SocketAddr,
    /// Without a trailing slash. Where it is not set, see [`Http::callback_base_url`].
    #[serde(deserialize_with = "set_or_none")]
    pub callback_public_base_url: Option<String>,
    #[serde(deserialize_with = "set_or_none")]
    internal_url: Option<String>,
    /// Without a trailing slash.
    #[serde(deserialize_with = "set_or_none")]
    pub lichtblick_url: Option<String>,
    #[serde(deserialize_with = "listed")]
    pub trusted_proxies: Proxies,
    #[serde(deserialize_with = "listed")]
    pub allowed_origins: Origins,
    #[serde(rename = "read_timeout_s", deserialize_with = "seconds")]
    pub read_timeout: Duration,
    #[serde(rename = "write_timeout_s", deserialize_with = "seconds")]
    pub write_timeout: Duration,
    #[serde(rename = "shutdown_timeout_s", deserialize_with = "seconds")]
    pub shutdown_timeout: Duration,
}

impl Http {
    /// Where the other processes of the site reach this one.
    pub fn internal_url(&self, listening: SocketAddr) -> String {
        match (&self.internal_url, host_name()) {
            (Some(url), _) => url.clone(),
            (None, Some(host)) if listening.ip().is_unspecified() => format!("http://{host}:{}", listening.port()),
            (None, _) => format!("http://{}", reachable(listening)),
        }
    }

    /// What callback links start with. `listening` is the address really bound, which
    /// differs from the configured one when that asks for a free port.
    pub fn callback_base_url(&self, listening: SocketAddr) -> String {
        match &self.callback_public_base_url {
            Some(url) => url.clone(),
            None => format!("http://{}", reachable(listening)),
        }
    }

    pub(super) fn check(&mut self, findings: &mut Findings) {
        findings.need_base_url("http.callback_public_base_url", &mut self.callback_public_base_url);
        findings.need_base_url("http.internal_url", &mut self.internal_url);
        findings.need_base_url("http.lichtblick_url", &mut self.lichtblick_url);
    }
}

/// What this machine calls itself.
pub fn host_name() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok()
}

/// An address that another program on this machine can connect to.
pub fn reachable(listening: SocketAddr) -> SocketAddr {
    if listening.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], listening.port())) } else { listening }
}
