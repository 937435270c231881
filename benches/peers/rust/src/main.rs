//! A queue of crates.io, `graphile_worker`, under the load of `benches/outbox.rs`:
//! `outbox-peer <database url> <jobs of the backlog> <seconds per figure>`. Prints one line of JSON, as `node/peer.js` does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use graphile_worker::{IntoTaskHandlerResult, LocalQueueConfig, TaskHandler, WorkerContext, WorkerOptions};
use serde::{Deserialize, Serialize};
use tokio_postgres::NoTls;
use tokio_postgres::types::ToSql;

const CLIENTS: usize = 8;

#[derive(Serialize, Deserialize)]
struct Take {
    id: i64,
}

/// What was committed and what was handled, whichever came first.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Times>>);

#[derive(Debug, Default)]
struct Times {
    handled: usize,
    committed: HashMap<i64, Instant>,
    early: HashMap<i64, Instant>,
    waits: Vec<Duration>,
}

impl Seen {
    fn handled(&self) -> usize {
        self.0.lock().unwrap().handled
    }

    fn took(&self, id: i64) {
        let (mut times, now) = (self.0.lock().unwrap(), Instant::now());
        times.handled += 1;
        match times.committed.remove(&id) {
            Some(since) => times.waits.push(now - since),
            None if id > 0 => drop(times.early.insert(id, now)),
            None => {}
        }
    }

    fn committed(&self, id: i64) {
        let (mut times, now) = (self.0.lock().unwrap(), Instant::now());
        match times.early.remove(&id) {
            Some(_) => times.waits.push(Duration::ZERO),
            None => drop(times.committed.insert(id, now)),
        }
    }

    async fn until(&self, count: usize) {
        let end = Instant::now() + Duration::from_secs(120);
        while self.handled() < count {
            assert!(Instant::now() < end, "{} of {count} were handled within two minutes", self.handled());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl TaskHandler for Take {
    const IDENTIFIER: &'static str = "take";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        context.get_ext::<Seen>().expect("what was seen").took(self.id);
        Ok::<(), String>(())
    }
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

/// One connection that enqueues, with its statements prepared.
struct Enqueuer {
    client: tokio_postgres::Client,
    event: tokio_postgres::Statement,
    job: tokio_postgres::Statement,
}

impl Enqueuer {
    async fn new(url: &str) -> Self {
        let client = connect(url).await;
        let event = client.prepare("insert into bench_events (payload) values ($1)").await.expect("a statement");
        let job = client.prepare("select 1 from graphile_worker.add_job('take', json_build_object('id', $1::bigint))").await.expect("a statement");
        Self { client, event, job }
    }

    async fn enqueue(&self, id: i64, seen: &Seen) {
        let payload = serde_json::json!({ "id": id, "note": "a payload of an ordinary size, some dozens of bytes" });
        let (event, job): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 1]) = ([&payload], [&id]);
        let (begun, event, job, committed) = tokio::join!(biased;
            self.client.batch_execute("begin"),
            self.client.execute(&self.event, &event),
            self.client.query(&self.job, &job),
            self.client.batch_execute("commit")
        );
        begun.expect("a transaction");
        event.expect("an event");
        job.expect("a job");
        committed.expect("a commit");
        seen.committed(id);
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, url, backlog, seconds] = arguments.as_slice() else { panic!("outbox-peer <url> <backlog> <seconds>") };
    let (backlog, seconds): (usize, f64) = (backlog.parse().expect("a number"), seconds.parse().expect("a number"));
    let (length, seen) = (Duration::from_secs_f64(seconds), Seen::default());
    // As its own benchmark has them, but for the poll interval, which it keeps.
    let worker = WorkerOptions::default()
        .database_url(url)
        .concurrency(500)
        .local_queue(LocalQueueConfig::default().with_size(5000))
        .complete_job_batch_delay(Duration::from_millis(5))
        .listen_os_shutdown_signals(false)
        .add_extension(seen.clone())
        .define_job::<Take>()
        .init()
        .await
        .expect("a worker");
    let worker = Arc::new(worker);
    let client = connect(url).await;
    client
        .batch_execute("create table if not exists bench_events (id bigint generated always as identity primary key, payload jsonb not null)")
        .await
        .expect("a table");
    // Its statements slow down with what one transaction has added.
    for first in (1..=backlog).step_by(2_000) {
        let last = backlog.min(first + 1_999);
        let add = format!("select count(*) from (select graphile_worker.add_job('take', json_build_object('id', -g)) from generate_series({first}, {last}) g) j");
        client.batch_execute(&add).await.expect("a backlog");
    }
    client.batch_execute("analyze").await.expect("statistics");

    let started = Instant::now();
    let running = tokio::spawn({
        let worker = worker.clone();
        async move { worker.run().await }
    });
    seen.until(backlog).await;
    let burn_down = backlog as f64 / started.elapsed().as_secs_f64();

    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let started = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (enqueuer, seen, next) = (Enqueuer::new(url).await, seen.clone(), next.clone());
        clients.spawn(async move {
            while started.elapsed() < length {
                let id = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) as i64 + 1;
                enqueuer.enqueue(id, &seen).await;
            }
            enqueuer
        });
    }
    let enqueuers: Vec<Arc<Enqueuer>> = clients.join_all().await.into_iter().map(Arc::new).collect();
    let sent = next.load(std::sync::atomic::Ordering::Relaxed);
    seen.until(backlog + sent).await;
    let closed = sent as f64 / started.elapsed().as_secs_f64();

    seen.0.lock().unwrap().waits.clear();
    let (half, begun, mut late) = (closed / 2.0, Instant::now(), 0);
    let mut under_way = tokio::task::JoinSet::new();
    while begun.elapsed() < length {
        let due = (begun.elapsed().as_secs_f64() * half) as usize;
        while late < due {
            late += 1;
            let (enqueuer, seen, id) = (enqueuers[late % CLIENTS].clone(), seen.clone(), (sent + late) as i64);
            under_way.spawn(async move { enqueuer.enqueue(id, &seen).await });
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    under_way.join_all().await;
    seen.until(backlog + sent + late).await;
    let mut waits = std::mem::take(&mut seen.0.lock().unwrap().waits);
    waits.sort();
    let part = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{}",
        serde_json::json!({ "burn_down": burn_down, "closed": closed, "half": half, "p50_ms": part(0.5), "p99_ms": part(0.99) })
    );
    worker.request_shutdown();
    running.await.expect("a worker").expect("an orderly end");
}
