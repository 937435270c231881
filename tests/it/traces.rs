//! What real devices did, done to our server: traces played from the device's side, and the
//! recordings they left, uploaded as they did it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keystone_edge::simulator::factory::DispatchedTask;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::harness::bench::{Bench, Recording, complete, connected, is_ack, is_upload_request, now_iso};
use crate::harness::device::Socket;
use crate::harness::{shared_data, trace_steps, until};

/// The device of every trace; the server gives its first robot another factory and type.
const TRACED_DEVICE: &str = "AB-F0001-T0003-000001";

/// A trace, played by the device's side only.
struct Player<'a> {
    bench: &'a Bench,
    recorder: Socket,
    transfer: Socket,
    http: reqwest::Client,
    /// The trace's task → ours, with the file that stands for its recording.
    tasks: BTreeMap<String, (DispatchedTask, Recording)>,
    /// The trace's request ids → those our server chose.
    requests: BTreeMap<String, String>,
    acked: Vec<String>,
    /// The links of the last configuration, by `start` and `finish`.
    links: BTreeMap<&'static str, String>,
    state: (String, Option<String>),
    /// The person who asked for what the recorder does now.
    asked: Option<tokio::task::JoinHandle<()>>,
    /// The recorder told its state on this connection.
    said_something: bool,
}

impl Player<'_> {
    /// Puts our names where the trace has its own.
    fn ours(&self, message: &Value) -> Value {
        let mut text = message.to_string().replace(TRACED_DEVICE, &self.bench.device);
        for (theirs, ours) in &self.requests {
            text = text.replace(theirs, ours);
        }
        // One name may be the beginning of another.
        for (name, (task, _)) in self.tasks.iter().rev() {
            text = text.replace(name, &task.public_id);
        }
        let mut message: Value = serde_json::from_str(&text).expect("still JSON");
        // Another recording may stand for one that was not kept.
        for (task, recording) in self.tasks.values() {
            if let Some(data) = message.get_mut("data").and_then(Value::as_object_mut)
                && data.get("task_id") == Some(&json!(task.public_id))
            {
                substitute(data, recording);
            }
            let listed = message.pointer_mut("/data/uploads").and_then(Value::as_array_mut);
            for record in listed.into_iter().flatten().filter_map(Value::as_object_mut) {
                if record.get("task_id") == Some(&json!(task.public_id)) {
                    substitute(record, recording);
                }
            }
        }
        message
    }

    async fn play(&mut self, steps: &[Value]) {
        let stored: BTreeSet<u64> = steps
            .iter()
            .filter(|step| step["ch"] == "s3" && step["kind"] == "response" && step["status"] == 200)
            .filter_map(|step| step["req"].as_u64())
            .collect();
        let mut connections = BTreeMap::new();
        for step in steps {
            let frame = &step["json"];
            match (
                step["ch"].as_str().unwrap_or_default(),
                step["dir"].as_str().unwrap_or_default(),
                step["kind"].as_str().unwrap_or_default(),
            ) {
                (socket @ ("ws-recorder" | "ws-transfer"), "client->server", "handshake") => {
                    let connections: &mut u32 = connections.entry(socket).or_default();
                    *connections += 1;
                    // The first ones are there.
                    if *connections > 1 {
                        self.connect_again(socket).await;
                    }
                }
                // Damaged on its way: nothing was kept of it.
                ("ws-recorder" | "ws-transfer", "client->server", "text") if frame.is_null() => {}
                ("ws-recorder", "server->client", "text") => self.server_asks_recorder(frame).await,
                ("ws-recorder", "client->server", "text") => self.recorder_says(frame).await,
                ("ws-transfer", "server->client", "text" | "binary") => self.server_asks_transfer(frame).await,
                ("ws-transfer", "client->server", "text") => {
                    let mut message = self.ours(frame);
                    message["timestamp"] = json!(now_iso());
                    self.transfer.send(&message).await;
                }
                ("http", "client->server", "request") => self.post(step).await,
                ("s3", "client->server", "request")
                    if step["method"] == "PUT" && step["req"].as_u64().is_some_and(|req| stored.contains(&req)) =>
                {
                    self.put(step["target"].as_str().unwrap_or_default()).await
                }
                _ => {}
            }
        }
    }

    /// As after a restart of the program, or a loss of the network.
    async fn connect_again(&mut self, socket: &str) {
        // Who asked for something does not hear of it any more.
        self.asked.take().inspect(|asked| asked.abort());
        self.said_something = socket != "ws-recorder" && self.said_something;
        match socket {
            "ws-recorder" => {
                self.recorder = Socket::connect(&self.bench.server.address(1), &format!("/recorder/{}", self.bench.device)).await;
            }
            _ => self.transfer = Socket::connect(&self.bench.server.address(2), &format!("/transfer/{}", self.bench.device)).await,
        }
    }

    /// A command of the trace's server is a person's at ours; our server's request must have its shape.
    async fn server_asks_recorder(&mut self, frame: &Value) {
        let action = frame["action"].as_str().unwrap_or_default();
        if !matches!(action, "config" | "begin" | "pause" | "resume" | "finish" | "cancel" | "clear" | "quit") {
            return;
        }
        let params = &frame["params"];
        let name = params["task_id"].as_str().or(params["task_config"]["task_id"].as_str()).map(str::to_owned);
        let body = match (action, name.as_ref().map(|name| &self.tasks[name].0)) {
            ("config", Some(task)) => {
                json!({ "task_config": self.bench.client.get(&format!("/tasks/{}/config", task.id)).await.expect("a config") })
            }
            (_, Some(task)) => json!({ "task_id": task.public_id }),
            (_, None) => json!({}),
        };
        if !self.said_something {
            // People wait until it is known what the recorder does.
            let question = self.recorder.wait_for("the first question", |frame| frame["action"] == "get_state").await;
            self.answer_get_state(&question).await;
            self.said_something = true;
        }
        let (client, path) = (self.bench.client.clone(), format!("/recorder/{}", self.bench.device));
        until("the recorder's state to be known", async || {
            client.get(&format!("{path}/state")).await.expect("a state")["state_synced"] == true
        })
        .await;
        let path = format!("{path}/{action}");
        let wanted = action.to_owned();
        self.asked = Some(tokio::spawn(async move {
            let reply = client.call(Method::POST, &path, Some(&body)).await.expect("an answer");
            assert!(reply.status.is_success() && reply.body["success"] == true, "{path} was answered with {} {}", reply.status, reply.body);
        }));
        let request = loop {
            let request = self.recorder.wait_for(&wanted, |frame| frame["type"] == "rpc_request").await;
            if request["action"] == json!(wanted) {
                break request;
            }
            assert_eq!(request["action"], "get_state", "nothing else was asked for");
            self.answer_get_state(&request).await;
        };
        for key in frame.as_object().expect("a request").keys() {
            assert!(request.get(key).is_some(), "our `{wanted}` has no `{key}`: {request}");
        }
        if wanted == "config" {
            let config = request["params"]["task_config"].as_object().expect("a task_config");
            assert!(config.values().all(|value| !value.is_null()), "devices refuse null: {request}");
            assert!(config["skills"].is_array() && config["topics"].is_array());
            for (which, key) in [("start", "start_callback_url"), ("finish", "finish_callback_url")] {
                self.links.insert(which, config[key].as_str().expect("a link").to_owned());
            }
        }
        self.requests.insert(
            frame["request_id"].as_str().unwrap_or_default().to_owned(),
            request["request_id"].as_str().expect("a request_id").to_owned(),
        );
    }

    async fn answer_get_state(&mut self, request: &Value) {
        let mut data = json!({ "version": "0.4.0", "state": self.state.0, "running": false, "duration_sec": 0.0, "message_count": 0, "bytes_written": 0 });
        if self.state.0 != "idle" {
            data["task_config"] = json!({ "task_id": self.state.1, "device_id": self.bench.device, "topics": [] });
        }
        let answer = json!({ "type": "rpc_response", "request_id": request["request_id"], "success": true, "message": "State retrieved successfully", "data": data });
        self.recorder.send(&answer).await;
    }

    async fn recorder_says(&mut self, frame: &Value) {
        let request = frame["request_id"].as_str();
        if request.is_some_and(|id| !self.requests.contains_key(id)) {
            // The answer to a question that our server does not ask.
            return;
        }
        let mut message = self.ours(frame);
        if message.get("timestamp").is_some() {
            message["timestamp"] = json!(chrono::Utc::now().timestamp_millis());
        }
        if message["type"] == "state_update" {
            let data = &message["data"];
            self.state = (data["current"].as_str().unwrap_or_default().to_owned(), data["task_id"].as_str().map(str::to_owned));
        }
        self.recorder.send(&message).await;
        self.said_something |= message["type"] == "state_update";
        if let Some(asked) = self.asked.take_if(|_| request.is_some()) {
            asked.await.expect("the person is told");
        }
        if let Some(task) = self.task_in(&message["data"])
            && request.is_some()
        {
            // What the answer means shows in the task.
            match message["data"]["state"].as_str() {
                Some("ready") => self.bench.until_status(&task, "ready").await,
                Some("recording") => self.bench.until_status(&task, "in_progress").await,
                Some("idle") => self.bench.until_status(&task, "uploading").await,
                _ => {}
            }
        }
    }

    fn task_in(&self, data: &Value) -> Option<DispatchedTask> {
        let id = data["task_id"].as_str()?;
        self.tasks.values().map(|(task, _)| task).find(|task| task.public_id == id).cloned()
    }

    async fn server_asks_transfer(&mut self, frame: &Value) {
        let name = frame["task_id"].as_str().unwrap_or_default().to_owned();
        let known = self.tasks.get(&name).map(|(task, _)| task.clone());
        match (frame["type"].as_str().unwrap_or_default(), known) {
            ("upload_ack", Some(task)) if !self.acked.contains(&name) => {
                if !self.transfer.heard.iter().any(|frame| is_ack(frame, &task.public_id)) {
                    self.transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
                }
                assert_eq!(self.bench.status(&task).await, "completed", "acked before it was durable");
                self.acked.push(name);
            }
            ("upload_request", Some(task)) => {
                let heard = |frame: &Value| is_upload_request(frame, &task.public_id);
                // Ours asks by itself when a recording is finished, and not for one that waits for its ack; else
                // somebody asks by hand.
                let by_itself = self.bench.status(&task).await == "uploading" && !self.transfer.drain().iter().any(heard);
                let mut request = None;
                if by_itself {
                    let wait = self.transfer.wait_for("the upload request", heard);
                    request = tokio::time::timeout(Duration::from_secs(2), wait).await.ok();
                }
                let request = match request {
                    Some(request) => request,
                    None => {
                        let path = format!("/transfer/{}/upload_request", self.bench.device);
                        let body = json!({ "task_id": task.public_id, "priority": 1 });
                        let sent = self.bench.client.call(Method::POST, &path, Some(&body)).await.expect("an answer");
                        assert_eq!((sent.status.as_u16(), &sent.body["status"]), (200, &json!("sent")));
                        self.transfer.wait_for("the upload request", heard).await
                    }
                };
                assert!(request["priority"].is_number(), "{request}");
            }
            ("status_query", _) => {
                let path = format!("/transfer/{}/status_query", self.bench.device);
                // A socket that has just been opened is heard of a moment later.
                until("the uploader is connected", async || {
                    let sent = self.bench.client.call(Method::POST, &path, None).await.expect("an answer");
                    assert!(matches!(sent.status.as_u16(), 200 | 404), "{}", sent.status);
                    sent.status.as_u16() == 200
                })
                .await;
                // Where our server asked by itself already, it asks once.
                if !self.transfer.drain().iter().any(|frame| frame["type"] == "status_query") {
                    self.transfer.wait_for("the status query", |frame| frame["type"] == "status_query").await;
                }
            }
            _ => {}
        }
    }

    async fn post(&mut self, step: &Value) {
        // As recorders do it: to exactly the link that they were given.
        let target = step["target"].as_str().unwrap_or_default();
        let url = self.links.iter().find(|(which, _)| target.contains(*which)).expect("a configuration before the callback").1.clone();
        let body = self.ours(&step["json"]);
        let answer = self.http.post(url).header("user-agent", "axon-recorder/1.0").json(&body).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "{body}");
    }

    async fn put(&mut self, target: &str) {
        for (name, (task, recording)) in &self.tasks {
            if target.ends_with(&format!("/{name}.mcap")) {
                self.bench.upload(&self.bench.key(task), recording).await;
            }
        }
    }
}

fn substitute(data: &mut Map<String, Value>, recording: &Recording) {
    let facts = [
        ("checksum_sha256", json!(recording.sha256)),
        ("file_size_bytes", json!(recording.mcap.len())),
        ("total_bytes", json!(recording.mcap.len())),
    ];
    for (key, value) in facts {
        if let Some(place) = data.get_mut(key) {
            *place = value;
        }
    }
}

/// Plays a trace with these recordings for its tasks, and answers the state it ended in.
async fn play(trace: &str, recordings: &[(&str, &str)]) -> Option<Vec<(String, DispatchedTask, Recording, String, bool)>> {
    let (shared, steps) = (shared_data()?, trace_steps(trace)?);
    let bench = Bench::start().await;
    let dispatched = bench.dispatch(recordings.len()).await;
    let tasks = recordings
        .iter()
        .zip(dispatched)
        .map(|((name, file), task)| ((*name).to_owned(), (task, Recording::read(&shared.join("axon/recordings"), file))))
        .collect();
    let (recorder, transfer) = bench.sockets().await;
    if !steps.iter().any(|step| step["ch"] == "ws-transfer") {
        transfer.send(&connected(&bench.device, &json!([]), &json!([]))).await;
    }
    if !steps.iter().any(|step| step["ch"] == "ws-recorder") {
        let greeting = json!({ "type": "state_update", "timestamp": chrono::Utc::now().timestamp_millis(), "data": { "previous": "idle", "current": "idle" } });
        recorder.send(&greeting).await;
    }
    let mut player = Player {
        bench: &bench,
        recorder,
        transfer,
        http: reqwest::Client::new(),
        tasks,
        requests: BTreeMap::new(),
        acked: vec![],
        links: BTreeMap::new(),
        state: ("idle".to_owned(), None),
        asked: None,
        said_something: false,
    };
    player.play(&steps).await;
    let mut ended = vec![];
    let (tasks, acked) = (player.tasks, player.acked);
    // The last of it is on its way into storage.
    let mut before = vec![];
    loop {
        let mut now = vec![];
        for (task, _) in tasks.values() {
            now.push(bench.status(task).await);
        }
        if std::mem::replace(&mut before, now.clone()) == now {
            break;
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    for (name, (task, recording)) in tasks {
        let status = bench.status(&task).await;
        if status == "completed" {
            bench.expect_episode(&task, &recording).await;
        }
        let was_acked = acked.contains(&name);
        ended.push((name, task, recording, status, was_acked));
    }
    Some(ended)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e01_two_tasks_from_config_to_ack() {
    let recordings = [("e2e-0001", "mock-only-few-fields"), ("e2e-0002", "minimal-task-config")];
    let Some(ended) = play("e01_end_to_end", &recordings).await else { return };
    for (name, _, _, status, acked) in ended {
        assert_eq!((status.as_str(), acked), ("completed", true), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r01_two_recordings_with_a_pause_end_uploading() {
    let recordings = [("task-happy-0001", "multi-topic"), ("task-happy-0002", "minimal-task-config")];
    let Some(ended) = play("r01_happy", &recordings).await else { return };
    for (name, _, _, status, acked) in ended {
        assert_eq!((status.as_str(), acked), ("uploading", false), "{name}: nothing was uploaded in this trace");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_a_recording_without_a_message_and_one_without_callbacks_end_uploading() {
    let recordings = [("task-empty-0001", "empty"), ("task-minimal", "minimal-task-config")];
    let Some(ended) = play("r02_empty", &recordings).await else { return };
    for (name, _, _, status, acked) in ended {
        assert_eq!((status.as_str(), acked), ("uploading", false), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r08_a_recording_that_ended_while_nobody_heard_it_is_uploaded_and_the_next_one_runs() {
    let recordings = [("t-off2", "minimal-task-config"), ("t-off", "multi-topic")];
    let Some(ended) = play("r08_offline_recording", &recordings).await else { return };
    let status: BTreeMap<&str, &str> = ended.iter().map(|(name, _, _, status, _)| (name.as_str(), status.as_str())).collect();
    assert_eq!((status["t-off"], status["t-off2"]), ("uploading", "in_progress"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t04_recordings_that_wait_for_acks_over_restarts_are_acked() {
    let recordings = [("task-0", "multi-topic"), ("task-1", "empty"), ("task-2", "minimal-task-config")];
    let Some(ended) = play("t04_missing_ack_restart", &recordings).await else { return };
    for (name, _, _, status, _) in ended {
        assert_eq!(status, "completed", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t06_uploads_that_fail_for_good_fail_and_the_others_are_acked() {
    let names = ["t403", "t500once", "t503", "tdrop", "tjson500", "thead403", "tnobucket"];
    let Some(ended) = play("t06_s3_errors", &names.map(|name| (name, "minimal-task-config"))).await else { return };
    for (name, task, _, status, _) in ended {
        let wanted = if name == "tjson500" { "completed" } else { "failed" };
        assert_eq!(status, wanted, "{name}, {}", task.public_id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t13_an_upload_that_a_crash_interrupted_is_acked_after_the_restart() {
    let Some(ended) = play("t13_crash_recovery", &[("task-0", "multi-topic")]).await else { return };
    let (_, _, _, status, acked) = &ended[0];
    assert_eq!((status.as_str(), *acked), ("completed", true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t01_two_uploads_are_verified_and_acked() {
    let recordings = [("task-happy-0001", "multi-topic"), ("task-empty-0001", "empty")];
    let Some(ended) = play("t01_happy", &recordings).await else { return };
    for (name, _, _, status, acked) in ended {
        assert_eq!((status.as_str(), acked), ("completed", true), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sound_recording_becomes_an_episode_of_exactly_its_bytes() {
    let Some(shared) = shared_data() else { return };
    let folder = shared.join("axon/recordings");
    let names =
        ["multi-topic", "mock-only-few-fields", "minimal-task-config", "empty", "unicode-fields", "with-attachments", "no-sidecar", "big"];
    let bench = Bench::start().await;
    let tasks = bench.dispatch(names.len()).await;
    let (_recorder, mut transfer) = bench.sockets().await;
    transfer.send(&connected(&bench.device, &json!([]), &json!([]))).await;
    for (name, task) in names.iter().zip(&tasks) {
        let recording = Recording::read(&folder, name);
        let key = bench.key(task);
        bench.upload(&key, &recording).await;
        transfer.send(&complete(&task.public_id, &key, &recording)).await;
        transfer.wait_for(&format!("the ack of {name}"), |frame| is_ack(frame, &task.public_id)).await;
        assert_eq!(bench.status(task).await, "completed", "{name} was acked before it was durable");
        bench.expect_episode(task, &recording).await;
    }
    // The ack was lost; the device says the same again, and is acked again. Nothing else happens.
    let (task, recording) = (&tasks[0], Recording::read(&folder, names[0]));
    let again = complete(&task.public_id, &bench.key(task), &recording);
    drop(transfer);
    let mut transfer = Socket::connect(&bench.server.address(2), &format!("/transfer/{}", bench.device)).await;
    transfer.send(&again).await;
    transfer.wait_for("another ack", |frame| is_ack(frame, &task.public_id)).await;
    // The same from the list of a new connection.
    let record = json!([{ "task_id": task.public_id, "status": "uploaded_wait_ack", "upload_mode": "mcap_json", "s3_key": bench.key(task),
        "object_key": bench.key(task), "file_size_bytes": recording.mcap.len(), "checksum_sha256": recording.sha256, "retry_count": 0, "last_error": "" }]);
    drop(transfer);
    let mut transfer = Socket::connect(&bench.server.address(2), &format!("/transfer/{}", bench.device)).await;
    transfer.send(&connected(&bench.device, &record, &json!([task.public_id]))).await;
    transfer.wait_for("an ack from the list", |frame| is_ack(frame, &task.public_id)).await;
    assert_eq!(bench.events_of(task, "upload_verified").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_what_the_device_said_gets_no_ack() {
    let Some(shared) = shared_data() else { return };
    let folder = shared.join("axon/recordings");
    let sound = Recording::read(&folder, "multi-topic");
    let sidecar = sound.sidecar.clone();
    let truncated = std::fs::read(folder.join("truncated-by-sigkill.mcap")).expect("a recording");
    let mut flipped = sound.mcap.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let mut broken_end = sound.mcap.clone();
    let footer = broken_end.len() - 20;
    broken_end[footer] ^= 1;

    let bench = Bench::start().await;
    let tasks = bench.dispatch(6).await;
    let (_recorder, mut transfer) = bench.sockets().await;
    transfer.send(&connected(&bench.device, &json!([]), &json!([]))).await;

    // What lies in the bucket, what the device says of it, and why that is not enough.
    let claimed = |mcap: &[u8]| Recording { mcap: mcap.to_vec(), sidecar: sidecar.clone(), sha256: sound.sha256.clone() };
    let honest = |mcap: Vec<u8>| Recording::of(mcap, sidecar.clone());
    let cases: [(Option<Recording>, Recording, &str); 6] = [
        (Some(honest(truncated.clone())), honest(truncated), "unsound"),
        (Some(claimed(&flipped)), claimed(&flipped), "content_differs"),
        (Some(honest(broken_end.clone())), honest(broken_end), "unsound"),
        (Some(honest(sound.mcap[..1000].to_vec())), claimed(&sound.mcap), "size_differs"),
        (None, claimed(&sound.mcap), "object_missing"),
        (Some(Recording { sidecar: None, ..claimed(&sound.mcap) }), claimed(&sound.mcap), "object_missing"),
    ];
    for ((lies_there, said, why), task) in cases.into_iter().zip(&tasks) {
        let key = bench.key(task);
        if let Some(recording) = &lies_there {
            bench.upload(&key, recording).await;
        }
        transfer.send(&complete(&task.public_id, &key, &said)).await;
        until(&format!("a verdict on {}", task.public_id), async || !bench.events_of(task, "upload_rejected").await.is_empty()).await;
        let rejected = bench.events_of(task, "upload_rejected").await.remove(0);
        assert!(rejected["rejection"].get(why).is_some(), "{why}: {rejected}");
        assert_eq!(bench.status(task).await, "uploading", "{why}");
    }
    // Names of other tasks and devices, and ways out of the bucket, are not even looked at.
    let (mine, other) = (&tasks[0], &tasks[1]);
    for key in [
        bench.key(other),
        bench.key(mine).replace(&bench.device, "AB-F0009-T0009-000009"),
        format!("../{}", bench.key(mine)),
        String::new(),
    ] {
        transfer.send(&complete(&mine.public_id, &key, &sound)).await;
    }
    let refused = "select count(*) from events where event_type = 'device_report_refused' and payload::text like '%object key%'";
    let pool = bench.server.database().await;
    until("the refusals", async || {
        pool.get().await.expect("a connection").query_one(refused, &[]).await.expect("a count").get::<_, i64>(0) >= 3
    })
    .await;

    // Everything that was to be delivered has been: had there been an ack, it would be here.
    let waiting = "select count(*) from outbox";
    until("quiet", async || pool.get().await.expect("a connection").query_one(waiting, &[]).await.expect("a count").get::<_, i64>(0) == 0)
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let acks: Vec<_> = transfer.drain().iter().filter(|frame| frame["type"] == "upload_ack").collect();
    assert!(acks.is_empty(), "acked what is not safe: {acks:?}");
    let episodes = pool.get().await.expect("a connection").query_one("select count(*) from episodes", &[]).await.expect("a count");
    assert_eq!(episodes.get::<_, i64>(0), 0);

    // The device uploads the right bytes after all, says the same again, and is acked.
    let task = &tasks[1];
    bench.upload(&bench.key(task), &sound).await;
    // On a new connection: on one and the same, a repeated report is looked at again only after a while.
    drop(transfer);
    let mut transfer = Socket::connect(&bench.server.address(2), &format!("/transfer/{}", bench.device)).await;
    transfer.send(&complete(&task.public_id, &bench.key(task), &sound)).await;
    transfer.wait_for("the ack of what was mended", |frame| is_ack(frame, &task.public_id)).await;
    bench.expect_episode(task, &sound).await;
}
