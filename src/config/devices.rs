//! `[devices]`: the sockets of recorders and uploaders.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::check::Findings;
use super::forms::{bind_address, milliseconds, seconds, set_or_none};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceAuth {
    Auto,
    Required,
    Optional,
}

/// What a callback has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackProof {
    /// The token in the link that the recorder was configured with.
    Token,
    /// That, or that it comes from where the recorder of its robot connects from.
    KnownDevice,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Devices {
    #[serde(deserialize_with = "bind_address")]
    pub recorder_bind: SocketAddr,
    #[serde(deserialize_with = "bind_address")]
    pub transfer_bind: SocketAddr,
    pub auth: DeviceAuth,
    pub callbacks: CallbackProof,
    /// What robots are told to connect to, without a path; none: where they registered.
    #[serde(deserialize_with = "set_or_none")]
    pub recorder_public_url: Option<String>,
    #[serde(deserialize_with = "set_or_none")]
    pub transfer_public_url: Option<String>,
    #[serde(rename = "recorder_ping_interval_s", deserialize_with = "seconds")]
    pub recorder_ping_interval: Duration,
    #[serde(rename = "recorder_ping_timeout_s", deserialize_with = "seconds")]
    pub recorder_ping_timeout: Duration,
    #[serde(rename = "transfer_ping_interval_s", deserialize_with = "seconds")]
    pub transfer_ping_interval: Duration,
    #[serde(rename = "transfer_ping_timeout_s", deserialize_with = "seconds")]
    pub transfer_ping_timeout: Duration,
    #[serde(rename = "response_timeout_s", deserialize_with = "seconds")]
    pub response_timeout: Duration,
    #[serde(rename = "finish_timeout_s", deserialize_with = "seconds")]
    finish_timeout: Duration,
    #[serde(rename = "process_lease_ms", deserialize_with = "milliseconds")]
    pub process_lease: Duration,
    #[serde(rename = "transfer_write_timeout_s", deserialize_with = "seconds")]
    pub transfer_write_timeout: Duration,
    pub frame_bytes_max: usize,
    pub links_max: usize,
}

impl Devices {
    /// Whether a device that connects to the listener at `bind` has to show a token.
    /// Asked per listener, because the sockets are also served under the main port.
    pub fn token_required_on(&self, bind: SocketAddr) -> bool {
        match self.auth {
            DeviceAuth::Required => true,
            DeviceAuth::Optional => false,
            DeviceAuth::Auto => !bind.ip().is_loopback(),
        }
    }

    /// What a recorder does before it answers may take longer there, and never less.
    pub fn finish_timeout(&self) -> Duration {
        self.finish_timeout.max(self.response_timeout)
    }

    pub(super) fn check(&mut self, findings: &mut Findings) {
        findings.need_socket_url("devices.recorder_public_url", &mut self.recorder_public_url);
        findings.need_socket_url("devices.transfer_public_url", &mut self.transfer_public_url);
        if self.auth == DeviceAuth::Optional && [self.recorder_bind, self.transfer_bind].iter().any(|bind| !bind.ip().is_loopback()) {
            findings.notices.push("devices connect from other machines without a token (`devices.auth` is `optional`)".to_owned());
        }
    }
}
