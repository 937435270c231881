//! A way to the database that is half dead, a database that only reads, a disk that is full: everything heals by
//! itself, nothing that was accepted is lost, and nothing keeps the program from ending.
//!
//! `KEYSTONE_HALF_DEAD=long` takes the default limits and several rounds; `make half-dead` does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keystone_edge::config::Secret;
use keystone_edge::embedded::postgres::EmbeddedPostgres;
use keystone_edge::eventstore::log;
use keystone_edge::simulator::client::{Client, id_of};
use keystone_edge::simulator::factory::{self, Factory};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::harness::bench::rpc_response;
use crate::harness::device::Socket;
use crate::harness::disk::SmallDisk;
use crate::harness::relay::Relay;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::{TestDatabase, TestObjects, address_of, postgres_options, temp_folder, through};

/// Of a statement, where nothing else is said: less than the default, so that a test is over sooner.
const SHORT_STATEMENT_S: u64 = 4;
/// What is promised for the default.
const HEALED_WITHIN: Duration = Duration::from_secs(30);
/// What open requests and started tasks may take to end.
const SHUTDOWN_S: u64 = 3;
/// That, and what tasks may take to notice that it is over, to sign off and to place the last events.
const STOPPED_WITHIN: Duration = Duration::from_secs(SHUTDOWN_S + 7);

/// What the robot reports while the database is away, in turn.
const STATES: [(&str, &str); 2] = [("idle", "recording"), ("recording", "idle")];

fn is_long() -> bool {
    std::env::var("KEYSTONE_HALF_DEAD").is_ok_and(|length| length == "long")
}

fn rounds() -> usize {
    if is_long() { 5 } else { 1 }
}

/// The real program, whose way to the database is the relay; the test has its own.
struct Site {
    server: Server,
    client: Client,
    made: Factory,
    device: String,
    relay: Relay,
    database: TestDatabase,
    healed_within: Duration,
    /// Orders that the server said it has.
    accepted: Arc<Mutex<Vec<i64>>>,
    _objects: TestObjects,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn start() -> Self {
        Self::on(TestDatabase::new().await).await
    }

    async fn on(database: TestDatabase) -> Self {
        let (objects, folder) = (TestObjects::new().await, temp_folder());
        let relay = Relay::to(address_of(&database.url));
        let mut server = Server::sharing(folder.path(), &through(&relay, &database.url), &objects.s3.endpoint());
        let mut healed_within = HEALED_WITHIN;
        server.settings.push(("KEYSTONE_SHUTDOWN_TIMEOUT", SHUTDOWN_S.to_string()));
        let file = folder.path().join("keystone.toml");
        let mut settings = std::fs::read_to_string(&file).expect("the settings file");
        // As in production longer than the silence: a process whose lease ends in it is taken for dead, rightly, and its devices connect anew.
        settings = settings.replace("process_lease_ms = 1500", "process_lease_ms = 15000");
        assert!(settings.contains("process_lease_ms = 15000"));
        if !is_long() {
            settings += &format!("[database]\nstatement_timeout_s = {SHORT_STATEMENT_S}\n");
            healed_within = HEALED_WITHIN / 2;
        }
        std::fs::write(&file, settings).expect("a settings file");
        server.start();
        server.ready().await;
        let client = Client::sign_in(&server.base(), "admin", PASSWORD).await.expect("a login");
        let made = factory::seed(&client, "Half dead", 1).await.expect("a factory");
        let device = made.stations[0].device_id.clone();
        let accepted = Arc::default();
        Self { server, client, made, device, relay, database, healed_within, accepted, _objects: objects, _folder: folder }
    }

    async fn robot(&self) -> Socket {
        let mut recorder = Socket::connect(&self.server.address(1), &format!("/recorder/{}", self.device)).await;
        // Until that is answered, nothing else is asked of it.
        answer(&mut recorder, "get_state", json!({"state": "idle"})).await;
        self.report(&recorder, "idle", "idle").await;
        self.until("the robot is known", Instant::now(), async || self.observed("idle").await).await;
        recorder
    }

    async fn observed(&self, state: &str) -> bool {
        self.one(&format!("select count(*) from devices where recorder_open and observed_state = '{state}'")).await == 1
    }

    /// Until the server has the whole pool open.
    async fn fill_the_pool(&self) {
        let asked = (0..24).map(|_| self.client.call(Method::GET, "/orders", None));
        for answer in futures_util::future::join_all(asked).await {
            assert_eq!(answer.expect("an answer").status, StatusCode::OK);
        }
    }

    /// What placing an order was answered with.
    async fn order(&self) -> StatusCode {
        let order = json!({
            "organization_id": self.made.organization_id.to_string(), "scene_id": self.made.scene_id.to_string(),
            "name": format!("Order {}", rand::random::<u64>()), "target_count": 1,
        });
        let Ok(answer) = self.client.call(Method::POST, "/orders", Some(&order)).await else { return StatusCode::BAD_GATEWAY };
        if answer.status == StatusCode::CREATED {
            self.accepted.lock().await.push(id_of(&answer.body["id"]).expect("an id"));
        }
        answer.status
    }

    async fn ready(&self) -> StatusCode {
        let answer = reqwest::get(format!("{}/api/v1/ready", self.server.base())).await;
        answer.map_or(StatusCode::BAD_GATEWAY, |answer| answer.status())
    }

    async fn one(&self, sql: &str) -> i64 {
        let asked = async { anyhow::Ok(self.database.pool.get().await?.query_one(sql, &[]).await?.get(0)) };
        asked.await.unwrap_or(-1)
    }

    async fn until(&self, what: &str, since: Instant, mut reached: impl AsyncFnMut() -> bool) {
        while !reached().await {
            assert!(since.elapsed() < self.healed_within, "after {:?}, not yet: {what}\n{}", since.elapsed(), self.server.tail());
            sleep(Duration::from_millis(100)).await;
        }
        println!("{what}: after {:.1} s", since.elapsed().as_secs_f64());
    }

    /// Reports a state of the robot, once. It waits in the process until it can be committed.
    async fn report(&self, recorder: &Socket, previous: &str, current: &str) {
        let data = json!({"previous": previous, "current": current, "task_id": "task-x"});
        recorder.send(&json!({"type": "state_update", "timestamp": chrono::Utc::now().timestamp_millis(), "data": data})).await;
    }

    /// Everything that a site does, done since.
    async fn heals(&self, recorder: &mut Socket, since: Instant, reported: &str) {
        self.until("requests are answered", since, async || {
            self.client.call(Method::GET, "/orders", None).await.is_ok_and(|answer| answer.status == StatusCode::OK)
        })
        .await;
        self.until("orders are accepted", since, async || self.order().await == StatusCode::CREATED).await;
        self.until("the robot's report is there", since, async || self.observed(reported).await).await;
        self.until("the process is a member", since, async || {
            self.one("select count(*) from processes where ended_at is null and lease_until > clock_timestamp()").await == 1
        })
        .await;
        // A command for the robot goes through the outbox.
        let (path, nothing) = (format!("/recorder/{}/clear", self.device), json!({}));
        let asked = self.client.call(Method::POST, &path, Some(&nothing));
        let answering = answer(recorder, "clear", json!({}));
        let (asked, ()) = tokio::join!(asked, answering);
        assert_eq!(asked.expect("an answer").status, StatusCode::OK);
        self.until("nothing waits in the outbox", since, async || self.one("select count(*) from outbox").await == 0).await;
        self.until("every event has its position", since, async || {
            log::head(&self.database.pool).await.is_ok_and(|head| head.unplaced == 0)
        })
        .await;
        self.until("it is ready", since, async || self.ready().await == StatusCode::OK).await;
    }

    /// Nothing that was accepted is lost, and the program ends as it should.
    async fn ends_well(mut self) {
        for id in self.accepted.lock().await.iter() {
            let found = self.client.call(Method::GET, &format!("/orders/{id}"), None).await.expect("an answer");
            assert_eq!(found.status, StatusCode::OK, "the accepted order {id} is gone");
        }
        let took = self.server.stop().await;
        println!("stopped within {:.1} s", took.as_secs_f64());
        assert!(took < STOPPED_WITHIN, "{took:?}");
    }
}

/// Answers the next request of this kind as a recorder does.
async fn answer(recorder: &mut Socket, action: &str, data: Value) {
    let request = recorder.wait_for(action, |frame| frame["action"] == action).await;
    recorder.send(&rpc_response(&request, data)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_a_balancer_forgot_are_replaced_and_everything_goes_on() {
    let site = Site::start().await;
    let mut recorder = site.robot().await;
    for round in 0..rounds() {
        site.fill_the_pool().await;
        let (before, state) = STATES[round % 2];
        site.relay.swallow_existing();
        let since = Instant::now();
        site.report(&recorder, before, state).await;
        site.heals(&mut recorder, since, state).await;
    }
    drop(recorder);
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_never_answers_does_not_keep_the_program_from_ending() {
    let mut site = Site::start().await;
    let _recorder = site.robot().await;
    site.fill_the_pool().await;
    site.relay.swallow_all();
    // Requests that hang, and those that wait for a connection.
    let hanging: Vec<_> = (0..20)
        .map(|n| {
            let (client, path) = (site.client.clone(), format!("/orders?offset={n}"));
            tokio::spawn(async move { client.call(Method::GET, &path, None).await })
        })
        .collect();
    sleep(Duration::from_secs(1)).await;
    let took = site.server.end(Duration::from_secs(60)).await;
    assert!(took < STOPPED_WITHIN, "{took:?}");
    for request in hanging {
        request.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_only_reads_for_a_while_is_written_to_again_without_a_restart() {
    let site = Site::start().await;
    let mut recorder = site.robot().await;
    for round in 0..rounds() {
        let (before, state) = STATES[round % 2];
        site.database.read_only(true).await;
        let since = Instant::now();
        site.until("writes are unavailable", since, async || site.order().await == StatusCode::SERVICE_UNAVAILABLE).await;
        site.until("it says so", since, async || site.ready().await == StatusCode::SERVICE_UNAVAILABLE).await;
        site.report(&recorder, before, state).await;
        site.fill_the_pool().await;
        site.database.read_only(false).await;
        site.heals(&mut recorder, Instant::now(), state).await;
    }
    drop(recorder);
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_when_there_is_room_again_everything_goes_on() {
    let folder = temp_folder();
    let Some(disk) = SmallDisk::mount(folder.path(), 256) else { return };
    let postgres = EmbeddedPostgres::start(&folder.path().join("postgres"), &postgres_options()).await.expect("a private cluster");
    let database = TestDatabase::of(postgres.url().clone(), Secret::new(""));
    let site = Site::on(database).await;
    let mut recorder = site.robot().await;
    for round in 0..rounds() {
        let (before, state) = STATES[round % 2];
        disk.fill();
        let since = Instant::now();
        site.until("it says so", since, async || site.ready().await == StatusCode::SERVICE_UNAVAILABLE).await;
        let health: Value = reqwest::get(format!("{}/api/v1/health", site.server.base())).await.unwrap().json().await.unwrap();
        assert_eq!(health["components"]["database"]["status"], "unhealthy", "{health}");
        // There is room in pages that exist; when it is used up, nothing more is accepted.
        site.until("writes are unavailable", since, async || match site.order().await {
            StatusCode::SERVICE_UNAVAILABLE => true,
            StatusCode::CREATED => false,
            other => panic!("an order was answered with {other}"),
        })
        .await;
        site.report(&recorder, before, state).await;
        assert!(site.client.call(Method::GET, "/orders", None).await.is_ok_and(|answer| answer.status == StatusCode::OK));
        disk.free();
        site.heals(&mut recorder, Instant::now(), state).await;
    }
    drop(recorder);
    site.ends_well().await;
    postgres.stop().await.expect("a stop");
}
