//! Changes of devices, read once and written once for all readers.

use std::time::Duration;

use bytes::Bytes;

use super::told::{frames, told_as};
use crate::commands::Commands;
use crate::projections::reads::device_changes::WINDOW;
use crate::projections::reads::{ReadError, Reads};
use crate::streams::{Look, Source, Window};

/// A change, ready to be told.
pub struct ToldChange {
    pub position: i64,
    pub device_id: String,
    pub frames: Vec<Bytes>,
}

#[derive(Clone)]
pub struct DeviceSource {
    pub reads: Reads,
    /// For their clock.
    pub commands: Commands,
    pub response_timeout: Duration,
}

impl Source for DeviceSource {
    type Item = ToldChange;

    fn bytes(change: &ToldChange) -> usize {
        size_of::<ToldChange>() + change.device_id.len() + change.frames.iter().map(Bytes::len).sum::<usize>()
    }

    async fn head(&self) -> Result<i64, ReadError> {
        self.reads.log_head().await
    }

    async fn read(&self, after: i64) -> Result<Look<ToldChange>, ReadError> {
        let head = self.head().await?;
        let upto = head.min(after.saturating_add(WINDOW)).max(after);
        let changes = if upto > after { self.reads.device_changes(after, upto).await? } else { vec![] };
        let now = self.commands.now();
        let told = changes.into_iter().map(|change| ToldChange {
            frames: frames(told_as(&change, now, self.response_timeout), change.position).collect(),
            position: change.position,
            device_id: change.device_id,
        });
        Ok(Look { window: Window { after, upto, items: told.collect() }, more: upto < head })
    }
}
