//! The real server with one workstation, and both ends of its robot in the test's hands.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use keystone_edge::blobs::{Access, Blobs, ObjectKey, PutFacts};
use keystone_edge::config::{Config, Secret};
use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory::{self, DispatchedTask, Factory};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::device::Socket;
use super::edge::callback_path;
use super::server::{PASSWORD, Server};
use super::{temp_folder, until};

/// A server with one workstation, and both ends of its robot in the test's hands.
pub struct Bench {
    pub server: Server,
    pub client: Client,
    pub blobs: Blobs,
    pub made: Factory,
    pub device: String,
    _folder: tempfile::TempDir,
}

/// A file as a robot would have recorded it.
pub struct Recording {
    pub mcap: Vec<u8>,
    pub sidecar: Option<Vec<u8>>,
    pub sha256: String,
}

impl Recording {
    pub fn read(folder: &Path, name: &str) -> Self {
        let mcap = std::fs::read(folder.join(format!("{name}.mcap"))).expect("a recording");
        let sidecar = std::fs::read(folder.join(format!("{name}.json"))).ok();
        Self::of(mcap, sidecar)
    }

    pub fn of(mcap: Vec<u8>, sidecar: Option<Vec<u8>>) -> Self {
        let sha256 = hex::encode(Sha256::digest(&mcap));
        Self { mcap, sidecar, sha256 }
    }
}

impl Bench {
    pub async fn start() -> Self {
        Self::start_with(vec![]).await
    }

    /// With settings of its own, as environment variables.
    pub async fn start_with(settings: Vec<(&'static str, String)>) -> Self {
        let folder = temp_folder();
        let mut server = Server::new(folder.path());
        server.settings = settings;
        server.start();
        server.ready().await;
        let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.expect("a login");
        let made = factory::seed(&client, "Traces", 1).await.expect("a factory");
        let device = made.stations[0].device_id.clone();
        let store = server.store();
        let access = Access {
            endpoint: server
                .settings
                .iter()
                .find(|(name, _)| *name == "KEYSTONE_S3_ENDPOINT")
                .map_or(store.endpoint, |(_, set)| set.clone()),
            public_endpoint: None,
            access_key: store.access_key,
            secret_key: Secret::new(store.secret_key),
            local: None,
        };
        let blobs = Blobs::new(access, &Config::defaults().s3).expect("a client");
        Self { server, client, blobs, made, device, _folder: folder }
    }

    pub async fn dispatch(&self, count: usize) -> Vec<DispatchedTask> {
        let order = factory::place_order(&self.client, &self.made, "Traces", count).await.expect("an order");
        factory::dispatch(&self.client, &self.made, order, &self.made.stations[0], count).await.expect("a batch")
    }

    pub async fn sockets(&self) -> (Socket, Socket) {
        let recorder = Socket::connect(&self.server.address(1), &format!("/recorder/{}", self.device)).await;
        let transfer = Socket::connect(&self.server.address(2), &format!("/transfer/{}", self.device)).await;
        (recorder, transfer)
    }

    /// The link that a recorder has which was configured with a task: `start` or `finish`.
    pub fn callback(&self, which: &str, task: &DispatchedTask) -> String {
        let secret = std::fs::read_to_string(self.server.folder.join("data/secrets/jwt")).expect("the server's secret");
        format!("{}{}", self.server.base(), callback_path(secret.trim(), which, &task.public_id, &self.device))
    }

    /// The recorder is seen recording this task, whatever came before.
    pub async fn recording(&self, recorder: &Socket, task: &DispatchedTask) {
        let data = json!({ "previous": "recording", "current": "recording", "task_id": task.public_id });
        recorder.send(&json!({ "type": "state_update", "timestamp": chrono::Utc::now().timestamp_millis(), "data": data })).await;
        self.until_status(task, "in_progress").await;
    }

    pub async fn status(&self, task: &DispatchedTask) -> String {
        let found = self.client.get(&format!("/tasks/{}", task.id)).await.expect("a task");
        found["status"].as_str().unwrap_or_default().to_owned()
    }

    pub async fn until_status(&self, task: &DispatchedTask, wanted: &str) {
        until(&format!("{} to be {wanted}", task.public_id), async || self.status(task).await == wanted).await;
    }

    pub fn key(&self, task: &DispatchedTask) -> String {
        format!("1/{}/2026-11-20/{}.mcap", self.device, task.public_id)
    }

    /// MCAP first, sidecar last, with the metadata that devices set.
    pub async fn upload(&self, key: &str, recording: &Recording) {
        let about = PutFacts {
            content_type: Some("application/octet-stream".into()),
            metadata: vec![("checksum-sha256".into(), recording.sha256.clone())],
        };
        let name = ObjectKey::new(key).expect("a key");
        if recording.mcap.len() > 5 << 20 {
            self.blobs.put_from(&name, recording.mcap.as_slice(), &about).await.expect("a multipart upload");
        } else {
            self.blobs.put(&name, Bytes::from(recording.mcap.clone()), &about).await.expect("an upload");
        }
        if let Some(sidecar) = &recording.sidecar {
            let about = PutFacts { content_type: Some("application/json".into()), metadata: vec![] };
            let name = ObjectKey::new(key.replace(".mcap", ".json")).expect("a key");
            self.blobs.put(&name, Bytes::from(sidecar.clone()), &about).await.expect("an upload");
        }
    }

    pub async fn events_of(&self, task: &DispatchedTask, event_type: &str) -> Vec<Value> {
        let sql = "select payload -> event_type from events where aggregate_type = 'task' and aggregate_id = $1 and event_type = $2 order by sequence";
        let client = self.server.database().await.get().await.expect("a connection");
        let rows = client.query(sql, &[&task.id.to_string(), &event_type]).await.expect("events");
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// The episode of a task is exactly the recording.
    pub async fn expect_episode(&self, task: &DispatchedTask, recording: &Recording) {
        let found = self.client.get(&format!("/tasks/{}", task.id)).await.expect("a task");
        let episode = self.client.get(&format!("/episodes/{}", found["episode"]["id"])).await.expect("an episode");
        let facts = keystone_edge::mcap::summary_of(&recording.mcap).expect("a sound recording");
        assert_eq!(episode["checksum"], json!(recording.sha256));
        assert_eq!(episode["file_size_bytes"], json!(recording.mcap.len()));
        assert_eq!(episode["message_count"], json!(facts.message_count));
        assert_eq!(episode["task_public_id"], json!(task.public_id));
    }
}

pub fn is_ack(frame: &Value, task: &str) -> bool {
    frame["type"] == "upload_ack" && frame["task_id"] == task
}

pub fn complete(task: &str, key: &str, recording: &Recording) -> Value {
    let mode = if recording.sidecar.is_some() { "mcap_json" } else { "mcap_only" };
    json!({ "type": "upload_complete", "timestamp": now_iso(), "data": {
        "task_id": task, "status": "uploaded_wait_ack", "s3_key": key, "object_key": key, "file_size_bytes": recording.mcap.len(),
        "checksum_sha256": recording.sha256, "upload_mode": mode, "bytes_uploaded": 0, "duration_ms": 0,
    }})
}

pub fn now_iso() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

pub fn connected(device: &str, uploads: &Value, waiting: &Value) -> Value {
    json!({ "type": "connected", "timestamp": now_iso(), "data": {
        "version": "0.1.0", "device_id": device, "pending_count": 0, "active_count": 0, "uploading_count": 0, "retry_wait_count": 0,
        "waiting_ack_count": waiting.as_array().map_or(0, Vec::len), "waiting_ack_task_ids": waiting, "completed_count": 0, "failed_count": 0,
        "pending_bytes": 0, "bytes_per_sec": 0, "uploads": uploads,
    }})
}

/// What a recorder answers when it does what it was asked.
pub fn rpc_response(request: &Value, data: Value) -> Value {
    json!({ "type": "rpc_response", "request_id": request["request_id"], "success": true, "message": "ok", "data": data })
}

pub fn is_upload_request(frame: &Value, task: &str) -> bool {
    frame["type"] == "upload_request" && frame["task_id"] == task
}

/// A sound recording of some messages.
pub fn recording(messages: u32, with_sidecar: bool) -> Recording {
    let folder = temp_folder();
    let path = folder.path().join("a.mcap");
    let mut writer = mcap::Writer::new(std::io::BufWriter::new(std::fs::File::create(&path).unwrap())).unwrap();
    let schema = writer.add_schema("std_msgs/String", "ros2msg", b"string data").unwrap();
    let channel = writer.add_channel(schema, "/chatter", "cdr", &Default::default()).unwrap();
    for sequence in 0..messages {
        let header = mcap::records::MessageHeader { channel_id: channel, sequence, log_time: u64::from(sequence), publish_time: 0 };
        writer.write_to_known_channel(&header, &sequence.to_le_bytes()).unwrap();
    }
    writer.finish().unwrap();
    drop(writer);
    let sidecar = json!({ "version": "1.0", "recording": { "duration_sec": 1.0, "message_count": messages } });
    Recording::of(std::fs::read(&path).unwrap(), with_sidecar.then(|| sidecar.to_string().into_bytes()))
}

/// What the robots of the seeded factory have to record.
pub const TOPICS: [&str; 4] = ["/chatter", "/camera0/rgb", "/udp/gps", "/udp/can"];

/// Ten messages a second of each topic, for so long, and the sidecar of a recorder that is well.
pub fn recorded(topics: &[&str], seconds: u64) -> Recording {
    let start = u64::try_from(chrono::Utc::now().timestamp_nanos_opt().expect("a time")).expect("after 1970") - seconds * 1_000_000_000;
    let mut writer = mcap::WriteOptions::new().profile("ros2").library("test").create(std::io::Cursor::new(vec![])).expect("a writer");
    let schema = writer.add_schema("geometry_msgs/msg/Pose", "ros2msg", b"float64 x").expect("a schema");
    let channels: Vec<u16> =
        topics.iter().map(|topic| writer.add_channel(schema, topic, "cdr", &BTreeMap::new()).expect("a channel")).collect();
    for step in 0..=seconds * 10 {
        for channel in &channels {
            let log_time = start + step * 100_000_000;
            let header = mcap::records::MessageHeader { channel_id: *channel, sequence: step as u32, log_time, publish_time: log_time };
            writer.write_to_known_channel(&header, &[7; 40]).expect("a message");
        }
    }
    writer.finish().expect("an end");
    let mcap = writer.into_inner().into_inner();
    let messages = (seconds * 10 + 1) * topics.len() as u64;
    let summary: Vec<Value> = topics.iter().map(|topic| json!({ "topic": topic, "message_count": seconds * 10 + 1 })).collect();
    let recording = json!({ "message_count": messages, "topics_recorded": topics, "duration_sec": seconds });
    let sidecar = json!({ "recording": recording, "topics_summary": summary });
    Recording::of(mcap, Some(sidecar.to_string().into_bytes()))
}

/// An uploader that greets with this list.
pub async fn transfer_of(bench: &Bench, uploads: Value, waiting: Value) -> Socket {
    let transfer = Socket::connect(&bench.server.address(2), &format!("/transfer/{}", bench.device)).await;
    transfer.send(&connected(&bench.device, &uploads, &waiting)).await;
    transfer
}

/// An upload as a status lists it.
pub fn record(bench: &Bench, task: &DispatchedTask, recording: &Recording, status: &str) -> Value {
    let key = bench.key(task);
    json!({ "task_id": task.public_id, "status": status, "upload_mode": "mcap_json", "s3_key": key, "object_key": key,
            "file_size_bytes": recording.mcap.len(), "checksum_sha256": recording.sha256, "retry_count": 0, "last_error": "" })
}
