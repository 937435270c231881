//! The outbox beside other queues on Postgres, in one run and on one server: how fast a backlog is worked off, how much goes through
//! from commit to delivery, and how long that takes at half of it. Method and figures in `docs/performance.md`.
//!
//! Ours runs the worker of the server with the settings that are shipped, and the sequencer beside it. The peers run in processes of
//! their own, each in its documented fast mode: `peers/node` (graphile-worker, pg-boss; needs npm) and `peers/rust` (graphile_worker).
//! `KEYSTONE_BENCH_SECONDS` sets the seconds per figure (3), `KEYSTONE_BENCH_BACKLOG` the rows of a backlog (50,000),
//! `KEYSTONE_BENCH_ROUNDS` how often all of it is measured in turn (1), `KEYSTONE_BENCH_PEERS=0` leaves the peers out,
//! `KEYSTONE_BENCH_DELIVERIES` is how many deliveries the size of the table is watched over (200,000), and as many again while a
//! snapshot is held that needs all of them.

#![allow(clippy::disallowed_methods)]

#[allow(dead_code, reason = "the other benchmarks use the rest")]
mod baseline;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use deadpool_postgres::Pool;
use keystone_edge::app::delivery_settings;
use keystone_edge::config::{Config, Secret};
use keystone_edge::dispatcher::{self, Delivery, DeliverySettings, Outcome, Subscriber, Worker};
use keystone_edge::domain::routing::SubscriberName;
use keystone_edge::domain::task::{Task, TaskEvent};
use keystone_edge::embedded::postgres::{EmbeddedPostgres, Options};
use keystone_edge::eventstore::{EventStore, Holder, NewEvent, Sequencer};
use keystone_edge::outbox::Wakes;
use keystone_edge::pg::Connector;
use serde::Deserialize;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use baseline::{META, number, seconds};

const CLIENTS: usize = 8;
const DEVICES: i64 = 50;

/// What one queue reached: rates a second, and waits from the answer to a commit until the delivery.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Figures {
    burn_down: f64,
    closed: f64,
    half: f64,
    p50_ms: f64,
    p99_ms: f64,
}

fn show(name: &str, figures: Figures) {
    let Figures { burn_down, closed, half, p50_ms, p99_ms } = figures;
    println!(
        "{name:<28} burn-down {burn_down:>8.0}/s   closed loop {closed:>7.0}/s   at {half:>6.0}/s: p50 {p50_ms:>7.2} ms, p99 {p99_ms:>7.2} ms"
    );
}

/// Does nothing about a delivery but noting when it came.
#[derive(Clone)]
struct Taker {
    name: SubscriberName,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    taken: AtomicUsize,
    times: Mutex<Times>,
}

#[derive(Default)]
struct Times {
    committed: HashMap<String, Instant>,
    early: HashMap<String, Instant>,
    waits: Vec<Duration>,
    /// All that were committed since the waits were forgotten.
    all: HashMap<String, Instant>,
}

impl Seen {
    fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    fn committed(&self, id: String) {
        let (mut times, now) = (self.times.lock().expect("times"), Instant::now());
        times.all.insert(id.clone(), now);
        match times.early.remove(&id) {
            Some(_) => times.waits.push(Duration::ZERO),
            None => drop(times.committed.insert(id, now)),
        }
    }

    async fn until(&self, count: usize) {
        let end = Instant::now() + Duration::from_secs(120);
        while self.taken() < count {
            assert!(Instant::now() < end, "{} of {count} were delivered within two minutes", self.taken());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[async_trait]
impl Subscriber for Taker {
    fn name(&self) -> SubscriberName {
        self.name
    }

    async fn deliver(&self, delivery: &Delivery) -> Outcome {
        self.seen.taken.fetch_add(1, Ordering::Relaxed);
        // What lies in a backlog has streams that are no numbers.
        if delivery.event.aggregate_id.starts_with(|first: char| first.is_ascii_digit()) {
            let (mut times, now) = (self.seen.times.lock().expect("times"), Instant::now());
            match times.committed.remove(&delivery.event.aggregate_id) {
                Some(since) => times.waits.push(now - since),
                None => drop(times.early.insert(delivery.event.aggregate_id.clone(), now)),
            }
        }
        Outcome::Delivered
    }
}

struct Running {
    soft: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(pool: &Pool, taker: &Taker, settings: DeliverySettings, wakes: &Wakes) -> Self {
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let worker = Worker {
            pool: pool.clone(),
            subscriber: Arc::new(taker.clone()),
            settings,
            wake: wakes.of(taker.name),
            activity: Arc::default(),
            name: "bench".to_owned(),
        };
        Self { soft: soft.clone(), task: tokio::spawn(dispatcher::run(worker, soft, hard)) }
    }

    async fn stop(self) {
        self.soft.cancel();
        self.task.await.expect("a worker");
    }
}

/// The events of a backlog, ten to a stream.
async fn events(pool: &Pool, count: usize) {
    let payload = include_str!("../tests/golden/events/upload_reported.v1.0.json");
    let sql = "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
               select 'task', 'backlog-' || g / 10, g % 10 + 1, 'upload_reported', '1.0', $1::text::jsonb, $2::text::jsonb from generate_series(1, $3::bigint) g";
    let client = pool.get().await.expect("a connection");
    client.execute(sql, &[&payload, &META, &(count as i64)]).await.expect("events");
}

/// How long a backlog takes, until the last row has left the table.
async fn burn_down(pool: &Pool, name: SubscriberName, settings: DeliverySettings, count: usize) -> f64 {
    let client = pool.get().await.expect("a connection");
    let to = if name.has_destinations() { "'recorder:AB-' || e.seq % $3::bigint" } else { "case when $3::bigint < 0 then '' end" };
    let sql = format!(
        "insert into outbox (subscriber, event_seq, stream_key, causation_depth, destination)
         select $1, e.seq, e.aggregate_type || '/' || e.aggregate_id, 0, {to}
         from events e where e.aggregate_id like 'backlog-%' order by e.seq limit $2"
    );
    let filled = client.execute(&sql, &[&name.as_str(), &(count as i64), &DEVICES]).await.expect("rows");
    assert_eq!(filled as usize, count);
    client.batch_execute("analyze outbox, events").await.expect("statistics");
    let taker = Taker { name, seen: Arc::default() };
    let started = Instant::now();
    let running = Running::start(pool, &taker, settings, &Wakes::default());
    taker.seen.until(count).await;
    running.stop().await;
    let took = started.elapsed();
    let left: i64 = client.query_one("select count(*) from outbox", &[]).await.expect("a count").get(0);
    assert_eq!((taker.seen.taken(), left), (count, 0), "each once, and nothing is left");
    count as f64 / took.as_secs_f64()
}

/// One event that asks for a delivery, on a stream of its own.
async fn append(store: &EventStore, event: &TaskEvent, id: &str) {
    let event = NewEvent::of::<Task>(id, 1, event).expect("an event");
    store.begin().await.expect("a transaction").commit(&[event], &baseline::metadata(), &[]).await.expect("a commit");
}

/// What goes through, a second, and how long it takes at half of that.
struct Through {
    closed: f64,
    half: f64,
    delivered: Vec<Duration>,
    placed: Vec<Duration>,
    committing: Vec<Duration>,
    asking: Vec<Duration>,
}

/// Asks for nothing, on a session of its own, every two milliseconds: what every round trip costs while the rest is at work.
async fn asks(connection: keystone_edge::pg::Dedicated, stop: CancellationToken) -> Vec<Duration> {
    let nothing = connection.client.prepare("select 1").await.expect("a statement");
    let mut waits = vec![];
    while !stop.is_cancelled() {
        let asked = Instant::now();
        connection.client.query_one(&nothing, &[]).await.expect("an answer");
        waits.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    waits.sort();
    waits
}

/// Milliseconds that a share of sorted waits stayed below.
fn part(waits: &[Duration], share: f64) -> f64 {
    waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
}

/// From the answers to commits until the log had the events.
async fn until_placed(pool: &Pool, after: i64, heads: &[(Instant, i64)], committed: &HashMap<String, Instant>) -> Vec<Duration> {
    let sql = "select l.position, e.aggregate_id from log l join events e on e.seq = l.seq where l.position > $1";
    let rows = pool.get().await.expect("a connection").query(sql, &[&after]).await.expect("places");
    let wait = |position: i64, id: &str| {
        let placed = heads[heads.partition_point(|(_, head)| *head < position)].0;
        committed.get(id).map(|at| placed.saturating_duration_since(*at))
    };
    let mut waits: Vec<_> = rows.iter().filter_map(|row| wait(row.get(0), row.get(1))).collect();
    waits.sort();
    waits
}

/// Commit to delivery, with the sequencer running: as much as eight clients bring in, and the wait at half of that.
async fn through(pool: &Pool, connector: &Connector, settings: DeliverySettings) -> Through {
    let event: TaskEvent = serde_json::from_str(include_str!("../tests/golden/events/upload_reported.v1.0.json")).expect("an event");
    let (event, wakes) = (Arc::new(event), Wakes::default());
    let store = EventStore::new(pool.clone(), wakes.clone());
    let connection = Arc::new(connector.connect().await.expect("a connection"));
    let idle = connector.connect().await.expect("a connection");
    let leader = loop {
        match Sequencer::lead(&connection, &Holder::new("bench")).await.expect("a lead") {
            Some(leader) => break leader,
            None => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    };
    let (head, mut position) = tokio::sync::watch::channel(0_i64);
    let stop = CancellationToken::new();
    let sequencing = tokio::spawn(leader.run(wakes.log(), Duration::from_millis(100), head, stop.clone()));
    // The backlog has its positions before anything is measured.
    while keystone_edge::eventstore::log::head(pool).await.expect("a head").unplaced > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let taker = Taker { name: SubscriberName::UploadVerification, seen: Arc::default() };
    let running = Running::start(pool, &taker, settings, &wakes);
    let run = u64::from(rand::random::<u32>()) << 24;
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (store, event, next, seen) = (store.clone(), event.clone(), next.clone(), taker.seen.clone());
        clients.spawn(async move {
            while started.elapsed() < seconds() {
                let id = (run + next.fetch_add(1, Ordering::Relaxed) as u64).to_string();
                append(&store, &event, &id).await;
                seen.committed(id);
            }
        });
    }
    clients.join_all().await;
    let sent = next.load(Ordering::Relaxed);
    taker.seen.until(sent).await;
    let closed = sent as f64 / started.elapsed().as_secs_f64();

    {
        let mut times = taker.seen.times.lock().expect("times");
        times.waits.clear();
        times.all.clear();
    }
    let after = *position.borrow_and_update();
    let heads = tokio::spawn(async move {
        let mut heads = vec![];
        while position.changed().await.is_ok() {
            heads.push((Instant::now(), *position.borrow_and_update()));
        }
        heads
    });
    let asked = CancellationToken::new();
    let asking = tokio::spawn(asks(idle, asked.clone()));
    let (half, begun, mut late) = (closed / 2.0, Instant::now(), 0);
    let mut under_way = tokio::task::JoinSet::new();
    while begun.elapsed() < seconds() {
        let due = (begun.elapsed().as_secs_f64() * half) as usize;
        while late < due {
            let (store, event, seen) = (store.clone(), event.clone(), taker.seen.clone());
            let id = (run + (sent + late) as u64).to_string();
            under_way.spawn(async move {
                let begun = Instant::now();
                append(&store, &event, &id).await;
                let took = begun.elapsed();
                seen.committed(id);
                took
            });
            late += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut committing = under_way.join_all().await;
    asked.cancel();
    let asking = asking.await.expect("answers");
    taker.seen.until(sent + late).await;
    running.stop().await;
    while keystone_edge::eventstore::log::head(pool).await.expect("a head").unplaced > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.cancel();
    sequencing.await.expect("a sequencer").expect("an orderly end");
    let heads = heads.await.expect("heads");
    let (mut delivered, committed) = {
        let mut times = taker.seen.times.lock().expect("times");
        (std::mem::take(&mut times.waits), std::mem::take(&mut times.all))
    };
    delivered.sort();
    committing.sort();
    Through { closed, half, delivered, placed: until_placed(pool, after, &heads, &committed).await, committing, asking }
}

/// The table over many deliveries, a backlog at a time: its size in megabytes after each, and rows a second.
async fn watched(pool: &Pool, settings: DeliverySettings, backlog: usize, deliveries: usize) {
    for held in [false, true] {
        let mut holder = pool.get().await.expect("a connection");
        let snapshot = holder.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead).start().await;
        let snapshot = snapshot.expect("a transaction");
        if held {
            snapshot
                .batch_execute("set local idle_in_transaction_session_timeout = 0; select from outbox limit 1")
                .await
                .expect("a snapshot");
        }
        let (mut sizes, mut rates) = (vec![], vec![]);
        for _ in 0..deliveries.div_ceil(backlog) {
            rates.push(burn_down(pool, SubscriberName::UploadVerification, settings, backlog).await);
            let size = "select pg_total_relation_size('outbox')";
            let size: i64 = pool.get().await.expect("a connection").query_one(size, &[]).await.expect("a size").get(0);
            sizes.push(size as f64 / 1e6);
        }
        drop(snapshot);
        let (first, last) = (rates[0], rates[rates.len() - 1]);
        let steps: Vec<String> = sizes.iter().step_by(sizes.len().div_ceil(10)).map(|size| format!("{size:.0}")).collect();
        let (name, most) = (if held { ", a snapshot held" } else { "" }, sizes.iter().copied().fold(0.0, f64::max));
        println!(
            "table over {deliveries} deliveries{name}: {} MB, at most {most:.0} MB; {first:.0}/s at first, {last:.0}/s at last",
            steps.join(", ")
        );
    }
}

async fn ours(pool: &Pool, connector: &Connector, backlog: usize) -> Figures {
    let outbox = Config::defaults().outbox;
    let shipped = |name: &str| delivery_settings(&outbox, name);
    let verification = burn_down(pool, SubscriberName::UploadVerification, shipped("upload_verification"), backlog).await;
    let defaults = burn_down(pool, SubscriberName::UploadVerification, shipped("defaults"), backlog).await;
    let devices = burn_down(pool, SubscriberName::DeviceCommands, shipped("device_commands"), backlog).await;
    println!(
        "ours, burn-down: {verification:.0}/s as `upload_verification`, {defaults:.0}/s with `outbox.defaults`, {devices:.0}/s as `device_commands` to {DEVICES} destinations, in order"
    );
    let Through { closed, half, delivered, placed, committing, asking } = through(pool, connector, shipped("defaults")).await;
    for (what, waits) in [("commit → position", &placed), ("a commit itself", &committing), ("a question for nothing", &asking)] {
        println!("ours, {what} at {half:.0}/s: p50 {:.2} ms, p99 {:.2} ms", part(waits, 0.5), part(waits, 0.99));
    }
    Figures { burn_down: defaults, closed, half, p50_ms: part(&delivered, 0.5), p99_ms: part(&delivered, 0.99) }
}

/// A queue in a process of its own, on a database of its own.
struct Peer {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
}

impl Peer {
    /// Those that this machine can build and run.
    async fn all() -> Vec<Self> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-peers");
        let mut peers = vec![];
        let node = place.join("node");
        std::fs::create_dir_all(&node).expect("a folder");
        for file in ["package.json", "peer.js"] {
            std::fs::copy(sources.join("node").join(file), node.join(file)).expect("a copy");
        }
        let mut npm = Command::new("npm");
        let npm = npm
            .args(["install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(&node)
            .stdout(Stdio::null());
        match npm.status().await {
            Ok(status) if status.success() => {
                for name in ["graphile-worker", "pg-boss"] {
                    let arguments = vec![node.join("peer.js").display().to_string(), name.to_owned()];
                    peers.push(Self { name, program: "node".into(), arguments });
                }
            }
            other => println!("graphile-worker and pg-boss are left out: npm could not install them ({other:?})"),
        }
        let mut cargo = Command::new(env!("CARGO"));
        let cargo = cargo.args(["build", "--quiet", "--release", "--target-dir"]).arg(&place).current_dir(sources.join("rust"));
        match cargo.status().await {
            Ok(status) if status.success() => {
                peers.push(Self { name: "graphile_worker (crate)", program: place.join("release/outbox-peer"), arguments: vec![] });
            }
            other => println!("graphile_worker of crates.io is left out: it could not be built ({other:?})"),
        }
        peers
    }

    /// Or how it ended without any, as one does where it waits for jobs that it does not find.
    async fn figures(&self, server: &Secret, round: usize, backlog: usize) -> Result<Figures, String> {
        let database = format!("peer_{}_{round}", self.name.chars().filter(char::is_ascii_alphanumeric).collect::<String>());
        let (client, connection) = tokio_postgres::connect(server.expose(), tokio_postgres::NoTls).await.expect("a superuser");
        tokio::spawn(connection);
        client.batch_execute(&format!("create database {database}")).await.expect("a database");
        let (server, _) = server.expose().rsplit_once('/').expect("an address with a database");
        let output = Command::new(&self.program)
            .args(&self.arguments)
            .args([format!("{server}/{database}"), backlog.to_string(), seconds().as_secs_f64().to_string()])
            .stderr(Stdio::inherit())
            .output()
            .await
            .expect("a peer");
        let said = String::from_utf8_lossy(&output.stdout);
        let last = said.lines().last().unwrap_or_default();
        serde_json::from_str(last).map_err(|error| format!("it ended with {}, and said no figures ({error}): {last}", output.status))
    }
}

#[tokio::main]
async fn main() {
    let backlog = number("KEYSTONE_BENCH_BACKLOG", 50_000);
    let peers = if number("KEYSTONE_BENCH_PEERS", 1) == 0 { vec![] } else { Peer::all().await };
    let folder = tempfile::Builder::new().prefix("keystone-bench-").tempdir().expect("a folder");
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("a folder that Postgres can enter");
    let postgres = EmbeddedPostgres::start(&folder.path().join("pg"), &Options::default()).await.expect("Postgres");
    let mut settings = Config::defaults().database;
    settings.pool_max = 16;
    let connector = Connector::new(postgres.url(), &settings).expect("a connector");
    connector.migrate().await.expect("a schema");
    let pool = connector.pool().expect("a pool");
    events(&pool, backlog).await;
    for round in 0..number("KEYSTONE_BENCH_ROUNDS", 1) {
        show("ours", ours(&pool, &connector, backlog).await);
        for peer in &peers {
            match peer.figures(postgres.superuser_url(), round, backlog).await {
                Ok(figures) => show(peer.name, figures),
                Err(why) => println!("{} is left out of this round: {why}", peer.name),
            }
        }
    }
    watched(&pool, delivery_settings(&Config::defaults().outbox, "defaults"), backlog, number("KEYSTONE_BENCH_DELIVERIES", 200_000)).await;
    pool.close();
    postgres.stop().await.expect("its end");
}
