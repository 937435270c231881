//! An event may go to several destinations of one subscriber, and what happens to one of them is no
//! concern of the others: not its outage, not its slowness, not its order, not its dead letters.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::Pool;
use keystone_edge::config::Config;
use keystone_edge::dispatcher::{Delivery, DeliverySettings, Outcome, Subscriber};
use keystone_edge::domain::Timestamp;
use keystone_edge::domain::order::{Order, OrderEvent};
use keystone_edge::domain::routing::{Destination, Queued, SubscriberName};
use keystone_edge::eventstore::{EventStore, NewEvent, StoreError};
use keystone_edge::outbox::{Claim, Share, Wakes, Wanted, claim, waiting_destinations};
use keystone_edge::pg::get;

use crate::factory::metadata;
use crate::harness::{TestDatabase, until};
use crate::outbox::{dispatch, number, settings, to, until_empty, waiting};

const NAME: SubscriberName = SubscriberName::DeviceCommands;

fn row_to(destination: &str) -> Queued {
    Queued { subscriber: NAME, destination: Some(to(destination)), expires_at: None, place: None }
}

/// Appends one event with these rows.
async fn append(pool: &Pool, stream: &str, version: i64, queued: Vec<Queued>) -> Result<(), StoreError> {
    let event = NewEvent::of::<Order>(stream, version, &OrderEvent::OrderStarted {})?.and_queue(queued);
    EventStore::new(pool.clone(), Wakes::default()).begin().await?.commit(&[event], &metadata(), &[]).await
}

/// So many streams with one event each for a destination.
async fn queue(pool: &Pool, destination: &str, streams: usize) {
    for n in 0..streams {
        append(pool, &format!("{destination}-{n}"), 1, vec![row_to(destination)]).await.unwrap();
    }
}

type Seen = BTreeMap<String, Vec<String>>;

type Change = fn(DeliverySettings) -> DeliverySettings;

/// Plays a subscriber whose destinations behave as they are told.
struct Post<F> {
    play: F,
    /// Ids of events by destination, as they were delivered or tried.
    seen: Mutex<Seen>,
    /// Cannot be reached from here.
    away: Option<Destination>,
    /// Delivered to in a way of its own.
    own: Option<(Destination, Change)>,
}

#[async_trait]
impl<F, A> Subscriber for Post<F>
where
    F: Fn(String, Delivery) -> A + Send + Sync + 'static,
    A: Future<Output = Outcome> + Send,
{
    fn name(&self) -> SubscriberName {
        NAME
    }

    async fn deliver(&self, delivery: &Delivery) -> Outcome {
        let destination = delivery.destination.as_ref().expect("a destination").to_string();
        self.seen.lock().unwrap().entry(destination.clone()).or_default().push(delivery.event.event_id());
        (self.play)(destination, delivery.clone()).await
    }

    fn reaches(&self, destination: &Destination) -> bool {
        self.away.as_ref() != Some(destination)
    }

    fn settings_of(&self, destination: &Destination, all: DeliverySettings) -> DeliverySettings {
        self.own.as_ref().filter(|(own, _)| own == destination).map_or(all, |(_, change)| change(all))
    }
}

impl<F> Post<F> {
    fn new(play: F) -> Arc<Self> {
        Arc::new(Self { play, seen: Mutex::default(), away: None, own: None })
    }

    fn seen(&self, destination: &str) -> Vec<String> {
        self.seen.lock().unwrap().get(destination).cloned().unwrap_or_default()
    }
}

async fn letters(pool: &Pool) -> Vec<(String, String)> {
    let sql = "select destination, reason from dead_letters order by dead_letter_id";
    get(pool).await.unwrap().query(sql, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn an_event_is_delivered_to_one_destination_and_dies_for_another() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    append(pool, "a", 1, vec![row_to("recorder:1"), row_to("recorder:2")]).await.unwrap();
    assert_eq!(waiting(pool).await, 2);
    let post = Post::new(async |destination: String, _| match destination.as_str() {
        "recorder:1" => Outcome::Retry { error: "not today".into(), after: None },
        _ => Outcome::Delivered,
    });
    let running = dispatch(pool, post.clone(), settings(), "w");
    until_empty(pool).await;
    running.stop().await;
    assert_eq!((post.seen("recorder:1").len(), post.seen("recorder:2").len()), (3, 1));
    assert_eq!(letters(pool).await, [("recorder:1".to_owned(), "attempts_used_up".to_owned())]);
}

#[tokio::test]
async fn an_event_is_queued_once_for_a_destination() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    let twice = append(pool, "a", 1, vec![row_to("recorder:1"), row_to("recorder:1")]).await;
    let expected = "one_delivery_per_event_subscriber_and_destination";
    assert!(matches!(&twice, Err(StoreError::Constraint { constraint }) if constraint == expected), "{twice:?}");
    let nowhere = Queued { subscriber: SubscriberName::UploadVerification, destination: None, expires_at: None, place: None };
    let twice = append(pool, "a", 1, vec![nowhere.clone(), nowhere]).await;
    assert!(matches!(&twice, Err(StoreError::Constraint { constraint }) if constraint == expected), "{twice:?}");
}

#[tokio::test]
async fn a_destination_that_is_down_delays_no_other_and_costs_one_probe_at_a_time() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    // Those for the one that is down are older.
    queue(pool, "recorder:down", 40).await;
    queue(pool, "recorder:up", 40).await;
    let post = Post::new(async |destination: String, _| match destination.as_str() {
        "recorder:down" => Outcome::DestinationDown { error: "refused".into() },
        _ => Outcome::Delivered,
    });
    // Without a look around between the wakes: what is delivered did not wait for the circuit of the other.
    let settings = DeliverySettings { concurrency: 2, ..settings() };
    let running = dispatch(pool, post.clone(), settings, "w");
    until("the end of what can be delivered", async || post.seen("recorder:up").len() == 40).await;
    // The first interval between probes is a second, the next are longer.
    let tries = post.seen("recorder:down").len();
    assert!((1..=4).contains(&tries), "{tries} tries");
    until("the settlements", async || waiting(pool).await == 40).await;
    // It goes on without the other.
    queue(pool, "recorder:third", 5).await;
    until("the end of what came later", async || post.seen("recorder:third").len() == 5).await;
    running.stop().await;
    assert_eq!(number(pool, "select max(attempt)::bigint from outbox").await, 0);
    assert_eq!(letters(pool).await, []);
}

#[tokio::test]
async fn a_destination_that_never_answers_takes_no_room_of_another() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    queue(pool, "recorder:slow", 40).await;
    queue(pool, "recorder:quick", 40).await;
    let post = Post::new(async |destination: String, _| match destination.as_str() {
        "recorder:slow" => pending().await,
        _ => Outcome::Delivered,
    });
    let running = dispatch(pool, post.clone(), DeliverySettings { concurrency: 3, ..settings() }, "w");
    until("the end of what can be delivered", async || waiting(pool).await == 40).await;
    assert_eq!((post.seen("recorder:quick").len(), post.seen("recorder:slow").len()), (40, 3));
    running.hard.cancel();
    running.task.await.unwrap();
}

#[tokio::test]
async fn order_is_kept_per_stream_and_destination() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    for version in 1..=5 {
        append(pool, "a", version, vec![row_to("recorder:1"), row_to("recorder:2")]).await.unwrap();
        append(pool, "b", version, vec![row_to("recorder:1")]).await.unwrap();
    }
    let post = Post::new(async |destination: String, delivery: Delivery| {
        match (destination.as_str(), delivery.event.event_id().as_str(), delivery.attempt) {
            ("recorder:1", "order/a/2", 1 | 2) => Outcome::Retry { error: "not yet".into(), after: Some(Duration::from_millis(300)) },
            _ => Outcome::Delivered,
        }
    });
    let running = dispatch(pool, post.clone(), DeliverySettings { per_stream: true, ..settings() }, "w");
    let all = |stream: &str| (1..=5).map(|n| format!("order/{stream}/{n}")).collect::<Vec<_>>();
    until("all for the other destination", async || post.seen("recorder:2").len() == 5).await;
    assert_eq!(post.seen("recorder:2"), all("a"));
    // Its own other stream did not wait either, and its own stream does.
    until("the other stream", async || post.seen("recorder:1").contains(&"order/b/5".to_owned())).await;
    assert!(!post.seen("recorder:1").contains(&"order/a/3".to_owned()));
    until_empty(pool).await;
    running.stop().await;
    let mut tried: Vec<String> = post.seen("recorder:1").into_iter().filter(|id| id.starts_with("order/a")).collect();
    tried.dedup();
    assert_eq!(tried, all("a"));
}

#[tokio::test]
async fn a_dead_letter_holds_its_stream_to_its_destination_only() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    for version in 1..=3 {
        append(pool, "a", version, vec![row_to("recorder:1"), row_to("recorder:2")]).await.unwrap();
    }
    let post = Post::new(async |destination: String, delivery: Delivery| match (destination.as_str(), delivery.event.sequence) {
        ("recorder:1", 2) => Outcome::Permanent { error: "poison".into() },
        _ => Outcome::Delivered,
    });
    let in_order = DeliverySettings { per_stream: true, block_on_dead: true, ..settings() };
    let running = dispatch(pool, post.clone(), in_order, "w");
    until("everything but the held row", async || waiting(pool).await == 1).await;
    assert_eq!(post.seen("recorder:2"), ["order/a/1", "order/a/2", "order/a/3"]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(post.seen("recorder:1"), ["order/a/1", "order/a/2"]);
    let resolve = "update dead_letters set resolved_at = clock_timestamp() where blocks_stream";
    get(pool).await.unwrap().batch_execute(resolve).await.unwrap();
    until_empty(pool).await;
    running.stop().await;
    assert_eq!(post.seen("recorder:1").last().unwrap(), "order/a/3");
}

#[tokio::test]
async fn what_expired_for_a_destination_that_nobody_reaches_is_given_up() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    let expiring = |at: Timestamp| Queued { expires_at: Some(at), ..row_to("recorder:away") };
    append(pool, "old", 1, vec![expiring(chrono::Utc::now() - chrono::TimeDelta::seconds(1))]).await.unwrap();
    append(pool, "new", 1, vec![expiring(chrono::Utc::now() + chrono::TimeDelta::hours(1))]).await.unwrap();
    let play = async |_: String, _: Delivery| Outcome::Delivered;
    let post = Arc::new(Post { play, seen: Mutex::default(), away: Some(to("recorder:away")), own: None });
    let running = dispatch(pool, post.clone(), settings(), "w");
    until("a dead letter", async || waiting(pool).await == 1).await;
    running.stop().await;
    assert_eq!(letters(pool).await, [("recorder:away".to_owned(), "expired".to_owned())]);
    assert_eq!(number(pool, "select count(*) from outbox where stream_key = 'order/new' and attempt = 0").await, 1);
    assert_eq!(post.seen("recorder:away"), [] as [&str; 0]);
}

#[tokio::test]
async fn what_another_version_sends_elsewhere_is_left_to_it() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    append(pool, "a", 1, vec![row_to("recorder:1")]).await.unwrap();
    let unknown = "update outbox set destination = 'pigeon:1'";
    get(pool).await.unwrap().batch_execute(unknown).await.unwrap();
    queue(pool, "recorder:2", 1).await;
    let post = Post::new(async |_, _| Outcome::Delivered);
    let running = dispatch(pool, post.clone(), settings(), "w");
    until("the row that is known", async || waiting(pool).await == 1).await;
    running.stop().await;
    assert_eq!(number(pool, "select count(*) from outbox where destination = 'pigeon:1' and attempt = 0").await, 1);
}

#[tokio::test]
async fn a_look_for_destinations_passes_over_what_waits_for_one_that_is_away() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    let client = get(pool).await.unwrap();
    // The plans are made once and for ever, on empty tables.
    client.batch_execute("set plan_cache_mode = force_generic_plan").await.unwrap();
    let share = |name: &str| Share { destination: to(name), limit: 10, only_expired: false, per_stream: false };
    let claim_for = async |shares: &[Share], per_stream| {
        let wanted = Wanted::For(shares.to_vec());
        claim(&client, &Claim { subscriber: NAME, worker: "w", lease: Duration::from_secs(60), wanted, per_stream }).await.unwrap()
    };
    assert_eq!(waiting_destinations(&client, NAME).await.unwrap(), []);
    for per_stream in [false, true] {
        assert_eq!(claim_for(&[share("recorder:1")], per_stream).await, []);
    }
    client
        .batch_execute(
            "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             select 'order', n::text, 1, 'order_started', '1.0', '{\"order_started\": {}}', '{}' from generate_series(1, 30000) n;
             insert into outbox (subscriber, event_seq, stream_key, destination, causation_depth)
             select 'device_commands', seq, aggregate_type || '/' || aggregate_id, 'recorder:' || (seq % 1000 = 0)::int, 0 from events",
        )
        .await
        .unwrap();
    let read = async |sql: &str| -> i64 {
        client.execute("select pg_stat_force_next_flush()", &[]).await.unwrap();
        client.query_one(sql, &[]).await.unwrap().get(0)
    };
    let scanned =
        "select coalesce(sum(seq_tup_read), 0)::bigint from pg_stat_user_tables where relname in ('outbox', 'events', 'dead_letters')";
    let fetched = "select coalesce(sum(idx_tup_read), 0)::bigint from pg_stat_user_indexes where relname in ('outbox', 'dead_letters')";
    let before = (read(scanned).await, read(fetched).await);
    assert_eq!(waiting_destinations(&client, NAME).await.unwrap(), [to("recorder:0"), to("recorder:1")]);
    for per_stream in [false, true] {
        assert_eq!(claim_for(&[share("recorder:1")], per_stream).await.len(), 10);
    }
    let after = (read(scanned).await, read(fetched).await);
    assert_eq!(after.0 - before.0, 0, "rows read by scanning a table");
    assert!(after.1 - before.1 < 1_000, "{} entries of indexes were read for 20 rows", after.1 - before.1);
}

#[tokio::test]
async fn no_column_that_a_claim_or_a_settlement_changes_is_indexed() {
    let database = TestDatabase::new().await;
    let sql = "select count(*) from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
               where i.indrelid = 'outbox'::regclass
                 and a.attname in ('attempt', 'epoch', 'leased_until', 'leased_by', 'failures')";
    assert_eq!(number(&database.pool, sql).await, 0);
}

#[test]
fn every_subscriber_has_its_settings_and_none_is_left_over() {
    let tables: Vec<String> = Config::defaults().outbox.subscribers.keys().cloned().collect();
    let mut names: Vec<&str> = SubscriberName::ALL.iter().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(tables, names);
}

#[tokio::test]
async fn a_destination_may_be_delivered_to_in_a_way_of_its_own() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    for n in 1..=3 {
        append(pool, "a", n, vec![row_to("recorder:1"), row_to("recorder:2")]).await.unwrap();
    }
    let play = async |_: String, delivery: Delivery| match delivery.event.sequence {
        1 => Outcome::Retry { error: "not today".into(), after: None },
        _ => Outcome::Delivered,
    };
    let own: fn(DeliverySettings) -> DeliverySettings = |all| DeliverySettings { attempts_max: Some(5), per_stream: true, ..all };
    let post = Arc::new(Post { play, seen: Mutex::default(), away: None, own: Some((to("recorder:2"), own)) });
    let running = dispatch(pool, post.clone(), settings(), "w");
    until_empty(pool).await;
    running.stop().await;
    assert_eq!(post.seen("recorder:1").iter().filter(|id| id.ends_with("/1")).count(), 3);
    let expected: Vec<String> = [1, 1, 1, 1, 1, 2, 3].map(|n| format!("order/a/{n}")).into();
    assert_eq!(post.seen("recorder:2"), expected, "five tries, and the others of the stream wait for them");
}

#[tokio::test]
async fn all_destinations_together_have_a_bound_and_each_has_its_turn() {
    let database = TestDatabase::new().await;
    let pool = &database.pool;
    for n in 0..6 {
        queue(pool, &format!("recorder:{n}"), 5).await;
    }
    let under_way = Arc::new(Mutex::new((0_usize, 0_usize)));
    let post = Post::new({
        let under_way = under_way.clone();
        move |_: String, _: Delivery| {
            let under_way = under_way.clone();
            async move {
                {
                    let mut seen = under_way.lock().unwrap();
                    seen.0 += 1;
                    seen.1 = seen.1.max(seen.0);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
                under_way.lock().unwrap().0 -= 1;
                Outcome::Delivered
            }
        }
    });
    let bounded = DeliverySettings { concurrency: 2, concurrency_total: 3, ..settings() };
    let running = dispatch(pool, post.clone(), bounded, "w");
    until("some of them", async || waiting(pool).await <= 15).await;
    let begun = (0..6).filter(|n| !post.seen(&format!("recorder:{n}")).is_empty()).count();
    until_empty(pool).await;
    running.stop().await;
    assert_eq!(under_way.lock().unwrap().1, 3);
    assert!(begun >= 5, "{begun} of 6 had their turn by half-time");
}
