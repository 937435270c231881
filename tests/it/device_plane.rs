//! What the server before ours got wrong about devices, each as a test of its number. One test runs one
//! server; the device's frames are written by hand.

use std::time::Duration;

use keystone_edge::simulator::factory::{self, DispatchedTask};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::bench::{Bench, Recording, complete, connected, is_ack, is_upload_request, now_iso, record, recording, transfer_of};
use crate::harness::device::Socket;
use crate::harness::until;

fn state(previous: &str, current: &str, task: Option<&DispatchedTask>) -> Value {
    state_at(previous, current, task, chrono::Utc::now().timestamp_millis())
}

fn state_at(previous: &str, current: &str, task: Option<&DispatchedTask>, timestamp: i64) -> Value {
    let mut data = json!({ "previous": previous, "current": current });
    if let Some(task) = task {
        data["task_id"] = json!(task.public_id);
    }
    json!({ "type": "state_update", "timestamp": timestamp, "data": data })
}

/// A recorder that is connected and recording this task.
async fn recording_of(bench: &Bench, task: &DispatchedTask) -> Socket {
    let mut recorder = Socket::connect(&bench.server.address(1), &format!("/recorder/{}", bench.device)).await;
    recorder.send(&state("recording", "recording", Some(task))).await;
    answer_first_question(&mut recorder, "recording", task).await;
    bench.until_status(task, "in_progress").await;
    recorder
}

/// Every connection begins with a question for the state; what is asked of a recorder later waits for its answer.
async fn answer_first_question(recorder: &mut Socket, state: &str, task: &DispatchedTask) {
    let question = recorder.wait_for("the first question", |frame| frame["action"] == "get_state").await;
    let told = json!({ "state": state, "task_config": { "task_id": task.public_id } });
    recorder.send(&json!({ "type": "rpc_response", "request_id": question["request_id"], "success": true, "data": told })).await;
}

async fn count(bench: &Bench, sql: &str) -> i64 {
    bench.server.database().await.get().await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

/// Hears nothing of this kind for a while.
async fn silent(socket: &mut Socket, what: &str, unwanted: impl Fn(&Value) -> bool) {
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let heard = socket.drain();
    assert!(!heard.iter().any(unwanted), "{what}: {heard:?}");
}

/// Whether a recorder is told to drop something.
fn drops(frame: &Value) -> bool {
    frame["action"] == "cancel" || frame["action"] == "clear"
}

/// A finished recording in the bucket, told by `upload_complete`, acked.
async fn acked(bench: &Bench, task: &DispatchedTask, recording: &Recording, transfer: &mut Socket) {
    let key = bench.key(task);
    bench.upload(&key, recording).await;
    transfer.send(&complete(&task.public_id, &key, recording)).await;
    transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
}

async fn cancel_batch_of(bench: &Bench, task: &DispatchedTask) {
    let found = bench.client.get(&format!("/tasks/{}", task.id)).await.unwrap();
    let batch = found["batch_id"].as_str().map_or_else(|| found["batch_id"].to_string(), str::to_owned);
    let cancelled = json!({ "status": "cancelled" });
    let answer = bench.client.call(Method::PATCH, &format!("/batches/{batch}"), Some(&cancelled)).await.unwrap();
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
}

/// In whatever order.
async fn all_acked(transfer: &mut Socket, tasks: &[DispatchedTask]) {
    for task in tasks {
        if !transfer.heard.iter().any(|frame| is_ack(frame, &task.public_id)) {
            transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
        }
    }
}

#[tokio::test]
async fn m01_an_ack_that_was_lost_is_sent_again_upon_every_kind_of_status() {
    let bench = Bench::start().await;
    let tasks = bench.dispatch(2).await;
    let (first, second) = (recording(5, true), recording(6, true));
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    acked(&bench, &tasks[0], &first, &mut transfer).await;
    // The ack was lost with the connection, and so was the whole `upload_complete` of the other one.
    bench.upload(&bench.key(&tasks[1]), &second).await;
    drop(transfer);
    let uploads = json!([record(&bench, &tasks[0], &first, "uploaded_wait_ack"), record(&bench, &tasks[1], &second, "uploaded_wait_ack")]);
    let ids = json!([tasks[0].public_id, tasks[1].public_id]);
    let mut transfer = transfer_of(&bench, uploads, ids.clone()).await;
    all_acked(&mut transfer, &tasks).await;
    for task in &tasks {
        assert_eq!(bench.status(task).await, "completed");
    }
    // The list of ids alone is no claim about bytes; of tasks that are verified it asks for the ack.
    let mut transfer = transfer_of(&bench, Value::Null, ids).await;
    all_acked(&mut transfer, &tasks).await;
    assert_eq!(count(&bench, "select count(*) from episodes").await, 2);
}

#[tokio::test]
async fn m02_an_ack_is_sent_after_episode_and_completion_are_durable_together() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    let recording = recording(5, true);
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    acked(&bench, &task, &recording, &mut transfer).await;
    assert_eq!(bench.status(&task).await, "completed", "acked before it was durable");
    bench.expect_episode(&task, &recording).await;
    // Both events were appended by one transaction, and what asks for the ack with them.
    let sql =
        "select count(distinct e.txid) from events e where e.event_type in ('upload_verified', 'episode_created', 'batch_task_settled')";
    assert_eq!(count(&bench, sql).await, 1);
}

#[tokio::test]
async fn m03_a_status_of_several_megabytes_is_read() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    let recording = recording(5, true);
    bench.upload(&bench.key(&task), &recording).await;
    let old = |n: usize| {
        let mut old = record(&bench, &task, &recording, "completed");
        old["task_id"] = json!(format!("task-of-old-{n}"));
        old["file_path"] = json!(format!("/var/lib/axon/recording/{}", "x".repeat(300)));
        old
    };
    let mut uploads: Vec<Value> = (0..6_000).map(old).collect();
    uploads.push(record(&bench, &task, &recording, "uploaded_wait_ack"));
    assert!(json!(uploads).to_string().len() > 3 << 20);
    let mut transfer = transfer_of(&bench, json!(uploads), json!([task.public_id])).await;
    transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
    // What has ended is counted, and not kept.
    let devices = bench.client.get("/transfer/devices").await.unwrap();
    assert_eq!(devices["devices"][0]["status"]["uploads"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn m04_damaged_text_costs_one_message_and_not_the_connection() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    let recording = recording(5, true);
    bench.upload(&bench.key(&task), &recording).await;
    let mut transfer = Socket::connect(&bench.server.address(2), &format!("/transfer/{}", bench.device)).await;
    // A first fragment that is right, and foreign memory after it; then broken JSON.
    let greeting = connected(&bench.device, &json!([]), &json!([])).to_string();
    let (head, _) = greeting.split_at(120);
    transfer.send_pieces(&[head.as_bytes(), &[0xff, 0xfe, 0x80, 0x00, 0xc3], b"}"]).await;
    transfer.send_pieces(&[b"{\"type\":\"status\",\"data\":{\"pending_count\":", b"\0\0\0\0"]).await;
    transfer.wait_for("a question for what was lost", |frame| frame["type"] == "status_query").await;
    let mut status = connected(&bench.device, &json!([record(&bench, &task, &recording, "uploaded_wait_ack")]), &json!([task.public_id]));
    status["type"] = json!("status");
    // In three fragments, as long answers come.
    let text = status.to_string();
    let (a, rest) = text.as_bytes().split_at(100);
    let (b, c) = rest.split_at(100);
    transfer.send_pieces(&[a, b, c]).await;
    transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
    assert_eq!(count(&bench, "select transfer_epoch from devices").await, 1, "the connection was kept");
}

#[tokio::test]
async fn m05_a_lost_upload_connection_destroys_no_recording() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    let mut recorder = recording_of(&bench, &task).await;
    let transfer = transfer_of(&bench, json!([]), json!([])).await;
    transfer.hang_up().await;
    let gone =
        async || bench.client.get(&format!("/devices/{}/connection", bench.device)).await.unwrap()["transfer_connected"] == json!(false);
    until("the loss to be noticed", gone).await;
    silent(&mut recorder, "the recorder is left alone", drops).await;
    assert_eq!(bench.status(&task).await, "in_progress");
}

#[tokio::test]
async fn m06_a_recorder_is_told_to_drop_a_task_only_while_it_holds_it() {
    let bench = Bench::start().await;
    let order = factory::place_order(&bench.client, &bench.made, "Two batches", 2).await.unwrap();
    let batch = async || factory::dispatch(&bench.client, &bench.made, order, &bench.made.stations[0], 1).await.unwrap();
    let (tasks, others) = (batch().await, batch().await);
    let mut recorder = recording_of(&bench, &tasks[0]).await;
    // The batch of a task that it does not hold.
    cancel_batch_of(&bench, &others[0]).await;
    silent(&mut recorder, "it records another task", drops).await;
    // Somebody's own wish is no different.
    for action in ["cancel", "clear"] {
        let path = format!("/recorder/{}/{action}", bench.device);
        let answer = bench.client.call(Method::POST, &path, Some(&json!({ "task_id": others[0].public_id }))).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body["success"]), (200, &json!(false)), "{}", answer.body);
    }
    silent(&mut recorder, "it records another task still", drops).await;
    cancel_batch_of(&bench, &tasks[0]).await;
    let told = recorder.wait_for("to let go", drops).await;
    assert_eq!(told["action"], "cancel");
}

#[tokio::test]
async fn m07_the_end_of_a_replaced_connection_reverts_nothing() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    let mut old = recording_of(&bench, &task).await;
    let new = Socket::connect(&bench.server.address(1), &format!("/recorder/{}", bench.device)).await;
    new.send(&state("recording", "recording", Some(&task))).await;
    assert!(old.closed_within(Duration::from_secs(5)).await);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(bench.status(&task).await, "in_progress");
    let live = bench.client.get(&format!("/recorder/{}/state", bench.device)).await.unwrap();
    assert_eq!((&live["connected"], &live["current_state"]), (&json!(true), &json!("recording")));
    let sql = "select count(*) from events where event_type = 'recording_abandoned'";
    assert_eq!(count(&bench, sql).await, 0);
}

#[tokio::test]
async fn m08_after_a_restart_the_first_state_decides_what_became_of_tasks() {
    let mut bench = Bench::start().await;
    let tasks = bench.dispatch(2).await;
    let recorder = recording_of(&bench, &tasks[0]).await;
    recorder.send(&state("recording", "idle", None)).await;
    // Idle without a word about the task: a file, or none. The uploader is asked.
    bench.until_status(&tasks[0], "uploading").await;
    recorder.send(&state("idle", "ready", Some(&tasks[1]))).await;
    bench.until_status(&tasks[1], "ready").await;
    bench.server.kill();
    drop(recorder);
    bench.server.start();
    bench.server.ready().await;
    // Meanwhile the recorder was restarted, and knows of nothing.
    let recorder = Socket::connect(&bench.server.address(1), &format!("/recorder/{}", bench.device)).await;
    recorder.send(&state("idle", "idle", None)).await;
    bench.until_status(&tasks[1], "pending").await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    transfer.wait_for("the request", |frame| is_upload_request(frame, &tasks[0].public_id)).await;
}

#[tokio::test]
async fn m09_a_lost_finish_callback_is_made_up_for_by_the_recorders_state() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    let recorder = recording_of(&bench, &task).await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    recorder.send(&state("recording", "idle", Some(&task))).await;
    transfer.wait_for("the request", |frame| is_upload_request(frame, &task.public_id)).await;
    bench.until_status(&task, "uploading").await;
}

#[tokio::test]
async fn m10_a_lost_upload_request_is_sent_again_on_the_next_connection_and_not_for_ever() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    let recorder = recording_of(&bench, &task).await;
    let wanted = |frame: &Value| is_upload_request(frame, &task.public_id);
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    recorder.send(&state("recording", "idle", Some(&task))).await;
    transfer.wait_for("the request", wanted).await;
    // It never arrived: the uploader knows nothing of it on its next connection.
    drop(transfer);
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    transfer.wait_for("the request again", wanted).await;
    // It finds no file, twice asked: nobody asks a third time by themselves.
    let not_found =
        json!({ "type": "upload_not_found", "timestamp": now_iso(), "data": { "task_id": task.public_id, "detail": "No MCAP file" } });
    transfer.send(&not_found).await;
    transfer.wait_for("which of its meanings", |frame| frame["type"] == "status_query").await;
    let mut list = connected(&bench.device, &json!([]), &json!([]));
    list["type"] = json!("status");
    transfer.send(&list).await;
    let missing = "select count(*) from events where event_type = 'upload_file_missing'";
    until("the miss to be recorded", async || count(&bench, missing).await == 1).await;
    let found = bench.client.get(&format!("/tasks/{}", task.id)).await.unwrap();
    assert_eq!((&found["status"], &found["error_message"]), (&json!("uploading"), &json!("No MCAP file")), "{found}");
    let before = transfer.heard.iter().filter(|frame| wanted(frame)).count();
    transfer.send(&list).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(transfer.drain().iter().filter(|frame| wanted(frame)).count(), before, "not again within the pause");
    // Another program with its id would find no file either, so a second miss in the same moment says nothing.
    drop(transfer);
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    transfer.wait_for("the request on a new connection", wanted).await;
    transfer.send(&not_found).await;
    transfer.wait_for("which of its meanings", |frame| frame["type"] == "status_query").await;
    transfer.send(&list).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(bench.status(&task).await, "uploading");
    // Once more by itself half a minute later, and then it is over: nobody ever saw a file.
    let asked = async { while transfer.next().await.expect("an open socket")["type"] != "status_query" {} };
    tokio::time::timeout(Duration::from_secs(50), asked).await.expect("a second look");
    transfer.send(&list).await;
    transfer.wait_for("the second chance", wanted).await;
    transfer.send(&not_found).await;
    transfer.wait_for("which of its meanings", |frame| frame["type"] == "status_query").await;
    transfer.send(&list).await;
    bench.until_status(&task, "pending").await;
}

#[tokio::test]
async fn m11_a_short_status_wipes_nothing() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    let recording = recording(5, true);
    let upload = record(&bench, &task, &recording, "active");
    let transfer = transfer_of(&bench, json!([upload]), json!(["task-x"])).await;
    let short = json!({ "type": "status", "timestamp": now_iso(), "data": { "pending_count": 3, "active_count": 1, "uploading_count": 1,
                        "retry_wait_count": 0, "completed_count": 0, "failed_count": 0 } });
    transfer.send(&short).await;
    let status = async || bench.client.get("/transfer/devices").await.unwrap()["devices"][0]["status"].clone();
    until("the count", async || status().await["pending_count"] == json!(3)).await;
    let status = status().await;
    assert_eq!((&status["version"], &status["waiting_ack_task_ids"]), (&json!("0.1.0"), &json!(["task-x"])));
    assert_eq!(status["uploads"][0]["task_id"], json!(task.public_id));
}

#[tokio::test]
async fn m12_what_a_device_says_of_anothers_task_changes_nothing() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    // Another robot of the same factory, with sockets of its own.
    let types = bench.client.get("/robot_types").await.unwrap()["items"][0]["id"].to_string();
    let body = json!({ "robot_type_id": types, "factory_id": bench.made.factory_id.to_string(), "device_id": "AB-other" });
    bench.client.create("/robots", &body).await.unwrap();
    let recorder = Socket::connect(&bench.server.address(1), "/recorder/AB-other").await;
    let transfer = Socket::connect(&bench.server.address(2), "/transfer/AB-other").await;
    let recording = recording(5, true);
    let key = format!("1/AB-other/2026-11-20/{}.mcap", task.public_id);
    bench.upload(&key, &recording).await;
    recorder.send(&state("recording", "recording", Some(&task))).await;
    recorder.send(&json!({ "type": "config_applied", "timestamp": 1, "data": { "task_id": task.public_id } })).await;
    transfer.send(&json!({ "type": "upload_started", "timestamp": now_iso(), "data": { "task_id": task.public_id } })).await;
    transfer.send(&complete(&task.public_id, &key, &recording)).await;
    transfer
        .send(&json!({ "type": "upload_failed", "timestamp": now_iso(), "data": { "task_id": task.public_id, "reason": "mine" } }))
        .await;
    let body = json!({ "task_id": task.public_id, "device_id": "AB-other", "status": "recording" });
    let started = bench.client.call(Method::POST, "/callbacks/start", Some(&body)).await.unwrap();
    assert_eq!((started.status.as_u16(), &started.body["code"]), (401, &json!("callback_token_invalid")));
    let body = json!({ "task_id": task.public_id, "device_id": "AB-other", "output_path": "/x" });
    assert_eq!(bench.client.call(Method::POST, "/callbacks/finish", Some(&body)).await.unwrap().status.as_u16(), 401);
    let refused = "select count(*) from events where event_type = 'device_report_refused'";
    until("the reports to be refused", async || count(&bench, refused).await >= 4).await;
    assert_eq!(bench.status(&task).await, "pending");
    assert_eq!(count(&bench, "select count(*) from events where aggregate_type = 'task'").await, 1);
}

#[tokio::test]
async fn m13_a_device_names_only_objects_of_its_own_task() {
    let bench = Bench::start().await;
    let tasks = bench.dispatch(2).await;
    let recording = recording(5, true);
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    acked(&bench, &tasks[0], &recording, &mut transfer).await;
    let (mine, other) = (&tasks[1].public_id, bench.key(&tasks[0]));
    let device = &bench.device;
    for key in [
        other.clone(),
        format!("1/{device}/2026-11-20/../2026-11-20/{mine}.mcap"),
        format!("../{device}/2026-11-20/{mine}.mcap"),
        format!("1/AB-other/2026-11-20/{mine}.mcap"),
        format!("1/{device}/yesterday/{mine}.mcap"),
        format!("1/{device}/2026-11-20/{mine}.mcap\n"),
        "x".repeat(100_000),
    ] {
        transfer.send(&complete(mine, &key, &recording)).await;
    }
    let refused = "select count(*) from events where event_type = 'device_report_refused'";
    until("the reports to be refused", async || count(&bench, refused).await == 7).await;
    assert!(!transfer.drain().iter().any(|frame| is_ack(frame, mine)));
    assert_eq!((bench.status(&tasks[1]).await.as_str(), count(&bench, "select count(*) from episodes").await), ("pending", 1));
    // The right one is still taken.
    acked(&bench, &tasks[1], &recording, &mut transfer).await;
}

#[tokio::test]
async fn m14_an_upload_told_on_two_connections_becomes_one_episode() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    let recording = recording(5, true);
    let key = bench.key(&task);
    bench.upload(&key, &recording).await;
    let mut last = None;
    for _ in 0..6 {
        let transfer = Socket::connect(&bench.server.address(2), &format!("/transfer/{}", bench.device)).await;
        transfer.send(&complete(&task.public_id, &key, &recording)).await;
        transfer.send(&complete(&task.public_id, &key, &recording)).await;
        last = Some(transfer);
    }
    last.unwrap().wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
    bench.until_status(&task, "completed").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(count(&bench, "select count(*) from episodes").await, 1);
    assert_eq!(count(&bench, "select episode_count from batches").await, 1);
}

#[tokio::test]
async fn m15_a_begin_that_failed_leaves_no_task_recording() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    let mut recorder = Socket::connect(&bench.server.address(1), &format!("/recorder/{}", bench.device)).await;
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    answer_first_question(&mut recorder, "ready", &task).await;
    bench.until_status(&task, "ready").await;
    let (client, path, body) = (bench.client.clone(), format!("/recorder/{}/begin", bench.device), json!({ "task_id": task.public_id }));
    let asked = tokio::spawn(async move { client.call(Method::POST, &path, Some(&body)).await.unwrap() });
    let request = recorder.wait_for("begin", |frame| frame["action"] == "begin").await;
    recorder.send(&state("ready", "recording", Some(&task))).await;
    recorder.send(&state("recording", "idle", Some(&task))).await;
    let answer = json!({ "type": "rpc_response", "request_id": request["request_id"], "success": false, "message": "plugin failed",
                         "data": { "state": "idle" } });
    recorder.send(&answer).await;
    let asked = asked.await.unwrap();
    assert_eq!((asked.status.as_u16(), &asked.body["success"]), (200, &json!(false)));
    // It recorded for a moment; whether a file came of it is for the uploader to say.
    transfer.wait_for("the request", |frame| is_upload_request(frame, &task.public_id)).await;
    bench.until_status(&task, "uploading").await;
}

#[tokio::test]
async fn m16_frames_that_waited_while_the_device_was_away_are_no_news() {
    let bench = Bench::start().await;
    let tasks = bench.dispatch(2).await;
    let recorder = Socket::connect(&bench.server.address(1), &format!("/recorder/{}", bench.device)).await;
    let past = chrono::Utc::now().timestamp_millis() - 60_000;
    recorder.send(&state_at("idle", "ready", Some(&tasks[0]), past)).await;
    recorder.send(&json!({ "type": "config_applied", "timestamp": past, "data": { "task_id": tasks[0].public_id } })).await;
    recorder.send(&state_at("ready", "recording", Some(&tasks[0]), past + 1_000)).await;
    recorder.send(&json!({ "type": "rpc_response", "request_id": "b7d0d2ee-6a39-4e3c-9c53-0e2a1f7f7c11", "success": true, "data": { "state": "ready" } })).await;
    recorder.send(&state("recording", "recording", Some(&tasks[1]))).await;
    bench.until_status(&tasks[1], "in_progress").await;
    // Confirmed by now; an older one after it is still no news.
    recorder.send(&state_at("recording", "idle", Some(&tasks[1]), past + 2_000)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((bench.status(&tasks[0]).await.as_str(), bench.status(&tasks[1]).await.as_str()), ("pending", "in_progress"));
}

#[tokio::test]
async fn m17_pings_are_answered_while_storage_stands_still() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    let recording = recording(5, true);
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let mut recorder = Socket::connect(&bench.server.address(1), &format!("/recorder/{}", bench.device)).await;
    recorder.wait_for("the first question", |frame| frame["action"] == "get_state").await;
    let pool = bench.server.database().await;
    let client = pool.get().await.unwrap();
    client.batch_execute("begin; lock table devices, tasks in access exclusive mode").await.unwrap();
    bench.upload(&bench.key(&task), &recording).await;
    transfer.send(&complete(&task.public_id, &bench.key(&task), &recording)).await;
    recorder.send(&state("recording", "recording", Some(&task))).await;
    for socket in [&mut transfer, &mut recorder] {
        let started = std::time::Instant::now();
        for _ in 0..3 {
            socket.ping().await;
            socket.wait_for("a pong", |frame| *frame == json!("pong")).await;
        }
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    client.batch_execute("commit").await.unwrap();
    transfer.wait_for("the ack", |frame| is_ack(frame, &task.public_id)).await;
}

#[tokio::test]
async fn m18_a_recording_without_a_sidecar_is_acked_like_the_others() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    let recording = recording(5, false);
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    acked(&bench, &task, &recording, &mut transfer).await;
    bench.expect_episode(&task, &recording).await;
}

#[tokio::test]
async fn m19_times_of_a_dropped_recording_are_gone_and_changes_are_told_in_order() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    let recorder = Socket::connect(&bench.server.address(1), &format!("/recorder/{}", bench.device)).await;
    recorder.send(&state("ready", "ready", Some(&task))).await;
    bench.until_status(&task, "ready").await;
    let times = "select count(*) from tasks where ready_at is not null or started_at is not null";
    assert_eq!(count(&bench, times).await, 1);
    recorder.send(&state("ready", "idle", None)).await;
    bench.until_status(&task, "pending").await;
    assert_eq!(count(&bench, times).await, 0);
    // Positions and versions of a device grow together.
    let sql = "select count(*) from log a join events x on x.seq = a.seq join log b on b.position > a.position join events y on y.seq = b.seq
               where x.aggregate_type = 'device' and y.aggregate_type = 'device' and x.aggregate_id = y.aggregate_id and y.sequence <= x.sequence";
    assert_eq!(count(&bench, sql).await, 0);
    // A transfer handshake of a device that nobody knows is told apart from a database that is away.
    let unknown = Socket::try_connect(&bench.server.address(2), "/transfer/AB-nobody", "").await.err().unwrap();
    assert!(unknown.starts_with("HTTP/1.1 404"), "{unknown}");
}

#[tokio::test]
async fn a_recording_that_comes_after_its_task_was_cancelled_is_kept_marked_and_acked() {
    let bench = Bench::start().await;
    let tasks = bench.dispatch(1).await;
    cancel_batch_of(&bench, &tasks[0]).await;
    bench.until_status(&tasks[0], "cancelled").await;
    let recording = recording(5, true);
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    acked(&bench, &tasks[0], &recording, &mut transfer).await;
    bench.expect_episode(&tasks[0], &recording).await;
    assert_eq!(bench.status(&tasks[0]).await, "cancelled");
    let found = bench.client.get(&format!("/tasks/{}", tasks[0].id)).await.unwrap();
    let episode = bench.client.get(&format!("/episodes/{}", found["episode"]["id"])).await.unwrap();
    assert_eq!(episode["labels"], json!(["late_upload"]));
    let kept = bench.client.call(Method::DELETE, &format!("/tasks/{}", tasks[0].id), None).await.unwrap();
    assert_eq!((kept.status.as_u16(), &kept.body["code"]), (409, &json!("task_not_deletable")));
    // Asked again, because the ack was lost.
    let mut transfer = transfer_of(&bench, json!([record(&bench, &tasks[0], &recording, "uploaded_wait_ack")]), json!([])).await;
    transfer.wait_for("the ack again", |frame| is_ack(frame, &tasks[0].public_id)).await;
    assert_eq!(count(&bench, "select completed_count from orders").await, 0);
}

#[tokio::test]
async fn what_was_lately_said_is_shown_in_a_few_words() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    let recorder = recording_of(&bench, &task).await;
    let transfer = transfer_of(&bench, json!([]), json!([])).await;
    transfer.send(&json!({ "type": "local_cleanup_failed", "data": { "task_id": "task-x", "reason": "disk\nfull" } })).await;
    transfer.send_pieces(&[b"{ no JSON"]).await;
    let path = format!("/devices/{}/messages?limit=100", bench.device);
    let entries = async || bench.client.get(&path).await.unwrap()["items"].as_array().unwrap().clone();
    let words = |entry: &Value| ["link", "direction", "type"].map(|key| entry[key].as_str().unwrap().to_owned()).join(" ");
    until("the last message", async || entries().await.iter().any(|entry| words(entry) == "transfer noted unreadable")).await;
    let said = entries().await;
    for wanted in ["recorder noted opened", "recorder sent get_state", "transfer heard connected", "transfer heard local_cleanup_failed"] {
        assert!(said.iter().any(|entry| words(entry) == wanted), "{wanted}: {said:#?}");
    }
    let began = said.iter().find(|entry| entry["type"] == "state_update" && entry["detail"] == "recording to recording");
    assert_eq!(began.expect("the change")["task_id"], json!(task.public_id), "{said:#?}");
    let instants: Vec<_> = said.iter().map(|entry| entry["at"].as_str().unwrap()).collect();
    assert!(instants.is_sorted_by(|newer, older| newer >= older), "newest first");

    recorder.hang_up().await;
    until("the end", async || entries().await.iter().any(|entry| words(entry) == "recorder noted closed")).await;
    let one = bench.client.get(&format!("/devices/{}/messages?limit=1", bench.device)).await.unwrap();
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    assert_eq!(bench.client.get("/devices/nobody/messages").await.unwrap()["items"], json!([]));
    let refused = bench.client.call(Method::GET, &format!("/devices/{}/messages?limit=0", bench.device), None).await.unwrap();
    assert_eq!(refused.status.as_u16(), 400);
}

#[tokio::test]
async fn a_file_that_is_being_uploaded_is_not_recorded_over() {
    let bench = Bench::start().await;
    let tasks = bench.dispatch(2).await;
    let (mut recorder, _transfer) = bench.sockets().await;
    answer_first_question(&mut recorder, "ready", &tasks[1]).await;
    bench.until_status(&tasks[1], "ready").await;
    // Somebody asked it for all files, and the message that it began was lost.
    let (sound, path) = (recording(5, true), format!("/recorder/{}", bench.device));
    let listed = ["active", "retry-wait"].iter().zip(&tasks).map(|(status, task)| record(&bench, task, &sound, status));
    let _transfer = transfer_of(&bench, json!(listed.collect::<Vec<_>>()), json!([])).await;
    for task in &tasks {
        bench.until_status(task, "uploading").await;
    }
    let begin = bench.client.call(Method::POST, &format!("{path}/begin"), Some(&json!({ "task_id": tasks[1].public_id }))).await.unwrap();
    assert_eq!((begin.status.as_u16(), &begin.body["current_status"]), (409, &json!("uploading")), "{}", begin.body);
    assert_eq!(begin.body["code"], json!("task_not_beginable"));
    silent(&mut recorder, "its file is being uploaded", |frame| frame["action"] == "begin").await;
}

#[tokio::test]
async fn an_upload_that_was_given_up_while_nobody_heard_it_has_failed() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    let recorder = recording_of(&bench, &task).await;
    recorder.send(&state("recording", "idle", Some(&task))).await;
    bench.until_status(&task, "uploading").await;
    // `upload_failed` was written when the connection died.
    let mut upload = record(&bench, &task, &recording(5, true), "failed");
    upload["last_error"] = json!("curlCode: 7, Couldn't connect to server");
    let _transfer = transfer_of(&bench, json!([upload]), json!([])).await;
    bench.until_status(&task, "failed").await;
    let found = bench.client.get(&format!("/tasks/{}", task.id)).await.unwrap();
    assert!(found["error_message"].as_str().unwrap().starts_with("curlCode: 7, Couldn't connect to server; "), "{found}");
}

#[tokio::test]
async fn a_begin_that_was_never_answered_may_have_recorded() {
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    let address = bench.server.address(1);
    let path = format!("/recorder/{}", bench.device);
    let mut recorder = Socket::connect(&address, &path).await;
    recorder.send(&state("ready", "ready", Some(&task))).await;
    answer_first_question(&mut recorder, "ready", &task).await;
    bench.until_status(&task, "ready").await;
    let begin = tokio::spawn({
        let (client, path, body) = (bench.client.clone(), format!("{path}/begin"), json!({ "task_id": task.public_id }));
        async move { client.call(Method::POST, &path, Some(&body)).await }
    });
    recorder.wait_for("the begin", |frame| frame["action"] == "begin").await;
    recorder.hang_up().await;

    // It recorded, was stopped, which closes the file and tells nobody, and knows of no task any more.
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let mut recorder = Socket::connect(&address, &path).await;
    recorder.send(&state("idle", "idle", None)).await;
    let question = recorder.wait_for("the first question", |frame| frame["action"] == "get_state").await;
    let idle = json!({ "type": "rpc_response", "request_id": question["request_id"], "success": true, "data": { "state": "idle" } });
    recorder.send(&idle).await;
    transfer.wait_for("the request for its file", |frame| is_upload_request(frame, &task.public_id)).await;
    assert_eq!(bench.status(&task).await, "uploading", "not to be recorded over");
    begin.abort();
}

#[tokio::test]
async fn a_batch_that_is_over_has_no_work_again_when_an_upload_turns_out_to_be_none() {
    let bench = Bench::start().await;
    let tasks = bench.dispatch(2).await;
    let recorder = recording_of(&bench, &tasks[0]).await;
    recorder.send(&state("recording", "idle", Some(&tasks[0]))).await;
    bench.until_status(&tasks[0], "uploading").await;
    for (previous, current) in [("idle", "ready"), ("ready", "recording"), ("recording", "idle")] {
        recorder.send(&state(previous, current, Some(&tasks[1]))).await;
    }
    bench.until_status(&tasks[1], "uploading").await;
    cancel_batch_of(&bench, &tasks[0]).await;

    // One is being recorded after all, which was not to be seen for a moment. It is kept when it is done.
    recorder.send(&state("idle", "recording", Some(&tasks[1]))).await;
    let seen = "select count(*) from devices where observed_state = 'recording'";
    until("the state to be heard", async || count(&bench, seen).await == 1).await;
    assert_eq!(bench.status(&tasks[1]).await, "uploading");
    recorder.send(&state("recording", "idle", None)).await;

    // Of the other, nobody ever finds a file.
    let of = |wanted: &'static str, task: &DispatchedTask| {
        let id = json!(task.public_id);
        move |frame: &Value| frame["type"] == wanted && (wanted == "status_query" || frame["task_id"] == id)
    };
    let not_found =
        json!({ "type": "upload_not_found", "timestamp": now_iso(), "data": { "task_id": tasks[0].public_id, "detail": "No MCAP file" } });
    let mut transfer = transfer_of(&bench, json!([]), json!([])).await;
    let mut list = connected(&bench.device, &json!([]), &json!([]));
    list["type"] = json!("status");
    for turn in 0..2 {
        if turn == 1 {
            let asked = async { while transfer.next().await.expect("an open socket")["type"] != "status_query" {} };
            tokio::time::timeout(Duration::from_secs(50), asked).await.expect("a second look");
            transfer.send(&list).await;
        }
        transfer.wait_for("the request", of("upload_request", &tasks[0])).await;
        transfer.send(&not_found).await;
        transfer.wait_for("which of its meanings", of("status_query", &tasks[0])).await;
        transfer.send(&list).await;
    }
    bench.until_status(&tasks[0], "failed").await;
    let recording = recording(5, true);
    acked(&bench, &tasks[1], &recording, &mut transfer).await;
    bench.expect_episode(&tasks[1], &recording).await;
    bench.until_status(&tasks[1], "completed").await;
    let sql = "select count(*) from batches where status = 'cancelled' and completed_count = 1 and failed_count = 1";
    assert_eq!(count(&bench, sql).await, 1);
}
