//! The uploads a device has ever tracked, in one JSON file that survives restarts.
//!
//! ```text
//!   pending ──► active ──► uploaded_wait_ack ──► completed
//!                 │  ▲
//!                 ▼  │ due
//!             retry-wait ──► failed   (attempts used up; a refusal at once)
//! ```
//!
//! Nothing leaves this list: a task that failed or was completed is never uploaded again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::recording::{Power, sidecar_path};
use super::wire::iso_seconds;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UploadStatus {
    #[serde(rename = "pending")]
    Pending,
    #[serde(rename = "active")]
    Active,
    #[serde(rename = "retry-wait")]
    RetryWait,
    #[serde(rename = "uploaded_wait_ack")]
    UploadedWaitAck,
    #[serde(rename = "completed")]
    Completed,
    #[serde(rename = "failed")]
    Failed,
}

impl UploadStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::RetryWait => "retry-wait",
            Self::UploadedWaitAck => "uploaded_wait_ack",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Upload {
    pub task_id: String,
    pub status: UploadStatus,
    pub mcap_path: PathBuf,
    pub json_path: PathBuf,
    /// Its date is that of queueing, kept over retries and restarts.
    pub s3_key: String,
    pub size: u64,
    pub sha256: String,
    pub retry_count: u32,
    pub last_error: String,
    pub next_retry_at: Option<DateTime<Utc>>,
    pub updated_at: DateTime<Utc>,
    pub completed_at: Option<DateTime<Utc>>,
    pub delete_retry_count: u32,
    pub delete_last_error: String,
    pub delete_next_retry_at: Option<DateTime<Utc>>,
}

impl Upload {
    fn json(&self) -> Value {
        let category = |error: &str| if error.is_empty() { "" } else { "transient" };
        json!({
            "checksum_sha256": self.sha256,
            "completed_at": self.completed_at.map(iso_seconds),
            "delete_last_error": self.delete_last_error,
            "delete_last_error_category": category(&self.delete_last_error),
            "delete_next_retry_at": self.delete_next_retry_at.map(iso_seconds),
            "delete_retry_count": self.delete_retry_count,
            "file_path": self.mcap_path.display().to_string(),
            "file_size_bytes": self.size,
            "json_path": self.json_path.display().to_string(),
            "last_error": self.last_error,
            "last_error_category": category(&self.last_error),
            "next_retry_at": self.next_retry_at.map(iso_seconds),
            "object_key": self.s3_key,
            "retry_count": self.retry_count,
            "s3_key": self.s3_key,
            "status": self.status,
            "task_id": self.task_id,
            "updated_at": iso_seconds(self.updated_at),
            "upload_mode": "mcap_json",
        })
    }
}

pub(super) struct Uploads {
    path: PathBuf,
    power: Power,
    list: Vec<Upload>,
    /// Uploads that an earlier run of the program left unfinished.
    recovered: usize,
}

impl Uploads {
    pub fn open(path: PathBuf, power: Power) -> anyhow::Result<Self> {
        let list: Vec<Upload> = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("cannot understand {}", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let mut uploads = Self { path, power, list, recovered: 0 };
        uploads.recovered = uploads.unfinished().len();
        Ok(uploads)
    }

    fn save(&self) -> anyhow::Result<()> {
        self.power.check()?;
        let unfinished = self.path.with_extension("json.tmp");
        fs::write(&unfinished, serde_json::to_vec(&self.list)?)?;
        fs::rename(&unfinished, &self.path)?;
        Ok(())
    }

    pub fn get(&self, task_id: &str) -> Option<&Upload> {
        self.list.iter().find(|upload| upload.task_id == task_id)
    }

    pub fn add(&mut self, upload: Upload) -> anyhow::Result<()> {
        self.list.push(upload);
        self.save()
    }

    pub fn change(&mut self, task_id: &str, change: impl FnOnce(&mut Upload)) -> anyhow::Result<()> {
        if let Some(upload) = self.list.iter_mut().find(|upload| upload.task_id == task_id) {
            change(upload);
            upload.updated_at = Utc::now();
        }
        // Listed by their last change.
        self.list.sort_by_key(|upload| upload.updated_at);
        self.save()
    }

    /// What a restarted program takes up again.
    pub fn unfinished(&self) -> Vec<String> {
        use UploadStatus::{Active, Pending, RetryWait};
        let open = |upload: &&Upload| matches!(upload.status, Pending | Active | RetryWait);
        self.list.iter().filter(open).map(|upload| upload.task_id.clone()).collect()
    }

    pub fn count(&self, status: UploadStatus) -> usize {
        self.list.iter().filter(|upload| upload.status == status).count()
    }

    fn bytes(&self, status: UploadStatus) -> u64 {
        self.list.iter().filter(|upload| upload.status == status).map(|upload| upload.size).sum()
    }

    /// The body of `status`, and of `connected` but for what only that one has.
    pub fn status(&self, destination: &Destination, sent: Sent) -> Value {
        use UploadStatus::{Active, Completed, Failed, Pending, RetryWait, UploadedWaitAck};
        let waiting = self.list.iter().filter(|upload| upload.status == UploadedWaitAck);
        let waiting: Vec<&str> = waiting.map(|upload| upload.task_id.as_str()).collect();
        json!({
            "active_count": self.count(Active),
            "bytes_per_sec": sent.bytes_per_sec,
            "completed_count": self.count(Completed),
            "destination": {
                "bucket": destination.bucket,
                "endpoint_url": destination.endpoint,
                "region": destination.region,
            },
            "failed_count": self.count(Failed),
            "pending_bytes": self.bytes(Pending) + self.bytes(Active) + self.bytes(RetryWait),
            "pending_count": self.count(Pending),
            "progress": {
                "active_bytes": self.bytes(Active),
                "bytes_uploaded": sent.bytes,
                "completed_bytes": self.bytes(Completed),
                "current_bytes_per_sec": sent.bytes_per_sec,
                "failed_bytes": self.bytes(Failed),
                "pending_bytes": self.bytes(Pending),
                "retry_wait_bytes": self.bytes(RetryWait),
                "tracked_bytes": self.list.iter().map(|upload| upload.size).sum::<u64>(),
                "waiting_ack_bytes": self.bytes(UploadedWaitAck),
            },
            "recovery": {
                "incomplete_count": self.recovered,
                "recovered_count": self.recovered,
                "recovered_from_state": self.recovered > 0,
                "state_db_path": self.path.display().to_string(),
            },
            "retry_wait_count": self.count(RetryWait),
            "status_counts": {
                "active": self.count(Active),
                "completed": self.count(Completed),
                "failed": self.count(Failed),
                "pending": self.count(Pending),
                "retry_wait": self.count(RetryWait),
                "uploaded_wait_ack": self.count(UploadedWaitAck),
            },
            "uploading_count": self.count(Active),
            "uploads": self.list.iter().map(Upload::json).collect::<Vec<_>>(),
            "waiting_ack_count": waiting.len(),
            "waiting_ack_task_ids": waiting,
        })
    }

    /// The shorter status that answers `upload_all`.
    pub fn short_status(&self, newly_queued: usize) -> Value {
        use UploadStatus::{Active, Completed, Failed, RetryWait};
        json!({
            "active_count": self.count(Active),
            "completed_count": self.count(Completed),
            "failed_count": self.count(Failed),
            "pending_count": newly_queued,
            "retry_wait_count": self.count(RetryWait),
            "uploading_count": self.count(Active),
        })
    }
}

pub(super) struct Destination {
    pub bucket: String,
    pub endpoint: String,
    pub region: String,
}

/// Since the program started.
#[derive(Clone, Copy, Default)]
pub(super) struct Sent {
    pub bytes: u64,
    pub bytes_per_sec: u64,
}

/// What keeps a recording from lying ready: the MCAP and a sidecar not older than it.
pub(super) fn missing(mcap: &Path) -> Option<String> {
    let json = sidecar_path(mcap);
    let modified = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    match (modified(mcap), modified(&json)) {
        (None, _) => Some(format!("there is no {}", mcap.display())),
        (Some(_), None) => Some(format!("its sidecar {} is missing", json.display())),
        (Some(mcap), Some(sidecar)) => (sidecar < mcap).then(|| format!("its sidecar {} is older than the recording", json.display())),
    }
}
