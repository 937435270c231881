//! Ways out: what a person or the server can still do where a device, a file or a process is gone for good.

use std::time::{Duration, Instant};

use keystone_edge::commands::callbacks::{FinishCallback, Proof};
use keystone_edge::commands::devices::OpenLink;
use keystone_edge::domain::device::LinkKind;
use keystone_edge::domain::report::Report;
use keystone_edge::domain::task::FinishReport;
use keystone_edge::domain::{DeviceId, PublicTaskId};
use keystone_edge::simulator::factory::{self, DispatchedTask};
use reqwest::Method;
use serde_json::{Value, json};

use crate::factory::recorder_tells;
use crate::harness::bench::{Bench, complete, is_ack, is_upload_request, now_iso, record, recording, rpc_response, transfer_of};
use crate::harness::device::Socket;
use crate::harness::edge::{Seed, TestEdge, number};
use crate::harness::until;

fn state(previous: &str, current: &str, task: Option<&DispatchedTask>) -> Value {
    let mut data = json!({ "previous": previous, "current": current });
    if let Some(task) = task {
        data["task_id"] = json!(task.public_id);
    }
    json!({ "type": "state_update", "timestamp": chrono::Utc::now().timestamp_millis(), "data": data })
}

fn answer(request: &Value, state: &str) -> Value {
    rpc_response(request, json!({ "state": state }))
}

/// Tasks of another order.
async fn dispatch_of(bench: &Bench, order: &str, count: usize) -> Vec<DispatchedTask> {
    let order = factory::place_order(&bench.client, &bench.made, order, count).await.expect("an order");
    factory::dispatch(&bench.client, &bench.made, order, &bench.made.stations[0], count).await.expect("a batch")
}

async fn recorder_of(bench: &Bench) -> Socket {
    Socket::connect(&bench.server.address(1), &format!("/recorder/{}", bench.device)).await
}

/// A recorder that is connected and recording this task.
async fn recording_of(bench: &Bench, task: &DispatchedTask) -> Socket {
    let mut recorder = recorder_of(bench).await;
    recorder.send(&state("recording", "recording", Some(task))).await;
    let question = recorder.wait_for("the first question", |frame| frame["action"] == "get_state").await;
    let told = json!({ "state": "recording", "task_config": { "task_id": task.public_id } });
    recorder.send(&rpc_response(&question, told)).await;
    bench.until_status(task, "in_progress").await;
    recorder
}

async fn count(bench: &Bench, sql: &str) -> i64 {
    bench.server.database().await.get().await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

/// Asks something of the recorder, from another task.
fn asking(bench: &Bench, action: &str, body: Value) -> tokio::task::JoinHandle<(u16, Value)> {
    let (client, path) = (bench.client.clone(), format!("/recorder/{}/{action}", bench.device));
    tokio::spawn(async move {
        let reply = client.call(Method::POST, &path, Some(&body)).await.expect("an answer");
        (reply.status.as_u16(), reply.body)
    })
}

async fn fail(bench: &Bench, task: &DispatchedTask, reason: &str) -> (u16, Value) {
    let path = format!("/tasks/{}/fail", task.id);
    let reply = bench.client.call(Method::POST, &path, Some(&json!({ "reason": reason }))).await.expect("an answer");
    (reply.status.as_u16(), reply.body)
}

// A task whose file never comes or never fits.

const DEVICE: &str = "AB-F0001-T0001-000001";

async fn batch_of(edge: &TestEdge, seed: &Seed, tasks: i64) -> (Value, Vec<(i64, PublicTaskId)>) {
    let made = edge.create("/api/v1/batches", seed.batch(tasks)).await;
    let task = |task: &Value| (number(&task["id"]), PublicTaskId::parse(task["task_id"].as_str().unwrap()).unwrap());
    (made["batch"]["id"].clone(), made["tasks"].as_array().unwrap().iter().map(task).collect())
}

#[tokio::test]
async fn a_person_ends_a_task_in_any_state_in_which_it_waits() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let device = DeviceId::parse(DEVICE).unwrap();
    let (batch, tasks) = batch_of(&edge, &seed, 3).await;
    let open = OpenLink { device: device.clone(), kind: LinkKind::Recorder, remote: "10.0.0.1:1".into(), process: None };
    let epoch = edge.execute(open).await;
    for (_, task) in &tasks[1..] {
        edge.execute(recorder_tells(&device, epoch, Report::ConfigApplied { task: task.clone() })).await;
    }
    let (task_id, proof) = (tasks[2].1.clone(), Proof::NotAsked);
    edge.execute(FinishCallback { task_id, device_id: device.clone(), report: FinishReport::default(), proof }).await;

    let path = |id: i64| format!("/api/v1/tasks/{id}/fail");
    let reason = json!({ "reason": "the robot fell into the harbour" });
    // Who may, and what has to be said.
    let collector = edge.log_in("li", "li's password").await.1["access_token"].as_str().unwrap().to_owned();
    assert_eq!(edge.send_as("", "POST", &path(tasks[0].0), reason.clone()).await.0, 401);
    assert_eq!(edge.send_as(&collector, "POST", &path(tasks[0].0), reason.clone()).await.0, 403);
    for body in [json!({}), json!({ "reason": " " }), json!({ "reason": "x".repeat(1_001) }), json!({ "reason": 1 }), json!([])] {
        assert_eq!(edge.post(&path(tasks[0].0), body.clone()).await.0, 400, "{body}");
    }
    assert_eq!(edge.post(&path(999), reason.clone()).await.0, 404);

    // Pending, ready and uploading.
    for (id, _) in &tasks {
        let keyed = async || {
            let request = edge.request(&edge.admin, "POST", &path(*id)).header("idempotency-key", format!("fail-{id}")).json(&reason);
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.json::<Value>().await.unwrap())
        };
        let (status, failed) = keyed().await;
        assert_eq!((status, &failed["status"]), (200, &json!("failed")), "{failed}");
        assert_eq!(failed["error_message"], reason["reason"], "{failed}");
        assert!(failed["completed_at"].is_string() && failed["ended_at"].is_string(), "{failed}");
        assert_eq!(keyed().await, (200, failed), "the same request again");
        let (status, again) = edge.post(&path(*id), reason.clone()).await;
        assert_eq!((status, &again["code"], &again["current_status"]), (409, &json!("task_ended"), &json!("failed")), "{again}");
    }
    // Batch and order follow, and the place in the order is free once the task is deleted.
    let (_, ended) = edge.get(&format!("/api/v1/batches/{}", number(&batch))).await;
    assert_eq!((&ended["status"], &ended["failed_count"]), (&json!("completed"), &json!(3)), "{ended}");
    let order = format!("/api/v1/orders/{}", number(&seed.order));
    assert_eq!(edge.get(&order).await.1["failed_count"], 3);
    assert_eq!(edge.send_as(&edge.admin, "DELETE", &format!("/api/v1/tasks/{}", tasks[0].0), Value::Null).await.0, 204);
    assert_eq!(edge.get(&order).await.1["task_count"], 2);
    let who = "select metadata ->> 'actor', payload::text from events where event_type = 'task_failed_by_person' order by seq";
    let client = edge.database.pool.get().await.unwrap();
    let rows = client.query(who, &[]).await.unwrap();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row.get::<_, &str>(0) == "user:admin" && row.get::<_, &str>(1).contains("harbour")));
}

#[tokio::test]
async fn a_task_whose_upload_was_rejected_is_ended_and_its_recording_still_kept_when_it_comes() {
    let bench = Bench::start().await;
    let tasks = bench.dispatch(2).await;
    let (bad, good) = (recording(5, true), recording(6, true));
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let key = bench.key(&tasks[0]);
    bench.upload(&key, &bad).await;
    transfer.send(&complete(&tasks[0].public_id, &key, &good)).await;
    until("the rejection", async || !bench.events_of(&tasks[0], "upload_rejected").await.is_empty()).await;
    let (status, failed) = fail(&bench, &tasks[0], "the file on the robot is damaged").await;
    assert_eq!((status, &failed["status"]), (200, &json!("failed")), "{failed}");

    // In the moment of its verification.
    let key = bench.key(&tasks[1]);
    transfer.send(&complete(&tasks[1].public_id, &key, &good)).await;
    bench.until_status(&tasks[1], "uploading").await;
    assert_eq!(fail(&bench, &tasks[1], "nobody comes").await.0, 200);

    for task in &tasks {
        let key = bench.key(task);
        bench.upload(&key, &good).await;
        drop(transfer);
        // The robot waits for its ack for as long as it takes.
        let waiting = json!([record(&bench, task, &good, "uploaded_wait_ack")]);
        transfer = transfer_of(&bench, waiting, json!([task.public_id])).await;
        transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
        assert_eq!(bench.status(task).await, "failed", "what has ended has ended");
        bench.expect_episode(task, &good).await;
    }
    let late = "select count(*) from episodes where labels = '{late_upload}'";
    assert_eq!(count(&bench, late).await, 2);
}

#[tokio::test]
async fn a_recorder_that_holds_a_task_that_was_ended_is_told_to_let_go() {
    let bench = Bench::start().await;
    let tasks = bench.dispatch(2).await;
    let mut recorder = recording_of(&bench, &tasks[0]).await;
    assert_eq!(fail(&bench, &tasks[0], "the gripper is broken").await.0, 200);
    let told = recorder.wait_for("to let go", |frame| frame["action"] == "cancel").await;
    recorder.send(&state("recording", "idle", Some(&tasks[0]))).await;
    recorder.send(&answer(&told, "idle")).await;
    // While its configuration is on the way to the recorder.
    let _transfer = transfer_of(&bench, json!([]), json!([])).await;
    until("the uploader", async || {
        bench.client.get(&format!("/devices/{}/connection", bench.device)).await.unwrap()["connected"] == json!(true)
    })
    .await;
    let config = bench.client.get(&format!("/tasks/{}/config", tasks[1].id)).await.unwrap();
    let asked = asking(&bench, "config", json!({ "task_config": config }));
    let request = recorder.wait_for("the configuration", |frame| frame["action"] == "config").await;
    assert_eq!(fail(&bench, &tasks[1], "wrong scene").await.0, 200);
    recorder.send(&state("idle", "ready", Some(&tasks[1]))).await;
    recorder.send(&answer(&request, "ready")).await;
    recorder.wait_for("to let go of it", |frame| frame["action"] == "clear").await;
    asked.abort();
}

#[tokio::test]
async fn a_robot_that_is_retired_gives_up_what_it_holds() {
    let bench = Bench::start().await;
    let tasks = bench.dispatch(2).await;
    let others = dispatch_of(&bench, "Another", 1).await;
    let mut recorder = recording_of(&bench, &tasks[0]).await;
    let robots = bench.client.get(&format!("/robots?device_id={}", bench.device)).await.unwrap();
    let robot = robots["items"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/robots/{robot}/retire");
    let refused = bench.client.call(Method::POST, &path, Some(&json!({}))).await.unwrap();
    assert_eq!(refused.status.as_u16(), 400, "{}", refused.body);
    let reason = json!({ "reason": "scrapped" });
    for _ in 0..2 {
        let retired = bench.client.call(Method::POST, &path, Some(&reason)).await.unwrap();
        assert_eq!((retired.status.as_u16(), &retired.body["status"]), (200, &json!("retired")), "{}", retired.body);
        for task in tasks.iter().chain(&others) {
            let found = bench.client.get(&format!("/tasks/{}", task.id)).await.unwrap();
            assert_eq!(found["status"], json!("failed"), "{found}");
            assert!(found["error_message"].as_str().unwrap().contains("scrapped"), "{found}");
        }
    }
    recorder.wait_for("to let go", |frame| frame["action"] == "cancel").await;
    for sql in [
        "select count(*) from batches where status in ('pending', 'active')",
        "select count(*) from stations where is_current",
        "select count(*) - 1 from events where event_type = 'robot_retired'",
        "select count(*) - 1 from events where event_type = 'station_unbound'",
    ] {
        assert_eq!(count(&bench, sql).await, 0, "{sql}");
    }
    // It takes no more work, and what it still has is not lost.
    let station = json!({ "robot_id": robot, "data_collector_id": "1" });
    assert_eq!(bench.client.call(Method::POST, "/stations", Some(&station)).await.unwrap().status.as_u16(), 400);
    let recording = recording(5, true);
    bench.upload(&bench.key(&tasks[0]), &recording).await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    transfer.send(&complete(&tasks[0].public_id, &bench.key(&tasks[0]), &recording)).await;
    transfer.wait_for("the ack", |frame| is_ack(frame, &tasks[0].public_id)).await;
    bench.expect_episode(&tasks[0], &recording).await;
}

// What is asked of a recorder without naming a task.

#[tokio::test]
async fn what_is_asked_without_naming_a_task_means_the_one_that_the_recorder_holds() {
    let bench = Bench::start().await;
    let tasks = bench.dispatch(2).await;
    let mut recorder = recording_of(&bench, &tasks[0]).await;
    for (action, before, after) in [("pause", "recording", "paused"), ("resume", "paused", "recording")] {
        let asked = asking(&bench, action, json!({}));
        let request = recorder.wait_for(action, |frame| frame["action"] == action).await;
        recorder.send(&state(before, after, Some(&tasks[0]))).await;
        recorder.send(&answer(&request, after)).await;
        assert_eq!(asked.await.unwrap().0, 200);
    }
    // The recorder deletes the file; the task can be recorded again.
    let asked = asking(&bench, "cancel", json!({}));
    let request = recorder.wait_for("to cancel", |frame| frame["action"] == "cancel").await;
    recorder.send(&state("recording", "idle", Some(&tasks[0]))).await;
    recorder.send(&answer(&request, "idle")).await;
    assert_eq!(asked.await.unwrap().0, 200);
    bench.until_status(&tasks[0], "pending").await;
    recorder.send(&state("idle", "ready", Some(&tasks[1]))).await;
    bench.until_status(&tasks[1], "ready").await;
    let asked = asking(&bench, "clear", json!({}));
    let request = recorder.wait_for("to clear", |frame| frame["action"] == "clear").await;
    recorder.send(&state("ready", "idle", None)).await;
    recorder.send(&answer(&request, "idle")).await;
    assert_eq!(asked.await.unwrap().0, 200);
    bench.until_status(&tasks[1], "pending").await;
    // Every one of them says in the log what it was about.
    let unnamed = "select count(*) from events where event_type = 'device_command_requested'
                   and payload -> 'device_command_requested' ->> 'task_id' is null";
    assert_eq!(count(&bench, unnamed).await, 0);
    let finish = asking(&bench, "finish", json!({}));
    let request = recorder.wait_for("to finish", |frame| frame["action"] == "finish").await;
    assert!(request["params"].is_null(), "an idle recorder holds nothing: {request}");
    finish.abort();
}

#[tokio::test]
async fn what_destroys_a_recording_waits_until_the_recorder_has_told_which_task_it_has() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    drop(recording_of(&bench, &task).await);
    // It comes back recording, and says nothing yet.
    let mut recorder = recorder_of(&bench).await;
    let question = recorder.wait_for("the first question", |frame| frame["action"] == "get_state").await;
    for action in ["cancel", "clear"] {
        let (status, refused) = asking(&bench, action, json!({})).await.unwrap();
        assert_eq!((status, &refused["code"]), (409, &json!("recorder_state_syncing")), "{refused}");
        assert_eq!((&refused["connected"], &refused["state_synced"]), (&json!(true), &json!(false)), "{refused}");
    }
    let told = json!({ "state": "recording", "task_config": { "task_id": task.public_id } });
    recorder.send(&rpc_response(&question, told)).await;
    let path = format!("/recorder/{}/state", bench.device);
    until("the state to be known", async || bench.client.get(&path).await.unwrap()["state_synced"] == json!(true)).await;
    assert!(!recorder.drain().iter().any(|frame| frame["action"] == "cancel" || frame["action"] == "clear"));
    assert_eq!(bench.status(&task).await, "in_progress");
    let asked = asking(&bench, "cancel", json!({}));
    let request = recorder.wait_for("to cancel", |frame| frame["action"] == "cancel").await;
    assert_eq!(request["params"]["task_id"], json!(task.public_id));
    recorder.send(&state("recording", "idle", Some(&task))).await;
    recorder.send(&answer(&request, "idle")).await;
    assert_eq!(asked.await.unwrap().0, 200);
    bench.until_status(&task, "pending").await;
}

/// Somebody configured it by hand, with an id that is none of ours: a person can still clear it.
#[tokio::test]
async fn a_recorder_that_is_busy_with_a_task_of_nobodys_can_be_cleared() {
    let bench = Bench::start().await;
    let foreign = |current: &str| {
        let now = chrono::Utc::now().timestamp_millis();
        json!({ "type": "state_update", "timestamp": now, "data": { "previous": current, "current": current, "task_id": "local test 1" } })
    };
    let heard = async || {
        let measures = reqwest::get(format!("{}/metrics", bench.server.base())).await.unwrap().text().await.unwrap();
        let line = measures.lines().find(|line| line.contains("cause=\"state_without_task\""));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<i64>().ok()).unwrap_or(0)
    };
    // So it greets, or so it becomes while we look.
    for greeting in [None, Some(state("idle", "idle", None))] {
        let before = heard().await;
        let mut recorder = recorder_of(&bench).await;
        if let Some(greeting) = greeting {
            recorder.send(&greeting).await;
        }
        recorder.send(&foreign("ready")).await;
        until("it to be heard", async || heard().await > before).await;
        for action in ["clear", "cancel"] {
            let asked = asking(&bench, action, json!({}));
            let request = loop {
                let request = recorder.wait_for("a request", |frame| frame["type"] == "rpc_request").await;
                if request["action"] != "get_state" {
                    break request;
                }
                let told = json!({ "state": "ready", "task_config": { "task_id": "local test 1" } });
                recorder.send(&rpc_response(&request, told)).await;
            };
            assert_eq!((&request["action"], request["params"].get("task_id")), (&json!(action), None), "{request}");
            recorder.send(&answer(&request, "ready")).await;
            assert_eq!(asked.await.unwrap().0, 200);
        }
    }
}

// Two programs with one id.

#[tokio::test]
async fn two_programs_with_one_id_are_told_apart_from_a_bad_network_and_do_not_fill_the_log() {
    let bench = Bench::start_with(vec![("KEYSTONE_LOG", "info".to_owned())]).await;
    let task = bench.dispatch(1).await.remove(0);
    let path = format!("/recorder/{}", bench.device);
    let mut current = None;
    let mut refused = 0;
    for n in 0..60 {
        match Socket::try_connect(&bench.server.address(1), &path, "").await {
            Ok(socket) => {
                let (word, held) = if n % 2 == 0 { ("recording", Some(&task)) } else { ("idle", None) };
                socket.send(&state(word, word, held)).await;
                current = Some(socket);
            }
            Err(head) => {
                assert!(head.starts_with("HTTP/1.1 503"), "{head}");
                refused += 1;
            }
        }
    }
    assert!(refused >= 40, "{refused} were refused");
    let current = current.expect("one of them is connected");
    assert!(current.is_open(), "one of them stays");
    let grown = "select count(*) from events where aggregate_type in ('device', 'task')";
    let before = count(&bench, grown).await;
    assert!(before < 100, "{before} events");
    // It is said wherever a person looks.
    let listed = bench.client.get("/recorder/devices").await.unwrap();
    let warning = &listed["devices"][0]["warning"];
    assert_eq!(warning["code"], json!("two_programs"), "{listed}");
    let log = std::fs::read_to_string(bench.server.folder.join("log")).unwrap();
    assert_eq!(log.matches("Two programs").count(), 1, "{log}");
    let stream = snapshot_of_stream(&bench).await;
    assert!(stream.contains("event: device_warning") && stream.contains("two_programs"), "{stream}");

    // The other one has been stopped, and has not come for a while.
    let client = bench.server.database().await.get().await.unwrap();
    let age = "update device_rivals set seen_at = seen_at - interval '1 hour'";
    assert_eq!(client.execute(age, &[]).await.unwrap(), 1);
    let since = "update devices set recorder_contest = jsonb_set(recorder_contest, '{since}', '\"2020-01-01T00:00:00Z\"')";
    client.execute(since, &[]).await.unwrap();
    until("the warning to be over", async || bench.client.get("/recorder/devices").await.unwrap()["devices"][0]["warning"].is_null()).await;
    assert_eq!(count(&bench, "select count(*) from device_rivals").await, 0);
    assert!(!snapshot_of_stream(&bench).await.contains("device_warning"));
    // A new connection wins again.
    Socket::connect(&bench.server.address(1), &path).await;
    assert_eq!(count(&bench, "select count(*) from events where event_type = 'device_contest_ended'").await, 1);
}

/// What a new client of the stream is told at first.
async fn snapshot_of_stream(bench: &Bench) -> String {
    let http = reqwest::Client::new();
    let base = format!("{}/api/v1", bench.server.base());
    let login = json!({ "account": "admin", "password": crate::harness::server::PASSWORD });
    let token: Value = http.post(format!("{base}/auth/login")).json(&login).send().await.unwrap().json().await.unwrap();
    let stream = http.get(format!("{base}/device-state/stream")).bearer_auth(token["access_token"].as_str().unwrap());
    let mut stream = stream.send().await.unwrap();
    let mut text = String::new();
    let more = async {
        while let Ok(Some(chunk)) = stream.chunk().await {
            text += std::str::from_utf8(&chunk).unwrap();
        }
    };
    let _quiet = tokio::time::timeout(Duration::from_secs(2), more).await;
    text
}

// Processes that died, and commands that wait.

#[tokio::test]
async fn links_of_a_killed_process_are_over_as_soon_as_it_is_back() {
    let mut bench = Bench::start().await;
    let (recorder, _transfer) = bench.sockets().await;
    recorder.send(&state("idle", "idle", None)).await;
    let path = format!("/devices/{}/connection", bench.device);
    until("both links", async || bench.client.get(&path).await.unwrap()["connected"] == json!(true)).await;
    bench.server.kill();
    bench.server.start();
    bench.server.ready().await;
    let live = bench.client.get(&path).await.unwrap();
    assert_eq!((&live["recorder_connected"], &live["transfer_connected"]), (&json!(false), &json!(false)), "{live}");
    let asked = Instant::now();
    let (status, refused) = asking(&bench, "pause", json!({})).await.unwrap();
    assert_eq!(status, 404, "{refused}");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_finish_takes_as_long_as_a_large_file_needs_and_what_waits_behind_it_is_called_not_sent() {
    let settings = vec![
        ("KEYSTONE_AXON_RECORDER_RESPONSE_TIMEOUT", "1".to_owned()),
        ("KEYSTONE_AXON_RECORDER_PING_INTERVAL", "1".to_owned()),
        ("KEYSTONE_AXON_RECORDER_PING_TIMEOUT", "1".to_owned()),
    ];
    let bench = Bench::start_with(settings).await;
    let task = bench.dispatch(1).await.remove(0);
    let mut recorder = recording_of(&bench, &task).await;
    let finish = asking(&bench, "finish", json!({}));
    let request = recorder.wait_for("to finish", |frame| frame["action"] == "finish").await;
    // It closes and hashes the file, and answers nothing meanwhile.
    let (status, waited) = asking(&bench, "pause", json!({})).await.unwrap();
    assert_eq!((status, &waited["code"]), (503, &json!("command_not_sent")), "{waited}");
    assert!(waited["detail"].as_str().unwrap().contains("busy"), "{waited}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    recorder.send(&state("recording", "idle", Some(&task))).await;
    recorder.send(&answer(&request, "idle")).await;
    let (status, finished) = finish.await.unwrap();
    assert_eq!((status, &finished["success"]), (200, &json!(true)), "{finished}");
    assert!(recorder.is_open());
    // What is sent and never answered is a timeout; what is lost with its connection is not.
    recorder.send(&state("idle", "ready", Some(&task))).await;
    let (status, silent) = asking(&bench, "pause", json!({})).await.unwrap();
    assert_eq!((status, &silent["code"], &silent["cause"]), (504, &json!("recorder_rpc_timeout"), &json!("timed_out")), "{silent}");
    drop(recorder);
    let mut recorder = recording_of(&bench, &dispatch_of(&bench, "Another", 1).await.remove(0)).await;
    let asked = asking(&bench, "pause", json!({}));
    recorder.wait_for("to pause", |frame| frame["action"] == "pause").await;
    recorder.hang_up().await;
    let (status, lost) = asked.await.unwrap();
    assert_eq!((status, &lost["code"]), (504, &json!("recorder_outcome_unknown")), "{lost}");
    assert_eq!((&lost["cause"], &lost["result_unknown"]), (&json!("link_closed"), &json!(true)), "{lost}");
}

// Uploads that a robot gave up.

#[tokio::test]
async fn what_a_robot_gave_up_is_asked_for_once_more_when_it_is_back() {
    let bench = Bench::start().await;
    let tasks = bench.dispatch(2).await;
    let recording = recording(5, true);
    let recorder = recording_of(&bench, &tasks[0]).await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    recorder.send(&state("recording", "idle", Some(&tasks[0]))).await;
    transfer.wait_for("the request", |frame| is_upload_request(frame, &tasks[0].public_id)).await;
    let gave_up = json!({ "task_id": tasks[0].public_id, "reason": "curlCode: 7, Couldn't connect to server", "retry_count": 5, "next_retry_at": "" });
    transfer.send(&json!({ "type": "upload_failed", "timestamp": now_iso(), "data": gave_up })).await;
    bench.until_status(&tasks[0], "failed").await;
    // It says why, and where the recording is.
    let found = bench.client.get(&format!("/tasks/{}", tasks[0].id)).await.unwrap();
    let told = found["error_message"].as_str().unwrap();
    let file = format!("{}.mcap", tasks[0].public_id);
    assert!(told.starts_with("curlCode: 7") && told.contains(&file) && told.contains("failed_uploads_dir"), "{told}");

    let mut failed = record(&bench, &tasks[0], &recording, "failed");
    failed["last_error"] = json!("curlCode: 7, Couldn't connect to server");
    // An uploader looks for what it gave up where it moved it to, and only if it is asked for everything.
    drop(transfer);
    let mut transfer = transfer_of(&bench, json!([failed]), json!([])).await;
    transfer.wait_for("to be asked for what it has", |frame| frame["type"] == "upload_all").await;
    drop(transfer);
    // What it found there has a record of its own.
    let under_way = record(&bench, &tasks[0], &recording, "active");
    let mut transfer = transfer_of(&bench, json!([failed, under_way]), json!([])).await;
    bench.upload(&bench.key(&tasks[0]), &recording).await;
    transfer.send(&complete(&tasks[0].public_id, &bench.key(&tasks[0]), &recording)).await;
    transfer.wait_for("the ack", |frame| is_ack(frame, &tasks[0].public_id)).await;
    assert!(!transfer.heard.iter().any(|frame| frame["type"] == "upload_all"), "once is enough");
    bench.expect_episode(&tasks[0], &recording).await;
    assert_eq!(count(&bench, "select count(*) from events where event_type = 'failed_upload_requested'").await, 1);
}

#[tokio::test]
async fn what_a_robot_says_it_gave_up_in_its_first_list_is_asked_for_at_once_and_once() {
    let bench = Bench::start().await;
    let tasks = bench.dispatch(3).await;
    let recorder = recording_of(&bench, &tasks[0]).await;
    for pair in tasks.windows(2) {
        recorder.send(&state("recording", "idle", Some(&pair[0]))).await;
        recorder.send(&state("idle", "recording", Some(&pair[1]))).await;
    }
    recorder.send(&state("recording", "idle", tasks.last())).await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    for task in &tasks {
        bench.until_status(task, "uploading").await;
    }
    transfer.wait_for("a request", |frame| frame["type"] == "upload_request").await;
    drop(transfer);
    // Switched off before it could say so.
    let failed: Vec<Value> = tasks.iter().map(|task| record(&bench, task, &recording(5, true), "failed")).collect();
    let mut transfer = transfer_of(&bench, json!(failed), json!([])).await;
    transfer.wait_for("to be asked for what it has", |frame| frame["type"] == "upload_all").await;
    let asked_for = "select count(*) from events where event_type = 'failed_upload_requested'";
    until("all of them to be asked for", async || count(&bench, asked_for).await == 3).await;
    until("nothing to wait", async || count(&bench, "select count(*) from outbox where destination like 'transfer:%'").await == 0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(transfer.drain().iter().filter(|frame| frame["type"] == "upload_all").count(), 1, "it looks through everything each time");
    for task in &tasks {
        assert_eq!(bench.status(task).await, "failed");
    }
}
