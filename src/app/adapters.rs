//! Small pieces that let modules meet which do not know each other.

use std::ops::Range;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use deadpool_postgres::{GenericClient, Pool};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use tracing::warn;

use crate::blobs::{BlobError, Blobs, ObjectKey};
use crate::config;
use crate::devices::effects::EffectError;
use crate::devices::hub::LinkInfo;
use crate::devices::wire::ToTransfer;
use crate::devices::{Hub, Keepalive, QueryError, SendError, Settings, TokenCheck, TransferStatus};
use crate::domain::device::LinkKind;
use crate::domain::{DeviceId, TaskId};
use crate::embedded::keys::{Away, Holders};
use crate::http::fleet::{DeviceMessage, Fleet, RecorderView, TransferOrder, TransferView, Unanswered};
use crate::http::objects::{ObjectFacts, ObjectStream, Objects};
use crate::http::registration::hash_of;
use crate::listener::address_of;
use crate::projections::reads::{ReadError, Reads};
use crate::subscribers::device_commands::{TaskFacts, Tasks};
use crate::telemetry::chain;

pub fn device_settings(devices: &config::Devices) -> Settings {
    let keepalive = |interval: Duration, timeout: Duration| Keepalive {
        ping_interval: (!interval.is_zero()).then_some(interval),
        pong_timeout: if timeout.is_zero() { interval } else { timeout },
    };
    Settings {
        recorder: keepalive(devices.recorder_ping_interval, devices.recorder_ping_timeout),
        transfer: keepalive(devices.transfer_ping_interval, devices.transfer_ping_timeout),
        frame_bytes_max: devices.frame_bytes_max,
        links_max: devices.links_max,
        write_timeout: devices.transfer_write_timeout,
        ..Settings::default()
    }
}

/// What the deliveries to devices have to know of tasks.
pub struct TaskTable(pub Pool);

#[async_trait]
impl Tasks for TaskTable {
    async fn task(&self, id: TaskId) -> Result<Option<TaskFacts>, String> {
        let found = async {
            let client = self.0.get().await?;
            let statement = client.prepare_cached("select task_id, status, episode_id is not null from tasks where id = $1").await?;
            let Some(row) = client.query_opt(&statement, &[&id]).await? else { return Ok(None) };
            Ok(Some(TaskFacts { public_id: row.try_get(0)?, status: row.try_get(1)?, has_episode: row.try_get(2)? }))
        };
        found.await.map_err(|error: anyhow::Error| format!("{error:#}"))
    }
}

/// Which token opens which device.
pub struct RecorderTokens(pub Reads);

#[async_trait]
impl TokenCheck for RecorderTokens {
    async fn opens(&self, device: &DeviceId, kind: LinkKind, token: &str) -> Result<bool, EffectError> {
        // A robot that is retired records no more; what it still has is welcome.
        let also_retired = kind == LinkKind::Transfer;
        let known = self.0.recorder_token(device, also_retired).await.map_err(|error| EffectError::Unavailable(chain(&error)))?;
        // Hashes of random tokens: how alike two of them are tells nothing about either token.
        Ok(known.is_some_and(|row| row.token_hash == hash_of(token).0))
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

/// The devices of this process, for the REST edge.
pub struct HubFleet(Hub);

impl HubFleet {
    pub fn new(hub: Hub) -> Self {
        Self(hub)
    }
}

fn recorder_view(device: &DeviceId, link: &LinkInfo, seen: &crate::devices::RecorderView) -> RecorderView {
    let word = |state: Option<crate::domain::device::RecorderState>| state.map_or("unknown", |state| state.as_str()).to_owned();
    RecorderView {
        device_id: device.to_string(),
        remote_ip: ip_of(&link.remote),
        connected_at: link.since,
        last_seen_at: link.last_seen,
        current_state: word(seen.state),
        previous_state: word(seen.previous),
        task_id: seen.task_id.as_ref().map(ToString::to_string),
        updated_at: seen.updated_at,
        confirmed: seen.confirmed,
        foreign_task: seen.foreign_task,
        source: seen.source.clone(),
        age: seen.age(Instant::now()),
        error: seen.error.clone(),
    }
}

fn transfer_view(device: &DeviceId, link: &LinkInfo, status: &TransferStatus) -> TransferView {
    TransferView {
        device_id: device.to_string(),
        remote_ip: ip_of(&link.remote),
        connected_at: crate::http::wire::WholeSecond(link.since),
        last_seen_at: crate::http::wire::WholeSecond(link.last_seen),
        status: serde_json::to_value(status).unwrap_or_else(|_| json!({})),
    }
}

fn unanswered(error: QueryError) -> Unanswered {
    match error {
        QueryError::NotConnected => Unanswered::NotConnected,
        QueryError::TimedOut => Unanswered::TimedOut,
        QueryError::TooMany => Unanswered::Failed(error.to_string()),
    }
}

#[async_trait]
impl Fleet for HubFleet {
    fn recorders(&self) -> Vec<RecorderView> {
        let devices = self.0.list();
        devices.iter().filter_map(|(id, here)| here.recorder.as_ref().map(|(link, seen)| recorder_view(id, link, seen))).collect()
    }

    fn transfers(&self) -> Vec<TransferView> {
        let devices = self.0.list();
        devices.iter().filter_map(|(id, here)| here.transfer.as_ref().map(|(link, status)| transfer_view(id, link, status))).collect()
    }

    fn recorder(&self, device: &DeviceId) -> Option<RecorderView> {
        self.0.snapshot(device).recorder.map(|(link, seen)| recorder_view(device, &link, &seen))
    }

    fn transfer(&self, device: &DeviceId) -> Option<TransferView> {
        self.0.snapshot(device).transfer.map(|(link, status)| transfer_view(device, &link, &status))
    }

    fn recent(&self, device: &DeviceId, limit: usize) -> Vec<DeviceMessage> {
        let entries = self.0.recent(device, limit).into_iter();
        let shown = entries.map(|entry| DeviceMessage {
            at: crate::http::wire::WholeSecond(entry.at),
            link: entry.link.as_str(),
            direction: entry.direction.as_str(),
            kind: entry.what,
            task_id: entry.task_id,
            detail: entry.detail,
        });
        shown.collect()
    }

    async fn refresh(&self, device: &DeviceId, age_max: Duration, timeout: Duration) -> Result<RecorderView, Unanswered> {
        self.0.fresh_recorder(device, age_max, timeout).await.map_err(unanswered)?;
        self.recorder(device).ok_or(Unanswered::NotConnected)
    }

    async fn stats(&self, device: &DeviceId, timeout: Duration) -> Result<Value, Unanswered> {
        let answer = self.0.query(device, "get_stats", Value::Null, timeout).await.map_err(unanswered)?;
        if answer.success {
            Ok(answer.data.unwrap_or_else(|| json!({})))
        } else {
            Err(Unanswered::Failed(answer.message.unwrap_or_else(|| "the recorder refused".to_owned())))
        }
    }

    async fn tell_transfer(&self, device: &DeviceId, order: TransferOrder) -> Result<(), Unanswered> {
        let frame = match order {
            TransferOrder::UploadRequest { task_id, priority } => ToTransfer::UploadRequest { task_id, priority },
            TransferOrder::UploadAll => ToTransfer::UploadAll {},
            TransferOrder::StatusQuery => ToTransfer::StatusQuery {},
            TransferOrder::Cancel { task_id } => ToTransfer::Cancel { task_id },
        };
        self.0.send_transfer(device, frame).await.map_err(|error| match error {
            SendError::NotConnected => Unanswered::NotConnected,
            other => Unanswered::Failed(other.to_string()),
        })
    }
}

/// The factory's bucket, for the REST edge.
pub struct BucketObjects(Blobs);

impl BucketObjects {
    pub fn new(blobs: Blobs) -> Self {
        Self(blobs)
    }
}

/// Bytes asked for at once while an object is streamed to a client.
const STREAM_PIECE: u64 = 4 << 20;

#[async_trait]
impl Objects for BucketObjects {
    async fn head(&self, key: &str) -> anyhow::Result<Option<ObjectFacts>> {
        match self.0.head(&ObjectKey::new(key)?).await {
            Ok(facts) => Ok(Some(ObjectFacts {
                size_bytes: facts.size,
                etag: Some(facts.etag.trim_matches('"').to_owned()),
                content_type: facts.content_type,
                claimed_sha256: facts.claimed_sha256,
                last_modified: Some(facts.last_modified),
            })),
            Err(BlobError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn presign(&self, key: &str, lifetime: Duration) -> anyhow::Result<String> {
        Ok(self.0.presign_get(&ObjectKey::new(key)?, lifetime).await?)
    }

    async fn read(&self, key: &str, range: Range<u64>, etag: Option<&str>) -> anyhow::Result<ObjectStream> {
        let key = ObjectKey::new(key)?;
        // One version from the first byte to the last, even where the object is replaced meanwhile.
        let etag = match etag {
            Some(etag) => etag.to_owned(),
            None => self.0.head(&key).await?.etag,
        };
        let pieces: Vec<Range<u64>> =
            (range.start..range.end).step_by(STREAM_PIECE as usize).map(|start| start..(start + STREAM_PIECE).min(range.end)).collect();
        let blobs = self.0.clone();
        let read = move |piece: Range<u64>| {
            let (blobs, key, etag) = (blobs.clone(), key.clone(), etag.clone());
            async move { blobs.read_range(&key, piece, Some(&etag)).await.map_err(std::io::Error::other) }
        };
        Ok(futures_util::stream::iter(pieces).then(read).into_stream().boxed())
    }

    async fn probe(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        // Uploads to the endpoint inside this process are writes to its folder. To another server they are the
        // robots', with keys of their own; all we need of it is that we can read.
        if let Some(folder) = self.0.folder() {
            let folder = folder.to_path_buf();
            tokio::task::spawn_blocking(move || crate::http::disk::can_be_written(&folder)).await??;
        }
        match self.0.head(&ObjectKey::new("keystone-probe")?).await {
            Ok(_) | Err(BlobError::NotFound(_)) => {
                metrics::histogram!(crate::telemetry::STORE_PROBE_SECONDS).record(started.elapsed().as_secs_f64());
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Without the port, which says nothing about a device.
fn ip_of(remote: &str) -> String {
    address_of(remote).map_or_else(|| remote.to_owned(), |address| address.to_string())
}
