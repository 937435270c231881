//! Devices: their links as committed, and the outcomes of commands sent to them.

use std::collections::BTreeSet;

use super::error::ReadError;
use super::home::Home;
use super::queries::{Reads, with};
use super::row::{FromRow, row};
use crate::domain::device::LinkKind;
use crate::domain::{DeviceId, Scope};
use crate::projections::rows::device::DeviceRow;

row! {
    DeviceShown of DeviceRow as "d" {
        version: i64 = "d.version",
    }
}

row! {
    /// A process that lives, as others reach it.
    ProcessRow {
        address: String = "p.address",
    }
}

/// And can be reached.
const LIVES: &str = "p.ended_at is null and p.lease_until > clock_timestamp() and p.address is not null";

fn holder() -> String {
    format!(
        "select {} from devices d join processes p on p.id = case when $2 then d.recorder_process else d.transfer_process end
         where d.id = $1 and case when $2 then d.recorder_open else d.transfer_open end and {LIVES}",
        ProcessRow::columns()
    )
}

fn uploader_holders() -> String {
    format!(
        "select distinct {} from devices d join processes p on p.id = d.transfer_process
         where d.transfer_open and d.id = any($1) and {LIVES}",
        ProcessRow::columns()
    )
}

fn get() -> String {
    format!("select {} from devices d where d.id = $1", DeviceShown::columns())
}

/// A device is where its robot is.
const HOME: Home = Home::Factory("(select r.factory_id from robots r where r.device_id = d.id)");

fn all(within: &str) -> String {
    format!("select {} from devices d where true{within} order by d.id", DeviceShown::columns())
}

fn linked(within: &str) -> String {
    format!("select {} from devices d where (d.recorder_open or d.transfer_open){within} order by d.id", DeviceShown::columns())
}

row! {
    /// A device that is seen.
    SeenRow {
        id: String = "d.id",
    }
}

fn seen(within: &str) -> String {
    format!("select {} from unnest($1::text[]) d (id) where true{within}", SeenRow::columns())
}

impl Reads {
    pub async fn device(&self, scope: &Scope, id: &DeviceId) -> Result<Option<DeviceShown>, ReadError> {
        self.seen(scope, HOME, get(), &[&id]).await
    }

    /// Every device that ever connected.
    pub async fn devices(&self, scope: &Scope) -> Result<Vec<DeviceShown>, ReadError> {
        let within = HOME.within(scope, 0);
        self.rows(&all(&within.sql), &with(&[], &within.values)).await
    }

    /// Which of these devices the scope contains: for what is known of them elsewhere than in the tables.
    pub async fn seen_devices(&self, scope: &Scope, ids: impl IntoIterator<Item = &str> + Send) -> Result<BTreeSet<String>, ReadError> {
        let ids: Vec<&str> = ids.into_iter().collect();
        if *scope == Scope::Everything || ids.is_empty() {
            return Ok(ids.into_iter().map(str::to_owned).collect());
        }
        let within = HOME.within(scope, 1);
        let rows: Vec<SeenRow> = self.rows(&seen(&within.sql), &with(&[&ids], &within.values)).await?;
        Ok(rows.into_iter().map(|row| row.id).collect())
    }

    pub async fn sees_device(&self, scope: &Scope, id: &DeviceId) -> Result<bool, ReadError> {
        Ok(!self.seen_devices(scope, [id.as_str()]).await?.is_empty())
    }

    /// The process that holds a socket of the device.
    pub async fn process_with(&self, id: &DeviceId, kind: LinkKind) -> Result<Option<ProcessRow>, ReadError> {
        self.row(&holder(), &[&id, &(kind == LinkKind::Recorder)]).await
    }

    /// The processes that hold these uploaders.
    pub async fn processes_with_uploaders(&self, devices: &[&str]) -> Result<Vec<ProcessRow>, ReadError> {
        self.rows(&uploader_holders(), &[&devices]).await
    }

    /// Devices with a link, to whichever process.
    pub async fn linked_devices(&self, scope: &Scope) -> Result<Vec<DeviceShown>, ReadError> {
        let within = HOME.within(scope, 0);
        self.rows(&linked(&within.sql), &with(&[], &within.values)).await
    }
}

pub(super) fn statements() -> Vec<(&'static str, String)> {
    vec![
        ("device", get()),
        ("devices", all("")),
        ("devices with a link", linked("")),
        ("devices that are seen", seen("")),
        ("process with a socket", holder()),
        ("processes with uploaders", uploader_holders()),
    ]
}
