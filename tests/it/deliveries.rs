//! Deliveries while processes die: several of the real program share a database, one of them is killed each second, and
//! Postgres once, while events come in. Receivers say what they heard, and a model says in which order that may be.
//!
//! `CAMPAIGN_ROUNDS` is how many kills there are; with it, four processes are tried, too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use keystone_edge::domain::order::{Order, OrderEvent};
use keystone_edge::eventstore::{EventStore, NewEvent, StoreError};
use keystone_edge::outbox::Wakes;
use keystone_edge::simulator::client::Client;
use rand::Rng;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::factory::metadata;
use crate::harness::server::{LEASE, PASSWORD, Server};
use crate::harness::{PrivatePostgres, TestObjects, temp_folder};
use crate::outbox::number;
use crate::webhooks::receiver::{Answer, Receiver};

const STREAMS: u64 = 12;
const PACE: Duration = Duration::from_millis(100);
const ATTEMPTS_MAX: u32 = 6;
/// What the slow receiver takes for each request.
const SLOW: Duration = Duration::from_secs(4);
/// From the end of a dead worker's lease until another has its rows: a process that starts, or one that looks.
const TAKEN_AGAIN_WITHIN: Duration = Duration::from_secs(10);

/// One event: the number of its stream, and its place there.
type Event = (u64, i64);

fn event_of(id: &str) -> Event {
    let mut parts = id.split('/').skip(1).map(|part| part.trim_start_matches("load-").parse::<i64>().expect("a number"));
    let (stream, n) = (parts.next().expect("a stream"), parts.next().expect("a place"));
    (u64::try_from(stream).expect("a stream"), n)
}

/// What its receivers always refuse.
fn is_poison((stream, n): Event) -> bool {
    (stream * 31 + n.unsigned_abs() * 17).is_multiple_of(61)
}

/// What they refuse once.
fn is_flaky((stream, n): Event) -> bool {
    (stream + n.unsigned_abs()).is_multiple_of(5)
}

/// One request.
struct Post {
    at: DateTime<Utc>,
    event: Event,
    taken: bool,
}

/// A receiver that takes everything but what is poison or flaky.
struct Model {
    receiver: Receiver,
    posts: Arc<Mutex<Vec<Post>>>,
}

impl Model {
    async fn start() -> Self {
        let posts: Arc<Mutex<Vec<Post>>> = Arc::default();
        let kept = posts.clone();
        let receiver = Receiver::start(move |heard| {
            let (event, mut posts) = (event_of(heard.body()["id"].as_str().expect("an id")), kept.lock().unwrap());
            let seen = posts.iter().any(|post| post.event == event);
            let taken = !is_poison(event) && (seen || !is_flaky(event));
            posts.push(Post { at: Utc::now(), event, taken });
            if taken { 200 } else { 500 }
        });
        Self { receiver: receiver.await, posts }
    }

    fn taken(&self) -> BTreeSet<Event> {
        self.posts.lock().unwrap().iter().filter(|post| post.taken).map(|post| post.event).collect()
    }

    /// From the commit of an event to its first request, for those of `of`.
    fn waits(&self, of: &BTreeMap<Event, DateTime<Utc>>) -> Vec<chrono::TimeDelta> {
        let posts = self.posts.lock().unwrap();
        let first = |event: Event| posts.iter().find(|post| post.event == event).map(|post| post.at);
        let mut waits: Vec<_> = of.iter().filter_map(|(event, at)| Some(first(*event)? - *at)).collect();
        waits.sort();
        waits
    }

    /// In each stream an event was posted only after the one before it had been taken, or had died.
    fn assert_order(&self, died: &BTreeMap<Event, DateTime<Utc>>) {
        let mut taken = BTreeSet::new();
        for post in self.posts.lock().unwrap().iter() {
            let (stream, n) = post.event;
            for before in (1..n).map(|n| (stream, n)) {
                let dead = died.get(&before).is_some_and(|at| *at <= post.at);
                assert!(taken.contains(&before) || dead, "{:?} was posted before {before:?} was settled", post.event);
            }
            if post.taken {
                taken.insert(post.event);
            }
        }
    }
}

/// Events that were committed, and when that was known.
type Committed = Arc<Mutex<BTreeMap<Event, DateTime<Utc>>>>;

/// Appends to one stream until it is told to stop, whatever happens to the database.
async fn keep_appending(store: EventStore, stream: u64, committed: Committed, stop: CancellationToken) {
    let id = format!("load-{stream}");
    for n in 1.. {
        let event = NewEvent::of::<Order>(&id, n, &OrderEvent::OrderStarted {}).expect("an event");
        loop {
            let appended = async { store.begin().await?.commit(std::slice::from_ref(&event), &metadata(), &[]).await };
            match appended.await {
                // A conflict: the answer to the attempt before was lost.
                Ok(_) | Err(StoreError::Conflict) => break,
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
        committed.lock().unwrap().insert((stream, n), Utc::now());
        tokio::select! { () = stop.cancelled() => return, () = sleep(PACE) => {} }
    }
}

/// How far beyond the end of its lease a row was seen that waits for one of these.
async fn watch_leases(pool: deadpool_postgres::Pool, destinations: Vec<String>, stop: CancellationToken) -> f64 {
    let sql = "select coalesce(max(extract(epoch from clock_timestamp() - leased_until)), 0)::float8
               from outbox where leased_until < clock_timestamp() and destination = any($1)";
    let mut longest: f64 = 0.0;
    while !stop.is_cancelled() {
        if let Ok(client) = pool.get().await
            && let Ok(row) = client.query_one(sql, &[&destinations]).await
        {
            longest = longest.max(row.get(0));
        }
        sleep(Duration::from_millis(200)).await;
    }
    longest
}

async fn letters(pool: &deadpool_postgres::Pool, destination: &str) -> BTreeMap<Event, DateTime<Utc>> {
    let sql = "select e.aggregate_type || '/' || e.aggregate_id || '/' || e.sequence, d.died_at
               from dead_letters d join events e on e.seq = d.event_seq where d.destination = $1";
    let rows = pool.get().await.expect("a connection").query(sql, &[&destination]).await.expect("letters");
    let letters: BTreeMap<_, _> = rows.iter().map(|row| (event_of(row.get(0)), row.get(1))).collect();
    assert_eq!(letters.len(), rows.len(), "no letter twice");
    letters
}

async fn deliver_while_processes_die(processes: usize, kills: usize) {
    let started = Instant::now();
    let mut postgres = PrivatePostgres::start().await;
    let objects = TestObjects::new().await;
    let folders: Vec<_> = (0..processes).map(|_| temp_folder()).collect();
    let sharing = |folder: &tempfile::TempDir| Server::sharing(folder.path(), postgres.url(), &objects.s3.endpoint());
    let mut servers: Vec<Server> = folders.iter().map(sharing).collect();
    for server in &mut servers {
        server.settings.push(("KEYSTONE_WEBHOOKS_ALLOW_PRIVATE", "127.0.0.1".to_owned()));
        server.start();
        server.ready().await;
    }
    let client = Client::sign_in(&servers[0].base(), "admin", PASSWORD).await.expect("a login");
    let (ordered, free) = (Model::start().await, Model::start().await);
    let slow = Receiver::answering(|_| Answer { wait: SLOW, ..Answer::of(200) }).await;
    let dead = Receiver::start(|_| 200).await.url("/");
    let delivery = |ordering: &str| json!({ "backoff": "fixed", "backoff_base_ms": 100, "attempts_max": ATTEMPTS_MAX, "concurrency": 8, "ordering": ordering });
    let mut destinations = vec![];
    for (url, ordering) in
        [(ordered.receiver.url("/"), "per_stream"), (free.receiver.url("/"), "none"), (slow.url("/"), "none"), (dead, "none")]
    {
        let asked = json!({ "url": url, "event_types": ["order_started"], "delivery": delivery(ordering) });
        let made = client.create("/subscriptions", &asked).await.expect("a subscription");
        destinations.push(format!("webhook:{}", made["id"].as_str().expect("an id")));
    }
    let pool = postgres.connector().pool().expect("a pool");
    let (stop, committed) = (CancellationToken::new(), Committed::default());
    let store = EventStore::new(pool.clone(), Wakes::default());
    let mut appending = tokio::task::JoinSet::new();
    (0..STREAMS).for_each(|stream| drop(appending.spawn(keep_appending(store.clone(), stream, committed.clone(), stop.clone()))));
    let watching = tokio::spawn(watch_leases(pool.clone(), destinations[..2].to_vec(), stop.clone()));

    // While nothing dies, neither the slow one nor the dead one keeps the others waiting.
    sleep(Duration::from_secs(3)).await;
    let early: BTreeMap<_, _> = committed.lock().unwrap().iter().filter(|((_, n), _)| *n <= 15).map(|(event, at)| (*event, *at)).collect();
    for (name, waits) in [("ordered", ordered.waits(&early)), ("free", free.waits(&early))] {
        let (median, all) = (waits.get(waits.len() / 2), early.len());
        assert!(waits.len() * 10 >= all * 7, "{name}: {} of {all} were told in time", waits.len());
        assert!(median.is_some_and(|median| median.to_std().is_ok_and(|median| median < SLOW / 4)), "{name}: {median:?}");
    }

    let mut rng = rand::rng();
    for kill in 1..=kills {
        sleep(Duration::from_secs(1)).await;
        let n = rng.random_range(0..processes);
        servers[n].kill();
        servers[n].start();
        if kill == kills.div_ceil(2) {
            postgres.kill().await;
            postgres.start_again().await;
        }
    }
    stop.cancel();
    appending.join_all().await;
    let committed = committed.lock().unwrap().clone();
    for server in &mut servers {
        server.ready().await;
    }
    let (poison, sound): (BTreeSet<_>, BTreeSet<_>) = committed.keys().copied().partition(|event| is_poison(*event));
    let quiet = Instant::now();
    for (model, destination) in [(&ordered, &destinations[0]), (&free, &destinations[1])] {
        loop {
            let (dead, missing) = (letters(&pool, destination).await, sound.difference(&model.taken()).count());
            if missing == 0 && dead.len() == poison.len() {
                break;
            }
            let letters = dead.len();
            assert!(
                quiet.elapsed() < Duration::from_secs(120),
                "{destination}: {missing} of {} events were never told, and {letters} of {} letters are there:\n{}",
                sound.len(),
                poison.len(),
                servers[0].tail()
            );
            sleep(Duration::from_millis(100)).await;
        }
        let dead = letters(&pool, destination).await;
        assert_eq!(dead.keys().copied().collect::<BTreeSet<_>>(), poison, "{destination}: what is poison, and nothing else");
        assert_eq!(model.taken(), sound);
    }
    ordered.assert_order(&letters(&pool, &destinations[0]).await);
    let overdue = watching.await.expect("a watch");
    assert!(overdue < TAKEN_AGAIN_WITHIN.as_secs_f64(), "a row lay there for {overdue:.1} s after its lease of {LEASE:?}");
    assert!(!slow.heard().is_empty());
    let waiting = format!("select count(*) from outbox where destination = '{}'", destinations[3]);
    assert!(number(&pool, &waiting).await > 0, "what is for the dead one waits");

    // Nothing is left of what the last workers held.
    for destination in &destinations[2..] {
        let id = destination.trim_start_matches("webhook:");
        client.call(reqwest::Method::DELETE, &format!("/subscriptions/{id}"), None).await.expect("its end");
    }
    let emptied = Instant::now();
    while number(&pool, "select count(*) from outbox").await > 0 {
        assert!(emptied.elapsed() < LEASE + TAKEN_AGAIN_WITHIN + SLOW, "rows are stuck");
        sleep(Duration::from_millis(100)).await;
    }
    let again = |model: &Model| model.posts.lock().unwrap().iter().filter(|post| post.taken).count() - sound.len();
    println!(
        "{processes} processes, {kills} kills, {} events, {} of them poison, in {:?}: told again {} and {}, at most {overdue:.1} s beyond a lease",
        committed.len(),
        poison.len(),
        started.elapsed(),
        again(&ordered),
        again(&free)
    );
}

fn kills() -> Option<usize> {
    std::env::var("CAMPAIGN_ROUNDS").ok().and_then(|text| text.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_of_which_one_dies_each_second_deliver_everything_in_order() {
    deliver_while_processes_die(2, kills().unwrap_or(4)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_processes_of_which_one_dies_each_second_deliver_everything_in_order() {
    let Some(kills) = kills() else {
        eprintln!("skipped: CAMPAIGN_ROUNDS says how often; `make campaign-deliveries` does");
        return;
    };
    deliver_while_processes_die(4, kills).await;
}
