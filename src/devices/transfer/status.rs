//! What an uploader says about itself, put together from messages that each tell a part.

use serde::Serialize;
use serde_json::{Map, Value};

use super::super::wire::{self, UploadRecord};
use crate::domain::Timestamp;

/// An upload that the device gave up, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedUpload {
    pub task_id: String,
    pub last_error: String,
    pub retry_count: u64,
    pub updated_at: Option<String>,
}

/// So many of them are kept, and so much of what each says.
const FAILED_MAX: usize = 10;
const ERROR_CHARS_MAX: usize = 300;

impl FailedUpload {
    fn of(record: &UploadRecord) -> Self {
        Self {
            task_id: record.task_id.chars().take(ERROR_CHARS_MAX).collect(),
            last_error: record.last_error.chars().take(ERROR_CHARS_MAX).collect(),
            retry_count: record.retry_count,
            updated_at: record.updated_at.clone(),
        }
    }
}

/// The latest of those that were given up. Times are texts that order as the times do.
fn failed(uploads: &[UploadRecord]) -> Vec<FailedUpload> {
    let mut failed: Vec<&UploadRecord> = uploads.iter().filter(|upload| upload.was_given_up()).collect();
    failed.sort_by(|one, other| other.updated_at.cmp(&one.updated_at));
    failed.into_iter().take(FAILED_MAX).map(FailedUpload::of).collect()
}

/// The merged status of an uploader. A device lists every recording it ever had; the ones that
/// have ended are counted and not kept, but for the latest that it gave up, so that this stays small over the years.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TransferStatus {
    pub version: Option<String>,
    pub pending_count: u64,
    pub active_count: u64,
    pub uploading_count: u64,
    pub retry_wait_count: u64,
    pub waiting_ack_count: u64,
    pub completed_count: u64,
    pub failed_count: u64,
    pub pending_bytes: u64,
    pub bytes_per_sec: u64,
    /// None: the device has not said yet.
    pub waiting_ack_task_ids: Option<Vec<String>>,
    pub uploads: Option<Vec<UploadRecord>>,
    /// What it gave up, the latest first, as far as that is kept; `failed_count` counts all.
    pub failed_uploads: Vec<FailedUpload>,
    pub destination: Option<Value>,
    pub updated_at: Option<Timestamp>,
}

impl TransferStatus {
    /// Takes over what the message has; the answer to `upload_all` has little, and wipes nothing.
    pub fn merge(&mut self, data: &Map<String, Value>, now: Timestamp) {
        let counts = [
            ("pending_count", &mut self.pending_count),
            ("active_count", &mut self.active_count),
            ("uploading_count", &mut self.uploading_count),
            ("retry_wait_count", &mut self.retry_wait_count),
            ("waiting_ack_count", &mut self.waiting_ack_count),
            ("completed_count", &mut self.completed_count),
            ("failed_count", &mut self.failed_count),
            ("pending_bytes", &mut self.pending_bytes),
            ("bytes_per_sec", &mut self.bytes_per_sec),
        ];
        for (key, field) in counts {
            if let Some(value) = data.get(key).and_then(whole) {
                *field = value;
            }
        }
        if let Some(version) = wire::text(data, "version") {
            self.version = Some(version.to_owned());
        }
        if let Some(ids) = data.get("waiting_ack_task_ids").and_then(Value::as_array) {
            self.waiting_ack_task_ids = Some(ids.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        }
        if let Some(uploads) = records(data) {
            self.failed_uploads = failed(&uploads);
            self.uploads = Some(uploads.into_iter().filter(|upload| !upload.ended()).collect());
        }
        if let Some(destination) = data.get("destination").filter(|destination| destination.is_object()) {
            self.destination = Some(destination.clone());
        }
        self.updated_at = Some(now);
    }
}

/// Rates come as fractions at times.
fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64))
}

/// The device's list of uploads, where the message has one.
pub fn records(data: &Map<String, Value>) -> Option<Vec<UploadRecord>> {
    let uploads = data.get("uploads")?.as_array()?;
    Some(uploads.iter().filter_map(Value::as_object).filter_map(UploadRecord::read).collect())
}
