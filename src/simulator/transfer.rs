//! The transfer program: uploads what it is asked for, keeps its copy until the ack.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::faults::{self, Faults};
use super::link::{Heard, Outgoing, Ticket};
use super::recording::{Power, sha256_of, sidecar_path};
use super::report::{AckReport, Reporter, UploadFailure, UploadReport, Violation};
use super::store::{Store, StoreError, Stored};
use super::uploads::{Destination, Sent, Upload, UploadStatus, Uploads, missing};
use super::wire::{TRANSFER_VERSION, TransferRequest, transfer_frame};

const UPLOADS_AT_ONCE: usize = 4;
const RETRY_BASE: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(300);
const RETRY_JITTER: f64 = 0.5;
const CLEANUP_BASE: Duration = Duration::from_secs(30);
const CLEANUP_CAP: Duration = Duration::from_secs(600);
const CLEANUP_RETRIES_MAX: u32 = 5;

pub(super) struct TransferConfig {
    pub device_id: String,
    pub factory_id: String,
    pub data_dir: PathBuf,
    pub failed_dir: PathBuf,
    pub destination: Destination,
    /// Attempts in all, MCAP and sidecar together.
    pub attempts_max: u32,
    pub pace: f64,
    pub seed: u64,
    pub faults: Faults,
}

pub(super) struct Transfer {
    config: TransferConfig,
    out: Outgoing,
    report: Reporter,
    store: Arc<Store>,
    uploads: Uploads,
    slots: Arc<Semaphore>,
    work: JoinSet<Step>,
    sent: Sent,
    /// The answer to the last question for the status on this connection.
    last_status: Option<Ticket>,
    rng: StdRng,
    power: Power,
}

/// What comes back from the background.
enum Step {
    Attempted { task_id: String, outcome: Result<Duration, StoreError> },
    RetryDue { task_id: String },
    CleanupDue { task_id: String },
}

impl Transfer {
    pub fn new(config: TransferConfig, store: Store, uploads: Uploads, out: Outgoing, report: Reporter, power: Power) -> Self {
        Self {
            rng: StdRng::seed_from_u64(config.seed),
            config,
            out,
            report,
            store: Arc::new(store),
            uploads,
            slots: Arc::new(Semaphore::new(UPLOADS_AT_ONCE)),
            work: JoinSet::new(),
            sent: Sent::default(),
            last_status: None,
            power,
        }
    }

    pub async fn run(mut self, mut heard: mpsc::Receiver<Heard>, stop: CancellationToken, link_stop: CancellationToken) {
        for task_id in self.uploads.unfinished() {
            self.attempt(&task_id);
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                heard = heard.recv() => match heard {
                    Some(Heard::Connected) => {
                        self.last_status = None;
                        self.greet();
                    }
                    Some(Heard::Message { text, handled }) => {
                        if let Some(request) = TransferRequest::parse(&text) {
                            self.request(request).await;
                        }
                        let _ = handled.send(());
                    }
                    Some(Heard::Disconnected) => self.report.update(|r| r.transfer_connected = false),
                    None => break,
                },
                Some(step) = self.work.join_next() => match step {
                    Ok(Step::Attempted { task_id, outcome: Ok(took) }) => self.uploaded(&task_id, took),
                    Ok(Step::Attempted { task_id, outcome: Err(error) }) => self.not_uploaded(&task_id, error),
                    Ok(Step::RetryDue { task_id }) => self.attempt(&task_id),
                    Ok(Step::CleanupDue { task_id }) => self.clean_up(&task_id),
                    Err(error) => warn!("An upload ended unexpectedly: {error}"),
                },
            }
        }
        link_stop.cancel();
        self.report.update(|r| r.transfer_connected = false);
    }

    fn send(&self, kind: &str, data: Value) -> Ticket {
        self.out.send(&transfer_frame(kind, data, Utc::now()))
    }

    fn change(&mut self, task_id: &str, change: impl FnOnce(&mut Upload)) {
        if let Err(error) = self.uploads.change(task_id, change) {
            warn!(task.id = task_id, "Cannot keep the state of uploads: {error:#}");
        }
    }

    fn greet(&self) {
        self.report.update(|r| {
            r.transfer_connected = true;
            r.transfer_connections += 1;
        });
        let mut data = self.uploads.status(&self.config.destination, self.sent);
        data["device_id"] = self.config.device_id.as_str().into();
        data["version"] = TRANSFER_VERSION.into();
        self.send("connected", data);
    }

    async fn request(&mut self, request: TransferRequest) {
        match request {
            TransferRequest::Status => {
                if self.last_status.is_some_and(|ticket| !self.out.has_left(ticket)) {
                    self.broken(Violation::StatusQueriesAtOnce);
                }
                self.last_status = Some(self.send("status", self.uploads.status(&self.config.destination, self.sent)));
            }
            TransferRequest::Upload { task_id } => {
                let mcap = self.config.data_dir.join(format!("{task_id}.mcap"));
                let queued = within(&task_id) && self.queue(&task_id, &mcap).await;
                match self.uploads.get(&task_id).filter(|_| queued) {
                    Some(upload) => self.send("upload_started", started(upload)),
                    None => {
                        let data_dir = self.config.data_dir.display();
                        // The server hears what real uploaders say, which name one file whatever is missing.
                        if let Some(missing) = within(&task_id).then(|| missing(&mcap)).flatten() {
                            warn!(task.id = task_id, "Asked for `{task_id}`: {missing}");
                        }
                        let detail = format!("No MCAP file matching {task_id} in {data_dir}");
                        self.send("upload_not_found", json!({ "detail": detail, "task_id": task_id }))
                    }
                };
            }
            TransferRequest::UploadAll => {
                let mut newly_queued = 0;
                for mcap in recordings(&self.config.data_dir) {
                    let stem = mcap.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                    newly_queued += usize::from(self.queue(&stem, &mcap).await);
                }
                self.send("status", self.uploads.short_status(newly_queued));
            }
            TransferRequest::Ack { task_id } => self.acked(&task_id).await,
            TransferRequest::Cancel => {}
        }
    }

    /// False for what is not there, not ready, or known already in whatever state.
    async fn queue(&mut self, task_id: &str, mcap: &Path) -> bool {
        let json = sidecar_path(mcap);
        if self.uploads.get(task_id).is_some() || missing(mcap).is_some() {
            return false;
        }
        let path = mcap.to_owned();
        let hashed = tokio::task::spawn_blocking(move || Ok::<_, io::Error>((sha256_of(&path)?, fs::metadata(&path)?.len())));
        let Ok(Ok((sha256, size))) = hashed.await else {
            return false;
        };
        let TransferConfig { factory_id, device_id, .. } = &self.config;
        let now = Utc::now();
        let upload = Upload {
            task_id: task_id.to_owned(),
            status: UploadStatus::Pending,
            mcap_path: mcap.to_owned(),
            json_path: json,
            s3_key: format!("{factory_id}/{device_id}/{}/{task_id}.mcap", now.format("%Y-%m-%d")),
            size,
            sha256,
            retry_count: 0,
            last_error: String::new(),
            next_retry_at: None,
            updated_at: now,
            completed_at: None,
            delete_retry_count: 0,
            delete_last_error: String::new(),
            delete_next_retry_at: None,
        };
        if let Err(error) = self.uploads.add(upload) {
            warn!(task.id = task_id, "Cannot keep the state of uploads: {error:#}");
            return false;
        }
        self.attempt(task_id);
        true
    }

    fn attempt(&mut self, task_id: &str) {
        self.change(task_id, |upload| {
            upload.status = UploadStatus::Active;
            upload.next_retry_at = None;
        });
        let Some(upload) = self.uploads.get(task_id).cloned() else {
            return;
        };
        let (store, slots) = (Arc::clone(&self.store), Arc::clone(&self.slots));
        let lost = faults::happens(self.config.faults.failed_uploads, &mut self.rng).then(|| self.rng.random());
        let damaged = self.is_damaged(task_id);
        self.work.spawn(async move {
            let _slot = slots.acquire_owned().await;
            let began = Instant::now();
            let lost_now = || Err(StoreError::Retryable("curlCode: 56, Failure when receiving data from the peer".into()));
            let outcome = match lost {
                Some(true) => lost_now(),
                Some(false) => upload_once(&store, &upload, damaged).await.and_then(|()| lost_now()),
                None => upload_once(&store, &upload, damaged).await.map(|()| began.elapsed()),
            };
            Step::Attempted { task_id: upload.task_id, outcome }
        });
    }

    /// The same whenever it is asked, also after a restart.
    fn is_damaged(&self, task_id: &str) -> bool {
        let seed = task_id.bytes().fold(self.config.seed, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
        faults::happens(self.config.faults.damaged_uploads, &mut StdRng::seed_from_u64(seed))
    }

    fn broken(&self, violation: Violation) {
        warn!(device.id = %self.config.device_id, "The server broke a promise: {violation}");
        self.report.update(|r| r.violations.push(violation));
    }

    fn uploaded(&mut self, task_id: &str, took: Duration) {
        self.change(task_id, |upload| upload.status = UploadStatus::UploadedWaitAck);
        let Some(upload) = self.uploads.get(task_id) else {
            return;
        };
        let Upload { s3_key, size, sha256, .. } = upload.clone();
        info!(task.id = task_id, size, "Uploaded `{task_id}` to `{s3_key}`");
        self.send("upload_complete", completed(upload));
        self.sent.bytes += size;
        self.sent.bytes_per_sec = (size as f64 / took.as_secs_f64().max(0.001)) as u64;
        let damaged = self.is_damaged(task_id);
        self.report.update(|r| {
            if damaged {
                r.damaged.insert(task_id.into());
            }
            r.uploads.push(UploadReport { task_id: task_id.into(), s3_key, sha256, size });
        });
    }

    fn not_uploaded(&mut self, task_id: &str, error: StoreError) {
        let (reason, final_failure) = match error {
            StoreError::Refused(reason) => (reason, true),
            StoreError::Retryable(reason) => (reason, false),
        };
        let failures = self.uploads.get(task_id).map_or(0, |upload| upload.retry_count) + 1;
        if final_failure || failures >= self.config.attempts_max {
            self.give_up(task_id, failures, reason);
            return;
        }
        let delay = retry_delay(failures, self.rng.random()).div_f64(self.config.pace);
        self.change(task_id, |upload| {
            upload.status = UploadStatus::RetryWait;
            upload.retry_count = failures;
            upload.last_error = reason;
            upload.next_retry_at = Some(Utc::now() + delay);
        });
        let task_id = task_id.to_owned();
        self.work.spawn(async move {
            sleep(delay).await;
            Step::RetryDue { task_id }
        });
    }

    fn give_up(&mut self, task_id: &str, failures: u32, reason: String) {
        warn!(task.id = task_id, "Gave up uploading `{task_id}` after {failures} attempts: {reason}");
        let told = reason.clone();
        self.change(task_id, |upload| {
            upload.status = UploadStatus::Failed;
            upload.retry_count = failures;
            upload.last_error = told;
        });
        if let Some(upload) = self.uploads.get(task_id) {
            let aside = |path: &Path| {
                self.power.check()?;
                fs::create_dir_all(&self.config.failed_dir)?;
                let name = path.file_name().unwrap_or_default();
                fs::rename(path, self.config.failed_dir.join(name))
            };
            for path in [&upload.mcap_path, &upload.json_path] {
                if let Err(error) = aside(path) {
                    warn!(task.id = task_id, "Cannot move {} aside: {error}", path.display());
                }
            }
        }
        let data = json!({
            "next_retry_at": "",
            "reason": reason,
            "retry_count": failures,
            "task_id": task_id,
        });
        self.send("upload_failed", data);
        self.report.update(|r| r.failures.push(UploadFailure { task_id: task_id.into(), reason }));
    }

    async fn acked(&mut self, task_id: &str) {
        let violation = match self.uploads.get(task_id).map(|upload| upload.status) {
            Some(UploadStatus::UploadedWaitAck) => {
                self.note_ack(task_id).await;
                self.clean_up(task_id);
                return;
            }
            Some(UploadStatus::Completed) => {
                self.report.update(|r| r.repeated_acks += 1);
                return;
            }
            Some(status) => Violation::AckBeforeUpload { task_id: task_id.into(), status: status.as_str() },
            // An ack for nothing is not even answered.
            None if task_id.is_empty() => return,
            None => {
                let detail = "ACK for unknown task_id";
                self.send("upload_not_found", json!({ "detail": detail, "task_id": task_id }));
                Violation::AckForUnknownTask { task_id: task_id.into() }
            }
        };
        self.broken(violation);
    }

    /// Before the copy goes, one more look that it is what was uploaded.
    async fn note_ack(&mut self, task_id: &str) {
        let Some(Upload { sha256, size, mcap_path, .. }) = self.uploads.get(task_id).cloned() else {
            return;
        };
        let here = tokio::task::spawn_blocking(move || sha256_of(&mcap_path)).await;
        if !matches!(here, Ok(Ok(here)) if here == sha256) {
            self.broken(Violation::FilesChanged { task_id: task_id.into() });
        }
        if self.is_damaged(task_id) {
            self.broken(Violation::AckOfDamagedObject { task_id: task_id.into() });
        }
        info!(task.id = task_id, size, "Got the ack for `{task_id}`");
        self.report.update(|r| r.acks.push(AckReport { task_id: task_id.into(), at: Utc::now(), sha256, size }));
    }

    /// Removes MCAP and sidecar; the marker stays behind, as on a real device.
    fn clean_up(&mut self, task_id: &str) {
        let Some(upload) = self.uploads.get(task_id) else {
            return;
        };
        let failures = upload.delete_retry_count + 1;
        let path = upload.mcap_path.clone();
        let Err(reason) = remove(&upload.json_path, "json").and_then(|()| remove(&path, "mcap")) else {
            self.complete(task_id);
            return;
        };
        if failures > CLEANUP_RETRIES_MAX {
            let data = json!({
                "file_path": path.display().to_string(),
                "reason": reason,
                "retry_count": CLEANUP_RETRIES_MAX,
                "task_id": task_id,
            });
            self.send("local_cleanup_failed", data);
            self.complete(task_id);
            return;
        }
        let delay = CLEANUP_BASE.saturating_mul(1 << (failures - 1).min(16)).min(CLEANUP_CAP);
        let delay = delay.div_f64(self.config.pace);
        self.change(task_id, |upload| {
            upload.delete_retry_count = failures;
            upload.delete_last_error = reason;
            upload.delete_next_retry_at = Some(Utc::now() + delay);
        });
        let task_id = task_id.to_owned();
        self.work.spawn(async move {
            sleep(delay).await;
            Step::CleanupDue { task_id }
        });
    }

    fn complete(&mut self, task_id: &str) {
        self.change(task_id, |upload| {
            upload.status = UploadStatus::Completed;
            upload.completed_at = Some(Utc::now());
            upload.delete_next_retry_at = None;
        });
    }
}

/// HEAD, PUT, HEAD twice, PUT of the sidecar, HEAD: the order of a real device.
async fn upload_once(store: &Store, upload: &Upload, damaged: bool) -> Result<(), StoreError> {
    let stored = |stored: Stored| matches!(stored, Stored::Present { checksum: Some(sum) } if sum == upload.sha256);
    if !stored(store.head(&upload.s3_key).await) {
        let checksum = Some(upload.sha256.as_str());
        store.put(&upload.s3_key, &upload.mcap_path, "application/octet-stream", checksum, damaged).await?;
        for _ in 0..2 {
            if !stored(store.head(&upload.s3_key).await) {
                return Err(StoreError::Retryable("Checksum verification failed".into()));
            }
        }
    }
    let json_key = match upload.s3_key.strip_suffix(".mcap") {
        Some(stem) => format!("{stem}.json"),
        None => format!("{}.json", upload.s3_key),
    };
    store.put(&json_key, &upload.json_path, "application/json", None, false).await?;
    match store.head(&json_key).await {
        Stored::Present { .. } => Ok(()),
        Stored::Absent | Stored::Unknown => Err(StoreError::Retryable("Sidecar verification failed".into())),
    }
}

fn started(upload: &Upload) -> Value {
    json!({
        "checksum_sha256": upload.sha256,
        "file_size_bytes": upload.size,
        "files": [format!("{}.mcap", upload.task_id), format!("{}.json", upload.task_id)],
        "object_key": upload.s3_key,
        "s3_key": upload.s3_key,
        "status": "active",
        "task_id": upload.task_id,
        "total_bytes": upload.size,
        "upload_mode": "mcap_json",
    })
}

fn completed(upload: &Upload) -> Value {
    json!({
        "bytes_uploaded": 0,
        "checksum_sha256": upload.sha256,
        "duration_ms": 0,
        "file_size_bytes": upload.size,
        "object_key": upload.s3_key,
        "s3_key": upload.s3_key,
        "status": upload.status,
        "task_id": upload.task_id,
        "upload_mode": "mcap_json",
    })
}

/// `failures` so far; `random` in 0..1. The first wait is about two seconds.
fn retry_delay(failures: u32, random: f64) -> Duration {
    let doubled = RETRY_BASE.saturating_mul(1 << failures.min(16));
    doubled.mul_f64(1.0 + RETRY_JITTER * (2.0 * random - 1.0)).min(RETRY_CAP)
}

/// As with recordings: a simulated device stays in its own folder.
fn within(task_id: &str) -> bool {
    !task_id.split('/').any(|part| part == ".." || part == ".") && !task_id.starts_with('/')
}

fn remove(path: &Path, what: &str) -> Result<(), String> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("cleanup failed, {what}={error}")),
        _ => Ok(()),
    }
}

fn recordings(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(_) if path.extension().is_some_and(|extension| extension == "mcap") => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_two_seconds_first_and_five_minutes_at_most() {
        assert_eq!(retry_delay(1, 0.5), Duration::from_secs(2));
        assert_eq!(retry_delay(1, 0.0), Duration::from_secs(1));
        assert_eq!(retry_delay(4, 1.0), Duration::from_secs(24));
        assert_eq!(retry_delay(30, 1.0), RETRY_CAP);
    }
}
