//! What sockets of devices cost one process: memory of an idle one, processor time of thousands of them, and how long
//! a command to a recorder takes beside them, compared with the same command on an empty server.
//!
//! `KEYSTONE_BENCH_SOCKETS` sets the idle sockets (5000); a tenth as many are busy.

#![allow(clippy::disallowed_methods)]

#[path = "../tests/it/harness/mod.rs"]
mod harness;

use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory;
use reqwest::Method;
use serde_json::{Value, json};

use harness::device::Socket;
use harness::server::{PASSWORD, Server};

const COMMANDS: usize = 300;

const STUCK: usize = 100;

/// Of the server's process: resident bytes, and seconds of processor time.
fn usage(server: &Server) -> (u64, f64) {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).expect("a running server");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("its name").1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().expect("user time") + fields[12].parse::<f64>().expect("system time");
    (server.resident_bytes(), ticks / 100.0)
}

fn state(previous: &str, current: &str) -> Value {
    let data = json!({ "previous": previous, "current": current, "task_id": "task-of-nobody" });
    json!({ "type": "state_update", "timestamp": chrono::Utc::now().timestamp_millis(), "data": data })
}

/// A recorder that answers whatever it is asked.
async fn obey(mut recorder: Socket) {
    recorder.send(&state("idle", "idle")).await;
    while let Some(request) = recorder.next().await {
        let answer = json!({ "type": "rpc_response", "request_id": request["request_id"], "success": true, "data": { "state": "idle" } });
        recorder.send(&answer).await;
    }
}

/// Half and 99 of a hundred commands took no longer.
async fn commands(client: &Client, device: &str) -> (Duration, Duration) {
    let path = format!("/recorder/{device}/pause");
    let mut took = vec![];
    for _ in 0..COMMANDS {
        let asked = Instant::now();
        let reply = client.call(Method::POST, &path, None).await.expect("an answer");
        assert!(reply.status.is_success(), "{} {}", reply.status, reply.body);
        took.push(asked.elapsed());
    }
    took.sort();
    (took[took.len() / 2], took[took.len() * 99 / 100])
}

#[tokio::main]
async fn main() {
    let idle: usize =
        std::env::var("KEYSTONE_BENCH_SOCKETS").map_or(5_000, |text| text.parse().expect("KEYSTONE_BENCH_SOCKETS is a number"));
    let busy = idle / 10;
    let folder = harness::temp_folder();
    let mut server = Server::new(folder.path());
    server.settings.push(("KEYSTONE_LOG", "warn".to_owned()));
    server.start();
    server.ready().await;
    let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.expect("a login");
    let made = factory::seed(&client, "Sockets", 1).await.expect("a factory");
    let robot_type = client.get("/robot_types").await.expect("robot types")["items"][0]["id"].to_string();
    let devices: Vec<String> = (0..(idle + busy) / 2).map(|n| format!("AB-bench-{n}")).collect();
    stream::iter(&devices)
        .for_each_concurrent(4, |device| {
            let body = json!({ "robot_type_id": robot_type, "factory_id": made.factory_id.to_string(), "device_id": device });
            let client = &client;
            async move { drop(client.create("/robots", &body).await.expect("a robot")) }
        })
        .await;

    let watched = made.stations[0].device_id.clone();
    let recorder = Socket::connect(&server.address(1), &format!("/recorder/{watched}")).await;
    let _transfer = Socket::connect(&server.address(2), &format!("/transfer/{watched}")).await;
    let obeying = tokio::spawn(obey(recorder));
    commands(&client, &watched).await;
    let (alone_half, alone_most) = commands(&client, &watched).await;
    println!("command round trip, nobody else connected:     p50 {alone_half:>9.1?}  p99 {alone_most:>9.1?}");

    let connect = async |devices: &[String]| -> Vec<(Socket, Socket)> {
        stream::iter(devices)
            .map(async |device| {
                let recorder = Socket::connect(&server.address(1), &format!("/recorder/{device}")).await;
                let transfer = Socket::connect(&server.address(2), &format!("/transfer/{device}")).await;
                recorder.send(&state("idle", "idle")).await;
                (recorder, transfer)
            })
            .buffer_unordered(16)
            .collect()
            .await
    };
    let (before, _) = usage(&server);
    let started = Instant::now();
    let _idle_sockets = connect(&devices[..idle / 2]).await;
    println!("{idle} sockets connected, {:.0} a second", idle as f64 / started.elapsed().as_secs_f64());
    tokio::time::sleep(Duration::from_secs(15)).await;
    let (after, cpu_before) = usage(&server);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let (_, cpu_after) = usage(&server);
    println!(
        "{idle} idle sockets: {:.1} kB each, {:.1} % of one processor",
        after.saturating_sub(before) as f64 / idle as f64 / 1024.0,
        (cpu_after - cpu_before) / 30.0 * 100.0
    );
    let (half, most) = commands(&client, &watched).await;
    println!(
        "command round trip beside {idle} idle sockets:    p50 {half:>9.1?}  p99 {most:>9.1?}   ratio {:.2} and {:.2}",
        half.as_secs_f64() / alone_half.as_secs_f64(),
        most.as_secs_f64() / alone_most.as_secs_f64()
    );

    // Each recorder changes its state every two seconds, each uploader tells its status as often.
    let mut talking = tokio::task::JoinSet::new();
    for (n, (recorder, transfer)) in connect(&devices[idle / 2..]).await.into_iter().enumerate() {
        talking.spawn(async move {
            tokio::time::sleep(Duration::from_millis(n as u64 * 2_000 / 250)).await;
            for (previous, current) in [("idle", "ready"), ("ready", "idle")].into_iter().cycle() {
                recorder.send(&state(previous, current)).await;
                transfer
                    .send(&json!({ "type": "status", "data": { "pending_count": n, "uploads": [], "waiting_ack_task_ids": [] } }))
                    .await;
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let ((_, cpu_before), began) = (usage(&server), Instant::now());
    let (half, most) = commands(&client, &watched).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let (_, cpu_after) = usage(&server);
    println!(
        "… and {busy} busy ones:                          p50 {half:>9.1?}  p99 {most:>9.1?}   ratio {:.2} and {:.2}, {:.0} % of one processor",
        half.as_secs_f64() / alone_half.as_secs_f64(),
        most.as_secs_f64() / alone_most.as_secs_f64(),
        (cpu_after - cpu_before) / began.elapsed().as_secs_f64() * 100.0
    );

    // Of the idle ones, which read nothing and answer nothing, a hundred are asked for something all the time.
    let mut asking = tokio::task::JoinSet::new();
    for device in devices[..idle / 2].iter().take(STUCK) {
        let (client, path) = (client.clone(), format!("/recorder/{device}/pause"));
        asking.spawn(async move {
            loop {
                client.call(Method::POST, &path, None).await.expect("an answer");
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (half, most) = commands(&client, &watched).await;
    println!(
        "… and {STUCK} stuck ones with commands:               p50 {half:>9.1?}  p99 {most:>9.1?}   ratio {:.2} and {:.2}",
        half.as_secs_f64() / alone_half.as_secs_f64(),
        most.as_secs_f64() / alone_most.as_secs_f64()
    );
    obeying.abort();
    asking.abort_all();
    talking.abort_all();
    server.stop().await;
}
