//! What the hot paths cost, each beside the same writes in plain SQL in the same run.
//!
//! One private Postgres with everything synced to disk, some seconds per figure, at several numbers of
//! clients. Absolute figures belong to the machine; the ratios are what is looked at.
//! `KEYSTONE_BENCH_SECONDS` sets the seconds per figure.

#![allow(clippy::disallowed_methods)]

#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod baseline;
#[path = "../tests/it/factory.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod factory;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{PersistedEventRepository, PersistedEventStore};
use cqrs_es::{CqrsFramework, DomainEvent};
use deadpool_postgres::Pool;
use keystone_edge::commands::batches::CreateBatch;
use keystone_edge::commands::callbacks::{Proof, StartAnswer, StartCallback};
use keystone_edge::commands::{Commands, Context};
use keystone_edge::config::{Config, Secret};
use keystone_edge::dispatcher::{self, Delivery, DeliverySettings, Outcome, Subscriber, Worker};
use keystone_edge::domain::PublicTaskId;
use keystone_edge::domain::device::{Device, DeviceEvent};
use keystone_edge::domain::routing::SubscriberName;
use keystone_edge::domain::workload::TaskGroup;
use keystone_edge::embedded::postgres::{EmbeddedPostgres, Options};
use keystone_edge::eventstore::cqrs::EventRepository;
use keystone_edge::eventstore::{EventStore, Holder, NewEvent, Sequencer};
use keystone_edge::outbox::{Backoff, Wakes};
use keystone_edge::pg::Connector;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use baseline::{META, rate, seconds, show};
use factory::Factory;

const CLIENTS: [usize; 3] = [1, 8, 32];
/// Tasks prepared for the callbacks of one figure; a faster machine stops early.
const TASKS: usize = 40_000;

struct Bench {
    pool: Pool,
    connector: Connector,
    url: Secret,
    factory: Factory,
}

impl Bench {
    async fn new(postgres: &EmbeddedPostgres) -> Self {
        let mut settings = Config::defaults().database;
        settings.pool_max = 40;
        let connector = Connector::new(postgres.url(), &settings).expect("a connector");
        connector.migrate().await.expect("a schema");
        let pool = connector.pool().expect("a pool");
        let factory = Factory::new(&pool, 1).await;
        Self { pool, connector, url: postgres.url().clone(), factory }
    }

    fn commands(&self) -> Commands {
        self.factory.commands.clone()
    }

    /// Pending tasks, 1000 a batch.
    async fn tasks(&self, count: usize, name: &str) -> Vec<(i64, String)> {
        let order = self.factory.order(name, count as i64).await;
        let mut made = vec![];
        while made.len() < count {
            let batch = self.create_batch(order, 1000.min(count - made.len()) as i64);
            let batch = self.commands().execute(&Context::system(), batch).await.expect("a batch");
            made.extend(batch.tasks.into_iter().map(|task| (task.id.0, task.public_id.to_string())));
        }
        made
    }

    fn create_batch(&self, order_id: keystone_edge::domain::OrderId, quantity: i64) -> CreateBatch {
        let group = TaskGroup { sop_id: self.factory.sop_id, subscene_id: self.factory.subscene_id, quantity };
        CreateBatch { order_id, station_id: self.factory.stations[0].0, groups: vec![group], notes: None, metadata: None }
    }

    /// Start callback → committed, and the event, the row and nothing else in plain SQL: begin, look up the
    /// task, insert, update, commit, each awaited, prepared once.
    async fn callbacks(&self, clients: usize, round: &str) -> (f64, f64) {
        let tasks = Arc::new(self.tasks(TASKS, &format!("callbacks {clients} {round}")).await);
        let commands = self.commands();
        let (ours, mine) = (tasks.clone(), tasks.len() as u64 / 2);
        let measured = rate(clients, move |n| {
            let (commands, tasks) = (commands.clone(), ours.clone());
            async move {
                let (_, public_id) = tasks.get(n as usize).filter(|_| n < mine)?;
                let task_id = PublicTaskId::parse(public_id).expect("an id");
                let reported = json!({ "task_id": public_id, "status": "recording", "topics": ["/chatter", "/camera0/rgb"] });
                let callback = StartCallback { task_id, device_id: None, reported, proof: Proof::NotAsked };
                // Of a task that nobody configured: it is noted, which costs the same transaction.
                assert_eq!(commands.execute(&Context::system(), callback).await.expect("a callback"), StartAnswer::Unmoved);
                Some(())
            }
        })
        .await;
        let pool = self.pool.clone();
        let plain = rate(clients, move |n| {
            let (pool, tasks) = (pool.clone(), tasks.clone());
            async move {
                let (id, public_id) = tasks.get((n + mine) as usize)?;
                plain_callback(&pool, *id, public_id).await.expect("plain SQL");
                Some(())
            }
        })
        .await;
        (measured, plain)
    }
}

async fn plain_callback(pool: &Pool, id: i64, public_id: &str) -> anyhow::Result<()> {
    let client = pool.get().await?;
    let find = client.prepare_cached("select id, status from tasks where task_id = $1").await?;
    let insert = client
        .prepare_cached("insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) values ('task', $1, 2, 'recording_started', '1.0', $2, $3)")
        .await?;
    let update = client
        .prepare_cached("update tasks set status = 'in_progress', started_at = now(), updated_at = now(), version = 2 where id = $1 and status = 'pending'")
        .await?;
    let payload = json!({ "recording_started": { "by": "start_callback", "at": "2026-11-20T00:00:00Z", "reported": { "task_id": public_id, "status": "recording", "topics": ["/chatter", "/camera0/rgb"] } } });
    let metadata: Value = serde_json::from_str(META)?;
    client.batch_execute("begin").await?;
    client.query_one(&find, &[&public_id]).await?;
    client.execute(&insert, &[&id.to_string(), &payload, &metadata]).await?;
    client.execute(&update, &[&id]).await?;
    client.batch_execute("commit").await?;
    Ok(())
}

/// An aggregate as small as can be: what is measured is the store.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counter {
    count: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Counted {
    Counted { by: u64, note: String },
}

impl DomainEvent for Counted {
    fn event_type(&self) -> String {
        "counted".to_owned()
    }
    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

impl cqrs_es::Aggregate for Counter {
    const TYPE: &'static str = "counter";
    /// How many events.
    type Command = usize;
    type Event = Counted;
    type Error = std::convert::Infallible;
    type Services = ();

    async fn handle(&mut self, events: usize, _: &(), sink: &EventSink<Self>) -> Result<(), Self::Error> {
        for _ in 0..events {
            sink.write(Counted::Counted { by: 1, note: "a payload of an ordinary size, some dozens of bytes".to_owned() }, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Counted) {
        let Counted::Counted { by, .. } = event;
        self.count += by;
    }
}

/// Load, handle, commit through cqrs-es, on streams of their own.
async fn appends<R: PersistedEventRepository + 'static>(repository: R, clients: usize, events: usize, name: &str) -> f64 {
    let store = PersistedEventStore::<R, Counter>::new_event_store(repository);
    let framework = Arc::new(CqrsFramework::new(store, vec![], ()));
    let prefix = format!("{name}-{clients}-{events}-{}", rand::random::<u32>());
    rate(clients, move |n| {
        let (framework, id) = (framework.clone(), format!("{prefix}-{n}"));
        async move {
            framework.execute(&id, events).await.expect("an append");
            Some(())
        }
    })
    .await
}

struct Nothing(Arc<AtomicU64>);

#[async_trait]
impl Subscriber for Nothing {
    fn name(&self) -> SubscriberName {
        SubscriberName::UploadVerification
    }
    async fn deliver(&self, _: &Delivery) -> Outcome {
        self.0.fetch_add(1, Ordering::Relaxed);
        Outcome::Delivered
    }
}

const QUEUED: i64 = 50_000;

async fn fill_outbox(pool: &Pool) {
    let sql = "insert into outbox (subscriber, event_seq, stream_key, causation_depth)
               select 'upload_verification', e.seq, e.aggregate_type || '/' || e.aggregate_id, 0 from events e order by e.seq limit $1";
    let filled = pool.get().await.expect("a connection").execute(sql, &[&QUEUED]).await.expect("rows");
    assert_eq!(filled as i64, QUEUED);
}

async fn dispatch(pool: &Pool) -> (f64, f64) {
    fill_outbox(pool).await;
    let delivered = Arc::new(AtomicU64::new(0));
    let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
    let settings = DeliverySettings {
        concurrency: 400,
        concurrency_total: 400,
        attempts_max: Some(5),
        deadline: None,
        backoff: Backoff::exponential(Duration::from_secs(1), Duration::from_secs(30)),
        lease: Duration::from_secs(30),
        timeout: Duration::from_secs(10),
        per_stream: false,
        block_on_dead: false,
        poll: Duration::from_millis(500),
        causation_depth_max: 8,
    };
    let subscriber = Arc::new(Nothing(delivered.clone()));
    let wakes = Wakes::default();
    let worker = Worker {
        pool: pool.clone(),
        subscriber,
        settings,
        wake: wakes.of(SubscriberName::UploadVerification),
        activity: Arc::default(),
        name: "bench".to_owned(),
    };
    let started = Instant::now();
    let run = tokio::spawn(dispatcher::run(worker, soft.clone(), hard));
    while delivered.load(Ordering::Relaxed) < QUEUED as u64 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    soft.cancel();
    run.await.expect("a worker");
    let ours = QUEUED as f64 / started.elapsed().as_secs_f64();

    fill_outbox(pool).await;
    let started = Instant::now();
    let client = pool.get().await.expect("a connection");
    // Lease a hundred, read their events, delete them: what a careful person would write by hand.
    let claim = client
        .prepare_cached("with c as materialized (select outbox_id from outbox where subscriber = 'upload_verification' and due_at <= clock_timestamp() order by due_at, outbox_id limit 100 for update skip locked)
                         , t as (update outbox o set leased_until = clock_timestamp() + interval '30 s', attempt = attempt + 1, epoch = epoch + 1 from c where o.outbox_id = c.outbox_id returning o.outbox_id, o.event_seq)
                         select t.outbox_id, e.payload, e.metadata from t join events e on e.seq = t.event_seq")
        .await
        .expect("a statement");
    let remove = client.prepare_cached("delete from outbox where outbox_id = any ($1)").await.expect("a statement");
    let mut left = QUEUED;
    while left > 0 {
        let ids: Vec<i64> = client.query(&claim, &[]).await.expect("a claim").iter().map(|row| row.get(0)).collect();
        left -= ids.len() as i64;
        client.execute(&remove, &[&ids]).await.expect("a delete");
    }
    (ours, QUEUED as f64 / started.elapsed().as_secs_f64())
}

/// One event on a stream of its own, straight into the store: one round trip.
async fn append_one(store: EventStore, id: String) {
    let event = DeviceEvent::DeviceReportRefused {
        report: "bench".to_owned(),
        reason: "a text of an ordinary size, some dozens of bytes".to_owned(),
    };
    let event = NewEvent::of::<Device>(&id, 1, &event).expect("an event");
    store.begin().await.expect("a transaction").commit(&[event], &baseline::metadata(), &[]).await.expect("a commit");
}

/// Commit → position at half of the rate that the store can take from 8 clients.
async fn latency(bench: &Bench) -> (f64, Duration, Duration) {
    let wakes = Wakes::default();
    let store = EventStore::new(bench.pool.clone(), wakes.clone());
    let connection = Arc::new(bench.connector.connect().await.expect("a connection"));
    let leader = Sequencer::lead(&connection, &Holder::new("bench")).await.expect("a lead").expect("nobody else leads");
    let (head, mut position) = tokio::sync::watch::channel(0_i64);
    let stop = CancellationToken::new();
    let running = tokio::spawn(leader.run(wakes.log(), Duration::from_millis(100), head, stop.clone()));
    let run = rand::random::<u32>();
    let most = {
        let store = store.clone();
        rate(8, move |n| {
            let store = store.clone();
            async move {
                append_one(store, format!("most-{run}-{n}")).await;
                Some(())
            }
        })
        .await
    };
    // What the other figures left has its position before the measurement begins.
    while keystone_edge::eventstore::log::head(&bench.pool).await.expect("a head").unplaced > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let first = *position.borrow_and_update();
    let seen: Arc<Mutex<Vec<(i64, Instant)>>> = Arc::default();
    let watching = {
        let seen = seen.clone();
        tokio::spawn(async move {
            while position.changed().await.is_ok() {
                let now = *position.borrow_and_update();
                seen.lock().await.push((now, Instant::now()));
            }
        })
    };
    let committed: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let half = most / 2.0;
    let until = Instant::now() + seconds();
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / half));
    let mut under_way = tokio::task::JoinSet::new();
    let mut n = 0;
    while Instant::now() < until {
        ticks.tick().await;
        n += 1;
        let (store, committed) = (store.clone(), committed.clone());
        under_way.spawn(async move {
            append_one(store, format!("latency-{run}-{n}")).await;
            committed.lock().await.push(Instant::now());
        });
    }
    under_way.join_all().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.cancel();
    running.await.expect("a sequencer").expect("an orderly end");
    watching.abort();
    // Positions are given in commit order: the n-th commit has the n-th position, give or take
    // commits whose answers crossed.
    let mut commits = committed.lock().await.clone();
    commits.sort();
    let heads = seen.lock().await.clone();
    let mut waits: Vec<Duration> = commits
        .iter()
        .enumerate()
        .filter_map(|(n, at)| {
            let reached = &heads[heads.partition_point(|(head, _)| *head <= first + n as i64)..].first()?.1;
            Some(reached.saturating_duration_since(*at))
        })
        .collect();
    waits.sort();
    assert_eq!(waits.len(), commits.len(), "every commit got a position");
    (half, waits[waits.len() / 2], waits[waits.len() * 99 / 100])
}

#[tokio::main]
async fn main() {
    let folder = tempfile::Builder::new().prefix("keystone-bench-").tempdir().expect("a folder");
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("a folder that Postgres can enter");
    for (label, options) in [
        ("as it is", Options::default()),
        ("with a flush of 1 ms (commit_delay)", Options::default().with("commit_delay", "1000").with("commit_siblings", "0")),
    ] {
        let postgres =
            EmbeddedPostgres::start(&folder.path().join(label.split(' ').next().unwrap_or("pg")), &options).await.expect("Postgres");
        let bench = Bench::new(&postgres).await;
        println!("\n== {label}");
        let first_run = options.settings.is_empty();
        let clients: &[usize] = if first_run { &CLIENTS } else { &[32] };
        for &clients in clients {
            let (ours, plain) = bench.callbacks(clients, label).await;
            show("start callback → committed", clients, ours, "plain SQL, same writes", plain);
        }
        let peer = sqlx::postgres::PgPoolOptions::new().max_connections(40).connect(bench.url.expose()).await.expect("a pool");
        for &clients in clients {
            for events in [1, 10] {
                let ours = appends(EventRepository::new(bench.pool.clone()), clients, events, "ours").await;
                let theirs = appends(postgres_es::PostgresEventRepository::new(peer.clone()), clients, events, "peer").await;
                show(&format!("append of {events} through the aggregate"), clients, ours, "postgres-es", theirs);
            }
        }
        if first_run {
            let (ours, plain) = dispatch(&bench.pool).await;
            show("dispatch, one worker, batches of 100", 1, ours, "plain SQL claim and delete", plain);
        }
        let (half, p50, p99) = latency(&bench).await;
        println!(
            "commit → position at {half:.0} appends/s, half of the most: p50 {:.2} ms, p99 {:.2} ms",
            p50.as_secs_f64() * 1e3,
            p99.as_secs_f64() * 1e3
        );
        peer.close().await;
        bench.pool.close();
        postgres.stop().await.expect("its end");
    }
}
