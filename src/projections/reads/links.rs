//! The two links of each device, for the processes that hold them.

use uuid::Uuid;

use super::error::ReadError;
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::DeviceId;
use crate::domain::device::LinkKind;

row! {
    LinkRow {
        device_id: DeviceId = "d.id",
        kind: LinkKind = "k.kind",
        epoch: i64 = "k.epoch",
    }
}

const LINKS: &str = "devices d
    cross join lateral (values ('recorder', d.recorder_epoch, d.recorder_open, d.recorder_process),
                               ('transfer', d.transfer_epoch, d.transfer_open, d.transfer_process)) k (kind, epoch, open, process)";

fn newest() -> String {
    format!("select {} from {LINKS} where d.id = any ($1)", LinkRow::columns())
}

fn of_process() -> String {
    format!("select {} from {LINKS} where k.open and k.process = $1", LinkRow::columns())
}

fn orphaned() -> String {
    format!(
        "select {} from {LINKS} join processes p on p.id = k.process where k.open and p.ended_at is not null order by d.id limit $1",
        LinkRow::columns()
    )
}

impl Reads {
    /// The latest links of these devices, open or not.
    pub async fn newest_links(&self, devices: &[&str]) -> Result<Vec<LinkRow>, ReadError> {
        self.rows(&newest(), &[&devices]).await
    }

    /// Open links that a process holds.
    pub async fn links_of_process(&self, process: Uuid) -> Result<Vec<LinkRow>, ReadError> {
        self.rows(&of_process(), &[&process]).await
    }

    /// Open links whose process ended.
    pub async fn orphaned_links(&self, most: i64) -> Result<Vec<LinkRow>, ReadError> {
        self.rows(&orphaned(), &[&most]).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![("newest links of devices", newest()), ("links of a process", of_process()), ("links of processes that ended", orphaned())]
}
