//! What can be done here without a login, and that it costs nobody anything.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use keystone_edge::domain::report::Report;
use keystone_edge::http::AuthMode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::factory::{asked, recorder_tells};
use crate::harness::bench::Bench;
use crate::harness::device::Socket;
use crate::harness::edge::{TestEdge, number};
use crate::harness::server::Server;
use crate::harness::{temp_folder, until};

async fn count(edge: &TestEdge, sql: &str) -> i64 {
    edge.database.pool.get().await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

/// A client that comes from another address of this machine.
fn client_from(address: [u8; 4]) -> reqwest::Client {
    reqwest::Client::builder().local_address(IpAddr::from(address)).build().unwrap()
}

// Texts

/// Accounts of a megabyte are not kept, not counted, and not logged; neither is anything else that is as long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_texts_cost_no_memory_and_no_log_and_forge_no_line_of_it() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.start();
    server.ready().await;
    let http = reqwest::Client::new();
    let (login, log) = (format!("{}/api/v1/auth/login", server.base()), folder.path().join("log"));
    let (before, logged) = (server.resident_bytes(), std::fs::metadata(&log).unwrap().len());

    for n in 0..100_u32 {
        let account = format!("{n}{}", "a".repeat(1_000_000));
        // It may be closed on while it is being sent.
        let answer = http.post(&login).json(&json!({ "account": account, "password": "guess" })).send().await;
        assert!(answer.is_err() || answer.unwrap().status() == 413);
    }
    for n in 0..100_u32 {
        let account = format!("{n}{}", "b".repeat(10_000));
        assert_eq!(http.post(&login).json(&json!({ "account": account, "password": "guess" })).send().await.unwrap().status(), 400);
        let longer = json!({ "account": format!("li{n}"), "password": "c".repeat(10_000) });
        assert_eq!(http.post(&login).json(&longer).send().await.unwrap().status(), 400);
        let path = format!("{}/{n}{}", server.base(), "d".repeat(30_000));
        assert_eq!(http.get(path).send().await.unwrap().status(), 404);
    }
    let head = http.get(format!("{}/{}", server.base(), "e".repeat(100_000))).send().await;
    assert!(head.is_err() || head.unwrap().status() == 431);
    let nowhere = format!("{}/nowhere", server.base());
    let odd = http.request("F".repeat(20_000).parse().unwrap(), nowhere).send().await.unwrap();
    assert_eq!(odd.status(), 404);

    let forged = "op\n2026-11-25T10:00:00.000000Z  INFO keystone_edge::http::auth::login: Logged in `admin`\u{1b}[2K";
    assert_eq!(http.post(&login).json(&json!({ "account": forged, "password": "guess" })).send().await.unwrap().status(), 401);
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("Refused a login as `op\\n2026-11-25T10:00:00"), "{text}");
    for line in text.lines() {
        assert!(line.starts_with("20") && !line.contains('\u{1b}'), "a line that nobody wrote: {line}");
    }
    let (grown, written) = (server.resident_bytes().saturating_sub(before) >> 20, std::fs::metadata(&log).unwrap().len() - logged);
    println!("memory grew by {grown} MiB, the log by {written} bytes");
    assert!(grown < 40, "memory grew by {grown} MiB");
    assert!(written < 300_000, "the log grew by {written} bytes");
}

/// `comparable` is how accounts are looked up: what it finds is what is counted.
#[tokio::test]
async fn a_name_spelled_in_many_ways_is_guessed_at_like_one() {
    let edge = TestEdge::start().await;
    edge.seed().await;
    let spellings = ["li", "LI", "l\u{301}i", "li\u{308}", "ｌｉ", "l\u{300}\u{301}i", "Lí", "ĺi", "l\u{302}i\u{302}", "lì"];
    let mut answers = vec![];
    for spelling in spellings {
        answers.push(edge.log_in(spelling, "guess").await.0);
    }
    assert_eq!(answers[..8], [401; 8]);
    assert_eq!(answers[8..], [429; 2]);
    assert_eq!(edge.log_in("li", "li's password").await.0, 429);
    // Another account is not locked out by that, and whoever gets in starts anew.
    for _ in 0..3 {
        assert_eq!(edge.log_in("admin", "guess").await.0, 401);
        assert_eq!(edge.log_in("admin", "open sesame").await.0, 200);
    }
}

// Keys

#[tokio::test]
async fn keys_of_strangers_are_kept_only_with_what_they_did() {
    let edge = TestEdge::start().await;
    edge.seed().await;
    let register = async |key: String, body: Value| {
        let request = edge.request("", "POST", "/api/v1/devices/register").header("idempotency-key", key).json(&body);
        request.send().await.unwrap().status().as_u16()
    };
    for n in 0..50 {
        let key = format!("{}-{n}", uuid::Uuid::new_v4());
        assert_eq!(register(key.clone(), json!({ "factory": format!("F{n}"), "robot_type": "arm-1" })).await, 404);
        assert_eq!(register(key, json!({ "factory": "" })).await, 400);
    }
    assert_eq!(count(&edge, "select count(*) from idempotency_keys").await, 0);
    assert_eq!(register(uuid::Uuid::new_v4().to_string(), json!({ "factory": "Factory Shanghai", "robot_type": "arm-1" })).await, 201);
    assert_eq!(count(&edge, "select count(*) from idempotency_keys").await, 1);
    // They count per address, whatever comes of them.
    let mut throttled = 0;
    for _ in 0..300 {
        throttled += u32::from(register(uuid::Uuid::new_v4().to_string(), json!({})).await == 429);
    }
    assert!(throttled > 0);
    assert_eq!(edge.send_as("", "POST", "/api/v1/devices/register", json!({})).await.0, 400, "without a key nothing is counted");
}

#[tokio::test]
async fn somebody_elses_key_opens_no_token() {
    let edge = TestEdge::start().await;
    edge.seed().await;
    let body = json!({ "factory": "Factory Shanghai", "robot_type": "arm-1" });
    let register = async |from: [u8; 4], key: &str| {
        let request = client_from(from).post(format!("{}/api/v1/devices/register", edge.base));
        let answer = request.header("idempotency-key", key).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (here, there, key) = ([127, 0, 0, 1], [127, 0, 0, 2], "8f14e45f-ceea-467f-a34e-3b1d5a8e2c11");
    let first = register(here, key).await;
    assert_eq!(first.0, 201, "{}", first.1);
    assert_eq!(register(here, key).await, first, "who got no answer asks again");
    let stranger = register(there, key).await;
    assert_ne!(stranger.1["ws_client_auth_token"], first.1["ws_client_auth_token"]);
    assert_ne!(stranger.1["device_id"], first.1["device_id"]);
    // One that can be guessed is no secret.
    for guess in ["robot-7", "aaaaaaaaaaaaaaaaaaaaaa", "0000000000000000000001", "10101010-1010-1010-1010-101010101010"] {
        let guessable = register(here, guess).await;
        assert_eq!((guessable.0, &guessable.1["code"]), (400, &json!("idempotency_key_invalid")), "{guess}");
    }
    // Later on the same address, whoever comes then.
    let later =
        "update idempotency_keys set outcome = jsonb_set(outcome, '{registered_at}', '\"2026-01-01T00:00:00Z\"') where outcome is not null";
    assert_eq!(edge.database.pool.get().await.unwrap().execute(later, &[]).await.unwrap(), 2);
    let late = register(here, key).await;
    assert_eq!((late.0, &late.1["code"], &late.1["device_id"]), (409, &json!("registration_answered"), &first.1["device_id"]));
    assert!(!late.1.to_string().contains("kws_v1_"), "{}", late.1);
    assert_eq!(edge.get("/api/v1/robots").await.1["total"], 3);
}

// Callbacks

const DEVICE: &str = "AB-F0001-T0001-000001";

#[tokio::test]
async fn callbacks_of_strangers_change_nothing() {
    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let created = edge.create("/api/v1/batches", seed.batch(2)).await;
    let public_id = created["tasks"][0]["task_id"].as_str().unwrap().to_owned();
    let other = created["tasks"][1]["task_id"].as_str().unwrap().to_owned();
    let status = async || edge.get(&format!("/api/v1/tasks/{}", number(&created["tasks"][0]["id"]))).await.1["status"].clone();
    let body = |task: &str, device: &str| json!({ "task_id": task, "device_id": device, "output_path": "/x.mcap" });

    let plain = "/api/v1/callbacks/finish".to_owned();
    for path in [
        plain.clone(),
        format!("{plain}?token="),
        format!("{plain}?token=x"),
        format!("{plain}?token={}", "A".repeat(43)),
        edge.callback("finish", &other, DEVICE),
        edge.callback("finish", &public_id, "AB-OTHER"),
    ] {
        for path in [path.clone(), path.replace("finish", "start")] {
            let (answered, answer) = edge.send_as("", "POST", &path, body(&public_id, DEVICE)).await;
            assert_eq!((answered, &answer["code"]), (401, &json!("callback_token_invalid")), "{path}: {answer}");
            assert!(answer["error_msg"].is_string() && answer.get("error").is_none());
        }
    }
    for strange in [json!({ "task_id": "no such task" }), json!({ "task_id": "task_unknown" }), json!({ "task_id": public_id })] {
        assert_eq!(edge.send_as("", "POST", "/api/v1/callbacks/start", strange).await.0, 401);
    }
    assert_eq!(status().await, "pending");
    assert_eq!(count(&edge, "select count(*) from events where aggregate_type = 'task'").await, 2, "a stranger wrote to a task");
    for _ in 0..40 {
        edge.send_as("", "POST", &plain, body(&public_id, DEVICE)).await;
    }
    assert_eq!(count(&edge, "select count(*) from events where event_type = 'device_report_refused'").await, 20);

    // The right token proves who it is, and a task that nobody configured stays where it is.
    let (answered, answer) = edge.send_as("", "POST", &edge.callback("start", &public_id, DEVICE), body(&public_id, DEVICE)).await;
    assert_eq!((answered, &answer["task_status"]), (200, &json!("unknown")));
    let (answered, answer) = edge.send_as("", "POST", &edge.callback("finish", &public_id, DEVICE), body(&public_id, DEVICE)).await;
    assert_eq!((answered, &answer["code"], &answer["current_status"]), (409, &json!("task_not_configured"), &json!("pending")));
    assert_eq!(status().await, "pending");
}

#[tokio::test]
async fn older_deployments_take_callbacks_as_they_come() {
    let edge = TestEdge::start_with(|settings| settings.auth_mode = AuthMode::Compat).await;
    let seed = edge.seed().await;
    let created = edge.create("/api/v1/batches", seed.batch(1)).await;
    let body = json!({ "task_id": created["tasks"][0]["task_id"], "device_id": DEVICE, "output_path": "/x.mcap" });
    // And still no callback alone moves what nobody configured.
    assert_eq!(edge.send_as("", "POST", "/api/v1/callbacks/start", body.clone()).await.1["task_status"], "unknown");
    assert_eq!(edge.send_as("", "POST", "/api/v1/callbacks/finish", body).await.1["code"], "task_not_configured");
}

#[tokio::test]
async fn who_changes_something_without_a_login_is_recorded_as_nobody_known() {
    let edge = TestEdge::start_with(|settings| settings.auth_mode = AuthMode::Compat).await;
    assert_eq!(edge.send_as("", "POST", "/api/v1/factories", json!({"name": "Suzhou"})).await.0, 201);
    edge.create("/api/v1/factories", json!({"name": "Wuhan"})).await;
    let client = edge.database.pool.get().await.unwrap();
    let sql = "select metadata ->> 'actor', metadata ->> 'role', metadata ? 'source_address' from events order by seq";
    let rows = client.query(sql, &[]).await.unwrap();
    let recorded: Vec<(&str, &str, bool)> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    assert_eq!(recorded, [("anonymous", "anonymous", true), ("user:admin", "admin", true)]);
}

/// Where a site says so, a recorder that was configured past this server is known by where it connects from.
#[tokio::test]
async fn a_known_device_posts_from_where_its_recorder_connects_from() {
    use keystone_edge::commands::devices::OpenLink;
    use keystone_edge::domain::device::LinkKind;
    use keystone_edge::domain::{DeviceId, PublicTaskId};

    for (known, remote, status) in [
        (true, "127.0.0.1:4711", 200),
        (true, "[::ffff:127.0.0.1]:4711", 200),
        (true, "10.0.0.1:4711", 401),
        (false, "127.0.0.1:4711", 401),
    ] {
        let edge = TestEdge::start_with(|settings| settings.callbacks_of_known_devices = known).await;
        let seed = edge.seed().await;
        let created = edge.create("/api/v1/batches", seed.batch(2)).await;
        let device = DeviceId::parse(DEVICE).unwrap();
        let task = |nth: usize| PublicTaskId::parse(created["tasks"][nth]["task_id"].as_str().unwrap()).unwrap();
        let finish = async |query: &str, device: &str, task: &PublicTaskId| {
            let body = json!({ "task_id": task, "device_id": device, "output_path": "/x.mcap" });
            edge.send_as("", "POST", &format!("/api/v1/callbacks/finish{query}"), body).await
        };
        assert_eq!(finish("", DEVICE, &task(0)).await.0, 401, "it never connected");

        let open = OpenLink { device: device.clone(), kind: LinkKind::Recorder, remote: remote.into(), process: None };
        let epoch = edge.execute(open).await;
        edge.execute(recorder_tells(&device, epoch, Report::ConfigApplied { task: task(0) })).await;
        assert_eq!(finish("", "SOME-OTHER", &task(0)).await.0, 401, "the task is not that robot's");
        assert_eq!(finish("?token=x", DEVICE, &task(0)).await.0, 401, "a wrong token is worse than none");
        let (answered, body) = finish("", DEVICE, &task(0)).await;
        assert_eq!(answered, status, "{known} {remote}: {body}");
        // A callback alone moves nothing that nobody configured, known or not.
        if status == 200 {
            assert_eq!(body["task_status"], "uploading");
            assert_eq!(finish("", DEVICE, &task(1)).await.1["code"], "task_not_configured");
        }
    }
}

/// An address that a proxy of ours has, or that nobody established, proves nothing.
#[tokio::test]
async fn the_address_of_a_proxy_is_no_known_device() {
    for (trusted, contradicted) in [("", 200), ("127.0.0.1", 401)] {
        let settings = [("KEYSTONE_DEVICE_CALLBACKS", "known_device"), ("KEYSTONE_TRUSTED_PROXIES", trusted)];
        let bench = Bench::start_with(settings.map(|(name, value)| (name, value.to_owned())).to_vec()).await;
        let task = bench.dispatch(1).await.remove(0);
        let (_recorder, _transfer) = bench.sockets().await;
        let body = json!({ "task_id": task.public_id, "device_id": bench.device });
        let post = async |headers: &[(&str, &str)]| {
            let url = format!("{}/api/v1/callbacks/start", bench.server.base());
            let request = reqwest::Client::new().post(url).json(&body);
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            request.send().await.unwrap().status().as_u16()
        };
        assert_eq!(post(&[]).await, contradicted, "{trusted}");
        assert_eq!(post(&[("X-Forwarded-For", "9.9.9.9"), ("Forwarded", "for=8.8.8.8")]).await, contradicted, "{trusted}");
        assert_eq!(post(&[("X-Forwarded-For", "9.9.9.9"), ("Forwarded", "x")]).await, contradicted, "{trusted}");
        assert_eq!(post(&[("X-Forwarded-For", "9.9.9.9")]).await, contradicted, "{trusted}");
    }
}

/// A recorder posts to exactly the link it was given; nothing else of the server knows the token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorder_shows_the_token_it_was_configured_with() {
    let bench = Bench::start().await;
    let tasks = bench.dispatch(2).await;
    let (mut recorder, transfer) = bench.sockets().await;
    let state = |state: &str, task: Option<&str>| {
        json!({ "type": "state_update", "timestamp": chrono::Utc::now().timestamp_millis(),
                "data": { "previous": "idle", "current": state, "task_id": task } })
    };
    recorder.send(&state("idle", None)).await;
    transfer.send(&crate::harness::bench::connected(&bench.device, &json!([]), &json!([]))).await;
    let http = reqwest::Client::new();
    let mut links: Vec<(String, String)> = vec![];
    for task in &tasks {
        until("the recorder to be idle", async || {
            let state = bench.client.get(&format!("/recorder/{}/state", bench.device)).await.unwrap();
            state["state_synced"] == true && state["current_state"] == "idle"
        })
        .await;
        let config = bench.client.get(&format!("/tasks/{}/config", task.id)).await.unwrap();
        assert!(!config.to_string().contains("token="), "the configuration that people read has no secret: {config}");
        let (client, path) = (bench.client.clone(), format!("/recorder/{}/config", bench.device));
        let asked =
            tokio::spawn(async move { client.call(reqwest::Method::POST, &path, Some(&json!({ "task_config": config }))).await.unwrap() });
        let request = loop {
            let request = recorder.wait_for("a request", |frame| frame["type"] == "rpc_request").await;
            if request["action"] == "config" {
                break request;
            }
            recorder
                .send(&json!({ "type": "rpc_response", "request_id": request["request_id"], "success": true, "data": { "state": "idle" } }))
                .await;
        };
        let given = &request["params"]["task_config"];
        let link = |key: &str| given[key].as_str().unwrap().to_owned();
        links.push((link("start_callback_url"), link("finish_callback_url")));
        recorder.send(&state("ready", Some(&task.public_id))).await;
        let answer = json!({ "type": "rpc_response", "request_id": request["request_id"], "success": true, "data": { "state": "ready", "task_id": task.public_id } });
        recorder.send(&answer).await;
        assert!(asked.await.unwrap().status.is_success());
        bench.until_status(task, "ready").await;

        let body = json!({ "task_id": task.public_id, "device_id": bench.device, "output_path": "/x.mcap", "status": "recording" });
        let post = async |url: &str| {
            let answer = http.post(url).json(&body).send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        };
        let (start, finish) = links.last().unwrap();
        assert!(start.starts_with(&format!("{}/api/v1/callbacks/start?token=", bench.server.base())), "{start}");
        let bare = |url: &str| url.split('?').next().unwrap().to_owned();
        assert_eq!(post(&bare(start)).await.0, 401);
        assert_eq!(post(&bare(finish)).await.0, 401);
        // The token of the task before opens this one no more than any other does.
        assert_eq!(post(&links[0].1).await.0 == 200, links.len() == 1, "{links:?}");
        if links.len() == 1 {
            bench.until_status(task, "uploading").await;
        } else {
            assert_eq!(bench.status(task).await, "ready");
            assert_eq!(post(start).await.1["task_status"], "in_progress");
            assert_eq!(post(finish).await.1["task_status"], "uploading");
        }
        recorder.send(&state("idle", Some(&task.public_id))).await;
    }
    let database = bench.server.database().await.get().await.unwrap();
    let log = std::fs::read_to_string(bench.server.folder.join("log")).unwrap();
    for (start, _) in &links {
        let token = start.split_once("token=").unwrap().1;
        assert!(!log.contains(token), "the token is in the log");
        let stored = "select count(*) from events where payload::text || metadata::text like '%' || $1 || '%'";
        assert_eq!(database.query_one(stored, &[&token]).await.unwrap().get::<_, i64>(0), 0, "the token is in an event");
    }
}

/// What a version before tokens configured has links without one, and goes on.
#[tokio::test]
async fn a_task_that_was_configured_before_there_were_tokens_goes_on() {
    use keystone_edge::commands::devices::OpenLink;
    use keystone_edge::domain::device::{LinkKind, RecorderAction};
    use keystone_edge::domain::{DeviceId, PublicTaskId};

    let edge = TestEdge::start().await;
    let seed = edge.seed().await;
    let created = edge.create("/api/v1/batches", seed.batch(2)).await;
    let device = DeviceId::parse(DEVICE).unwrap();
    let epoch = edge.execute(OpenLink { device: device.clone(), kind: LinkKind::Recorder, remote: "10.0.0.1".into(), process: None }).await;
    let mut public_ids = vec![];
    for created in created["tasks"].as_array().unwrap() {
        let task = PublicTaskId::parse(created["task_id"].as_str().unwrap()).unwrap();
        edge.execute(asked(&device, RecorderAction::Config, Some(task.clone()))).await;
        if public_ids.is_empty() {
            // As that version wrote it.
            let older = "set session_replication_role = replica;
                         update events set event_version = '1.1', payload = payload #- '{device_command_requested,callback_token}'
                         where event_type = 'device_command_requested'";
            let superuser = edge.database.superuser_url.expose();
            let (client, connection) = tokio_postgres::connect(superuser, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(older).await.unwrap();
        }
        edge.execute(recorder_tells(&device, epoch, Report::ConfigApplied { task: task.clone() })).await;
        let body = json!({ "task_id": task, "device_id": DEVICE, "output_path": "/x.mcap" });
        let finished = edge.send_as("", "POST", "/api/v1/callbacks/finish", body.clone()).await;
        let wrong = edge.send_as("", "POST", "/api/v1/callbacks/finish?token=x", body).await;
        assert_eq!(wrong.0, 401, "a wrong one is worse than none");
        if public_ids.is_empty() {
            assert_eq!((finished.0, &finished.1["task_status"]), (200, &json!("uploading")), "{}", finished.1);
        } else {
            assert_eq!(finished.0, 401, "this version gave it a token: {}", finished.1);
        }
        public_ids.push(task.to_string());
    }
}

// Connections

async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = vec![];
    // A connection that is cut has said what it had to.
    let _ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await.expect("an end");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Idle connections from one address take no place from others, on the port for objects neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_cannot_take_all_connections() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    let settings = std::fs::read_to_string(folder.path().join("keystone.toml")).unwrap();
    std::fs::write(folder.path().join("keystone.toml"), settings.replace("[limits]\n", "[limits]\nconnections_per_address_max = 50\n"))
        .unwrap();
    server.settings.push(("KEYSTONE_TRUSTED_PROXIES", "127.0.0.9".to_owned()));
    server.start();
    server.ready().await;
    let connect_to = async |port: usize, from: [u8; 4]| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(server.address(port).parse().unwrap()).await.unwrap()
    };
    let connect = async |from| connect_to(0, from).await;
    let mut idle = vec![];
    for _ in 0..200 {
        idle.push(connect([127, 0, 0, 2]).await);
    }
    let refused = read_all(idle.last_mut().unwrap()).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("Retry-After"), "{refused}");
    let metrics = reqwest::get(format!("{}/metrics", server.base())).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("keystone_connections_refused_total{cause=\"address\"} 150"), "{metrics}");
    // Everybody else is served, and so is this one when it lets go.
    let health = format!("{}/api/v1/health", server.base());
    assert_eq!(reqwest::get(&health).await.unwrap().status(), 200);
    drop(idle);
    let again = client_from([127, 0, 0, 2]);
    until("its connections to be forgotten", async || again.get(&health).send().await.is_ok_and(|answer| answer.status() == 200)).await;
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("Turned away"), "{}", server.tail());
    let told = || {
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        let lines = log.split("Turned away ").skip(1).map(|rest| rest.split(' ').next().unwrap().parse::<u32>().unwrap());
        lines.collect::<Vec<_>>()
    };
    until("all of them to be told", async || told().iter().sum::<u32>() >= 150).await;
    assert!(told().len() < 5, "one line says how many: {:?}", told());

    let mut idle = vec![];
    for _ in 0..60 {
        idle.push(connect_to(3, [127, 0, 0, 2]).await);
    }
    let refused = read_all(idle.last_mut().unwrap()).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    // A proxy that is trusted brings many callers.
    for _ in 0..60 {
        idle.push(connect_to(3, [127, 0, 0, 9]).await);
    }
    let last = idle.last_mut().unwrap();
    last.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let answered = read_all(last).await;
    assert!(answered.starts_with("HTTP/1.1 403"), "{answered}");
}

/// A request that is refused before its body was read costs neither its answer nor the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_refusal_does_not_break_the_next_request() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.start();
    server.ready().await;
    let next = "GET /api/v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let head = |path: &str, length: usize| {
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n")
    };
    let open = || async { TcpStream::connect(server.address(0)).await.unwrap() };

    // Small enough to be read away: the connection stays.
    for (path, bytes, status) in [("/api/v1/orders", 200_000, 401), ("/api/v1/auth/login", 200_000, 413), ("/nothing", 100_000, 404)] {
        let mut stream = open().await;
        stream.write_all(head(path, bytes).as_bytes()).await.unwrap();
        for piece in vec![b'x'; bytes].chunks(20_000) {
            stream.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stream.write_all(next.as_bytes()).await.unwrap();
        let answers = read_all(&mut stream).await;
        assert!(answers.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answers}");
        assert!(answers.contains("HTTP/1.1 200 OK") && answers.ends_with('}'), "{path}: the next request got no answer: {answers}");
    }

    // Too large for that: the answer arrives whole, says that it is the last, and then it ends.
    for (path, status) in [("/api/v1/orders", 401), ("/api/v1/auth/login", 413)] {
        let stream = open().await;
        let (mut read, mut write) = stream.into_split();
        let answer = tokio::spawn(async move {
            let mut bytes = vec![];
            let ended = tokio::time::timeout(Duration::from_secs(20), read.read_to_end(&mut bytes)).await.expect("an end");
            (ended.is_ok(), String::from_utf8_lossy(&bytes).into_owned())
        });
        write.write_all(head(path, 8 << 20).as_bytes()).await.unwrap();
        // As far as it is let.
        let _closed_on_us = write.write_all(&vec![b'x'; 8 << 20]).await;
        let (whole, answer) = answer.await.unwrap();
        assert!(whole, "{path}: the connection was cut");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.to_lowercase().contains("connection: close"),
            "{path}: {answer}"
        );
        assert!(answer.ends_with('}'), "{path}: {answer}");
    }

    // Who asks first is not made to send it.
    let mut stream = open().await;
    let asks = head("/api/v1/orders", 100_000).replace("Content-Type", "Expect: 100-continue\r\nContent-Type");
    stream.write_all(asks.as_bytes()).await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.to_lowercase().contains("connection: close"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_arrive_is_answered_and_given_up() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.settings.push(("KEYSTONE_READ_TIMEOUT", "1".to_owned()));
    server.settings.push(("KEYSTONE_WRITE_TIMEOUT", "3".to_owned()));
    server.start();
    server.ready().await;
    let mut stream = TcpStream::connect(server.address(0)).await.unwrap();
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"acc";
    stream.write_all(head.as_bytes()).await.unwrap();
    let sent = Instant::now();
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_too_slow"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    println!("given up after {:?}", sent.elapsed());
}

/// A page of another site can make a browser send things; what it sends says where it comes from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_sites_change_nothing_and_open_no_socket() {
    let bench = Bench::start_with(vec![("KEYSTONE_ALLOWED_ORIGINS", "https://synapse.factory".to_owned())]).await;
    let http = reqwest::Client::new();
    let login = async |origin: Option<&str>| {
        let mut request = http.post(format!("{}/api/v1/auth/login", bench.server.base())).json(&json!({ "account": "x", "password": "x" }));
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["code"].clone())
    };
    let own = bench.server.base();
    for origin in [None, Some(own.as_str()), Some("https://synapse.factory")] {
        assert_eq!(login(origin).await, (401, json!("login_refused")), "{origin:?}");
    }
    for origin in ["https://evil.example", "null", "http://127.0.0.1"] {
        assert_eq!(login(Some(origin)).await, (403, json!("origin_refused")), "{origin}");
    }
    let health = http.get(format!("{own}/api/v1/health")).header("origin", "https://evil.example").send().await.unwrap();
    assert_eq!(health.status(), 200, "looking is not changing");

    for (port, path) in [(0, "recorder"), (0, "transfer"), (1, "recorder"), (2, "transfer")] {
        let (address, path) = (bench.server.address(port), format!("/{path}/{}", bench.device));
        let refused = Socket::try_connect(&address, &path, "Origin: https://evil.example\r\n").await.err().expect("a refusal");
        assert!(refused.starts_with("HTTP/1.1 403"), "{path} on port {port}: {refused}");
        Socket::try_connect(&address, &path, "").await.unwrap();
        Socket::try_connect(&address, &path, &format!("Origin: http://{address}\r\n")).await.unwrap();
    }
}

/// A caller's address counts attempts and stands in events: it comes from a proxy where that is trusted, and else
/// from nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_taken_from_a_proxy_that_is_trusted_and_from_nobody_else() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.settings.push(("KEYSTONE_TRUSTED_PROXIES", "127.0.0.2".to_owned()));
    server.start();
    server.ready().await;
    let guess = async |from: [u8; 4], forwarded: &str| {
        let request = client_from(from).post(format!("{}/api/v1/auth/login", server.base())).header("x-forwarded-for", forwarded);
        request.json(&json!({ "account": "admin", "password": "guess" })).send().await.unwrap().status().as_u16()
    };
    let (stranger, proxy) = ([127, 0, 0, 3], [127, 0, 0, 2]);
    let mut answers = vec![];
    for n in 0..9 {
        answers.push(guess(stranger, &format!("10.0.0.{n}")).await);
    }
    assert_eq!(answers[8], 429, "a stranger writes what it likes: {answers:?}");
    let mut answers = vec![];
    for n in 0..9 {
        answers.push(guess(proxy, &format!("6.6.6.6, 10.0.0.{n}")).await);
    }
    assert_eq!(answers, [401; 9], "nine callers behind a proxy");
    for n in 0..8 {
        answers.push(guess(proxy, &format!("7.7.7.{n}, 10.0.0.1")).await);
    }
    assert_eq!(answers[16], 429, "one caller who writes other addresses in front: {answers:?}");
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("10.0.0.1") && !log.contains("6.6.6.6"), "{}", server.tail());
}
