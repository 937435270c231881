//! A robot against a server that does nothing by itself: every frame it hears is
//! the test's to judge, every frame it says is the test's to write.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, Role, WebSocket, upgrade};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::io::{empty, join, sink, split};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::mcap::summary_of;

const DEVICE: &str = "AB-F0001-T0003-000001";
const BUCKET: &str = "axon-recordings";
const PATIENCE: Duration = Duration::from_secs(10);

/// What the server heard on a socket.
#[derive(Debug)]
enum Got {
    Text(Value),
    Pong,
    Close(u16),
}

enum Say {
    Frame(OpCode, Vec<u8>),
    /// Ends the TCP connection without a close frame.
    Drop,
}

struct Socket {
    path: String,
    headers: HeaderMap,
    got: mpsc::UnboundedReceiver<Got>,
    say: mpsc::UnboundedSender<Say>,
    /// Frames heard since the start, parsed.
    seen: VecDeque<Value>,
}

impl Socket {
    async fn next(&mut self) -> Value {
        match timeout(PATIENCE, self.got.recv()).await {
            Ok(Some(Got::Text(frame))) => {
                self.seen.push_back(frame.clone());
                frame
            }
            other => panic!("expected a frame after {:?}, got {other:?}", self.seen.back()),
        }
    }

    async fn next_of(&mut self, kind: &str) -> Value {
        let frame = self.next().await;
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// After `quiet_ms` without a frame.
    async fn assert_silent(&mut self, quiet_ms: u64) {
        if let Ok(got) = timeout(Duration::from_millis(quiet_ms), self.got.recv()).await {
            panic!("expected silence, got {got:?}");
        }
    }

    fn send(&self, frame: Value) {
        self.say(OpCode::Text, frame.to_string());
    }

    fn say(&self, opcode: OpCode, payload: impl Into<Vec<u8>>) {
        self.say.send(Say::Frame(opcode, payload.into())).unwrap();
    }

    fn close(&self, code: u16) {
        self.say(OpCode::Close, code.to_be_bytes());
    }

    async fn closed(&mut self) -> u16 {
        loop {
            match timeout(PATIENCE, self.got.recv()).await {
                Ok(Some(Got::Close(code))) => return code,
                Ok(Some(_)) => {}
                other => panic!("expected a close frame, got {other:?}"),
            }
        }
    }

    fn request(&self, action: &str, params: Value) {
        self.send(json!({ "type": "rpc_request", "request_id": action, "action": action, "params": params }));
    }

    /// Asks and skips to the answer.
    async fn ask(&mut self, action: &str, params: Value) -> Value {
        self.request(action, params);
        loop {
            let frame = self.next().await;
            if frame["type"] == "rpc_response" && frame["request_id"] == action {
                return frame;
            }
        }
    }

    async fn record(&mut self, task_id: &str, extra: Value, millis: u64) {
        let mut config = json!({ "task_id": task_id, "device_id": DEVICE });
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        assert_eq!(self.ask("config", json!({ "task_config": config })).await["success"], true);
        assert_eq!(self.ask("begin", json!({ "task_id": task_id })).await["success"], true);
        sleep(Duration::from_millis(millis)).await;
        assert_eq!(self.ask("finish", json!({ "task_id": task_id })).await["success"], true);
    }
}

#[derive(Clone)]
struct Shared {
    sockets: mpsc::UnboundedSender<Socket>,
    callbacks: mpsc::UnboundedSender<(String, HeaderMap, Bytes)>,
    /// Answers to handshakes and callbacks before the usual ones.
    refusals: Arc<Mutex<VecDeque<StatusCode>>>,
}

struct Server {
    port: u16,
    sockets: mpsc::UnboundedReceiver<Socket>,
    parked: Vec<Socket>,
    callbacks: mpsc::UnboundedReceiver<(String, HeaderMap, Bytes)>,
    refusals: Arc<Mutex<VecDeque<StatusCode>>>,
    s3_port: u16,
    dir: tempfile::TempDir,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sockets_tx, sockets) = mpsc::unbounded_channel();
        let (callbacks_tx, callbacks) = mpsc::unbounded_channel();
        let refusals = Arc::new(Mutex::new(VecDeque::new()));
        let shared = Shared { sockets: sockets_tx, callbacks: callbacks_tx, refusals: refusals.clone() };
        let router = axum::Router::new().fallback(answer).with_state(shared);
        let serve = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

        let s3_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let s3_port = s3_listener.local_addr().unwrap().port();
        let root = dir.path().join("s3");
        fs::create_dir_all(root.join(BUCKET)).unwrap();
        let s3 = tokio::spawn(serve_s3(s3_listener, root));
        Self {
            port,
            sockets,
            parked: Vec::new(),
            callbacks,
            refusals,
            s3_port,
            dir,
            _tasks: vec![AbortOnDropHandle::new(serve), AbortOnDropHandle::new(s3)],
        }
    }

    fn config(&self) -> RobotConfig {
        RobotConfig {
            device_id: DEVICE.into(),
            factory_id: "1".into(),
            recorder_url: format!("ws://127.0.0.1:{}/recorder/{DEVICE}", self.port),
            transfer_url: format!("ws://127.0.0.1:{}/transfer", self.port),
            recorder_token: None,
            store: StoreConfig {
                endpoint: format!("http://127.0.0.1:{}", self.s3_port),
                bucket: BUCKET.into(),
                region: "us-east-1".into(),
                access_key: "key".into(),
                secret_key: "secret".into(),
                part_bytes: StoreConfig::PART_BYTES,
            },
            data_dir: self.dir.path().join("robot"),
            pace: 10.0,
            profile: RecordingProfile::small(2304),
            attempts_max: 3,
            seed: 7,
            faults: Faults::default(),
        }
    }

    fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join("robot/recording").join(name)
    }

    fn object(&self, key: &str) -> Vec<u8> {
        fs::read(self.dir.path().join("s3").join(BUCKET).join(key)).unwrap()
    }

    /// The next connection of `kind`, `recorder` or `transfer`.
    async fn socket(&mut self, kind: &str) -> Socket {
        let wanted = |socket: &Socket| socket.path.starts_with(&format!("/{kind}"));
        if let Some(index) = self.parked.iter().position(wanted) {
            return self.parked.remove(index);
        }
        loop {
            let socket = timeout(PATIENCE, self.sockets.recv()).await.expect(kind).unwrap();
            if wanted(&socket) {
                return socket;
            }
            self.parked.push(socket);
        }
    }

    async fn callback(&mut self) -> (String, HeaderMap, Bytes) {
        timeout(PATIENCE, self.callbacks.recv()).await.expect("a callback").unwrap()
    }

    fn callback_urls(&self) -> Value {
        let url = |kind| format!("http://127.0.0.1:{}/api/v1/callbacks/{kind}?k=v", self.port);
        json!({ "start_callback_url": url("start"), "finish_callback_url": url("finish"), "user_token": "jwt" })
    }
}

async fn answer(State(shared): State<Shared>, mut request: Request) -> Response {
    if let Some(status) = shared.refusals.lock().unwrap().pop_front() {
        return status.into_response();
    }
    let headers = request.headers().clone();
    let path = request.uri().to_string();
    if !upgrade::is_upgrade_request(&request) {
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        shared.callbacks.send((path, headers, body)).unwrap();
        return StatusCode::OK.into_response();
    }
    let (response, socket) = upgrade::upgrade(&mut request).unwrap();
    let (got_tx, got) = mpsc::unbounded_channel();
    let (say, mut say_rx) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let Ok(socket) = socket.await else { return };
        shared.sockets.send(Socket { path, headers, got, say, seen: VecDeque::new() }).ok();
        let (read, write) = split(socket.into_inner());
        let mut reader = WebSocket::after_handshake(join(read, sink()), Role::Server);
        reader.set_auto_close(false);
        reader.set_auto_pong(false);
        let mut reader = FragmentCollector::new(reader);
        let mut writer = WebSocket::after_handshake(join(empty(), write), Role::Server);
        let reading = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Ok(frame) = reader.read_frame().await {
                let got = match frame.opcode {
                    OpCode::Text => Got::Text(serde_json::from_slice(&frame.payload).unwrap()),
                    OpCode::Pong => Got::Pong,
                    OpCode::Close => Got::Close(u16::from_be_bytes([frame.payload[0], frame.payload[1]])),
                    _ => continue,
                };
                if got_tx.send(got).is_err() {
                    return;
                }
            }
        }));
        while let Some(Say::Frame(opcode, payload)) = say_rx.recv().await {
            let frame = Frame::new(true, opcode, None, Payload::Owned(payload));
            if writer.write_frame(frame).await.is_err() {
                break;
            }
        }
        drop(reading);
    });
    response.map(|_| Body::empty())
}

async fn serve_s3(listener: TcpListener, root: PathBuf) {
    let mut service = s3s::service::S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
    service.set_auth(s3s::auth::SimpleAuth::from_single("key", "secret"));
    let service = service.build();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service.clone();
        tokio::spawn(async move {
            let io = hyper_util::rt::TokioIo::new(stream);
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
        });
    }
}

async fn until(robot: &Robot, what: &str, holds: impl FnMut(&RobotReport) -> bool) -> RobotReport {
    let mut report = robot.report();
    let found = timeout(PATIENCE, report.wait_for(holds)).await.map(|found| found.unwrap().clone());
    match found {
        Ok(report) => report,
        Err(_) => panic!("never {what}: {:?}", report.borrow()),
    }
}

#[tokio::test]
async fn a_task_from_config_to_ack() {
    let mut server = Server::start().await;
    let robot = Robot::start(server.config()).unwrap();
    let mut recorder = server.socket("recorder").await;
    let mut transfer = server.socket("transfer").await;
    assert_eq!(recorder.next().await["data"], json!({ "current": "idle", "previous": "idle" }));
    assert_eq!(transfer.next_of("connected").await["data"]["uploads"], json!([]));

    let mut config = server.callback_urls();
    let fields = json!({ "scene": "仓库 shelf", "skills": ["pick"], "order_id": "17" });
    config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    recorder.record("t-1", config, 300).await;

    let (path, headers, body) = server.callback().await;
    assert_eq!(path, "/api/v1/callbacks/start?k=v");
    assert_eq!(headers["user-agent"], "axon-recorder/1.0");
    assert_eq!(headers["authorization"], "Bearer jwt");
    assert!(body.starts_with(br#"{"task_id":"t-1","device_id":"#));
    let (_, _, body) = server.callback().await;
    let finish: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(finish["metadata"]["scene"], "仓库 shelf");

    // File, summary, sidecar and callback tell the same.
    let file = fs::read(server.data("t-1.mcap")).unwrap();
    let facts = summary_of(&file).unwrap();
    assert!(facts.message_count > 20, "{}", facts.message_count);
    assert_eq!(finish["message_count"], facts.message_count);
    assert_eq!(finish["file_size_bytes"], file.len());
    assert_eq!((facts.profile.as_str(), facts.metadata.len()), ("ros2", 5));
    let sidecar: Value = serde_json::from_slice(&fs::read(server.data("t-1.json")).unwrap()).unwrap();
    assert_eq!(sidecar["recording"]["message_count"], facts.message_count);
    assert_eq!(sidecar["recording"]["file_size_bytes"], file.len());
    assert_eq!(sidecar["task"]["scene"], " shelf");
    let patched = format!("{:020}", file.len());
    assert!(file.windows(20).any(|window| window == patched.as_bytes()));
    assert_eq!(fs::read(server.data("t-1.mcap.done")).unwrap(), b"done\n");

    transfer.send(json!({ "type": "upload_request", "task_id": "t-1", "priority": 1 }));
    let started = transfer.next_of("upload_started").await;
    let complete = transfer.next_of("upload_complete").await;
    let key = complete["data"]["s3_key"].as_str().unwrap().to_owned();
    assert_eq!(started["data"]["s3_key"], key);
    assert_eq!(complete["data"]["checksum_sha256"], sidecar["recording"]["checksum_sha256"]);
    assert_eq!(server.object(&key), file);
    assert!(server.data("t-1.mcap").exists(), "kept until the ack");

    transfer.send(json!({ "type": "upload_ack", "task_id": "t-1" }));
    let report = until(&robot, "acked", |r| !r.acks.is_empty()).await;
    assert_eq!(report.acks[0].sha256, report.uploads[0].sha256);
    assert_eq!(report.acks[0].size, file.len() as u64);
    assert_eq!(report.callbacks.len(), 2);
    assert_eq!(report.violations, []);
    transfer.send(json!({ "type": "status_query" }));
    assert_eq!(transfer.next_of("status").await["data"]["completed_count"], 1);
    assert!(!server.data("t-1.mcap").exists() && !server.data("t-1.json").exists());
    assert!(server.data("t-1.mcap.done").exists());

    transfer.send(json!({ "type": "upload_ack", "task_id": "t-1" }));
    transfer.send(json!({ "type": "upload_ack", "task_id": "other" }));
    assert_eq!(transfer.next_of("upload_not_found").await["data"]["detail"], "ACK for unknown task_id");
    let report = until(&robot, "told", |r| !r.violations.is_empty()).await;
    assert_eq!(report.repeated_acks, 1);
    assert_eq!(report.violations, [Violation::AckForUnknownTask { task_id: "other".into() }]);

    robot.stop().await;
    assert_eq!(recorder.closed().await, 1000);
    assert_eq!(transfer.closed().await, 1000);
}

#[tokio::test]
async fn requests_are_refused_as_devices_refuse_them() {
    let mut server = Server::start().await;
    let _robot = Robot::start(server.config()).unwrap();
    let mut recorder = server.socket("recorder").await;
    recorder.next().await;

    let unknown = recorder.ask("dance", Value::Null).await;
    assert_eq!(unknown["message"], "Unknown action: dance");
    assert!(unknown.get("data").is_none());
    for action in ["begin", "finish", "pause", "resume", "cancel", "clear"] {
        let refused = recorder.ask(action, json!({ "task_id": "t" })).await;
        assert_eq!(refused["success"], false, "{action}");
        assert_eq!(refused["data"]["state"], "idle");
    }
    let config = json!({ "task_id": "", "scene": null, "skills": [1] });
    let refused = recorder.ask("config", json!({ "task_config": config })).await;
    assert_eq!(refused["message"], "Task configuration validation failed");
    let errors: Vec<_> = refused["data"]["validation_errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["field"].as_str().unwrap(), error["code"].as_str().unwrap()))
        .collect();
    assert_eq!(errors, [("task_id", "empty"), ("device_id", "missing_required"), ("scene", "invalid_type"), ("skills", "invalid_type"),]);
    let outside = json!({ "task_id": "../x", "device_id": DEVICE });
    assert_eq!(recorder.ask("config", json!({ "task_config": outside })).await["success"], false);

    // No answer at all.
    recorder.say(OpCode::Text, "nope");
    recorder.send(json!({ "type": "rpc_request", "action": "get_state" }));
    recorder.send(json!({ "type": "rpc_request", "action": 5, "request_id": "x" }));
    recorder.assert_silent(100).await;

    let config = json!({ "task_id": "t", "device_id": DEVICE });
    recorder.ask("config", json!({ "task_config": config })).await;
    assert_eq!(recorder.ask("begin", json!({ "task_id": "other" })).await["success"], false);
    // A second config replaces the first, without a transition.
    recorder.request("config", json!({ "task_config": config }));
    recorder.next_of("config_applied").await;
    recorder.next_of("rpc_response").await;

    recorder.ask("begin", json!({ "task_id": "t" })).await;
    recorder.request("cancel", json!({ "task_id": "foreign" }));
    let last = recorder.next_of("state_update").await;
    assert_eq!(last["data"], json!({ "current": "idle", "previous": "recording", "task_id": "t" }));
    recorder.next_of("rpc_response").await;
    assert!(!server.data("t.mcap").exists());
    assert_eq!(recorder.ask("begin", json!({ "task_id": "t" })).await["success"], false);
}

#[tokio::test]
async fn the_handshake_is_the_device_s_and_refusals_are_retried() {
    let mut server = Server::start().await;
    server.refusals.lock().unwrap().extend([StatusCode::SERVICE_UNAVAILABLE, StatusCode::FOUND]);
    let mut config = server.config();
    config.recorder_token = Some("secret".into());
    config.recorder_url.push_str("?x=1");
    let robot = Robot::start(config).unwrap();
    let recorder = server.socket("recorder").await;
    assert_eq!(recorder.path, format!("/recorder/{DEVICE}?x=1"));
    assert_eq!(recorder.headers["authorization"], "Bearer secret");
    assert_eq!(recorder.headers["host"], "127.0.0.1");
    assert!(recorder.headers.get("user-agent").is_none());
    let transfer = server.socket("transfer").await;
    assert_eq!(transfer.path, format!("/transfer/{DEVICE}"));
    assert_eq!(transfer.headers["host"], format!("127.0.0.1:{}", server.port));
    assert!(transfer.headers.get("authorization").is_none());
    robot.stop().await;
}

#[tokio::test]
async fn pings_are_answered_and_every_close_means_reconnect() {
    let mut server = Server::start().await;
    let robot = Robot::start(server.config()).unwrap();
    for code in [1000, 1013, 4409] {
        let mut recorder = server.socket("recorder").await;
        recorder.next_of("state_update").await;
        recorder.say(OpCode::Ping, "x");
        assert!(matches!(timeout(PATIENCE, recorder.got.recv()).await, Ok(Some(Got::Pong))));
        recorder.close(code);
        assert_eq!(recorder.closed().await, code);
    }
    server.socket("recorder").await;
    let report = until(&robot, "connected again", |r| r.recorder_connections == 4).await;
    assert!(report.recorder_connected);
}

#[tokio::test]
async fn what_was_queued_offline_comes_before_the_greeting() {
    let mut server = Server::start().await;
    let _robot = Robot::start(server.config()).unwrap();
    let mut recorder = server.socket("recorder").await;
    recorder.next().await;
    let mut config = server.callback_urls();
    config["task_id"] = "t-off".into();
    config["device_id"] = DEVICE.into();
    recorder.ask("config", json!({ "task_config": config })).await;
    recorder.ask("begin", json!({ "task_id": "t-off" })).await;
    server.callback().await;
    recorder.request("finish", json!({ "task_id": "t-off" }));
    recorder.say.send(Say::Drop).unwrap();

    // The callback is the witness that never failed; of the frames some may be lost.
    assert!(server.callback().await.0.starts_with("/api/v1/callbacks/finish"));
    let mut recorder = server.socket("recorder").await;
    let greeting = json!({ "current": "idle", "previous": "idle", "task_id": "t-off" });
    while recorder.next().await["data"] != greeting {}
    let queued = recorder.seen.iter().rev().skip(1).map(|frame| frame["type"].as_str().unwrap());
    assert!(queued.clone().all(|kind| matches!(kind, "rpc_response" | "state_update")));
    recorder.assert_silent(50).await;
}

#[tokio::test]
async fn a_killed_device_leaves_a_file_without_a_footer() {
    let mut server = Server::start().await;
    let mut config = server.config();
    config.profile = RecordingProfile::small(300_000);
    let robot = Robot::start(config.clone()).unwrap();
    let mut recorder = server.socket("recorder").await;
    recorder.next().await;
    let task = json!({ "task_id": "t", "device_id": DEVICE });
    recorder.ask("config", json!({ "task_config": task })).await;
    recorder.ask("begin", json!({ "task_id": "t" })).await;
    assert_eq!(fs::metadata(server.data("t.mcap")).unwrap().len(), 0, "empty until the first chunk is full");
    timeout(PATIENCE, async {
        while fs::metadata(server.data("t.mcap")).unwrap().len() < 1_000_000 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    robot.crash().await;
    assert!(summary_of(&fs::read(server.data("t.mcap")).unwrap()).is_err());
    assert!(!server.data("t.json").exists());

    let robot = Robot::start(config).unwrap();
    let mut recorder = server.socket("recorder").await;
    assert_eq!(recorder.next().await["data"], json!({ "current": "idle", "previous": "idle" }));

    // An orderly end closes the file, and tells nobody.
    recorder.ask("config", json!({ "task_config": task })).await;
    recorder.ask("begin", json!({ "task_id": "t" })).await;
    assert_eq!(recorder.ask("quit", Value::Null).await["data"]["state"], "recording");
    assert_eq!(recorder.closed().await, 1000);
    assert!(summary_of(&fs::read(server.data("t.mcap")).unwrap()).is_ok());
    robot.stop().await;
}

#[tokio::test]
async fn an_upload_waits_for_its_ack_over_a_restart() {
    let mut server = Server::start().await;
    let mut config = server.config();
    // Several parts of the smallest size that S3 allows.
    config.store.part_bytes = 5 << 20;
    config.profile = RecordingProfile::small(600_000);
    let robot = Robot::start(config.clone()).unwrap();
    let mut recorder = server.socket("recorder").await;
    recorder.record("big", json!({}), 400).await;
    let mut transfer = server.socket("transfer").await;
    transfer.next_of("connected").await;
    transfer.send(json!({ "type": "upload_all" }));
    let status = transfer.next_of("status").await;
    assert_eq!(status["data"]["pending_count"], 1);
    assert!(status["data"].get("uploads").is_none());
    let complete = transfer.next_of("upload_complete").await;
    let file = fs::read(server.data("big.mcap")).unwrap();
    assert!(file.len() > 6 << 20, "{}", file.len());
    assert!(server.object(complete["data"]["s3_key"].as_str().unwrap()) == file);
    robot.crash().await;

    let robot = Robot::start(config).unwrap();
    let mut transfer = server.socket("transfer").await;
    let connected = transfer.next_of("connected").await;
    assert_eq!(connected["data"]["waiting_ack_task_ids"], json!(["big"]));
    assert_eq!(connected["data"]["recovery"]["recovered_count"], 0);
    transfer.send(json!({ "type": "upload_request", "task_id": "big" }));
    transfer.next_of("upload_not_found").await;
    transfer.send(json!({ "type": "upload_ack", "task_id": "big" }));
    let report = until(&robot, "acked", |r| !r.acks.is_empty()).await;
    assert_eq!(report.acks[0].size, file.len() as u64);
    assert_eq!(report.violations, []);
    assert!(!server.data("big.mcap").exists());
}

#[tokio::test]
async fn an_upload_cut_short_is_taken_up_again_without_being_announced() {
    let mut server = Server::start().await;
    let mut config = server.config();
    let endpoint = std::mem::replace(&mut config.store.endpoint, "http://127.0.0.1:9".into());
    config.attempts_max = 1000;
    let robot = Robot::start(config.clone()).unwrap();
    server.socket("recorder").await.record("t", json!({}), 50).await;
    let mut transfer = server.socket("transfer").await;
    transfer.next_of("connected").await;
    transfer.send(json!({ "type": "upload_request", "task_id": "t" }));
    transfer.next_of("upload_started").await;
    // An ack for what has not arrived is answered with nothing, and remembered.
    transfer.send(json!({ "type": "upload_ack", "task_id": "t" }));
    let report = until(&robot, "told", |r| !r.violations.is_empty()).await;
    assert!(matches!(report.violations[0], Violation::AckBeforeUpload { .. }));
    assert!(server.data("t.mcap").exists());
    robot.crash().await;

    config.store.endpoint = endpoint;
    let _robot = Robot::start(config).unwrap();
    let mut transfer = server.socket("transfer").await;
    // Which of the two is first depends on how quick the upload is.
    let mut frames = [transfer.next().await, transfer.next().await];
    frames.sort_by_key(|frame| frame["type"].to_string());
    assert_eq!(frames[0]["data"]["recovery"]["recovered_count"], 1);
    assert_eq!(frames[1]["type"], "upload_complete");
}

#[tokio::test]
async fn a_failed_upload_has_failed_for_ever() {
    // Refused for good, and nobody there.
    for (break_it, failures) in [("secret", 1), ("endpoint", 3)] {
        let mut server = Server::start().await;
        let mut config = server.config();
        match break_it {
            "secret" => config.store.secret_key = "other".into(),
            _ => config.store.endpoint = "http://127.0.0.1:9".into(),
        }
        config.pace = 50.0;
        let _robot = Robot::start(config).unwrap();
        server.socket("recorder").await.record("t", json!({}), 20).await;
        let mut transfer = server.socket("transfer").await;
        transfer.next_of("connected").await;
        transfer.send(json!({ "type": "upload_request", "task_id": "t" }));
        transfer.next_of("upload_started").await;
        let failed = transfer.next_of("upload_failed").await;
        assert_eq!(failed["data"]["retry_count"], failures, "{break_it}: {failed}");
        assert!(!server.data("t.mcap").exists());
        assert!(server.dir.path().join("robot/transfer/failed_uploads/t.mcap").exists());
        transfer.send(json!({ "type": "upload_request", "task_id": "t" }));
        transfer.next_of("upload_not_found").await;
    }
}

#[tokio::test]
async fn batches_log_levels_and_the_clock_are_as_on_a_device() {
    let mut server = Server::start().await;
    let robot = Robot::start(server.config()).unwrap();
    let mut recorder = server.socket("recorder").await;
    recorder.next().await;

    let config = json!({ "task_id": "t", "device_id": DEVICE });
    recorder.ask("config", json!({ "task_config": config })).await;
    let begun = recorder.ask("begin_batch", json!({ "task_ids": ["other", "t"] })).await;
    assert_eq!((begun["success"].as_bool(), &begun["data"]["succeeded"], &begun["data"]["failed"]), (Some(false), &json!(1), &json!(1)));
    assert_eq!(begun["data"]["results"][0]["success"], false);
    assert_eq!(begun["data"]["results"][1]["data"], json!({ "state": "recording", "task_id": "t" }));
    assert_eq!(recorder.ask("finish_batch", json!({ "task_ids": ["t"] })).await["data"]["state"], "idle");
    assert_eq!(recorder.ask("cancel_batch", json!({ "task_ids": 7 })).await["success"], false);

    let set = recorder.ask("set_log_levels", json!({ "console_level": "error" })).await;
    assert_eq!(set["data"], json!({ "console_level": "error", "file_level": "debug" }));
    assert_eq!(recorder.ask("set_log_levels", json!({ "file_level": "loud" })).await["success"], false);
    assert_eq!(recorder.ask("get_log_levels", Value::Null).await["data"]["console_level"], "error");
    assert_eq!(recorder.ask("test", json!({ "echo": 5 })).await["data"], json!({ "echo": 5, "state": "idle" }));

    assert_eq!(recorder.ask("get_stats", Value::Null).await["data"]["keystone_time_gap"]["status"], "unreliable");
    recorder.send(json!({ "type": "note", "timestamp_ms": 7 }));
    let report = until(&robot, "noticed", |r| !r.violations.is_empty()).await;
    assert_eq!(report.violations, [Violation::TimestampsMixed]);
}

#[tokio::test]
async fn a_damaged_object_and_a_second_recording_are_promises_to_break() {
    let mut server = Server::start().await;
    let faults = Faults { damaged_uploads: 1.0, lost_callbacks: 1.0, repeated_messages: 1.0, ..Faults::default() };
    let robot = Robot::start(RobotConfig { faults, ..server.config() }).unwrap();
    let mut recorder = server.socket("recorder").await;
    let mut transfer = server.socket("transfer").await;
    recorder.next().await;
    recorder.record("t", server.callback_urls(), 100).await;
    transfer.send(json!({ "type": "upload_request", "task_id": "t", "priority": 1 }));
    for kind in ["connected", "connected", "upload_started", "upload_started"] {
        transfer.next_of(kind).await;
    }
    let complete = transfer.next_of("upload_complete").await;
    assert_eq!(transfer.next_of("upload_complete").await, complete, "said twice");
    let (object, file) = (server.object(complete["data"]["s3_key"].as_str().unwrap()), fs::read(server.data("t.mcap")).unwrap());
    assert_eq!(object.iter().zip(&file).filter(|(theirs, ours)| theirs != ours).count(), 1, "one byte differs");
    assert_eq!(object.len(), file.len());

    // Recorded again over the copy that nobody has.
    recorder.record("t", json!({}), 100).await;
    let report = until(&robot, "noticed", |r| r.recordings.len() == 2).await;
    assert_eq!(report.damaged.iter().collect::<Vec<_>>(), ["t"]);
    assert!(report.callbacks.iter().all(|callback| callback.outcome.is_err()) && report.callbacks.len() == 2, "{:?}", report.callbacks);
    transfer.send(json!({ "type": "upload_ack", "task_id": "t" }));
    let report = until(&robot, "acked", |r| !r.acks.is_empty()).await;
    let task_id = || "t".to_owned();
    let wanted = [
        Violation::RecordingOverwritten { task_id: task_id() },
        Violation::FilesChanged { task_id: task_id() },
        Violation::AckOfDamagedObject { task_id: task_id() },
    ];
    assert_eq!(report.violations, wanted);
}

#[tokio::test]
async fn lost_connections_crashes_and_doubles_end_in_new_connections() {
    let mut server = Server::start().await;
    // A minute of the robot is a second here; each happens about four times in one of these.
    let faults = Faults { lost_connections: 4.0, crashes: 4.0, silences: 1.0, doubles: 4.0, ..Faults::default() };
    let robot = Robot::start(RobotConfig { faults, pace: 60.0, ..server.config() }).unwrap();
    let mut report = robot.report();
    let seen = timeout(PATIENCE, async {
        // Sockets are taken as they come, those of the double among them.
        let mut sockets = 0;
        loop {
            tokio::select! {
                _ = server.sockets.recv() => sockets += 1,
                changed = report.changed() => changed.unwrap(),
            }
            let report = report.borrow();
            let ours = report.recorder_connections + report.transfer_connections;
            if report.crashes >= 3 && ours >= 10 && sockets > ours {
                return;
            }
        }
    });
    assert!(seen.await.is_ok(), "{:?}", report.borrow());
    timeout(PATIENCE, robot.stop()).await.unwrap();
}

#[tokio::test]
async fn realistic_topics_make_a_sound_recording() {
    let mut server = Server::start().await;
    let _robot = Robot::start(RobotConfig { profile: RecordingProfile::of(Profile::Cameras, 0), ..server.config() }).unwrap();
    let mut recorder = server.socket("recorder").await;
    recorder.next().await;
    recorder.record("t", json!({}), 200).await;
    let file = fs::read(server.data("t.mcap")).unwrap();
    let facts = summary_of(&file).unwrap();
    let topics: Vec<_> = facts.channels.iter().map(|channel| channel.topic.as_str()).collect();
    assert_eq!(topics.len(), 6, "{topics:?}");
    assert!(topics.contains(&"/camera/front/compressed") && topics.contains(&"/tf"), "{topics:?}");
    assert!(file.len() > 500_000, "{} bytes", file.len());
}

#[tokio::test]
async fn robots_run_until_they_are_stopped() {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        options: SimulateOptions,
    }
    let mut server = Server::start().await;
    let base = format!("ws://127.0.0.1:{}", server.port);
    let dir = server.dir.path().join("robots");
    let args = [
        "simulate",
        "--robots",
        "3",
        "--recorder",
        &format!("{base}/recorder"),
        "--transfer",
        &format!("{base}/transfer"),
        "--data-dir",
        dir.to_str().unwrap(),
    ];
    let options = <Cli as clap::Parser>::parse_from(args).options;
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { simulate(&options, stop).await }
    });
    let mut sockets = Vec::new();
    for _ in 0..3 {
        for kind in ["recorder", "transfer"] {
            let mut socket = server.socket(kind).await;
            socket.next().await;
            sockets.push(socket);
        }
    }
    let mut paths: Vec<_> = sockets.iter().map(|socket| socket.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths[2], "/recorder/AB-F0001-T0003-000003");
    assert_eq!(paths[5], "/transfer/AB-F0001-T0003-000003");
    stop.cancel();
    let reports = running.await.unwrap().unwrap();
    assert!(reports.iter().all(|report| report.recorder_connections == 1));
}

/// Traces of a real device, one JSON object per line; without them there is nothing to compare.
fn trace(name: &str) -> Option<Vec<(Value, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/axon/traces");
    let Ok(text) = fs::read_to_string(root.join(name)) else {
        eprintln!("skipped: no trace {name} in {}", root.display());
        return None;
    };
    Some(text.lines().map(|line| (serde_json::from_str(line).unwrap(), line.to_owned())).collect())
}

/// Keys and types without values. What stands in a list is described by its first item.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(items) => items.iter().take(1).map(shape).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
    }
}

/// In which order the keys of `value` stand in `text`.
fn key_order(value: &Value, text: &str) -> Vec<String> {
    let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
    keys.sort_by_key(|key| text.rfind(&format!("\"{key}\":")));
    keys
}

/// Says what the server of the trace said, at the (hurried) moments it did, and
/// compares all that the robot says with what the device said.
async fn replay(name: &str, hurry: f64, files: &[(&str, &str)]) {
    let Some(lines) = trace(name) else { return };
    let mut server = Server::start().await;
    fs::create_dir_all(server.data("")).unwrap();
    for (from, to) in files {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/axon/recordings");
        for extension in ["mcap", "json", "mcap.done"] {
            let bytes = fs::read(folder.join(format!("{from}.{extension}"))).unwrap();
            fs::write(server.data(&format!("{to}.{extension}")), bytes).unwrap();
        }
    }
    let mut config = server.config();
    config.pace = hurry;
    let robot = Robot::start(config).unwrap();
    let mut sockets = std::collections::BTreeMap::new();
    let (mut at, mut compared) = (0.0, 0);
    for (line, text) in lines {
        let seconds = line["s"].as_f64().unwrap();
        sleep(Duration::from_secs_f64((seconds - at).max(0.0) / hurry)).await;
        at = seconds;
        let channel = line["ch"].as_str().unwrap().to_owned();
        let told = &line["json"];
        match (channel.as_str(), line["dir"].as_str(), line["kind"].as_str().unwrap()) {
            ("ws-recorder" | "ws-transfer", Some("client->server"), "handshake") => {
                let socket = server.socket(channel.trim_start_matches("ws-")).await;
                assert_eq!(socket.path, line["path"].as_str().unwrap());
                sockets.insert(channel, socket);
            }
            ("ws-recorder" | "ws-transfer", Some("server->client"), "text" | "binary") => {
                let payload = match told {
                    Value::Null => line["text"].as_str().unwrap().to_owned(),
                    told => told.to_string().replace("127.0.0.1:8092", &format!("127.0.0.1:{}", server.port)),
                };
                let opcode = if line["kind"] == "text" { OpCode::Text } else { OpCode::Binary };
                sockets[&channel].say(opcode, payload);
            }
            ("ws-recorder" | "ws-transfer", Some("client->server"), "text") => {
                let said = sockets.get_mut(&channel).unwrap().next().await;
                assert_eq!(shape(&said), shape(told), "{name} at {seconds}: {said}\n{told}");
                for key in ["type", "success", "message"] {
                    assert_eq!(said[key], told[key], "{name} at {seconds}");
                }
                for key in ["task_id", "current", "previous", "state", "status_counts", "waiting_ack_task_ids"] {
                    assert_eq!(said["data"][key], told["data"][key], "{key} in {name} at {seconds}");
                }
                // Whether an upload starts as `pending` or `active` is chance on the device.
                if said["type"] != "upload_started" {
                    assert_eq!(said["data"]["status"], told["data"]["status"], "{name} at {seconds}");
                }
                if !files.is_empty() {
                    for key in ["checksum_sha256", "file_size_bytes", "files"] {
                        assert_eq!(said["data"][key], told["data"][key], "{key} in {name} at {seconds}");
                    }
                }
                compared += 1;
            }
            ("http", Some("client->server"), "request") => {
                let (path, headers, body) = server.callback().await;
                let said: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(path, line["target"].as_str().unwrap());
                assert_eq!(shape(&said), shape(told), "{name} at {seconds}");
                let ours = std::str::from_utf8(&body).unwrap();
                assert_eq!(key_order(&said, ours), key_order(told, &text));
                for header in line["headers"].as_array().unwrap() {
                    let header_name = header[0].as_str().unwrap().to_lowercase();
                    let value = headers.get(&header_name).map(|value| value.to_str().unwrap());
                    if !matches!(header_name.as_str(), "host" | "content-length") {
                        assert_eq!(value, header[1].as_str(), "{header_name}");
                    }
                }
                compared += 1;
            }
            _ => {}
        }
    }
    assert!(compared > 10, "{name}: {compared}");
    robot.stop().await;
}

#[tokio::test]
async fn a_robot_says_what_the_device_said_in_e01() {
    replay("e01_end_to_end.jsonl", 4.0, &[]).await;
}

#[tokio::test]
async fn a_robot_says_what_the_device_said_in_r01() {
    replay("r01_happy.jsonl", 4.0, &[]).await;
}

#[tokio::test]
async fn a_robot_says_what_the_device_said_in_t01() {
    let files = [("multi-topic", "task-happy-0001"), ("empty", "task-empty-0001")];
    replay("t01_happy.jsonl", 4.0, &files).await;
}
