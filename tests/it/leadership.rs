//! Who gives positions, and who holds an order's lock, when a process is suspended or its host is cut off: others take
//! over within a stated time, and what comes back writes nothing twice.
//!
//! `CAMPAIGN_ROUNDS` repeats each of these.

use std::time::Duration;

use deadpool_postgres::Pool;
use keystone_edge::eventstore::log;
use keystone_edge::simulator::client::Client;
use keystone_edge::simulator::factory;
use nix::sys::signal::Signal;
use tokio::time::Instant;

use crate::harness::server::{PASSWORD, Server};
use crate::harness::{TestDatabase, TestObjects, temp_folder, until};

/// From the silence of a leader to the next position: its lease of 5 s, and what the others need to notice.
pub const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(10);

/// From the silence of a process inside a transaction to the end of its locks: `idle_in_transaction_timeout_s`, here 2, and
/// what the command takes.
const UNLOCKED_WITHIN: Duration = Duration::from_secs(8);

pub fn rounds() -> usize {
    std::env::var("CAMPAIGN_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Two processes on one database.
struct Site {
    servers: [Server; 2],
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
            let file = server.folder.join("keystone.toml");
            let settings = std::fs::read_to_string(&file).expect("the settings");
            std::fs::write(file, format!("{settings}[database]\nidle_in_transaction_timeout_s = 2\n")).expect("the settings");
            server.start();
            server.ready().await;
        }
        Self { servers, database, _objects: objects, _folders: folders }
    }

    /// Which of the two leads.
    async fn leader(&self) -> usize {
        leader(&self.database.pool, &self.servers).await
    }
}

async fn leader(pool: &Pool, servers: &[Server; 2]) -> usize {
    let mut found = None;
    until("a leader", async || {
        let sql = "select name from leadership where lease_until > clock_timestamp()";
        let row = pool.get().await.expect("a connection").query_opt(sql, &[]).await.expect("the leadership");
        let name: String = row.map(|row| row.get(0)).unwrap_or_default();
        found = servers.iter().position(|server| name.ends_with(&format!(" {}", server.pid())));
        found.is_some()
    })
    .await;
    found.expect("a leader")
}

async fn unplaced(pool: &Pool) -> i64 {
    log::head(pool).await.expect("a head").unplaced
}

/// Readiness of a process, and what it says of the log.
pub async fn health(server: &Server) -> (u16, serde_json::Value) {
    let answer = reqwest::get(format!("{}/api/v1/ready", server.base())).await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_leader_is_followed_by_another_and_writes_nothing_when_it_wakes_up() {
    let site = Site::start().await;
    for round in 0..rounds() {
        let suspended = site.leader().await;
        let other = &site.servers[1 - suspended];
        let client = Client::sign_in(&other.base(), "admin", PASSWORD).await.expect("a login");
        let made = factory::seed(&client, &format!("Suspended {round}"), 1).await.expect("a factory");
        site.servers[suspended].signal(Signal::SIGSTOP);
        let started = Instant::now();
        factory::place_order(&client, &made, "After", 1).await.expect("an order");
        until("the other process to lead", async || {
            // It is ready all the time.
            assert_eq!(health(other).await.0, 200);
            site.leader().await == 1 - suspended
        })
        .await;
        until("the last event to have its position", async || unplaced(&site.database.pool).await == 0).await;
        println!("round {round}: taken over after {:?}", started.elapsed());
        assert!(started.elapsed() < TAKEN_OVER_WITHIN, "{:?}", started.elapsed());
        // What was found is remembered for a second.
        until("the body to say so", async || health(other).await.1["components"]["log"]["led"] == true).await;

        site.servers[suspended].signal(Signal::SIGCONT);
        for n in 0..20 {
            factory::place_order(&client, &made, &format!("Awake {n}"), 1).await.expect("an order");
        }
        until("the one that woke up to be ready", async || health(&site.servers[suspended]).await.0 == 200).await;
        let back = Client::sign_in(&site.servers[suspended].base(), "admin", PASSWORD).await.expect("a login");
        factory::place_order(&back, &made, "By the one that woke up", 1).await.expect("an order");
        until("all events to have positions", async || unplaced(&site.database.pool).await == 0).await;
        assert_eq!(log::verify(&site.database.pool).await.expect("an answer"), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lock_of_an_order_ends_with_the_silence_of_the_process_that_holds_it() {
    let mut site = Site::start().await;
    let client = Client::sign_in(&site.servers[0].base(), "admin", PASSWORD).await.expect("a login");
    let made = factory::seed(&client, "Locked", 1).await.expect("a factory");
    for round in 0..rounds() {
        let order = factory::place_order(&client, &made, &format!("Order {round}"), 4).await.expect("an order");
        // The second process asks for the lock of the order, which we have, and is suspended while it waits: when we
        // let go, its session has the lock and nobody to talk to.
        let ours = site.database.connector.connect().await.expect("a connection");
        let key = format!("order/{order}");
        ours.client.batch_execute(&format!("begin; select pg_advisory_xact_lock(hashtextextended('{key}', 0))")).await.expect("the lock");
        let back = Client::sign_in(&site.servers[1].base(), "admin", PASSWORD).await.expect("a login");
        let asked = {
            let made = made.clone();
            tokio::spawn(async move { factory::dispatch(&back, &made, order, &made.stations[0], 1).await.map(|_| ()) })
        };
        let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted
                       and database = (select oid from pg_database where datname = current_database())";
        until("the second process to wait for the lock", async || {
            site.database.pool.get().await.unwrap().query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) > 0
        })
        .await;
        site.servers[1].signal(Signal::SIGSTOP);
        ours.client.batch_execute("commit").await.expect("its end");
        let idle = "select count(*) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'";
        until("a transaction that nobody talks to", async || {
            site.database.pool.get().await.unwrap().query_one(idle, &[]).await.unwrap().get::<_, i64>(0) > 0
        })
        .await;

        let started = Instant::now();
        factory::dispatch(&client, &made, order, &made.stations[0], 1).await.expect("a batch, by the other process");
        println!("round {round}: a command on the order after {:?}", started.elapsed());
        assert!(started.elapsed() < UNLOCKED_WITHIN, "{:?}", started.elapsed());

        site.servers[1].signal(Signal::SIGCONT);
        let _refused_or_done_anew = asked.await.expect("an outcome");
        site.servers[1].ready().await;
        until("all events to have positions", async || unplaced(&site.database.pool).await == 0).await;
        assert_eq!(log::verify(&site.database.pool).await.expect("an answer"), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_suspended_while_it_migrates_does_not_keep_others_from_starting() {
    let site = Site::start().await;
    let mut late = Server::sharing(&site.servers[0].folder, &site.database.url, "http://127.0.0.1:9");
    let file = late.folder.join("keystone.toml");
    let settings = std::fs::read_to_string(&file).expect("the settings");
    std::fs::write(file, format!("{settings}[database]\nidle_in_transaction_timeout_s = 2\n")).expect("the settings");
    // It has the lock of migrations, and waits for the table that says which are done, which we have.
    let ours = site.database.connector.connect().await.expect("a connection");
    ours.client.batch_execute("begin; lock table refinery_schema_history").await.expect("the table");
    late.start();
    let waiting = "select count(*) from pg_locks where relation = 'refinery_schema_history'::regclass and not granted";
    until("a process that migrates", async || {
        site.database.pool.get().await.unwrap().query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) > 0
    })
    .await;
    late.signal(Signal::SIGSTOP);
    ours.client.batch_execute("commit").await.expect("its end");
    let started = Instant::now();
    let migrated = tokio::time::timeout(Duration::from_secs(30), site.servers[1].tool(&["migrate"])).await;
    let (code, said) = migrated.expect("the lock of a suspended process ends");
    assert_eq!(code, 0, "{said}");
    println!("migrated after {:?}", started.elapsed());
}
