//! Links that nobody is behind, and programs that share a device's id or cannot stay: what the server makes of them.

use std::time::{Duration, Instant};

use keystone_edge::commands::devices::OpenLink;
use keystone_edge::commands::{Commands, Context};
use keystone_edge::domain::DeviceId;
use keystone_edge::domain::device::LinkKind;
use keystone_edge::eventstore::EventStore;
use keystone_edge::outbox::Wakes;
use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory;
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::harness::bench::Bench;
use crate::harness::device::Socket;
use crate::harness::relay::Relay;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::{TestDatabase, address_of, temp_folder, through, until};

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
async fn handshakes_that_come_to_nothing_leave_no_link_open() {
    let (database, folder) = (TestDatabase::new().await, temp_folder());
    let relay = Relay::to(address_of(&database.url));
    let mut server = Server::new(folder.path());
    server.settings = vec![
        ("KEYSTONE_DATABASE_URL", through(&relay, &database.url).expose().to_owned()),
        ("KEYSTONE_JWT_SECRET", "one secret for all of this test's processes".to_owned()),
    ];
    server.start();
    server.ready().await;
    let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.unwrap();
    let made = factory::seed(&client, "Links", 1).await.unwrap();
    let (address, path) = (server.address(1), format!("/recorder/{}", made.stations[0].device_id));
    let pool = database.pool.get().await.unwrap();
    let open = async || pool.query_one("select count(*) from devices where recorder_open", &[]).await.unwrap().get::<_, i64>(0);
    let opened = "select count(*) from events where event_type = 'device_link_opened'";
    let closed = async || until("every link to be closed", async || open().await == 0).await;
    // The program goes away at any moment of its handshake.
    for n in 0..60 {
        let asking = Socket::try_connect(&address, &path, "");
        let _gone = tokio::time::timeout(Duration::from_millis(n), asking).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    closed().await;
    assert!(pool.query_one(opened, &[]).await.unwrap().get::<_, i64>(0) > 0, "none came as far as that");
    // The database answers too late for it; its commit is the third answer that is waited for, or the fourth.
    let mut late_ones = 0;
    for delay_ms in [1_500, 1_900] {
        relay.delay(Duration::from_millis(delay_ms));
        let late = Socket::try_connect(&address, &path, "").await.map(drop);
        late_ones += usize::from(late.is_err_and(|head| head.starts_with("HTTP/1.1 503")));
        relay.delay(Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(2 * delay_ms)).await;
        closed().await;
    }
    assert!(Socket::try_connect(&address, &path, "").await.is_ok());
    assert!(late_ones > 0, "each was in time");
    // By those who opened it: the look of the process found none.
    let forgotten = "select count(*) from events where event_type = 'device_link_closed' and payload::text like '%no socket of it%'";
    assert_eq!(pool.query_one(forgotten, &[]).await.unwrap().get::<_, i64>(0), 0);
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
