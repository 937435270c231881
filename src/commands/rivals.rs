//! Programs that were refused because another one has the device's connection and keeps it.
//!
//! Not events: they come once a minute for as long as both run. One row says that the other program is still there;
//! when it has not been heard of for a while, the contest is over ([`EndContest`]).

use std::time::Duration;

use anyhow::Context as _;

use super::devices::EndContest;
use super::{CommandError, Commands, Context};
use crate::domain::DeviceId;
use crate::domain::device::LinkKind;
use crate::eventstore::StoreError;

/// Contests that are ended in one look.
const LOOK_MAX: i64 = 500;

const NOTE: &str = "insert into device_rivals as r (device_id, kind, remote) values ($1, $2, $3)
    on conflict (device_id, kind) do update set remote = excluded.remote, seen_at = clock_timestamp() returning (r.xmax = 0)";

const QUIET: &str = "select d.id, k.kind from devices d
    cross join lateral (values ('recorder', d.recorder_contest), ('transfer', d.transfer_contest)) k (kind, contest)
    where k.contest is not null
      and (k.contest ->> 'since')::timestamptz < clock_timestamp() - make_interval(secs => $1)
      and not exists (select from device_rivals r where r.device_id = d.id and r.kind = k.kind
                      and r.seen_at > clock_timestamp() - make_interval(secs => $1))
    order by d.id limit $2";

const FORGET: &str = "delete from device_rivals where device_id = $1 and kind = $2";

impl Commands {
    /// A program was refused. Answers whether it is the first time in this contest.
    pub async fn note_rival(&self, device: &DeviceId, kind: LinkKind, remote: &str) -> Result<bool, CommandError> {
        let client = self.store.pool().get().await.map_err(StoreError::from)?;
        let row = client.query_one(NOTE, &[&device.as_str(), &kind.as_str(), &remote]).await.map_err(StoreError::from)?;
        Ok(row.get(0))
    }

    /// Ends contests whose second program has been silent for so long.
    pub async fn end_quiet_contests(&self, silent_for: Duration) -> Result<(), CommandError> {
        let look = async {
            let client = self.store.pool().get().await.map_err(StoreError::from)?;
            client.query(QUIET, &[&silent_for.as_secs_f64(), &LOOK_MAX]).await.map_err(StoreError::from)
        };
        let quiet = look.await?;
        for row in &quiet {
            let device = DeviceId::parse(row.get(0)).context("a device id")?;
            let kind = row.try_get::<_, LinkKind>(1).context("a kind of link")?;
            self.execute(&Context::system(), EndContest { device: device.clone(), kind }).await?;
            let client = self.store.pool().get().await.map_err(StoreError::from)?;
            client.execute(FORGET, &[&device.as_str(), &kind.as_str()]).await.map_err(StoreError::from)?;
            tracing::info!(device.id = %device, link.kind = kind.as_str(), "Only one program is left with the id `{device}`");
        }
        Ok(())
    }
}

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    [("a rival", NOTE), ("quiet contests", QUIET), ("rivals that are gone", FORGET)].map(|(name, sql)| (name, sql.to_owned())).into()
}
