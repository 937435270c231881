//! One recording over REST: order, batch, recorder commands, callbacks, episode, download.
//! The device's sockets are played by commands.

use std::sync::Arc;

use bytes::Bytes;
use keystone_edge::blobs::{ObjectKey, PutFacts};
use keystone_edge::commands::devices::{OpenLink, SettleDeviceCommand};
use keystone_edge::commands::uploads::AcceptUpload;
use keystone_edge::domain::device::{CommandOutcome, LinkKind};
use keystone_edge::domain::task::{UploadReport, VerifiedUpload};
use keystone_edge::domain::{DeviceId, PublicTaskId, TaskId};
use serde_json::{Value, json};

use keystone_edge::devices::wire::ToTransfer;

use crate::factory::{last_report, uploaded};
use crate::harness::edge::{Answer, Seed, TestEdge, number};
use crate::harness::until;

const DEVICE: &str = "AB-F0001-T0001-000001";

fn device() -> DeviceId {
    DeviceId::parse(DEVICE).unwrap()
}

async fn connect(edge: &TestEdge) -> i64 {
    let link = |kind| OpenLink { device: device(), kind, remote: "10.0.0.1".into(), process: None };
    edge.execute(link(LinkKind::Recorder)).await;
    edge.devices.connect(DEVICE, "idle", None);
    edge.execute(link(LinkKind::Transfer)).await
}

/// Sends a recorder command, and answers it as the device would.
async fn answered(edge: &Arc<TestEdge>, action: &str, body: Value, outcome: CommandOutcome) -> Answer {
    let asking = tokio::spawn({
        let (edge, path) = (edge.clone(), format!("/api/v1/recorder/{DEVICE}/{action}"));
        async move { edge.post(&path, body).await }
    });
    let mut command_id = String::new();
    until("the command is requested, or refused", async || {
        let client = edge.database.pool.get().await.unwrap();
        let row = client.query_opt("select id from device_commands where status = 'requested'", &[]).await.unwrap();
        command_id = row.map(|row| row.get(0)).unwrap_or_default();
        !command_id.is_empty() || asking.is_finished()
    })
    .await;
    if !command_id.is_empty() {
        edge.execute(SettleDeviceCommand { device: device(), command_id, outcome }).await;
    }
    asking.await.unwrap()
}

fn succeeded() -> CommandOutcome {
    CommandOutcome::Succeeded { message: Some("ok".into()), data: Some(json!({"state": "ready"})) }
}

async fn dispatched(edge: &TestEdge, seed: &Seed, quantity: i64) -> Value {
    edge.create("/api/v1/batches", seed.batch(quantity)).await
}

#[tokio::test]
async fn work_is_dispatched_within_the_quota() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let created = dispatched(&edge, &seed, 2).await;
    assert_eq!(created["tasks"].as_array().unwrap().len(), 2);
    assert_eq!((&created["batch"]["status"], &created["batch"]["task_count"]), (&json!("pending"), &json!(2)));
    assert_eq!(created["batch"]["workstation_id"], seed.station);

    let (status, refused) = edge.post("/api/v1/batches", seed.batch(2)).await;
    assert_eq!(status, 400);
    assert_eq!((&refused["code"], &refused["remaining"], &refused["requested"]), (&json!("quota_exceeded"), &json!(1), &json!(2)));

    let batch = number(&created["batch"]["id"]);
    let (_, tasks) = edge.get(&format!("/api/v1/batches/{batch}/tasks")).await;
    assert_eq!((&tasks["total"], &tasks["limit"], tasks.get("hasNext")), (&json!(2), &json!(2), None));
    assert_eq!(tasks["items"][0]["id"].to_string(), created["tasks"][0]["id"].as_str().unwrap());
    assert_eq!(tasks["items"][0]["robot_device_id"], Value::Null);
    let (_, page) = edge.get(&format!("/api/v1/batches/{batch}/tasks?limit=1")).await;
    assert_eq!((&page["limit"], &page["hasNext"]), (&json!(1), &json!(true)));
    assert_eq!(edge.get("/api/v1/batches/999/tasks").await.0, 404);
    assert_eq!(edge.get("/api/v1/batches/0/tasks").await.0, 400);

    for (filter, total) in [
        (format!("order_id={}", number(&seed.order)), 1),
        (format!("device_id={DEVICE}&collector_operator_id=LI"), 1),
        (format!("scene_id={}&status=pending", number(&seed.scene)), 1),
        ("status=active".to_owned(), 0),
    ] {
        assert_eq!(edge.get(&format!("/api/v1/batches?{filter}")).await.1["total"], total, "{filter}");
    }
    let (_, tasks) = edge.get(&format!("/api/v1/tasks?workstation_id={}&status=pending", number(&seed.station))).await;
    assert_eq!((&tasks["total"], &tasks["items"][0]["robot_device_id"]), (&json!(2), &json!(DEVICE)));
}

#[tokio::test]
async fn one_recording_from_order_to_download() {
    let edge = Arc::new(TestEdge::start().await);
    let seed = edge.seed().await;
    let created = dispatched(&edge, &seed, 1).await;
    let task_id = number(&created["tasks"][0]["id"]);
    let public_id = created["tasks"][0]["task_id"].as_str().unwrap().to_owned();

    // The configuration names people and things.
    let (status, config) = edge.get(&format!("/api/v1/tasks/{task_id}/config")).await;
    assert_eq!(status, 200, "{config}");
    assert_eq!(
        (&config["device_id"], &config["data_collector_id"], &config["order_id"], &config["factory"], &config["sop_id"]),
        (&json!(DEVICE), &json!("Li"), &json!("Cups"), &json!("Factory Shanghai"), &json!("wash"))
    );
    assert_eq!((&config["skills"], &config["topics"]), (&json!(["place", "pick", "place"]), &json!(["/camera0/rgb"])));
    assert_eq!(config["start_callback_url"], "http://edge.test:8080/api/v1/callbacks/start");

    // The recorder is configured and begins.
    let body = json!({"task_config": config});
    assert_eq!(answered(&edge, "config", body.clone(), succeeded()).await.1["code"], "transfer_not_connected");
    let epoch = connect(&edge).await;
    let (status, answer) = answered(&edge, "config", body.clone(), succeeded()).await;
    assert_eq!(
        (status, &answer["type"], &answer["success"], &answer["data"]["state"]),
        (200, &json!("rpc_response"), &json!(true), &json!("ready"))
    );
    assert_eq!(edge.get(&format!("/api/v1/tasks/{task_id}")).await.1["status"], "ready");
    let again = answered(&edge, "config", body, succeeded()).await;
    assert_eq!((again.0, &again.1["code"], &again.1["current_status"]), (409, &json!("task_not_configurable"), &json!("ready")));

    let begin = json!({"task_id": public_id});
    let early = answered(&edge, "begin", begin.clone(), succeeded()).await;
    assert_eq!((early.0, &early.1["code"], &early.1["recorder_state"]), (409, &json!("task_not_beginable"), &json!("idle")));
    edge.devices.connect(DEVICE, "ready", Some(&public_id));
    let refused = answered(&edge, "begin", begin.clone(), CommandOutcome::Refused { message: Some("no".into()), data: None }).await;
    assert_eq!((refused.0, &refused.1["success"], &refused.1["message"]), (200, &json!(false), &json!("no")));
    assert_eq!(answered(&edge, "begin", begin, succeeded()).await.0, 200);
    assert_eq!(edge.get(&format!("/api/v1/tasks/{task_id}")).await.1["status"], "in_progress");

    // Callbacks carry no login.
    let start = json!({"task_id": public_id, "device_id": DEVICE, "status": "recording", "started_at": "", "topics": []});
    let (status, started) = edge.send_as("", "POST", &edge.callback("start", &public_id, DEVICE), start).await;
    assert_eq!((status, &started["status"], &started["task_status"]), (200, &json!("acknowledged"), &json!("unknown")));
    let finish = json!({"task_id": public_id, "device_id": DEVICE, "output_path": "/data/x.mcap", "error": null});
    let (status, finished) = edge.send_as("", "POST", &edge.callback("finish", &public_id, DEVICE), finish.clone()).await;
    assert_eq!((status, &finished["task_status"], &finished["upload_request_sent"]), (200, &json!("uploading"), &json!(true)));
    let (_, repeated) = edge.send_as("", "POST", &edge.callback("finish", &public_id, DEVICE), finish).await;
    assert_eq!((&repeated["success"], &repeated["upload_request_sent"]), (&json!(true), &json!(false)));

    // The upload arrives and is accepted.
    let content = Bytes::from_iter((0..100_000_u32).map(|n| (n % 251) as u8));
    let key = format!("Factory Shanghai/{DEVICE}/2026-11-20/{public_id}.mcap");
    edge.objects.blobs.put(&ObjectKey::new(key.as_str()).unwrap(), content.clone(), &PutFacts::default()).await.unwrap();
    let report = UploadReport { object_key: key, size_bytes: 100_000, sha256: "ab".repeat(32), with_sidecar: false };
    let task = PublicTaskId::parse(&public_id).unwrap();
    edge.execute(uploaded(&device(), epoch, task, report.clone())).await;
    let verified = VerifiedUpload { report, etag: None, message_count: 221, verified_bytes: 100_000, notes: vec![], damage: None };
    let bucket = edge.objects.settings.bucket.clone();
    let reported_in = last_report(&edge.database.pool, TaskId(task_id)).await;
    let accept = AcceptUpload {
        task: TaskId(task_id),
        reported_in,
        verified,
        bucket,
        sidecar: None,
        duration_sec: Some(3.1623),
        metadata: Some(json!({"asset_id": "a"})),
        facts: None,
    };
    edge.execute(accept).await;

    let (_, detail) = edge.get(&format!("/api/v1/tasks/{task_id}")).await;
    assert_eq!(detail["status"], "completed");
    let episode_id = number(&detail["episode"]["id"]);
    let (_, episode) = edge.get(&format!("/api/v1/episodes/{episode_id}")).await;
    assert_eq!(
        (&episode["duration_sec"], &episode["file_size_bytes"], &episode["qa_status"]),
        (&json!(3.16), &json!(100_000), &json!("pending_qa"))
    );
    assert_eq!((&episode["robot_device_id"], &episode["collector_operator_id"]), (&json!(DEVICE), &json!("li")));
    assert_eq!(episode["metadata"]["asset_id"], "a");
    for filter in [
        format!("task_id={task_id}"),
        format!("task_id={public_id}"),
        format!("scene_id={}", number(&seed.scene)),
        format!("robot_device_id={DEVICE}&collector_operator_id=li&qa_status=pending_qa&cloud_synced=false"),
        "created_at_from=2020-01-01T00:00:00Z&created_at_to=2100-01-01T00:00:00%2B08:00".to_owned(),
    ] {
        let (_, list) = edge.get(&format!("/api/v1/episodes?{filter}")).await;
        assert_eq!(list["total"], 1, "{filter}");
        assert!(list["items"][0].get("metadata").is_none());
    }
    let (_, order) = edge.get(&format!("/api/v1/orders/{}", number(&seed.order))).await;
    assert_eq!((&order["status"], &order["completed_count"], &order["task_count"]), (&json!("in_progress"), &json!(1), &json!(1)));
    let (_, batch) = edge.get(&format!("/api/v1/batches/{}", number(&created["batch"]["id"]))).await;
    assert_eq!((&batch["status"], &batch["episode_count"]), (&json!("completed"), &json!(1)));

    // And can be downloaded, whole and in part, with a link and nothing else.
    let (status, link) = edge.get(&format!("/api/v1/episodes/{episode_id}/presign?kind=MCAP")).await;
    assert_eq!(status, 200, "{link}");
    let url = link["url"].as_str().unwrap();
    let whole = edge.request("", "GET", url).send().await.unwrap();
    assert_eq!(whole.status(), 200);
    assert_eq!(
        (&whole.headers()["accept-ranges"], &whole.headers()["content-length"]),
        (&"bytes".parse().unwrap(), &"100000".parse().unwrap())
    );
    let disposition = whole.headers()["content-disposition"].to_str().unwrap();
    assert!(disposition.starts_with("attachment; filename=\"task_") && disposition.ends_with(".mcap"), "{disposition}");
    let etag = whole.headers()["etag"].to_str().unwrap().to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'));
    assert_eq!(whole.bytes().await.unwrap(), content);
    for (range, expected) in [("bytes=10-19", 10..20), ("bytes=99990-", 99_990..100_000), ("bytes=-5", 99_995..100_000)] {
        let part = edge.request("", "GET", url).header("range", range).send().await.unwrap();
        assert_eq!(part.status(), 206, "{range}");
        assert_eq!(part.bytes().await.unwrap(), content.slice(expected), "{range}");
    }
    let beyond = edge.request("", "GET", url).header("range", "bytes=100000-").send().await.unwrap();
    assert_eq!((beyond.status().as_u16(), beyond.headers()["content-range"].to_str().unwrap()), (416, "bytes */100000"));
    let unchanged = edge.request("", "GET", url).header("if-none-match", etag).send().await.unwrap();
    assert_eq!(unchanged.status(), 304);

    assert_eq!(edge.send_as("", "GET", &url.replace("dl_token=", "x="), Value::Null).await.0, 401);
    assert_eq!(edge.get(&format!("/api/v1/episodes/{episode_id}/presign?kind=sidecar")).await.0, 400);
    assert_eq!(edge.get(&format!("/api/v1/episodes/{episode_id}/presign?kind=video")).await.0, 400);

    // A recording that failed its checks stays where it is, with a link made before as well.
    let client = edge.database.pool.get().await.unwrap();
    client.execute("update episodes set qa_status = 'failed', quality_flag = 'gap'", &[]).await.unwrap();
    for path in [url.to_owned(), format!("/api/v1/episodes/{episode_id}/presign")] {
        let (status, blocked) = edge.get(&path).await;
        assert_eq!((status, &blocked["code"], &blocked["quality_flag"]), (409, &json!("episode_blocked"), &json!("gap")), "{path}");
    }
}

#[tokio::test]
async fn a_recorder_that_says_nothing_leaves_the_outcome_unknown() {
    let edge = TestEdge::start().await;
    edge.seed().await;
    connect(&edge).await;
    let (status, answer) = edge.post(&format!("/api/v1/recorder/{DEVICE}/pause"), Value::Null).await;
    assert_eq!(
        (status, &answer["code"], &answer["action"], &answer["result_unknown"]),
        (504, &json!("recorder_rpc_timeout"), &json!("pause"), &json!(true))
    );
    assert_eq!(edge.get(&format!("/api/v1/recorder/{DEVICE}/stats")).await.0, 504);
    assert_eq!(edge.get(&format!("/api/v1/recorder/{DEVICE}/state?refresh=1")).await.1["current_state"], "idle");
    assert_eq!(edge.get("/api/v1/recorder/gone/state").await.1["source"], "disconnected");
    assert_eq!(edge.get("/api/v1/recorder/devices").await.1["devices"][0]["device_id"], DEVICE);

    assert_eq!(edge.post(&format!("/api/v1/transfer/{DEVICE}/upload_request"), json!({"task_id": "task_1"})).await.1["status"], "sent");
    assert_eq!(edge.post(&format!("/api/v1/transfer/{DEVICE}/upload_all"), Value::Null).await.0, 200);
    assert_eq!(edge.post("/api/v1/transfer/gone/upload_all", Value::Null).await.0, 404);
    assert_eq!(edge.post(&format!("/api/v1/transfer/{DEVICE}/cancel"), json!({})).await.0, 400);
    let told = edge.devices.told.lock().unwrap().clone();
    let request = ToTransfer::UploadRequest { task_id: "task_1".to_owned(), priority: 1 };
    assert_eq!(told, [request, ToTransfer::UploadAll {}]);
}

#[tokio::test]
async fn readiness_looks_at_everything_it_names() {
    let edge = TestEdge::start().await;
    let (status, ready) = edge.send_as("", "GET", "/api/v1/ready", Value::Null).await;
    assert_eq!(status, 200, "{ready}");
    for component in ["database", "storage", "log"] {
        assert_eq!(ready["components"][component]["status"], "healthy", "{component}");
    }
}

#[tokio::test]
async fn a_batch_is_recalled_with_or_without_a_reason() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let mut recallable = vec![];
    for _ in 0..3 {
        let created = dispatched(&edge, &seed, 1).await;
        let task = number(&created["tasks"][0]["id"]);
        assert_eq!(edge.post(&format!("/api/v1/tasks/{task}/fail"), json!({"reason": "broken"})).await.0, 200);
        recallable.push(number(&created["batch"]["id"]));
    }
    let send = async |batch: i64, body: &str| -> Answer {
        let request = edge.request(&edge.admin, "POST", &format!("/api/v1/batches/{batch}/recall"));
        let response = request.header("Content-Type", "application/json").body(body.to_owned()).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    };
    let long = json!({"reason": "x".repeat(1001)}).to_string();
    for wrong in [r#"{"reason": 5}"#, r#"{"reason": ["why"]}"#, &long] {
        let (status, refused) = send(recallable[0], wrong).await;
        assert_eq!((status, &refused["field"]), (400, &json!("reason")), "{wrong}: {refused}");
    }
    for wrong in ["why", "[]", "\"why\"", r#"{"reason": "\u0000"}"#] {
        assert_eq!(send(recallable[0], wrong).await.0, 400, "{wrong}");
    }
    // Only the first one recalls; the others say that it is so.
    let mut statuses = vec![];
    for body in ["", " ", "{}", "null", r#"{"reason": null}"#, r#"{"reason": "  "}"#, r#"{"other": 1}"#] {
        statuses.push(send(recallable[0], body).await.0);
    }
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409], "none is refused for its form");
    assert_eq!(send(recallable[1], r#"{"Reason": " out of focus "}"#).await.1["status"], "recalled");
    assert_eq!(send(recallable[2], r#"{"reason": ""}"#).await.1["status"], "recalled");

    let client = edge.database.pool.get().await.unwrap();
    let sql = "select payload -> event_type -> 'reason' from events where event_type = 'batch_recalled' order by seq";
    let reasons: Vec<Value> = client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(reasons, [Value::Null, json!("out of focus"), Value::Null]);
}
