//! Rows claimed, delivered, settled: once each while nobody dies, again when somebody does,
//! never by a worker whose lease is over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use deadpool_postgres::Pool;
use keystone_edge::dispatcher::{self, Delivery, DeliverySettings, Outcome, Subscriber, Worker};
use keystone_edge::domain::Timestamp;
use keystone_edge::domain::order::{Order, OrderEvent};
use keystone_edge::domain::routing::{Destination, Queued, SubscriberName};
use keystone_edge::eventstore::{Cause, EventStore, NewEvent};
use keystone_edge::outbox::{
    Backoff, Claim, Claimed, DeadReason, Settlement, Share, Wakes, Wanted, claim, extend, settle, waiting_destinations,
};
use keystone_edge::pg::get;
use keystone_edge::telemetry::activity::Activity;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::factory::metadata;
use crate::harness::{TestDatabase, until};

const NAME: SubscriberName = SubscriberName::UploadVerification;

/// Events of one stream with a row each.
pub struct Rows<'a> {
    pub stream: &'a str,
    pub versions: std::ops::RangeInclusive<i64>,
    pub destination: Option<&'a str>,
    pub expires_at: Option<Timestamp>,
    pub depth: Option<i32>,
}

pub fn to(text: &str) -> Destination {
    Destination::parse(text).expect("a destination")
}

pub fn rows(stream: &str, versions: std::ops::RangeInclusive<i64>) -> Rows<'_> {
    Rows { stream, versions, destination: None, expires_at: None, depth: None }
}

impl Rows<'_> {
    pub async fn queue(self, pool: &Pool) {
        let queued = Queued { subscriber: NAME, destination: self.destination.map(to), expires_at: self.expires_at, place: None };
        let event = |n| NewEvent::of::<Order>(self.stream, n, &OrderEvent::OrderStarted {}).unwrap().and_queue([queued.clone()]);
        let events: Vec<NewEvent> = self.versions.map(event).collect();
        let mut metadata = metadata();
        metadata.cause = self.depth.map(|depth| Cause { event_id: "order/0/1".into(), depth: depth - 1 });
        EventStore::new(pool.clone(), Wakes::default()).begin().await.unwrap().commit(&events, &metadata, &[]).await.unwrap();
    }
}

fn wanted(lease_ms: u64, limit: i64) -> Claim<'static> {
    Claim { subscriber: NAME, worker: "a test", lease: Duration::from_millis(lease_ms), wanted: Wanted::Any { limit }, per_stream: false }
}

pub async fn take(pool: &Pool, lease_ms: u64, limit: i64) -> Vec<Claimed> {
    claim(&get(pool).await.unwrap(), &wanted(lease_ms, limit)).await.unwrap()
}

pub async fn settle_one(pool: &Pool, row: &Claimed, settlement: Settlement) -> u64 {
    settle(&get(pool).await.unwrap(), &[(row.outbox_id, row.epoch, settlement)]).await.unwrap()
}

pub async fn number(pool: &Pool, sql: &str) -> i64 {
    get(pool).await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

pub async fn waiting(pool: &Pool) -> i64 {
    number(pool, "select count(*) from outbox").await
}

async fn errors_of(pool: &Pool, table: &str) -> Vec<String> {
    let sql = format!("select f ->> 'error' from {table}, jsonb_array_elements(failures) f");
    get(pool).await.unwrap().query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_row_is_claimed_by_one_and_comes_back_when_the_lease_ends() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    rows("a", 1..=1).queue(pool).await;
    let first = take(pool, 150, 10).await.remove(0);
    assert_eq!((first.attempt, first.event.event_id().as_str()), (1, "order/a/1"));
    assert_eq!(take(pool, 150, 10).await, [], "under lease");

    let mut second = vec![];
    until("the end of the lease", async || {
        second = take(pool, 60_000, 10).await;
        !second.is_empty()
    })
    .await;
    assert!(second[0].attempt == 2 && second[0].epoch > first.epoch);
    assert_eq!(errors_of(pool, "outbox").await, ["the lease ended before the worker a test settled it"]);
}

/// A claim waits for no disk: where Postgres dies right after it, the row is as it was before.
#[tokio::test]
async fn a_worker_whose_claim_was_forgotten_changes_nothing() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    rows("a", 1..=1).queue(pool).await;
    let forgotten = take(pool, 60_000, 1).await.remove(0);
    let as_before = "update outbox set attempt = 0, epoch = 0, leased_until = null, leased_by = null";
    get(pool).await.unwrap().batch_execute(as_before).await.unwrap();
    let holder = take(pool, 60_000, 1).await.remove(0);
    let dead = Settlement::Dead { reason: DeadReason::PermanentError, error: "late".into(), blocks_stream: true };
    assert_eq!(settle_one(pool, &forgotten, dead).await, 0);
    assert_eq!(settle_one(pool, &holder, Settlement::Delivered).await, 1);
    assert_eq!(number(pool, "select count(*) from dead_letters").await, 0);
}

#[tokio::test]
async fn a_worker_whose_lease_is_over_changes_nothing() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    rows("a", 1..=1).queue(pool).await;
    let stale = take(pool, 0, 1).await.remove(0);
    let holder = take(pool, 60_000, 1).await.remove(0);
    let dead = Settlement::Dead { reason: DeadReason::PermanentError, error: "late".into(), blocks_stream: true };
    let retry = Settlement::Retry { error: "late".into(), after: Duration::from_secs(3600) };
    let release = Settlement::Release { after: Duration::from_secs(3600) };
    let snapshot = "select md5(o::text) from outbox o";
    let before: String = get(pool).await.unwrap().query_one(snapshot, &[]).await.unwrap().get(0);
    for settlement in [Settlement::Delivered, retry, release, dead] {
        assert_eq!(settle_one(pool, &stale, settlement).await, 0);
    }
    let client = get(pool).await.unwrap();
    let lost = extend(&client, &[(stale.outbox_id, stale.epoch)], Duration::from_secs(9)).await.unwrap();
    assert_eq!(lost, [stale.outbox_id]);
    let after: String = client.query_one(snapshot, &[]).await.unwrap().get(0);
    assert_eq!(before, after);
    assert_eq!(number(pool, "select count(*) from dead_letters").await, 0);

    assert_eq!(extend(&client, &[(holder.outbox_id, holder.epoch)], Duration::from_secs(9)).await.unwrap(), [] as [i64; 0]);
    assert_eq!(settle_one(pool, &holder, Settlement::Delivered).await, 1);
    assert_eq!(waiting(pool).await, 0);
}

#[tokio::test]
async fn what_is_given_back_was_no_attempt() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    rows("a", 1..=1).queue(pool).await;
    for _ in 0..3 {
        let row = take(pool, 60_000, 1).await.remove(0);
        assert_eq!(row.attempt, 1);
        assert_eq!(settle_one(pool, &row, Settlement::Release { after: Duration::ZERO }).await, 1);
    }
    assert_eq!(errors_of(pool, "outbox").await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_failed_row_is_due_again_after_its_delay_by_the_databases_clock() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    rows("a", 1..=2).queue(pool).await;
    let taken = take(pool, 60_000, 2).await;
    let retry = |seconds| Settlement::Retry { error: "no answer".into(), after: Duration::from_secs(seconds) };
    assert_eq!(settle_one(pool, &taken[0], retry(3600)).await, 1);
    assert_eq!(settle_one(pool, &taken[1], retry(0)).await, 1);
    let wait = "select extract(epoch from max(due_at) - clock_timestamp())::bigint from outbox";
    assert!((3590..=3600).contains(&number(pool, wait).await));
    let again = take(pool, 60_000, 10).await;
    assert_eq!(again.len(), 1, "the other one is not due");
    assert_eq!((again[0].outbox_id, again[0].attempt), (taken[1].outbox_id, 2));
    assert_eq!(errors_of(pool, "outbox").await, ["no answer", "no answer"]);
}

#[tokio::test]
async fn a_claim_takes_no_more_than_it_asked_for_and_only_what_it_can_reach() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    for (stream, destination) in [("a", Some("recorder:1")), ("b", Some("recorder:2")), ("c", None)] {
        Rows { destination, ..rows(stream, 1..=4) }.queue(pool).await;
    }
    let reach = [Share { destination: to("recorder:2"), limit: 3, only_expired: false, per_stream: false }];
    let client = get(pool).await.unwrap();
    let mut waiting = waiting_destinations(&client, NAME).await.unwrap();
    waiting.sort_unstable();
    assert_eq!(waiting, [to("recorder:1"), to("recorder:2")]);
    let taken = claim(&client, &Claim { wanted: Wanted::For(reach.to_vec()), ..wanted(60_000, 3) }).await.unwrap();
    assert_eq!(taken.len(), 3);
    assert!(taken.iter().all(|row| row.event.aggregate_id == "b"));
    assert_eq!(take(pool, 60_000, 100).await.len(), 9);
}

/// Plays a subscriber.
pub struct Player<F> {
    play: F,
    seen: Mutex<Vec<(String, i32)>>,
}

#[async_trait]
impl<F, A> Subscriber for Player<F>
where
    F: Fn(Delivery) -> A + Send + Sync + 'static,
    A: Future<Output = Outcome> + Send,
{
    fn name(&self) -> SubscriberName {
        NAME
    }

    async fn deliver(&self, delivery: &Delivery) -> Outcome {
        self.seen.lock().unwrap().push((delivery.event.event_id(), delivery.attempt));
        (self.play)(delivery.clone()).await
    }
}

impl<F> Player<F> {
    pub fn new(play: F) -> Arc<Self> {
        Arc::new(Self { play, seen: Mutex::default() })
    }

    fn seen(&self) -> Vec<(String, i32)> {
        self.seen.lock().unwrap().clone()
    }

    pub fn ids(&self) -> Vec<String> {
        self.seen().into_iter().map(|(id, _)| id).collect()
    }
}

pub fn settings() -> DeliverySettings {
    DeliverySettings {
        concurrency: 8,
        concurrency_total: 64,
        attempts_max: Some(3),
        deadline: None,
        backoff: Backoff::exponential(Duration::from_millis(2), Duration::from_millis(10)),
        lease: Duration::from_secs(30),
        timeout: Duration::from_secs(10),
        per_stream: false,
        block_on_dead: false,
        poll: Duration::from_millis(10),
        causation_depth_max: 8,
    }
}

pub struct Running {
    soft: CancellationToken,
    pub hard: CancellationToken,
    pub task: JoinHandle<()>,
    pub activity: Arc<Activity>,
}

pub fn dispatch(pool: &Pool, subscriber: Arc<dyn Subscriber>, settings: DeliverySettings, name: &str) -> Running {
    let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
    let activity = Arc::<Activity>::default();
    let (wake, told) = (Arc::new(Notify::new()), activity.clone());
    let worker = Worker { pool: pool.clone(), subscriber, settings, wake, activity: told, name: name.to_owned() };
    let task = tokio::spawn(dispatcher::run(worker, soft.clone(), hard.clone()));
    Running { soft, hard, task, activity }
}

impl Running {
    pub async fn stop(self) {
        self.soft.cancel();
        self.task.await.unwrap();
    }
}

pub async fn until_empty(pool: &Pool) {
    until("an empty outbox", async || waiting(pool).await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_dispatchers_deliver_each_row_once() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    for n in 0..30 {
        rows(&n.to_string(), 1..=20).queue(pool).await;
    }
    let player = Player::new(async |_: Delivery| {
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..2000))).await;
        Outcome::Delivered
    });
    let dispatchers: Vec<Running> = (0..3).map(|n| dispatch(pool, player.clone(), settings(), &format!("worker {n}"))).collect();
    until_empty(pool).await;
    for running in dispatchers {
        running.stop().await;
    }
    let mut times: BTreeMap<(String, i32), usize> = BTreeMap::new();
    for seen in player.seen() {
        *times.entry(seen).or_default() += 1;
    }
    assert_eq!(times.len(), 600);
    assert!(times.iter().all(|((_, attempt), times)| (*attempt, *times) == (1, 1)));
}

#[tokio::test]
async fn a_signal_is_quicker_than_the_poll() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    let wakes = Wakes::default();
    let player = Player::new(async |_: Delivery| Outcome::Delivered);
    let slow_poll = DeliverySettings { poll: Duration::from_secs(3600), ..settings() };
    let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
    let worker = Worker {
        pool: pool.clone(),
        subscriber: player.clone(),
        settings: slow_poll,
        wake: wakes.of(NAME),
        activity: Arc::default(),
        name: "w".into(),
    };
    let task = tokio::spawn(dispatcher::run(worker, soft.clone(), hard));
    let store = EventStore::new(pool.clone(), wakes);
    for n in 1..=3 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let queued = Queued { subscriber: NAME, destination: None, expires_at: None, place: None };
        let event = NewEvent::of::<Order>("a", n, &OrderEvent::OrderStarted {}).unwrap().and_queue([queued]);
        store.begin().await.unwrap().commit(&[event], &metadata(), &[]).await.unwrap();
        until_empty(pool).await;
    }
    soft.cancel();
    task.await.unwrap();
    assert_eq!(player.ids(), ["order/a/1", "order/a/2", "order/a/3"]);
}

async fn dead_letter(pool: &Pool) -> (String, i32, Vec<String>) {
    until("a dead letter", async || number(pool, "select count(*) from dead_letters").await == 1).await;
    let row = get(pool).await.unwrap().query_one("select reason, attempts from dead_letters", &[]).await.unwrap();
    (row.get(0), row.get(1), errors_of(pool, "dead_letters").await)
}

#[tokio::test]
async fn what_keeps_failing_becomes_a_dead_letter_with_every_attempt() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    rows("a", 1..=1).queue(pool).await;
    let player = Player::new(async |delivery: Delivery| Outcome::Retry { error: format!("answer {}", delivery.attempt), after: None });
    let running = dispatch(pool, player.clone(), settings(), "w");
    let (reason, attempts, errors) = dead_letter(pool).await;
    running.stop().await;
    assert_eq!((reason.as_str(), attempts), ("attempts_used_up", 3));
    assert_eq!(errors, ["answer 1", "answer 2", "answer 3"]);
    assert_eq!(waiting(pool).await, 0);
    let failures: Value = get(pool).await.unwrap().query_one("select failures from dead_letters", &[]).await.unwrap().get(0);
    assert!(failures.as_array().unwrap().iter().all(|failure| failure["at"].is_string() && failure["attempt"].is_number()));
}

#[tokio::test]
async fn a_delivery_that_panics_or_takes_too_long_has_failed() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    rows("a", 1..=1).queue(pool).await;
    let player = Player::new(async |delivery: Delivery| match delivery.attempt {
        1 => panic!("a fault in a subscriber"),
        2 => std::future::pending().await,
        _ => Outcome::Permanent { error: "enough".into() },
    });
    let running = dispatch(pool, player, DeliverySettings { timeout: Duration::from_millis(50), ..settings() }, "w");
    let (reason, attempts, errors) = dead_letter(pool).await;
    running.stop().await;
    assert_eq!((reason.as_str(), attempts), ("permanent_error", 3));
    assert!(errors[0].contains("panicked") && errors[1].contains("no outcome within"), "{errors:?}");
}

#[tokio::test]
async fn what_expired_or_has_too_long_a_chain_of_causes_is_not_delivered() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    Rows { expires_at: Some(chrono::Utc::now() - chrono::TimeDelta::seconds(1)), ..rows("old", 1..=2) }.queue(pool).await;
    Rows { depth: Some(9), ..rows("deep", 1..=1) }.queue(pool).await;
    Rows { depth: Some(8), ..rows("less-deep", 1..=1) }.queue(pool).await;
    let player = Player::new(async |_: Delivery| Outcome::Delivered);
    let start = Instant::now();
    // Settled without waiting for a look around.
    let settings = DeliverySettings { poll: Duration::from_secs(3600), ..settings() };
    let running = dispatch(pool, player.clone(), settings, "w");
    until_empty(pool).await;
    assert!(start.elapsed() < Duration::from_secs(30));
    running.stop().await;
    assert_eq!(player.ids(), ["order/less-deep/1"]);
    let reasons = "select string_agg(concat_ws(' ', stream_key, reason, attempts), ', ' order by event_seq) from dead_letters";
    let reasons: String = get(pool).await.unwrap().query_one(reasons, &[]).await.unwrap().get(0);
    assert_eq!(reasons, "order/old expired 0, order/old expired 0, order/deep causation_too_deep 0");
}

#[tokio::test]
async fn a_row_that_kills_its_workers_is_not_delivered_for_ever() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    rows("a", 1..=1).queue(pool).await;
    for attempt in 1..=3 {
        assert_eq!(take(pool, 0, 1).await[0].attempt, attempt);
    }
    let player = Player::new(async |_: Delivery| Outcome::Delivered);
    let running = dispatch(pool, player.clone(), settings(), "w");
    let (reason, attempts, errors) = dead_letter(pool).await;
    running.stop().await;
    assert_eq!(player.ids(), [] as [&str; 0]);
    // The fourth claim found that there is none left, and made none.
    assert_eq!((reason.as_str(), attempts), ("attempts_used_up", 3));
    assert_eq!(errors.len(), 4);
}

#[tokio::test]
async fn in_the_order_of_a_stream_a_failure_parks_only_its_own_stream() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    rows("a", 1..=5).queue(pool).await;
    rows("b", 1..=5).queue(pool).await;
    let player = Player::new(async |delivery: Delivery| match (delivery.event.event_id().as_str(), delivery.attempt) {
        ("order/a/2", 1 | 2) => Outcome::Retry { error: "not yet".into(), after: Some(Duration::from_millis(200)) },
        _ => Outcome::Delivered,
    });
    let in_order = DeliverySettings { per_stream: true, ..settings() };
    let running: Vec<Running> = (0..2).map(|_| dispatch(pool, player.clone(), in_order, "w")).collect();
    until_empty(pool).await;
    for running in running {
        running.stop().await;
    }
    let of = |stream: &str| player.ids().into_iter().filter(|id| id.starts_with(stream)).collect::<Vec<_>>();
    assert_eq!(of("order/a"), ["order/a/1", "order/a/2", "order/a/2", "order/a/2", "order/a/3", "order/a/4", "order/a/5"]);
    assert_eq!(of("order/b"), ["order/b/1", "order/b/2", "order/b/3", "order/b/4", "order/b/5"]);
    let ids = player.ids();
    let at = |id: &str| ids.iter().rposition(|seen| seen == id).unwrap();
    assert!(at("order/b/5") < at("order/a/2"), "the other stream did not wait");
}

#[tokio::test]
async fn a_dead_letter_holds_its_stream_where_it_should_and_lets_it_pass_where_not() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    let poison = |delivery: Delivery| async move {
        match delivery.event.sequence {
            2 => Outcome::Permanent { error: "poison".into() },
            _ => Outcome::Delivered,
        }
    };
    rows("skips", 1..=3).queue(pool).await;
    let player = Player::new(poison);
    let running = dispatch(pool, player.clone(), DeliverySettings { per_stream: true, ..settings() }, "w");
    until_empty(pool).await;
    running.stop().await;
    assert_eq!(player.ids(), ["order/skips/1", "order/skips/2", "order/skips/3"]);

    rows("blocks", 1..=3).queue(pool).await;
    rows("other", 1..=1).queue(pool).await;
    let player = Player::new(poison);
    let running = dispatch(pool, player.clone(), DeliverySettings { per_stream: true, block_on_dead: true, ..settings() }, "w");
    until("everything but the held row", async || waiting(pool).await == 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(waiting(pool).await, 1);
    let resolve = "update dead_letters set resolved_at = clock_timestamp() where blocks_stream";
    get(pool).await.unwrap().batch_execute(resolve).await.unwrap();
    until_empty(pool).await;
    running.stop().await;
    assert_eq!(player.ids().last().unwrap(), "order/blocks/3");
}

#[tokio::test]
async fn an_outage_burns_no_attempts_and_costs_one_probe_at_a_time() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    rows("a", 1..=40).queue(pool).await;
    let up = Arc::new(AtomicBool::new(false));
    let player = Player::new({
        let up = up.clone();
        move |_: Delivery| {
            let up = up.load(Ordering::Relaxed);
            async move { if up { Outcome::Delivered } else { Outcome::DestinationDown { error: "refused".into() } } }
        }
    });
    let running = dispatch(pool, player.clone(), settings(), "w");
    // The first interval is a second: one batch, then one probe.
    tokio::time::sleep(Duration::from_millis(1600)).await;
    let tries = player.seen().len();
    assert!((2..=settings().concurrency + 1).contains(&tries), "{tries} tries");
    assert_eq!(number(pool, "select max(attempt)::bigint from outbox").await, 0);
    let seen = |running: &Running| running.activity.seen(Instant::now()).remove(0);
    assert!(matches!(&seen(&running).resting[..], [(None, _)]), "who looks sees that it rests");
    up.store(true, Ordering::Relaxed);
    until_empty(pool).await;
    assert_eq!((seen(&running).resting.len(), seen(&running).delivered_last_minute), (0, 40));
    running.stop().await;
    assert!(player.seen().iter().all(|(_, attempt)| *attempt == 1));
    assert_eq!(number(pool, "select count(*) from dead_letters").await, 0);
}

#[tokio::test]
async fn an_orderly_stop_waits_for_what_is_under_way_and_then_gives_it_back() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    rows("a", 1..=20).queue(pool).await;
    let begun = Arc::new(AtomicUsize::new(0));
    let player = Player::new({
        let begun = begun.clone();
        move |delivery: Delivery| {
            begun.fetch_add(1, Ordering::Relaxed);
            async move {
                if delivery.event.sequence % 2 == 0 {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    return Outcome::Delivered;
                }
                std::future::pending().await
            }
        }
    });
    let running = dispatch(pool, player, DeliverySettings { concurrency: 6, ..settings() }, "w");
    until("deliveries under way", async || begun.load(Ordering::Relaxed) == 6).await;
    running.soft.cancel();
    until("the quick ones", async || waiting(pool).await == 17).await;
    assert_eq!(begun.load(Ordering::Relaxed), 6, "nothing new is begun");
    running.hard.cancel();
    running.task.await.unwrap();
    assert_eq!(number(pool, "select count(*) from outbox where leased_until is null and attempt = 0 and failures = '[]'").await, 17);
    assert_eq!(take(pool, 60_000, 100).await.len(), 17, "free at once");
}

#[tokio::test]
async fn what_a_killed_dispatcher_held_is_delivered_after_the_lease() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    rows("a", 1..=4).queue(pool).await;
    let lease = Duration::from_millis(300);
    let held = Player::new(async |_: Delivery| std::future::pending().await);
    let dying = dispatch(pool, held.clone(), DeliverySettings { lease, ..settings() }, "dying");
    until("deliveries under way", async || held.seen().len() == 4).await;
    dying.task.abort();
    let killed = Instant::now();
    let player = Player::new(async |_: Delivery| Outcome::Delivered);
    let running = dispatch(pool, player.clone(), settings(), "living");
    until_empty(pool).await;
    assert!(killed.elapsed() < lease + Duration::from_secs(5));
    running.stop().await;
    assert!(player.seen().iter().all(|(_, attempt)| *attempt == 2), "a crash is an attempt");
}

#[tokio::test]
async fn a_delivery_that_takes_longer_than_the_lease_keeps_it() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    rows("a", 1..=3).queue(pool).await;
    let player = Player::new(async |_: Delivery| {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        Outcome::Delivered
    });
    let short = DeliverySettings { lease: Duration::from_millis(400), ..settings() };
    let running: Vec<Running> = (0..2).map(|n| dispatch(pool, player.clone(), short, &format!("worker {n}"))).collect();
    until_empty(pool).await;
    for running in running {
        running.stop().await;
    }
    assert_eq!(player.seen().len(), 3);
}

fn one_of_each(n: usize) -> Settlement {
    match n % 4 {
        0 => Settlement::Delivered,
        1 => Settlement::Retry { error: "later".into(), after: Duration::from_secs(60) },
        2 => Settlement::Release { after: Duration::from_secs(60) },
        _ => Settlement::Dead { reason: DeadReason::PermanentError, error: "never".into(), blocks_stream: false },
    }
}

#[tokio::test]
async fn the_plan_of_a_claim_made_on_an_empty_table_is_good_on_a_full_one() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    let client = get(pool).await.unwrap();
    // The plan is made once and for ever, on empty tables.
    client.batch_execute("set plan_cache_mode = force_generic_plan").await.unwrap();
    for per_stream in [false, true] {
        assert_eq!(claim(&client, &Claim { per_stream, ..wanted(60_000, 10) }).await.unwrap(), []);
    }
    let nothing: Vec<_> = (0..4).map(|n| (0, 0, one_of_each(n))).collect();
    assert_eq!(settle(&client, &nothing).await.unwrap(), 0);
    extend(&client, &[(0, 0)], Duration::from_secs(1)).await.unwrap();
    client
        .batch_execute(
            "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             select 'order', n::text, 1, 'order_started', '1.0', '{\"order_started\": {}}', '{}' from generate_series(1, 30000) n;
             insert into outbox (subscriber, event_seq, stream_key, causation_depth)
             select 'upload_verification', seq, aggregate_type || '/' || aggregate_id, 0 from events",
        )
        .await
        .unwrap();
    client.execute("select pg_stat_force_next_flush()", &[]).await.unwrap();
    let scans =
        "select coalesce(sum(seq_tup_read), 0)::bigint from pg_stat_user_tables where relname in ('outbox', 'events', 'dead_letters')";
    for per_stream in [false, true] {
        let before: i64 = client.query_one(scans, &[]).await.unwrap().get(0);
        let start = Instant::now();
        let taken = claim(&client, &Claim { per_stream, ..wanted(60_000, 100) }).await.unwrap();
        let held: Vec<_> = taken.iter().map(|row| (row.outbox_id, row.epoch)).collect();
        assert_eq!(extend(&client, &held, Duration::from_secs(60)).await.unwrap(), [] as [i64; 0]);
        assert_eq!(taken.len(), 100);
        let done: Vec<_> = taken.iter().enumerate().map(|(n, row)| (row.outbox_id, row.epoch, one_of_each(n))).collect();
        assert_eq!(settle(&client, &done).await.unwrap(), 100);
        client.execute("select pg_stat_force_next_flush()", &[]).await.unwrap();
        let read: i64 = client.query_one(scans, &[]).await.unwrap().get(0);
        println!("claimed 100 of 30,000 in {:?}, per stream: {per_stream}", start.elapsed());
        assert_eq!(read - before, 0, "rows read by scanning a table, per stream: {per_stream}");
    }
}
