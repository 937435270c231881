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

mod callbacks;
mod log_levels;
mod telling;

use std::path::PathBuf;
use std::time::Duration;

use chrono::Utc;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::callbacks::Callbacks;
use self::log_levels::LogLevels;
use self::telling::Telling;
use super::clock::ClockCheck;
use super::faults::Faults;
use super::link::{Heard, Outgoing};
use super::profile::RecordingProfile;
use super::recording::{DeviceFacts, Finished, Power, Recording, sidecar_path};
use super::report::{RecordingReport, Reporter, Violation};
use super::wire::{RecorderState, RpcReply, RpcRequest, TaskConfig, config_applied, state_update};

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
    callbacks: Callbacks,
    state: RecorderState,
    /// Kept after a finish, though a new one is needed to begin again.
    task: Option<TaskConfig>,
    recording: Option<Recording>,
    recordings: u64,
    last: Option<Finished>,
    clock: ClockCheck,
    log_levels: LogLevels,
    quitting: bool,
}

impl Recorder {
    pub fn new(config: RecorderConfig, out: Outgoing, report: Reporter, power: Power) -> anyhow::Result<Self> {
        let rng = StdRng::seed_from_u64(config.seed);
        let callbacks = Callbacks::new(report.clone(), config.faults.lost_callbacks, rng)?;
        Ok(Self {
            config,
            out,
            report,
            power,
            callbacks,
            state: RecorderState::Idle,
            task: None,
            recording: None,
            recordings: 0,
            last: None,
            clock: ClockCheck::default(),
            log_levels: LogLevels::default(),
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
                Some(sent) = self.callbacks.next() => self.callbacks.note(sent),
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
            while let Some(sent) = self.callbacks.next().await {
                self.callbacks.note(sent);
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
            ("get_state", _) => RpcReply::ok("State retrieved successfully", self.telling().snapshot()),
            ("get_stats", _) => RpcReply::ok("Statistics retrieved successfully", self.telling().statistics()),
            ("get_status", _) => RpcReply::ok("Status retrieved successfully", self.telling().statistics()),
            ("get_drop_stats", _) => RpcReply::ok("Drop statistics retrieved successfully", self.telling().drops()),
            ("get_latency_stats", _) => RpcReply::ok("Latency statistics retrieved successfully", self.telling().latencies()),
            ("list_tasks", _) => RpcReply::ok("Tasks retrieved successfully", self.telling().tasks()),
            ("get_task_status", _) => RpcReply::ok("Task status retrieved successfully", self.telling().status_of(task_id)),
            ("begin_batch" | "finish_batch" | "cancel_batch", _) => self.batch(action.trim_end_matches("_batch"), params).await,
            ("get_log_levels", _) => RpcReply::ok("Log levels retrieved successfully", self.log_levels.shown()),
            ("set_log_levels", _) => self.log_levels.set(params),
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
                self.callbacks.start(&task, recording.started_at());
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
                self.callbacks.finish(&task, &finished);
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

    fn telling(&self) -> Telling<'_> {
        Telling {
            state: self.state,
            task: self.task.as_ref(),
            recording: self.recording.as_ref(),
            last: self.last.as_ref(),
            profile: &self.config.profile,
            data_dir: &self.config.data_dir,
            clock: &self.clock,
        }
    }
}

/// Compressing and hashing take their time, and the requests behind this one wait for it.
async fn close(recording: Recording, task: TaskConfig, device: DeviceFacts) -> anyhow::Result<Finished> {
    tokio::task::spawn_blocking(move || recording.finish(&task, &device)).await?
}
