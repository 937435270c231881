//! Small pieces that let modules meet which do not know each other.

use std::time::Duration;

use async_trait::async_trait;
use tracing::warn;

use crate::config;
use crate::devices::{Keepalive, LinkSettings};
use crate::embedded::keys::{Away, Holders};
use crate::projections::reads::{ReadError, Reads};
use crate::telemetry::chain;

pub fn link_settings(devices: &config::Devices) -> LinkSettings {
    let keepalive = |interval: Duration, timeout: Duration| Keepalive {
        ping_interval: (!interval.is_zero()).then_some(interval),
        pong_timeout: if timeout.is_zero() { interval } else { timeout },
    };
    LinkSettings {
        recorder: keepalive(devices.recorder_ping_interval, devices.recorder_ping_timeout),
        transfer: keepalive(devices.transfer_ping_interval, devices.transfer_ping_timeout),
        frame_bytes_max: devices.frame_bytes_max,
        links_max: devices.links_max,
        write_timeout: devices.transfer_write_timeout,
        ..LinkSettings::default()
    }
}

/// Whose the keys to the embedded store are.
pub struct StoreKeys(pub Reads);

/// How long the store waits for the database before a robot is told to come again.
const LOOK_UP_MAX: Duration = Duration::from_secs(5);

/// An answer of the database, or that there is none now.
pub async fn looked_up<V>(what: &str, ask: impl Future<Output = Result<V, ReadError>>) -> Result<V, Away> {
    match tokio::time::timeout(LOOK_UP_MAX, ask).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => {
            warn!(error = chain(&error), "Cannot look up {what}: {error}");
            Err(Away)
        }
        Err(_) => {
            warn!("Cannot look up {what}: no answer within {LOOK_UP_MAX:?}");
            Err(Away)
        }
    }
}

#[async_trait]
impl Holders for StoreKeys {
    async fn robot(&self, access_key: &str) -> Result<Option<String>, Away> {
        let found = looked_up("whose a store key is", self.0.store_key(access_key)).await?;
        // Also of a robot that is retired, as at its uploader's socket: what it still has is welcome.
        Ok(found.map(|row| row.device_id.into()))
    }

    async fn has_own_key(&self, device_id: &str) -> Result<bool, Away> {
        looked_up("whether a robot has a store key", self.0.has_store_key(device_id)).await
    }
}
