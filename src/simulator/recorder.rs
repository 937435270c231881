//! The recorder program: one state machine, requests from its socket, callbacks
//! over HTTP.
//!
//! ```text
//!          config            begin               pause
//!   idle ─────────► ready ─────────► recording ─────────► paused
//!    ▲  ◄───────────  │                │  ▲ ◄─────────────  │
//!    │      clear     ▼                │  └── resume         │
//!    │           (config again)        │                     │
//!    └─────────────────────────────────┴── finish, cancel ───┘
//! ```

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::clock::ClockCheck;
use super::faults::{self, Faults};
use super::link::{Heard, Outgoing};
use super::profile::RecordingProfile;
use super::recording::{DeviceFacts, Finished, Power, Recording, sidecar_path};
use super::report::{CallbackKind, CallbackReport, RecordingReport, Reporter, Violation};
use super::wire::{
    FinishCallback, FinishMetadata, RECORDER_VERSION, RecorderState, RpcReply, RpcRequest, StartCallback, TaskConfig, config_applied,
    iso_seconds, state_update,
};

/// How often due messages are written while recording.
const PRODUCE_EVERY: Duration = Duration::from_millis(20);
/// Between the answer to `quit` and the end of the program.
const QUIT_AFTER: Duration = Duration::from_secs(1);

pub(super) struct RecorderConfig {
    pub device: DeviceFacts,
    pub data_dir: PathBuf,
    pub profile: RecordingProfile,
    pub pace: f64,
    pub seed: u64,
    pub faults: Faults,
}

pub(super) struct Recorder {
    config: RecorderConfig,
    out: Outgoing,
    report: Reporter,
    power: Power,
    http: reqwest::Client,
    callbacks: JoinSet<CallbackReport>,
    state: RecorderState,
    /// Kept after a finish, though a new one is needed to begin again.
    task: Option<TaskConfig>,
    recording: Option<Recording>,
    recordings: u64,
    last: Option<Finished>,
    clock: ClockCheck,
    log_levels: LogLevels,
    rng: StdRng,
    quitting: bool,
}

struct LogLevels {
    console: String,
    file: String,
}

const LOG_LEVELS: [&str; 6] = ["trace", "debug", "info", "warning", "error", "fatal"];

impl Recorder {
    pub fn new(config: RecorderConfig, out: Outgoing, report: Reporter, power: Power) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .user_agent("axon-recorder/1.0")
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build()?;
        Ok(Self {
            rng: StdRng::seed_from_u64(config.seed),
            config,
            out,
            report,
            power,
            http,
            callbacks: JoinSet::new(),
            state: RecorderState::Idle,
            task: None,
            recording: None,
            recordings: 0,
            last: None,
            clock: ClockCheck::default(),
            log_levels: LogLevels { console: "info".into(), file: "debug".into() },
            quitting: false,
        })
    }

    /// Until `stop` or a `quit` request; either closes the file, tells nobody and ends the link.
    pub async fn run(mut self, mut heard: tokio::sync::mpsc::Receiver<Heard>, stop: CancellationToken, link_stop: CancellationToken) {
        let mut produce = interval(PRODUCE_EVERY);
        produce.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.quitting {
            tokio::select! {
                () = stop.cancelled() => break,
                heard = heard.recv() => match heard {
                    Some(Heard::Connected) => self.greet(),
                    Some(Heard::Message { text, handled }) => {
                        self.request(&text).await;
                        let _ = handled.send(());
                    }
                    Some(Heard::Disconnected) => self.report.update(|r| r.recorder_connected = false),
                    None => break,
                },
                _ = produce.tick(), if self.state == RecorderState::Recording => {
                    if let Some(Err(error)) = self.recording.as_mut().map(Recording::produce) {
                        warn!("Cannot write the recording: {error:#}");
                    }
                }
                Some(sent) = self.callbacks.join_next() => self.note(sent),
            }
        }
        if self.quitting {
            sleep(QUIT_AFTER.div_f64(self.config.pace)).await;
        }
        if let (Some(recording), Some(task)) = (self.recording.take(), self.task.clone()) {
            match close(recording, task, self.config.device.clone()).await {
                Ok(finished) => self.finished(finished),
                Err(error) => warn!("Cannot close the recording: {error:#}"),
            }
        }
        link_stop.cancel();
        // Nothing is repeated, but what is on its way may still arrive.
        let _ = tokio::time::timeout(QUIT_AFTER, async {
            while let Some(sent) = self.callbacks.join_next().await {
                self.note(sent);
            }
        })
        .await;
        self.report.update(|r| r.recorder_connected = false);
    }

    fn greet(&self) {
        self.report.update(|r| {
            r.recorder_connected = true;
            r.recorder_connections += 1;
        });
        self.out.send(&state_update(self.state, self.state, self.task_id(), Utc::now()));
    }

    fn task_id(&self) -> Option<&str> {
        self.task.as_ref().map(|task| task.task_id.as_str())
    }

    async fn request(&mut self, text: &[u8]) {
        let Ok(frame) = serde_json::from_slice::<Value>(text) else {
            return;
        };
        if self.clock.look_at(&frame) {
            self.broken(Violation::TimestampsMixed);
        }
        let Ok(request) = serde_json::from_value::<RpcRequest>(frame) else {
            return;
        };
        let reply = self.answer(&request.action, &request.params).await;
        self.out.send(&reply.frame(&request.request_id));
    }

    async fn answer(&mut self, action: &str, params: &Value) -> RpcReply {
        use RecorderState::{Idle, Paused, Ready, Recording as Running};
        let task_id = params.get("task_id").and_then(Value::as_str).unwrap_or_default();
        match (action, self.state) {
            ("config", Idle | Ready) => self.configure(&params["task_config"]),
            ("begin" | "finish", _) if self.task.is_none() => self.refuse("Task configuration not set"),
            ("begin" | "finish", _) if self.task_id() != Some(task_id) => self.refuse("Task ID does not match the cached configuration"),
            ("begin", Ready) => self.begin(),
            ("finish", Running | Paused) => self.finish().await,
            ("pause", Running) => {
                if let Some(recording) = &mut self.recording {
                    recording.pause();
                }
                self.enter(Paused);
                RpcReply::ok("Recording paused successfully", json!({ "state": self.state }))
            }
            ("resume", Paused) => {
                if let Some(recording) = &mut self.recording {
                    recording.resume();
                }
                self.enter(Running);
                RpcReply::ok("Recording resumed successfully", json!({ "state": self.state }))
            }
            ("cancel", Running | Paused) => {
                if let Some(Err(error)) = self.recording.take().map(Recording::discard) {
                    warn!("Cannot remove a cancelled recording: {error:#}");
                }
                // The last update of a cancelled task still names it.
                self.enter(Idle);
                self.task = None;
                RpcReply::ok("Recording cancelled successfully", json!({ "state": self.state }))
            }
            ("clear", Ready) => {
                self.task = None;
                self.enter(Idle);
                RpcReply::ok("Task configuration cleared successfully", json!({ "state": self.state }))
            }
            ("config" | "begin" | "finish" | "pause" | "resume" | "cancel" | "clear", state) => {
                self.refuse(format!("Cannot {action} in state {}", state.as_str()))
            }
            ("quit", state) => {
                self.quitting = true;
                let message = "Program quitting. Recording stopped and data saved.";
                RpcReply::ok(message, json!({ "state": state }))
            }
            ("get_state", _) => RpcReply::ok("State retrieved successfully", self.snapshot()),
            ("get_stats", _) => RpcReply::ok("Statistics retrieved successfully", self.statistics()),
            ("get_status", _) => RpcReply::ok("Status retrieved successfully", self.statistics()),
            ("get_drop_stats", _) => {
                let count = self.message_count();
                let data = json!({
                    "messages_dropped": 0,
                    "messages_received": count,
                    "state": self.state,
                    "topics": self.per_topic(|count| json!({ "dropped": 0, "received": count, "written": count })),
                });
                RpcReply::ok("Drop statistics retrieved successfully", data)
            }
            ("get_latency_stats", _) => RpcReply::ok("Latency statistics retrieved successfully", self.latencies()),
            ("list_tasks", _) => {
                let tasks: Vec<Value> = self.task_entry().into_iter().collect();
                let data = json!({ "count": tasks.len(), "state": self.state, "tasks": tasks });
                RpcReply::ok("Tasks retrieved successfully", data)
            }
            ("get_task_status", _) => {
                let entry = self.task_entry().filter(|entry| entry["task_id"] == task_id);
                let mut data = json!({
                    "found": entry.is_some(),
                    "state": self.state,
                    "task_id": task_id,
                });
                match entry {
                    Some(entry) => data["task"] = entry,
                    None => data["status"] = "unknown".into(),
                }
                RpcReply::ok("Task status retrieved successfully", data)
            }
            ("begin_batch" | "finish_batch" | "cancel_batch", _) => self.batch(action.trim_end_matches("_batch"), params).await,
            ("get_log_levels", _) => RpcReply::ok("Log levels retrieved successfully", self.log_levels()),
            ("set_log_levels", _) => self.set_log_levels(params),
            ("test", state) => RpcReply::ok("Test successful", json!({ "echo": params.get("echo"), "state": state })),
            (other, _) => RpcReply { success: false, message: format!("Unknown action: {other}"), data: None },
        }
    }

    /// One after another, as if each had been asked for alone.
    async fn batch(&mut self, action: &str, params: &Value) -> RpcReply {
        let Some(tasks) = params.get("task_ids").and_then(Value::as_array).filter(|tasks| tasks.iter().all(Value::is_string)) else {
            return self.refuse("Missing or invalid task_ids");
        };
        let (mut results, mut succeeded) = (vec![], 0);
        for task in tasks {
            let reply = Box::pin(self.answer(action, &json!({ "task_id": task }))).await;
            succeeded += usize::from(reply.success);
            results.push(json!({ "data": reply.data, "message": reply.message, "success": reply.success, "task_id": task }));
        }
        let failed = results.len() - succeeded;
        let data = json!({ "failed": failed, "results": results, "state": self.state, "succeeded": succeeded });
        RpcReply { success: failed == 0, message: format!("{succeeded} succeeded, {failed} failed"), data: Some(data) }
    }

    fn log_levels(&self) -> Value {
        json!({ "console_level": self.log_levels.console, "file_level": self.log_levels.file })
    }

    fn set_log_levels(&mut self, params: &Value) -> RpcReply {
        let wanted = |name: &str, present: &str| match params.get(name) {
            None => Some(present.to_owned()),
            Some(level) => level.as_str().filter(|level| LOG_LEVELS.contains(level)).map(str::to_owned),
        };
        match (wanted("console_level", &self.log_levels.console), wanted("file_level", &self.log_levels.file)) {
            (Some(console), Some(file)) => {
                self.log_levels = LogLevels { console, file };
                RpcReply::ok("Log levels set successfully", self.log_levels())
            }
            _ => RpcReply::refused("Invalid log level", self.log_levels()),
        }
    }

    fn broken(&self, violation: Violation) {
        warn!(device.id = %self.config.device.device_id, "The server broke a promise: {violation}");
        self.report.update(|r| r.violations.push(violation));
    }

    fn refuse(&self, message: impl Into<String>) -> RpcReply {
        RpcReply::refused(message, json!({ "state": self.state }))
    }

    fn configure(&mut self, config: &Value) -> RpcReply {
        let task = match TaskConfig::parse(config) {
            Ok(task) => task,
            Err(errors) => {
                let data = json!({ "state": self.state, "validation_errors": errors });
                return RpcReply::refused("Task configuration validation failed", data);
            }
        };
        self.out.send(&config_applied(&task, Utc::now()));
        let data = json!({ "state": RecorderState::Ready, "task_id": task.task_id });
        self.task = Some(task);
        if self.state != RecorderState::Ready {
            self.enter(RecorderState::Ready);
        }
        RpcReply::ok("Task configuration set successfully", data)
    }

    fn begin(&mut self) -> RpcReply {
        let Some(task) = self.task.clone() else {
            return self.refuse("Task configuration not set");
        };
        let path = self.config.data_dir.join(format!("{}.mcap", task.task_id));
        if path.exists() && sidecar_path(&path).exists() {
            self.broken(Violation::RecordingOverwritten { task_id: task.task_id.clone() });
        }
        self.recordings += 1;
        let seed = self.config.seed.wrapping_add(self.recordings);
        let RecorderConfig { profile, pace, .. } = &self.config;
        match Recording::begin(path, profile, *pace, seed, self.power.clone()) {
            Ok(recording) => {
                self.call_start(&task, recording.started_at());
                self.recording = Some(recording);
                self.enter(RecorderState::Recording);
                let data = json!({ "state": self.state, "task_id": task.task_id });
                RpcReply::ok("Recording started successfully", data)
            }
            Err(error) => {
                warn!("Cannot begin `{}`: {error:#}", task.task_id);
                self.refuse("Failed to start recording")
            }
        }
    }

    async fn finish(&mut self) -> RpcReply {
        let (Some(recording), Some(task)) = (self.recording.take(), self.task.clone()) else {
            return self.refuse("Task configuration not set");
        };
        let task_id = task.task_id.clone();
        let closed = close(recording, task.clone(), self.config.device.clone()).await;
        self.enter(RecorderState::Idle);
        match closed {
            Ok(finished) => {
                self.call_finish(&task, &finished);
                self.finished(finished);
                let data = json!({ "state": self.state, "task_id": task_id });
                RpcReply::ok("Recording finished successfully", data)
            }
            Err(error) => {
                warn!("Cannot finish `{task_id}`: {error:#}");
                self.refuse("Failed to finish recording")
            }
        }
    }

    fn finished(&mut self, finished: Finished) {
        let Finished { size, message_count, finished_at, .. } = finished;
        let task_id = self.task_id().unwrap_or_default().to_owned();
        info!(task.id = %task_id, size, message_count, "Recorded `{task_id}`: {message_count} messages, {size} bytes");
        let sha256 = finished.sha256.clone();
        self.report.update(|r| {
            r.recordings.push(RecordingReport { task_id, sha256, size, message_count, finished_at });
        });
        self.last = Some(finished);
    }

    fn enter(&mut self, state: RecorderState) {
        let previous = std::mem::replace(&mut self.state, state);
        self.report.update(|r| r.state = state);
        self.out.send(&state_update(previous, state, self.task_id(), Utc::now()));
    }

    fn call_start(&mut self, task: &TaskConfig, started_at: DateTime<Utc>) {
        let body = StartCallback {
            task_id: &task.task_id,
            device_id: &task.device_id,
            status: "recording",
            started_at: iso_seconds(started_at),
            topics: task.topics.as_deref().unwrap_or_default(),
        };
        let body = serde_json::to_vec(&body);
        self.call(CallbackKind::Start, task, task.start_callback_url.clone(), body);
    }

    fn call_finish(&mut self, task: &TaskConfig, finished: &Finished) {
        let body = FinishCallback {
            task_id: &task.task_id,
            device_id: &task.device_id,
            status: "finished",
            started_at: iso_seconds(finished.started_at),
            finished_at: iso_seconds(finished.finished_at),
            duration_sec: finished.duration_sec,
            message_count: finished.message_count,
            file_size_bytes: finished.size,
            output_path: finished.mcap_path.display().to_string(),
            sidecar_path: finished.json_path.display().to_string(),
            sidecar_enabled: true,
            sidecar_generated: true,
            topics: task.topics.as_deref().unwrap_or_default(),
            metadata: FinishMetadata {
                scene: task.scene.as_deref().unwrap_or_default(),
                subscene: task.subscene.as_deref().unwrap_or_default(),
                skills: task.skills.as_deref().unwrap_or_default(),
                factory: task.factory.as_deref().unwrap_or_default(),
            },
            error: None,
        };
        let body = serde_json::to_vec(&body);
        self.call(CallbackKind::Finish, task, task.finish_callback_url.clone(), body);
    }

    /// Posts once, beside everything else. Whatever comes of it is noted and forgotten.
    fn call(&mut self, kind: CallbackKind, task: &TaskConfig, url: Option<String>, body: serde_json::Result<Vec<u8>>) {
        let (Some(url), Ok(body)) = (url.filter(|url| !url.is_empty()), body) else {
            return;
        };
        let lost = faults::happens(self.config.faults.lost_callbacks, &mut self.rng);
        let mut request = self.http.post(url).header("Content-Type", "application/json").body(body);
        if let Some(token) = task.user_token.as_deref().filter(|token| !token.is_empty()) {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let task_id = task.task_id.clone();
        self.callbacks.spawn(async move {
            if lost {
                return CallbackReport { task_id, kind, outcome: Err("lost, as was asked for".into()) };
            }
            let outcome = match request.send().await {
                Ok(response) => Ok(response.status().as_u16()),
                Err(error) => Err(error.to_string()),
            };
            CallbackReport { task_id, kind, outcome }
        });
    }

    fn note(&self, sent: Result<CallbackReport, tokio::task::JoinError>) {
        let Ok(callback) = sent else { return };
        if !matches!(callback.outcome, Ok(200..=299)) {
            let CallbackReport { task_id, kind, outcome } = &callback;
            warn!(task.id = %task_id, "{kind:?} callback of `{task_id}` failed: {outcome:?}");
        }
        self.report.update(|r| r.callbacks.push(callback));
    }

    fn message_count(&self) -> u64 {
        self.recording.as_ref().map_or(0, Recording::message_count)
    }

    fn bytes_written(&self) -> u64 {
        self.recording.as_ref().map_or(0, Recording::bytes_written)
    }

    fn duration_sec(&self) -> f64 {
        self.recording.as_ref().map_or(0.0, |recording| recording.active().as_secs_f64())
    }

    fn snapshot(&self) -> Value {
        let mut data = json!({
            "bytes_written": self.bytes_written(),
            "duration_sec": self.duration_sec(),
            "message_count": self.message_count(),
            "running": self.message_count() > 0,
            "state": self.state,
            "version": RECORDER_VERSION,
        });
        if let (Some(task), false) = (&self.task, self.state == RecorderState::Idle) {
            data["task_config"] = task.in_full();
        }
        data
    }

    fn task_entry(&self) -> Option<Value> {
        let task = self.task.as_ref().filter(|_| self.state != RecorderState::Idle)?;
        Some(json!({
            "active": self.recording.is_some(),
            "bytes_written": self.bytes_written(),
            "duration_sec": self.duration_sec(),
            "message_count": self.message_count(),
            "state": self.state,
            "task_config": task.in_full(),
            "task_id": task.task_id,
        }))
    }

    fn per_topic(&self, describe: impl Fn(u64) -> Value) -> Value {
        let counts = self.recording.as_ref().map(Recording::topic_counts).unwrap_or_default();
        let topics = self.config.profile.topics.iter().map(|topic| topic.topic.as_str());
        let entry = |topic: &str| describe(counts.get(topic).copied().unwrap_or_default());
        Value::Object(topics.map(|topic| (topic.to_owned(), entry(topic))).collect::<Map<_, _>>())
    }

    fn latencies(&self) -> Value {
        // Real devices report differences of unlike clocks: numbers above 2^63.
        let odd = 16_651_541_458_059_931_648_u64;
        json!({
            "global": {
                "global_p50_ns": odd,
                "global_p90_ns": odd,
                "global_p999_ns": odd,
                "global_p99_ns": odd,
                "total_messages": self.message_count(),
            },
            "hotspots": [],
            "topics": self.per_topic(|count| json!({
                "anomaly_count_10ms": count,
                "anomaly_count_1ms": count,
                "anomaly_count_p99": count,
                "latency_max_ns": odd,
                "latency_mean_ns": odd as f64,
                "latency_min_ns": odd,
                "latency_p50_ns": odd,
                "latency_p90_ns": odd,
                "latency_p95_ns": odd,
                "latency_p999_ns": odd,
                "latency_p99_ns": odd,
                "latency_std_ns": 0.0,
                "message_count": count,
            })),
        })
    }

    fn statistics(&self) -> Value {
        let (count, bytes) = (self.message_count(), self.bytes_written());
        let last = self.last.as_ref().filter(|_| self.recording.is_none());
        let gib = f64::from(1 << 30);
        json!({
            "buffer_pool": {
                "acquires": count, "hit_rate": 1.0, "hits": count, "misses": 0, "oversized": 0,
                "release_freed": 0, "release_to_pool": count, "releases": count, "resident_bytes": 2048,
            },
            "bytes_received": bytes,
            "bytes_written": bytes,
            "disk_usage": {
                "current_task_bytes": bytes,
                "current_task_gb": bytes as f64 / gib,
                "enabled": true,
                "hard_limit_bytes": 107_374_182_400_u64,
                "hard_limit_gb": 100.0,
                "max_task_size_bytes": 0,
                "max_task_size_gb": 0.0,
                "paths": [{
                    "available_bytes": 69_028_806_656_u64,
                    "available_gb": 69_028_806_656.0 / gib,
                    "capacity_bytes": 270_553_174_016_u64,
                    "exists": true,
                    "free_bytes": 242_009_231_360_u64,
                    "path": self.config.data_dir.display().to_string(),
                    "role": "recording_output",
                    "used_bytes": 0,
                    "used_gb": 0.0,
                }],
                "physical_safety_margin_bytes": 2_147_483_648_u64,
                "physical_safety_margin_gb": 2.0,
                "reason": "capacity within configured limits",
                "state": "normal",
                "total_used_bytes": 0,
                "total_used_gb": 0.0,
                "warn_usage_bytes": 85_899_345_920_u64,
                "warn_usage_gb": 80.0,
            },
            "duration_sec": self.duration_sec(),
            "keystone_time_gap": self.clock.shown(),
            "message_count": count,
            "messages_dropped": 0,
            "messages_received": count,
            "messages_written": count,
            "metadata": {
                "checksum_sha256": last.map(|last| last.sha256.as_str()),
                "incident_bundle_created": false,
                "incident_bundle_enabled": false,
                "incident_bundle_error": null,
                "incident_bundle_path": null,
                "output_path": last.map(|last| last.mcap_path.display().to_string()),
                "sidecar_enabled": true,
                "sidecar_generated": last.is_some(),
                "sidecar_generation_mode": "always",
                "sidecar_path": last.map(|last| last.json_path.display().to_string()),
            },
            "queue_depths": self.per_topic(|_| json!({ "capacity": 8192, "depth": 0, "utilization": 0.0 })),
            "receive_rate_mbps": 0.0,
            "state": self.state,
            "topic_message_counts": self.per_topic(|count| json!({ "dropped": 0, "received": count, "written": count })),
            "write_rate_mbps": 0.0,
            "writer_batch": {
                "avg_write_duration_ms": 0.0,
                "batches_written": 0,
                "bytes_written": 0,
                "enabled": false,
                "flush_reasons": { "bytes": 0, "messages": 0, "stop": 0, "time": 0 },
                "last_batch_bytes": 0,
                "last_batch_messages": 0,
                "max_batch_bytes": 0,
                "max_batch_messages": 0,
                "max_queue_depth": 0,
                "max_write_duration_ns": 0,
                "messages_written": 0,
                "partial_failures": 0,
                "queue_capacity": 4096,
                "queue_depth": 0,
                "queue_overflows": 0,
                "queue_utilization": 0.0,
                "total_write_duration_ns": 0,
            },
        })
    }
}

/// Compressing and hashing take their time, and the requests behind this one wait for it.
async fn close(recording: Recording, task: TaskConfig, device: DeviceFacts) -> anyhow::Result<Finished> {
    tokio::task::spawn_blocking(move || recording.finish(&task, &device)).await?
}
