//! The real program, killed again and again while robots work: what was accepted stays, and no
//! robot is told to delete what is not safe.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keystone_edge::config::Config;
use keystone_edge::eventstore::log;
use keystone_edge::pg::Connector;
use keystone_edge::projections::rebuild::rebuild;
use keystone_edge::simulator::client::{Client, id_of};
use keystone_edge::simulator::collector::Collector;
use keystone_edge::simulator::factory::{self, DispatchedTask};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::harness::server::{LEASE, PASSWORD, Server};
use crate::harness::{postgres_options, temp_folder};

const KILLS: usize = 20;
const ROBOTS: usize = 2;
const TASKS_PER_ROBOT: usize = 8;
const PATIENCE: Duration = Duration::from_secs(240);

/// Orders that the server said it has.
type Accepted = Arc<Mutex<Vec<i64>>>;

/// Places small orders all the time, and remembers what was answered with 201.
async fn keep_ordering(client: Client, made: factory::Factory, accepted: Accepted) {
    for n in 0.. {
        let order = json!({
            "organization_id": made.organization_id.to_string(), "scene_id": made.scene_id.to_string(),
            "name": format!("Side order {n}"), "target_count": 1,
        });
        if let Ok(reply) = client.call(Method::POST, "/orders", Some(&order)).await
            && reply.status == StatusCode::CREATED
        {
            accepted.lock().await.push(id_of(&reply.body["id"]).expect("an id"));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn count(pool: &deadpool_postgres::Pool, sql: &str) -> i64 {
    pool.get().await.expect("a connection").query_one(sql, &[]).await.expect("a count").get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_twenty_times_the_server_loses_nothing_it_accepted() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = temp_folder();
    let mut server = Server::new(folder.path());
    server.start();
    server.ready().await;

    let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.expect("a login");
    let made = factory::seed(&client, "Kill", ROBOTS).await.expect("a factory");
    let order = factory::place_order(&client, &made, "All of it", ROBOTS * TASKS_PER_ROBOT).await.expect("an order");
    let accepted: Accepted = Arc::default();
    let ordering = tokio::spawn(keep_ordering(client.clone(), made.clone(), accepted.clone()));
    let mut robots = BTreeMap::new();
    let mut work = tokio::task::JoinSet::new();
    for (n, place) in made.stations.iter().enumerate() {
        robots.insert(place.device_id.clone(), server.robot(place, made.factory_id, n as u64));
        let tasks = factory::dispatch(&client, &made, order, place, TASKS_PER_ROBOT).await.expect("a batch");
        let collector = Collector {
            client: client.clone(),
            device_id: place.device_id.clone(),
            recording: Duration::from_millis(700),
            patience: PATIENCE,
            look_again: Collector::LOOK_AGAIN,
        };
        work.spawn(async move {
            let mut done: Vec<(String, DispatchedTask, i64)> = vec![];
            for task in tasks {
                let episode = collector.record(&task, |_| {}).await.map_err(|error| format!("{error:#}"))?;
                done.push((collector.device_id.clone(), task, episode));
            }
            Ok::<_, String>(done)
        });
    }

    for kill in 1..=KILLS {
        sleep(Duration::from_millis(rng.random_range(50..1500))).await;
        server.kill();
        server.start();
        server.ready().await;
        println!("killed and back: {kill}");
    }

    let mut done = vec![];
    while let Some(ended) = work.join_next().await {
        match ended.expect("a collector") {
            Ok(tasks) => done.extend(tasks),
            Err(error) => panic!("seed {seed}: {error}\n{}", server.tail()),
        }
    }
    ordering.abort();

    // Every recording is an episode, exactly as it was recorded, and every robot has its ack.
    let pool = server.database().await;
    for (device, task, episode) in &done {
        let mut reports = robots[device].report();
        let acked = reports.wait_for(|report| report.acks.iter().any(|ack| ack.task_id == task.public_id));
        let report = tokio::time::timeout(Duration::from_secs(60), acked).await.expect("an ack").expect("a report").clone();
        let recording = report.recordings.iter().rev().find(|recording| recording.task_id == task.public_id).expect("a recording");
        let shown: Value = client.get(&format!("/episodes/{episode}")).await.expect("an episode");
        assert_eq!(shown["checksum"], json!(recording.sha256), "seed {seed}, {}", task.public_id);
        assert_eq!(shown["file_size_bytes"], json!(recording.size), "seed {seed}, {}", task.public_id);
        assert_eq!(shown["message_count"], json!(recording.message_count), "seed {seed}, {}", task.public_id);
    }
    // No ack before the episode was durable: its event was recorded before the ack arrived.
    for robot in robots.values() {
        let report = robot.report().borrow().clone();
        assert!(report.violations.is_empty(), "seed {seed}: {:?}", report.violations);
        for ack in &report.acks {
            let sql = "select e.recorded_at from events e join tasks t on e.aggregate_type = 'task' and e.aggregate_id = t.id::text
                       where e.event_type = 'upload_verified' and t.task_id = $1";
            let row = pool.get().await.expect("a connection").query_one(sql, &[&ack.task_id]).await.expect("a durable episode");
            assert!(row.get::<_, chrono::DateTime<chrono::Utc>>(0) <= ack.at, "seed {seed}: acked too early: {ack:?}");
        }
    }
    assert_eq!(count(&pool, "select count(*) from episodes").await, (ROBOTS * TASKS_PER_ROBOT) as i64, "seed {seed}");
    assert_eq!(count(&pool, "select count(distinct task_id) from episodes").await, (ROBOTS * TASKS_PER_ROBOT) as i64);

    // Whatever was answered with success is there.
    let accepted = accepted.lock().await.clone();
    assert!(accepted.len() > KILLS, "orders were accepted all the time, not {}", accepted.len());
    for id in &accepted {
        let found = client.call(Method::GET, &format!("/orders/{id}"), None).await.expect("an answer");
        assert_eq!(found.status, StatusCode::OK, "seed {seed}: the accepted order {id} is gone");
    }
    let placed = client.get(&format!("/orders/{order}")).await.expect("the order");
    assert_eq!(placed["status"], "completed", "seed {seed}: {placed}");

    // Nothing is stuck, given up, or out of order; the read models are what the log says.
    sleep(LEASE).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while count(&pool, "select count(*) from outbox").await > 0 {
        assert!(Instant::now() < deadline, "seed {seed}: deliveries are stuck");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(count(&pool, "select count(*) from dead_letters").await, 0, "seed {seed}");
    for (_, robot) in robots {
        robot.stop().await;
    }
    let took = server.stop().await;
    assert!(took < Duration::from_secs(20), "an orderly stop took {took:?}");
    check_at_rest(&folder.path().join("data")).await;
    println!("{} orders, {} episodes, {KILLS} kills", accepted.len(), done.len());
}

/// What holds when nobody works: looked at with the cluster alone.
async fn check_at_rest(data: &Path) {
    use keystone_edge::embedded::postgres::EmbeddedPostgres;
    let postgres = EmbeddedPostgres::start(&data.join("postgres"), &postgres_options()).await.expect("the cluster of the server");
    let pool = Connector::new(postgres.url(), &Config::defaults().database).expect("a connector").pool().expect("a pool");
    // The stop was an orderly one: the last events have their positions.
    assert_eq!(log::verify(&pool).await.expect("a check"), []);
    assert_eq!(log::head(&pool).await.expect("a head").unplaced, 0);
    assert_eq!(rebuild(&pool).await.expect("a rebuild").differences, []);
    pool.close();
    postgres.stop().await.expect("its end");
}
