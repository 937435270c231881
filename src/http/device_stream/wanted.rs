//! The devices that one reader asks for, and may see.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::source::{DeviceSource, ToldChange};
use crate::domain::Scope;
use crate::projections::reads::ReadError;
use crate::streams::{Source as _, Wanted, Window};

pub struct WantedDevices {
    pub source: DeviceSource,
    pub scope: Scope,
    /// None: all.
    pub ids: Option<BTreeSet<String>>,
}

impl WantedDevices {
    pub fn has(&self, device: &str) -> bool {
        self.ids.as_ref().is_none_or(|ids| ids.contains(device))
    }
}

impl Wanted<DeviceSource> for WantedDevices {
    async fn of_window(&mut self, window: &Window<ToldChange>, after: i64) -> Result<Vec<Bytes>, ReadError> {
        let news = || window.items.iter().filter(|change| change.position > after && self.has(&change.device_id));
        let devices: BTreeSet<&str> = news().map(|change| change.device_id.as_str()).collect();
        let seen = self.source.reads.seen_devices(&self.scope, devices).await?;
        Ok(news().filter(|change| seen.contains(&change.device_id)).flat_map(|change| change.frames.iter().cloned()).collect())
    }

    async fn of_log(&mut self, after: i64, _target: i64) -> Result<(i64, Vec<Bytes>), ReadError> {
        let window = self.source.read(after).await?.window;
        let frames = self.of_window(&window, after).await?;
        Ok((window.upto, frames))
    }
}
