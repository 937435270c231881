//! How subscriptions stand: paused, ended, replayed, failing, in order, in several processes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use keystone_edge::commands::fan_out::WAITING_MAX;
use keystone_edge::projections::rebuild::rebuild;
use keystone_edge::subscribers::webhooks::SystemNames;
use serde_json::{Value, json};

use super::receiver::{Answer, Receiver};
use super::{PATH, Site, ids};
use crate::factory::Factory;
use crate::harness::until;
use crate::outbox::{number, until_empty, waiting};

#[tokio::test]
async fn a_pause_keeps_what_waits_and_resuming_goes_on_where_it_was() {
    let mut site = Site::new().await;
    let receiver = Receiver::start(|_| 200).await;
    let (id, _) = site.subscribe(&receiver.url("/"), json!({})).await;
    site.happen("a", 1..=2).await;
    site.place().await;
    let (status, paused) = site.ask(id, "pause", Value::Null).await;
    assert_eq!((status, &paused["state"], &paused["paused_because"]), (200, &json!("paused"), &json!("person")));
    let at = paused["position"].clone();
    let running = site.dispatcher();
    site.happen("a", 3..=4).await;
    site.place().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((receiver.connections(), waiting(&site.edge.database.pool).await), (0, 2), "no row more, and none less");
    assert_eq!(site.shown(id).await["position"], at);
    assert_eq!(site.ask(id, "test", Value::Null).await.1["code"], "subscription_paused");
    assert_eq!(site.ask(id, "resume", Value::Null).await.0, 200);
    site.place().await;
    until("all four", async || receiver.heard().len() == 4).await;
    running.stop().await;
    assert_eq!(rebuild(&site.edge.database.pool).await.unwrap().differences, []);
}

#[tokio::test]
async fn deleting_ends_what_waits_with_a_record_and_forgets_the_secrets() {
    let mut site = Site::new().await;
    let receiver = Receiver::start(|_| 200).await;
    let (id, _) = site.subscribe(&receiver.url("/"), json!({})).await;
    site.happen("a", 1..=3).await;
    site.place().await;
    let pool = &site.edge.database.pool;
    assert_eq!(site.edge.send_as(&site.edge.admin, "DELETE", &format!("{PATH}/{id}"), Value::Null).await.0, 204);
    assert_eq!(waiting(pool).await, 0);
    let dropped = site.attempts(id, "&outcome=dropped").await;
    assert_eq!(ids_of_attempts(&dropped), ["order/a/3", "order/a/2", "order/a/1"]);
    assert!(dropped.iter().all(|one| one["attempt"] == 0 && one["position"].is_number()));
    for table in ["webhook_targets", "webhook_secrets", "subscription_cursors"] {
        assert_eq!(number(pool, &format!("select count(*) from {table}")).await, 0, "{table}");
    }
    let shown = site.shown(id).await;
    assert_eq!((&shown["state"], &shown["ended_because"], &shown["position"]), (&json!("ended"), &json!("deleted"), &Value::Null));
    let refused = site.ask(id, "resume", Value::Null).await;
    assert_eq!((refused.0, &refused.1["code"]), (409, &json!("subscription_ended")));
    assert_eq!(refused.1["because"]["event"], "subscription_ended");
    // A row that was under way at that moment, and came back.
    let late = format!(
        "insert into outbox (subscriber, event_seq, stream_key, destination, causation_depth)
         select 'webhooks', seq, 'order/a', 'webhook:{id}', 0 from events where aggregate_id = 'a' and sequence = 1"
    );
    pool.get().await.unwrap().batch_execute(&late).await.unwrap();
    let running = site.dispatcher();
    until_empty(pool).await;
    running.stop().await;
    let dropped = site.attempts(id, "&outcome=dropped").await;
    assert_eq!((receiver.connections(), dropped.len()), (0, 4));
    assert!(dropped.iter().all(|one| one["position"].is_number()), "{dropped:?}");
    assert_eq!(number(pool, "select count(*) from dead_letters").await, 0);
}

fn ids_of_attempts(of: &[Value]) -> Vec<&str> {
    of.iter().map(|one| one["event_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_receiver_that_is_gone_for_good_ends_its_subscription() {
    let mut site = Site::new().await;
    let receiver = Receiver::start(|_| 410).await;
    let (id, _) = site.subscribe(&receiver.url("/"), json!({ "delivery": { "concurrency": 1 } })).await;
    site.happen("a", 1..=5).await;
    site.place().await;
    let running = site.dispatcher();
    until_empty(&site.edge.database.pool).await;
    running.stop().await;
    assert_eq!(receiver.connections(), 1);
    let shown = site.shown(id).await;
    assert_eq!((&shown["state"], &shown["ended_because"]), (&json!("ended"), &json!("gone")));
    let outcomes: Vec<Value> = site.attempts(id, "").await.into_iter().map(|one| one["outcome"].clone()).collect();
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "gone").count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "dropped").count(), 4);
    assert_eq!(number(&site.edge.database.pool, "select count(*) from dead_letters").await, 0);
    site.place().await;
    let ended = "select count(*) from events where event_type = 'subscription_ended' and metadata ->> 'actor' = 'subscriber:webhooks'
                 and metadata ->> 'causation_id' like 'order/a/%' and payload -> 'subscription_ended' ->> 'because' = 'gone'";
    assert_eq!(number(&site.edge.database.pool, ended).await, 1);
}

#[tokio::test]
async fn a_receiver_that_asks_for_quiet_gets_it_from_every_process() {
    let mut site = Site::new().await;
    let open = Arc::new(AtomicBool::new(false));
    let receiver = Receiver::answering({
        let open = open.clone();
        move |_| match open.load(Ordering::SeqCst) {
            true => Answer::of(200),
            false => Answer::of(429).with("retry-after", "2"),
        }
    })
    .await;
    let (id, _) = site.subscribe(&receiver.url("/"), json!({ "delivery": { "attempts_max": 1, "concurrency": 1 } })).await;
    site.happen("a", 1..=3).await;
    site.place().await;
    let started = std::time::Instant::now();
    let first = site.dispatcher();
    until("a request", async || receiver.connections() == 1).await;
    until("the rest", async || site.shown(id).await["rests_until"].is_string()).await;
    let second = site.dispatcher();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.connections(), 1, "neither of them asks");
    open.store(true, Ordering::SeqCst);
    until("all three", async || receiver.connections() == 4).await;
    assert!(started.elapsed() >= Duration::from_secs(2));
    until_empty(&site.edge.database.pool).await;
    first.stop().await;
    second.stop().await;
    assert_eq!(number(&site.edge.database.pool, "select count(*) from dead_letters").await, 0, "no attempt was counted");
    assert_eq!(site.attempts(id, "&outcome=busy").await.len(), 1);
    assert_eq!(site.shown(id).await["rests_until"], Value::Null);
}

/// Whatever is answered to what was under way when quiet was asked for: it was sent before.
#[tokio::test]
async fn an_answer_beside_it_does_not_end_the_quiet() {
    let mut site = Site::new().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let receiver = Receiver::answering(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Answer { wait: Duration::from_millis(900), ..Answer::of(429) }.with("retry-after", "99999999999999999999"),
        1 => Answer { wait: Duration::from_millis(1_300), ..Answer::of(500) },
        2 => Answer { wait: Duration::from_millis(1_700), ..Answer::of(200) },
        _ => Answer { wait: Duration::from_millis(2_100), ..Answer::of(429) }.with("retry-after", "1"),
    })
    .await;
    let (id, _) = site.subscribe(&receiver.url("/"), json!({ "delivery": { "concurrency": 4 } })).await;
    site.happen("a", 1..=9).await;
    site.place().await;
    let running = site.dispatcher();
    until("all attempts", async || site.attempts(id, "").await.len() == 4).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    running.stop().await;
    assert_eq!(receiver.connections(), 4, "one asked for quiet, the others were under way");
    let rests_until = site.shown(id).await["rests_until"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let rest = rests_until - chrono::Utc::now();
    assert!((3_500..=3_600).contains(&rest.num_seconds()), "an hour is believed, and no more: {rest}");
}

/// Failures and quiet were about the receiver that there was.
#[tokio::test]
async fn another_address_and_a_resumed_receiver_get_at_once_what_waited() {
    let mut site = Site::new().await;
    let works = Arc::new(AtomicBool::new(false));
    let delivery = json!({ "delivery": { "backoff_base_ms": 3_600_000, "backoff_cap_ms": 3_600_000, "jitter": "none", "concurrency": 1 } });
    let mut waiting_for = vec![];
    for answer in [Answer::of(429).with("retry-after", "3600"), Answer::of(500)] {
        let works = works.clone();
        let broken = Receiver::answering(move |_| if works.load(Ordering::SeqCst) { Answer::of(200) } else { answer.clone() }).await;
        let moved = site.subscribe(&broken.url("/moved"), delivery.clone()).await.0;
        let resumed = site.subscribe(&broken.url("/resumed"), delivery.clone()).await.0;
        waiting_for.push((broken, moved, resumed));
    }
    site.happen("a", 1..=1).await;
    site.place().await;
    let running = site.dispatcher();
    let under_way = "select count(*) from outbox where due_at <= clock_timestamp() or leased_until is not null";
    for (broken, ..) in &waiting_for {
        until("two failures", async || broken.connections() == 2).await;
    }
    // Those who asked for quiet have rows that are due.
    until("their end", async || number(&site.edge.database.pool, under_way).await <= 2).await;
    let elsewhere = Receiver::start(|_| 200).await;
    works.store(true, Ordering::SeqCst);
    for (n, (broken, moved, resumed)) in waiting_for.iter().enumerate() {
        let url = json!({ "url": elsewhere.url("/") });
        assert_eq!(site.edge.send_as(&site.edge.admin, "PATCH", &format!("{PATH}/{moved}"), url).await.0, 200);
        until("what waited, at the other address", async || elsewhere.heard().len() == n + 1).await;
        assert_eq!(site.ask(*resumed, "pause", Value::Null).await.0, 200);
        assert_eq!(site.ask(*resumed, "resume", Value::Null).await.0, 200);
        until("what waited, where it was", async || broken.heard().len() == 3).await;
    }
    until_empty(&site.edge.database.pool).await;
    running.stop().await;
}

/// What is under way to the old address says nothing about the new one: not that it failed, nor that it wants quiet, nor that it is gone.
#[tokio::test]
async fn what_fails_at_an_address_that_was_left_counts_for_nothing() {
    let mut site = Site::new().await;
    let elsewhere = Receiver::start(|_| 200).await;
    let mut moved = vec![];
    for answer in [Answer::of(429).with("retry-after", "3600"), Answer::of(500), Answer::of(410)] {
        let old = Receiver::answering(move |_| Answer { wait: Duration::from_secs(2), ..answer.clone() }).await;
        let delivery = json!({ "delivery": { "backoff_base_ms": 3_600_000, "backoff_cap_ms": 3_600_000, "attempts_max": 1 } });
        let id = site.subscribe(&old.url("/"), delivery).await.0;
        moved.push((old, id));
    }
    site.happen("a", 1..=1).await;
    site.place().await;
    let running = site.dispatcher();
    for (old, id) in &moved {
        until("a request", async || old.connections() == 1).await;
        let url = json!({ "url": elsewhere.url("/") });
        assert_eq!(site.edge.send_as(&site.edge.admin, "PATCH", &format!("{PATH}/{id}"), url).await.0, 200);
    }
    until("all three, elsewhere", async || elsewhere.heard().len() == 3).await;
    until_empty(&site.edge.database.pool).await;
    running.stop().await;
    for (_, id) in &moved {
        let shown = site.shown(*id).await;
        assert_eq!((&shown["state"], &shown["rests_until"], &shown["failing_since"]), (&json!("active"), &Value::Null, &Value::Null));
    }
    assert_eq!(number(&site.edge.database.pool, "select count(*) from dead_letters").await, 0);
}

#[tokio::test]
async fn attempts_at_an_address_that_was_left_are_not_counted() {
    let mut site = Site::new().await;
    let wrong = Receiver::start(|_| 500).await;
    let hiccup = Arc::new(AtomicUsize::new(0));
    let right = Receiver::start(move |_| if hiccup.fetch_add(1, Ordering::SeqCst) == 0 { 500 } else { 200 }).await;
    let delivery = json!({ "delivery": { "backoff_base_ms": 1_000, "backoff_cap_ms": 1_000, "jitter": "none", "attempts_max": 2 } });
    let (id, _) = site.subscribe(&wrong.url("/"), delivery).await;
    site.happen("a", 1..=1).await;
    site.place().await;
    let running = site.dispatcher();
    let waits = "select count(*) from outbox where attempt = 1 and leased_until is null";
    until("the end of the first attempt", async || number(&site.edge.database.pool, waits).await == 1).await;
    let url = json!({ "url": right.url("/") });
    assert_eq!(site.edge.send_as(&site.edge.admin, "PATCH", &format!("{PATH}/{id}"), url).await.0, 200);
    until("two requests", async || right.heard().len() == 2).await;
    until_empty(&site.edge.database.pool).await;
    running.stop().await;
    assert_eq!(number(&site.edge.database.pool, "select count(*) from dead_letters").await, 0);
}

#[tokio::test]
async fn a_subscription_begins_in_the_past_and_is_replayed_between_two_places() {
    let mut site = Site::new().await;
    let receiver = Receiver::start(|_| 200).await;
    site.happen("a", 1..=4).await;
    site.place().await;
    let head = site.head().await;
    let (id, _) = site.subscribe(&receiver.url("/"), json!({ "after_position": head - 2 })).await;
    site.place().await;
    let running = site.dispatcher();
    until("the last two", async || receiver.heard().len() == 2).await;
    until_empty(&site.edge.database.pool).await;
    let (status, replay) = site.ask(id, "replay", json!({ "from_position": head - 3, "to_position": head - 2 })).await;
    assert_eq!((status, &replay["replays"]), (202, &json!(1)));
    site.happen("b", 1..=1).await;
    site.place().await;
    until("two old ones and a new one", async || receiver.heard().len() == 5).await;
    assert_eq!(site.ask(id, "redeliver", json!({ "position": head })).await.0, 202);
    site.place().await;
    until("one of them again", async || receiver.heard().len() == 6).await;
    running.stop().await;
    let mut times = BTreeMap::<String, usize>::new();
    ids(&receiver.bodies()).into_iter().for_each(|id| *times.entry(id).or_default() += 1);
    let expected = [("order/a/1", 1), ("order/a/2", 1), ("order/a/3", 1), ("order/a/4", 2), ("order/b/1", 1)];
    assert_eq!(times, expected.map(|(id, n)| (id.to_owned(), n)).into());
    let same: BTreeSet<_> = receiver
        .heard()
        .iter()
        .filter(|heard| heard.body()["id"] == "order/a/4")
        .map(|heard| heard.headers["webhook-id"].clone())
        .map(|id| id.to_str().unwrap().to_owned())
        .collect();
    assert_eq!(same, [format!("evt_{head}")].into());
    assert_eq!(site.shown(id).await["replays"], 0);
}

#[tokio::test]
async fn what_is_under_way_to_the_old_url_is_told_to_the_new_one_where_it_is_asked_for_again() {
    let mut site = Site::new().await;
    let receiver =
        Receiver::answering(|heard| Answer { wait: Duration::from_secs(u64::from(heard.path == "/old") * 2), ..Answer::of(200) }).await;
    let (id, _) = site.subscribe(&receiver.url("/old"), json!({ "delivery": { "concurrency": 1 } })).await;
    site.happen("a", 1..=1).await;
    site.place().await;
    let head = site.head().await;
    let running = site.dispatcher();
    until("it is under way", async || receiver.heard().len() == 1).await;
    let (status, changed) =
        site.edge.send_as(&site.edge.admin, "PATCH", &format!("{PATH}/{id}"), json!({ "url": receiver.url("/new") })).await;
    assert_eq!(status, 200, "{changed}");
    // Twice at once is once more.
    for _ in 0..2 {
        assert_eq!(site.ask(id, "redeliver", json!({ "position": head })).await.0, 202);
    }
    site.place().await;
    until("it is told again", async || receiver.heard().len() == 2).await;
    until_empty(&site.edge.database.pool).await;
    running.stop().await;
    let paths: Vec<String> = receiver.heard().iter().map(|heard| heard.path.clone()).collect();
    assert_eq!((paths, ids(&receiver.bodies())), (vec!["/old".into(), "/new".into()], vec!["order/a/1".to_owned(); 2]));
    assert_eq!(site.shown(id).await["replays"], 0);
    assert_eq!(number(&site.edge.database.pool, "select count(*) from dead_letters").await, 0);
}

#[tokio::test]
async fn a_test_goes_to_its_own_subscription_and_is_told_once() {
    let mut site = Site::new().await;
    let (own, other) = (Receiver::start(|_| 200).await, Receiver::start(|_| 200).await);
    let (id, secret) = site.subscribe(&own.url("/"), json!({ "event_types": ["*"] })).await;
    site.subscribe(&other.url("/"), json!({ "event_types": ["subscription_test_*", "order_*"] })).await;
    site.place().await;
    let (status, asked) = site.ask(id, "test", Value::Null).await;
    assert_eq!(status, 202);
    // The row is there before the event has its place: it waits for that.
    let running = site.dispatcher();
    tokio::time::sleep(Duration::from_millis(100)).await;
    site.happen("a", 1..=1).await;
    site.place().await;
    until("the end", async || !other.heard().is_empty() && ids(&own.bodies()).contains(&"order/a/1".to_owned())).await;
    until_empty(&site.edge.database.pool).await;
    running.stop().await;
    let tests: Vec<_> = own.heard().into_iter().filter(|heard| heard.body()["type"] == "subscription_test_requested").collect();
    assert_eq!((tests.len(), &tests[0].body()["id"]), (1, &asked["event_id"]));
    standardwebhooks::Webhook::new(&secret).unwrap().verify(tests[0].raw.as_bytes(), &tests[0].headers).unwrap();
    assert_eq!(ids(&other.bodies()), ["order/a/1"]);
}

#[tokio::test]
async fn an_event_waits_for_the_earlier_ones_of_its_stream_where_that_is_asked_for() {
    let mut site = Site::new().await;
    let failed = Arc::new(AtomicUsize::new(0));
    let receiver = Receiver::start({
        let failed = failed.clone();
        move |heard| match heard.body()["id"] == "order/a/1" && failed.fetch_add(1, Ordering::SeqCst) < 2 {
            true => 500,
            false => 200,
        }
    })
    .await;
    // Without chance in the wait: the other stream has two seconds to go by.
    let in_order = json!({ "delivery": {
        "ordering": "per_stream", "concurrency": 8, "jitter": "none", "backoff_base_ms": 1000, "backoff_cap_ms": 1000
    } });
    site.subscribe(&receiver.url("/"), in_order).await;
    for stream in ["a", "b"] {
        site.happen(stream, 1..=4).await;
    }
    site.place().await;
    let running = site.dispatcher();
    until_empty(&site.edge.database.pool).await;
    running.stop().await;
    let told = ids(&receiver.bodies());
    let of = |stream: &str| told.iter().filter(|id| id.starts_with(&format!("order/{stream}/"))).map(String::as_str).collect::<Vec<_>>();
    assert_eq!(of("a"), ["order/a/1", "order/a/1", "order/a/1", "order/a/2", "order/a/3", "order/a/4"]);
    assert_eq!(of("b"), ["order/b/1", "order/b/2", "order/b/3", "order/b/4"]);
    let place = |id: &str| told.iter().rposition(|told| told == id).unwrap();
    assert!(place("order/b/4") < place("order/a/1"), "the other stream did not wait: {told:?}");
}

#[tokio::test]
async fn a_dead_receiver_and_a_slow_one_delay_no_other() {
    let mut site = Site::new().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let slow = Receiver::answering(|_| Answer { wait: Duration::from_secs(30), ..Answer::of(200) }).await;
    let quick = Receiver::start(|_| 200).await;
    let (dead, _) = site.subscribe(&format!("http://{closed}/"), json!({})).await;
    site.subscribe(&slow.url("/"), json!({})).await;
    site.subscribe(&quick.url("/"), json!({})).await;
    site.happen("a", 1..=100).await;
    site.place().await;
    let running = site.dispatcher();
    let started = std::time::Instant::now();
    until("a hundred at the quick one", async || quick.heard().len() == 100).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(slow.heard().len(), 4, "its concurrency");
    until("the attempts", async || !site.attempts(dead, "&outcome=down").await.is_empty()).await;
    running.hard.cancel();
    running.task.await.unwrap();
    let attempts = site.attempts(dead, "").await;
    assert!(attempts.len() <= 8, "one probe at a time: {}", attempts.len());
    let tried = format!("select coalesce(max(attempt), 0)::bigint from outbox where destination = 'webhook:{dead}'");
    assert_eq!(number(&site.edge.database.pool, &tried).await, 0, "no attempt is counted");
}

#[tokio::test]
async fn long_failure_pauses_and_what_waits_is_delivered_after_the_repair() {
    let mut site = Site::new().await;
    let repaired = Arc::new(AtomicBool::new(false));
    let receiver = Receiver::start({
        let repaired = repaired.clone();
        move |_| if repaired.load(Ordering::SeqCst) { 200 } else { 500 }
    })
    .await;
    let (id, _) = site.subscribe(&receiver.url("/"), json!({ "delivery": { "attempts_max": 100, "concurrency": 1 } })).await;
    site.happen("a", 1..=2).await;
    site.place().await;
    let running = site.dispatcher_pausing(Arc::new(SystemNames), "127.0.0.1", Duration::from_millis(400));
    until("the pause", async || site.shown(id).await["state"] == "paused").await;
    let shown = site.shown(id).await;
    assert_eq!((&shown["paused_because"], shown["failing_since"].is_string()), (&json!("failing"), true));
    tokio::time::sleep(Duration::from_millis(250)).await;
    let before = receiver.heard().len();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((receiver.heard().len(), waiting(&site.edge.database.pool).await), (before, 2));
    let by_us = "select count(*) from events where event_type = 'subscription_paused' and metadata ->> 'actor' = 'subscriber:webhooks'";
    assert_eq!(number(&site.edge.database.pool, by_us).await, 1);
    repaired.store(true, Ordering::SeqCst);
    assert_eq!(site.ask(id, "resume", Value::Null).await.0, 200);
    until_empty(&site.edge.database.pool).await;
    running.stop().await;
    assert_eq!(site.shown(id).await["failing_since"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_make_each_row_once_and_lose_none() {
    let mut site = Site::new().await;
    let receiver = Receiver::start(|_| 200).await;
    site.subscribe(&receiver.url("/"), json!({ "delivery": { "concurrency": 16 } })).await;
    let (commands, stop) = (site.edge.commands.clone(), Arc::new(AtomicBool::new(false)));
    let followers: Vec<_> = (0..3)
        .map(|_| {
            let (commands, stop) = (commands.clone(), stop.clone());
            tokio::spawn(async move {
                let mut queued = 0;
                while !stop.load(Ordering::SeqCst) {
                    queued += commands.fan_out().await.unwrap().unwrap_or_default().queued;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                queued
            })
        })
        .collect();
    let dispatchers = [site.dispatcher(), site.dispatcher()];
    for n in 0..10 {
        site.happen(&n.to_string(), 1..=20).await;
        while site.leader.step().await.unwrap() > 0 {}
    }
    until("all of them", async || receiver.heard().len() >= 200).await;
    until_empty(&site.edge.database.pool).await;
    stop.store(true, Ordering::SeqCst);
    let mut queued = 0;
    for follower in followers {
        queued += follower.await.unwrap();
    }
    for running in dispatchers {
        running.stop().await;
    }
    let told = ids(&receiver.bodies());
    assert_eq!((queued, told.len(), told.iter().collect::<BTreeSet<_>>().len()), (200, 200, 200));
}

#[tokio::test]
async fn a_scope_tells_what_belongs_there_also_of_what_is_gone() {
    let mut site = Site::new().await;
    let factory = Factory::new(&site.edge.database.pool, 1).await;
    let other = site.edge.create("/api/v1/factories", json!({ "name": "Another" })).await["id"].clone();
    let elsewhere = site.edge.create("/api/v1/organizations", json!({ "factory_id": other, "name": "Elsewhere" })).await["id"].clone();
    let all = json!({ "event_types": ["*"], "after_position": 0 });
    let with = |more: Value| {
        let mut body = all.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let (everything, here, there) = (Receiver::start(|_| 200).await, Receiver::start(|_| 200).await, Receiver::start(|_| 200).await);
    let order = factory.order("Cups", 9).await;
    let batch = factory.batch(order, 0, 2).await;
    factory
        .commands
        .execute(&keystone_edge::commands::Context::system(), keystone_edge::commands::tasks::DeleteTask(batch.tasks[0].id))
        .await
        .unwrap();
    site.subscribe(&everything.url("/"), all.clone()).await;
    site.subscribe(&here.url("/"), with(json!({ "organization_id": factory.organization_id.0 }))).await;
    site.subscribe(&there.url("/"), with(json!({ "factory_id": other }))).await;
    let mismatch = with(json!({ "url": "https://a.example/", "factory_id": factory.factory_id.0, "organization_id": elsewhere }));
    assert_eq!(site.edge.post(PATH, mismatch).await.1["code"], "organization_mismatch");
    site.place().await;
    let running = site.dispatcher();
    until_empty(&site.edge.database.pool).await;
    running.stop().await;
    let (all, ours, theirs) = (ids(&everything.bodies()), ids(&here.bodies()), ids(&there.bodies()));
    let deleted = format!("task/{}/2", batch.tasks[0].id);
    for id in [format!("order/{order}/1"), format!("batch/{}/1", batch.batch_id), deleted, format!("factory/{}/1", factory.factory_id)] {
        assert!(ours.contains(&id) && all.contains(&id) && !theirs.contains(&id), "{id}: {ours:?}");
    }
    let of = |id: &Value, kind: &str| format!("{kind}/{}/1", id.as_str().unwrap());
    assert_eq!(theirs.iter().cloned().collect::<BTreeSet<_>>(), [of(&other, "factory"), of(&elsewhere, "organization")].into());
    assert!(all.iter().any(|id| id.starts_with("robot_type/")) && !ours.iter().any(|id| id.starts_with("robot_type/")), "of no factory");
}

#[tokio::test]
async fn no_more_rows_wait_for_one_subscription_than_the_bound() {
    let mut site = Site::new().await;
    let receiver = Receiver::start(|_| 200).await;
    let most = WAITING_MAX as usize;
    let (id, _) = site.subscribe(&receiver.url("/"), json!({ "delivery": { "concurrency": 16 } })).await;
    site.happen("a", 1..=(3 * WAITING_MAX)).await;
    site.place().await;
    let pool = &site.edge.database.pool;
    let made = waiting(pool).await as usize;
    assert!((most..most + 500).contains(&made), "{made}");
    let stands = site.shown(id).await["position"].as_i64().unwrap();
    assert!(stands < site.head().await);
    // Others are not held up.
    let other = Receiver::start(|_| 200).await;
    site.subscribe(&other.url("/"), json!({})).await;
    site.happen("b", 1..=1).await;
    site.place().await;
    assert_eq!(waiting(&site.edge.database.pool).await as usize, made + 1);
    site.edge.database.pool.get().await.unwrap().execute("delete from outbox", &[]).await.unwrap();
    site.place().await;
    assert!(site.shown(id).await["position"].as_i64().unwrap() > stands);
}

/// What was given up for a subscription that ended is not put into the outbox again: it would be dropped there, and count as delivered.
#[tokio::test]
async fn a_letter_of_an_ended_subscription_is_not_replayed() {
    let mut site = Site::new().await;
    let receiver = Receiver::start(|_| 500).await;
    let (id, _) = site.subscribe(&receiver.url("/"), json!({ "delivery": { "attempts_max": 1 } })).await;
    let running = site.dispatcher();
    site.happen("a", 1..=2).await;
    site.place().await;
    let pool = site.edge.database.pool.clone();
    until("both letters", async || number(&pool, "select count(*) from dead_letters").await == 2).await;
    assert_eq!(site.edge.send_as(&site.edge.admin, "DELETE", &format!("{PATH}/{id}"), Value::Null).await.0, 204);
    let letter = number(&pool, "select min(dead_letter_id) from dead_letters").await;
    let (status, refused) = site.edge.post(&format!("/api/v1/dead-letters/{letter}/replay"), json!({})).await;
    assert_eq!((status, &refused["code"]), (409, &json!("subscription_ended")), "{refused}");
    let selected = site.edge.post("/api/v1/dead-letters/replay/preview", json!({ "subscriber": "webhooks" })).await.1;
    assert_eq!(selected["count"], 2);
    let (status, refused) = site.edge.post("/api/v1/dead-letters/replay", json!({ "selection": selected["selection"].clone() })).await;
    assert_eq!((status, &refused["code"]), (409, &json!("subscription_ended")), "{refused}");
    assert_eq!(number(&pool, "select count(*) from outbox").await, 0);
    let (_, resolved) = site.edge.post(&format!("/api/v1/dead-letters/{letter}/resolve"), json!({ "reason": "nobody listens" })).await;
    assert_eq!(resolved["resolution"], "resolved");
    running.stop().await;
}
