//! The private Postgres ends, and the program that started it deals with it.

use std::path::PathBuf;
use std::time::Duration;

use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::bench::{Bench, connected};
use crate::harness::device::Socket;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::{signal, temp_folder, until};

/// From the end of Postgres to the next command that is done.
const HEALED_WITHIN: Duration = Duration::from_secs(20);

fn pid_file(server: &Server) -> PathBuf {
    server.folder.join("data/postgres/data/postmaster.pid")
}

/// Of the cluster that is up, other than an earlier one.
async fn postgres_pid(server: &Server, not: Option<i32>) -> i32 {
    let mut pid = 0;
    until("the private Postgres", async || {
        let text = std::fs::read_to_string(pid_file(server)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        pid = lines.first().and_then(|line| line.parse().ok()).unwrap_or_default();
        lines.get(7) == Some(&"ready") && Some(pid) != not
    })
    .await;
    pid
}

fn idle() -> serde_json::Value {
    let now = chrono::Utc::now().timestamp_millis();
    json!({ "type": "state_update", "timestamp": now, "data": { "previous": "idle", "current": "idle" } })
}

/// How many times it is killed; the campaign of `make` sets more.
fn kills() -> usize {
    std::env::var("CAMPAIGN_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_postgres_that_is_killed_is_started_again() {
    let mut bench = Bench::start().await;
    let program = bench.server.pid();
    let order = factory::place_order(&bench.client, &bench.made, "Before", 1).await.expect("an order");
    let mut last = postgres_pid(&bench.server, None).await;
    for n in 0..kills() {
        let (recorder, _transfer) = bench.sockets().await;
        recorder.send(&idle()).await;
        signal(last, Signal::SIGKILL);
        let started = tokio::time::Instant::now();
        until("an order after the kill", async || factory::place_order(&bench.client, &bench.made, &format!("After {n}"), 1).await.is_ok())
            .await;
        assert!(started.elapsed() < HEALED_WITHIN, "{:?}", started.elapsed());
        println!("kill {n}: an order after {:?}", started.elapsed());
        last = postgres_pid(&bench.server, Some(last)).await;
        bench.server.ready().await;
        // Devices, deliveries and the log go on.
        let order = factory::place_order(&bench.client, &bench.made, &format!("Work {n}"), 1).await.expect("an order");
        let tasks = factory::dispatch(&bench.client, &bench.made, order, &bench.made.stations[0], 1).await.expect("a batch");
        // One program, which comes back: what takes over an open connection again and again is a second one.
        if recorder.is_open() {
            recorder.hang_up().await;
        }
        // A session of the old server may outlive it by a moment; a recorder that is refused tries again.
        let mut again = None;
        until("the recorder is back", async || {
            again = Socket::try_connect(&bench.server.address(1), &format!("/recorder/{}", bench.device), "").await.ok();
            again.is_some()
        })
        .await;
        let mut again = again.expect("it is back");
        again.send(&idle()).await;
        until("its state", async || {
            let state = bench.client.get(&format!("/recorder/{}/state", bench.device)).await.expect("a state");
            state["connected"] == json!(true) && state["state_synced"] == json!(true)
        })
        .await;
        let config = bench.client.get(&format!("/tasks/{}/config", tasks[0].id)).await.expect("a configuration");
        let (client, path) = (bench.client.clone(), format!("/recorder/{}/config", bench.device));
        let asked = tokio::spawn(async move { client.call(reqwest::Method::POST, &path, Some(&json!({ "task_config": config }))).await });
        again.wait_for("a command", |frame| frame["action"] == "config").await;
        asked.abort();
        let pool = bench.server.database().await;
        until("all events to have positions", async || {
            let head = keystone_edge::eventstore::log::head(&pool).await;
            head.is_ok_and(|head| head.unplaced == 0)
        })
        .await;
        pool.close();
        again.hang_up().await;
        // Longer than what counts as a failed start.
        if n + 1 < kills() {
            tokio::time::sleep(Duration::from_secs(12)).await;
        }
    }
    assert_eq!(bench.server.pid(), program, "the program itself went on");
    bench.client.get(&format!("/orders/{order}")).await.expect("what was accepted is there");
    bench.server.stop().await;
}

/// SIGTERM, which Postgres understands as: no new sessions, and the end when the last one is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_postgres_that_is_told_to_stop_is_started_again() {
    let mut bench = Bench::start().await;
    let (recorder, _transfer) = bench.sockets().await;
    recorder.send(&idle()).await;
    let postgres = postgres_pid(&bench.server, None).await;
    signal(postgres, Signal::SIGTERM);
    let started = tokio::time::Instant::now();
    tokio::time::timeout(HEALED_WITHIN, postgres_pid(&bench.server, Some(postgres))).await.expect("another server");
    until("an order after the signal", async || factory::place_order(&bench.client, &bench.made, "After", 1).await.is_ok()).await;
    assert!(started.elapsed() < HEALED_WITHIN, "{:?}", started.elapsed());
    bench.server.stop().await;
}

/// The processes that descend from one, itself among them.
fn family(pid: i32) -> Vec<i32> {
    let children = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads").flat_map(|thread| {
        let listed = std::fs::read_to_string(thread.expect("a thread").path().join("children")).unwrap_or_default();
        listed.split_whitespace().map(|pid| pid.parse::<i32>().expect("a pid")).collect::<Vec<_>>()
    });
    let children: Vec<i32> = children.collect();
    std::iter::once(pid).chain(children.into_iter().flat_map(family)).collect()
}

/// As a supervisor ends a unit: every process of it at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_of_all_processes_at_once_is_in_order() {
    let mut bench = Bench::start().await;
    let (recorder, transfer) = bench.sockets().await;
    recorder.send(&idle()).await;
    transfer.send(&connected(&bench.device, &json!([]), &json!([]))).await;
    let order = factory::place_order(&bench.client, &bench.made, "Before", 1).await.expect("an order");
    factory::dispatch(&bench.client, &bench.made, order, &bench.made.stations[0], 1).await.expect("a batch");
    let all = family(i32::try_from(bench.server.pid()).expect("a pid"));
    assert!(all.len() > 5, "the server, Postgres and its sessions: {all:?}");
    for pid in all {
        // What ended since we looked, as a worker of Postgres, needs no signal.
        let asked = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM);
        assert!(matches!(asked, Ok(()) | Err(nix::errno::Errno::ESRCH)), "{asked:?}");
    }
    let ended = tokio::time::timeout(Duration::from_secs(60), bench.server.ended()).await.expect("an end");
    let log = std::fs::read_to_string(bench.server.folder.join("log")).expect("the log");
    assert!(ended.success(), "{ended}:\n{}", bench.server.tail());
    assert!(!log.contains("not stored") && !log.contains("Could not sign off"), "{log}");
    let (code, said) = bench.server.tool(&["verify"]).await;
    assert_eq!((code, said.contains(" 0 not placed yet")), (0, true), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_postgres_that_does_not_stay_ends_the_program_with_an_error() {
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.start();
    server.ready().await;
    let mut last = None;
    for _ in 0..3 {
        let pid = postgres_pid(&server, last).await;
        signal(pid, Signal::SIGKILL);
        last = Some(pid);
    }
    let ended = tokio::time::timeout(Duration::from_secs(60), server.ended()).await.expect("an end");
    assert!(!ended.success(), "{ended}:\n{}", server.tail());
    assert!(server.tail().contains("Postgres"), "{}", server.tail());
    // What it left is a sound cluster: the next start goes on with it.
    server.start();
    server.ready().await;
    Client::sign_in(&server.base(), "admin", PASSWORD).await.expect("a login");
    server.stop().await;
}
