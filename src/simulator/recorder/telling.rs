//! What a recorder tells of itself when it is asked, in the shapes that real ones answer with.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::simulator::clock::ClockCheck;
use crate::simulator::profile::RecordingProfile;
use crate::simulator::recording::{Finished, Recording};
use crate::simulator::wire::{RECORDER_VERSION, RecorderState, TaskConfig};

/// What it looks at for that.
pub(super) struct Telling<'a> {
    pub state: RecorderState,
    pub task: Option<&'a TaskConfig>,
    pub recording: Option<&'a Recording>,
    pub last: Option<&'a Finished>,
    pub profile: &'a RecordingProfile,
    pub data_dir: &'a Path,
    pub clock: &'a ClockCheck,
}

impl Telling<'_> {
    fn message_count(&self) -> u64 {
        self.recording.map_or(0, Recording::message_count)
    }

    fn bytes_written(&self) -> u64 {
        self.recording.map_or(0, Recording::bytes_written)
    }

    fn duration_sec(&self) -> f64 {
        self.recording.map_or(0.0, |recording| recording.active().as_secs_f64())
    }

    pub fn snapshot(&self) -> Value {
        let mut data = json!({
            "bytes_written": self.bytes_written(),
            "duration_sec": self.duration_sec(),
            "message_count": self.message_count(),
            "running": self.message_count() > 0,
            "state": self.state,
            "version": RECORDER_VERSION,
        });
        if let (Some(task), false) = (self.task, self.state == RecorderState::Idle) {
            data["task_config"] = task.in_full();
        }
        data
    }

    fn task_entry(&self) -> Option<Value> {
        let task = self.task.filter(|_| self.state != RecorderState::Idle)?;
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
        let counts = self.recording.map(Recording::topic_counts).unwrap_or_default();
        let topics = self.profile.topics.iter().map(|topic| topic.topic.as_str());
        let entry = |topic: &str| describe(counts.get(topic).copied().unwrap_or_default());
        Value::Object(topics.map(|topic| (topic.to_owned(), entry(topic))).collect::<Map<_, _>>())
    }

    pub fn latencies(&self) -> Value {
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

    pub fn statistics(&self) -> Value {
        let (count, bytes) = (self.message_count(), self.bytes_written());
        let last = self.last.filter(|_| self.recording.is_none());
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
                    "path": self.data_dir.display().to_string(),
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

    pub fn drops(&self) -> Value {
        let count = self.message_count();
        json!({
            "messages_dropped": 0,
            "messages_received": count,
            "state": self.state,
            "topics": self.per_topic(|count| json!({ "dropped": 0, "received": count, "written": count })),
        })
    }

    pub fn tasks(&self) -> Value {
        let tasks: Vec<Value> = self.task_entry().into_iter().collect();
        json!({ "count": tasks.len(), "state": self.state, "tasks": tasks })
    }

    pub fn status_of(&self, task_id: &str) -> Value {
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
        data
    }
}
