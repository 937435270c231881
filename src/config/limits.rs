//! `[limits]`: how much is taken from whom.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub body_bytes_max: usize,
    pub sidecar_bytes_max: u64,
    pub registrations_per_minute: u32,
    pub requests_per_second_per_login: u32,
    pub requests_per_second_per_address: u32,
    pub exports_per_minute_per_login: u32,
    /// On each port.
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    pub streams_max: usize,
    pub streams_per_user_max: usize,
}
