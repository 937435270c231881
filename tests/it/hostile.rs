//! Devices that mean harm, or are broken: what they send costs them their connection and nobody else anything.

use std::time::{Duration, Instant};

use rand::RngCore as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::bench::Bench;
use crate::harness::device::Socket;
use crate::harness::until;

const HOSTILE: usize = 12;

async fn robots(bench: &Bench) -> Vec<String> {
    let robot_type = bench.client.get("/robot_types").await.unwrap()["items"][0]["id"].to_string();
    let mut made = vec![];
    for n in 0..HOSTILE {
        let device = format!("AB-hostile-{n}");
        let body = json!({ "robot_type_id": robot_type, "factory_id": bench.made.factory_id.to_string(), "device_id": device });
        bench.client.create("/robots", &body).await.unwrap();
        made.push(device);
    }
    made
}

/// What one of them sends, until it is closed on.
async fn attack(kind: usize, socket: &mut Socket) -> std::io::Result<()> {
    let mut random = vec![0; 4096];
    rand::rng().fill_bytes(&mut random);
    match kind % 6 {
        // Frames of random bytes, whole and in pieces.
        0 => {
            for cut in [1, 100, 2_000] {
                let (a, b) = random.split_at(cut);
                socket.try_send_pieces(&[a, b]).await?;
                socket.try_send_pieces(&[&random]).await?;
            }
        }
        // JSON that is deep.
        1 => {
            for open in ["[", "{\"data\":"] {
                socket.try_send_pieces(&[open.repeat(200_000).as_bytes()]).await?;
            }
        }
        // JSON that is wide, with ids that want to leave their folder.
        2 => {
            let ids = ["../../etc/passwd", "a/b", "\u{0}", "..", "%2e%2e", "x".repeat(100_000).leak()];
            for id in ids {
                for message in [
                    json!({ "type": "upload_not_found", "data": { "task_id": id, "detail": "y".repeat(100_000) } }),
                    json!({ "type": "config_applied", "data": { "task_id": id } }),
                    json!({ "type": "state_update", "data": { "current": id, "task_id": id } }),
                ] {
                    socket.try_send_pieces(&[message.to_string().as_bytes()]).await?;
                }
            }
        }
        // Texts of just under and just over the limit.
        3 => {
            let text = format!("{{\"type\":\"status\",\"data\":{{\"x\":\"{}\"}}}}", "z".repeat((16 << 20) - 100));
            socket.try_send_pieces(&[text.as_bytes()]).await?;
            socket.try_send_pieces(&[text.as_bytes(), text.as_bytes()]).await?;
        }
        // A flood of small messages, and of answers that nobody waits for.
        4 => {
            for n in 0..20_000 {
                let message = json!({ "type": "upload_started", "data": { "task_id": format!("t-{n}") } });
                socket.try_send_pieces(&[message.to_string().as_bytes()]).await?;
                let answer =
                    json!({ "type": "rpc_response", "request_id": uuid::Uuid::new_v4(), "success": true, "data": { "state": "idle" } });
                socket.try_send_pieces(&[answer.to_string().as_bytes()]).await?;
            }
        }
        // A message without an end.
        _ => {
            for _ in 0..2_000 {
                socket.try_send_piece(false, &random).await?;
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_devices_cost_memory_and_others_nothing() {
    let bench = Bench::start().await;
    let devices = robots(&bench).await;
    let (mut recorder, mut transfer) = bench.sockets().await;
    recorder.wait_for("the first question", |frame| frame["action"] == "get_state").await;
    let before = bench.server.resident_bytes();

    // Handshakes that never come to their end.
    let mut slow = vec![];
    for n in 0..200 {
        let mut stream = TcpStream::connect(bench.server.address(1 + n % 2)).await.unwrap();
        stream.write_all(b"GET /recorder/AB-hostile-0 HTTP/1.1\r\nHost: x\r\nUpgr").await.unwrap();
        slow.push(stream);
    }
    let mut attackers = tokio::task::JoinSet::new();
    for round in 0..3 {
        for (n, device) in devices.iter().enumerate() {
            let path = if n % 2 == 0 { format!("/transfer/{device}") } else { format!("/recorder/{device}") };
            let address = bench.server.address(if n % 2 == 0 { 2 } else { 1 });
            attackers.spawn(async move {
                // Takes its own connection over, too.
                let mut socket = Socket::connect(&address, &path).await;
                let _closed_on_us = attack(n / 2 + round, &mut socket).await;
            });
        }
    }
    // Meanwhile: a device that behaves.
    let mut slowest = Duration::ZERO;
    while !attackers.is_empty() {
        for socket in [&mut recorder, &mut transfer] {
            let asked = Instant::now();
            socket.ping().await;
            socket.wait_for("a pong", |frame| *frame == json!("pong")).await;
            slowest = slowest.max(asked.elapsed());
        }
        let next = tokio::time::timeout(Duration::from_millis(50), attackers.join_next()).await;
        if let Ok(Some(ended)) = next {
            ended.expect("an attacker ends");
        }
    }
    println!("the slowest pong took {slowest:?}, memory grew by {} MiB", (bench.server.resident_bytes().saturating_sub(before)) >> 20);
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    let grown = |now: u64| now.saturating_sub(before) >> 20;
    until("memory to be given back", async || grown(bench.server.resident_bytes()) < 400).await;
    // It works as before, and nothing of theirs is a task or a file.
    let alive = bench.client.get("/recorder/devices").await.unwrap();
    assert!(alive["devices"].as_array().unwrap().iter().any(|device| device["device_id"] == json!(bench.device)), "{alive}");
    let task = bench.dispatch(1).await.remove(0);
    recorder
        .send(&json!({ "type": "state_update", "timestamp": chrono::Utc::now().timestamp_millis(),
                           "data": { "previous": "ready", "current": "ready", "task_id": task.public_id } }))
        .await;
    bench.until_status(&task, "ready").await;
    let database = bench.server.database().await.get().await.unwrap();
    let strange = "select count(*) from events where aggregate_type not in ('device') and payload::text ~ '(\\.\\./|etc/passwd)'";
    assert_eq!(database.query_one(strange, &[]).await.unwrap().get::<_, i64>(0), 0);
    let late = "select count(*) from events where event_type = 'device_command_answered_late'";
    assert_eq!(database.query_one(late, &[]).await.unwrap().get::<_, i64>(0), 0, "answers to what nobody asked");
    drop(slow);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stuck_devices_hold_up_nobody() {
    let bench = Bench::start().await;
    let (mut stuck, mut asked) = (vec![], tokio::task::JoinSet::new());
    for device in robots(&bench).await {
        let path = format!("/recorder/{device}");
        // It is asked for its state first, and never answers.
        stuck.push(Socket::connect(&bench.server.address(1), &path).await);
        for _ in 0..3 {
            let (client, path) = (bench.client.clone(), format!("{path}/pause"));
            asked.spawn(async move { client.call(Method::POST, &path, None).await });
        }
    }
    let requested = "select count(*) from events where event_type = 'device_command_requested'";
    let database = bench.server.database().await.get().await.unwrap();
    let all = i64::try_from(asked.len()).unwrap();
    until("all to be asked", async || database.query_one(requested, &[]).await.unwrap().get::<_, i64>(0) == all).await;

    let mut recorder = Socket::connect(&bench.server.address(1), &format!("/recorder/{}", bench.device)).await;
    let (client, path) = (bench.client.clone(), format!("/recorder/{}/pause", bench.device));
    let command = tokio::spawn(async move { client.call(Method::POST, &path, None).await.unwrap() });
    for action in ["get_state", "pause"] {
        let request = recorder.wait_for(action, |frame| frame["action"] == action).await;
        let id = &request["request_id"];
        recorder.send(&json!({ "type": "rpc_response", "request_id": id, "success": true, "data": { "state": "idle" } })).await;
    }
    assert_eq!(command.await.unwrap().body["success"], json!(true));
    assert!(asked.try_join_next().is_none(), "answered before those who were asked first");
    let (_, mut transfer) = bench.sockets().await;
    transfer.ping().await;
    transfer.wait_for("a pong", |frame| *frame == json!("pong")).await;
    drop(stuck);
}

/// A measure's value, or nothing where it was never counted.
fn measured(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[tokio::test]
async fn a_flood_is_slowed_down_and_what_exceeds_a_limit_is_counted() {
    let bench = Bench::start().await;
    let (mut flood, mut large) = bench.sockets().await;
    for n in 0..12_500 {
        flood.send(&json!({ "type": "nobody_knows", "n": n })).await;
    }
    flood.ping().await;
    flood.wait_for("a pong, after all of it", |frame| *frame == json!("pong")).await;
    // Too much is written into a connection that is closed meanwhile.
    let _refused = large.try_send_pieces(&[" ".repeat(17 << 20).as_bytes()]).await;
    assert!(large.closed_within(Duration::from_secs(30)).await);
    assert!(Socket::try_connect(&bench.server.address(1), "/recorder/AB-nobody", "").await.is_err());

    let (http, url) = (reqwest::Client::new(), format!("{}/metrics", bench.server.base()));
    for (name, least) in [
        ("keystone_device_frames_delayed_total", 1.0),
        ("keystone_device_messages_dropped_total{cause=\"unknown_type\"}", 12_500.0),
        ("keystone_device_links_ended_total{kind=\"transfer\",cause=\"message_too_big\"}", 1.0),
        ("keystone_device_handshakes_refused_total{kind=\"recorder\",cause=\"unknown_device\"}", 1.0),
    ] {
        until(name, async || {
            let metrics = http.get(&url).send().await.unwrap().text().await.unwrap();
            measured(&metrics, name).is_some_and(|count| count >= least)
        })
        .await;
    }
    assert!(flood.is_open());
}

#[tokio::test]
async fn handshakes_that_cannot_be_are_refused_before_they_cost_anything() {
    let bench = Bench::start().await;
    let answer = async |request: &str| {
        let mut stream = TcpStream::connect(bench.server.address(1)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = vec![0; 64];
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut head)).await.expect("an answer").unwrap_or(0);
        String::from_utf8_lossy(&head[..read]).into_owned()
    };
    let upgrade = "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";
    for (path, headers, status) in [
        ("/recorder/", upgrade, "400"),
        ("/recorder/..%2F..%2Fetc", upgrade, "400"),
        ("/recorder/a%20b", upgrade, "400"),
        ("/recorder/%00", upgrade, "400"),
        ("/recorder/AB-nobody", upgrade, "404"),
        (&format!("/recorder/{}", "x".repeat(2_000)), upgrade, "400"),
        (&format!("/recorder/{}", bench.device), "Accept: */*", "400"),
        (&format!("/recorder/{}", bench.device), "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 8", "400"),
        ("/elsewhere", upgrade, "404"),
    ] {
        let answered = answer(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n")).await;
        assert!(answered.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answered}");
    }
    let events = "select count(*) from events where aggregate_type = 'device'";
    let found: i64 = bench.server.database().await.get().await.unwrap().query_one(events, &[]).await.unwrap().get(0);
    assert_eq!(found, 0);
    let _: Value = bench.client.get("/recorder/devices").await.unwrap();
}
