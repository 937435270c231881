//! Several processes on one database: who holds a device, what the others know of it, and what they do when
//! one of them dies.

use std::time::Duration;

use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory::{self, Factory};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::device::Socket;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::sse::Sse;
use crate::harness::{TestDatabase, TestObjects, temp_folder, until};

/// Two servers, one database, one object store, a factory with a robot.
struct Site {
    servers: [Server; 2],
    clients: [Client; 2],
    made: Factory,
    device: String,
    database: TestDatabase,
    _objects: TestObjects,
    _folders: [tempfile::TempDir; 2],
}

impl Site {
    async fn start() -> Self {
        let (database, objects) = (TestDatabase::new().await, TestObjects::new().await);
        let folders = [temp_folder(), temp_folder()];
        let mut servers = [0, 1].map(|n: usize| Server::sharing(folders[n].path(), &database.url, &objects.s3.endpoint()));
        for server in &mut servers {
            server.start();
            server.ready().await;
        }
        let clients = [
            Client::sign_in(&servers[0].base(), "admin", PASSWORD).await.expect("a login"),
            Client::sign_in(&servers[1].base(), "admin", PASSWORD).await.expect("a login"),
        ];
        let made = factory::seed(&clients[0], "Shared", 1).await.expect("a factory");
        let device = made.stations[0].device_id.clone();
        Self { servers, clients, made, device, database, _objects: objects, _folders: folders }
    }

    async fn sockets(&self, of: usize) -> (Socket, Socket) {
        let recorder = Socket::connect(&self.servers[of].address(1), &format!("/recorder/{}", self.device)).await;
        let transfer = Socket::connect(&self.servers[of].address(2), &format!("/transfer/{}", self.device)).await;
        (recorder, transfer)
    }

    async fn connected(&self, asked: usize) -> bool {
        let answer = self.clients[asked].get(&format!("/devices/{}/connection", self.device)).await.expect("an answer");
        answer["connected"] == json!(true)
    }

    async fn stream(&self, of: usize, query: &str, last: Option<&str>) -> Sse {
        let login = json!({ "account": "admin", "password": PASSWORD });
        let http = reqwest::Client::new();
        let base = format!("{}/api/v1", self.servers[of].base());
        let token: Value = http.post(format!("{base}/auth/login")).json(&login).send().await.unwrap().json().await.unwrap();
        let mut request = http.get(format!("{base}/device-state/stream{query}")).bearer_auth(token["access_token"].as_str().unwrap());
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        Sse::open(request).await
    }
}

fn state(previous: &str, current: &str, task: Option<&str>) -> Value {
    let mut data = json!({ "previous": previous, "current": current });
    if let Some(task) = task {
        data["task_id"] = json!(task);
    }
    json!({ "type": "state_update", "timestamp": chrono::Utc::now().timestamp_millis(), "data": data })
}

fn is_state(wanted: &'static str) -> impl Fn(&str, &Value) -> bool {
    move |event, data| event == "recorder_state" && data["current_state"] == json!(wanted)
}

#[tokio::test]
async fn a_device_of_one_process_is_known_and_commanded_from_another() {
    let site = Site::start().await;
    let mut stream = site.stream(1, "", None).await;
    let (mut recorder, transfer) = site.sockets(0).await;
    stream.wait_for("the connection", |event, data| event == "device_connection" && data["connected"] == json!(true)).await;
    assert!(site.connected(1).await && site.connected(0).await);
    recorder.send(&state("idle", "idle", None)).await;
    let seen = stream.wait_for("idle", is_state("idle")).await;
    assert_eq!((&seen["device_id"], &seen["state_synced"]), (&json!(site.device), &json!(true)));
    let told = site.clients[1].get(&format!("/recorder/{}/state", site.device)).await.unwrap();
    assert_eq!((&told["connected"], &told["current_state"]), (&json!(true), &json!("idle")));
    assert!(told["state_version"].as_i64() >= seen["state_version"].as_i64());
    for list in ["recorder", "transfer"] {
        let devices = site.clients[1].get(&format!("/{list}/devices")).await.unwrap();
        assert_eq!(devices["devices"][0]["device_id"], json!(site.device), "{list}");
    }

    // A command that is asked for at the second process reaches the socket of the first.
    let order = factory::place_order(&site.clients[1], &site.made, "Shared", 1).await.unwrap();
    let task = factory::dispatch(&site.clients[1], &site.made, order, &site.made.stations[0], 1).await.unwrap().remove(0);
    let config = site.clients[1].get(&format!("/tasks/{}/config", task.id)).await.unwrap();
    let (client, path) = (site.clients[1].clone(), format!("/recorder/{}/config", site.device));
    let asked = tokio::spawn(async move { client.call(Method::POST, &path, Some(&json!({ "task_config": config }))).await.unwrap() });
    let request = recorder.wait_for("the configuration", |frame| frame["action"] == "config").await;
    recorder.send(&state("idle", "ready", Some(&task.public_id))).await;
    let answer = json!({ "type": "rpc_response", "request_id": request["request_id"], "success": true, "message": "ok",
                         "data": { "state": "ready", "task_id": task.public_id } });
    recorder.send(&answer).await;
    let answered = asked.await.unwrap();
    assert_eq!((answered.status.as_u16(), &answered.body["success"]), (200, &json!(true)), "{}", answered.body);
    let ready = stream.wait_for("ready", is_state("ready")).await;
    assert_eq!((&ready["task_id"], &ready["previous_state"]), (&json!(task.public_id), &json!("idle")));
    transfer.hang_up().await;
    stream.wait_for("the loss", |event, data| event == "device_connection" && data["source"] == json!("transfer_disconnected")).await;
    assert!(!site.connected(0).await);
}

#[tokio::test]
async fn a_device_that_connects_elsewhere_is_taken_over_at_once() {
    let site = Site::start().await;
    let (mut old, _transfer) = site.sockets(0).await;
    old.send(&state("idle", "idle", None)).await;
    let (new, _other) = site.sockets(1).await;
    new.send(&state("recording", "recording", Some("task-b"))).await;
    let mut stream = site.stream(0, &format!("?device_id={}", site.device), None).await;
    stream.wait_for("recording", is_state("recording")).await;
    // What the replaced connection says changes nothing, and it is cut.
    old.send(&state("recording", "paused", Some("task-b"))).await;
    assert!(old.closed_within(Duration::from_secs(5)).await, "the old socket is still open");
    let told = site.clients[0].get(&format!("/recorder/{}/state", site.device)).await.unwrap();
    assert_eq!(told["current_state"], json!("recording"));
    assert!(new.is_open());
}

#[tokio::test]
async fn devices_of_a_killed_process_are_away_within_its_lease() {
    let mut site = Site::start().await;
    let (recorder, _transfer) = site.sockets(0).await;
    recorder.send(&state("idle", "idle", None)).await;
    let mut stream = site.stream(1, "", None).await;
    stream.wait_for("idle", is_state("idle")).await;
    site.servers[0].kill();
    stream.wait_for("the loss", |event, data| event == "device_connection" && data["recorder_connected"] == json!(false)).await;
    until("both links to be closed", async || !site.connected(1).await).await;
    let reasons = "select count(*) from events where event_type = 'device_link_closed'
                   and payload -> 'device_link_closed' ->> 'reason' = 'the process that held it ended'";
    until("both links to be closed in the log", async || {
        site.database.pool.get().await.unwrap().query_one(reasons, &[]).await.unwrap().get::<_, i64>(0) == 2
    })
    .await;
    // The device comes back, to whoever is there.
    let (recorder, _transfer) = site.sockets(1).await;
    recorder.send(&state("idle", "idle", None)).await;
    stream.wait_for("idle again", is_state("idle")).await;
    assert!(site.connected(1).await);
}

#[tokio::test]
async fn a_stream_goes_on_where_it_broke_off_at_any_process() {
    let mut site = Site::start().await;
    let mut stream = site.stream(0, "", None).await;
    let (recorder, _transfer) = site.sockets(1).await;
    recorder.send(&state("idle", "idle", None)).await;
    stream.wait_for("idle", is_state("idle")).await;
    let last = stream.id.clone();
    site.servers[0].kill();
    assert!(stream.next().await.is_none(), "the stream of a dead process ends");
    // Missed while nobody listened.
    let states = ["ready", "recording", "paused", "recording", "idle"];
    for pair in states.windows(2) {
        recorder.send(&state(pair[0], pair[1], Some("task-b"))).await;
    }
    let version = |wanted: i64| {
        let pool = site.database.pool.clone();
        async move { pool.get().await.unwrap().query_one("select count(*) from log", &[]).await.unwrap().get::<_, i64>(0) >= wanted }
    };
    let before: i64 = last.parse().unwrap();
    until("the states to have their positions", async || version(before + 4).await).await;
    let mut again = site.stream(1, &format!("?device_ids=other,{}", site.device), Some(&last)).await;
    for pair in states.windows(2) {
        let (event, data) = loop {
            let next = again.next().await.expect("an event");
            if next.0 == "recorder_state" {
                break next;
            }
        };
        assert_eq!((event.as_str(), &data["current_state"]), ("recorder_state", &json!(pair[1])));
    }
    // An id that the log never had gets the present state; another device's client hears nothing of this one.
    let mut fresh = site.stream(1, "", Some("999999999")).await;
    assert_eq!(fresh.next().await.unwrap().1["source"], json!("snapshot"));
    let mut other = site.stream(1, "?device_id=other", None).await;
    recorder.send(&state("idle", "ready", Some("task-b"))).await;
    fresh.wait_for("ready", is_state("ready")).await;
    let silence = tokio::time::timeout(Duration::from_millis(300), other.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    let refused = site.clients[1].call(Method::GET, "/device-state/stream?device_id=a%2Fb", None).await.unwrap();
    assert_eq!(refused.status.as_u16(), 400);
    // An orderly stop ends streams and does not wait for them.
    let took = site.servers[1].stop().await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_holder_of_a_socket_can_tell_is_told_by_every_process() {
    let mut site = Site::start().await;
    let (mut recorder, mut transfer) = site.sockets(0).await;
    recorder.send(&state("idle", "idle", None)).await;
    let hello =
        json!({ "type": "connected", "timestamp": "2026-11-20T20:04:32.929Z", "data": { "device_id": site.device, "uploads": [] } });
    transfer.send(&hello).await;
    let path = |route: &str| format!("/transfer/{}/{route}", site.device);

    // A message to the uploader, through the process that does not hold it.
    let sent =
        site.clients[1].call(Method::POST, &path("upload_request"), Some(&json!({ "task_id": "task-x", "priority": 2 }))).await.unwrap();
    assert_eq!((sent.status.as_u16(), &sent.body["status"]), (200, &json!("sent")), "{}", sent.body);
    let request = transfer.wait_for("the request", |frame| frame["type"] == "upload_request").await;
    assert_eq!((&request["task_id"], &request["priority"]), (&json!("task-x"), &json!(2)));
    // What is wrong is refused as at home.
    let refused = site.clients[1].call(Method::POST, &path("upload_request"), Some(&json!({ "task_id": "../x" }))).await.unwrap();
    assert_eq!(refused.status.as_u16(), 400, "{}", refused.body);
    assert!(refused.body["code"].is_string(), "{}", refused.body);

    // What it says of its uploads.
    let told = json!({ "type": "status", "timestamp": "2026-11-20T20:04:33.929Z", "data": { "pending_count": 3, "uploads": [] } });
    transfer.send(&told).await;
    until("its status in the lists of both", async || {
        let mut lists = vec![];
        for client in &site.clients {
            let list = client.get("/transfer/devices").await.unwrap();
            lists.push(list["devices"].as_array().unwrap().iter().map(|view| view["status"]["pending_count"].clone()).collect::<Vec<_>>());
        }
        lists == [[json!(3)], [json!(3)]]
    })
    .await;

    // The recorder's own counters.
    let asking = tokio::spawn({
        let (client, path) = (site.clients[1].clone(), format!("/recorder/{}/stats", site.device));
        async move { client.call(Method::GET, &path, None).await.unwrap() }
    });
    let question = recorder.wait_for("the question", |frame| frame["action"] == "get_stats").await;
    let answer = json!({ "type": "rpc_response", "request_id": question["request_id"], "success": true, "data": { "message_count": 7 } });
    recorder.send(&answer).await;
    let stats = asking.await.unwrap();
    assert_eq!(stats.status.as_u16(), 200, "{}", stats.body);
    assert!(stats.body.to_string().contains("\"message_count\":7"), "{}", stats.body);

    let said = site.clients[1].get(&format!("/devices/{}/messages", site.device)).await.unwrap();
    assert!(said["items"].as_array().unwrap().iter().any(|entry| entry["type"] == "upload_request"), "{said}");

    // Nobody passes on what was passed on, and a process that died is not asked for long.
    let http = reqwest::Client::new();
    let login = json!({ "account": "admin", "password": PASSWORD });
    let base = format!("{}/api/v1", site.servers[1].base());
    let token: Value = http.post(format!("{base}/auth/login")).json(&login).send().await.unwrap().json().await.unwrap();
    let passed = http.post(format!("{base}{}", path("status_query"))).bearer_auth(token["access_token"].as_str().unwrap());
    assert_eq!(passed.header("x-keystone-passed-on", "1").send().await.unwrap().status().as_u16(), 404);
    site.servers[0].kill();
    // Its uploader is listed while it is believed to live, without what nobody can say of it.
    let list = site.clients[1].get("/transfer/devices").await.unwrap();
    assert!(list["devices"].as_array().unwrap().iter().all(|view| view["status"] == json!({})), "{list}");
    until("the dead process to be forgotten", async || {
        let answer = site.clients[1].call(Method::POST, &path("status_query"), None).await.unwrap();
        assert!([404, 503].contains(&answer.status.as_u16()), "{}", answer.body);
        answer.status.as_u16() == 404
    })
    .await;
}
