//! Links that nobody is behind, and programs that share a device's id or cannot stay: what the server makes of them.

use std::time::{Duration, Instant};

use keystone_edge::commands::devices::OpenLink;
use keystone_edge::commands::{Commands, Context};
use keystone_edge::domain::DeviceId;
use keystone_edge::domain::device::LinkKind;
use keystone_edge::eventstore::EventStore;
use keystone_edge::outbox::Wakes;
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::harness::bench::Bench;
use crate::harness::device::Socket;
use crate::harness::until;

/// What is left in storage of handshakes whose answers were lost: connections that the server is said to hold.
async fn opened_for_nobody(bench: &Bench, kind: LinkKind, times: usize) {
    let pool = bench.server.database().await;
    let row = pool.get().await.unwrap().query_one("select id from processes where ended_at is null", &[]).await.unwrap();
    let process: Uuid = row.get(0);
    let commands = Commands::new(EventStore::new(pool, Wakes::default()));
    let device = DeviceId::parse(&bench.device).unwrap();
    for n in 0..times {
        let open = OpenLink { device: device.clone(), kind, remote: format!("10.0.0.7:{n}"), process: Some(process) };
        commands.execute(&Context::system(), open).await.unwrap();
    }
}

#[tokio::test]
async fn a_link_that_nobody_is_behind_is_closed_by_its_process_and_locks_nobody_out() {
    let bench = Bench::start().await;
    opened_for_nobody(&bench, LinkKind::Recorder, 11).await;
    opened_for_nobody(&bench, LinkKind::Transfer, 1).await;
    let path = format!("/recorder/{}", bench.device);
    let client = bench.server.database().await.get().await.unwrap();
    until("both to be closed", async || {
        let sql = "select count(*) from devices where recorder_open or transfer_open";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    // Contested it is still; whoever comes first has it.
    let held = Socket::connect(&bench.server.address(1), &path).await;
    assert!(Socket::try_connect(&bench.server.address(1), &path, "").await.is_err(), "the contest goes on");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(held.is_open(), "a link that somebody is behind stays");
    held.hang_up().await;
    drop(held);
    let connection = format!("/devices/{}/connection", bench.device);
    until("the loss to be noticed", async || bench.client.get(&connection).await.unwrap()["recorder_connected"] == json!(false)).await;
    let asked = Instant::now();
    let pause = format!("/recorder/{}/pause", bench.device);
    let answer = bench.client.call(Method::POST, &pause, Some(&json!({}))).await.unwrap();
    assert_eq!(answer.status.as_u16(), 404, "{}", answer.body);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_second_program_that_comes_and_goes_is_found_out() {
    let bench = Bench::start().await;
    let path = format!("/recorder/{}", bench.device);
    let connect = async || Socket::try_connect(&bench.server.address(1), &path, "").await;
    let client = bench.server.database().await.get().await.unwrap();
    let mut other = None;
    let mut refused = 0;
    for _ in 0..30 {
        // It leaves by itself, and the other one is back before it.
        let Ok(one) = connect().await else {
            refused += 1;
            continue;
        };
        one.close(1000).await;
        drop(one);
        let away = "select not recorder_open from devices where id = $1";
        until("it to be gone", async || client.query_one(away, &[&bench.device]).await.unwrap().get(0)).await;
        other = connect().await.ok();
    }
    assert!(refused >= 15, "{refused} were refused");
    assert!(other.is_some_and(|other| other.is_open()));
    let listed = bench.client.get("/recorder/devices").await.unwrap();
    assert_eq!(listed["devices"][0]["warning"]["code"], json!("two_programs"), "{listed}");
}
