//! Traces of real devices that are about connecting: registration, tokens, two programs with one id, uploads that
//! are not there. What the device said then is said to our server; what the server said is ours to say.

use std::collections::{BTreeMap, BTreeSet};

use keystone_edge::simulator::factory::DispatchedTask;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::bench::{Bench, is_upload_request};
use crate::harness::device::Socket;
use crate::harness::{trace_steps, until};

fn header<'a>(step: &'a Value, name: &str) -> Option<&'a str> {
    let headers = step["headers"].as_array().into_iter().flatten();
    headers.filter(|pair| pair[0] == name).find_map(|pair| pair[1].as_str())
}

fn from_device<'a>(steps: &'a [Value], channel: &str) -> impl Iterator<Item = &'a Value> {
    steps.iter().filter(move |step| step["ch"] == channel && step["dir"] == "client->server")
}

#[tokio::test]
async fn c01_what_a_robot_posts_registers_it_and_its_files_can_be_rendered() {
    let Some(steps) = trace_steps("c01_register") else { return };
    let bench = Bench::start().await;
    let posted = from_device(&steps, "http").find(|step| step["method"] == "POST").expect("a registration")["json"].clone();
    let created = async |path: &str, body: Value| bench.client.create(path, &body).await.expect("a row");
    created("/factories", json!({ "name": posted["factory"], "timezone": "UTC" })).await;
    let model = json!({ "name": "Gloves", "model": posted["robot_type"], "manufacturer": "Archebase", "ros_topics": ["/chatter"] });
    let robot_type = created("/robot_types", model).await["id"].clone();
    let robot_type = robot_type.as_str().map_or_else(|| robot_type.to_string(), str::to_owned);

    // The templates that the server of the trace had.
    let answers: Vec<&Value> = steps.iter().filter(|step| step["ch"] == "http" && step["dir"] == "server->client").collect();
    let mut templates = BTreeMap::new();
    for (asked, answer) in
        from_device(&steps, "http").zip(&answers).filter(|(asked, answer)| asked["method"] == "GET" && answer["status"] == 200)
    {
        let name = asked["target"].as_str().and_then(|target| target.rsplit('/').next()).expect("a name").to_owned();
        let text = ["text", "body"].iter().find_map(|key| answer[*key].as_str()).expect("a template").to_owned();
        templates.insert(name, text);
    }
    assert_eq!(templates.keys().collect::<Vec<_>>(), ["recorder.yaml", "transfer.yaml"]);
    for (name, content) in &templates {
        let path = format!("/robot_types/{robot_type}/config_templates/{name}");
        let put = bench.client.call(Method::PUT, &path, Some(&json!({ "content": content }))).await.unwrap();
        assert!(put.status.is_success(), "{name}: {} {}", put.status, put.body);
    }

    // Every request of the device, in its order; registrations are repeated where it repeated them.
    let known: BTreeSet<&str> = answers[0]["json"].as_object().expect("an answer").keys().map(String::as_str).collect();
    let http = reqwest::Client::new();
    let mut devices = BTreeSet::new();
    for asked in from_device(&steps, "http").take(8) {
        let target = asked["target"].as_str().expect("a target").replace("/robot_types/3/", &format!("/robot_types/{robot_type}/"));
        let mut request = http.request(asked["method"].as_str().unwrap().parse().unwrap(), format!("{}{target}", bench.server.base()));
        for name in ["User-Agent", "Accept"] {
            request = request.header(name, header(asked, name).expect("a header"));
        }
        if asked["method"] == "POST" {
            let answer = request.json(&asked["json"]).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 201, "200 counts as a failure");
            let answer: Value = answer.json().await.unwrap();
            for key in &known {
                assert!(answer[key].is_object() || answer[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {answer}");
            }
            assert!(answer["endpoints"]["recorder_rpc_url"].is_string(), "{answer}");
            devices.insert(answer["device_id"].as_str().unwrap().to_owned());
        } else {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 200, "{target}");
            assert_eq!(answer.text().await.unwrap(), templates[target.rsplit('/').next().unwrap()]);
        }
    }
    let registered = from_device(&steps, "http").take(8).filter(|step| step["method"] == "POST").count();
    assert_eq!(devices.len(), registered, "one robot per registration without a key: {devices:?}");
}

#[tokio::test]
async fn r12_a_token_opens_the_recorder_s_connection_every_time_and_no_other_does() {
    let Some(steps) = trace_steps("r12_auth") else { return };
    let bench = Bench::start_with(vec![("KEYSTONE_DEVICE_AUTH", "required".to_owned())]).await;
    let robot = bench.made.stations[0].robot_id;
    let rotated = bench.client.call(Method::POST, &format!("/robots/{robot}/ws-client-auth-token/rotate"), None).await.unwrap().body;
    let token = rotated["ws_client_auth_token"].as_str().expect("a token").to_owned();
    let mut opened = 0;
    for shake in from_device(&steps, "ws-recorder").filter(|step| step["kind"] == "handshake") {
        let path = shake["path"].as_str().unwrap().replace("AB-F0001-T0003-000001", &bench.device);
        let theirs = header(shake, "Authorization").expect("a token on every connection");
        let line = |token: &str| format!("Authorization: {token}\r\n");
        assert!(Socket::try_connect(&bench.server.address(1), &path, &line(theirs)).await.is_err(), "their token at our server");
        let ours = Socket::try_connect(&bench.server.address(1), &path, &line(&format!("Bearer {token}"))).await;
        // The third program has an id with a space in it.
        if !path.contains('%') {
            let mut recorder = ours.unwrap_or_else(|head| panic!("{path}: {head}"));
            recorder.wait_for("the first question", |frame| frame["action"] == "get_state").await;
            opened += 1;
            recorder.hang_up().await;
        } else {
            assert!(ours.err().expect("a refusal").starts_with("HTTP/1.1 4"), "{path}");
        }
    }
    assert_eq!(opened, 2);
}

#[tokio::test]
async fn r13_two_programs_with_one_id_take_the_connection_from_each_other_and_change_nothing() {
    let Some(steps) = trace_steps("r13_takeover") else { return };
    let bench = Bench::start().await;
    let task = bench.dispatch(1).await.remove(0);
    let (mut sockets, mut last) = (BTreeMap::<u64, Socket>::new(), 0);
    let (mut opened, mut refused) = (0_i64, 0);
    for step in from_device(&steps, "ws-recorder") {
        let connection = step["conn"].as_u64().unwrap_or_default();
        match step["kind"].as_str().unwrap_or_default() {
            "handshake" => {
                let path = step["path"].as_str().unwrap().replace("AB-F0001-T0003-000001", &bench.device);
                match Socket::try_connect(&bench.server.address(1), &path, "").await {
                    Ok(socket) => sockets.insert(connection, socket),
                    // By then it is clear that there are two of them, and the one that is there stays.
                    Err(head) => {
                        assert!(head.starts_with("HTTP/1.1 503"), "{head}");
                        refused += 1;
                        continue;
                    }
                };
                opened += 1;
                if let Some(mut replaced) = sockets.remove(&last) {
                    assert!(replaced.closed_within(std::time::Duration::from_secs(5)).await, "connection {last} is still open");
                }
                last = connection;
            }
            "text" => {
                let mut said = step["json"].clone();
                said["timestamp"] = json!(chrono::Utc::now().timestamp_millis());
                // A replaced connection may be gone when its program speaks.
                if let Some(socket) = sockets.get(&connection) {
                    socket.send(&said).await;
                }
            }
            "close" => {
                if let Some(socket) = sockets.remove(&connection) {
                    socket.hang_up().await;
                }
            }
            _ => {}
        }
    }
    assert!(opened > 10 && refused > 0, "they took it from each other {opened} times, and {refused} times one was refused");
    for socket in sockets.values() {
        socket.hang_up().await;
    }
    let seen = async || bench.client.get(&format!("/devices/{}/connection", bench.device)).await.unwrap();
    until("both programs to be gone", async || seen().await["recorder_connected"] == false).await;
    assert_eq!(bench.status(&task).await, "pending");
    let client = bench.server.database().await.get().await.unwrap();
    let sql = "select count(*) filter (where event_type = 'device_link_opened') as opened, count(*) filter (where event_type = 'device_link_closed') as closed from events";
    let row = client.query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (opened, opened), "every connection has an end in the log");
}

#[tokio::test]
async fn t02_what_is_not_ready_stays_where_it_is_and_a_name_with_a_slash_is_nobody_s() {
    let Some(steps) = trace_steps("t02_not_ready") else { return };
    let bench = Bench::start().await;
    let names = ["missing", "a", "b", "c"];
    let tasks: BTreeMap<&str, DispatchedTask> = names.into_iter().zip(bench.dispatch(names.len()).await).collect();
    let mut transfer = Socket::connect(&bench.server.address(2), &format!("/transfer/{}", bench.device)).await;
    let ask = async |name: &str| {
        let task = tasks.get(name).map_or(name, |task| task.public_id.as_str());
        let body = json!({ "task_id": task, "priority": 1 });
        bench.client.call(Method::POST, &format!("/transfer/{}/upload_request", bench.device), Some(&body)).await.unwrap()
    };
    for step in steps.iter().filter(|step| step["ch"] == "ws-transfer" && step["kind"] == "text") {
        let frame = &step["json"];
        if step["dir"] == "server->client" {
            match (frame["type"].as_str().unwrap(), frame["task_id"].as_str()) {
                // No id of ours has a slash; a person who asks is told so.
                ("upload_request", Some(name)) if name.contains('/') => assert_eq!(ask(name).await.status.as_u16(), 400),
                ("upload_request", Some(name)) => {
                    assert_eq!(ask(name).await.status.as_u16(), 200);
                    let task = tasks[name].public_id.clone();
                    transfer.wait_for("the request", |frame| is_upload_request(frame, &task)).await;
                }
                (kind @ ("upload_all" | "status_query"), _) => {
                    let path = format!("/transfer/{}/{kind}", bench.device);
                    assert_eq!(bench.client.call(Method::POST, &path, None).await.unwrap().status.as_u16(), 200);
                }
                other => panic!("{other:?}"),
            }
            continue;
        }
        let mut said = frame.clone();
        let id = said.pointer("/data/task_id").and_then(Value::as_str).and_then(|name| tasks.get(name));
        if let Some(task) = id {
            said["data"]["task_id"] = json!(task.public_id);
        }
        if said["type"] == "connected" {
            said["data"]["device_id"] = json!(bench.device);
        }
        transfer.send(&said).await;
    }
    // `sub/c` is uploaded and waits for an ack that nobody can give.
    let noted = async || bench.client.get(&format!("/devices/{}/messages?limit=100", bench.device)).await.unwrap();
    until("the name to be noted", async || {
        noted().await["items"].as_array().unwrap().iter().any(|entry| entry["type"] == "invalid_task_id")
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert!(!transfer.drain().iter().any(|frame| frame["type"] == "upload_ack"), "{:?}", transfer.heard);
    for (name, task) in &tasks {
        assert_eq!(bench.status(task).await, "pending", "{name}");
    }
}
